"""The sizes of a Vision Transformer: one dataclass and the named presets.

Letters used in every file of this package:

    B batch   C image channels   H, W image height and width   P patch side
    N = HW/P² patches   T tokens (N + 1 with a class token, more with registers)   D width of a token
    h heads   d = D/h width of a head   L depth   K classes
"""

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

PosEmbed = Literal["none", "learned", "sincos1d", "sincos2d"]
GlobalPool = Literal["token", "avg"]
Head = Literal["linear", "mlp", "none"]
Gelu = Literal["none", "tanh"]


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Everything that fixes the shape of a Vision Transformer. The defaults are ViT-B/16 at 224 pixels.

    The field names are timm's. `img_size` may be one side or `(height, width)`; the pair is stored.

    Raises:
        ValueError: if the image does not divide into patches, the heads do not divide the width, or a
            value lies outside its range.
    """

    img_size: int | tuple[int, int] = (224, 224)  # pixels, (H, W) once constructed
    patch_size: int = 16  # pixels, P; patches are square, and a pair of equal sides will do
    in_chans: int = 3  # C
    num_classes: int = 1000  # K; 0 means head="none", which does not use it
    embed_dim: int = 768  # D, the width of the residual stream
    depth: int = 12  # L, the number of blocks
    num_heads: int = 12  # h; each head is D/h wide (64 in the paper, 80 in Huge)
    mlp_ratio: float = 4.0  # hidden width of the MLP as a multiple of D
    qkv_bias: bool = True  # the paper's code has biases here, some later models do not
    pos_embed: PosEmbed = "learned"  # the paper's choice, compared in its appendix D.4
    pos_size: tuple[int, int] | None = None  # a sine-cosine table is stretched from this size; None: no need
    class_token: bool = True  # a learned token in front of the patches; it may be there and not be read
    reg_tokens: int = 0  # registers behind it: tokens to compute with, read by nobody (Darcet et al., 2024)
    global_pool: GlobalPool = "token"  # the head reads "token": the class token; "avg": the patches' mean
    fc_norm: bool = False  # the last norm comes after the pooling instead of before it
    init_values: float | None = None  # start of LayerScale (Touvron et al., 2021b); None: no LayerScale
    norm_eps: float = 1e-6  # of layer norms, as in timm, torchvision and the paper's code; PyTorch: 1e-5
    gelu: Gelu = "none"  # PyTorch's words: the exact form x·Φ(x), or its "tanh" approximation
    head: Head = "linear"  # "mlp" is the paper's pre-training head: Linear, tanh, Linear
    drop_rate: float = 0.0  # dropout after the position sum, after attention and inside the MLP
    attn_drop_rate: float = 0.0  # dropout on the attention weights
    drop_path_rate: float = 0.0  # stochastic depth of the last block; earlier blocks grow linearly to it

    def __post_init__(self) -> None:
        fixed = {}  # the dataclass is frozen, so these are set around it
        for name in ("img_size", "patch_size", "pos_size"):
            size = getattr(self, name)
            fixed[name] = (size, size) if isinstance(size, int) else size and tuple(size)
            if size is not None and (len(fixed[name]) != 2 or min(fixed[name]) <= 0):
                raise ValueError(f"{name} must be a positive int or (height, width), got {size!r}")
        P, other = fixed["patch_size"]
        if other != P:
            raise ValueError(f"patches are square: expected patch_size to be one side, got {P}x{other}")
        if fixed["pos_size"] == fixed["img_size"] or "sincos" not in str(self.pos_embed):
            fixed["pos_size"] = None
        fixed |= {"patch_size": P, "head": self.head if self.num_classes else "none"}
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        for name in ("in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio", "norm_eps", "init_values"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("num_classes", "reg_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        kinds = {"pos_embed": PosEmbed, "global_pool": GlobalPool, "head": Head, "gelu": Gelu}
        for name, choices in kinds.items():
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {get_args(choices)}, got {getattr(self, name)!r}")
        if self.global_pool == "token" and not self.class_token:
            raise ValueError('without a class token there is none to read: expected global_pool="avg"')
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for H, W in (self.img_size, self.pos_size or self.img_size):
            if H % P or W % P:
                raise ValueError(f"expected image sides to be multiples of patch_size={P}, got {H}x{W}")
        D, h = self.embed_dim, self.num_heads
        if D % h:
            raise ValueError(f"embed_dim must be a multiple of num_heads={h}, got {D}")

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
        """Tokens in front of the patches: the class token, if there is one, then the registers."""
        return self.class_token + self.reg_tokens

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
