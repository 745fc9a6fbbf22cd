# Everything here works on a machine that has Python 3.11 or newer and make, and needs no network beyond pip's.

SHELL := /bin/sh
VENV ?= .venv
BACKEND ?= local
WORKERS ?= 2
ARGS ?=

BIN := $(VENV)/bin
# What is installed is known by a stamp that carries a sum of pyproject.toml: another pyproject.toml, another install.
SUM := $(shell cksum < pyproject.toml | tr ' ' '-')
DEV := $(VENV)/.installed-dev-$(SUM)
SITE := $(firstword $(wildcard $(DEV)) $(VENV)/.installed-site-$(SUM))
DEMO := $(firstword $(wildcard $(DEV)) $(VENV)/.installed-demo-$(SUM))
TYPED := $(wildcard tests/typing demo benchmarks tools)

# Tests start many processes; an environment that forbids compiled code would make each of them compile all packages again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help venv test thorough coverage mutation chaos suite soak demo lint types docs site dist extras guide documents flask bench format clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

venv: $(DEV) ## Make .venv and install everything that development needs

test: $(DEV) ## Run all tests; names missing servers at the end (ARGS="-k word" for some)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

thorough: $(DEV) ## Run the rest of the matrices, which make test has no time for
	FILEROW_THOROUGH=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m thorough $(ARGS)

coverage: $(DEV) ## Run the tests and show which branches of src/ none of them takes; too few are an error
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal -q -m "not slow" $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: $(DEV) ## Break the core in every small way and see a test fail each time
	$(BIN)/python -m tools.mutation $(ARGS)

chaos: $(DEV) ## Let applications, databases and the store fail for ten minutes, and judge (ARGS="--seconds 20")
	$(BIN)/python -m tools.chaos $(ARGS)

suite: $(DEV) ## Run SQLAlchemy's own tests with Filerow and print what differs (ARGS="--database postgresql", ...)
	$(BIN)/python -m tools.sqlalchemy_suite $(ARGS)

soak: $(DEV) ## Run what takes long: random walks and fuzzing (ARGS="-k word" for some), then chaos, coverage, mutation, suite
	FILEROW_SOAK=1 $(BIN)/python -m pytest -v -n $(WORKERS) --dist worksteal -m soak $(or $(ARGS),tests/soak/walks tests/soak/fuzz)
	$(if $(ARGS),,$(MAKE) chaos coverage mutation suite)

demo: $(DEMO) ## Run the demo (BACKEND=s3 for a real S3 server and PostgreSQL)
	$(BIN)/python -m demo --backend $(BACKEND)

lint: $(DEV) ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

types: $(DEV) ## Check types with mypy and pyright
	$(BIN)/mypy src tests/servers $(TYPED)
	cd examples && ../$(BIN)/mypy --strict --config-file ../pyproject.toml --exclude migrations litestar_guide fastapi_documents flask_documents
	$(BIN)/pyright
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes filerow --ignoreexternal >$(VENV)/verifytypes.txt || { cat $(VENV)/verifytypes.txt; exit 1; }
	@tail -n 4 $(VENV)/verifytypes.txt

docs: $(DEV) ## Run the code and the commands in README and docs, and check every link and anchor
	$(BIN)/python -m pytest tests/test_docs.py tests/test_tutorial.py tests/documents tests/cli/test_documents.py tests/direct/test_documented_page.py -v

site: $(SITE) ## Build the site into build/site, offline; a warning is an error
	$(BIN)/python -m tools.site $(ARGS)

guide: $(DEV) ## Start the guide application of examples/ (Litestar), with a page at its address
	cd examples && ../$(BIN)/python -m litestar_guide

documents: $(DEV) ## Start the documents application of examples/ (FastAPI), with a page at its address
	cd examples && ../$(BIN)/uvicorn --factory fastapi_documents.app:create_app

flask: $(DEV) ## Start the same application with Flask
	cd examples && ../$(BIN)/flask --app flask_documents.app run

dist: $(DEV) ## Build the sdist and the wheel, and check both (ARGS="--keep dist" leaves them there)
	$(BIN)/python -m tools.distribution $(ARGS)

extras: $(DEV) ## Install each extra with the oldest versions it allows, and run a program with it
	$(BIN)/python -m tools.extras $(ARGS)

bench: $(DEV) ## Measure against hand-written code
	$(BIN)/python -m benchmarks $(ARGS)

format: $(DEV) ## Put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove what these targets made; installed servers stay
	rm -rf $(VENV) .venvs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "$$python -m venv $(VENV)"; \
			$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
			exit 0; \
		fi; \
	done; \
	echo "Filerow needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1)." >&2; exit 1

$(VENV)/.installed-%-$(SUM): | $(BIN)/python
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv || \
		echo "uv could not be installed; going on with pip, which takes longer" >&2
	@if $(BIN)/python -m uv --version >/dev/null 2>&1; then \
		set -x; $(BIN)/python -m uv pip install --quiet --python $(BIN)/python -e '.[all]' --group $*; \
	else \
		set -x; $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
			$(BIN)/python -m pip install --quiet -e '.[all]' --group $*; \
	fi
	@rm -f $(VENV)/.installed-$*-*
	@touch $@
