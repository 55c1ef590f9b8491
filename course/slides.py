"""Slides of a lesson, made of its executed notebook and of its quiz: nothing is kept twice.

One idea a slide: a section with its first sentences, a prediction, a figure or a printed output with one
sentence, a question of the quiz. The notes of a slide are what the lesson says next, or what the quiz says to
wrong answers. The figures are those of the lesson's page.
"""

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import markdown
import yaml

from course import formulas, language
from course.catalogues import CJK
from course.lessons import load
from course.messages import together
from course.quiz import Question, quiz, render

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "hooks"))
import reading

LEAST, MOST = 20, 35  # slides of a lesson
WORDS = 45  # on a slide, of prose
LINES, COLUMNS = 16, 96  # of an output that is shown; a longer one is for the lesson
COLONS = (":", "：")
CLOSING = ("mistakes", "check-yourself", "exercises", "references", "key-points")


@dataclass(frozen=True)
class Slide:
    """One slide. The smaller its `rank`, the sooner it is kept where there are too many."""

    kind: str
    rank: int
    title: str
    text: str = ""
    notes: str = ""
    cell: int = -1  # of a figure
    alt: str = ""
    code: str = ""
    output: str = ""
    question: Question | None = None
    lead: str = ""  # to a prediction


def plain(source: str) -> list[str]:
    """Paragraphs that can be said aloud, without headings, quotes, lists, folds, formulas, links."""
    source = re.sub(r"<(details|div)\b.*?</\1>", "", source, flags=re.DOTALL)
    source = re.sub(r"\$\$.*?\$\$", "\n\n", source, flags=re.DOTALL)
    source = re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", source)
    blocks = (block.strip() for block in re.split(r"\n\s*\n", source))
    return [" ".join(b.split()) for b in blocks if b and not re.match(r"[#>|<!`]|\d+\. |- ", b)]


def sentences(paragraph: str) -> list[str]:
    """Cut into sentences. A mark inside of a formula or of a quotation cuts nothing."""
    parts = re.split(r"(?<=[.?!:])\s+(?=[A-Z“*`$(\d])|(?<=[。？！])(?![”」）)]) *", paragraph)
    joined: list[str] = []
    for part in parts:
        whole = joined and (joined[-1].count("$") % 2 or joined[-1].count("(") > joined[-1].count(")"))
        if whole or (joined and re.search(r"\b(al|vs|e\.g|i\.e|approx)\.$", joined[-1])):
            joined[-1] = together([joined[-1], part])
        else:
            joined.append(part)
    return joined


def count(text: str) -> int:
    """Words; two characters of Chinese or Japanese take as much room, and time, as one."""
    cjk = len(CJK.findall(text))
    return len(CJK.sub(" ", text).split()) + cjk // 2


def opening(paragraphs: list[str], words: int = WORDS) -> str:
    """The first sentences of a paragraph, as many as fit, without one that leads on to what is not shown.

    What is a little longer is left whole: a list of six should not lose its sixth.
    """
    whole = together(sentences(paragraphs[0])) if paragraphs else ""
    if count(whole) <= words + 15 and not whole.endswith(COLONS):
        return whole
    found: list[str] = []
    for sentence in sentences(paragraphs[0]) if paragraphs else []:
        if found and count(together([*found, sentence])) > words:
            break
        found.append(sentence)
    while found and found[-1].endswith(COLONS):
        found.pop()
    text = together(found)
    return text if count(text) <= words + 15 else ""


def ending(paragraphs: list[str], words: int = WORDS) -> str:
    """The last sentences, as many as fit: before a prediction they say what it speaks of."""
    found: list[str] = []
    for sentence in reversed(sentences(paragraphs[-1])) if paragraphs else []:
        if count(together([sentence, *found])) > words + 15 * (not found):
            break
        found.insert(0, sentence)
    return together(found)


def rest(paragraphs: list[str], said: str, words: int = 130) -> str:
    """What follows `said`, for the notes."""
    whole = together(paragraphs).removeprefix(said)
    if CJK.search(whole):
        return whole[: 2 * words].strip()
    return " ".join(whole.split()[:words])


def outputs(cell: dict[str, Any]) -> tuple[bool, str]:
    """Whether a cell draws a figure, and what it prints."""
    figure = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    texts = (o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", []))
    printed = "" if figure else "\n".join(filter(None, texts)).strip("\n")
    lines = printed.split("\n")
    fits = len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    source = re.match(r"\s*(class|def|@)", printed)  # of the package, printed to be read
    return figure, printed if fits and not source else ""


Section = tuple[dict[str, Any], list[int]]


def sections(cells: list[dict[str, Any]], deeper: bool) -> list[Section]:
    """Each heading's cell, and the indices of what follows it. Only what is folded, or only the rest."""
    folded = {i for start, stop in reading.deeper(cells).items() for i in range(start, stop)}
    found: list[Section] = []
    for i, cell in enumerate(cells):
        if (i in folded) != deeper:
            continue
        if reading.level(cell):
            found.append((cell, []))
        found[-1][1].append(i)
    return [(head, own) for head, own in found if head["metadata"].get("anchor") not in CLOSING]


def of_section(cells: list, head: dict, own: list[int], words: dict[str, str], far: int) -> list[Slide]:
    """The slides of one section. `far` is added to the ranks of a folded one."""
    title = head["source"].partition("\n")[0].lstrip("# ")
    paragraphs = plain(head["source"])
    said = opening(paragraphs) if reading.level(head) > 1 else ""  # the title has a slide of its own
    made = []
    for i in own:
        cell = cells[i]
        if cell["cell_type"] == "markdown":
            for formula in re.findall(r"\$\$.*?\$\$", cell["source"], flags=re.DOTALL)[:1]:
                if len(formula) < 420:
                    made.append(Slide("formula", 3 + far, title, formula, rest(plain(cell["source"]), "")))
            continue
        figure, printed = outputs(cell)
        ask = cell["metadata"].get("predict", "")
        if not (figure or printed):
            continue
        after = next((cells[j] for j in own if j > i and cells[j]["cell_type"] == "markdown"), None)
        near = after is not None and all(not any(outputs(cells[j])) for j in range(i + 1, cells.index(after)))
        told = plain(after["source"]) if near else []
        caption = opening(told, 30)
        if not caption and cells[i - 1] is not head and cells[i - 1]["cell_type"] == "markdown":
            caption = opening(plain(cells[i - 1]["source"]), 30)
        if ask:
            before = [cells[j]["source"] for j in own if j < i and cells[j]["cell_type"] == "markdown"]
            led = plain(before[-1])
            notes = "\n\n".join([words["wait"], rest(led, "")])
            slide = Slide("predict", 1 + far, title, ask, notes, lead=ending(led), code=cell["source"])
            made.append(slide)
        about = {"text": caption, "notes": rest(told, caption), "code": cell["source"]}
        if figure:
            made.append(Slide("figure", 1 + far, title, cell=i, alt=cell["metadata"]["alt"], **about))
        else:
            made.append(Slide("output", (1 if ask else 4) + far, title, output=printed, **about))
    if made and said in made[0].lead:
        said = ""
    if said:  # all that there is of a section without pictures; before pictures it can be spared
        made.insert(0, Slide("text", (3 if made else 2) + far, title, said, rest(paragraphs, said)))
    return made


def asked(question: Question, words: dict[str, str]) -> Slide:
    """A question of the quiz, with what is said to each answer in the notes."""
    letters = "" if question.kind == "number" else "abcdefgh"
    notes = [
        words["right" if o.right else "wrong"].format(answer=letters[i] if letters else o.text, why=o.why)
        for i, o in enumerate(question.options)
    ]
    notes.sort(key=lambda line: not line.startswith(words["right"].partition("{")[0]))
    return Slide("quiz", 1, words["ask"], question=question, notes="\n\n".join(notes))


def deck(path: Path) -> list[Slide]:
    """All slides of a lesson."""
    words = spoken()
    cells = load(path)["cells"]
    first = plain(cells[0]["source"])
    goals = next((p for p in first if p.startswith(words["begins"])), "")
    said = opening(first)
    slides = [Slide("title", 0, cells[0]["source"].partition("\n")[0].lstrip("# "), said, rest(first, said))]
    if goals:
        slides.append(Slide("text", 0, words["goals"], goals))
    main, folded = sections(cells, deeper=False), sections(cells, deeper=True)
    questions = quiz(path.stem)
    for head, own in sorted([*main, *folded], key=lambda part: part[1][0]):
        far = 10 if (head, own) in folded else 0
        slides += of_section(cells, head, own, words, far)
        anchor = head["metadata"].get("anchor")
        slides += [asked(question, words) for question in questions if question.section == anchor]
    placed = {slide.question for slide in slides}
    slides += [asked(question, words) for question in questions if question not in placed]
    many = [i for i, slide in enumerate(slides) if slide.question][5:]
    slides = [replace(slide, rank=2) if i in many else slide for i, slide in enumerate(slides)]
    closing = next(cell for cell in cells if cell["metadata"].get("anchor") == "key-points")
    told = [s for p in plain(closing["source"]) for s in sentences(p) if not s.endswith(":")]
    half = 5 if len(told) <= 5 else min(5, math.ceil(len(told) / 2))
    for k, part in enumerate((told[:half], told[half : half + 5])):
        if part:
            title = closing["source"].partition("\n")[0].lstrip("# ")
            more = " ".join(told[half + 5 :]) if k else ""
            slides.append(Slide("points", k, title, "\n".join(f"- {s}" for s in part), more))
    return chosen(slides)


def chosen(slides: list[Slide]) -> list[Slide]:
    """At most `MOST`, the lowest ranks first; folded sections only as far as `LEAST` asks for them."""
    order = sorted(range(len(slides)), key=lambda i: (slides[i].rank, i % 3, i))  # spared evenly
    near = [i for i in order if slides[i].rank < 10]
    kept = near[:MOST] if len(near) >= LEAST else order[:LEAST]
    return [slides[i] for i in sorted(kept)]


def size(output: str) -> float:
    """Pixels of type in which an output fits on a slide."""
    lines = output.split("\n")
    return min(30.0, 1100 / (0.61 * max(map(len, lines))), 400 / (1.4 * len(lines)))


def as_html(text: str) -> str:
    """Markdown as HTML, formulas marked as in the site's pages."""
    config = {"pymdownx.arithmatex": {"generic": True}}
    return markdown.markdown(text, extensions=["pymdownx.arithmatex"], extension_configs=config)


def spoken() -> dict[str, str]:
    """The words of the slides."""
    return yaml.safe_load((language.docs() / "slides.yml").read_text(encoding="utf-8"))


def page(path: Path, figure: Callable[[dict[str, Any], int], str]) -> str:
    """The HTML of a lesson's slides, to stand in `slides/` of the site.

    `figure` gives the file that the lesson's page has of the figure of a cell: the cell, its number → a name.
    """
    slides = deck(path)
    cells = load(path)["cells"]
    code = language.current()
    # Assets and figures lie in the English site, which holds the folders of the other languages.
    what = {"language": code, "shared": "../" if code == "en" else "../../"}
    what |= {"slides": slides, "lesson": path.stem, "title": slides[0].title, "words": spoken()}
    made = render("slides.html.j2", md=as_html, size=size, figure=lambda i: figure(cells[i], i), **what)
    return formulas.as_mathml(made)
