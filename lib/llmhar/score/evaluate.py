"""Asks several models the same task and scores them: what a notebook needs in one call. Draws nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from llmhar.ask.inference import AskedRun, collect, make_asks, run_asks
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Ask, Store
from llmhar.ask.task import Task
from llmhar.records import Fingerprint, Sampling
from llmhar.score.tables import Result, average_samples, score_answers


class Evaluation(NamedTuple):
    """Results and what this pass cost, in the order of the models."""

    results: list[Result]
    """Model by model, task by task: scores averaged over samples; readings and answers are the first sample's."""
    runs: list[AskedRun]
    samples: list[list[Result]]
    """All samples of each model, the first one first."""


def evaluate(
    tasks: Task | Sequence[Task],
    models: Sequence[str | ModelSpec],
    *,
    engine: str = "auto",
    sampling: Sampling | None = None,
    thinking: bool | None = None,
    exact_engine: bool = False,
    n_samples: int = 1,
    constrained: bool = False,
    engine_options: Mapping[str, Any] | None = None,
    store: Store | None = None,
) -> Evaluation:
    """Ask each model what the store does not have yet, then read and score all answers.

    Args:
        tasks: windows, prompts and truth, of one data set or of several; a model's engine starts once for all of them.
        models: keys into ``params/models.yaml``, or specs (students are in no file).
        engine, sampling, thinking, n_samples, constrained: see :func:`llmhar.ask.inference.make_asks` and ``run_asks``.
        engine_options: how engines are opened, see :class:`llmhar.ask.engines.registry.Options`.
        exact_engine: accept only answers of the engine that would be used now.
        store: default: the one in ``LLMHAR_HOME``.

    Returns:
        Results model by model, task by task.

    Raises:
        ModelError, EngineError, StoreError: see there.
    """
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    # an unknown name stops before any work
    specs = [model if isinstance(model, ModelSpec) else MODELS[model] for model in models]
    opened = store or Store()
    runs: list[AskedRun] = []
    samples: list[list[Result]] = []
    try:
        for model in specs:
            asks = [
                make_asks(
                    task, model, sampling=sampling, thinking=thinking, n_samples=n_samples, constrained=constrained
                )
                for task in tasks
            ]
            every = [ask for own in asks for ask in own]
            runs.append(
                run_asks(every, model, opened, engine=engine, exact=exact_engine, engine_options=engine_options)
            )
            exactly = runs[-1].fingerprint if exact_engine else None
            samples += [_score(task, model, own, n_samples, opened, exactly) for task, own in zip(tasks, asks)]
    finally:
        if store is None:
            opened.close()
    return Evaluation([average_samples(own) for own in samples], runs, samples)


def _score(
    task: Task, model: ModelSpec, asks: Sequence[Ask], n_samples: int, store: Store, exactly: Fingerprint | None
) -> list[Result]:
    """One result a sample."""
    by_sample = [[ask for ask in asks if ask.request.sample_index == k] for k in range(n_samples)]
    results = [score_answers(task, model, collect(own, store, exactly)) for own in by_sample]
    if len(results[0].fingerprints) > 1:
        print(f"warning: {model.name}'s answers come from several engines: {results[0].made_by}", file=sys.stderr)
    return results


class Condition(NamedTuple):
    """One setting of a sweep and what came of it."""

    name: str
    result: Result


def sweep_thinking(
    task: Task, model_name: str, budgets: Sequence[int], *, sampling: Sampling, **options: Any
) -> list[Condition]:
    """Thinking as a factor: off, each budget in tokens, and on without limit (test-time scaling).

    Args:
        task: windows, prompts and truth.
        model_name: a model whose template has the switch.
        budgets: most thinking tokens of each condition, in rising order.
        sampling: its own budget is replaced.
        options: see :func:`evaluate`.

    Raises:
        ValueError: the model has no thinking mode.
    """
    if not MODELS[model_name].thinking:
        raise ValueError(f"{model_name} has no thinking mode: set thinking_model to one that has (params/models.yaml)")
    settings: list[tuple[str, bool, int | None]] = [("off", False, None)]
    settings += [(f"budget {budget}", True, budget) for budget in budgets]
    settings.append(("on, no limit", True, None))
    found = []
    for name, thinking, budget in settings:
        bounded = replace(sampling, thinking_budget=budget)
        asked = evaluate(task, [model_name], sampling=bounded, thinking=thinking, **options)
        found.append(Condition(name, asked.results[0]))
    return found
