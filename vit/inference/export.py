"""Out of PyTorch: a model as ONNX, with its logits and every block's attention as outputs.

Legend: B batch, S image side, N tokens, h heads, K classes.
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from vit.inference.classifier import Classifier
from vit.inference.weights import write_atomic

OPSET = 20


class _WithAttention(nn.Module):
    """Pixels in [0, 1] `(B, 3, S, S)` -> logits `(B, K)` and the weights `(B, h, N, N)` of each block."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.model = classifier.model
        for name in ("mean", "std"):  # buffers of other names than the outputs', or the file would not load
            value = torch.tensor(getattr(classifier.preprocessing, name))
            self.register_buffer(f"pixel_{name}", value[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.model.embed((images - self.pixel_mean) / self.pixel_std), []
        for block in self.model.blocks:
            x, weights = block(x, need_weights=True)
            maps.append(weights)
        return self.model.forward_head(self.model.norm(x)), *maps


def export_onnx(classifier: Classifier, path: str | Path) -> Path:
    """Write `classifier` as one ONNX file for any batch size, and check that ONNX accepts it.

    The input `images` is `(B, 3, S, S)` in [0, 1]; normalisation is part of the file. Outputs are `logits`
    `(B, K)` and `attention_0`, `attention_1`, ..., each `(B, h, N, N)`. The classes are in the metadata.

    Raises:
        ValueError: if the packages for it are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ValueError(
            f"exporting needs onnx and onnxscript: pip install onnx onnxscript ({error})"
        ) from None
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
    proto = program.model_proto
    about = {"classes": list(classifier.classes), "img_size": size}
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in about.items()})
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(Path(path), proto.SerializeToString())
    return Path(path)
