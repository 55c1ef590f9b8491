"""The finished code of The Annotated Vision Transformer."""

from vit.config import PRESETS, ViTConfig, get_config
from vit.cost import count_macs
from vit.model import VisionTransformer, create_model

__all__ = ["PRESETS", "ViTConfig", "VisionTransformer", "count_macs", "create_model", "get_config"]
