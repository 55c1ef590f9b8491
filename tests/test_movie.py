"""The film of lesson 9: made from two tiny checkpoints, and the one that comes with the package."""

import json
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load

from vit import create_model
from vit.analysis import filter_components, position_similarity
from vit.data.images import Preprocessing
from vit.inference.classifier import SHIPPED, load_classifier
from vit.training.augment import reseed
from vit.training.checkpoint import checkpoint_bytes

ROOT = Path(__file__).resolve().parent.parent
RECIPE = {"model": "vit_nano_4", "model_options": {"depth": 2}, "img_size": 32, "seed": 3}
PREPROCESSING = Preprocessing(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def movie(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import movie

    monkeypatch.setattr(movie, "CUTS", 4)
    return movie


def checkpoint(path, step, epoch, **trainer):
    rows = [{"epoch": e, "val_accuracy": e / 10} for e in range(1, epoch + 1)]
    state = {"recipe": RECIPE, "data": "abc", "trainer": {"step": step, **trainer}, "rows": rows}
    path.write_bytes(checkpoint_bytes(state))


def test_the_film_of_two_checkpoints(movie, tmp_path, randomise):
    early, late = (randomise(create_model("vit_nano_4", depth=2, img_size=img_size)) for img_size in (24, 32))
    # The average is what the run uses; the model beside it must not be read.
    checkpoint(tmp_path / "a.pt", 70, 7, img_size=32, model={}, average=late.state_dict())
    checkpoint(tmp_path / "b.pt", 21, 2, img_size=24, model={}, average=early.state_dict())
    checkpoint(tmp_path / "c.pt", 29, 2)  # the same epoch, later
    checkpoint(tmp_path / "d.pt", 3, 0)  # before the first row
    film = load(movie.film(tmp_path, PREPROCESSING, classes=10))
    assert film["epoch"].tolist() == [0, 2, 7]
    assert film["step"].tolist() == [0, 21, 70]
    assert film["val_accuracy"][0].isnan()
    torch.testing.assert_close(film["val_accuracy"][1:], torch.tensor([0.2, 0.7]))
    assert {name: tuple(tensor.shape[1:]) for name, tensor in film.items() if tensor.ndim > 1} == {
        "components": (25, 3, 4, 4),
        "explained": (48,),
        "positions": (8, 8, 8, 8),
        "attention": (2, 4, 3, 8, 8),
        "distance": (2, 4),
    }
    reseed(RECIPE["seed"], "weights")
    first = create_model("vit_nano_4", depth=2)  # as the run began
    early.set_input_size(32)
    for t, model in enumerate((first, early, late)):
        components, explained = filter_components(model.patch_embed.proj.weight)
        torch.testing.assert_close(film["components"][t], components[:25].half())
        torch.testing.assert_close(film["explained"][t], explained.half())
        tiles = position_similarity(model.pos_embed, (8, 8)).tiles
        torch.testing.assert_close(film["positions"][t], tiles.half())


def test_frames_are_spread_over_the_run(movie, tmp_path):
    for epoch in range(1, 6):
        checkpoint(tmp_path / f"{epoch}.pt", 10 * epoch, epoch)
    assert [path.stem for path in movie.choose(tmp_path, 3)] == ["1", "3", "5"]


def test_a_folder_without_a_finished_epoch(movie, tmp_path):
    checkpoint(tmp_path / "a.pt", 3, 0)
    with pytest.raises(ValueError, match="at least one finished epoch"):
        movie.film(tmp_path, PREPROCESSING, classes=10)


def test_the_film_that_is_shipped():
    path, config = SHIPPED["cifar10"] / "movie.safetensors", load_classifier("cifar10").model.config
    assert path.stat().st_size <= 600_000
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["vit"])
        film = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    assert about["made by"] == "benchmarks/movie.py"
    assert {"recipe", "data_sha256", "photographs", "cuts", "weights", "versions"} <= set(about)
    T = len(film["epoch"])
    assert 10 <= T <= 25
    assert film["epoch"][0] == film["step"][0] == 0
    assert (film["epoch"].diff() > 0).all()
    assert film["val_accuracy"][1:].isfinite().all()
    assert film["distance"].shape == (T, config.depth, config.num_heads)
    assert film["attention"].shape == (T, 2, config.num_heads, 3, *config.grid_size)
    assert film["positions"].shape == (T, *config.grid_size, *config.grid_size)
    for name in ("components", "explained", "positions", "attention", "distance"):
        assert film[name].isfinite().all(), name
        assert not torch.equal(film[name][0], film[name][-1]), name
