"""Draw where a lesson is in the whole: the architecture of lesson 5 as SVG, each box a link to its lesson.

Two layouts of the same boxes, one for wide columns and one for phones; site.css shows one of them, and
colours both. Words come from mkdocs.yml. The picture stands on pages that are near their limit of weight, so
it has neither ids nor styles of its own, and numbers without a decimal.
"""

from html import escape

LAST = 7  # the last lesson that is a part of the picture; lesson 0 is all of it

# x, y, width, height of each box, by the number of its lesson. The block comes before what is inside it.
WIDE = {
    "size": (630, 116),
    "image": (2, 26),
    "boxes": {
        1: (56, 24, 72, 46),
        2: (140, 24, 92, 46),
        4: (244, 2, 202, 76),
        3: (254, 24, 86, 46),
        5: (458, 24, 84, 46),
        7: (554, 24, 74, 46),
        6: (56, 92, 486, 22),
    },
    "mlp": (354, 24, 82, 46),
    "arrows": ["M40 47H54", "M128 47H138", "M232 47H252", "M340 47H352", "M436 47H456", "M542 47H552"],
    "learns": ["M92 92V73", "M186 92V73", "M345 92V81", "M500 92V73"],
}
NARROW = {
    "size": (358, 196),
    "image": (2, 5),
    "boxes": {
        1: (58, 2, 110, 46),
        2: (186, 2, 170, 46),
        4: (2, 68, 200, 76),
        3: (12, 90, 84, 46),
        5: (216, 90, 64, 46),
        7: (296, 90, 60, 46),
        6: (2, 162, 288, 24),
    },
    "mlp": (110, 90, 82, 46),
    "arrows": ["M40 25H56", "M168 25H184", "M271 48v10H102v8", "M96 113H108", "M192 113H214", "M280 113H294"],
    "learns": ["M102 162V147", "M248 162V139"],
}


def picture(number, names, words):
    """The drawing for lesson `number`, as HTML; empty for a lesson that is not in it.

    Args:
        names: {number of a lesson: its name, which is the folder of its page}. A part without a lesson is
            no link.
        words: of mkdocs.yml, `extra.walk`.
    """
    if number > LAST:
        return ""
    drawn = "".join(draw(kind, layout, number, names, words) for kind, layout in LAYOUTS.items())
    return f'<nav class="walk" aria-label="{escape(words["label"])}">{drawn}</nav>'


LAYOUTS = {"wide": WIDE, "narrow": NARROW}


def draw(kind, layout, number, names, words):
    width, height = layout["size"]
    x, y = layout["image"]
    tip, up = "m-4-3 4 3-4 3", "m-3 4 3-4 3 4"
    lines = "".join(line + ("m-3-4 3 4 3-4" if "v" in line else tip) for line in layout["arrows"])
    lines += "".join(line + up for line in layout["learns"])
    grid = f"M{x} {y}h36v28h-36zM{x + 12} {y}v28m12 0v-28M{x} {y + 14}h36"
    out = [f'<path d="{grid}"/><text x="{x + 18}" y="{y + 41}" text-anchor="middle">{words["image"]}</text>']
    out += [box(part, place, number, names, words) for part, place in layout["boxes"].items()]
    x, y, w, h = layout["mlp"]
    out.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}"/>')
    out.append(f'<text x="{x + 8}" y="{y + 31}">{words["mlp"]}</text><path d="{lines}"/>')
    return f'<svg class="{kind}" viewBox="0 0 {width} {height}">{"".join(out)}</svg>'


def box(part, place, number, names, words):
    x, y, w, h = place
    lines = [escape(line) for line in words["parts"][part]]
    tall = h in (46, 76) and part != 4
    steps = [(x + 8, y + (28 if tall and len(lines) > 1 else 31)), (x + 8, y + 40)]
    if not tall:  # name and number in one line
        steps = [(x + 21, y + 15), (x + w - 8, y + 15)]
    body = f'<rect x="{x}" y="{y}" width="{w}" height="{h}"/>'
    body += f'<text x="{x + 8}" y="{y + 15}" class="n">{part}</text>'
    for i, ((left, base), line) in enumerate(zip(steps, lines, strict=False)):
        end = ' text-anchor="end"' if i and not tall else ""
        body += f'<text x="{left}" y="{base}"{end}>{line}</text>'
    here = (' class="on"' if number in (0, part) else "") + (' aria-current="page"' if number == part else "")
    if part not in names:
        return f"<g{here}>{body}</g>"
    return f'<a href="../{names[part]}/"{here} aria-label="{part}. {" ".join(lines)}">{body}</a>'
