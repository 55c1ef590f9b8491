"""Finish the pages that mkdocs-jupyter makes of the notebooks in `build/pages/`: a MkDocs hook.

The plugin finds the notebooks and writes each as Markdown with our template, `lesson.md.j2`. Here they join
the navigation, their figures become files, and the numbers of the strip under the title and of the footer are
measured. A notebook that has not been executed is marked `pending` by `course`, and its page says so. A
mistake in a lesson (a figure without alt text, something on stderr) is a warning that names the cell, and a
warning ends a strict build.
"""

import base64
import itertools
import logging
import re
import struct
import sys
from datetime import datetime
from html import escape, unescape
from pathlib import Path

import mkdocs_jupyter.plugin
from mkdocs.exceptions import ConfigurationError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import figures
import reading
import walk

from course.lessons import load

# The plugin parses each page twice more, half of a build's time, to mend links in HTML of nbconvert. Our
# template writes Markdown, whose links MkDocs has resolved and checked already. (The version is pinned.)
mkdocs_jupyter.plugin.rewrite_notebook_urls = lambda html, *_, **__: html

log = logging.getLogger("mkdocs.hooks.lessons")  # below "mkdocs", so that strict mode counts its warnings

IMPORTS = re.compile(r"(?:#.*\n|\n)*(?:import|from) ")  # how a cell begins whose first statement is an import
ELEMENTS = {"k": "b", "kn": "b", "s1": "i", "s2": "i", "nb": "u"}  # keywords, strings, built-in names
SHORT = re.compile(rf'<span class="({"|".join(ELEMENTS)})">([^<]*)</span>')
AIRY = re.compile(
    r"(</?(?:p|h\d|div|[uod]l|table|details|figure|blockquote)\b[^<>]*>)\n{2,}"
)  # none is in a <pre>
LESSONS = {}  # source path of a page, as MkDocs knows it → its executed notebook


def on_config(config):
    """Fill the navigation: the folder decides, so a new lesson needs no edit in mkdocs.yml."""
    folder = (
        Path(config.config_file_path).parent
        / config.plugins["mkdocs-jupyter"].config["notebook_dirs"]["lessons"]
    )
    LESSONS.update({f"lessons/{path.name}": load(path) for path in sorted(folder.glob("*.ipynb"))})
    if not LESSONS:
        raise ConfigurationError(
            f"No lessons in {folder}: run `make site`, which executes them and puts them there."
        )
    for item in config.nav:
        if "Lessons" in item:
            item["Lessons"] = [{nav_title(notebook): uri} for uri, notebook in LESSONS.items()]
    return config


def nav_title(notebook):
    """`1. Title`, from the metadata and the first heading."""
    heading = notebook["cells"][0]["source"].partition("\n")[0]
    return f"{notebook['metadata']['lesson']['number']}. {heading.removeprefix('# ')}"


def on_page_markdown(markdown, page, config, files):
    """Finish what the template wrote: mkdocs-jupyter's event has priority 100, so this one comes after it."""
    notebook = LESSONS.get(page.file.src_uri)
    if notebook is None:
        return markdown
    name = Path(page.file.src_uri).stem
    check(name, notebook)
    names = {other["metadata"]["lesson"]["number"]: Path(uri).stem for uri, other in LESSONS.items()}
    here = walk.picture(notebook["metadata"]["lesson"]["number"], names, config.extra["walk"])
    page.meta["lesson"] = measure(notebook) | {"file": name, "walk": here}

    lesson, count, rules = notebook["metadata"]["lesson"]["number"], itertools.count(1), []

    def add_figure(match):
        cell = notebook["cells"][int(match[1])]
        file, content, pictures, png = packed(cell, match[1], config)
        number, tags = next(count), cell["metadata"].get("tags", [])
        moves = "film" in tags
        if "chart" in tags:  # its author knows that no picture is in it, where figures.py is not sure
            pictures = []
        files.append(File.generated(config, f"lessons/{name}/{file}", content=content))
        turned = pictures is not None and not moves
        if turned and pictures:
            rules.append(figures.style(number, pictures))
        html = figure(file, cell["metadata"], png, number)
        kind = ("turn" if pictures else "turn plain") if turned else ""
        html = html.replace("CLASS", f' class="{kind}"' if kind else "", 1)
        html = html.replace("LABEL", f"{config.extra['words']['figure']} {lesson}.{number}", 1)
        return film(html, cell, config) if moves else html

    # What the template wrote is escaped (it says why); what follows it is nbconvert's CSS for its own HTML.
    markdown = unescape(markdown.partition("<style>")[0])
    # Lessons link to pages of docs/ by their place in the repository: so the links work in Jupyter, too.
    markdown = markdown.replace("](../docs/", "](../")
    # Two quotes with a blank line between stay two, as in Jupyter; Python-Markdown would join them.
    markdown = re.sub(r"(?<=\n)(>[^\n]*\n)\n+(?=> \*\*)", r"\1\n<!-- -->\n\n", markdown)
    markdown = re.sub(r"<!--figure (\d+)-->", add_figure, markdown)
    files.append(File.generated(config, f"lessons/{name}/figures.css", content="".join(rules)))
    return markdown


def packed(cell, index, config):
    """The figure of a cell: the name of its file, what is in it, the pictures in it, and its PNG."""
    (png,) = (
        base64.b64decode(o["data"]["image/png"]) for o in cell["outputs"] if "image/png" in o.get("data", {})
    )
    content, suffix, pictures = figures.files(png, Path(config.config_file_path).parent / "build/figures")
    return f"figure-{index}{suffix}", content, pictures, png


def on_page_content(html, page, config, files):
    # Quotes that begin with a known label get a class; without it they would still read as quotes.
    for name, label in config.extra["callouts"].items():
        html = re.sub(rf"<blockquote>(?=\s*<p><strong>{label})", f'<blockquote class="{name}">', html)
    # What has no colour of its own needs no <span>: a page of code is then half as heavy. Nor do modules,
    # which stand behind a coloured `import`.
    html = re.sub(r'<span class="(?:[nwpo]|nn|kc|m[if]|s[ia]|ow|bp)">([^<]*)</span>', r"\1", html)
    # The commonest of the others say the same in fewer letters: site.css colours them, and only in code.
    html = SHORT.sub(lambda found: f"<{ELEMENTS[found[1]]}>{found[2]}</{ELEMENTS[found[1]]}>", html)
    html = html.replace("<pre><span></span>", "<pre>").replace("&para;", "¶")
    html = re.sub('"language-(?:text|python) ', '"', html)  # a thousand bytes of a page, which nobody reads
    html = AIRY.sub(r"\1\n", html)
    html = html.replace("<!--step-->", '<div class="step">\n<div class="prose">')
    html = html.replace("<!--code-->", '</div>\n<div class="code">')
    html = html.replace("<!--end-->", "</div>\n</div>")
    if notebook := LESSONS.get(page.file.src_uri):
        html = folds(html, notebook["cells"], config.extra["words"])
    return html


def folds(html, cells, words):
    """Make <details> of the template's marks: <!--deeper N-->, <!--source N-->, <!--predict--> begin one.

    N is the index of the cell; what a prediction asks is the paragraph that follows its mark.
    """

    def summary(match):
        kind, cell = match[1], int(match[2])
        if kind == "deeper":
            text = words["deeper"].format(minutes=reading.minutes(cells[cell : reading.deeper(cells)[cell]]))
        elif "alt" in cells[cell]["metadata"]:
            text = words["drawn"]
        else:
            text = words["imports" if IMPORTS.match(cells[cell]["source"]) else "source"]
        return f'<details class="{kind}"><summary>{escape(text)}</summary>'

    html = re.sub(r"<!--(deeper|source) (\d+)-->", summary, html)
    ask = rf'<details class="predict"><summary><b>{escape(words["predict"])}</b> \1</summary>'
    html = re.sub(r"<!--predict-->\s*<p>(.*?)</p>", ask, html, flags=re.DOTALL)
    return html.replace("<!--close-->", "</details>")


def on_post_page(output, page, config):
    """Drop the theme's indentation around the article, a tenth of a lesson's weight, and spare attributes."""
    before, article, after = re.split(r"(<article.*</article>)", output, flags=re.DOTALL)
    if not page.url.startswith("api/"):  # the only pages with what mkdocstrings makes
        before = re.sub(r'<link rel="stylesheet" href="[^"]*_mkdocstrings\.css">', "", before)
    before, after = (re.sub(r"\s*\n\s*", "\n", part) for part in (before, after))
    names = re.compile(r'(<span class="md-ellipsis">)\n([^\n]*)\n(?=</span>)')  # of pages, in the navigation
    bare = lambda tag: re.sub(r'="([\w.#/-]+)"(?=[ >])', r"=\1", tag[0])
    tags = r"<(?:a|button|details|div|h\d|input|label|li|math|nav|p|span|summary|td|th|ul) [^<>]*[^<>/]>"
    output = re.sub(tags, bare, names.sub(r"\1\2", before) + article + after)
    return output.replace('<svg xmlns="http://www.w3.org/2000/svg"', "<svg")  # which HTML knows


def figure(name, about, png, number):
    """Show a PNG at half its size: figures are drawn with two dots a pixel, for sharp screens.

    Its caption is the cell's `caption`, or what its alt text says first. The first figure of a page is loaded
    with it, the others when they come near.
    """
    width, height = (side // 2 for side in struct.unpack(">II", png[16:24]))
    alt = about.get("alt", "")
    later = ' loading="lazy"' if number > 1 else ""
    text = escape(about.get("caption") or caption(alt))
    return (
        f'<figure id="fig-{number}"CLASS><a href="{name}" class="enlarge"><img src="{name}" '
        f'alt="{escape(alt)}" width="{width}" height="{height}"{later}></a>'
        f'<figcaption><a href="#fig-{number}">LABEL</a> {text}</figcaption></figure>'
    )


def caption(alt):
    """What a description says first: one sentence, or two where the first says little.

    Of a long one that a colon divides it is what stands before that.
    """
    sentences = re.findall(r".+?(?:\.(?=\s|$)|。|$)", alt)
    first, both = sentences[0] if sentences else "", "".join(sentences[:2])
    if wide(first) < 25 or (wide(first) < 50 and wide(both) <= 180):
        return both
    return first if wide(first) <= 160 else re.sub(r"^(.{24,}?)[:;]\s.*", r"\1.", first)


def wide(text):
    """How wide a text is, in Latin letters: those of Chinese and Japanese are twice as wide."""
    return sum(1 + (character > "\u2e80") for character in text)


def film(html, cell, config):
    """Tell the page that a figure is a sheet of equal frames: with JavaScript it shows one, and a slider.

    The cell is tagged `film` and prints how many frames are side by side and what each is called.
    """
    text = "".join(output.get("text", "") for output in cell["outputs"])
    found = re.search(r"^film, (\d+) to a row: (.+)$", text, re.MULTILINE)
    if found is None:
        log.warning("a film does not print `film, N to a row: name, name ...`: %r", cell["source"][:60])
        return html
    data = {"columns": found[1], "frames": found[2], "label": config.extra["words"]["film"]}
    return html.replace(
        "<figure", "<figure " + " ".join(f'data-{k}="{escape(v)}"' for k, v in data.items()), 1
    )


def check(name, notebook):
    """Warn about what must not be published."""
    for index, cell in enumerate(notebook["cells"]):
        where = f"lesson {name}, cell {index}, {cell['source'].strip()[:60]!r}:"
        outputs = cell.get("outputs", [])
        figures = sum("image/png" in output.get("data", {}) for output in outputs)
        if "anchor" in cell["metadata"] and not cell["source"].startswith("#"):
            log.warning("%s has an anchor, but does not begin with a heading", where)
        if reading.tagged(cell, "deeper") and not reading.level(cell):
            log.warning("%s is tagged `deeper`, but does not begin with a heading", where)
        if reading.tagged(cell, "answer") and "predict" not in notebook["cells"][index - 1]["metadata"]:
            log.warning("%s is tagged `answer`, but the cell before it asks for no prediction", where)
        if "predict" in cell["metadata"] and cell.get("execution_count") and not outputs:
            log.warning("%s asks for a prediction, but has no output", where)
        if figures and not cell["metadata"].get("alt"):
            log.warning('%s its figure has no alt text. Write it as # %%%% alt="..."', where)
        if figures > 1:
            log.warning("%s shows %d figures, but has one alt text. Split the cell", where, figures)
        for output in outputs:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                log.warning(
                    "%s writes to stderr: %s", where, (output.get("text") or output["traceback"]).strip()
                )


def measure(notebook):
    """Measure what the strip and the footer say; none of these numbers is typed by anyone."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    seconds = 0.0
    for clock in (cell["metadata"]["execution"] for cell in code if "execution" in cell["metadata"]):
        begin, end = (datetime.fromisoformat(clock[f"iopub.status.{state}"]) for state in ("busy", "idle"))
        seconds += (end - begin).total_seconds()
    about = {
        **notebook["metadata"]["lesson"],
        "minutes": reading.minutes(reading.main_path(cells)),
        "minutes_of_all": reading.minutes_of_all(cells),
    }
    if "pending" in notebook["metadata"]:
        return about | {"pending": notebook["metadata"]["pending"]}
    return {
        **about,
        **notebook["metadata"]["executed"],
        "python": notebook["metadata"]["language_info"]["version"],
        "seconds": f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}",
    }
