"""Exercises of lesson 9: what a ViT learns."""

import copy

import torch

from vit.course.exercise import Lesson
from vit.course.inputs import tiny
from vit.positions import sincos_2d

exercise = Lesson(9)


@exercise(
    1,
    lambda: [(1,), (2,), (14,), (100,)],
    notice="For large n it tends to a third of the row.",
)
def mean_distance(n):
    """The mean distance, in patches, that uniform attention looks across on one row of n patches."""
    return (n * n - 1) / (3 * n)


mean_distance.mistake(
    "You left out the patch itself, which gets its part of the attention at distance 0.",
    lambda n: (n + 1) / 3 if n > 1 else 0.0,
)
mean_distance.mistake(
    "That is how far the first patch looks. Those in the middle look less far.", lambda n: (n - 1) / 2
)
mean_distance.mistake("You counted each pair once, and divided by all n².", lambda n: (n * n - 1) / (6 * n))


def matrices():
    waves = sincos_2d((4, 16), 64)
    yield (waves @ waves.T,)
    waves = waves.unflatten(0, (4, 16)).transpose(0, 1).flatten(0, 1)
    yield (waves @ waves.T,)
    bump = torch.arange(20) % 7
    yield ((bump[:, None] == bump).float() + 0.01 * torch.rand(20, 20),)


def peak(along, start=2):
    return next(
        k for k in range(start, len(along) - 1) if along[k] > along[k - 1] and along[k] > along[k + 1]
    )


def diagonals(matrix, reduce=torch.mean):
    return [reduce(matrix.diagonal(k)).item() for k in range(len(matrix))]


@exercise(2, matrices, notice="One table, two spacings: the order of reading makes the stripes.")
def first_peak(matrix):
    """The first k > 1 at which the mean of the matrix's k-th diagonal is larger than at k - 1 and at k
    + 1."""
    return peak(diagonals(matrix))


first_peak.mistake(
    "You looked for a valley. The stripes are where the similarity is high.",
    lambda matrix: peak([-a for a in diagonals(matrix)]),
)
first_peak.mistake(
    "You counted from 1: the main diagonal is number 0.", lambda matrix: peak(diagonals(matrix)) + 1
)


@first_peak.mistake("You took the highest of all diagonals but the first two. The first peak is asked for.")
def _(matrix):
    return 2 + max(range(len(matrix) - 2), key=lambda k: diagonals(matrix)[k + 2])


def twins():
    model, twin = tiny(depth=3), tiny(depth=3)
    for n in (0, 2):
        yield model, twin, n


def answer_of(answer, model, twin, n):
    with torch.no_grad():
        return answer(model, twin, n)(torch.linspace(-2, 2, 768).reshape(1, 3, 16, 16))


def replaced(model, twin, which):
    model = copy.deepcopy(model)
    for i in which:
        model.blocks[i] = copy.deepcopy(twin.blocks[i])
    return model


@exercise(3, twins, probe=answer_of, notice="The map of such a model may still look like an explanation.")
def randomised(model, twin, n):
    """A copy of the model whose last n blocks are the twin's, and which is otherwise the same."""
    return replaced(model, twin, range(len(model.blocks) - n, len(model.blocks)))


randomised.mistake(
    "You replaced the first n. From the top down means: the last ones first.",
    lambda model, twin, n: replaced(model, twin, range(n)),
)
randomised.mistake(
    "For n = 0 you replaced all blocks: blocks[-0:] is blocks[0:].",
    lambda model, twin, n: replaced(model, twin, range(len(model.blocks))[-n:]),
)
randomised.mistake(
    "You replaced one block, the n-th from the top. All above it are random, too.",
    lambda model, twin, n: replaced(model, twin, range(len(model.blocks))[-n:][:1] if n else ()),
)


def readers():
    for more in ({"class_token": False, "global_pool": "avg"}, {}, {"reg_tokens": 2}):
        yield tiny(**more), torch.randn(6, 3, 16, 16)


def read(model, images, start):
    with torch.no_grad():
        return model.head(model.forward_features(images)[:, start:]).argmax(-1)


@exercise(4, readers, notice="On the shapes, patches beside the shape know it as well as those on it.")
def patch_answers(model, images):
    """The class that the head reads in each patch alone, after the last block and its norm: (B, patches)."""
    return read(model, images, model.config.num_prefix_tokens)


patch_answers.mistake(
    "You asked the class token and the registers, too. They are not patches.",
    lambda model, images: read(model, images, 0),
)
patch_answers.mistake(
    "You averaged the patches before the head. Each is to be asked alone.",
    lambda model, images: model(images).argmax(-1),
)
patch_answers.mistake(
    "You left out one token. There may be none before the patches, or several: num_prefix_tokens.",
    lambda model, images: read(model, images, 1),
)


def roll(fuse, normalise=True, keepdim=True):
    def rollout(maps):
        result = torch.eye(maps[0].shape[-1])
        for attention in maps:
            mixed = 0.5 * fuse(attention, 1) + 0.5 * torch.eye(attention.shape[-1])
            mixed = mixed / mixed.sum(-1, keepdim=keepdim) if normalise else mixed
            result = mixed @ result
        return result

    return rollout


def rollouts():
    yield (roll(torch.amax),)
    yield (roll(torch.mean),)
    yield (roll(torch.amax, keepdim=False),)
    yield (roll(torch.amax, normalise=False),)
    yield (lambda maps: roll(torch.amax)(maps).transpose(-1, -2),)
    yield (roll(torch.mean, keepdim=False),)
    yield (lambda maps: 2 * roll(torch.mean)(maps),)


def maps(heads=3, sharp=2.0):
    return [(sharp * torch.randn(1, heads, 5, 5)).softmax(-1) for _ in range(4)]


def sums_to_one(matrix, dim=-1):
    return bool(((matrix.sum(dim) - 1).abs() < 1e-4).all())


@exercise(
    5, rollouts, notice="Maxima of several heads make rows that sum to more than 1: a good place to look."
)
def is_sound(rollout):
    """True if the rows of rollout(maps) sum to 1, for maps as attention makes them (1, h, T, T), else
    False."""
    return sums_to_one(rollout(maps()))


is_sound.mistake("You find nothing wrong with any of them.", lambda rollout: True)
is_sound.mistake(
    "You added up columns. A row is what one token gathers, and sums to 1.",
    lambda rollout: sums_to_one(rollout(maps()), -2),
)
is_sound.mistake(
    "You tried it on uniform attention, where nothing needs a division.",
    lambda rollout: sums_to_one(rollout([m * 0 + 0.2 for m in maps()])),
)
is_sound.mistake(
    "You tried it on one head, whose rows sum to 1 before the division.",
    lambda rollout: sums_to_one(rollout(maps(heads=1))),
)
