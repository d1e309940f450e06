"""How often an answer moves when what its reason cites is taken away, against as many events that it does not cite.

A short form of :mod:`llmhar.traces.faithfulness` for one question: of each probed event two probes, paired, over the
sessions of one home or of several. It works with free answers and with answers that are bound to a schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from llmhar.ask.asking import Asking
from llmhar.ask.inference import collect, make_asks, refuse_all_failed, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.score.stats import Interval, sign_flip, t_interval
from llmhar.traces.citations import find_citations
from llmhar.traces.faithfulness import Kind, Outcome, plan_probes, run_probes

TAKEN: tuple[Kind, Kind] = ("drop", "control drop")
BOUND = Asking(constrained=True)
"""Answers bound to the schema; a model without a thinking block gives a reason in each item."""


class Probed(NamedTuple):
    """One model's probes on one task."""

    data: str
    """Name and kind of the data: sessions of two homes may have one name."""
    outcomes: list[Outcome]
    """Of each probed event two, cited evidence first."""
    n_events: int
    """Events of all answered windows."""
    n_explained: int
    """Of these, with a reason."""
    n_citing: int
    """Of these, with a reason that cites another event."""


class Moves(NamedTuple):
    """How often the answer for an event moves; shares and gap in percent, means over sessions with t intervals."""

    model: str
    cited: Interval
    """Share of probed events whose label changes when all events of the cited sensors are taken away."""
    control: Interval
    """And when as many events are taken away that the reason does not cite."""
    gap: Interval
    """Cited minus control, paired: of the same events."""
    p: float
    """Two-sided sign-flip test of the gap, over sessions."""
    n_pairs: int
    """Probed events that have a label before and after both."""
    cited_only: int
    """Of these, moved by the cited evidence alone."""
    control_only: int
    """And by the control alone."""
    n_unreadable: int
    """Probed events without one of the labels."""
    n_taken: float
    """Events that are taken away, mean."""
    citing_pct: float
    """Share of explained events whose reason cites another event: of the others nothing is said here."""

    def rows(self) -> list[dict[str, Any]]:
        """A table: what was taken away, how often the answer moved, and the paired difference."""
        named = {"what it cites": self.cited, "as many other events": self.control, "difference": self.gap}
        return [
            {
                "model": self.model,
                "taken away": what,
                "answer moves %": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "p": self.p if interval is self.gap else float("nan"),
                "events": self.n_pairs,
                "sessions": interval.n,
            }
            for what, interval in named.items()
        ]

    def numbers(self) -> dict[str, float]:
        """Key numbers, for run.json."""
        moved = self.cited.numbers("probe_cited_pct") | self.control.numbers("probe_control_pct")
        others = {"probe_p": self.p, "probe_events": self.n_pairs, "probe_citing_pct": self.citing_pct}
        return moved | self.gap.numbers("probe_gap") | others


def probe_evidence(
    task: Task, model: ModelSpec, n: int, store: Store, asking: Asking = BOUND, *, seed: int = 0
) -> Probed:
    """Ask a model about a task, then again about windows without what its reasons cite, and without something else.

    Args:
        task: the windows; a student is asked in the words that it learnt.
        model: who is asked.
        n: most events that are probed, drawn from all whose reason cites another event.
        store: where answers are looked up and kept.
        asking: how; one sample, and the likeliest tokens, or labels move by chance as well.
        seed: of the events drawn and of what is taken away as control.

    Raises:
        EngineError: the engine cannot start, or every request failed.
        StoreError: the store cannot be read or written.
    """
    asks = make_asks(task, model, asking)
    run = run_asks(asks, model, store, asking)
    answers = collect(asks, store, run.fingerprint if asking.exact else None)
    refuse_all_failed(model.name, answers)
    found = find_citations(task, answers)
    probes = plan_probes(task, found.citations, seed=seed, n=n, kinds=TAKEN, as_many=True)
    outcomes = run_probes(task, probes, model, store, asking) if probes else []
    return Probed(task.data, outcomes, found.n_events, found.n_lines, len(found.citations))


def count_moves(model: str, probed: Sequence[Probed]) -> Moves:
    """How often answers moved, over all sessions of one or several homes.

    Args:
        model: how tables call it.
        probed: of this model, one a home.
    """
    by_session: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    n_unreadable, n_taken = 0, []
    for home in probed:
        for cited, control in zip(home.outcomes[::2], home.outcomes[1::2], strict=True):
            if cited.changed is None or control.changed is None:
                n_unreadable += 1
                continue
            n_taken.append(len(cited.probe.changed))
            key = home.data, cited.probe.window.session_id
            by_session.setdefault(key, []).append((cited.changed, control.changed))
    pairs = [pair for own in by_session.values() for pair in own]
    shares = [(100 * fmean(c for c, _ in own), 100 * fmean(k for _, k in own)) for own in by_session.values()]
    gaps = [cited - control for cited, control in shares]
    n_explained = sum(home.n_explained for home in probed)
    return Moves(
        model=model,
        cited=t_interval([cited for cited, _ in shares]),
        control=t_interval([control for _, control in shares]),
        gap=t_interval(gaps),
        p=sign_flip(gaps).p,
        n_pairs=len(pairs),
        cited_only=pairs.count((True, False)),
        control_only=pairs.count((False, True)),
        n_unreadable=n_unreadable,
        n_taken=fmean(n_taken) if n_taken else float("nan"),
        citing_pct=100 * sum(home.n_citing for home in probed) / n_explained if n_explained else float("nan"),
    )
