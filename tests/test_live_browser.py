"""The live figures of lessons 1 to 6 in a headless Chromium, wide and narrow. `make site` first."""

import re

import pytest
from playwright.sync_api import expect
from test_pages_browser import NARROW, SITE, WIDE, address, browser, opened, watched  # noqa: F401

from vit.config import get_config
from vit.cost import count_parameters

PAGES = {
    "patches": "01_patches",
    "positions": "02_positions",
    "attention": "03_attention",
    "encoder": "04_encoder",
    "cost": "05_model",
    "schedule": "06_training",
}
BEYOND = """(figure) => [...figure.querySelectorAll("*:not(svg *)")].filter(e => {
    const box = e.getBoundingClientRect()
    return box.width && (box.right > innerWidth || box.left < 0)
}).map(e => e.outerHTML.slice(0, 80))"""

SMALL = """(figure) => [...figure.querySelectorAll(
    "button, select, .vl-radios label, .vl-fields input, .vl-range input, .vl-hit")].filter(e => {
    const box = e.getBoundingClientRect()
    return Math.min(box.width, box.height) < 43.5
}).map(e => e.outerHTML.slice(0, 80))"""


def slide(figure, name, *keys):
    """Press keys on a slider; what it says then."""
    slider = figure.locator(f"input[data-name={name}]")
    slider.focus()
    for key in keys:
        figure.page.keyboard.press(key)
    return slider.get_attribute("aria-valuetext")


def centred(part):
    """In the middle of the window, where no header lies on it."""
    part.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
    return part


def choose(figure, name, value):
    """By the label, which lies over the radio button: once it is still, and nothing else is there."""
    radio = f"input[value='{value}']"
    group = figure.locator(f"[data-name={name}]")
    centred(group.locator(f"label:has({radio})")).click()
    expect(group.locator(radio)).to_be_checked()


def drag(figure, what, x, y):
    """With a mouse, by so many pixels, once the part is still and nothing else is there."""
    part = centred(figure.locator(what).first)
    part.hover()
    box = part.bounding_box()
    start = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    figure.page.mouse.down()
    figure.page.mouse.move(start[0] + x / 2, start[1] + y / 2)
    figure.page.mouse.move(start[0] + x, start[1] + y)
    figure.page.mouse.up()


def patches(figure):
    rows = figure.locator("table")
    assert "196" in rows.inner_text()
    assert slide(figure, "side", "ArrowLeft", "ArrowLeft") == "8 pixels"
    assert "784" in rows.inner_text()
    assert "(784, 192)" in rows.inner_text()
    told = figure.locator(".vl-told")
    figure.locator(".vl-photo").click(position={"x": 2, "y": 2})
    assert told.inner_text().startswith("Patch 0:")
    figure.page.keyboard.press("ArrowRight")
    figure.page.keyboard.press("ArrowDown")
    assert told.inner_text() == "Patch 29: row 1, column 1"


def positions(figure):
    moved = lambda: figure.locator("[data-moved]").evaluate_all("all => all.map(e => +e.dataset.moved)")
    assert moved() == [0, 0]
    size = figure.locator("[data-patch='1']").bounding_box()["width"]
    drag(figure, "[data-patch='1']", -size, size)
    without, with_positions = moved()
    assert without == 0
    assert with_positions > 0.1
    figure.locator("[data-patch='1']").focus()
    figure.page.keyboard.press("ArrowUp")  # with patch 0, which stands there
    assert moved()[1] not in (0, with_positions)
    figure.locator("[data-name=reset]").click()
    assert moved() == [0, 0]
    for patch in (0, 1):  # a tap each
        figure.locator(f"[data-patch='{patch}']").click()
    assert moved()[0] == 0
    assert moved()[1] > 0
    choose(figure, "positions", "yes")
    assert figure.locator(".vl-ghost").count() == 4


def attention(figure):
    output = lambda: figure.locator("tfoot").inner_text()
    weights = lambda: [float(w) for w in figure.locator(".vl-weight").all_inner_texts()]
    assert "(−1.64, 1.87)" in output()
    grip = figure.locator(".vl-grip")
    drag(figure, ".vl-grip", 60, 90)
    assert grip.get_attribute("aria-valuetext") != "(0.00, 2.00)"
    choose(figure, "asks", "3")
    assert weights()[1] == weights()[2] < 0.5
    slide(figure, "temperature", "Home")
    assert weights() == [0, 0.5, 0.5, 0]
    grip.focus()
    figure.page.keyboard.press("ArrowRight")
    assert grip.get_attribute("aria-valuetext") == "(1.25, 1.00)"
    assert weights()[1] > 0.9


def encoder(figure):
    told = lambda: figure.locator(".vl-told").inner_text()
    pre = told()
    choose(figure, "norm", "post")
    assert "1.00 after 24 blocks" in told()
    assert figure.locator(".vl-other").count() == 2, "what was chosen before is forgotten"
    choose(figure, "residual", "no")
    assert "rounding" in told()
    choose(figure, "residual", "yes")
    figure.locator("[data-name=norm] input[value=post]").focus()
    figure.page.keyboard.press("ArrowLeft")
    assert told() == pre
    assert slide(figure, "depth", "ArrowRight") == "25"
    assert figure.locator(".vl-bead").count() == 2 * 26


def cost(figure):
    def total():
        return int(figure.locator("[data-fact=parameters] p b").inner_text().replace(",", ""))

    assert total() == count_parameters(get_config("vit_b_16"))
    figure.locator("[data-name=img_size]").fill("200")
    with pytest.raises(ValueError, match=r"\w") as refused:
        get_config("vit_b_16", img_size=200)
    assert figure.locator(".vl-error").inner_text() == f"ValueError: {refused.value}"
    figure.locator("[data-name=img_size]").fill("96, 160")
    assert total() == count_parameters(get_config("vit_b_16", img_size=(96, 160)))
    assert figure.locator(".vl-call").inner_text() == 'create_model("vit_b_16", img_size=(96, 160))'
    figure.locator("select").select_option("vit_mini_4")
    choose(figure, "pool", "avg")
    assert total() == count_parameters(get_config("vit_mini_4", class_token=False, global_pool="avg"))


def schedule(figure):
    call = lambda: figure.locator(".vl-call").inner_text()
    assert call() == 'get_recipe("cifar10")'
    figure.locator("[data-grip=peak]").focus()
    figure.page.keyboard.press("ArrowRight")
    assert call() == 'get_recipe("cifar10", warmup=0.06)'
    drag(figure, "[data-grip=peak]", 30, 40)
    assert float(re.search(r"lr=([\d.e-]+)", call())[1]) < 0.003
    assert slide(figure, "warmup", "End") == "100 %"
    choose(figure, "recipe", "shapes")
    assert call() == 'get_recipe("shapes")'
    assert slide(figure, "min_lr", "Home") == "0"
    assert call() == 'get_recipe("shapes", min_lr=0)'
    choose(figure, "scale", "log")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_figure(browser, address, size):  # noqa: F811
    context, complaints = browser.new_context(viewport=size), []
    tab = watched(context, address, complaints)
    for name, page in PAGES.items():
        complaints.append(name)  # a heading
        opened(tab, f"{address}lessons/{page}/")
        figure = tab.locator("vit-live")
        assert figure.count() == 1
        figure.evaluate("e => e.scrollIntoView()")  # it may be replaced at any moment
        tab.locator("vit-live[data-ready]").wait_for()
        globals()[name](figure)
        complaints += [f"beyond the page: {what}" for what in figure.evaluate(BEYOND)]
        if size == NARROW:
            complaints += [f"too small for a thumb: {what}" for what in figure.evaluate(SMALL)]
        if complaints[-1] == name:
            complaints.pop()
    context.close()
    assert not complaints, "\n".join(complaints)


def test_without_script_the_lesson_is_as_it_was(browser, address):  # noqa: F811
    context = browser.new_context(viewport=NARROW, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}lessons/01_patches/", wait_until="domcontentloaded")
    assert tab.locator("vit-live").inner_text() == "On the site, with JavaScript, a live figure stands here."
    context.close()


def test_a_page_without_a_figure_loads_none_of_it():
    pages = [*SITE.glob("*.html"), *SITE.glob("[!zj]*/**/*.html")]  # zh/ and ja/ are held to these
    shown = [p for p in pages if "assets/live/" in p.read_text(encoding="utf-8")]
    assert sorted(path.parent.name for path in shown) == sorted(PAGES.values())
