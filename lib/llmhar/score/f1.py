"""From predictions and truth to scores per session and their mean. Reads no answers and no files.

S1 §4.3.1: the F1 score is computed over all event predictions of a session and averaged over the test sessions. The
paper does not say macro or weighted: both are given, **macro is primary**. A missing prediction is wrong (it costs
recall) but is no class of its own: that alone would move macro F1 by 12 points in a ten-event example.

Macro F1 averages over the activities of the label set that occur in the session's truth, so a perfect answer scores 1
and the denominator is the same for every model. Both equal scikit-learn's ``f1_score(truth, predicted,
labels=<those activities>, zero_division=0)``. Beside it stands macro F1 over the union of labels, those that occur in
truth or predictions: there an activity that was only imagined counts as a class with F1 0.

An event that several residents cause together may have several activities. It is right if the answer is one of them
(:func:`llmhar.data.events.true_activity`); beside macro F1 stands the strict variant, by the first activity alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llmhar.data.events import true_activity


class ScoreError(ValueError):
    """Truth and predictions that do not fit together; the message says where."""


@dataclass(frozen=True, slots=True)
class SessionScore:
    """Scores of one session under one model."""

    session: str
    n_events: int
    """Scored events: those whose true activity is in the label set."""
    macro_f1: float
    """0 … 1; NaN where no event is scored."""
    weighted_f1: float
    accuracy: float
    missed_pct: float
    """Scored events without a valid prediction, in percent (S1 Table 4)."""
    union_f1: float
    """Macro F1 over the activities that occur in truth or predictions."""
    n_joint: int = 0
    """Scored events with several scored activities."""
    strict_macro_f1: float | None = None
    """Macro F1 where a joint event is right by its first activity alone; None = the session has no joint event."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; NaN becomes None. Fields of joint events are there where the session has some."""
        hidden = () if self.n_joint else ("n_joint", "strict_macro_f1")
        return {k: None if value != value else value for k, value in asdict(self).items() if k not in hidden}

    @property
    def strict(self) -> float:
        """Macro F1 by first activities, which is macro F1 itself where no event is joint."""
        return self.macro_f1 if self.strict_macro_f1 is None else self.strict_macro_f1


class F1(NamedTuple):
    """F1 over one set of events."""

    macro: float
    weighted: float
    union: float
    """Macro, over the activities that occur in truth or predictions."""


def f1_from_counts(hits: npt.NDArray[np.int64], support: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> F1:
    """F1 from counts per activity.

    Args:
        hits: events of each activity that were predicted as it, shape (n_labels,).
        support: events of each activity in the truth, shape (n_labels,).
        predicted: events predicted as each activity, shape (n_labels,).
    """
    present = support > 0
    if not present.any():
        return F1(float("nan"), float("nan"), float("nan"))
    f1 = 2.0 * hits[present] / (support[present] + predicted[present])
    union = float(f1.sum()) / np.count_nonzero(present | (predicted > 0))
    return F1(float(f1.mean()), float(np.average(f1, weights=support[present])), union)


def score_session(
    session: str, truth: Sequence[int | None], predicted: Sequence[int | None], labels: Collection[int]
) -> SessionScore:
    """Score one session.

    Args:
        session: its id.
        truth: activity number per event; events with None or a number outside ``labels`` are left out.
        predicted: activity number per event in the same order, None where there is none.
        labels: the data set's label set.

    Raises:
        ScoreError: truth and predictions differ in length.
    """
    if len(truth) != len(predicted):
        raise ScoreError(f"session {session}: {len(truth)} true events but {len(predicted)} predictions")
    place = {label: i for i, label in enumerate(sorted(labels))}
    k = len(place)
    true = np.array([place.get(t, -1) if t is not None else -1 for t in truth], dtype=np.int64)
    guess = np.array([place.get(p, k) if p is not None else k for p in predicted], dtype=np.int64)
    scored = true >= 0
    true, guess = true[scored], guess[scored]
    hit = true == guess
    f1 = f1_from_counts(
        np.bincount(true[hit], minlength=k), np.bincount(true, minlength=k), np.bincount(guess, minlength=k + 1)[:k]
    )
    n = len(true)
    share = (lambda mask: float(mask.mean())) if n else (lambda mask: float("nan"))
    return SessionScore(session, n, f1.macro, f1.weighted, share(hit), 100.0 * share(guess == k), f1.union)


def score_events(
    session: str, activities: Sequence[Sequence[int]], predicted: Sequence[int | None], labels: Collection[int]
) -> SessionScore:
    """Score one session whose events may have several activities each.

    Args:
        session: its id.
        activities: all activity numbers of each event, in the file's order; none where nothing was annotated.
        predicted: activity number per event in the same order, None where there is none.
        labels: the data set's label set; events without an activity in it are left out.

    Raises:
        ScoreError: truth and predictions differ in length.
    """
    if len(activities) != len(predicted):
        raise ScoreError(f"session {session}: {len(activities)} true events but {len(predicted)} predictions")
    labels = frozenset(labels)
    truth = [true_activity(own, labels, guess) for own, guess in zip(activities, predicted)]
    score = score_session(session, truth, predicted, labels)
    n_joint = sum(len(own) > 1 and len(labels.intersection(own)) > 1 for own in activities)
    if not n_joint:
        return score
    strict = score_session(session, [true_activity(own, labels) for own in activities], predicted, labels)
    return replace(score, n_joint=n_joint, strict_macro_f1=strict.macro_f1)


class Overall(NamedTuple):
    """Means over sessions (S1 §4.3.1); sessions without a scored event are left out."""

    macro_f1: float
    weighted_f1: float
    union_f1: float
    missed_pct: float
    missed_sd: float
    """Standard deviation over sessions (n-1), as S1 Table 4; NaN for one session."""
    n_sessions: int
    n_events: int
    strict_macro_f1: float = float("nan")
    """Macro F1 where joint events are right by their first activity alone; where there are none, macro F1 itself."""
    accuracy: float = float("nan")


def average(scores: Iterable[SessionScore]) -> Overall:
    """Mean over the sessions that hold at least one scored event."""
    kept = [score for score in scores if score.n_events]
    if not kept:
        nan = float("nan")
        return Overall(nan, nan, nan, nan, nan, 0, 0)
    missed = np.array([score.missed_pct for score in kept])
    return Overall(
        macro_f1=float(np.mean([score.macro_f1 for score in kept])),
        weighted_f1=float(np.mean([score.weighted_f1 for score in kept])),
        union_f1=float(np.mean([score.union_f1 for score in kept])),
        missed_pct=float(missed.mean()),
        missed_sd=float(missed.std(ddof=1)) if len(kept) > 1 else float("nan"),
        n_sessions=len(kept),
        n_events=sum(score.n_events for score in kept),
        strict_macro_f1=float(np.mean([score.strict for score in kept])),
        accuracy=float(np.mean([score.accuracy for score in kept])),
    )


Row = Mapping[str, Any]


def score_rows(
    truth: Sequence[Row | None],
    predicted: Sequence[Row | None],
    labels: Collection[Any] | None = None,
    places: tuple[str, str] = ("truth, line", "predictions, line"),
) -> dict[str, Any]:
    """Score rows of {"session", "id", "activity"}: the form of ``llmhar score``.

    Args:
        truth: one row per event, None = a blank line; activity None = not annotated, left out. A joint event may have
            "activities" as well, all its [resident, activity] pairs.
        predicted: rows in any order; an absent row or activity None is a missing prediction.
        labels: activities that are scored; default: all that occur. One that occurs in the predictions alone adds no
            class to F1, but it was predicted: it is wrong, not missed.
        places: how an error names a place in truth and in predictions, the number from 1 of a row follows.

    Returns:
        {"macro_f1", "weighted_f1", "union_f1", "missed_pct", "missed_sd", "n_sessions", "n_events", "strict_macro_f1",
        "n_joint", "n_unpredicted", "not_in_truth", "per_session": [...]}; "n_unpredicted" counts scored sessions
        without any row in the predictions, "not_in_truth" predictions of activities that no event truly is, by
        activity.

    Raises:
        ScoreError: an event twice in one file, or a prediction for an event that the truth does not have.
    """
    true = {event: _activities(row) for event, row in _by_event(truth, places[0], with_pairs=True).items()}
    guess = {event: row["activity"] for event, row in _by_event(predicted, places[1]).items()}
    strangers = [event for event in guess if event not in true]
    if strangers:
        raise ScoreError(
            f"{len(strangers)} predictions for events that the truth does not have, "
            f"first: session {strangers[0][0]!r}, id {strangers[0][1]!r}; check session names and ids"
        )
    real = {name for own in true.values() for name in own}
    names = set(labels) if labels is not None else real | {a for a in guess.values() if a is not None}
    number = {name: i for i, name in enumerate(sorted(names, key=lambda name: (str(type(name)), str(name))))}
    sessions: dict[Any, list[tuple[list[int], int | None]]] = {}
    for event, own in true.items():
        scored = [number[name] for name in own if name in number]
        sessions.setdefault(event[0], []).append((scored, number.get(guess.get(event))))
    scores = [
        score_events(str(session), [own for own, _ in pairs], [p for _, p in pairs], number.values())
        for session, pairs in sessions.items()
    ]
    answered = {str(session) for session, _ in guess}
    overall = average(scores)._asdict()
    strange = Counter(str(name) for name in guess.values() if name is not None and name not in real)
    return {
        **{key: None if value != value else value for key, value in overall.items()},
        "n_joint": sum(score.n_joint for score in scores),
        "n_unpredicted": sum(bool(score.n_events) and score.session not in answered for score in scores),
        "not_in_truth": dict(sorted(strange.items())),
        "per_session": [score.to_json() for score in scores],
    }


def _activities(row: Row) -> tuple[Any, ...]:
    """All activities of a row of the truth, each once, in the row's order."""
    pairs = [activity for _, activity in row.get("activities") or ()]
    return tuple(dict.fromkeys(name for name in pairs or [row["activity"]] if name is not None))


def _by_event(rows: Sequence[Row | None], place: str, *, with_pairs: bool = False) -> dict[tuple[Any, Any], Row]:
    events: dict[tuple[Any, Any], Row] = {}
    for line, row in enumerate(rows, start=1):
        if row is None:
            continue
        try:
            event = (row["session"], row["id"])
            hash((event, row["activity"], _activities(row) if with_pairs else ()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            need = 'need {"session", "id", "activity"}'
            wanted = f'{need}, and "activities" as [resident, activity] pairs' if _has_all(row) else need
            raise ScoreError(f"{place} {line}: {wanted}, got {row!r:.80}") from error
        if event in events:
            raise ScoreError(f"{place} {line}: session {event[0]!r}, id {event[1]!r} stands there twice")
        events[event] = row
    return events


def _has_all(row: Any) -> bool:
    return isinstance(row, dict) and {"session", "id", "activities"} <= row.keys()
