"""A class that does not exist: thirty pupils hand in, some of them badly, and each grade is known beforehand.

`python -m course rehearse` takes it all the way, from the assignment to the table of grades, and says how
long the steps took on this machine.
"""

import itertools
import tempfile
import time
import zipfile
from pathlib import Path

import nbformat

from course.grading import assignments, hidden, marking, moodle
from course.lessons import say

FIRST = ["Ada", "Emmy", "Grace", "Hedy", "Ida", "Jørgen", "Katherine", "Łucja", "Mary", "Radia"]
LAST = ["Lovelace", "de la Cruz", "O'Neill"]


def answered(release: Path, answers: dict[int, str]) -> nbformat.NotebookNode:
    """The released notebook with answers written into it."""
    notebook = nbformat.read(release, as_version=4)
    for cell in notebook.cells:
        about = cell.metadata.nbgrader
        if about.solution and (number := int(about.grade_id.removeprefix("answer-"))) in answers:
            cell.source += f"\n\n\n{answers[number]}"
    return notebook


def program(lesson: int, number: int, mistake: int | None = None, is_variant: bool = False) -> str:
    """Code that gives the right answer, or makes this usual mistake."""
    item = hidden.hidden(lesson, number, is_variant)
    part = "right" if mistake is None else f"mistakes[{mistake}][1]"
    where = f"hidden({lesson}, {number}, {is_variant})"
    return f"from course.grading.hidden import hidden\n\n{item.name} = {where}.{part}"


def pupil(lesson: int, i: int, is_variant: bool = False) -> tuple[dict[int, str], set[int]]:
    """The answers of pupil i, and which are right: 0 has all, 1 none, and the others make mistakes."""
    answers, right = {}, set()
    for number, item in assignments.graded(lesson).items() if i != 1 else ():
        choice = (11 * i + 3 * number) % (2 * len(item.mistakes) + 1) if i else len(item.mistakes)
        wrong = choice if choice < len(item.mistakes) else None
        answers[number] = program(lesson, number, wrong, is_variant)
        right |= {number} if wrong is None else set()
    return answers, right


def handed_in(release: Path, name: str, path: Path, many: int) -> dict[str, float]:
    """Write the zip that Moodle would give of an imagined class. The last pupil's notebook is broken, and the
    one before has handed in a picture.

    Returns:
        Moodle's number → the points that each of the others should get.
    """
    lesson, expected = int(name[:2]), {}
    points = {
        int(cell.metadata.nbgrader.grade_id.removeprefix("points-")): cell.metadata.nbgrader.points
        for cell in nbformat.read(release, as_version=4).cells
        if cell.metadata.nbgrader.grade
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(many):
            who = f"{FIRST[i % len(FIRST)]} {LAST[i // len(FIRST) % len(LAST)]}"
            prefix = f"{who}_{5000 + i}_assignsubmission_file_"
            answers, right = pupil(lesson, i, name.endswith("_b"))
            text = nbformat.writes(answered(release, answers))
            if i == many - 2:
                archive.writestr(f"{prefix}/photo.jpg", b"not a notebook")
                continue
            archive.writestr(f"{prefix}/{name}.ipynb", text[: len(text) // 2] if i == many - 1 else text)
            if i < many - 2:
                expected[str(5000 + i)] = sum(points[number] for number in right)
    return expected


def rehearse(name: str, many: int = 30) -> int:
    """Take an imagined class from the assignment to the grades; 1 if a grade is not what it should be."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, clock = Path(temporary), [time.perf_counter()]
        assignments.write(folder, [name])
        clock.append(time.perf_counter())
        release = folder / "release" / name / f"{name}.ipynb"
        expected = handed_in(release, name, folder / "moodle.zip", many)
        moodle.collect(folder, name, folder / "moodle.zip")
        people = {number: who["name"] for number, who in moodle.people(folder, name).items()}
        marking.grade(folder, name, people)
        moodle.grades(folder, name)
        clock.append(time.perf_counter())
        with marking.nbgrader(folder) as grader:
            found = {number: marking.marks(grader, folder, name, number).score for number in expected}
        size = (folder / "moodle" / f"{name}-feedback.zip").stat().st_size
    wrong = [
        f"{people[number]}: {found[number]:g} in place of {right:g}"
        for number, right in expected.items()
        if found[number] != right
    ]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    making, grading = (b - a for a, b in itertools.pairwise(clock))
    say(f"{many} pupils: the assignment in {making:.0f} s, all from Moodle and back in {grading:.0f} s")
    say(f"{len(expected) - len(wrong)} of {len(expected)} grades are right; {size / 1e6:.1f} MB of feedback")
    return 1 if wrong else 0
