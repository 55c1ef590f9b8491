# Thin on purpose: Make decides what is stale, each target is a few lines. `make` alone lists the targets.
SHELL := bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PORT      ?= 8000
NOTEBOOKS ?= notebooks
BUILD     ?= build
SITE      ?= site
VENV      ?= .venv
BIN       := $(VENV)/bin
READY     := $(VENV)/.ready

SOURCES   := $(sort $(wildcard $(NOTEBOOKS)/*.ipynb))
EXECUTED  := $(patsubst $(NOTEBOOKS)/%,$(BUILD)/lessons/%,$(SOURCES))
PACKAGE   := $(shell find vit -name '*.py')

export LESSONS = $(abspath $(BUILD)/lessons)
export NO_MKDOCS_2_WARNING = 1
export PYTHONPATH = $(CURDIR)
# timm imports huggingface_hub, which would like tqdm to show widgets and warns that it cannot.
export PYTHONWARNINGS = ignore:IProgress
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help setup notebooks site serve test lint units pairs check sync lab bench clean

help: ## list the targets
	@echo "The Annotated Vision Transformer"; echo
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18
	@echo; echo "Start with: make serve"

setup: $(READY) ## create .venv and install the pinned environment (minutes; PYTHON=... to choose one)

# TORCH_INDEX=https://download.pytorch.org/whl/cpu takes PyTorch without CUDA: about 1 GB instead of 6 on Linux.
$(READY): requirements.txt
	@if [ ! -x $(BIN)/python ]; then \
	  for name in $(or $(PYTHON),python3.12 python3.13 python3.14 python3 python); do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$name; break; fi; \
	    path=$$("$$name" -c 'import sys; print(sys.version.split()[0], "at", sys.executable)' 2>/dev/null) && old=$$path; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.12 or newer is needed; found $${old:-none}. Install one, or say where it is: make setup PYTHON=/path/to/python3.12"; exit 1; fi; \
	  echo "== creating $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv $(VENV) || { rm -rf $(VENV); echo "python -m venv failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }; fi
	$(call say,installing requirements.txt into $(VENV) (2 to 10 minutes the first time, most of it PyTorch))
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  $(BIN)/pip install -q --disable-pip-version-check --index-url $(TORCH_INDEX) $$(grep -oE '^torch(vision)?\b(==[^ ]+)?' requirements.txt); fi
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	@if [ -f pyproject.toml ]; then $(BIN)/pip install -q --disable-pip-version-check --no-deps -e .; fi
	@touch $@

notebooks: $(EXECUTED) ## execute the lessons that are stale, through nbmake

# Executed aside and moved when it has succeeded, so that a failure never leaves a copy that looks fresh.
# A new environment makes them all stale, or the page would show what another torch printed.
$(BUILD)/lessons/%.ipynb: $(NOTEBOOKS)/%.ipynb $(PACKAGE) $(READY)
	$(call say,executing lesson $* (seconds to three minutes))
	@mkdir -p $(BUILD)/lessons $(BUILD)/running
	@cp $< $(BUILD)/running/$*.ipynb
	@$(BIN)/pytest -q -p no:cacheprovider -o addopts= --no-header --nbmake --nbmake-timeout=900 --overwrite $(BUILD)/running/$*.ipynb
	@$(BIN)/python docs/hooks/stamp.py $(BUILD)/running/$*.ipynb
	@mv $(BUILD)/running/$*.ipynb $@

site: $(EXECUTED) | $(READY) ## build the site into site/
	$(call say,building the site into $(SITE)/ (about 10 seconds))
	@rm -f $(filter-out $(EXECUTED),$(wildcard $(BUILD)/lessons/*.ipynb))
	@set -o pipefail; $(BIN)/mkdocs build --strict --site-dir $(abspath $(SITE)) 2>&1 | { grep -v '^INFO' || true; }

serve: site ## execute what is stale, build the site, and show it at http://127.0.0.1:8000 (PORT=... for another)
	@$(BIN)/python -c 'import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", $(PORT)))' 2>/dev/null \
	  || { echo "Port $(PORT) is taken. Try another: make serve PORT=8001"; exit 1; }
	$(call say,read it at http://127.0.0.1:$(PORT)  (Ctrl-C stops))
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE) >/dev/null 2>&1 || true

test: lint units pairs site check ## everything CI checks: code, lessons, site (10 to 20 minutes)
	$(call say,all checks passed)

lint: | $(READY) ## ruff: style and formatting (a second)
	$(call say,ruff)
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .

units: | $(READY) ## unit and parity tests of the package (about two minutes)
	$(call say,tests of the package in two processes (about two minutes))
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --ignore tests/test_site.py --ignore tests/test_pages_browser.py

pairs: | $(READY) ## each lesson's .py and .ipynb say the same, and no outputs are committed
	$(call say,the pairs of $(NOTEBOOKS)/ (a second each))
	@for nb in $(SOURCES); do \
	  diff -q <($(BIN)/jupytext --quiet --to py:percent --output - $$nb | grep -v '^#     formats:') \
	    <(grep -v '^#     formats:' $${nb%.ipynb}.py) >/dev/null \
	    || { echo "$$nb and its .py differ: run make sync"; exit 1; }; \
	  if grep -qE '"(output_type|execution_count": [0-9])' $$nb; then echo "$$nb has outputs: run make sync"; exit 1; fi; done

check: | $(READY) ## the built site: links, alt texts, no other host, every page in a browser (a minute)
	$(call say,checks of $(SITE)/ and a run of every page in Chromium (a minute or two))
	@SITE=$(abspath $(SITE)) $(BIN)/pytest -q tests/test_site.py tests/test_pages_browser.py

sync: | $(READY) ## bring the .py and .ipynb of each lesson together (the newer wins), without outputs
	@for py in $(wildcard $(NOTEBOOKS)/*.py); do $(BIN)/jupytext --quiet --sync $$py; done
	@for nb in $(wildcard $(NOTEBOOKS)/*.ipynb); do $(BIN)/jupyter nbconvert --log-level ERROR --clear-output --inplace $$nb; done

lab: | $(READY) ## open the lessons in JupyterLab
	@$(BIN)/jupyter lab $(NOTEBOOKS)

bench: | $(READY) ## measure loading, the two attention paths, and images per second against four libraries (half an hour)
	$(call say,installing the other libraries and measuring (half an hour; leave the machine alone meanwhile))
	@$(BIN)/pip install -q --disable-pip-version-check -r benchmarks/requirements.txt
	@$(BIN)/python benchmarks/loading.py
	@$(BIN)/python benchmarks/attention_paths.py
	@$(BIN)/python benchmarks/throughput.py

clean: ## remove what was made (not .venv)
	rm -rf $(BUILD) $(SITE) .pytest_cache .ruff_cache
