"""nbgrader at work: releasing, autograding and feedback, one pupil after the other.

A notebook that cannot be graded costs nobody else their grade: it is named, and the next one comes.
"""

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from traitlets.config import PyFileConfigLoader

from course.lessons import STILLBORN, environment, say

ELSEWHERE = re.compile(r'<script[^>]*\bsrc="https?:[^"]*"[^>]*>\s*</script>')
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Marks(NamedTuple):
    """What a pupil's notebook has earned, and what was said to each answer that is not right."""

    score: float
    most: float
    comments: list[str]


@contextmanager
def nbgrader(folder: Path) -> Iterator[Any]:
    """nbgrader's API on a course folder. Its kernels find this `course`, and use one thread.

    nbgrader asks a program, `alembic`, for the version of its tables. That is found only in an environment
    that is activated, and in a folder whose name a shell can stand. So the library is asked instead.
    """
    try:
        from alembic.script import ScriptDirectory
        from nbgrader import api, dbutil
        from nbgrader.apps import NbGraderAPI
    except ImportError:
        how = "make course, or pip install --no-deps -r course/grading/requirements.txt"
        raise ValueError(f"nbgrader is not installed: {how}") from None
    if not (folder / "nbgrader_config.py").exists():
        raise ValueError(f"{folder} is no course folder: python -m course assignments makes one")
    before = dict(os.environ)
    os.environ |= environment(threads=1)
    api.get_alembic_version = lambda: ScriptDirectory(dbutil.ALEMBIC_DIR).get_current_head()
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    config.CourseDirectory.root = str(folder.resolve())
    log = logging.getLogger("traitlets")
    log.handlers, log.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings(action="ignore"):  # of SQLAlchemy about how nbgrader uses it
            yield NbGraderAPI(config=config)
    finally:
        os.environ.clear()
        os.environ.update(before)


def reason(result: dict[str, Any]) -> str:
    """Why one of nbgrader's steps failed, in a line; empty if it did not."""
    if result["success"]:
        return ""
    lines = ANSI.sub("", result.get("log", "") + result.get("error", "")).splitlines()
    raised = [line.strip() for line in lines if re.match(r"\s*([\w.]+\.)?\w*(Error|Exception)\b", line)]
    own = [line for line in raised if "NbGraderException" not in line]  # which only says to look above
    return re.sub(r"^[\w.]+\.", "", (own or raised or ["for no known reason"])[-1])[:200]


def done(result: dict[str, Any], what: str) -> None:
    """Raise a ValueError if one of nbgrader's steps failed."""
    if why := reason(result):
        raise ValueError(f"nbgrader could not {what}: {why}")


def submitted(folder: Path, name: str) -> list[str]:
    """The pupils whose notebooks of an assignment were collected, by Moodle's numbers."""
    return sorted((path.parent.name for path in (folder / "submitted").glob(f"*/{name}")), key=int)


def autograded(grader: Any, name: str, pupil: str) -> dict[str, Any]:
    """nbgrader's result of grading; of a second try, if another took a port from the kernel as it started."""
    result = grader.autograde(name, pupil)
    stillborn = STILLBORN.search(result.get("log", "") + result.get("error", ""))
    return grader.autograde(name, pupil) if stillborn and not result["success"] else result


def grade(folder: Path, name: str, people: dict[str, str], again: bool = False) -> int:
    """Grade what was collected and is not graded yet, and write feedback; `people` says who a number is."""
    pupils, failed, began = submitted(folder, name), [], time.perf_counter()
    if not pupils:
        raise ValueError(f"nothing of {name} was collected: python -m course collect {name} moodle.zip")
    with nbgrader(folder) as grader:
        for pupil in pupils:
            who = people.get(pupil, f"participant {pupil}")
            if (folder / "feedback" / pupil / name).exists() and not again:
                print(f"{who}: graded before")
                continue
            step = autograded(grader, name, pupil)
            if not reason(step):
                step = grader.generate_feedback(name, pupil)
            if why := reason(step):
                failed.append(who)
                print(f"{who}: NOT GRADED, {why}", flush=True)
                continue
            page = folder / "feedback" / pupil / name / f"{name}.html"  # which would ask others for MathJax
            page.write_text(ELSEWHERE.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
            mine = marks(grader, folder, name, pupil)
            print(f"{who}: {mine.score:g} of {mine.most:g}", *mine.comments, sep="\n    ", flush=True)
    say(f"{len(pupils) - len(failed)} of {len(pupils)} graded, in {time.perf_counter() - began:.0f} s")
    if failed:
        say(f"without a grade: {', '.join(failed)}")
    return 1 if failed else 0


def marks(grader: Any, folder: Path, name: str, pupil: str) -> Marks:
    """What nbgrader's gradebook and the graded notebook say. A grade that you changed by hand counts."""
    with grader.gradebook as book:
        submission = book.find_submission(name, pupil)
        found = {grade.name: grade.score for notebook in submission.notebooks for grade in notebook.grades}
        score, most = submission.score, submission.max_score
    path = folder / "autograded" / pupil / name / f"{name}.ipynb"
    comments = []
    for cell in nbformat.read(path, as_version=4).cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade") and found.get(about["grade_id"], 0) < about["points"]:
            comments.append(comment(cell))
    return Marks(score, most, comments)


def comment(cell: nbformat.NotebookNode) -> str:
    """What a test said: its last line, or the error that stopped it."""
    said = [line for out in cell.outputs for line in out.get("text", "").splitlines() if line.strip()]
    errors = [out.ename for out in cell.outputs if out.output_type == "error"]
    here = cell.source.split(":")[0].lstrip("# ")
    if "CellTimeoutError" in errors:
        return f"{here} did not come to an end, and was stopped."
    return f"{here} was stopped by {errors[-1]}." if errors else (said or [f"{here} earned nothing."])[-1]
