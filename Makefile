# One environment in .venv serves every target; `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# The first interpreter that is new enough; PYTHON=/path/to/python3 names another.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(name) -c 'import sys; print("$(name)") if sys.version_info >= (3, 11) else None' 2>/dev/null)) python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Two: the tests take half the time, and each starts processes of its own.
PROCESSES ?= 2
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --prefer-binary
# For each target of `make fuzz`.
SECS ?= 60
PLUGINS := $(sort $(dir $(wildcard plugins/*/pyproject.toml)))
PROJECTS := pyproject.toml $(addsuffix pyproject.toml,$(PLUGINS))

# Plugins whose libraries have no wheels: pip compiles those once, for some ten minutes, and keeps the wheels that it made.
COMPILED := $(wildcard plugins/studio-worker-llama/ plugins/studio-worker-sdcpp/)
EDITABLE := $(foreach project,./ $(PLUGINS),--editable $(project))
QUICK := $(foreach project,./ $(filter-out $(COMPILED),$(PLUGINS)),--editable $(project))
UNCOMPILED := $(foreach project,$(COMPILED),--editable $(project))
# Code that every machine of this kind can run, since the wheels may travel in a cache.
export CMAKE_ARGS ?= -DGGML_NATIVE=OFF

.PHONY: help
help: ## List the targets
	@printf 'make TARGET, where TARGET is one of\n\n'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: demo
demo: $(VENV)/ready-demo ## Run a studio, a worker and a file of real jobs; results in .demo/results
	@$(BIN)/python docs/examples/demo_models.py .demo/models
	@$(BIN)/studio-worker demo --models-root .demo/models --out .demo/results $(ARGS)

.PHONY: test
test: $(VENV)/ready-test browser system-tools ## Run every test (ARGS="-k name" for some, PROCESSES=N side by side)
	@$(BIN)/python -m pytest -n $(PROCESSES) $(ARGS)

.PHONY: check
check: format-check lint types test docs ## All that a commit must pass

.PHONY: format
format: $(VENV)/ready-lint ## Put the code into the house's format
	@$(BIN)/ruff check --quiet --fix-only . && $(BIN)/ruff format --quiet .

.PHONY: format-check
format-check: $(VENV)/ready-lint ## Check the format
	@$(BIN)/ruff format --check --quiet --diff .

.PHONY: lint
lint: $(VENV)/ready-lint ## Check the rules of ruff
	@$(BIN)/ruff check --quiet .

.PHONY: types
types: $(VENV)/ready-lint ## Check the types with mypy --strict
	@$(BIN)/mypy
	@for source in $(wildcard plugins/*/src/*); do $(BIN)/mypy "$$source" || exit 1; done
	@$(BIN)/python tools/new_plugins.py .cache/new-plugins
	@$(BIN)/mypy .cache/new-plugins/*/src/*

.PHONY: docs
docs: $(VENV)/ready-docs ## Build the documentation into site/, every link checked
	@$(BIN)/zensical build --clean --strict

.PHONY: reference
reference: $(VENV)/ready-demo ## Write the reference pages that follow the code
	@$(BIN)/python tools/reference.py

.PHONY: soak
soak: $(VENV)/ready-test ## A thousand jobs through a thousand cuts and a thousand kills of the worker (SOAK=N for others)
	@SOAK=$${SOAK:-1000} $(BIN)/python -m pytest -s tests/faults/test_soak.py $(ARGS)

.PHONY: faults
faults: $(VENV)/ready-test browser system-tools ## Run the tests of the fault catalogue and write docs/reliability.md
	@$(BIN)/python tools/faults.py $(ARGS)

.PHONY: bench
bench: $(VENV)/ready-test ## Measure overhead, routing and start-up against their floors
	@$(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' -s $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/ready-test ## Fuzz the parsers that strangers reach (SECS=60 for each, TARGETS="claim url" for some)
	@$(PIP) --group fuzz
	@$(BIN)/python tools/fuzz.py $(TARGETS) --secs $(SECS)

.PHONY: audit
audit: $(VENV)/ready-demo ## Look for known vulnerabilities in what we bring (asks the advisory database)
	@$(PIP) pip-audit
	@$(BIN)/pip-audit --local --skip-editable --progress-spinner off

.PHONY: clean
clean: ## Remove everything that make made
	@rm -rf $(VENV) .demo site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	@find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +

# Chromium, for the tests of the dashboard in a real browser; without it only they are skipped, and say so.
.PHONY: browser
browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Chromium for the browser tests ..."; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    timeout 60 apt-get update -qq </dev/null >/dev/null 2>&1 || true; \
	    timeout 300 apt-get install -y -qq --no-install-recommends chromium chromium-driver </dev/null >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "no Chromium here, and it could not be installed: the browser tests will be skipped (Debian: apt install chromium chromium-driver)"

# What the tests of faults use of the system; without it only they are skipped, and say so.
.PHONY: system-tools
system-tools:
	@missing=(); for tool in strace:strace ip:iproute2 unshare:util-linux mount:mount; do \
	    command -v "$${tool%%:*}" >/dev/null || missing+=("$${tool##*:}"); \
	done; \
	[ "$${#missing[@]}" -gt 0 ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $${missing[*]} for the tests of faults ..."; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    timeout 60 apt-get update -qq </dev/null >/dev/null 2>&1 || true; \
	    timeout 300 apt-get install -y -qq --no-install-recommends "$${missing[@]}" </dev/null >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "not here, and not to be installed: $${missing[*]}. The tests that need them will be skipped (Debian: apt install $${missing[*]})"

# A stamp for each set of requirements, older than every pyproject.toml that they come from.
$(VENV)/ready-demo: $(PROJECTS) | $(BIN)/python
	@echo "installing studio-worker with the plugins that need no compiler into $(VENV) ..."
	@$(PIP) $(QUICK) --group demo
	@touch $@

$(VENV)/ready-test: $(PROJECTS) | $(BIN)/python
	@echo "installing studio-worker, its plugins and what the tests need into $(VENV) ..."
	@echo "(the first time on a machine, llama.cpp and stable-diffusion.cpp are compiled: a C++ compiler, some ten minutes)"
	@$(PIP) $(EDITABLE) --group test
	@touch $@

$(VENV)/ready-lint: $(PROJECTS) | $(BIN)/python
	@echo "installing ruff and mypy into $(VENV) ..."
	@$(PIP) $(QUICK) --group lint
	@$(PIP) --no-deps $(UNCOMPILED)
	@touch $@

$(VENV)/ready-docs: $(PROJECTS) | $(BIN)/python
	@echo "installing what builds the documentation into $(VENV) ..."
	@$(PIP) $(QUICK) --group docs
	@touch $@

# `pip install --group` needs pip 25.1, which the Pythons of today do not all bring.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed and $(PYTHON) is not: install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make a virtual environment: its venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(PIP) --upgrade 'pip>=25.1' || { rm -rf $(VENV); echo "pip could not be brought up to date: is a package index reachable?" >&2; exit 1; }
