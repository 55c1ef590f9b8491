"""Sets of images as bytes: one file decoded, a set in memory, a set on disk.

An image here is a square of bytes, `(3, S, S)` uint8; `Preprocessing` turns bytes into what a model sees, and
is saved with the model.

Legend: B batch, S image side, M images in a set.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2


def decode(path: str | Path, img_size: int) -> Tensor:
    """Read an image file as a square: `(3, S, S)` uint8. The shorter side is resized to S, the middle kept.

    Greyscale, palette and CMYK become RGB, transparency is laid on white, 16 bits become 8, and a camera's
    "turn me" flag is obeyed.

    Raises:
        ValueError: if the file is missing, broken, or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * img_size, 2 * img_size))  # lets JPEG skip detail that resizing would drop
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # Pillow's own conversion of 16 bits cuts off at 255
                image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
            elif image.mode == "F":
                raise ValueError("floating-point pixels have no known range")
            elif image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            square = ImageOps.fit(image.convert("RGB"), (img_size, img_size), Image.Resampling.BICUBIC)
    # Pillow's plug-ins raise SyntaxError and others on malformed files; a bad file must never stop a run.
    except Exception as error:
        reason = str(error).partition("\n")[0] or repr(error)
        raise ValueError(f"cannot read {path}: {reason}") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Preprocessing:
    """What happens to bytes before a model sees them. Saved with every model of ours."""

    img_size: int  # S, pixels
    mean: tuple[float, ...]  # of each channel of the training images, on the scale where 255 is 1
    std: tuple[float, ...]

    def normalise(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` uint8, or float in [0, 1], -> float32 with mean 0 and deviation 1 per channel."""
        images = v2.functional.to_dtype(images, torch.float32, scale=True)
        mean, std = (images.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (images - mean) / std


class MemoryImages:
    """A set decoded once: images `(M, 3, S, S)` uint8 and labels `(M,)`."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(B, 3, S, S)` uint8 and labels `(B,)` with these numbers."""
        index = index.to(self.images.device)
        return self.images[index], self.labels[index]

    def to(self, device: torch.device) -> "MemoryImages":
        """The same set in the memory of `device`."""
        return MemoryImages(self.images.to(device), self.labels.to(device))

    def fingerprint(self) -> str:
        """A hash of every pixel and label."""
        return hashlib.sha256(
            self.images.cpu().numpy().tobytes() + self.labels.cpu().numpy().tobytes()
        ).hexdigest()


class FileImages:
    """A set too large for memory: files decoded when they are asked for, by threads.

    A file that cannot be read is named in a warning, and the next readable one takes its place.
    """

    def __init__(self, paths: Sequence[str], labels: Tensor, img_size: int, threads: int = 8):
        self.paths, self.labels, self.img_size = list(paths), labels, img_size
        self.skipped: set[str] = set()
        self._pool = ThreadPoolExecutor(threads)  # Pillow lets go of Python's lock while it decodes

    def __len__(self) -> int:
        return len(self.labels)

    def _load(self, i: int) -> tuple[Tensor, int]:
        for j in range(len(self)):
            path = self.paths[(i + j) % len(self)]
            try:
                return decode(path, self.img_size), (i + j) % len(self)
            except ValueError as error:
                if path not in self.skipped:
                    self.skipped.add(path)
                    warnings.warn(f"{error}; skipped", stacklevel=2)
        raise ValueError("none of the images can be read")

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(B, 3, S, S)` uint8 and labels `(B,)` with these numbers."""
        images, numbers = zip(*self._pool.map(self._load, index.tolist()), strict=True)
        return torch.stack(images), self.labels[list(numbers)]

    def to(self, device: torch.device) -> "FileImages":
        """Itself: the images stay on disk."""
        return self

    def fingerprint(self) -> str:
        """A hash of every file's name, size and label."""
        rows = [
            f"{Path(p).name}:{Path(p).stat().st_size}:{k}"
            for p, k in zip(self.paths, self.labels, strict=True)
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


Images = MemoryImages | FileImages


def batches(
    images: Images, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, in batches; of several processes, each gets every `world`-th batch."""
    for index in torch.arange(len(images)).split(batch_size)[rank::world]:
        yield images.batch(index)
