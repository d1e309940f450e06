"""What confidences are worth: are sure labels right more often, how often, and which are better left blank?

Confidence is the probability of a label's tokens, which an engine kept (:mod:`llmhar.text.confidence`). An event
without a label has confidence 0, and a label whose place in its answer cannot be told has 0 too: it is the first that
is given up.

All counts are of scored events; intervals resample sessions (:mod:`llmhar.score.stats`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from llmhar.data.events import true_activity
from llmhar.records import Prediction
from llmhar.score.stats import Floats, Interval, clustered_interval, number_clusters, resampled_interval
from llmhar.score.tables import Result
from llmhar.text.confidence import label_confidences

BINS = 10
"""Bins of confidence, each with as many events as equal confidences allow."""
_BLOCK = 2**22
"""Numbers of one step of a bootstrap, 32 MB."""


class ConfidenceError(ValueError):
    """Confidences that there are not, or a threshold that cannot be had; the message says why, and what to do."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Confidence and truth of every scored event."""

    confidence: Floats
    """0 … 1, shape (n,)."""
    right: npt.NDArray[np.bool_]
    """Whether the label is the event's activity, shape (n,)."""
    sessions: tuple[tuple[str, str], ...]
    """Of each event: data set, with its part, and session."""
    stamp: str
    """Who answered about what, and what its confidence is, for figures."""

    @property
    def n_sessions(self) -> int:
        """Sessions with a scored event."""
        return len(set(self.sessions))

    @property
    def accuracy(self) -> float:
        """Share of events that are right, NaN of none."""
        return float(self.right.mean()) if len(self.right) else float("nan")


def elect(predictions: Sequence[Prediction]) -> tuple[Prediction | None, int]:
    """The first prediction with the label that most samples gave, and how many did; of a tie, the earliest one's.

    Where no sample gave a label it is the first prediction with 0 votes, and None where there is none at all.
    """
    votes = Counter(prediction.label for prediction in predictions if prediction.label is not None)
    if not votes:
        return (predictions[0] if predictions else None), 0
    (label, n) = votes.most_common(1)[0]  # of equal ones the one that was counted first
    return next(prediction for prediction in predictions if prediction.label == label), n


def by_tokens(result: Result) -> Judged:
    """Confidence = probability of the label's tokens, of one sample.

    Raises:
        ConfidenceError: no answer came with probabilities.
    """
    generations = [answer.stored.generation if answer.stored else None for answer in result.answers]
    if not any(made and made.logprobs for made in generations):
        raise ConfidenceError(
            f"no answer of {result.model.name} came with probabilities of its tokens: ask a language model with "
            "confidence=True, by an engine that tells them, or draw several samples"
        )
    labelled = []
    for window, reading, made in zip(result.task.windows, result.readings, generations):
        labels = result.task.sessions[window.session_id].labels
        sure = label_confidences(made.text, made.logprobs, reading, labels) if made else ()
        labelled.append([(p.label, c or 0.0) for p, c in zip(reading.predictions, sure or [0.0] * len(window.events))])
    return _judged(result, labelled, "probability of the label's tokens")


def _judged(result: Result, labelled: Sequence[Sequence[tuple[int | None, float]]], what: str) -> Judged:
    """Truth beside the (label, confidence) of each event of each window."""
    rows = []
    for window, pairs in zip(result.task.windows, labelled):
        labels = result.task.sessions[window.session_id].labels
        for i in window.counted:
            label, confidence = pairs[i]
            truth = true_activity(window.events[i].activity_ids, labels, label)
            if truth is not None:
                rows.append((confidence, label == truth, (result.task.data, window.session_id)))
    stamp = f"{result.model.name}, revision {result.revision}, {result.made_by}; {result.task.data}; {what}"
    return Judged(
        np.array([row[0] for row in rows], dtype=float),
        np.array([row[1] for row in rows], dtype=bool),
        tuple(row[2] for row in rows),
        stamp,
    )


def pool(parts: Sequence[Judged]) -> Judged:
    """Events of several tasks together, each with the same weight.

    Raises:
        ConfidenceError: none, or a session that stands in two parts.
    """
    sessions = [session for part in parts for session in set(part.sessions)]
    if not parts or len(set(sessions)) < len(sessions):
        raise ConfidenceError("pooled confidences need at least one part, and each session in one part only")
    return Judged(
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.right for part in parts]),
        tuple(session for part in parts for session in part.sessions),
        " + ".join(part.stamp for part in parts),
    )


def _bins(judged: Judged, n_bins: int) -> npt.NDArray[np.int64]:
    """Number of each event's bin: equal mass, and equal confidences in one bin."""
    _, place, counts = np.unique(judged.confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2  # mean rank, from 0
    number = (middle * n_bins / max(1, len(place))).astype(np.int64)
    return np.unique(number[place], return_inverse=True)[1].reshape(len(place))


def calibration_error(judged: Judged, n_bins: int = BINS) -> Interval:
    """ECE: mean distance of confidence and accuracy over bins of equal mass, weighted by their events.

    The interval resamples sessions with the bins kept. Few events make it too large, never too small: a perfectly
    calibrated model has about 0.4 / sqrt(events of a bin).
    """
    bins, clusters = _bins(judged, n_bins), number_clusters(judged.sessions)
    n, n_clusters = len(bins), judged.n_sessions
    gaps, counts = np.zeros((2, n_clusters, int(bins.max(initial=-1)) + 1))
    np.add.at(gaps, (clusters, bins), judged.confidence - judged.right)
    np.add.at(counts, (clusters, bins), 1.0)
    return resampled_interval(
        lambda times: np.abs(times @ gaps).sum(axis=1) / (times @ counts).sum(axis=1), n_clusters, n
    )


class RiskCoverage(NamedTuple):
    """What is left wrong when unsure labels are left blank."""

    thresholds: Floats
    """Every confidence that occurs, falling."""
    coverage: Floats
    """Share of events with at least this confidence."""
    risk: Floats
    """Share of these that are wrong."""
    area: Interval
    """Mean over events of the risk at their own confidence: the area under the curve. A confidence that knows nothing
    has the overall risk."""


def risk_coverage(judged: Judged) -> RiskCoverage:
    """Share of wrong labels against the share of events that get one, at every threshold."""
    values, place = np.unique(-judged.confidence, return_inverse=True)  # the surest first
    clusters, n, n_clusters = number_clusters(judged.sessions), len(judged.right), judged.n_sessions
    wrong, counts = np.zeros((2, n_clusters, len(values)))
    np.add.at(wrong, (clusters, place.reshape(n)), 1.0 - judged.right)
    np.add.at(counts, (clusters, place.reshape(n)), 1.0)

    def areas(times: Floats) -> Floats:
        block = max(1, _BLOCK // max(1, len(values)))
        return np.concatenate(
            [_area(part @ wrong, part @ counts) for part in np.split(times, range(block, len(times), block))]
        )

    kept = counts.sum(axis=0).cumsum()
    return RiskCoverage(
        -values, kept / max(1, n), wrong.sum(axis=0).cumsum() / kept, resampled_interval(areas, n_clusters, n)
    )


def _area(wrong: Floats, counts: Floats) -> Floats:
    """Area of each draw, from its wrong and all events by falling confidence."""
    kept = counts.cumsum(axis=1)
    risk = np.divide(wrong.cumsum(axis=1), kept, out=np.zeros_like(kept), where=kept > 0)
    return np.asarray((risk * counts).sum(axis=1) / kept[:, -1])


class Threshold(NamedTuple):
    """From which confidence on labels are kept, and where that was chosen."""

    value: float
    wanted: str
    """In words: "accuracy ≥ 0.9"."""
    accuracy: float
    """Of the labels that were kept where it was chosen."""
    coverage: float
    """Share of the events there that kept theirs."""
    n: int
    """Events there."""
    sessions: frozenset[tuple[str, str]]
    """Data set and session of these."""


def choose_threshold(validation: Judged, *, accuracy: float | None = None, coverage: float | None = None) -> Threshold:
    """The threshold that keeps most labels at a wanted accuracy, or is highest at a wanted coverage.

    Args:
        validation: events that nothing else is judged on.
        accuracy: least share of right ones among labels that are kept, 0 … 1.
        coverage: instead: least share of events that keep their label, 0 … 1.

    Raises:
        ConfidenceError: both or neither wanted, or no threshold reaches it.
    """
    if (accuracy is None) == (coverage is None):
        raise ConfidenceError("a threshold is chosen for a wanted accuracy or for a wanted coverage: give one of both")
    curve = risk_coverage(validation)
    some = curve.thresholds > 0  # events without a label are never kept
    if accuracy is not None:
        wanted, reached = f"accuracy ≥ {accuracy:g}", np.flatnonzero(some & (1 - curve.risk >= accuracy - 1e-12))[-1:]
        best = f"the highest accuracy is {1 - curve.risk[some].min(initial=1.0):.3f}"
    else:
        wanted, reached = (
            f"coverage ≥ {coverage:g}",
            np.flatnonzero(some & (curve.coverage >= (coverage or 0.0) - 1e-12))[:1],
        )
        best = f"the largest coverage is {curve.coverage[some].max(initial=0.0):.3f}"
    if not len(reached):
        raise ConfidenceError(f"no threshold has {wanted} on {len(validation.right)} validation events: {best}")
    i = int(reached[0])
    return Threshold(
        float(curve.thresholds[i]), wanted, float(1 - curve.risk[i]), float(curve.coverage[i]), len(validation.right),
        frozenset(validation.sessions),
    )  # fmt: skip


class Kept(NamedTuple):
    """What a threshold does to events that it was not chosen on."""

    accuracy: Interval
    """Of the labels that are kept, over sessions."""
    coverage: Interval
    """Share of events that keep theirs, over sessions."""
    n_kept: int
    n: int
    """Scored events."""
    all_labels: float
    """Accuracy where every label is kept."""


def judge_threshold(threshold: Threshold, judged: Judged) -> Kept:
    """Accuracy and coverage that a threshold gives on other sessions than those it was chosen on.

    Raises:
        ConfidenceError: one of these sessions chose it.
    """
    if shared := threshold.sessions & set(judged.sessions):
        raise ConfidenceError(f"this threshold was chosen on session {min(shared)}: judge it on others")
    kept = (judged.confidence >= threshold.value) & (judged.confidence > 0)
    own = [session for session, is_kept in zip(judged.sessions, kept) if is_kept]
    return Kept(
        clustered_interval(judged.right[kept].astype(float), own).within,
        clustered_interval(kept.astype(float), judged.sessions).within,
        int(kept.sum()),
        len(kept),
        judged.accuracy,
    )


def confidence_table(judged: Mapping[str, Judged], n_bins: int = BINS) -> pd.DataFrame:
    """One row a name: ECE and area under the risk-coverage curve with intervals over sessions, beside overall risk."""
    rows: dict[str, dict[str, Any]] = {}
    for name, own in judged.items():
        error, area = calibration_error(own, n_bins), risk_coverage(own).area
        rows[name] = {
            "ECE": error.mean, "ECE low": error.low, "ECE high": error.high,
            "area": area.mean, "area low": area.low, "area high": area.high,
            "risk of all labels": 1 - own.accuracy,
            "mean confidence": float(own.confidence.mean()) if len(own.right) else float("nan"),
            "events": len(own.right), "sessions": own.n_sessions, "made by": own.stamp,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
