import pytest
import torch
import torch.nn.functional as F

from vit.patches import PatchEmbed, embed_by_linear, patchify, unpatchify

# (B, C, H, W), P: square, wide, tall, one patch, and channel counts other than three
CASES = [
    ((2, 3, 8, 8), 4),
    ((1, 1, 4, 12), 2),
    ((2, 5, 9, 6), 3),
    ((1, 3, 6, 6), 6),
    ((1, 2, 3, 5), 1),
]


def patchify_by_index(images, P):
    """One pixel at a time, so that the order of rows, columns and channels is spelled out."""
    B, C, H, W = images.shape
    patches = torch.empty(B, (H // P) * (W // P), C * P * P)
    for b in range(B):
        for c in range(C):
            for y in range(H):
                for x in range(W):
                    n = (y // P) * (W // P) + x // P
                    patches[b, n, (c * P + y % P) * P + x % P] = images[b, c, y, x]
    return patches


def test_patches_of_a_4x4_image_by_hand():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.tensor([[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]).float()
    assert torch.equal(patchify(image, 2), expected)


@pytest.mark.parametrize(("shape", "P"), CASES)
def test_patchify_is_the_index_loop(shape, P):
    images = torch.randn(shape)
    assert torch.equal(patchify(images, P), patchify_by_index(images, P))


@pytest.mark.parametrize(("shape", "P"), CASES)
def test_patchify_is_unfold(shape, P):
    images = torch.randn(shape)
    assert torch.equal(patchify(images, P), F.unfold(images, P, stride=P).transpose(1, 2))


@pytest.mark.parametrize(("shape", "P"), CASES)
def test_unpatchify_undoes_patchify(shape, P):
    images = torch.randn(shape)
    assert torch.equal(unpatchify(patchify(images, P), P, shape[2:]), images)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("shape", "P"), [*CASES, ((2, 3, 32, 48), 16)])
def test_convolution_is_unfold_and_linear(shape, P, dtype, atol):
    _, C, H, W = shape
    embed = PatchEmbed((H, W), P, C, 24).to(dtype)
    images = torch.randn(shape, dtype=dtype)
    out = embed(images)
    assert out.shape == (shape[0], (H // P) * (W // P), 24)
    by_linear = embed_by_linear(images, embed.proj.weight, embed.proj.bias)
    torch.testing.assert_close(out, by_linear, atol=atol, rtol=0)


def test_linear_form_without_bias():
    embed = PatchEmbed((8, 8), 4, 3, 16)
    images = torch.randn(2, 3, 8, 8)
    out = embed_by_linear(images, embed.proj.weight) + embed.proj.bias
    torch.testing.assert_close(out, embed(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8), r"\(B, C, H, W\), got shape \(3, 8, 8\)"),
        ((2, 3, 8, 10), r"multiples of patch_size=4, got 8x10"),
        ((2, 3, 6, 8), r"multiples of patch_size=4, got 6x8"),
    ],
)
def test_patchify_says_what_it_expected(shape, message):
    with pytest.raises(ValueError, match=message):
        patchify(torch.zeros(shape), 4)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((1, 5, 12), (4, 4), r"\(B, 4, C\*4\), got \(1, 5, 12\)"),  # a patch too many
        ((1, 4, 10), (4, 4), r"\(B, 4, C\*4\), got \(1, 4, 10\)"),  # not a whole number of channels
        ((1, 4, 12), (5, 4), r"5x4 pixels in patches of 2 .*got \(1, 4, 12\)"),  # not divisible
    ],
)
def test_unpatchify_says_what_it_expected(shape, size, message):
    with pytest.raises(ValueError, match=message):
        unpatchify(torch.zeros(shape), 2, size)


@pytest.mark.parametrize(
    "shape",
    [
        (3, 8, 12),  # no batch
        (2, 1, 8, 12),  # greyscale
        (2, 3, 12, 8),  # height and width exchanged: as many patches, but the wrong ones
        (2, 3, 16, 24),
        (2, 3, 8, 13),  # a convolution alone would drop the last column without a word
    ],
)
def test_patch_embed_accepts_only_what_it_was_built_for(shape):
    got = ", ".join(map(str, shape))
    with pytest.raises(ValueError, match=rf"\(B, 3, 8, 12\), got \({got}\)"):
        PatchEmbed((8, 12), 4, 3, 16)(torch.zeros(shape))
