"""Translations: a gettext catalogue for each source and language, in `locale/`, and what is wrong with it.

    notebooks/03_attention.ipynb → locale/zh/notebooks/03_attention.po
    docs/teach.md, docs/teach.yml → locale/zh/docs/teach.md.po, locale/zh/docs/teach.yml.po

`update` brings catalogues in step with the English: where that has changed, the old translation is kept and
marked fuzzy, which no page uses. Edit a catalogue through `todo` and `fill`, or with a program for PO files:
a PO file doubles each backslash of a formula, and by hand that goes wrong.
"""

import argparse
import difflib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polib
import yaml

from course import messages
from course.lessons import ROOT, load, notebooks, say

LANGUAGES = ("zh", "ja")
LOCALE = ROOT / "locale"
NEAR = 0.6  # of two English texts: one is the other, edited
CJK = re.compile(r"[぀-ヿ㐀-鿿]")
WIDE = re.compile(r"[　-ヿ㐀-鿿＀-･]")  # with their marks


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags are MkDocs's own."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def configured() -> dict[str, Any]:
    """What of mkdocs.yml is read by visitors."""
    known = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    texts = {key: known[key] for key in ("site_name", "site_description", "copyright", "nav")}
    texts["nav"] = titles(known["nav"])
    palette = [one["toggle"]["name"] for one in known["theme"]["palette"]]
    return texts | {
        "palette": palette,
        "extra": {k: v for k, v in known["extra"].items() if k != "generator"},
    }


def titles(nav: list) -> list[str]:
    """Every title in a navigation."""
    found = []
    for item in nav:
        if isinstance(item, dict):
            for title, inside in item.items():
                found += [title] if not title.startswith("vit.") else []
                found += titles(inside) if isinstance(inside, list) else []
    return found


def kind(path: Path) -> str:
    """Which names of a YAML file are left alone."""
    return "quizzes" if path.parent.name == "quizzes" and path.stem != "words" else path.stem


@cache
def sources() -> dict[str, Callable[[messages.Translate], Any]]:
    """Every source by the name of its catalogue: a function that translates it."""
    found: dict[str, Callable] = {}
    for path in notebooks():
        found[f"notebooks/{path.stem}"] = lambda t, path=path: messages.in_notebook(load(path), t)
    docs = ROOT / "docs"
    for path in [ROOT / "README.md", *sorted(docs.rglob("*.md"))]:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("docs/api/") and path.name != "index.md":
            continue  # pages of code stay English
        read = lambda t, path=path: messages.in_markdown(path.read_text(encoding="utf-8"), t)
        found[name] = read
    for path in sorted(docs.rglob("*.yml")):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[path.relative_to(ROOT).as_posix()] = lambda t, data=data, path=path: messages.in_yaml(
            data, t, kind(path)
        )
    found["mkdocs.yml"] = lambda t: messages.in_yaml(configured(), t, "mkdocs")
    return found


def english(name: str) -> list[str]:
    """The messages of a source, in its order."""
    return list(messages.messages(sources()[name]))


def catalogue(language: str, name: str) -> Path:
    """Where the catalogue of a source is."""
    return LOCALE / language / f"{name}.po"


def entries(language: str, name: str) -> dict[str, polib.POEntry]:
    """A catalogue by the English of its entries; empty where there is none yet."""
    path = catalogue(language, name)
    return {one.msgid: one for one in polib.pofile(str(path))} if path.exists() else {}


def known(language: str, name: str) -> dict[str, str]:
    """What of a source is translated, and not fuzzy."""
    return {k: one.msgstr for k, one in entries(language, name).items() if one.msgstr and not one.fuzzy}


def merged(old: dict[str, polib.POEntry], wanted: list[str]) -> list[polib.POEntry]:
    """The entries of a catalogue for these messages. A changed one keeps its translation, marked fuzzy."""
    lost = {k: one for k, one in old.items() if k not in wanted and one.msgstr}
    found = []
    for message in wanted:
        if message in old:
            found.append(old[message])
            continue
        one = polib.POEntry(msgid=message)
        near = difflib.get_close_matches(message, lost, 1, NEAR)
        if near:
            one.msgstr, one.previous_msgid = lost.pop(near[0]).msgstr, near[0]
            one.flags.append("fuzzy")
        found.append(one)
    return found


def save(language: str, name: str, found: list[polib.POEntry]) -> None:
    """Write a catalogue. It has no dates, so that only what changes is changed."""
    po = polib.POFile(wrapwidth=0)
    po.metadata = {
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
    }
    po.extend(found)
    path = catalogue(language, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = str(po)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def readme(language: str) -> str:
    """README.md in a language, with a line that leads to the others."""
    said = known(language, "README.md")
    source = (ROOT / "README.md").read_text(encoding="utf-8")
    return messages.in_markdown(source, lambda text: said.get(text, text))


def update() -> int:
    """Bring every catalogue in step with the English, and say what is to do; the exit code."""
    for language in LANGUAGES:
        done = todo = fuzzy = 0
        for name in sources():
            found = merged(entries(language, name), english(name))
            save(language, name, found)
            fuzzy += sum(one.fuzzy for one in found)
            done += sum(bool(one.msgstr) and not one.fuzzy for one in found)
            todo += sum(not one.msgstr for one in found)
        for path in (LOCALE / language).rglob("*.po"):
            if path.relative_to(LOCALE / language).as_posix().removesuffix(".po") not in sources():
                path.unlink()
        (ROOT / f"README.{language}.md").write_text(readme(language), encoding="utf-8")
        say(f"{language}: {done} messages translated, {fuzzy} fuzzy, {todo} to do")
    return 0


def todo(language: str, name: str) -> str:
    """What is to translate of a source, as a text for `fill`: `@@ number` before each message."""
    found = entries(language, name)
    parts = []
    for i, message in enumerate(english(name)):
        one = found.get(message)
        if one is None or not one.msgstr or one.fuzzy:
            before = f"\n@@ was: {one.msgstr}" if one is not None and one.fuzzy else ""
            parts.append(f"@@ {i}\n{message}{before}\n")
    return "\n".join(parts)


def fill(language: str, name: str, text: str) -> list[str]:
    """Put translations into a catalogue: `@@ number`, as in `todo`, before each. Gives what is wrong.

    One with a mistake is put in, too, so that it can be looked at; `problems` finds it again.
    """
    wanted = english(name)
    found = {one.msgid: one for one in merged(entries(language, name), wanted)}
    said = []
    parts = re.split(r"^@@ (\d+)[ \t]*$", text, flags=re.MULTILINE)
    for number, translation in zip(parts[1::2], parts[2::2], strict=True):
        if int(number) >= len(wanted):
            said.append(f"{name} @@ {number}: there is no such message")
            continue
        one = found[wanted[int(number)]]
        one.msgstr, one.previous_msgid = translation.strip("\n"), None
        one.flags = [flag for flag in one.flags if flag != "fuzzy"]
        said += [f"{name} @@ {number}: {what}" for what in wrong(language, one.msgid, one.msgstr)]
    save(language, name, [found[message] for message in wanted])
    return said


# ---- what is wrong with a translation


PARTS = {
    "display math": re.compile(r"\$\$.*?\$\$", re.DOTALL),
    "code block": re.compile(r"^[> ]*(`{3,}|~{3,})[^\n]*\n.*?^[> ]*\1", re.DOTALL | re.MULTILINE),
    "inline code": re.compile(r"(?<!`)(`+)(?!`)(?:.*?[^`])?\1(?!`)", re.DOTALL),
    "inline math": re.compile(r"(?<![\\$])\$(?!\s)[^$]*?(?<!\s)\$"),
    "link target": re.compile(r"\]\([^)]*\)|<https?://[^>]*>"),
    "footnote": re.compile(r"\[\^[\w-]+\]"),
    "comment or tag": re.compile(r"<!--.*?-->|</?[a-zA-Z][^>]*>", re.DOTALL),
    "placeholder": re.compile(r"\{\{[^}]*\}\}|\{[^{}]*\}"),
    "kind of block": re.compile(r"^ *(?:#{1,6} |!!! \w+|\?\?\?\+? \w+|=== |(?:> ?)+(?=\S))", re.MULTILINE),
}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TEXT_OF_TAG = re.compile(r' (?:alt|title|aria-label)="[^"]*"')


def parts(text: str) -> dict[str, list[str]]:
    """What a translation may not change, by kind. What one kind took is not looked at by the next."""
    found = {}
    for name, pattern in PARTS.items():
        taken = [match[0] for match in pattern.finditer(text)]
        text = pattern.sub(" ", text) if name != "kind of block" else text
        if name == "comment or tag":
            taken = [TEXT_OF_TAG.sub("", one) for one in taken]
        found[name] = sorted(" ".join(one.split()) for one in taken)
    found["list items"] = [str(len(re.findall(r"^ *(?:[-*+]|\d\d?\.) ", text, re.MULTILINE)))]
    found["rows of a table"] = [str(len(re.findall(r"^\s*\|.*\|\s*$", text, re.MULTILINE)))]
    found["bold"] = [str(text.count("**"))]
    found["lines"] = [str(len(text.strip().split("\n")))]
    return found


def wrong(language: str, message: str, translation: str) -> list[str]:
    """What is wrong with a translation, each in a line."""
    found = []
    here, there = parts(message), parts(translation)
    for name in here:
        if here[name] != there[name]:
            lost = [x for x in here[name] if here[name].count(x) > there[name].count(x)]
            new = [x for x in there[name] if there[name].count(x) > here[name].count(x)]
            found.append(f"{name} differs: {lost} in English only, {new} in the translation only")
    prose = lambda text: re.sub(r"\]\([^)]*\)|<[^>]*>|\{[^{}]*\}", " ", text)
    # 1.3 million is written as 130万.
    also = rf"(?:(?:, | and | to | or |–){NUMBER.pattern})*"
    said = re.sub(rf"{NUMBER.pattern}{also} (?:thousand|[mb]illion)\b", "", prose(message))
    missing = set(NUMBER.findall(said)) - set(NUMBER.findall(prose(translation)))
    if missing:
        found.append(f"numbers are missing: {sorted(missing)}")
    if not WIDE.search(translation) and translation != message:
        found.append("is neither the English nor in the language")
    if translation == message and len(messages.WORD.findall(text_of(message))) > 8:
        found.append("is the English")
    bare = re.sub(r"^[> ]*(`{3,}|~{3,}).*?\1|`[^`]*`", " ", translation, flags=re.DOTALL | re.MULTILINE)
    if re.search(f"{WIDE.pattern}\n[> ]*{WIDE.pattern}", bare):
        found.append("a line breaks between two characters, which a page shows as a space")
    if re.search(r"[。，、：；！？）」』”]\*\*(?=[^\s*|）」』，。、：；])", bare) and re.search(
        r"\*\*[^*]*[。，、：；！？）」』”]\*\*[^\s*|）」』，。、：；]", bare
    ):
        found.append("bold ends with a mark and goes on without a space: JupyterLab would show the asterisks")
    if language == "zh" and re.search(r"[぀-ヿ]", translation):
        found.append("has kana")
    if half := re.search(f"{CJK.pattern}[,;?!]|{CJK.pattern}:(?!//)|{CJK.pattern}\\.(?![\\w.])", bare):
        found.append(f"a half-width mark after {half[0]!r}")
    for term, rule in glossary(language).items():
        forms = rf"(?<![\w-])(?:\w+[,:]?[ -])?({rule.get('match', re.escape(term))})(?![\w-])(?:[,:]? \w+)?"
        says = re.finditer(forms, text_of(message), re.IGNORECASE)
        if any(one in translation for one in rule["use"]):
            continue
        # A title or a name that stays English is no use of the term: it stands there with the word beside it.
        for one in says:
            if f"[{one[1]}]" not in translation and (one[0] == one[1] or one[0] not in translation):
                found.append(f"{one[1]!r} should be {' or '.join(rule['use'])}")
                break
    for bad, good in never(language).items():
        if bad in translation:
            found.append(f"{bad!r} is wrong here: {good}")
    return found


def text_of(message: str) -> str:
    """A message without code, formulas, tags and addresses: where a word of English is a word."""
    for name in ("display math", "code block", "inline code", "inline math", "link target", "comment or tag"):
        message = PARTS[name].sub(" ", message)
    return message


@cache
def rules(language: str) -> dict[str, Any]:
    """The glossary of a language: `terms` that are settled, and what is `never` written."""
    return yaml.safe_load((LOCALE / f"{language}.yml").read_text(encoding="utf-8"))


def glossary(language: str) -> dict[str, dict[str, Any]]:
    """Each settled term: what it may be in the language, and `match`, a pattern for its forms in English."""
    return rules(language)["terms"]


def never(language: str) -> dict[str, str]:
    """What is never written, and why or what instead."""
    return rules(language)["never"]


def problems(language: str) -> Iterator[str]:
    """Everything that is wrong with the catalogues of a language, a line each."""
    for name in sources():
        found, wanted = entries(language, name), english(name)
        if list(found) != wanted:
            yield f"{name}: not in step with the English. `make translations` updates it"
        for i, message in enumerate(wanted):
            one = found.get(message)
            if one is None or not one.msgstr:
                yield f"{name} @@ {i}: not translated: {message[:60]!r}"
            elif one.fuzzy:
                yield f"{name} @@ {i}: the English has changed: {message[:60]!r}"
            else:
                yield from (f"{name} @@ {i}: {what}" for what in wrong(language, message, one.msgstr))


def command(asked: argparse.Namespace) -> int:
    """Do one of the commands that the command line has for translations; the exit code."""
    if asked.command == "translations":
        return update()
    languages = [asked.language] if asked.language else LANGUAGES
    if strange := set(languages) - set(LANGUAGES):
        raise ValueError(f"no language {', '.join(strange)}; there are {', '.join(LANGUAGES)}")
    if asked.command == "problems":
        found = [f"{language}: {line}" for language in languages for line in problems(language)]
        print("\n".join(found))
        return int(bool(found))
    if asked.source not in sources():
        raise ValueError(f"no source {asked.source}; there are {', '.join(sources())}")
    if asked.command == "todo":
        print(todo(asked.language, asked.source))
        return 0
    said = fill(asked.language, asked.source, asked.file.read())
    print("\n".join(said) if said else "nothing is wrong with these")
    return int(bool(said))
