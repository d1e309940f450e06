"""Figures of confidences: reliability, and what is left wrong when unsure labels are left blank. Computes no score."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from llmhar.score.confidence import BINS, Judged, Threshold, calibration_error, reliability, risk_coverage
from llmhar.score.figures import MARKS, axes_of, colours_of, plain, stamp_wrapped


def _stamp(judged: Mapping[str, Judged]) -> str:
    """Who was asked about what, and n."""
    lines = (
        f"{name}: {own.stamp}; {len(own.right)} events of {own.n_sessions} sessions" for name, own in judged.items()
    )
    return "\n".join(lines)


def _finish(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Axes of shares, the legend below them."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), frameon=False)
    axes.set_title(title, loc="left")


def reliability_curves(judged: Mapping[str, Judged], n_bins: int = BINS) -> Figure:
    """Share of right labels against confidence, in bins of equal mass with 95 % intervals over sessions.

    Args:
        judged: name, as the legend shows it -> events.
        n_bins: of each curve, fewer where many confidences are equal.
    """
    figure, axes = axes_of(7.5, 5.6)
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="as sure as right")
    palette = colours_of(judged)
    for row, (name, own) in enumerate(judged.items()):
        colour = palette[name]
        bins, error = reliability(own, n_bins), calibration_error(own, n_bins)
        label = plain(f"{name}: ECE {error.brief}")
        x, y = [each.confidence for each in bins], [each.accuracy.mean for each in bins]
        axes.plot(x, y, marker=MARKS[row % len(MARKS)], color=colour, label=label)
        for each in bins:
            if each.accuracy.low == each.accuracy.low:
                bounds = [each.accuracy.low, each.accuracy.high]
                axes.plot([each.confidence] * 2, bounds, color=colour, alpha=0.4, linewidth=2)
    xlabel = "confidence (mean of a bin; bins hold equally many events)"
    _finish(axes, "Are sure labels right as often as they claim?", xlabel, "labels that are right")
    return stamp_wrapped(figure, f"{_stamp(judged)}\nBars: 95 % intervals over sessions.")


def risk_coverage_curves(judged: Mapping[str, Judged], thresholds: Mapping[str, Threshold] | None = None) -> Figure:
    """Share of wrong labels against the share of events that keep one, the surest first.

    Args:
        judged: name, as the legend shows it -> events.
        thresholds: of some of the names, chosen elsewhere: each is marked where it ends up here.
    """
    figure, axes = axes_of(7.5, 5.6)
    palette = colours_of(judged)
    for row, (name, own) in enumerate(judged.items()):
        colour = palette[name]
        curve, mark = risk_coverage(own), MARKS[row % len(MARKS)]
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
    title = "What is wrong among the labels that are kept"
    _finish(axes, title, "events that keep their label", "of these, wrong")
    return stamp_wrapped(figure, f"{_stamp(judged)}\nDotted: all labels kept, which a useless confidence would equal.")
