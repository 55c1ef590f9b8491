"""The models that come with the package are what their papers say."""

import csv
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from torch import nn

from vit import VisionTransformer, get_config
from vit.data.sets import PHOTOGRAPHS, load_data, photograph, photograph_file
from vit.data.shapes import draw
from vit.inference.classifier import SHIPPED, load_classifier, summarise
from vit.inference.weights import read_weights, renamed, weights_bytes
from vit.positions import sincos_2d
from vit.training.recipe import get_recipe

ROOT = Path(__file__).resolve().parent.parent
CIFAR10 = os.environ.get("VIT_CIFAR10")
models = pytest.mark.parametrize("name", ["cifar10", "shapes"])

OLD_FIELDS = ["img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "depth", "num_heads"]
OLD_FIELDS += ["mlp_ratio", "qkv_bias", "pos_embed", "head", "drop_rate", "attn_drop_rate", "drop_path_rate"]


def papers(name):
    return [json.loads((SHIPPED[name] / f"{file}.json").read_text()) for file in ("receipt", "evaluation")]


def test_nothing_else_is_shipped():
    assert set(SHIPPED) == {"cifar10", "shapes"}


@models
def test_the_papers_agree(name):
    receipt, evaluation = papers(name)
    info = load_classifier(name).info
    with (SHIPPED[name] / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    if receipt["finished"]:
        assert len(rows) == receipt["recipe"]["epochs"]
    else:  # stopped early, and tested as it was
        assert len(rows) == receipt["step"] * receipt["recipe"]["epochs"] // receipt["steps"]
    assert int(best["epoch"]) == receipt["best"]["epoch"] == info["epoch"]
    assert float(best["val_accuracy"]) == pytest.approx(receipt["best"]["val_accuracy"], rel=1e-5)
    assert receipt["test_correct"] == evaluation["correct"]
    assert receipt["images"]["test"] == evaluation["count"]
    assert receipt["test_accuracy"] == evaluation["accuracy"] == info["test_accuracy"]
    assert sum(row[k] for k, row in enumerate(evaluation["confusion"])) == evaluation["correct"]
    assert receipt["recipe"] == info["recipe"]


@models
def test_the_file_names_its_licence_and_that_of_its_data(name):
    info = load_classifier(name).info
    assert info["license"].startswith("MIT")
    assert info["data_license"]


def test_the_licences_are_there_and_agree():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert about["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "Attribution 4.0 International" in (ROOT / "LICENSE-text").read_text()
    assert set(citation["license"]) == {"MIT", "CC-BY-4.0"}
    assert citation["version"] == about["version"]
    assert citation["title"] in (ROOT / "docs" / "licence.md").read_text()


def test_the_earlier_run_differs_in_augmentation_and_length_alone():
    """Lesson 6 draws it beside the shipped one."""
    folder, (shipped, _) = SHIPPED["cifar10"] / "weaker", papers("cifar10")
    earlier = json.loads((folder / "receipt.json").read_text())
    other = {key for key, value in earlier["recipe"].items() if value != shipped["recipe"][key]}
    assert other == {"epochs", "rand_ops", "mix_prob"}
    assert earlier["data_sha256"] == shipped["data_sha256"]
    with (folder / "metrics.csv").open() as file:
        before = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    best = max(row["val_accuracy"] for row in before)
    assert best == pytest.approx(earlier["best"]["val_accuracy"])
    assert best < shipped["best"]["val_accuracy"]
    # What the lesson says of the two pairs of curves.
    with (folder.parent / "metrics.csv").open() as file:
        after = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    behind = [a["val_accuracy"] < b["val_accuracy"] for a, b in zip(after, before, strict=False)]
    assert sum(behind) > 0.8 * len(behind)
    overtaken = [row["train_accuracy"] > row["val_accuracy"] for row in before]
    assert not any(overtaken[: len(before) // 2])
    assert sum(overtaken[-len(before) // 4 :]) > 0.8 * len(before) // 4
    assert before[-1]["val_loss"] > min(row["val_loss"] for row in before[:-5])
    assert sum(row["train_accuracy"] > row["val_accuracy"] for row in after) <= 2


def test_the_photographs_of_two_lessons_differ_in_their_cut_and_in_one_answer(tmp_path):
    """Lesson 7 takes the middle of each whole photograph, lesson 9 the square of `PHOTOGRAPHS`."""
    classifier, differ = load_classifier("cifar10"), set()
    for name in PHOTOGRAPHS:
        Image.fromarray(np.asarray(Image.open(photograph_file(name)))).save(tmp_path / f"{name}.png")
        (whole,), (cut,) = (
            classifier.predict(images, top_k=1)
            for images in ([tmp_path / f"{name}.png"], photograph(name, 32)[None])
        )
        if whole[0][0] != cut[0][0]:
            differ.add(name)
    assert differ == {"astronaut"}


def test_the_recipe_is_the_one_of_the_receipt():
    (receipt, _), recipe = papers("cifar10"), get_recipe("cifar10")
    other = {key for key, value in receipt["recipe"].items() if value != getattr(recipe, key)}
    assert other == {"data", "compile"}  # a folder with the JPEG copy; and what is an option


@models
def test_the_model_is_a_plain_vit_and_small(name):
    model = load_classifier(name).model
    assert [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)] == ["patch_embed.proj"]
    assert sum(p.numel() for p in model.parameters()) <= 3_000_000
    path = SHIPPED[name] / "best.safetensors"
    assert path.stat().st_size <= 6_000_000
    with safetensors.safe_open(path, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


def test_the_accuracy_on_shapes_is_reproduced():
    classifier, (receipt, evaluation) = load_classifier("shapes"), papers("shapes")
    result = summarise(*classifier.predict_set(load_data("shapes", 32, train_size=1).test))
    assert result["correct"] == receipt["test_correct"]
    assert result["confusion"].tolist() == evaluation["confusion"]


@pytest.mark.skipif(not CIFAR10, reason="VIT_CIFAR10 does not name a folder with the JPEG copy of CIFAR-10")
def test_the_accuracy_on_cifar10_is_reproduced():
    """`vit evaluate`, as a reader types it."""
    command = [sys.executable, "-m", "vit", "evaluate", "-w", "cifar10", "--data", CIFAR10, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    receipt, evaluation = papers("cifar10")
    assert json.loads(done.stdout)["correct"] == receipt["test_correct"]
    assert json.loads(done.stdout)["confusion"] == evaluation["confusion"]


# -- files of another time, and of another size


@pytest.mark.parametrize(
    ("pool", "fields"),
    [
        ("cls", {"class_token": True, "global_pool": "token"}),
        ("mean", {"class_token": False, "global_pool": "avg"}),
    ],
)
def test_files_that_say_pool_are_read(pool, fields, tmp_path):
    sizes = {"img_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
    model = VisionTransformer(get_config("vit_nano_4", **sizes, **fields))
    old = {k: v for k, v in asdict(model.config).items() if k in OLD_FIELDS} | {"pool": pool}
    about = {"vit": json.dumps({"model": "VisionTransformer", "config": old})}
    safetensors.torch.save_file(model.state_dict(), tmp_path / "old.safetensors", about)
    again, _ = read_weights(tmp_path / "old.safetensors")
    assert again.config == model.config
    assert renamed({"depth": 2}) == {"depth": 2}


def test_the_shipped_files_say_pool_still():
    for name in SHIPPED:
        with safetensors.safe_open(SHIPPED[name] / "best.safetensors", "pt") as file:
            assert set(json.loads(file.metadata()["vit"])["config"]) == {*OLD_FIELDS, "pool"}


@pytest.mark.parametrize("recompute", [False, True])
def test_positions_survive_a_change_of_size_and_a_file(recompute, tmp_path):
    shipped = load_classifier("shapes")
    model, before = shipped.model, shipped.model.pos_embed
    model.set_input_size(48, recompute=recompute)
    (tmp_path / "w.safetensors").write_bytes(weights_bytes(model, {}))
    again, _ = read_weights(tmp_path / "w.safetensors")
    assert torch.equal(again.pos_embed, model.pos_embed)
    assert torch.equal(again.pos_embed, sincos_2d((12, 12), 128)[None]) == recompute
    again.set_input_size(32, recompute=recompute)
    assert torch.equal(again.pos_embed, before)


def test_a_trained_model_keeps_what_it_knows_at_another_size():
    images, labels, _ = draw(torch.arange(200), 48)
    right = {}
    for recompute in (False, True):
        shipped = load_classifier("shapes")
        shipped.model.set_input_size(48, recompute=recompute)
        right[recompute] = (shipped.probabilities(images).argmax(1) == labels).float().mean()
    assert right[False] > 0.9
    assert right[True] < 0.6
