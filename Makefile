# Everything a developer or CI runs. Needs only make and Python 3.11+; the rest goes into $(VENV).

PYTHON ?=
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
CODE = dagnats tests examples contrib
PYTEST = $(BIN)/python -m pytest -q
# Also on two cores: most tests wait more than they compute.
PARALLEL = -n 4
SIM_RUNS ?= 1000000
DURATION ?= 600
TASKS ?= 1000000
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt lint types arch unit laws sim integration conformance \
	faults chaos soak documents tidy bench bench-peers mutants lowest clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## create the virtual environment (PYTHON=… chooses the interpreter)

$(STAMP): pyproject.toml
	@set -e; \
	if [ ! -x $(BIN)/python ]; then \
	  found=; \
	  for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      found=$$python; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "DagNats needs Python 3.11 or newer; $(or $(PYTHON),python3) is older or missing." >&2; \
	    echo "Install one, or name one: make setup PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	  fi; \
	  echo "creating $(VENV) with $$found"; \
	  $$found -m venv $(VENV) || { \
	    echo "$$found has no working venv module (Debian, Ubuntu: install python3-venv)." >&2; \
	    rm -rf $(VENV); exit 1; \
	  }; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup ## run the code-review demonstration (ARGS="…" passes options)
	$(BIN)/python -m examples.code_review.demo $(ARGS)

test: setup lint types arch ## everything but the long variants: static checks, then every test
	$(PYTEST) tests $(PARALLEL) -m "not slow and not browser"

check: setup lint types arch ## before every push, under a minute, no server needed
	SIM_RUNS=800 $(PYTEST) tests/unit tests/laws tests/histories tests/tidy tests/documents tests/simulation $(PARALLEL) \
	  -m "not slow"

fmt: setup ## format, and repair what can be repaired
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: setup ## ruff: style and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: setup ## basedpyright on the package, mypy --strict on what users write
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	@if [ -f tests/typing_api.py ]; then $(BIN)/mypy tests/typing_api.py; fi

arch: setup ## the import contracts
	$(BIN)/lint-imports

unit: setup ## pure tests, seconds
	$(PYTEST) tests/unit

laws: setup ## properties of the engine, codec and friends
	$(PYTEST) tests/laws $(PARALLEL)

sim: setup ## a million simulated runs with seeded faults (SIM_RUNS=…)
	SIM_RUNS=$(SIM_RUNS) $(PYTEST) tests/simulation $(PARALLEL) --timeout 0

integration: setup ## against a real nats-server
	$(PYTEST) tests/integration $(PARALLEL)

conformance: setup ## one suite per port, on memory and on JetStream
	$(PYTEST) tests/conformance $(PARALLEL)

faults: setup ## kills, restarts, full disks; long variants included
	$(PYTEST) tests/faults $(PARALLEL) --timeout 600

chaos: setup ## ten minutes of killed workers, and the count (DURATION=seconds)
	$(BIN)/python -m tests.chaos $(DURATION)

soak: setup ## a million tasks: memory, latency, what is left behind (TASKS=number)
	$(BIN)/python -m tests.chaos.soak $(TASKS)

documents: setup ## code blocks, commands, links and names in the docs
	$(PYTEST) tests/documents

tidy: setup ## the repository's rules
	$(PYTEST) tests/tidy

bench: setup ## measure; prints one JSON line per figure, and a table
	$(BIN)/python -m tests.bench $(ARGS)

bench-peers: setup ## the same workloads through Celery and DBOS, beside ours (needs redis-server)
	@test -x $(VENV)-peers/bin/python || $(BIN)/python -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check 'celery[redis]>=5.5' 'dbos>=3'
	PYTHONPATH=. $(BIN)/python -m tests.bench.peers $(VENV)-peers/bin/python $(ARGS)

mutants: setup ## plant faults in the engine; the laws must notice every one
	$(BIN)/python -m tests.mutants $(ARGS)

lowest: setup ## the oldest dependencies that are promised to work
	@test -x $(VENV)-lowest/bin/python || $(BIN)/python -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	  $$($(BIN)/python -m tests.support.lowest) pytest pytest-asyncio pytest-xdist pytest-timeout \
	  hypothesis pydantic attrs freezegun psutil
	PYTHONPATH=. $(VENV)-lowest/bin/python -m pytest -q tests/unit tests/laws \
	  tests/scenarios/test_01_dag.py $(PARALLEL) -p no:cacheprovider

clean: ## remove what the tools left behind, and the virtual environment
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-peers build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache
	find dagnats tests examples contrib -name __pycache__ -type d -prune -exec rm -rf {} +
