# What a person types. Every target creates what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Servers that the tests ask have virtual environments of their own; MLServer needs a Python below 3.13.
SERVER_PYTHON ?= $(PYTHON)
# One thread for each of the parallel test workers; the machine has few cores.
export OMP_NUM_THREADS ?= 1
export ORT_DISABLE_TELEMETRY ?= 1

.PHONY: demo test test-kserve lint format bench bench-blackbox bench-extra-class bench-deeptrace bench-pools fixtures clean

demo: $(VENV)/demo.stamp
	$(BIN)/onnxfp demo

test: lint .venv-mlserver/stamp
	ONNXFP_REQUIRE_SERVERS=1 $(BIN)/pytest -n 2 --dist worksteal

# KServe binds every interface, so it only runs in a network of its own, which nobody reaches.
test-kserve: $(VENV)/test.stamp .venv-kserve/stamp
	ONNXFP_REQUIRE_SERVERS=1 unshare --map-root-user --net sh -c \
		'ip link set lo up && exec $(BIN)/pytest tests/servers/kserve/asked.py'

lint: $(VENV)/test.stamp
	mkdir -p build/types && ln -sfn ../../cli build/types/onnxfp_cli
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/bench.stamp
	OMP_NUM_THREADS=2 $(BIN)/python -m bench.whitebox

bench-blackbox: $(VENV)/bench.stamp
	$(BIN)/python -m bench.zoo $$(seq -f independent-%g 0 19)
	$(BIN)/python -m bench.blackbox

bench-extra-class: $(VENV)/bench.stamp
	$(BIN)/python -m bench.zoo $$(seq -f independent-%g 0 19)
	$(BIN)/python -m bench.reserved
	$(BIN)/python -m bench.extra_class

bench-deeptrace: $(VENV)/bench.stamp
	$(BIN)/python -m bench.zoo $$(seq -f fashion-%g 0 2) $$(seq -f lenet-%g 0 2) cifar10-0 wide-0
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.deeptrace

bench-pools: $(VENV)/bench.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.pools

fixtures: $(VENV)/bench.stamp
	$(BIN)/python -m fixtures.build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/test.stamp: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/bench.stamp: $(VENV)/test.stamp
	$(PIP) --editable '.[embed,report]'
	touch $@

.venv-mlserver/stamp .venv-kserve/stamp: .venv-%/stamp: tests/servers/%/constraints.txt
	$(SERVER_PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --constraint $< $* onnxruntime
	touch $@

clean:
	rm -rf $(VENV) .venv-mlserver .venv-kserve build dist *.egg-info
