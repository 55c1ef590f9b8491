"""The language that is being built: where its texts are, and how they come there.

English is built of docs/ and of the executed lessons. Another language is built of `build/LANGUAGE/`: the
same pages and lessons with the texts of its catalogues. Code and outputs are those of the English lessons,
which are executed once. What has no translation is there in English.
"""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from markdown.extensions.toc import slugify

from course import catalogues, messages
from course.lessons import ROOT, load, notebooks, read

PAGES = ROOT / "build" / "pages"  # of the English
_language = "en"


def use(language: str) -> None:
    """Build this language from now on: docs/hooks/language.py says which."""
    global _language
    _language = language


def current() -> str:
    """The language that is being built."""
    return _language


def docs() -> Path:
    """Where its pages and the texts of its programs are."""
    return ROOT / "docs" if _language == "en" else ROOT / "build" / _language / "docs"


def titled() -> list[Path]:
    """Its lessons, to read their titles."""
    return (
        notebooks() if _language == "en" else sorted((ROOT / "build" / _language / "pages").glob("*.ipynb"))
    )


def prepare(language: str) -> None:
    """Write `build/LANGUAGE/`."""
    made = ROOT / "build" / language
    shutil.rmtree(made, ignore_errors=True)
    for path in sorted((ROOT / "docs").rglob("*")):
        place = made / path.relative_to(ROOT)
        if path.suffix not in (".md", ".yml") or "theme" in path.parts or "hooks" in path.parts:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        name = path.relative_to(ROOT).as_posix()
        if name not in catalogues.sources():  # a page of code
            shutil.copy(path, place)
            continue
        said = catalogues.known(language, name)
        if path.suffix == ".md":
            place.write_text(page(path.read_text(encoding="utf-8"), said), encoding="utf-8")
            continue
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "glossary":
            for term in data:
                term["id"] = term_id(term["term"])
        data = messages.in_yaml(data, lambda text, said=said: said.get(text, text), catalogues.kind(path))
        place.write_text(
            yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=10**6), encoding="utf-8"
        )
    lessons = made / "pages"
    lessons.mkdir(parents=True)
    for path in sorted(PAGES.glob("*.ipynb")):
        translated = lesson(load(path), catalogues.known(language, f"notebooks/{path.stem}"))
        (lessons / path.name).write_text(json.dumps(translated, ensure_ascii=False), encoding="utf-8")


def term_id(name: str) -> str:
    """The id of a term on the glossary's page: `class-token`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def page(source: str, said: dict[str, str]) -> str:
    """The Markdown of a page. Headings keep the ids that they have in English."""
    taken: set[str] = set()

    def translate(message: str) -> str:
        text = said.get(message, message)
        return named(message, text, taken) if message.startswith("#") else text

    return messages.in_markdown(source, translate)


def named(heading: str, text: str, taken: set[str]) -> str:
    """A translated heading with the id of the English one, which Markdown would make of its words."""
    if "{ #" in heading or "{#" in heading:
        return text
    return f"{text} {{ #{anchor(heading, taken)} }}"


def anchor(heading: str, taken: set[str]) -> str:
    """The id that a heading of English has without being given one."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lstrip("# ").replace("&nbsp;", " "))
    first = name = slugify(re.sub(r"[`*]", "", plain), "-")
    for number in range(1, 100):
        if name not in taken:
            break
        name = f"{first}_{number}"
    taken.add(name)
    return name


def lesson(notebook: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    """A lesson in the language. Headings keep their ids, and cells the length that they have in English."""
    taken: set[str] = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        # How long a page takes to read was calibrated on the English, whose words are counted.
        about = cell["metadata"]
        about["words"] = [len(messages.ANSWERS.sub("", cell["source"]).split()), len(cell["source"].split())]
        if cell["source"].startswith("#") and "anchor" not in about:
            about["slug"] = anchor(cell["source"].partition("\n")[0], taken)
    return messages.in_notebook(notebook, lambda text: said.get(text, text))


def share(names: Iterable[str]) -> float:
    """How much of these sources is translated, from 0 to 1, counted in characters of English."""
    done = whole = 0
    for name in names:
        if name in catalogues.sources():
            texts, said = catalogues.english(name), catalogues.known(_language, name)
            whole += sum(map(len, texts))
            done += sum(len(text) for text in texts if text in said)
    return done / whole if whole else 1.0


def join(made: Path, into: Path, language: str) -> None:
    """Move the built pages of a language into the English site, without what both have."""
    place = into / language
    shutil.rmtree(place, ignore_errors=True)
    for own in (made / "assets").rglob(f"*.{language}.json"):  # the words of its programs
        shutil.copy(own, into / own.relative_to(made))
    shutil.rmtree(made / "assets")
    for pattern in ("404.html", "sitemap.xml*", "objects.inv", "lessons/*/figure*"):
        for path in made.glob(pattern):
            path.unlink()
    for path in made.glob("lessons/*/*.ipynb"):  # outputs weigh megabytes, and English has them
        notebook = read(path)
        for cell in notebook["cells"]:
            for key in ("words", "slug"):
                cell["metadata"].pop(key, None)
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
                cell["metadata"].pop("execution", None)
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1), encoding="utf-8")
    made.replace(place)
