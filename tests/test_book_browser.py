"""The book: put together from the built site, and a small one printed. `make site` first."""

import os

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from test_pages_browser import SITE

from course import book
from course.browser import find_chromium

LESSONS = ["03_attention", "06_training"]


@pytest.fixture(scope="module")
def page():
    return BeautifulSoup(book.Book(SITE, LESSONS).html(), "html.parser")


def test_links_lead_into_the_book(page):
    ids = [part["id"] for part in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = {link["href"] for link in page.find_all("a", href=True)}
    assert "#c03-two-paths" in links, "the table of contents lacks a section"
    outside = {link for link in links if not link.startswith("#")}
    assert all(link.startswith("http") for link in outside), "a link leads to a file of the site"
    assert not [link for link in outside if link.startswith(book.HOST)]
    assert {link[1:] for link in links - outside} <= set(ids)
    assert {number["data-to"] for number in page.select(".page")} <= {link[1:] for link in links}, (
        "Chromium knows the page of what a link leads to"
    )


def test_everything_is_there_and_open(page):
    for name in LESSONS:
        theirs = BeautifulSoup((SITE / "lessons" / name / "index.html").read_text(), "html.parser").article
        ours = page.select_one(f"article.c{name[:2]}")
        for what in ("figure img", "pre", "h2", "h3", "math", "vit-live"):
            asked = [part for part in theirs.select(what) if not answers(part)]
            assert len(ours.select(what)) == len(asked), f"{what} of {name}"
        assert ours.h1.get_text().startswith(f"{int(name[:2])}. ")
    assert all(fold.has_attr("open") for fold in page.find_all("details"))
    assert not page.select("button, dialog, article script, .headerlink, abbr")
    assert all(image["src"].startswith(book.HOST) for image in page.find_all("img"))


def answers(part):
    """Whether a part of a lesson's page is in the fold of an answer or a solution."""
    folds = [fold for fold in part.find_parents("details") if not fold.get("class")]
    return any(fold.summary.get_text(strip=True) != "Hint" for fold in folds)


def test_answers_stand_at_the_end(page):
    *_, last = page.find_all("article")
    for name in LESSONS:
        theirs = BeautifulSoup((SITE / "lessons" / name / "index.html").read_text(), "html.parser").article
        folds = [fold for fold in theirs.find_all("details", class_=False) if answers(fold.summary)]
        key = f"c{name[:2]}"
        ours = last.select(f".answer[id^={key}-]")
        assert len(ours) == len(folds) > 8
        for fold, answer in zip(folds, ours, strict=True):
            fold.summary.extract()
            assert fold.find(["p", "pre"]).get_text()[:30] in answer.get_text()
        assert not page.select_one(f"article.{key}").select(".answer")
    text = last.get_text()
    assert "1. With a pencil." in text
    assert "Question 1" in text


def test_a_small_book_is_printed(tmp_path):
    """The outline, the page numbers, the running head, no controls: what Chromium and the style do."""
    if find_chromium() is None:
        how = f"no Chromium found to print with: {book.HOW}"
        pytest.fail(how) if os.environ.get("CI") == "true" else pytest.skip(how)
    made = book.Book(SITE, LESSONS[:1])
    for article in (one.article for one in made.pages.values()):
        for part in article.select(".step, .walk, h2 ~ h2, h2 ~ p, .term"):
            part.decompose()
    pages = book.print_pdf(made.html(), SITE, tmp_path / "book.pdf")
    reader = PdfReader(tmp_path / "book.pdf")
    assert len(reader.pages) == pages >= 5
    titles = [entry.title for entry in reader.outline if not isinstance(entry, list)]
    assert " ".join(titles[0].split()) == "The Annotated Vision Transformer"
    assert titles[1:] == ["Contents", "3. Attention", "Glossary", "References", "Answers"]
    places = book.destinations(tmp_path / "book.pdf")
    contents, lesson = reader.pages[1].extract_text(), places["c03-start"]
    assert places["c03-start"] < places["glossary-start"] < places["references-start"] <= pages
    assert "000" not in contents
    assert f"Glossary {places['glossary-start']}" in " ".join(contents.split())
    text = reader.pages[lesson - 1].extract_text()
    assert text.count("3. Attention") == 2, "the title and the running head"
    assert "Side by side" not in text
    assert "Download" not in text


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    assert book.write(tmp_path) == 1
    assert "make site" in capsys.readouterr().out
    monkeypatch.setattr(book, "find_chromium", lambda: None)
    assert book.write(SITE) == 2
    said = capsys.readouterr().out
    assert "install it" in said
    assert said.count("\n") == 1
