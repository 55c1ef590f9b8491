"""Training: recipes, schedules, augmentation, and runs that survive being killed."""

import copy
import csv
import json
import math
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vit.config import get_config
from vit.convnet import ConvNet, ConvNetConfig
from vit.cost import activation_bytes
from vit.data.images import FileImages, MemoryImages, Preprocessing
from vit.data.sets import SPLIT_SEED, Dataset, load_data
from vit.inference.measure import hashes
from vit.inference.weights import BEST, read_weights, write_atomic
from vit.model import VisionTransformer
from vit.positions import interpolate_positions
from vit.training.augment import Augment, hashed, reseed
from vit.training.checkpoint import LAST, PREVIOUS, RECEIPT, read_checkpoint, read_last
from vit.training.optim import parameter_groups
from vit.training.plan import fitted, free_memory, plan
from vit.training.recipe import RECIPES, Recipe, get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer, evaluate

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("drawn_once")
# Everything that draws random numbers is on: augmentation, mixing, dropout, stochastic depth.
TINY = {
    "train_size": 80,
    "epochs": 4,
    "batch_size": 16,
    "img_size": 16,
    "rand_ops": 1,
    "erase": 0.3,
    "mixup": 0.4,
    "cutmix": 1.0,
    "mix_prob": 0.7,
    "label_smoothing": 0.1,
    "ema": 0.9,
    "low_size": 8,
    "low_part": 0.4,
    "bf16": False,
    "model_options": {"embed_dim": 16, "depth": 2, "num_heads": 2, "drop_rate": 0.1, "drop_path_rate": 0.2},
}
PRE = Preprocessing(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def tiny(**changes):
    return Recipe(**{**TINY, **changes})


@pytest.fixture(scope="module")
def data():
    whole = load_data("shapes", 16, 80)
    few = MemoryImages(whole.val.images[:60], whole.val.labels[:60])
    return Dataset("shapes", whole.classes, whole.train, few, few)


def weights(folder):
    return read_weights(folder / BEST)[0].state_dict()


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, train(tiny(), folder, data=data, device="cpu", quiet=True)


def save_after_every_step(monkeypatch):
    """Without the picture of the curves: drawing it so often takes longer than all the rest."""
    monkeypatch.setattr("vit.training.run.SAVE_EVERY", 0.0)
    monkeypatch.setattr("vit.training.checkpoint.curves_bytes", lambda rows: b"")


def rows(folder):
    timed = {"images_per_second", "seconds"}
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]


# -- recipes


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_plain_values(name):
    recipe = get_recipe(name)
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
    recipe = fitted(replace(recipe, data="shapes"))
    get_config(recipe.model, img_size=recipe.img_size, **recipe.model_options)


def test_recipe_mistakes_are_explained():
    with pytest.raises(ValueError, match="no recipe called 'shape'; did you mean 'shapes'"):
        get_recipe("shape")
    with pytest.raises(ValueError, match="no option called 'mix_up'; did you mean 'mixup'"):
        get_recipe("shapes", mix_up=1)
    with pytest.raises(ValueError, match="lr must be positive, got 0"):
        Recipe(lr=0)
    with pytest.raises(ValueError, match="multiple of accumulate=3"):
        Recipe(batch_size=16, accumulate=3)
    with pytest.raises(ValueError, match="low_part needs a low_size"):
        Recipe(low_part=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number or none, got 1.5"),
        ({"train_size": "abc"}, "train_size must be a whole number or none, got 'abc'"),
        ({"train_size": 0}, "train_size must be positive, got 0"),
        ({"lr": float("nan")}, "lr must be positive, got nan"),
        ({"lr": True}, "lr must be a number, got True"),
        ({"bf16": "maybe"}, "bf16 must be true or false or none, got 'maybe'"),
        ({"data": 5}, "data must be text, got 5"),
        ({"low_size": "abc", "low_part": 0.5}, "low_size must be a whole number or none"),
        ({"model_options": 5}, "model_options must be a dictionary, got 5"),
        ({"weight_decay": -1}, "weight_decay must not be negative, got -1"),
        ({"mixup": -0.2}, "mixup must not be negative"),
        ({"rand_magnitude": 99}, r"rand_magnitude must lie in \[0, 30\], got 99"),
        ({"split_by": "name"}, "split_by to be content or position, got 'name'"),
        ({"ema": 1.5}, r"ema must lie in \[0, 1\], got 1.5"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_or_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_a_whole_number_is_a_number():
    assert Recipe(lr=1, clip=2).lr == 1


def test_learning_rate_rises_and_falls():
    r = Recipe(lr=2.0, min_lr=0.5, warmup=0.2)
    assert r.lr_at(0.1) == pytest.approx(1.0)
    assert r.lr_at(0.2) == pytest.approx(2.0)
    assert r.lr_at(0.6) == pytest.approx(1.25)
    assert r.lr_at(1.0) == pytest.approx(0.5)


def test_only_matrices_decay():
    model = VisionTransformer(get_config("vit_nano_4", head="mlp"))
    decays, stays = parameter_groups(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decays["params"]} == {
        name for name in names.values() if name.endswith("weight") and "norm" not in name
    }
    assert {"cls_token", "pos_embed", "norm.weight", "head.bias"} <= {names[id(p)] for p in stays["params"]}
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.1, 0.0)


# -- augmentation


def augment(**options):
    return Augment(Recipe(**options), PRE, 10)


def test_augmentation_is_a_function_of_seed_and_step():
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    a = augment(rand_ops=2, erase=0.5)
    reseed(1)
    first = a.images(pixels, 32, step=5)
    reseed(2)
    assert torch.equal(first, a.images(pixels, 32, step=5))
    assert not torch.equal(first, a.images(pixels, 32, step=6))
    assert not torch.equal(first, augment(rand_ops=2, erase=0.5, seed=1).images(pixels, 32, step=5))
    halves = [a.images(half, 32, 5, first=16 * i) for i, half in enumerate(pixels.split(16))]
    assert torch.equal(first, torch.cat(halves))


def test_chunks_of_a_batch_are_changed_differently():
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8).expand(64, -1, -1, -1)
    changed = augment().images(pixels, 32, step=0)
    assert len(changed[::8].unique(dim=0)) > 4


def test_without_augmentation_nothing_changes():
    pixels = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(augment(flip=False, pad=0.0).images(pixels, 32, 0), pixels)


def test_a_crop_comes_from_the_image_and_its_surroundings():
    pixels = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    changed = augment().images(pixels, 32, 0)
    assert set(changed.unique().tolist()) <= {128, 255}  # the mean colour of PRE comes in at the sides


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_keeps_its_books(kind):
    """With one constant image per class, the mixture itself says how much of each class there is."""
    labels = torch.arange(10)
    images = F.one_hot(labels).float()[:, :3, None, None].expand(10, 3, 16, 16)
    reseed(0)
    mixed, targets = augment(**{kind: 1.0}).mix(images, labels)
    torch.testing.assert_close(mixed.mean((2, 3)), targets[:, :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(10))
    assert (targets > 0.01).sum() > 10


def test_seeds_of_neighbours_are_unrelated():
    seeds = {hashed(seed, step) for seed in range(50) for step in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)


# -- the trainer


def test_loss_at_the_start_is_that_of_guessing(data):
    trainer = Trainer(tiny(), data)
    result = evaluate(trainer.model, data.val, trainer.preprocessing)
    assert result["loss"] == pytest.approx(math.log(10), abs=0.05)
    assert result["count"] == 60


def test_one_batch_can_be_learnt_by_heart(data):
    few = MemoryImages(data.train.images[:16], data.train.labels[:16])
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    recipe = Recipe(
        img_size=16, epochs=60, batch_size=16, lr=3e-3, flip=False, pad=0.0, model_options=options
    )
    trainer = Trainer(recipe, Dataset("few", data.classes, few, few, None))
    for _ in range(trainer.total):
        trainer.train_step()
    assert evaluate(trainer.model, few, trainer.preprocessing)["accuracy"] == 1.0


def test_every_epoch_shows_every_image_once_in_another_order(data):
    trainer = Trainer(tiny(), data)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * trainer.per_epoch, (epoch + 1) * trainer.per_epoch)
        epochs.append(torch.cat([pixels for step in steps for pixels, _ in trainer._fetch(step)]))
    assert all(len(shown.unique(dim=0)) == 80 for shown in epochs)
    assert not torch.equal(*epochs)


def test_accumulated_parts_are_one_batch(data):
    plain = {"mixup": 0.0, "cutmix": 0.0, "model_options": {"embed_dim": 16, "depth": 2, "num_heads": 2}}
    one, two = (Trainer(tiny(accumulate=parts, **plain), data) for parts in (1, 2))
    for _ in range(3):
        one.train_step()
        two.train_step()
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)
    assert one.progress() == pytest.approx(two.progress(), rel=1e-5)


def test_progressive_resolution_goes_on_learning(data):
    trainer = Trainer(tiny(), data)
    before = None
    while trainer.model.config.img_size != (16, 16) or not trainer.step:
        before = trainer.model.config.img_size
        trainer.train_step()
    assert before == (8, 8)
    assert trainer.step == 0.4 * trainer.total + 1
    assert trainer.model.pos_embed.shape == (1, 17, 16)
    grouped = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert grouped == {id(p) for p in trainer.model.parameters()} == {id(p) for p in trainer.optimizer.state}
    assert trainer.optimizer.state[trainer.model.pos_embed]["step"] == trainer.step
    held = trainer.model.pos_embed.detach().clone()
    trainer.train_step()
    assert not torch.equal(held, trainer.model.pos_embed)


def test_a_diverging_run_says_so(data):
    trainer = Trainer(tiny(), data)
    with torch.no_grad():
        trainer.model.head.weight.fill_(float("nan"))
    trainer.train_step()
    with pytest.raises(ValueError, match="no longer a number at step 1"):
        trainer.progress()


def test_files_on_disk_train_as_memory_does(data, tmp_path):
    for i, image in enumerate(data.train.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    files = FileImages([str(tmp_path / f"{i}.png") for i in range(80)], data.train.labels, 16)
    trainers = [Trainer(tiny(), Dataset("x", data.classes, s, data.val, None)) for s in (data.train, files)]
    for trainer in trainers:
        for _ in range(7):
            trainer.train_step()
    assert_same(*(trainer.model.state_dict() for trainer in trainers))


def test_the_data_must_fit(data):
    with pytest.raises(ValueError, match="for 10 classes, 3 channels and 16 pixels, got 7, 3"):
        Trainer(tiny(), data, model=VisionTransformer(get_config("vit_nano_4", num_classes=7)))
    for option, got in (({"in_chans": 1}, "got 10, 1"), ({"head": "none"}, "got 0, 3")):
        with pytest.raises(ValueError, match=got):
            Trainer(tiny(model_options={**TINY["model_options"], **option}), data)
    with pytest.raises(ValueError, match="cannot cut batches"):
        Trainer(tiny(batch_size=128, accumulate=128), data)


# -- a run and its folder


def test_a_run_leaves_all_its_papers(uninterrupted, data):
    folder, receipt = uninterrupted
    names = {"config.json", "metrics.csv", "curves.png", LAST, BEST, "receipt.json"}
    assert names <= {p.name for p in folder.iterdir()} <= names | {PREVIOUS}
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3", "4"]
    best = max(
        rows(folder), key=lambda row: (float(row["val_accuracy"]), int(row["epoch"]))
    )  # the later of two
    assert receipt["best"]["epoch"] == int(best["epoch"])
    model, info = read_weights(folder / BEST)
    assert info["classes"] == list(data.classes)
    assert model.config.img_size == (16, 16)
    again = evaluate(model, data.test, Preprocessing(**info["preprocessing"]))
    assert again["correct"] == receipt["test_correct"]
    assert receipt["wall_seconds"] > 0
    assert receipt["hardware"]["cores"] == os.cpu_count()
    assert (receipt["recipe"]["seed"], receipt["split_seed"]) == (0, SPLIT_SEED)
    assert receipt["versions"]["torch"] == torch.__version__
    assert receipt["data_sha256"] == data.train.fingerprint()
    assert 50 < receipt["peak_memory"]["host_mib"] < 100_000
    assert receipt["images"] == {"train": 80, "val": 60, "test": 60}
    assert hashes(info, "train") == set(data.train.keys())
    assert hashes(info, "val") == set(data.val.keys())
    assert len(hashes(info, "train")) == 80


def test_the_test_images_are_looked_at_once(data, tmp_path, monkeypatch):
    """... and the validation images after every epoch."""
    test, looked = MemoryImages(data.test.images, data.test.labels), []

    def counted(model, images, *args, **kwargs):
        looked.append("test" if images is test else "val")
        return evaluate(model, images, *args, **kwargs)

    monkeypatch.setattr("vit.training.run.evaluate", counted)
    monkeypatch.setattr("vit.training.trainer.evaluate", counted)
    train(tiny(), tmp_path, data=Dataset("x", data.classes, data.train, data.val, test), quiet=True)
    assert looked == ["val"] * 4 + ["test"]


def test_the_average_follows_the_weights(data):
    trainer = Trainer(tiny(ema=0.5, low_size=None, low_part=0.0), data)
    mine = copy.deepcopy(trainer.average.state_dict())
    for step in range(1, 13):
        trainer.train_step()
        decay = min(0.5, (1 + step) / (10 + step))
        mine = {k: decay * v + (1 - decay) * trainer.model.state_dict()[k] for k, v in mine.items()}
    for name, value in trainer.average.state_dict().items():
        torch.testing.assert_close(value, mine[name])
    assert not torch.equal(trainer.average.head.weight, trainer.model.head.weight)


def test_bfloat16_takes_nearly_the_same_step(data):
    losses, models = [], []
    for bf16 in (False, True):
        trainer = Trainer(tiny(bf16=bf16), data)
        trainer.train_step()
        losses.append(trainer.progress()[0])
        models.append(trainer.model)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert {p.dtype for model in models for p in model.parameters()} == {torch.float32}


def test_the_bar_says_how_it_goes(data, tmp_path, capsys):
    train(tiny(), tmp_path, data=data, device="cpu")
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    assert re.search(r"epoch 4/4, validation \d+\.\d%: 100%.* 20/20 ", last)
    assert re.search(r"<00:00, .*loss \d\.\d{3}, accuracy \d+\.\d%, \d+ img/s\]$", last)


@pytest.mark.parametrize("name", [LAST, PREVIOUS, BEST, RECEIPT])
def test_a_trace_of_a_run_is_enough_to_protect_a_folder(data, tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="already holds a run"):
        train(tiny(), tmp_path, data=data, quiet=True)


def test_without_a_recipe_there_must_be_a_run(data, tmp_path):
    with pytest.raises(ValueError, match="expected a recipe, or resume=True"):
        train(None, tmp_path / "new", data=data, quiet=True)
    assert not (tmp_path / "new").exists()


def test_a_folder_is_not_trained_over(uninterrupted, data):
    folder, receipt = uninterrupted
    with pytest.raises(ValueError, match="already holds a run"):
        train(tiny(), folder, data=data, quiet=True)
    assert (
        train(tiny(), folder, data=data, resume=True, quiet=True)["test_correct"] == receipt["test_correct"]
    )


class StopAt:
    """A progress bar that signals its own process after a number of steps."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def __call__(self, trainer):
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGINT, 3), (signal.SIGTERM, 9), (signal.SIGTERM, 10), (signal.SIGINT, 18)]
)
def test_interrupted_and_resumed_is_uninterrupted(uninterrupted, data, tmp_path, monkeypatch, number, step):
    """Stopped in the first epoch; at low resolution; at the end of an epoch; in the last one."""
    stepped, stop = Trainer.train_step, StopAt(step, number)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (stepped(self), stop(self)))
    receipt = train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    assert (receipt["finished"], receipt["signal"], receipt["step"]) == (False, number, step)
    monkeypatch.setattr(Trainer, "train_step", stepped)
    torch.manual_seed(123)  # a new process would have other random numbers
    assert train(None, tmp_path, data=data, device="cpu", resume=True, quiet=True)["finished"]
    assert_same(weights(tmp_path), weights(uninterrupted[0]))
    assert rows(tmp_path) == rows(uninterrupted[0])
    last, whole = (read_checkpoint(folder / LAST)["trainer"] for folder in (tmp_path, uninterrupted[0]))
    for part in ("model", "average"):
        assert_same(last[part], whole[part])
    for mine, theirs in zip(last["optimizers"], whole["optimizers"], strict=True):
        for i, state in theirs["state"].items():
            assert_same(mine["state"][i], state)


def test_muon_trains_the_matrices_of_the_blocks_and_resumes(data, tmp_path, monkeypatch):
    recipe = tiny(optimizer="muon")
    trainer = Trainer(recipe, data)
    adamw, muon = ([id(p) for g in o.param_groups for p in g["params"]] for o in trainer.optimizers)
    named = {name: id(p) for name, p in trainer.model.named_parameters()}
    assert set(muon) == {
        named[n] for n in named if n.startswith("blocks") and n.endswith(".weight") and "norm" not in n
    }
    assert sorted(adamw + muon) == sorted(named.values())
    trainer.train_step()
    assert {g["lr"] for o in trainer.optimizers for g in o.param_groups} == {recipe.lr_at(1 / trainer.total)}

    train(recipe, tmp_path / "whole", data=data, device="cpu", quiet=True)
    stepped, stop = Trainer.train_step, StopAt(9, signal.SIGTERM)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (stepped(self), stop(self)))
    train(recipe, tmp_path / "cut", data=data, device="cpu", quiet=True)
    monkeypatch.setattr(Trainer, "train_step", stepped)
    assert train(recipe, tmp_path / "cut", data=data, device="cpu", resume=True, quiet=True)["finished"]
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    last, whole = (read_checkpoint(tmp_path / f / LAST)["trainer"]["optimizers"][1] for f in ("cut", "whole"))
    for i, state in whole["state"].items():
        assert_same(last["state"][i], state)


def test_muon_needs_linear_layers(data):
    config = ConvNetConfig(img_size=16, width=4, depths=(1,), num_classes=10)
    with pytest.raises(ValueError, match=r"linear layers.*ConvNet"):
        Trainer(tiny(optimizer="muon"), data, model=ConvNet(config))


def test_muon_makes_updates_with_nearly_equal_singular_values():
    data, spread = load_data("shapes", 16, 64), {}
    options = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    for name in ("adamw", "muon"):
        recipe = get_recipe(
            "shapes", img_size=16, optimizer=name, weight_decay=0.0, warmup=0.0, model_options=options
        )
        trainer = Trainer(recipe, data)
        weight = trainer.model.blocks[0].mlp.fc1.weight
        before = weight.detach().clone()
        trainer.train_step()
        values = torch.linalg.svdvals(weight.detach() - before)
        spread[name] = float(values.max() / values.median())
    assert spread["muon"] < 2.5
    assert spread["adamw"] > 4


def test_max_minutes_saves_and_stops(data, tmp_path):
    receipt = train(tiny(), tmp_path, data=data, max_minutes=0, quiet=True)
    assert (receipt["finished"], receipt["signal"], receipt["step"]) == (False, 0, 1)
    assert read_last(tmp_path)["trainer"]["step"] == 1


def test_an_interrupted_run_can_be_tested_and_still_be_continued(uninterrupted, data, tmp_path, monkeypatch):
    stepped, stop = Trainer.train_step, StopAt(12, signal.SIGINT)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (stepped(self), stop(self)))
    train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    monkeypatch.setattr(Trainer, "train_step", stepped)
    receipt = train(tiny(), tmp_path, data=data, device="cpu", resume=True, finish=True, quiet=True)
    assert (receipt["finished"], receipt["step"], receipt["steps"]) == (False, 12, 20)
    best = max(rows(tmp_path), key=lambda row: (float(row["val_accuracy"]), int(row["epoch"])))
    assert str(receipt["best"]["epoch"]) == best["epoch"]
    model, info = read_weights(tmp_path / BEST)
    tested = evaluate(model, data.test, Preprocessing(**info["preprocessing"]))
    assert receipt["test_correct"] == tested["correct"]
    assert info["test_accuracy"] == receipt["test_accuracy"] == tested["accuracy"]
    assert train(tiny(), tmp_path, data=data, device="cpu", resume=True, quiet=True)["finished"]
    assert_same(weights(tmp_path), weights(uninterrupted[0]))


def test_of_equal_epochs_the_last_is_kept(data, tmp_path, monkeypatch):
    ended, told = Trainer.end_epoch, iter((0.5, 0.92, 0.92, 0.3))
    monkeypatch.setattr(
        Trainer, "end_epoch", lambda self: (ended(self)[0] | {"val_accuracy": next(told)}, self.model)
    )
    receipt = train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    assert (receipt["best"]["epoch"], receipt["best"]["val_accuracy"]) == (3, 0.92)


def test_the_receipt_speaks_of_the_weights_that_were_tested(data, tmp_path, monkeypatch):
    """Killed after an epoch's end, the checkpoint can be older than the best weights."""
    stepped, stop = Trainer.train_step, StopAt(2, signal.SIGINT)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (stepped(self), stop(self)))
    train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    early = (tmp_path / LAST).read_bytes()
    stop.step = 7
    train(None, tmp_path, data=data, device="cpu", resume=True, quiet=True)
    (tmp_path / LAST).write_bytes(early)
    monkeypatch.setattr(Trainer, "train_step", stepped)
    receipt = train(None, tmp_path, data=data, device="cpu", resume=True, finish=True, quiet=True)
    assert (receipt["step"], receipt["best"]["epoch"]) == (2, 1)


PAUSED = """
import signal, time
from vit.training.signals import Signals
with Signals() as signals:
    wall, clock = time.perf_counter(), signals.clock()
    signal.raise_signal(signal.SIGTSTP)
    print(time.perf_counter() - wall, signals.clock() - clock, signals.caught)
"""


def test_the_clock_stands_still_while_paused():
    """Ctrl-Z, then `fg`. In a process of its own: a shell would notice that this one stops."""
    process = subprocess.Popen([sys.executable, "-c", PAUSED], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # until it has stopped
        time.sleep(0.5)
        process.send_signal(signal.SIGCONT)
        wall, clock, caught = map(float, process.communicate(timeout=240)[0].split())
    finally:
        process.kill()
        process.wait()
    assert wall - clock > 0.49
    assert not caught


CHILD = """
import pickle, sys, time, torch
from pathlib import Path
import vit.training.run
from vit.training.plan import free_memory, plan
from vit.training.recipe import Recipe
torch.set_num_threads(1)
vit.training.run.SAVE_EVERY, vit.training.checkpoint.curves_bytes = 0.0, lambda rows: b""
if sys.argv[3] == "held":  # to be killed, and not to get away before
    from vit.training.trainer import Trainer
    stepped, held = Trainer.train_step, lambda self: (stepped(self), self.step < 55 or time.sleep(900))
    Trainer.train_step = held
recipe, resume = Recipe(**eval(sys.argv[1])), sys.argv[3] == "resume"
data = pickle.loads(Path(sys.argv[4]).read_bytes())  # drawn by the parent
vit.training.run.train(recipe, sys.argv[2], resume=resume, data=data, device="cpu", quiet=True)
"""


@pytest.fixture(scope="module")
def pickled(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "shapes.pickle"
    path.write_bytes(pickle.dumps(data))
    return str(path)


def child(pickled, folder, resume="new", **options):
    arguments = [sys.executable, "-c", CHILD, repr({**TINY, **options}), str(folder), resume, pickled]
    return subprocess.Popen(
        arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )


def test_killed_and_resumed_is_uninterrupted(tmp_path, data, pickled):
    """kill -9 in the middle, whatever it is doing then."""
    options = {"epochs": 12}  # of five steps; before the last it waits to be killed, however long that takes
    process, deadline = child(pickled, tmp_path / "killed", "held", **options), time.time() + 280
    while time.time() < deadline and process.poll() is None:
        time.sleep(0.02)
        if (tmp_path / "killed" / "metrics.csv").exists() and len(rows(tmp_path / "killed")) >= 7:
            break
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert child(pickled, tmp_path / "killed", "resume", **options).wait() == 0
    torch.set_num_threads(1)
    train(tiny(**options), tmp_path / "whole", data=data, device="cpu", quiet=True)
    assert_same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


# -- checkpoints


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_and_the_previous_used(
    data, tmp_path, monkeypatch, uninterrupted, keep
):
    save_after_every_step(monkeypatch)
    stepped, stop = Trainer.train_step, StopAt(7, signal.SIGTERM)
    monkeypatch.setattr(Trainer, "train_step", lambda self: (stepped(self), stop(self)))
    train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    content = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=r"last\.pt is damaged or no checkpoint"):
        read_checkpoint(tmp_path / LAST)
    with pytest.warns(UserWarning, match=r"damaged.* going on from previous\.pt"):
        assert read_last(tmp_path)["trainer"]["step"] == 6
    # Out of the way: a first checkpoint would have moved it over the good one.
    assert (tmp_path / "damaged.pt").exists()
    assert not (tmp_path / LAST).exists()
    monkeypatch.setattr(Trainer, "train_step", stepped)
    with pytest.warns(UserWarning, match="there is no checkpoint"):
        train(tiny(), tmp_path, data=data, device="cpu", resume=True, quiet=True)
    assert_same(weights(tmp_path), weights(uninterrupted[0]))


def test_foreign_files_are_refused(tmp_path, data):
    torch.save({"model": {}}, tmp_path / LAST)
    with pytest.raises(ValueError, match="not a checkpoint of this package"):
        train(tiny(), tmp_path, data=data, resume=True)
    torch.save(Recipe(), tmp_path / LAST)  # an object: unpickling it would run code
    with pytest.raises(ValueError, match=r"damaged or no checkpoint: .* holds more than tensors") as refused:
        read_checkpoint(tmp_path / LAST)
    assert "weights_only" not in str(refused.value)  # PyTorch's own advice is to run it
    with pytest.raises(ValueError, match="there is no checkpoint"):
        train(tiny(), tmp_path / "nothing", data=data, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["trainer"].pop("optimizers"), "it has no 'optimizers'"),
        (lambda s: s.pop("recipe"), "it has no 'recipe'"),
        (lambda s: s["recipe"].update(magic=1), "unexpected keyword argument 'magic'"),
        (
            lambda s: s["trainer"]["model"].update({"head.bias": torch.zeros(3)}),
            "size mismatch for head.bias",
        ),
    ],
)
def test_a_checkpoint_of_another_version_is_explained(data, tmp_path, change, message):
    train(tiny(), tmp_path, data=data, max_minutes=0, quiet=True)
    state = read_checkpoint(tmp_path / LAST)
    change(state)
    torch.save(state, tmp_path / LAST)
    with pytest.raises(ValueError, match=f"another version or holds another model: .*{message}") as refused:
        train(None, tmp_path, data=data, resume=True, quiet=True)
    assert "\n" not in str(refused.value)


def test_broken_weights_are_not_saved_over_good_ones(data, tmp_path, monkeypatch):
    """The loss is looked at every twenty steps; checkpoints come by the clock."""
    save_after_every_step(monkeypatch)
    stepped = Trainer.train_step

    def step(self):
        if self.step == 3:
            self.model.head.weight.data.fill_(float("nan"))
        stepped(self)

    monkeypatch.setattr(Trainer, "train_step", step)
    with pytest.raises(ValueError, match="no longer a number at step 5"):
        train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    state = read_checkpoint(tmp_path / LAST)["trainer"]
    assert state["step"] == 3
    assert all(value.isfinite().all() for value in state["model"].values())


def test_what_a_killed_process_was_writing_is_swept_up(data, tmp_path):
    train(tiny(), tmp_path, data=data, max_minutes=0, quiet=True)
    (tmp_path / f".{LAST}.12345").write_bytes(b"half")
    train(None, tmp_path, data=data, max_minutes=0, resume=True, quiet=True)
    assert not list(tmp_path.glob(".*"))


def test_other_data_is_noticed(uninterrupted, data, tmp_path):
    train(tiny(), tmp_path, data=data, max_minutes=0, quiet=True)
    other = MemoryImages(data.train.images.flip(0), data.train.labels)
    with pytest.raises(ValueError, match="not those that the run started with"):
        train(
            tiny(), tmp_path, resume=True, data=Dataset("x", data.classes, other, data.val, None), quiet=True
        )


def small_folder(root, per_class=20):
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            colour = (100 * k + i, 7 * i, 50)
            Image.new("RGB", (16, 16), colour).save(root / name / f"{i:02}.png")
    return str(root)


PLAIN = {"low_size": None, "low_part": 0.0, "train_size": None, "mixup": 0.0, "cutmix": 0.0}


def test_a_folder_may_move_and_its_files_be_renamed_before_a_run_goes_on(tmp_path):
    root, out = small_folder(tmp_path / "here"), tmp_path / "out"
    train(tiny(data=root, **PLAIN), out, max_minutes=0, device="cpu", quiet=True)
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "there" / "cat" / "00.png").rename(tmp_path / "there" / "cat" / "zz.png")
    with pytest.raises(ValueError, match="is not there any more; say with --data where it is now"):
        train(None, out, resume=True, device="cpu", quiet=True)
    moved = str(tmp_path / "there")
    receipt = train(None, out, resume=True, moved=moved, device="cpu", quiet=True)
    assert (receipt["finished"], receipt["data"]) == (True, moved)
    train(tiny(data=moved, **PLAIN), tmp_path / "whole", device="cpu", quiet=True)
    assert_same(weights(out), weights(tmp_path / "whole"))


def test_a_run_of_before_goes_on_with_its_own_split(tmp_path):
    """Its recipe says nothing of `split_by`, and its weights hold no hashes."""
    root, out = small_folder(tmp_path / "here"), tmp_path / "out"
    train(tiny(data=root, split_by="position", **PLAIN), out, max_minutes=0, device="cpu", quiet=True)
    state = read_checkpoint(out / LAST)
    del state["recipe"]["split_by"]
    state["recipe"]["doubt"] = 0.0  # runs of some days have this, and go on, too
    torch.save(state, out / LAST)
    receipt = train(None, out, resume=True, device="cpu", quiet=True)
    assert (receipt["finished"], receipt["recipe"]["split_by"]) == (True, "position")
    assert receipt["images"] == {"train": 32, "val": 4, "test": 4}


# -- what it will cost


def test_a_run_says_what_it_costs_before_it_starts(data, tmp_path, capsys):
    train(tiny(), tmp_path, data=data, device="cpu", max_minutes=0)
    says = capsys.readouterr().err.splitlines()[0]
    config = get_config("vit_nano_4", **{**TINY["model_options"], "img_size": 16, "num_classes": 10})
    kept = activation_bytes(config, 16, bf16=False)
    model = VisionTransformer(config)
    assert "make 17 tokens" in says
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in says
    assert f"a batch of 16 keeps {kept / 1e6:.0f} MB" in says


def test_what_does_not_fit_is_refused_with_a_remedy_that_fits(monkeypatch):
    monkeypatch.setattr("vit.training.plan.free_memory", lambda device: 20 * 10**9)
    given = {"model": "vit_mini_4", "img_size": 224, "batch_size": 128, "bf16": False}
    given |= {"model_options": {"class_token": True, "global_pool": "token"}}
    recipe, cpu = get_recipe("folder", **given), torch.device("cpu")
    with pytest.raises(
        ValueError, match=r"3137 tokens; .* keeps 34\.1 GB .* 20\.0 GB .* are free"
    ) as refused:
        plan(recipe, 1000, 10, cpu)
    remedies = re.findall(r"--set (?:model_options\.)?(\w+)=(\d+)", str(refused.value))
    assert [name for name, _ in remedies] == ["patch_size", "accumulate"]
    for name, value in remedies:
        options = {"model_options": {name: int(value)}} if name == "patch_size" else {name: int(value)}
        assert "keeps" in plan(get_recipe("folder", **{**given, **options}), 1000, 10, cpu)
    plan(recipe, 10, 10, cpu)  # so few images make a small batch
    monkeypatch.setattr("vit.training.plan.free_memory", lambda device: None)
    plan(recipe, 1000, 10, cpu)  # the system does not say


def test_the_memory_at_hand_is_known_here():
    free = free_memory(torch.device("cpu"))
    assert free is None or 10**7 < free < 10**14


def test_an_atomic_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two", keep=tmp_path / "before")
    assert (path.read_bytes(), (tmp_path / "before").read_bytes()) == (b"two", b"one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, bytes(2000), keep=tmp_path / "before")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"two", "before": b"one"}


def test_a_full_disk_loses_nothing(uninterrupted, data, tmp_path, monkeypatch):
    """No file over 1 kB can be written for five steps, across the end of an epoch; then again it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    save_after_every_step(monkeypatch)
    stepped, seen = Trainer.train_step, []

    def step(self):
        stepped(self)
        if self.step in (3, 8):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if self.step == 3 else soft, hard))
        if self.step == 8:  # what the disk held all along
            seen.append(read_last(tmp_path)["trainer"]["step"])

    monkeypatch.setattr(Trainer, "train_step", step)
    try:
        train(tiny(), tmp_path, data=data, device="cpu", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert seen == [2]
    assert_same(weights(tmp_path), weights(uninterrupted[0]))
    assert rows(tmp_path) == rows(uninterrupted[0])


def test_weights_files_explain_themselves(uninterrupted, tmp_path):
    import safetensors.torch

    whole = (uninterrupted[0] / BEST).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged"):
        read_weights(tmp_path / "cut")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="not written by this package"):
        read_weights(tmp_path / "foreign")
    with pytest.raises(ValueError, match="there is no file"):
        read_weights(tmp_path / "nothing")
    state = safetensors.torch.load(whole)
    with safetensors.safe_open(uninterrupted[0] / BEST, "pt") as file:
        about = json.loads(file.metadata()["vit"])
    for changed, message in (
        ("{", "Expecting property name"),
        ("{}", "it has no 'config'"),
        (json.dumps(about | {"model": "Swin"}), "it has no 'Swin'"),
        (json.dumps(about | {"config": {"colour": 1}}), "unexpected keyword argument 'colour'"),
        (json.dumps(about | {"config": {**about["config"], "num_classes": 4}}), "size mismatch for head"),
    ):
        safetensors.torch.save_file(state, tmp_path / "changed", {"vit": changed})
        with pytest.raises(ValueError, match=f"changed is of another version.*{message}") as refused:
            read_weights(tmp_path / "changed")
        assert "\n" not in str(refused.value)


def test_half_weights_are_half_the_size(data, tmp_path):
    sizes = []
    for half in (False, True):
        receipt = train(tiny(epochs=1, half_weights=half), tmp_path / str(half), data=data, quiet=True)
        model, info = read_weights(tmp_path / str(half) / BEST)
        again = evaluate(model, data.test, Preprocessing(**info["preprocessing"]))
        assert again["correct"] == receipt["test_correct"]  # measured on the weights as stored
        sizes.append((tmp_path / str(half) / BEST).stat().st_size)
    assert sizes[1] < 0.75 * sizes[0]  # the metadata does not shrink


# -- several processes


ALONE_IN_WRITING = """
import os, signal, sys, vit.training.checkpoint
from vit.training.trainer import Trainer
def refuse(path, *_): raise SystemExit(f"a second process writes {path}")
def step(self):
    stepped(self)
    if self.step == 7 and sys.argv[3] == "new": os.kill(os.getpid(), signal.SIGTERM)
if os.environ["RANK"] != "0":
    vit.training.checkpoint.write_atomic = refuse
    stepped, Trainer.train_step = Trainer.train_step, step
"""


def test_two_processes_train_as_one(tmp_path, data, pickled):
    """The same recipe in one process, its batches cut in two, and in two processes: the same curve.

    The second process may not write, and it alone is told to stop after seven steps; then both go on.
    """
    options = {"accumulate": 2, "epochs": 3}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-c"]
    script = tmp_path / "child.py"
    script.write_text(ALONE_IN_WRITING + CHILD)
    command = [*command[:-1], str(script), repr({**TINY, **options}), str(tmp_path / "two")]
    settings = {"env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, "cwd": tmp_path}
    for turn, step in (("new", 7), ("resume", 15)):
        done = subprocess.run(
            [*command, turn, pickled], capture_output=True, text=True, timeout=300, **settings
        )
        assert done.returncode == 0, done.stderr
        assert read_checkpoint(tmp_path / "two" / LAST)["trainer"]["step"] == step
    train(tiny(**options), tmp_path / "one", data=data, device="cpu", quiet=True)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        assert {k: float(v) for k, v in a.items()} == pytest.approx(
            {k: float(v) for k, v in b.items()}, abs=2e-3
        )
    for name, p in weights(tmp_path / "one").items():
        torch.testing.assert_close(p, weights(tmp_path / "two")[name], atol=2e-3, rtol=1e-2)
    assert json.loads((tmp_path / "two" / "receipt.json").read_text())["processes"] == 2


# -- sine-cosine positions and old names


def test_a_run_that_began_small_ends_with_the_table_of_its_full_size(data):
    options = {"pos_embed": "sincos2d", "pool": "mean"}  # the second in the words of older recipes
    trainer = Trainer(tiny(model_options=TINY["model_options"] | options), data)
    full = trainer.model.pos_embed.clone()
    assert trainer.model.config.class_token is False
    trainer.train_step()
    small = trainer.model.config
    assert (small.img_size, small.pos_size) == ((8, 8), (16, 16))
    expected = interpolate_positions(full, (4, 4), (2, 2), 0)
    assert torch.equal(trainer.model.pos_embed, expected)
    again = Trainer(trainer.recipe, data)
    again.load_state_dict(trainer.state_dict())
    assert torch.equal(again.model.pos_embed, expected)
    finished = trainer.finished_model()
    assert torch.equal(finished.pos_embed, full)
    assert finished.config.pos_size is None
