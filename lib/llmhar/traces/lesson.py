"""What the lesson's exercises need: compare a guess with what was measured, take evidence away. Draws nothing."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import scipy.stats

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.store import Store
from llmhar.data.events import Session, Window
from llmhar.score.tables import Result
from llmhar.text.serialize import fold_name
from llmhar.traces.counterfactual import Order, ReaskError, rows_of
from llmhar.traces.reask import reask


def activity_names(session: Session) -> list[str]:
    """Names that may be answered, in the order of the prompt."""
    return list(session.labels.values())


def check_guess(window: Window, session: Session, guess: Sequence[str]) -> pd.DataFrame:
    """A person's labels beside the truth, one row an event.

    Args:
        window: what was looked at.
        session: its session, which knows the truth.
        guess: a label an event; "" or "?" = no idea. Case, blanks and underscores do not matter.

    Returns:
        Columns time, event, guess, truth, right ("yes", "no", "–" where nothing was annotated).

    Raises:
        ValueError: not one label an event, or a name that is none: says which was meant.
    """
    if len(guess) != len(window.events):
        raise ValueError(f"{len(window.events)} events need as many labels, not {len(guess)}")
    names = {fold_name(name): name for name in activity_names(session)}
    rows = []
    for event, label in zip(window.events, guess):
        name = "" if label.strip() in ("", "?") else _meant(label, names)
        truth = session.truth_of(event)
        true_names = {fold_name(session.activities[activity]) for activity in event.activity_ids}
        right = "–" if not truth else "yes" if fold_name(name) in true_names else "no"
        row = {"time": f"{event.time:%H:%M:%S}", "event": event.text, "guess": name or "–", "truth": truth or "–"}
        rows.append(row | {"right": right})
    return pd.DataFrame(rows).rename_axis("id")


def _meant(label: str, names: Mapping[str, str]) -> str:
    folded = fold_name(label)
    if folded not in names:
        near = difflib.get_close_matches(folded, names, n=1, cutoff=0.0)
        raise ValueError(f"no activity is called {label!r}; did you mean {names[near[0]]!r}?")
    return names[folded]


def predictions(guessed: Mapping[str, float | None], measured: Mapping[str, float]) -> pd.DataFrame:
    """What was predicted before looking, what was measured, and how far apart they are.

    Args:
        guessed: question -> prediction; None = none was made.
        measured: question -> value; the same questions.

    Raises:
        ValueError: other questions than were asked.
    """
    if set(guessed) != set(measured):
        raise ValueError(f"predict exactly these: {', '.join(measured)}")
    rows = [{"question": q, "you said": guessed[q], "measured": measured[q]} for q in measured]
    table = pd.DataFrame(rows).set_index("question").astype(float)
    table["off by"] = table["you said"] - table["measured"]
    return table


class Worked(NamedTuple):
    """A 95 % interval of a mean over sessions, step by step as one would compute it by hand."""

    mean: float
    sd: float
    """Standard deviation over sessions (n - 1)."""
    n: int
    t: float
    """97.5 % quantile of Student's t with n - 1 degrees of freedom."""

    @property
    def half(self) -> float:
        """Half the interval's width: t · s / √n; NaN for one session."""
        return float(self.t * self.sd / self.n**0.5)

    def __str__(self) -> str:
        """The steps in a line, then the interval."""
        steps = f"mean {self.mean:.3f}, s {self.sd:.3f}, n {self.n}, t {self.t:.3f}: half width {self.half:.3f}"
        return f"{steps}\n[{self.mean - self.half:.3f}, {self.mean + self.half:.3f}]"


def interval_by_hand(result: Result) -> Worked:
    """The interval of a result's macro F1 over the sessions that have a score, step by step."""
    scores = [score.macro_f1 for score in result.sessions if score.n_events]
    n = len(scores)
    sd = statistics.stdev(scores) if n > 1 else float("nan")
    return Worked(statistics.fmean(scores), sd, n, float(scipy.stats.t.ppf(0.975, n - 1)) if n > 1 else float("nan"))


def without(result: Result, dropped: int, store: Store, asking: Asking = STUDY, *, position: int = 0) -> pd.DataFrame:
    """Take one event away, ask the same model again, and lay the labels side by side.

    Args:
        result: of a model; the window must have been answered.
        dropped: id of the event that goes.
        store: where the answer is looked up and kept.
        asking: its engine counts; all else is as the answer was asked.
        position: index into the task's windows.

    Returns:
        A row an event with columns time, event, before, after, changed ("yes", "no", "gone"), as :func:`changes` makes;
        where the model gives each event a reason, also "why before" and "why after".

    Raises:
        ReaskError: no such event, the only one, or no answer.
    """
    window = result.task.windows[position]
    session = result.task.sessions[window.session_id]
    if not 0 <= dropped < len(window.events):
        raise ReaskError(f"no event {dropped}: this window has 0 to {len(window.events) - 1}")
    rows, names = rows_of(window), activity_names(session)
    left = tuple(rows[:dropped] + rows[dropped + 1 :])
    like = result.answers[position].ask.request
    order = Order(window.session_id, window.index, left, like=like, labels=tuple(names))
    after = reask(result.task, result.model, order, store, asking)
    reading = result.readings[position]
    before = [None if p.label is None else session.activities[p.label] for p in reading.predictions]
    table = changes(window, dropped, before, [None if i < 0 else names[i] for i in after["l"]])
    if reading.whys or after["w"]:
        again = [why for why, _ in after["w"]] or [""] * (len(window.events) - 1)
        table["why before"] = [reading.whys.get(i, "") or "–" for i in range(len(window.events))]
        table["why after"] = [why or "–" for why in (*again[:dropped], "", *again[dropped:])]
    return table


def changes(window: Window, dropped: int, before: Sequence[str | None], after: Sequence[str | None]) -> pd.DataFrame:
    """Labels of a window's events before and after one event was taken away.

    Args:
        window: as it was.
        dropped: id of the event that is gone.
        before: a label an event of the whole window; None = none.
        after: a label an event of the rest.

    Returns:
        Columns time, event, before, after, changed ("yes", "no", "gone").
    """
    rest = [*after[:dropped], None, *after[dropped:]]
    rows = [
        {
            "time": f"{event.time:%H:%M:%S}",
            "event": event.text,
            "before": was or "–",
            "after": now or "–",
            "changed": "gone" if i == dropped else "no" if was == now else "yes",
        }
        for i, (event, was, now) in enumerate(zip(window.events, before, rest, strict=True))
    ]
    return pd.DataFrame(rows).rename_axis("id")
