"""Figures of the scaling study. Computes no score; every figure is stamped as in :mod:`llmhar.score.figures`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from llmhar.score.cost import AXES, Point, pareto_front
from llmhar.score.figures import MARKS, StudyFigure, axes_of, box_text, colours, colours_of, describe, plain, stamp
from llmhar.score.published import DATASETS_IN_S1, published_curve
from llmhar.score.tables import Result

LINES = (":", "-.", (0, (6, 2)), (0, (1, 4)), (0, (3, 1, 1, 1, 1, 1)), (0, (10, 3)), (0, (2, 1)))
"""Lines of what has no parameters: seven, so that with four colours none of 28 looks like another."""


def scaling_curve(results: Sequence[Result]) -> Figure:
    """S1 Figure 3 (published, without interval) and ours with 95 % t interval, to scale and on a log axis."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 5.0), sharey=True, FigureClass=StudyFigure)
    plt.close(figure)
    palette = colours(8)
    for panel, scale in zip(panels, ("linear", "log")):
        for place, dataset in enumerate(DATASETS_IN_S1):
            curve = published_curve(dataset)
            look = {"color": palette[place], "marker": MARKS[place], "linestyle": "--"}
            panel.plot(curve["n_params"] / 1e9, curve["f1"], label=f"published, S1: Qwen3 on {dataset}", **look)
        _draw_ours(panel, results)
        for place, flat in enumerate(r for r in results if r.model.kind != "llm"):
            look = {"color": palette[4 + place % 4], "linestyle": LINES[place % len(LINES)], "linewidth": 1.8}
            panel.axhline(flat.macro_f1.mean, label=plain(f"{flat.model.name} on {flat.task.data}"), **look)
        panel.set_xscale(scale)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel("parameters, billions" + (" (log)" if scale == "log" else " (to scale)"))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("F1 (S1: averaging not stated; ours: macro)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return stamp(figure, describe(results))


def _draw_ours(panel: Axes, results: Sequence[Result]) -> None:
    """One curve a data set: LLMs by their parameters, with intervals."""
    for place, data in enumerate(dict.fromkeys(r.task.data for r in results)):
        ours = [r for r in results if r.model.kind == "llm" and r.task.data == data]
        ours.sort(key=lambda r: r.model.n_params)
        if ours:
            low = [r.macro_f1.mean - r.macro_f1.low for r in ours]  # NaN, no bar, for a single session
            high = [r.macro_f1.high - r.macro_f1.mean for r in ours]
            x, y = [r.model.n_params / 1e9 for r in ours], [r.macro_f1.mean for r in ours]
            look = {"color": colours(8)[2 + place], "marker": "Dv"[place % 2], "capsize": 4}
            panel.errorbar(x, y, yerr=[low, high], label=plain(f"ours: LLM on {data}"), **look)


def four_axes(points: Sequence[Point], stamped: str, roofline: Mapping[str, float] | None = None) -> Figure:
    """F1 against each cost axis with its Pareto front; what was not measured is said, not drawn at zero.

    What has no parameters (rules, chance) has no place on these axes: it is a dotted line.

    Args:
        points: models on the axes.
        stamped: data, engines and n, as :func:`llmhar.score.figures.describe` says them.
        roofline: model -> least seconds a window that the machine's limits allow; drawn where given.
    """
    figure, panels = plt.subplots(1, 4, figsize=(13, 4.2), sharey=True, FigureClass=StudyFigure)
    plt.close(figure)
    palette = colours_of(point.model for point in points)
    floor = {model: least for model, least in (roofline or {}).items() if math.isfinite(least)}  # infinite: no room
    shapes = {point.model: (MARKS[i % len(MARKS)], palette[point.model]) for i, point in enumerate(points)}
    for panel, (axis, title) in zip(panels, AXES.items()):
        for point in points:
            if point.n_params is None:
                label = plain(f"{point.model} ({point.kind})")
                panel.axhline(point.f1, color=shapes[point.model][1], linestyle=":", zorder=0, label=label)
        drawn = [point for point in points if getattr(point, axis) is not None and point.n_params is not None]
        for point in drawn:
            mark, colour = shapes[point.model]
            look = {"linestyle": "none", "marker": mark, "markersize": 8, "markeredgecolor": colour}
            label = plain(f"{point.model} ({point.kind})")
            panel.plot(getattr(point, axis), point.f1, color=colour, alpha=0.8, label=label, **look)
            if axis == "seconds" and point.model in floor:
                panel.plot(floor[point.model], point.f1, markerfacecolor="none", **look)
                panel.plot([floor[point.model], getattr(point, axis)], [point.f1] * 2, color=colour, linewidth=0.8)
        front = pareto_front(drawn, axis)
        panel.plot([getattr(p, axis) for p in front], [p.f1 for p in front], color="0.4", linewidth=1, zorder=0)
        panel.set_xlabel(title)
        panel.grid(alpha=0.25)
        if drawn:
            open_marks = [floor[point.model] for point in drawn if axis == "seconds" and point.model in floor]
            _set_scale(panel, axis, [*(getattr(point, axis) for point in drawn), *open_marks])
        else:
            panel.set_xticks([])
            said = "no language model here" if axis == "n_params" else "not measured here"
            panel.text(0.5, 0.5, said, transform=panel.transAxes, ha="center", color="0.35")
    panels[0].set_ylabel("macro F1")
    best = max((point.f1 for point in points if point.f1 == point.f1), default=0.0)
    panels[0].set_ylim(-0.05 * max(0.1, best), 1.1 * max(0.1, best))
    handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    note = (
        " Open marks: what the planner expects (a roofline times the derate in params/devices.yaml); no bound."
        if floor
        else ""
    )
    return stamp(figure, f"{stamped}\nGrey line: Pareto front.{note}")


def _set_scale(panel: Axes, axis: str, values: Sequence[float]) -> None:
    """From zero; on a log axis where marks lie further apart. A handful of plain numbers as ticks."""
    panel.xaxis.set_major_locator(MaxNLocator(4))
    if 0 < 10 * min(values) < max(values):
        panel.set_xscale("log")
        far = max(values) > 100 * min(values)
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if far else (1.0, 3.0), numticks=4 if far else 6))
        panel.xaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_xlim(0, 1.1 * max(values) or 1.0)
    unit, letter = (1.0, "") if axis != "n_params" else (1e9, "B") if max(values) >= 1e9 else (1e6, "M")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value / unit:g}{letter}" if value else "0")


def ledger_bars(ledger: pd.DataFrame, stamped: str) -> Figure:
    """Each model's 100 F1 points: what was scored, and what each cause cost."""
    figure, axes = axes_of(11, 0.55 * len(ledger) + 2.6)
    hatches = ["", "//", "\\\\", "..", "xx", "oo", "++", "--", "||", "**"]
    palette = [*colours(10), (0.75, 0.75, 0.75)]
    rows = range(len(ledger))
    left = pd.Series(0.0, index=ledger.index)
    for place, cause in enumerate(ledger.columns):
        values = ledger[cause]
        look = {"color": palette[place], "edgecolor": "white", "hatch": hatches[place % len(hatches)]}
        axes.barh(rows, values, left=left, label=cause, **look)
        for row, (value, start) in enumerate(zip(values, left)):
            if value >= 5:
                box_text(axes, start + value / 2, row, f"{value:.0f}", fontsize=9)
        left = left + values
    axes.set_yticks(rows, [plain(str(model)) for model in ledger.index])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("macro F1 points (mean over sessions)")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return stamp(figure, stamped)
