"""Exercises of lesson 7: using the model."""

import numpy as np
import torch
from PIL import Image

from vit.course.exercise import Lesson
from vit.patches import patchify

exercise = Lesson(7)


def classifiers():
    W = torch.randn(3 * 8 * 8, 4)
    for B in (1, 5):
        yield lambda images: (images.flatten(1) @ W / 5).softmax(1), torch.rand(B, 3, 8, 8)


@exercise(1, classifiers, notice="It helps only where a mirror image is of the same class.")
def two_looks(probabilities, images):
    """The mean of probabilities(images) and of those of their mirror images, left and right exchanged."""
    return (probabilities(images) + probabilities(images.flip(3))) / 2


two_looks.mistake(
    "You stood them on their heads. Left and right is the last axis.",
    lambda probabilities, images: (probabilities(images) + probabilities(images.flip(2))) / 2,
)
two_looks.mistake(
    "You added the two. A row of probabilities sums to 1.",
    lambda probabilities, images: probabilities(images) + probabilities(images.flip(3)),
)
two_looks.mistake(
    "You averaged the pictures. Their answers are to be averaged.",
    lambda probabilities, images: probabilities((images + images.flip(3)) / 2),
)
two_looks.mistake(
    "Those are the mirror images' answers alone.",
    lambda probabilities, images: probabilities(images.flip(3)),
)


def answers():
    yield torch.tensor([0.5, 0.9, 0.7]), torch.tensor([False, True, False])
    confidence = torch.rand(200)
    yield confidence, torch.rand(200) < confidence


def running(right):
    return right.float().cumsum(0) / torch.arange(1, len(right) + 1)


@exercise(2, answers, notice="It needs only the order of the confidences, not their size.")
def accuracy_at(confidence, right):
    """Accuracy on the 1, 2, …, M pictures of highest confidence (M,), as (M,); right (M,) says which
    are right."""
    return running(right[confidence.argsort(descending=True)])


accuracy_at.mistake(
    "You began with the least confident.", lambda confidence, right: running(right[confidence.argsort()])
)
accuracy_at.mistake("You did not sort by confidence.", lambda confidence, right: running(right))
accuracy_at.mistake(
    "You divided by all pictures. Of the first m, the accuracy is their number of right ones over m.",
    lambda confidence, right: right[confidence.argsort(descending=True)].float().cumsum(0) / len(right),
)


def photographs():
    yield torch.arange(48.0).reshape(3, 4, 4), 2
    yield torch.rand(3, 12, 20), 4


@exercise(3, photographs, notice="No shape is in any of them, and the model is often sure.")
def pieces(photo, side):
    """Cut a picture (3, H, W) into pieces (n, 3, side, side), row by row."""
    return patchify(photo[None], side)[0].unflatten(1, (3, side, side))


pieces.mistake(
    "Your pieces are flat. The model wants pictures, (n, 3, side, side).",
    lambda photo, side: patchify(photo[None], side)[0],
)
pieces.mistake(
    "A piece of yours mixes colours and places: the axes have to be permuted before the last reshape.",
    lambda photo, side: photo.reshape(-1, 3, side, side),
)
pieces.mistake(
    "You went down the columns of pieces.",
    lambda photo, side: pieces.right(photo.transpose(1, 2), side).transpose(2, 3),
)


def interval(correct, n, z2=3.8416, spread=0.25):
    a = correct / n
    centre, half = a + z2 / (2 * n), (z2 * (a * (1 - a) / n + spread * z2 / n**2)) ** 0.5
    return (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)


def wald(correct, n):
    half = 1.96 * (correct / n * (1 - correct / n) / n) ** 0.5
    return correct / n - half, correct / n + half


@exercise(
    4,
    lambda: [(20, 20), (50, 100), (1, 10), (870, 1000)],
    notice="It stays between 0 and 1, and is no point even for 20 of 20.",
)
def wilson(correct, n):
    """Wilson's interval (low, high) for `correct` of n right, with z = 1.96."""
    return interval(correct, n)


wilson.mistake("That is the plain interval a ± z√(a(1 - a)/n): for 20 of 20 it is a point.", wald)
wilson.mistake(
    "The term z²/4n² under the root is missing.", lambda correct, n: interval(correct, n, spread=0)
)
wilson.mistake("You took z where z² stands.", lambda correct, n: interval(correct, n, z2=1.96))
wilson.mistake("You exchanged the two ends.", lambda correct, n: interval(correct, n)[::-1])


def files():
    for mode in ("RGB", "L", "RGBA"):
        shape = (8, 12) if mode == "L" else (8, 12, len(mode))
        yield (Image.fromarray(torch.randint(256, shape).byte().numpy()),)


def floats(picture):
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


@exercise(5, files, notice="With a session of onnxruntime and a softmax, that is all a program needs.")
def to_input(picture):
    """A PIL image as the exported model wants it: a float32 array (1, 3, H, W) between 0 and 1, in RGB."""
    return floats(picture).transpose(2, 0, 1)[None]


to_input.mistake(
    "The colours are the last axis still, as Pillow has them.", lambda picture: floats(picture)[None]
)
to_input.mistake("Your pixels go up to 255.", lambda picture: 255 * to_input.right(picture))
to_input.mistake("The batch is missing.", lambda picture: floats(picture).transpose(2, 0, 1))
to_input.mistake(
    "You reshaped where axes have to be transposed: the shape fits, the picture does not.",
    lambda picture: floats(picture).reshape(1, 3, *floats(picture).shape[:2]),
)
