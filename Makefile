# Everything runs in a virtual environment of its own: nothing is needed but Python >= 3.11, make and git.
#
#   make demo    watch a supervised tree recover from real faults (ends by itself, under 20 s)
#   make test    all checks and tests
#   make bench   the benchmarks; rewrites docs/benchmarks.md

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell .ci/find-python)

.PHONY: demo test check unit package bench clean

demo: $(VENV)/.runs
	@$(BIN)/python -m ukemi.chaos.demo

test: check unit package

check: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.tests
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage report --include='*/actors/*,*/supervisors/*,*/runtime/*' --fail-under=92

package: $(VENV)/.tests
	$(BIN)/python .ci/check_package.py

bench: $(VENV)/.benchmarks
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) build dist .coverage* .mypy_cache .ruff_cache .hypothesis src/*.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "ukemi needs Python 3.11 or newer; none was found (set PYTHON=)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tests: pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for tests (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.runs

$(VENV)/.benchmarks: $(VENV)/.tests
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@
