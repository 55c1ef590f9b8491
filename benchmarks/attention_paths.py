"""The two attention paths of `vit.attention`, timed against each other: the evidence for `prefers_explicit`.

On CPUs, is the explicit path (matmul, softmax, matmul) the faster one in bfloat16, up to which N, and
is PyTorch's fused kernel (`F.scaled_dot_product_attention`) the faster one in float32?

    .venv/bin/python benchmarks/attention_paths.py           # about 5 minutes on two idle cores
    .venv/bin/python benchmarks/attention_paths.py --quick   # three lengths, roughly: half a minute

Queries, keys and values are laid out as the model lays them out: views of one `(B, N, 3, h, d)` tensor. The
batch shrinks as N grows so that each case has about 8,192 tokens. The token counts are those of 32-pixel
images with patches of 8 and 4, of 224, 256 and 384 pixels with patches of 16, and of 512. The Markdown
beside the JSON is written by this script.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import (
    DTYPES,
    RESULTS,
    check_arguments,
    common_arguments,
    describe,
    load_average,
    load_results,
    machine,
    now,
    rendered,
    save_results,
    summary,
    take_turns,
)
from torch import Tensor

from vit.attention import explicit_attention, prefers_explicit

TOKENS = (17, 65, 197, 257, 577, 1025)
HEADS = ((4, 32), (6, 64))  # (h, d): the smallest preset for 32 pixels, and S/16
MODES = {"forward": "forward", "train": "forward and backward"}
PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "explicit": lambda q, k, v: explicit_attention(q, k, v)[0],
    "fused": F.scaled_dot_product_attention,
}


def split(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `Attention.forward` does it: `(B, N, 3, h, d)` -> three of `(B, h, N, d)`."""
    return tuple(part.transpose(1, 2) for part in qkv.unbind(2))


def make_call(path: str, mode: str, qkv: Tensor) -> Callable[[], object]:
    """One pass through a path, as a function of nothing."""
    attend = PATHS[path]
    B, N, _, h, d = qkv.shape

    @torch.inference_mode()
    def forward() -> Tensor:
        return attend(*split(qkv)).transpose(1, 2).reshape(B, N, h * d)

    leaf, gradient = qkv.clone().requires_grad_(), torch.randn_like(qkv[:, :, 0]).flatten(2)

    def train() -> tuple[Tensor, ...]:
        out = attend(*split(leaf)).transpose(1, 2).reshape(B, N, h * d)
        return torch.autograd.grad(out, leaf, gradient)

    return train if mode == "train" else forward


def measure_case(
    n: int, h: int, d: int, mode: str, dtype: str, args: argparse.Namespace
) -> dict[str, object]:
    """Both paths in turns."""
    load = load_average()
    batch = max(1, 8192 // n)
    qkv = torch.randn(batch, n, 3, h, d, generator=torch.Generator().manual_seed(0))
    qkv = qkv.to(args.device, DTYPES[dtype])
    calls = {path: make_call(path, mode, qkv) for path in PATHS}
    times, disturbed = take_turns(calls, args.rounds, args.seconds, args.device)
    ratios = [fused / explicit for explicit, fused in zip(times["explicit"], times["fused"], strict=True)]
    return {
        "tokens": n,
        "heads": h,
        "head_dim": d,
        "mode": mode,
        "dtype": dtype,
        "batch": batch,
        "rounds": args.rounds,
        "date": now(),
        "load": load,
        "disturbed_turns": disturbed,
        "milliseconds": {path: summary([1000 * t for t in ts]) for path, ts in times.items()},
        "fused_to_explicit": summary(ratios),
        "chosen": "explicit" if prefers_explicit(split(qkv)[0]) else "fused",
    }


def render(results: dict) -> str:
    """The Markdown of a results file."""
    lines = [
        "# Attention written out, and PyTorch's fused kernel",
        "",
        "Written by `benchmarks/attention_paths.py` from the JSON beside it. " + describe(results),
        "",
        "Milliseconds for a batch of about 8,192 tokens, medians over rounds in which the two take turns. "
        "**Ratio** is fused over explicit time, the median of the rounds' ratios, and in brackets their "
        "quartiles: above 1 the explicit path is faster. **Chosen** is what `vit.attention.prefers_explicit` "
        "picks; ✗ marks a choice that was slower by more than 5%.",
    ]
    cases = sorted(results["cases"].values(), key=lambda c: (c["heads"], c["tokens"]))
    for dtype in DTYPES:
        for mode, title in MODES.items():
            chosen = [c for c in cases if (c["dtype"], c["mode"]) == (dtype, mode)]
            if not chosen:
                continue
            lines += ["", f"## {dtype}, {title}", ""]
            lines.append("| heads × width | tokens | batch | explicit | fused | ratio | chosen |")
            lines.append("|---|---:|---:|---:|---:|---:|---|")
            for c in chosen:
                ms, ratio = c["milliseconds"], c["fused_to_explicit"]
                loss = ratio["median"] if c["chosen"] == "fused" else 1 / ratio["median"]
                lines.append(
                    f"| {c['heads']} × {c['head_dim']} | {c['tokens']} | {c['batch']} "
                    f"| {ms['explicit']['median']:.3g} | {ms['fused']['median']:.3g} "
                    f"| **{ratio['median']:.2f}** ({ratio['low']:.2f}–{ratio['high']:.2f}) "
                    f"| {c['chosen']}{' ✗' if loss > 1.05 else ''} |"
                )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common_arguments(parser, RESULTS / "attention_paths.json")
    parser.add_argument("--tokens", nargs="+", type=int, default=list(TOKENS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    args = parser.parse_args()
    check_arguments(parser, args)
    if min(args.tokens) < 1:
        parser.error(f"--tokens must be positive, got {args.tokens}")
    if rendered(args, render):
        return
    if args.quick and args.tokens == list(TOKENS):
        args.tokens = [17, 65, 197]
    results = load_results(args.out, machine(args.device, args.threads, ["torch"]))
    for n in args.tokens:
        for h, d in HEADS:
            for mode in MODES:
                for dtype in args.dtypes:
                    case = measure_case(n, h, d, mode, dtype, args)
                    results["cases"][f"{n}/{h}x{d}/{mode}/{dtype}"] = case
                    save_results(args.out, results, render(results))
                    print(n, f"{h}x{d}", mode, dtype, case["fused_to_explicit"], flush=True)
    print(f"wrote {args.out} and {args.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
