"""Files of weights: a model, its configuration, and where it comes from, in one safetensors file.

Nothing in such a file is executed, and it is meant to be passed on.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torchvision

from vit.config import ViTConfig
from vit.convnet import ConvNet, ConvNetConfig
from vit.model import VisionTransformer

BEST = "best.safetensors"  # in a run's folder, the weights that validation images chose
MODELS = {"VisionTransformer": (VisionTransformer, ViTConfig), "ConvNet": (ConvNet, ConvNetConfig)}


def write_atomic(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile.

    The content goes to a temporary file beside it, is forced onto the disk, and takes the name in one step.
    With `keep`, what had the name before is renamed to that.

    Raises:
        OSError: if it cannot be written, for instance because the disk is full. Nothing has changed then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # the new name itself; Windows cannot open a folder
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Say in one line that a file is not what the code inside takes it for."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is of another version or holds another model: {reason}") from None


def versions() -> dict[str, str]:
    """The versions that decide what a number turns out to be."""
    libraries = {library.__name__: str(library.__version__) for library in (torch, torchvision)}
    return {"python": platform.python_version(), **libraries}


def renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `ViTConfig` in today's words: files used to say `pool`, "cls" or "mean"."""
    if "pool" not in fields:
        return fields
    token = fields["pool"] == "cls"
    now = {"class_token": token, "global_pool": "token" if token else "avg"}
    return {name: value for name, value in fields.items() if name != "pool"} | now


def weights_bytes(model: VisionTransformer | ConvNet, info: dict[str, Any], half: bool = False) -> bytes:
    """A safetensors file of `model`, its configuration and `info`, which must be plain JSON values.

    With `half`, weights are stored as 16-bit floats: half the size, and about three decimal digits.
    """
    dtype = torch.float16 if half else None
    state = {key: value.to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    about = {"model": type(model).__name__, "config": asdict(model.config), **info, "versions": versions()}
    return safetensors.torch.save(state, {"format": "pt", "vit": json.dumps(about)})


@torch.inference_mode(False)  # a model that is read may be trained on, wherever it was read
def read_weights(path: str | Path) -> tuple[VisionTransformer | ConvNet, dict[str, Any]]:
    """The model in a safetensors file of ours, in float32 and eval mode, and what the file says about it.

    Raises:
        ValueError: if the file is missing, damaged, or was not written by this package.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None
    if "vit" not in metadata:
        raise ValueError(f"{path} does not say which model it holds: it was not written by this package")
    with explained(path):
        info = json.loads(metadata["vit"])
        model_class, config_class = MODELS[info.get("model", "VisionTransformer")]
        model = model_class(config_class(**renamed(info["config"])))
        model.load_state_dict(state)
    return model.eval(), info
