"""Exercises of lesson 12: from one laptop to many machines."""

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
