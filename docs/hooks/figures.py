"""What a page needs to know of a figure: a lighter file, and where its pictures are.

In dark mode the site turns a figure's ground and ink around (site.css: `.turn`), in the browser and from the
same file. A photograph or a heat map in it must stay as it is: its colours mean something. So we look for
them here. matplotlib lays images out as rectangles without gaps, and lines and letters are thin; what remains
when everything thinner than a few pixels is gone is a picture, a bar or a box. Where it is not clear which,
the figure is not turned: it stays on a light card.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

THIN = 5  # CSS pixels: letters and lines are thinner, the scale of a heat map is not
WHITE = 250
MOST = 60  # pictures in a figure whose outlines are worth their bytes


def files(png, folder):
    """The figure as lossless WebP if that is smaller, its suffix, and the pictures in it; made once each."""
    name = Path(folder, hashlib.sha256(png + Path(__file__).read_bytes()).hexdigest()[:32])
    try:
        about = json.loads(name.with_suffix(".json").read_text(encoding="utf-8"))
        return name.with_suffix(about["suffix"]).read_bytes(), about["suffix"], about["pictures"]
    except (OSError, ValueError):
        image = Image.open(io.BytesIO(png))
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if image.mode == "RGBA" and image.getextrema()[3][0] == 255:
            image = image.convert("RGB")
        packed = io.BytesIO()
        image.save(packed, "WEBP", lossless=True, quality=30, method=3)
        content, suffix = min((packed.getvalue(), ".webp"), (png, ".png"), key=lambda pair: len(pair[0]))
        found = pictures(np.asarray(image.convert("RGB")))
        name.parent.mkdir(parents=True, exist_ok=True)
        name.with_suffix(suffix).write_bytes(content)
        about = json.dumps({"suffix": suffix, "pictures": found})
        name.with_suffix(".json").write_text(about, encoding="utf-8")
        return content, suffix, found


def pictures(pixels):
    """Where pictures are in an RGB array: (left, top, right, bottom) in percent of it; None if unclear."""
    pixels = pixels[::2, ::2]  # drawn with two dots a CSS pixel
    ink = pixels.min(2) < WHITE
    solid = ndimage.uniform_filter(ink.astype(np.float32), THIN) > 0.999
    solid = ndimage.binary_dilation(solid, np.ones((THIN, THIN))) & ink
    labels, _ = ndimage.label(solid)
    kept, plain, known = [], [], set()
    for rows, columns in ndimage.find_objects(labels):
        top, bottom, left, right = trimmed(ink, rows.start, rows.stop, columns.start, columns.stop)
        rows, columns = slice(top, bottom), slice(left, right)
        short, long = sorted((bottom - top, right - left))
        if short < THIN or long < 2 * THIN:
            continue
        inked = ink[rows, columns]
        codes = (pixels[rows, columns] >> 4).astype(int) @ (256, 16, 1)
        counts = np.bincount(codes[inked])
        mostly = np.argsort(counts)[-2:]
        colours = int((counts > max(2, 0.004 * codes.size)).sum())
        closed = inked.mean() > 0.97 and all(
            edge.mean() > 0.8 for edge in (inked[0], inked[-1], inked[:, 0], inked[:, -1])
        )
        if closed and band(pixels[rows, columns]):
            continue
        if closed and (colours >= 4 if short >= 12 else colours >= 8 and long >= 40):
            kept.append((left, top, right, bottom))
            known |= set(np.flatnonzero(counts > 0.02 * codes.size))
        elif closed:
            plain.append((left, top, right, bottom, int(mostly[-1])))
        elif short >= 40 and colours >= 4 and (counts[mostly].sum() < 0.9 * inked.sum() or grey(mostly[-1])):
            return None  # a picture with white parts at its edge, perhaps
        elif short < 12 and long >= 40 and colours >= 8 and inked.mean() > 0.8:
            return None  # a scale, perhaps
    alike = lambda a, b, *sides: all(abs(a[i] - a[j] - b[i] + b[j]) < 3 for i, j in sides)
    for *box, colour in plain:  # a map of one colour beside maps of many; the legend of what is kept
        if colour in known or any(alike(box, other, (2, 0), (3, 1)) for other in kept):
            kept.append(tuple(box))
    for a in kept:  # level with its neighbour and as wide, but not as high: part of it is white
        for b in kept:
            across = abs(a[1] - b[1]) < 3 and alike(a, b, (2, 0)) and not alike(a, b, (3, 1))
            down = abs(a[0] - b[0]) < 3 and alike(a, b, (3, 1)) and not alike(a, b, (2, 0))
            if (across or down) and min(a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]) >= 40:
                return None
    if len(kept) > MOST:
        return None
    sides = (ink.shape[1], ink.shape[0]) * 2
    return [
        [round(float(100 * x / side), 2) for x, side in zip(box, sides, strict=True)] for box in sorted(kept)
    ]


def band(pixels):
    """Whether a box is one pale colour with dots and lines on it: a range behind a plot, which turns."""
    values, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    most = values[counts.argmax()].astype(int)
    return counts.max() > 0.75 * counts.sum() and most.min() > 200 and np.ptp(most) < 24


def trimmed(ink, top, bottom, left, right):
    """A box without the stubs of an axis' ticks at its sides."""
    for _ in range(THIN):
        if bottom - top < THIN or right - left < THIN:
            break
        box = ink[top:bottom, left:right]
        bare = [side.mean() < 0.6 for side in (box[0], box[-1], box[:, 0], box[:, -1])]
        top, bottom, left, right = top + bare[0], bottom - bare[1], left + bare[2], right - bare[3]
    return top, bottom, left, right


def grey(code):
    """Whether a colour, as four bits for each of red, green and blue, has no hue."""
    channels = (code >> 8, code >> 4 & 15, code & 15)
    return max(channels) - min(channels) <= 2


def style(number, found):
    """The rule that turns all of a figure but its pictures: an outline with holes."""
    holes = "".join(
        f",0 0,{left}% {top}%,{right}% {top}%,{right}% {bottom}%,{left}% {bottom}%,{left}% {top}%"
        for left, top, right, bottom in found
    )
    return f"#fig-{number} a::before{{clip-path:polygon(evenodd,0 0,100% 0,100% 100%,0 100%,0 0{holes})}}\n"
