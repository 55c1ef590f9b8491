"""Exercises of lesson 8: other resolutions and other tasks."""

import torch
import torch.nn.functional as F

from vit.course.exercise import Lesson

exercise = Lesson(8)


def tables():
    ramp = torch.zeros(1, 1 + 12, 2)
    ramp[0, 1:, 0], ramp[0, 1:, 1] = 1, torch.arange(12.0)
    yield ramp, (3, 4), 1
    yield torch.randn(1, 26, 8), (4, 6), 2
    yield 3 * torch.randn(1, 10, 8) + 1, (5, 2), 0


def neighbours(pos_embed, grid, prefix, normalise=True):
    table = pos_embed[0, prefix:][: grid[0] * grid[1]].unflatten(0, grid)
    table = F.normalize(table, dim=-1) if normalise else table
    across = (table[:, :-1] * table[:, 1:]).sum(-1).mean()
    return across.item(), (table[:-1] * table[1:]).sum(-1).mean().item()


@exercise(1, tables, notice="A wide picture stretches the table, and neighbours in a row come closer.")
def alike(pos_embed, grid, prefix):
    """Mean cosine similarity of neighbours in a row, and in a column: a pair, for positions (1, prefix
    + gh·gw, D)."""
    return neighbours(pos_embed, grid, prefix)


alike.mistake(
    "You exchanged rows and columns: neighbours in a row lie side by side.",
    lambda pos_embed, grid, prefix: neighbours(pos_embed, grid, prefix)[::-1],
)
alike.mistake(
    "Those are dot products. A cosine divides by both lengths.",
    lambda pos_embed, grid, prefix: neighbours(pos_embed, grid, prefix, normalise=False),
)
alike.mistake(
    "The class token's row is still in: it comes first and has no place, so all others are shifted.",
    lambda pos_embed, grid, prefix: neighbours(pos_embed, grid, 0),
)


def features():
    centres = torch.randn(4, 8)
    for noise in (1.0, 2.0):
        labels = torch.randint(4, (300,))
        yield centres[labels] + noise * torch.randn(300, 8) + 5, labels, 120


def least_squares(f, labels, n, centre=True, test=slice(120, None)):
    targets = 2.0 * F.one_hot(labels[:n]) - 1
    away, level = (f[:n].mean(0), targets.mean(0)) if centre else (0, 0)
    g, t = f[:n] - away, targets - level
    W = torch.linalg.solve(g.T @ g + 1e-2 * n * torch.eye(f.shape[1]), g.T @ t)
    answer = ((f[test] - away) @ W + level).argmax(1)
    return (answer == labels[test]).float().mean().item()


@exercise(2, features, notice="A probe asks what a straight line can still see in the features.")
def probe(f, labels, n):
    """Accuracy on features f[n:] of a ridge probe fitted to f[:n], as in the lesson (ridge 1e-2,
    targets ±1)."""
    return least_squares(f, labels, n, test=slice(n, None))


probe.mistake(
    "You tested it on the pictures that it was fitted to.",
    lambda f, labels, n: least_squares(f, labels, n, test=slice(0, n)),
)
probe.mistake(
    "You tested it on all pictures, and so on those that it was fitted to.",
    lambda f, labels, n: least_squares(f, labels, n, test=slice(0, None)),
)
probe.mistake(
    "You did not take the means away: all scores then pass through the origin.",
    lambda f, labels, n: least_squares(f, labels, n, centre=False, test=slice(n, None)),
)


def sizes():
    yield 2**30, 2**28
    yield 303_339_557, 303_339_557
    yield 303_339_557, 37_925


@exercise(3, sizes, notice="With the head alone, what stays is the weights.")
def gib(total, trained):
    """GiB of fp32 weights, gradients and AdamW's moments for so many parameters, of which some are
    trained."""
    return (4 * total + 12 * trained) / 2**30


gib.mistake(
    "Those are GB, of 10⁹ bytes. A GiB has 2³⁰.", lambda total, trained: (4 * total + 12 * trained) / 1e9
)
gib.mistake(
    "What is not trained has neither gradients nor moments.", lambda total, trained: 16 * total / 2**30
)
gib.mistake(
    "AdamW keeps two moments for each trained parameter.",
    lambda total, trained: (4 * total + 8 * trained) / 2**30,
)
gib.mistake("The weights that are not trained take memory, too.", lambda total, trained: 16 * trained / 2**30)
