"""Formulas become MathML when all else that reads a page, the search's index too, has seen them as TeX."""

import logging

from mkdocs.plugins import event_priority

from course import formulas

log = logging.getLogger("mkdocs.hooks.formulas")  # below "mkdocs", so that strict mode counts its warnings


@event_priority(-100)
def on_post_page(output, page, config):
    try:
        return formulas.as_mathml(output)
    except ValueError as error:
        log.warning("%s has a formula that KaTeX does not understand: %s", page.file.src_uri, error)
