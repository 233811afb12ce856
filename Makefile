# scoring-operator: every task a developer needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
export UV_SYSTEM_CERTS ?= 1
export UV_HTTP_TIMEOUT ?= 300
export PYTHONUNBUFFERED := 1
unexport PYTHONDONTWRITEBYTECODE  # big libraries are compiled once, not at every start

include devcluster/cluster.mk

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | sort | column -t -s "$$(printf '\t')"

## ---- environment ----------------------------------------------------------------------------------------------------

# One environment for each framework that would make the one in .venv much larger.
FRAMEWORK_ENVIRONMENTS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scoring-operator/frameworks

.PHONY: venv
venv: $(VENV)/.installed ## The development environment in .venv, from the hash-pinned lock file

$(VENV)/bin/uv: requirements/uv.txt
	@bash devcluster/system-packages.sh python
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.installed: $(VENV)/bin/uv requirements/dev.txt pyproject.toml
	@echo "==> installing the locked requirements into $(VENV) (about 6 GB with torch; minutes when nothing is cached)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --require-hashes requirements/uv.txt requirements/dev.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --editable .
	@touch $@

$(FRAMEWORK_ENVIRONMENTS)/%/.installed: requirements/test-%.txt $(VENV)/bin/uv
	@echo "==> installing the locked requirements for $* into $(@D) (2 GB with TensorFlow)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(@D)
	@VIRTUAL_ENV=$(@D) $(UV) pip sync --quiet --compile-bytecode --require-hashes $<
	@touch $@

.PHONY: lock
lock: $(VENV)/bin/uv ## Compile requirements/*.txt from pyproject.toml (LOCK_FLAGS=--upgrade takes newer versions)
	@bash requirements/lock.sh $(LOCK_FLAGS)

## ---- checks ---------------------------------------------------------------------------------------------------------

.PHONY: lint
lint: venv ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: venv ## Let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: test-fast
test-fast: venv helm ## The inner loop: every test that needs neither a cluster nor a server process, a minute when warm
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e and not slow and not process"

.PHONY: test-local
test-local: venv helm ## Every test that needs no cluster
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e and not slow"

.PHONY: test-frameworks
test-frameworks: venv $(FRAMEWORK_ENVIRONMENTS)/tensorflow/.installed ## The tests of TensorFlow, and of Keras on it, in an environment of their own
	@$(FRAMEWORK_ENVIRONMENTS)/tensorflow/bin/python -m pytest -q tests/frameworks

.PHONY: test-e2e
test-e2e: venv ## The end-to-end tests on a real cluster
	$(call cluster-with,operator router object-store sklearn pytorch onnx)
	@$(BIN)/pytest -v -m "e2e and not slow" tests/e2e

.PHONY: test
test: lint test-local test-e2e ## All tests: lint, fast tests, end-to-end on a real cluster

.PHONY: test-all
test-all: test test-frameworks emulators ## `make test` and the slow matrix (every framework and its image, soaks, cluster up and down)
	@bash devcluster/system-packages.sh browser
	$(call cluster-with,)
	@$(BIN)/pytest -v -m "slow"

## ---- showing and measuring ------------------------------------------------------------------------------------------

.PHONY: demo
demo: venv ## The main job on real input: a trained model answers over HTTPS on a real Kubernetes
	$(call cluster-with,operator object-store sklearn)
	@bash examples/demo.sh

# The model server first: it needs both cores for itself, and the demo leaves a cluster running.
.PHONY: bench
bench: bench-runtime demo ## Benchmarks with their yardstick beside them, written to docs/benchmarks
	@$(BIN)/python -m benchmarks.apply_to_answer

.PHONY: bench-operator
bench-operator: demo ## Many services at once, beside the same objects applied without the operator
	@$(BIN)/python -m benchmarks.operator_scale $(BENCH_FLAGS)

.PHONY: bench-runtime
bench-runtime: venv ## The model server beside its peers, each in an environment of its own (BENCH_FLAGS=--quick: a few)
	@bash devcluster/system-packages.sh bench
	@$(BIN)/python -m benchmarks.runtime $(BENCH_FLAGS)

.PHONY: bench-router
bench-router: venv ## The router beside the pod itself and beside a plain Service, on the cluster
	@bash devcluster/system-packages.sh bench
	$(call cluster-with,operator router object-store sklearn script)
	@$(BIN)/python -m benchmarks.router $(BENCH_FLAGS)

.PHONY: bench-autoscaling
bench-autoscaling: venv ## The autoscaler on simulated load traces, beside an ideal one and an autoscaler on CPU
	@$(BIN)/python -m benchmarks.autoscaling

.PHONY: chart
chart: ## Copy the CRD into the chart
	@cp crds/*.yaml charts/scoring-operator/files/

.PHONY: clean
clean: ## Remove what the build left in the tree (caches outside it stay)
	@rm -rf $(VENV) .out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
