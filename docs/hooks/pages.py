"""The pages that are not lessons: the home page's picture, the glossary and its tooltips. A MkDocs hook."""

import json
import logging
import re
import sys
from pathlib import Path

import yaml
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import card
import picture

from course import explorer, language, live

log = logging.getLogger("mkdocs.hooks.pages")


def on_files(files, config):
    files.append(File.generated(config, "assets/chelsea.jpg", content=picture.photograph()))
    config.extra["card"]["html"] = card.card(config.extra["card"])
    read = lambda name: yaml.safe_load((Path(config.docs_dir) / name).read_text(encoding="utf-8"))
    config.extra["glossary"] = read("glossary.yml")
    made = explorer.files()
    config.extra["explorer"] = json.loads(made["first.json"])
    words = json.dumps(read("explorer.yml"), ensure_ascii=False).encode()
    own = "" if language.current() == "en" else f".{language.current()}"  # all languages share one folder
    for name, content in (made | {f"words{own}.json": words}).items():
        files.append(File.generated(config, f"assets/explorer/{name}", content=content))
    figures = json.dumps(live.data(Path(config.docs_dir) / "live.yml"), ensure_ascii=False).encode()
    files.append(File.generated(config, f"assets/live/live{own}.json", content=figures))
    return files


def on_page_markdown(markdown, page, config, files):
    terms = config.extra["glossary"]
    # A page can say one thing when the repository has an address or a lesson is there, and another when not.
    known = {"repository"} if config.repo_url else set()
    known |= {f"lesson {Path(file.src_uri).stem}" for file in files if file.src_uri.startswith("lessons/")}
    parts = re.compile(r"<!--if-([\w ]+)-->(.*?)<!--else-->(.*?)<!--end-->", re.DOTALL)
    markdown = parts.sub(lambda part: part[2 if part[1] in known else 3], markdown)
    if repository := config.repo_url:
        markdown = markdown.replace("https://github.com/OWNER/NAME", repository.rstrip("/"))
        markdown = markdown.replace("SLUG", repository.rstrip("/").removeprefix("https://github.com/"))
    if page.file.src_uri == "index.md":
        return markdown.replace("<!--picture-->", picture.svg(config.extra["picture"]))
    if page.file.src_uri in ("explorer.md", "engine.md"):
        return numbers(markdown, config.extra["explorer"])
    if page.file.src_uri == "glossary.md":
        card_of_letters = config.extra["card"]
        return (
            markdown
            + f"\n\n## {card_of_letters['title']} {{ #letters .term }}\n\n{card_of_letters['html']}\n\n"
            + "\n\n".join(entry(term, config.extra["words"]) for term in sorted(terms, key=slug))
        )
    if page.file.src_uri.startswith("api/"):
        return markdown
    # One source, two uses: every term with `tip` is an abbreviation on all other pages.
    tips = [(word, re.sub(r"[`*$]", "", term["text"])) for term in terms for word in term.get("tip", [])]
    return markdown + "\n\n" + "\n".join(f"*[{word}]: {text}" for word, text in tips)


def numbers(markdown, first):
    """Fill in what was measured when the explorer's files were made, and what its programs say.

    A mark is `<!--name-->` for a number, `<!--code NAME FROM TO-->` for the part of the engine between two
    lines that begin so; without TO to the end.
    """
    apart, config = first["int8"], first["config"]
    said = {
        "megabytes": f"{first['weights']['bytes'] / 1e6:.1f}",
        "bytes": f"{first['weights']['bytes']:,}",
        "class": first["answer"]["name"],
        "percent": f"{100 * first['answer']['p']:.0f}",
        "logits": f"{apart['logits']:.2f}",
        "probability": f"{100 * apart['probability']:.1f}",
        "attention": f"{100 * apart['attention']:.1f}",
        "same": apart["same"],
        "count": apart["count"],
        "agree": first["measured"]["agree"],
        "of": f"{first['measured']['count']:,}",
        "milliseconds": f"{first['measured']['milliseconds']:.0f}",
        "plain": f"{first['measured']['plain']:.0f}",
        "parameters": f"{config['parameters']:,}",
        "depth": config["depth"],
        "heads": config["num_heads"],
        "side": config["img_size"],
    }
    engine = (language.ROOT / "docs/assets/explorer/vit.mjs").read_text(encoding="utf-8")

    def code(match):
        start, end = match[1], match[2]
        begin = engine.index(f"\n{start}") + 1
        stop = engine.index(f"\n{end}", begin) if end else len(engine)
        return f"```js\n{engine[begin:stop].strip()}\n```"

    markdown = re.sub(r"<!--code `([^`]+)`(?: to `([^`]+)`)?-->", code, markdown)
    return re.sub(r"<!--(\w+)-->", lambda m: str(said.get(m[1], m[0])), markdown)


def slug(term):
    """The id of a term on its page: of its English name, which a translation brings along."""
    return term.get("id") or language.term_id(term["term"])


def entry(term, words):
    lesson = ""
    if "lesson" in term:
        name = words["lesson"].format(number=int(term["lesson"][:2]))
        lesson = f" [{name}](lessons/{term['lesson']}.ipynb){term['text'][-1]}"
    return f"## {term['term']} {{ #{slug(term)} .term }}\n\n{term['text']}{lesson}"


def on_page_content(html, page, config, files):
    """Keep a tooltip only where its term first appears in a section: everywhere, it would be noise."""
    html = re.sub(r"<th[^>]*>\s*</th>", "<td></td>", html)  # an empty corner of a table heads nothing
    sections = []
    for section in re.split(r"(?=<h2)", html):
        seen = set()

        def first(match, seen=seen):
            new = match[2] not in seen
            seen.add(match[2])
            return match[0] if new else match[2]

        sections.append(re.sub(r"<abbr( [^>]*)>([^<]*)</abbr>", first, section))
    return "".join(sections)
