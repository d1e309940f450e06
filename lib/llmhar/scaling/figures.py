"""Figures of the scaling study. Computes no score; every figure is stamped as in :mod:`llmhar.score.figures`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from llmhar.score.cost import AXES, Point, pareto_front
from llmhar.score.figures import (
    MARKS,
    axes_of,
    box_text,
    colours,
    colours_of,
    describe,
    f1_words,
    panels_of,
    plain,
    ranked,
    stamp,
)
from llmhar.score.published import DATASETS_IN_S1, published_curve
from llmhar.score.tables import Result

LINES = (":", "-.", (0, (6, 2)), (0, (1, 4)), (0, (3, 1, 1, 1, 1, 1)), (0, (10, 3)), (0, (2, 1)))
"""Lines of what has no parameters, beside the colour of who answers."""


def scaling_curve(results: Sequence[Result]) -> Figure:
    """S1 Figure 3 (published, without interval, in greys) and ours with 95 % t interval, to scale and on a log axis.

    Of a data set on which no language model scores above zero there is a sentence instead of a line.
    """
    figure, panels = panels_of(1, 2, (11, 5.0))
    models = [r for r in results if r.model.kind == "llm"]
    curves = {r.task.data: [m for m in models if m.task.data == r.task.data] for r in models}
    silent = {data: own for data, own in curves.items() if not any(r.macro_f1.mean > 0 for r in own)}
    palette = colours_of(r.model.name for r in results)
    for panel, scale in zip(panels, ("linear", "log")):
        for place, dataset in enumerate(DATASETS_IN_S1):
            curve = published_curve(dataset)
            label, grey = f"published, S1: Qwen3 on {dataset}", ("0.3", "0.55")[place % 2]
            panel.plot(curve["n_params"] / 1e9, curve["f1"], "--", color=grey, marker=MARKS[place], label=label)
        for place, (data, own) in enumerate(curves.items()):
            if data not in silent:
                _draw_ours(panel, sorted(own, key=lambda r: r.model.n_params), palette, "Dv"[place % 2])
        for place, flat in enumerate(r for r in results if r.model.kind != "llm"):
            label = plain(f"{flat.model.name} on {flat.task.data}")
            look = {"color": palette[flat.model.name], "linewidth": 1.8, "label": label}
            panel.axhline(flat.macro_f1.mean, linestyle=LINES[place % len(LINES)], **look)
        panel.set_xscale(scale)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel("parameters, billions" + (" (log)" if scale == "log" else " (to scale)"))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("F1 (S1: averaging not stated; ours: macro)")
    said = "; ".join(_silent_words(data, own) for data, own in silent.items())
    panels[0].set_title(plain(said), loc="left", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return stamp(figure, describe(results), f1_words(results))


def _silent_words(data: str, own: Sequence[Result]) -> str:
    """What is said of a data set on which no language model scores."""
    sizes = sorted(r.model.n_params / 1e6 for r in own)
    who = f"{len(own)} language models ({sizes[0]:.0f}M to {sizes[-1]:.0f}M parameters) score"
    return f"On {data}, {who if len(own) > 1 else f'{own[0].model.name} scores'} macro F1 0: no curve"


def _draw_ours(panel: Axes, own: Sequence[Result], palette: Mapping[str, str], mark: str) -> None:
    """The curve of a data set, smallest model first: a grey line, each model's mark and interval in its colour."""
    x, y = [r.model.n_params / 1e9 for r in own], [r.macro_f1.mean for r in own]
    panel.plot(x, y, color="0.6", linewidth=1.2, zorder=1)
    for r, at, f1 in zip(own, x, y):
        spread = [[f1 - r.macro_f1.low], [r.macro_f1.high - f1]]  # NaN, no bar, for a single session
        label = plain(f"ours: {r.model.name} on {r.task.data}")
        panel.errorbar([at], [f1], yerr=spread, label=label, color=palette[r.model.name], marker=mark, capsize=4)


def four_axes(points: Sequence[Point], stamped: str, roofline: Mapping[str, float] | None = None) -> Figure:
    """F1 against each measured cost axis with its Pareto front; what was not measured is said below the figure.

    What has no parameters (rules, chance) has no place on these axes: it is a dotted line.

    Args:
        points: models on the axes.
        stamped: data, engines and n, as :func:`llmhar.score.figures.describe` says them.
        roofline: model -> least seconds a window that the machine's limits allow; drawn where given.
    """
    sized = [point for point in points if point.n_params is not None]
    told = {axis: [point for point in sized if getattr(point, axis) is not None] for axis in AXES}
    axes = [axis for axis in AXES if told[axis]] or ["n_params"]
    figure, panels = panels_of(1, len(axes), (max(9.0, 1.8 + 2.8 * len(axes)), 4.2))
    palette = colours_of(point.model for point in points)
    floor = {model: least for model, least in (roofline or {}).items() if math.isfinite(least)}  # infinite: no room
    shapes = {point.model: (MARKS[i % len(MARKS)], palette[point.model]) for i, point in enumerate(points)}
    for panel, axis in zip(panels, axes):
        for point in points:
            if point.n_params is None:
                label = plain(f"{point.model} ({point.kind})")
                panel.axhline(point.f1, color=shapes[point.model][1], linestyle=":", zorder=0, label=label)
        for point in told[axis]:
            mark, colour = shapes[point.model]
            look = {"linestyle": "none", "marker": mark, "markersize": 8, "markeredgecolor": colour}
            label = plain(f"{point.model} ({point.kind})")
            panel.plot(getattr(point, axis), point.f1, color=colour, alpha=0.8, label=label, **look)
            if axis == "seconds" and point.model in floor:
                panel.plot(floor[point.model], point.f1, markerfacecolor="none", **look)
                panel.plot([floor[point.model], getattr(point, axis)], [point.f1] * 2, color=colour, linewidth=0.8)
        front = pareto_front(told[axis], axis)
        panel.plot([getattr(p, axis) for p in front], [p.f1 for p in front], color="0.4", linewidth=1, zorder=0)
        panel.set_xlabel(AXES[axis])
        panel.grid(alpha=0.25)
        if told[axis]:
            open_marks = [floor[point.model] for point in told[axis] if axis == "seconds" and point.model in floor]
            _set_scale(panel, axis, [*(getattr(point, axis) for point in told[axis]), *open_marks])
        else:
            panel.set_xticks([])
            panel.text(0.5, 0.5, "no language model here", transform=panel.transAxes, ha="center", color="0.35")
    panels[0].set_ylabel("macro F1")
    best = max((point.f1 for point in points if point.f1 == point.f1), default=0.0)
    panels[0].set_ylim(-0.05 * max(0.1, best), 1.1 * max(0.1, best))
    handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    note = " Open marks: what the planner expects (a roofline times the derate in params/devices.yaml); no bound."
    note = note if floor else ""
    unknown = [title for axis, title in AXES.items() if sized and not told[axis]]
    note += f" Not measured here: {', '.join(unknown)}." if unknown else ""
    f1s = ranked("Macro F1", {point.model: point.f1 for point in points})
    return stamp(figure, f"{stamped}\nGrey line: Pareto front.{note}", f1s)


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
    most = [ranked(str(model), row[row > 0].to_dict()) for model, row in ledger.iterrows()]
    return stamp(figure, stamped, f"Of 100 points, {'. '.join(most)}")
