"""The film of lesson 9: what is inside a model at about twenty moments of its training, in one small file.

    .venv/bin/python benchmarks/movie.py runs/cifar10-snaps vit/weights/cifar10/movie.safetensors

The folder holds checkpoints of one run, `*.pt`, copied out of the run folder while it went on. Frame 0 is the
model before its first step, drawn again from the recipe's seed. The others are the averaged weights, which
are what the run validates and ships, at the full size of the images.

Legend: T frames, F components kept, C channels, P patch side, (gh, gw) the grid of patches, L depth, h heads,
I photographs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vit.analysis import attention_distance, filter_components, patch_map, position_similarity
from vit.data.images import Preprocessing
from vit.data.sets import photograph, photograph_cuts
from vit.inference.classifier import load_classifier
from vit.inference.weights import versions, write_atomic
from vit.model import VisionTransformer, create_model
from vit.training.augment import reseed
from vit.training.checkpoint import read_checkpoint

COMPONENTS = 25  # of the bank of patch filters
SHOWN = ("chelsea", "astronaut", "rocket")
CUTS = 128  # squares cut out of all photographs, for attention distances


@torch.inference_mode()
def frame(model: VisionTransformer, shown: Tensor, squares: Tensor) -> dict[str, Tensor]:
    """What the film shows of one model. Photographs `(I, 3, S, S)` and squares are as the model takes them.

    Returns:
        `components` `(F, C, P, P)` of the patch filters, and `explained` `(M,)`, the part of the variance
        that each of all M explains; `positions`, the similarity of every position with every other,
        `(gh, gw, gh, gw)`; `attention` `(2, h, I, gh, gw)`, what the head reads of each photograph's patches
        in the second and in the last block, as parts of all its attention; and `distance` `(L, h)` in
        patches, the mean over the squares.
    """
    grid, prefix = model.config.grid_size, model.config.num_prefix_tokens
    maps = model.attention_maps(shown)
    heat = torch.stack([patch_map(maps[block], grid, prefix) for block in (1, -1)])  # (2, I, h, gh, gw)
    far = [attention_distance(a, grid, prefix).mean(0) for a in model.attention_maps(squares)]
    components, explained = filter_components(model.patch_embed.proj.weight)
    return {
        "components": components[:COMPONENTS],
        "explained": explained,
        "positions": position_similarity(model.pos_embed, grid, prefix).tiles,
        "attention": heat.transpose(1, 2),
        "distance": torch.stack(far),
    }


def read_model(state: dict[str, Any], classes: int, trained: bool = True) -> VisionTransformer:
    """The model of a checkpoint as its run would use it, or the one that the run began with."""
    recipe, trainer = state["recipe"], state["trainer"]
    reseed(recipe["seed"], "weights")  # what `vit.training.Trainer` does before it builds the model
    sizes = {"img_size": recipe["img_size"], "num_classes": classes, **recipe["model_options"]}
    model = create_model(recipe["model"], **sizes).eval()
    if trained:
        model.set_input_size(trainer["img_size"])  # early epochs may be trained on smaller images
        model.load_state_dict(trainer["average"] or trainer["model"])
        model.set_input_size(recipe["img_size"])
    return model


def choose(folder: Path, count: int) -> list[Path]:
    """`count` checkpoints spread over those in the folder, at most one for each epoch, in order.

    Raises:
        ValueError: if no checkpoint there has finished an epoch.
    """
    first = {}  # epoch → the first checkpoint after it
    for path in folder.glob("*.pt"):
        state = read_checkpoint(path)
        if state["rows"]:
            epoch, step = state["rows"][-1]["epoch"], state["trainer"]["step"]
            first[epoch] = min(first.get(epoch, (step, path)), (step, path))
    if not first:
        raise ValueError(f"expected checkpoints of at least one finished epoch in {folder}")
    paths = [first[epoch][1] for epoch in sorted(first)]
    picked = torch.linspace(0, len(paths) - 1, min(count, len(paths))).round().long()
    return [paths[i] for i in picked.tolist()]


def film(folder: Path, preprocessing: Preprocessing, classes: int, count: int = 20) -> bytes:
    """The film of the checkpoints in a folder, a safetensors file.

    Besides the tensors of `frame`, stacked to `(T, ...)`, it holds `epoch` `(T,)`, the last finished epoch,
    `step` `(T,)`, and `val_accuracy` `(T,)` after that epoch, which frame 0 has not (NaN).
    """
    S, frames, marks = preprocessing.img_size, [], []
    shown = preprocessing.normalise(torch.stack([photograph(name, S) for name in SHOWN]))
    squares = preprocessing.normalise(photograph_cuts(CUTS, S))
    for path in choose(folder, count - 1):
        state = read_checkpoint(path)
        if not frames:
            frames.append(frame(read_model(state, classes, trained=False), shown, squares))
            marks.append((0, 0, float("nan")))
        frames.append(frame(read_model(state, classes), shown, squares))
        row = state["rows"][-1]
        marks.append((row["epoch"], state["trainer"]["step"], row["val_accuracy"]))
    epoch, step, accuracy = zip(*marks, strict=True)
    tensors = {name: torch.stack([f[name] for f in frames]).half().contiguous() for name in frames[0]}
    tensors |= {
        "epoch": torch.tensor(epoch),
        "step": torch.tensor(step),
        "val_accuracy": torch.tensor(accuracy),
    }
    about = {
        "made by": "benchmarks/movie.py",
        "weights": "average" if state["trainer"]["average"] else "model",
        "photographs": SHOWN,
        "cuts": CUTS,
        "recipe": state["recipe"],
        "data_sha256": state["data"],
        "versions": versions(),
    }
    return safetensors.torch.save(tensors, {"format": "pt", "vit": json.dumps(about)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="checkpoints of one run, *.pt")
    parser.add_argument("out", type=Path, help="the file to write, .safetensors")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--weights", default="cifar10", help="whose preprocessing and classes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped = load_classifier(arguments.weights)
    content = film(arguments.folder, shipped.preprocessing, len(shipped.classes), arguments.frames)
    write_atomic(arguments.out, content)
    print(f"{arguments.out}: {len(content) / 1000:.0f} kB")
