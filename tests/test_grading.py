"""Graded exercises: assignments and variants, and the way from Moodle's zip to the grades and back.

What needs nbgrader is skipped without it, saying so; with CI=true that is a failure. Kernels are started for
a handful of notebooks only: `make rehearsal` takes a whole class.
"""

import csv
import json
import os
import re
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from course.grading import assignments, hidden, marking, moodle, rehearsal
from vit.course import Exercise, exercises
from vit.course.compare import unchanged
from vit.course.exercise import LESSONS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {int(path.stem[:2]): path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
CHECKED = [item for lesson in LESSONS for item in exercises(lesson).values() if isinstance(item, Exercise)]
NAME = "01_patches"
MOODLE = "_assignsubmission_file_"
BARE = "/usr/bin:/bin"  # a PATH on which there is no virtual environment
both = pytest.mark.parametrize("is_variant", [False, True], ids=["same", "variant"])


@pytest.fixture(scope="session")
def nbgrader():
    if find_spec("nbgrader") is None:
        why = "nbgrader is not installed; make grader does it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


# ---- exercises as they are graded, and their variants ----------------------------------------------


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_variant_is_judged_as_the_exercise_is(lesson):
    assert hidden.is_fair(lesson, seed=7, is_variant=True)


def same(a, b):
    """Whether two inputs are equal; programs among them count as equal."""
    if isinstance(a, torch.Tensor | torch.nn.Module):
        return unchanged(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return callable(a) or a == b


@pytest.mark.parametrize("item", CHECKED, ids=hidden.key)
def test_nobody_knows_the_hidden_inputs(item):
    """Another seed, other inputs. Only what asks for a value has none, and 9.5 is given programs."""
    a, b = (hidden.harder(item).inputs(seed) for seed in (1, 2))
    assert item.is_value or hidden.key(item) == "9.5" or not same(a, b)
    if hidden.key(item) in hidden.MORE:
        known = item.inputs(1)
        assert same(known, item.inputs(2)), "its own inputs are random: it needs no more"
        harder = hidden.harder(item)
        named = [harder.judge(wrong, 1).mistake for _, wrong in item.mistakes]
        assert named == [*range(len(item.mistakes))]
        table = {repr(case): item.right(*case) for case in known}
        assert item.judge(lambda *case: table[repr(case)]).right, "a list of the known answers"
        assert not harder.judge(lambda *case: table[repr(case)], 1).right


def test_the_published_solution_does_not_fit_a_variant():
    """The name differs for all. Renamed and turned round, those with a twist still do not pass."""
    for item in CHECKED:
        other = hidden.variant(item)
        assert other.name != item.name
        if hidden.key(item) in hidden.twists():
            assert not other.judge(item.right, 3).right, hidden.key(item)
            turned = lambda *given, item=item: item.right(*given[::-1])
            assert not other.judge(turned, 3).right, hidden.key(item)


@pytest.mark.parametrize("item", [i for i in CHECKED if hidden.key(i) in hidden.twists()], ids=hidden.key)
def test_the_solution_of_a_variant(item):
    space = {item.name: item.right}
    exec(assignments.turned(item), space)
    assert hidden.variant(item).judge(space[f"{item.name}_b"], 5).right


def test_a_warning_costs_no_points(capsys):
    def answer(images, P):
        import warnings

        warnings.warn("this will be removed", stacklevel=1)
        print("careful", file=sys.stderr)
        return hidden.exercises(1)[1].right(images, P)

    assert hidden.judge(1, 1, answer, seed=3, points=2) == 2
    assert hidden.judge(1, 1, None, seed=3, points=2) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("1.1 is right.")
    assert said.out.endswith("1.1 is not written yet.\n")


@both
@pytest.mark.parametrize("lesson", LESSONS)
def test_a_source_asks_answers_and_tests(lesson, is_variant):
    whole = nbformat.read(NOTEBOOKS[lesson], as_version=4)
    made = assignments.source(whole, "name", 123456789, is_variant)
    nbformat.validate(made)
    assert len({cell.id for cell in made.cells}) == len(made.cells)
    items = assignments.graded(lesson)
    assert len(made.cells) == 2 + 3 * len(items)
    cells = {cell.id: cell for cell in made.cells}
    for number, item in items.items():
        item = hidden.variant(item) if is_variant else item
        question, answer, test = (cells[f"{kind}-{number}"] for kind in ("question", "answer", "points"))
        assert "<summary>Solution</summary>" not in question.source
        assert item.stub in answer.source
        given, rest = answer.source.split("### BEGIN SOLUTION\n")
        solution, rest = rest.split("### END SOLUTION")
        compile(solution, "solution", "exec")
        assert f" {item.name}" in f" {solution.replace(chr(10), ' ')}"
        assert "123456789" in test.source.split("### BEGIN HIDDEN TESTS")[1]
        exec(given.replace("from vit.course import check\n", ""), {"nn": torch.nn, "torch": torch})
        if is_variant:
            assert item.name in question.source
            assert "check(" not in question.source + answer.source
        assert test.metadata.nbgrader.points in (1, 2, 3)
        assert not re.search(r"\]\((#|\d\d_)", question.source), "a link to where the notebook is not"


# ---- from Moodle's zip and back --------------------------------------------------------------------


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes | str) else nbformat.writes(content))
    return path


@pytest.fixture
def classroom(tmp_path):
    """A course folder with a released notebook, which nbgrader has not made: to collect needs no nbgrader."""
    made = assignments.source(nbformat.read(NOTEBOOKS[1], as_version=4), NAME, 1)
    (tmp_path / "release" / NAME).mkdir(parents=True)
    nbformat.write(made, tmp_path / "release" / NAME / f"{NAME}.ipynb")
    return tmp_path


@pytest.fixture
def released(classroom):
    return nbformat.read(classroom / "release" / NAME / f"{NAME}.ipynb", as_version=4)


def test_submissions_are_collected(classroom, released, capsys):
    """And what is wrong with one is said in a line, and costs nobody else anything."""
    fewer = nbformat.from_dict(released | {"cells": [c for c in released.cells if c.id != "points-2"]})
    other = nbformat.from_dict(released | {"cells": released.cells[:2]})
    files = {
        f"Ada Lovelace_11{MOODLE}/{NAME}.ipynb": released,  # before Moodle 4.1
        f"Emmy Noether_12_assignsubmission_file/{NAME}.ipynb": released,  # since
        f"Grace Hopper_13{MOODLE}{NAME}.ipynb": released,  # without folders
        f"again/Jørgen O'Neill-Sæther_14{MOODLE}/mine.ipynb": released,  # zipped again, renamed
        f"Two Versions_15{MOODLE}/{NAME} (1).ipynb": other,
        f"Two Versions_15{MOODLE}/{NAME}.ipynb": released,
        f"Less Tests_16{MOODLE}/{NAME}.ipynb": fewer,
        f"Other Notebook_17{MOODLE}/{NAME}.ipynb": other,
        f"Broken File_18{MOODLE}/{NAME}.ipynb": nbformat.writes(released)[:500],
        f"No Notebook_19{MOODLE}/photo.jpg": b"",
        f"Empty File_20{MOODLE}/{NAME}.ipynb": b"",
        "Ada Lovelace_11_assignsubmission_onlinetext_/onlinetext.html": "<p>Here it is.</p>",
        f"__MACOSX/Ada Lovelace_11{MOODLE}/._{NAME}.ipynb": b"",
        "readme.txt": "",
    }
    assert moodle.collect(classroom, NAME, zipped(classroom / "moodle.zip", files)) == 0
    assert marking.submitted(classroom, NAME) == ["11", "12", "13", "14", "15", "16"]
    *told, last = capsys.readouterr().out.splitlines()
    assert told == [
        f"Two Versions: 2 notebooks, {NAME}.ipynb is taken",
        "Less Tests: 1 deleted tests were put back",
        "Other Notebook: another notebook: none of this assignment's tests is in it",
        "Broken File: cannot be read as a notebook (NotJSONError)",
        "No Notebook: no notebook, but photo.jpg",
        "Empty File: cannot be read as a notebook (NotJSONError)",
        "readme.txt: not from Moodle, left alone",
    ]
    assert "6 of 10 submissions collected" in last
    known = moodle.people(classroom, NAME)
    assert known["14"] == {
        "name": "Jørgen O'Neill-Sæther",
        "prefix": f"Jørgen O'Neill-Sæther_14{MOODLE}/",
    }
    for number in ("15", "16"):
        path = classroom / "submitted" / number / NAME / f"{NAME}.ipynb"
        assert {c.id for c in nbformat.read(path, as_version=4).cells} == {c.id for c in released.cells}


def test_a_later_zip_replaces_and_forgets_nobody(classroom, released, capsys):
    first = {f"P{i}_{i}{MOODLE}/{NAME}.ipynb": released for i in (11, 12)}
    moodle.collect(classroom, NAME, zipped(classroom / "a.zip", first))
    for number in ("11", "12"):
        (classroom / "feedback" / number / NAME).mkdir(parents=True)
    released.cells[3].source += "\n# a second thought"
    second = {f"P11_11{MOODLE}/{NAME}.ipynb": released}
    moodle.collect(classroom, NAME, zipped(classroom / "b.zip", second))
    assert "P11: a new version in place of the one before" in capsys.readouterr().out
    assert marking.submitted(classroom, NAME) == ["11", "12"]
    assert [n for n in ("11", "12") if (classroom / "feedback" / n / NAME).exists()] == ["12"]
    assert [*moodle.people(classroom, NAME)] == ["11", "12"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("99_nothing", None, "no assignment 99_nothing in .*; there are 01_patches"),
        (NAME, None, "there is no file"),
        (NAME, b"%PDF", "is no zip"),
        (NAME, {"homework.ipynb": "{}"}, "has no folder like"),
    ],
)
def test_what_is_no_zip_of_moodles(classroom, name, content, told):
    path = classroom / "moodle.zip"
    if isinstance(content, dict):
        zipped(path, content)
    elif content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        moodle.collect(classroom, name, path)
    assert "\n" not in str(caught.value)
    assert not (classroom / "submitted").exists()


def test_the_list_of_a_class(tmp_path, capsys):
    path = tmp_path / "class.csv"
    path.write_text("Identifier,Full name,Email address\nParticipant 11,Ada Lovelace,ada@x.org\n", "utf-8")
    assert moodle.class_list(path)["11"]["Email address"] == "ada@x.org"
    path.write_text("\ufeffFirst name,Last name,Email address\nAda,Lovelace,ada@x.org\n", "utf-8")
    assert moodle.class_list(path)["Ada Lovelace"]["Email address"] == "ada@x.org"
    assert not capsys.readouterr().out
    twice = "Anna,Müller,a@x.org\nAnna,Müller,b@x.org\nMary,O'Neill,m@x.org\n"
    path.write_text(f"First name,Last name,Email address\n{twice}", "utf-8")
    found = moodle.class_list(path)
    assert found["Anna Müller"]["Email address"] == "", "nobody gets the grade of a namesake"
    assert capsys.readouterr().out == f"Anna Müller: more than once in {path}, so without an address\n"
    assert found[moodle.bare("Mary ONeill")]["Email address"] == "m@x.org", "as Moodle's zip writes it"
    path.write_text("Vorname;Nachname\nAda;Lovelace\n", "utf-8")
    with pytest.raises(ValueError, match="needs a column 'Full name'"):
        moodle.class_list(path)


@pytest.mark.parametrize("path", [BARE, f"{Path(sys.executable).parent}:{BARE}"], ids=["without", "with"])
def test_whether_or_not_the_environment_is_on_the_path(path, tmp_path, monkeypatch, nbgrader):
    import sqlalchemy

    monkeypatch.setenv("PATH", path)
    (tmp_path / "nbgrader_config.py").write_text(assignments.CONFIG)
    with marking.nbgrader(tmp_path) as grader, grader.gradebook as book:  # which has a version
        assert book.db.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    assert os.environ["PATH"] == path


def test_a_folder_that_is_no_course(tmp_path, nbgrader):
    with pytest.raises(ValueError, match="is no course folder"), marking.nbgrader(tmp_path):
        pass
    with pytest.raises(ValueError, match="nothing of 01_patches was collected"):
        marking.grade(tmp_path, NAME, {})
    with pytest.raises(ValueError, match="no assignment 99_x; there are 00_one_sitting, 01_patches"):
        assignments.write(tmp_path, ["99_x"])


def test_what_is_said_of_a_test():
    """Its last line; and of code that does not end no name of an error."""
    cell = nbformat.v4.new_code_cell("# 3.1: 1 point, on inputs that you do not see.")
    assert marking.comment(cell) == "3.1 earned nothing."
    cell.outputs = [nbformat.v4.new_output("stream", text="careful\n3.1 is not right yet. Too long.\n")]
    assert marking.comment(cell) == "3.1 is not right yet. Too long."
    errors = [nbformat.v4.new_output("error", ename=f"{n}Error") for n in ("Zero", "CellTimeout")]
    cell.outputs = errors[:1]
    assert marking.comment(cell) == "3.1 was stopped by ZeroError."
    cell.outputs = errors
    assert marking.comment(cell) == "3.1 did not come to an end, and was stopped."


def for_moodle(path, participants):
    """Number → file names, as Moodle's importer of feedback reads a zip's paths."""
    found = {}
    for entry in zipfile.ZipFile(path).namelist():
        for i, part in enumerate(parts := entry.split("/")):
            info = part.split("_", 4)
            if len(info) >= 4 and info[1] in participants and info[2:4] == ["assignsubmission", "file"]:
                found[info[1]] = "/".join([*info[4:], *parts[i + 1 :]]).lstrip("/")
                break
    return found


@pytest.mark.parametrize(
    ("said", "tries"), [("RuntimeError: Kernel died before replying", 2), ("Kernel died", 1)]
)
def test_a_kernel_that_never_began_is_started_once_more(said, tries):
    results = [{"success": False, "log": said}, {"success": True}]
    grader = SimpleNamespace(autograde=lambda *_: results.pop(0))
    assert marking.autograded(grader, NAME, "11")["success"] == (tries == 2)
    assert len(results) == 2 - tries


def test_from_an_assignment_to_the_grades(tmp_path, monkeypatch, capsys, nbgrader):
    monkeypatch.setenv("PATH", BARE)
    assignments.write(tmp_path, [NAME])
    release = tmp_path / "release" / NAME / f"{NAME}.ipynb"
    text = release.read_text(encoding="utf-8")
    seed = str(json.loads((tmp_path / "seeds.json").read_text())[NAME])
    assert seed in (tmp_path / "source" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert not [word for word in (seed, "SOLUTION", "HIDDEN", "judge") if word in text]
    empty = nbformat.read(release, as_version=4)
    full = nbformat.read(tmp_path / "source" / NAME / f"{NAME}.ipynb", as_version=4)
    answers = {n: rehearsal.program(1, n, mistake) for n, mistake in ((1, None), (3, 1), (4, 0))}
    mixed = rehearsal.answered(release, answers | {2: "def put_back(:"})
    mixed.cells = [cell for cell in mixed.cells if cell.id != "points-1"]
    deadly = rehearsal.answered(release, {1: "import os\n\nos._exit(1)"})
    files = {"Full_11": full, "Empty_12": empty, "Mixed_13": mixed, "Deadly_14": deadly}
    files = {f"{who}{MOODLE}/{NAME}.ipynb": notebook for who, notebook in files.items()}
    moodle.collect(tmp_path, NAME, zipped(tmp_path / "moodle.zip", files))
    people = {number: who["name"] for number, who in moodle.people(tmp_path, NAME).items()}
    capsys.readouterr()

    assert marking.grade(tmp_path, NAME, people) == 1
    said = capsys.readouterr().out
    assert "Full: 6 of 6\n" in said
    assert "Empty: 0 of 6\n    1.1 is not written yet.\n" in said
    assert "Mixed: 1 of 6\n    1.2 is not written yet.\n" in said  # and the test that was deleted is back
    items = assignments.graded(1)
    for number, mistake in ((3, 1), (4, 0)):
        assert f"    1.{number} is not right yet. {items[number].mistakes[mistake][0]}\n" in said
    assert "Deadly: NOT GRADED, DeadKernelError: Kernel died\n" in said
    assert "== without a grade: Deadly\n" in said

    (tmp_path / "class.csv").write_text(
        "Full name,Email address\nFull,full@x.org\nAbsent,no@x.org\n", "utf-8"
    )
    moodle.grades(tmp_path, NAME, tmp_path / "class.csv")
    said = capsys.readouterr().out
    assert "Deadly: handed in, and not graded\n" in said
    assert "Absent: no grade\n" in said
    assert "Empty: not in " in said
    with (tmp_path / "moodle" / f"{NAME}-grades.csv").open(encoding="utf-8") as file:
        rows = {row["Identifier"]: row for row in csv.DictReader(file)}
    assert {n: (row["Grade"], row["Maximum grade"]) for n, row in rows.items()} == {
        "Participant 11": ("6", "6"),
        "Participant 12": ("0", "6"),
        "Participant 13": ("1", "6"),
    }
    assert rows["Participant 11"]["Email address"] == "full@x.org"
    told = rows["Participant 13"]["Feedback comments"]
    assert told.startswith("1.2 is not written yet. 1.3 is not right yet. The first column asks for")
    feedback = tmp_path / "moodle" / f"{NAME}-feedback.zip"
    assert for_moodle(feedback, people) == dict.fromkeys(("11", "12", "13"), f"{NAME}.html")
    page = zipfile.ZipFile(feedback).read(f"Mixed_13{MOODLE}/{NAME}.html").decode()
    assert "You took the picture for a square." in page
    assert not [line for line in page.splitlines() if 'src="http' in line or 'href="http' in line]

    # Once more: nothing is graded twice.
    shutil.rmtree(tmp_path / "submitted" / "14")
    assert marking.grade(tmp_path, NAME, people) == 0
    assert capsys.readouterr().out.count("graded before") == 3
