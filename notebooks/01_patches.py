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
#     number: 1
#     prerequisites: Python and a first meeting with PyTorch tensors; no knowledge of
#       Transformers
# ---

# %% [markdown]
# # From pixels to patches
#
# A Transformer reads a sequence. A photograph is a grid of pixels. How do we turn the one into the other, without
# throwing anything away and without drowning in arithmetic?
#
# The answer of the Vision Transformer is almost too simple: cut the image into squares, lay the squares in a row, and
# multiply each by one matrix. This lesson does that by hand and then as a convolution, and shows that the two agree to
# the last digit that matters.
#
# After it you can say what $P$, $N$ and $D$ are and compute them for any image, write patchify and its inverse from
# memory, explain why a convolution and a matrix product are the same thing here, and say what a smaller patch costs.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from vit import count_macs, get_config
from vit.data import photograph
from vit.plotting import (
    ACCENT,
    DIVERGING,
    WIDTH,
    bare,
    draw_image,
    draw_matrix,
    draw_patch_grid,
    draw_runs,
    use_style,
)
from vit.results import measured

torch.manual_seed(0)
use_style()

# %% [markdown]
# Two images will keep us company through the first five lessons. One is a photograph of a cat called Chelsea, which
# ships with scikit-image. The other is a toy of four by four pixels, small enough to follow with a pencil.
#
# A line with `assert` or `assert_close` states a fact, such as a shape or an equality up to rounding: Python checks
# it and goes on in silence, or stops there with an error, so you may read each of them as true.

# %%
photo = photograph("chelsea")  # (1)!
toy = torch.tensor(
    [
        [1.0, 1.0, 0.0, 2.0],
        [1.0, 1.0, 0.0, 2.0],
        [2.0, 2.0, 0.0, 1.0],
        [0.0, 0.0, 1.0, 2.0],
    ]
)
low, high = round(photo.min().item(), 3), round(photo.max().item(), 3)
print("photo", tuple(photo.shape), "from", low, "to", high)
assert photo.shape == (3, 224, 224)

# %% [markdown]
# 1. A tensor of shape `(C, H, W)`: channels first, as everywhere in PyTorch. Values lie between 0 and 1.

# %% alt="Left: a ginger cat's face, looking at the camera. Right: a grid of four by four grey cells, each showing its pixel value, between 0 and 2." jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH * 0.8, 2.8))
draw_image(left, photo, "photo: 3 × 224 × 224")
draw_matrix(right, toy, values="{:.0f}", cmap="gray", title="toy: 1 × 4 × 4")
plt.show()

# %% [markdown] anchor="why-not-pixels"
# ## Why not one token per pixel?
#
# The elements of a Transformer's sequence are called *tokens*. The straightforward idea is to make every pixel one.
# Nothing would have to be cut. So why is it so rarely done?
#
# Because in self-attention every token looks at every other one. With $N$ tokens there are $N^2$ pairs, and each pair
# gets a number. Let us count what it takes to store those numbers in 32-bit floats, for one head of one layer. (A head
# is one of several attentions that are computed side by side; [lesson 3](03_attention.ipynb) builds it.)

# %% predict="One token per pixel: how many megabytes does the matrix of one head take?"
H = W = 224
choices = {"pixel": 1, "4×4 patch": 4, "16×16 patch": 16, "32×32 patch": 32}
print("token is a       tokens N        pairs N²       one head's weights")
for name, side in choices.items():
    N = (H // side) * (W // side)
    megabytes = N * N * 4 / 1e6
    print(f"{name:12} {N:12,} {N * N:17,} {megabytes:14,.2f} MB")

# %% [markdown] tags=["answer"]
# Ten gigabytes, for one head, in one layer, for one picture. ViT-Base, the smallest of the paper's Table 1, has
# twelve heads in each of twelve layers. (Its Figure 4 has one half as wide. And fused attention, in lesson 3, computes
# these numbers without ever storing them.)

# %% [markdown]
# With patches of 16 by 16 pixels the same matrix needs a fraction of a megabyte. The side of the patch enters to the
# fourth power: $N = HW/P^2$, so $N^2 = (HW)^2/P^4$. So patches are an economy. They are more than that: cutting them is
# one of only two places where the paper uses the two dimensions of an image (section 3.1, on inductive bias); the other
# is fitting positions to a larger image ([lesson 2](02_positions.ipynb#other-grid)).
#
# > **The paper.** Naive application of self-attention to images “would require that each pixel attends to every
# > other pixel”, which “does not scale to realistic input sizes”. (Dosovitskiy et al., 2021, section 2)

# %% [markdown] anchor="other-costs" tags=["deeper"]
# ### What the other layers cost
#
# Is the attention matrix the only cost? No: each token also passes through matrices whose cost grows with $N$ once,
# not twice. Our package can count the multiply-accumulates of a whole forward pass. Here is ViT-Base again, with the
# patch as the only thing that changes.

# %%
sides = [4, 8, 16, 32]
quadratic, rest = [], []
for P in sides:
    macs = count_macs(get_config("vit_b_16", patch_size=P))
    quadratic.append(macs["attn.scores"] + macs["attn.values"])
    rest.append(sum(macs.values()) - quadratic[-1])
    total = quadratic[-1] + rest[-1]
    share = quadratic[-1] / total
    print(f"P = {P:2}: {total / 1e9:7.1f} billion, the N×N matrix {share:5.1%} of it")

# %% alt="Pairs of bars for patch sides 4, 8, 16 and 32 on a logarithmic axis: the multiply-accumulates of ViT-Base outside the attention matrix, and in it. At 4 pixels the two are nearly level; at 32 the matrix is a hundred times smaller." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.75, 2.6))
where = range(len(sides))
ax.bar(where, [q / 1e9 for q in quadratic], width=0.38, label="the N×N matrix", color=ACCENT, align="edge")
ax.bar(where, [r / 1e9 for r in rest], width=-0.38, label="everything else", align="edge")
ax.set(yscale="log", xticks=list(where), xlabel="patch side P (pixels)", ylabel="billion MACs per image")
ax.set_xticklabels(sides)
ax.legend()
plt.show()

# %% [markdown]
# Read the figure with its axis in mind: it is logarithmic, one labelled tick up is ten times more. At 16 pixels the
# quadratic part hardly matters: nearly all work is in the layers that treat each token alone. At 4 pixels the matrix
# takes two fifths of the bill, so there most of the work is still elsewhere, and that grows with $N$ too. The figure
# counts operations; it says nothing about accuracy.

# %% [markdown] anchor="names"
# ## Six letters
#
# > **The paper.** “To handle 2D images, we reshape the image $\mathbf{x} \in \mathbb{R}^{H \times W \times C}$ into a
# > sequence of flattened 2D patches $\mathbf{x}_p \in \mathbb{R}^{N \times (P^2 \cdot C)}$.” (section 3.1)
#
# $H$ and $W$ are the height and width in pixels, $C$ the number of channels. $P$ is the side of a patch. $N = HW/P^2$
# is the number of patches, and so the length of the sequence. A sixth letter comes soon: $D$, the width of a token
# inside the Transformer.

# %%
C, H, W = photo.shape
P = 16
N = (H // P) * (W // P)
print(f"H = {H}, W = {W}, C = {C}, P = {P}")
print(f"N = {H}·{W} / {P}² = {N} patches in a grid of {H // P} × {W // P}")
print(f"P²·C = {P}·{P}·{C} = {P * P * C} numbers in each")
assert photo.numel() == N * P * P * C

# %% [markdown]
# The assertion is worth a pause. The patches together hold exactly as many numbers as the photograph. Cutting loses
# nothing.
#
# Halve the side of a patch. What becomes of $N$, of the numbers in a patch, and of the pairs? Predict, then move the
# slider.
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="patches">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown] anchor="by-hand"
# ## Cutting by hand
#
# Take the toy. Four patches of two by two, in reading order: top left, top right, bottom left, bottom right. Write
# them down before you look.

# %% predict="Which four numbers stand in each row?"
patches = []
for row in (0, 2):
    for column in (0, 2):
        square = toy[row : row + 2, column : column + 2]  # (2, 2)
        patches.append(square.flatten())  # (4,)
toy_patches = torch.stack(patches)  # (N, P·P)
print(toy_patches)
assert toy_patches.shape == (4, 4)

# %% [markdown] tags=["answer"]
# Patch 0 is flat grey. Patch 1 is dark on its left and bright on its right. Patch 2 is bright above and dark below.
# Patch 3 grows towards its lower right corner. These four stay with us for five lessons.

# %% [markdown]
# Two loops are fine for a toy. For a batch of photographs we want one expression. The trick is to split both axes:
# $H$ becomes (which patch row, which row inside it), and $W$ likewise.

# %%
split = toy.reshape(2, 2, 2, 2)  # (patch row, row inside, patch column, column inside)
swapped = split.permute(0, 2, 1, 3)  # (patch row, patch column, row and column inside)
by_reshape = swapped.reshape(4, 4)  # (N, P·P)
print("patch 1 by loops:  ", toy_patches[1].tolist())
print("patch 1 by reshape:", by_reshape[1].tolist())
assert_close(by_reshape, toy_patches)

# %% [markdown]
# The middle line does the work. `reshape` never changes the order in which the numbers are read; it only sets new
# brackets. `permute` changes that order, and so brings the four pixels of a patch together.
#
# What if we forget it? It is easily forgotten, and no error message will tell you.
#
# > **Common mistake.** Reshaping straight to `(N, P·P)`. The shape is right and the content is wrong: a “patch” is
# > now a piece of one image row.

# %% predict="Which four numbers does the wrong patch 1 hold?"
wrong = toy.reshape(4, 4)
print("wrong patch 1:", wrong[1].tolist())
assert wrong.shape == by_reshape.shape
assert not torch.equal(wrong, by_reshape)

# %% [markdown] tags=["answer"]
# The second row of the image, from its left border to its right.

# %% [markdown] anchor="patchify"
# ## Cutting a photograph
#
# The real thing has a batch axis and channels, but the idea does not change. A patch vector is laid out channel by
# channel, then row by row. That order is a free choice; we take the one in which PyTorch stores convolution kernels,
# and the reason will show in a moment.


# %%
def patchify(images, P):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // P, P, W // P, P)  # (1)!
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, H/P, W/P, C, P, P)
    return x.reshape(B, (H // P) * (W // P), C * P * P)  # (B, N, C·P·P)


batch = photo[None]  # (1, 3, 224, 224): models take batches
patches = patchify(batch, P)
print("images ", tuple(batch.shape))
print("patches", tuple(patches.shape))
assert patches.shape == (1, 196, 768)

# %% [markdown]
# 1. Six axes. Read them aloud once: batch, channel, patch row, row inside, patch column, column inside.

# %% [markdown]
# Each row of `patches` is one square of the photograph. Does the order hold? Number the squares in the picture, take
# the rows one by one, draw them as little images, and compare.

# %%
tiles = patches[0].reshape(N, C, P, P)  # each row as a little image again
chosen = [0, 61, 134]

# %% alt="The cat's photograph under a grid of 14 by 14 squares, numbered from 0 at the top left to 195 at the bottom right. Three squares, among them one on an eye, are framed." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, WIDTH * 0.8))
draw_patch_grid(ax, photo, P, numbers=True, highlight=chosen)
plt.show()

# %% alt="The 196 patches as small separate squares in reading order, fourteen to a row, each with its index underneath." jupyter={"source_hidden": true}
# All in one frame: to find a layout for two hundred of them takes matplotlib ten seconds.
figure, ax = plt.subplots(figsize=(WIDTH, 1.35 * WIDTH))
for number, tile in enumerate(tiles):
    down, across = divmod(number, 14)
    place = (across, across + 0.84, 1.35 * down + 0.84, 1.35 * down)
    ax.imshow(tile.permute(1, 2, 0), interpolation="nearest", extent=place)
    ax.text(across + 0.42, 1.35 * down + 0.9, number, ha="center", va="top", fontsize=7)
bare(ax).set(xlim=(0, 13.84), ylim=(1.35 * 14 - 0.05, 0))
plt.show()

# %% [markdown]
# We drew the sequence in rows of fourteen so that it fits the page. The model does not see it that way. It sees a
# list of 196 vectors, and whether number 14 lies below number 0 or next to number 13 is nowhere in the list. You can
# recover it, because you know the grid is fourteen wide:

# %%
columns = W // P
print("index   row  column")
for i in chosen:
    row, column = divmod(i, columns)
    print(f"{i:5} {row:5} {column:7}")
    assert i == row * columns + column
    y, x = row * P, column * P
    assert torch.equal(tiles[i], photo[:, y : y + P, x : x + P])

# %% [markdown]
# The model has to learn it, or be told. That is the subject of [lesson 2](02_positions.ipynb).

# %% [markdown] anchor="unpatchify"
# ## And back
#
# If nothing is lost, there must be a way back. The inverse undoes the three steps in reverse order.


# %%
def unpatchify(patches, P, H, W):
    B = patches.shape[0]
    x = patches.reshape(B, H // P, W // P, -1, P, P)  # (B, H/P, W/P, C, P, P)
    x = x.permute(0, 3, 1, 4, 2, 5)  # (B, C, H/P, P, W/P, P)
    return x.reshape(B, -1, H, W)  # (B, C, H, W)


restored = unpatchify(patches, P, H, W)
same = torch.equal(restored, batch)
print("restored", tuple(restored.shape), "equal to the photo:", same)
assert same

# %% [markdown]
# Equal, not merely close. With both directions at hand we can also see what the forgotten permutation does to a real
# picture: cut without it, put back properly, and look.

# %% alt="Three pictures. The cat; the same cat restored exactly; and a scrambled picture of short horizontal strips in which no cat can be recognised, made by cutting without the permutation." jupyter={"source_hidden": true} predict="What does the third picture show, cut without the permutation and put back properly?"
careless = batch.reshape(1, N, C * P * P)  # right shape, wrong content
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
draw_image(axes[0], photo, "photo")
draw_image(axes[1], restored[0], "patchify, unpatchify")
draw_image(axes[2], unpatchify(careless, P, H, W)[0], "without permute")
plt.show()

# %% [markdown]
# The third picture is what such a model trains on. It may even learn something, slowly, since the numbers are all
# there. That is how such a mistake can survive.

# %% [markdown] anchor="projection"
# ## From patch to token
#
# A patch vector is raw pixels. The encoder wants vectors of its own width $D$, in a space that it can learn. So each
# patch is multiplied by one matrix $\mathbf{E}$, the same for every patch.
#
# > **The paper.** “The Transformer uses constant latent vector size $D$ through all of its layers, so we flatten the
# > patches and map to $D$ dimensions with a trainable linear projection (Eq. 1). We refer to the output of this
# > projection as the patch embeddings.” (section 3.1)
#
# $$\mathbf{z} = \left[\mathbf{x}_p^1\mathbf{E};\; \mathbf{x}_p^2\mathbf{E};\; \cdots;\; \mathbf{x}_p^N\mathbf{E}\right],
# \qquad \mathbf{E} \in \mathbb{R}^{(P^2 \cdot C) \times D}$$
#
# On the toy we may choose $\mathbf{E}$ ourselves. Let $D = 2$. The first number of a token shall say how much brighter
# the right half of the patch is than the left, the second how much brighter the lower half is than the upper.
# Work out the four tokens on paper: the patches are printed above.

# %% predict="Which token does each of the four patches become?"
E = torch.tensor(
    [
        [-0.5, -0.5],  # weight of the top left pixel: (right - left, lower - upper)
        [+0.5, -0.5],  # top right
        [-0.5, +0.5],  # bottom left
        [+0.5, +0.5],  # bottom right
    ]
)  # (P·P, D)
toy_tokens = toy_patches @ E  # (N, D)
both = zip(toy_patches.tolist(), toy_tokens.tolist(), strict=True)
for i, (patch, token) in enumerate(both):
    print(f"patch {i} {patch}  ->  token {token}")
right_left = (toy_patches[:, [1, 3]] - toy_patches[:, [0, 2]]).mean(1)  # (N,)
lower_upper = (toy_patches[:, [2, 3]] - toy_patches[:, [0, 1]]).mean(1)
assert_close(toy_tokens, torch.stack([right_left, lower_upper], dim=1))

# %% [markdown] tags=["answer"]
# Flat grey is $(0, 0)$. The vertical edge is $(2, 0)$. The horizontal edge points the other way, $(0, -2)$. The corner
# is $(1, 1)$.

# %% [markdown]
# Each column of $\mathbf{E}$ is a question put to every patch, and a token is the list of answers.
#
# What did we lose? All four patches have the same mean brightness, and our two questions do not ask for it. From
# four numbers to two, something must go. In ViT-Base nothing has to.

# %%
D = get_config("vit_b_16").embed_dim
print(f"a patch of ViT-B/16 has {P * P * C} numbers, its token has D = {D}")
assert P * P * C == D

# %% [markdown]
# That these are equal is a coincidence of ViT-Base at 16 pixels, a well-known source of confusion. The matrix is
# square there, but it still mixes all the numbers of a patch, and for the other models below it is not square at all.

# %%
print("model       P²·C      D   E is")
for name in ("vit_ti_16", "vit_s_16", "vit_b_16", "vit_b_32", "vit_l_16", "vit_h_14"):
    config = get_config(name)
    length, width = config.patch_size**2 * config.in_chans, config.embed_dim
    print(f"{name:10} {length:5} {width:6}   {length} × {width}")

# %% [markdown]
# Now the photograph, with a random matrix. A trained one looks different, and lesson 9 will show it; the shapes are
# the same. `nn.Linear` stores $\mathbf{E}$ transposed: there each question is a row.

# %%
linear = nn.Linear(P * P * C, D)  # E, and a bias for each of the D answers
tokens = linear(patches)
print("patches", tuple(patches.shape), "-> tokens", tuple(tokens.shape))
assert tokens.shape == (1, 196, 768)

# %% [markdown] anchor="convolution"
# ## The same thing, as a convolution
#
# Open the ViT of timm or torchvision and you will find neither `patchify` nor a linear layer. You will find this:

# %%
conv = nn.Conv2d(C, D, kernel_size=P, stride=P)
print("kernel", tuple(conv.weight.shape), " linear weight", tuple(linear.weight.shape))
print("parameters:", f"{sum(p.numel() for p in conv.parameters()):,}")
assert conv.weight.numel() == linear.weight.numel()

# %% [markdown]
# Why is that the same? A convolution slides a window over the image and, at each stop, takes the inner product of the
# window with each of its $D$ kernels. With a stride as large as the window, the stops do not overlap. The windows are
# our patches, and an inner product with $D$ kernels is a product with a matrix of $D$ rows.
#
# If that is right, then giving the linear layer the kernel's numbers, each kernel laid flat, must give equal tokens.
# This is where the order channel, row, column pays: `flatten` lays a kernel flat in just that order.

# %%
with torch.no_grad():
    linear.weight.copy_(conv.weight.flatten(1))  # (D, C, P, P) -> (D, C·P·P)
    linear.bias.copy_(conv.bias)
    by_linear = linear(patches)  # (1, N, D)
    grid = conv(batch)  # (1, D, H/P, W/P)
    by_conv = grid.flatten(2).transpose(1, 2)  # (1, N, D)
print("conv gives", tuple(grid.shape), "-> flatten, transpose ->", tuple(by_conv.shape))
assert grid.shape == (1, 768, 14, 14)
assert_close(by_conv, by_linear, rtol=1e-5, atol=1e-5)
largest = (by_conv - by_linear).abs().max()
print("largest difference below 1e-5:", bool(largest < 1e-5))

# %% [markdown]
# They agree up to the rounding of 32-bit floats: the two add the same 768 products in another order.
#
# The convolution is not there to bring back a convolutional network. It is a convenience: one call, one kernel that
# the hardware knows. The ViT has no other convolution.

# %% [markdown] anchor="one-number" tags=["deeper"]
# ### One number, followed through both
#
# The picture below follows one number. On the left is kernel 5 as three 16 × 16 images, one for each channel. In the
# middle is row 5 of the linear layer's weight, the same 768 numbers in one line, folded at 16 so that it fits. On the
# right is answer 5 for all 196 patches: one value per patch, and the two ways of computing it.

# %% alt="Six small panels. Three 16 by 16 maps, the red, green and blue slices of kernel 5; the same numbers as a 48 by 16 block, the linear layer's row 5; and two 14 by 14 maps of answer 5, by convolution and by linear layer, which look the same." jupyter={"source_hidden": true}
k = 5
kernel = conv.weight[k].detach()
limit = kernel.abs().max().item()
figure = plt.figure(figsize=(WIDTH, 2.2))
axes = figure.subplots(1, 6, width_ratios=[1, 1, 1, 0.55, 1.25, 1.25])
for c in range(3):
    bare(axes[c], f"kernel {k}, {'RGB'[c]}").imshow(kernel[c], cmap=DIVERGING, vmin=-limit, vmax=limit)
row = linear.weight[k].detach().reshape(48, 16)
bare(axes[3], f"row {k}").imshow(row, cmap=DIVERGING, vmin=-limit, vmax=limit)
for ax, answer, how in ((axes[4], by_conv, "conv"), (axes[5], by_linear, "linear")):
    bare(ax, f"answer {k}, {how}").imshow(answer[0, :, k].reshape(14, 14))
plt.show()

# %% [markdown]
# An untrained kernel is noise, and what it answers means nothing yet. Only the agreement of the two maps counts here.

# %% [markdown] anchor="vit-patches"
# ## The finished piece
#
# The package holds what you have just written, with its checks. This is the layer:

# %%
from vit.patches import PatchEmbed, embed_by_linear
from vit.patches import patchify as vit_patchify

print(inspect.getsource(PatchEmbed))

# %%
embed = PatchEmbed(img_size=(224, 224), patch_size=16, in_chans=3, embed_dim=768)
with torch.no_grad():
    embed.proj.weight.copy_(conv.weight)
    embed.proj.bias.copy_(conv.bias)
    assert torch.equal(vit_patchify(batch, P), patches)
    assert_close(embed(batch), by_conv)
    as_matrix = embed_by_linear(batch, conv.weight, conv.bias)
    assert_close(as_matrix, by_conv, rtol=1e-5, atol=1e-5)
print("ours by hand = vit.patches:", tuple(embed(batch).shape))

# %% [markdown] anchor="patch-size"
# ## What the patch size trades
#
# The name ViT-B/16 means: Base, patches of 16. What would 8 or 32 change?

# %%
print("             N    pairs N²   parameters of E   MACs, whole model")
for P_ in (8, 16, 32):
    config = get_config("vit_b_16", patch_size=P_)
    weights = P_ * P_ * 3 * config.embed_dim + config.embed_dim
    macs = sum(count_macs(config).values()) / 1e9
    n = config.num_patches
    print(f"ViT-B/{P_:<3} {n:6} {n * n:11,} {weights:17,} {macs:15.1f} billion")

# %% [markdown]
# Halve the side and you have four times as many tokens. The encoder's parameters stay as they are, because every token
# passes through the same matrices. $\mathbf{E}$ shrinks, and the matrix of positions that lesson 2 adds grows; both are
# small. So a smaller patch makes a slower model of nearly the same size.
#
# > **The paper.** “The Transformer's sequence length is inversely proportional to the square of the patch size, thus
# > models with smaller patch size are computationally more expensive.” (section 4.1)
#
# And what does one gain? Inside a patch there is no attention, only one linear map. Whatever must be compared within 32
# pixels, a pupil with the light in it, has to survive that map. In the paper's Table 5 the models with smaller patches
# are nearly always the better ones at equal size. The next figure does not prove that. It shows what a token covers.

# %% alt="The cat three times, under grids of 8, 16 and 32 pixels. At 32 pixels each eye lies across four squares; at 8 pixels it spans dozens." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
for ax, P_ in zip(axes, (8, 16, 32), strict=True):
    draw_patch_grid(ax, photo, P_, title=f"P = {P_}: {(224 // P_) ** 2} tokens")
plt.show()

# %% [markdown] anchor="what-it-buys"
# ## What does it buy?
#
# Can the trade be measured? We trained a small ViT on `shapes`, drawn pictures of ten kinds such as circle, star and
# arrow, with patches of 8, 4 and 2 pixels, the same steps and as nearly as possible the same number of parameters. Two
# trainings of the same model never end alike, since each starts from other random weights and sees the pictures in
# another order. The number that fixes these is called a *seed*. So each model was trained with several of them.
#
# In the figure every training is a dot and every model a row, with the mean of its dots at the right; the grey band is
# the range of the first row. Two words need a rule. We call two models *apart* when every run of the one is better than
# every run of the other, and otherwise *within the noise*: then we claim no difference. The rule is crude. Two models
# that are in truth equally good lie apart now and then, as often as the last lines under the figure say. Where one of
# the two has fewer than three runs, the figure says neither.

# %% alt="Three rows of dots, one dot for each training, over accuracy in percent. The dots of patches of 4 lie in a grey band; those of patches of 8 lie to the left of it, and those of patches of 2 on both sides of it, far apart." jupyter={"source_hidden": true} predict="Which side of a patch is best for pictures of 24 pixels, and by how much?"
made = measured("parts")
parts, steps, pictures = made["variants"], made["steps"], made["batch"]
print(f"{steps} steps of {pictures} pictures of {made['base']['img_size']} pixels")
names = {"P = 4, N = 36": "base", "P = 8, N = 9": "patch-8", "P = 2, N = 144": "patch-2"}
draw_runs({name: parts[key]["accuracy"] for name, key in names.items()})
plt.show()
print("runs of the one, of the other: apart by chance")
for ours, theirs in ((3, 3), (5, 3), (5, 5)):
    print(f"{ours}, {theirs}: 1 in {math.comb(ours + theirs, ours) // 2}")

# %% [markdown] tags=["answer"]
# Not the largest. Patches of 8 leave nine tokens, and whatever is smaller than a third of the picture has to survive one
# linear map. Patches of 2 keep everything apart, and what comes of it is a matter of luck here: one run is ahead of all
# others in this figure, and the rest are behind patches of 4. Each token holds little, there are four times as many of
# them, and the steps were few, so some seeds may simply not have got there yet. Whether all would in a longer training
# we have not measured. The paper's models, which were trained for far longer, say that they might.
#
# The next lessons ask the same of their parts, with the same small model.

# %% [markdown] anchor="mistakes" tags=["deeper"]
# ## Common mistakes
#
# The forgotten permutation you have met. Three more, each with what PyTorch or our package says about it, if
# anything.
#
# **The image does not divide.** A 225-pixel image has no whole number of 16-pixel patches. A bare convolution does not
# mind: it drops the rest without a word. `patchify` of our package
# refuses, and so does its configuration of a model.

# %% predict="What shape comes out of the bare convolution?"
odd = torch.rand(1, 3, 225, 225)
shape = tuple(conv(odd).shape)
print("a bare convolution returns", shape, "and ignores the last row and column")
try:
    vit_patchify(odd, 16)
except ValueError as error:
    print("vit says:", error)

# %% [markdown]
# **Channels last.** `matplotlib`, `PIL` and NumPy keep images as height, width, channel. A ViT wants channels first. If
# you are lucky you get an error.

# %%
channels_last = photo.permute(1, 2, 0)[None]  # (1, 224, 224, 3)
try:
    embed(channels_last)
except ValueError as error:
    print("vit says:", error)

# %% [markdown]
# **Another order inside the patch.** The paper writes $P^2 \cdot C$, pixel by pixel; PyTorch's kernels are channel by
# channel. Both are fine for a model trained from scratch, since a learned matrix does not care in which order its
# inputs come. They are not the same model when you copy weights from one to the other.

# %%
pixel_by_pixel = patches.reshape(1, N, C, P * P).transpose(2, 3)  # (1, N, P·P, C)
pixel_by_pixel = pixel_by_pixel.reshape(1, N, P * P * C)
with torch.no_grad():
    difference = (linear(pixel_by_pixel) - by_linear).abs().max()
same = torch.equal(pixel_by_pixel.sort(-1).values, patches.sort(-1).values)
print("same numbers in each patch:", same)
print("same tokens with the same weights:", bool(difference < 1e-5))
assert difference > 1e-2

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# An image of 384 × 384 pixels, patches of 16. How many tokens, and how many times as many pairs as at 224?
#
# <details>
# <summary>Answer</summary>
#
# $384/16 = 24$, so $24^2 = 576$ tokens. The pairs grow by $(576/196)^2 \approx 8.6$. The paper usually fine-tunes at
# this size. The whole model costs less than 8.6 times as much, since most of its work grows with the tokens and not
# with the pairs.
#
# </details>
#
# You shuffle the pixels inside every patch, with the same shuffle for all patches and all images, and train from
# scratch. Does the ViT get worse? Would a convolutional network?
#
# <details>
# <summary>Answer</summary>
#
# The ViT does not notice. Its first step is a full matrix on each patch, and a matrix with permuted rows undoes the
# shuffle. (Random initialisation does not prefer an order either.) A convolutional network with 3 × 3 kernels would
# suffer: its first layer assumes that neighbours in the array are neighbours in the world.
#
# </details>
#
# Why do we not add a nonlinearity after the projection?
#
# <details>
# <summary>Answer</summary>
#
# Nothing forbids it. The paper's projection is linear, and the nonlinear part comes in the MLP of every block
# ([lesson 4](04_encoder.ipynb)). Section 3.1 of the paper does describe another stem, a hybrid: a convolutional
# network comes first, and $\mathbf{E}$ is applied to patches of its feature map.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. One line.** (10 minutes, easy.) Write `by_unfold(images, P)`, which is `patchify` by
# `torch.nn.functional.unfold`. Then `check(1, 1, by_unfold)`.
#
# <details>
# <summary>Hint</summary>
#
# `unfold` returns `(B, C·P·P, N)`. Which two axes have to change places?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch.nn.functional as F
# from vit.course import check
#
#
# def by_unfold(images, P):
#     return F.unfold(images, P, stride=P).transpose(1, 2)
#
#
# assert check(1, 1, by_unfold)
# ```
#
# </details>
#
# **2. Overlap.** (15 minutes, medium.) Some later models let patches overlap: windows of 16 with `stride=8, padding=4`.
# How many tokens come out for 224 pixels? Is anything lost? Write `put_back(windows, side)`, which makes images of
# their windows `(B, C·16·16, N)`, as `F.unfold` cuts them. Then `check(1, 2, put_back)`.
#
# <details>
# <summary>Hint</summary>
#
# The output side is $\lfloor (H + 2p - k)/s \rfloor + 1$. `F.fold` is not the inverse of `unfold`: it adds up whatever
# lies on a pixel. What does it make of ones?
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
# def put_back(windows, side):
#     fold = lambda w: F.fold(w, side, kernel_size=16, stride=8, padding=4)
#     return fold(windows) / fold(torch.ones_like(windows))
#
#
# windows = F.unfold(torch.rand(1, 3, 224, 224), 16, stride=8, padding=4)
# assert windows.shape == (1, 768, 784)  # 28 × 28 windows: (224 + 8 - 16) / 8 + 1 = 28
# assert 784 * 64 < 3 * 224 * 224 < 784 * 192 + 1
# assert check(1, 2, put_back)
# ```
#
# Most pixels now appear in several windows. The pixels can still be recovered from the windows, since each appears at
# least once, but the windows are no longer free: not every list of windows is an image. There are four times as many
# tokens, and whether pixels come back from *them* depends on their width. With $D = 64$ they hold fewer numbers than
# the image, and there is no inverse.
#
# </details>
#
# **3. A better toy matrix.** (10 minutes, medium.) Find an $\mathbf{E}$ with $D = 4$ for the toy whose transpose is its
# inverse, so that every patch comes back exactly, and whose first question is the mean brightness, up to a factor. Then
# `check(1, 3, E)`.
#
# <details>
# <summary>Hint</summary>
#
# The two questions of this lesson are columns of ±½. Two more such columns make the four orthogonal to each other.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.patches import patchify
#
# E = 0.5 * torch.tensor([[1.0, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]])
# toy = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
# patches = patchify(toy[None, None], 2)[0]
# tokens = patches @ E
# assert torch.equal(tokens @ E.T, patches)
# assert torch.equal(tokens[:, 0], 2 * patches.mean(1))  # twice the mean: ½ of the sum
# assert check(1, 3, E)
# ```
#
# This is the Hadamard transform, the plainest relative of the cosine transform in a JPEG file. What trained patch
# filters look like, and how close they come to such a basis, is a question for lesson 9.
#
# </details>
#
# **4. Rectangles.** (5 minutes, easy.) What shape has the output of `PatchEmbed` for images of `H` × `W` pixels? Write
# `tokens_shape(B, H, W, P, D)`. Then `check(1, 4, tokens_shape)`.
#
# <details>
# <summary>Hint</summary>
#
# How many patches stand side by side, and how many below each other?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.patches import PatchEmbed
#
#
# def tokens_shape(B, H, W, P, D):
#     return B, (H // P) * (W // P), D
#
#
# embed = PatchEmbed(img_size=(96, 160), patch_size=16, in_chans=3, embed_dim=32)
# assert embed(torch.rand(2, 3, 96, 160)).shape == tokens_shape(2, 96, 160, 16, 32)
# assert check(1, 4, tokens_shape)
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Patches are an economy: attention costs $N^2$, all else $N$, and $N = HW/P^2$. Cutting is lossless and is nothing but
# `reshape`,
# `permute`, `reshape`; leave out the middle one and the shapes still fit. The patch embedding is one matrix applied to
# each patch, and a convolution with stride equal to its kernel computes the same numbers. Smaller patches cost time
# and hardly any parameters. The sequence that comes out no longer knows where a patch was, and that is
# [where lesson 2 begins](02_positions.ipynb).

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 2, 3.1 and 4.1, equation 1, Table 5. The layout of a
# patch vector follows PyTorch's [`unfold`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Unfold.html); the
# convolution as patch embedding is how [timm](https://github.com/huggingface/pytorch-image-models) writes it. The
# photograph is [`skimage.data.chelsea`](https://scikit-image.org/docs/stable/api/skimage.data.html), by Stéfan van der
# Walt, released under CC0.
