"""An endless, labelled data set that needs no download: ten kinds of shapes on textured, cluttered grounds.

Every picture is a function of `(seed, index)` and of nothing else, at any resolution: the same index at 64
pixels is the same scene as at 32, with finer detail. Place, size, rotation, colours, texture and clutter are
drawn independently of the class, so that only the shape tells it.

It is a toy, made to be learnt in minutes: one whole object in each picture, lighter than its ground, turned
by at most 30 degrees; and areas differ, a bar has half of a circle's. A model that does well here has learnt
ten outlines, not to see.

Legend: B images, S image side, M vertices of a polygon. Coordinates run from -1 to 1 across the picture.
"""

import math

import torch
from torch import Tensor

CLASSES = ("circle", "ring", "crescent", "triangle", "square", "bar", "cross", "star", "heart", "arrow")
SEGMENTS, DOTS = 4, 4  # clutter behind the shape
TURN = math.pi / 6  # largest rotation either way
LIGHTNESS = torch.tensor([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
_DRAWS = 72  # independent random numbers that a picture may use


def _uniform(seed: int, index: Tensor) -> Tensor:
    """`(B,)` indices -> `(B, _DRAWS)` numbers in [0, 1): a counter hashed by splitmix64 (Steele et al. 2014).

    A stateful generator would make a picture depend on those drawn before it.
    """

    def mix(z: Tensor, shift: int, factor: int) -> Tensor:
        z = z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))  # the mask makes the shift a logical one
        return z * factor  # int64 multiplication wraps, which is what the hash wants

    def signed(n: int) -> int:
        return n - (1 << 64) if n >= 1 << 63 else n

    counter = index.long()[:, None] * _DRAWS + torch.arange(_DRAWS)
    z = (counter + signed((seed * 0xD1342543DE82EF95) % (1 << 64))) * signed(0x9E3779B97F4A7C15)
    z = mix(z, 30, signed(0xBF58476D1CE4E5B9))
    z = mix(z, 27, signed(0x94D049BB133111EB))
    z = mix(z, 31, 1)
    return ((z >> 11) & ((1 << 53) - 1)).double().div(1 << 53).float()


def _star() -> Tensor:
    angle = torch.arange(10) * (math.pi / 5)
    radius = torch.where(torch.arange(10) % 2 == 0, 1.1, 0.46)
    return torch.stack([radius * angle.sin(), -radius * angle.cos()], dim=1)


def _heart() -> Tensor:
    t = torch.linspace(0, 2 * math.pi, 33)[:-1]
    y = -(13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos())
    return torch.stack([16 * t.sin() ** 3, y - 2.5], dim=1) / 15.5


_POLYGONS: dict[str, Tensor] = {
    "triangle": torch.tensor([[0.0, -1.15], [1.0, 0.58], [-1.0, 0.58]]),
    "square": torch.tensor([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]]),
    "bar": torch.tensor([[-1.15, -0.34], [1.15, -0.34], [1.15, 0.34], [-1.15, 0.34]]),
    "cross": torch.tensor(  # all x, then all y
        [
            (-0.33, 0.33, 0.33, 1, 1, 0.33, 0.33, -0.33, -0.33, -1, -1, -0.33),
            (-1, -1, -0.33, -0.33, 0.33, 0.33, 1, 1, 0.33, 0.33, -0.33, -0.33),
        ]
    ).T,
    "star": _star(),
    "heart": _heart(),
    "arrow": torch.tensor(
        [[1.15, 0.0], [0.2, -0.85], [0.2, -0.3], [-1.1, -0.3], [-1.1, 0.3], [0.2, 0.3], [0.2, 0.85]]
    ),
}


def _polygon(x: Tensor, y: Tensor, vertices: Tensor) -> Tensor:
    """Signed distance of points to a closed polygon `(M, 2)`: negative inside. Any shape, that of x and y."""
    nearest, inside = torch.full_like(x, torch.inf), torch.zeros_like(x, dtype=torch.bool)
    # One edge at a time keeps the work in the cache; all M at once takes several times as long.
    for (ax, ay), (bx, by) in zip(vertices.tolist(), vertices.roll(-1, 0).tolist(), strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp_(0, 1)  # nearest point of the edge
        torch.minimum(nearest, (px - along * ex).square_() + (py - along * ey).square_(), out=nearest)
        if ey != 0:  # a ray to the right crosses an odd number of edges
            inside ^= ((y >= ay) != (y >= by)) & (px < py * (ex / ey))
    return nearest.sqrt_().mul_(1 - 2 * inside.float())


def _distance(kind: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance of points to a shape of radius about 1: negative inside."""
    if kind == "circle":
        return torch.hypot(x, y) - 0.95
    if kind == "ring":
        return (torch.hypot(x, y) - 0.78).abs() - 0.24
    if kind == "crescent":
        return torch.maximum(torch.hypot(x, y) - 1.0, 0.8 - torch.hypot(x - 0.55, y))
    return _polygon(x, y, _POLYGONS[kind])


def draw(index: Tensor, img_size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the pictures with these indices.

    Args:
        index: `(B,)` whole numbers; picture i shows class i mod 10.
        img_size: side in pixels.
        seed: another seed is another data set.

    Returns:
        Images `(B, 3, S, S)` in [0, 1], labels `(B,)`, and masks `(B, S, S)` in [0, 1], the part of each
        pixel that the shape covers.
    """
    S, B = img_size, len(index)
    u = iter(_uniform(seed, index).T[..., None, None])  # each draw as (B, 1, 1)
    line = (torch.arange(S) + 0.5) * (2 / S) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")  # (S, S)
    pixel = 2 / S

    def colour() -> Tensor:
        return torch.stack([next(u), next(u), next(u)], dim=1)  # (B, 3, 1, 1)

    def texture() -> Tensor:
        """A plane wave that 32 pixels can show, and an overtone that only larger pictures resolve."""
        angle, phase, waves = next(u) * math.pi, next(u) * 2 * math.pi, 2 + 6 * next(u)
        t = (x * angle.cos() + y * angle.sin()) * waves * math.pi + phase
        return (0.05 * t.sin() + 0.025 * (5 * t + phase).sin())[:, None]  # (B, 1, S, S)

    def paint(image: Tensor, distance: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
        cover = (0.5 - distance / pixel).clamp(0, 1)  # one pixel of smooth edge
        return torch.lerp(image, colour, cover[:, None]), cover

    ground, figure = colour(), colour()
    # The lighter of the two is the shape's: with either polarity a small ViT takes longer than three minutes.
    darker = ((figure - ground) * LIGHTNESS[:, None, None]).sum(1, keepdim=True) < 0
    ground, figure = torch.where(darker, figure, ground), torch.where(darker, ground, figure)
    # Push the two colours apart where they are too alike to see a shape at all.
    gap = figure - ground
    figure = ground + gap * (0.6 / gap.norm(dim=1, keepdim=True).clamp(min=1e-3)).clamp(min=1)
    image = (ground + texture()).expand(B, 3, S, S)
    for _ in range(SEGMENTS):
        cx, cy, angle, half = next(u) * 2 - 1, next(u) * 2 - 1, next(u) * math.pi, 0.2 + 0.4 * next(u)
        dx, dy = x - cx, y - cy
        along = (dx * angle.cos() + dy * angle.sin()).clamp(-half, half)
        gap = ((dx - along * angle.cos()) ** 2 + (dy - along * angle.sin()) ** 2).sqrt() - 0.035
        image, _ = paint(image, gap, torch.lerp(ground, colour(), 0.6))
    for _ in range(DOTS):
        cx, cy, radius = next(u) * 2 - 1, next(u) * 2 - 1, 0.04 + 0.06 * next(u)
        gap = ((x - cx) ** 2 + (y - cy) ** 2).sqrt() - radius
        image, _ = paint(image, gap, torch.lerp(ground, colour(), 0.6))

    radius = 0.5 + 0.25 * next(u)
    cx, cy = ((next(u) * 2 - 1) * (0.95 - radius) for _ in range(2))  # the whole shape stays in the picture
    angle = (2 * next(u) - 1) * TURN
    dx, dy = (x - cx) / radius, (y - cy) / radius
    px, py = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()  # turned
    labels = index.long() % len(CLASSES)
    distance = torch.empty(B, S, S)
    for kind in labels.unique().tolist():
        these = labels == kind
        distance[these] = _distance(CLASSES[kind], px[these], py[these]) * radius[these]
    image, mask = paint(image, distance, figure + texture())
    return image.clamp(0, 1), labels, mask
