"""The quizzes: one YAML file a lesson in docs/quizzes, as a page, as Moodle XML and as a sheet to print.

No number is typed. `number:` is a Python expression, and so is what stands between double braces in a text.
Both see the package, `torch`, `math` and the numbers of the lessons' toy.
"""

import math
import random
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import markdown
import yaml

from course import language
from course.messages import together
from course.toy import toy

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / "build" / "quizzes"
LETTERS = "abcdefgh"


@dataclass(frozen=True)
class Option:
    """An answer: a text, or a number that counts within `within`; whether it is right; what to say to it."""

    text: str
    right: bool
    why: str
    number: float | None = None
    within: float = 0.0


@dataclass(frozen=True)
class Question:
    """A question: `kind` is choice, number or claim; `section`, the anchor of what answers it."""

    id: str
    kind: str
    section: str
    ask: str
    options: tuple[Option, ...] = ()
    otherwise: str = ""  # what to say to any other number
    likeliest: Option | None = None  # of the wrong ones: the first in the file

    @property
    def right(self) -> Option:
        """The one right answer."""
        return next(option for option in self.options if option.right)


@cache
def names() -> dict[str, Any]:
    """What the expressions of a quiz may use."""
    import torch
    import torch.nn.functional as F

    from vit import create_model, get_config
    from vit.cost import count_macs

    def pair(vector: Any) -> str:
        """`(1, –2)`, with whole numbers where they are whole."""
        return "(" + ", ".join(f"{v + 0.0:g}".replace("-", "–") for v in vector.tolist()) + ")"

    def block_share(name: str) -> float:
        """The MLP's part of the parameters of a block."""
        with torch.device("meta"):
            block = create_model(name, depth=1).blocks[0]
        count = lambda module: sum(p.numel() for p in module.parameters())
        return count(block.mlp) / count(block)

    own = {"torch": torch, "F": F, "math": math, "get_config": get_config, "count_macs": count_macs}
    return own | {"pair": pair, "block_share": block_share} | toy()


def evaluate(expression: str | float) -> float:
    """The number that an expression gives."""
    return float(eval(str(expression), dict(names())))


def filled(text: str) -> str:
    """A text with `{{ expression }}` and `{{ expression | format }}` replaced by what they give."""

    def value(match: re.Match) -> str:
        found = eval(match[1].strip(), dict(names()))
        told = format(found, match[2].strip()) if match[2] else str(found)
        return re.sub(r"(?<!\w)-(?=\d)", "–", told)  # a minus as everywhere else in the text

    return re.sub(r"\{\{([^{}|]+)(?:\|([^{}]+))?\}\}", value, text.strip())


def shown(number: float) -> str:
    """A number as a person would write it."""
    text = f"{round(number):,}" if abs(number - round(number)) < 1e-6 else f"{number:.2f}"
    return text.replace("-", "–")


def question(raw: dict[str, Any]) -> Question:
    """One entry of the YAML file, with everything evaluated. Options stand in an order that tells nothing."""
    about = {"id": raw["id"], "section": raw["section"]}
    if "claim" in raw:
        options = [
            Option(words()[f"{says}".lower()], says == raw["holds"], filled(raw[f"if_{says}".lower()]))
            for says in (True, False)
        ]
        return Question(kind="claim", ask=filled(raw["claim"]), options=tuple(options), **about)
    if "number" in raw:
        answers = [{**raw, "right": True}, *({**one, "right": False} for one in raw["wrong"])]
        options = []
        for one in answers:
            number = evaluate(one["number"])
            within = float(one.get("within", 0.0 if number == round(number) else abs(number) / 100))
            options.append(Option(shown(number), one["right"], filled(one["why"]), number, within))
        return Question(
            kind="number",
            ask=filled(raw["ask"]),
            options=tuple(options),
            otherwise=filled(raw["else"]),
            **about,
        )
    options = [
        Option(filled(one.get("right", one.get("wrong"))), "right" in one, filled(one["why"]))
        for one in raw["options"]
    ]
    likeliest = next(option for option in options if not option.right)
    random.Random(raw["id"]).shuffle(options)
    about |= {"kind": "choice", "ask": filled(raw["ask"]), "likeliest": likeliest}
    return Question(options=tuple(options), **about)


def sources() -> Path:
    """The folder of the quizzes, in the language that is being built."""
    return language.docs() / "quizzes"


@cache
def quiz(lesson: str) -> tuple[Question, ...]:
    """The questions of a lesson, such as `03_attention`; none for a new one that has no quiz yet."""
    path = sources() / f"{lesson}.yml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
    return tuple(question(one) for one in raw)


def lessons() -> list[str]:
    """The lessons that have a quiz, in order."""
    return sorted(path.stem for path in sources().glob("[0-9]*.yml"))


def as_html(text: str) -> str:
    """Markdown of a question as HTML, without a paragraph around it."""
    return re.sub(r"^<p>(.*)</p>$", r"\1", markdown.markdown(text), flags=re.DOTALL)


def render(template: str, **what: Any) -> str:
    """One of the templates beside this file, filled in."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"html": as_html, "letter": LETTERS.__getitem__, "together": together}
    return environment.get_template(template).render(**what)


@cache
def words() -> dict[str, str]:
    """What pages and sheets say around the questions."""
    return yaml.safe_load((sources() / "words.yml").read_text(encoding="utf-8"))


def page(lesson: str, title: str) -> str:
    """The Markdown of a lesson's page of questions. Without JavaScript it has the answers in folds."""
    return render("quiz.md.j2", lesson=lesson, title=title, questions=quiz(lesson), words=words())


def moodle(lesson: str, title: str) -> str:
    """The questions as Moodle's XML, for its question bank."""
    return render("quiz.xml.j2", lesson=lesson, title=title, questions=quiz(lesson))


def sheet(lesson: str, title: str) -> str:
    """A page of HTML to print: the questions, and the key on a sheet of its own."""
    return render(
        "quiz-sheet.html.j2",
        lesson=lesson,
        title=title,
        questions=quiz(lesson),
        words=words(),
        language=language.current(),
    )


@cache
def titles() -> dict[str, str]:
    """`03_attention` → `3. Attention`."""
    from course.lessons import read

    found = {}
    for path in language.titled():
        notebook = read(path)
        heading = "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")
        found[path.stem] = f"{notebook['metadata']['lesson']['number']}. {heading}"
    return found


def write() -> int:
    """Write the Moodle files and the sheets of all lessons into build/quizzes/; the exit code."""
    shutil.rmtree(MADE, ignore_errors=True)
    MADE.mkdir(parents=True)
    named = titles()
    for lesson in lessons():
        (MADE / f"{lesson}.xml").write_text(moodle(lesson, named[lesson]), encoding="utf-8")
        (MADE / f"{lesson}.html").write_text(sheet(lesson, named[lesson]), encoding="utf-8")
    print(f"{len(lessons())} quizzes in {MADE.relative_to(ROOT)}/: .xml for Moodle, .html to print")
    return 0
