"""What a Vision Transformer has learnt: functions of its weights and of its attention.

Nothing stays behind on a model. Nothing is averaged over images: the mean and the spread are the caller's to
take. Call `eval()` first on a model that uses dropout or stochastic depth.

Legend: B batch, C channels, P patch side, T tokens, D width, h heads, L depth, K classes, (gh, gw) the grid
of patches, `...` any leading dimensions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.model import VisionTransformer

_FUSIONS = {"mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}


def _check_tokens(tokens: int, grid_size: tuple[int, int], num_prefix_tokens: int) -> None:
    gh, gw = grid_size
    if tokens != num_prefix_tokens + gh * gw:
        raise ValueError(f"expected {num_prefix_tokens} prefix token(s) + {gh}x{gw} patches, got {tokens}")


def filter_components(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components of a bank of patch filters `(D, C, P, P)` (figure 7 left, section 4.5).

    The D filters, less their mean, are the samples. Each component's largest weight is made positive.

    Returns:
        Unit vectors `(M, C, P, P)` with M = min(D, C·P·P), largest variance first, and the part of the
        variance that each explains, `(M,)`, which sums to 1.

    Raises:
        ValueError: if the tensor is not four-dimensional.
    """
    if weight.ndim != 4:
        raise ValueError(f"expected filters of shape (D, C, P, P), got {tuple(weight.shape)}")
    filters = weight.detach().float().flatten(1)  # (D, C·P·P)
    _, singular, components = torch.linalg.svd(filters - filters.mean(0), full_matrices=False)
    components *= components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    explained = singular.square() / singular.square().sum()
    return components.unflatten(1, weight.shape[1:]).to(weight), explained.to(weight)


class PositionSimilarity(NamedTuple):
    """Cosine similarities of position embeddings, each between -1 and 1."""

    tiles: Tensor  # (gh, gw, gh, gw): tiles[r, c] compares the patch in row r, column c with every patch
    rows: Tensor  # (gh,): mean of the pairs in one column, by how many rows they are apart, from 0
    columns: Tensor  # (gw,): mean of the pairs in one row, by how many columns they are apart
    cls: Tensor | None  # (gh, gw): the class token's row with every patch; None where there is no such token


def position_similarity(
    pos_embed: Tensor, grid_size: tuple[int, int], num_prefix_tokens: int = 1
) -> PositionSimilarity:
    """Compare every position with every other (figure 7 centre, section 4.5).

    They are `(T, D)` or, as the model keeps them, `(1, T, D)`; `num_prefix_tokens` is 1 or 0.

    Raises:
        ValueError: if the matrix does not hold `num_prefix_tokens` + the patches of the grid.
    """
    matrix = F.normalize(pos_embed.detach().reshape(-1, pos_embed.shape[-1]), dim=-1)  # a row of zeros stays
    _check_tokens(len(matrix), grid_size, num_prefix_tokens)
    patches = matrix[num_prefix_tokens:]
    tiles = (patches @ patches.T).reshape(*grid_size, *grid_size)

    def profile(pairs: Tensor) -> Tensor:  # (n, n), symmetric -> (n,)
        return torch.stack([pairs.diagonal(offset).mean() for offset in range(len(pairs))])

    return PositionSimilarity(
        tiles=tiles,
        rows=profile(tiles.diagonal(dim1=1, dim2=3).mean(-1)),
        columns=profile(tiles.diagonal(dim1=0, dim2=2).mean(-1)),
        cls=(patches @ matrix[0]).reshape(grid_size) if num_prefix_tokens else None,
    )


def attention_distance(
    attention: Tensor, grid_size: tuple[int, int], num_prefix_tokens: int = 1, patch_size: int = 1
) -> Tensor:
    """Mean attention distance: how far away the patches lie that a patch looks at (section 4.5, D.7).

    Weights `(..., T, T)`, rows the queries, give `(...)`: the distance between the centres of query and key,
    weighted by attention, averaged over the queries; in patches, or in pixels if `patch_size` is P. A class
    token has no place: it is left out, and what each patch gives to the patches is scaled to sum to 1. A
    query that gives them nothing does not count. Uniform attention has a large distance, too.

    Raises:
        ValueError: if T is not `num_prefix_tokens` + the patches of the grid.
    """
    _check_tokens(attention.shape[-1], grid_size, num_prefix_tokens)
    places = torch.cartesian_prod(*map(torch.arange, grid_size)).to(attention)  # (gh·gw, 2)
    apart = (places[:, None] - places).square().sum(-1).sqrt() * patch_size  # (gh·gw, gh·gw)
    weights = attention[..., num_prefix_tokens:, num_prefix_tokens:]
    return ((weights * apart).sum(-1) / weights.sum(-1)).nanmean(-1)


def attention_entropy(attention: Tensor) -> Tensor:
    """Entropy of each row of weights in nats, `(..., T) -> (...)`: 0 for one token, log T for all alike."""
    return torch.special.entr(attention).sum(-1)


def rollout(
    maps: Sequence[Tensor], fusion: str = "mean", discard: float = 0.0, num_prefix_tokens: int = 1
) -> Tensor:
    """Attention rollout: attention multiplied through the blocks (Abnar & Zuidema, 2020, section 3).

    The heads of a block are fused to one matrix, that and the identity (the residual path) are averaged, and
    rows are scaled to sum to 1. Values, MLPs and the class that is asked about play no part.

    Args:
        maps: the attention of every block, first block first, each `(B, h, T, T)`.
        fusion: how heads become one: "mean", which is the paper's, "max" or "min".
        discard: the part of a row's weights on patches, in [0, 1), that is set to zero, smallest first.
        num_prefix_tokens: how many tokens, which are no place in the picture, `discard` leaves alone.

    Returns:
        `(B, T, T)`: row i says how much of each token of the input is in token i of the output.

    Raises:
        ValueError: if there are no maps, a map is not `(B, h, T, T)`, or an argument is out of range.
    """
    if fusion not in _FUSIONS:
        raise ValueError(f"fusion must be one of {tuple(_FUSIONS)}, got {fusion!r}")
    if not 0.0 <= discard < 1.0:
        raise ValueError(f"discard must lie in [0, 1), got {discard}")
    if not len(maps) or any(a.ndim != 4 or a.shape[-1] != a.shape[-2] for a in maps):
        raise ValueError(f"expected maps of shape (B, h, T, T), got {[tuple(a.shape) for a in maps]}")
    result = identity = torch.eye(maps[0].shape[-1]).to(maps[0])
    for attention in maps:
        fused = _FUSIONS[fusion](attention, 1)  # (B, T, T)
        patches = fused[..., num_prefix_tokens:]
        faint = patches.topk(round(discard * patches.shape[-1]), largest=False).indices
        fused = fused.scatter(-1, faint + num_prefix_tokens, 0.0)
        mixed = 0.5 * fused + 0.5 * identity
        # Without keepdim the sums would divide columns: with B = 1 no error, and rows that are not 1.
        result = mixed / mixed.sum(-1, keepdim=True) @ result  # the later block reads the earlier one
    return result


def gradient_rollout(model: VisionTransformer, images: Tensor, target: Tensor) -> Tensor:
    """Rollout of the attention that speaks for a class (Chefer et al., ICCV 2021).

    Each weight is multiplied by the gradient of the class's logit with respect to it, negative products are
    dropped, heads are averaged: Ā = E_h[(∇A ⊙ A)⁺]. Then R ← R + Ā R through the blocks, from R = identity.
    Images `(B, C, H, W)` and the class to explain in each, `(B,)`, give `(B, T, T)`, nothing below 0. Rows do
    not sum to 1, so compare within an image only. Parameters and their `.grad` are left as they were.

    Raises:
        ValueError: if there is not one class for each image.
    """
    if target.shape != images.shape[:1]:
        raise ValueError(f"expected targets of shape ({len(images)},), got {tuple(target.shape)}")
    with torch.inference_mode(False), torch.enable_grad():  # gradients are needed, whoever asks
        # Tokens that need a gradient make a graph even if the model is frozen.
        x, maps = model.run_blocks(model.embed(images.clone()).detach().requires_grad_())
        logits = model.forward_head(model.norm(x))  # (B, K)
        target = target.clone()
        # An image's logit depends on its own weights alone, so the sum mixes nothing.
        gradients = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), maps)
    relevance = torch.eye(x.shape[1]).to(x)
    for weights, gradient in zip(maps, gradients, strict=True):
        relevance = relevance + (weights.detach() * gradient).clamp(min=0).mean(1) @ relevance
    return relevance


def patch_map(
    matrix: Tensor, grid_size: tuple[int, int], num_prefix_tokens: int = 1, global_pool: str | None = None
) -> Tensor:
    """What the head reads of each patch, as a picture: `(..., T, T) -> (..., gh, gw)`.

    With `global_pool` "token" it is the class token's row without the columns of prefix tokens, with "avg"
    the mean of the patches' rows. None: "token" if there are prefix tokens, else "avg".

    Raises:
        ValueError: if T is not `num_prefix_tokens` + the patches of the grid.
    """
    _check_tokens(matrix.shape[-1], grid_size, num_prefix_tokens)
    pool = global_pool or ("token" if num_prefix_tokens else "avg")
    row = matrix[..., 0, :] if pool == "token" else matrix[..., num_prefix_tokens:, :].mean(-2)
    return row[..., num_prefix_tokens:].unflatten(-1, grid_size)


@contextmanager
def ablate_head(model: VisionTransformer, block: int, head: int) -> Iterator[VisionTransformer]:
    """Within this context, one head adds nothing; afterwards the model is what it was, bit for bit.

    The columns of the output projection that read the head are set to zero, so what it adds to every image
    goes too, and later blocks may count on it.

    Raises:
        ValueError: if the model has no such block or head.
    """
    L, h = model.config.depth, model.config.num_heads
    if not (0 <= block < L and 0 <= head < h):
        raise ValueError(f"expected a block below {L} and a head below {h}, got block {block}, head {head}")
    d = model.config.embed_dim // h
    # Detached, the slice shares the parameter's memory and autograd does not object to the change.
    columns = model.blocks[block].attn.proj.weight.detach()[:, head * d : (head + 1) * d]
    kept = columns.clone()
    columns.zero_()
    try:
        yield model
    finally:
        columns.copy_(kept)


def logit_lens(model: VisionTransformer, images: Tensor) -> Tensor:
    """What the model would answer if it ended early: `(B, C, H, W) -> (L + 1, B, K)` logits.

    The final norm and the head read the embedding, then every block's output (nostalgebraist, 2020); the last
    is the model's answer, and the only one that the head was trained on.
    """
    x = model.embed(images)
    states = [x, *(x := block(x) for block in model.blocks)]
    return torch.stack([model.forward_head(model.norm(state)) for state in states])


def pointing_game(heat: Tensor, mask: Tensor) -> Tensor:
    """Whether the hottest place lies on the object (Zhang et al., 2018): `(B, H, W)`, `(B, H, W) -> (B,)`.

    Several hottest places share one vote, so a flat map gets the object's part of the picture, which is
    chance. A mask may hold parts of 1: for heat per patch, average the mask over each patch.

    Raises:
        ValueError: if heat and mask are not of one shape `(B, H, W)`.
    """
    if heat.ndim != 3 or heat.shape != mask.shape:
        raise ValueError(f"expected one shape (B, H, W), got {tuple(heat.shape)} and {tuple(mask.shape)}")
    hottest = (heat == heat.amax((1, 2), keepdim=True)).float()
    return (hottest * mask).sum((1, 2)) / hottest.sum((1, 2))


@torch.no_grad()
def perturbation_curve(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    heat: Tensor,
    target: Tensor,
    steps: int,
    baseline: Tensor | float = 0.0,
    insert: bool = False,
) -> tuple[Tensor, Tensor]:
    """Deletion and insertion curves (Petsiuk et al., 2018), patch by patch.

    Deletion replaces the hottest patches first: a good map makes the probability fall early. Insertion starts
    from the baseline and puts the hottest back. `-heat` takes the coldest first; equals go in reading order.
    No picture with holes was trained on, and the curve shows that, too.

    Args:
        predict: images `(B, C, H, W)` to probabilities `(B, K)`.
        images: as `predict` takes them.
        heat: one number per patch, `(B, gh, gw)`.
        target: the class whose probability is followed, `(B,)`.
        steps: how many points follow the first; each changes about gh·gw/steps more patches.
        baseline: what replaces a patch, broadcast to the images; 0 is the mean colour of normalised ones.
        insert: put patches back instead of taking them away.

    Returns:
        Probabilities `(steps + 1, B)`, and the area below each curve `(B,)`, the width of the axis being 1.

    Raises:
        ValueError: if heat and images do not go together, or `steps` is out of range.
    """
    (B, _, H, W), shape = images.shape, tuple(heat.shape)
    if len(shape) != 3 or shape[0] != B or H % shape[1] or W % shape[2]:
        raise ValueError(f"expected heat ({B}, gh, gw) with gh dividing {H} and gw dividing {W}, got {shape}")
    N = shape[1] * shape[2]
    if not 1 <= steps <= N:
        raise ValueError(f"expected 1 to {N} steps for {N} patches, got {steps}")
    place = heat.flatten(1).argsort(descending=True, stable=True).argsort()  # (B, N): 0 is the hottest
    place = F.interpolate(place.reshape(B, 1, *shape[1:]).float(), size=(H, W))  # nearest: (B, 1, H, W)
    baseline = torch.as_tensor(baseline).to(images)
    counts = torch.linspace(0, N, steps + 1).round()
    pictures = (torch.where((place < count) ^ insert, baseline, images) for count in counts.tolist())
    curve = torch.stack([predict(picture).gather(1, target[:, None])[:, 0] for picture in pictures])
    return curve, torch.trapezoid(curve, counts.to(curve) / N, dim=0)
