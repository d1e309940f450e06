"""Asks several models the same task and scores them: what a notebook needs in one call. Draws nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from llmhar.inference import AskedRun, collect, make_asks, run_asks
from llmhar.models import MODELS
from llmhar.records import Sampling
from llmhar.store import Store
from llmhar.tables import Result, score_answers
from llmhar.tasks import Task


class Evaluation(NamedTuple):
    """Results and what this pass cost, in the order of the models."""

    results: list[Result]
    runs: list[AskedRun]


def evaluate(
    task: Task,
    model_names: Sequence[str],
    *,
    engine: str = "auto",
    sampling: Sampling | None = None,
    thinking: bool | None = None,
    exact_engine: bool = False,
    store: Store | None = None,
) -> Evaluation:
    """Ask each model what the store does not have yet, then read and score all answers.

    Args:
        task: windows, prompts and truth.
        model_names: keys into ``params/models.yaml``.
        engine, sampling, thinking: see :func:`llmhar.inference.make_asks` and ``run_asks``.
        exact_engine: accept only answers of the engine that would be used now.
        store: default: the one in ``LLMHAR_HOME``.

    Raises:
        ModelError, EngineError, StoreError: see there.
    """
    models = [MODELS[name] for name in model_names]  # an unknown name stops before any work
    opened = store or Store()
    results, runs = [], []
    try:
        for model in models:
            asks = make_asks(task, model, sampling=sampling, thinking=thinking)
            runs.append(run_asks(asks, model, opened, engine=engine, exact=exact_engine))
            results.append(score_answers(task, model, collect(asks, opened)))
            if len(results[-1].fingerprints) > 1:
                print(
                    f"warning: {model.name}'s answers come from several engines: {results[-1].made_by}", file=sys.stderr
                )
    finally:
        if store is None:
            opened.close()
    return Evaluation(results, runs)
