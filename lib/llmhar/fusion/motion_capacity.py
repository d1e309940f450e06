"""Motion encoders compared: on people they have not seen, by size and classes, and fed into the fusion. Draws nothing.

S2's open question 3: would a larger motion model, or one with finer classes, help the fusion?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from llmhar.ask.store import Store
from llmhar.fusion.ablation import clustered_interval, correct
from llmhar.fusion.answerers import baselines
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.hapt import hapt_clips
from llmhar.fusion.encoders.encode import encode
from llmhar.fusion.encoders.motion_models import ENCODER_PERSONS, RECIPES, cross_validate, motion_record
from llmhar.fusion.encoders.observe import observe
from llmhar.fusion.encoders.registry import encoder, prepare
from llmhar.fusion.tables import About

HAPT_ABOUT = About("UCI HAPT", "real", "people", "windows of 4 s", "Five folds that share no person.")


def capacity(names: Sequence[str]) -> pd.DataFrame:
    """Each encoder and a random forest on five subject-grouped folds of HAPT.

    Returns:
        Columns size, classes, n_params, model ("cnn", "random forest"), accuracy, low, high (t over folds), folds.
    """
    rows = []
    for name in names:
        recipe = RECIPES[name]
        prepare(name)
        found = cross_validate(recipe.size, recipe.classes).summary
        for row in found[found["measure"] == "accuracy"].itertuples():
            is_forest = row.model == "random forest"
            rows.append({
                "size": recipe.size, "classes": recipe.classes,
                "n_params": None if is_forest else motion_record(name)["parameters"],
                "model": "random forest" if is_forest else "cnn",
                "accuracy": row.mean, "low": row.low, "high": row.high, "folds": row.n_folds,
            })  # fmt: skip
    return pd.DataFrame(rows).drop_duplicates(["model", "classes", "n_params"], ignore_index=True)


def on_strangers(name: str, store: Store) -> pd.DataFrame:
    """Accuracy of one encoder's likeliest class on clips of people whom it has never seen, by true class and in all.

    Basic activities of HAPT, 20 s clips in 4 s windows; interval over people.

    Raises:
        DataError, EncoderError: HAPT cannot be had, the encoder cannot be trained.
    """
    prepare(name)
    clips = [one for one in hapt_clips().clips if _person(one.cluster) not in ENCODER_PERSONS]
    said = encode(clips, encoder(name), store, dataset="hapt")
    rows = [
        {"class": clip.label, "person": clip.cluster, "right": float(guesses[0].name == clip.label)}
        for clip in clips
        if clip.clip_id in said
        for _, guesses in said[clip.clip_id].steps
    ]
    table = pd.DataFrame(rows)
    parts = {"all": table, **dict(list(table.groupby("class", sort=False)))}
    shown = {}
    for label, own in parts.items():
        made = clustered_interval(own["right"].to_numpy(), list(own["person"]))
        shown[label] = (made.mean, made.low, made.high, made.n_clips, made.n_clusters)
    columns = ["accuracy", "95 % low", "95 % high", "windows", "people"]
    return pd.DataFrame.from_dict(shown, orient="index", columns=columns).rename_axis("class")


def _person(cluster: str) -> int:
    return int(cluster.rpartition(":")[2])


def fed_into_fusion(
    clipset: ClipSet, names: Sequence[str], store: Store, *, encoders: Mapping[str, str | None], **how: Any
) -> pd.DataFrame:
    """Each motion encoder in turn fed into the fusion: naive Bayes on motion alone, and on everything.

    Args:
        clipset: the clips; conflict clips are left out.
        names: motion encoders.
        store: where outputs are looked up and kept.
        encoders: of the other modalities.
        how: see :func:`llmhar.fusion.encoders.observe.observe`.

    Returns:
        Index encoder; columns classes, parameters, accuracy with motion alone and with everything, intervals, n.
    """
    rows = {}
    for name in names:
        prepare(name)
        observed = observe(clipset, store, encoders={**encoders, "motion": name}, **how)
        own = [one for one in observed.observations if not one.conflict]
        row: dict[str, Any] = {"classes": RECIPES[name].classes, "parameters": motion_record(name)["parameters"]}
        for title, shown in (("motion alone", ["motion"]), ("everything", ["labels", "motion", "context"])):
            predicted = baselines.predict("bayes", own, shown, list(clipset.labels))
            row[f"{title}, naive Bayes"] = str(clustered_interval(correct(predicted, own), [o.cluster for o in own]))
        rows[name] = {**row, "clips": len(own), "recordings": len({one.cluster for one in own})}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("encoder")
