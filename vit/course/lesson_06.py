"""Exercises of lesson 6: training."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from vit.course.exercise import Lesson
from vit.course.inputs import tiny

exercise = Lesson(6)


def batch():
    model = tiny().train()
    for steps in (4, 8):
        yield model, torch.randn(8, 3, 16, 16), torch.randint(5, (8,)), steps


def on_copy(answer, model, *arguments):
    """Training changes the model, and is meant to."""
    return answer(copy.deepcopy(model), *arguments)


def train(model, x, y, steps, trained=None, order="zero backward step"):
    optimizer = torch.optim.AdamW((trained or model).parameters(), lr=1e-3)
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        for what in order.split():
            {"zero": optimizer.zero_grad, "backward": loss.backward, "step": optimizer.step}[what]()
    return loss


@exercise(1, batch, probe=on_copy, notice="An optimiser changes what it was given when it was made.")
def fit(model, x, y, steps):
    """Train this model on one batch by AdamW with lr 1e-3. Return the loss before the last step, a number."""
    return train(model, x, y, steps)


fit.mistake(
    "Nothing is learned: the optimiser has another model's parameters, or its gradients are gone at its "
    "step.",
    lambda model, x, y, steps: train(model, x, y, steps, copy.deepcopy(model)),
)
fit.mistake(
    "The gradients of earlier steps are never taken away, and add up.",
    lambda model, x, y, steps: train(model, x, y, steps, order="backward step"),
)


def moments():
    yield torch.tensor([1.0, -2.0]), [torch.tensor([0.5, 0.5])], 0.1, 0.0
    yield torch.randn(5), [torch.randn(5) for _ in range(3)], 0.1, 0.05
    yield torch.randn(5), [torch.randn(5) for _ in range(3)], 0.01, 0.5


def stepped(answer, p, gradients, lr, decay):
    p, m, v = p.clone(), torch.zeros_like(p), torch.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        answer(p, g.clone(), m, v, t, lr, decay)
    return {"p": p, "m": m, "v": v}


def adam(hats=True, in_gradient=False, scaled=True):
    def step(p, g, m, v, t, lr, decay):
        if in_gradient:
            g = g + decay * p
        else:
            p *= 1 - (lr if scaled else 1) * decay
        m.lerp_(g, 0.1)
        v.lerp_(g * g, 0.01)
        m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.99**t)) if hats else (m, v)
        p -= lr * m_hat / (v_hat.sqrt() + 1e-8)

    return step


@exercise(2, moments, probe=stepped, silent=True, notice="Decay and gradient never meet: that is the W.")
def adamw(p, g, m, v, t, lr, decay):
    """Step t = 1, 2, … of AdamW, which changes p, m and v in place: betas 0.9 and 0.99, ε = 1e-8."""
    adam()(p, g, m, v, t, lr, decay)


adamw.mistake("The hats are missing: m and v start at 0 and are too small at first.", adam(hats=False))
adamw.mistake(
    "You added the decay to the gradient, which is Adam with L2. In AdamW it acts on p alone.",
    adam(in_gradient=True),
)
adamw.mistake("The decay is not multiplied by the learning rate.", adam(scaled=False))


@adamw.mistake(
    "Nothing was changed. `p = p - …` makes another tensor; `p -= …` or `p.sub_(…)` changes this one."
)
def _(p, g, m, v, t, lr, decay):
    p, m, v = p.clone(), m.clone(), v.clone()
    return adam()(p, g, m, v, t, lr, decay)


exercise.open(3)


def binomial(n, share, p):
    hits = torch.arange(math.ceil(share * n - 1e-9), n + 1).double()
    return torch.distributions.Binomial(n, torch.tensor(p).double()).log_prob(hits).exp()


@exercise(
    4,
    lambda: [(200, 0.15), (2000, 0.12), (3600, 0.12), (1000, 0.12)],
    notice="For one case in twenty, look for the n where it falls below 0.05.",
)
def reached(n, share):
    """The probability that the best of 1,000 guessers, with p = 0.1, has this share of n right, or more."""
    return 1 - (1 - binomial(n, share, 0.1).sum().item()) ** 1000


reached.mistake(
    "That is one guesser. The best of a thousand reaches it unless all of them fail.",
    lambda n, share: binomial(n, share, 0.1).sum(),
)
reached.mistake(
    "You added up a thousand probabilities, which is more than 1 in places: the events overlap.",
    lambda n, share: 1000 * binomial(n, share, 0.1).sum(),
)
reached.mistake(
    "You asked for more than this share. As much is enough.",
    lambda n, share: 1 - (1 - binomial(n, share, 0.1)[1:].sum().item()) ** 1000,
)
reached.mistake(
    "You took a normal curve. In its tail it is not the binomial distribution.",
    lambda n, share: 1 - (1 - math.erfc((share - 0.1) / math.sqrt(0.18 / n)) / 2) ** 1000,
)


def large_batch():
    model = tiny().train()
    yield model, torch.randn(8, 3, 16, 16), torch.randint(5, (8,)), 2
    yield model, torch.randn(12, 3, 16, 16), torch.randint(5, (12,)), 4


def gradients(answer, model, *arguments):
    model = copy.deepcopy(model)
    answer(model, *arguments)
    return [p.grad for p in model.parameters()]


def in_parts(model, x, y, parts, scale, fresh=False):
    for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
        if fresh:
            model.zero_grad()
        (F.cross_entropy(model(a), b) * scale).backward()


@exercise(
    5, large_batch, probe=gradients, silent=True, notice="backward adds, and nothing mixes the pictures."
)
def accumulate(model, x, y, parts):
    """Leave the gradient of F.cross_entropy over all of x and y in model's parameters, by `parts`
    equal parts."""
    in_parts(model, x, y, parts, 1 / parts)


accumulate.mistake(
    "The gradient is `parts` times too large: the losses are means, and you added them.",
    lambda model, x, y, parts: in_parts(model, x, y, parts, 1),
)
accumulate.mistake(
    "You took the gradients away before each part, and what is left is the last one's.",
    lambda model, x, y, parts: in_parts(model, x, y, parts, 1 / parts, fresh=True),
)
accumulate.mistake(
    "You divided by the number of pictures. The mean inside a part is already taken.",
    lambda model, x, y, parts: in_parts(model, x, y, parts, 1 / len(x)),
)


def averages(first):
    return lambda d, steps, warm: math.prod(
        min(d, (t + first) / (t + first + 9)) if warm else d for t in range(1, steps + 1)
    )


@exercise(
    6,
    lambda: [(0.99, 100, False), (0.9, 10, False), (0.99, 100, True), (0.5, 3, True)],
    atol=1e-12,
    notice="With a constant d a third of it is untrained after 100 steps; the warm-up forgets the start.",
)
def start_share(d, steps, warm):
    """The part of an EMA that is still the start after steps t = 1, 2, …, steps.

    Each keeps d of it, or if `warm` min(d, (1 + t) / (10 + t)).
    """
    return averages(1)(d, steps, warm)


start_share.mistake(
    "That is what is no longer the start.", lambda d, steps, warm: 1 - averages(1)(d, steps, warm)
)
start_share.mistake("Your first step is t = 0. Here it is 1.", averages(0))
start_share.mistake("`warm` makes no difference in yours.", lambda d, steps, warm: d**steps)


def norms():
    for size in (10.0, 0.01):
        yield [size * torch.randn(3, 4), size * torch.randn(5)], 1.0


def clipped(answer, gradients, limit):
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.clone()
    norm = answer(parameters, limit)
    return {"the norm": norm, "the gradients": [p.grad for p in parameters]}


def shorten(factor):
    """A clip whose factor is a function of all norms, the limit and the norm of one parameter's gradient."""

    def clip(parameters, limit):
        norm = torch.stack([p.grad.square().sum() for p in parameters]).sum().sqrt()
        for p in parameters:
            p.grad.mul_(factor(norm, limit, p.grad))
        return norm

    return clip


@exercise(7, norms, probe=clipped, notice="Directions and ratios stay, and a short gradient is left alone.")
def clip(parameters, limit):
    """Shorten the gradients in place to a norm of at most `limit` together. Return their norm before that."""
    return shorten(lambda norm, limit, g: (limit / norm).clamp(max=1.0))(parameters, limit)


clip.mistake(
    "You shortened each parameter's gradient by itself, which changes their ratios.",
    shorten(lambda norm, limit, g: (limit / g.norm()).clamp(max=1.0)),
)
clip.mistake(
    "You make short gradients longer. The factor is at most 1.", shorten(lambda norm, limit, g: limit / norm)
)
clip.mistake(
    "You cut off single components, which turns the gradient.",
    shorten(lambda norm, limit, g: g.clamp(-limit, limit) / g),
)
clip.mistake(
    "You return the norm after clipping. The one before says whether something is wrong.",
    lambda parameters, limit: clip.right(parameters, limit).clamp(max=limit),
)
