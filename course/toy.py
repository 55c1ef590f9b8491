"""The toy's numbers, read out of lessons 1 and 3, so that quizzes and worksheet have the same."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def assigned(lesson: str, name: str) -> Any:
    """What the lesson's first `name = torch.tensor(...)` makes.

    Raises:
        ValueError: if the lesson has no such line.
    """
    import torch

    tree = ast.parse((NOTEBOOKS / f"{lesson}.py").read_text(encoding="utf-8"))
    for line in tree.body:
        if isinstance(line, ast.Assign) and [ast.unparse(target) for target in line.targets] == [name]:
            return eval(ast.unparse(line.value), {"torch": torch})
    raise ValueError(f"lesson {lesson} no longer assigns {name}")


@cache
def toy() -> dict[str, Any]:
    """`toy` (4, 4), its `patches` (4, 4), `E` (4, 2), `tokens` (4, 2), `U_q`, `U_k`, `U_v` (2, 2)."""
    from vit.patches import patchify

    made = {"toy": assigned("01_patches", "toy"), "E": assigned("01_patches", "E")}
    made |= {name: assigned("03_attention", name) for name in ("U_q", "U_k", "U_v")}
    made["patches"] = patchify(made["toy"][None, None], 2)[0]  # (N, P·P)
    made["tokens"] = made["patches"] @ made["E"]  # (N, D)
    return made
