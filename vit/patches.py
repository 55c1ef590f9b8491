"""From an image to a sequence of patches: `(B, C, H, W) -> (B, N, C·P·P) -> (B, N, D)`.

Legend: B batch, C channels, H, W height and width, P patch side, N = HW/P² patches, D width.
Patches run row by row, left to right. Inside a patch the order is channel, row, column, the order in which a
convolution stores its kernel, so that the linear form and the convolution share one weight.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into flattened patches: `(B, C, H, W) -> (B, N, C·P·P)` (paper, section 3.1).

    Raises:
        ValueError: if the tensor is not four-dimensional or a side is not a multiple of `patch_size`.
    """
    if images.ndim != 4:
        raise ValueError(f"expected images of shape (B, C, H, W), got shape {tuple(images.shape)}")
    B, C, H, W = images.shape
    P = patch_size
    if H % P or W % P:
        raise ValueError(f"expected image sides to be multiples of patch_size={P}, got {H}x{W}")
    x = images.reshape(B, C, H // P, P, W // P, P)
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, H/P, W/P, C, P, P)
    return x.reshape(B, (H // P) * (W // P), C * P * P)


def unpatchify(patches: Tensor, patch_size: int, img_size: tuple[int, int]) -> Tensor:
    """Put flattened patches back: `(B, N, C·P·P) -> (B, C, H, W)`, the exact inverse of `patchify`.

    Raises:
        ValueError: if N or the length of a patch does not fit `img_size` and `patch_size`.
    """
    (H, W), P = img_size, patch_size
    if patches.ndim != 3 or patches.shape[1] * P * P != H * W or patches.shape[2] % (P * P) or H % P or W % P:
        raise ValueError(
            f"expected {H}x{W} pixels in patches of {P} to be (B, {(H // P) * (W // P)}, C*{P * P}), "
            f"got {tuple(patches.shape)}"
        )
    x = patches.reshape(-1, H // P, W // P, patches.shape[2] // P**2, P, P)
    x = x.permute(0, 3, 1, 4, 2, 5)  # (B, C, H/P, P, W/P, P)
    return x.reshape(len(patches), -1, H, W)


def embed_by_linear(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Patch embedding as the paper writes it: unfold, then one linear map. `(B, C, H, W) -> (B, N, D)`.

    `weight` is a convolution kernel `(D, C, P, P)`. Equation 1's matrix E is that kernel with each filter
    laid flat, so this equals `PatchEmbed` with the same weight.
    """
    return F.linear(patchify(images, weight.shape[-1]), weight.flatten(1), bias)


class PatchEmbed(nn.Module):
    """Patch embedding as a convolution whose stride is its kernel. `(B, C, H, W) -> (B, N, D)`.

    Equation 1 of the paper, without class token and positions. Equal to `embed_by_linear`.
    """

    def __init__(self, img_size: tuple[int, int], patch_size: int, in_chans: int, embed_dim: int):
        super().__init__()
        self.img_size = img_size
        self.patch_size = patch_size
        self.in_chans = in_chans
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images `(B, C, H, W)` as `(B, N, D)`.

        Raises:
            ValueError: if rank, channels or size are not the ones the layer was built for.
        """
        expected = (self.in_chans, *self.img_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(
                f"expected images of shape (B, {', '.join(map(str, expected))}), got {tuple(images.shape)}"
            )
        x = self.proj(images)  # (B, D, H/P, W/P)
        return x.flatten(2).transpose(1, 2)  # (B, N, D)
