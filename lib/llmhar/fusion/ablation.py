"""What each modality is worth: all combinations, scores with clustered intervals, Shapley shares, cost. Asks nobody.

Unit of inference is the cluster (person or recording), never the clip: clips of one person share the person. Scores are
means over clips; intervals and tests move whole clusters. A prediction table is clip id -> activity, None = missing,
which is wrong.

The empty combination is part of the design: it is the answer of somebody who was told nothing. For a baseline that is
the training folds' majority (``baselines.predict`` with no modality); for a language model that was not asked without
any modality it is :func:`nothing_said`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations as subsets
from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd

from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.encoders.observation import MODALITIES, Observation
from llmhar.score.stats import (
    NAN,
    B,
    Floats,
    Interval,
    clustered_interval,
    compare_pairs,
    number_clusters,
    resampled_interval,
)

Set = frozenset[str]


class Cell(NamedTuple):
    """One answerer under one condition of the design."""

    answerer: str
    kind: str
    """Key into :data:`llmhar.score.tables.KINDS`: "llm", "rules", "baseline" …"""
    condition: Condition
    accuracy: Interval
    macro_f1: Interval
    n_missing: int
    """Clips without a valid answer; they count as wrong."""

    @property
    def modalities(self) -> Set:
        """What the answerer was told."""
        return self.condition.modalities

    @property
    def shots(self) -> int:
        """Examples per activity."""
        return self.condition.shots


def combinations(modalities: Iterable[str]) -> list[Set]:
    """All 2^m sets, the empty one first, small ones before large ones, in the order of ``MODALITIES``."""
    names = in_order(modalities)
    return [frozenset(own) for size in range(len(names) + 1) for own in subsets(names, size)]


def in_order(modalities: Iterable[str]) -> list[str]:
    """Each once, in the order of ``MODALITIES``; others after them, by name."""
    given = set(modalities)
    return [name for name in MODALITIES if name in given] + sorted(given - set(MODALITIES))


def correct(predictions: Mapping[str, str | None], observations: Sequence[Observation]) -> Floats:
    """1 where a clip was answered rightly, else 0, shape (n_clips,); a clip that is not in the table is wrong."""
    return np.array([float(predictions.get(one.clip_id) == one.label) for one in observations])


def nothing_said(observations: Sequence[Observation], labels: Sequence[str]) -> Floats:
    """Expected correctness of a fair draw among the labels, (n_clips,): 1/K each."""
    return np.full(len(observations), 1 / len(labels))


# -- scores


def macro_f1(
    predictions: Mapping[str, str | None],
    observations: Sequence[Observation],
    labels: Sequence[str],
    *,
    n_resamples: int = B,
    only: Set | None = None,
) -> Interval:
    """Macro F1 over clips, over the activities that occur in the truth (as :mod:`llmhar.score.f1` has it).

    The interval is :func:`llmhar.score.stats.resampled_interval`, over clusters.

    Args:
        predictions: clip -> activity.
        observations: the clips.
        labels: activities that may be answered.
        n_resamples: of the interval.
        only: the mean is over these activities' F1; clips of the others count as what was wrongly taken for them. None
            = all.
    """
    index = number_clusters([clip.cluster for clip in observations])
    c, place = int(index.max(initial=-1)) + 1, {label: i for i, label in enumerate(labels)}
    truth = np.array([place[clip.label] for clip in observations], dtype=np.int64)
    answer = np.array([place.get(predictions.get(clip.clip_id) or "", -1) for clip in observations], dtype=np.int64)
    hits, support, predicted = (np.zeros((c, len(labels))) for _ in range(3))
    np.add.at(hits, (index[truth == answer], truth[truth == answer]), 1)
    np.add.at(support, (index, truth), 1)
    np.add.at(predicted, (index[answer >= 0], answer[answer >= 0]), 1)
    counted = np.array([only is None or label in only for label in labels])

    def score(times: Floats) -> Floats:
        seen, below = times @ support, times @ (support + predicted)
        f1 = 2 * (times @ hits) / np.where(below > 0, below, 1)
        averaged = (seen > 0) & counted
        return np.asarray((f1 * averaged).sum(axis=1) / np.maximum(averaged.sum(axis=1), 1))

    n_clips = len(observations) if only is None else sum(clip.label in only for clip in observations)
    return resampled_interval(score, c, n_clips, n_resamples=n_resamples)


def accuracy(
    predictions: Mapping[str, str | None], observations: Sequence[Observation], *, n_resamples: int = B
) -> Interval:
    """Share of clips that were answered rightly, with an interval over clusters."""
    clusters = [clip.cluster for clip in observations]
    return clustered_interval(correct(predictions, observations), clusters, n_resamples=n_resamples)


def score_cell(
    predictions: Mapping[str, str | None],
    observations: Sequence[Observation],
    labels: Sequence[str],
    *,
    answerer: str,
    kind: str,
    condition: Condition,
    n_resamples: int = B,
) -> Cell:
    """Score one prediction table over these clips (a subset of what it answers, or all)."""
    share = accuracy(predictions, observations, n_resamples=n_resamples).within
    f1 = macro_f1(predictions, observations, labels, n_resamples=n_resamples)
    missing = sum(predictions.get(clip.clip_id) not in labels for clip in observations)
    return Cell(answerer, kind, condition, share, f1, missing)


def by_conflict(
    table_of: Callable[[Sequence[Observation]], pd.DataFrame], observations: Sequence[Observation]
) -> pd.DataFrame:
    """A table once for clips whose modalities agree and once for those that contradict each other, one below the other.

    The index gets a first level "clips"; a part without clips is left out.
    """
    parts = {
        "consistent": [one for one in observations if not one.conflict],
        "conflict": [one for one in observations if one.conflict],
    }
    return pd.concat({name: table_of(own) for name, own in parts.items() if own}, names=["clips"])


# -- Shapley


def shapley_values(value_of: Mapping[Set, Floats], players: Sequence[str]) -> dict[str, Floats]:
    """Exact Shapley value of each player, clip by clip (the value is linear in the game), from all 2^m sets.

    φ(m) = Σ over S without m of |S|! (M - |S| - 1)! / M! · (v(S ∪ m) - v(S)).

    Raises:
        ValueError: a set is missing; names the first.
    """
    wanted, n = combinations(players), len(players)
    if missing := [own for own in wanted if own not in value_of]:
        raise ValueError(f"{len(missing)} of {2**n} combinations are missing, first {sorted(missing[0])}")
    values = {name: np.zeros(len(value_of[frozenset()])) for name in players}
    for own in wanted:
        weight = factorial(len(own)) * factorial(n - len(own) - 1) / factorial(n) if len(own) < n else 0.0
        for name in set(players) - own:
            values[name] += weight * (np.asarray(value_of[own | {name}]) - value_of[own])
    return values


def shapley_shares(
    value_of: Mapping[Set, Floats], clusters: Sequence[Hashable], *, n_resamples: int = B, stand_ins: Set = frozenset()
) -> pd.DataFrame:
    """Each modality's Shapley share of v(all) - v(none), with interval over clusters (resampled jointly over all sets).

    Args:
        value_of: every combination -> correctness of each clip (:func:`correct`), clips in one order.
        clusters: of each clip.
        n_resamples: of the bootstrap.
        stand_ins: modalities that say nothing of their own. The game is played by the others; theirs is NaN.

    Returns:
        Index modality; columns share (0 … 1 of accuracy), low, high, clips, clusters, note. Shares add up to
        v(all) - v(none), of the modalities that play.

    Raises:
        ValueError: a combination of the modalities that play is missing.
    """
    names = in_order(name for own in value_of for name in own)
    shares = shapley_values(value_of, [name for name in names if name not in stand_ins])
    rows = {}
    for name in names:
        if name in stand_ins:
            rows[name] = (NAN, NAN, NAN, len(clusters), len(set(clusters)), "stand-in: left out")
            continue
        share = clustered_interval(shares[name], clusters, n_resamples=n_resamples)
        rows[name] = (share.mean, share.low, share.high, share.n_values, share.n, share.how)
    columns = ["share", "low", "high", "clips", "clusters", "note"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("modality")


# -- cost of context


class Spent(NamedTuple):
    """What one condition took, one value a clip, clips in one order; NaN where not measured."""

    tokens: Floats
    """Prompt tokens."""
    seconds: Floats
    """Of reading the prompt (or of the whole answer; the caller says which)."""
    correct: Floats


def context_cost(spent: Mapping[Set, Spent], clusters: Sequence[Hashable], *, n_resamples: int = B) -> pd.DataFrame:
    """What adding a modality costs and brings: means over all pairs (without it, with it) that were asked.

    Args:
        spent: combination -> what it took; any of the 2^m.
        clusters: of each clip.
        n_resamples: of intervals.

    Returns:
        Index modality; columns pairs, added tokens, added seconds, gain (accuracy, 0 … 1) with low, high, gain per 100
        tokens, verdict (Holm over the rows), clips, clusters. NaN: not measured.
    """
    players = in_order(name for own in spent for name in own)
    deltas = {}
    for name in players:
        pairs = [(spent[own], spent[own | {name}]) for own in spent if name not in own and own | {name} in spent]
        if pairs:
            parts = zip(*[[np.asarray(y) - x for x, y in zip(*pair)] for pair in pairs])
            deltas[name] = (len(pairs), Spent(*[np.mean(part, axis=0) for part in parts]))
    gains = {name: added.correct for name, (_, added) in deltas.items()} | {"nothing": np.zeros(len(clusters))}
    planned = [(name, "nothing") for name in deltas]
    rows = {}
    for pair in compare_pairs(gains, planned, clusters, n_resamples=n_resamples):
        n_pairs, added = deltas[pair.first]
        tokens = float(added.tokens.mean())
        rows[pair.first] = {
            "pairs": n_pairs,
            "added tokens": tokens,
            "added seconds": float(added.seconds.mean()),
            "gain": pair.gap,
            "low": pair.low,
            "high": pair.high,
            "gain per 100 tokens": 100 * pair.gap / tokens if tokens else NAN,
            "verdict": pair.verdict,
            "clips": pair.n_values,
            "clusters": pair.n,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("modality")
