"""What a model is measured on: never on what it was trained on, and a new folder whole."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from vit.config import get_config
from vit.data.files import file_key
from vit.data.sets import load_data
from vit.inference.classifier import load_classifier
from vit.inference.measure import to_measure
from vit.inference.weights import weights_bytes
from vit.model import VisionTransformer


def noise(*folders, n=40, seed=0):
    for k, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng([seed, k])
        for i in range(n):
            Image.fromarray(generator.integers(0, 255, (9, 9, 3), np.uint8)).save(
                folder / f"{seed}-{i:03}.png"
            )


def weights(path, name, **info):
    """A weights file as a run on the folder `name` leaves it, untrained; with hashes if they are given."""
    torch.manual_seed(0)
    model = VisionTransformer(
        get_config("vit_nano_4", img_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=2)
    )
    about = {"preprocessing": {"img_size": 8, "mean": [0.5] * 3, "std": [0.3] * 3}, "classes": ["a", "b"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(weights_bytes(model, about | {"data": str(name)} | info))
    return load_classifier(path)


@pytest.fixture
def root(tmp_path):
    noise(tmp_path / "set" / "a", tmp_path / "set" / "b")
    return tmp_path / "set"


@pytest.fixture
def trained(tmp_path, root):
    """A classifier, and the keys of its training, validation and test images."""
    data = load_data(str(root), 8)
    seen = {f"{part}_hashes": "".join(getattr(data, part).keys()) for part in ("train", "val")}
    recipe = {"recipe": {"split_by": "content"}}
    return weights(tmp_path / "w.safetensors", root, **seen, **recipe), data


def measured(classifier, name, *options, **more):
    images, label, remarks = to_measure(classifier, str(name), *options, **more)
    return images.keys(), label, remarks


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        lambda root: noise(root / "a", root / "b", n=25, seed=7),
        lambda root: (root / "a" / "0-000.png").rename(root / "a" / "zzz.png"),
        lambda root: [path.unlink() for path in sorted((root / "b").iterdir())[:9]],
        lambda root: [path.write_bytes(b"oops") for path in sorted((root / "b").iterdir())[5:14]],
        lambda root: [path.unlink() for path in sorted((root / "b").iterdir())[3:]],
    ],
    ids=["added", "renamed", "removed", "broken", "few left"],
)
def test_no_change_of_the_folder_makes_a_training_image_a_test_image(root, trained, change):
    classifier, data = trained
    known = set(data.train.keys()) | set(data.val.keys())
    before, label, remarks = measured(classifier, root)
    assert (before, label, remarks) == (data.test.keys(), "test", [])
    change(root)
    after, label, _ = measured(classifier, root)
    assert label == "test"
    assert not known & set(after)
    here = set(load_data(str(root), 8).train.keys()) | set(after)
    assert set(data.test.keys()) & here <= set(after)  # and no test image is lost


def test_a_copy_of_the_folder_is_the_folder(tmp_path, root, trained):
    shutil.copytree(root, tmp_path / "moved")
    assert measured(trained[0], tmp_path / "moved")[:2] == (trained[1].test.keys(), "test")


def test_a_new_folder_is_measured_whole(tmp_path, trained):
    noise(tmp_path / "new" / "a", tmp_path / "new" / "b", n=30, seed=9)
    keys, label, remarks = measured(trained[0], tmp_path / "new")
    assert (len(keys), label, remarks) == (60, "all", [])


def test_a_new_folder_with_some_training_images_loses_those(tmp_path, root, trained):
    noise(tmp_path / "new" / "a", tmp_path / "new" / "b", n=30, seed=9)
    classifier, data = trained
    known = set(data.train.keys()) | set(data.val.keys())
    for i in range(10):
        shutil.copy(root / "a" / f"0-{i:03}.png", tmp_path / "new" / "a")
    keys, label, remarks = measured(classifier, tmp_path / "new")
    assert label == "all"
    assert not known & set(keys)
    lost = 70 - len(keys)
    assert 0 < lost <= 10
    assert remarks == [f"left out, because the model was trained on them or chosen by them: {lost}"]


@pytest.mark.parametrize("part", ["test", "Testing", "val", "valid"])
def test_test_or_val_alone_suffice(tmp_path, trained, part):
    noise(tmp_path / "exam" / part / "a", tmp_path / "exam" / part / "b", n=30, seed=9)
    keys, label, _ = measured(trained[0], tmp_path / "exam")
    assert (len(keys), label) == (60, "test" if part.lower().startswith("test") else "val")


def test_one_class_of_the_models_suffices_and_labels_are_the_models(tmp_path, trained):
    noise(tmp_path / "new" / "b", n=5, seed=9)
    images, _, _ = to_measure(trained[0], str(tmp_path / "new"))
    assert images.labels.tolist() == [1] * 5
    noise(tmp_path / "new" / "c", n=5, seed=9)
    with pytest.raises(ValueError, match=r"knows a, b; .* has b, c, of which it does not know c"):
        to_measure(trained[0], str(tmp_path / "new"))


def test_the_parts_that_were_asked_for(root, trained):
    classifier, data = trained
    assert measured(classifier, root, "train")[0] == data.train.keys()
    assert measured(classifier, root, "val")[0] == data.val.keys()
    assert sorted(measured(classifier, root, "all")[0]) == sorted(data.test.keys())
    with pytest.raises(ValueError, match="no split called 'tset'; expected one of train, val, test, all"):
        to_measure(classifier, str(root), "tset")


def test_a_training_part_is_no_test_part(tmp_path, root, trained):
    classifier, _ = trained
    shutil.copytree(root, tmp_path / "other" / "test")
    keys, label, (remark,) = measured(classifier, tmp_path / "other")
    assert label == "test"
    assert sorted(keys) == sorted(trained[1].test.keys())
    assert remark.startswith("left out, because")
    shutil.copytree(root, tmp_path / "only" / "train")
    tested = set(trained[1].test.keys())
    for path in (tmp_path / "only" / "train").rglob("*.png"):
        if file_key(path) in tested:
            path.unlink()
    with pytest.raises(ValueError, match="holds no image that the model was not trained on"):
        to_measure(classifier, str(tmp_path / "only"))


# -- weights of before: no hashes, and a split by position


def test_weights_of_before_keep_their_split(tmp_path, root):
    old = load_data(str(root), 8, split_by="position")
    classifier = weights(tmp_path / "w.safetensors", root)
    keys, label, _ = measured(classifier, root)  # no receipt: it is known by its name
    assert (sorted(keys), label) == (sorted(old.test.keys()), "test")


def test_weights_of_before_know_their_images_by_the_receipt(tmp_path, root):
    old, run = load_data(str(root), 8, split_by="position"), tmp_path / "run"
    classifier, file = weights(run / "best.safetensors", root), run / "best.safetensors"
    (run / "receipt.json").write_text(json.dumps({"data_sha256": old.train.fingerprint()}))
    shutil.copytree(root, tmp_path / "moved")
    for name in (root, tmp_path / "moved"):
        keys, label, _ = measured(classifier, name, weights=file)
        assert (sorted(keys), label) == (sorted(old.test.keys()), "test")
    noise(tmp_path / "new" / "a", tmp_path / "new" / "b", n=30, seed=9)
    keys, label, (remark,) = measured(classifier, tmp_path / "new", weights=file)
    assert (len(keys), label) == (60, "all")
    assert "do not say what they were trained on" in remark
    (root / "a" / "0-000.png").unlink()
    with pytest.raises(ValueError, match="not those that these weights were trained on"):
        measured(classifier, root, weights=file)


def test_the_drawn_test_images_are_those_of_the_run():
    classifier = load_classifier("shapes")
    with warnings.catch_warnings(action="error"):
        images, label, remarks = to_measure(classifier, "shapes")
    assert (len(images), label, remarks) == (2000, "test", [])
