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
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from llmhar.fusion.encoders.observation import MODALITIES, Observation
from llmhar.score.stats import NAN, Floats, holm, least_p, minimum_detectable_gap, sign_flip

Set = frozenset[str]
Verdict = Literal["better", "worse", "not shown"]
_WORDS: dict[str, Verdict] = {"higher": "better", "lower": "worse"}
FEW = 20
"""Clusters below which percentiles of a bootstrap are too narrow (six: 86 % instead of 95 %) and t takes over."""
B = 2000
"""Resamples of a bootstrap."""


class Clustered(NamedTuple):
    """A mean over clips with an interval over clusters."""

    mean: float
    low: float
    """Bounds are NaN with fewer than two clusters."""
    high: float
    n_clips: int
    n_clusters: int
    how: str
    """How the interval was made."""

    def __str__(self) -> str:
        bounds = f"[{self.low:.2f}, {self.high:.2f}]" if self.low == self.low else "(no interval)"
        return f"{self.mean:.2f} {bounds}" if self.mean == self.mean else "not measured"


class Cell(NamedTuple):
    """One answerer under one condition of the design."""

    answerer: str
    kind: str
    """Key into ``score.tables.KINDS``: "llm", "rules", "baseline" …"""
    modalities: Set
    shots: int
    accuracy: Clustered
    macro_f1: Clustered
    n_missing: int
    """Clips without a valid answer; they count as wrong."""


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


# -- intervals


def clustered_interval(
    values: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    *,
    how: Literal["auto", "t", "bootstrap"] = "auto",
    n_resamples: int = B,
    seed: int = 0,
    level: float = 0.95,
) -> Clustered:
    """Mean over clips, interval over clusters.

    "bootstrap": percentiles over resampled clusters. "t": Student's t with clusters - 1 degrees of freedom on the
    cluster-robust standard error of the mean; with clusters of one size that is the t interval over cluster means.
    "auto": t below :data:`FEW` clusters. Where all clips score 0, or all 1, nothing varies and both would claim
    certainty: the bound is then Clopper & Pearson's for so many clips, as Korn & Graubard (1998) have it. It takes
    clips as independent, for want of a sign of the contrary.

    Args:
        values: one a clip; NaN is left out.
        clusters: of each clip.
        how, n_resamples, seed, level: see above.

    Raises:
        ValueError: the two differ in length.
    """
    given = np.asarray(values, dtype=float)
    if len(given) != len(clusters):
        raise ValueError(f"{len(given)} values and {len(clusters)} clusters: need one of each a clip")
    kept = ~np.isnan(given)
    y, (_, index) = given[kept], _index([c for c, known in zip(clusters, kept) if known])
    n, c = len(y), int(index.max(initial=-1)) + 1
    mean = float(y.mean()) if n else NAN
    if c < 2:
        return Clustered(mean, NAN, NAN, n, c, "one cluster: no interval")
    if not np.ptp(y) and mean in (0.0, 1.0):
        least = float(((1 - level) / 2) ** (1 / n))
        return Clustered(mean, least if mean else 0.0, 1.0 if mean else 1 - least, n, c, "Clopper-Pearson, clips")
    sums, sizes = np.bincount(index, y, c), np.bincount(index, minlength=c)
    if how == "t" or (how == "auto" and c < FEW):
        spread = float((((sums - mean * sizes) ** 2).sum() * c / (c - 1)) ** 0.5 / n * c**0.5)
        half = minimum_detectable_gap(spread, c, level)
        return Clustered(mean, mean - half, mean + half, n, c, "t, clusters")
    times = _times(c, n_resamples, seed)
    low, high = np.quantile(times @ sums / (times @ sizes), [0.5 - level / 2, 0.5 + level / 2])
    return Clustered(mean, float(low), float(high), n, c, "bootstrap, clusters")


def within(made: Clustered) -> Clustered:
    """The interval of a share, cut at 0 and 1 (t knows neither)."""
    return made._replace(low=max(0.0, made.low), high=min(1.0, made.high)) if made.low == made.low else made


def _index(clusters: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """Names in order of appearance, and the number of each clip's."""
    names = list(dict.fromkeys(clusters))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[name] for name in clusters], dtype=np.int64)


def _times(n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """How often each cluster is in each resample, (n_resamples, n_clusters)."""
    draw = np.random.default_rng(seed).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_resamples)
    return np.asarray(draw, dtype=float)


def macro_f1(
    predictions: Mapping[str, str | None],
    observations: Sequence[Observation],
    labels: Sequence[str],
    *,
    n_resamples: int = B,
    seed: int = 0,
    level: float = 0.95,
) -> Clustered:
    """Macro F1 over clips, over the activities that occur in the truth (as ``scoring`` has it), bootstrap of clusters.

    Below :data:`FEW` clusters the interval is mean ± t · (standard deviation of the resamples), cut at 0 and 1.
    """
    _, index = _index([one.cluster for one in observations])
    c, place = int(index.max(initial=-1)) + 1, {label: i for i, label in enumerate(labels)}
    truth = np.array([place[one.label] for one in observations], dtype=np.int64)
    answer = np.array([place.get(predictions.get(one.clip_id) or "", -1) for one in observations], dtype=np.int64)
    hits, support, predicted = (np.zeros((c, len(labels))) for _ in range(3))
    np.add.at(hits, (index[truth == answer], truth[truth == answer]), 1)
    np.add.at(support, (index, truth), 1)
    np.add.at(predicted, (index[answer >= 0], answer[answer >= 0]), 1)

    def score(times: Floats) -> Floats:
        seen, below = times @ support, times @ (support + predicted)
        f1 = 2 * (times @ hits) / np.where(below > 0, below, 1)
        return np.asarray((f1 * (seen > 0)).sum(axis=1) / np.maximum((seen > 0).sum(axis=1), 1))

    if not c:
        return Clustered(NAN, NAN, NAN, 0, 0, "no clips")
    mean = float(score(np.ones((1, c)))[0])
    if c < 2:
        return Clustered(mean, NAN, NAN, len(observations), c, "one cluster: no interval")
    drawn = score(_times(c, n_resamples, seed))
    if c < FEW:
        half = float(special.stdtrit(c - 1, 0.5 + level / 2)) * float(drawn.std(ddof=1))
        return Clustered(mean, max(0.0, mean - half), min(1.0, mean + half), len(observations), c,
                         "t on a bootstrap, clusters")  # fmt: skip
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Clustered(mean, float(low), float(high), len(observations), c, "bootstrap, clusters")


def score_cell(
    predictions: Mapping[str, str | None],
    observations: Sequence[Observation],
    labels: Sequence[str],
    *,
    answerer: str,
    kind: str,
    modalities: Set,
    shots: int = 0,
    n_resamples: int = B,
    seed: int = 0,
) -> Cell:
    """Score one prediction table over these clips (a subset of what it answers, or all)."""
    clusters = [one.cluster for one in observations]
    right = correct(predictions, observations)
    accuracy = within(clustered_interval(right, clusters, n_resamples=n_resamples, seed=seed))
    f1 = macro_f1(predictions, observations, labels, n_resamples=n_resamples, seed=seed)
    missing = sum(predictions.get(one.clip_id) not in labels for one in observations)
    return Cell(answerer, kind, modalities, shots, accuracy, f1, missing)


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
    value_of: Mapping[Set, Floats],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = B,
    seed: int = 0,
    stand_ins: Set = frozenset(),
) -> pd.DataFrame:
    """Each modality's Shapley share of v(all) - v(none), with interval over clusters (resampled jointly over all sets).

    Args:
        value_of: every combination -> correctness of each clip (:func:`correct`), clips in one order.
        clusters: of each clip.
        n_resamples, seed: of the bootstrap.
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
        made = clustered_interval(shares[name], clusters, n_resamples=n_resamples, seed=seed)
        rows[name] = (made.mean, made.low, made.high, made.n_clips, made.n_clusters, made.how)
    columns = ["share", "low", "high", "clips", "clusters", "note"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("modality")


# -- verdicts


class Compared(NamedTuple):
    """Two answerers or conditions on the same clips; gaps are first minus second."""

    first: str
    second: str
    gap: Clustered
    p: float
    """Two-sided sign-flip over clusters: whole clusters change sides."""
    p_holm: float
    p_least: float
    """Smallest p_holm that so many clusters and pairs can reach: above 0.05, "not shown" was certain beforehand."""
    verdict: Verdict
    """Of the first against the second; "not shown" never means "equal"."""


def compare(
    pairs: Sequence[tuple[str, str]],
    correctness: Mapping[str, Floats],
    clusters: Sequence[Hashable],
    *,
    alpha: float = 0.05,
    n_resamples: int = B,
    seed: int = 0,
) -> list[Compared]:
    """Compare planned pairs on the same clips: paired differences, sign-flip over clusters, Holm over these pairs.

    Args:
        pairs: names in ``correctness``; only these are adjusted for.
        correctness: name -> value of each clip (n_clips,), clips in one order.
        clusters: of each clip.
        alpha: level of the verdict.
        n_resamples, seed: of intervals and, beyond 16 clusters, of the drawn sign patterns.
    """
    _, index = _index(clusters)
    gaps, p = [], []
    for first, second in pairs:
        difference: Floats = np.asarray(correctness[first], dtype=float) - correctness[second]
        gaps.append(clustered_interval(difference, clusters, n_resamples=n_resamples, seed=seed))
        sums = np.asarray(np.bincount(index, difference), dtype=float)
        p.append(sign_flip(sums, seed=seed).p)
    adjusted, least = holm(p), holm([least_p(gap.n_clusters) for gap in gaps])
    return [
        Compared(a, b, gap, own, q, floor, word(q, gap.mean, alpha))
        for (a, b), gap, own, q, floor in zip(pairs, gaps, p, adjusted, least)
    ]


def word(p: float, gap: float, alpha: float = 0.05) -> Verdict:
    """The word for a comparison: "better" or "worse" where p ≤ alpha, else "not shown" (NaN too)."""
    if not (p <= alpha and gap):
        return "not shown"
    return _WORDS["higher" if gap > 0 else "lower"]


# -- cost of context


class Spent(NamedTuple):
    """What one condition took, one value a clip, clips in one order; NaN where not measured."""

    tokens: Floats
    """Prompt tokens."""
    seconds: Floats
    """Of reading the prompt (or of the whole answer; the caller says which)."""
    correct: Floats


def context_cost(
    spent: Mapping[Set, Spent], clusters: Sequence[Hashable], *, n_resamples: int = B, seed: int = 0
) -> pd.DataFrame:
    """What adding a modality costs and brings: means over all pairs (without it, with it) that were asked.

    Args:
        spent: combination -> what it took; any of the 2^m.
        clusters: of each clip.
        n_resamples, seed: of intervals.

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
    gains = {name: made.correct for name, (_, made) in deltas.items()}
    none = {"nothing": np.zeros(len(clusters))}
    judged = compare([(name, "nothing") for name in gains], gains | none, clusters, n_resamples=n_resamples, seed=seed)
    rows = []
    for one in judged:
        n, made = deltas[one.first]
        tokens, seconds = float(made.tokens.mean()), float(made.seconds.mean())
        rows.append((one.first, n, tokens, seconds, one.gap.mean, one.gap.low, one.gap.high,
                     100 * one.gap.mean / tokens if tokens else NAN, one.verdict, one.gap.n_clips,
                     one.gap.n_clusters))  # fmt: skip
    columns = ["modality", "pairs", "added tokens", "added seconds", "gain", "low", "high", "gain per 100 tokens",
               "verdict", "clips", "clusters"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).set_index("modality")
