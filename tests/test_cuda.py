"""What has a path of its own on a GPU, checked on every device that is here: always the CPU."""

import copy
import signal

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from vit.attention import Attention, explicit_attention, prefers_explicit
from vit.data.images import MemoryImages
from vit.data.sets import Dataset, load_data
from vit.inference.classifier import load_classifier
from vit.inference.weights import BEST, read_weights
from vit.model import create_model
from vit.training.checkpoint import LAST, hardware, peak_memory, read_checkpoint
from vit.training.optim import bf16_pays
from vit.training.recipe import Recipe, get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer, evaluate

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
CUDA = pytest.param("cuda", marks=GPU)
devices = pytest.mark.parametrize("device", ["cpu", CUDA])
# Dropout draws from the device's own random numbers, so it is left out where two devices are compared.
TINY = {
    "train_size": 80,
    "epochs": 3,
    "batch_size": 16,
    "img_size": 16,
    "rand_ops": 1,
    "mixup": 0.4,
    "cutmix": 1.0,
    "ema": 0.9,
    "optimizer": "muon",
    "bf16": False,
    "model_options": {"embed_dim": 32, "depth": 2, "num_heads": 2},
}


def tiny(**changes):
    return Recipe(**{**TINY, **changes})


@pytest.fixture(scope="module")
def data():
    whole = load_data("shapes", 16, 80)
    few = MemoryImages(whole.val.images[:60], whole.val.labels[:60])
    return Dataset("shapes", whole.classes, whole.train, few, few)


# -- fused attention


@devices
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("tokens", [65, 256])
def test_fused_attention_is_the_explicit_one(device, dtype, atol, tokens):
    exact = [torch.randn(2, 3, tokens, 32, requires_grad=True) for _ in range(3)]
    wanted, _ = explicit_attention(*exact)
    wanted.square().sum().backward()
    parts = [p.detach().to(device, dtype).requires_grad_() for p in exact]
    got = scaled_dot_product_attention(*parts)
    got.float().square().sum().backward()
    torch.testing.assert_close(got.float().cpu(), wanted, atol=atol, rtol=0)
    for mine, theirs in zip(parts, exact, strict=True):
        error = (mine.grad.float().cpu() - theirs.grad).norm() / theirs.grad.norm()
        assert error < 10 * atol


@devices
def test_fused_is_what_a_gpu_takes(device, sdpa_calls):
    layer = Attention(32, 2).to(device)
    with torch.autocast(device, torch.bfloat16):
        layer(torch.randn(2, 65, 32, device=device))
    assert len(sdpa_calls) == (device == "cuda")
    assert prefers_explicit(torch.empty(1, 1, 65, 1, dtype=torch.bfloat16, device=device)) == (
        device == "cpu"
    )


@devices
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_fused_model_is_the_explicit_one(device, bf16, randomise, monkeypatch):
    model = randomise(create_model("vit_nano_4")).to(device)
    images = torch.randn(4, 3, 32, 32, device=device)
    logits = []
    for explicit in (False, True):
        monkeypatch.setattr("vit.attention.prefers_explicit", lambda q, answer=explicit: answer)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits.append(model(images).float().cpu())
    error = (logits[0] - logits[1]).norm() / logits[1].norm()
    assert error < (3e-2 if bf16 else 1e-4)
    maps = model.attention_maps(images)
    torch.testing.assert_close(maps[0].sum(-1), torch.ones_like(maps[0][..., 0]), atol=1e-4, rtol=0)


# -- training


def steps(recipe, data, device, count=3):
    trainer = Trainer(recipe, data, device)
    for _ in range(count):
        trainer.train_step()
    return trainer


@devices
def test_bf16_takes_nearly_the_same_steps(device, data):
    losses = [steps(tiny(bf16=bf16), data, device).progress()[0] for bf16 in (False, True)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert Trainer(tiny(bf16=None), data, device).bf16 == bf16_pays(torch.device(device))


@GPU
def test_a_gpu_trains_as_the_cpu_does(data):
    one, two = (steps(tiny(rand_ops=0), data, device) for device in ("cpu", "cuda"))
    assert one.progress()[0] == pytest.approx(two.progress()[0], rel=2e-3)


@devices
def test_the_whole_set_is_on_the_device(device, data):
    trainer = Trainer(tiny(), data, device)
    ((pixels, labels),) = trainer._next()
    for tensor in (pixels, labels, trainer.val_images.images, *trainer.model.parameters()):
        assert tensor.device.type == device
    assert pixels.dtype == torch.uint8
    assert data.train.images.device.type == "cpu"  # the caller's set stays where it was


@devices
def test_the_recipe_for_a_gpu_trains(device, data):
    options = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    changes = {"img_size": 16, "batch_size": 16, "chunk": 8, "epochs": 6, "model_options": options}
    trainers = [
        steps(get_recipe("cifar10-gpu", compile=compiled, **changes), data, device, count=2)
        for compiled in (
            False,
            device == "cuda",
        )  # for a CPU it would take a minute; lesson 12 compiles there
    ]
    assert (trainers[1].forward is trainers[1].model) == (device == "cpu")
    one, two = (trainer.progress()[0] for trainer in trainers)
    assert one == pytest.approx(two, rel=0.02)
    row, model = trainers[1].end_epoch()
    result = evaluate(model, data.val, trainers[1].preprocessing, device, trainers[1].bf16)
    assert result["accuracy"] == row["val_accuracy"]


@devices
def test_evaluation_counts_alike_everywhere(device, data):
    model = steps(tiny(), data, "cpu", count=8).finished_model()
    results = [
        evaluate(copy.deepcopy(model).to(d), data.val, data.preprocessing(16), d) for d in ("cpu", device)
    ]
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-3)
    assert abs(results[0]["correct"] - results[1]["correct"]) <= 1


# -- files


pairs = pytest.mark.parametrize(
    ("first", "then"),
    [("cpu", "cpu")]
    + [pytest.param(*pair, marks=GPU) for pair in (("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda"))],
)


@pairs
def test_a_checkpoint_goes_on_on_another_device(first, then, data, tmp_path, monkeypatch):
    recipe = tiny(rand_ops=0)
    whole = train(recipe, tmp_path / "whole", data=data, device=first, quiet=True)
    stepped = Trainer.train_step

    def step(self):
        stepped(self)
        if self.step == 7:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", step)
    assert train(recipe, tmp_path / "cut", data=data, device=first, quiet=True)["step"] == 7
    monkeypatch.setattr(Trainer, "train_step", stepped)
    receipt = train(None, tmp_path / "cut", data=data, device=then, resume=True, quiet=True)
    assert receipt["finished"]
    assert (receipt["hardware"]["gpu"] is None) == (then == "cpu")
    # Twice the same steps, but for the order in which each device adds up.
    one, two = (read_checkpoint(tmp_path / name / LAST)["trainer"] for name in ("whole", "cut"))
    for name, p in one["model"].items():
        assert two["model"][name].device.type == "cpu"
        torch.testing.assert_close(p, two["model"][name], atol=0 if first == then == "cpu" else 2e-2, rtol=0)
    assert receipt["best"]["val_loss"] == pytest.approx(whole["best"]["val_loss"], rel=0.02)


@devices
def test_weights_from_a_device_are_read_anywhere(device, data, tmp_path):
    train(tiny(epochs=1), tmp_path, data=data, device=device, quiet=True)
    model, _ = read_weights(tmp_path / BEST)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    images = data.test.images[:8]
    here, there = (load_classifier(tmp_path, d).probabilities(images) for d in ("cpu", device))
    torch.testing.assert_close(here, there, atol=1e-3, rtol=0)


@devices
def test_a_receipt_names_the_gpu_and_its_memory(device):
    assert (hardware(torch.device(device))["gpu"] is None) == (device == "cpu")
    assert (peak_memory(torch.device(device))["gpu_mib"] is None) == (device == "cpu")
