"""How errors of the encoders become errors of the fusion: S2's next check. Asks nobody; the caller brings LLM answers.

A modality's guesses are replaced by draws from a confusion matrix of a set accuracy (the *dose*). In this experiment
every modality speaks the language of the activities: a guess is an activity, right with probability a. Draws depend on
seed, clip, modality and step alone, and a higher dose keeps every right guess of a lower one: curves are paired, and
smooth for what is not the answerer's doing.

With one accuracy for all modalities and evenly spread errors, Bayes with the known confusion *is* the vote (above
chance). They part where modalities differ in accuracy: hence doses of one modality with the others held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from llmhar.fusion.ablation import accuracy as accuracy_of
from llmhar.fusion.ablation import correct
from llmhar.fusion.encoders.observation import Guess, Observation
from llmhar.score.stats import B, Floats, compare_pairs, number_clusters, widened_weights

LEVELS = (0.10, 0.25, 0.50, 0.75, 0.90, 1.00)
"""Doses: accuracies that a modality is set to."""
STEPWISE = ("captions", "labels", "motion")
"""Modalities that speak step by step; context has no steps to draw for."""
TINY = 1e-12
"""Stands for a probability of zero, so that one impossible guess does not silence the rest."""


class Dose(NamedTuple):
    """One condition of the experiment."""

    varied: str
    """The modality whose accuracy is varied, or "all"."""
    accuracy: float
    """What it is set to."""
    accuracies: tuple[tuple[str, float], ...]
    """(modality, accuracy) of every modality that speaks."""


SPEAKING = ("labels", "motion")
"""Modalities of notebook 05b's experiment."""
HELD = 0.5
"""Accuracy of the modalities that are not varied."""


def plan_doses(
    modalities: Sequence[str] = SPEAKING, levels: Sequence[float] = LEVELS, others: float = HELD, *, alone: bool = True
) -> list[Dose]:
    """All modalities together at each level, then (``alone``) each alone with the others held at ``others``."""
    together = [Dose("all", level, tuple((name, level) for name in modalities)) for level in levels]
    if not alone or len(modalities) < 2:
        return together
    return together + [
        Dose(varied, level, tuple((name, level if name == varied else others) for name in modalities))
        for varied in modalities
        for level in levels
    ]


def confusion_matrix(labels: Sequence[str], accuracy: float, weights: Floats | None = None) -> Floats:
    """P(guess | activity), rows activities, columns guesses, (K, K): ``accuracy`` on the diagonal.

    Args:
        labels: K activities.
        accuracy: 0 … 1.
        weights: how errors spread, (K, K), the diagonal is not read; None: evenly. A row of zeros: evenly.

    Raises:
        ValueError: an accuracy outside 0 … 1, fewer than two labels, or negative weights.
    """
    k = len(labels)
    if not 0 <= accuracy <= 1 or k < 2:
        raise ValueError(f"an accuracy of {accuracy} over {k} labels: need 0 … 1 and at least two labels")
    spread = np.ones((k, k)) if weights is None else np.array(weights, dtype=float)
    if spread.shape != (k, k) or (spread < 0).any():
        raise ValueError(f"weights of errors: need ({k}, {k}) and nothing below zero")
    np.fill_diagonal(spread, 0.0)
    spread[spread.sum(axis=1) == 0] = 1.0
    np.fill_diagonal(spread, 0.0)
    matrix = (1 - accuracy) * spread / spread.sum(axis=1, keepdims=True)
    np.fill_diagonal(matrix, accuracy)
    return matrix


def corrupt(
    observations: Sequence[Observation],
    modality: str,
    accuracy: float,
    labels: Sequence[str],
    seed: int = 0,
    weights: Floats | None = None,
) -> list[Observation]:
    """The clips with this modality's guesses drawn anew, wherever it said something.

    Each step's guesses become one: the true activity with probability ``accuracy``, else another by ``weights``. Its
    share is ``accuracy``, so shares are calibrated (a caption's stays 1, as captions have none). The modality's
    embedding goes: it would tell what the draw hides.

    Raises:
        ValueError: a modality without steps, a clip whose truth is not in ``labels``, an accuracy outside 0 … 1, or
            negative weights.
    """
    if modality not in STEPWISE:
        raise ValueError(f"{modality} does not speak step by step; draw for one of {', '.join(STEPWISE)}")
    matrix = confusion_matrix(labels, accuracy, weights)
    place = {label: i for i, label in enumerate(labels)}
    if unknown := {one.label for one in observations} - set(place):
        raise ValueError(f"clips of {sorted(unknown)}, which is no label of this experiment: {list(labels)}")
    share = 1.0 if modality == "captions" else accuracy

    def draw(clip: Observation, i: int) -> Guess:
        truth, (first, second) = place[clip.label], _uniform(f"{seed} {modality} {i} {clip.clip_id}")
        row, others = matrix[truth], np.delete(np.arange(len(labels)), truth)
        ladder = np.cumsum(row[others]) / max(float(row[others].sum()), TINY)
        wrong = int(others[min(int(np.searchsorted(ladder, second, side="right")), len(others) - 1)])
        return Guess(labels[truth if first < row[truth] else wrong], share)

    return [_redrawn(clip, modality, draw) for clip in observations]


def _redrawn(clip: Observation, modality: str, draw: Callable[[Observation, int], Guess]) -> Observation:
    """The clip with one guess, ``draw(clip, step)``, at each step where the modality said something."""
    steps = []
    for i, step in enumerate(clip.steps):
        guess: dict[str, Any] = {modality: (draw(clip, i),)} if getattr(step, modality) else {}
        steps.append(step._replace(**guess))
    embeddings = {name: vector for name, vector in clip.embeddings.items() if name != modality}
    return replace(clip, steps=tuple(steps), embeddings=embeddings)


def _uniform(name: str) -> tuple[float, float]:
    """Two draws from [0, 1) that belong to this name: no generator, so no order matters."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48, int.from_bytes(digest[6:12], "big") / 2**48


def corrupt_all(
    observations: Sequence[Observation],
    dose: Dose,
    labels: Sequence[str],
    seed: int = 0,
    weights: Mapping[str, Floats] | None = None,
) -> list[Observation]:
    """Every modality of a dose drawn at its accuracy; modalities that the dose does not name are silenced."""
    speaking = dict(dose.accuracies)
    silent: dict[str, Any] = {name: () for name in STEPWISE if name not in speaking}
    clips = []
    for clip in observations:
        steps = tuple(step._replace(**silent) for step in clip.steps)
        clips.append(replace(clip, steps=steps, context={}, embeddings={}))
    for name, accuracy in speaking.items():
        clips = corrupt(clips, name, accuracy, labels, seed, (weights or {}).get(name))
    return clips


# -- fusing guesses that are activities


def vote(observations: Sequence[Observation], labels: Sequence[str], seed: int = 0) -> dict[str, str | None]:
    """Most frequent guess over steps and modalities; ties are drawn. Nothing learnt: guesses are activities."""
    unit = np.ones((len(labels), len(labels)))
    np.fill_diagonal(unit, np.e)  # a guess adds 1 to its own activity
    return _decide(observations, labels, dict.fromkeys(STEPWISE, unit), seed)


def bayes(
    observations: Sequence[Observation], labels: Sequence[str], confusions: Mapping[str, Floats], seed: int = 0
) -> dict[str, str | None]:
    """The activity under which these guesses are likeliest, confusions known, steps independent, priors equal.

    Args:
        observations: clips whose guesses are activities.
        labels: activities, in the order of the matrices.
        confusions: modality -> :func:`confusion_matrix` that its guesses were drawn from.
        seed: of ties.
    """
    return _decide(observations, labels, confusions, seed)


def _decide(
    observations: Sequence[Observation], labels: Sequence[str], matrices: Mapping[str, Floats], seed: int
) -> dict[str, str | None]:
    place = {label: i for i, label in enumerate(labels)}
    logs = {name: np.log(np.maximum(matrix, TINY)) for name, matrix in matrices.items()}
    answers: dict[str, str | None] = {}
    for one in observations:
        score = np.zeros(len(labels))
        for name, table in logs.items():
            for step in one.steps:
                if own := getattr(step, name):
                    score += table[:, place[own[0].name]]
        best = np.flatnonzero(score >= score.max() - 1e-9)
        answers[one.clip_id] = labels[int(best[int(_uniform(f"{seed} tie {one.clip_id}")[0] * len(best))])]
    return answers


# -- dose and response

Answers = Mapping[tuple[str, Dose], Mapping[str, str | None]]
"""(answerer, dose) -> prediction table over the corrupted clips."""


def respond(
    observations: Sequence[Observation],
    planned: Sequence[Dose],
    labels: Sequence[str],
    *,
    seed: int = 0,
    weights: Mapping[str, Floats] | None = None,
) -> dict[tuple[str, Dose], dict[str, str | None]]:
    """What vote and Bayes (confusions known) answer at each dose, ready to be joined by an LLM's answers."""
    answers: dict[tuple[str, Dose], dict[str, str | None]] = {}
    for dose in planned:
        drawn = corrupt_all(observations, dose, labels, seed, weights)
        confusions = {name: confusion_matrix(labels, a, (weights or {}).get(name)) for name, a in dose.accuracies}
        answers["vote", dose] = vote(drawn, labels, seed)
        answers["bayes", dose] = bayes(drawn, labels, confusions, seed)
    return answers


def dose_response(
    answers: Answers, observations: Sequence[Observation], kinds: Mapping[str, str], *, n_resamples: int = B
) -> pd.DataFrame:
    """Accuracy against dose: columns varied, dose, answerer, kind, accuracy, low, high, clips, clusters.

    Args:
        answers: what each answerer said at each dose; an LLM may have answered some doses only.
        observations: the clips that were asked (a named subset of them makes its own table).
        kinds: answerer -> kind; "vote" and "bayes" are baselines.
        n_resamples: of intervals.
    """
    rows = []
    for (name, dose), predicted in answers.items():
        share = accuracy_of(predicted, observations, n_resamples=n_resamples).within
        rows.append(
            {
                "varied": dose.varied,
                "dose": dose.accuracy,
                "answerer": name,
                "kind": kinds.get(name, "baseline"),
                "accuracy": share.mean,
                "low": share.low,
                "high": share.high,
                "clips": share.n_values,
                "clusters": share.n,
            }
        )
    return pd.DataFrame(rows)


def dose_verdicts(
    answers: Answers, observations: Sequence[Observation], first: str, second: str = "vote", *, n_resamples: int = B
) -> pd.DataFrame:
    """Does the first (an LLM) beat the second (the vote), and when? One row a dose that both answered.

    Paired differences on the same corrupted clips, sign-flip over clusters, Holm over the rows.

    Args:
        answers: what each answerer said at each dose.
        observations: the clips that were asked.
        first: the answerer whose verdict it is.
        second: whom it is compared with.
        n_resamples: of intervals.

    Returns:
        Index varied, dose; columns first, second (accuracies), gap, low, high, p_holm, p_least, verdict, clips,
        clusters.
    """
    both = [dose for name, dose in answers if name == first and (second, dose) in answers]
    clusters = [clip.cluster for clip in observations]
    right = {
        f"{name} {i}": correct(answers[name, dose], observations)
        for i, dose in enumerate(both)
        for name in (first, second)
    }
    planned = [(f"{first} {i}", f"{second} {i}") for i in range(len(both))]
    rows = [
        {
            "varied": dose.varied,
            "dose": dose.accuracy,
            first: float(right[pair.first].mean()),
            second: float(right[pair.second].mean()),
            **{name: getattr(pair, name) for name in ("gap", "low", "high", "p_holm", "p_least", "verdict")},
            "clips": pair.n_values,
            "clusters": pair.n,
        }
        for dose, pair in zip(both, compare_pairs(right, planned, clusters, n_resamples=n_resamples))
    ]
    return pd.DataFrame(rows).set_index(["varied", "dose"])


class Crossing(NamedTuple):
    """Where two answerers' curves cross first, all modalities varied together."""

    at: float
    """Accuracy of a guess; NaN where one of them is ahead all the way."""
    low: float
    high: float
    """95 % percentiles over resampled clusters, of those resamples in which they cross."""
    share: float
    """Of the resamples in which they cross."""
    ahead: str
    """Who is ahead at the lowest dose that tells them apart; empty where none does."""


def crossing(
    answers: Answers, observations: Sequence[Observation], first: str, second: str = "vote", *, n_resamples: int = B
) -> Crossing:
    """The accuracy of guesses at which one answerer overtakes the other, interpolated between doses.

    Args:
        answers: what each answerer said at each dose.
        observations: the clips that were asked.
        first: one answerer.
        second: the other.
        n_resamples: of the interval, over clusters.
    """
    both = sorted(
        (dose for name, dose in answers if name == first and dose.varied == "all" and (second, dose) in answers),
        key=lambda dose: dose.accuracy,
    )
    index = number_clusters([clip.cluster for clip in observations])
    gaps = np.array(
        [correct(answers[first, d], observations) - correct(answers[second, d], observations) for d in both]
    )
    n = int(index.max()) + 1
    sums = np.zeros((n, len(both)))
    np.add.at(sums, index, gaps.T)
    sizes, levels = np.bincount(index, minlength=n), np.array([dose.accuracy for dose in both])
    weights = np.concatenate([np.ones((1, n)), widened_weights(n, n_resamples)])
    found = _crossings(weights @ sums / (weights @ sizes)[:, None], levels)
    drawn = found[1:][np.isfinite(found[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    told = [gap for gap in gaps.mean(axis=1) if gap]
    ahead = "" if not told else first if told[0] > 0 else second
    return Crossing(float(found[0]), float(low), float(high), len(drawn) / n_resamples, ahead)


def _crossings(gaps: Floats, levels: Floats) -> Floats:
    """Level at which each row's gap first changes sign, (n_rows,); NaN: never. Gaps of 0 have the sign before them."""
    found = np.full(len(gaps), np.nan)
    last, at = gaps[:, 0].copy(), np.full(len(gaps), levels[0])
    for column, level in zip(gaps.T[1:], levels[1:]):
        crosses = (last * column < 0) & np.isnan(found)
        steps = np.abs(last) / np.where(crosses, np.abs(last) + np.abs(column), 1)
        found = np.where(crosses, at + steps * (level - at), found)
        told = column != 0
        last, at = np.where(told, column, last), np.where(told, level, at)
    return found
