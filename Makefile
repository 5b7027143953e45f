# make setup | demo | test | lint | structure | docs | bench | gpu-check
#
# PYTHON  the interpreter that makes .venv, 3.10 or newer
# EXTRAS  what is installed; on a machine with an NVIDIA GPU: make setup EXTRAS=train,export,calibrate,tune,gpu,trt,dev

PYTHON ?= python3
DEMO_EXTRAS := train,export,runtime,trt-rtx
EXTRAS ?= train,timm,tensorboard,wandb,mlflow,export,calibrate,tune,explain,detect,heic,video,hub,sign,runtime,openvino,loadgen,trt-rtx,serve,ray,docs,dev
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# The tests, each suite in a process of its own: one that has gone through all of them carries every library there is. The
# longest stand first, so that neither core waits long for the other at the end.
SUITES := train export calibration runtime nn research ray rest top
TEST_SUITES := $(SUITES:%=test-%)

.PHONY: setup demo test coverage suites $(TEST_SUITES) browser runner lint structure docs bench gpu-check clean

setup: .venv/.installed

# pip says what it downloads, and how far it is: PyTorch alone is gigabytes. Python compiles what it imports by itself, which
# is a small part of twenty thousand files.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

# Without a .venv that has everything, the demo makes one that has what it uses.
.venv/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$(DEMO_EXTRAS)]'
	touch $@

demo: $(or $(wildcard .venv/.installed),.venv/.demo)
	$(BIN)/python examples/demo.py

test: setup browser runner
	$(MAKE) --keep-going --jobs=2 --output-sync=target suites

suites: $(TEST_SUITES)

$(TEST_SUITES): TESTS = tests/$(@:test-%=%)
test-runtime: TESTS = tests/runtime --ignore-glob='*/test_ray_*'
test-ray: TESTS = tests/runtime/test_ray_*.py
test-rest: TESTS = $(filter-out $(SUITES:%=tests/%) tests/support tests/fixtures tests/__pycache__, $(patsubst %/,%,$(wildcard tests/*/)))
test-top: TESTS = tests --ignore-glob='tests/*/*'

$(TEST_SUITES): setup browser
	COVERAGE_FILE=.coverage.$@ $(BIN)/python -m pytest $(COVER) $(TESTS)

# The same, and which lines ran. Watching them takes 1.4 times as long.
coverage:
	rm -f .coverage .coverage.*
	$(MAKE) test COVER='--cov --cov-report='
	$(BIN)/coverage combine
	$(BIN)/coverage report

# The report's pages are tested in a real browser.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium chromium-driver; }

# The runner for devices without Python is compiled by its tests: its compiler and libraries, and ONNX Runtime's headers.
# Not at the same time as the browser: apt-get runs alone.
RUNNER_NEEDS := cmake g++ libjpeg-dev libpng-dev nlohmann-json3-dev
runner: setup browser
	@dpkg -s $(RUNNER_NEEDS) >/dev/null 2>&1 || { \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(RUNNER_NEEDS); }
	@test -e build/onnxruntime/lib/libonnxruntime.so || \
	  sh runtime/cpp/onnxruntime_here.sh build/onnxruntime $(BIN)/python

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package lstn

# Modules, circles, imports upwards, lengths and names, as the tests bound them.
structure: setup
	$(BIN)/python tests/support/structure.py

# The site, in docs/build/. A warning, such as a link that leads nowhere, is an error.
docs: setup
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/build

bench: setup
	$(BIN)/python -m benchmarks grid

# From the checkout, with whatever Python and packages there are: a borrowed GPU machine is rarely ours to install on.
gpu-check:
	$(PYTHON) -m benchmarks gpu_check

clean:
	rm -rf .venv demo build dist docs/build docs/tree docs/reference/commands docs/reference/python.md *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
