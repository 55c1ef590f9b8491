"""The explorer: its engine against PyTorch in Node, its weights, its words, its measurements."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from course import explorer

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "docs" / "assets" / "explorer"


def test_the_engine_computes_what_pytorch_does(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("no Node.js to run the explorer's engine with: install it (Debian: apt install nodejs)")
    explorer.reference(tmp_path)
    command = ["node", "--test", ROOT / "tests" / "explorer.test.mjs"]
    run = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"EXPLORER": str(tmp_path)}
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"# pass (2\d|[3-9]\d)", run.stdout), "tests are missing"


def test_a_row_is_off_by_half_a_step_at_most():
    weight = torch.randn(7, 20) * torch.logspace(-3, 1, 7)[:, None]
    whole, scale = explorer.quantise(weight)
    assert whole.dtype == torch.int8
    assert (whole.int().abs().amax(1) == 127).all()
    assert ((whole * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()


def test_every_word_that_is_asked_for_is_there():
    words = yaml.safe_load((ROOT / "docs" / "explorer.yml").read_text(encoding="utf-8"))
    code = (ENGINE / "ui.mjs").read_text(encoding="utf-8")
    assert set(re.findall(r"\bw\.(\w+)", code)) | set(re.findall(r"this\.words\.(\w+)", code)) <= set(words)
    stops = [stop["id"] for stop in words["stops"]]
    assert 8 <= len(stops) <= 12
    tour = (ENGINE / "tour.mjs").read_text(encoding="utf-8")
    assert all(len(re.findall(rf"^  {stop}: ", tour, re.MULTILINE)) == 2 for stop in stops)


def test_the_measurements_hold_what_the_page_promises():
    results = json.loads(explorer.RESULTS.read_text())
    case = results["cases"]["int8"]
    assert case["count"] == 1000
    assert case["agree"] >= 990
    assert results["cases"]["float32"]["agree"] == 1000
    assert results["cases"]["float32"]["logits"] < 1e-4
    assert results["cases"]["int8, without WebAssembly"]["agree"] >= 990
    assert case["milliseconds"] < 100
    assert results["browser"]["computed"][1] < 100
    raw, _ = map(sum, zip(*results["bytes"].values(), strict=True))
    assert raw < 3_500_000
