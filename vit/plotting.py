"""Pictures for the lessons. Everything here draws; nothing here computes.

Images are `(C, H, W)` tensors in [0, 1]; a patch is numbered by its place in reading order, from 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vit.data.files import printable
from vit.results import apart

STYLE = rc_params_from_file(Path(__file__).with_name("lessons.mplstyle"), use_default_template=False)
WIDTH = STYLE["figure.figsize"][0]  # inches; the widest figure that a page shows without shrinking it
INK, FAINT, ACCENT = STYLE["text.color"], STYLE["axes.edgecolor"], "#c2410c"
CYCLE = STYLE["axes.prop_cycle"].by_key()["color"]
SEQUENTIAL, DIVERGING = STYLE["image.cmap"], "RdBu_r"  # both keep their order without colour vision


def use_style() -> None:
    """Set the house style: sharp figures, quiet axes, colours for every reader. Call once per notebook."""
    # Only notebooks need it: a machine that trains draws its curves without.
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")
    plt.rcParams.update(STYLE)


def pixels(image: Tensor) -> np.ndarray:
    """`(C, H, W)` in [0, 1] -> `(H, W, C)`, or `(H, W)` for one channel, as matplotlib wants it."""
    array = image.detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def bare(ax: Axes, title: str | None = None) -> Axes:
    """Take away ticks and frame; what is left is the picture."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if title is not None:
        ax.set_title(title)
    return ax


def draw_image(ax: Axes, image: Tensor, title: str | None = None) -> Axes:
    """Draw one image, pixels as squares."""
    ax.imshow(pixels(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return bare(ax, title)


def _frame(ax: Axes, corner: tuple[float, float], width: float, height: float) -> None:
    """Frame a patch, with a white rim so that the frame shows on any picture."""
    for color, linewidth in (("white", 4.5), (ACCENT, 2.8)):
        how = {"fill": False, "zorder": 3, "clip_on": False}  # above grid lines, and whole at the border
        ax.add_patch(plt.Rectangle(corner, width, height, color=color, linewidth=linewidth, **how))


def draw_patch_grid(
    ax: Axes,
    image: Tensor,
    patch_size: int,
    numbers: bool = False,
    highlight: Sequence[int] = (),
    title: str | None = None,
) -> Axes:
    """Draw an image with its patch borders, their numbers if asked, and some patches framed."""
    draw_image(ax, image, title)
    _, H, W = image.shape
    for x in range(0, W + 1, patch_size):
        ax.axvline(x - 0.5, color="white", linewidth=0.7)
    for y in range(0, H + 1, patch_size):
        ax.axhline(y - 0.5, color="white", linewidth=0.7)
    columns = W // patch_size
    back = {"boxstyle": "round,pad=0.12", "facecolor": INK, "alpha": 0.55, "linewidth": 0}
    how = {"ha": "center", "va": "center", "fontsize": 6.5 if columns > 8 else 11}
    for i in range(columns * (H // patch_size) if numbers else 0):
        y, x = (patch_size * (place + 0.5) - 0.5 for place in divmod(i, columns))
        ax.text(x, y, str(i), color="white", bbox=back, **how)
    for i in highlight:
        y, x = divmod(i, columns)
        _frame(ax, (x * patch_size - 0.5, y * patch_size - 0.5), patch_size, patch_size)
    return ax


def draw_matrix(
    ax: Axes,
    matrix: Tensor,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    values: str | None = "{:.2f}",
    cmap: str = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
):
    """Draw a `(rows, columns)` matrix as coloured cells with its numbers in them. Returns the image artist.

    `values` is the format of a number, or None for colour alone; `limits` fixes the colour scale.
    """
    array = matrix.detach().float().cpu().numpy()
    low, high = limits if limits is not None else (float(array.min()), float(array.max()))
    artist = ax.imshow(array, cmap=cmap, vmin=low, vmax=high, aspect="equal")
    ax.spines[:].set_visible(False)
    for y in range(array.shape[0] + 1):  # cell borders, so that a white cell is still a cell
        ax.axhline(y - 0.5, color=FAINT, linewidth=0.6, clip_on=False)
    for x in range(array.shape[1] + 1):
        ax.axvline(x - 0.5, color=FAINT, linewidth=0.6, clip_on=False)
    ax.tick_params(length=0)
    ax.set_xticks(range(array.shape[1]), columns if columns is not None else [""] * array.shape[1])
    ax.set_yticks(range(array.shape[0]), rows if rows is not None else [""] * array.shape[0])
    if values is not None:
        for (y, x), value in np.ndenumerate(array):
            r, g, b, _ = artist.cmap(artist.norm(value))
            ink = "black" if 0.299 * r + 0.587 * g + 0.114 * b > 0.5 else "white"  # perceived lightness
            ax.text(x, y, values.format(value), ha="center", va="center", color=ink, fontsize=8.5)
    if title is not None:
        ax.set_title(title)
    return artist


def draw_attention(
    ax: Axes,
    image: Tensor,
    weights: Tensor,
    query: int | None = None,
    limit: float | None = None,
    title: str | None = None,
):
    """Lay a `(gh, gw)` map of attention over a greyscale copy of the image. Returns the map's artist.

    The picture is grey so that its own colours are not read as attention. `limit` fixes the top of the colour
    scale, so that maps can be compared; without it the map's own maximum is used. `query` frames a patch.
    """
    _, H, W = image.shape
    gh, gw = weights.shape
    how = {"extent": (-0.5, W - 0.5, H - 0.5, -0.5), "vmin": 0}
    ax.imshow(pixels(image.mean(0, keepdim=True)), cmap="gray", vmax=1, **how)
    heat = weights.detach().float().cpu().numpy()
    artist = ax.imshow(heat, cmap=SEQUENTIAL, vmax=limit, alpha=0.6, interpolation="nearest", **how)
    if query is not None:
        y, x = divmod(query, gw)
        _frame(ax, (x * W / gw - 0.5, y * H / gh - 0.5), W / gw, H / gh)
    bare(ax, title)
    return artist


def draw_runs(runs: Mapping[str, Sequence[float]]) -> Figure:
    """Draw accuracies in [0, 1], a dot for each run and a line for each variant, compared with the first.

    The first one's range is shaded. To the right stands the mean; and, from three runs on, how the two lie.
    """
    figure, ax = plt.subplots(figsize=(0.8 * WIDTH, 0.6 + 0.29 * len(runs)))
    first, *others = runs.values()
    ax.axvspan(100 * min(first), 100 * max(first), color=FAINT, alpha=0.5, lw=0)  # lighter: lost in the dark
    for y, found in enumerate((first, *others)):
        ax.plot([100 * a for a in found], [y] * len(found), "o-", ms=5, alpha=0.75, color=CYCLE[y > 0], lw=1)
        text = f"{100 * np.mean(found):.1f}"
        if y and min(len(found), len(first)) >= 3:
            text += "    apart" if apart(found, first) else "    within the noise"
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
    ax.set_yticks(range(len(runs)), runs)
    ax.set(xlim=(0, None), ylim=(len(runs) - 0.5, -0.5), xlabel="accuracy on the test pictures, %")
    return figure


def draw_curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and accuracy over the epochs of a run, from the rows of its `metrics.csv`.

    The figure belongs to no window, so that a run can draw it anywhere, as often as it likes.
    """
    figure = Figure(figsize=(WIDTH, 0.4 * WIDTH), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for ax, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, label in (("train", "training"), ("val", "validation")):
            ax.plot(epochs, [row[f"{part}_{name}"] for row in rows], ".-", ms=4, lw=1.5, label=label)
        ax.set(xlabel="epoch", ylabel=name)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    return figure


def draw_predictions(
    images: Sequence[Tensor], answers: Sequence[Sequence[tuple[str, float]]], titles: Sequence[str]
) -> Figure:
    """Draw `(3, S, S)` uint8 images, four in a row, each above its likeliest classes and their probabilities.

    Titles and classes are text, whatever they hold: no mathematics is read into them.
    """
    rows = -(-len(images) // 4)
    figure = Figure(figsize=(WIDTH, rows * WIDTH / 4 * 1.45), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    for ax, image, answer, title in zip(axes.flat, images, answers, titles, strict=False):
        draw_image(ax, image / 255)
        ax.set_title(printable(title), fontsize=7, parse_math=False)
        says = "\n".join(f"{printable(name)} {p:.0%}" for name, p in answer)
        bare(ax).set_xlabel(says, fontsize=8, parse_math=False)
    return figure
