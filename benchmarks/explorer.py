"""The explorer's engine: how often it agrees with PyTorch on CIFAR-10, how fast, how heavy it is.

    .venv/bin/python benchmarks/explorer.py --data data/cifar10-jpeg   # a folder with test/<class>/*

Test pictures, as many of each class, are classified by PyTorch in float32 and by the engine in Node: with the
same weights, with the 8-bit weights that the page loads, and with these where there is no WebAssembly.
Nothing is chosen by them. Then the page of the built site is opened in Chromium, and its model is asked about
pictures it has not seen since it was opened, so that each is computed.
"""

import argparse
import gzip
import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lighthouse import served
from measure import RESULTS, load_average, machine, now, rendered, save_results

from course import explorer
from course.browser import FLAGS, find_chromium
from vit.data.files import decode
from vit.inference import load_classifier

ENGINE = explorer.ROOT / "docs" / "assets" / "explorer"
COUNT = 1_000
NODE = """
import { readFileSync } from "node:fs"
const [folder, weights, pictures, fast] = process.argv.slice(2)
const { accelerate, read_weights } = await import(folder + "/vit.mjs")
const { accelerator } = await import(folder + "/simd.mjs")
const bytes = (name) => new Uint8Array(readFileSync(name))
let start = performance.now()
if (fast === "true") accelerate(accelerator(3_000_000))
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
# In the page: another shuffle is another picture. Of each, what the model took, and what passed from the
# change to the answer on the screen.
PAGE = """async (count) => {
  const ui = await document.querySelector("vit-explorer").ui, names = ui.about.pictures
  ui.load()
  const shown = () => ui.ready && !ui.running && ui.result?.key === ui.key(ui.state)
  const here = async () => {
    while (!shown()) await new Promise(requestAnimationFrame)
  }
  await here()
  const computed = [], seen = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    ui.change({ picture: names[i % names.length], shuffle: 1 + i })
    await here()
    computed.push(ui.result.milliseconds)
    seen.push(performance.now() - start)
  }
  return { computed, seen }
}"""
CASES = {  # weights in 8 bits, WebAssembly
    "float32": (False, True),
    "int8": (True, True),
    "int8, without WebAssembly": (True, False),
}


def pictures(folder: Path, size: int) -> tuple[torch.Tensor, list[str]]:
    """As many of each class, the first by name: `(COUNT, 3, size, size)` uint8."""
    classes = sorted(path for path in (folder / "test").iterdir() if path.is_dir())
    paths = [path for c in classes for path in sorted(c.iterdir())[: COUNT // len(classes)]]
    return torch.stack([decode(path, size) for path in paths]), [path.parent.name for path in paths]


def quartiles(values: list[float]) -> list[float]:
    return torch.tensor(values).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()


def browse(site: Path, count: int = 100) -> dict[str, object]:
    """Milliseconds in Chromium, on the page as it is shipped: low quartile, median, high quartile."""
    from playwright.sync_api import sync_playwright

    with served(site) as address, sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        tab = chromium.new_page()
        tab.goto(address + "explorer/")
        tab.locator(".vx").wait_for()
        times = tab.evaluate(PAGE, count)
        version = chromium.version
        chromium.close()
    return {"version": version, "count": count} | {name: quartiles(ms[20:]) for name, ms in times.items()}


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
    page = ""
    if b := results["browser"]:
        computed, seen = (
            f"{median:.0f} ms ({low:.0f}–{high:.0f})" for low, median, high in (b["computed"], b["seen"])
        )
        page = f"""
In Chromium {b["version"]}, on the page of the built site: {computed} to compute a picture, {seen} from the
change to the new answer on the screen. Medians and quartiles of {b["count"] - 20} pictures, after 20 others.
"""
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
{page}
| what a visit loads | MB | MB gzipped |
|---|---:|---:|
{weight}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/cifar10-jpeg"))
    parser.add_argument("--out", type=Path, default=RESULTS / "explorer.json")
    parser.add_argument("--site", type=Path, default=explorer.ROOT / "site", help="the built site")
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
        for name, (eight, fast) in CASES.items():
            (root / name).write_bytes(explorer.pack(classifier, eight_bit=eight))
            command = ["node", root / "run.mjs", ENGINE, root / name, root / "pictures", str(fast).lower()]
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
        "browser": None,
    }
    save_results(args.out, results, render(results))  # the files of the page hold numbers from here
    results["bytes"] = weigh()
    results["browser"] = browse(args.site)
    save_results(args.out, results, render(results))


if __name__ == "__main__":
    main()
