"""Controls: the cheapest things that could explain a score. No language model among them."""

from __future__ import annotations

from collections import Counter

from llmhar.ask.models import ModelSpec
from llmhar.ask.task import Task
from llmhar.records import Fingerprint, Prediction, Verdict
from llmhar.score.tables import Result, score_readings
from llmhar.text.parsing import Reading


def majority_result(task: Task) -> Result:
    """Chance: every event gets the activity that is most frequent in the *training* sessions."""
    seen = Counter(
        event.activity_id
        for session in task.train.values()
        for event in session.events
        if event.activity_id is not None and event.activity_id in session.labels
    )
    label = seen.most_common(1)[0][0] if seen else None
    verdict: Verdict = "missing" if label is None else "ok"
    readings = tuple(
        Reading(tuple(Prediction(i, verdict, label) for i in range(len(w.events))), "", "", "absent")
        for w in task.windows
    )
    model = ModelSpec(name="majority class", kind="chance", n_params=0, hub_id="none", revision="training")
    return Result(
        model=model,
        task=task,
        answers=(),
        readings=readings,
        sessions=score_readings(task, readings),
        verdicts=Counter({verdict: sum(len(w.events) for w in task.windows)}),
        n_failed=0,
        fingerprints=(Fingerprint("majority class", "", "", ""),),
    )
