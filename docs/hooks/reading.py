"""What of a lesson is on its main path, and how long that takes: for the strip, the folds and the tests.

Three marks in a cell's metadata fold parts of a page. `tags=["deeper"]` on a heading folds all until the
next heading of the same or a higher level. `jupyter={"source_hidden": true}`, JupyterLab's own mark, folds
a cell's code. Such sections and such code are not on the main path, and neither are answers and solutions in
<details>. `predict="..."` folds an output until the reader has guessed, with the text after it if that is
tagged `answer`; both are read, only later.
"""

import re

from course.messages import ANSWERS

# 200 words a minute is the slow end of adult reading; 15 lines of code a minute was a guess. Together they
# were too quick: the first reader who kept the time (November 2026) needed 20 hours for twelve lessons that
# said 707 minutes, and 110 minutes for lesson 5, which said 71. So both are slowed, by the same factor.
WORDS_PER_MINUTE, LINES_PER_MINUTE = 200 / 1.75, 15 / 1.75


def level(cell):
    """How deep the heading is that opens a cell, from 1; 0 without one."""
    found = re.match(r"(#{1,6}) ", cell["source"]) if cell["cell_type"] == "markdown" else None
    return len(found[1]) if found else 0


def tagged(cell, tag):
    return tag in cell["metadata"].get("tags", [])


def hides_source(cell):
    """Whether a cell's code is folded, or not shown at all."""
    return cell["metadata"].get("jupyter", {}).get("source_hidden", False) or tagged(cell, "remove-input")


def deeper(cells):
    """The folded sections: {index of the heading: index after its last cell}."""
    found, stop = {}, 0
    for start, cell in enumerate(cells):
        if start >= stop and level(cell) and tagged(cell, "deeper"):
            ends = (i for i in range(start + 1, len(cells)) if 0 < level(cells[i]) <= level(cell))
            found[start] = stop = next(ends, len(cells))
    return found


def main_path(cells):
    """The cells that are not in a folded section."""
    away = {i for start, stop in deeper(cells).items() for i in range(start, stop)}
    return [cell for i, cell in enumerate(cells) if i not in away]


def open_lines(cells):
    """The lines of code that these cells show without a click."""
    code = (cell for cell in cells if cell["cell_type"] == "code" and not hides_source(cell))
    return [line for cell in code for line in cell["source"].split("\n")]


def words(cells, answers=False):
    """Words of prose; of a translated cell those of its English, on which the measure was calibrated."""
    found = 0
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        if "words" in cell["metadata"]:
            found += cell["metadata"]["words"][answers]
        else:
            found += len((cell["source"] if answers else ANSWERS.sub("", cell["source"])).split())
    return found


def minutes(cells):
    """To read what these cells show without a click."""
    return _minutes(words(cells), len(open_lines(cells)))


def minutes_of_all(cells):
    """To read everything in them, what is folded included."""
    lines = sum(cell["source"].count("\n") + 1 for cell in cells if cell["cell_type"] == "code")
    return _minutes(words(cells, answers=True), lines)


def _minutes(words, lines):
    return max(1, round(words / WORDS_PER_MINUTE + lines / LINES_PER_MINUTE))
