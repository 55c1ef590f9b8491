"""What docs/hooks/figures.py takes for a picture, which keeps its colours in dark mode."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "docs/hooks"))
import figures


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return file.getvalue()


def found(figure):
    return figures.pictures(np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")))


@pytest.fixture
def figure():
    return Figure(figsize=(5, 3), layout="constrained")


def test_curves_and_bars_are_turned_whole(figure):
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(9) ** 2, label="loss")
    left.legend()
    right.bar(["a", "b"], [3, 5], color="#1f77b4")
    assert found(figure) == []


def test_a_band_behind_dots_is_turned_with_them(figure):
    ax = figure.subplots()
    ax.axvspan(50, 52, color="#e7e9ec")
    for row, color in enumerate(("#0b5f9e", "#b23c0b", "#3d6b1f")):
        ax.plot([40, 50.5, 51.5], [row] * 3, "o-", color=color)
    assert found(figure) == []


def test_pictures_and_their_scale_stay(figure):
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(9))
    shown = right.imshow(np.arange(64).reshape(8, 8), cmap="viridis")
    figure.colorbar(shown, ax=right)
    image, scale = found(figure)
    assert image[0] > 45
    assert image[2] - image[0] > 25
    assert scale[0] > image[2]
    assert scale[2] - scale[0] < 6


def test_a_picture_that_runs_into_the_ground_is_not_guessed_at(figure):
    axes = figure.subplots()
    axes.axis("off")
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 900
    axes.imshow(np.where(disc, columns / 64, 1.0), cmap="gray", vmin=0, vmax=1)
    assert found(figure) is None


def test_files_are_made_once_and_lose_nothing(figure, tmp_path, monkeypatch):
    figure.subplots().plot([1, 2])
    content, suffix, pictures = figures.files(png(figure), tmp_path)
    same = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (content, png(figure))]
    assert suffix == ".webp"
    assert np.array_equal(*same)
    assert len(content) < len(png(figure))
    monkeypatch.setattr(figures, "pictures", lambda _: pytest.fail("made again"))
    assert figures.files(png(figure), tmp_path) == (content, suffix, pictures)
