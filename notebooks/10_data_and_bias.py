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
#     number: 10
#     prerequisites: Lessons 5 and 6; what a convolution does
# ---

# %% [markdown]
# # Data, scale and inductive bias
#
# Nobody tells a Vision Transformer that two pixels are neighbours, or that a star on the left is the same thing as a
# star on the right. A convolutional network, a CNN, takes both for granted. What does the ignorance cost when
# pictures are few? What does it buy when there are many? And where do the two lines cross? On the problem of this page
# they cannot: the CNN gets practically all of it right, so a ViT could at best draw level. In the paper they did cross.
#
# The usual answer is a sentence from the paper and a sketch of two crossing curves. Here the curves are measured, on a
# problem small enough for a laptop: two models with equally many weights, the same code, the same number of steps, two
# hundred to twenty thousand pictures.
#
# After it you can say what an inductive bias is and count it, test for locality and for translation equivariance with
# a few lines of code, compare two architectures without fooling yourself, and tell what such a comparison has not
# shown.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math
import statistics
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from vit import create_model
from vit.convnet import ConvNet, ConvNetConfig, ResidualBlock
from vit.data import MemoryImages, load_data
from vit.patches import patchify, unpatchify
from vit.plotting import (
    ACCENT,
    CYCLE,
    FAINT,
    SEQUENTIAL,
    WIDTH,
    bare,
    draw_image,
    draw_matrix,
    use_style,
)
from vit.results import measured
from vit.training import Recipe, Trainer, evaluate, reseed

torch.manual_seed(0)
use_style()
results = measured("data_and_bias")  # (1)!
S, P = 24, 4  # pixels: the side of a picture, the side of a patch
data = load_data("shapes", S, train_size=6_000)
images = data.test.images[:40] / 255  # (40, 3, 24, 24)
print("pictures", tuple(images.shape), "of", ", ".join(data.classes))

# %% [markdown]
# 1. The long measurements were made beforehand, by `benchmarks/data_and_bias.py`. This lesson reads their results and
#    repeats a small part.

# %% [markdown] anchor="bias"
# ## A bias is what you need not learn
#
# Take a signal of eight numbers and let a layer make eight new ones out of it. If the layer may be any linear map, it
# is a full 8 × 8 matrix, with 64 free numbers. What if we already know something about signals?
#
# First: *locality*. Each output depends on its neighbourhood only, say on itself and one number on either side. Most
# of the matrix is zero then. Second: *sharing*. The rule is the same at every place. Then all rows are one row, moved
# along. A matrix with both properties is a convolution. To see it, we push the eight unit vectors through `conv1d`;
# what comes out are the columns.


# %% predict="How many free numbers has a local map of eight numbers, and how many one that is shared as well?"
def matrix_of(f, n):
    """The matrix of a linear map on n numbers: unit vectors in, columns out."""
    return f(torch.eye(n)[:, None])[:, 0].T  # (n, n)


kernel = torch.tensor([1.0, 2.0, -1.0])
conv = matrix_of(lambda x: F.conv1d(x, kernel[None, None], padding=1), 8)
g = torch.Generator().manual_seed(1)
dense = torch.randn(8, 8, generator=g)
local = dense * (conv != 0)
for name, matrix in (("any", dense), ("local", local), ("local, shared", conv)):
    nonzero = int((matrix != 0).sum())
    free = 3 if name == "local, shared" else nonzero
    print(f"{name:14} {nonzero:2} entries that are not zero, {free:2} free numbers")
signal = torch.randn(8, generator=g)
by_conv1d = F.conv1d(signal[None, None], kernel[None, None], padding=1)[0, 0]
assert_close(conv @ signal, by_conv1d)
assert (local != 0).sum() == (conv != 0).sum() == 22

# %% [markdown] tags=["answer"]
# In the first and the last row of a local matrix one neighbour is missing, hence 22 and not 24. Sharing leaves three.

# %% alt="Four matrices as coloured cells, red positive and blue negative. Any: 8 by 8, every cell has a colour of its own. Local: only three diagonals are coloured, irregularly. Local and shared: the same three diagonals, each in one colour. On the right a 25 by 25 matrix of a picture of 5 by 5 pixels: nine diagonals in three groups, with gaps where rows of the picture end." jupyter={"source_hidden": true}
small = torch.randn(3, 3, generator=g)
two = F.conv2d(torch.eye(25).reshape(25, 1, 5, 5), small[None, None], padding=1).reshape(25, 25).T
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.0))
panels = [
    ("any", dense),
    ("local", local),
    ("local, shared", conv),
    ("the same, 5 × 5 pixels", two),
]
for ax, (title, matrix) in zip(axes, panels, strict=True):
    draw_matrix(ax, matrix, values=None, cmap="RdBu_r", limits=(-2.2, 2.2), title=title)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The third is a convolution. On the right is the same for pixels: a 3 × 3 convolution on a picture of 5 × 5, written as
# a matrix. Its pattern looks involved, and still there are only nine different numbers in it.
#
# That is an *inductive bias*: what a model takes for granted before it has seen a single example. The 61 numbers that
# the convolution does not have are not lost. Someone who knows pictures has set them, once and for all.
#
# > **The paper.** “We note that Vision Transformer has much less image-specific inductive bias than CNNs. In CNNs,
# > locality, two-dimensional neighborhood structure, and translation equivariance are baked into each layer throughout
# > the whole model.” (section 3.1)
#
# And attention? Its N × N matrix is full, and it is computed from the picture instead of being stored. Nothing in it is
# zero beforehand, and nothing is shared between places. What *is* shared are the maps that make queries, keys and
# values, and the MLP: they treat every patch alike.
#
# > **The paper.** “In ViT, only MLP layers are local and translationally equivariant, while the self-attention layers
# > are global.” (section 3.1)

# %% [markdown] anchor="locality"
# ## Locality: change one pixel
#
# Which outputs notice when one pixel changes? We need no theory for that. Change it, run the model again, and see
# where the result differs. We ask one, two and four layers of 3 × 3 convolutions with random weights, and the first
# block of a small ViT.


# %%
def stack(layers, channels=16):
    """So many 3×3 convolutions, with GELUs between."""
    parts, around = [], {"padding": 1, "padding_mode": "circular"}
    for i in range(layers):
        parts += [nn.Conv2d(channels if i else 3, channels, 3, **around), nn.GELU()]
    return nn.Sequential(*parts)


def as_map(tokens):
    """Tokens as a map of features: `(B, N, D) -> (B, D, 6, 6)`."""
    return tokens.transpose(1, 2).unflatten(2, (S // P, S // P))


def noticed(f, place):
    """How much each place of the output changes when a pixel becomes white: a map."""
    changed = star.clone()
    changed[..., *place] = 1.0
    with torch.no_grad():
        return (f(changed) - f(star)).norm(dim=1)[0]


torch.manual_seed(0)
small_vit = {"img_size": S, "embed_dim": 48, "depth": 4, "num_heads": 3}
mean_of_patches = small_vit | {"class_token": False, "global_pool": "avg"}
tiny = create_model("vit_nano_4", **mean_of_patches).eval()
star, pixel = images[7:8], (9, 14)  # row, column
maps = {f"{n} conv layer{'s' * (n > 1)}": noticed(stack(n), pixel) for n in (1, 2, 4)}
maps["1 ViT block"] = noticed(lambda x: as_map(tiny.blocks[0](tiny.embed(x))), pixel)

# %% alt="Five panels. A small drawn shape with an orange square around one pixel; three maps where a square around that pixel is coloured, of 3, 5 and 9 pixels a side, on a blank ground; and a map of 6 by 6 patches where the patch with the pixel is brightest and every other patch is coloured as well." jupyter={"source_hidden": true} predict="How many of the 576 pixels notice after one, two and four convolutions? How many of the 36 patches after one ViT block?"
ROUNDING = 1e-6  # what is smaller is no change
for name, change in maps.items():
    count = int((change > ROUNDING).sum())
    print(f"{name:14} {count:3} of {change.numel()} places notice")
for n, name in zip((1, 2, 4), maps, strict=False):
    assert (maps[name] > ROUNDING).sum() == (2 * n + 1) ** 2
assert (maps["1 ViT block"] > ROUNDING).all()
figure, axes = plt.subplots(1, 5, figsize=(WIDTH, 1.65))
draw_image(axes[0], star[0], "the pixel")
corner = (pixel[1] - 0.5, pixel[0] - 0.5)
axes[0].add_patch(plt.Rectangle(corner, 1, 1, fill=False, color=ACCENT, linewidth=1.8))
for ax, (name, change) in zip(axes[1:], maps.items(), strict=False):
    shown = torch.where(change > ROUNDING, (change / change.max()).log10(), torch.nan)
    artist = bare(ax, name).imshow(shown, cmap=SEQUENTIAL, vmin=-4, vmax=0)
    ax.add_patch(plt.Rectangle((-0.5, -0.5), *[change.shape[0]] * 2, fill=False, color=FAINT, clip_on=False))
bar = figure.colorbar(artist, ax=axes, shrink=0.7, aspect=14, pad=0.01, ticks=[-4, -2, 0])
bar.ax.set_yticklabels(["10⁻⁴", "10⁻²", "1"])
plt.show()

# %% [markdown] tags=["answer"]
# Colour is the size of the change, compared with the largest, and white means none at all. After $n$ layers a square of
# $2n + 1$ pixels a side has noticed. Two corners of a picture get to know of each other only after many layers. In a
# ViT everyone has noticed after a single block. Most of them hardly, to be sure: this one has random weights and looks
# at everything alike. It has to learn where to look. The CNN need not learn it, and cannot learn anything else.

# %% [markdown] anchor="equivariance"
# ## Translation equivariance: move the picture
#
# The second gift is sharing. Move the picture by a pixel, and what a convolution makes of it moves by a pixel. And a
# ViT?
#
# A picture is moved by $s$ pixels to the right; what leaves comes in on the other side. We compare the features of
# the moved picture with the moved features of the original. For patches, features can only move by whole patches, so
# we take the nearest number. (The convolutions of `stack` see what is on the other side, too. Zeros at the borders
# would not move along.)


# %%
def mismatch(f, shift, pixels_per_place=1):
    """How far features are from moving along, as a share of their spread."""
    with torch.no_grad():
        before, after = f(images), f(images.roll(shift, dims=3))
    expected = before.roll(round(shift / pixels_per_place), dims=3)
    spread = before - before.mean(dim=(0, 2, 3), keepdim=True)
    return ((after - expected).norm() / spread.norm()).item()


def tokens(model):
    return lambda x: as_map(model.forward_features(x))


torch.manual_seed(0)
bag = create_model("vit_nano_4", **mean_of_patches, pos_embed="none").eval()
convolutions = stack(3)
shifts = range(9)
followed = {
    "three convolutions": [mismatch(convolutions, s) for s in shifts],
    "ViT without positions": [mismatch(tokens(bag), s, P) for s in shifts],
    "ViT with positions": [mismatch(tokens(tiny), s, P) for s in shifts],
}
assert max(followed["three convolutions"]) < 1e-4
assert [s for s in shifts if followed["ViT without positions"][s] < 1e-4] == [0, 4, 8]
assert min(followed["ViT with positions"][1:]) > 1e-2

# %% alt="A line chart. Across, the shift from 0 to 8 pixels; upwards, how far the features are from moving along. Three convolutions: a flat line at zero. A ViT without positions: zero at 0, 4 and 8, the width of a patch, and high between. A ViT with positions: much the same, but above zero at 4 and 8 as well." jupyter={"source_hidden": true} predict="Which shifts will a ViT without positions follow? And one with positions?"
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.5))
for (name, values), marker, color in zip(
    followed.items(), "os^", (CYCLE[1], CYCLE[4], CYCLE[0]), strict=True
):
    ax.plot(shifts, values, marker=marker, markersize=4, color=color, label=name)
ax.set(xlabel="shift, pixels", ylabel="mismatch", xticks=list(shifts))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown] tags=["answer"]
# The convolutions follow every shift. The ViT without positions follows whole patches and nothing between: the grid
# of patches stays where it is while the picture moves under it. With positions it follows nothing.
#
# Do not take this for more than it is. The CNN that we are going to train is not exact either. It halves the picture
# twice and pads its borders with zeros. (Its norms average over the whole picture, so strictly it is not local,
# either.) A bias is a strong hint, and seldom
# a law.

# %% [markdown] anchor="shuffle"
# ## No neighbours at all: shuffle the patches
#
# How little a ViT knows is best seen with violence. We cut the pictures into patches and lay these in another order.

# %%
order = torch.randperm((S // P) ** 2, generator=torch.Generator().manual_seed(0))


def shuffled(images):
    """Move the patches of every picture in the same way; the shape stays."""
    return unpatchify(patchify(images, P)[:, order], P, (S, S))


# %% alt="Two rows of five pictures. Above, drawn shapes: one bright figure on a darker ground in each. Below, the same pictures with their 36 patches in another order: fragments of edges scattered like a shuffled jigsaw puzzle." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 5, figsize=(WIDTH, 2.75))
for column, index in enumerate((2, 3, 37, 8, 9)):
    draw_image(axes[0, column], images[index], data.classes[data.test.labels[index]])
    draw_image(axes[1, column], shuffled(images)[index])
plt.show()

# %% [markdown]
# To us the lower row is rubbish. We ask three models, all with random weights: a ViT without positions, a CNN, and a
# ViT with *learned* positions, whose second copy has the rows of its position matrix in the new order, too.

# %% predict="Whose answers change when the patches are shuffled?"
torch.manual_seed(0)
cnn = ConvNet(ConvNetConfig(img_size=S, width=16, depths=(1, 1, 1))).eval()
learned = create_model("vit_nano_4", **small_vit).eval()
moved = create_model("vit_nano_4", **small_vit).eval()
moved.load_state_dict(learned.state_dict())
with torch.no_grad():
    rows = learned.pos_embed[:, 1:]  # the class token stays in front
    moved.pos_embed[:, 1:] = rows[:, order]
    pairs = {
        "ViT without positions": (bag(images), bag(shuffled(images))),
        "CNN": (cnn(images), cnn(shuffled(images))),
        "ViT, its positions moved along": (learned(images), moved(shuffled(images))),
    }
for name, (before, after) in pairs.items():
    change = (after - before).abs().max()
    said = f"{change:.2f}" if change > 1e-4 else "none"
    print(f"{name:31} largest change of a logit: {said}")
assert_close(*pairs["ViT without positions"])
assert_close(*pairs["ViT, its positions moved along"])
assert (pairs["CNN"][1] - pairs["CNN"][0]).abs().max() > 0.02

# %% [markdown] tags=["answer"]
# To a ViT without positions the lower row *is* the upper row, exactly. The CNN does see a difference.
#
# The third line is the interesting one. A ViT with learned positions gives the same answers to shuffled pictures, if
# the rows of its position matrix are shuffled along. But that matrix starts as random noise, and noise in another order
# is as good as before. So if we shuffle **all** pictures in the same way, training and test, this ViT faces the same
# problem as before. It never knew that patch 7 and patch 8 are neighbours. It must find out in either case. Keep this
# in mind: it will give us an experiment in which the CNN's knowledge is wrong.

# %% [markdown] anchor="opponent"
# ## A fair opponent
#
# Against which CNN? Not a weak one. `vit.convnet` is a small residual network of pre-activation blocks (He et al.,
# 2016): norm, ReLU, 3 × 3, norm, ReLU, 3 × 3, and a way past.
#
# The rules, before the first number:
#
# Both models have the same number of parameters, nearly. Both are trained by `Trainer`, with the same number of steps
# and the same batch, so each sees equally many pictures, however few of them are different. Each has its own learning
# rate, the one that did best on *validation* pictures in a small pilot with one seed. A seed stands for other weights,
# another order **and other training pictures**, or the error bars would leave out the luck of the draw. The last
# weights are tested, once, on 2,000 pictures that chose nothing.


# %% jupyter={"source_hidden": true}
runs = sorted(results["cases"].values(), key=lambda run: run["seed"])


def values(arm, model, images, times=1, what="test_accuracy"):
    """One number for each seed, in their order."""
    wanted = {"arm": arm, "model": model, "images": images, "times": times}
    return [run[what] for run in runs if wanted.items() <= run.items()]


def summarise(*which, **more):
    """Mean and standard deviation over the seeds."""
    found = values(*which, **more)
    return statistics.mean(found), statistics.stdev(found)


# %% jupyter={"source_hidden": true}
sizes = sorted({run["images"] for run in runs if run["arm"] == "main"})
steps, batch = runs[0]["steps"], runs[0]["batch"]
tests = {run["arm"] for run in runs if "test_accuracy" in run}
print(f"{len(runs)} runs on {results['machine']['device']}: {steps} steps of {batch} pictures")
print("model  width  parameters  multiply-accumulates a picture")
for name in ("vit/x1", "cnn/x1", "vit/x2", "cnn/x2", "vit/x4", "cnn/x4"):
    cost = results["costs"][name]
    print(f"{name[:3]}    {name[-2:]}   {cost['parameters']:11,}  {cost['macs']:11,}")
model, other = results["costs"]["vit/x1"], results["costs"]["cnn/x1"]
print(
    f"the CNN has {other['parameters'] / model['parameters']:.2f} times the parameters and {other['macs'] / model['macs']:.1f} times the arithmetic"
)
assert abs(other["parameters"] / model["parameters"] - 1) < 0.03
assert "pilot" not in tests

# %% [markdown]
# Look at the last line. Equal parameters are **not** equal arithmetic. A convolution uses each of its weights at every
# place, and there are many more places than patches. Whoever prefers equal arithmetic must make the ViT wider. We do
# that, too, further down.

# %% [markdown] anchor="pilot" tags=["deeper"]
# ### What the pilot said
#
# The pilot, on 2,000 pictures that no other run of its size is trained on:

# %% jupyter={"source_hidden": true}
for model in ("vit", "cnn"):
    pilot = [run for run in runs if run["arm"] == "pilot" and run["model"] == model]
    assert len({run["seed"] for run in pilot}) == 1
    row = [f"{run['lr']:g}: {run['val_accuracy']:.1%}" for run in sorted(pilot, key=lambda run: run["lr"])]
    print(f"{model}  {'   '.join(row)}")

# %% [markdown] anchor="block-by-hand" tags=["deeper"]
# ### Its block, by hand
#
# A block in five lines, and the same from the package. Where the width or the size of the map changes, the way past
# needs a map of its own.


# %%
torch.manual_seed(0)
block = ResidualBlock(16, 32, stride=2)


def by_hand(x):
    a = F.relu(F.group_norm(x, 4, block.norm1.weight, block.norm1.bias))
    past = F.conv2d(a, block.shortcut.weight, stride=2)
    b = F.conv2d(a, block.conv1.weight, stride=2, padding=1)
    b = F.relu(F.group_norm(b, 4, block.norm2.weight, block.norm2.bias))
    return past + F.conv2d(b, block.conv2.weight, padding=1)


x = torch.randn(2, 16, S, S)
assert_close(by_hand(x), block(x))
print(tuple(x.shape), "->", tuple(block(x).shape))
print(inspect.getsource(ResidualBlock.forward))

# %% [markdown] anchor="curves"
# ## The curves
#
# How far apart will the two be with 200 pictures, twenty of each class? And with 20,000?

# %% alt="Two line charts, from 200 to 20,000 different training pictures on a logarithmic axis. Left, test accuracy: the CNN rises from a third to nearly 100 percent at 600 pictures and stays there; the ViT starts near the dotted line of chance and rises slowly to about two thirds, with long bars at the right. Right, the same with dashed lines for training pictures: the CNN's is at 100 percent throughout; the ViT's is at 100 percent up to 600 pictures, then falls and meets its test accuracy at 20,000." jupyter={"source_hidden": true} predict="Draw two lines on paper: test accuracy with 200 to 20,000 pictures, ViT and CNN."
LOOK = {
    "vit": ("ViT", CYCLE[0], "o"),
    "cnn": ("CNN", CYCLE[1], "s"),
    "learned": ("ViT, learned positions", CYCLE[0], "^"),
}


def draw_curve(ax, arm, model, what="test_accuracy", **style):
    """Mean over the seeds, with a bar of one standard deviation each way, against the number of pictures."""
    label, color, marker = LOOK[model]
    have = sorted({run["images"] for run in runs if (run["arm"], run["model"]) == (arm, model)})
    means, deviations = zip(*(summarise(arm, model, n, what=what) for n in have), strict=True)
    style = {
        "label": label,
        "color": color,
        "marker": marker,
        "markersize": 4.5,
        "capsize": 3,
    } | style
    ax.errorbar(have, [100 * m for m in means], [100 * d for d in deviations], **style)


def axis_of_sizes(ax, title=None):
    ax.set(xscale="log", xlabel="different training pictures", ylim=(0, 104), title=title)
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()


figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0), sharey=True)
for model in ("cnn", "vit"):
    draw_curve(left, "main", model)
    draw_curve(
        right,
        "main",
        model,
        "train_accuracy",
        ls="--",
        label=f"{LOOK[model][0]}, training pictures",
    )
    draw_curve(right, "main", model, label=f"{LOOK[model][0]}, test pictures")
left.axhline(10, color=FAINT, linewidth=1, linestyle=":", label="chance")
axis_of_sizes(left, "test accuracy, %")
axis_of_sizes(right, "the same, and training accuracy, %")
left.legend(loc="lower right", bbox_to_anchor=(1.0, 0.12))
right.legend(loc="lower right", bbox_to_anchor=(1.0, 0.12), fontsize=7, handlelength=3.5)
plt.show()

# %% [markdown]
# And the numbers, with the question of the page put to them: is there a number of pictures at which the ViT is ahead?

# %% jupyter={"source_hidden": true} predict="All runs have 1,200 steps of 64 pictures. How often does one meet each of its 200 pictures, and of 20,000?"
print("pictures  ViT, training   ViT, test     CNN, test     CNN ahead by  passes over them")
ahead = {}
for n in sizes:
    (a, sa), (b, sb) = (summarise("main", m, n) for m in ("vit", "cnn"))
    error = math.sqrt((sa**2 + sb**2) / len(values("main", "vit", n)))  # (1)!
    ahead[n] = (b - a, error)
    known, _ = summarise("main", "vit", n, what="train_accuracy")
    row = f"{n:8,}       {100 * known:6.1f} %   {100 * a:4.1f} ± {100 * sa:4.1f}   {100 * b:5.1f} ± {100 * sb:3.1f}"
    print(f"{row}     {100 * (b - a):4.1f} ± {100 * error:3.1f} {steps * batch / n:10.0f}")
crossed = [n for n, (difference, _) in ahead.items() if difference < 0]
assert min(values("main", "cnn", sizes[-1])) > 0.999  # nobody could be ahead of it
print("the ViT is ahead at:", crossed or "none of these numbers")
widest = max(ahead, key=lambda n: ahead[n][0])
print(f"the CNN's lead is largest at {widest:,} pictures")

# %% [markdown]
# 1. The standard error of a difference of two means: each has variance $s^2 / n$ for $n$ seeds, and variances add.

# %% [markdown]
# **The lines do not cross here,** and where the CNN makes no mistakes they could not. It is ahead at every number of
# pictures, and with 600 of them the ViT is lost where the CNN has all but solved the problem. With 200 the ViT can
# hardly be told from guessing. (The last column says how often a run met each of its pictures.)
#
# The right panel says how. With 200 and with 600 pictures the ViT knows *every* training picture and little about the
# others. It was not short of weights or of steps. Very many functions fit 600 labelled pictures; training finds one of
# them; the bias decides which. The CNN can hardly express functions that do not treat all places alike. Fewer of those
# that are left fit by accident, though with 200 pictures still too many.
#
# Now the other end. With 20,000 pictures the ViT's two lines meet. It is as bad on the pictures that it was trained on
# as on others. It no longer learns by heart, and still more pictures would not help it. So what is it short of?

# %% [markdown] anchor="steps"
# ## Short of pictures, or of steps?
#
# An experiment can tell. If pictures are missing, more training changes nothing. So we give the ViT three times the
# steps.

# %% alt="The curves of the CNN and the ViT as before, and with hollow markers the ViT after three times the steps. At 600 pictures the hollow marker lies on the ViT's curve; from there the distance grows from size to size, and at 20,000 it has nearly reached the CNN." jupyter={"source_hidden": true} predict="Three times the steps for the ViT: which end of its curve will move, the left or the right?"
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 3.0))
draw_curve(ax, "main", "cnn")
draw_curve(ax, "main", "vit")
longer = sorted({run["images"] for run in runs if run["arm"] == "longer"})
after = {n: values("longer", "vit", n)[0] for n in longer}  # one run each
ax.plot(
    longer,
    [100 * accuracy for accuracy in after.values()],
    marker="o",
    color=CYCLE[0],
    linestyle="--",
    markerfacecolor="white",
    label="ViT, three times the steps, one run each",
)
axis_of_sizes(ax)
ax.set_ylabel("test accuracy, %")
ax.legend(loc="lower right")
plt.show()
for n in longer:
    before, (known,) = (
        summarise("main", "vit", n)[0],
        values("longer", "vit", n, what="train_accuracy"),
    )
    print(f"ViT, {n:6,} pictures: {before:.0%}, then {after[n]:.0%} (training pictures {known:.0%})")
gain = {n: after[n] - summarise("main", "vit", n)[0] for n in longer}
assert gain[longer[0]] < 0.05
assert gain[longer[-1]] > 0.2

# %% [markdown] tags=["answer"]
# With 600 pictures the steps are of no use: every training picture was known by heart before. There, data is missing.
# With 20,000 it was nearly all a lack of steps. So only the left part of the first figure is hunger for data. The right
# part is hunger for training, and a curve of accuracy against pictures cannot tell the two apart. The training accuracy
# can.
#
# The new curve is at 100 % or close to it on the training pictures everywhere. What it lacks, more pictures would have
# to give, and they do: it rises all the way, towards the CNN and not yet past it. The CNN was quicker in both senses.
# What is built in need not be learned, neither from pictures nor in steps.

# %% [markdown] anchor="compute"
# ## Accuracy against computation
#
# More steps are one way to spend arithmetic. A wider model is another. Papers on scaling therefore draw accuracy
# against the computation of the whole training: what one picture costs, times the pictures seen. We can do that with
# our own runs. Some models are two or four times as wide, which makes nearly four or sixteen times the parameters, and
# one has three times the steps. (Counted are the multiply-accumulates of the forward passes; the backward passes cost
# both models about twice as much again.)


# %%
def computation(run):
    """Multiply-accumulates of all forward passes of a run."""
    macs = results["costs"][f"{run['model']}/x{run['times']}"]["macs"]
    return macs * run["steps"] * run["batch"]


two_sizes = sorted({run["images"] for run in runs if run["arm"] == "width"})
kinds = {}  # (pictures, model, width, steps): its runs, one for each seed
for run in runs:
    if run["arm"] in ("main", "longer", "width") and run["images"] in two_sizes:
        key = (run["images"], run["model"], run["times"], run["steps"])
        kinds.setdefault(key, []).append(run)

# %% alt="Two scatter plots of test accuracy against trillion multiply-accumulates of training on a logarithmic axis. With 600 pictures the ViT's dots, at one, two and four times the width and with three times the steps, lie between a quarter and a third; those of the CNN lie between 90 and 100 percent, the widest lowest. With 20,000 pictures the ViT's dots rise: two and four times the width to over 80 and 90 percent, three times the steps, with less arithmetic than twice the width, to 97 percent; the CNN is at 100 percent." jupyter={"source_hidden": true} predict="Three times the steps or twice the width: which brings the ViT further, with 600 pictures and with 20,000?"
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8), sharey=True)
for (n, model, times, length), found in sorted(kinds.items()):
    ax, (label, color, marker) = axes[two_sizes.index(n)], LOOK[model]
    across, up = (
        computation(found[0]) / 1e12,
        [100 * run["test_accuracy"] for run in found],
    )
    longer_run = length > steps
    face = "white" if longer_run else color
    ax.plot(
        [across] * len(up),
        up,
        marker,
        color=color,
        markerfacecolor=face,
        markersize=5,
        alpha=0.8,
    )
    what = "3 × steps" if longer_run else f"{label} ×{times}"
    place = (4, 6) if longer_run else (0, -14)
    ax.annotate(
        what,
        (across, max(up) if longer_run else min(up)),
        place,
        textcoords="offset points",
        fontsize=7.5,
        color=color,
        ha="left" if longer_run else "center",
    )
for ax, n in zip(axes, two_sizes, strict=True):
    ax.set(xscale="log", xlim=(0.13, 16), ylim=(0, 112), title=f"{n:,} pictures")
    ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.set_yticks(range(0, 101, 20))
    ax.set_xlabel("trillion multiply-accumulates of training")
    ax.minorticks_off()
axes[0].set_ylabel("test accuracy, %")
plt.show()
more_steps, wider = ([kinds[n, "vit", *key] for n in two_sizes] for key in ((1, 3 * steps), (2, steps)))
for n, *both in zip(two_sizes, more_steps, wider, strict=True):
    for name, found in zip(("three times the steps", "twice the width"), both, strict=True):
        accuracy = statistics.mean(run["test_accuracy"] for run in found)
        cost = computation(found[0]) / 1e12
        print(f"ViT, {n:6,} pictures, {name:21}: {cost:.2f} trillion, {accuracy:.0%}")
assert computation(more_steps[1][0]) < computation(wider[1][0])
assert more_steps[1][0]["test_accuracy"] > max(run["test_accuracy"] for run in wider[1])

# %% [markdown] tags=["answer"]
# Each dot is one seed, and what stands above each other has cost the same. On the left three times the steps or twice
# the width buy the ViT next to nothing, and even the widest one, with many times the arithmetic, is nowhere near the
# CNN: pictures are missing. On the right arithmetic buys a great deal, and three times the steps buy more than twice
# the width, for less. (That is one run against two.) Nowhere is the ViT above the CNN, not even with several times its
# arithmetic.
#
# What can the figure not show? A scaling law: that takes the best accuracy that each amount of computation can reach,
# over many budgets and with a learning rate for each, and here are a handful of runs with rates by a rule of thumb, and
# a CNN that has nothing left to gain.
#
# The paper's Figure 5 is drawn that way: accuracy after transfer against the computation of pre-training, all on
# Google's JFT, for seven ResNets, six ViTs and five hybrids, each trained for 7 or for 14 epochs.
#
# > **The paper.** “Vision Transformers generally outperform ResNets with the same computational budget. Hybrids improve
# > upon pure Transformers for smaller model sizes, but the gap vanishes for larger models.” (figure 5)
#
# There is no small data set in that figure. It says what computation buys when pictures are plentiful.

# %% [markdown] anchor="width" tags=["deeper"]
# ### Does a wider model need more pictures?
#
# It has more weights to set. The CNN was made wider only where it had not reached 100 % anyway. The learning rates are
# those of the narrow models divided by the factor, a rule of thumb that was not tried out for each width.

# %%
widths = sorted({run["times"] for run in runs})


def at_width(model, images, times):
    return values("main" if times == 1 else "width", model, images, times)


print("pictures  model" + "".join(f"      ×{times}" for times in widths))
for n in two_sizes:
    for model in ("vit", "cnn"):
        row = [at_width(model, n, times) for times in widths]
        means = [100 * statistics.mean(found) if found else None for found in row]
        cells = ["       –" if mean is None else f"{mean:6.1f} %" for mean in means]
        print(f"{n:8,}  {model}  " + "".join(cells))
most = two_sizes[-1]
wide, narrow = (statistics.mean(at_width("vit", most, times)) for times in (2, 1))
assert wide > narrow + 0.05

# %% [markdown]
# For the ViT the answer is no. With 20,000 pictures the wider ones get much further in the same number of steps,
# and with 600 the widest is better, too. For the CNN it may be yes: with 600 pictures the widest is the worst. Or its
# learning rate no longer fits; we have not tried others. But within these steps no width that we tried makes up for the
# bias: a CNN with a fraction of the arithmetic is ahead of the widest ViT. What more steps would do for the wide ones,
# we did not try.

# %% [markdown] anchor="wrong-bias"
# ## When the knowledge is wrong
#
# A bias is a bet. The CNN bets that neighbours matter, and on drawn shapes it wins. Let us make it a bad bet: we
# shuffle the patches of all pictures, of training and test alike, in one fixed order. For a ViT with learned positions
# nothing has changed; we have [proved that above](#shuffle). So its curve on whole pictures *is* its curve on shuffled
# ones, and no extra run is needed. Only the CNN has to be trained anew. (It keeps its learning rate. No pilot was made
# for shuffled pictures.)

# %% alt="Three curves at 200, 2,000 and 20,000 pictures. The CNN on whole pictures goes from a third to 100 percent. The CNN on shuffled pictures lies well below it everywhere. The ViT with learned positions, which are the same on both kinds of pictures, lies lowest." jupyter={"source_hidden": true} predict="How much does the CNN lose, and does the ViT now win?"
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 3.0))
draw_curve(ax, "main", "cnn")
draw_curve(
    ax,
    "shuffled",
    "cnn",
    ls="--",
    markerfacecolor="white",
    label="CNN, patches shuffled",
)
draw_curve(ax, "learned", "learned", label="ViT, learned positions, shuffled or not")
axis_of_sizes(ax)
ax.set_ylabel("test accuracy, %")
ax.legend(loc="lower right")
plt.show()
for n in sorted({run["images"] for run in runs if run["arm"] == "shuffled"}):
    row = [
        summarise(*which, n)[0] for which in (("main", "cnn"), ("shuffled", "cnn"), ("learned", "learned"))
    ]
    known, _ = summarise("shuffled", "cnn", n, what="train_accuracy")
    print(
        f"{n:6,} pictures: CNN {row[0]:4.0%}, shuffled {row[1]:4.0%}; ViT {row[2]:4.0%};",
        end=" ",
    )
    print(f"shuffled CNN on training pictures {known:4.0%}")

# %% [markdown] tags=["answer"]
# The CNN pays for its bet, and more pictures do not give it all back. What it knows about neighbours is now false
# wherever two patches meet. (With 20,000 pictures it is short of steps as well: the last column is below 100 %.)
#
# It is still ahead of the ViT, and that is worth a second thought. Part of its knowledge has survived. Inside a patch
# everything is where it was, and a piece of an outline is the same piece wherever it lies. The ViT, on the other hand,
# is short of steps, as we have just seen, and this one has to learn its positions as well. Whether no bet beats a bad
# bet in the end, this budget cannot show.

# %% [markdown] anchor="augmentation"
# ## Knowledge by example
#
# What is not built in can be shown. A shape that is moved by up to three pixels, or mirrored, is the same shape; with
# these classes nobody would object. So we train the ViT on pictures that are moved and mirrored at random, a little
# differently each time it meets them. Does it help?

# %% jupyter={"source_hidden": true} predict="The ViT in the usual 1,200 steps: does it do better on moved and mirrored pictures? And in three times the steps?"
for n in sorted({run["images"] for run in runs if run["arm"] == "augmented"}):
    for name, arm in (("as they are", "main"), ("moved and mirrored", "augmented")):
        test, known = (
            values(arm, "vit", n, what=w)[:2] for w in ("test_accuracy", "train_accuracy")
        )  # of the two seeds that both have
        print(
            f"{n:5,} pictures, {name:18}: test",
            *(f"{one:4.0%}" for one in test),
            end="",
        )
        print(", training", *(f"{one:4.0%}" for one in known))
(shown,) = values("augmented, longer", "vit", 2_000)
print("three times the steps:")
print(
    f"2,000 pictures, as they are {after[2_000]:.0%}, moved and mirrored {shown:.0%}; 6,000 as they are {after[6_000]:.0%}"
)
assert shown > after[2_000] + 0.2
was, moved = (values(arm, "vit", 600)[:2] for arm in ("main", "augmented"))
assert all(b < a for a, b in zip(was, moved, strict=True))

# %% [markdown] tags=["answer"]
# In the usual number of steps it does *not* help. With 600 pictures both seeds are worse, with 2,000 one is worse and
# the other better. Look at the training pictures to see why. It no longer learns them by heart, which is what
# augmentation is for. But to learn what a moved shape has in common with itself takes longer than to learn by heart,
# and there was no time.
#
# Then the last two lines. With three times the steps the moved and mirrored pictures leave the others far behind. In
# these single runs 2,000 of them are worth more than 6,000 as they are. So knowledge can be given by example, and the
# price is paid in steps.

# %% [markdown]
# Steiner et al. measured for photographs what that is worth. Two words of it are easily overlooked, “increased
# compute”:
#
# > **The paper.** “the combination of increased compute and AugReg can yield models with the same performance as
# > models trained on an order of magnitude more training data” (Steiner et al., 2022, abstract; AugReg is augmentation
# > and regularisation)

# %% [markdown] anchor="live" tags=["deeper"]
# ## A small slice, now
#
# All that came out of a file. Here is a part of it while you wait: one seed, 600 pictures, a quarter of the steps.
# `train` is what the script does, without its bookkeeping.


# %%
def build(model):
    if model == "cnn":
        return ConvNet(ConvNetConfig(img_size=S, width=16, depths=(1, 1, 1)))
    return create_model("vit_nano_4", **mean_of_patches, pos_embed="sincos2d")


def train(model, images, steps, seed=0):
    """Train on the first so many pictures; the accuracy on the 2,000 test pictures."""
    mine = MemoryImages(data.train.images[:images], data.train.labels[:images])
    (lr,) = {r["lr"] for r in runs if (r["arm"], r["model"]) == ("main", model)}
    recipe = Recipe(
        img_size=S,
        seed=seed,
        epochs=math.ceil(steps / (images // batch)),
        batch_size=batch,
        lr=lr,
        flip=False,  # no augmentation
        pad=0.0,
        chunk=batch,
    )
    reseed(seed, "weights")
    trainer = Trainer(recipe, replace(data, train=mine), model=build(model))
    trainer.total = steps  # however many epochs that is
    while trainer.step < steps:
        trainer.train_step()
    model = trainer.finished_model()
    return evaluate(model, data.test, trainer.preprocessing)["accuracy"]


short = steps // 4
live = {model: train(model, 600, short) for model in ("cnn", "vit")}
for model, accuracy in live.items():
    print(f"{LOOK[model][0]}, 600 pictures, {short} steps: {accuracy:.0%}")
    assert accuracy < max(values("main", model, 600)), "below its curve"
assert live["cnn"] > live["vit"] + 0.15

# %% alt="The curves of the CNN and the ViT against the number of training pictures, with a large hollow marker at 600 pictures for each of the two models trained just now. The hollow markers lie below their curves, the CNN's far above the ViT's." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
for model in ("cnn", "vit"):
    draw_curve(ax, "main", model)
    _, color, marker = LOOK[model]
    ax.plot(
        600,
        100 * live[model],
        marker,
        markersize=9,
        markerfacecolor="white",
        markeredgecolor=color,
        label=f"{LOOK[model][0]}, now",
        zorder=3,
    )
axis_of_sizes(ax)
ax.set_ylabel("test accuracy, %")
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# With a quarter of the steps both lie below their curves. The order is that of the long runs.

# %% [markdown] anchor="not-shown"
# ## What this does not show
#
# One synthetic problem, ten outlines, pictures of 24 pixels. Two small models, one budget of steps and a glance at a
# larger one. A pilot of four learning rates at a single size with a single seed, where the CNN's best is the largest
# that was tried. No weight decay was tuned, no schedule, no patch size. Twice the arithmetic for the CNN at equal
# parameters. Three seeds at most, so that a bar is itself a rough estimate; and of three times the steps single runs.
#
# And the problem suits the CNN: the same outline anywhere in the picture is just what sharing is for. Do not conclude
# that a CNN is better on your photographs. Conclude that such curves can be measured in an afternoon, and that one
# without its budget, its learning rates and its training accuracies says little.

# %% [markdown] anchor="paper"
# ## What the paper saw
#
# Everything above is ours, small and drawn. The paper asked the same question with three sets of photographs: ImageNet
# with about 1.3 million, ImageNet-21k with 14 million, and Google's own JFT with about 300 million. It pre-trained on
# each and fine-tuned on ImageNet. These are its numbers, from table 5; figure 3 draws them.

# %% jupyter={"source_hidden": true} predict="Does a larger ViT do better? Think of 1.3 million pictures, and of 303 million."
PAPER = {  # Top-1 accuracy on ImageNet, %, after pre-training on each; Dosovitskiy et al. (2021), table 5
    "ViT-B/32": (73.38, 81.28, 80.73),
    "ViT-B/16": (77.91, 83.97, 84.15),
    "ViT-L/32": (71.16, 80.99, 84.37),
    "ViT-L/16": (76.53, 85.15, 87.12),
}
PRETRAINED = (1.3e6, 14e6, 303e6)  # images, section 4.1
for patch in (16, 32):
    base, large = PAPER[f"ViT-B/{patch}"], PAPER[f"ViT-L/{patch}"]
    ahead = [f"{l - b:+.1f}" for b, l in zip(base, large, strict=True)]
    print(f"L/{patch} against B/{patch}, points:", "  ".join(ahead))
    assert large[0] < base[0]
    assert large[2] > base[2] + 2

# %% alt="A line chart of the paper's numbers. Across, pre-training images, from one to three hundred million; upwards, accuracy on ImageNet in percent. Four lines for ViT-B and ViT-L with patches of 16 and 32. With the smallest set the Large models, in orange, lie below the Base models, in blue, of the same patch size; with the largest set they lie above them." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.8))
for name, accuracy in PAPER.items():
    style = {
        "color": ACCENT if "L" in name else CYCLE[0],
        "linestyle": "-" if "16" in name else "--",
    }
    ax.plot(PRETRAINED, accuracy, marker="o", markersize=4, label=name, **style)
ax.set(
    xscale="log",
    xlabel="pre-training images (Dosovitskiy et al., table 5)",
    ylabel="ImageNet, %",
)
ax.set_xticks(PRETRAINED, ["1.3 M", "14 M", "303 M"])
ax.minorticks_off()
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.5)
plt.show()

# %% [markdown]
# With the smallest set the larger model is the *worse* one, unlike ours. With the largest it is well ahead. So it is
# not one line that crosses another: each size of ViT has a crossing of its own. Against CNNs, the ResNets of Kolesnikov
# et al. (BiT), the picture is the same:
#
# > **The paper.** “The BiT CNNs outperform ViT on ImageNet, but with the larger datasets, ViT overtakes.” (section 4.3)
#
# And it has been moved, from both sides. DeiT (Touvron et al., 2021) changed the recipe and hardly the model:
#
# > **The paper.** “In this work, we produce competitive convolution-free transformers by training on Imagenet only.”
# > (Touvron et al., 2021, abstract)
#
# ConvNeXt (Liu et al., 2022) gave the modern recipe and some of the Transformer's proportions to a CNN:
#
# > **The paper.** “Constructed entirely from standard ConvNet modules, ConvNeXts compete favorably with Transformers in
# > terms of accuracy and scalability” (Liu et al., 2022, abstract)
#
# So “ViTs need 300 million images” is not a law. It is a point on one curve, drawn with one recipe.

# %% [markdown] anchor="parts-of-jft" tags=["deeper"]
# ### Parts of one set
#
# Three sets differ in more than their size. To leave their contents out of it, the paper then took random parts of JFT
# alone: 9, 30 and 90 million images, and all of them.
#
# > **The paper.** “ResNets perform better with smaller pre-training datasets but plateau sooner than ViT, which performs
# > better with larger pre-training.” (figure 4)
#
# > **The paper.** “For example, ViT-B/32 is slightly faster than ResNet50; it performs much worse on the 9M subset, but
# > better on 90M+ subsets.” (section 4.3)
#
# > **The paper.** “This result reinforces the intuition that the convolutional inductive bias is useful for smaller
# > datasets, but for larger ones, learning the relevant patterns directly from data is sufficient, even beneficial.”
# > (section 4.3)
#
# Read it with the eyes of this lesson. The models were matched by computation, not by parameters. The recipe was one
# and the same for all of the JFT parts, without further regularisation, and the best epoch was taken. The quality is
# that of a linear classifier on the frozen features, fitted to a few labelled pictures of each class. All of that is
# stated in the section, and all of it could move the crossing.

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# > **Common mistake.** Equal *epochs* for all sizes of the training set. An epoch of few pictures has few steps, so the
# > small runs are not only short of pictures. They are short of training.

# %%
epochs = 5
for n in sizes:
    print(f"{n:6,} pictures: {epochs} epochs are {epochs * (n // batch):5} steps")
brief = train("cnn", 600, steps=epochs * (600 // batch))
enough = live["cnn"]
print(f"the CNN, 600 pictures: {epochs} epochs {brief:.0%}, {short} steps {enough:.0%}")
assert brief < enough - 0.15

# %% [markdown]
# The pictures are the same. Drawn as a curve, the difference would look exactly like a hunger for data.

# %% [markdown] tags=["deeper"]
# ### Two ways to fool oneself with luck
#
# > **Common mistake.** Reporting the best of several seeds, or comparing somebody's best with somebody else's mean. How
# > much is that worth? We take two models that are *equally good*, with the largest spread that we measured, and give
# > one of them five seeds of which the best is reported.

# %%
spread = max(summarise("main", model, n)[1] for model in ("vit", "cnn") for n in sizes)
g = torch.Generator().manual_seed(0)
scores = 0.7 + spread * torch.randn(10_000, 2, 5, generator=g)  # (…, models, seeds)
fair = scores[:, 0].mean(1) - scores[:, 1].mean(1)
unfair = scores[:, 0].amax(1) - scores[:, 1].mean(1)
print(f"spread over the seeds {100 * spread:.1f} points")
print(f"mean against mean: {100 * fair.mean():+.1f} points")
print(f"best of five against mean: {100 * unfair.mean():+.1f} points")
won = (unfair > 0).float().mean()
print(f"the same model twice, and the first one “wins” in {won:.0%} of the experiments")
assert abs(fair.mean()) < 0.1 * spread
assert unfair.mean() > spread
assert won > 0.9

# %% [markdown]
# > **Common mistake.** Choosing with the test pictures: the learning rate, the epoch, or which of the runs to show.
# > Suppose that a pilot of forty candidates, all equally good, were read off the test pictures.

# %%
g = torch.Generator().manual_seed(0)
truth, tested = 0.8, 500
trials = torch.full((1000, 40), float(tested))
found = torch.binomial(trials, torch.tensor(truth), generator=g) / tested
best = found.amax(1).mean()
print(f"all are right on {truth:.0%}; the best of 40 looks like {best:.1%}")
assert best > truth + 0.02

# %% [markdown]
# That is the selection effect of [lesson 6](06_training.ipynb#splits). In a comparison it is worse, because it favours
# whoever tried more.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# Our CNN halves the picture twice. Suppose that there were no borders. Which shifts would its last feature
# map follow exactly?
#
# <details>
# <summary>Answer</summary>
#
# Those of a multiple of four pixels, as a ViT with patches of four and without positions. A stride is a grid, too.
#
# </details>
#
# Its norms are group norms: they take mean and deviation over the whole feature map. Is the network local, strictly?
#
# <details>
# <summary>Answer</summary>
#
# No. A pixel in one corner changes the mean, and through it every output, a little. So the perturbation test of this
# page finds change everywhere. Locality is in the convolutions, which is why the test above used nothing else.
#
# </details>
#
# A ViT knows all of its 600 training pictures and fails on the test. A friend proposes to make it smaller, so that it
# can no longer learn by heart. What speaks against it?
#
# <details>
# <summary>Answer</summary>
#
# Few weights are not the right weights. The CNN has as many and does not need fewer. What is missing is a reason
# to prefer one of the many functions that fit: a bias, augmentation, or weights that were trained on other pictures.
#
# </details>
#
# Someone shows you two curves that cross at 5,000 pictures: CNN ahead to the left, ViT to the right. Three questions
# before you believe it?
#
# <details>
# <summary>Answer</summary>
#
# Did all runs have the same number of steps? Did each model have a learning rate of its own, chosen on validation
# pictures? How large is the spread over the seeds near the crossing? And, as a fourth: what was held equal,
# parameters, arithmetic or seconds?
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. How far it sees.** (10 minutes, easy.) How wide is the square of input pixels that one output of a stack of 3 × 3
# convolutions depends on? Write `field(strides)`, a loop over their strides. Then `check(10, 1, field)`.
#
# <details>
# <summary>Hint</summary>
#
# Keep two numbers: how far one step in the output is in the input, and how wide the field is. A layer widens it by
# $(k - 1)$ such steps.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch import nn
# from vit.course import check
#
#
# def field(strides):
#     side, step = 1, 1
#     for stride in strides:
#         side += (3 - 1) * step
#         step *= stride
#     return side
#
#
# strides = [1, 2, 1, 2, 1]
# torch.manual_seed(0)
# layers = [nn.LazyConv2d(8, 3, stride=stride, padding=1) for stride in strides]
# x = torch.zeros(1, 1, 64, 64, requires_grad=True)
# nn.Sequential(*layers)(x)[0, :, 8, 8].sum().backward()
# rows = (x.grad[0, 0] != 0).any(1).nonzero()[:, 0]  # which rows of pixels matter
# assert len(rows) == field(strides) == 21
# assert check(10, 1, field)
# ```
#
# Strides let a CNN see far with few layers. A ViT's first layer sees everything.
#
# </details>
#
# **2. Local, but not shared.** (20 minutes, medium.) Count a bias by taking half of it away. Write `local(x, weights)`
# for pictures `(1, 1, 8, 8)` with 9 weights of its own at each of the 64 places, `(9, 64)`, where beyond an edge the
# other side begins. Does it follow a shift? When does it become a convolution? Then `check(10, 2, local)`.
#
# <details>
# <summary>Hint</summary>
#
# `F.unfold` lays out every neighbourhood as a column.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# import torch.nn.functional as F
# from vit.course import check
#
#
# def local(x, weights):  # (1, 1, 8, 8), (9, 64) -> (1, 1, 8, 8)
#     columns = F.unfold(F.pad(x, (1, 1, 1, 1), mode="circular"), 3)  # (1, 9, 64)
#     return (columns * weights).sum(1).reshape(1, 1, 8, 8)
#
#
# torch.manual_seed(0)
# x, own, kernel = torch.randn(1, 1, 8, 8), torch.randn(9, 64), torch.randn(1, 1, 3, 3)
# shifted = x.roll(1, 3)
# assert not torch.allclose(local(shifted, own), local(x, own).roll(1, 3), atol=1e-3)
# same = kernel.reshape(9, 1).expand(9, 64)  # one kernel at all places
# conv = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), kernel)
# assert torch.allclose(local(x, same), conv, atol=1e-4)
# assert torch.allclose(local(shifted, same), local(x, same).roll(1, 3), atol=1e-4)
# assert check(10, 2, local)
# ```
#
# </details>
#
# **3. Teach by shifting.** (10 minutes, easy.) Augmentation makes the *training set* follow shifts. Write
# `averaged(model, x)`, the mean of a model's answers over all shifts of its pictures to the side. What does that make
# of it, and at what price? Then `check(10, 3, averaged)`.
#
# <details>
# <summary>Hint</summary>
#
# Compare the averaged answer to a picture and to the same picture, shifted.
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
# def averaged(model, x):
#     return torch.stack([model(x.roll(s, 3)) for s in range(x.shape[3])]).mean(0)
#
#
# assert check(10, 3, averaged)
# torch.manual_seed(0)
# vit = create_model("vit_nano_4", img_size=24, depth=2).eval()
# x = torch.randn(2, 3, 24, 24)
# with torch.no_grad():
#     assert not torch.allclose(vit(x.roll(5, 3)), vit(x), atol=1e-3)
#     assert torch.allclose(averaged(vit, x.roll(5, 3)), averaged(vit, x), atol=1e-4)
# ```
#
# An exact invariance to shifts to the side, whatever the weights, for 24 times the arithmetic. Convolutions without
# stride that see the other side at each border, with a mean over all places at the end, have it for less.
#
# </details>
#
# **4. How many seeds?** (15 minutes, medium.) To compare without fooling yourself: two models differ by one point, and
# the spread over the seeds is 1.5 points. Write `seeds(difference, s)`: how many of each make the expected difference
# two standard errors? Then `check(10, 4, seeds)`. How often has the better model the better mean, with one seed each
# and with yours? And what would your seeds still not show?
#
# <details>
# <summary>Hint</summary>
#
# The standard error of the difference of two means of $n$ is $s \sqrt{2 / n}$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import math
#
# import torch
# from vit.course import check
#
#
# def seeds(difference, s):
#     return math.ceil(2 * (2 * s / difference) ** 2)
#
#
# assert check(10, 4, seeds)
# assert seeds(1.0, 1.5) == 18
# g = torch.Generator().manual_seed(0)
#
#
# def right_order(n):
#     worse = 1.5 * torch.randn(20_000, n, generator=g)
#     better = 1.0 + 1.5 * torch.randn(20_000, n, generator=g)
#     return (better.mean(1) > worse.mean(1)).float().mean().item()
#
#
# assert right_order(1) < 0.72  # one seed each: wrong in more than a quarter of the cases
# assert right_order(18) > 0.95
# ```
#
# With one seed each, the worse model wins more than once in four times. With 18 the order is nearly
# always right, but in half of such experiments the difference found is below two standard errors. Seeds say nothing
# about another recipe, other sizes of model or other pictures: about all that was the same in every run.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# An inductive bias is what a model takes for granted, and it can be counted: a convolution has three free numbers where
# any linear map of eight has 64. Convolutions are local and follow every shift; a ViT sees everything at once and
# follows nothing, and to a ViT without positions shuffled patches are the same picture. Compare with equal steps, a
# learning rate for each, several seeds, and say what else was not equal. Here the CNN was ahead at every number of
# pictures, and the lines did not cross. With few pictures the ViT learned by heart; with many it was short of steps,
# which looks the same in a curve of accuracy alone. What is not built in can be taught by example, for the price of
# more steps, and a bias that is wrong costs. The paper saw the lines cross, with photographs, between 9 and 90 million;
# later recipes have moved the crossing.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 3.1, 4.3 and 4.4, figures 3 to 5, table 5. Kaiming He et
# al., [Deep Residual Learning](https://arxiv.org/abs/1512.03385) and [Identity Mappings in Deep Residual
# Networks](https://arxiv.org/abs/1603.05027), both 2016. Alexander Kolesnikov et al., [Big Transfer
# (BiT)](https://arxiv.org/abs/1912.11370), ECCV 2020. Hugo Touvron et al., [Training data-efficient image transformers
# & distillation through attention](https://arxiv.org/abs/2012.12877), ICML 2021. Andreas Steiner et al., [How to train
# your ViT?](https://arxiv.org/abs/2106.10270), TMLR 2022. Zhuang Liu et al., [A ConvNet for the
# 2020s](https://arxiv.org/abs/2201.03545), CVPR 2022. Yuxin Wu and Kaiming He, [Group
# Normalization](https://arxiv.org/abs/1803.08494), ECCV 2018.
