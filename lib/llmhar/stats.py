"""The study's statistics: intervals over sessions. The unit of inference is the session, never the event.

Events of one session share people, hour and plan: treating them as independent understates the standard error about
three- to sixfold (shared/anchors.md §3.3). With six test sessions a percentile bootstrap covers 86 % instead of 95 %,
Student's t covers 94 %, hence t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special


class Interval(NamedTuple):
    """A mean with its uncertainty; the bounds are NaN for fewer than two values."""

    n: int
    mean: float
    low: float
    high: float
    sd: float
    """Standard deviation between sessions (n-1)."""

    def __str__(self) -> str:
        if self.n == 0:
            return "no sessions"
        if self.n == 1:
            return f"{self.mean:.3f} (n = 1, no interval)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean over sessions with Student's t interval.

    Args:
        values: one score a session; NaN (no scored event) is left out and not counted.
        level: coverage, 0 … 1.
    """
    kept = np.array([value for value in values if value == value], dtype=float)
    n = len(kept)
    if n < 2:
        return Interval(n, float(kept.mean()) if n else float("nan"), *[float("nan")] * 3)
    mean, sd = float(kept.mean()), float(kept.std(ddof=1))
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * sd / n**0.5  # scipy.stats costs a second to import
    return Interval(n, mean, mean - half, mean + half, sd)
