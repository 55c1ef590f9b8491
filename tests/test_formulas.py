"""TeX becomes MathML as browsers understand it, and the face of formulas has every letter."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course.fonts import MATH
from course.formulas import as_mathml, mathml

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("tex", "says"),
    [
        (r"N", "<math><mi>N</mi></math>"),
        (r"\mathbf{x1}", "<math><mi>𝐱</mi><mn>𝟏</mn></math>"),
        (r"\mathbb{R}", "<math><mi>ℝ</mi></math>"),
        (r"\mathbb{E}", "<math><mi>𝔼</mi></math>"),
        (r"\mathrm{MSA}", "<math><mi>MSA</mi></math>"),
        (r"\mathrm{d}", "<math><mi mathvariant=normal>d</mi></math>"),
        (r"\Gamma", "<math><mi mathvariant=normal>Γ</mi></math>"),
        (r"\ell", "<math><mi>ℓ</mi></math>"),
        (r"a < b", "<math><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>"),
    ],
)
def test_says_it_as_browsers_understand_it(tex, says):
    """MathML Core: of `mathvariant` browsers know `normal` only, and letters of a kind are characters."""
    assert mathml(tex) == says


def test_nothing_else_of_the_page_changes():
    page = '<p>a <span class="arithmatex">\\(a &lt; b\\)</span></p>'
    page += "\n<div class=arithmatex>\\[\nc\n\\]</div> \\(d\\)"
    inline = "<math><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>"
    block = '<div class="equation"><math display=block><mi>c</mi></math></div>'
    assert as_mathml(page) == f"<p>a {inline}</p>\n{block} \\(d\\)"


def test_numbers_stand_in_a_table():
    assert re.search(r"<mtable width=.?100%.*<mtext>\(1\)</mtext>", mathml(r"a = b \tag{1}", display=True))


@pytest.mark.parametrize(
    ("tex", "says"),
    [
        (r"\frac{a", "Unexpected end of input"),
        (r"\nosuch", "Undefined control sequence"),
        (r"\mathcal{L}", "script"),
    ],
)
def test_what_it_does_not_understand_is_an_error(tex, says):
    with pytest.raises(ValueError, match=says):
        mathml(tex)


def test_the_face_has_every_letter_of_the_lessons():
    """`MATH` is what was left in the font when it was cut."""
    slanted = {*map(chr, range(0x1D434, 0x1D468)), "ℎ"} - {chr(0x1D455)}  # h is older than the others
    assert slanted <= MATH, "a single letter is shown slanted"
    found = set()
    for lesson in sorted((ROOT / "notebooks").glob("*.py")):
        text = re.sub(r"^# ?", "", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for tex in re.findall(r"\$\$(.+?)\$\$|(?<![\\$`])\$([^$\n`]+)\$", text, re.DOTALL):
            shown = re.sub(r"<[^>]*>", "", mathml(tex[0] or tex[1], display=bool(tex[0])))
            found |= set(html.unescape(shown))
    assert len(found) > 100
    assert found <= MATH | {"\n"}, sorted(found - MATH)


def test_the_interpreter_ends():
    """V8 has a thread of its own; left to itself, the interpreter waited for it at its end, now and then."""
    code = r"from course.formulas import mathml; print(mathml('x'))"
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert run.stdout == "<math><mi>x</mi></math>\n"
