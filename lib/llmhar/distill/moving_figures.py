"""Figures of homes never seen: who answers how well in which home, and what more lessons bring. Computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmhar.distill.moving import NOT_ASKED, Homes, Role, Row
from llmhar.score.across_homes import mean_f1
from llmhar.score.figures import MARKS, StudyFigure, axes_of, colours, describe, plain, stamp_wrapped
from llmhar.score.stats import Interval
from llmhar.score.tables import Result

ROLES: tuple[Role, ...] = ("student", "free", "other model", "script", "control")
"""In the order in which colours and marks are given."""
WORDS: Mapping[Role, str] = {
    "student": "taught on made-up homes",
    "free": "the same, naming activities itself",
    "other model": "other language models",
    "script": "hand-written rules",
    "control": "no language model, no rules",
}
SMALL = 9


def homes_figure(rows: Sequence[Row], homes: Homes) -> Figure | str:
    """Macro F1 of every answerer, a panel a home and one for the mean over the counted homes; 95 % intervals."""
    columns = [*(["mean"] if homes.counted else []), *homes.tasks]
    if not rows or not columns:
        return NOT_ASKED
    wide = min(len(columns), 4)
    deep = -(-len(columns) // wide)
    figure, panels = plt.subplots(deep, wide, figsize=(2.6 * wide + 2.2, (0.32 * len(rows) + 1.1) * deep + 1.4),
                                  sharex=True, sharey=True, squeeze=False, FigureClass=StudyFigure)  # fmt: skip
    plt.close(figure)
    palette = dict(zip(ROLES, colours(len(ROLES))))
    for place, axes in enumerate(panels.flat):
        if place >= len(columns):
            axes.set_axis_off()
            continue
        column = columns[place]
        for y, row in enumerate(rows):
            if column != "mean" and column not in row.results:
                continue
            f1 = mean_f1(row.results, homes.counted) if column == "mean" else row.results[column].macro_f1
            mark = MARKS[ROLES.index(row.role)]
            first = row.role not in [other.role for other in rows[:y]]
            label = WORDS[row.role] if first and not place else None
            axes.plot(*_bar(f1, y), color=palette[row.role], linewidth=2, alpha=0.6)
            axes.plot(f1.mean, y, mark, color=palette[row.role], markersize=7, label=label)
        task = homes.tasks.get(column)
        n = f"{len(homes.counted)} recorded homes" if task is None else f"n = {len(task.sessions)}, {task.kind}"
        axes.set_title(plain(f"{column}\n{n}"), loc="left", fontsize=SMALL + 1)
        axes.set_yticks(range(len(rows)), [plain(row.name) for row in rows], fontsize=SMALL)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", alpha=0.25)
    figure.supxlabel("")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=SMALL)
    results = [result for row in rows for result in row.results.values()]
    return stamp_wrapped(figure, f"Macro F1, 95 % interval over sessions. {describe(results)}")


def _bar(f1: Interval, y: float) -> tuple[list[float], list[float]]:
    return ([f1.low, f1.high], [y, y]) if f1.low == f1.low else ([f1.mean], [y])


def windows_curve(curve: Mapping[int, Result]) -> Figure | str:
    """Macro F1 on made-up validation homes against the lessons seen, a home each; 95 % interval over homes."""
    if not curve:
        return NOT_ASKED
    figure, axes = axes_of(8.5, 4.2)
    f1s = [result.macro_f1 for result in curve.values()]
    (colour,) = colours(1)
    axes.fill_between(list(curve), [f1.low for f1 in f1s], [f1.high for f1 in f1s], color=colour, alpha=0.2)
    axes.plot(list(curve), [f1.mean for f1 in f1s], "o-", color=colour)
    axes.set_xlabel("lessons seen: a window each, of another made-up home")
    axes.set_ylabel("macro F1 on validation homes")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.grid(alpha=0.25)
    axes.set_title("How many homes does it take?", loc="left")
    return stamp_wrapped(figure, f"One training; before its end the learning rate had not come down. "
                                 f"{describe(list(curve.values())[-1:])}")  # fmt: skip
