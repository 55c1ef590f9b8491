"""Every page of site/ opened wide, and axe-core on it, wide and narrow, light and dark. `make site` first.

test_pages_browser.py opens them narrow, and looks for the same faults.

A lesson has thousands of pieces of coloured code and of formulas, and axe takes seconds for them. So contrast
is measured once for each look: text with the same colours, size and weight on the same ground as text before
it, on this page or another, is not measured again. All else is the same in both schemes; it is asked at both
widths, when the words of code have been joined and formulas are boxes.
"""

from pathlib import Path

import axe_playwright_python
import pytest
from test_pages_browser import NARROW, WIDE, address, browser, faults, opened, pages, watched  # noqa: F401

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
BAD = ("serious", "critical")

# Marks the first text of each look not among `seen`: what is behind it, from the outermost element in, and
# its own face. Returns the new looks.
MARK = """seen => {
    document.querySelectorAll('[data-look]').forEach(e => e.removeAttribute('data-look'))
    const grounds = new Map([[null, '']]), known = new Set(seen)
    const ground = e => {
        if (!grounds.has(e)) {
            const s = getComputedStyle(e), own = [s.backgroundColor, s.backgroundImage, s.opacity].join()
            grounds.set(e, ground(e.parentElement) + (own === 'rgba(0, 0, 0, 0),none,1' ? '' : own + ' '))
        }
        return grounds.get(e)
    }
    for (const e of document.body.querySelectorAll('*')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue
        const s = getComputedStyle(e)
        const look = [ground(e), s.color, s.fontSize, s.fontWeight, s.textShadow].join()
        if (known.has(look) || !e.checkVisibility({ visibilityProperty: true })) continue
        known.add(look)
        e.dataset.look = ''
    }
    axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-look]' }] })
    return [...known].slice(seen.length)
}"""
JOIN = """() => {
    for (const word of document.querySelectorAll('pre code *, :not(pre) > code *'))
        if (!word.firstElementChild && word.matches('b, i, u, span') && !word.closest('aside, a, button'))
            word.replaceWith(word.textContent)
}"""
RUN = """rules => axe.run(document, { resultTypes: ['violations'], ...rules })
    .then(found => found.violations.flatMap(v => v.nodes.map(n =>
        ({ impact: v.impact, rule: v.id, where: n.target.join(' '), why: n.failureSummary }))))"""
# An explorer that is on the page has said what it shows.
DRAWN = "[...document.querySelectorAll('.vx')].every(e => e.querySelector('[aria-live]:not(:empty)'))"
STILL = "*, ::before, ::after { transition: none !important; animation: none !important }"


def findings(tab, rules):
    """What axe says of the page in `tab`, as a line for each place that is serious or critical."""
    found = (place for place in tab.evaluate(RUN, rules) if place["impact"] in BAD)
    return [f"{p['impact']}, {p['rule']}: {p['where']}\n  {p['why'].splitlines()[-1].strip()}" for p in found]


def pale(tab, scheme, seen):
    """Text with too little contrast, among the looks that are not in `seen`, which it adds to."""
    tab.evaluate("scheme => { document.body.dataset.mdColorScheme = scheme }", scheme)
    new = tab.evaluate(MARK, seen)
    seen += new
    return findings(tab, {"runOnly": ["color-contrast"]}) if new else []


def other(tab):
    """All else."""
    return findings(tab, {"rules": {"color-contrast": {"enabled": False}}})


def resize(tab, size):
    """Give the window another size, and let the page do in its next frames what it does upon that."""
    tab.set_viewport_size(size)
    tab.evaluate("""() => new Promise(done => {
        let frames = 5
        const look = () => (frames-- ? requestAnimationFrame(look) : done(0))
        look()
    })""")


@pytest.fixture
def axed(browser, address):  # noqa: F811
    """What opens a page wide, ready for axe; and a list of what is wrong with it without axe."""
    context, complaints = browser.new_context(viewport=WIDE, color_scheme="light"), []
    tab = watched(context, address, complaints)

    def go(url):
        complaints.append(url)  # a heading: what follows is about this page
        tab.set_viewport_size(WIDE)
        complaints.extend(faults(opened(tab, url), WIDE))
        tab.wait_for_function(DRAWN)
        tab.add_style_tag(content=STILL)
        tab.evaluate(AXE)
        return tab

    yield go, complaints
    context.close()


@pytest.mark.parametrize("half", [0, 1])
def test_every_wide_page_and_axe(axed, address, half):  # noqa: F811
    (go, complaints), seen = axed, []
    for url in pages()[half::2]:
        tab = go(address + url)
        for scheme in ("default", "slate"):
            complaints += [f"{scheme}: {line}" for line in pale(tab, scheme, seen)]
        resize(tab, NARROW)
        for scheme in ("slate", "default"):
            complaints += [f"narrow, {scheme}: {line}" for line in pale(tab, scheme, seen)]
        tab.evaluate(JOIN)
        complaints += [f"narrow: {line}" for line in other(tab)]
        resize(tab, WIDE)
        complaints += other(tab)
        if complaints[-1] == address + url:
            complaints.pop()
    assert seen
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_axe_of_a_translation(axed, address, language):  # noqa: F811
    """A page of each kind: its parts are those of the English page, its names, labels and types are not."""
    (go, complaints), seen = axed, []
    for page in ("", "lessons/03_attention/", "explorer/", "quizzes/", "teach/"):
        url = f"{address}{language}/{page}"
        tab = go(url)
        for scheme in ("default", "slate"):
            complaints += [f"{scheme}: {line}" for line in pale(tab, scheme, seen)]
        tab.evaluate(JOIN)
        complaints += other(tab)
        if complaints[-1] == url:
            complaints.pop()
    assert seen
    assert not complaints, "\n".join(complaints)


def test_axe_complains(axed, address):  # noqa: F811
    """Of text that is unreadable in one scheme only, and of a link without a name."""
    tab = axed[0](address)
    assert not pale(tab, "default", []) + other(tab)
    tab.evaluate("""() => document.querySelector('article').insertAdjacentHTML('beforeend',
        '<p id="pale" style="color: #333">dark on dark</p><a href="#" id="mute"></a>')""")
    assert [line for line in other(tab) if "#mute" in line]
    assert not [line for line in pale(tab, "default", []) if "#pale" in line]
    assert [line for line in pale(tab, "slate", []) if "#pale" in line]
