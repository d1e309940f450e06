"""Asks one model again about one window that was changed by hand: counterfactuals for teaching and for doubt.

The question is the old one (same prompt, template and sampling) but for what the order changes: events dropped or
edited, another wording, serializer or temperature. Answers are kept in the store like all others, under window indices
of their own, so the same question is never asked twice, whatever the temperature. Edited events have no truth.
"""

from __future__ import annotations

import atexit
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from functools import partial
from typing import Any, Protocol

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.inference import STUDY, collect, make_asks, open_model, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent, Session, Window
from llmhar.records import Request, Sampling, sha256_of
from llmhar.score.tables import Result
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import PROMPTS, PromptSpec, build_prompt
from llmhar.text.serialize import MAX_NAME_CHARS, clean_text
from llmhar.traces.bundle import clean, columns_of, pack_answer, pack_mentions

REASK_INDEX = 1 << 49
"""Window indices of changed windows begin here, beyond those of windows and of
:data:`llmhar.traces.faithfulness.PROBE_INDEX`; 48 bits of a hash of the events are added, so a changed window has the
same number in every session at the screen."""
MAX_EVENTS = 30
"""Events of a changed window."""
MAX_TEMPERATURE = 2.0
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)", re.ASCII)

Row = Sequence[str]
"""Clock "HH:MM:SS", room, sensor, state: an event as the screen shows it."""


class ReaskError(ValueError):
    """A question that cannot be asked, or that got no answer; one sentence with the cure."""


class NoAnswerError(ReaskError):
    """The model was asked and failed."""


@dataclass(frozen=True)
class ReaskOrder:
    """One window to ask again, changed by hand."""

    session_id: str
    index: int
    """Position of the window in its session."""
    model: ModelSpec
    events: tuple[Row, ...]
    """Those that are left, in time order; edited ones differ from the window's."""
    wording: str | None = None
    """Key into ``PROMPTS``; None = the task's."""
    serializer: str | None = None
    """Key into ``SERIALIZERS``; None = the task's."""
    temperature: float | None = None
    """None = as in ``like``."""
    like: Request | None = None
    """A request to this model whose sampling, thinking switch and schema are kept; None = greedy, free text."""


class ViewOrder(Protocol):
    """What the widget orders: :class:`llmhar.traces.widget.ReaskOrder`, which stands above this module."""

    @property
    def dataset(self) -> str:
        """Shown name of the data set."""
        ...

    @property
    def session(self) -> str:
        """Session id."""
        ...

    @property
    def index(self) -> int:
        """Position of the window in its session."""
        ...

    @property
    def model(self) -> int:
        """Index into the bundle's models."""
        ...

    @property
    def events(self) -> tuple[tuple[str, str, str, str], ...]:
        """Those that are left: clock, room, sensor, state."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names that the answer's labels are indices into."""
        ...

    @property
    def wording(self) -> str | None:
        """Key into ``PROMPTS``; None = as before."""
        ...

    @property
    def temperature(self) -> float:
        """0 … 2."""
        ...


def change_window(window: Window, rows: Sequence[Row]) -> Window:
    """The window with these events: kept ones as they were with their truth, edited ones without, ids renumbered.

    Args:
        window: as it was; where nothing was changed it comes back itself.
        rows: the events that it shall have.

    Raises:
        ReaskError: none or too many events, a clock that is none, texts that are empty or too long, a wrong order.
    """
    if not 1 <= len(rows) <= MAX_EVENTS:
        raise ReaskError(f"a window needs 1 to {MAX_EVENTS} events, not {len(rows)}")
    for i, row in enumerate(rows):
        _check(i, row)
    kept = _kept(window, rows)
    if len(rows) == len(window.events) == len(kept):
        return window
    events: list[SensorEvent] = []
    for i, row in enumerate(rows):
        old = window.events[kept[i]] if i in kept else None
        time = old.time if old else _at(row[0], events[-1].time if events else window.events[0].time)
        if events and time < events[-1].time:
            raise ReaskError(
                f"event {i} at {row[0]} comes before event {i - 1} at {rows[i - 1][0]}: put them in time order"
            )
        made = replace(old, event_id=i) if old else SensorEvent(i, time, row[1], row[2], row[3])
        events.append(made)
    content = [[event.time.isoformat(), event.room, event.sensor, event.state] for event in events]
    number = int(sha256_of([window.session_id, window.index, content])[:12], 16)
    return Window(window.session_id, REASK_INDEX + number, tuple(events))


def _check(i: int, row: Row) -> None:
    clock, room, sensor, state = row
    if not _CLOCK.fullmatch(clock):
        raise ReaskError(f"event {i}: the time {clock[:40]!r} is no HH:MM:SS")
    for name, text in (("room", room), ("sensor", sensor), ("state", state)):
        if len(text) > MAX_NAME_CHARS:
            raise ReaskError(f"event {i}: the {name} has {len(text)} characters; at most {MAX_NAME_CHARS}")
        if name != "room" and not clean_text(text):
            raise ReaskError(f"event {i}: the {name} is empty")


def _kept(window: Window, rows: Sequence[Row]) -> dict[int, int]:
    """Position among ``rows`` -> position in the window, of events that were left as they are."""
    old = [(f"{e.time:%H:%M:%S}", clean(e.room), clean(e.sensor), clean(e.state)) for e in window.events]
    blocks = SequenceMatcher(None, old, [tuple(row) for row in rows], autojunk=False).get_matching_blocks()
    return {block.b + k: block.a + k for block in blocks for k in range(block.size)}


def _at(clock: str, last: datetime) -> datetime:
    """The time that a clock shows next to ``last``; half a day back means that midnight has passed."""
    found = datetime.combine(last.date(), datetime.strptime(clock, "%H:%M:%S").time())
    if last - found > timedelta(hours=12):
        return found + timedelta(days=1)
    same = found.replace(microsecond=last.microsecond)  # clocks show no fractions: the same second is not "before"
    return same if same.replace(microsecond=0) == last.replace(microsecond=0) else found


def reask(
    task: Task,
    order: ReaskOrder,
    store: Store,
    asking: Asking = STUDY,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Ask one generation about a changed window, unless the store has it, and read it.

    Args:
        task: has the window, its session and its prompt.
        order: what is changed.
        store: where the answer is looked up and kept.
        asking: its engine counts; sampling, thinking and schema are those of the answer that the order is like.
        labels: names that the answer's "l" are indices into; None = the session's labels in their order.

    Returns:
        One entry of a bundle's ``windows[].a``, see :mod:`llmhar.traces.bundle`.

    Raises:
        ReaskError: the order cannot be carried out, or the model gave no answer.
        PromptError, EngineError, StoreError: see there.
    """
    old = next((w for w in task.windows if (w.session_id, w.index) == (order.session_id, order.index)), None)
    if old is None:
        raise ReaskError(f"{task.data} has no window {order.index} in session {order.session_id}")
    window, session = change_window(old, order.events), task.sessions[old.session_id]
    prompt = _prompt(task, session, order)
    asked = replace(task, windows=(window,), prompts={session.home: prompt}, subset="one window, changed by hand")
    like = order.like
    sampling = like.sampling if like else Sampling()
    if order.temperature is not None:
        if not 0 <= order.temperature <= MAX_TEMPERATURE:
            raise ReaskError(f"temperature {order.temperature}: need a number from 0 to {MAX_TEMPERATURE:g}")
        sampling = replace(sampling, temperature=order.temperature)
    asking = replace(
        asking,
        sampling=sampling,
        thinking=like.template_args.get("enable_thinking") if like else None,
        constrained=bool(like and like.schema),
        purpose="reask",
        progress=False,
    )
    asks = make_asks(asked, order.model, asking)
    run_asks(asks, order.model, store, asking)
    (answer,) = collect(asks, store)
    if answer.stored is None:
        raise NoAnswerError(f"{order.model.name} gave no answer: {answer.error}")
    made = answer.stored.generation
    reading = parse_answer(made.text, len(window.events), session.labels, finish_reason=made.finish_reason)
    names = list(labels) if labels is not None else [clean(name) for name in session.labels.values()]
    packed = pack_answer(answer, reading, partial(_place, session, names))
    return packed | {"m": pack_mentions(packed["r"], window.events)}


def _place(session: Session, names: Sequence[str], number: int | None) -> int:
    name = None if number is None else clean(session.activities[number])
    return names.index(name) if name in names else -1


def _prompt(task: Task, session: Session, order: ReaskOrder) -> PromptSpec:
    """The task's prompt, or a new one with the order's wording and serializer and all else as it was."""
    old = task.prompts[session.home]
    if order.wording is None and order.serializer is None:
        return old
    build = partial(build_prompt, session, answer=task.answer)
    wording = order.wording or next(
        (
            name
            for name in PROMPTS
            for rules in (True, False)
            if build(wording=name, serializer=old.serializer, rules=rules) == old
        ),
        None,
    )
    if wording is None:
        raise ReaskError("this prompt was written by hand: choose a wording beside the serializer")
    # a wording without lists says nothing of the rules: they come with the default
    rules = bool(old.rules) or not old.labels
    return build(wording=wording, serializer=order.serializer or old.serializer, rules=rules)


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

    def __call__(self, order: ViewOrder) -> dict[str, Any]:
        """One answer, see :func:`reask`."""
        of_model = [result for result, column in zip(self._results, self._columns) if column == order.model]
        if not of_model:
            raise ReaskError(f"there is no model {order.model} among the results")
        task = self._task(order, of_model)
        answers = [(answer, result) for result in of_model for answer in result.answers]
        here = (order.session, order.index)
        answers.sort(key=lambda one: (one[1].task is not task, one[0].ask[1:3] != here))
        model = of_model[0].model
        wanted = ReaskOrder(
            session_id=order.session,
            index=order.index,
            model=model,
            events=order.events,
            wording=order.wording,
            temperature=order.temperature,
            like=answers[0][0].ask.request if answers else None,
        )
        try:
            kept_open = replace(self._asking, open_with=lambda: _Kept(self.engine_of(model)))
            return reask(task, wanted, self._store, kept_open, labels=order.labels)
        except (NoAnswerError, EngineError):
            self.close()  # a dead child must not answer the next order
            raise

    def _task(self, order: ViewOrder, of_model: Sequence[Result]) -> Task:
        """The task with this window, the model's own if it was asked; of several cuts the one that fits best."""
        found = [
            (len(_kept(window, order.events)), any(result is own for own in of_model), -place, result.task)
            for place, result in enumerate(self._results)
            if clean(result.task.data) == order.dataset
            for window in result.task.windows
            if (clean(window.session_id), window.index) == (order.session, order.index)
        ]
        if not found:
            raise ReaskError(
                f"no window {order.index} of session {order.session} in {order.dataset} is among the results"
            )
        return max(found, key=lambda one: one[:3])[3]

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
