"""One picture file, whatever its kind."""

import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from vit.data import files
from vit.data.files import decode, picture_extensions, printable
from vit.data.folders import pictures


def save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def level(path):
    return decode(path, 4).float().mean().item()


# -- ranges


@pytest.mark.parametrize(
    ("value", "top", "expected"),
    [(2048, 4095, 128), (4095, 4095, 255), (100, 255, 100), (32768, 65535, 128), (0, 0, 0)],
)
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_12_bits_in_a_16_bit_file_are_not_black(tmp_path, value, top, expected, kind):
    array = np.full((8, 8), value, np.uint16)
    array[:1] = top
    path = save(tmp_path / f"x.{kind}", array)
    assert decode(path, 8)[0, 5, 5] == pytest.approx(expected, abs=1)


def test_32_bit_whole_numbers_are_scaled_by_their_range_or_refused(tmp_path):
    array = np.full((8, 8), 1_000_000, np.int32)
    array[:4] = 500_000
    image = decode(save(tmp_path / "x.tif", array), 8)
    assert image[:, 6, 6].tolist() == [255] * 3
    assert image[0, 1, 1] == pytest.approx(128, abs=1)
    assert level(save(tmp_path / "y.tif", np.full((8, 8), 2000, np.int32))) == pytest.approx(125, abs=1)
    with pytest.raises(ValueError, match=r"n\.tif: negative pixels"):
        decode(save(tmp_path / "n.tif", np.full((8, 8), -5, np.int32)), 8)
    with pytest.raises(ValueError, match=r"f\.tif: floating-point pixels"):
        decode(save(tmp_path / "f.tif", np.full((8, 8), 0.5, np.float32)), 8)


def png16(path, value, channels):
    """A PNG of 16 bits for each channel, which Pillow reads and does not write."""
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    kind = {2: 4, 3: 2, 4: 6}[channels]
    alpha = channels in (2, 4)
    pixel = struct.pack(f">{channels}H", *[value] * (channels - alpha), *[65535] * alpha)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + pixel * 8) * 8))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_12_bits_in_16_are_refused_by_name(tmp_path, channels):
    assert level(png16(tmp_path / "w.png", 200 * 257, channels)) == 200
    assert level(png16(tmp_path / "b.png", 0, channels)) == 0
    with pytest.raises(ValueError, match=r"x\.png: it has 12 bits"):
        decode(png16(tmp_path / "x.png", 4095, channels), 8)


# -- sizes


def test_a_large_jpeg_is_read_small_and_a_bomb_refused(tmp_path, monkeypatch):
    jpeg = save(tmp_path / "phone.jpg", np.full((200, 200, 3), 90, np.uint8))
    png = save(tmp_path / "bomb.png", np.full((200, 200, 3), 90, np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert level(jpeg) == pytest.approx(90, abs=1)
    assert (files.shorter_side(jpeg), files.shorter_side(png)) == (200, None)
    with pytest.raises(ValueError, match=r"bomb\.png.*decompression bomb"):
        decode(png, 8)
    with pytest.raises(ValueError, match=r"phone\.jpg.*decompression bomb"):
        decode(jpeg, 190)  # `draft` cannot make it smaller
    monkeypatch.setattr(files, "JPEG_PIXELS", 30_000)
    with pytest.raises(ValueError, match="200x200 pixels are more than 30000"):
        decode(jpeg, 8)


def test_a_multi_picture_file_of_a_phone(tmp_path):
    first, second = (Image.new("RGB", (40, 40), c) for c in ("red", "blue"))
    first.save(tmp_path / "x.mpo", save_all=True, append_images=[second])
    (tmp_path / "y.jpg").write_bytes((tmp_path / "x.mpo").read_bytes())
    for name in ("x.mpo", "y.jpg"):
        assert decode(tmp_path / name, 4)[:, 0, 0].tolist() == pytest.approx([254, 0, 0], abs=3)


# -- EXIF


def exif(orientation, kind=3):
    """Orientation, and a resolution that is the signed rational -1/0, which no one can write back."""
    tags = struct.pack("<HHIHH", 0x112, kind, 1, orientation, 0) + struct.pack("<HHII", 0x11A, 10, 1, 38)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<Iii", 0, -1, 0)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_only_the_orientation_is_read_from_exif(tmp_path, orientation, kind):
    array = np.zeros((24, 24, 3), np.uint8)
    array[:12, :12] = 255  # the first quarter: white
    array[:12, 12:] = 128
    plain = decode(save(tmp_path / f"plain.{kind}", array), 24).float()
    turned = decode(save(tmp_path / f"t.{kind}", array, exif=exif(orientation)), 24).float()
    expected = {
        2: plain.flip(2),
        3: plain.flip(1, 2),
        4: plain.flip(1),
        5: plain.transpose(1, 2),
        6: plain.transpose(1, 2).flip(2),
        7: plain.transpose(1, 2).flip(1, 2),
        8: plain.transpose(1, 2).flip(1),
    }.get(orientation, plain)
    torch.testing.assert_close(turned, expected, atol=12, rtol=0)


@pytest.mark.parametrize("broken", [b"Exif\0\0", b"Exif\0\0nonsense", exif(6)[:20], exif(6, kind=99)])
def test_broken_exif_costs_no_picture(tmp_path, broken):
    path = save(tmp_path / "x.jpg", np.full((10, 10, 3), 77, np.uint8), exif=broken)
    assert level(path) == pytest.approx(77, abs=2)


def test_a_turned_tiff(tmp_path):
    array = np.zeros((20, 20), np.uint8)
    array[:10] = 255
    about = Image.Exif()
    about[0x112] = 3
    image = decode(save(tmp_path / "x.tif", array, exif=about), 20)
    assert image[:, 15:].min() == 255
    assert image[:, :5].max() == 0


# -- names


def test_endings_are_pillows():
    assert {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".gif",
        ".png",
        ".webp",
        ".tiff",
        ".mpo",
        ".avif",
    } <= picture_extensions()
    assert not {".txt", ".pdf", ".mpg", ".h5"} & picture_extensions()


def test_heic_is_read_as_the_camera_was_held(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: no HEIC is read here")
    image = Image.new("RGB", (60, 80), (200, 30, 30))
    image.paste((30, 30, 200), (0, 0, 60, 40))
    exif = Image.Exif()
    exif[0x112] = 6
    image.save(tmp_path / "x.jpg", exif=exif)
    heif.from_pillow(image).save(tmp_path / "x.HEIC", exif=exif.tobytes())  # turned by HEIC's own means, too
    heic, jpeg = (decode(tmp_path / name, 16).float() for name in ("x.HEIC", "x.jpg"))
    assert (heic - jpeg).abs().max() < 25
    assert heic[2, 8, 13] > heic[2, 8, 2] + 100  # blue was above, and is at the right
    assert [path.name for path in pictures(tmp_path)] == ["x.HEIC", "x.jpg"]


def test_ten_bits_and_transparency_of_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: no HEIC is read here")
    wide = np.zeros((40, 40, 3), np.uint16)
    wide[:, 20:] = 65535
    heif.from_bytes("RGB;16", (40, 40), wide.tobytes()).save(tmp_path / "wide.heic")
    assert [decode(tmp_path / "wide.heic", 16)[0, 8, x].item() for x in (2, 13)] == [0, 255]
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(tmp_path / "clear.heic")
    assert level(tmp_path / "clear.heic") == 255  # on white
    (tmp_path / "cut.heic").write_bytes((tmp_path / "wide.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot read .*cut\.heic: cannot identify"):
        decode(tmp_path / "cut.heic", 8)


@pytest.mark.skipif(files.pillow_heif is not None, reason="pillow-heif is installed, and HEIC can be read")
def test_heic_says_what_it_needs(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match=r"IMG_1\.HEIC: HEIC needs pillow-heif \(pip install"):
        decode(tmp_path / "IMG_1.HEIC", 8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b.jpg", "a b.jpg"),
        ("cash$$[1].jpg", "cash$$[1].jpg"),
        ("猫 é 🐈.jpg", "猫 é 🐈.jpg"),
        ("a\nb\t\x1b[31m.jpg", "a\\nb\\t\\x1b[31m.jpg"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_a_name_is_text_on_one_line(name, text):
    assert printable(name) == text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_an_error_names_the_file_on_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"a\\nb\\x1b"):
        decode(tmp_path / "a\nb\x1b.png", 8)
