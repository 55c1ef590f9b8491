"""Executing the lessons, each in processes of its own, and knowing which must be executed again.

    notebooks/NN.ipynb → build/running/NN-…/   executed there, through nbmake
                       → build/lessons/        moved here when it has run through

with a hash of what it was made of. So what is in `build/lessons/` is never half made, and is not made again.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
NOTEBOOKS, EXECUTED, RUNNING = ROOT / "notebooks", ROOT / "build" / "lessons", ROOT / "build" / "running"
# A kernel's ports are looked for, let go, and taken by the kernel a second later. Another that starts
# meanwhile may get one of them. Then one of the two ends at once, or is never heard of, and this is said:
STILLBORN = re.compile(r"Kernel (died before replying|didn't respond)")
ROOM = 2.5e9  # bytes of memory for each lesson that is executed: none takes more than 2e9


def say(text: str) -> None:
    """Print a line about what is going on."""
    print(f"\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"== {text}", flush=True)


def read(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def load(path: Path) -> dict[str, Any]:
    """A notebook as plain JSON, with every text joined: nbformat allows a string or a list of lines."""
    notebook = read(path)
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            for part in (output, output.get("data", {})):
                part.update({key: "".join(value) for key, value in part.items() if isinstance(value, list)})
    return notebook


def notebooks() -> list[Path]:
    """All lessons, in order."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def surroundings() -> bytes:
    """What the outputs of all lessons depend on: the package, the environment."""
    total = hashlib.sha256(f"{sys.version} torch {version('torch')}".encode())
    package = (path for path in sorted((ROOT / "vit").rglob("*")) if path.is_file() and path.suffix != ".pyc")
    for path in (*ROOT.glob("requirements.txt"), *package):
        total.update(f"{path.relative_to(ROOT).as_posix()} {path.stat().st_size}\n".encode())
        total.update(path.read_bytes())
    return total.digest()


def ingredients(notebook: Path) -> str:
    """A hash of all that a lesson's outputs depend on."""
    return hashlib.sha256(surroundings() + notebook.read_bytes()).hexdigest()


def is_fresh(notebook: Path) -> bool:
    """Whether the lesson has been executed as it is now."""
    try:
        return read(EXECUTED / notebook.name)["metadata"]["executed"]["of"] == ingredients(notebook)
    except (OSError, ValueError, KeyError):
        return False


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> float:
    """Bytes of memory that can be had now, as far as the system says."""
    found = [float("inf")]
    with suppress(OSError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
    with suppress(OSError, ValueError):  # of a container; "max" is no limit
        group = Path("/sys/fs/cgroup")
        most, now = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        found.append(int(most) - int(now))
    return min(found)


def environment(threads: int | None = None) -> dict[str, str]:
    """Environment variables of processes that are started here: they find `vit` and use so many threads."""
    ours = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    # timm imports huggingface_hub, which would like tqdm to show widgets and warns that it cannot.
    ours |= {"PYTHONWARNINGS": "ignore:IProgress", "NO_MKDOCS_2_WARNING": "1", "PYTHONUTF8": "1"}
    return {**os.environ, **ours, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}


def execute(notebook: Path) -> int:
    """Execute one lesson; the exit code. When it is 0, `build/lessons/` has it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder is removed
    of = ingredients(notebook)
    RUNNING.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUNNING, prefix=f"{notebook.stem}-") as folder:
        copy = Path(shutil.copy(notebook, folder))
        code, said = run_through(copy)
        if code and STILLBORN.search(said) and copy.read_bytes() == notebook.read_bytes():
            print("== the kernel died before the first cell; once more")
            code, said = run_through(copy)
        print(said, end="")
        if code == 0:
            stamp(copy, of)
            EXECUTED.mkdir(parents=True, exist_ok=True)
            copy.replace(EXECUTED / notebook.name)
    return code


def run_through(copy: Path) -> tuple[int, str]:
    """Execute a notebook in its place, through nbmake; the exit code and what was said."""
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--no-header", "--rootdir=.", "--color=no"]
    # The kernel is this Python's, whatever the notebook was last saved with.
    options += ["--nbmake", "--nbmake-timeout=900", "--nbmake-kernel=python3", "--overwrite", copy.name]
    command, pipes = [sys.executable, "-m", "pytest", *options], {"stdout": -1, "stderr": subprocess.STDOUT}
    text = {"encoding": "utf-8", "errors": "replace"}
    run = subprocess.run(command, cwd=copy.parent, env=environment(), **pipes, **text, check=False)
    return run.returncode, run.stdout


def stamp(path: Path, of: str) -> None:
    """Write into an executed notebook what it was made of, and on what. (nbclient has timed every cell.)

    And join what one cell printed: it comes in as many pieces as the kernel's buffer happened to be emptied.
    """
    notebook = read(path)
    for cell in notebook["cells"]:
        outputs = []
        for name, group in itertools.groupby(cell.get("outputs", []), lambda out: out.get("name", id(out))):
            first, *rest = group
            if isinstance(name, str):  # a stream's
                first["text"] = "".join("".join(output["text"]) for output in [first, *rest])
            outputs.append(first)
        if cell["cell_type"] == "code":
            cell["outputs"] = outputs
    notebook["metadata"]["executed"] = {
        "of": of,
        "date": datetime.now(UTC).date().isoformat(),
        "torch": version("torch"),
        "cores": cores(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", cores())),
        "memory": peak_memory(),
    }
    path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def peak_memory() -> float | None:
    """GB of the largest process that was started from here; None where the system does not count."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9, 2)


class Executions:
    """Lessons executed side by side, one for each core as far as memory goes, and four at most.

    Iterate over it to get each when it has run, or failed. Those whose metadata say `alone` run alone, last:
    they measure the machine. `failed` keeps what a lesson said that did not run through. `after` is called
    when one has ended, in its place, so that it takes no core from the others.
    """

    def __init__(self, todo: list[Path]):
        self.todo, self.failed, self.ended, self.after = todo, {}, False, lambda: None
        self.at_once = max(1, int(min(4, cores(), memory() / ROOM, len(todo))))
        self._children: set[subprocess.Popen] = set()

    def __iter__(self) -> Iterator[Path]:
        alone = [path for path in self.todo if read(path)["metadata"].get("lesson", {}).get("alone")]
        pool = ThreadPoolExecutor(self.at_once)
        try:
            waiting: set[Future] = {
                pool.submit(self._one, path, max(1, cores() // self.at_once))
                for path in self.todo
                if path not in alone
            }
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            yield from (self._one(path, cores()) for path in alone)
        except BaseException:  # Ctrl-C, or nobody asks any more
            self.stop()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        self.ended = True
        for child in list(self._children):
            end(child)

    def call(self, module: str, *arguments: str, threads: int | None = None) -> tuple[int, str]:
        """Run a Python module to its end, or until Ctrl-C; its exit code and what it said."""
        command = [sys.executable, "-m", module, *arguments]
        how = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "encoding": "utf-8",
            "errors": "replace",
        }
        how |= {"start_new_session": True} if os.name == "posix" else {}
        with subprocess.Popen(command, cwd=ROOT, env=environment(threads), **how) as child:
            self._children.add(child)
            try:
                said, _ = child.communicate()
            except KeyboardInterrupt:
                end(child)
                raise
            self._children.discard(child)
        return child.returncode, said

    def _one(self, notebook: Path, threads: int) -> Path:
        if self.ended:
            return notebook
        began = time.perf_counter()
        code, said = self.call("course", "execute", notebook.stem, threads=threads)
        if self.ended:
            return notebook
        if code:
            self.failed[notebook.stem] = said
            say(f"lesson {notebook.stem} STOPPED with an error:\n{said}")
        else:
            say(f"lesson {notebook.stem} ran in {time.perf_counter() - began:.0f} s")
        self.after()
        return notebook

    def report(self) -> int:
        """Name what failed, once more; the exit code."""
        for name, said in self.failed.items():
            lines = [line.strip() for line in said.splitlines() if line.startswith("E  ")]
            say(f"lesson {name} did not run through: {(lines or ['no reason was given'])[-1][:120]}")
        return 1 if self.failed else 0


def end(child: subprocess.Popen) -> None:
    """End a process and what it has started. (A kernel ends when the process that began it has gone.)"""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGTERM)
        else:
            subprocess.call(["taskkill", "/T", "/F", "/PID", str(child.pid)], stdout=subprocess.DEVNULL)


def executions() -> Executions:
    """What must be executed, with a line that says how long it will take."""
    todo = [notebook for notebook in notebooks() if not is_fresh(notebook)]
    if len(todo) > 1 and todo[0].stem.startswith("00_"):  # it trains for minutes: first a page to read
        todo[:2] = todo[1], todo[0]
    runs = Executions(todo)
    if todo:
        many = f"{runs.at_once} at a time" if runs.at_once > 1 else "one after the other"
        count = f"{len(todo)} of {len(notebooks())} lessons"
        say(f"executing {count}, {many} (all: five to fifteen minutes on two cores)")
    return runs
