"""Random changes to training images, as a function of a seed: `(B, 3, S, S)` bytes -> bytes, and mixing.

Every draw follows from `(seed, step, place in the batch)`, so a run that was interrupted continues with the
same images, and two processes that share a batch change it as one would.

Legend: B batch, S image side, K classes.
"""

import hashlib

import torch
from torch import Tensor
from torchvision.transforms import v2

from vit.data.images import Preprocessing
from vit.training.recipe import Recipe


def hashed(*where: int | str) -> int:
    """A seed of 63 bits from any whole numbers and words.

    Sums such as seed + step would give neighbouring runs the same numbers, one step apart.
    """
    return int.from_bytes(hashlib.blake2b(repr(where).encode(), digest_size=8).digest()) >> 1


def reseed(*where: int | str) -> None:
    """Start torch's global random numbers anew at `hashed(*where)`."""
    torch.manual_seed(hashed(*where))


class Augment:
    """The augmentation of a recipe. All of it is `torchvision.transforms.v2`.

    v2 draws once per call, however many images it is given. One call per image would cost more than training
    does; one per batch would change all of it alike. So `recipe.chunk` images share a draw.
    """

    def __init__(self, recipe: Recipe, preprocessing: Preprocessing, num_classes: int):
        self.recipe, self.num_classes = recipe, num_classes
        self.fill = [round(255 * m) for m in preprocessing.mean]  # what comes in from outside
        mixers = [v2.MixUp(alpha=recipe.mixup, num_classes=num_classes)] if recipe.mixup else []
        mixers += [v2.CutMix(alpha=recipe.cutmix, num_classes=num_classes)] if recipe.cutmix else []
        self._mix = v2.RandomChoice(mixers) if mixers else None

    def _compose(self, size: int) -> v2.Compose:
        r, steps = self.recipe, []
        bilinear = v2.InterpolationMode.BILINEAR
        if r.crop_scale < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(r.crop_scale, 1.0), antialias=True))
        elif r.pad:
            steps.append(v2.RandomCrop(size, padding=max(1, round(r.pad * size)), fill=self.fill))
        if r.flip:
            steps.append(v2.RandomHorizontalFlip())
        if r.rand_ops:
            steps.append(v2.RandAugment(r.rand_ops, r.rand_magnitude, interpolation=bilinear, fill=self.fill))
        if r.erase:
            steps.append(v2.RandomErasing(r.erase, value=self.fill))
        return v2.Compose(steps or [v2.Identity()])

    def images(self, images: Tensor, size: int, step: int, first: int = 0) -> Tensor:
        """Resize to `size` and change at random: `(B, 3, S, S)` uint8 -> `(B, 3, size, size)` uint8.

        Args:
            step: the optimiser step that these images are for.
            first: the place of the first image in its batch; a multiple of `recipe.chunk`, or chunks differ.
        """
        if images.shape[-1] != size:
            images = v2.functional.resize(images, [size, size], antialias=True)
        compose, chunks = self._compose(size), []
        for i, chunk in enumerate(images.split(self.recipe.chunk)):
            reseed(self.recipe.seed, step, "augment", first // self.recipe.chunk + i)
            chunks.append(compose(chunk))
        return torch.cat(chunks)

    def mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """MixUp or CutMix over the batch: `(B, 3, S, S)` float and `(B,)` -> the mixture, targets `(B, K)`.

        Without mixing, both come back as they are. Uses torch's global random numbers.
        """
        if self._mix is None or torch.rand(()) >= self.recipe.mix_prob:
            return images, labels
        return self._mix(images, labels)
