"""Exercises of lesson 2: positions."""

import torch
import torch.nn.functional as F

from vit.course.exercise import Lesson
from vit.positions import interpolate_positions, sincos_1d, sincos_2d

exercise = Lesson(2)


@exercise(
    1, lambda: [(224, 16), (32, 4), (48, 8)], notice="The patches change places, and are otherwise the same."
)
def unnoticed(W, P):
    """The shifts between 1 and W - 1 that a model without positions can't notice, for patches of P, as
    a list."""
    return list(range(P, W, P))


unnoticed.mistake(
    "You found the shifts that divide the width. Ask where the borders of the patches go.",
    lambda W, P: [a for a in range(1, W) if W % a == 0],
)
unnoticed.mistake(
    "You counted in steps of W/P, which is how many patches a row has. A step is as wide as a patch.",
    lambda W, P: list(range(W // P, W, W // P)),
)
unnoticed.mistake(
    "A shift by less than a patch is a new patch at every place.", lambda W, P: list(range(1, P))
)


def turned(answer, D, step):
    """What R makes of the positions: R itself could be another matrix that does the same to them."""
    R, waves = answer(D, step), sincos_1d(60, D)
    return waves[:40] @ R


def hands(D, step):
    angle = step * 10000.0 ** -(torch.arange(D // 2) / (D // 2))
    return angle.cos().diag(), angle.sin().diag()


@exercise(
    2, lambda: [(8, 1), (16, 3), (32, 10)], probe=turned, atol=1e-4, notice="R turns each hand: a rotation."
)
def turn(D, step):
    """The (D, D) matrix R with p[n + step] = p[n] @ R for every row p of sincos_1d."""
    c, s = hands(D, step)
    return torch.cat([torch.cat([c, -s], dim=1), torch.cat([s, c], dim=1)])


@turn.mistake("You turn back: your matrix leads from n to n - step. Transpose it.")
def _(D, step):
    c, s = hands(D, step)
    return torch.cat([torch.cat([c, s], dim=1), torch.cat([-s, c], dim=1)])


turn.mistake("You turn by one step, whatever `step` is.", lambda D, step: turn.right(D, 1))


@turn.mistake("Your sines and cosines stand side by side. In sincos_1d all sines come before all cosines.")
def _(D, step):
    order = torch.arange(D).reshape(2, -1).T.flatten()
    return turn.right(D, step)[order][:, order]


def codes():
    yield torch.arange(4.0).reshape(2, 2), 10 * torch.arange(6.0).reshape(3, 2)
    yield torch.randn(14, 8), torch.randn(14, 8)


@exercise(3, codes, notice="A fourteenth of the parameters for 14 × 14, with as many different rows.")
def positions_2d(rows, columns):
    """Positions (gh·gw, D): the code of a patch's row, of rows (gh, D/2), then that of its column."""
    return torch.cat([rows.repeat_interleave(len(columns), 0), columns.repeat(len(rows), 1)], dim=1)


positions_2d.mistake(
    "You numbered the patches down the columns. Patch 1 lies to the right of patch 0.",
    lambda rows, columns: torch.cat(
        [rows.repeat(len(columns), 1), columns.repeat_interleave(len(rows), 0)], dim=1
    ),
)
positions_2d.mistake(
    "The column's code stands before the row's.",
    lambda rows, columns: torch.cat(
        [columns.repeat(len(rows), 1), rows.repeat_interleave(len(columns), 0)], dim=1
    ),
)
positions_2d.mistake(
    "You added the two codes. They are joined end to end, so that neither can cancel the other.",
    lambda rows, columns: rows.repeat_interleave(len(columns), 0) + columns.repeat(len(rows), 1),
)
positions_2d.mistake(
    "Your positions carry a batch dimension. They are the same for every picture, so (gh·gw, D) will do.",
    lambda rows, columns: positions_2d.right(rows, columns)[None],
)


def tiles():
    for positions in (sincos_1d(196, 768), sincos_2d((14, 14), 768), torch.randn(196, 768)):
        unit = F.normalize(positions, dim=1)
        for query in (61, 130):
            yield (unit @ unit[query]).reshape(14, 14), *divmod(query, 14)


@exercise(4, tiles, notice="Two neighbours were enough.")
def kind(tile, row, column):
    """ "1-D", "2-D" or "noise": what the tile (14, 14) of the patch at (row, column) was made of."""
    beside, below = tile[row, column + 1], tile[row + 1, column]
    if beside < 0.5:
        return "noise"
    return "2-D" if torch.isclose(beside, below, rtol=1e-4) else "1-D"


kind.mistake(
    "You exchanged 1-D and 2-D. For which of them is the patch below as near as the patch beside?",
    lambda tile, row, column: {"1-D": "2-D", "2-D": "1-D", "noise": "noise"}[kind.right(tile, row, column)],
)
kind.mistake(
    "You take noise for 1-D waves: to noise, not even a neighbour is alike.",
    lambda tile, row, column: kind.right(tile + 1, row, column),
)
kind.mistake(
    "You look at one neighbour alone. Beside the query, both kinds of waves are alike.",
    lambda tile, row, column: "noise" if tile[row, column + 1] < 0.5 else "2-D",
)


def there_and_back(positions):
    old = positions[None]
    up = interpolate_positions(old, (14, 14), (28, 28), num_prefix_tokens=0)
    return interpolate_positions(up, (28, 28), (14, 14), num_prefix_tokens=0)[0]


@exercise(
    5,
    lambda: [(sincos_2d((14, 14), 64),), (torch.randn(196, 64),), (3 * torch.randn(196, 16),)],
    notice="Waves survive, noise does not: interpolation assumes that neighbours are alike.",
)
def loss(positions):
    """Resize positions (196, D) from 14 × 14 to 28 × 28 and back: the error's norm over that of the
    positions."""
    return ((there_and_back(positions) - positions).norm() / positions.norm()).item()


loss.mistake(
    "Your loss grows with the positions: divide by their norm.",
    lambda positions: (there_and_back(positions) - positions).norm(),
)
loss.mistake(
    "You divided squares. The norms themselves are asked for, which are their roots.",
    lambda positions: loss.right(positions) ** 2,
)
loss.mistake(
    "You divided two means of absolute values. A norm squares, adds and takes the root.",
    lambda positions: (there_and_back(positions) - positions).abs().mean() / positions.abs().mean(),
)


def waves(places, dim, base):
    angles = places.double()[:, None] * base ** -(torch.arange(dim // 2).double() / (dim // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def grid(base, dim, side):
    at = waves(torch.arange(side), dim // 2, base)
    return torch.cat([at.repeat_interleave(side, dim=0), at.repeat(side, 1)], dim=1)


def cosines(positions):
    unit = F.normalize(positions, dim=1)
    return unit @ unit.T


@exercise(
    6,
    lambda: [(10000.0, 768, 14), (100.0, 768, 14), (100.0, 64, 8)],
    notice="With the smaller base more hands make half a turn on the way across the picture.",
)
def smallest(base, dim, side):
    """The smallest cosine similarity of two rows of the 2-D waves for side × side patches, with this base."""
    return cosines(grid(base, dim, side)).min().item()


smallest.mistake(
    "You compared by dot products. A cosine divides by both lengths.",
    lambda base, dim, side: (grid(base, dim, side) @ grid(base, dim, side).T).min(),
)
smallest.mistake(
    "Those are 1-D waves over all patches. In 2-D half of the width is the row's and half the column's.",
    lambda base, dim, side: cosines(waves(torch.arange(side * side), dim, base)).min(),
)
smallest.mistake(
    "You averaged all similarities. The smallest is asked for.",
    lambda base, dim, side: cosines(grid(base, dim, side)).mean(),
)
