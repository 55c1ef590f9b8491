"""The command line: `vit train`, `vit evaluate`, `vit predict`, `vit info`, `vit export`.

It parses and prints; everything else is imported where it is used, so that `vit --help` answers at once.
"""

import json
import os
import shlex
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Train a Vision Transformer, measure it, use it. `vit COMMAND --help` explains each command.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        help="A weights file, a run folder, or a model that comes with the package: cifar10, shapes. "
        "Default: the newest run under runs/, or else cifar10. A folder of such a name is ./cifar10.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. Default: a GPU if there is one.")]


def _text(name: object) -> str:
    from vit.data.files import printable

    return printable(name)


def _chosen(weights: str | None) -> Path:
    """The weights file that is asked for, or the newest."""
    from vit.inference.classifier import SHIPPED, find_weights

    if weights is not None:
        return find_weights(weights)
    found = sorted(Path("runs").glob("*/best.safetensors"), key=lambda path: path.stat().st_mtime)
    typer.echo(f"weights: {found[-1] if found else 'cifar10'}", err=True)
    return found[-1] if found else find_weights(SHIPPED["cifar10"])


def _classifier(weights: str | None, device: str | None) -> Any:
    from vit.inference import load_classifier, pick_device

    return load_classifier(_chosen(weights), pick_device(device))


@app.command()
def train(
    data: Annotated[
        str | None,
        typer.Option(help="`shapes` (drawn), `cifar10`, or a folder. With --resume: where it is now."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="`shapes`, `cifar10`, `cifar10-gpu`, `folder`, `finetune`. Default: as the data."),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Fine-tune a model of the package, a run, a weights file, or a pretrained model such as "
            "`dinov2_small`; with --epochs 0, only a new head, a linear probe. `nothing`: random weights. "
            "Default: `cifar10` for a folder of fewer than 1,000 pictures, if no model or size is asked for.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: a new one under runs/.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, by its recipe.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A preset, such as vit_nano_4 or vit_mini_4.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    img_size: Annotated[int | None, typer.Option(help="Side of the images, pixels.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and dropout.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field of `vit.training.Recipe`: --set mixup=0.2"),
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="With --resume: train no further, test the best weights so far.")
    ] = False,
    max_minutes: Annotated[float | None, typer.Option(help="Then save and stop; --resume goes on.")] = None,
    device: Device = None,
    data_root: Annotated[Path, typer.Option(help="Where CIFAR-10 is, or is downloaded to.")] = Path("data"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No estimate and no progress bar.")] = False,
) -> None:
    """Train a model. Without options: on drawn shapes, in less than three minutes on two cores.

    A folder of images holds `train/CLASS/*.jpg`, and `val/` and `test/` where they exist (other usual names
    will do), or the class folders themselves, of which a tenth is held out for each, by their content.
    The best weights are chosen on validation images; the test images, if any, are looked at once, at the end.

    Ctrl-C saves and stops; so does SIGTERM. Go on with `vit train --resume FOLDER`.
    Several processes: `torchrun --nproc_per_node=2 -m vit train ...`

    Exit codes: 0 finished, or out of --max-minutes; 2 a mistake in what was asked; 128 + signal when stopped.
    """
    from vit.training import RECIPES, get_recipe
    from vit.training import train as run
    from vit.training.checkpoint import new_folder
    from vit.training.plan import source_for
    from vit.training.recipe import read_settings

    first = os.environ.get("RANK", "0") == "0"  # under torchrun the others say nothing
    given = {"data": data, "model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr}
    given |= {"img_size": img_size, "seed": seed, "init_from": init_from}
    given = {name: value for name, value in given.items() if value is not None}
    given |= read_settings(settings or [])
    if finish and resume is None:
        raise ValueError("--finish needs --resume FOLDER")
    more = ", ".join(name for name in given if name != "data")
    if resume and (more or recipe or out):
        raise ValueError(f"--resume takes its recipe from {resume}: leave out {more or 'the rest'}")
    if not (resume or recipe) and (source := source_for(data or "shapes", given)):
        given["init_from"] = source
        if not quiet and first:
            typer.echo(f"few pictures: it goes on from {source}; --from nothing: random weights", err=True)
    if given.get("init_from") == "nothing":
        del given["init_from"]
    named = data if data in RECIPES else "shapes" if data is None else "folder"
    kind = recipe or ("finetune" if "init_from" in given else named)
    chosen = None if resume else get_recipe(kind, **given)
    folder = resume or out or new_folder(Path(chosen.data).resolve().name)
    how = {"finish": finish, "max_minutes": max_minutes, "device": device, "quiet": quiet}
    moved = data if resume else None
    receipt = run(chosen, folder, resume=resume is not None, data_root=data_root, moved=moved, **how)
    if "signal" in receipt:
        done = f"saved at step {receipt['step']} of {receipt['steps']}"
        if first:
            typer.echo(f"{done}; go on with: vit train --resume {shlex.quote(str(folder))}")
        raise typer.Exit(128 + receipt["signal"] if receipt["signal"] else 0)
    if "wall_seconds" in receipt:  # only the first of several processes has measured and written
        if receipt["skipped_files"]:
            typer.echo(f"files that could not be read and were left out: {receipt['skipped_files']}")
        test, best = receipt["test_accuracy"], receipt["best"]
        says = f"validation {best['val_accuracy']:.2%} (epoch {best['epoch']}), "
        says += "no test images" if test is None else f"test {test:.2%}"
        typer.echo(f"{says}, {receipt['wall_seconds']:.0f} s; all of it in {_text(folder)}/")
        if simple := receipt.get("baselines"):  # runs of before have none
            common, near = simple["commonest_class"], simple["nearest_neighbours"]
            says = f"on the same {simple['measured_on']} images the commonest class has {common:.2%}, "
            says += f"three nearest neighbours by pixels {near:.2%}"
            advice = "" if receipt["recipe"]["init_from"] else ", and try --from cifar10"
            typer.echo(says + (f"; this model is worse: do not trust it{advice}" if simple["worse"] else ""))


@app.command()
def evaluate(
    weights: Weights = None,
    data: Annotated[str | None, typer.Option(help="As for `vit train`. Default: what it learned on.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test or all. Default: test, or all of a folder new to the model."),
    ] = None,
    device: Device = None,
    data_root: Annotated[Path, typer.Option(help="Where CIFAR-10 is.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the confusion matrix.")] = False,
) -> None:
    """Measure a model on a set: accuracy, top-5, loss, calibration.

    Images that the model was trained on, or that chose its weights, are left out. A folder that is new to it
    is measured whole, or by its `test/` or `val/` where it has one.
    """
    from vit.inference import load_classifier, pick_device, summarise
    from vit.inference.measure import to_measure

    path = _chosen(weights)
    classifier = load_classifier(path, pick_device(device))
    name = data or classifier.info["data"]
    images, label, remarks = to_measure(classifier, name, split, data_root, path)
    for remark in remarks:
        typer.echo(remark, err=True)
    result = summarise(*classifier.predict_set(images))
    if as_json:
        more = {"data": name, "split": label, "confusion": result["confusion"].tolist()}
        return typer.echo(json.dumps(result | more))
    count = f"{result['correct']} of {result['count']}, {_text(name)}, {label}"
    typer.echo(f"accuracy {result['accuracy']:.2%}  ({count})")
    typer.echo(f"top-5    {result['top5']:.2%}\nloss     {result['loss']:.4f} nats per image")
    sure = "too sure" if result["overconfidence"] > 0 else "not sure enough"
    by = f"confidence {result['confidence']:.2%} on average, {abs(result['overconfidence']):.2%} {sure}"
    typer.echo(f"ECE      {result['ece']:.4f}  (how far confidence is from accuracy; {by})")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    weights: Weights = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    save: Annotated[Path | None, typer.Option(help="Also draw images and answers into this picture.")] = None,
    device: Device = None,
) -> None:
    """Say what is in images. Exit code 1 if one could not be read; the others are still predicted."""
    import torch

    from vit.data import decode
    from vit.data.folders import pictures, say_passed

    classifier, passed = _classifier(weights, device), Counter()
    files = [p for path in images for p in (pictures(path, passed) if path.is_dir() else [path])]
    say_passed(", ".join(str(path) for path in images if path.is_dir()), passed)
    if not files:
        raise ValueError(f"no pictures in {', '.join(map(str, images))}")
    paths, squares = [], []
    for path in files:
        try:
            squares.append(decode(path, classifier.preprocessing.img_size))
            paths.append(path)
        except ValueError as error:
            typer.echo(f"error: {_text(error)}", err=True)
    answers = classifier.predict(torch.stack(squares), top_k) if squares else []
    names = [_text(path) for path in paths]
    for name, answer in zip(names, answers, strict=True):
        says = "  ".join(f"{_text(c)} {p:6.1%}" for c, p in answer)
        typer.echo(f"{name:{max(map(len, names))}}  {says}")
    if save is not None and squares:
        from vit.plotting import draw_predictions

        draw_predictions(squares, answers, [path.name for path in paths]).savefig(save, dpi=160)
    if len(squares) < len(files):
        raise typer.Exit(1)


@app.command()
def info(
    path: Annotated[
        str, typer.Argument(help="A weights file, a run folder, a checkpoint (.pt), or cifar10 or shapes.")
    ],
) -> None:
    """Say what a file holds and where it comes from."""
    from vit.inference import load_classifier
    from vit.inference.measure import hashes
    from vit.inference.weights import explained
    from vit.training.checkpoint import read_checkpoint

    if path.endswith(".pt"):
        state = read_checkpoint(Path(path))
        with explained(path):
            about = {"checkpoint": path, "step": state["trainer"]["step"], "best": state["best"]}
            about |= {"seconds": round(state["seconds"], 1), "recipe": state["recipe"]}
    else:
        classifier = load_classifier(path)
        about = {"parameters": sum(p.numel() for p in classifier.model.parameters()), **classifier.info}
        for part in ("train", "val"):  # as numbers: there can be a million
            about |= {f"{part}_hashes": len(hashes(about, part))} if f"{part}_hashes" in about else {}
    typer.echo(json.dumps(about, indent=2))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="The file to write: .onnx, or .safetensors for weights.")],
    weights: Weights = None,
    half: Annotated[bool, typer.Option("--half", help="16-bit weights (.safetensors only).")] = False,
) -> None:
    """Write a model for other programs: ONNX with logits and each block's attention, or its weights."""
    classifier = _classifier(weights, "cpu")
    if path.suffix == ".onnx":
        from vit.inference import export_onnx

        export_onnx(classifier, path)
    elif path.suffix == ".safetensors":
        from vit.inference.weights import weights_bytes, write_atomic

        write_atomic(path, weights_bytes(classifier.model, classifier.info, half))
    else:
        raise ValueError(f"expected a name that ends in .onnx or .safetensors, got {path.name}")
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Run the command line. What the user got wrong is one line and exit code 2."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal need not know all letters
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {_text(message)}", file=sys.stderr)
    try:
        app()
    except (ValueError, OSError) as error:
        print("error:", _text(" ".join(str(error).split())), file=sys.stderr)
        sys.exit(2)
