"""The built site, page by page: links, other hosts, alt texts, ids, weight. `make site` first.

Every check is a function from a page to a list of complaints, so that the tests at the end can show that it
complains.
"""

import base64
import gzip
import json
import os
import re
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from course import slides
from course.catalogues import LANGUAGES

SITE = Path(os.environ.get("SITE", Path(__file__).parent.parent / "site"))
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
PAGES = [page for page in PAGES if page.partition("/")[0] not in LANGUAGES]  # they have tests of their own
LESSONS = [page for page in PAGES if page.startswith("lessons/")]
LIMIT = 150_000  # bytes of HTML of a lesson, figures not counted
MEMORY = 2.0  # GB that executing a lesson may take

# What a browser fetches by itself; a plain <a href> may go anywhere.
LOADED_LINKS = {"stylesheet", "preload", "icon", "modulepreload", "manifest", "shortcut"}


@cache
def parse(page):
    return BeautifulSoup((SITE / page).read_text(encoding="utf-8"), "html.parser")


def is_elsewhere(url):
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in ("", "data", "mailto")


def references(soup):
    """Every URL in a page: (tag, url)."""
    for tag in soup.find_all(True):
        for name in ("href", "src", "poster", "xlink:href"):
            if tag.get(name):
                yield tag, tag[name]
        for part in filter(None, tag.get("srcset", "").split(",")):
            yield tag, part.split()[0]


def outside_loads(soup):
    """What a page would fetch from another host."""
    for tag, url in references(soup):
        fetched = tag.name != "a" and (tag.name != "link" or LOADED_LINKS & set(tag.get("rel", [])))
        if fetched and is_elsewhere(url):
            yield f"<{tag.name}> loads {url}"
    for style in [*soup.find_all("style"), *({"string": t["style"]} for t in soup.find_all(style=True))]:
        text = style["string"] if isinstance(style, dict) else style.get_text()
        yield from (f"inline style loads {url}" for url in outside_css(text))


def outside_css(text):
    urls = re.findall(r"""(?:url\(\s*|@import\s+)['"]?([^'")\s]+)""", text)
    return [url for url in urls if is_elsewhere(url)]


def dead_links(page, soup, root=SITE, ids=None):
    """Links within the site that lead to no file, or to no such id."""
    ids = ids or (lambda target: {tag["id"] for tag in parse(target).find_all(id=True)})
    for tag, url in references(soup):
        parts = urlsplit(url)
        if is_elsewhere(url) or parts.scheme in ("data", "mailto"):
            continue
        if parts.path.startswith("/") and page == "404.html":
            # Served at any depth, so its links are absolute, below the path that the site has on its host.
            base = urlsplit(soup.select_one("a.md-logo")["href"]).path.rstrip(".")
            target = root / unquote(parts.path).removeprefix(base).lstrip("/")
        else:
            target = root / page if not parts.path else (root / page).parent / unquote(parts.path)
        target = target.resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            yield f"<{tag.name}> {url}: no such file"
        elif parts.fragment and target.suffix == ".html":
            name = target.relative_to(root.resolve()).as_posix()
            if unquote(parts.fragment) not in ids(name) | {"__top"}:
                yield f"<{tag.name}> {url}: no such id in {name}"


def missing_alts(soup):
    return [f"no alt text: {tag}" for tag in soup.find_all("img") if not tag.get("alt", "").strip()]


def data_images(soup):
    return [
        f"image inside the HTML: {url[:60]}" for _, url in references(soup) if url.startswith("data:image")
    ]


def repeated_ids(soup):
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    return sorted(f"id {name!r} is used {ids.count(name)} times" for name in set(ids) if ids.count(name) > 1)


def unrendered(soup):
    """Markdown, math or notebook marks that reached the reader, and errors that should not have."""
    article = BeautifulSoup(str(soup.find("article") or soup), "html.parser")
    for block in article.select(".stderr"):
        yield f"published stderr: {block.get_text()[:80]}"
    if "Traceback (most recent call last)" in article.get_text():
        yield "published a traceback"
    marks = r"<!--(step|code|end|figure|deeper|source|predict|close)"
    yield from (f"mark left over: <!--{mark}" for mark in re.findall(marks, str(article)))
    for tag in article.select("code, pre, script, style, math"):
        tag.decompose()
    text = article.get_text()
    for pattern in (
        r"\$\$",
        r"^!!! ",
        r"^\?\?\? ",
        r"^```",
        r"^~~~",
        r"\{ ?[.#:][\w-]+",
        r"\*\*\S",
        r"\]\(\S",
    ):
        for found in re.findall(f"{pattern}.*", text, re.MULTILINE):
            yield f"not rendered: {found[:60]}"


# ---- every page -----------------------------------------------------------------------------------


def test_site_was_built():
    assert PAGES, "site/ is missing: run `make site`"
    waiting = [page for page in LESSONS if parse(page).select_one("[data-pending]")]
    assert not waiting, f"site/ is half made, by `make serve`: run `make site`. Not executed: {waiting}"
    assert "index.html" in PAGES
    assert LESSONS, "no lessons in site/: run `make site`"


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    assert not list(dead_links(page, parse(page)))


@pytest.mark.parametrize("page", PAGES)
def test_nothing_from_another_host(page):
    assert not list(outside_loads(parse(page)))


@pytest.mark.parametrize("page", PAGES)
def test_page_is_sound(page):
    soup = parse(page)
    complaints = [*missing_alts(soup), *data_images(soup), *repeated_ids(soup), *unrendered(soup)]
    if (titles := len(soup.find_all("h1"))) != 1:
        complaints.append(f"{titles} <h1>")
    assert not complaints


def test_styles_and_scripts_stay_here():
    for path in SITE.rglob("*.css"):
        assert not outside_css(path.read_text(encoding="utf-8")), path
    for path in (SITE / "assets").glob("*.js"):  # ours; the theme's are watched in the browser test
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:import|fetch)\s*\(?['"]https?:""", text), path


def test_no_page_is_styled_anew_at_every_button():
    """With a rule for `:has(...)`, Chrome looked at a whole lesson again for each part that Material adds."""
    assert ":has(" not in (SITE / "assets/site.css").read_text(encoding="utf-8")


# ---- lessons --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", LESSONS)
def test_lesson(page, record_property):
    folder = (SITE / page).parent
    html = (SITE / page).stat().st_size
    figures = sum(path.stat().st_size for path in folder.glob("figure-*"))
    record_property("bytes", html + figures)
    print(f"{page}: {html / 1000:.0f} kB of HTML, {figures / 1000:.0f} kB of figures")
    assert html < LIMIT, f"{html} bytes of HTML, at most {LIMIT} are wanted"

    soup = parse(page)
    assert soup.select_one(".lesson-strip"), "no strip under the title"
    ran = soup.select_one(".lesson-run").get_text()
    assert re.search(r"\d{4}-\d\d-\d\d.*torch \d", ran)
    if sys.platform != "win32":  # which does not count
        (memory,) = re.findall(r"at most ([\d.]+) GB", ran)
        assert float(memory) < MEMORY, "class servers give no more"
    for image in soup.select("article img"):
        assert image.get("width"), f"no width: {image}"
        assert image.get("height"), f"no height: {image}"
    # Code and outputs are on the page: each code cell that is not hidden, as its own block.
    notebook = json.loads((folder / f"{folder.name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = [cell for cell in code if "remove-input" not in cell["metadata"].get("tags", [])]
    blocks = {block.get_text().strip() for block in soup.select(".code .highlight:not(.output) code")}
    lost = [text for cell in shown if (text := "".join(cell["source"]).strip()) not in blocks]
    assert not lost, f"code that is not on the page as it is in the notebook: {lost[0][:200]}"
    # And what a mark folds is folded: by metadata here, by hooks and template there.
    folded = {
        "deeper": sum("deeper" in cell["metadata"].get("tags", []) for cell in notebook["cells"]),
        "source": sum(bool(cell["metadata"].get("jupyter", {}).get("source_hidden")) for cell in shown),
        "predict": sum("predict" in cell["metadata"] for cell in code),
    }
    assert {kind: len(soup.select(f"details.{kind}")) for kind in folded} == folded
    assert all(fold.find_previous_sibling().name in ("h2", "h3") for fold in soup.select("details.deeper"))
    assert not soup.select("details.predict > summary:empty")


@pytest.mark.parametrize("page", LESSONS)
def test_figures(page):
    """Numbered in order, with a caption, a link to themselves, a light file; all but the first late."""
    soup = parse(page)
    drawn = soup.select("article figure")
    number = int(page.split("/")[1][:2])
    for count, figure in enumerate(drawn, 1):
        label = figure.select_one("figcaption a")
        assert label.get_text() == f"Figure {number}.{count}"
        assert label["href"] == f"#{figure['id']}" == f"#fig-{count}"
        assert len(figure.figcaption.get_text(strip=True)) > len(label.get_text()) + 15
        image = figure.select_one("img")
        assert (image.get("loading") == "lazy") == (count > 1)
        assert image["src"] == figure.select_one("a.enlarge")["href"]
    names = [figure.select_one("img")["src"] for figure in drawn]
    notebook = json.loads((SITE / page).with_name(f"{page.split('/')[1]}.ipynb").read_text(encoding="utf-8"))
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", []))
    drawings = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    packed = sum((SITE / page).with_name(name).stat().st_size for name in names)
    assert packed < 0.75 * sum(len(base64.b64decode("".join(png))) for png in drawings)


def test_names_lead_to_the_code():
    soup = parse("lessons/05_model/index.html")
    found = {link.get_text() for link in soup.select("article a.name")}
    assert {"VisionTransformer", "interpolate_positions", "attention_maps"} <= found
    assert not soup.select(":is(h1, h2, h3, summary, pre) a.name")
    assert "state_dict" not in found
    for heading in soup.select("h2"):  # once in a section
        names = []
        for part in heading.find_next_siblings():
            if part.name == "h2":
                break
            names += [link.get_text() for link in part.select("a.name")]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("page", LESSONS)
def test_the_picture_lights_the_part_at_hand(page):
    number, drawn = int(page.split("/")[1][:2]), parse(page).select(".walk svg")
    assert len(drawn) == (2 if number <= 7 else 0), "one for wide columns, one for phones"
    for svg in drawn:
        there = [link for link in svg.select("a[href]") if link["aria-label"] and link.get_text(strip=True)]
        lessons = {int(path.split("/")[1][:2]) for path in LESSONS}
        assert len(there) == len(lessons & set(range(1, 8)))
        lit = [link["aria-label"][0] for link in svg.select(".on")]
        assert sorted(lit) == (list("1234567") if number == 0 else [str(number)])
        assert len(svg.select("[aria-current=page]")) == (number > 0)
    html = re.findall(r'<nav class="walk".*?</nav>', (SITE / page).read_text(encoding="utf-8"), re.DOTALL)
    assert sum(len(text.encode()) for text in html) < 4000


@pytest.mark.parametrize("page", ["glossary/index.html", *LESSONS])
def test_the_card_of_letters(page):
    (card,) = parse(page).select("article .card")
    letters = [term.contents[0].strip() for term in card.select("dt")]
    assert letters == ["B", "C", "H, W", "P", "N", "T", "D", "h", "d", "L", "K"]
    assert "N+1, D197 × 768" in card.get_text()
    assert bool(card.find_parent("details")) == (page in LESSONS)


def test_pages_say_what_they_are():
    """A description for each page, and a picture for each lesson where the site has an address."""
    said = {}
    for page in PAGES:
        content = {
            tag.get("name") or tag.get("property"): tag["content"]
            for tag in parse(page).select("meta[content]")
        }
        if page != "404.html":
            said[page] = content["description"]
            assert content["og:description"] == content["description"], page
            assert len(content["description"]) <= 165, page
        address = parse(page).select_one("link[rel=canonical]")
        if page in LESSONS and address:
            assert content["og:image"].startswith(address["href"]), page
            assert (SITE / page).with_name(content["og:image"].rpartition("/")[2]).is_file(), page
    lessons = [said[page] for page in LESSONS]
    assert len(set(lessons)) == len(lessons)


def test_a_page_that_is_not_there_has_ways_out():
    soup = parse("404.html")
    links = [link["href"] for link in soup.select("article a[href]")]
    assert len([link for link in links if "/lessons/" in link]) == len(LESSONS)
    assert all(link.startswith(("/", "http")) for link in links), "it is sent for addresses of any depth"
    assert soup.select_one("article label[for=__search]")


@pytest.mark.parametrize("page", LESSONS)
def test_slides(page):
    folder = (SITE / page).parent
    deck = slides.deck(folder / f"{folder.name}.ipynb")
    assert slides.LEAST <= len(deck) <= slides.MOST
    for one, other in pairwise(deck):
        assert one.kind != "predict" or other.kind in ("figure", "output"), (
            f"the answer to {one.text!r} does not come next"
        )
    assert sum(slide.kind == "quiz" for slide in deck) >= 4
    texts = [(slide.title, slide.text, slide.cell, slide.output, slide.question) for slide in deck]
    assert len(set(texts)) == len(texts), "a slide stands there twice"
    figures = parse(f"slides/{folder.name}.html").select("section img")
    assert [image["alt"] for image in figures] == [slide.alt for slide in deck if slide.kind == "figure"]


def graded(root):
    """Files that hold sources or hidden tests of graded exercises."""
    marks = (b"BEGIN HIDDEN TESTS", b"BEGIN SOLUTION", b"course.grading.hidden")
    kinds = (".html", ".ipynb", ".json", ".md", ".txt", ".xml")
    files = (path for path in root.rglob("*") if path.suffix in kinds)
    return [path.name for path in files if any(mark in path.read_bytes() for mark in marks)]


def test_graded_exercises_are_not_published(tmp_path):
    assert not graded(SITE)
    (tmp_path / "one.ipynb").write_text("### BEGIN HIDDEN TESTS")
    assert graded(tmp_path) == ["one.ipynb"]


def test_teaching_pages_are_filled():
    """What is made from the lessons is there: each lesson, and messages that somebody may search for."""
    names = [page.split("/")[1] for page in LESSONS]
    for page in ("teach", "errors", "slides", "quizzes"):
        text = str(parse(f"{page}/index.html").find("article"))
        assert all(name in text for name in names), page
        assert "<!--" not in text, page
    said = parse("errors/index.html").get_text()
    for message in (
        "expected image sides to be multiples of patch_size=16",
        "modified by an inplace operation",
    ):
        assert message in said


# ---- the checks can fail --------------------------------------------------------------------------


def soup_of(html):
    return BeautifulSoup(html, "html.parser")


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<img src="http://example.org/a.png" alt="a">',
        '<img srcset="a.png 1x, https://example.org/b.png 2x" alt="a">',
        '<iframe src="https://example.org"></iframe>',
        "<style>@font-face{src:url(https://example.org/f.woff2)}</style>",
        "<p style=\"background: url('https://example.org/a.png')\"></p>",
    ],
)
def test_outside_loads_complains(html):
    assert list(outside_loads(soup_of(html)))


def test_outside_loads_accepts_links_and_own_files():
    canonical = '<link rel="canonical" href="https://example.org">'
    assert not list(
        outside_loads(soup_of(f'<a href="https://example.org">x</a>{canonical}<img src="a.png">'))
    )
    assert not outside_css("@font-face{src:url(fonts/a.woff2)} a{mask:url(data:image/svg+xml;utf8,x)}")


def test_dead_links_complains(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/index.html").write_text('<h1 id="here">a</h1>')
    check = lambda html: list(dead_links("a/index.html", soup_of(html), tmp_path, lambda _: {"here"}))
    assert not check('<a href="#here">x</a><a href="../a/#here">x</a><a href="https://example.org/404">x</a>')
    assert check('<a href="#there">x</a>')
    assert check('<a href="../a/#there">x</a>')
    assert check('<a href="../b/">x</a>')
    assert check('<img src="figure.png">')


@pytest.mark.parametrize(
    ("check", "html"),
    [
        (missing_alts, '<img src="a.png">'),
        (missing_alts, '<img src="a.png" alt=" ">'),
        (data_images, '<img src="data:image/png;base64,AAAA" alt="a">'),
        (repeated_ids, '<p id="a"></p><p id="a"></p>'),
        (unrendered, '<div class="stderr"><pre>UserWarning</pre></div>'),
        (unrendered, "<pre><code>Traceback (most recent call last):</code></pre>"),
        (unrendered, "<p>$$ x^2 $$</p>"),
        (unrendered, "<p>!!! note</p>"),
        (unrendered, "<p>```python</p>"),
        (unrendered, "<p>a **bold** word</p>"),
        (unrendered, "<p>[text](page.md)</p>"),
        (unrendered, "<h2>Title { #anchor }</h2>"),
        (unrendered, "<!--step--><p>a</p>"),
        (unrendered, "<!--deeper 3--><p>a</p>"),
    ],
)
def test_checks_complain(check, html):
    assert list(check(soup_of(html)))


def test_checks_accept_code():
    assert not list(unrendered(soup_of('<pre><code>x = """$$"""  # **a**</code></pre><p>Plain. 2 ** 3</p>')))


# ---- the search's index ---------------------------------------------------------------------------


def test_the_index_holds_prose():
    """And a page loads none of it: Material's own file has the settings only, ours waits for a query."""
    assert (SITE / "search/search_index.json").stat().st_size < 1000
    text = (SITE / "search/docs.json").read_text(encoding="utf-8")
    assert len(gzip.compress(text.encode())) < 180_000
    sections = json.loads(text)
    hidden = re.compile(r"404|slides/\d|quizzes/\d")
    assert {page.removesuffix("index.html") for page in PAGES if not hidden.match(page)} == {
        section["location"].partition("#")[0] for section in sections
    }
    for section in sections:
        for mark in ("<pre", "\\(", "\\[", "\\frac", "Source code in"):
            assert mark not in section["title"] + section["text"], f"{section['location']}: {mark}"
    scaling = next(s for s in sections if s["location"] == "lessons/03_attention/#scaling")
    assert "Dividing by sqrt d divides" in scaling["text"]
    assert any("explicitattention" in s.get("names", "") for s in sections if "03_attention" in s["location"])
