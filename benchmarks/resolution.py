"""The fresh starts that lesson 8 compares with what it trains itself.

    .venv/bin/python benchmarks/resolution.py   # a minute and a half on one core for each seed

The lesson enlarges a small model of silhouettes from 24 to 48 pixels and trains it on. Here one begins at 48
pixels, by the same recipe with more steps. And the lesson gives its model silhouettes that lie on their
side; here one begins with those, for as many steps and for ten times as many. Written to
`vit/results/resolution.json`, each seed when it is done; a seed that is there is not made again.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import MEASURED, machine, now, stored
from torch import Tensor, nn

from vit.cost import count_macs
from vit.data import Dataset, MemoryImages
from vit.data.shapes import CLASSES, draw
from vit.model import VisionTransformer, create_model
from vit.training import Recipe, Trainer, evaluate

LOW, HIGH, SEEDS = 24, 48, range(2)
SIZES = {"embed_dim": 64, "depth": 3, "num_heads": 4, "in_chans": 1, "pos_embed": "learned"}
RECIPE = {"img_size": HIGH, "epochs": 3, "batch_size": 32, "lr": 1e-3, "model_options": SIZES}
RECIPE |= {"flip": False, "pad": 0.0, "bf16": False}
POOL, FRESH, BATCH = 1000, 1000, 32
STEPS = {"from scratch": 80, "from scratch, 10 times longer": 800}


def silhouettes(size: int, start: int, count: int) -> MemoryImages:
    """What the shapes of these pictures cover, `(M, 1, S, S)` bytes, and which shapes they are."""
    index = torch.arange(start, start + count)
    masks = torch.cat([draw(part, size)[2] for part in index.split(500)])  # (M, S, S)
    return MemoryImages((255 * masks[:, None]).round().byte(), index % len(CLASSES))


def at_high(seed: int, train: int = 1920, val: int = 400) -> list[tuple[float, float]]:
    """Five times during the training: billions of MACs spent, validation accuracy."""
    parts = silhouettes(HIGH, 10_000, train), silhouettes(HIGH, 0, val)
    trainer = Trainer(Recipe(**RECIPE, seed=seed), Dataset("silhouettes", CLASSES, *parts, None))
    each, curve = sum(count_macs(trainer.model.config).values()) / 1e9, []
    while trainer.step < trainer.total:
        trainer.train_step()
        if trainer.step % (trainer.total // 5) == 0:
            accuracy = evaluate(trainer.model, trainer.val_images, trainer.preprocessing)["accuracy"]
            curve.append((round(trainer.step * trainer.batch * each, 2), round(accuracy, 4)))
    return curve


def on_their_side() -> tuple[Tensor, Tensor]:
    """Silhouettes turned by a quarter, `(M, 1, S, S)`, normalised as the lesson's, and their classes."""
    drawn = silhouettes(LOW, 50_000, POOL + FRESH)
    few = Dataset("silhouettes", CLASSES, silhouettes(LOW, 10_000, 8000), drawn, None)
    return few.preprocessing(LOW).normalise(drawn.images.rot90(1, dims=(2, 3))), drawn.labels


def from_scratch(x: Tensor, y: Tensor, steps: int, seed: int) -> float:
    """Accuracy on the pictures behind the first `POOL`, after so many steps on these."""
    torch.manual_seed(seed)
    model = create_model("vit_nano_4", img_size=LOW, num_classes=len(CLASSES), **SIZES).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(POOL, generator=g) for _ in range(-(-steps * BATCH // POOL))])
    for index in order[: steps * BATCH].split(BATCH):
        loss = F.cross_entropy(model(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return round(accuracy(model, x[POOL:], y[POOL:]), 4)


@torch.no_grad()
def accuracy(model: VisionTransformer, x: Tensor, y: Tensor) -> float:
    """The share of right answers."""
    model.eval()
    return (torch.cat([model(part) for part in x.split(250)]).argmax(1) == y).float().mean().item()


def execute(seed: int) -> dict[str, object]:
    """All fresh starts of one seed."""
    start, (x, y) = time.process_time(), on_their_side()
    case = {name: from_scratch(x, y, steps, seed) for name, steps in STEPS.items()}
    case["at 48"] = at_high(seed)
    return case | {"cpu_seconds": round(time.process_time() - start, 1), "date": now()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=MEASURED / "resolution.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    described = machine("cpu", torch.get_num_threads(), ["torch", "torchvision"])
    about = {"machine": described, "recipe": asdict(Recipe(**RECIPE)), "steps": STEPS}
    results = stored(args.out, {**about, "cases": {}})
    for seed in args.seeds:
        if str(seed) not in results["cases"]:
            results["cases"][str(seed)] = execute(seed)
            args.out.write_text(json.dumps(results, indent=1) + "\n")
            print(seed, results["cases"][str(seed)], flush=True)


if __name__ == "__main__":
    main()
