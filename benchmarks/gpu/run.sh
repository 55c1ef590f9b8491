#!/usr/bin/env bash
# What is measured when a GPU is at hand, for SECONDS_LEFT seconds: benchmarks/gpu/README.md.
#   OUT=build/gpu SECONDS_LEFT=540 benchmarks/gpu/run.sh [tests] [cifar10] [throughput] [cost]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
START=$SECONDS OUT=${OUT:-build/gpu}
if [ -z "${PYTHON:-}" ]; then PYTHON=python3; if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi; fi
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$OUT"
{
  # Said before the first minute is spent, not after the last.
  "$PYTHON" - <<'PY'
import importlib.util, sys
needed = "torch torchvision numpy PIL matplotlib skimage safetensors tqdm _lzma".split()
wanted = {"pytest": "the tests", "timm": "its speed", "transformers": "its speed"}
missing = lambda names: [name for name in names if importlib.util.find_spec(name) is None]
for name in missing(wanted):
    print(f"not installed: {name}; {wanted[name]} will be left out")
if needed := missing(needed):
    sys.exit(f"not installed, and nothing works without: {', '.join(needed)} ({sys.executable})")
PY
  "$PYTHON" benchmarks/gpu/run.py --seconds $((${SECONDS_LEFT:-540} - SECONDS + START)) --out "$OUT" \
    --data "${DATA:-build/gpu-in/cifar10-jpeg.tar.xz}" --before "${BEFORE:-build/gpu-in/before}" \
    --work "${WORK:-build/gpu-work}" "$@"
} 2>&1 | tee -a "$OUT/run.log"
