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
#     number: 0
#     prerequisites: Python and a first meeting with PyTorch; no knowledge of Transformers
# ---

# %% [markdown]
# # A Vision Transformer in one sitting
#
# Can one build a Vision Transformer in half an hour, from an empty file, and see it learn? This lesson does. It starts
# with the dullest model that can look at patches, adds one part at a time, and trains each model the moment the part
# is there. So you see what every part is good for before you know all about it.
#
# After it you can name the parts of a ViT, say what each takes in and gives out, and write the whole in fewer than
# ninety lines. Twelve lessons then open the boxes, one at a time.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import inspect
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import display
from matplotlib.figure import Figure
from torch import nn
from torch.testing import assert_close

from vit import VisionTransformer, ViTConfig
from vit.data import load_data, photograph
from vit.inference import load_classifier
from vit.patches import patchify as finished_patchify
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
    draw_patch_grid,
    use_style,
)
from vit.positions import sincos_2d
from vit.pretrained import load_pretrained

torch.manual_seed(0)
use_style()

# %% [markdown] anchor="built"
# ## What you will have built
#
# Inside the package is a ViT that has been trained on CIFAR-10, small photographs of ten kinds of things. Here it
# looks at a cat that it has never seen.

# %% predict="Ten classes, among them cat and dog. How sure will it be?"
shipped = load_classifier("cifar10")
photo = photograph("chelsea", 32)  # (3, 32, 32)
seen = shipped.preprocessing.normalise(photo)[None]  # as in training
for name, p in shipped.predict(photo[None], top_k=3)[0]:
    print(f"{name:6} {p:.0%}")
parameters = sum(p.numel() for p in shipped.model.parameters())
print(f"by a model of {parameters:,} parameters")

# %% [markdown]
# On which parts of the picture did it look? A ViT cuts the picture into squares, the *patches*, and in each of its
# stages, the *blocks*, takes in more of some than of others. These shares are its *attention*. Here is one block, and
# beside it, on the same scale, that of a twin with random weights.

# %% alt="The cat, and two maps of attention over it on one scale. Left: the cat, as 32 by 32 pixels. Middle: the trained model's attention over a grey copy of it, with a few bright patches on nose, eye and cheek. Right: the random twin's attention, the same dull shade everywhere." jupyter={"source_hidden": true}
torch.manual_seed(0)
twin = VisionTransformer(shipped.model.config).eval()
BLOCK = 6
with torch.inference_mode():
    maps = [m.attention_maps(seen)[BLOCK - 1][0, :, 0, 1:].mean(0) for m in (shipped.model, twin)]
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.3))
draw_image(axes[0], photo, "what the model sees")
for ax, weights, title in zip(axes[1:], maps, (f"trained, block {BLOCK}", "random twin"), strict=True):
    artist = draw_attention(
        ax, photograph("chelsea"), weights.reshape(8, 8), limit=maps[0].max().item(), title=title
    )
figure.colorbar(artist, ax=axes[1:], shrink=0.8, label="part of the attention")
plt.show()
print(
    f"largest part on one patch: {maps[0].max():.1%} trained, {maps[1].max():.1%} random, {1 / 64:.1%} even"
)

# %% [markdown]
# The trained model prefers a few patches of the face; the twin has no preferences. That is all the figure shows.
# Whether the model *needs* those patches is another question, and [lesson 9](09_what_it_learns.ipynb) tests it.

# %% [markdown] anchor="whole"
# ## The whole, with one real picture in it
#
# From photograph to answer there are only five shapes. Read them once, slowly. $B$ is the number of pictures, $C$ their
# channels, $H$ and $W$ their sides; $P$ is the side of a patch, $N$ the number of patches, $D$ the width of a token and
# $K$ the number of classes.

# %%
model = shipped.model
with torch.inference_mode():
    patches = finished_patchify(seen, 4)  # cut
    tokens = model.patch_embed(seen)  # one matrix for all patches
    sequence = model.embed(seen)  # class token in front, positions added
    logits = model(seen)  # the blocks; the class token is read
for x in (seen, patches, tokens, sequence, logits):
    print(tuple(x.shape))
assert sequence.shape == (1, 65, 192)

# %% alt="The five shapes of one picture on its way to an answer, joined by arrows: the cat; the cat cut by a grid of eight by eight; a matrix of 64 rows and 192 columns, each row a token; the same with one row more at the top, for the class token; and ten bars, of which the one for cat is by far the longest. Under each its shape." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 5, figsize=(WIDTH, 2.3), width_ratios=[1, 1, 1, 1, 0.8])
figure.get_layout_engine().set(wspace=0.2)
draw_image(axes[0], photo, "picture")
draw_patch_grid(axes[1], photo, 4, title="patches")
for ax, x, title in ((axes[2], tokens, "tokens"), (axes[3], sequence, "+ class token,\npositions")):
    bare(ax, title).imshow(x[0], cmap=DIVERGING, vmin=-2, vmax=2, aspect="auto", interpolation="nearest")
    ax.set_box_aspect(1)
axes[3].axhline(0.5, color=ACCENT, lw=2)
p = logits.softmax(1)[0]
bare(axes[4], "answer").barh(range(10), p, color=[ACCENT if i == p.argmax() else FAINT for i in range(10)])
axes[4].set_box_aspect(1.25)
axes[4].invert_yaxis()
best = int(p.argmax())
axes[4].text(p[best].item(), best + 1, shipped.classes[best], va="center", ha="right", color=ACCENT)
shapes = ("B, C, H, W\n1, 3, 32, 32", "B, N, P²C\n1, 64, 48", "B, N, D\n1, 64, 192", "B, N+1, D\n1, 65, 192")
for ax, text in zip(axes, (*shapes, "B, K\n1, 10"), strict=True):
    ax.set_xlabel(text, color=INK, fontsize=8.5)
for ax, arrow in zip(axes[1:], ("cut", "matrix", "", "blocks"), strict=True):
    beside = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate("", (0, 0.5), (-17, 0), **beside, arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 3})
    ax.annotate(arrow, (0, 0.5), (-13, 5), **beside, ha="center", fontsize=6.5)
plt.show()

# %% [markdown]
# > **The paper.** “We split an image into fixed-size patches, linearly embed each of them, add position embeddings, and
# > feed the resulting sequence of vectors to a standard Transformer encoder.” (Dosovitskiy et al., 2021, figure 1)

# %% [markdown] anchor="task"
# ## Something to learn
#
# Photographs would take hours. We use `shapes` instead: drawn pictures of ten kinds, in any place, size and colour, so
# that only the outline tells the kind. The model sees pictures of 24 by 24 pixels.

# %%
data = load_data("shapes", img_size=24, train_size=12_000)


def as_tensors(images):
    pixels, labels = images.batch(torch.arange(len(images)))  # (M, 3, 24, 24), (M,)
    return pixels / 127.5 - 1, labels


images, labels = as_tensors(data.train)
val_images, val_labels = (x[:1000] for x in as_tensors(data.val))
print(tuple(images.shape), "to learn from,", tuple(val_images.shape), "to ask about")

# %% alt="Ten small pictures in two rows, each with the name of its class above: a shape in one colour and texture on a ground of another, turned and placed at random." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 5, figsize=(0.75 * WIDTH, 2.5))
for k, (ax, name) in enumerate(zip(axes.flat, data.classes, strict=True)):
    draw_image(ax, images[(labels == k).nonzero()[0, 0]] / 2 + 0.5).set_title(name, fontsize=8)
plt.show()

# %% [markdown]
# All models are trained by the same function: so many batches, a learning rate that rises and falls, and now and then
# a look at pictures that are not learnt from. [Lesson 6](06_training.ipynb) has a better one, and the reasons.

# %% jupyter={"source_hidden": true}
STEPS, BATCH, RATE = 800, 64, 2e-3
curves = {}  # name -> [(step, accuracy)]


@torch.inference_mode()
def accuracy(model):
    return (model(val_images).argmax(1) == val_labels).float().mean().item()


def train(name, model, steps=STEPS, watch=None):
    torch.manual_seed(0)
    adam = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, steps, pct_start=0.1)
    curves[name] = []
    for step in range(1, steps + 1):
        some = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(model(images[some]), labels[some])
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        rate.step()
        if step % 100 == 0:
            curves[name].append((step, accuracy(model)))
            if watch:
                watch()
    print(f"{name}: {curves[name][-1][1]:.1%} of the validation pictures")


# %% [markdown] anchor="bag"
# ## Step 1: cut, and one matrix
#
# A Transformer reads a sequence of vectors. So cut the picture into squares of 4 by 4 pixels, lay the pixels of each
# in a row, and multiply all of them by the same matrix. To get an answer at once, take the mean of these vectors, the
# *tokens*, and one more matrix from it to ten numbers, the *logits*: the larger, the likelier that class.

# %% tags=["model"]
C, P, D, K = 3, 4, 72, 10


def patchify(images):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * P * P)  # (B, N, P*P*C)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(C * P * P, D)
        self.head = nn.Linear(D, K)

    def tokens(self, images):
        return self.embed(patchify(images))  # (B, N, D)

    def forward(self, images):
        return self.head(self.tokens(images).mean(dim=1))  # (B, K)


# %% predict="There are ten classes. Better than a guess?"
assert torch.equal(patchify(images[:8]), finished_patchify(images[:8], P))
assert Bag()(images[:8]).shape == (8, K)
torch.manual_seed(0)
train("bag of patches", Bag())

# %% [markdown] tags=["answer"]
# A guess. The reason is worth a thought: a mean of linear functions is one linear function of the mean patch, so the
# model knows the average colours of a picture and nothing else, and in `shapes` these say nothing.

# %% [markdown]
# [Lesson 1](01_patches.ipynb) opens this box: why patches, why this size, and why it is a convolution.

# %% [markdown] anchor="places"
# ## Step 2: say where
#
# The model does not know where a patch was. Let us tell it: to every token add a vector that belongs to its place. We
# take waves of different lengths, half of the numbers for the row and half for the column, so that near places get
# like vectors.


# %% tags=["model"]
def places(side):
    waves = 10_000.0 ** -(torch.arange(D // 4) / (D // 4))
    angles = torch.arange(side)[:, None] * waves  # (side, D/4)
    one = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, D/2)
    return torch.cat([one.repeat_interleave(side, 0), one.repeat(side, 1)], 1)


class Placed(Bag):
    def tokens(self, images):
        return super().tokens(images) + places(images.shape[-1] // P)


# %% predict="Now it knows where every patch is. Does that help?"
assert_close(places(6), sincos_2d((6, 6), D), rtol=0, atol=1e-5)
torch.manual_seed(0)
train("+ positions", Placed())

# %% [markdown] tags=["answer"]
# Nothing. The mean adds the same places for every picture, so what we told the model it forgets at once. A position
# is only worth something where tokens are treated differently because of it.

# %% [markdown]
# [Lesson 2](02_positions.ipynb) opens this box: which positions there are, and what happens without them.

# %% [markdown] anchor="attention"
# ## Step 3: let them look at each other
#
# So far no patch knows of another. An edge here and an edge there do not make a triangle. Attention lets every token
# ask all others: from each token three vectors are made, a *query*, a *key* and a *value*. The product of my query with
# your key says how much of your value I take. Softmax turns these numbers into parts that sum to one.


# %% tags=["model"]
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, N, D) each
        weights = (q @ k.transpose(1, 2) / math.sqrt(D)).softmax(dim=-1)  # (B, N, N)
        return self.proj(weights @ v)  # (B, N, D)


class Looking(Placed):
    def __init__(self):
        super().__init__()
        self.attention = Attention()

    def tokens(self, images):
        return self.attention(super().tokens(images))


# %% predict="One layer of attention, then the mean as before. What will it reach?"
torch.manual_seed(0)
train("+ attention", Looking())

# %% [markdown] tags=["answer"]
# The first model that has learnt something. Patches are now compared with each other, and which are compared can
# depend on where they are.

# %% [markdown]
# [Lesson 3](03_attention.ipynb) opens this box: why the square root, and what the weights look like.

# %% [markdown] anchor="block"
# ## Step 4: think it over, and keep what you had
#
# Attention only mixes. Three things make an *encoder block* of it. A small network, the MLP, works on each token alone.
# Each of the two is *added* to what came in, so that nothing is lost on the way: that is a residual. And before each,
# a layer norm brings every token to the same scale.


# %% tags=["model"]
class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(D), attention
        self.norm2 = nn.LayerNorm(D)
        self.mlp = nn.Sequential(nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class OneBlock(Placed):
    def __init__(self):
        super().__init__()
        self.block, self.norm = Block(Attention()), nn.LayerNorm(D)

    def tokens(self, images):
        return self.norm(self.block(super().tokens(images)))


# %%
torch.manual_seed(0)
train("+ MLP, norm, residual", OneBlock())

# %% [markdown]
# [Lesson 4](04_encoder.ipynb) opens this box. The block is also what makes the next step possible: it takes tokens and
# gives tokens of the same shape, so blocks can be stacked.

# %% [markdown] anchor="depth"
# ## Step 5: depth, heads, and a token that answers
#
# One block can compare patches. A second can compare comparisons. So stack three. Inside each, let several *heads* of
# attention look for different things side by side. And instead of the mean of all tokens, add one token that stands for
# no patch: the class token. It gathers what it needs through attention, and the answer is read from it.


# %% tags=["model"]
class Heads(Attention):
    def __init__(self, h=3):
        super().__init__()
        self.h = h

    def forward(self, x):
        B, T, _ = x.shape
        d = D // self.h  # width of one head: q, k, v are (B, h, T, d)
        q, k, v = self.qkv(x).reshape(B, T, 3, self.h, d).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(d)).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, T, D))


class ViT(Placed):
    def __init__(self, depth=3):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, D))
        self.blocks = nn.Sequential(*[Block(Heads()) for _ in range(depth)])
        self.norm = nn.LayerNorm(D)

    def forward(self, images):
        x = self.tokens(images)  # (B, N, D)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)  # (B, N+1, D)
        return self.head(self.norm(self.blocks(x))[:, 0])  # (B, K)


# %% jupyter={"source_hidden": true}
def watch():
    """Draw all curves so far in the place of the last drawing."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained", dpi=100)
    ax = figure.subplots()
    for (name, points), color in zip(curves.items(), CYCLE, strict=False):
        ax.plot(*zip(*points, strict=True), ".-", color=color, label=name)
    ax.axhline(0.1, color=FAINT, lw=1, ls="--")
    ax.text(STEPS, 0.08, "chance", va="top", ha="right", fontsize=8)
    ax.set(xlabel="training step", ylabel="accuracy", xlim=(0, STEPS), ylim=(0, 1))
    ax.legend(loc="upper left")
    live.update(figure)


# %% alt="Five rising or flat lines over training steps: accuracy on validation pictures. Bag of patches and positions stay at one in ten; attention and the block rise; the whole ViT ends highest." tags=["chart"]
torch.manual_seed(0)
vit, live = ViT(), display(Figure(), display_id=True)
train("ViT, 3 blocks of 3 heads", vit, watch=watch)

# %% [markdown]
# In your own notebook the figure is drawn anew every hundred steps.
#
# [Lesson 5](05_model.ipynb) puts the real sizes together, and [lesson 6](06_training.ipynb) trains them properly.

# %% [markdown] anchor="bought"
# ## What each step bought

# %%
error = 2 * math.sqrt(0.25 / len(val_images))  # two standard errors, at most
for name, points in curves.items():
    print(f"{name:25} {points[-1][1]:6.1%}")
print(f"two standard errors of one measurement: {error:.1%}; {STEPS} steps each")
assert points[-1][1] > 0.1 + error

# %% [markdown]
# Two steps that bought nothing, and then three that did. The last line says how far chance may move one number. Mind
# what the table does not show. Every row is one draw of random numbers (one *seed*) and equally many steps, and the
# later models have more parameters. The last step changes three things at once, so the table cannot say which of them
# it was. Nor does it show the end of the story: the curves flatten because the learning rate falls to nothing,
# whatever more steps would bring. Lessons 1 to 6 exchange one part at a time, with several seeds, in a small model whose
# numbers are others.

# %% [markdown] anchor="same" tags=["deeper"]
# ### Is it the same as the finished one?
#
# Your ViT and the package's `VisionTransformer` differ in names and in bookkeeping only. Put your weights under its
# names, and both must give the same logits.

# %%
sizes = {"img_size": 24, "patch_size": P, "embed_dim": D, "depth": 3, "num_heads": 3}
sizes |= {"num_classes": K, "mlp_ratio": 2.0, "norm_eps": 1e-5}
config = ViTConfig(**sizes, pos_embed="sincos2d")
names = {"embed.": "patch_embed.proj.", "cls": "cls_token"}
names |= {".mlp.0.": ".mlp.fc1.", ".mlp.2.": ".mlp.fc2."}
state = {}
for key, value in vit.state_dict().items():
    for mine, theirs in names.items():
        key = key.replace(mine, theirs)
    state[key] = value
state["patch_embed.proj.weight"] = vit.embed.weight.reshape(D, C, P, P)
finished = VisionTransformer(config).eval()
finished.load_state_dict(state)
with torch.inference_mode():
    assert_close(finished(val_images), vit(val_images), rtol=1e-4, atol=1e-4)
print(inspect.getsource(VisionTransformer.forward_features))

# %% [markdown] anchor="answers"
# ## Its own answers
#
# What does your model say about pictures that nobody trained or measured on? And one that it gets wrong: what does it
# look like?

# %% alt="Eight small pictures, each with the model's answer and its probability underneath; wrong answers are orange, with the true class in brackets. The last one was picked because it is wrong." jupyter={"source_hidden": true}
fresh, truth = (x[:200] for x in as_tensors(data.test))
with torch.inference_mode():
    sure, said = vit(fresh).softmax(1).max(1)
wrong = (said != truth).nonzero()[:, 0]
shown = [*range(7), int(wrong[wrong >= 7][sure[wrong[wrong >= 7]].argmax()])]
figure, axes = plt.subplots(2, 4, figsize=(0.75 * WIDTH, 3.4))
for ax, i in zip(axes.flat, shown, strict=True):
    right = said[i] == truth[i]
    text = f"{data.classes[said[i]]} {sure[i]:.0%}" + ("" if right else f"\n({data.classes[truth[i]]})")
    draw_image(ax, fresh[i] / 2 + 0.5).set_xlabel(text, fontsize=8, color=INK if right else ACCENT)
plt.show()
share, error = (said == truth).float().mean(), math.sqrt(1 / len(fresh))
print(f"right on {share:.0%} of {len(fresh)} fresh pictures, give or take {error:.0%}")

# %% [markdown]
# The last picture is the mistake of which it was surest. Would you have made it? A model can be sure and wrong;
# [lesson 7](07_inference.ipynb) measures how often.

# %% [markdown] anchor="real"
# ## What it becomes with more of everything
#
# The same architecture, deeper and wider, and taught by a larger one that saw 142 million pictures without a label, is
# DINOv2's small model (Oquab et al., 2024). Here are the heads of its last block, on a cup: our cat leaves no
# background.

# %% alt="A cup of coffee on a saucer beside six maps, one for each head of DINOv2's last block. Five heads mark the cup: its rim, its wall or the coffee in it. Head 4 leaves the cup dark and spreads over the table around it. All are on one scale, whose top cuts off the brightest fiftieth." jupyter={"source_hidden": true}
try:
    dino = load_pretrained("dinov2_small").model
except ValueError as error:
    print(f"DINOv2 is not on this machine, so there is no figure. {error}")
else:
    dino.set_input_size(224)
    photo = photograph("coffee", 224)
    mean, std = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        heads = dino.attention_maps(((photo - mean) / std)[None])[-1][0, :, 0, 1:].reshape(6, 16, 16)
    figure, axes = plt.subplot_mosaic("P123;P456", figsize=(WIDTH, 2.7), width_ratios=[2, 1, 1, 1])
    draw_image(axes["P"], photo, "photo")
    for i, head in enumerate(heads, start=1):
        draw_attention(axes[str(i)], photo, head, limit=heads.quantile(0.98).item(), title=f"head {i}")
    plt.show()

# %% [markdown]
# Nobody told the model what a cup is. Five heads look at it or at parts of it, and head 4 at what is around it. One
# caution: this copy of the weights comes from a package for finding what is salient in a picture, which does not say
# whether it trained them further. [Lesson 9](09_what_it_learns.ipynb) questions the model.

# %% [markdown] anchor="next"
# ## Where to go next
#
# If this was your evening, stop here: you have built and trained a Vision Transformer. If you have another,
# [lesson 1](01_patches.ipynb) begins at the beginning, with a pencil. To train on a folder of your own,
# [Your own pictures](../docs/howto.md) has the command.

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# > **Common mistake.** Softmax over the wrong dimension. The code runs without a word, and every *key* hands
# > itself out once instead of every query taking one in all.

# %%
scores = torch.randn(2, 36, 36)  # (B, query, key)
for name, dim in (("right", -1), ("wrong", -2)):
    taken = scores.softmax(dim).sum(-1)  # (B, query)
    print(f"{name}: a query takes {taken.min():.2f} to {taken.max():.2f} in all")
assert_close(scores.softmax(-1).sum(-1), torch.ones(2, 36))

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# 1. Why do positions buy nothing without attention?
# 2. A picture of 48 by 48 pixels, patches of 8: how many tokens does the encoder see, with the class token?
# 3. What goes into a block, what comes out, and why does that matter?
#
# <details>
# <summary>Answer</summary>
#
# 1. The mean adds the same places in every picture. What is the same everywhere tells nothing apart.
#
# </details>
#
# <details>
# <summary>Answer</summary>
#
# 2. Six by six patches are 36, and the class token makes it 37.
#
# </details>
#
# <details>
# <summary>Answer</summary>
#
# 3. Tokens of one shape, `(B, N+1, D)`, both times. So the output of one block can be the input of the next.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Patchify from memory.** (10 minutes, easy.) Write `cut(images, P)` from `(B, C, H, W)` to `(B, N, C·P·P)`. Then
# `check(0, 1, cut)`.
#
# <details>
# <summary>Hint</summary>
#
# Six dimensions: split both sides, bring the two grid dimensions to the front, then join.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def cut(images, P):
#     B, C, H, W = images.shape
#     x = images.reshape(B, C, H // P, P, W // P, P).permute(0, 2, 4, 1, 3, 5)
#     return x.reshape(B, (H // P) * (W // P), C * P * P)
#
#
# assert check(0, 1, cut)
# ```
#
# </details>
#
# **2. Attention is blind to order.** (10 minutes, medium.) Write `is_blind(attend, x, order)`, which says whether
# shuffling the tokens of `x` by `order` shuffles `attend(x)` in the same way. Then `check(0, 2, is_blind)`.
#
# <details>
# <summary>Hint</summary>
#
# Shuffle before, and shuffle after: when are the two the same? `x[:, order]` shuffles tokens.
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
# def is_blind(attend, x, order):
#     return torch.allclose(attend(x)[:, order], attend(x[:, order]), atol=1e-4)
#
#
# torch.manual_seed(0)
# W, x, order = torch.randn(3, 8, 8), torch.randn(1, 9, 8), torch.randperm(9)
#
#
# def attend(x):
#     q, k, v = x @ W[0], x @ W[1], x @ W[2]
#     return (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
#
#
# assert is_blind(attend, x, order)  # without positions
# assert check(0, 2, is_blind)
# ```
#
# </details>
#
# **3. Count by hand.** (10 minutes, easy.) Write `block_parameters(D)`: how many parameters has one `Block` of this
# lesson? Then `check(0, 3, block_parameters)`.
#
# <details>
# <summary>Hint</summary>
#
# Four linear layers, each with a bias, and two norms with a scale and a shift each.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def block_parameters(D):
#     attention = 3 * D * D + 3 * D + D * D + D
#     mlp = 2 * (2 * D * D) + 2 * D + D
#     norms = 2 * (2 * D)
#     return attention + mlp + norms
#
#
# assert check(0, 3, block_parameters)
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# A ViT cuts a picture into patches and makes a token of each by one matrix. Positions are added, since attention does
# not know order. Blocks of attention and MLP, each added to what came in, let the tokens exchange what they know. The
# answer is read off one token. None of the parts knows that it is looking at a picture; only the cutting and the
# positions do.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: section 3.1 and figure 1 are this lesson. Ashish Vaswani et al.,
# [Attention Is All You Need](https://arxiv.org/abs/1706.03762), NeurIPS 2017: steps 3 to 5. Maxime Oquab et al.,
# [DINOv2: Learning Robust Visual Features without Supervision](https://arxiv.org/abs/2304.07193), TMLR 2024.
