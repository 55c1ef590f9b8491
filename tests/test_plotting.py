import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from vit import plotting
from vit.data.sets import PHOTOGRAPHS, photograph, photograph_cuts, photograph_file


@pytest.fixture(autouse=True)
def figures():
    """Leave no figure and no changed setting behind."""
    with plt.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def render(figure):
    """Really draw: a wrong argument often shows only here."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_pixels_put_channels_last_and_stay_in_range():
    image = torch.rand(3, 4, 5) * 3 - 1
    array = plotting.pixels(image)
    assert array.shape == (4, 5, 3)
    np.testing.assert_array_equal(array[1, 2], image[:, 1, 2].clamp(0, 1).numpy())
    assert plotting.pixels(image[:1].bfloat16()).shape == (4, 5)


def test_draw_image(ax):
    image = torch.rand(3, 4, 5, requires_grad=True)
    plotting.draw_image(ax, image, "a title")
    (artist,) = ax.images
    np.testing.assert_array_equal(artist.get_array(), plotting.pixels(image))
    assert (list(ax.get_xticks()), list(ax.get_yticks()), ax.get_title()) == ([], [], "a title")


def test_a_grey_image_is_not_stretched_to_its_own_range(ax):
    plotting.draw_image(ax, torch.full((1, 4, 4), 0.5))
    assert ax.images[0].get_clim() == (0, 1)


def test_draw_patch_grid(ax):
    plotting.draw_patch_grid(ax, torch.rand(3, 8, 12), 4, numbers=True, highlight=[0, 5])
    assert len(ax.lines) == 4 + 3  # borders of three columns and two rows
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "3", "4", "5"]
    assert ax.texts[4].get_position() == (5.5, 5.5)  # patch 4 is in the second row, second column
    assert {patch.get_xy() for patch in ax.patches} == {(-0.5, -0.5), (7.5, 3.5)}
    assert all(patch.get_width() == patch.get_height() == 4 for patch in ax.patches)
    render(ax.figure)


def test_draw_patch_grid_without_numbers(ax):
    plotting.draw_patch_grid(ax, torch.rand(1, 8, 8), 4)
    assert (len(ax.texts), len(ax.patches)) == (0, 0)


def test_draw_matrix(ax):
    matrix = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    artist = plotting.draw_matrix(ax, matrix, rows=["r", "s"], columns=["a", "b", "c"], values="{:.1f}")
    assert [t.get_text() for t in ax.texts] == ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"]
    assert ax.texts[2].get_position() == (2, 0)  # x is the column, y is the row
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["r", "s"]
    assert (ax.texts[0].get_color(), ax.texts[5].get_color()) == (
        "white",
        "black",
    )  # readable on dark and light
    assert artist.get_clim() == (0, 5)
    render(ax.figure)


def test_draw_matrix_as_colour_alone_on_a_fixed_scale(ax):
    artist = plotting.draw_matrix(ax, torch.rand(3, 3), values=None, limits=(-1, 1), title="t")
    assert (len(ax.texts), artist.get_clim(), ax.get_title()) == (0, (-1, 1), "t")


def test_draw_runs_marks_what_is_apart():
    """Runs of the first that share a value with another's are noise; two runs are too few to say."""
    whole = [0.5, 0.6, 0.55]
    runs = {"whole": whole, "worse": [0.1, 0.2, 0.3], "like": [0.1, 0.5, 0.2], "two": [0.1, 0.1]}
    (ax,) = plotting.draw_runs(runs).axes
    says = [text.get_text() for text in ax.texts]
    assert says == ["55.0", "20.0    apart", "26.7    within the noise", "10.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(runs)
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3, 3, 2]
    render(ax.figure)


def test_draw_attention(ax):
    weights = torch.rand(2, 3)
    artist = plotting.draw_attention(ax, torch.rand(3, 8, 12), weights, query=4, limit=0.9)
    photo, heat = ax.images
    assert heat is artist
    assert photo.get_array().ndim == 2  # grey, so that its colours are not read as attention
    assert list(photo.get_extent()) == list(heat.get_extent()) == [-0.5, 11.5, 7.5, -0.5]
    np.testing.assert_array_equal(heat.get_array(), weights)
    assert heat.get_clim() == (0, 0.9)
    frames = {(frame.get_xy(), frame.get_width(), frame.get_height()) for frame in ax.patches}
    assert frames == {((3.5, 3.5), 4, 4)}  # patch 4 is in the second row, second column
    render(ax.figure)


def test_use_style_works_without_a_notebook():
    plotting.use_style()
    assert plt.rcParams["figure.figsize"] == [plotting.WIDTH, 3.0]
    figure, ax = plt.subplots()
    (line,) = ax.plot([0, 1])
    assert line.get_color() == plotting.CYCLE[0]
    assert render(figure).shape == (300, 680, 4)


# -- photographs


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photograph(name, size):
    image = photograph(name, size)
    assert (image.shape, image.dtype) == ((3, size, size), torch.float32)
    assert image.min() >= 0
    assert 0.5 < image.max() <= 1
    assert image.std() > 0.1
    assert torch.equal(image, photograph(name, size))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_crop_lies_inside_the_photograph(name):
    # A slice past the border would be shorter, and resizing would stretch it without a word.
    top, left, side = PHOTOGRAPHS[name]
    width, height = Image.open(photograph_file(name)).size
    assert 0 <= top <= top + side <= height
    assert 0 <= left <= left + side <= width


def test_a_photograph_at_its_own_size_is_the_crop():
    top, left, side = PHOTOGRAPHS["chelsea"]
    crop = np.asarray(Image.open(photograph_file("chelsea")))[top : top + side, left : left + side]
    np.testing.assert_allclose(photograph("chelsea", side).permute(1, 2, 0), crop / 255, atol=1e-6)


def test_an_unknown_photograph_names_those_there_are():
    with pytest.raises(ValueError, match=r"expected one of chelsea, .*rocket, got 'dog'"):
        photograph("dog")


def test_cuts_are_upright_squares_of_each_photograph_in_turn(monkeypatch):
    def marked(name, size):  # red grows to the right, green downwards, blue says which photograph
        along = torch.linspace(0, 1, size).expand(size, size)
        return torch.stack([along, along.T, torch.full_like(along, list(PHOTOGRAPHS).index(name) / 4)])

    monkeypatch.setattr("vit.data.sets.photograph", marked)
    cuts = photograph_cuts(40, 16)
    assert (cuts.shape, cuts.dtype) == ((40, 3, 16, 16), torch.float32)
    torch.testing.assert_close(cuts[:, 2], (torch.arange(40) % 4 / 4)[:, None, None].expand(-1, 16, 16))
    red, green = cuts[:, 0, 8].diff(dim=1)[:, 4:-4], cuts[:, 1, :, 8].diff(dim=1)[:, 4:-4]  # off the borders
    side = 16 * red.mean(1)  # as a part of the photograph's
    torch.testing.assert_close(16 * green.mean(1), side, atol=0.01, rtol=0)
    assert 0.32 < side.min() < 0.45
    assert 0.9 < side.max() < 1.02


def test_cuts_come_from_their_seed():
    cuts = photograph_cuts(8, 16)
    assert 0 <= cuts.min() <= cuts.max() <= 1
    assert torch.equal(cuts[:4], photograph_cuts(4, 16))
    assert not torch.equal(cuts[0], cuts[4])  # the same photograph, another square
    assert not torch.equal(cuts, photograph_cuts(8, 16, seed=1))
