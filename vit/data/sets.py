"""Images to learn from: `shapes`, CIFAR-10, any folder of images; and photographs for the lessons.

Validation images come out of the training images. Test images are kept apart: nothing in this package looks
at them before a run is finished.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2

from vit.data import shapes
from vit.data.files import decode, file_key
from vit.data.folders import existing, find_parts, read_classes, split_by_content
from vit.data.images import FileImages, Images, MemoryImages, Preprocessing, batches, evenly, without

# What each photograph is, and the square of it that we show: (top, left, side) in pixels.
PHOTOGRAPHS: dict[str, tuple[int, int, int]] = {
    "chelsea": (0, 75, 300),  # a cat, looking at the camera
    "astronaut": (0, 80, 432),  # Eileen Collins, with a flag and a model of the Shuttle
    "coffee": (0, 130, 400),  # a cup, a saucer and a spoon on wood
    "rocket": (0, 130, 427),  # a Falcon 9 at night
}
WORDS = ("shapes", "cifar10")  # data sets that are no folders
IN_MEMORY = 2 << 30  # bytes; a larger set is decoded on the fly
HELD_OUT = 0.1  # about the part of every class that becomes validation (or test) when a folder has none
SHAPES_HELD_OUT = 2_000  # pictures of `shapes` for validation, and as many for the test
SPLIT_SEED = 0  # not the training seed: runs with other seeds must not validate on others' training images


def photograph_file(name: str) -> Path:
    """Its file in scikit-image's wheel, whose reader fails in a folder with [brackets] in its path."""
    return next(Path(skimage.data.__path__[0]).glob(f"{name}.*"))


def photograph(name: str = "chelsea", img_size: int = 224) -> Tensor:
    """A photograph of scikit-image's wheel, cropped square and resized: `(3, img_size, img_size)` in [0, 1].

    Raises:
        ValueError: if `name` is not one of `PHOTOGRAPHS`.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f"expected one of {', '.join(PHOTOGRAPHS)}, got {name!r}")
    top, left, side = PHOTOGRAPHS[name]
    image = v2.functional.pil_to_tensor(Image.open(photograph_file(name)))  # (3, H, W), uint8
    image = v2.functional.resized_crop(image, top, left, side, side, [img_size, img_size], antialias=True)
    return v2.functional.to_dtype(image, torch.float32, scale=True)


def photograph_cuts(count: int, img_size: int = 32, seed: int = 0) -> Tensor:
    """Random squares of the photographs in turn, a third of a side or more: `(count, 3, S, S)` in [0, 1]."""
    generator, large, squares = torch.Generator().manual_seed(seed), 8 * img_size, []
    sources = [photograph(name, large) for name in PHOTOGRAPHS]
    for i in range(count):
        side = int(torch.randint(large // 3, large + 1, (), generator=generator))
        top, left = (int(torch.randint(large - side + 1, (), generator=generator)) for _ in range(2))
        square = sources[i % len(sources)][None, :, top : top + side, left : left + side]
        squares.append(F.interpolate(square, (img_size, img_size), mode="bicubic", antialias=True)[0])
    return torch.stack(squares).clamp(0, 1)


@dataclass(frozen=True)
class Dataset:
    """Three sets of images that share no image."""

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images | None
    skipped: int = 0  # files that could not be read

    def preprocessing(self, img_size: int) -> Preprocessing:
        """Mean and deviation of each channel over (at most 5,000 of) the training images."""
        sums = torch.zeros(1, dtype=torch.float64)  # (3, C): of ones, values and squares, for each channel
        for pixels, _ in batches(self.train.take(evenly(len(self.train), 5_000)), 100):
            x = pixels.cpu().double().div(255).transpose(0, 1).flatten(1)  # (C, B·S·S)
            sums = sums + torch.stack([x.pow(power).sum(1) for power in range(3)])
        count, mean = sums[0], sums[1] / sums[0]
        std = ((sums[2] - count * mean.square()) / (count - 1)).clamp(min=1e-6).sqrt()
        return Preprocessing(img_size, *(tuple(round(v, 4) for v in t.tolist()) for t in (mean, std)))


def split(labels: Tensor, part: float, seed: int = SPLIT_SEED) -> tuple[Tensor, Tensor]:
    """Numbers of the images that stay and of those held out, the same `part` of every class, at least one.

    Raises:
        ValueError: if a class would have none left.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for k in labels.unique():
        members = (labels == k).nonzero()[:, 0]
        if len(members) < 2:
            raise ValueError(
                f"expected at least two images of every class, to hold one out, got {len(members)} of one "
                "(three where both validation and test are held out)"
            )
        count = max(1, round(part * len(members)))
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def _shapes(img_size: int, train_size: int) -> Dataset:
    """Test and validation are the first pictures; training pictures follow, as many as wanted."""

    def drawn(start: int, count: int) -> MemoryImages:
        index = torch.arange(start, start + count)
        parts = [shapes.draw(i, img_size)[:2] for i in index.split(500)]
        images = torch.cat([v2.functional.to_dtype(images, torch.uint8, scale=True) for images, _ in parts])
        return MemoryImages(images, torch.cat([labels for _, labels in parts]))

    n = SHAPES_HELD_OUT
    return Dataset("shapes", shapes.CLASSES, drawn(2 * n, train_size), drawn(n, n), drawn(0, n))


def _cifar10(root: Path, img_size: int) -> Dataset:
    def part(train: bool) -> MemoryImages:
        try:
            data = CIFAR10(root, train=train, download=True)
        except Exception as error:  # no network, a proxy, a broken archive: there are many kinds
            raise ValueError(
                f"CIFAR-10 could not be had ({error}). Where there is a network, fetch {CIFAR10.url} and "
                f"put it into {root}/; or give a folder of images instead"
            ) from None
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return MemoryImages(images, torch.tensor(data.targets), img_size=img_size)

    images = part(train=True)
    train, val = split(images.labels, HELD_OUT)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return Dataset("cifar10", classes, images.take(train), images.take(val), part(train=False))


def read_folder(
    folder: Path, img_size: int, split_by: str = "content"
) -> tuple[Images, tuple[str, ...], int]:
    """A folder of class folders: its images, its classes, and how many files could not be read.

    The images of a class are in the order of their contents, so that a name decides nothing.

    Raises:
        ValueError: if there are no class folders, or one without images that can be read.
    """
    content = split_by == "content"
    if content:
        paths, labels, classes = read_classes(folder)
    else:  # all as it was when runs were split so
        old = ImageFolder(folder)
        paths, labels, classes = [p for p, _ in old.imgs], torch.tensor(old.targets), tuple(old.classes)
    in_memory = len(paths) * 3 * img_size**2 <= IN_MEMORY
    if not in_memory and not content:
        return FileImages(paths, labels, img_size), classes, 0

    def load(path: str) -> tuple[Tensor | None, str]:
        try:
            return decode(path, img_size) if in_memory else None, file_key(path) if content else ""
        except ValueError as error:
            warnings.warn(f"{error}; skipped", stacklevel=2)
            return None, ""

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(load, paths))
    good = [i for i, (image, key) in enumerate(found) if image is not None or key]
    if content:
        good.sort(key=lambda i: (labels[i].item(), found[i][1]))
    keys = [found[i][1] for i in good] if content else None
    skipped, labels = len(paths) - len(good), labels[good]
    for k, name in enumerate(classes):
        if not (labels == k).any():
            raise ValueError(f"class {name!r} in {folder} has no image that can be read")
    if not in_memory:
        return FileImages([paths[i] for i in good], labels, img_size, keys=keys), classes, skipped
    return MemoryImages(torch.stack([found[i][0] for i in good]), labels, keys), classes, skipped


def _hold_out(images: Images, part: str, split_by: str, keep: int) -> tuple[Images, Images]:
    """What stays, and what is held out for validation ("val") or the test ("test")."""
    if split_by == "position":
        stays, held = split(images.labels, HELD_OUT, SPLIT_SEED + (part == "test"))
    else:
        mask = split_by_content(images.keys(), images.labels, HELD_OUT, part, keep)
        stays, held = (places.nonzero()[:, 0] for places in (~mask, mask))
    return images.take(stays), images.take(held)


def _say_copies(root: Path, images: Images) -> None:
    """Warn of byte-equal copies, and of those whose classes differ."""
    keys, copies = images.keys(), len(images) - len(set(images.keys()))
    torn = len(set(zip(keys, images.labels.tolist(), strict=True))) - len(set(keys))
    if copies:
        also = f"; {torn} of them in a class that its twin is not in" if torn else ""
        warnings.warn(f"{root}: {copies} images are byte-equal copies of others{also}", stacklevel=2)


def _folder(root: Path, img_size: int, split_by: str) -> Dataset:
    name = f"./{existing(root)}" if str(root) in WORDS else str(existing(root))
    content = split_by == "content"
    if content:
        root, parts = find_parts(root)
        if parts and "train" not in parts:
            there = ", ".join(f"{path.name}/" for path in parts.values())
            raise ValueError(f"{root} has {there} and no train/: to train, put class folders there")
    else:
        parts = {part: root / part for part in ("train", "val", "test") if (root / part).is_dir()}
    whole = "train" not in parts  # then the folders are the classes
    train, classes, skipped = read_folder(root if whole else parts["train"], img_size, split_by)
    if len(classes) < 2:
        deeper = "; are the classes in there?" if any((root / classes[0]).glob("*/")) else ""
        raise ValueError(f"expected folders of two classes or more in {root}, got {classes[0]} alone{deeper}")
    sets: dict[str, Images | None] = {"test": None}
    seen = set(train.keys()) if content else set()
    for part in [part for part in ("val", "test") if part in parts and not whole]:
        images, theirs, bad = read_folder(parts[part], img_size, split_by)
        skipped += bad
        if theirs != classes:
            raise ValueError(f"{parts[part]} has classes {', '.join(theirs)}; train: {', '.join(classes)}")
        images, twins = without(images, seen) if content else (images, 0)
        if twins:
            says = f"{parts[part]}: {twins} images are byte-equal to others in training, and left out"
            warnings.warn(says, stacklevel=2)
        if not len(images):
            raise ValueError(f"all images of {parts[part]} are copies of training images")
        seen, sets[part] = seen | set(images.keys() if content else ()), images
    if content:
        _say_copies(root if whole else parts["train"], train)
    if whole:
        train, sets["test"] = _hold_out(train, "test", split_by, keep=2)
    if "val" not in sets:
        train, sets["val"] = _hold_out(train, "val", split_by, keep=1)
    return Dataset(name, classes, train, sets["val"], sets["test"], skipped)


def is_word(name: str) -> bool:
    """Whether a name means a data set of ours. The word comes first; a folder of that name is `./shapes`."""
    if name in WORDS and Path(name).is_dir():
        warnings.warn(f"{name} is taken for the data set; the folder called so is ./{name}", stacklevel=2)
    return name in WORDS


def load_data(
    name: str,
    img_size: int = 32,
    train_size: int | None = None,
    root: str | Path = "data",
    split_by: str = "content",
) -> Dataset:
    """Load a data set as squares of `img_size` pixels.

    Args:
        name: "shapes" (drawn), "cifar10" (downloaded into `root` at first use), or a folder as in
            `vit.data.folders`. Class folders alone lend a tenth to `val` and to `test`, `train/` to `val`.
        train_size: how many training images to use; None means all (20,000 of `shapes`).
        split_by: what holds out images of a folder: "content", or "position" as in runs that do not say it.

    Raises:
        ValueError: if there is no such data set, a class is empty, or classes of two splits differ.
    """
    if is_word(name) and name == "shapes":
        return _shapes(img_size, train_size or 20_000)
    cifar10 = name == "cifar10"
    data = _cifar10(Path(root), img_size) if cifar10 else _folder(Path(name), img_size, split_by)
    if train_size is None or train_size >= len(data.train):
        return data
    kept = split(data.train.labels, train_size / len(data.train))[1]
    return replace(data, train=data.train.take(kept))
