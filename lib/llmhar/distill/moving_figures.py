"""Figures of homes never seen: who answers how well in which home, and what more lessons bring. Computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from llmhar.distill.moving import NOT_ASKED, Homes, Role, Row
from llmhar.score.across_homes import mean_f1
from llmhar.score.figures import MARKS, axes_of, colours_of, describe, f1_words, panels_of, plain, ranked, stamp_wrapped
from llmhar.score.stats import Interval
from llmhar.score.tables import Result

ROLES: tuple[Role, ...] = ("student", "free", "other model", "script", "control")
"""In the order in which marks are given; colours are the answerers' own."""
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
    size = 2.6 * wide + 2.2, (0.32 * len(rows) + 1.1) * deep + 1.4
    figure, panels = panels_of(deep, wide, size, share="xy")
    palette, means = colours_of(row.name for row in rows), dict[str, float]()
    for place, axes in enumerate(panels):
        if place >= len(columns):
            axes.set_axis_off()
            continue
        column = columns[place]
        for y, row in enumerate(rows):
            if column != "mean" and column not in row.results:
                continue
            f1 = mean_f1(row.results, homes.counted) if column == "mean" else row.results[column].macro_f1
            means |= {row.name: f1.mean} if not place else {}
            axes.plot(*_bar(f1, y), color=palette[row.name], linewidth=2, alpha=0.6)
            axes.plot(f1.mean, y, MARKS[ROLES.index(row.role)], color=palette[row.name], markersize=7)
        task = homes.tasks.get(column)
        n = f"{len(homes.counted)} recorded homes" if task is None else f"n = {len(task.sessions)}, {task.kind}"
        axes.set_title(plain(f"{column}\n{n}"), loc="left", fontsize=SMALL + 1)
        axes.set_yticks(range(len(rows)), [plain(row.name) for row in rows], fontsize=SMALL)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", alpha=0.25)
    figure.supxlabel("")
    roles = [Line2D([], [], linestyle="none", color="0.4", marker=MARKS[ROLES.index(role)], label=WORDS[role])
             for role in dict.fromkeys(row.role for row in rows)]  # fmt: skip
    figure.legend(handles=roles, loc="outside upper center", ncols=3, frameon=False, fontsize=SMALL)
    results = [result for row in rows for result in row.results.values()]
    about = f"Macro F1, 95 % interval over sessions. {describe(results)}"
    return stamp_wrapped(figure, about, ranked(f"Macro F1, {columns[0]}", means))


def _bar(f1: Interval, y: float) -> tuple[list[float], list[float]]:
    return ([f1.low, f1.high], [y, y]) if f1.low == f1.low else ([f1.mean], [y])


def windows_curve(curve: Mapping[int, Result]) -> Figure | str:
    """Macro F1 on made-up validation homes against the lessons seen, a home each; 95 % interval over homes."""
    if not curve:
        return NOT_ASKED
    figure, axes = axes_of(8.5, 4.2)
    f1s = [result.macro_f1 for result in curve.values()]
    last = list(curve.values())[-1]
    (colour,) = colours_of([last.model.name]).values()
    axes.fill_between(list(curve), [f1.low for f1 in f1s], [f1.high for f1 in f1s], color=colour, alpha=0.2)
    axes.plot(list(curve), [f1.mean for f1 in f1s], "o-", color=colour)
    axes.set_xlabel("lessons seen: a window each, of another made-up home")
    axes.set_ylabel("macro F1 on validation homes")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.grid(alpha=0.25)
    axes.set_title("How many homes does it take?", loc="left")
    about = f"One training; before its end the learning rate had not come down. {describe([last])}"
    return stamp_wrapped(figure, about, f"After {max(curve)} lessons: {f1_words([last])}")
