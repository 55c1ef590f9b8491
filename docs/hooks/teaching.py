"""The pages for teaching that are made and not written: quizzes, one page a lesson. A MkDocs hook."""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

from course import quiz, worksheet

LEAD = re.compile(r"^## [^\n]*\{ #exercises \}", re.MULTILINE)  # before it stands the link to the quiz


def on_files(files, config):
    titles = quiz.titles()
    for lesson in quiz.lessons():
        for name, content in (
            (f"{lesson}.md", quiz.page(lesson, titles[lesson])),
            (f"{lesson}.xml", quiz.moodle(lesson, titles[lesson])),
        ):
            files.append(File.generated(config, f"quizzes/{name}", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    path = Path(page.file.src_uri)
    words = quiz.words()
    if page.file.src_uri.startswith("lessons/") and path.stem in quiz.lessons():
        link = words["invite"].format(count=len(quiz.quiz(path.stem)), link=f"../quizzes/{path.stem}.md")
        return LEAD.sub(lambda heading: f"{link}\n\n{heading[0]}", markdown, count=1)
    if page.file.src_uri == "worksheet.md":
        return markdown.replace("<!--worksheet-->", worksheet.sheet())
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
