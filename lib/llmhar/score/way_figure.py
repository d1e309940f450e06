"""The way of a study as a drawing: from rows to a score, with one window's own words. Computes nothing."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from llmhar.data.events import Session, Window
from llmhar.score.figures import PALETTE, axes_of, plain, stamp
from llmhar.text.serialize import clean_text

STEPS = ("rows", "window", "prompt", "answer", "score")
LOST = (
    "a row can be refused",
    "people can be cut apart",
    "nothing says who it was",
    "it can be unreadable",
    "few sessions show little",
)
"""What each step can lose, in the order of :data:`STEPS`."""
MAX_LINES = 8
"""Of a box; more would leave it."""
_WIDTH, _GAP = 1.0, 0.24


def draw_way(window: Window, session: Session, data: str) -> Figure:
    """Five boxes with arrows between them: what a window is at each step, and what the step can lose.

    Args:
        window: whose words stand in the boxes.
        session: its session; names of activities come from it, the truth does not.
        data: name of the data, for the stamp.
    """
    figure, axes = axes_of(11.5, 3.1)
    for place, (step, text, lost) in enumerate(zip(STEPS, _texts(window, session), LOST, strict=True)):
        left = place * (_WIDTH + _GAP)
        axes.add_patch(Rectangle((left, 0), _WIDTH, 1, facecolor="0.97", edgecolor=PALETTE[0], linewidth=1.6))
        axes.text(left, 1.05, f"{place + 1}. {step}", fontsize=12, fontweight="bold", va="bottom")
        axes.text(left + 0.04, 0.95, _fitted(text), fontsize=9.5, family="monospace", va="top", linespacing=1.35)
        axes.text(left, -0.06, lost, fontsize=9, color="0.35", style="italic", va="top")
        if place:
            arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": "0.25"}
            axes.annotate("", (left - 0.02, 0.5), (left - _GAP + 0.02, 0.5), arrowprops=arrow)
    axes.set_xlim(-0.02, 5 * _WIDTH + 4 * _GAP + 0.02)
    axes.set_ylim(-0.2, 1.2)
    axes.set_axis_off()
    figure.suptitle("The way: rows → window → prompt → answer → score, and what each step can lose", x=0.01, ha="left")
    return stamp(figure, f"Words of window {window.index}, session {window.session_id}, {clean_text(data)}.")


def _texts(window: Window, session: Session) -> tuple[str, str, str, str, str]:
    """What stands in each box, a line each; no truth."""
    events = [clean_text(f"{event.time:%H:%M:%S} {event.text}") for event in window.events]
    ends = f"{window.events[0].time:%H:%M:%S} to\n{window.events[-1].time:%H:%M:%S}" if events else "no events"
    return (
        "\n".join(events[:3]),
        f"{len(events)} events,\n{ends}\n\none question\nto the model",
        f"task, home,\nanswer format,\n{len(session.labels)} activities,\nrules, example\n\n+ the window",
        '[{"id": 0,\n  "activity":\n  "…"},\n {"id": 1,\n  …]',
        f"{len(events)} verdicts,\neach label right\nor wrong\n\n→ macro F1\nof a session",
    )


def _fitted(text: str) -> str:
    """Lines that fit a box."""
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, 19, drop_whitespace=False) or [""]]
    return plain("\n".join(lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], "…"]))
