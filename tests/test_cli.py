"""The command line, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit import cli

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("drawn_once")
SMALL = [
    "--epochs",
    "2",
    "--img-size",
    "16",
    "--batch-size",
    "50",
    "--set",
    "train_size=200",
    "--set",
    "bf16=false",
]
SMALL += [
    "--set",
    "model_options.embed_dim=16",
    "--set",
    "model_options.depth=2",
    "--set",
    "model_options.num_heads=2",
]
SMALL += ["--quiet", "--device", "cpu"]


@pytest.fixture
def vit(capsys, monkeypatch):
    """Call `vit` with arguments: exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn_once):
    folder = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vit", "train", "--out", str(folder), *SMALL])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return folder


@pytest.fixture
def pictures(tmp_path):
    for i in range(3):
        array = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    return tmp_path


def test_help_is_a_manual(vit):
    code, out, _ = vit("--help")
    assert code == 0
    assert all(command in out for command in ("train", "evaluate", "predict", "info", "export"))
    code, out, _ = vit("train", "--help")
    assert code == 0
    for word in ("shapes", "cifar10", "--resume", "--max-minutes", "torchrun", "Ctrl-C", "Exit codes"):
        assert word in out


def test_train_then_evaluate_agrees_with_the_receipt(vit, run):
    receipt = json.loads((run / "receipt.json").read_text())
    code, out, _ = vit("evaluate", "--weights", run, "--json", "--device", "cpu")
    assert code == 0
    result = json.loads(out)
    assert (result["correct"], result["accuracy"]) == (receipt["test_correct"], receipt["test_accuracy"])
    assert np.array(result["confusion"]).sum() == 2000
    code, out, _ = vit("evaluate", "--weights", run, "--split", "val", "--device", "cpu")
    assert code == 0
    assert f"{receipt['best']['val_accuracy']:.2%}" in out


def test_predict_reports_a_bad_file_and_goes_on(vit, run, pictures):
    (pictures / "1.png").write_bytes(b"not a picture")
    code, out, err = vit(
        "predict", pictures, "--weights", run, "--top-k", "2", "--save", pictures / "all.png"
    )
    assert code == 1
    assert "cannot read" in err
    assert "1.png" in err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [str(pictures / "0.png"), str(pictures / "2.png")]
    assert all(line.count("%") == 2 for line in lines)
    assert Image.open(pictures / "all.png").size[0] > 500


def test_predict_all_good(vit, run, pictures):
    code, out, err = vit("predict", pictures / "0.png", pictures / "1.png", "--weights", run)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2


def test_info(vit, run):
    code, out, _ = vit("info", run)
    about = json.loads(out)
    assert code == 0
    assert about["config"]["embed_dim"] == 16
    assert about["test_accuracy"] == json.loads((run / "receipt.json").read_text())["test_accuracy"]
    assert (about["train_hashes"], about["val_hashes"]) == (200, 2000)  # numbers, not a million letters
    assert {"hardware", "versions", "recipe", "data", "classes"} <= about.keys()
    assert json.loads(vit("info", run / "last.pt")[1])["step"] == 8


def test_export_weights(vit, run, tmp_path):
    code, out, _ = vit("export", tmp_path / "w.safetensors", "--weights", run, "--half")
    assert code == 0
    assert "MB" in out
    assert json.loads(vit("info", tmp_path / "w.safetensors")[1])["parameters"] > 0


def test_export_onnx(vit, run, tmp_path):
    import onnx

    code, out, _ = vit("export", tmp_path / "m.onnx", "--weights", run)
    assert code == 0
    assert out.startswith(f"{tmp_path}/m.onnx: ")
    names = [output.name for output in onnx.load(tmp_path / "m.onnx").graph.output]
    assert names[0] == "logits"
    assert len(names) == 3  # and the attention of its two blocks


def test_predict_says_when_there_is_nothing(vit, run, tmp_path):
    (tmp_path / "deep" / "empty").mkdir(parents=True)
    code, out, err = vit("predict", tmp_path / "deep", "--weights", run)
    assert (code, out) == (2, "")
    assert err == f"error: no pictures in {tmp_path}/deep\n"


def test_a_file_name_need_not_be_text(vit, run, pictures):
    name = os.fsencode(pictures) + b"/caf\xe9.png"
    (pictures / "0.png").rename(os.fsdecode(name))
    code, out, _ = vit("predict", pictures, "--weights", run)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "caf\\udce9.png" in out


def test_predict_and_train_take_the_same_files_and_pass_over_the_rest(vit, run, pictures):
    (pictures / "0.png").rename(pictures / "0.JFIF")
    (pictures / "notes.txt").write_text("hello")
    (pictures / ".hidden.png").write_bytes(b"\0")
    (pictures / "loop").symlink_to(pictures)
    code, out, err = vit("predict", pictures, "--weights", run)
    assert (code, len(out.splitlines())) == (0, 3)
    assert err.startswith(f"warning: passed over in {pictures}: ")
    for reason in ("1 hidden", "1 links", "1 not pictures by their names (.txt)"):
        assert reason in err
    assert vit("predict", pictures / "notes.txt", "--weights", run)[0] == 1  # it was asked for


@pytest.mark.parametrize(
    "name", ["cash$$.png", "a$x^$b.png", "[red]x.png", "a\nb.png", "\x1b[31mred.png", "%s.png"]
)
def test_a_file_name_is_text_whatever_it_holds(vit, run, pictures, name):
    (pictures / "0.png").rename(pictures / name)
    code, out, err = vit("predict", pictures, "--weights", run, "--save", pictures / "all.png")
    assert (code, err, len(out.splitlines())) == (0, "", 3)
    assert Image.open(pictures / "all.png").size[0] > 500
    assert name.replace("\n", "\\n").replace("\x1b", "\\x1b") in out
    (pictures / name).write_bytes(b"oops")
    code, _, err = vit("predict", pictures / name, "--weights", run)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "\x1b" not in err


def test_info_of_another_versions_checkpoint(vit, tmp_path):
    import torch

    torch.save({"format": "vit-checkpoint-1", "best": {}}, tmp_path / "old.pt")
    code, _, err = vit("info", tmp_path / "old.pt")
    assert code == 2
    assert err.endswith("old.pt is of another version or holds another model: it has no 'trainer'\n")


def test_the_newest_run_is_used(vit, run, pictures, monkeypatch):
    monkeypatch.chdir(run.parent)
    (run.parent / "runs").mkdir(exist_ok=True)
    (run.parent / "runs" / "one").symlink_to(run)
    code, _, err = vit("predict", pictures / "0.png")
    assert (code, err.strip()) == (0, "weights: runs/one/best.safetensors")


def test_without_a_run_the_model_that_comes_with_the_package_is_used(vit, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    code, out, err = vit("predict", "0.png", "--top-k", "1")
    assert (code, err.strip()) == (0, "weights: cifar10")
    assert out.split()[1] in json.loads(vit("info", "cifar10")[1])["classes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "/no/such"], "expected 'shapes', 'cifar10' or a folder"),
        (["train", "--recipe", "cifar"], "did you mean 'cifar10'"),
        (["train", "--model", "vit_nan_4"], "did you mean 'vit_nano_4'"),
        (["train", "--set", "mixpu=1"], "did you mean 'mixup'"),
        (["train", "--set", "mixup"], "expected NAME=VALUE"),
        (["train", "--set", "model_options.deep=3"], "deep"),
        (["train", "--set", "lr=fast"], "lr must be a number, got 'fast'"),
        (["train", "--set", "epochs=0.5"], "epochs must be a whole number"),
        (["train", "--set", "model_options=5", "--set", "model_options.depth=1"], "has no parts"),
        (["train", "--set", "lr.a=5"], "lr must be a number, got {'a': 5}"),
        (["train", "--set", "model_options.depth=2.5"], "depth"),
        (["train", "--set", "model_options.in_chans=1"], "3 channels"),
        (["predict", "x.png", "--device", "gpu9"], "no device 'gpu9'"),
        (["evaluate", "--device", "gpu9"], "no device 'gpu9'"),
        (["info", ROOT / "vit/weights/cifar10/movie.safetensors"], "it has no 'config'"),
        (["train", "--resume", "/no/such"], "there is no checkpoint"),
        (["train", "--finish"], "--finish needs --resume"),
        (["train", "--img-size", "30"], "multiples of patch_size"),
        (["evaluate", "--data", "/no/such"], "expected 'shapes', 'cifar10' or a folder"),
        (["evaluate", "--weights", __file__], "damaged or not a safetensors file"),
        (["info", "/no/such"], "there is no file"),
        (["train", "--device", "gpu9"], "gpu9"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(vit, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    few = ["--set", "train_size=100"] if not {"--resume", "--finish"} & set(arguments) else []
    code, out, err = vit(*arguments, *(["--quiet", *few] if arguments[0] == "train" else []))
    assert code == 2
    assert out == ""
    err = err.removeprefix("weights: cifar10\n")
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_an_existing_run_is_protected(vit, run):
    code, _, err = vit("train", "--out", run, *SMALL)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "already holds a run" in err
    code, _, err = vit("train", "--resume", run, "--data", "shapes", "--epochs", "9")
    assert code == 2
    assert "leave out epochs" in err


def test_ctrl_c_saves_and_the_hint_resumes(tmp_path):
    """`python -m vit`, as a process: SIGINT, exit code 130, no traceback; then the command that it named."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {
        "cwd": tmp_path,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    long = [*SMALL, "--epochs", "2000"]
    process = subprocess.Popen([sys.executable, "-m", "vit", "train", "--out", "r", *long], **options)
    deadline = time.time() + 240
    while not (tmp_path / "r" / "metrics.csv").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert err == ""
    assert out.startswith("saved at step ")
    command = out.strip().split("go on with: vit ")[1].split()
    more = ["--max-minutes", "0", "--quiet", "--device", "cpu"]
    again = subprocess.run(
        [sys.executable, "-m", "vit", *command, *more], timeout=240, check=False, **options
    )
    assert again.returncode == 0, again.stderr
    first, second = (int(text.split("step ")[1].split()[0]) for text in (out, again.stdout))
    assert second == first + 1


@pytest.mark.parametrize(
    ("worse", "source", "end"),
    [
        (False, None, "by pixels 80.00%"),
        (True, None, "this model is worse: do not trust it, and try --from cifar10"),
        (True, "cifar10", "this model is worse: do not trust it"),
    ],
)
def test_a_model_below_the_neighbours_is_called_so(vit, monkeypatch, tmp_path, worse, source, end):
    simple = {"commonest_class": 0.5, "nearest_neighbours": 0.8, "measured_on": "test", "worse": worse}
    receipt = {"test_accuracy": 0.6, "best": {"val_accuracy": 0.7, "epoch": 1}, "wall_seconds": 1.0}
    receipt |= {"skipped_files": 0, "baselines": simple, "recipe": {"init_from": source}}
    monkeypatch.setattr("vit.training.train", lambda *_, **__: receipt)
    code, out, err = vit("train", "--data", tmp_path, "--out", tmp_path / "run")
    assert code == 0, err
    assert out.splitlines()[-1].endswith(end)


@pytest.mark.parametrize(
    ("count", "options", "kind", "source"),
    [
        (3, [], "finetune", "cifar10"),
        (4, [], "folder", None),
        (3, ["--from", "nothing"], "folder", None),
        (3, ["--from", "shapes"], "finetune", "shapes"),
        (3, ["--img-size", "16"], "folder", None),
        (3, ["--model", "vit_nano_4"], "folder", None),
        (3, ["--set", "model_options.patch_size=8"], "folder", None),
        (3, ["--recipe", "folder"], "folder", None),
    ],
)
def test_few_pictures_go_on_from_a_trained_model(vit, monkeypatch, tmp_path, count, options, kind, source):
    """Unless a model, a size or a beginning is asked for; and the command says so."""
    monkeypatch.setattr("vit.training.plan.FEW", 4)
    for part, much in (("train", count), ("test", 9)):
        (tmp_path / "pictures" / part / "a").mkdir(parents=True)
        for i in range(much):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "pictures" / part / "a" / f"{i}.png")
    asked = []
    monkeypatch.setattr("vit.training.train", lambda recipe, *_, **__: asked.append(recipe) or {})
    code, _, err = vit("train", "--data", tmp_path / "pictures", *options)
    assert code == 0, err
    assert asked[0].init_from == source
    assert (asked[0].layer_decay == 0.9) is (kind == "finetune")
    assert ("it goes on from cifar10" in err) is (source == "cifar10")


def test_fine_tuning_says_what_it_costs_and_what_it_is_worth(vit, tmp_path):
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (40, 40), (k * 150 + i, 100, 60 + 3 * i)).save(
                tmp_path / "pictures" / name / f"{i}.png"
            )
    command = ["train", "--data", tmp_path / "pictures", "--out", tmp_path / "run", "--device", "cpu"]
    code, out, err = vit(*command, "--from", "cifar10", "--epochs", "1")
    assert code == 0, err
    assert "32x32 pixels in 4x4 patches make 65 tokens" in err
    assert "the probe has" in err
    assert "epochs: 1, about" in err
    assert "on the same test images the commonest class has" in out.splitlines()[-1]
    code, out, _ = vit("evaluate", "-w", tmp_path / "run", "--json")
    assert json.loads(out)["split"] == "test"
    code, _, err = vit(
        "train", "--data", tmp_path / "pictures", "--from", "no/such/run.safetensors", "--quiet"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no run folder or weights file" in err
