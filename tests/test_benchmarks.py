"""The measurements of lessons 6 and 10: the committed results are whole, and the scripts behind them run."""

import copy
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from vit import VisionTransformer, ViTConfig
from vit.convnet import ConvNet
from vit.data.images import FileImages, MemoryImages
from vit.data.sets import Dataset, load_data
from vit.results import apart, measured
from vit.training.plan import FEW
from vit.training.recipe import Recipe, get_recipe

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("drawn_once")
RESULTS = ROOT / "vit" / "results" / "data_and_bias.json"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import data_and_bias

    return data_and_bias


@pytest.fixture(scope="module")
def pool():
    whole = load_data("shapes", 24, train_size=400)
    held_out = (MemoryImages(part.images[:200], part.labels[:200]) for part in (whole.val, whole.test))
    return Dataset("shapes", whole.classes, whole.train, *held_out)


@pytest.fixture
def results():
    return json.loads(RESULTS.read_text())


def test_every_run_of_the_grid_is_there(bench, results):
    wanted = [*bench.pilot(), *bench.plan(bench.best_rates(results["cases"]))]
    assert set(results["cases"]) == {run.key for run in wanted}
    for run in wanted:
        case = results["cases"][run.key]
        assert {k: case[k] for k in ("lr", "images", "augment", "shuffle")} == {
            "lr": pytest.approx(run.lr),
            "images": run.images,
            "augment": run.augment,
            "shuffle": run.shuffle,
        }
        assert case["steps"] == run.steps
        assert ("test_accuracy" in case) == (run.arm != "pilot")  # the test pictures choose nothing
        assert all(0.05 < case[k] <= 1.0 for k in case if k.endswith("_accuracy"))
    assert {"device", "cores", "threads", "versions"} <= set(results["machine"])


def test_the_costs_are_those_of_the_models(bench, results):
    for name, cost in results["costs"].items():
        model, times = name.split("/x")
        assert cost == bench.cost(model, int(times))
    for times in (1, 2, 4):
        ours, theirs = (results["costs"][f"{m}/x{times}"]["parameters"] for m in ("vit", "cnn"))
        assert ours == pytest.approx(theirs, rel=0.03)


def test_markdown_is_that_of_the_results(bench, results):
    assert (ROOT / "benchmarks" / "results" / "data_and_bias.md").read_text() == bench.render(results)


def test_the_lesson_computes_the_table_of_the_results(results):
    """The lesson's own function, taken out of the notebook, against sums written out here."""
    notebook = nbformat.read(ROOT / "notebooks" / "10_data_and_bias.ipynb", as_version=4)
    (source,) = (cell.source for cell in notebook.cells if "def summarise" in cell.source)
    names = {"statistics": statistics, "json": json, "results": json.loads(RESULTS.read_text())}
    exec(compile(source, "lesson 10", "exec"), names)
    for images in (200, 600, 2_000, 6_000, 20_000):
        for model in ("vit", "cnn"):
            values = [
                case["test_accuracy"]
                for key, case in results["cases"].items()
                if key.startswith(f"main/{model}/x1/{images}/")
            ]
            mean = sum(values) / len(values)
            sd = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
            assert len(values) == 3
            assert names["summarise"]("main", model, images) == pytest.approx((mean, sd))


def test_a_run_that_is_there_is_not_made_again(bench, pool, tmp_path, monkeypatch):
    # Threads where the script has processes: it is the bookkeeping that is tested.
    monkeypatch.setattr(bench, "ProcessPoolExecutor", ThreadPoolExecutor)
    rates, out = dict.fromkeys(bench.MODELS, 1e-3), tmp_path / "results.json"
    runs = bench.plan(rates, sizes=(70,), seeds=1, steps=2)
    assert bench.measure(runs[:1], out, pool, minutes=9, workers=1)
    first = json.loads(out.read_text())
    first["cases"][runs[0].key]["mark"] = "left alone"
    out.write_text(json.dumps(first))
    assert not bench.measure(runs[:2], out, pool, minutes=0, workers=1)  # no time: none is started
    assert set(json.loads(out.read_text())["cases"]) == {runs[0].key}
    assert bench.measure(runs, out, pool, minutes=9, workers=1)
    cases = json.loads(out.read_text())["cases"]
    assert set(cases) == {run.key for run in runs}
    assert cases[runs[0].key]["mark"] == "left alone"
    assert runs[-1].key in cases
    assert "| main | CNN | ×1 | 70 | 0.001 |" in out.with_suffix(".md").read_text()


def test_seeds_have_different_pictures(bench, pool):
    run = bench.Run(arm="main", model="cnn", images=100, seed=1, lr=1e-3)
    data = bench.prepare(run, pool)
    torch.testing.assert_close(data.train.images, pool.train.images[100:200])
    assert data.test.images is pool.test.images


def test_shuffling_moves_whole_patches_alike_in_all_pictures(bench, pool):
    run = bench.Run(arm="shuffled", model="cnn", images=50, seed=0, lr=1e-3, shuffle=True)
    data = bench.prepare(run, pool)
    images = pool.test.images
    assert not torch.equal(data.test.images, images)
    # Where a patch of the first picture went, the same patch of every picture went.
    corner = images[:, :, :4, :4]
    places = [
        (y, x)
        for y in range(0, 24, 4)
        for x in range(0, 24, 4)
        if torch.equal(data.test.images[:, :, y : y + 4, x : x + 4], corner)
    ]
    assert len(places) == 1


def test_models_of_the_grid(bench):
    assert isinstance(bench.build("cnn"), ConvNet)
    assert bench.build("vit", 4).config.embed_dim == 4 * bench.build("vit").config.embed_dim
    assert bench.build("learned").cls_token is not None
    assert bench.best_rates(
        {
            f"{model}{lr}": {"arm": "pilot", "model": model, "lr": lr, "val_accuracy": accuracy}
            for model in bench.MODELS
            for lr, accuracy in ((1e-3, 0.5), (2e-3, 0.6), (4e-3, 0.4))
        }
    ) == dict.fromkeys(bench.MODELS, 2e-3)


@pytest.fixture
def bad_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import curves

    return curves


def test_every_run_that_goes_wrong_is_there_and_begins_like_that_again(bad_runs):
    results = json.loads((ROOT / "vit" / "results" / "curves.json").read_text())
    assert set(results["cases"]) == set(bad_runs.CASES)
    assert {"device", "cores", "threads", "versions"} <= set(results["machine"])
    for name, (recipe, count, shuffled) in bad_runs.CASES.items():
        case = results["cases"][name]
        assert Recipe(**case["recipe"]) == recipe
        assert (case["pictures"], case["shuffled"]) == (count, shuffled)
        assert all(len(case[column]) == recipe.epochs for column in bad_runs.COLUMNS)
    for name in ("200 pictures", "shuffled labels"):  # the short epochs
        recipe, count, shuffled = bad_runs.CASES[name]
        again, case = bad_runs.execute(recipe, bad_runs.pictures(count, shuffled), 1), results["cases"][name]
        for column in ("train_loss", "val_loss"):
            assert again[column] == pytest.approx(case[column][:1], abs=0.005)


@pytest.fixture
def pilots(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import pilots

    return pilots


def test_every_pilot_of_cifar10_is_there_and_the_recipe_follows_the_best(pilots):
    results = json.loads((ROOT / "vit" / "results" / "pilots.json").read_text())
    cases, accuracies = results["cases"].values(), {}
    assert {(c["optimizer"], c["lr"], c["seed"]) for c in cases} == {
        (r.optimizer, r.lr, r.seed) for r in pilots.pilots()
    }
    for case in cases:
        assert case["steps"] == pilots.STEPS
        accuracies.setdefault((case["optimizer"], case["lr"]), []).append(case["val_accuracy"])
    recipe = get_recipe("cifar10")
    means = {key: statistics.mean(values) for key, values in accuracies.items()}
    assert (recipe.optimizer, recipe.lr) == max(means, key=means.get)
    # Lesson 6: even the worst of Muon's rates is ahead of AdamW's best.
    adamw, muon = ([m for (name, _), m in means.items() if name == o] for o in ("adamw", "muon"))
    assert min(muon) > max(adamw)


def test_a_pilot_trains_without_test_pictures(pilots, pool):
    data = replace(pool, test=None)
    recipe = replace(pilots.RECIPE, batch_size=16, model_options={"depth": 1}, optimizer="muon")
    once, twice = (pilots.execute(recipe, data, steps=3) for _ in range(2))
    assert once["val_accuracy"] == twice["val_accuracy"]
    assert once["val_loss"] == twice["val_loss"]
    assert (once["optimizer"], once["steps"]) == ("muon", 3)


def test_both_steps_of_the_loading_benchmark_train(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import loading

    monkeypatch.setattr(loading.vit_data, "IN_MEMORY", loading.vit_data.IN_MEMORY)  # which it changes
    monkeypatch.setitem(loading.BATCH, 32, 8)
    loading.write_files(tmp_path, (32, 32), 40)
    for in_memory, kind in ((True, MemoryImages), (False, FileImages)):
        for step in loading.steps(tmp_path, 32, in_memory, "vit_nano_4").values():
            trainer = step.__self__
            assert isinstance(trainer.train_images, kind)
            step()
            step()
            assert trainer.step == 2
            assert trainer.progress()[0] > 0


# -- small folders of pictures


@pytest.fixture
def small(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import small_sets

    return small_sets


def fake_cifar(folder, count=8):
    for k, name in enumerate(("frog", "ship")):
        (folder / "test" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (32, 32), (120 * k + 10 * i, 15 * i, 0)).save(
                folder / "test" / name / f"{i}.jpg"
            )
    return folder


def test_the_parts_of_a_small_set_share_no_picture(small, monkeypatch, tmp_path):
    monkeypatch.setitem(small.SETS, "few", small._photographs(("frog", "ship"), 4, 2))
    folder = small.write_set("few", tmp_path / "sets", fake_cifar(tmp_path / "cifar"))
    parts = {
        place: {path.read_bytes() for path in (folder / place).glob("*/*.png")}
        for place in ("run/train", "dev", "test")
    }
    assert [len(pictures) for pictures in parts.values()] == [8, 4, 4]
    assert len(set.union(*parts.values())) == 16
    assert small.read(folder / "dev", 16)[0].shape == (4, 16, 16, 3)


def test_a_small_set_is_learnt_and_measured_apart(small, monkeypatch, tmp_path):
    monkeypatch.setitem(small.SETS, "few", small._photographs(("frog", "ship"), 4, 2))
    tiny = {"epochs": 1, "model_options": {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}}
    monkeypatch.setitem(small.CANDIDATES, "folder", ("folder", tiny, (0,)))
    folder = small.write_set("few", tmp_path / "sets", fake_cifar(tmp_path / "cifar"))
    found = small.execute(folder, "folder", 0)
    assert (found["img_size"], found["patch_size"], found["epochs"]) == (32, 8, 1)
    assert 0 <= found["dev"] <= 1
    assert 0 <= found["test"] <= 1


def test_what_was_measured_on_small_sets_is_whole(small):
    """What `vit train` does by default is above all that has no network, but for less than one in a hundred
    digits; and from nothing on each set but those and drawn shapes."""
    results = json.loads((RESULTS.parent / "small_sets.json").read_text())
    for name in small.SETS:
        plain = results["cases"][f"{name}/baselines"]
        best = max(plain[method]["dev"] for method in small.METHODS)
        found = {way: [] for way in ("folder", "from cifar10")}
        for key, case in results["cases"].items():
            way = key.removeprefix(f"{name}/").partition("/")[0]
            if key.startswith(f"{name}/") and way in found:
                found[way].append(case["dev"])
                first = 1 if way == "folder" else 0  # the linear probe, before any epoch
                assert first <= case["best_epoch"] <= case["epochs"], key
        classes, each = map(int, name.split(", ")[1].split("x"))
        chosen = found["from cifar10" if classes * each < FEW else "folder"]
        mean = sum(chosen) / len(chosen)
        assert mean >= best - 0.01 if name == "digits, 10x120" else mean >= best, name
        if name not in ("shapes, 10x20", "digits, 10x120"):
            assert min(found["folder"]) >= best, name
    for recipe in map(get_recipe, ("folder", "finetune")):
        assert (recipe.epochs, recipe.img_size) == (None, None)  # what was measured follows the data
    # What lesson 8 says of steps: small ones keep more of what the model knows, large ones learn more.
    large, gentle = (
        {name: results["cases"].get(f"{name}/{way}/seed 0", {}).get("dev") for name in small.SETS}
        for way in ("from cifar10", "from cifar10, gently")
    )
    assert gentle["photographs, 2x15"] > large["photographs, 2x15"]
    assert all(large[name] > gentle[name] for name in ("textures, 3x40", "scenes, 8x15", "shapes, 10x20"))
    # And of DINOv2's small model: its probe is far ahead on shapes, and behind `cifar10` on photographs.
    shapes, *photographs = (
        {way: float((small.shown(results, name, way, "test") or "0").split()[0]) for way in small.TESTED}
        for name in ("shapes, 10x20", "photographs, 2x15", "photographs, 4x150")
    )
    probe, tuned = (shapes[way] for way in ("from dinov2_small, probe", "from dinov2_small"))
    plain = 100 * results["cases"]["shapes, 10x20/baselines"]["HOG and SVM"]["test"]
    above = (plain, *(shapes[way] for way in ("folder", "from cifar10", "from cifar10, gently")))
    assert probe > max(above) + 20
    assert 0 <= tuned - probe < 2
    assert all(row["from dinov2_small"] < row["from cifar10"] for row in photographs)
    assert all(row["from dinov2_small, probe"] < row["from cifar10"] for row in photographs)
    markdown = ROOT / "benchmarks" / "results" / "small_sets.md"
    assert markdown.read_text() == small.render(results)


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import parts

    return parts


def test_a_part_is_taken_out(parts):
    whole = VisionTransformer(ViTConfig(**parts.BASE, num_classes=10)).eval()
    images = torch.randn(2, 3, 24, 24)
    for change in ("attention", "mlp", "residual", "norm", "post-norm"):
        model = copy.deepcopy(whole)
        parts._change(model, change)
        assert not torch.allclose(model(images), whole(images), atol=1e-4), change
    mixed = copy.deepcopy(whole)
    parts._change(mixed, "attention")
    other = images.clone()
    other[:, :, :4, :4] = 0  # the first patch
    features = [mixed.forward_features(x) for x in (images, other)]
    assert_close(features[0][:, 1:], features[1][:, 1:])
    assert not torch.allclose(features[0][:, 0], features[1][:, 0])


def test_the_parts_are_what_lessons_say_of_them():
    """Lessons 1 to 6 call two models apart as their figures do."""
    runs = {key: row["accuracy"] for key, row in measured("parts")["variants"].items()}
    mean = {key: sum(values) / len(values) for key, values in runs.items()}
    low, high = ({key: f(values) for key, values in runs.items()} for f in (min, max))

    def behind(worse: str, better: str) -> bool:
        return apart(runs[worse], runs[better]) and mean[worse] < mean[better]

    assert behind("patch-8", "base")  # lesson 1
    assert sorted(runs["patch-2"])[1] < low["base"]
    assert high["patch-2"] > max(high["base"], high["patch-8"])
    assert not apart(runs["sincos1d"], runs["base"])  # 2
    assert mean["sincos1d"] < mean["base"]
    assert behind("learned", "sincos1d")
    assert not apart(runs["no-positions"], runs["learned"])
    assert low["no-positions"] > 0.3
    assert behind("heads-1", "base")  # 3
    assert not apart(runs["base"], runs["heads-6"])
    assert mean["base"] < mean["heads-6"]
    assert high["no-attention"] < 0.15
    assert high["no-residual"] < 0.11  # 4
    assert not apart(runs["no-norm"], runs["base"])
    assert mean["no-norm"] < mean["base"]
    assert sum(run > high["base"] for run in runs["no-mlp"]) == 2
    token = [run < low["base"] for run in runs["class-token"]]  # 5
    assert (sum(token), len(token)) == (4, 5)
    assert low["base"] < high["class-token"] < high["base"]
    assert high["class-token"] - low["class-token"] > high["base"] - low["base"]
    assert behind("depth-1", "base")
    assert not apart(runs["depth-6"], runs["base"])
    assert all(behind("depth-12", other) for other in ("depth-1", "base", "depth-6", "class-token"))
    assert all(high[key] < 0.2 for key in runs if key.endswith("0.004"))  # 6
    assert all(low[key] > 0.29 for key in runs if key.endswith("0.001"))


def test_what_was_measured_of_the_parts_is_whole(parts):
    results = measured("parts")
    for key, row in results["variants"].items():
        says, *_, seeds = parts.VARIANTS[key]
        assert says == row["says"]
        assert 1 <= len(row["accuracy"]) == len(row["seconds"]) == len(row["date"]) <= len(seeds)
    markdown = ROOT / "benchmarks" / "results" / "parts.md"
    assert markdown.read_text(encoding="utf-8") == parts.render(results)


def test_variants_have_like_many_parameters(parts):
    sizes = {}
    for key, (_, fields, change, *_) in parts.VARIANTS.items():
        model = VisionTransformer(ViTConfig(**{**parts.BASE, "num_classes": 10, **fields}))
        parts._change(model, change)
        sizes[key] = sum(p.numel() for p in model.parameters())
    assert max(sizes.values()) < 1.08 * sizes["base"]
    assert min(sizes.values()) > 0.97 * sizes["base"]


def test_a_variant_is_trained_and_put_behind_its_like(parts):
    results = {"machine": parts.machine("cpu", 1, []), "steps": 2, "batch": 64, "variants": {}}
    assert next(parts.todo(results, 0, 1)) == ("base", 0)
    found = parts.execute("patch-8", 0, steps=2, train=200) | {"date": "today"}
    assert 0 <= found["accuracy"] <= 1
    parts.added(results, "patch-8", found)
    left = list(parts.todo(results, 0, 1))
    assert ("patch-8", 0) not in left
    assert ("patch-8", 1) in left
    assert "patches of 8" in parts.render(results)


@pytest.fixture
def resolution(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import resolution

    return resolution


def test_the_fresh_starts_of_lesson_8_are_whole(resolution):
    results = json.loads((ROOT / "vit" / "results" / "resolution.json").read_text())
    assert Recipe(**results["recipe"]) == Recipe(**resolution.RECIPE)
    assert results["steps"] == resolution.STEPS
    assert set(results["cases"]) == set(map(str, resolution.SEEDS))
    for case in results["cases"].values():
        assert [len(point) for point in case["at 48"]] == [2] * 5
        assert set(resolution.STEPS) <= set(case)


def test_a_fresh_start_is_trained_and_measured(resolution, monkeypatch):
    monkeypatch.setattr(resolution, "POOL", 20)
    x, y = torch.randn(40, 1, 24, 24), torch.arange(40) % 10
    assert resolution.from_scratch(x, y, 2, 0) in {k / 20 for k in range(21)}
    macs, accuracies = zip(*resolution.at_high(0, train=64, val=10), strict=True)
    assert list(macs) == sorted(macs)
    assert all(0 <= one <= 1 for one in accuracies)
