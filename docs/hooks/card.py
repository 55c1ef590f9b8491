"""The card of letters and shapes: a fold in the strip of every lesson, and a part of the glossary.

What the letters mean is in mkdocs.yml. The shapes of one picture on its way are ViT-B/16's.
"""

from html import escape

from vit.config import ViTConfig


def shapes(config=None):
    """What one picture is at each stage, in letters and in numbers: the stages of `extra.card.stages`."""
    c = config or ViTConfig()
    (H, W), P, C, D = c.img_size, c.patch_size, c.in_chans, c.embed_dim
    N, T = c.num_patches, c.num_patches + c.num_prefix_tokens
    return [
        ("C, H, W", (C, H, W)),
        ("N, P²·C", (N, P * P * C)),
        ("N, D", (N, D)),
        ("N+1, D", (T, D)),
        ("h, N+1, d", (c.num_heads, T, D // c.num_heads)),
        ("h, N+1, N+1", (c.num_heads, T, T)),
        ("K", (c.num_classes,)),
    ]


def card(words):
    """Both tables as HTML. `words` are those of mkdocs.yml, `extra.card`."""
    letters = "".join(
        f"<dt>{letter}</dt><dd>{escape(text)}</dd>" for letter, text in words["letters"].items()
    )
    rows = "".join(
        f"<tr><td>{escape(stage)}</td><td>{kind}</td><td>{' × '.join(map(str, shape))}</td></tr>"
        for stage, (kind, shape) in zip(words["stages"], shapes(), strict=True)
    )
    return f'<div class="card"><dl>{letters}</dl><p>{escape(words["about"])}</p><table>{rows}</table></div>'
