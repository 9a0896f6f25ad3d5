# make demo: set up a virtual environment and train the default.  make test: set up and run the tests.
PYTHON ?= python3
VENV ?= .venv
DLCLI = $(VENV)/bin/dlcli

.PHONY: help demo test slow faults wheel docs clean

help:
	@grep -h '^# make' $(MAKEFILE_LIST) | sed 's/^# //'

demo: $(VENV)/.ready
	$(DLCLI) train pictures=always training.threads=1

test: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow and not faults"

# make slow: the evidence that takes minutes.  make wheel: build the distribution.  make docs: build docs/ as a site.
# make clean: remove the environment.
slow: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m slow

# make faults: kills, full disks, damage, signals, hostile input; DLCLI_KILLS, DLCLI_POINTS (0: all), DLCLI_FUZZ and DLCLI_DAMAGES say how many.
faults: $(VENV)/.ready
	OMP_NUM_THREADS=1 DLCLI_KILLS=$${DLCLI_KILLS:-30} DLCLI_POINTS=$${DLCLI_POINTS:-20} DLCLI_FUZZ=$${DLCLI_FUZZ:-300} \
	  DLCLI_DAMAGES=$${DLCLI_DAMAGES:-5} \
	  $(VENV)/bin/python -m pytest -n 2 tests/faults

wheel: $(VENV)/.ready
	$(VENV)/bin/python -m build --wheel

docs: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist

# torch goes first and alone: a later requirement with an open range would replace it by a newer build for CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
