"""The rule that makes slides of a lesson. The slides themselves: test_site.py and test_pages_browser.py."""

from course import slides


def test_sentences():
    text = "One of $a. B$ things (e.g. this. Or that). Two, by Dosovitskiy et al. (2021). Three: 5 of them?"
    assert len(slides.sentences(text)) == 4
    assert slides.opening(["A first one. A second one:"]) == "A first one."
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
