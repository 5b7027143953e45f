# make setup | demo | test | lint | bench | gpu-check
#
# PYTHON  the interpreter that makes .venv, 3.10 or newer
# EXTRAS  what is installed; on a machine with an NVIDIA GPU: make setup EXTRAS=train,export,calibrate,gpu,trt,dev

PYTHON ?= python3
EXTRAS ?= train,tensorboard,export,calibrate,runtime,openvino,loadgen,trt-rtx,serve,ray,dev
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Each in a run of its own: a worker that had gone through all of them died now and then where it started a process,
# why is not known.
SUITES := tests/runtime tests/train tests/nn tests/research tests/export tests/calibration "tests/lstn tests/data tests/formats tests/machine" "tests --ignore-glob=tests/*/*"

.PHONY: setup demo test browser lint bench gpu-check clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py

test: setup browser
	rm -f .coverage
	for suite in $(SUITES); do \
	  $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 --cov --cov-append $$suite || exit 1; \
	done

# The report's pages are tested in a real browser.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium chromium-driver; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package lstn

bench: setup
	$(BIN)/python benchmarks/grid.py

# From the checkout, with whatever Python and packages are at hand: a borrowed GPU machine is rarely ours to install on.
gpu-check:
	$(PYTHON) scripts/gpu_check.py

clean:
	rm -rf .venv demo build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
