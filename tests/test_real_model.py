"""What was measured of a real model for lessons 8 and 9 is whole, and the script behind it runs."""

from pathlib import Path

import pytest
import torch

from vit.analysis import position_similarity
from vit.data import shapes
from vit.model import VisionTransformer, ViTConfig
from vit.pretrained import load_pretrained
from vit.pretrained.dinov2 import wheel_file
from vit.results import measured

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import real_model

    return real_model


@pytest.fixture
def results():
    return measured("real_model")


@pytest.fixture
def drawn():
    images, _, mask = shapes.draw(torch.arange(6), 64)
    return images, mask


def test_everything_is_there(bench, results):
    assert {"machine", "date", "model", "probe"} <= set(results)
    assert set(results["variants"]) == set(bench.VARIANTS)
    for kind in ("trained", "shuffled", "random"):
        found = results["inside"][kind]
        assert all(len(found[key]) == 12 and len(found[key][0]) == 6 for key in ("distance", "entropy"))
    for found in results["variants"].values():
        for scores in (found["pointing"], found["component"]):
            assert all(0 <= number["mean"] <= 1 and number["error"] < 0.1 for number in scores.values())


def test_markdown_is_that_of_the_results(bench, results):
    assert (ROOT / "benchmarks" / "results" / "real_model.md").read_text() == bench.render(results)


def test_the_lesson_claims_no_more_than_was_measured(results):
    """Lesson 9: colours and random weights find shapes of one colour, the trained model those of texture."""
    flat, texture = (results["variants"][name]["component"] for name in ("as drawn", "by texture"))
    assert flat["trained"]["mean"] + 0.05 < min(flat["colours"]["mean"], flat["random"]["mean"])
    assert texture["trained"]["mean"] > 0.5 + max(texture["colours"]["mean"], texture["random"]["mean"])
    points = {name: found["pointing"] for name, found in results["variants"].items()}
    assert points["as drawn"]["contrast"] == points["inverted"]["contrast"]
    assert points["with a decoy"]["contrast"]["mean"] < 0.1
    assert points["as drawn"]["trained: last block"]["mean"] < points["as drawn"]["flat"]["mean"]
    assert points["by texture"]["trained: last block"]["mean"] > 0.9


def test_lesson_8_ranks_the_features_as_they_were_measured(results):
    one, three, ten = (results["probe"]["scores"][count] for count in ("1", "3", "10"))
    mean = {way: sum(scores) / len(scores) for way, scores in one.items()}
    assert max(mean, key=mean.get) == "cifar10"
    assert min(one["cifar10"]) < max(one["dinov2, random weights"])  # the ranges overlap
    assert mean["dinov2_small"] < min(mean["cifar10"], mean["dinov2, random weights"])
    assert min(three["cifar10"]) > max(max(scores) for way, scores in three.items() if way != "cifar10")
    probes = ("pixels", "cifar10", "dinov2, random weights")
    assert min(ten["dinov2_small"]) > max(max(ten[way]) for way in probes)


def test_lesson_9_says_how_far_the_real_model_looks_and_what_its_twin_knows(results):
    far = [
        sum(heads) / len(heads) / results["uniform_distance"]
        for heads in results["inside"]["trained"]["distance"]
    ]
    assert min(far) < far[-1] - 0.15 < far[0] - 0.15  # it dips, and rises again, not to where it began
    known = {name: score["mean"] for name, score in results["variants"]["by texture"]["component"].items()}
    assert known["colours"] < known["random"] < 0.2 < 0.8 < known["trained"]


def test_a_decoy_takes_the_contrast(bench, drawn):
    images, mask = drawn
    changed = bench.decoyed(images, mask)
    different = (changed != images).any(1)  # (B, S, S)
    assert (different.sum((1, 2)) == 64).all()  # a square of 8x8
    assert ((different * mask).sum((1, 2)) < 16).all()
    hottest = bench.plain_heats(changed, (8, 8))["contrast"].flatten(1).argmax(1)
    assert set(hottest.tolist()) <= {0, 7, 56, 63}  # a corner


def test_textures_do_not_differ_in_lightness(bench, drawn):
    images, mask = drawn
    pictures = bench.textured(images, mask)
    assert pictures.shape == images.shape
    inside, outside = ((pictures[:, 0] * m).sum((1, 2)) / m.sum((1, 2)) for m in (mask, 1 - mask))
    assert (inside - outside).abs().mean() < 0.05
    assert not torch.equal(pictures[0], pictures[1])


def test_the_questions_can_be_asked_of_any_model(bench, monkeypatch):
    config = ViTConfig(img_size=28, patch_size=7, num_classes=0, embed_dim=24, depth=2, num_heads=2)
    torch.manual_seed(0)
    models = {kind: [VisionTransformer(config).eval()] for kind in ("trained", "shuffled", "random")}
    monkeypatch.setattr(bench, "SIDE", 28)
    monkeypatch.setattr(bench, "PICTURES", 4)
    with torch.no_grad():
        found = bench.asked("as drawn", models, lambda images: images)
    assert found["pointing"]["contrast"]["mean"] > found["pointing"]["flat"]["mean"]
    assert found["component"]["colours"]["mean"] > 0.5


@pytest.mark.skipif(wheel_file() is None, reason="the wheel with the real model is not installed")
def test_the_positions_are_still_those(results):
    model = load_pretrained("dinov2_small", img_size=518).model
    found = position_similarity(model.pos_embed, model.config.grid_size)
    assert found.rows.tolist() == pytest.approx(results["positions"]["trained"]["rows"], abs=2e-3)
