"""Whether what came out is what should have, and where the two first differ."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RELATIVE = 1e-4  # two right ways of computing in fp32 are nearer to each other than this


def plain(value: Any) -> Any:
    """The same value as a tensor, number, text, list or dict: what differs only in its wrapping agrees."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value.copy())  # strides may be negative, which tensors' can't
    if isinstance(value, Tensor):
        value = value.detach()
        return value if value.ndim else value.item()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"{len(value)} value{'' if len(value) == 1 else 's'}"
    words = {dict: "a dict", str: f"the text {value!r}", type(None): "None"}
    number = isinstance(value, int | float | complex)
    return f"the number {show(value)}" if number else words.get(type(value), f"a {type(value).__name__}")


def show(value: Any) -> str:
    """A number with as many digits as tell it from its neighbours."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def difference(found: Any, right: Any, atol: float = 1e-5) -> str | None:
    """Where `found` first differs from `right`, in words; None where they agree."""
    return _difference(plain(found), plain(right), atol)


def _difference(found: Any, right: Any, atol: float) -> str | None:
    if isinstance(right, Tensor) and isinstance(found, Tensor):
        return _tensors(found, right, atol)
    if isinstance(right, dict) and isinstance(found, dict):
        if odd := [f"{key!r} is missing" for key in right if key not in found]:
            return odd[0]
        if odd := [f"{key!r} is too much" for key in found if key not in right]:
            return odd[0]
        parts = ((f"in {key!r}", found[key], item) for key, item in right.items())
    elif isinstance(right, list) and isinstance(found, list) and len(right) == len(found):
        parts = ((f"in part {i}", *pair) for i, pair in enumerate(zip(found, right, strict=True)))
    else:
        return None if _same(found, right, atol) else f"expected {kind(right)}, found {kind(found)}"
    told = ((where, _difference(*pair, atol)) for where, *pair in parts)
    return next((f"{where}: {what}" for where, what in told if what), None)


def _same(found: Any, right: Any, atol: float) -> bool:
    """Whether two values that are not both tensors, lists or dicts agree."""
    if isinstance(right, float) and isinstance(found, int | float):
        return math.isclose(found, right, rel_tol=RELATIVE, abs_tol=atol)
    return (
        isinstance(found, type(right) | (float if isinstance(right, int) else type(right))) and found == right
    )


def _tensors(found: Tensor, right: Tensor, atol: float) -> str | None:
    if found.shape != right.shape:
        return f"the shape is {tuple(found.shape)}, and should be {tuple(right.shape)}"
    if found.dtype != right.dtype:
        return f"the dtype is {found.dtype}, and should be {right.dtype}"
    near = torch.isclose(found, right, rtol=RELATIVE, atol=atol, equal_nan=True)
    if near.all():
        return None
    at = (~near).nonzero()[0].tolist()
    return f"at {at} expected {show(right[tuple(at)].item())}, found {show(found[tuple(at)].item())}"


def unchanged(now: Any, before: Any) -> bool:
    """Whether an argument is still what it was; of things that are no data, nothing is asked."""
    if isinstance(before, Tensor):
        return now.shape == before.shape and (now.is_meta or torch.equal(now, before))
    if isinstance(before, nn.Module):
        return unchanged(now.state_dict(), before.state_dict())
    if isinstance(before, dict):
        return now.keys() == before.keys() and all(unchanged(now[key], before[key]) for key in before)
    if isinstance(before, list | tuple):
        return len(now) == len(before) and all(map(unchanged, now, before))
    return True


def describe(name: str, value: Any) -> str:
    """An argument in a few words, for "with ...". Empty where words would not help."""
    if isinstance(value, Tensor):
        return f"{name} of shape {tuple(value.shape)}"
    return (
        f"{name} = {value!r}"
        if isinstance(value, int | float | str | tuple) and len(repr(value)) < 30
        else ""
    )
