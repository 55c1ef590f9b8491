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
#     number: 8
#     prerequisites: Lessons 2, 5 and 6
# ---

# %% [markdown]
# # Other resolutions and other tasks
#
# The model was trained on small pictures of ten classes. Now the pictures are larger, or the question is another one.
# Must you begin again?
#
# Mostly not, and that is why people share weights at all. But what you keep, what you replace and what you freeze are
# decisions, and each of them can go wrong without an error. So we make each decision in several ways, the wrong ones
# included, and measure.
#
# After it you can say what a larger picture changes in a model and what it costs, resize a position matrix and
# recognise one that was resized wrongly, put a new head on old features, choose between a linear probe, fine-tuning
# and a fresh start, and, in the folds, count the bytes that freezing saves.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import copy
import inspect
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from vit import create_model
from vit.analysis import position_similarity
from vit.config import get_config
from vit.cost import count_macs
from vit.data import Dataset, MemoryImages, photograph
from vit.data.shapes import CLASSES, draw
from vit.inference import load_classifier
from vit.model import VisionTransformer
from vit.plotting import (
    ACCENT,
    CYCLE,
    DIVERGING,
    FAINT,
    INK,
    WIDTH,
    bare,
    draw_image,
    draw_patch_grid,
    use_style,
)
from vit.positions import interpolate_positions, sincos_2d
from vit.results import measured
from vit.training import Recipe, Trainer, evaluate

torch.manual_seed(0)
use_style()

# %% [markdown] anchor="what-changes"
# ## What a larger picture changes
#
# Take ViT-B/16 at 224 pixels and at 640, on the device `meta`, where tensors have a shape and no contents. Which of
# its tensors differ?

# %%
with torch.device("meta"):
    small, large = create_model("vit_b_16"), create_model("vit_b_16", img_size=640)
pairs = list(zip(small.named_parameters(), large.parameters(), strict=True))
shapes = [(name, tuple(p.shape), tuple(q.shape)) for (name, p), q in pairs]
differ = [(name, p, q) for name, p, q in shapes if p != q]
print(f"{len(pairs)} tensors, {len(differ)} of another shape:", *differ)
assert [name for name, *_ in differ] == ["pos_embed"]

# %% [markdown]
# One. The patch projection sees a patch, the norms and MLPs see a token, and attention compares any number of tokens
# with the same three matrices. Only the matrix of positions has a row for every place.
#
# > **The paper.** “When feeding images of higher resolution, we keep the patch size the same, which results in a larger
# > effective sequence length. The Vision Transformer can handle arbitrary sequence lengths (up to memory constraints),
# > however, the pre-trained position embeddings may no longer be meaningful.” (section 3.2)
#
# So it *runs* at any size. What does it cost? From 224 to 640 pixels the number of patches grows by the same factor as
# the number of pixels. Most of the work is done token by token. The matrix of who looks at whom has two tokens in every
# entry. (We leave the class token out, so that the factors are exact.)

# %% jupyter={"source_hidden": true}
configs = [get_config("vit_b_16", img_size=side, class_token=False, global_pool="avg") for side in (224, 640)]
N, N_large = (c.num_patches for c in configs)
costs = [count_macs(c) for c in configs]
print(f"patches: {N} -> {N_large:,}, times {N_large / N:.1f}")
for part, before in costs[0].items():
    after = costs[1][part]
    print(f"{part:12} {before / 1e9:7.3f} -> {after / 1e9:7.3f} billion MACs, times {after / before:.1f}")
totals = [sum(cost.values()) for cost in costs]
print(
    f"{'all':12} {totals[0] / 1e9:7.3f} -> {totals[1] / 1e9:7.3f} billion MACs, times {totals[1] / totals[0]:.1f}"
)
squares = [4 * c.depth * c.num_heads * c.num_patches**2 for c in configs]  # bytes, as 32-bit floats
print(f"all N x N matrices of one picture: {squares[0] / 2**20:.0f} -> {squares[1] / 2**20:,.0f} MiB")
assert costs[1]["attn.scores"] / costs[0]["attn.scores"] == (N_large / N) ** 2
assert costs[1]["mlp"] / costs[0]["mlp"] == N_large / N

# %% alt="Left and middle: the cat under a grid of 14 by 14 patches and under a much finer grid of 40 by 40. Right: horizontal bars of the multiplications at 224 and at 640 pixels, for the weights and for the N by N matrices. At 224 the matrices are a sliver; at 640 they are about a quarter of a bar that is ten times as long." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.2), width_ratios=[1, 1, 1.25])
draw_patch_grid(axes[0], photograph("chelsea", 224), 16, title=f"224 pixels, {N} patches")
draw_image(axes[1], photograph("chelsea", 640), f"640 pixels, {N_large:,} patches")
for edge in range(0, 641, 16):
    axes[1].axvline(edge - 0.5, color="white", linewidth=0.3)
    axes[1].axhline(edge - 0.5, color="white", linewidth=0.3)
of_scores = [(cost["attn.scores"] + cost["attn.values"]) / 1e9 for cost in costs]
of_weights = [total / 1e9 - t for total, t in zip(totals, of_scores, strict=True)]
axes[2].barh([0, 1], of_weights, height=0.5, label="weights")
axes[2].barh([0, 1], of_scores, left=of_weights, height=0.5, color=ACCENT, label="N×N matrices")
axes[2].set_yticks([0, 1], [224, 640])
axes[2].set(xlabel="billion MACs per picture", ylim=(-0.5, 2.1))
axes[2].tick_params(axis="y", length=0)
axes[2].legend(loc="upper right", ncols=2, fontsize=7.5, columnspacing=1, handlelength=1.2)
plt.show()

# %% [markdown]
# What the weights do grows by the factor of the patches, the attention matrices by its square. Yet they started so
# small that they do not rule the total ([lesson 5](05_model.ipynb#larger-images) has the whole curve). Their memory is
# another matter, unless a fused kernel never writes them down ([lesson 3](03_attention.ipynb#two-paths)).

# %% [markdown] anchor="train-low"
# ## A model to enlarge
#
# To see what happens to the answers we need a trained model with *learned* positions. We make one while this page is
# being made. To have it quickly we take only the silhouettes of our drawn shapes: one channel, white on black. The
# pictures have 24 pixels a side, the patches 4, the grid is 6 × 6, and there is a class token. Later we shall show the
# model the same scenes at 48 pixels, drawn anew with finer detail.

# %% jupyter={"source_hidden": true}
LOW, HIGH, P = 24, 48, 4
options = {"embed_dim": 64, "depth": 3, "num_heads": 4, "in_chans": 1, "pos_embed": "learned"}
plain = {"flip": False, "pad": 0.0, "bf16": False}  # (1)!


def silhouettes(size, start, count):
    """What the shapes of these pictures cover, `(M, 1, S, S)` bytes, and which shapes they are."""
    index = torch.arange(start, start + count)
    masks = torch.cat([draw(part, size)[2] for part in index.split(500)])  # (M, S, S)
    return MemoryImages((255 * masks[:, None]).round().byte(), index % len(CLASSES))


def shadows(size, count):
    return Dataset("silhouettes", CLASSES, silhouettes(size, 10_000, count), silhouettes(size, 0, 400), None)


def learn(trainer):
    """Train to the end. Returns the model, and now and then (billions of MACs spent, validation accuracy)."""
    each, curve = sum(count_macs(trainer.model.config).values()) / 1e9, []
    while trainer.step < trainer.total:
        trainer.train_step()
        if trainer.step % (trainer.total // 5) == 0:
            accuracy = evaluate(trainer.model, trainer.val_images, trainer.preprocessing)["accuracy"]
            curve.append((trainer.step * trainer.batch * each, accuracy))
    return trainer.finished_model(), curve


low = shadows(LOW, 8000)
recipe = Recipe(img_size=LOW, epochs=6, batch_size=64, lr=3e-3, model_options=options, **plain)
model, low_curve = learn(Trainer(recipe, low))
preprocessing = low.preprocessing(LOW)
grid, D = model.config.grid_size, model.config.embed_dim
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, positions {tuple(model.pos_embed.shape)}")
print(f"{len(low.train):,} pictures, {recipe.epochs} times; validation accuracy {low_curve[-1][1]:.1%}")
assert low_curve[-1][1] > 0.65

# %% [markdown]
# 1. Plain 32-bit arithmetic, so that every processor gets a model that answers about as well.

# %% [markdown] anchor="resize"
# ## The matrix, resized by hand
#
# At 48 pixels the grid is 12 × 12. The model shall keep what it has learned about places. What
# is the resizing of a matrix?
#
# > **The paper.** “We therefore perform 2D interpolation of the pre-trained position embeddings, according to their
# > location in the original image.” (section 3.2)
#
# *According to their location* is the point. Lay the new patches over the old ones. The centre of new patch $i$ lies
# at $(i + \tfrac12)\,\frac{6}{12} - \tfrac12$, counted in old patches: a quarter of a patch left or right of an old
# centre. *Linear* interpolation mixes the two nearest old rows, three quarters of one and one quarter of the other.
# *Cubic* interpolation asks four, and gives the outer two a small negative weight, so that peaks are not flattened
# (Keys, 1981).


# %%
def linear(x):
    return (1 - x.abs()).clamp(min=0)


def cubic(x):
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1  # for x < 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2  # for 1 < x < 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def mixing(old, new, kernel):
    """How much of each old place is in each new one, `(new, old)`."""
    centre = (torch.arange(new) + 0.5) * old / new - 0.5  # (new,)
    weights = kernel((centre[:, None] - torch.arange(old)) / max(old / new, 1))  # (1)!
    return weights / weights.sum(dim=1, keepdim=True)


print("new place 4 of 12 is made of old places 0 to 5 by")
for kernel in (linear, cubic):
    row = mixing(6, 12, kernel)[4].tolist()
    print(f"  {kernel.__name__:7}", "  ".join(f"{w:7.4f}" for w in row))

# %% [markdown]
# 1. When the new grid is *smaller*, the kernel is stretched, so that every old row is heard. That is what
#    `antialias=True` means. PyTorch also chooses the kernel by it: with it the cubic above, and weights that sum to 1
#    at the border; without it a steeper cubic that repeats the border, also where it enlarges.

# %% [markdown]
# Rows and columns are treated alike and one after the other. So the new positions are the old ones with a matrix on
# either side, for each of its $D$ components. The class token's row has no place in the picture. It is set aside and
# put back.


# %%
def resize(matrix, new, kernel=cubic):
    """A matrix `(1, 1 + gh·gw, D)` of the model's grid for a grid `new`."""
    gh, gw = grid
    image = matrix[0, 1:].reshape(gh, gw, -1)  # (gh, gw, D)
    rows = mixing(gh, new[0], kernel)  # (gh', gh)
    columns = mixing(gw, new[1], kernel)  # (gw', gw)
    image = torch.einsum("ij,kl,jld->ikd", rows, columns, image)  # (gh', gw', D)
    return torch.cat([matrix[:, :1], image.reshape(1, -1, matrix.shape[2])], dim=1)


learned = model.pos_embed.detach()
for new in ((12, 12), (9, 15), (4, 4)):  # larger, not square, smaller
    assert_close(resize(learned, new), interpolate_positions(learned, grid, new))
image = learned[:, 1:].mT.unflatten(2, grid)  # (1, D, 6, 6)
bilinear = F.interpolate(image, size=(12, 12), mode="bilinear")  # (1, D, 12, 12)
bilinear = bilinear.flatten(2).mT  # (1, 144, D)
assert_close(resize(learned, (12, 12), linear)[:, 1:], bilinear)
print("by hand = vit.positions.interpolate_positions, for three grids")

# %% alt="Four maps of similarity for one place, marked by a dot. In the 6 by 6 matrix and in the interpolated 12 by 12 matrix the brightest region lies around the dot. With the class row taken for a patch it lies two places further right. Resized along the sequence it is a horizontal streak." jupyter={"source_hidden": true}
new, (row, column) = (12, 12), (6, 6)
larger = resize(learned, new)
shifted = interpolate_positions(learned[:, :-1], grid, new, num_prefix_tokens=0)  # class row and 35 patches
streaked = F.interpolate(learned[:, 1:].mT, size=144, mode="linear").mT
unit = F.normalize(larger[0, 1:], dim=1)  # (144, D)
place = unit[12 * row + column]
maps = {
    "6 × 6, learned": position_similarity(learned, grid).tiles[row // 2, column // 2],
    "interpolated": (unit @ place).reshape(new),
    "class row as a patch": (F.normalize(shifted[0], dim=1) @ place).reshape(new),
    "along the sequence": (F.normalize(streaked[0], dim=1) @ place).reshape(new),
}
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.0))
for ax, (name, values) in zip(axes, maps.items(), strict=True):
    artist = bare(ax, name).imshow(values, vmin=-0.5, vmax=1)
    half = len(values) // 2
    ax.plot(half, half, "o", color="white", markeredgecolor=ACCENT, markersize=4)
figure.colorbar(artist, ax=axes, shrink=0.85, pad=0.02)
plt.show()
found = divmod(maps["class row as a patch"].argmax().item(), 12)
print(
    f"row {row}, column {column} of the right matrix is found at row {found[0]}, column {found[1]} of the third"
)
assert found != (row, column)
assert maps["interpolated"][row, column + 1] > maps["interpolated"][row, 0]

# %% [markdown]
# The first map is the matrix that our small model has learned, seen from one place: what lies near is alike, more or
# less, after so short a training. The second keeps this. The other two are the mistakes that one meets most. The
# class row was not set aside, so that every patch gets the row of its neighbour; and the matrix was resized along
# the list, where the end of one line lies next to the beginning of the next.
#
# In the package a model does this to itself. That the new matrix is a new parameter matters later, when an optimiser
# has the old one in its list.

# %%
print(inspect.getsource(VisionTransformer.set_input_size))

# %% [markdown] anchor="other-grid" tags=["deeper"]
# ### The same in other libraries
#
# The package's function, whole, and timm's, which gives the same numbers:

# %%
import warnings

with warnings.catch_warnings(action="ignore"):  # a dependency of timm's remarks
    from timm.layers import resample_abs_pos_embed

print(inspect.getsource(interpolate_positions))
theirs = resample_abs_pos_embed(learned, [12, 12], [6, 6])
assert_close(interpolate_positions(learned, grid, (12, 12)), theirs, rtol=0, atol=1e-5)
assert interpolate_positions(learned, grid, grid) is learned  # nothing to do

# %% [markdown]
# Not everybody resizes so. torchvision puts corners on corners, DINOv2 takes plain bicubic. And DINOv2's own code gave
# `F.interpolate` not a size but a *factor*, with 0.1 added to the new side, so that rounding could not lose a
# row. The factor is then also used for where the places lie:

# %%
rounded = F.interpolate(image, scale_factor=12.1 / 6, mode="bicubic")  # (1, D, 12, 12)
exact = F.interpolate(image, size=(12, 12), mode="bicubic")
scale = (torch.arange(12) + 0.5) * (6 / 12 - 6 / 12.1)  # how far a place is off
print(f"a grid of {tuple(rounded.shape[2:])},", end=" ")
print(f"off by {scale[0]:.3f} to {scale[-1]:.3f} old patches")
off = (rounded - exact).norm(dim=1)[0] / exact.norm(dim=1)[0]  # (12, 12)
print(f"difference: upper left {off[0, 0]:.1%}, lower right {off[-1, -1]:.1%}")
assert scale[-1] > scale[0] > 0

# %% [markdown]
# The matrix is shifted by a hair, most at the lower right. To reproduce such a model to the last digit one has to make
# the same mistake. Whether it costs accuracy is a question for the model at hand; we did not find a model here that
# would notice.
#
# A second trap is the class token. How many rows has a matrix of 65? An 8 × 8 grid and a class token, or 5 × 13 without
# one? A file of weights does not say, and both run:

# %%
rows = torch.randn(1, 65, 16)
square = interpolate_positions(rows, (8, 8), (16, 16), num_prefix_tokens=1)
wide = interpolate_positions(rows, (5, 13), (10, 26), num_prefix_tokens=0)
print("65 rows:", tuple(square.shape), "or", tuple(wide.shape))
print("144 rows: 12 × 12, 9 × 16 or 8 × 18; whoever guesses a square is often right")

# %% [markdown]
# So the grid and the number of prefix tokens belong to the model and are never guessed from the count: here they stand
# in `ViTConfig`.
#
# What does the resizing do to a matrix of waves? One column, before and after, and what the formula gives for the new
# grid:

# %% alt="Three maps with vertical red and blue bands. The 14 by 14 map shows a little over two waves; the interpolated 24 by 24 map as many, smoother; the map computed anew at 24 by 24 nearly four." jupyter={"source_hidden": true}
fastest = 384
wave = sincos_2d((14, 14), 768)
stretched_wave = interpolate_positions(wave[None], (14, 14), (24, 24), num_prefix_tokens=0)[0]
figure, axes = plt.subplots(1, 3, figsize=(WIDTH * 0.9, 2.3))
for ax, values, title in (
    (axes[0], wave, "14 × 14"),
    (axes[1], stretched_wave, "interpolated, 24 × 24"),
    (axes[2], sincos_2d((24, 24), 768), "computed, 24 × 24"),
):
    side = round(len(values) ** 0.5)
    bare(ax, title).imshow(values[:, fastest].reshape(side, side), cmap=DIVERGING, vmin=-1, vmax=1)
plt.show()

# %% [markdown]
# Interpolation stretches the pattern: the middle of the picture keeps the vector of the middle. Computing anew keeps
# the *step*: one patch to the right is the same turn as before. The next section asks a model which it prefers.

# %% [markdown] anchor="wrong"
# ## Seven matrices for one model
#
# Does it matter to the answers? Our small model will have troubles of another kind at 48 pixels, so we ask the
# shipped `shapes` model first. It was trained at 32 pixels. Its matrix is made of sine waves and not learned, but once
# it is made it is a matrix like any other. We give the model pictures of 48 pixels, the same scenes drawn finer, and
# seven matrices for 12 × 12 places. All seven have the right shape. None raises an error.

# %%
shipped = load_classifier("shapes")
model_32, waves = shipped.model, shipped.model.pos_embed  # (1, 64, 128): no class token
new, ask = (12, 12), 128
scenes, truth, _ = draw(torch.arange(ask), HIGH)
scenes = shipped.preprocessing.normalise(scenes)
anew = copy.deepcopy(model_32)
anew.set_input_size(HIGH, recompute=True)  # (1)!
right = interpolate_positions(waves, (8, 8), new, num_prefix_tokens=0)
matrices = {
    "interpolated": right,
    "waves computed anew": anew.pos_embed,
    "resized along the sequence": F.interpolate(waves.mT, size=144, mode="linear").mT,
    "rows and columns swapped": right.unflatten(1, new).transpose(1, 2).flatten(1, 2),
    "old rows, over and over": waves.repeat(1, 3, 1)[:, :144],
    "old rows, then zeros": F.pad(waves, (0, 0, 0, 144 - waves.shape[1])),
    "no positions at all": torch.zeros_like(right),
}

# %% [markdown]
# 1. Left to itself, `set_input_size` interpolates, also a matrix made of waves. Asked to, it computes the matrix of the
#    larger grid.


# %% jupyter={"source_hidden": true} predict="Seven matrices of the right shape. With how many of them does the model still answer?"
@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    logits = torch.cat([model(part) for part in x.split(250)])
    return (logits.argmax(1) == y).float().mean().item()


def with_positions(matrix):
    other = copy.deepcopy(anew)
    other.pos_embed = matrix
    return other


by_itself = copy.deepcopy(model_32)
by_itself.set_input_size(HIGH)
assert_close(by_itself.pos_embed, right)
scores = {name: accuracy(with_positions(matrix), scenes, truth) for name, matrix in matrices.items()}
for name, score in scores.items():
    print(f"{name:27} {score:6.1%}")
assert scores["interpolated"] > 0.9
assert max(score for name, score in scores.items() if name != "interpolated") < 0.65
assert scores["no positions at all"] < 0.3

# %% alt="Seven rows, one for each matrix. On the left three small 12 by 12 similarity maps for three places, the place itself marked; on the right a bar for the accuracy. Interpolated: bright around the place, a bar near 100 percent. Computed anew: bright nearer to the upper left corner, a bar about half as long. Along the sequence: streaks. Swapped: bright at the mirrored place. Over and over: broken stripes. Zeros: empty below. No positions: empty. The last five bars are short, near the dashed line of chance at 10 percent." jupyter={"source_hidden": true}
figure = plt.figure(figsize=(WIDTH, 4.6))
cells = figure.add_gridspec(len(matrices), 4, width_ratios=[0.09, 0.09, 0.09, 1])
bars = figure.add_subplot(cells[:, 3])
unit = F.normalize(right[0], dim=1)  # (144, D)
for i, (name, matrix) in enumerate(matrices.items()):
    maps = (
        unit @ F.normalize(matrix[0], dim=1).T
    )  # (144, 144): what the model was used to, against what it gets
    for j, (r, c) in enumerate(((2, 2), (5, 8), (10, 4))):
        ax = bare(figure.add_subplot(cells[i, j]))
        ax.imshow(maps[12 * r + c].reshape(new), vmin=0.5, vmax=1)
        ax.plot(c, r, "o", color="white", markeredgecolor=ACCENT, markersize=3.5)
    bars.barh(i, 100 * scores[name], color=CYCLE[0] if i == 0 else FAINT, height=0.55)
    bars.text(max(100 * scores[name], 10) + 1.5, i, f"{scores[name]:.0%}", va="center", fontsize=8.5)
bars.axvline(10, color=INK, linewidth=1, linestyle="--")
bars.set_yticks(range(len(matrices)), matrices)
bars.tick_params(axis="y", length=0)
bars.set(xlim=(0, 108), ylim=(len(matrices) - 0.5, -0.5), xlabel="accuracy at 48 pixels, %")
plt.show()

# %% [markdown]
# Each small map answers one question. The dot marks a place, and the model is used to a certain row of numbers there,
# that of the right matrix. Where in the matrix at hand are rows like it? With the right matrix, at the place itself and
# around it. Swapped, on the other side of the diagonal. Along the sequence, the end of each line runs into the
# beginning of the next. Among zeros, nowhere.
#
# Interpolated, the model is as good as at its own size: nothing was trained, and it has more than twice the patches.
# Most of the others are near chance. The second row is a surprise. Waves computed anew are a perfect matrix of
# positions, and yet more than half of the accuracy is gone. Computed anew, one patch to the right is the same step as
# before. So the middle of the large picture gets the vector that used to mean *near the lower right corner*, and beyond
# it come vectors that the model has never met. What it has learned is where things lie *in the picture*. Interpolation
# keeps that.
#
# > **Common mistake.** Believing that a formula needs no interpolation. It can be computed for any grid, and the model
# > has learned its values on one. `recompute=True` is right before training, and only then. (In an earlier version of
# > this package `set_input_size` made this very mistake.)

# %% [markdown] anchor="larger-helps" tags=["deeper"]
# ## Do larger pictures help?
#
# More pixels hold more detail. Here are three silhouettes at 24 pixels, the same enlarged to 48, and drawn at 48.

# %% alt="A star, a heart and a ring, each three times: at 24 pixels with visible steps along the edges, enlarged to 48 with blurred edges, and drawn at 48 with sharp edges." jupyter={"source_hidden": true}
high = shadows(HIGH, 1920)
zoomed = F.interpolate(low.val.images[:10] / 255, (HIGH, HIGH), mode="bicubic", antialias=True).clamp(0, 1)
figure, axes = plt.subplots(1, 9, figsize=(WIDTH, 1.0))
for group, k in zip(axes.reshape(3, 3), (7, 8, 1), strict=True):
    pictures = (low.val.images[k] / 255, zoomed[k], high.val.images[k] / 255)
    for ax, picture, title in zip(group, pictures, ("24", "24 → 48", "48"), strict=True):
        draw_image(ax, picture, title)
plt.show()

# %% [markdown]
# Enlarging adds pixels and no detail. Only what was *there* in finer form, a photograph in full size for instance,
# brings any. Does a model that was trained on small pictures make use of it? We ask both models at several sizes,
# always with interpolated positions, and the shipped one also with waves computed anew.


# %%
def at_size(size):
    """Our small model for another size of picture, its learned matrix interpolated."""
    other = copy.deepcopy(model)
    other.set_input_size(size)
    return other


sizes, wave_sizes = (16, 20, 24, 28, 32, 40, 48), (16, 24, 32, 40, 48)
by_size = {"drawn at that size": [], "24 pixels, resized": []}
for size in sizes:
    drawn = silhouettes(size, 0, 300)
    old = low.val.images[:300] / 255
    resized = F.interpolate(old, (size, size), mode="bicubic", antialias=True)
    resized = resized.clamp(0, 1)
    for name, pictures in zip(by_size, (drawn.images / 255, resized), strict=True):
        pictures = preprocessing.normalise(pictures)
        by_size[name].append(accuracy(at_size(size), pictures, drawn.labels))
by_waves = {"interpolated": [], "computed anew": []}
for size in wave_sizes:
    pictures, answers, _ = draw(torch.arange(ask), size)
    anew.set_input_size(size, recompute=True)
    pictures = shipped.preprocessing.normalise(pictures)
    resized = interpolate_positions(waves, (8, 8), anew.config.grid_size, 0)
    for name, matrix in zip(by_waves, (resized, anew.pos_embed), strict=True):
        by_waves[name].append(accuracy(with_positions(matrix), pictures, answers))
finer = by_size["drawn at that size"]
own, largest = finer[sizes.index(LOW)], finer[-1]
print(f"the small model, {LOW} pixels: {own:.1%}; {HIGH} pixels: {largest:.1%}")
assert largest < own - 0.2
assert by_waves["interpolated"][-1] > by_waves["computed anew"][-1] + 0.2

# %% alt="Two panels of accuracy over the side of the picture. Left, the small model: both curves peak at 24 pixels, marked by a dotted line, and fall on both sides; at 48 pixels most of it is lost, a little less for the resized pictures. Right, the shipped model: with interpolated positions the curve is nearly flat from 24 to 48 pixels; with positions computed anew it peaks at 32 and falls on both sides." jupyter={"source_hidden": true}
figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.6), sharey=True)
for ax, values, sides, home, title in (
    (panels[0], by_size, sizes, LOW, "small model, learned positions"),
    (panels[1], by_waves, wave_sizes, 32, "shipped model, waves"),
):
    for (name, line), style in zip(values.items(), ("o-", "s--"), strict=True):
        ax.plot(sides, [100 * v for v in line], style, label=name, markersize=4.5)
    ax.axvline(home, color=FAINT, linewidth=1.2, linestyle=":")
    ax.axhline(10, color=INK, linewidth=1, linestyle="--")
    ax.set(xlabel="side of the picture, pixels", xticks=sides, ylim=(0, 103), title=title)
panels[0].legend(loc="upper right", fontsize=7.5)
panels[1].legend(loc="lower left", bbox_to_anchor=(0.53, 0.1), fontsize=7.5)
panels[0].set_ylabel("accuracy, %")
plt.show()

# %% [markdown]
# (At 24 pixels the small model is asked about the first 300 of its validation pictures, hence another number than
# above.) Neither profits. The shipped model keeps what it has, and that is the best case. The small one loses nearly
# all of it, although its positions are interpolated as they should be. Why? We do not know. Its patches still measure 4
# pixels, and what they show has become twice as large: an edge where there used to be a corner. There are also four
# times as many tokens to attend to. The blurred enlargements are a little easier for it than the sharp drawings, but
# that decides nothing between the two, and the shipped model is spared although both hold for it, too.
#
# The effect has a name in larger models, too, the train-test resolution discrepancy. It is worst where training shows
# objects in one size and testing in another:
#
# > **Touvron et al. (2019).** “[E]xisting augmentations induce a significant discrepancy between the size of the
# > objects seen by the classifier at train and test time: in fact, a lower train resolution improves the
# > classification at test time!” (abstract of the paper at NeurIPS)
#
# So why is the shipped model so much sturdier? It averages all patches instead of asking one token, it has seen
# textures and clutter of many sizes, it is larger, and it has learned more. We changed all of these at once, so this
# lesson cannot say which of them it is.

# %% [markdown] anchor="fine-tune-high"
# ## A few steps at the new size
#
# Enlarged, its positions interpolated as they should be, the small model answers badly at 48 pixels ([the fold
# above](#larger-helps) measures it and does not find the reason). So it must be trained again there. From the
# beginning? We enlarge it and go on for 60 steps. For comparison other models began at 48 pixels, one for each seed,
# with the same pictures, batch and learning rate, three times as many steps, and a little more than half of the
# multiplications that the first has had in both its lives. Watching them teaches nothing, so they were trained before
# (`benchmarks/resolution.py`). Compare the curves where they lie above each other. One rate: it is no contest between
# the two ways at their best.

# %%
tune = replace(recipe, img_size=HIGH, epochs=1, batch_size=32, lr=1e-3)
tuned, tuned_curve = learn(Trainer(tune, high, model=at_size(HIGH)))
starts = measured("resolution")
assert Recipe(**starts["recipe"]) == replace(tune, epochs=3)
scratch_curves = [case["at 48"] for case in starts["cases"].values()]
low_end = low_curve[-1][0]
ratio = sum(count_macs(tuned.config).values()) / sum(count_macs(model.config).values())
print(f"a picture at {HIGH} pixels costs {ratio:.1f} times one at {LOW}")
for name, curves in (("enlarged", [tuned_curve]), ("from the start", scratch_curves)):
    macs = curves[0][-1][0]
    reached = " and ".join(f"{curve[-1][1]:.1%}" for curve in curves)
    print(f"at {HIGH} pixels, {name}: {reached} after {macs:.0f} billion MACs")
print(f"before that at {LOW} pixels: {low_end:.0f} billion MACs")
print(f"enlarged, and not trained at {HIGH}: {largest:.1%}")
assert tuned_curve[-1][1] > largest + 0.3
assert tuned_curve[-1][1] > max(curve[-1][1] for curve in scratch_curves) + 0.1

# %% alt="Accuracy over billions of multiplications. A grey curve for training at 24 pixels rises from chance to above 80 percent. Where it ends, a blue curve for the enlarged model starts far below and climbs back steeply to about the same height. Orange curves, one for each seed, for training at 48 pixels from the start stay far below the grey one and end halfway." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.85, 2.8))
after = [(low_end + macs, score) for macs, score in tuned_curve]
for name, curve, color in (
    ("trained at 24, asked at 24", [(0, 0.1), *low_curve], FAINT),
    ("then trained at 48, asked at 48", [(low_end, largest), *after], CYCLE[0]),
    *(("trained at 48 from the start", [(0, 0.1), *curve], ACCENT) for curve in scratch_curves),
):
    known = name in ax.get_legend_handles_labels()[1]
    label = None if known else name
    ax.plot([macs for macs, _ in curve], [100 * score for _, score in curve], ".-", color=color, label=label)
ax.axhline(10, color=INK, linewidth=1, linestyle="--")
ax.set(xlabel="billions of MACs in forward passes", ylabel="accuracy, %", ylim=(0, 100))
ax.legend(loc="lower left", bbox_to_anchor=(0.27, 0.2), fontsize=8)
plt.show()

# %% [markdown]
# A few steps repair most of what enlarging had broken. Large pictures from the start, with these settings, have hardly
# begun to learn where their curve ends. That says that enlarging is cheap, and nothing about how well such a start
# would do with many more steps. The recipe that made our CIFAR-10 model uses this: the first part of its training sees
# smaller pictures ([lesson 6](06_training.ipynb#cifar10)).
#
# And the gain from detail? After so few steps there is none: the model is no better than it was at 24 pixels. These
# ten outlines can be told apart at 24 pixels, so there is less to gain. The paper, with photographs, found more:
#
# > **The paper.** “It is often beneficial to fine-tune at higher resolution than pre-training”. (section 3.2)

# %% [markdown] anchor="new-head"
# ## A new head
#
# So much for another size. Now another question. The shapes were drawn upright, or nearly so. Suppose that your camera
# lies on its side. The outlines are the same ten, the pictures are not.

# %% alt="Two rows of ten white silhouettes on black, circle to arrow. Above upright, below the same pictures turned by a quarter: the heart lies on its side and the bar stands upright." jupyter={"source_hidden": true}
POOL, FRESH = 1000, 1000  # pictures to learn from, and to judge by
drawn = silhouettes(LOW, 50_000, POOL + FRESH)
turned = drawn.images.rot90(1, dims=(2, 3))
x, y = preprocessing.normalise(turned), drawn.labels  # (2000, 1, 24, 24), (2000,)
figure, axes = plt.subplots(2, 10, figsize=(WIDTH, 1.75))
for k, name in enumerate(CLASSES):
    draw_image(axes[0, k], drawn.images[k] / 255, name).title.set_fontsize(8)
    draw_image(axes[1, k], turned[k] / 255)
plt.show()
upright = accuracy(model, preprocessing.normalise(drawn.images[POOL:]), y[POOL:])
lying = accuracy(model, x[POOL:], y[POOL:])
print(f"the model as it is: upright {upright:.1%}, on their side {lying:.1%}")
assert lying < upright - 0.1

# %% [markdown]
# The old answers are right about half of the time, since a circle on its side is a circle. For the rest the model
# needs a new head. Here the classes have the same names as before; in general even their number is another.
#
# > **The paper.** “[W]e remove the pre-trained prediction head and attach a zero-initialized $D \times K$ feedforward
# > layer, where $K$ is the number of downstream classes.” (section 3.2)
#
# Why zeros?


# %%
def with_new_head(model, num_classes):
    """A copy of the model with a zero-initialised head for so many classes."""
    other = copy.deepcopy(model)
    other.config = replace(model.config, num_classes=num_classes)
    other.head = nn.Linear(model.config.embed_dim, num_classes)
    nn.init.zeros_(other.head.weight)
    nn.init.zeros_(other.head.bias)
    return other


K = len(CLASSES)
fresh = with_new_head(model, K)
loss = F.cross_entropy(fresh(x[:64]), y[:64])
loss.backward()
moving = [name for name, p in fresh.named_parameters() if p.grad.abs().max() > 0]
print(f"loss {loss:.4f}, ln 10 = {math.log(10):.4f}; tensors with a gradient: {moving}")
assert_close(loss.item(), math.log(10))
assert moving == ["head.weight", "head.bias"]

# %% [markdown]
# The same probability $1/K$ for every class, whatever the picture: the loss begins at exactly $\ln K$. And the gradient
# reaches the encoder through the head's weights. They are zero, so the first step moves nothing but the head. A head of
# noise would begin by pushing the old features in random directions.

# %% [markdown] anchor="three-ways"
# ## Probe, fine-tune, or begin again
#
# What can be done with labelled pictures of the new kind? A **linear probe** freezes the encoder, computes the feature
# of each picture once, and fits the head alone. **Fine-tuning** trains everything, from the old weights on. **From
# scratch** trains everything, from noise.
#
# A probe needs no optimiser. Ask for the matrix that takes features to 1 for the right class and −1 for the others
# with the smallest squared error. There is a formula for it.
#
# > **The paper.** “Few-shot accuracies are obtained by solving a regularized least-squares regression problem that
# > maps the (frozen) representation of a subset of training images to $\{-1, 1\}^K$ target vectors.” (section 4.1)
#
# With $n$ features in the rows of $\mathbf{F}$ and the targets in those of $\mathbf{T}$, both centred, it is
# $\mathbf{W} = (\mathbf{F}^\top\mathbf{F} + \lambda n \mathbf{I})^{-1}\,\mathbf{F}^\top\mathbf{T}$. The small number
# $\lambda$ (`ridge` in the code) keeps the weights small; it makes the problem “regularized”.


# %% jupyter={"source_hidden": true}
@torch.no_grad()
def features(model, x):
    """What the head would read, `(B, D)`."""
    model.eval()
    return torch.cat(
        [model.forward_head(model.forward_features(part), pre_logits=True) for part in x.split(250)]
    )


def with_probe(model, weight, bias):
    """A copy of the model with this head."""
    other = with_new_head(model, len(bias))
    with torch.no_grad():
        other.head.weight.copy_(weight)
        other.head.bias.copy_(bias)
    return other


# %%
def probe(f, y, ridge=1e-3):
    """A head, `(K, D)` and `(K,)`, by least squares from features `(n, D)` to ±1."""
    targets = 2.0 * F.one_hot(y, K) - 1  # (n, K)
    f_mean, t_mean = f.mean(0), targets.mean(0)
    f, targets = f - f_mean, targets - t_mean
    penalty = ridge * len(f) * torch.eye(f.shape[1])
    W = torch.linalg.solve(f.T @ f + penalty, f.T @ targets)  # (D, K)
    return W.T, t_mean - f_mean @ W


f = features(model, x)  # (2000, D), once and for all
weight, bias = probe(f[:POOL], y[:POOL])
probed = with_probe(model, weight, bias)
with torch.no_grad():
    assert_close(probed(x[:8]), f[:8] @ weight.T + bias, rtol=1e-3, atol=1e-3)
print("features", tuple(f.shape), "-> head", tuple(weight.shape))
print(f"a probe on {POOL:,} labels: {accuracy(probed, x[POOL:], y[POOL:]):.1%}")

# %% [markdown]
# For fine-tuning we follow the paper as far as a small machine allows.
#
# > **The paper.** “We fine-tune all ViT models using SGD with a momentum of 0.9.” (appendix B.1.1) “All models are
# > fine-tuned with cosine learning rate decay, a batch size of 512, no weight decay, and grad clipping at global norm
# > 1.” (Table 4)


# %% jupyter={"source_hidden": true}
def train_on(model, x, y, lr, steps=80, batch=32, seed=0):
    """Train a copy of the model on these pictures, with a cosine from `lr` to 0."""
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g = torch.Generator().manual_seed(seed)
    rounds = -(-steps * batch // len(y))
    order = torch.cat([torch.randperm(len(y), generator=g) for _ in range(rounds)])  # (1)!
    for index in order[: steps * batch].split(batch):
        loss = F.cross_entropy(model(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


# %% [markdown]
# 1. Every picture once, in a random order, then every picture again, in another.

# %% [markdown]
# Where do we depart? The batch is 32, for we have only a thousand pictures, and there are eighty steps. The size stays
# the same here, and so does the old normalisation: the encoder was fitted to it. Each way has a learning rate of its
# own, tried once. *From scratch* gets AdamW, because SGD would be a handicap there, and eighty steps as well. As eighty
# steps are no training from noise, it is run a second time with ten times as many. These runs, too, were made before,
# by the same script, one for each seed.
#
# There is a fourth way. Kumar et al. (2022) noticed that a new head does damage while it is still bad: the encoder
# is already trained to please it. So they fit the head first, by a probe, and fine-tune afterwards.

# %% jupyter={"source_hidden": true} predict="Fifty labels: probe, fine-tuning, or the old model as it is?"
labels = (50, 200, 1000)
results = {name: {} for name in ("linear probe", "fine-tuned", "probe, then fine-tuned", "from scratch")}
for n in labels:
    runs = {name: [] for name in results}
    for seed in (0, 1) if n < POOL else (0,):
        chosen = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))[:n]
        pictures, answers = x[chosen], y[chosen]
        weight, bias = probe(f[chosen], answers)
        head = with_probe(model, 4 * weight, 4 * bias)  # (1)!
        runs["linear probe"].append(head)
        tuned_head = train_on(with_new_head(model, K), pictures, answers, 0.05, seed=seed)
        runs["fine-tuned"].append(tuned_head)
        runs["probe, then fine-tuned"].append(train_on(head, pictures, answers, 0.02, seed=seed))
    for name, finished in runs.items():
        results[name][n] = [accuracy(one, x[POOL:], y[POOL:]) for one in finished]
for name in starts["steps"]:  # 80 steps, and ten times as many
    results[name] = {POOL: [case[name] for case in starts["cases"].values()]}
for name, values in results.items():
    shares = (f"{n:,} labels {sum(v) / len(v):.1%}" for n, v in values.items())
    print(f"{name:30}", "   ".join(shares))
most = {name: sum(values[POOL]) / len(values[POOL]) for name, values in results.items()}
assert most["probe, then fine-tuned"] > max(most["linear probe"] - 0.01, most["fine-tuned"] + 0.02)
assert most["linear probe"] > most["from scratch"] + 0.15
assert most["from scratch, 10 times longer"] > most["from scratch"]

# %% [markdown]
# 1. The probe's answers lie between −1 and 1, which is faint for logits. The factor changes no answer, only how sure
#    it sounds to the cross-entropy.

# %% alt="Accuracy over 50, 200 and 1,000 labelled pictures on a logarithmic axis. Three curves that start from the old weights rise from about 50 percent; at the right end probe, then fine-tuned is highest, then the linear probe, then fine-tuned. Two single marks at 1,000 labels are for from scratch: after eighty steps near 20, after ten times as many among the others. A dotted line for the model as it is lies at the height of the left ends; a dashed line marks chance at 10 percent." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH, 2.9))
for i, ((name, values), marker) in enumerate(zip(results.items(), "os^vD", strict=True)):
    middle = torch.tensor([100 * sum(v) / len(v) for v in values.values()])
    ends = torch.tensor([[100 * min(v), 100 * max(v)] for v in values.values()]).T  # (2, sizes)
    error = (ends - middle).abs()
    style = {"color": CYCLE[i], "label": name, "capsize": 3, "markersize": 5}
    ax.errorbar(list(values), middle, error, fmt=f"{marker}-", **style)
ax.axhline(100 * lying, color=FAINT, linewidth=1.4, linestyle=":", label="the model as it is")
ax.axhline(10, color=INK, linewidth=1, linestyle="--", label="chance")
ax.set(xscale="log", xlabel="labelled pictures", ylabel="accuracy, %", ylim=(0, 100))
ax.set_xticks(labels, labels)
ax.minorticks_off()
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# The bars reach from the worse of two draws of labels to the better; with all thousand there is only one draw, and the
# fresh starts differ in their seeds. At eighty steps the fresh start is nowhere. An earlier version of this lesson
# stopped there, and that was a straw man: ten times as many steps, on the same thousand pictures, bring it to where
# plain fine-tuning is. With all the labels, then, a good part of what the old weights save in this task is steps.
#
# With fifty labels nothing is clearly better than the old model that has seen none; its ten names still fit. With more
# the choice matters. The probe takes a moment and does well. Plain fine-tuning does not reach it in eighty steps,
# because a good part of these went into finding the head that the probe has from a formula. Starting from
# that head, fine-tuning can do what no head can, since it changes the features. In eighty steps that adds a little.
#
# > **Kumar et al. (2022).** “[T]he easy two-step strategy of linear probing then full fine-tuning (LP-FT) […] combines
# > the benefits of both fine-tuning and linear probing.” (abstract)
#
# Do not take more from this figure than is in it: one small model, one new task close to the old one, eighty steps.
# With many more steps and labels fine-tuning usually ends ahead of a probe on pictures of the same kind, as Kumar et
# al. say, too; on pictures of another kind they found it behind. And when the new question is far from the old one, a
# probe can be of less use (exercise 2).

# %% [markdown] anchor="few-photographs"
# ## A real model and few photographs
#
# Drawn shapes flatter the model that was trained on them. What is it worth to have features of a *real* model, and only
# a handful of photographs? No set of photographs comes with this course. So we make one: six photographs are six
# classes, and the question is which of them a square was cut from. Squares of the left half are for learning, squares
# of the right half for judging. Features of DINOv2's ViT-S/14 (class token and mean of patches; [lesson
# 9](09_what_it_learns.ipynb#twin) says what it is and where it comes from) stand beside those of our CIFAR-10 model, of
# DINOv2 with random weights, and plain pixels. The probe is the one from above.

# %% jupyter={"source_hidden": true} predict="With one crop of each photograph: which features do best?"
crops = measured("real_model")["probe"]
print(f"right, in percent: {len(crops['classes'])} classes, mean of 3 draws (worst to best)")
print(f"{'':32}" + "".join(f"{n + ' of each':>20}" for n in crops["scores"]))
ways = dict.fromkeys(way for scores in crops["scores"].values() for way in scores)
for way in ways:
    row = f"{way:32}"
    for scores in crops["scores"].values():
        v = [100 * s for s in scores.get(way, [])]
        row += f"{f'{sum(v) / len(v):.0f} ({min(v):.0f} to {max(v):.0f})' if v else '':>20}"
    print(row)
print(f"from scratch: {crops['steps']} steps on crops of 32 pixels, mirrored at random")

# %% [markdown] tags=["answer"]
# With one crop of each, our little CIFAR-10 model has the highest mean, in a range that overlaps that of random
# weights, and the famous features are below both. With three it is clearly ahead. With ten the famous ones lead the
# probes, and a small ViT from scratch, which learns its own crops by heart, does as well in two draws of three. (Look
# at the ranges before you rank anything: three draws, one penalty, tuned for nobody.) Why so? We have not tested it.
# But *which photograph* is to a good part a question of colours and textures. Random weights hand those on, as [lesson
# 9](09_what_it_learns.ipynb#components) shows in pictures; and a model that was taught to give differently coloured
# cuts of one picture one answer has a reason to look past them.
#
# So say exactly what this set shows: how well features tell six scenes apart from few squares. It does not show that a
# model knows what a cat is, since no second cat is there. And squares of one photograph are no independent pictures.

# %% [markdown]
# A fairer set are the folders that `vit train` was tried on: CIFAR-10's test pictures of two classes and of four, 15
# and 150 of each to learn from, and drawn shapes, ten classes of 20 (`benchmarks/small_sets.py`; a linear probe of the
# real model is `vit train --from dinov2_small --epochs 0`). The first row is without a network: HOG counts the
# directions of edges in small cells of a picture, and a support vector machine tells classes apart by these counts.
# Accuracy on the test part:

# %% jupyter={"source_hidden": true}
cases = measured("small_sets")["cases"]
ways = {
    "HOG and a support vector machine": "baselines",
    "from scratch, `--from nothing`": "folder",
    "fine-tuned, `--from cifar10`": "from cifar10",
    "the same in small steps": "from cifar10, gently",
    "probe of dinov2_small": "from dinov2_small, probe",
    "fine-tuned, `--from dinov2_small`": "from dinov2_small",
}
kinds = ("photographs, 2x15", "photographs, 4x150", "shapes, 10x20")
print(" " * 33 + "".join(f"{kind:>19}" for kind in kinds))
for name, way in ways.items():
    row = f"{name:33}"
    for kind in kinds:
        found = [c for k, c in cases.items() if k.split("/")[:2] == [kind, way]]
        found = [c["HOG and SVM"] if way == "baselines" else c for c in found]
        values = [c["test"] for c in found]
        row += f"{f'{sum(values) / len(values):.1%}' if values else 'not measured':>19}"
    print(row)

# %% [markdown]
# CIFAR-10's kinds are what our `cifar10` was made for, though it has not seen these pictures; on them its two rows are
# no transfer to something new. The shapes are new to it, and there one sees what the size of steps does: small ones
# keep more of what a model knows, and large ones, which `vit train` takes, learn more of what it does not. The real
# model hardly needs a step: on shapes its probe is far ahead of all that stands above it, and fine-tuning adds little.
# On photographs it is behind the model that was made for their kinds. What DINOv2 has seen is known to its makers only.

# %% [markdown] anchor="freezing" tags=["deeper"]
# ## What freezing saves
#
# A probe needs one pass over the pictures and no backward pass. That is its first advantage. But between freezing
# everything and freezing nothing there is a good deal, and it is often done to save memory. Does it?
#
# Training keeps four things. The parameters, four bytes each. For each parameter *that is trained* a gradient, and
# AdamW's two moments ([lesson 6](06_training.ipynb#adamw)): twelve bytes more. And the tensors of the forward pass
# that the backward pass will ask for. PyTorch tells us about each of these when it puts it away; we count the bytes of
# those that are not parameters. This is ViT-B/16, with one photograph.

# %%
torch.manual_seed(0)
base = create_model("vit_b_16").train()
c = base.config
picture = photograph("chelsea")[None]


def kept_bytes(model, images):
    """What the forward pass keeps for the backward pass, without the parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        truth = torch.zeros(len(images), dtype=torch.long)
        loss = F.cross_entropy(model(images), truth)
    return sum(seen.values()) if loss.requires_grad else 0


T, D, M = c.num_tokens, c.embed_dim, c.mlp_dim  # T: N + 1
block = 2 * (D + 2) + D + 3 * D + (D + c.num_heads) + D + 2 * M  # (1)!
inputs = 3 * 224 * 224 + T * (2 * D + 2) + c.num_classes
per_picture = 4 * (inputs + c.depth * T * block)
by_hooks = kept_bytes(base, picture)
print(f"by hand {per_picture:,} bytes, by hooks {by_hooks:,}", end=": ")
print(f"{by_hooks - per_picture} for the label and the loss")
assert by_hooks - per_picture == 12

# %% [markdown]
# 1. Numbers per token and block: two norms keep their input, a mean and a deviation; the queries, keys and values
#    keep *their* input ($D$) and are kept themselves ($3D$); attention keeps its output, which is also the input of
#    its projection, and one number per head; the MLP keeps its input, and $M$ numbers before and after its GELU.

# %% [markdown]
# The count on paper is right to the byte. More than a hundred megabytes, for *one* picture. Now we freeze parts of the
# model and ask again. A step shall take 32 pictures.

# %%
last = f"blocks.{c.depth - 1}."
plans = {
    "everything": lambda name: True,
    "biases and head": lambda name: "bias" in name or name.startswith("head"),
    "last block and head": lambda name: name.startswith((last, "norm", "head")),
    "head": lambda name: name.startswith("head"),
}
MiB, B = 2**20, 32
memory = {}
print("trained                parameters   gradients, moments   kept for 32 pictures")
for plan, trained in plans.items():
    for name, p in base.named_parameters():
        p.requires_grad_(trained(name))
    count = sum(p.numel() for p in base.parameters() if p.requires_grad)
    memory[plan] = 12 * count / MiB, B * kept_bytes(base, picture) / MiB
    state, kept = memory[plan]
    print(f"{plan:20} {count:12,} {state:15,.1f} MiB {kept:18,.1f} MiB")
weights = 4 * sum(p.numel() for p in base.parameters()) / MiB
del base  # a third of a gigabyte
assert memory["biases and head"][0] < 0.02 * memory["everything"][0]
assert memory["biases and head"][1] > 0.5 * memory["everything"][1]
assert memory["last block and head"][1] < 0.12 * memory["everything"][1]

# %% alt="Four stacked horizontal bars of memory, each beginning with the same short piece for the weights. Training everything: a piece for gradients and moments, then a very long one for kept tensors, in all more than 4 GiB. Biases and head: almost no gradients, but the kept tensors are still more than half as long. Last block and head: short. Head: only the weights are left to see." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH, 2.1))
for i, (state, kept) in enumerate(memory.values()):
    left = 0
    for label, size, color in (
        ("weights", weights, FAINT),
        ("gradients and moments", state, CYCLE[0]),
        ("kept for the backward pass", kept, ACCENT),
    ):
        ax.barh(i, size / 1024, left=left / 1024, color=color, height=0.55, label=label if i == 0 else None)
        left += size
ax.set_yticks(range(len(memory)), memory)
ax.tick_params(axis="y", length=0)
ax.set(xlabel="GiB for ViT-B/16 and 32 pictures", ylim=(len(memory) - 0.5, -0.5))
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# Look at the second bar. About one parameter in a hundred is trained, so gradients and moments all but vanish. Yet most
# of the kept tensors stay. A bias in the first block gets its gradient through all the blocks above it, and these must
# remember what they saw. All that is saved there is inputs of linear layers, which nobody needs when the
# weights are frozen.
#
# Freezing from *below* is another matter. Where nothing underneath is trained, the backward pass stops, and nothing
# underneath is kept. So it is not how *many* parameters are frozen that counts here, but how *far down* the lowest
# trained one lies. With only the head left, features can be computed once and stored, and the encoder need not run
# again for the second epoch.

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# Seven matrices, six of them wrong, stand [above](#wrong). Here are three more, and none raises an error.
#
# > **Common mistake.** Building the optimiser before the head is replaced. It holds on to the parameters of the old
# > head, and never hears of the new one.

# %%
torch.manual_seed(0)
careless = copy.deepcopy(model)
optimizer = torch.optim.SGD(careless.parameters(), lr=0.05, momentum=0.9)
careless.head = nn.Linear(model.config.embed_dim, 10)  # too late
before = {name: p.clone() for name, p in careless.state_dict().items()}
for index in torch.arange(320).split(32):
    optimizer.zero_grad()
    F.cross_entropy(careless(x[index]), y[index]).backward()
    optimizer.step()
now = careless.state_dict()
still = [name for name, p in now.items() if torch.equal(p, before[name])]
print("after ten steps, unchanged:", still)
assert still == ["head.weight", "head.bias"]

# %% [markdown]
# All the rest trains: the features learn to please a random head. `set_input_size` sets the same
# trap, since the enlarged matrix is a new parameter. First change the model, then build the optimiser.

# %% [markdown] tags=["deeper"]
# ### Freezing that does not freeze
#
# > **Common mistake.** Freezing by zeros. If a gradient is zero instead of `None`, the optimiser is still at work:
# > momentum rolls on, and weight decay does not ask for gradients.


# %%
def drift(freeze):
    """How far a weight moves in ten steps after it has been frozen in this way."""
    torch.manual_seed(0)
    p = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([p], lr=0.01, weight_decay=0.1)
    p.grad = torch.randn(4)
    optimizer.step()  # one ordinary step
    optimizer.zero_grad(set_to_none=freeze != "zeros")
    p.requires_grad_(False)
    start = p.clone()
    for _ in range(10):
        optimizer.step()
    return (p - start).abs().max().item()


for freeze in ("none", "zeros"):
    print(f"gradient {freeze:5}: moved by {drift(freeze):.4f}")
assert drift("none") == 0
assert drift("zeros") > 0.01

# %% [markdown]
# `requires_grad_(False)` alone does not help, for the old gradient is still there. What AdamW skips is a parameter
# whose gradient is `None`. Give the optimiser only what it shall train, as `parameter_groups` does, and the question
# does not come up.
#
# > **Common mistake.** A frozen encoder in `train()` mode. Freezing stops gradients. It does not stop dropout.

# %%
noisy = VisionTransformer(replace(model.config, drop_rate=0.2))
noisy.load_state_dict(model.state_dict())
noisy.requires_grad_(False).train()
noisy_features = lambda p: noisy.forward_head(noisy.forward_features(p), True)
torch.manual_seed(0)
with torch.no_grad():
    parts = [x.split(200), x.split(200)]  # in parts, for the sake of memory
    once, again = (torch.cat([noisy_features(p) for p in part]) for part in parts)
weight, bias = probe(once[:POOL], y[:POOL])
spoiled = ((f[POOL:] @ weight.T + bias).argmax(1) == y[POOL:]).float().mean().item()
weight, bias = probe(f[:POOL], y[:POOL])
sound = ((f[POOL:] @ weight.T + bias).argmax(1) == y[POOL:]).float().mean().item()
print("the same feature twice:", torch.equal(once, again))
print(f"probe on features from eval() {sound:.1%}, from train() {spoiled:.1%}")
assert not torch.equal(once, again)
assert spoiled < sound


# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# You double the side of the pictures. By how much do the multiplications of a ViT-B/16 grow, and by how much the
# attention matrix of one head?
#
# <details>
# <summary>Answer</summary>
#
# There are four times as many tokens. Everything that is done token by token grows fourfold, and the matrix
# sixteenfold. The total grows by a little more than four, as long as these matrices are a small part of it.
#
# </details>
#
# A linear probe reaches 95 % on the features of model A and 80 % on those of model B. Is A the better model to
# fine-tune?
#
# <details>
# <summary>Answer</summary>
#
# Not necessarily. A probe says what can be read off the features by straight cuts. Fine-tuning may change them, and a
# model that hides something can be close to one that shows it. Usually the two go together, and the probe is the
# cheaper test. But only fine-tuning measures fine-tuning.
#
# </details>
#
# A colleague freezes all that lies below the last of twelve blocks, positions and class token included. A step still
# takes more than a third of its time and not a twelfth. What has he forgotten?
#
# <details>
# <summary>Answer</summary>
#
# The forward pass. Freezing saves the backward pass of what is frozen, and that is about two thirds of the work. The
# pictures must still go up through all twelve blocks. If they are not augmented, he can store what comes out of block
# eleven and never run it again. (Had he left the positions trainable, the backward pass would still run through every
# block.)
#
# </details>
#
# You interpolate the positions, fine-tune at the new size, and the accuracy on the new pictures is fine. A month
# later the old, small pictures come back. Can the same model do them?
#
# <details>
# <summary>Answer</summary>
#
# It can run on them: shrink the matrix again. Whether it is as good as before nobody has promised. Fine-tuning moved
# all weights towards the large pictures. Test it, or keep the old weights. (FlexiViT by Beyer et al., 2023, trains one
# model for many patch sizes from the start.)
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. A wide picture.** (20 minutes, easy.) Let the shipped CIFAR-10 model accept pictures of 32 × 64 pixels. How many
# rows has its position matrix now, and how does the similarity of neighbours change, along a row and along a column?
# Write `alike(pos_embed, grid, prefix)`: the mean cosine of neighbours in a row, and in a column. Then
# `check(8, 1, alike)`.
#
# <details>
# <summary>Hint</summary>
#
# The table without its prefix is a grid of vectors: slices of it, shifted by one, are neighbours. Before you compute
# anything: how far apart are they, in old patches?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# import torch.nn.functional as F
# from vit.course import check
# from vit.inference import load_classifier
#
#
# def alike(pos_embed, grid, prefix):
#     table = F.normalize(pos_embed[0, prefix:], dim=-1).unflatten(0, grid)
#     in_row = (table[:, :-1] * table[:, 1:]).sum(-1)
#     in_column = (table[:-1] * table[1:]).sum(-1)
#     return in_row.mean().item(), in_column.mean().item()
#
#
# assert check(8, 1, alike)
# model = load_classifier("cifar10").model
# (gh, gw), prefix = model.config.grid_size, model.config.num_prefix_tokens
# before = alike(model.pos_embed, (gh, gw), prefix)
# model.set_input_size((32, 64))
# assert model.pos_embed.shape[1] == prefix + gh * 2 * gw == 129
# after = alike(model.pos_embed, (gh, 2 * gw), prefix)
# along_row, along_column = (b - a for a, b in zip(before, after, strict=True))
# assert along_row > 0 and along_row > abs(along_column)
# with torch.no_grad():
#     assert model(torch.rand(1, 3, 32, 64)).shape == (1, 10)
# ```
#
# It has 129 rows, 8 × 16 and the class token's. Neighbours in a row are now half an old patch apart, and more alike.
# Neighbours in a column are as far apart as before. The model takes the wide picture for a square one that was
# stretched to twice its width.
#
# </details>
#
# **2. Which way up?** (30 minutes, medium.) Turn triangles, crescents, hearts and arrows by 0, 90, 180 or 270 degrees,
# and ask a probe on the shipped `shapes` model by how much, and another on the *same* features which of the four shapes
# it is. Write `probe(f, labels, n)`: fitted to the first `n` features as [above](#three-ways), with ridge `1e-2`, its
# accuracy on the others. Then `check(8, 2, probe)`.
#
# <details>
# <summary>Hint</summary>
#
# Picture `i` of `draw` shows class `i % 10`. `torch.rot90` turns. Take the least squares from above.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# import torch.nn.functional as F
# from vit.course import check
# from vit.data.shapes import CLASSES, draw
# from vit.inference import load_classifier
#
#
# def probe(f, labels, n):
#     targets = 2.0 * F.one_hot(labels[:n]) - 1
#     g, t = f[:n] - f[:n].mean(0), targets - targets.mean(0)
#     W = torch.linalg.solve(g.T @ g + 1e-2 * n * torch.eye(f.shape[1]), g.T @ t)
#     answer = ((f[n:] - f[:n].mean(0)) @ W + targets.mean(0)).argmax(1)
#     return (answer == labels[n:]).float().mean().item()
#
#
# assert check(8, 2, probe)
# shipped = load_classifier("shapes")
# i = torch.arange(600)
# names = ("triangle", "crescent", "heart", "arrow")
# kinds = torch.tensor([CLASSES.index(name) for name in names])
# shape, turn = i % 4, i // 4 % 4
# images = draw(10 * (3000 + i) + kinds[shape], 32)[0]
# images = [image.rot90(k, (1, 2)) for image, k in zip(images, turn.tolist(), strict=True)]
# with torch.inference_mode():
#     x, model = shipped.preprocessing.normalise(torch.stack(images)), shipped.model
#     tokens = (model.forward_features(part) for part in x.split(100))
#     f = torch.cat([model.forward_head(z, pre_logits=True) for z in tokens])
# assert probe(f, shape, 400) > probe(f, turn, 400) + 0.05
# assert probe(f, turn, 400) > 0.35  # chance is 0.25
# ```
#
# It knows the shape better than how it lies. The old question never asked for that, and a feature that ignores it
# does no harm there. Not all of it is gone, though. This probe does not bring the rest back. With more labels another
# might, and fine-tuning can.
#
# </details>
#
# **3. Bytes for a larger model.** (15 minutes, easy; open [the fold on freezing](#freezing) first.) How many GiB do
# weights, gradients and AdamW's moments of ViT-L/16 take, with everything trained and with the head alone, for 37
# classes? Write `gib(total, trained)` for numbers of parameters. Then `check(8, 3, gib)`.
#
# <details>
# <summary>Hint</summary>
#
# On the device `meta` a model of any size costs nothing. Four bytes for each parameter, twelve more for each that is
# trained.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit import create_model
# from vit.course import check
#
#
# def gib(total, trained):
#     return (4 * total + 12 * trained) / 2**30
#
#
# assert check(8, 3, gib)
# with torch.device("meta"):
#     model = create_model("vit_l_16", num_classes=37)
# total = sum(p.numel() for p in model.parameters())
# head = sum(p.numel() for p in model.head.parameters())
# assert head == 1024 * 37 + 37
# assert 4.4 < gib(total, total) < 4.7
# assert 3.9 < gib(total, total) / gib(total, head) < 4.0
# ```
#
# About 4.5 and 1.1 GiB, a quarter. The tensors kept for the backward pass come on top: usually the larger part with
# everything trained, and little with the head alone.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Nothing in a ViT depends on the number of patches but the matrix of positions, and the cost: most of it grows with the
# pixels, the attention matrices with their square. The position matrix is resized like a picture, class row set aside,
# also when it is made of waves. A matrix resized wrongly raises no error. Right positions are necessary and not always
# enough: our small model failed on larger pictures for reasons that we have not found, and a few steps of training at
# the new size repaired most of that. A new head starts at zero. A linear probe has a formula, needs no backward pass
# and is hard to beat with few labels; fine-tuning can change what the probe cannot, and profits from the probe's head.
# A fresh start needs many more steps, and must get them before it is called worse. Freezing saves gradients and moments
# for what is frozen, and most of the kept tensors only below the lowest trained parameter. Change the model first, then
# build the optimiser. What the features have learned to see is the subject of [lesson 9](09_what_it_learns.ipynb).

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 3.2 and 4.1, appendix B.1.1, Table 4. Robert Keys,
# [Cubic convolution interpolation for digital image processing](https://doi.org/10.1109/TASSP.1981.1163711), IEEE
# Transactions on Acoustics, Speech, and Signal Processing, 1981. Hugo Touvron et al., [Fixing the train-test resolution
# discrepancy](https://arxiv.org/abs/1906.06423), NeurIPS 2019. Ananya Kumar et al., [Fine-Tuning can Distort Pretrained
# Features and Underperform Out-of-Distribution](https://arxiv.org/abs/2202.10054), ICLR 2022. Lucas Beyer et al.,
# [FlexiViT: One Model for All Patch Sizes](https://arxiv.org/abs/2212.08013), CVPR 2023.
