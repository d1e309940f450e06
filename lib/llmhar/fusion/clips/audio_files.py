"""Sound files of a user's own, whatever libsndfile reads, one part at a time. Resamples nothing: encoders do.

Only the asked part is read, in blocks, so a recording of hours costs no more than its part. What can be mended (NaN,
over-loud samples) is, and is reported; what cannot is one error with its cure.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import soundfile

from llmhar.data.load_report import DataError, RowNote
from llmhar.fusion.clips.clip import Signal

MAX_S = 600.0
"""Longest part that is read, in seconds: a clip is some 20 s."""
RATES = (4000, 384_000)
"""Least and greatest samples a second: below, no tagger hears anything; above, no recorder works."""
_BLOCK = 2**20
"""Samples of all channels that are held at once."""
_UNKNOWN = 2**40
"""Frames that no file holds: libsndfile's way to say that it does not know."""
_MP3_SLACK_S = 1.0
"""What an MP3's length may be beyond its sound: it is estimated, and counts tags and the encoder's padding."""
_SHORT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


def read_audio(path: Path, start: float = 0.0, end: float | None = None) -> tuple[Signal, list[RowNote]]:
    """A part of a sound file as mono float32 in [-1, 1], at the file's own rate.

    Channels are averaged. Samples that are no numbers become 0; if any is beyond 1, all are scaled down.

    Args:
        path: wav (8, 16, 24, 32 bits, float), flac, ogg, mp3, and whatever else libsndfile reads.
        start: seconds from the file's start.
        end: seconds; None: the file's end.

    Returns:
        The sound, and what was mended (line 0: the whole file).

    Raises:
        DataError: no such file, no sound, empty, cut off before ``end``, an impossible rate, a part that the file does
            not have, or more than :data:`MAX_S`.
    """
    if not (math.isfinite(start) and start >= 0 and (end is None or (math.isfinite(end) and end > start))):
        raise DataError(f"{path}: a part must start at 0 s or later and end behind its start, not {start} to {end} s")
    if not path.is_file():
        raise DataError(f"{path} is not there, or is no plain file: give a sound file (wav, flac, ogg, mp3)")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): copy the recording again")
    notes: list[RowNote] = []
    try:
        with soundfile.SoundFile(path) as file:
            first, wanted = _part(path, file, start, end, notes)
            samples = _read(file, first, wanted)
            rate, is_estimate = file.samplerate, file.format in ("MP3", "MPEG")
    except (soundfile.SoundFileError, TypeError, OSError, ValueError) as error:  # TypeError: .raw without a format
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as sound ({reason}): give wav, flac, ogg or mp3, whole") from error
    short_s = 0.0 if wanted is None else (wanted - len(samples)) / rate
    if len(samples) == 0 or short_s > (_MP3_SLACK_S if end is None and is_estimate else 0):
        raise _cut_off(path, (first + len(samples)) / rate)
    if short_s > 0.2:
        notes.append(RowNote(path.name, 0, f"{short_s:.2f} s less than the header says"))
    return Signal(_mended(samples, path, notes), float(rate)), notes


def _part(
    path: Path, file: soundfile.SoundFile, start: float, end: float | None, notes: list[RowNote]
) -> tuple[int, int | None]:
    """First frame and number of frames of the part; None: as many as there are."""
    rate, known = file.samplerate, 0 < file.frames < _UNKNOWN
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(
            f"{path} says {rate} samples a second, not {RATES[0]:,} to {RATES[1]:,}: resample the recording"
        )
    if file.frames == 0:
        raise DataError(f"{path} holds no samples: it is cut off, or nothing was recorded; copy or record it again")
    cut = _SHORT.search(file.extra_info)
    if cut and int(cut[1]) > int(cut[2]):
        if 0 < int(cut[1]) < 2**31 - 1 and end is None:
            raise _cut_off(path, file.frames / rate)
        notes.append(
            RowNote(path.name, 0, f"the header's length is not the file's: {file.frames / rate:.2f} s are there")
        )
    length = file.frames / rate if known else math.inf
    if start >= length or (end is not None and end > length + 1e-3):
        raise DataError(f"{path} lasts {length:.2f} s: there is no part from {start:g} to {end or length:g} s")
    seconds = (length if end is None else end) - start
    if seconds > MAX_S and known:
        raise DataError(
            f"{path}: {seconds:,.0f} s are more than the {MAX_S:g} s that are read at once: give a start and an end "
            "for each clip"
        )
    if not known:
        return round(start * rate), None if end is None else round((end - start) * rate)
    first = min(round(start * rate), file.frames - 1)
    return first, min(round(seconds * rate), file.frames - first)


def _read(file: soundfile.SoundFile, first: int, wanted: int | None) -> np.ndarray:
    """Frames, channels averaged; at most :data:`MAX_S` seconds."""
    left = wanted if wanted is not None else round(MAX_S * file.samplerate)
    if first:
        file.seek(first)
    parts = []
    while left > 0:
        block = file.read(min(left, max(1, _BLOCK // file.channels)), dtype="float32", always_2d=True)
        if not len(block):
            break
        parts.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
        left -= len(block)
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _mended(samples: np.ndarray, path: Path, notes: list[RowNote]) -> np.ndarray:
    wrong = ~np.isfinite(samples)
    if wrong.any():
        notes.append(RowNote(path.name, 0, f"{wrong.sum():,} of {len(samples):,} samples are no numbers: set to 0"))
        samples = np.where(wrong, np.float32(0), samples)
    peak = float(np.abs(samples).max())
    if peak > 1:
        notes.append(RowNote(path.name, 0, f"samples reach {peak:.3g}, beyond 1: all scaled down"))
        samples = samples / np.float32(peak)
    return samples.astype(np.float32, copy=False)


def _cut_off(path: Path, seconds: float) -> DataError:
    return DataError(f"{path} is cut off after {seconds:.2f} s: copy the recording again, or give an end before that")
