"""Exercises of lesson 10: data, scale and inductive bias."""

import math

import torch
import torch.nn.functional as F

from vit.course.exercise import Lesson
from vit.course.inputs import whole

exercise = Lesson(10)


def field_of(strides, late=True, own=1, stretch=True):
    field, step = 1, 1
    for stride in strides:
        if not late and stretch:
            step *= stride
        field += (3 - own) * step
        if late and stretch:
            step *= stride
    return field


@exercise(
    1,
    lambda: [([1],), ([2, 1],), ([1, 2, 1, 2, 1],), ([2, 2, 2, 1],)],
    notice="Strides let a CNN see far with few layers. A ViT's first layer sees everything.",
)
def field(strides):
    """The side, in input pixels, of what one output of 3 × 3 convolutions with these strides depends on."""
    return field_of(strides)


field.mistake(
    "A layer's own stride spreads its outputs, not its inputs: it counts from the next layer on.",
    lambda strides: field_of(strides, late=False),
)
field.mistake(
    "You forgot the strides: after one of 2, a step is two input pixels.",
    lambda strides: field_of(strides, stretch=False),
)
field.mistake("A layer widens the field by k - 1 steps, not by k.", lambda strides: field_of(strides, own=0))


def pixels():
    yield whole(1, 1, 8, 8), whole(9, 64)
    yield torch.randn(1, 1, 8, 8), torch.randn(9, 64)


def neighbourhoods(x, mode="circular"):
    return F.unfold(F.pad(x, (1, 1, 1, 1), mode=mode), 3)


def placed(columns, weights):
    return (columns * weights).sum(1).reshape(1, 1, 8, 8)


@exercise(2, pixels, notice="Half of a convolution's bias: it looks nearby, and learns each place anew.")
def local(x, weights):
    """Each output of (1, 1, 8, 8) is its 3 × 3 neighbours in x, around the edge, times a column of (9,
    64)."""
    return placed(neighbourhoods(x), weights)


local.mistake(
    "Your picture ends at the edge. Here the other side comes next: padding of mode circular.",
    lambda x, weights: placed(neighbourhoods(x, "constant"), weights),
)
local.mistake(
    "You turned the kernels: what deep learning calls a convolution does not flip them.",
    lambda x, weights: placed(neighbourhoods(x), weights.flip(0)),
)
local.mistake(
    "All places share the first place's weights in yours. That is a convolution.",
    lambda x, weights: placed(neighbourhoods(x), weights[:, :1]),
)


def seers():
    W = torch.randn(3 * 6 * 6, 4)
    for B in (1, 3):
        yield lambda x: (x.flatten(1) @ W).tanh(), torch.randn(B, 3, 6, 6)


def over(shifts, axis=3):
    return lambda model, x: torch.stack([model(x.roll(s, axis)) for s in shifts]).mean(0)


@exercise(3, seers, notice="An exact invariance, whatever the weights, at W times the price.")
def averaged(model, x):
    """The mean of model's answers to all W shifts to the side of x (B, C, H, W), what leaves coming in
    again."""
    return over(range(x.shape[3]))(model, x)


averaged.mistake("You shifted up and down. To the side is the last axis.", over(range(6), axis=2))
averaged.mistake("You left out the picture as it is: W shifts count from 0.", over(range(1, 6)))
averaged.mistake(
    "You added the answers. Divide by their number.", lambda model, x: over(range(6))(model, x) * 6
)
averaged.mistake(
    "You averaged the pictures. Their answers are to be averaged.",
    lambda model, x: model(torch.stack([x.roll(s, 3) for s in range(6)]).mean(0)),
)


@exercise(
    4,
    lambda: [(1.0, 1.5), (0.5, 1.0), (2.0, 0.7)],
    notice="Even so, half of such experiments find less than two standard errors.",
)
def seeds(difference, s):
    """How many seeds of each model make their difference two standard errors, for a spread s over seeds."""
    return math.ceil(2 * (2 * s / difference) ** 2)


seeds.mistake(
    "Both means are uncertain: the variance of their difference is twice that of one.",
    lambda difference, s: math.ceil((2 * s / difference) ** 2),
)
seeds.mistake(
    "That is one standard error. Two are asked for.",
    lambda difference, s: math.ceil(2 * (s / difference) ** 2),
)
seeds.mistake(
    "The error shrinks with the root of n, so that n grows with the square.",
    lambda difference, s: math.ceil(2 * (2 * s / difference)),
)
