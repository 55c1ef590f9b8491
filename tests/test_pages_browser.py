"""Every page of site/ in a headless Chromium, wide and narrow, light and dark. `make site` first.

The Chromium is the machine's own. Without one the test is skipped, saying so; with CI=true that is a failure.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

SITE = Path(os.environ.get("SITE", Path(__file__).parent.parent / "site"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ONE_OF_MANY = (
    r"slides/.|quizzes/(?!0[05]_)\d\d_"  # slides have a test of their own; two quizzes stand for all
)
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


def find_chromium():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (str(MAC) if MAC.exists() else None)


def pages():
    urls = (path.relative_to(SITE).as_posix().removesuffix("index.html") for path in SITE.rglob("*.html"))
    return sorted(url for url in urls if url != "404.html" and not re.match(ONE_OF_MANY, url))


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    if path is None:
        how = (
            "no Chromium found to check pages with: install it (Debian: apt install chromium; macOS: Chrome)"
        )
        pytest.fail(how) if os.environ.get("CI") == "true" else pytest.skip(how)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address():
    assert (SITE / "index.html").is_file(), "site/ is missing: run `make site`"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def watched(context, address, complaints):
    """Open a tab that writes down errors, failed requests and requests to any other host."""
    tab = context.new_page()
    tab.on("console", lambda m: complaints.append(f"console: {m.text}") if m.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    tab.on(
        "request",
        lambda r: (
            None if r.url.startswith((address, "data:", "blob:")) else complaints.append(f"asks {r.url}")
        ),
    )
    # Leaving a page before its icon has arrived is not a failure.
    tab.on(
        "requestfailed", lambda r: r.failure == "net::ERR_ABORTED" or complaints.append(f"failed: {r.url}")
    )
    tab.on("response", lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    return tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page(browser, address, size, scheme):
    context = browser.new_context(viewport=size, color_scheme=scheme)
    complaints = []
    tab = watched(context, address, complaints)
    for url in pages():
        complaints.append(url)  # a heading: what follows is about this page
        tab.goto(address + url, wait_until="load")
        tab.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager')")
        tab.evaluate("Promise.all([...document.images].map(i => i.decode().catch(() => 0)))")
        width = tab.evaluate("document.scrollingElement.scrollWidth")
        if width > size["width"]:
            complaints.append(f"is {width} pixels wide")
        if broken := tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"):
            complaints.append(f"images do not show: {broken}")
        if tab.evaluate(
            "[...document.querySelectorAll('.arithmatex')].some(e => !e.querySelector('.katex'))"
        ):
            complaints.append("has a formula that was not rendered")
        if (
            tab.evaluate("document.body.dataset.mdColorScheme")
            != {"light": "default", "dark": "slate"}[scheme]
        ):
            complaints.append("does not follow the reader's colour scheme")
        if complaints[-1] == url:
            complaints.pop()
    context.close()
    assert not complaints, "\n".join(complaints)


def test_side_by_side(browser, address):
    """The toggle puts code beside prose, says so to a screen reader, and is remembered on the next page."""
    first, second, *_ = (url for url in pages() if url.startswith("lessons/"))
    context = browser.new_context(viewport=WIDE)
    tab = context.new_page()
    beside = """() => {
        const step = [...document.querySelectorAll('.step')]
            .find(s => s.querySelector('.prose > *') && s.querySelector('.code'))
        const [prose, code] = ['.prose', '.code'].map(c => step.querySelector(c).getBoundingClientRect())
        return {beside: code.left >= prose.right && Math.abs(code.top - prose.top) < 4, code: code.width}
    }"""
    tab.goto(address + first)
    button = tab.locator(".side-toggle")
    assert button.get_attribute("aria-pressed") == "false"
    assert not tab.evaluate(beside)["beside"]

    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert tab.evaluate(beside)["beside"]
    assert tab.evaluate(beside)["code"] >= 560
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= WIDE["width"]

    tab.goto(address + second)
    assert tab.evaluate(beside)["beside"], "the choice was forgotten on the next page"
    tab.set_viewport_size(NARROW)
    assert not tab.evaluate(beside)["beside"], "a narrow screen must stack"
    assert not tab.locator(".side-toggle").is_visible()
    tab.set_viewport_size(WIDE)
    tab.locator(".side-toggle").click()
    tab.goto(address + first)
    assert not tab.evaluate(beside)["beside"], "the choice to stack was forgotten"
    context.close()


def test_a_tooltip_never_makes_the_page_wider(browser, address):
    """Not even before its width is known, as when the button under it has just moved to the right edge."""
    context = browser.new_context(viewport=WIDE)
    tab = context.new_page()
    tab.goto(address + next(url for url in pages() if url.startswith("lessons/")))
    tab.evaluate("document.documentElement.classList.add('side')")
    tab.locator(".code > .highlight").first.hover()  # not one that is folded
    tab.locator(".code > .highlight .md-code__button").first.hover()
    tab.locator(".md-tooltip2--active").wait_for()
    right, width = tab.evaluate("""() => {
        const tip = document.querySelector('.md-tooltip2--active')
        tip.style.setProperty('--md-tooltip-width', '0px')
        return [tip.firstElementChild.getBoundingClientRect().right, document.scrollingElement.scrollWidth]
    }""")
    assert right > WIDE["width"], "the tooltip is not at the edge: this test has lost its case"
    assert width <= WIDE["width"]
    context.close()


def test_a_film_has_a_slider(browser, address):
    """A sheet of frames shows one of them, chosen by keyboard. Without JavaScript it stands as it is."""
    url = next(page for page in pages() if "09_what_it_learns" in page)
    context = browser.new_context(viewport=NARROW)
    tab = context.new_page()
    tab.goto(address + url)
    frames = tab.locator("figure[data-frames]").get_attribute("data-frames").split(", ")
    slider = tab.locator(".film input")
    assert slider.get_attribute("aria-label")
    slider.focus()
    where = """() => {
        const box = (name) => document.querySelector(`.film ${name}`).getBoundingClientRect()
        const sheet = box('img'), hole = box('a')
        return [(hole.left - sheet.left) / hole.width, (hole.top - sheet.top) / hole.height]
    }"""
    for key, n, place in (("Home", 0, [0, 0]), ("ArrowRight", 1, [1, 0]), ("ArrowRight", 2, [0, 1])):
        tab.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == tab.locator(".film span").inner_text() == frames[n]
        assert tab.evaluate(where) == pytest.approx(place, abs=0.02)
    context.close()

    context = browser.new_context(viewport=NARROW, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address + url)
    assert tab.locator(".film").count() == 0
    box = tab.locator("figure[data-frames] img").bounding_box()
    assert box["height"] > 2 * box["width"]  # all frames
    context.close()


FOLDS = "lessons/01_patches/"
INSIDE = "pixel by pixel"  # words that stand in a folded section of it only
SHOWN = """(selector) => [...document.querySelectorAll(selector)].map(e => e.checkVisibility())"""
CONTENT = ".deeper .step, .source .highlight, .predict > :not(summary)"


def test_folds_open_for_links_and_finding(browser, address):
    """A link to a heading opens what is folded under it; ids and words inside a fold open that."""
    context = browser.new_context(viewport=WIDE)
    tab = context.new_page()
    tab.goto(address + FOLDS)
    assert not any(tab.evaluate(SHOWN, CONTENT))
    assert tab.locator("article h2, article h3").evaluate_all("all => all.every(h => h.checkVisibility())")

    mistakes = tab.locator("#mistakes + details")
    tab.locator('.md-sidebar--secondary a[href="#mistakes"]').click()
    tab.wait_for_function("document.querySelector('#mistakes + details').open")
    tab.wait_for_timeout(300)
    assert 0 <= tab.locator("#mistakes").bounding_box()["y"] < 300
    assert tab.locator("article details[open]").count() == 1
    tab.evaluate("document.querySelector('#mistakes + details .prose p').id = 'inner'")
    mistakes.locator("summary").first.click()
    assert not mistakes.get_attribute("open")
    tab.evaluate("location.hash = 'inner'")
    tab.wait_for_function("document.querySelector('#mistakes + details').open")
    tab.wait_for_timeout(300)
    assert 0 <= tab.locator("#inner").bounding_box()["y"] < 300

    for fragment in ("#mistakes", f"#:~:text={INSIDE.replace(' ', '%20')}"):
        tab = context.new_page()
        tab.goto(address + FOLDS + fragment)
        tab.wait_for_function("document.querySelector('#mistakes + details').open")
    context.close()


def test_open_everything(browser, address):
    """One button opens all folds, keeps what is read where it is, and is remembered on the next page."""
    other = next(url for url in pages() if url.startswith("lessons/") and url != FOLDS)
    context = browser.new_context(viewport=NARROW)
    tab = context.new_page()
    tab.goto(address + FOLDS)
    button = tab.locator(".open-toggle")
    assert button.get_attribute("aria-pressed") == "false"
    tab.evaluate("document.querySelector('#projection').scrollIntoView()")
    where = "document.querySelector('#projection').getBoundingClientRect().top"
    before = tab.evaluate(where)
    button.evaluate("e => e.click()")
    assert button.get_attribute("aria-pressed") == "true"
    assert all(tab.evaluate(SHOWN, "article details > *"))
    assert tab.evaluate(where) == pytest.approx(before, abs=3)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]

    for url in (other, FOLDS):
        tab.goto(address + url)
        assert all(tab.evaluate(SHOWN, "article details > *")), "the choice was forgotten on the next page"
    tab.locator(".open-toggle").click()
    tab.goto(address + FOLDS)
    assert not any(tab.evaluate(SHOWN, CONTENT)), "the choice to fold was forgotten"
    context.close()


def test_folds_side_by_side(browser, address):
    context = browser.new_context(viewport=WIDE)
    tab = context.new_page()
    tab.goto(address + FOLDS)
    tab.locator(".side-toggle").click()
    tab.locator(".open-toggle").click()
    columns = tab.evaluate("""() => [...document.querySelectorAll('.deeper .step')]
        .filter(s => s.querySelector('.prose > *') && s.querySelector('.code'))
        .map(s => ['.prose', '.code'].map(c => s.querySelector(c).getBoundingClientRect()))
        .map(([prose, code]) => [code.left - prose.right, code.width])""")
    assert columns
    assert all(gap > 0 and width >= 540 for gap, width in columns), columns
    context.close()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_folds_on_paper_and_without_script(browser, address, script):
    context = browser.new_context(viewport=WIDE, java_script_enabled=script)
    tab = context.new_page()
    tab.goto(address + FOLDS)
    assert tab.locator(".open-toggle").is_visible() == script
    fold = tab.locator("details.predict").first
    output = fold.locator(".output").first
    assert not output.is_visible()
    fold.locator("summary").click()
    assert output.is_visible()
    fold.locator("summary").click()
    screen = tab.locator(CONTENT).evaluate_all("all => all.filter(e => e.checkVisibility()).length")
    assert screen == 0
    tab.emulate_media(media="print")
    paper = tab.locator(CONTENT)
    assert paper.count() > 20
    assert paper.evaluate_all(
        "all => all.every(e => e.checkVisibility() && e.getBoundingClientRect().height)"
    )
    tab.emulate_media(media="screen")
    assert tab.locator(CONTENT).evaluate_all("all => all.filter(e => e.checkVisibility()).length") == 0
    context.close()


def test_search_finds(browser, address):
    context = browser.new_context(viewport=WIDE)
    tab = context.new_page()
    tab.goto(address, wait_until="networkidle")  # the index is asked for after the page has loaded
    tab.locator(".md-search__input").click()
    tab.keyboard.type("LayerNorm")
    tab.locator(".md-search-result__link").first.wait_for(timeout=20_000)
    assert "LayerNorm" in tab.locator(".md-search-result__list").inner_text()
    context.close()


def test_a_quiz_answers(browser, address):
    """By keyboard; to a wrong answer it says what is wrong with that one. Without script: folds."""
    context = browser.new_context(viewport=NARROW)
    complaints = []
    tab = watched(context, address, complaints)
    tab.goto(address + "quizzes/03_attention/")
    axis, number = tab.locator("#axis"), tab.locator("#divide")
    said = []
    axis.locator("input").first.focus()
    tab.keyboard.press("Space")
    for _ in range(4):
        said.append(axis.locator(".said").inner_text())
        tab.keyboard.press("ArrowDown")
    assert len(set(said)) == 4
    assert sum(text.startswith("Right.") for text in said) == 1
    number.locator("input").fill("27,7")
    tab.keyboard.press("Enter")
    assert "narrower than a" in number.locator(".said").inner_text()
    number.locator("input").fill("8")
    tab.keyboard.press("Enter")
    assert number.locator(".said.right").count() == 1
    assert "of 2 answered" in tab.locator(".score").inner_text()
    assert not complaints
    context.close()

    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address + "quizzes/03_attention/")
    assert tab.locator(".quiz input").count() == 0
    assert not tab.locator("#axis .reasons").is_visible()
    tab.locator("#axis summary").click()
    assert tab.locator("#axis .reasons").is_visible()
    context.close()


def test_the_worksheet_is_two_pages_of_a4(browser, address):
    """One to fill in, one with the key, and nothing of the site on either."""
    tab = browser.new_page()
    tab.goto(address + "worksheet/")
    pdf = tab.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    assert re.findall(rb"/MediaBox\s*\[0 0 59[45][\d.]* 84[12]", pdf)
    tab.close()


DECKS = sorted(path.stem for path in (SITE / "slides").glob("*_*.html"))
OVER = """async () => {
    await Promise.all([...document.images].map(i => i.decode()))
    const found = []
    for (let n = 0; n < Reveal.getTotalSlides(); n++) {
        Reveal.slide(n)
        const slide = Reveal.getCurrentSlide()
        const parts = [...slide.querySelectorAll('*')].filter(e => !e.closest('aside, details, .katex'))
        const over = parts.filter(e => {
            const box = e.getBoundingClientRect()
            return box.right > 1281 || box.bottom > 721 || box.left < -1 || box.top < -1
        })
        const image = slide.querySelector('img')
        if (over.length || slide.scrollHeight > 720 || slide.scrollWidth > 1280)
            found.push(`slide ${n + 1} runs over: ${slide.textContent.trim().slice(0, 60)}`)
        const tiny = image && image.getBoundingClientRect().height < 150
        if (tiny) found.push(`slide ${n + 1} has a tiny figure`)
    }
    return found
}"""


def test_there_are_slides_for_every_lesson():
    assert sorted({url.split("/")[1] for url in pages() if url.startswith("lessons/")}) == DECKS


@pytest.mark.parametrize("deck", DECKS)
def test_slides_fit(browser, address, deck):
    """Every slide at 1280 by 720; formulas rendered, nothing from elsewhere, no error."""
    complaints = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    tab = watched(context, address, complaints)
    tab.goto(f"{address}slides/{deck}.html", wait_until="load")
    assert 20 <= tab.evaluate("Reveal.getTotalSlides()") <= 35
    assert tab.evaluate(OVER) == []
    assert tab.evaluate("[...document.querySelectorAll('.arithmatex')].every(e => e.querySelector('.katex'))")
    if deck == DECKS[0]:  # the test can fail
        tall = "Object.assign(document.createElement('div'), {style: 'flex: none; height: 900px'})"
        tab.evaluate(f"document.querySelector('section.text').append({tall})")
        assert tab.evaluate(OVER)
    assert not complaints
    context.close()


def test_slides_print(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}slides/{DECKS[0]}.html?print-pdf", wait_until="load")
    tab.wait_for_selector(".pdf-page")
    sheets = len(re.findall(rb"/Type\s*/Page\b", tab.pdf(prefer_css_page_size=True)))
    assert sheets == tab.locator(".pdf-page").count() >= 20
    tab.close()
