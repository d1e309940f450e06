"""What figures show, in words, for readers who cannot see them. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmhar.score.tables import Result


def ranked(what: str, values: Mapping[str, float]) -> str:
    """A figure's main result: what was measured, and who has how much of it, the most first; empty without a number.

    Args:
        what: was measured.
        values: name -> number; NaN is left out.
    """
    known = sorted((name for name, value in values.items() if value == value), key=lambda name: -values[name])
    said = [f"{name} {format(values[name], '.3g' if abs(values[name]) < 100 else '.0f')}" for name in known]
    return f"{what}: {'; '.join(said)}" if said else ""


def f1_words(results: Sequence[Result]) -> str:
    """Macro F1 of each result, the highest first."""
    several = len({r.task.data for r in results}) > 1
    names = [f"{r.model.name} on {r.task.data}" if several else r.model.name for r in results]
    return ranked("Macro F1", dict(zip(names, (r.macro_f1.mean for r in results))))
