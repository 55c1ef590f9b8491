"""The site as a book: one PDF, with a table of contents, page numbers, and the answers at the end.

    site/lessons/…/index.html → one page of HTML, its links leading into itself → Chromium prints it

It is printed twice. The first time tells on which page each section begins; the second has these numbers,
and must find every section where they say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import jinja2
import yaml
from bs4 import BeautifulSoup, Tag
from markupsafe import Markup, escape

from course.browser import FLAGS, HOW, find_chromium
from course.lessons import ROOT, say
from course.pages import SITE

FILE = ROOT / "build" / "annotated-vit.pdf"
WORDS = Path(__file__).resolve().parent.parent / "docs" / "book.yml"
TEMPLATES = Path(__file__).parent / "templates"
HOST = "http://book.invalid/"  # where Chromium finds the site: every request is answered from the disk
LAST = ("glossary", "references")  # chapters after the lessons
# What a page has and paper does not need; and what the site shows beside the text.
CONTROLS = (
    ".headerlink, .lesson-links, .letters, .ticks, .report, dialog, button, script, template, .walk .narrow"
)
ASKED = ("check-yourself", "exercises")  # sections whose answers stand at the end
MODULES = ("assets/live/boot.mjs", "assets/explorer/boot.mjs")
FIGURES = "vit-live, vit-explorer"
NUMBERS = "pages => document.querySelectorAll('.page').forEach(e => e.textContent = pages[e.dataset.to])"


@dataclass
class Chapter:
    """A page of the site. `key` begins its ids; `sections` are (id, title) of its headings of level 2."""

    key: str
    title: str
    html: str = ""
    sections: list[tuple[str, str]] = field(default_factory=list)

    @property
    def start(self) -> str:
        """The id of its title."""
        return f"{self.key}-start"


class Book:
    """What is put together from the pages of a built site.

    Args:
        site: the folder of the site.
        lessons: names of their folders, in order; all by default.
    """

    def __init__(self, site: Path, lessons: list[str] | None = None):
        self.site, self.words = site, yaml.safe_load(WORDS.read_text(encoding="utf-8"))
        names = lessons or sorted(path.parent.name for path in site.glob("lessons/*/index.html"))
        self.keys = {f"lessons/{name}/": f"c{name[:2]}" for name in names}
        self.keys |= {f"{name}/": name for name in LAST}
        self.pages = {url: _soup(site / url / "index.html") for url in self.keys}
        self.home = _soup(site / "index.html")
        link = self.home.find("link", rel="canonical")
        self.address = link["href"] if link else ""  # of the site, where it has one
        self.ids = {
            url: {e["id"] for e in page.article.find_all(id=True) if e.name != "h1"}
            for url, page in self.pages.items()
        }
        self.answers = Chapter("answers", self.words["answers"])

    def html(self) -> str:
        """The book as one page, all page numbers 000."""
        chapters = [self.chapter(url) for url in self.pages]
        self.answers.html = f'<h1 id="{self.answers.start}">{self.answers.title}</h1>{self.answers.html}'
        chapters.append(self.answers)
        text = lambda selector: Markup(self.home.select_one(selector).decode_contents())
        for part in self.home.select(".picture image"):
            part["href"] = urljoin(HOST, part["href"])
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True)
        environment.filters["css"] = lambda text: text.replace("\\", "\\\\").replace('"', '\\"')
        return environment.get_template("book.html.j2").render(
            lang=self.home.html["lang"],
            title=self.home.select_one(".md-header__topic .md-ellipsis").get_text(strip=True),
            dir=self.home.body["dir"],
            lead=text(".lead"),
            picture=self.home.select_one(".picture"),
            copyright=text(".md-copyright__highlight"),
            licence=text(".md-copyright a"),
            address=self.address,
            date=datetime.now(UTC).date().isoformat(),
            words=self.words,
            chapters=chapters,
            row=_row,
            css=(TEMPLATES / "book.css").read_text(encoding="utf-8"),
            sheets=self.sheets(),
            modules=[HOST + module for module in MODULES],
        )

    def sheets(self) -> list[str]:
        """The style sheets of all its pages. That of a lesson's figures is for dark screens only."""
        found = (
            urljoin(HOST + url, link["href"])
            for url, page in self.pages.items()
            for link in page.find_all("link", rel="stylesheet")
            if not link["href"].startswith("figures")
        )
        return list(dict.fromkeys(found))

    def chapter(self, url: str) -> Chapter:
        """One page of the site, with ids of its own, links into the book, and its answers taken out."""
        key, article = self.keys[url], self.pages[url].article
        head = self.pages[url].select(".md-header__topic .md-ellipsis")[1].get_text(strip=True)
        chapter = Chapter(key, head)
        for part in article.select(CONTROLS):
            part.decompose()
        for link in article.select('strong > a[href*="quizzes/"]'):
            link.find_parent("p").decompose()  # a quiz is for clicking
        for part in article.find_all("abbr"):
            part.unwrap()
        for fold in article.find_all("details"):
            fold["open"] = ""
        for mark in article.select("pre .c1"):  # Material's annotations, which it makes while one reads
            if found := re.fullmatch(r"# \((\d+)\)!?", mark.get_text()):
                mark.string, mark["class"] = found[1], "mark"
        for image in article.find_all("img"):
            image["src"] = urljoin(HOST + url, image["src"])
            del image["loading"]
        self.lead(article, url)
        for part in article.find_all(id=True):
            part["id"] = f"{key}-{part['id']}"
        article.h1["id"] = chapter.start
        article.h1.string = head
        chapter.sections = [(h["id"], h.get_text(strip=True)) for h in article.find_all("h2", id=True)]
        if key in LAST:
            chapter.sections = [] if key == "glossary" else chapter.sections
        self.take_answers(article, chapter)
        chapter.html = article.decode_contents()
        return chapter

    def lead(self, article: Tag, url: str) -> None:
        """Have links lead into the book; to the site, if it has an address; or nowhere."""
        for link in article.find_all("a", href=True):
            target, fragment = urldefrag(urljoin(HOST + url, link["href"]))
            if not target.startswith(HOST):
                continue
            path = urlsplit(target).path.lstrip("/")
            if path in self.keys:
                link["href"] = f"#{self.keys[path]}-{fragment if fragment in self.ids[path] else 'start'}"
            elif self.address and "enlarge" not in link.get("class", []):
                link["href"] = urljoin(self.address, path) + (f"#{fragment}" if fragment else "")
            else:
                link.unwrap()

    def take_answers(self, article: Tag, chapter: Chapter) -> None:
        """Move what answers a question or an exercise to the end, and leave a line that says where it is."""
        out = []
        for section in ASKED:
            number = 0
            for fold in _below(article.find(id=f"{chapter.key}-{section}")):
                what = fold.summary.extract().get_text(strip=True)
                if what in self.words["hints"]:
                    fold.name = "div"
                    fold.find("p").insert(0, _parsed(f"<em>{escape(what)}.</em> "))
                    continue
                number += 1
                label, said = self.labels(fold, section, number)
                here, there = (f"{chapter.key}-{section}-{kind}-{number}" for kind in ("asks", "answer"))
                lead = f'<a href="#{there}">{escape(said.format(what=what))} {_number(there)}</a>'
                fold.insert_before(_parsed(f'<p class="answer-at" id="{here}">{lead}</p>'))
                back = f'{escape(label)} <a href="#{here}">{self.words["back"]} {_number(here)}</a>'
                out.append(
                    f'<div class="answer" id="{there}"><p>{back}</p>{fold.extract().decode_contents()}</div>'
                )
        if out:
            place = f"answers-{chapter.key}"
            self.answers.sections.append((place, chapter.title))
            self.answers.html += f'<h2 class="of-answers" id="{place}">{chapter.title}</h2>{"".join(out)}'

    def labels(self, fold: Tag, section: str, number: int) -> tuple[str, str]:
        """What an answer is called at the end, and how the line says where it is: by number, or by name."""
        if section == "exercises":
            known = fold.find_all_previous("strong")
            return next(b.get_text() for b in known if re.match(r"\d+\. ", b.get_text())), self.words[
                "exercise"
            ]
        return (self.words[name].replace("{number}", str(number)) for name in ("question", "answer"))


def _parsed(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def _soup(path: Path) -> BeautifulSoup:
    return _parsed(path.read_text(encoding="utf-8"))


def _below(heading: Tag | None) -> Iterator[Tag]:
    """The plain folds between a heading and the next of its level."""
    if heading is None:
        return
    for part in heading.find_all_next(["h2", "details"]):
        if part.name == "h2":
            return
        if not part.get("class"):
            yield part


def _number(place: str) -> str:
    return f'<b class="page" data-to="{place}">000</b>'


def _row(place: str, text: str) -> Markup:
    """A line of the table of contents."""
    return Markup(f'<a class="row" href="#{place}"><span>{escape(text)}</span><i></i>{_number(place)}</a>')


def destinations(path: Path) -> dict[str, int]:
    """The number of the page that each id is on, from 1, of those that a link leads to."""
    from pypdf import PdfReader

    reader = PdfReader(path)
    found = reader.named_destinations.items()
    return {name.lstrip("/"): reader.get_destination_page_number(place) + 1 for name, place in found}


def print_pdf(html: str, site: Path, file: Path) -> int:
    """Print the page, put the numbers in, and print it once more; the number of pages.

    Raises:
        FileNotFoundError: if there is no Chromium.
        ValueError: if the second time, and two more, sections begin elsewhere than the time before.
    """
    from playwright.sync_api import Route, sync_playwright
    from pypdf import PdfReader

    path = find_chromium()
    if path is None:
        raise FileNotFoundError(f"no Chromium found to print with: {HOW}")

    def answer(route: Route) -> None:
        asked = urlsplit(route.request.url).path.lstrip("/")
        if not asked:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        elif (site / asked).is_file():
            route.fulfill(path=site / asked)
        else:
            route.abort()

    how: dict[str, Any] = {
        "prefer_css_page_size": True,
        "print_background": True,
        "tagged": True,
        "outline": True,
    }
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=FLAGS)
        tab = chromium.new_page(color_scheme="light", viewport={"width": 1000, "height": 1400})
        tab.set_default_timeout(180_000)  # hundreds of pages, perhaps on a busy machine
        tab.route("**/*", answer)
        tab.goto(HOST, wait_until="networkidle")
        tab.emulate_media(media="print", color_scheme="light")
        tab.evaluate(f"document.querySelectorAll('{FIGURES}').forEach(figure => figure.show?.())")
        drawn = ".vl, .vx [aria-live]:not(:empty)"  # what the explorer says under its picture comes last
        tab.wait_for_function(
            f"[...document.querySelectorAll('{FIGURES}')].every(f => f.querySelector('{drawn}'))"
        )
        tab.wait_for_load_state("networkidle")
        tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        tab.evaluate(
            "Promise.all([document.fonts.ready, ...[...document.images].map(i => i.decode())]).then(() => 0)"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        pages: dict[str, int] = {}
        for _ in range(4):
            tab.pdf(path=file, **how)
            found = destinations(file)
            if found == pages:
                break
            pages = found
            tab.evaluate(NUMBERS, pages)
        else:
            raise ValueError("the page numbers of the book do not settle")
        chromium.close()
    return len(PdfReader(file).pages)


def write(site: Path = SITE, file: Path = FILE, lessons: list[str] | None = None) -> int:
    """Print the book of a built site; the exit code."""
    if not (site / "index.html").is_file():
        say("site/ is missing: run `make site`")
        return 1
    if find_chromium() is None:
        say(f"no Chromium found to print with: {HOW}")
        return 2
    say("printing the book (a few minutes)")
    pages = print_pdf(Book(site, lessons).html(), site, file)
    where = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
    say(f"the book has {pages} pages and {file.stat().st_size / 1e6:.0f} MB; it is in {where}")
    return 0
