"""Formulas: the TeX that pymdownx.arithmatex leaves in a page → MathML, which browsers draw by themselves.

KaTeX writes the MathML when the site is built, in V8 without a browser. Nothing of it is left in the page,
and a reader without JavaScript sees the same.

The face of formulas is made by course/fonts.py.
"""

import atexit
import html
import re
from functools import cache
from pathlib import Path

from py_mini_racer import JSEvalException, MiniRacer

KATEX = Path(__file__).resolve().parent / "katex" / "katex.min.js"
MARKED = re.compile(r'<(span|div) class="?arithmatex"?>(.*?)</\1>', re.DOTALL)
SPARE = re.compile(
    r'<annotation.*?</annotation>|</?semantics>|</?span[^>]*>| xmlns="[^"]*"| (?:separator|fence)="true"',
    re.DOTALL,
)
NAMED = re.compile(r'<mrow>((?:<mi mathvariant="normal">[A-Za-z]</mi>){2,})</mrow>')  # MSA, letter by letter
STYLED = re.compile(r'<(m[ion]) mathvariant="([\w-]+)"([^>]*)>(.*?)</\1>')
FIRST = {"bold": (0x1D400, 0x1D41A, 0x1D7CE), "double-struck": (0x1D538, 0x1D552, 0x1D7D8)}  # of A, a and 0
OLDER = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))  # Unicode had these before the others of their kind


def as_mathml(page: str) -> str:
    """A page with all its formulas set.

    Raises:
        ValueError: if KaTeX does not understand one.
    """
    return MARKED.sub(_element, page)


def _element(match: re.Match[str]) -> str:
    tex = html.unescape(match[2]).strip()
    display = tex.startswith(r"\[")
    found = mathml(tex[2:-2].strip(), display)
    return f'<div class="equation">{found}</div>' if display else found


@cache
def mathml(tex: str, display: bool = False) -> str:
    r"""A formula, without its `\(` and `\)`, as a `<math>` element.

    Raises:
        ValueError: if KaTeX does not understand it.
    """
    try:
        found = _katex().call("katex.renderToString", tex, {"displayMode": display, "output": "mathml"})
    except JSEvalException as error:
        says = str(error)
        raise ValueError((says.partition("KaTeX parse error: ")[2] or says).splitlines()[0]) from None
    found = NAMED.sub(lambda name: f"<mi>{re.sub('<.*?>', '', name[1])}</mi>", SPARE.sub("", found))
    found = STYLED.sub(_letters, found)
    found = re.sub(r"^<math([^>]*)><mrow>((?:(?!</?mrow>).)*)</mrow></math>$", r"<math\1>\2</math>", found)
    return re.sub(r'="([\w.-]+)"(?=[ >])', r"=\1", found)


@cache
def _katex() -> MiniRacer:
    engine = MiniRacer()
    atexit.register(engine.close)  # later, it would wait for a thread that the interpreter has ended
    engine.eval(KATEX.read_text(encoding="utf-8"))
    return engine


def _letters(match: re.Match[str]) -> str:
    """Bold and hollow letters as characters of their own: of `mathvariant`, browsers know `normal` only."""
    tag, variant, more, text = match.groups()
    if variant == "normal":  # and it says something only of a single letter, which would be slanted
        says = len(text) == 1 and (text.isascii() or "Α" <= text <= "ω") and text.isalpha()
        return match[0] if says else f"<{tag}{more}>{text}</{tag}>"
    if variant not in FIRST:
        raise ValueError(f"{text} in {variant} letters: there are {', '.join(FIRST)} ones")
    capital, small, digit = FIRST[variant]
    shown = ""
    for c in text:
        if variant == "double-struck" and c in OLDER:
            shown += OLDER[c]
        elif c.isascii() and c.isalnum():
            start, first = (digit, "0") if c.isdigit() else (capital, "A") if c.isupper() else (small, "a")
            shown += chr(start + ord(c) - ord(first))
        else:
            shown += c
    return f"<{tag}{more}>{shown}</{tag}>"
