"""Exercises of lesson 12: from one laptop to many machines."""

import math

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from vit.course.exercise import Lesson
from vit.course.inputs import tiny

exercise = Lesson(12)


def uneven():
    for many, size in ((50, 16), (10, 4), (12, 5)):
        yield torch.randn(8, 3), torch.randn(many, 8), torch.randint(3, (many,)), size


def slope(W, x, y):
    W = W.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(x @ W, y), W)[0]


def parts(W, x, y, size):
    return [(slope(W, a, b), len(b)) for a, b in zip(x.split(size), y.split(size), strict=True)]


@exercise(1, uneven, notice="Each picture counts once, in whatever part it is.")
def gradient(W, x, y, size):
    """The gradient by W of F.cross_entropy(x @ W, y), from parts of at most `size` pictures."""
    return slope(W, x, y)


gradient.mistake(
    "That is the mean of the parts' gradients: a picture in a small part counts for more.",
    lambda W, x, y, size: sum(g for g, _ in parts(W, x, y, size)) / len(parts(W, x, y, size)),
)
gradient.mistake(
    "You added the parts' gradients without weights, though each is a mean already.",
    lambda W, x, y, size: sum(g for g, _ in parts(W, x, y, size)),
)
gradient.mistake(
    "You left out the last part, which is smaller.",
    lambda W, x, y, size: (
        sum(g * n for g, n in parts(W, x, y, size)[:-1]) / sum(n for _, n in parts(W, x, y, size)[:-1])
    ),
)
gradient.mistake(
    "You weighed by the size of a whole part, and the last one is smaller.",
    lambda W, x, y, size: sum(g * size for g, _ in parts(W, x, y, size)) / len(y),
)


@exercise(
    2,
    lambda: [(6.8e8, 6.75e12, 989e12, 0.4, 2 / 3), (1e9, 1e13, 1e14, 0.5, 0.5)],
    notice="A wire as fast as this is never waited for.",
)
def bandwidth(sent, flops, peak, utilisation, hidden):
    """The bytes per second at which `sent` bytes take the hidden part of the seconds that a step computes."""
    return sent / (hidden * flops / (peak * utilisation))


bandwidth.mistake(
    "You gave the wire the whole of the computing time. Only the backward pass hides it.",
    lambda sent, flops, peak, utilisation, hidden: sent / (flops / (peak * utilisation)),
)
bandwidth.mistake(
    "You counted with the peak. A step computes at peak × utilisation.",
    lambda sent, flops, peak, utilisation, hidden: sent / (hidden * flops / peak),
)
bandwidth.mistake(
    "You gave the wire the forward pass, which is the part that is not hidden.",
    lambda sent, flops, peak, utilisation, hidden: sent / ((1 - hidden) * flops / (peak * utilisation)),
)
bandwidth.mistake(
    "That is in bits. Bytes are eight times fewer.",
    lambda sent, flops, peak, utilisation, hidden: 8 * sent * peak * utilisation / (hidden * flops),
)


def batches():
    yield tiny(depth=4).train(), torch.randn(4, 3, 16, 16)


def forgets(answer, model, images):
    """What the forward pass keeps, and what comes of it."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def run(forward):
        kept = {}

        def pack(t):
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage()
            return t

        model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = forward(model, images)
        size = sum(s.nbytes() for address, s in kept.items() if address not in own)
        if out.requires_grad:
            out.square().sum().backward()
        return size, out.detach(), [torch.zeros(()) if p.grad is None else p.grad for p in model.parameters()]

    much, right, whole = run(lambda model, images: model(images))
    little, out, found = run(answer)
    same = [
        a.shape == b.shape and torch.allclose(a, b, 1e-3, 1e-4) for a, b in zip(found, whole, strict=True)
    ]
    model.zero_grad()
    return {
        "the logits are the model's": out.shape == right.shape and torch.allclose(out, right, 1e-3, 1e-4),
        "the gradients are the model's": all(same),
        "a third of the bytes or less is kept": little < much / 3,
    }


def by_blocks(run):
    def forward(model, images):
        x = model.embed(images)
        for block in model.blocks:
            x = run(block, x)
        return model.forward_head(model.norm(x))

    return forward


@exercise(3, batches, probe=forgets, notice="A fourth forward pass is paid for it, a third more arithmetic.")
def forgetful(model, images):
    """The model's logits, each block run by torch.utils.checkpoint, so that only its input is kept."""
    return by_blocks(lambda block, x: checkpoint(block, x, use_reentrant=False))(model, images)


forgetful.mistake(
    "All is as it should be, and nothing is forgotten: autograd keeps what every block computes.",
    by_blocks(lambda block, x: block(x)),
)


def silently(block, x):
    with torch.no_grad():
        return block(x)


forgetful.mistake(
    "Little is kept, and the gradients are wrong: without a graph, or cut off, blocks do not learn.",
    by_blocks(silently),
)
forgetful.mistake(
    "The logits are wrong, and the gradients with them. What comes after the blocks, and before?",
    lambda model, images: (
        lambda x: [x := checkpoint(block, x, use_reentrant=False) for block in model.blocks][-1].mean(1)
    )(model.embed(images)),
)


def roundings():
    """Weights of many sizes, and updates of about half the distance from one bf16 number to the next."""
    weights = torch.randn(2000) * torch.logspace(-3, 2, 2000)
    yield weights, weights * 2 ** torch.empty(2000).uniform_(-10, -7)
    yield 1 + torch.rand(500), torch.empty(500).uniform_(-0.008, 0.008)


@exercise(4, roundings, notice="An update has to be about 1/512 to 1/256 of its weight.")
def arrives(weights, updates):
    """`(M,)` and `(M,)` in fp32 to `(M,)` booleans: which weights does it move, both kept in bf16?"""
    weights = weights.bfloat16()
    return weights + updates.bfloat16() != weights


arrives.mistake(
    "You added in fp32. There every one of these arrives.",
    lambda weights, updates: weights + updates != weights,
)
arrives.mistake(
    "You added in fp32 and rounded the sum. A weight kept in bf16 has lost its rest before.",
    lambda weights, updates: (weights + updates).bfloat16() != weights.bfloat16(),
)
arrives.mistake(
    "You held every update against one number. The distance to the next weight grows with the weight.",
    lambda weights, updates: updates.abs() > torch.finfo(torch.bfloat16).eps,
)
arrives.mistake(
    "You asked for the whole way to the next number. Half of it is enough: sums are rounded.",
    lambda weights, updates: updates.abs() > torch.finfo(torch.bfloat16).eps * weights.abs(),
)


def epochs():
    yield torch.randperm(64), 8, 2
    yield torch.randperm(50), 12, 4


def together(answer, order, batch, world):
    """What all ranks take of an epoch: how much each of them in each step, and what they all have of it."""
    ranks = [list(answer(order, batch, rank, world)) for rank in range(world)]
    return {
        "the steps of each rank": [len(steps) for steps in ranks],
        "the pictures of each rank in a step": [[len(share) for share in steps] for steps in ranks],
        "the pictures of a step": [torch.cat(step).sort().values for step in zip(*ranks, strict=False)],
    }


def whole(order, batch):
    return order[: len(order) // batch * batch].split(batch)


@exercise(5, epochs, probe=together, notice="So all ranks must shuffle with the same seed.")
def shares(order, batch, rank, world):
    """The pictures of this rank in every step: tensors, equal parts of `batch` entries of `order`."""
    return [part[rank::world] for part in whole(order, batch)]


shares.mistake(
    "Every rank takes the whole batch: all compute the same gradient.",
    lambda order, batch, rank, world: whole(order, batch),
)
shares.mistake(
    "You cut up the epoch instead of the batch: a step has other pictures than with one process.",
    lambda order, batch, rank, world: whole(order.chunk(world)[rank], batch // world),
)
shares.mistake(
    "Each rank takes `batch` pictures in a step: the batch is that of all ranks.",
    lambda order, batch, rank, world: whole(order[rank::world], batch),
)
shares.mistake(
    "All ranks take the share of rank 0.",
    lambda order, batch, rank, world: [part[::world] for part in whole(order, batch)],
)


@exercise(
    6,
    lambda: [(40.0, 0.5, 0.37), (95.0, 0.8, 0.31), (30.0, 0.2, 0.23)],
    notice="A compiled step that is no quicker never pays.",
)
def pays_after(compiling, eager, compiled):
    """The first number of steps after which more seconds are won than lost; math.inf if none is."""
    return math.floor(compiling / (eager - compiled)) + 1 if compiled < eager else math.inf


pays_after.mistake(
    "You divided by a whole step. Each step wins only the difference.",
    lambda compiling, eager, compiled: math.floor(compiling / eager) + 1 if compiled < eager else math.inf,
)
pays_after.mistake(
    "A step that is slower when compiled never pays: math.inf.",
    lambda compiling, eager, compiled: math.floor(compiling / (eager - compiled)) + 1,
)
pays_after.mistake(
    "That is no whole number of steps: round it up.",
    lambda compiling, eager, compiled: compiling / (eager - compiled) if compiled < eager else math.inf,
)
