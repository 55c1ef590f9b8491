"""The catalogues of the translations: in step with the English, whole, and as sound as a program can tell."""

import copy

import polib
import pytest

from course import catalogues, language, messages
from course.lessons import load, notebooks

TEXT = """# A heading

Patch 7 has `code`, $x^2$ and [a link](02.md#x). It goes on
over two lines.

```python
# a comment
```

$$\\sqrt{2}$$

> **The paper.** “Words
> of it.” (2021)

1. One

    indented `under` it
2. Two

| a | b |
|---|---|
| one | two |

<details>
<summary>Hint</summary>

Look at it.

</details>
"""
MESSAGES = [
    "# A heading",
    "Patch 7 has `code`, $x^2$ and [a link](02.md#x). It goes on over two lines.",
    "> **The paper.** “Words of it.” (2021)",
    "1. One\n\n    indented `under` it\n2. Two",
    "| a | b |\n|---|---|\n| one | two |",
    "<details>\n<summary>Hint</summary>",
    "Look at it.",
]


@pytest.mark.parametrize("code", catalogues.LANGUAGES)
def test_translations_are_in_step_whole_and_sound(code):
    found = list(catalogues.problems(code))
    assert not found, "\n".join(found[:20])


def test_messages_are_blocks():
    assert list(messages.messages(lambda t: messages.in_markdown(TEXT, t))) == MESSAGES
    assert "".join(messages.blocks(TEXT)) == TEXT


def test_what_has_no_translation_stays_as_it_is():
    for path in notebooks():
        notebook = load(path)
        assert messages.in_notebook(copy.deepcopy(notebook), lambda text: text) == notebook
    assert messages.in_markdown(TEXT, lambda text: text) == TEXT


def test_a_translation_comes_to_its_place():
    said = {MESSAGES[1]: "图像块 7。", MESSAGES[6]: "看看它。"}
    made = messages.in_markdown(TEXT, lambda text: said.get(text, text))
    assert "\n\n图像块 7。\n\n```python" in made
    assert "</summary>\n\n看看它。\n\n</details>" in made
    assert "> of it.” (2021)" in made


def test_headings_keep_their_ids():
    assert language.page("# Two words\n\n## Two words { #own }\n", {"# Two words": "# 两个词"}) == (
        "# 两个词 { #two-words }\n\n## Two words { #own }\n"
    )


def test_a_changed_message_is_fuzzy_and_keeps_its_old_text():
    old = {"Patches become tokens.": polib.POEntry(msgid="Patches become tokens.", msgstr="图像块变成词元。")}
    same, changed, new = catalogues.merged(old, ["Patches become tokens.", "Something.", "Else."])
    assert (same.msgstr, same.fuzzy, changed.msgstr, new.msgstr) == ("图像块变成词元。", False, "", "")
    changed, new = catalogues.merged(old, ["Patches become all tokens.", "Else."])
    assert changed.fuzzy
    assert changed.msgstr == "图像块变成词元。"
    assert changed.previous_msgid == "Patches become tokens."


@pytest.mark.parametrize(
    ("message", "translation", "complaint"),
    [
        ("See `softmax(x)`.", "见 `softmax(y)`。", "inline code"),
        ("It is $d$ long.", "长度是 $D$。", "inline math"),
        ("Lesson [one](a.md).", "课[一](b.md)。", "link target"),
        ("A note.[^1]", "注。", "footnote"),
        ("## Head", "### 头", "kind of block"),
        ('!!! note "Look"\n\n    Here.', '!!! tip "看"\n\n    这里。', "kind of block"),
        ("- a\n- b", "- 甲", "list items"),
        ("| a |\n|---|\n| b |", "| 甲 |\n|---|", "rows of a table"),
        ("**Bold** word", "粗体字", "bold"),
        ("{n} of them", "其中若干", "placeholder"),
        ("<b>x</b> is it", "<i>x</i> 是", "comment or tag"),
        ("It costs 1.5 points.", "它要 15 个百分点。", "numbers"),
        ("An encoder.", "一个 encoder。", "编码器"),
        ("A vision transformer.", "视觉变压器。", "变压器"),
        ("One. Two.", "一。\n二。", "a line breaks"),
        ("One, two.", "一, 二。", "half-width"),
        ("One, two.", "一，two\n二。", "lines"),
        ("One.", "One!", "neither"),
        ("**One.** Two.", "**一。**二。", "asterisks"),
    ],
)
def test_what_is_wrong_is_found(message, translation, complaint):
    found = catalogues.wrong("zh", message, translation)
    assert any(complaint in line for line in found), found


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("An encoder costs 1.3 million parameters.", "一个编码器要 130 万个参数。"),
        (
            "Their [Batch Normalization](https://x.org) of 2015.",
            "他们 2015 年的 [Batch Normalization](https://x.org)。",
        ),
        ("**One.** Two, `a` and $b$.", "**一。** 二，`a` 和 $b$。"),
        ('<img src="a.png" alt="A cat.">', '<img src="a.png" alt="一只猫。">'),
    ],
)
def test_what_is_right_is_left_alone(message, translation):
    assert not catalogues.wrong("zh", message, translation)


def test_fill_takes_what_todo_gives(monkeypatch, tmp_path):
    """Backslashes, quotes and all; and says what is wrong."""
    monkeypatch.setattr(catalogues, "LOCALE", tmp_path)
    monkeypatch.setattr(catalogues, "rules", lambda code: {"terms": {}, "never": {}})
    monkeypatch.setattr(catalogues, "english", lambda name: [*MESSAGES, r"The root $\sqrt{d}$ of “it”."])
    assert catalogues.todo("zh", "x").count("@@ ") == 8
    given = "@@ 7\n" r"“它”的根 $\sqrt{d}$。" "\n\n@@ 0\n标题\n\n@@ 9\n没有\n"
    said = catalogues.fill("zh", "x", given)
    assert catalogues.known("zh", "x")[r"The root $\sqrt{d}$ of “it”."] == r"“它”的根 $\sqrt{d}$。"
    assert [line.partition(": ")[0] for line in said] == ["x @@ 0", "x @@ 9"]
    assert catalogues.todo("zh", "x").count("@@ ") == 6
