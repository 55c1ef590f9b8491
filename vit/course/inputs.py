"""Small models and tensors to try answers on: every number of them random, so that no part hides."""

import torch
from torch import Tensor, nn

from vit.config import ViTConfig
from vit.encoder import Block
from vit.model import VisionTransformer


def noisy(module: nn.Module, std: float = 0.3) -> nn.Module:
    """The module with noise added to all parameters, for inference: biases of 0 and norms of 1 hide
    errors."""
    with torch.no_grad():
        for p in module.parameters():
            p += std * torch.randn_like(p)
    return module.eval()


def tiny(**overrides) -> VisionTransformer:
    """A model for 16 × 16 pixels with four patches, which takes a millisecond."""
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    return noisy(VisionTransformer(ViTConfig(**sizes | {"mlp_ratio": 2.0} | overrides)))


def block(dim: int = 16, heads: int = 2) -> Block:
    """A block of the encoder."""
    return noisy(Block(dim, heads, 2 * dim))


def whole(*shape: int, low: int = -3, high: int = 4) -> Tensor:
    """Random whole numbers, as floats: sums of them are exact."""
    return torch.randint(low, high, shape).float()
