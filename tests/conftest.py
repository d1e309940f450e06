"""Fixtures for weights: fetched into the cache where absent (``make test`` fetches them beforehand), else skipped."""

from __future__ import annotations

import functools
from pathlib import Path

import psutil
import pytest

from llmhar.ask.model_files import fetch
from llmhar.ask.models import MODELS, ModelError, ModelSpec
from llmhar.data import simulated


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
