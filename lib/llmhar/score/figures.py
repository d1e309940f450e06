"""Figures of the study, each drawn from a table or a result. Computes no score and reads no file.

Every figure is stamped with what it shows: kind, engine, model revision, data and n. Colours are seaborn's
colour-blind palette, one meaning a colour on every page, and marks differ in shape too.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from llmhar.data.events import Session
from llmhar.records import VERDICTS
from llmhar.score.tables import KINDS, NO_ANSWER, Result
from llmhar.text.prompt import PromptSpec
from llmhar.text.tokens import TokenCounts

MARKS = "osD^vP*X"
"""One shape a series, so that no figure needs colour to be read."""
# seaborn's colour-blind palette; the explorer's style sheet holds the same ten (a test compares them)
PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
# Whatever else a figure shows, these keep their colour, of two that share one the first; other names take a place by
# their own text.
FIXED = {
    "rules": 0, "rules-plain": 1, "smollm2-135m": 2, "trees (truth)": 3, "trees (rules)": 4, "lookup (truth)": 5,
    "text embeddings": 6, "majority class": 7, "smollm2-135m-l8": 8, "smollm2-135m-l16": 9,
    "A": 0, "B": 3, "C": 4, "D": 2, "E": 9, "llmhar-home-135m": 9, "llmhar-home-135m-int8": 9, "trees": 3,
}  # fmt: skip


plt.rcParams.update({"figure.dpi": 110, "savefig.dpi": 110, "font.size": 11, "figure.constrained_layout.use": True})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


def colours(n: int) -> list[Any]:
    """The first ``n`` of seaborn's colour-blind palette."""
    return list(sns.color_palette("colorblind", max(n, 1)))


def colours_of(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each of some things of one kind, in the order given.

    A name's colour follows from the name alone, unless two of a figure want one colour: then the one that comes later
    in the alphabet takes the next that is free. More names than colours share them evenly.

    Args:
        names: of models, or of residents.
    """
    wanted = list(dict.fromkeys(names))
    places: dict[str, int] = {}
    known = list(FIXED)
    for name in sorted(wanted, key=lambda name: (known.index(name) if name in FIXED else len(known), name)):
        first = FIXED.get(name, int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(PALETTE))
        uses = [list(places.values()).count(place) for place in range(len(PALETTE))]
        order = (place % len(PALETTE) for place in itertools.count(first))
        places[name] = next(place for place in order if uses[place] == min(uses))
    return {name: PALETTE[places[name]] for name in wanted}


class StudyFigure(Figure):
    """A figure that also says in words what it shows, for readers who cannot see it."""

    @property
    def alt(self) -> str:
        """Main result, title, axes and stamp; nothing is cut."""
        parts = [self.get_label(), self.get_suptitle()]
        for axes in self.axes:
            titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
            spanned = [text for text in (axes.get_ylabel(), axes.get_xlabel()) if text]
            parts += [*titles, " against ".join(spanned)]
        text = ". ".join(dict.fromkeys(str(part) for part in [*parts, self.get_supxlabel()] if part))
        return " ".join(text.replace(r"\$", "$").split())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture as notebooks show it, with the words as its alternative text."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", bbox_inches="tight")
        return {"image/png": picture.getvalue(), "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def panels_of(
    rows: int, columns: int, size: tuple[float, float], *, share: str = "y", widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches with axes side by side, row by row; they share x, y, both ("xy") or none."""
    figure, grid = plt.subplots(rows, columns, figsize=size, sharex="x" in share, sharey="y" in share, squeeze=False,
                                width_ratios=widths, FigureClass=StudyFigure)  # fmt: skip
    plt.close(figure)  # shown where a notebook returns it, once
    return figure, list(grid.flat)


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches, with one pair of axes."""
    figure, (axes,) = panels_of(1, 1, (width, height))
    return figure, axes


def box_text(axes: Axes, x: float, y: float, text: str, fontsize: int) -> None:
    """A text in a white box, so that hatches do not hide it."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    axes.text(x, y, text, ha="center", va="center", fontsize=fontsize, bbox=box)


def plain(text: str) -> str:
    """Text as it is: matplotlib would read ``$`` in a data set's name as mathematics."""
    return text.replace("$", r"\$")


def stamp(figure: Figure, text: str, result: str = "") -> Figure:
    """Write what a figure was made from under it, and put its main result, where one is given, into its words."""
    figure.set_label(result)
    figure.supxlabel(plain(text), fontsize=8, color="0.35", x=0.01, ha="left")
    return figure


def stamp_wrapped(figure: Figure, text: str, result: str = "") -> Figure:
    """As :func:`stamp`, each line of the text broken to the figure's width (8 points: about 15 letters an inch)."""
    width = int(14.5 * figure.get_figwidth())
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, width, break_on_hyphens=False)]
    return stamp(figure, "\n".join(lines), result)


def describe(results: Sequence[Result]) -> str:
    """The stamp of a figure made from results: data, windows, and each model with kind, revision and engine."""
    models = {
        r.model.name: f"{r.model.name} ({KINDS[r.model.kind]}, revision {r.revision}, {r.made_by})" for r in results
    }
    counted = {(r.task.data, r.task.subset): sum(s.n_events for s in r.sessions) for r in results}
    data = "; ".join(f"{name}, {subset}, {n} scored events" for (name, subset), n in counted.items())
    return "\n".join([f"Data: {data}.", *textwrap.wrap("; ".join(models.values()), 130, break_on_hyphens=False)])


def events_by_room(session: Session, data: str) -> Figure:
    """Events of a session over time, by room and resident (ground truth, never shown to a model)."""
    rooms = sorted({event.room or "(no room)" for event in session.events})
    residents = sorted({", ".join(event.residents) or "unknown" for event in session.events})
    figure, axes = axes_of(9.5, 0.45 * len(rooms) + 1.9)
    lanes = {resident: i for i, resident in enumerate(residents)}
    palette = colours_of(residents)
    for resident, lane in lanes.items():
        own = [event for event in session.events if (", ".join(event.residents) or "unknown") == resident]
        # Residents get a lane of their own inside a room, so that events at one moment do not hide each other.
        shift = 0.5 * (lane / max(1, len(lanes) - 1) - 0.5) if len(lanes) > 1 else 0.0
        at = [rooms.index(event.room or "(no room)") + shift for event in own]
        look = {"linestyle": "none", "marker": MARKS[lane % len(MARKS)], "markersize": 4.5, "color": palette[resident]}
        label = plain(f"resident {resident}" if resident != "unknown" else resident)
        axes.plot(mdates.date2num([event.time for event in own]), at, alpha=0.8, label=label, **look)
    axes.set_yticks(range(len(rooms)), [plain(room) for room in rooms])
    axes.set_ylim(-0.6, len(rooms) - 0.4)
    axes.grid(axis="y", alpha=0.25)
    axes.xaxis.set_major_locator(mdates.AutoDateLocator())
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M"))
    axes.set_xlabel("time of day")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_title(plain(f"Session {session.session_id}: who set off which room's sensors, and when"), loc="left")
    counts = pd.Series([event.room or "(no room)" for event in session.events]).value_counts()
    about = f"Data: {data}, session {session.session_id}, n = {len(session.events)} events."
    return stamp(figure, about, ranked("Events", counts.to_dict()))


def activity_counts(sessions: Sequence[Session], data: str) -> Figure:
    """How often each activity occurs among the events of some sessions."""
    events = [(s, e) for s in sessions for e in s.events]
    names = [[s.activities[activity] for activity in e.activity_ids] or ["(not annotated)"] for s, e in events]
    counts = pd.Series(names).explode().value_counts().sort_values()
    figure, axes = axes_of(9.5, 0.26 * len(counts) + 1.4)
    axes.barh([plain(str(name)) for name in counts.index], counts.to_numpy(), color=colours(1)[0])
    axes.bar_label(axes.containers[0], padding=3, fontsize=9)  # type: ignore[arg-type]
    axes.set_xlabel("events")
    axes.set_title("Activities are far from balanced: hence macro F1", loc="left")
    about = f"Data: {data}, {len(sessions)} sessions, n = {sum(len(s.events) for s in sessions)} events."
    return stamp(figure, about, ranked("Events", counts.to_dict()))


def token_costs(costs: pd.DataFrame, counted_by: str, data: str) -> Figure:
    """Tokens a window takes in each representation: mean, and the spread from 5 % to 95 % of windows.

    Args:
        costs: columns "mean", "p5", "p95"; one row a serializer.
        counted_by: whose tokens.
        data: data set, kind and n for the stamp.
    """
    figure, axes = axes_of(7.5, 2.9)
    spread = np.array([costs["mean"] - costs["p5"], costs["p95"] - costs["mean"]])
    axes.barh(list(costs.index), costs["mean"], xerr=spread, color=colours(len(costs)), capsize=4, height=0.6)
    for y, mean in enumerate(costs["mean"]):
        axes.text(4, y, f"{mean:.0f}", va="center", color="white", fontweight="bold")
    unit, by = _unit(counted_by)
    axes.set_xlabel(f"{unit} a window ({plain(by)})")
    axes.set_title("What each way of writing a window costs", loc="left")
    result = ranked(f"{unit} a window".capitalize(), costs["mean"].to_dict())
    return stamp(figure, f"{data} Bars: mean; whiskers: 5 % to 95 % of windows.", result)


def _unit(counted_by: str) -> tuple[str, str]:
    """What was counted, and by what."""
    return ("words", "no tokenizer fetched") if counted_by.startswith("words") else ("tokens", counted_by)


def prompt_parts(prompt: PromptSpec, counts: TokenCounts, window_tokens: float) -> Figure:
    """Tokens of each part of a prompt, static parts first, the window last."""
    names = [*prompt.parts, "window"]
    values = [*counts.counts, window_tokens]
    figure, axes = axes_of(9.5, 2.4)
    left = 0.0
    for name, value, colour in zip(names, values, colours(len(names))):
        axes.barh(0, value, left=left, color=colour, edgecolor="white", label=f"{name.replace('_', ' ')}: {value:.0f}")
        left += value
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("{} ({})".format(*map(plain, _unit(counts.counted_by))))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=4, frameon=False)
    static = 100 * sum(counts.counts) / left if left else 0.0
    axes.set_title(
        f"{static:.0f} % of this prompt is the same for every window: computed once, then cached", loc="left"
    )
    return stamp(figure, f"Prompt {prompt.sha256[:12]}, serializer {prompt.serializer}.")


def f1_by_session(results: Sequence[Result]) -> Figure:
    """Macro F1 of each session (small) and its mean with 95 % t interval over sessions (large), one row a model."""
    figure, axes = axes_of(9.5, 0.75 * len(results) + 2.1)
    palette = colours_of(result.model.name for result in results)
    for row, result in enumerate(results):
        colour = palette[result.model.name]
        scores = [score.macro_f1 for score in result.sessions if score.n_events]
        f1, mark = result.macro_f1, MARKS[row % len(MARKS)]
        axes.plot(scores, [row - 0.18] * len(scores), linestyle="none", marker=mark, alpha=0.45, color=colour)
        if f1.n > 1:
            axes.plot([max(f1.low, 0), min(f1.high, 1)], [row + 0.12] * 2, color=colour, linewidth=2.5)
        axes.plot([f1.mean], [row + 0.12], marker=mark, markersize=10, color=colour)
        axes.annotate(f"{f1.mean:.2f}", (f1.mean, row + 0.12), xytext=(0, 8), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(results)), [plain(f"{r.model.name}\n({KINDS[r.model.kind]})") for r in results])
    axes.set_ylim(-0.6, len(results) - 0.3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("macro F1 (small: one session; large: mean with 95 % t interval, cut at 0 and 1)")
    axes.grid(axis="x", alpha=0.25)
    return stamp(figure, describe(results), f1_words(results))


def verdict_bars(results: Sequence[Result]) -> Figure:
    """What became of each event: share of verdicts, one bar a model."""
    figure, axes = axes_of(9.5, 0.6 * len(results) + 2.0)
    colour_of = dict(zip(VERDICTS, colours(len(VERDICTS))))
    hatches: Mapping[str, str] = dict(zip(VERDICTS, ["", "//", "..", "xx", "\\\\", "oo"]))
    for row, result in enumerate(results):
        total, left = max(1, sum(result.verdicts.values())), 0.0
        for verdict in VERDICTS:
            share = 100 * result.verdicts.get(verdict, 0) / total
            look = {"color": colour_of[verdict], "hatch": hatches[verdict], "edgecolor": "white"}
            axes.barh(row, share, left=left, label=verdict.replace("_", " ") if row == 0 else None, **look)
            if share >= 4:
                box_text(axes, left + share / 2, row, f"{share:.0f}", fontsize=10)
            left += share
    axes.set_yticks(range(len(results)), [plain(r.model.name) for r in results])
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of events")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.28), ncols=6, frameon=False)
    read = {r.model.name: 100 * r.verdicts.get("ok", 0) / max(1, sum(r.verdicts.values())) for r in results}
    return stamp(figure, describe(results), ranked("% of events with a readable label", read))


def confusion_map(table: pd.DataFrame, who: str, stamped: str) -> Figure:
    """True activity (rows, with n) by answer (columns): colour is the share of the row, the number is the count.

    Args:
        table: :func:`llmhar.score.tables.confusion_table`; its last column is left out where everything was answered.
        who: who answered, and what they were told, for the title.
        stamped: data, kind and n.
    """
    shown = table if table[NO_ANSWER].any() else table.drop(columns=NO_ANSWER)
    n = table.sum(axis=1)
    figure, axes = axes_of(0.52 * len(shown.columns) + 4.4, 0.42 * len(shown) + 3.6)
    shares = shown.div(n.clip(lower=1), axis=0).to_numpy()
    image = axes.imshow(np.where(shares > 0, shares, np.nan), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(shown.to_numpy() > 0):
        colour = "black" if shares[row, column] > 0.45 else "white"
        axes.text(column, row, str(shown.iat[row, column]), ha="center", va="center", fontsize=9, color=colour)
    names = [plain(str(name)) for name in shown.columns]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), [plain(f"{name} (n = {count})") for name, count in n.items()])
    axes.set_xticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(shown) - 1), minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    bar = figure.colorbar(image, ax=axes, label="share of the row", shrink=0.8, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0, " %"))
    right = sum(int(table.at[name, name]) for name in table.index if name in table)
    axes.set_title(plain(f"{who}: {right} of {int(n.sum())} right"), loc="left", fontsize=11)
    return stamp_wrapped(figure, stamped)


def ranked(what: str, values: Mapping[str, float]) -> str:
    """A figure's main result: what was measured, and who has how much of it, the most first; empty without a number.

    Args:
        what: was measured.
        values: name -> number; NaN is left out.
    """
    known = sorted((name for name, value in values.items() if value == value), key=lambda name: -values[name])
    said = [f"{name} {format(values[name], '.3g' if abs(values[name]) < 100 else '.0f')}" for name in known]
    return f"{what}: {'; '.join(said)}" if said else ""


def f1_words(results: Sequence[Result]) -> str:
    """Macro F1 of each result, the highest first."""
    several = len({r.task.data for r in results}) > 1
    names = [f"{r.model.name} on {r.task.data}" if several else r.model.name for r in results]
    return ranked("Macro F1", dict(zip(names, (r.macro_f1.mean for r in results))))
