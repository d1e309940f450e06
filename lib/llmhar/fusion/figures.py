"""Figures of fusion, each drawn from a table of fusion or from its answers. Computes no score and reads no signal.

Every figure is stamped with data (composed or recorded where it is), number of clips and clusters, interval, and who
answered. Colours are the colour-blind palette, one to each answerer on all pages; marks, hatches and lines differ too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from llmhar.fusion.ablation import Cell, in_order
from llmhar.fusion.clips.scenes import TITLE as SCENES_TITLE
from llmhar.fusion.study import Answered, confusion
from llmhar.fusion.tables import SCORES, About, Score, sets_in_order, spell, stamped
from llmhar.score.figures import MARKS, axes_of, colours_of, confusion_map, panels_of, plain, ranked, stamp_wrapped
from llmhar.score.stats import Interval
from llmhar.score.tables import KINDS

LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "\\\\", "xx", "oo", "++", "--")
SMALL = 9
"""Points of the smallest text inside a figure."""
PUBLISHED_GREY = "0.45"
"""Of what others published: colours mean who answers here."""


def factorial_heatmap(
    cells: Sequence[Cell], about: About, *, score: Score = "accuracy", stand_ins: frozenset[str] = frozenset()
) -> Figure:
    """All combinations of modalities (rows, as dots) by who answered and with how many examples (columns).

    Args:
        cells: the design; what was not asked stays blank.
        about: the data.
        score: what is shown, in percent, with its 95 % interval.
        stand_ins: modalities that say nothing of their own, marked with a star.
    """
    rows, names = sets_in_order(cells), in_order(name for cell in cells for name in cell.modalities)
    columns = list(dict.fromkeys((cell.answerer, cell.kind, cell.shots) for cell in cells))
    widths = (0.42 * max(1, len(names)), 1.3 * len(columns))
    figure, (dots, heat) = panels_of(1, 2, (sum(widths) + 2.2, 0.42 * len(rows) + 2.9), widths=widths)
    _draw_dots(dots, rows, names, stand_ins)
    grid = np.full((len(rows), len(columns)), np.nan)
    for cell in cells:
        at = rows.index(cell.modalities), columns.index((cell.answerer, cell.kind, cell.shots))
        value: Interval = getattr(cell, score)
        grid[at] = value.mean
        colour = "black" if value.mean > 0.55 else "white"
        heat.text(at[1], at[0], _percent(value), ha="center", va="center", fontsize=SMALL, color=colour)
    for row, column in np.argwhere(np.isnan(grid)):
        heat.text(column, row, "not asked", ha="center", va="center", fontsize=SMALL, color="0.5")
    image = heat.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    heat.set_xticks(range(len(columns)), [_head(*column) for column in columns], fontsize=SMALL)
    heat.xaxis.tick_top()
    heat.tick_params(left=False, labelleft=False, top=False)
    heat.set_ylim(len(rows) - 0.5, -0.5)
    for spine in heat.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=heat, label=SCORES[score], shrink=0.8, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    note = f"Cells: {SCORES[score]} in percent with 95 % interval. Dots: what the answerer was told"
    note += "; * a stand-in that says nothing of its own." if stand_ins & set(names) else "."
    kinds = {cell.answerer: cell.kind for cell in cells}
    sizes = [cell.accuracy.n_values for cell in cells], [cell.accuracy.n for cell in cells]
    full = [cell for cell in cells if cell.modalities == frozenset(names)]
    values = {f"{c.answerer}, {c.shots}-shot": 100 * getattr(c, score).mean for c in full}
    result = ranked(f"{SCORES[score]} in percent, told everything", values)
    return stamp_wrapped(figure, f"{note}\n{stamped(about, kinds, *sizes)}", result)


def _draw_dots(axes: Axes, rows: Sequence[frozenset[str]], names: Sequence[str], stand_ins: frozenset[str]) -> None:
    """A filled dot where a combination holds a modality, joined by a line."""
    for row, own in enumerate(rows):
        held = [column for column, name in enumerate(names) if name in own]
        axes.scatter(range(len(names)), [row] * len(names), s=42, color="0.88", zorder=1)
        axes.plot(held, [row] * len(held), color="0.25", linewidth=1.5, zorder=2)
        axes.scatter(held, [row] * len(held), s=48, color="0.15", zorder=3)
        if not own:
            box = {"facecolor": "white", "lw": 0, "pad": 1.5}
            middle = (len(names) - 1) / 2
            axes.text(middle, row, "told nothing", ha="center", va="center", fontsize=SMALL, bbox=box, zorder=4)
    marked = [plain(f"{name}*" if name in stand_ins else name) for name in names]
    axes.set_xticks(range(len(names)), marked, rotation=90, fontsize=SMALL + 1)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.xaxis.tick_top()
    axes.tick_params(left=False, labelleft=False, top=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _head(answerer: str, kind: str, shots: int) -> str:
    """A column's name over at most four short lines."""
    shown = textwrap.wrap(answerer, 13, break_long_words=True)
    asked = [f"{shots}-shot"] if kind in ("llm", "rules", "recorded") else []
    return plain("\n".join([*shown, f"({KINDS[kind].split(',')[0]})", *asked]))


def _percent(value: Interval) -> str:
    if value.mean != value.mean:
        return "–"
    bounds = f"\n[{100 * max(0, value.low):.0f}, {100 * min(1, value.high):.0f}]" if value.low == value.low else ""
    return f"{100 * value.mean:.0f}{bounds}"


def shapley_bars(shares: Mapping[str, pd.DataFrame], kinds: Mapping[str, str], about: About) -> Figure:
    """Shapley share of each modality with 95 % interval, answerers side by side; stand-ins are named, not drawn.

    Args:
        shares: answerer -> ``ablation.shapley_shares``.
        kinds: answerer -> key into :data:`llmhar.score.tables.KINDS`.
        about: the data.
    """
    names = in_order(name for table in shares.values() for name in table.index)
    n, height = len(shares), 0.8 / max(1, len(shares))
    figure, axes = axes_of(9.5, max(0.30 * n, 0.7) * len(names) + 2.6)
    bounds = pd.concat(list(shares.values())) if shares else pd.DataFrame({"share": [], "low": [], "high": []})
    top = float(np.nanmax([0.1, *bounds["high"], *bounds["share"]]))
    palette = colours_of(shares)
    for place, (answerer, table) in enumerate(shares.items()):
        at = [names.index(name) + (place - (n - 1) / 2) * height for name in table.index]
        look = {"color": palette[answerer], "alpha": 0.75, "edgecolor": "white", "hatch": HATCHES[place % len(HATCHES)]}
        label = plain(f"{answerer} ({KINDS[kinds[answerer]]})")
        axes.barh(at, table["share"], height=0.9 * height, label=label, **look)
        axes.hlines(at, table["low"], table["high"], color="black", linewidth=1.5)
        for y, row in zip(at, table.itertuples()):
            if row.share == row.share:
                words = f"{100 * row.share:+.0f}" + (
                    f" [{100 * row.low:+.0f}, {100 * row.high:+.0f}]" if row.low == row.low else ""
                )
                end = row.high if row.low == row.low else max(row.share, 0)
                axes.text(max(end, 0) + 0.015 * top, y, words, va="center", fontsize=SMALL)
    silent = [name for name in names if all(name not in t.index or t["share"].isna()[name] for t in shares.values())]
    for name in silent:
        words = "stand-in for another modality: left out"
        axes.text(0.01 * top, names.index(name), words, va="center", fontsize=SMALL + 1, color="0.35")
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    low = min(0.0, float(np.nanmin([0.0, *bounds["low"], *bounds["share"]])))
    axes.set_xlim(1.05 * low - 0.01 * top, top + 0.26 * (top - low))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.set_xlabel("Shapley share of accuracy, points (black: 95 % interval)")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL)
    note = "Shares add up to the accuracy with all playing modalities minus that with none."
    if about.data == SCENES_TITLE:
        note += " Which motion and context go with which sound is set by the table of scenes, and so are their shares."
    points = {f"{who}, {name}": 100 * share for who, t in shares.items() for name, share in t["share"].items()}
    text = f"{note}\n{stamped(about, {name: kinds[name] for name in shares}, *_counts(bounds))}"
    return stamp_wrapped(figure, text, ranked("Shapley share of accuracy, points", points))


def _counts(table: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Clips and clusters behind a table's rows; a table that does not say them is not drawn."""
    return table["clips"].dropna().astype(int).tolist(), table["clusters"].dropna().astype(int).tolist()


def dose_curves(table: pd.DataFrame, about: About, n_labels: int, others: float | None = None) -> Figure:
    """Accuracy of the fusion against the set accuracy of its modalities, one panel a varied modality.

    Args:
        table: :func:`llmhar.fusion.doses.dose_response`.
        about: the data.
        n_labels: activities, for the line of chance.
        others: accuracy at which the modalities that are not varied are held.
    """
    varied = list(dict.fromkeys(table["varied"]))
    figure, panels = panels_of(1, max(1, len(varied)), (3.1 * max(2, len(varied)) + 1.2, 4.9))
    kinds = dict(zip(table["answerer"], table["kind"]))
    for panel, name in zip(panels, varied):
        _draw_doses(panel, table[table["varied"] == name], kinds, n_labels)
        held = "" if name == "all" or others is None else f"\n(others at {100 * others:.0f} %)"
        panel.set_title(plain("all modalities varied" if name == "all" else f"{name} varied{held}"), fontsize=11)
    panels[0].set_ylabel("accuracy of the fusion, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=SMALL)
    note = "Guesses are activities drawn at the set accuracy, in place of the encoders' own. Bands: 95 %."
    half = table[table["dose"] == 0.5].itertuples()
    result = ranked("% right with half of the guesses right", {
        f"{row.answerer}, {row.varied} varied": 100 * row.accuracy for row in half})  # fmt: skip
    return stamp_wrapped(figure, f"{note}\n{stamped(about, kinds, *_counts(table))}", result)


def _draw_doses(panel: Axes, table: pd.DataFrame, kinds: Mapping[str, str], n_labels: int) -> None:
    """One curve with its band an answerer, and what a single guess and chance are worth."""
    palette = colours_of(kinds)
    for place, (answerer, kind) in enumerate(kinds.items()):
        rows = table[table["answerer"] == answerer].sort_values("dose")
        colour, x = palette[answerer], 100 * rows["dose"]
        look = {"color": colour, "marker": MARKS[place % len(MARKS)], "linestyle": LINES[place % 4]}
        panel.plot(x, 100 * rows["accuracy"], markersize=5, label=plain(f"{answerer} ({KINDS[kind]})"), **look)
        low, high = 100 * rows["low"].clip(0, 1), 100 * rows["high"].clip(0, 1)
        panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.plot([0, 100], [0, 100], color="0.6", linewidth=0.9, zorder=0.5, label="one guess alone")
    dots, chance = (0, (1, 2)), f"chance, {n_labels} activities"
    panel.axhline(100 / n_labels, color="0.4", linestyle=dots, linewidth=1.2, zorder=0.5, label=chance)
    panel.set_xlim(0, 103)
    panel.set_ylim(-2, 103)
    panel.set_xticks([10, 25, 50, 75, 100])
    panel.set_xlabel("accuracy of a guess, % (set)")
    panel.grid(alpha=0.25)


def confusion_of(answered: Answered, about: About) -> Figure:
    """Which activities an answerer takes for which, with everything shown, over clips whose modalities agree."""
    clips = answered.task.consistent
    size = f"n = {len(clips)} clips of {len({clip.cluster for clip in clips})} {about.clusters}"
    text = f"Data: {about.marked}, {size}. {KINDS[answered.kind]}: {answered.answerer}. Numbers: clips. {about.note}"
    who = f"{answered.answerer}, told {spell(answered.task.shown)}"
    return confusion_map(confusion(answered), who, text.strip())


def capacity_curve(table: pd.DataFrame, about: About) -> Figure:
    """Accuracy of motion classifiers by their size, one line a number of classes; a random forest as a line across.

    Colours are the classifiers' own, marks and lines are numbers of classes.

    Args:
        table: columns size (name), classes, n_params, model, accuracy, low, high, clips, clusters; rows
            without ``n_params`` (random forest) are drawn across.
        about: the data, ``unit="windows"``.
    """
    figure, axes = axes_of(9.5, 5.0)
    sized = table[table["n_params"].notna()]
    classes = sorted(table["classes"].unique())
    palette = colours_of(table["model"])
    for place, number in enumerate(classes):
        rows = sized[sized["classes"] == number].sort_values("n_params")
        spread = [rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]  # NaN: no bar
        shift = 1.03 ** (2 * place - len(classes) + 1)  # intervals of two lines must not hide each other
        models = list(dict.fromkeys(rows["model"]))
        look: dict[str, Any] = {"color": palette[models[0]] if models else "0.5", "linestyle": LINES[place % 4]}
        label = plain(f"{' / '.join(models)}, {number} classes")
        look |= {"marker": MARKS[place], "label": label, "linewidth": 1.6}
        axes.errorbar(rows["n_params"] * shift, rows["accuracy"], yerr=spread, capsize=4, **look)
        for row in table[(table["classes"] == number) & table["n_params"].isna()].itertuples():
            label = plain(f"{row.model}, {number} classes: {100 * row.accuracy:.1f} %")
            look = {"color": palette[row.model], "linestyle": LINES[place % 4], "linewidth": 1.2}
            axes.axhline(row.accuracy, label=label, **look)
            axes.axhspan(row.low, row.high, color=palette[row.model], alpha=0.08, linewidth=0)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    ticks = sized.groupby("size")["n_params"].mean()  # a size has a few more of them for more classes
    axes.set_xticks(list(ticks), [plain(f"{name}\n{_count(n)}") for name, n in ticks.items()])
    axes.xaxis.set_minor_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))  # 2.5 points would be rounded to wrong labels
    axes.set_xlabel("size of the classifier, parameters (log)")
    axes.set_ylabel("accuracy (bars, bands: 95 % interval)")
    axes.grid(axis="y", alpha=0.25)
    axes.set_title("Motion alone: capacity and granularity", loc="left", fontsize=12)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL)
    kinds = dict.fromkeys(table["model"], "encoder")
    values = {f"{row.size or row.model}, {row.classes} classes": 100 * row.accuracy for row in table.itertuples()}
    return stamp_wrapped(figure, stamped(about, kinds, *_counts(table)), ranked("% right by motion alone", values))


def _count(n: float) -> str:
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.1f} k" if n < 1e4 else f"{n / 1e3:.0f} k"


def published_bars(table: pd.DataFrame, about: About) -> Figure:
    """S2's published accuracies of one modality alone beside ours (with interval), one group a condition.

    Args:
        table: ``fusion_tables.beside_published``.
        about: our data.
    """
    figure, axes = axes_of(9.5, 0.34 * len(table) + 0.35 * table["told"].nunique() + 2.4)
    names = list(dict.fromkeys("S2" if row.kind == "published" else row.answerer for row in table.itertuples()))
    palette = colours_of(name for name in names if name != "S2") | {"S2": PUBLISHED_GREY}
    y, ticks, drawn = 0.0, [], set()
    for told, group in table.groupby("told", sort=False):
        first = y
        for row in group.itertuples():
            name = "S2" if row.kind == "published" else row.answerer
            label = None if name in drawn else "Gemini-2.5-pro (published, S2)" if name == "S2" else _named(row)
            drawn.add(name)
            look = {"color": palette[name], "hatch": HATCHES[names.index(name) % len(HATCHES)], "edgecolor": "white"}
            axes.barh(y, row.accuracy, height=0.85, alpha=0.75, label=label, **look)
            if row.low == row.low:
                axes.hlines(y, max(0, row.low), min(1, row.high), color="black", linewidth=1.5)
            axes.text(1.02, y, _published_words(row), va="center", fontsize=SMALL)
            y += 1
        ticks.append(((first + y - 1) / 2, plain(f"{told} alone" if told != "nothing" else "told nothing")))
        y += 0.8
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(y - 0.9, -0.8)
    axes.set_xlim(0, 1.3)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set_xlabel("accuracy (black: 95 % interval; S2 gives none)")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=SMALL)
    ours = table[table["kind"] != "published"]
    note = "S2's clips (Ego4D, 12 activities) and encoders are others than ours: compare the order, not the heights."
    kinds = dict(zip(ours["answerer"], ours["kind"]))
    values = {f"{row.answerer}, told {row.told}": 100 * row.accuracy for row in table.itertuples()}
    return stamp_wrapped(figure, f"{note}\n{stamped(about, kinds, *_counts(ours))}", ranked("% right", values))


def _named(row: Any) -> str:
    return plain(f"{row.answerer} ({KINDS[row.kind]})")


def _published_words(row: Any) -> str:
    shots = f", {row.shots:.0f}-shot" if row.kind in ("llm", "rules", "recorded") else ""
    bounds = f" [{100 * max(0, row.low):.0f}, {100 * min(1, row.high):.0f}]" if row.low == row.low else ""
    return f"{100 * row.accuracy:.0f}{bounds}{shots}"
