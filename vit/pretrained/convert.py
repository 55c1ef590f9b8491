"""Other people's weights in our `VisionTransformer`: timm, torchvision, Hugging Face, Google's .npz files.

A Vision Transformer is the same function everywhere; libraries differ in what they call its tensors, how they
lay them out, how they resize positions, the epsilon of layer norm and the form of GELU. All of that is here.

Legend: P patch side, C channels, D width, h heads, d = D/h, L depth, N tokens, K classes, S image side.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.config import ViTConfig
from vit.model import VisionTransformer

# Our key -> theirs. {i} counts blocks, and * stands for "weight" and "bias"; Flax says "kernel", or in norms
# "scale", for the first. Of (q|k|v) there are three, one after the other in one tensor of ours.
TORCHVISION = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj.*": "conv_proj.*",
    "blocks.{i}.norm1.*": "encoder.layers.encoder_layer_{i}.ln_1.*",
    "blocks.{i}.attn.qkv.*": "encoder.layers.encoder_layer_{i}.self_attention.in_proj_*",
    "blocks.{i}.attn.proj.*": "encoder.layers.encoder_layer_{i}.self_attention.out_proj.*",
    "blocks.{i}.norm2.*": "encoder.layers.encoder_layer_{i}.ln_2.*",
    "blocks.{i}.mlp.fc1.*": "encoder.layers.encoder_layer_{i}.mlp.0.*",
    "blocks.{i}.mlp.fc2.*": "encoder.layers.encoder_layer_{i}.mlp.3.*",
    "norm.*": "encoder.ln.*",
    "pre_logits.fc.*": "heads.pre_logits.*",
    "head.*": "heads.head.*",
}
TIMM = {ours: ours for ours in TORCHVISION}  # our names are theirs
HUGGINGFACE = {  # as in the files on the Hub; a model without a classifier has no "vit." in front
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.*": "vit.embeddings.patch_embeddings.projection.*",
    "blocks.{i}.norm1.*": "vit.encoder.layer.{i}.layernorm_before.*",
    "blocks.{i}.attn.qkv.*": "vit.encoder.layer.{i}.attention.attention.(query|key|value).*",
    "blocks.{i}.attn.proj.*": "vit.encoder.layer.{i}.attention.output.dense.*",
    "blocks.{i}.norm2.*": "vit.encoder.layer.{i}.layernorm_after.*",  # after attention, that is
    "blocks.{i}.mlp.fc1.*": "vit.encoder.layer.{i}.intermediate.dense.*",
    "blocks.{i}.mlp.fc2.*": "vit.encoder.layer.{i}.output.dense.*",
    "norm.*": "vit.layernorm.*",
    "pre_logits.fc.*": "vit.pooler.dense.*",
    "head.*": "classifier.*",
}
HUGGINGFACE_5 = HUGGINGFACE | {  # as in a model's state_dict() since transformers 5
    "blocks.{i}.norm1.*": "vit.layers.{i}.layernorm_before.*",
    "blocks.{i}.attn.qkv.*": "vit.layers.{i}.attention.(q|k|v)_proj.*",
    "blocks.{i}.attn.proj.*": "vit.layers.{i}.attention.o_proj.*",
    "blocks.{i}.norm2.*": "vit.layers.{i}.layernorm_after.*",
    "blocks.{i}.mlp.fc1.*": "vit.layers.{i}.mlp.fc1.*",
    "blocks.{i}.mlp.fc2.*": "vit.layers.{i}.mlp.fc2.*",
}
GOOGLE = {  # the numbers count the layers of a Flax block: 2 is the norm before the MLP
    "cls_token": "cls",
    "pos_embed": "Transformer/posembed_input/pos_embedding",
    "patch_embed.proj.*": "embedding/*",
    "blocks.{i}.norm1.*": "Transformer/encoderblock_{i}/LayerNorm_0/*",
    "blocks.{i}.attn.qkv.*": (
        "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/(query|key|value)/*"
    ),
    "blocks.{i}.attn.proj.*": "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/*",
    "blocks.{i}.norm2.*": "Transformer/encoderblock_{i}/LayerNorm_2/*",
    "blocks.{i}.mlp.fc1.*": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/*",
    "blocks.{i}.mlp.fc2.*": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/*",
    "norm.*": "Transformer/encoder_norm/*",
    "pre_logits.fc.*": "pre_logits/*",
    "head.*": "head/*",
}
OPTIONAL = ("cls_token", "qkv.bias", "pre_logits.", "head.")  # all of such a part may be absent


@dataclass(frozen=True)
class Source:
    """A library's habits."""

    keys: dict[str, str]
    resize: dict[str, Any]  # of positions: arguments of `F.interpolate`
    norm_eps: float = 1e-6
    gelu: Literal["none", "tanh"] = "none"  # PyTorch's words: "none" is the exact form
    flax: bool = False  # inputs before outputs, and heads apart


SOURCES = {
    "timm": Source(TIMM, {"mode": "bicubic", "antialias": True}),
    "torchvision": Source(TORCHVISION, {"mode": "bicubic", "align_corners": True}),
    "huggingface": Source(HUGGINGFACE, {"mode": "bicubic"}, norm_eps=1e-12),
    "huggingface-5": Source(HUGGINGFACE_5, {"mode": "bicubic"}, norm_eps=1e-12),
    # scipy.ndimage.zoom(order=1) in the original, which puts corners on corners: this is the same.
    "google": Source(GOOGLE, {"mode": "bilinear", "align_corners": True}, gelu="tanh", flax=True),
}


def key_map(source: str, depth: int) -> dict[str, tuple[str, ...]]:
    """Every key of our state dict -> the key in `source` that holds it, or the three of q, k and v."""
    keys = {}
    for ours, theirs in SOURCES[source].keys.items():
        before, _, rest = theirs.partition("(")
        apart, _, after = rest.partition(")")
        names = [before + part + after for part in apart.split("|")]
        for i in range(depth if "{i}" in ours else 1):
            for end in ("weight", "bias") if "*" in ours else ("",):
                flax = "scale" if "norm" in ours else "kernel"
                their_end = flax if SOURCES[source].flax and end == "weight" else end
                keys[ours.format(i=i).replace("*", end)] = tuple(
                    name.format(i=i).replace("*", their_end) for name in names
                )
    return keys


def find_source(state: Mapping[str, Any]) -> str:
    """The name in `SOURCES` of the library that a state dict comes from, told by its keys.

    Raises:
        ValueError: if it is none of them.
    """
    for source in SOURCES:
        if key_map(source, 1)["blocks.0.norm1.bias"][0] in state:
            return source
    raise ValueError(
        f"expected weights of a Vision Transformer from {', '.join(SOURCES)}, got the keys "
        f"{', '.join(sorted(state)[:4])} ..."
    )


def _rank(key: str, value: Tensor, rank: int) -> Tensor:
    if value.ndim != rank:
        raise ValueError(f"{key}: expected {rank} dimensions, got shape {tuple(value.shape)}")
    return value


def _from_flax(ours: str, key: str, value: Tensor) -> Tensor:
    """One tensor of Flax's in PyTorch's layout."""
    if ours == "patch_embed.proj.weight":
        return _rank(key, value, 4).permute(3, 2, 0, 1)  # (P, P, C, D) -> (D, C, P, P)
    if ours.endswith("attn.proj.weight"):
        return _rank(key, value, 3).flatten(0, 1).T  # (h, d, D) -> (D, D)
    if ".qkv." in ours:
        value = _rank(key, value, 3 if ours.endswith("weight") else 2).flatten(-2)  # (D, h, d) -> (D, D)
    return value.T if ours.endswith("weight") and value.ndim == 2 else value  # (in, out) -> (out, in)


def _convert(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], int]:
    """The same tensors under our names and in our layout, in float32, and the number of blocks."""
    norm = SOURCES[source].keys["blocks.{i}.norm1.*"].replace("*", "bias")
    depth = next(i for i in count() if norm.format(i=i) not in state)
    keys = key_map(source, depth)
    for part in OPTIONAL:
        theirs = [name for ours, names in keys.items() if part in ours for name in names]
        if not any(name in state for name in theirs):
            keys = {ours: names for ours, names in keys.items() if part not in ours}
    wanted = {name for names in keys.values() for name in names}
    sides = {"missing": sorted(wanted - set(state)), "extra": sorted(set(state) - wanted)}
    if any(sides.values()):
        raise ValueError(
            f"the keys are not those of a plain Vision Transformer of {depth} blocks from {source}: "
            + "; ".join(f"{side} {', '.join(names)}" for side, names in sides.items() if names)
        )
    converted = {}
    for ours, names in keys.items():
        parts = [state[name].float() for name in names]
        if SOURCES[source].flax:
            parts = [_from_flax(ours, name, part) for name, part in zip(names, parts, strict=True)]
        for name, part in zip(names, parts, strict=True):
            if part.shape != parts[0].shape:  # their sum could still be right
                raise ValueError(f"{name}: expected {tuple(parts[0].shape)}, got {tuple(part.shape)}")
        converted[ours] = torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()
    return converted, depth


def _positions(
    table: Tensor, source: str, prefix: int, trained: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """Positions on the grid `trained`, as our model has them on `grid`: `(1, N, D) -> (1, N', D)`."""
    if prefix and table.shape[1] == math.prod(trained):  # none for the class token, which is the same as zero
        table = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    if table.shape[1] != prefix + math.prod(trained):
        raise ValueError(
            f"expected {prefix} + {trained[0]}x{trained[1]} positions, got {table.shape[1]}; weights for "
            "images that are not square need trained_size=(height, width)"
        )
    if grid == trained:
        return table
    image = table[:, prefix:].unflatten(1, trained).permute(0, 3, 1, 2)  # (1, D, gh, gw)
    image = F.interpolate(image, size=grid, **SOURCES[source].resize)
    return torch.cat([table[:, :prefix], image.flatten(2).transpose(1, 2)], dim=1)


def set_numerics(model: VisionTransformer, norm_eps: float = 1e-6, gelu: str = "none") -> VisionTransformer:
    """Give `model` a library's epsilon in layer norms and its form of GELU, in place; return it.

    They are no weights and no fields of `ViTConfig`, so a weights file of ours does not restore them:
    `read_weights` gives 1e-6 and the exact form. Where that matters, set them again after reading.
    """
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = norm_eps
    for block in model.blocks:
        block.mlp.act = nn.GELU(approximate=gelu)
    return model


def load_state(
    state: Mapping[str, Any],
    source: str | None = None,
    *,
    img_size: int | tuple[int, int] | None = None,
    trained_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> VisionTransformer:
    """Our model with the weights of a library's state dict, in eval mode; sizes are read off the shapes.

    Args:
        state: tensors or arrays by name, as `state_dict()` or `read_state` gives them.
        source: a name in `SOURCES`; None: told by the keys.
        img_size: side, or (height, width), to resize positions to, in the library's own way. (The model's
            `set_input_size` does it in timm's way, whatever the source.)
        trained_size: what the weights were trained at, needed if that was not square.
        num_classes: of a new head, drawn as a new model's is; 0: no head. A hidden layer before the old head
            goes with it, as in the paper (section 3.2). None: the head stays.
        options: other fields of `ViTConfig`, as `drop_path_rate`. Only Google's files tell `num_heads`; else
            a head is taken to be 64 wide, or 80 in Huge, as in all models of the paper.

    Raises:
        ValueError: if keys are missing or left over, all of which are named, or a shape does not fit.
    """
    if "embeddings.cls_token" in state:  # Hugging Face's model without a classifier
        state = {f"vit.{key}": value for key, value in state.items()}
    source = source or find_source(state)
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    ours, depth = _convert({key: torch.as_tensor(value) for key, value in state.items()}, source)
    if num_classes is not None or "head.weight" not in ours:
        ours = {key: v for key, v in ours.items() if not key.startswith(("head.", "pre_logits."))}

    D, C, _, P = _rank("patch_embed.proj.weight", ours["patch_embed.proj.weight"], 4).shape
    side = math.isqrt(
        _rank("pos_embed", ours["pos_embed"], 3).shape[1]
    )  # one more than a square has its root
    trained_size = (side * P, side * P) if trained_size is None else trained_size
    fields = {
        "img_size": trained_size if img_size is None else img_size,
        "patch_size": P,
        "in_chans": C,
        "embed_dim": D,
        "depth": depth,
        "num_heads": D // (80 if D == 1280 else 64),
        "mlp_ratio": len(ours["blocks.0.mlp.fc1.bias"]) / D,
        "qkv_bias": "blocks.0.attn.qkv.bias" in ours,
        "pool": "cls" if "cls_token" in ours else "mean",
        "head": "mlp" if "pre_logits.fc.weight" in ours else "linear",
    }
    if classes := num_classes or len(ours.get("head.bias", ())):
        fields["num_classes"] = classes
    else:
        fields["head"] = "none"
    if SOURCES[source].flax:
        fields["num_heads"] = state[key_map(source, 1)["blocks.0.attn.qkv.weight"][0]].shape[1]
    elif D % 64 and "num_heads" not in options:
        raise ValueError(f"cannot tell the number of heads from a width of {D}: give num_heads")
    config = ViTConfig(**fields | options)
    trained = replace(config, img_size=trained_size).grid_size
    prefix = int("cls_token" in ours)
    ours["pos_embed"] = _positions(ours["pos_embed"], source, prefix, trained, config.grid_size)

    model = VisionTransformer(config).eval()
    if num_classes:
        ours |= {key: value for key, value in model.state_dict().items() if key.startswith("head.")}
    expected, got = ({k: tuple(v.shape) for k, v in d.items()} for d in (model.state_dict(), ours))
    if expected != got:
        keys, wrong = key_map(source, depth), [k for k in expected | got if expected.get(k) != got.get(k)]
        raise ValueError(
            "shapes do not fit: "
            + "; ".join(f"{', '.join(keys[k])}: expected {expected.get(k)}, got {got.get(k)}" for k in wrong)
        )
    model.load_state_dict(ours)
    return set_numerics(model, SOURCES[source].norm_eps, SOURCES[source].gelu)
