"""The sheet for pencils: the toy's way from image to attention, with room to write, and its key."""

import math
from typing import Any

import yaml

from course import language
from course.quiz import render
from course.toy import toy


def steps() -> dict[str, Any]:
    """Every number of the sheet, in the order of the lessons, as nested lists.

    `q`, `k`, `v` are (N, d), `scores` (N, N) before the division, `weights` (N, N), `output` (N, d).
    """
    from vit.attention import explicit_attention

    known = toy()
    q, k, v = (known["tokens"] @ known[name] for name in ("U_q", "U_k", "U_v"))  # (N, d)
    output, weights = explicit_attention(*(x[None, None] for x in (q, k, v)))
    made = {
        **known,
        "q": q,
        "k": k,
        "v": v,
        "scores": q @ k.T,
        "weights": weights[0, 0],
        "output": output[0, 0],
    }
    return {name: x.tolist() for name, x in made.items()} | {"root": math.sqrt(q.shape[1])}


def shown(number: float, digits: int = 2) -> str:
    """A number as one writes it by hand: `2`, `–0.5`, `0.11`."""
    text = f"{round(number, digits) + 0.0:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if number == round(number, 1) else text).replace("-", "–")


def sheet() -> str:
    """The sheet and its key as HTML."""
    found = steps()
    exponents = sorted({score / found["root"] for score in found["scores"][1] + found["scores"][3]})
    words = yaml.safe_load((language.docs() / "worksheet.yml").read_text(encoding="utf-8"))
    table = [(shown(x), shown(math.exp(x))) for x in exponents]
    return render("worksheet.html.j2", words=words, shown=shown, table=table, **found)
