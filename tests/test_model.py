import dataclasses
import math
import re

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from torchvision import models

from vit import PRESETS, VisionTransformer, ViTConfig, create_model, get_config
from vit.patches import patchify, unpatchify
from vit.positions import sincos_1d, sincos_2d

TINY = {
    "img_size": 16,
    "patch_size": 4,
    "num_classes": 7,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 2.0,
}


def tiny(**overrides):
    return VisionTransformer(ViTConfig(**{**TINY, **overrides})).eval()


def reads(pool):
    """The fields of a model without class token, or of one that reads it."""
    return {"class_token": pool == "token", "global_pool": pool}


# -- config


def test_an_img_size_is_stored_as_height_and_width():
    assert ViTConfig(img_size=32, patch_size=4).img_size == (32, 32)
    config = ViTConfig(img_size=[32, 48], patch_size=4)
    assert config.img_size == (32, 48)
    assert config.grid_size == (8, 12)
    assert (config.num_patches, config.num_tokens) == (96, 97)
    assert (config.mlp_dim, ViTConfig(embed_dim=24, num_heads=3, mlp_ratio=2.5).mlp_dim) == (3072, 60)


def test_mean_pooling_has_no_class_token():
    config = ViTConfig(class_token=False, global_pool="avg")
    assert (config.num_prefix_tokens, config.num_tokens) == (0, 196)


def test_a_config_is_frozen_and_hashable():
    config = ViTConfig(img_size=[32, 48], patch_size=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3
    assert hash(config) == hash(ViTConfig(img_size=(32, 48), patch_size=4))


SIZES = r"img_size must be a positive int or \(height, width\), got "
BAD_VALUES = [
    ({"img_size": 0}, SIZES + "0"),
    ({"img_size": -32}, SIZES + "-32"),
    ({"img_size": (32,)}, SIZES + r"\(32,\)"),
    ({"img_size": (32, 32, 32)}, SIZES + r"\(32, 32, 32\)"),
    ({"img_size": (32, 0)}, SIZES + r"\(32, 0\)"),
    *[
        ({name: value}, f"^{name} must be positive, got {value}$")
        for name in (
            "in_chans",
            "embed_dim",
            "depth",
            "num_heads",
            "mlp_ratio",
            "norm_eps",
        )
        for value in (0, -1)
    ],
    (
        {"pos_embed": "rope"},
        r"pos_embed must be one of \('none', 'learned', 'sincos1d', 'sincos2d'\), got 'rope'",
    ),
    ({"global_pool": "max"}, r"global_pool must be one of \('token', 'avg'\), got 'max'"),
    ({"gelu": "quick"}, r"gelu must be one of \('none', 'tanh'\), got 'quick'"),
    ({"class_token": False}, "without a class token there is none to read: expected global_pool=.avg."),
    ({"patch_size": (16, 8)}, "patches are square: expected patch_size to be one side, got 16x8"),
    ({"patch_size": 0}, r"patch_size must be a positive int or \(height, width\), got 0"),
    ({"num_classes": -1}, "num_classes must not be negative, got -1"),
    ({"reg_tokens": -1}, "reg_tokens must not be negative, got -1"),
    ({"init_values": 0.0}, "init_values must be positive, got 0.0"),
    ({"pos_embed": "sincos2d", "pos_size": 100}, "multiples of patch_size=16, got 100x100"),
    ({"head": None}, r"head must be one of \('linear', 'mlp', 'none'\), got None"),
    *[
        ({name: value}, rf"^{name} must lie in \[0, 1\), got {value}$")
        for name in ("drop_rate", "attn_drop_rate", "drop_path_rate")
        for value in (-0.1, 1.0)
    ],
    ({"img_size": (225, 224)}, "multiples of patch_size=16, got 225x224"),
    ({"img_size": (224, 225)}, "multiples of patch_size=16, got 224x225"),
    ({"num_heads": 5}, "multiple of num_heads=5, got 768"),
]


@pytest.mark.parametrize(
    ("fields", "message"), BAD_VALUES, ids=lambda x: str(x) if isinstance(x, dict) else ""
)
def test_a_bad_config_says_what_was_expected_and_what_came(fields, message):
    with pytest.raises(ValueError, match=message):
        ViTConfig(**fields)


@pytest.mark.parametrize(("pos_embed", "dim", "multiple"), [("sincos1d", 7, "even"), ("sincos2d", 6, "of 4")])
def test_a_width_that_the_positions_cannot_fill_is_refused(pos_embed, dim, multiple):
    with pytest.raises(ValueError, match=f"{multiple}.*got {dim}"):
        tiny(pos_embed=pos_embed, embed_dim=dim, num_heads=1)


@pytest.mark.parametrize(
    ("typo", "near"), [("vit_b16", "vit_b_16"), ("ViT_L_32", "vit_l_32"), ("vit_tiny_16", "vit_ti_16")]
)
@pytest.mark.parametrize("build", [get_config, create_model])
def test_an_unknown_preset_suggests_the_nearest_and_lists_all(build, typo, near):
    with pytest.raises(ValueError, match=re.escape(f"{typo!r}; did you mean {near!r}?")) as error:
        build(typo)
    assert all(name in str(error.value) for name in PRESETS)


def test_a_preset_can_be_changed_by_keyword():
    config = get_config("vit_ti_16", num_classes=10, img_size=(32, 64))
    assert (config.num_classes, config.grid_size, config.embed_dim) == (10, (2, 4), 192)
    assert create_model("vit_nano_4", num_classes=3).head.out_features == 3
    assert get_config("vit_ti_16").num_classes == 1000  # the table itself is untouched


# -- presets. Counts come from others: torchvision documents its own, timm's are counted below.

TORCHVISION = {
    "vit_b_16": models.ViT_B_16_Weights.IMAGENET1K_V1,
    "vit_b_32": models.ViT_B_32_Weights.IMAGENET1K_V1,
    "vit_l_16": models.ViT_L_16_Weights.IMAGENET1K_V1,
    "vit_l_32": models.ViT_L_32_Weights.IMAGENET1K_V1,
    "vit_h_14": models.ViT_H_14_Weights.IMAGENET1K_SWAG_LINEAR_V1,  # the one at 224 pixels
}

# name: (blocks, width, MLP, heads, patch, parameters). A count does not depend on the heads, hence the sizes.
# Base, Large, Huge: Table 1 of the paper; Ti and S: Table 1 of DeiT (Touvron et al., 2021).
PRESET_TABLE = {
    "vit_ti_16": (12, 192, 768, 3, 16, 5_717_416),
    "vit_s_16": (12, 384, 1536, 6, 16, 22_050_664),
    "vit_b_16": (12, 768, 3072, 12, 16, 86_567_656),
    "vit_b_32": (12, 768, 3072, 12, 32, 88_224_232),
    "vit_l_16": (24, 1024, 4096, 16, 16, 304_326_632),
    "vit_l_32": (24, 1024, 4096, 16, 32, 306_535_400),
    "vit_h_14": (32, 1280, 5120, 16, 14, 632_045_800),
    "vit_nano_4": (6, 128, 256, 4, 4, 811_146),
    "vit_mini_4": (9, 192, 384, 6, 4, 2_697_610),
}


def count(model):
    return sum(p.numel() for p in model.parameters())


def on_meta(build):
    """Build with shapes but without numbers: Huge in milliseconds and no memory."""
    with torch.device("meta"):
        return build()


def test_no_preset_is_missing_from_the_table():
    assert set(PRESET_TABLE) == set(PRESETS)


@pytest.mark.parametrize("name", PRESET_TABLE)
def test_a_preset_has_the_published_size_and_count(name):
    depth, dim, mlp_dim, heads, patch, parameters = PRESET_TABLE[name]
    config = get_config(name)
    sizes = (config.depth, config.embed_dim, config.mlp_dim, config.num_heads, config.patch_size)
    assert sizes == (depth, dim, mlp_dim, heads, patch)
    assert count(on_meta(lambda: VisionTransformer(config))) == parameters


@pytest.mark.parametrize("name", PRESET_TABLE)
def test_timm_counts_the_same(name):
    config = get_config(name)
    kwargs = {
        field: getattr(config, field)
        for field in (
            "img_size",
            "patch_size",
            "num_classes",
            "embed_dim",
            "depth",
            "num_heads",
            "mlp_ratio",
        )
    }
    assert count(on_meta(lambda: TimmViT(**kwargs))) == PRESET_TABLE[name][-1]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_documents_the_same_count(name):
    assert TORCHVISION[name].meta["num_params"] == PRESET_TABLE[name][-1]


@pytest.mark.parametrize(("name", "millions"), [("vit_b_16", 86), ("vit_l_16", 307), ("vit_h_14", 632)])
def test_counts_are_near_the_papers_rounded_ones(name, millions):
    # Table 1 gives one figure per size and does not say which patch, classes or head it counts; our L/16
    # has 304 million and L/32 307, so the paper's figures can only be met approximately.
    assert PRESET_TABLE[name][-1] / 1e6 == pytest.approx(millions, rel=0.01)


# -- names


KEYS = {
    "cls_token": (1, 1, 24),
    "pos_embed": (1, 17, 24),
    "patch_embed.proj.weight": (24, 3, 4, 4),
    "patch_embed.proj.bias": (24,),
    "blocks.0.norm1.weight": (24,),
    "blocks.0.norm1.bias": (24,),
    "blocks.0.attn.qkv.weight": (72, 24),
    "blocks.0.attn.qkv.bias": (72,),
    "blocks.0.attn.proj.weight": (24, 24),
    "blocks.0.attn.proj.bias": (24,),
    "blocks.0.norm2.weight": (24,),
    "blocks.0.norm2.bias": (24,),
    "blocks.0.mlp.fc1.weight": (48, 24),
    "blocks.0.mlp.fc1.bias": (48,),
    "blocks.0.mlp.fc2.weight": (24, 48),
    "blocks.0.mlp.fc2.bias": (24,),
    "norm.weight": (24,),
    "norm.bias": (24,),
    "head.weight": (7, 24),
    "head.bias": (7,),
}
FC = {"pre_logits.fc.weight", "pre_logits.fc.bias"}


def test_state_dict_keys_are_a_contract():
    # A renamed key breaks every checkpoint a reader has saved, so it has to break here first.
    state = tiny(depth=1).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == KEYS


@pytest.mark.parametrize(
    ("overrides", "missing", "added"),
    [
        (reads("avg"), {"cls_token"}, set()),
        ({"global_pool": "avg"}, set(), set()),
        ({"reg_tokens": 2}, set(), {"reg_token"}),
        ({"init_values": 0.1}, set(), {"blocks.0.ls1.gamma", "blocks.0.ls2.gamma"}),
        ({"fc_norm": True}, {"norm.weight", "norm.bias"}, {"fc_norm.weight", "fc_norm.bias"}),
        ({"num_classes": 0}, {"head.weight", "head.bias"}, set()),
        ({"pos_embed": "none"}, {"pos_embed"}, set()),
        ({"pos_embed": "sincos1d"}, {"pos_embed"}, set()),  # a function of the sizes: nothing to save
        ({"pos_embed": "sincos2d"}, {"pos_embed"}, set()),
        ({"qkv_bias": False}, {"blocks.0.attn.qkv.bias"}, set()),
        ({"head": "none"}, {"head.weight", "head.bias"}, set()),
        ({"head": "mlp"}, set(), FC),
    ],
)
def test_options_change_only_their_own_keys(overrides, missing, added):
    assert set(tiny(depth=1, **overrides).state_dict()) == set(KEYS) - missing | added


# -- forward


@pytest.mark.parametrize("head", ["linear", "mlp", "none"])
@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("pos_embed", ["none", "learned", "sincos1d", "sincos2d"])
def test_forward_shapes(pos_embed, pool, head):
    model = tiny(pos_embed=pos_embed, **reads(pool), head=head)
    images = torch.randn(2, 3, 16, 16)
    features = model.forward_features(images)
    assert features.shape == (2, 17 if pool == "token" else 16, 24)
    assert model(images).shape == (2, 24 if head == "none" else 7)
    assert torch.equal(model(images), model.forward_head(features))


@pytest.mark.parametrize(
    ("in_chans", "size"), [(1, (16, 16)), (4, (16, 16)), (3, (8, 24)), (1, (20, 4)), (4, (4, 4))]
)
def test_any_channels_and_rectangles(in_chans, size):
    model = tiny(in_chans=in_chans, img_size=size)
    assert model(torch.randn(2, in_chans, *size)).shape == (2, 7)
    message = rf"\(B, {in_chans}, {size[0]}, {size[1]}\), got \(2, {in_chans + 1}, {size[0]}, {size[1]}\)"
    with pytest.raises(ValueError, match=message):
        model(torch.randn(2, in_chans + 1, *size))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_head_reads_the_class_token_or_the_mean(pool):
    model = tiny(**reads(pool), head="none")
    x = torch.randn(2, 5, 24)
    assert torch.equal(model.forward_head(x), x[:, 0] if pool == "token" else x.mean(1))


@pytest.mark.parametrize("head", ["linear", "mlp", "none"])
def test_pre_logits_are_what_the_head_reads(head, randomise):
    model = randomise(tiny(head=head))
    x = torch.randn(2, 17, 24)
    pre_logits = model.forward_head(x, pre_logits=True)
    expected = x[:, 0]
    if head == "mlp":  # section 3.1: one hidden layer; tanh as in the paper's code
        expected = (x[:, 0] @ model.pre_logits.fc.weight.T + model.pre_logits.fc.bias).tanh()
    torch.testing.assert_close(pre_logits, expected)
    assert torch.equal(model.head(pre_logits), model.forward_head(x))


def test_equation_1(randomise):
    model = randomise(tiny())
    images = torch.randn(2, 3, 16, 16)
    patches = F.conv2d(images, model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=4)
    sequence = torch.cat([model.cls_token.expand(2, 1, 24), patches.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(model.embed(images), sequence + model.pos_embed)


@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("pos_embed", ["sincos1d", "sincos2d"])
def test_fixed_positions_are_added_to_patches_and_not_to_the_class_token(pos_embed, pool):
    model = tiny(pos_embed=pos_embed, **reads(pool), img_size=(8, 24))
    table = sincos_1d(12, 24) if pos_embed == "sincos1d" else sincos_2d((2, 6), 24)
    x, images = model.embed(images := torch.randn(2, 3, 8, 24)), images
    torch.testing.assert_close(x[:, -12:] - model.patch_embed(images), table.expand(2, 12, 24))
    if pool == "token":
        assert torch.equal(x[:, :1], model.cls_token.expand(2, 1, 24))
    assert not model.pos_embed.requires_grad
    assert model.double().pos_embed.dtype == torch.float64  # a buffer: it moves with the model


def permute_patches(images, order):
    return unpatchify(patchify(images, 4)[:, order], 4, tuple(images.shape[-2:]))


def test_without_positions_a_vit_sees_a_bag_of_patches(randomise):
    model = randomise(tiny(pos_embed="none"))
    images, order = torch.randn(2, 3, 16, 16), torch.randperm(16)
    tokens, permuted = (model.forward_features(x) for x in (images, permute_patches(images, order)))
    torch.testing.assert_close(permuted[:, 0], tokens[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(permuted[:, 1:], tokens[:, 1:][:, order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pos_embed", ["learned", "sincos1d", "sincos2d"])
def test_with_positions_the_order_of_the_patches_matters(pos_embed, randomise):
    model = randomise(tiny(pos_embed=pos_embed))
    images, order = torch.randn(2, 3, 16, 16), torch.randperm(16)
    tokens, permuted = (model.forward_features(x) for x in (images, permute_patches(images, order)))
    assert (permuted[:, 0] - tokens[:, 0]).abs().max() > 1e-2
    assert (permuted[:, 1:] - tokens[:, 1:][:, order]).abs().max() > 1e-2


# -- attention maps


def snapshot(model):
    """Every attribute of every module, parameters and buffers included, by identity."""
    attributes = {
        (name, key): id(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
    }
    tensors = {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return attributes, tensors, hooks


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_attention_maps_are_the_weights_of_an_ordinary_forward(pool, randomise, sdpa_calls):
    model = randomise(tiny(**reads(pool)))
    images = torch.randn(2, 3, 16, 16)
    before = snapshot(model)
    maps = model.attention_maps(images)
    assert snapshot(model) == before
    assert len(sdpa_calls) == 0

    # What each block's attention reads in an ordinary forward pass, and the weights by hand from that.
    inputs = []
    hooks = [
        block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for block in model.blocks
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    assert len(sdpa_calls) == 3  # the fast path is still the default
    assert len(maps) == 3
    n = model.config.num_tokens
    for weights, x, block in zip(maps, inputs, model.blocks, strict=True):
        q, k, _ = block.attn.qkv(x).unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
        expected = (q @ k.transpose(-2, -1) / math.sqrt(8)).softmax(-1)
        assert weights.shape == (2, 3, n, n)
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, n))


def test_gradients_flow_through_attention_maps():
    model = tiny()
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    model.attention_maps(images)[-1][:, :, 0].square().sum().backward()
    assert (images.grad != 0).any()
    assert (model.blocks[-1].attn.qkv.weight.grad[:48] != 0).any()  # queries and keys
    assert (model.blocks[-1].attn.qkv.weight.grad[48:] == 0).all()  # the last values come after the weights


# -- rates


def test_every_rate_arrives_where_it_belongs():
    model = tiny(depth=4, drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3)
    assert model.pos_drop.p == 0.1
    for block in model.blocks:
        assert (block.attn.proj_drop.p, block.mlp.drop.p, block.attn.attn_drop) == (0.1, 0.1, 0.2)
    rates = [block.drop_path.rate for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])  # linear in the depth


def test_the_position_sum_is_dropped_in_training():
    model = tiny(drop_rate=0.5, embed_dim=96).train()
    images = torch.randn(8, 3, 16, 16)
    # Without the class token: its start, zero, cannot be told from a dropped value.
    assert 0.45 < (model.embed(images)[:, 1:] == 0).float().mean() < 0.55
    assert (model.eval().embed(images)[:, 1:] != 0).all()


@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_rates_act_in_training_only(rate):
    model = tiny(**{rate: 0.5})
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.allclose(model(images), model(images))


# -- other input sizes


@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("size", [(24, 24), (8, 8), (20, 12)])
def test_set_input_size_is_timms(size, pool, randomise):
    ours = randomise(tiny(img_size=(16, 12), **reads(pool)))
    theirs = TimmViT(
        **{**TINY, "img_size": (16, 12)},
        **({"class_token": False, "global_pool": "avg", "fc_norm": False} if pool == "avg" else {}),
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        ours.pos_embed.mul_(10)  # make positions matter
        theirs.pos_embed.mul_(10)
    ours.set_input_size(size)
    theirs.set_input_size(img_size=size)
    assert ours.config.img_size == size
    torch.testing.assert_close(ours.pos_embed, theirs.pos_embed, atol=1e-5, rtol=0)
    images = torch.randn(2, 3, *size)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pos_embed", ["none", "sincos1d", "sincos2d"])
def test_recomputed_positions_are_those_of_a_new_model(pos_embed, randomise):
    model = randomise(tiny(pos_embed=pos_embed))
    fresh = tiny(pos_embed=pos_embed, img_size=(8, 24))
    fresh.load_state_dict(model.state_dict())
    model.set_input_size((8, 24), recompute=True)
    images = torch.randn(2, 3, 8, 24)
    assert torch.equal(model(images), fresh(images))
    assert model.config == fresh.config


def test_learned_positions_cannot_be_computed():
    with pytest.raises(ValueError, match="learned ones can't be computed"):
        tiny().set_input_size(24, recompute=True)


@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("pos_embed", ["sincos1d", "sincos2d"])
def test_fixed_positions_are_interpolated_like_learned_ones(pos_embed, pool):
    model = tiny(pos_embed=pos_embed, **reads(pool))
    learned = tiny(**reads(pool))
    with torch.no_grad():
        learned.pos_embed.copy_(model.pos_embed)
    before = model.pos_embed
    learned.set_input_size((24, 8))
    model.set_input_size(40)  # on the way
    model.set_input_size((24, 8))
    assert torch.equal(model.pos_embed, learned.pos_embed)
    assert model.config.pos_size == (16, 16)
    # The weights say nothing of the table, and need not: the config does.
    assert "pos_embed" not in model.state_dict()
    assert torch.equal(VisionTransformer(model.config).pos_embed, model.pos_embed)
    model.set_input_size(16)  # nothing was lost
    assert torch.equal(model.pos_embed, before)
    assert model.config == tiny(pos_embed=pos_embed, **reads(pool)).config


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_model_of_another_precision_keeps_it_when_resized(dtype):
    for pos_embed in ("learned", "sincos2d"):
        model = tiny(pos_embed=pos_embed).to(dtype)
        model.set_input_size(24)
        assert model.pos_embed.dtype == dtype


def test_a_model_that_is_changed_in_inference_mode_can_be_trained():
    model = tiny()
    with torch.inference_mode():
        model.set_input_size(24)
        model.reset_classifier(5)
    model(torch.randn(2, 3, 24, 24)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("pos_embed", ["none", "learned", "sincos1d", "sincos2d"])
def test_set_input_size_to_the_same_size_changes_nothing(pos_embed):
    model = tiny(pos_embed=pos_embed)
    images = torch.randn(2, 3, 16, 16)
    before = model(images)
    model.set_input_size(16)
    assert torch.equal(model(images), before)


def test_resized_positions_learn():
    model = tiny()
    model.set_input_size(24)
    assert "pos_embed" in dict(model.named_parameters())
    model(torch.randn(2, 3, 24, 24)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert (model.pos_embed.grad != 0).any(-1).all()


def test_frozen_positions_stay_frozen_when_resized():
    model = tiny()
    model.pos_embed.requires_grad_(False)
    model.set_input_size(24)
    assert not model.pos_embed.requires_grad


def test_an_impossible_size_leaves_the_model_as_it_was():
    model = tiny()
    images = torch.randn(2, 3, 16, 16)
    logits, before, config = model(images), snapshot(model), model.config
    with pytest.raises(ValueError, match="multiples of patch_size=4, got 18x16"):
        model.set_input_size((18, 16))
    assert snapshot(model) == before
    assert model.config is config
    assert torch.equal(model(images), logits)


def test_the_old_size_is_refused_after_a_change():
    model = tiny()
    model.set_input_size(24)
    with pytest.raises(ValueError, match=r"\(B, 3, 24, 24\), got \(2, 3, 16, 16\)"):
        model(torch.randn(2, 3, 16, 16))


# -- what a ViT class of timm's can do


@pytest.fixture
def both(randomise):
    """Our model and timm's, with registers and LayerScale and the same weights."""
    more = {"reg_tokens": 2, "init_values": 0.5, "img_size": (16, 12)}
    ours = randomise(tiny(**more))
    theirs = TimmViT(**{**TINY, **more}).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def same(ours, theirs):
    """One tensor, or tensors in the same lists and tuples."""
    if isinstance(theirs, torch.Tensor):
        return torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert len(ours) == len(theirs)
    return [same(a, b) for a, b in zip(ours, theirs, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"indices": 2, "norm": True},
        {"indices": [0, -1], "output_fmt": "NLC"},
        {"indices": [1], "return_prefix_tokens": True, "intermediates_only": True},
        {"indices": (0, 1), "stop_early": True, "norm": True},
    ],
    ids=str,
)
def test_intermediates_are_timms(both, options):
    ours, theirs = both
    images = torch.randn(2, 3, 16, 12)
    same(ours.forward_intermediates(images, **options), theirs.forward_intermediates(images, **options))


def test_intermediates_do_not_run_blocks_in_vain():
    model, seen = tiny(), []
    for i, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    model.forward_intermediates(torch.randn(1, 3, 16, 16), [0, 1], intermediates_only=True)
    assert seen == [0, 1]


@pytest.mark.parametrize("options", [{"indices": 0}, {"indices": 4}, {"indices": [3]}, {"output_fmt": "HWC"}])
def test_an_intermediate_that_is_not_there_is_refused(options):
    with pytest.raises(ValueError, match="expected numbers below 3 and NCHW or NLC, got"):
        tiny().forward_intermediates(torch.randn(1, 3, 16, 16), **options)


def test_a_classifier_can_be_taken_replaced_and_removed():
    model = tiny(head="mlp").double()
    assert model.get_classifier() is model.head
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    features = model.forward_features(images)
    model.reset_classifier(5)
    assert model(images).shape == (2, 5)
    assert model.config == tiny(num_classes=5).config
    assert set(model.state_dict()) == set(tiny(num_classes=5).state_dict())
    assert 0 < model.head.weight.abs().max() <= 0.04
    model.reset_classifier(0, global_pool="avg")
    assert isinstance(model.get_classifier(), nn.Identity)
    torch.testing.assert_close(model(images), features[:, 1:].mean(1))  # the token stays and is not read
    assert VisionTransformer(model.config).load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="without a class token"):
        tiny(**reads("avg")).reset_classifier(3, global_pool="token")
    with pytest.raises(ValueError, match="num_classes must not be negative, got -3"):
        model.reset_classifier(-3)


def test_checkpointing_changes_memory_and_not_results():
    model, images = tiny(drop_rate=0.1, drop_path_rate=0.3).train(), torch.randn(2, 3, 16, 16)

    def run():
        model.zero_grad()
        torch.manual_seed(1)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
            loss = model(images).square().sum()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()]), sum(kept)

    plain, much = run()
    model.set_grad_checkpointing()
    again, little = run()
    model.set_grad_checkpointing(False)
    assert run()[1] == much
    torch.testing.assert_close(again, plain, atol=1e-6, rtol=1e-4)
    assert little < much / 4


def test_values_do_not_decay(both):
    ours, theirs = both
    assert ours.no_weight_decay() == theirs.no_weight_decay() - {"dist_token"}
    assert ours.no_weight_decay() <= {name for name, _ in ours.named_parameters()}


def test_a_square_pair_is_a_patch_size():
    assert ViTConfig(patch_size=(16, 16)) == ViTConfig(patch_size=[16, 16]) == ViTConfig()


# -- initialisation

# A normal distribution cut at two standard deviations is this much narrower than the one it was cut from.
CUT = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def test_initialisation():
    model = VisionTransformer(
        ViTConfig(img_size=128, num_classes=200, embed_dim=192, depth=2, num_heads=3, head="mlp")
    )
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert len(linears) == 2 * 4 + 2
    for linear in linears.values():
        assert linear.weight.std().item() == pytest.approx(0.02 * CUT, rel=0.05)
        assert linear.weight.abs().max() <= 0.04
        assert (linear.bias == 0).all()
    kernel = model.patch_embed.proj.weight
    std = (3 * 16 * 16) ** -0.5
    assert kernel.std().item() == pytest.approx(std * CUT, rel=0.05)
    assert kernel.abs().max() <= 2 * std
    assert (model.patch_embed.proj.bias == 0).all()
    assert model.pos_embed.std().item() == pytest.approx(0.02 * CUT, rel=0.05)
    assert (model.cls_token == 0).all()
    registers = tiny(reg_tokens=2, embed_dim=192).reg_token
    assert registers.std().item() == pytest.approx(0.02 * CUT, rel=0.1)
    assert (tiny(init_values=0.3).blocks[1].ls2.gamma == 0.3).all()
    for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
        assert norm.eps == 1e-6
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()


def test_a_seed_fixes_the_weights():
    def build(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in tiny().parameters()])

    assert torch.equal(build(1), build(1))
    assert not torch.equal(build(1), build(2))


# -- training


@pytest.mark.parametrize("bf16", [False, True])
def test_every_parameter_learns_and_a_batch_can_be_memorised(bf16):
    model = tiny().train()
    images, labels = torch.randn(7, 3, 16, 16), torch.arange(7)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        if step == 1:  # at step 0 some gradients may still be zero
            assert all((p.grad != 0).any() for p in model.parameters())
        optimiser.step()
    assert loss < 0.1
