"""A trained model, loaded, used, and exported."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit.config import get_config
from vit.data.images import MemoryImages, decode
from vit.data.sets import load_data
from vit.data.shapes import CLASSES
from vit.inference.classifier import load_classifier, summarise
from vit.inference.export import export_onnx
from vit.inference.weights import weights_bytes
from vit.model import VisionTransformer

PREPROCESSING = {"img_size": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    options = {"img_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2, "drop_path_rate": 0.5}
    model = VisionTransformer(get_config("vit_nano_4", **options))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)  # or attention would be uniform and the classes alike
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    file.write_bytes(
        weights_bytes(model, {"preprocessing": PREPROCESSING, "classes": CLASSES, "data": "shapes"})
    )
    return file


@pytest.fixture
def classifier(path):
    return load_classifier(path)


def images(count=6):
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)


def test_probabilities_are_those_of_the_model(classifier):
    x = images()
    mean, std = (torch.tensor(PREPROCESSING[k])[:, None, None] for k in ("mean", "std"))
    expected = classifier.model((x / 255 - mean) / std).softmax(1)
    torch.testing.assert_close(classifier.probabilities(x), expected)
    torch.testing.assert_close(classifier.probabilities(x / 255), expected)
    assert not classifier.model.training


def test_predict_names_the_likeliest(classifier, tmp_path):
    x = images(2)
    answers = classifier.predict(x, top_k=4)
    p = classifier.probabilities(x)
    for answer, row in zip(answers, p, strict=True):
        assert [name for name, _ in answer] == [CLASSES[k] for k in row.argsort(descending=True)[:4]]
        assert [value for _, value in answer] == pytest.approx(row.sort(descending=True).values[:4].tolist())
    Image.fromarray(x[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert classifier.predict([tmp_path / "a.png"], top_k=4) == [
        [(name, pytest.approx(value, abs=1e-6)) for name, value in answers[0]]
    ]
    assert len(classifier.predict(x, top_k=99)[0]) == 10


def test_predict_takes_paths_and_empty_lists(classifier, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, x in zip(files, images(3), strict=True):
        Image.fromarray(x.permute(1, 2, 0).numpy()).save(file)
    three = classifier.predict(files)
    assert classifier.predict(files[1]) == classifier.predict(str(files[1]))
    (one,) = classifier.predict(files[1])
    assert dict(one) == pytest.approx(dict(three[1]), abs=1e-6)  # by itself a picture is rounded otherwise
    assert classifier.predict(map(str, files)) == three
    assert classifier.predict([]) == classifier.predict(images(0)) == []
    assert len(classifier.predict([files[0]] * 300, top_k=1)) == 300
    with pytest.raises(ValueError, match="top_k to be at least 1, got 0"):
        classifier.predict(files, top_k=0)


def test_a_word_is_a_model_of_ours_and_a_path_is_a_path(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "best.safetensors").write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match=r"taken for the model of the package; .* is \./cifar10"):
        assert "airplane" in load_classifier("cifar10").classes
    for name in ("./cifar10", Path("cifar10"), tmp_path / "cifar10"):
        assert load_classifier(name).classes == CLASSES


def test_a_run_folder_stands_for_its_best_weights(path, tmp_path):
    (tmp_path / "best.safetensors").write_bytes(path.read_bytes())
    assert load_classifier(tmp_path).classes == CLASSES
    with pytest.raises(ValueError, match="there is no file"):
        load_classifier(tmp_path / "none")


def test_a_whole_set_in_order(classifier):
    pixels, labels = images(10), torch.arange(10)
    p, y = classifier.predict_set(MemoryImages(pixels, labels), batch_size=4)
    torch.testing.assert_close(p, classifier.probabilities(pixels))
    assert torch.equal(y, labels)


def test_summary_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    result = summarise(p, torch.tensor([0, 1, 1, 1]), bins=10)
    assert (result["accuracy"], result["correct"], result["count"], result["top5"]) == (0.75, 3, 4, 1.0)
    assert result["confusion"].tolist() == [[1, 0], [1, 2]]
    assert result["loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.8, 0.7))) / 4)
    assert result["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4, abs=1e-6)  # four bins of one
    assert result["confidence"] == pytest.approx((0.9 + 0.6 + 0.8 + 0.7) / 4)
    assert result["overconfidence"] == pytest.approx(0.75 - 0.75, abs=1e-6)
    result = summarise(p, torch.tensor([1, 1, 0, 1]))
    assert result["overconfidence"] == pytest.approx(0.75 - 0.25)  # three of four wrong, and sure of them
    with pytest.raises(ValueError, match="at least one image"):
        summarise(p[:0], torch.tensor([]))


@pytest.mark.parametrize("limit", [None, 1000])
def test_onnx_says_what_torch_says(classifier, tmp_path, monkeypatch, limit):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    if limit:  # as if this model had more than two gigabytes
        monkeypatch.setattr("vit.inference.export.LARGEST", limit)
    file = export_onnx(classifier, tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"][: 2 if limit else 1]
    graph = onnx.load(file, load_external_data=False).graph
    outside = {t.name for t in graph.initializer if t.external_data}
    assert ("model.head.weight" in outside) == bool(limit)
    moved = tmp_path / "moved"  # both together
    moved.mkdir()
    for path in [path for path in tmp_path.iterdir() if path != moved]:
        path.rename(moved / path.name)
    file = moved / file.name
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["logits", "attention_0", "attention_1", "attention_2"]
    for count in (1, 5):
        x = images(count) / 255
        logits, *maps = (torch.from_numpy(o) for o in session.run(None, {"images": x.numpy()}))
        inputs = classifier.preprocessing.normalise(x)
        with torch.inference_mode():
            torch.testing.assert_close(logits, classifier.model(inputs), atol=1e-4, rtol=1e-4)
            for ours, theirs in zip(classifier.model.attention_maps(inputs), maps, strict=True):
                assert theirs.shape == (count, 2, 17, 17)
                torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    properties = {p.key: json.loads(p.value) for p in onnx.load(file).metadata_props}
    assert properties == {"classes": list(CLASSES), "img_size": 16}


def test_a_drawn_picture_survives_the_way_through_a_file(tmp_path):
    pixels = load_data("shapes", 16, 10).train.images[0]
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(tmp_path / "x.png")
    assert torch.equal(decode(tmp_path / "x.png", 16), pixels)


# -- half precision and inference mode


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_answers(classifier, dtype):
    x = images(3)
    expected = classifier.probabilities(x)
    classifier.model.to(dtype)
    for given in (x, x / 255, (x / 255).half()):
        answer = classifier.probabilities(given)
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, expected, atol=0.05, rtol=0)


def test_a_model_that_was_read_in_inference_mode_can_be_trained(path):
    with torch.inference_mode():
        model = load_classifier(path).model
    model.set_input_size(24)
    model(torch.randn(2, 3, 24, 24)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
