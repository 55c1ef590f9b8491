"""A language other than English: its words in the configuration, its links to the others. A MkDocs hook.

`course.language` has put its pages into build/LANGUAGE. What all languages have in common (assets, figures)
lies in the English site only, one folder up.
"""

import os
import re
from pathlib import Path
from urllib.parse import urljoin

import material.plugins.search.plugin as search
from mkdocs.plugins import event_priority

from course import catalogues, language, messages

NAMES = {"en": "English"} | {name: catalogues.rules(name)["name"] for name in catalogues.LANGUAGES}
ASSETS = re.compile(r"""((?:href|src)=["']?|"search": ?")((?:\.{1,2}/)*)assets/""")
FIGURE = re.compile(r"""((?:href|src)=["']?)(figures?[-.][\w.]+)""")


@event_priority(-100)  # when hooks/lessons.py has filled the navigation, which it knows by its English title
def on_config(config):
    code = config.theme["language"]
    language.use(code)
    if code == "zh":
        search.jieba.setLogLevel("WARNING")
    else:
        search.jieba = None  # it would cut Japanese into the words of Chinese, and then nothing is found
    config.extra["built"] = built()
    toc = config.mdx_configs["toc"]
    toc["permalink_title"] = config.extra["words"]["permalink"]
    if code == "en":
        return config
    said = catalogues.known(code, "mkdocs.yml")
    translate = lambda text: said.get(" ".join(text.split()), text)
    for key in ("site_name", "site_description", "copyright"):
        config[key] = translate(config[key])
    config.nav = titles(config.nav, translate)
    for one in config.theme["palette"]:
        one["toggle"]["name"] = translate(one["toggle"]["name"])
    config.extra.update(messages.in_yaml(dict(config.extra), translate, "mkdocs"))
    toc["permalink_title"] = config.extra["words"]["permalink"]
    if config.site_url:
        config.site_url = f"{config.site_url.rstrip('/')}/{code}/"
    return config


def titles(nav, translate):
    """A navigation with its titles translated."""
    if isinstance(nav, list):
        return [titles(item, translate) for item in nav]
    if isinstance(nav, dict):
        return {translate(title): titles(inside, translate) for title, inside in nav.items()}
    return nav


def built():
    """The languages that are built with this one. While lessons still run there is English alone."""
    others = os.environ.get("COURSE_LANGUAGES", "").split()
    return ["en", *others] if others else []


def on_page_context(context, page, config, nav):
    config.extra["alternate"] = [  # MkDocs's `url` knows no way out of a language: on_post_page puts it in
        {"name": NAMES[other], "lang": other, "link": f"#::{other}"} for other in built()
    ]
    if language.current() != "en":
        page.meta["translated"] = int(100 * language.share(sources(page.file.src_uri)))
    return context


def sources(uri):
    """The catalogues that a page is made of."""
    path = Path(uri)
    if uri.startswith("lessons/"):
        return [f"notebooks/{path.stem}"]
    if re.match(r"quizzes/\d", uri):
        return [f"docs/quizzes/{path.stem}.yml"]
    return [f"docs/{uri}", f"docs/{path.with_suffix('.yml')}"]


def way(page, other):
    """From a page to the same one in another language."""
    url = page.url.removeprefix("./")
    up = "../" * url.count("/") + ("" if language.current() == "en" else "../")
    return up + ("" if other == "en" else f"{other}/") + url or "./"


@event_priority(-100)  # when the page is finished
def on_post_page(output, page, config):
    code = language.current()
    # Search engines want whole addresses. And Material's script takes a `link[rel=alternate]` for the first
    # page of a site, and asks for its sitemap; a second word, which means nothing, keeps it from that.
    whole = lambda link: urljoin(page.canonical_url, link) if config.site_url else link
    told = lambda tag: f'<link rel="alternate translation" href="{whole(way(page, tag[1]))}" hreflang'
    output = re.sub(r'<link rel="alternate" href="#::(\w+)" hreflang', told, output)
    output = re.sub(r"#::(\w+)", lambda tag: way(page, tag[1]), output)
    if code == "en":
        return output
    output = ASSETS.sub(r"\1../\2assets/", output)
    output = re.sub(r'("search": ?"[^"?]*search\.js\?[^"]*)"', rf'\1&{code}"', output)
    if page.file.src_uri.startswith("lessons/"):
        output = FIGURE.sub(rf"\1../../../{page.url}\2", output)
    return output
