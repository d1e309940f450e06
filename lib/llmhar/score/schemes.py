"""What a window does: the same sessions asked in windows that are cut otherwise. Asks nobody, draws no figure.

Events of pure windows (one activity) and of mixed ones are told apart: in a pure window the neighbours are evidence, in
a mixed one they mislead. Which windows an event is in depends on the scheme, and so does what it is counted among.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from llmhar.data.events import Session, Window
from llmhar.score.f1 import SessionScore, score_events
from llmhar.score.stats import t_interval
from llmhar.score.tables import Result

Results = Mapping[str, Sequence[Result]]
"""Key into ``SCHEMES`` -> results of models on tasks that were cut so; the first scheme is what others are held
against."""
PURITIES: Mapping[str, bool | None] = {"all": None, "pure windows": True, "mixed windows": False}
"""Events that are shown apart, and whether their windows are pure."""
Events = set[tuple[str, int]]
"""(session id, event id)."""


def is_pure(window: Window, session: Session) -> bool | None:
    """Whether the scored events of a window share one activity; None where it has no scored event.

    Events that nobody annotated, or whose activity is not scored, do not count; those that are only shown do.
    """
    labels = session.labels
    own = [set(event.activity_ids) & labels.keys() for event in window.events]
    scored = [activities for activities in own if activities]
    return bool(set.intersection(*scored)) if scored else None


def scheme_table(results: Results, *, common: bool = True, by_first: bool = False) -> pd.DataFrame:
    """Macro F1 of each scheme and model over all its events, those of pure and those of mixed windows.

    Sessions without such an event are left out of a mean, so n of sessions may differ.

    Args:
        results: by scheme.
        common: only events that every scheme asked about, so that schemes differ by their windows alone.
        by_first: pure and mixed are the windows of the first scheme, whatever window an event was asked in: then each
            row holds the same events in every scheme. Events that the first did not ask about are in "all" alone.
    """
    shared, rows = _shared(results), []
    first = {result.task.data: result for result in next(iter(results.values()), ())}
    for scheme, of_scheme in results.items():
        for result in of_scheme:
            task = result.task
            for name, purity in PURITIES.items():
                parted = first[task.data] if by_first and purity is not None else result
                chosen = _events(parted, purity) & shared[task.data] if common else _events(parted, purity)
                scores = _scores(result, chosen)
                f1 = t_interval([score.macro_f1 for score in scores if score.n_events]).within
                about = {"data": task.data, "model": result.model.name, "windows": scheme, "events of": name}
                scored = {"macro F1": f1.mean, "95 % low": f1.low, "95 % high": f1.high, "n sessions": f1.n}
                counts = {"n events": sum(score.n_events for score in scores), "windows asked": len(task.windows)}
                rows.append(about | scored | counts | {"events not asked": task.n_not_asked})
    return pd.DataFrame(rows).set_index(["data", "model", "windows", "events of"])


def _shared(results: Results) -> dict[str, Events]:
    """Data -> scored events that all schemes asked about."""
    found: dict[str, Events] = {}
    for result in (result for of_scheme in results.values() for result in of_scheme):
        asked = set(result.task.scored_events())
        found[result.task.data] = found.get(result.task.data, asked) & asked
    return found


def _events(result: Result, purity: bool | None) -> Events:
    """Scored events that count in pure (True), mixed (False) or all (None) windows."""
    task = result.task
    windows = [w for w in task.windows if purity in (None, is_pure(w, task.sessions[w.session_id]))]
    return set(replace(task, windows=tuple(windows)).scored_events())


def _scores(result: Result, events: Events) -> list[SessionScore]:
    """Scores of each session over some of its events."""
    task = result.task
    truth: dict[str, list[tuple[int, ...]]] = {name: [] for name in task.sessions}
    guess: dict[str, list[int | None]] = {name: [] for name in task.sessions}
    for window, reading in zip(task.windows, result.readings):
        name = window.session_id
        for i in window.counted:
            if (name, window.events[i].event_id) in events:
                truth[name].append(window.events[i].activity_ids)
                guess[name].append(reading.predictions[i].label)
    return [score_events(name, truth[name], guess[name], own.labels) for name, own in task.sessions.items()]
