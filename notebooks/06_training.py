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
#     number: 6
#     prerequisites: Lesson 5; gradients, and what an optimiser does with them
# ---

# %% [markdown]
# # Training
#
# The model of the last lesson knows nothing. It answers every picture with even odds. What does it take to make it
# see, and how do you know that it does?
#
# The first half of the question needs pictures, a loss, an optimiser and a loop, and all four fit on this page. The
# second half is harder. Most mistakes in training raise no error. The program runs, the loss falls, and what comes
# out is worse than it should be, or is nothing at all. So for every part we ask which test would have noticed.
#
# After it you can say why validation is not test, find bugs with a single batch, write AdamW from memory, read a pair
# of curves, and kill a training run without losing it.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import csv
import inspect
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from vit import count_macs, create_model
from vit.data import Dataset, MemoryImages, Preprocessing, decode, load_data, photograph
from vit.data.shapes import draw
from vit.inference import SHIPPED, load_classifier
from vit.plotting import ACCENT, CYCLE, FAINT, INK, WIDTH, draw_image, draw_runs, use_style
from vit.results import measured
from vit.training import (
    LAST,
    Augment,
    Recipe,
    Trainer,
    evaluate,
    get_recipe,
    hashed,
    hidden_matrices,
    parameter_groups,
    read_checkpoint,
    reseed,
    train,
)

torch.manual_seed(0)
use_style()
temporary = tempfile.TemporaryDirectory()  # everything that this lesson writes goes there
work = Path(temporary.name)

# %% [markdown] anchor="data"
# ## Pictures
#
# We need labelled pictures, and nothing may be downloaded. So we draw them. `shapes` has ten classes. Place, size,
# turn, colours, texture and clutter are random and do not depend on the class. Only the outline tells.

# %% alt="Three rows of ten small pictures, one column for each class from circle to arrow. Two rows show the shapes, light on darker textured grounds with lines and dots behind them. The third row shows in white what the shape covers in the second." jupyter={"source_hidden": true}
data = load_data("shapes", img_size=32, train_size=4_000)
images, labels, masks = draw(torch.arange(20), 32)  # (20, 3, 32, 32), (20,), (20, 32, 32)
figure, axes = plt.subplots(3, 10, figsize=(WIDTH, 2.3))
for k, name in enumerate(data.classes):
    draw_image(axes[0, k], images[k], name).title.set_fontsize(8)
    draw_image(axes[1, k], images[10 + k])
    draw_image(axes[2, k], masks[10 + k][None])
plt.show()

# %% [markdown]
# It is a toy, and an easy one: a single whole object in each picture, lighter than its ground and never turned far.
# Whoever does well on it has learned ten outlines. But it is a real learning problem, it can be trained while you
# wait, and there is as much of it as we like. (Its masks say where the object is. A later lesson will use them.)
#
# What does the model receive? The pictures are kept as bytes. Before the model sees them they are *normalised*: each
# channel is shifted and scaled to mean 0 and standard deviation 1.

# %%
pixels, y = data.train.batch(torch.arange(64))  # (64, 3, 32, 32) uint8, (64,)
preprocessing = data.preprocessing(32)
x = preprocessing.normalise(pixels)  # (64, 3, 32, 32) float32
print(f"bytes:      {pixels.min():3d} to {pixels.max()}, {pixels.dtype}")
print(f"normalised: mean {x.mean():.2f}, standard deviation {x.std():.2f}")
mean = torch.tensor(preprocessing.mean)[:, None, None]
std = torch.tensor(preprocessing.std)[:, None, None]
assert_close(x, (pixels / 255 - mean) / std)

# %% [markdown]
# The six numbers, a mean and a deviation for each channel, are computed from the training images, once, and saved with
# the model. Whoever uses the model later must use them too; one of the common mistakes below is to forget it.

# %% [markdown] anchor="splits"
# ## Three sets, and why validation is not test
#
# The pictures come in three sets that share no picture.

# %% jupyter={"source_hidden": true}
for name, images in (("train", data.train), ("validation", data.val), ("test", data.test)):
    print(f"{name:10} {len(images):6,} pictures, {torch.bincount(images.labels).min()} or more of each class")

# %% [markdown]
# The training set changes the weights. The validation set never does. It answers the questions that come up on the
# way: which learning rate, which epoch, which model? The test set is looked at once, when all questions are settled.
#
# But if no weight is ever fitted to the validation pictures, why is its accuracy not good enough to report? Let us
# train nothing at all. A thousand “models” guess at random, each in its own way. We validate them on 200 pictures,
# choose the best, and test that one.

# %% predict="Chance is 10 %. What does the best of a thousand guessers reach on 200 pictures, and then on the test?"
g = torch.Generator().manual_seed(0)
truth, fresh = data.val.labels[:200], data.test.labels  # (200,), (2000,)
guesses = torch.randint(10, (1000, 2200), generator=g)  # one row for each model
val = (guesses[:, :200] == truth).float().mean(1)  # (1000,)
test = (guesses[:, 200:] == fresh).float().mean(1)  # (1000,)
best = val.argmax()
print(f"the best of 1000 guessers: validation {val[best]:.1%}, test {test[best]:.1%}")
assert val[best] > 0.15

# %% alt="A histogram of the validation accuracies of a thousand random guessers, a bell around a dashed line at 10 percent. An orange line far out at its right edge marks the best of them. A blue line close to the dashed one marks the test accuracy of that same guesser." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.4))
ax.hist(100 * val, bins=torch.arange(2.25, 20, 0.5).tolist(), color=FAINT)
ax.axvline(10, color=INK, linewidth=1, linestyle="--", label="chance")
ax.axvline(100 * val[best], color=ACCENT, label="the best, validation")
ax.axvline(100 * test[best], color=CYCLE[0], label="the same one, test")
ax.set(xlabel="accuracy, %", ylabel="guessers", xlim=(2, 20))
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# The winner knows nothing, and by its validation accuracy one would think that it knows something. It won because luck
# was on its side, and luck does not come along to the test set. This is the *selection effect*. Nobody has cheated.
# Looking at many validation scores and taking the highest is enough.
#
# Real models differ by more than luck, and real validation sets are larger, so the effect is smaller. It is never zero.
# Every epoch, every learning rate and every seed that you compare is one more guesser. That is why in this package the
# best epoch is chosen on validation pictures, and the test pictures are used a single time, when training is over and
# the record of the run, its *receipt*, is written. Many CIFAR-10 numbers in tutorials were selected on the test set.
# They are a little too good, and nobody knows by how much.

# %% [markdown] anchor="augmentation"
# ## More pictures than there are
#
# A cat half a step to the left is still a cat. *Augmentation* uses that: it changes training images at random, in
# ways that leave their class as it is, so that the model hardly ever sees the same one twice.
#
# Below, the pictures as they are, and five changes, one at a time. (If you have CIFAR-10 as files, the pictures are
# taken from there; otherwise they are two photographs and a star.)

# %% jupyter={"source_hidden": true}
cifar = os.environ.get("VIT_CIFAR10")
if cifar:
    names, S = ["cat", "ship", "horse"], 32
    files = [sorted(Path(cifar, "train", name).iterdir())[0] for name in names]
    three = torch.stack([decode(path, S) for path in files])  # (3, 3, 32, 32) uint8
    print("CIFAR-10, JPEG copy:", ", ".join(names))
else:
    names, S = ["cat", "cup", "star"], 96
    star = draw(torch.tensor([17]), S)[0]
    three = torch.cat([photograph("chelsea", S)[None], photograph("coffee", S)[None], star])
    three = three.mul(255).round().byte()  # (3, 3, 96, 96)
    print("VIT_CIFAR10 is not set; instead of CIFAR-10:", ", ".join(names))

# %% alt="Three pictures in rows, six columns. As they are; cropped, that is shifted, with an even border coming in; mirrored; RandAugment with strange colours, shifts and slants; MixUp, where two pictures lie over each other like a double exposure; CutMix, where a rectangle of another picture is pasted in. Under the last two columns stand shares such as 0.69 cat, 0.31 star." jupyter={"source_hidden": true}
plain = {"flip": False, "pad": 0.0, "chunk": 1}
changes = {
    "crop": {"pad": 0.125},
    "flip": {"flip": True},
    "RandAugment": {"rand_ops": 2, "rand_magnitude": 9},
    "MixUp": {"mixup": 1.0},
    "CutMix": {"cutmix": 1.0},
}
pre = Preprocessing(S, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
figure, axes = plt.subplots(3, 6, figsize=(WIDTH, 4.3))
for row, picture in enumerate(three):
    draw_image(axes[row, 0], picture / 255, "as it is" if row == 0 else None)
for column, (title, change) in enumerate(changes.items(), start=1):
    augment = Augment(Recipe(**{**plain, **change}), pre, num_classes=3)
    changed = augment.images(three, S, step=8)  # (3, 3, S, S) uint8
    reseed(6, title)
    changed, targets = augment.mix(changed / 255, torch.arange(3))
    for row, ax in enumerate(axes[:, column]):
        draw_image(ax, changed[row], title if row == 0 else None)
        if targets.ndim == 2:
            assert_close(targets[row].sum(), torch.tensor(1.0))
            shares = [(w, name) for w, name in zip(targets[row].tolist(), names, strict=True) if w]
            text = "\n".join(f"{w:.2f} {name}" for w, name in sorted(shares, reverse=True))
            ax.set_xlabel(text, fontsize=7, labelpad=2)
plt.show()

# %% [markdown]
# *Crop* pads the picture with an even colour and cuts out a window. *Flip* mirrors it half of the time, and here only
# the second. *RandAugment* (Cubuk et al., 2020) picks some operations from a list (turn, shear, shift, contrast,
# solarise and so on) and applies them at a given strength. *MixUp* (Zhang et al., 2018) lays two pictures over each
# other. *CutMix* (Yun et al., 2019) pastes a part of one into the other. The last two change the label, too: the
# target is no longer a class but a share of two. All of it is `torchvision.transforms.v2`.
#
# Do they really leave the class as it is? That is a question about your classes, and no library can answer it. An
# arrow in a mirror is still an arrow, so `flip` is harmless for `shapes`. It would be wrong if the classes were “left
# arrow” and “right arrow”. Characters show it best.


# %% jupyter={"source_hidden": true} predict="Mirror a b, and turn a 6 upside down. Which labels are right now?"
def glyph(*rows):
    return torch.tensor([[character == "#" for character in row] for row in rows])


b = glyph("#...", "#...", "###.", "#..#", "###.")
d = glyph("...#", "...#", ".###", "#..#", ".###")
six = glyph("####", "#...", "####", "#..#", "####")
nine = glyph("####", "#..#", "####", "...#", "####")
for row in range(5):
    print("   ".join("".join("#" if on else "." for on in picture[row]) for picture in (b, d, six, nine)))
print("b in the mirror is d:", torch.equal(b.flip(1), d))
print("6 turned by 180° is 9:", torch.equal(six.rot90(2), nine))
assert torch.equal(b.flip(1), d)
assert torch.equal(six.rot90(2), nine)

# %% [markdown]
# Train a reader of characters with `flip`, and half of its b's are labelled wrongly. No error is raised, and the loss
# still falls. For each operation ask: could a person who sees only the changed picture still name its class?

# %% [markdown] anchor="noise-inside" tags=["deeper"]
# ### Noise inside the model
#
# Augmentation changes pictures at random. *Stochastic depth* does so with the model: in training, branches of blocks
# are left out, so that for every picture a somewhat shallower network has to answer. [Lesson
# 4](04_encoder.ipynb#stochastic-depth) shows how. In a recipe it is the field `drop_path_rate` among the model's
# options, and the CIFAR-10 run below has it.

# %% [markdown] anchor="loss"
# ## The loss, before the first step
#
# The loss is the cross-entropy of [lesson 5](05_model.ipynb#untrained): minus the logarithm of the probability that the
# model gave to the right class. Written with the logits $s$ and the label $y$ it is
#
# $$
# \ell(s, y) = -\ln \frac{e^{s_y}}{\sum_k e^{s_k}} = \ln \sum_k e^{s_k} - s_y .
# $$

# %%
torch.manual_seed(0)
model = create_model("vit_nano_4").eval()
with torch.no_grad():
    s = model(x)  # (64, 10)
mine = s.exp().sum(1).log() - s.gather(1, y[:, None])[:, 0]  # (64,)
assert_close(mine.mean(), F.cross_entropy(s, y))
print(f"before the first step: {mine.mean():.3f};  ln 10 = {math.log(10):.3f}")

# %% [markdown]
# Lesson 5 explained why it begins near $\ln K$. Check this number before every training run. It takes a second, and a
# value far off means that the head is too loud, or that labels and logits do not match. A value near it does not clear
# you: shuffled labels start here, too, and so do probabilities taken for logits.

# %% [markdown] anchor="label-smoothing" tags=["deeper"]
# ### Less than certainty
#
# *Label smoothing* (Szegedy et al., 2016) asks for a little less than certainty. The target gives the right class
# $1 - \varepsilon + \varepsilon/K$ and each other class $\varepsilon/K$.

# %%
eps, K = 0.1, 10
target = (1 - eps) * F.one_hot(y, K) + eps / K  # (64, 10)
smooth = -(target * s.log_softmax(1)).sum(1).mean()
assert_close(smooth, F.cross_entropy(s, y, label_smoothing=eps))
least = -(target[0] * target[0].log()).sum()  # when the prediction is the target itself
print("target of one picture:", [round(t, 2) for t in target[0].tolist()])
print(f"the smallest loss there is: {least:.3f}")
assert abs(F.cross_entropy(target.log(), y, label_smoothing=eps) - least) < 1e-5

# %% [markdown]
# Notice the last line. With smoothed targets even a perfect model has a loss, the entropy of the target. A training
# loss means little unless you know the smallest value that it can take.

# %% [markdown] anchor="one-batch"
# ## Learn one batch by heart
#
# Here is the cheapest test of a training program, known as “overfit one batch”. Take one batch, here 32 pictures,
# and train on nothing else. The model has thousands of weights for each of them and can learn the labels by heart, so
# the loss must go to zero in seconds. If it does not, the program is broken, and there is no need to wait for the long
# run to tell you.
#
# We do it three times. Once correctly; once without `zero_grad`, so that gradients pile up from step to step; and
# once with the labels shuffled, so that they no longer belong to their pictures.


# %%
def learn_by_heart(labels, zero_grad=True, steps=60):
    torch.manual_seed(0)
    model = create_model("vit_nano_4", depth=2, embed_dim=96)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    curve = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x[:32]), labels)
        if zero_grad:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    with torch.no_grad():
        hits = (model(x[:32]).argmax(1) == labels).sum().item()
    return curve, hits


# %% jupyter={"source_hidden": true} predict="Which of the three learn their 32 pictures by heart?"
shuffled = y[torch.randperm(32, generator=torch.Generator().manual_seed(0))]
heart = {
    "correct": learn_by_heart(y[:32]),
    "without zero_grad": learn_by_heart(y[:32], zero_grad=False),
    "labels shuffled": learn_by_heart(shuffled),
}
for name, (curve, hits) in heart.items():
    print(f"{name:18} loss below 0.1: {curve[-1] < 0.1!s:5}  all 32 right: {hits == 32}")

# %% alt="Loss over sixty steps, three curves that start near 2.3, at a dashed line marked ln 10. The correct one and the one with shuffled labels both fall to zero. The one without zero_grad falls a little, turns round and ends higher than it began or near there." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.5))
for (name, (curve, _)), color in zip(heart.items(), (CYCLE[0], ACCENT, CYCLE[2]), strict=True):
    ax.plot(curve, label=name, color=color)
ax.axhline(math.log(10), color=INK, linewidth=1, linestyle="--", label="ln 10")
ax.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# > **Common mistake.** Forgetting `optimizer.zero_grad()`. PyTorch adds each gradient to the last. Every step then
# > follows the sum of all gradients since the beginning, and most of them belong to weights of long ago.
#
# One batch finds it at once. It does *not* find the shuffled labels. Nonsense can be learned by heart as easily as
# sense, in about as many steps. So the test says that gradients flow, that the optimiser has the right parameters,
# and that the loss is the right way round. It says nothing about whether the labels are true. For that you need
# pictures which the model has not seen, and we come back to it [further down](#reading).

# %% [markdown] anchor="adamw"
# ## One step of AdamW
#
# Plain gradient descent moves each parameter by its gradient times the learning rate. How large are the gradients of
# our model? They are spread over several powers of ten, so no single learning rate suits them all. *Adam* (Kingma and
# Ba, 2015) divides each gradient by its own recent size. It keeps two running averages for every parameter, $m$ of
# the gradient $g$ and $v$ of its square:
#
# $$
# m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
# \theta \leftarrow \theta - \eta \left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda \theta \right) .
# $$
#
# Here $\theta$ is the parameter and $\eta$ the learning rate. $\beta_1$ and $\beta_2$ say how slowly the averages
# forget, and $\epsilon$ only keeps us from dividing by zero. Both averages begin at zero and are too small at first.
# The hats repair that: $\hat m = m / (1 - \beta_1^t)$ and $\hat v = v / (1 - \beta_2^t)$ at step $t$. The term
# $\lambda\theta$ is *weight decay*: it pulls every weight a little towards zero, and $\lambda$ says how strongly. That
# it stands outside of the fraction is the W in AdamW (Loshchilov and Hutter, 2019).


# %%
@torch.no_grad()
def adamw(p, g, m, v, t, lr, decay, b1=0.9, b2=0.99, eps=1e-8):
    p.mul_(1 - lr * decay)
    m.mul_(b1).add_((1 - b1) * g)
    v.mul_(b2).add_((1 - b2) * g**2)
    p.sub_(lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps))


# %% [markdown]
# Five lines. We give them and PyTorch's the same gradients for three steps, and look at the first step of one matrix.

# %% jupyter={"source_hidden": true}
torch.manual_seed(0)
model = create_model("vit_nano_4", depth=2)
params = list(model.parameters())
copies = [p.detach().clone() for p in params]
memory = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
lr = 1e-3
optimizer = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.99), weight_decay=0.05)
for t in (1, 2, 3):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    for p, copy, (m, v) in zip(params, copies, memory, strict=True):
        before = copy.clone()
        adamw(copy, p.grad, m, v, t, lr, 0.05)
        if t == 1 and p is model.blocks[0].mlp.fc1.weight:
            gradient = p.grad.flatten().clone()
            moved = (copy - before * (1 - lr * 0.05)).flatten()  # without the decay
    optimizer.step()
    for p, copy in zip(params, copies, strict=True):
        assert_close(copy, p.detach())
print("three steps, all", len(params), "tensors: equal to torch.optim.AdamW")
print(f"gradients of one matrix: from {gradient.abs().quantile(0.01):.0e} to {gradient.abs().max():.0e}")
in_rates = moved.abs() / lr
print(f"moved by, in learning rates: from {in_rates.quantile(0.01):.2f} to {in_rates.max():.2f}")

# %% alt="Two histograms of the same matrix on one logarithmic axis. The sizes of its gradients form a wide hump that spans several powers of ten. The distances that AdamW moved its weights in the first step, in learning rates, form a single spike at one." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.3))
bins = torch.linspace(-6.5, 0.5, 71)
ax.hist(gradient.abs().log10(), bins=bins.tolist(), color=CYCLE[0], alpha=0.8, label="gradient")
share = torch.histc(in_rates.log10(), 70, -6.5, 0.5)
height = share / share.max() * torch.histc(gradient.abs().log10(), 70, -6.5, 0.5).max()
ax.bar(bins[:-1], height, 0.1, align="edge", color=ACCENT, label="first step, in learning rates")
ax.set(xlabel="size", yticks=[], xticks=range(-6, 1), xticklabels=[f"$10^{{{e}}}$" for e in range(-6, 1)])
ax.spines["left"].set_visible(False)
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# (The two are scaled to the same height.) In the first step $\hat m = g$ and $\hat v = g^2$, so every weight moves by
# one learning rate, up or down, whatever its gradient. That explains two things. The learning rate has a plain
# meaning: it is, roughly, how far a weight may go in one step. And the first step is reckless: it trusts the sign of a
# single batch in every one of its weights. Later $m$ averages over many batches, weights whose gradients keep changing
# sign move less, and $v$ knows what size is normal.

# %% [markdown] anchor="decay" tags=["deeper"]
# ### What should decay
#
# Should everything decay? Matrices should. A bias or the scale of a norm has no reason to be near zero, and neither
# have positions and the class token. So the parameters go to the optimiser in two groups.

# %% jupyter={"source_hidden": true}
model = create_model("vit_nano_4")
groups = parameter_groups(model, get_recipe("shapes").weight_decay)
for group in groups:
    tensors = group["params"]
    count = sum(p.numel() for p in tensors)
    print(f"decay {group['weight_decay']:<5} {len(tensors):3} tensors, {count:8,} parameters")
assert sorted(id(p) for g in groups for p in g["params"]) == sorted(map(id, model.parameters()))  # each once
assert count < 0.03 * sum(p.numel() for p in model.parameters())

# %% [markdown]
# Nearly all parameters are in matrices. The paper's settings are not far from ours. Our $\beta_2$ is 0.99, so that $v$
# forgets sooner: our runs are short, and with 0.999 it would still average over the last thousand steps or so.
#
# > **The paper.** “We train all models, including ResNets, using Adam (Kingma & Ba, 2015) with $\beta_1 = 0.9$,
# > $\beta_2 = 0.999$, a batch size of 4096 and apply a high weight decay of 0.1, which we found to be useful for
# > transfer of all models” (section 4.1)

# %% [markdown] anchor="schedule"
# ## Warm-up, then a cosine
#
# So the first steps should be small, because Adam's averages rest on few batches. This is *warm-up*: the learning
# rate rises in a straight line. And the last steps should be small, because near the end one wants to settle and not
# to jump about. Between the two we let half a cosine fall. With $\tau$ the part of the run that is over and $w$ the
# part for warming up,
#
# $$
# \eta(\tau) = \eta_{max}\, \frac{\tau}{w} \quad (\tau < w), \qquad
# \eta(\tau) = \eta_{min} + \frac{\eta_{max} - \eta_{min}}{2} \left( 1 + \cos \pi \frac{\tau - w}{1 - w} \right) .
# $$


# %%
def learning_rate(tau, peak, least, w):
    if tau < w:
        return peak * tau / w
    return least + (peak - least) / 2 * (1 + math.cos(math.pi * (tau - w) / (1 - w)))


# %% alt="The learning rate of two recipes over the part of the run that is over. Both rise in a steep straight line over the first twentieth and then fall along half a cosine to nearly zero. One peaks at 0.003, the other far lower, at 0.0007." jupyter={"source_hidden": true}
taus = torch.linspace(0, 1, 401).tolist()
for name in ("shapes", "cifar10"):
    r = get_recipe(name)
    print(f"{name:8} peak {r.lr}, least {r.min_lr}, warm-up {r.warmup:.0%} of {r.epochs} epochs")
    for tau in taus:
        assert math.isclose(learning_rate(tau, r.lr, r.min_lr, r.warmup), r.lr_at(tau), abs_tol=1e-12)

figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.2))
for name in ("cifar10", "shapes"):
    ax.plot(taus, [1000 * get_recipe(name).lr_at(tau) for tau in taus], label=name)
ax.set(xlabel="part of the run that is over", ylabel="learning rate, thousandths", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# Draw your own. Predict first: when the warm-up takes half of the run, what becomes of the mean rate?
#
# <div class="vl-place" data-search-exclude><vit-live data-figure="schedule">On the site, with JavaScript, a live figure stands here.</vit-live></div>

# %% [markdown]
# > **The paper.** “All models are trained with a batch size of 4096 and learning rate warmup of 10k steps. For ImageNet
# > we found it beneficial to additionally apply gradient clipping at global norm 1.” (appendix B.1, Table 3)
#
# After the warm-up that table has a straight line for the two larger data sets and a cosine for ImageNet. We have not
# compared the two.

# %% [markdown] anchor="what-it-buys"
# ### What does warm-up buy?
#
# The usual story has two parts. Without warm-up a large rate ruins the first steps, and post-norm blocks
# ([lesson 4](04_encoder.ipynb#pre-post)) need it more than pre-norm blocks. We trained twelve blocks of width 48 both
# ways, with and without warm-up, at the rate of [lesson 1](01_patches.ipynb#what-it-buys) and at four times that.

# %% alt="Rows of dots, one dot for each training, over accuracy in percent. At the rate 0.001 all lie between 29 and 43, the three of each kind close together with a warm-up and far apart without. At 0.004 all four lie far to the left, between 9 and 18." jupyter={"source_hidden": true} predict="Two rates, with warm-up and without, pre-norm and post-norm. Which fail to learn?"
parts = measured("parts")["variants"]
runs = {"pre-norm, warm-up, 0.001": parts["depth-12"]["accuracy"]}
for rate in ("0.001", "0.004"):
    for norm in ("pre-norm", "post-norm"):
        for key in (f"{norm}, {start}, {rate}" for start in ("warm-up", "no warm-up")):
            runs |= {key: parts[key]["accuracy"]} if key in parts else {}
draw_runs(runs)
plt.show()

# %% [markdown] tags=["answer"]
# There is no more than a hint of the story. At the lower rate all four learn. With a warm-up the runs of each kind end
# close together. Without it they scatter, pre-norm as much as post-norm, and on average they end a little lower. But
# they overlap with the others, so three runs do not tell them apart. At four times that rate none of the four gets far
# from chance, which is 10 %, not even pre-norm with a warm-up, by the story the safest of all.
#
# That does not make the story false. Our stacks are thin, the steps are few, and our recipe cuts long gradients
# ([the loop](#loop) shows how), which guards the first steps, too. Between our two rates there may be one that is
# survived with a warm-up only. We have not looked for it. So keep the warm-up, since it costs nothing, and do not
# believe that you have seen here all that it is for.

# %% [markdown] anchor="loop"
# ## The loop
#
# Now all parts are here. The loop puts them together: take a batch, set the learning rate, compute the loss, go
# backward, shorten the gradient if it is too long, step.


# %%
def fit(recipe, data):
    reseed(recipe.seed, "weights")
    sizes = {"img_size": recipe.img_size, "num_classes": len(data.classes)}
    model = create_model(recipe.model, **sizes, **recipe.model_options)
    groups = parameter_groups(model, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)
    normalise = data.preprocessing(recipe.img_size).normalise
    per_epoch = len(data.train) // recipe.batch_size
    for step in range(recipe.epochs * per_epoch):
        epoch, place = divmod(step, per_epoch)
        g = torch.Generator().manual_seed(hashed(recipe.seed, "order", epoch))  # (1)!
        order = torch.randperm(len(data.train), generator=g)
        chosen = order[place * recipe.batch_size :][: recipe.batch_size]
        pixels, labels = data.train.batch(chosen)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at((step + 1) / (recipe.epochs * per_epoch))  # (2)!
        loss = F.cross_entropy(model(normalise(pixels)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)  # (3)!
        optimizer.step()
    return model


# %% [markdown]
# 1. The order of an epoch is a function of the seed and the epoch, and of nothing else. `hashed` turns both into one
#    seed. We shall be glad of it when the run is killed.
# 2. `step + 1`, or the first step of the warm-up would have a learning rate of zero.
# 3. All gradients together are one long vector. If its norm exceeds the limit, the vector is scaled down to it. One
#    strange batch can then not throw the model away.

# %% [markdown]
# That is a complete training program. From here on we use the package's, the class `Trainer`, which has the same loop
# and a few more things around it: augmentation, bfloat16, several processes.

# %% [markdown] anchor="same-loop" tags=["deeper"]
# ### Is it really the same loop?
#
# We switch all of these off, train twice on 256 pictures, and compare the weights.

# %%
few = MemoryImages(data.train.images[:256], data.train.labels[:256])
some = MemoryImages(data.val.images[:500], data.val.labels[:500])
small = Dataset("shapes", data.classes, few, some, None)
off = {"flip": False, "pad": 0.0, "bf16": False}
recipe = Recipe(epochs=2, batch_size=64, **off, model_options={"depth": 2})
mine = fit(recipe, small)

trainer = Trainer(recipe, small)
while trainer.step < trainer.total:
    trainer.train_step()
for p, q in zip(mine.parameters(), trainer.model.parameters(), strict=True):
    assert_close(p, q)
print(f"after {trainer.step} steps all {len(list(mine.parameters()))} tensors agree")

# %% [markdown]
# They agree. Here is the source of `Trainer.train_step`. Most of it you know by now. What is new is the size that may
# change, the loop over parts of a batch, the moving average of the weights at the end, and that there may be two
# optimisers, of which a [later section](#muon) speaks.

# %%
print(inspect.getsource(Trainer.train_step))

# %% [markdown] anchor="live"
# ## Train it
#
# No more preparation. We train on drawn pictures, while this page is being made. So that it takes seconds, we keep four
# of the ten classes, shrink the pictures to 24 pixels, and take a model of 64 components and three blocks. Chance is
# now 25 %. `train` does what `vit train` does on the command line: it makes a folder for the run, keeps the weights
# that did best on the validation pictures, and looks at the test pictures when it has finished.


# %% jupyter={"source_hidden": true}
FOUR = ("ring", "bar", "star", "heart")
drawn = load_data("shapes", img_size=24, train_size=6000)
keep = torch.tensor([drawn.classes.index(name) for name in FOUR])


def only(images, count):
    """The first so many pictures of the four classes."""
    which = torch.isin(images.labels, keep).nonzero()[:count, 0]
    return MemoryImages(images.images[which], torch.searchsorted(keep, images.labels[which]))


four = Dataset("four shapes", FOUR, only(drawn.train, 2400), only(drawn.val, 250), only(drawn.test, 250))


def special(recipe):
    """Where a recipe differs from the defaults."""
    default = asdict(Recipe())
    changes = (f"{key}={value!r}" for key, value in asdict(recipe).items() if value != default[key])
    return textwrap.fill(", ".join(changes), 100)


def read_rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


# %%
sizes = {"embed_dim": 64, "depth": 3, "num_heads": 4, "pos_embed": "sincos2d"}
sizes |= {"class_token": False, "global_pool": "avg"}
plain = {"flip": False, "pad": 0.0, "bf16": False}
plain |= {"img_size": 24, "model_options": sizes}
recipe = Recipe(epochs=6, batch_size=20, lr=2e-3, **plain)
live = work / "live"
receipt = train(recipe, live, data=four, quiet=True)
live_rows = read_rows(live)

# %% jupyter={"source_hidden": true} predict="Chance is 25 %. What does it reach in six epochs, and is training or validation ahead?"
print(special(recipe))
print("epoch    lr       training loss, accuracy   validation loss, accuracy")
for r in live_rows:
    line = f"{r['epoch']:3.0f}   {r['lr']:.6f} {r['train_loss']:12.2f} {r['train_accuracy']:10.0%}"
    print(line + f" {r['val_loss']:15.2f} {r['val_accuracy']:10.0%}")

# %% [markdown]
# It sees. Beside it we draw a run of the larger kind, which made the model `shapes` in the package: all ten classes, at
# 32 pixels, with `vit_nano_4` and eight times as many pictures. It took minutes and not seconds, so we read its
# receipt, the record that `train` writes at the end of every run.

# %% jupyter={"source_hidden": true}
full = SHIPPED["shapes"]
full_receipt = json.loads((full / "receipt.json").read_text())
for name, one in (("live", receipt), ("full", full_receipt)):
    chosen = f"validation {one['best']['val_accuracy']:.0%} (epoch {one['best']['epoch']})"
    print(f"{name}: {one['images']['train']:6,} pictures, {chosen}, test {one['test_accuracy']:.0%}")
print(
    f"the full run took {full_receipt['wall_seconds']:.0f} s on {full_receipt['hardware']['threads']} threads"
)
print(textwrap.fill("a receipt has: " + ", ".join(full_receipt), 100))

# %% alt="Four panels: loss above and accuracy below, over the thousands of pictures seen, the live run on the left and the full run on the right. All curves start at chance, dashed. In the live run nothing changes in the first epoch; then training and validation improve quickly and together, and validation falls behind a little at the end. In the full run validation is ahead of training at first, and both end close to perfect." jupyter={"source_hidden": true}
runs = {"live": (live_rows, receipt), "full": (read_rows(full), full_receipt)}
figure, axes = plt.subplots(2, 2, figsize=(WIDTH * 0.9, 3.6), sharex="col", sharey="row")
for (name, (history, one)), (above, below) in zip(runs.items(), axes.T, strict=True):
    K = len(one["classes"])
    seen = [0] + [r["step"] * one["recipe"]["batch_size"] / 1000 for r in history]
    for part, color in (("train", CYCLE[0]), ("val", ACCENT)):
        marks = {"color": color, "marker": ".", "label": "training" if part == "train" else "validation"}
        above.plot(seen, [math.log(K)] + [r[f"{part}_loss"] for r in history], **marks)
        below.plot(seen, [100 / K] + [100 * r[f"{part}_accuracy"] for r in history], **marks)
    for ax, chance in ((above, math.log(K)), (below, 100 / K)):
        ax.axhline(chance, color=INK, linewidth=0.8, linestyle="--")
    above.set_title(f"{name}: {K} classes")
    below.set(xlabel="pictures seen, thousands")
axes[0, 0].set(ylabel="loss", ylim=(0, None))
axes[1, 0].set(ylabel="accuracy, %", ylim=(0, 102))
axes[0, 1].legend(loc="upper right")
plt.show()

# %% [markdown]
# In the first epochs validation is *ahead* of training, and that is no mistake. The training numbers are averages over
# an epoch, in which the model was getting better; the validation numbers are measured at its end. Only when the model
# hardly changes any more can the two be compared.
#
# The live run ends lower than the full one. It had fewer pictures, smaller ones, a smaller model, and fewer steps until
# the learning rate was used up. We changed all of these at once, so it does not tell us which of them matters more.
#
# The table also shows a slow start. In the first epoch almost nothing happens, and a less patient person would have
# stopped. A loss that does not move yet and a loss that never will look alike. That is why one learns a batch by heart
# first.

# %% [markdown] anchor="reading"
# ## Reading curves
#
# A run that works is easy to read. What do the others look like? Here are four that went wrong, with the pictures of
# the live run or 200 of them, and, but for one, with its model. To watch them would teach nothing, so they were
# trained beforehand, by `benchmarks/curves.py`, and their curves come with the package. Their recipes are there as
# well. So we can repeat the beginning of one, with 200 pictures, and see whether it is the same here.

# %% jupyter={"source_hidden": true}
stored = measured("curves")
bad = stored["cases"]
little = Dataset("little", FOUR, only(drawn.train, 200), four.val, None)
trainer = Trainer(Recipe(**bad["200 pictures"]["recipe"]), little)
for epoch in range(3):
    for _ in range(trainer.per_epoch):
        trainer.train_step()
    now, then = trainer.end_epoch()[0]["train_loss"], bad["200 pictures"]["train_loss"][epoch]
    print(
        f"epoch {epoch + 1} of {trainer.recipe.epochs}: training loss {now:.2f} here, {then:.2f} in the file"
    )
    assert abs(now - then) < 0.02
print(f"measured on {stored['machine']['device']}, {stored['machine']['threads']} thread(s):")
print("after the last epoch   training accuracy   validation accuracy   CPU seconds")
for name, case in bad.items():
    shown = f"{case['train_accuracy'][-1]:17.0%} {case['val_accuracy'][-1]:21.0%} {case['cpu_seconds']:13.0f}"
    print(f"{name:22} {shown}")
last = {
    name: {key: case[key][-1] for key in ("train_accuracy", "val_accuracy")} for name, case in bad.items()
}
assert live_rows[-1]["val_accuracy"] > last["200 pictures"]["val_accuracy"] + 0.15
assert last["200 pictures"]["train_accuracy"] > 0.9
assert last["shuffled labels"]["train_accuracy"] > 0.9
assert last["shuffled labels"]["val_accuracy"] < 0.36

# %% alt="Five columns of curves, loss above and accuracy below. Live, 2,400 pictures: training and validation improve together. 200 pictures: training loss falls to about 0.2 and validation loss rises far; training accuracy reaches the top, validation accuracy stays low. Shuffled labels: the same, but validation accuracy stays at chance. Small model: the two curves start late, level off halfway and end a little apart. High rate: both stay at chance." jupyter={"source_hidden": true}
curves = {"live, 2,400": {key: [row[key] for row in live_rows] for key in live_rows[0]}, **bad}
figure, axes = plt.subplots(2, 5, figsize=(WIDTH, 3.3), sharey="row", sharex="col")
for (name, case), (above, below) in zip(curves.items(), axes.T, strict=True):
    epochs = range(1, len(case["train_loss"]) + 1)
    for part, color in (("train", CYCLE[0]), ("val", ACCENT)):
        label = "training" if part == "train" else "validation"
        above.plot(epochs, case[f"{part}_loss"], color=color, label=label)
        below.plot(epochs, [100 * value for value in case[f"{part}_accuracy"]], color=color)
    above.set_title(name, fontsize=9)
    above.axhline(math.log(4), color=INK, linewidth=0.8, linestyle="--")
    below.axhline(25, color=INK, linewidth=0.8, linestyle="--")
    below.set(xlabel="epoch", xlim=(0, len(epochs)), xticks=(0, len(epochs)))
axes[0, 0].set(ylabel="loss", ylim=(0, 4))
axes[1, 0].set(ylabel="accuracy, %", ylim=(0, 103))
axes[0, 0].legend(loc="upper left", fontsize=7.5)
plt.show()

# %% [markdown]
# Dashed lines are even odds. The *live* run, with 2,400 pictures, is what one hopes for: both curves improve, and
# validation a little less.
#
# *200 pictures* is **overfitting**. Training becomes nearly perfect, and for validation the loss turns round and rises,
# higher than it began. The accuracy hardly falls meanwhile. So the model is not wrong more often. It is wrong with more
# and more confidence, because it has learned these pictures and not the outlines. More pictures help, or augmentation.
# Stopping early saves at least the best epoch.
#
# *Shuffled labels* looks like more of the same, and that makes it dangerous. From two hundred pictures with true labels
# so little carries over that the two columns are hard to tell apart. With more pictures they part. Zhang et al. (2017)
# did this to ImageNet, and large networks learned the nonsense by heart.
#
# > **Common mistake.** Pictures in one order, labels in another, because one list of files was sorted and the other
# > was not. Learning one batch by heart does not find it. Only unseen pictures do.
#
# *Small model* is **underfitting**: training itself levels off far below the first column, although this model has
# looked at the same pictures more often, and validation is not far behind. It has one block of half the width. More
# pictures could not lift training above what such a model is able to learn. *High rate* is another illness. The first
# steps have thrown the weights so far that nothing is learned any more.
#
# Be careful with diagnoses. The last two columns begin alike: for some epochs nothing happens in either. Curves
# say *that* something is wrong. What it is you find out by changing one thing and training again.

# %% [markdown] anchor="muon" tags=["deeper"]
# ## A step made for matrices
#
# AdamW treats a matrix as a heap of numbers and gives each its own step. But nobody uses those numbers singly. A matrix
# is a map: it turns the vector of a token into another one. What does a step of AdamW do to the map?
#
# Any matrix can be written as $U S V^\top$. The columns of $U$ have length one and are at right angles, so are those of
# $V$, and $S$ is diagonal, without negative numbers. The matrix takes the part of a vector that lies along each column
# of $V$, stretches it by a number of $S$, a *singular value*, and lays it along a column of $U$. So the singular values
# of a step say how far it moves each direction.
#
# *Muon* (Jordan et al., 2024) makes them alike. It averages the gradient as Adam does, and then replaces all singular
# values by ones, as nearly as it can: $U S V^\top$ becomes about $U V^\top$. No decomposition is needed for it. If $X =
# U S V^\top$, then $a X + b\, X X^\top X + c\, (X X^\top)^2 X$ has the same $U$ and $V$, and each singular value $s$
# has become $a s + b s^3 + c s^5$. One such round is three matrix products, and `orthogonalise` makes five. First it
# divides the matrix by its norm, so that no singular value exceeds 1.
#
# We write it down, train the matrices of two blocks with it for thirty batches, and hold it against PyTorch's. Then we
# look at one matrix: at its last gradient, and at the steps of Muon and of AdamW from the same gradients.


# %%
def orthogonalise(g, rounds=5):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = (g.T if g.shape[0] > g.shape[1] else g).bfloat16()  # (short side, long side)
    x = x / x.norm()
    for _ in range(rounds):
        s = x @ x.T
        s = torch.addmm(s, s, s, beta=b, alpha=c)  # b·s + c·s@s
        x = torch.addmm(x, s, x, beta=a)  # a·x + s@x
    return (x.T if g.shape[0] > g.shape[1] else x).float()


@torch.no_grad()
def muon(w, g, m, lr, decay, mu=0.95):
    m.lerp_(g, 1 - mu)  # the running average of the gradient
    step = orthogonalise(g.lerp(m, mu))  # with a little more of the newest
    w.mul_(1 - lr * decay)
    w.sub_(lr * 0.2 * math.sqrt(max(w.shape)) * step)


# %% jupyter={"source_hidden": true}
torch.manual_seed(0)
model = create_model("vit_nano_4", depth=2)
matrices = hidden_matrices(model)
copies = [(w.detach().clone(), torch.zeros_like(w)) for w in matrices]
watched = [w is model.blocks[0].mlp.fc1.weight for w in matrices].index(True)
first = second = torch.zeros_like(matrices[watched])  # AdamW's two averages, for the comparison
others = torch.optim.AdamW(parameter_groups(model, 0.05, apart=matrices), lr=lr, betas=(0.9, 0.99))
optimizer = torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
for t in range(1, 31):
    pixels, labels = data.train.batch(torch.arange(64 * (t - 1), 64 * t))
    others.zero_grad()
    optimizer.zero_grad()
    F.cross_entropy(model(preprocessing.normalise(pixels)), labels).backward()
    g = matrices[watched].grad.clone()
    first, second = first.lerp(g, 0.1), second.lerp(g**2, 0.01)
    for w, (copy, m) in zip(matrices, copies, strict=True):
        muon(copy, w.grad, m, lr, 0.05)
    others.step()
    optimizer.step()
    for w, (copy, _) in zip(matrices, copies, strict=True):
        assert_close(copy, w.detach(), rtol=0, atol=0.02 * lr)
steps = {
    "gradient": g,
    "AdamW": (first / (1 - 0.9**t)) / ((second / (1 - 0.99**t)).sqrt() + 1e-8),
    "Muon": orthogonalise(g.lerp(copies[watched][1], 0.95)),
}
values = {name: torch.linalg.svdvals(step) for name, step in steps.items()}  # (128,) each, falling
tenth = len(values["Muon"]) // 10
print(f"{len(matrices)} matrices, {t} steps: as torch.optim.Muon")
shares = {name: (s[:tenth].square().sum() / s.square().sum()).item() for name, s in values.items()}
for name, one in shares.items():
    print(f"{name:9} the largest {tenth} of {len(values[name])} directions have {one:.1%}")
assert shares["gradient"] > shares["AdamW"] > 0.9 > 0.6 > shares["Muon"]

# %% [markdown]
# The share is that of the sum of all squared singular values, which is also the sum of all squared entries. The
# gradient has next to all of it in a few directions. AdamW's step hardly has less: making the *numbers* alike in size
# does much less for the *directions*. Whatever there is to learn along the others is learned slowly. Muon's step is
# spread over far more of them.
#
# Why not over all? What do five rounds do to a number between 0 and 1?

# %% alt="Two panels. Left, what the rounds make of singular values from 0 to 1: one round gives a broad arch up to 1.2, five give a curve that shoots almost vertically up to 1.2 and then swings between about 0.7 and 1.1. Right, on a logarithmic axis, 128 singular values in falling order, divided by the largest: the gradient's drop by more than five powers of ten, those of AdamW's step by nearly three, of Muon's slowly and by one and a half." jupyter={"source_hidden": true}
s = torch.linspace(0, 1, 501, dtype=torch.float64)
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
once = lambda s: 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
curve = s
for i in range(1, 6):
    curve = once(curve)
    if i in (1, 5):
        color, name = (FAINT, "one round") if i == 1 else (CYCLE[0], "five rounds")
        left.plot(s, curve, color=color, label=name)
left.plot(s, s, color=INK, linewidth=1, linestyle="--", label="unchanged")
left.set(xlabel="singular value", ylabel="becomes", xlim=(0, 1), ylim=(0, 1.3))
left.legend(loc="lower right", fontsize=7.5)
for (name, value), color in zip(values.items(), (FAINT, ACCENT, CYCLE[0]), strict=True):
    right.semilogy(range(1, len(value) + 1), value / value[0], color=color, label=name)
right.set(xlabel="direction, the largest first", ylabel="of the largest", ylim=(1e-5, 2))
right.legend(loc="lower left", fontsize=7.5)
plt.show()
big = curve[s >= 0.01]
print(f"from 0.01 on, five rounds end between {big.min():.2f} and {big.max():.2f}")
assert big.min() > 0.6
assert big.max() < 1.25

# %% [markdown]
# Not at 1, but near it. The authors chose the three numbers for a steep start and not for precision, because small
# values must be lifted far in few rounds. What is very small stays small even so: that is where Muon's line falls in
# the right panel.
#
# Which size should such a step have? A matrix whose singular values are all 1 has entries of about
# $1/\sqrt{\max(\text{out}, \text{in})}$. The factor $0.2 \sqrt{\max(\text{out}, \text{in})}$ makes that 0.2 learning
# rates. Liu et al. (2025) observed that AdamW's steps are usually of 0.2 to 0.4. So one learning rate and one decay can
# serve both optimisers.
#
# Both are needed. Positions, the class token, biases and norms are no maps, and the patch projection and the head stay
# with AdamW as well, as Muon's authors advise. (They also advise to treat queries, keys and values as three matrices.
# Our layer holds them in one, and we leave it so.) Muon remembers one number for each weight, Adam two. Its products
# cost time:

# %% jupyter={"source_hidden": true}
r = get_recipe("cifar10")
for size in (r.low_size, r.img_size):
    model = create_model(r.model, img_size=size, **r.model_options)
    sides = [sorted(w.shape) for w in hidden_matrices(model)]
    extra = sum(5 * (2 * short**2 * long + short**3) for short, long in sides)
    usual = 3 * r.batch_size * sum(count_macs(model.config).values())  # backward counts as two forward
    print(
        f"{size} pixels: a step is {usual / 1e9:.1f} billion multiply-accumulates; Muon adds {extra / usual:.0%}"
    )
    assert 0.02 < extra / usual < 0.25

# %% [markdown]
# Is it worth that? It is a question for *pilots*: short runs on the real data, judged on validation. Here are twelve,
# made before the long run of the next section: two seeds each with three learning rates for either optimiser, with
# `vit_nano_4` and no augmentation but crop and flip.

# %% alt="Validation accuracy of short CIFAR-10 runs over the learning rate. Two seeds are dots, and each optimiser has a line through their means. AdamW's line stays around 50 percent and is highest at 0.001; Muon's begins above it, is highest at 0.003 and falls a little at 0.006." jupyter={"source_hidden": true}
pilots = measured("pilots")
cases = list(pilots["cases"].values())
print(
    f"{len(cases)} runs of {cases[0]['steps']} steps, {pilots['recipe']['img_size']} pixels; mean of the seeds:"
)
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.6))
best, worst = {}, {}
for (key, name), color in zip({"adamw": "AdamW", "muon": "Muon"}.items(), (ACCENT, CYCLE[0]), strict=True):
    mine = [(f"{c['lr']:g}", 100 * c["val_accuracy"], c["seconds"]) for c in cases if c["optimizer"] == key]
    rates, scores, seconds = zip(*mine, strict=True)
    ax.plot(rates, scores, ".", color=color)
    means = {rate: statistics.mean(v for one, v, _ in mine if one == rate) for rate in rates}
    ax.plot(means.keys(), means.values(), color=color, label=name)
    best[key], worst[key] = max(means.values()), min(means.values())
    shown = ", ".join(f"{rate}: {v:.1f}%" for rate, v in means.items())
    print(f"{name:6} {shown}; {statistics.mean(seconds):.0f} s a run")
ax.set(xlabel="learning rate", ylabel="validation accuracy, %")
ax.legend()
plt.show()
assert worst["muon"] > best["adamw"]
assert {c["steps"] for c in cases} == {900}

# %% [markdown]
# After 900 steps even the worst of Muon's rates is ahead of AdamW's best. The comparison is by steps, and a step
# of Muon takes longer, as the seconds say. It says who is ahead early, and not who would be at the end. We judged the
# lead to be worth the seconds: the recipe for CIFAR-10 has Muon, and the rate in the middle.
#
# Know what a pilot cannot tell. A short run favours what learns fast, whether or not it would end higher. Augmentation
# makes a run worse at first and better at the end, so a pilot of two or three epochs would always advise against it.
# How much of it a long run needs, only a long run shows.

# %% [markdown] anchor="cifar10"
# ## Real photographs
#
# Drawn shapes prove that the program works. What can such a model do with photographs? The second model in the
# package was trained on CIFAR-10: 32 × 32 pixels, ten classes of animals and vehicles. Our copy of the data set is a
# JPEG copy, with some loss of quality, so do not compare the last digits with results on the original. The run took
# far too long to repeat here, but it has left its receipt.

# %% jupyter={"source_hidden": true}
folder = SHIPPED["cifar10"]
receipt = json.loads((folder / "receipt.json").read_text())
rows = read_rows(folder)
r = Recipe(**receipt["recipe"])
n, p = receipt["images"]["test"], receipt["test_accuracy"]
print(special(r))
print("CIFAR-10, JPEG copy:", ", ".join(f"{count:,} {part}" for part, count in receipt["images"].items()))
print(
    f"{receipt['parameters']:,} parameters, {len(rows)} epochs, the best is number {receipt['best']['epoch']}"
)
print(f"{receipt['wall_seconds'] / 60:.0f} minutes on {receipt['hardware']['cores']} CPU cores")
print(f"validation {receipt['best']['val_accuracy']:.2%}, test {p:.2%} ± {math.sqrt(p * (1 - p) / n):.2%}")
assert math.isclose(max(row["val_accuracy"] for row in rows), receipt["best"]["val_accuracy"], abs_tol=1e-5)

# %% [markdown]
# The ± is the standard deviation that the choice of test pictures alone would cause, $\sqrt{p(1-p)/n}$. Another seed
# would add its own, and this was one run with one seed.
#
# More is possible at this size: Lee et al. (2021) report 93.6 % on the original CIFAR-10 for a plain Vision Transformer
# of the same width and depth, with a hundred epochs and stronger augmentation.

# %% [markdown] anchor="cifar10-curves" tags=["deeper"]
# ### When training and validation are not measured alike
#
# How should this run's curves be read? Some of the batches are mixed, and all targets are smoothed. So even a perfect
# model has a training loss far above zero. How far? The least loss is the entropy of the targets, and targets are
# cheap: we draw a hundred batches of them, without any pictures.

# %% jupyter={"source_hidden": true}
augment = Augment(r, Preprocessing(**receipt["preprocessing"]), num_classes=10)
reseed(0, "targets")
entropies = []
for _ in range(100):
    _, t = augment.mix(torch.zeros(128, 3, 32, 32), torch.randint(10, (128,)))
    t = t if t.ndim == 2 else F.one_hot(t, 10).float()
    t = (1 - r.label_smoothing) * t + r.label_smoothing / 10  # (128, 10)
    entropies.append(-(t * t.log()).sum(1).mean())
floor = torch.stack(entropies).mean().item()
print(f"mixed: {r.mix_prob:.0%} of the batches; the least training loss: {floor:.2f}")

# %% alt="Three panels over the epochs, thick lines for the shipped run and thin ones for an earlier run. Loss: all fall, validation far below training, with a dashed line for the least training loss. Accuracy: in thick lines validation stays above training, which reaches it at the end; in thin lines training overtakes it. Learning rate: a short rise, then a cosine. A dotted line marks where pictures grow from 24 to 32 pixels." jupyter={"source_hidden": true}
earlier = read_rows(folder / "weaker")
weaker = json.loads((folder / "weaker" / "receipt.json").read_text())["recipe"]
grow = sum(row["img_size"] < r.img_size for row in rows) + 0.5
figure, axes = plt.subplots(3, 1, figsize=(WIDTH * 0.9, 5.0), sharex=True, height_ratios=(3, 3, 1.3))
for history, width in ((rows, 1.8), (earlier, 0.7)):
    column = {key: [row[key] for row in history] for key in rows[0]}
    for part, color, label in (("train", CYCLE[0], "training"), ("val", ACCENT, "validation")):
        style = {"color": color, "linewidth": width, "label": label if history is rows else None}
        for ax, what in zip(axes, ("loss", "accuracy"), strict=False):
            ax.plot(column["epoch"], column[f"{part}_{what}"], **style)
    axes[2].plot(column["epoch"], column["lr"], color=INK, linewidth=width)
axes[0].axhline(floor, color=CYCLE[0], linewidth=1, linestyle="--", label="least training loss")
for ax, name, top in zip(axes, ("loss", "accuracy", "rate"), (2.7, 1, None), strict=True):
    ax.axvline(grow, color=INK, linewidth=1, linestyle=":")
    ax.set(ylabel=name, ylim=(0, top))
axes[2].set_xlabel("epoch")
axes[0].legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()
print("the thin lines:", ", ".join(f"{k}={v}" for k, v in weaker.items() if v != receipt["recipe"][k]))
for name, history in (("thick", rows), ("thin", earlier)):
    lowest = min(history, key=lambda row: row["val_loss"])["epoch"]
    ahead = sum(row["train_accuracy"] > row["val_accuracy"] for row in history)
    best = max(row["val_accuracy"] for row in history)
    print(
        f"{name:5} validation {best:.1%}, lowest loss after {lowest:.0f} epochs, training ahead {ahead} times"
    )
others = json.loads((folder / "weaker" / "receipt.json").read_text())
for part in ("val", "test"):
    a, b = (x["best"]["val_accuracy"] if part == "val" else x["test_accuracy"] for x in (receipt, others))
    error = math.sqrt((a * (1 - a) + b * (1 - b)) / receipt["images"][part])
    print(f"{part:5} thick - thin {a - b:.2%}, standard error {error:.2%}")
    assert 0 < a - b < 2 * error

# %% [markdown]
# In the thick lines validation is better than training nearly to the end, and this time not only because of the
# averaging. The two lines measure different things. (The dashed line is for training only: validation has neither mixed
# nor smoothed targets, and falls below it.) *Training* is measured on pictures that are cropped, distorted and some of
# the time mixed, where one of two classes counts as the right one, with stochastic depth switched on ([lesson
# 4](04_encoder.ipynb#stochastic-depth)). *Validation* is measured on clean pictures with the whole model. And not quite
# with the model that is trained: with a moving average of its weights (EMA), usually better than those of any one step.
# So the gap between these lines does not measure overfitting; clean training pictures would.
#
# Now the thin lines: an earlier run with weaker augmentation. In its last quarter training accuracy, with all its
# handicaps, overtakes validation, and the validation loss turns round. This is the second column of the figure in
# [Reading curves](#reading) in a mild form: the model begins to learn its pictures by heart. (In the thick lines the
# loss turns round as well, later and by less. Both rises are too small to see here.) So we made the augmentation
# stronger, judging by these validation curves. For most of its way the new run is behind the earlier one, and it ends
# higher. By how much? By less than two standard errors, on either set, with one seed each: that may be luck. (And it
# is longer, so not all of it need be the augmentation.)
#
# The dotted line is where the pictures grow, in the shipped run. For the first part they are shrunk to 24 pixels, that
# is 36 patches and not 64, and a step costs less. Then the positions are interpolated, as in [lesson
# 2](02_positions.ipynb#other-grid), and training goes on at full size. Validation is always at 32 pixels, left of the
# line larger than what the model was trained with.

# %% [markdown] anchor="resume" tags=["deeper"]
# ## Kill it
#
# In short: Ctrl-C stops a run, `vit train --resume FOLDER` goes on, and the result is the same to the last bit. Here is
# the proof, and how it is done. A run of hours will be interrupted: by a battery, an update, or you. Nothing should be
# lost, and the result should not depend on it. So we start a short run in a process of its own, wait for its first
# epoch, and kill it with SIGTERM, the signal that a computer sends when it shuts down. (Windows has no such signal:
# there `terminate` ends a process without asking.) The recipe uses everything that is random: order, RandAugment,
# MixUp, stochastic depth.

# %% jupyter={"source_hidden": true}
settings = ["train_size=600", "epochs=8", "batch_size=50", "rand_ops=1", "mixup=0.5", "ema=0.9", "bf16=false"]
settings += ["img_size=16", "model_options.embed_dim=32", "model_options.depth=2"]
settings += ["model_options.drop_path_rate=0.2"]
killed = work / "killed"
command = [sys.executable, "-m", "vit", "train", "--quiet", "--out", str(killed)]
command += [word for setting in settings for word in ("--set", setting)]
with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
    while not (killed / "metrics.csv").exists() and process.poll() is None:  # written after the first epoch
        time.sleep(0.02)
    process.terminate()  # SIGTERM
step, asked = read_checkpoint(killed / LAST)["trainer"]["step"], os.name != "nt"
print("stopped by the signal:", process.returncode == 128 + signal.SIGTERM)
print("in the folder:", ", ".join(sorted(path.name for path in killed.iterdir())))
assert process.returncode in (0, 128 + signal.SIGTERM) or not asked
assert step > 0 or not asked
assert step <= 8 * 12

# %% [markdown]
# The process has finished the step that it was in, saved, and left. There is no receipt, because nothing is finished.
# (On Windows it could not save; what is in the folder is the checkpoint before.)
# Now we go on from the folder. On the command line that is `vit train --resume FOLDER`. And we run the same recipe
# a second time, without any interruption. How close will the two be?

# %% jupyter={"source_hidden": true}
done = train(None, killed, resume=True, quiet=True)  # the recipe is in the folder
whole = work / "whole"
train(Recipe(**done["recipe"]), whole, quiet=True)
a, b = (read_checkpoint(folder / LAST)["trainer"] for folder in (killed, whole))
same = [torch.equal(a["model"][name], b["model"][name]) for name in a["model"]]
print(f"{sum(same)} of {len(same)} tensors are equal, bit for bit, after {b['step']} steps")
assert all(same)
for one, other in zip(read_rows(killed), read_rows(whole), strict=True):
    assert {k: one[k] for k in ("step", "train_loss", "val_loss")}.items() <= other.items()

# %% [markdown]
# Not close: equal. Two ideas suffice for it. The first is that every random choice
# is a function of the seed and the step. `Trainer` keeps no state of a random number generator that would have to be
# saved and restored. It seeds a new one at every step, as our own loop did for the order. Step 30 draws the same
# crops and the same pairs for MixUp whether steps 1 to 29 were taken just now or yesterday. What remains is to save
# weights, their moving average, Adam's two memories and the number of the step. That is the checkpoint, `last.pt`.
#
# The second is that a file is either written completely or not at all. What if the power fails while the checkpoint
# is being written? It would be broken, and the one before overwritten. So it is written under another name, forced
# onto the disk, and then renamed, which the file system does in one indivisible step. The one before is kept, too, as
# `previous.pt`. A process that cannot be asked (`kill -9`, or no power) loses what happened since the last checkpoint,
# a minute at most.
#
# Ctrl-Z in the terminal pauses the run and `fg` goes on. The pause does not count in the receipt.

# %% [markdown] anchor="bias" tags=["deeper"]
# ## Why so many pictures
#
# Thousands of pictures, for ten outlines. A convolutional network is said to need fewer.
#
# > **The paper.** “Transformers lack some of the inductive biases inherent to CNNs, such as translation equivariance
# > and locality, and therefore do not generalize well when trained on insufficient amounts of data.” (section 1)
#
# A convolution looks at neighbours, because it can look at nothing else. And when the picture moves, what the
# convolution says moves along, with random weights already. That a heart on the left and a heart on the right are the
# same thing, a ViT must find out from examples, and again for many places.
#
# What is missing can also be an advantage. With enough pictures a model may find something better than what we would
# have built in. The paper's own summary is “large scale training trumps inductive bias”, and it needed 14 to 300
# million pictures to say so. [Lesson 10](10_data_and_bias.ipynb#equivariance) moves the pictures and measures what
# holds at our small sizes.

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# Two stand above, no `zero_grad` and labels that do not belong to their pictures; and two more, a superfluous softmax
# and a forgotten `eval()`, are in [lesson 5](05_model.ipynb#mistakes). Here are more that raise no error either.
#
# > **Common mistake.** Feeding the finished model pictures that are not normalised. We ask the model that we trained
# > above, once properly, once with bytes divided by 255 and nothing else.

# %% predict="Normalised it scored as in the table above. How does it do on bytes divided by 255?"
classifier = load_classifier(live)
unchanged = Preprocessing(24, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
for pre in (classifier.preprocessing, unchanged):
    accuracy = evaluate(classifier.model, four.val, pre)["accuracy"]
    print(f"mean {pre.mean[0]:.2f}, deviation {pre.std[0]:.2f}: {accuracy:.1%}")

# %% [markdown] tags=["answer"]
# It is still above chance, and that is the trap: it looks like a poor model and not like a bug. So `load_classifier`
# reads the six numbers from the weights file, and nobody can forget them.

# %% [markdown] tags=["deeper"]
# ### Two more
#
# > **Common mistake.** `torch.optim.Adam(weight_decay=...)`. That adds the decay to the gradient, *before* Adam divides
# > by the gradient's size. The division then cancels most of it.

# %%
start = torch.ones(3)
g = torch.tensor([1e-2, 1.0, 100.0])
for kind in (torch.optim.AdamW, torch.optim.Adam):
    shrunk = []
    for decay in (0.0, 0.1):
        p = nn.Parameter(start.clone())
        p.grad = g.clone()
        kind([p], lr=0.1, weight_decay=decay).step()
        shrunk.append(p.detach())
    pull = shrunk[0] - shrunk[1]
    print(f"{kind.__name__:6} pulls by", [f"{v:.4f}" for v in pull.tolist()])
    assert (pull > 5e-3).all() == (kind is torch.optim.AdamW)

# %% [markdown]
# With AdamW the decay is the learning rate times the decay times the weight, for all three alike. With Adam, in this
# first step, it has vanished: gradient and decay point the same way, and only the sign of their sum is left.
#
# > **Common mistake.** Averaging the accuracies of batches when the last batch is smaller.

# %%
correct = torch.cat([torch.ones(256), torch.zeros(4)])  # 260, the last four wrong
batch_means = torch.stack([part.mean() for part in correct.split(256)])
print(f"accuracy {correct.mean():.1%}, mean of the batches {batch_means.mean():.1%}")
assert batch_means.mean() < correct.mean() - 0.4

# %% [markdown]
# Count what is right and what there is, and divide once. `evaluate` in the package does that.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# You try 50 recipes and keep the one with the best validation accuracy, 91.0 %. The test says 90.1 %. A colleague
# suggests the recipe in second place, which may do better on the test. What do you answer?
#
# <details>
# <summary>Answer</summary>
#
# That the test pictures would then be choosing, and the number would no longer mean anything. Report 90.1 %. That it
# is lower than 91.0 % was to be expected: the validation accuracy of a winner is partly luck.
#
# </details>
#
# The training loss of a classifier with 100 classes starts at 9.2. What do you do before anything else?
#
# <details>
# <summary>Answer</summary>
#
# Stop. Even odds cost $\ln 100 \approx 4.6$, so the untrained model is confident, and wrong. Look at the scale of the
# head's weights, and at what is passed to the loss.
#
# </details>
#
# One batch can be learned by heart, the training loss of the real run falls nicely, and validation stays at chance.
# Name two explanations and an experiment that tells them apart.
#
# <details>
# <summary>Answer</summary>
#
# The training labels may not belong to their pictures, or the validation pictures are treated otherwise than the
# training pictures (not normalised, classes in another order). Evaluate on clean *training* pictures with the code for
# validation. If that is bad as well, validation is treated otherwise. If it is good, the model has learned by heart:
# look at twenty training pictures with their labels. (Too few pictures is a third explanation. The second column came
# close.)
#
# </details>
#
# Training accuracy is 72 % and validation accuracy 85 %. A friend says that this is impossible. Is it?
#
# <details>
# <summary>Answer</summary>
#
# No. The first may be measured on augmented and mixed pictures, with dropout or stochastic depth on, and averaged over
# an epoch; the second on clean pictures with all of the model, or with an average of its weights. To speak of
# overfitting, measure both in the same way.
#
# </details>
#
# You find the same photograph in the training and in the validation set, a few hundred times. Whom does it hurt?
#
# <details>
# <summary>Answer</summary>
#
# Everyone who believes the validation accuracy. A model that learns by heart looks good there. The choice of the best
# epoch leans towards overfitting, too. Sets must be split by photograph, or by whatever the photographs share: the
# same patient, the same film.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Find it with one batch.** (10 minutes, easy.) This function raises no error, and the loss does not fall. Find the
# mistake and mend it. Then `check(6, 1, fit)`.
#
# ```python
# def fit(model, x, y, steps):
#     fresh = copy.deepcopy(model)
#     optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
#     for _ in range(steps):
#         loss = F.cross_entropy(fresh(x), y)
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#     return loss.item()
# ```
#
# <details>
# <summary>Hint</summary>
#
# Whose parameters does the optimiser have?
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
# def fit(model, x, y, steps):
#     optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
#     for _ in range(steps):
#         loss = F.cross_entropy(model(x), y)  # of the model whose parameters it has
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#     return loss.item()
#
#
# assert check(6, 1, fit)
# ```
#
# The optimiser had the parameters of a model that nobody trains. It does the same when it is made before the model is
# replaced, or wrapped.
#
# </details>
#
# **2. AdamW from memory.** (20 minutes, medium.) Close this page and write `adamw(p, g, m, v, t, lr, decay)`, which
# changes `p`, `m` and `v` in place, with betas 0.9 and 0.99 and ε = 1e-8. Then `check(6, 2, adamw)`.
#
# <details>
# <summary>Hint</summary>
#
# Decay first, then the two averages, then their hats, then the step. If only later steps differ, look at the hats.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def adamw(p, g, m, v, t, lr, decay):
#     p.mul_(1 - lr * decay)
#     m.mul_(0.9).add_(0.1 * g)
#     v.mul_(0.99).add_(0.01 * g**2)
#     p.sub_(lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8))
#
#
# assert check(6, 2, adamw)
# ```
#
# </details>
#
# **3. Kill a run.** (10 minutes, easy, open.) In a terminal start `vit train --out runs/killed`, and press Ctrl-C
# after an epoch or two. Look at what is in the folder. Go on with `vit train --resume runs/killed`. What was there
# after Ctrl-C, what was not, and what would you have lost without `last.pt`?
#
# <details>
# <summary>Hint</summary>
#
# Before the run has finished there is no receipt. There are the checkpoint `last.pt`, the one before it, the log
# `metrics.csv` and the best weights so far. “Kill it” above says why nothing is lost.
#
# </details>
# <details>
# <summary>Rubric</summary>
#
# A good answer names the checkpoint and the log that were there after Ctrl-C, and the receipt that was not, whose
# `finished` is true at the end. It compares the last epoch before with the first one after. And it says what “Kill it”
# above has shown: weights alone would not do, since optimiser, schedule, average and random numbers go on, too.
#
# </details>

# %% [markdown] tags=["deeper"]
# ### Four more exercises
#
# **4. How many pictures for validation?** (30 minutes, medium; some statistics.) A thousand guessers reached far above
# chance on 200 pictures. How many pictures keep the best of a thousand guessers below 12 %, nineteen times in twenty?
# Write `reached(n, share)`: the probability that the best of them has this share of `n` right, or more. Then
# `check(6, 4, reached)`, and look for the `n`.
#
# <details>
# <summary>Hint</summary>
#
# An accuracy around $p$ on $n$ pictures has standard deviation $\sqrt{p(1-p)/n}$. The best of a thousand lies a bit
# over three of those above the mean, on average. For nineteen times in twenty you need the binomial distribution
# itself.
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
# def reached(n, share):
#     hits = torch.arange(math.ceil(share * n - 1e-9), n + 1).double()
#     chance = torch.distributions.Binomial(n, torch.tensor(0.1).double())
#     one = chance.log_prob(hits).exp().sum()
#     return (1 - (1 - one) ** 1000).item()
#
#
# rough = math.ceil(0.1 * 0.9 * (3.3 / 0.02) ** 2)  # 3.3 deviations are to be 2 %
# assert 2000 < rough < 3000 and 0.44 < reached(rough, 0.12) < 0.46
# n = next(n for n in range(2500, 5000, 25) if reached(n, 0.12) < 0.05)
# assert 3500 < n < 3700
# assert check(6, 4, reached)
# ```
#
# With 3.3 deviations, where the best of a thousand lies on average, it goes beyond 12 % in 45 of 100 cases. For one in
# twenty it takes about half as many pictures again. The error shrinks with the root of the number: to halve it, take
# four times as many. The 5,000 pictures that we keep back from CIFAR-10 allow for a good many comparisons.
#
# </details>
#
# **5. A large batch in small memory.** (20 minutes, medium.) Your memory holds 16 pictures, and the recipe says 64.
# Show that four backward passes can give the gradient of the whole batch. Write `accumulate(model, x, y, parts)`, which
# leaves that gradient in the parameters. What must be done to the loss? Then `check(6, 5, accumulate)`.
#
# <details>
# <summary>Hint</summary>
#
# `backward` adds, which was a nuisance above. Here it is what you want. The loss of a batch is a mean.
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
# def accumulate(model, x, y, parts):
#     for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
#         (F.cross_entropy(model(a), b) / parts).backward()
#
#
# assert check(6, 5, accumulate)
# ```
#
# A quarter of each loss, because four means are added. In the recipe this is `accumulate`. It works because nothing in
# a ViT mixes the pictures of a batch; with batch normalisation it would not.
#
# </details>
#
# **6. A moving average of weights.** (20 minutes, medium.) In an EMA, each step does
# $\bar\theta \leftarrow d\,\bar\theta + (1 - d)\, \theta$. How much of it is still the random start after 100 steps
# with $d = 0.99$, and why does `Trainer` begin with a smaller $d$? Write `start_share(d, steps, warm)`, where `warm`
# asks for `Trainer`'s way: in step $t = 1, 2, \dots$ it takes $\min(d, (1 + t) / (10 + t))$. Then
# `check(6, 6, start_share)`.
#
# <details>
# <summary>Hint</summary>
#
# Follow the weight of the start through the recursion: each step multiplies it by $d$. `Trainer` uses
# $\min(d, (1 + t) / (10 + t))$ at step $t$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def start_share(d, steps, warm):
#     share = 1.0
#     for t in range(1, steps + 1):
#         share *= min(d, (1 + t) / (10 + t)) if warm else d
#     return share
#
#
# assert start_share(0.99, 100, False) > 0.3  # a third has never been trained
# assert start_share(0.99, 100, True) < 1e-6
# assert check(6, 6, start_share)
# ```
#
# </details>
#
# **7. Shorten a gradient.** (20 minutes, medium.) Write PyTorch's `clip_grad_norm_` yourself, as `clip(parameters,
# limit)`, which returns the norm before clipping. What happens to the gradients' directions, and to the ratio of two of
# them? Then `check(6, 7, clip)`.
#
# <details>
# <summary>Hint</summary>
#
# One norm for all parameters together, and one factor, which is never larger than 1.
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
# def clip(parameters, limit):
#     norm = torch.stack([p.grad.square().sum() for p in parameters]).sum().sqrt()
#     for p in parameters:
#         p.grad.mul_((limit / norm).clamp(max=1.0))
#     return norm
#
#
# assert check(6, 7, clip)
# ```
#
# Directions and ratios stay. Clipping every component by itself would change both. For Adam, which divides by the
# gradient's usual size anyway, clipping matters where one batch is not like the others.
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# Training pictures change the weights, validation pictures choose, test pictures are looked at once; the best of many
# validation scores is too good. Augmentation must leave the class as it is, and only you can know whether it does.
# Before the first step the loss is $\ln K$. One batch must be learned by heart in seconds, which finds broken gradients
# but not wrong labels. AdamW's first step moves every weight by a learning rate, whatever its gradient, and its decay
# belongs outside of the fraction and on matrices only. Muon makes its steps along all directions of a matrix more
# equal. The learning rate rises first and then falls. Curves say that something is wrong and seldom what, and training
# and validation can be compared only where they are measured alike. A run whose random choices depend on seed and step,
# and whose files are renamed into place, can be killed at any time. A ViT must learn from pictures what a convolution
# has built in. Using the trained model is the subject of lesson 7.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: sections 1, 3.1 and 4.1, appendix B.1. Diederik Kingma and Jimmy
# Ba, [Adam: A Method for Stochastic Optimization](https://arxiv.org/abs/1412.6980), ICLR 2015. Ilya Loshchilov and
# Frank Hutter, [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101), ICLR 2019; the cosine is from
# their [SGDR](https://arxiv.org/abs/1608.03983), ICLR 2017. Keller Jordan et al., [Muon: An optimizer for hidden layers
# in neural networks](https://kellerjordan.github.io/posts/muon/), 2024. Jingyuan Liu et al., [Muon is Scalable for LLM
# Training](https://arxiv.org/abs/2502.16982), 2025. Ekin Cubuk et al., [RandAugment](https://arxiv.org/abs/1909.13719),
# 2020. Hongyi Zhang et al., [mixup: Beyond Empirical Risk Minimization](https://arxiv.org/abs/1710.09412), ICLR 2018.
# Sangdoo Yun et al., [CutMix](https://arxiv.org/abs/1905.04899), ICCV 2019. Christian Szegedy et al., [Rethinking the
# Inception Architecture for Computer Vision](https://arxiv.org/abs/1512.00567), CVPR 2016, section 7: label smoothing.
# Chiyuan Zhang et al., [Understanding deep learning requires rethinking
# generalization](https://arxiv.org/abs/1611.03530), ICLR 2017: random labels. Seung Hoon Lee et al., [Vision
# Transformer for Small-Size Datasets](https://arxiv.org/abs/2112.13492), 2021. Andreas Steiner et al., [How to train
# your ViT?](https://arxiv.org/abs/2106.10270), TMLR 2022. Alex Krizhevsky, [Learning Multiple Layers of Features from
# Tiny Images](https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf), 2009: CIFAR-10.
