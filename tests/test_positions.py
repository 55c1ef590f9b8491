import math

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from vit.positions import interpolate_positions, sincos_1d, sincos_2d


def sincos_by_loop(position, dim):
    """The formula of Vaswani et al. (2017), section 3.5, one number at a time, sines first."""
    angles = [position / 10000 ** (2 * i / dim) for i in range(dim // 2)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


@pytest.mark.parametrize(("num_positions", "dim"), [(1, 2), (7, 12), (196, 192)])
def test_sincos_1d_is_the_formula(num_positions, dim):
    expected = torch.tensor([sincos_by_loop(p, dim) for p in range(num_positions)])
    torch.testing.assert_close(sincos_1d(num_positions, dim), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("grid", "dim"), [((1, 1), 4), ((3, 5), 16), ((14, 10), 192)])
def test_sincos_2d_is_the_formula_for_row_and_column(grid, dim):
    gh, gw = grid
    expected = torch.tensor(
        [
            sincos_by_loop(row, dim // 2) + sincos_by_loop(col, dim // 2)
            for row in range(gh)
            for col in range(gw)
        ]
    )
    torch.testing.assert_close(sincos_2d(grid, dim), expected, atol=1e-6, rtol=0)


def test_sincos_2d_is_separable():
    table = sincos_2d((3, 5), 16).reshape(3, 5, 16)
    assert torch.equal(table[..., :8], table[:, :1, :8].expand(3, 5, 8))  # the first half ignores the column
    assert torch.equal(table[..., 8:], table[:1, :, 8:].expand(3, 5, 8))  # the second half ignores the row


def test_similarity_in_1d_depends_only_on_the_distance():
    table = sincos_1d(20, 32).double()
    similarity = table @ table.T
    for offset in range(20):
        diagonal = similarity.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert similarity[0, 1] > similarity[0, 5] + 1  # and it does depend on the distance


def test_similarity_in_2d_depends_only_on_the_offset():
    table = sincos_2d((6, 7), 32).double().reshape(6, 7, 32)
    for dy in range(3):
        for dx in range(4):
            here, there = table[: 6 - dy, : 7 - dx], table[dy:, dx:]
            similarity = (here * there).sum(-1)
            torch.testing.assert_close(similarity, similarity[0, 0].expand_as(similarity), atol=1e-5, rtol=0)


def test_every_position_has_its_own_row():
    for table in (sincos_1d(196, 192), sincos_2d((14, 14), 192)):
        distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
        assert distances.min() > 0.5


@pytest.mark.parametrize("dim", [1, 7])
def test_sincos_1d_needs_an_even_dim(dim):
    with pytest.raises(ValueError, match=f"even dim.*got {dim}"):
        sincos_1d(4, dim)


@pytest.mark.parametrize("dim", [2, 6, 7])
def test_sincos_2d_needs_a_multiple_of_four(dim):
    with pytest.raises(ValueError, match=f"multiple of 4.*got {dim}"):
        sincos_2d((2, 2), dim)


GRIDS = [((14, 14), (24, 24)), ((14, 14), (7, 7)), ((4, 6), (6, 4)), ((5, 3), (8, 9)), ((8, 8), (12, 5))]


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_interpolation_is_timms(old, new, prefix):
    table = torch.randn(1, prefix + old[0] * old[1], 24)
    expected = resample_abs_pos_embed(table, list(new), list(old), num_prefix_tokens=prefix)
    result = interpolate_positions(table, old, new, prefix)
    assert result.shape == (1, prefix + new[0] * new[1], 24)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert torch.equal(result[:, :prefix], table[:, :prefix])  # a class token has no place to move to


@pytest.mark.parametrize("prefix", [0, 1])
def test_an_unchanged_grid_returns_the_same_values(prefix):
    table = torch.randn(1, prefix + 15, 8)
    assert torch.equal(interpolate_positions(table, (3, 5), (3, 5), prefix), table)


@pytest.mark.parametrize("new", [(9, 9), (2, 2), (3, 8)])
def test_a_constant_table_stays_constant(new):
    value = torch.randn(8)
    result = interpolate_positions(value.expand(1, 16, 8), (4, 4), new, 0)
    torch.testing.assert_close(result, value.expand_as(result), atol=1e-6, rtol=0)


def test_rows_and_columns_do_not_change_places():
    # A table that grows downwards only must do so after resizing, too.
    rows = torch.arange(4.0)[:, None].expand(4, 6).reshape(1, 24, 1)
    result = interpolate_positions(rows, (4, 6), (8, 3), 0).reshape(8, 3)
    torch.testing.assert_close(result, result[:, :1].expand(8, 3))
    assert (result[:, 0].diff() > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_kept(dtype):
    table = torch.randn(1, 17, 8)
    result = interpolate_positions(table.to(dtype), (4, 4), (6, 6), 1)
    assert result.dtype == dtype
    torch.testing.assert_close(
        result.float(), interpolate_positions(table, (4, 4), (6, 6)), atol=0.03, rtol=0
    )


def test_interpolation_is_differentiable():
    table = torch.randn(1, 17, 8, requires_grad=True)
    interpolate_positions(table, (4, 4), (6, 6)).square().sum().backward()
    assert (table.grad != 0).all()


@pytest.mark.parametrize("shape", [(1, 16, 8), (1, 18, 8), (17, 8), (2, 17, 8)])
def test_a_table_that_does_not_fit_its_grid_is_refused(shape):
    got = ", ".join(map(str, shape))
    message = rf"\(1, 17, D\) for 1 prefix token\(s\) and a 4x4 grid, got \({got}\)"
    with pytest.raises(ValueError, match=message):
        interpolate_positions(torch.zeros(shape), (4, 4), (6, 6), 1)
