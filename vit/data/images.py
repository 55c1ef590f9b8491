"""Sets of square images as bytes, `(3, S, S)` uint8, in memory or on disk, and how a model sees them.

Legend: B batch, S image side, M images in a set.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from vit.data.files import content_key, decode, file_key

BICUBIC = v2.InterpolationMode.BICUBIC  # as `decode` resizes


@dataclass(frozen=True)
class Preprocessing:
    """What happens to bytes before a model sees them. Saved with every model of ours."""

    img_size: int  # S, pixels
    mean: tuple[float, ...]  # of each channel of the training images, on the scale where 255 is 1
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` uint8, or float in [0, 1], -> float32 with mean 0 and deviation 1 per channel."""
        images = v2.functional.to_dtype(images, torch.float32, scale=True)
        return v2.functional.normalize(images, self.mean, self.std)


class MemoryImages:
    """A set decoded once: images `(M, 3, S, S)` uint8 and labels `(M,)`; `keys` stand for files' contents.

    With `img_size` they are given out at that side, and kept as they are: all enlarged could be too many.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, keys: Sequence[str] | None = None, img_size: int | None = None
    ):
        self.images, self.labels, self._keys, self.img_size = images, labels, keys, img_size

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(B, 3, S, S)` uint8 and labels `(B,)` with these numbers."""
        index = index.to(self.images.device)
        images, side = self.images[index], self.img_size
        if side not in (None, images.shape[-1]):
            images = v2.functional.resize(images, [side, side], BICUBIC, antialias=True)
        return images, self.labels[index]

    readable = batch

    def take(self, index: Tensor) -> "MemoryImages":
        """The images with these numbers as a set."""
        keys = None if self._keys is None else [self._keys[i] for i in index.tolist()]
        return MemoryImages(self.images[index], self.labels[index], keys, self.img_size)

    def to(self, device: torch.device) -> "MemoryImages":
        """The same set in the memory of `device`."""
        return MemoryImages(self.images.to(device), self.labels.to(device), self._keys, self.img_size)

    def keys(self) -> list[str]:
        """A key for the content of each image: of its file, or of its pixels where there is none."""
        if self._keys is None:
            self._keys = [content_key(image.tobytes()) for image in self.images.cpu().numpy()]
        return list(self._keys)

    def fingerprint(self) -> str:
        """A hash of every pixel and label."""
        content = [tensor.cpu().numpy().tobytes() for tensor in (self.images, self.labels)]
        return hashlib.sha256(b"".join(content)).hexdigest()


class FileImages:
    """A set too large for memory: files decoded when they are asked for, by threads.

    A file that cannot be read is named in a warning. In training the next readable one takes its place;
    where images are counted, it is left out.
    """

    def __init__(
        self, paths: Sequence[str], labels: Tensor, img_size: int, keys: Sequence[str] | None = None
    ):
        self.paths, self.labels, self.img_size, self._keys = list(paths), labels, img_size, keys
        self._named = keys is None
        self.skipped: set[str] = set()
        self._pool = ThreadPoolExecutor(8)  # Pillow lets go of Python's lock while it decodes

    def __len__(self) -> int:
        return len(self.labels)

    def _decode(self, i: int) -> Tensor | None:
        try:
            return decode(self.paths[i], self.img_size)
        except ValueError as error:
            if self.paths[i] not in self.skipped:
                self.skipped.add(self.paths[i])
                warnings.warn(f"{error}; skipped", stacklevel=2)
            return None

    def _load(self, i: int) -> tuple[Tensor, int]:
        for j in (k % len(self) for k in range(i, i + len(self))):
            if (image := self._decode(j)) is not None:
                return image, j
        raise ValueError("none of the images can be read")

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(B, 3, S, S)` uint8 and labels `(B,)` with these numbers, or the next readable ones."""
        images, numbers = zip(*self._pool.map(self._load, index.tolist()), strict=True)
        return torch.stack(images), self.labels[list(numbers)]

    def readable(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """As `batch`, but without those that cannot be read: there can be fewer, or none."""
        found = list(self._pool.map(self._decode, index.tolist()))
        good = [image is not None for image in found]
        S = self.img_size
        images = [torch.empty(0, 3, S, S, dtype=torch.uint8), *(x[None] for x in found if x is not None)]
        return torch.cat(images), self.labels[index[torch.tensor(good)]]

    def take(self, index: Tensor) -> "FileImages":
        """The images with these numbers as a set."""
        numbers = index.tolist()
        keys = None if self._keys is None else [self._keys[i] for i in numbers]
        return FileImages([self.paths[i] for i in numbers], self.labels[index], self.img_size, keys=keys)

    def to(self, device: torch.device) -> "FileImages":
        """Itself: the images stay on disk."""
        return self

    def keys(self) -> list[str]:
        """A key for the content of each file."""
        if self._keys is None:
            self._keys = list(self._pool.map(file_key, self.paths))
        return list(self._keys)

    def fingerprint(self) -> str:
        """A hash of every file's content and label; without `keys`, as runs of before had it, of every name,
        size and label."""
        rows = [
            f"{Path(p).name}:{Path(p).stat().st_size}:{k}" if self._named else f"{self._keys[i]}:{k}"
            for i, (p, k) in enumerate(zip(self.paths, self.labels, strict=True))
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


Images = MemoryImages | FileImages


def evenly(count: int, most: int) -> Tensor:
    """Numbers of at most so many of `count` images, evenly spread over them."""
    return torch.linspace(0, count - 1, min(count, most)).long()


def without(images: Images, seen: set[str]) -> tuple[Images, int]:
    """The images whose content is not among the keys `seen`, and how many were left out."""
    fresh = torch.tensor([i for i, key in enumerate(images.keys()) if key not in seen], dtype=torch.long)
    left_out = len(images) - len(fresh)
    return (images.take(fresh) if left_out else images), left_out


def batches(
    images: Images, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, in batches; of several processes, each gets every `world`-th batch.

    Raises:
        ValueError: if there are images and none can be read.
    """
    count = 0
    for index in torch.arange(len(images)).split(batch_size)[rank::world]:
        pixels, labels = images.readable(index)
        count += len(labels)
        if len(labels):
            yield pixels, labels
    if not count and world == 1:
        raise ValueError("there are no images, or none that can be read")
