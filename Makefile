# Bare `make` lists what there is. Each target installs what it needs into .venv, once.

PYTHON ?=
BIN := .venv/bin
ARGS ?=
# Tests wait for servers a good part of the time, so a process more than there are cores, four at
# most; a debugger wants one: ARGS="--pdb", "-p no:xdist".
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS := $(if $(findstring no:xdist,$(ARGS)),,-n $(if $(filter 1 2,$(CORES)),3,4))
# With CI=true a server that is missing fails its tests. (Commas of a list would end an $(if).)
SERVERS := mariadb,postgres,mongodb,s3,kafka,rabbitmq,redis
REQUIRED := $(if $(filter true,$(CI)),TIDEGATE_REQUIRE=$(SERVERS))
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test faults mutants check format services bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## start Airflow with a living shop and watch it flow; ONCE=1: check that all arrived, stop
	@scripts/bootstrap
	@exec $(BIN)/python -m demo $(if $(ONCE),--once) $(ARGS)

test: ## run all tests; ARGS="-k words" for some; with CI=true no server may be missing
	@scripts/bootstrap dev
	@scripts/services || test "$$CI" != true
	@$(REQUIRED) $(BIN)/python -m pytest $(WORKERS) $(ARGS)

faults: ## kill, stop, cut, fill up, turn the clock: hundreds of times; writes docs/faults.md
	@scripts/bootstrap dev
	@scripts/services
	@PYTHONPATH=include:tests $(BIN)/python -m faults $(ARGS)

mutants: ## switch each safeguard of the sync off, one by one: the tests must turn red
	@scripts/bootstrap dev
	@scripts/services
	@PYTHONPATH=include:tests $(BIN)/python -m faults.mutation $(ARGS)

check: ## format, lint, types, import contracts; changes nothing
	@scripts/bootstrap dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## put the code into the one format
	@scripts/bootstrap dev
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

services: ## install the servers the tests use (databases, brokers, S3), when missing
	@scripts/services

bench: ## measure memory and speed on real servers and data, at last beside other tools
	@scripts/bootstrap dev
	@scripts/services
	@for script in benchmarks/*.py benchmarks/compare; do echo "== $$script"; $(BIN)/python "$$script" $(ARGS) || exit 1; done

lock: ## write the lock files anew from requirements*.txt
	@scripts/bootstrap
	@scripts/lock

clean: ## remove the environment, the demo's data and all caches
	@rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
