"""What `vit train --data FOLDER` makes of small folders of pictures, beside methods without a network.

    .venv/bin/pip install -r requirements.txt -r benchmarks/requirements.txt
    .venv/bin/python benchmarks/small_sets.py data/cifar10-jpeg --minutes 60     # what is missing, in turn

Eight sets of 30 to 3,000 training pictures, each written as a folder `train/CLASS/*.png`, are learnt by each
recipe of `CANDIDATES`, with several seeds. A run holds out its own validation pictures, as anyone's would.
What it keeps is measured on `dev` pictures that no run sees; these choose the recipe. The chosen one, those
that go on from trained weights, and the methods without a network are measured on `test` pictures, too.

`vit train` goes on "from cifar10" where a folder has fewer than 1,000 pictures, and learns from nothing, as
"folder" does, where it has more. The photographs are CIFAR-10's test pictures (a JPEG copy), none of which
the package's `cifar10` was trained on; but it knows their kinds. What `dinov2_small` has seen is known to
its makers only.

Each finished case is written to `vit/results/small_sets.json` at once; one that is there is not made again.
"""

import argparse
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from measure import MEASURED, keep, machine, now, stored
from PIL import Image
from torchvision.transforms import v2

from vit.data import shapes
from vit.data.files import decode
from vit.data.sets import read_folder
from vit.inference import load_classifier
from vit.training import evaluate, get_recipe, train
from vit.training.plan import fitted

PARTS = ("train", "dev", "test")
Pictures = Iterator[tuple[str, str, Image.Image]]  # part, class, picture


def _digits(_: Path) -> Pictures:
    """Handwritten digits of 8x8 pixels, enlarged to 28: 1,200 to learn from."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    for place, i in enumerate(order):
        part = PARTS[(place >= 1200) + (place >= 1498)]
        image = Image.fromarray((data.images[i] * 15.9375).astype(np.uint8))
        yield part, str(data.target[i]), image.resize((28, 28), Image.Resampling.BICUBIC)


def _faces(_: Path) -> Pictures:
    """Grey squares of 25 pixels, faces and none: 100 to learn from."""
    images = (skimage.data.lfw_subset() * 255).astype(np.uint8)
    for k, name in enumerate(("face", "other")):
        order = np.random.default_rng(k).permutation(100)
        for place, i in enumerate(order):
            yield PARTS[(place >= 50) + (place >= 75)], name, Image.fromarray(images[100 * k + i])


def _textures(_: Path) -> Pictures:
    """Grey squares of brick, grass and gravel, of several scales and turns: 120 of 64 pixels.

    The left half of each photograph is for learning, the right half's upper part for dev, the lower for test.
    """
    boxes = {"train": (0, 0, 256, 512, 40), "dev": (256, 0, 512, 256, 100), "test": (256, 256, 512, 512, 100)}
    generator = np.random.default_rng(0)
    for name in ("brick", "grass", "gravel"):
        whole = Image.fromarray(getattr(skimage.data, name)())
        for part, (left, top, right, bottom, count) in boxes.items():
            for _i in range(count):
                side = int(generator.integers(48, 129))
                x, y = (
                    int(generator.integers(left, right - side)),
                    int(generator.integers(top, bottom - side)),
                )
                square = whole.crop((x, y, x + side, y + side)).resize((64, 64), Image.Resampling.BICUBIC)
                light = float(generator.uniform(0.6, 1.4))  # or the mean grey would tell
                square = square.rotate(90 * int(generator.integers(4))).point(
                    lambda v, f=light: min(255, v * f)
                )
                yield part, name, square


def _shapes(_: Path) -> Pictures:
    """Our own drawn shapes, ten classes, 20 pictures of each; of 32 pixels."""
    counts = {"train": 20, "dev": 100, "test": 100}
    images, labels, _mask = shapes.draw(torch.arange(50_000, 53_000), 32)
    images = v2.functional.to_dtype(images, torch.uint8, scale=True)
    for k, name in enumerate(shapes.CLASSES):
        members = iter((labels == k).nonzero()[:, 0].tolist())
        for part, count in counts.items():
            for _i in range(count):
                yield part, name, v2.functional.to_pil_image(images[next(members)])


def _photographs(classes: tuple[str, ...], count: int, held: int) -> Callable[[Path], Pictures]:
    """`count` test pictures of each class of CIFAR-10 to learn from, and twice `held` others."""

    def pictures(cifar: Path) -> Pictures:
        for name in classes:
            paths = sorted((cifar / "test" / name).iterdir())
            order = np.random.default_rng(0).permutation(len(paths))[: count + 2 * held]
            for place, i in enumerate(order):
                yield PARTS[(place >= count) + (place >= count + held)], name, Image.open(paths[i])

    return pictures


def _scenes(_: Path) -> Pictures:
    """Squares of eight photographs, of 224 pixels: which one are they from? 15 of each to learn from.

    As with the textures, what is learnt from lies in the left half.
    """
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    names = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
    sources = {name: getattr(skimage.data, name)() for name in names} | {"china": china, "flower": flower}
    generator = np.random.default_rng(0)
    for name, pixels in sources.items():
        whole = Image.fromarray(pixels)
        W, H = whole.size
        boxes = {"train": (0, 0, W // 2, H, 15), "dev": (W // 2, 0, W, H // 2, 40)}
        boxes["test"] = (W // 2, H // 2, W, H, 40)
        for part, (left, top, right, bottom, count) in boxes.items():
            for _i in range(count):
                side = int(generator.integers(min(H, W) // 4, min(right - left, bottom - top)))
                x, y = (int(generator.integers(a, b - side + 1)) for a, b in ((left, right), (top, bottom)))
                square = whole.crop((x, y, x + side, y + side))
                yield part, name, square.resize((224, 224), Image.Resampling.BICUBIC)


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SETS: dict[str, Callable[[Path], Pictures]] = {
    "photographs, 2x15": _photographs(("frog", "ship"), 15, 200),
    "faces, 2x50": _faces,
    "textures, 3x40": _textures,
    "scenes, 8x15": _scenes,
    "shapes, 10x20": _shapes,
    "photographs, 4x150": _photographs(("automobile", "bird", "dog", "ship"), 150, 250),
    "digits, 10x120": _digits,
    "photographs, 10x300": _photographs(CIFAR, 300, 100),
}


def write_set(name: str, root: Path, cifar: Path) -> Path:
    """A set as PNG files: `run/train/CLASS/*.png` for runs, `dev/CLASS/*.png` and `test/CLASS/*.png`."""
    folder = root / name.replace(", ", "-")
    if not folder.exists():
        for number, (part, label, image) in enumerate(SETS[name](cifar)):
            place = folder / ("run/train" if part == "train" else part) / label
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{number:05}.png")
    return folder


def read(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `(M, S, S, 3)` in [0, 1] and labels `(M,)` of a folder of classes."""
    paths = sorted(folder.glob("*/*.png"))
    names = sorted({path.parent.name for path in paths})
    images = torch.stack([decode(path, side) for path in paths]).permute(0, 2, 3, 1).numpy() / 255
    return images, np.array([names.index(path.parent.name) for path in paths])


def hog(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs, 2005), 8x8 cells at most: `(M, features)`."""
    from skimage.feature import hog

    cell = max(4, images.shape[1] // 8)
    options = {"orientations": 9, "pixels_per_cell": (cell, cell), "cells_per_block": (2, 2)}
    return np.stack([hog(image, channel_axis=-1, **options) for image in images])


def baselines(folder: Path, side: int) -> dict[str, dict[str, float]]:
    """Accuracy on dev and test of methods without a network, with settings by threefold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    sets = {"train": folder / "run" / "train", "dev": folder / "dev", "test": folder / "test"}
    sets = {part: read(place, side) for part, place in sets.items()}
    flat = {part: images.reshape(len(images), -1) for part, (images, _) in sets.items()}
    edges = {part: hog(images) for part, (images, _) in sets.items()}
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    grid = {
        "logistic regression": (linear, {"logisticregression__C": np.logspace(-4, -1, 4)}, flat),
        "nearest neighbours": (KNeighborsClassifier(), {"n_neighbors": [1, 3, 5, 9]}, flat),
        "HOG and SVM": (SVC(), {"C": [0.3, 1, 3, 10, 30], "gamma": ["scale", 0.01, 0.1]}, edges),
    }
    labels = {part: truth for part, (_, truth) in sets.items()}
    most = np.bincount(labels["train"]).argmax()
    found = {"majority": {part: float((labels[part] == most).mean()) for part in PARTS[1:]}}
    for name, (model, settings, features) in grid.items():
        fitted = GridSearchCV(model, settings, cv=3, n_jobs=1).fit(features["train"], labels["train"])
        found[name] = {part: float(fitted.score(features[part], labels[part])) for part in PARTS[1:]}
    return found


_GENTLY = {"optimizer": "adamw", "layer_decay": 0.7}
# Recipes by name, and the seeds that each is run with.
CANDIDATES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "folder": ("folder", {}, (0, 1, 2)),
    "from cifar10": ("finetune", {"init_from": "cifar10"}, (0, 1, 2)),
    "from cifar10, gently": ("finetune", {"init_from": "cifar10", "epochs": 20, "lr": 5e-4, **_GENTLY}, (0,)),
    "from dinov2_small, probe": ("finetune", {"init_from": "dinov2_small", "epochs": 0}, (0,)),
    "folder, always mirrored": ("folder", {"flip": True}, (0,)),
    "from cifar10, always mirrored": ("finetune", {"init_from": "cifar10", "flip": True}, (0,)),
    "folder, no mimetic start": ("folder", {"mimetic": False}, (0, 1)),
    "folder, AdamW": ("folder", {"optimizer": "adamw", "lr": 1e-3}, (0, 1)),
    "from dinov2_small": (
        "finetune",
        {"init_from": "dinov2_small", "epochs": 5, "lr": 1e-4, **_GENTLY},
        (0,),
    ),
    "folder, more augmentation": ("folder", {"rand_ops": 2, "cutmix": 1.0, "mix_prob": 0.5}, (0,)),
}
TESTED = ("folder", "from cifar10", "from cifar10, gently", "from dinov2_small, probe", "from dinov2_small")
# Fine-tuning 22 million parameters takes long on two cores: three sets show it. Of the sets only digits look
# like other classes when mirrored, which recipes find out.
ONLY = {
    "from dinov2_small": ("photographs, 2x15", "photographs, 4x150", "shapes, 10x20"),
    "folder, always mirrored": ("digits, 10x120",),
    "from cifar10, always mirrored": ("digits, 10x120",),
}


def execute(folder: Path, candidate: str, seed: int) -> dict[str, Any]:
    """Train on a set as `vit train` does, and measure the weights that it keeps."""
    kind, options, _ = CANDIDATES[candidate]
    recipe = get_recipe(kind, data=str(folder / "run"), seed=seed, **options)
    with tempfile.TemporaryDirectory() as out:
        receipt = train(recipe, Path(out) / "run", device="cpu", quiet=True)
        classifier = load_classifier(Path(out) / "run")
    found = {"seed": seed, "best_epoch": receipt["best"]["epoch"], "parameters": receipt["parameters"]}
    found |= {key: receipt["recipe"][key] for key in ("img_size", "epochs")}
    found |= {"patch_size": classifier.model.config.patch_size, "seconds": receipt["wall_seconds"]}
    found |= {"bf16": receipt["bf16"], "instructions": torch.backends.cpu.get_cpu_capability()}
    for part in PARTS[1:] if candidate in TESTED else ("dev",):
        images, classes, _ = read_folder(folder / part, receipt["recipe"]["img_size"])
        assert classes == classifier.classes
        measured = evaluate(classifier.model, images, classifier.preprocessing)
        found[part] = round(measured["accuracy"], 4)
    return found


def cases() -> list[tuple[str, str, int]]:
    """All runs as (set, candidate, seed): the first seeds first, and of these the first candidates."""
    wanted = [
        (seed, order, name, candidate)
        for order, (candidate, (_, _, seeds)) in enumerate(CANDIDATES.items())
        for name in SETS
        for seed in seeds
        if name in ONLY.get(candidate, SETS)
    ]
    return [(name, candidate, seed) for seed, _, name, candidate in sorted(wanted, key=lambda c: c[:2])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cifar", type=Path, help="the folder of CIFAR-10 as image files, with test/CLASS/")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after so long")
    parser.add_argument("--sets", type=Path, default=Path("build/small-sets"), help="where to write the sets")
    parser.add_argument("--out", type=Path, default=MEASURED / "small_sets.json")
    parser.add_argument("--only", choices=CANDIDATES, help="this candidate alone")
    parser.add_argument("--worker", type=int, nargs=2, default=(0, 1), help="this one of so many processes")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # two processes, one for each core, do more than one with two threads
    begun, (mine, workers) = time.monotonic(), args.worker
    packages = ["torch", "torchvision", "scikit-learn", "scikit-image"]
    empty = {"machine": machine("cpu", 1, packages), "cases": {}}
    todo = [*((name, "baselines", 0) for name in SETS), *cases()]
    for name, candidate, seed in todo[mine::workers]:
        if args.only not in (None, candidate):
            continue
        key = f"{name}/{candidate}" + ("" if candidate == "baselines" else f"/seed {seed}")
        if key in stored(args.out, empty)["cases"] or time.monotonic() - begun > 60 * args.minutes:
            continue
        folder = write_set(name, args.sets, args.cifar)
        side = min(64, fitted(get_recipe("folder", data=str(folder / "run"))).img_size)
        found = baselines(folder, side) if candidate == "baselines" else execute(folder, candidate, seed)
        case = {key: found | {"date": now()}}
        keep(args.out, empty, lambda results: results["cases"].update(case), render)  # noqa: B023
        print(key, found, flush=True)


METHODS = ("majority", "nearest neighbours", "logistic regression", "HOG and SVM")


def shown(results: dict[str, Any], name: str, candidate: str, part: str) -> str:
    """The accuracy of a candidate on a set in percent, the mean of its seeds and how far they lie apart."""
    cases = [c for key, c in results["cases"].items() if key.startswith(f"{name}/{candidate}/") and part in c]
    values = [100 * case[part] for case in cases]
    if not values:
        return ""
    spread = f" ±{(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.1f}{spread}"


def table(results: dict[str, Any], part: str) -> list[list[str]]:
    """Rows of accuracies in percent on a part: a heading, then one for each set that is measured."""
    candidates = [c for c in CANDIDATES if part == "dev" or c in TESTED]
    rows = [["training pictures", *METHODS, *candidates]]
    for name in SETS:
        if plain := results["cases"].get(f"{name}/baselines"):
            simple = [f"{100 * plain[method][part]:.1f}" for method in METHODS]
            rows.append([name, *simple, *(shown(results, name, c, part) for c in candidates)])
    return rows


def render(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    m = results["machine"]
    cases = results["cases"].values()
    dates = sorted(case["date"] for case in cases)
    # Measured in several sittings, and the machine of each has the features of its processor only.
    kinds = sorted({case.get("instructions", m["instructions"]) for case in cases})
    rounded = sum(case.get("bf16", False) for case in cases)
    lines = [
        "# Small folders of pictures",
        "",
        f"Made by `benchmarks/small_sets.py` on {m['device']} ({' and '.join(kinds)}), one thread for "
        f"each run, {dates[0]} to {dates[-1]}; {rounded} of the runs in bf16, where the processor has it. "
        "Accuracy in percent: the mean of the seeds, and half of what lies between the best and the worst; "
        "without ±, one seed. An empty cell was not measured.",
    ]
    for part, says in (("dev", "by which recipes are compared"), ("test", "which choose nothing")):
        head, *rows = table(results, part)
        lines += ["", f"## On {part} pictures, {says}", "", " | ".join(head), " | ".join("-" for _ in head)]
        lines += [" | ".join(row) for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
