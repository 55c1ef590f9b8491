"""Draw the picture of the home page: a photograph becomes patches, tokens, attention and a class.

The photograph is cut as `vit.patchify` cuts it, and a token's cells are coloured by the first principal
components of its patch. By numpy: to import PyTorch would take longer than all the rest of this. The lines
are a drawing, all equally strong: weights would have to come from a trained model. Colours are site.css's.
"""

import io
from html import escape
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from vit.config import ViTConfig

SIDE, GRID, CELLS = 224, 4, 5  # pixels of the photograph, patches along a side, cells drawn of each token
PATCH = SIDE // GRID
STEP, TOKEN = 32, 26  # from one token to the next, and the width of one
ROW_Y, CELL_H, BLOCK_Y, BLOCK_H, OUT_Y = 222, 8, 318, 84, 420


def chelsea() -> Image.Image:
    """The square of it that all lessons show (`vit.data.PHOTOGRAPHS`)."""
    # By its file: scikit-image's own reader finds nothing in a folder with [brackets] in its path.
    whole = Image.open(Path(skimage.data.__path__[0], "chelsea.png"))
    return whole.crop((75, 0, 375, 300)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def photograph() -> bytes:
    buffer = io.BytesIO()
    chelsea().save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def left(token: int) -> float:
    return 11 + STEP * token


def middle(token: int) -> float:
    return left(token) + TOKEN / 2


def crop(index: int, x: float, y: float, side: float) -> str:
    """One patch: the photograph seen through a window."""
    row, column = divmod(index, GRID)
    window = f"{column * PATCH} {row * PATCH} {PATCH} {PATCH}"
    return (
        f'<svg x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" viewBox="{window}">'
        f'<image href="assets/chelsea.jpg" width="{SIDE}" height="{SIDE}"/></svg>'
    )


def svg(words: dict[str, str]) -> str:
    """The picture; `words` are those of mkdocs.yml, `extra.picture`."""
    grid = np.asarray(chelsea(), dtype=float).reshape(GRID, PATCH, GRID, PATCH, 3)
    patches = grid.swapaxes(1, 2).reshape(GRID**2, -1)  # (16, 56·56·3)
    u, s, _ = np.linalg.svd(patches - patches.mean(0), full_matrices=False)
    scores = u[:, :CELLS] * s[:CELLS]  # (16, CELLS)
    shade = (scores - scores.min(0)) / np.ptp(scores, axis=0)
    tokens = range(GRID**2 + 1)
    out = []

    # The photograph, cut, and a line from each patch to its place in the sequence.
    side, gap = 39, 4
    x0 = 280 - (GRID * side + (GRID - 1) * gap) / 2
    bottom = GRID * side + (GRID - 1) * gap
    for i in range(GRID**2):
        row, column = divmod(i, GRID)
        x = x0 + column * (side + gap) + side * (row + 0.5) / GRID
        red, green, blue = patches[i].reshape(-1, 3).mean(0).astype(int).tolist()
        out.append(
            f'<path class="fan" stroke="rgb({red},{green},{blue})" d="M{x:g} {bottom}C{x:g} {ROW_Y - 20} '
            f'{middle(i + 1):g} {bottom + 15} {middle(i + 1):g} {ROW_Y}"/>'
        )
    for i in range(GRID**2):
        row, column = divmod(i, GRID)
        out.append(crop(i, x0 + column * (side + gap), row * (side + gap), side))

    # The sequence: a class token, then each patch with the vector it becomes.
    out.append(f'<rect class="cls" x="{left(0)}" y="{ROW_Y}" width="{TOKEN}" height="{TOKEN}" rx="3"/>')
    out.append(f'<text class="cls-name" x="{middle(0)}" y="{ROW_Y + 17}">CLS</text>')
    for i in range(GRID**2):
        out.append(crop(i, left(i + 1), ROW_Y, TOKEN))
    for token in tokens:
        for cell in range(CELLS):
            y = ROW_Y + TOKEN + 6 + cell * (CELL_H + 1.5)
            strength = 0.5 if token == 0 else 0.12 + 0.8 * shade[token - 1, cell].item()
            kind = "cell warm" if token == 0 else "cell"
            out.append(
                f'<rect class="{kind}" x="{left(token)}" y="{y:g}" width="{TOKEN}" height="{CELL_H}" '
                f'rx="1.5" fill-opacity="{strength:.2f}"/>'
            )

    # Attention: every token to every token, faintly; what the class token gathers, in colour.
    top, bottom = BLOCK_Y + 10, BLOCK_Y + BLOCK_H - 10
    out.append(f'<rect class="block" x="2" y="{BLOCK_Y}" width="556" height="{BLOCK_H}" rx="8"/>')
    half = (top + bottom) / 2
    every = "".join(
        f"M{middle(a):g} {top}C{middle(a):g} {half:g} {middle(b):g} {half:g} {middle(b):g} {bottom}"
        for a in tokens
        for b in tokens
    )
    out.append(f'<path class="all" d="{every}"/>')
    for token in tokens[1:]:
        out.append(
            f'<path class="gather" stroke-width="1.8" d="M{middle(token):g} {top}C{middle(token):g} '
            f'{top + 40} {middle(0)} {bottom - 50} {middle(0)} {bottom}"/>'
        )
    out.append(
        f'<text class="label" x="552" y="{OUT_Y - 4 + 20}" text-anchor="end">'
        f"{escape(words['read'].format(depth=ViTConfig().depth))}</text>"
    )

    # Out of it comes one vector a token; the class token's becomes the answer.
    out.append(f'<path class="answer" d="M{middle(0)} {bottom}V{OUT_Y}"/>')
    out.append(f'<rect class="pill" x="2" y="{OUT_Y}" width="64" height="28" rx="6"/>')
    out.append(f'<text class="pill-name" x="34" y="{OUT_Y + 19}">{escape(words["answer"])}</text>')
    return (
        f'<svg class="picture" viewBox="0 0 560 452" role="img" aria-label="{escape(words["alt"])}">'
        + "".join(out)
        + "</svg>"
    )
