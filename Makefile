# Everything a person or CI runs. Each target sets up what it needs and says what it is doing.
# What it must not do: hold logic. Anything longer than a line lives in a Python module that is tested.

PYTHON  ?= python3
VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.ready
PYTEST  := $(PY) -m pytest

# For pure tests in as many processes as there are processors: threads of BLAS and OpenMP would only wait for
# each other. All tests of a file go to one process, so that what they share is made once; files come in
# random order.
ALONE   := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Compiled once, not at each start of each process: a third of the unit tests' time.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo demo-down test test-unit test-cell test-api test-faults test-e2e test-chart test-native test-long lint bench native crds clean venv

help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

venv: $(READY) ## make the virtual environment in .venv
$(READY): pyproject.toml constraints.txt
	@echo "==> virtual environment in $(VENV)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## a cluster, the operator and the census story, start to end
	@$(PY) -m examples.census.demo

demo-down: $(READY) ## remove what make demo left running
	@$(PY) -m examples.census.demo --down

test: lint test-unit test-cell test-native test-chart test-api test-faults test-e2e ## everything CI runs

test-unit: $(READY) ## pure tests, under a minute
	@echo "==> unit tests"
	@$(ALONE) $(PYTEST) tests/unit -q --numprocesses auto --dist loadfile --no-loadscope-reorder

test-cell: $(READY) ## a whole cell in one process, on real tables, without a cluster
	@echo "==> tests of whole cells"
	@$(PYTEST) tests/cell -q --numprocesses auto

test-native: $(READY) ## the compiled parser against the others (needs cargo, else left out)
	@if command -v cargo >/dev/null; then \
		echo "==> tests of the compiled parser"; \
		built=$$($(PY) -m testbed native --unpacked); \
		PYTHONPATH=$$built $(PYTEST) tests/native -q --numprocesses auto; \
	else echo "==> tests of the compiled parser: left out, there is no cargo here"; fi

test-chart: $(READY) ## render and check the Helm chart
	@echo "==> chart tests"
	@$(PYTEST) tests/chart -q

test-api: $(READY) ## against a real API server
	@echo "==> tests against a real API server"
	@$(PYTEST) tests/api -q

test-faults: $(READY) ## kill -9, torn logs
	@echo "==> fault tests"
	@$(PYTEST) tests/faults -q -m "not long"

test-e2e: $(READY) ## on a real node
	@echo "==> tests on a real node"
	@$(PYTEST) tests/e2e tests/testbed -q

test-long: $(READY) ## the same code with the full numbers
	@echo "==> the full numbers"
	@MODELWARDEN_LONG=1 $(PYTEST) tests/unit tests/cell -q --numprocesses auto
	@MODELWARDEN_LONG=1 $(MAKE) --no-print-directory test-native
	@MODELWARDEN_LONG=1 $(PYTEST) tests/faults tests/api -q
	@MODELWARDEN_LONG=1 $(PYTEST) tests/e2e/test_new_user.py -q

lint: $(READY) ## ruff, mypy --strict, the layers, generated files
	@echo "==> lint, types, layers, generated files"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache | tail -n 4
	@$(PY) -m modelwarden.crdgen --check

bench: $(READY) ## our figures and the peers', in one run; ONLY=name for one item
	@$(PY) -m benchmarks $(if $(ONLY),--only $(ONLY))

native: $(READY) ## build the compiled parser and install it into .venv (needs cargo)
	@$(PY) -m testbed native

crds: $(READY) ## write crds/ and the chart's copies from the resource models
	@$(PY) -m modelwarden.crdgen

clean: ## remove what the targets made here (the shared cache of built binaries stays)
	@if [ -x $(PY) ]; then $(PY) -m testbed down --all || true; fi
	@rm -rf native/dist native/Cargo.lock $(VENV) .demo .testbed .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
