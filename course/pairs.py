"""The two files of a lesson, `NN.py` to edit and to review and `NN.ipynb` to run, kept in step.

Which of two different files is the edited one cannot be told from their times: saving a notebook changes its
time and nothing else. So `sync` remembers what they last agreed on, and asks when both have left it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jupytext
import jupytext.cli
import nbformat
import yaml
from nbformat import NotebookNode

from course.lessons import NOTEBOOKS, ROOT, say

AGREED = ROOT / "build" / "pairs.json"  # lesson → hash of what its files said when they last said the same
DROPPED = ROOT / "build" / "dropped"  # the other version, where `keep` decided
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


HEADER = re.compile(r"\A# ---\n((?:#.*\n)*?)# ---\n")  # YAML in comments


def load(path: Path, text: str | None = None) -> NotebookNode:
    """The notebook in an .ipynb.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        return nbformat.reads(path.read_text(encoding="utf-8") if text is None else text, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"cannot read {path.relative_to(ROOT)}: {reason}") from None


def content(path: Path, text: str | None = None) -> str:
    """A hash of what a file of a pair says: its cells and front matter, but neither outputs nor the kernel.

    Args:
        text: what the file holds, if not what is on disk.
    """
    if path.suffix == ".ipynb":
        notebook = load(path, text)
        lesson, text = notebook.metadata.get("lesson"), jupytext.writes(notebook, fmt="py:percent")
    else:
        text = path.read_text(encoding="utf-8") if text is None else text
        header = HEADER.match(text)
        about = yaml.safe_load(re.sub("^# ?", "", header[1], flags=re.MULTILINE)) if header else {}
        lesson = about.get("jupyter", {}).get("lesson")
    said = json.dumps([lesson, HEADER.sub("", text).strip()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def pairs() -> list[tuple[Path, Path]]:
    """The .py and .ipynb of every lesson; one of them may not be there."""
    stems = sorted({path.stem for suffix in ("py", "ipynb") for path in NOTEBOOKS.glob(f"*.{suffix}")})
    return [(NOTEBOOKS / f"{stem}.py", NOTEBOOKS / f"{stem}.ipynb") for stem in stems]


def has_outputs(notebook: NotebookNode) -> bool:
    """Whether anything in it was executed."""
    return any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def check() -> int:
    """Say which pairs differ, and which notebooks have outputs; the exit code."""
    complaints = []
    for py, ipynb in pairs():
        if not (py.exists() and ipynb.exists()):
            complaints.append(f"{py.stem}: {(ipynb if py.exists() else py).name} is missing")
        elif content(py) != content(ipynb):
            complaints.append(f"{py.stem}: the .py and the .ipynb differ")
        elif has_outputs(load(ipynb)):
            complaints.append(f"{py.stem}: the .ipynb has outputs")
    for complaint in complaints:
        say(f"{complaint}: run make sync")
    return 1 if complaints else 0


def committed(path: Path) -> str | None:
    """What the file said when it was last committed, if it was."""
    where = f"HEAD:./{path.relative_to(ROOT).as_posix()}"
    git = ["git", "show", where]
    try:
        run = subprocess.run(git, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
    return content(path, run.stdout)


def edited(said: dict[Path, str], agreed: str | None, keep: str | None) -> Path | None:
    """Which of a pair's files, by what each says, is the one to follow; None if nobody can tell."""
    (one, ours), (other, theirs) = [*said.items()] * (3 - len(said))  # one that is alone stands for both
    if agreed is None and (known := committed(one)) == committed(other):
        agreed = known
    if ours == theirs or theirs == agreed:
        return one
    if ours == agreed:
        return other
    return next((path for path in said if path.suffix == f".{keep}"), None)


def sync(keep: str | None = None) -> int:
    """Bring each pair in step, without outputs. The edited file wins; if both are, `keep` decides, or nobody.

    Args:
        keep: "py" or "ipynb". What is overwritten goes to `build/dropped/` first.
    """
    memory: dict[str, Any] = json.loads(AGREED.read_text()) if AGREED.exists() else {}
    undecided = []
    for py, ipynb in pairs():
        said = {path: content(path) for path in (py, ipynb) if path.exists()}
        winner = edited(said, memory.get(py.stem), keep)
        if winner is None:
            undecided.append(py.stem)
            continue
        if len(set(said.values())) == 2:
            DROPPED.mkdir(parents=True, exist_ok=True)
            shutil.copy(ipynb if winner == py else py, DROPPED)
        if len(said) == 1 or len(set(said.values())) == 2:
            os.utime(winner)  # jupytext follows the newer one
            jupytext.cli.jupytext(["--quiet", "--sync", str(winner)])
        clean(ipynb)
        memory[py.stem] = said[winner]
    AGREED.parent.mkdir(exist_ok=True)
    AGREED.write_text(json.dumps(memory, indent=1))
    for name in undecided:
        say(
            f"{name}: the .py and the .ipynb differ, and it is not known which of them was edited. "
            "Nothing was changed. Choose one: make sync KEEP=py, or make sync KEEP=ipynb"
        )
    return 1 if undecided else 0


def clean(ipynb: Path) -> None:
    """Take away the outputs, and give it the kernel that everybody has."""
    notebook = load(ipynb)
    if has_outputs(notebook) or notebook.metadata.get("kernelspec") != KERNEL:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.metadata["kernelspec"] = KERNEL
        nbformat.write(notebook, ipynb)
        jupytext.cli.jupytext(["--quiet", "--sync", str(ipynb)])  # the .py names the kernel, too
