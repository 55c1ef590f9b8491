"""The live figures: their arithmetic in Node against the package and the lessons, and their words."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

from course import live
from vit import create_model
from vit.config import PRESETS, ViTConfig, get_config
from vit.cost import activation_bytes, count_macs, count_parameters, training_memory
from vit.encoder import Block
from vit.patches import patchify
from vit.training.recipe import Recipe, get_recipe

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "hooks"))
import reading

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "assets" / "live"
NAMES = ("patches", "positions", "attention", "encoder", "cost", "schedule")

GRID = {
    "img_size": [224, 384, (96, 160)],
    "patch_size": [16, 32],
    "head": ["linear", "mlp", "none"],
    "class_token": [True, False],
    "mlp_ratio": [4.0, 2.7],
}
OTHERS = [
    {"num_classes": 0},
    {"init_values": 1e-5, "qkv_bias": False},
    {"pos_embed": "sincos2d", "pos_size": 224, "img_size": 256},
    {"global_pool": "avg", "fc_norm": True},
    {"fc_norm": True, "reg_tokens": 4, "in_chans": 1},
    {"embed_dim": 96, "num_heads": 1, "depth": 1, "mlp_ratio": 3},
]
BAD = [
    {"img_size": 200},
    {"img_size": 0},
    {"img_size": (224, -32)},
    {"img_size": (224, 100)},
    {"patch_size": (16, 8)},
    {"patch_size": 500},
    {"num_heads": 5},
    {"num_heads": 0},
    {"embed_dim": -768},
    {"in_chans": 0},
    {"depth": 0},
    {"mlp_ratio": -0.5},
    {"mlp_ratio": 0},
    {"init_values": -1e-7},
    {"num_classes": -1},
    {"reg_tokens": -2},
    {"pos_embed": "sine"},
    {"global_pool": "max"},
    {"head": "big"},
    {"gelu": "erf"},
    {"class_token": False},
    {"drop_rate": 1.5},
    {"drop_path_rate": -0.25},
    {"pos_embed": "sincos2d", "pos_size": (100, 224)},
]


def cost(preset, given):
    config = get_config(preset, **given)
    modes = itertools.product((1, 64), (True, False), (True, False))
    return {
        "preset": preset,
        "given": given,
        "macs": count_macs(config),
        "parameters": count_parameters(config),
        "activations": [[b, f, h, activation_bytes(config, b, fused=f, bf16=h)] for b, f, h in modes],
        "memory": training_memory(config, 64),
        "shape": [config.grid_size, config.num_patches, config.num_tokens, config.mlp_dim],
    }


def costs():
    for values in itertools.product(*GRID.values()):
        given = dict(zip(GRID, values, strict=True))
        given["global_pool"] = "token" if given["class_token"] else "avg"
        yield cost("vit_ti_16", given)
    yield from (cost("vit_b_16", given) for given in OTHERS)
    yield from (cost(preset, {}) for preset in PRESETS)


def errors():
    for given in BAD:
        with pytest.raises(ValueError, match=r"\w") as refused:
            get_config("vit_b_16", **given)
        yield {"preset": "vit_b_16", "given": given, "error": str(refused.value)}


def part_of(name):
    """As lesson 5 sorts parameters by their names."""
    if name.startswith(("patch_embed", "cls_token", "pos_embed")):
        return "embedding"
    pieces = ((".attn.", "attention"), (".mlp.", "mlp"), ("norm", "norms"))
    return next((part for piece, part in pieces if piece in name), "head")


def parts():
    for preset in PRESETS:
        with torch.device("meta"):
            model, count = create_model(preset), Counter()
        for name, p in model.named_parameters():
            count[part_of(name)] += p.numel()
        yield {"preset": preset, "parts": count}


def schedules():
    for lr, min_lr, warmup in itertools.product((1e-4, 3e-3), (0.0, 1e-5, 1e-2), (0.0, 0.05, 0.5, 1.0)):
        recipe, total = Recipe(lr=lr, min_lr=min_lr, warmup=warmup), 77
        yield {
            "recipe": {"lr": lr, "min_lr": min_lr, "warmup": warmup, "steps": total},
            "rates": [[i / 40, recipe.lr_at(i / 40)] for i in range(41)],
            "steps": [[step, recipe.lr_at((step + 1) / total)] for step in range(total)],  # trainer.py
        }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if shutil.which("node") is None:
        pytest.skip("no Node.js to run the live figures with: install it (Debian: apt install nodejs)")
    folder = tmp_path_factory.mktemp("live")
    defaults = json.loads(json.dumps(asdict(ViTConfig())))
    cases = {"presets": PRESETS, "defaults": defaults, "costs": [*costs()], "errors": [*errors()]}
    cases |= {"parts": [*parts()], "schedules": [*schedules()]}
    (folder / "cases.json").write_text(json.dumps(cases))
    command = ["node", "--test", ROOT / "tests" / "live.test.mjs"]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LIVE": str(folder)})
    assert run.returncode == 0, run.stdout[-6000:]
    assert "# pass 8" in run.stdout
    return json.loads((folder / "found.json").read_text())


def constant(number, name):
    """A tensor that a lesson writes down: the value of `name = ...`, whose right side names only torch."""
    (path,) = (ROOT / "notebooks").glob(f"{number:02}_*.ipynb")
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and f"{name} = " in cell.source:
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    return eval(ast.unparse(node.value), {"torch": torch})
    raise LookupError(f"lesson {number} has no {name}")


def test_the_arithmetic_is_the_packages(found):
    assert found["size"]["D"] == 32  # the fixture has run the tests in Node


def test_blocks_are_wired_as_the_lesson_wires_them(found):
    """The same matrices in `vit.encoder.Block`, wired by lesson 4's own functions."""
    N, D, hidden = (found["size"][key] for key in ("N", "D", "hidden"))
    blocks = []
    for weights in found["blocks"]:
        matrix = {key: torch.tensor(value, dtype=torch.float64) for key, value in weights.items()}
        block = Block(D, num_heads=found["size"]["h"], mlp_dim=hidden).double()
        for p in block.parameters():
            if p.ndim == 1:
                torch.nn.init.zeros_(p)
        for norm in (block.norm1, block.norm2):
            torch.nn.init.ones_(norm.weight)
        with torch.no_grad():
            block.attn.qkv.weight.copy_(torch.cat([matrix[key].view(D, D) for key in "qkv"]))
            block.attn.proj.weight.copy_(matrix["proj"].view(D, D))
            block.mlp.fc1.weight.copy_(matrix["fc1"].view(hidden, D))
            block.mlp.fc2.weight.copy_(matrix["fc2"].view(D, hidden))
        blocks.append(block)
    start = torch.tensor(found["tokens"], dtype=torch.float64).view(1, N, D)
    cells = nbformat.read(ROOT / "notebooks" / "04_encoder.ipynb", 4).cells
    space = {}
    for name in ("with_residual", "no_residual", "difference", "post_norm"):
        (source,) = [c.source for c in cells if c.cell_type == "code" and f"def {name}(" in c.source]
        exec(re.search(rf"^def {name}\(.*?(?=^\S|\Z)", source, re.DOTALL | re.MULTILINE)[0], space)

    def bare(block, x):
        x = x + block.attn(x)
        return x + block.mlp(x)

    wirings = {
        "true pre": space["with_residual"],
        "false pre": space["no_residual"],
        "true post": space["post_norm"],
        "false post": lambda b, x: b.norm2(b.mlp(b.norm1(b.attn(x)))),
        "true none": bare,
        "false none": lambda b, x: b.mlp(b.attn(x)),
    }
    with torch.no_grad():
        for name, wiring in wirings.items():
            x = start
            for block in blocks:
                x = wiring(block, x)
            ours = torch.tensor(found["out"][name], dtype=torch.float64).view(1, N, D)
            torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-12)
            if name == "true post":
                assert found["curves"]["differences"][2] == pytest.approx(space["difference"](x))


def test_figures_show_the_lessons_numbers(found):
    photo = found["photo"]
    assert set(photo) == {str(P) for P in range(1, 225) if 224 % P == 0}
    for P, count in photo.items():
        N = (224 // int(P)) ** 2
        assert count == {
            "N": N,
            "each": 3 * int(P) ** 2,
            "all": 3 * 224**2,
            "pairs": N * N,
            "bytes": 4 * N * N,
        }

    bag = found["bag"]
    tokens, corners = constant(2, "toy_tokens"), constant(2, "corners")
    assert bag["tokens"] == tokens.tolist()
    assert bag["class"] == constant(2, "toy_class")[0].tolist()
    assert bag["corners"] == corners.tolist()
    assert bag["pixels"] == patchify(constant(2, "toy")[None, None], 2)[0].tolist()
    asks = constant(2, "toy_class")
    for answer, places in zip(bag["answers"], (0 * corners, corners), strict=True):
        z = torch.cat([asks, tokens[[0, 2, 1, 3]] + places])
        torch.testing.assert_close(torch.tensor(answer), ((asks @ z.T / 2**0.5).softmax(-1) @ z)[0])

    toy = found["toy"]
    q, k, v = (tokens @ constant(3, f"U_{name}") for name in "qkv")
    assert [toy["queries"], toy["keys"], toy["values"]] == [part.tolist() for part in (q, k, v)]
    output = (q @ k.T / 2**0.5).softmax(-1) @ v
    torch.testing.assert_close(torch.tensor(toy["outputs"]), output)


def test_what_the_figures_begin_with_is_the_packages():
    data = live.data()
    assert data["presets"] == PRESETS
    for name, schedule in data["recipes"].items():
        recipe = get_recipe(name)
        assert {key: schedule[key] for key in ("lr", "min_lr", "warmup")} == {
            key: getattr(recipe, key) for key in ("lr", "min_lr", "warmup")
        }
    assert data["recipes"]["cifar10"]["steps"] == 22464  # its receipt, which its trainer wrote
    assert len(json.dumps(data)) < 12_000, "every lesson with a figure loads it"


@pytest.mark.parametrize("name", NAMES)
def test_every_word_that_is_asked_for_is_there(name):
    words = yaml.safe_load((ROOT / "docs" / "live.yml").read_text(encoding="utf-8"))
    code = (FIGURES / f"{name}.mjs").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bw\.(\w+)", code)) | {"title", "note", "live"}
    assert asked <= set(words["all"]) | set(words[name])


def test_every_figure_stands_in_its_lesson_once():
    for number, name in enumerate(NAMES, start=1):
        (path,) = (ROOT / "notebooks").glob(f"{number:02}_*.ipynb")
        cells = nbformat.read(path, 4).cells
        holding = [c for c in reading.main_path(cells) if "<vit-live" in c.source]
        assert len(holding) == 1
        assert f'data-figure="{name}">' in holding[0].source
