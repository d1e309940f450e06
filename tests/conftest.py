"""Fixtures for weights: fetched into the cache where absent (``make test`` fetches them beforehand), else skipped."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import psutil
import pytest

from llmhar.ask.model_files import fetch
from llmhar.ask.models import MODELS, ModelError, ModelSpec
from llmhar.data import simulated

LONGEST_FIRST = (
    "run/test_report.py", "distill/test_training.py", "ask/engines/test_contract.py", "distill/test_quantise.py",
    "run/test_readme_paths.py", "test_packages.py", "traces/test_widget.py", "fusion/encoders/test_clap.py",
    "ask/engines/test_openai.py", "run/test_record.py", "distill/test_notebooks.py", "run/test_browser.py",
)  # fmt: skip
"""Files that take longest: begun last, one of them would run on alone while the other process has nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, in the order above."""
    place = {str(Path(__file__).parent / name): i for i, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(str(item.path), len(place)))


@pytest.fixture(autouse=True)
def _the_environment_as_it_was():
    """What a test, or the code that it calls in this process, sets in the environment ends with it."""
    before = os.environ.copy()
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@functools.cache
def _fetched(name: str) -> str:
    try:
        fetch(name)
    except ModelError as error:
        return str(error)
    return ""


def need(name: str) -> ModelSpec:
    """The model, its weights in the cache; skips the test with the reason where they cannot be had."""
    if problem := _fetched(name):
        pytest.skip(f"{name}: {problem}")
    return MODELS[name]


def children_running(words: str) -> list[psutil.Process]:
    """Processes below this one with these words in their command line; zombies aside."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if words in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # a zombie, or gone meanwhile
            continue
    return found


@pytest.fixture(scope="session")
def simulated_home(tmp_path_factory) -> Path:
    """The simulated home of the usual seed, written once; tests only read it."""
    folder = tmp_path_factory.mktemp("data") / "simulated"
    simulated.write(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2() -> ModelSpec:
    return need("smollm2-135m")


@pytest.fixture(scope="session")
def qwen3_tiny() -> ModelSpec:
    return need("qwen3-tiny")
