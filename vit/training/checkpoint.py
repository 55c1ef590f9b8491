"""The files of a run: its folder, and checkpoints. What is passed on: `vit.inference.weights`."""

import csv
import io
import json
import os
import pickle
import platform
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from vit.inference.weights import write_atomic
from vit.plotting import draw_curves

FORMAT = "vit-checkpoint-1"
LAST, PREVIOUS, RECEIPT = "last.pt", "previous.pt", "receipt.json"


def new_folder(name: str) -> Path:
    """The first of runs/name, runs/name-2, runs/name-3 ... that is not there."""
    number = 1
    while (folder := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


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


def csv_bytes(rows: list[dict[str, float]]) -> bytes:
    """Rows of metrics as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def curves_bytes(rows: list[dict[str, float]]) -> bytes:
    """The same, drawn, as a PNG file."""
    picture = io.BytesIO()
    draw_curves(rows).savefig(picture, format="png", dpi=160)
    return picture.getvalue()


def json_bytes(content: dict[str, Any]) -> bytes:
    """A JSON file."""
    return (json.dumps(content, indent=2) + "\n").encode()


def checkpoint_bytes(state: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    return buffer.getvalue()


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
        with suppress(OSError):  # out of the way of the good one; it may not be there at all
            (folder / LAST).replace(folder / "damaged.pt")
        return state


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run ran on."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux alone has it
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    return {
        "cpu": named[1] if named else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
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
