"""The site in one file, to carry to where there is no network."""

import re
import zipfile
from pathlib import Path

from course.lessons import ROOT, say
from course.pages import SITE

FILE = ROOT / "build" / "annotated-vit.zip"
NAME = "annotated-vit"
NOTE = """The Annotated Vision Transformer

Open index.html. Text, figures and formulas are whole without a server. Search and the model that runs in the
page need one, because browsers do not let pages from a disk load programs:

    python -m http.server

in this folder, then http://127.0.0.1:8000 in a browser.
"""
# A link to a folder, which a server answers with the page in it and a disk with a list of files.
FOLDER = re.compile(
    r"""(<a\b[^<>]*?\bhref=)("?)((?:[^"<>\s:?#]*/)?\.{1,2}|[^"<>\s:?#]*/)(#[^"<>\s]*)?\2(?=[\s>])"""
)


def with_files(html: str) -> str:
    """A page whose links lead to files."""
    return FOLDER.sub(lambda m: f"{m[1]}{m[2]}{m[3].rstrip('/')}/index.html{m[4] or ''}{m[2]}", html)


def pack(site: Path = SITE, file: Path = FILE) -> int:
    """Write `site/` into a zip, each time the same bytes for the same site; the exit code."""
    if not (site / "index.html").is_file():
        say("site/ is missing: run `make site`")
        return 1
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        made = {"READ-ME.txt": NOTE.encode()}
        for path in sorted(path for path in site.rglob("*") if path.is_file()):
            name = path.relative_to(site).as_posix()
            content = path.read_bytes()
            # What is not found has links from the root of a host; a disk has neither.
            made[name] = with_files(content.decode()).encode() if name.endswith("index.html") else content
        for name, content in made.items():
            entry = zipfile.ZipInfo(f"{NAME}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            packed = name.endswith((".webp", ".png", ".jpg", ".woff2"))
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    say(f"the site is in {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name}")
    return 0
