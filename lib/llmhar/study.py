"""Asks several models the same task and scores them: what a notebook needs in one call. Draws nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from llmhar.inference import AskedRun, collect, make_asks, run_asks
from llmhar.models import MODELS, ModelSpec
from llmhar.records import Sampling
from llmhar.store import Ask, Store
from llmhar.tables import Result, score_answers
from llmhar.tasks import Task


class Evaluation(NamedTuple):
    """Results and what this pass cost, in the order of the models."""

    results: list[Result]
    """Each model's first sample."""
    runs: list[AskedRun]
    samples: list[list[Result]]
    """All samples of each model, the first one first."""


def evaluate(
    tasks: Task | Sequence[Task],
    model_names: Sequence[str],
    *,
    engine: str = "auto",
    sampling: Sampling | None = None,
    thinking: bool | None = None,
    exact_engine: bool = False,
    n_samples: int = 1,
    constrained: bool = False,
    store: Store | None = None,
) -> Evaluation:
    """Ask each model what the store does not have yet, then read and score all answers.

    Args:
        tasks: windows, prompts and truth, of one data set or of several; a model's engine starts once for all of them.
        model_names: keys into ``params/models.yaml``.
        engine, sampling, thinking, n_samples, constrained: see :func:`llmhar.inference.make_asks` and ``run_asks``.
        exact_engine: accept only answers of the engine that would be used now.
        store: default: the one in ``LLMHAR_HOME``.

    Returns:
        Results model by model, task by task.

    Raises:
        ModelError, EngineError, StoreError: see there.
    """
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    models = [MODELS[name] for name in model_names]  # an unknown name stops before any work
    opened = store or Store()
    runs: list[AskedRun] = []
    samples: list[list[Result]] = []
    try:
        for model in models:
            asks = [
                make_asks(
                    task, model, sampling=sampling, thinking=thinking, n_samples=n_samples, constrained=constrained
                )
                for task in tasks
            ]
            every = [ask for own in asks for ask in own]
            runs.append(run_asks(every, model, opened, engine=engine, exact=exact_engine))
            samples += [_score(task, model, own, n_samples, opened) for task, own in zip(tasks, asks)]
    finally:
        if store is None:
            opened.close()
    return Evaluation([own[0] for own in samples], runs, samples)


def _score(task: Task, model: ModelSpec, asks: Sequence[Ask], n_samples: int, store: Store) -> list[Result]:
    """One result a sample."""
    by_sample = [[ask for ask in asks if ask.request.sample_index == k] for k in range(n_samples)]
    results = [score_answers(task, model, collect(own, store)) for own in by_sample]
    if len(results[0].fingerprints) > 1:
        print(f"warning: {model.name}'s answers come from several engines: {results[0].made_by}", file=sys.stderr)
    return results
