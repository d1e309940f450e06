"""The pairwise matcher: a control that goes wherever a student can, fitted on the same made-up homes.

Logistic regression says whether an event and an activity's name belong together, from the embeddings of both. It
reads no more than text embeddings do, but it was taught what homes are; what a student adds is to be seen above it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np

from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent
from llmhar.data.simulated_homes import make_day
from llmhar.score.controls import control_result, event_words
from llmhar.score.tables import Result
from llmhar.text.embedding import embed
from llmhar.text.naming import name_words

HOMES, EVENTS, OTHERS = 600, 10, 3
"""Made-up homes that it learns from, events of each, and wrong activities beside each right one."""
NEAR = 2
"""Events before and after an event whose words are looked at as well."""


def matcher_result(task: Task, seed: int = 0) -> Result:
    """Zero-shot: each event gets the activity whose name the matcher finds likeliest for it.

    Args:
        task: windows to label.
        seed: of the made-up homes and of the fit.
    """
    fitted = _fitted(seed)
    labels = []
    for window in task.windows:
        activities, n_events = task.sessions[window.session_id].labels, len(window.events)
        numbers, names = list(activities), embed([name_words(name) for name in activities.values()])
        texts = zip(*(_texts(window.events, i) for i in range(n_events)))
        said, near = (np.repeat(embed(list(own)), len(numbers), axis=0) for own in texts)
        scores = fitted.decision_function(_features(said, near, np.tile(names, (n_events, 1))))
        labels.append([numbers[best] for best in scores.reshape(n_events, -1).argmax(1)])
    made_by = f"scikit-learn {version('scikit-learn')} on wordllama {version('wordllama')}, {HOMES} homes, seed {seed}"
    return control_result(task, "pairwise matcher", "baseline", made_by, labels)


@lru_cache(maxsize=2)
def _fitted(seed: int) -> Any:
    """Logistic regression on pairs of made-up homes."""
    from sklearn.linear_model import LogisticRegression

    rng, pairs, fits = random.Random(f"matcher:{seed}"), [], []
    for number in range(HOMES):
        session = make_day(f"matcher-{seed}-{number}").session
        events, activities = session.events, session.labels
        at = [i for i, event in enumerate(events) if event.activity_id is not None]
        for i in rng.sample(at, min(EVENTS, len(at))):
            right = events[i].activity_id
            wrong = rng.sample([n for n in activities if n != right], min(OTHERS, len(activities) - 1))
            for n in (right, *wrong):
                assert n is not None
                pairs.append((*_texts(events, i), name_words(activities[n])))
                fits.append(n == right)
    said, near, names = (embed(list(texts)) for texts in zip(*pairs))
    return LogisticRegression(max_iter=200, random_state=seed).fit(_features(said, near, names), fits)


def _texts(events: Sequence[SensorEvent], i: int) -> tuple[str, str]:
    """Words and part of day of an event, and words of its neighbours."""
    event, near = events[i], [*events[max(i - NEAR, 0) : i], *events[i + 1 : i + 1 + NEAR]]
    return event_words(event), " ".join(f"{other.room} {other.sensor}" for other in near).casefold() or "nothing"


def _features(own: np.ndarray, around: np.ndarray, names: np.ndarray) -> np.ndarray:
    """(n, 3 x 256 + 2): what the regression sees of pairs: the name, its products with both texts, and their sums."""
    with_own, with_around = own * names, around * names
    sums = [with_own.sum(1, keepdims=True), with_around.sum(1, keepdims=True)]
    scale = np.sqrt(names.shape[1])
    return np.concatenate([with_own * scale, with_around * scale, names, *sums], axis=1)
