"""The quizzes of docs/quizzes: sound as questions, and as files for Moodle."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from course import quiz

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KINDS = {"multichoice", "truefalse", "numerical"}


def test_every_lesson_has_a_quiz():
    assert quiz.lessons() == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("lesson", quiz.lessons())
def test_questions(lesson):
    questions = quiz.quiz(lesson)
    assert 5 <= len(questions) <= 8
    assert len({q.id for q in questions}) == len(questions)
    anchors = set(re.findall(r'anchor="([\w-]+)"', (NOTEBOOKS / f"{lesson}.py").read_text(encoding="utf-8")))
    for q in questions:
        assert q.section in anchors | {"mistakes"}, f"{q.id}: the lesson has no section {q.section}"
        assert sum(option.right for option in q.options) == 1, q.id
        assert all(len(option.why.split()) > 3 for option in q.options), f"{q.id}: an option without a reason"
        assert (
            len({option.text for option in q.options}) == len(q.options) >= (4 if q.kind == "choice" else 2)
        ), q.id
        assert not re.search(r"\{\{|\}\}", " ".join([q.ask, *(o.text + o.why for o in q.options)])), q.id
        if q.kind == "number":
            assert q.otherwise, q.id
            for wrong in (option for option in q.options if not option.right):
                for number in (wrong.number, float(wrong.text.replace(",", "").replace("–", "-"))):
                    assert abs(number - q.right.number) > q.right.within, (
                        f"{q.id}: {number} would count as right"
                    )


def test_the_right_answer_has_no_favourite_place():
    places = [
        q.options.index(q.right) for name in quiz.lessons() for q in quiz.quiz(name) if q.kind == "choice"
    ]
    assert all(places.count(place) > len(places) / 10 for place in range(4)), places


def broken(xml):
    """What of a file Moodle's import would not take, by its published format."""
    root = ET.fromstring(xml)
    if root.tag != "quiz":
        yield f"the root is {root.tag}"
    first, *questions = root
    if first.get("type") != "category" or not first.findtext("category/text", "").startswith("$course$/"):
        yield "no category comes first"
    for q in questions:
        name, kind = q.findtext("name/text"), q.get("type")
        if kind not in KINDS:
            yield f"{name}: type {kind}"
        for field in ("questiontext", "generalfeedback"):
            part = q.find(field)
            if part is None or part.get("format") != "html" or part.find("text") is None:
                yield f"{name}: {field}"
        if not q.findtext("questiontext/text", "").strip():
            yield f"{name}: no text"
        answers = q.findall("answer")
        fractions = [float(answer.get("fraction", "nan")) for answer in answers]
        if sorted(fractions)[-1] != 100 or fractions.count(100) != 1 or set(fractions) != {0, 100}:
            yield f"{name}: fractions {fractions}"
        for answer in answers:
            if not answer.findtext("text", "").strip() or not answer.findtext("feedback/text", "").strip():
                yield f"{name}: an answer without text or feedback"
            if kind == "numerical":
                if answer.find("tolerance") is None:
                    yield f"{name}: no tolerance"
                if answer.findtext("text") != "*":
                    float(answer.findtext("text"))
        if kind == "multichoice" and q.findtext("single") != "true":
            yield f"{name}: more than one answer"
        if kind == "truefalse" and [a.findtext("text") for a in answers] != ["true", "false"]:
            yield f"{name}: answers of true and false"


@pytest.mark.parametrize("lesson", quiz.lessons())
def test_moodle(lesson):
    xml = quiz.moodle(lesson, quiz.titles()[lesson])
    assert not list(broken(xml))
    texts = [q.findtext("questiontext/text") for q in ET.fromstring(xml)[1:]]
    assert texts == [f"<p>{quiz.as_html(q.ask)}</p>" for q in quiz.quiz(lesson)], "lost on the way"


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('fraction="100"', 'fraction="50"'),
        ("<single>true</single>", "<single>false</single>"),
        ('type="numerical"', 'type="number"'),
        ('<questiontext format="html">', "<questiontext>"),
        ("$course$/", ""),
    ],
)
def test_the_check_of_the_format_complains(was, becomes):
    xml = quiz.moodle("01_patches", "1. From pixels to patches")
    assert was in xml
    assert list(broken(xml.replace(was, becomes)))


def test_sheet_and_page_have_it_all():
    for made in (quiz.sheet("03_attention", "3"), quiz.page("03_attention", "3")):
        for q in quiz.quiz("03_attention"):
            assert quiz.as_html(q.ask) in made
            assert all(quiz.as_html(option.why) in made for option in q.options)


def test_a_text_is_filled_in():
    assert quiz.filled("a {{ 2 * 3 }} b {{ 2 / 3 | .2f }}") == "a 6 b 0.67"
    assert quiz.filled("{{ -4 }}, {{ -0.5 | .1f }}, {{ 1e-9 }}, f(dim=-2)") == "–4, –0.5, 1e-09, f(dim=-2)"
    assert quiz.shown(1152) == "1,152"
    assert quiz.shown(-0.6) == "–0.60"
