"""Figures of a student that moves house: labelled days, kinds of activities, windows. Computes no score, reads no file.

Drawn from the tables of ``overtake``, ``kinds`` and ``schemes``, and stamped as all figures of the study are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmhar.data.events import SCHEMES, WINDOW_SIZE
from llmhar.score.figures import (
    MARKS,
    axes_of,
    colours,
    colours_of,
    describe,
    f1_words,
    panels_of,
    plain,
    ranked,
    stamp_wrapped,
)
from llmhar.score.kinds import kind_table
from llmhar.score.overtake import LearningCurve, by_control, curve_table, find_overtake
from llmhar.score.schemes import PURITIES, Results, scheme_table
from llmhar.score.tables import Result

LINES = ("-", "--", "-.", ":")
BOUNDS = ["95 % low", "95 % high"]


def _panels(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels side by side, three a row, that share their axis of F1."""
    columns = min(n, 3)
    rows = -(-n // columns)
    figure, axes = panels_of(rows, columns, (1.5 + 3.4 * columns, 0.8 + height * rows))
    for empty in axes[n:]:
        empty.set_visible(False)
    return figure, axes[:n]


def learning_figure(
    curves: Sequence[LearningCurve], students: Sequence[Result], tuned: Mapping[int, Sequence[Result]] | None = None
) -> Figure:
    """F1 of controls by labelled days, a panel a home and one for their mean; the student is a line across.

    Bands are 95 % intervals; a dotted line marks the day at which a control passes the student.

    Args:
        curves: of any controls and homes.
        students: one student's results on the same windows, a home each.
        tuned: labelled days -> results of the student tuned on them.
    """
    table = curve_table(curves, students, tuned)
    controls, homes = by_control(curves), list(dict.fromkeys(table["data"]))
    student = students[0].model.name
    palette = colours_of([student, *controls])
    figure, panels = _panels(len(homes), 3.4)
    passed: dict[str, float] = {}
    for axes, data in zip(panels, homes):
        here = table[table["data"] == data]
        for place, (control, own) in enumerate(controls.items()):
            rows = here[here["who"] == control]
            look: dict[str, Any] = {"color": palette[control], "linestyle": LINES[place % len(LINES)]}
            axes.plot(rows["labelled days"], rows["macro F1"], marker=MARKS[place + 1], label=plain(control), **look)
            low, high = (rows[bound] for bound in BOUNDS)
            axes.fill_between(rows["labelled days"], low, high, color=look["color"], alpha=0.15)
            some = [curve for curve in own if curve.data == data] or own
            if (day := find_overtake(some, students).day) is not None:
                axes.axvline(day, color=look["color"], linestyle=":", linewidth=1.5)
                passed[f"{control} in {data}"] = day
        _draw_student(axes, here[~here["who"].isin(list(controls))], palette[student])
        axes.set_title(plain(data), loc="left", fontsize=11)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks(sorted(set(here["labelled days"])))
        axes.set_xlabel("labelled days of the home")
        axes.grid(alpha=0.25)
    for axes in panels[::3]:
        axes.set_ylabel("macro F1")
    marks = panels[0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    n_draws, made_by = max(curve.f1.shape[1] for curve in curves), "; ".join(sorted({c.made_by for c in curves}))
    fitted = f"Controls: {made_by}, {n_draws} draws of days that nobody is asked about."
    result = f"{f1_words(students)}. {ranked('Passed after labelled days', passed) or 'No control passes it'}"
    return stamp_wrapped(figure, f"{describe(students)}\n{fitted}", result)


def _draw_student(axes: Axes, rows: pd.DataFrame, colour: Any) -> None:
    """The student as it comes, across the panel, and where it was tuned on days."""
    comes, others = rows[rows["labelled days"] == 0], rows[rows["labelled days"] > 0]
    for _, row in comes.iterrows():
        axes.axhline(row["macro F1"], color=colour, linewidth=2, label=plain(f"{row['who']}, no labelled day"))
        axes.axhspan(*(row[bound] for bound in BOUNDS), color=colour, alpha=0.12)
    if len(others):
        spread = [(others["macro F1"] - others[BOUNDS[0]]), (others[BOUNDS[1]] - others["macro F1"])]
        look = {"color": colour, "marker": MARKS[0], "linestyle": "none", "capsize": 4}
        axes.errorbar(others["labelled days"], others["macro F1"], yerr=spread, label="the same, tuned on them", **look)


def kind_figure(results: Sequence[Result]) -> Figure:
    """F1 of each group of activities, one mark a model, with 95 % intervals over sessions.

    Args:
        results: models on the same tasks, the largest model first.
    """
    table = kind_table(results).reset_index()
    groups, models = list(dict.fromkeys(table["activities"])), list(dict.fromkeys(table["model"]))
    figure, axes = axes_of(9.5, 0.34 * len(groups) * (1 + 0.5 * len(models)) + 2.2)
    for place, (model, colour) in enumerate(colours_of(models).items()):
        rows = table[table["model"] == model]
        at = [groups.index(group) + 0.7 * (place + 0.5) / len(models) - 0.35 for group in rows["activities"]]
        _draw_points(axes, rows, "F1", at, (MARKS[place % len(MARKS)], colour, model))
    n = table.drop_duplicates("activities").set_index("activities")
    names = [f"{g}\n{n.at[g, 'n activities']} activities, {n.at[g, 'n events']} events" for g in groups]
    axes.set_yticks(range(len(groups)), [plain(name) for name in names])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("F1, mean over the activities of a group")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    values = {f"{row.model} on {row.activities}": row.F1 for row in table.itertuples()}
    return stamp_wrapped(figure, describe(results), ranked("F1", values))


def scheme_figure(results: Results, *, by_first: bool = False) -> Figure:
    """F1 of each scheme of windows over all events, those of pure and those of mixed windows; a panel a model and home.

    Args:
        results: scheme -> results; only events that all schemes asked about are counted.
        by_first: pure and mixed are the windows of the first scheme.
    """
    table = scheme_table(results, by_first=by_first).reset_index()
    schemes, owners = list(dict.fromkeys(table["windows"])), list(dict.fromkeys(zip(table["data"], table["model"])))
    figure, panels = _panels(len(owners), 0.5 * len(schemes) + 2.0)
    for axes, (data, model) in zip(panels, owners):
        here = table[(table["data"] == data) & (table["model"] == model)]
        for place, (name, colour) in enumerate(zip(PURITIES, colours(len(PURITIES)))):
            rows = here[here["events of"] == name]
            at = [schemes.index(scheme) + 0.25 * (place - 1) for scheme in rows["windows"]]
            _draw_points(axes, rows, "macro F1", at, (MARKS[place], colour, name))
            for y, n in zip(at, rows["n events"]):
                axes.text(1.04, y, f"n = {n}", va="center", fontsize=7, color="0.35")
        axes.set_title(plain(f"{model}\n{data}"), loc="left", fontsize=10)
        axes.set_yticks(range(len(schemes)), [plain(scheme) for scheme in schemes])
        axes.set_ylim(len(schemes) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("macro F1")
        axes.grid(axis="x", alpha=0.25)
    marks = panels[0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    first = next(iter(results.values()))
    size = max((len(window.events) for result in first for window in result.task.windows), default=WINDOW_SIZE)
    words = "; ".join(f"{scheme}: {SCHEMES[scheme].words.format(size=size)}" for scheme in schemes)
    about = f"{describe(first)}\nWindows: {words}. The same events in all, n of them beside each mark."
    every = table[table["events of"] == "all"].to_dict("records")
    f1 = {f"{row['model']} on {row['data']}, {row['windows']}": row["macro F1"] for row in every}
    return stamp_wrapped(figure, about, ranked("Macro F1", f1))


def _draw_points(axes: Axes, rows: pd.DataFrame, what: str, at: Sequence[float], look: tuple[str, Any, str]) -> None:
    """Scores with their intervals, lying; ``look`` is mark, colour and name. A NaN is not drawn, nor its interval."""
    mark, colour, name = look
    low, high = (rows[column] for column in (BOUNDS if what == "macro F1" else [f"{what}, {b}" for b in BOUNDS]))
    spread = [(rows[what] - low).clip(lower=0), (high - rows[what]).clip(lower=0)]
    style = {"color": colour, "marker": mark, "linestyle": "none", "capsize": 3}
    axes.errorbar(rows[what], at, xerr=spread, label=plain(name), **style)
