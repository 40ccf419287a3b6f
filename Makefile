# Every command creates the environment it needs: .venv, or for instance .venv-3.13 with PYTHON=python3.13.
ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV = .venv-$(VERSION)
endif
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ifeq ($(VERSION),)
$(error PYTHON=$(PYTHON) does not run: give the name or path of Python 3.11, 3.12 or 3.13)
endif
BIN = $(VENV)/bin
LOCK = locks/python$(VERSION).txt
# As many workers as there are processors, each with one thread: several threads each would wait for one another.
PYTEST = python -m pytest -n logical --maxprocesses 8 --dist worksteal
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test test-long test-latest test-concurrent lint lock clean

demo: $(VENV)/.installed
	sh demo.sh $(BIN)/topokit

test: $(VENV)/.installed
	$(BIN)/$(PYTEST)

# What takes minutes: not in CI, but before a large change is called done.
test-long: $(VENV)/.installed
	$(BIN)/$(PYTEST) -m long

# The newest release of every package that pyproject.toml allows.
test-latest:
	test -d $(VENV)-latest || $(PYTHON) -m venv $(VENV)-latest
	$(VENV)-latest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e ".[all,dev]"
	$(VENV)-latest/bin/$(PYTEST)

# Processes that are killed, locked out or disconnected, again and again.
ROUNDS ?= 20
CONCURRENT := tests/topokit/test_executors.py tests/topokit_train/sweeps tests/topokit_train/runs/test_parallel.py
test-concurrent: $(VENV)/.installed
	for round in $$(seq $(ROUNDS)); do echo "round $$round" && $(BIN)/$(PYTEST) $(CONCURRENT) || exit 1; done

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

%/.installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet -c $(LOCK) -e ".[all,dev]"
	touch $@

locks/%.txt:
	@echo "topokit is tested with Python 3.11, 3.12 and 3.13, and has no $@: try make test-latest" >&2; exit 1

# Writes the releases that are newest now, but for the limits in constraints.txt, into the lock of this Python.
# Dependencies of torch's CUDA builds are no part of it: which of them there are depends on torch's build.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable \
		| sed -E '/^(cuda-|nvidia-|triton=)/d; s/\+cpu$$//' > $(LOCK)
	rm -r $(VENV)-lock

clean:
	rm -rf .venv .venv-* demo
