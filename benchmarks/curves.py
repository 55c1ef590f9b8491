"""Four training runs that go wrong, for the figure of lesson 6 on reading curves.

    .venv/bin/python benchmarks/curves.py   # a minute or two on two cores

The model of the lesson's live run, its pictures or some of them, and one thing that is wrong in each. Written
to `vit/results/curves.json` with every recipe in full, so that the lesson can repeat the beginning of one.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from measure import MEASURED, machine, now

from vit.data import Dataset, MemoryImages, load_data
from vit.training import Recipe, Trainer

CLASSES = ("ring", "bar", "star", "heart")
SIZES = {"embed_dim": 64, "depth": 3, "num_heads": 4, "pos_embed": "sincos2d"}
SIZES |= {"class_token": False, "global_pool": "avg"}
LIVE = Recipe(  # what lesson 6 trains live, and what goes right
    img_size=24, epochs=6, batch_size=20, lr=2e-3, model_options=SIZES, flip=False, pad=0.0, bf16=False
)
SMALL = {**SIZES, "embed_dim": 32, "depth": 1, "num_heads": 2}
CASES = {  # recipe, pictures, whether their labels are shuffled
    "200 pictures": (replace(LIVE, epochs=40), 200, False),
    "shuffled labels": (replace(LIVE, epochs=40), 200, True),
    "small model": (replace(LIVE, epochs=10, model_options=SMALL), 2400, False),
    "high rate": (replace(LIVE, epochs=3, lr=0.02), 2400, False),
}
COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def pictures(count: int = 2400, shuffled: bool = False) -> Dataset:
    """So many training pictures of the four classes, at 24 pixels, and 250 for validation."""
    drawn = load_data("shapes", img_size=24, train_size=6000)
    keep = torch.tensor([drawn.classes.index(name) for name in CLASSES])

    def only(images: MemoryImages, count: int) -> MemoryImages:
        which = torch.isin(images.labels, keep).nonzero()[:count, 0]
        return MemoryImages(images.images[which], torch.searchsorted(keep, images.labels[which]))

    train = only(drawn.train, count)
    if shuffled:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        train = MemoryImages(train.images, train.labels[order])
    return Dataset("four shapes", CLASSES, train, only(drawn.val, 250), None)


def execute(recipe: Recipe, data: Dataset, epochs: int | None = None) -> dict[str, list[float]]:
    """Train, or only for the first `epochs`; one number for each epoch and column."""
    trainer, rows = Trainer(recipe, data), []
    while trainer.step < (epochs or recipe.epochs) * trainer.per_epoch:
        trainer.train_step()
        if trainer.step % trainer.per_epoch == 0:
            rows.append(trainer.end_epoch()[0])
    return {name: [round(row[name], 4) for row in rows] for name in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=MEASURED / "curves.json")
    args = parser.parse_args()
    described = machine("cpu", torch.get_num_threads(), ["torch", "torchvision"])
    results = {"machine": described, "cases": {}}
    for name, (recipe, count, shuffled) in CASES.items():
        data, start = pictures(count, shuffled), time.process_time()
        columns = execute(recipe, data)
        seconds = round(time.process_time() - start, 1)  # of the processor, whoever else was at work
        about = {"pictures": count, "shuffled": shuffled, "cpu_seconds": seconds, "date": now()}
        results["cases"][name] = {"recipe": asdict(recipe), **about, **columns}
        print(name, about, {column: values[-1] for column, values in columns.items()}, flush=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
