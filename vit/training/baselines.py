"""What methods without a network make of a set of pictures. A model that is no better is not worth it.

The nearest pictures also tell whether mirrored ones are still of their class.

Legend: M test images, S image side, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from vit.data.images import Images, batches, evenly

SIDE = 32  # pixels; pictures are compared at this side at most
MOST = 10_000  # training images to compare with
NEIGHBOURS = 3


def _pixels(images: Images) -> tuple[Tensor, Tensor]:
    """Vectors `(M, 3·S·S)` in [0, 1] and labels `(M,)` of a set."""
    parts = []
    for pixels, labels in batches(images, 256):
        if pixels.shape[-1] > SIDE:
            pixels = v2.functional.resize(pixels, [SIDE, SIDE], antialias=True)
        parts.append((pixels.cpu().flatten(1).float() / 255, labels.cpu()))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def mirrors_mislead(train: Images) -> bool:
    """Whether mirrored pictures look like other classes, as letters and digits do, and photographs do not.

    Of the pictures that are of the class of the nearest other one, most are no longer so when mirrored. At
    most 2,000 are looked at; what may be chance is none.
    """
    x, y = _pixels(train.take(evenly(len(train), 2_000)))
    side = round((x.shape[1] / 3) ** 0.5)
    mirrored = x.unflatten(1, (3, side, side)).flip(-1).flatten(1)
    distances = (torch.cdist(queries, x).fill_diagonal_(torch.inf) for queries in (x, mirrored))
    plain, turned = (int((y[d.argmin(1)] == y).sum()) for d in distances)
    return plain - turned > max(plain / 2, 2 * (plain + turned) ** 0.5)


def simple_scores(train: Images, test: Images) -> dict[str, float]:
    """Accuracy on `test` of naming the commonest class of `train`, and of the nearest pictures in `train`.

    Nearest neighbours are three, by the distance of their pixels, at 32x32 at most and among at most 10,000
    training images; where they disagree, the nearest decides.
    """
    (x, y), (queries, truth) = _pixels(train.take(evenly(len(train), MOST))), _pixels(test)
    classes = int(max(y.max(), truth.max())) + 1
    votes = torch.tensor([1.0 + 0.1 / (i + 1) for i in range(NEIGHBOURS)])  # ties go to the nearest
    answers = []
    for part in queries.split(256):
        nearest = torch.cdist(part, x).topk(min(NEIGHBOURS, len(x)), largest=False).indices  # (M, 3)
        weighed = F.one_hot(y[nearest], classes) * votes[: nearest.shape[1], None]  # (M, 3, K)
        answers.append(weighed.sum(1).argmax(1))
    most = train.labels.bincount(minlength=classes).argmax().cpu()
    return {
        "commonest_class": float((truth == most).double().mean()),
        "nearest_neighbours": float((truth == torch.cat(answers)).double().mean()),
    }
