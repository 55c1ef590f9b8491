"""The exercises that check themselves: right answers, usual mistakes, empty answers, pages and hand-outs."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from course import handout
from vit.course import check, exercises
from vit.course.compare import difference
from vit.course.exercise import LESSONS, Exercise, Lesson, Open

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {int(path.stem[:2]): path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
ALL = [item for lesson in LESSONS for item in exercises(lesson).values()]
CHECKED = [item for item in ALL if isinstance(item, Exercise)]
MISTAKES = [(item, i) for item in CHECKED for i in range(len(item.mistakes))]
# "**3. One query.** (10 minutes, easy.) After ...", perhaps with what to read before.
HEAD = re.compile(
    r"\*\*\d+\. .+?\*\* \(\d+ minutes, (easy|medium|hard)(, open)?(\.|[,;][^()]*(\([^()]*\)[^()]*)?)\)\s"
)
FOLD = re.compile(r"<summary>(.+?)</summary>")


def name(value):
    return f"{value.lesson}.{value.number}" if isinstance(value, Exercise | Open) else str(value)


checked = pytest.mark.parametrize("item", CHECKED, ids=name)


# ---- every exercise --------------------------------------------------------------------------------


@checked
def test_the_right_answer_is_right(item):
    for seed in (0, 1):
        verdict = item.judge(item.right, seed)
        assert verdict.right, verdict.text
    assert "\n" not in verdict.text
    assert len(item.mistakes) >= 2


@pytest.mark.parametrize(("item", "i"), MISTAKES, ids=name)
def test_a_usual_mistake_is_named(item, i):
    sentence, wrong = item.mistakes[i]
    verdict = item.judge(wrong)
    assert verdict == (False, f"{name(item)} is not right yet. {sentence}", i)
    assert sentence.endswith((".", "?"))


@checked
def test_an_empty_answer_is_told_so(item, capsys):
    """And so is the stub, which compiles."""
    space = {"nn": torch.nn}
    exec(item.stub, space)
    for nothing in (space[item.name], None, ..., lambda *arguments: None):
        assert check(item.lesson, item.number, nothing) is False
        assert capsys.readouterr().out == f"{name(item)} is not written yet.\n"


@checked
def test_an_answer_that_raises_is_told_so(item):
    def broken(*arguments):
        raise KeyError("no such thing")

    verdict = item.judge(broken)
    assert not verdict.right
    assert verdict.mistake is None
    assert "KeyError: 'no such thing'" in verdict.text
    assert "\n" not in verdict.text


# ---- the machinery, on small exercises -------------------------------------------------------------


def cases():
    yield torch.tensor([1.0, 2.0, 4.0]), 2
    yield torch.randn(3), 3


exercise = Lesson(99)


@exercise(1, cases, notice="Well.")
def scaled(x, s):
    """X times s."""
    return x * s


scaled.mistake("You divided.", lambda x, s: x / s)
scaled.mistake("You forgot s.", lambda x, s: x.clone())


def in_place(x, s):
    return x.mul_(s)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x, s: s * x, "is right. Well."),
        (lambda x, s: (s * x).numpy(), "is right. Well."),
        (
            lambda x, s: x + x / s + x - x,
            "not right yet. At [0] expected 2, found 1.5 (with x of shape (3,), s = 2).",
        ),
        (lambda x, s: x, "not right yet. You forgot s."),
        (in_place, "The values are right, but scaled changed what it was given: work on a copy"),
        (lambda x, s: (x * s).double(), "The dtype is torch.float64, and should be torch.float32"),
        (lambda x, s: (x * s)[None], "The shape is (1, 3), and should be (3,)"),
        (lambda x, s: (x * s).tolist(), "Expected a tensor of shape (3,), found 3 values"),
        (lambda x, s: print(end=""), "scaled returned None. Is a return missing?"),
        (lambda x, s: x.no, "scaled raised AttributeError: 'Tensor' object has no attribute 'no'"),
        (lambda x: x, "scaled raised TypeError: "),
        (lambda x, s: x * s if s == 2 else x, "expected"),
        (torch.ones(3), "give it the function itself, not what it returns: check(99, 1, scaled)."),
    ],
)
def test_what_is_said_of_an_answer(answer, told):
    verdict = scaled.judge(answer)
    assert told in verdict.text
    assert verdict.right == told.startswith("is right")


@pytest.mark.parametrize(
    ("found", "right", "told"),
    [
        (2.0, 2, None),
        (np.float32(2), 2.0, None),
        (torch.tensor(True), True, None),
        ((1, [2.0]), [1, (2.0,)], None),
        (2.00001, 2.0, None),
        (float("nan"), 2.0, "expected the number 2, found the number nan"),
        (2.5, 2, "expected the number 2, found the number 2.5"),
        ("a", 2, "expected the number 2, found the text 'a'"),
        (None, "a", "expected the text 'a', found None"),
        ([1], [1, 2], "expected 2 values, found 1 value"),
        ({"a": 1}, {"a": 1, "b": 2}, "'b' is missing"),
        ({"a": 1, "b": 2}, {"a": 1}, "'b' is too much"),
        ({"a": [0, 2]}, {"a": [0, 1]}, "in 'a': in part 1: expected the number 1, found the number 2"),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0]), "at [1] expected 2, found nan"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "at [1] expected 3, found 2"),
    ],
)
def test_where_two_results_differ(found, right, told):
    assert difference(found, right) == told


def test_checking_leaves_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    scaled.judge(lambda x, s: torch.randn(3))
    assert torch.equal(torch.randn(2), expected)


def test_a_value_may_be_given_in_place_of_a_function(capsys):
    E = exercises(1)[3].right()
    assert check(1, 3, E)
    assert check(1, 3, lambda: E)
    assert not check(1, 3, 2 * E)


def test_what_there_is_not(capsys):
    assert check(99, 1, max) is check(1, 99, max) is False
    assert check(6, 3, "I saw it.") is None
    assert capsys.readouterr().out == (
        "There is no lesson 99: they go from 0 to 12.\n"
        "Lesson 1 has no exercise 99: it has 1, 2, 3, 4.\n"
        "6.3 is open. Hold your answer against the rubric under the question.\n"
    )


# ---- the pages, and what is handed out -------------------------------------------------------------


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_page_has_each_exercise_with_its_check(lesson):
    """That the solutions are right is asked in test_lessons.py, where they are run."""
    asked, known = handout.questions(nbformat.read(NOTEBOOKS[lesson], as_version=4)), exercises(lesson)
    assert list(asked) == list(known)
    for number, text in asked.items():
        assert HEAD.match(text), text[:80]
        folds = FOLD.findall(text)
        assert 1 <= len(folds) - 1 <= 3
        assert folds[0] == "Hint"
        if isinstance(known[number], Open):
            assert folds[-1] == "Rubric"
            assert ", open.)" in text
            continue
        assert folds[-1] == "Solution"
        question, solution = text.split("<summary>Solution</summary>")
        call = f"check({lesson}, {number}, {known[number].name})"
        assert f"assert {call}\n" in solution
        assert f"`{call}`" in question


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_hand_out_asks_and_does_not_answer(lesson, capsys):
    whole = nbformat.read(NOTEBOOKS[lesson], as_version=4)
    given = handout.handout(whole)
    nbformat.validate(given)
    text = "\n".join(cell.source for cell in given.cells)
    assert "<summary>Solution</summary>" not in text
    assert "assert check(" not in text
    assert "](../" not in text, "a link to what is not handed out"
    known = exercises(lesson)
    answers = [cell.source for cell in given.cells if "exercise" in cell.metadata.get("tags", [])]
    items = [item for item in known.values() if isinstance(item, Exercise)]
    for item, source in zip(items, answers, strict=True):
        exec(source, {})
        assert capsys.readouterr().out == f"{name(item)} is not written yet.\n"
        assert item.stub in source
        head, call = source.split(item.stub)
        exec(head + call, {item.name: item.right})
        assert capsys.readouterr().out.startswith(f"{name(item)} is right.")
    # All else is the lesson's, in its order.
    kept = [cell.source for cell in given.cells if not str(cell.id).startswith(("exercise-", "answer-"))]
    anchors = [cell.metadata.get("anchor") for cell in given.cells]
    assert [cell.source for cell in whole.cells if cell.source in kept] == [
        s for s in kept if s in {c.source for c in whole.cells}
    ]
    assert anchors.index("exercises") < anchors.index("key-points")


def test_the_hand_outs_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "notebooks", lambda: list(NOTEBOOKS.values()))
    for _ in range(2):  # over an older one
        handout.write(tmp_path / "handout")
    assert sorted(path.name for path in (tmp_path / "handout").iterdir()) == sorted(
        path.name for path in NOTEBOOKS.values()
    )
    assert (tmp_path / "handout.zip").stat().st_size > 10_000
