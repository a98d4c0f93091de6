# The only door: `make run` and `make test` set up whatever is missing by themselves.
# Needs Python 3.11+ and make. PYTHON=python3.12 chooses another interpreter, ARGS="..." passes options to `sm3 compare` or the benchmarks.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOORS  := build/doors/.made
ARGS   ?=
NATIVE := CMakeLists.txt hatch_build.py $(wildcard src/sm3/optim/kernels/cpu/*.cpp src/sm3/optim/kernels/cpu/*.h)

.PHONY: help setup run test doors check lint types bench record docs wheel sanitize clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "sm3 needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Do: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup: $(STAMP) ## create .venv and install everything this repository needs

run: $(STAMP) ## the main job: train a small GPT with six optimizers and show memory, time and loss
	$(BIN)/sm3 compare $(ARGS)

test: $(STAMP) ## the whole test suite, without slow studies
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

$(DOORS): $(STAMP) tests/doors/requirements.txt tests/doors/environment.py
	$(BIN)/python tests/doors/environment.py

doors: $(DOORS) ## install other people's trainers beside .venv (150 MB) and test our optimizers in them; then `make test` does it, too
	$(BIN)/python -m pytest tests/doors $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test ## lint, types, tests: what CI runs

bench: $(STAMP) ## measure step times, memory, leaks and peers, a quarter of an hour; ARGS=--quick: a few minutes
	$(BIN)/python -m benchmarks $(ARGS)

record: bench ## the same on a quiet machine, then README's table of step times from the new record
	$(BIN)/python -m benchmarks.readme

docs: $(STAMP) ## build the documentation into docs/_build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

wheel: $(STAMP) ## build dist/sm3-...-py3-none-<platform>.whl; without a C++ compiler a pure one
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

sanitize: ## the CPU kernels under the address, undefined-behaviour and thread sanitizers; needs cmake and a compiler
	cmake -S . -B build/sanitize-address -DSM3_SANITIZE=address,undefined && cmake --build build/sanitize-address --target native_stress --parallel
	build/sanitize-address/native_stress
	cmake -S . -B build/sanitize-thread -DSM3_SANITIZE=thread && cmake --build build/sanitize-thread --target native_stress --parallel
	build/sanitize-thread/native_stress

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
