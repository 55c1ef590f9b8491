"""Folders of images as people have them: which files are pictures, which folders are parts or classes.

root/train/CLASS/...   and val/ and test/, by any of their usual names; or
root/CLASS/...         which is then split by the content of each file
"""

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from vit.data.files import HEIF, picture_extensions, shorter_side

PARTS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}
# What systems leave in folders, besides names that begin with a dot.
SYSTEM = {"__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle"}
SYSTEM |= {"$recycle.bin", "system volume information", "lost+found"}


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM


def same_name(text: str) -> str:
    """A name in the one spelling (NFC) of all that look like it: é is one character, or e and an accent."""
    return unicodedata.normalize("NFC", text)


def pictures(
    folder: Path, passed: Counter[str] | None = None, seen: set[Path] | None = None
) -> Iterator[Path]:
    """The picture files under a folder, in order of name; training and prediction both find them here.

    Links are followed, each real folder once: none of those in `seen`, to which they are added. What is
    hidden, of the system, or not to be opened by Pillow is passed over, and counted by reason in `passed`.
    """
    passed = Counter() if passed is None else passed
    seen = _with_parents(Path(folder)) if seen is None else seen
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        passed[f"folders that cannot be opened ({error.strerror})"] += 1
        return
    for entry in entries:
        path, ending = Path(entry.path), Path(entry.name).suffix.lower()
        if _hidden(entry.name):
            passed["hidden or of the system"] += 1
        elif entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
            if (real := path.resolve()) in seen:
                passed["links to folders that were there already"] += 1
            else:
                seen.add(real)
                yield from pictures(path, passed, seen)
        elif ending in picture_extensions():
            yield path
        elif ending in HEIF:
            passed["HEIC, which pillow-heif would read (pip install pillow-heif)"] += 1
        else:
            passed[f"not pictures by their names ({ending or 'no extension'})"] += 1


def _with_parents(folder: Path) -> set[Path]:
    """A real folder and what it is in: a link to one of these would bring in all the rest."""
    real = folder.resolve()
    return {real, *real.parents}


def say_passed(folder: str | Path, passed: Counter[str]) -> None:
    """Warn of what `pictures` passed over, in one line."""
    if passed:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(passed.items()))
        warnings.warn(f"passed over in {folder}: {reasons}", stacklevel=2)


def existing(folder: Path) -> Path:
    """The folder, if it is one; if not, a ValueError that says what else there is."""
    if not folder.is_dir():
        raise ValueError(f"expected 'shapes', 'cifar10' or a folder of images, got {str(folder)!r}")
    return folder


def _training_folders(folder: Path) -> list[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever loads the pictures will say it
        root, parts = find_parts(existing(folder))
    return _subfolders(parts.get("train", root)) or [root]


def count_pictures(folder: Path, most: int) -> int:
    """How many training pictures there are, counted no further than to `most`; errors as `typical_side`."""
    found = (path for group in _training_folders(folder) for path in pictures(group))
    return sum(1 for _ in islice(found, most))


def typical_side(folder: Path) -> int:
    """The median of the shorter sides of training pictures, in pixels: of the first of each class, some 200.

    Raises:
        ValueError: if there is no folder, or no picture in it that can be read, or as `find_parts`.
    """
    groups = _training_folders(folder)
    found = [path for group in groups for path in islice(pictures(group), -(-200 // len(groups)))]
    sides = sorted(filter(None, map(shorter_side, found)))
    if not sides:
        raise ValueError(f"there is no picture in {folder} that can be read")
    return sides[len(sides) // 2]


def _holds_pictures(folder: Path) -> bool:
    return next(pictures(folder), None) is not None


def _directly(folder: Path) -> bool:
    """Whether there are pictures in the folder itself."""
    files = (path for path in folder.iterdir() if not _hidden(path.name) and not path.is_dir())
    return any(path.suffix.lower() in picture_extensions() for path in files)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path.name))


def _part(name: str, whole: bool = True) -> str | None:
    """The part that a folder is named after; with `whole` off, also by a word of its name: training_set."""
    words = {name.casefold()} if whole else set(re.split(r"[^a-z]+", name.casefold()))
    found = [part for part, spellings in PARTS.items() if spellings & words]
    return found[0] if len(found) == 1 else None


def _inside(folder: Path) -> Path:
    """The folder; or, where all it holds is another of its name, that one: set/set/train, train/train/cat."""
    inner, name = [path for path in _subfolders(folder) if _holds_pictures(path)], folder.resolve().name
    if len(inner) != 1 or _directly(folder) or not any(map(_holds_pictures, _subfolders(inner[0]))):
        return folder
    mine, theirs = (same_name(text).casefold() for text in (name, inner[0].name))
    alike = mine == theirs or (_part(mine) is not None and _part(mine) == _part(theirs))
    return _inside(inner[0]) if alike else folder


def find_parts(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folder that holds the set, and its parts "train", "val" and "test", each where there is one.

    A folder is a part by its name (`PARTS`, in any case) and by holding folders of pictures. A lone one that
    holds pictures itself is a class called `train`. Without parts, the folders are the classes. What lies
    beside the parts is named in a warning.

    Raises:
        ValueError: if two folders are the same part, or if what would be the classes looks like parts.
    """
    root = _inside(root)
    folders, parts = _subfolders(root), {}
    for folder in folders:
        if (part := _part(folder.name)) and any(map(_holds_pictures, _subfolders(folder))):
            other = parts.setdefault(part, folder).name
            if other != folder.name:
                raise ValueError(f"{root} has {other}/ and {folder.name}/, and both say {part}: rename one")
    if len(parts) == 1 and any(map(_directly, parts.values())):
        parts = {}
    if parts:
        if beside := [f"{folder.name}/" for folder in folders if folder not in parts.values()]:
            used = ", ".join(f"{folder.name}/" for folder in parts.values())
            warnings.warn(f"{root}: {used} are used, {', '.join(beside)} not", stacklevel=2)
        return root, {part: _inside(folder) for part, folder in parts.items()}
    if why := _like_parts(folders):
        names = ", ".join(f"{folder.name}/" for folder in folders[:4])
        raise ValueError(
            f"the folders of {root} ({names}) look like parts of a set, not like classes: {why}. Call them "
            "train/, val/ and test/, each with one folder of pictures per class; or give the folder whose "
            "folders are the classes"
        )
    return root, {}


def _like_parts(folders: list[Path]) -> str:
    """Why folders that hold no pictures by the names of parts look like parts none the less, if they do."""
    inner = {folder: frozenset(path.name for path in _subfolders(_inside(folder))) for folder in folders}
    alike = len(folders) > 1 and len(set(inner.values())) == 1 and not any(map(_directly, folders))
    if alike and inner[folders[0]]:
        return f"each holds the folders {', '.join(sorted(inner[folders[0]])[:4])}"
    parts = {folder: part for folder in folders if (part := _part(folder.name, whole=False))}
    sure = len({_part(folder.name) for folder in folders} - {None}) > 1 or len(parts) == len(folders)
    sure |= len({inner[f] for f in parts}) == 1 and any(inner[f] for f in parts)
    return "so they are called" if sure and len(set(parts.values())) > 1 else ""


def read_classes(folder: Path) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """The pictures of a folder of classes: paths, labels `(M,)`, and the classes' names in order.

    Raises:
        ValueError: if there are no class folders, or one without pictures.
    """
    groups: dict[str, list[Path]] = {}
    for path in _subfolders(folder):
        groups.setdefault(same_name(path.name), []).append(path)
    if not groups:
        raise ValueError(f"expected {folder}/<class>/<image files>, got no folders in {folder}")
    beside = [path.name for path in folder.iterdir() if _hidden(path.name) or not path.is_dir()]
    passed = Counter("hidden or of the system" if _hidden(n) else "in no class's folder" for n in beside)
    paths, labels, places = [], [], [place for group in groups.values() for place in group]
    seen = set().union(*map(_with_parents, places))  # a link to another class adds nothing to this one
    for k, name in enumerate(sorted(groups)):
        mine = [str(path) for place in groups[name] for path in pictures(place, passed, seen)]
        if not mine:
            raise ValueError(
                f"class {name!r} in {folder} has no image"
                + "".join(f"; passed over: {n} {reason}" for reason, n in sorted(passed.items()))
            )
        paths += mine
        labels += [k] * len(mine)
    say_passed(folder, passed)
    return paths, torch.tensor(labels), tuple(sorted(groups))


def split_by_content(keys: Sequence[str], labels: Tensor, part: float, name: str, keep: int = 1) -> Tensor:
    """Which pictures are held out for the part called `name`: a mask `(M,)`.

    A picture's own content decides: a hash of its key and `name`, as a number in [0, 1), is below `part`.
    So adding, renaming, removing or breaking one file moves no other, and byte-equal copies stay together.
    Only in small classes can a picture move: one in which nothing falls below `part` lends the picture that
    comes nearest, and a class must keep `keep` different pictures, those farthest from it.

    Raises:
        ValueError: if a class has too few different pictures.
    """
    digests = {key: hashlib.sha256(f"{name}:{key}".encode()).digest() for key in set(keys)}
    place = {key: int.from_bytes(digest[:8]) / 2**64 for key, digest in digests.items()}
    classes: dict[int, set[str]] = {}
    for key, k in zip(keys, labels.tolist(), strict=True):
        classes.setdefault(k, set()).add(key)
    held = {key for key, value in place.items() if value < part}
    for members in classes.values():
        ordered = sorted(members, key=place.__getitem__)
        if len(ordered) <= keep:
            raise ValueError(
                f"expected at least {keep + 1} different images of every class, to hold out one for {name}, "
                f"got {len(ordered)} of one"
            )
        if not held & members:
            held.add(ordered[0])
        held -= set(ordered[-keep:])
    return torch.tensor([key in held for key in keys])
