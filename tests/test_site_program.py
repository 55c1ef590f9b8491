"""`python -m course`: what it executes, what it takes for finished, and that it never deletes an edit."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from course import lessons, offline, pairs

ROOT = Path(__file__).resolve().parent.parent
# What people call folders. (A colon cannot be: venv itself refuses it.)
FOLDERS = ["plain", "my vit (1)", "a [b] & c$d", 'it\'s "quoted"; %41']
HELLO = ["print('hello ' * 2)"]
MKDOCS = """\
site_name: small
strict: true
theme: {name: mkdocs}
"""


def site(folder, *command, **options):
    """Run the program in a folder as a reader would, from its own Python."""
    return subprocess.run(
        [sys.executable, "-m", "course", *command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def notebook(path, cells, kernel="python3", **lesson):
    book = nbformat.v4.new_notebook()
    book.metadata = {"lesson": {"number": 1, **lesson}}
    book.metadata["kernelspec"] = {"display_name": kernel, "language": "python", "name": kernel}
    book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)


def project(folder, **lessons):
    """A small project: notebooks of these cells, a package of one file, a page."""
    for name, cells in lessons.items():
        notebook(folder / "notebooks" / f"{name}.ipynb", cells)
    for path, text in {
        "vit/part.txt": "1",
        "requirements.txt": "",
        "docs/index.md": "# Hi",
        "mkdocs.yml": MKDOCS,
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def executed(folder, name):
    return nbformat.read(folder / "build" / "lessons" / f"{name}.ipynb", as_version=4)


# ---- executing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_any_folder_will_do(tmp_path, name):
    folder = project(tmp_path / name, one=HELLO)
    run = site(folder, "site")
    assert run.returncode == 0, run.stdout + run.stderr
    assert executed(folder, "one").cells[0].outputs[0].text == "hello hello \n"
    assert (folder / "site" / "index.html").exists()


def test_another_kernels_name_does_not_matter(tmp_path):
    folder = project(tmp_path)
    notebook(folder / "notebooks" / "one.ipynb", HELLO, kernel="vit-course")
    assert site(folder, "notebooks").returncode == 0
    assert executed(folder, "one").cells[0].outputs


def test_what_is_there_is_not_made_again_until_something_changes(tmp_path):
    folder = project(tmp_path, one=["import time; print(time.time())"])
    ran = lambda: (site(folder, "notebooks"), executed(folder, "one").cells[0].outputs[0].text)[1]
    first = ran()
    (folder / "notebooks" / "one.ipynb").touch()  # a time alone changes nothing
    assert ran() == first
    (folder / "vit" / "part.txt").write_text("2")
    second = ran()
    assert second != first
    notebook(folder / "notebooks" / "one.ipynb", ["import time; print(-time.time())"])
    assert ran() not in (first, second)


def test_lesson_0_waits_until_there_is_a_page_to_read(tmp_path, monkeypatch):
    folder = project(tmp_path, **{"00_a": HELLO, "01_b": HELLO, "02_c": HELLO})
    monkeypatch.setattr(lessons, "NOTEBOOKS", folder / "notebooks")
    monkeypatch.setattr(lessons, "EXECUTED", folder / "build" / "lessons")
    todo = lambda: [path.stem for path in lessons.executions().todo]
    assert todo() == ["01_b", "00_a", "02_c"]
    (folder / "notebooks" / "00_a.ipynb").unlink()
    assert todo() == ["01_b", "02_c"]


def test_an_edit_during_the_run_is_not_taken_for_executed(tmp_path):
    part = str(tmp_path / "vit" / "part.txt")
    folder = project(tmp_path, one=[f"open({part!r}, 'a').write('.')"])
    assert site(folder, "notebooks").returncode == 0
    assert (folder / "vit" / "part.txt").read_text() == "1."
    assert "executing 1 of 1" in site(folder, "notebooks").stdout


def test_a_failing_lesson_is_named_and_leaves_nothing(tmp_path):
    folder = project(tmp_path, bad=["assert 1 + 1 == 3, 'no such sum'"], good=HELLO)
    run = site(folder, "site")
    assert run.returncode == 1
    assert "lesson bad did not run through" in run.stdout.splitlines()[-1]
    assert "no such sum" in run.stdout
    assert not (folder / "build" / "lessons" / "bad.ipynb").exists()
    assert executed(folder, "good").cells[0].outputs
    assert not (folder / "site").exists()
    assert not list((folder / "build" / "running").iterdir())


# A kernel one of whose ports is taken, the first so many times. It is found before this Python's own.
LATE_KERNEL = """\
import json, os, socket, subprocess, sys
from pathlib import Path
info, starts = json.loads(Path(sys.argv[1]).read_text()), Path(__file__).with_name("starts")
with starts.open("a") as file:
    file.write(".")
taken = socket.socket()
if starts.stat().st_size <= TIMES:
    taken.bind((info["ip"], info["shell_port"]))
    taken.listen()
sys.exit(subprocess.call([sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[1]]))
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Makes the next kernels find a port taken, so many times; tells how many were started."""
    home = tmp_path / "jupyter" / "kernels" / "python3"
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))

    def make(times):
        home.mkdir(parents=True)
        (home / "late.py").write_text(LATE_KERNEL.replace("TIMES", str(times)))
        argv = [sys.executable, str(home / "late.py"), "{connection_file}"]
        (home / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "late", "language": "python"})
        )
        return lambda: (home / "starts").stat().st_size

    return make


def test_a_kernel_that_another_took_a_port_from_gets_one_more_chance(tmp_path, kernel):
    folder, started = project(tmp_path, one=HELLO), kernel(1)
    run = site(folder, "execute", "one")
    assert run.returncode == 0, run.stdout
    assert "the kernel died before the first cell" in run.stdout
    assert started() == 2
    assert executed(folder, "one").cells[0].outputs[0].text == "hello hello \n"


def test_a_cell_that_ends_the_kernel_is_not_run_again(tmp_path, kernel):
    last = "import os\nprint('Kernel died before replying')\nos._exit(1)"
    folder, started = project(tmp_path, one=[last]), kernel(0)
    assert site(folder, "execute", "one").returncode == 1
    assert started() == 1


@pytest.mark.parametrize(("writes", "runs"), [(False, 2), (True, 1)], ids=["no cell ran", "a cell failed"])
def test_there_is_no_third_chance_and_none_for_a_cell(tmp_path, monkeypatch, writes, runs):
    folder, seen = project(tmp_path, one=HELLO), []

    def run_through(copy):
        seen.append(copy)
        if writes:  # as nbmake does when a cell has failed
            copy.write_text(copy.read_text() + "\n")
        return 1, "RuntimeError: Kernel died before replying to kernel_info\n"

    for name, place in {"ROOT": "", "EXECUTED": "build/lessons", "RUNNING": "build/running"}.items():
        monkeypatch.setattr(lessons, name, folder / place)
    monkeypatch.setattr(lessons, "run_through", run_through)
    monkeypatch.setattr(lessons.signal, "signal", lambda *_: None)
    assert lessons.execute(folder / "notebooks" / "one.ipynb") == 1
    assert len(seen) == runs


def test_what_measures_the_machine_runs_alone_and_with_all_cores(tmp_path):
    folder = project(tmp_path)
    log = folder / "log"
    cell = f"""import os, time
start = time.time()
time.sleep(1)
with open({str(log)!r}, "a") as file:
    print("NAME", start, time.time(), os.environ["OMP_NUM_THREADS"], file=file)"""
    for name, alone in {"a": True, "b": False, "c": False}.items():
        notebook(folder / "notebooks" / f"{name}.ipynb", [cell.replace("NAME", name)], alone=alone)
    assert site(folder, "notebooks").returncode == 0
    rows = {name: [float(x) for x in rest] for name, *rest in map(str.split, log.read_text().splitlines())}
    assert rows["a"][0] > max(rows["b"][1], rows["c"][1])
    assert rows["a"][2] == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else True


def test_a_stamp_says_where_it_ran_and_joins_what_was_printed(tmp_path):
    folder = project(tmp_path, one=["import sys\nfor i in range(3):\n    print(i); sys.stdout.flush()"])
    assert site(folder, "execute", "one").returncode == 0
    about = executed(folder, "one").metadata.executed
    assert {"of", "date", "torch", "cores", "threads", "memory"} == set(about)
    assert 0.01 < about.memory < 2
    (output,) = executed(folder, "one").cells[0].outputs
    assert output.text == "0\n1\n2\n"


def test_mistakes_are_one_line(tmp_path):
    run = site(tmp_path, "site")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "project's folder" in run.stderr
    run = site(project(tmp_path, one=HELLO), "execute", "two")
    assert run.returncode == 2
    assert "no lesson two; there are one" in run.stderr


# ---- serving --------------------------------------------------------------------------------------


def free_port():
    """One below those that systems give out: no kernel gets it between this and the server's start."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    pytest.fail("none of a hundred ports is free")


def get(port, path=""):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_for(condition, seconds=280):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def serving(folder, port):
    command = [sys.executable, "-m", "course", "serve", "--port", str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(), **pipes)


def test_the_site_opens_with_the_first_lesson_and_ctrl_c_leaves_a_state_to_go_on_from(tmp_path):
    slow, go = ["import time; time.sleep(800)"], tmp_path / "go"
    held = [f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.1)"]
    folder, port = project(tmp_path, a=held, b=slow, c=slow), free_port()
    server = serving(folder, port)
    try:
        wait_for(lambda: get(port)[0] == 503)
        assert "being executed" in get(port)[1]
        go.touch()
        wait_for(lambda: get(port)[0] == 200)
        assert get(port, "nothing-here")[0] == 404
        pending = json.loads((folder / "build" / "pages" / "b.ipynb").read_text())["metadata"]["pending"]
        assert pending == "waiting"
    finally:
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=120)
    assert f"http://127.0.0.1:{port}" in said
    assert [path.stem for path in (folder / "build" / "lessons").iterdir()] == ["a"]
    wait_for(lambda: not list((folder / "build" / "running").iterdir()))

    for name in "bc":
        notebook(folder / "notebooks" / f"{name}.ipynb", HELLO)
    run = site(folder, "site")
    assert "executing 2 of 3" in run.stdout
    assert run.returncode == 0, run.stdout


def test_a_failing_lesson_is_shown_as_such_and_named_at_the_end(tmp_path):
    folder, port = project(tmp_path, a=HELLO, b=["raise SystemError('that was it')"]), free_port()
    server = serving(folder, port)
    try:

        def failed():
            with suppress(FileNotFoundError):  # each build makes the folder anew
                return "failed" in (folder / "build" / "pages" / "b.ipynb").read_text()

        wait_for(failed)
        wait_for(lambda: get(port)[0] == 200)
    finally:
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=120)
    assert server.returncode == 1
    assert "lesson b did not run through: " in said
    assert "that was it" in said


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        run = site(project(tmp_path, a=HELLO), "serve", "--port", str(s.getsockname()[1]))
    assert run.returncode == 2
    assert "PORT=8001" in run.stdout
    assert not (tmp_path / "build").exists()


# ---- the two files of a lesson --------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A project with one lesson in step, and its two files."""
    project(tmp_path)
    py = tmp_path / "notebooks" / "one.py"
    py.parent.mkdir()
    py.write_text("# %% [markdown]\n# # Title\n\n# %%\nx = 1\n")
    build = tmp_path / "build"
    places = {
        "ROOT": tmp_path,
        "NOTEBOOKS": py.parent,
        "AGREED": build / "pairs.json",
        "DROPPED": build / "dropped",
    }
    for name, place in places.items():
        monkeypatch.setattr(pairs, name, place)
    monkeypatch.chdir(tmp_path)
    assert pairs.sync() == pairs.check() == 0
    return tmp_path, py, py.with_suffix(".ipynb")


def edit_py(py, text="x = 2"):
    py.write_text(py.read_text().replace("x = 1", text))


def edit_ipynb(ipynb, text="x = 3"):
    ipynb.write_text(ipynb.read_text().replace("x = 1", text))


@pytest.mark.parametrize("later", ["py", "ipynb"])
@pytest.mark.parametrize("edited", ["py", "ipynb"])
def test_the_edited_file_wins_whichever_was_saved_later(pair, edited, later):
    _, py, ipynb = pair
    edit_py(py) if edited == "py" else edit_ipynb(ipynb, "x = 2")
    for age, path in enumerate([py, ipynb] if later == "ipynb" else [ipynb, py]):
        os.utime(path, (1e9 + age, 1e9 + age))
    assert pairs.check() == 1
    assert pairs.sync() == 0
    assert "x = 2" in py.read_text()
    assert "x = 2" in ipynb.read_text()
    assert pairs.check() == 0


def test_two_edits_are_a_question_and_nothing_is_lost(pair, capsys):
    folder, py, ipynb = pair
    edit_py(py)
    edit_ipynb(ipynb)
    before = py.read_text(), ipynb.read_text()
    assert pairs.sync() == 1
    assert "KEEP=py" in capsys.readouterr().out
    assert (py.read_text(), ipynb.read_text()) == before
    assert pairs.sync(keep="ipynb") == 0
    assert "x = 3" in py.read_text()
    assert "x = 2" in (folder / "build" / "dropped" / "one.py").read_text()


def test_without_a_memory_git_knows_what_was_agreed(pair):
    folder, py, ipynb = pair
    shutil.rmtree(folder / "build")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    edit_py(py)
    ipynb.touch()
    assert pairs.sync() == 0
    assert "x = 2" in ipynb.read_text()


def test_without_either_it_asks_and_so_does_the_program(pair):
    folder, py, ipynb = pair
    shutil.rmtree(folder / "build")
    edit_py(py)
    ipynb.touch()
    run = site(folder, "sync")
    assert run.returncode == 1
    assert "KEEP=py" in run.stdout
    assert "x = 2" in py.read_text()
    assert site(folder, "sync", "--keep", "py").returncode == 0
    assert "x = 2" in ipynb.read_text()


def test_outputs_and_kernels_do_not_matter_and_are_cleaned(pair, capsys):
    _, py, ipynb = pair
    book = nbformat.read(ipynb, as_version=4)
    book.metadata.kernelspec = {"display_name": "mine", "language": "python", "name": "mine"}
    nbformat.write(book, ipynb)
    assert pairs.check() == 0  # the name alone is no difference
    book.cells[1].outputs = [nbformat.v4.new_output("stream", text="hi")]
    nbformat.write(book, ipynb)
    assert pairs.check() == 1
    assert "has outputs" in capsys.readouterr().out
    assert pairs.sync() == 0
    assert nbformat.read(ipynb, as_version=4).metadata.kernelspec.name == "python3"
    assert "name: python3" in py.read_text()
    assert pairs.check() == 0


def test_a_damaged_notebook_is_one_line_and_stays(pair, capsys):
    folder, _, ipynb = pair
    ipynb.write_text("<<<<<<< HEAD")
    run = site(folder, "sync")
    assert run.returncode == 2
    assert run.stderr.startswith("error: cannot read notebooks/one.ipynb")
    assert run.stderr.count("\n") == 1
    assert ipynb.read_text() == "<<<<<<< HEAD"
    ipynb.unlink()
    assert pairs.check() == 1
    assert "one.ipynb is missing" in capsys.readouterr().out
    assert pairs.sync() == 0
    assert "x = 1" in ipynb.read_text()


def test_the_archive_for_a_room_without_a_network(tmp_path, monkeypatch):
    """What is in the repository, the wheels, and how to install them. `make archive` fetches the wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "one-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    monkeypatch.setattr(offline, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="no git repository"):
        offline.tracked()
    for name in ("Makefile", "notes.txt"):
        (tmp_path / name).write_text(name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "Makefile"], cwd=tmp_path, check=True)
    assert offline.pack(wheels, tmp_path / "all.zip") == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(archive.namelist()) == [
            "annotated-vit/Makefile",
            "annotated-vit/READ-ME-OFFLINE.txt",
            "annotated-vit/wheels/one-1.0-py3-none-any.whl",
        ]
        assert "PIP_NO_INDEX=1" in archive.read("annotated-vit/READ-ME-OFFLINE.txt").decode()
