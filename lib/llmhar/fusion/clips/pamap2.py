"""PAMAP2: nine people, sensors at hand, chest and ankle at 100 Hz, a heart-rate strap (Reiss and Stricker 2012).

``Protocol/subject101.dat`` to ``subject109.dat`` (and ``Optional/``): 54 numbers parted by blanks, no header: seconds,
activity, beats a minute (about 9 a second, NaN between), then 17 columns a sensor (hand, chest, ankle): temperature,
acceleration of +-16 g in m/s2 (3), of +-6 g (3), turning rate in rad/s (3), and others. Where the radio failed, NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from llmhar.data.load_report import DataError, DroppedRows, LoadReport, MissingFile, RowNote
from llmhar.data.reader import MAX_FIELD, find_root, natural
from llmhar.fusion.clips.clip import ClipSet, Signal
from llmhar.fusion.clips.motion_runs import MotionRun, motion_clips

ACTIVITIES = {
    1: "lying", 2: "sitting", 3: "standing", 4: "walking", 5: "running", 6: "cycling", 7: "Nordic walking",
    9: "watching TV", 10: "computer work", 11: "car driving", 12: "ascending stairs", 13: "descending stairs",
    16: "vacuum cleaning", 17: "ironing", 18: "folding laundry", 19: "house cleaning", 20: "playing soccer",
    24: "rope jumping",
}  # fmt: skip
"""Number in the files -> activity; 0 is the time between two, and is left out and counted, as any other number is."""
SENSORS = {"hand": 3, "chest": 20, "ankle": 37}
"""Sensor -> its first column, from 0."""
RATE = 100.0
G = 9.80665
"""m/s2 in one g."""
COLUMNS = 54
ROWS = 20_000
"""Rows that are read at a time: it bounds the memory."""
MAX_BYTES = 2**30
"""Largest file that is read: 1 GiB, some four times PAMAP2's largest."""
MAX_UNKNOWN = 20
"""Most numbers of a file that stand for no activity and are named."""
MAX_GAP_S = 0.5
"""Longest loss of the radio, in seconds, that is bridged by straight lines; at a longer one the stretch ends."""
GREATEST = 190.0
"""Beats a minute taken as everybody's greatest: 220 less the age, and these nine people are some 30 years old."""
ZONES = ((0.57, "very light"), (0.64, "light"), (0.77, "moderate"))
"""Heart-rate zones of the ACSM: (share of the greatest rate below which, name); above the last one, "vigorous". So the
bounds lie at 108, 122 and 146 beats a minute."""


def zone(beats_a_minute: float) -> str:
    """Name of the heart-rate zone, of :data:`ZONES`."""
    return next((name for share, name in ZONES if beats_a_minute < share * GREATEST), "vigorous")


def load(path: Path, *, sensor: str = "hand") -> list[MotionRun]:
    """Contiguous stretches with one activity.

    Args:
        path: folder that holds ``Protocol`` or the .dat files, or one around it.
        sensor: key into :data:`SENSORS`.

    Raises:
        DataError: unknown sensor, no files, or a file that is not PAMAP2's (names file and line).
    """
    return _load(path, sensor, LoadReport("pamap2", path))


def pamap2_clips(path: Path, *, sensor: str = "hand") -> ClipSet:
    """Motion-only clips of 20 s with the heart-rate zone as context, persons as sources and folds.

    Raises:
        DataError: unknown sensor, no files, or a file that is not PAMAP2's (names file and line).
    """
    report = LoadReport("pamap2", path)
    runs = _load(path, sensor, report)
    done = {run.label for run in runs}
    clips = motion_clips(
        runs,
        name="pamap2",
        title=f"PAMAP2 ({sensor})",
        labels=tuple(name for name in ACTIVITIES.values() if name in done),
        provenance=f"PAMAP2 (Reiss and Stricker 2012), sensor at the {sensor}, clips of 20 s cut from stretches of one "
        "activity; context: heart-rate zone from the strap.",
        context=_heart,
    )
    return replace(clips, mended=tuple(report.mended), dropped=(*report.dropped, *clips.dropped))


def _heart(run: MotionRun, part: slice) -> Mapping[str, str]:
    assert run.heart_rate is not None
    rates = run.heart_rate[part]
    known = rates[np.isfinite(rates)]
    return {"heart rate zone": zone(float(known.mean()))} if len(known) else {}


def _load(path: Path, sensor: str, report: LoadReport) -> list[MotionRun]:
    if sensor not in SENSORS:
        raise DataError(f"PAMAP2 has no sensor {sensor!r}: choose one of {', '.join(SENSORS)}")
    root = find_root(path, lambda p: (p / "Protocol").is_dir() or any(p.glob("subject1*.dat")))
    files = sorted([] if root is None else root.glob("**/subject1*.dat"), key=lambda file: natural(str(file)))
    if root is None or not files:
        raise MissingFile(f"no subject101.dat in {path} or its Protocol folder", "pamap2")
    return [run for file in files for run in _runs(file, root, sensor, report)]


def _runs(file: Path, root: Path, sensor: str, report: LoadReport) -> Iterator[MotionRun]:
    name = file.relative_to(root).as_posix()
    table = _table(file, SENSORS[sensor])
    t, activity = table[:, 0], table[:, 1]
    heart = pd.Series(table[:, 2]).ffill().to_numpy()
    with np.errstate(over="ignore"):
        motion = np.hstack([table[:, 3:6] / G, table[:, 6:]]).astype(np.float32)
    named, used = np.isin(activity, list(ACTIVITIES)), np.zeros(len(t), dtype=bool)
    bad = np.asarray(~np.isfinite(motion).all(axis=1))
    edges = np.flatnonzero((np.diff(activity) != 0) | ~((np.diff(t) > 0) & (np.diff(t) <= MAX_GAP_S))) + 1
    for first, last in zip([0, *edges], [*edges, len(t)]):
        label = ACTIVITIES.get(activity[first])
        if label is None:
            continue
        for begin, end in _bridgeable(bad[first:last], round(MAX_GAP_S * RATE)):
            rows = slice(first + begin, first + end)
            used[rows] = True
            if bad[rows].any():
                reason = f"{bad[rows].sum()} rows of {label} without motion from here on: bridged"
                report.mended.append(RowNote(name, rows.start + 1, reason))
            filled = pd.DataFrame(motion[rows]).interpolate(limit_direction="both").to_numpy(np.float32)
            yield MotionRun(
                person=int(file.stem[-2:]),
                label=label,
                signal=Signal(filled, RATE),
                recording=f"pamap2/{name}",
                start=float(t[rows.start] - t[0]),
                heart_rate=heart[rows].astype(np.float32),
            )
    names = ", ".join(f"{number:g}" for number in np.unique(activity[~named])[:MAX_UNKNOWN])
    for reason, left in ((f"no activity ({names})", ~named), ("no motion, nor can it be bridged", named & ~used)):
        if left.any():
            report.dropped.append(DroppedRows(name, int(left.argmax()) + 1, reason, int(left.sum())))


def _bridgeable(bad: np.ndarray, longest: int) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of pieces that begin and end with a good row; none has ``longest`` bad ones in a row."""
    good = np.flatnonzero(~bad)
    if not len(good):
        return
    breaks = np.flatnonzero(np.diff(good) > longest) + 1
    for piece in np.split(good, breaks):
        yield int(piece[0]), int(piece[-1]) + 1


def _table(file: Path, at: int) -> np.ndarray:
    """(n, 9) float64 of one file: seconds, activity, beats a minute, acceleration (3), turning rate (3).

    Args:
        file: of 54 columns.
        at: first column of the sensor.

    Raises:
        DataError: not numbers in 54 columns, or too large.
    """
    if file.stat().st_size > MAX_BYTES:
        raise DataError(f"{file} has more than the {MAX_BYTES:,} bytes that are read: unpack the data set again")
    with open(file, "rb") as lines:
        n_columns = len(lines.readline(MAX_FIELD).split())  # a line of millions would make millions of columns
    if n_columns != COLUMNS:
        raise DataError(f"{file}, line 1: {n_columns} columns where PAMAP2 has {COLUMNS} numbers: unpack it again")
    wanted = [0, 1, 2, *range(at + 1, at + 4), *range(at + 7, at + 10)]
    try:
        parts = pd.read_csv(file, sep=r"\s+", header=None, dtype=np.float64, na_values=["NaN"], chunksize=ROWS)
        values = np.vstack([part.to_numpy()[:, wanted] for part in parts])
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors and name the line
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: not {COLUMNS} numbers a line ({said}): unpack the data set again") from error
    short = np.flatnonzero(~np.isfinite(values[:, :2]).all(axis=1))
    if len(short):
        raise DataError(f"{file}, line {short[0] + 1}: no time or no activity: unpack the data set again")
    return values
