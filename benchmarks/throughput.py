"""Images per second of our Vision Transformer beside four other libraries', interleaved in one run.

Question: is the short code of `vit/` ever slower than the fastest of timm, torchvision, Hugging Face
transformers and vit-pytorch, and does it train small models on 32-pixel images twice as fast on a CPU?

    .venv/bin/pip install -r requirements.txt -r benchmarks/requirements.txt
    .venv/bin/python benchmarks/throughput.py            # everything: about 15 minutes on two idle cores
    .venv/bin/python benchmarks/throughput.py --quick    # one small model, roughly: a minute

What is measured: a forward pass (eval, inference mode) and a training step (forward, cross-entropy, backward,
fused AdamW), in fp32 and under bf16 autocast. Every library gets the same sizes, batch, images, threads and
optimiser, random weights, and the attention path that it takes by itself; none is compiled, or all are, with
--compile. The Markdown beside the JSON is written by this script. Close other programs: turns that another
process disturbs are repeated, so a busy machine makes it long. Cases are saved one by one; a later run with
--models or --modes adds to them.
"""

import argparse
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path

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
from torch import Tensor, nn

from vit import PRESETS, VisionTransformer, ViTConfig, count_macs, get_config

BATCH = {"vit_nano_4": 128, "vit_mini_4": 64, "vit_ti_16": 16, "vit_s_16": 8}  # images; others get 8
MODES = ("forward", "train")
PACKAGES = ("torch", "timm", "torchvision", "transformers", "vit-pytorch")
GEMM_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product is the yardstick


def build_timm(c: ViTConfig) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer as Timm

    return Timm(
        img_size=c.img_size,
        patch_size=c.patch_size,
        num_classes=c.num_classes,
        embed_dim=c.embed_dim,
        depth=c.depth,
        num_heads=c.num_heads,
        mlp_ratio=c.mlp_ratio,
    )


def build_torchvision(c: ViTConfig) -> nn.Module:
    from torchvision.models import VisionTransformer as Torchvision

    return Torchvision(
        image_size=c.img_size[0],
        patch_size=c.patch_size,
        num_layers=c.depth,
        num_heads=c.num_heads,
        hidden_dim=c.embed_dim,
        mlp_dim=c.mlp_dim,
        num_classes=c.num_classes,
    )


def build_transformers(c: ViTConfig) -> nn.Module:
    from transformers import ViTConfig as HFConfig
    from transformers import ViTForImageClassification

    return ViTForImageClassification(
        HFConfig(
            image_size=c.img_size[0],
            patch_size=c.patch_size,
            hidden_size=c.embed_dim,
            num_hidden_layers=c.depth,
            num_attention_heads=c.num_heads,
            intermediate_size=c.mlp_dim,
            num_labels=c.num_classes,
        )
    )


def build_vit_pytorch(c: ViTConfig) -> nn.Module:
    from vit_pytorch import ViT

    return ViT(
        image_size=c.img_size[0],
        patch_size=c.patch_size,
        num_classes=c.num_classes,
        dim=c.embed_dim,
        depth=c.depth,
        heads=c.num_heads,
        dim_head=c.embed_dim // c.num_heads,
        mlp_dim=c.mlp_dim,
    )


LIBRARIES: dict[str, Callable[[ViTConfig], nn.Module]] = {
    "ours": VisionTransformer,
    "timm": build_timm,
    "torchvision": build_torchvision,
    "transformers": build_transformers,
    "vit-pytorch": build_vit_pytorch,
}


def expected_extra_parameters(library: str, c: ViTConfig) -> int:
    """How many more parameters than ours a library's model has by design; all others have none."""
    if library != "vit-pytorch":
        return 0
    norms = 2 * c.in_chans * c.patch_size**2 + 2 * c.embed_dim  # around the patch projection
    return norms - 3 * c.embed_dim * c.depth  # and no biases on queries, keys and values


def build(library: str, config: ViTConfig, device: str) -> nn.Module:
    """The library's model of these sizes, checked to have as many parameters as ours."""
    torch.manual_seed(0)
    model = LIBRARIES[library](config).to(device)
    count = sum(p.numel() for p in model.parameters())
    ours = sum(p.numel() for p in VisionTransformer(config).parameters())
    expected = ours + expected_extra_parameters(library, config)
    assert count == expected, f"{library} has {count} parameters, expected {expected}"
    return model


def make_step(
    model: nn.Module, mode: str, dtype: str, images: Tensor, labels: Tensor
) -> Callable[[], object]:
    """One forward pass or one training step, as a function of nothing."""
    device = images.device.type
    autocast = {"device_type": device, "dtype": torch.bfloat16, "enabled": dtype == "bf16"}

    def logits() -> Tensor:
        out = model(images)
        return out if isinstance(out, Tensor) else out.logits  # transformers returns an object

    @torch.inference_mode()
    def forward() -> Tensor:
        with torch.autocast(**autocast):
            return logits()

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def train() -> None:
        with torch.autocast(**autocast):
            loss = F.cross_entropy(logits(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    model.train(mode == "train")
    return train if mode == "train" else forward


def measure_case(preset: str, mode: str, dtype: str, args: argparse.Namespace) -> dict[str, object]:
    """All libraries, and one large matrix product, in turns."""
    load = load_average()
    config, batch = get_config(preset), args.batch or BATCH.get(preset, 8)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, config.in_chans, *config.img_size, generator=generator).to(args.device)
    labels = torch.randint(config.num_classes, (batch,), generator=generator).to(args.device)

    side = GEMM_SIDE[args.device]
    a, b = (torch.randn(side, side, generator=generator).to(args.device, DTYPES[dtype]) for _ in range(2))
    models = {library: build(library, config, args.device) for library in args.libraries}
    if args.compile:
        torch.compiler.reset()  # or a second case would be compiled for sizes that vary
        models = {library: torch.compile(model, dynamic=False) for library, model in models.items()}
    candidates = {library: make_step(model, mode, dtype, images, labels) for library, model in models.items()}
    times, disturbed = take_turns(
        {**candidates, "gemm": lambda: a @ b}, args.rounds, args.seconds, args.device
    )
    gemm = summary([2 * side**3 / seconds / 1e9 for seconds in times.pop("gemm")])
    case: dict[str, object] = {
        "preset": preset,
        "mode": mode,
        "dtype": dtype,
        "compiled": args.compile,
        "batch": batch,
        "rounds": args.rounds,
        "date": now(),
        "load": load,
        "disturbed_turns": disturbed,
        "gemm_gflops": {"side": side, **gemm},
        "images_per_second": {name: summary([batch / t for t in ts]) for name, ts in times.items()},
    }
    # A step's FLOPs: two per multiply-accumulate; the backward pass costs twice the forward pass.
    flops = 2 * sum(count_macs(config).values()) * batch * (3 if mode == "train" else 1)
    case["share_of_gemm"] = {
        name: float(f"{flops / summary(ts)['median'] / gemm['median'] / 1e9:.3g}")
        for name, ts in times.items()
    }
    peers = [name for name in times if name != "ours"]
    if "ours" in times and peers:
        fastest = min(peers, key=lambda name: summary(times[name])["median"])
        # Round by round, so that what slows both down in one round cancels.
        ratios = [peer / ours for peer, ours in zip(times[fastest], times["ours"], strict=True)]
        case["ours_to_fastest_peer"] = {"peer": fastest, **summary(ratios)}
    return case


def render(results: dict) -> str:
    """The Markdown of a results file."""
    lines = [
        "# Images per second, ours and four other libraries",
        "",
        "Written by `benchmarks/throughput.py` from the JSON beside it. " + describe(results),
        "",
        "Medians over rounds in which the libraries take turns; batch, images, optimiser (fused AdamW) and "
        "threads are the same for all, random weights, no compilation but where a heading says so, "
        "each library's own default attention. "
        "**Ratio** is ours over the fastest peer, the median of the rounds' ratios, and in brackets their "
        "quartiles: above 1 we are faster. **Of gemm** is our share of the rate of one large matrix product "
        "in the same dtype, measured in the same turns.",
    ]
    cases = results["cases"].values()
    modes = {"train": "Training step", "forward": "Forward pass"}
    dtypes = {"fp32": "fp32", "bf16": "bf16 autocast"}
    for mode, dtype, compiled in itertools.product(modes, dtypes, (False, True)):
        kind = (mode, dtype, compiled)
        chosen = [c for c in cases if (c["mode"], c["dtype"], c.get("compiled", False)) == kind]
        if not chosen:
            continue
        chosen.sort(key=lambda c: list(PRESETS).index(c["preset"]))
        columns = [n for n in LIBRARIES if any(n in c["images_per_second"] for c in chosen)]
        lines += ["", f"## {modes[mode]}, {dtypes[dtype]}{', compiled' if compiled else ''}", ""]
        lines.append("| model | batch | " + " | ".join(columns) + " | ratio | fastest peer | of gemm |")
        lines.append("|---|" + "---:|" * (len(columns) + 2) + "---|---:|")
        for c in chosen:
            speeds = [c["images_per_second"].get(n, {}).get("median") for n in columns]
            ratio, share = c.get("ours_to_fastest_peer"), c["share_of_gemm"].get("ours")
            row = [f"`{c['preset']}`", str(c["batch"])]
            row += ["–" if s is None else f"{s:.4g}" for s in speeds]
            if ratio:
                row.append(f"**{ratio['median']:.2f}** ({ratio['low']:.2f}–{ratio['high']:.2f})")
            row += [ratio["peer"]] if ratio else ["–", "–"]
            row.append("–" if share is None else f"{share:.0%}")
            lines.append(f"| {' | '.join(row)} |")
    gemm = {
        d: [c["gemm_gflops"]["median"] for c in cases if c["dtype"] == d]
        for d in DTYPES
        if any(c["dtype"] == d for c in cases)
    }
    side = next(iter(cases))["gemm_gflops"]["side"]
    lines += [
        "",
        "## How to read it",
        "",
        f"- The matrix product is {side}×{side} by {side}×{side}: "
        + "; ".join(f"{d} {min(r):.0f} to {max(r):.0f} GFLOP/s" for d, r in gemm.items())
        + " over the cases. A model's FLOPs are 2 × `vit.count_macs`, times 3 in training.",
        "- Parameters are equal in number, checked when a model is built, but for vit-pytorch: it has two "
        "more layer norms around the patch projection and no biases on queries, keys and values.",
        "- timm, torchvision and transformers call PyTorch's fused attention by default; vit-pytorch always "
        "writes attention out; ours writes it out in bf16 on CPUs and calls the fused one elsewhere "
        "(`vit.attention.prefers_explicit`; `attention_paths.py` measures both).",
        "- So a large ratio in bf16 is the distance between two attention paths of PyTorch on this kind of "
        "processor, not between two ways of writing a model. timm and transformers can be told to write "
        'attention out (`TIMM_FUSED_ATTN=0`, `attn_implementation="eager"`): the table shows what a user '
        "gets who does not.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common_arguments(parser, RESULTS / "throughput.json")
    parser.add_argument("--models", nargs="+", choices=PRESETS, default=list(BATCH), metavar="PRESET")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--batch", type=int, help="images in a batch (default: by model)")
    parser.add_argument("--compile", action="store_true", help="compile every model: minutes more")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    args = parser.parse_args()
    check_arguments(parser, args)
    if args.batch is not None and args.batch < 1:
        parser.error(f"--batch must be positive, got {args.batch}")
    if rendered(args, render):
        return
    missing = [n for n in args.libraries if n != "ours" and not importlib.util.find_spec(n.replace("-", "_"))]
    if missing:
        parser.error(
            f"not installed: {', '.join(missing)}. Install with `pip install -r requirements.txt -r "
            f"benchmarks/requirements.txt`, or choose with --libraries"
        )
    if args.quick:
        args.models = args.models if args.models != list(BATCH) else ["vit_nano_4"]
    results = load_results(args.out, machine(args.device, args.threads, PACKAGES))
    for preset in args.models:
        for mode in args.modes:
            for dtype in args.dtypes:
                case = measure_case(preset, mode, dtype, args)
                results["cases"][f"{preset}/{mode}/{dtype}" + "/compiled" * args.compile] = case
                save_results(args.out, results, render(results))
                speeds = {n: round(s["median"], 1) for n, s in case["images_per_second"].items()}
                print(preset, mode, dtype, speeds, case.get("ours_to_fastest_peer"), flush=True)
    print(f"wrote {args.out} and {Path(args.out).with_suffix('.md')}")


if __name__ == "__main__":
    main()
