"""A task: which windows of which data set are asked, and how. Builds requests; asks nobody.

Everything here follows from a notebook's parameters and the raw files, so two runs with the same settings make the
same request keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmhar.ask.models import ModelSpec
from llmhar.data import registry as datasets
from llmhar.data.events import (
    Session,
    Window,
    Windowing,
    cut_windows,
    pick_sessions,
    sample_windows,
    subset_name,
    true_activity,
)
from llmhar.data.load_report import DataError, LoadReport, RowNote, Split, WrongCall
from llmhar.text.prompt import AnswerStyle, PromptForm, PromptSpec, build_prompt

S1_FORM, WHOLE = PromptForm(), Windowing()
"""S1's prompt, and all windows of ten events."""


@dataclass(frozen=True)
class Task:
    """Test windows with their sessions and prompts."""

    dataset: str
    """Key into ``DATASETS``."""
    kind: str
    """"real" or "simulated", for every figure."""
    sessions: Mapping[str, Session]
    """Test sessions by id, in the data set's order."""
    train: Mapping[str, Session]
    """Training sessions by id: for teacher traces, habits and chance; never asked here."""
    windows: tuple[Window, ...]
    """Windows to ask, in order of session and time."""
    answer: AnswerStyle
    """Whether activities are answered by number or by name."""
    subset: str
    """How figures name these windows."""
    prompts: Mapping[str, PromptSpec]
    """Home -> prompt."""
    report: LoadReport
    """What the loader did to the files."""
    part: str = ""
    """Which part of the data set the loader's options chose, e.g. "home A"."""

    @property
    def data(self) -> str:
        """Data set and its kind, as tables and figures call it."""
        name = f"{self.dataset} {self.part}".strip()
        return name if self.dataset == self.kind else f"{name} ({self.kind})"

    def prompt_of(self, window: Window) -> PromptSpec:
        """The prompt for a window's home."""
        return self.prompts[self.sessions[window.session_id].home]

    def scored_events(self) -> Iterator[tuple[str, int]]:
        """(session id, event id) of every scored event that is asked about, each once."""
        for window in self.windows:
            labels = self.sessions[window.session_id].labels
            for event in (window.events[i] for i in window.counted):
                if true_activity(event.activity_ids, labels) is not None:
                    yield window.session_id, event.event_id

    @property
    def n_not_asked(self) -> int:
        """Scored events of its sessions that none of its windows counts."""
        return sum(session.n_scored for session in self.sessions.values()) - sum(1 for _ in self.scored_events())

    def reworded(self, form: PromptForm) -> Task:
        """The same windows, asked in another form."""
        return replace(self, answer=form.answer, prompts=_prompts(self.sessions.values(), form))

    def asked_of(self, model: ModelSpec) -> Task:
        """The same windows in the words that a model is asked in: those that it was taught with, else the task's."""
        return self if model.prompt is None else self.reworded(model.prompt)


def prepare(
    dataset: str,
    path: Path | None = None,
    form: PromptForm = S1_FORM,
    windowing: Windowing = WHOLE,
    options: Mapping[str, Any] | None = None,
) -> Task:
    """Load a data set, split it as S1 does, and cut its test sessions into windows.

    Test sessions with fewer than ``windowing.least_events`` scored events are left out, by name in the load report.

    Args:
        dataset: key into ``DATASETS``.
        path: its folder; None = ``LLMHAR_DATA/<dataset>``.
        form: how prompts are put.
        windowing: how sessions are cut, and how many windows of each test session are drawn.
        options: the loader's own, e.g. {"home": "A"} for uci_adl.

    Raises:
        DataError: the data are absent or broken, or no test session has enough scored events; names file and cure.
        PromptError: a wording, serializer or way to answer that there is not, or a home without a description.
    """
    loaded = datasets.load(dataset, path, options)
    split = datasets.split(dataset, loaded.sessions)
    if windowing.part == "validation":
        split = held_out(split)
    planned = pick_sessions(loaded.sessions, split.test)
    test = [session for session in planned if session.n_scored >= windowing.least_events]
    _note_thin(loaded.report, planned, windowing)
    cut = [window for session in test for window in cut_windows(session, windowing.size, scheme=windowing.scheme)]
    windows = sample_windows(cut, windowing.n, windowing.seed)
    return Task(
        dataset=dataset,
        kind=datasets.DATASETS[dataset].kind,
        sessions={session.session_id: session for session in test},
        train={session.session_id: session for session in pick_sessions(loaded.sessions, split.train)},
        windows=tuple(windows),
        answer=form.answer,
        subset=subset_name(
            windowing, len(test), short=len(windows) < (windowing.n or 0) * len(test), n_thin=len(planned) - len(test)
        ),
        prompts=_prompts(test, form),
        report=loaded.report,
        part=_part_of(options),
    )


def whole(
    dataset: str,
    path: Path | None = None,
    form: PromptForm = S1_FORM,
    options: Mapping[str, Any] | None = None,
    *,
    day: str | None = None,
) -> Task:
    """All windows of all sessions, annotated or not: what is labelled, and never scored as it is.

    Args:
        dataset: key into ``DATASETS``.
        path: its folder; None = ``LLMHAR_DATA/<dataset>``.
        form: how prompts are put.
        options: the loader's own.
        day: only the session of this id, or the sessions with an event on this date, YYYY-MM-DD.

    Raises:
        WrongCall: no session of this id or date.
        DataError: the data are absent or broken, hold no event, or name no activity to choose from.
        PromptError: a form that there is not, or a home without a description.
    """
    loaded = datasets.load(dataset, path, options)
    sessions = [session for session in loaded.sessions if session.events]
    if day is not None:
        own = [session for session in sessions if session.session_id == day]
        own = own or [s for s in sessions if any(event.time.date().isoformat() == day for event in s.events)]
        if sessions and not own:
            first, last = sessions[0].session_id, sessions[-1].session_id
            raise WrongCall(
                f"{dataset} has no session {day!r} and no event on such a day: its {len(sessions)} sessions are "
                f"{first!r} to {last!r}, days are written YYYY-MM-DD"
            )
        sessions = own
    if not sessions:
        raise DataError(f"{dataset} holds no event: `llmhar data report {dataset}` says what became of its rows")
    if not all(session.labels for session in sessions):
        file = loaded.report.path / "home.yaml"
        raise DataError(f"{dataset} names no activity, so a model has none to choose from: list them in {file}, under "
                        "`activities:`")  # fmt: skip
    return Task(
        dataset=dataset,
        kind=datasets.dataset(dataset).kind,
        sessions={session.session_id: session for session in sessions},
        train={},
        windows=tuple(window for session in sessions for window in cut_windows(session)),
        answer=form.answer,
        subset=f"all windows of {len(sessions)} sessions",
        prompts=_prompts(sessions, form),
        report=loaded.report,
        part=_part_of(options),
    )


def _part_of(options: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (options or {}).items())


def _prompts(sessions: Iterable[Session], form: PromptForm) -> dict[str, PromptSpec]:
    """One prompt a home."""
    by_home = {session.home: session for session in sessions}
    return {home: build_prompt(session, form) for home, session in by_home.items()}


def _note_thin(report: LoadReport, planned: Sequence[Session], windowing: Windowing) -> None:
    """Enter the sessions that are not asked about into the load report, so that nothing is left out in silence."""
    if not any(session.n_scored for session in report.sessions):
        name = report.dataset
        raise DataError(
            f"no event of {name} has an activity, so there is nothing to score: `llmhar label {name} --model NAME "
            "--out FILE.csv` lets a model name the activities"
        )
    least = windowing.least_events
    thin = [session for session in planned if session.n_scored < least]
    for session in thin:
        reason = f"{session.n_scored} scored events, fewer than {least}: session not asked about"
        report.set_aside.append(RowNote(session.session_id, 0, reason))
    if planned and len(thin) == len(planned):
        most = max(session.n_scored for session in planned)
        what = f"no {windowing.part} session of {report.dataset} has {least} scored events, at most {most}"
        raise DataError(f"{what}: lower least_events")


VALIDATION = 6
"""Most training sessions that are held out for choices."""


def held_out(split: Split) -> Split:
    """The split on which choices are made: the last third of the training sessions, six at most, takes the place of the
    test sessions, which nobody sees.

    Raises:
        DataError: fewer than two training sessions.
    """
    n = min(VALIDATION, len(split.train) // 3 or 1)
    if len(split.train) < 2:
        raise DataError(f"{len(split.train)} training sessions: none can be held out for validation; use part=test")
    return Split(split.train[:-n], split.train[-n:])


def training_task(task: Task, *, window_size: int, step: int | None = None, n_sessions: int | None = None) -> Task:
    """The training sessions as windows to ask a teacher about. No test session is in it.

    Args:
        task: its ``train`` sessions become the ``sessions`` of the new task; prompts are the same.
        window_size: events in a window.
        step: events from one window's start to the next's; None = ``window_size``, no overlap.
        n_sessions: only the first ones, in the data set's order (S1 Figure 4); None = all.

    Raises:
        ValueError: there are no training sessions, fewer than ``n_sessions``, or a home without a prompt.
    """
    training = some_sessions(replace(task, sessions=task.train, train={}, windows=()), n_sessions)
    strange = {session.home for session in training.sessions.values()} - set(task.prompts)
    if strange:
        raise ValueError(f"{task.data}: no prompt for the training home {', '.join(sorted(strange))}")
    windows = tuple(w for session in training.sessions.values() for w in cut_windows(session, window_size, step))
    overlap = f", a window each {step} events" if step not in (None, window_size) else ""
    subset = f"{len(windows)} windows of {len(training.sessions)} training sessions{overlap}"
    return replace(training, windows=windows, subset=subset)


def one_window(task: Task, session: int, window: int) -> Task:
    """The same task with one window only.

    Args:
        task: the whole.
        session: which test session, from 0.
        window: which window of it, from 0.

    Raises:
        ValueError: no such session or window; says how many there are.
    """
    ids = list(task.sessions)
    own = [w for w in task.windows if session in range(len(ids)) and w.session_id == ids[session]]
    if window not in range(len(own)):
        raise ValueError(
            f"no window {window} in test session {session}: {len(ids)} test sessions, {len(own)} windows in this one"
        )
    chosen = own[window]
    return narrow(task, {(chosen.session_id, chosen.index)}, f"window {chosen.index} of session {chosen.session_id}")


def narrow(task: Task, windows: Collection[tuple[str, int]], subset: str) -> Task:
    """The same task with some windows only.

    Args:
        task: the whole.
        windows: (session id, window index) of those to keep.
        subset: how figures name them.
    """
    kept = tuple(window for window in task.windows if (window.session_id, window.index) in windows)
    ids = {window.session_id for window in kept}
    sessions = {name: session for name, session in task.sessions.items() if name in ids}
    return replace(task, windows=kept, sessions=sessions, subset=subset)


def some_sessions(training: Task, n: int | None, skipped: int = 0) -> Task:
    """The windows of ``n`` training sessions, the first ones behind ``skipped`` others; None = all that are left.

    Raises:
        ValueError: there are fewer.
    """
    most = len(training.sessions)
    if n is None and not skipped and most:
        return training
    n = most - skipped if n is None else n
    if not 1 <= n <= most - skipped:
        behind = f" behind the first {skipped}" if skipped else ""
        raise ValueError(f"{training.data} has {most} training sessions, cannot take {n}{behind}")
    kept = dict(list(training.sessions.items())[skipped : skipped + n])
    windows = tuple(window for window in training.windows if window.session_id in kept)
    which = f"training sessions {skipped + 1} to {skipped + n}" if skipped else f"{n} training sessions"
    return replace(training, sessions=kept, windows=windows, subset=f"{len(windows)} windows of {which}")
