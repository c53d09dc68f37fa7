# Everything runs in .venv, which the first target that needs it makes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format types bench figures claims images clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(STAMP) ## Make .venv and install the package for development

demo: $(STAMP) ## Train and analyse three small networks; writes eigenboundary-demo/report.html
	$(BIN)/eigenboundary demo

# A process a core with one thread each: the networks of the tests gain nothing from more threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

test: lint types ## Lint, check types, run the tests
	$(PYTEST) -m "not slow"

test-all: lint types ## The same with the tests that take minutes
	$(PYTEST)

lint: $(STAMP) ## Check style, formatting and the rooms' imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Check types
	$(BIN)/mypy src

bench: $(STAMP) ## Measure times and accuracies (hours); writes docs/performance.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks --write

figures: $(STAMP) ## Reproduce the paper's figures (a quarter of an hour)
	$(BIN)/eigenboundary reproduce all

claims: $(STAMP) ## Test the paper's claims over ten seeds (most of an hour)
	$(BIN)/eigenboundary claims --seeds 10

images: $(STAMP) ## Make the README's pictures anew
	$(BIN)/python -m docs.make_images

clean: ## Remove .venv, caches and the demo's output
	rm -rf $(VENV) build dist eigenboundary-demo .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is as new as the last installation: installed again when requirements change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; '$(PYTHON)' is older (make PYTHON=python3.12 …)."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
