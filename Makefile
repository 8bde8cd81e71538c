# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
# A test that hangs fails and shows where, instead of holding up all others; the longest takes a
# minute.
HANGING := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-node lint format benchmark map map-check amico clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "QuantMAP needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each stamp carries the requirements it stands for, so that a second run starts at once.
$(VENV)/.runtime: requirements.txt constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt requirements-peers.txt $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-peers.txt
	@touch $@

demo: $(VENV)/.runtime ## simulate a study of a brain phantom, analyse it, say where to look
	@rm -rf $(DEMO)
	$(BIN)/python -m app.demo $(DEMO)/study
	$(BIN)/python -m app -i $(DEMO)/study -o $(DEMO)/results

test: $(VENV)/.development lint ## lint, type check, import rules, and every test but the slow ones
	$(BIN)/python -m pytest -n 2 -m "not slow" $(HANGING)

test-slow: $(VENV)/.development ## the tests that take long: training, large series
	$(BIN)/python -m pytest -m slow

test-node: $(VENV)/.development ## kill the node and its worker at fifty random instants
	$(BIN)/python -m pytest -s --show-capture=no tests/node/test_nothing_lost.py

lint: $(VENV)/.development ## ruff, formatting, mypy and the import rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.development ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.development ## our time beside the peers' on the same data, in one run
	$(BIN)/python -m benchmarks

map: $(VENV)/.runtime ## build the MAP image with docker or buildah (package/build says how)
	package/build

map-check: $(VENV)/.runtime ## build the image from nothing and run it hardened (root, about 12 GB)
	package/check

# Its licence is for research only and its pins are not ours: an environment of its own.
amico: ## the environment of AMICO, a peer of the NODDI fit, for test-slow and benchmark
	$(PYTHON) -m venv build/amico
	build/amico/bin/python -m pip install --quiet --disable-pip-version-check dmri-amico==2.1.1

clean: ## remove the environment and everything made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
