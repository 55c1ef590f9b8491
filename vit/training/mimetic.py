"""A start for attention that learns from few pictures (Trockman and Kolter, 2023).

In trained Vision Transformers the product of a head's query and key matrices resembles the identity: a token
looks for tokens like itself, and, by their positions, for those nearby. The product of the value and output
matrices resembles the negative identity. Drawing the weights so that both hold from the start saves a small
data set from having to teach it.

Legend: D width, h heads, d = D/h.
"""

import torch
from torch import Tensor

from vit.model import VisionTransformer

QUERY_KEY, VALUE_OUT = (0.7, 0.7), (0.4, -0.4)  # (noise, identity), as in the paper's section 4


def _factors(noise: float, identity: float, dim: int, rank: int) -> tuple[Tensor, Tensor]:
    """Matrices `(rank, D)` a and b, so that aᵀ b is near `noise`·Z + `identity`·I, Z being normal noise."""
    goal = noise * torch.randn(dim, dim) / dim**0.5 + identity * torch.eye(dim)
    u, s, vt = torch.linalg.svd(goal)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).T, vt[:rank] * root[:, None]


@torch.no_grad()
def mimetic_init(model: VisionTransformer) -> None:
    """Draw the attention weights of every block anew, in place. Uses torch's global random numbers."""
    D, h = model.config.embed_dim, model.config.num_heads
    for block in model.blocks:
        queries, keys = zip(*(_factors(*QUERY_KEY, D, D // h) for _ in range(h)), strict=True)
        out, values = _factors(*VALUE_OUT, D, D)  # outᵀ values: what a token's vector becomes
        block.attn.qkv.weight.copy_(torch.cat([*queries, *keys, values]))
        block.attn.proj.weight.copy_(out.T)
