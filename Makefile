# Everything a fresh machine needs: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Which FAISS: the two packages break each other, so one is chosen by what the machine has.
FAISS := $(if $(shell command -v nvidia-smi 2>/dev/null && nvidia-smi -L 2>/dev/null),gpu,cpu)
JOBS ?= auto

.PHONY: demo test check format lint types layers docs bench clean

demo: $(VENV)/ready
	$(BIN)/gdo demo -o demo

# A process per core, and one thread each: with more, torch waits for itself.
test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations 25

check: $(VENV)/ready
	$(BIN)/ruff format --check gdo tests benchmarks docs
	$(MAKE) lint types layers test

format: $(VENV)/ready
	$(BIN)/ruff format gdo tests benchmarks docs
	$(BIN)/ruff check --fix gdo tests benchmarks docs

lint: $(VENV)/ready
	$(BIN)/ruff check gdo tests benchmarks docs

types: $(VENV)/ready
	$(BIN)/mypy

layers: $(VENV)/ready
	$(BIN)/lint-imports

# The pages that are generated and the others, in build/site; a broken link fails.
docs: $(VENV)/ready
	$(BIN)/python docs/generate.py build/docs
	$(BIN)/zensical build --strict --clean

bench: $(VENV)/ready
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/media.py

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(FAISS),explore,ray,train,dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
