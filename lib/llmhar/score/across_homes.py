"""Scores across several homes: the mean over homes, its interval, and paired tests. Asks nobody.

Each home weighs the same, however many sessions it has; the unit of inference is the session within its home. What is
said so is about further sessions of these very homes: four homes cannot speak for all homes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from llmhar.score.stats import NAN, Floats, Interval, sign_flip
from llmhar.score.tables import Result

Results = Mapping[str, Result]
"""One answerer's results, home by home."""


class Gap(NamedTuple):
    """One answerer against another on the mean over homes."""

    interval: Interval
    """Of first minus second."""
    p: float
    """Two-sided sign-flip test over sessions; each has the weight that it has in the mean over homes."""


def mean_over_homes(values: Sequence[Sequence[float] | Floats], level: float = 0.95) -> Interval:
    """Mean over homes of each home's mean over its sessions.

    Student's t on the standard error of that mean, with Satterthwaite's (1946) degrees of freedom; where some home has
    a single session there is no interval.

    Args:
        values: home by home, one score a session; NaN is left out, and a home without any score.
        level: coverage, 0 … 1.
    """
    homes = [own for given in values if len(own := np.array([v for v in given if v == v], dtype=float))]
    n = sum(map(len, homes))
    mean = float(np.mean([own.mean() for own in homes])) if homes else NAN
    if not homes or min(map(len, homes)) < 2:
        return Interval(n, mean, NAN, NAN, NAN, n, "a home of one session: no interval")
    variances = np.array([own.var(ddof=1) / len(own) for own in homes]) / len(homes) ** 2
    if not variances.any():
        return Interval(n, mean, mean, mean, NAN, n, "t, sessions within homes")
    df = variances.sum() ** 2 / (variances**2 / (np.array([len(own) for own in homes]) - 1)).sum()
    half = float(special.stdtrit(df, 0.5 + level / 2)) * float(variances.sum()) ** 0.5
    return Interval(n, mean, mean - half, mean + half, NAN, n, "t, sessions within homes")


def gap_over_homes(first: Sequence[Floats], second: Sequence[Floats], seed: int = 0) -> Gap:
    """Whether one answerer beats another on the mean over homes.

    Args:
        first: home by home, one score a session.
        second: the other's, of the same sessions in the same order; NaN drops a session from both.
        seed: of the drawn sign patterns beyond 16 sessions.

    Raises:
        ValueError: another number of homes or sessions.
    """
    pairs = list(zip(first, second, strict=True))
    if any(len(own) != len(other) for own, other in pairs):
        raise ValueError("both need a score for each session of each home")
    gaps = [np.asarray(own, dtype=float) - np.asarray(other, dtype=float) for own, other in pairs]
    kept = [finite for gap in gaps if len(finite := gap[~np.isnan(gap)])]
    weighted = [gap / (len(gap) * len(kept)) for gap in kept]
    return Gap(mean_over_homes(gaps), sign_flip(np.concatenate(weighted) if weighted else np.empty(0), seed=seed).p)


def session_scores(results: Results, homes: Sequence[str]) -> list[Floats]:
    """Macro F1 of each session, home by home; NaN where a session has no scored event."""
    return [
        np.array([score.macro_f1 if score.n_events else NAN for score in results[home].sessions], dtype=float)
        for home in homes
    ]


def mean_f1(results: Results, homes: Sequence[str]) -> Interval:
    """Macro F1, mean over these homes."""
    return mean_over_homes(session_scores(results, homes)).within


def compare(first: Results, second: Results, homes: Sequence[str]) -> Gap:
    """Two answerers on these homes, paired by session.

    Raises:
        ValueError: they were not asked about the same sessions.
    """
    for home in homes:
        own, other = ([score.session for score in results[home].sessions] for results in (first, second))
        if own != other:
            raise ValueError(f"{home}: the two were asked about other sessions")
    return gap_over_homes(session_scores(first, homes), session_scores(second, homes))
