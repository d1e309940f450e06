"""Motion as data sets hold it: stretches of a person with one label, joined or cut into clips. Reads no file.

Units everywhere: acceleration with gravity in g, turning rate in rad/s, columns as :data:`clips.CHANNELS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from llmhar.data.load_report import DataError, DroppedRows
from llmhar.fusion.clips.clip import Clip, ClipSet, Signal, assign_folds

CLIP_S = 20.0
"""S2's length of a clip, in seconds."""
MAX_FOLDS = 5
"""Folds of a motion-only data set; fewer where there are fewer people."""
FADE = 5
"""Samples over which stretches that are joined flow into each other."""


@dataclass(frozen=True, eq=False)
class MotionRun:
    """A contiguous stretch of one recording in which one thing is done."""

    person: int
    label: str | None
    """None: nobody said what is done."""
    signal: Signal
    """float32 (n, 6)."""
    recording: str = ""
    """What it was cut from: stretches of one recording follow one another."""
    start: float = 0.0
    """Seconds from the recording's start."""
    heart_rate: np.ndarray | None = None
    """Beats a minute at each sample, float32 (n,); NaN where not yet measured. None: no sensor."""


class MotionSet(NamedTuple):
    """All stretches of a data set."""

    runs: tuple[MotionRun, ...]
    """By person and recording, in time order."""
    names: tuple[str, ...]
    """Labels, in the order of class numbers."""

    def of(self, person: int, label: str | None) -> list[MotionRun]:
        """A person's stretches with this label, in time order."""
        return [run for run in self.runs if run.person == person and run.label == label]


def join(signals: Sequence[Signal]) -> Signal:
    """Signals of one rate one after another, each flowing into the next over :data:`FADE` samples."""
    joined = signals[0].samples
    for signal in signals[1:]:
        weight = np.linspace(0, 1, FADE + 2, dtype=np.float32)[1:-1, None]
        blend = joined[-FADE:] * (1 - weight) + signal.samples[:FADE] * weight
        joined = np.concatenate([joined[:-FADE], blend, signal.samples[FADE:]])
    return Signal(np.ascontiguousarray(joined, dtype=np.float32), signals[0].rate)


def join_runs(runs: Sequence[MotionRun]) -> list[MotionRun]:
    """All stretches of a person with the same label as one, in the order of the first of each."""
    together: dict[tuple[int, str | None], list[MotionRun]] = {}
    for run in runs:
        together.setdefault((run.person, run.label), []).append(run)
    return [
        MotionRun(person, label, join([run.signal for run in own]), own[0].recording, own[0].start)
        for (person, label), own in together.items()
    ]


def motion_clips(
    runs: Sequence[MotionRun],
    *,
    name: str,
    title: str,
    labels: tuple[str, ...],
    provenance: str,
    context: Callable[[MotionRun, slice], Mapping[str, str]] = lambda _run, _part: {},
) -> ClipSet:
    """Motion-only clips of :data:`CLIP_S`, one behind the other within each stretch; persons are sources and folds.

    Args:
        runs: stretches; those without one of the ``labels`` are left out, and so is what does not fill a clip.
        name: key into ``CLIPSETS``.
        title: as tables say it.
        labels: activities that may be answered.
        provenance: of the clips.
        context: what a sensor says of a part of a stretch.

    Raises:
        DataError: no stretch fills a clip.
    """
    drawn, left = [], Counter[str]()
    for run in runs:
        n, n_rows, is_one = round(CLIP_S * run.signal.rate), len(run.signal.samples), run.label in labels
        starts = range(0, n_rows - n + 1, n) if is_one else range(0)
        drawn += [(run, slice(at, at + n)) for at in starts]
        left["too few for a clip" if is_one else "none of its activities"] += n_rows - n * len(starts)
    if not drawn:
        raise DataError(f"{title}: no labelled stretch of {CLIP_S:g} s")
    sources = [frozenset({f"person:{run.person}"}) for run, _ in drawn]
    folds = assign_folds(sources, min(MAX_FOLDS, len(set(sources))))
    counts: Counter[tuple[int, str | None]] = Counter()
    clips = []
    for (run, part), own, fold in zip(drawn, sources, folds):
        number = counts[run.person, run.label]
        counts[run.person, run.label] += 1
        clips.append(
            Clip(
                clip_id=f"{name}/{run.person:02d}/{str(run.label).replace(' ', '-')}/{number:02d}",
                label=str(run.label),
                sources=own,
                cluster=f"person:{run.person}",
                motion_s=CLIP_S,
                read_motion=partial(_part, run.signal, part),
                context=context(run, part),
                fold=fold,
            )
        )
    dropped = tuple(DroppedRows("all files", 0, reason, n) for reason, n in left.items() if n)
    return ClipSet(name, title, "real", labels, tuple(clips), dropped=dropped, provenance=provenance)


def _part(signal: Signal, part: slice) -> Signal:
    return Signal(signal.samples[part], signal.rate)
