"""Lighthouse's scores of the site's pages on a phone: each page several times, and the medians.

    .venv/bin/python benchmarks/lighthouse.py    # needs Node with npm, Chromium, and lessons that have run

The site is built anew from build/pages, with the address that it is served from here, because some of what is
scored needs to know it. The server does what a host of static files does: gzip, HTTP/1.1, ten minutes in
caches. Lighthouse comes from npm into build/npm, the first time. Its phone is simulated: a network of
1.6 Mbit/s with 150 ms to and fro, and a processor four times slower than the machine's own, whatever that is.

Four times slower is a middling phone only if the machine is a fast desktop computer. So each visit is scored
twice: as it comes, and with the slowdown that makes the same phone of the machine as it was then. Lighthouse
measures its speed at each visit, and its docs/throttling.md advises to calibrate by it on a slow host.
"""

import argparse
import contextlib
import functools
import gzip
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from measure import RESULTS, load_average, machine, now, rendered, save_results

from course.browser import FLAGS, HOW, find_chromium

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
VERSION = "12.8.2"
PAGES = {
    "home": "",
    "lesson 3": "lessons/03_attention/",
    "lesson 6": "lessons/06_training/",
    "lesson 9": "lessons/09_what_it_learns/",
    "lesson 12": "lessons/12_scaling_out/",
    "explorer": "explorer/",
}
CATEGORIES = {
    "performance": "performance",
    "accessibility": "accessibility",
    "best-practices": "best practices",
    "seo": "SEO",
}
METRICS = {  # audit: (name, what its value is divided by, digits)
    "first-contentful-paint": ("first paint, s", 1000, 1),
    "largest-contentful-paint": ("largest paint, s", 1000, 1),
    "total-blocking-time": ("blocked, ms", 1, 0),
    "cumulative-layout-shift": ("shift", 1, 3),
}
TEXT = (".html", ".css", ".js", ".mjs", ".json", ".svg", ".xml", ".txt", ".inv")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files as a host of static sites does."""

    protocol_version = "HTTP/1.1"  # keeps connections
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".woff2": "font/woff2",
        ".webp": "image/webp",
    }

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """A file, packed if it is text; `index.html` of a folder; 404.html for what is not there."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        known = path.is_file()
        content, packed = contents(path if known else Path(self.directory, "404.html"))
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", self.guess_type(path.name if known else "404.html"))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        self.wfile.write(content)


@functools.cache
def contents(path: Path) -> tuple[bytes, bool]:
    """What is sent for a file, and whether that is packed."""
    packed = path.suffix in TEXT
    return (gzip.compress(path.read_bytes(), 6) if packed else path.read_bytes()), packed


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of the site while it is served; files may still be written into it."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def install(folder: Path) -> Path:
    """Lighthouse's program, fetched from npm if it is not in the folder."""
    program = folder / "node_modules" / "lighthouse" / "cli" / "index.js"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--prefix", folder, "--silent", f"lighthouse@{VERSION}"], check=True
        )
    return program


def build(site: Path, address: str) -> None:
    """The site of the lessons that have run, for that address."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", site]
    environment = os.environ | {"SITE_URL": address, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def slowdown(speed: float) -> float:
    """How many times slower a middling phone is than a machine of that speed, by Lighthouse's own index.

    Straight lines between the points of the calculator that its documentation names; 4 at 1533.
    """
    if speed >= 1300:
        return 3 + (speed - 1300) / 233
    return 2 + (speed - 800) / 500 if speed >= 800 else max(1, 1 + (speed - 150) / 650)


def visit(program: Path, chromium: str, url: str, record: Path) -> dict:
    """Lighthouse's report of one visit, whose record stays in a folder; with `calibrated`: its score of
    performance for a processor slowed down by what suits this machine.

    Raises:
        ValueError: if the page could not be measured.
    """
    command = ["node", program, url, "--quiet", "--output=json", f"--only-categories={','.join(CATEGORIES)}"]

    def call(*options: str) -> str:
        environment = os.environ | {"CHROME_PATH": chromium}
        run = subprocess.run(
            [*command, *options], capture_output=True, text=True, env=environment, check=False
        )
        if run.returncode:
            raise ValueError(f"Lighthouse failed on {url}: {run.stderr[-2000:]}")
        return run.stdout

    call(f"--gather-mode={record}", f"--chrome-flags={' '.join([*FLAGS, '--headless=new'])}")
    report = json.loads(call(f"--audit-mode={record}"))
    if "runtimeError" in report:
        raise ValueError(f"Lighthouse failed on {url}: {report['runtimeError']['message']}")
    # Lighthouse audits a record with the settings it was made with only, so the record gets the other one.
    file, factor = record / "artifacts.json", slowdown(report["environment"]["benchmarkIndex"])
    artifacts = json.loads(file.read_text(encoding="utf-8"))
    artifacts["settings"]["throttling"]["cpuSlowdownMultiplier"] = factor
    file.write_text(json.dumps(artifacts), encoding="utf-8")
    again = json.loads(call(f"--audit-mode={record}", f"--throttling.cpuSlowdownMultiplier={factor}"))
    return report | {"calibrated": again["categories"]["performance"]["score"]}


def summarise(reports: list[dict]) -> dict:
    """Medians of a page's visits, all scores of performance, and what cost points in most visits."""
    scores = {
        name: [round(100 * report["categories"][name]["score"]) for report in reports] for name in CATEGORIES
    }
    numbers = {
        audit: statistics.median(report["audits"][audit]["numericValue"] for report in reports)
        for audit in METRICS
    }
    costs: dict[str, int] = {}
    for report in reports:
        for category in report["categories"].values():
            for part in category["auditRefs"]:
                score = report["audits"][part["id"]]["score"]
                if part["weight"] and score is not None and score < (0.9 if part["id"] in METRICS else 1):
                    costs[part["id"]] = costs.get(part["id"], 0) + 1
    return {
        "scores": {name: round(statistics.median(values)) for name, values in scores.items()},
        "performance": sorted(scores["performance"]),
        "calibrated": sorted(round(100 * report["calibrated"]) for report in reports),
        "metrics": {audit: round(value, 4) for audit, value in numbers.items()},
        "bytes": statistics.median(
            report["audits"]["total-byte-weight"]["numericValue"] for report in reports
        ),
        "speed": round(statistics.median(report["environment"]["benchmarkIndex"] for report in reports)),
        "costs": sorted(name for name, count in costs.items() if 2 * count > len(reports)),
    }


def row(name: str, case: dict) -> str:
    """A page in the table."""
    scores, metrics = case["scores"], case["metrics"]
    cells = [name, str(case["speed"])]
    for runs in (case["performance"], case["calibrated"]):
        cells.append(f"{statistics.median(runs):.0f} ({runs[0]}–{runs[-1]})")
    cells += [str(scores[category]) for category in list(CATEGORIES)[1:]]
    cells += [f"{metrics[audit] / unit:.{digits}f}" for audit, (_, unit, digits) in METRICS.items()]
    cells += [f"{case['bytes'] / 1000:.0f}", ", ".join(case["costs"]) or "nothing"]
    return f"| {' | '.join(cells)} |"


def compared(speeds: list[int]) -> str:
    """What a machine's index says of its scores, which are meant for one of 1500 to 2000."""
    if min(speeds) > 2000:
        return ", so the score of performance is an upper bound"
    return ", so the score of performance is a lower bound" if max(speeds) < 1500 else ""


def render(results: dict) -> str:
    m, cases = results["machine"], results["cases"]
    speeds = [case["speed"] for case in cases.values()]
    times = "once" if results["runs"] == 1 else f"{results['runs']} times"
    names = ["speed", "performance", "calibrated", *list(CATEGORIES.values())[1:]]
    names += [*(name for name, _, _ in METRICS.values()), "kB"]
    return f"""# Lighthouse

Written by `benchmarks/lighthouse.py` from the JSON beside it. Lighthouse {results["lighthouse"]},
{results["browser"]}, Node {results["node"]}. {m["device"]}, {m["cores"]} cores. {results["date"]},
load average before {results["load"]}.

Each page visited as a phone {times}: medians, and of performance the lowest and highest score.
The network is simulated. The processor is this machine's, slowed down four times, which makes a middling
phone of a fast desktop computer. By Lighthouse's own index such a computer has 1500 to 2000; this machine
had {min(speeds)} to {max(speeds)} (speed: median of a page's visits){compared(speeds)}.
Calibrated is the score of the same visits with the processor slowed down by what makes that phone of this
machine, by the index of each visit: four times for one of 1533, ten for one of 2930. The server packs text
with gzip and speaks HTTP/1.1.

| page | {" | ".join(names)} | what cost points |
|---|{"---:|" * len(names)}---|
{chr(10).join(row(name, case) for name, case in cases.items())}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="visits of each page (default 5)")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES), metavar="PAGE")
    parser.add_argument("--npm", type=Path, default=BUILD / "npm", help="where Lighthouse is or shall be")
    parser.add_argument("--reports", type=Path, default=BUILD / "lighthouse", help="where whole reports go")
    parser.add_argument("--out", type=Path, default=RESULTS / "lighthouse.json")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")
    args = parser.parse_args()
    if rendered(args, render):
        return
    chromium = find_chromium()
    if chromium is None or shutil.which("npm") is None:
        parser.error(f"no Chromium: {HOW}" if chromium is None else "no Node.js with npm: install it")
    program, site, load = install(args.npm), BUILD / "site-lighthouse", load_average()
    args.reports.mkdir(parents=True, exist_ok=True)
    site.mkdir(parents=True, exist_ok=True)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    reports: dict[str, list[dict]] = {name: [] for name in args.pages}
    with served(site) as address:
        build(site, address)
        # Page after page, and then all of them again: a busy minute is not one page's.
        for run in range(1, args.runs + 1):
            for name, visits in reports.items():
                visits.append(visit(program, chromium, address + PAGES[name], args.reports / "record"))
                (args.reports / f"{name.replace(' ', '-')}.json").write_text(json.dumps(visits[-1]))
                case = summarise(visits[-1:])
                print(run, name, case["speed"], case["scores"], case["calibrated"], flush=True)
            version = re.search(r"Chrome/[\d.]+", visits[-1]["environment"]["hostUserAgent"])
            results = {
                "machine": machine("cpu", 1, []),
                "lighthouse": visits[-1]["lighthouseVersion"],
                "browser": version[0].replace("/", " "),
                "node": node,
                "date": now(),
                "load": load,
                "runs": run,
                "cases": {name: summarise(visits) for name, visits in reports.items()},
            }
            save_results(args.out, results, render(results))


if __name__ == "__main__":
    main()
