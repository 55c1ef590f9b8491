"""Exercises of lesson 3: attention."""

import torch

from vit.attention import explicit_attention
from vit.course.exercise import Lesson
from vit.course.inputs import whole

exercise = Lesson(3)
TOY = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0], [1.0, 1.0]])


def toy_tokens():
    yield TOY, torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    yield torch.randn(5, 4), torch.randn(4, 3)


@exercise(1, toy_tokens, notice="The flat token's query is zero, so it takes the mean of all values.")
def attend(tokens, U_v):
    """Attention's outputs (T, d) for tokens (T, D), where U_q and U_k are the identity and U_v is (D, d)."""
    return (tokens @ tokens.T / tokens.shape[1] ** 0.5).softmax(dim=1) @ (tokens @ U_v)


attend.mistake(
    "You normalised over the queries. A row of weights says what one token takes from all, and sums to 1.",
    lambda tokens, U_v: (tokens @ tokens.T / tokens.shape[1] ** 0.5).softmax(dim=0) @ (tokens @ U_v),
)
attend.mistake(
    "You divided by d, not by √d.",
    lambda tokens, U_v: (tokens @ tokens.T / tokens.shape[1]).softmax(dim=1) @ (tokens @ U_v),
)
attend.mistake(
    "You did not scale the scores: they grow with d, and are divided by √d.",
    lambda tokens, U_v: (tokens @ tokens.T).softmax(dim=1) @ (tokens @ U_v),
)
attend.mistake(
    "You mixed the tokens, not their values.",
    lambda tokens, U_v: (tokens @ tokens.T / tokens.shape[1] ** 0.5).softmax(dim=1) @ tokens,
)


@exercise(2, lambda: [(whole(36, 12), 3), (whole(24, 8), 2)], notice="No number changed, only its place.")
def to_ours(weight, h):
    """Sort the rows of weight (3D, D) from (head, q or k or v, d) into our order (q or k or v, head, d)."""
    return weight.unflatten(0, (h, 3, -1)).transpose(0, 1).flatten(0, 2)


to_ours.mistake(
    "That is the matrix as it was. reshape alone moves no row: two axes have to change places in between.",
    lambda weight, h: weight.clone(),
)
to_ours.mistake(
    "You went the other way: that takes ours for theirs.",
    lambda weight, h: weight.unflatten(0, (3, h, -1)).transpose(0, 1).flatten(0, 2),
)
to_ours.mistake(
    "You also tore the heads apart: the d rows of a head stay together, in their order.",
    lambda weight, h: weight.unflatten(0, (h, 3, -1)).permute(1, 2, 0, 3).flatten(0, 2),
)


def heads():
    yield torch.randn(3, 2, 6, 197, 64).unbind()
    yield torch.randn(3, 1, 2, 5, 16).unbind()


def first(q, k, v, scale):
    return (q[:, :, :1] @ k.transpose(-2, -1) * scale).softmax(dim=-1) @ v


@exercise(3, heads, notice="One row instead of all: the cost now grows in proportion to the tokens.")
def class_row(q, k, v):
    """Attention's output (B, h, 1, d) for token 0 alone, of q, k and v, each (B, h, T, d)."""
    return explicit_attention(q[:, :, :1], k, v)[0]


class_row.mistake(
    "You divided by 8, which is √d only where d is 64. Take d from the shape of q.",
    lambda q, k, v: first(q, k, v, 1 / 8),
)
class_row.mistake("You divided by d, not by √d.", lambda q, k, v: first(q, k, v, 1 / q.shape[-1]))
class_row.mistake(
    "You cut the keys and values, too, so that token 0 sees nobody but itself.",
    lambda q, k, v: v[:, :, :1],
)
class_row.mistake(
    "Token 0's axis is gone: q[:, :, 0] drops it, q[:, :, :1] keeps it.",
    lambda q, k, v: class_row.right(q, k, v)[:, :, 0],
)


def entropy(p, dim=-1):
    return torch.special.entr(p).sum(dim)


def temperatures():
    yield torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 5.0]]), [1.0, 2.0]
    yield torch.randn(100, 197), [0.01, 0.1, 1.0, 10.0, 1000.0]


@exercise(
    4, temperatures, notice="It grows with τ, from a choice of the largest to the mean. √d is one, too."
)
def entropies(scores, taus):
    """The entropy of each row of softmax(scores / τ), for scores (R, T) and each τ of a list:
    (len(taus), R)."""
    return torch.stack([entropy((scores / tau).softmax(dim=-1)) for tau in taus])


entropies.mistake(
    "You multiplied by the temperature. Dividing makes what is hot more even.",
    lambda scores, taus: torch.stack([entropy((scores * tau).softmax(dim=-1)) for tau in taus]),
)
entropies.mistake(
    "An entropy is not negative: the sum of p log p has a minus before it.",
    lambda scores, taus: -entropies.right(scores, taus),
)
entropies.mistake(
    "Your logarithm has base 2. Here it is the natural one.",
    lambda scores, taus: entropies.right(scores, taus) / torch.tensor(2.0).log(),
)
entropies.mistake(
    "You normalised down the columns. A row of scores is one query's.",
    lambda scores, taus: torch.stack([entropy((scores / tau).softmax(dim=0), 1) for tau in taus]),
)


def third(i):
    """The bias with its part i of three set to zero."""

    def strip(bias):
        parts = [*bias.chunk(3)]
        parts[i] = torch.zeros_like(parts[i])
        return torch.cat(parts)

    return strip


@exercise(
    5,
    lambda: [(torch.arange(1.0, 13),), (torch.randn(36),)],
    notice="A key's bias adds the same to every score of a row, and the softmax ignores it.",
)
def strip(bias):
    """A copy of Attention's qkv.bias (3D,), with zeros where a bias changes nothing in the output."""
    return third(1)(bias)


strip.mistake(
    "You took away the bias of the queries. It adds another number to the score of each key.",
    third(0),
)
strip.mistake("You took away the bias of the values, which comes out at the other end.", third(2))
strip.mistake(
    "The order is all queries, all keys, all values, and not query, key, value of each column in turn.",
    lambda bias: bias * torch.tensor([1.0, 0, 1]).repeat(len(bias) // 3),
)


@exercise(
    6,
    lambda: [(2, 3, 7, 12, 3), (1, 10, 4, 8, 2)],
    notice="One output for each asker, one weight for each pair of asker and asked.",
)
def cross_shapes(B, M, N, D, h):
    """The shapes of output and weights, a pair, when M askers ask N others, (B, M, D) and (B, N, D),
    by h heads."""
    return (B, M, D), (B, h, M, N)


cross_shapes.mistake(
    "You gave one output to each of those that are asked. The askers get them.",
    lambda B, M, N, D, h: ((B, N, D), (B, h, M, N)),
)
cross_shapes.mistake(
    "The weights lie on their side: a row is an asker, as a query was.",
    lambda B, M, N, D, h: ((B, M, D), (B, h, N, M)),
)
cross_shapes.mistake("Each head has weights of its own.", lambda B, M, N, D, h: ((B, M, D), (B, M, N)))
cross_shapes.mistake(
    "Your weights are square. Here they need not be.", lambda B, M, N, D, h: ((B, M, D), (B, h, M, M))
)
