"""Where a patch is: fixed matrices of positions and the resizing of matrices, both `(T, D)`-shaped.

Legend: T tokens, D width, (gh, gw) the grid of patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _sincos(positions: Tensor, dim: int) -> Tensor:
    """Sines and cosines of `positions` `(T,)` at dim/2 frequencies -> `(T, dim)`, sines first."""
    # Frequencies fall geometrically from 1 to about 1/10000 (Vaswani et al., 2017, section 3.5).
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double()[:, None] * frequencies  # (T, dim/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def sincos_1d(num_positions: int, dim: int) -> Tensor:
    """One-dimensional sine-cosine matrix `(num_positions, dim)`: a patch is its index in reading order.

    As in Vaswani et al. (2017), section 3.5, but with all sines before all cosines where that paper
    interleaves them: a permutation of the columns, which no similarity notices.

    Raises:
        ValueError: if `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"expected an even dim (one sine and one cosine per frequency), got {dim}")
    return _sincos(torch.arange(num_positions), dim)


def sincos_2d(grid_size: tuple[int, int], dim: int) -> Tensor:
    """Two-dimensional sine-cosine matrix `(gh·gw, dim)`: half of the width for the row, half for the column.

    As in big_vision's plain ViT (Beyer et al., 2022) and MoCo v3, up to the order of the columns.

    Raises:
        ValueError: if `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"expected dim to be a multiple of 4 (row and column, sine and cosine), got {dim}")
    gh, gw = grid_size
    rows = _sincos(torch.arange(gh), dim // 2)  # (gh, dim/2)
    cols = _sincos(torch.arange(gw), dim // 2)  # (gw, dim/2)
    both = [rows[:, None, :].expand(gh, gw, -1), cols[None, :, :].expand(gh, gw, -1)]
    return torch.cat(both, dim=-1).reshape(gh * gw, dim)


def interpolate_positions(
    pos_embed: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int = 1
) -> Tensor:
    """Resize a matrix to another grid: `(1, n + gh·gw, D) -> (1, n + gh'·gw', D)`.

    The paper resizes when it fine-tunes at a higher resolution (section 3.2). Bicubic with antialiasing in
    fp32, as timm does it; prefix tokens have no place in the image and are kept. An unchanged grid returns
    the same values.

    Raises:
        ValueError: if the matrix does not hold `num_prefix_tokens` + the patches of `old_grid`.
    """
    expected = num_prefix_tokens + old_grid[0] * old_grid[1]
    if pos_embed.ndim != 3 or pos_embed.shape[:2] != (1, expected):
        raise ValueError(
            f"expected a matrix of shape (1, {expected}, D) for {num_prefix_tokens} prefix token(s) and a "
            f"{old_grid[0]}x{old_grid[1]} grid, got {tuple(pos_embed.shape)}"
        )
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    prefix, matrix = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    image = matrix.float().reshape(1, *old_grid, -1).permute(0, 3, 1, 2)  # (1, D, gh, gw)
    image = F.interpolate(image, size=new_grid, mode="bicubic", align_corners=False, antialias=True)
    matrix = image.permute(0, 2, 3, 1).flatten(1, 2)  # (1, gh'·gw', D)
    return torch.cat([prefix, matrix.to(prefix.dtype)], dim=1)
