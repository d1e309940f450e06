"""When an engine worked: its steps as the child saw them, and a pass as the asking process saw it. Starts no engine.

Both sides read ``time.perf_counter``, on Linux one clock for all processes, so a child's steps can be laid over its
parent's pass.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Interval = tuple[float, float]
"""Begin and end, by ``time.perf_counter``."""


class StepLog:
    """A file with one line a step: begin and end. One unbuffered write a line: some microseconds a step."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (held as long as the child lives)

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, each call of which is logged as a step."""

        @functools.wraps(work)
        def logged(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self._file.write(b"%.6f %.6f\n" % (begun, time.perf_counter()))

        return logged


def read_steps(path: Path) -> list[Interval]:
    """All steps of a log, as they were written."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(begun), float(ended)) for begun, ended in (line.split() for line in lines)]


@dataclass(frozen=True, slots=True)
class Pass:
    """One engine answering some windows once."""

    begun: float
    """Before the first prompt is built."""
    ended: float
    """After the last answer is stored, read and scored."""
    steps: tuple[Interval, ...]
    """Of the engine; what lies outside the pass does not count."""
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens served from the prefix cache."""
    output_tokens: int

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.ended - self.begun

    @property
    def seconds_a_token(self) -> float:
        """Wall time for each token of output."""
        return self.seconds / self.output_tokens

    @property
    def outside(self) -> float:
        """Share of the wall time in which the engine made no step, in %."""
        return 100 * (1 - covered(self.steps, self.begun, self.ended) / self.seconds)


def covered(steps: Sequence[Interval], begun: float, ended: float) -> float:
    """Seconds between two moments that lie in any of the steps; overlaps count once."""
    total, reached = 0.0, begun
    for start, stop in sorted(steps):
        start, stop = max(start, reached), min(stop, ended)
        if stop > start:
            total, reached = total + stop - start, stop
    return total


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Least to most, and of how many, as a reason of a claim says it."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f} in {len(values)} round{'s' * (len(values) > 1)}"
