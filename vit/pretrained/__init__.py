"""Models that others have trained.

`hub`: by name or from a file, with provenance. `convert`: into our model, from the way in which timm,
torchvision, Hugging Face and Google store a Vision Transformer. `keys`: how they name its parts. `dinov2`: a
model that pip can bring.
"""

from vit.pretrained.convert import load_state, set_numerics
from vit.pretrained.hub import load_pretrained, read_state
from vit.pretrained.keys import SOURCES, find_source, key_map

__all__ = ["SOURCES", "find_source", "key_map", "load_pretrained", "load_state", "read_state", "set_numerics"]
