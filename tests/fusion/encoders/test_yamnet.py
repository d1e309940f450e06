"""YAMNet: the front end against Google's reference spectra, and what the network hears in a real recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import Signal
from llmhar.fusion.encoders import registry as encoders
from llmhar.fusion.encoders import weights_files
from llmhar.fusion.encoders.encode import encode
from llmhar.fusion.encoders.log_mel import (
    FRAME,
    HOP,
    PATCH,
    RATE,
    VGGISH_OFFSET,
    YAMNET_OFFSET,
    log_mel,
    mel_weights,
    patches,
)
from tests.fusion.signals import SHARED, chirp, needs_yamnet, sound_clip, water


@pytest.fixture
def reference() -> tuple[np.ndarray, np.ndarray]:
    """Sound (15600,) and its spectrum (96, 64) as coralmicro ships them."""
    sound = np.fromfile(SHARED / "yamnet_test_audio.bin", "<i2") / 32768
    return sound, np.fromfile(SHARED / "yamnet_test_spectra.bin", "<f4").reshape(96, 64)


@needs_yamnet
def test_front_end_against_the_reference_spectra(reference):
    sound, expected = reference
    ours = patches(sound, YAMNET_OFFSET, 0.48)
    assert ours.shape == (1, 96, 64)
    assert np.corrcoef(ours[0].ravel(), expected.ravel())[0, 1] >= 0.999


@needs_yamnet
def test_front_end_is_the_references_to_the_last_digits_where_level_and_offset_are(reference):
    """Coral scaled its sound to a peak of 1 and added 0.01; but for these two numbers nothing differs."""
    sound, expected = reference
    ours = patches(sound / np.abs(sound).max(), VGGISH_OFFSET, 0.48)[0]
    assert np.abs(ours - expected).max() < 1e-4


@given(n=st.integers(0, 40_000), hop=st.sampled_from([0.48, 0.96]))
@settings(max_examples=30, deadline=None)
def test_patches_of_any_length(n, hop):
    sound = np.random.default_rng(n).normal(0, 0.1, n)
    found = patches(sound, YAMNET_OFFSET, hop)
    n_frames = max(PATCH, 1 + (n - FRAME) // HOP)
    assert found.shape == (1 + (n_frames - PATCH) // round(hop * 100), 96, 64) and np.isfinite(found).all()
    frames = log_mel(np.pad(sound, (0, max(0, 15_600 - n))), YAMNET_OFFSET)
    assert np.array_equal(found[-1], frames[(len(found) - 1) * round(hop * 100) :][:PATCH])


def test_a_tone_rises_in_its_own_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    band = log_mel(tone, YAMNET_OFFSET).mean(0).argmax()
    centres = (mel_weights() * np.linspace(0, 8000, 257)[:, None]).sum(0) / mel_weights().sum(0)
    assert abs(centres[band] - 1000) < 60


@pytest.fixture
def yamnet(tmp_path, monkeypatch):
    """YAMNet, taken in as a user does."""
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    weights_files.add_weights("yamnet", SHARED)
    return encoders.encoder("yamnet")


def heard(file: Path) -> Signal:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return Signal(samples.mean(axis=1), rate)


@needs_yamnet
def test_it_hears_water(tmp_path, monkeypatch, request):
    file = water()
    found = request.getfixturevalue("yamnet")
    signal = heard(file)
    looped = Signal(np.tile(signal.samples, 4)[: round(6 * signal.rate)], signal.rate)
    clips = [sound_clip(looped, "water"), sound_clip(chirp(6.0, 16_000), "a tone")]
    with Store(tmp_path / "store.sqlite") as store:
        said = encode(clips, found, store, dataset="test", progress=False)
        assert [at for at, _ in said["water"].steps] == [2.0, 4.0]
        for _, guesses in said["water"].steps:
            shares = [guess.share for guess in guesses]
            assert len(guesses) == 5 and shares == sorted(shares, reverse=True)
            assert any("water" in guess.name.lower() for guess in guesses[:3]), guesses
        assert not any("water" in guess.name.lower() for _, own in said["a tone"].steps for guess in own[:3])
        vector = said["water"].embedding
        assert vector.shape == (521,) and vector.min() >= 0 and vector.max() <= 1
        monkeypatch.setattr(encoders, "ChildEngine", None)  # a second time nothing is opened
        again = encode(clips, found, store, dataset="test", progress=False)
        assert again["water"].steps == said["water"].steps
    assert said["water"].made_by.engine == "yamnet"


@needs_yamnet
def test_what_a_window_shows_does_not_depend_on_its_clip(tmp_path, yamnet):
    """The same two seconds, alone in the middle of silence or among others: the same guesses."""
    tone = chirp(8.0, 16_000).samples
    quiet = np.zeros_like(tone)
    quiet[3 * RATE : 5 * RATE] = tone[3 * RATE : 5 * RATE]
    clips = [sound_clip(Signal(tone, RATE), "loud"), sound_clip(Signal(quiet, RATE), "quiet")]
    with Store(tmp_path / "store.sqlite") as store:
        said = encode(clips, yamnet, store, dataset="test", progress=False)
    assert said["loud"].steps[1] == said["quiet"].steps[1] and said["loud"].steps[0] != said["quiet"].steps[0]
