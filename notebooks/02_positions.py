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
#     number: 2
#     prerequisites: 'Lesson 1: patches, their order, and the six letters H, W, C, P,
#       N, D'
# ---

# %% [markdown]
# # The class token, and where a patch is
#
# Lesson 1 ended with a list of 196 vectors. Suppose somebody shuffles the list. Will the Transformer notice? And when
# it has done its work and hands back 196 vectors, which of them is the answer?
#
# Two small additions settle both questions: one more token, and one vector added to each. This lesson looks at what
# is missing without them, builds them by hand, and puts them together into the paper's equation 1.
#
# After it you can say what `x[:, 0]` picks and why, show on a photograph that a Transformer without positions sees a
# bag of patches, build learned and sine-cosine positions, read the pictures of position similarity that papers print,
# and resize positions to another image size without scrambling them.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from vit import create_model
from vit.data import PHOTOGRAPHS, photograph
from vit.patches import patchify, unpatchify
from vit.plotting import (
    ACCENT,
    CYCLE,
    DIVERGING,
    FAINT,
    SEQUENTIAL,
    WIDTH,
    bare,
    draw_image,
    draw_matrix,
    draw_patch_grid,
    draw_runs,
    use_style,
)
from vit.positions import interpolate_positions, sincos_1d, sincos_2d
from vit.results import measured

torch.manual_seed(0)
use_style()

# %% [markdown]
# The cat and the toy come along. The toy's four tokens are those of lesson 1: flat, vertical edge, horizontal edge,
# corner.
#
# Between the tokens that go in and the tokens that come out sits the encoder. [Lesson 3](03_attention.ipynb) and
# [lesson 4](04_encoder.ipynb) open it. Here it is a black box with one property that matters: it takes a list of
# vectors, lets each of them look at all the others, and returns a list of the same length. Its weights are random and
# stay so: nothing that we build here depends on training.

# %%
photo = photograph("chelsea")  # (3, 224, 224)
toy_tokens = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0], [1.0, 1.0]])  # (N, D)
P, N = 16, 196


def small_vit(**fields):
    torch.manual_seed(0)
    return create_model("vit_ti_16", depth=4, num_classes=10, **fields).eval()  # (1)!


model = small_vit()
D = model.config.embed_dim
print(f"width D = {D}, {len(model.blocks)} blocks, patches of {P}")

# %% [markdown]
# 1. The sizes of ViT-Tiny, but four blocks instead of twelve. `eval()` switches off whatever is random in training.

# %% [markdown] anchor="class-token"
# ## One vector for the whole picture
#
# A classifier needs one vector per image. The encoder gives back $N$. Taking the first patch would be odd: why should
# the upper left corner speak for the cat?
#
# The paper takes its answer from language models. Put one more token in front, a vector that belongs to no patch and
# is learned like a weight. It enters the encoder empty-handed, looks at all the patches, and what it has become at
# the end is read as the summary.
#
# > **The paper.** “Similar to BERT's `[class]` token, we prepend a learnable embedding to the sequence of embedded
# > patches […], whose state at the output of the Transformer encoder […] serves as the image representation”.
# > (section 3.1)
#
# In BERT, a language model, “[t]he first token of every sequence is always a special classification token” (Devlin et
# al., 2019, section 3). People still call it CLS. On the toy it is one line, and any two numbers will do.

# %%
toy_class = torch.tensor([[-1.0, 1.0]])  # (1, D)
toy_sequence = torch.cat([toy_class, toy_tokens])  # (N + 1, D)
print(toy_sequence)
assert toy_sequence.shape == (5, 2)

# %% [markdown]
# Patch 0 is now row 1, and the sequence is $N + 1$ long. Keep that shift by one in mind; it comes back among the
# mistakes at the end.
#
# Now four photographs at once. The class token is a single parameter of shape `(1, 1, D)`, and every image of the
# batch gets the same one.

# %% predict="Do the cat and the coffee have the same class token before the encoder? And after?"
photos = torch.stack([photograph(name) for name in PHOTOGRAPHS])  # (4, 3, 224, 224)
class_token = nn.Parameter(torch.zeros(1, 1, D))
with torch.no_grad():
    patch_tokens = model.patch_embed(photos)  # (4, N, D)
    x = torch.cat([class_token.expand(4, -1, -1), patch_tokens], dim=1)  # (4, N + 1, D)
    after = x
    for block in model.blocks:  # the black box: four blocks, none changes the shape
        after = block(after)  # (4, N + 1, D)
print("patches", tuple(patch_tokens.shape), "with class token", tuple(x.shape))
print("cat's and coffee's are equal before:", torch.equal(x[0, 0], x[2, 0]))
print("cat's and coffee's are equal after: ", torch.allclose(after[0, 0], after[2, 0]))
assert x.shape == after.shape == (4, N + 1, D)

# %% [markdown] tags=["answer"]
# Going in, row 0 is the same vector for every image. Coming out, it is not. What it holds about the picture it has
# taken from the patches, since it brought nothing along.

# %% [markdown]
# So `x[:, 0]` means: of every image in the batch, token 0. Why in front and not at the end? By convention, taken over
# from BERT; `x[:, -1]` would do as well. For the encoder itself the place makes no difference, as we shall see.

# %% [markdown] anchor="expand" tags=["deeper"]
# ### One vector, many images
#
# `expand` pretends that the one vector is four, without copying a number. `repeat` really copies. How can one see
# that? By the stride, which is how far one must step in memory to reach the next element along an axis.

# %%
expanded, repeated = class_token.expand(4, -1, -1), class_token.repeat(4, 1, 1)
for name, copies in (("expand", expanded), ("repeat", repeated)):
    same = copies.data_ptr() == class_token.data_ptr()
    print(name, tuple(copies.shape), "strides", copies.stride(), "same memory", same)
assert expanded.stride(0) == 0
assert repeated.stride(0) == D

# %% [markdown]
# A stride of 0 along the batch: the next image's class token is the same memory again. The saving is short-lived,
# since `torch.cat` copies everything a moment later. We prefer `expand` because it says what is meant.
#
# You may read that `repeat` loses the gradients of all copies but one. It does not. Autograd sums them in both cases,
# here to $0 + 1 + 2 + 3 = 6$:

# %%
gradients = []
for copies in (expanded, repeated):
    weights = torch.arange(4.0).reshape(4, 1, 1)  # image i counts i times
    gradients.append(torch.autograd.grad((copies * weights).sum(), class_token)[0])
for name, gradient in zip(("expand", "repeat"), gradients, strict=True):
    print(f"gradient by {name}:", gradient[0, 0, :3].tolist())
assert torch.equal(*gradients)

# %% [markdown] anchor="mean-pooling"
# ## Or no extra token: the mean
#
# A convolutional network summarises its last feature map by averaging it. A ViT can do the same with its tokens. Is
# the class token needed at all?
#
# > **The paper.** Averaging the patches at first “performed very poorly”, but that was “neither due to the extra
# > token, nor to the GAP operation. Instead, the difference in performance is fully explained by the requirement for
# > a different learning-rate”. (appendix D.3; GAP is global average pooling)
#
# With its own learning rate each works about as well as the other (Figure 9 there). The authors keep the class token to
# stay close to the original Transformer. In another recipe the two differ: for a ViT-S trained on ImageNet-1k for 90 to
# 300 epochs, going back to the class token loses 1.5 to 1.8 points (Beyer et al., 2022, Table 1). In `vit` there is a
# field for either side of it: `class_token` says whether there is one, `global_pool` what the head reads. Here there is
# none anywhere, and the sequence is one shorter. (`forward_features` is the whole model but its head, and
# `forward_head` the rest; [lesson 5](05_model.ipynb#heads) builds the two.)

# %%
averaging = small_vit(class_token=False, global_pool="avg")
with torch.no_grad():
    tokens = averaging.forward_features(photos)  # (4, N, D)
    by_hand = tokens.mean(dim=1)  # (4, D)
    assert_close(averaging.forward_head(tokens, pre_logits=True), by_hand)
print("tokens", tuple(tokens.shape), "-> mean", tuple(by_hand.shape))
assert tokens.shape == (4, N, D)

# %% [markdown] anchor="bag-of-patches"
# ## A bag of patches
#
# Now the first question. Start with the toy, and a pencil. Swap patch 1 and patch 2, the upper right and the lower
# left quarter of the image.

# %% predict="What are the four tokens of the new image?"
toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
swap = [0, 2, 1, 3]
other = unpatchify(patchify(toy[None, None], 2)[:, swap], 2, (4, 4))[0, 0]
print("image:", toy.int().tolist())
print("other:", other.int().tolist())
print("tokens of the image:", toy_tokens.int().tolist())
print("tokens of the other:", toy_tokens[swap].int().tolist())

# %% [markdown] tags=["answer"]
# Two different images, and the same four tokens in another order. Whatever treats the list as a set must say the same
# of both.

# %% [markdown]
# Does the encoder treat it as a set? Each of its steps either works on every token by itself, in the same way for
# each, or sums over all tokens. Neither knows who came first. Take that on trust until lesson 3; the photograph can
# be tested now. Cut it, shuffle the 196 patches, glue them together, and give both pictures to a model without
# positions. Patch `j` of the new picture is patch `order[j]` of the old one.

# %% predict="Four comparisons. Which of them will be True?"
no_positions = small_vit(pos_embed="none")
order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
shuffled = patchify(photo[None], P)[:, order]  # (1, N, P·P·C)
shuffled = unpatchify(shuffled, P, (224, 224))[0]  # (3, 224, 224)
with torch.no_grad():
    whole = no_positions.forward_features(photo[None])[0]  # (N + 1, D)
    mixed = no_positions.forward_features(shuffled[None])[0]  # (N + 1, D)


def same(a, b):
    return torch.allclose(a, b, atol=1e-4)


print("class token unchanged:          ", same(mixed[0], whole[0]))
print("patch outputs unchanged:        ", same(mixed[1:], whole[1:]))
print("patch outputs, in the new order:", same(mixed[1:], whole[1:][order]))
print("mean of the patch outputs:      ", same(mixed[1:].mean(0), whole[1:].mean(0)))

# %% [markdown] tags=["answer"]
# Two statements, and they are different. The patch outputs change places exactly as the patches did. The class token
# does not change at all, and neither does the mean. Write $\Pi$ for the shuffle and $f$ for the encoder:
#
# $$f(\Pi\mathbf{x}) = \Pi f(\mathbf{x}), \qquad f_\mathrm{class}(\Pi\mathbf{x}) = f_\mathrm{class}(\mathbf{x}).$$
#
# The first is *equivariance*: the output moves along with the input. The second is *invariance*: the output stays.
# One often reads that a Transformer without positions is permutation invariant. As a map from a list to a list it is
# equivariant. Invariant is only what one reads off a token that the shuffle leaves alone, or off an average.

# %% [markdown]
# The figure shows one of the output's channels, a number per patch, as a map. The third column sorts the shuffled
# picture and its outputs back.

# %% alt="Two rows of three panels. Above: the cat, the cat cut into 196 squares and shuffled beyond recognition, and the cat put back in order. Below: a 14 by 14 map of one output channel for each; the first and the third map are identical, the second is their shuffle." jupyter={"source_hidden": true}
back = order.argsort()
channel = 0
figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.6))
draw_image(axes[0, 0], photo, "photo")
draw_image(axes[0, 1], shuffled, "shuffled")
draw_image(axes[0, 2], unpatchify(patchify(shuffled[None], P)[:, back], P, (224, 224))[0], "sorted back")
limit = whole[1:, channel].abs().max().item()
for ax, values in zip(axes[1], (whole[1:], mixed[1:], mixed[1:][back]), strict=True):
    picture = values[:, channel].reshape(14, 14)
    artist = bare(ax, f"output channel {channel}").imshow(picture, cmap=DIVERGING, vmin=-limit, vmax=limit)
figure.colorbar(artist, ax=axes[1], shrink=0.8, pad=0.02)
plt.show()

# %% [markdown]
# We can hardly make out a cat in the second picture. The model is worse off: it cannot tell the second from the
# first. The paper's appendix D.4 has the right name for such an input, a “bag of patches”.

# %% [markdown] anchor="twin" tags=["deeper"]
# ### Is that test worth anything?
#
# A test that passes because the model says the same of everything would be worthless. So compare with another
# photograph, and with models that do have positions. For each we measure how far the class token moves, relative to
# its length.

# %%
kinds = ["none", "learned", "sincos1d", "sincos2d"]
moved = {"shuffled cat": [], "coffee": []}
pictures = torch.stack([photo, shuffled, photos[2]])  # (3, 3, 224, 224)
for kind in kinds:
    candidate = small_vit(pos_embed=kind)
    with torch.no_grad():
        cat, mix, coffee = candidate.forward_features(pictures)[:, 0]  # each (D,)
    moved["shuffled cat"].append(((mix - cat).norm() / cat.norm()).item())
    moved["coffee"].append(((coffee - cat).norm() / cat.norm()).item())
print("without positions, below rounding:", moved["shuffled cat"][0] < 1e-5)
print("with positions, far above it:     ", min(moved["shuffled cat"][1:]) > 1e-4)

# %% alt="Bars on a logarithmic scale for four models. Shuffling the cat moves the class token by less than a millionth without positions, and by about a thousandth to a hundredth with learned, 1-D or 2-D sine-cosine positions. Showing coffee instead of the cat moves it by between a sixth and a third in all four." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.7))
for offset, (name, values) in zip((-0.19, 0.19), moved.items(), strict=True):
    ax.bar([i + offset for i in range(4)], values, width=0.36, label=name)
ax.set(yscale="log", ylim=(1e-8, 10), xticks=range(4), ylabel="how far the class token moves")
ax.set_xticklabels(kinds)
ax.legend(ncols=2, loc="upper left")
plt.show()
assert moved["shuffled cat"][0] < 1e-5 < 1e-4 < min(moved["shuffled cat"][1:])
assert min(moved["coffee"]) > 1e-2

# %% [markdown]
# The axis is logarithmic. Without positions a shuffle moves the class token by no more than the rounding of sums
# taken in another order. With any kind of positions it is noticed, if only a little; another photograph moves the
# token far more. The figure does not say that one kind is better than another. These models have learned nothing.

# %% [markdown] anchor="adding"
# ## Adding a place
#
# The remedy is plain. Keep a matrix with one row per place in the sequence, each row as wide as a token, and add it.
#
# > **The paper.** “Position embeddings are added to the patch embeddings to retain positional information. We use
# > standard learnable 1D position embeddings, since we have not observed significant performance gains from using
# > more advanced 2D-aware position embeddings”. (section 3.1)
#
# *1D* means that the matrix has rows 0 to $N$ and knows nothing of rows and columns of the image. *Learnable* means
# that it starts as noise and is trained like a weight.
#
# For the toy we choose positions that a pencil can follow: the first number says left or right, the second upper or
# lower, by $\mp\tfrac12$. The class token has no place and gets zeros.

# %%
corners = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])
toy_positions = torch.cat([torch.zeros(1, 2), corners])  # (N + 1, D)
toy_z0 = toy_sequence + toy_positions  # (N + 1, D)

# %% alt="Three small matrices with five rows, class and patches 0 to 3, and two columns: the tokens, the positions, and their sum. For example patch 1, (2, 0) plus (0.5, -0.5), gives (2.5, -0.5)." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH * 0.8, 2.7))
names = ["class", "0", "1", "2", "3"]
for ax, matrix, title in zip(
    axes, (toy_sequence, toy_positions, toy_z0), ("tokens", "+ positions", "= sum"), strict=True
):
    draw_matrix(ax, matrix, rows=names, values="{:.1f}", cmap=DIVERGING, limits=(-2.5, 2.5), title=title)
plt.show()

# %% [markdown]
# Do the two toy images differ now? Their tokens do. But what of the sum of the four?

# %% predict="Are the sums of the two images equal? And if the negative parts are cut off first?"
other_z0 = torch.cat([toy_class, toy_tokens[swap]]) + toy_positions  # (N + 1, D)
for name, z0 in (("image", toy_z0), ("other", other_z0)):
    four = z0[1:]  # without the class token
    print(f"{name}: {four.tolist()}")
    print("       sum", four.sum(0).tolist(), end="")
    print(", of the positive parts", four.relu().sum(0).tolist())
assert_close(toy_z0.sum(0), other_z0.sum(0))

# %% [markdown] tags=["answer"]
# The sets are different, and yet their sums are equal, because
# $\sum(\mathbf{x}_i + \mathbf{p}_i) = \sum\mathbf{x}_i + \sum\mathbf{p}_i$ whichever token meets whichever place.
# Positions help only a reader who does something to each vector before summing. Cutting off the negative parts is
# enough, as the other sums show. The encoder does a great deal more.

# %% [markdown]
# Now move the patches yourself. One small attention reads them, and the class token answers. Predict first: does its
# answer change without positions, and with them? Of the six exchanges of two patches, one goes unnoticed even then. The
# table under the figure says why.
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="positions">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown] anchor="equation-1"
# ## Equation 1, whole
#
# Everything is at hand now for the input of the Transformer. The paper's equation 1 (section 3.1) says it in one
# line:
#
# $$\mathbf{z}_0 = \left[\mathbf{x}_\text{class};\; \mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \cdots;\;
# \mathbf{x}_p^N\mathbf{E}\right] + \mathbf{E}_{pos}$$
#
# $$\mathbf{E} \in \mathbb{R}^{(P^2 \cdot C) \times D}, \qquad \mathbf{E}_{pos} \in \mathbb{R}^{(N+1) \times D}$$
#
# Read it from the inside. Lesson 1 made the patches $\mathbf{x}_p^i$ and multiplied them by $\mathbf{E}$. The
# semicolons stack: the class token first, hence $N + 1$ rows. Then the positions are added to all of them.


# %%
def embed(images, E, bias, x_class, E_pos):
    x = patchify(images, P) @ E + bias  # (B, N, P·P·C) -> (B, N, D)
    x = torch.cat([x_class.expand(len(x), 1, -1), x], dim=1)  # (B, N + 1, D)
    return x + E_pos  # (B, N + 1, D)


with torch.no_grad():
    proj, E_pos = model.patch_embed.proj, model.pos_embed[0]
    E = proj.weight.flatten(1).T  # (P·P·C, D)
    z0 = embed(photos, E, proj.bias, model.cls_token, E_pos)
    assert_close(z0, model.embed(photos), rtol=1e-5, atol=1e-5)
print("E", tuple(E.shape), " E_pos", tuple(E_pos.shape), " z0", tuple(z0.shape))
assert z0.shape == (4, N + 1, D)

# %% [markdown]
# The bias is not in the equation. We add one, and so does the paper's own code, whose convolution has one. This is the
# method of the finished model:

# %%
print(inspect.getsource(type(model).embed))

# %% [markdown]
# `pos_drop` is dropout after the sum, off by default and off in `eval()`. The paper applies it there when it uses
# dropout at all (appendix B.1). What comes out is $\mathbf{z}_0$, and [lesson 5](05_model.ipynb) will send it through
# the whole model.
#
# > **Common mistake.** Adding the positions before the class token is there. The shapes complain, and the quick repair
# > does not: it gives every patch the row of its neighbour. It is the first among the [mistakes](#mistakes).

# %% [markdown] anchor="add-or-append" tags=["deeper"]
# ### Why add, and not append?
#
# It looks careless to mix content and place in the same numbers. Would it not be cleaner to append the place as extra
# numbers? The paper does not discuss it, but there is a simple argument. Append the place, and then bring the long
# vector back to width $D$ with one matrix. That is a sum, too:
#
# $$[\mathbf{x},\ \mathbf{p}]\begin{bmatrix}\mathbf{A}\\ \mathbf{B}\end{bmatrix}
# = \mathbf{x}\mathbf{A} + \mathbf{p}\mathbf{B}.$$

# %%
A, B = torch.randn(2, 2), torch.randn(2, 2)
appended = torch.cat([toy_sequence, toy_positions], dim=1)  # (N + 1, 2·D)
projected = appended @ torch.cat([A, B])  # (N + 1, 2·D) @ (2·D, D) -> (N + 1, D)
assert_close(projected, toy_sequence @ A + toy_positions @ B)
print("append, then multiply = multiply each, then add:", tuple(projected.shape))

# %% [markdown]
# A learned matrix of positions may as well hold $\mathbf{p}\mathbf{B}$ from the start. And without the matrix
# $\mathbf{B}$, the longer vectors would widen everything that follows. Can content and place still be told apart after
# adding? Nothing guarantees it. In 192 or 768 dimensions there is room for them to use different directions; whether
# they do, training decides.
#
# The addition has a small redundancy. The class token and row 0 of the positions never appear but as their sum. Move
# any vector from one to the other, and nothing changes:

# %%
model = small_vit()
with torch.no_grad():
    before = model.embed(photos)
    gift = torch.randn(D)
    model.cls_token += gift
    model.pos_embed[:, 0] -= gift
    print("unchanged:", torch.allclose(model.embed(photos), before, atol=1e-5))
    assert_close(model.embed(photos), before, rtol=1e-5, atol=1e-5)

# %% [markdown]
# So the class token needs no position of its own. The paper gives it one all the same and does not say why. One matrix
# of $N+1$ rows is simpler to write.

# %% [markdown] anchor="initialisation" tags=["deeper"]
# ### How it starts
#
# The paper's code starts the class token at zero and the positions with normal noise of standard deviation 0.02. Ours
# does the same, but cuts the noise off at two standard deviations, which makes it a little narrower. How loud is that
# next to the patches?

# %%
model = small_vit()


def rms(t):
    return t.square().mean().sqrt().item()


with torch.no_grad():
    loud = {
        "patches of the cat, projected": model.patch_embed(photo[None]),
        "learned positions, at the start": model.pos_embed,
        "sine-cosine positions": sincos_2d((14, 14), D),  # the next sections
        "class token": model.cls_token,
    }
    for name, values in loud.items():
        print(f"root mean square of {name:32} {rms(values):.3f}")
assert model.pos_embed.abs().max() <= 0.04

# %% [markdown]
# A fresh learned position is a whisper against the patch it is added to. A sine-cosine position, which nobody scales
# down, is louder than the patch. (Pixels between 0 and 1 went in here; another normalisation gives another ratio.)
#
# Must it be noise? If both matrices of an MLP and the biases between them start at zero, they never receive a gradient.
# If only the first matrix does, under a random second, its units are pushed apart at once. Would a position matrix of
# zeros stay a matrix of equal rows? Think before you open the output. The cell takes one backward step from zero, for
# the cat and for a picture of flat grey.

# %% predict="For which picture do the rows of the gradient differ?"
grey = torch.full_like(photo, 0.5)
spread = {}
for name, image in (("cat", photo), ("grey", grey)):
    model = small_vit()
    with torch.no_grad():
        model.pos_embed.zero_()
    F.cross_entropy(model(image[None]), torch.tensor([3])).backward()
    rows = model.pos_embed.grad[0, 1:]  # (N, D)
    centred = rows - rows.mean(dim=0)
    spread[name] = (centred.norm(dim=1).max() / rows.mean(dim=0).norm()).item()
    alike = "all alike" if spread[name] < 1e-3 else "different"
    print(f"{name:4} - the gradients of the 196 rows are", alike)
assert spread["grey"] < 1e-3 < 1e-1 < spread["cat"]
assert torch.equal(model.cls_token.grad[0, 0], model.pos_embed.grad[0, 0])  # (1)!

for both in (True, False):
    mlp = nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 3))
    for layer in (mlp[0], mlp[2]) if both else (mlp[0],):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    F.cross_entropy(mlp(torch.randn(5, 2)), torch.arange(5) % 3).backward()
    grad = mlp[0].weight.grad  # (8, 2), a row for each hidden unit
    part = bool((grad - grad[0]).norm(dim=1).max() > 1e-3)
    start = "zeros in both:         " if both else "zeros in the first only:"
    print(start, "units part" if part else "nothing moves")
    assert part != both
    assert bool(grad.any() or mlp[2].weight.grad.any()) != both

# %% [markdown]
# 1. The redundancy again: the class token and row 0 receive the same gradient.

# %% [markdown]
# With the cat the rows part at the first step, because each place holds another content. With flat grey they do not:
# all patches are alike, so all rows get the same push. The images break the symmetry, and a start at zero would do.
# The last two lines are the little MLP.
# The class token is the clearer case still: there is only one, and nothing for it to be equal to.
#
# So zeros are no trap. Whether 0.02 trains better than zero, one step cannot show, and we have not measured it.

# %% [markdown] anchor="sincos-1d"
# ## Places made of waves
#
# Must the positions be learned? The original Transformer computes them, from sines and cosines. Imagine a clock with
# many hands. The fastest moves one radian per place. The slowest hardly moves at all. The position of all hands
# together tells the time, and each hand is written down as its sine and its cosine.
#
# > **Vaswani et al. (2017).** “[E]ach dimension of the positional encoding corresponds to a sinusoid. The wavelengths
# > form a geometric progression from $2\pi$ to $10000 \cdot 2\pi$.” (section 3.5)
#
# With $D$ numbers per place there are $D/2$ hands, and hand $k$ turns by $\omega_k = 10000^{-k/(D/2)}$ per place.
# Take $D = 4$: two hands, with $\omega_0 = 1$ and $\omega_1 = 0.01$. Here are four places, and then the same for any
# size in one expression. We write all sines first and then all cosines, where Vaswani et al. interleave them. That is a
# reordering of columns.


# %%
def clock(place, dim):
    omegas = [10000 ** (-k / (dim // 2)) for k in range(dim // 2)]
    return [math.sin(place * w) for w in omegas] + [math.cos(place * w) for w in omegas]


print("place   sin ω₀n  sin ω₁n  cos ω₀n  cos ω₁n")
for n in range(4):
    print(f"{n:5}  ", "  ".join(f"{value:7.3f}" for value in clock(n, 4)))


# %%
def sincos(places, dim):
    omegas = 10000.0 ** -(torch.arange(dim // 2).double() / (dim // 2))  # (1)!
    angles = places.double()[:, None] * omegas  # (places, dim/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()  # (places, dim)


assert_close(sincos(torch.arange(4), 4), torch.tensor([clock(n, 4) for n in range(4)]))
assert_close(sincos(torch.arange(N), D), sincos_1d(N, D))
print("loops = one expression = vit.positions.sincos_1d:", tuple(sincos_1d(N, D).shape))

# %% [markdown]
# 1. In double precision: an angle near 195 in 32-bit floats is only good to about five decimals. The result
#    is rounded to 32 bits.

# %% alt="Left: three sine waves over places 0 to 48, with dots at the whole places; the fastest makes almost eight turns, the second one and a third, the slowest a small part of one. Right: the positions as a heat map, 49 places down, 32 columns across; fast stripes in the leftmost columns of each half fade into constant columns." jupyter={"source_hidden": true}
places = torch.arange(49)
waves = sincos(places, 32)  # (49, 32)
fine = torch.linspace(0, 48, 500)
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), width_ratios=[1.25, 1])
for i, k in enumerate((0, 3, 8)):
    omega = 10000 ** (-k / 16)
    left.plot(fine, (fine * omega).sin() - 2.5 * i, color=CYCLE[i], linewidth=1.2)
    left.plot(places, waves[:, k] - 2.5 * i, ".", color=CYCLE[i], markersize=4)
    left.text(49.5, -2.5 * i, f"k = {k}", va="center", color=CYCLE[i])
left.set(xlabel="place", yticks=[], xlim=(-1, 57))
artist = right.imshow(waves, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
right.set(xlabel="column", ylabel="place")
figure.colorbar(artist, ax=right, pad=0.03)
plt.show()

# %% [markdown]
# On the right each row is a place and each column a sine (left half) or a cosine (right half). Many columns hardly
# change over 49 places. The base 10000 is inherited from a model of text; on a grid of 14 × 14 patches many hands
# never get going. An exercise tries another base.
#
# These waves have a property that explains the pictures of similarity to come. Multiply the rows of two places $a$
# and $b$. Since $\sin\alpha\sin\beta + \cos\alpha\cos\beta = \cos(\alpha - \beta)$,
#
# $$\mathbf{p}_a \cdot \mathbf{p}_b = \sum_k \cos\big(\omega_k (a - b)\big).$$
#
# Only the difference is left. Two places three apart are equally similar wherever they are, and all rows have the
# same length.

# %%
line = sincos(torch.arange(N), D)
products = line @ line.T  # (N, N)
for a in (0, 50, 192):
    print(f"rows {a} and {a + 3}: {products[a, a + 3]:.3f}")
assert_close(products[:-3, :-3], products[3:, 3:], rtol=1e-4, atol=1e-3)

# %% [markdown] anchor="sincos-2d"
# ## Rows and columns
#
# A patch has two coordinates. The 2-D positions give half of their width to a clock for the row, and the other half to
# a clock for the column. Take a grid of 2 × 2 and $D = 8$:

# %% predict="Which patches share their first four numbers?"
grid = [(row, column) for row in range(2) for column in range(2)]
by_loops = torch.tensor([clock(row, 4) + clock(column, 4) for row, column in grid])
print("           row's half              column's half")
for i, values in enumerate(by_loops.tolist()):
    print(f"patch {i}: ", "  ".join(f"{value:5.2f}" for value in values))
assert_close(by_loops, sincos_2d((2, 2), 8))

# %% [markdown] tags=["answer"]
# Patches 0 and 1 share the row, so their first halves agree; patches 0 and 2 share the column, so their second halves
# do.

# %% [markdown]
# In one expression, every row's code stands $g_w$ times in succession, and the list of column codes is repeated $g_h$
# times, where $g_h \times g_w$ is the grid:

# %%
gh, gw = 14, 14
rows = sincos(torch.arange(gh), D // 2).repeat_interleave(gw, dim=0)  # (N, D/2)
columns = sincos(torch.arange(gw), D // 2).repeat(gh, 1)  # (N, D/2)
of_grid = torch.cat([rows, columns], dim=1)  # (N, D)
assert_close(of_grid, sincos_2d((gh, gw), D))
print("by hand = vit.positions.sincos_2d:", tuple(of_grid.shape))

# %% alt="Four 14 by 14 maps of single columns of the 2-D positions. Two show horizontal bands, fast and slow; two show vertical bands, fast and slow." jupyter={"source_hidden": true}
chosen = {"row, fast": 0, "row, slow": 16, "column, fast": D // 2, "column, slow": D // 2 + 16}
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 1.9))
for ax, (name, column) in zip(axes, chosen.items(), strict=True):
    artist = bare(ax, name).imshow(of_grid[:, column].reshape(14, 14), cmap=DIVERGING, vmin=-1, vmax=1)
figure.colorbar(artist, ax=axes, shrink=0.9, pad=0.02)
plt.show()

# %% [markdown]
# Each column, folded into the grid, is a wave down the picture or across it. None is slanted. In `vit` the class token
# gets a row of zeros in front of them.
#
# This is not the 2-D variant that the paper tried. That one *learns* two matrices, one for rows and one for columns
# (appendix D.4; an exercise builds it). Fixed 2-D sines and cosines came into use later, for example in MoCo v3 and in
# the plain baseline by three of the ViT authors.

# %% [markdown] anchor="one-tile"
# ## Reading a picture of positions
#
# The paper's Figure 7 (centre) shows learned positions as a square of little squares. What is one of them? Take patch
# 61, in row 4 and column 5, at the upper rim of the cat's eye. Compare its row of the positions with all 196 rows, by
# the cosine of the angle between them. Out come 196 numbers in reading order. Fold them at 14, and you have the tile.


# %%
def similarity(positions):
    unit = F.normalize(positions, dim=1)  # (N, D), each row of length 1
    return unit @ unit.T  # (N, N)


query = 61
row, column = divmod(query, gw)
flat = sincos_2d((14, 14), 768)  # as wide as ViT-Base
tile = similarity(flat)[query].reshape(14, 14)  # (N,) -> (14, 14)
print(f"patch {query}: row {row}, column {column}; with itself {tile[row, column]:.3f}")
print(f"smallest in the tile {tile.min():.3f}, in all {similarity(flat).min():.3f}")

# %% alt="Left: the cat under its grid, a patch at the rim of the eye framed. Centre: a 14 by 14 tile, brightest at row 4 and column 5, with a bright cross through that point and darkest in the far corners. Right: two curves, the similarity along the row and along the column of the query, each with its peak of 1 at the query and flat tails." jupyter={"source_hidden": true} predict="What shape do the bright cells of the tile make?"
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH, 2.4), width_ratios=[1, 1.2, 1.15])
draw_patch_grid(left, photo, P, highlight=[query])
artist = bare(middle).imshow(tile)
figure.colorbar(artist, ax=middle, shrink=0.8, pad=0.03)
right.plot(tile[row], ".-", label="along the row")
right.plot(tile[:, column], ".-", label="along the column")
right.set(xlabel="column or row", ylim=(0.6, 1.15), yticks=[0.6, 0.8, 1.0])
right.legend(loc="upper right", fontsize=8)
plt.show()

# %% [markdown] tags=["answer"]
# The brightest cell is the query itself, and through it runs a cross. That is what the two halves of a row lead one to
# expect. By the product rule from above, the similarity of two patches is the mean of two terms: one depends on the
# distance in rows, the other on the distance in columns. All along the query's own row the first term is at its
# maximum.

# %% [markdown]
# Note where the colour scale begins. No two of these rows are less similar than about two thirds, because of the many
# slow hands that point the same way everywhere. A picture of similarities without its scale says little.
#
# All tiles together make the paper's figure. We draw it for 7 × 7 patches and $D = 1024$, the sizes of the model
# shown there, ViT-L/32. The tile in row $r$ and column $c$ belongs to the patch in row $r$ and column $c$; all share
# one scale. The paper's scale runs from −1 to 1, ours over the values that occur.

# %% alt="A 7 by 7 arrangement of small 7 by 7 maps. In each map the brightest cell and the cross through it sit where the map itself sits in the arrangement: at the top left in the top left map, in the middle in the middle one." jupyter={"source_hidden": true}
tiles = similarity(sincos_2d((7, 7), 1024)).reshape(7, 7, 7, 7)
limits = {"vmin": tiles.min().item(), "vmax": tiles.max().item()}
figure, axes = plt.subplots(7, 7, figsize=(0.85 * WIDTH, 0.8 * WIDTH))
for ax, heat in zip(axes.flat, tiles.flatten(0, 1), strict=True):
    artist = bare(ax).imshow(heat, cmap=SEQUENTIAL, **limits)
figure.colorbar(artist, ax=axes, shrink=0.7, pad=0.015, aspect=30, label="cosine similarity")
for i in range(7):
    axes[i, 0].set_ylabel(i, rotation=0, labelpad=8, va="center")
    axes[6, i].set_xlabel(i)
plt.show()

# %% [markdown]
# Every tile is the same pattern, moved. Sine-cosine positions cannot do otherwise. In the paper's figure they are
# *learned*, and there the pattern is a finding: nobody told the model that the list is a grid.
#
# > **The paper.** “[T]he position embeddings at initialization time carry no information about the 2D positions of
# > the patches and all spatial relations between the patches have to be learned from scratch.” (section 3.1) After
# > training, “closer patches tend to have more similar position embeddings. Further, the row-column structure
# > appears”. (section 4.5)
#
# We have no trained positions yet. Lesson 9 will draw some.

# %% [markdown] anchor="two-terms" tags=["deeper"]
# ### The cross, computed
#
# Is the tile really such a mean of two terms, one for rows and one for columns?

# %%
axis = similarity(sincos(torch.arange(14), 384))  # (14, 14): one coordinate alone
mean_of_two = 0.5 * (axis[row][:, None] + axis[column][None, :])
assert_close(tile, mean_of_two, rtol=1e-4, atol=1e-5)
print("tile = ½ (row term + column term)")

# %% [markdown] anchor="diagonals" tags=["deeper"]
# ### Where the diagonals come from
#
# Some published notebooks print the $N \times N$ matrix of similarities as it is, without folding. Then stripes
# appear parallel to the main diagonal, and they have been explained as a sinusoid that the model learned. Is that so?
# Compare three kinds of positions that have learned nothing: 1-D waves, 2-D waves, and noise.

# %%
kinds = {
    "1-D waves": sincos_1d(N, 768),
    "2-D waves": flat,
    "noise": torch.randn(N, 768, generator=torch.Generator().manual_seed(0)) * 0.02,
}
matrices = {name: similarity(rows) for name, rows in kinds.items()}  # each (N, N)

# %% alt="Two rows of three pictures on one colour scale. Above, matrices of 196 by 196 similarities: 1-D waves give one broad bright band along the diagonal; 2-D waves give a grid of stripes parallel to the diagonal, 14 apart; noise gives a thin bright diagonal on a dark ground. Below, the tile of patch 61: a horizontal band for 1-D, a cross for 2-D, one bright cell for noise." jupyter={"source_hidden": true} predict="Which of the three shows stripes, and how far apart are they?"
figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.4), height_ratios=[1, 0.8])
for i, (name, matrix) in enumerate(matrices.items()):
    bare(axes[0, i], name).imshow(matrix, vmin=0, vmax=1, interpolation="nearest")
    artist = bare(axes[1, i]).imshow(matrix[query].reshape(14, 14), vmin=0, vmax=1)
figure.colorbar(artist, ax=axes, shrink=0.6, pad=0.02, label="cosine similarity")
plt.show()

# %% [markdown] tags=["answer"]
# Stripes appear for the 2-D waves alone. They lie 14 apart, and that number gives them away. The patch below number
# $i$ is number $i + 14$. If vertical neighbours are similar, entry $(i, i + 14)$ is bright for every $i$, and all
# those entries lie on a line parallel to the diagonal. The stripes are the vertical neighbours, seen through reading
# order.

# %% [markdown]
# Follow one row of the matrix and it becomes plain. The vertical lines mark where a row of the image ends.

# %% alt="Two curves over patch numbers 0 to 195 with a vertical line every 14. The 1-D curve has a single peak at 61 and falls off on both sides. The 2-D curve has a small peak in each interval, at the same place within it, the highest at 61." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 2.9), sharex=True)
for ax, name in zip(axes, ("1-D waves", "2-D waves"), strict=True):
    for edge in range(0, N + 1, 14):
        ax.axvline(edge - 0.5, color=FAINT, linewidth=0.6)
    ax.plot(matrices[name][query], color=CYCLE[0], linewidth=1.3)
    ax.plot(query, 1, "o", color=ACCENT, markersize=5)
    ax.set(title=name, xlim=(-0.5, N - 0.5), ylim=(0.35, 1.08))
axes[1].set_xlabel("patch number")
plt.show()
peaks = matrices["2-D waves"][query].reshape(14, 14).argmax(dim=1)
print("column of the peak in each image row:", peaks.tolist())
assert (peaks == column).all()

# %% [markdown]
# The 2-D curve peaks once in every row of the image, always in column 5. Cut it at the lines, stack the fourteen
# pieces, and you have the cross. The 1-D curve has one peak. To it, patch 75, which touches patch 61 from below, is
# fourteen steps away, while patch 69 at the right edge is next to patch 70 at the left edge of the next row.

# %%
print("           61 and 75, one below the other   69 and 70, at opposite edges")
for name, matrix in matrices.items():
    print(f"{name:10} {matrix[61, 75]:32.2f} {matrix[69, 70]:30.2f}")
assert matrices["1-D waves"][69, 70] > matrices["1-D waves"][61, 75]
assert matrices["2-D waves"][69, 70] < matrices["2-D waves"][61, 75]
assert (matrices["noise"] - torch.eye(N)).abs().max() < 0.25

# %% [markdown]
# Noise, the third, is what the paper's model starts from: every row resembles itself and nothing else. So stripes in
# *trained* positions do show that the model has learned that the image has rows. They do not show a sinusoid. (The
# paper reports that a sinusoidal structure is “sometimes apparent for larger grids”, in section 4.5. It looks at
# folded tiles, where such a thing can be seen.)

# %% [markdown] anchor="what-it-buys"
# ## What do they buy?
#
# Our models have learned nothing so far. What do positions do for one that is trained? Here is the small ViT of
# [lesson 1](01_patches.ipynb#what-it-buys) again, which reads the mean, with nothing exchanged but its positions.

# %% alt="Four rows of dots, one dot for each training, over accuracy in percent. 2-D waves lie on the right and 1-D waves overlap with them, most of them to the left; learned positions and no positions lie far to the left, over each other." jupyter={"source_hidden": true} predict="Order the four by accuracy. Which differences are larger than the spread of the seeds?"
parts = measured("parts")["variants"]
names = {"2-D waves": "base", "1-D waves": "sincos1d", "learned": "learned", "none": "no-positions"}
draw_runs({name: parts[key]["accuracy"] for name, key in names.items()})
plt.show()

# %% [markdown] tags=["answer"]
# Without positions the model loses a good part of what it could do, and is still far from chance, which is 10 %: a bag
# of patches holds their contents. Waves in one dimension are behind waves in two on average, but their runs
# overlap: that is within the noise. The learned positions are the surprise. They begin as noise, and in so few steps
# the model has hardly found out what they are good for, so they are worth no more than none, as far as these runs can
# tell. Waves come with the grid already in them. How long learned ones need to catch up is not measured here. In the
# paper's long training they did.

# %% [markdown] anchor="which-positions"
# ### And in the paper?
#
# What does a trained model lose without positions, and does their kind matter? The paper measured it by fitting a
# linear classifier on five ImageNet images per class.
#
# > **The paper.** ViT-B/16: 0.61382 correct without positions, 0.64206 with learned ones. “[W]hile there is a large
# > gap between the performances of the model with no positional embedding and models with positional embedding, there
# > is little to no difference between different ways of encoding positional information.” (appendix D.4 and Table 8)
#
# A large gap for the authors; and yet a bag of patches is worth a good deal. It still holds fur and whiskers.
#
# One more row of that table is about *relative* positions: 0.64032. There nothing is added to the tokens. Each offset
# between two patches has a learned vector, the query is multiplied with it, and the product is added to the score of
# the pair in every attention. (Queries and scores are lesson 3.) The paper's offsets run along the list and not over
# the grid. It gained nothing there.
#
# “Little to no difference” belongs to that model and that data. For the ViT-S of Beyer et al. (2022, Table 1), on
# ImageNet-1k alone, learned positions are 0.4 to 1.5 points behind 2-D sine-cosine ones, least after the longest
# training.

# %% [markdown] anchor="other-grid" tags=["deeper"]
# ## Another size of image
#
# A model trained at 224 pixels has positions for 14 × 14 patches. At 384 pixels there are 24 × 24. No other weight of
# the model depends on their number, but 577 tokens do not fit 197 rows. What now?
#
# Fold the rows of the patches into a picture of 14 × 14 with $D$ channels, resize that picture like any other, unfold.
# The class token's row has no place in the picture, so it is set aside and put back.

# %%
prefix = torch.randn(1, 768) * 0.02
learned = torch.cat([prefix, flat])[None]  # (1, N + 1, D), a stand-in for a trained one
rest = learned[:, 1:].reshape(1, 14, 14, 768).permute(0, 3, 1, 2)  # (1, D, 14, 14)
rest = F.interpolate(rest, (24, 24), mode="bicubic", antialias=True)  # (1, D, 24, 24)
rest = rest.permute(0, 2, 3, 1).flatten(1, 2)  # (1, 576, D)
resized = torch.cat([learned[:, :1], rest], dim=1)  # (1, 577, D)
print(tuple(learned.shape), "->", tuple(resized.shape))
assert_close(interpolate_positions(learned, (14, 14), (24, 24)), resized)
print("by hand = vit.positions.interpolate_positions")

# %% [markdown]
# The stand-in is made of 2-D waves, because noise would show nothing. Here is one of their columns before and after,
# and beside it what the sine-cosine formula gives for 24 × 24.

# %% alt="Three maps with vertical red and blue bands. The 14 by 14 map shows a little over two waves; the interpolated 24 by 24 map as many, smoother; the map computed anew at 24 by 24 nearly four." jupyter={"source_hidden": true} predict="How many waves has each of the two larger maps, the resized and the computed one?"
shown = 384  # the fastest wave across the picture
anew = sincos_2d((24, 24), 768)
figure, axes = plt.subplots(1, 3, figsize=(WIDTH * 0.9, 2.3))
for ax, values, side, title in (
    (axes[0], learned[0, 1:], 14, "14 × 14"),
    (axes[1], resized[0, 1:], 24, "interpolated, 24 × 24"),
    (axes[2], anew, 24, "computed, 24 × 24"),
):
    artist = bare(ax, title).imshow(values[:, shown].reshape(side, side), cmap=DIVERGING, vmin=-1, vmax=1)
figure.colorbar(artist, ax=axes, shrink=0.9, pad=0.02)
plt.show()

# %% [markdown] tags=["answer"]
# The resized map has as many waves as the small one. The computed one has more, by as much as it has more columns.
# Interpolation stretches the pattern: the middle of the picture keeps the vector of the middle. Computing anew keeps
# the *step*: one patch to the right is the same turn of the hands as before. These are two different answers.

# %% [markdown]
# The paper takes the first for its learned positions. So does `set_input_size` in `vit`, for positions of either kind;
# with `recompute=True` it computes sines and cosines anew.
#
# Resizing the list without folding it, or folding it in the wrong order, gives the right shape and raises no error.
# What each of these does to accuracy, and what `F.interpolate` does inside, is measured and built in
# [lesson 8](08_resolution.ipynb#resize), on positions that were trained.

# %% [markdown] anchor="mistakes" tags=["deeper"]
# ## Common mistakes
#
# Four, each with what PyTorch says about it, if anything.
#
# **Positions before the class token.** A matrix of $N+1$ rows does not fit $N$ patches, and PyTorch says so. The quick
# repair, cutting off the last row, is silent and shifts everything by one. A well-known annotated implementation of
# ViT added the positions first until 2023.

# %%
model = small_vit()
with torch.no_grad():
    patch_tokens = model.patch_embed(photo[None])  # (1, N, D)
    try:
        patch_tokens + model.pos_embed
    except RuntimeError as error:
        print("PyTorch says:", error)
    shifted = patch_tokens + model.pos_embed[:, :N]  # (1, N, D)
    repaired = torch.cat([model.cls_token, shifted], dim=1)  # (1, N + 1, D)
    correct = model.embed(photo[None])
given = repaired[0, 1 + 14] - patch_tokens[0, 14]  # (D,)
used = (given - model.pos_embed[0]).abs().sum(dim=1).argmin().item()
print("patch 14, first of its row, should get row 15; it gets row", used)
assert repaired.shape == correct.shape
assert not torch.allclose(repaired, correct)

# %% [markdown]
# Row 14 belongs to patch 13, at the far right of the row above. Trained from scratch, such a model can express just
# as much: each patch has a row of its own, and the class token's position was redundant anyway. It breaks when
# weights come from a model that did it the other way.
#
# **Class token at the end, read at the front.** If it is appended, `x[:, 0]` is the upper left patch. No shape
# changes. And because the encoder does not care for places, the right answer is still there, at `x[:, -1]`.

# %% predict="Which output is the class token now?"
with torch.no_grad():
    patch_tokens = no_positions.patch_embed(photo[None])  # (1, N, D)
    x = torch.cat([patch_tokens, no_positions.cls_token], dim=1)  # class token last
    for block in no_positions.blocks:
        x = block(x)
    x = no_positions.norm(x)  # (1, N + 1, D)
print("x[:, 0] is the class token: ", torch.allclose(x[0, 0], whole[0], atol=1e-4))
print("x[:, 0] is patch 0:         ", torch.allclose(x[0, 0], whole[1], atol=1e-4))
print("x[:, -1] is the class token:", torch.allclose(x[0, -1], whole[0], atol=1e-4))
assert_close(x[0, -1], whole[0], rtol=0, atol=1e-4)

# %% [markdown]
# **A batch axis in the positions.** Positions (or a class token) created with the batch size of training,
# `(32, N + 1, D)`, are 32 different matrices. At another batch size there is an error. With a single image there is
# none: broadcasting turns the one image into 32.

# %%
wide = torch.randn(32, N + 1, D) * 0.02
print("one image in,", (torch.zeros(1, N + 1, D) + wide).shape[0], "out")
try:
    torch.zeros(8, N + 1, D) + wide
except RuntimeError as error:
    print("eight images:", error)

# %% [markdown]
# **Positions that stay behind.** Fixed positions kept as a plain attribute are unknown to the module. `.to(device)`
# moves the weights and forgets them. The device `meta`, which has shapes but no memory, shows it on any machine.


# %%
class Careless(nn.Module):
    def __init__(self, positions):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.pos_embed = positions


class Careful(nn.Module):
    def __init__(self, positions):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("pos_embed", positions, persistent=False)  # (1)!


for kind in (Careless, Careful):
    module = kind(of_grid).to("meta")
    print(f"{kind.__name__:8} weights on {module.weight.device}", end=", ")
    print("positions on", module.pos_embed.device)
    assert (module.pos_embed.device == module.weight.device) == (kind is Careful)

# %% [markdown]
# 1. A buffer moves with the module and gets no gradient. `persistent=False` keeps it out of the saved weights, since
#    it can be computed from the sizes. Learned positions are an `nn.Parameter` instead: they move, are trained, and
#    are saved.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# A model without positions cannot tell the cat from its shuffle. Can it tell the cat from its mirror image?
#
# <details>
# <summary>Answer</summary>
#
# Yes. A mirror does more than permute the patches: it also mirrors the pixels inside each patch, and those go through
# $\mathbf{E}$ in a fixed order. An edge from dark to bright becomes an edge from bright to dark. Only rearrangements
# of whole patches are invisible.
#
# </details>
#
# You train with learned positions, and each training image is shuffled anew, patch by patch. What will the positions
# learn about places?
#
# <details>
# <summary>Answer</summary>
#
# Nothing useful. On average every place sees the same contents, so no row has a reason to differ from another. What
# could tell places apart, that photographs look different above and below and that neighbours are alike, the shuffle
# has destroyed.
#
# </details>
#
# How many parameters have the learned positions of ViT-B/16 at 224 pixels? Is that much?
#
# <details>
# <summary>Answer</summary>
#
# $197 \times 768 = 151{,}296$. The projection $\mathbf{E}$ alone has $768 \times 768 = 589{,}824$ weights, and the
# whole model has 86 million. It is next to nothing.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Rolled.** (10 minutes, easy.) Roll a picture of width `W` to the side by `a` pixels: what leaves on one side
# comes in on the other. Which shifts will the class token of a model without positions not notice? Write
# `unnoticed(W, P)`, the list of them from 1 to `W - 1`. Then `check(2, 1, unnoticed)`.
#
# <details>
# <summary>Hint</summary>
#
# Where do the borders of the patches go?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit import create_model
# from vit.course import check
# from vit.data import photograph
#
#
# def unnoticed(W, P):
#     return list(range(P, W, P))
#
#
# torch.manual_seed(0)
# model = create_model("vit_ti_16", depth=2, pos_embed="none").eval()
# photo = photograph("chelsea")
#
#
# def cls(image):
#     with torch.no_grad():
#         return model.forward_features(image[None])[0, 0]
#
#
# assert torch.allclose(cls(photo.roll(112, 2)), cls(photo), atol=1e-4)  # seven patches
# assert not torch.allclose(cls(photo.roll(8, 2)), cls(photo), atol=1e-4)  # half a patch
# assert 112 in unnoticed(224, 16) and 8 not in unnoticed(224, 16)
# assert check(2, 1, unnoticed)
# ```
#
# By 112 pixels the patches change places and are otherwise the same. By 8 every patch is a new one.
#
# </details>
#
# **2. A turn.** (15 minutes, hard.) For the 1-D waves there is a matrix $\mathbf{R}$ with $\mathbf{p}_{n+s} =
# \mathbf{p}_n\mathbf{R}$ for every $n$. Write `turn(D, step)`, which builds it for $s$ = `step`. Then
# `check(2, 2, turn)`.
#
# <details>
# <summary>Hint</summary>
#
# Each hand turns by the fixed angle $s\,\omega_k$. Turning is linear in its sine and cosine: write down
# $\sin(\alpha + \beta)$ and $\cos(\alpha + \beta)$.
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
# def turn(D, step):
#     angle = step * 10000.0 ** -(torch.arange(D // 2) / (D // 2))
#     c, s = angle.cos().diag(), angle.sin().diag()
#     return torch.cat([torch.cat([c, -s], dim=1), torch.cat([s, c], dim=1)])
#
#
# R = turn(16, 3)
# assert torch.allclose(R @ R.T, torch.eye(16), atol=1e-6)  # nothing is stretched
# assert check(2, 2, turn)
# ```
#
# This is what Vaswani et al. mean when they say that the encoding at a fixed offset is a linear function of the
# encoding itself. Rotary position embeddings (RoPE) in later models turn queries and keys in this way instead of
# adding anything.
#
# </details>
#
# **3. The paper's 2-D positions.** (10 minutes, medium.) In appendix D.4 rows and columns have learned codes, each of
# width $D/2$, which are joined end to end. Write `positions_2d(rows, columns)`, which makes positions `(gh·gw, D)` of
# the two matrices. How many parameters are that for 14 × 14 and $D = 768$? Then `check(2, 3, positions_2d)`.
#
# <details>
# <summary>Hint</summary>
#
# The expression that built `of_grid` works for any codes as it stands.
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
# def positions_2d(rows, columns):
#     gh, gw = len(rows), len(columns)
#     return torch.cat([rows.repeat_interleave(gw, 0), columns.repeat(gh, 1)], dim=1)
#
#
# rows, columns = torch.randn(2, 14, 384)
# positions = positions_2d(rows, columns)
# assert positions.shape == (196, 768)
# assert rows.numel() + columns.numel() == 28 * 384  # 10,752 instead of 150,528
# assert check(2, 3, positions_2d)
# ```
#
# A fourteenth of the parameters, and in Table 8 of the paper no better and hardly worse: 0.64001 against 0.64206.
#
# </details>
#
# **4. Read a tile.** (10 minutes, medium.) Write `kind(tile, row, column)`, which says of a 14 × 14 tile of
# similarities and the place of its query whether the positions were `"1-D"` waves, `"2-D"` waves or `"noise"`, from two
# of its cells. Then `check(2, 4, kind)`.
#
# <details>
# <summary>Hint</summary>
#
# To noise, nothing is alike but the query itself. How far is the patch below the query for the 1-D waves, and how far
# is the right neighbour?
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
# def kind(tile, row, column):
#     beside, below = tile[row, column + 1], tile[row + 1, column]
#     if beside < 0.5:
#         return "noise"
#     return "2-D" if torch.isclose(beside, below, rtol=1e-4) else "1-D"
#
#
# assert check(2, 4, kind)
# ```
#
# Of 2-D waves the patch beside and the patch below are equally alike, one step each. Of 1-D waves the patch below is
# fourteen steps away.
#
# </details>
#
# **5. There and back.** (10 minutes, medium; [another size](#other-grid) has the tool.) Resize positions from 14 × 14
# to 28 × 28 and back again. Write `loss(positions)` for `(196, D)`: the norm of the error over that of the positions.
# Is it larger for 2-D waves or for noise? Then `check(2, 5, loss)`.
#
# <details>
# <summary>Hint</summary>
#
# `interpolate_positions(..., num_prefix_tokens=0)` spares you the class row.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.positions import interpolate_positions, sincos_2d
#
#
# def loss(positions):
#     old = positions[None]
#     up = interpolate_positions(old, (14, 14), (28, 28), num_prefix_tokens=0)
#     down = interpolate_positions(up, (28, 28), (14, 14), num_prefix_tokens=0)
#     return ((down - old).norm() / old.norm()).item()
#
#
# torch.manual_seed(0)
# assert loss(sincos_2d((14, 14), 64)) < 0.1 < loss(torch.randn(196, 64))
# assert check(2, 5, loss)
# ```
#
# Interpolation assumes that neighbours are alike. Positions that have learned the grid survive it; untrained ones do
# not, and there would be no reason to resize them.
#
# </details>
#
# **6. A base for images.** (15 minutes, hard.) Write `smallest(base, dim, side)`: the smallest cosine similarity of two
# rows of 2-D waves with this base in place of 10000, for side × side patches. How does base 100 change it, and what
# share of the hands makes half a turn? Then `check(2, 6, smallest)`.
#
# <details>
# <summary>Hint</summary>
#
# Half a turn over 13 steps needs a frequency of about a quarter. What share of the hands is that fast, for each base?
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
# def waves(places, dim, base):
#     hands = torch.arange(dim // 2).double() / (dim // 2)
#     angles = places.double()[:, None] * base**-hands
#     return torch.cat([angles.sin(), angles.cos()], dim=1).float()
#
#
# def smallest(base, dim, side):
#     codes = waves(torch.arange(side), dim // 2, base)
#     rows, columns = codes.repeat_interleave(side, dim=0), codes.repeat(side, 1)
#     unit = F.normalize(torch.cat([rows, columns], dim=1), dim=1)
#     return (unit @ unit.T).min().item()
#
#
# assert smallest(10000.0, 768, 14) > 0.6 and smallest(100.0, 768, 14) < 0.45
# hands = torch.arange(192) / 192
# for base, share in ((100.0, 0.32), (10000.0, 0.16)):  # half a turn within 14 patches
#     assert abs((14 * base**-hands > torch.pi).float().mean() - share) < 0.01
# assert check(2, 6, smallest)
# ```
#
# With base 100 about a third of the hands make half a turn within 14 patches, with base 10000 about a sixth. So distant
# patches differ in more columns. Whether a model profits is another question: its matrices can amplify the few columns
# that do move.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# The class token is one learned vector in front of the patches of every image, and `x[:, 0]` reads it at the end;
# averaging the patches is the alternative. Without positions the encoder is equivariant: shuffle the patches and the
# patch outputs are shuffled with them, while class token and mean stay. Positions are added, row by row. The paper
# learns them, and the model has to discover the grid. Sine-cosine positions are computed, and their similarities depend
# on differences alone; in two dimensions that gives a cross in every tile. Class token, patches and positions together
# are equation 1. What the encoder does with $\mathbf{z}_0$ begins in [lesson 3](03_attention.ipynb).

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 3.1, 3.2 and 4.5, equation 1, appendices B.1, D.3 and
# D.4, Table 8, Figures 7 and 9. Ashish Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762),
# NeurIPS 2017, section 3.5. Jacob Devlin et al., [BERT: Pre-training of Deep Bidirectional Transformers for Language
# Understanding](https://arxiv.org/abs/1810.04805), NAACL 2019, section 3. Fixed 2-D positions: Xinlei Chen, Saining
# Xie and Kaiming He, [An Empirical Study of Training Self-Supervised Vision
# Transformers](https://arxiv.org/abs/2104.02057) (MoCo v3), ICCV 2021; Lucas Beyer, Xiaohua Zhai and Alexander
# Kolesnikov, [Better plain ViT baselines for ImageNet-1k](https://arxiv.org/abs/2205.01580), 2022. The resizing
# follows [timm](https://github.com/huggingface/pytorch-image-models). The positions added before the class token:
# [pull request 221](https://github.com/labmlai/annotated_deep_learning_paper_implementations/pull/221) of labml.ai's
# annotated implementations.
