"""A run before it starts: sizes that follow the data, and what it will cost in tokens, memory and minutes."""

import copy
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from vit.config import ViTConfig, get_config
from vit.cost import activation_bytes, count_parameters
from vit.data.folders import count_pictures, typical_side
from vit.data.images import Images
from vit.data.sets import is_word
from vit.training.baselines import mirrors_mislead
from vit.training.optim import bf16_pays
from vit.training.recipe import Recipe
from vit.training.trainer import Trainer

PER_PARAMETER = 16  # bytes: weight, gradient, two moments
MARGIN = 1.1  # for what a layer needs only while it is at work
TOKENS = 256  # what the advice aims at: as many as 16x16 patches make
PATCHES, ALONG = (2, 4, 8, 16), 12  # sides of a patch, the first that makes at most so many along a side
LARGEST = 224  # pixels; larger pictures are made smaller
SEEN = 2_000_000  # patches that a run sees where its recipe does not say how many epochs
EPOCHS = (20, 400)  # the fewest and the most that this makes
FEW = 1_000  # pictures; with fewer, going on from trained weights is better (vit/results/small_sets.json)


def source_for(data: str, given: dict[str, object]) -> str | None:
    """What a run goes on from if `given` says nothing of its model: `cifar10` for a folder of few images."""
    if is_word(data) or {"init_from", "model", "img_size", "model_options"} & {*given}:
        return None
    return "cifar10" if count_pictures(Path(data), FEW) < FEW else None


def fitted(recipe: Recipe, source: ViTConfig | None = None) -> Recipe:
    """The recipe with an image size, and patches, that suit its data, where it does not say them itself.

    Images are as large as the pictures are, up to 224 pixels, in patches of 2, 4, 8 or 16, about 12 along a
    side. A model to go on from keeps its patches; its images are no larger than it was trained on, and 8 to
    16 patches along a side.
    """
    options, size = dict(recipe.model_options), recipe.img_size
    follows = options.get("patch_size", 0) is None  # 0: the recipe leaves patches to its preset
    if size is not None and not follows:
        return recipe
    side = size or (32 if is_word(recipe.data) else typical_side(Path(recipe.data)))
    if source is not None:
        P, own = source.patch_size, source.img_size[0]
        side = max(min(side, own, 16 * P), min(own, 8 * P))
    elif follows:
        side = size or min(side, LARGEST)
        exact = [p for p in PATCHES if size is None or size % p == 0] or [1]
        P = options["patch_size"] = next((p for p in exact if round(side / p) <= ALONG), exact[-1])
    else:
        P, side = options.get("patch_size") or get_config(recipe.model).patch_size, min(side, LARGEST)
    return replace(recipe, img_size=size or max(1, round(side / P)) * P, model_options=options)


def with_epochs(recipe: Recipe, images: int, source: ViTConfig | None = None) -> Recipe:
    """The recipe with a number of epochs, so that a run sees about `SEEN` patches where it does not say."""
    if recipe.epochs is not None:
        return recipe
    P = recipe.model_options.get("patch_size") or (source or get_config(recipe.model)).patch_size
    (fewest, most), patches = EPOCHS, images * (recipe.img_size // P) ** 2
    return replace(recipe, epochs=min(max(-(-SEEN // patches), fewest), most))


def with_flip(recipe: Recipe, train: Images) -> Recipe:
    """The recipe with a word on mirroring, by the training images, where it does not say it itself."""
    return recipe if recipe.flip is not None else replace(recipe, flip=not mirrors_mislead(train))


def minutes(trainer: Trainer) -> float:
    """How long the run will take on this machine, by a few steps that are then undone."""
    if not trainer.total:
        return 0.0
    before = copy.deepcopy(trainer.state_dict())
    trainer.train_step()  # the first one also gets memory, and compiles
    start = time.perf_counter()
    trainer.train_step()
    trainer.train_step()
    step = (time.perf_counter() - start) / 2
    trainer.load_state_dict(before)
    validation = trainer.recipe.epochs * len(trainer.data.val) / trainer.batch / 3  # in steps: forward only
    return step * (trainer.total - trainer.step + validation) / 60


def duration(minutes: float) -> str:
    """So many minutes in words."""
    if minutes >= 90:
        return f"{minutes / 60:.0f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"


def free_memory(device: torch.device) -> int | None:
    """Bytes that a run may still take on this device, or None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    free = []
    if (meminfo := Path("/proc/meminfo")).exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free.append(int(lines["MemAvailable"].split()[0]) * 1024)
    elif sys.platform == "darwin":
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    group = Path("/sys/fs/cgroup")  # of a container
    if (group / "memory.max").exists() and (most := (group / "memory.max").read_text().strip()) != "max":
        free.append(int(most) - int((group / "memory.current").read_text()))
    return min(free, default=None)


def plan(
    recipe: Recipe,
    images: int,
    classes: int,
    device: torch.device,
    world: int = 1,
    config: ViTConfig | None = None,
) -> str:
    """One line that says what a run will cost, by so many training images of so many classes.

    `world` processes share the work, and on CPUs of one machine its memory. `config` is that of the model, if
    it is not the recipe's.

    Raises:
        ValueError: if that does not fit into the memory at hand; the message says what would.
    """
    sizes = {"img_size": recipe.img_size, "num_classes": classes, **recipe.model_options}
    try:
        config = config or get_config(recipe.model, **sizes)
    except TypeError as error:
        raise ValueError(f"model_options {recipe.model_options}: {error}") from None
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if device.type == "cpu" else 1
    bf16 = bf16_pays(device) if recipe.bf16 is None else recipe.bf16
    batch, parts = min(recipe.batch_size, images), max(recipe.accumulate, world)

    def kept(config: ViTConfig, parts: int = parts) -> int:
        return activation_bytes(config, -(-batch // parts), bf16=bf16)

    parameters, free = count_parameters(config), free_memory(device)
    needed = MARGIN * sharing * (kept(config) + PER_PARAMETER * parameters)
    (height, width), P = config.img_size, config.patch_size
    says = f"{height}x{width} pixels in {P}x{P} patches make {config.num_tokens} tokens; "
    says += f"{parameters:,} parameters; a batch of {batch} keeps {_size(kept(config))} for the backward pass"
    if free is None or needed <= free:
        return says
    advice = []
    sides = [p for p in range(P + 1, min(height, width) + 1) if height % p == width % p == 0]
    if larger := next((p for p in sides if height * width <= TOKENS * p * p), None):
        size = _size(kept(replace(config, patch_size=larger)))
        advice.append(f"--set model_options.patch_size={larger} ({size})")
    room = free / sharing / MARGIN - PER_PARAMETER * parameters
    parts_that_fit = (n for n in range(2 * parts, batch + 1) if batch % n == 0 and kept(config, n) <= room)
    if finer := next(parts_that_fit, None):
        size = _size(kept(config, finer))
        advice.append(f"--set accumulate={finer}, the same batch in {finer} parts ({size})")
    advice.append("a smaller --img-size or --batch-size")
    raise ValueError(f"{says}, and {_size(free)} of memory are free; try {', or '.join(advice)}")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
