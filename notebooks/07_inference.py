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
#     number: 7
#     prerequisites: Lessons 5 and 6, or a trained image classifier of your own
# ---

# %% [markdown]
# # Using the model
#
# [Lesson 6](06_training.ipynb) ended with a file of weights. What does one do with it, and how far can its answers be
# trusted?
#
# The first half of the question is short: a picture goes in, ten numbers come out. The second half takes most of this
# page. The ten numbers always look like an answer. They look like one when the picture was prepared wrongly, when it
# shows nothing the model knows, and when the model is guessing.
#
# After it you can classify a photograph by hand, say what a wrong preprocessing costs, read a confusion matrix and a
# reliability diagram, and put an interval around an accuracy.

# %% jupyter={"source_hidden": true}
import inspect
import json
import math
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

from vit import VisionTransformer
from vit.data import FileImages, decode, load_data, shapes
from vit.data.sets import photograph_file
from vit.inference import SHIPPED, Classifier, load_classifier, summarise
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
    use_style,
)

torch.manual_seed(0)
use_style()

temporary = tempfile.TemporaryDirectory()  # everything this lesson writes goes there
work = Path(temporary.name)
for name in ("chelsea", "coffee", "astronaut", "rocket"):
    Image.fromarray(np.asarray(Image.open(photograph_file(name)))).save(work / f"{name}.png")
print("photographs:", ", ".join(sorted(path.name for path in work.iterdir())))

# %% [markdown] anchor="file"
# ## What is in the file
#
# Two trained models come inside the package. One has seen CIFAR-10, small photographs of ten kinds of things
# (a copy of it in JPEG files). The other is what `vit train` makes when it is given no options: it has seen drawn
# shapes. Weights alone would be
# useless. Which architecture are they for? How were the pictures prepared? What does output 3 mean? So the file says
# that, too, and where it comes from.

# %% jupyter={"source_hidden": true}
cifar, drawn = load_classifier("cifar10"), load_classifier("shapes")
for name, classifier in (("cifar10", cifar), ("shapes", drawn)):
    about, weights = classifier.info, SHIPPED[name] / "best.safetensors"
    parameters = sum(p.numel() for p in classifier.model.parameters())
    print(f"{name}: {parameters:,} parameters in {weights.stat().st_size / 1e6:.1f} MB")
    print("  classes ", ", ".join(classifier.classes))
    print("  mean    ", about["preprocessing"]["mean"], " std", about["preprocessing"]["std"])
    print(
        "  planned ", f"{about['recipe']['epochs']} epochs, trained on {about['hardware']['cpu']},", end=" "
    )
    print(f"best after epoch {about['epoch']}: {about['val_accuracy']:.1%} of the validation pictures")
    assert not classifier.model.training
    assert len(classifier.classes) == classifier.model.config.num_classes == 10
print("and", sorted(set(cifar.info) - {"epoch", "val_accuracy", "preprocessing", "classes"}))

# %% [markdown]
# Two bytes for each parameter: these two were stored as 16-bit floats (`half_weights` in the recipe; a run of your own
# stores 32-bit ones unless you ask), and are computed with as 32-bit ones.
#
# The format is safetensors. It holds numbers and text, and nothing in it can run. An ordinary PyTorch checkpoint is a
# pickle, and a pickle may contain a program; do not open one that a stranger sent you, unless with
# `weights_only=True`.

# %% [markdown] anchor="by-hand"
# ## From a photograph to ten numbers
#
# Now the cat. Her photograph is wider than it is high and has far more pixels than the model takes. By hand, step by
# step: cut a square out of the middle, shrink it to 32 × 32, scale bytes to [0, 1], normalise each channel with the
# mean and deviation *from the file*, ask the model, turn its logits into probabilities, sort.

# %% predict="She is wider than high, with far too many pixels. Does the model still see a cat, and how sure is it?"
image = Image.open(work / "chelsea.png").convert("RGB")
W, H = image.size
side = min(W, H)
left, top = (W - side) / 2, (H - side) / 2
box = (left, top, left + side, top + side)
square = image.resize((32, 32), Image.Resampling.BICUBIC, box=box)  # (1)!
pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)  # (3, 32, 32), uint8

about = cifar.info["preprocessing"]
mean, std = (torch.tensor(about[key])[:, None, None] for key in ("mean", "std"))
seen = (pixels / 255 - mean) / std  # (3, 32, 32): what the model sees
with torch.no_grad():
    logits = cifar.model(seen[None])  # (1, K): a batch of one
probabilities = logits.softmax(dim=1)[0]  # (K,)
values, indices = probabilities.topk(3)
print(f"{W} x {H} -> {tuple(pixels.shape)} -> logits {tuple(logits.shape)}")
for p, k in zip(values.tolist(), indices.tolist(), strict=True):
    print(f"  {cifar.classes[k]:10} {p:6.1%}")

# %% [markdown]
# 1. Pillow's `resize` takes a box with fractions of pixels, and averages over all pixels that fall into one. Shrinking
#    without averaging is a mistake of its own, one of those below.

# %% alt="Four panels. The photograph of a tabby cat with an orange square around its middle; the same square at 32 by 32 pixels, where eyes and nose are a few pixels each; its normalised red channel, blue below zero and red above; and ten horizontal bars, one probability for each class of CIFAR-10, the longest in orange." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 1.75), width_ratios=[1.5, 1, 1, 0.8])
axes[0].imshow(image)
bare(axes[0], f"{W} × {H}").add_patch(
    plt.Rectangle((left, top), side - 1, side - 1, fill=False, color=ACCENT, linewidth=2)
)
draw_image(axes[1], pixels / 255, "32 × 32")
bare(axes[2], "red, from −2.5 to 2.5").imshow(seen[0], cmap=DIVERGING, vmin=-2.5, vmax=2.5)
colours = [ACCENT if k == indices[0] else FAINT for k in range(10)]
axes[3].barh(cifar.classes, probabilities, color=colours)
axes[3].invert_yaxis()
axes[3].tick_params(axis="y", length=0, labelsize=7)
axes[3].set(xlim=(0, 1), xticks=(0, 1), title="probability")
plt.show()

# %% [markdown]
# Look at the second panel before you judge the fourth. That is all the model ever gets. Every whisker is gone, and
# an eye is a handful of pixels.
#
# The package does the same in two pieces. `decode` reads a file as a square, and a `Classifier` keeps model,
# preprocessing and class names together, so that they cannot be mixed up.

# %%
print(inspect.getsource(Classifier.probabilities))
print(inspect.getsource(Classifier.predict))

# %% jupyter={"source_hidden": true}
path = work / "chelsea.png"
assert torch.equal(decode(path, 32), pixels)
((best, *rest),) = cifar.predict([path], top_k=3)
assert [best[0], *(name for name, _ in rest)] == [cifar.classes[k] for k in indices]
assert_close(torch.tensor([best[1], *(p for _, p in rest)]), values)
print("by hand = Classifier.predict:", best[0])

# %% [markdown] anchor="twin"
# ## Did it look at the cat?
#
# It said its word. Where did it look? In the last block the class token takes from every patch what its heads find
# worth taking ([lesson 3](03_attention.ipynb)). Beside the trained model we put its *random twin*: the same class and
# the same sizes, with weights that nobody has trained. Same picture, same six heads, and one scale of colours for all
# twelve maps.

# %% predict="By how many even shares does a head weigh its favourite patch, trained and random?"
torch.manual_seed(0)
twin = VisionTransformer(cifar.model.config).eval()  # the same sizes, never trained
shares = {}
for name, model in (("trained", cifar.model), ("random twin", twin)):
    with torch.no_grad():
        last = model.attention_maps(seen[None])[-1][0]  # (h, N+1, N+1)
    shares[name] = 65 * last[:, 0, 1:]  # (h, N): from CLS; 1 is an even share
    low, high = shares[name].min(), shares[name].max()
    print(f"{name:12} from {low:.2f} to {high:.2f} even shares")

# %% alt="Two rows of six small grey pictures of the cat, each under a map of eight by eight patches, all on one scale of colours. Above, the six heads of the trained model's last block: each has a few bright patches, in some near the top of the head, in others along the lower edge. Below, the same six heads of the random twin: evenly dark, with no patch that stands out." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 6, figsize=(WIDTH, 2.4))
limit = max(share.max().item() for share in shares.values())
for (name, share), row in zip(shares.items(), axes, strict=True):
    for head, ax in enumerate(row):
        title = f"head {head}" if name == "trained" else None
        artist = draw_attention(ax, pixels / 255, share[head].unflatten(0, (8, 8)), None, limit, title)
    row[0].set_ylabel(name, fontsize=8)
figure.colorbar(artist, ax=axes, shrink=0.8, label="even shares")
plt.show()

# %% [markdown]
# On one scale the twin's maps are flat: it takes about an even share of everything. (Stretched to a scale of their own,
# its small differences would look like a pattern, and one can find a cat in any pattern.) The trained heads choose, and
# they do not choose alike. That much training has done. It does not follow that they look at what makes this a cat:
# some of their favourite patches lie at the edge. What a map can and cannot say is the subject of [lesson
# 9](09_what_it_learns.ipynb).

# %% [markdown]
# Here is the same model in your browser. Tap “random weights” to see its twin, or cover patches until its answer is
# another one.
#
# <div class="vx-place"><vit-explorer data-state="picture=chelsea&amp;block=9&amp;head=1&amp;patch=class" data-panels="map choose answer picture change"><p>On the site, with JavaScript, the model itself stands here.</p></vit-explorer></div>

# %% [markdown] anchor="ten-answers"
# ## Ten answers and no other
#
# CIFAR-10 has cats. It has no coffee, no astronauts and no rockets. What does the model say of those?

# %% alt="Four columns: a cat, a cup of coffee, an astronaut in an orange suit, a rocket at night. Each column has the photograph, the same at 32 by 32 pixels, and three bars with the three likeliest of CIFAR-10's ten classes and their probabilities." jupyter={"source_hidden": true} predict="It knows ten words, none of them coffee, astronaut or rocket. What does it say, and how sure is it?"
names = ("chelsea", "coffee", "astronaut", "rocket")
answers = cifar.predict([work / f"{name}.png" for name in names], top_k=3)
figure, axes = plt.subplots(3, 4, figsize=(WIDTH, 4.5), height_ratios=[1, 1, 0.5])
for name, answer, column in zip(names, answers, axes.T, strict=True):
    draw_image(column[0], decode(work / f"{name}.png", 224) / 255, name)
    draw_image(column[1], decode(work / f"{name}.png", 32) / 255)
    for row, (label, p) in enumerate(answer):
        column[2].barh(row, p, color=ACCENT if row == 0 else FAINT, height=0.7)
        column[2].text(p + 0.05, row, f"{label} {p:.0%}", va="center", fontsize=8)
    bare(column[2]).set(xlim=(0, 2.2), ylim=(2.6, -0.6))  # room for a name beside a bar of length 1
plt.show()

# %% [markdown]
# It answers with one of its ten words, every time. It has to: there is no eleventh. And the probabilities sum to one
# whatever the picture shows, because the softmax divides by their sum. Where a picture is like nothing the model has
# seen, nothing in the arithmetic says so. The softmax even throws away how high the logits were:

# %%
everywhere_lower = logits - 100  # every class far less supported than before
assert_close(everywhere_lower.softmax(dim=1), logits.softmax(dim=1))
noise, grey = torch.rand(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
for name, picture in (("pure noise", noise), ("plain grey", grey)):
    ((label, p),) = cifar.predict(picture, top_k=1)[0]
    print(f"{name}: {label}, {p:.0%}")
print("logits lowered by 100: the same probabilities")

# %% [markdown]
# So read the number as what it is. It compares ten answers with each other. It does not say how well the best of them
# fits, and a value near one for a cup of coffee would not be knowledge about coffee. For pictures of the ten kinds,
# taken as the training pictures were taken, one can ask whether the numbers mean what they say. That question has an
# answer, and it comes [below](#calibration).

# %% [markdown] anchor="preprocessing"
# ## Preprocessing is part of the model
#
# The weights were fitted to pictures prepared in one way. Nothing stops us from preparing them in another, and the
# tensors keep their shapes. What does it cost? Here drawn pictures help: there are as many as we like, the answers are
# known, and we may spoil them in every way.

# %% jupyter={"source_hidden": true} predict="Seven wrong ways to prepare a picture. Which cost most, and does the confidence notice?"
data = load_data("shapes", train_size=1)  # we only want its validation and test pictures
test = data.test.images[:500] / 255  # (M, 3, 32, 32) in [0, 1]
truth = data.test.labels[:500]
mean, std = (torch.tensor(drawn.info["preprocessing"][key])[:, None, None] for key in ("mean", "std"))
imagenet_mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
imagenet_std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
wide = F.pad(test, (8, 8, 0, 0), mode="replicate")  # (M, 3, 32, 48): as from a camera
squeezed = F.interpolate(wide, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
large = shapes.draw(torch.arange(500), 64)[0]  # (M, 3, 64, 64): the same scenes, finer
right = (test - mean) / std
prepared = {
    "as in training": right,
    "BGR for RGB": (test.flip(1) - mean) / std,
    "another set's numbers": (test - imagenet_mean) / imagenet_std,
    "shrunk without averaging": (F.interpolate(large, (32, 32), mode="nearest") - mean) / std,
    "not normalised": test,
    "stretched, not cropped": (squeezed - mean) / std,
    "normalised twice": (right - mean) / std,
    "0..255, then normalised": (255 * test - mean) / std,
}
accuracy, confidence = {}, {}
for name, x in prepared.items():
    with torch.inference_mode():
        p = drawn.model(x).softmax(dim=1)  # (M, K)
    accuracy[name] = (p.argmax(1) == truth).float().mean().item()
    confidence[name] = p.amax(1).mean().item()
    print(f"{name:26} accuracy {accuracy[name]:6.1%}   mean confidence {confidence[name]:6.1%}")

# %% [markdown]
# To *see* a mistake, ask: which properly prepared picture would have given the model these same numbers? Undo the
# right normalisation, and draw that.

# %% alt="Eight rows, one for each way of preparing. On the left the same picture of a heart as the model sees it: faithful, with swapped colours, slightly shifted in contrast, jagged, flat and pale, squeezed, garish, and white. On the right a bar for the accuracy and a dot for the mean confidence. The first four bars are near 95 percent. The others fall to between two thirds and one tenth, while most of the dots stay far to the right of their bars." jupyter={"source_hidden": true}
figure = plt.figure(figsize=(WIDTH, 4.6))
grid = figure.add_gridspec(len(prepared), 2, width_ratios=[0.1, 1])
bars = figure.add_subplot(grid[:, 1])
for row, (name, x) in enumerate(prepared.items()):
    ax = draw_image(figure.add_subplot(grid[row, 0]), (x[18] * std + mean).clamp(0, 1))
    for spine in ax.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.6)
    bars.barh(row, accuracy[name], color=CYCLE[0], height=0.5, label="accuracy" if row == 0 else None)
    bars.plot(confidence[name], row, "o", color=ACCENT, label="mean confidence" if row == 0 else None)
bars.set_yticks(range(len(prepared)), prepared)
bars.tick_params(axis="y", length=0)
bars.set(xlim=(0, 1.02), ylim=(len(prepared) - 0.5, -0.5))
bars.legend(loc="lower right")
plt.show()

# %% [markdown]
# “Another set's numbers” are ImageNet's mean and deviation, which many programs have built in. There are three things
# to take from the figure. None of these raised an error. The confidence notices too little: where the bar has fallen
# far, the dot has moved much less, so the model's own numbers will not warn you. And some mistakes cost next to nothing
# *here*. Swapped colours do little harm to a model that was taught to look at outlines alone. Do not conclude that they
# are harmless: it only means that this test cannot see them. On photographs colour counts, and the same swap may turn
# the cat into something else:

# %% jupyter={"source_hidden": true}
cat = decode(work / "chelsea.png", 32)[None]  # (1, 3, 32, 32)
for name, picture in (("RGB", cat), ("BGR", cat.flip(1))):
    print(name, " ".join(f"{label} {p:.0%}" for label, p in cifar.predict(picture, top_k=3)[0]))
shift = (cifar.probabilities(cat) - cifar.probabilities(cat.flip(1))).abs().sum().item() / 2
print(f"probability that has moved to other classes: {shift:.0%}")

# %% [markdown]
# > **Common mistake.** Rewriting the preprocessing by hand in the program that uses the model. Save it with the
# > weights, as numbers, and let one function apply it in training and in use.
#
# Cropping has a price of its own. A thing at the edge of a wide photograph is cut off, and no number tells you.

# %% [markdown] anchor="counting"
# ## How good is it?
#
# We need pictures whose answer is known and which had no part in training: the test set. Everything below is counting
# in one table, probabilities of 2,000 pictures for ten classes. We do it by hand.

# %%
p, y = drawn.predict_set(data.test)  # (M, K) and (M,)
M, K = p.shape
answer = p.argmax(dim=1)  # (M,)
correct = (answer == y).sum().item()
loss = -p[torch.arange(M), y].log().mean().item()  # nats per picture
confusion = torch.zeros(K, K, dtype=torch.long)  # row: the truth, column: the answer
for true, said in zip(y, answer, strict=True):
    confusion[true, said] += 1
print(f"accuracy {correct / M:.2%} ({correct} of {M})   loss {loss:.3f}")

summary = summarise(p, y)
assert (summary["correct"], summary["count"]) == (correct, M)
assert abs(summary["loss"] - loss) < 1e-5
assert torch.equal(summary["confusion"], confusion)

# %% [markdown] anchor="summarise" tags=["deeper"]
# ### The same in the package

# %%
print(inspect.getsource(summarise))

# %% [markdown]
# `ece`, `confidence` and `overconfidence` are for later: they ask how far the probabilities can be believed. Top-5 is a
# habit from ImageNet, whose thousand classes contain many near synonyms; with ten classes, five guesses are generous,
# and the number says little.

# %% [markdown] anchor="confusion"
# ### Which mistakes?
#
# The confusion matrix says more than the accuracy. Rows are what the picture shows, columns what the model said, so
# the diagonal is right and everything beside it a mistake. For CIFAR-10 the same count over its 10,000 test images
# comes with the weights, in `evaluation.json`; `vit evaluate --json` wrote it. We draw both, and let colour show the
# mistakes only.

# %% jupyter={"source_hidden": true}
evaluation = json.loads((SHIPPED["cifar10"] / "evaluation.json").read_text())
photo_confusion = torch.tensor(evaluation["confusion"])  # (K, K)
assert photo_confusion.sum() == evaluation["count"]
assert photo_confusion.diagonal().sum() == evaluation["correct"]
assert evaluation["accuracy"] == cifar.info["test_accuracy"]  # of these weights, and of no others


def largest(confusion, classes, count=4):
    mistakes = confusion.clone().fill_diagonal_(0)
    for flat in mistakes.flatten().topk(count).indices.tolist():
        true, said = divmod(flat, len(classes))
        print(f"  {mistakes[true, said]:4} times {classes[true]} called {classes[said]}")


for name, matrix, classes in (
    ("shapes", confusion, drawn.classes),
    ("CIFAR-10", photo_confusion, cifar.classes),
):
    print(f"{name}: {matrix.diagonal().sum().item() / matrix.sum().item():.2%} of {matrix.sum()}")
    largest(matrix, classes)

# %% alt="Two ten by ten confusion matrices, rows the truth and columns the answer, with counts in the cells. The diagonals are grey. Orange cells are mistakes. For the drawn shapes there are few, most of them between circle and square and among triangle, cross and star. For CIFAR-10 they are spread more widely; the darkest are dog and cat taken for each other, then automobile taken for truck, and many others are among animals." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.55))
for ax, matrix, classes in zip(
    axes, (confusion, photo_confusion), (drawn.classes, cifar.classes), strict=True
):
    mistakes = matrix.clone().fill_diagonal_(0).float()
    ax.imshow(mistakes, cmap="Oranges", vmin=0)
    for i in range(K):
        ax.add_patch(plt.Rectangle((i - 0.5, i - 0.5), 1, 1, color="#e8eaee"))
        for j in range(K):
            if matrix[i, j]:
                ink = "white" if mistakes[i, j] > 0.6 * mistakes.max() else INK
                ax.text(j, i, matrix[i, j].item(), ha="center", va="center", fontsize=6, color=ink)
    bare(ax)
    ax.set_xticks(range(K), classes, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
    ax.set_yticks(range(K), classes, fontsize=7.5)
    ax.tick_params(length=0)
    ax.set(xlabel="answer")
axes[0].set_ylabel("truth")
axes[0].set_title("shapes")
axes[1].set_title("CIFAR-10")
plt.show()

# %% [markdown]
# Is a mistake a near miss? Look at the pictures. Sort the wrong answers by their confidence, and begin with the worst.

# %% alt="Two rows of six drawn pictures that were classified wrongly, each with the true class, the answer and its confidence above it. The shapes are large and plain to see: circles called squares, crosses called stars, triangles called stars or squares, with confidences near one." jupyter={"source_hidden": true}
mistakes = (answer != y).nonzero()[:, 0]
worst = mistakes[p.amax(1)[mistakes].argsort(descending=True)][:12]
print(f"{len(mistakes)} mistakes; confidence of the worst twelve {p.amax(1)[worst].min():.0%} and more")

figure, axes = plt.subplots(2, 6, figsize=(WIDTH, 3.0))
for ax, i in zip(axes.flat, worst.tolist(), strict=True):
    draw_image(ax, data.test.images[i] / 255)
    title = f"{drawn.classes[y[i]]}\nsaid {drawn.classes[answer[i]]}, {p[i].max():.0%}"
    ax.set_title(title, fontsize=7)
plt.show()

# %% [markdown]
# Go through them one by one; it is the best-spent minute of an evaluation. You might expect the hard ones here, small
# or faint or half hidden. These are large and plain, a child would name them, and the model was nearly certain. Its
# mistakes are not ours. This is also where wrong labels turn up. Here there are none, since the same line of code drew
# the shape and wrote the label.

# %% [markdown] anchor="wrong-photographs" tags=["deeper"]
# ### Photographs that it got wrong
#
# With a folder of CIFAR-10 at hand, the same for photographs:

# %% alt="Two rows of six photographs of CIFAR-10 that were classified wrongly with the highest confidence, each with the true class, the answer and its confidence above it." jupyter={"source_hidden": true}
root = os.environ.get("VIT_CIFAR10")  # (1)!
if root:
    files = sorted(str(path) for path in Path(root, "test").glob("*/*"))
    labels = torch.tensor([cifar.classes.index(Path(file).parent.name) for file in files])
    photo_p, photo_y = cifar.predict_set(FileImages(files, labels, 32))
    result = summarise(photo_p, photo_y)
    print(f"CIFAR-10: {result['accuracy']:.2%} of {result['count']},", end=" ")
    print(f"committed {evaluation['accuracy']:.2%} of {evaluation['count']}")
    if result["count"] == evaluation["count"]:
        assert abs(result["accuracy"] - evaluation["accuracy"]) < 0.03  # other files, other rounding
    photo_wrong = (photo_p.argmax(1) != photo_y).nonzero()[:, 0]
    figure, axes = plt.subplots(2, 6, figsize=(WIDTH, 3.0))
    chosen = photo_wrong[photo_p.amax(1)[photo_wrong].argsort(descending=True)][:12]
    for ax, i in zip(axes.flat, chosen.tolist(), strict=True):
        said = f"said {cifar.classes[photo_p[i].argmax()]}, {photo_p[i].max():.0%}"
        draw_image(ax, decode(files[i], 32) / 255)
        ax.set_title(f"{cifar.classes[photo_y[i]]}\n{said}", fontsize=6.5)
    plt.show()
else:
    print("VIT_CIFAR10 names no folder: no pictures of CIFAR-10 here; the drawn ones above stand in for them")

# %% [markdown]
# 1. A folder with `test/cat/…`, `test/dog/…` and so on. Set it before you start Jupyter.

# %% [markdown] anchor="interval"
# ## How sure are we of an accuracy?
#
# Another 2,000 test pictures would have given another number. How different? Each picture is right or wrong, like a
# coin that falls right with probability $a$. The share of right ones among $n$ then has the standard error
# $\sqrt{a(1-a)/n}$, and about 95 % of the time it lies within 1.96 of those. Near 100 %, or with few pictures, that
# simple interval reaches beyond 1 or shrinks to nothing. Wilson's (1927) does not. It asks the question the other way
# round: which values of $a$ would make our count an ordinary one? With the measured share $\hat a$ and $z = 1.96$,
# those with $(\hat a - a)^2 \le z^2 a(1-a)/n$. Multiplied out and sorted by powers of $a$ that is
#
# $$\left(1 + \tfrac{z^2}{n}\right) a^2 - 2 \left(\hat a + \tfrac{z^2}{2n}\right) a + \hat a^2 \le 0 ,$$
#
# a parabola below zero, so $a$ lies between its two roots. They are $x \pm \sqrt{x^2 - \hat a^2 / (1 + z^2/n)}$, where
# $x = (\hat a + \tfrac{z^2}{2n}) / (1 + \tfrac{z^2}{n})$.


# %%
def wilson(correct, n, z=1.96):
    a, first = correct / n, 1 + z**2 / n
    middle = (a + z**2 / (2 * n)) / first
    half = (middle**2 - a**2 / first) ** 0.5
    return middle - half, middle + half


# %% jupyter={"source_hidden": true} predict="Twenty pictures, all of them right. How low may the true accuracy be?"
for n in (20, 100, M):
    for share in (correct / M, 1.0):
        low, high = wilson(share * n, n)
        se = (share * (1 - share) / n) ** 0.5
        print(f"n = {n:6}  {share:6.1%}  standard error {se:5.1%}   Wilson {low:6.1%} to {high:6.1%}")
        for a in (low, high):
            assert math.isclose((share - a) ** 2, 1.96**2 * a * (1 - a) / n, abs_tol=1e-9)

# %% [markdown]
# Twenty pictures, all of them right, and the model may still be wrong on nearly every sixth. Away from 100 %, to halve
# an interval takes four times the pictures, once there are a good many.
#
# Does the interval keep its promise? Cut our 2,000 pictures into 20 small test sets, and pretend that each is all we
# have.

# %% alt="Twenty dots with vertical error bars, one for each small test set of 100 pictures. The dots scatter from about 90 to 100 percent. Almost all bars cross a horizontal line at the accuracy of all 2,000 pictures together." jupyter={"source_hidden": true} predict="Of twenty 95 % intervals, how many should miss the dashed line?"
order = torch.randperm(M, generator=torch.Generator().manual_seed(0))
counts = [(answer[part] == y[part]).sum().item() for part in order.split(100)]
intervals = [wilson(count, 100) for count in counts]
covered = sum(low <= correct / M <= high for low, high in intervals)
print(f"from {min(counts)} to {max(counts)} of 100 right;", end=" ")
print(f"{covered} of 20 intervals contain {correct / M:.1%}")

figure, ax = plt.subplots(figsize=(WIDTH, 2.3))
for i, (count, (low, high)) in enumerate(zip(counts, intervals, strict=True)):
    colour = CYCLE[0] if low <= correct / M <= high else ACCENT
    ax.plot([i, i], [low, high], color=colour)
    ax.plot(i, count / 100, "o", color=colour, markersize=4)
ax.axhline(correct / M, color=INK, linewidth=1, linestyle="--")
ax.set(xlabel="small test set", ylabel="accuracy", ylim=(0.82, 1.005), xticks=range(0, 20, 5))
plt.show()

# %% [markdown]
# Someone who reports the best of these dots reports luck. What the interval leaves out is everything but chance in the
# choice of pictures: another random seed in training, another camera, next year's photographs.

# %% [markdown] anchor="calibration"
# ## Does 80 % mean 80 %?
#
# A model is *calibrated* if, of all the answers it gives with a confidence of 80 %, eight in ten are right. Collect
# answers of similar confidence in a bin, and compare the mean confidence of each bin with its accuracy. The
# *expected calibration error* (ECE) is the gap, averaged over bins with the number of their pictures as weights.
#
# > **The paper.** “We discover that modern neural networks, unlike those from a decade ago, are poorly calibrated.”
# > (Guo et al., 2017, abstract)
#
# > **The paper.** “the most recent models, notably those not using convolutions, are among the best calibrated”
# > (Minderer et al., 2021, abstract)
#
# Four years lie between the two, and Vision Transformers. So let us measure ours.


# %%
def reliability(p, y, bins=15):
    confidence, answer = p.max(dim=1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    rows = []
    for i in range(bins):
        inside = place == i
        if inside.any():
            hits = (answer[inside] == y[inside]).sum().item()
            rows.append((inside.sum().item(), hits, confidence[inside].mean().item()))
    return rows  # of each bin that is not empty: pictures, right ones, mean confidence


def ece(rows):
    return sum(abs(hits - n * c) for n, hits, c in rows) / sum(n for n, *_ in rows)


# %% jupyter={"source_hidden": true}
clean = reliability(p, y)
assert abs(ece(clean) - summarise(p, y)["ece"]) < 1e-5
print(f"ECE {ece(clean):.4f} by hand = summarise;", f"mean confidence {p.amax(1).mean():.1%},", end=" ")
print(f"accuracy {correct / M:.1%}")
print(f"{clean[-1][0]} of {M} pictures are in the last bin")
print(f"mean confidence less accuracy: {summary['overconfidence']:+.4f}")
print(f"the model of CIFAR-10, from evaluation.json: ECE {evaluation['ece']:.4f}")

# %% [markdown]
# The model of photographs is far further off than the model of shapes. In which direction, its file does not say: the
# ECE has none. The difference before it has one, and `summarise` calls it `overconfidence`: above zero a model claims
# too much, below zero too little. It can be zero for a model that errs in both directions, so look at both. And an
# average over 2,000 pictures of one kind says nothing about pictures of another kind.
#
# Now a harder world. The same test pictures, with noise in every pixel as from a bad camera in the evening. The model
# has never met noise. You would still name most of the shapes.

# %% jupyter={"source_hidden": true} predict="Noise takes accuracy. Does the mean confidence fall as far?"
generator = torch.Generator().manual_seed(0)


def noisy(images, sigma=0.15):
    x = images / 255
    return (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def in_batches(images):
    return torch.cat([drawn.probabilities(part) for part in images.split(250)])


noisy_pictures = noisy(data.test.images[:1000])
noisy_p, noisy_y = in_batches(noisy_pictures), data.test.labels[:1000]
hard = reliability(noisy_p, noisy_y)
hard_accuracy = (noisy_p.argmax(1) == noisy_y).float().mean().item()
print(f"with noise: accuracy {hard_accuracy:.1%}, mean confidence {noisy_p.amax(1).mean():.1%},", end=" ")
print(f"ECE {ece(hard):.3f}, overconfidence {summarise(noisy_p, noisy_y)['overconfidence']:+.3f}")

# %% alt="Two reliability diagrams, for clean and for noisy pictures, each with an example in its corner. Dots with error bars show accuracy over confidence; a dashed diagonal is perfect calibration; bars below count the pictures. On clean pictures the dots lie around the diagonal and most pictures are in the last bin. On noisy pictures nearly all dots lie below the diagonal." jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.0), height_ratios=[3, 1], sharex=True, sharey="row")
examples = (data.test.images[18] / 255, noisy_pictures[18])
for (above, below), rows, picture, name in zip(
    axes.T, (clean, hard), examples, ("clean", "noisy"), strict=True
):
    draw_image(above.inset_axes([0.02, 0.7, 0.28, 0.28]), picture)
    above.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1)
    for n, hits, c in rows:
        above.plot([c, c], wilson(hits, n), color=CYCLE[0], linewidth=1.2)
        above.plot(c, hits / n, "o", color=CYCLE[0], markersize=4)
    below.bar([c for _, _, c in rows], [n for n, *_ in rows], width=0.05, color=FAINT)
    above.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), title=name)
    below.set(xlabel="confidence", yscale="log", ylim=(0.7, 3000))
axes[0, 0].set_ylabel("accuracy")
axes[1, 0].set_ylabel("pictures")
plt.show()

# %% [markdown]
# On the pictures it was made for, the model of shapes says about what it knows. A few bins hold a handful of pictures,
# as the counts below and the long error bars show; do not read much into those. On noisy pictures it is far too sure.

# %% [markdown] anchor="temperature" tags=["deeper"]
# ### One number for all logits
#
# There is a well-known repair. Divide all logits by one number, the temperature $T$, before the softmax, and choose
# $T$ so that the loss on *validation* pictures is lowest.
#
# > **The paper.** “temperature scaling does not affect the model’s accuracy.” (Guo et al., 2017, section 4.2)

# %% jupyter={"source_hidden": true}
temperatures = torch.linspace(0.5, 3.0, 126)
val_p, val_y = drawn.predict_set(data.val)
noisy_val_p = in_batches(noisy(data.val.images[:1000]))


def losses(p, y):
    log_p = p.clamp_min(1e-12).log()  # (1)!
    return torch.stack([F.cross_entropy(log_p / T, y) for T in temperatures])


curves = {"clean": losses(val_p, val_y), "noisy": losses(noisy_val_p, val_y[:1000])}
best = {name: temperatures[curve.argmin()].item() for name, curve in curves.items()}
print(f"T from clean validation pictures {best['clean']:.2f}, from noisy ones {best['noisy']:.2f}")
print("test pictures    T    accuracy  confidence   loss     ECE")
for name, q, label in (("clean", p, y), ("noisy", noisy_p, noisy_y)):
    for T in (1.0, best["clean"], best["noisy"]):
        cooled = (q.clamp_min(1e-12).log() / T).softmax(dim=1)
        s = summarise(cooled, label)
        print(f"{name:13} {T:4.2f} {s['accuracy']:11.2%} {cooled.amax(1).mean():10.1%}", end=" ")
        print(f"{s['loss']:8.3f} {s['ece']:7.3f}")
        assert torch.equal(cooled.argmax(1), q.argmax(1))  # exactly the same answers

# %% [markdown]
# 1. Logarithms of probabilities are logits, up to a constant for each picture, and the softmax ignores constants. So
#    we need not run the model again.

# %% alt="Two curves of validation loss over the temperature, each with a dot at its lowest point. The curve of clean pictures is low and has a flat minimum a little below 1. The curve of noisy pictures lies much higher and has its minimum between 1.5 and 2." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.4))
for (name, curve), colour in zip(curves.items(), (CYCLE[0], ACCENT), strict=True):
    ax.plot(temperatures, curve, color=colour, label=name)
    ax.plot(best[name], curve.min(), "o", color=colour)
ax.axvline(1, color=FAINT, linewidth=1, linestyle="--")
ax.set(xlabel="temperature T", ylabel="validation loss", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# Every row of one group of the table has the same accuracy, to the last picture: dividing by $T$ keeps the order of
# the classes. What changes is how much is claimed for the answer.
#
# The clean curve is flat around its minimum, not far from 1: there was little to repair. The noisy one asks for a much
# higher temperature, and with it the ECE on noisy pictures falls. But that temperature spoils the clean pictures, and
# the one from clean pictures makes the noisy ones no better. A temperature is a statement about one kind of pictures.
# Nobody hands you validation pictures of the conditions that you did not think of.

# %% [markdown] anchor="own-images"
# ## Your own pictures, and your model elsewhere
#
# A folder of pictures for each class is all that `vit train` needs, and `vit export` writes the trained model for
# programs without PyTorch. [Your own pictures, and your model elsewhere](../docs/howto.md) shows both, step by step.

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# Wrong normalisation, stretching, swapped colours and bytes for fractions you have seen. Here is one more, and two that
# are rarer.
#
# > **Common mistake.** A model left in `train()` mode. With dropout or stochastic depth every call gives another
# > answer.

# %%
torch.manual_seed(0)
k = int(cifar.probabilities(cat).argmax())
cifar.model.train()
calls = torch.cat([cifar.probabilities(cat) for _ in range(20)])[:, k]
cifar.model.eval()
still = cifar.probabilities(cat)[0, k].item()
print(f"{cifar.classes[k]}: eval() {still:.1%},", end=" ")
print(f"twenty calls in train() from {calls.min():.1%} to {calls.max():.1%}")

# %% [markdown]
# The model of CIFAR-10 was trained with stochastic depth ([lesson 4](04_encoder.ipynb#stochastic-depth)), which drops
# whole branches. The model of shapes was trained without any, so there the mistake cannot show itself. It is the kind
# that passes a test on one model and bites with the next. `load_classifier` hands out models in `eval()` mode.

# %% [markdown] tags=["deeper"]
# ### Two more
#
# > **Common mistake.** Names in another order. Many tools sort classes by the alphabet. Output 3 of this model means
# > number 3 of *its* list, counted from 0.

# %%
sorted_names = sorted(drawn.classes)
says = [drawn.classes[k] for k in answer]
misread = [sorted_names[k] for k in answer]
shows = [drawn.classes[k] for k in y]
for name, words in (("its own list", says), ("sorted by the alphabet", misread)):
    share = sum(a == b for a, b in zip(words, shows, strict=True)) / M
    print(f"{name:24} {share:6.1%}")

# %% [markdown]
# A model that is right on hardly any picture, worse than guessing perhaps, is rarely a bad model. Bad models guess.
# Look at its confusion matrix: here it would show one dark cell in each row, in the wrong place.
#
# > **Common mistake.** Pictures of another size, and a matrix of positions that is made anew for them. The class
# > refuses such pictures, since somebody has to decide what to do: shrink them, or change the model by
# > `set_input_size`.

# %% jupyter={"source_hidden": true}
try:
    drawn.predict(large[:1])
except ValueError as error:
    print("vit says:", error)


def changed(recompute):
    """Accuracy on the scenes of 64 pixels, as they are, of a model that was made to accept them."""
    bigger = load_classifier("shapes")
    bigger.model.set_input_size(64, recompute=recompute)
    return (bigger.probabilities(large[:200]).argmax(1) == truth[:200]).float().mean().item()


shrunk = F.interpolate(large[:200], (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
at_32 = (drawn.probabilities(shrunk).argmax(1) == truth[:200]).float().mean().item()
stretched, anew = changed(recompute=False), changed(recompute=True)
print("the same 200 scenes of 64 pixels:")
for what, accuracy in (
    ("shrunk to 32 first", at_32),
    ("as they are, positions stretched", stretched),
    ("as they are, positions computed anew", anew),
):
    print(f"  {what:37} {accuracy:.0%}")
assert anew < 0.3 < 0.85 < stretched <= at_32

# %% [markdown]
# > **The paper.** “The Vision Transformer can handle arbitrary sequence lengths (up to memory constraints), however,
# > the pre-trained position embeddings may no longer be meaningful.” (section 3.2)
#
# Stretched, the matrix still says where in the picture a patch is, and the model loses little. Computed anew it says
# how many patches in, which this model has learned only for eight. That is what `recompute=True` is not for; before
# training it does no harm. So it is the positions that break the model here, and not what a patch shows, though each
# patch of the large picture shows a quarter of the area that it was taught to expect. Shrinking is a quarter of the
# work, and no worse. With other models and sizes it may be otherwise; lesson 8 measures one, and trains on at the new
# size.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# A colleague's model is right on 192 of 200 test pictures, yours on 188. Is hers better?
#
# <details>
# <summary>Answer</summary>
#
# Nobody knows yet. Both standard errors are about 1.5 %, and the difference is 2 %. If both saw the *same* pictures
# there is a sharper question: on how many did only one of the two err, and which one? If she alone is right on 5 and
# you alone on 1, that is what there is to go by, six pictures.
#
# </details>
#
# After temperature scaling a model's accuracy has risen by half a percent. What happened?
#
# <details>
# <summary>Answer</summary>
#
# Something else. Dividing by a positive number keeps the order of the logits, so every answer stays what it was. Look
# for other pictures, another preprocessing, or a model in `train()` mode.
#
# </details>
#
# Why must the temperature be chosen on validation pictures and not on the test set? It is only one number.
#
# <details>
# <summary>Answer</summary>
#
# Because then the test set would have chosen it, and the ECE measured there would be the best of all temperatures and
# no longer an honest estimate. One number overfits little. The habit is what matters, since the next choice may be
# one of a hundred.
#
# </details>
#
# You want a model that says “none of these”. Could you lower the temperature, or raise it, until it does?
#
# <details>
# <summary>Answer</summary>
#
# No. The temperature changes how the numbers are spread, and their sum stays one. You may refuse to answer below some
# confidence, which is exercise 2; exercise 3 shows what that is worth with strangers. Or you train with an eleventh
# class, and then it knows the kinds of “none” that you thought of.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Two looks.** (20 minutes, easy.) Classify each picture and its mirror image, and average the probabilities. It is
# cheap and often helps. Write `two_looks(probabilities, images)`, with a function that gives probabilities, and
# `check(7, 1, two_looks)`. Does it help the model of drawn shapes? Predict which classes a mirror will harm.
#
# <details>
# <summary>Hint</summary>
#
# `images.flip(3)`. Which shapes are no longer themselves in a mirror, and was `flip` on in the recipe of `shapes`?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.data import shapes
# from vit.inference import load_classifier
#
#
# def two_looks(probabilities, images):
#     return (probabilities(images) + probabilities(images.flip(3))) / 2
#
#
# assert check(7, 1, two_looks)
# toy = load_classifier("shapes")
# images, labels, _ = shapes.draw(torch.arange(300), 32)
# straight, mirrored = toy.probabilities(images), toy.probabilities(images.flip(3))
# right = lambda p: p.argmax(1) == labels
# both = right(two_looks(toy.probabilities, images))
# assert right(mirrored).sum() < right(straight).sum() - 20  # the mirror is another world
# assert both.sum() <= right(straight).sum() + 3  # no help worth the name
#
#
# def worst(answers, count):
#     shares = torch.stack([answers[labels == k].float().mean() for k in range(10)])
#     return {toy.classes[k] for k in shares.argsort()[:count].tolist()}
#
#
# assert worst(right(mirrored), 2) == {"arrow", "crescent"}  # trained one way round
# assert worst(both, 1) == {"arrow"}
# ```
#
# In the mirror two classes are lost, and in the average one: of a crescent the model is surer the right way round than
# it is of anything in the mirror. Average over changes that training has made harmless, and over no others. The recipe
# of CIFAR-10 does mirror its pictures, so there it is worth a try.
#
# </details>
#
# **2. The right to remain silent.** (20 minutes, medium.) Let the model answer only above a threshold of confidence.
# How does accuracy grow with silence? Write `accuracy_at(confidence, right)`: the accuracy on the 1, 2, …, $M$ pictures
# of highest confidence. Then `check(7, 2, accuracy_at)`, and draw it against *coverage*, the share of pictures that get
# an answer.
#
# <details>
# <summary>Hint</summary>
#
# Sort by confidence, most confident first. The accuracy at coverage $m/M$ is the mean of the first $m$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.data import shapes
# from vit.inference import load_classifier
#
#
# def accuracy_at(confidence, right):
#     right = right[confidence.argsort(descending=True)].float()
#     return right.cumsum(0) / torch.arange(1, len(right) + 1)
#
#
# assert check(7, 2, accuracy_at)
# toy = load_classifier("shapes")
# images, labels, _ = shapes.draw(torch.arange(500), 32)
# confidence, answer = toy.probabilities(images).max(1)
# accuracy = accuracy_at(confidence, answer == labels)
# assert accuracy[399] > accuracy[499]  # silent on a fifth, better on the rest
# assert accuracy[399] > 0.98
# ```
#
# This needs only the *order* of the confidences to be good, not their size: temperature scaling would not change the
# curve by much.
#
# </details>
#
# **3. Strangers.** (20 minutes, medium.) Show the model of drawn shapes pieces of photographs. Write
# `pieces(photo, side)`, which cuts `(3, H, W)` into `(n, 3, side, side)`, row by row, and `check(7, 3, pieces)`. How
# often is the model more than 90 % sure?
#
# <details>
# <summary>Hint</summary>
#
# `photograph(name, 224)` cut into 7 × 7 pieces of 32 pixels; `patchify` and `unpatchify` of lesson 1, or two calls of
# `unfold`.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import torch
# from vit.course import check
# from vit.data import PHOTOGRAPHS, photograph
# from vit.inference import load_classifier
#
#
# def pieces(photo, side):
#     cut = photo.unfold(1, side, side).unfold(2, side, side)  # (3, gh, gw, side, side)
#     return cut.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)
#
#
# assert check(7, 3, pieces)
# strangers = torch.cat([pieces(photograph(name, 224), 32) for name in PHOTOGRAPHS])
# confidence = load_classifier("shapes").probabilities(strangers).amax(1)  # (196,)
# assert 0.05 < (confidence > 0.9).float().mean() < 0.9  # no shape, and often no doubt
# ```
#
# A threshold would keep many of them out and let many in. Recognising that a picture belongs to no known class is a
# field of its own (Hendrycks and Gimpel, 2017).
#
# </details>

# %% [markdown] tags=["deeper"]
# ### Two more exercises
#
# **4. An interval from memory.** (15 minutes, medium, on paper first.) Derive Wilson's two ends from the inequality,
# and write `wilson(correct, n)` for $z = 1.96$. Then `check(7, 4, wilson)`.
#
# <details>
# <summary>Hint</summary>
#
# For 20 of 20 the inequality is $(1 - a)^2 \le z^2 a (1 - a) / n$. Divide by $1 - a$.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit.course import check
#
#
# def wilson(correct, n, z=1.96):
#     a = correct / n
#     middle = a + z**2 / (2 * n)
#     half = z * (a * (1 - a) / n + z**2 / (4 * n**2)) ** 0.5
#     return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
#
#
# low, high = wilson(20, 20)
# assert 0.83 < low < 0.85 and abs(high - 1) < 1e-9
# assert check(7, 4, wilson)
# ```
#
# </details>
#
# **5. Without PyTorch.** (40 minutes, hard.) [The how-to page](../docs/howto.md) exports a model. Classify a drawn
# picture from a file, with Pillow, NumPy and onnxruntime alone. Write `to_input(picture)`, which makes of a Pillow
# image what the model wants, and `check(7, 5, to_input)`. Then compare your program's answer with `Classifier.predict`.
#
# <details>
# <summary>Hint</summary>
#
# ONNX wants float32, `(B, 3, 32, 32)`, in [0, 1]. The softmax is yours to write. The class names are in the file:
# `session.get_modelmeta().custom_metadata_map`.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import json
# import tempfile
# from pathlib import Path
#
# import numpy as np
# import onnxruntime
# import torch
# from PIL import Image
# from vit.course import check
# from vit.data import shapes
# from vit.inference import export_onnx, load_classifier
#
#
# def to_input(picture):
#     pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
#     return pixels.transpose(2, 0, 1)[None]
#
#
# assert check(7, 5, to_input)
# toy = load_classifier("shapes")
# with tempfile.TemporaryDirectory() as folder:
#     picture, model = Path(folder, "heart.png"), Path(folder, "shapes.onnx")
#     drawing = shapes.draw(torch.tensor([28]), 32)[0][0].permute(1, 2, 0)
#     Image.fromarray((255 * drawing).round().byte().numpy()).save(picture)
#     export_onnx(toy, model)
#     # from here on without torch
#     providers = ["CPUExecutionProvider"]
#     session = onnxruntime.InferenceSession(str(model), providers=providers)
#     names = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
#     (logits,) = session.run(["logits"], {"images": to_input(Image.open(picture))})[0]
#     e = np.exp(logits - logits.max())
#     p = e / e.sum()
#     # and back
#     ((name, expected),) = toy.predict([picture], top_k=1)[0]
# assert names[p.argmax()] == name
# assert abs(p.max() - expected) < 1e-4
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# A model is weights, preprocessing and class names; keep them in one file. The probabilities compare the known
# classes with each other and sum to one for any picture at all. Wrong preprocessing raises no error and leaves the
# confidence far above the accuracy, so only a count on labelled pictures finds it. The confusion matrix says which
# mistakes there are, the pictures help to see why, and an interval says how much of a number is chance. Calibration
# holds for pictures like those it was measured on; a temperature changes the claims and never the answers.
#
# Our pictures have had 32 pixels, and our classes were fixed on the first day. Larger pictures and other classes are
# the subject of lesson 8.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021, section 3.2. Chuan Guo et al., [On Calibration of Modern Neural
# Networks](https://arxiv.org/abs/1706.04599), ICML 2017: reliability diagrams, ECE and temperature scaling. Matthias
# Minderer et al., [Revisiting the Calibration of Modern Neural Networks](https://arxiv.org/abs/2106.07998), NeurIPS
# 2021, with Vision Transformers among the models. Dan Hendrycks and Kevin Gimpel, [A Baseline for Detecting
# Misclassified and Out-of-Distribution Examples in Neural Networks](https://arxiv.org/abs/1610.02136), ICLR 2017.
# Edwin B. Wilson, [Probable Inference, the Law of Succession, and Statistical
# Inference](https://doi.org/10.1080/01621459.1927.10502953), Journal of the American Statistical Association 22,
# 1927. The format of the weights: [safetensors](https://huggingface.co/docs/safetensors).
