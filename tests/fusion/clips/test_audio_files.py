"""Sound files as users have them: every form reads alike, hostile ones are mended and reported, or one clear error."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
import soundfile

from llmhar.data.load_report import DataError
from llmhar.fusion.clips.audio_files import MAX_S, read_audio
from tests.timing import quiet_seconds

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 0.01),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_16", 1e-4),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_form_reads_as_the_same_sound(tmp_path, suffix, subtype, tolerance):
    file = tmp_path / f"tone.{suffix}"
    soundfile.write(file, TONE, RATE, subtype=subtype)
    signal, notes = read_audio(file)
    assert signal.rate == RATE and signal.samples.dtype == np.float32 and notes == []
    middle = slice(RATE, 2 * RATE)
    assert np.abs(signal.samples[middle] - TONE[middle]).max() <= tolerance


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([TONE, -TONE / 2], axis=1), RATE, subtype="FLOAT")
    signal, _ = read_audio(tmp_path / "stereo.wav")
    assert signal.samples.shape == TONE.shape
    np.testing.assert_allclose(signal.samples, TONE / 4, atol=1e-7)


def test_a_part_is_that_part(tmp_path):
    soundfile.write(tmp_path / "tone.wav", TONE, RATE, subtype="FLOAT")
    signal, _ = read_audio(tmp_path / "tone.wav", 0.5, 1.25)
    np.testing.assert_array_equal(signal.samples, TONE[8000:20000])
    assert read_audio(tmp_path / "tone.wav", 2.0)[0].seconds == 1.0


def test_another_rate_is_kept(tmp_path):
    soundfile.write(tmp_path / "slow.wav", TONE[:11025], 11025)
    assert read_audio(tmp_path / "slow.wav")[0].rate == 11025


def test_numbers_that_are_none_become_silence_and_are_reported(tmp_path):
    broken = TONE.copy()
    broken[[5, 6]], broken[7] = np.nan, np.inf
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    signal, notes = read_audio(tmp_path / "nan.wav")
    assert (signal.samples[5:8] == 0).all() and np.isfinite(signal.samples).all()
    assert [(note.file, note.line) for note in notes] == [("nan.wav", 0)] and "3 of 48,000" in notes[0].reason


@pytest.mark.parametrize("gain", [4.0, 1e30])
def test_what_is_too_loud_is_scaled_and_reported(tmp_path, gain):
    soundfile.write(tmp_path / "loud.wav", TONE.astype(np.float64) * gain, RATE, subtype="FLOAT")
    signal, notes = read_audio(tmp_path / "loud.wav")
    assert np.abs(signal.samples).max() == pytest.approx(1)
    np.testing.assert_allclose(signal.samples, TONE * 2, atol=1e-5)
    assert "beyond 1" in notes[0].reason


def cut(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def write_tone(file, **how):
    soundfile.write(file, TONE, RATE, **how)
    return file


def hostile(folder):
    """Name -> (file, what the error says)."""
    cases = {}
    (folder / "empty.wav").write_bytes(b"")
    cases["empty"] = "empty"
    (folder / "text.wav").write_text("not a sound\n" * 100)
    cases["text"] = "cannot be read as sound"
    (folder / "noise.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    cases["noise"] = "cannot be read as sound"
    soundfile.write(folder / "zero.wav", np.zeros(0), RATE)
    cases["zero"] = "no samples"
    write_tone(folder / "header.wav").write_bytes((folder / "header.wav").read_bytes()[:44])
    cases["header"] = "no samples"
    cut(write_tone(folder / "half.wav"), 0.5)
    cases["half"] = r"cut off after 1\.50 s"
    soundfile.write(folder / "slow.wav", TONE, 100)
    cases["slow"] = "100 samples a second"
    (folder / "folder.wav").mkdir()
    cases["folder"] = "no plain file"
    cases["absent"] = "is not there"
    return cases


@pytest.mark.parametrize("case", ["empty", "text", "noise", "zero", "header", "half", "slow", "folder", "absent"])
def test_a_hostile_file_is_one_clear_error_that_names_it(tmp_path, case):
    said = hostile(tmp_path)[case]
    with pytest.raises(DataError, match=rf"{case}\.wav.*{said}") as caught:
        read_audio(tmp_path / f"{case}.wav")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_cut_compressed_files_are_errors(tmp_path, suffix):
    file = write_tone(tmp_path / f"half.{suffix}")
    cut(file, 0.5)
    with pytest.raises(DataError, match=rf"half.{suffix}"):
        read_audio(file)


def test_the_whole_part_of_a_cut_file_can_be_used(tmp_path):
    file = write_tone(tmp_path / "half.wav")
    cut(file, 0.5)
    signal, notes = read_audio(file, 0.25, 1.25)
    assert signal.seconds == 1.0 and "1.50 s are there" in notes[0].reason
    with pytest.raises(DataError, match=r"lasts 1.50 s"):
        read_audio(file, 1.0, 2.0)


def test_a_recorder_that_was_switched_off_leaves_a_readable_file(tmp_path):
    """Streamed wav files have 0xFFFFFFFF for a length."""
    file = write_tone(tmp_path / "streamed.wav")
    content = bytearray(file.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    file.write_bytes(content)
    signal, notes = read_audio(file)
    assert signal.seconds == 3.0 and len(notes) == 1


@pytest.mark.parametrize(
    ("start", "end"), [(-1, 2), (2, 2), (2, 1), (float("nan"), 2), (0, float("inf")), (5, 6), (2, 4)]
)
def test_a_part_that_cannot_be_is_an_error(tmp_path, start, end):
    with pytest.raises(DataError, match=r"tone\.wav"):
        read_audio(write_tone(tmp_path / "tone.wav"), start, end)


def test_of_two_hours_only_the_part_is_read(tmp_path):
    file = tmp_path / "long.wav"
    seconds = 2 * 3600
    with soundfile.SoundFile(file, "w", 8000, 1, "PCM_16") as out:
        for minute in range(seconds // 60):
            out.write(np.full(8000 * 60, minute / 256, np.float32))
    tracemalloc.start()
    signal, notes = read_audio(file, 3600.5, 3620.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert signal.seconds == 20 and notes == []
    np.testing.assert_allclose(signal.samples, 60 / 256, atol=1e-4)
    assert peak < 10e6 < os.path.getsize(file)
    assert quiet_seconds(lambda: read_audio(file, 3600.5, 3620.5), runs=2) < 1
    with pytest.raises(DataError, match=rf"more than the {MAX_S:g} s"):
        read_audio(file)
