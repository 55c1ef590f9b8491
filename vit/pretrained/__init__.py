"""Models that others have trained.

`hub`: by name or from a file, with provenance. `convert`: how timm, torchvision, Hugging Face and Google name
and store a Vision Transformer, and the way into ours.
"""

from vit.pretrained.convert import SOURCES, find_source, key_map, load_state, set_numerics
from vit.pretrained.hub import load_pretrained, read_state

__all__ = [
    "SOURCES",
    "find_source",
    "key_map",
    "load_pretrained",
    "load_state",
    "read_state",
    "set_numerics",
]
