import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from vit import PRESETS, VisionTransformer, ViTConfig, count_macs, get_config

TINY = {
    "img_size": 16,
    "patch_size": 4,
    "num_classes": 7,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
}
CONFIGS = {
    "cls": ViTConfig(**TINY),
    "mean": ViTConfig(**TINY, pool="mean"),
    "mlp head": ViTConfig(**TINY, head="mlp"),
    "no head": ViTConfig(**TINY, head="none"),
    "rectangular": ViTConfig(**{**TINY, "img_size": (8, 24)}),
    "one channel, narrow MLP": ViTConfig(**TINY, in_chans=1, mlp_ratio=1.3),
    "no bias, no positions": ViTConfig(**TINY, qkv_bias=False, pos_embed="none"),
    **{name: get_config(name) for name in PRESETS},
}


def measure(config):
    """What PyTorch's own counter sees, in multiply-accumulates. On the meta device nothing is computed."""
    with torch.device("meta"):
        model = VisionTransformer(config)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, config.in_chans, *config.img_size))
    return {
        name.removeprefix("VisionTransformer."): sum(ops.values()) / 2
        for name, ops in counter.get_flop_counts().items()
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_count_is_pytorchs(name):
    macs, measured = count_macs(CONFIGS[name]), measure(CONFIGS[name])
    assert sum(macs.values()) == measured["Global"]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_part_is_pytorchs(name):
    # A right total could still be booked to the wrong parts.
    macs, measured = count_macs(CONFIGS[name]), measure(CONFIGS[name])

    def of_blocks(part):
        return sum(measured[f"blocks.{i}.{part}"] for i in range(CONFIGS[name].depth))

    assert macs["patch_embed"] == measured["patch_embed"]
    assert macs["attn.qkv"] == of_blocks("attn.qkv")
    assert macs["attn.proj"] == of_blocks("attn.proj")
    products = of_blocks("attn") - of_blocks("attn.qkv") - of_blocks("attn.proj")
    assert macs["attn.scores"] == macs["attn.values"] == products / 2
    assert macs["mlp"] == of_blocks("mlp")
    assert macs.get("head", 0) == measured.get("head", 0) + measured.get("pre_logits", 0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("vit_b_16", models.ViT_B_16_Weights.IMAGENET1K_V1),
        ("vit_b_32", models.ViT_B_32_Weights.IMAGENET1K_V1),
        ("vit_l_16", models.ViT_L_16_Weights.IMAGENET1K_V1),
        ("vit_l_32", models.ViT_L_32_Weights.IMAGENET1K_V1),
        ("vit_h_14", models.ViT_H_14_Weights.IMAGENET1K_SWAG_LINEAR_V1),
    ],
)
def test_count_is_the_one_torchvision_documents(name, weights):
    assert sum(count_macs(get_config(name)).values()) / 1e9 == pytest.approx(weights.meta["_ops"], abs=1e-3)
