# make demo: the built-in study.   make test: all checks.   Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= 2
QUIET := PIP_DISABLE_PIP_VERSION_CHECK=1

.PHONY: help env env-test demo test lint format lock clean peers benchmark-preprocessing

help:
	@echo "make demo   run the built-in study and print where its report is"
	@echo "make test   run every check"
	@echo "make env    only make the environment (.venv); then: . .venv/bin/activate && snakemake --cores 2"

$(VENV)/.run: envs/requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("neurobraid needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Name another: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(QUIET) $(BIN)/python -m pip install --quiet --require-hashes -r envs/requirements.lock
	$(QUIET) $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run envs/requirements-test.lock
	$(QUIET) $(BIN)/python -m pip install --quiet --require-hashes -r envs/requirements-test.lock
	touch $@

env: $(VENV)/.run

env-test: $(VENV)/.test

demo: env
	$(BIN)/snakemake --cores $(CORES)
	@echo
	@echo "Report: $(CURDIR)/results/reports/index.html"

test: env-test
	$(BIN)/python -m pytest -n $(CORES) --dist loadscope

lint: env-test
	$(BIN)/python -m pytest tests/house

format: env-test
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/snakefmt Snakefile workflow

lock:
	uv pip compile pyproject.toml --extra slurm --extra build --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --output-file envs/requirements.lock
	uv pip compile pyproject.toml --extra slurm --extra build --extra test --constraint envs/requirements.lock --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --output-file envs/requirements-test.lock

# the libraries that neurobraid's preprocessing is measured beside, in an environment of their own
.venv-peers/.done: envs/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	$(QUIET) .venv-peers/bin/python -m pip install --quiet -r envs/peers.txt
	touch $@

peers: .venv-peers/.done

benchmark-preprocessing: env peers
	$(BIN)/python benchmarks/preprocessing.py --peers .venv-peers/bin/python

clean:
	rm -rf .snakemake results logs bids
