"""The exercises of each lesson as an nbgrader assignment, and a variant of it: sources, and what is released.

    classroom/source/03_attention/03_attention.ipynb    with solutions and hidden tests: for you alone
    classroom/release/03_attention/03_attention.ipynb   what pupils get
    classroom/source/03_attention_b/…                   the variant: other names, order, some other units

Nothing is kept twice: the questions and solutions are the lesson's, stubs and checks are `vit.course`'s.
"""

import inspect
import json
import re
import secrets
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course import handout
from course.grading import hidden, marking
from course.lessons import notebooks, say
from vit.course import Exercise, exercises

CONFIG = """\
# Written by `python -m course assignments`; nbgrader reads it when it is started in this folder.
c = get_config()
c.CourseDirectory.course_id = "vit"
c.ClearSolutions.code_stub = {"python": ""}  # the stub stands above the solution
c.OverwriteCells.add_missing_cells = True  # a pupil may delete a test
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
c.Execute.timeout = 60  # seconds for a cell: then it is stopped and gets no points
c.FileNameCollectorPlugin.named_regexp = (  # for nbgrader's zip_collect; `course collect` forgives more
    r".*/[^/]+_(?P<student_id>\\d+)_assignsubmission_file_?/(?P<file_id>[^/]+)"
)
"""
WELCOME = """\
# {title}

Write your answers into the cells below the questions, run them, save, and hand in this file under its own
name, `{name}.ipynb`. Please delete no cell. {how}

{total} points can be had. They are given for what your functions do on inputs that you do not see. A cell
that does not run gets none, so restart the kernel and run all before you hand in.
"""
CHECKED = "`check` says at once whether an answer is right, on inputs of its own."
UNCHECKED = (
    "The tasks are like the lesson's and not the same: each says what is other. Nothing here checks an\n"
    "answer before it is handed in, so try yours on something small."
)
POINTS = {"easy": 1, "medium": 2, "hard": 3}
LINK = re.compile(r"\[([^\]]+)\]\((?:#|\d\d_|\.\.)[^)]*\)")  # to a place that a lone notebook does not have
IMPORT = re.compile(r"^(?:import|from) (?!vit\.course).+\n", re.MULTILINE)


def graded(number: int) -> dict[int, Exercise]:
    """The exercises of a lesson that a program can grade; those that are open are not among them."""
    return {n: item for n, item in exercises(number).items() if isinstance(item, Exercise)}


def cell(make, source: str, name: str, *, points: int = 0, solution: bool = False) -> NotebookNode:
    """A cell with what nbgrader wants to know of it: it is a solution, or a test, or locked."""
    about = {"schema_version": 3, "task": False, "grade_id": name, "solution": solution}
    about |= {"grade": bool(points), "locked": not solution} | ({"points": points} if points else {})
    made = make(source, metadata={"nbgrader": about})
    made.id = name
    return made


def solution_of(text: str) -> tuple[str, list[str]]:
    """The program in an exercise's published solution, without its imports and its check; and the imports."""
    code = re.search(r"```python\n(.*?)\n```", handout.SOLUTION.search(text)[1], re.DOTALL)[1]
    imports = [line.strip() for line in IMPORT.findall(code)]
    code = re.sub(r"^(?:import|from) .+\n|^assert check\(.+\)$\n?", "", code, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n\n", code).strip(), imports


def turned(item: Exercise) -> str:
    """The program that makes an answer to the variant of an answer to the exercise."""
    name, twist = item.name, hidden.twists().get(hidden.key(item), {})
    if inspect.isclass(item.right):
        return f"class {name}_b({name}):\n    def __init__(self):\n        super().__init__()"
    if item.is_value:
        return f"{name}_b = {name}"
    names = [*inspect.signature(item.right).parameters]
    changes = "".join(f"    {key} = {how}\n" for key, how in twist.get("ours", {}).items())
    return (
        f"def {name}_b({', '.join(names[::-1])}):\n{changes}    found = {name}({', '.join(names)})\n"
        f"    return {twist.get('result', 'found')}"
    )


def retold(text: str, item: Exercise) -> str:
    """A question of the lesson as that of the variant: with its name and order, and what else differs."""
    other, ask = hidden.variant(item), hidden.twists().get(hidden.key(item), {}).get("ask", "")
    names = [*inspect.signature(item.right).parameters] if inspect.isfunction(item.right) else []
    call = f"({', '.join(names[::-1])})"
    text = re.sub(r"`check\([^`]*\)`", "hand it in", text)
    theirs = rf"`{item.name}\({r',\s+'.join(names)}\)`"  # perhaps on two lines
    text = re.sub(theirs, f"`{other.name}{call}`", text)
    text = re.sub(rf"`{item.name}( =[^`]*)?`", rf"`{other.name}\1`", text)
    order = f", and the order of its arguments, `{call}`" if len(names) > 1 else ""
    return f"{text}\n\n**Different from the lesson:** the name, `{other.name}`{order}. {ask}".strip()


def source(notebook: NotebookNode, name: str, seed: int, is_variant: bool = False) -> NotebookNode:
    """A lesson's exercises as the source of an assignment: each a question, an answer and a hidden test."""
    lesson = notebook.metadata.lesson["number"]
    asked, cells, needed, total = handout.questions(notebook), [], set(), 0
    for number, item in graded(lesson).items():
        points = POINTS[re.search(r"\d+ minutes, (easy|medium|hard)", asked[number])[1]]
        total += points
        task = hidden.variant(item) if is_variant else item
        text = LINK.sub(r"\1", handout.SOLUTION.sub("", asked[number]).strip())
        text = retold(text, item) if is_variant else text
        solution, imports = solution_of(asked[number])
        needed |= {*imports}
        solution += f"\n\n\n{turned(item)}" if is_variant else ""
        head, check = handout.answer_cell(task).source.split(task.stub)
        head, check = ("", "") if is_variant else (head, f"\n\n{check.strip()}")
        answer = f"{head}{task.stub}\n### BEGIN SOLUTION\n\n{solution}\n### END SOLUTION{check}"
        more = ", is_variant=True" if is_variant else ""
        test = (
            f"# {lesson}.{number}: {points} point{'s' * (points > 1)}, on inputs that you do not see.\n"
            "### BEGIN HIDDEN TESTS\nfrom course.grading.hidden import judge\n\n"
            f'judge({lesson}, {number}, globals().get("{task.name}"), seed={seed}, points={points}{more})\n'
            "### END HIDDEN TESTS"
        )
        cells += [
            cell(new_markdown_cell, text, f"question-{number}"),
            cell(new_code_cell, answer, f"answer-{number}", solution=True),
            cell(new_code_cell, test, f"points-{number}", points=points),
        ]
    title = f"Lesson {lesson}, graded: {re.search(r'^# (.+)', notebook.cells[0].source, re.M)[1]}"
    welcome = WELCOME.format(title=title, name=name, total=total, how=UNCHECKED if is_variant else CHECKED)
    tools = "\n".join(sorted(needed | {"import torch"}, key=lambda line: (line.startswith("from"), line)))
    first = [cell(new_markdown_cell, welcome, "welcome"), cell(new_code_cell, tools, "tools")]
    made = new_notebook(cells=first + cells)
    made.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return made


def seed_for(name: str, lesson: int, is_variant: bool, known: dict[str, int]) -> int:
    """The assignment's seed: drawn once, and again if a right answer or a usual mistake were misjudged."""
    while name not in known:
        seed = secrets.randbelow(2**31)
        if hidden.is_fair(lesson, seed, is_variant):
            known[name] = seed
    return known[name]


def write(folder: Path, names: list[str] | None = None) -> int:
    """Write sources and releases of these assignments, or of all, into a course folder.

    What pupils handed in, and their grades, stay as they are.
    """
    lessons = {path.stem: path for path in notebooks()}
    all_names = [*lessons, *(f"{name}_b" for name in lessons)]
    if unknown := [name for name in names or [] if name not in all_names]:
        raise ValueError(f"no assignment {', '.join(unknown)}; there are {', '.join(all_names)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    seeds = folder / "seeds.json"  # not in the repository: who knows it, knows the hidden inputs
    known = json.loads(seeds.read_text(encoding="utf-8")) if seeds.exists() else {}
    with marking.nbgrader(folder) as grader:
        for name in names or all_names:
            is_variant = name not in lessons
            lesson = nbformat.read(lessons[name.removesuffix("_b") if is_variant else name], as_version=4)
            seed = seed_for(name, lesson.metadata.lesson["number"], is_variant, known)
            seeds.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            path = folder / "source" / name / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(source(lesson, name, seed, is_variant), path)
            marking.done(grader.generate_assignment(name), f"release {name}")
    many = len(names or all_names)
    say(f"{many} assignments: hand out {folder}/release/NAME/NAME.ipynb, and keep the rest to yourself")
    return 0
