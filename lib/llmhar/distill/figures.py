"""Figures of distillation, each drawn from students or results. Computes no score and reads no weights.

Every figure is stamped with what it shows (:mod:`llmhar.score.figures`); marks differ in shape, lines in style.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from llmhar.distill.sessions import SessionsPoint, mean_f1, plateau, sessions_needed
from llmhar.distill.small import GatewayPoint
from llmhar.distill.students import Student
from llmhar.distill.traces import FunnelStep
from llmhar.distill.transfer import S1_TEACHER, MatrixCell, published_cells
from llmhar.score.figures import MARKS, axes_of, colours_of, describe, f1_words, panels_of, plain, ranked, stamp
from llmhar.score.published import published
from llmhar.score.stats import Interval
from llmhar.score.tables import KINDS, Result

LINES = ("-", "--", "-.", ":")
SMALL = 9
"""Points of the smallest text inside a figure."""


def loss_curve(students: Sequence[Student]) -> Figure:
    """Training loss of each step (thin) and its running mean (thick), on a log axis; one line a student."""
    figure, axes = axes_of(9.5, 4.6)
    stamped, ends = [], dict[str, float]()
    palette = colours_of(student.record["name"] for student in students)
    for place, student in enumerate(students):
        recipe, record = student.recipe, student.record
        colour = palette[record["name"]]
        table = pd.DataFrame(student.losses, columns=["step", "loss"])
        span = max(1, len(table) // 20)
        smooth = table["loss"].rolling(span, min_periods=1, center=True).mean()
        ends[record["name"]] = float(smooth.iloc[-1]) if len(smooth) else np.nan
        rank = f" r={recipe.rank}" if recipe.method == "lora" else ""
        measure = ", a divergence: not on one scale with the others" if recipe.objective == "gkd" else ""
        axes.plot(table["step"], table["loss"], color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(table["step"], smooth, color=colour, linewidth=2.2, linestyle=LINES[place % 4],
                  label=plain(f"{record['name']}: {recipe.method}{rank}, {recipe.backend}{measure}"))  # fmt: skip
        stamped.append(
            f"{record['name']}: from {record['parent']} (revision {student.parent.revision[:8]}), "
            f"{record['n_examples']} examples (data {record['data_sha256'][:8]}), {recipe.examples_per_step} a step, "
            f"mean over {span} steps, {record['device']} {record['dtype']}."
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss, nats per answer token (log)")
    axes.grid(alpha=0.25)
    axes.set_title("How students learn the teacher's text", loc="left")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL)
    return stamp(figure, "Training sessions only. " + "\n".join(stamped), ranked("Loss at the end", ends))


def funnel_bars(funnels: Mapping[str, Sequence[FunnelStep]], stamped: str) -> Figure:
    """Traces before any filter and after each step that took some away, with the teacher's share of right events.

    What a step leaves of several filters alike is one bar.

    Args:
        funnels: name of the filter -> its steps.
        stamped: teacher, engine and data, as :func:`llmhar.score.figures.describe` or the caller says them.
    """
    owners, shown = dict[tuple[str, int], list[str]](), dict[tuple[str, int], FunnelStep]()
    for name, steps in funnels.items():
        for step in [*steps[:1], *(b for a, b in pairwise(steps) if b.traces < a.traces)]:
            owners.setdefault((step.step, step.traces), []).append(name)
            shown[step.step, step.traces] = step
    rows = {f"{', '.join(own) if len(own) < len(funnels) else 'all'}: {key[0]}": shown[key]
            for key, own in owners.items()}  # fmt: skip
    figure, axes = axes_of(9.5, 0.42 * len(rows) + 2.2)
    axes.barh(range(len(rows)), [step.traces for step in rows.values()], color="0.55", height=0.7)
    most = max((step.traces for step in rows.values()), default=1)
    for place, step in enumerate(rows.values()):
        right = "" if step.correct_pct != step.correct_pct else f", {step.correct_pct:.0f} % of events right"
        axes.text(step.traces + 0.01 * most, place, f"{step.traces}{right}", va="center", fontsize=SMALL + 1)
    axes.set_yticks(range(len(rows)), list(map(plain, rows)))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(most, 1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("traces")
    axes.set_title("Which of the teacher's traces a student is shown", loc="left")
    idle = [f'"{name}"' for name, steps in funnels.items() if steps and steps[-1].traces == steps[0].traces]
    note = f"\nFilters that take no trace away: {', '.join(idle)}." if idle else ""
    left = {name: steps[-1].traces for name, steps in funnels.items() if steps}
    return stamp(figure, f"{stamped.removesuffix('.')}.{note}", ranked("Traces left by each filter", left))


def students_bars(
    teacher: Result, bases: Sequence[Result], students: Sequence[Result], others: Sequence[Result] = ()
) -> Figure:
    """Macro F1 with 95 % t interval and each session: bases, students, what stands beside them; the teacher a line."""
    rows = [(base, "not trained") for base in bases] + [(student, "student") for student in students]
    rows += [(other, "for comparison") for other in others]
    figure, axes = axes_of(9.5, 0.72 * len(rows) + 2.6)
    palette = colours_of(result.model.name for result in (teacher, *(result for result, _ in rows)))
    shapes = {"not trained": ("s", "//"), "student": ("o", ""), "for comparison": ("D", "..")}
    for row, (result, role) in enumerate(rows):
        colour, (mark, hatch) = palette[result.model.name], shapes[role]
        f1 = result.macro_f1
        axes.barh(row, f1.mean, height=0.5, color=colour, alpha=0.45, hatch=hatch, edgecolor="white")
        scores = [score.macro_f1 for score in result.sessions if score.n_events]
        axes.plot(scores, [row + 0.36] * len(scores), linestyle="none", marker=mark, markersize=5, alpha=0.6,
                  color=colour)  # fmt: skip
        _draw_interval(axes, f1, row)
        axes.text(1.03, row, _words(f1), va="center", fontsize=SMALL + 1)
    who = f"teacher: {teacher.model.name} ({KINDS[teacher.model.kind]})"
    _reference(axes, teacher, who, palette[teacher.model.name], "--")
    names = [f"{textwrap.fill(result.model.name, 34)}\n({KINDS[result.model.kind]}, {role})" for result, role in rows]
    axes.set_yticks(range(len(rows)), list(map(plain, names)))
    axes.set_ylim(len(rows) - 0.4, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("macro F1, cut at 0 and 1\n(small marks: one session each; black: mean, 95 % t interval)")
    axes.grid(axis="x", alpha=0.25)
    used = dict.fromkeys(role for _, role in rows)  # a role has a hatch, in grey: colours are the models' own
    roles = [Patch(label=role, hatch=shapes[role][1], facecolor="0.6", edgecolor="white") for role in used]
    lines = axes.get_legend_handles_labels()[0]
    figure.legend(handles=[*lines, *roles], loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL + 1)
    every = [teacher, *bases, *students, *others]
    return stamp(figure, describe(every), f1_words(every))


def _draw_interval(axes: Axes, f1: Interval, row: float) -> None:
    """Mean and interval, in black, inside 0 … 1."""
    if f1.n > 1:
        axes.plot([max(f1.low, 0), min(f1.high, 1)], [row, row], color="black", linewidth=2)
    axes.plot([f1.mean], [row], marker="|", markersize=13, markeredgewidth=2.5, color="black")


def _words(f1: Interval) -> str:
    return f"{f1.mean:.2f} [{f1.low:.2f}, {f1.high:.2f}]" if f1.n > 1 else f"{f1.mean:.2f} (n = {f1.n})"


def _reference(axes: Axes, result: Result, label: str, colour: Any, line: str, *, flat: bool = False) -> None:
    """A result as a line across a figure."""
    draw = axes.axhline if flat else axes.axvline
    draw(result.macro_f1.mean, color=colour, linestyle=line, linewidth=2, zorder=0.5,
         label=plain(f"{label} {result.macro_f1.mean:.2f}"))  # fmt: skip


def sessions_curve(points: Sequence[SessionsPoint], teacher: Result) -> Figure:
    """S1 Figure 4 in a panel of its own beside ours: F1 by number of training sessions, ours with 95 % t interval."""
    figure, (ours, theirs) = panels_of(1, 2, (11, 4.9), widths=(3, 2))
    largest = max(points, key=lambda point: point.n_sessions).result.model.name
    palette = colours_of((largest, teacher.model.name))
    seeds = sorted({point.seed for point in points})
    for place, seed in enumerate(seeds):
        own = sorted((point for point in points if point.seed == seed), key=lambda point: point.n_sessions)
        f1 = [point.result.macro_f1 for point in own]
        shift = 0.12 * (place - (len(seeds) - 1) / 2)
        spread = [[one.mean - one.low for one in f1], [one.high - one.mean for one in f1]]  # NaN: no bar
        ours.errorbar([point.n_sessions + shift for point in own], [one.mean for one in f1], yerr=spread, capsize=4,
                      color=palette[largest], marker=MARKS[place % len(MARKS)], linestyle="none",
                      label=f"ours, seed {seed}: mean, 95 % t interval")  # fmt: skip
    means = mean_f1(points)
    ours.plot(list(means), list(means.values()), color=palette[largest], linewidth=1.5, zorder=0.5)
    name = teacher.model.name
    _reference(ours, teacher, f"teacher: {name} ({KINDS[teacher.model.kind]})", palette[name], "--", flat=True)
    ours.set_title(_needed_words("Ours", sessions_needed(points)), loc="left", fontsize=11)
    _draw_published_sessions(theirs)
    for panel in (ours, theirs):
        panel.set_ylim(-0.03, 1.03)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        panel.set_xlabel("training sessions")
        panel.grid(alpha=0.25)
    ours.set_ylabel("F1 (ours macro, S1 not stated)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL)
    note = "S1's homes and models are others than ours: compare the shapes, not the heights."
    f1s = ranked("Macro F1 by sessions", {f"{n} sessions": f1 for n, f1 in means.items()})
    return stamp(figure, f"{_described([teacher, *(point.result for point in points)])}\n{note}", f1s)


def _draw_published_sessions(panel: Axes) -> None:
    """S1 Figure 4 and its teacher, as published, in greys: no model here has them."""
    table = published("figure4")
    student, dataset = table.loc[0, "student"], table.loc[0, "dataset"]
    f1 = dict(zip(table["n_train_sessions"].astype(int), table["f1_pct"] / 100))
    panel.plot(list(f1), list(f1.values()), color="0.3", marker="D", linestyle="-.",
               label=f"published, S1: {student} on {dataset} (no interval)")  # fmt: skip
    sizes = published("table1").set_index("model")
    best = sizes.loc[S1_TEACHER, f"{dataset}_f1_pct"] / 100
    panel.axhline(best, color="0.5", linestyle=":", linewidth=2,
                  label=f"published, S1: teacher {S1_TEACHER} {best:.2f}")  # fmt: skip
    panel.set_title(_needed_words("S1", plateau(f1, 0.95)), loc="left", fontsize=11)


def _needed_words(whose: str, needed: int | None) -> str:
    if needed is None:
        return f"{whose}: too few runs to say how many are needed"
    return f"{whose}: 95 % of the full score from {needed} session{'' if needed == 1 else 's'} on"


def gateway_curve(points: Sequence[GatewayPoint]) -> Figure:
    """F1 against the bytes of a model's weights: colour by model, shape by precision, area by seconds a window.

    Hollow marks: seconds not measured. A student that all learnt in one home is called by what it was made from.
    """
    names = [point.result.model.name.removesuffix(f"-{point.precision}").removesuffix("-merged") for point in points]
    homes = {name.partition(" taught on ")[2] for name in names}
    names = [name.partition(" taught on ")[0] for name in names] if len(homes) == 1 else names
    slowest = max([point.seconds_per_window or 0.0 for point in points], default=0.0)
    note = f"Area: seconds a window here, the largest {slowest:.2f} s; hollow: not measured."
    stamped = f"{_described([point.result for point in points])}\n{note if slowest else 'Seconds: not measured.'}"
    figure, axes = axes_of(11, 4.8 + 0.14 * stamped.count("\n"))
    marks = dict(zip(dict.fromkeys(point.precision for point in points), MARKS))
    palette = colours_of(names)
    for point, name in zip(points, names):
        colour, mark = palette[name], marks[point.precision]
        size, f1, spent = point.n_bytes / 1e6, point.result.macro_f1, point.seconds_per_window
        area = 60 if spent is None else 30 + 330 * spent / (slowest or 1.0)
        if f1.n > 1:
            axes.plot([size, size], [max(f1.low, 0), min(f1.high, 1)], color=colour, linewidth=1.2, alpha=0.5)
        axes.scatter([size], [f1.mean], s=area, marker=mark, facecolors="none" if spent is None else colour,
                     edgecolors=[colour], alpha=0.8, zorder=3)  # fmt: skip
    for name, mark in marks.items():
        axes.plot([], [], linestyle="none", marker=mark, color="0.4", label=plain(name))
    _gateway_axes(axes, max([point.result.macro_f1.high for point in points], default=1.0))
    figure.legend(loc="outside upper center", ncols=max(1, len(marks)), frameon=False, fontsize=SMALL + 1)
    spots = [(p.n_bytes / 1e6, p.result.macro_f1.mean, name) for p, name in zip(points, names)]
    f1s = {f"{name} {p.precision} ({size:.0f} MB)": f1 for p, (size, f1, name) in zip(points, spots)}
    stamp(figure, stamped, ranked("Macro F1", f1s))
    _label_apart(figure, axes, spots)
    return figure


def _gateway_axes(axes: Axes, highest: float) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.2)
    top = min(highest, 1.0) if highest == highest else 1.0  # NaN: one session, no interval
    axes.set_ylim(-0.1 * top, min(1.35 * top, 1.1))
    axes.set_xlabel("weights, MB (log)")
    axes.set_ylabel("macro F1 (line: 95 % t interval)")
    axes.grid(alpha=0.25)
    axes.set_title("How small it gets: a home gateway's view", loc="left")


def _described(results: Sequence[Result]) -> str:
    """:func:`llmhar.score.figures.describe` for many models of one engine: kind and engine are said once."""
    data = {r.task.data: f"{r.task.data}, {r.task.subset}, {r.overall.n_events} scored events" for r in results}
    groups: dict[str, dict[str, None]] = {}
    for r in results:
        groups.setdefault(f"{KINDS[r.model.kind]}, {r.made_by}", {})[f"{r.model.name} (revision {r.revision})"] = None
    lines = [line for made, own in groups.items() for line in textwrap.wrap(f"{made}: {'; '.join(own)}", 150)]
    return "\n".join([f"Data: {'; '.join(data.values())}.", *lines])


def _label_apart(figure: Figure, axes: Axes, spots: Sequence[tuple[float, float, str]]) -> None:
    """Write each name near its mark, with a thin line to it, where it covers neither a name nor a mark."""
    figure.draw_without_rendering()
    taken = [axes.transData.transform((x, y)) for x, y, _ in spots]
    inside = axes.get_window_extent()
    ways = [(0, dy, "center") for dy in (20, -20, 34, -34)] + [
        (dx, dy, "left" if dx > 0 else "right")
        for dy in (0, 20, -20, 34, -34, 48, -48, 62, -62, 76, -76)
        for dx in (16, -16, 40, -40)
    ]
    ways.sort(key=lambda way: abs(way[0]) + abs(way[1]))
    written: list[Any] = []
    for x, y, name in sorted(spots):
        for dx, dy, side in ways:
            text = axes.annotate(
                plain(name), (x, y), xytext=(dx, dy), textcoords="offset points", ha=side, va="center", zorder=4,
                fontsize=SMALL, bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5},
                arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.7},
            )  # fmt: skip
            text.get_window_extent()  # puts it in its place
            box = Text.get_window_extent(text)  # without its line
            free = not any(box.overlaps(other) for other in written)
            free = free and not any(box.padded(13).contains(*spot) for spot in taken)
            if free and all(inside.contains(*corner) for corner in box.get_points()):
                break
            if (dx, dy, side) != ways[-1]:
                text.remove()
        written.append(box)


def matrix_heatmap(cells: Sequence[MatrixCell]) -> Figure:
    """S1 Table 2 as published and ours, in one colour scale: F1 by what a model was trained on (rows) and tested on."""
    theirs = {(f"{c.student} ← {c.trained_on}", c.data): (c.f1_pct / 100, f"{c.f1_pct:.2f}") for c in published_cells()}
    scores = {(f"{c.name} ← {c.trained_on}", c.result.task.data): c.result.macro_f1 for c in cells}
    ours = {place: (f1.mean, _cell_words(f1)) for place, f1 in scores.items()}
    height = 0.62 * max(len({row for row, _ in part}) for part in (theirs, ours)) + 2.6
    figure, panels = panels_of(1, 2, (12.5, height), share="")
    for panel, part, title in zip(panels, (theirs, ours), ("Published (S1), F1 %", "Ours, macro F1 % [95 %]")):
        image = _draw_matrix(panel, part)
        panel.set_title(title, loc="left", fontsize=11)
    figure.colorbar(image, ax=panels, label="F1", shrink=0.7)
    note = "Rows: model ← what it was trained on. Blank: not run. S1's data and models are others than ours."
    f1s = {f"{row} on {data}": f1.mean for (row, data), f1 in scores.items()}
    return stamp(figure, f"{describe([cell.result for cell in cells])}\n{note}", ranked("Ours, macro F1", f1s))


def _cell_words(f1: Interval) -> str:
    interval = f"\n[{100 * f1.low:.0f}, {100 * f1.high:.0f}]" if f1.n > 1 else ""
    return f"{100 * f1.mean:.1f}{interval}"


def _draw_matrix(panel: Axes, cells: Mapping[tuple[str, str], tuple[float, str]]) -> Any:
    rows, columns = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    grid = np.full((len(rows), len(columns)), np.nan)
    for (row, column), (value, words) in cells.items():
        place = rows.index(row), columns.index(column)
        grid[place] = value
        panel.text(place[1], place[0], words, ha="center", va="center", fontsize=SMALL + 1,
                   color="black" if value > 0.55 else "white")  # fmt: skip
    image = panel.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    panel.set_xticks(range(len(columns)), [plain("tested on\n" + name.replace(" ", "\n")) for name in columns])
    panel.set_yticks(range(len(rows)), [plain(name) for name in rows])
    return image
