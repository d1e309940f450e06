"""Encoders: a signal becomes guesses, step by step, kept in the store by content like any other generation.

An encoder is asked through a :class:`~llmhar.records.Request` whose message names the signal by its hash, so what was
heard once is never heard again, a killed run goes on, and recorded outputs can stand in where recordings or weights
cannot be had. Torch and TFLite live in child processes; samples reach them as files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.signal import resample_poly

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.inference import Answer, collect, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask, Store
from llmhar.fusion.clips.clip import Clip, Signal
from llmhar.fusion.encoders.observation import Guess
from llmhar.records import Fingerprint, Request, canonical_json


class EncoderError(EngineError):
    """An encoder that cannot be had, or that failed; one sentence with the cure."""


@dataclass(frozen=True)
class Encoder:
    """One model that turns windows of sound or motion into text."""

    name: str
    """Key into ``ENCODERS``."""
    title: str
    """As tables say it."""
    modality: Literal["captions", "labels", "motion"]
    kind: Literal["model", "stand-in"]
    """A stand-in says nothing that another modality does not: it is left out of Shapley shares."""
    signal: Literal["audio", "motion"]
    rate: float
    """Hz that samples are brought to first."""
    revision: Callable[[], str]
    """Names the weights (sha256). Raises :class:`EncoderError` where they are not here."""
    open: Callable[[Path], Engine]
    """``open(folder)``: an engine that finds the samples of a request as ``<sha256>.npy`` in the folder, float32 at
    ``rate``, and answers with :func:`write_reply`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else changes its output; in the request's key."""


class Encoded(NamedTuple):
    """What an encoder said of one clip."""

    steps: tuple[tuple[float, tuple[Guess, ...]], ...]
    """(centre in seconds, guesses likeliest first) of each window there is."""
    embedding: np.ndarray | None
    """(d,), mean over windows; None where the encoder has none."""
    made_by: Fingerprint


def write_reply(steps: Sequence[Sequence[tuple[str, float]]], embedding: Sequence[float] | None = None) -> str:
    """The text that an encoder's engine answers with: guesses of each window, in the request's order."""
    shown = [[[name, round(float(share), 6)] for name, share in own] for own in steps]
    vector = None if embedding is None else [round(float(value), 5) for value in embedding]
    return json.dumps({"steps": shown, "embedding": vector}, ensure_ascii=False)


def encode(
    clips: Iterable[Clip],
    encoder: Encoder,
    store: Store,
    *,
    dataset: str,
    recorded: Path | None = None,
    progress: bool = True,
) -> dict[str, Encoded]:
    """What an encoder says of each clip that has its signal.

    Args:
        clips: to be encoded.
        encoder: by whom.
        store: where outputs are looked up and kept.
        dataset: name of the clips' data set, for the store.
        recorded: file of recorded outputs, taken where a clip cannot be read or the encoder's weights are not here.
        progress: show a bar on stderr.

    Returns:
        Clip id -> outputs; clips without the signal are left out.

    Raises:
        EncoderError: an output is missing and cannot be made: says which and why.
    """
    wanted = [clip for clip in clips if _length(clip, encoder) is not None]
    answers = ask_all(wanted, encoder, store, dataset=dataset, recorded=recorded, progress=progress)
    return {clip.clip_id: _encoded(clip, answer, encoder) for clip, answer in zip(wanted, answers)}


def ask_all(
    clips: Sequence[Clip],
    encoder: Encoder,
    store: Store,
    *,
    dataset: str,
    recorded: Path | None = None,
    progress: bool = True,
) -> list[Answer]:
    """The encoder's raw output for each clip, all of which have its signal; what the store has is not made again.

    Args:
        clips: to be encoded.
        encoder: by whom.
        store: where outputs are looked up and kept.
        dataset: name of the clips' data set, for the store.
        recorded: file of recorded outputs, taken where a clip cannot be read or the encoder's weights are not here.
        progress: show a bar on stderr.

    Raises:
        EncoderError: neither recordings and weights nor recorded outputs are here.
    """
    signals: dict[str, Signal] = {}
    asks = [_ask(clip, encoder, dataset, signals) for clip in clips]
    model = ModelSpec(name=encoder.name, kind="encoder", hub_id=f"encoder/{encoder.name}", n_params=0)
    live = _is_here(encoder) and all(_reader(clip, encoder) for clip in clips)
    if not live and recorded is None:
        encoder.revision()  # says what is missing
        raise EncoderError(
            f"{encoder.title}: the recordings of {dataset} are not here; run: llmhar data fetch {dataset}"
        )
    with tempfile.TemporaryDirectory(prefix="llmhar-encode-") as scratch:

        def opened() -> Engine:
            if not live:
                assert recorded is not None
                return RecordedEngine(recorded)
            known = store.find([ask.request.key for ask in asks])
            for ask, clip in zip(asks, clips):
                sha256 = json.loads(ask.request.messages[0]["content"])["sha256"]
                if ask.request.key not in known:
                    signal = signals.get(sha256) or _read(clip, encoder)
                    np.save(Path(scratch, f"{sha256}.npy"), at_rate(signal, encoder.rate))
            return encoder.open(Path(scratch))

        run_asks(asks, model, store, asking=Asking(open_with=opened, progress=progress))
    return collect(asks, store)


def at_rate(signal: Signal, rate: float) -> np.ndarray:
    """Samples at another rate (polyphase filter), float32, (n,) or (n, channels)."""
    if signal.rate == rate:
        return np.asarray(signal.samples, dtype=np.float32)
    up, down = round(rate * 1000), round(signal.rate * 1000)
    common = gcd(up, down)
    return resample_poly(signal.samples, up // common, down // common, axis=0).astype(np.float32)


def _is_here(encoder: Encoder) -> bool:
    try:
        encoder.revision()
    except EncoderError:
        return False
    return True


def _length(clip: Clip, encoder: Encoder) -> float | None:
    return clip.audio_s if encoder.signal == "audio" else clip.motion_s


def _reader(clip: Clip, encoder: Encoder) -> Callable[[], Signal] | None:
    return clip.read_audio if encoder.signal == "audio" else clip.read_motion


def _read(clip: Clip, encoder: Encoder) -> Signal:
    reader = _reader(clip, encoder)
    assert reader is not None
    return reader()


def _ask(clip: Clip, encoder: Encoder, dataset: str, signals: dict[str, Signal]) -> Ask:
    """The request for one clip; reads the signal only where its hash is not known."""
    known = clip.audio_sha256 if encoder.signal == "audio" else clip.motion_sha256
    if not known:
        signal = _read(clip, encoder)
        known = signal.sha256
        signals[known] = signal
    spans = [getattr(step, encoder.signal) for step in clip.steps]
    content: dict[str, Any] = {"encoder": encoder.name, "sha256": known, "windows": [span for span in spans if span]}
    content |= {"rate": encoder.rate, "options": dict(encoder.options)}
    try:
        revision = encoder.revision()
    except EncoderError:
        revision = ""
    messages = ({"role": "user", "content": canonical_json(content)},)
    request = Request(f"encoder/{encoder.name}", revision, "", messages)
    return Ask(dataset, clip.clip_id, 0, encoder.name, request)


def _encoded(clip: Clip, answer: Answer, encoder: Encoder) -> Encoded:
    if answer.stored is None:
        raise EncoderError(f"{encoder.title} gave nothing for the clip {clip.clip_id}: {answer.error}")
    said = json.loads(answer.stored.generation.text)
    centres = [step.centre for step in clip.steps if getattr(step, encoder.signal)]
    steps = tuple((at, tuple(Guess(name, share) for name, share in own)) for at, own in zip(centres, said["steps"]))
    vector = None if said["embedding"] is None else np.asarray(said["embedding"])
    return Encoded(steps, vector, answer.stored.fingerprint)
