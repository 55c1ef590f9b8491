"""Files that survive: atomic writes, checkpoints to continue from, weights to use.

A checkpoint holds all that a run needs to go on and lives in its run folder. Weights are safetensors, hold
one model and where it comes from, and are meant to be passed on.
"""

import json
import os
import pickle
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torchvision

from vit.config import ViTConfig
from vit.convnet import ConvNet, ConvNetConfig
from vit.model import VisionTransformer

FORMAT = "vit-checkpoint-1"
MODELS = {"VisionTransformer": (VisionTransformer, ViTConfig), "ConvNet": (ConvNet, ConvNetConfig)}
LAST, PREVIOUS, BEST, RECEIPT = "last.pt", "previous.pt", "best.safetensors", "receipt.json"


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


class Folder:
    """The files of a run. One that cannot be written now stays in memory until the next flush."""

    def __init__(self, path: Path):
        self.path = path
        self.pending: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        """Have a file written at the next flush. Checkpoints go last: they vouch for the others."""
        self.pending[name] = content
        if LAST in self.pending:
            self.pending[LAST] = self.pending.pop(LAST)

    def flush(self) -> OSError | None:
        """Write what is pending; the error that stopped it, if one did."""
        for name in list(self.pending):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                keep = self.path / PREVIOUS if name == LAST else None
                write_atomic(self.path / name, self.pending[name], keep)
            except OSError as error:
                return error
            del self.pending[name]
        return None


def checkpoint_bytes(state: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    buffer = BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    return buffer.getvalue()


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Say in one line that a file is not what the code inside takes it for."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is of another version or holds another model: {reason}") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file.

    Raises:
        ValueError: if the file is missing, cut short, or not a checkpoint of this package.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {path}") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or "it is empty"
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to load it unsafely
            reason = "it is not PyTorch's, or holds more than tensors and plain values"
        raise ValueError(f"{path} is damaged or no checkpoint: {reason}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this package (expected the format {FORMAT!r})")
    return state


def read_last(folder: Path) -> dict[str, Any]:
    """The newest usable checkpoint of a run folder; when the last is damaged, the one before, with a warning.

    The damaged file gets another name, or the next checkpoint would move it over the good one.

    Raises:
        ValueError: if neither can be used.
    """
    try:
        return read_checkpoint(folder / LAST)
    except ValueError as error:
        if not (folder / PREVIOUS).exists():
            raise
        state = read_checkpoint(folder / PREVIOUS)
        warnings.warn(f"{error}; going on from {PREVIOUS}", stacklevel=2)
        with suppress(OSError):  # it may not be there at all
            (folder / LAST).replace(folder / "damaged.pt")
        return state


def versions() -> dict[str, str]:
    """The versions that decide what a number turns out to be."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run ran on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":")[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.platform(),
    }


def peak_memory(device: torch.device, before: dict[str, float | None] | None = None) -> dict[str, Any]:
    """Largest memory of this process so far, and of the GPU, in MiB; or what it was in an earlier process."""
    try:
        import resource  # not on Windows

        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        host = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    except ImportError:
        host = None
    gpu = round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
    peak = {"host_mib": host, "gpu_mib": gpu}
    return {k: max(filter(None, (v, (before or {}).get(k))), default=None) for k, v in peak.items()}


def weights_bytes(model: VisionTransformer | ConvNet, info: dict[str, Any], half: bool = False) -> bytes:
    """A safetensors file of `model`, its configuration and `info`, which must be plain JSON values.

    With `half`, weights are stored as 16-bit floats: half the size, and about three decimal digits.
    """
    state = {
        k: v.detach().to("cpu", torch.float16 if half else v.dtype).contiguous()
        for k, v in model.state_dict().items()
    }
    about = {"model": type(model).__name__, "config": asdict(model.config), **info, "versions": versions()}
    return safetensors.torch.save(state, {"format": "pt", "vit": json.dumps(about)})


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
        model = model_class(config_class(**info["config"]))
        model.load_state_dict(state)
    return model.eval(), info
