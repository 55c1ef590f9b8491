"""The same weights in our model and in timm's or torchvision's give the same tokens and logits.

Nothing is downloaded: the weights are noise. timm and torchvision are pinned requirements, so
nothing here may be skipped.
"""

from functools import partial

import pytest
import timm
import torch
import torchvision
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionViT

from vit import VisionTransformer, ViTConfig, get_config


def empty(build):
    """Build without initialising: every parameter is overwritten anyway."""
    with torch.device("meta"):
        model = build()
    return model.to_empty(device="cpu").eval()


def tokens_after_blocks(model, blocks, images):
    """The output of every block, then the logits."""
    seen = []
    hooks = [block.register_forward_hook(lambda _, args, out: seen.append(out)) for block in blocks]
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(blocks)
    return [*seen, logits]


def assert_same(ours, theirs, their_blocks, images):
    mine = tokens_after_blocks(ours, ours.blocks, images)
    others = tokens_after_blocks(theirs, their_blocks, images)
    assert mine[-1].std() > 0.1  # the tolerance below would be met by two heads of zeros
    for i, (a, b) in enumerate(zip(mine, others, strict=True)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0, msg=lambda m, i=i: f"after block {i}: {m}")


# -- timm: the names are the same, so a state dict loads as it is, in both directions


def pair(ours, theirs, direction, randomise):
    source, target = (theirs, ours) if direction == "from" else (ours, theirs)
    target.load_state_dict(randomise(source).state_dict(), strict=True)
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("direction", ["from", "into"])
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("vit_tiny_patch16_224", "vit_ti_16"),
        ("vit_small_patch16_224", "vit_s_16"),
        ("vit_base_patch16_224", "vit_b_16"),
    ],
)
def test_timm_at_full_size(name, preset, direction, randomise):
    ours = empty(lambda: VisionTransformer(get_config(preset)))
    theirs = empty(lambda: timm.create_model(name, pretrained=False))
    ours, theirs = pair(ours, theirs, direction, randomise)
    assert_same(ours, theirs, theirs.blocks, torch.randn(1, 3, 224, 224))


TINY = {
    "img_size": 32,
    "patch_size": 8,
    "num_classes": 10,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
}
MEAN = (
    {"class_token": False, "global_pool": "avg"},
    {"class_token": False, "global_pool": "avg", "fc_norm": False},
)
# Our field, timm's argument. Both take TINY as it is: the field names are timm's.
VARIANTS = {
    "plain": ({}, {}),
    "wide": ({"img_size": (32, 48)}, {"img_size": (32, 48)}),
    "tall": ({"img_size": (64, 16)}, {"img_size": (64, 16)}),
    "greyscale": ({"in_chans": 1}, {"in_chans": 1}),
    "mean": MEAN,
    "mean, wide": tuple({**side, "img_size": (16, 48)} for side in MEAN),
    "no qkv bias": ({"qkv_bias": False}, {"qkv_bias": False}),
    "no positions": ({"pos_embed": "none"}, {"pos_embed": "none"}),
    "no head": ({"head": "none"}, {"num_classes": 0}),
    "narrow MLP": ({"mlp_ratio": 2.0}, {"mlp_ratio": 2.0}),
    "class token not read": ({"global_pool": "avg"}, {"global_pool": "avg", "fc_norm": False}),
    "norm after pooling": (
        {"global_pool": "avg", "fc_norm": True, "reg_tokens": 3},
        {"global_pool": "avg", "reg_tokens": 3},
    ),
    "norm after the token": ({"fc_norm": True}, {"fc_norm": True}),
    "registers and LayerScale": tuple([{"reg_tokens": 4, "init_values": 1e-5}] * 2),
    "registers alone": tuple({**side, "reg_tokens": 4} for side in MEAN),
    "other numerics": (
        {"norm_eps": 1e-3, "gelu": "tanh"},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-3), "act_layer": "gelu_tanh"},
    ),
}


def tiny_timm(**kwargs):
    return TimmViT(**{**TINY, **kwargs})


def tiny_ours(**fields):
    return VisionTransformer(ViTConfig(**{**TINY, **fields}))


@pytest.mark.parametrize("direction", ["from", "into"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_timm_in_every_variant(variant, direction, randomise):
    fields, kwargs = VARIANTS[variant]
    ours, theirs = pair(tiny_ours(**fields), tiny_timm(**kwargs), direction, randomise)
    images = torch.randn(2, ours.config.in_chans, *ours.config.img_size)
    assert_same(ours, theirs, theirs.blocks, images)
    tokens = theirs.forward_features(images)
    torch.testing.assert_close(ours.forward_features(images), tokens, atol=1e-4, rtol=0)
    pre_logits = theirs.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(ours.forward_head(tokens, pre_logits=True), pre_logits, atol=1e-4, rtol=0)


def test_timm_gradients(randomise):
    ours, theirs = pair(tiny_ours(), tiny_timm(), "from", randomise)
    images, direction = torch.randn(2, 3, 32, 32), torch.randn(2, 10)
    for model in (ours, theirs):
        (model(images) * direction).sum().backward()
    expected = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        torch.testing.assert_close(
            p.grad, expected[name].grad, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def swap(a, b):
    """Exchange the values of two parts of the state, in every block."""

    def change(model):
        for block in model.blocks:
            first, second = a(block), b(block)
            for p, q in zip(first, second, strict=True):
                copy = p.detach().clone()
                p.data.copy_(q)
                q.data.copy_(copy)

    return change


def qkv_part(i):
    return lambda block: [p.data.chunk(3)[i] for p in block.attn.qkv.parameters()]


def set_eps(model):
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


MISTAKES = {
    "PyTorch's default epsilon": set_eps,
    "keys before queries": swap(qkv_part(0), qkv_part(1)),
    "values before keys": swap(qkv_part(1), qkv_part(2)),
    "norms exchanged": swap(lambda b: b.norm1.parameters(), lambda b: b.norm2.parameters()),
    "class token forgotten": lambda model: nn.init.zeros_(model.cls_token),
    "positions reversed": lambda model: model.pos_embed.data.copy_(model.pos_embed.data.flip(1)),
    "tanh GELU": lambda model: [setattr(b.mlp, "act", nn.GELU(approximate="tanh")) for b in model.blocks],
    "last norm skipped": lambda model: setattr(model, "norm", nn.Identity()),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_would_be_noticed(mistake, randomise):
    ours, theirs = pair(tiny_ours(), tiny_timm(), "from", randomise)
    images = torch.randn(2, 3, 32, 32)
    assert_same(ours, theirs, theirs.blocks, images)
    MISTAKES[mistake](ours)
    with pytest.raises(AssertionError):
        assert_same(ours, theirs, theirs.blocks, images)
    # The logits alone tell as well, and by a margin.
    assert (ours(images) - theirs(images)).abs().max() > 2e-4


# -- torchvision: other names for the same tensors

TORCHVISION_KEYS = {
    "class_token": "cls_token",
    "encoder.pos_embedding": "pos_embed",
    "conv_proj.weight": "patch_embed.proj.weight",
    "conv_proj.bias": "patch_embed.proj.bias",
    "encoder.ln.weight": "norm.weight",
    "encoder.ln.bias": "norm.bias",
    "heads.head.weight": "head.weight",
    "heads.head.bias": "head.bias",
    "heads.pre_logits.weight": "pre_logits.fc.weight",
    "heads.pre_logits.bias": "pre_logits.fc.bias",
}
TORCHVISION_BLOCK_KEYS = {
    "ln_1.weight": "norm1.weight",
    "ln_1.bias": "norm1.bias",
    "self_attention.in_proj_weight": "attn.qkv.weight",
    "self_attention.in_proj_bias": "attn.qkv.bias",
    "self_attention.out_proj.weight": "attn.proj.weight",
    "self_attention.out_proj.bias": "attn.proj.bias",
    "ln_2.weight": "norm2.weight",
    "ln_2.bias": "norm2.bias",
    "mlp.0.weight": "mlp.fc1.weight",
    "mlp.0.bias": "mlp.fc1.bias",
    "mlp.3.weight": "mlp.fc2.weight",
    "mlp.3.bias": "mlp.fc2.bias",
}


def our_key(theirs):
    block = theirs.removeprefix("encoder.layers.encoder_layer_")
    if block == theirs:
        return TORCHVISION_KEYS[theirs]
    index, _, key = block.partition(".")
    return f"blocks.{index}.{TORCHVISION_BLOCK_KEYS[key]}"


def load_torchvision(ours, theirs):
    ours.load_state_dict({our_key(key): value for key, value in theirs.state_dict().items()}, strict=True)
    return ours.eval()


def test_torchvision_at_full_size(randomise):
    theirs = randomise(
        empty(torchvision.models.vit_b_16)
    )  # its head starts at zero: noise, or nothing is tested
    ours = load_torchvision(empty(lambda: VisionTransformer(get_config("vit_b_16"))), theirs)
    assert_same(ours, theirs, theirs.encoder.layers, torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_torchvision_tiny(head, randomise):
    theirs = TorchvisionViT(
        32, 8, 3, 4, 48, 96, num_classes=10, representation_size=48 if head == "mlp" else None
    )
    ours = load_torchvision(tiny_ours(mlp_ratio=2.0, head=head), randomise(theirs))
    assert_same(ours, theirs, theirs.encoder.layers, torch.randn(2, 3, 32, 32))


def test_torchvision_with_another_epsilon_would_be_noticed(randomise):
    norm = partial(nn.LayerNorm, eps=1e-5)
    theirs = randomise(TorchvisionViT(32, 8, 3, 4, 48, 192, num_classes=10, norm_layer=norm))
    ours = load_torchvision(tiny_ours(), theirs)
    with pytest.raises(AssertionError):
        assert_same(ours, theirs, theirs.encoder.layers, torch.randn(2, 3, 32, 32))
