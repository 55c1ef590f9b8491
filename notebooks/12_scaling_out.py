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
#     alone: true
#     number: 12
#     prerequisites: Lessons 5 and 6; what a process is
# ---

# %% [markdown]
# # From one laptop to many machines
#
# One step of training: a batch goes forward, a gradient comes back, the weights move. How does one make it faster?
# First on the machine that one has, then on many at once. Each answer depends on what the step is waiting for. It may
# wait for arithmetic, for memory, or for the wire to the next machine, and what helps against one of them does
# nothing about the others.
#
# After it you can use bfloat16 and know what it rounds away, compile where that helps, cut a batch that does not fit
# into parts, and train with several processes by `torchrun` and know that it is the same training. The folded parts go
# on from there: how to tell what a step waits for, the exchange of gradients built by hand, and what a training run
# costs on 1, 8 or 64 GPUs, worked out on paper before you rent them. A run that was cut off is resumed in
# [lesson 6](06_training.ipynb#resume).
#
# Nothing here was run on a GPU. What concerns GPUs is arithmetic from stated assumptions. What is measured was
# measured where this page was built, and only drawn: the machine stands above each such figure, and on yours the bars
# will be others. A bar is the quickest of several runs, and its line reaches up to their median, which tells how
# steady the machine was.

# %% jupyter={"source_hidden": true}
# No `vit` on this machine? “Run it yourself” on the site has the one line that installs it.
import csv
import inspect
import io
import itertools
import logging
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from vit import ViTConfig, count_macs, create_model, get_config
from vit.attention import explicit_attention, prefers_explicit
from vit.cost import (
    activation_bytes,
    count_parameters,
    ring_bytes,
    step_seconds,
    traffic,
    training_flops,
    training_memory,
)
from vit.data import load_data
from vit.plotting import ACCENT, CYCLE, FAINT, INK, WIDTH, draw_matrix, use_style
from vit.training import Augment, Recipe, bf16_pays, hardware

os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler reports on itself
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # and the compiler on missing GPUs
torch.manual_seed(0)
use_style()
temporary = tempfile.TemporaryDirectory()
work = Path(temporary.name)

cpu = torch.device("cpu")
bf16_here = bf16_pays(cpu)
machine = f"{hardware(cpu)['cpu']}, {hardware(cpu)['threads']} threads"


def stopwatch(calls, rounds=5):
    """Seconds of each call, in turns, `rounds` times each. The first round warms up and is thrown away."""
    times = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i:
                times[name].append(time.perf_counter() - start)
    return times


def draw_times(ax, times, colors=CYCLE, at=None, width=0.8, label=None):
    """One bar of milliseconds for each list of seconds: the quickest run, and a line up to the median."""
    least = [1e3 * min(seconds) for seconds in times.values()]
    more = [1e3 * statistics.median(seconds) - m for seconds, m in zip(times.values(), least, strict=True)]
    lines = {"yerr": [[0] * len(more), more], "ecolor": INK, "capsize": 3} if any(more) else {}
    ax.bar(
        list(times) if at is None else at,
        least,
        width,
        color=colors,
        label=label,
        **lines,
    )


# %% [markdown] anchor="step"
# ## Where is the arithmetic?
#
# We take `vit_nano_4` and a batch of 128 drawn pictures. [Lesson 5](05_model.ipynb#cost) has counted the
# multiply-accumulates of a forward pass, and *guessed* that a step costs three forward passes. Why three? Look at a
# single linear layer, $y = xW$. The backward pass receives the gradient $g$ of $y$ and has two questions to answer.

# %%
x, W, g = torch.randn(5, 3), torch.randn(3, 4), torch.randn(5, 4)
x.requires_grad_()
W.requires_grad_()
(x @ W).backward(g)
assert_close(W.grad, x.T @ g)  # what should the weights do? one product
assert_close(x.grad, g @ W.T)  # and what should the layer before do? another
print("products in the forward pass: 1, in the backward pass: 2, of the same size")

# %% [markdown]
# One forward, two backward.

# %% [markdown] anchor="counted" tags=["deeper"]
# ### The same, counted by PyTorch
#
# The only exception is the patch projection: nobody wants to know what the *pixels* should
# do, so it has one product in the backward pass. `training_flops` in the package counts so, and PyTorch counts the
# operations as they run.

# %%
B = 128
config = get_config("vit_nano_4")
model = create_model("vit_nano_4")
data = load_data("shapes", img_size=32, train_size=1024)
pixels, labels = data.train.batch(torch.arange(B))  # (128, 3, 32, 32) uint8, (128,)
preprocessing = data.preprocessing(32)
images = preprocessing.normalise(pixels)

macs = count_macs(config)
for part, count in macs.items():
    share = count / sum(macs.values())
    print(f"{part:12} {2 * count / 1e6:8.2f} MFLOPs forward {share:7.1%}")
assert training_flops(config) == 2 * (3 * sum(macs.values()) - macs["patch_embed"])

with FlopCounterMode(display=False) as counter:
    F.cross_entropy(model(images), labels).backward()
ours, theirs = training_flops(config, B), counter.get_total_flops()
print(f"step of {B} pictures: {ours / 1e9:.2f} GFLOPs; PyTorch saw {theirs / 1e9:.2f}")
print("they differ by one product, q·k:", theirs - ours == B * 2 * macs["attn.scores"])
assert theirs - ours == B * 2 * macs["attn.scores"]

# %% [markdown]
# They agree but for one product. The fused attention kernel does not keep its matrix of weights, so its backward pass
# computes the scores a second time ([lesson 3](03_attention.ipynb#two-paths)). Should that count? It is work for the
# processor, but it brings the model no further, so by convention it does not.

# %% [markdown] anchor="profile"
# ## Where is the time?
#
# Counting FLOPs says where the arithmetic is. A *profiler* says where the time goes. We let it watch a few steps, and
# sort what it saw twice: by the part of the step, and by the kind of operation. “The rest” is all that moves through
# memory without much being computed: norms, GELU, additions, copies.

# %% jupyter={"source_hidden": true}
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
augment = Augment(Recipe(), preprocessing, len(data.classes))


def step(tick=lambda part: None, bf16=False):
    """One step of training. `tick` is told when a part is over."""
    batch, y = data.train.batch(torch.arange(B))
    batch = preprocessing.normalise(augment.images(batch, 32, step=0))
    tick("data")
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(batch)
    loss = F.cross_entropy(logits.float(), y)
    tick("forward")
    loss.backward()
    tick("backward")
    optimizer.step()
    optimizer.zero_grad()
    tick("optimiser")


def kind(operation):
    if "scaled_dot_product" in operation:
        return "attention"
    linear = operation in ("aten::mm", "aten::addmm") or "convolution" in operation  # the patch projection
    return "linear layers" if linear else "the rest"


step()
marks = [("start", time.perf_counter())]
for _ in range(4):
    step(lambda part: marks.append((part, time.perf_counter())))
by_part = {}
for (_, before), (part, after) in itertools.pairwise(marks):
    by_part[part] = min(after - before, by_part.get(part, after - before))  # the quickest of four
by_kind = dict.fromkeys(("linear layers", "attention", "the rest"), 0.0)
with profile(activities=[ProfilerActivity.CPU]) as watched:
    for _ in range(3):
        step()
for event in watched.key_averages():
    by_kind[kind(event.key)] += event.self_cpu_time_total
products = macs["attn.scores"] + macs["attn.values"]
shares = {
    "FLOPs\nby part": {"data": 0, "forward": 1, "backward": 2, "optimiser": 0},
    "time\nby part": by_part,
    "FLOPs\nby kind": {
        "linear layers": sum(macs.values()) - products,
        "attention": products,
        "the rest": 0,
    },
    "time\nby kind": by_kind,
}
assert all(by_kind.values())

# %% alt="Four horizontal bars, each divided into shares of a step. FLOPs by part: one third forward, two thirds backward. Time by part: backward the longer, with thin slices for data and optimiser. FLOPs by kind: nearly all in linear layers, a small part in attention. Time by kind: linear layers have much less than their share of the FLOPs, attention about its share or more, and the rest, which has no FLOPs, a large part." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH, 2.7))
names = [name for group in list(shares.values())[::2] for name in group]
colors = dict(zip(names, [FAINT, *CYCLE[:2], INK, *CYCLE[2:4], CYCLE[5]], strict=True))
for y, group in enumerate(shares.values()):
    left = 0.0
    for name, value in group.items():
        share = 100 * value / sum(group.values())
        ax.barh(y, share, left=left, color=colors[name], edgecolor="white")
        if share > 9:
            ink = INK if name in ("attention", "the rest") else "white"
            ax.text(
                left + share / 2,
                y,
                name,
                ha="center",
                va="center",
                color=ink,
                fontsize=8.5,
            )
        elif share:
            ax.annotate(name, (left + share / 2, y - 0.36), ha="center", va="bottom", fontsize=7)
        left += share
ax.set(yticks=range(4), yticklabels=shares, xlabel="share of a step, %", title=machine)
ax.invert_yaxis()
ax.spines[["left", "top"]].set_visible(False)
plt.show()

# %% [markdown]
# Read the bars in pairs. By part there is little surprise. The backward pass takes longer than the forward
# pass, data and optimiser take little. By kind there is one: “the rest” has no FLOPs at all and takes a
# large part of the time. So what does it wait for? For memory: these operations do little with each number, and spend
# their time fetching it and putting it back. (The next fold measures that.) So there are two ways to be faster on one
# machine: do arithmetic in a cheaper format, and move fewer bytes. bfloat16 does both. Fused attention and compilation
# do the second.

# %% [markdown] anchor="roof" tags=["deeper"]
# ## Arithmetic or memory?
#
# A processor does two things at once. It computes, at so many FLOP/s at best, and it moves numbers between memory and
# itself, at so many bytes per second. Whichever takes longer decides. So what matters about an operation is how many
# FLOPs it does for each byte that it must move. That is its *arithmetic intensity*. Adding two tensors in fp32 reads
# 8 bytes and writes 4 for a single FLOP. And a matrix product? Let it become wider, from one column to a thousand.

# %%
rows, inner = 8192, 512
tall = torch.randn(rows, inner)
calls, work_done = {}, {}
for columns in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
    W, out = torch.randn(inner, columns), torch.empty(rows, columns)
    calls[columns] = lambda W=W, out=out: torch.mm(tall, W, out=out)
    moved = 4 * (rows * inner + inner * columns + rows * columns)
    work_done[columns] = 2 * rows * inner * columns, moved
other, total = torch.randn_like(tall), torch.empty_like(tall)
calls["add"] = lambda: torch.add(tall, other, out=total)
work_done["add"] = tall.numel(), 12 * tall.numel()
calls["copy"] = lambda: total.copy_(tall)
with torch.inference_mode():
    times = {name: min(seconds) for name, seconds in stopwatch(calls).items()}
intensity = {name: flops / moved for name, (flops, moved) in work_done.items()}
for name in ("add", 1, 16, 1024):
    label = "addition" if name == "add" else f"product, columns: {name}"
    print(f"{label:22} {intensity[name]:7.2f} FLOPs per byte")
peak = max(flops / times[name] for name, (flops, _) in work_done.items())
bandwidth = 8 * tall.numel() / times["copy"]
assert intensity["add"] < intensity[1] < intensity[1024]
# A FLOP of the addition is dear:
assert times["add"] / tall.numel() > 2 * times[1024] / (rows * inner * 1024)

# %% alt="FLOPs per second against FLOPs per byte, both logarithmic. A line rises and then turns level: the roof. The point of the addition lies far down left. The points of matrix products climb as they get wider and level off under the flat part of the roof." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.8, 2.9))
span = torch.logspace(-1.6, 2.6, 200)
ax.plot(
    span,
    torch.clamp(span * bandwidth, max=peak) / 1e9,
    color=FAINT,
    label="roof: copy, then the best product",
)
points = {name: work_done[name][0] / times[name] / 1e9 for name in work_done}
wide = [name for name in points if name != "add"]
ax.plot(
    [intensity[n] for n in wide],
    [points[n] for n in wide],
    "o",
    markersize=5,
    label="matrix products",
)
for name in (1, 16, 1024):
    ax.annotate(
        f"{name}",
        (intensity[name], points[name]),
        (0, -12),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
ax.plot(intensity["add"], points["add"], "s", color=ACCENT, markersize=6, label="addition")
ax.set(xscale="log", yscale="log", xlabel="FLOPs per byte", ylabel="GFLOP/s", title=machine)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# The numbers at the points are columns. This is the *roofline* (Williams et al., 2009). Under the slope an operation
# waits for memory, and a faster multiplier would not help it. Under the flat part it waits for arithmetic. A roof says
# what cannot be exceeded, not what is reached: narrow products often stay well below it. (The slope is what a copy
# reached here. Where caches hold the tensors, a point may even lie a little above.)
#
# On a GPU the corner lies further to the right. An H100 does 989 TFLOP/s in bf16 at best, and reads
# 3.35 TB/s.

# %%
corner, widest = 989e12 / 3.35e12, 2 * intensity[1024]
print(f"H100: {corner:.0f} FLOPs per byte; our widest product in bf16: {widest:.0f}")
assert widest > corner

# %% [markdown] anchor="bf16"
# ## Half as many bits
#
# An fp32 number has 1 bit for the sign, 8 for the exponent and 23 for the digits. *bfloat16* keeps sign and exponent,
# and only the first 7 bits of the digits; with the leading 1, which is not stored, that makes 8. So it reaches as far
# as fp32, and is much coarser. We can round by hand: add half of what is to be cut off, and cut off 16 bits.


# %%
def to_bf16(x):
    """The nearest bfloat16 of each fp32 number; halfway, the one that ends in 0."""
    bits = x.view(torch.int32)
    last = (bits >> 16) & 1  # the last bit that stays
    return ((bits + 0x7FFF + last) & -0x10000).view(torch.float32)


z = torch.randn(100_000) * torch.logspace(-20, 20, 100_000)
assert torch.equal(to_bf16(z), z.bfloat16().float())
for k in (6, 7, 8, 9):
    rounded = to_bf16(torch.tensor([1 + 2**-k])).item()
    print(f"1 + 2^-{k} = {1 + 2**-k:.7f}   in bf16: {rounded:.7f}")
error = ((to_bf16(z) - z) / z).abs().max().item()
print("largest relative error below 2^-8:", error < 2**-8)
assert error < 2**-8

# %% [markdown]
# From 1 the next number is $1 + 2^{-7}$, and $1 + 2^{-9}$ is 1. For a product of two matrices that is good enough: its
# sums are kept in fp32 inside, and errors of many terms partly cancel. For a *weight* it is fatal. With AdamW a weight
# seldom moves by much more than a learning rate in a step ([lesson 6](06_training.ipynb#adamw)). Let one start at 1
# and move up by 0.001, a thousand times.

# %% predict="A thousand updates of 0.001 from 1. Where does each weight end?"
paths = {torch.float32: [1.0], torch.bfloat16: [1.0]}
for dtype, path in paths.items():
    weight = torch.ones((), dtype=dtype)
    for _ in range(1000):
        weight += 1e-3
        path.append(weight.item())
print({str(dtype): round(path[-1], 3) for dtype, path in paths.items()})
assert paths[torch.bfloat16][-1] == 1.0
assert abs(paths[torch.float32][-1] - 2.0) < 1e-3

# %% [markdown] tags=["answer"]
# Every single update was rounded away. No error, no warning, no learning. So the weights stay in fp32, and only a
# copy of them is rounded, for the products.
#
# > **The paper.** “Firstly, we recommend maintaining a single-precision copy of weights that accumulates the gradients
# > after each optimizer step (this copy is rounded to half-precision for the forward- and back-propagation).”
# > (Micikevicius et al., 2018, abstract)
#
# `torch.autocast` does that. It chooses a format for each operation: products in bf16, weights, gradients and the
# residual stream in fp32.

# %% [markdown] anchor="formats" tags=["deeper"]
# ### Which operation in which format?
#
# We ask a block.

# %%
seen = {}


def note_dtypes(name):
    return lambda _, inputs, out: seen.update({name: (inputs[0].dtype, out.dtype)})


block = model.blocks[0]
layers = {
    "norm1": block.norm1,
    "qkv": block.attn.qkv,
    "GELU": block.mlp.act,
    "block": block,
}
hooks = [part.register_forward_hook(note_dtypes(name)) for name, part in layers.items()]
with torch.autocast("cpu", torch.bfloat16):
    logits = model(images[:8])
logits.float().sum().backward()
for hook in hooks:
    hook.remove()
for name, (before, after) in seen.items():
    print(f"{name:6} {str(before)[6:]:9} -> {str(after)[6:]}")
weight = block.attn.qkv.weight
print(f"weight {str(weight.dtype)[6:]}, its gradient {str(weight.grad.dtype)[6:]}")
assert seen["qkv"][1] == seen["GELU"][1] == torch.bfloat16
assert seen["block"] == (torch.float32, torch.float32)
assert weight.dtype == weight.grad.dtype == torch.float32
model.zero_grad()

# %% [markdown]
# GELU takes bf16, too, as its input is a product.

# %% [markdown] anchor="pays"
# ### Does it pay?
#
# That depends on
# the processor, which must be able to multiply bf16 natively; otherwise it is *emulated*, and slower. `bf16_pays` in
# the package asks the processor, and the `Trainer` of lesson 6 follows its answer.

# %%
precisions = {"fp32": step, "bf16": lambda: step(bf16=True)} if bf16_here else {}
step_times = stopwatch(precisions, rounds=4)
print("this processor multiplies bf16 natively:", bf16_here)
if not bf16_here:
    print("so there is nothing to gain, and nothing to see on the right below")

# %% alt="Left, a weight over a thousand updates: in fp32 it rises in a straight line from 1 to 2, in bf16 it stays at 1. Right, where the processor has bf16, two bars with the time of a training step, the one in bf16 much shorter." jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.5), width_ratios=(3, 2))
for (dtype, path), color in zip(paths.items(), CYCLE[:2], strict=True):
    left.plot(
        path,
        color=color,
        label=f"weight in {'fp32' if dtype == torch.float32 else 'bf16'}",
    )
left.set(xlabel="updates of 0.001", ylabel="weight", ylim=(0.9, 2.1))
left.legend()
right.set(ylabel="milliseconds per step")
right.set_title(machine, fontsize=8)
draw_times(right, step_times, CYCLE[:2]) if bf16_here else right.axis("off")
plt.show()

# %% [markdown] anchor="attention" tags=["deeper"]
# ## Attention, explicit or fused
#
# The explicit path writes a matrix of $N \times N$ weights for each head and image, and keeps it for the backward
# pass. The fused one keeps a single number for each row. They compute the same.


# %%
def attend(path, q, k, v):
    """The result of one path, and the gradients of its three inputs."""
    fused = F.scaled_dot_product_attention
    out = explicit_attention(q, k, v)[0] if path == "explicit" else fused(q, k, v)
    return out, torch.autograd.grad(out.square().sum(), (q, k, v))


lengths = [64, 128, 256, 512, 1024]
calls = {}
for N in lengths:
    qkv = [torch.randn(8192 // N // 4, 4, N, 32, requires_grad=True) for _ in range(3)]
    for path in ("explicit", "fused"):
        calls[path, N] = lambda path=path, qkv=qkv: attend(path, *qkv)
    for one, two in zip(calls["explicit", N]()[1], calls["fused", N]()[1], strict=True):
        assert_close(one, two, rtol=1e-3, atol=1e-4)
print("outputs and gradients agree for N =", lengths)
attention_times = stopwatch(calls, rounds=4)

sizes = [(32 * n, get_config("vit_b_16", img_size=32 * n)) for n in (4, 7, 10, 14, 20)]
kept = {
    path: [activation_bytes(c, fused=path == "fused") / 1e6 for _, c in sizes]
    for path in ("explicit", "fused")
}
print("ViT-B/16 in bf16, megabytes kept of one image:")
for (side, c), one, two in zip(sizes, *kept.values(), strict=True):
    tokens = c.num_tokens
    print(f"{side:4} pixels, {tokens:5} tokens: explicit {one:6.0f}, fused {two:6.0f}")
assert kept["explicit"][-1] > 2 * kept["fused"][-1]

# %% alt="Left: megabytes kept for the backward pass against the number of tokens; the explicit curve bends upwards steeply, the fused one is straight and far below. Right: the time of attention forward and backward in fp32, for a fixed total of tokens, against N: the explicit path rises, the fused path rises more slowly." jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.7))
for path, color in (("explicit", ACCENT), ("fused", CYCLE[0])):
    left.plot(
        [c.num_tokens for _, c in sizes],
        kept[path],
        "o-",
        color=color,
        markersize=4,
        label=path,
    )
    runs = [[1e3 * s for s in attention_times[path, N]] for N in lengths]
    least, middle = [min(run) for run in runs], [statistics.median(run) for run in runs]
    right.plot(lengths, least, "o-", color=color, markersize=4, label=path)
    right.fill_between(lengths, least, middle, color=color, alpha=0.2)
left.set(xlabel="tokens", ylabel="MB kept of an image, ViT-B/16", title="counted")
right.set(xlabel="tokens in a sequence (2,048 in all)", ylabel="ms, forward and backward")
right.set_title(machine, fontsize=8)
right.set_xscale("log", base=2)
for ax in (left, right):
    ax.set_ylim(0, None)
    ax.legend()
plt.show()

# %% [markdown]
# The left panel is arithmetic, from `activation_bytes` in the package, which we shall check below. The right panel is
# a clock, in fp32, on the machine that it names. Both speak for the fused kernel at long sequences. Is it always to be
# preferred? Not on every processor. In bf16 on a CPU the package writes attention out below 1,024 tokens. That rule was
# measured, and [lesson 3](03_attention.ipynb#two-paths) prints it.

# %% [markdown] anchor="compile"
# ## Compile
#
# A chain of small operations reads and writes all of its data at every link. A compiler can make one loop of the chain,
# which reads once and writes once. `torch.compile` does that. It traces the function into a graph, writes C++ (on a
# GPU, Triton), and compiles it. That takes seconds to minutes, and on a CPU it needs a C++ compiler. Where there is
# none the cell says so and goes on.


# %% jupyter={"source_hidden": true}
def compiled(function, *arguments):
    """The compiled function, run once; or None where that cannot be."""
    fast = torch.compile(function, fullgraph=True)
    try:
        fast(*arguments)
    except BackendCompilerFailed:
        print("no working C++ compiler on this machine: not compiled")
        return None
    return fast


# %%
def chain(x):
    return F.gelu(x) * torch.sigmoid(x) + x


x = torch.randn(2048, 1024)
model2, few = create_model("vit_nano_4", depth=2).eval(), images[:64]
with torch.no_grad():
    fast_chain, fast_model = compiled(chain, x), compiled(model2, few)
    pairs = {
        "chain": (chain, fast_chain, x),
        "ViT, 2 blocks": (model2, fast_model, few),
    }
    compile_times = {}
    for name, (slow, fast, argument) in pairs.items():
        calls = {"as it is": lambda slow=slow, argument=argument: slow(argument)}
        if fast is not None:
            assert_close(fast(argument), slow(argument), rtol=1e-3, atol=1e-4)
            print(f"{name:14} compiled, and equal")
            calls["compiled"] = lambda fast=fast, argument=argument: fast(argument)
        compile_times[name] = stopwatch(calls, rounds=8)

# %% alt="Two panels of bars, as it is and compiled. For the chain of element-wise operations the compiled bar is shorter. For the forward pass of a small Vision Transformer the compiled bar is a little shorter, or about as high." jupyter={"source_hidden": true} predict="A chain of small operations, and a small ViT. Which of them gains from compiling?"
figure, axes = plt.subplots(1, 2, figsize=(WIDTH * 0.8, 2.3))
for ax, (name, times) in zip(axes, compile_times.items(), strict=True):
    draw_times(ax, times)
    ax.set(ylabel="milliseconds", title=name)
figure.suptitle(machine, fontsize=8)
plt.show()

# %% [markdown] tags=["answer"]
# The chain gains, and the model gains less, or nothing: most of its time is in matrix products, which were compiled
# long ago, by people who do nothing else. “The rest” of the profile is what compilation can shrink. On a GPU that part
# is larger, because the products are so fast there. So measure before you believe, and remember the time that
# compiling takes.

# %% [markdown] anchor="accumulation"
# ## A batch that does not fit
#
# The paper trains with 4,096 images in a batch. What if they do not fit? The loss of a batch is a mean over its
# images, and so is its gradient. So cut the batch into $k$ equal parts, send one after another forward and backward,
# divide each loss by $k$, and let the gradients add up. `backward` adds anyway.
#
# What fills the memory is what autograd keeps from the forward pass for the backward pass. We count it.

# %% [markdown] anchor="keeping" tags=["deeper"]
# ### Counting what autograd keeps
#
# PyTorch calls two functions of ours for each tensor that it keeps and takes out again.


# %%
@contextmanager
def keeping(model):
    """Counts the bytes that autograd keeps, weights apart, as a list of one number."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages, total = {}, []

    def note(t):
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage()  # (1)!
        return t

    with saved_tensors_hooks(note, lambda t: t):
        yield total
    kept = (s.nbytes() for address, s in storages.items() if address not in own)
    total.append(sum(kept))


# %% [markdown]
# 1. A view shares the storage of the tensor that it is cut from, so storages are counted, not tensors. And they are
#    held until the count is over, or an address could be used twice.

# %% [markdown] anchor="equal-parts"
# ### The same gradient, in parts
#
# Here is the batch in parts. `keeping` counts the bytes that autograd keeps during a forward pass.


# %% predict="Batch of 128 in 2, 4, 8 parts: what happens to the bytes kept at one time?"
def gradient(parts):
    """The gradient of the batch, and the bytes kept at one time."""
    model.zero_grad()
    for some, y in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        with keeping(model) as total:
            # A view would keep the pixels of the whole batch, so `clone`.
            logits = model(some.clone())
        (F.cross_entropy(logits, y) / parts).backward()
    return [p.grad.clone() for p in model.parameters()], total[0]


whole, bytes_kept = gradient(1)
table = {1: bytes_kept}
for parts in (2, 4, 8):
    grads, table[parts] = gradient(parts)
    for one, other in zip(whole, grads, strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-5)
for parts, found in table.items():
    formula = activation_bytes(config, B // parts, bf16=False)
    print(f"{parts} part(s): {found:12,} bytes kept; activation_bytes: {formula:12,}")
    assert found == formula

# %% [markdown] tags=["answer"]
# The gradients agree, and the formula is right to the byte. It knows what each operation needs for its backward pass:
# the inputs of the linear layers, of GELU and of the norms, and queries, keys and values.

# %% alt="Stacked bars of memory for 1, 2, 4 and 8 parts of a batch. A small constant piece at the bottom is weights, gradients and Adam's moments. The large piece above it, activations, halves with each doubling of the number of parts." jupyter={"source_hidden": true}
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.5))
state = 16 * count_parameters(config) / 1e6
ax.bar(
    [str(parts) for parts in table],
    state,
    color=INK,
    label="weights, gradients, moments",
)
ax.bar(
    [str(parts) for parts in table],
    [kept / 1e6 for kept in table.values()],
    bottom=state,
    label="activations",
)
ax.set(xlabel="parts of the batch", ylabel="megabytes")
ax.legend()
plt.show()

# %% [markdown]
# What would break it? Anything that mixes the images of a batch. Here are two normalisations.

# %% predict="Which of the two gives the same for a batch in parts?"
x = torch.randn(64, 16)
for layer in (nn.LayerNorm(16), nn.BatchNorm1d(16)):
    parts = torch.cat([layer(part) for part in x.chunk(4)])
    same = torch.allclose(layer(x), parts, atol=1e-5)
    print(f"{type(layer).__name__:12} whole and in parts the same: {same}")
    assert same == isinstance(layer, nn.LayerNorm)

# %% [markdown] tags=["answer"]
# A layer norm looks at one token only. Batch normalisation uses the mean of the batch, and a part has another mean.

# %% [markdown] anchor="ring"
# ## Many processes: the ring
#
# Now let the parts be computed at the same time, by $k$ processes, each on its own processor with its own copy of the
# weights. Each process has a number, its *rank*. When all have their gradients, everybody needs the sum of all. The
# exchange that gives it to them is an *all-reduce*. It need not cost much: in a *ring* each sends less than twice its
# gradient, however many processes there are.

# %% [markdown] anchor="ring-by-hand" tags=["deeper"]
# ### The ring, by hand
#
# If each sent its gradient to a first one, that one would receive $k - 1$ gradients and be the bottleneck. The ring has
# none. Each process sends only to the next, the gradient is cut into $k$ chunks, and at each moment every process
# passes on a different one.


# %%
def ring_all_reduce(gradients):
    """Sum `k` tensors in `k` places by messages to the next place.

    Also: bytes sent, and who holds what.
    """
    k = len(gradients)
    chunks = [list(g.chunk(k)) for g in gradients]  # chunks[rank][c]
    terms = [torch.ones(k, k)]  # terms[step][rank, c]: so many gradients are in it
    sent = [0] * k
    for step in range(2 * (k - 1)):
        messages = [chunks[rank][(rank - step) % k] for rank in range(k)]
        gather = step >= k - 1  # (1)!
        terms.append(terms[-1].clone())
        for rank, message in enumerate(messages):
            c, to = (rank - step) % k, (rank + 1) % k
            chunks[to][c] = message if gather else chunks[to][c] + message
            terms[-1][to, c] = terms[-2][rank, c] + (0 if gather else terms[-2][to, c])
            sent[rank] += message.nbytes
    return [torch.cat(c) for c in chunks], sent, terms


gradients = [torch.randn(1200) for _ in range(4)]
reduced, sent, terms = ring_all_reduce(gradients)
for one in reduced:
    assert_close(one, sum(gradients))
nbytes = gradients[0].nbytes
print(f"a gradient has {nbytes} bytes; each rank has sent {sent[0]}: 2 · 3/4 of it")
assert sent == [ring_bytes(nbytes, 4)] * 4
for k in (2, 8, 64, 1024):
    share, n = ring_bytes(1, k), 2 * (k - 1)
    print(f"{k:5} ranks: each sends {share:.3f} times its gradient, in {n:5} messages")

# %% [markdown]
# 1. First half, *reduce-scatter*: what arrives is added. After it each rank has one chunk that is complete. Second
#    half,
#    *all-gather*: what arrives is complete, and replaces.

# %% alt="Seven small tables of four ranks by four chunks, from the start to the sixth message. At the start all entries are 1. For three messages one entry in each row grows to 2, 3 and 4 along diagonals. For three more the fours spread until the whole table is 4." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 7, figsize=(WIDTH, 1.45))
for i, (ax, count) in enumerate(zip(axes, terms, strict=True)):
    title = "start" if i == 0 else f"message {i}"
    draw_matrix(ax, count, values="{:.0f}", limits=(0, 5), title=title).axes.title.set_fontsize(8)
axes[0].set(xlabel="chunk", ylabel="rank")
plt.show()

# %% [markdown]
# The numbers say how many gradients are in a chunk. Look at what each process sends: less than twice its gradient,
# *however many processes there are*. The bytes do not grow. What grows is the number of messages, each of which also
# takes a moment to set out. Patarasuk and Yuan (2009) show that no all-reduce can do with fewer bytes.

# %% [markdown] anchor="torchrun"
# ## Two processes, now
#
# `torchrun` starts processes and tells each its rank. They find one another, and then `all_reduce` is a function that
# all of them call. Here is a complete program. Each rank computes the gradient of its half of the batch, they add up,
# and each compares with the gradient of the whole batch.

# %%
SCRIPT = """
import torch
import torch.distributed as dist
import torch.nn.functional as F
from vit import create_model

dist.init_process_group("gloo")  # between CPUs; "nccl" between GPUs
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)  # the same weights everywhere
model = create_model("vit_nano_4", depth=2)
images, labels = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))

def gradient(images, labels):
    loss = F.cross_entropy(model(images), labels)
    return loss.detach(), torch.autograd.grad(loss, list(model.parameters()))

loss, whole = gradient(images, labels)
part, mine = gradient(images[rank::world], labels[rank::world])
before = all(torch.allclose(m, g, rtol=1e-3, atol=1e-5) for m, g in zip(mine, whole))
first = torch.allclose(part, loss, rtol=1e-4)
for tensor in (part, *mine):
    dist.all_reduce(tensor)
    tensor /= world
after = all(torch.allclose(m, g, rtol=1e-3, atol=1e-5) for m, g in zip(mine, whole))
mean = torch.allclose(part, loss)
if rank == 0:
    print(f"{world} processes. The whole gradient, before: {before}, after: {after}")
    print(f"Loss of the whole batch, of rank 0 alone: {first}, mean of all: {mean}")
dist.destroy_process_group()
"""
(work / "two.py").write_text(SCRIPT)


# %% [markdown]
# Now we start it, as `torchrun --standalone --nproc_per_node=2 two.py` would in a terminal.


# %% jupyter={"source_hidden": true}
def torchrun(*arguments, processes=2):
    """What `torchrun --standalone --nproc_per_node=...` prints; one thread for each process."""
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
    ]
    command = [sys.executable, *launcher, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if os.name == "nt":
        environment["USE_LIBUV"] = "0"  # PyTorch for Windows comes without that library
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


# %% predict="Does half a batch have the gradient of the whole, before the exchange? And after?"
said = torchrun("two.py")
print(said.strip())
assert "before: False, after: True" in said

# %% [markdown] tags=["answer"]
# > **Common mistake.** Printing the loss of rank 0 as the loss of training. It is the loss of one part of the batch, as
# > the second line says. The same holds for accuracy, and it is worse in validation, where rank 0 may have seen an
# > eighth of the pictures. All-reduce the sums, then divide.
#
# In practice one wraps the model in `DistributedDataParallel` (DDP). It does the same, with two refinements. Gradients
# are sent in *buckets* of some megabytes, so that there are few messages. And a bucket leaves as soon as it is full,
# while the backward pass is still busy with earlier layers. So messages travel while the processor computes. Our
# `Trainer` uses it, so the command line trains with several processes without further ado. Is it the same training?

# %% jupyter={"source_hidden": true}
settings = [
    "train_size=128",
    "epochs=10",
    "batch_size=16",
    "lr=3e-3",
    "img_size=16",
    "bf16=false",
]
settings += ["accumulate=2", "model_options.depth=2", "model_options.embed_dim=64"]
settings += ["model_options.drop_path_rate=0.1"]
common = [word for setting in settings for word in ("--set", setting)]
common = ["-m", "vit", "train", "--quiet", "--device", "cpu", *common]


def read_rows(folder):
    with (work / folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


# %%
names = ("train_loss", "val_loss")
curves, losses = {}, {}
for processes in (1, 2):
    torchrun(*common, "--out", f"run{processes}", processes=processes)
    curves[processes] = read_rows(f"run{processes}")
    rows = [[row[name] for name in names] for row in curves[processes]]
    losses[processes] = torch.tensor(rows)
assert_close(losses[1], losses[2], rtol=5e-3, atol=0)
assert losses[2][-1, 0] < losses[2][0, 0] - 0.1

# %% alt="Training and validation loss over the epochs. The run with one process is drawn as lines, the run with two processes as rings on top of it. The rings lie exactly on the lines." jupyter={"source_hidden": true} predict="One process and two: will the losses agree, or only resemble each other?"
print(f"losses of {len(curves[1])} epochs, one process and two: within half a per cent")
figure, ax = plt.subplots(figsize=(WIDTH * 0.7, 2.5))
for name, color in zip(names, (CYCLE[0], ACCENT), strict=True):
    part = "training" if name == "train_loss" else "validation"
    for processes, style in (
        (1, {"linewidth": 1.5}),
        (2, {"linestyle": "", "marker": "o", "markerfacecolor": "none"}),
    ):
        epochs = [row["epoch"] for row in curves[processes]]
        label = f"{part}, {processes} process{'es' if processes == 2 else ''}"
        ax.plot(
            epochs,
            [row[name] for row in curves[processes]],
            color=color,
            label=label,
            **style,
        )
ax.set(xlabel="epoch", ylabel="loss")
ax.legend(loc="center right")
plt.show()

# %% [markdown] tags=["answer"]
# One process cuts each batch in two and adds up. Two processes take one part each. Stochastic depth draws from the
# seed, the step and the number of the *part*, not of the process, so even the random numbers agree. What remains is
# rounding. (A hundred or so pictures teach the model nothing but themselves, so validation gets worse. Here we only ask
# whether both do the same.) We do not ask about speed: each process has one thread here,
# and a single process with more threads could use the same cores.

# %% [markdown] anchor="paper" tags=["deeper"]
# ## The arithmetic of a cluster
#
# Now we can plan. The task is ViT-B/16 on ImageNet: 1.28 million images, 300 epochs, 4,096 images in a batch. What do
# we need on 1, 8 or 64 GPUs? First memory. Under autocast a parameter costs 4 bytes for the weight, 4 for its gradient,
# 8 for Adam's two moments and 2 for the copy in bf16. On top come the activations, for each image. Two more models
# stand beside it: the paper's largest, ViT-H/14, and one as wide and as deep as ViT-22B (Dehghani et al., 2023), which
# is there to cause trouble.

# %%
IMAGENET, EPOCHS, BATCH = 1_281_167, 300, 4096
base = get_config("vit_b_16")
huge = ViTConfig(patch_size=14, embed_dim=6144, depth=48, num_heads=48)
models = {"ViT-B/16": base, "ViT-H/14": get_config("vit_h_14"), "22B": huge}
for name, c in models.items():
    count, kept_mb = count_parameters(c), activation_bytes(c) / 1e6
    print(f"{name:9} {count / 1e6:9,.0f} M parameters,", end=" ")
    print(f"{18 * count / 1e9:7.2f} GB with all that belongs to them,")
    print(f"{'':9} {kept_mb:9,.0f} MB kept of an image,", end=" ")
    print(f"{training_flops(c) / 1e9:9,.0f} GFLOPs to train on it")
total = IMAGENET * EPOCHS * training_flops(base)
print(f"ViT-B/16, the whole run: {total:.2e} FLOPs")
assert 18 * count_parameters(huge) > 80e9

# %% [markdown]
# An H100 has 80 GB. The first two models fit easily, so each GPU can hold a whole copy: that is DDP. The third does
# not fit, whatever the batch. But look at what eight copies of it would hold: the same weights eight times, the same
# moments eight times. *ZeRO* (Rajbhandari et al., 2020) stores each part only once, on one of the GPUs. In PyTorch
# this is FSDP (Zhao et al., 2023), *fully sharded*. Before a block computes, its weights are gathered from all;
# afterwards they are dropped, and its gradient goes only to the GPU that keeps that part.
#
# The price is paid on the wire. DDP sends an all-reduce, that is a reduce-scatter and an all-gather of gradients. FSDP
# sends a reduce-scatter of gradients, and an all-gather of weights twice, before the forward and before the backward
# pass. With equal formats that is three against two. With weights in bf16 the two gathers cost no more than one in
# fp32.

# %%
count = count_parameters(base)
for world in (8, 64):
    ddp, mixed = traffic(count, world), traffic(count, world, sharded=True)
    plain = traffic(count, world, sharded=True, weight_bytes=4)
    print(f"{world:3} GPUs, MB sent by each: DDP {ddp / 1e6:.0f},", end=" ")
    print(f"FSDP {plain / 1e6:.0f}, with bf16 {mixed / 1e6:.0f}")
    assert plain == 1.5 * ddp == 1.5 * mixed

# %% [markdown]
# All this is in a few short functions in `vit/cost.py`. Here is the one for memory.

# %%
print(inspect.getsource(training_memory))

# %% [markdown]
# Then time. Here we must assume something, and everything that we assume stands in one cell. The speeds of the GPU
# and of NVLink are half of those in NVIDIA's data sheet, which counts sparse matrices and both directions. The networks
# are our choice. The utilisation is a guess: it is the part of the peak that a model reaches, *model FLOPs
# utilisation* (Chowdhery et al., 2022).

# %%
GPU = {"peak": 989e12, "utilisation": 0.4}  # FLOP/s, H100 SXM, dense bf16
MEMORY = 80e9  # bytes
NVLINK = 450e9  # bytes/s in one direction, for each GPU, inside a machine of eight
# 400 Gbit/s between machines with one GPU in each: every message of the ring crosses it
NETWORK = 50e9
SLOW = 10e9 / 8  # 10 Gbit/s, ordinary Ethernet


def plan(config, world, sharded=False):
    """Images on each GPU at one time, parts, bytes of memory, bytes sent in a step."""
    parts = 1
    while True:
        images = BATCH // world // parts
        memory = training_memory(config, images, world, sharded=sharded)
        if sum(memory.values()) < MEMORY or images == 1:
            break
        parts *= 2
    sent = traffic(count_parameters(config), world, sharded=sharded)
    if sharded:
        sent *= parts  # (1)!
    return images, parts, memory, sent


def duration(config, world, sent, bandwidth, overlap=True):
    flops = training_flops(config, BATCH // world)
    hidden = 2 / 3 if overlap else 0.0  # during the backward pass, as DDP does
    return step_seconds(flops, sent, bandwidth=bandwidth, hidden=hidden, **GPU)


print("model     GPUs        images × parts   memory GB  fits", end="")
print("   sent GB   step s   300 epochs")
for name, c in models.items():
    for world, sharded in ((1, False), (8, False), (64, False), (8, True), (64, True)):
        if sharded and name != "22B":
            continue
        size, parts, memory, sent = plan(c, world, sharded)
        need = sum(memory.values())
        how = "FSDP" if sharded else "DDP" if world > 1 else ""
        line = f"{name:9} {world:4} {how:5} {size:8} × {parts:4}"
        line += f" {need / 1e9:12.1f}   {'yes' if need < MEMORY else 'no':4}"
        if need < MEMORY:
            seconds = duration(c, world, sent, NVLINK if world == 8 else NETWORK)
            hours = seconds * IMAGENET * EPOCHS / BATCH / 3600
            line += f" {sent / 1e9:8.1f} {seconds:8.3f} {hours:8.1f} hours"
        print(line)
slow, fast = (plan(huge, world, sharded=True)[3] for world in (8, 64))
assert 2.5 < duration(huge, 8, slow, NVLINK) / duration(huge, 64, fast, NETWORK) < 3
copy, share = (sum(plan(huge, 64, sharded=s)[2].values()) for s in (False, True))
assert copy > MEMORY > share

# %% [markdown]
# 1. With DDP the parts are added up at home, and the sum is sent once. With FSDP weights are gathered and gradients
#    scattered for every part anew.

# %% alt="Two panels of stacked bars of memory per GPU in gigabytes, with a dashed line at 80. Left, ViT-B/16 on 1, 8 and 64 GPUs: nearly all of each bar is activations, and the bar for 64 is small. Right, the 22B model: a whole copy on each GPU reaches far above the line, most of it moments; sharded over 8 or 64 it stays below, and over 64 nearly all that is left is activations." jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
cases = {
    left: {
        "1": (base, 1, False),
        "8, DDP": (base, 8, False),
        "64, DDP": (base, 64, False),
    },
    right: {
        "64, DDP": (huge, 64, False),
        "8, FSDP": (huge, 8, True),
        "64, FSDP": (huge, 64, True),
    },
}
for ax, bars in cases.items():
    memories = {label: plan(*case)[2] for label, case in bars.items()}
    bottom = [0.0] * len(bars)
    for part, color in zip(
        memories[next(iter(bars))],
        [INK, CYCLE[5], CYCLE[3], CYCLE[2], CYCLE[0]],
        strict=True,
    ):
        heights = [memory[part] / 1e9 for memory in memories.values()]
        ax.bar(list(bars), heights, bottom=bottom, color=color, label=part)
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    ax.axhline(80, color=INK, linewidth=1, linestyle="--")
    ax.set(xlabel="GPUs")
left.set(ylabel="GB on each GPU", title="ViT-B/16", ylim=(0, 100))
right.set(title="22B")
right.legend(fontsize=7.5)
plt.show()

# %% [markdown]
# For ViT-B/16 memory is a matter of activations, and one chooses the number of parts so that they fit. The 22B model
# does not fit as a whole copy, however many GPUs there are. (Tensor and pipeline parallelism, which divide matrices and
# layers, are other ways to cut it up; Dehghani et al. divided the matrices.) Note what FSDP does *not* shard: the
# activations. The bar for 64 GPUs is mostly those, of only a few images. And here is the catch. Few images at one time
# mean many parts, and the weights are gathered anew for each. In the last two lines of the table eight times as many
# GPUs are about three times as fast: each sends less, over a much slower wire, and waits. (Exercise 3 finds a way out.
# We took 64 machines of one GPU. With eight in each, libraries add up over NVLink first, and an adapter carries about a
# ninth: that is why clusters are built so.)
#
# How fast must the wire be? We take ViT-B/16 with DDP, on 8 GPUs over NVLink and on 64 GPUs over two other wires.

# %% alt="Stacked bars of milliseconds per step for ViT-B/16 on 8 GPUs over NVLink and on 64 GPUs over two wires, with and without overlap. The computing part is the same for all bars with 64. Over NVLink nothing or little is added, over the 400-gigabit network something without overlap and next to nothing with it, over the slow network waiting is many times the computing." jupyter={"source_hidden": true}
wires = {
    "8 GPUs\nNVLink": (8, NVLINK),
    "64 GPUs\n400 Gbit/s each": (64, NETWORK),
    "64 GPUs\n10 Gbit/s": (64, SLOW),
}
figure, ax = plt.subplots(figsize=(WIDTH * 0.85, 2.8))
for i, (world, wire) in enumerate(wires.values()):
    compute = duration(base, world, 0, wire)
    for shift, overlap, color in ((-0.2, False, ACCENT), (0.2, True, CYCLE[1])):
        waiting = duration(base, world, plan(base, world)[3], wire, overlap) - compute
        bar = {"width": 0.36, "edgecolor": "white"}
        ax.bar(i + shift, 1e3 * compute, color=CYCLE[0], **bar)
        ax.bar(
            i + shift,
            1e3 * waiting,
            bottom=1e3 * compute,
            color=color,
            hatch="/" * 2 * overlap,
            **bar,
        )
ax.legend(
    ax.containers[:2] + ax.containers[3:4],
    ["computing", "waiting, first compute and then send", "waiting, overlapped"],
)
ax.set(xticks=range(3), xticklabels=wires, ylabel="milliseconds per step")
plt.show()

# %%
for name, (world, wire) in wires.items():
    sent = plan(base, world)[3]
    fraction = duration(base, world, 0, wire) / duration(base, world, sent, wire)
    print(f"{name.replace(chr(10), ', '):32} computing {fraction:6.1%} of the time")
assert duration(base, 64, plan(base, 64)[3], SLOW) > 5 * duration(base, 64, 0, SLOW)

# %% [markdown]
# With eight GPUs the wire can be forgotten. With 64 on a good network most of it can be hidden. On a poor one
# the GPUs wait nearly all the time, and eight on the same wire would be no slower. Why? The batch
# is the same, so each computes less, and each sends as much as before.
#
# What would a batch that grows along with the GPUs do? Each would compute as much as before, and the wire would matter
# less. But training would be another one, with fewer steps, and its learning rate is an open question. For SGD there
# is a rule that works surprisingly far:
#
# > **The paper.** “When the minibatch size is multiplied by k, multiply the learning rate by k.” (Goyal et al., 2017,
# > section 2.1)
#
# It comes with a warm-up, and Goyal et al. saw it fail beyond some 8,000 images. For Adam there is less agreement. In
# our recipes `batch_size` counts the images of *all* processes together, so that more processes change the time and
# nothing else.

# %% [markdown] anchor="measured" tags=["deeper"]
# ## Checked against what was measured
#
# A plan is as good as its parts. Three of them we can check here to the last digit: FLOPs (done above), memory and
# traffic. DDP will tell us what it sends, if we put ourselves between it and the wire. For that one process is enough.

# %%
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
shared = DistributedDataParallel(model)
buckets = []


def count_bytes(_, bucket):
    """Stands in for the all-reduce."""
    buckets.append(bucket.buffer().nbytes)
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


shared.register_comm_hook(None, count_bytes)
F.cross_entropy(shared(images), labels).backward()
count = count_parameters(config)
print(f"DDP hands over {sum(buckets):,} bytes; 4 for each parameter: {4 * count:,}")
assert sum(buckets) == 4 * count

moments = 0
for state in optimizer.state.values():
    moments += sum(t.nbytes for key, t in state.items() if key.startswith("exp_avg"))
print(f"Adam's moments: {moments:,} bytes; the plan says {8 * count:,}")
assert moments == 8 * count


def kept_in_bf16(size):
    """The bytes kept of a forward pass of so many images."""
    with keeping(model) as total, torch.autocast("cpu", torch.bfloat16):
        model(images[:size].clone())
    return total[0]


difference = kept_in_bf16(32) - kept_in_bf16(16)
explicit = bool(prefers_explicit(torch.empty(1, 4, 65, 32, dtype=torch.bfloat16)))
formula = activation_bytes(config, 16, fused=not explicit, bf16=True)
print(f"16 images in bf16: {difference:,} bytes; the plan says {formula:,}")  # (1)!
assert difference == formula

# %% [markdown]
# 1. The difference of two batches, because the bf16 copies of the weights are kept as well, and do not depend on the
#    batch. On a CPU. A GPU may keep a few things more in fp32; that we could not check.

# %% [markdown]
# And time? We do for this machine what we did for the H100. Its peak is what a large product of two matrices reaches
# at its quickest, between the models, and we assume a utilisation of 100 %, which nobody has.

# %%
subjects = {"vit_nano_4": 64, "vit_mini_4": 32, "vit_ti_16": 8}
formats = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if bf16_here else {})
square = torch.randn(1024, 1024)
squares = {name: square.to(dtype) for name, dtype in formats.items()}
products, measured = {name: [] for name in formats}, {}
for preset, size in subjects.items():
    c, one = get_config(preset), create_model(preset)
    batch, y = torch.randn(size, 3, *c.img_size), torch.randint(10, (size,))

    def train_on(bf16, one=one, batch=batch, y=y):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = one(batch)
        F.cross_entropy(logits.float(), y).backward()

    calls = {name: lambda name=name, f=train_on: f(name == "bf16") for name in formats}
    # The products take turns with the models:
    calls |= {(name,): lambda m=m: m @ m for name, m in squares.items()}
    times = stopwatch(calls, rounds=4)
    for name in formats:
        products[name] += times[(name,)]
        measured[preset, name] = [s / size for s in times[name]]
predicted = {}
for preset, name in measured:
    here = {
        "peak": 2 * 1024**3 / min(products[name]),
        "utilisation": 1.0,
        "bandwidth": 1.0,
    }
    flops = training_flops(get_config(preset))
    predicted[preset, name] = [step_seconds(flops, 0, **here)]
assert all(min(measured[key]) > 0.5 * predicted[key][0] for key in predicted)

# %% alt="Three panels, one for each of three models, with pairs of bars of milliseconds per image in fp32 and, where the processor has it, in bf16. The predicted bar is lower than the measured one in each pair, and by a larger factor in bf16." jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.6))
places = torch.arange(len(formats))
for ax, preset in zip(axes, subjects, strict=True):
    for times, shift, color, label in (
        (predicted, -0.2, FAINT, "predicted"),
        (measured, 0.2, CYCLE[0], "measured"),
    ):
        draw_times(
            ax,
            {name: times[preset, name] for name in formats},
            color,
            places + shift,
            0.38,
            label,
        )
    ax.set(xticks=places, xticklabels=formats, title=preset)
axes[0].set_ylabel("ms per image")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
figure.suptitle(machine, fontsize=8)
plt.show()

# %% [markdown]
# The prediction is meant as a lower bound. It knows which model is the slower one and, where there are two, which
# format. It leaves out “the rest”, and lets attention run as fast as a large product. In bf16 both weigh more, because
# the products have become faster and the rest has not. So utilisation falls as arithmetic gets cheaper. This is the
# honest reason why 40 % for an H100 is a guess, and why one should measure a single GPU before one rents sixty-four.
#
# One measurement by others can be held against our arithmetic. Touvron et al. (2021) report 53 hours for 300 epochs of
# DeiT-B, which has the size of ViT-B/16, on one node, and 37 hours on two. A node of theirs has eight GPUs. If these
# were V100s, whose peak is 125 TFLOP/s in fp16, what was their utilisation?

# %%
for nodes, hours in ((1, 53), (2, 37)):
    utilisation = total / (8 * nodes * 125e12 * hours * 3600)
    print(f"{nodes} node(s), {hours} hours: {utilisation:.0%}")
    assert 0.1 < utilisation < 0.3

# %% [markdown]
# Far from 40 %, and worse on two nodes than on one, as the bars above would lead one to expect. But the wire is only
# one possible reason; reading and augmenting pictures is another.

# %% [markdown] anchor="data" tags=["deeper"]
# ## Data for a cluster
#
# How many pictures does a cluster eat? From the plan: 4,096 for each step.

# %%
seconds = duration(base, 64, plan(base, 64)[3], NETWORK)
rate = BATCH / seconds
print(f"64 GPUs: {rate:,.0f} pictures per second;", end=" ")
print(f"at 110 kB each {rate * 110e3 / 1e9:.0f} GB per second")
print(f"if a core decodes and augments one in 10 ms: {rate * 0.01:,.0f} cores")
assert rate * 0.01 > 1000

# %% [markdown]
# (The 110 kB and the 10 ms are assumptions, of the right order for ImageNet at full size. Measure yours.) A million
# small files make it worse. Each must be looked up, opened and closed, and on a network file system each of these is a
# message to a server. Disks and networks love long reads. So one packs a thousand or so pictures into one file, a
# *shard*, and reads it from front to end. The simplest shard is a tar archive, and Python can write it.

# %%
SHARDS, EACH = 8, 40
for s in range(SHARDS):
    with tarfile.open(work / f"train-{s:03}.tar", "w") as shard:
        for i in range(s * EACH, (s + 1) * EACH):
            png = io.BytesIO()
            picture, label = data.train.batch(torch.tensor([i]))
            Image.fromarray(picture[0].permute(1, 2, 0).numpy()).save(png, "png")
            for suffix, content in (
                ("png", png.getvalue()),
                ("cls", str(label.item()).encode()),
            ):
                member = tarfile.TarInfo(f"{i:06}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def read_shard(path):
    """Pairs of key and label, in order; `|` reads it as a stream, without seeking."""
    with tarfile.open(path, "r|") as shard:
        for member in shard:
            key, _, suffix = member.name.partition(".")
            content = shard.extractfile(member).read()
            if suffix == "png":
                pixels = Image.open(io.BytesIO(content)).size
            else:
                yield int(key), int(content), pixels


def stream(seed, epoch, rank=0, world=1, buffer_size=60, shuffle_shards=True):
    """The pictures of this rank in this epoch, shuffled at two levels."""
    order = random.Random(f"{seed} {epoch}")  # (1)!
    shards = sorted(work.glob("train-*.tar"))
    if shuffle_shards:
        order.shuffle(shards)
    buffer, draw = [], random.Random(f"{seed} {epoch} {rank}")
    for path in shards[rank::world]:
        for sample in read_shard(path):
            buffer.append(sample)
            if len(buffer) > buffer_size:
                yield buffer.pop(draw.randrange(len(buffer)))  # (2)!
    draw.shuffle(buffer)
    yield from buffer


two = [list(stream(0, 0, rank, world=2)) for rank in range(2)]
keys = [{key for key, _, _ in part} for part in two]
print("pictures of ranks 0, 1:", *map(len, two), " in common:", len(keys[0] & keys[1]))
assert not keys[0] & keys[1]
assert keys[0] | keys[1] == set(range(SHARDS * EACH))
for key, label, size in two[0]:
    assert label == data.train.labels[key]
    assert size == (32, 32)
assert two[0] == list(stream(0, 0, 0, world=2)) != list(stream(0, 1, 0, world=2))

# %% [markdown]
# 1. The order of the shards is the same for all ranks, or they would not share them out without gaps and overlaps.
# 2. A stream cannot be shuffled as a whole. But one can hold some pictures back, and give out a random one of those.

# %% alt="Three scatter plots of place in the files against place in the stream. Unshuffled: a straight diagonal. Shards shuffled: eight short diagonal lines in a random order. Shards shuffled and a buffer: blurred clouds, in which the blocks can still be made out." jupyter={"source_hidden": true}
plain = [key for key, _, _ in stream(0, 0, buffer_size=0, shuffle_shards=False)]
shuffled = [key for key, _, _ in stream(0, 0, buffer_size=0)]
both = [key for key, _, _ in stream(0, 0)]
figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.3), sharey=True)
for ax, order, title in zip(
    axes,
    (plain, shuffled, both),
    ("as written", "shards shuffled", "and a buffer of 60"),
    strict=True,
):
    ax.plot(order, ".", markersize=3)
    ax.set(title=title, xlabel="place in the stream")
axes[0].set_ylabel("place in the files")
plt.show()

# %% [markdown]
# Two levels, neither perfect: the order of the shards, and a buffer. It is enough if the pictures were shuffled *once
# before they were packed*. If the shards hold one class each, no buffer of reasonable size will mend it.
#
# What must a run remember that wants to go on in the middle of an epoch? Here the whole order is a function of seed,
# epoch, rank and number of ranks. So the number of pictures already taken is enough: draw again, and skip. Skipping
# costs reading, though, which is why some engines store more (which shard, where in it, what is in the buffer), and a
# few do not mind if the number of ranks has changed.
#
# You need not write any of this yourself.
#
# | for data | what it is for |
# |---|---|
# | WebDataset | streams tar shards such as ours, from disks or object stores |
# | MosaicML Streaming | its own shard format, with an order that is the same for any number of nodes, and resumes in mid-epoch |
# | FFCV | one file of its own, memory-mapped, with fast decoding and augmentation, for one machine or a few |
# | NVIDIA DALI | decodes and augments on the GPU |
# | torchdata's StatefulDataLoader | PyTorch's `DataLoader` with a `state_dict`, to resume in mid-epoch |
#
# | for training | what it is for |
# |---|---|
# | torchrun | starts processes on one or many machines; it is all that we used |
# | Accelerate, Lightning Fabric | your own loop, a few changed lines, and the same script on one GPU or many |
# | DeepSpeed | ZeRO in its stages, also with optimiser or weights moved to the CPU's memory |
# | FSDP2 (`fully_shard`) | sharding in PyTorch itself, parameter by parameter |
# | torchtitan | PyTorch's own example of training large language models with all of it combined |

# %% [markdown] anchor="mistakes"
# ## Common mistakes
#
# > **Common mistake.** The same seed on every rank where it should differ. Weights must start alike. But if every rank
# > shuffles *the whole data set* with the same seed and takes the first pictures, all compute the same gradient.

# %%
world, size = 4, 16
equal_seeds = [torch.Generator().manual_seed(0) for _ in range(world)]
same = [torch.randperm(1000, generator=g)[:size] for g in equal_seeds]
shared_order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
right = [shared_order[rank::world][:size] for rank in range(world)]
for name, picks in (
    ("the same seed, and the first ones", same),
    ("the same order, every 4th", right),
):
    different = len(set(torch.cat(picks).tolist()))
    print(f"{name:34} {different} different pictures in a batch of {world * size}")
assert len(set(torch.cat(same).tolist())) == size
assert len(set(torch.cat(right).tolist())) == world * size

# %% [markdown]
# Nothing fails. One pays for four GPUs, and trains as with one.

# %% [markdown] tags=["deeper"]
# ### Three more: exchanges, learning rates and clocks
#
# > **Common mistake.** Adding up parts under DDP without `no_sync`. Each `backward` sends all gradients, and only the
# > last exchange was needed.

# %%
for careful in (False, True):
    buckets.clear()
    for i, (some, y) in enumerate(zip(images.chunk(4), labels.chunk(4), strict=True)):
        if careful and i < 3:
            with shared.no_sync():
                (F.cross_entropy(shared(some), y) / 4).backward()
        else:
            (F.cross_entropy(shared(some), y) / 4).backward()
    how, sent = "with" if careful else "without", sum(buckets) / (4 * count)
    print(f"{how} no_sync: {sent:.0f} times the gradient")
    assert sum(buckets) == (1 if careful else 4) * 4 * count
dist.destroy_process_group()

# %% [markdown]
# > **Common mistake.** A larger batch, and everything else as before. An epoch then has fewer steps, none of them
# > longer. Here is a linear function fitted with SGD, two epochs each time.

# %%
g = torch.Generator().manual_seed(0)
features = torch.randn(1024, 8, generator=g)
target = features @ torch.ones(8)


def sgd(batch_size, lr, epochs=2):
    w = torch.zeros(8)
    for _ in range(epochs):
        batches = zip(features.split(batch_size), target.split(batch_size), strict=True)
        for X, t in batches:
            w -= lr * 2 * X.T @ (X @ w - t) / len(t)
    return (features @ w - target).square().mean().item()


losses = {
    "batch 16, rate 0.01": sgd(16, 0.01),
    "batch 128, rate 0.01": sgd(128, 0.01),
    "batch 128, rate 0.08": sgd(128, 0.08),
}
for name, loss in losses.items():
    print(f"{name}: loss {loss:.3f}")
assert losses["batch 128, rate 0.01"] > 10 * max(
    losses["batch 16, rate 0.01"], losses["batch 128, rate 0.08"]
)

# %% [markdown]
# The linear rule repairs it, in this easy case.
#
# > **Common mistake.** Timing the first call. It may compile, allocate, or read from the disk.


# %%
@torch.compile(backend="eager")  # traces, but needs no C++ compiler
def traced(x):
    return x.sin() + 1


seconds = []
for _ in range(5):
    start = time.perf_counter()
    traced(torch.ones(10))
    seconds.append(time.perf_counter() - start)
first, quickest = seconds[0], min(seconds[1:])
print(
    "the first call took more than ten times as long as the quickest:",
    first > 10 * quickest,
)
assert first > 10 * quickest

# %% [markdown]
# On a GPU there is a second trap. Operations are only *queued*, and Python goes on at once. Without
# `torch.cuda.synchronize()` before each look at the clock, one measures how fast Python queues. This one we cannot
# reproduce here.

# %% [markdown] anchor="check-yourself"
# ## Check yourself
#
# You compile a model and it becomes no faster. A colleague buys a GPU with twice the FLOP/s, and hers becomes no
# faster, either. What may the two models have in common, and what should you look at first?
#
# <details>
# <summary>Answer</summary>
#
# Perhaps neither waits for arithmetic. It may be the data: watch how long the loop waits for a batch. Or the wire: take
# the exchange away and look whether the step gets shorter. If it were memory traffic of small operations, compiling
# would have helped. A profile tells in a minute what guessing does not.
#
# </details>
#
# The last two questions belong to the folds. With 8 processes, each sends 1.75 times its gradient. How much does each
# send with 16? And why do people still say that large clusters are slow to synchronise?
#
# <details>
# <summary>Answer</summary>
#
# 1.875 times, hardly more. But the number of messages in a ring grows with the number of processes, and each has its
# delay; the ring is as slow as its slowest link; and everybody waits for the slowest process. (For many processes
# libraries use trees and other shapes, too.)
#
# </details>
#
# FSDP on 64 GPUs, and it runs out of memory when the batch grows. Would 128 GPUs help?
#
# <details>
# <summary>Answer</summary>
#
# Not with the same number of images on each GPU. Weights, gradients and moments are shared out, and are a small part by
# then. Activations are not. Fewer images at a time would help, or computing activations again (exercise 3).
#
# </details>

# %% [markdown] anchor="exercises"
# ## Exercises
#
# Write each function, and let `check` look at it (`from vit.course import check`). It says what is right, and knows the
# usual mistakes.
#
# **1. Unequal parts.** (10 minutes, easy.) A batch of 50 is cut into parts of 16, 16, 16 and 2. Why is the mean of the
# four gradients not the gradient of the batch? Write `gradient(W, x, y, size)`: the gradient by `W` of
# `F.cross_entropy(x @ W, y)`, from parts of at most `size` pictures. Then `check(12, 1, gradient)`.
#
# <details>
# <summary>Hint</summary>
#
# In a mean of means, an image in the part of two counts eight times as much as one of the others.
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
# def gradient(W, x, y, size):
#     W = W.clone().requires_grad_()
#     for a, b in zip(x.split(size), y.split(size), strict=True):
#         (F.cross_entropy(a @ W, b) * len(b) / len(y)).backward()
#     return W.grad
#
#
# assert check(12, 1, gradient)
# ```
#
# </details>
#
# **2. How slow may the wire be?** (15 minutes, medium; for it read the fold on [the arithmetic of a cluster](#paper).)
# From which bandwidth on is the wire hidden completely behind the backward pass? Write
# `bandwidth(sent, flops, peak, utilisation, hidden)`, in bytes per second, and `check(12, 2, bandwidth)`. What is it
# for ViT-B/16 with DDP and 64 images on each of 64 GPUs?
#
# <details>
# <summary>Hint</summary>
#
# Bytes sent, divided by two thirds of the computing time.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from vit import get_config
# from vit.cost import count_parameters, step_seconds, traffic, training_flops
# from vit.course import check
#
#
# def bandwidth(sent, flops, peak, utilisation, hidden):
#     return sent / (hidden * flops / (peak * utilisation))
#
#
# assert check(12, 2, bandwidth)
# config = get_config("vit_b_16")
# flops, sent = training_flops(config, 64), traffic(count_parameters(config), 64)
# gpu = {"peak": 989e12, "utilisation": 0.4, "hidden": 2 / 3}
# needed = bandwidth(sent, flops, **gpu)
# alone = step_seconds(flops, 0, bandwidth=1.0, **gpu)
# assert step_seconds(flops, sent, bandwidth=1.001 * needed, **gpu) == alone
# assert step_seconds(flops, sent, bandwidth=0.9 * needed, **gpu) > alone
# assert 59e9 < needed < 61e9
# ```
#
# About 60 GB/s, somewhat more than the 50 of our network.
#
# </details>
#
# **3. Forget and compute again.** (25 minutes, hard.) *Activation checkpointing* keeps only the input of each block,
# and computes the block again when the backward pass arrives. Write `forgetful(model, images)`, the model's logits with
# `torch.utils.checkpoint` for each block: same gradients, fewer bytes. Then `check(12, 3, forgetful)`. How many FLOPs
# does it cost, and what does it do for the 22B model of [the cluster](#paper)?
#
# <details>
# <summary>Hint</summary>
#
# `checkpoint(block, x, use_reentrant=False)`. One more forward pass makes four for three. Per image the inputs of the
# blocks are depth × tokens × width numbers in fp32.
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# from torch.utils.checkpoint import checkpoint
# from vit import ViTConfig
# from vit.cost import activation_bytes
# from vit.course import check
#
#
# def forgetful(model, images):
#     x = model.embed(images)
#     for block in model.blocks:
#         x = checkpoint(block, x, use_reentrant=False)
#     return model.forward_head(model.norm(x))
#
#
# assert check(12, 3, forgetful)
# huge = ViTConfig(patch_size=14, embed_dim=6144, depth=48, num_heads=48)
# inputs = 4 * huge.depth * huge.num_tokens * huge.embed_dim
# assert 64 * activation_bytes(huge) > 80e9 > 64 * inputs
# ```
#
# A third more arithmetic. For the 22B model all 64 images of a GPU fit at one time (with one block's activations,
# while it is computed again), so the weights are gathered twice in a step, and not twice for each part. It
# spends FLOPs, which are plentiful, to save the wire, which is scarce.
#
# </details>
#
# **4. Which updates arrive?** (10 minutes, easy.) Weights and updates are both kept in bf16. Write
# `arrives(weights, updates)`, which says of each weight whether its update moves it. Then `check(12, 4, arrives)`. A
# weight of 1 is moved by 0.004, and by 0.0038. What comes of each?
#
# <details>
# <summary>Hint</summary>
#
# Round both before you add. A tensor in bf16 plus a tensor in bf16 is one in bf16.
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
# def arrives(weights, updates):
#     weights = weights.bfloat16()
#     return weights + updates.bfloat16() != weights
#
#
# assert check(12, 4, arrives)
# assert arrives(torch.ones(1), torch.tensor([0.004])).item()
# assert not arrives(torch.ones(1), torch.tensor([0.0038])).item()
# ```
#
# The next number after 1 is $1 + 2^{-7}$. Half of the way there is $2^{-8}$, which lies between the two. The first
# update is rounded up to twice its size, the second to nothing.
#
# </details>
#
# **5. Whose pictures?** (15 minutes, medium.) One process takes the pictures of `order` in batches of `batch`, and
# leaves out what remains in the end. Now `world` ranks do that together. Write `shares(order, batch, rank, world)`: the
# list of what one of them takes in each step, so that the training is the same. Then `check(12, 5, shares)`.
#
# <details>
# <summary>Hint</summary>
#
# Cut the epoch into the batches that one process would have, then each batch into shares. Which picture of a batch
# goes to which rank does not matter.
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
# def shares(order, batch, rank, world):
#     steps = len(order) // batch
#     batches = order[: steps * batch].split(batch)
#     return [each[rank::world] for each in batches]
#
#
# assert check(12, 5, shares)
# order = torch.arange(10)
# first, second = (shares(order, 4, rank, 2) for rank in range(2))
# assert first[1].tolist() == [4, 6]
# assert second[1].tolist() == [5, 7]
# ```
#
# </details>
#
# **6. When has compiling paid?** (5 minutes, easy.) Compiling costs seconds once, and every step is quicker after it.
# Write `pays_after(compiling, eager, compiled)`: the first number of steps after which time has been won, or
# `math.inf`. Then `check(12, 6, pays_after)`, and put in what you measure on your machine.
#
# <details>
# <summary>Hint</summary>
#
# A step wins the difference of the two. Is there always one?
#
# </details>
# <details>
# <summary>Solution</summary>
#
# ```python
# import math
# from vit.course import check
#
#
# def pays_after(compiling, eager, compiled):
#     if compiled >= eager:
#         return math.inf
#     return math.floor(compiling / (eager - compiled)) + 1
#
#
# assert check(12, 6, pays_after)
# assert pays_after(45, 0.5, 0.25) == 181
# ```
#
# </details>

# %% [markdown] anchor="key-points"
# ## Key points
#
# A step waits for arithmetic, for memory or for the wire, and FLOPs per byte say which. Training costs three forward
# passes. bf16 multiplies faster and moves half the bytes, while the weights stay in fp32, where small updates add up.
# Fused attention and compilation save memory traffic and leave the result alone. Equal parts of a batch add up to its
# gradient, one after another or in as many processes. A ring all-reduce sends less than twice the gradient from each,
# however many there are. DDP holds everything everywhere. FSDP shares out weights, gradients and moments, though not
# activations, and pays on the wire. More GPUs for the same batch compute less each and send as much. Data come in
# shards, each rank has its own. And a plan is as good as its guesses: measure one machine before you pay for
# many.

# %% [markdown] anchor="references"
# ## References
#
# Alexey Dosovitskiy et al., [An Image is Worth 16x16 Words](https://arxiv.org/abs/2010.11929), ICLR 2021: section 4.1
# has the batch of 4,096. Samuel Williams, Andrew Waterman and David Patterson,
# [Roofline](https://doi.org/10.1145/1498765.1498785), Communications of the ACM 2009. Paulius Micikevicius et al.,
# [Mixed Precision Training](https://arxiv.org/abs/1710.03740), ICLR 2018. Tri Dao et al.,
# [FlashAttention](https://arxiv.org/abs/2205.14135), NeurIPS 2022. Pitch Patarasuk and Xin Yuan, [Bandwidth optimal
# all-reduce algorithms for clusters of workstations](https://doi.org/10.1016/j.jpdc.2008.09.002), Journal of Parallel
# and Distributed Computing 2009. Priya Goyal et al., [Accurate, Large Minibatch SGD](https://arxiv.org/abs/1706.02677),
# 2017. Samyam Rajbhandari et al., [ZeRO](https://arxiv.org/abs/1910.02054), SC 2020. Yanli Zhao et al., [PyTorch
# FSDP](https://arxiv.org/abs/2304.11277), VLDB 2023. Aakanksha Chowdhery et al.,
# [PaLM](https://arxiv.org/abs/2204.02311), 2022: appendix B defines model FLOPs utilisation. Mostafa Dehghani et al.,
# [Scaling Vision Transformers to 22 Billion Parameters](https://arxiv.org/abs/2302.05442), ICML 2023. Hugo Touvron et
# al., [Training data-efficient image transformers](https://arxiv.org/abs/2012.12877), ICML 2021: training time in
# section 6. NVIDIA, [H100 Tensor Core GPU](https://www.nvidia.com/en-us/data-center/h100/), data sheet.
