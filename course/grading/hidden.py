"""What a hidden test asks of an answer: the exercise's own check, on inputs that nobody has seen.

`course assignments` draws a seed for each assignment and writes it into the hidden tests. An exercise whose
inputs are a fixed list gets random ones besides, here. And each exercise has a variant: another name, its
arguments in the opposite order, and for some (`variants.yml`) other units or another layout.
"""

import contextlib
import inspect
import io
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from vit.course import Exercise, exercises


def n(low: int, high: int) -> int:
    """A random whole number, both ends included."""
    return int(torch.randint(low, high + 1, ()))


def f(low: float, high: float) -> float:
    """A random number between the two."""
    return low + (high - low) * float(torch.rand(()))


def patches(P: int) -> tuple[int, int, int, int, int]:
    """A batch, a height, a width that differs from it, a patch and a number of columns."""
    rows = n(2, 9)
    return n(2, 9), rows * P, (rows + n(1, 9)) * P, P, n(10, 99)


def askers(h: int) -> tuple[int, int, int, int, int]:
    """A batch, askers, more who are asked, columns and heads."""
    return n(2, 9), (M := n(2, 20)), M + n(1, 20), h * n(2, 9), h


# For exercises whose own inputs no seed changes: more, so that a list of known answers will not do.
MORE: dict[str, Callable[[], list[tuple]]] = {
    "0.3": lambda: [(n(2, 2000),) for _ in range(2)],
    "1.4": lambda: [patches(n(2, 20)) for _ in range(2)],
    "2.1": lambda: [((P := n(3, 12)) * n(P + 1, 20), P) for _ in range(2)],
    "2.2": lambda: [(2 * n(3, 9), n(2, 20))],
    "2.6": lambda: [(f(50, 500), 16 * n(2, 5), n(5, 9))],
    "3.6": lambda: [askers(n(2, 6)) for _ in range(2)],
    "6.4": lambda: [(100 * n(2, 9), 0.11 + n(1, 5) / 100)],
    "6.6": lambda: [(f(0.6, 0.95), n(4, 40), False), (f(0.6, 0.95), n(4, 40), True)],
    "7.4": lambda: [(n(5, 90), n(100, 200)) for _ in range(2)],
    "8.3": lambda: [((total := n(10**8, 10**9)), total // n(2, 99))],
    "9.1": lambda: [(n(3, 99),) for _ in range(2)],
    "10.1": lambda: [([n(1, 3) for _ in range(n(3, 6))],) for _ in range(2)],
    "10.4": lambda: [(f(0.3, 1.5), f(0.8, 2.5)) for _ in range(2)],
    "11.1": lambda: [({name: torch.zeros(n(1, 2), n(1, 3)) for name in "fedcba"},) for _ in range(2)],
    "12.2": lambda: [(f(1e8, 1e9), f(1e12, 1e13), f(1e14, 1e15), f(0.2, 0.6), f(0.3, 0.7))],
    "12.6": lambda: [(f(20, 200), (slow := f(0.3, 0.9)), slow * f(0.5, 0.9)) for _ in range(2)],
}


@cache
def twists() -> dict[str, dict[str, Any]]:
    """What is other in a variant than names and order, of the exercises where something is."""
    return yaml.safe_load(Path(__file__).with_name("variants.yml").read_text(encoding="utf-8"))


def key(item: Exercise) -> str:
    """`3.1`."""
    return f"{item.lesson}.{item.number}"


def harder(item: Exercise) -> Exercise:
    """The exercise, tried on more inputs where its own are a fixed list."""
    more = MORE.get(key(item), list)
    return replace(item, cases=lambda: [*item.cases(), *more()], known={})


def variant(item: Exercise) -> Exercise:
    """The exercise under another name, with its arguments in the opposite order, and its twist."""
    name, twist = f"{item.name}_b", twists().get(key(item), {})
    if inspect.isclass(item.right):
        own = {"__doc__": inspect.getdoc(item.right), "__init__": lambda self: item.right.__init__(self)}
        right = type(name, (item.right,), own)
        return replace(item, right=right, known={})
    names = [*inspect.signature(item.right).parameters]

    def changed(which: str, arguments: tuple) -> list:
        """Arguments in our order, with the changes that the twist makes to some of them."""
        if not twist.get(which):
            return [*arguments]
        given = dict(zip(names, arguments, strict=True))
        return [value(twist[which][name], given) if name in twist[which] else given[name] for name in names]

    ours = lambda arguments: changed("ours", arguments[::-1])
    theirs = lambda arguments: tuple(changed("theirs", arguments)[::-1])

    def turned(function: Callable) -> Callable:
        """A program for our arguments as one for theirs."""
        after = twist.get("result")
        plain = lambda *arguments: function(*ours(arguments))
        return (lambda *arguments: value(after, {"found": plain(*arguments)})) if after else plain

    right = turned(item.right) if names else lambda: item.right()
    right.__name__ = name
    right.__doc__ = inspect.getdoc(item.right) + (f"\n\nBut here: {twist['ask']}" if twist.get("ask") else "")
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    right.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names[::-1]])
    return replace(
        item,
        right=right,
        cases=lambda: [theirs(case) for case in item.cases()],
        probe=lambda answer, *case: item.probe(lambda *given: answer(*theirs(given)), *ours(case)),
        mistakes=[(sentence, turned(wrong)) for sentence, wrong in item.mistakes],
        known={},
    )


def value(expression: str, given: dict[str, Any]) -> Any:
    """What an expression of `variants.yml` comes to."""
    return eval(expression, {"math": math, "torch": torch, **given})


def hidden(lesson: int, number: int, is_variant: bool) -> Exercise:
    """The exercise as it is graded."""
    item = harder(exercises(lesson)[number])
    return variant(item) if is_variant else item


def judge(lesson: int, number: int, answer: Any, *, seed: int, points: int, is_variant: bool = False) -> int:
    """Say what is right or wrong with an answer, and return its points: all, or none.

    nbgrader takes the last value of a cell for the points. It gives none to a cell that writes to stderr, and
    so would a warning of PyTorch's cost a right answer its points: here it is swallowed.
    """
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
        verdict = hidden(lesson, number, is_variant).judge(answer, seed)
    print(verdict.text)
    return points if verdict.right else 0


def is_fair(lesson: int, seed: int, is_variant: bool) -> bool:
    """Whether with this seed each right answer is right and each usual mistake is named."""
    for number, item in exercises(lesson).items():
        if isinstance(item, Exercise):
            item = hidden(lesson, number, is_variant)
            found = [item.judge(wrong, seed).mistake for _, wrong in item.mistakes]
            if not item.judge(item.right, seed).right or found != [*range(len(found))]:
                return False
    return True
