"""Tables of fusion: conditions, modalities' shares, doses and verdicts, S2 beside ours. Asks nobody, draws nothing.

Numbers are left as they are, 0 … 1; who shows a table rounds it. Every table says who answered and of what kind that
is, how many clips and clusters (people or recordings), and which data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from llmhar.fusion.ablation import Cell, in_order
from llmhar.score.published import published
from llmhar.score.tables import KINDS

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


def stamped(about: About, kinds: Mapping[str, str], n_clips: Iterable[int], n_clusters: Iterable[int]) -> str:
    """The text under a figure: data with its mark, n, interval, and who answered.

    Args:
        about: the data.
        kinds: answerer -> key into :data:`llmhar.score.tables.KINDS`.
        n_clips: behind each number of the figure; a range is shown where they differ.
        n_clusters: as ``n_clips``.
    """
    groups: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(KINDS[kind], []).append(name)
    answerers = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in groups.items())
    size = f"n = {_span(n_clips)} {about.unit} of {_span(n_clusters)} {about.clusters}"
    text = f"Data: {about.marked}, {size}; 95 % intervals over {about.clusters}. {about.note}".rstrip()
    return f"{text}\n{answerers}"


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
            "clips": cell.accuracy.n_values,
            "clusters": cell.accuracy.n,
            "interval": cell.accuracy.how,
            "data": about.marked,
        }
        for cell in cells
    ]
    return pd.DataFrame(rows).set_index(["told", "answerer", "shots"]) if rows else pd.DataFrame()


def factorial_grid(cells: Sequence[Cell], score: Score = "accuracy") -> pd.DataFrame:
    """Score with interval as text: rows combinations, columns (answerer, shots); "–": not asked."""
    columns = list(dict.fromkeys((cell.answerer, cell.shots) for cell in cells))
    rows = [spell(own) for own in sets_in_order(cells)]
    grid = pd.DataFrame("–", index=rows, columns=pd.MultiIndex.from_tuples(columns), dtype=object)
    for cell in cells:
        grid.loc[spell(cell.modalities), (cell.answerer, cell.shots)] = getattr(cell, score).brief
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
        kinds: answerer -> key into :data:`llmhar.score.tables.KINDS`.
        about: the data.
    """
    table = pd.concat(shares, names=["answerer"]) if shares else pd.DataFrame()
    if len(table):
        table.insert(0, "kind", [KINDS[kinds[name]] for name, _ in table.index])
        table["data"] = about.marked
    return table


def beside_published(cells: Sequence[Cell], about: About) -> pd.DataFrame:
    """S2's published accuracies of one modality alone, and ours under the same conditions.

    S2's clips, encoders and activities are others than ours: compare the order of modalities, not the heights.

    Returns:
        Columns told, answerer, kind (key into ``KINDS``), shots, accuracy, low, high, clips, clusters, data; NaN
        where S2 says nothing.
    """
    theirs = published("fusion").set_index("modality")["accuracy_pct"] / 100
    rows: list[dict[str, object]] = []
    for ours, name in IN_S2.items():
        modalities = frozenset([ours] if ours else [])
        who = "chance, 12 activities" if name == "chance" else "Gemini-2.5-pro"
        given = {"answerer": who, "kind": "published", "accuracy": float(theirs[name]), "data": S2_DATA}
        rows.append({"told": spell(modalities)} | given)
        rows += [
            {
                "told": spell(modalities),
                "answerer": cell.answerer,
                "kind": cell.kind,
                "shots": cell.shots,
                "accuracy": cell.accuracy.mean,
                "low": cell.accuracy.low,
                "high": cell.accuracy.high,
                "clips": cell.accuracy.n_values,
                "clusters": cell.accuracy.n,
                "data": about.marked,
            }
            for cell in cells
            if cell.modalities == modalities
        ]
    columns = ["told", "answerer", "kind", "shots", "accuracy", "low", "high", "clips", "clusters", "data"]
    return pd.DataFrame(rows, columns=columns)
