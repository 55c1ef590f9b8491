"""A training run and its folder: signals, checkpoints, curves and a receipt.

config.json        the recipe
metrics.csv        one row per epoch
curves.png         the same, drawn
last.pt            to go on from; previous.pt is the one before
best.safetensors   the weights that did best on the validation images
receipt.json       what was done, on what, for how long, and the accuracy on the test images
"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from vit.data.sets import SPLIT_SEED, Dataset, is_word, load_data
from vit.inference.classifier import pick_device
from vit.inference.weights import BEST, explained, read_weights, versions, weights_bytes
from vit.model import VisionTransformer
from vit.training import checkpoint as files
from vit.training.baselines import simple_scores
from vit.training.checkpoint import LAST, PREVIOUS, RECEIPT, Folder
from vit.training.finetune import Source, adapted, linear_probe, load_source, probe_minutes, unseen
from vit.training.plan import duration, fitted, minutes, plan, with_epochs, with_flip
from vit.training.recipe import Recipe
from vit.training.signals import Signals
from vit.training.trainer import Trainer, evaluate

SAVE_EVERY = 60.0  # seconds between checkpoints; a killed run loses at most this


def train(
    recipe: Recipe | None,
    out: str | Path,
    *,
    resume: bool = False,
    finish: bool = False,
    max_minutes: float | None = None,
    device: str | torch.device | None = None,
    data: Dataset | None = None,
    model: VisionTransformer | None = None,
    data_root: str | Path = "data",
    moved: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train by a recipe, into a run folder; return the receipt.

    SIGINT, SIGTERM and the end of `max_minutes` save and return early, with `"finished": False`; with
    `resume` the run goes on from its last checkpoint. Under `torchrun` all train, and the first writes.

    Args:
        recipe: None, with `resume`, is the one that the run began with.
        finish: with `resume`, train no further: test the best weights so far and write the receipt.
        data: used instead of loading `recipe.data`.
        model: trained instead of a new `recipe.model`.
        moved: with `resume`, the folder of images, if it is not where it was.
        quiet: say nothing: neither what the run will cost nor how far it is.

    Raises:
        ValueError: if the folder already holds a run and `resume` is not set, if there is nothing to resume,
            if the data changed since, if it will not fit the memory, or if the loss stops being a number.
        OSError: if the last files cannot be written. The checkpoint before is intact.
    """
    out, signals, state = Path(out), Signals(), None
    if recipe is None and not resume:
        raise ValueError("expected a recipe, or resume=True to go on with the one in the folder")
    if resume:
        state = files.read_last(out)
        for left in out.glob(f".{LAST}.*"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        if (out / RECEIPT).exists() and (receipt := json.loads((out / RECEIPT).read_text()))["finished"]:
            return receipt
    elif any((out / name).exists() for name in (LAST, PREVIOUS, BEST, RECEIPT)):
        raise ValueError(f"{out} already holds a run: resume it, or choose another folder")
    if recipe is None:
        with explained(out):
            kept = {"split_by": "position"} | state["recipe"]
            kept.pop("doubt", None)  # a field of some days
            recipe = Recipe(**kept)
    recipe = recipe if moved is None else replace(recipe, data=moved)
    if resume and data is None and not Path(recipe.data).is_dir() and not is_word(recipe.data):
        raise ValueError(f"{recipe.data} is not there any more; say with --data where it is now")
    device, source, start = pick_device(device), None, None
    if recipe.init_from and model is None:
        if state is not None:
            with explained(out):
                start = Source.kept(state["source"])
                model = start.model()
        else:
            source = load_source(recipe.init_from)
    theirs = source and source.model.config
    recipe = fitted(recipe, theirs)
    world = int(os.environ.get("WORLD_SIZE", 1))
    if ours := world > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    first = world == 1 or dist.get_rank() == 0
    try:
        if not first:
            dist.barrier()  # the first process alone downloads
        data = data or load_data(recipe.data, recipe.img_size, recipe.train_size, data_root, recipe.split_by)
        if first and world > 1:
            dist.barrier()
        asked, recipe = recipe.flip, with_flip(with_epochs(recipe, len(data.train), theirs), data.train)
        if source is not None:
            model, start = adapted(source, recipe.init_from, len(data.classes), recipe)
        if start is not None:
            data = unseen(data, start)
        says = []
        if model is None or start is not None:
            says = [plan(recipe, len(data.train), len(data.classes), device, world, model and model.config)]
        if says and recipe.flip != asked and not recipe.flip:
            says += ["none is mirrored, because mirrored they look like other classes"]
        talks = first and not quiet
        if says and talks:  # before anything that takes long
            print("; ".join(says), file=sys.stderr)
        trainer = Trainer(recipe, data, device, model, start and start.preprocessing)
        times = []
        if source is not None and not quiet:
            time = duration(probe_minutes(model, data, start.preprocessing, device))
            times += [f"first a linear probe, about {time} here, and all of it with --epochs 0"]
        if state is None and says and not quiet:
            times += [f"epochs: {recipe.epochs}, about {duration(minutes(trainer))} here"]
        if times and talks:
            print("; ".join(times), file=sys.stderr)
        if source is not None:
            probe = linear_probe(model, data.train, data.val, start.preprocessing, device)
            start.about["probe"] = probe
            trainer.share()
            if talks:
                print(f"the probe has {probe['val_accuracy']:.1%} on the validation images", file=sys.stderr)
        with signals:  # open to the end: the receipt is written, too, before anything else
            quiet = quiet or not first
            receipt = _run(trainer, Folder(out), state, start, max_minutes, finish, quiet, signals)
        if world > 1:
            dist.barrier()  # nobody leaves while the first still tests and writes
        return receipt
    finally:
        if ours:
            dist.destroy_process_group()


def _run(
    trainer: Trainer,
    folder: Folder,
    state: dict[str, Any] | None,
    start: Source | None,
    max_minutes: float | None,
    finish: bool,
    quiet: bool,
    signals: Signals,
) -> dict[str, Any]:
    recipe, data, first = trainer.recipe, trainer.data, trainer.rank == 0
    fingerprint, rows, best = data.train.fingerprint(), [], {"val_accuracy": -1.0}
    before, peak = 0.0, None  # seconds and memory of earlier sittings
    if state is not None:
        if state.get("data") != fingerprint:
            raise ValueError(f"the training images of {data.name} are not those that the run started with")
        with explained(folder.path):
            trainer.load_state_dict(state["trainer"])
            rows, best, before = state["rows"], state["best"], state["seconds"]
            peak = state.get("peak_memory")
        signals.start -= before  # its clock is the run's
    about = {"recipe": asdict(recipe), "data": data.name, "classes": list(data.classes)}
    about |= {"preprocessing": asdict(trainer.preprocessing), "hardware": files.hardware(trainer.device)}
    about |= {"source": start.about} if start else {}
    # What the model has seen, and what chose its weights: `vit evaluate` must not call them test images.
    seen = {f"{part}_hashes": "".join(getattr(data, part).keys()) for part in ("train", "val") if first}
    if first and start:
        seen["train_hashes"] += start.train_hashes
    folder.put("config.json", files.json_bytes(about["recipe"]))

    def save() -> OSError | None:
        content = {"recipe": about["recipe"], "data": fingerprint, "trainer": trainer.state_dict()}
        if not first or not content["trainer"]["totals"].isfinite().all():  # keep what is not broken
            return None
        content |= {"rows": rows, "best": best, "seconds": signals.clock()}
        content |= {"source": asdict(start)} if start else {}
        content["peak_memory"] = files.peak_memory(trainer.device, peak)
        if rows:
            folder.put("curves.png", files.curves_bytes(rows))
        folder.put(LAST, files.checkpoint_bytes(content))
        return folder.flush()

    probed = [start.about["probe"]["val_accuracy"]] if start else []
    if start and state is None:  # what the probe made is the first candidate
        best = {"epoch": 0} | {key: start.about["probe"][key] for key in ("val_accuracy", "val_loss")}
        if first:
            probe = weights_bytes(trainer.finished_model(), about | best | seen, recipe.half_weights)
            folder.put(BEST, probe)
    saved = mark = signals.clock()
    mark_step, stop, error = trainer.step, 0, save() if state is None else None
    if error:
        raise error  # better now than after hours
    bar = tqdm(total=trainer.total, initial=trainer.step, disable=quiet, unit="step", mininterval=1.0)
    with bar:
        while trainer.step < trainer.total and not stop and not finish:
            trainer.train_step()
            ended = trainer.step % trainer.per_epoch == 0
            if trainer.step % 20 == 0 or ended:
                loss, accuracy = trainer.progress()
                speed = (trainer.step - mark_step) * trainer.batch / (signals.clock() - mark)
                shown = f"loss {loss:.3f}, accuracy {accuracy:.1%}, {speed:.0f} img/s"
                bar.set_postfix_str(shown, refresh=False)
            bar.update()
            if ended:
                row, candidate = trainer.end_epoch()
                rows.append(row | {"images_per_second": speed, "seconds": round(signals.clock(), 1)})
                epoch = f"epoch {row['epoch']}/{recipe.epochs}"
                bar.set_description(f"{epoch}, validation {row['val_accuracy']:.1%}")
                highest = max([r["val_accuracy"] for r in rows] + probed)
                if row["val_accuracy"] == highest:  # of equals the last has learnt for longest
                    best = {key: row[key] for key in ("epoch", "val_accuracy", "val_loss")}
                    if first:
                        folder.put(BEST, weights_bytes(candidate, about | best | seen, recipe.half_weights))
                if first:
                    folder.put("metrics.csv", files.csv_bytes(rows))
                    folder.flush()  # what fails is tried again, and reported, with the checkpoint
                mark, mark_step = signals.clock(), trainer.step
            now = signals.clock()
            late = max_minutes is not None and now - before > 60 * max_minutes
            due = now - saved > SAVE_EVERY or trainer.step == trainer.total
            stop, due = _agree(trainer, signals.caught or int(late), int(due))  # a signal; 1: late; 0: go on
            if due or stop:
                error, saved = save(), now
                if error and not stop:
                    bar.write(f"warning: could not save ({error}); kept in memory, trying again later")
    if error:
        raise error
    result = {"finished": trainer.step == trainer.total, "step": trainer.step, "steps": trainer.total}
    result["out"] = str(folder.path)
    if not result["finished"] and not finish:
        return result | {"signal": stop if stop > 1 else 0}
    if not first:
        return result
    result |= about | {"data_sha256": fingerprint, "peak_memory": peak}
    return _finish(trainer, folder, result, signals)


def _finish(trainer: Trainer, folder: Folder, receipt: dict[str, Any], signals: Signals) -> dict[str, Any]:
    """Look at the test images, this once, and write the receipt."""
    data = trainer.data
    model, info = read_weights(folder.path / BEST)
    best = {key: info[key] for key in ("epoch", "val_accuracy", "val_loss")}
    receipt |= {"best": best, "split_seed": SPLIT_SEED, "test_accuracy": None}
    if data.test is not None:
        result = evaluate(model.to(trainer.device), data.test, trainer.preprocessing, trainer.device)
        receipt |= {"test_accuracy": result["accuracy"], "test_correct": result["correct"]}
        tested = info | {"test_accuracy": result["accuracy"]}
        folder.put(BEST, weights_bytes(model, tested, trainer.recipe.half_weights))
    receipt |= {"parameters": sum(p.numel() for p in model.parameters()), "processes": trainer.world}
    receipt |= {"bf16": trainer.bf16, "wall_seconds": round(signals.clock(), 1)}
    parts = {"train": data.train, "val": data.val, "test": data.test}
    measured = "val" if data.test is None else "test"
    scores = simple_scores(data.train, parts[measured])
    reached = best["val_accuracy"] if data.test is None else receipt["test_accuracy"]
    receipt["baselines"] = {"measured_on": measured, **scores, "worse": reached < max(scores.values())}
    unread = {name: len(getattr(part, "skipped", ())) for name, part in parts.items()}
    receipt |= {"images": {name: len(part or ()) - unread[name] for name, part in parts.items()}}
    receipt |= {"skipped_files": data.skipped + sum(unread.values()), "versions": versions()}
    receipt |= {"peak_memory": files.peak_memory(trainer.device, receipt["peak_memory"])}
    folder.put(RECEIPT, files.json_bytes(receipt))
    if error := folder.flush():
        raise error
    return receipt


def _agree(trainer: Trainer, *wishes: int) -> list[int]:
    """The largest of each wish among all processes, which must stop, and save, at the same step."""
    if trainer.world > 1:
        together = torch.tensor(wishes, device=trainer.device)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        wishes = together.tolist()
    return list(wishes)
