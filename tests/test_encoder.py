import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vit.encoder import Block, DropPath, Mlp


@pytest.fixture
def block(randomise):
    return randomise(Block(24, 3, 60))


def test_the_norms_use_the_papers_epsilon(block):
    assert [m.eps for m in block.modules() if isinstance(m, nn.LayerNorm)] == [1e-6, 1e-6]


def test_block_is_equations_2_and_3(block):
    x = 0.01 * torch.randn(2, 5, 24)  # small, so that the epsilon of the norms matters
    p = dict(block.named_parameters())

    def norm(x, name):
        return F.layer_norm(x, (24,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    q, k, v = linear(norm(x, "norm1"), "attn.qkv").unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
    after_attention = x + linear((weights @ v).transpose(1, 2).flatten(2), "attn.proj")
    hidden = F.gelu(linear(norm(after_attention, "norm2"), "mlp.fc1"))
    expected = after_attention + linear(hidden, "mlp.fc2")

    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=0)
    out, block_weights = block(x, need_weights=True)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(block_weights, weights, atol=1e-5, rtol=0)


def test_block_without_weights_in_its_branches_is_the_identity(block):
    # Pre-norm keeps a clean residual stream: nothing stands between input and output but additions.
    for linear in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    x = torch.randn(2, 5, 24)
    assert torch.equal(block(x), x)


def test_block_passes_its_rates_on():
    block = Block(24, 3, 60, qkv_bias=False, drop=0.1, attn_drop=0.2, drop_path=0.3)
    rates = (block.attn.proj_drop.p, block.mlp.drop.p, block.attn.attn_drop, block.drop_path.rate)
    assert rates == (0.1, 0.1, 0.2, 0.3)
    assert block.attn.qkv.bias is None


# -- MLP


def test_mlp_uses_the_exact_gelu():
    mlp = Mlp(6, 30)
    x = 2 * torch.randn(4, 7, 6)
    hidden = mlp.fc1(x)
    exact = mlp.fc2(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))  # x·Φ(x)
    torch.testing.assert_close(mlp(x), exact, atol=1e-6, rtol=0)
    tanh = mlp.fc2(F.gelu(hidden, approximate="tanh"))
    assert (tanh - exact).abs().max() > 1e-5  # so the line above would notice the other form


def test_mlp_treats_each_token_alone():
    mlp, x = Mlp(6, 30), torch.randn(2, 7, 6)
    one_by_one = torch.stack([mlp(x[:, n]) for n in range(7)], dim=1)
    torch.testing.assert_close(mlp(x), one_by_one)


def test_mlp_drops_hidden_and_output():
    mlp, seen = Mlp(60, 200, drop=0.5).train(), []
    mlp.fc2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    out = mlp(torch.randn(2, 30, 60))
    for x in (seen[0], out):
        assert 0.45 < (x == 0).float().mean() < 0.55
    mlp.eval()
    assert (mlp(torch.randn(2, 30, 60)) != 0).all()


# -- stochastic depth


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_path_keeps_the_expectation(rate):
    out = DropPath(rate).train()(torch.full((20000, 3, 2), 3.0))
    kept = out[:, 0, 0] != 0
    assert torch.equal(out, (kept * 3.0 / (1 - rate))[:, None, None].expand_as(out))  # whole images, scaled
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.02)  # over five standard errors
    assert out.mean().item() == pytest.approx(3.0, abs=0.02 * 3.0 / (1 - rate))


@pytest.mark.parametrize("shape", [(8,), (8, 3), (8, 2, 3, 4)])
def test_drop_path_takes_any_rank(shape):
    out = DropPath(0.5).train()(torch.ones(shape)).reshape(8, -1)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert set(out.unique().tolist()) == {0.0, 2.0}


def test_drop_path_does_nothing_in_evaluation_or_at_rate_zero():
    x = torch.randn(4, 3, 2)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_the_two_branches_of_a_block_are_dropped_independently():
    # Each branch writes into a coordinate of its own, so an output tells which branches an image kept.
    block = Block(2, 1, 4, drop_path=0.5).train()
    for linear, bias in ((block.attn.proj, [1.0, 0.0]), (block.mlp.fc2, [0.0, 1.0])):
        nn.init.zeros_(linear.weight)
        linear.bias.data = torch.tensor(bias)
    out = block(torch.zeros(4000, 1, 2))[:, 0]
    for a, b in itertools.product((0.0, 2.0), repeat=2):
        share = (out == torch.tensor([a, b])).all(1).float().mean()
        assert 0.2 < share < 0.3
