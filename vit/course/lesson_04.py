"""Exercises of lesson 4: the encoder block."""

import torch
import torch.nn.functional as F

from vit.course.exercise import Lesson
from vit.course.inputs import block

exercise = Lesson(4)


def centred(x, dim=-1):
    return x - x.mean(dim, keepdim=True)


@exercise(
    1,
    lambda: [(torch.tensor([[1.0, 3, 5, 3], [0, 0, 0, 4]]),), (3 * torch.randn(5, 8) + 2,)],
    notice="Each token has mean 0 now, and mean square 1.",
)
def norm(x):
    """Layer norm of each row of x (T, D), with ε = 0, scale 1 and shift 0."""
    return centred(x) / x.var(-1, unbiased=False, keepdim=True).sqrt()


norm.mistake(
    "You divided by D - 1. A layer norm takes the mean of the squares: std has the argument correction=0.",
    lambda x: centred(x) / x.std(-1, keepdim=True),
)
norm.mistake(
    "You divided by the variance. Its root is what brings the tokens to one size.",
    lambda x: centred(x) / x.var(-1, unbiased=False, keepdim=True),
)
norm.mistake(
    "You took the mean over the tokens. A layer norm looks at one token alone.",
    lambda x: centred(x, 0) / x.var(0, unbiased=False, keepdim=True).sqrt(),
)
norm.mistake(
    "You did not take the mean away from the tokens: that is an RMS norm.",
    lambda x: x / x.square().mean(-1, keepdim=True).sqrt(),
)


def streams():
    for _ in range(2):
        yield block(), torch.randn(2, 5, 16)


def pre(block, x):
    x = x + block.attn(block.norm1(x))
    return x + block.mlp(block.norm2(x))


def post(block, x):
    x = block.norm1(x + block.attn(x))
    return block.norm2(x + block.mlp(x))


def pre_of_normed(block, x):
    x = block.norm1(x)
    x = block.norm2(x + block.attn(x))
    return x + block.mlp(x)


@exercise(2, streams, notice="In the second, a norm is the last thing that happens to a token.")
def orders(block, x):
    """What pre-norm and post-norm make of x (B, T, D), a pair, with block.norm1, .attn, .norm2 and .mlp."""
    return pre(block, x), post(block, x)


orders.mistake("You exchanged the two.", lambda block, x: (post(block, x), pre(block, x)))
orders.mistake(
    "In pre-norm you added to the normalised token. What is added to is the token as it came in.",
    lambda block, x: (pre_of_normed(block, x), post(block, x)),
)
orders.mistake(
    "In pre-norm your MLP does not see what attention wrote: it reads the stream after the first addition.",
    lambda block, x: (
        x + block.attn(block.norm1(x)) + block.mlp(block.norm2(x)),
        post(block, x),
    ),
)
orders.mistake(
    "In post-norm you normalised the branches. The norm comes after the addition.",
    lambda block, x: (
        pre(block, x),
        (y := x + block.norm1(block.attn(x))) + block.norm2(block.mlp(y)),
    ),
)


def factors():
    one, x = block(), torch.randn(2, 5, 16)
    for c in (1.0, 10.0, 0.5):
        yield one, x, c


@exercise(3, factors, notice="Ten times the stream, the same writing: relative to the stream, a tenth.")
def relative_write(block, x, c):
    """How much attention writes when the block's input is c·x: the norm of the branch over that of its
    input."""
    return (block.attn(block.norm1(c * x)).norm() / (c * x).norm()).item()


relative_write.mistake(
    "That is how much it writes, which is the same for every c. Hold it against the stream.",
    lambda block, x, c: block.attn(block.norm1(c * x)).norm(),
)
relative_write.mistake(
    "You divided by the norm of x. The stream is c·x.",
    lambda block, x, c: block.attn(block.norm1(c * x)).norm() / x.norm(),
)
relative_write.mistake(
    "You left out the norm before attention, which makes it forget c.",
    lambda block, x, c: block.attn(c * x).norm() / (c * x).norm(),
)


def tokens():
    yield torch.tensor([[3.0, 4.0]]), torch.ones(2), 0.0
    yield torch.randn(2, 5, 8) + 1, torch.rand(8), 1e-6
    yield 0.1 * torch.randn(4, 8), torch.rand(8), 1e-2


@exercise(4, tokens, notice="For tokens of mean 0 it is a layer norm.")
def rms_norm(x, weight, eps):
    """x (..., D) over the root of the mean of its squares (plus eps), times weight (D,)."""
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight


rms_norm.mistake(
    "You took the mean away: that is a layer norm.",
    lambda x, weight, eps: F.layer_norm(x, x.shape[-1:], weight, eps=eps),
)
rms_norm.mistake(
    "You added up the squares. Their mean does not grow with D.",
    lambda x, weight, eps: x / (x.square().sum(-1, keepdim=True) + eps).sqrt() * weight,
)
rms_norm.mistake(
    "Your eps is added to the root. It belongs under it.",
    lambda x, weight, eps: x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * weight,
)
rms_norm.mistake(
    "The weight is missing.", lambda x, weight, eps: rms_norm.right(x, torch.ones_like(weight), eps)
)


def scaled():
    for _ in range(2):
        yield block(), torch.randn(2, 5, 16), torch.rand(16), torch.rand(16)


def two_branches(block, x, first, second):
    x = x + first(block.attn(block.norm1(x)))
    return x + second(block.mlp(block.norm2(x)))


@exercise(
    5,
    scaled,
    notice="With small scales it is almost the identity, and even a deep stack passes its input on.",
)
def layer_scale(block, x, scale1, scale2):
    """A pre-norm block on x (B, T, D) whose two branches are multiplied by scale1 and scale2, each (D,)."""
    return two_branches(block, x, lambda y: scale1 * y, lambda y: scale2 * y)


layer_scale.mistake("That is the plain block: nothing is scaled.", lambda block, x, scale1, scale2: block(x))
layer_scale.mistake(
    "You scaled the stream as well. Only what a branch adds is scaled.",
    lambda block, x, scale1, scale2: (
        (y := scale1 * (x + block.attn(block.norm1(x)))) * scale2 + scale2 * block.mlp(block.norm2(y))
    ),
)
layer_scale.mistake(
    "You scaled what goes into a branch. What comes out of it is scaled.",
    lambda block, x, scale1, scale2: (
        (y := x + block.attn(scale1 * block.norm1(x))) + block.mlp(scale2 * block.norm2(y))
    ),
)
layer_scale.mistake(
    "The second branch is not scaled.",
    lambda block, x, scale1, scale2: two_branches(block, x, lambda y: scale1 * y, lambda y: y),
)


def branches():
    one, z = block().double(), torch.randn(2, 5, 16, dtype=torch.float64)
    for s in (1.0, 0.1, 0.01):
        yield one, z, s


def paths(block, z, s, norm="norm1", again=True):
    a = s * block.attn(block.norm1(z))
    read = getattr(block, norm)
    return z + a + (s if again else 1) * block.mlp(read(z + a)), z + a + s * block.mlp(block.norm1(z))


def apart(pair):
    return (pair[0] - pair[1]).norm().item()


@exercise(6, branches, atol=1e-7, notice="It shrinks with s², the branches only with s.")
def gap(block, z, s):
    """How far apart (norm) the block in sequence and in parallel are, both branches times s, both read
    by norm1."""
    return apart(paths(block, z, s))


gap.mistake(
    "Your two versions read through two norms, so their difference says more than the order.",
    lambda block, z, s: apart(paths(block, z, s, "norm2")),
)
gap.mistake(
    "In sequence you multiplied attention by s and not the MLP.",
    lambda block, z, s: apart(paths(block, z, s, again=False)),
)
gap.mistake("You squared the norm.", lambda block, z, s: apart(paths(block, z, s)) ** 2)
