"""Does loading ever starve training? Training steps with batches from a set, and with one kept ready.

    .venv/bin/python benchmarks/loading.py           # about three minutes on two idle cores
    .venv/bin/python benchmarks/loading.py --quick   # roughly, in one

Three sets of JPEG files, made anew from scikit-image's photographs: small pictures that are decoded once and
kept in memory, as the package does below `IN_MEMORY` of `vit.data.sets`; the same pictures decoded from
their files in every epoch; and photographs of 640 by 480 pixels, which are shrunk to 224 on the way. Each
set is trained on by a model that suits its size and by a very small one, the harder case. Augmentation is
part of every step. The Markdown beside the JSON is written by this script.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measure import (
    RESULTS,
    check_arguments,
    common_arguments,
    describe,
    load_average,
    load_results,
    machine,
    now,
    rendered,
    save_results,
    summary,
    take_turns,
)
from torchvision.io import write_jpeg

from vit.data import sets as vit_data
from vit.data.sets import PHOTOGRAPHS, load_data, photograph
from vit.training.recipe import Recipe
from vit.training.trainer import Trainer

SETS = {  # name: (width and height of the files, side that the model sees, in memory, number of files)
    "32 px, in memory": ((32, 32), 32, True, 2_000),
    "32 px, from files": ((32, 32), 32, False, 2_000),
    "640 × 480 → 224 px, from files": ((640, 480), 224, False, 320),
}
MODELS = {32: ("vit_mini_4", "vit_nano_4"), 224: ("vit_s_16", "vit_ti_16")}
BATCH = {32: 128, 224: 16}


def write_files(folder: Path, size: tuple[int, int], count: int) -> None:
    """Random pieces of the photographs as JPEG files in two class folders."""
    generator = torch.Generator().manual_seed(0)
    width, height = size
    large = [photograph(name, 2 * max(size)).mul(255).byte() for name in PHOTOGRAPHS]
    for i in range(count):
        source = large[i % len(large)]
        top, left = (
            int(torch.randint(source.shape[1] - side + 1, (), generator=generator))
            for side in (height, width)
        )
        path = folder / "train" / "ab"[i % 2] / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jpeg(source[:, top : top + height, left : left + width].contiguous(), str(path), quality=90)


def steps(
    folder: Path, side: int, in_memory: bool, model: str, device: str = "cpu"
) -> dict[str, Callable[[], None]]:
    """One training step: with batches as they are loaded, and with one that is always there."""
    vit_data.IN_MEMORY = 2 << 30 if in_memory else 0  # a constant of the package, turned for the measurement
    recipe = Recipe(model=model, img_size=side, batch_size=BATCH[side], epochs=10_000, rand_ops=1)
    data = load_data(str(folder), side)
    loading, ready = Trainer(recipe, data, device), Trainer(recipe, data, device)
    batch = ready._fetch(0)
    ready._next = lambda: batch  # nothing is read, decoded or copied any more
    return {"loading": loading.train_step, "ready": ready.train_step}


def measure(name: str, model: str, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Images per second of both steps, on the files of a set in `folder`."""
    _, side, in_memory, _ = SETS[name]
    case = {"set": name, "model": model, "batch": BATCH[side], "load": load_average(), "date": now()}
    candidates = steps(folder, side, in_memory, model, args.device)
    times, case["disturbed_turns"] = take_turns(candidates, args.rounds, args.seconds, args.device)
    return case | {which: summary([BATCH[side] / t for t in values]) for which, values in times.items()}


def row(case: dict) -> str:
    """A case as a row of the table."""
    rates = [
        f"{c['median']:,.0f} ({c['low']:,.0f}–{c['high']:,.0f})" for c in (case["loading"], case["ready"])
    ]
    lost = 1 - case["loading"]["median"] / case["ready"]["median"]
    return f"| {case['set']} | `{case['model']}` | {case['batch']} | {rates[0]} | {rates[1]} | {lost:.0%} |"


def render(results: dict) -> str:
    """The Markdown of a results file."""
    lines = [
        "# Does loading starve training?",
        "",
        f"Written by `benchmarks/loading.py` from the JSON beside it. {describe(results)}",
        "",
        "Images per second in training, median (quartiles), with batches loaded as the package loads them, "
        "and with one that is always ready. Lost is what loading costs.",
        "",
        "| files | model | batch | loading | ready | lost |",
        "|---|---|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *map(row, results["cases"].values()), ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common_arguments(parser, RESULTS / "loading.json")
    args = parser.parse_args()
    check_arguments(parser, args)
    if rendered(args, render):
        return
    results = load_results(args.out, machine(args.device, args.threads, ["torch", "torchvision", "pillow"]))
    for name, (size, side, _, count) in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), size, count)
            for model in MODELS[side]:
                case = measure(name, model, Path(folder), args)
                results["cases"][f"{name}/{model}"] = case
                save_results(args.out, results, render(results))
                print(row(case), flush=True)


if __name__ == "__main__":
    main()
