SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKE ?= demo-lake
PYTHONS := 3.11 3.12 3.13 3.14

# Without compiled files, every process compiles the packages that it imports: 6 s instead of 2.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test pythons check lint types imports scripts templates rehearse bench bench-quick lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/runtime.done: requirements/runtime.lock requirements/bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.done: $(VENV)/runtime.done requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@touch $@

demo: $(VENV)/runtime.done ## Build a lake from the synthetic exchange: no key, no network
	@$(BIN)/ohlcv demo --lake $(LAKE)

test: $(VENV)/dev.done ## Set up and run the tests
	@$(BIN)/python -m pytest -n 4 --dist loadfile $(PYTEST)

pythons: ## Run the quick tests on every other supported Python that is installed
	@ours=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(PYTHONS); do \
	    if [ $$version = $$ours ]; then continue; fi; \
	    if ! python$$version -c '' 2>/dev/null; then echo "Python $$version is not installed here: not tested"; continue; fi; \
	    echo "Python $$version:"; \
	    HYPOTHESIS_PROFILE=quick $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version PYTEST="-m 'not slow' -k 'not s3 or store'"; \
	done

check: lint types imports scripts templates test pythons ## Run every check and all tests

lint: $(VENV)/dev.done ## ruff: lint and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/dev.done ## mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/dev.done ## import-linter: dependencies point one way
	@$(BIN)/lint-imports

templates: $(VENV)/dev.done ## cfn-lint and hadolint
	@$(BIN)/cfn-lint orchestration/template.yaml orchestration/deployer.yaml
	@$(BIN)/hadolint docker/Dockerfile

rehearse: $(VENV)/dev.done ## Deploy, run, break and repair the pipeline on a local AWS
	@$(BIN)/python -m local_aws.rehearsal

scripts: $(VENV)/dev.done ## shellcheck
	@git ls-files -z '*.sh' .ci/run | xargs -0 --no-run-if-empty $(BIN)/shellcheck

bench: $(VENV)/dev.done ## Measure everything against the floor and other engines
	@$(BIN)/python -m benchmarks

bench-quick: $(VENV)/dev.done ## Measure in two minutes; fails where a ratio got 25 % worse
	@$(BIN)/python -m benchmarks --quick

lock: $(VENV)/dev.done ## Resolve the lock files again
	@./requirements/compile.sh $(BIN)/uv

clean: ## Remove the environments and what the tests left
	@rm -rf $(VENV) $(PYTHONS:%=.venv-%) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
