"""The Vision Transformer: `(B, C, H, W) -> (B, K)` (Dosovitskiy et al., 2021, section 3.1, figure 1).

Legend: B batch, C channels, H, W image size, N tokens, D width, h heads, K classes.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vit.config import ViTConfig, get_config
from vit.encoder import NORM_EPS, Block
from vit.patches import PatchEmbed
from vit.positions import interpolate_positions, sincos_1d, sincos_2d


def _fixed_positions(config: ViTConfig) -> Tensor:
    """The sine-cosine table of `config`, `(1, N, D)`. A class token has no place, so its row is zero."""
    if config.pos_embed == "sincos1d":
        table = sincos_1d(config.num_patches, config.embed_dim)
    else:
        table = sincos_2d(config.grid_size, config.embed_dim)
    prefix = torch.zeros(config.num_prefix_tokens, config.embed_dim)
    return torch.cat([prefix, table])[None]


def _trunc_normal(tensor: Tensor, std: float) -> None:
    """Normal noise cut at two standard deviations.

    `nn.init.trunc_normal_` cuts at ±2 *absolute* by default, which for std 0.02 is a hundred standard
    deviations, that is not at all. The bounds are given so that the name tells the truth.
    """
    nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)


def init_weights(model: "VisionTransformer") -> None:
    """Initialise every parameter of `model`, in place.

    Linear layers: std 0.02, zero bias, as in timm and DeiT. Patch projection: std 1/√fan_in, class token
    zero, learned positions std 0.02, as in the paper's code. That code draws the encoder's linear layers
    from Xavier's uniform distribution and sets the head to zero; here the head is noise like the other
    layers, so that an untrained model says something, if only nonsense. Layer norms keep PyTorch's ones
    and zeros. All noise is cut at two standard deviations, which leaves 0.88 of the spread it is named by.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _trunc_normal(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    proj = model.patch_embed.proj
    _trunc_normal(proj.weight, std=proj.weight[0].numel() ** -0.5)
    nn.init.zeros_(proj.bias)
    if model.cls_token is not None:
        nn.init.zeros_(model.cls_token)
    if isinstance(model.pos_embed, nn.Parameter):
        _trunc_normal(model.pos_embed, std=0.02)


class VisionTransformer(nn.Module):
    """An image classifier made of patches and a Transformer encoder. `(B, C, H, W) -> (B, K)`.

    Parameter names are timm's, so a timm or DeiT state dict of the same size loads as it is.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        D = config.embed_dim
        self.patch_embed = PatchEmbed(config.img_size, config.patch_size, config.in_chans, D)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D)) if config.pool == "cls" else None
        if config.pos_embed == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(1, config.num_tokens, D))
        elif config.pos_embed == "none":
            self.pos_embed = None
        else:  # a function of the sizes, so it moves with the model but is not saved
            self.register_buffer("pos_embed", _fixed_positions(config), persistent=False)
        self.pos_drop = nn.Dropout(config.drop_rate)
        # Stochastic depth grows linearly from 0 in the first block to its full rate in the last.
        rates = torch.linspace(0, config.drop_path_rate, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(
                D,
                config.num_heads,
                config.mlp_dim,
                config.qkv_bias,
                config.drop_rate,
                config.attn_drop_rate,
                r,
            )
            for r in rates
        )
        self.norm = nn.LayerNorm(D, eps=NORM_EPS)
        self.pre_logits = nn.Identity()
        if config.head == "mlp":  # the hidden layer of the pre-training head (section 3.1)
            self.pre_logits = nn.Sequential(OrderedDict(fc=nn.Linear(D, D), act=nn.Tanh()))
        self.head = nn.Identity() if config.head == "none" else nn.Linear(D, config.num_classes)
        init_weights(self)

    def embed(self, images: Tensor) -> Tensor:
        """Equation 1: patches, class token, positions. `(B, C, H, W) -> (B, N, D)`."""
        x = self.patch_embed(images)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + patches, D)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        return self.pos_drop(x)

    def forward_features(self, images: Tensor) -> Tensor:
        """Equations 1 to 3 and the final norm: every token's feature. `(B, C, H, W) -> (B, N, D)`."""
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Read one vector off the tokens, classify it: `(B, N, D) -> (B, K)`, or `(B, D)` before the head."""
        x = x[:, 0] if self.cls_token is not None else x.mean(dim=1)  # (B, D)
        x = self.pre_logits(x)
        return x if pre_logits else self.head(x)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: `(B, C, H, W) -> (B, K)` logits, or `(B, D)` features when the head is "none"."""
        return self.forward_head(self.forward_features(images))

    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """Attention weights of every block, each `(B, h, N, N)` with rows that sum to 1, before dropout.

        Nothing is kept on the modules. Gradients flow unless the caller turns them off; call `eval()` first
        if the model uses dropout or stochastic depth.
        """
        x, maps = self.embed(images), []
        for block in self.blocks:
            x, weights = block(x, need_weights=True)
            maps.append(weights)
        return maps

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Accept images of another size from now on, in place (section 3.2).

        Learned positions are interpolated to the new grid and become a new parameter, so build the optimiser
        afterwards; sine-cosine tables are computed anew. All other weights stay.

        Raises:
            ValueError: if the new size does not divide into patches.
        """
        if (config := replace(self.config, img_size=img_size)) == self.config:
            return
        if config.pos_embed == "learned":
            resized = interpolate_positions(
                self.pos_embed.detach(), self.config.grid_size, config.grid_size, config.num_prefix_tokens
            )
            self.pos_embed = nn.Parameter(resized.clone(), requires_grad=self.pos_embed.requires_grad)
        elif self.pos_embed is not None:
            self.pos_embed = _fixed_positions(config).to(self.pos_embed)
        self.patch_embed.img_size = config.img_size
        self.config = config


def create_model(name: str, **overrides: Any) -> VisionTransformer:
    """Build the preset called `name` with random weights; any field of its `ViTConfig` by keyword.

    Raises:
        ValueError: if there is no such preset (the nearest is named) or a size does not fit.
    """
    return VisionTransformer(get_config(name, **overrides))
