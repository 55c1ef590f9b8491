"""Out of PyTorch: a model as ONNX, with its logits and every block's attention as outputs.

Legend: B batch, S image side, T tokens, h heads, K classes.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from vit.inference.classifier import Classifier

OPSET = 20
LARGEST = 2**31 - 2**26  # bytes of weights in one file: a protobuf message ends at 2 GB, graph included


class _WithAttention(nn.Module):
    """Pixels in [0, 1] `(B, 3, S, S)` -> logits `(B, K)` and the weights `(B, h, T, T)` of each block."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.model = classifier.model
        for name in ("mean", "std"):  # buffers of other names than the outputs', or the file would not load
            value = torch.tensor(getattr(classifier.preprocessing, name))
            self.register_buffer(f"pixel_{name}", value[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.model.run_blocks(self.model.embed((images - self.pixel_mean) / self.pixel_std))
        return self.model.forward_head(self.model.norm(x)), *maps


def export_onnx(classifier: Classifier, path: str | Path) -> Path:
    """Write `classifier` as an ONNX file for any batch size, and check that ONNX accepts it.

    The input `images` is `(B, 3, S, S)` in [0, 1]; normalisation is part of the file. Outputs are `logits`
    `(B, K)` and `attention_0`, `attention_1`, ..., each `(B, h, T, T)`. The classes are in the metadata.
    Weights of more than 2 GB do not fit into such a file: they go to one beside it, with `.data` appended.

    Raises:
        ValueError: if the packages for it are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ValueError(f"this needs two packages: pip install onnx onnxscript ({error})") from None
    size = classifier.preprocessing.img_size
    maps = [f"attention_{i}" for i in range(len(classifier.model.blocks))]
    program = torch.onnx.export(
        _WithAttention(classifier).cpu().eval(),
        (torch.zeros(2, 3, size, size),),  # two images: with one the exporter would fix the batch size
        input_names=["images"],
        output_names=["logits", *maps],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    about = {"classes": list(classifier.classes), "img_size": size}
    program.model.metadata_props.update({key: json.dumps(value) for key, value in about.items()})
    path, weights = Path(path), sum(t.nbytes for t in classifier.model.state_dict().values())
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:  # all of it, or nothing
        written = Path(folder) / path.name
        program.save(written, external_data=weights > LARGEST)
        onnx.checker.check_model(str(written), full_check=True)
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the data first: the graph vouches for it
            file.replace(path.with_name(file.name))
    return path
