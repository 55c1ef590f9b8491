"""Multi-head self-attention: `(B, T, D) -> (B, T, D)` (paper, appendix A; Vaswani et al., 2017, section 3.2).

Legend: B batch, T tokens, D width, h heads, d = D/h width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ / √d) v, step by step. Each of q, k, v is `(B, h, T, d)`.

    Returns:
        The values `(B, h, T, d)` and the weights `(B, h, T, T)`. Row i of the weights says how much token i
        takes from every token; it sums to 1. The weights are those before dropout.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, h, T, T)
    weights = scores.softmax(dim=-1)
    return F.dropout(weights, dropout_p, training=dropout_p > 0) @ v, weights


def prefers_explicit(q: Tensor) -> bool:
    """Whether the explicit path is the faster one for these queries, `(B, h, T, d)`.

    Measured by `benchmarks/attention_paths.py`: on CPUs PyTorch's fused kernel is slow in bfloat16, its
    backward most of all, until it gains near a thousand tokens by never storing the T×T weights. In fp32 it
    is ahead but for very short sequences.
    """
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] < 1024


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values.

    Raises:
        ValueError: if `num_heads` does not divide `dim`.
    """

    def __init__(
        self, dim: int, num_heads: int, qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"expected dim to be a multiple of num_heads={num_heads}, got dim={dim}")
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)  # rows: all queries, all keys, all values
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, need_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Let every token look at every token: `(B, T, D) -> (B, T, D)`.

        With `need_weights` the result is a pair, and the second is `(B, h, T, T)` before dropout. The fused
        kernel never forms those weights, so asking for them takes the explicit path.
        """
        B, T, D = x.shape
        qkv = self.qkv(x).reshape(B, T, 3, self.num_heads, D // self.num_heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # each (B, h, T, d)
        dropout_p = self.attn_drop if self.training else 0.0
        weights = None
        if need_weights or prefers_explicit(q):
            out, weights = explicit_attention(q, k, v, dropout_p)
        else:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p)
        out = out.transpose(1, 2).reshape(B, T, D)  # heads side by side again
        out = self.proj_drop(self.proj(out))
        return (out, weights) if need_weights else out
