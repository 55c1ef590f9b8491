"""The exercises that check themselves: right answers, usual mistakes, empty answers, and the pages'
solutions."""

import pytest

from vit.course import exercises
from vit.course.exercise import LESSONS, Exercise, Open

ALL = [item for lesson in LESSONS for item in exercises(lesson).values()]
CHECKED = [item for item in ALL if isinstance(item, Exercise)]
MISTAKES = [(item, i) for item in CHECKED for i in range(len(item.mistakes))]


def name(value):
    return f"{value.lesson}.{value.number}" if isinstance(value, Exercise | Open) else str(value)


@pytest.mark.parametrize("item", CHECKED, ids=name)
def test_the_right_answer_is_right(item):
    for seed in (0, 1):
        verdict = item.judge(item.right, seed)
        assert verdict.right, verdict.text
    assert len(item.mistakes) >= 2


@pytest.mark.parametrize(("item", "i"), MISTAKES, ids=name)
def test_a_usual_mistake_is_named(item, i):
    for seed in (0, 1):
        verdict = item.judge(item.mistakes[i][1], seed)
        assert verdict.mistake == i, verdict.text
        assert item.mistakes[i][0] in verdict.text
