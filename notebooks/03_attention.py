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
#     number: 3
#     prerequisites: Lessons 1 and 2 (patches, tokens, the class token); matrix products
#       and the softmax
# ---

# %% [markdown]
# # Attention
#
# Patch 74 of our photograph holds one pupil of the cat, patch 95 the other. (The numbered grid is in [lesson
# 1](01_patches.ipynb#patchify).) Each became a token, and each token knows its own 16 by 16 pixels. How can the one
# learn that the other exists?
#
# Something has to carry information between tokens, and it cannot be wired in advance, because in the next photograph
# the eyes are elsewhere. Attention is a weighted mean whose weights are computed from the tokens themselves. This
# lesson builds it on four tokens with a pencil, then with many heads, then runs it on the cat, untrained and trained.
#
# After it you can compute one head of attention on paper, explain the $\sqrt{d}$ and the axis of the softmax, split a
# matrix into heads without scrambling it, translate weights between your own code and other people's, and say what
# attention costs and what an attention map of an untrained model is worth.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.colors import ListedColormap
from torch import nn
from torch.testing import assert_close

from vit import VisionTransformer, create_model, get_config
from vit.attention import Attention, explicit_attention, prefers_explicit
from vit.data import photograph
from vit.inference import load_classifier
from vit.patches import patchify
from vit.plotting import (
    CYCLE,
    DIVERGING,
    FAINT,
    WIDTH,
    bare,
    draw_attention,
    draw_matrix,
    draw_runs,
    use_style,
)
from vit.results import measured

torch.manual_seed(0)
use_style()

# %% [markdown]
# The toy from lesson 1 once more: four patches, one matrix, four tokens of width two. Token 0 is flat grey, token 1 a
# vertical edge, token 2 a horizontal edge, token 3 a corner. It has no class token, so its sequence is $N$ long. With
# one, as on the photograph, read $N + 1$ wherever this lesson says $N$.

# %%
toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
E = 0.5 * torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
tokens = patchify(toy[None, None], 2)[0] @ E  # (N, D)
print(tokens)
assert_close(tokens, torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0], [1.0, 1.0]]))

# %% [markdown] anchor="missing"
# ## What is missing?
#
# Could a linear layer do it? A Transformer has many of them. Change one token, and see who notices.

# %% predict="Which of the four outputs change when token 3 does?"
linear = nn.Linear(2, 2)
changed = tokens.clone()
changed[3] += 1.0
with torch.no_grad():
    moved = (linear(changed) - linear(tokens)).abs().sum(dim=1) > 0
print("outputs that change when token 3 does:", moved.tolist())

# %% [markdown] tags=["answer"]
# Nobody but token 3. The layer is applied to each token alone, and so is everything that has made the tokens so far.
# Stack a thousand such layers and token 1 still has not heard of token 3.

# %% [markdown]
# To mix tokens, multiply from the other side: an $N \times N$ matrix times the tokens. The plainest one gives
# everyone the mean of all.

# %%
mixing = torch.full((4, 4), 1 / 4)  # (N, N)
print(mixing @ tokens)
assert_close(mixing @ tokens, tokens.mean(dim=0).expand(4, 2))

# %% [markdown]
# Now tokens hear each other, all the same thing. We could learn a better matrix. (MLP-Mixer learns an MLP along that
# axis.) But a learned matrix is the same for every image and fits one $N$ only. The vertical edge should take from the
# corner because it *is* a corner, wherever in the image it lies. The matrix must be computed from the tokens. It is
# called the attention matrix.

# %% [markdown] anchor="no-weights"
# ## Attention without weights
#
# The simplest score for a pair of tokens is their dot product. It is large when two tokens point the same way, and
# negative when they point away from each other. There are sixteen pairs. Fill in the matrix on paper first.

# %% predict="Which numbers stand in the four by four matrix?"
scores = tokens @ tokens.T  # (N, N)
print(scores.int())

# %% [markdown]
# Scores can be negative, and a mean needs weights that are not, and that sum to 1. The softmax makes them so, row by
# row: exponentiate, then divide by the row's sum. Take row 1, the vertical edge.

# %%
exponentials = scores[1].exp()
by_hand = exponentials / exponentials.sum()
print("scores      ", scores[1].tolist())
print("exponentials", [round(e, 2) for e in exponentials.tolist()])
print("weights     ", [round(w, 3) for w in by_hand.tolist()])
print("weighted mean", [round(x, 2) for x in (by_hand @ tokens).tolist()])
assert_close(by_hand, scores[1].softmax(dim=0))

# %% [markdown]
# The vertical edge keeps most of itself and takes a little of the corner, which is half a vertical edge. Its new
# vector is the mean of all four tokens under those weights. The same for all rows at once:

# %%
weights = scores.softmax(dim=-1)  # (N, N)
output = weights @ tokens  # (N, D)
assert_close(weights.sum(dim=-1), torch.ones(4))

# %% alt="Three matrices. Scores, four by four, symmetric, with small integers. Weights, four by four: row 0 is 0.25 everywhere, rows 1 and 2 have most of their weight on the diagonal, row 3 splits it between tokens 1 and 3. Output, four by two." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH * 0.95, 2.5), width_ratios=[4, 4, 2])
index = ["0", "1", "2", "3"]
draw_matrix(axes[0], scores, index, index, "{:.0f}", DIVERGING, (-4, 4), title="scores")
draw_matrix(axes[1], weights, index, index, limits=(0, 1), title="softmax(scores)")
draw_matrix(axes[2], output, index, cmap=DIVERGING, limits=(-4, 4), title="output")
plt.show()

# %% [markdown]
# Read the middle one by rows. Row $i$ says how much token $i$ takes from each token, itself included. The flat token
# has the score 0 with everyone, so it takes a quarter from each.
#
# This already is attention, and nothing in it is learned. That is also what is wrong with it. The scores are
# symmetric and a token's score with itself is its squared length, so a long token mostly looks at itself. And there
# is only one question to ask: are you like me? An edge may need to ask something else.

# %% [markdown] anchor="qkv"
# ## Queries, keys, values
#
# A token plays three parts here. It asks, it is found, and it hands something over. Give each part a matrix of its
# own and the three can differ. The **query** is what a token looks for, the **key** is what it can be found by, the
# **value** is what it passes on when found.
#
# > **The paper.** “The output is computed as a weighted sum of the values, where the weight assigned to each value is
# > computed by a compatibility function of the query with the corresponding key.” (Vaswani et al., 2017, section 3.2)
#
# Suppose that an edge should look for the edge that crosses it. Then a vertical edge $(2, 0)$ should ask for
# something horizontal: swap its two numbers. That is the query matrix. The key matrix turns the sign of the second
# number, so that our horizontal edge $(0, -2)$ can be found by a plain $(0, 2)$. The value passes on the sum and the
# difference of the two numbers. We make up these matrices; a model learns them.

# %%
U_q = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # (D, d)
U_k = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
U_v = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
q, k, v = tokens @ U_q, tokens @ U_k, tokens @ U_v  # each (N, d)
print("token      query      key        value")
for i in range(4):
    rows = [str(tuple(part[i].int().tolist())) for part in (tokens, q, k, v)]
    print("".join(f"{row:11}" for row in rows).rstrip())
assert q[1].tolist() == k[2].tolist() == [0.0, 2.0]

# %% [markdown]
# Each score is now a query with a key. By hand: row 1 is $(0, 2)$ with each of the four keys, which gives 0, 0, 4 and
# –2. Do row 3 yourself before you look.

# %% predict="Which four scores has the corner, row 3?"
scores = q @ k.T  # (N, N)
print(scores.int())
print("symmetric:", torch.equal(scores, scores.T))

# %% [markdown] tags=["answer"]
# The vertical edge (row 1) has found the horizontal one. The reverse does not hold: row 2 gives token 1 a score of
# –4. The corner (row 3) asks for both edges alike. With separate queries and keys, who looks at whom need not be
# mutual.

# %% [markdown]
# > **The paper.** “We compute the dot products of the query with all keys, divide each by $\sqrt{d_k}$, and apply a
# > softmax function to obtain the weights on the values.” (Vaswani et al., 2017, section 3.2.1)
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# That is equation 1 of Vaswani et al. The division waits for its own section below; here $d = 2$, so we divide by
# $\sqrt 2$. The picture is the whole computation, one line for each of the two matrix products.

# %%
weights = (scores / math.sqrt(2)).softmax(dim=-1)  # (N, N)
output = weights @ v  # (N, d)


# %% alt="Two rows of matrices. Above: queries, four by two, times transposed keys, two by four, equals scores, four by four, all integers. Below: weights, four by four, times values, four by two, equals outputs, four by two. In the weights, row 0 is 0.25 everywhere and row 1 has nearly all its weight on token 2." jupyter={"source_hidden": true}
def draw_product(figure, ratios, a, b, c):
    axes = figure.subplots(1, 5, width_ratios=ratios)
    for ax, sign in ((axes[1], "×"), (axes[3], "=")):
        bare(ax).text(0.5, 0.5, sign, ha="center", va="center", fontsize=14)
    for ax, (matrix, name, rows, columns, form, cmap, limit) in zip(axes[::2], (a, b, c), strict=True):
        draw_matrix(ax, matrix, rows, columns, form, cmap, (0 if limit == 1 else -limit, limit), title=name)


figure = plt.figure(figsize=(WIDTH * 0.95, 5.0))
above, below = figure.subfigures(2, 1)
signed = ("{:.0f}", DIVERGING, 4)
draw_product(
    above,
    [2, 1, 4, 1, 4],
    (q, "q", index, None, *signed),
    (k.T, "kᵀ", None, index, *signed),
    (scores, "q kᵀ", index, index, *signed),
)
draw_product(
    below,
    [4, 2, 2, 2, 2],
    (weights, "softmax(q kᵀ / √2)", index, index, "{:.2f}", "viridis", 1),
    (v, "v", index, None, *signed),
    (output, "output", index, None, "{:.2f}", DIVERGING, 4),
)
plt.show()

# %% [markdown] anchor="two-rows" tags=["deeper"]
# ### Two rows without a calculator
#
# Row 0 has equal weights, so its output is the plain mean of the values, $(0.5, 1)$. Row 3 gives tokens 1 and 2 the
# same weight; their values are $(2, 2)$ and $(-2, 2)$, so in the first number they cancel, and what is left there comes
# from the corner's own value.

# %%
assert_close(output[0], v.mean(dim=0))
assert_close(output[3, 0], weights[3, 3] * v[3, 0])
print("output of token 0:", output[0].tolist())

# %% [markdown] anchor="appendix-a"
# ## The same in the ViT paper
#
# The Vision Transformer's paper writes it in its appendix A, with the three matrices side by side as one:
#
# $$[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\mathbf{U}_{qkv}, \qquad
# \mathbf{U}_{qkv} \in \mathbb{R}^{D \times 3D_h} \tag{5}$$
#
# $$A = \operatorname{softmax}\left(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\right), \qquad
# A \in \mathbb{R}^{N \times N} \tag{6}$$
#
# $$\operatorname{SA}(\mathbf{z}) = A\mathbf{v} \tag{7}$$
#
# $\mathbf{z}$ are the tokens, one a row. ($N$ is the length of any sequence in that appendix.) $D_h$ is the width of
# queries, keys and values; we write $d$. Laying the matrices side by side saves two calls and changes nothing:

# %%
U_qkv = torch.cat([U_q, U_k, U_v], dim=1)  # (D, 3d)
fused = (tokens @ U_qkv).split(2, dim=1)  # three of (N, d)
for one, other in zip(fused, (q, k, v), strict=True):
    assert_close(one, other)
print("z U_qkv:", tuple((tokens @ U_qkv).shape), "cut in three:", tuple(fused[0].shape))

# %% [markdown] anchor="three-ways" tags=["deeper"]
# ### The same in three spellings
#
# Papers write sums, libraries write matrix products, and some code writes `einsum`. There every letter is an axis:
# equal letters are matched, and a letter that is missing after the arrow is summed over. They are the same. Let us
# check it once, with a batch axis $B$ and a head axis $h$ in front. Heads come below; here they are one more axis along
# which nothing is mixed.

# %%
B, h, N, d = 2, 3, 5, 4
q4, k4, v4 = torch.randn(3, B, h, N, d)

by_loops = torch.zeros(B, h, N, d)
for b in range(B):
    for head in range(h):
        keys, values = k4[b, head], v4[b, head]  # each (N, d)
        for i in range(N):
            row = [q4[b, head, i] @ keys[j] for j in range(N)]
            row = (torch.stack(row) / math.sqrt(d)).softmax(dim=0)  # (N,)
            by_loops[b, head, i] = sum(row[j] * values[j] for j in range(N))

pairs = q4 @ k4.transpose(-2, -1) / math.sqrt(d)  # (1)!
by_matmul = pairs.softmax(dim=-1) @ v4  # (B, h, N, d)
pairs = torch.einsum("bhid,bhjd->bhij", q4, k4) / math.sqrt(d)  # (B, h, N, N)
by_einsum = torch.einsum("bhij,bhjd->bhid", pairs.softmax(dim=-1), v4)  # (B, h, N, d)
assert_close(by_loops, by_matmul)
assert_close(by_einsum, by_matmul)
print("loops = matmul = einsum:", tuple(by_matmul.shape))

# %% [markdown]
# 1. `@` multiplies the last two axes and carries all others along. `transpose(-2, -1)` exchanges just those two.

# %% [markdown] anchor="scaling"
# ## Why divide by √d?
#
# A dot product is a sum of $d$ terms. More terms, larger sums. How much larger?
#
# > **The paper.** “To illustrate why the dot products get large, assume that the components of $q$ and $k$ are
# > independent random variables with mean 0 and variance 1.” Then their dot product “has mean 0 and variance $d_k$.”
# > (Vaswani et al., 2017, footnote 4)
#
# The proof is short. The product of two such numbers has mean 0 and variance 1, and the variances of independent
# terms add up. So the variance of $q \cdot k$ is $d$. Let us not trust it and draw ten thousand pairs for each $d$.

# %%
widths = [2**n for n in range(11)]
raw, scaled = [], []
for width in widths:
    a, b = torch.randn(2, 10_000, width)
    products = (a * b).sum(dim=1)
    raw.append(products.var().item())
    scaled.append((products / math.sqrt(width)).var().item())

# %% alt="Two sets of points on logarithmic axes. The measured variance of the dot product follows the line d from 1 to 1024; after division by the root of d it stays at 1." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.8))
ax.plot(widths, widths, color=FAINT, linewidth=1.2, label="d")
ax.plot(widths, raw, "o", label="q·k")
ax.plot(widths, scaled, "s", markersize=5, label="q·k / √d")
ax.set(xlabel="d", ylabel="variance")
ax.set_xscale("log", base=2)
ax.set_yscale("log", base=2)
ax.legend()
plt.show()
assert all(abs(measured / width - 1) < 0.15 for measured, width in zip(raw, widths, strict=True))

# %% [markdown]
# Dividing by $\sqrt d$ divides the variance by $d$, and the scores have the same spread at any width. But why should
# we mind large scores? Because of what the softmax makes of them. Take three scores and stretch them.

# %% predict="The scores are 2, 1, 0, stretched up to 16 times. What becomes of their weights?"
print("stretch   weights of scores 2, 1, 0       p(1 - p) of the first")
for stretch in (1, 2, 4, 8, 16):
    p = (stretch * torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)).softmax(dim=0)
    print(f"{stretch:7}   {p[0]:.6f} {p[1]:.6f} {p[2]:.6f}   {p[0] * (1 - p[0]):21.1e}")

# %% [markdown] tags=["answer"]
# The ranking never changes, and yet a mean of three turns into a choice of one. The last column is the derivative of
# the first weight with respect to its own score, $p(1-p)$. When the weight is nearly 1, changing the score changes
# next to nothing, and next to no gradient comes back to queries and keys.

# %% [markdown]
# A number that divides all scores is called a *temperature*, and $\sqrt d$ is one. Here is the toy again, with a query
# that you can move. Predict first: where must it stand to take from all four keys alike? And what does a temperature of
# 0.1 make of row 3, which asks for two keys equally?
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="attention">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown]
# > **The paper.** “We suspect that for large values of $d_k$, the dot products grow large in magnitude, pushing the
# > softmax function into regions where it has extremely small gradients.” (Vaswani et al., 2017, section 3.2.1)
#
# They write “suspect”. The fold below measures it. At the width of a ViT's head what the division buys is mostly
# that a row starts as a mean over many tokens, and not as a choice of one.

# %% [markdown] anchor="saturation" tags=["deeper"]
# ### Is the suspicion right?
#
# We can measure: 197 tokens, as in ViT-B/16, with random queries and keys. For each $d$ we take the largest weight in
# a row, and the entropy of the row, which is the logarithm of the number of tokens for equal weights and 0 for a
# choice of one. Then each token gets a random value, and we take the gradient of a row's output with respect to its
# scores.


# %%
def saturation(width, divide, length=197):
    a, b = torch.randn(2, 4, length, width)
    scores = a @ b.transpose(-2, -1)  # (4, length, length)
    if divide:
        scores = scores / math.sqrt(width)
    weights = scores.requires_grad_().softmax(dim=-1)
    out = weights @ torch.randn(4, length, 1)  # (4, length, 1): one number per row
    (gradient,) = torch.autograd.grad(out.sum(), scores)
    size = gradient.norm(dim=-1)  # (4, length)
    entropy = torch.special.entr(weights.detach()).sum(dim=-1) / math.log(length)
    return weights.detach().amax(-1).mean(), entropy.mean(), size.median(), size.mean()


print("   d            largest weight     share of entropy   gradient: median  mean")
for width in (64, 1024):
    for divide in (False, True):
        row = [x.item() for x in saturation(width, divide)]
        name = "with √d" if divide else "without"
        print(f"{width:4} {name} {row[0]:17.2f} {row[1]:20.2f}", end=" ")
        print(f"{row[2]:18.4f} {row[3]:5.2f}")

# %% alt="Three plots over d from 1 to 1024, each with and without scaling. Largest weight: without scaling it climbs from below 0.1 to above 0.9, with scaling it stays at 0.05. Share of entropy: without scaling it falls to nearly 0, with scaling it stays at 0.9. Median gradient, on a logarithmic axis: without scaling it first rises, then falls below one thousandth at 1024; with scaling it stays near one tenth." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
for divide, marker, label in ((False, "o", "q·k"), (True, "s", "q·k / √d")):
    curves = zip(*(saturation(width, divide) for width in widths), strict=True)
    for ax, curve in zip(axes, curves, strict=False):
        ax.plot(widths, curve, marker=marker, markersize=4, label=label)
for ax, title in zip(axes, ("largest weight", "share of entropy", "median gradient"), strict=True):
    ax.set(title=title, xlabel="d")
    ax.set_xscale("log", base=2)
axes[0].set(ylim=(0, 1))
axes[1].set(ylim=(0, 1))
axes[2].set_yscale("log")
axes[0].legend()
plt.show()

# %% [markdown]
# The first two plots are clear. Without the division and with a large $d$, a row chooses one token and all but ignores
# the rest, before anything has been learned. The third deserves a careful look. At $d = 64$, the width of a head in
# ViT-B, the median gradient is not small at all without scaling. At $d = 1024$ it is: half of the rows get next to
# none. The mean in the table hides that, since rows in which two tokens compete still get plenty.
#
# So what the division buys at $d = 64$ is mostly that a row starts as a mean over many tokens. These were random
# queries and keys of variance 1. A model in training may make its scores as large as it likes.

# %% [markdown] anchor="axis"
# ## Over which axis?
#
# An attention matrix has two axes, and both have length $N$. The softmax must run along the last one, over the keys,
# for each query. What if it runs along the other?
#
# > **Common mistake.** `softmax(dim=-2)`, or `dim=2` left over from a time when there was no head axis. Shapes fit,
# > no error appears, and the result is no longer a mean.

# %% alt="Two four by four matrices of weights with their row sums beside them. Along the last axis all row sums are 1. Along the other axis the row sums differ, from below a half to one and a half." jupyter={"source_hidden": true} predict="Which of the two has row sums of 1?"
wrong_weights = (scores / math.sqrt(2)).softmax(dim=-2)  # (N, N), and it should be dim=-1
assert_close(wrong_weights.sum(dim=0), torch.ones(4))
assert (wrong_weights.sum(dim=1) - 1).abs().max() > 0.5

figure, axes = plt.subplots(1, 4, figsize=(WIDTH * 0.95, 2.5), width_ratios=[4, 1, 4, 1])
for i, (w, name) in enumerate(((weights, "dim = -1"), (wrong_weights, "dim = -2"))):
    draw_matrix(axes[2 * i], w, index, index, limits=(0, 1), title=name)
    draw_matrix(axes[2 * i + 1], w.sum(dim=1, keepdim=True), cmap=DIVERGING, limits=(0, 2), title="Σ")
plt.show()

# %% [markdown]
# On the right the columns sum to 1. Every token now hands out exactly one unit, and the askers compete for it. Row 3
# gets one and a half units, row 2 less than a half: an output is too long or too short, depending on who else asks.
# Such a model may still train, and a loss curve does not tell you why it is a poor one. The row sums do: they are the
# cheapest test there is.

# %% [markdown] anchor="pause"
# ## A pause: one head, whole
#
# That is all of attention. Here it is once more without words. If you can say of each line what it is for, you have
# what this lesson is about, and here is a good place to stop and come back tomorrow.


# %%
def one_head(z, U_q, U_k, U_v):
    q, k, v = z @ U_q, z @ U_k, z @ U_v  # each (N, d)
    scores = q @ k.T / math.sqrt(k.shape[-1])  # (N, N)
    weights = scores.softmax(dim=-1)  # each row sums to 1
    return weights @ v  # (N, d)


assert_close(one_head(tokens, U_q, U_k, U_v), output)

# %% [markdown] anchor="heads"
# ## Many heads
#
# The corner wanted two things, a vertical edge and a horizontal one. One head gives it one row of weights, so it gets
# a blend.
#
# > **The paper.** “Multi-head attention allows the model to jointly attend to information from different
# > representation subspaces at different positions. With a single attention head, averaging inhibits this.” (Vaswani
# > et al., 2017, section 3.2.2)
#
# Where do more heads come from? We cut the queries, keys and values that we have. Head 0 takes the first column of
# each, head 1 the second. Each head is now one wide, its scores are products of two numbers, and $\sqrt d = 1$.

# %%
head_scores = [torch.outer(q[:, i], k[:, i]) for i in range(2)]  # two of (N, N)
head_scores = torch.stack(head_scores)  # (h, N, N)
print("scores of the corner: one head", scores[3].int().tolist())
print("                      head 0  ", head_scores[0, 3].int().tolist())
print("                      head 1  ", head_scores[1, 3].int().tolist())
assert_close(head_scores.sum(dim=0), scores)
head_weights = head_scores.softmax(dim=-1)  # (h, N, N)

# %% alt="Three four by four matrices of weights. One head: the corner, row 3, gives equal weight to tokens 1 and 2. Head 0: row 3 looks mostly at token 1. Head 1: row 3 looks mostly at token 2." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
for ax, w, name in zip(axes, (weights, *head_weights), ("one head", "head 0", "head 1"), strict=True):
    draw_matrix(ax, w, index, index, limits=(0, 1), title=name)
plt.show()

# %% [markdown]
# The assertion is the point: the scores of the two heads add up to the scores of one. One head adds first and takes the
# softmax after; two heads take a softmax each and never blend their questions. Head 0 sends the corner to the vertical
# edge, head 1 to the horizontal one. It also means that heads cost no weights: their number only says where the columns
# of the matrices are cut.
#
# > **The paper.** “To keep compute and number of parameters constant when changing $k$, $D_h$ (Eq. 5) is typically
# > set to $D/k$.” (appendix A; its $k$ is the number of heads, our $h$)
#
# In code, $D$ columns become $h$ groups of $d = D/h$, and the head axis moves to the front. Follow the numbers: four
# tokens, six columns, three heads.

# %%
numbers = torch.arange(24.0).reshape(4, 6)  # (N, D)
heads = numbers.reshape(4, 3, 2).transpose(0, 1)  # (N, h, d) -> (h, N, d)
careless = numbers.reshape(3, 4, 2)  # right shape, wrong content
assert heads.shape == careless.shape
assert heads.data_ptr() == numbers.data_ptr()

# %% alt="Above: a four by six matrix with the numbers 0 to 23, columns coloured in three pairs, and the three heads, four by two each, every one of a single colour. Below: the same matrix and the three pieces that reshaping alone gives: each piece mixes all three colours." jupyter={"source_hidden": true} predict="Which numbers does the careless way give to head 0?"
by_column = ListedColormap([CYCLE[(n % 6) // 2] for n in range(24)])
figure, axes = plt.subplots(2, 4, figsize=(WIDTH * 0.95, 3.6), width_ratios=[6, 2, 2, 2])
for row, pieces, name in zip(axes, (heads, careless), ("reshape, transpose", "reshape alone"), strict=True):
    draw_matrix(row[0], numbers, None, None, "{:.0f}", by_column, (-0.5, 23.5), title=name)
    for i in range(3):
        draw_matrix(row[i + 1], pieces[i], None, None, "{:.0f}", by_column, (-0.5, 23.5), title=f"head {i}")
plt.show()

# %% [markdown]
# Above, each head has its own two columns and all four tokens. It is a view: no number was copied. Below, the head axis
# was written first and the transposition forgotten.
#
# > **Common mistake.** `reshape(B, h, N, d)` straight from `(B, N, D)`. In the picture “token 0 of head 1” now
# > comes from token 1.
# > Shapes agree with the right ones in every later line.
#
# No shape and no row sum would tell you. A test against another implementation does, and we will write one in a moment.
# First the last piece.
#
# $$\operatorname{MSA}(\mathbf{z}) = \left[\operatorname{SA}_1(\mathbf{z});\, \operatorname{SA}_2(\mathbf{z});\,
# \cdots;\, \operatorname{SA}_k(\mathbf{z})\right]\mathbf{U}_{msa}, \qquad
# \mathbf{U}_{msa} \in \mathbb{R}^{k \cdot D_h \times D} \tag{8}$$
#
# The outputs of the heads are laid side by side, $D$ columns again, and multiplied by one more matrix. Without it
# what head 0 found would stay in the first $d$ columns. With it every column of the result can use every head.


# %%
def multi_head(z, in_weight, in_bias, out_weight, out_bias, h):
    B, N, D = z.shape
    qkv = z @ in_weight.T + in_bias  # (B, N, 3D)
    q, k, v = (
        part.reshape(B, N, h, D // h).transpose(1, 2)  # (1)!
        for part in qkv.chunk(3, dim=-1)
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(D // h)  # (B, h, N, N)
    weights = scores.softmax(dim=-1)
    out = (weights @ v).transpose(1, 2).reshape(B, N, D)  # (2)!
    return out @ out_weight.T + out_bias, weights


# %% [markdown]
# 1. Three of `(B, h, N, d)`. With the head axis before the token axis, `@` treats heads like a batch.
# 2. The way back: tokens before heads, then heads side by side. Here `reshape` has to copy.

# %% [markdown]
# Two departures from equation 5: there are biases, as in the paper's own code, and the matrices are stored
# transposed, `(out, in)`, as PyTorch stores every linear layer.

# %% [markdown] anchor="equal"
# ## The finished piece, and PyTorch's
#
# This is the layer of our package. You know every line of it by now, except the question which of two paths to take,
# and that [comes below](#two-paths). PyTorch brings its own, `nn.MultiheadAttention`. It keeps queries, keys and values
# in one matrix, in that order, like ours, so its weights can be used as they are.

# %%
print(inspect.getsource(Attention.forward))

# %%
B, N, D, h = 2, 5, 12, 3
z = torch.randn(B, N, D)
mha = nn.MultiheadAttention(D, h, batch_first=True)
nn.init.normal_(mha.in_proj_bias)
nn.init.normal_(mha.out_proj.bias)
names = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
parameters = dict(zip(names, mha.parameters(), strict=True))
attention = Attention(D, h)
attention.load_state_dict(parameters)
with torch.no_grad():
    by_hand, weights = multi_head(z, *parameters.values(), h)
    theirs, their_weights = mha(z, z, z, average_attn_weights=False)  # (1)!
    finished, finished_weights = attention(z, need_weights=True)
for out, w in ((theirs, their_weights), (finished, finished_weights)):
    assert_close(out, by_hand)
    assert_close(w, weights)
print("by hand = nn.MultiheadAttention = vit.attention:", tuple(by_hand.shape))

# %% [markdown]
# 1. Three times `z`: it asks for queries, keys and values apart, so that they may come from different sequences. And
#    by default it returns the mean of the weights over heads, `(B, N, N)`. One usually wants them apart.

# %% [markdown] anchor="no-place" tags=["deeper"]
# ### Nothing here knows where a token stands
#
# One more equality is owed since [lesson 2](02_positions.ipynb#bag-of-patches). Shuffle the tokens, and the outputs are
# shuffled in the same way. In the matrix of weights rows and columns move together.

# %%
order = torch.tensor([3, 0, 4, 1, 2])
with torch.no_grad():
    mixed, mixed_weights = attention(z[:, order], need_weights=True)
assert_close(mixed, finished[:, order])
assert_close(mixed_weights, finished_weights[:, :, order][:, :, :, order])
print("shuffled tokens in, shuffled outputs out")

# %% [markdown]
# And nothing hides a token from another. A language model that is trained to predict the next word must not see it,
# so it sets the scores of later tokens to $-\infty$ before the softmax. An image has no later: a ViT uses no mask.

# %% [markdown] anchor="three-linears" tags=["deeper"]
# ### Two more ways to write the same layer
#
# The third is a function, `F.scaled_dot_product_attention`. It does equations 6 and 7 for queries, keys and values
# that we bring, and divides by $\sqrt d$ itself. We bring them from three separate linear layers, which shows at the
# same time that one fused layer is three layers stacked.

# %%
to_q, to_k, to_v = layers = [nn.Linear(D, D) for _ in range(3)]
thirds = zip(mha.in_proj_weight.chunk(3), mha.in_proj_bias.chunk(3), strict=True)
with torch.no_grad():
    for layer, (weight, bias) in zip(layers, thirds, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    three = [layer(z) for layer in layers]  # each (B, N, D)
    parts = [part.reshape(B, N, h, D // h).transpose(1, 2) for part in three]
    out = F.scaled_dot_product_attention(*parts)  # (B, h, N, d)
    out = out.transpose(1, 2).reshape(B, N, D)
    assert_close(mha.out_proj(out), by_hand)
    assert_close(torch.cat(three, dim=-1), attention.qkv(z))
print("three linears, SDPA = by hand")
print("one fused linear    = three linears")

# %% [markdown]
# The fourth is the explicit path of our package. It scales the queries and not the scores, $N \times d$ numbers
# where the other way needs $N \times N$. And the number of heads changes no parameter, as promised.

# %%
print(inspect.getsource(explicit_attention))
layers = {n: Attention(D, n) for n in (1, 2, 3, 4, 6)}
counts = {n: sum(p.numel() for p in layer.parameters()) for n, layer in layers.items()}
print("parameters by the number of heads:", counts)
assert len(set(counts.values())) == 1

# %% [markdown] anchor="photograph"
# ## On the photograph
#
# Now the cat, through an untrained ViT-S/16: patches, class token, positions, and the attention of the first block.
# (That block normalises its input first; [lesson 4](04_encoder.ipynb) explains how.)

# %%
torch.manual_seed(0)
model = create_model("vit_s_16").eval()
photo = photograph("chelsea")
with torch.no_grad():
    maps = model.attention_maps(photo[None])
h = model.config.num_heads
print(len(maps), "blocks, each with weights of shape", tuple(maps[0].shape))
assert maps[0].shape == (1, h, 197, 197)

# %% [markdown]
# A row of a map has one weight for the class token and 196 for the patches. Leave out the first, fold the rest into
# 14 by 14, and lay it over the photograph. Two rows are of interest: that of the class token, and that of patch 74,
# the pupil on the left. The class token is token 0, so patch 74 is token 75; forgetting this moves every map by one
# patch. All twelve pictures share one colour scale, which begins at 0.

# %%
query = 74 + 1
w = maps[0][0]  # (h, N + 1, N + 1)
top = w[:, [0, query], 1:].max().item()

# %% alt="Two rows of six greyscale cats under a colour overlay, one column per head. Above the class token's weights, below those of the framed patch 74 on the pupil. All twelve overlays have nearly the same even colour." jupyter={"source_hidden": true} predict="What will the maps of an untrained model show?"
figure, axes = plt.subplots(2, h, figsize=(WIDTH, 2.25))
for head in range(h):
    draw_attention(axes[0, head], photo, w[head, 0, 1:].reshape(14, 14), limit=top, title=f"head {head}")
    artist = draw_attention(axes[1, head], photo, w[head, query, 1:].reshape(14, 14), query=74, limit=top)
axes[0, 0].set_ylabel("CLS")
axes[1, 0].set_ylabel("74")
figure.colorbar(artist, ax=axes, shrink=0.8, aspect=25, pad=0.015)
plt.show()

# %% [markdown] tags=["answer"]
# There is almost nothing to see, and that is the result. The weights of an untrained model are small, so its scores
# are small, and the softmax of small scores is nearly uniform. Every token takes the mean of all, give or take a
# little.

# %%
entropy = torch.special.entr(w).sum(dim=-1).mean().item()
print(f"uniform weight 1/197 = {1 / 197:.5f}, largest of all twelve maps {top:.5f}")
print(f"mean entropy, of that of equal weights: {entropy / math.log(197):.4f}")

# %% [markdown]
# So keep three habits for every map that you meet: one scale for all, the uniform value beside it, and the same picture
# from random weights.

# %% [markdown] anchor="stretched" tags=["deeper"]
# ### When an untrained map looks like insight
#
# Where does the even colour come from? The footnote's variance of 1 for queries and keys was an assumption; here the
# scores would be harmless even without the division, which matters once the weights grow.
#
# You will often see pictures in which every map is stretched to its own minimum and maximum. Let us do that, with
# head 0 and the pupil, for three models that differ in nothing but the random seed. (First, the maps by hand once more,
# from the queries and keys of the first block.)

# %%
first, D = model.blocks[0], model.config.embed_dim
with torch.no_grad():
    z = first.norm1(model.embed(photo[None]))  # (1, N + 1, D)
    qkv = first.attn.qkv(z)  # (1, N + 1, 3D)
    qkv = qkv.reshape(1, -1, 3, h, D // h)  # (1, N + 1, 3, h, d)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (1, h, N + 1, d)
assert_close(maps[0], (q @ k.transpose(-2, -1) / 8).softmax(dim=-1))
print("by hand = attention_maps:", tuple(maps[0].shape))

# %% alt="Four greyscale cats under overlays, with a frame on the pupil that asks and a thin outline on the other pupil. The first, on the scale from 0, is nearly even. The other three, each stretched to its own range, show strong patterns on eyes and nose. For seeds 0 and 1 the other pupil is brightest, for seed 2 it is darkest." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.0))
draw_attention(axes[0], photo, w[0, query, 1:].reshape(14, 14), query=74, limit=top, title="seed 0, from 0")
for seed in range(3):
    torch.manual_seed(seed)
    with torch.no_grad():
        row = create_model("vit_s_16").eval().attention_maps(photo[None])[0][0, 0, query, 1:]  # (196,)
    assert (row.argmax() if seed < 2 else row.argmin()) == 95
    stretched = ((row - row.min()) / (row.max() - row.min())).reshape(14, 14)
    draw_attention(axes[seed + 1], photo, stretched, query=74, title=f"seed {seed}, stretched")
for ax in axes:
    ax.add_patch(plt.Rectangle((95 % 14 * 16, 95 // 14 * 16), 16, 16, fill=False, color="white"))
plt.show()

# %% [markdown]
# The thin outline is patch 95, the other pupil. We began by asking how one pupil could learn of the other, and in the
# second and third picture it is the brightest square of all. Shown one of these, you would say that the model has
# found the second eye. The model has never been trained. With seed 2 the same square is the darkest.
#
# Where does the pattern come from? For one query, the scores are a linear function of the other tokens: each token's
# dot product with one fixed vector, plus a constant that the softmax ignores.

# %%
with torch.no_grad():
    rows = first.attn.qkv.weight[D : D + 64]  # (d, D): the keys of head 0
    direction = rows.T @ q[0, 0, query] / 8  # (D,)
    filtered = z[0] @ direction  # (N + 1,): one answer per token
assert_close(filtered.softmax(dim=0), w[0, query])
print("softmax of one linear filter = the pupil's row:", tuple(filtered.shape))

# %% [markdown]
# So an untrained map is the answer of one random filter to every token, like the answers of the random kernel in
# [lesson 1](01_patches.ipynb#convolution). The farther a token lies from the mean token, the stronger the answer that
# we should expect of it, with a sign that is left to chance. If that is all, then over many seeds and heads patch 95
# is above the mean about half the time, and the typical size of a patch's answer goes with that distance (which we
# take in the last of 24 models).

# %%
answers = []
for seed in range(24):
    torch.manual_seed(seed)
    model = create_model("vit_s_16", depth=1).eval()  # nobody asks the other blocks
    with torch.no_grad():
        z = model.blocks[0].norm1(model.embed(photo[None]))
        row = model.blocks[0].attn(z, need_weights=True)[1][0, :, query, 1:]  # (h, 196)
    answers.append((row - row.mean(dim=1, keepdim=True)) / row.std(dim=1, keepdim=True))
answers = torch.cat(answers)  # (24·h, 196)
size = answers.square().mean(dim=0).sqrt()  # (196,)
distance = (z[0, 1:] - z[0, 1:].mean(dim=0)).norm(dim=1)  # (196,)
print(f"patch 95 above the mean: {(answers[:, 95] > 0).sum()} of {len(answers)} maps")
print(f"its typical size: {size[95]:.1f}, that of a median patch: {size.median():.1f}")
correlation = torch.corrcoef(torch.stack([size, distance]))[0, 1]
print(f"correlation of size with distance from the mean token: {correlation:.2f}")

# %% [markdown]
# The numbers fit. Eyes and nose stand out in untrained maps because they are unlike fur, and the sign is a coin.

# %% [markdown] anchor="trained"
# ## One trained head and its twin
#
# And a trained head? The package ships a model that was trained on CIFAR-10, pictures of 32 × 32 pixels in ten classes.
# ([Lesson 6](06_training.ipynb#cifar10) tells how.) It cuts its pictures into 8 × 8 patches. Its *twin* has the same
# sizes and random weights. Both look at the cat and at a cup of coffee. We ask one head, of all the one whose rows on
# the cat are the farthest from uniform, and one query, the patch on the eye.

# %%
cifar = load_classifier("cifar10")
trained = cifar.model
torch.manual_seed(0)
twin = VisionTransformer(trained.config).eval()
pictures = torch.stack([photograph(name, 32) for name in ("chelsea", "coffee")])
with torch.no_grad():
    x = cifar.preprocessing.normalise(pictures)
    of_both = [torch.stack(model.attention_maps(x)) for model in (trained, twin)]
entropies = torch.special.entr(of_both[0][:, 0]).sum(dim=-1).mean(dim=-1)  # (blocks, h)
block, head = divmod(entropies.argmin().item(), trained.config.num_heads)
print(f"the sharpest of {entropies.numel()}: head {head + 1} of block {block + 1}")
asked = 3 * 8 + 2  # row 3, column 2
chosen = torch.stack([m[block, :, head, asked + 1, 1:] for m in of_both])  # (2, 2, N)

# %% alt="Four small greyscale pictures of 8 by 8 patches on one colour scale. The trained head on the cat: bright in the row of patches just above the framed eye, dark elsewhere. Its random twin: an even dull colour. The trained head on the coffee cup: bright in the row just above the same place. Its twin: even again." jupyter={"source_hidden": true} predict="Will the trained head look at the other eye?"
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.0))
for i, picture in enumerate(pictures):
    for j, name in enumerate(("trained", "random twin")):
        tile = chosen[j, i].reshape(8, 8)
        artist = draw_attention(
            axes[2 * i + j], picture, tile, query=asked, limit=chosen.max().item(), title=name
        )
figure.colorbar(artist, ax=axes, shrink=0.8, pad=0.015)
plt.show()

# %% [markdown] tags=["answer"]
# It does not. It takes from the patches just above the one that asks, on the cat and on the cup alike. Its twin takes
# about the same from everywhere.

# %%
above = chosen.reshape(2, 2, 8, 8)[:, :, 2, 1:4].sum(dim=-1)  # the three patches above
for name, shares in zip(("trained", "twin"), above.tolist(), strict=True):
    print(f"{name:8} three patches above: cat {shares[0]:.2f}, coffee {shares[1]:.2f}")
print(f"three of 65 equal weights: {3 / 65:.2f}")

# %% [markdown]
# Here is that head, alive, in your browser. Blocks, heads and patches are counted from 1 in it, as in the line that
# named the head. Tap other patches, and other heads.
#
# <div class="vx-place"><vit-explorer data-state="picture=chelsea&amp;block=3&amp;head=3&amp;patch=27" data-panels="map choose"><p>On the site, with JavaScript, the model itself stands here.</p></vit-explorer></div>

# %% [markdown]
# What is seen? Training has made a map that is far from uniform, and at this query the place matters more than what
# is in the picture.
#
# What is not seen? That it has found an eye. That the model needs this head for its answer. And that heads in general
# are like this one: we looked for the sharpest, in two pictures, at one query. [Lesson 9](09_what_it_learns.ipynb) asks
# all of them, over many pictures, and takes heads away to see who is missed.

# %% [markdown] anchor="what-it-buys"
# ## What does it buy?
#
# Is attention needed at all, and are many heads better than one? Ask by training: the small ViT of
# [lesson 1](01_patches.ipynb#what-it-buys), which has three heads, the same with one and with six, and one without
# attention. (Its MLPs are twice as wide instead, so that it is not smaller.)

# %% alt="Four rows of dots, one dot for each training, over accuracy in percent. No attention lies far to the left, not much above 10. One head lies left of three heads. Six heads overlap with three, most of them to the right." jupyter={"source_hidden": true} predict="How much worse is the model without attention? And is one head worse than six?"
parts = measured("parts")["variants"]
names = {"3 heads": "base", "1 head": "heads-1", "6 heads": "heads-6", "no attention": "no-attention"}
draw_runs({name: parts[key]["accuracy"] for name, key in names.items()})
plt.show()

# %% [markdown] tags=["answer"]
# Without attention little is left: chance is 10 %. No patch ever hears of another, so the model knows what patches the
# picture has and not how they go together.
#
# And heads matter here. One is behind three in every run. Six are ahead of three on average, but their runs overlap:
# that is within the noise. The parameters are the same in all, but every head has its own weights for the values, so
# several heads can follow several questions at once. It is one small model on one kind of picture, at a learning rate
# chosen for three heads. More heads need not go on helping, since each of them gets narrower.

# %% [markdown] anchor="cost" tags=["deeper"]
# ## What it costs
#
# Let the sequence be $n$ tokens long, $N + 1$ with a class token. The attention matrix has $n^2$ entries, and each
# costs $d$ multiplications per head, $D$ for all heads. It is made once and used once, so $2n^2D$ together. The four
# projections, queries, keys, values and output, cost $4nD^2$. So short sequences spend their time in the projections
# and long ones in the attention matrix. [Lesson 5](05_model.ipynb#larger-images) finds where the one overtakes the
# other in a whole model; here is a clock. The times are of the machine that built this page, and yours will differ.


# %%
def best_time(function, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


D, h = 384, 6
layer = Attention(D, h)
sizes = [64, 128, 256, 512, 1024, 2048]
times = {"projections": [], "explicit": [], "fused": []}
with torch.inference_mode():
    for n in sizes:
        z = torch.randn(1, n, D)
        qkv = torch.randn(3, 1, h, n, D // h)
        times["projections"].append(best_time(lambda: (layer.qkv(z), layer.proj(z))))
        times["explicit"].append(best_time(lambda: explicit_attention(*qkv)))
        times["fused"].append(best_time(lambda: F.scaled_dot_product_attention(*qkv)))

# %% alt="Two plots on logarithmic axes over the number of tokens from 64 to 2048. Left, milliseconds: the projections grow in proportion, explicit attention grows about like the guide line n squared, and so does the fused kernel. Right, megabytes: the attention matrices of one layer start level with the tokens and grow like n squared, the tokens like n." jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
figure.get_layout_engine().set(w_pad=0.12)
for (name, seconds), marker in zip(times.items(), "^os", strict=True):
    left.plot(sizes, [1e3 * s for s in seconds], marker=marker, markersize=4, label=name)
anchor = 1e3 * times["explicit"][3]
left.plot(sizes, [anchor * (n / sizes[3]) ** 2 for n in sizes], "--", color=FAINT, linewidth=1.2, label="n²")
right.plot(
    sizes,
    [h * n * n * 4 / 1e6 for n in sizes],
    "o-",
    color=CYCLE[1],
    markersize=4,
    label="attention matrices",
)
right.plot(sizes, [n * D * 4 / 1e6 for n in sizes], "^-", color=CYCLE[0], markersize=4, label="tokens")
for ax, label in ((left, "milliseconds"), (right, "megabytes")):
    ax.set(xlabel="tokens", ylabel=label, yscale="log")
    ax.set_xscale("log", base=2)
    ax.legend()
plt.show()

# %% [markdown]
# On logarithmic axes a power is a straight line and its exponent is the slope. Compare explicit attention with the
# dashed guide of slope two, and the projections with both. Do not expect exact lines: a clock also sees a large matrix
# being moved through memory, which no count of multiplications shows. The plot on the right is no measurement. It says
# what one layer's attention matrices and tokens take in fp32.

# %% [markdown] anchor="two-paths" tags=["deeper"]
# ## Two paths
#
# The curve called “fused” is `F.scaled_dot_product_attention`. Its fused kernels do the same arithmetic, the square
# included, but work through the matrix in blocks and keep only a running maximum and a running sum for each row (Dao
# et al., 2022). The whole matrix never exists, so it takes no memory, and it cannot be looked at. That is why our
# layer has `need_weights`, and why asking for weights takes the explicit path. Values and gradients are the same.
# (Where no fused kernel fits the inputs, PyTorch falls back on plain operations like ours.)

# %%
layer = Attention(D, h)
z = torch.randn(2, 197, D, requires_grad=True)
fused = layer(z)
explicit, _ = layer(z, need_weights=True)
probe = torch.randn_like(fused)
(fused_gradient,) = torch.autograd.grad((fused * probe).sum(), z)
(explicit_gradient,) = torch.autograd.grad((explicit * probe).sum(), z)
assert_close(fused, explicit, rtol=1e-4, atol=1e-5)
assert_close(fused_gradient, explicit_gradient, rtol=1e-4, atol=1e-5)
print("two paths, one result:", tuple(fused.shape))

# %% [markdown]
# Is the fused kernel always the faster one? No. So the choice is a rule, and the rule is one line.

# %%
print(inspect.getsource(prefers_explicit))
for dtype, n in ((torch.float32, 65), (torch.bfloat16, 65), (torch.bfloat16, 4096)):
    explicit = prefers_explicit(torch.zeros(1, 6, n, 64, dtype=dtype))
    print(f"on a CPU, {dtype}, {n} tokens:", "explicit" if explicit else "fused")

# %% [markdown]
# One cannot derive such a rule from the equations. It was measured, and the measurements are kept in
# `benchmarks/results/attention_paths.md` in the repository, with the machine and the versions. When a new PyTorch
# brings a better kernel, measure again and change the line.
#
# A word on dropout. `attn_drop` sets random weights to zero in training and enlarges the rest; the paper's list of
# places with dropout (appendix B.1) does not name the weights, and our presets leave it at 0. The weights that we
# return are those before dropout, so their rows always sum to 1.

# %%
dropping = Attention(D, h, attn_drop=0.5).train()
_, before = dropping(z, need_weights=True)
assert_close(before.sum(dim=-1), torch.ones(2, h, 197))
print("rows of returned weights sum to 1, in training too")

# %% [markdown] anchor="mistakes" tags=["deeper"]
# ## Common mistakes
#
# The wrong axis, the forgotten transposition and the shift by one class token you have met. Five more.
#
# **The scaling forgotten, or done twice.** Your own softmax does not scale; `scaled_dot_product_attention` does. Mix
# the two habits and you divide by $d$ in all. No error either way.

# %%
q, k, v = torch.randn(3, 2, 3, 5, 16)  # three of (B, h, N, d)
right = F.scaled_dot_product_attention(q, k, v)
forgotten = (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
twice = F.scaled_dot_product_attention(q / math.sqrt(16), k, v)
for name, wrong in (("forgotten", forgotten), ("twice", twice)):
    print(f"{name:9} same shape {wrong.shape == right.shape}", end=", ")
    print("same numbers", torch.allclose(wrong, right))
    assert not torch.allclose(wrong, right)

# %% [markdown]
# **`k.T` with a batch.** On two axes `.T` is right, and so it was on our toy. On more it reverses *all* axes; PyTorch
# calls that deprecated. Here it ends in an error, with other sizes it may not. Write `transpose(-2, -1)` or `.mT`.

# %%
reversed_axes = k.permute(3, 2, 1, 0)  # what k.T means on four axes
print("k", tuple(k.shape), "k.T", tuple(reversed_axes.shape), "k.mT", tuple(k.mT.shape))
try:
    q @ reversed_axes
except RuntimeError as error:
    print("torch says:", str(error).splitlines()[0])
assert torch.equal(k.mT, k.transpose(-2, -1))

# %% [markdown]
# **Heads that do not divide the width.** 192 columns cannot be cut into five equal groups. Our layer says so when it
# is built, not when it is first used.

# %%
try:
    Attention(192, 5)
except ValueError as error:
    print("vit says:", error)

# %% [markdown]
# **Another order in the fused matrix.** Ours has all queries first, then all keys, then all values. Other code keeps
# the query, key and value of each head together. Load the one into the other and every shape is right.

# %%
B, N, D, h = 2, 5, 12, 3
z = torch.randn(B, N, D)
with torch.no_grad():
    qkv = attention.qkv(z)  # (B, N, 3D)
    grouped = qkv.reshape(B, N, 3, h, D // h).permute(2, 0, 3, 1, 4)  # (3, B, h, N, d)
    interleaved = qkv.reshape(B, N, h, 3, D // h).permute(3, 0, 2, 1, 4)
    one = F.scaled_dot_product_attention(*grouped)
    other = F.scaled_dot_product_attention(*interleaved)
print("same shape  ", one.shape == other.shape)
print("same numbers", torch.allclose(one, other))

# %% [markdown]
# **Weights kept on the module.** `self.weights = weights` in `forward` looks handy for a picture. It forbids the fused
# kernel, and it holds the attention matrices of every layer, with their graph in training, until the next call. For
# ViT-B/16 and a modest batch that is:

# %%
config = get_config("vit_b_16")
held = 64 * config.depth * config.num_heads * config.num_tokens**2 * 4
print(f"{held / 1e9:.2f} GB for a batch of 64 in fp32")

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# You add 5 to every score in row 3. What happens to the weights?
#
# <details>
# <summary>Answer</summary>
#
# Nothing. Every exponential of the row grows by the factor $e^5$, and so does their sum. Only differences within a
# row count. (Adding 5 to a column is another matter: every query then looks more at that token.)
#
# </details>
#
# A ViT has 12 heads. You make it 24 at the same $D$. What happens to the parameters, to the multiplications, and to
# the memory of the attention matrices?
#
# <details>
# <summary>Answer</summary>
#
# The parameters stay, since the projections do. The multiplications stay: twice as many attention matrices, each from
# dot products half as long. These matrices double, and so does the number of exponentials. Each head now compares in
# half as many dimensions.
#
# </details>
#
# Can the output of a head, before $\mathbf{U}_{msa}$, be longer than the longest value vector?
#
# <details>
# <summary>Answer</summary>
#
# No. The weights are positive and sum to 1, so the output is a mean of the value vectors, and a mean is never longer
# than the longest of them. A head can select and average; it cannot amplify or subtract. The matrices around it can.
#
# </details>
#
# Why are the queries and keys of one head not allowed to differ in width, while the values may?
#
# <details>
# <summary>Answer</summary>
#
# A query is multiplied with a key number by number, so both need the same $d_k$. The values are only averaged; their
# width $d_v$ is the width of the output and free. ViT takes both equal to $D/h$.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. With a pencil.** (15 minutes, easy.) Keep the toy's tokens and our $\mathbf{U}_v$, let $\mathbf{U}_q$ and
# $\mathbf{U}_k$ be the identity. What is the flat token's output, and whom does the horizontal edge take most from?
# Then write `attend(tokens, U_v)` for tokens of any width, and `check(3, 1, attend)`.
#
# <details>
# <summary>Hint</summary>
#
# You have computed these scores before: `tokens @ tokens.T`.
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
# def attend(tokens, U_v):
#     scores = tokens @ tokens.T / tokens.shape[1] ** 0.5
#     return scores.softmax(dim=-1) @ (tokens @ U_v)
#
#
# tokens = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0], [1.0, 1.0]])
# U_v = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
# assert attend(tokens, U_v)[0].tolist() == [0.5, 1.0]  # the mean of the four values
# assert (tokens @ tokens.T)[2].argmax() == 2  # itself: its squared length, 4
# assert check(3, 1, attend)
# ```
#
# </details>
#
# **2. Somebody else's order.** (15 minutes, medium.) In some code the rows of the fused matrix `(3D, D)` go by heads:
# query, key and value of head 0, each $d$ rows, then head 1, and so on. Write `to_ours(weight, h)`, which sorts them
# into our order. Then `check(3, 2, to_ours)`.
#
# <details>
# <summary>Hint</summary>
#
# Split the first axis in three, as you split columns into heads, and exchange two of the pieces. `reshape` alone is
# the careless way.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def to_ours(weight, h):
#     rows, D = weight.shape
#     return weight.reshape(h, 3, rows // (3 * h), D).transpose(0, 1).reshape(rows, D)
#
#
# assert check(3, 2, to_ours)
# ```
#
# </details>
#
# **3. One query.** (10 minutes, easy.) After the last block only the class token's output is read. Write
# `class_row(q, k, v)`, the attention of token 0 alone, `(B, h, 1, d)`, for `q, k, v` of any `(B, h, T, d)`. How does
# the cost of the attention matrix grow now? Then `check(3, 3, class_row)`.
#
# <details>
# <summary>Hint</summary>
#
# Slice the queries with `q[:, :, :1]`, so that the axis stays. The keys and values are needed in full.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def class_row(q, k, v):
#     scores = q[:, :, :1] @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
#     return scores.softmax(dim=-1) @ v
#
#
# assert check(3, 3, class_row)
# ```
#
# One row instead of all: the cost grows in proportion to the number of tokens. Only in the last block, though. In the
# others the next block reads every token's output.
#
# </details>
#
# **4. Temperature.** (15 minutes, medium.) Divide scores by a temperature $\tau$ before the softmax. What happens for
# $\tau \to 0$ and $\tau \to \infty$? Write `entropies(scores, taus)`: the entropy $-\sum p \log p$ of each row, a line
# for each temperature. Then `check(3, 4, entropies)`.
#
# <details>
# <summary>Hint</summary>
#
# `torch.special.entr` computes $-p \log p$ and knows that it is 0 for $p = 0$.
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
# def entropies(scores, taus):
#     rows = [(scores / tau).softmax(dim=-1) for tau in taus]
#     return torch.stack([torch.special.entr(p).sum(dim=-1) for p in rows])
#
#
# torch.manual_seed(0)
# found = entropies(torch.randn(100, 197), [0.01, 0.1, 1.0, 10.0, 1000.0])
# assert (found.diff(dim=0) > 0).all()  # grows with the temperature, in every row
# assert abs(found[-1].mean().item() - math.log(197)) < 1e-4  # hot: the mean
# assert check(3, 4, entropies)
# ```
#
# Dividing by $\sqrt d$ is a temperature, too.
#
# </details>
#
# **5. The useless bias.** (15 minutes, hard.) A third of the bias in `vit.attention.Attention` changes nothing in the
# output. Which, and why? Write `strip(bias)`, a copy of `qkv.bias` with zeros in its place. Then `check(3, 5, strip)`.
#
# <details>
# <summary>Hint</summary>
#
# What does a bias of the queries, of the keys, of the values add to the scores of one row? What does the softmax
# ignore?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch.testing import assert_close
# from vit.attention import Attention
# from vit.course import check
#
#
# def strip(bias):
#     keep = torch.tensor([1.0, 0, 1]).repeat_interleave(len(bias) // 3)
#     return bias * keep
#
#
# torch.manual_seed(0)
# attention, z = Attention(12, 3), torch.randn(2, 5, 12)
# with torch.no_grad():
#     attention.qkv.bias.normal_()
#     before = attention(z)
#     attention.qkv.bias.copy_(strip(attention.qkv.bias))
#     assert_close(attention(z), before, rtol=1e-4, atol=1e-5)
# assert check(3, 5, strip)
# ```
#
# A key bias $b$ adds $q_i \cdot b$ to every score of row $i$, the same number for all keys, and the softmax ignores
# it. Some later models, BEiT among them, leave it out. The same argument in the extreme: if all keys are identical,
# every row is uniform and attention is the mean of the values.
#
# </details>
#
# **6. Cross-attention.** (10 minutes, medium.) Queries may come from another sequence than keys and values. `M` tokens
# ask `N` others, by `h` heads. Write `cross_shapes(B, M, N, D, h)`: the shapes of the output and of all heads' weights.
# Then `check(3, 6, cross_shapes)`.
#
# <details>
# <summary>Hint</summary>
#
# The rows of the attention matrix are the askers. It need not be square.
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
# def cross_shapes(B, M, N, D, h):
#     return (B, M, D), (B, h, M, N)
#
#
# mha = nn.MultiheadAttention(12, 3, batch_first=True)
# askers, asked = torch.randn(2, 3, 12), torch.randn(2, 7, 12)
# with torch.no_grad():
#     out, weights = mha(askers, asked, asked, average_attn_weights=False)
# assert (out.shape, weights.shape) == cross_shapes(2, 3, 7, 12, 3)
# assert check(3, 6, cross_shapes)
# ```
#
# A softmax along the wrong axis would have the same shapes, too. The row sums tell: seven columns that each sum to 1
# give three rows that sum to 7/3 on average.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Attention is a weighted mean of value vectors, and the weights come from the tokens: query times key, divided by
# $\sqrt d$, softmax over the keys. Rows sum to 1. The division keeps the
# spread of the scores the same at any width. Heads are groups of columns of the same projections: they add no weights,
# only softmaxes. The attention matrix grows with the square of the number of tokens and the projections in proportion.
# A map from random weights is the answer of a random filter, and a stretched colour scale can make it look like
# insight; a trained head is read beside its random twin.
#
# What has to stand around it so that twelve of them can be stacked is the subject of [lesson 4](04_encoder.ipynb), and
# [lesson 5](05_model.ipynb) stacks them.

# %% [markdown] anchor="references"
# ## References
#
# Ashish Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762), NeurIPS 2017: sections 3.2,
# 3.2.1 and 3.2.2, equation 1, footnote 4. Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for
# Image Recognition at Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: appendix A, equations 5 to 8, and appendix
# B.1. Tri Dao et al., [FlashAttention: Fast and Memory-Efficient Exact Attention with
# IO-Awareness](https://arxiv.org/abs/2205.14135), NeurIPS 2022. Ilya Tolstikhin et al., [MLP-Mixer: An all-MLP
# Architecture for Vision](https://arxiv.org/abs/2105.01601), NeurIPS 2021. Hangbo Bao et al., [BEiT: BERT Pre-Training
# of Image Transformers](https://arxiv.org/abs/2106.08254), ICLR 2022. PyTorch's
# [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html) and
# [`scaled_dot_product_attention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html).
