"""Which labelled pictures a model is measured on: none that it was trained on, all of a new folder."""

import json
from pathlib import Path
from typing import Any

import torch

from vit.data.files import KEY
from vit.data.folders import find_parts, same_name
from vit.data.images import Images, without
from vit.data.sets import is_word, load_data, read_folder
from vit.inference.classifier import Classifier

SPLITS = ("train", "val", "test", "all")


def hashes(info: dict[str, Any], part: str) -> set[str]:
    """Keys of the images of a part, "train" or "val", as a weights file keeps them; of runs before, none."""
    text = info.get(f"{part}_hashes", "")
    return {text[i : i + KEY] for i in range(0, len(text), KEY)}


def _as_trained(info: dict[str, Any], name: str, size: int, weights: Path) -> bool:
    """Whether weights without hashes were trained on this folder: by their receipt, or else by its name."""
    named, receipt = name == info.get("data"), weights.parent / "receipt.json"
    if not receipt.exists():
        return named
    try:
        data = load_data(name, size, info.get("recipe", {}).get("train_size"), split_by="position")
        same = data.train.fingerprint() == json.loads(receipt.read_text())["data_sha256"]
    except (ValueError, KeyError):
        same = False
    if named and not same:
        raise ValueError(
            f"the images of {name} are not those that these weights were trained on, and the weights are of "
            "before any were kept in mind: measure them on a folder with test/"
        )
    return same


def to_measure(
    classifier: Classifier,
    name: str,
    split: str | None = None,
    data_root: str | Path = "data",
    weights: str | Path = "",
) -> tuple[Images, str, list[str]]:
    """The images of a data set to measure a model on; labels are numbers of the model's classes.

    By default the test images. A folder has some if it has `test/`, or if it holds most of what the model was
    trained on: then it is split as it was for training. Any other is measured whole, or by its `val/` if it
    has one. Images that the model was trained on are left out of all but "train", and those that chose its
    weights out of all but "train" and "val".

    Args:
        name: as for `load_data`.
        split: "train", "val", "test", or "all" of a folder of classes.
        data_root: where CIFAR-10 is.
        weights: the file of the weights. The receipt beside it tells, of runs that kept no hashes, whether
            a folder is the one that they were trained on.

    Returns:
        The images, what to call them, and remarks of a line each.

    Raises:
        ValueError: if there is no such part, if a class is not one of the model's, or if nothing is left.
    """
    size, info, remarks = classifier.preprocessing.img_size, classifier.info, []
    seen = {part: hashes(info, part) for part in ("train", "val")}
    rule = info.get("recipe", {}).get("split_by", "position")
    if split not in (*SPLITS, None):
        raise ValueError(f"{name} has no split called {split!r}; expected one of {', '.join(SPLITS)}")
    folder = not is_word(name) and Path(name).is_dir()
    root, parts = find_parts(Path(name)) if folder else (Path(name), {})
    label = split or (next((part for part in ("test", "val") if part in parts), "all") if folder else "test")
    place = parts.get(label)
    if folder and label == "all" and not (split and parts):
        place = parts.get("train", root)
    if place is not None:
        images, classes, _ = read_folder(place, size)
    if place == root and split is None:
        if seen["train"]:
            same = 2 * len(seen["train"].intersection(images.keys())) >= len(seen["train"])
        else:
            same = _as_trained(info, name, size, Path(weights))
        place, label = (None, "test") if same else (root, "all")
    if place is None:
        data = load_data(name, size, root=data_root, split_by=rule)
        images, classes = getattr(data, label, None), data.classes
    if images is None:
        raise ValueError(f"{name} has no split called {label!r}")
    if label == "all" and not seen["train"]:
        remarks.append("these weights do not say what they were trained on: some of it may be among these")
    mine = [same_name(c) for c in classifier.classes]
    if strange := [c for c in classes if same_name(c) not in mine]:
        raise ValueError(
            f"the model knows {', '.join(classifier.classes)}; {name} has {', '.join(classes)}, of which it "
            f"does not know {', '.join(strange)}"
        )
    images.labels = torch.tensor([mine.index(same_name(c)) for c in classes])[images.labels]
    if label != "train":
        images, left_out = without(images, seen["train"] | (set() if label == "val" else seen["val"]))
        if left_out:
            remarks.append(f"left out, because the model was trained on them or chosen by them: {left_out}")
        if not len(images):
            raise ValueError(f"{name} holds no image that the model was not trained on or chosen by")
    return images, label, remarks
