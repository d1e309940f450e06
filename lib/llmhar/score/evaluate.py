"""Asks several models the same task and scores them: what a notebook needs in one call. Draws nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY, Answer, AskedRun, collect, make_asks, refuse_all_failed, run_asks
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.pages import LateAsks, PagedAnswers
from llmhar.ask.store import Ask, Store
from llmhar.ask.task import Task
from llmhar.records import Fingerprint
from llmhar.score.tables import Result, average_samples, score_answers, score_paged

LISTED = 20_000
"""Answers up to which all is held; those of longer studies are read from the store page by page, each time."""


class Evaluation(NamedTuple):
    """Results and what this pass cost, in the order of the models."""

    results: list[Result]
    """Model by model, task by task: scores averaged over samples; readings and answers are the first sample's."""
    runs: list[AskedRun]
    samples: list[list[Result]]
    """All samples of each model, the first one first."""


def evaluate(
    tasks: Task | Sequence[Task], models: Sequence[str | ModelSpec], asking: Asking = STUDY, store: Store | None = None
) -> Evaluation:
    """Ask each model what the store does not have yet, then read and score all answers.

    Args:
        tasks: windows, prompts and truth, of one data set or of several; a model's engine starts once for all of them.
        models: keys into ``params/models.yaml``, or specs (students are in no file).
        asking: how they are asked; with ``exact`` answers of other engines are neither used nor shown.
        store: default: the one in ``LLMHAR_HOME``.

    Returns:
        Results model by model, task by task.

    Raises:
        ModelError: an unknown model, or one whose tokenizer is not here.
        EngineError: an engine that cannot start; or every request of a model to a task (of one sample) failed, after
            all models were asked.
        StoreError: the store cannot be read or written.
    """
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    # an unknown name stops before any work
    specs = [model if isinstance(model, ModelSpec) else MODELS[model] for model in models]
    opened = store or Store()
    runs: list[AskedRun] = []
    answers: list[tuple[Task, ModelSpec, Sequence[Sequence[Answer] | PagedAnswers]]] = []
    paged = len(specs) * asking.n_samples * sum(len(task.windows) for task in tasks) > LISTED
    try:
        for model in specs:
            if model.prompt is not None:
                print(f"{model.name} is asked with the prompt that it was taught with: {model.prompt}", file=sys.stderr)
            asked: list[Sequence[Sequence[Answer] | PagedAnswers]]
            if paged:
                late = LateAsks(tasks, model, asking)
                runs.append(run_asks(late, model, opened, asking))
                exactly = runs[-1].fingerprint if asking.exact else None
                samples_of = range(asking.n_samples)
                asked = [[late.answers(i, k, opened, exactly) for k in samples_of] for i in range(len(tasks))]
            else:
                asks = [make_asks(task, model, asking) for task in tasks]
                runs.append(run_asks([ask for of_task in asks for ask in of_task], model, opened, asking))
                exactly = runs[-1].fingerprint if asking.exact else None
                asked = [_by_sample(of_task, opened, exactly) for of_task in asks]
            answers += [(task.asked_of(model), model, own) for task, own in zip(tasks, asked)]
    finally:
        if store is None:
            opened.close()
    samples = [_score(*of_task) for of_task in answers]
    return Evaluation([average_samples(results) for results in samples], runs, samples)


def _by_sample(asks: Sequence[Ask], store: Store, exactly: Fingerprint | None) -> list[list[Answer]]:
    """What the store has for these asks, a list a sample."""
    by_sample: dict[int, list[Ask]] = {}
    for ask in asks:
        by_sample.setdefault(ask.request.sample_index, []).append(ask)
    return [collect(sample, store, exactly) for sample in by_sample.values()]


def _score(task: Task, model: ModelSpec, samples: Sequence[Sequence[Answer] | PagedAnswers]) -> list[Result]:
    """One result a sample."""
    results = []
    for answers in samples:
        refuse_all_failed(model.name, answers.stored if isinstance(answers, PagedAnswers) else answers)
    for answers in samples:
        if isinstance(answers, PagedAnswers):
            results.append(score_paged(task, model, answers))
        else:
            results.append(score_answers(task, model, answers))
    if len(results[0].fingerprints) > 1:
        print(f"warning: {model.name}'s answers come from several engines: {results[0].made_by}", file=sys.stderr)
    return results


class ThinkingPoint(NamedTuple):
    """One setting of the thinking sweep and what came of it."""

    name: str
    """"off", "budget 256", "on, no limit"."""
    result: Result


def sweep_thinking(
    task: Task, model_name: str, budgets: Sequence[int], asking: Asking, store: Store | None = None
) -> list[ThinkingPoint]:
    """Thinking as a factor: off, each budget in tokens, and on without limit (test-time scaling).

    Args:
        task: windows, prompts and truth.
        model_name: a model whose template has the switch.
        budgets: most thinking tokens of each point, in rising order.
        asking: how it is asked; its own thinking switch and budget are replaced.
        store: default: the one in ``LLMHAR_HOME``.

    Raises:
        ValueError: the model has no thinking mode.
    """
    if not MODELS[model_name].thinking:
        raise ValueError(f"{model_name} has no thinking mode: set thinking_model to one that has (params/models.yaml)")
    settings: list[tuple[str, bool, int | None]] = [("off", False, None)]
    settings += [(f"budget {budget}", True, budget) for budget in budgets]
    settings.append(("on, no limit", True, None))
    points = []
    for name, thinking, budget in settings:
        bounded = replace(asking, sampling=replace(asking.sampling, thinking_budget=budget), thinking=thinking)
        points.append(ThinkingPoint(name, evaluate(task, [model_name], bounded, store).results[0]))
    return points
