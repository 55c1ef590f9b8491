"""The form of a lesson, read off its notebook; and every folded solution, run.

That the .py and .ipynb of a pair agree and hold no outputs is checked by `make pairs`.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from mkdocs.utils import yaml_load

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "hooks"))
import reading

ROOT = Path(__file__).resolve().parent.parent
# The lessons that have a main path; the others follow. What a main path may hold:
FOLDED = [
    "00_one_sitting",
    "01_patches",
    "02_positions",
    "03_attention",
    "04_encoder",
    "05_model",
    "06_training",
    "07_inference",
    "08_resolution",
    "09_what_it_learns",
    "10_data_and_bias",
    "11_pretrained",
    "12_scaling_out",
]
MINUTES, OPEN_LINES, WIDTH, PREDICTIONS = 45, 150, 88, 4
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


def test_the_lessons_are_here():
    numbers = [int(path.stem[:2]) for path in LESSONS]
    first = numbers[0]  # 0 is the one that builds the whole in one sitting
    assert first in (0, 1)
    assert numbers == list(range(first, first + len(numbers)))
    assert numbers[-1] >= 5


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


ONE_SITTING = 30  # minutes for lesson 0


def too_much(cells, predictions, most=MINUTES):
    """What keeps a lesson from being read in an evening, in a browser beside its text."""
    path = reading.main_path(cells)
    lines = reading.open_lines(path)
    if (minutes := reading.minutes(path)) > most:
        yield f"{minutes} minutes on the main path, at most {most}"
    if len(lines) > OPEN_LINES:
        yield f"{len(lines)} open lines of code on the main path, at most {OPEN_LINES}"
    yield from (f"wider than {WIDTH}: {line}" for line in reading.open_lines(cells) if len(line) > WIDTH)
    if (asked := sum("predict" in cell["metadata"] for cell in path)) < predictions:
        yield f"{asked} predictions on the main path, at least {predictions}"


@pytest.mark.parametrize("name", FOLDED)
def test_the_main_path_is_an_evening(name):
    cells, number = read(ROOT / "notebooks" / f"{name}.ipynb").cells, int(name[:2])
    most = MINUTES if number else ONE_SITTING
    assert not list(too_much(cells, PREDICTIONS if number <= 5 else 2, most))


def test_the_whole_vit_is_short():
    """Lesson 0 promises a ViT in fewer than ninety lines of the reader's own."""
    cells = read(ROOT / "notebooks" / "00_one_sitting.ipynb").cells
    lines = [line for cell in cells if reading.tagged(cell, "model") for line in cell["source"].split("\n")]
    assert 60 < sum(bool(line.strip()) for line in lines) < 90


@pytest.mark.parametrize("name", FOLDED)
def test_the_pair_keeps_the_marks(name):
    """A lesson's own filter wins over the project's, so an old one would drop them without a word."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    filters = read(ROOT / "notebooks" / f"{name}.ipynb").metadata.jupytext.cell_metadata_filter
    assert filters == project["tool"]["jupytext"]["cell_metadata_filter"]


@lessons
def test_links_to_other_lessons_exist(path):
    text = "\n".join(cell.source for cell in prose(read(path)))
    for target, anchor in re.findall(r"\]\((\d\d_\w+\.ipynb)(?:#([\w-]+))?\)", text):
        other = path.with_name(target)
        assert other.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in {cell.metadata.get("anchor") for cell in prose(read(other))}


@lessons
def test_links_to_pages_work_in_jupyter(path):
    """From the repository's folder of lessons; the site's hook takes `docs/` out."""
    text = "\n".join(cell.source for cell in prose(read(path)))
    for target in re.findall(r"\]\((\.\./[^)#]*)", text):
        assert path.parent.joinpath(target).is_file(), f"{path.name} links to {target}"
        assert target.startswith("../docs/")


@pytest.mark.parametrize("body", list(solutions()))
def test_solution_runs(body):
    """A solution stands alone: one block with its own imports that proves what it claims."""
    (source,) = CODE.findall(body)
    assert "assert" in source
    exec(compile(source, "solution", "exec"), {})


# What the configuration calls what the letters of the card stand for.
FIELDS = {"C": "in_chans", "P": "patch_size", "N": "num_patches", "T": "num_tokens"}
FIELDS |= {"D": "embed_dim", "h": "num_heads", "L": "depth", "K": "num_classes"}


def misnamed(source):
    """The letters of the card to which some code gives another letter's field of a configuration."""
    for assigned in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)):
        target, value = assigned.targets[0], assigned.value
        several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
        for name, what in zip(target.elts, value.elts, strict=True) if several else [(target, value)]:
            letter = name.id if isinstance(name, ast.Name) else ""
            read = {node.attr for node in ast.walk(what) if isinstance(node, ast.Attribute)} & {
                *FIELDS.values()
            }
            if letter in FIELDS and read and FIELDS[letter] not in read:
                yield f"{letter} = {ast.unparse(what)}"


@lessons
def test_a_letter_means_in_code_what_it_means_on_the_card(path):
    notebook = read(path)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in sources + [code for cell in prose(notebook) for code in CODE.findall(cell.source)]:
        assert not list(misnamed(source))


def test_a_letter_means_in_vit_what_it_means_on_the_card():
    """A legend at the head of a module has a word of the card for each of its letters."""
    card = yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["extra"]["card"]["letters"]
    card = {
        letter: set(re.findall(r"[\w/]+", says)) for key, says in card.items() for letter in key.split(", ")
    }
    assert set(FIELDS) < set(card)
    found = 0
    for path in (ROOT / "vit").rglob("*.py"):
        legend = re.search(r"^Legend: ([^.`(]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        entries = re.findall(r"((?:\b[A-Za-z],? (?:and )?)+)(?:= )?([^,]+)", legend[1] if legend else "")
        pairs = [(letter, says) for names, says in entries for letter in re.findall(r"\b\w\b", names)]
        for letter, says in pairs:
            if letter in card:
                found += 1
                assert card[letter] & set(says.split()), f"{path.name}: {letter} is {says!r}"
    assert found > 30


def test_a_misnamed_letter_is_found():
    assert list(misnamed("N, n = model.config.num_tokens, 3")) == ["N = model.config.num_tokens"]
    assert not list(misnamed("N, d = c.num_patches, c.embed_dim // c.num_heads\nT = 7"))


# ---- what is counted, on small lessons ------------------------------------------------------------


def text(source, *tags):
    return {"cell_type": "markdown", "source": source, "metadata": {"tags": list(tags)}}


def code(source, **metadata):
    return {"cell_type": "code", "source": source, "metadata": metadata}


HIDDEN = {"jupyter": {"source_hidden": True}}
SMALL = [
    text("# Title"),
    code("import torch\nimport vit", **HIDDEN),
    text("## Why", "deeper"),
    text("a word"),
    text("### Below\n#not a heading", "deeper"),
    code("x = 1"),
    text("## Then\n\nfour words are here"),
    code("y = 2\n\nprint(y)", predict="How many?"),
    text("### Small", "deeper"),
    code("z = 3"),
    text("## End"),
]


def test_a_folded_section_ends_at_a_heading_of_its_level():
    assert reading.deeper(SMALL) == {2: 6, 8: 10}
    assert reading.deeper(SMALL[:4]) == {2: 4}
    assert reading.deeper([text("no heading", "deeper"), text("## One"), code("x", tags=["deeper"])]) == {}
    assert reading.main_path(SMALL) == [*SMALL[:2], *SMALL[6:8], SMALL[10]]


def test_folded_code_is_not_open():
    assert reading.open_lines(SMALL) == ["x = 1", "y = 2", "", "print(y)", "z = 3"]
    assert reading.open_lines([code("x", tags=["remove-input"]), code("y", jupyter={})]) == ["y"]


def test_minutes():
    hour = [text(" word" * 6000), code("x\n" * 449 + "x")]
    assert reading.minutes(hour) == round(1.75 * (6000 / 200 + 450 / 15)) == 105
    answer = text("a question <details>" + " word" * 4000 + "</details> another")
    assert reading.words([answer]) == 3
    assert reading.minutes([*hour, answer, code("x\n" * 100, **HIDDEN)]) == 105
    assert reading.minutes_of_all([*hour, answer]) == 105 + 35
    assert reading.minutes_of_all([*hour, code("x\n" * 59 + "x", **HIDDEN)]) == 105 + 7
    assert reading.minutes([]) == 1


def test_too_much_complains():
    fine = [text(" word" * 1000), code("x\n" * 149 + "x" * 88, predict="What?"), code("y" * 200, **HIDDEN)]
    assert not list(too_much(fine, 1))
    deep = [text("## Deep", "deeper"), text(" word" * 9000), code("x\n" * 200, predict="What?")]
    assert not list(too_much(fine + deep, 1))
    assert list(too_much([*fine, text(" word" * 4000)], 1))
    assert not list(too_much([text(" word" * 4500)], 0)), "39 minutes are an evening"
    assert list(too_much([text(" word" * 4500)], 0, ONE_SITTING)), "but not one sitting"
    assert list(too_much([*fine, code("x")], 1))
    assert list(too_much([code("x" * 89)], 0))
    assert list(too_much([*deep[:1], code("x" * 89)], 0)), "depth is wide, too"
    assert list(too_much(fine + deep, 2)), "a prediction in a fold is not on the main path"
