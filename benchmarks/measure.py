"""What the benchmarks share: timing in turn, training for some steps, the machine, keeping results."""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import vit.results
from vit.model import VisionTransformer
from vit.training.trainer import Trainer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RESULTS = Path(__file__).parent / "results"
MEASURED = vit.results.FOLDER  # for what lessons read: it comes with the package
PATIENCE = 20  # turns to repeat in one case before accepting a busy machine


def busy_elsewhere() -> float:
    """Processor seconds since boot that were not this process's; on systems without /proc, always zero."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def take_turns(
    candidates: dict[str, Callable[[], object]], rounds: int, seconds: float, device: str = "cpu"
) -> tuple[dict[str, list[float]], int]:
    """Seconds per call of each candidate, one number per round; and how many of them were disturbed.

    In every round each candidate gets one turn, in a new order, so that a clock that slows down meets all of
    them. A turn is one untimed call and then as many as fill `seconds`. A turn during which other processes
    took more than a tenth of a core is taken again after a pause; when that has happened `PATIENCE` times,
    disturbed turns are kept and counted. A GPU hardly notices what the processor does beside it: there none
    is taken again.
    """
    patience = PATIENCE if device == "cpu" else 0
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    retries = disturbed = 0

    def turn(call: Callable[[], object], repeats: int) -> tuple[float, bool]:
        call()
        wait()
        elsewhere, start = busy_elsewhere(), time.perf_counter()
        for _ in range(repeats):
            call()
        wait()
        elapsed = time.perf_counter() - start
        return (
            elapsed / repeats,
            busy_elsewhere() - elsewhere > 0.1 * elapsed + 0.02,
        )  # 0.02: the clock's tick

    repeats = {name: max(1, round(seconds / turn(call, 1)[0])) for name, call in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(rounds):
        for name in random.Random(i).sample(list(candidates), len(candidates)):
            elapsed, noisy = turn(candidates[name], repeats[name])
            while noisy and retries < patience:
                retries += 1
                time.sleep(1)
                elapsed, noisy = turn(candidates[name], repeats[name])
            disturbed += noisy
            times[name].append(elapsed)
    return times, disturbed


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles, four significant digits."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        name: float(f"{value:.4g}")
        for name, value in (("median", statistics.median(values)), ("low", low), ("high", high))
    }


def train_for(trainer: Trainer, steps: int) -> VisionTransformer:
    """The finished model after so many steps, with the whole schedule squeezed into them.

    Raises:
        ValueError: if the loss is no longer a number.
    """
    trainer.total = steps
    while trainer.step < steps:
        trainer.train_step()
    trainer.progress()  # raises
    return trainer.finished_model()


def machine(device: str, threads: int, packages: Iterable[str]) -> dict[str, object]:
    """What the numbers were measured on: processor, versions, threads."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": versions,
    }


def load_average() -> float:
    """How many threads wanted a core in the last minute. From the second case on, ours are among them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def load_results(path: Path, described: dict[str, object]) -> dict:
    """The results already in `path`, to add to, if they come from this machine and these versions."""
    empty = {"machine": described, "cases": {}}
    if not path.exists():
        return empty
    results = json.loads(path.read_text())
    if results["machine"] == described:
        return results
    print(f"{path} is from another machine or other versions: starting it anew", file=sys.stderr)
    return empty


def save_results(path: Path, results: dict, markdown: str) -> None:
    """Write the JSON, and the Markdown made from it: beside it, or here for what comes with the package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    folder = RESULTS if path.parent.resolve() == MEASURED.resolve() else path.parent
    (folder / path.with_suffix(".md").name).write_text(markdown)


def stored(path: Path, empty: dict) -> dict:
    """The results so far, or `empty`."""
    return json.loads(path.read_text()) if path.exists() else empty


def keep(path: Path, empty: dict, add: Callable[[dict], None], render: Callable[[dict], str]) -> None:
    """Change stored results by `add`, whoever else is adding."""
    lock = path.with_suffix(".lock")
    while True:
        try:
            lock.touch(exist_ok=False)
            break
        except FileExistsError:
            time.sleep(0.1)
    try:
        results = stored(path, empty)
        add(results)
        save_results(path, results, render(results))
    finally:
        lock.unlink()


def rendered(args: argparse.Namespace, render: Callable[[dict], str]) -> bool:
    """With `--render`, write the Markdown of a results file again; whether that was asked for."""
    if args.render:
        results = json.loads(args.out.read_text())
        save_results(args.out, results, render(results))
    return args.render


def describe(results: dict) -> str:
    """The machine, as a line of Markdown."""
    m = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    cases = results["cases"].values()
    loads, dates = [case["load"] for case in cases], sorted(case["date"] for case in cases)
    disturbed = sum(case["disturbed_turns"] for case in cases)
    return (
        f"{m['device']} ({m['instructions']}), {m['cores']} cores, {m['threads']} threads; {versions}. "
        f"Measured {dates[0]} to {dates[-1]}; load average before a case {min(loads)} to {max(loads)}. "
        f"Turns that another process disturbed were taken again; {disturbed} disturbed ones had to be kept."
    )


def common_arguments(parser: argparse.ArgumentParser, out: Path) -> None:
    """The options of every benchmark that measures speed."""
    parser.add_argument("--quick", action="store_true", help="a rough look in a minute; saves under build/")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each candidate (default 11)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn (default 0.5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch (default 2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=out, help=f"JSON to write or to add to (default {out})")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what cannot be measured; set up torch for what can."""
    if args.rounds < 2:
        parser.error(f"--rounds must be at least 2, for a spread; got {args.rounds}")
    if args.threads < 1 or args.seconds <= 0:
        parser.error("--threads and --seconds must be positive")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    if args.out.suffix != ".json":
        parser.error(f"--out must end in .json (the Markdown goes beside it), got {args.out}")
    if args.render and not args.out.exists():
        parser.error(f"--render: there is no {args.out}; run without --render first")
    if args.quick:
        args.rounds, args.seconds = 3, 0.2
        args.out = Path("build") / args.out.name if args.out.parent == RESULTS else args.out
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
