"""The pages for teaching that are made and not written: quizzes, one page a lesson. A MkDocs hook."""

import json
import re
import sys
from pathlib import Path

import yaml
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import lessons as strip
import reading

from course import errors, quiz, slides, worksheet
from course.messages import together

LEAD = re.compile(r"^## [^\n]*\{ #exercises \}", re.MULTILINE)  # before it stands the link to the quiz


def on_files(files, config):
    titles = quiz.titles()
    for lesson in quiz.lessons():
        for name, content in (
            (f"{lesson}.md", quiz.page(lesson, titles[lesson])),
            (f"{lesson}.xml", quiz.moodle(lesson, titles[lesson])),
        ):
            files.append(File.generated(config, f"quizzes/{name}", content=content))
    for notebook in executed(config):
        content = slides.page(notebook, lambda cell, i: strip.packed(cell, i, config)[0])
        files.append(File.generated(config, f"slides/{notebook.stem}.html", content=content))
    return files


def executed(config):
    """The lessons that have run: one that has not has no figures to show."""
    lessons = config.plugins["mkdocs-jupyter"].config["notebook_dirs"]["lessons"]
    found = sorted((Path(config.config_file_path).parent / lessons).glob("*.ipynb"))
    return [
        path for path in found if "pending" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    ]


def guide(config):
    """Each lesson on the teacher's page: what to show, ask, leave out, and which answers to expect."""
    about = yaml.safe_load((Path(config.docs_dir) / "teach.yml").read_text(encoding="utf-8"))
    words, titles, parts = about["words"], quiz.titles(), []
    for path in executed(config):
        if path.stem[:2] not in about["lessons"]:  # a new one
            continue
        cells, own = strip.load(path)["cells"], about["lessons"][path.stem[:2]]
        asked = [
            cell["metadata"]["predict"] for cell in reading.main_path(cells) if "predict" in cell["metadata"]
        ]
        questions = {question.id: question for question in quiz.quiz(path.stem)}
        parts += [
            f"### {titles[path.stem]} {{ #lesson-{path.stem[:2]} }}",
            f"[{words['slides']}](slides/{path.stem}.html) · [{words['quiz']}](quizzes/{path.stem}.md)",
            f"**{words['show']}** {own['show']}",
            f"**{words['ask']}** {together(asked[:3])}",
            f"**{words['skip']}** {own['skip']}",
        ]
        for question in (questions[name] for name in own["expect"]):
            option = question.likeliest or next(o for o in question.options if not o.right)
            parts.append(f"**{words['expect']}** {together([question.ask, f'*{option.text}*', option.why])}")
    return "\n\n".join(parts)


def measured(config):
    """What each lesson took where this site was built."""
    words = yaml.safe_load((Path(config.docs_dir) / "teach.yml").read_text(encoding="utf-8"))["words"]
    found = {path.stem: strip.measure(strip.load(path)) for path in executed(config)}
    titles = quiz.titles()
    rows = [
        f"| [{titles[name]}](lessons/{name}.ipynb) | {one['minutes']} | {one['minutes_of_all']} "
        f"| {one['seconds']} | {one['memory'] or '–'} |"
        for name, one in found.items()
    ]
    memory = max((one["memory"] or 0 for one in found.values()), default=0)
    first = next(iter(found.values()), {"cores": 0, "threads": 0})
    said = words["most"].format(
        memory=memory, thirty=30 * memory, cores=first["cores"], threads=first["threads"]
    )
    return "\n".join([words["table"], "|---|---|---|---|---|", *rows]) + f"\n\n{said}"


def on_page_markdown(markdown, page, config, files):
    path = Path(page.file.src_uri)
    words = quiz.words()
    if page.file.src_uri.startswith("lessons/") and path.stem in quiz.lessons():
        link = words["invite"].format(count=len(quiz.quiz(path.stem)), link=f"../quizzes/{path.stem}.md")
        return LEAD.sub(lambda heading: f"{link}\n\n{heading[0]}", markdown, count=1)
    if page.file.src_uri == "worksheet.md":
        return markdown.replace("<!--worksheet-->", worksheet.sheet())
    if page.file.src_uri == "teach.md":
        markdown = markdown.replace("<!--guide-->", guide(config))
        return markdown.replace("<!--measured-->", measured(config))
    if page.file.src_uri == "errors.md":
        titles, label = quiz.titles(), config.extra["callouts"]["mistake"]
        found = (
            errors.page(path.stem, strip.load(path)["cells"], titles[path.stem], words["told"], label)
            for path in executed(config)
        )
        return markdown.replace("<!--errors-->", "\n\n".join(found))
    if page.file.src_uri == "slides.md":
        titles, row = quiz.titles(), slides.spoken()["row"]
        rows = (
            row.format(title=titles[path.stem], page=f"slides/{path.stem}.html") for path in executed(config)
        )
        return markdown.replace("<!--slides-->", "\n".join(rows))
    if page.file.src_uri == "quizzes/index.md":
        titles = quiz.titles()
        rows = (
            words["row"].format(
                title=titles[lesson],
                page=f"{lesson}.md",
                count=len(quiz.quiz(lesson)),
                xml=f"{lesson}.xml",
            )
            for lesson in quiz.lessons()
        )
        return markdown.replace("<!--quizzes-->", "\n".join(rows))
    return markdown
