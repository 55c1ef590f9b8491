"""The way from Moodle and back, for one assignment.

    collect   the zip of "Download all submissions" → submitted/
    grades    → moodle/NAME-grades.csv
              → moodle/NAME-feedback.zip for "Upload multiple feedback files in a zip"

In Moodle's zip each pupil has a folder, `Ada Lovelace_12345_assignsubmission_file_/` (without the last `_`
since Moodle 4.1), or where folders are off, files whose names begin so. The number is the one of Moodle's
grading worksheet. What is wrong with one pupil's files is said in a line, and the others' are collected.
"""

import csv
import io
import json
import re
import shutil
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course.grading import marking
from course.lessons import say

ENTRY = re.compile(
    r"(?:.*/)?(?P<prefix>(?P<who>[^/_]+)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_?/|_))(?P<file>.+)"
)
DROPPED = re.compile(r"""[\x00-\x1f\x7f&<>"`|':\\/]""")  # of a name, where Moodle makes a file name of it
LARGEST = 50e6  # bytes of a notebook: with figures, a long one has a tenth of it
COLUMNS = [
    "Identifier",
    "Full name",
    "Email address",
    "Grade",
    "Maximum grade",
    "Last modified (grade)",
    "Feedback comments",
]


def register(folder: Path, name: str) -> Path:
    """The file that says who has which number, and how Moodle calls their folders."""
    return folder / "moodle" / f"{name}.json"


def people(folder: Path, name: str) -> dict[str, dict[str, str]]:
    """Number → name, and prefix of the files in Moodle's zip, of all who were ever seen."""
    path = register(folder, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def entries(archive: zipfile.ZipFile) -> tuple[dict[str, list], list[str]]:
    """Number → matches and files of each pupil in Moodle's zip; and the paths that are nobody's."""
    found, strange = {}, []
    for info in archive.infolist():
        hidden = Path(info.filename).name.startswith(".") or "__MACOSX" in info.filename
        if info.is_dir() or hidden:
            continue
        if (match := ENTRY.fullmatch(info.filename)) is None:
            strange.append(info.filename)
        elif match["kind"] == "file":  # and no text that was typed into Moodle
            found.setdefault(match["number"], []).append((match, info))
    return found, strange


def chosen(files: list, name: str) -> tuple[Any, str]:
    """Of a pupil's files the one to grade, and a word on it if there was a choice; None if there is none."""
    books = [info for match, info in files if match["file"].lower().endswith(".ipynb")]
    if not books:
        return None, f"no notebook, but {', '.join(match['file'] for match, _ in files)}"
    named = [info for match, info in files if Path(match["file"]).name == f"{name}.ipynb"]
    best = max(named or books, key=lambda info: info.date_time)
    return best, f"{len(books)} notebooks, {Path(best.filename).name} is taken" if len(books) > 1 else ""


def mended(archive: zipfile.ZipFile, info: Any, released: NotebookNode) -> tuple[NotebookNode, str]:
    """A pupil's notebook, with the tests that are missing put back at its end; and a word on that.

    Raises:
        ValueError: if it is none, or none of this assignment.
    """
    if info.file_size > LARGEST:
        raise ValueError(f"a notebook of {info.file_size / 1e6:.0f} MB, which is too large")
    try:
        notebook = nbformat.reads(archive.read(info).decode("utf-8-sig"), as_version=4)
        nbformat.validate(notebook, relax_add_props=True)
        ids = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    except Exception as error:  # whatever a file can be in place of a notebook
        raise ValueError(f"cannot be read as a notebook ({type(error).__name__})") from None
    tests = [cell for cell in released.cells if cell.metadata.nbgrader.grade]
    missing = [cell for cell in tests if cell.metadata.nbgrader.grade_id not in ids]
    if len(missing) == len(tests):
        raise ValueError("another notebook: none of this assignment's tests is in it")
    notebook.cells += missing
    return notebook, f"{len(missing)} deleted tests were put back" if missing else ""


def collect(folder: Path, name: str, path: Path) -> int:
    """Take submissions out of Moodle's zip; older ones of the same pupils are replaced."""
    release = folder / "release" / name / f"{name}.ipynb"
    if not release.exists():
        known = sorted(path.name for path in (folder / "release").glob("*"))
        raise ValueError(f"no assignment {name} in {folder}; there are {', '.join(known) or 'none'}")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no zip: take what Moodle's 'Download all submissions' gives")
    released, known, notes, taken = nbformat.read(release, as_version=4), people(folder, name), [], 0
    with zipfile.ZipFile(path) as archive:
        found, strange = entries(archive)
        if not found:
            raise ValueError(f"{path} has no folder like 'Ada Lovelace_12345_assignsubmission_file_' in it")
        for number, files in found.items():
            match = files[0][0]
            known[number] = {"name": match["who"], "prefix": match["prefix"]}
            info, note = chosen(files, name)
            try:
                notebook, mending = mended(archive, info, released) if info else (None, "")
            except ValueError as error:
                notebook, mending = None, str(error)
            notes += [f"{match['who']}: {word}" for word in (note, mending) if word]
            if notebook:
                taken += 1
                notes += keep(folder, name, number, notebook, match["who"])
    register(folder, name).parent.mkdir(exist_ok=True)
    register(folder, name).write_text(
        json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    notes += [f"{other}: not from Moodle, left alone" for other in strange]
    print(*notes, sep="\n", end="\n" if notes else "")
    say(f"{taken} of {len(found)} submissions collected; now: python -m course grade {name}")
    return 0


def keep(folder: Path, name: str, number: str, notebook: NotebookNode, who: str) -> list[str]:
    """Write a submission. If it is another than the one before, what was made of that one goes away."""
    path = folder / "submitted" / number / name / f"{name}.ipynb"
    text = nbformat.writes(notebook)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return []
    was = path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    for made in ("autograded", "feedback"):
        shutil.rmtree(folder / made / number / name, ignore_errors=True)
    return [f"{who}: a new version in place of the one before"] if was else []


def bare(name: str) -> str:
    """A name without what Moodle leaves out where it names files: O'Neill is ONeill in the zip."""
    return " ".join(DROPPED.sub("", unicodedata.normalize("NFC", name)).replace("_", " ").split())


def class_list(path: Path) -> dict[str, dict[str, str]]:
    """Bare name, or number where there is one, → row of a list of the class: Moodle's worksheet, or its list.

    Two of one name have no address: a grade must not go to the wrong one.

    Raises:
        ValueError: if it has no column with names.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    found = {}
    for row in rows:
        parts = [row.get("First name"), row.get("Last name") or row.get("Surname")]
        row["Full name"] = row.get("Full name") or " ".join(filter(None, parts))
        number = re.search(r"\d+$", row.get("Identifier") or "")
        place = number[0] if number else bare(row["Full name"])
        if place in found:
            print(f"{row['Full name']}: more than once in {path}, so without an address")
            row["Email address"] = ""
        found[place] = row
    if not rows or not all(row["Full name"] for row in rows):
        raise ValueError(f"{path} needs a column 'Full name', or 'First name' and 'Last name', and commas")
    return found


def grades(folder: Path, name: str, listed: Path | None = None) -> int:
    """Write the table of grades and the zip of feedback for Moodle."""
    known = people(folder, name)
    handed = marking.submitted(folder, name)
    pupils = [number for number in handed if (folder / "feedback" / number / name).exists()]
    if not pupils:
        raise ValueError(f"nothing of {name} is graded: python -m course grade {name}")
    the_class = class_list(listed) if listed else {}
    table, archive = (folder / "moodle" / f"{name}-{what}" for what in ("grades.csv", "feedback.zip"))
    met = set()
    with (
        marking.nbgrader(folder) as grader,
        table.open("w", encoding="utf-8", newline="") as file,
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as feedback,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in pupils:
            who, mine = known[number]["name"], marking.marks(grader, folder, name, number)
            place = number if number in the_class else bare(who)
            row = the_class.get(place, {})
            met.add(place)
            if listed and not row:
                print(f"{who}: not in {listed}, so without an address")
            writer.writerow(
                [
                    f"Participant {number}",
                    who,
                    row.get("Email address", ""),
                    f"{mine.score:g}",
                    f"{mine.most:g}",
                    row.get("Last modified (grade)") or "-",
                    " ".join(mine.comments),
                ]
            )
            page = folder / "feedback" / number / name / f"{name}.html"
            feedback.write(page, known[number]["prefix"] + page.name)
    for number in sorted({*handed} - {*pupils}):
        print(f"{known[number]['name']}: handed in, and not graded")
    for place, row in the_class.items():
        if place not in met:
            print(f"{row['Full name']}: no grade")
    say(f"{len(pupils)} grades of at most {mine.most:g} points: {table}, and the feedback: {archive}")
    return 0
