# `make help` lists the targets. Two of them do everything on a bare machine: `make demo` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
MODELS := smollm2-135m smollm2-135m-l16 smollm2-135m-l8 smollm2-135m-l4
PROFILE ?= demo
export PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help setup models demo test test-all lab check notebooks lock recorded bench faults security explorer scale speed agreement calibration train-speed

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv from requirements/cpu.lock (does nothing where it stands)
	@requirements/install.sh $(VENV)

models: setup  ## fetch the small model into the cache (sha256 checked), with its pruned copies
	@$(BIN)/llmhar models fetch $(MODELS)

demo: models  ## run all notebooks into reports/demo/index.html
	$(BIN)/llmhar run demo

test: setup  ## run all tests with coverage
	@$(BIN)/llmhar models fetch $(MODELS) qwen3-tiny || echo "without weights: tests that need them skip"
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=85

test-all: setup  ## run all tests, the slow ones too (servers, whole notebooks)
	@$(BIN)/llmhar models fetch $(MODELS) qwen3-tiny || echo "without weights: tests that need them skip"
	$(BIN)/python -m pytest

lab: models  ## open JupyterLab at the tour
	$(BIN)/jupyter lab notebooks/00_tour.ipynb

check: setup  ## ruff, mypy, notebook sync and hygiene, import tiers
	$(BIN)/ruff check lib tests notebooks/src
	$(BIN)/ruff format --check lib tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_notebooks.py tests/test_layers.py tests/test_requirements.py

notebooks: setup  ## derive notebooks/*.ipynb from notebooks/src/*.py
	$(BIN)/python -m tests.tools.notebook_sync

lock: setup  ## resolve requirements/*.in to the hashed locks
	UV_FIND_LINKS="$$($(BIN)/python -m pip config get global.find-links 2>/dev/null)" \
	  $(BIN)/uv pip compile -q --no-header \
	  --python-version 3.11 --generate-hashes --override requirements/overrides.txt requirements/cpu.in -o requirements/cpu.lock
	$(BIN)/uv pip compile -q --no-header --python-version 3.11 --generate-hashes --python-platform x86_64-manylinux_2_28 \
	  --override requirements/gpu-overrides.txt requirements/gpu.in -o requirements/gpu.lock

recorded: setup  ## record fusion's encoders on the composed scenes (params/recorded)
	$(BIN)/python -m tests.tools.record_fusion

bench: models  ## speed: own overhead, lm-evaluation-harness, prefix cache, adapters, growth, memory, Ray: reports/record/proof/bench.md
	$(BIN)/python -m tests.bench.bench

faults: models  ## kill -9, full disks, broken files, clocks, APIs, hostile answers: reports/record/proof/faults.md
	$(BIN)/python -m tests.bench.faults

security: setup  ## injection, secrets, gates, vulnerabilities, licences: reports/record/proof/security.md
	$(BIN)/python -m tests.bench.security

explorer: setup  ## 10,000 traces in a browser: file size, first paint, next window
	$(BIN)/python -m tests.bench.explorer

scale: setup  ## Ray on two nodes of this machine: throughput, a lost node, flat memory
	$(BIN)/python -m tests.bench.scale

speed: setup  ## loader, prompt, parse and store rates on this machine
	$(BIN)/python -m tests.bench.speed

calibration: setup  ## test size, coverage and power of the study's statistics on simulated nulls
	$(BIN)/python -m tests.bench.calibration

train-speed: models  ## our training against TRL's own on the same examples: ratio of examples per second
	$(BIN)/python -m tests.bench.training

agreement: models  ## the same 20 windows through vllm and transformers: agreement and tokens per second
	$(BIN)/python -m tests.bench.agreement
