"""What each part of a ViT buys: one small model on `shapes`, and the same with a part taken out or exchanged.

    .venv/bin/python benchmarks/parts.py --minutes 60     # what is missing, in turn; all takes three hours

All are trained for equally many steps on the same pictures by the same recipe, with as nearly the same number
of parameters as whole layers allow (the parameters are in the results), and measured once on the test
pictures. Nothing is chosen by what they reach: one rate, the `shapes` recipe's neighbour 1e-3, serves all but
those that vary it, so a part may look worse than it would with a rate of its own.

Each finished run is written to `vit/results/parts.json` at once; one that is there is not made again.
"""

import argparse
import contextlib
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import MEASURED, keep, machine, now, rendered, stored, train_for
from torch import Tensor, nn

from vit import VisionTransformer, ViTConfig
from vit.data.sets import load_data
from vit.training import Trainer, evaluate, get_recipe
from vit.training.augment import reseed

STEPS, BATCH, TRAIN = 800, 64, 20_000
BASE = {"img_size": 24, "patch_size": 4, "embed_dim": 96, "depth": 3, "num_heads": 3, "mlp_ratio": 2.0}
BASE |= {"class_token": False, "global_pool": "avg", "pos_embed": "sincos2d"}  # as in the `shapes` recipe
DEEP = {"depth": 12, "embed_dim": 48}
SEEDS, CLOSE_SEEDS = range(3), range(5)  # five where three did not tell the variants apart


class _NoResidual(nn.Module):
    """A block whose branches replace what they are computed from, instead of being added to it."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D) -> (B, T, D)`."""
        x = self.block.attn(self.block.norm1(x))
        return self.block.mlp(self.block.norm2(x))


class _PostNorm(nn.Module):
    """A block that normalises after adding, as the first Transformer did (Vaswani et al., 2017)."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D) -> (B, T, D)`."""
        x = self.block.norm1(x + self.block.attn(x))
        return self.block.norm2(x + self.block.mlp(x))


class _Nothing(nn.Module):
    """A branch that adds nothing."""

    def forward(self, x: Tensor, need_weights: bool = False) -> Tensor:
        """`(B, T, D) -> (B, T, D)` of zeros."""
        return torch.zeros_like(x)


def _change(model: VisionTransformer, change: str) -> None:
    """Take a part out of a model, or exchange it, in place."""
    for block in model.blocks:
        if change == "attention":
            block.attn, block.norm1 = _Nothing(), nn.Identity()
        elif change == "mlp":
            block.mlp, block.norm2 = _Nothing(), nn.Identity()
        elif change == "norm":
            block.norm1, block.norm2 = nn.Identity(), nn.Identity()
    if change == "norm":
        model.norm = nn.Identity()
    wrap = {"residual": _NoResidual, "post-norm": _PostNorm}.get(change)
    if wrap:
        model.blocks = nn.ModuleList(map(wrap, model.blocks))
    if change == "post-norm":
        model.norm = nn.Identity()  # the last block ends with one


# key: (what it says, fields of ViTConfig, what is changed in the model, fields of the recipe, seeds)
Variant = tuple[str, dict[str, Any], str, dict[str, Any], range]
VARIANTS: dict[str, Variant] = {
    "base": ("the whole", {}, "", {}, CLOSE_SEEDS),
    "no-positions": ("without positions", {"pos_embed": "none"}, "", {}, SEEDS),
    "no-attention": (
        "without attention (MLP twice as wide)",
        {"mlp_ratio": 4.0},
        "attention",
        {},
        SEEDS,
    ),
    "no-mlp": ("without MLP (twice as deep)", {"depth": 6}, "mlp", {}, SEEDS),
    "no-residual": ("without residuals", {}, "residual", {}, SEEDS),
    "no-norm": ("without norms", {}, "norm", {}, SEEDS),
    "class-token": ("class token", {"class_token": True, "global_pool": "token"}, "", {}, CLOSE_SEEDS),
    "learned": ("learned positions", {"pos_embed": "learned"}, "", {}, CLOSE_SEEDS),
    "sincos1d": ("1-D sine-cosine positions", {"pos_embed": "sincos1d"}, "", {}, CLOSE_SEEDS),
    "heads-1": ("1 head", {"num_heads": 1}, "", {}, CLOSE_SEEDS),
    "heads-6": ("6 heads", {"num_heads": 6}, "", {}, CLOSE_SEEDS),
    "patch-8": ("patches of 8", {"patch_size": 8}, "", {}, SEEDS),
    "depth-1": ("1 block, width 168", {"depth": 1, "embed_dim": 168}, "", {}, SEEDS),
    "depth-6": ("6 blocks, width 68", {"depth": 6, "embed_dim": 68, "num_heads": 4}, "", {}, SEEDS),
    "depth-12": ("12 blocks, width 48", DEEP, "", {}, SEEDS),
    "patch-2": ("patches of 2", {"patch_size": 2}, "", {}, SEEDS),
}
for _lr in (1e-3, 4e-3):
    for _change_name in ("", "post-norm"):
        for _warmup in (0.05, 0.0):
            if (_lr, _change_name, _warmup) != (1e-3, "", 0.05):  # that is depth-12
                _key = f"{_change_name or 'pre-norm'}, {'warm-up' if _warmup else 'no warm-up'}, {_lr:g}"
                VARIANTS[_key] = (
                    f"12 blocks, {_key}",
                    DEEP,
                    _change_name,
                    {"lr": _lr, "warmup": _warmup},
                    SEEDS,
                )


def execute(key: str, seed: int, steps: int = STEPS, train: int = TRAIN) -> dict[str, Any]:
    """Train a variant and measure it once on the test pictures; a loss that is no number is a result, too."""
    _, fields, change, options, _ = VARIANTS[key]
    config = ViTConfig(**{**BASE, "num_classes": 10, **fields})
    recipe = get_recipe(
        "shapes", img_size=24, epochs=1, batch_size=BATCH, seed=seed, bf16=False, **{"lr": 1e-3, **options}
    )
    data = load_data("shapes", img_size=24, train_size=train)
    reseed(seed, "weights")
    model = VisionTransformer(config)
    _change(model, change)
    params = sum(p.numel() for p in model.parameters())
    trainer = Trainer(recipe, data, model=model)
    begun = time.perf_counter()
    with contextlib.suppress(ValueError):  # its loss is no longer a number: it is measured as it is
        train_for(trainer, steps)
    accuracy = evaluate(trainer.finished_model(), data.test, trainer.preprocessing)["accuracy"]
    return {"accuracy": round(accuracy, 4), "params": params, "seconds": round(time.perf_counter() - begun)}


def todo(results: dict[str, Any], mine: int, workers: int) -> Iterator[tuple[str, int]]:
    """The runs that this worker has yet to do: three seeds of the parts, then of the norms, then the rest."""
    runs = [(key, seed) for key in list(VARIANTS)[mine::workers] for seed in VARIANTS[key][4]]
    for key, seed in sorted(runs, key=lambda run: (run[1] not in SEEDS, "norm, " in run[0], run[1])):
        if seed >= len(results["variants"].get(key, {"accuracy": []})["accuracy"]):
            yield key, seed


def added(results: dict[str, Any], key: str, found: dict[str, Any]) -> None:
    """Put a run behind those of the same variant: the place in the lists is the seed."""
    row = results["variants"].setdefault(key, {"says": VARIANTS[key][0], "params": found["params"]})
    for name in ("accuracy", "seconds", "date"):
        row.setdefault(name, []).append(found[name])
    known = results.get("instructions", [results["machine"]["instructions"]])
    results["instructions"] = sorted({*known, torch.backends.cpu.get_cpu_capability()})  # of all sittings


def render(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    m, rows = results["machine"], results["variants"].values()
    dates = sorted(date for row in rows for date in row["date"])
    kinds = " and ".join(results.get("instructions", [m["instructions"]]))
    lines = [
        "# What each part buys",
        "",
        f"Made by `benchmarks/parts.py` on {m['device']} ({kinds}), one thread a run, "
        f"{dates[0]} to {dates[-1]}. {results['steps']:,} steps of {results['batch']} pictures of `shapes` "
        "at 24 pixels. Percent of the test pictures: the mean over the seeds, the lowest and the highest. "
        "Two standard errors of one run at 50 % are 2.2 points.",
        "",
        "variant | parameters | seeds | mean | lowest | highest",
        "- | - | - | - | - | -",
    ]
    for row in rows:
        a = [100 * value for value in row["accuracy"]]
        spread = f"{statistics.mean(a):.1f} | {min(a):.1f} | {max(a):.1f}"
        lines.append(f"{row['says']} | {row['params']:,} | {len(a)} | {spread}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after so long")
    parser.add_argument("--out", type=Path, default=MEASURED / "parts.json")
    parser.add_argument("--worker", type=int, nargs=2, default=(0, 1), help="this one of so many processes")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")
    args = parser.parse_args()
    if rendered(args, render):
        return
    torch.set_num_threads(1)
    begun, (mine, workers) = time.monotonic(), args.worker
    described = {"machine": machine("cpu", 1, ["torch", "torchvision"])}
    described |= {"steps": STEPS, "batch": BATCH, "lr": 1e-3, "base": BASE, "variants": {}}
    for key, seed in todo(stored(args.out, described), mine, workers):
        if time.monotonic() - begun > 60 * args.minutes:
            break
        found = execute(key, seed) | {"date": now()}
        keep(args.out, described, lambda results: added(results, key, found), render)  # noqa: B023
        print(f"{key}, seed {seed}:", found, flush=True)


if __name__ == "__main__":
    main()
