"""Asks one model again about one window that was changed by hand: counterfactuals for teaching and for doubt.

The question is the old one (same prompt, template and sampling) but for what the order changes: events dropped or
edited, another wording, serializer or temperature. Answers are kept in the store like all others, so the same question
is never asked twice, whatever the temperature.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.inference import STUDY, collect, make_asks, open_model, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.events import Session
from llmhar.records import Sampling
from llmhar.score.tables import Result
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import PROMPTS, PromptForm, PromptSpec, build_prompt
from llmhar.text.schema import has_whys
from llmhar.traces.bundle import clean, columns_of, link_answer, pack_answer
from llmhar.traces.counterfactual import Order, ReaskError, edit_window, kept_events

MAX_TEMPERATURE = 2.0


class NoAnswerError(ReaskError):
    """The model was asked and failed."""


def reask(task: Task, model: ModelSpec, order: Order, store: Store, asking: Asking = STUDY) -> dict[str, Any]:
    """Ask one generation about a changed window, unless the store has it, and read it.

    Args:
        task: has the window, its session and its prompt.
        model: whom to ask.
        order: what is changed.
        store: where the answer is looked up and kept.
        asking: its engine counts; sampling, thinking and schema are those of the answer that the order is like.

    Returns:
        One entry of a bundle's ``windows[].a``: reasoning, answer, labels, verdicts and what else the explorer shows.

    Raises:
        ReaskError: the order cannot be carried out, or the model gave no answer.
        PromptError: the home has no file, or no such wording or serializer.
        EngineError: the engine cannot start.
        StoreError: the store cannot be written.
    """
    old = next((w for w in task.windows if (w.session_id, w.index) == (order.session, order.index)), None)
    if old is None:
        raise ReaskError(f"{task.data} has no window {order.index} in session {order.session}")
    window, session = edit_window(old, order.events), task.sessions[old.session_id]
    prompts = {session.home: _prompt(task, session, order)}
    changed = replace(task, windows=(window,), prompts=prompts, subset="one window, changed by hand")
    asking = _as_before(order, asking)
    asks = make_asks(changed, model, asking)
    run_asks(asks, model, store, asking)
    (answer,) = collect(asks, store)
    if answer.stored is None:
        raise NoAnswerError(f"{model.name} gave no answer: {answer.error}")
    made = answer.stored.generation
    reading = parse_answer(made.text, len(window.events), session.labels, finish_reason=made.finish_reason)
    names = order.labels if order.labels is not None else [clean(name) for name in session.labels.values()]
    packed = pack_answer(answer, reading, partial(_place, session, names))
    link_answer(packed, window.events)
    return packed


def _as_before(order: Order, asking: Asking) -> Asking:
    """How the model was asked before, but for the temperature, by this engine."""
    like, sampling = order.like, order.like.sampling if order.like else Sampling()
    if order.temperature is not None:
        if not 0 <= order.temperature <= MAX_TEMPERATURE:
            raise ReaskError(f"temperature {order.temperature}: need a number from 0 to {MAX_TEMPERATURE:g}")
        sampling = replace(sampling, temperature=order.temperature)
    thinking = like.template_args.get("enable_thinking") if like else None
    schema = like.schema if like else None
    constrained, why = bool(schema), has_whys(schema) if schema else None
    bound = replace(asking, sampling=sampling, thinking=thinking, constrained=constrained, why=why)
    return replace(bound, purpose="reask", progress=False)


def _place(session: Session, names: Sequence[str], number: int | None) -> int:
    name = None if number is None else clean(session.activities[number])
    return names.index(name) if name in names else -1


def _prompt(task: Task, session: Session, order: Order) -> PromptSpec:
    """The task's prompt, or a new one with the order's wording and serializer and all else as it was."""
    old = task.prompts[session.home]
    if order.wording is None and order.serializer is None:
        return old
    tried = (PromptForm(name, old.serializer, task.answer, rules) for name in PROMPTS for rules in (True, False))
    same = (form.wording for form in tried if build_prompt(session, form) == old)
    wording = order.wording or next(same, None)
    if wording is None:
        raise ReaskError("this prompt was written by hand: choose a wording beside the serializer")
    # a wording without lists says nothing of the rules: they come with the default
    rules = bool(old.rules) or not old.labels
    return build_prompt(session, PromptForm(wording, order.serializer or old.serializer, task.answer, rules))


class Reasker:
    """Carries out the widget's orders; keeps the last model's engine open, for it takes 15 seconds to start.

    Give it to :func:`llmhar.traces.view.browse_traces` as ``reask``. Use it as a context manager or call :meth:`close`;
    it closes with the kernel at the latest.
    """

    def __init__(self, results: Sequence[Result], store: Store, asking: Asking = STUDY) -> None:
        """Answer orders about what a bundle of these results shows; opens nothing yet."""
        self._results, self._store = list(results), store
        self._columns, _ = columns_of(results)
        self._asking = asking
        self._open: tuple[str, Engine] | None = None
        atexit.register(self.close)

    def __call__(self, order: Order) -> dict[str, Any]:
        """Carry out one order.

        Args:
            order: its data set, session, index and model say what is asked; ``like`` is found among the results.

        Returns:
            One entry of a bundle's ``windows[].a``, as :func:`reask` makes it.
        """
        of_model = [result for result, column in zip(self._results, self._columns) if column == order.model]
        if not of_model:
            raise ReaskError(f"there is no model {order.model} among the results")
        task, model = self._task(order, of_model), of_model[0].model
        answers = [(answer, result) for result in of_model for answer in result.answers]
        here = (order.session, order.index)
        answers.sort(key=lambda pair: (pair[1].task is not task, pair[0].ask[1:3] != here))
        like = answers[0][0].ask.request if answers else None
        try:
            kept_open = replace(self._asking, open_with=lambda: _Kept(self.engine_of(model)))
            return reask(task, model, replace(order, like=like), self._store, kept_open)
        except (NoAnswerError, EngineError):
            self.close()  # a dead child must not answer the next order
            raise

    def _task(self, order: Order, of_model: Sequence[Result]) -> Task:
        """The task with this window, the model's own if it was asked; of several cuts the one that fits best."""
        fitting = [
            (len(kept_events(window, order.events)), any(result is own for own in of_model), -place, result.task)
            for place, result in enumerate(self._results)
            if clean(result.task.data) == order.dataset
            for window in result.task.windows
            if (clean(window.session_id), window.index) == (order.session, order.index)
        ]
        if not fitting:
            raise ReaskError(
                f"no window {order.index} of session {order.session} in {order.dataset} is among the results"
            )
        return max(fitting, key=lambda task: task[:3])[3]

    def engine_of(self, model: ModelSpec) -> Engine:
        """The open engine of a model; another model's is closed first, for memory holds one."""
        if self._open and self._open[0] != _identity(model):
            self.close()
        if self._open is None:
            self._open = _identity(model), open_model(model, self._asking)
        return self._open[1]

    def close(self) -> None:
        """End the engine that is open; calling it twice does no harm, and the next order opens it anew."""
        held, self._open = self._open, None
        if held:
            held[1].close()

    def __enter__(self) -> Reasker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        atexit.unregister(self.close)


def _identity(model: ModelSpec) -> str:
    return f"{model.name} {model.revision} {model.adapter.sha256 if model.adapter else ''}"


class _Kept:
    """An engine that stays open when the loop is done with it."""

    def __init__(self, engine: Engine) -> None:
        self.fingerprint, self.stream = engine.fingerprint, engine.stream
        self.pid = getattr(engine, "pid", None)

    def close(self) -> None:
        """Nothing: its owner closes it."""

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
