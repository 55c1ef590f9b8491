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
#     number: 4
#     prerequisites: Lessons 1 to 3; mean and variance of a list of numbers
# ---

# %% [markdown]
# # The encoder block
#
# Attention lets every token look at every other one. Why is a Vision Transformer then not simply a pile of attention
# layers?
#
# With random weights such a pile makes all its tokens equal after a handful of layers; this lesson measures how fast.
# The encoder block keeps attention and adds three plain things to it: layer norms, a small network that works on each
# token alone, and additions. It also matters where the norm stands.
#
# After it you can compute a layer norm with a pencil and say over which axis it runs, explain what the MLP does that
# attention can't, write equations 2 and 3 of the paper as a few lines of code, and tell pre-norm from post-norm.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from vit import create_model, get_config
from vit.data import PHOTOGRAPHS, photograph
from vit.encoder import Block, DropPath, Mlp
from vit.patches import patchify
from vit.plotting import ACCENT, CYCLE, DIVERGING, FAINT, INK, WIDTH, bare, draw_matrix, draw_runs, use_style
from vit.results import measured

torch.manual_seed(0)
use_style()


def rounded(x):
    return [round(v, 3) + 0.0 for v in x.tolist()]


# %%
photo = photograph("chelsea")[None]  # (1, 3, 224, 224)
toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
toy_patches = patchify(toy[None, None], 2)[0]  # (N, P·P)
E = 0.5 * torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
toy_tokens = toy_patches @ E  # (N, D)
print("tokens ", toy_tokens.tolist())

# %% [markdown] anchor="what-is-missing"
# ## What attention leaves out
#
# In [lesson 3](03_attention.ipynb) a token became a weighted mean of values. Suppose the weights are given. What kind
# of function of the values is left?

# %%
weights = (toy_tokens @ toy_tokens.T / 2**0.5).softmax(dim=-1)  # (N, N), rows sum to 1
values, other = toy_tokens, torch.randn(4, 2)
mixed = weights @ values  # (N, D)
assert_close(weights @ (values + 3 * other), mixed + 3 * (weights @ other))
assert (mixed.min(0).values >= values.min(0).values).all()
assert (mixed.max(0).values <= values.max(0).values).all()

# %% [markdown]
# A linear one. Attention as a whole is not linear, because the weights depend on the tokens too. But once they are
# chosen, all it does is average, and a mean lies inside the range of what it averages. Attention moves information
# from token to token. It does little with it on arrival.
#
# So the block needs a part that works on a token once the information is there. It also needs something that keeps
# the numbers in a range where both parts work, and a way to stack many such layers without losing the input.
#
# > **The paper.** “The Transformer encoder (Vaswani et al., 2017) consists of alternating layers of multiheaded
# > self-attention (MSA, see Appendix A) and MLP blocks (Eq. 2, 3). Layernorm (LN) is applied before every block, and
# > residual connections after every block”. (section 3.1)
#
# “Block” here means one part, attention or MLP. What we call an encoder block holds one of each, and so two norms and
# two residual connections. We take the words one at a time: Layernorm, MLP, residual.

# %% [markdown] anchor="layer-norm"
# ## Layer norm, with a pencil
#
# A layer norm takes one token, a list of $D$ numbers. It subtracts their mean $\mu$ and divides by their standard
# deviation. Then it gives each of the $D$ numbers its own learned scale $\gamma$ and shift $\beta$, the same for all
# tokens.
#
# $$\mathrm{LN}(\mathbf{x})_j = \gamma_j\,\frac{x_j - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta_j,
# \qquad \mu = \frac{1}{D}\sum_j x_j, \qquad \sigma^2 = \frac{1}{D}\sum_j (x_j - \mu)^2$$
#
# Our toy tokens are only two numbers wide. What does a norm leave of two numbers?


# %% predict="The third token is (0, -2). What does a norm leave of it?"
def normalise(x, eps=1e-6):
    mean = x.mean(dim=-1, keepdim=True)  # (..., 1)
    variance = (x - mean).square().mean(dim=-1, keepdim=True)  # divided by D, not D - 1
    return (x - mean) / (variance + eps).sqrt()


for token in toy_tokens:
    print(rounded(token), "->", rounded(normalise(token)))

# %% [markdown] tags=["answer"]
# Almost nothing: a sign. The vertical edge and the horizontal edge have become the same token. A norm takes two
# numbers away from each token, its mean and its size, and two was all there was. Of 768 it leaves 766.

# %% [markdown]
# For a pencil we want a little more room, so let the four pixels of a toy patch themselves be a token, $D = 4$. Do
# the last patch, $[0, 1, 1, 2]$, on paper. The mean is 1. The deviations are $-1, 0, 0, 1$, their squares sum to 2,
# the variance is ½, and $1/\sqrt{1/2} = \sqrt 2$. The flat patch has variance zero, and here $\varepsilon$ earns its
# place: without it we would divide 0 by 0.

# %% alt="Two matrices of four rows and four columns side by side. Left, the toy patches, values 0 to 2. Right, after normalising each row: a row of zeros for the flat patch, rows of plus and minus 1 for the two edges, and minus 1.41, 0, 0, 1.41 for the corner." jupyter={"source_hidden": true} predict="What becomes of the four patches? One you have computed."
normalised = normalise(toy_patches)
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH * 0.85, 2.7))
names = ["flat", "vertical", "horizontal", "corner"]
draw_matrix(left, toy_patches, rows=names, values="{:.0f}", cmap="gray", title="x")
draw_matrix(right, normalised, values="{:.2f}", cmap=DIVERGING, limits=(-2, 2), title="normalised")
plt.show()
assert_close(normalised[1], torch.tensor([-1.0, 1, -1, 1]), atol=1e-5, rtol=0)
assert_close(normalised[3], torch.tensor([-(2**0.5), 0, 0, 2**0.5]), atol=1e-5, rtol=0)

# %% [markdown]
# What is gone is brightness and contrast. A patch $[0, 1, 0, 1]$ would give the same second row. Does the network
# lose them for good? In what this block computes from them, yes. But the
# input itself travels on untouched beside it, as we shall [see](#residual).
#
# With scale and shift our function is PyTorch's layer.


# %%
def layer_norm(x, weight, bias, eps=1e-6):
    return normalise(x, eps) * weight + bias


theirs = nn.LayerNorm(4, eps=1e-6)
with torch.no_grad():
    theirs.weight.copy_(torch.tensor([1.0, 1, 2, 2]))  # gamma
    theirs.bias.copy_(torch.tensor([0.0, 3, 0, 3]))  # beta
    ours = layer_norm(toy_patches, theirs.weight, theirs.bias)
    assert_close(ours, theirs(toy_patches))
print("vertical edge, scaled and shifted:", rounded(ours[1]))

# %% [markdown] anchor="which-axis"
# ## Over which axis?
#
# A batch of tokens has three axes: images, tokens, width. A mean can be taken over any of them. In the picture each
# grid is an image, a row is a token, a column is one of its $D$ numbers. One number is marked by a cross. The
# coloured numbers share its mean and variance.

# %% alt="Four columns, each with three grids, one grid per image, four tokens high and six features wide. A cross marks one cell in the first grid. Coloured cells: in the first column only the row of the cross; in the second, the column of the cross in all three images; in the third, the whole first grid; in the fourth, the column of the cross in the first image alone." jupyter={"source_hidden": true} predict="Which of the four can a ViT use without mixing tokens or images?"
masks = torch.zeros(4, 3, 4, 6)  # panel, image, token, feature
masks[0, 0, 1, :] = masks[1, :, :, 2] = masks[2, 0] = masks[3, 0, :, 2] = 1
titles = ["LayerNorm(D)", "BatchNorm1d(D)", "LayerNorm([N, D])", "over dim=1"]
figure, axes = plt.subplots(3, 4, figsize=(WIDTH, 3.6))
for k, title in enumerate(titles):
    for image in range(3):
        ax = axes[image, k]
        ax.pcolormesh(
            masks[k, image].flip(0), cmap="Oranges", vmin=0, vmax=2, edgecolors=FAINT, linewidth=0.6
        )
        bare(ax, title if image == 0 else None).set_aspect("equal")
        if k == 0:
            ax.set_ylabel(f"image {image}")
    axes[0, k].text(2.5, 2.46, "×", ha="center", va="center", fontsize=13)
axes[2, 0].set_xlabel("D")
axes[2, 3].yaxis.set_label_position("right")
axes[2, 3].set_ylabel("N", rotation=0, va="center", labelpad=8)
plt.show()

# %% [markdown] tags=["answer"]
# The first, and the Transformer uses it. Every token is normalised by its own numbers. Nothing crosses from token to
# token or from image to image, so that the answer for one photograph cannot depend on which others share its batch.
# Batch norm, the second, is the usual choice in convolutional networks. With it the answer does depend on the others,
# as long as one trains. The third and the fourth are mistakes that run without complaint. We come back to them at [the
# end](#mistakes).

# %% [markdown] anchor="batch-norm" tags=["deeper"]
# ### Batch norm, on the same numbers
#
# Does the answer for image 0 depend on the other images of its batch?

# %%
batch = torch.randn(8, 4, 6)  # (B, N, D)
columns_first = batch.transpose(1, 2)  # (B, D, N), as BatchNorm1d wants it
for norm, x in ((nn.LayerNorm(6), batch), (nn.BatchNorm1d(6), columns_first)):
    gap = (norm(x[:1]) - norm(x)[:1]).abs().max()
    print(f"{type(norm).__name__:12} image 0 the same in any batch: {bool(gap < 1e-6)}")

# %% [markdown] anchor="epsilon" tags=["deeper"]
# ### One millionth
#
# PyTorch's default for $\varepsilon$ is $10^{-5}$. The paper's code, timm, torchvision and we use $10^{-6}$. Does a
# constant that small matter? A normalised token has the variance $\sigma^2/(\sigma^2 + \varepsilon)$ instead of 1, so
# it depends on what $\sigma^2$ was.

# %%
print("variance    size after, eps = 1e-6    eps = 1e-5")
for variance in (1.0, 1e-2, 1e-4, 1e-5, 1e-6):
    token = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64) * variance**0.5
    after = [normalise(token, eps).square().mean().sqrt() for eps in (1e-6, 1e-5)]
    print(f"{variance:8.0e} {after[0]:20.3f} {after[1]:19.3f}")

# %% [markdown]
# For a token of ordinary size it makes no difference. Are there small tokens in a ViT? Ask the photograph. This is
# ViT-S with random weights; `embed` is equation 1, that is patches, class token and positions.

# %%
torch.manual_seed(0)
model = create_model("vit_s_16").eval()
with torch.no_grad():
    z0 = model.embed(photo)  # (1, N + 1, D)
variances = z0[0].var(dim=-1, correction=0)  # (N + 1,)
patch_variances = variances[1:]
print(f"variance of the patch tokens: median {patch_variances.median():.2f}", end=", ")
print(f"smallest {patch_variances.min():.3f}")
print(f"variance of the class token:  {variances[0]:.5f}")
for eps in (1e-6, 1e-5):
    after = normalise(z0[0, 0], eps).square().mean().sqrt()
    print(f"its size after a norm with eps = {eps:.0e}: {after:.3f}")
assert variances[0] < 1e-3 < patch_variances.min()

# %% [markdown]
# One token is small. The class token starts as zeros plus a position of standard deviation 0.02, and in the very
# first norm the choice of $\varepsilon$ changes it by more than one per cent. That is no reason to prefer one value.
# It is a reason to use the value with which the weights were trained.

# %% [markdown] anchor="gelu"
# ## A gate for each number
#
# Two linear layers in a row are one linear layer: $\mathbf{W}_1\mathbf{W}_2$ is just another matrix. To get anything
# new from the second there must be something bent between them.
#
# The simplest candidate is ReLU, $\max(0, x)$. It multiplies $x$ by a gate that is 1 for positive numbers and 0 for
# the rest. GELU, by Hendrycks and Gimpel, makes the gate soft:
#
# $$\mathrm{GELU}(x) = x\,\Phi(x), \qquad \Phi(x) = \tfrac12\left(1 + \mathrm{erf}\!\left(x/\sqrt2\right)\right)$$
#
# $\Phi(x)$ is the probability that a number drawn from the standard normal distribution is smaller than $x$. Large
# numbers pass, very negative ones are shut off, and those near zero are let through in part.


# %%
def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


x = torch.tensor([-3.0, -2, -1, 0, 1, 2, 3])
print("x     " + "".join(f"{v:9.0f}" for v in x))
print("gate Φ" + "".join(f"{v:9.4f}" for v in 0.5 * (1 + torch.erf(x / math.sqrt(2)))))
print("GELU  " + "".join(f"{v:9.4f}" for v in gelu(x)))
print("ReLU  " + "".join(f"{v:9.4f}" for v in F.relu(x)))
assert_close(gelu(x), F.gelu(x))
assert_close(gelu(x) - gelu(-x), x)

# %% alt="Two panels over x from minus 4 to 4. Left: ReLU with its corner at zero, and GELU, which dips slightly below zero for negative x. Right: their derivatives; ReLU's is a step from 0 to 1, GELU's a smooth curve that goes slightly below 0 and slightly above 1." jupyter={"source_hidden": true}
x = torch.linspace(-4, 4, 801, dtype=torch.float64).requires_grad_()
figure, axes = plt.subplots(1, 2, figsize=(WIDTH * 0.75, 2.4))
for name, function in (("ReLU", F.relu), ("GELU", gelu)):
    y = function(x)
    slope = torch.autograd.grad(y.sum(), x)[0]
    axes[0].plot(x.detach(), y.detach(), label=name)
    axes[1].plot(x.detach(), slope)
for ax, title in zip(axes, ("f(x)", "f′(x)"), strict=True):
    ax.set(title=title, xlabel="x", xticks=[-4, -2, 0, 2, 4])
axes[0].legend()
plt.show()
at = x[gelu(x).argmin()].item()
print(f"GELU is smallest at x = {at:.2f}, where it is {gelu(x).min():.3f}")
print(f"its slope lies between {slope.min():.3f} and {slope.max():.3f}")

# %% [markdown]
# The right panel is about training. Where ReLU is shut, its slope is exactly zero, and no gradient comes through.
# GELU's slope is zero at one point, its minimum; elsewhere something comes through, if little far to the left. The
# figure does not say which of the two trains better.

# %% [markdown] anchor="tanh-gelu" tags=["deeper"]
# ### A second formula under the same name
#
# The authors offer an approximation, for speed:
#
# $$\mathrm{GELU}(x) \approx \tfrac12 x\left(1 + \tanh\!\left[\sqrt{2/\pi}\,\left(x + 0.044715\,x^3\right)\right]\right)$$
#
# JAX takes this form unless told otherwise, and with it the paper's code. PyTorch, timm and we take the exact one.

# %% alt="One curve over x from minus 4 to 4: the exact GELU minus the tanh form, a wave of a few ten-thousandths." jupyter={"source_hidden": true} predict="How large is the largest difference?"
gap = (gelu(x) - F.gelu(x, approximate="tanh")).detach()
figure, ax = plt.subplots(figsize=(WIDTH * 0.5, 2.2))
ax.plot(x.detach(), gap * 1e4, color=ACCENT)
ax.set(title="exact − tanh, in 10⁻⁴", xlabel="x", xticks=[-4, -2, 0, 2, 4])
plt.show()
print(f"largest difference: {gap.abs().max():.1e}")

# %% [markdown]
# Small, but not rounding. Weights trained with one form and run with the other give slightly different answers;
# [below](#mistakes) we measure how different.

# %% [markdown] anchor="mlp"
# ## One token at a time
#
# > **The paper.** “The MLP contains two layers with a GELU non-linearity.” (section 3.1)
#
# $$\mathrm{MLP}(\mathbf{x}) = \mathrm{GELU}(\mathbf{x}\mathbf{W}_1 + \mathbf{b}_1)\,\mathbf{W}_2 + \mathbf{b}_2,
# \qquad \mathbf{W}_1 \in \mathbb{R}^{D \times 4D},\quad \mathbf{W}_2 \in \mathbb{R}^{4D \times D}$$
#
# What can it do that a matrix can't? Take a question about the toy: how strong is the edge, whichever way it points?
# A linear map must answer $-s$ for the token $-\mathbf{x}$ if it answers $s$ for $\mathbf{x}$. Dark to bright and
# bright to dark can't both be “strong”. With a hidden layer it is easy. Let hidden unit 1 look for brightness growing
# to the right and hidden unit 2 for brightness growing to the left, likewise down and up, and add each pair.

# %%
W1 = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]])  # to right, left, down, up
W2 = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])  # add the pairs
with_gate = gelu(toy_tokens @ W1) @ W2  # (N, D) -> (N, hidden) -> (N, D)
for token, answer in zip(toy_tokens, with_gate, strict=True):
    print(rounded(token), "->", rounded(answer))
assert_close((toy_tokens @ W1) @ W2, torch.zeros(4, 2))

# %% [markdown]
# The bright-above-dark edge had $-2$ and now has $+1.909$: a strength without a sign. (On paper: $\mathrm{GELU}(2) +
# \mathrm{GELU}(-2)$, from the table above.) Take the GELU away and the same two matrices give zero for every token.
#
# The hidden layer of the toy is twice as wide as its tokens. In the ViT it is four times as wide, as in the first
# Transformer. Here is the real size, on the photograph.

# %% predict="Set token 60 to zero. Which outputs of the MLP move?"
fc1, fc2 = nn.Linear(768, 4 * 768), nn.Linear(4 * 768, 768)
embedded = create_model("vit_b_16", depth=1).embed(photo).detach()  # (1, N + 1, D)
hidden = gelu(fc1(embedded))  # (1, N + 1, 4D)
out = fc2(hidden)  # (1, N + 1, D)
print("tokens", tuple(embedded.shape), "hidden", tuple(hidden.shape))
changed = embedded.clone()
changed[0, 60] = 0.0
moved = (fc2(gelu(fc1(changed))) - out)[0].abs().amax(dim=-1) > 1e-4
print("token 60 changed; outputs that moved:", moved.nonzero().flatten().tolist())

# %% [markdown] tags=["answer"]
# A change in one token moves that token alone. Through attention it would have moved all of them, as a cell [further
# down](#mistakes) shows. The division of labour is strict: attention works across tokens, the MLP within each one.

# %% [markdown] anchor="share" tags=["deeper"]
# ### Where the parameters are
#
# How are a block's parameters divided between the two?

# %%
print("model       attention         MLP      norms   MLP's share")
for name in ("vit_ti_16", "vit_s_16", "vit_b_16", "vit_l_16", "vit_h_14", "vit_nano_4"):
    block = create_model(name, depth=1).blocks[0]
    count = {"attn": 0, "mlp": 0, "norm": 0}
    for key, parameter in block.named_parameters():
        count[key[:4].rstrip(".")] += parameter.numel()
    row = "".join(f"{count[part]:12,}" for part in ("attn", "mlp", "norm"))
    print(f"{name:10}{row}{count['mlp'] / sum(count.values()):12.1%}")

# %% [markdown]
# Two thirds of a block are MLP, for the paper's B, L and H and for the smaller Ti and S of DeiT: $8D^2$ against the
# $4D^2$ of attention's four projections. (`vit_nano_4` is ours, and its MLP is only twice as wide.) A model known for
# its attention keeps most of its parameters elsewhere.

# %% [markdown] anchor="pause"
# ## A pause
#
# Two of three words are done. A norm sets each token's mean and size and knows no other token. The MLP computes on
# each token and knows no other either. Here is a good place to stop for today. What is missing is the third word, the
# one that says how the parts are joined.

# %% [markdown] anchor="residual"
# ## The residual stream
#
# The last word is residual. Neither attention nor MLP replaces the tokens. Each computes something from them, and the
# result is *added*:
#
# $$\mathbf{x} \leftarrow \mathbf{x} + f(\mathbf{x})$$
#
# So there is a path from the embedding to the end on which nothing happens but additions. It is called the residual
# stream. The detour through $f$ is called a *branch*: it reads from the stream and writes into it, and what it does not
# touch stays. Put all additions together, and
# the end of the stream is the embedding plus everything that was ever written. Let us hold the model to that, and
# take sizes as we go.

# %%
torch.manual_seed(0)
model = create_model("vit_s_16").eval()
with torch.no_grad():
    z0 = model.embed(photo)  # (1, N + 1, D)
    stream, written = [z0], []
    for block in model.blocks:
        x = stream[-1]
        a = block.attn(block.norm1(x))
        m = block.mlp(block.norm2(x + a))
        written += [a, m]
        stream.append(x + a + m)
    assert_close(z0 + sum(written), stream[-1], rtol=1e-4, atol=1e-4)


def size(x):  # mean length of the patch tokens
    return x[0, 1:].norm(dim=-1).mean().item()


print(f"stream: {size(z0):.1f} at the embedding, {size(stream[-1]):.1f} at the end")
print(f"all lengths laid end to end: {size(z0) + sum(size(w) for w in written):.0f}")

# %% [markdown]
# The stream grows, but far less than the pieces laid end to end. The next figure compares it with another rule, and
# asks how much of the embedding is still there.

# %% alt="Two panels against the number of blocks passed, 0 to 12. Left: the mean length of a patch token rises from about 8 to 14 and lies on a dashed line, the root of the sum of squares; the additions of attention and MLP stay flat near 2 and 2.5. Right: cosine with the embedding; for patch tokens it falls slowly from 1 to 0.6, for the class token it drops at once to nearly zero." jupyter={"source_hidden": true}
squares = torch.tensor([size(z0) ** 2] + [size(w) ** 2 for w in written])
right_angles = squares.cumsum(0).sqrt()[::2]  # (13,)
kept = torch.stack([F.cosine_similarity(z, z0, dim=-1)[0] for z in stream])  # (13, 197)
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.7))
left.plot([size(z) for z in stream], "o-", markersize=4, label="stream")
left.plot(right_angles, "--", color=INK, linewidth=1.2, label="√ sum of squares")
blocks_passed = range(1, 13)
left.plot(blocks_passed, [size(w) for w in written[0::2]], ".-", label="attention adds")
left.plot(blocks_passed, [size(w) for w in written[1::2]], ".-", label="MLP adds")
left.set(xlabel="blocks passed", ylabel="mean length", ylim=(0, None))
left.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.22), fontsize=7.5)
right.plot(kept[:, 1:].mean(1), "o-", markersize=4, label="patches")
right.plot(kept[:, 0], "s-", markersize=4, label="class token")
right.set(xlabel="blocks passed", ylabel="cosine with embedding", ylim=(-0.15, 1.05))
right.legend()
plt.show()
print(f"end of the stream {size(stream[-1]):.1f}, root of the sum of squares {right_angles[-1]:.1f}")
print(f"cosine with the embedding at the end: patches {kept[-1, 1:].mean():.2f}", end=", ")
print(f"class token {kept[-1, 0]:.2f}")

# %% [markdown]
# Each branch writes at nearly a right angle to what is already there, so the lengths add as in Pythagoras. That is no
# insight into vision: random weights write in random directions, and in 384 dimensions two random directions are
# almost always nearly perpendicular. What a patch token was at the start can still be seen in it after twelve
# blocks. We have not looked at a trained model yet.

# %% [markdown] anchor="by-hand"
# ## The block by hand
#
# All parts are on the table. The paper puts them together in two lines.
#
# > **The paper.** With $\ell = 1 \ldots L$ for the blocks,
# >
# > $$\begin{aligned}\mathbf{z}'_\ell &= \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1} &&(2)\\
# > \mathbf{z}_\ell &= \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell &&(3)\end{aligned}$$
# >
# > (section 3.1)
#
# The two LNs are different layers, each with its own scale and shift. Attention is the layer of lesson 3, and `p` a
# dictionary of the other parameters by name.


# %%
def mlp(x, p):
    hidden = gelu(x @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"])  # (B, N + 1, 4D)
    return hidden @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]  # (B, N + 1, D)


def block_by_hand(x, block):
    p = dict(block.named_parameters())
    normed = layer_norm(x, p["norm1.weight"], p["norm1.bias"])
    x = block.attn(normed) + x  # (1)!
    normed = layer_norm(x, p["norm2.weight"], p["norm2.bias"])
    return mlp(normed, p) + x  # (2)!


# %% [markdown]
# 1. Equation 2. The name `x` on the right is still the old tensor: the norm is read, the sum is written.
# 2. Equation 3. Both additions make a new tensor. Why that is worth a note stands under [mistakes](#mistakes).

# %% [markdown]
# Is that the block of our package? Fill one with random numbers, the norms too, since scales of one and shifts of
# zero would hide a mistake, and give the hand-built function the same parameters.

# %%
torch.manual_seed(0)
vit_b = Block(dim=768, num_heads=12, mlp_dim=3072).eval()
with torch.no_grad():
    for parameter in vit_b.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    by_hand = block_by_hand(embedded, vit_b)
    assert_close(by_hand, vit_b(embedded), rtol=1e-4, atol=1e-5)
print("by hand = vit.encoder.Block:", tuple(by_hand.shape))

# %% [markdown]
# Same shape in and out. That is what lets us stack any number of them. The package's version adds three things. It can
# hand the attention weights out. Its `drop_path` can leave a branch out in training, which a [later
# section](#stochastic-depth) builds. And `ls1` and `ls2` pass the branch on as it is, unless one asks for LayerScale
# (exercise 5). Dropout sits inside attention and MLP:

# %%
print(inspect.getsource(Block.forward))

# %% [markdown] anchor="without"
# ## Without the addition
#
# What if the addition is left out? The shapes fit, and no error comes. Take 24 small blocks, 64 numbers wide, with
# random weights, and follow how different the tokens of a photograph are: subtract the mean token, and compare what
# remains with the whole. We count in 64-bit floats, because 32 would not be enough to see where it goes.


# %% jupyter={"source_hidden": true}
def xavier(module):
    """As the paper's code: Xavier's uniform distribution, queries, keys and values each by itself."""
    if isinstance(module, nn.Linear):
        parts = 3 if module.out_features == 3 * module.in_features else 1
        for weight in module.weight.chunk(parts):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(module.bias)


def new_blocks(depth, dim=64):
    blocks = [Block(dim, num_heads=4, mlp_dim=4 * dim) for _ in range(depth)]
    return nn.ModuleList(blocks).apply(xavier)


torch.manual_seed(0)
photos = torch.stack([photograph(name) for name in PHOTOGRAPHS])  # (4, 3, 224, 224)
small = create_model("vit_ti_16", embed_dim=64, num_heads=4, depth=1, patch_size=32)
start = small.embed(photos).detach()  # (4, 50, 64)


# %% predict="After how many blocks are all tokens equal, with the addition and without?"
def with_residual(block, x):
    x = x + block.attn(block.norm1(x))
    return x + block.mlp(block.norm2(x))


def no_residual(block, x):
    return block.mlp(block.norm2(block.attn(block.norm1(x))))


def attention_only(block, x):
    return block.attn(block.norm1(x))


def difference(x):  # 0 when all tokens of an image are equal
    return ((x - x.mean(dim=1, keepdim=True)).norm() / x.norm()).item()


curves = {}
for wiring in (with_residual, no_residual, attention_only):
    torch.manual_seed(0)
    x, blocks = start.double(), new_blocks(24).double()
    curve = curves[wiring.__name__] = [difference(x)]
    with torch.no_grad():
        for block in blocks:
            x = wiring(block, x)
            curve.append(difference(x))
    shown = [f"{d:.0e}" if d > 1e-12 else "rounding" for d in (*curve[:5], curve[-1])]
    print(f"{wiring.__name__:14}", "  ".join(shown[:5]), " …", shown[5])
assert curves["no_residual"][5] < 1e-12 < 1e-2 < curves["with_residual"][24]

# %% [markdown] tags=["answer"]
# Without the addition all tokens of an image become the same token, down to the rounding of a 64-bit float, after
# four blocks. What attention returns is an average, so tokens draw together. Once they are close, their queries are
# close, so their averages are closer still: each block roughly triples the power of ten. Dong et al. (2021) proved it
# for attention alone, which “converges doubly exponentially to a rank-1 matrix”. (Ours has a norm in front. It
# doesn't help.)

# %% alt="Share of the tokens that is not common to all, on a logarithmic axis, against blocks passed. Without residual, with or without MLP, two curves plunge ever more steeply to ten to the minus sixteen within four blocks. With residual the curve falls slowly and stays just below one tenth." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.6))
for (name, curve), marker in zip(curves.items(), "ov^", strict=True):
    ax.plot(curve, marker=marker, markersize=3.5, label=name.replace("_", " "))
ax.set(yscale="log", xlabel="blocks passed", ylabel="difference between tokens", ylim=(1e-17, 3))
ax.legend(loc="center right", bbox_to_anchor=(1, 0.45))
plt.show()

# %% [markdown]
# They also find that MLPs work against the collapse. In our stack an MLP without the addition does not visibly do so.
# The addition does. Once more, this is about random weights.
#
# > **Common mistake.** Writing `x = self.attn(self.norm1(x))` and forgetting `x +`. The shapes fit and no error
# > comes, but nothing tells the tokens of an image apart any more.

# %% [markdown] anchor="pre-post"
# ## Before or after?
#
# The first Transformer had the same parts in another order. There the output of each part is “LayerNorm(x +
# Sublayer(x))” (Vaswani et al., 2017, section 3.1): the norm comes after the addition, and stands *on* the stream.
# That is called post-norm. In the ViT it stands on the branch, before attention or MLP: pre-norm.
#
# $$\text{post-norm:}\qquad \mathbf{z}'_\ell = \mathrm{LN}(\mathbf{z}_{\ell-1} + \mathrm{MSA}(\mathbf{z}_{\ell-1})),
# \qquad \mathbf{z}_\ell = \mathrm{LN}(\mathbf{z}'_\ell + \mathrm{MLP}(\mathbf{z}'_\ell))$$

# %% alt="Two wiring diagrams of a block, left to right. Upper, pre-norm: the stream is one unbroken arrow; a branch leaves it, passes LN and MSA and is added back, a second passes LN and MLP. Lower, post-norm: the branches hold only MSA and MLP, and after each addition an LN box sits on the stream itself." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 3.3))


def box(ax, x, y, text, color):
    style = {"boxstyle": "round,pad=0.45", "facecolor": color, "edgecolor": INK, "linewidth": 0.8}
    ax.text(x, y, text, ha="center", va="center", color=INK, bbox=style, zorder=3)


for ax, name in zip(axes, ("pre-norm", "post-norm"), strict=True):
    ax.annotate("", (10.6, 0), (-0.4, 0), arrowprops={"arrowstyle": "->", "color": ACCENT, "linewidth": 2.4})
    for at, part in ((0.5, "MSA"), (5.5, "MLP")):
        ax.plot([at, at, at + 3.3, at + 3.3], [0, 1, 1, 0.15], color=INK, linewidth=1.2)
        box(ax, at + (2.35 if name == "pre-norm" else 1.65), 1, part, "#dbe9f5")
        where = (at + 0.95, 1) if name == "pre-norm" else (at + 4.2, 0)
        box(ax, *where, "LN", "#f8e3cf")
        ring = {"color": "white", "markeredgecolor": INK, "markeredgewidth": 0.8, "zorder": 4}
        ax.plot(at + 3.3, 0, "o", markersize=13, **ring)
        ax.text(at + 3.3, -0.02, "+", ha="center", va="center", fontsize=12, zorder=5)
    bare(ax, name).set(xlim=(-0.6, 10.8), ylim=(-0.45, 1.45))
plt.show()

# %% [markdown]
# In the upper picture you can follow the stream from left to right without meeting anything but a plus. In the lower
# one every token is rescaled twice per block. Both hold the same parameters, so we can wire the same `Block` either
# way.

# %%
pre_norm = with_residual


def post_norm(block, x):
    x = block.norm1(x + block.attn(x))
    return block.norm2(x + block.mlp(x))


with torch.no_grad():
    same, other = pre_norm(vit_b, embedded), post_norm(vit_b, embedded)
assert_close(same, vit_b(embedded))
print("pre-norm is the block:", torch.allclose(same, by_hand, rtol=1e-4, atol=1e-5))
print("post-norm is, too:    ", torch.allclose(other, by_hand, rtol=1e-4, atol=1e-5))

# %% [markdown]
# A pre-norm stack needs one more norm at its end, or the head would see a stream of any size. It is the LN of the
# paper's equation 4, and `norm` in our model. A post-norm block already ends in one. Xiong et al. (2020) conclude that
# in post-norm the gradients near the output are large, that a large learning rate is then unstable, and that this is
# why such models need a warm-up, first steps with small rates ([lesson 6](06_training.ipynb#schedule)). The fold looks
# at the gradients.

# %% [markdown]
# Which wirings keep the size of the stream, which let it grow, and which let it die? Predict it for pre-norm, post-norm
# and no norm, each with the addition and without. Then try all six.
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="encoder">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown] anchor="gradients" tags=["deeper"]
# ### Stream and gradients, before any training
#
# Take stacks of the small blocks again, with four photographs as input and a cross-entropy with four made-up labels as
# loss, read off the class token. (Their matrices are drawn as the paper's code draws them, with a standard deviation of
# 1/8 for a 64 × 64 matrix, six times our usual 0.02.) How large is the stream after each block, and how large is the
# gradient of the loss with respect to each block's parameters? Everything is averaged over five random initialisations.


# %%
def probe(wiring, depth, seed):
    torch.manual_seed(seed)
    blocks, head = new_blocks(depth), nn.Linear(64, 10)
    x, sizes, gradients = start, [], []
    for block in blocks:
        x = wiring(block, x)
        sizes.append(x.square().mean().sqrt().item())
    if wiring is pre_norm:
        x = normalise(x)  # the one more norm
    F.cross_entropy(head(x[:, 0]), torch.arange(4)).backward()
    for block in blocks:
        flat = torch.cat([p.grad.flatten() for p in block.parameters()])
        gradients.append(flat.norm().item())
    return torch.tensor([sizes, gradients])  # (2, depth)


runs, depths = {}, (2, 4, 8, 16, 24, 32)
for wiring in (pre_norm, post_norm):
    for depth in depths:
        five = [probe(wiring, depth, seed) for seed in range(5)]
        runs[wiring, depth] = torch.stack(five).mean(0)  # (2, depth)
NAMED = {pre_norm: "pre-norm", post_norm: "post-norm"}

# %% alt="Three panels comparing pre-norm and post-norm at initialisation. Left: size of the stream by block; pre-norm grows from about 1 to 5, post-norm stays at 1. Middle, logarithmic: gradient of each block in a stack of 24; pre-norm falls from 5 in the first block to below 1 in the last, post-norm from 6 to 3. Right, logarithmic both ways: gradient of the last block against the depth of the stack; pre-norm falls roughly along a dashed line of slope minus one half, post-norm stays level near 3." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.7))
for wiring, color, marker in ((pre_norm, CYCLE[0], "o"), (post_norm, CYCLE[1], "s")):
    style = {"color": color, "marker": marker, "markersize": 3.2, "label": NAMED[wiring]}
    axes[0].plot(range(1, 25), runs[wiring, 24][0], **style)
    axes[1].plot(range(1, 25), runs[wiring, 24][1], **style)
    axes[2].plot(depths, [runs[wiring, depth][1, -1] for depth in depths], **style)
guide = [runs[pre_norm, 2][1, -1] * (2 / depth) ** 0.5 for depth in depths]
axes[2].plot(depths, guide, "--", color=INK, linewidth=1.1, label="∝ 1/√depth")
axes[0].set(title="size of the stream", xlabel="block", ylim=(0, None))
axes[1].set(title="gradient of a block", xlabel="block", yscale="log", ylim=(0.4, 10))
axes[2].set(
    title="… of the last block", xlabel="depth of the stack", xscale="log", yscale="log", ylim=(0.4, 10)
)
axes[2].set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
for ax in axes[1:]:
    ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.minorticks_off()
axes[0].legend(loc="upper left")
axes[2].legend(axes[2].lines[-1:], ["∝ 1/√depth"], loc="upper right")
plt.show()
for wiring, name in NAMED.items():
    sizes, gradients = runs[wiring, 24]
    print(f"{name:9} stream {sizes[0]:.1f} -> {sizes[-1]:.1f}", end="   ")
    print(f"gradient, first block {gradients[0]:.0f}, last {gradients[-1]:.1f}", end="   ")
    print("last block at depth 2 and 32:", *[f"{runs[wiring, depth][1, -1]:.1f}" for depth in (2, 32)])

# %% [markdown]
# Read them from left to right. The pre-norm stream grows, more slowly the further it gets, for the reason we saw with
# the cat. Post-norm is held at 1 by construction.
#
# In the middle panel both fall from the first block to the last, pre-norm by a factor of six or so, post-norm by two.
# One reason for the former is in the left panel: what is added to a large stream hardly changes what the next norm
# makes of it. Nothing vanishes and nothing explodes in either, which is less dramatic than what one often hears.
#
# The right panel holds the real difference. In pre-norm the gradient of the last block shrinks with the depth of
# the stack, not at every step, but roughly along the dashed line. In post-norm it stays where it was. Xiong et al.
# (2020) derive bounds that scale in just these two ways for the last layer. Our panels agree with the bounds. They do
# not show the conclusion: nothing here was trained, and all of it is one small model at initialisation.

# %%
torch.manual_seed(0)
x = start.double()
with torch.no_grad():
    for block in new_blocks(24).double():
        x = post_norm(block, x)
print(f"post-norm: difference between tokens {difference(x):.0e} after 24 blocks")

# %% [markdown]
# And the tokens themselves? Under pre-norm their difference fell most in the first block and then only slowly. Under
# post-norm, after as many blocks, far less of it is left. Without the addition it was gone after a few.

# %% [markdown] anchor="what-it-buys"
# ## What does it buy?
#
# So far the weights were random. Which parts of the block does a trained model miss? The small ViT of
# [lesson 1](01_patches.ipynb#what-it-buys) again, three blocks deep, each time with one part taken out of every block:
# the norms, the MLP, the addition. Without its MLP a block is smaller, so that model got twice as many blocks.

# %% alt="Four rows of dots, one dot for each training, over accuracy in percent. Without the addition the dots lie at 10, which is chance. Without norms they lie over the whole block's, most of them a little to the left, and without the MLP, but with twice as many blocks, they are spread wide, most of them to the right." jupyter={"source_hidden": true} predict="Which of the three is missed most?"
parts = measured("parts")["variants"]
names = {"whole": "base", "no MLP": "no-mlp", "no norm": "no-norm", "no addition": "no-residual"}
draw_runs({name: parts[key]["accuracy"] for name, key in names.items()})
plt.show()

# %% [markdown] tags=["answer"]
# The addition, by far. Without it the model stays at chance, which is 10 %. The section on [the addition](#without)
# suggests why: tokens that draw together have little left to tell. (There it was 24 random blocks, here it is three,
# so that is a suspicion and no proof.)
#
# The norms are missed less. At three blocks, with warm-up and a moderate rate, the model learns without them: on average
# not as well, but the runs overlap. What norms are usually credited with is that they make deep stacks and large rates
# possible, and this does not test it.
#
# And the MLP? It is not missed: as three more attentions, its parameters did as well, in most runs better. On these
# pictures what matters is how patches go together, and that is attention's part. It does not follow that larger
# models should leave the MLP out. It does follow that one should measure before one says what a part is for.

# %% [markdown] anchor="stochastic-depth" tags=["deeper"]
# ## A coin for every image
#
# Because a branch is only an addition, it can be left out. The stream goes on as if the branch weren't there. Huang
# et al. (2016) made a method of it: in training, drop branches at random.
#
# > **The paper.** Stochastic depth: “for each mini-batch, randomly drop a subset of layers and bypass them with the
# > identity function”. (Huang et al., 2016, abstract)
#
# For a branch $f$ and a drop rate $r$, today's form tosses one coin $c$ per image, which is 1 with probability
# $1 - r$:
#
# $$\mathbf{x} \leftarrow \mathbf{x} + \frac{c}{1 - r}\,f(\mathbf{x}), \qquad
# \mathbb{E}\left[\frac{c}{1 - r}\right] = \frac{(1 - r)\cdot 1 + r \cdot 0}{1 - r} = 1$$
#
# The division keeps the branch's mean where it was. Let us see it on the toy, with the little MLP from above
# as its branch.


# %%
def drop_path(branch, rate):
    keep = 1 - rate
    coin = torch.empty(len(branch), 1, 1).bernoulli_(keep)  # (B, 1, 1): one an image
    return branch * coin / keep


torch.manual_seed(0)
copies = with_gate.expand(4000, 4, 2)  # (B, N, D): one branch for four thousand images
dropped = drop_path(copies, rate=0.25)
print("vertical edge, first six images:", rounded(dropped[:6, 1, 0]))
print("its branch without dropping:    ", round(with_gate[1, 0].item(), 3))
gap = (dropped.mean(0) - with_gate).abs().max()
print("mean over all images within 0.08:", bool(gap < 0.08))

# %% [markdown]
# Each image gets nothing, or four thirds of the branch. The mean is kept. Note what that does and does not promise:
# the mean of *this branch* is the same as without dropping. The next block is not linear, so the mean of the whole
# model's output need not be.
#
# Our package does the same. Like timm, it departs from Huang et al. in two places. They tossed one coin for the whole
# mini-batch, and they scaled at test time instead of in training. Their way saves time, since a dropped layer is
# never computed. Ours computes the branch and multiplies it by zero.

# %%
ours = DropPath(rate=0.25).train()
torch.manual_seed(0)
assert_close(ours(copies), dropped)
assert torch.equal(ours.eval()(copies), copies)
print("by hand = vit.encoder.DropPath in training; in evaluation it is the identity")

# %% [markdown]
# How large should $r$ be? Late blocks are dropped more often than early ones: Huang et al. let the rate grow linearly
# with depth, and so do we, from 0 in the first block to `drop_path_rate` in the last. (Theirs starts a little
# above 0.) Below, what one training batch of sixteen images meets in ViT-Ti with a last rate of 0.4. Each block has
# two branches and tosses twice.

# %% alt="Above, bars rising linearly from 0 to 0.4: the drop rate of each of twelve blocks. Below, a grid of sixteen images by 24 branches; dropped branches are coloured. The left columns are nearly free of colour, the right ones are coloured for many of the images, in a different pattern for every image." jupyter={"source_hidden": true}
torch.manual_seed(0)
dropping = create_model("vit_ti_16", drop_path_rate=0.4).train()
rates = [block.drop_path.rate for block in dropping.blocks]
ones = torch.ones(16, 1, 1)
tosses = [block.drop_path(ones)[..., 0] for block in dropping.blocks for _ in range(2)]
coins = torch.cat(tosses, dim=1)  # (16, 24)
figure, (top, grid) = plt.subplots(2, 1, figsize=(WIDTH, 3.6), height_ratios=[1, 3], sharex=True)
top.bar([2 * i + 1 for i in range(12)], rates, width=1.9, color=FAINT)
top.set_ylabel("rate")
grid.pcolormesh(coins == 0, cmap="Oranges", vmin=0, vmax=1.6, edgecolors="white", linewidth=0.8)
grid.set(xticks=[2 * i + 1 for i in range(12)], xlabel="block", ylabel="image", yticks=[])
grid.set_xticklabels(range(1, 13))
plt.show()
print("rates:", [round(rate, 2) for rate in rates])
expected = sum(2 * (1 - rate) for rate in rates)
in_batch = (coins > 0).sum(1).float().mean()
print(f"branches that run, of 24: {expected:.1f} expected, {in_batch:.1f} on average in this batch")

# %% [markdown]
# Every row is another, shallower network, and all of them share their weights. The recipe in the ViT paper's
# Table 3 lists dropout, which zeroes single numbers, and no stochastic depth. DeiT (Touvron et al., 2021) does
# without dropout and trains with stochastic depth at a rate of 0.1.
#
# > **The paper.** “Dropout, when used, is applied after every dense layer”, apart from the one that makes queries,
# > keys and values, and once more after the positions are added. (appendix B.1)
#
# The ViTs of Table 3 have 0.1 on ImageNet and ImageNet-21k and 0 on the much larger JFT-300M. In our configuration
# all three kinds are fields, and all are 0 unless asked for.

# %%
config = get_config("vit_b_16")
for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
    print(f"{name:15}", getattr(config, name))

# %% [markdown] anchor="vit-encoder" tags=["deeper"]
# ## The finished piece, and PyTorch's
#
# You have now written all of it but dropout, which PyTorch brings, and LayerScale. This is what stands around
# `Block.forward` in the package.

# %%
print(inspect.getsource(Mlp))
print(inspect.getsource(DropPath))

# %% [markdown]
# PyTorch has a block of its own, `nn.TransformerEncoderLayer`. With four of its defaults changed, dropout off and the
# weights carried over under their other names, it computes the same.

# %%
NAMES = {  # PyTorch's name: ours
    "self_attn.in_proj_": "attn.qkv.",
    "self_attn.out_proj.": "attn.proj.",
    "linear1.": "mlp.fc1.",
    "linear2.": "mlp.fc2.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
}
mapped, p = {}, dict(vit_b.named_parameters())
for theirs, ours in NAMES.items():
    for kind in ("weight", "bias"):
        mapped[theirs + kind] = p[ours + kind].detach()
settings = {
    "dropout": 0.0,
    "activation": "gelu",
    "layer_norm_eps": 1e-6,
    "batch_first": True,
    "norm_first": True,
}
sizes = {"d_model": 768, "nhead": 12, "dim_feedforward": 3072}
pytorch = nn.TransformerEncoderLayer(**sizes, **settings).eval()
print(pytorch.load_state_dict(mapped))
with torch.no_grad():
    assert_close(pytorch(embedded), by_hand, rtol=1e-4, atol=1e-4)
print("by hand = vit.encoder.Block = nn.TransformerEncoderLayer")

# %% [markdown] anchor="ledger"
# ### Watching a block at work
#
# *Forward hooks* are functions that a module calls after each of its forward passes, with its input and its output.
# Ours note what passes through each part while the photograph goes through one block of ViT-B/16. What a block and a
# whole model cost is in the ledger of [lesson 5](05_model.ipynb#ledger).


# %%
def note(name):
    def hook(module, inputs, output):
        into, out_of = tuple(inputs[0].shape[1:]), tuple(output.shape[1:])
        print(f"{name:10} {into!s:>12} -> {out_of}")

    return hook


parts = [(name, module) for name, module in vit_b.named_modules() if name]
hooks = [module.register_forward_hook(note(name)) for name, module in parts]
with torch.no_grad():
    block_out = vit_b(embedded)
for hook in hooks:
    hook.remove()
assert block_out.shape == embedded.shape

# %% [markdown]
# Only between `fc1` and `fc2`, and between `qkv` and `proj`, is a token anything but 768 wide. The rows run in the
# order in which the parts finish.

# %% [markdown] anchor="mistakes" tags=["deeper"]
# ## Common mistakes
#
# The forgotten addition you have met. Six more, most of them silent.
#
# **Post-norm by accident.** The parameters of a post-norm block have the same names and shapes. Weights of a ViT load
# without a word, and the answers are wrong. With PyTorch's own layer this is what you get if you don't ask for
# anything else; four defaults differ from a ViT's, not counting the dropout.

# %%
signature = inspect.signature(nn.TransformerEncoderLayer).parameters
defaults = {key: signature[key].default for key in settings}
print({key: getattr(value, "__name__", value) for key, value in defaults.items()})
accident = settings | {"norm_first": False}
accident = nn.TransformerEncoderLayer(**sizes, **accident).eval()
print(accident.load_state_dict(mapped))
with torch.no_grad():
    cosine = F.cosine_similarity(accident(embedded), by_hand, dim=-1).mean()
    apart = (accident(embedded) - by_hand).abs().max()
print(f"same weights, post-norm: equal {bool(apart < 1e-3)}, mean cosine {cosine:.1f}")

# %% [markdown]
# `batch_first` is the nastiest of them. Left at its default, an input of shape (1, 197, 768) is read as 197 images of
# one token, and attention has nothing to attend to.

# %%
sideways = settings | {"batch_first": False}
sideways = nn.TransformerEncoderLayer(**sizes, **sideways).eval()
sideways.load_state_dict(mapped)
with torch.no_grad():
    for name, layer in (("batch_first=True", pytorch), ("batch_first=False", sideways)):
        moved = (layer(changed) - layer(embedded))[0].abs().amax(dim=-1) > 1e-6
        print(f"{name:18} token 60 changed, {moved.sum().item()} of 197 outputs moved")
assert moved.sum() == 1

# %% [markdown]
# **The wrong axes.** `nn.LayerNorm([N + 1, D])` looks like a careful way to write the shape. It takes one mean over all
# tokens of an image, so that every token depends on every other. It has $N + 1$ times the parameters, and it breaks on
# another image size. Normalising over `dim=1` keeps every size and mixes the tokens too.

# %%
wrong = nn.LayerNorm([197, 768], eps=1e-6)
right = nn.LayerNorm(768, eps=1e-6)
print(f"parameters: {2 * right.weight.numel():,} or {2 * wrong.weight.numel():,}")
over_tokens = lambda x: normalise(x.transpose(1, 2)).transpose(1, 2)
norms = {"LayerNorm(D)": right, "LayerNorm([N+1, D])": wrong, "over dim=1": over_tokens}
for name, layer in norms.items():
    moved = (layer(changed) - layer(embedded))[0].abs().amax(dim=-1) > 1e-6
    print(f"{name:18} token 60 changed, {moved.sum().item()} of 197 outputs moved")
try:
    wrong(torch.zeros(1, 577, 768))
except RuntimeError as error:
    print("577 tokens:", str(error).splitlines()[0][:74], "…")
assert moved.sum() > 1

# %% [markdown]
# **Adding in place.** `x += branch` saves memory and costs you the backward pass, since the norm has kept its input
# in order to compute its gradient, and you have just overwritten it. That, at least, is an error.


# %%
def in_place(block, x):
    x += block.attn(block.norm1(x))
    x += block.mlp(block.norm2(x))
    return x


tiny = new_blocks(2)
x = start.clone()
for block in tiny:
    x = in_place(block, x)
try:
    x.sum().backward()
except RuntimeError as error:
    print(str(error).split(": [")[0])

# %% [markdown]
# Without gradients there is no error, and something worse: the caller's tensor changes, and a list of “the stream
# after each block” holds the same tensor again and again.

# %%
x = start.clone()
kept_stream = [x]
with torch.no_grad():
    for block in tiny:
        x = in_place(block, x)
        kept_stream.append(x)
print("embedding still what it was:", torch.equal(kept_stream[0], start))
equal = all(torch.equal(kept_stream[0], z) for z in kept_stream)
print("all three entries equal:    ", equal)
assert not torch.equal(kept_stream[0], start)

# %% [markdown]
# **The wrong coin.** The coin must have the shape $(B, 1, 1)$. With $(B, N, 1)$ every token tosses, which is a kind
# of dropout. With $(1, 1, 1)$ the whole batch stands or falls together. Here is the share of tokens that keep the
# branch, image by image.

# %%
torch.manual_seed(3)
shapes = {"per image": (8, 1, 1), "per token": (8, 197, 1), "per batch": (1, 1, 1)}
for name, shape in shapes.items():
    coin = torch.empty(shape).bernoulli_(0.75).expand(8, 197, 1)
    shares = coin.mean(dim=(1, 2)).tolist()
    print(f"{name}:", "  ".join(f"{share:.2f}" for share in shares))

# %% [markdown]
# **Train and eval.** Stochastic depth that runs at test time makes the same photograph give another answer each time.
# That is what a forgotten `model.eval()` does. A home-made version without the division is quieter: in evaluation
# every branch is larger than its mean in training.

# %%
torch.manual_seed(0)
with torch.no_grad():
    first, second = dropping.train()(photo), dropping(photo)
    print("train, same photograph twice, same output:", torch.equal(first, second))
    first, second = dropping.eval()(photo), dropping(photo)
    print("eval,  same photograph twice, same output:", torch.equal(first, second))
    unscaled = copies * torch.empty(4000, 1, 1).bernoulli_(0.75)
share = unscaled.mean() / copies.mean()
print(f"mean branch without the division: {share:.2f} of the branch in evaluation")

# %% [markdown]
# **Another activation.** GELU has no parameters, so no loader can notice when it is the wrong one. The *logits* are
# what the head gives: one score for each class, of any size, which a softmax would turn into probabilities.

# %%
with torch.no_grad():
    logits = model(photo)
    print(f"logits have a standard deviation of {logits.std():.2f}")
    others = {"tanh GELU": nn.GELU(approximate="tanh"), "ReLU": nn.ReLU()}
    for name, activation in others.items():
        for block in model.blocks:
            block.mlp.act = activation
        gap = (model(photo) - logits).abs().max()
        print(f"{name:10} largest change of a logit {gap:.0e}")
for block in model.blocks:
    block.mlp.act = nn.GELU()

# %% [markdown]
# The tanh form is a matter of decimals, worth getting right when you compare two libraries. ReLU is another model.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# A token is $[3, 3, 3, 3]$. What does a layer norm with learned $\gamma$ and $\beta$ return?
#
# <details>
# <summary>Answer</summary>
#
# Just $\beta$. All deviations are zero, $\varepsilon$ keeps the division harmless, and zero times $\gamma$ is zero.
#
# </details>
#
# In a pre-norm model, does the layer norm throw the brightness of a patch away?
#
# <details>
# <summary>Answer</summary>
#
# Not from the stream. The norm stands on the branch: attention and MLP see normalised tokens, but they add
# to the token as it was. The last norm, before the head, does act on everything. (And brightness in pixels is not
# the mean of a token after the matrix $\mathbf{E}$, so it need not be what the norm removes.)
#
# </details>
#
# Why does a pre-norm model need a norm after its last block, and a post-norm model not?
#
# <details>
# <summary>Answer</summary>
#
# Nothing in pre-norm ever rescales the stream, and it grows with depth. In post-norm the last operation of the last
# block is already a norm.
#
# </details>
#
# Could one use stochastic depth in a network without residual connections?
#
# <details>
# <summary>Answer</summary>
#
# No. Dropping a branch works because the stream is still there. Without it, dropping a layer would leave zeros, or
# one would have to invent another way past the layer.
#
# </details>
#
# You double $D$, and the hidden layer stays four times as wide. What happens to the MLP's share of the parameters, and
# to their number?
#
# <details>
# <summary>Answer</summary>
#
# The share stays two thirds, apart from biases and norms, and the number grows fourfold: $8D^2$ and $4D^2$ both have
# the square.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. With a pencil.** (10 minutes, easy.) What does a layer norm with $\varepsilon = 0$, scale 1 and shift 0 make of
# the token $[1, 3, 5, 3]$? Then write `norm(x)` for tokens `(T, D)`, without PyTorch's, and `check(4, 1, norm)`.
#
# <details>
# <summary>Hint</summary>
#
# The mean is 3. The variance is the mean of four squares.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch.testing import assert_close
# from vit.course import check
#
#
# def norm(x):
#     centred = x - x.mean(dim=-1, keepdim=True)
#     return centred / centred.square().mean(dim=-1, keepdim=True).sqrt()
#
#
# found = norm(torch.tensor([[1.0, 3, 5, 3]]))
# assert_close(found, torch.tensor([[-(2**0.5), 0, 2**0.5, 0]]))  # deviations ±2 over √2
# assert check(4, 1, norm)
# ```
#
# </details>
#
# **2. Equations 2 and 3.** (10 minutes, medium.) From memory, write `orders(block, x)` with the four parts `norm1`,
# `attn`, `norm2` and `mlp` of a `vit.encoder.Block`. It returns a pair: pre-norm, and post-norm. Then
# `check(4, 2, orders)`.
#
# <details>
# <summary>Hint</summary>
#
# Two lines each, and a third function for the pair. In which of the two is the last thing that happens to a token a
# norm?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def pre(block, x):
#     x = x + block.attn(block.norm1(x))
#     return x + block.mlp(block.norm2(x))
#
#
# def post(block, x):
#     x = block.norm1(x + block.attn(x))
#     return block.norm2(x + block.mlp(x))
#
#
# def orders(block, x):
#     return pre(block, x), post(block, x)
#
#
# assert check(4, 2, orders)
# ```
#
# </details>
#
# **3. A norm forgets size.** (15 minutes, medium.) Prove that $\mathrm{LN}(c\,\mathbf{x}) = \mathrm{LN}(\mathbf{x})$
# for $c > 0$ when $\varepsilon = 0$. How much does the attention of a pre-norm block write when its input is multiplied
# by $c$? Write `relative_write(block, x, c)`: the norm of what it writes over that of its input, `c * x`. Then
# `check(4, 3, relative_write)`.
#
# <details>
# <summary>Hint</summary>
#
# What do the mean and the standard deviation of $c\,\mathbf{x}$ look like? In the block, which additions see the
# factor?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# The mean becomes $c\mu$ and the standard deviation $c\sigma$, so $c$ cancels in $(cx_j - c\mu)/(c\sigma)$. The
# attention branch therefore writes the same, into a stream ten times as large: relative to the stream it writes a
# tenth. (The MLP sees $10\,\mathbf{x}$ plus the attention's output, so its direction changes a little.)
#
# ```python
# import torch
# from vit.course import check
# from vit.encoder import Block
#
#
# def relative_write(block, x, c):
#     return (block.attn(block.norm1(c * x)).norm() / (c * x).norm()).item()
#
#
# torch.manual_seed(0)
# block, x = Block(dim=64, num_heads=4, mlp_dim=256), torch.randn(2, 10, 64)
# assert 9.9 < relative_write(block, x, 1) / relative_write(block, x, 10) < 10.1
# assert check(4, 3, relative_write)
# ```
#
# </details>
#
# **4. RMSNorm.** (15 minutes, medium.) Many newer Transformers leave out the mean: $\mathrm{RMSNorm}(\mathbf{x})_j =
# \gamma_j x_j / \sqrt{\tfrac1D \sum_i x_i^2 + \varepsilon}$. Write `rms_norm(x, weight, eps)`. For which tokens does it
# equal a layer norm? Then `check(4, 4, rms_norm)`.
#
# <details>
# <summary>Hint</summary>
#
# When is the mean of the squares the variance?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from torch import nn
# from torch.testing import assert_close
# from vit.course import check
#
#
# def rms_norm(x, weight, eps):
#     return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight
#
#
# torch.manual_seed(0)
# x, layer = torch.randn(2, 5, 8) + 1.0, nn.LayerNorm(8, eps=1e-6)
# centred = x - x.mean(dim=-1, keepdim=True)
# assert_close(rms_norm(centred, layer.weight, 1e-6), layer(centred))  # mean zero
# assert (rms_norm(x, layer.weight, 1e-6) - layer(x)).abs().max() > 0.1  # otherwise not
# assert check(4, 4, rms_norm)
# ```
#
# </details>
#
# **5. LayerScale.** (15 minutes, medium.) Touvron et al. (2021, CaiT) multiply each branch by a learned vector, one
# number per feature, that starts near zero. Write `layer_scale(block, x, scale1, scale2)` with the parts of `vit`'s
# block. How many parameters does it add? Then `check(4, 5, layer_scale)`.
#
# <details>
# <summary>Hint</summary>
#
# The two lines of the pre-norm block, with a product before each addition.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.encoder import Block
#
#
# def layer_scale(block, x, scale1, scale2):
#     x = x + scale1 * block.attn(block.norm1(x))
#     return x + scale2 * block.mlp(block.norm2(x))
#
#
# torch.manual_seed(0)
# block, x = Block(64, 4, 256), torch.randn(2, 10, 64)
# start = torch.full((64,), 1e-4)  # two of them: 2D parameters more
# written = layer_scale(block, x, start, start) - x
# assert written.abs().max() < 1e-3  # almost the identity
# assert (block(x) - x).abs().max() > 1e-1
# assert check(4, 5, layer_scale)
# ```
#
# </details>
#
# **6. Side by side.** (20 minutes, hard.) Some large models run attention and MLP in parallel on the same normalised
# token: $\mathbf{z} + \mathrm{MSA}(\mathrm{LN}(\mathbf{z})) + \mathrm{MLP}(\mathrm{LN}(\mathbf{z}))$ (for vision,
# ViT-22B, Dehghani et al., 2023). How far is that from the block in sequence? Multiply both branches by $s$. Write
# `gap(block, z, s)`, the norm of the difference. Why is `gap(block, z, 0.1) / gap(block, z, 0.01)` near 100? Then
# `check(4, 6, gap)`.
#
# <details>
# <summary>Hint</summary>
#
# In sequence, the MLP sees $\mathbf{z}$ plus $s$ times something, and its own answer is multiplied by $s$ again.
# Use one norm for both branches in both versions, so that only the order differs.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# The difference shrinks with $s^2$, the branches only with $s$. When every branch writes little, it hardly
# matters who reads first.
#
# ```python
# import torch
# from vit.course import check
# from vit.encoder import Block
#
#
# def gap(block, z, s):
#     a = s * block.attn(block.norm1(z))
#     in_sequence = z + a + s * block.mlp(block.norm1(z + a))
#     in_parallel = z + a + s * block.mlp(block.norm1(z))
#     return (in_sequence - in_parallel).norm().item()
#
#
# torch.manual_seed(0)
# block, z = Block(64, 4, 256).double(), torch.randn(2, 10, 64, dtype=torch.float64)
# assert 95 < gap(block, z, 0.1) / gap(block, z, 0.01) < 105
# assert check(4, 6, gap)
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Attention carries information between tokens; the MLP works on each token alone and holds two thirds of a block's
# parameters. Layer norm runs over the width of one token, never over tokens or images. The residual stream is the
# embedding plus everything that was written into it, and without the additions all tokens become one within a few
# blocks, in our untrained stack at least. The ViT is pre-norm: the norm stands on the branch, the stream is never
# rescaled, and one last norm is owed at the end. Because a branch is only an addition it can be dropped, image by
# image, with its mean kept. A wrong norm, a wrong activation or a wrong order of the parts still has the right
# shapes. Compare numbers, as we did.
#
# A block maps $(B, N, D)$ to $(B, N, D)$. [Lesson 5](05_model.ipynb) stacks twelve of them, puts
# [patches](01_patches.ipynb) and [positions](02_positions.ipynb) in front and a head behind, and has a Vision
# Transformer.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: section 3.1, equations 2 to 4, Table 3, appendix B.1. Ashish
# Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762), 2017, section 3.1. Jimmy Ba, Jamie
# Kiros and Geoffrey Hinton, [Layer Normalization](https://arxiv.org/abs/1607.06450), 2016. Dan Hendrycks and Kevin
# Gimpel, [Gaussian Error Linear Units](https://arxiv.org/abs/1606.08415), 2016. Kaiming He et al., [Deep Residual
# Learning for Image Recognition](https://arxiv.org/abs/1512.03385), 2015. Ruibin Xiong et al., [On Layer
# Normalization in the Transformer Architecture](https://arxiv.org/abs/2002.04745), 2020. Yihe Dong, Jean-Baptiste
# Cordonnier and Andreas Loukas, [Attention is Not All You Need](https://arxiv.org/abs/2103.03404), 2021. Gao Huang et
# al., [Deep Networks with Stochastic Depth](https://arxiv.org/abs/1603.09382), 2016. Hugo Touvron et al.,
# [DeiT](https://arxiv.org/abs/2012.12877) and [CaiT](https://arxiv.org/abs/2103.17239), both 2021. Mostafa Dehghani
# et al., [Scaling Vision Transformers to 22 Billion Parameters](https://arxiv.org/abs/2302.05442), 2023. Biao Zhang
# and Rico Sennrich, [Root Mean Square Layer Normalization](https://arxiv.org/abs/1910.07467), 2019.
