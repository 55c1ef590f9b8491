"""The page of common mistakes takes them from the lessons, each with what is printed after it."""

from pathlib import Path

import pytest

from course import errors, slides

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cell(source, kind="markdown", said="", **metadata):
    outputs = [{"output_type": "stream", "name": "stdout", "text": said}] if said else []
    return {"cell_type": kind, "source": source, "metadata": metadata, "outputs": outputs}


def test_what_is_collected():
    cells = [
        cell("## A part", anchor="part"),
        cell("**Bold.** Not a mistake here.\n\n> **Common mistake.** A slip\n> in [two](x.ipynb) lines."),
        cell("draw()", "code"),
        cell("try_it()", "code", "vit says: no\n"),
        cell("other()", "code", "not this\n"),
        cell(
            "## Common mistakes\n\n**Loud.** It says so. Then\n\n**Silent.** It does not.", anchor="mistakes"
        ),
        cell("### Rarer", anchor="rare"),
        cell("later()", "code", "not this either\n"),
        cell("**Rare.** But bad."),
        cell("## Check yourself", anchor="check-yourself"),
        cell("**Bold.** Not one, either."),
    ]
    found = errors.mistakes(cells)
    assert [(one.text, one.said, one.anchor) for one in found] == [
        ("A slip in two lines.", "vit says: no", "part"),
        ("**Loud.** It says so. Then", "", "mistakes"),
        ("**Silent.** It does not.", "", "mistakes"),
        ("**Rare.** But bad.", "", "rare"),
    ]
    page = errors.page("01_patches", cells, "1. Title", "Where", "Common mistake")
    assert "[Where](lessons/01_patches.ipynb#part)" in page
    assert "vit says: no" in page


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_lesson_has_some(notebook):
    found = errors.mistakes(slides.load(notebook)["cells"])
    assert found
    assert len({one.text for one in found}) == len(found)
