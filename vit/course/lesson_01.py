"""Exercises of lesson 1: patches."""

import torch
import torch.nn.functional as F

from vit.course.exercise import Lesson
from vit.patches import patchify

exercise = Lesson(1)


def pictures():
    yield torch.arange(16.0).reshape(1, 1, 4, 4), 2
    yield torch.rand(2, 3, 32, 48), 8
    yield torch.rand(1, 3, 24, 16), 4


@exercise(1, pictures, notice="unfold is patchify up to the order of two axes.")
def by_unfold(images, P):
    """Cut images (B, C, H, W) into patches (B, N, C·P·P) with torch.nn.functional.unfold."""
    return patchify(images, P)


by_unfold.mistake(
    "Your axes are (B, C·P·P, N), as unfold returns them: each patch is a column, and should be a row.",
    lambda images, P: F.unfold(images, P, stride=P),
)
by_unfold.mistake(
    "The shape is right and the numbers are in the wrong places: to exchange two axes takes transpose, "
    "not reshape.",
    lambda images, P: F.unfold(images, P, stride=P).reshape(len(images), -1, images.shape[1] * P * P),
)
by_unfold.mistake(
    "You have a window at every pixel: the stride is 1 unless you say otherwise.",
    lambda images, P: F.unfold(images, P).transpose(1, 2),
)


def windows():
    for side in (8, 24):
        images = torch.rand(2, 3, side, side)
        yield F.unfold(images, 16, stride=8, padding=4), side


def fold(windows, side):
    return F.fold(windows, side, 16, stride=8, padding=4)


@exercise(2, windows, notice="Every pixel is in one, two or four windows, and none is lost.")
def put_back(windows, side):
    """The images (B, C, side, side) that F.unfold(images, 16, stride=8, padding=4) made these windows of."""
    return fold(windows, side) / fold(torch.ones_like(windows), side)


put_back.mistake(
    "fold adds: a pixel that lies in four windows comes back four times as bright.",
    fold,
)
put_back.mistake(
    "You divided all pixels by 4. Those near the border lie in two windows or in one.",
    lambda windows, side: fold(windows, side) / 4,
)


@exercise(
    3,
    probe=lambda E: {
        "E is 4 × 4": tuple((E := E().float()).shape) == (4, 4),
        "the columns have length 1 and are orthogonal": torch.allclose(
            E.T @ E, torch.eye(len(E.T)), atol=1e-4
        ),
        "all of the first column is one number, not 0": bool((E[:, 0] == E[0, 0]).all() and E[0, 0]),
    },
    notice="Yours may differ from the solution's: signs and order of the other three columns are free.",
)
def E():
    """A (4, 4) matrix with orthonormal columns, the first of which asks for the mean brightness."""
    return 0.5 * torch.tensor([[1.0, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]])


E.mistake(
    "The columns are orthonormal, but the first does not weigh all four pixels alike: it asks for something "
    "else than the mean brightness.",
    lambda: torch.eye(4),
)
E.mistake(
    "The first column asks for the brightness, but EᵀE is not the identity: look at the lengths of the "
    "columns "
    "and at their products.",
    lambda: torch.tensor([[1.0, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]]),
)


@exercise(
    4,
    lambda: [(2, 96, 160, 16, 32), (1, 224, 224, 16, 768), (4, 32, 64, 8, 12)],
    notice="The channels do not show: the projection has summed over them.",
)
def tokens_shape(B, H, W, P, D):
    """The shape that PatchEmbed's output has for images (B, 3, H, W), as a tuple."""
    return B, (H // P) * (W // P), D


tokens_shape.mistake("You took the picture for a square.", lambda B, H, W, P, D: (B, (H // P) ** 2, D))
tokens_shape.mistake(
    "Tokens are rows: the number of patches comes before the width.",
    lambda B, H, W, P, D: (B, D, (H // P) * (W // P)),
)
tokens_shape.mistake(
    "The grid is still there. For a Transformer it becomes one sequence.",
    lambda B, H, W, P, D: (B, H // P, W // P, D),
)
tokens_shape.mistake("The batch is missing.", lambda B, H, W, P, D: ((H // P) * (W // P), D))
