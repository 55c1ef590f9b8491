"""Folders as people have them: parts, classes, pictures, and a split that content decides."""

import os
import unicodedata
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from vit.data import files, sets
from vit.data.folders import find_parts, pictures, read_classes, split_by_content
from vit.data.sets import load_data


def noise(*folders, n=8, seed=0, ext="png"):
    """`n` small pictures of noise in each folder, all different."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng([seed, *os.fsencode(folder)])
        for i in range(n):
            Image.fromarray(generator.integers(0, 255, (9, 9, 3), np.uint8)).save(folder / f"{i:03}.{ext}")


def quiet(name, size=8):
    """Load, without a word of warning allowed."""
    with warnings.catch_warnings(action="error"):
        return load_data(str(name), size)


# -- parts


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "Valid", "TEST"),
        ("train", "dev", "testing"),
    ],
)
@pytest.mark.parametrize("deeper", ["", "set", "inside"])
def test_the_three_parts_by_their_usual_names(tmp_path, names, deeper):
    root = tmp_path / "set"
    inner = root / "set" if deeper == "set" else root
    for name, n in zip(names, (9, 3, 4), strict=True):
        part = inner / name / name if deeper == "inside" else inner / name
        noise(part / "cat", part / "dog", n=n)
    found = quiet(root)
    assert found.classes == ("cat", "dog")
    assert [len(part) for part in (found.train, found.val, found.test)] == [18, 6, 8]


def test_what_lies_beside_the_parts_is_named(tmp_path):
    for name in ("train", "valid"):
        noise(tmp_path / name / "cat", tmp_path / name / "dog")
    noise(tmp_path / "extra" / "cat", tmp_path / "test")  # a test part without classes is none
    with pytest.warns(UserWarning, match=r"train/, valid/ are used, extra/, test/ not"):
        found = load_data(str(tmp_path), 8)
    assert (len(found.train), len(found.val), found.test) == (16, 16, None)


def test_train_may_be_a_class(tmp_path):
    noise(tmp_path / "train", tmp_path / "bus", tmp_path / "car")
    assert quiet(tmp_path).classes == ("bus", "car", "train")
    noise(tmp_path / "train" / "steam", n=2)  # it has pictures itself
    assert find_parts(tmp_path)[1] == {}
    for name in ("train", "test"):
        noise(tmp_path / "set" / name / "train", tmp_path / "set" / name / "bus")
    assert quiet(tmp_path / "set").classes == ("bus", "train")


@pytest.mark.parametrize(
    "folders",
    [
        ("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"),
        ("training_set/cat", "training_set/dog", "test_set/cat", "test_set/dog"),
        ("seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_pred/seg_pred"),
        ("train", "test"),
        ("Train", "Validation", "Testing"),
        ("train_images", "test_images"),
    ],
    ids=" ".join,
)
def test_parts_that_cannot_be_used_are_no_classes(tmp_path, folders):
    noise(*(tmp_path / folder for folder in folders))
    with pytest.raises(
        ValueError, match=r"look like parts of a set, not like classes.*Call them train/, val/"
    ):
        load_data(str(tmp_path), 8)


@pytest.mark.parametrize(
    "folders",
    [
        ("test tube", "freight train", "flask"),
        ("cat/indoor", "cat/outdoor", "dog/indoor", "dog/street"),
        ("dev board/front", "cable"),
    ],
    ids=" ".join,
)
def test_classes_with_odd_names_are_classes(tmp_path, folders):
    noise(*(tmp_path / folder for folder in folders))
    assert quiet(tmp_path).classes == tuple(sorted({folder.partition("/")[0] for folder in folders}))


def test_two_folders_for_one_part_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        noise(tmp_path / name / "cat", tmp_path / name / "dog")
    with pytest.raises(ValueError, match="val/ and valid/, and both say val"):
        load_data(str(tmp_path), 8)


def test_to_train_there_must_be_a_train_part(tmp_path):
    noise(tmp_path / "test" / "cat", tmp_path / "test" / "dog")
    with pytest.raises(ValueError, match="has test/ and no train/"):
        load_data(str(tmp_path), 8)


def test_one_folder_above_the_classes_is_guessed_at(tmp_path):
    noise(tmp_path / "PetImages" / "cat", tmp_path / "PetImages" / "dog")
    with pytest.raises(ValueError, match="got PetImages alone; are the classes in there"):
        load_data(str(tmp_path), 8)


# -- classes and pictures


def test_hidden_and_system_folders_are_neither_classes_nor_pictures(tmp_path):
    noise(tmp_path / "cat", tmp_path / "dog")
    noise(tmp_path / ".git", tmp_path / "__MACOSX" / "cat", tmp_path / "cat" / ".ipynb_checkpoints", n=3)
    (tmp_path / ".thumbnails").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "._000.png"):
        (tmp_path / "dog" / name).write_bytes(b"\0")
    with pytest.warns(UserWarning, match="7 hidden or of the system"):
        found = load_data(str(tmp_path), 8)
    assert found.classes == ("cat", "dog")
    assert (sum(map(len, (found.train, found.val, found.test))), found.skipped) == (16, 0)


def test_every_ending_that_pillow_opens_and_the_rest_counted_by_reason(tmp_path, monkeypatch):
    endings = ("JPG", "jfif", "gif", "PNG", "bmp", "webp", "tif", "tga", "ico", "jp2", "qoi", "avif", "mpo")
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i, ending in enumerate(endings):
            image = Image.new("RGB", (32, 32), (10 * i, 100 * k, 50))
            kind = {"JPG": "jpeg", "jfif": "jpeg", "mpo": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}
            image.save(tmp_path / name / f"a.{ending}", format=kind.get(ending, ending))
    for name in ("list.csv", "list.txt", "film.mpg", "IMG.HEIC", "IMG2.heif", "noending"):
        (tmp_path / "cat" / name).write_bytes(b"?")
    Image.new("RGB", (32, 32)).save(tmp_path / "of_no_class.png")
    monkeypatch.setattr(
        "vit.data.folders.picture_extensions", lambda: files.picture_extensions() - set(files.HEIF)
    )
    with pytest.warns(UserWarning, match="passed over") as said:
        found = load_data(str(tmp_path), 8)
    assert sum(map(len, (found.train, found.val, found.test))) == 2 * len(endings)
    (line,) = [str(w.message) for w in said]
    for reason in (
        "1 not pictures by their names (.csv)",
        "(.mpg)",
        "(no extension)",
        "2 HEIC",
        "1 in no class's",
    ):
        assert reason in line
    assert "pip install pillow-heif" in line


def test_linked_folders_are_followed_once(tmp_path):
    noise(tmp_path / "pool" / "cats", tmp_path / "root" / "dog", n=5)
    noise(tmp_path / "pool" / "more", n=4)
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "pool" / "cats")
    (tmp_path / "pool" / "cats" / "deep").symlink_to(tmp_path / "pool" / "more")
    (tmp_path / "pool" / "cats" / "again").symlink_to(tmp_path / "pool" / "more")
    (tmp_path / "pool" / "more" / "up").symlink_to(tmp_path / "pool" / "cats")  # a ring
    (tmp_path / "root" / "dog" / "root").symlink_to(tmp_path / "root")  # all the rest
    (tmp_path / "root" / "dog" / "cat").symlink_to(tmp_path / "pool" / "cats")  # another class
    with pytest.warns(UserWarning, match="4 links to folders that were there already"):
        paths, labels, classes = read_classes(tmp_path / "root")
    assert classes == ("cat", "dog")
    assert torch.bincount(labels).tolist() == [9, 5]
    assert len(set(paths)) == 14
    assert len(list(pictures(tmp_path / "root" / "cat"))) == 9


def test_names_that_look_the_same_are_the_same(tmp_path):
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert one != other
    for part, name in (("train", one), ("val", other)):
        noise(tmp_path / part / name, tmp_path / part / "dog")
    assert quiet(tmp_path).classes == (one, "dog")
    noise(tmp_path / "train" / other, seed=1)  # both, side by side
    assert torch.bincount(quiet(tmp_path).train.labels).tolist() == [16, 8]


def test_a_class_without_pictures_is_an_error_that_says_what_there_is(tmp_path):
    noise(tmp_path / "cat", tmp_path / "dog")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"'notes'.* has no image; passed over: 1 not pictures .*\.txt"):
        load_data(str(tmp_path), 8)


# -- the split


def parts_of(root):
    found = load_data(str(root), 8)
    return {key: part for part in ("train", "val", "test") for key in list(getattr(found, part).keys())}


@pytest.mark.filterwarnings("ignore")
def test_no_change_moves_another_picture(tmp_path):
    noise(tmp_path / "a", tmp_path / "b", n=80)
    before = parts_of(tmp_path)
    assert len(before) == 160

    def unmoved(gone=0):
        after = parts_of(tmp_path)
        assert len(before.keys() & after.keys()) == 160 - gone
        assert not [key for key in before.keys() & after.keys() if before[key] != after[key]]

    noise(tmp_path / "a" / "new", n=30)  # added
    unmoved()
    (tmp_path / "a" / "000.png").rename(tmp_path / "a" / "zzz.png")
    unmoved()
    (tmp_path / "b" / "005.png").unlink()
    unmoved(gone=1)
    (tmp_path / "a" / "007.png").write_bytes(b"oops")
    unmoved(gone=2)
    noise(tmp_path / "c", n=20)
    unmoved(gone=2)
    (tmp_path / "b").rename(tmp_path / "x")
    unmoved(gone=2)


def test_the_split_is_about_a_tenth_and_independent_for_each_part():
    keys, labels = [f"{i:08}" for i in range(10_000)], torch.zeros(10_000, dtype=torch.long)
    test, val = (split_by_content(keys, labels, 0.1, part) for part in ("test", "val"))
    assert 900 < test.sum() < 1100
    assert 60 < (test & val).sum() < 140


@pytest.mark.parametrize("n", [3, 4, 5, 10])
def test_every_class_has_all_three_parts(n):
    for start in range(200):
        keys = [f"{i:08}" for i in range(start * n, start * n + n)]
        labels = torch.zeros(n, dtype=torch.long)
        test = split_by_content(keys, labels, 0.1, "test", keep=2)
        rest = [key for key, held in zip(keys, test.tolist(), strict=True) if not held]
        val = split_by_content(rest, labels[: len(rest)], 0.1, "val")
        assert test.sum() >= 1
        assert val.sum() >= 1
        assert val.sum() < len(rest)


def test_too_few_pictures_to_hold_one_out(tmp_path):
    noise(tmp_path / "a", n=5)
    noise(tmp_path / "b", n=2)
    with pytest.raises(ValueError, match=r"at least 3 different images of every class.* got 2 of one"):
        load_data(str(tmp_path), 8)


def test_copies_stay_together_and_are_counted(tmp_path):
    noise(tmp_path / "a", tmp_path / "b", n=30)
    for i in range(30):
        (tmp_path / "a" / f"copy{i}.png").write_bytes((tmp_path / "a" / f"{i:03}.png").read_bytes())
    (tmp_path / "b" / "odd.png").write_bytes((tmp_path / "a" / "000.png").read_bytes())
    with pytest.warns(UserWarning, match="31 images are byte-equal copies of others; 1 of them in a class"):
        found = load_data(str(tmp_path), 8)
    train, val, test = (set(part.keys()) for part in (found.train, found.val, found.test))
    assert not train & val | train & test | val & test
    assert len(found.train) + len(found.val) + len(found.test) == 91


def test_a_test_part_with_training_pictures_in_it_loses_them(tmp_path):
    for part in ("train", "test"):
        noise(tmp_path / part / "a", tmp_path / part / "b")
    (tmp_path / "test" / "b" / "x.png").write_bytes((tmp_path / "train" / "b" / "003.png").read_bytes())
    with pytest.warns(UserWarning, match="1 images are byte-equal to others in training, and left out"):
        found = load_data(str(tmp_path), 8)
    assert len(found.test) == 16


def test_memory_and_disk_are_split_alike(tmp_path, monkeypatch):
    noise(tmp_path / "a", tmp_path / "b", n=40)
    memory = load_data(str(tmp_path), 8)
    monkeypatch.setattr(sets, "IN_MEMORY", 0)
    disk = load_data(str(tmp_path), 8)
    for part in ("train", "val", "test"):
        assert getattr(memory, part).keys() == getattr(disk, part).keys()


def test_a_word_is_a_word_and_a_folder_is_said_to_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "shapes" / "bolt", tmp_path / "shapes" / "nut")
    with pytest.warns(UserWarning, match=r"taken for the data set; the folder called so is \./shapes"):
        assert "circle" in load_data("shapes", 8, 10).classes
    for name in ("./shapes", "shapes/", str(tmp_path / "shapes")):
        found = quiet(name)
        assert found.classes == ("bolt", "nut")
        assert quiet(found.name).classes == found.classes  # as `vit evaluate` will look for it
