"""The how-to page, run from top to bottom in an empty folder: its Python, and its commands.

All in this process: each command in one of its own would wait for PyTorch once more. That `vit` is a program,
too, is seen in test_cli.py.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

from vit import cli

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    blocks = BLOCK.findall((ROOT / "docs" / "howto.md").read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"python", "sh"}
    monkeypatch.chdir(tmp_path)
    names, said = {}, ""
    for language, source in blocks:
        if language == "python":
            exec(compile(source, "howto.md", "exec"), names)
            continue
        for line in source.splitlines():
            command = shlex.split(line)
            assert command[0] == "vit"
            monkeypatch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as stop:
                cli.main()
            out, err = capsys.readouterr()
            assert not stop.value.code, f"{line}\n{out}{err}"
            said += out + err
    assert "039.png" in said, "the broken file is to be named"
