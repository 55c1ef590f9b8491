# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: alt,anchor,tags
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
# lesson builds it on four tokens with a pencil, then with many heads, then runs it on the cat.
#
# After it you can compute one head of attention on paper, explain the $\sqrt{d}$ and the axis of the softmax, split a
# matrix into heads without scrambling it, translate weights between your own code and PyTorch's, and say what
# attention costs and what an attention map of an untrained model is worth.

# %%
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

from vit import create_model, get_config
from vit.data import photograph
from vit.patches import patchify
from vit.plotting import CYCLE, DIVERGING, FAINT, WIDTH, bare, draw_attention, draw_matrix, use_style

torch.manual_seed(0)
use_style()

# %% [markdown]
# The toy from lesson 1 once more: four patches, one matrix, four tokens of width two. Token 0 is flat grey, token 1 a
# vertical edge, token 2 a horizontal edge, token 3 a corner.

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

# %%
linear = nn.Linear(2, 2)
changed = tokens.clone()
changed[3] += 1.0
with torch.no_grad():
    moved = (linear(changed) - linear(tokens)).abs().sum(dim=1) > 0
print("outputs that change when token 3 does:", moved.tolist())
assert moved.tolist() == [False, False, False, True]

# %% [markdown]
# Nobody but token 3. The layer is applied to each token alone, and so is everything that has made the tokens so far.
# Stack a thousand such layers and token 1 still has not heard of token 3.
#
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

# %%
scores = tokens @ tokens.T  # (N, N)
print(scores.int())
assert scores.int().tolist() == [[0, 0, 0, 0], [0, 4, 0, 2], [0, 0, 4, -2], [0, 2, -2, 2]]

# %% [markdown]
# Scores can be negative, and a mean needs weights that are not, and that sum to 1. The softmax makes them so, row by
# row: exponentiate, then divide by the row's sum. Take row 1, the vertical edge.

# %%
exponentials = scores[1].exp()
by_hand = exponentials / exponentials.sum()
print("scores      ", scores[1].tolist())
print(
    "exp         ", [round(e, 2) for e in exponentials.tolist()], "sum", round(float(exponentials.sum()), 2)
)
print("weights     ", [round(w, 3) for w in by_hand.tolist()], "sum", round(float(by_hand.sum()), 3))
print("weighted mean", [round(x, 2) for x in (by_hand @ tokens).tolist()])
assert_close(by_hand, scores[1].softmax(dim=0))

# %% [markdown]
# The vertical edge keeps most of itself and takes a little of the corner, which is half a vertical edge. Its new
# vector is the mean of all four tokens under those weights. The same for all rows at once:

# %% alt="Three matrices. Scores, four by four, symmetric, with small integers. Weights, four by four: row 0 is 0.25 everywhere, rows 1 and 2 have most of their weight on the diagonal, row 3 splits it between tokens 1 and 3. Output, four by two."
weights = scores.softmax(dim=-1)  # (N, N)
output = weights @ tokens  # (N, D)
assert_close(weights.sum(dim=-1), torch.ones(4))

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

# %%
scores = q @ k.T  # (N, N)
print(scores.int())
assert scores.int().tolist() == [[0, 0, 0, 0], [0, 0, 4, -2], [0, -4, 0, -2], [0, 2, 2, 0]]
print("symmetric:", torch.equal(scores, scores.T))

# %% [markdown]
# The vertical edge (row 1) has found the horizontal one. The reverse does not hold: row 2 gives token 1 a score of
# –4. The corner (row 3) asks for both edges alike. With separate queries and keys, who looks at whom need not be
# mutual.
#
# > **The paper.** “We compute the dot products of the query with all keys, divide each by $\sqrt{d_k}$, and apply a
# > softmax function to obtain the weights on the values.” (Vaswani et al., 2017, section 3.2.1)
#
# $$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# That is equation 1 of Vaswani et al. The division waits for its own section below; here $d = 2$, so we divide by
# $\sqrt 2$. The picture is the whole computation, one line for each of the two matrix products.

# %% alt="Two rows of matrices. Above: queries, four by two, times transposed keys, two by four, equals scores, four by four, all integers. Below: weights, four by four, times values, four by two, equals outputs, four by two. In the weights, row 0 is 0.25 everywhere and row 1 has nearly all its weight on token 2."
weights = (scores / math.sqrt(2)).softmax(dim=-1)  # (N, N)
output = weights @ v  # (N, d)


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

# %% [markdown]
# Two rows can be checked without a calculator. Row 0 has equal weights, so its output is the plain mean of the
# values, $(0.5, 1)$. Row 3 gives tokens 1 and 2 the same weight; their values are $(2, 2)$ and $(-2, 2)$, so in the
# first number they cancel, and what is left there comes from the corner's own value.

# %%
assert_close(output[0], v.mean(dim=0))
assert_close(output[0], torch.tensor([0.5, 1.0]))
assert_close(output[3, 0], weights[3, 3] * v[3, 0])
print("output of token 0:", output[0].tolist())

# %% [markdown]
# The Vision Transformer's paper writes the same in its appendix A, with the three matrices side by side as one:
#
# > **The paper.** “The attention weights $A_{ij}$ are based on the pairwise similarity between two elements of the
# > sequence and their respective query $\mathbf{q}^i$ and key $\mathbf{k}^j$ representations.” (Dosovitskiy et al.,
# > 2021, appendix A)
#
# $$[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\mathbf{U}_{qkv}, \qquad
# \mathbf{U}_{qkv} \in \mathbb{R}^{D \times 3D_h} \tag{5}$$
#
# $$A = \operatorname{softmax}\left(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\right), \qquad
# A \in \mathbb{R}^{N \times N} \tag{6}$$
#
# $$\operatorname{SA}(\mathbf{z}) = A\mathbf{v} \tag{7}$$
#
# $\mathbf{z}$ are the tokens, one a row. $D_h$ is the width of queries, keys and values; we write $d$. Laying the
# matrices side by side saves two calls and changes nothing:

# %%
U_qkv = torch.cat([U_q, U_k, U_v], dim=1)  # (D, 3d)
fused = (tokens @ U_qkv).split(2, dim=1)  # three of (N, d)
for one, other in zip(fused, (q, k, v), strict=True):
    assert_close(one, other)
print("z U_qkv:", tuple((tokens @ U_qkv).shape), "-> q, k, v:", [tuple(part.shape) for part in fused])

# %% [markdown] anchor="three-ways"
# ## The same in three spellings
#
# Papers write sums, libraries write matrix products, and some code writes `einsum`. There every letter is an axis: equal
# letters are matched, and a letter that is missing after the arrow is summed over. They are the same. Let us check
# it once, with a batch axis $B$ and a head axis $h$ in front. Heads come below; here they are one more axis along
# which nothing is mixed.

# %%
B, h, N, d = 2, 3, 5, 4
q4, k4, v4 = torch.randn(3, B, h, N, d)

by_loops = torch.zeros(B, h, N, d)
for b in range(B):
    for head in range(h):
        for i in range(N):
            row = torch.stack([q4[b, head, i] @ k4[b, head, j] for j in range(N)]) / math.sqrt(d)  # (N,)
            row = row.softmax(dim=0)
            by_loops[b, head, i] = sum(row[j] * v4[b, head, j] for j in range(N))

by_matmul = (q4 @ k4.transpose(-2, -1) / math.sqrt(d)).softmax(dim=-1) @ v4  # (1)!
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

# %% alt="Two sets of points on logarithmic axes. The measured variance of the dot product follows the line d from 1 to 1024; after division by the root of d it stays at 1."
widths = [2**n for n in range(11)]
raw, scaled = [], []
for width in widths:
    a, b = torch.randn(2, 10_000, width)
    products = (a * b).sum(dim=1)
    raw.append(products.var().item())
    scaled.append((products / math.sqrt(width)).var().item())

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

# %%
print("stretch   weights of scores 2, 1, 0       p(1 - p) of the first")
for stretch in (1, 2, 4, 8, 16):
    p = (stretch * torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)).softmax(dim=0)
    print(f"{stretch:7}   {p[0]:.6f} {p[1]:.6f} {p[2]:.6f}   {p[0] * (1 - p[0]):21.1e}")

# %% [markdown]
# The ranking never changes, and yet a mean of three turns into a choice of one. The last column is the derivative of
# the first weight with respect to its own score, $p(1-p)$. When the weight is nearly 1, changing the score changes
# next to nothing, and next to no gradient comes back to queries and keys.
#
# > **The paper.** “We suspect that for large values of $d_k$, the dot products grow large in magnitude, pushing the
# > softmax function into regions where it has extremely small gradients.” (Vaswani et al., 2017, section 3.2.1)
#
# They write “suspect”. We can measure: 197 tokens, as in ViT-B/16, with random queries and keys. For each $d$ we take
# the largest weight in a row, and the entropy of the row, which is $\log N$ for equal weights and 0 for a choice of
# one. Then each token gets a random value, and we take the gradient of a row's output with respect to its scores.


# %%
def saturation(width, divide, N=197):
    a, b = torch.randn(2, 4, N, width)
    scores = a @ b.transpose(-2, -1) / (math.sqrt(width) if divide else 1.0)  # (4, N, N)
    weights = scores.requires_grad_().softmax(dim=-1)
    out = weights @ torch.randn(4, N, 1)  # (4, N, 1): one number per row
    (gradient,) = torch.autograd.grad(out.sum(), scores)
    size = gradient.norm(dim=-1)  # (4, N)
    weights = weights.detach()
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(dim=-1)
    return weights.amax(-1).mean(), entropy.mean() / math.log(N), size.median(), size.mean()


print("   d            largest weight   entropy / log N   gradient: median    mean")
for width in (64, 1024):
    for divide in (False, True):
        largest, entropy, median, mean = (x.item() for x in saturation(width, divide))
        name = "with √d" if divide else "without"
        print(f"{width:4} {name} {largest:17.2f} {entropy:17.2f} {median:18.4f} {mean:7.2f}")

# %% alt="Three plots over d from 1 to 1024, each with and without scaling. Largest weight: without scaling it climbs from below 0.1 to above 0.9, with scaling it stays at 0.05. Entropy over log N: without scaling it falls to nearly 0, with scaling it stays at 0.9. Median gradient, on a logarithmic axis: without scaling it first rises, then falls below one thousandth at 1024; with scaling it stays near one tenth."
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
for divide, marker, label in ((False, "o", "q·k"), (True, "s", "q·k / √d")):
    curves = zip(*(saturation(width, divide) for width in widths), strict=True)
    for ax, curve in zip(axes, curves, strict=False):
        ax.plot(widths, curve, marker=marker, markersize=4, label=label)
for ax, title in zip(axes, ("largest weight", "entropy / log N", "median gradient"), strict=True):
    ax.set(title=title, xlabel="d")
    ax.set_xscale("log", base=2)
axes[0].set(ylim=(0, 1))
axes[1].set(ylim=(0, 1))
axes[2].set_yscale("log")
axes[0].legend()
plt.show()

# %% [markdown]
# The first two plots are clear. Without the division and with a large $d$, a row chooses one token and all but
# ignores the rest, before anything has been learned. The third deserves a careful look. At $d = 64$, the width of a head in ViT-B, the
# median gradient is not small at all without scaling. At $d = 1024$ it is: half of the rows get next to none. The
# mean in the table hides that, since rows in which two tokens compete still get plenty.
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

# %% alt="Two four by four matrices of weights with their row sums beside them. Along the last axis all row sums are 1. Along the other axis the row sums differ, from below a half to one and a half."
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
# Such a model may still train, and a loss curve does not tell you why it is a poor one. Here is a test that does.
# Give every token the same value: the mean of equal things is that thing.

# %%
equal = torch.ones(4, 1)  # (N, 1): every token has the value 1
print("outputs, dim=-1:", [round(s, 2) for s in (weights @ equal).flatten().tolist()])
print("outputs, dim=-2:", [round(s, 2) for s in (wrong_weights @ equal).flatten().tolist()])
assert_close(weights @ equal, equal)
assert not torch.allclose(wrong_weights @ equal, equal)

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

# %% alt="Three four by four matrices of weights. One head: the corner, row 3, gives equal weight to tokens 1 and 2. Head 0: row 3 looks mostly at token 1. Head 1: row 3 looks mostly at token 2."
head_scores = torch.stack([torch.outer(q[:, i], k[:, i]) for i in range(2)])  # (h, N, N)
print("scores of the corner: one head", scores[3].int().tolist())
print("   head 0", head_scores[0, 3].int().tolist(), "  head 1", head_scores[1, 3].int().tolist())
assert_close(head_scores.sum(dim=0), scores)
head_weights = head_scores.softmax(dim=-1)  # (h, N, N)

figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
for ax, w, name in zip(axes, (weights, *head_weights), ("one head", "head 0", "head 1"), strict=True):
    draw_matrix(ax, w, index, index, limits=(0, 1), title=name)
plt.show()

# %% [markdown]
# The assertion is the point: the scores of the two heads add up to the scores of one. A dot product is a sum over
# columns anyway. One head adds first and takes the softmax after; two heads take a softmax each and never blend their
# questions. Head 0 sends the corner to the vertical edge, head 1 to the horizontal one.
#
# It also means that heads cost no weights. The matrices stay as they are; the number of heads only says where their
# columns are cut.
#
# > **The paper.** “To keep compute and number of parameters constant when changing $k$, $D_h$ (Eq. 5) is typically
# > set to $D/k$.” (appendix A; its $k$ is the number of heads, our $h$)
#
# In code, $D$ columns become $h$ groups of $d = D/h$, and the head axis moves to the front. Follow the numbers: four
# tokens, six columns, three heads.

# %% alt="Above: a four by six matrix with the numbers 0 to 23, columns coloured in three pairs, and the three heads, four by two each, every one of a single colour. Below: the same matrix and the three pieces that reshaping alone gives: each piece mixes all three colours."
numbers = torch.arange(24.0).reshape(4, 6)  # (N, D)
heads = numbers.reshape(4, 3, 2).transpose(0, 1)  # (N, h, d) -> (h, N, d)
careless = numbers.reshape(3, 4, 2)  # right shape, wrong content
assert heads.shape == careless.shape
assert heads.data_ptr() == numbers.data_ptr()

by_column = ListedColormap([CYCLE[(n % 6) // 2] for n in range(24)])
figure, axes = plt.subplots(2, 4, figsize=(WIDTH * 0.95, 3.6), width_ratios=[6, 2, 2, 2])
for row, pieces, name in zip(axes, (heads, careless), ("reshape, transpose", "reshape alone"), strict=True):
    draw_matrix(row[0], numbers, None, None, "{:.0f}", by_column, (-0.5, 23.5), title=name)
    for i in range(3):
        draw_matrix(row[i + 1], pieces[i], None, None, "{:.0f}", by_column, (-0.5, 23.5), title=f"head {i}")
plt.show()

# %% [markdown]
# Above, each head has its own two columns and all four tokens. It is a view: no number was copied, as the second
# assertion says. Below, the head axis was written first and the transposition forgotten.
#
# > **Common mistake.** `reshape(B, h, N, d)` straight from `(B, N, D)`. In the picture “token 0 of head 1” now
# > comes from token 1.
# > Shapes agree with the right ones in every later line.
#
# On the cat's 197 tokens no shape and no row sum would tell you either. A test against another implementation does, and we will
# write one in a moment. First the last piece.
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
    q, k, v = (part.reshape(B, N, h, D // h).transpose(1, 2) for part in qkv.chunk(3, dim=-1))  # (1)!
    weights = (q @ k.transpose(-2, -1) / math.sqrt(D // h)).softmax(dim=-1)  # (B, h, N, N)
    out = (weights @ v).transpose(1, 2).reshape(B, N, D)  # (2)!
    return out @ out_weight.T + out_bias, weights


# %% [markdown]
# 1. Three of `(B, h, N, d)`. With the head axis before the token axis, `@` treats heads like a batch.
# 2. The way back: tokens before heads, then heads side by side. Here `reshape` has to copy.

# %% [markdown]
# Two departures from equation 5: there are biases, as in the paper's own code, and the matrices are stored
# transposed, `(out, in)`, as PyTorch stores every linear layer.

# %% [markdown] anchor="equal"
# ## Four implementations, one result
#
# PyTorch brings its own, `nn.MultiheadAttention`. It keeps queries, keys and values in one matrix, in that order,
# like ours. So its weights can be used as they are.

# %%
B, N, D, h = 2, 5, 12, 3
z = torch.randn(B, N, D)
mha = nn.MultiheadAttention(D, h, batch_first=True)
nn.init.normal_(mha.in_proj_bias)
nn.init.normal_(mha.out_proj.bias)
parameters = [mha.in_proj_weight, mha.in_proj_bias, mha.out_proj.weight, mha.out_proj.bias]
print([tuple(p.shape) for p in parameters])

with torch.no_grad():
    ours, our_weights = multi_head(z, *parameters, h)
    theirs, their_weights = mha(z, z, z, average_attn_weights=False)  # (1)!
assert_close(ours, theirs)
assert_close(our_weights, their_weights)
print("by hand = nn.MultiheadAttention:", tuple(ours.shape), "and weights", tuple(our_weights.shape))

# %% [markdown]
# 1. Three times `z`: it asks for queries, keys and values apart, so that they may come from different sequences. And
#    by default it returns the mean of the weights over heads, `(B, N, N)`. One usually wants them apart.

# %% [markdown]
# The third is a function, `F.scaled_dot_product_attention`. It does equations 6 and 7 for queries, keys and values
# that we bring, and divides by $\sqrt d$ itself. We bring them from three separate linear layers, which shows at the
# same time that one fused layer is three layers stacked.

# %%
to_q, to_k, to_v = (nn.Linear(D, D) for _ in range(3))
with torch.no_grad():
    for layer, weight, bias in zip(
        (to_q, to_k, to_v), mha.in_proj_weight.chunk(3), mha.in_proj_bias.chunk(3), strict=True
    ):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    three = [layer(z) for layer in (to_q, to_k, to_v)]  # each (B, N, D)
    parts = [part.reshape(B, N, h, D // h).transpose(1, 2) for part in three]  # each (B, h, N, d)
    out = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(B, N, D)  # (B, N, D)
    assert_close(mha.out_proj(out), ours)
    assert_close(torch.cat(three, dim=-1), F.linear(z, *parameters[:2]))
print("three linears, SDPA = by hand")
print("one fused linear    = three linears")

# %% [markdown]
# The fourth is the finished piece of our package. You know every line of it by now, except the question which of two
# paths to take, and that comes below. One small thing: it scales the queries and not the scores, $N \times d$ numbers
# where the other way needs $N \times N$.

# %%
from vit.attention import Attention, explicit_attention, prefers_explicit

print(inspect.getsource(explicit_attention))
print(inspect.getsource(Attention.forward))

# %%
attention = Attention(D, h)
names = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
attention.load_state_dict(dict(zip(names, parameters, strict=True)))
with torch.no_grad():
    assert_close(attention(z), ours)
    finished, finished_weights = attention(z, need_weights=True)
assert_close(finished, ours)
assert_close(finished_weights, our_weights)
print("vit.attention = by hand, on both paths")
for heads_ in (1, 2, 3, 4, 6, 12):
    assert sum(p.numel() for p in Attention(D, heads_).parameters()) == sum(p.numel() for p in parameters)
print("parameters with 1, 2, 3, 4, 6 or 12 heads:", sum(p.numel() for p in parameters))

# %% [markdown]
# One more equality, from [lesson 2](02_positions.ipynb). Nothing in these equations knows where a token stands.
# Shuffle the tokens, and the outputs are shuffled in the same way. In the matrix of weights rows and columns move
# together.

# %%
order = torch.tensor([3, 0, 4, 1, 2])
with torch.no_grad():
    shuffled, shuffled_weights = attention(z[:, order], need_weights=True)
assert_close(shuffled, finished[:, order])
assert_close(shuffled_weights, finished_weights[:, :, order][:, :, :, order])
print("shuffled tokens in, shuffled outputs out")

# %% [markdown]
# And nothing hides a token from another. A language model that is trained to predict the next word must not see it,
# so it sets the scores of later tokens to $-\infty$ before the softmax. An image has no later: a ViT uses no mask.

# %% [markdown] anchor="photograph"
# ## On the photograph
#
# Now the cat, through an untrained ViT-S/16: patches, class token, positions, and the attention of the first block.
# That block normalises its input first; [lesson 4](04_encoder.ipynb) explains how.

# %%
torch.manual_seed(0)
model = create_model("vit_s_16").eval()
photo = photograph("chelsea")
first = model.blocks[0]
h, D = first.attn.num_heads, model.config.embed_dim
with torch.no_grad():
    z = first.norm1(model.embed(photo[None]))  # (1, N, D)
    qkv = first.attn.qkv(z)  # (1, N, 3D)
    q, k, v = qkv.reshape(1, -1, 3, h, D // h).permute(2, 0, 3, 1, 4)  # each (1, h, N, d)
    maps = model.attention_maps(photo[None])
for name, tensor in (("tokens", z), ("qkv", qkv), ("q", q), ("maps[0]", maps[0])):
    print(f"{name:8}", tuple(tensor.shape))
print("one map for each of", len(maps), "blocks")
assert q.shape == (1, 6, 197, 64)
assert maps[0].shape == (1, 6, 197, 197)
assert_close(maps[0], (q @ k.transpose(-2, -1) / 8).softmax(dim=-1))
assert_close(maps[0].sum(dim=-1), torch.ones(1, 6, 197))

# %% [markdown]
# A row of a map has one weight for the class token and 196 for the patches. Leave out the first, fold the rest into
# 14 by 14, and lay it over the photograph. Two rows are of interest: that of the class token, and that of patch 74,
# the pupil on the left. All twelve pictures share one colour scale, which begins at 0.

# %% alt="Two rows of six greyscale cats under a colour overlay, one column per head. Above the class token's weights, below those of the framed patch 74 on the pupil. All twelve overlays have nearly the same even colour."
query = 74 + 1  # (1)!
w = maps[0][0]  # (h, N, N)
top = w[:, [0, query], 1:].max().item()
figure, axes = plt.subplots(2, h, figsize=(WIDTH, 2.25))
for head in range(h):
    draw_attention(axes[0, head], photo, w[head, 0, 1:].reshape(14, 14), limit=top, title=f"head {head}")
    artist = draw_attention(axes[1, head], photo, w[head, query, 1:].reshape(14, 14), query=74, limit=top)
axes[0, 0].set_ylabel("CLS")
axes[1, 0].set_ylabel("74")
figure.colorbar(artist, ax=axes, shrink=0.8, aspect=25, pad=0.015)
plt.show()
print(f"uniform weight 1/197 = {1 / 197:.5f}, largest of all twelve maps {top:.5f}")

# %% [markdown]
# 1. The class token is token 0, so patch 74 is token 75. Forgetting this moves every map by one patch.

# %% [markdown]
# There is almost nothing to see, and that is the result. How close to uniform is it, and why?

# %%
entropy = -(w * w.log()).sum(dim=-1)  # (h, N)
scores = q @ k.transpose(-2, -1)  # (1, h, N, N)
print(f"mean entropy / log 197: {entropy.mean().item() / math.log(197):.4f}")
print(f"standard deviation of the scores: {scores.std():.2f}, and divided by √64: {scores.std() / 8:.2f}")

# %% [markdown]
# The weights of an untrained model are small, so its scores are small, and the softmax of small scores is nearly
# uniform. Every token takes the mean of all, give or take a little. (The footnote's variance of 1 for queries and
# keys was an assumption. Here the scores would be harmless even without the division. It matters once the weights
# grow.)
#
# You will often see pictures in which every map is stretched to its own minimum and maximum. Let us do that, with
# head 0 and the pupil, for three models that differ in nothing but the random seed.

# %% alt="Four greyscale cats under overlays, with a frame on the pupil that asks and a thin outline on the other pupil. The first, on the scale from 0, is nearly even. The other three, each stretched to its own range, show strong patterns on eyes and nose. For seeds 0 and 1 the other pupil is brightest, for seed 2 it is darkest."
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
    filtered = z[0] @ direction  # (N,): one answer per token
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
# The numbers fit. Eyes and nose stand out in untrained maps because they are unlike fur, and the sign is a coin. When
# you look at the maps of a trained model, keep three habits: one scale for all, the uniform value beside it, and the
# same picture from random weights.

# %% [markdown] anchor="cost"
# ## What it costs
#
# The attention matrix has $N^2$ entries, and each costs $d$ multiplications per head, $D$ for all heads. It is made
# once and used once, so $2N^2D$ together. The four projections, queries, keys, values and output, cost $4ND^2$. The
# ratio is
# $N/2D$: short sequences spend their time in the projections, long ones in the attention matrix.

# %%
D, h = 384, 6
print("    N   projections 4ND² attention 2N²D       its share   all h matrices of it, fp32")
for N in (65, 197, 577, 768, 1024, 4096):
    linear_part, quadratic = 4 * N * D * D, 2 * N * N * D
    share = quadratic / (quadratic + linear_part)
    print(f"{N:5} {linear_part:18,} {quadratic:14,} {share:15.0%} {h * N * N * 4 / 1e6:25.1f} MB")
assert 4 * 768 * D * D == 2 * 768**2 * D

# %% [markdown]
# At 224 pixels, with 197 tokens, ViT-S spends most of its attention layer in matrices whose cost grows linearly. The
# two meet at $N = 2D$. That is arithmetic; here is a clock. The times are of the machine that built this page, and
# yours will differ.


# %%
def best_time(function, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


layer = Attention(D, h)
sizes = [64, 128, 256, 512, 1024, 2048]
times = {"projections": [], "explicit": [], "fused": []}
with torch.inference_mode():
    for N in sizes:
        z = torch.randn(1, N, D)
        q, k, v = torch.randn(3, 1, h, N, D // h)
        times["projections"].append(best_time(lambda: (layer.qkv(z), layer.proj(z))))
        times["explicit"].append(best_time(lambda: explicit_attention(q, k, v)))
        times["fused"].append(best_time(lambda: F.scaled_dot_product_attention(q, k, v)))

# %% alt="Two plots on logarithmic axes over N from 64 to 2048. Left, milliseconds: the projections grow like N, explicit attention grows about like the guide line N squared, and so does the fused kernel. Right, megabytes: the attention matrices of one layer start level with the tokens and grow like N squared, the tokens like N."
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
figure.get_layout_engine().set(w_pad=0.12)
for (name, seconds), marker in zip(times.items(), "^os", strict=True):
    left.plot(sizes, [1e3 * s for s in seconds], marker=marker, markersize=4, label=name)
anchor = 1e3 * times["explicit"][3]
left.plot(sizes, [anchor * (N / sizes[3]) ** 2 for N in sizes], "--", color=FAINT, linewidth=1.2, label="N²")
right.plot(
    sizes,
    [h * N * N * 4 / 1e6 for N in sizes],
    "o-",
    color=CYCLE[1],
    markersize=4,
    label="attention matrices",
)
right.plot(sizes, [N * D * 4 / 1e6 for N in sizes], "^-", color=CYCLE[0], markersize=4, label="tokens")
for ax, label in ((left, "milliseconds"), (right, "megabytes")):
    ax.set(xlabel="N", ylabel=label, yscale="log")
    ax.set_xscale("log", base=2)
    ax.legend()
plt.show()

# %% [markdown]
# On logarithmic axes a power is a straight line and its exponent is the slope. Compare explicit attention with the
# dashed guide of slope two, and the projections with both. Do not expect exact lines, nor a crossing at just $2D$: a
# clock also sees a large matrix being moved through memory, which no count of multiplications shows. The plot on the
# right is no measurement. It says what one layer's attention matrices and tokens take in fp32.

# %% [markdown] anchor="two-paths"
# ## Two paths
#
# The curve called “fused” is `F.scaled_dot_product_attention`. Its fused kernels do the same arithmetic, $N^2$
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
for dtype, N in ((torch.float32, 65), (torch.bfloat16, 65), (torch.bfloat16, 4096)):
    chosen = "explicit" if prefers_explicit(torch.zeros(1, 6, N, 64, dtype=dtype)) else "fused"
    print(f"on a CPU, {dtype}, {N} tokens -> {chosen}")

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

# %% [markdown] anchor="mistakes"
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
    print(f"{name:9} same shape {wrong.shape == right.shape}, same numbers {torch.allclose(wrong, right)}")
    assert wrong.shape == right.shape
    assert not torch.allclose(wrong, right)

# %% [markdown]
# **`k.T` with a batch.** On two axes `.T` is right, and so it was on our toy. On more it reverses *all* axes; PyTorch
# calls that deprecated. Here it ends in an error, with other sizes it may not. Write `transpose(-2, -1)` or `.mT`.

# %%
reversed_axes = k.permute(3, 2, 1, 0)  # what k.T means on four axes
print("k", tuple(k.shape), "-> k.T", tuple(reversed_axes.shape), "but k.mT", tuple(k.mT.shape))
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
    interleaved = qkv.reshape(B, N, h, 3, D // h).permute(3, 0, 2, 1, 4)  # (3, B, h, N, d)
    one, other = (F.scaled_dot_product_attention(*parts) for parts in (grouped, interleaved))
print(f"same shape {one.shape == other.shape}, same numbers {torch.allclose(one, other)}")
assert one.shape == other.shape
assert not torch.allclose(one, other)

# %% [markdown]
# **Weights kept on the module.** `self.weights = weights` in `forward` looks handy for a picture. It forbids the fused
# kernel, and it holds the attention matrices of every layer, with their graph in training, until the next call. For
# ViT-B/16 and a modest batch that is:

# %%
config = get_config("vit_b_16")
held = 64 * config.depth * config.num_heads * config.num_tokens**2 * 4
print(f"{held / 1e9:.2f} GB for a batch of 64 in fp32")
assert [name for name, value in vars(attention).items() if isinstance(value, torch.Tensor)] == []

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
# **1. One query.** At the end of a ViT only the class token's output is read. In the last block, compute the
# attention of token 0 alone and show that it equals row 0 of the full result. How does the cost of the attention
# matrix grow now?
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
# import torch
# import torch.nn.functional as F
# from torch.testing import assert_close
#
# q, k, v = torch.randn(3, 2, 6, 197, 64)
# full = F.scaled_dot_product_attention(q, k, v)
# one = (q[:, :, :1] @ k.transpose(-2, -1) / 8).softmax(dim=-1) @ v
# assert one.shape == (2, 6, 1, 64)
# assert_close(one[:, :, 0], full[:, :, 0], rtol=1e-4, atol=1e-5)
# ```
#
# One row instead of $N$: the cost grows linearly with $N$.
#
# </details>
#
# **2. Temperature.** Divide the scores by a temperature $\tau$ before the softmax. Show that the entropy of a row
# grows with $\tau$, and find what happens for $\tau \to 0$ and $\tau \to \infty$.
#
# <details>
# <summary>Hint</summary>
#
# The entropy of weights $p$ is $-\sum p \log p$. `torch.special.entr` computes $-p \log p$ and knows that it is 0 for
# $p = 0$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import math
# import torch
#
# torch.manual_seed(0)
# scores = torch.randn(100, 197)
# taus = [0.01, 0.1, 1.0, 10.0, 1000.0]
# rows = [(scores / tau).softmax(dim=-1) for tau in taus]
# entropies = torch.stack([torch.special.entr(p).sum(dim=-1) for p in rows])  # (5, 100)
# assert (entropies.diff(dim=0) > 0).all()  # grows with the temperature, in every row
# assert rows[0].amax(-1).mean() > 0.9  # cold: nearly a choice of the largest
# assert torch.allclose(rows[-1], torch.full((100, 197), 1 / 197), atol=1e-4)  # hot: the mean
# assert abs(entropies[-1].mean().item() - math.log(197)) < 1e-4
# ```
#
# Dividing by $\sqrt d$ is a temperature, too.
#
# </details>
#
# **3. The useless bias.** Show that the bias of the keys changes nothing in the output of `vit.attention.Attention`.
# Then explain it.
#
# <details>
# <summary>Hint</summary>
#
# The key bias is the middle third of `qkv.bias`. What does it add to the scores of one row?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch.testing import assert_close
# from vit.attention import Attention
#
# torch.manual_seed(0)
# attention = Attention(12, 3)
# z = torch.randn(2, 5, 12)
# with torch.no_grad():
#     before = attention(z)
#     attention.qkv.bias[12:24] += 10 * torch.randn(12)  # the keys
#     assert_close(attention(z), before, rtol=1e-4, atol=1e-5)
#     attention.qkv.bias[:12] += torch.randn(12)  # the queries
#     assert not torch.allclose(attention(z), before, atol=1e-3)
# ```
#
# A key bias $b$ adds $q_i \cdot b$ to every score of row $i$, the same number for all keys, and the softmax ignores
# it. Some later models, BEiT among them, leave it out. The same argument in the extreme: if all keys are identical,
# every row is uniform and attention is the mean of the values.
#
# </details>
#
# **4. Cross-attention.** Queries may come from another sequence than keys and values. Let three tokens ask seven.
# Predict the shapes of weights and output, then check with `nn.MultiheadAttention`.
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
# from torch.testing import assert_close
#
# mha = nn.MultiheadAttention(12, 3, batch_first=True)
# askers, asked = torch.randn(2, 3, 12), torch.randn(2, 7, 12)
# with torch.no_grad():
#     out, weights = mha(askers, asked, asked, average_attn_weights=False)
# assert out.shape == (2, 3, 12)  # one output for each asker
# assert weights.shape == (2, 3, 3, 7)  # batch, heads, askers, asked
# assert_close(weights.sum(dim=-1), torch.ones(2, 3, 3))
# ```
#
# A softmax along the wrong axis would have the same shapes here, too. The row sums tell: seven columns that each sum to 1
# give three rows that sum to 7/3 on average.
#
# </details>
#
# **5. When does attention itself weigh as much?** For ViT-B, find the number of tokens at which the attention matrix
# costs as many multiply-accumulates as the projections of its attention layer, and at which it costs as many as
# projections and MLP together. Check both with `count_macs` on images of a fitting size.
#
# <details>
# <summary>Hint</summary>
#
# The MLP is two matrices of $D \times 4D$. Use `class_token=False`, so that it need not be counted, and with it
# `global_pool="avg"`.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit import count_macs, get_config
#
#
# def parts(height, width):
#     config = get_config("vit_b_16", img_size=(height, width), class_token=False, global_pool="avg")
#     macs = count_macs(config)
#     square = macs["attn.scores"] + macs["attn.values"]
#     return config.num_tokens, square, macs["attn.qkv"] + macs["attn.proj"], macs["mlp"]
#
#
# N, square, projections, _ = parts(512, 768)
# assert N == 2 * 768 and square == projections  # 2N²D = 4ND²
# N, square, projections, mlp = parts(1024, 1152)
# assert N == 6 * 768 and square == projections + mlp  # 2N²D = 12ND²
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Attention is a weighted mean of value vectors, and the weights come from the tokens: query times key, divided by
# $\sqrt d$, softmax over the keys. Rows sum to 1, and that is the cheapest test there is. The division keeps the
# spread of the scores the same at any width. With queries and keys of variance 1 a row is then a mean over many tokens
# and not a choice of one. Heads are groups of columns of the same projections: they add no weights, only softmaxes. The attention
# matrix grows with $N^2$ and the projections with $N$; fused kernels compute the same without storing that matrix. A map from random
# weights is the answer of a random filter, and a stretched colour scale can make it look like insight.
#
# Attention alone is still one operation. What has to stand around it so that twelve of them can be stacked is the
# subject of [lesson 4](04_encoder.ipynb), and [lesson 5](05_model.ipynb) stacks them.

# %% [markdown] anchor="references"
# ## References
#
# Ashish Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762), NeurIPS 2017: sections 3.2,
# 3.2.1 and 3.2.2, equation 1, footnote 4. Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for
# Image Recognition at Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: appendix A, equations 5 to 8, and appendix
# B.1. Tri Dao et al., [FlashAttention: Fast and Memory-Efficient Exact Attention with
# IO-Awareness](https://arxiv.org/abs/2205.14135), NeurIPS 2022. Ilya Tolstikhin et al., [MLP-Mixer: An all-MLP
# Architecture for Vision](https://arxiv.org/abs/2105.01601), NeurIPS 2021. Hangbo Bao et al., [BEiT: BERT
# Pre-Training of Image Transformers](https://arxiv.org/abs/2106.08254), ICLR 2022. PyTorch's
# [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html) and
# [`scaled_dot_product_attention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html).
