"""Going on from a trained model: its weights, positions at another size, a new head set by a linear probe.

Legend: B batch, M images, D width, K classes, S image side.
"""

import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.config import ViTConfig
from vit.data.images import Images, Preprocessing, batches, evenly, without
from vit.data.sets import Dataset
from vit.inference.classifier import SHIPPED, Classifier, load_classifier
from vit.inference.measure import hashes
from vit.inference.weights import renamed
from vit.model import VisionTransformer
from vit.pretrained import load_pretrained
from vit.training.recipe import Recipe

PROBED = 10_000  # training images that a probe looks at
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the squared weights of its standardised features


@dataclass(frozen=True)
class Source:
    """What a run began with. Its checkpoints keep this, so that going on needs the source no more."""

    config: dict[str, Any]  # of the model that is trained
    preprocessing: Preprocessing  # what the source was trained on, which its filters expect
    about: dict[str, Any]  # where the weights come from
    train_hashes: str  # keys of the images that the source was trained on, as far as it says

    @classmethod
    def kept(cls, state: dict[str, Any]) -> "Source":
        """From what `asdict` made of it."""
        return cls(**{**state, "preprocessing": Preprocessing(**state["preprocessing"])})

    def model(self) -> VisionTransformer:
        """The model with random weights."""
        return VisionTransformer(ViTConfig(**self.config))


def load_source(name: str) -> Classifier:
    """A model to go on from: one that comes with the package, a run folder, a weights file, or a name that
    `load_pretrained` knows.

    Raises:
        ValueError: if it is none of these, or no Vision Transformer.
    """
    if name in SHIPPED or Path(name).exists():
        source = load_classifier(name)
    elif name.endswith((".safetensors", ".pt", ".pth")) or name.startswith((".", "/")):
        raise ValueError(f"there is no run folder or weights file {name}")
    else:
        source = load_pretrained(name)
    if not isinstance(source.model, VisionTransformer):
        kind = type(source.model).__name__
        raise ValueError(f"expected a Vision Transformer to go on from, {name} is a {kind}")
    return source


def adapted(source: Classifier, name: str, classes: int, recipe: Recipe) -> tuple[VisionTransformer, Source]:
    """The source's model for `recipe.img_size` pixels and so many classes; its head is not trained yet.

    Raises:
        ValueError: if `recipe.model_options` change the shape of its weights.
    """
    options = renamed(recipe.model_options)
    try:
        model = VisionTransformer(replace(source.model.config, **options))
        model.load_state_dict(source.model.state_dict())
    except (TypeError, RuntimeError):
        raise ValueError(f"the weights of {name} do not fit with model_options {options}") from None
    model.set_input_size(recipe.img_size)
    model.reset_classifier(classes)
    look = replace(source.preprocessing, img_size=recipe.img_size)
    keys = ("data", "val_accuracy", "test_accuracy", "url", "sha256", "license")
    about = {"name": name} | {key: source.info[key] for key in keys if key in source.info}
    return model, Source(asdict(model.config), look, about, source.info.get("train_hashes", ""))


def unseen(data: Dataset, start: Source) -> Dataset:
    """The data without test images that the source was trained on, as far as it says."""
    seen = hashes({"train_hashes": start.train_hashes}, "train")
    if data.test is None or not seen:
        return data
    test, left_out = without(data.test, seen)
    if left_out:
        who = start.about["name"]
        warnings.warn(f"{left_out} test images are left out: {who} was trained on them", stacklevel=2)
    return replace(data, test=test if len(test) else None)


@torch.no_grad()  # and not inference mode: what is solved for the head needs its gradient
def features(
    model: VisionTransformer, images: Images, look: Preprocessing, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the head would read of each image, `(M, D)`, and labels `(M,)`."""
    was_training, found = model.training, []
    model.eval()
    for pixels, labels in batches(images, 64):
        tokens = model.forward_features(look.normalise(pixels.to(device)))  # (B, T, D)
        found.append((model.forward_head(tokens, pre_logits=True).float().cpu(), labels.cpu()))
    model.train(was_training)
    x, y = zip(*found, strict=True)
    return torch.cat(x), torch.cat(y)


def probe_minutes(
    model: VisionTransformer, data: Dataset, look: Preprocessing, device: torch.device
) -> float:
    """How long a linear probe will take on this machine, by the features of a few images."""
    few = data.train.take(evenly(len(data.train), 64))
    features(model, few.take(torch.arange(1)), look, device)  # the first also gets memory
    start = time.perf_counter()
    features(model, few, look, device)
    each = (time.perf_counter() - start) / len(few)
    return each * (min(len(data.train), PROBED) + len(data.val)) / 60


def linear_probe(
    model: VisionTransformer, train: Images, val: Images, look: Preprocessing, device: torch.device
) -> dict[str, float]:
    """Set the head of `model` by logistic regression on the features of unchanged images; nothing else moves.

    So that the first steps of fine-tuning do not spoil the features to serve a random head (Kumar et al.,
    2022). The penalty of its weights is chosen by the loss on the validation images. Returns that loss in
    nats per image, `val_loss`, with `val_accuracy` and `penalty`.
    """
    x, y = features(model.to(device), train.take(evenly(len(train), PROBED)), look, device)
    seen, truth = features(model, val, look, device)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x, seen = (x - mean) / std, (seen - mean) / std
    tried = []
    W = torch.zeros(model.head.out_features, x.shape[1], requires_grad=True)  # (K, D)
    b = torch.zeros(len(W), requires_grad=True)
    for penalty in sorted(PENALTIES, reverse=True):  # each goes on from the one before
        solver = torch.optim.LBFGS([W, b], max_iter=100, line_search_fn="strong_wolfe")

        def loss(penalty: float = penalty, solver: torch.optim.LBFGS = solver) -> Tensor:
            solver.zero_grad()
            value = F.cross_entropy(F.linear(x, W, b), y) + penalty / 2 * W.square().sum()
            value.backward()
            return value

        solver.step(loss)
        logits = F.linear(seen, W, b).detach()
        found = {"val_accuracy": float((logits.argmax(1) == truth).double().mean())}
        found |= {"val_loss": float(F.cross_entropy(logits, truth)), "penalty": penalty}
        tried.append((found, W.detach().clone(), b.detach().clone()))
    result, W, b = min(tried, key=lambda one: one[0]["val_loss"])
    with torch.no_grad():
        model.head.weight.copy_(W / std)
        model.head.bias.copy_(b - W @ (mean / std))
    return result
