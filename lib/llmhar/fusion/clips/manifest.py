"""Clips of a user's own, listed in a manifest: a CSV or Parquet file with one clip a row. Copies no recording.

Columns (others are ignored):

- ``clip_id``: unique name; ``label``: what is truly done; both needed. Labels that differ by case or blanks are one.
- ``audio``, ``imu``: files, relative to the manifest's folder; either may be empty. :mod:`.audio_files` and
  :mod:`.motion_files` name the formats.
- ``start``, ``end``: seconds from the recording's start, the same for both files.
- ``person``, ``recording``: whose clip, and cut from what; either may be empty. With the files' names they decide which
  clips must stand on one side of a split.
- ``context:<name>``: sensor-derived context, e.g. ``context:heart rate zone``; empty where it is not known.

Ego4D fits: it is gated, so the user brings its videos' sound as wav and its own IMU files, with :data:`EGO4D_LABELS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from llmhar.data.load_report import DataError, LoadReport, MissingFile
from llmhar.data.reader import Reader, find_root, plain, quoted
from llmhar.fusion.clips.audio_files import MAX_S, read_audio
from llmhar.fusion.clips.clip import Clip, ClipSet, Signal, assign_folds
from llmhar.fusion.clips.motion_files import read_motion

EGO4D_LABELS = (
    *("vacuum cleaning", "cooking", "doing laundry", "eating", "playing basketball", "playing soccer"),
    *("playing with pets", "reading a book", "using a computer", "washing dishes", "watching TV"),
    "workout/weightlifting",
)
"""S2's twelve activities, as the press lists them: the paper's exact strings were not to be had."""
COLUMNS = ("clip_id", "audio", "imu", "start", "end", "label", "person", "recording")
CONTEXT = "context:"
NAMES = ("manifest.parquet", "manifest.csv")
MAX_FOLDS = 5
MAX_CLIPS = 100_000
"""Most rows of a Parquet file; of a CSV file its size is the limit."""


def load_manifest(path: Path, *, check: bool = True) -> ClipSet:
    """Clips of a manifest; rows that cannot be used are in ``refused``, by line and reason, and the others stay.

    Args:
        path: the file, or a folder with a ``manifest.parquet`` or ``manifest.csv``.
        check: read every clip once, so that a broken recording is refused now, what was mended is reported, and hashes
            are known; else a broken one raises when it is read.

    Raises:
        DataError: no manifest, no such columns, or no usable row (names the first refused one).
    """
    file = _find(path)
    report = LoadReport("manifest", file.parent)
    reader = Reader(report)
    clips: dict[str, Clip] = {}
    labels = Labels()
    for line, row in _rows(reader, file):
        try:
            clip = _clip(row, file.parent)
            if clip.clip_id in clips:
                raise DataError(f"clip_id {quoted(clip.clip_id)} was there before")
            clip = _checked(clip, row, file.parent, report) if check else clip
            clips[clip.clip_id] = replace(clip, label=labels.fold(row["label"], line))
            reader.used(file, line)
        except DataError as error:
            reader.refused(file, line, str(error))
    if not clips:
        first = "; first: {}, line {}: {}".format(*report.refused[0]) if report.refused else ""
        raise DataError(f"{file} holds no usable clip{first}")
    for spelling, (line, n) in labels.folded.items():
        reader.mended(file, line, f"label {quoted(spelling)} is read as {quoted(labels.fold(spelling))}, {n} times")
    found = {clip.label for clip in clips.values()}
    known = tuple(label for label in EGO4D_LABELS if label in found)
    return ClipSet(
        name="manifest",
        title=f"Clips of {file.name}",
        kind="real",
        labels=known + tuple(sorted(found - set(known))),
        clips=tuple(_with_folds(clips.values())),
        mended=tuple(report.mended),
        refused=tuple(report.refused),
        provenance=f"The user's own recordings, listed in {file.name}.",
    )


class Labels:
    """One spelling for labels that differ by case or blanks: S2's own, else the first one seen."""

    def __init__(self) -> None:
        self.known = {label.casefold(): label for label in EGO4D_LABELS}
        self.folded: dict[str, tuple[int, int]] = {}
        """Other spelling -> line where it stands first, and how often it does."""

    def fold(self, spelling: str, line: int = 0) -> str:
        """The label that a spelling is read as; ``line`` = where it stands, 0 = it is not counted."""
        label = self.known.setdefault(plain(spelling).casefold(), plain(spelling))
        if line and spelling != label:
            first, n = self.folded.get(spelling, (line, 0))
            self.folded[spelling] = first, n + 1
        return label


def _find(path: Path) -> Path:
    if path.is_dir():
        root = find_root(path, lambda folder: any((folder / name).is_file() for name in NAMES))
        if root is None:
            raise MissingFile(f"{path} holds no manifest.csv (write one with {','.join(COLUMNS)})", "manifest")
        return next(root / name for name in NAMES if (root / name).is_file())
    if not path.is_file():
        raise DataError(f"{path} is not there: give a manifest (CSV or Parquet) with the columns {','.join(COLUMNS)}")
    return path


def _rows(reader: Reader, file: Path) -> Iterable[tuple[int, Mapping[str, str]]]:
    """Line (Parquet: row, from 1) and cells by column; an absent column reads as empty."""
    if file.suffix.lower() == ".parquet":
        table = reader.parquet(file, MAX_CLIPS)
        _check_header([str(name) for name in table.columns], file)
        cells = table.astype(object).where(table.notna(), "").itertuples(index=False, name=None)
        return enumerate((dict(zip(table.columns, map(str, row))) for row in cells), start=1)
    header = [name.lower() for name in reader.header(file)]
    _check_header(header, file)
    names = [name for name in header if name in COLUMNS or name.startswith(CONTEXT)]
    return ((line, dict(zip(names, cells))) for line, cells in reader.table(file, names))


def _check_header(names: list[str], file: Path) -> None:
    absent = [name for name in ("clip_id", "start", "end", "label") if name not in names]
    if absent or not {"audio", "imu"} & set(names):
        raise DataError(
            f"{file}, line 1: no column {', '.join(absent) or 'audio or imu'}; the header must name {','.join(COLUMNS)}"
        )


def _clip(row: Mapping[str, str], folder: Path) -> Clip:
    """The clip of a row.

    Raises:
        DataError: what is wrong with it.
    """
    clip_id, label = row["clip_id"].strip(), row["label"].strip()
    if not clip_id or not label:
        raise DataError("no clip_id" if not clip_id else "no label")
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if not 0 <= start < end <= start + MAX_S:
        raise DataError(f"lasts from {start:g} to {end:g} s: a clip starts at 0 or later and has at most {MAX_S:g} s")
    audio, imu = (_file(row.get(column, "").strip(), column, folder) for column in ("audio", "imu"))
    if audio is None and imu is None:
        raise DataError("neither audio nor imu")
    person, recording = row.get("person", "").strip(), row.get("recording", "").strip()
    named = [f"person:{person}"] * bool(person) + [f"recording:{recording}"] * bool(recording)
    named += [f"file:{file.relative_to(folder).as_posix()}" for file in (audio, imu) if file is not None]
    return Clip(
        clip_id=clip_id,
        label=label,
        sources=frozenset(named),
        cluster=named[0],
        audio_s=end - start if audio else None,
        motion_s=end - start if imu else None,
        read_audio=partial(_audio, audio, start, end) if audio else None,
        read_motion=partial(_motion, imu, start, end) if imu else None,
        context={
            name.removeprefix(CONTEXT).strip(): value.strip()
            for name, value in row.items()
            if name.startswith(CONTEXT) and value.strip()
        },
    )


def _seconds(row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{column} {quoted(row[column])} is no number of seconds")
    return value


def _file(name: str, column: str, folder: Path) -> Path | None:
    """Where a recording lies; None where none is named.

    Raises:
        DataError: outside the manifest's folder, or not there.
    """
    if not name:
        return None
    place = name.replace("\\", "/")
    if place.startswith("/") or ":" in place or "\0" in place or ".." in PurePosixPath(place).parts:
        raise DataError(f"{column} {quoted(name)} must be relative to the manifest's folder and stay in it")
    try:
        is_there = (folder / place).is_file()
    except OSError:  # a name longer than any file's
        is_there = False
    if not is_there:
        raise DataError(f"{column} {quoted(name)} is not in the manifest's folder")
    return folder / place


def _audio(file: Path, start: float, end: float) -> Signal:
    return read_audio(file, start, end)[0]


def _motion(file: Path, start: float, end: float) -> Signal:
    return read_motion(file, start, end)[0]


def _checked(clip: Clip, row: Mapping[str, str], folder: Path, report: LoadReport) -> Clip:
    """The clip with its hashes, both signals having been read once.

    Raises:
        DataError: a signal that cannot be read.
    """
    start, end, hashes, notes = float(row["start"]), float(row["end"]), {"audio": "", "imu": ""}, []
    for column, read in (("audio", read_audio), ("imu", read_motion)):
        name = row.get(column, "").strip().replace("\\", "/")
        if name:
            signal, found = read(folder / name, start, end)
            hashes[column] = signal.sha256
            notes += [note._replace(file=name, reason=f"{clip.clip_id}: {note.reason}") for note in found]
    report.mended.extend(notes)
    return replace(clip, audio_sha256=hashes["audio"], motion_sha256=hashes["imu"])


def _with_folds(clips: Iterable[Clip]) -> list[Clip]:
    """As many folds as there can be, at most :data:`MAX_FOLDS`."""
    clips = list(clips)
    sources = [clip.sources for clip in clips]
    for n in range(MAX_FOLDS, 1, -1):
        try:
            return [replace(clip, fold=fold) for clip, fold in zip(clips, assign_folds(sources, n))]
        except DataError:  # fewer groups than folds
            continue
    return clips
