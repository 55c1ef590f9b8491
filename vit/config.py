"""The sizes of a Vision Transformer: one dataclass and the named presets.

Letters used in every file of this package:

    B batch   C image channels   H, W image height and width   P patch side
    N tokens (patches, and the class token where there is one)  D width of a token
    h heads   d = D/h width of a head   L depth   K classes
"""

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

PosEmbed = Literal["none", "learned", "sincos1d", "sincos2d"]
Pool = Literal["cls", "mean"]
Head = Literal["linear", "mlp", "none"]


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Everything that fixes the shape of a Vision Transformer. The defaults are ViT-B/16 at 224 pixels.

    The field names are timm's. `img_size` may be one side or `(height, width)`; the pair is stored.

    Raises:
        ValueError: if the image does not divide into patches, the heads do not divide the width, or a
            value lies outside its range. The message says what was expected and what came.
    """

    img_size: int | tuple[int, int] = (224, 224)  # pixels, (H, W) once constructed
    patch_size: int = 16  # pixels, P; patches are square
    in_chans: int = 3  # C
    num_classes: int = 1000  # K; unused when head="none"
    embed_dim: int = 768  # D, the width of the residual stream
    depth: int = 12  # L, the number of blocks
    num_heads: int = 12  # h; each head is D/h wide (64 in the paper, 80 in Huge)
    mlp_ratio: float = 4.0  # hidden width of the MLP as a multiple of D
    qkv_bias: bool = True  # the paper's code has biases here, some later models do not
    pos_embed: PosEmbed = "learned"  # the paper's choice, compared in its appendix D.4
    pool: Pool = "cls"  # "cls": read a class token; "mean": no class token, average the patches
    head: Head = "linear"  # "mlp" is the paper's pre-training head: Linear, tanh, Linear
    drop_rate: float = 0.0  # dropout after the position sum, after attention and inside the MLP
    attn_drop_rate: float = 0.0  # dropout on the attention weights
    drop_path_rate: float = 0.0  # stochastic depth of the last block; earlier blocks grow linearly to it

    def __post_init__(self) -> None:
        size = self.img_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 2 or any(side <= 0 for side in size):
            raise ValueError(f"img_size must be a positive int or (height, width), got {self.img_size!r}")
        object.__setattr__(self, "img_size", size)  # the dataclass is frozen

        positive = ("patch_size", "in_chans", "num_classes", "embed_dim", "depth", "num_heads", "mlp_ratio")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name, choices in (("pos_embed", PosEmbed), ("pool", Pool), ("head", Head)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {get_args(choices)}, got {getattr(self, name)!r}")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        P, (H, W) = self.patch_size, size
        if H % P or W % P:
            raise ValueError(f"expected image sides to be multiples of patch_size={P}, got {H}x{W}")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"expected embed_dim to be a multiple of num_heads={self.num_heads}, got {self.embed_dim}"
            )

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patches along the height and along the width: (H/P, W/P)."""
        return self.img_size[0] // self.patch_size, self.img_size[1] // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches in an image: HW/P², the paper's N (section 3.1)."""
        return self.grid_size[0] * self.grid_size[1]

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches: 1 when there is a class token, else 0."""
        return int(self.pool == "cls")

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the encoder sees."""
        return self.num_patches + self.num_prefix_tokens

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP."""
        return int(self.embed_dim * self.mlp_ratio)


# The paper's Table 1 gives Base, Large and Huge; DeiT (Touvron et al., 2021), Table 1, adds Ti and S.
_SIZES: dict[str, dict[str, int]] = {
    "ti": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "s": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "h": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
}
# Small models for 32×32 images, ours: 65 tokens of 4×4 pixels, and an MLP of only twice the width.
_CIFAR: dict[str, Any] = {"img_size": 32, "patch_size": 4, "num_classes": 10, "mlp_ratio": 2.0}

PRESETS: dict[str, dict[str, Any]] = {
    "vit_ti_16": {**_SIZES["ti"], "patch_size": 16},
    "vit_s_16": {**_SIZES["s"], "patch_size": 16},
    "vit_b_16": {**_SIZES["b"], "patch_size": 16},
    "vit_b_32": {**_SIZES["b"], "patch_size": 32},
    "vit_l_16": {**_SIZES["l"], "patch_size": 16},
    "vit_l_32": {**_SIZES["l"], "patch_size": 32},
    "vit_h_14": {**_SIZES["h"], "patch_size": 14},
    "vit_nano_4": {**_CIFAR, "embed_dim": 128, "depth": 6, "num_heads": 4},
    "vit_mini_4": {**_CIFAR, "embed_dim": 192, "depth": 9, "num_heads": 6},
}


def get_config(name: str, **overrides: Any) -> ViTConfig:
    """Return the preset called `name`, with any field replaced by keyword.

    Raises:
        ValueError: if there is no such preset; the nearest name is suggested.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(f"no preset called {name!r}; did you mean {near!r}? There are {', '.join(PRESETS)}")
    return replace(ViTConfig(**PRESETS[name]), **overrides)
