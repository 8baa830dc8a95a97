# make train: from a fresh clone to a trained model. make install, test, lint: for those who work on frame.
# Needs Python 3.11 to 3.13; another one than python3: make PYTHON=python3.12 train.
# More for pip: make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" (torch without CUDA).
PYTHON ?= python3
PIP_ARGS ?=
WORKERS ?= 2
BIN := .venv/bin

.PHONY: train leaderboard install test test-slow lint types format docs site wheel bench bench-extra
.DEFAULT_GOAL := install

train: .venv/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python train.py +experiment=digits_VAE # networks this small are slower on two threads

install: .venv/.installed

# again whenever what is to be installed has changed
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "frame needs Python 3.11 to 3.13, $(PYTHON) is another: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "installing into .venv with the versions of constraints.txt: about 1.5 minutes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

# one thread a process: two processes with all threads each are slower than that. Python keeps what it compiled:
# without it, each process compiles the tests anew, which takes 8 s
test: .venv/.installed
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

test-slow: .venv/.installed
	$(BIN)/pytest -m slow

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.installed
	$(BIN)/pytest -m '' tests/docs

# the documents as a site, in site/; a broken link ends it
site: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# methods of all families on the digits in four tracks, 3 seeds; it goes on where it was stopped
leaderboard: .venv/.installed
	$(BIN)/frame sweep studies/leaderboard.yml seeds=3 jobs=$(WORKERS) folder=runs/leaderboard
	OMP_NUM_THREADS=1 $(BIN)/python -m studies.leaderboard runs/leaderboard docs/results.md

wheel: .venv/.installed
	$(BIN)/python -m build --wheel --no-isolation

bench: .venv/.installed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/throughput.py

# pythae, which the benchmark compares with where it is there
bench-extra: .venv/.installed
	$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[bench]'
