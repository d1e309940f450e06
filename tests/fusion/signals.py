"""Signals for the tests of encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmhar.fusion.clips import sounds
from llmhar.fusion.clips.clip import Clip, Signal

SHARED = Path(__file__).parents[3] / "shared" / "data" / "yamnet"
needs_yamnet = pytest.mark.skipif(not (SHARED / "yamnet_spectra_in.tflite").exists(), reason=f"no YAMNet in {SHARED}")


def sound_clip(signal: Signal, clip_id: str = "a clip") -> Clip:
    return Clip(clip_id, "truth", frozenset({clip_id}), clip_id, audio_s=signal.seconds, read_audio=_given(signal))


def motion_clip(signal: Signal, clip_id: str = "a clip") -> Clip:
    return Clip(clip_id, "truth", frozenset({clip_id}), clip_id, motion_s=signal.seconds, read_motion=_given(signal))


def _given(signal: Signal) -> Callable[[], Signal]:
    return lambda: signal


def chirp(seconds: float, rate: float, seed: int = 0) -> Signal:
    """A rising tone in a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return Signal((0.3 * np.sin(2 * np.pi * (200 + 60 * t) * t) + noise).astype(np.float32), rate)


def water() -> Path:
    """Scratch's recording of running water; skips where nobody has fetched the sounds."""
    if not sounds.sounds_here():
        pytest.skip("the sounds are not here; run: llmhar data fetch scenes")
    return sounds.recordings()["scratch/Effects/WaterRunning.mp3"].path
