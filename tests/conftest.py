"""What every test shares: one thread, a fixed seed, and a few helpers."""

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vit.data import sets

# Two workers on two cores; more threads would fight each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """Each set of shapes is drawn once for a file of tests: it takes longer than what many do with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "_shapes", functools.cache(sets._shapes))
        yield


@pytest.fixture
def sdpa_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The keyword arguments of each call of PyTorch's fused attention, which still does its work."""
    calls = []
    fused = F.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return fused(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    return calls


def _randomise(model: nn.Module) -> nn.Module:
    """Overwrite every parameter with noise, so that two that changed places are noticed.

    A freshly built model hides mistakes: all norms are ones and zeros, biases and the class token are zero,
    torchvision's head is zero. Tokens start small (about 0.05), because a wrong epsilon in the first norm
    shows only there. The rest keeps activations near one, so that an absolute tolerance means something.
    """
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1 and name.endswith("weight"):  # layer norm
                p.normal_(1.0, 0.2)
            elif p.ndim == 2:  # linear
                p.normal_(0.0, p.shape[1] ** -0.5)
            elif p.ndim == 4:  # patch projection
                p.normal_(0.0, 0.05 * p[0].numel() ** -0.5)
            else:  # biases, class token, positions
                p.normal_(0.0, 0.05)
    return model.eval()


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    return _randomise
