# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-long planted lint docs bench clean

# Installed once; again only when what is asked for has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"emergectl needs Python 3.11 to 3.13, $(PYTHON) is {v[0]}.{v[1]}: run make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/emergectl train configs/quickstart.yaml

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/docs/index.html; whatever is missing or points nowhere is an error.
docs: $(VENV)/.installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

test: lint
	$(BIN)/pytest -n 2

test-long: $(VENV)/.installed
	$(BIN)/pytest -m long

# Plants bugs in a copy, one at a time: each must turn a test red.
planted: $(VENV)/.installed
	$(BIN)/python tests/planted_bugs.py

# Speed, against peers in the same run; for a quiet machine.
bench: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_startup.py
	$(BIN)/python tests/benchmarks/bench_training.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
