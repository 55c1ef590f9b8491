"""The Vision Transformer: `(B, C, H, W) -> (B, K)` (Dosovitskiy et al., 2021, section 3.1, figure 1).

Legend: B batch, C channels, H, W height and width, T tokens, D width, h heads, K classes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vit.config import GlobalPool, ViTConfig, get_config
from vit.encoder import Block
from vit.patches import PatchEmbed
from vit.positions import interpolate_positions, sincos_1d, sincos_2d


def _fixed_positions(config: ViTConfig) -> Tensor:
    """Sine-cosine positions of `config`, `(1, T, D)`. Prefix tokens have no place, so their rows are zero."""
    gh, gw = (side // config.patch_size for side in config.pos_size or config.img_size)
    n, D = config.num_prefix_tokens, config.embed_dim
    matrix = sincos_1d(gh * gw, D) if config.pos_embed == "sincos1d" else sincos_2d((gh, gw), D)
    matrix = torch.cat([torch.zeros(n, D), matrix])[None]
    return interpolate_positions(matrix, (gh, gw), config.grid_size, n)


def _trunc_normal(tensor: Tensor, std: float) -> None:
    """Normal noise cut at 2 `std`, which leaves 0.88 of its spread; PyTorch cuts at ±2 whatever the `std`."""
    nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)


def init_weights(model: "VisionTransformer") -> None:
    """Initialise every parameter of `model`, in place.

    Linear layers: std 0.02, zero bias, as in timm and DeiT. Patch projection: std 1/√fan_in, class token
    zero, learned positions std 0.02, as in the paper's code. That code draws the encoder's linear layers
    from Xavier's uniform distribution and sets the head to zero; here the head is noise like the others, so
    that an untrained model says something, and so are registers: equal ones would stay equal. Norms stay.
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
    for noise in (model.reg_token, model.pos_embed):
        if isinstance(noise, nn.Parameter):
            _trunc_normal(noise, std=0.02)


class VisionTransformer(nn.Module):
    """An image classifier made of patches and a Transformer encoder. `(B, C, H, W) -> (B, K)`.

    Parameter names are timm's, so a timm or DeiT state dict of the same size loads as it is.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        D = config.embed_dim
        self.patch_embed = PatchEmbed(config.img_size, config.patch_size, config.in_chans, D)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D)) if config.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, config.reg_tokens, D)) if config.reg_tokens else None
        if config.pos_embed == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(1, config.num_tokens, D))
        elif config.pos_embed == "none":
            self.pos_embed = None
        else:  # a function of the config, so it moves with the model but is not saved
            self.register_buffer("pos_embed", _fixed_positions(config), persistent=False)
        self.pos_drop = nn.Dropout(config.drop_rate)
        # Stochastic depth grows linearly from 0 in the first block to its full rate in the last.
        rates = torch.linspace(0, config.drop_path_rate, config.depth, device="cpu").tolist()
        sizes, drops = (D, config.num_heads, config.mlp_dim), (config.drop_rate, config.attn_drop_rate)
        more = {name: getattr(config, name) for name in ("init_values", "norm_eps", "gelu")}
        self.blocks = nn.ModuleList(Block(*sizes, config.qkv_bias, *drops, rate, **more) for rate in rates)
        norm = nn.LayerNorm(D, eps=config.norm_eps)
        self.norm, self.fc_norm = (nn.Identity(), norm) if config.fc_norm else (norm, nn.Identity())
        self.pre_logits = nn.Identity()
        if config.head == "mlp":  # the hidden layer of the pre-training head (section 3.1)
            self.pre_logits = nn.Sequential(OrderedDict(fc=nn.Linear(D, D), act=nn.Tanh()))
        self.head = nn.Identity() if config.head == "none" else nn.Linear(D, config.num_classes)
        self.grad_checkpointing = False
        init_weights(self)

    def embed(self, images: Tensor) -> Tensor:
        """Equation 1: patches, class token and registers, positions. `(B, C, H, W) -> (B, T, D)`."""
        x = self.patch_embed(images)
        prefix = [t.expand(x.shape[0], -1, -1) for t in (self.cls_token, self.reg_token) if t is not None]
        if prefix:
            x = torch.cat([*prefix, x], dim=1)  # (B, T, D)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        return self.pos_drop(x)

    def forward_features(self, images: Tensor) -> Tensor:
        """Equations 1 to 3 and the final norm: every token's feature. `(B, C, H, W) -> (B, T, D)`.

        With `fc_norm` that norm is left to `forward_head`.
        """
        x = self.embed(images)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Read one vector off the tokens, classify it: `(B, T, D) -> (B, K)`, or `(B, D)` before the head."""
        x = x[:, 0] if self.config.global_pool == "token" else x[:, self.config.num_prefix_tokens :].mean(1)
        x = self.pre_logits(self.fc_norm(x))  # (B, D)
        return x if pre_logits else self.head(x)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: `(B, C, H, W) -> (B, K)` logits, or `(B, D)` features when the head is "none"."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The patches' features after some blocks, each `(B, D, H/P, W/P)`; timm's arguments.

        `indices`: how many of the last blocks, or their numbers; None: all. `return_prefix_tokens`: pairs,
        their second `(B, n, D)`. `norm`: each through the final norm. `stop_early`: run no later block.
        `output_fmt` "NLC": `(B, T - n, D)`. `intermediates_only`: no `forward_features` before the list.

        Raises:
            ValueError: if there is no such block or format.
        """
        L, n = len(self.blocks), self.config.num_prefix_tokens
        if indices is None or isinstance(indices, int):
            indices = range(L) if indices is None else range(L)[L - indices :] if indices <= L else ()
        if not indices or not all(-L <= i < L for i in indices) or output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"expected numbers below {L} and NCHW or NLC, got {[*indices]}, {output_fmt!r}")
        wanted = {i % L for i in indices}
        x, found = self.embed(images), []
        for i, block in enumerate(self.blocks[: max(wanted) + 1 if stop_early or intermediates_only else L]):
            x = checkpoint(block, x, use_reentrant=False) if self.grad_checkpointing else block(x)
            if i in wanted:
                prefix, patches = (self.norm(x) if norm else x).tensor_split([n], 1)
                if output_fmt == "NCHW":
                    patches = patches.transpose(1, 2).unflatten(2, self.config.grid_size)
                found.append((patches, prefix) if return_prefix_tokens and n else patches)
        return found if intermediates_only else (self.norm(x), found)

    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """Attention weights of every block, each `(B, h, T, T)` with rows that sum to 1, before dropout.

        Nothing is kept on the modules. Gradients flow unless the caller turns them off; call `eval()` first
        if the model uses dropout or stochastic depth.
        """
        return self.run_blocks(self.embed(images))[1]

    def run_blocks(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the blocks make of tokens, `(B, T, D) -> (B, T, D)`, and the `attention_maps` on the way."""
        maps = []
        for block in self.blocks:
            x, weights = block(x, need_weights=True)
            maps.append(weights)
        return x, maps

    def get_classifier(self) -> nn.Module:
        """The head: a linear layer, or `nn.Identity` where there is none."""
        return self.head

    @torch.inference_mode(False)  # or a parameter made here could never be trained
    def reset_classifier(self, num_classes: int, global_pool: GlobalPool | None = None) -> None:
        """A new head, which may read other tokens, for the old one and its hidden layer; 0 classes: none.

        Raises:
            ValueError: if `num_classes` is negative, or there is no class token to read.
        """
        pool = global_pool or self.config.global_pool
        self.config = replace(self.config, num_classes=num_classes, head="linear", global_pool=pool)
        self.pre_logits, self.head = nn.Identity(), nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.config.embed_dim, num_classes).to(self.patch_embed.proj.weight)
            _trunc_normal(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only each block's input for the backward pass, which computes the rest again."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are values and not maps, for timm's optimisers: they do not decay."""
        return {"pos_embed", "cls_token", "reg_token"}

    @torch.inference_mode(False)  # or a parameter made here could never be trained
    def set_input_size(self, img_size: int | tuple[int, int], recompute: bool = False) -> None:
        """Accept images of another size from now on, in place (section 3.2).

        Positions are interpolated to the new grid. Learned ones become a new parameter: build the optimiser
        afterwards. Sine-cosine matrices are stretched from the size they were made for, `config.pos_size`, or
        made anew with `recompute`, which only suits a model that has not yet learned what its rows mean.

        Raises:
            ValueError: if the new size does not divide into patches, or learned positions shall be computed.
        """
        old = self.config
        if recompute and old.pos_embed == "learned":
            raise ValueError("recompute=True is for sine-cosine positions; learned ones can't be computed")
        made_for = None if recompute else old.pos_size or old.img_size
        if (config := replace(old, img_size=img_size, pos_size=made_for)) == old:
            return
        if old.pos_embed == "learned":
            grids = old.grid_size, config.grid_size
            resized = interpolate_positions(self.pos_embed.detach(), *grids, config.num_prefix_tokens)
            self.pos_embed = nn.Parameter(resized, requires_grad=self.pos_embed.requires_grad)
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
