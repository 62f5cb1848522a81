# guardd needs Python 3.11 or newer and make; everything else comes from the lock files into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n 4 --dist worksteal
export PYTHONDONTWRITEBYTECODE :=  # where it is set, each of pytest's processes compiles all tests anew, for 4 s of CPU

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-faults soak reliability mutation check audit bench bench-growth bench-detection bench-alerts bench-checking man lock clean

help:  ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

run: $(VENV)/.runtime  ## Guard a tree: make run REPO=path
	@test -n "$(REPO)" || { echo "say which tree to guard: make run REPO=path" >&2; exit 2; }
	@exec $(BIN)/guardd --repo "$(REPO)"

test: $(VENV)/.dev  ## Run all tests
	$(BIN)/pytest $(PYTEST_ARGS)

test-long: $(VENV)/.dev  ## Run the long suite: 50 storms, trees of real size, every kind of damage
	GUARD_TESTS_SPAWN=1 $(BIN)/pytest -m "long or hypothesis" --timeout 600 $(PYTEST_ARGS)

test-faults: $(VENV)/.dev  ## Run every fault, attack and fuzz test, and print what they came to (GUARD_FAULTS_SEED=1)
	rm -f .figures.json
	GUARD_FIGURES=.figures.json $(BIN)/pytest -m "(faults or promise) and not soak and not long" --timeout 900 $(PYTEST_ARGS) $(FAULTS_ARGS)

soak: $(VENV)/.dev  ## Mixed work with random kills for GUARD_SOAK_MINUTES (10): nothing is lost, nothing grows
	GUARD_FIGURES=.figures.json $(BIN)/pytest tests/faults -m soak -n 0

reliability: $(VENV)/.dev  ## Put what the last test-faults and soak came to into docs/reliability.md
	$(BIN)/python -m tests.faults.figures .figures.json

mutation: .venv-mutation/.done  ## Change the rules, plans, retention and times a little, in each way: which changes no test notices (MUTATION_ARGS=--write)
	.venv-mutation/bin/python -m tests.mutation $(MUTATION_ARGS)

check: $(VENV)/.dev  ## Lint, format, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev  ## Ask the advisory database about every locked dependency; needs the network, and fails where it cannot tell
	set -e; for lock in requirements*.lock; do \
		$(BIN)/uvx --quiet pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r $$lock; done

bench: $(VENV)/.bench  ## Measure against peers; exit 1 when a goal is missed (BENCH_ARGS="--help" says what can be chosen)
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

bench-growth: $(VENV)/.bench  ## Measure how costs grow with files and versions, and draw it
	$(BIN)/python -m benchmarks.growth $(BENCH_ARGS)

bench-detection: $(VENV)/.dev  ## Measure how soon damage is recognised, and write the table
	GUARD_TESTS_SPAWN=1 $(BIN)/python -m benchmarks.detection --write

bench-alerts: $(VENV)/.dev  ## Measure what alerts cost, also with a chat server that hangs, and write the table
	GUARD_TESTS_SPAWN=1 $(BIN)/python -m benchmarks.alerts --write

bench-checking: $(VENV)/.dev  ## Measure checks, runs and the rescue, and write the table
	$(BIN)/python -m benchmarks.checking --write

man: $(VENV)/.dev  ## Write the man pages anew from the commands, the settings and their example
	$(BIN)/python -m docs.manual

lock: $(VENV)/.dev  ## Resolve the dependencies anew into the lock files
	$(BIN)/uv pip compile $(LOCKING) --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCKING) --group build --group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile $(LOCKING) --constraint requirements-dev.lock --group build --group bench pyproject.toml -o requirements-bench.lock
	$(BIN)/uv pip compile $(LOCKING) --constraint requirements-dev.lock --group mutation pyproject.toml -o requirements-mutation.lock

LOCKING := --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

clean:  ## Remove what make made
	rm -rf $(VENV) .venv-mutation .mutation build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .figures.json

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "guardd needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements-bench.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

.venv-mutation/.done: requirements-mutation.lock
	$(PYTHON) -m venv .venv-mutation
	.venv-mutation/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-mutation.lock
	@touch $@
