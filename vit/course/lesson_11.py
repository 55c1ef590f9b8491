"""Exercises of lesson 11: other people's weights."""

from collections import Counter

import torch
from torch import nn

from vit.course.exercise import Lesson
from vit.course.inputs import tiny
from vit.model import create_model
from vit.pretrained.keys import key_map

exercise = Lesson(11)


def states():
    with torch.device("meta"):
        yield (create_model("vit_b_16").state_dict(),)
    yield ({"a": torch.zeros(2, 3), "b": torch.zeros(3, 2), "c": torch.zeros(4), "d": torch.zeros(4)},)
    yield ({"b": torch.zeros(6), "a": torch.zeros(2, 3)},)


def alone(state, key):
    often = Counter(key(value) for value in state.values())
    return sorted(name for name, value in state.items() if often[key(value)] == 1)


@exercise(
    1, states, notice="The ends of the model and nothing between: so little does a check of shapes check."
)
def known(state):
    """The names of the tensors that no other tensor of the state dict shares its shape with: a sorted
    list."""
    return alone(state, lambda value: value.shape)


known.mistake(
    "You compared the number of elements. (2, 3) and (6,) are two shapes.",
    lambda state: alone(state, lambda value: value.numel()),
)
known.mistake(
    "You took the first of each shape, though others have it, too.",
    lambda state: sorted({value.shape: name for name, value in reversed(state.items())}.values()),
)
known.mistake(
    "(2, 3) and (3, 2) are two shapes.",
    lambda state: alone(state, lambda value: tuple(sorted(value.shape))),
)


def models():
    for depth in (1, 2):
        yield tiny(depth=depth).state_dict(), depth


def theirs(state, depth, cut=lambda value, n: value.chunk(n)):
    found = {}
    for key, names in key_map("huggingface-5", depth).items():
        if key in state:
            found |= dict(zip(names, cut(state[key], len(names)), strict=True))
    return found


def columns(value, n):
    return value.unflatten(0, (-1, n)).unbind(1)


@exercise(2, models, notice="The proof is the logits. PyTorch has checked names and shapes.")
def to_huggingface(state, depth):
    """Our state dict of a model as deep as this, with the names of key_map("huggingface-5", depth)."""
    return theirs(state, depth)


to_huggingface.mistake(
    "Keys and queries are exchanged. Ours are queries, keys, values, as the map lists them.",
    lambda state, depth: theirs(
        state, depth, lambda value, n: [value.chunk(n)[i] for i in ((1, 0, 2) if n == 3 else range(n))]
    ),
)
to_huggingface.mistake(
    "You took every third row. All queries come first, then all keys, then all values.",
    lambda state, depth: theirs(state, depth, columns),
)
to_huggingface.mistake(
    "You transposed the matrices. PyTorch keeps (out, in) on both sides.",
    lambda state, depth: theirs(
        state,
        depth,
        lambda value, n: [
            v.T.contiguous() if v.ndim == 2 and len(v) == len(v.T) else v for v in value.chunk(n)
        ],
    ),
)


def kernels():
    for D, h in ((6, 3), (12, 3), (8, 2)):
        yield *torch.randn(3, D, h, D // h).unbind(), h


def fused(order=(0, 1, 2), turn=lambda w: w.flatten(1).T):
    return lambda query, key, value, h: torch.cat([turn((query, key, value)[i]) for i in order])


@exercise(3, kernels, notice="Flax keeps inputs before outputs, and heads apart.")
def to_qkv(query, key, value, h):
    """Our fused weight (3D, D) from Flax's three kernels, each (D, h, D/h): inputs, heads, outputs of
    a head."""
    return fused()(query, key, value, h)


to_qkv.mistake(
    "You did not turn the kernels: Flax multiplies from the other side, and has inputs first.",
    fused(turn=lambda w: w.flatten(1)),
)
to_qkv.mistake(
    "In yours the heads are shuffled into each other: all of a head's outputs stay together.",
    fused(turn=lambda w: w.transpose(1, 2).flatten(1).T),
)
to_qkv.mistake("The order is queries, keys, values.", fused((1, 0, 2)))
to_qkv.mistake(
    "The three are fused by heads. Ours has all queries first, then all keys, then all values.",
    lambda query, key, value, h: torch.stack(
        [w.permute(1, 2, 0) for w in (query, key, value)], dim=1
    ).reshape(3 * query.shape[0], -1),
)


class Quick(nn.Module):
    """The GELU of OpenAI's CLIP."""

    def forward(self, x):
        """Of any shape."""
        return x * torch.sigmoid(1.702 * x)


FORMS = {"exact": nn.GELU(), "tanh": nn.GELU(approximate="tanh"), "quick": Quick()}


def act(model, form):
    for block in model.blocks:
        block.mlp.act = FORMS[form]
    return model


def strangers():
    model = tiny()
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=0.5)
    state = model.state_dict()
    for form in FORMS:
        stranger = tiny()
        stranger.load_state_dict(state)
        yield act(stranger, form), model, torch.randn(4, 3, 16, 16)


def distances(stranger, model, images, forms=tuple(FORMS)):
    with torch.no_grad():
        right = stranger(images)
        return {form: (act(model, form)(images) - right).abs().max().item() for form in forms}


@exercise(4, strangers, notice="The same weights, three functions: only the logits tell.")
def detective(stranger, model, images):
    """Which GELU the stranger uses, "exact", "tanh" or "quick", from stranger(images); model has its
    weights."""
    found = distances(stranger, model, images)
    return min(found, key=found.get)


@detective.mistake("You named the suspect that is farthest from the stranger.")
def _(stranger, model, images):
    found = distances(stranger, model, images)
    return max(found, key=found.get)


@detective.mistake("You did not ask the quick form, and took it for one of the other two.")
def _(stranger, model, images):
    found = distances(stranger, model, images, ("exact", "tanh"))
    return min(found, key=found.get)


detective.mistake(
    "Whatever is asked, you say exact. A tolerance that is too wide lets the first suspect pass.",
    lambda stranger, model, images: "exact",
)
