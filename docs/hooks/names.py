"""The public names of the package, and where the page of the code tells of each. A MkDocs hook.

A name in a text leads there: at its first mention in a section, and not from headings or links.
"""

import ast
import re
from pathlib import Path

from mkdocs.utils import get_relative_url

# What is passed over, and what is looked at.
INLINE = re.compile(r"<(h[1-6]|a|pre|summary)\b.*?</\1>|<code>(\w+)((?:\(\))?)</code>", re.DOTALL)
TELLING = re.compile(r"\w_\w|[a-z][A-Z]|[A-Z][A-Z]?[a-z]+[A-Z]")  # no word of English
TORCH = {"state_dict", "load_state_dict"}  # ours have them too, but the texts mean PyTorch's
IMPORT = re.compile(r"^from vit[\w.]* import \(?([^()]*?)\)?$", re.MULTILINE)
MODULE = re.compile(r"^::: (vit[\w.]*)", re.MULTILINE)


def pages(docs):
    """The modules that have a page: {"vit.patches": "api/patches.md"}."""
    found = {}
    for path in sorted((docs / "api").rglob("*.md")):
        for module in MODULE.findall(path.read_text(encoding="utf-8")):
            found[module] = path.relative_to(docs).as_posix()
    return found


def public(docs, package):
    """Classes, functions and methods on those pages: {"patchify": "api/patches.md#vit.patches.patchify"}.

    A name that is given to two things leads nowhere, and so is not among them.
    """
    found = {}
    for module, page in pages(docs).items():
        path = package.joinpath(*module.split(".")[1:])
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for path_of, node in definitions(ast.parse(source.read_text(encoding="utf-8")), module):
            found.setdefault(node.name, []).append(f"{page}#{path_of}")
    return {name: where[0] for name, where in found.items() if len(where) == 1}


def definitions(tree, prefix):
    """What is defined in a module or a class and has a name to be used: pairs of dotted path and node."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node, f"{prefix}.{node.name}")


def of(config):
    """`public`, of the project that is being built."""
    root = Path(config.config_file_path).parent
    return public(Path(config.docs_dir), root / "vit")


def on_files(files, config):
    config.extra["names"] = of(config)
    return files


def on_page_content(html, page, config, files):
    """Link names. One that is also a word, as `split`, must be imported on that page to be meant."""
    if page.file.src_uri.startswith("api/"):
        return html
    imported = {name.strip() for part in IMPORT.findall(page.markdown or "") for name in part.split(",")}
    known = {
        name: get_relative_url(place.replace(".md#", "/#"), page.url)
        for name, place in config.extra["names"].items()
        if name not in TORCH and (TELLING.search(name) or name in imported)
    }
    return "".join(link(section, known) for section in re.split(r"(?=<h2)", html))


def link(section, known):
    """Make links of the first mention of each name in a section."""
    seen = set()

    def first(match):
        name = match[2]
        if name not in known or name in seen:
            return match[0]
        seen.add(name)
        return f'<a class="name" href="{known[name]}">{match[0]}</a>'

    return INLINE.sub(first, section)
