"""The pencil worksheet has the numbers of the lessons, and none of them on the side to fill in."""

import re

import pytest

from course import toy, worksheet


def test_numbers_of_the_lessons():
    found = worksheet.steps()
    assert found["tokens"] == [[0, 0], [2, 0], [0, -2], [1, 1]]  # as lesson 1 prints them
    assert found["scores"][3] == [0, 2, 2, 0]  # as lesson 3 does
    assert found["output"][0] == pytest.approx([0.5, 1.0])
    assert all(sum(row) == pytest.approx(1) for row in found["weights"])


def test_a_lesson_that_changes_its_names_is_noticed():
    with pytest.raises(ValueError, match="no longer assigns"):
        toy.assigned("01_patches", "no_such_name")


def test_only_the_key_has_answers():
    front, back = worksheet.sheet().split("<details")
    cells = lambda html: re.findall(r"<td>([^<]*)</td>", html)
    assert len(cells(front)) == len(cells(back))
    assert cells(front).count("") == 4 * 4 + 4 * 2 + 3 * 4 * 2 + 2 * 4 * 4 + 4 * 2
    assert "" not in cells(back)


def test_numbers_as_by_hand():
    assert [worksheet.shown(x) for x in (2.0, -0.5, 0.114, -0.0)] == ["2", "–0.5", "0.11", "0"]
