"""ViT against a convolutional network as pictures and width grow: the measurements that lesson 10 reads.

A ViT is told almost nothing about pictures; a convolution is told that neighbours belong together and that a
shape is the same wherever it is. What is that worth with few pictures, and does it stop being worth anything?

    .venv/bin/python benchmarks/data_and_bias.py              # what is missing: half an hour on two cores
    .venv/bin/python benchmarks/data_and_bias.py --minutes 4  # start no run that would not end by then

Each finished run is added to the results at once, and a run that is there is not made again. Every run is the
same number of steps with the same batch, so that all of them see as many pictures, however few are different;
those called “longer” take three times as many. A seed is of the weights and of the order, and it chooses the
training pictures: seed 1 has none of seed 0's. Each model has the learning rate that did best on the
validation pictures in a pilot of its own; wider models have it divided by how much wider they are, and no
pilot. The test pictures choose nothing.
"""

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from measure import MEASURED, machine, now, rendered, save_results, train_for
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vit import count_macs, create_model
from vit.convnet import ConvNet, ConvNetConfig
from vit.data.images import MemoryImages
from vit.data.sets import Dataset, load_data
from vit.patches import patchify, unpatchify
from vit.training.augment import reseed
from vit.training.recipe import Recipe
from vit.training.trainer import Trainer, evaluate

SIDE, PATCH, BATCH, STEPS = 24, 4, 64, 1200
SIZES = (200, 600, 2_000, 6_000, 20_000)  # 1, 3, 10, 30 and 100 % of the training pictures
MODELS = {"vit": "ViT", "learned": "ViT, learned positions, class token", "cnn": "CNN"}
PILOT_RATES, PILOT_SIZE, PILOT_SEED = (1e-3, 2e-3, 4e-3, 8e-3), 2_000, 3  # a seed that is used nowhere else


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    arm: str  # what it is for
    model: str  # of MODELS
    images: int  # different training pictures
    seed: int
    times: int = 1  # width, as a multiple of the narrowest
    lr: float
    steps: int = STEPS
    augment: bool = False  # mirror, and shift by up to 3 pixels
    shuffle: bool = False  # move the patches of every picture, all in the same way

    @property
    def key(self) -> str:
        """The run's name in the results."""
        rest = [f"lr {self.lr:g}"] if self.arm == "pilot" else []
        return "/".join(
            [self.arm, self.model, f"x{self.times}", str(self.images), f"seed {self.seed}", *rest]
        )


def build(model: str, times: int = 1) -> nn.Module:
    """A model with random weights. At equal `times`, ViT and CNN have parameters within 3 % of each other."""
    if model == "cnn":
        return ConvNet(ConvNetConfig(img_size=SIDE, width=16 * times, depths=(1, 1, 1)))
    how = {
        "learned": {"pos_embed": "learned"},
        "vit": {"class_token": False, "global_pool": "avg", "pos_embed": "sincos2d"},
    }
    return create_model(
        "vit_nano_4", img_size=SIDE, embed_dim=48 * times, depth=4, num_heads=3 * times, **how[model]
    )


def cost(model: str, times: int) -> dict[str, int]:
    """Parameters, and multiply-accumulates for one picture."""
    net = build(model, times)
    if model == "cnn":
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 3, SIDE, SIDE))
        macs = counter.get_total_flops() // 2
    else:
        macs = sum(count_macs(net.config).values())
    return {"parameters": sum(p.numel() for p in net.parameters()), "macs": macs}


def plan(
    rates: dict[str, float], sizes: tuple[int, ...] = SIZES, seeds: int = 3, steps: int = STEPS
) -> list[Run]:
    """All runs but the pilot's, in the order in which they are made."""

    def runs(arm: str, models: tuple[str, ...], sizes: tuple[int, ...], seeds: int, **how) -> list[Run]:
        lr = {m: rates[m] / how.get("times", 1) for m in models}
        return [
            Run(arm=arm, model=m, images=n, seed=s, lr=lr[m], **{"steps": steps, **how})
            for s in range(seeds)
            for n in sizes
            for m in models
        ]

    both, few, ends = ("vit", "cnn"), max(1, seeds - 1), sizes[1::3]
    return [
        *runs("main", both, sizes, seeds),
        *runs("longer", ("vit",), sizes[1:], 1, steps=3 * steps),
        *runs("shuffled", ("cnn",), sizes[::2], few, shuffle=True),
        *runs("learned", ("learned",), sizes[::2], few),
        *runs("augmented", ("vit",), sizes[1:3], few, augment=True),
        *runs("augmented, longer", ("vit",), sizes[2:3], 1, augment=True, steps=3 * steps),
        *runs("width", ("vit",), ends, few, times=2),
        *runs("width", ("cnn",), ends[:1], few, times=2),  # with more pictures it has reached 100 %
        *runs("width", ("cnn",), ends[:1], few, times=4),
        *runs("width", ("vit",), ends, few, times=4),
    ]


def pilot(rates: tuple[float, ...] = PILOT_RATES, size: int = PILOT_SIZE) -> list[Run]:
    """One run for each model and learning rate."""
    return [Run(arm="pilot", model=m, images=size, seed=PILOT_SEED, lr=lr) for lr in rates for m in MODELS]


def best_rates(cases: dict[str, dict]) -> dict[str, float]:
    """Each model's learning rate with the best validation accuracy in the pilot."""
    best = {}
    for model in MODELS:
        mine = [c for c in cases.values() if c["arm"] == "pilot" and c["model"] == model]
        best[model] = max(mine, key=lambda c: c["val_accuracy"])["lr"]
    return best


def shuffle_patches(images: Tensor) -> Tensor:
    """Move the patches of all images `(M, C, H, W)` to other places, the same for each."""
    patches = patchify(images, PATCH)  # (M, N, P·P·C)
    order = torch.randperm(patches.shape[1], generator=torch.Generator().manual_seed(0))
    return unpatchify(patches[:, order], PATCH, images.shape[-2:])


def prepare(run: Run, pool: Dataset) -> Dataset:
    """The pictures of a run: its own part of the training pictures; validation and test are everyone's."""
    mine = slice(run.seed * run.images, (run.seed + 1) * run.images)
    parts = {"train": (pool.train.images[mine], pool.train.labels[mine])}
    parts |= {name: (getattr(pool, name).images, getattr(pool, name).labels) for name in ("val", "test")}
    change = shuffle_patches if run.shuffle else lambda images: images
    return replace(pool, **{name: MemoryImages(change(x), y) for name, (x, y) in parts.items()})


def execute(run: Run, pool: Dataset) -> dict[str, object]:
    """Train, and measure accuracy on validation, test and (at most 2,000) training pictures as they are."""
    start, data = time.perf_counter(), prepare(run, pool)
    epochs = math.ceil(run.steps * BATCH / run.images) + 1  # enough; the number of steps decides
    recipe = Recipe(
        img_size=SIDE,
        seed=run.seed,
        epochs=epochs,
        batch_size=BATCH,
        lr=run.lr,
        flip=run.augment,
        pad=0.125 if run.augment else 0.0,
        chunk=8 if run.augment else BATCH,
    )
    reseed(run.seed, "weights")
    trainer = Trainer(recipe, data, model=build(run.model, run.times))
    model, result = train_for(trainer, run.steps), asdict(run)
    seen = MemoryImages(data.train.images[:2000], data.train.labels[:2000])
    for name, images in (("train", seen), ("val", data.val), ("test", data.test)):
        if name != "test" or run.arm != "pilot":
            result[f"{name}_accuracy"] = evaluate(model, images, trainer.preprocessing, bf16=trainer.bf16)[
                "accuracy"
            ]
    seconds = round(time.perf_counter() - start, 1)
    return result | {"batch": BATCH, "bf16": trainer.bf16, "seconds": seconds, "date": now()}


_pool: Dataset | None = None  # a worker's pictures


def _start(pool: Dataset, threads: int) -> None:
    global _pool
    _pool = pool
    torch.set_num_threads(threads)


def _work(run: Run) -> dict[str, object]:
    return execute(run, _pool)


def fits(run: Run, cases: dict[str, dict], left: float) -> bool:
    """Whether a run should end within so many seconds, by those of the same model that are finished."""
    same = [c for c in cases.values() if (c["model"], c["times"]) == (run.model, run.times)]
    known = [c["seconds"] * run.steps / c["steps"] for c in same]
    return 1.2 * max(known) < left if known else 50 * run.times < left  # the first of its kind: a guess


def measure(
    runs: list[Run], out: Path, pool: Dataset, minutes: float, workers: int = 2, threads: int = 1
) -> bool:
    """Make the runs that are not in `out` yet, `workers` at a time. True when none is missing."""
    end, results = time.perf_counter() + 60 * minutes, load(out)
    todo = [run for run in runs if run.key not in results["cases"]]
    context, running = torch.multiprocessing.get_context("spawn"), {}
    with ProcessPoolExecutor(workers, context, _start, (pool, threads)) as executor:
        while todo or running:
            ready = [run for run in todo if fits(run, results["cases"], end - time.perf_counter())]
            if ready and len(running) < workers:
                todo.remove(ready[0])
                running[executor.submit(_work, ready[0])] = ready[0]
                continue
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                run, case = running.pop(future), future.result()
                results["cases"][run.key] = case
                save_results(out, results, render(results))
                print(
                    run.key,
                    {k: v for k, v in case.items() if k.endswith("accuracy")},
                    case["seconds"],
                    flush=True,
                )
    return not todo


def load(out: Path) -> dict:
    """The results so far."""
    if out.exists():
        return json.loads(out.read_text())
    costs = {f"{m}/x{t}": cost(m, t) for m in MODELS for t in (1, 2, 4)}
    return {"machine": machine("cpu", 1, ["torch", "torchvision"]), "costs": costs, "cases": {}}


def table(cases: dict[str, dict], name: str = "test_accuracy") -> dict[tuple, tuple[float, float, int]]:
    """Mean, standard deviation (0 for one run) and number of runs: by arm, model, width and pictures."""
    groups = defaultdict(list)
    for c in cases.values():
        if name in c:
            groups[c["arm"], c["model"], c["times"], c["images"]].append(c[name])
    return {
        key: (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0, len(v))
        for key, v in groups.items()
    }


def render(results: dict) -> str:
    """The Markdown of a results file."""
    cases, m = results["cases"], results["machine"]
    dates = sorted(c["date"] for c in cases.values())
    first = next(iter(cases.values()))
    lines = [
        "# ViT and CNN as pictures and width grow",
        "",
        "Written by `benchmarks/data_and_bias.py` from the JSON beside it. "
        f"{m['device']} ({m['instructions']}), {m['cores']} cores, two runs at a time on one thread each"
        f"{', bfloat16' if first['bf16'] else ''}; "
        + ", ".join(f"{name} {number}" for name, number in m["versions"].items())
        + f". {dates[0]} to {dates[-1]}; {sum(c['seconds'] for c in cases.values()) / 120:.0f} minutes.",
        "",
        f"`shapes` at {SIDE} pixels; every run is {first['steps']} steps of {first['batch']} pictures, those "
        "called “longer” three times as many. Accuracy in %, mean ± standard deviation over the seeds (their "
        "number in brackets); each seed has other training pictures, and all the same 2,000 for the test.",
        "",
        "| arm | model | width | training pictures | learning rate | test | training |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    rates = {(c["arm"], c["model"], c["times"], c["images"]): c["lr"] for c in cases.values()}
    seen = table(cases, "train_accuracy")
    for key, (mean, sd, n) in sorted(table(cases).items()):
        arm, model, times, images = key
        lines.append(
            f"| {arm} | {MODELS[model]} | ×{times} | {images:,} | {rates[key]:g} | "
            f"{100 * mean:.1f}{f' ± {100 * sd:.1f}' if n > 1 else ''} ({n}) | {100 * seen[key][0]:.1f} |"
        )
    lines += [
        "",
        "## Cost",
        "",
        "| model | width | parameters | multiply-accumulates |",
        "|---|---:|---:|---:|",
    ]
    for name, c in results["costs"].items():
        model, times = name.split("/x")
        lines.append(f"| {MODELS[model]} | ×{times} | {c['parameters']:,} | {c['macs']:,} |")
    lines += [
        "",
        f"## Pilot: validation accuracy, {PILOT_SIZE:,} pictures",
        "",
        "| model | learning rate | % |",
    ]
    lines.append("|---|---:|---:|")
    for c in cases.values():
        if c["arm"] == "pilot":
            lines.append(f"| {MODELS[c['model']]} | {c['lr']:g} | {100 * c['val_accuracy']:.1f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0, help="start no run that would end later")
    parser.add_argument("--out", type=Path, default=MEASURED / "data_and_bias.json")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")
    args = parser.parse_args()
    if rendered(args, render):
        return
    start = time.perf_counter()
    pool = load_data("shapes", SIDE, 3 * max(SIZES))
    left = lambda: args.minutes - (time.perf_counter() - start) / 60
    done = measure(pilot(), args.out, pool, left())
    if done:
        done = measure(plan(best_rates(load(args.out)["cases"])), args.out, pool, left())
    print("all runs are there" if done else "some runs are missing: start again to go on")


if __name__ == "__main__":
    main()
