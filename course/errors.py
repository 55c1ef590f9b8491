"""The mistakes that the lessons reproduce: what each is, what is said to it, and where."""

import re
from dataclasses import dataclass
from typing import Any

from course.slides import reading

LONG = 8  # lines of an output that are shown


@dataclass(frozen=True)
class Mistake:
    """One mistake: its text in Markdown, what the cell after it prints, and the anchor of its section."""

    text: str
    said: str
    anchor: str


def named(source: str, closing: bool, label: str) -> list[str]:
    """The mistakes that a cell names: quotes everywhere, bold beginnings in the closing section."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", source)]
    found = []
    for block in blocks:
        if quoted := re.match(rf"> \*\*{label}[.。]\*\*", block):
            block = re.sub(r"^> ?", "", block[quoted.end() :], flags=re.MULTILINE)
        elif not (closing and re.match(r"\*\*[^\d*][^*]*[.。]\*\*", block)):
            continue
        found.append(re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", " ".join(block.split())))
    return found


def mistakes(cells: list[dict[str, Any]], label: str = "Common mistake") -> list[Mistake]:
    """All mistakes of a lesson, in its order, each with the printed output that follows it.

    `label` is the bold beginning of a quote that names one.
    """
    found: list[Mistake] = []
    anchor, closing, fresh = "", False, False
    for cell in cells:
        if cell["cell_type"] == "markdown":
            if level := reading.level(cell):
                anchor = cell["metadata"].get("anchor", anchor)
                closing = anchor == "mistakes" if level == 2 else closing
                fresh = False
            texts = named(cell["source"], closing, label)
            found += [Mistake(text, "", anchor) for text in texts]
            fresh = bool(texts)
        elif fresh:
            texts = (o.get("text", "") for o in cell.get("outputs", []) if o.get("name") == "stdout")
            lines = "".join(texts).strip().split("\n")
            if lines != [""]:
                said = "\n".join(lines[:LONG])
                found[-1] = Mistake(found[-1].text, said, found[-1].anchor)
                fresh = False
    return found


def page(lesson: str, cells: list[dict[str, Any]], title: str, link: str, label: str) -> str:
    """The Markdown of one lesson's mistakes."""
    parts = [f"## {title} {{ #lesson-{lesson[:2]} }}"]
    for one in mistakes(cells, label):
        where = f"[{link}](lessons/{lesson}.ipynb{'#' + one.anchor if one.anchor else ''})"
        parts.append(f"{one.text} {where}")
        if one.said:
            parts.append(f"~~~~ {{ .text .no-copy .output }}\n{one.said}\n~~~~")
    return "\n\n".join(parts) if len(parts) > 1 else ""
