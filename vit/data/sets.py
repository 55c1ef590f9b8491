"""Images to learn from: `shapes`, CIFAR-10, any folder of images; and photographs for the lessons.

Validation images come out of the training images. Test images are kept apart: nothing in this package looks
at them before a run is finished.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2

from vit.data import shapes
from vit.data.images import FileImages, Images, MemoryImages, Preprocessing, decode

# What each photograph is, and the square of it that we show: (top, left, side) in pixels.
PHOTOGRAPHS: dict[str, tuple[int, int, int]] = {
    "chelsea": (0, 75, 300),  # a cat, looking at the camera
    "astronaut": (0, 80, 432),  # Eileen Collins, with a flag and a model of the Shuttle
    "coffee": (0, 130, 400),  # a cup, a saucer and a spoon on wood
    "rocket": (0, 130, 427),  # a Falcon 9 at night
}
IN_MEMORY = 2 << 30  # bytes; a larger set is decoded on the fly
HELD_OUT = 0.1  # the part of every class that becomes validation (or test) when a folder has none
SHAPES_HELD_OUT = 2_000  # pictures of `shapes` for validation, and as many for the test
SPLIT_SEED = 0  # not the training seed: runs with other seeds must not validate on others' training images


def photograph(name: str = "chelsea", img_size: int = 224) -> Tensor:
    """One of scikit-image's photographs, cropped square and resized: `(3, img_size, img_size)` in [0, 1].

    They come in scikit-image's wheel, so nothing is downloaded.

    Raises:
        ValueError: if `name` is not one of `PHOTOGRAPHS`.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f"expected one of {', '.join(PHOTOGRAPHS)}, got {name!r}")
    top, left, side = PHOTOGRAPHS[name]
    image = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)  # (3, H, W), uint8
    image = image[:, top : top + side, left : left + side]
    resize = v2.Resize((img_size, img_size), antialias=True)
    return v2.functional.to_dtype(resize(image), torch.float32, scale=True)


def photograph_cuts(count: int, img_size: int = 32, seed: int = 0) -> Tensor:
    """Random squares of the photographs in turn: `(count, 3, img_size, img_size)` in [0, 1].

    Their sides are from a third of the photograph's to all of it.
    """
    generator = torch.Generator().manual_seed(seed)
    large, squares = 8 * img_size, []
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
        index = torch.linspace(0, len(self.train) - 1, min(len(self.train), 5_000)).long()
        pixels = self.train.batch(index)[0].double().div(255).transpose(0, 1).flatten(1)  # (3, M·S·S)
        mean, std = pixels.mean(1), pixels.std(1).clamp(min=1e-3)
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


def _take(images: Images, index: Tensor) -> Images:
    if isinstance(images, MemoryImages):
        return MemoryImages(images.images[index], images.labels[index])
    return FileImages([images.paths[i] for i in index.tolist()], images.labels[index], images.img_size)


def _shapes(img_size: int, train_size: int) -> Dataset:
    """Test and validation are the first pictures; training pictures follow, as many as wanted."""

    def drawn(start: int, count: int) -> MemoryImages:
        index = torch.arange(start, start + count)
        parts = [shapes.draw(i, img_size)[:2] for i in index.split(500)]
        images = torch.cat([v2.functional.to_dtype(images, torch.uint8, scale=True) for images, _ in parts])
        return MemoryImages(images, torch.cat([labels for _, labels in parts]))

    n = SHAPES_HELD_OUT
    return Dataset("shapes", shapes.CLASSES, drawn(2 * n, train_size), drawn(n, n), drawn(0, n))


def _cifar10(root: Path) -> Dataset:
    def part(train: bool) -> MemoryImages:
        try:
            data = CIFAR10(root, train=train, download=True)
        except Exception as error:  # no network, a proxy, a broken archive: there are many kinds
            raise ValueError(
                f"CIFAR-10 could not be had ({error}). Where there is a network, fetch {CIFAR10.url} and "
                f"put it into {root}/; or give a folder of images instead"
            ) from None
        return MemoryImages(
            torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets)
        )

    images = part(train=True)
    train, val = split(images.labels, HELD_OUT)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return Dataset("cifar10", classes, _take(images, train), _take(images, val), part(train=False))


def _files(folder: Path, img_size: int) -> tuple[Images, tuple[str, ...], int]:
    """One image folder: its images, its classes, and how many files could not be read."""
    try:
        found = ImageFolder(folder)
    except FileNotFoundError as error:  # no class folders, or one without images
        raise ValueError(f"expected {folder}/<class>/<image files>: {str(error).splitlines()[0]}") from None
    paths, labels = [p for p, _ in found.samples], torch.tensor([k for _, k in found.samples])
    if len(paths) * 3 * img_size**2 > IN_MEMORY:
        return FileImages(paths, labels, img_size), tuple(found.classes), 0

    def load(path: str) -> Tensor | None:
        try:
            return decode(path, img_size)
        except ValueError as error:
            warnings.warn(f"{error}; skipped", stacklevel=2)
            return None

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(load, paths))
    good = torch.tensor([image is not None for image in images])
    labels = labels[good]
    for k, name in enumerate(found.classes):
        if not (labels == k).any():
            raise ValueError(f"class {name!r} in {folder} has no image that can be read")
    tensor = torch.stack([image for image in images if image is not None])
    return MemoryImages(tensor, labels), tuple(found.classes), int((~good).sum())


def _folder(root: Path, img_size: int) -> Dataset:
    if not root.is_dir():
        raise ValueError(f"expected 'shapes', 'cifar10' or a folder of images, got {str(root)!r}")
    parts = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    whole = "train" not in parts  # then the folders are the classes
    train, classes, skipped = _files(root if whole else parts["train"], img_size)
    if len(classes) < 2:
        raise ValueError(f"expected folders of two classes or more in {root}, got {classes[0]} alone")
    sets: dict[str, Images | None] = {"test": None}
    for name in () if whole else ("val", "test"):
        if name in parts:
            sets[name], theirs, bad = _files(parts[name], img_size)
            skipped += bad
            if theirs != classes:
                raise ValueError(
                    f"{parts[name]} has classes {', '.join(theirs)}; train has {', '.join(classes)}"
                )
    if whole:
        rest, test = split(train.labels, HELD_OUT, SPLIT_SEED + 1)
        train, sets["test"] = _take(train, rest), _take(train, test)
    if "val" not in sets:
        rest, val = split(train.labels, HELD_OUT)
        train, sets["val"] = _take(train, rest), _take(train, val)
    return Dataset(str(root), classes, train, sets["val"], sets["test"], skipped)


def load_data(
    name: str, img_size: int = 32, train_size: int | None = None, root: str | Path = "data"
) -> Dataset:
    """Load a data set as squares of `img_size` pixels.

    Args:
        name: "shapes" (drawn), "cifar10" (downloaded into `root` at first use), or a folder: with `train/`,
            and `val/` and `test/` where they exist, each holding one folder per class; or with the class
            folders themselves. What is missing is split off the training images, with a fixed seed.
        train_size: how many training images to use; None means all (20,000 of `shapes`).

    Raises:
        ValueError: if there is no such data set, a class is empty, or classes of two splits differ.
    """
    if name == "shapes":
        return _shapes(img_size, train_size or 20_000)
    data = _cifar10(Path(root)) if name == "cifar10" else _folder(Path(name), img_size)
    if name == "cifar10" and img_size != 32:
        raise ValueError(f"CIFAR-10 has images of 32x32 pixels, got img_size={img_size}")
    if train_size is None or train_size >= len(data.train):
        return data
    kept = split(data.train.labels, train_size / len(data.train))[1]
    return Dataset(data.name, data.classes, _take(data.train, kept), data.val, data.test, data.skipped)
