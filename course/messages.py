"""What of a source is text to translate, and how a translation gets into its place.

A message is a block of Markdown: a paragraph, a heading, a list item with what is indented under it, a quote,
a table. Code, display math and lines of mere tags between them are no messages; they stay as they are, and so
code and outputs are the same in every language. Beside blocks there are the texts of metadata (alt texts,
captions, predictions) and those of YAML files.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

FENCE = re.compile(r"\s*(?:> ?)*(`{3,}|~{3,})")
# What begins a line that does not go on with the one before, and one that the next does not go on with.
MARKER = re.compile(
    r"(?:[-*+]|\d\d?\.) |#|\||<(?!!--(?!else|end)\w+-->)|\$\$|!!!|\?\?\?|===|\[\^|\{ |`{3}|~{3}|: |%"
)
ENDED = re.compile(r"\s*(#|\||<(?!!--(?!else|end)\w+-->)|!!!|\?\?\?|===|\$\$)")
WORD = re.compile(r"[^\W\d_]{2,}")
# Front matter and metadata whose values are texts; `prerequisites` is what the strip under a title says.
ANSWERS = re.compile(r"<details>.*?</details>", re.DOTALL)
TEXTS = ("alt", "caption", "predict")
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
# Keys of YAML whose values are names, numbers or programs.
NAMES = {
    "glossary": {"lesson", "tip", "id"},
    "explorer": {"colours", "id"},
    "quizzes": {"id", "section", "number", "within", "holds"},
    "teach": {"expect"},
    "mkdocs": {"icon", "media", "scheme", "primary", "accent"},
}

Translate = Callable[[str], str]


def blocks(markdown: str) -> list[str]:
    """Cut at blank lines that are in no fence, in no display math, and before nothing indented.

    Joined, the blocks are the text.
    """
    found, current, fence, math = [], [], "", False
    lines = markdown.splitlines(keepends=True)

    def close() -> None:
        if current:
            found.append("".join(current))
            current.clear()

    for i, line in enumerate(lines):
        if not fence and not math and not line.strip():
            after = next((later for later in lines[i:] if later.strip()), "")
            inside = current and current[0].strip() and re.match(r"[ ]{2,}|\t", after)
            if not inside:
                close()
                found.append(line)
                continue
        mark = FENCE.match(line)
        if mark and not math:
            if not fence:
                if (
                    not line[0].isspace() and line[0] != ">"
                ):  # a fence of its own, though no blank line is before
                    close()
                fence = mark[1]
            elif line.strip().lstrip("> ").startswith(fence) and line.strip(" >\n") == fence:
                fence = ""
                current.append(line)
                if not line[0].isspace() and line[0] != ">":
                    close()
                continue
        elif not fence and line.strip().startswith("$$"):
            if not math and not line[0].isspace():
                close()
            math = math != (line.count("$$") % 2 == 1)
            current.append(line)
            if not math and not line[0].isspace():
                close()
            continue
        elif math and "$$" in line:
            math = False
        elif not fence and not math and re.match(r"#{1,6} ", line):
            close()
            found.append(line)
            continue
        current.append(line)
    close()
    return found


def is_text(block: str) -> bool:
    """Whether there is anything to translate in a block."""
    text = block.strip()
    if not text or re.match(r"`{3}|~{3}|\$\$|:::", text):
        return False
    text = re.sub(r"<!--.*?-->|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.DOTALL)
    text = re.sub(r"\{[^{}]*\}|\]\([^)]*\)|https?://\S+", "", text)
    alt = " ".join(re.findall(r'(?:alt|title)="([^"]*)"', text))
    return bool(WORD.search(re.sub(r"<[^>]*>", "", text) + alt))


def unwrap(block: str) -> str:
    """A block with each of its paragraphs on one line, so that wrapping anew changes no message."""
    found, fence = [], ""
    for line in block.strip("\n").split("\n"):
        mark = FENCE.match(line)
        quote = re.match(r"(?:> ?)*", line)[0]
        text = line[len(quote) :]
        if mark:
            fence = "" if fence else mark[1]
        elif not fence and found and text.strip() and not MARKER.match(text.lstrip()):
            before = found[-1]
            joins = before.strip(" >") and not FENCE.match(before) and not ENDED.match(before)
            code = len(text) - len(text.lstrip()) >= 4 and before.strip() == ""
            if joins and not code and re.match(r"(?:> ?)*", before)[0].strip() == quote.strip():
                found[-1] = f"{before} {text.strip()}"
                continue
        found.append(line)
    return "\n".join(found)


def in_markdown(source: str, translate: Translate) -> str:
    """The Markdown with each message replaced by what `translate` gives for it."""
    front = FRONT.match(source)
    made = []
    if front:
        said = lambda found: found[1] + translate(found[2].strip())
        made.append(re.sub(r"^((?:title|description): +)(.+)$", said, front[0], flags=re.MULTILINE))
        source = source[front.end() :]
    for block in blocks(source):
        if not is_text(block):
            made.append(block)
            continue
        end = block[len(block.rstrip("\n")) :]
        begin = block[: len(block) - len(block.lstrip("\n"))]
        message = unwrap(block)
        said = translate(message)
        # What has no translation stays as it was wrapped.
        made.append(block if said == message else f"{begin}{said}{end}")
    return "".join(made)


def in_notebook(notebook: dict[str, Any], translate: Translate) -> dict[str, Any]:
    """A notebook as `course.lessons.load` gives it, with its texts replaced, in place."""
    about = notebook["metadata"]["lesson"]
    if about.get("prerequisites"):
        about["prerequisites"] = translate(about["prerequisites"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = in_markdown(cell["source"], translate)
        for key in TEXTS:
            if cell["metadata"].get(key):
                cell["metadata"][key] = translate(cell["metadata"][key])
    return notebook


def together(parts: list[str]) -> str:
    """Sentences as a text, with spaces between, but for marks of Chinese and Japanese, which bring theirs."""
    return re.sub(r"([。？！：；]) (?=\S)", r"\1", " ".join(parts))


def in_yaml(data: Any, translate: Translate, kind: str = "") -> Any:
    """What a YAML file holds, with its texts replaced. `kind`, a key of NAMES, says what is left alone."""
    if isinstance(data, dict):
        left = NAMES.get(kind, set())
        if kind == "explorer" and "task" in data:  # a stop's link is the name of an attribute
            left = left | {"link"}
        if kind == "teach" and isinstance(data.get("expect"), str):  # the label, and no list of names
            left = left - {"expect"}
        return {key: value if key in left else in_yaml(value, translate, kind) for key, value in data.items()}
    if isinstance(data, list):
        if kind == "search":  # the words that shall find a section are one message
            words = translate(", ".join(map(str, data)))
            return [word.strip() for word in re.split(r"[，、]|,(?! \d\])", words)]
        return [in_yaml(value, translate, kind) for value in data]
    if isinstance(data, str) and (is_text(data) or (kind == "explorer" and WORD.search(data))):
        return translate(" ".join(data.split()) if "\n\n" not in data else data.strip())
    return data


def messages(put: Callable[[Translate], Any]) -> Iterator[str]:
    """The messages that one of the functions above asks for, in order, each once."""
    found: dict[str, None] = {}

    def note(message: str) -> str:
        found.setdefault(message)
        return message

    put(note)
    yield from found
