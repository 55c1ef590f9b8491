"""One's own pictures: sizes that follow them, a start for attention, fine-tuning, what to be better than."""

import copy
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vit.config import get_config
from vit.data.images import MemoryImages, Preprocessing
from vit.data.sets import Dataset, load_data
from vit.inference.classifier import load_classifier, summarise
from vit.inference.measure import hashes, to_measure
from vit.inference.weights import BEST, read_weights
from vit.model import VisionTransformer, create_model
from vit.training.baselines import simple_scores
from vit.training.checkpoint import LAST, RECEIPT, read_checkpoint
from vit.training.finetune import PENALTIES, adapted, linear_probe, load_source
from vit.training.mimetic import QUERY_KEY, VALUE_OUT, mimetic_init
from vit.training.optim import Muon, parameter_groups
from vit.training.plan import EPOCHS, SEEN, fitted, minutes, with_epochs, with_flip
from vit.training.recipe import Recipe, get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer

SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("drawn_once")


def write_pictures(folder, count=12, side=16, classes=("dark", "light"), seed=0):
    """Class folders whose pictures differ in brightness, each with noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(0, 60, (side, side, 3), generator=generator, dtype=torch.uint8) + 150 * k
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A trained run, and the folder of pictures that it was trained on."""
    root = tmp_path_factory.mktemp("source")
    pictures = write_pictures(root / "pictures")
    recipe = Recipe(data=str(pictures), img_size=16, epochs=2, batch_size=4, bf16=False, model_options=SMALL)
    train(recipe, root / "run", device="cpu", quiet=True)
    return root / "run", pictures


def tuned(source, data, **changes):
    options = {"epochs": 3, "batch_size": 4, "bf16": False, **changes}
    return get_recipe("finetune", data=str(data), init_from=str(source), **options)


# -- sizes and epochs that follow the data


@pytest.mark.parametrize(
    ("side", "img_size", "patch"),
    [
        (8, 8, 2),
        (28, 28, 4),
        (32, 32, 4),
        (30, 32, 4),
        (64, 64, 8),
        (100, 96, 8),
        (224, 224, 16),
        (3000, 224, 16),
    ],
)
def test_sizes_follow_the_pictures(tmp_path, side, img_size, patch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (side + 7, side)).save(tmp_path / name / "0.png")
    recipe = fitted(get_recipe("folder", data=str(tmp_path)))
    assert (recipe.img_size, recipe.model_options["patch_size"]) == (img_size, patch)
    get_config(recipe.model, img_size=recipe.img_size, **recipe.model_options)


@pytest.mark.parametrize(
    ("options", "img_size", "patch"),
    [
        ({"img_size": 224}, 224, 16),
        ({"img_size": 30}, 30, 1),
        ({"model_options": {"patch_size": 8}}, 48, 8),
        ({"model": "vit_ti_16"}, 48, None),
        ({"model": "vit_ti_16", "img_size": 64}, 64, None),
    ],
)
def test_what_is_asked_for_is_kept(tmp_path, options, img_size, patch):
    Image.new("RGB", (50, 50)).save(tmp_path / "0.png")
    recipe = fitted(get_recipe("folder", data=str(tmp_path), **options))
    if options == {"img_size": 30}:
        img_size, patch = 30, 2  # 15 patches, more than 12: but no larger one of the list divides 30
    assert (recipe.img_size, recipe.model_options.get("patch_size")) == (img_size, patch)


@pytest.mark.parametrize(
    ("side", "own", "patch", "img_size"),
    [
        (32, 518, 14, 112),
        (224, 518, 14, 224),
        (150, 518, 14, 154),
        (224, 32, 4, 32),
        (500, 224, 16, 224),
        (64, 224, 16, 128),
    ],
)
def test_a_source_keeps_its_patches(tmp_path, side, own, patch, img_size):
    Image.new("RGB", (side, side)).save(tmp_path / "0.png")
    config = get_config("vit_nano_4", img_size=own, patch_size=patch)
    recipe = fitted(get_recipe("finetune", data=str(tmp_path), init_from="x"), config)
    assert (recipe.img_size, recipe.model_options.get("patch_size")) == (img_size, None)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no picture in"):
        fitted(get_recipe("folder", data=str(tmp_path)))


def test_few_pictures_are_seen_more_often():
    recipe = get_recipe("folder", data="x", img_size=32, model_options={"patch_size": 4})
    epochs = {images: with_epochs(recipe, images).epochs for images in (1, 1000, 10**6)}
    assert epochs == {1: EPOCHS[1], 1000: -(-SEEN // 64_000), 10**6: EPOCHS[0]}
    large = replace(recipe, img_size=64)  # four times the patches, and the work
    assert with_epochs(large, 250).epochs == with_epochs(recipe, 1000).epochs
    assert with_epochs(replace(recipe, epochs=3), 1000).epochs == 3
    source = get_config("vit_nano_4", patch_size=8)  # whose patches are larger, and fewer
    going_on = get_recipe("finetune", data="x", init_from="x", img_size=32)
    assert with_epochs(going_on, 4000, source).epochs == with_epochs(recipe, 1000).epochs


def test_the_estimate_of_minutes_leaves_no_trace():
    data = load_data("shapes", 16, 64)
    data = replace(data, val=data.val.take(torch.arange(20)), test=None)
    options = {"epochs": 3, "batch_size": 16, "img_size": 16, "bf16": False, "model_options": SMALL}
    recipe = Recipe(**options, optimizer="muon", low_size=8, low_part=0.5, ema=0.9)
    plain, timed = Trainer(recipe, data), Trainer(recipe, data)
    assert 0 < minutes(timed) < 1
    assert timed.step == 0
    for _ in range(8):
        plain.train_step()
        timed.train_step()
    for name, value in plain.state_dict()["model"].items():
        assert torch.equal(value, timed.state_dict()["model"][name]), name


def sided(count, same, seed=0):
    """Two classes, bright at the left and bright at the right; or, `same`, bright above and below."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 3, 12, 12), generator=generator, dtype=torch.uint8)
    for image, k in zip(images, labels.tolist(), strict=True):
        (image.transpose(1, 2) if same else image)[:, :, 6 * k : 6 * k + 6] += 100
    return MemoryImages(images, labels)


def test_pictures_are_mirrored_unless_that_makes_them_another_class():
    recipe = get_recipe("folder", data="x", flip=None)
    noise = torch.randint(0, 256, (60, 3, 12, 12), generator=torch.Generator().manual_seed(1))
    nothing = MemoryImages(noise.to(torch.uint8), torch.arange(60) % 3)
    for images, flip in ((sided(40, False), False), (sided(40, True), True), (nothing, True)):
        assert with_flip(recipe, images).flip is flip
    assert with_flip(replace(recipe, flip=True), sided(40, False)).flip is True  # who says it is obeyed
    assert with_flip(recipe, sided(4, False)).flip is True  # so few can be chance


def test_a_run_says_that_it_mirrors_nothing(tmp_path, capsys):
    for part, seed in (("train", 0), ("val", 1)):
        for i, (image, label) in enumerate(zip(*sided(40, False, seed).batch(torch.arange(40)), strict=True)):
            (tmp_path / "set" / part / "ab"[label]).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "set" / part / "ab"[label] / f"{i}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    options = {"epochs": 1, "bf16": False, "model_options": SMALL, "flip": None}
    recipe = get_recipe("folder", data=str(tmp_path / "set"), **options)
    receipt = train(recipe, tmp_path / "run", device="cpu")
    assert "none is mirrored" in capsys.readouterr().err.splitlines()[0]
    assert receipt["recipe"]["flip"] is False


# -- Muon and the start for attention


@pytest.mark.parametrize("shapes", [[(64, 192), (192, 64), (64, 64), (64, 64)]])
def test_muon_is_pytorchs(shapes):
    start = [torch.randn(shape) for shape in shapes]
    ends = []
    for kind, more in ((torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"}), (Muon, {})):
        weights = [torch.nn.Parameter(w.clone()) for w in start]
        optimizer, generator = (
            kind(weights, lr=1e-2, weight_decay=0.1, **more),
            torch.Generator().manual_seed(1),
        )
        for _ in range(5):
            for p in weights:
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        ends.append(weights)
    for theirs, ours, w in zip(*ends, start, strict=True):
        assert (theirs - ours).norm() < 0.02 * (theirs - w).norm()  # they compute in bfloat16


def test_mimetic_attention_looks_like_trained():
    torch.manual_seed(0)
    model = create_model("vit_nano_4")
    before = model.blocks[0].mlp.fc1.weight.clone()
    mimetic_init(model)
    D, h = model.config.embed_dim, model.config.num_heads
    d = D // h
    for block in model.blocks:
        q, k, v = block.attn.qkv.weight.detach().split(D)
        for head in range(h):  # of rank d, the nearest to noise and identity that there is
            product = q[head * d : (head + 1) * d].T @ k[head * d : (head + 1) * d]
            assert float(product.trace()) / D > 0.4 * QUERY_KEY[1]
            assert torch.linalg.matrix_rank(product) == d
        product = block.attn.proj.weight.detach() @ v
        assert abs(float(product.trace()) / D - VALUE_OUT[1]) < 0.1 * VALUE_OUT[0]
    assert torch.equal(before, model.blocks[0].mlp.fc1.weight)


def test_rates_fall_with_the_distance_from_the_head():
    model = create_model("vit_nano_4", depth=3)
    scales = {
        id(p): g["lr_scale"] for g in parameter_groups(model, 0.1, layer_decay=0.5) for p in g["params"]
    }
    found = {name: scales[id(p)] for name, p in model.named_parameters()}
    assert {found["head.weight"], found["norm.bias"]} == {1.0}
    assert [found[f"blocks.{i}.mlp.fc1.weight"] for i in range(3)] == [0.125, 0.25, 0.5]
    assert {found[name] for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0.0625}


# -- what a model must be better than


def test_simple_scores_are_what_they_say():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (60,), generator=generator)
    train_set, test_set = MemoryImages(images[:40], labels[:40]), MemoryImages(images[40:], labels[40:])
    right = 0
    for image, label in zip(images[40:].double(), labels[40:].tolist(), strict=True):
        order = (images[:40].double() - image).square().flatten(1).sum(1).argsort()[:3]
        votes = labels[:40][order].tolist()
        answer = max(votes, key=lambda k: (votes.count(k), -votes.index(k)))
        right += answer == label
    most = labels[:40].bincount().argmax()
    scores = simple_scores(train_set, test_set)
    assert scores["nearest_neighbours"] == pytest.approx(right / 20)
    assert scores["commonest_class"] == pytest.approx(float((labels[40:] == most).double().mean()))


def test_a_copy_is_its_own_nearest_neighbour():
    images = torch.randint(0, 256, (30, 3, 64, 64), dtype=torch.uint8)
    whole = MemoryImages(images, torch.arange(30))
    assert simple_scores(whole, whole)["nearest_neighbours"] == 1.0


# -- fine-tuning


def test_fine_tuning_starts_from_the_source_and_says_so(source, tmp_path, capsys):
    run, _ = source
    pictures = write_pictures(tmp_path / "pictures", classes=("a", "b", "c"), side=24, seed=1)
    receipt = train(tuned(run, pictures), tmp_path / "run", device="cpu")
    sizes, times, probed, *_ = capsys.readouterr().err.splitlines()
    assert "patches make" in sizes  # before anything that takes long
    assert times.startswith("first a linear probe, about")
    assert "epochs: 3, about" in times
    assert f"the probe has {receipt['source']['probe']['val_accuracy']:.1%}" in probed
    assert receipt["source"]["name"] == str(run)
    assert receipt["source"]["probe"]["penalty"] in PENALTIES
    assert receipt["baselines"]["commonest_class"] < 0.6
    assert receipt["best"]["val_accuracy"] >= receipt["source"]["probe"]["val_accuracy"]
    assert receipt["recipe"]["img_size"] == 16  # the source's, which is below eight patches
    model, info = read_weights(tmp_path / "run" / BEST)
    before, _ = read_weights(run / BEST)
    assert model.config.num_classes == 3
    assert info["preprocessing"] == load_classifier(run).info["preprocessing"]
    last = read_checkpoint(tmp_path / "run" / LAST)["trainer"]["model"]["patch_embed.proj.weight"]
    assert 0 < (last - before.patch_embed.proj.weight).norm() < 0.2 * last.norm()
    assert hashes(info, "train") >= hashes(load_classifier(run).info, "train")


def test_without_epochs_it_is_a_linear_probe(source, tmp_path):
    run, _ = source
    pictures = write_pictures(tmp_path / "pictures", seed=1)
    receipt = train(tuned(run, pictures, epochs=0), tmp_path / "run", device="cpu", quiet=True)
    assert receipt["best"]["epoch"] == 0
    assert receipt["test_accuracy"] == 1.0  # bright and dark
    (model, _), (before, _) = (read_weights(folder / BEST) for folder in (tmp_path / "run", run))
    assert torch.equal(model.blocks[1].mlp.fc1.weight, before.blocks[1].mlp.fc1.weight)
    with pytest.raises(ValueError, match="epochs must be positive"):
        Recipe(epochs=0)


def test_a_resumed_run_needs_its_source_no_more(source, tmp_path):
    run, _ = source
    pictures = write_pictures(tmp_path / "pictures", seed=1)
    train(tuned(run, pictures), tmp_path / "whole", device="cpu", quiet=True)
    copied = tmp_path / "source"
    shutil.copytree(run, copied)
    stopped = train(tuned(copied, pictures), tmp_path / "run", device="cpu", quiet=True, max_minutes=0)
    assert not stopped["finished"]
    shutil.rmtree(copied)
    receipt = train(None, tmp_path / "run", device="cpu", quiet=True, resume=True)
    assert receipt["source"]["name"] == str(copied)
    (one, _), (other, _) = (read_weights(tmp_path / name / BEST) for name in ("whole", "run"))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_cifar10_is_given_out_at_the_side_that_a_source_takes(source, tmp_path, monkeypatch):
    def stored(root, train, download):
        labels = np.arange(60) % 10
        pixels = np.random.default_rng(train).integers(0, 60, (60, 32, 32, 3), np.uint8)
        return SimpleNamespace(
            data=pixels + (20 * labels[:, None, None, None]).astype(np.uint8), targets=labels
        )

    monkeypatch.setattr("vit.data.sets.CIFAR10", stored)
    receipt = train(tuned(source[0], "cifar10", epochs=1), tmp_path / "small", device="cpu", quiet=True)
    assert receipt["recipe"]["img_size"] == 16  # the source's own
    large = tuned(source[0], "cifar10", epochs=1, img_size=48)
    receipt = train(large, tmp_path / "large", device="cpu", quiet=True)
    classifier = load_classifier(tmp_path / "large")
    assert classifier.model.config.img_size == (48, 48)
    images, label, _ = to_measure(classifier, "cifar10")
    assert (images.batch(torch.arange(3))[0].shape, label) == ((3, 3, 48, 48), "test")
    assert images.images.shape[-1] == 32  # in memory they stay as they are
    assert summarise(*classifier.predict_set(images))["correct"] == receipt["test_correct"]


def test_pictures_that_the_source_saw_are_no_test(source, tmp_path):
    run, seen = source
    pictures = tmp_path / "pictures"
    write_pictures(pictures / "train", seed=1)
    shutil.copytree(seen, pictures / "test")
    known = len(hashes(load_classifier(run).info, "train"))
    with pytest.warns(UserWarning, match=f"{known} test images are left out"):
        receipt = train(tuned(run, pictures), tmp_path / "run", device="cpu", quiet=True)
    assert receipt["images"]["test"] == 24 - known


def test_sources_that_are_none_are_explained(tmp_path, source):
    for name, says in (
        ("runs/none.safetensors", "there is no run folder or weights file"),
        ("no_such_model", "no_such_model"),
    ):
        with pytest.raises(ValueError, match=says):
            load_source(name)
    with pytest.raises(ValueError, match="brings its own model"):
        get_recipe("finetune", data="x", init_from="cifar10", model="vit_nano_4")
    with pytest.raises(ValueError, match="do not fit with model_options"):
        train(
            tuned(source[0], source[1], model_options={"depth": 5}),
            tmp_path / "run",
            device="cpu",
            quiet=True,
        )


def test_the_probe_moves_nothing_but_the_head():
    torch.manual_seed(0)
    model = VisionTransformer(get_config("vit_nano_4", img_size=16, num_classes=2, **SMALL)).eval()
    before = copy.deepcopy(model.state_dict())
    labels = torch.arange(40) % 2
    images = (torch.randint(0, 60, (40, 3, 16, 16)) + 150 * labels[:, None, None, None]).to(torch.uint8)
    images = MemoryImages(images, labels)
    look = Preprocessing(16, (0.5,) * 3, (0.25,) * 3)
    found = linear_probe(model, images, images.take(torch.arange(10)), look, CPU)
    assert found["val_accuracy"] == 1.0
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    with torch.no_grad():
        logits = model(look.normalise(images.images[:10]))
    assert float(F.cross_entropy(logits, labels[:10])) == pytest.approx(found["val_loss"], rel=1e-3)


def test_a_shipped_model_can_be_gone_on_from():
    source = load_source("cifar10")
    model, start = adapted(source, "cifar10", 4, get_recipe("finetune", data="x", img_size=48))
    assert (model.config.num_classes, model.config.img_size) == (4, (48, 48))
    assert start.preprocessing.img_size == 48
    assert start.about["test_accuracy"] > 0.8
    assert torch.equal(model.blocks[0].attn.qkv.weight, source.model.blocks[0].attn.qkv.weight)


def test_the_receipt_says_when_a_model_is_not_worth_it(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", count=30)
    options = {
        "img_size": 16,
        "epochs": 1,
        "batch_size": 60,
        "lr": 1e-9,
        "bf16": False,
        "model_options": SMALL,
    }
    train(Recipe(data=str(pictures), **options), tmp_path / "run", device="cpu", quiet=True)
    receipt = json.loads((tmp_path / "run" / RECEIPT).read_text())
    assert receipt["baselines"]["nearest_neighbours"] == 1.0
    assert receipt["baselines"]["worse"]
    assert receipt["baselines"]["measured_on"] == "test"


def test_without_test_images_validation_is_compared():
    whole = load_data("shapes", 16, 40)
    few = whole.val.take(torch.arange(40))
    data = Dataset("shapes", whole.classes, whole.train, few, None)
    assert 0 < simple_scores(data.train, data.val)["commonest_class"] < 0.5
