"""Loading: decoding, folders and their splits, normalisation."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vit.data import sets
from vit.data.files import decode
from vit.data.images import FileImages, MemoryImages, Preprocessing, batches
from vit.data.sets import load_data, read_folder, split
from vit.training.recipe import Recipe
from vit.training.run import train


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of twenty plain images each, whose brightness is their number."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(20):
            write(tmp_path / "train" / name / f"{i:02}.png", np.full((12, 10, 3), 100 * k + i, np.uint8))
    return tmp_path


def level(batch):
    return batch.float().mean((1, 2, 3))


# -- one file


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((8, 8), 90, np.uint8), (90, 90, 90)),
        (np.full((8, 8), 90 * 257, np.uint16), (90, 90, 90)),  # Pillow alone would say 255
        (np.dstack([np.full((8, 8), v, np.uint8) for v in (10, 20, 30)]), (10, 20, 30)),
        (np.dstack([np.full((8, 8), v, np.uint8) for v in (0, 0, 0, 0)]), (255, 255, 255)),  # transparent
        (np.dstack([np.full((8, 8), v, np.uint8) for v in (200, 100, 0, 255)]), (200, 100, 0)),
    ],
    ids=["grey", "16-bit", "rgb", "transparent", "opaque"],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, array, expected):
    image = decode(write(tmp_path / "x.png", array), 4)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 4, 4)
    assert image.reshape(3, -1).T.unique(dim=0).tolist() == [list(expected)]


def test_palette(tmp_path):
    image = Image.new("RGB", (8, 8), (12, 200, 30)).quantize(4)
    image.save(tmp_path / "p.png")
    assert decode(tmp_path / "p.png", 8)[:, 0, 0].tolist() == [12, 200, 30]


def test_the_middle_is_kept_and_the_camera_obeyed(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert decode(write(tmp_path / "wide.png", wide), 10).min() == 255
    top = np.zeros((20, 20, 3), np.uint8)
    top[:10] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180°
    turned = decode(write(tmp_path / "t.jpg", top, exif=exif, quality=95), 20).float()
    assert turned[:, -5:].mean() > 250
    assert turned[:, :5].mean() < 5


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*broken\.png"):
        decode(path, 8)


def test_a_cut_off_jpeg_is_broken(tmp_path):
    path = write(tmp_path / "x.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="cannot read"):
        decode(path, 8)


# -- sets


def test_normalise_takes_bytes_and_floats_alike():
    pre = Preprocessing(2, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 2, 2)
    assert pre.normalise(pixels)[0, :, 0, 0].tolist() == pytest.approx([1.0, -1.0, 0.2])
    torch.testing.assert_close(pre.normalise(pixels), pre.normalise(pixels / 255))


def test_training_images_end_up_standardised():
    shapes = load_data("shapes", train_size=1000)
    x = shapes.preprocessing(32).normalise(shapes.train.images)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    one = replace(shapes, train=shapes.train.take(torch.tensor([7]))).preprocessing(32)
    pixels = shapes.train.images[7].double().div(255).flatten(1)
    assert one.std == tuple(round(v, 4) for v in pixels.std(1).tolist())
    grey = MemoryImages(shapes.train.images[:, :1], shapes.train.labels)
    assert replace(shapes, train=grey).preprocessing(32).mean == shapes.preprocessing(32).mean[:1]


def test_shapes_share_no_picture_between_splits():
    shapes = load_data("shapes", train_size=3000)
    rows = torch.cat([part.images.flatten(1) for part in (shapes.train, shapes.val, shapes.test)])
    assert len(rows.unique(dim=0)) == len(rows) == 7000


def test_split_is_stratified_fixed_and_disjoint():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 2)
    rest, held = split(labels, 0.1)
    assert sorted(rest.tolist() + held.tolist()) == list(range(82))
    assert torch.bincount(labels[held]).tolist() == [5, 3, 1]
    assert torch.equal(held, split(labels, 0.1)[1])
    assert not torch.equal(held, split(labels, 0.1, seed=1)[1])
    with pytest.raises(ValueError, match="at least two"):
        split(torch.tensor([0, 0, 1]), 0.1)


def test_a_folder_without_val_gives_up_some_of_train(folder):
    write(folder / "test" / "cat" / "a.png", np.full((8, 8, 3), 250, np.uint8))
    write(folder / "test" / "dog" / "b.png", np.full((8, 8, 3), 251, np.uint8))
    found = load_data(str(folder), 8)
    assert found.classes == ("cat", "dog")
    assert (len(found.train) + len(found.val), len(found.test)) == (40, 2)
    assert set(found.val.labels.tolist()) == {0, 1}
    levels = torch.cat([level(found.train.images), level(found.val.images)])
    assert sorted(levels.tolist()) == [*range(20), *range(100, 120)]
    assert (level(found.train.images) >= 100).long().equal(found.train.labels)


def test_class_folders_alone_are_split_in_three(folder):
    found = load_data(str(folder / "train"), 8)
    parts = (found.train, found.val, found.test)
    assert all(set(part.labels.tolist()) == {0, 1} for part in parts)
    everything = torch.cat([level(part.images) for part in parts])
    assert sorted(everything.tolist()) == [*range(20), *range(100, 120)]


def test_runs_of_before_keep_their_split(folder):
    """What the code before `split_by` made of this folder, number by number."""
    found = load_data(str(folder / "train"), 8, split_by="position")
    assert level(found.val.images).tolist() == [4, 9, 100, 119]
    assert level(found.test.images).tolist() == [5, 13, 113, 116]
    assert (
        found.train.fingerprint() == "659eb424a7f390d31e10051c2df3e852a0a5acf1ddbe00ea0f26fdeb48747d43"
    )  # of every pixel and label in order


def test_an_unreadable_file_is_named_skipped_and_counted(folder):
    (folder / "train" / "cat" / "05.png").write_bytes(b"oops")
    with pytest.warns(UserWarning, match=r"05\.png.*skipped"):
        found = load_data(str(folder), 8)
    assert found.skipped == 1
    assert len(found.train) + len(found.val) == 39


def test_an_empty_class_is_an_error(folder):
    (folder / "train" / "eel").mkdir()
    with pytest.raises(ValueError, match="eel"):
        load_data(str(folder), 8)
    (folder / "train" / "eel" / "x.png").write_bytes(b"oops")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match=r"'eel'.*no image"):
        load_data(str(folder), 8)


def test_one_class_is_not_enough(folder):
    for name in ("train", "val", "test"):
        shutil.rmtree(folder / name / "dog", ignore_errors=True)
    with pytest.raises(ValueError, match=r"folders of two classes or more .*, got cat alone"):
        load_data(str(folder), 8)


def test_splits_must_have_the_same_classes(folder):
    write(folder / "val" / "cow" / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="cow"):
        load_data(str(folder), 8)


@pytest.mark.parametrize("name", ["shape", "/no/such/folder"])
def test_no_such_data(name):
    with pytest.raises(ValueError, match="expected 'shapes', 'cifar10' or a folder"):
        load_data(name)


def test_train_size_takes_the_same_part_of_each_class(folder):
    found = load_data(str(folder), 8, train_size=10)
    assert torch.bincount(found.train.labels).tolist() == [5, 5]
    assert found.val.keys() == load_data(str(folder), 8).val.keys()


def test_on_the_fly_is_the_same_as_in_memory(folder, monkeypatch):
    memory = load_data(str(folder), 8)
    monkeypatch.setattr(sets, "IN_MEMORY", 0)
    disk = load_data(str(folder), 8)
    assert isinstance(memory.train, MemoryImages)
    assert isinstance(disk.train, FileImages)
    index = torch.tensor([30, 2, 17])
    for a, b in zip(memory.train.batch(index), disk.train.batch(index), strict=True):
        assert torch.equal(a, b)
    assert disk.preprocessing(8) == memory.preprocessing(8)


def test_what_is_counted_on_the_fly_leaves_out_what_cannot_be_read(folder, monkeypatch):
    (folder / "train" / "cat" / "03.png").write_bytes(b"oops")
    with pytest.warns(UserWarning, match=r"03\.png"):
        memory = read_folder(folder / "train", 8)[0]
    monkeypatch.setattr(sets, "IN_MEMORY", 0)
    disk = read_folder(folder / "train", 8)[0]
    assert isinstance(disk, FileImages)
    assert (len(memory), len(disk)) == (39, 40)
    with pytest.warns(UserWarning, match=r"03\.png"):
        shown = [torch.cat(parts) for parts in zip(*batches(disk, 7), strict=True)]
    assert torch.equal(shown[0], memory.images)
    assert torch.equal(shown[1], memory.labels)


def test_a_set_of_which_nothing_can_be_read_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"oops")
    files = FileImages([str(tmp_path / "x.png")], torch.tensor([0]), 8)
    with pytest.warns(UserWarning, match=r"x\.png"), pytest.raises(ValueError, match="none that can be read"):
        list(batches(files, 4))


def test_on_the_fly_replaces_what_cannot_be_read(folder):
    paths = sorted(str(p) for p in (folder / "train" / "cat").iterdir())
    (folder / "train" / "cat" / "03.png").write_bytes(b"oops")
    files = FileImages(paths, torch.arange(20), 8)
    with pytest.warns(UserWarning, match=r"03\.png"):
        pixels, labels = files.batch(torch.tensor([2, 3]))
    with warnings.catch_warnings(action="error"):
        files.batch(torch.tensor([3]))  # named once
    assert level(pixels).tolist() == labels.tolist() == [2, 4]


def test_what_cannot_be_read_on_the_fly_is_counted_in_the_receipt(folder, tmp_path, monkeypatch):
    (folder / "train" / "cat" / "03.png").write_bytes(b"oops")
    monkeypatch.setattr(sets, "IN_MEMORY", 0)
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2}
    recipe = Recipe(data=str(folder), img_size=8, epochs=1, batch_size=4, bf16=False, model_options=sizes)
    with pytest.warns(UserWarning, match=r"03\.png"):
        receipt = train(recipe, tmp_path / "out", device="cpu", quiet=True)
    assert receipt["skipped_files"] == 1


def test_cifar10_without_network_says_what_to_do(tmp_path, monkeypatch):
    class Offline:
        url = "https://example.org/cifar.tar.gz"

        def __init__(self, *_, **__):
            raise OSError("Name or service not known")

    monkeypatch.setattr(sets, "CIFAR10", Offline)
    with pytest.raises(ValueError, match=r"not known.*example\.org.*or give a folder"):
        load_data("cifar10", root=tmp_path)


def test_fingerprints_notice_a_pixel_and_a_label():
    a = MemoryImages(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    b = MemoryImages(a.images.clone(), a.labels)
    assert a.fingerprint() == b.fingerprint()
    b.images[3, 1, 0, 0] = 1
    assert a.fingerprint() != b.fingerprint()
    assert a.fingerprint() != MemoryImages(a.images, 1 - a.labels).fingerprint()
