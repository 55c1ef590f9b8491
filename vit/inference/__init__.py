"""How a trained model is used; nothing here needs anything of `vit.training`.

`weights`: the file that a model is kept in. `classifier`: predict, evaluate, and the models that come with
the package. `measure`: what it may be measured on. `export`: ONNX.
"""

from vit.inference.classifier import SHIPPED, Classifier, load_classifier, pick_device, summarise
from vit.inference.export import export_onnx

__all__ = ["SHIPPED", "Classifier", "export_onnx", "load_classifier", "pick_device", "summarise"]
