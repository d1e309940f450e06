"""Tables of fusion: conditions, modalities' shares, doses and verdicts, S2 beside ours. Asks nobody, draws nothing.

Numbers are left as they are, 0 … 1; who shows a table rounds it. Every table says who answered and of what kind that
is, how many clips and clusters (people or recordings), and which data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from llmhar.fusion.ablation import Cell, Compared, in_order
from llmhar.fusion.encoders.observation import Observation
from llmhar.score.published import published
from llmhar.score.tables import KINDS

NO_ANSWER = "(no valid answer)"
Score = Literal["accuracy", "macro_f1"]
SCORES: dict[Score, str] = {"accuracy": "accuracy", "macro_f1": "macro F1"}
IN_S2 = {"captions": "audio captions", "labels": "audio labels", "motion": "imu predictions", "": "chance"}
"""Our modality -> row of S2's published accuracies; "" = told nothing."""
S2_DATA = "Ego4D, 12 activities (real)"


class About(NamedTuple):
    """What every table and figure of one data set says of it."""

    data: str
    """Its title."""
    kind: str
    """``clips.Kind``: real, composed from real recordings, or recorded outputs."""
    clusters: str = "clusters"
    """What is resampled: "people", "recordings"."""
    unit: str = "clips"
    """What is scored: clips, or windows for an encoder alone."""
    note: str = ""
    """A further sentence, such as a named subset or that encoders' outputs were recorded."""

    @property
    def marked(self) -> str:
        """The data as columns and stamps name them; "recorded" outputs say so."""
        kind = "recorded encoder outputs" if self.kind == "recorded" else self.kind
        return f"{self.data} ({kind})"


def stamped(about: About, who: Mapping[str, str], n_clips: Iterable[int], n_clusters: Iterable[int]) -> str:
    """The text under a figure: data with its mark, n, interval, and who answered.

    Args:
        about: the data.
        who: answerer -> key into ``score.tables.KINDS``.
        n_clips, n_clusters: behind each number of the figure; a range is shown where they differ.
    """
    groups: dict[str, list[str]] = {}
    for name, kind in who.items():
        groups.setdefault(KINDS[kind], []).append(name)
    people = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in groups.items())
    size = f"n = {_span(n_clips)} {about.unit} of {_span(n_clusters)} {about.clusters}"
    text = f"Data: {about.marked}, {size}; 95 % intervals over {about.clusters}. {about.note}".rstrip()
    return f"{text}\n{people}"


def _span(values: Iterable[int]) -> str:
    own = sorted({int(value) for value in values})
    return "0" if not own else f"{own[0]}" if len(own) == 1 else f"{own[0]}–{own[-1]}"


def spell(modalities: Iterable[str]) -> str:
    """A combination as tables write it."""
    return " + ".join(in_order(modalities)) or "nothing"


def cell_table(cells: Sequence[Cell], about: About) -> pd.DataFrame:
    """One row a condition and answerer: accuracy and macro F1 with intervals, missing answers, n, data."""
    rows = [
        {
            "told": spell(cell.modalities),
            "answerer": cell.answerer,
            "kind": KINDS[cell.kind],
            "shots": cell.shots,
            "accuracy": cell.accuracy.mean,
            "accuracy low": cell.accuracy.low,
            "accuracy high": cell.accuracy.high,
            "macro F1": cell.macro_f1.mean,
            "macro F1 low": cell.macro_f1.low,
            "macro F1 high": cell.macro_f1.high,
            "no valid answer": cell.n_missing,
            "clips": cell.accuracy.n_clips,
            "clusters": cell.accuracy.n_clusters,
            "interval": cell.accuracy.how,
            "data": about.marked,
        }
        for cell in cells
    ]
    columns = ["told", "answerer", "kind", "shots", "accuracy", "accuracy low", "accuracy high", "macro F1",
               "macro F1 low", "macro F1 high", "no valid answer", "clips", "clusters", "interval", "data"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).set_index(["told", "answerer", "shots"])


def factorial_grid(cells: Sequence[Cell], score: Score = "accuracy") -> pd.DataFrame:
    """Score with interval as text: rows combinations, columns (answerer, shots); "–": not asked."""
    columns = list(dict.fromkeys((cell.answerer, cell.shots) for cell in cells))
    rows = [spell(own) for own in sets_in_order(cells)]
    grid = pd.DataFrame("–", index=rows, columns=pd.MultiIndex.from_tuples(columns), dtype=object)
    for cell in cells:
        grid.loc[spell(cell.modalities), (cell.answerer, cell.shots)] = str(getattr(cell, score))
    return grid.rename_axis("told").rename_axis(columns=["answerer", "shots"])


def sets_in_order(cells: Sequence[Cell]) -> list[frozenset[str]]:
    """The combinations that occur, in the order of ``ablation.combinations``."""
    names = in_order(name for cell in cells for name in cell.modalities)
    place = {name: i for i, name in enumerate(names)}
    return sorted({cell.modalities for cell in cells}, key=lambda own: (len(own), sorted(place[name] for name in own)))


def shapley_table(shares: Mapping[str, pd.DataFrame], kinds: Mapping[str, str], about: About) -> pd.DataFrame:
    """Shapley shares of several answerers, one below the other.

    Args:
        shares: answerer -> ``ablation.shapley_shares``.
        kinds: answerer -> key into ``score.tables.KINDS``.
        about: the data.
    """
    table = pd.concat(shares, names=["answerer"]) if shares else pd.DataFrame()
    if len(table):
        table.insert(0, "kind", [KINDS[kinds[name]] for name, _ in table.index])
        table["data"] = about.marked
    return table


def pair_table(pairs: Sequence[Compared], about: About) -> pd.DataFrame:
    """Planned comparisons with their verdict words; "not shown" never means "equal"."""
    rows = [
        (one.first, one.second, one.gap.mean, one.gap.low, one.gap.high, one.p_holm, one.p_least, one.verdict,
         one.gap.n_clips, one.gap.n_clusters, about.marked)
        for one in pairs
    ]  # fmt: skip
    columns = ["first", "second", "gap", "low", "high", "p_holm", "p_least", "verdict", "clips", "clusters", "data"]
    return pd.DataFrame(rows, columns=columns).set_index(["first", "second"])


def confusion_table(
    predictions: Mapping[str, str | None], observations: Sequence[Observation], labels: Sequence[str]
) -> pd.DataFrame:
    """Clips by true activity (rows that occur) and answer (columns: all labels, then no valid answer)."""
    columns = [*labels, NO_ANSWER]
    rows = [label for label in labels if any(one.label == label for one in observations)]
    table = pd.DataFrame(np.zeros((len(rows), len(columns)), dtype=int), index=rows, columns=columns)
    for one in observations:
        answer = predictions.get(one.clip_id)
        table.loc[one.label, answer if answer in labels else NO_ANSWER] += 1
    return table.rename_axis("true").rename_axis(columns="answered")


def beside_published(cells: Sequence[Cell], about: About) -> pd.DataFrame:
    """S2's published accuracies of one modality alone, and ours under the same conditions.

    S2's clips, encoders and activities are others than ours: compare the order of modalities, not the heights.

    Returns:
        Columns told, answerer, kind (key into ``score.tables.KINDS``), shots, accuracy, low, high, clips, clusters,
        data; NaN where S2 says nothing.
    """
    theirs = published("fusion").set_index("modality")["accuracy_pct"] / 100
    rows: list[dict[str, object]] = []
    for ours, name in IN_S2.items():
        own = frozenset([ours] if ours else [])
        who = "chance, 12 activities" if name == "chance" else "Gemini-2.5-pro"
        rows.append({"told": spell(own), "answerer": who, "kind": "published", "shots": np.nan,
                     "accuracy": float(theirs[name]), "low": np.nan, "high": np.nan, "clips": np.nan,
                     "clusters": np.nan, "data": S2_DATA})  # fmt: skip
        rows += [
            {"told": spell(own), "answerer": cell.answerer, "kind": cell.kind, "shots": cell.shots,
             "accuracy": cell.accuracy.mean, "low": cell.accuracy.low, "high": cell.accuracy.high,
             "clips": cell.accuracy.n_clips, "clusters": cell.accuracy.n_clusters, "data": about.marked}
            for cell in cells if cell.modalities == own
        ]  # fmt: skip
    return pd.DataFrame(rows)
