# likeness: `make run` and `make test` set up what they need; run again with nothing changed, they are quick.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
S3 := .venv-s3
# What is installed is compiled when it is first imported, in setup what every command imports: all of it would take a
# minute more. Where Python may write no bytecode, as in many images, each command would compile it again. Nothing here
# needs a system library, which may be missing still.
PIP := -m pip install --quiet --no-deps --no-compile
unexport PYTHONDONTWRITEBYTECODE
IMPORTED := dagster, dvc.repo, fastapi, great_expectations, mlflow.pyfunc, sklearn.linear_model, torch, warp
# A file of tests stays in one process, which makes what its tests share once; tests/conftest.py says which come first.
# Two processes for two cores; a third where tests wait for servers more than they work, unless something else is at work.
INTEGRATION_PROCESSES ?= 3
PARALLEL := --dist loadfile --no-loadscope-reorder
PORTRAIT := data/photos/collins/astronaut.png
WEB := serving/web
SDK := serving/sdk/typescript

.PHONY: help setup own-environment web run serve image test test-unit test-integration lint lint-types lint-style origins architecture lod lock bench-render bench-orchestration bench-data bench-commands bench-serve bench-likeness
.DEFAULT_GOAL := help

help:  ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: setup  ## The pipeline (profile quickstart), then a character from a real portrait
	$(BIN)/likeness inputs
	$(BIN)/likeness run --profile quickstart
	$(BIN)/likeness create $(PORTRAIT) --out out

serve: setup  ## The page for players and the API, http://127.0.0.1:8000; after make run
	$(BIN)/likeness serve

image:  ## The image of deploy/Dockerfile without Docker, by buildah; ten minutes. docs/deploy.md
	tools/image.sh

test: setup node_modules/.stamp-dev  ## Unit tests and the smoke graph
	$(BIN)/likeness inputs
	npm --prefix $(WEB) test
	$(BIN)/pytest -n 2 $(PARALLEL)

test-unit: setup  ## What a minute and a half can tell: the unit tests that are not slow
	$(BIN)/likeness inputs
	$(BIN)/pytest -m "not integration and not slow" -n 2 $(PARALLEL)

test-integration: setup $(S3)/.stamp $(SDK)/node_modules/.stamp  ## What needs servers, Ray or a browser
	$(BIN)/likeness inputs
	$(BIN)/pytest -m integration -n $(INTEGRATION_PROCESSES) $(PARALLEL)

lint: setup node_modules/.stamp-dev  ## Style, floors and types
	@$(MAKE) --no-print-directory -j 2 lint-types lint-style

lint-types:
	node_modules/.bin/pyright --pythonpath $(BIN)/python

lint-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	npm --prefix $(WEB) run check

bench-render: setup $(BENCH)/.stamp  ## Renders a second, beside VTK and Mitsuba; BENCH_OPTIONS=--quick for a short run
	$(BIN)/likeness inputs
	PYTHONPATH=$(BENCH) $(BIN)/python -m benchmarks.render $(BENCH_OPTIONS)

bench-orchestration: setup  ## What Dagster, DVC, MLflow and checks cost beside the stages; BENCH_OPTIONS=--quick for a short run
	$(BIN)/likeness inputs
	$(BIN)/python -m benchmarks.orchestration $(BENCH_OPTIONS)

bench-commands: setup  ## Processor seconds of commands from nothing, after make run; BENCH_OPTIONS="--beside DIR" beside another checkout's
	$(BIN)/python -m benchmarks.commands $(BENCH_OPTIONS)

bench-data: setup  ## How the data stages and their checks grow with the rows; BENCH_OPTIONS=--quick for a short run
	$(BIN)/likeness inputs
	$(BIN)/python -m benchmarks.data $(BENCH_OPTIONS)

bench-serve: setup  ## Photos a second through HTTP, after make run; BENCH_OPTIONS=--quick for a short run
	$(BIN)/python -m benchmarks.serve $(BENCH_OPTIONS)

bench-likeness: setup $(BENCH)/.stamp  ## How the model in production reads 145 real people; BENCH_OPTIONS=--help for more
	$(BIN)/likeness inputs
	PYTHONPATH=$(BENCH) $(BIN)/python -m benchmarks.likeness $(BENCH_OPTIONS)

origins: setup  ## NOTICE and two tables from stages/data/origins.yaml
	$(BIN)/python -m tools.origins

architecture: setup  ## The picture of the floors, docs/architecture.svg, from the code
	$(BIN)/python -m tools.architecture

lod: setup node_modules/.stamp-dev  ## The simplified meshes of exports, after the head, hair or glasses changed
	$(BIN)/python -m tools.lod

lock: setup  ## The hashes of requirements*.lock, after a version was changed there
	$(BIN)/python -m tools.lock

setup: own-environment $(VENV)/.stamp-project node_modules/.stamp web  ## .venv from requirements.lock, node_modules from package-lock.json, the page

# Its programs name the folder that they were made in: moved along they do not start, copied along they run the original.
own-environment:
	@made=$$(sed -n 's/^command = //p' $(VENV)/pyvenv.cfg 2>/dev/null); here=$$(realpath $(VENV) 2>/dev/null); \
	case "$$made" in ""|*" $$here") ;; *) \
	echo "error: $(VENV) was made for another folder ($$made): rm -rf $(VENV), then make again"; exit 1;; esac

web: $(WEB)/dist/index.html  ## The page for players, built

# Where pip is offered a build of torch for CPUs alone, that one: of builds with a hash pip takes the index's, whose hash
# it sees beforehand. Elsewhere torch is the CUDA build, and its libraries come too.
$(VENV)/.stamp-lock: requirements.lock requirements-cpu.lock requirements-cuda.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11, or name another: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --require-hashes -r requirements-cpu.lock 2>/dev/null || true
	$(BIN)/python $(PIP) --require-hashes -r requirements.lock
	$(BIN)/python -m pip show torch | grep '^Version: .*+cpu' >/dev/null \
		|| $(BIN)/python $(PIP) --require-hashes -r requirements-cuda.lock
	@touch $@

$(VENV)/.stamp-project: $(VENV)/.stamp-lock pyproject.toml
	$(BIN)/python $(PIP) --no-build-isolation -e .
	$(BIN)/python -c 'import $(IMPORTED)' >/dev/null
	@touch $@

# A folder of its own: the environment stays exactly what requirements.lock says.
$(BENCH)/.stamp: requirements-bench.lock $(VENV)/.stamp-lock
	rm -rf $(BENCH)
	$(BIN)/python $(PIP) --require-hashes --target $(BENCH) -r requirements-bench.lock
	@touch $@

$(S3)/.stamp: requirements-s3.lock
	rm -rf $(S3)
	$(PYTHON) -m venv $(S3)
	$(S3)/bin/python $(PIP) --require-hashes -r requirements-s3.lock
	@touch $@

node_modules/.stamp: package.json package-lock.json
	@command -v npm >/dev/null || { echo "error: npm is missing: install Node 20, which brings it"; exit 1; }
	npm ci --omit=dev
	@touch $@

$(WEB)/node_modules/.stamp: $(WEB)/package.json $(WEB)/package-lock.json node_modules/.stamp
	npm --prefix $(WEB) ci
	@touch $@

$(SDK)/node_modules/.stamp: $(SDK)/package.json $(SDK)/package-lock.json
	npm --prefix $(SDK) ci
	@touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules/.stamp $(shell find $(WEB)/src $(WEB)/index.html $(WEB)/*.ts -type f)
	npm --prefix $(WEB) run build

node_modules/.stamp-dev: node_modules/.stamp
	npm ci
	@touch node_modules/.stamp $@
