# Everything starts from a bare python3 with pip: each target sets up .venv first, which takes no time once it is done.

PYTHON ?= python3
BIN := .venv/bin

# Threads that spin while they wait slow each other down ten times where cores are shared; sleeping ones cost nothing.
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 0

# Some machines forbid Python to keep compiled modules, and then each of the tests' many processes compiles torch anew.
export PYTHONDONTWRITEBYTECODE =

# `make -j` runs the targets one by one: they write the same caches and share the cores.
.NOTPARALLEL:
.PHONY: help setup quickstart test check static quick docs clean

help:
	@echo "make quickstart   run the whole loop on this machine, from a constitution to an aligned policy"
	@echo "make test         run every test, slow and real-engine ones included"
	@echo "make check        format, lint, types, import rules and the quick tests: before every commit"
	@echo "make docs         build docs/ into site/, with its own tools, which it installs into .venv"
	@echo "make setup        make .venv with everything (the others do it by themselves)"
	@echo "make clean        remove caches and builds; runs/ and .venv stay"
	@echo "PYTHON=python3.12 names the Python to set up with; RLAIF_TORCH_INDEX PyTorch's CPU wheel index, if needed"

setup:
	@$(PYTHON) bootstrap.py

quickstart: setup
	@$(BIN)/rlaif quickstart

test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: static quick

static: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

quick: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow and not vllm"

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean:
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find rlaif tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
