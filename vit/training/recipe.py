"""Everything that decides how a model is trained, except the machine: one dataclass and the named recipes."""

import ast
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

# How an error names what a field may be.
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
KINDS |= {dict: "a dictionary", NoneType: "none"}

RANGES = (
    ("train_size img_size epochs batch_size accumulate lr clip chunk", lambda v: v > 0, "be positive"),
    ("min_lr weight_decay mixup cutmix rand_ops", lambda v: v >= 0, "not be negative"),
    ("rand_magnitude", lambda v: 0 <= v <= 30, "lie in [0, 30]"),
    ("warmup label_smoothing ema low_part pad erase", lambda v: 0 <= v <= 1, "lie in [0, 1]"),
    ("mix_prob crop_scale layer_decay", lambda v: 0 <= v <= 1, "lie in [0, 1]"),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. The same recipe, data and machine give the same weights.

    Raises:
        ValueError: if a value lies outside its range.
    """

    data: str = "shapes"  # "shapes", "cifar10", or a folder of images
    train_size: int | None = None  # training images to use; None: all
    split_by: str = "content"  # what holds out a folder's images; "position" in runs that do not say
    init_from: str | None = None  # trained weights to go on from: what `vit train --from` takes
    model: str = "vit_nano_4"  # a preset of `vit.config`; with init_from, that model is taken
    model_options: dict[str, Any] = field(default_factory=dict)  # fields of ViTConfig, for the preset's
    mimetic: bool = False  # draw attention's weights as trained ones look: `vit.training.mimetic`
    img_size: int | None = 32  # side of the images that the finished model takes, pixels; None: the data's
    seed: int = 0  # of the weights, the order, augmentation and dropout

    epochs: int | None = 10  # passes over the training images; None: fewer where there are many images
    batch_size: int = 128  # images per optimiser step, over all processes together
    accumulate: int = 1  # parts that a batch is cut into; each is mixed by itself
    optimizer: str = "adamw"  # or "muon": Muon for the matrices of the blocks, AdamW for the rest
    lr: float = 1e-3  # peak learning rate
    min_lr: float = 1e-5  # where the cosine ends
    warmup: float = 0.05  # part of all steps during which the learning rate rises
    weight_decay: float = 0.05  # of matrices only
    clip: float = 1.0  # largest norm of the gradient
    layer_decay: float = 1.0  # each block's rate by that of the one after it; for fine-tuning
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay of the weights' moving average, which is then what is validated; 0: none
    low_size: int | None = None  # train at this side first ...
    low_part: float = 0.0  # ... for this part of all steps

    flip: bool | None = True  # mirror half of the images; None: unless they then look like other classes
    pad: float = 0.125  # random crop after padding by this part of the side
    crop_scale: float = 1.0  # smallest area of a random resized crop; 1: none
    rand_ops: int = 0  # RandAugment: operations per image
    rand_magnitude: int = 9  # RandAugment: their strength, 0 to 30
    erase: float = 0.0  # probability of erasing a rectangle
    mixup: float = 0.0  # alpha of MixUp; 0: none
    cutmix: float = 0.0  # alpha of CutMix; 0: none
    mix_prob: float = 1.0  # part of the batches that are mixed
    chunk: int = 8  # images that share one draw of the augmentation

    bf16: bool | None = None  # autocast to bfloat16; None: where the processor has it
    compile: bool = False  # torch.compile: pays for long runs on a GPU
    half_weights: bool = False  # store the finished weights as 16-bit floats

    def __post_init__(self) -> None:
        for f in fields(self):
            value, union = getattr(self, f.name), isinstance(f.type, UnionType)
            kinds = get_args(f.type) if union else (get_origin(f.type) or f.type,)
            if type(value) not in kinds and not (float in kinds and type(value) is int):
                expected = " or ".join(KINDS[kind] for kind in kinds)
                raise ValueError(f"{f.name} must be {expected}, got {value!r}")
        for name, words in (("optimizer", ("adamw", "muon")), ("split_by", ("content", "position"))):
            if (value := getattr(self, name)) not in words:
                raise ValueError(f"expected {name} to be {' or '.join(words)}, got {value!r}")
        probe = self.init_from and self.epochs == 0  # which trains nothing but the head
        for names, fits, must in RANGES:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not fits(value) and not (name == "epochs" and probe):
                    raise ValueError(f"{name} must {must}, got {value}")
        size, low = self.img_size, self.low_size
        if self.low_part and (low is None or not 0 < low <= (size or math.inf)):
            raise ValueError(f"low_part needs a low_size of at most img_size={size}, got {low}")
        batch, parts = self.batch_size, self.accumulate
        if batch % parts:
            raise ValueError(f"expected batch_size to be a multiple of accumulate={parts}, got {batch}")

    def size_at(self, progress: float) -> int:
        """Side of the training images after this part of the run, pixels."""
        return self.low_size if progress < self.low_part else self.img_size

    def lr_at(self, progress: float) -> float:
        """Learning rate after this part of the run: a straight rise, then half a cosine."""
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        down = (progress - self.warmup) / max(1.0 - self.warmup, 1e-9)
        return self.min_lr + (self.lr - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(down, 1.0)))


# What several recipes have in common.
_AVG = {"class_token": False, "global_pool": "avg"}
_AVG_SINCOS = {**_AVG, "pos_embed": "sincos2d"}
_OWN_PICTURES = {"img_size": None, "batch_size": 64, "crop_scale": 0.5, "rand_ops": 1}
_OWN_PICTURES |= {"label_smoothing": 0.1, "ema": 0.99, "flip": None}
_CIFAR10 = {"data": "cifar10", "model": "vit_mini_4", "optimizer": "muon", "weight_decay": 0.1}
_CIFAR10 |= {"label_smoothing": 0.1, "ema": 0.999, "rand_ops": 2, "mixup": 0.2, "cutmix": 1.0}
_CIFAR10 |= {"mix_prob": 0.5, "half_weights": True}

RECIPES: dict[str, dict[str, Any]] = {
    # What it reaches, and in what time: vit/weights/shapes/receipt.json. No augmentation: five passes over
    # 20,000 pictures are too few to learn them by heart.
    "shapes": {
        "data": "shapes",
        "model_options": _AVG_SINCOS,
        "epochs": 5,
        "batch_size": 64,
        "lr": 7e-4,
        "flip": False,
        "pad": 0.0,
    },
    # From pilots of one seed; measured by benchmarks/small_sets.py. HOG with a support vector machine is far
    # above `folder`, not above `finetune`, on few drawn shapes, and a picture or two above both on digits.
    "folder": {
        **_OWN_PICTURES,
        "model_options": {"patch_size": None, **_AVG_SINCOS, "drop_path_rate": 0.1},
        "epochs": None,
        "optimizer": "muon",
        "lr": 3e-3,
        "mimetic": True,
    },
    "finetune": {
        **_OWN_PICTURES,
        "model_options": {"drop_path_rate": 0.1},
        "epochs": None,
        "optimizer": "muon",
        "lr": 2e-3,
        "layer_decay": 0.9,
    },
    # Sized for less than 150 minutes on two cores: 36 patches for four fifths of the steps, then 64. What it
    # reaches, on a JPEG copy of CIFAR-10: vit/weights/cifar10/receipt.json. Beside it, a run with weaker
    # augmentation; pilots for the optimiser and its rate are in vit/results/pilots.json.
    "cifar10": {
        **_CIFAR10,
        "model_options": {"drop_path_rate": 0.05},
        "epochs": 64,
        "lr": 3e-3,
        "low_size": 24,
        "low_part": 0.8,
    },
    # For three seeds side by side on one H100 in eight minutes; benchmarks/gpu/README.md has the sums. The
    # shape is that of ViT-Lite-7 (Hassani et al., 2021) with patches half as wide. Batches are four times
    # those of cifar10, so the rate is twice its rate; chunks are large, so that cutting them up is quick.
    "cifar10-gpu": {
        **_CIFAR10,
        "model_options": {
            "patch_size": 2,
            "embed_dim": 256,
            "depth": 7,
            "num_heads": 4,
            **_AVG,
            "drop_path_rate": 0.1,
        },
        "epochs": 66,
        "batch_size": 512,
        "lr": 6e-3,
        "chunk": 64,
        "compile": True,
    },
}


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Fields of a recipe as typed after `--set`: `["lr=3e-4", "model_options.depth=4"]` -> a dictionary.

    Raises:
        ValueError: if one is not NAME=VALUE, or NAME has no parts.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected NAME=VALUE after --set, got {pair!r}")
        words = {"true": True, "false": False, "none": None}
        try:
            value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        group, dot, key = name.partition(".")
        if dot and not isinstance(options.setdefault(group, {}), dict):
            raise ValueError(f"--set {pair}: {group} is {options[group]!r}, which has no parts")
        if dot:
            options[group][key] = value
        else:
            options[name] = value
    return options


def get_recipe(name: str, **overrides: Any) -> Recipe:
    """Return the recipe called `name` with any field replaced; `model_options` are merged.

    Raises:
        ValueError: if there is no such recipe or field (the nearest name is suggested), or there is both a
            model and one to go on from.
    """
    options = [f.name for f in fields(Recipe)]
    for kind, key, known in [("recipe", name, RECIPES), *(("option", key, options) for key in overrides)]:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"no {kind} called {key!r}; did you mean {near!r}? There are {', '.join(known)}")
    base = RECIPES[name]
    options = {**base.get("model_options", {}), **overrides.get("model_options", {})}
    if "model" in overrides and overrides.get("init_from"):
        raise ValueError(f"{overrides['init_from']} brings its own model: leave out {overrides['model']!r}")
    if "model" in overrides and options.get("patch_size", 0) is None:
        del options["patch_size"]  # whoever names a model means its patches
    return Recipe(**{**base, **overrides, "model_options": options})
