"""Notebooks to hand out: the lessons without solutions, with a cell to write in after each exercise.

Nothing is kept twice: the text is the lesson's, and the stub and its check are `vit.course`'s. They run
wherever the package is installed, in any folder.
"""

import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from course.lessons import ROOT, notebooks, say
from vit.course import Exercise, exercises

HANDOUT = ROOT / "build" / "handout"
SOLUTION = re.compile(r"<details>\n<summary>Solution</summary>\n\n(.*?)\n\n</details>\n*", re.DOTALL)
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")  # a link to what is not handed out
QUESTION = re.compile(r"^(?=\*\*\d+\. )", re.MULTILINE)  # where one begins


def questions(notebook: NotebookNode) -> dict[int, str]:
    """Number → the text of each exercise of a lesson, hints and solution included."""
    parts = [part for cell in exercise_cells(notebook) for part in QUESTION.split(cell.source)]
    return {number_of(part): part for part in parts if number_of(part)}


def number_of(text: str) -> int:
    """Of the exercise that opens this text; 0 if none does."""
    found = re.match(r"\*\*(\d+)\. ", text)
    return int(found[1]) if found else 0


def exercise_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells of the section "Exercises"."""
    anchors = [cell.metadata.get("anchor") for cell in notebook.cells]
    return notebook.cells[anchors.index("exercises") : anchors.index("key-points")]


def answer_cell(item: Exercise) -> NotebookNode:
    """The cell for the answer: a stub, and the check of it. The semicolon: Jupyter shows no False."""
    imports = "from vit.course import check\n"
    if item.stub.startswith("class"):
        imports = "import torch\nfrom torch import nn\n" + imports
    call = f"check({item.lesson}, {item.number}, {item.name});"
    return new_code_cell(f"{imports}\n\n{item.stub}\n\n\n{call}", metadata={"tags": ["exercise"]})


def handout(notebook: NotebookNode) -> NotebookNode:
    """A lesson's notebook without solutions, and with a cell for each answer."""
    known = exercises(notebook.metadata.lesson["number"])
    theirs, cells = exercise_cells(notebook), []
    for cell in notebook.cells:
        if not any(cell is other for other in theirs):
            cells.append(cell)
            continue
        for part in QUESTION.split(cell.source):
            text = new_markdown_cell(SOLUTION.sub("", part).rstrip(), metadata=cell.metadata)
            number = number_of(part)
            if not number:
                cells.append(text)
                continue
            item = known[number]
            is_open = not isinstance(item, Exercise)
            text.metadata = {}
            answer = new_markdown_cell("*Your answer:*") if is_open else answer_cell(item)
            text.id, answer.id = f"exercise-{number}", f"answer-{number}"
            cells += [text, answer]
    return NotebookNode(notebook | {"cells": [alone(cell) for cell in cells]})


def alone(cell: NotebookNode) -> NotebookNode:
    """A cell whose text links to nothing but the web and other lessons."""
    if cell.cell_type != "markdown":
        return cell
    return NotebookNode(cell | {"source": OUTSIDE.sub(r"\1", cell.source)})


def write(folder: Path = HANDOUT) -> int:
    """Write the hand-out of every lesson into a new folder, and all of them into a zip beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in notebooks():
        nbformat.write(handout(nbformat.read(path, as_version=4)), folder / path.name)
    archive = shutil.make_archive(str(folder), "zip", folder)
    say(f"{len(notebooks())} notebooks without solutions are in {folder}, and in {archive}")
    return 0
