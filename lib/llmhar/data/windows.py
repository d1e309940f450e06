"""Cuts sessions into windows and draws the named subsets of the demo. Knows no prompt and no model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmhar.data.events import Session, Window

WINDOW_SIZE = 10
"""Events in a window (S1 §4.3.1)."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """How sessions are cut into windows, and which of them are asked about."""

    size: int = WINDOW_SIZE
    """Events in a window."""
    n: int | None = None
    """Windows drawn from each test session; None = all. Training windows are never a sample."""
    seed: int = 0
    """Of that draw."""
    step: int | None = None
    """Events from one training window's start to the next's; None = ``size``, no overlap, as S1 does."""


def cut_windows(session: Session, size: int = WINDOW_SIZE, step: int | None = None) -> list[Window]:
    """Cut a session into consecutive windows; the last may be short (S1 §3.1.2).

    Args:
        session: gives the events.
        size: events in a window.
        step: events from one window's start to the next's; None = ``size``, no overlap, as S1 does. Smaller steps
            show each event in several contexts: more to learn from, for training sessions only.

    Raises:
        ValueError: size or step below 1.
    """
    step = size if step is None else step
    if size < 1 or step < 1:
        raise ValueError(f"window size and step must be at least 1, got {size} and {step}")
    events = session.events
    return [
        Window(session.session_id, index, events[start : start + size])
        for index, start in enumerate(range(0, len(events), step))
    ]


def sample_windows(windows: Sequence[Window], n: int | None, seed: int = 0) -> list[Window]:
    """Draw ``n`` windows of each session, in time order; None keeps all.

    The draw of a session depends on the seed and its id alone: adding a session or changing their order changes
    nothing elsewhere, and a smaller ``n`` is a subset of a larger one.
    """
    if n is None:
        return list(windows)
    by_session: dict[str, list[Window]] = {}
    for window in windows:
        by_session.setdefault(window.session_id, []).append(window)
    drawn: list[Window] = []
    for session_id, own in by_session.items():
        order = own.copy()
        random.Random(f"{seed}:{session_id}").shuffle(order)
        drawn += sorted(order[: max(n, 0)], key=lambda window: window.index)
    return drawn


def subset_name(n: int | None, seed: int, n_sessions: int, *, short: bool = False) -> str:
    """How a figure names the windows it was made from; ``short``: a session has fewer than ``n``."""
    if n is None:
        return f"all windows of {n_sessions} test sessions"
    return f"{'up to ' if short else ''}{n} windows from each of {n_sessions} test sessions (seed {seed})"


def pick_sessions(sessions: Iterable[Session], ids: Iterable[str]) -> list[Session]:
    """The sessions with these ids, in the order of ``ids``.

    Raises:
        KeyError: an id that no session has.
    """
    by_id = {session.session_id: session for session in sessions}
    return [by_id[session_id] for session_id in ids]
