import itertools
import math

import pytest
import torch
from torch import nn

from vit import VisionTransformer, ViTConfig
from vit.analysis import (
    ablate_head,
    attention_distance,
    attention_entropy,
    filter_components,
    gradient_rollout,
    logit_lens,
    patch_map,
    perturbation_curve,
    pointing_game,
    position_similarity,
    rollout,
)
from vit.positions import sincos_2d

TINY = {"patch_size": 4, "num_classes": 5, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 2.0}
GRID = (2, 3)  # rectangular, so that rows and columns cannot change places unnoticed


def reads(pool):
    """The fields of a model without class token, or of one that reads it."""
    return {"class_token": pool == "token", "global_pool": pool}


@pytest.fixture(params=["token", "avg"])
def model(request, randomise):
    return randomise(VisionTransformer(ViTConfig(img_size=(8, 12), **reads(request.param), **TINY)))


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 12)


def softmax_maps(blocks, batch, heads, tokens):
    return [torch.randn(batch, heads, tokens, tokens).mul(2).softmax(-1) for _ in range(blocks)]


def with_class_token(patches, to_class=0.0):
    """Attention among patches `(n, n)` -> `(n + 1, n + 1)`: each gives `to_class` to the class token."""
    n = len(patches)
    attention = torch.full((n + 1, n + 1), 1 / (n + 1))  # the class token looks at all alike
    attention[1:, 0], attention[1:, 1:] = to_class, (1 - to_class) * patches
    return attention


# -- filters


def test_a_bank_of_two_patterns_has_two_components():
    # Standing left against right, and red against blue; orthogonal, with spreads in the ratio 2 to 1.
    side = torch.zeros(3, 4, 4)
    side[:, :, :2], side[:, :, 2:] = 1, -1
    colour = torch.zeros(3, 4, 4)
    colour[0], colour[2] = 1, -1
    side, colour = side / side.norm(), colour / colour.norm()
    a, b = torch.tensor([2.0, -2.0, 2.0, -2.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    offset = torch.randn(3, 4, 4)  # common to all filters, so no component
    bank = offset + a[:, None, None, None] * side + b[:, None, None, None] * colour
    components, explained = filter_components(bank)
    assert components.shape == (4, 3, 4, 4)
    torch.testing.assert_close(explained, torch.tensor([0.8, 0.2, 0.0, 0.0]), atol=1e-6, rtol=0)
    for component, pattern in zip(components, (side, colour), strict=False):
        assert (component * pattern).sum().abs().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("width", "count"), [(10, 10), (40, 27)])
def test_components_are_orthonormal_and_explain_everything(width, count):
    components, explained = filter_components(torch.randn(width, 3, 3, 3))
    flat = components.flatten(1)
    assert components.shape == (count, 3, 3, 3)
    torch.testing.assert_close(flat @ flat.T, torch.eye(count), atol=1e-5, rtol=0)
    assert (explained.diff() <= 0).all()
    assert explained.sum().item() == pytest.approx(1, abs=1e-5)
    assert (flat.gather(1, flat.abs().argmax(1, keepdim=True)) > 0).all()  # the sign is settled


def test_explained_variance_is_the_covariances():
    bank = torch.randn(40, 2, 2, 2)
    eigenvalues = torch.linalg.eigvalsh(bank.flatten(1).T.cov()).flip(0)
    torch.testing.assert_close(filter_components(bank)[1], eigenvalues / eigenvalues.sum())


def test_filters_must_be_a_kernel():
    with pytest.raises(ValueError, match=r"\(D, C, P, P\), got \(24, 48\)"):
        filter_components(torch.zeros(24, 48))


# -- positions


def test_tiles_and_profiles_are_cosines_pair_by_pair():
    table = torch.randn(1 + 6, 8)
    similarity = position_similarity(table[None], GRID)
    assert similarity.tiles.shape == (2, 3, 2, 3)
    cosine = nn.CosineSimilarity(dim=0)
    rows, columns = [[] for _ in range(2)], [[] for _ in range(3)]
    for r, c, y, x in itertools.product(range(2), range(3), range(2), range(3)):
        expected = cosine(table[1 + 3 * r + c], table[1 + 3 * y + x])
        torch.testing.assert_close(similarity.tiles[r, c, y, x], expected)
        if c == x:
            rows[abs(r - y)].append(expected)
        if r == y:
            columns[abs(c - x)].append(expected)
    torch.testing.assert_close(similarity.rows, torch.stack([torch.stack(pairs).mean() for pairs in rows]))
    torch.testing.assert_close(
        similarity.columns, torch.stack([torch.stack(pairs).mean() for pairs in columns])
    )
    for y, x in itertools.product(range(2), range(3)):
        torch.testing.assert_close(similarity.cls[y, x], cosine(table[0], table[1 + 3 * y + x]))


def test_sincos_similarity_depends_on_the_offset_alone():
    tiles, rows, columns, cls = position_similarity(sincos_2d((5, 7), 32), (5, 7), num_prefix_tokens=0)
    assert cls is None
    for dy, dx in itertools.product(range(5), range(7)):
        same_offset = torch.stack([tiles[r, c, r + dy, c + dx] for r in range(5 - dy) for c in range(7 - dx)])
        torch.testing.assert_close(same_offset, same_offset[:1].expand_as(same_offset), atol=1e-5, rtol=0)
    # Hence a profile is any one tile's, and both profiles are one curve where both exist.
    torch.testing.assert_close(rows, tiles[0, 3, :, 3], atol=1e-5, rtol=0)
    torch.testing.assert_close(columns, tiles[2, 0, 2, :], atol=1e-5, rtol=0)
    torch.testing.assert_close(rows, columns[:5], atol=1e-5, rtol=0)
    assert (len(rows), len(columns)) == (5, 7)
    assert rows[0].item() == pytest.approx(1)
    assert rows[1] < 0.99


def test_a_class_token_without_a_position_is_like_no_patch():
    # In our sine-cosine models its row of the table is zero.
    model = VisionTransformer(ViTConfig(img_size=(8, 12), pos_embed="sincos2d", **TINY))
    assert torch.equal(position_similarity(model.pos_embed, GRID).cls, torch.zeros(GRID))


# -- attention distance


@pytest.mark.parametrize("grid", [(4, 4), (2, 5), (1, 7)])
def test_uniform_attention_is_as_far_as_the_mean_pair(grid):
    places = list(itertools.product(range(grid[0]), range(grid[1])))
    n = len(places)
    expected = sum(math.dist(p, q) for p in places for q in places) / n**2
    uniform = torch.full((n, n), 1 / n)
    assert attention_distance(uniform, grid, 0).item() == pytest.approx(expected, rel=1e-5)
    assert attention_distance(uniform, grid, 0, patch_size=16).item() == pytest.approx(
        16 * expected, rel=1e-5
    )
    assert attention_distance(with_class_token(uniform, 0.3), grid).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_attention_to_oneself_goes_nowhere():
    assert attention_distance(torch.eye(6), GRID, 0) == 0
    assert attention_distance(with_class_token(torch.eye(6), 0.5), GRID) == 0


@pytest.mark.parametrize(("dy", "dx", "expected"), [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 5**0.5), (0, 3, 3.0)])
def test_attention_to_one_neighbour_is_as_far_as_the_neighbour(dy, dx, expected):
    # Three rows of four. A patch without such a neighbour gives all it has to the class token.
    grid, attention = (3, 4), torch.zeros(13, 13)
    attention[0] = 1 / 13
    for r, c in itertools.product(range(3), range(4)):
        inside = r + dy < 3 and c + dx < 4
        attention[1 + 4 * r + c, 1 + 4 * (r + dy) + c + dx if inside else 0] = 1
    torch.testing.assert_close(attention.sum(-1), torch.ones(13))
    assert attention_distance(attention, grid).item() == pytest.approx(expected)
    assert attention_distance(attention, grid, patch_size=4).item() == pytest.approx(4 * expected)


def test_distance_is_averaged_over_patches_not_over_their_weight():
    # In a row of three: the first looks 2 away with a tenth of its weight, the others at themselves.
    attention = torch.zeros(4, 4)
    attention[0, 0] = attention[2, 2] = attention[3, 3] = 1
    attention[1, 0], attention[1, 3] = 0.9, 0.1
    assert attention_distance(attention, (1, 3)).item() == pytest.approx(2 / 3)


def test_the_class_token_does_not_count_in_the_distance():
    patches = softmax_maps(1, 1, 1, 6)[0][0, 0]
    expected = attention_distance(patches, GRID, 0)
    for to_class in (0.0, 0.5, 0.99):
        torch.testing.assert_close(attention_distance(with_class_token(patches, to_class), GRID), expected)


def test_distance_is_one_number_for_each_image_and_head():
    maps = torch.stack(softmax_maps(3, 2, 4, 7))  # (L, B, h, T, T)
    distance = attention_distance(maps, GRID)
    assert distance.shape == (3, 2, 4)
    torch.testing.assert_close(distance[2, 1, 3], attention_distance(maps[2, 1, 3], GRID))


# -- entropy


def test_entropy_of_known_rows():
    attention = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]])
    expected = torch.tensor([math.log(4), 0.0, math.log(2)])
    torch.testing.assert_close(attention_entropy(attention), expected)
    assert attention_entropy(attention.expand(2, 5, 3, 4)).shape == (2, 5, 3)


# -- rollout


def rollout_without_keepdim(maps):
    """The defect of a widely copied implementation: `a / a.sum(dim=-1)` divides columns, not rows."""
    result = torch.eye(maps[0].shape[-1])
    for attention in maps:
        mixed = (attention.amax(1) + torch.eye(attention.shape[-1])) / 2
        result = torch.matmul(mixed / mixed.sum(dim=-1), result)
    return result


@pytest.mark.parametrize("discard", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rows_of_a_rollout_sum_to_one(fusion, discard):
    maps = softmax_maps(4, 3, 2, 7)
    result = rollout(maps, fusion, discard)
    assert result.shape == (3, 7, 7)
    assert (result >= 0).all()
    torch.testing.assert_close(result.sum(-1), torch.ones(3, 7))


def test_rows_sum_to_one_where_a_missing_keepdim_goes_unnoticed():
    maps = softmax_maps(4, 1, 2, 7)  # batch 1: the wrong shapes broadcast without an error
    torch.testing.assert_close(rollout(maps, "max").sum(-1), torch.ones(1, 7))
    wrong = rollout_without_keepdim(maps)
    assert wrong.shape == (1, 7, 7)
    assert (wrong.sum(-1) - 1).abs().max() > 0.05


def test_rollout_of_two_blocks_by_hand():
    first = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # token 0 looks at token 1
    second = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # token 2 looks at token 0
    # Token 2 takes half of what token 0 has become, and half of that is token 1.
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    torch.testing.assert_close(rollout([first[None, None], second[None, None]])[0], expected)
    # The other order knows no way from 1 to 2: blocks must not change places.
    swapped = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    torch.testing.assert_close(rollout([second[None, None], first[None, None]])[0], swapped)


def test_rollout_of_identity_is_identity():
    maps = [torch.eye(5).expand(2, 3, 5, 5)] * 4
    for fusion in ("mean", "max", "min"):
        assert torch.equal(rollout(maps, fusion), torch.eye(5).expand(2, 5, 5))


@pytest.mark.parametrize(
    ("fusion", "first_row"),
    [
        ("mean", [0.75, 0.25]),  # fused (1/2, 1/2); with the identity (3/4, 1/4)
        ("max", [0.7, 0.3]),  # fused (3/4, 3/4); with the identity (7/8, 3/8), scaled by 4/5
        ("min", [5 / 6, 1 / 6]),  # fused (1/4, 1/4); with the identity (5/8, 1/8), scaled by 4/3
    ],
)
def test_fusion_of_two_heads_by_hand(fusion, first_row):
    one, other = torch.tensor([[0.25, 0.75], [0.0, 1.0]]), torch.tensor([[0.75, 0.25], [0.0, 1.0]])
    result = rollout([torch.stack([one, other])[None]], fusion)
    torch.testing.assert_close(result[0], torch.tensor([first_row, [0.0, 1.0]]))


def test_discard_drops_the_smallest_patches_and_never_the_class_token():
    row = torch.tensor([0.01, 0.34, 0.05, 0.4, 0.2])  # the class token's weight is the smallest of all
    attention = row.expand(1, 1, 5, 5)
    mixed = torch.tensor([0.01, 0.34, 0.0, 0.4, 0.0]) / 2 + torch.eye(5)[0] / 2  # half of four patches
    result = rollout([attention], discard=0.5)
    torch.testing.assert_close(result[0, 0], mixed / mixed.sum())
    assert ((result[0, 1:] == 0).sum(-1) >= 1).all()
    assert (rollout([attention], discard=0.99)[0, :, 0] > 0).all()
    # Without a class token the first column is a patch like the others.
    mixed = torch.tensor([0.0, 0.34, 0.0, 0.4, 0.2]) / 2 + torch.eye(5)[3] / 2
    result = rollout([attention], discard=0.4, num_prefix_tokens=0)
    torch.testing.assert_close(result[0, 3], mixed / mixed.sum())


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ([torch.eye(3)[None, None]], {"fusion": "sum"}, r"one of \('mean', 'max', 'min'\), got 'sum'"),
        ([torch.eye(3)[None, None]], {"discard": 1.0}, r"\[0, 1\), got 1.0"),
        ([torch.eye(3)[None]], {}, r"\(B, h, T, T\), got \[\(1, 3, 3\)\]"),
        ([torch.ones(1, 1, 2, 3)], {}, r"\(B, h, T, T\), got \[\(1, 1, 2, 3\)\]"),
        ([], {}, r"\(B, h, T, T\), got \[\]"),
    ],
)
def test_rollout_says_what_it_expected(maps, options, message):
    with pytest.raises(ValueError, match=message):
        rollout(maps, **options)


# -- gradient rollout


def two_colour_model(pool):
    """A model of which everything is known: class 0 is "there is colour 0", class 1 is "there is colour 1".

    Every token looks at all alike. A patch writes its colours as (a, -a, b, -b), values are passed on as they
    are, positions and MLP add nothing. A black patch is zero everywhere, so it says nothing to anyone.
    """
    sizes = {"embed_dim": 4, "depth": 1, "num_heads": 1, "num_classes": 2, "in_chans": 2, "patch_size": 2}
    model = VisionTransformer(ViTConfig(img_size=(4, 6), **reads(pool), pos_embed="none", **sizes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim != 1:
                p.zero_()
        for colour in range(2):
            model.patch_embed.proj.weight[2 * colour, colour] = 1
            model.patch_embed.proj.weight[2 * colour + 1, colour] = -1
            model.head.weight[colour, 2 * colour] = 1
        model.blocks[0].attn.qkv.weight[8:] = torch.eye(4)
        model.blocks[0].attn.proj.weight.copy_(torch.eye(4))
    return model


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_gradient_rollout_finds_the_one_patch_that_speaks_for_a_class(pool):
    model, prefix = two_colour_model(pool), int(pool == "token")
    image = torch.zeros(1, 2, 4, 6)
    image[0, 0, 0:2, 4:6] = 1  # colour 0 in patch (0, 2)
    image[0, 1, 2:4, 2:4] = 1  # colour 1 in patch (1, 1)
    images, target = image.expand(2, -1, -1, -1), torch.tensor([0, 1])
    found = gradient_rollout(model, images, target)
    if not prefix:
        found = found - torch.eye(6)  # what every patch is to itself
    heat = patch_map(found, GRID, prefix)
    for b, place in enumerate([(0, 2), (1, 1)]):
        assert heat[b][place] > 1e-3
        others = heat[b].clone()
        others[place] = 0
        assert torch.equal(others, torch.zeros(GRID))
    # Attention alone knows no class, nor that most patches are black.
    blind = rollout(model.attention_maps(images), num_prefix_tokens=prefix)
    assert torch.equal(blind[0], blind[1])
    assert patch_map(blind, GRID, prefix)[0].std() < 1e-6


def test_a_patch_map_shows_what_the_head_reads(randomise):
    # A class token and two registers stand in front, and are there whether the head reads them or not.
    for pool in ("token", "avg"):
        fields = {"global_pool": pool, "reg_tokens": 2, "fc_norm": pool == "avg", **TINY}
        config = ViTConfig(img_size=(8, 12), **fields)
        matrix = torch.randn(2, 9, 9)
        shown = patch_map(matrix, GRID, config.num_prefix_tokens, config.global_pool)
        expected = matrix[:, 0, 3:] if pool == "token" else matrix[:, 3:, 3:].mean(1)
        torch.testing.assert_close(shown, expected.reshape(2, *GRID))
        model = randomise(VisionTransformer(config))
        images = torch.randn(2, 3, 8, 12)
        assert gradient_rollout(model, images, torch.tensor([0, 1])).shape == (2, 9, 9)
        torch.testing.assert_close(logit_lens(model, images)[-1], model(images))


def test_gradient_rollout_works_in_inference_mode(model, images):
    target = torch.tensor([3, 1])
    expected = gradient_rollout(model, images, target)
    with torch.inference_mode():
        assert torch.equal(gradient_rollout(model, images + 0, target + 0), expected)
    with torch.no_grad():
        assert torch.equal(gradient_rollout(model, images, target), expected)


def test_gradient_rollout_is_the_formula(model, images):
    # The model run by hand with attention weights that keep their gradient.
    target = torch.tensor([3, 1])
    x, maps = model.embed(images), []
    for block in model.blocks:
        B, N, D = x.shape
        attn = block.attn
        q, k, v = attn.qkv(block.norm1(x)).reshape(B, N, 3, 3, 8).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        weights.retain_grad()
        maps.append(weights)
        x = x + attn.proj((weights @ v).transpose(1, 2).reshape(B, N, D))
        x = x + block.mlp(block.norm2(x))
    logits = model.forward_head(model.norm(x))
    (logits[0, 3] + logits[1, 1]).backward()
    steps = [torch.eye(N) + (w.detach() * w.grad).relu().mean(1) for w in maps]  # R + ĀR = (I + Ā)R
    expected = steps[2] @ steps[1] @ steps[0]
    torch.testing.assert_close(gradient_rollout(model, images, target), expected, atol=1e-5, rtol=1e-4)


def test_gradient_rollout_leaves_nothing_behind(model, images):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    attributes = [set(vars(module)) for module in model.modules()]
    target = torch.tensor([0, 4])
    result = gradient_rollout(model, images, target)
    assert not result.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert [set(vars(module)) for module in model.modules()] == attributes
    with torch.no_grad():  # nor does it need gradients to be on, or weights that train
        model.requires_grad_(False)
        torch.testing.assert_close(gradient_rollout(model, images, target), result)
        assert not torch.is_grad_enabled()


def test_each_image_is_explained_by_itself(model, images):
    both = gradient_rollout(model, images, torch.tensor([2, 2]))
    alone = gradient_rollout(model, images[1:], torch.tensor([2]))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
def test_gradient_rollout_needs_one_class_for_each_image(model, images, shape):
    with pytest.raises(ValueError, match=r"shape \(2,\), got"):
        gradient_rollout(model, images, torch.zeros(shape, dtype=torch.long))


def test_patch_map_is_what_the_head_reads():
    matrix = torch.arange(2 * 49.0).reshape(2, 7, 7)
    expected = matrix[:, 0, [[1, 2, 3], [4, 5, 6]]]
    assert torch.equal(patch_map(matrix, GRID), expected)
    matrix = torch.arange(36.0).reshape(6, 6)  # column means are 15, 16, ..., 20
    assert torch.equal(patch_map(matrix, GRID, 0), torch.arange(15.0, 21.0).reshape(2, 3))


@pytest.mark.parametrize("function", [attention_distance, patch_map, position_similarity])
def test_tokens_must_be_those_of_the_grid(function):
    with pytest.raises(ValueError, match=r"1 prefix token\(s\) \+ 2x3 patches, got 6"):
        function(torch.full((6, 6), 1 / 6), GRID)
    with pytest.raises(ValueError, match=r"0 prefix token\(s\) \+ 2x3 patches, got 7"):
        function(torch.full((7, 7), 1 / 7), GRID, 0)


# -- head ablation


def logits_without_head(model, images, block, head):
    """The heads' outputs side by side, one of them replaced by zeros on its way to the projection."""

    def silence(module, inputs):
        (x,) = inputs
        keep = torch.ones(24)
        keep[8 * head : 8 * (head + 1)] = 0
        return (x * keep,)

    handle = model.blocks[block].attn.proj.register_forward_pre_hook(silence)
    with torch.no_grad():
        logits = model(images)
    handle.remove()
    return logits


@torch.no_grad()
def test_an_ablated_head_adds_nothing_and_the_model_comes_back(model, images):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    logits = model(images)
    for block, head in itertools.product(range(3), range(3)):
        with ablate_head(model, block, head) as ablated:
            torch.testing.assert_close(
                ablated(images), logits_without_head(model, images, block, head), atol=1e-5, rtol=1e-5
            )
            assert not torch.allclose(model(images), logits, atol=1e-3)
        assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert torch.equal(model(images), logits)


def test_an_ablated_model_comes_back_after_an_exception(model):
    before = {name: p.clone() for name, p in model.state_dict().items()}
    weight = model.blocks[1].attn.proj.weight

    def stumble():
        assert torch.equal(weight[:, 16:], torch.zeros(24, 8))
        assert torch.equal(weight[:, :16], before["blocks.1.attn.proj.weight"][:, :16])
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), ablate_head(model, 1, 2):
        stumble()
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert weight.requires_grad


def test_two_heads_can_be_ablated_at_once(model, images):
    weight = model.blocks[0].attn.proj.weight
    before = weight.detach().clone()
    with ablate_head(model, 0, 1), ablate_head(model, 0, 2):
        assert (weight[:, 8:] == 0).all()
        assert torch.equal(weight[:, :8], before[:, :8])
    assert torch.equal(weight, before)


@pytest.mark.parametrize(("block", "head"), [(3, 0), (0, 3), (-1, 0), (0, -1)])
def test_there_must_be_such_a_head(model, block, head):
    message = f"block below 3 and a head below 3, got block {block}, head {head}"
    with pytest.raises(ValueError, match=message), ablate_head(model, block, head):
        pass


# -- logit lens


@torch.no_grad()
def test_logit_lens_ends_with_the_models_answer(model, images):
    lens = logit_lens(model, images)
    assert lens.shape == (4, 2, 5)
    assert torch.equal(lens[-1], model(images))
    torch.testing.assert_close(lens[0], model.forward_head(model.norm(model.embed(images))))
    # After l blocks it is the answer of a model that has only l blocks.
    blocks = model.blocks
    for depth in (1, 2):
        model.blocks = blocks[:depth]
        torch.testing.assert_close(lens[depth], model(images))
    assert not torch.allclose(lens[1], lens[2], atol=1e-3)


# -- pointing game


def test_pointing_game_on_drawn_maps():
    mask = torch.zeros(2, 3)
    mask[0, 2] = mask[1, 2] = 1  # the right edge
    heat = torch.zeros(5, 2, 3)
    heat[0, 1, 2] = 1  # a hit
    heat[1, 1, 1] = 1  # a miss
    heat[2, 0, 2] = heat[2, 1, 0] = 3  # two hottest, one of them on the object
    heat[3] = 7  # flat: a third of the picture is the object
    heat[4] = -1
    heat[4, 0, 2] = -0.5  # nothing above zero, and still a hottest place
    result = pointing_game(heat, mask.expand(5, 2, 3))
    torch.testing.assert_close(result, torch.tensor([1, 0, 1 / 2, 1 / 3, 1.0]))


def test_pooling_the_mask_asks_what_enlarging_the_heat_asks():
    heat, mask = torch.randn(4, *GRID), torch.rand(4, 8, 12)
    large = heat.repeat_interleave(4, 1).repeat_interleave(4, 2)
    pooled = nn.functional.avg_pool2d(mask, 4)
    torch.testing.assert_close(pointing_game(heat, pooled), pointing_game(large, mask))


@pytest.mark.parametrize(("heat", "mask"), [((2, 2, 3), (2, 3, 2)), ((2, 3), (2, 3)), ((2, 2, 3), (1, 2, 3))])
def test_heat_and_mask_must_have_one_shape(heat, mask):
    with pytest.raises(ValueError, match=r"one shape \(B, H, W\), got .* and "):
        pointing_game(torch.zeros(heat), torch.zeros(mask))


# -- deletion and insertion

WORTH = torch.tensor([[0.05, 0.3, 0.1], [0.4, 0.0, 0.15]])  # what each patch adds to the probability


def linear_predict(images):
    """`(B, 1, 4, 9)` -> `(B, 2)`: class 1 has the worth of the patches that are 1, of 2×3 pixels each."""
    patches = images.unfold(2, 2, 2).unfold(3, 3, 3).mean((1, 4, 5))  # (B, 2, 3)
    p = (patches * WORTH).sum((1, 2))
    return torch.stack([1 - p, p], dim=1)


PICTURES = torch.ones(2, 1, 4, 9)
HEATS = torch.stack([WORTH, -WORTH])  # one map that is right, one that is as wrong as can be
GONE = torch.tensor([[1.0, 0.6, 0.3, 0.15, 0.05, 0.0, 0.0], [1.0, 1.0, 0.95, 0.85, 0.7, 0.4, 0.0]]).T


@pytest.mark.parametrize(("insert", "expected"), [(False, GONE), (True, 1 - GONE)])
def test_deletion_and_insertion_on_a_linear_model(insert, expected):
    target = torch.ones(2, dtype=torch.long)
    curve, area = perturbation_curve(linear_predict, PICTURES, HEATS, target, steps=6, insert=insert)
    torch.testing.assert_close(curve, expected)
    # Trapezes by hand: half of the ends and all between, each a sixth wide.
    torch.testing.assert_close(area, ((expected[0] + expected[-1]) / 2 + expected[1:-1].sum(0)) / 6)
    # Minus the heat is the other way round.
    turned, _ = perturbation_curve(linear_predict, PICTURES, -HEATS, target, steps=6, insert=insert)
    torch.testing.assert_close(turned, expected.flip(1))


def test_the_curve_follows_the_target_of_each_image():
    curve, _ = perturbation_curve(
        linear_predict, PICTURES, torch.stack([WORTH, WORTH]), torch.tensor([0, 1]), steps=3
    )
    torch.testing.assert_close(curve[:, 1], GONE[::2, 0])
    torch.testing.assert_close(curve[:, 0], 1 - GONE[::2, 0])


def test_steps_that_do_not_divide_the_patches_change_what_they_can():
    # Four steps through six patches: 0, 2, 3, 4, 6 of them, since halves are rounded to the even number.
    curve, area = perturbation_curve(
        linear_predict, PICTURES, HEATS, torch.ones(2, dtype=torch.long), steps=4
    )
    torch.testing.assert_close(curve, GONE[[0, 2, 3, 4, 6]])
    a = GONE[:, 0]
    by_hand = ((a[0] + a[2]) * 2 + (a[2] + a[3]) + (a[3] + a[4]) + (a[4] + a[6]) * 2) / 2 / 6
    torch.testing.assert_close(area[0], by_hand)


def test_the_baseline_can_be_a_picture():
    seen = []

    def predict(images):
        seen.append(images)
        return torch.ones(len(images), 1)

    images, baseline = torch.randn(2, 3, 4, 9), torch.randn(2, 3, 4, 9)
    heat = torch.zeros(2, 2, 3)  # equal patches go in reading order
    perturbation_curve(predict, images, heat, torch.zeros(2, dtype=torch.long), 6, baseline)
    assert torch.equal(seen[0], images)
    assert torch.equal(seen[6], baseline)
    assert torch.equal(seen[4][:, :, :2], baseline[:, :, :2])  # the first row and the next patch
    assert torch.equal(seen[4][:, :, 2:, :3], baseline[:, :, 2:, :3])
    assert torch.equal(seen[4][:, :, 2:, 3:], images[:, :, 2:, 3:])


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((2, 3, 3), 4, r"\(2, gh, gw\) with gh dividing 4 and gw dividing 9, got \(2, 3, 3\)"),
        ((2, 2, 2), 4, r"got \(2, 2, 2\)"),
        ((1, 2, 3), 4, r"got \(1, 2, 3\)"),
        ((2, 6), 4, r"got \(2, 6\)"),
        ((2, 2, 3), 0, "1 to 6 steps for 6 patches, got 0"),
        ((2, 2, 3), 7, "1 to 6 steps for 6 patches, got 7"),
    ],
)
def test_a_curve_needs_heat_per_patch_and_a_step_at_least(shape, steps, message):
    with pytest.raises(ValueError, match=message):
        perturbation_curve(
            linear_predict, PICTURES, torch.zeros(shape), torch.ones(2, dtype=torch.long), steps
        )


# -- all of it on one model


@torch.no_grad()
def test_a_model_goes_through_every_function(model, images):
    prefix = model.config.num_prefix_tokens
    maps = model.attention_maps(images)
    distance = attention_distance(torch.stack(maps), GRID, prefix, patch_size=4)
    assert distance.shape == (3, 2, 3)
    assert (distance > 0).all()
    assert (distance < 4 * 5**0.5).all()  # the diagonal of the grid
    assert (attention_entropy(maps[0]) <= math.log(6 + prefix) + 1e-5).all()
    assert position_similarity(model.pos_embed, GRID, prefix).tiles.shape == (2, 3, 2, 3)
    assert filter_components(model.patch_embed.proj.weight)[0].shape == (24, 3, 4, 4)
    heat = patch_map(rollout(maps, num_prefix_tokens=prefix), GRID, prefix)
    curve, area = perturbation_curve(
        lambda x: model(x).softmax(1), images, heat, torch.tensor([0, 1]), steps=3
    )
    assert (curve.shape, area.shape) == ((4, 2), (2,))
    torch.testing.assert_close(curve[0], model(images).softmax(1)[[0, 1], [0, 1]])
