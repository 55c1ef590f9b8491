"""What changes the weights: AdamW, Muon, and which parameters each of them has, at what rate.

Legend: M matrices, m and n their sides.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vit.training.recipe import Recipe


def bf16_pays(device: torch.device) -> bool:
    """Whether this processor multiplies bfloat16 faster than float32, by its own account."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights of the linear layers inside the blocks: what Muon trains (Jordan et al., 2024).

    Raises:
        ValueError: if there are none, as in a convolutional network.
    """
    named = model.blocks.named_parameters()
    matrices = [p for name, p in named if p.requires_grad and name.endswith(".weight") and p.ndim == 2]
    if not matrices:
        raise ValueError(f"expected linear layers in blocks for Muon, got a {type(model).__name__} without")
    return matrices


def parameter_groups(
    model: nn.Module, weight_decay: float, apart: Sequence[nn.Parameter] = (), layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Every parameter of `model` in a group: matrices, which decay, apart from the rest, which does not.

    Matrices are the weights of linear layers and of the patch projection. The rest are offsets, scales and
    values, not maps: there is nothing to keep small.

    Args:
        apart: parameters to leave out: another optimiser has them.
        layer_decay: by how much the rate of a block is below that of the one after it (Clark et al., 2020):
            the head has the whole rate, the last block `layer_decay` of it, and what makes the tokens least.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    others = {id(p) for p in apart}
    decays = {name for name, p in named.items() if name.endswith(".weight") and p.ndim >= 2}
    kept = {name: p for name, p in named.items() if id(p) not in others}
    depth, found = len(getattr(model, "blocks", ())), {}
    for name, p in sorted(kept.items(), key=lambda item: item[0] not in decays):
        below = _layers_above(name, depth) if layer_decay < 1 else 0
        found.setdefault((name in decays, below), []).append(p)  # two groups, or two for every layer
    groups = [
        {"params": params, "weight_decay": weight_decay * decay, "lr_scale": layer_decay**below}
        for (decay, below), params in found.items()
    ]
    grouped = [id(p) for group in groups for p in group["params"]] + list(others)
    assert sorted(grouped) == sorted({id(p) for p in named.values()}), "a parameter is lost or twice"
    return groups


def _layers_above(name: str, depth: int) -> int:
    """Layers from a parameter to the answer: 0 for head and last norm, 1 for the last block, and so on."""
    first, _, rest = name.partition(".")
    if first == "blocks":
        return depth - int(rest.partition(".")[0])
    return 0 if first in ("norm", "fc_norm", "pre_logits", "head") else depth + 1


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Bring the singular values of each matrix near 1: `(M, m, n) -> (M, m, n)`, by Newton and Schulz.

    In bfloat16 where the processor multiplies it faster, and in float32 elsewhere.
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    precision = torch.bfloat16 if bf16_pays(matrices.device) else torch.float32
    x = (matrices.mT if tall else matrices).to(precision)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT  # of the shorter side
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Muon):
    """PyTorch's Muon, with its arguments and state, for all matrices of one shape at a time.

    PyTorch's own takes them one by one and always in bfloat16, which costs a processor that only emulates
    it several times what the forward and backward pass cost.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step over all parameters that have a gradient."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape].append(p)
            for shape, weights in alike.items():
                updates = torch.stack([self._momentum(p, group) for p in weights])
                updates = orthogonal(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
                size = 0.2 * max(shape) ** 0.5  # as large as AdamW's, so that one rate serves both
                for p, update in zip(weights, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * size)
        return loss

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        """What Nesterov's momentum makes of a gradient."""
        mean = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        mean.lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(mean, group["momentum"])


def build_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or, with Muon, for all but the matrices of the blocks, and Muon for these."""
    matrices = hidden_matrices(model) if recipe.optimizer == "muon" else []
    groups = parameter_groups(model, recipe.weight_decay, matrices, recipe.layer_decay)
    # fused: one pass over each parameter. The second beta is below PyTorch's 0.999, as is usual for ViTs: the
    # variance estimate then follows the warm-up instead of lagging behind it.
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    adamw = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.99), fused=fused)
    if not matrices:
        return [adamw]
    return [adamw, Muon(matrices, lr=recipe.lr, weight_decay=recipe.weight_decay)]
