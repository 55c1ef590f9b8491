"""The form of a lesson, read off its notebook; and every folded solution, run.

That the .py and .ipynb of a pair agree and hold no outputs is checked by `make pairs`.
"""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CLOSING = ["mistakes", "check-yourself", "exercises", "key-points", "references"]
FOLD = re.compile(r"<details>\n<summary>(.+?)</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(path):
    return nbformat.read(path, as_version=4)


def prose(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def solutions():
    for path in LESSONS:
        text = "\n\n".join(cell.source for cell in prose(read(path)))
        found = [body for summary, body in FOLD.findall(text) if summary == "Solution"]
        for number, body in enumerate(found, start=1):
            yield pytest.param(body, id=f"{path.stem}-{number}")


lessons = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def test_the_five_lessons_are_here():
    assert [int(path.stem[:2]) for path in LESSONS] == list(range(1, len(LESSONS) + 1))
    assert len(LESSONS) >= 5


@lessons
def test_front_matter(path):
    lesson = read(path).metadata.lesson
    assert lesson["number"] == int(path.stem[:2])
    assert lesson["prerequisites"].strip()


@lessons
def test_headings(path):
    cells = prose(read(path))
    assert cells[0].source.startswith("# ")
    # Outside of code fences, a heading may only open a cell: the page takes its anchor from the cell.
    for cell in cells:
        body = re.sub(r"^```.*?^```$", "", cell.source, flags=re.DOTALL | re.MULTILINE)
        inside = [line for line in body.splitlines()[1:] if re.match(r"#{1,3} ", line)]
        assert not inside, f"a heading inside a cell: {inside}"
        if cell.source.startswith("## "):
            assert re.fullmatch(r"[a-z0-9-]+", cell.metadata.get("anchor", "")), cell.source[:60]
    assert sum(cell.source.startswith("# ") for cell in cells) == 1
    anchors = [cell.metadata["anchor"] for cell in cells if "anchor" in cell.metadata]
    assert len(anchors) == len(set(anchors))
    assert anchors[-len(CLOSING) :] == CLOSING


@lessons
def test_every_figure_has_a_description(path):
    for cell in read(path).cells:
        if cell.cell_type == "code" and "plt.show()" in cell.source:
            alt = cell.metadata.get("alt", "")
            assert len(alt) >= 40, f"describe what is seen in the figure of {cell.source[:60]!r}, got {alt!r}"


@lessons
def test_the_lesson_asks_quotes_and_asserts(path):
    notebook = read(path)
    text = "\n\n".join(cell.source for cell in prose(notebook))
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    folds = [summary for summary, _ in FOLD.findall(text)]
    assert text.count("<details>") == len(folds), "a folded part that the page would not recognise"
    assert folds.count("Answer") >= 3
    assert 3 <= folds.count("Solution") <= 6
    assert "Hint" in folds
    assert "> **The paper.**" in text
    assert "> **Common mistake.**" in text
    assert code.count("assert") >= 8
    assert "inspect.getsource" in code


@lessons
def test_links_to_other_lessons_exist(path):
    text = "\n".join(cell.source for cell in prose(read(path)))
    for target, anchor in re.findall(r"\]\((\d\d_\w+\.ipynb)(?:#([\w-]+))?\)", text):
        other = path.with_name(target)
        assert other.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in {cell.metadata.get("anchor") for cell in prose(read(other))}


@pytest.mark.parametrize("body", list(solutions()))
def test_solution_runs(body):
    """A solution stands alone: one block with its own imports that proves what it claims."""
    (source,) = CODE.findall(body)
    assert "assert" in source
    exec(compile(source, "solution", "exec"), {})
