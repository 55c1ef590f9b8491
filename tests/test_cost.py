import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from vit import PRESETS, VisionTransformer, ViTConfig, count_macs, get_config
from vit.cost import (
    activation_bytes,
    count_parameters,
    ring_bytes,
    step_seconds,
    traffic,
    training_flops,
    training_memory,
)

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
    "mean": ViTConfig(**TINY, class_token=False, global_pool="avg"),
    "class token not read": ViTConfig(**TINY, global_pool="avg"),
    "LayerScale": ViTConfig(**TINY, init_values=0.1),
    "registers": ViTConfig(**TINY, reg_tokens=4),
    "norm after the token": ViTConfig(**TINY, fc_norm=True),
    "all of it": ViTConfig(**TINY, fc_norm=True, global_pool="avg", reg_tokens=2, init_values=0.1),
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


# -- training


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_counted(name):
    with torch.device("meta"):
        model = VisionTransformer(CONFIGS[name])
    assert count_parameters(CONFIGS[name]) == sum(p.numel() for p in model.parameters())


SMALL = [name for name in CONFIGS if name not in PRESETS]
paths = pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])


@pytest.fixture
def choose(monkeypatch):
    """Make attention take one path, whatever it prefers."""
    return lambda fused: monkeypatch.setattr("vit.attention.prefers_explicit", lambda q: not fused)


@paths
@pytest.mark.parametrize("name", SMALL)
def test_training_flops_are_pytorchs(name, fused, choose):
    choose(fused)
    config = CONFIGS[name]
    model = VisionTransformer(config)
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(3, config.in_chans, *config.img_size)).sum().backward()
    again = 3 * 2 * count_macs(config)["attn.scores"] if fused else 0  # the kernel never stored them
    assert counter.get_total_flops() == training_flops(config, 3) + again


@paths
@pytest.mark.parametrize("bf16", [True, False], ids=["bf16", "fp32"])
@pytest.mark.parametrize("name", SMALL)
def test_activations_are_what_autograd_keeps(name, bf16, fused, choose):
    choose(fused)
    config = CONFIGS[name]
    model = VisionTransformer(config).train()

    def kept(batch):
        storages = {}

        def note(t):
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage()  # held, so that no address returns
            return t

        with saved_tensors_hooks(note, lambda t: t), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(torch.randn(batch, config.in_chans, *config.img_size))
        assert out.requires_grad
        return sum(storage.nbytes() for storage in storages.values())

    # Weights are kept, too, but not once for each image.
    assert kept(5) - kept(2) == activation_bytes(config, 3, fused=fused, bf16=bf16)


def test_memory_is_shared_out():
    config = get_config("vit_b_16")
    whole, count = training_memory(config, 64, 8), 86_567_656  # torchvision's number
    assert sum(whole.values()) == 18 * count + activation_bytes(config, 64)
    parts = training_memory(config, 64, 8, sharded=True)
    assert parts["activations"] == whole["activations"]
    for name in ("weights", "gradients", "moments"):
        assert whole[name] <= 8 * parts[name] < whole[name] + 8
    block = VisionTransformer(get_config("vit_b_16", depth=1)).blocks[0]
    assert parts["bf16 copies"] == 2 * 2 * sum(p.numel() for p in block.parameters())


def test_traffic_of_a_ring():
    assert ring_bytes(1000, 1) == 0
    assert ring_bytes(1000, 2) == 1000  # each sends half of the sum away, and half of the result
    assert ring_bytes(1000, 4) == 1500
    assert traffic(1000, 4) == ring_bytes(4000, 4)
    assert traffic(1000, 4, sharded=True, weight_bytes=4) == 1.5 * traffic(1000, 4)
    assert traffic(1000, 4, sharded=True, weight_bytes=2) == traffic(1000, 4)


def test_time_of_a_step():
    at = {"peak": 10.0, "utilisation": 0.5, "bandwidth": 2.0}
    assert step_seconds(30.0, 0.0, **at) == 6.0
    assert step_seconds(30.0, 8.0, **at) == 10.0
    assert step_seconds(30.0, 8.0, **at, hidden=0.5) == 7.0
    assert step_seconds(30.0, 8.0, **at, hidden=1.0) == 6.0
