# Everything a developer or CI does is one word here. `make` = `make check`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := check
# Hundreds of processes of ours start in the tests: let Python keep what it compiles.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: setup tools kube check lint test demo bench format golden lock lab clean

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

setup: $(BIN)/.ready  ## a virtual environment with everything

tools: $(BIN)/.ready  ## disk tools and clients that witness for us in the tests
	tests/tools.sh

kube:  ## Kubernetes' own programs for the tests, built from their Go modules once (minutes)
	tests/kube/programs/build.sh

check: lint test  ## what CI runs, what "done" means

lint: $(BIN)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(BIN)/.ready tools  ## all tests; what failed among others runs once more, alone
	RECONCILER_TESTS_BUILD=1 $(BIN)/python -P tests/run.py -n auto --dist loadgroup --no-loadscope-reorder --durations=25

demo: $(BIN)/.ready  ## the main job, end to end, in a temporary directory
	$(BIN)/reconciler demo

bench: $(BIN)/.ready tools
	$(BIN)/python -m benchmarks

format: $(BIN)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(BIN)/.ready  ## rewrite golden files, then read the diff
	$(BIN)/pytest -q tests/golden --golden-update

lock: $(BIN)/.ready  ## rewrite what the image installs, after a change of dependencies
	$(BIN)/python -m pip install --quiet uv
	image/lock.sh $(BIN)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
