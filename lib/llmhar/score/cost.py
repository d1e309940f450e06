"""What each result cost, on four axes: parameters, tokens, seconds, joules. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmhar.ask.store import Store
from llmhar.score.cost_tables import passes_of, threads_text
from llmhar.score.tables import KINDS, Result


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
    counters: str = ""
    """Whose joules, "gpu0, intel-rapl:0"; empty where not measured."""
    threads: str = ""
    """OpenMP threads of the engine that took the seconds; several where passes differed, empty where not known."""


AXES = {
    "n_params": "parameters",
    "tokens": "generated tokens / window",
    "seconds": "seconds / window",
    "joules": "joules / window",
}
"""Cost axes: attribute of :class:`Point` -> how figures call it."""


def row_name(result: Result, results: Sequence[Result]) -> str:
    """The model's name, with the data set where there are several."""
    several = len({r.task.dataset for r in results}) > 1
    return f"{result.model.name} on {result.task.data}" if several else result.model.name


def points(results: Sequence[Result], store: Store) -> list[Point]:
    """Each result on the four axes; costs come from the passes that gave its answers, where these ended."""
    return [
        Point(row_name(r, results), KINDS[r.model.kind], r.model.n_params or None, r.macro_f1.mean, *_costs(r, store))
        for r in results
    ]


def _costs(result: Result, store: Store) -> tuple[float | None, float | None, float | None, str, str]:
    """Tokens, seconds and joules a window; None where not measured, or where a mixture of engines hides it. Then whose
    joules, and how many threads.
    """
    made = list({generation.request_key: generation for generation in result.generations}.values())
    if result.model.kind != "llm" or not made:  # windows that read alike are asked once
        return None, None, None, "", ""
    tokens = sum(generation.output_tokens for generation in made) / len(made)
    passes = passes_of(result, store)
    threads = threads_text(passes)
    covered = sum(one.n_here for one in passes)
    if covered < len(made):  # a pass that was killed keeps no time
        return tokens, None, None, "", threads
    seconds = sum(one.n_here * one.seconds / one.n_asked for one in passes) / covered
    joules = [one.n_here * one.joules / one.n_asked for one in passes if one.joules is not None]
    if len(joules) < len(passes):
        return tokens, seconds, None, "", threads
    counters = ", ".join(sorted({name for one in passes for name in one.counters}))
    return tokens, seconds, sum(joules) / covered, counters, threads


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
