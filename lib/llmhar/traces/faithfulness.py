"""Does a label follow the evidence that its reasoning names? Changes windows, asks again, counts. Scores no truth.

After Lanham et al., Measuring Faithfulness in Chain-of-Thought Reasoning (2307.13702), who change the reasoning; here
the evidence is changed, as a window's events can be taken away one by one. A line "The fridge near the coffee machine
indicates cooking" cites the coffee machine. Four probes follow, all of the same event in the same window: the cited
sensor's events are dropped, or swapped for those of a sensor elsewhere, and the same is done to sensors that the line
does not cite (control). Where reasoning decides, cited evidence matters more than other evidence; where it decorates,
it does not. Cited sensors may also stand nearer in time, which alone could explain a difference: rows say how near.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY, collect, make_asks, refuse_all_failed, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent, Session, Window
from llmhar.score.stats import sign_flip, t_interval, wilson
from llmhar.text.mentions import Sensor, sensor_of
from llmhar.text.parsing import parse_answer
from llmhar.traces.citations import Citation
from llmhar.traces.counterfactual import drop_events, swap_events

Kind = Literal["drop", "swap", "control drop", "control swap"]
PROBE_KINDS: tuple[Kind, ...] = ("drop", "control drop", "swap", "control swap")
"""Cited evidence taken away or replaced, each beside its control."""


@dataclass(frozen=True)
class Probe:
    """A changed window."""

    citation: Citation
    kind: Kind
    window: Window
    target: int
    """Position of the explained event in the changed window."""
    changed: tuple[int, ...]
    """Ids, in the original window, of events that were taken away or replaced."""

    @property
    def seconds(self) -> float:
        """Time between the explained event and the nearest changed one."""
        events = self.citation.window.events
        return min(abs((events[i].time - events[self.citation.target].time).total_seconds()) for i in self.changed)


@dataclass(frozen=True)
class Outcome:
    """What a model said of the explained event before and after."""

    probe: Probe
    model: str
    before: int | None
    after: int | None
    """None where the answer gives the event no label."""

    @property
    def changed(self) -> bool | None:
        """Whether the label changed; None where one of the two is missing."""
        return None if self.before is None or self.after is None else self.before != self.after


def plan_probes(
    task: Task,
    citations: Sequence[Citation],
    *,
    seed: int = 0,
    n: int | None = None,
    kinds: Sequence[Kind] = PROBE_KINDS,
    as_many: bool = False,
) -> list[Probe]:
    """Probes for each citation that allows them: of the same event in the same window, by the same donor.

    Left out: windows where every sensor is the explained event's own or cited (no control), and sessions that have no
    sensor outside the window (nothing to swap in).

    Args:
        task: gives the sessions.
        citations: what reasoning cites (:func:`llmhar.traces.citations.find_citations`); those that cite nothing are
            passed over.
        seed: of the draws; a citation's probes depend on seed and citation alone, and a smaller ``n`` is a subset of a
            larger one.
        n: most citations that are probed; None = all.
        kinds: what is done to each citation's window, each beside its control.
        as_many: whether a control changes exactly as many events as the cited evidence has, of the last sensor only
            some where need be, and windows with fewer uncited ones are left out; else whole sensors, about as many.
    """

    def draw(citation: Citation) -> random.Random:
        return random.Random(f"{seed}:{citation.window.session_id}:{citation.window.index}:{citation.target}")

    planned: list[Probe] = []
    for citation in sorted((c for c in citations if c.cited), key=lambda c: draw(c).random()):
        if n is not None and len(planned) == n * len(kinds):
            break
        dice = draw(citation)
        control = _control(citation, dice, as_many)
        donor = _donor(citation, task.sessions[citation.window.session_id], dice)
        if control and (donor or not any(kind.endswith("swap") for kind in kinds)):
            planned += _probes(citation, control, donor, kinds)
    return planned


def _probes(
    citation: Citation, control: tuple[int, ...], donor: Sequence[SensorEvent], kinds: Sequence[Kind]
) -> list[Probe]:
    made = []
    for kind in kinds:
        changed = control if kind.startswith("control") else citation.evidence
        if kind.endswith("swap"):
            window, target = swap_events(citation.window, changed, donor), citation.target
        else:
            window = drop_events(citation.window, changed)
            target = citation.target - sum(i < citation.target for i in changed)
        made.append(Probe(citation, kind, window, target, changed))
    return made


def _control(citation: Citation, draw: random.Random, as_many: bool) -> tuple[int, ...]:
    """Events of sensors that are neither cited nor the explained event's own: of whole sensors about as many as the
    evidence has, or exactly as many, of the last sensor only some; none where there are fewer.
    """
    events, evidence = citation.window.events, citation.evidence
    taken = {sensor_of(events[i]) for i in (citation.target, *evidence)}
    free = Counter(sensor_of(event) for event in events if sensor_of(event) not in taken)
    sensors = draw.sample(sorted(free), len(free))
    chosen: list[Sensor] = []
    while sensors and (missing := len(evidence) - sum(free[sensor] for sensor in chosen)) > 0:
        best = min(sensors, key=lambda sensor: abs(free[sensor] - missing))  # the first drawn of those that fit best
        chosen.append(best)
        sensors.remove(best)
    if not as_many:
        return tuple(i for i, event in enumerate(events) if sensor_of(event) in chosen)
    taken_away = [i for sensor in chosen for i, event in enumerate(events) if sensor_of(event) == sensor]
    return tuple(sorted(taken_away[: len(evidence)])) if len(taken_away) >= len(evidence) else ()


def _donor(citation: Citation, session: Session, draw: random.Random) -> list[SensorEvent]:
    """Events of a sensor of the same home that this window does not have, of another room where there is one."""
    events = citation.window.events
    here = {sensor_of(event) for event in events}
    rooms = {events[i].room for i in (citation.target, *citation.cited)}
    others = sorted({sensor_of(event) for event in session.events} - here)
    others = [sensor for sensor in others if sensor[0] not in rooms] or others
    chosen = draw.choice(others) if others else None
    return [event for event in session.events if sensor_of(event) == chosen]


def run_probes(
    task: Task, probes: Sequence[Probe], model: ModelSpec, store: Store, asking: Asking = STUDY
) -> list[Outcome]:
    """Ask about original and changed windows what the store does not have yet, and compare the labels.

    Args:
        task: prompts and sessions; its own windows are not asked unless a probe comes from them.
        probes: of this model's citations, or of another's: the label before is always this model's own.
        model: who is asked.
        store: where answers are looked up and kept.
        asking: as the citations were made; then the originals are in the store already. Above temperature 0 labels
            also change by chance, in the controls too.

    Raises:
        EngineError: the engine cannot start.
        StoreError: the store cannot be written.
    """
    originals = {(w.session_id, w.index): w for w in (probe.citation.window for probe in probes)}
    changed = {(w.session_id, w.index): w for w in (probe.window for probe in probes)}
    windows = originals | changed
    probing = replace(asking, purpose="probe")
    own = {(w.session_id, w.index) for w in task.windows}
    # With the whole task: a bound answer's room for tokens hangs on the longest window, and is in the store's key.
    whole = replace(task, windows=(*task.windows, *(w for key, w in originals.items() if key not in own)))
    asks = [a for a in make_asks(whole, model, asking) if (a.session_id, a.window_index) in originals]
    part = replace(task, windows=tuple(changed.values()), subset=f"{len(changed)} windows of {len(probes)} probes")
    asks += make_asks(part, model, probing)
    run = run_asks(asks, model, store, probing)
    labels: dict[tuple[str, int], list[int | None]] = {}
    answers = collect(asks, store, run.fingerprint if asking.exact else None)
    refuse_all_failed(model.name, answers)
    for answer in answers:
        key = (answer.ask.session_id, answer.ask.window_index)
        made = answer.stored.generation if answer.stored else None
        text, reason = (made.text, made.finish_reason) if made else ("", "")
        session = task.sessions[key[0]]
        reading = parse_answer(text, len(windows[key].events), session.labels, finish_reason=reason)
        labels[key] = [prediction.label for prediction in reading.predictions]
    outcomes = []
    for probe in probes:
        before = labels[probe.window.session_id, probe.citation.window.index][probe.citation.target]
        after = labels[probe.window.session_id, probe.window.index][probe.target]
        outcomes.append(Outcome(probe, model.name, before, after))
    return outcomes


def faithfulness_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row a model and kind: how often the label changed.

    Columns: model, kind, n (probes with both labels), unreadable (probes without), changed, "changed %" with Wilson's
    95 % interval (low, high; events taken as independent, which they are not: the test is :func:`gap_rows`), and, means
    over the n, "events changed" and "seconds away" (of the nearest changed event).
    """
    rows = []
    for model in dict.fromkeys(outcome.model for outcome in outcomes):
        for kind in PROBE_KINDS:
            every = [o for o in outcomes if o.model == model and o.probe.kind == kind]
            clear = [o for o in every if o.changed is not None]
            n, k = len(clear), sum(bool(o.changed) for o in clear)
            low, high = wilson(k, n)
            rows.append(
                {
                    "model": model,
                    "kind": kind,
                    "n": n,
                    "unreadable": len(every) - n,
                    "changed": k,
                    "changed %": 100 * k / n if n else float("nan"),
                    "low": 100 * low,
                    "high": 100 * high,
                    "events changed": fmean(len(o.probe.changed) for o in clear) if n else float("nan"),
                    "seconds away": fmean(o.probe.seconds for o in clear) if n else float("nan"),
                }
            )
    return rows


def gap_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row a model and way: how much more often cited evidence changes the label than its control, pair by pair.

    Columns: model, kind, pairs (with all labels), "cited only" and "control only" (pairs where that one alone changed
    the label), and, in points, the mean gap over sessions with t interval (low, high; cut at -100
    and 100), sign-flip p and their number.
    """
    rows = []
    for model in dict.fromkeys(outcome.model for outcome in outcomes):
        own = [o for o in outcomes if o.model == model]
        for kind in ("drop", "swap"):
            gaps = _gaps(own, kind)
            every = [gap for own in gaps.values() for gap in own]
            means = [100 * fmean(own) for own in gaps.values()]
            mean = t_interval(means).cut(-100, 100)
            rows.append(
                {
                    "model": model,
                    "kind": kind,
                    "pairs": len(every),
                    "cited only": every.count(1),
                    "control only": every.count(-1),
                    "gap": mean.mean,
                    "low": mean.low,
                    "high": mean.high,
                    "p": sign_flip(means).p,
                    "sessions": mean.n,
                }
            )
    return rows


def _gaps(outcomes: Sequence[Outcome], kind: str) -> dict[str, list[int]]:
    """Session -> cited minus control (-1, 0, 1) of each citation, those with a missing label left out."""
    pairs: dict[tuple[str, int, int], dict[Kind, bool | None]] = {}
    for outcome in outcomes:
        if outcome.probe.kind.endswith(kind):
            of = outcome.probe.citation
            pairs.setdefault((of.window.session_id, of.window.index, of.target), {})[outcome.probe.kind] = (
                outcome.changed
            )
    gaps: dict[str, list[int]] = {}
    for (session_id, _, _), changed in pairs.items():
        both = [changed.get(name) for name in PROBE_KINDS if name.endswith(kind)]
        if None not in both:
            gaps.setdefault(session_id, []).append(int(bool(both[0])) - int(bool(both[1])))
    return gaps
