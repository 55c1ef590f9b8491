"""The parts of a prepared quarter of an hour on a GPU, each in a process of its own, under one budget.

Started by `run.sh`. Everything that is measured goes into `results.json` at once, so that a part that is
stopped, or dies, leaves what it had; a part that is there is not done again.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for measure and throughput

import torch
from bench import Bench

# In the order in which they are worth having, but for the tests, which are short; and the seconds of each.
PARTS = {"tests": 60, "cifar10": 480, "throughput": 240, "cost": 60}
LEAST = 15  # seconds: with less left, a part is not begun
GRACE = 10  # seconds before its end when a part should stop by itself
PACKAGES = ("torch", "torchvision", "timm", "transformers", "numpy")


def tests(bench: Bench) -> None:
    """The tests of everything that has a CUDA path."""
    if importlib.util.find_spec("pytest") is None:
        return
    report = bench.work / "tests.xml"
    some = ["-k", "fused"] if bench.quick else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run([*command, "tests/test_cuda.py", *some], check=False)
    suite = ET.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = [case.get("name") for case in suite if {"failure", "error"} & {child.tag for child in case}]
    bench.put("tests", **counts, failed=failed, done=True)


def do(part: str, bench: Bench) -> None:
    """One part, in this process."""
    from measure import machine  # here, as what a part needs: the process that only waits shall start soon

    torch.set_num_threads(1 if bench.quick else min(4, os.cpu_count() or 1))
    bench.put(part, machine=machine(bench.device, torch.get_num_threads(), PACKAGES))
    if part == "tests":
        tests(bench)
    elif part == "cifar10":
        import seeds

        seeds.cifar10(bench)
    else:
        import speed

        {"throughput": speed.throughput, "cost": speed.cost}[part](bench)


def stop(process: subprocess.Popen) -> None:
    """End a part and all that it started: first politely, so that training saves."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seconds", type=float, default=540, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--work", type=Path, default=Path("build/gpu-work"))
    parser.add_argument("--data", type=Path, default=Path("build/gpu-in/cifar10-jpeg.tar.xz"))
    parser.add_argument("--before", type=Path, help="what an earlier call brought back, to go on from")
    parser.add_argument("--quick", action="store_true", help="toy sizes: does the script run?")
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)  # how a part is started
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    end = time.monotonic() + args.seconds
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = Bench(args.out, args.work, args.data, end, device, args.quick)
    if args.only:
        return do(args.only, bench)

    for folder in (bench.out, bench.work):
        folder.mkdir(parents=True, exist_ok=True)
    if args.before and args.before.is_dir() and not (bench.out / "results.json").exists():
        shutil.copytree(args.before, bench.out, dirs_exist_ok=True)
        print(f"going on from {args.before}")
    print(f"device: {device}; {args.seconds:.0f} s; torch {torch.__version__}; results in {bench.out}/")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for part in args.parts or PARTS:
        if bench.results(part).get("done"):
            print(f"{part}: there already")
            continue
        if bench.left() < LEAST:
            print(f"{part}: skipped, {max(0.0, bench.left()):.0f} s of the budget are left")
            continue
        limit = bench.left() if args.quick else min(PARTS[part], bench.left())
        print(f"{part}: {limit:.0f} s at most")
        options = [f"--{name}={getattr(bench, name)}" for name in ("out", "work", "data")]
        options += [f"--seconds={limit - GRACE}", f"--only={part}"] + ["--quick"] * bench.quick
        start = time.monotonic()
        process = subprocess.Popen([sys.executable, __file__, *options], start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = "stopped: its time is over"
        finally:
            stop(process)
        state = "done" if bench.results(part).get("done") else f"not finished ({code})"
        print(f"{part}: {state}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
