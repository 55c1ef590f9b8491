"""The network to compare with has the parameters of `vit_nano_4`, and is trained by the same code."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from vit import count_macs, create_model, get_config
from vit.convnet import ConvNet, ConvNetConfig
from vit.data.sets import load_data
from vit.inference.classifier import load_classifier
from vit.training.optim import parameter_groups
from vit.training.recipe import get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("drawn_once")


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def macs(model, images):
    """Multiply-accumulates of convolutions and linear layers for one image, counted as they run."""
    total = 0

    def count(module, _, out):
        nonlocal total
        total += module.weight[0].numel() * out[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return total


def test_as_many_parameters_as_the_transformer():
    assert parameters(ConvNet(ConvNetConfig())) == pytest.approx(
        parameters(create_model("vit_nano_4")), rel=0.03
    )


def test_its_cost_is_known():
    # Twice the transformer's: a convolution uses each weight at every place, 64 of them in the last stage
    # and 1,024 in the first, where the transformer has 65 tokens throughout.
    cost = macs(ConvNet(ConvNetConfig()), torch.zeros(1, 3, 32, 32))
    assert cost == 124_617_984
    assert 2.0 < cost / sum(count_macs(get_config("vit_nano_4")).values()) < 2.3


@pytest.mark.parametrize("times", [2, 4])
def test_width_scales_it(times):
    one, wide = ConvNet(ConvNetConfig()), ConvNet(ConvNetConfig(width=32 * times))
    assert parameters(wide) == pytest.approx(times**2 * parameters(one), rel=0.02)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({}, (2, 3, 32, 32)),
        ({"num_classes": 7, "in_chans": 1, "img_size": (24, 40)}, (2, 1, 24, 40)),
        ({"width": 8, "depths": (1,)}, (2, 3, 32, 32)),
        ({"width": 8, "depths": [1, 1, 1, 1]}, (2, 3, 30, 30)),
    ],
)
def test_shapes(fields, shape):
    model = ConvNet(ConvNetConfig(**fields))
    assert model(torch.randn(shape)).shape == (2, model.config.num_classes)


def test_stages_halve_the_side_and_double_the_width():
    model, sizes = ConvNet(ConvNetConfig()), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, args, out: sizes.append(tuple(out.shape[1:])))
    model(torch.randn(1, 3, 32, 32))
    assert sizes == [(32, 32, 32)] + [(64, 16, 16)] * 4 + [(128, 8, 8)] * 2


def test_activations_neither_fade_nor_explode():
    model, scales = ConvNet(ConvNetConfig()), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, args, out: scales.append(out.std().item()))
    model(torch.randn(8, 3, 32, 32))
    assert 0.3 < min(scales) <= max(scales) < 5.0


@pytest.mark.parametrize("width", [0, -8, 30])
def test_a_width_that_does_not_divide_is_refused(width):
    with pytest.raises(ValueError, match=f"expected width to be a positive multiple of 4, got {width}"):
        ConvNetConfig(width=width)


def test_an_image_alone_gives_what_it_gives_in_a_batch():
    # Batch norm would not, in training.
    model, images = ConvNet(ConvNetConfig()).train(), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), atol=1e-4, rtol=1e-4)
    assert not list(model.buffers())  # no running statistics, which the moving average would leave out


def test_weight_decay_is_for_convolutions_and_the_head():
    model = ConvNet(ConvNetConfig())
    decayed, rest = (group["params"] for group in parameter_groups(model, 0.1))
    expected = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {id(p) for p in decayed} == expected
    assert len(decayed) + len(rest) == len(list(model.parameters()))


@pytest.mark.parametrize("sizes", [{}, {"low_size": 16, "low_part": 0.5}], ids=["one size", "two sizes"])
def test_the_trainer_trains_it(sizes):
    data = load_data("shapes", 32, train_size=64)
    data = replace(data, val=type(data.val)(data.val.images[:64], data.val.labels[:64]))
    recipe = get_recipe("shapes", epochs=36, batch_size=32, lr=1e-2, ema=0.9, bf16=False, **sizes)
    config = ConvNetConfig(width=8, depths=(1, 1, 1))
    torch.manual_seed(0)
    trainer = Trainer(recipe, data, model=ConvNet(config))
    while trainer.step < trainer.total:
        trainer.train_step()
        if trainer.step % trainer.per_epoch == 0:
            row, model = trainer.end_epoch()
    assert row["train_accuracy"] > 0.5  # it has learned the 64 images; chance is 0.1
    assert model.config == replace(config, img_size=(32, 32))
    again = Trainer(recipe, data, model=ConvNet(config))
    again.load_state_dict(trainer.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again.finished_model()(images), model(images))


def test_a_run_can_be_trained_saved_and_used(tmp_path):
    recipe = get_recipe("shapes", img_size=16, train_size=100, epochs=1, bf16=False, model_options={})
    model = ConvNet(ConvNetConfig(img_size=16, width=8, depths=(1, 1)))
    assert train(recipe, tmp_path, model=model, device="cpu", quiet=True)["finished"]
    classifier = load_classifier(tmp_path)
    assert isinstance(classifier.model, ConvNet)
    assert classifier.model.config == model.config
    torch.testing.assert_close(dict(classifier.model.named_parameters()), dict(model.named_parameters()))
