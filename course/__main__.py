"""`python -m course COMMAND`: what the Makefile calls, and what there is without make."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from course import lessons


def main() -> int:
    """Do one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = lambda name, text: commands.add_parser(name, help=text, description=text)
    serving = add("serve", "show the site as soon as the first lesson has run; execute the others meanwhile")
    serving.add_argument("--port", type=int, default=8000)
    add("site", "execute the lessons that are stale, and build the site")
    add("zip", "pack the built site into one file")
    add("book", "print the built site as one PDF, build/annotated-vit.pdf")
    archiving = add("archive", "pack all that is needed where there is no network into one file")
    archiving.add_argument("--torch-index", metavar="URL", help="where PyTorch is taken from, if not PyPI")
    add("notebooks", "execute the lessons that are stale")
    add("execute", "execute these lessons, fresh or not").add_argument("names", nargs="+", metavar="NAME")
    add("pairs", "check that the .py and .ipynb of each lesson say the same, without outputs")
    syncing = add("sync", "bring the .py and .ipynb of each lesson in step")
    syncing.add_argument("--keep", choices=("py", "ipynb"), help="which to keep where both were edited")
    add("handout", "write the lessons without solutions, with a cell for each answer, into build/handout/")
    add("quiz", "write the quizzes as Moodle XML and as sheets to print into build/quizzes/")
    add("translations", "bring the catalogues of locale/ in step with the English, and say what is to do")
    add("problems", "list what is wrong with the translations").add_argument("language", nargs="?")
    for name, text in (
        ("todo", "print what of a source is not translated, to be given to `fill`"),
        ("fill", "put translations into a catalogue, and say what is wrong with them"),
    ):
        translating = add(name, text)
        translating.add_argument("language")
        translating.add_argument("source", help="such as notebooks/03_attention or docs/teach.md")
        if name == "fill":
            translating.add_argument("file", type=argparse.FileType(encoding="utf-8"))
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--folder", type=Path, default=lessons.ROOT / "classroom", help="of the course, for nbgrader"
    )
    graded = lambda name, text: commands.add_parser(name, help=text, description=text, parents=[where])
    making = graded(
        "assignments", "write the exercises as nbgrader assignments, with hidden tests and variants"
    )
    making.add_argument(
        "names", nargs="*", metavar="NAME", help="such as 03_attention or 03_attention_b; or all"
    )
    taking = graded("collect", "take submissions out of Moodle's zip")
    grading = graded("grade", "autograde what was collected, and write feedback")
    giving = graded("grades", "write the table of grades and the zip of feedback for Moodle")
    for command in (taking, grading, giving):
        command.add_argument("name", metavar="NAME")
    taking.add_argument("zip", type=Path)
    grading.add_argument("--again", action="store_true", help="also what is graded already")
    giving.add_argument("--class", dest="listed", type=Path, metavar="CSV", help="with names and addresses")
    trying = add("rehearse", "take thirty imagined pupils from an assignment to their grades")
    trying.add_argument("name", nargs="?", default="03_attention", metavar="NAME")
    trying.add_argument("--pupils", type=int, default=30)
    add("lab", "open the lessons in JupyterLab")
    asked = parser.parse_args()

    if not lessons.NOTEBOOKS.is_dir():
        print(f"error: no notebooks/ in {lessons.ROOT}: start this in the project's folder", file=sys.stderr)
        return 2
    if asked.command in ("serve", "site"):
        from course import pages

        return pages.serve(asked.port) if asked.command == "serve" else pages.site()
    if asked.command == "zip":
        from course import packing

        return packing.pack()
    if asked.command == "book":
        from course import book

        return book.write()
    if asked.command == "archive":
        from course import offline

        offline.fetch(asked.torch_index)
        return offline.pack()
    if asked.command in ("pairs", "sync"):
        from course import pairs

        return pairs.check() if asked.command == "pairs" else pairs.sync(asked.keep)
    if asked.command == "handout":
        from course import handout

        return handout.write()
    if asked.command == "quiz":
        from course import quiz

        return quiz.write()
    if asked.command in ("translations", "problems", "todo", "fill"):
        from course import catalogues

        return catalogues.command(asked)
    if asked.command in ("assignments", "collect", "grade", "grades", "rehearse"):
        return graded_use(asked)
    if asked.command == "lab":
        where = [sys.executable, "-m", "jupyterlab", str(lessons.NOTEBOOKS)]
        return subprocess.call(where, env=lessons.environment())
    if asked.command == "execute":
        known = {path.stem: path for path in lessons.notebooks()}
        if unknown := [name for name in asked.names if name not in known]:
            print(f"error: no lesson {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
            return 2
        return max(lessons.execute(known[name]) for name in asked.names)
    runs = lessons.executions()
    for _ in runs:
        pass
    return runs.report()


def graded_use(asked: argparse.Namespace) -> int:
    """What a teacher does with nbgrader; the exit code."""
    from course.grading import assignments, marking, moodle, rehearsal

    if asked.command == "assignments":
        return assignments.write(asked.folder, asked.names)
    if asked.command == "rehearse":
        return rehearsal.rehearse(asked.name, asked.pupils)
    if asked.command == "collect":
        return moodle.collect(asked.folder, asked.name, asked.zip)
    if asked.command == "grade":
        people = {number: who["name"] for number, who in moodle.people(asked.folder, asked.name).items()}
        return marking.grade(asked.folder, asked.name, people, asked.again)
    return moodle.grades(asked.folder, asked.name, asked.listed)


if __name__ == "__main__":
    # A shell starts what it puts into the background deaf to Ctrl-C; and SIGTERM shall end the children, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except ValueError as error:
        print("error:", error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
