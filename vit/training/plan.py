"""What a run will cost, known before it starts: tokens, parameters, and the memory that a batch takes."""

import os
import sys
from pathlib import Path

import torch

from vit.config import ViTConfig, get_config
from vit.cost import activation_bytes, count_parameters
from vit.training.recipe import Recipe
from vit.training.trainer import bf16_pays

PER_PARAMETER = 16  # bytes: weight, gradient, two moments
MARGIN = 1.1  # for what a layer needs only while it is at work
TOKENS = 256  # what the advice aims at: as many as 16x16 patches make


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


def plan(recipe: Recipe, images: int, classes: int, device: torch.device, world: int = 1) -> str:
    """One line that says what a run will cost.

    Args:
        recipe: what it is trained by.
        images: training images.
        classes: of the data.
        world: processes that share the work, and on CPUs of one machine its memory.

    Raises:
        ValueError: if that does not fit into the memory at hand; the message says what would.
    """
    sizes = {"img_size": recipe.img_size, "num_classes": classes, **recipe.model_options}
    try:
        config = get_config(recipe.model, **sizes)
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
    larger = next((p for p in sides if height * width <= TOKENS * p * p), None)
    if larger is not None:
        change = {**vars(config), "patch_size": larger}
        advice.append(f"--set model_options.patch_size={larger} ({_size(kept(ViTConfig(**change)))})")
    room = free / sharing / MARGIN - PER_PARAMETER * parameters
    finer = next((n for n in range(2 * parts, batch + 1) if batch % n == 0 and kept(config, n) <= room), None)
    if finer is not None:
        advice.append(
            f"--set accumulate={finer}, the same batch in {finer} parts ({_size(kept(config, finer))})"
        )
    advice.append("a smaller --img-size or --batch-size")
    raise ValueError(f"{says}, and {_size(free)} of memory are free; try {', or '.join(advice)}")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
