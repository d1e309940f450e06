"""Motion encoders compared: on people they have not seen, by size and classes, and fed into the fusion. Draws nothing.

S2's open question 3: would a larger motion model, or one with finer classes, help the fusion?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from llmhar.ask.store import Store
from llmhar.fusion.ablation import accuracy, correct
from llmhar.fusion.answerers import baselines
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.hapt import hapt_clips
from llmhar.fusion.encoders.encode import encode
from llmhar.fusion.encoders.motion_models import ENCODER_PERSONS, RECIPES, cross_validate, motion_record
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.fusion.encoders.registry import encoder, prepare
from llmhar.fusion.tables import About
from llmhar.score.stats import Floats, clustered_interval, compare_pairs

HAPT_ABOUT = About("UCI HAPT", "real", "folds", "windows of 4 s", "Folds share no person.")


def capacity(names: Sequence[str]) -> pd.DataFrame:
    """Each encoder and a random forest on five subject-grouped folds of HAPT.

    Returns:
        Columns size and n_params (a forest has neither), classes, model ("cnn", "random forest"), accuracy, low, high
        (t over folds), clips (windows) and clusters (folds).
    """
    rows = []
    for name in names:
        recipe = RECIPES[name]
        prepare(name)
        crossed = cross_validate(recipe.size, recipe.classes)
        n_windows = crossed.folds.groupby("model")["n_windows"].sum()
        for row in crossed.summary[crossed.summary["measure"] == "accuracy"].itertuples():
            is_forest = row.model == "random forest"
            rows.append(
                {"size": "" if is_forest else recipe.size, "classes": recipe.classes,
                 "n_params": None if is_forest else motion_record(name)["parameters"],
                 "model": "random forest" if is_forest else "cnn", "accuracy": row.mean, "low": row.low,
                 "high": row.high, "clips": int(n_windows[row.model]), "clusters": row.n_folds}
            )  # fmt: skip
    return pd.DataFrame(rows).drop_duplicates(["model", "classes", "n_params"], ignore_index=True)


def numbers(capacity: pd.DataFrame | None, fed: pd.DataFrame) -> dict[str, float]:
    """Key numbers: accuracy of each size and number of classes on motion alone, and of the fusion that it feeds.

    Args:
        capacity: from :func:`capacity`; None where it was not measured.
        fed: from :func:`fed_into_fusion`.
    """
    found: dict[str, float] = {}
    for row in () if capacity is None else capacity[capacity["model"] == "cnn"].itertuples():
        key = f"motion_{row.size}_{row.classes}_accuracy"
        found |= {key: float(row.accuracy), f"{key}_low": float(row.low), f"{key}_high": float(row.high)}
    return found | {f"fusion_with_{name}": float(row["fusion accuracy"]) for name, row in fed.iterrows()}


def on_strangers(name: str, store: Store) -> pd.DataFrame:
    """Accuracy of one encoder's likeliest class on clips of people whom it has never seen, by true class and in all.

    Basic activities of HAPT, 20 s clips in 4 s windows; interval over people.

    Raises:
        DataError, EncoderError: HAPT cannot be had, the encoder cannot be trained.
    """
    prepare(name)
    clips = [clip for clip in hapt_clips().clips if _person(clip.cluster) not in ENCODER_PERSONS]
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
        share = clustered_interval(own["right"].to_numpy(), list(own["person"]))
        shown[label] = (share.mean, share.low, share.high, share.n_values, share.n)
    columns = ["accuracy", "95 % low", "95 % high", "windows", "people"]
    return pd.DataFrame.from_dict(shown, orient="index", columns=columns).rename_axis("class")


def _person(cluster: str) -> int:
    return int(cluster.rpartition(":")[2])


def fed_into_fusion(clipset: ClipSet, names: Sequence[str], store: Store, observing: Observing) -> pd.DataFrame:
    """Each motion encoder in turn fed into the fusion: naive Bayes on motion alone, and on everything.

    Args:
        clipset: the clips; conflict clips are left out.
        names: motion encoders.
        store: where outputs are looked up and kept.
        observing: encoders of the other modalities, and the context.

    Returns:
        Index encoder; columns classes, parameters, accuracy with motion alone and with everything, intervals, n, and
        how much more is right with everything than with the first encoder ("gain", paired, Holm over encoders).
    """
    rows, right, clusters = {}, dict[str, Floats](), list[str]()
    for name in names:
        prepare(name)
        observed = observe(clipset, store, replace(observing, encoders={**observing.encoders, "motion": name}))
        clips = [clip for clip in observed.observations if not clip.conflict]
        row: dict[str, Any] = {"classes": RECIPES[name].classes, "parameters": motion_record(name)["parameters"]}
        for title, shown in (("motion alone", ["motion"]), ("everything", ["labels", "motion", "context"])):
            predicted = baselines.predict("bayes", clips, shown, list(clipset.labels))
            row[f"{title}, naive Bayes"] = accuracy(predicted, clips).brief
            right[name] = correct(predicted, clips)  # with everything, in the end
        row["fusion accuracy"] = float(right[name].mean())
        clusters = [clip.cluster for clip in clips]
        rows[name] = {**row, "clips": len(clips), "recordings": len(set(clusters))}
    for pair in compare_pairs(right, [(name, names[0]) for name in names[1:]], clusters) if len(names) > 1 else ():
        rows[pair.first] |= {"gain": pair.gap, "low": pair.low, "high": pair.high, "verdict": pair.verdict}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("encoder")
