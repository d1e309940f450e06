"""What a teacher said of the training windows, and which of it a student is shown. Asks through the store.

S1 §4.5 trains on everything the teacher wrote. The other filters look at the truth of *training* sessions (correct) or
at several samples of one window (consistent); the funnel says what each step left.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY, Answer, AskedRun, collect, make_asks, refuse_all_failed, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.events import Session, Window
from llmhar.records import Fingerprint
from llmhar.settings import choose
from llmhar.text.parsing import Reading, count_marks, parse_answer


@dataclass(frozen=True)
class Trace:
    """One teacher's text about one training window."""

    window: Window
    session: Session
    text: str
    """Raw, thinking marks included."""
    finish_reason: str
    sample_index: int
    request_key: str
    """Where the store has it."""
    teacher: str
    """Key into models.yaml."""
    made_by: Fingerprint

    @cached_property
    def reading(self) -> Reading:
        """The text, parsed."""
        return parse_answer(self.text, len(self.window.events), self.session.labels, finish_reason=self.finish_reason)

    @property
    def labels(self) -> tuple[int | None, ...]:
        """The teacher's label of each event; None where it gave none."""
        return tuple(prediction.label for prediction in self.reading.predictions)

    @property
    def n_correct(self) -> int:
        """Events labelled as in the truth, joint ones by any of their activities."""
        return sum(label in e.activity_ids for label, e in zip(self.labels, self.window.events))

    @property
    def whole(self) -> bool:
        """Whether the text came to its end, with at most one thinking block, closed, in any family's marks.

        A closing mark without an opening one is whole: some chat templates open the block in the prompt.
        """
        opened, closed = count_marks(self.text)
        return self.finish_reason == "stop" and opened <= closed <= 1

    @property
    def complete(self) -> bool:
        """Whether every event has a label and the text came to its end."""
        return None not in self.labels and self.finish_reason == "stop"


class FunnelStep(NamedTuple):
    """What was left after one step."""

    step: str
    windows: int
    traces: int
    events: int
    correct_pct: float
    """Of these events, labelled by the teacher as in the truth; NaN where there are none."""


class Collected(NamedTuple):
    """A teacher's traces with the windows it failed on."""

    traces: list[Trace]
    n_failed: int
    """Asks without any answer."""
    run: AskedRun


def collect_traces(task: Task, teacher: ModelSpec, store: Store, asking: Asking = STUDY) -> Collected:
    """Ask the teacher about every window that the store has no answer to yet.

    Args:
        task: from :func:`llmhar.ask.task.training_task`; its truth is used by filters, never shown.
        teacher: any model of any engine.
        store: where answers are looked up and kept.
        asking: how the teacher is asked; the filter ``consistent`` needs several samples.

    Raises:
        EngineError: the engine cannot start.
        StoreError: the store cannot be written.
    """
    asks = make_asks(task, teacher, asking)
    run = run_asks(asks, teacher, store, asking)
    windows = {(w.session_id, w.index): w for w in task.windows}
    answers = collect(asks, store)
    refuse_all_failed(teacher.name, answers)
    traces = [_trace(task, windows[a.ask.session_id, a.ask.window_index], a) for a in answers if a.stored]
    return Collected(traces, len(answers) - len(traces), run)


def _trace(task: Task, window: Window, answer: Answer) -> Trace:
    assert answer.stored is not None
    generation = answer.stored.generation
    return Trace(
        window=window,
        session=task.sessions[window.session_id],
        text=generation.text,
        finish_reason=generation.finish_reason,
        sample_index=answer.ask.request.sample_index,
        request_key=answer.ask.request.key,
        teacher=answer.ask.model,
        made_by=answer.stored.fingerprint,
    )


def keep_correct(traces: Sequence[Trace], least: float) -> list[Trace]:
    """Traces that label at least this share of their events right (STaR, 2203.14465, keeps only right ones)."""
    return [trace for trace in traces if trace.n_correct >= least * len(trace.window.events)]


def keep_consistent(traces: Sequence[Trace], least: float) -> list[Trace]:
    """Of each window one trace, if at least this share of its complete samples gives that trace's labels.

    Self-consistency (2203.11171) over whole windows: the commonest labelling wins, its first sample is kept; a window
    with one sample agrees with itself and says nothing, so it is left out.
    """
    by_window: dict[tuple[str, int], list[Trace]] = {}
    for trace in traces:
        by_window.setdefault((trace.window.session_id, trace.window.index), []).append(trace)
    kept = []
    for same in by_window.values():
        labels, votes = Counter(trace.labels for trace in same).most_common(1)[0]
        if len(same) > 1 and votes >= least * len(same):
            kept.append(next(trace for trace in same if trace.labels == labels))
    return kept


Keep = Callable[[Sequence[Trace], float], list[Trace]]
FILTERS: dict[str, tuple[tuple[str, Keep], ...]] = {
    "none": (),
    "correct": (("correct", keep_correct),),
    "consistent": (("consistent", keep_consistent),),
    "both": (("consistent", keep_consistent), ("correct", keep_correct)),
}
"""Name in params -> the steps, each applied to what the one before left. S1: none."""


def filter_traces(
    collected: Collected, filter_name: str = "none", *, least_correct: float = 1.0, least_agreement: float = 0.6
) -> tuple[list[Trace], list[FunnelStep]]:
    """Which traces a student is shown, and what each step left.

    Args:
        collected: the teacher's traces.
        filter_name: key into ``FILTERS``. Traces that were cut by the token limit, and thinking that is not one closed
            block, always go: they would teach a student to stop in mid-thought. Incomplete ones go only where a filter
            is on: S1 trained unfiltered.
        least_correct: share of a window's events, for ``correct``.
        least_agreement: share of a window's complete samples, for ``consistent``.

    Raises:
        ValueError: no such filter.
    """
    steps = choose(FILTERS, filter_name, f"unknown filter {filter_name!r}; there are:", ValueError)
    traces = collected.traces
    funnel = [FunnelStep("asked", 0, len(traces) + collected.n_failed, 0, float("nan")), count("answered", traces)]
    traces = [trace for trace in traces if trace.whole]
    funnel.append(count("not cut", traces))
    if steps:
        traces = [trace for trace in traces if trace.complete]
        funnel.append(count("complete", traces))
    for name, keep in steps:
        least = least_correct if keep is keep_correct else least_agreement
        traces = keep(traces, least)
        funnel.append(count(f"{name} (at least {least:.0%})", traces))
    return traces, funnel


def balance(traces: Sequence[Trace], n: int, seed: int = 0) -> list[Trace]:
    """``n`` of the traces, drawn so that labels that the teacher seldom gives are seen more often; order is kept.

    Drawn without replacement by weight (Efraimidis and Spirakis 2006): a trace weighs as much as its events, an event
    one over the number of events with its label. Only the teacher's labels count, never the truth.

    Args:
        traces: from :func:`filter_traces`.
        n: how many; all where there are fewer.
        seed: of the draw.
    """
    labels_of = [[label for label in trace.labels if label is not None] for trace in traces]
    frequency = Counter(label for labels in labels_of for label in labels)
    dice = random.Random(f"llmhar balance {seed}")
    weights = [sum(1 / frequency[label] for label in labels) or 1e-9 for labels in labels_of]
    drawn = [dice.random() ** (1 / weight) for weight in weights]
    kept = sorted(sorted(range(len(traces)), key=lambda i: drawn[i], reverse=True)[:n])
    return [traces[i] for i in kept]


def count(step: str, traces: Sequence[Trace]) -> FunnelStep:
    """What these traces hold."""
    events = sum(len(trace.window.events) for trace in traces)
    right = sum(trace.n_correct for trace in traces)
    windows = {(trace.window.session_id, trace.window.index) for trace in traces}
    return FunnelStep(step, len(windows), len(traces), events, 100 * right / events if events else float("nan"))
