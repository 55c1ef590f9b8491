"""An exercise: the right answer, the usual mistakes and what to try both on.

    exercise = Lesson(3)

    @exercise(2, cases, notice="What to see in a right answer.")
    def name_of_the_function(its, arguments):
        '''What the learner's stub says.'''
        return the_right_answer

    name_of_the_function.mistake("What it earns.", lambda its, arguments: a_wrong_answer)

An answer is right where it agrees with the right one on all cases. If it does not, it is compared with the
mistakes. So each mistake is a program, and a test can ask whether it is recognised.
"""

import copy
import dis
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from textwrap import indent
from typing import Any, NamedTuple

import torch

from vit.course.compare import describe, difference, unchanged

LESSONS = range(13)
# An empty function compiles to these and nothing else.
EMPTY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


class Verdict(NamedTuple):
    """What is said of an answer. `mistake` is the number of the mistake that was recognised."""

    right: bool | None
    text: str
    mistake: int | None = None


class Outcome(NamedTuple):
    """What one case came to: a value, or the trouble on the way to it."""

    value: Any = None
    trouble: str = ""
    touched: bool = False


class Nothing(Exception):
    """The answer returned None."""


@dataclass
class Exercise:
    """One exercise. `cases()` makes tuples of arguments, from PyTorch's random numbers.

    Args:
        probe: what is computed with an answer, where that is not just `answer(*arguments)`.
        silent: whether an answer may return None, since the probe looks at what it changed.
    """

    lesson: int
    number: int
    right: Callable
    cases: Callable[[], Iterable[tuple]] = lambda: [()]
    probe: Callable[..., Any] = lambda answer, *arguments: answer(*arguments)
    notice: str = ""
    silent: bool = False
    atol: float = 1e-5
    mistakes: list[tuple[str, Callable]] = field(default_factory=list)
    known: dict[tuple, list] = field(default_factory=dict, repr=False)  # what came of our own answers

    @property
    def name(self) -> str:
        """What the answer is to be called."""
        return self.right.__name__

    @property
    def is_value(self) -> bool:
        """Whether a value is asked for, and no function."""
        return not inspect.isclass(self.right) and not inspect.signature(self.right).parameters

    @property
    def stub(self) -> str:
        """The code that a learner begins with."""
        text = inspect.getdoc(self.right)
        if self.is_value:
            return indent(text, "# ") + f"\n{self.name} = ..."
        is_class = inspect.isclass(self.right)
        head = (
            f"class {self.name}(nn.Module)" if is_class else f"def {self.name}{inspect.signature(self.right)}"
        )
        end = "\n" if "\n\n" in text else ""  # before the closing quotes of what has paragraphs
        return f"{head}:\n" + indent(f'"""{text}{end}"""\n...', "    ")

    def mistake(self, sentence: str, wrong: Callable | None = None) -> Callable:
        """Add a usual mistake: what to say, and the program that makes it. Without one, a decorator."""
        if wrong is None:
            return lambda wrong: self.mistake(sentence, wrong)
        self.mistakes.append((sentence, wrong))
        return wrong

    def inputs(self, seed: int = 0) -> list[tuple]:
        """The arguments of every case. The caller's random numbers go on as if nothing had been drawn."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return list(self.cases())

    def run(self, answer: Callable, arguments: tuple) -> Outcome:
        """Give an answer one case, on copies."""
        mine = copy.deepcopy(arguments)

        def watched(*args, **kwargs):
            value = answer(*args, **kwargs)
            if value is None and not self.silent:
                raise Nothing
            return value

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                value = self.probe(watched, *mine)
            except Nothing:
                return Outcome(trouble=f"{self.name} returned None. Is a return missing?")
            except Exception as error:
                said = " ".join(str(error).split())
                said = f"{type(error).__name__}: {said}" if said else type(error).__name__
                return Outcome(trouble=f"{self.name} raised {said[:200]}{'…' * (len(said) > 200)}")
        return Outcome(value, touched=not unchanged(mine, arguments))

    def _ours(self, answer: Callable, cases: list[tuple], seed: int) -> list:
        """What a right or wrong answer of ours makes of the cases; computed once."""
        if (answer, seed) not in self.known:
            outcomes = [self.run(answer, case) for case in cases]
            assert not any(outcome.trouble for outcome in outcomes), outcomes
            self.known[answer, seed] = [outcome.value for outcome in outcomes]
        return self.known[answer, seed]

    def judge(self, answer: Any, seed: int = 0) -> Verdict:
        """Compare an answer with the right one, then with the mistakes."""
        here = f"{self.lesson}.{self.number}"
        if unwritten(answer):
            return Verdict(False, f"{here} is not written yet.")
        if self.is_value and not callable(answer):
            answer = (lambda value: lambda: value)(answer)
        elif not callable(answer):
            call = f"check({self.lesson}, {self.number}, {self.name})"
            return Verdict(False, f"{here}: give it the function itself, not what it returns: {call}.")
        cases = self.inputs(seed)
        right = self._ours(self.right, cases, seed)
        found = [self.run(answer, case) for case in cases]
        if not any(outcome.trouble for outcome in found):
            for i, (sentence, wrong) in enumerate([("", self.right), *self.mistakes]):
                theirs = self._ours(wrong, cases, seed)
                if all(not difference(a.value, b, self.atol) for a, b in zip(found, theirs, strict=True)):
                    if i:
                        return Verdict(False, f"{here} is not right yet. {sentence}", i - 1)
                    break
            else:
                i = None
            if i == 0 and not any(outcome.touched for outcome in found):
                return Verdict(True, f"{here} is right. {self.notice}".strip())
        return Verdict(False, f"{here} is not right yet. {self._first_trouble(cases, found, right)}")

    def _first_trouble(self, cases: list[tuple], found: list[Outcome], right: list) -> str:
        names = [*inspect.signature(self.right).parameters]
        names = names if all(len(case) == len(names) for case in cases) else []  # a probe may take others
        for case, outcome, expected in zip(cases, found, right, strict=True):
            what = outcome.trouble or difference(outcome.value, expected, self.atol)
            if not what and outcome.touched:
                what = f"the values are right, but {self.name} changed what it was given: work on a copy"
            if what:
                words = [*filter(None, map(describe, names, case))]
                given = f" (with {', '.join(words)})" if words else ""
                return f"{what if outcome.trouble else what[0].upper() + what[1:]}{given}."
        raise AssertionError("a wrong answer without trouble")


@dataclass
class Open:
    """An exercise without a check: to explain, or to explore. Its rubric stands in the lesson."""

    lesson: int
    number: int

    def judge(self, answer: Any, seed: int = 0) -> Verdict:
        """Say where the rubric is."""
        here = f"{self.lesson}.{self.number}"
        return Verdict(None, f"{here} is open. Hold your answer against the rubric under the question.")


class Lesson:
    """The exercises of one lesson, by number."""

    def __init__(self, lesson: int):
        self.lesson = lesson
        self.exercises: dict[int, Exercise | Open] = {}

    def __call__(self, number: int, cases: Callable[[], Iterable[tuple]] = lambda: [()], **more):
        """Decorate the right answer, which becomes the exercise."""

        def add(right: Callable) -> Exercise:
            self.exercises[number] = Exercise(self.lesson, number, right, cases, **more)
            return self.exercises[number]

        return add

    def open(self, number: int) -> None:
        """Note that this exercise has a rubric instead of a check."""
        self.exercises[number] = Open(self.lesson, number)


def unwritten(answer: Any) -> bool:
    """Whether this is a stub that nobody has touched: `...`, or a function or class without any code."""
    if answer is None or answer is ...:
        return True
    if inspect.isclass(answer):
        return not any(map(inspect.isfunction, vars(answer).values()))
    if not inspect.isfunction(answer):
        return False
    steps = [step for step in dis.get_instructions(answer) if step.opname not in ("RESUME", "NOP")]
    return {step.opname for step in steps} <= EMPTY and all(
        step.argval is None for step in steps if step.opname != "RETURN_VALUE"
    )


def exercises(lesson: int) -> dict[int, Exercise | Open]:
    """The exercises of a lesson, by number.

    Raises:
        ValueError: if there is no such lesson.
    """
    if lesson not in LESSONS:
        raise ValueError(f"There is no lesson {lesson}: they go from {LESSONS[0]} to {LESSONS[-1]}.")
    return dict(sorted(import_module(f"vit.course.lesson_{lesson:02}").exercise.exercises.items()))
