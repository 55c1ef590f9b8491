"""The explorer's engine in Node: how often it agrees with PyTorch on CIFAR-10, how fast, how heavy it is.

    .venv/bin/python benchmarks/explorer.py --data data/cifar10-jpeg   # a folder with test/<class>/*

Test pictures, as many of each class, are classified three times: by PyTorch in float32, by the engine with
the same weights, and by the engine with the 8-bit weights that the page loads. Nothing is chosen by them.
"""

import argparse
import gzip
import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure import RESULTS, load_average, machine, now, rendered, save_results

from course import explorer
from vit.data.files import decode
from vit.inference import load_classifier

ENGINE = explorer.ROOT / "docs" / "assets" / "explorer"
COUNT = 1_000
NODE = """
import { readFileSync } from "node:fs"
const [engine, weights, pictures] = process.argv.slice(2)
const { read_weights } = await import(engine)
const bytes = (name) => new Uint8Array(readFileSync(name))
let start = performance.now()
const model = read_weights(bytes(weights).buffer)
const parse = performance.now() - start
const all = bytes(pictures), S = model.config.img_size[0], logits = [], milliseconds = []
for (let at = 0; at < all.length; at += 3 * S * S) {
  const image = model.normalise(all.subarray(at, at + 3 * S * S), S, S)
  start = performance.now()
  logits.push([...model.forward(image, S, S).logits])
  milliseconds.push(performance.now() - start)
}
console.log(JSON.stringify({ version: process.version, parse, logits, milliseconds }))
"""


def pictures(folder: Path, size: int) -> tuple[torch.Tensor, list[str]]:
    """As many of each class, the first by name: `(COUNT, 3, size, size)` uint8."""
    classes = sorted(path for path in (folder / "test").iterdir() if path.is_dir())
    paths = [path for c in classes for path in sorted(c.iterdir())[: COUNT // len(classes)]]
    return torch.stack([decode(path, size) for path in paths]), [path.parent.name for path in paths]


def quartiles(values: list[float]) -> list[float]:
    return torch.tensor(values).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()


def weigh() -> dict[str, list[int]]:
    """Bytes of what a visit loads, raw and gzipped: the page's own files, then the weights."""
    made = explorer.files() if explorer.RESULTS.exists() else {}
    code = {path.name: path.read_bytes() for path in ENGINE.iterdir()}
    words = {"explorer.yml": (explorer.ROOT / "docs" / "explorer.yml").read_bytes()}
    at_once = {
        k: v
        for k, v in (code | words | made).items()
        if k in {*code, *words} | {"first.json", "first.bin", "pictures-32.bin"}
    }
    groups = {"before the weights": at_once.values(), "weights": [made["vit.q8.bin"]] if made else []}
    return {name: [sum(map(len, v)), sum(len(gzip.compress(x)) for x in v)] for name, v in groups.items()}


def render(results: dict) -> str:
    m, cases = results["machine"], results["cases"]
    rows = "\n".join(
        f"| {name} | {c['agree']} of {c['count']} | {c['accuracy']:.1%} | {c['logits']:.2g} | "
        f"{c['milliseconds']:.0f} ({c['low']:.0f}–{c['high']:.0f}) | {c['parse']:.0f} |"
        for name, c in cases.items()
    )
    weight = "\n".join(
        f"| {k} | {raw / 1e6:.2f} | {gz / 1e6:.2f} |" for k, (raw, gz) in results["bytes"].items()
    )
    return f"""# The explorer's engine

Written by `benchmarks/explorer.py` from the JSON beside it. {m["device"]}, {m["cores"]} cores, one thread;
Node {results["node"]}, torch {m["versions"]["torch"]}. {results["date"]}, load average before
{results["load"]}: other programs ran beside it, so the times are upper bounds.

{cases["int8"]["count"]} test pictures of CIFAR-10 (JPEG copy), as many of each class. Agreement is with
PyTorch in float32, whose own accuracy on them is {results["accuracy"]:.1%}; logits: the largest difference.

| weights | same answer | accuracy | logits | ms a picture, median (quartiles) | ms to read |
|---|---:|---:|---:|---:|---:|
{rows}

| what a visit loads | MB | MB gzipped |
|---|---:|---:|
{weight}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/cifar10-jpeg"))
    parser.add_argument("--out", type=Path, default=RESULTS / "explorer.json")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")
    args = parser.parse_args()
    if rendered(args, render):
        return
    torch.set_num_threads(1)
    classifier = load_classifier(explorer.MODEL)
    images, truth = pictures(args.data, classifier.preprocessing.img_size)
    labels = torch.tensor([classifier.classes.index(name) for name in truth])
    with torch.inference_mode():
        x = classifier.preprocessing.normalise(images)
        exact = torch.cat([classifier.model(part) for part in x.split(100)])
    load, cases = load_average(), {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "run.mjs").write_text(NODE)
        (root / "pictures").write_bytes(b"".join(explorer.raw(image) for image in images))
        for name, eight in (("float32", False), ("int8", True)):
            (root / name).write_bytes(explorer.pack(classifier, eight_bit=eight))
            command = ["node", root / "run.mjs", ENGINE / "vit.mjs", root / name, root / "pictures"]
            run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
            said = json.loads(run.stdout)
            logits = torch.tensor(said["logits"])
            low, median, high = quartiles(said["milliseconds"][20:])  # the first ones are compiled meanwhile
            cases[name] = {
                "agree": int((logits.argmax(1) == exact.argmax(1)).sum()),
                "count": len(images),
                "accuracy": float((logits.argmax(1) == labels).float().mean()),
                "logits": float((logits - exact).abs().max()),
                "milliseconds": median,
                "low": low,
                "high": high,
                "parse": said["parse"],
            }
            print(name, cases[name], flush=True)
    results = {
        "machine": machine("cpu", 1, ["torch"]),
        "node": said["version"],
        "date": now(),
        "load": load,
        "accuracy": float((exact.argmax(1) == labels).float().mean()),
        "cases": cases,
        "bytes": {},
    }
    save_results(args.out, results, render(results))  # the files of the page hold numbers from here
    results["bytes"] = weigh()
    save_results(args.out, results, render(results))


if __name__ == "__main__":
    main()
