"""How much of a modality's share is the design's doing: the composed scenes drawn several times. Draws no figure.

On composed scenes the shares of motion and context follow from the table of scenes (which motion goes with which
sound), so their intervals over recordings say nothing of it. Other draws deal other sounds to the folds and other
people to the clips: what then differs is the variance of the design, as far as one table of scenes has any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.fusion import ablation, study
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.observe import Observing, observe

WHOLE = "everything"
"""Stands for all modalities among the rows of :func:`draw_table`."""


def draw_table(
    seeds: Sequence[int], names: Sequence[str], store: Store, observing: Observing, asking: Asking
) -> pd.DataFrame:
    """Shapley shares of rules and baselines on each draw of the composed scenes.

    Args:
        seeds: of the draws; 0 is the study's own.
        names: baselines.
        store: where outputs and answers are looked up and kept.
        observing: encoders and context.
        asking: how rules are asked.

    Returns:
        Index answerer, modality ("everything": accuracy with all shown); columns mean, sd, least, most, draws, clips.

    Raises:
        DataError, EncoderError: sounds, motion or an encoder that are not here.
    """
    drawn: dict[tuple[str, str], list[float]] = {}
    n_clips = 0
    for seed in seeds:
        clips = load_clipset("scenes", options={"seed": seed})
        plan = study.plan(clips, observe(clips, store, observing), FusionForm(), None, seed)
        outcome = study.answer(plan, ["rules"], names, [0], store, asking)
        for own in outcome.answered:
            right = ablation.correct(own.given[Condition(plan.task.shown)].predictions, plan.task.consistent)
            drawn.setdefault((own.answerer, WHOLE), []).append(float(right.mean()))
        for name, shares in outcome.shares.items():
            for modality, share in shares["share"].dropna().items():
                drawn.setdefault((name, str(modality)), []).append(float(share))
        n_clips = len(plan.task.consistent)
    rows = {
        key: {"mean": np.mean(own), "sd": np.std(own, ddof=1) if len(own) > 1 else np.nan, "least": min(own),
              "most": max(own), "draws": len(own), "clips": n_clips}
        for key, own in drawn.items()
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["answerer", "modality"])
