"""The prepared quarter of an hour on a GPU: its script runs here on the CPU, at toy sizes."""

import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from vit.config import get_config
from vit.cost import count_parameters, training_flops
from vit.data.sets import load_data
from vit.inference.weights import BEST, read_weights
from vit.training.checkpoint import LAST, read_checkpoint
from vit.training.recipe import get_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def gpu(monkeypatch):
    for folder in ("benchmarks", "benchmarks/gpu"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    import bench
    import seeds
    import speed

    yield bench, seeds, speed
    for name in ("bench", "seeds", "speed", "measure", "throughput"):  # what toy() made small
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three classes of coloured noise as JPEG files, packed as the real set is."""
    root = tmp_path_factory.mktemp("set")
    for part, count in (("train", 20), ("test", 3)):
        for k in range(3):
            folder = root / part / f"class{k}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(0, 80, (32, 32, 3), dtype=torch.uint8)
                pixels[..., k] += 150
                Image.fromarray(pixels.numpy()).save(folder / f"{i}.jpg")
    with tarfile.open(root / "toy.tar.xz", "w:xz") as file:
        for part in ("train", "test"):
            file.add(root / part, part)
    return root / "toy.tar.xz"


def run(tmp_path, archive, *parts, seconds=500, **environment):
    settings = {
        "OUT": tmp_path / "out",
        "WORK": tmp_path / "work",
        "DATA": archive,
        "BEFORE": tmp_path / "no",
    }
    settings |= {"PYTHON": sys.executable, "SECONDS_LEFT": seconds, "OMP_NUM_THREADS": 1, **environment}
    done = subprocess.run(
        [ROOT / "benchmarks/gpu/run.sh", "--quick", *parts],
        env={**os.environ, **{name: str(value) for name, value in settings.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(tmp_path):
    path = tmp_path / "out" / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_parts_run_and_are_neither_done_again_nor_begun_too_late(tmp_path, archive):
    said = run(tmp_path, archive, "tests", "cifar10")
    assert {part for part, result in results(tmp_path).items() if result["done"]} == {"tests", "cifar10"}
    assert results(tmp_path)["tests"]["failures"] == 0 < results(tmp_path)["tests"]["tests"]
    trained = results(tmp_path)["cifar10"]
    accuracies = []
    for seed in ("0", "1"):
        receipt = trained["seeds"][seed]["receipt"]
        assert (receipt["finished"], receipt["recipe"]["seed"]) == (True, int(seed))
        assert receipt["images"] == {"train": 54, "val": 6, "test": 9}
        _, info = read_weights(tmp_path / "out" / f"seed-{seed}.safetensors")
        assert info["test_accuracy"] == receipt["test_accuracy"]
        accuracies.append(receipt["test_accuracy"])
    assert trained["test_accuracy"]["all"] == accuracies
    assert len(list((tmp_path / "out").iterdir())) <= 8  # as many as come back
    assert (tmp_path / "out" / "run.log").read_text() == said

    before = results(tmp_path)
    # What came back is passed in again: elsewhere nothing is done twice.
    (tmp_path / "out").rename(tmp_path / "before")
    (tmp_path / "work").rename(tmp_path / "gone")
    said = run(tmp_path, archive, BEFORE=tmp_path / "before", seconds=5)
    assert "tests: there already" in said
    assert "cifar10: there already" in said
    # And what a spent budget has no time for is skipped with a line.
    for part in ("throughput", "cost"):
        assert re.search(rf"^{part}: skipped, \d s of the budget are left$", said, re.M)
    assert results(tmp_path) == before


@pytest.fixture
def toy(gpu, archive, tmp_path):
    """A `Bench` with time, the toy recipe and its pictures, pickled."""
    bench, seeds, _ = gpu
    work = tmp_path / "work"
    (tmp_path / "out").mkdir()
    data = load_data(str(seeds.unpack(archive, work)))
    here = bench.Bench(tmp_path / "out", work, archive, time.monotonic() + 500, "cpu", quick=True)
    return here, get_recipe("cifar10-gpu", **seeds.TOY), pickle.dumps(data)


def test_interrupted_and_started_again_a_seed_goes_on(gpu, toy):
    _, seeds, _ = gpu
    bench, recipe, pickled = toy

    def train(work, seconds):
        end = time.monotonic() + seconds
        seeds.one_seed(0, [1], recipe, False, pickled, work, end, "cpu", None, None)

    train(bench.work, 0)  # no time: one step, saved
    seeds.collect(bench, [1])
    assert read_checkpoint(bench.work / "seed-1" / LAST)["trainer"]["step"] == 1
    assert bench.results("cifar10") == {}
    train(bench.work, 500)
    seeds.collect(bench, [1])
    result = bench.results("cifar10")["seeds"]["1"]
    assert result["receipt"]["finished"]
    assert result["receipt"]["recipe"]["seed"] == 1
    assert len(result["epochs"]["val_accuracy"]) == recipe.epochs
    train(bench.work.parent / "whole", 500)
    one, two = (
        read_weights(folder)[0].state_dict()
        for folder in (bench.out / "seed-1.safetensors", bench.work.parent / "whole" / "seed-1" / BEST)
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_epochs_are_fitted_to_the_time(gpu):
    _, seeds, _ = gpu
    recipe = get_recipe("cifar10-gpu")
    assert seeds.fitted(recipe, 1.0, 1e6) == recipe
    assert seeds.fitted(recipe, 10.0, 400.0).epochs == 36
    assert seeds.fitted(recipe, 10.0, 1.0).epochs == 1


def test_speed_and_cost_are_written_as_they_come(gpu, toy):
    _, _, speed = gpu
    bench, *_ = toy
    speed.throughput(bench)
    speed.cost(bench)
    cases = bench.results("throughput")["cases"]
    assert set(cases) == {"vit_nano_4/train/bf16", "vit_nano_4/forward/bf16"}
    for case in cases.values():
        assert set(case["images_per_second"]) == set(case["share_of_gemm"]) == {"ours", "timm"}
    bench.put("throughput", cases=dict.fromkeys(cases, "left alone"))
    speed.throughput(bench)
    assert set(bench.results("throughput")["cases"].values()) == {"left alone"}

    (case,) = bench.results("cost")["cases"].values()
    assert case["flops"]["formula"] == case["flops"]["counted"]
    assert case["activation_bytes"]["formula"] == case["activation_bytes"]["kept"]
    assert case["utilisation"] > 0
    assert bench.results("cost")["done"]


def test_a_library_that_fails_is_left_out(gpu, monkeypatch, capsys):
    _, _, speed = gpu
    monkeypatch.setitem(sys.modules["throughput"].LIBRARIES, "timm", lambda config: 1 / 0)
    assert speed.works("ours")
    assert not speed.works("timm")
    assert "without timm: ZeroDivisionError" in capsys.readouterr().out


def test_the_recipe_is_the_size_that_the_page_says(gpu):
    recipe = get_recipe("cifar10-gpu")
    config = get_config(recipe.model, **recipe.model_options)
    assert count_parameters(config) <= 6e6
    flops = 3 * recipe.epochs * training_flops(config, 45_000)
    # 20 % of the 800 TFLOP/s of a large product: three seeds in eight minutes, less 80 s to begin and to end.
    assert flops / (0.2 * 800e12) < 480 - 80
