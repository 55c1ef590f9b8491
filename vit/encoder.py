"""The encoder block: `(B, T, D) -> (B, T, D)` (paper, equations 2 and 3, figure 1 right).

Legend: B batch, T tokens, D width.
"""

import torch
from torch import Tensor, nn

from vit.attention import Attention


class Mlp(nn.Module):
    """Two linear layers with a GELU between, applied to each token alone. `(B, T, D) -> (B, T, D)`."""

    def __init__(self, dim: int, hidden_dim: int, drop: float = 0.0, gelu: str = "none"):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU(gelu)  # "none": the exact form, x·Φ(x); some libraries approximate it by "tanh"
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D) -> (B, T, D)`."""
        x = self.drop(self.act(self.fc1(x)))  # (B, T, hidden)
        return self.drop(self.fc2(x))


class DropPath(nn.Module):
    """Stochastic depth: in training, drop the whole residual branch of some images (Huang et al., 2016).

    Images that keep the branch have it scaled by 1/(1 - rate), so its expectation is unchanged and nothing
    needs rescaling at test time.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """`(B, ...) -> (B, ...)`, one coin per image."""
        if self.rate == 0.0 or not self.training:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty(branch.shape[0], *[1] * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (mask / keep)


class LayerScale(nn.Module):
    """A learned factor for each channel of a branch, small at first (Touvron et al., 2021b, CaiT)."""

    def __init__(self, dim: int, init_values: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init_values))

    def forward(self, branch: Tensor) -> Tensor:
        """`(B, T, D) -> (B, T, D)`."""
        return branch * self.gamma


class Block(nn.Module):
    """A pre-norm encoder block: norm, attention, add; norm, MLP, add. `(B, T, D) -> (B, T, D)`."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        qkv_bias: bool = True,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        init_values: float | None = None,
        norm_eps: float = 1e-6,
        gelu: str = "none",
    ):
        super().__init__()
        scale = nn.Identity if init_values is None else lambda: LayerScale(dim, init_values)
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, qkv_bias, attn_drop, proj_drop=drop)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, mlp_dim, drop, gelu)
        self.ls2 = scale()
        self.drop_path = DropPath(drop_path)  # no state of its own, so both branches share it

    def forward(self, x: Tensor, need_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Equations 2 and 3. With `need_weights`, also the attention weights `(B, h, T, T)`."""
        branch = self.attn(self.norm1(x), need_weights)
        if need_weights:
            branch, weights = branch
        x = x + self.drop_path(self.ls1(branch))
        x = x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        return (x, weights) if need_weights else x
