"""axe-core on every page of site/, wide and narrow, light and dark. `make site` first.

What a scheme changes is colour alone, so the dark one is asked about contrast only; and of text that has the
same colours, size and weight on the same ground as text before it, contrast is measured once a page. Both are
for speed: a lesson has thousands of pieces of coloured code.
"""

from pathlib import Path

import axe_playwright_python
import pytest
from test_pages_browser import NARROW, WIDE, address, browser, pages  # noqa: F401

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
BAD = ("serious", "critical")

# Marks the first text of each look: what is behind it, from the outermost element in, and its own face.
MARK = """() => {
    document.querySelectorAll('[data-look]').forEach(e => e.removeAttribute('data-look'))
    const grounds = new Map([[null, '']]), seen = new Set()
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
        if (seen.has(look) || !e.checkVisibility({ visibilityProperty: true })) continue
        seen.add(look)
        e.dataset.look = ''
    }
    axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-look]' }] })
    return seen.size
}"""
RUN = """rules => axe.run(document, { resultTypes: ['violations'], ...(rules && { runOnly: rules }) })
    .then(found => found.violations.flatMap(v => v.nodes.map(n =>
        ({ impact: v.impact, rule: v.id, where: n.target.join(' '), why: n.failureSummary }))))"""
STILL = "*, ::before, ::after { transition: none !important; animation: none !important }"


def findings(tab, scheme, rules=None):
    """What axe says of the page in `tab`, as a line for each place that is serious or critical."""
    tab.evaluate("scheme => { document.body.dataset.mdColorScheme = scheme }", scheme)
    assert tab.evaluate(MARK)
    found = (place for place in tab.evaluate(RUN, rules) if place["impact"] in BAD)
    return [f"{p['impact']}, {p['rule']}: {p['where']}\n  {p['why'].splitlines()[-1].strip()}" for p in found]


@pytest.fixture
def axed(browser, request):  # noqa: F811
    """A tab of the size that a test is parametrized with, and what opens a page in it."""
    context = browser.new_context(viewport=request.getfixturevalue("size"), color_scheme="light")
    tab = context.new_page()

    def go(url):
        tab.goto(url, wait_until="load")
        tab.add_style_tag(content=STILL)
        tab.evaluate(AXE)
        return tab

    yield go
    context.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe(axed, address, size):  # noqa: F811
    complaints = []
    for url in pages():
        tab = axed(address + url)
        for scheme, rules in (("default", None), ("slate", ["color-contrast"])):
            complaints += [f"{url} {scheme}: {line}" for line in findings(tab, scheme, rules)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("size", [WIDE], ids=["wide"])
def test_axe_complains(axed, address, size):  # noqa: F811
    """Of text that is unreadable in one scheme only, and of a link without a name."""
    tab = axed(address)
    assert not findings(tab, "default")
    tab.evaluate("""() => document.querySelector('article').insertAdjacentHTML('beforeend',
        '<p id="pale" style="color: #333">dark on dark</p><a href="#" id="mute"></a>')""")
    assert [line for line in findings(tab, "default") if "#mute" in line]
    assert not [line for line in findings(tab, "default") if "#pale" in line]
    assert [line for line in findings(tab, "slate", ["color-contrast"]) if "#pale" in line]
