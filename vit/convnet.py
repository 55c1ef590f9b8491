"""A convolutional network to compare with: `(B, C, H, W) -> (B, K)`, as many parameters as `vit_nano_4`.

A ResNet for small images (He et al., 2016, "Deep residual learning", section 4.2) with pre-activation blocks
(He et al., 2016, "Identity mappings"), trained by the same code as the Transformer.

Legend: B batch, C channels of an image, H, W its height and width, c channels inside, K classes.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of channels that are normalised together


@dataclass(frozen=True, kw_only=True)
class ConvNetConfig:
    """Everything that fixes the shape of a `ConvNet`. The defaults match the parameters of `vit_nano_4`.

    Raises:
        ValueError: if the width does not divide into groups.
    """

    img_size: int | tuple[int, int] = (32, 32)  # pixels, (H, W) once constructed; other sizes work as well
    in_chans: int = 3  # C
    num_classes: int = 10  # K
    width: int = 32  # channels of the first stage; each later stage has twice as many
    depths: tuple[int, ...] = (1, 4, 2)  # residual blocks in each stage; the middle is the cheapest place

    def __post_init__(self) -> None:
        size = (self.img_size,) * 2 if isinstance(self.img_size, int) else tuple(self.img_size)
        object.__setattr__(self, "img_size", size)  # the dataclass is frozen
        object.__setattr__(self, "depths", tuple(self.depths))  # a list, when it was read from a file
        if self.width <= 0 or self.width % GROUPS:
            raise ValueError(f"expected width to be a positive multiple of {GROUPS}, got {self.width}")


def _conv(c_in: int, c_out: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(c_in, c_out, side, stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # He et al., 2015
    return conv


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3×3, norm, ReLU, 3×3, add: `(B, c_in, H, W) -> (B, c_out, H/stride, W/stride)`.

    Group norm where ResNets have batch norm: it has no running statistics, which the moving average of the
    weights would leave out, and treats an image alike in training and in use, as a ViT's layer norm does.
    """

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, c_in)
        self.conv1 = _conv(c_in, c_out, stride=stride)
        self.norm2 = nn.GroupNorm(GROUPS, c_out)
        self.conv2 = _conv(c_out, c_out)
        self.shortcut = _conv(c_in, c_out, side=1, stride=stride) if c_in != c_out else None

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c_in, H, W) -> (B, c_out, H/stride, W/stride)`."""
        branch = F.relu(self.norm1(x))
        if self.shortcut is not None:  # a change of width needs a map on the way past, too
            x = self.shortcut(branch)
        branch = self.conv1(branch)  # (B, c_out, H/stride, W/stride)
        return x + self.conv2(F.relu(self.norm2(branch)))


class ConvNet(nn.Module):
    """A residual network for small images. `(B, C, H, W) -> (B, K)`.

    It has what `Trainer` and `train` of `vit.training` ask of a model: `config`, `set_input_size` and
    `pos_embed`, which is `None`: a convolution knows where things are from their neighbours alone.
    """

    pos_embed = None

    def __init__(self, config: ConvNetConfig):
        super().__init__()
        self.config = config
        widths = [config.width * 2**stage for stage in range(len(config.depths))]
        self.stem = _conv(config.in_chans, config.width)
        blocks, c_in = [], config.width
        for stage, (c, depth) in enumerate(zip(widths, config.depths, strict=True)):
            for i in range(depth):  # each stage but the first begins by halving height and width
                blocks.append(ResidualBlock(c_in, c, stride=2 if stage and not i else 1))
                c_in = c
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(GROUPS, c_in)
        self.head = nn.Linear(c_in, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: `(B, C, H, W) -> (B, K)` logits."""
        x = self.blocks(self.stem(images))  # (B, c, H/4, W/4)
        x = F.relu(self.norm(x)).mean(dim=(2, 3))  # (B, c)
        return self.head(x)

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Accept images of another size from now on: nothing to do but to note it."""
        self.config = replace(self.config, img_size=img_size)
