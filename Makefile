SHELL := /bin/bash
BIN := .venv/bin
# The first Python that is new enough; PYTHON=... on the command line overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# nbgrader looks for its own helpers there.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup hub demo lab build book test test-full clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

setup: .venv/.ready $(EXTRAS:%=.venv/.extra-%)  ## set up .venv for the course and the grader (EXTRAS="data spark": with engines and peers, see README)
	@scripts/system_packages.sh bwrap $(if $(filter spark,$(EXTRAS)),java) $(if $(filter serve,$(EXTRAS)),prometheus)

.venv/.ready: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "lsml needs Python 3.11 or newer; install it, or say: make PYTHON=/path/to/python3"; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu run: sudo apt-get install python3-venv"; exit 2; }
	@echo "downloading the dependencies and installing them into .venv: a few minutes, the last of them without a word"
	@$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[test,book]" 2> >(grep -v "is ignored: it is neither" >&2)
	@touch $@

KNOWN_EXTRAS := data search spark privacy explain speech serve quantum quantum-circuits triton
$(if $(filter-out $(KNOWN_EXTRAS),$(EXTRAS)),$(error EXTRAS may name $(KNOWN_EXTRAS), not $(filter-out $(KNOWN_EXTRAS),$(EXTRAS))))

# Engines and peers of demo and scale cells; `make demo` and `make lab` do without.
.venv/.extra-%: .venv/.ready
	@echo "installing what the extra $* names$(if $(filter spark,$*), (pyspark is 450 MB))"
	@$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[$*]" 2> >(grep -v "is ignored: it is neither" >&2)
	@touch $@

hub: setup .venv/.hub  ## add JupyterHub and its proxy to .venv (docs/hub.md)

PROXY := configurable-http-proxy@5.3.0
.venv/.hub: .venv/.ready
	@scripts/system_packages.sh node npm
	@$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[hub]" 2> >(grep -v "is ignored: it is neither" >&2)
	@npm install --global --prefix .venv --no-fund --no-audit $(PROXY)
	@$(BIN)/configurable-http-proxy --version >/dev/null || { echo "$(PROXY) needs Node 20 or newer"; exit 2; }
	@touch $@

demo: setup  ## make a small class, grade it, write feedback, print its gradebook
	@$(BIN)/lsml build
	@$(BIN)/lsml demo demo

lab: setup  ## copy missing modules into work/ and open JupyterLab there
	@$(BIN)/lsml lab

build: setup  ## make course/ out of solutions/
	@$(BIN)/lsml build

book: setup  ## make a static site of the course, unsolved, in build/book/html
	@$(BIN)/lsml book

# By module of the course; one module alone is spread over all cores.
DIVIDED := $(if $(MODULE),--dist worksteal --module $(MODULE),--dist loadgroup)

# Engines that the suite really runs.
ENGINES := data search spark privacy explain speech serve quantum quantum-circuits

test: setup  ## the suite, demos at reduced size (MODULE=05: what the author of one module needs)
	@$(MAKE) --no-print-directory setup EXTRAS="$(ENGINES)"
	@$(if $(MODULE),,scripts/system_packages.sh chromium postgres)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	LSML_DEMO=small $(BIN)/pytest -n auto $(DIVIDED) -m "not slow"

test-full: setup  ## the suite, everything at full size
	@$(MAKE) --no-print-directory setup EXTRAS="$(ENGINES) triton"
	@scripts/system_packages.sh chromium postgres
	@$(MAKE) --no-print-directory hub || echo "without JupyterHub: its test is left out"
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/pytest -n auto $(DIVIDED) -o faulthandler_timeout=7200

clean:  ## remove what was made, but never work/ (yours)
	rm -rf .venv demo build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -not -path './work/*' -exec rm -rf {} +
