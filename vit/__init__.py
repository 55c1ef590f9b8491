"""The finished code of The Annotated Vision Transformer.

The names below are imported when they are first used, so that `vit --help` need not wait for PyTorch.
"""

from importlib import import_module

_HOME = {
    "PRESETS": "vit.config",
    "ViTConfig": "vit.config",
    "get_config": "vit.config",
    "VisionTransformer": "vit.model",
    "create_model": "vit.model",
    "count_macs": "vit.cost",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
