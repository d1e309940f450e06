"""USC-HAD: 14 people, a sensor at the right hip, 100 Hz, twelve activities, five trials each (Zhang and Sawchuk 2012).

``Subject1/a1t1.mat`` to ``Subject14/a12t5.mat``: MATLAB files, read by SciPy as plain arrays. ``sensor_readings`` is
(n, 6): acceleration in g, turning rate in degrees/s. The activity is taken from the file's name: inside, some files
misspell the field of its number.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from llmhar.data.load_report import DataError, MissingFile, RowNote
from llmhar.data.reader import find_root, natural
from llmhar.fusion.clips.clip import ClipSet, Signal
from llmhar.fusion.clips.motion_runs import FADE, MotionRun, join_runs, motion_clips

ACTIVITIES = (
    *("walking forward", "walking left", "walking right", "walking upstairs", "walking downstairs"),
    *("running forward", "jumping up", "sitting", "standing", "sleeping", "elevator up", "elevator down"),
)
"""Numbers 1 to 12 of the files' names."""
RATE = 100.0
_PERSON = re.compile(r"subject\s*(\d{1,2})", re.IGNORECASE)
_FILE = re.compile(r"a(\d{1,2})t(\d{1,2})\.mat", re.IGNORECASE)


def load(path: Path) -> list[MotionRun]:
    """One stretch a file, by person, activity and trial.

    Raises:
        DataError: no files, or none that can be used (names the first and why).
    """
    return _load(path)[0]


def usc_had_clips(path: Path) -> ClipSet:
    """Motion-only clips of 20 s; trials of one person and activity are joined first. Persons are sources and folds.

    Raises:
        DataError: no files, or a file that is not USC-HAD's.
    """
    runs, refused = _load(path)
    clips = motion_clips(
        join_runs(runs),
        name="usc_had",
        title="USC-HAD",
        labels=ACTIVITIES,
        provenance="USC-HAD (Zhang and Sawchuk 2012), sensor at the hip; clips of 20 s, cut from the trials of one "
        "person and activity one behind the other.",
    )
    return replace(clips, refused=tuple(refused))


def _load(path: Path) -> tuple[list[MotionRun], list[RowNote]]:
    root = find_root(path, lambda p: any(p.glob("[Ss]ubject*/a*t*.mat")))
    if root is None:
        raise MissingFile(f"no Subject1/a1t1.mat in {path}", "usc_had")
    runs, refused = [], []
    for file in sorted(root.glob("[Ss]ubject*/a*t*.mat"), key=lambda file: natural(file.relative_to(root).as_posix())):
        try:
            runs.append(_run(file))
        except DataError as error:
            refused.append(RowNote(file.relative_to(root).as_posix(), 0, str(error)))
    if not runs:
        raise DataError(f"no usable file in {root}; first: {refused[0].file}: {refused[0].reason}")
    return runs, refused


def _run(file: Path) -> MotionRun:
    person, named = _PERSON.fullmatch(file.parent.name), _FILE.fullmatch(file.name)
    if person is None or named is None or not 1 <= int(named[1]) <= len(ACTIVITIES):
        raise DataError("not named Subject<1-14>/a<1-12>t<trial>.mat")
    try:
        readings = np.asarray(loadmat(file, variable_names=["sensor_readings"])["sensor_readings"], dtype=np.float64)
    except Exception as error:  # SciPy's reader raises almost anything on a broken file
        raise DataError(f"no MATLAB file with sensor_readings ({type(error).__name__}): unpack it again") from error
    if readings.ndim != 2 or readings.shape[1] != 6 or len(readings) < FADE:
        raise DataError(f"sensor_readings is {readings.shape}, not (n, 6) with n ≥ {FADE}")
    with np.errstate(over="ignore"):
        samples = np.hstack([readings[:, :3], np.deg2rad(readings[:, 3:])]).astype(np.float32)
    if not np.isfinite(samples).all():
        raise DataError("sensor_readings holds values that are no numbers, or none of 32 bits")
    return MotionRun(
        person=int(person[1]),
        label=ACTIVITIES[int(named[1]) - 1],
        signal=Signal(samples, RATE),
        recording=f"usc_had/{file.parent.name}/{file.name}",
    )
