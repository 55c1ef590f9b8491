"""What the lessons' live figures are made of, written by the site build and never committed.

Their programs are docs/assets/live, their words docs/live.yml. The presets and recipes that they begin
with are the package's, so that no number stands in two places.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ("shapes", "cifar10")  # those whose finished run the package ships


def schedules() -> dict[str, dict[str, Any]]:
    """The schedules of finished runs: {recipe: its peak, its end, its warm-up, and how many steps}.

    Read from their receipts, since whoever imports `vit.training` waits for PyTorch.
    """
    found = {}
    for name in RECIPES:
        receipt = json.loads((ROOT / "vit" / "weights" / name / "receipt.json").read_text(encoding="utf-8"))
        recipe = receipt["recipe"]
        found[name] = {key: recipe[key] for key in ("lr", "min_lr", "warmup")}
        # A rest that fills no batch is left out, as the trainer does it.
        found[name]["steps"] = recipe["epochs"] * (receipt["images"]["train"] // recipe["batch_size"])
    return found


def data(words: Path = ROOT / "docs" / "live.yml") -> dict[str, Any]:
    """All that the figures read: their words, the presets, the default configuration, two schedules."""
    from vit.config import PRESETS, ViTConfig

    return {
        "words": yaml.safe_load(words.read_text(encoding="utf-8")),
        "presets": PRESETS,
        "defaults": asdict(ViTConfig()),
        "recipes": schedules(),
    }
