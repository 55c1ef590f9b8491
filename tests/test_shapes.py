"""The drawn data set: a function of seed and index, balanced, and the same scene at every resolution."""

import pytest
import torch
import torch.nn.functional as F

from vit.data import shapes

INDEX = torch.arange(200)


@pytest.fixture(scope="module")
def drawn():
    return shapes.draw(INDEX, 32)


def test_same_seed_and_index_same_picture(drawn):
    for first, again in zip(drawn, shapes.draw(INDEX, 32), strict=True):
        torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_another_seed_or_index_another_picture(drawn):
    other = shapes.draw(INDEX, 32, seed=1)[0]
    assert (drawn[0] - other).abs().amax((1, 2, 3)).min() > 0.1
    flat = drawn[0].flatten(1)
    assert torch.cdist(flat, flat).fill_diagonal_(99).min() > 1  # no two of them alike


@pytest.mark.parametrize("index", [[7], [199, 3, 42], list(range(50, 120))])
def test_a_picture_does_not_depend_on_its_batch(drawn, index):
    for whole, part in zip(drawn, shapes.draw(torch.tensor(index), 32), strict=True):
        torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-5)


def test_large_indices_are_fine():
    image, label, mask = shapes.draw(torch.tensor([10**12 + 3]), 32)
    assert label.item() == 3
    assert mask.sum() > 20
    assert image.std() > 0.01


def test_ranges_and_shapes(drawn):
    images, labels, masks = drawn
    assert images.shape == (200, 3, 32, 32)
    assert masks.shape == (200, 32, 32)
    for t in (images, masks):
        assert t.min() >= 0
        assert t.max() <= 1
    assert labels.dtype == torch.int64


def test_balanced(drawn):
    assert torch.bincount(drawn[1]).tolist() == [20] * len(shapes.CLASSES)


def test_the_whole_shape_is_in_the_picture_and_not_tiny():
    masks = shapes.draw(torch.arange(1000), 32)[2]
    area = masks.mean((1, 2))
    assert area.min() > 0.015
    assert area.max() < 0.5
    border = torch.cat([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], dim=1)
    assert (border > 0.5).float().mean() < 0.003  # only the tip of an arrow or a star ever reaches the edge


def test_the_mask_is_where_the_shape_is():
    """Circles have one colour but for a texture of ±0.15; their ground, behind clutter, has another."""
    images, _, masks = shapes.draw(torch.arange(0, 1000, 10), 64)
    for image, mask in zip(images, masks, strict=True):
        inside, outside = image[:, mask > 0.99], image[:, mask < 0.01]
        distance = (inside.mean(1) - outside.mean(1)).norm()
        assert distance > 0.15  # the colours are 0.6 apart before clipping, texture and clutter
        assert inside.std(1).max() < 0.16


def test_masks_have_the_area_of_their_shape():
    labels, masks = shapes.draw(torch.arange(1000), 48)[1:]
    area = torch.stack([masks[labels == k].mean() for k in range(10)])
    ratio = dict(zip(shapes.CLASSES, (area / area[0]).tolist(), strict=True))  # against the circle's π·0.95²
    assert ratio["square"] == pytest.approx(1.6**2 / (torch.pi * 0.95**2), rel=0.1)
    assert ratio["bar"] == pytest.approx(2.3 * 0.68 / (torch.pi * 0.95**2), rel=0.1)
    assert ratio["ring"] == pytest.approx((1.02**2 - 0.54**2) / 0.95**2, rel=0.1)


def test_more_pixels_show_the_same_scene():
    coarse, fine = (shapes.draw(torch.arange(100), size) for size in (32, 128))
    shrunk = F.avg_pool2d(fine[2][:, None], 4)[:, 0]
    assert (shrunk - coarse[2]).abs().mean() < 0.01
    assert (F.avg_pool2d(fine[0], 4) - coarse[0]).abs().mean() < 0.03


def test_only_the_shape_tells_the_class():
    """Mean colour and background say nothing: class means of both agree as means of random groups would."""
    images, labels, masks = shapes.draw(torch.arange(4000), 32)
    ground = (images * (masks < 0.01)[:, None]).sum((2, 3)) / (masks < 0.01).sum((1, 2))[:, None]
    means = torch.stack([ground[labels == k].mean(0) for k in range(10)])
    spread = ground.std(0) / 20  # of the mean of 400
    assert ((means - ground.mean(0)).abs() / spread).max() < 4
