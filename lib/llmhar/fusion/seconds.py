"""Seconds from raw samples to the activity, part by part, one clip after the other. Scores nothing, stores nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.inference import open_model
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.fusion.answerers.inference import fusion_asks
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.clips.clip import HOP_S, ClipSet
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.fusion.encoders.registry import STAND_INS
from llmhar.score.tables import NOT_RECORDED


def second_table(
    clipset: ClipSet, observing: Observing, task: FusionTask, models: Sequence[ModelSpec], asking: Asking, n: int = 5
) -> pd.DataFrame:
    """Seconds a clip of each encoder (reading and resampling included) and of each model's answer.

    Each is measured on ``n`` clips after one that is not counted; an encoder's start-up is taken off as the difference
    of two runs. "Keeps up" asks for an answer to each 2 s of sound every 2 s: an encoder has the clip's steps to do in
    the clip's time, a model one prompt of the whole clip in 2 s.

    Args:
        clipset: whose signals are here (recorded outputs have none: no encoder is measured then).
        observing: encoders.
        task: the clips, as models are asked.
        models: who answers, one prompt at a time.
        asking: how; nothing is looked up or kept.
        n: clips.
    """
    rows = []
    for modality, name in observing.encoders.items():
        if name and name not in STAND_INS and clipset.kind != "recorded":
            alone = replace(observing, encoders={modality: name}, progress=False)
            spent = _encoding(clipset, alone, n + 1) - _encoding(clipset, alone, 1)
            steps = max(1, len(clipset.clips[0].steps))
            rows.append(_row(f"{modality}: {name}", "step", spent / n, spent / n / steps))
    whole = Condition(task.shown)
    for model in models:
        asks = fusion_asks(replace(task, observations=task.observations[: n + 1]), model, whole, asking)
        seconds = []
        with open_model(model, replace(asking, purpose="timed")) as engine:
            threads = getattr(engine, "threads", None)
            for ask in asks:
                before = perf_counter()
                list(engine.stream([ask.request]))
                seconds.append(perf_counter() - before)
        spent = sum(seconds[1:]) / max(1, len(seconds) - 1)
        rows.append(_row(f"answer: {model.name}", "answer", spent, spent, threads))
    return pd.DataFrame(rows or [{"part": "nothing measured"}]).set_index("part")


def _row(part: str, unit: str, clip_s: float, unit_s: float, threads: int | None = None) -> dict[str, object]:
    return {"part": part, "seconds a clip": clip_s, "counted": f"per {unit}", "seconds each": unit_s,
            "keeps up": unit_s <= HOP_S, "threads": threads or NOT_RECORDED}  # fmt: skip


def _encoding(clipset: ClipSet, observing: Observing, n: int) -> float:
    """Seconds for the first ``n`` clips with nothing kept from before."""
    with tempfile.TemporaryDirectory(prefix="llmhar-seconds-") as folder, Store(Path(folder, "s.sqlite")) as store:
        before = perf_counter()
        observe(replace(clipset, clips=clipset.clips[:n]), store, observing)
        return perf_counter() - before
