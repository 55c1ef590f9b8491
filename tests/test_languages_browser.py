"""The Chinese and Japanese pages beside the English ones, as files and in a browser. `make site` first."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import expect
from test_pages_browser import (  # noqa: F401
    NARROW,
    OVER,
    PLACE,
    SITE,
    WIDE,
    address,
    browser,
    faults,
    open_deck,
    opened,
    pages,
    search,
    wait_for_hit,
    watched,
)
from test_site import LIMIT, unrendered

from course import catalogues

WHOLE = ["", "lessons/03_attention/", "explorer/", "quizzes/03_attention/", "glossary/", "teach/"]
ASKED = {
    "zh": {
        "注意力": "lessons/03_attention/",
        "类别词元": "lessons/02_positions/#class-token",
        "多头": "lessons/03_attention/#heads",
        "为什么除以 sqrt d": "lessons/03_attention/#scaling",
        "过拟合": "lessons/06_training/#reading",
        "层归一化": "lessons/04_encoder/#layer-norm",
        "LayerNorm": "lessons/04_encoder/",
    },
    "ja": {
        "注意機構": "lessons/03_attention/",
        "位置埋め込み": "lessons/02_positions/#adding",
        "データ拡張": "lessons/06_training/#augmentation",
        "クラストークン": "lessons/02_positions/#class-token",
        "過学習": "lessons/06_training/#reading",
        "層正規化": "lessons/04_encoder/#layer-norm",
        "LayerNorm": "lessons/04_encoder/",
    },
}
PARTS = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>", re.DOTALL)


def html(url):
    return (SITE / url / "index.html").read_text(encoding="utf-8")


def ids(text):
    return Counter(re.findall(r"""\sid="?([^\s">]+)""", PARTS.sub("", text)))


def links(text):
    """Where a page leads and what it loads, but for the other languages."""
    found = re.findall(
        r"""\s(?:href|src)="?([^\s">]+)""", re.sub(r"<[^>]*\bhreflang[^>]*>", "", PARTS.sub("", text))
    )
    return Counter(found)


def shared(text, url):
    """The links of an English page as the same page of another language has them."""
    found = Counter()
    for link, count in links(text).items():
        if re.match(r"(\.{1,2}/)*assets/", link):
            link = f"../{link}"
        elif re.match(r"figures?[-.]", link):
            link = f"../../../{url}{link}"
        found[link] += count
    return found


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_pages_are_the_english_ones_in_another_language(code):
    """The same pages, with the same headings, links and files. The English ones are checked for all else."""
    wrong, seen = [], 0
    for url in pages():
        if not (SITE / code / url / "index.html").is_file():
            wrong.append(f"{url} is missing")
            continue
        there, here = html(f"{code}/{url}"), html(url)
        seen += 1
        assert f'<html lang="{code}"' in there, url
        lost = ids(here) - ids(there), ids(there) - ids(here)
        if any(lost):
            wrong.append(f"{url}: ids differ: {lost}")
        want, have = shared(here, url), links(there)
        # A term has its tooltip, a name its link, where it comes first; that may be another sentence.
        apart = {link for link in (want - have) + (have - want) if "/api/" not in link and "api/" not in link}
        if apart:
            wrong.append(f"{url}: links differ: {sorted(apart)[:6]}")
    assert seen > 40
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_lessons_are_rendered_light_and_whole(code):
    """A character of Chinese is three bytes: so characters are counted, and bytes as they are sent."""
    from bs4 import BeautifulSoup

    folders = sorted((SITE / code / "lessons").glob("*_*"))
    assert [f.name for f in folders] == [f.name for f in sorted((SITE / "lessons").glob("*_*"))]
    for folder in folders:
        text = (folder / "index.html").read_text(encoding="utf-8")
        assert len(text) < LIMIT, folder
        assert len(gzip.compress(text.encode())) < LIMIT / 3, folder
        assert not list(unrendered(BeautifulSoup(text, "html.parser"))), folder
        assert not list(folder.glob("figure*")), "figures lie in the English site"
        assert "data-pending" not in text
        assert 'class="pending"' not in text, f"{folder} says that it is not all translated"
        notebook = json.loads((folder / f"{folder.name}.ipynb").read_text(encoding="utf-8"))
        english = json.loads(
            (SITE / "lessons" / folder.name / f"{folder.name}.ipynb").read_text(encoding="utf-8")
        )
        code_of = lambda book: ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"]
        assert code_of(notebook) == code_of(english), "the code is the same in every language"
        prose = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
        assert len(catalogues.CJK.findall(prose)) > 1000
    assert not (SITE / code / "assets").exists()


def test_search_engines_are_told(tmp_path):
    for url in ("", "lessons/03_attention/"):
        for code in ("", *(f"{c}/" for c in catalogues.LANGUAGES)):
            found = re.findall(
                r'<link rel="alternate translation" href="([^"]*)" hreflang="?(\w+)', html(code + url)
            )
            assert [name for _, name in found] == ["en", *catalogues.LANGUAGES]
            for link, name in found:
                if "://" not in link:  # without an address of the site, links are relative
                    place = (SITE / code / url / link).resolve()
                    assert place == (SITE / ("" if name == "en" else name) / url).resolve()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_pages_in_a_browser(browser, address, code, size):  # noqa: F811
    context = browser.new_context(viewport=size, color_scheme="dark" if code == "ja" else "light")
    complaints = []
    tab = watched(context, address, complaints)
    for url in WHOLE:
        complaints.append(url)
        complaints += faults(opened(tab, f"{address}{code}/{url}"), size)
        slanted = """() => [...document.querySelectorAll('article em, article blockquote p, vit-live')]
            .filter(e => getComputedStyle(e).fontStyle !== 'normal').map(e => e.textContent.slice(0, 30))"""
        if found := tab.evaluate(slanted):
            complaints.append(f"slanted: {found}")
        if complaints[-1] == url:
            complaints.pop()
    context.close()
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_programs_speak_it(browser, address, code):  # noqa: F811
    tab = browser.new_page()
    for url, host, place in (
        ("explorer/", "vit-explorer", ".vx-panel:visible"),
        ("lessons/03_attention/", "vit-live", ".vl-label"),
    ):
        tab.goto(f"{address}{code}/{url}")
        tab.locator(host).first.evaluate("e => e.scrollIntoView()")  # they are loaded when the reader is near
        expect(tab.locator(place).first).to_contain_text(catalogues.CJK)
    tab.close()


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_slides_fit_in_it(browser, address, code):  # noqa: F811
    complaints = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    tab = watched(context, address, complaints)
    for deck in ("03_attention", "10_data_and_bias"):
        open_deck(tab, f"{address}{code}/slides/{deck}.html")
        assert 20 <= tab.evaluate("Reveal.getTotalSlides()") <= 35
        assert tab.evaluate(OVER) == []
        assert catalogues.CJK.search(tab.locator(".reveal").text_content())
    assert not complaints
    context.close()


def test_the_switcher_keeps_page_and_place(browser, address):  # noqa: F811
    tab = browser.new_page()
    # Material keeps the address at the heading that is read. Nothing here comes late and moves it.
    page, place = "lessons/10_data_and_bias/", "#equivariance"
    opened(tab, f"{address}{page}{place}")
    for code in (*catalogues.LANGUAGES, ""):
        tab.evaluate("document.fonts.ready.then(() => 0)")
        assert 0 <= tab.evaluate(PLACE, place) < 300
        tab.locator(".md-header .md-select button").hover()
        tab.locator(f".md-select__link[hreflang={code or 'en'}]").click()
        tab.wait_for_url(f"{address}{code + '/' if code else ''}{page}{place}")
        assert tab.locator("html").get_attribute("lang") == (code or "en")
    tab.close()


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_search_finds_in_the_language(browser, address, code):  # noqa: F811
    tab = browser.new_page()
    opened(tab, f"{address}{code}/lessons/01_patches/")
    tab.locator(".md-search__input").click()
    wrong = []
    for query, place in ASKED[code].items():
        search(tab, query)
        if hits := wait_for_hit(tab, f"{code}/{place}"):
            wrong.append((query, place, hits))
    tab.close()
    assert not wrong


def test_readmes_are_in_step():
    root = Path(__file__).parent.parent
    for code in catalogues.LANGUAGES:
        assert (root / f"README.{code}.md").read_text(encoding="utf-8") == catalogues.readme(code)
