"""The log-mel front end of VGGish and YAMNet in numpy: sound to the patches that both networks look at.

As published with both (tensorflow/models, research/audioset: ``vggish/mel_features.py``, ``yamnet/features.py``): 25 ms
frames every 10 ms, periodic Hann window, magnitude of a 512-point FFT, 64 triangles on the HTK mel scale from 125 to
7,500 Hz, natural logarithm after an offset. A patch is 96 frames. Checked against the spectra that Google's coralmicro
ships for YAMNet (``tests/fusion/encoders/test_yamnet.py``).
"""

from __future__ import annotations

import functools

import numpy as np

RATE = 16_000
"""Hz of the sound, mono."""
FRAME, HOP, FFT = 400, 160, 512
"""Samples of a frame (25 ms), between two frames (10 ms), and of the padded transform."""
MELS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
PATCH = 96
"""Frames of a patch: 0.96 s."""
YAMNET_OFFSET, VGGISH_OFFSET = 0.001, 0.01
"""What is added before the logarithm."""


@functools.cache
def mel_weights() -> np.ndarray:
    """(257, 64): weight of each FFT bin in each mel band; the bin at 0 Hz counts nowhere."""
    bins = _mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(np.array(LOW_HZ)), _mel(np.array(HIGH_HZ)), MELS + 2)
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)))
    weights[0] = 0.0
    return weights


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hz / 700.0)


def log_mel(samples: np.ndarray, offset: float) -> np.ndarray:
    """Frames (n, 64) of sound (samples,) in [-1, 1] at 16 kHz; what does not fill a last frame is left out."""
    if len(samples) < FRAME:
        return np.zeros((0, MELS), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, dtype=np.float64), FRAME)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    spectrum = np.abs(np.fft.rfft(frames * hann, FFT))
    return np.log(spectrum @ mel_weights() + offset).astype(np.float32)


def patches(samples: np.ndarray, offset: float, hop_s: float) -> np.ndarray:
    """Patches (n, 96, 64) of sound at 16 kHz, one every ``hop_s`` seconds; at least one.

    Sound shorter than a patch (15,600 samples) is filled up with silence, as YAMNet does.
    """
    needed = FRAME + (PATCH - 1) * HOP
    padded = np.pad(samples, (0, max(0, needed - len(samples))))
    frames = log_mel(padded, offset)
    stacked = np.lib.stride_tricks.sliding_window_view(frames, PATCH, axis=0)[:: round(hop_s * RATE / HOP)]
    return np.ascontiguousarray(stacked.transpose(0, 2, 1))
