# make book: set up, execute the notebooks (smoke profile), build the site.   make test: set up, run every test.
# Both are safe to repeat and quick the second time. `make help` lists the rest.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.8
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# One thread per test process: two processes with two threads each on two cores are slower than one after the other.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: book test lint serve refresh bench clean help

book: $(VENV)/ready  ## execute the notebooks and build the site
	$(BIN)/cnncourse book

test: $(VENV)/ready lint  ## every test: library, pipeline, notebooks, site
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --nbval --nbval-sanitize-with cnncourse/pipeline/sanitize.cfg notebooks
	$(BIN)/cnncourse claims --check

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

serve: $(VENV)/ready  ## show the built site on http://localhost:8000
	@test -f _build/site/index.html || { echo "There is no site yet: make book"; exit 1; }
	@echo "http://localhost:8000 leads to the student edition, http://localhost:8000/instructor to the other. Ctrl-C ends it."
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/site

refresh: $(VENV)/ready  ## execute the notebooks in place and commit their outputs and bands yourself
	$(BIN)/cnncourse refresh

bench: $(VENV)/ready  ## measure the library beside what one would use instead
	$(BIN)/python -m benchmarks --json _build/benchmarks.json

clean:  ## remove everything that was built (not the environment)
	rm -rf _build

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

# The environment is complete only when the last line has run; an interrupted set-up starts again where it stopped.
# Bytecode is compiled at once, also where PYTHONDONTWRITEBYTECODE is set: a kernel starts three times faster.
$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
