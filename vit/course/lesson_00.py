"""Exercises of lesson 0: the whole in one sitting."""

import torch

from vit.course.exercise import Lesson
from vit.patches import patchify

exercise = Lesson(0)


def pictures():
    yield torch.arange(16.0).reshape(1, 1, 4, 4), 2
    yield torch.rand(2, 3, 24, 24), 4
    yield torch.rand(1, 3, 8, 12), 4


def cut_as(*axes):
    """A patchify that brings the six axes into this order."""

    def wrong(images, P):
        B, C, H, W = images.shape
        x = images.reshape(B, C, H // P, P, W // P, P).permute(axes)
        return x.reshape(B, H * W // P**2, C * P * P)

    return wrong


@exercise(1, pictures, notice="The permute in the middle is all that makes patches of it.")
def cut(images, P):
    """Cut images (B, C, H, W) into patches (B, N, C·P·P), row by row; in a patch: channel, row, column."""
    return patchify(images, P)


cut.mistake(
    "A row of yours is a stripe of the picture: before the last reshape, the two axes of the grid have to "
    "come to the front.",
    cut_as(0, 1, 2, 3, 4, 5),
)
cut.mistake(
    "Inside a patch you put the channels last. Our order there is channel, row, column.",
    cut_as(0, 2, 4, 3, 5, 1),
)
cut.mistake("Your patches run down the columns. They should run along the rows.", cut_as(0, 4, 2, 1, 3, 5))


def lookers():
    W, places = torch.randn(3, 8, 8), torch.randn(9, 8)

    def attend(x):
        q, k, v = x @ W[0], x @ W[1], x @ W[2]
        return (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v

    def rows(x):
        return x @ W[0]

    for look in (attend, lambda x: attend(x + places), rows, lambda x: x.cumsum(1), lambda x: x + places):
        yield look, torch.randn(2, 9, 8), torch.randperm(9)


@exercise(2, lookers, notice="Attention alone is blind to order. Positions open its eyes.")
def is_blind(attend, x, order):
    """True if shuffling the tokens of x (B, N, D) by `order` shuffles attend(x) in the same way, else
    False."""
    return torch.allclose(attend(x)[:, order], attend(x[:, order]), atol=1e-4)


is_blind.mistake(
    "You always say True, though an attend that adds positions is not blind. Do you compare a thing "
    "with itself?",
    lambda attend, x, order: True,
)
is_blind.mistake(
    "You ask whether the output stays as it was. It should be shuffled, as the input is.",
    lambda attend, x, order: torch.allclose(attend(x), attend(x[:, order]), atol=1e-4),
)


@exercise(3, lambda: [(96,), (1,), (768,)], notice="Nearly all of it is the matrices, 8D².")
def block_parameters(D):
    """How many parameters one block of this lesson has, whose MLP is twice as wide as its tokens."""
    return 8 * D * D + 11 * D


block_parameters.mistake("Each of the four linear layers has a bias.", lambda D: 8 * D * D + 4 * D)
block_parameters.mistake("Two norms have a scale and a shift each.", lambda D: 8 * D * D + 7 * D)
block_parameters.mistake(
    "You made the MLP four times as wide as its tokens. Here it is twice.", lambda D: 12 * D * D + 13 * D
)
