"""The how-to page, run from top to bottom in an empty folder: its Python, and its commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_runs(tmp_path, monkeypatch):
    blocks = BLOCK.findall((ROOT / "docs" / "howto.md").read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"python", "sh"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names, said = {}, ""
    for language, source in blocks:
        if language == "python":
            exec(compile(source, "howto.md", "exec"), names)
            continue
        for line in source.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "vit"
            done = subprocess.run(
                [sys.executable, "-m", "vit", *arguments], capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said += done.stdout + done.stderr
    assert "039.png" in said, "the broken file is to be named"
