"""Images per second beside other libraries, and lesson 12's arithmetic beside what is measured."""

import argparse
from typing import Any

import measure
import torch
from bench import Bench
from measure import summary, take_turns
from throughput import GEMM_SIDE, build, make_step, measure_case
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from vit.attention import prefers_explicit
from vit.config import get_config
from vit.cost import activation_bytes, count_macs, step_seconds, training_flops, training_memory
from vit.model import VisionTransformer

# One model for 32 pixels and one for 224, with batches that fill a GPU. Eager first: compiling takes minutes.
MODELS = {"vit_mini_4": 1024, "vit_b_16": 128}
CASES = [
    (preset, mode, compiled)
    for compiled in (False, True)
    for mode in ("train", "forward")
    for preset in MODELS
]
LIBRARIES = ("ours", "timm", "torchvision", "transformers")
ROUNDS, SECONDS = 5, 0.2  # turns of each candidate, and their length
LESSONS_GUESS = 0.4  # lesson 12's utilisation of a GPU


def toy() -> None:
    """Sizes for a test of the script on a CPU."""
    global ROUNDS, SECONDS
    ROUNDS, SECONDS, measure.PATIENCE = 2, 0.01, 0
    GEMM_SIDE["cpu"] = 64
    MODELS.clear()
    MODELS["vit_nano_4"] = 4
    CASES[:] = [("vit_nano_4", "train", False), ("vit_nano_4", "forward", False)]


def works(library: str) -> bool:
    """Whether a library is there and builds our smallest model; else it is said why not."""
    try:
        build(library, get_config("vit_nano_4"), "cpu")
    except Exception as error:  # of another version, anything
        print(f"throughput: without {library}: {error!r:.200}")
        return False
    return True


def throughput(bench: Bench) -> None:
    """Training steps and forward passes in bf16, eager and compiled, and the share of the matrix rate."""
    if bench.quick:
        toy()
    libraries = [name for name in LIBRARIES[: 2 if bench.quick else None] if works(name)]
    args = argparse.Namespace(device=bench.device, libraries=libraries, rounds=ROUNDS, seconds=SECONDS)
    cases = bench.results("throughput").get("cases", {})
    for preset, mode, compiled in CASES:
        key, least = f"{preset}/{mode}/bf16" + "/compiled" * compiled, 60 if compiled else 10
        if key in cases:
            continue
        if bench.left() < least and not bench.quick:
            print(f"throughput: {key} skipped, {bench.left():.0f} s are left and it takes about {least}")
            continue
        args.batch, args.compile = MODELS[preset], compiled
        cases[key] = measure_case(preset, mode, "bf16", args)
        bench.put("throughput", cases=cases)
        speeds = {name: round(s["median"]) for name, s in cases[key]["images_per_second"].items()}
        print(f"throughput: {key} {speeds}, of the matrix rate {cases[key]['share_of_gemm']}")
    if len(cases) == len(CASES):
        bench.put("throughput", done=True)


def kept_bytes(model: VisionTransformer, images: torch.Tensor) -> tuple[int, int | None]:
    """Bytes that autograd holds after a forward pass: by its own hooks, and by the GPU's allocator."""
    cuda, storages = images.device.type == "cuda", {}

    def note(t: torch.Tensor) -> torch.Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage()  # held: no address comes back
        return t

    before = torch.cuda.memory_allocated() if cuda else 0
    with saved_tensors_hooks(note, lambda t: t), torch.autocast(images.device.type, torch.bfloat16):
        out = model(images)
    allocated = torch.cuda.memory_allocated() - before - out.nbytes if cuda else None
    return sum(storage.nbytes() for storage in storages.values()), allocated


def cost(bench: Bench) -> None:
    """FLOPs, activations, memory and time of a training step: the formula, and what is measured."""
    if bench.quick:
        toy()
    cases = bench.results("cost").get("cases", {})
    for preset, batch in MODELS.items():
        if preset not in cases:
            cases[preset] = compare(preset, batch, bench.device)
            bench.put("cost", cases=cases)
            print(f"cost: {preset} {cases[preset]}")
    bench.put("cost", done=True)


def compare(preset: str, batch: int, device: str) -> dict[str, Any]:
    """One model's step, with `batch` images."""
    config, cuda = get_config(preset), device == "cuda"
    images = torch.randn(batch, config.in_chans, *config.img_size, device=device)
    labels = torch.randint(config.num_classes, (batch,), device=device)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    model = build("ours", config, device)
    step = make_step(model, "train", "bf16", images, labels)
    with FlopCounterMode(display=False) as counter:
        step()
    step()  # now the moments are there, too
    peak = torch.cuda.max_memory_allocated() - before if cuda else None
    # The difference of two batches: weights in bf16 are kept as well, but not once for each image.
    whole, half = kept_bytes(model, images), kept_bytes(model, images[: batch // 2])
    kept, allocated = (None if a is None else a - b for a, b in zip(whole, half, strict=True))
    query = torch.empty(1, 1, config.num_tokens, 1, dtype=torch.bfloat16, device=device)
    fused = not prefers_explicit(query)
    activations = activation_bytes(config, batch - batch // 2, fused=fused)

    a, b = (torch.randn(2 * (GEMM_SIDE[device],), device=device, dtype=torch.bfloat16) for _ in range(2))
    times, _ = take_turns({"step": step, "gemm": lambda: a @ b}, ROUNDS, SECONDS, device)
    gemm = 2 * GEMM_SIDE[device] ** 3 / summary(times["gemm"])["median"]
    # A fused kernel never stored the scores, and computes them once more.
    again = 2 * batch * count_macs(config)["attn.scores"] if fused else 0
    flops, seconds = training_flops(config, batch), summary(times["step"])
    guess = step_seconds(flops, 0, peak=gemm, utilisation=LESSONS_GUESS, bandwidth=1)
    return {
        "batch": batch,
        "flops": {"formula": flops, "counted": counter.get_total_flops() - again},
        "activation_bytes": {"images": batch - batch // 2, "fused": fused, "formula": activations}
        | {"kept": kept, "allocated": allocated},
        "training_memory": {"formula": training_memory(config, batch, fused=fused), "peak": peak},
        "step_seconds": {"formula": guess, "at": LESSONS_GUESS, "measured": seconds},
        "matrix_rate": gemm,
        "utilisation": flops / seconds["median"] / gemm,
    }
