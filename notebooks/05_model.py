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
#     number: 5
#     prerequisites: Lessons 1 to 4, or a good acquaintance with patches, the class
#       token, attention and pre-norm blocks
# ---

# %% [markdown]
# # The whole Vision Transformer
#
# Four lessons have left us with a box of parts: patches, a class token and positions, attention, a block. What does
# it take to make a model of them?
#
# A loop, a norm and a matrix. The complete class stands on this page in fewer than sixty lines. The rest of the
# lesson is about knowing what one has built. What shape does each tensor have on the way? Where are the parameters, and
# where is the arithmetic? Is it really the model that other people publish?
#
# After it you can write the class from memory, count its parameters and its cost on paper, show that it is the model
# of a library by loading that library's weights, and recognise mistakes that raise no error.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math
import re
import warnings
from collections import Counter
from functools import partial

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vit import PRESETS, VisionTransformer, count_macs, create_model, get_config
from vit.data import photograph
from vit.encoder import Block
from vit.plotting import (
    ACCENT,
    CYCLE,
    DIVERGING,
    FAINT,
    INK,
    WIDTH,
    bare,
    draw_matrix,
    draw_runs,
    pixels,
    use_style,
)
from vit.results import measured

torch.manual_seed(0)
use_style()

# %% [markdown] anchor="equations"
# ## Four equations
#
# > **The paper.** “In model design we follow the original Transformer (Vaswani et al., 2017) as closely as possible.”
# > (section 3)
#
# The whole model is four lines of section 3.1:
#
# $$
# \begin{aligned}
# \mathbf{z}_0 &= [\mathbf{x}_\text{class};\, \mathbf{x}_p^1\mathbf{E};\, \cdots;\, \mathbf{x}_p^N\mathbf{E}]
#   + \mathbf{E}_{pos} && (1) \\
# \mathbf{z}'_\ell &= \operatorname{MSA}(\operatorname{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1},
#   \quad \ell = 1 \ldots L && (2) \\
# \mathbf{z}_\ell &= \operatorname{MLP}(\operatorname{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell,
#   \quad \ell = 1 \ldots L && (3) \\
# \mathbf{y} &= \operatorname{LN}(\mathbf{z}_L^0) && (4)
# \end{aligned}
# $$
#
# Equation 1 is [lesson 1](01_patches.ipynb) and [lesson 2](02_positions.ipynb). Equation 2 is [lesson
# 3](03_attention.ipynb), in the frame that [lesson 4](04_encoder.ipynb) put around it. Equation 3 is the other half
# of the block. The letter $\ell$ says that blocks are stacked, $L$ of them, each with weights of its own.
#
# Only equation 4 is new: take token 0 of the last block's output and normalise it once more. Lesson 4 left this as a
# debt. In a pre-norm block the norm stands on the branch. The stream, to which the branches add, is never normalised,
# and without a last norm the classifier would read numbers whose size depends on the depth and on the training so
# far.
#
# The classifier itself stands in no equation. It is one sentence, and we will come back to it:
#
# > **The paper.** “The classification head is implemented by a MLP with one hidden layer at pre-training time and by a
# > single linear layer at fine-tuning time.” (section 3.1)
#
# (*Pre-training* is the long first training on a very large set of images. *Fine-tuning* trains that model a little
# further, on the task or at the resolution that one wants.)

# %% [markdown] anchor="class"
# ## The class
#
# Here it is, with nothing imported from our package. Attention, MLP and block are those of the last two lessons,
# written as short as they get. The names of the attributes are timm's, for a reason that shows further down.


# %%
class MyAttention(nn.Module):
    def __init__(self, D, h):
        super().__init__()
        self.h = h
        self.qkv = nn.Linear(D, 3 * D)
        self.proj = nn.Linear(D, D)

    def forward(self, x):
        B, tokens, D = x.shape  # N patches and the class token: N+1
        qkv = self.qkv(x).reshape(B, tokens, 3, self.h, D // self.h)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, h, N+1, D/h)
        scores = q @ k.transpose(-2, -1) / (D // self.h) ** 0.5  # (B, h, N+1, N+1)
        mixed = scores.softmax(-1) @ v  # (B, h, N+1, D/h)
        return self.proj(mixed.transpose(1, 2).reshape(B, tokens, D))


class MyMlp(nn.Module):
    def __init__(self, D, hidden):
        super().__init__()
        self.fc1 = nn.Linear(D, hidden)
        self.fc2 = nn.Linear(hidden, D)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class MyBlock(nn.Module):
    def __init__(self, D, h, hidden):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(D, eps=1e-6), MyAttention(D, h)
        self.norm2, self.mlp = nn.LayerNorm(D, eps=1e-6), MyMlp(D, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MyViT(nn.Module):
    def __init__(self, H=224, W=224, P=16, C=3, K=1000, D=768, L=12, h=12, hidden=3072):
        super().__init__()
        N = (H // P) * (W // P)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(C, D, P, stride=P)})  # (1)!
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D))
        self.pos_embed = nn.Parameter(torch.zeros(1, N + 1, D))
        self.blocks = nn.ModuleList(MyBlock(D, h, hidden) for _ in range(L))  # (2)!
        self.norm = nn.LayerNorm(D, eps=1e-6)
        self.head = nn.Linear(D, K)

    def forward(self, images):
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)  # (B, N, D)
        cls = self.cls_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
        x = torch.cat([cls, x], dim=1) + self.pos_embed  # (B, N+1, D)
        for block in self.blocks:
            x = block(x)
        y = self.norm(x)[:, 0]  # (3)!
        return self.head(y)  # (B, K)


# %% [markdown]
# 1. A dictionary of one, only so that the parameter is called `patch_embed.proj.weight`, as in timm.
# 2. `ModuleList` and not a list; a new block each time and not the same one. Both slips are under “Common mistakes”.
# 3. Equation 4 and the head. The norm looks at each token alone, so normalising all of them and then taking token 0
#    is the same as taking token 0 and normalising it.

# %% [markdown]
# `MyBlock.forward` is equations 2 and 3. `MyViT.forward` is the rest: equation 1 in its first three lines, equation 4
# in its last but one. How long is the cell? Python keeps its text, so we can ask.

# %% jupyter={"source_hidden": true}
lines, _ = inspect.findsource(MyViT.forward)  # the whole cell
code = [line for line in lines if line.strip()]
print(f"{len(lines)} lines, {len(code)} without the empty ones")
assert len(lines) < 60

# %% [markdown]
# And does it run? The defaults are ViT-B/16. We build one with random weights and show it the cat. What comes out is a
# number for each of a thousand classes, called a *logit*: a score of any size. A softmax would turn the logits into
# probabilities.

# %%
photo = photograph("chelsea")  # (3, 224, 224)
batch = photo[None]  # (1, 3, 224, 224): models take batches
mine = MyViT().eval()
with torch.no_grad():
    logits = mine(batch)
print("image", tuple(batch.shape), "-> logits", tuple(logits.shape))
print(f"{sum(p.numel() for p in mine.parameters()):,} parameters")
assert logits.shape == (1, 1000)

# %% [markdown] anchor="picture"
# ## The whole thing in one picture
#
# What happened on the way? PyTorch lets us listen. A *forward hook* is a function that a module calls after each of its
# forward passes, with its input and its output. We hang one on every module of the model and let it write down the
# shape. Before you look: which shapes leave the first block and the last?

# %% predict="Which shapes leave the first block, the last block and the norm?"
shapes = {}


def listen(module, name):
    def write_down(module, inputs, output):
        shapes[name] = tuple(output.shape[1:])  # without the batch axis

    return module.register_forward_hook(write_down)


hooks = [listen(module, name) for name, module in mine.named_modules()]
with torch.no_grad():
    mine(batch)
for hook in hooks:
    hook.remove()
for name in ("patch_embed.proj", "blocks.0", "blocks.11", "norm", "head"):
    print(f"{name:18} -> {shapes[name]}")

# %% alt="A diagram in two rows. Above, from left to right: the cat under a grid of patches, 3 by 224 by 224; a column of patches, 196 by 768; a column of tokens with an orange class token on top, each beside the bar of its position, 197 by 768; a stack of cards, times 12; a norm; a head; a bar chart of 1000 scores. Below, one card opened: norm, attention with 12 matrices of 197 by 197, plus; norm, MLP of width 3072, plus; a line passes around each pair." jupyter={"source_hidden": true} tags=["remove-input"]
tokens, D = shapes["norm"]  # N+1 tokens
heads, hidden = mine.blocks[0].attn.h, shapes["blocks.0.mlp.fc1"][1]
by = lambda *sides: " × ".join(str(side) for side in sides)
BLUE, GREEN, SKY, AMBER = CYCLE[0], CYCLE[2], CYCLE[4], CYCLE[5]

figure, ax = plt.subplots(figsize=(WIDTH, 4.05))
bare(ax).set(xlim=(0, 136), ylim=(1, 81), aspect="equal")


def box(x, y, w, h, text="", face="white", edge=INK, ink=INK, size=8.5, z=2):
    style = "round,pad=0,rounding_size=1.2"
    patch = plt.matplotlib.patches.FancyBboxPatch(
        (x, y), w, h, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=0.9, zorder=z
    )
    ax.add_patch(patch)
    ax.text(
        x + w / 2, y + h / 2 - 0.1, text, ha="center", va="center", fontsize=size, color=ink, zorder=z + 1
    )


def arrow(*points):
    ax.plot(*zip(*points[:-1], strict=True), color=INK, linewidth=1, zorder=1, solid_joinstyle="round")
    style = {"arrowstyle": "-|>", "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style, zorder=1)


def label(x, y, text, **more):
    ax.text(x, y, text, **({"ha": "center", "va": "center", "fontsize": 8, "color": INK} | more))


# the image under its grid
ax.imshow(pixels(photo), extent=(1, 25, 50, 74), zorder=1)
for i in range(15):
    ax.plot([1, 25], [50 + 24 * i / 14] * 2, color="white", linewidth=0.5)
    ax.plot([1 + 24 * i / 14] * 2, [50, 74], color="white", linewidth=0.5)
label(13, 46.5, by(*batch.shape[1:]))
arrow((26, 62), (31, 62))
# patches, tokens, positions
indices = [0, 1, 2, None, tokens - 2]
for i, y in zip(indices, (67.2, 61.9, 56.6, 53.7, 48.5), strict=True):
    if i is None:
        for x in (34.7, 51.5, 65.5):
            label(x, y + 1.0, "⋮", fontsize=9)
        continue
    row, column = divmod(i, 14)
    patch = photo[:, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
    ax.imshow(pixels(patch), extent=(32.5, 37, y, y + 4.5), zorder=1)
    box(46, y + 0.6, 11, 3.3, str(i), BLUE, BLUE, "white", 7)
    box(62, y + 0.6, 7, 3.3, "", GREEN, GREEN)
    label(59.5, y + 2.2, "+")
box(46, 73.1, 11, 3.3, "CLS", ACCENT, ACCENT, "white", 7)
box(62, 73.1, 7, 3.3, "", GREEN, GREEN)
label(59.5, 74.7, "+")
label(34.7, 46.5, by(tokens - 1, math.prod(batch.shape[1:]) // (tokens - 1)))
label(57.5, 46.5, by(tokens, D))
arrow((38, 62), (45, 62))
label(41.3, 64.3, "E", style="italic", fontsize=9)
arrow((70, 62), (75.5, 62))
# the stack of blocks
for i in (3, 2, 1, 0):
    box(76.5 + 1.3 * i, 53 + 1.3 * i, 13, 15, "block" if i == 0 else "", "white", z=6 - i)
label(85.5, 76.5, f"× {len(mine.blocks)}", fontsize=9.5)
label(84, 46.5, by(tokens, D))
# norm, head, scores
arrow((94, 62), (98.5, 62))
box(99, 55, 9, 14, "norm", "#e8eaee")
arrow((108, 62), (114.5, 62))
label(111.2, 64.6, "CLS", color=ACCENT, fontsize=7)
box(115, 55, 9, 14, "head", "#e8eaee")
arrow((124, 62), (127.5, 62))
bars = logits[0, :12] - logits[0].min() + 0.3
for i, value in enumerate(bars / bars.max()):
    ax.barh(69.6 - 1.32 * i, 6 * value.item(), height=0.95, left=128.3, color=FAINT)
label(103.5, 46.5, by(tokens, D))
label(131, 46.5, by(*shapes["head"]))

# one block opened
corners = [(2, 3), (134, 3), (134, 37), (87, 37), (84, 43), (81, 37), (2, 37)]
ax.fill(*zip(*corners, strict=True), facecolor="#f5f6f8", edgecolor=FAINT, linewidth=0.8, zorder=0)
arrow((4, 18), (17, 18))
box(17, 12.5, 12, 11, "norm", "#e8eaee")
arrow((29, 18), (34, 18))
box(34, 12.5, 21, 11, "attention", SKY + "66")
arrow((55, 18), (60, 18))
arrow((10, 18), (10, 31.5), (62, 31.5), (62, 20))
arrow((64, 18), (73, 18))
box(73, 12.5, 12, 11, "norm", "#e8eaee")
arrow((85, 18), (90, 18))
box(90, 12.5, 21, 11, "MLP", AMBER + "66")
arrow((111, 18), (116, 18))
arrow((68, 18), (68, 31.5), (118, 31.5), (118, 20))
arrow((120, 18), (132, 18))
for x in (62, 118):
    box(x - 2, 16, 4, 4, "+", "white")
label(44.5, 8, by(heads, tokens, tokens))
label(100.5, 8, by(tokens, hidden))
for x in (36, 93):
    label(x, 33.7, by(tokens, D), fontsize=7.5)
plt.show()

# %% [markdown]
# Read the upper row once, then the lower one, which opens a single card of the stack. What stands below attention and
# MLP is the largest tensor *inside* that box. (The code that draws it is in the notebook; the page leaves it out.)
#
# Notice how little the shapes change. From the class token to the last norm every tensor that leaves a box is 197 ×
# 768. That is what makes the stack possible: a block returns the shape it was given, so any number of them can follow
# one another.

# %% [markdown] anchor="toy"
# ## With a pencil
#
# The toy has waited for this moment. We build the same class, with $D = 2$, one block, one head and two classes, and
# set every weight by hand. The projection is the matrix $\mathbf{E}$ of lesson 1, which asks (right − left, lower −
# upper). Class token, positions and all biases are zero. Queries, keys and values are the normalised tokens
# themselves, and the MLP adds nothing.
#
# The head shall answer two questions. The score of “vertical edge” is the first number of $\mathbf{y}$. The score of
# “horizontal edge” is minus the second, since our horizontal edge, bright above and dark below, is $(0, -2)$.

# %% jupyter={"source_hidden": true} predict="Which of the two scores is the larger, vertical or horizontal edge?"
toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
E = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])  # (P·P, D)
tiny = MyViT(H=4, W=4, P=2, C=1, K=2, D=2, L=1, h=1, hidden=8)
block = tiny.blocks[0]
with torch.no_grad():
    for parameter in tiny.parameters():
        parameter.zero_()
    for norm in (block.norm1, block.norm2, tiny.norm):
        norm.weight.fill_(1.0)
    tiny.patch_embed["proj"].weight.copy_(E.T.reshape(2, 1, 2, 2))  # (D, C, P, P)
    block.attn.qkv.weight.copy_(torch.eye(2).repeat(3, 1))  # (3·D, D)
    block.attn.proj.weight.copy_(torch.eye(2))
    tiny.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    scores = tiny(toy[None, None])  # (1, 2)
print("vertical edge, horizontal edge:", [round(s, 3) for s in scores[0].tolist()])

# %% [markdown]
# Now on paper. The five tokens are $(0,0)$ for CLS, then $(0,0)$, $(2,0)$, $(0,-2)$ and $(1,1)$. A norm subtracts the
# mean and divides by the standard deviation. $(2,0)$ has mean 1, deviations $(1,-1)$ and standard deviation 1, so it
# becomes $(1,-1)$. And $(0,-2)$? Mean $-1$, deviations $(1,-1)$: the same. Two equal numbers become $(0,0)$.
#
# CLS is $(0,0)$, so its query is zero and all its scores are equal: it takes a fifth of everyone. A fifth of
# $(1,-1) + (1,-1)$ is $(0.4, -0.4)$. The last norm makes $(1,-1)$ of that, and the head $(1, 1)$.

# %% jupyter={"source_hidden": true}
with torch.no_grad():
    tokens = tiny.patch_embed["proj"](toy[None, None]).flatten(2).transpose(1, 2)[0]  # (N, D)
    z0 = torch.cat([torch.zeros(1, 2), tokens])  # (N+1, D), equation 1
    normed = block.norm1(z0)
    weights = (normed @ normed.T / 2**0.5).softmax(-1)  # (N+1, N+1)
    z1 = z0 + weights @ normed  # equation 2; the MLP of equation 3 adds zero
    y = tiny.norm(z1)[0]  # (D,), equation 4
    by_hand = tiny.head(y)  # (K,)
assert_close(tokens, torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0], [1.0, 1.0]]))
assert_close(weights[0], torch.full((5,), 0.2))
assert_close(z1[0], torch.tensor([0.4, -0.4]))
assert_close(by_hand, torch.tensor([1.0, 1.0]), rtol=1e-4, atol=1e-4)
assert_close(by_hand[None], scores)
print("by hand = the class:", [round(s, 3) for s in by_hand.tolist()])

# %% alt="Six small matrices in a row. The five tokens z0; the same after the norm, where the second and third patch have become equal, 1 and minus 1; the 5 by 5 attention weights, whose first row is 0.20 throughout; the tokens z1 after attention; y, which is 1 and minus 1; and the two scores, 1 and 1." jupyter={"source_hidden": true}
names = ["CLS", "0", "1", "2", "3"]
stages = [
    ("z₀", z0, names, "{:.1f}"),
    ("LN(z₀)", normed, names, "{:.1f}"),
    ("weights", weights, names, "{:.2f}"),
    ("z₁", z1, names, "{:.1f}"),
    ("y", y[None], ["CLS"], "{:.1f}"),
    ("scores", by_hand[None], ["CLS"], "{:.1f}"),
]
figure, axes = plt.subplots(1, 6, figsize=(WIDTH, 2.0), width_ratios=[2, 2, 5, 2, 2, 2])
for ax, (title, matrix, rows, form) in zip(axes, stages, strict=True):
    square = title == "weights"
    draw_matrix(ax, matrix, rows, rows if square else None, form, DIVERGING, (-2.8, 2.8), title)
plt.show()

# %% [markdown]
# Equal scores. The toy has one vertical and one horizontal edge of the same strength, so a tie is the right answer.
# Is it right for the right reason? Take the horizontal edge out of the picture and ask again.

# %% predict="The horizontal edge is gone. What are the two scores now?"
without = toy.clone()
without[2:, :2] = 1.0  # patch 2 becomes flat
with torch.no_grad():
    scores_without = tiny(without[None, None])
print("no horizontal edge:", [round(s, 3) for s in scores_without[0].tolist()])

# %% [markdown] tags=["answer"]
# The same tie. Look at the second part of the figure: after the norm, patch 1 and patch 2 are one and the same
# vector. [Lesson 4](04_encoder.ipynb) warned us that a norm takes two numbers from every token and leaves of two no
# more than a sign. So this model can say “vertical” and “horizontal” only together. The toy has shown the whole path,
# and that $D = 2$ is too narrow for it. An exercise gives it a third number.

# %% [markdown] anchor="vit-model"
# ## The finished piece
#
# The package's `VisionTransformer` does what `MyViT` does. It reads its sizes from a configuration, checks what it is
# given, and has the options of the last four lessons. The path from image to logits is these four methods:

# %%
for method in ("embed", "forward_features", "forward_head", "forward"):
    print(inspect.getsource(getattr(VisionTransformer, method)))

# %% [markdown]
# Two classes, written apart, with parameters of the same names. If they are the same model, then one can load the
# weights of the other, and on the cat both must say the same. A zero in the wrong place would not be noticed, so the
# weights travel from `ours`, whose positions are random, to `mine`, and before that the class token becomes random,
# too. (`assign` hands over the tensors themselves, so from here on the two models share one set of weights.)

# %%
torch.manual_seed(0)
ours = create_model("vit_b_16").eval()
nn.init.normal_(ours.cls_token)
print(mine.load_state_dict(ours.state_dict(), assign=True))
with torch.no_grad():
    a, b = mine(batch), ours(batch)
assert_close(a, b, rtol=1e-4, atol=1e-4)
print("logits of mine and ours agree; they are not all alike:", bool(b.std() > 0.1))

# %% [markdown]
# The last question is there because an equality of zeros proves nothing. We will need that thought again.

# %% [markdown] anchor="ledger"
# ## A ledger of every tensor
#
# A hook also sees its module, so it can count more than shapes: the parameters that the module owns, and the
# multiplications it has just done. In a linear layer and in a convolution every number of the output is an inner
# product with one row, or one kernel, of the weight: as many multiply-accumulates (MACs) as that has entries. (A MAC is
# one product and its addition.) Attention adds its own. With the class token the sequence is $N+1$ long, so all the
# products of queries with keys take $(N+1)^2 D$, and the weighted sums of values as many.
#
# Blocks are all alike, so the ledger writes one line for all of them, and asserts on the way that it may.

# %% jupyter={"source_hidden": true}
COUNTED = (nn.Conv2d, nn.LayerNorm, nn.Linear, nn.GELU)


def ledger(model, images):
    rows, handles = {}, []  # name -> [shape, parameters, MACs, how often]

    def add(name, shape, parameters, macs):
        row = rows.setdefault(re.sub(r"\.\d+\.", ".*.", name), [shape, 0, 0, 0])  # (1)!
        assert row[0] == shape, "blocks that differ must not share a line"
        row[1:] = row[1] + parameters, row[2] + macs, row[3] + 1

    def hook(module, inputs, output, name):
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if name == "pos_drop":  # (2)!
            own = model.cls_token.numel() + model.pos_embed.numel()
        inner = module.weight[0].numel() if isinstance(module, nn.Linear | nn.Conv2d) else 0
        add(name, tuple(output.shape[1:]), own, output.numel() * inner)
        if name.endswith("qkv"):
            (tokens, D), h = inputs[0].shape[1:], model.config.num_heads
            add(name.replace("qkv", "matrix"), (h, tokens, tokens), 0, 2 * tokens**2 * D)

    for name, module in model.named_modules():
        if isinstance(module, COUNTED) or name in ("patch_embed", "pos_drop"):
            handles.append(module.register_forward_hook(partial(hook, name=name)))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return rows


# %% [markdown]
# 1. `blocks.0.mlp.fc1` and `blocks.7.mlp.fc1` both become `blocks.*.mlp.fc1`. That folds the repeated lines.
# 2. Class token and positions belong to no module but the model. We book them where they have just been added.

# %% [markdown]
# Two models side by side: ViT-Base on the cat, and our smallest preset, made for images of 32 × 32 pixels. Parameters
# and MACs of a folded line are sums over its blocks, so that the columns add up. Shapes are without the batch axis.

# %% jupyter={"source_hidden": true} predict="Which two lines of a block hold most of the parameters of ViT-B? Which hold none?"
nano = create_model("vit_nano_4").eval()
small = photograph("chelsea", img_size=32)[None]  # (1, 3, 32, 32)
base_rows, nano_rows = ledger(ours, batch), ledger(nano, small)
assert list(base_rows) == list(nano_rows)
TEXT = {"patch_embed": "flatten, transpose", "pos_drop": "+ CLS, + positions"}


def cells(shape, parameters, macs, _):
    return f"{'×'.join(map(str, shape)):>14}{parameters:>12,}{macs / 1e6:>10,.1f}"


print(f"{'':20}{'ViT-B/16, 224 × 224':>25}{'vit_nano_4, 32 × 32':>36}")
print(f"{'':20}" + 2 * f"{'shape':>14}{'parameters':>12}{'MACs, M':>10}")
for name, row in base_rows.items():
    if name == "blocks.*.norm1":
        print(f"{'blocks':20}{f'× {row[3]}':>14}{f'× {nano_rows[name][3]}':>36}")
    print(f"{TEXT.get(name, name.replace('blocks.*.', '  ')):20}{cells(*row)}{cells(*nano_rows[name])}")
totals = [[sum(row[i] for row in rows.values()) for i in (1, 2)] for rows in (base_rows, nano_rows)]
print(f"{'total':20}" + "".join(cells((), *total, 0) for total in totals))

# %% [markdown] tags=["answer"]
# In ViT-B two lines carry most of the weight, `mlp.fc1` and `mlp.fc2`. In the other model the MLP is only twice as
# wide as the stream, and `attn.qkv` is the largest line. The attention matrix has no parameters at all, and neither
# has the GELU, `mlp.act`. In ViT-B the matrix costs about half as much as `attn.proj`, in the other model about as
# much.

# %% [markdown]
# A ledger that nobody audits is decoration. Three audits. The parameters must add up to what PyTorch counts, the MACs
# to what our package predicts from the configuration alone, and the line `attn.matrix`, which no module returns, must
# have the shape of the attention weights that `attention_maps` hands out, one tensor for each block.

# %% jupyter={"source_hidden": true}
for model, images, rows in ((ours, batch, base_rows), (nano, small, nano_rows)):
    assert sum(row[1] for row in rows.values()) == sum(p.numel() for p in model.parameters())
    assert sum(row[2] for row in rows.values()) == sum(count_macs(model.config).values())
    assert all(row[3] == model.config.depth for name, row in rows.items() if "*" in name)
    with torch.no_grad():
        maps = model.attention_maps(images)
    assert rows["blocks.*.attn.matrix"][0] == tuple(maps[0].shape[1:])
    print(len(maps), "maps of", tuple(maps[0].shape), "- the books balance")
assert base_rows["patch_embed"][0] == (196, 768)
assert base_rows["blocks.*.attn.qkv"][0] == (197, 3 * 768)
assert base_rows["blocks.*.mlp.fc1"][0] == (197, 4 * 768)

# %% [markdown] anchor="sizes"
# ## Five sizes
#
# > **The paper.** “The “Base” and “Large” models are directly adopted from BERT and we add the larger “Huge” model.”
# > (section 4.1)
#
# The paper's Table 1 lists 86, 307 and 632 million parameters. DeiT (Touvron et al., 2021) added two below,
# Ti and S. Can we count all five? The largest needs two and a half gigabytes as 32-bit floats, and we do not need a
# single one of its values. PyTorch has a device for that. A tensor on the *meta* device has a shape and a type, and
# no storage.


# %%
def on_meta(name, **overrides):
    with torch.device("meta"):  # (1)!
        return create_model(name, **overrides).eval()


huge = on_meta("vit_h_14")
gigabytes = sum(p.nbytes for p in huge.parameters()) / 1e9
print(f"ViT-H/14 would take {gigabytes:.2f} GB, and is on {huge.head.weight.device!s}")

# %% [markdown]
# 1. Everything created inside, parameters and buffers alike, lives nowhere. Even initialisation runs, and fills
#    nothing.

# %% [markdown]
# The name of a parameter tells its part. We sort by it and add up.

# %% jupyter={"source_hidden": true} predict="Where are most parameters, in attention or in the MLPs? How many times as many?"
PARTS = ["embedding", "attention", "MLP", "norms", "head"]
SIZES = ["vit_ti_16", "vit_s_16", "vit_b_16", "vit_l_16", "vit_h_14"]
counted = {}


def part_of(name):
    if name.startswith(("patch_embed", "cls_token", "pos_embed")):
        return "embedding"
    for piece, part in ((".attn.", "attention"), (".mlp.", "MLP"), ("norm", "norms")):
        if piece in name:
            return part
    return "head"


header = "".join(f"{part:>10}" for part in PARTS)
print(f"            L     D   MLP   h  D/h |{header} |       total")
for name in SIZES:
    model = on_meta(name)
    c, D, count = model.config, model.config.embed_dim, Counter()
    for key, p in model.named_parameters():
        count[part_of(key)] += p.numel()
    counted[name] = count
    sizes = f"{c.depth:2} {D:5} {c.mlp_dim:5} {c.num_heads:3} {D // c.num_heads:4}"
    columns = "".join(f"{count[part] / 1e6:9.2f}M" for part in PARTS)
    print(f"{name:10} {sizes} |{columns} |{count.total():12,}")

# %% [markdown] tags=["answer"]
# $L$, $D$, MLP and heads of the lower three are the rows of Table 1, number for number. A head is 64 wide everywhere
# but in Huge. And in each model the MLPs hold twice as many parameters as attention. Why? A block has four
# $D \times D$ matrices for attention (queries, keys, values, projection) and two of $D \times 4D$ for the MLP, so
# $4D^2$ against $8D^2$.

# %% [markdown]
# Put together, with the biases and norms:
#
# $$\underbrace{D(P^2C + 1)}_{\text{projection}} + \underbrace{D + (N+1)D}_{\text{class token, positions}}
# + \underbrace{L\,(12D^2 + 13D)}_{\text{blocks}} + \underbrace{2D}_{\text{norm}} + \underbrace{K(D+1)}_{\text{head}}$$
#
# If you want one number to remember, it is $12D^2L$. How good is it?

# %% jupyter={"source_hidden": true}
print("             formula  12·D²·L / exact")
for name in SIZES:
    c = get_config(name)
    D, L, P, N, K = c.embed_dim, c.depth, c.patch_size, c.num_patches, c.num_classes
    ends = D * (P * P * 3 + 1) + D + (N + 1) * D + 2 * D + K * (D + 1)
    formula = ends + L * (12 * D * D + 13 * D)
    print(f"{name:10} {formula:12,} {12 * D * D * L / formula:9.3f}")
    assert formula == counted[name].total()

# %% [markdown]
# For the larger ones it misses by a few per cent at most; the smallest carries its embedding and its thousand-class
# head as a heavier rucksack. The rule also says how models grow. Twice the depth doubles the stack; twice the width
# makes it four times as large.

# %% alt="Two groups of horizontal bars, one bar per model from Ti to H, each filled to 100 per cent. Left, parameters: attention takes about one third and the MLP two thirds; embedding and head are visible in Ti and S, barely in B. Right, multiply-accumulates: the attention projections, then the attention matrix, then the MLP; the matrix is a strip that narrows from Ti to L and is a little wider again in H." jupyter={"source_hidden": true}
macs_of = {}
for name in SIZES:
    m = count_macs(get_config(name))
    macs_of[name] = {
        "embedding": m["patch_embed"],
        "attention": m["attn.qkv"] + m["attn.proj"],
        "attention matrix": m["attn.scores"] + m["attn.values"],
        "MLP": m["mlp"],
        "head": m["head"],
    }
order = ["embedding", "attention", "attention matrix", "MLP", "norms", "head"]
colors = dict(zip(order, [CYCLE[2], CYCLE[0], CYCLE[4], CYCLE[1], INK, CYCLE[3]], strict=True))
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.7), sharey=True)
for ax, shares, title in ((axes[0], counted, "parameters"), (axes[1], macs_of, "MACs at 224 × 224")):
    left = torch.zeros(len(SIZES))
    for part in order:
        share = torch.tensor([100 * shares[n].get(part, 0) / sum(shares[n].values()) for n in SIZES])
        ax.barh(range(len(SIZES)), share, left=left, height=0.7, color=colors[part], label=part)
        left += share
    ax.set(title=title, xlabel="%", xlim=(0, 100))
axes[0].set_yticks(range(len(SIZES)), ["Ti/16", "S/16", "B/16", "L/16", "H/14"])
axes[0].invert_yaxis()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
plt.show()

# %% [markdown]
# On the right the same models by arithmetic. The attention matrix, the famous quadratic part, is the thin light-blue
# strip. It gets thinner as $D$ grows. (Huge has smaller patches and so more tokens, which gives a
# little of it back.)

# %% [markdown] anchor="table-1" tags=["deeper"]
# ### 86 or 86.6?
#
# Our Base has 86.6 million parameters and the paper's 86. The paper's table does not say what it leaves out. So
# count in several ways and see which of them gives the printed numbers: with the head of a thousand classes; with no
# head; and with the hidden layer of the pre-training head, but without its classifier.

# %% jupyter={"source_hidden": true}
names = ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"]
ways = {"with a head of 1000": "linear", "without head": "none", "hidden layer only": "mlp"}
table = {way: [] for way in ways}
print(f"{'million parameters':22}" + "".join(f"{name[4:]:>9}" for name in names))
for way, head in ways.items():
    for name in names:
        parameters = on_meta(name, head=head).named_parameters()
        kept = [p.numel() for key, p in parameters if head != "mlp" or not key.startswith("head.")]
        table[way].append(sum(kept) / 1e6)
    print(f"{way:22}" + "".join(f"{millions:9.2f}" for millions in table[way]))
paper = ("86", "", "307", "", "632")
print(f"{'the paper':22}" + "".join(f"{p:>9}" for p in paper))
assert all(round(row[2]) != 307 for row in table.values())
assert [round(table["hidden layer only"][i]) for i in (0, 3, 4)] == [86, 307, 632]

# %% [markdown]
# For Base, leaving out the head rounds to 86. For Large, no way of counting gives 307 with patches of 16; it takes
# patches of 32, whose projection is larger. The last way gives all three numbers, if one takes Base at 16 and Large
# at 32. Whether the authors counted so we do not know. The difference is a matter of what stands at the two ends of
# the stack; about the stack itself there is no doubt. torchvision publishes its own counts beside its weights, and we
# can read them without downloading anything:

# %% jupyter={"source_hidden": true}
published = {}
for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"):
    published[name] = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    exact = sum(p.numel() for p in on_meta(name).parameters())
    print(f"{name}  torchvision {published[name]['num_params']:>12,}   ours {exact:>12,}")
    assert exact == published[name]["num_params"]

# %% [markdown] anchor="cost"
# ## What a forward pass costs
#
# The figure one meets everywhere for ViT-B/16 is 17.6 GFLOPs. Is that right?
#
# A multiply-accumulate is one multiplication and one addition, $a \leftarrow a + w \cdot x$, so two floating-point
# operations. Our package counts MACs. PyTorch brings a counter of FLOPs that watches the operations as they run. It
# works on the meta device, too, where nothing is computed. How should the two compare, if both are honest?

# %% jupyter={"source_hidden": true} predict="PyTorch's FLOPs divided by our MACs: which number?"
print("              our MACs        PyTorch's FLOPs   ratio   torchvision's “GFLOPs”")
for name in PRESETS:
    model = on_meta(name)
    images = torch.empty(1, 3, *model.config.img_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(images)
    macs, flops = sum(count_macs(model.config).values()), counter.get_total_flops()
    assert flops == 2 * macs
    theirs = published[name]["_ops"] if name in published else None
    assert theirs is None or theirs == round(macs / 1e9, 3)
    print(f"{name:10} {macs:15,} {flops:20,} {flops / macs:6.1f}   {theirs or '':>12}")

# %% [markdown] tags=["answer"]
# Exactly twice, for every preset. And torchvision's figure, which its documentation lists as GFLOPS, is our number of
# MACs to the last digit. So 17.6 counts multiply-accumulates, and ViT-B/16 does 35.1 billion floating-point
# operations. Neither habit is wrong. To compare a number in one paper with a number in another, one has to know which
# habit each has.

# %% [markdown]
# What neither counter sees are norms, softmax, GELU and the additions of the residual stream. They are few operations
# and much memory traffic, so on a real machine they usually take a larger share of the time than of the arithmetic.
#
# > **The paper.** Speed on hardware “is not always well predicted by theoretical FLOPs due to details like lane widths
# > and cache sizes”. (appendix D.5)

# %% [markdown]
# What would another size cost? Predict first: double $D$, and what becomes of the parameters? Then ask for five heads,
# and read what the package says.
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="cost">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown] anchor="table-6" tags=["deeper"]
# ### What the paper counts
#
# Which habit does the paper have? Its Table 6 gives the cost of pre-training in exaFLOPs. We can try to arrive at it:
# our MACs, times two, times three (a backward pass costs about two forward passes), times the 303 million images of
# JFT, times the epochs.

# %%
table_6 = [("vit_b_32", 7, 55), ("vit_b_16", 7, 224), ("vit_l_32", 7, 196)]
table_6 += [("vit_l_16", 7, 783), ("vit_l_16", 14, 1567), ("vit_h_14", 14, 4262)]
print("            epochs   our guess   Table 6")
for name, epochs, printed in table_6:
    guess = 2 * 3 * sum(count_macs(get_config(name)).values()) * 303e6 * epochs / 1e18
    print(f"{name:10} {epochs:7} {guess:11.0f} {printed:9}")
    assert abs(guess / printed - 1) < 0.025

# %% [markdown]
# Four of six to the digit, the others within about two per cent. Two and three are our guess, and only their product
# is tested here. But six operations for each MAC of a forward pass is what one gets when a FLOP is half a MAC and a
# training step costs three forward passes. So the paper, it seems, counts as PyTorch does.

# %% [markdown] anchor="larger-images" tags=["deeper"]
# ### Larger images
#
# Per token and block the weights cost $12D^2$ MACs and the attention matrix $2(N+1)D$. They are equal when $N+1 = 6D$.
# For which image does that happen?

# %% jupyter={"source_hidden": true} predict="How many pixels a side must an image have, roughly: 300, 1000 or 3000?"
c = get_config("vit_b_16")
even = 6 * c.embed_dim
side = c.patch_size * (even - 1) ** 0.5
print(f"ViT-B: {even:,} tokens, an image of about {side:.0f} pixels a side")

# %% alt="Two rising curves against the side of the image, from 64 to 2048 pixels, on logarithmic axes: the weights of ViT-B and its attention matrix. The matrix starts far below, rises twice as steeply and crosses the weights a little above 1000 pixels. Dotted lines mark 224 and 384 pixels, where the matrix is still far below." jupyter={"source_hidden": true}
sides = [64 * i for i in range(1, 33)]
linear, quadratic = [], []
for side in sides:
    m = count_macs(get_config("vit_b_16", img_size=side))
    quadratic.append((m["attn.scores"] + m["attn.values"]) / 1e9)
    linear.append(sum(m.values()) / 1e9 - quadratic[-1])
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 3.0))
ax.plot(sides, linear, label="weights")
ax.plot(sides, quadratic, label="attention matrix", color=ACCENT)
for side in (224, 384):
    ax.axvline(side, color=FAINT, linewidth=1, linestyle=":")
ax.set(xscale="log", yscale="log", xlabel="image side (pixels)", ylabel="billion MACs per image")
ax.set_xticks([64, 128, 224, 384, 1024, 2048], [64, 128, 224, 384, 1024, 2048])
ax.minorticks_off()
ax.legend()
plt.show()
assert quadratic[sides.index(1024)] < linear[sides.index(1024)]
assert quadratic[sides.index(1152)] > linear[sides.index(1152)]

# %% [markdown]
# The dotted lines are the paper's sizes, 224 for training and 384 for most of the fine-tuning. There the quadratic
# part is the smaller one by far, and the cost of an image grows roughly with its pixels, not with their square, which
# is the fourth power of the side. The paper found the same with a stopwatch:
#
# > **The paper.** “[T]he theoretical bi-quadratic scaling of ViT with image size only barely starts happening for the
# > largest models at the largest resolutions.” (appendix D.5)

# %% [markdown] anchor="heads"
# ## Heads, and what to read
#
# The encoder returns 197 vectors. A classifier needs one. Which, and what comes after it?
#
# `forward_features`, whose source you have seen, returns all tokens after the norm. `forward_head` picks one vector and
# classifies it. `forward` is the one after the other. The split matters to whoever wants features
# instead of classes: for retrieval, for a linear probe, for detection, which needs every patch.

# %%
with torch.no_grad():
    features = ours.forward_features(batch)  # (1, 197, 768)
    pooled = ours.forward_head(features, pre_logits=True)  # (1, 768)
    logits = ours.forward_head(features)  # (1, 1000)
    assert torch.equal(logits, ours(batch))
    assert torch.equal(pooled, features[:, 0])
for name, x in (("features", features), ("pooled", pooled), ("logits", logits)):
    print(f"{name:8} {tuple(x.shape)}")

# %% [markdown]
# When a pre-trained ViT gets a new task, the paper cuts behind the encoder, not in the middle of the head:
#
# > **The paper.** “[W]e remove the whole head (two linear layers) and replace it by a single, zero-initialized linear
# > layer outputting the number of classes required by the target dataset.” (appendix B.1.1)

# %% [markdown] anchor="six-ends" tags=["deeper"]
# ### Three heads, two ways of reading
#
# Six combinations are built in. The `mlp` head is the paper's for pre-training: one hidden layer
# with a tanh, then the classifier. The paper does not print its width; ours is $D$.

# %% jupyter={"source_hidden": true}
print("read   head     tokens  output      parameters   of the head")
for pool in ("token", "avg"):
    for head in ("linear", "mlp", "none"):
        model = on_meta("vit_b_16", class_token=pool == "token", global_pool=pool, head=head)
        out = model(torch.empty(2, 3, 224, 224, device="meta"))
        T, n = model.config.num_tokens, sum(p.numel() for p in model.parameters())
        ends = [*model.head.parameters(), *model.pre_logits.parameters()]
        of_head = sum(p.numel() for p in ends)
        print(f"{pool:6} {head:8} {T:5}  {tuple(out.shape)!s:10} {n:11,} {of_head:13,}")
        assert out.shape == (2, 768 if head == "none" else 1000)

# %% [markdown]
# In the lower half there is no class token, as in [lesson 2](02_positions.ipynb): one token fewer goes through the
# encoder, and `global_pool="avg"` classifies the average of all normalised patches. With `head="none"` the pooled
# vector itself comes out.

# %% [markdown] anchor="what-it-buys"
# ## Deeper or wider, token or mean?
#
# The same parameters can be spent on many thin blocks or on few wide ones, and an answer can be read off a class token
# or off the mean. Does it matter? Here is the small ViT of [lesson 1](01_patches.ipynb#what-it-buys), which reads the
# mean, and what becomes of it with a class token or another depth.

# %% alt="Five rows of dots, one dot for each training, over accuracy in percent. The class token's dots are spread over ten points, most of them left of the mean's. One block lies to the left of three, six blocks overlap with three, and twelve blocks lie furthest to the left." jupyter={"source_hidden": true} predict="Which depth wins at equal size? And does the class token beat the mean?"
parts = measured("parts")["variants"]
names = {"3 blocks, 96 wide, mean": "base", "class token instead": "class-token"}
names |= {"1 block, 168 wide": "depth-1", "6 blocks, 68 wide": "depth-6", "12 blocks, 48 wide": "depth-12"}
draw_runs({name: parts[key]["accuracy"] for name, key in names.items()})
plt.show()

# %% [markdown] tags=["answer"]
# Look at the class token first. Its runs differ in nothing but the seed, and they lie far apart, further than those that
# read the mean: four of five are behind all of these, and one lies among them. Whoever had trained once could have
# reported either end. That is why there are several dots.
#
# More depth is not better here. Three blocks beat one, since a second attention can compare what the first has found.
# Six are not told apart from three. And twelve thin blocks are behind all others. Their tokens are narrower, and the
# way for the gradient is longer; which of the two it is, this does not tell. Deep models earn their depth in trainings
# that are longer than ours.

# %% [markdown] anchor="parity"
# ## Is it the same model as theirs?
#
# timm is the library in which many ViT weights are published. Our parameters have timm's names, so its state dict
# should load as it is. timm's model here has random weights, since this page needs no network; for the arithmetic it
# makes no difference.

# %%
with warnings.catch_warnings(action="ignore"):  # (1)!
    import timm

torch.manual_seed(0)
theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False).eval()
copied = create_model("vit_ti_16").eval()
print(copied.load_state_dict(theirs.state_dict()))
with torch.no_grad():
    a, b = copied(batch), theirs(batch)
assert_close(a, b, rtol=1e-4, atol=1e-4)
print("the logits agree; all of them are zero:", bool((b == 0).all()))

# %% [markdown]
# 1. On import one of timm's dependencies remarks that there are no notebook widgets on this machine.

# %% [markdown]
# One model. Why ask whether the logits are all zero? With a head of zeros they would be, whatever the encoder does, and
# a comparison of them could not fail. A check that cannot fail checks nothing.

# %% [markdown] anchor="torchvision" tags=["deeper"]
# ### torchvision, under other names
#
# torchvision has the same model. A dozen replacements translate the names. It builds no Tiny by name, so we give its
# class the sizes. And it starts its head at zero, as the paper does. So we give the head random numbers first, and the
# class token and the biases while we are at it.

# %%
NAMES = [
    ("class_token", "cls_token"),
    ("conv_proj", "patch_embed.proj"),
    ("encoder.pos_embedding", "pos_embed"),
    ("encoder.layers.encoder_layer_", "blocks."),
    ("ln_1", "norm1"),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj", "attn.proj"),
    ("ln_2", "norm2"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("encoder.ln", "norm"),
    ("heads.head", "head"),
]


def translate(key):
    for theirs, ours in NAMES:
        key = key.replace(theirs, ours)
    return key


sizes = {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
vision = torchvision.models.VisionTransformer(224, 16, **sizes).eval()
with torch.no_grad():
    print("untouched, its logits are all zero:", bool((vision(batch) == 0).all()))
    for name, parameter in vision.named_parameters():
        if name.startswith(("heads", "class_token")) or name.endswith("bias"):
            nn.init.normal_(parameter, std=0.02)

# %%
copied = create_model("vit_ti_16").eval()
state = {translate(key): value for key, value in vision.state_dict().items()}
print(copied.load_state_dict(state))
with torch.no_grad():
    a, b = copied(batch), vision(batch)
print("logits equal within 1e-4:", bool((a - b).abs().max() < 1e-4))
print("logits all zero:", bool((b == 0).all()))
assert_close(a, b, rtol=1e-4, atol=1e-4)

# %% [markdown] anchor="epsilon" tags=["deeper"]
# ### A difference that no error message mentions
#
# Three programs, one model. Apart from names libraries differ in small things. One is the $\varepsilon$ of LayerNorm.
# Ours, timm's and torchvision's say $10^{-6}$, PyTorch's default is $10^{-5}$, and [lesson 4](04_encoder.ipynb) saw
# what it does to one token. Does it reach the logits?

# %%
other = create_model("vit_ti_16").eval()
other.load_state_dict(theirs.state_dict())
for module in other.modules():
    if isinstance(module, nn.LayerNorm):
        module.eps = 1e-5
with torch.no_grad():
    difference = (other(batch) - theirs(batch)).abs().max()
    variance = other.embed(batch)[0, 0].var()  # of the class token at the start
print("with eps 1e-5 the logits still agree within 1e-4:", bool(difference < 1e-4))
print(f"variance of the class token at the start: {variance:.1e}")
assert 1e-4 < difference < 1e-1

# %% [markdown]
# It does. At the start the class token is so small that $10^{-5}$ is a noticeable part of its variance, and its
# effect survives twelve blocks. The difference is small. Only a comparison of logits shows it, and even there it
# could pass for rounding.

# %% [markdown] anchor="other-images" tags=["deeper"]
# ## Other images
#
# Nothing in the class wants a square, or three channels, or 224 pixels. A configuration says what is expected, and
# every field of a preset can be replaced by keyword.

# %% jupyter={"source_hidden": true}
strip = create_model("vit_ti_16", img_size=(96, 160), in_chans=1, num_classes=5)
with torch.no_grad():
    out = strip(torch.rand(2, 1, 96, 160))  # (2, 5)
print("one channel, grid", strip.config.grid_size, "->", tuple(out.shape))

# %% [markdown]
# And a model that exists already? Every weight but one is indifferent to the size of the image. The exception is the
# matrix of positions, one row for each place. `set_input_size` interpolates it, as [lesson 2](02_positions.ipynb) did,
# and leaves all else alone.

# %% jupyter={"source_hidden": true} predict="Which tensors change when the model is to take 384 pixels, and to what shape?"
torch.manual_seed(0)
model = create_model("vit_ti_16").eval()
before = {name: p.clone() for name, p in model.state_dict().items()}
model.set_input_size(384)
print("changed:")
for name, p in model.state_dict().items():
    if not torch.equal(p, before[name]):
        print(" ", name, tuple(before[name].shape), "->", tuple(p.shape))

# %% [markdown] anchor="refuses"
# ### What it costs, and what it refuses
#
# Do the costs of a larger image grow with its pixels?

# %% jupyter={"source_hidden": true}
large = photograph("chelsea", img_size=384)[None]
with torch.no_grad():
    print("logits", tuple(model(large).shape), end="  ")
    print("maps", tuple(model.attention_maps(large)[0].shape))
costs = [sum(count_macs(get_config("vit_ti_16", img_size=s)).values()) for s in (224, 384)]
print(f"pixels × {(384 / 224) ** 2:.2f}, MACs × {costs[1] / costs[0]:.2f}")

# %% [markdown]
# The MACs have grown more than the pixels: this is Ti, and with $D$ so small the attention matrix counts.
#
# What the model cannot do it says. A good error names what was expected and what came:

# %%
attempts = {
    "other size": lambda: ours(torch.rand(1, 3, 256, 256)),
    "other channels": lambda: ours(torch.rand(1, 1, 224, 224)),
    "no batch axis": lambda: ours(photo),
    "heads": lambda: create_model("vit_ti_16", num_heads=5),
    "patches": lambda: create_model("vit_b_16", img_size=200),
    "choice": lambda: create_model("vit_b_16", global_pool="max"),
    "name": lambda: get_config("vit_b16"),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except ValueError as error:
        print(f"{what + ':':15}", str(error).split(" There")[0])

# %% [markdown] anchor="untrained"
# ## What an untrained model says
#
# Everything fits. So what is in the picture? Three models, three seeds, one cat.

# %% jupyter={"source_hidden": true} predict="What do three random models say about the cat, and how sure are they?"
categories = torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1.meta["categories"]
pictures = ("chelsea", "astronaut", "coffee", "rocket")
views = torch.stack([photograph(name) for name in pictures])
answers = []
for seed in (0, 1, 2):
    torch.manual_seed(seed)
    with torch.no_grad():
        answers.append(create_model("vit_s_16").eval()(views))  # (4, 1000)
    p = answers[-1][0].softmax(0)
    print(f"seed {seed}: {categories[p.argmax()]:18} with probability {p.max():.2%}")

# %% [markdown]
# Confident they are not, and three random models have three random opinions. How far are they from even odds? The loss
# that one trains with says it. *Cross-entropy* is minus the logarithm of the probability that the model gives to the
# right class. Each of $K$ classes at even odds has $1/K$, so the loss of even odds is $\ln K$.

# %% jupyter={"source_hidden": true}
K, labels = 1000, torch.arange(1000)
print(f"even odds: ln {K} = {math.log(K):.3f}")
for seed, logits in enumerate(answers):
    cat = logits[:1].expand(K, -1)  # (K, K): the cat, once with each label
    print(f"seed {seed}:    {F.cross_entropy(cat, labels):.3f}, mean over the labels")
print(f"a head of zeros: {F.cross_entropy(torch.zeros(1, K), labels[:1]):.3f}")

# %% alt="Probabilities of the thousand classes in falling order, one line for each of three seeds. The lines lie on each other: a few classes at the left reach about three thousandths, then a gentle slope around the dashed line at one thousandth, and a tail below it." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.75, 2.5))
for seed, logits in enumerate(answers):
    ax.plot(logits[0].softmax(0).sort(descending=True).values, linewidth=1.4, label=f"seed {seed}")
ax.axhline(1 / K, color=INK, linewidth=1, linestyle="--", label="1 / K")
ax.set(xlabel="class, by rank", ylabel="probability", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# Near even; and a little above $\ln K$, because the logits are not quite equal. A loss that starts far from $\ln K$
# is the cheapest alarm there is: something is wrong before training has begun. With the paper's head of zeros it
# starts on the spot.

# %% [markdown] anchor="same-answer" tags=["deeper"]
# ### Does it look at the picture?
#
# Do these opinions at least depend on the picture? Correlate the logits for the cat with those for three other
# photographs.

# %% jupyter={"source_hidden": true}
for seed, logits in enumerate(answers):
    r = torch.corrcoef(logits)[0, 1:]  # the cat against the others
    print(f"seed {seed}: astronaut {r[0]:.2f}, coffee {r[1]:.2f}, rocket {r[2]:.2f}")
    assert r.min() > 0.5

torch.manual_seed(0)
with torch.no_grad():
    maps = torch.stack(create_model("vit_s_16").eval().attention_maps(batch))  # (L, 1, h, N+1, N+1)
row = maps[:, 0, :, 0] * maps.shape[-1]  # 1 is an even share
print(f"what CLS takes from a token, in even shares: from {row.min():.2f} to {row.max():.2f}")

# %% [markdown]
# Not much. The cat and the astronaut get nearly the same answer. The class token starts out equal for every image,
# and in all twelve blocks it takes not far from an even share of every token, so what it adds is close to an average.
# That different pictures deserve different answers has to be learned.

# %% [markdown] anchor="index" tags=["deeper"]
# ## From the paper to the code
#
# An index for whoever reads the paper with this code beside it.
#
# | Paper | What it says | Where it is | Lesson |
# |---|---|---|---|
# | Equation 1 | patches, class token, positions | `VisionTransformer.embed`, `PatchEmbed` | [1](01_patches.ipynb), [2](02_positions.ipynb) |
# | Equation 2 | norm, attention, add | `Block.forward`, first sum | [3](03_attention.ipynb), [4](04_encoder.ipynb) |
# | Equation 3 | norm, MLP, add | `Block.forward`, second sum; `Mlp` | [4](04_encoder.ipynb) |
# | Equation 4 | the last norm, token 0 | end of `forward_features`, start of `forward_head` | 5 |
# | Section 3.1 | MLP head or linear head | `ViTConfig.head` | 5 |
# | Section 3.2 | higher resolution | `set_input_size`, `interpolate_positions` | [2](02_positions.ipynb), 5 |
# | Figure 1 | the picture | `VisionTransformer`, `Block` | 5 |
# | Table 1 | Base, Large, Huge | `PRESETS` | 5 |
# | Appendix A | multi-head attention, equations 5 to 8 | `Attention`, `explicit_attention` | [3](03_attention.ipynb) |
# | Appendix B.1 | dropout, and where | `ViTConfig.drop_rate` | [4](04_encoder.ipynb) |
# | Appendix D.3 | class token or average | `ViTConfig.class_token`, `global_pool` | [2](02_positions.ipynb), 5 |
# | Appendix D.4 | kinds of positions | `ViTConfig.pos_embed` | [2](02_positions.ipynb) |
#
# And these are the places where we do otherwise than the paper, or than the JAX code that its authors published with
# it.
#
# | | Paper or its code | Ours | Why |
# |---|---|---|---|
# | Linear layers at the start | Xavier's uniform distribution, tiny noise on the MLP's biases | truncated normal of 0.02, zero biases | timm and DeiT ask for the same, with bounds so wide that they cut nothing; ours are two standard deviations |
# | Head at the start | zeros | noise like the other layers | so that an untrained model says something, and checks can fail |
# | Positions at the start | normal, 0.02 | the same, cut at two standard deviations | one function for all noise |
# | Pre-training head | one hidden layer with tanh | a linear layer; `head="mlp"` on request | timm's models have none, torchvision's only if asked (`representation_size`) |
# | Dropout | 0.1, or 0 on JFT (Table 3) | 0; a field | it belongs to the recipe, and lesson 6 decides |
# | Stochastic depth | none | 0; a field | part of DeiT's recipe, not of this paper's |
# | GELU | JAX's default, the tanh approximation | the exact form | as timm and torchvision |
# | LayerNorm's epsilon | $10^{-6}$, Flax's default | the same | – |
# | Attention | softmax written out | PyTorch's fused kernel, except for shorter sequences in bf16 on a CPU | the same numbers, less memory; the exception was measured to be faster |

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# A forward pass on the CPU raises no error for any of these. Two are noticed when a state dict is loaded.
#
# > **Common mistake.** Forgetting the final norm. The blocks are there, the head is there, the shapes fit.

# %% predict="Are the logits the same? Is the first class?"
with torch.no_grad():
    good, state = mine(batch)[0], mine.state_dict()
    mine.norm = nn.Identity()  # forgotten
    bad = mine(batch)[0]
print("same logits:", torch.allclose(good, bad, atol=1e-3))
print("same first class:", bool(good.argmax() == bad.argmax()))
try:
    mine.load_state_dict(state)
except RuntimeError as error:
    print("load_state_dict says:", " ".join(str(error).split()))

# %% [markdown] tags=["answer"]
# A fresh norm subtracts one number and divides by another, so even the first class can come out the same, with
# another confidence. A strict load notices the two tensors that nobody asked for. With `strict=False`, or with a norm
# that is created and never called, it stays silent.


# %% [markdown]
# > **Common mistake.** A softmax inside the model, and `cross_entropy` outside. The loss contains a softmax already.
#
# Then probabilities are read as logits. They lie between 0 and 1, so even a perfect answer, 1 for the right class and
# 0 for all others, has a loss of $-\ln \frac{e}{e + K - 1}$. It cannot go lower. We let a small model learn four
# photographs by heart, with and without the superfluous softmax. (How one trains is the subject of the next lesson.)


# %% jupyter={"source_hidden": true}
def learn_by_heart(softmax, steps=60):
    torch.manual_seed(0)
    model = create_model("vit_nano_4", depth=2)
    images = torch.stack([photograph(n, 32) for n in ("chelsea", "astronaut", "coffee", "rocket")])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    for _ in range(steps):
        out = model(images)  # (4, 10)
        loss = F.cross_entropy(out.softmax(-1) if softmax else out, torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve, (model.eval()(images).argmax(-1) == torch.arange(4)).sum().item()


(right, right_hits), (wrong, wrong_hits) = learn_by_heart(softmax=False), learn_by_heart(softmax=True)
floor = -math.log(math.e / (math.e + 10 - 1))
print(f"the floor with ten classes: {floor:.3f}")
print("with logits, below 0.1 in the end:", right[-1] < 0.1)
print("softmax first, above the floor all along:", min(wrong) > floor)
assert right[-1] < 0.1
print(f"photographs named correctly: {right_hits} of 4 and {wrong_hits} of 4")
assert min(wrong) > floor

# %% alt="Two loss curves over sixty steps, both starting above 2.2. One falls towards zero. The other, with the superfluous softmax, flattens out and stays above a dashed line near 1.46." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.5))
ax.plot(right, label="logits")
ax.plot(wrong, label="softmax first", color=ACCENT)
ax.axhline(floor, color=INK, linewidth=1, linestyle="--", label="floor")
ax.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# Both have learned their four photographs, and that is why the mistake survives: the accuracy looks good. A training
# loss that refuses to fall below a strange number is its signature.

# %% [markdown] tags=["deeper"]
# ### Four more that raise no error
#
# > **Common mistake.** Forgetting `model.eval()`. With dropout, or stochastic depth, two passes of the same image
# > differ.

# %%
torch.manual_seed(0)
model = create_model("vit_nano_4", drop_rate=0.1)
with torch.no_grad():
    print("train():", torch.equal(model(small), model(small)), "  eval():", end=" ")
    model.eval()
    print(torch.equal(model(small), model(small)))
    assert torch.equal(model(small), model(small))
    model.train()
    assert not torch.equal(model(small), model(small))

# %% [markdown]
# > **Common mistake.** `nn.Sequential(*[block] * 12)`. That is one block, twelve times.

# %%
with torch.device("meta"):  # we only count
    block = Block(768, 12, 3072)
    shared = nn.Sequential(*[block] * 12)
    separate = nn.Sequential(*[Block(768, 12, 3072) for _ in range(12)])
for name, stack in (("shared", shared), ("separate", separate)):
    count = sum(p.numel() for p in stack.parameters())
    print(f"{name:9} {count:12,} parameters, {len(stack.state_dict())} keys")
assert count == 12 * sum(p.numel() for p in block.parameters())

# %% [markdown]
# Forward, shapes and even the number of keys in the state dict are those of a real stack. Only the parameter count
# gives it away.
#
# > **Common mistake.** A Python list of blocks. PyTorch finds modules in attributes, in `ModuleList`, `ModuleDict` and
# > `Sequential`, and does not look into lists.


# %%
class Careless(nn.Module):
    def __init__(self, container):
        super().__init__()
        self.blocks = container(Block(64, 4, 128) for _ in range(3))


for container in (list, nn.ModuleList):
    found = sum(p.numel() for p in Careless(container).parameters())
    print(f"{container.__name__:10} {found:8,} parameters found")
assert sum(p.numel() for p in Careless(list).parameters()) == 0

# %% [markdown]
# With a list the optimiser never sees the blocks, `.to(device)` leaves them behind and `state_dict()` does not save
# them. What is left trains, after a fashion, on random blocks.
#
# > **Common mistake.** Reading `x[:, -1]`, a habit from language models. The class token stands at the front. The last
# > token is the lower right corner of the picture.

# %%
with torch.no_grad():
    first, last = ours.head(features[:, 0]), ours.head(features[:, -1])
print("same shape:", first.shape == last.shape)
print("same logits:", torch.allclose(first, last, atol=1e-3))
assert not torch.allclose(first, last, atol=1e-3)

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# Which tensors of a ViT would you have to change to feed it images of 384 instead of 224 pixels?
#
# <details>
# <summary>Answer</summary>
#
# Only the matrix of positions. The projection sees single patches, the matrices of the blocks see single tokens, and
# attention takes as many tokens as come. That is what the cell with `set_input_size` printed.
#
# </details>
#
# Two papers give 17.6 and 35.1 GFLOPs for ViT-B/16. Who is wrong?
#
# <details>
# <summary>Answer</summary>
#
# Nobody. The first counts multiply-accumulates, the second multiplications and additions. Before you compare two
# models, make sure that their numbers were counted in the same way.
#
# </details>
#
# You may have four times as many parameters as now. What are the two simplest ways to spend them, and what does each
# do to the share of the attention matrix in the cost?
#
# <details>
# <summary>Answer</summary>
#
# Four times the depth, or twice the width, since the stack has $12D^2L$ parameters. Per token and block the weights
# cost $12D^2$ and the attention matrix $2(N+1)D$, so their ratio is $6D/(N+1)$. Depth does not change it. Width doubles
# it, and the attention matrix shrinks to a smaller share.
#
# </details>
#
# Training a thousand classes starts at a loss of 6.9. After an hour it is 6.9. What do the two numbers tell you?
#
# <details>
# <summary>Answer</summary>
#
# The first is $\ln 1000$, where an untrained model belongs. The second says that the model still answers with even
# odds. It may not be training at all: a learning rate of zero, parameters the optimiser never got, images without
# relation to their labels. Or it has collapsed into saying the same about everything.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. From memory.** (30 minutes, medium.) Close this page and write the class `Yours`: patches, class token,
# positions, blocks, norm, head. Name the parts as here. Without arguments it is for images of 32 pixels, patches of 4,
# $D = 128$, six blocks, four heads, an MLP of 256 and ten classes. Then `check(5, 1, Yours)`, which loads our weights
# into it.
#
# <details>
# <summary>Hint</summary>
#
# A key that `load_state_dict` misses names the part you forgot; a size that does not fit names the one to look at. If
# all loads and the logits differ, ask what has no parameters: the residuals, the scale, the order of the axes, GELU,
# $\varepsilon$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch import nn
# from vit.course import check
# from vit.encoder import Block
#
#
# class Yours(nn.Module):
#     def __init__(self, P=4, D=128):
#         super().__init__()
#         self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, D, P, stride=P)})
#         self.cls_token = nn.Parameter(torch.zeros(1, 1, D))
#         self.pos_embed = nn.Parameter(torch.zeros(1, (32 // P) ** 2 + 1, D))
#         self.blocks = nn.ModuleList(Block(D, 4, 256) for _ in range(6))
#         self.norm = nn.LayerNorm(D, eps=1e-6)
#         self.head = nn.Linear(D, 10)
#
#     def forward(self, images):
#         x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
#         cls = self.cls_token.expand(len(x), -1, -1)
#         x = torch.cat([cls, x], dim=1) + self.pos_embed
#         for block in self.blocks:
#             x = block(x)
#         return self.head(self.norm(x)[:, 0])
#
#
# assert check(5, 1, Yours)
# ```
#
# `Block` is the package's; yours is `MyBlock` of [the class](#class), or your own.
#
# </details>
#
# **2. A third number.** (20 minutes, easy, first on paper.) Give the toy a third component that is always zero, so
# $D = 3$. What are the scores now, with and without the horizontal edge? Write `scores(image)`, the pair of them for an
# image `(4, 4)`. Then `check(5, 2, scores)`.
#
# <details>
# <summary>Hint</summary>
#
# Only $\mathbf{E}$ and the head get a row or column of zeros. By hand: the norm of $(2, 0, 0)$ is
# $(\sqrt 2, -1/\sqrt 2, -1/\sqrt 2)$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# import torch.nn.functional as F
# from vit.course import check
# from vit.patches import patchify
#
# E = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [-0.5, 0.5, 0], [0.5, 0.5, 0]])
# norm = lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-6)
#
#
# def scores(image):
#     z = torch.cat([torch.zeros(1, 3), patchify(image[None, None], 2)[0] @ E])  # (5, 3)
#     y = norm(norm(z).mean(0))  # a zero query takes a fifth of each token
#     return y[0], -y[1]
#
#
# toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
# flat = toy.clone()
# flat[2:, :2] = 1
# for image, expected in ((toy, [2**0.5, 0.5**0.5]), (flat, [1.5**0.5, 0.0])):
#     found = torch.stack(scores(image))
#     assert torch.allclose(found, torch.tensor(expected), atol=1e-4)  # it is noticed
# assert check(5, 2, scores)
# ```
#
# The tie is gone, too, because the corner $(1, 1)$ now counts: it is brighter to the right and darker above.
#
# </details>
#
# **3. One million.** (20 minutes, easy.) Design two ViTs for 32 × 32 images and ten classes, `deep` and `wide`, each
# with 900,000 to a million parameters, by `get_config("vit_nano_4", embed_dim=…, depth=…)`. Where do you spend them?
# Count on paper first. Then `designs = deep, wide` and `check(5, 3, designs)`.
#
# <details>
# <summary>Hint</summary>
#
# $12D^2L$, or $8D^2L$ if the MLP is only twice as wide as the stream. The heads must divide $D$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit import count_macs, get_config
# from vit.course import check
#
# deep = get_config("vit_nano_4", embed_dim=96, depth=12, num_heads=3)
# wide = get_config("vit_nano_4", embed_dim=192, depth=3, num_heads=3)
# designs = deep, wide
# costs = [sum(count_macs(config).values()) for config in designs]
# assert abs(costs[0] / costs[1] - 1) < 0.25  # nearly the same arithmetic
# assert check(5, 3, designs)
# ```
#
# Both are within the budget, one twelve blocks deep and one three. Counting cannot say which is better. The paper's
# appendix D.2 found depth the better investment up to a point, at sizes far above these; training them decides.
#
# </details>

# %% [markdown] tags=["deeper"]
# ### Three more exercises
#
# **4. Mean, then norm.** (20 minutes, medium.) Our model with `global_pool="avg"` normalises every patch and then
# averages, as the paper's code does. timm averages first and normalises the result. Do the two differ? Write timm's
# order, `mean_then_norm(model, images)`, with the parts of such a model without a class token. Then
# `check(5, 4, mean_then_norm)`.
#
# <details>
# <summary>Hint</summary>
#
# timm calls that norm `fc_norm`. `model.embed` and `model.blocks` come before it, `model.head` after it.
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
# def mean_then_norm(model, images):
#     x = model.embed(images)
#     for block in model.blocks:
#         x = block(x)
#     return model.head(model.norm(x.mean(dim=1)))
#
#
# torch.manual_seed(0)
# model = create_model("vit_nano_4", class_token=False, global_pool="avg").eval()
# images = torch.rand(2, 3, 32, 32)
# assert not torch.allclose(mean_then_norm(model, images), model(images), atol=1e-3)
# assert check(5, 4, mean_then_norm)
# ```
#
# They differ, and but for a name the state dict fits both. If you load a mean-pooled checkpoint, ask which of the two
# it is. In `vit` the field is `fc_norm`, as in timm.
#
# </details>
#
# **5. Registers.** (20 minutes, medium.) Darcet et al. (2024) add a few extra learned tokens that stand for no patch
# and are thrown away at the end. Write `with_registers(model, images, registers)`: the logits when registers
# `(1, R, D)` follow the other tokens, after the positions and through all blocks. Then `check(5, 5, with_registers)`.
#
# <details>
# <summary>Hint</summary>
#
# `model.embed` gives the other tokens. If the registers come last, token 0 is still the class token, which
# `model.forward_head` reads.
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
# def with_registers(model, images, registers):
#     x = model.embed(images)
#     x = torch.cat([x, registers.expand(len(x), -1, -1)], dim=1)
#     for block in model.blocks:
#         x = block(x)
#     return model.forward_head(model.norm(x))
#
#
# assert check(5, 5, with_registers)
# ```
#
# The others do look at them. In `vit` the field is `reg_tokens`, and they stand behind the class token.
#
# </details>
#
# **6. What training remembers.** (45 minutes, hard.) For the backward pass PyTorch keeps tensors of the forward pass.
# Write `saved_bytes(model, images)`: how many bytes, without the parameters? Then `check(5, 6, saved_bytes)`, and
# compare the bytes per image with those of the parameters.
#
# <details>
# <summary>Hint</summary>
#
# `torch.autograd.graph.saved_tensors_hooks(pack, unpack)` shows you each tensor as it is saved. Several may share one
# storage, and parameters are saved, too; count neither twice.
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
# def saved_bytes(model, images):
#     own = {p.untyped_storage().data_ptr() for p in model.parameters()}
#     seen = {}
#
#     def pack(tensor):
#         storage = tensor.untyped_storage()
#         if storage.data_ptr() not in own:
#             seen[storage.data_ptr()] = storage.nbytes()
#         return tensor
#
#     with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
#         logits = model(images)  # keep the result: it keeps the graph alive
#     return sum(seen.values())
#
#
# model = create_model("vit_nano_4")
# per_image = saved_bytes(model, torch.rand(4, 3, 32, 32)) / 4
# parameters = sum(p.nbytes for p in model.parameters())
# assert per_image > parameters / 2  # a few images outweigh the whole model
# assert check(5, 6, saved_bytes)
# ```
#
# That is why the batch, and not the model, fills the memory in training.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# A Vision Transformer is an embedding, $L$ equal blocks, a norm and a matrix; the class fits on a page. Every block
# takes and returns $(N+1) \times D$. The stack has about $12D^2L$ parameters, two thirds of them in the MLPs, and at
# 224 pixels, from Base upwards, more than nine tenths of the arithmetic is in the same matrices. The usual “GFLOPs” of
# a ViT are multiply-accumulates; the FLOPs are twice as many. With timm's names, timm's weights load as they are, and
# equality of logits proves the model, provided the logits are not zero. An untrained model says $\ln K$ and means
# nothing by it. Teaching it is the subject of [lesson 6](06_training.ipynb).

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 3.1, 3.2 and 4.1, equations 1–4, Tables 1, 3 and 6,
# appendices A, B.1 and D. Their [JAX code](https://github.com/google-research/vision_transformer), file
# `vit_jax/models_vit.py`, is the source of what the second table of the index says about it. Hugo Touvron et al.,
# [Training data-efficient image transformers & distillation through attention](https://arxiv.org/abs/2012.12877),
# 2021, Table 1. Timothée Darcet et al., [Vision Transformers Need Registers](https://arxiv.org/abs/2309.16588), ICLR
# 2024. The code that we compare with: [timm](https://github.com/huggingface/pytorch-image-models) and
# [torchvision](https://docs.pytorch.org/vision/stable/models/vision_transformer.html). The counter of operations is
# PyTorch's [`torch.utils.flop_counter`](https://docs.pytorch.org/docs/stable/torch.html).
