# `make help` lists the targets. Two of them do everything on a bare machine: `make demo` and `make test`.
VENV ?= .venv
LOCK ?= requirements/cpu.lock
BIN := $(VENV)/bin
PROFILE ?= demo
FETCH = $(BIN)/llmhar models fetch smollm2-135m smollm2-135m-l16 smollm2-135m-l8 smollm2-135m-l4 llmhar-home-135m llmhar-home-135m-int8
export PYTHONDONTWRITEBYTECODE=
export LLMHAR_ALL_EXAMPLES=$(SLOW)

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check notebooks lock bench record

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## make .venv (does nothing where it stands); on a GPU machine LOCK=requirements/gpu.lock
	@requirements/install.sh $(VENV) $(LOCK)

demo: setup  ## fetch the small model (sha256 checked), run all notebooks into reports/demo/index.html
	@$(FETCH) llmhar-fusion-135m
	$(BIN)/llmhar run demo

lab: setup  ## open JupyterLab at the tour with the demo's settings; in a container LAB=--ip=0.0.0.0
	@$(FETCH) || echo "without weights: notebooks run with PROFILE=smoke"
	LLMHAR_PROFILE=$(PROFILE) $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root )$(LAB) notebooks/00_tour.ipynb

test: setup  ## run the tests; COV=1: with coverage; SLOW=1: all, the slow ones too (servers, whole notebooks)
	@$(FETCH) qwen3-tiny || echo "without weights: tests that need them skip"
	$(BIN)/python -m pytest $(if $(SLOW),,-m "not slow" -n 2 --dist loadfile --no-loadscope-reorder)$(if $(COV), --cov --cov-report=term --cov-fail-under=95)

check: setup  ## ruff, mypy, notebook sync and hygiene, who imports whom
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

bench: setup  ## measure: ONLY=all|faults|security|scale|demo|training|… (ONLY=help lists all), ARGS=--resume
	@$(FETCH) qwen3-tiny || echo "without weights: what needs them is not measured"
	$(BIN)/python -m tests.bench $(ONLY) $(ARGS)

record: setup  ## copy finished runs of PROFILE (demo) into reports/record, which git tracks
	$(BIN)/llmhar record $(PROFILE)
