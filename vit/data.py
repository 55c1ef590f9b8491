"""Photographs for the lessons, from scikit-image's wheel: nothing is downloaded."""

import skimage.data
import torch
from torch import Tensor
from torchvision.transforms import v2

# What each photograph is, and the square of it that we show: (top, left, side) in pixels.
PHOTOGRAPHS: dict[str, tuple[int, int, int]] = {
    "chelsea": (0, 75, 300),  # a cat, looking at the camera
    "astronaut": (0, 80, 432),  # Eileen Collins, with a flag and a model of the Shuttle
    "coffee": (0, 130, 400),  # a cup, a saucer and a spoon on wood
    "rocket": (0, 130, 427),  # a Falcon 9 at night
}


def photograph(name: str = "chelsea", img_size: int = 224) -> Tensor:
    """One of scikit-image's photographs, cropped square and resized: `(3, img_size, img_size)` in [0, 1].

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
