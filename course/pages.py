"""The pages: built from the lessons that have run, and served while others still do.

A lesson that has not run yet has its page, too, with its text and code, and a line that says so.
"""

import functools
import http.server
import itertools
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course import catalogues, language
from course.lessons import EXECUTED, ROOT, Executions, executions, is_fresh, notebooks, read, say

PAGES, MADE, BEFORE, SITE = (
    ROOT / path for path in ("build/pages", "build/site", "build/site-before", "site")
)
EVERY = 60.0  # seconds between two builds while lessons are executed: a build keeps one core busy for a while
SOON = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>One moment</title><p style="font: 1.1rem/1.6 sans-serif; margin: 20vh auto; max-width: 30rem">
The first lesson is being executed. This page turns into the site when it has run, within a minute.</p>"""


def build(runs: Executions) -> bool:
    """Build the site of what there is, and put it in place in one step; if it fails, the old one stays."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    for notebook in notebooks():
        if is_fresh(notebook):
            shutil.copy(EXECUTED / notebook.name, PAGES)
        else:
            page = read(notebook)
            page["metadata"]["pending"] = "failed" if notebook.stem in runs.failed else "waiting"
            (PAGES / notebook.name).write_text(json.dumps(page), encoding="utf-8")
    # Other languages come when all lessons have run or failed: until then each build shall be short.
    done = all(is_fresh(path) or path.stem in runs.failed for path in notebooks())
    known = [code for code in catalogues.LANGUAGES if (ROOT / f"mkdocs.{code}.yml").exists()]
    languages = known if done else []
    os.environ["COURSE_LANGUAGES"] = " ".join(languages)
    pool = ThreadPoolExecutor(3)  # that many languages: on two cores three at once end before two and one
    try:
        if not all(list(pool.map(functools.partial(make, runs), ("en", *languages)))):
            return False
    except BaseException:  # Ctrl-C
        runs.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    for code in languages:
        language.join(MADE.with_name(f"site-{code}"), MADE, code)
    shutil.rmtree(BEFORE, ignore_errors=True)
    for attempt in itertools.count():
        try:
            if SITE.exists():
                SITE.replace(BEFORE)
            MADE.replace(SITE)
            break
        except PermissionError:  # Windows, while one of its files is being sent
            if attempt == 50:
                raise
            time.sleep(0.1)
    shutil.rmtree(BEFORE, ignore_errors=True)
    return True


def make(runs: Executions, code: str) -> bool:
    """Build the pages of one language, and print what is to be said of them; whether they are there."""
    where = ["--site-dir", str(MADE)]
    if code != "en":
        language.prepare(code)
        where = ["--config-file", f"mkdocs.{code}.yml", "--site-dir", str(MADE.with_name(f"site-{code}"))]
    failed, said = runs.call("mkdocs", "build", "--strict", *where)
    if runs.ended:
        return False
    for line in said.splitlines():
        if not line.startswith("INFO"):
            print(line, flush=True)
    return not failed


def site() -> int:
    """Execute what is stale and build the whole site, or nothing; the exit code."""
    runs = executions()
    for _ in runs:
        pass
    if runs.failed:
        return runs.report()
    say("building the site into site/ (half a minute to a minute)")
    return 0 if build(runs) else 1


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files of the site as they are now, and a page that waits while there are none."""

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def end_headers(self) -> None:
        """Have browsers ask again: pages and figures change under the same names."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The site's own page for what is not there."""
        own = Path(self.directory) / "404.html"
        if code != 404:
            return super().send_error(code, message, explain)
        content = own.read_bytes() if own.exists() else SOON.encode()
        self.send_response(404 if own.exists() else 503)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def list_directory(self, path: str) -> None:
        """A folder without a page is not there."""
        self.send_error(404)


class Server(http.server.ThreadingHTTPServer):
    """One that does not share its port, which Windows would let it."""

    allow_reuse_address = os.name == "posix"


def serve(port: int) -> int:
    """Show the site, as soon as there is a lesson to read, and go on executing the others; the exit code."""
    try:
        server = Server(("127.0.0.1", port), functools.partial(Handler, directory=str(SITE)))
    except (OSError, OverflowError) as error:
        say(f"Port {port} cannot be had ({error}). Try another: make serve PORT=8001")
        return 2
    runs = executions()
    if runs.todo and SITE.exists():  # what it shows of these lessons is no longer true
        shutil.rmtree(SITE)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown, lock = float("-inf"), threading.Lock()

    def show() -> None:
        """Build if it is time to, and if nobody does already."""
        nonlocal shown
        if time.monotonic() - shown > EVERY and lock.acquire(blocking=False):
            try:
                if build(runs) and shown < 0:
                    say(f"read it at http://127.0.0.1:{port}  (Ctrl-C stops)")
                shown = time.monotonic()
            finally:
                lock.release()

    runs.after, built = show, True
    try:
        for _ in runs:
            pass
        if not runs.todo:
            say("building the pages anew (half a minute to a minute)")
        built = build(runs)
        if runs.todo:
            runs.report() or say("all lessons have run")
        else:
            say(f"read it at http://127.0.0.1:{port}  (Ctrl-C stops)")
        while SITE.exists():
            time.sleep(1)
    except KeyboardInterrupt:
        print()
    return runs.report() or (0 if built else 1)
