"""The rule that makes slides of a lesson. The slides themselves: test_site.py and test_pages_browser.py."""

from course import slides


def test_sentences():
    text = "One of $a. B$ things (e.g. this. Or that). Two, by Dosovitskiy et al. (2021). Three: 5 of them?"
    assert len(slides.sentences(text)) == 4
    assert slides.opening(["A first one. A second one:"]) == "A first one."
    assert slides.opening(["Six letters. " + "One of them is this one. " * 8 + "The sixth."]).endswith(
        "The sixth."
    )
    assert slides.opening(["Six letters. " + "One of them is this one. " * 12 + "No room."]).endswith(
        "this one."
    )
    assert slides.ending(["A first. " * 40, "Far too long. " * 40 + "Four tokens. Which of them?"], 6) == (
        "Four tokens. Which of them?"
    )
    assert slides.ending([]) == ""
    assert slides.plain("## Head\n\n> quote\n\nSee [this](x.ipynb#y).\n\n$$x$$\n\n1. list") == ["See this."]


def test_an_output_fits():
    assert slides.size("x" * 96) * 0.6 * 96 < 1152
    assert slides.size("x\n" * 15 + "x") * 1.4 * 16 < 560


def test_which_are_kept():
    of = lambda *ranks: [slides.Slide("text", rank, str(i)) for i, rank in enumerate(ranks)]
    assert len(slides.chosen(of(*[0] * 5, *[4] * 60))) == slides.MOST
    assert len(slides.chosen(of(*[0] * 5, *[14] * 60))) == slides.LEAST
    kept = slides.chosen(of(4, *[1] * 35, 0))
    assert {slide.rank for slide in kept} == {0, 1}
    assert kept[-1].rank == 0, "the order is that of the lesson"


def test_a_prediction_says_what_it_speaks_of():
    """On the slide stands what leads to the question, which alone asks for "the four by four matrix"."""
    head = {"cell_type": "markdown", "metadata": {}, "source": "## Head\n\nFour tokens have sixteen pairs."}
    cell = {"cell_type": "code", "metadata": {"predict": "Which numbers?"}, "source": "print(1)"}
    cell["outputs"] = [{"text": "1"}]
    ask, answer = slides.of_section([head, cell], head, [0, 1], {"wait": "Wait."}, 0)
    assert (ask.kind, answer.kind) == ("predict", "output"), "and no slide before it says the same"
    assert ask.lead == "Four tokens have sixteen pairs."
    assert ask.notes == "Wait.\n\nFour tokens have sixteen pairs."
    assert ask.code == "print(1)"
