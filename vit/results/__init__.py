"""Measurements that lessons read and that take longer than a lesson may, written by `benchmarks/`.

`measured(name)` reads one; who made it, on what machine and when stands in it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def measured(name: str) -> dict[str, Any]:
    """The results called `name`.

    Raises:
        ValueError: if there are none of that name.
    """
    path = FOLDER / f"{name}.json"
    if not path.exists():
        names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json")))
        raise ValueError(f"expected one of {names}, got {name!r}")
    return json.loads(path.read_text(encoding="utf-8"))


def apart(runs: Sequence[float], others: Sequence[float]) -> bool:
    """Whether every run of one lies above every run of the other; otherwise the two are within the noise."""
    return min(runs) > max(others) or max(runs) < min(others)
