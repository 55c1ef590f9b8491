"""The command line: `vit train`, `vit evaluate`, `vit predict`, `vit info`, `vit export`.

It parses and prints; everything else is imported where it is used, so that `vit --help` answers at once.
"""

import ast
import json
import os
import shlex
import sys
import warnings
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
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        help="A weights file, a run folder, or a model that comes with the package: cifar10, shapes. "
        "Default: the newest run under runs/, or else cifar10.",
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps ... Default: a GPU if there is one.")
]


def _newest() -> Path:
    found = sorted(Path("runs").glob("*/best.safetensors"), key=lambda path: path.stat().st_mtime)
    newest = found[-1] if found else Path("cifar10")
    typer.echo(f"weights: {newest}", err=True)
    return newest


def _classifier(weights: Path | None, device: str | None) -> Any:
    from vit.inference import load_classifier, pick_device

    return load_classifier(weights or _newest(), pick_device(device))


def _settings(pairs: list[str]) -> dict[str, Any]:
    """`["lr=3e-4", "model_options.depth=4"]` -> fields of a recipe."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected NAME=VALUE after --set, got {pair!r}")
        words = {"true": True, "false": False, "none": None}
        try:
            value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        group, dot, key = name.partition(".")
        if dot and not isinstance(options.setdefault(group, {}), dict):
            raise ValueError(f"--set {pair}: {group} is {options[group]!r}, which has no parts")
        if dot:
            options[group][key] = value
        else:
            options[name] = value
    return options


@app.command()
def train(
    data: Annotated[
        str | None, typer.Option(help="`shapes` (drawn, no download), `cifar10`, or a folder of images.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="`shapes`, `cifar10` or `folder`. Default: the one for the data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: a new one under runs/.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; its recipe is in there.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A preset, such as vit_nano_4 or vit_mini_4.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    img_size: Annotated[int | None, typer.Option(help="Side of the images, pixels.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and dropout.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other field of `vit.training.Recipe`: --set mixup=0.2 --set bf16=false"
        ),
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="With --resume: train no further, test the best weights so far.")
    ] = False,
    max_minutes: Annotated[
        float | None, typer.Option(help="Save and stop after this long; --resume goes on.")
    ] = None,
    device: Device = None,
    data_root: Annotated[Path, typer.Option(help="Where CIFAR-10 is, or is downloaded to.")] = Path("data"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a model. Without options: on drawn shapes, in less than three minutes on two cores.

    A folder of images holds `train/CLASS/*.jpg`, and `val/` and `test/` where they exist, or the class
    folders themselves; what is missing is split off. The best weights are chosen on validation images; the
    test images are looked at once, at the end.

    Ctrl-C saves and stops; so does SIGTERM. Go on with `vit train --resume FOLDER`.
    Several processes: `torchrun --nproc_per_node=2 -m vit train ...`

    Exit codes: 0 finished, or out of --max-minutes; 2 a mistake in what was asked; 128 + signal when stopped.
    """
    from vit.training import RECIPES, get_recipe
    from vit.training import train as run

    given = {"data": data, "model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr}
    given |= {"img_size": img_size, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None} | _settings(settings or [])
    if finish and resume is None:
        raise ValueError("--finish needs --resume FOLDER")
    if resume and (given or recipe or out):
        raise ValueError(
            f"--resume takes its recipe from {resume}: leave out {', '.join(given) or 'the rest'}"
        )
    kind = recipe or (data if data in RECIPES else "shapes" if data is None else "folder")
    chosen = None if resume else get_recipe(kind, **given)
    folder = resume or out or _new_folder(Path(chosen.data).resolve().name)
    receipt = run(
        chosen,
        folder,
        resume=resume is not None,
        finish=finish,
        max_minutes=max_minutes,
        device=device,
        data_root=data_root,
        quiet=quiet,
    )
    if "signal" in receipt:
        done = f"saved at step {receipt['step']} of {receipt['steps']}"
        if os.environ.get("RANK", "0") == "0":  # under torchrun the others say nothing
            typer.echo(f"{done}; go on with: vit train --resume {shlex.quote(str(folder))}")
        raise typer.Exit(128 + receipt["signal"] if receipt["signal"] else 0)
    if "wall_seconds" in receipt:  # only the first of several processes has measured and written
        if receipt["skipped_files"]:
            typer.echo(f"files that could not be read and were left out: {receipt['skipped_files']}")
        test, best = receipt["test_accuracy"], receipt["best"]
        typer.echo(
            f"validation {best['val_accuracy']:.2%} (epoch {best['epoch']}), "
            + (f"test {test:.2%}" if test is not None else "no test images")
            + f", {receipt['wall_seconds']:.0f} s; all of it in {folder}/"
        )


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


@app.command()
def evaluate(
    weights: Weights = None,
    data: Annotated[
        str | None, typer.Option(help="As for `vit train`. Default: what it was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    device: Device = None,
    data_root: Annotated[Path, typer.Option(help="Where CIFAR-10 is.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the confusion matrix.")] = False,
) -> None:
    """Measure a model on a set: accuracy, top-5, loss, calibration."""
    from vit.data import load_data
    from vit.inference import summarise

    classifier = _classifier(weights, device)
    name = data or classifier.info["data"]
    dataset = load_data(name, classifier.preprocessing.img_size, root=data_root)
    if dataset.classes != classifier.classes:
        raise ValueError(
            f"the model knows {', '.join(classifier.classes)}; {name} has {', '.join(dataset.classes)}"
        )
    images = {"train": dataset.train, "val": dataset.val, "test": dataset.test}.get(split)
    if images is None:
        raise ValueError(f"{name} has no split called {split!r}")
    result = summarise(*classifier.predict_set(images))
    if as_json:
        typer.echo(json.dumps(result | {"confusion": result["confusion"].tolist()}))
    else:
        typer.echo(
            f"accuracy {result['accuracy']:.2%}  ({result['correct']} of {result['count']}, {name}, {split})"
        )
        typer.echo(f"top-5    {result['top5']:.2%}")
        typer.echo(f"loss     {result['loss']:.4f} nats per image")
        typer.echo(f"ECE      {result['ece']:.4f}  (how far confidence is from accuracy)")


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

    classifier = _classifier(weights, device)
    files = [p for path in images for p in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [path for path in files if not path.is_dir()]
    if not files:
        raise ValueError(f"no files in {', '.join(map(str, images))}")
    paths, squares, failed = [], [], 0
    for path in files:
        try:
            squares.append(decode(path, classifier.preprocessing.img_size))
            paths.append(path)
        except ValueError as error:
            typer.echo(f"error: {error}", err=True)
            failed += 1
    answers = []
    for batch in torch.stack(squares).split(256) if squares else ():
        answers += classifier.predict(batch, top_k)
    width = max((len(str(path)) for path in paths), default=0)
    for path, answer in zip(paths, answers, strict=True):
        typer.echo(f"{path!s:{width}}  " + "  ".join(f"{name} {p:6.1%}" for name, p in answer))
    if save is not None and squares:
        from vit.plotting import draw_predictions

        draw_predictions(squares, answers, [path.name for path in paths]).savefig(save, dpi=160)
    if failed:
        raise typer.Exit(1)


@app.command()
def info(
    path: Annotated[
        Path,
        typer.Argument(help="A weights file, a run folder, a checkpoint (.pt), or cifar10 or shapes."),
    ],
) -> None:
    """Say what a file holds and where it comes from."""
    from vit.inference import load_classifier
    from vit.inference.weights import explained
    from vit.training.checkpoint import read_checkpoint

    if path.suffix == ".pt":
        state = read_checkpoint(path)
        with explained(path):
            about = {"checkpoint": str(path), "step": state["trainer"]["step"], "best": state["best"]}
            about |= {"seconds": round(state["seconds"], 1), "recipe": state["recipe"]}
    else:
        classifier = load_classifier(path)
        about = {"parameters": sum(p.numel() for p in classifier.model.parameters()), **classifier.info}
    typer.echo(json.dumps(about, indent=2))


@app.command()
def export(
    path: Annotated[
        Path, typer.Argument(help="The file to write: .onnx, or .safetensors for weights alone.")
    ],
    weights: Weights = None,
    half: Annotated[
        bool, typer.Option("--half", help="Weights as 16-bit floats (.safetensors only).")
    ] = False,
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
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except (ValueError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
