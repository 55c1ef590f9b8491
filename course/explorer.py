"""What the explorer on the site's page "Try it" is made of, written by the site build and never committed.

The shipped CIFAR-10 model becomes one file of 8-bit weights that a browser reads without a library. Beside it
lie photographs as raw bytes, so that no browser's decoder changes a pixel, and the model's answer to the
first of them, so that the page has something to show before the weights are there.

The format of the weights: the length of the header (uint32, little-endian), a JSON header, then the tensors,
each beginning at a multiple of 8 bytes. A matrix is int8 with one float32 scale for each output row: the
largest weight of the row is 127. Everything else is float32.

Legend: C channels, P patch side, N tokens, D width, h heads, L depth, K classes, S image side.
"""

import base64
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MADE = ROOT / "build" / "explorer"
RESULTS = ROOT / "benchmarks" / "results" / "explorer.json"
MODEL = "cifar10"
PICTURES = ("chelsea", "astronaut", "coffee", "rocket")  # of `vit.data.PHOTOGRAPHS`; the first is precomputed
SIZES = (32, 48, 64)  # sides that the page offers; the model was trained on the first
SHOWN = (9, 0)  # the static figure's block (1 to L) and head (0: the mean of all), as the page counts them
CUTS = 64  # squares of the photographs that the two precisions are compared on
STRENGTH = 0.55  # of the colours of a map over the grey of its picture; the page takes it from here
TOP = 0.995  # the page's fixed scale ends above this part of all weights on patches


def quantise(weight: Any) -> tuple[Any, Any]:
    """A matrix `(O, I)` as int8 `(O, I)` and one float32 scale per row `(O,)`: weight ≈ int8 · scale."""
    import torch

    scale = weight.abs().amax(1).clamp(min=1e-12) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def dequantised(model: Any) -> Any:
    """The model as the browser sees it: a copy whose matrices have been through `quantise`."""
    import copy

    import torch

    model = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            if _is_matrix(p):
                whole, scale = quantise(p.flatten(1))
                p.copy_((whole.float() * scale[:, None]).reshape(p.shape))
    return model


def _is_matrix(tensor: Any) -> bool:
    """Whether a parameter is a linear map: the patch projection or a layer, but no table of positions."""
    return tensor.ndim in (2, 4)


def pack(classifier: Any, eight_bit: bool = True) -> bytes:
    """One file of a classifier's weights, as in the docstring above; all float32 without `eight_bit`."""
    config, how = classifier.model.config, classifier.preprocessing
    entries, chunks, offset = [], [], 0

    def put(array: Any) -> tuple[int, int]:
        nonlocal offset
        data = array.tobytes()
        chunks.append(data + bytes(-len(data) % 8))
        start, offset = offset, offset + len(chunks[-1])
        return start, array.size

    for name, p in classifier.model.state_dict().items():
        p = p.float()
        if eight_bit and _is_matrix(p):
            whole, scale = quantise(p.flatten(1))
            start, size = put(whole.numpy())
            entry = {"dtype": "int8", "scale": dict(zip(("offset", "size"), put(scale.numpy()), strict=True))}
        else:
            start, size = put(p.numpy())
            entry = {"dtype": "float32"}
        entries.append({"name": name, "shape": [*p.shape], "offset": start, "size": size, **entry})
    about = {
        name: getattr(config, name)
        for name in ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "norm_eps", "num_classes")
    } | {"mean": how.mean, "std": how.std, "classes": classifier.classes}
    # The header holds offsets in the file and its own length moves them: leave room, then fill it.
    room = len(json.dumps({"config": about, "tensors": entries}).encode()) + 32 * len(entries)
    room += -(room + 4) % 8
    for entry in entries:
        for place in (entry, entry.get("scale")):
            if place:
                place["offset"] += 4 + room
    header = json.dumps({"config": about, "tensors": entries}).encode()
    return room.to_bytes(4, "little") + header.ljust(room) + b"".join(chunks)


def picture(name: str, size: int) -> Any:
    """A photograph as the lessons show it, in bytes: `(3, size, size)` uint8."""
    import torch

    from vit.data import photograph

    return (photograph(name, size) * 255).round().to(torch.uint8)


def raw(image: Any) -> bytes:
    """`(3, H, W)` uint8 as a canvas has it: row by row, the colours of a pixel together."""
    return image.permute(1, 2, 0).contiguous().numpy().tobytes()


def agreement(classifier: Any, eight: Any, images: Any) -> dict[str, float]:
    """How far 8-bit weights are from the model's own on images `(B, 3, S, S)`, the worst of each."""
    import torch

    with torch.inference_mode():
        x = classifier.preprocessing.normalise(images)
        ours, theirs = classifier.model(x), eight(x)
        maps = [
            (a - b).abs()
            for a, b in zip(classifier.model.attention_maps(x), eight.attention_maps(x), strict=True)
        ]
    return {
        "logits": float((ours - theirs).abs().max()),
        "probability": float((ours.softmax(1) - theirs.softmax(1)).abs().max()),
        "attention": max(float(m.max()) for m in maps),
        "same": int((ours.argmax(1) == theirs.argmax(1)).sum()),
        "count": len(images),
    }


def measured() -> dict[str, float]:
    """What `benchmarks/explorer.py` found on CIFAR-10, which no site build has at hand."""
    cases = json.loads(RESULTS.read_text())["cases"]
    found = {name: cases["int8"][name] for name in ("agree", "count", "milliseconds")}
    return found | {"plain": cases["int8, without WebAssembly"]["milliseconds"]}


def colours(name: str, steps: int) -> list[list[int]]:
    """A colour map of matplotlib as `steps` triples of bytes."""
    import matplotlib

    return (
        (matplotlib.colormaps[name].resampled(steps)(range(steps))[:, :3] * 255).round().astype(int).tolist()
    )


def figure(image: Any, maps: list[tuple[Any, float]], table: list[list[int]]) -> bytes:
    """A PNG of a picture and maps `(g, g)` over its grey, each with the maximum of its scale."""
    import numpy as np
    from PIL import Image

    rgb = image.permute(1, 2, 0).numpy().astype(float)
    grey = rgb @ [0.299, 0.587, 0.114]
    cell = len(rgb) // len(maps[0][0])
    panels = [rgb]
    for weights, top in maps:
        index = (np.clip(weights.numpy() / top, 0, 1) * (len(table) - 1)).round().astype(int)
        heat = np.asarray(table, float)[index].repeat(cell, 0).repeat(cell, 1)
        panels.append(STRENGTH * heat + (1 - STRENGTH) * grey[:, :, None])
    space = np.full((len(rgb), 1, 3), 255.0)
    row = np.concatenate([part for panel in panels for part in (panel, space)][:-1], 1)
    buffer = io.BytesIO()
    shown = Image.fromarray(row.round().astype("uint8"))
    shown.resize((shown.width * 8, shown.height * 8), Image.Resampling.NEAREST).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()


def _make() -> Iterator[tuple[str, bytes]]:
    import torch

    from vit.analysis import logit_lens
    from vit.data import photograph_cuts
    from vit.inference import load_classifier

    torch.manual_seed(0)
    classifier = load_classifier(MODEL)
    config = classifier.model.config
    eight = dequantised(classifier.model)
    weights = pack(classifier)
    yield "vit.q8.bin", weights
    for size in SIZES:
        yield f"pictures-{size}.bin", b"".join(raw(picture(name, size)) for name in PICTURES)

    images = torch.stack([picture(name, config.img_size[0]) for name in PICTURES])
    with torch.inference_mode():
        x = classifier.preprocessing.normalise(images)
        maps = torch.stack(eight.attention_maps(x))  # (L, B, h, N, N)
        lens = logit_lens(eight, x[:1])[:, 0]  # (L + 1, K)
    first = maps[:, 0].flatten(0, 2)  # (L·h·N, N): a row of weights after another
    top = first.amax(1)
    # Each row in 8 bits of its own largest weight, which is exact enough to draw and to print two digits.
    yield "first.bin", top.numpy().tobytes() + (first / top[:, None] * 255).round().byte().numpy().tobytes()
    scale = float(torch.quantile(maps[..., 1:].flatten()[::7], TOP))
    cuts = (photograph_cuts(CUTS, config.img_size[0]) * 255).round().byte()
    table = colours("viridis", 64)
    block, head = SHOWN
    shown = maps[block - 1, 0].mean(0) if not head else maps[block - 1, 0, head - 1]
    grid = config.grid_size
    mine = shown[0, 1:].reshape(grid)
    eye = shown[27, 1:].reshape(grid)
    yield "first.png", figure(images[0], [(mine, float(mine.max())), (eye, float(eye.max()))], table)
    answer = lens[-1].softmax(0)
    yield (
        "first.json",
        json.dumps(
            {
                "config": {
                    "img_size": config.img_size[0],
                    "patch_size": config.patch_size,
                    "embed_dim": config.embed_dim,
                    "depth": config.depth,
                    "num_heads": config.num_heads,
                    "parameters": sum(p.numel() for p in classifier.model.parameters()),
                },
                "classes": classifier.classes,
                "pictures": PICTURES,
                "sizes": SIZES,
                "weights": {"file": "vit.q8.bin", "bytes": len(weights)},
                "lens": [[round(v, 5) for v in row] for row in lens.tolist()],
                "answer": {"name": classifier.classes[int(answer.argmax())], "p": float(answer.max())},
                "scale": round(scale, 2),
                "strength": STRENGTH,
                "measured": measured(),
                "int8": agreement(classifier, eight, cuts),
                "heat": _packed(table),
                "signed": _packed(colours("PuOr_r", 65)),
            }
        ).encode(),
    )


def _packed(table: list[list[int]]) -> str:
    return base64.b64encode(bytes(v for triple in table for v in triple)).decode()


def files(folder: Path = MADE) -> dict[str, bytes]:
    """Everything the page needs, by name. Kept in `folder`, and made again when its sources changed."""
    sources = [Path(__file__), RESULTS, ROOT / "vit" / "weights" / MODEL / "best.safetensors"]
    sources += [
        ROOT / "vit" / f"{name}.py" for name in ("model", "patches", "positions", "attention", "encoder")
    ]
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    index = folder / "index.json"
    if index.exists():
        known = json.loads(index.read_text())
        if known["stamp"] == stamp and all((folder / name).exists() for name in known["files"]):
            return {name: (folder / name).read_bytes() for name in known["files"]}
    folder.mkdir(parents=True, exist_ok=True)
    made = dict(_make())
    for name, content in made.items():
        (folder / name).write_bytes(content)
    index.write_text(json.dumps({"stamp": stamp, "files": [*made]}))
    return made


def reference(folder: Path) -> None:
    """Write what `tests/explorer.test.mjs` holds the engine against: weights, pictures, PyTorch's numbers.

    For the shipped model in float32 and, with "int8", with the matrices that the browser gets.
    """
    import torch

    from vit.analysis import logit_lens, rollout
    from vit.inference import load_classifier
    from vit.patches import patchify, unpatchify
    from vit.positions import interpolate_positions

    classifier = load_classifier(MODEL)
    P, side = classifier.model.config.patch_size, SIZES[0]
    (folder / "vit.f32.bin").write_bytes(pack(classifier, eight_bit=False))
    (folder / "vit.q8.bin").write_bytes(pack(classifier))
    models = {"f32": classifier.model, "q8": dequantised(classifier.model)}
    count = (side // P) ** 2
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    masked = [0, 9, 27, 63]
    cases: list[dict[str, Any]] = []

    def save(name: str, tensor: torch.Tensor) -> str:
        (folder / name).write_bytes(tensor.contiguous().numpy().tobytes())
        return name

    @torch.inference_mode()
    def case(name: str, weights: str, picture_name: str, size: int = side, **options: Any) -> None:
        import copy

        model = copy.deepcopy(models[weights])
        model.set_input_size(size)
        if options.get("positions") is False:
            model.pos_embed = None
        image = picture(picture_name, size)
        x = classifier.preprocessing.normalise(image[None])
        patches = patchify(x, P)
        if "order" in options:
            patches = patches[:, options["order"]]
        if "masked" in options:
            patches = patches.clone()
            patches[:, options["masked"]] = 0
        x = unpatchify(patches, P, (size, size))
        maps = model.attention_maps(x)
        cases.append(
            {
                "name": name,
                "weights": weights,
                "size": size,
                "options": options,
                "pixels": save(f"{name}.pixels", torch.frombuffer(bytearray(raw(image)), dtype=torch.uint8)),
                "logits": model(x)[0].tolist(),
                "lens": logit_lens(model, x)[:, 0].tolist(),
                "attention": save(f"{name}.attention", torch.cat(maps)),
                "rollout": save(f"{name}.rollout", rollout(maps)[0]),
                "embedded": save(f"{name}.embedded", model.embed(x)[0]),
            }
        )

    for name in PICTURES:
        case(f"f32-{name}", "f32", name)
        case(f"q8-{name}", "q8", name)
    case("f32-48", "f32", "chelsea", 48)
    case("f32-64", "f32", "chelsea", 64)
    case("f32-24", "f32", "astronaut", 24)
    case("f32-no-positions", "f32", "chelsea", positions=False)
    case("f32-shuffled", "f32", "chelsea", order=order.tolist())
    case("f32-masked", "f32", "coffee", masked=masked)
    with torch.inference_mode():
        table = classifier.model.pos_embed
        resized = {
            str(g): interpolate_positions(table, (side // P,) * 2, (g, g))[0].flatten().tolist()
            for g in (5, 12, 16)
        }
    (folder / "cases.json").write_text(json.dumps({"cases": cases, "positions": resized}))


if __name__ == "__main__":
    reference(Path(sys.argv[1]))
