"""The pages for teaching that are made and not written: quizzes, one page a lesson. A MkDocs hook."""

import json
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

from course import quiz, slides, worksheet

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
        files.append(File.generated(config, f"slides/{notebook.stem}.html", content=slides.page(notebook)))
    return files


def executed(config):
    """The lessons that have run: one that has not has no figures to show."""
    lessons = config.plugins["mkdocs-jupyter"].config["notebook_dirs"]["lessons"]
    found = sorted((Path(config.config_file_path).parent / lessons).glob("*.ipynb"))
    return [
        path for path in found if "pending" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    ]


def on_page_markdown(markdown, page, config, files):
    path = Path(page.file.src_uri)
    words = quiz.words()
    if page.file.src_uri.startswith("lessons/") and path.stem in quiz.lessons():
        link = words["invite"].format(count=len(quiz.quiz(path.stem)), link=f"../quizzes/{path.stem}.md")
        return LEAD.sub(lambda heading: f"{link}\n\n{heading[0]}", markdown, count=1)
    if page.file.src_uri == "worksheet.md":
        return markdown.replace("<!--worksheet-->", worksheet.sheet())
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
