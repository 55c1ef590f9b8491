"""The site's faces, cut to the letters, weights and features that it uses: half of what comes with them.

    npm install --prefix build/npm @fontsource-variable/source-serif-4@5.3.0 \\
        @fontsource-variable/instrument-sans@5.3.0 @fontsource-variable/jetbrains-mono@5.3.1 \\
        @fontsource/stix-two-math@5.3.0
    .venv/bin/pip install brotli
    .venv/bin/python -m course.fonts build/npm

A letter that a page shows and a face lacks comes from the reader's machine. Formulas, whose letters must fit
together, may not lack one, and tests/test_formulas.py says which do; add it to `MATH` and cut again.
"""

import sys
from pathlib import Path
from typing import Any

from course.lessons import ROOT

FOLDER = ROOT / "docs" / "assets" / "fonts"
TEXT = {
    f"{name}-latin-wght-{slant}": f"@fontsource-variable/{name}/files"
    for name, slant in (
        ("source-serif-4", "normal"),
        ("source-serif-4", "italic"),
        ("instrument-sans", "normal"),
        ("jetbrains-mono", "normal"),
    )
}
FORMULAS = ("stix-two-math", "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal")
WEIGHTS = (400, 700)  # the lightest and the heaviest in docs/assets/*.css
FEATURES = ["ccmp", "kern", "liga", "locl", "mark", "mkmk", "tnum"]
ASCII = {chr(code) for code in range(0x20, 0x7F)}
LETTERS = ASCII | {*"\u00a0°±²³¶·½×ÄÖÜßáàâäåæçèéêíñóôöøúüÅØ–—‘’“”…←↑→↓−≈≤≥"}


def _run(first: int, last: int) -> set[str]:
    return set(map(chr, range(first, last + 1)))


# Bold letters, and slanted ones, as which single letters are shown, have places of their own.
MATH = ASCII | _run(0x1D400, 0x1D467) - {"\U0001d455"} | {"ℎ"}
MATH |= _run(0x3B1, 0x3C9) | _run(0x1D6FC, 0x1D71B) | {*"ΓΔΘΛΞΠΣΦΨΩϵ"}
MATH |= {*"\u00a0¬±·×÷ˆˉ˜ℓℝ𝔼ℕℙ…⋯⋮⋱′∂∇∈∉∏∑−∓∗∘√∝∞∣∥∩∪∫≈≠≡≤≥≪≫⊂⊆⊕⊗⊙⊤⊥⋅⌈⌉⌊⌋⟨⟩⏞⏟←→↔⇒⇔↦"}
MATH |= {*"\u2002\u2003\u2004\u2005\u2006\u2009\u200a\u200b\u2061\u2062\u2063\u2064"}


def narrow(font: Any, sign: str) -> None:
    """Make tall forms of a sign as narrow as the sign itself.

    Chrome keeps the room of the widest form free behind each √, however small it is.
    """
    name = font.getBestCmap()[ord(sign)]
    width, glyphs, metrics = font["hmtx"][name][0], font["glyf"], font["hmtx"]
    forms = font["MATH"].table.MathVariants
    taller = forms.VertGlyphConstruction[forms.VertGlyphCoverage.glyphs.index(name)]
    tall = {record.VariantGlyph for record in taller.MathGlyphVariantRecord}
    tall |= {part.glyph for part in taller.GlyphAssembly.PartRecords}
    for form in sorted(tall - {name}):
        glyphs[form].coordinates.scale((width / metrics[form][0], 1))
        glyphs[form].coordinates.toInt()
        glyphs[form].recalcBounds(glyphs)
        metrics[form] = (width, glyphs[form].xMin)


def cut(source: Path, target: Path, letters: set[str]) -> None:
    """Write what is needed of a face, under another name: some licences ask for that after a change."""
    from fontTools import subset  # comes with matplotlib; packing needs brotli besides
    from fontTools.ttLib import TTFont
    from fontTools.varLib import instancer

    font = TTFont(source)
    options = subset.Options(layout_features=FEATURES, hinting=False, notdef_outline=True)
    options.name_IDs = [0, 1, 2, 4, 6, 13, 14]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=map(ord, letters))
    cutter.subset(font)
    if "fvar" in font:
        variations = font["gvar"].variations
        for glyph in font.getGlyphOrder():  # a space has none, and fontTools asks for them
            if glyph not in variations:
                variations[glyph] = []
        instancer.instantiateVariableFont(font, {"wght": WEIGHTS}, inplace=True)
    if "MATH" in font:
        narrow(font, "√")
    kind = next(word for word in ("serif", "sans", "mono", "math") if word in target.stem)
    for record in font["name"].names:
        if record.nameID in (1, 4, 6):
            record.string = f"AnnotatedViT-{kind}"
    font.flavor = "woff2"
    font.save(target)


def main(npm: Path) -> None:
    """Cut all faces from npm's packages in this folder."""
    for name, folder in TEXT.items():
        cut(npm / "node_modules" / folder / f"{name}.woff2", FOLDER / f"{name}.woff2", LETTERS)
    name, path = FORMULAS
    cut(npm / "node_modules" / f"{path}.woff2", FOLDER / f"{name}.woff2", MATH)
    for path in sorted(FOLDER.glob("*.woff2")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
