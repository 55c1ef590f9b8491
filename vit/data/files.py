"""One picture file: which files are pictures, a file decoded to a square of bytes, its name as text, its key.

Legend: S image side.
"""

import base64
import hashlib
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin
from torch import Tensor

try:  # not among what we install: pip install pillow-heif
    import pillow_heif

    pillow_heif.register_heif_opener()
except ImportError:
    pillow_heif = None

KEY = 8  # characters of a key, which stands for the content of a file
HEIF = (".heic", ".heif", ".hif")
NO_DECODER = {"BUFR", "GRIB", "HDF5", "MPEG"}  # Pillow tells what they are, and cannot read them
JPEG_PIXELS = 1 << 29  # phones make 200 million; more is taken for an attack, however small `draft` makes it
TOPS = (255, 4095, 65535)  # the white of 8, 12 and 16 bits, whatever number of bits a file sets aside
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
TURNS = {i: Image.Transpose[name] for i, name in enumerate(_TURNS.split(), 2)}  # by EXIF's Orientation


@cache
def picture_extensions() -> frozenset[str]:
    """The endings of the files that Pillow opens, in lower case, with their dots."""
    known = Image.registered_extensions().items()
    return frozenset({k for k, kind in known if kind in Image.OPEN and kind not in NO_DECODER} | {".mpo"})


def printable(text: object) -> str:
    """A name as text on one line: control characters, line ends and bytes that are no text become escapes."""
    good = {c for c in str(text) if c.isprintable() or unicodedata.category(c) == "Zs"}  # or a wide space
    return "".join(c if c in good else c.encode("unicode_escape").decode() for c in str(text))


def _limit(size: tuple[int, int], most: int) -> None:
    if size[0] * size[1] > most:
        raise ValueError(f"{size[0]}x{size[1]} pixels are more than {most}; it could be a decompression bomb")


@contextmanager
def _opened(path: str | Path, img_size: int = 0) -> Iterator[Image.Image]:
    """Pillow's image of a file. JPEG may skip detail that resizing to `img_size` would drop, before it is
    asked how many pixels there are. With 0 only the header is of interest."""
    with Path(path).open("rb") as file:
        if file.read(3) == b"\xff\xd8\xff":
            file.seek(0)
            image = JpegImagePlugin.jpeg_factory(file, str(path))
            _limit(image.size, JPEG_PIXELS)
            if img_size:
                image.draft("RGB", (2 * img_size, 2 * img_size))
                _limit(image.size, 2 * Image.MAX_IMAGE_PIXELS)
            yield image
            return
    with Image.open(path) as image:
        yield image


def _upright(image: Image.Image) -> Image.Image:
    """The image as the camera was held. Nothing else is read from EXIF, and broken EXIF turns nothing."""
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as many kinds as there are ways to break it
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """Three channels of 8 bits."""
    wide = ";16" in str(image.tile)  # of which Pillow keeps the upper 8 where there are colours
    image = _upright(image)
    if image.mode.startswith("I"):  # whole numbers, which Pillow's own conversion cuts off at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0:
            raise ValueError("negative pixels have no known range")
        top = next((top for top in TOPS if values.max() <= top), values.max())
        return Image.fromarray((values * 255 / top).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if wide:
        extremes = dict(zip(image.getbands(), np.atleast_2d(image.getextrema()), strict=True))
        if 0 < max(high for band, (_, high) in extremes.items() if band != "A") < 16:
            raise ValueError("it has 12 bits or fewer in 16-bit colours, of which 4 would be left: save 8")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def decode(path: str | Path, img_size: int) -> Tensor:
    """Read an image file as a square: `(3, S, S)` uint8. The shorter side is resized to S, the middle kept.

    Greyscale, palette and CMYK become RGB, transparency is laid on white, and a camera's "turn me" flag is
    obeyed. Greys of more than 8 bits become 8: white is the top of 8, 12 or 16 bits, the first that holds all
    pixels, or above these the brightest pixel.

    Raises:
        ValueError: if the file is missing, broken, no image, or of a range that cannot be known; the message
            names it.
    """
    try:
        with _opened(path, img_size) as image:
            square = ImageOps.fit(_rgb(image), (img_size, img_size), Image.Resampling.BICUBIC)
    # Pillow's plug-ins raise SyntaxError and others on malformed files; a bad file must never stop a run.
    except Exception as error:
        reason = str(error).partition("\n")[0] or repr(error)
        if pillow_heif is None and Path(path).suffix.lower() in HEIF:
            reason = "HEIC needs pillow-heif (pip install pillow-heif)"
        raise ValueError(f"cannot read {printable(path)}: {reason}") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def shorter_side(path: str | Path) -> int | None:
    """The shorter side of a picture in pixels, by its header; None if it cannot be read."""
    try:
        with _opened(path) as image:
            return min(image.size)
    except Exception:  # as in `decode`
        return None


def content_key(content: bytes) -> str:
    """`KEY` characters that stand for a content: 48 bits of its SHA-256."""
    return base64.b64encode(hashlib.sha256(content).digest()[:6]).decode()


def file_key(path: str | Path) -> str:
    """`content_key` of a file's bytes; empty if they cannot be read."""
    try:
        return content_key(Path(path).read_bytes())
    except OSError:
        return ""
