"""What the encoders' child processes share: a request becomes windows of samples, guesses become a reply.

Knows no model: a backend gives :meth:`WindowBackend.look`. Samples lie as ``<sha256>.npy`` in the folder that
:func:`.encode.encode` fills. A request that cannot be answered comes back as an error, the rest goes on.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmhar.ask.engines.worker import Emit, Inbox, Task, sentence
from llmhar.fusion.encoders.encode import write_reply

SLACK_S = 0.01
"""Seconds that a window may reach beyond the samples: clips are cut to a millisecond, and resampling rounds."""


class Looked(NamedTuple):
    """What a model said of the windows of one request."""

    steps: Sequence[Sequence[tuple[str, float]]]
    """One list of (name, share) a window, likeliest first."""
    embedding: np.ndarray | None = None
    """(d,), mean over windows."""


class WindowBackend:
    """The child side of an encoder, one request at a time; subclasses load a model and give :meth:`look`."""

    version = ""
    dtype = "float32"
    device = "cpu"
    columns: int | None = None
    """Channels of the samples; None: one, (n,)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._folder = Path(config["folder"])

    def look(self, windows: list[np.ndarray], options: Mapping[str, Any]) -> Looked:
        """Guesses for windows of float32 samples, (n,) or (n, columns), at least one."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """What made the answers, for their fingerprint."""
        made_by = {"version": self.version, "dtype": self.dtype, "device": self.device}
        return made_by | {"max_model_len": 0, "in_flight": 8}

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Answer tasks until the inbox is closed; what is cancelled is dropped unanswered."""
        waiting: deque[Task] = deque()
        while True:
            tasks = inbox.poll(wait=not waiting)
            if inbox.closed:
                return
            if inbox.cancelled:
                waiting.clear()
            waiting += tasks
            if waiting:
                self._answer(waiting.popleft(), emit)

    def _answer(self, task: Task, emit: Emit) -> None:
        started = time.perf_counter()
        try:
            content = json.loads(task.request.messages[-1]["content"])
            windows = read_windows(self._folder, content, self.columns)
            looked = self.look(windows, content["options"]) if windows else Looked([])
            vector = None if looked.embedding is None else [float(value) for value in looked.embedding]
            text = write_reply(looked.steps, vector)
        except Exception as error:  # this request only
            emit(task, finish_reason="error", error=sentence(error))
            return
        seconds = round(time.perf_counter() - started, 4)
        emit(task, text=text, finish_reason="stop", prompt_tokens=len(windows), seconds=seconds)


def read_windows(folder: Path, content: Mapping[str, Any], columns: int | None) -> list[np.ndarray]:
    """The windows that a request names, all of one length.

    Raises:
        ValueError: samples of another form, not finite, or too short for a window.
        OSError: no such file, or not an array.
    """
    name = content["sha256"]
    if not (isinstance(name, str) and name.isalnum()):
        raise ValueError("samples are named by their sha256")
    samples = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    wanted = (columns,) if columns else ()
    if samples.dtype != np.float32 or samples.shape[1:] != wanted:
        raise ValueError(f"samples are {samples.dtype} {samples.shape}, expected float32 (n{', 6' if columns else ''})")
    return [_window(samples, start, end, content["rate"]) for start, end in content["windows"]]


def _window(samples: np.ndarray, start: float, end: float, rate: float) -> np.ndarray:
    first, length = round(start * rate), round((end - start) * rate)
    cut = np.asarray(samples[max(0, first) : first + length])
    missing = length - len(cut)
    if first < 0 or length < 1 or missing > SLACK_S * rate:
        raise ValueError(f"the window {start} to {end} s is not within the {len(samples) / rate:.2f} s there are")
    if not np.isfinite(cut).all():
        raise ValueError(f"samples between {start} and {end} s are not finite")
    return np.concatenate([cut, np.repeat(cut[-1:], missing, axis=0)]) if missing else cut


def likeliest(scores: np.ndarray, names: Sequence[str], top: int) -> list[tuple[str, float]]:
    """The ``top`` names of the highest scores; of equal ones the first."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [(names[i], float(scores[i])) for i in order]
