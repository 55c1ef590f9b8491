"""What a page says of itself to search engines and to who shares it: a description, and a picture of its own.

A MkDocs hook. A page's `description` may stand in its front matter; without, it is the first paragraph.
"""

import re
from html import unescape
from urllib.parse import urljoin

from mkdocs.plugins import event_priority

LONG = 160  # characters of a description, about what a result of a search shows
SHAPE = 1.9  # width by height of the picture where links are shared
IMAGE = re.compile(r"<figure\b(?![^>]*data-frames)[^>]*>(?:(?!</figure>).)*?<img [^>]*>", re.DOTALL)
NOT_TEXT = re.compile(r"<(table|details|pre|blockquote|svg|nav)\b.*?</\1>", re.DOTALL)


@event_priority(-50)  # when the other hooks have made the figures
def on_page_content(html, page, config, files):
    page.meta.setdefault("description", first_words(html) or config.site_description)
    if (name := picture(html)) and config.site_url:  # only an absolute address is any use to others
        page.meta["picture"] = urljoin(page.canonical_url, name)
    return html


def first_words(html):
    """The first sentences of the first paragraph of running text, at most LONG characters, without marks."""
    for paragraph in re.findall(r"<p[^>]*>(.*?)</p>", NOT_TEXT.sub("", html), re.DOTALL):
        text = re.sub(r"\\[()]", "", unescape(re.sub(r"<[^>]+>", "", paragraph)))
        text = " ".join(text.split())
        if len(text) > 40:
            return cut(text)
    return ""


def cut(text):
    """Whole sentences if at least one fits, else whole words and an ellipsis."""
    if len(text) <= LONG:
        return text
    ends = [found.end() for found in re.finditer(r"[.?]['”\"]?(?= )|[。？][”」]?", text[: LONG + 1])]
    if ends and ends[-1] > LONG / 3:
        return text[: ends[-1]]
    return text[:LONG].rpartition(" ")[0].rstrip(",;:，、；：") + " …"


def picture(html):
    """The figure whose shape is nearest to that of a shared link; films, which are sheets, are left out."""
    found = []
    for figure in IMAGE.findall(html):
        image = figure[figure.rindex("<img") :]
        name, width, height = (re.search(rf'{key}="([^"]+)"', image) for key in ("src", "width", "height"))
        if name and width and height:
            found.append((abs(int(width[1]) / int(height[1]) - SHAPE), name[1]))
    return min(found, key=lambda figure: figure[0])[1] if found else None
