"""What the search knows: prose, titles, questions, the package's names. It is read at the first query.

Material's own index held all code and raw TeX, and every page loaded it. Here code is out, formulas are
words, and `docs/search.yml` says what readers call a thing that the text calls something else. The index is
`search/docs.json`; what Material loads on each page is its settings only. A worker of ours, assets/search.js,
reads the index when something is typed, and hands both to Material's worker.
"""

import html
import json
import logging
import re
import sys
from pathlib import Path

import yaml
from mkdocs.plugins import event_priority

sys.path.insert(0, str(Path(__file__).parent))
import names

log = logging.getLogger("mkdocs.hooks.search")  # below "mkdocs", so that strict mode counts its warnings

# Wrong answers are found by those who look for right ones; the guide repeats what lessons and quizzes say;
# and what a lesson refers to is on the page of references.
AGAIN = re.compile(r"quizzes/\d|teach/#lesson-|lessons/\w+/#references$")
CODE = re.compile(r"<pre>.*?</pre>", re.DOTALL)
SOURCE = re.compile(r"Source code in <code>[^<]*</code>")  # mkdocstrings, above the source of each name
MATH = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)
WORD = re.compile(r"[A-Za-z_]\w+")
SYMBOLS = {
    "times": "×", "cdot": "·", "approx": "≈", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "neq": "≠",
    "ne": "≠", "pm": "±", "in": "∈", "to": "→", "rightarrow": "→", "mapsto": "↦", "infty": "∞",
    "top": "ᵀ", "sum": "Σ", "prod": "Π", "partial": "∂", "nabla": "∇", "ldots": "…", "dots": "…",
    "cdots": "…", "odot": "⊙", "circ": "∘", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ",
    "Delta": "Δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ", "lambda": "λ", "mu": "μ",
    "pi": "π", "sigma": "σ", "tau": "τ", "phi": "φ", "Phi": "Φ", "omega": "ω", "ell": "ℓ", "quad": " ",
    "qquad": " ", "mid": "|", "lVert": "‖", "rVert": "‖",
}  # fmt: skip
DROPPED = (
    r"left|right|big|Big|bigl|bigr|Bigl|Bigr|displaystyle|,|;|!|:| |\\|tag\{[^}]*\}|begin\{\w+\}|end\{\w+\}|&"
)


def plain(tex):
    r"""A formula as one would say it: `\frac{q k^\top}{\sqrt{d}}` is `q k^ᵀ / sqrt d`."""
    tex = re.sub(rf"\\(?:{DROPPED})(?![a-zA-Z])", " ", html.unescape(tex)).replace("&", " ")
    tex = re.sub(r"\\(?:d?frac|tfrac)", r"\\frac", tex)
    for _ in range(4):  # from the inside out
        tex = re.sub(r"\\sqrt\s*\{([^{}]*)\}", r"sqrt \1", tex)
        tex = re.sub(r"\\frac\s*\{([^{}]*)\}\s*(?:\{([^{}]*)\}|(\w))", r"\1 / \2\3", tex)
        tex = re.sub(
            r"\\(?:math\w+|text\w*|operatorname\*?|bar|hat|tilde|vec|underbrace|boldsymbol)\s*\{([^{}]*)\}",
            r"\1",
            tex,
        )
        tex = re.sub(r"\{([^{}]*)\}", r"\1", tex)
    tex = re.sub(r"\\sqrt\s*(\w)", r"sqrt \1", tex)
    tex = re.sub(r"\\([a-zA-Z]+)", lambda found: SYMBOLS.get(found[1], f" {found[1]} "), tex)
    return html.escape(re.sub(r"\s+", " ", tex.replace("\\", " ")).strip(), quote=False)


def entry(section, known, labels=()):
    """A section as the search shall know it. `also` and `names` are found and never shown.

    A name with underscores is in them without: the worker asks for it whole, and for its words.
    """
    title, text = section["title"], SOURCE.sub("", section["text"])
    code = " ".join(CODE.findall(text))
    text = CODE.sub("", text)
    for label in labels:  # of folds, which say nothing of what is inside
        text = text.replace(f" {label} ", " ")
    used = {word.replace("_", "") for word in WORD.findall(html.unescape(code)) if word in known}
    also = title.replace("_", "") if section["location"].startswith("api/") and "_" in title else ""
    title, text = (MATH.sub(lambda found: plain(found[1] or found[2]), part) for part in (title, text))
    text = re.sub(r"\s+", " ", re.sub(r"<(ul|ol|p|li)>\s*</\1>", "", text)).strip()
    return section | {"title": title, "text": text, "also": also, "names": " ".join(sorted(used))}


@event_priority(100)  # before the plugin, which writes the file
def on_post_build(config):
    plugin = next(plugin for name, plugin in config.plugins.items() if name.endswith("search"))
    known = names.of(config)
    asked = yaml.safe_load((Path(config.docs_dir) / "search.yml").read_text(encoding="utf-8"))
    labels = [config.extra["words"][word] for word in ("drawn", "imports", "source", "predict")]
    sections = (s for s in plugin.search_index.entries if not AGAIN.match(s["location"]))
    found = [entry(section, known, labels) for section in sections]
    places = {section["location"]: section for section in found}
    for place, words in asked.items():
        if place in places:
            places[place]["also"] = ", ".join(words)
        elif Path(
            config.site_dir, place.partition("#")[0], "index.html"
        ).exists():  # else a lesson is missing
            log.warning("search.yml leads to %s, which is no section", place)
    for section in found:
        for key in ("also", "names"):
            if not section[key]:
                del section[key]
    folder = Path(config.site_dir, "search")
    folder.mkdir(exist_ok=True)
    (folder / "docs.json").write_text(
        json.dumps(found, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    plugin.search_index.entries = []


def on_post_page(output, page, config):
    """Have the page start our worker, and tell that where Material's is."""
    return re.sub(
        r'"search": ?"([^"]*)assets/javascripts/(workers/search[^"]*)"',
        r'"search": "\1assets/search.js?\2"',
        output,
    )
