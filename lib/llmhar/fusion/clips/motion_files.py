"""Motion files of a user's own: CSV or Parquet, one part at a time. Knows no data set.

Units everywhere: acceleration with gravity in g, turning rate in rad/s, columns as :data:`clips.CHANNELS`. Units are
never guessed: what cannot be in these is an error that says what to divide by.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from llmhar.data.load_report import DataError, LoadReport, RowNote
from llmhar.data.reader import Reader
from llmhar.fusion.clips.clip import CHANNELS, Signal

MAX_S = 600.0
"""Longest part that is read, in seconds: a clip is some 20 s."""
MAX_GAP_S = 1.0
"""Longest time without samples that is bridged by a straight line."""
MIN_RATE = 5.0
"""Fewest samples a second: slower than that, steps and shaking are not in the signal."""
MAX_ACC_G, MAX_GYRO = 4.0, 35.0
"""Median of |acceleration| in g that only m/s2 exceed; rad/s (2,000 degrees/s) that no phone's gyroscope exceeds."""
MAX_RATE = 10_000.0
"""Most samples a second: a wrong clock can say that there are a thousand million."""
MAX_ROWS = 1_000_000
"""Most rows of a Parquet file: five hours and a half at 50 Hz."""
MAX_NOTES = 20
"""Rows of one kind that are named one by one; more are counted."""
ALIASES = {
    "t": ("t", "time", "timestamp", "seconds"),
    "acc_x": ("acc_x", "ax", "accx"),
    "acc_y": ("acc_y", "ay", "accy"),
    "acc_z": ("acc_z", "az", "accz"),
    "gyro_x": ("gyro_x", "gx", "gyrox"),
    "gyro_y": ("gyro_y", "gy", "gyroy"),
    "gyro_z": ("gyro_z", "gz", "gyroz"),
}
"""Column -> names it may have in a file, without case."""


EGO4D = dict(
    zip(ALIASES, ("canonical_timestamp_ms", "accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z"), strict=True)
)
"""Column -> its name in Ego4D's own IMU files, which are known by it: milliseconds, m/s2 and rad/s."""
G = 9.80665
"""m/s2 in one g."""


def read_motion(
    path: Path, start: float = 0.0, end: float | None = None, *, rate: float = 50.0
) -> tuple[Signal, list[RowNote]]:
    """A part of a CSV or Parquet file with columns t (seconds), acc_x … acc_z (g), gyro_x … gyro_z (rad/s).

    Ego4D's own files (:data:`EGO4D`) are converted to these, and reported.

    Times may be uneven: samples are laid onto an even grid by straight lines. Rows that are no numbers, double or out
    of order are mended or left out, and reported by line. Without gyroscope columns, zeros stand for them.

    Args:
        path: the file; ".parquet" is Parquet, all else CSV. Columns may have the names of :data:`ALIASES`.
        start: seconds, on the file's own clock ``t``.
        end: seconds; None: the last row.
        rate: samples a second of the result.

    Returns:
        The motion (n, 6), and what was mended (line 0: the whole file).

    Raises:
        DataError: no such file or columns, no rows, other units, a part that the file does not have, a gap longer than
            :data:`MAX_GAP_S` within it, too few samples a second, or more than :data:`MAX_S`.
    """
    if not (math.isfinite(start) and (end is None or (math.isfinite(end) and end > start))):
        raise DataError(f"{path}: a part must end behind its start, not {start} to {end} s")
    if end is not None and end - start > MAX_S:
        raise DataError(f"{path}: {end - start:,.0f} s are more than the {MAX_S:g} s that are read at once")
    if not path.is_file() or path.stat().st_size == 0:
        raise DataError(
            f"{path} is not there, or empty: give a CSV or Parquet file with columns t, {', '.join(CHANNELS)}"
        )
    status = path.stat()
    rows, found = _prepared(path, status.st_mtime_ns, status.st_size)
    last = float(rows.t[-1]) if end is None else end
    if last - start > MAX_S:
        raise DataError(
            f"{path}: {last - start:,.0f} s are more than the {MAX_S:g} s that are read at once: give start and end"
        )
    rows = _reaching(rows, path, start, last)
    _check_units(rows, path)
    lines = range(int(rows.line.min()), int(rows.line.max()) + 1)
    notes = _few([note for note in found if note.line in lines or note.line == 0])
    return Signal(_even(rows, start, last, rate), rate), notes


@functools.lru_cache(maxsize=2)
def _prepared(path: Path, _mtime_ns: int, _size: int) -> tuple[_Rows, tuple[RowNote, ...]]:
    """All good rows of a file in time order, kept for the next clip of the same recording."""
    notes: list[RowNote] = []
    rows = _Rows(*(_parquet if path.suffix.lower() == ".parquet" else _csv)(path, notes))
    rows = _sorted(_numbers(rows, path, notes), path, notes)
    return rows, tuple(notes)


class _Rows(NamedTuple):
    t: np.ndarray
    """(n,) seconds."""
    values: np.ndarray
    """(n, 6)."""
    line: np.ndarray
    """(n,) in the file; Parquet: number of the row, from 1."""


class _Columns(NamedTuple):
    names: list[str]
    """The file's own names, for t and the channels."""
    has_gyro: bool
    is_ego4d: bool
    """Whether time is in milliseconds and acceleration in m/s2."""


def _columns(path: Path, header: Sequence[str]) -> _Columns:
    known = {name.strip().lower(): name for name in header}
    found = {key: next((known[a] for a in aliases if a in known), None) for key, aliases in ALIASES.items()}
    is_ego4d = set(list(EGO4D.values())[:4]) <= set(known) and not any(found[key] for key in list(ALIASES)[:4])
    if is_ego4d:
        found = {key: known.get(name) for key, name in EGO4D.items()}
    has_gyro = any(found[channel] for channel in CHANNELS[3:])
    needed = list(ALIASES) if has_gyro else list(ALIASES)[:4]
    absent = [key for key in needed if found[key] is None]
    if absent:
        raise DataError(f"{path}, line 1: no column {', '.join(absent)}; the header must name t,{','.join(CHANNELS)}")
    return _Columns([name for name in (found[key] for key in needed) if name is not None], has_gyro, is_ego4d)


def _csv(path: Path, notes: list[RowNote]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    report = LoadReport("motion", path.parent)
    reader = Reader(report)
    columns = _columns(path, reader.header(path))
    lines, cells = [], []
    for line, row in reader.table(path, columns.names):
        lines.append(line)
        cells.append(row)
    notes.extend(report.refused)
    table = pd.DataFrame(cells, columns=range(len(columns.names)), dtype=str).apply(pd.to_numeric, errors="coerce")
    return _in_our_units(path, table.to_numpy(dtype=np.float64), np.asarray(lines), columns, notes)


def _parquet(path: Path, notes: list[RowNote]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = Reader(LoadReport("motion", path.parent)).parquet(path, MAX_ROWS)
    columns = _columns(path, [str(name) for name in table.columns])
    try:
        table = table[columns.names].astype(dict.fromkeys(table.select_dtypes("category"), object))
        table = table.apply(pd.to_numeric, errors="coerce")
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a column holds no numbers ({error}): write it again") from error
    values = table.to_numpy(dtype=np.float64, na_value=np.nan)
    return _in_our_units(path, values, np.arange(1, len(values) + 1), columns, notes)


def _in_our_units(
    path: Path, values: np.ndarray, lines: np.ndarray, columns: _Columns, notes: list[RowNote]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if len(values) == 0:
        raise DataError(f"{path}: no rows below the header: record it again")
    if columns.is_ego4d:
        notes.append(RowNote(path.name, 0, f"Ego4D's own header: ms / 1000 is read as s, m/s2 / {G} as g"))
        values = np.hstack([values[:, :1] / 1000, values[:, 1:4] / G, values[:, 4:]])
    if not columns.has_gyro:
        notes.append(RowNote(path.name, 0, "no gyroscope: zeros stand for it"))
        values = np.hstack([values, np.zeros((len(values), 3))])
    return values[:, 0], values[:, 1:], lines


def _numbers(rows: _Rows, path: Path, notes: list[RowNote]) -> _Rows:
    """Rows whose values are all finite numbers."""
    good = np.isfinite(rows.t) & np.isfinite(rows.values).all(axis=1)
    notes.extend(RowNote(path.name, int(n), "a value is no number: row left out") for n in rows.line[~good])
    if not good.any():
        raise DataError(f"{path}, line {rows.line[0]}: no row holds numbers alone")
    return _Rows(rows.t[good], rows.values[good], rows.line[good])


def _sorted(rows: _Rows, path: Path, notes: list[RowNote]) -> _Rows:
    """Rows in time order, each time once."""
    late = np.flatnonzero(rows.t < np.maximum.accumulate(rows.t))
    notes.extend(RowNote(path.name, int(rows.line[i]), "out of order: sorted") for i in late)
    order = np.argsort(rows.t, kind="stable")
    rows = _Rows(rows.t[order], rows.values[order], rows.line[order])
    again = np.flatnonzero(np.diff(rows.t) == 0) + 1
    notes.extend(RowNote(path.name, int(rows.line[i]), "a time that was there: row left out") for i in again)
    keep = np.delete(np.arange(len(rows.t)), again)
    return _Rows(rows.t[keep], rows.values[keep], rows.line[keep])


def _few(notes: list[RowNote]) -> list[RowNote]:
    """Notes in the order of lines, of each reason :data:`MAX_NOTES` at most and the number of the others."""
    shown, counts = [], Counter[str]()
    for note in sorted(notes, key=lambda note: note.line):
        counts[note.reason] += 1
        if counts[note.reason] <= MAX_NOTES:
            shown.append(note)
    rest = {reason: n - MAX_NOTES for reason, n in counts.items() if n > MAX_NOTES}
    return shown + [RowNote(notes[0].file, 0, f"{n:,} more rows: {reason}") for reason, n in rest.items()]


def _reaching(rows: _Rows, path: Path, start: float, end: float) -> _Rows:
    """Rows of the part, with a neighbour on both sides.

    Raises:
        DataError: the file does not reach so far, has a gap there, or too few samples a second.
    """
    slack = 1 / MIN_RATE
    if not (rows.t[0] <= start + slack and end <= rows.t[-1] + slack) or start >= end:
        raise DataError(
            f"{path}: t runs from {rows.t[0]:g} to {rows.t[-1]:g} s: there is no part from {start:g} to {end:g} s on "
            "that clock"
        )
    first = max(int(np.searchsorted(rows.t, start, side="right")) - 1, 0)
    last = int(np.searchsorted(rows.t, end, side="left")) + 1
    part = _Rows(rows.t[first:last], rows.values[first:last], rows.line[first:last])
    steps = np.diff(part.t)
    if len(steps) == 0 or np.median(steps) > 1 / MIN_RATE:
        rate = 1 / float(np.median(steps)) if len(steps) else 0.0
        raise DataError(f"{path}: {rate:.3g} samples a second, less than {MIN_RATE:g}: is t in seconds?")
    if np.median(steps) < 1 / MAX_RATE:
        rate = 1 / float(np.median(steps))
        raise DataError(f"{path}: {rate:.3g} samples a second, more than {MAX_RATE:g}: is t in seconds?")
    if steps.max() > MAX_GAP_S:
        at = int(steps.argmax())
        raise DataError(
            f"{path}, line {part.line[at]}: no samples for {steps[at]:.2f} s after t = {part.t[at]:g}: end the clip "
            "there"
        )
    return part


def _check_units(rows: _Rows, path: Path) -> None:
    acc = float(np.median(np.linalg.norm(rows.values[:, :3], axis=1)))
    if acc > MAX_ACC_G:
        raise DataError(
            f"{path}: |acceleration| is {acc:.1f} in the median where gravity in g is 1: these seem to be m/s2; divide "
            "acc_x, acc_y and acc_z by 9.80665"
        )
    gyro = float(np.percentile(np.abs(rows.values[:, 3:]), 99))
    if gyro > MAX_GYRO:
        raise DataError(
            f"{path}: turning rates reach {gyro:.0f}, more than {MAX_GYRO:g} rad/s: these seem to be degrees/s; "
            "multiply gyro_x, gyro_y and gyro_z by pi/180"
        )


def _even(rows: _Rows, start: float, end: float, rate: float) -> np.ndarray:
    """Samples on an even grid (n, 6) float32; a faster recording is laid onto a multiple first and then filtered."""
    own = 1 / float(np.median(np.diff(rows.t)))
    times = max(1, round(own / rate))
    n = round((end - start) * rate)
    grid = start + np.arange(n * times) / (rate * times)
    laid = np.stack([np.interp(grid, rows.t, column) for column in rows.values.T], axis=1)
    return (laid if times == 1 else resample_poly(laid, 1, times, axis=0, padtype="line")[:n]).astype(np.float32)
