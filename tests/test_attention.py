from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vit.attention import Attention, explicit_attention, prefers_explicit


def attention_by_loops(attn, x):
    """Section 3.2 of Vaswani et al. (2017) with Python loops over images, heads and tokens."""
    B, N, D = x.shape
    h, d = attn.num_heads, D // attn.num_heads
    q, k, v = F.linear(x, attn.qkv.weight, attn.qkv.bias).split(D, dim=-1)
    out, weights = torch.zeros(B, N, D), torch.zeros(B, h, N, N)
    for b in range(B):
        for head in range(h):
            part = slice(head * d, (head + 1) * d)
            for i in range(N):
                scores = [torch.dot(q[b, i, part], k[b, j, part]) / d**0.5 for j in range(N)]
                exps = torch.stack(scores).exp()
                weights[b, head, i] = exps / exps.sum()
                for j in range(N):
                    out[b, i, part] += weights[b, head, i, j] * v[b, j, part]
    return F.linear(out, attn.proj.weight, attn.proj.bias), weights


def test_two_tokens_by_hand():
    # q·k/√4 is 0 within and ln 3 between the tokens, so the weights are 1/4 and 3/4.
    q = torch.eye(2, 4)[None, None]
    k = 2 * torch.log(torch.tensor(3.0)) * torch.eye(2, 4).flip(0)[None, None]
    v = torch.tensor([[4.0, 0.0], [0.0, 8.0]])[None, None]
    out, weights = explicit_attention(q, k, v)
    torch.testing.assert_close(weights, torch.tensor([[[[0.25, 0.75], [0.75, 0.25]]]]))
    torch.testing.assert_close(out, torch.tensor([[[[1.0, 6.0], [3.0, 2.0]]]]))


@pytest.mark.parametrize(("dim", "heads", "bias"), [(8, 1, True), (12, 3, True), (12, 4, False)])
def test_attention_is_the_loops(dim, heads, bias):
    attn = Attention(dim, heads, qkv_bias=bias)
    x = torch.randn(2, 5, dim)
    out, weights = attn(x, need_weights=True)
    expected_out, expected_weights = attention_by_loops(attn, x)
    torch.testing.assert_close(out, expected_out, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, expected_weights, atol=1e-5, rtol=0)
    torch.testing.assert_close(attn(x), expected_out, atol=1e-5, rtol=0)


def values_and_gradients(attn, x, need_weights, direction):
    x = x.clone().requires_grad_()
    out = attn(x, need_weights)
    out = out[0] if need_weights else out
    gradients = torch.autograd.grad((out * direction).sum(), [x, *attn.parameters()])
    return [out, *gradients]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 4, 12])
@pytest.mark.parametrize("tokens", [1, 5, 65, 197])
def test_fast_and_explicit_path_agree_in_values_and_gradients(tokens, heads, bias, sdpa_calls):
    attn = Attention(48, heads, qkv_bias=bias)
    nn.init.normal_(attn.qkv.weight, std=48**-0.5 * 1.5)  # scores that are far from uniform
    x, direction = torch.randn(2, tokens, 48), torch.randn(2, tokens, 48) / tokens**0.5
    fast = values_and_gradients(attn, x, False, direction)
    assert len(sdpa_calls) == 1
    explicit = values_and_gradients(attn, x, True, direction)
    assert len(sdpa_calls) == 1  # really two paths
    for a, b in zip(fast, explicit, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_pytorchs_multihead_attention(bias):
    attn = Attention(24, 3, qkv_bias=bias)
    theirs = nn.MultiheadAttention(24, 3, bias=True, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(attn.qkv.weight)
        theirs.in_proj_bias.copy_(attn.qkv.bias if bias else torch.zeros(72))
        theirs.out_proj.weight.copy_(attn.proj.weight)
        theirs.out_proj.bias.copy_(attn.proj.bias)
    x = torch.randn(2, 10, 24)
    out, weights = attn(x, need_weights=True)
    expected_out, expected_weights = theirs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(out, expected_out, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, expected_weights, atol=1e-5, rtol=0)


def test_rows_of_the_weights_sum_to_one():
    _, weights = Attention(24, 3)(torch.randn(2, 10, 24), need_weights=True)
    assert weights.shape == (2, 3, 10, 10)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 10))
    assert (weights.sum(-2) - 1).abs().max() > 1e-3  # columns need not, or the axis would be untested


@pytest.mark.parametrize("need_weights", [False, True])
def test_permuting_the_tokens_permutes_the_outputs(need_weights):
    attn = Attention(24, 3)
    x, order = torch.randn(2, 10, 24), torch.randperm(10)
    out, permuted = attn(x, need_weights), attn(x[:, order], need_weights)
    if need_weights:
        (out, weights), (permuted, permuted_weights) = out, permuted
        torch.testing.assert_close(permuted_weights, weights[:, :, order][..., order], atol=1e-6, rtol=0)
    torch.testing.assert_close(permuted, out[:, order], atol=1e-6, rtol=0)


# -- dropout


def test_weights_are_those_before_dropout():
    attn = Attention(24, 3, attn_drop=0.5)
    x = torch.randn(2, 10, 24)
    out, weights = attn.train()(x, need_weights=True)
    expected_out, expected_weights = attn.eval()(x, need_weights=True)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 10))
    assert not torch.allclose(out, expected_out, atol=1e-3)  # dropout did happen


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("rates", [{"attn_drop": 0.5}, {"proj_drop": 0.5}])
def test_both_paths_drop_in_training_only_and_keep_the_mean(need_weights, rates):
    attn = Attention(12, 3, **rates)
    x = torch.randn(1, 6, 12).expand(8000, 6, 12)  # the same image many times: one mask for each

    def outputs():
        out = attn(x, need_weights)
        return out[0] if need_weights else out

    with torch.no_grad():
        attn.train()
        trained = outputs()
        attn.eval()
        evaluated = outputs()
    torch.testing.assert_close(evaluated[:1].expand_as(evaluated), evaluated)
    assert trained.std(0).mean() > 0.02
    torch.testing.assert_close(trained.mean(0), evaluated[0], atol=0.02, rtol=0)


# -- the choice of the path


@pytest.mark.parametrize(
    ("device", "dtype", "tokens", "expected"),
    [
        ("cpu", torch.bfloat16, 65, True),
        ("cpu", torch.bfloat16, 1023, True),
        ("cpu", torch.bfloat16, 1024, False),
        ("cpu", torch.float32, 65, False),
        ("cpu", torch.float16, 65, False),
        ("cpu", torch.float64, 65, False),
        ("meta", torch.bfloat16, 65, False),
        ("cuda", torch.bfloat16, 65, False),
        ("cuda", torch.float32, 65, False),
    ],
)
def test_explicit_is_preferred_for_short_bfloat16_sequences_on_cpus(device, dtype, tokens, expected):
    # A stand-in for the queries: no GPU is needed to ask what would be done there.
    q = SimpleNamespace(device=torch.device(device), dtype=dtype, shape=torch.Size([2, 3, tokens, 64]))
    assert prefers_explicit(q) is expected


def test_forward_takes_the_preferred_path(sdpa_calls):
    attn, x = Attention(24, 3), torch.randn(2, 10, 24)
    attn(x)
    assert len(sdpa_calls) == 1
    attn(x, need_weights=True)
    assert len(sdpa_calls) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attn(x)
    attn.bfloat16()(x.bfloat16())
    assert len(sdpa_calls) == 1
    attn(torch.randn(1, 1024, 24, dtype=torch.bfloat16))
    assert len(sdpa_calls) == 2
    attn.to("meta")(torch.empty(2, 10, 24, device="meta", dtype=torch.bfloat16))
    assert len(sdpa_calls) == 3


def test_dropout_reaches_the_fused_kernel_in_training_only(sdpa_calls):
    attn, x = Attention(24, 3, attn_drop=0.25), torch.randn(2, 10, 24)
    attn.train()(x)
    attn.eval()(x)
    assert [call["dropout_p"] for call in sdpa_calls] == [0.25, 0.0]


def test_bfloat16_is_close_to_float32():
    attn, x = Attention(48, 4), torch.randn(2, 65, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attn(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), attn(x), atol=0.02, rtol=0)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of num_heads=5, got dim=24"):
        Attention(24, 5)
