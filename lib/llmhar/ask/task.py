"""A task: which windows of which data set are asked, and how. Builds requests; asks nobody.

Everything here follows from a notebook's parameters and the raw files, so two runs with the same settings make the
same request keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmhar.data import registry as datasets
from llmhar.data.events import Session, Window, Windowing, cut_windows, pick_sessions, sample_windows, subset_name
from llmhar.data.load_report import LoadReport
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


def prepare(
    dataset: str,
    path: Path | None = None,
    form: PromptForm = S1_FORM,
    windowing: Windowing = WHOLE,
    options: Mapping[str, Any] | None = None,
) -> Task:
    """Load a data set, split it as S1 does, and cut its test sessions into windows.

    Args:
        dataset: key into ``DATASETS``.
        path: its folder; None = ``LLMHAR_DATA/<dataset>``.
        form: how prompts are put.
        windowing: how sessions are cut, and how many windows of each test session are drawn.
        options: the loader's own, e.g. {"home": "A"} for uci_adl.

    Raises:
        DataError: the data are absent or broken; names the file and the cure.
        PromptError: a wording, serializer or way to answer that there is not, or a home without a description.
    """
    loaded = datasets.load(dataset, path, options)
    split = datasets.split(dataset, loaded.sessions)
    test = pick_sessions(loaded.sessions, split.test)
    cut = [window for session in test for window in cut_windows(session, windowing.size)]
    windows = sample_windows(cut, windowing.n, windowing.seed)
    by_home = {session.home: session for session in test}
    prompts = {
        home: build_prompt(session, wording=form.wording, serializer=form.serializer, answer=form.answer,
                           rules=form.rules)
        for home, session in by_home.items()
    }  # fmt: skip
    return Task(
        dataset=dataset,
        kind=datasets.DATASETS[dataset].kind,
        sessions={session.session_id: session for session in test},
        train={session.session_id: session for session in pick_sessions(loaded.sessions, split.train)},
        windows=tuple(windows),
        answer=form.answer,
        subset=subset_name(windowing.n, windowing.seed, len(test), short=len(windows) < (windowing.n or 0) * len(test)),
        prompts=prompts,
        report=loaded.report,
        part=", ".join(f"{key} {value}" for key, value in (options or {}).items()),
    )


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
    count = len(task.train) if n_sessions is None else n_sessions
    if not 1 <= count <= len(task.train):
        raise ValueError(f"{task.data} has {len(task.train)} training sessions, cannot take {count}")
    sessions = dict(list(task.train.items())[:count])
    strange = {session.home for session in sessions.values()} - set(task.prompts)
    if strange:
        raise ValueError(f"{task.data}: no prompt for the training home {', '.join(sorted(strange))}")
    windows = tuple(w for session in sessions.values() for w in cut_windows(session, window_size, step))
    overlap = f", a window each {step} events" if step not in (None, window_size) else ""
    subset = f"{len(windows)} windows of {count} training sessions{overlap}"
    return replace(task, sessions=sessions, train={}, windows=windows, subset=subset)


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
    if n is None and not skipped:
        return training
    most = len(training.sessions)
    n = most - skipped if n is None else n
    if not 1 <= n <= most - skipped:
        behind = f" behind the first {skipped}" if skipped else ""
        raise ValueError(f"{training.data} has {most} training sessions, cannot take {n}{behind}")
    kept = dict(list(training.sessions.items())[skipped : skipped + n])
    windows = tuple(window for window in training.windows if window.session_id in kept)
    which = f"training sessions {skipped + 1} to {skipped + n}" if skipped else f"{n} training sessions"
    return replace(training, sessions=kept, windows=windows, subset=f"{len(windows)} windows of {which}")
