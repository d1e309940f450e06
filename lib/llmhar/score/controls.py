"""Controls: the cheapest things that could explain a score. No language model among them.

Three learn from the labelled windows of one home, by what they are given: the teacher's labels (then they are what a
student must beat to be worth its training) or the truth. One needs no home at all: it knows sensors and activities by
their names alone. Each gives a :class:`~llmhar.score.tables.Result`, so tables treat it like a model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

import numpy as np

from llmhar.ask.models import ModelSpec
from llmhar.ask.task import Task
from llmhar.data.events import WINDOW_SIZE, SensorEvent, Session, Window, cut_windows
from llmhar.records import Fingerprint, Prediction, Verdict
from llmhar.score.tables import Result, count_verdicts, score_readings
from llmhar.text.embedding import embed
from llmhar.text.naming import name_words
from llmhar.text.parsing import Reading
from llmhar.text.serialize import part_of_day

MAJORITY = "majority class"
Labels = Sequence[int | None]
"""One label an event of a window; None where nobody gave one."""
NEAR = 2
"""Events before and after an event that trees look at."""


class Labelled(NamedTuple):
    """Training windows with the labels that a control learns."""

    windows: Sequence[Window]
    labels: Sequence[Labels]
    """One list a window, in order."""
    source: str
    """Who gave them, as tables say it: "truth", "rules"."""
    activities: Mapping[int, str]
    """Number -> name: what labels mean."""


def true_labels(windows: Sequence[Window], session: Session) -> Labelled:
    """The truth of a home's windows; activities that are not scored, and events without one, have no label.

    Args:
        windows: any of the home's.
        session: one of the home's: gives activities and those that are not scored.
    """
    labels = session.labels
    named = [[e.activity_id if e.activity_id in labels else None for e in window.events] for window in windows]
    return Labelled(windows, named, "truth", session.activities)


def majority_result(task: Task) -> Result:
    """Chance: every event gets the activity that is most frequent in the *training* sessions."""
    seen = Counter(
        event.activity_id
        for session in task.train.values()
        for event in session.events
        if event.activity_id is not None and event.activity_id in session.labels
    )
    label = seen.most_common(1)[0][0] if seen else None
    return control_result(task, MAJORITY, "chance", MAJORITY, [[label] * len(w.events) for w in task.windows])


def lookup_result(task: Task, taught: Labelled) -> Result:
    """A table sensor and part of day -> its commonest label; without one the sensor's, then the commonest of all."""
    tables: dict[tuple[str, ...], Counter[int]] = defaultdict(Counter)
    for event, label in _events(taught):
        for key in _lookup_keys(event):
            tables[key][label] += 1
    best = {key: counts.most_common(1)[0][0] for key, counts in tables.items()}
    labels = [
        [next((best[key] for key in _lookup_keys(event) if key in best), None) for event in window.events]
        for window in task.windows
    ]
    return control_result(task, f"lookup ({taught.source})", "baseline", "table of sensor and part of day", labels)


def _lookup_keys(event: SensorEvent) -> list[tuple[str, ...]]:
    return [(event.text, part_of_day(event.time.hour)), (event.text,), ()]


def trees_result(task: Task, taught: Labelled, seed: int = 0) -> Result:
    """scikit-learn's default ExtraTrees on what one window shows of an event (:func:`features`).

    Args:
        task: windows to label.
        taught: windows of the same home with labels; an event without one is left out. Of no labels nothing is learnt.
        seed: of the trees.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.pipeline import make_pipeline

    rows = [row for window in taught.windows for row in features(window)]
    known = [(row, label) for row, label in zip(rows, _flat(taught.labels)) if label is not None]
    trees = make_pipeline(
        DictVectorizer(dtype=np.float32, sparse=False), ExtraTreesClassifier(random_state=seed, n_jobs=1)
    )
    asked = [row for window in task.windows for row in features(window)]
    if known:
        trees.fit([row for row, _ in known], [label for _, label in known])
    found = iter(trees.predict(asked).tolist() if known else [None] * len(asked))
    labels = [[next(found) for _ in window.events] for window in task.windows]
    made_by = f"scikit-learn {version('scikit-learn')} ExtraTrees, seed {seed}"
    return control_result(task, f"trees ({taught.source})", "baseline", made_by, labels)


def features(window: Window) -> list[dict[str, Any]]:
    """What trees see of each event: its sensor, its hour, its neighbours, and how often each sensor is in the window.

    Names and numbers as :class:`sklearn.feature_extraction.DictVectorizer` takes them; times in hours and seconds.
    """
    counts = Counter(f"{event.room} {event.sensor}" for event in window.events)
    in_window: dict[str, Any] = {f"window has {name}": n for name, n in counts.items()}
    rows = []
    for i, event in enumerate(window.events):
        row = in_window | {
            "sensor": event.text,
            "room": event.room,
            "part of day": part_of_day(event.time.hour),
            "hour": event.time.hour + event.time.minute / 60,
        }
        for offset in (n for n in range(-NEAR, NEAR + 1) if n and 0 <= i + n < len(window.events)):
            near = window.events[i + offset]
            row[f"sensor {offset:+}"] = near.text
            row[f"seconds {offset:+}"] = (near.time - event.time).total_seconds()
        rows.append(row)
    return rows


def embeddings_result(task: Task) -> Result:
    """Zero-shot: each event gets the activity whose name is nearest to the event's words and its part of day.

    By cosine of wordllama's sentence embeddings. It has seen no labelled home, so it can go wherever a model can.
    """
    labels = []
    for window in task.windows:
        activities = task.sessions[window.session_id].labels
        names = embed([name_words(name) for name in activities.values()])
        said = embed([event_words(event) for event in window.events])
        numbers = list(activities)
        labels.append([numbers[best] for best in np.argmax(said @ names.T, axis=1)])
    made_by = f"wordllama {version('wordllama')}"
    return control_result(task, "text embeddings", "baseline", made_by, labels)


def event_words(event: SensorEvent) -> str:
    """What embeddings are told of an event: its part of day, room and sensor."""
    return f"{part_of_day(event.time.hour)} {event.room} {event.sensor}".casefold()


def control_results(task: Task, taught: Mapping[str, Labelled], seed: int = 0) -> dict[str, Result]:
    """All controls for one task, by the name of their key numbers; arguments as :func:`fitted_results` takes them."""
    return fitted_results(task, taught, seed) | zero_shot_results(task)


def zero_shot_results(task: Task) -> dict[str, Result]:
    """Controls that learn no labelled windows, by the name of their key numbers: embeddings, majority."""
    return {"embeddings": embeddings_result(task), "majority": majority_result(task)}


def fitted_results(task: Task, taught: Mapping[str, Labelled], seed: int = 0) -> dict[str, Result]:
    """Controls that learn labelled windows, by the name of their key numbers: trees, lookup.

    Args:
        task: windows to label.
        taught: end of the name -> labelled windows of the same home; those of a home with other activities are of no
            use, and left out.
        seed: of the trees.
    """
    names = [session.activities for session in task.sessions.values()]
    controls: dict[str, Result] = {}
    for end, labelled in taught.items():
        if all(labelled.activities == own for own in names):
            controls[f"trees{end}"] = trees_result(task, labelled, seed)
            controls[f"lookup{end}"] = lookup_result(task, labelled)
    return controls


def home_controls(task: Task, seed: int = 0) -> list[Result]:
    """All controls for one task, fitted on the truth of its training sessions, cut into windows as long as its own."""
    size = max((len(window.events) for window in task.windows), default=WINDOW_SIZE)
    sessions = list(task.train.values())
    windows = [window for session in sessions for window in cut_windows(session, size)]
    taught = {"_truth": true_labels(windows, sessions[0])} if windows else {}
    return list(control_results(task, taught, seed).values())


def _events(taught: Labelled) -> Iterator[tuple[SensorEvent, int]]:
    for window, labels in zip(taught.windows, taught.labels):
        yield from ((event, label) for event, label in zip(window.events, labels) if label is not None)


def _flat(labels: Iterable[Labels]) -> list[int | None]:
    return [label for own in labels for label in own]


def control_result(
    task: Task, name: str, kind: Literal["chance", "baseline"], made_by: str, labels: Sequence[Labels]
) -> Result:
    """A control's labels as a result; an event without a label is missed."""
    readings = tuple(Reading(tuple(map(_prediction, range(len(own)), own)), "", "", "absent") for own in labels)
    return Result(
        model=ModelSpec(name=name, kind=kind, n_params=0, hub_id="none", revision="training"),
        task=task,
        answers=(),
        readings=readings,
        sessions=score_readings(task, readings),
        verdicts=count_verdicts(task, readings),
        n_failed=0,
        fingerprints=(Fingerprint(made_by, "", "", ""),),
    )


def _prediction(i: int, label: int | None) -> Prediction:
    verdict: Verdict = "missing" if label is None else "ok"
    return Prediction(i, verdict, label)
