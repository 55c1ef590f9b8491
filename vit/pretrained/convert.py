"""Other people's weights in our `VisionTransformer`: timm, torchvision, Hugging Face, DINOv2, Google's .npz.

A Vision Transformer is the same function everywhere; libraries differ in what they call its tensors (`keys`),
how they lay them out and how they resize positions, which is here.

Legend: P patch side, C channels, D width, h heads, d = D/h, L depth, T tokens, K classes, S image side.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.config import ViTConfig
from vit.model import VisionTransformer
from vit.pretrained.keys import OPTIONAL, PREFIXES, SOURCES, UNUSED, find_source, full_names, key_map


def strip_prefixes(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same state dict without what wrappers put before every key; a warning says what was removed."""
    state, removed = dict(state), ""
    while prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        removed += prefix
    if removed:
        warnings.warn(f"every key began with {removed!r}, which was removed", stacklevel=3)
    return state


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
    state = {key: value for key, value in state.items() if key not in UNUSED}
    after = "fc_norm.weight" in state  # then there is no norm before the pooling
    for part in (*OPTIONAL, "norm.") if after else OPTIONAL:
        mine = {ours for ours in keys if ours.startswith(part) or f".{part}" in ours}
        if not any(name in state for ours in mine for name in keys[ours]):
            keys = {ours: names for ours, names in keys.items() if ours not in mine}
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
    """Positions on the grid `trained`, as our model has them on `grid`: `(1, T, D) -> (1, T', D)`."""
    got = table.shape[1] - math.prod(trained)
    if got == 0 or got == 1 < prefix:  # none for prefix tokens or registers, which is the same as zeros
        zeros = torch.zeros_like(table[:, :1]).expand(-1, prefix - got, -1)
        table = torch.cat([table[:, :got], zeros, table[:, got:]], dim=1)
    if table.shape[1] != prefix + math.prod(trained):
        raise ValueError(
            f"expected {prefix} + {trained[0]}x{trained[1]} positions, got {table.shape[1]}; weights for "
            "images that are not square need trained_size=(height, width)"
        )
    if grid == trained:
        return table
    image = table[:, prefix:].unflatten(1, trained).permute(0, 3, 1, 2)  # (1, D, gh, gw)
    # DINOv2's models with registers came with other code for it, which smooths.
    smooth = {"antialias": True} if source.startswith("dinov2") and prefix > 1 else {}
    image = F.interpolate(image, size=grid, **SOURCES[source].resize | smooth)
    return torch.cat([table[:, :prefix], image.flatten(2).transpose(1, 2)], dim=1)


def set_numerics(model: VisionTransformer, norm_eps: float = 1e-6, gelu: str = "none") -> VisionTransformer:
    """Give `model` a library's epsilon in layer norms and its form of GELU, in place; return it.

    `load_state` does it by itself, and a weights file of ours keeps both.
    """
    model.config = replace(model.config, norm_eps=norm_eps, gelu=gelu)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = norm_eps
    for block in model.blocks:
        block.mlp.act = nn.GELU(gelu)
    return model


@torch.inference_mode(False)  # a model that is loaded may be trained on, wherever it was loaded
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
        img_size: side, or (height, width), to resize positions to, in the library's own way, where
            `set_input_size` does it in timm's.
        trained_size: what the weights were trained at, needed if that was not square.
        num_classes: of a new head, drawn as a new model's is; 0: no head. A hidden layer before the old head
            goes with it, as in the paper (section 3.2). None: the head stays.
        options: other fields of `ViTConfig`. Without `num_heads`, which only Google's files tell, a head is
            taken to be 64 wide, or 80 in Huge, as in the paper.

    Raises:
        ValueError: if keys are missing or left over, all of which are named, or a shape does not fit.
    """
    state = full_names(strip_prefixes(state))
    source = source or find_source(state)
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    ours, depth = _convert({key: torch.as_tensor(value) for key, value in state.items()}, source)
    if num_classes is not None or "head.weight" not in ours:
        ours = {key: v for key, v in ours.items() if not key.startswith(("head.", "pre_logits."))}

    D, C, _, P = _rank("patch_embed.proj.weight", ours["patch_embed.proj.weight"], 4).shape
    reg_tokens = ours["reg_token"].shape[1] if "reg_token" in ours else 0
    rows, prefix = _rank("pos_embed", ours["pos_embed"], 3).shape[1], reg_tokens + ("cls_token" in ours)
    # Not every library has rows for the class token, or for registers.
    prefixes = (n for n in (0, 1, prefix) if n < rows and math.isqrt(rows - n) ** 2 == rows - n)
    side = math.isqrt(rows - next(prefixes, 0))
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
        "class_token": "cls_token" in ours,
        "reg_tokens": reg_tokens,
        "global_pool": "token" if "cls_token" in ours and "fc_norm.weight" not in ours else "avg",
        "fc_norm": "fc_norm.weight" in ours,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in ours else None,
        "norm_eps": SOURCES[source].norm_eps,
        "gelu": SOURCES[source].gelu,
        "head": "mlp" if "pre_logits.fc.weight" in ours else "linear",
    }
    fields["num_classes"] = len(ours.get("head.bias", ()))  # a new head comes last
    if SOURCES[source].flax:
        fields["num_heads"] = state[key_map(source, 1)["blocks.0.attn.qkv.weight"][0]].shape[1]
    elif D % 64 and "num_heads" not in options:
        raise ValueError(f"cannot tell the number of heads from a width of {D}: give num_heads")
    config = ViTConfig(**fields | options)
    trained = replace(config, img_size=trained_size).grid_size
    ours["pos_embed"] = _positions(ours["pos_embed"], source, prefix, trained, config.grid_size)

    with torch.device("meta"):  # shapes alone: to draw numbers only to overwrite them takes seconds
        model = VisionTransformer(config).eval()
    expected, got = ({k: tuple(v.shape) for k, v in d.items()} for d in (model.state_dict(), ours))
    if expected != got:
        keys, wrong = key_map(source, depth), [k for k in expected | got if expected.get(k) != got.get(k)]
        raise ValueError(
            "shapes do not fit: "
            + "; ".join(f"{', '.join(keys[k])}: expected {expected.get(k)}, got {got.get(k)}" for k in wrong)
        )
    model.load_state_dict({key: value.clone() for key, value in ours.items()}, assign=True)
    if num_classes:
        model.reset_classifier(num_classes)
    return model.eval()
