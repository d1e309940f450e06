"""Figures of confidences: what is left wrong when unsure labels are left blank. Computes no score."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from llmhar.score.confidence import Judged, Threshold, risk_coverage
from llmhar.score.figures import MARKS, axes_of, colours_of, plain, ranked, stamp_wrapped


def risk_coverage_curves(judged: Mapping[str, Judged], thresholds: Mapping[str, Threshold] | None = None) -> Figure:
    """Share of wrong labels against the share of events that keep one, the surest first.

    Args:
        judged: name, as the legend shows it -> events.
        thresholds: of some of the names, chosen elsewhere: each is marked where it ends up here.
    """
    figure, axes = axes_of(7.5, 5.6)
    palette, areas = colours_of(judged), dict[str, float]()
    for row, (name, own) in enumerate(judged.items()):
        colour = palette[name]
        curve, mark = risk_coverage(own), MARKS[row % len(MARKS)]
        areas[name] = curve.area.mean
        label = plain(f"{name}: area {curve.area.brief}")
        every = max(1, len(curve.coverage) // 8)
        axes.plot(curve.coverage, curve.risk, color=colour, label=label, marker=mark, markevery=every, markersize=5)
        axes.axhline(1 - own.accuracy, color=colour, linestyle=":", linewidth=1)
        if thresholds and name in thresholds:
            chosen = thresholds[name]
            kept = curve.thresholds >= chosen.value
            at = (float(curve.coverage[kept][-1]), float(curve.risk[kept][-1])) if kept.any() else (0.0, 0.0)
            ends = f"{100 * at[0]:.0f} % kept, {100 * at[1]:.0f} % of them wrong"
            what = f"from {chosen.value:.2f} on (chosen for {chosen.wanted}): {ends}"
            look = {"markersize": 13, "markerfacecolor": "none", "color": colour, "linestyle": "none"}
            axes.plot(*at, marker=mark, label=plain(what), **look)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="events that keep their label", ylabel="of these, wrong")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), frameon=False)
    axes.set_title("What is wrong among the labels that are kept", loc="left")
    who = [f"{name}: {own.stamp}; {len(own.right)} events of {own.n_sessions} sessions" for name, own in judged.items()]
    dotted = "Dotted: all labels kept, which a useless confidence would equal."
    return stamp_wrapped(figure, "\n".join([*who, dotted]), ranked("Area under the curve, less is better", areas))
