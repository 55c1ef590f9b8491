"""Using a trained model: load it with its preprocessing and its classes, predict, evaluate.

Legend: B batch, S image side, K classes.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit.data.images import Images, Preprocessing, batches, decode
from vit.inference.weights import BEST, explained, read_weights
from vit.model import VisionTransformer

# Models that come with the package, each a run folder: weights, metrics, receipt.
_WEIGHTS = Path(__file__).parent.parent / "weights"
SHIPPED: dict[str, Path] = {path.name: path for path in sorted(_WEIGHTS.iterdir())}


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`; without a name the GPU of this process if there is one, Apple's, or the CPU.

    Raises:
        ValueError: if there is no such device.
    """
    if name is not None:
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # an unknown word; a GPU that is not there
            raise ValueError(f"no device {str(name)!r}: {str(error).splitlines()[0]}") from None
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass(frozen=True)
class Classifier:
    """A model together with what it needs to be used, as a weights file keeps them."""

    model: VisionTransformer
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    info: dict[str, Any]  # where the weights come from: recipe, data, validation accuracy, hardware ...

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images `(B, 3, S, S)`, uint8 or float in [0, 1] -> probabilities `(B, K)` that sum to 1."""
        pixels = self.preprocessing.normalise(images.to(self.device))
        logits = self.model(pixels.to(next(self.model.parameters()).dtype))  # it may have been halved
        return logits.float().softmax(1).cpu()

    def predict(
        self, images: Tensor | str | Path | Sequence[str | Path], top_k: int = 3
    ) -> list[list[tuple[str, float]]]:
        """The `top_k` likeliest classes of each image, with their probabilities, likeliest first.

        Args:
            images: a batch as for `probabilities`, or paths of image files. One path is a list of one.

        Raises:
            ValueError: if a file cannot be read, the tensor does not have the model's size, or `top_k` < 1.
        """
        if top_k < 1:
            raise ValueError(f"expected top_k to be at least 1, got {top_k}")
        answers, size = [], self.preprocessing.img_size
        whole = [images] if isinstance(images, str | Path) else images
        paths = whole if isinstance(whole, Tensor) else list(whole)
        for start in range(0, len(paths), 256):
            some = paths[start : start + 256]
            if not isinstance(some, Tensor):
                some = torch.stack([decode(path, size) for path in some])
            values, indices = self.probabilities(some).topk(min(top_k, len(self.classes)))
            for ks, ps in zip(indices.tolist(), values.tolist(), strict=True):
                answers.append([(self.classes[k], p) for k, p in zip(ks, ps, strict=True)])
        return answers

    def predict_set(self, images: Images, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """Probabilities `(M, K)` and labels `(M,)` of a whole set, in order."""
        results = ((self.probabilities(x), y.cpu()) for x, y in batches(images, batch_size))
        probabilities, labels = zip(*results, strict=True)
        return torch.cat(probabilities), torch.cat(labels)


def find_weights(path: str | Path) -> Path:
    """The weights file that is meant: one of `SHIPPED` by its name, the best of a run folder, or the file.

    As with data sets, the word comes first: a folder called cifar10 is `./cifar10`, or a `Path`.
    """
    if isinstance(path, str) and path in SHIPPED:
        if Path(path).exists():
            said = f"{path} is taken for the model of the package; what is called so here is ./{path}"
            warnings.warn(said, stacklevel=2)
        path = SHIPPED[path]
    path = Path(path)
    return path / BEST if path.is_dir() else path


def load_classifier(path: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """Load a weights file, the best weights of a run folder, or a model of `SHIPPED` by its name.

    Raises:
        ValueError: if there is none, or the file was not written by this package.
    """
    path = find_weights(path)
    model, info = read_weights(path)
    with explained(path):
        about, classes = info["preprocessing"], tuple(info["classes"])
        preprocessing = Preprocessing(about["img_size"], tuple(about["mean"]), tuple(about["std"]))
    return Classifier(model.to(device), preprocessing, classes, info)


def summarise(probabilities: Tensor, labels: Tensor, bins: int = 15) -> dict[str, Any]:
    """What can be said of predictions `(M, K)` for labels `(M,)`.

    Returns:
        `accuracy`, `correct` and `count`; `top5`, the part of images with the label among the likeliest five;
        `loss` in nats per image; `confusion` `(K, K)`, rows the truth, columns the answer; `ece`, the
        expected calibration error (Guo et al., 2017): how far confidence is from accuracy, on average over
        `bins` equal bins of confidence; `confidence`, its mean; and `overconfidence`, that mean less the
        accuracy: above 0 the model is too sure of itself, below 0 not sure enough.

    Raises:
        ValueError: if there are no predictions.
    """
    M, K = probabilities.shape
    if not M:
        raise ValueError("expected predictions of at least one image, got none")
    confidence, answer = probabilities.max(1)
    right = answer == labels
    confusion = torch.bincount(labels * K + answer, minlength=K * K).reshape(K, K)
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add_(0, place, right.float() - confidence)  # each bin's count · difference
    likeliest = probabilities.topk(min(5, K)).indices
    chosen = probabilities.gather(1, labels[:, None]).clamp(min=1e-12)
    return {
        "accuracy": int(right.sum()) / M,
        "correct": int(right.sum()),
        "count": M,
        "top5": int((likeliest == labels[:, None]).sum()) / M,
        "loss": float(-chosen.log().mean()),
        "ece": float(gap.abs().sum() / M),
        "confidence": float(confidence.mean()),
        "overconfidence": float(-gap.sum() / M),
        "confusion": confusion,
    }
