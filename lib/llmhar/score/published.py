"""What S1 and S2 published, and how our curve stands beside S1's. Asks nobody and draws nothing.

Missing runs stay missing, never zero: a model that was not run has no row of ours, a data set that S1 did not use has
no published value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from llmhar import paths

PUBLISHED = {
    "table1": "cumin_table1_f1.csv",
    "table2": "cumin_table2_finetuned_f1.csv",
    "table4": "cumin_table4_missed_pct.csv",
    "figure4": "cumin_fig4_sessions_f1.csv",
    "fusion": "fusion_gemini25pro_accuracy.csv",
}
"""Table or figure of S1, or "fusion" for S2's accuracies -> file in ``params/published`` (sources: SOURCE.md there)."""
DATASETS_IN_S1 = ("marble", "mural")


def published(name: str) -> pd.DataFrame:
    """One of S1's tables (or S2's) as published; F1, missed events and accuracy in percent.

    Raises:
        KeyError: a name that ``PUBLISHED`` does not hold.
    """
    return pd.read_csv(paths.params() / "published" / PUBLISHED[name])


def published_curve(dataset: str) -> pd.DataFrame:
    """S1 Figure 3: columns model (our spelling), n_params, f1 (0 … 1); empty for data sets that S1 did not use."""
    table = published("table1")
    if dataset not in DATASETS_IN_S1:
        return pd.DataFrame(columns=["model", "n_params", "f1"])
    return pd.DataFrame(
        {
            "model": table["model"].str.lower(),
            "n_params": table["params_b"] * 1e9,
            "f1": table[f"{dataset}_f1_pct"] / 100,
        }
    )


class Point(NamedTuple):
    """One model on the four axes; None = not measured."""

    model: str
    kind: str
    n_params: int | None
    """None: no language model, so it has none."""
    f1: float
    tokens: float | None
    """Generated tokens a window."""
    seconds: float | None
    """Seconds a window, in the batches it was run in."""
    joules: float | None
    """Joules a window."""


AXES = {
    "n_params": "parameters",
    "tokens": "generated tokens / window",
    "seconds": "seconds / window",
    "joules": "joules / window",
}
"""Cost axes: attribute of :class:`Point` -> how figures call it."""


def pareto_front(points: Sequence[Point], axis: str) -> list[Point]:
    """Points that no other beats, cheapest first; unmeasured ones are out, equal ones share their place.

    One beats another that is worse on ``axis`` (less is better) or on F1, and not better on the other.
    """
    measured = [point for point in points if getattr(point, axis) is not None and point.f1 == point.f1]
    place = lambda point: (getattr(point, axis), -point.f1)  # noqa: E731
    front: list[Point] = []
    for point in sorted(measured, key=place):
        if not front or point.f1 > front[-1].f1 or place(point) == place(front[-1]):
            front.append(point)
    return front
