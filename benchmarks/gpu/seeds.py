"""The `cifar10-gpu` recipe with three seeds, side by side on one card.

One process cannot fill a GPU with a model this small: it waits for Python between the kernels, most of all
while it augments. Of three, one computes while the others prepare.
"""

import csv
import json
import pickle
import signal
import statistics
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from bench import Bench

from vit.data.sets import Dataset, load_data
from vit.inference.weights import BEST, write_atomic
from vit.training.checkpoint import LAST, RECEIPT
from vit.training.recipe import Recipe, get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer

SEEDS = (0, 1, 2)
RESERVE = 15  # seconds to test and to write
TOY = {"epochs": 2, "batch_size": 16, "chunk": 8, "compile": False, "bf16": False, "rand_ops": 0}
TOY["model_options"] = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 8}


def unpack(path: Path, work: Path) -> Path:
    """The folder with `train/` and `test/`: `path` itself, or made from an archive once."""
    folder = work / path.name.partition(".")[0]
    if path.is_dir() or folder.is_dir():
        return path if path.is_dir() else folder
    partial = folder.with_suffix(".partial")  # a name that says so, until it is whole
    with tarfile.open(path) as archive:
        archive.extractall(partial, filter="data")
    return partial.rename(folder)


def pace(recipe: Recipe, data: Dataset, device: str, barrier: Any, steps: int) -> float:
    """Seconds of one epoch and its validation, measured while the other seeds do the same."""
    trainer = Trainer(recipe, data, device)
    for _ in range(3):
        trainer.train_step()  # compiles
    trainer.progress()  # waits for the GPU
    barrier.wait()
    start = time.monotonic()
    for _ in range(steps):
        trainer.train_step()
    trainer.progress()
    step = (time.monotonic() - start) / steps
    trainer.end_epoch()
    return trainer.per_epoch * step + time.monotonic() - start - steps * step


def fitted(recipe: Recipe, epoch_seconds: float, seconds: float) -> Recipe:
    """The recipe with as many epochs as fit, a tenth of the time kept for what runs slower than it began."""
    return replace(recipe, epochs=max(1, min(recipe.epochs, int(0.9 * seconds / epoch_seconds))))


def one_seed(
    index: int,
    todo: list[int],
    recipe: Recipe,
    fit: bool,
    pickled: bytes,
    work: Path,
    end: float,
    device: str,
    barrier: Any,
    paces: Any,
) -> None:
    """Train one seed, or go on with it, in a process of its own."""
    torch.set_num_threads(1)
    data = pickle.loads(pickled)
    recipe, folder = replace(recipe, seed=todo[index]), work / f"seed-{todo[index]}"
    if fit:
        steps = 2 if device == "cpu" else 30
        try:
            paces[index] = pace(recipe, data, device, barrier, steps)
        except Exception as error:  # a compiler can fail in many ways; without compiling there is one less
            if not recipe.compile:
                raise
            print(f"cifar10: not compiled, because {error!r:.500}")
            recipe = replace(recipe, compile=False)
            paces[index] = pace(recipe, data, device, barrier, steps)
        barrier.wait()
        recipe = fitted(recipe, max(paces), end - time.monotonic() - RESERVE)
    resume, minutes = (folder / LAST).exists(), max(0.0, end - time.monotonic() - RESERVE) / 60
    options = {"data": data, "device": device, "max_minutes": minutes, "quiet": True}
    train(None if resume else recipe, folder, resume=resume, **options)


def collect(bench: Bench, todo: list[int]) -> None:
    """Bring curves, receipts and weights from the folders of the runs to where they come back."""
    kept = bench.results("cifar10").get("seeds", {})
    for seed in todo:
        folder, result = bench.work / f"seed-{seed}", dict(kept.get(str(seed), {}))
        if (folder / "metrics.csv").exists():
            rows = list(csv.DictReader((folder / "metrics.csv").open()))
            result["epochs"] = {name: [float(row[name]) for row in rows] for name in rows[0]}
        if (folder / RECEIPT).exists():
            result["receipt"] = json.loads((folder / RECEIPT).read_text())
        if result and result != kept.get(str(seed)):
            kept[str(seed)] = result
            write_atomic(bench.out / f"seed-{seed}.safetensors", (folder / BEST).read_bytes())
            bench.put("cifar10", seeds=kept)
            last = {name: values[-1] for name, values in result["epochs"].items()}
            tested = f", test {result['receipt']['test_accuracy']:.2%}" if "receipt" in result else ""
            print(f"cifar10: seed {seed}, epoch {last['epoch']:.0f}, {last['val_accuracy']:.2%}{tested}")


def race(bench: Bench, todo: list[int], recipe: Recipe, data: Dataset, fit: bool) -> None:
    """Train these seeds, each in a process, and collect what they write until all have ended."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for the seeds, which save; then this ends, too
    context = mp.get_context("spawn")
    barrier, paces = context.Barrier(len(todo), timeout=180), context.Array("d", len(todo))
    # As bytes: tensors would travel in shared memory, which some machines have little of.
    pickled = pickle.dumps(data)
    options = (todo, recipe, fit, pickled, bench.work, bench.end, bench.device, barrier, paces)
    running = mp.start_processes(one_seed, options, len(todo), join=False, start_method="spawn")
    try:
        while not running.join(timeout=1):
            collect(bench, todo)
    finally:
        collect(bench, todo)


def cifar10(bench: Bench) -> None:
    """All seeds, to the end or until the time is over; then the mean of their test accuracies."""
    if not bench.data.exists():
        print(f"cifar10: skipped, there is no {bench.data} (an archive or a folder of CIFAR-10 as images)")
        return
    start = time.monotonic()
    folder = unpack(bench.data, bench.work)
    # Split as for the committed run, beside which it will stand.
    recipe = get_recipe("cifar10-gpu", data=str(folder), split_by="position", **(TOY if bench.quick else {}))
    data = load_data(recipe.data, split_by=recipe.split_by)
    print(f"cifar10: {len(data.train)} images, unpacked and decoded in {time.monotonic() - start:.0f} s")
    seeds = bench.results("cifar10").get("seeds", {})
    wanted = SEEDS[:2] if bench.quick else SEEDS
    todo = [seed for seed in wanted if "receipt" not in seeds.get(str(seed), {})]
    # What has begun decides for the other seeds: their recipes differ in nothing else.
    begun = [json.loads(path.read_text()) for path in sorted(bench.work.glob("seed-*/config.json"))]
    begun += [result["receipt"]["recipe"] for result in seeds.values() if "receipt" in result]
    recipe = Recipe(**begun[0]) if begun else recipe

    if todo:
        race(bench, todo, recipe, data, fit=not begun)
    seeds = bench.results("cifar10").get("seeds", {})
    tests = [result["receipt"]["test_accuracy"] for result in seeds.values() if "receipt" in result]
    if len(tests) == len(wanted):
        mean, sd = statistics.mean(tests), statistics.stdev(tests)
        bench.put("cifar10", test_accuracy={"mean": mean, "sd": sd, "all": tests}, done=True)
        print(f"cifar10: test accuracy {mean:.2%}, standard deviation {sd:.2%}")
