"""Short runs on CIFAR-10 that choose the optimiser and its learning rate for the `cifar10` recipe.

    .venv/bin/python benchmarks/pilots.py data/cifar10-jpeg   # what is missing: 20 minutes on two cores

The small model `vit_nano_4`, at 24 pixels, for 900 steps: about two and a half epochs, with the whole
schedule squeezed into them. Judged on the validation pictures; the test pictures are not even read. Each
finished run is written to `vit/results/pilots.json` at once, where lesson 6 finds it, and a run that
is there is not made again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from measure import MEASURED, machine, now, train_for

from vit.data.sets import Dataset, load_data
from vit.training.recipe import Recipe
from vit.training.trainer import Trainer, evaluate

STEPS, SEEDS = 900, (0, 1)
RATES = {"adamw": (5e-4, 1e-3, 2e-3), "muon": (1e-3, 3e-3, 6e-3)}
# Three epochs have enough pictures for the steps, whose number decides when a run ends.
RECIPE = Recipe(data="cifar10", img_size=24, epochs=3, batch_size=128, weight_decay=0.1, ema=0.99)


def pilots() -> list[Recipe]:
    """All runs, the first seed's first."""
    return [
        replace(RECIPE, seed=seed, optimizer=optimizer, lr=lr)
        for seed in SEEDS
        for optimizer, rates in RATES.items()
        for lr in rates
    ]


def execute(recipe: Recipe, data: Dataset, steps: int = STEPS) -> dict[str, object]:
    """Train, and measure loss and accuracy on the validation pictures."""
    start, trainer = time.perf_counter(), Trainer(recipe, data)
    val = evaluate(train_for(trainer, steps), data.val, trainer.preprocessing, bf16=trainer.bf16)
    result = {"optimizer": recipe.optimizer, "lr": recipe.lr, "seed": recipe.seed, "steps": steps}
    result |= {"val_accuracy": val["accuracy"], "val_loss": val["loss"], "bf16": trainer.bf16}
    return result | {"seconds": round(time.perf_counter() - start, 1), "date": now()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="a folder with CIFAR-10 as image files, or cifar10")
    parser.add_argument("--out", type=Path, default=MEASURED / "pilots.json")
    args = parser.parse_args()
    if args.out.exists():
        results = json.loads(args.out.read_text())
    else:
        described = machine("cpu", torch.get_num_threads(), ["torch", "torchvision"])
        results = {"machine": described, "recipe": vars(RECIPE), "cases": {}}
    data = load_data(args.data, RECIPE.img_size, split_by="position")  # as the results were measured
    for recipe in pilots():
        key = f"{recipe.optimizer}/lr {recipe.lr:g}/seed {recipe.seed}"
        if key not in results["cases"]:
            results["cases"][key] = execute(recipe, data)
            args.out.write_text(json.dumps(results, indent=1) + "\n")
            print(key, results["cases"][key], flush=True)


if __name__ == "__main__":
    main()
