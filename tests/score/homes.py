"""Hand-made homes and results for tests: exact truth, and answers that need no model."""

from datetime import datetime, timedelta
from pathlib import Path

from llmhar.ask.task import Task
from llmhar.data.events import SensorEvent, Session, cut_windows
from llmhar.data.load_report import LoadReport
from llmhar.score.controls import control_result

ACTIVITIES = {1: "Cook", 2: "Sleep", 3: "Watch_TV", 4: "Leave_Home", 9: "Transition"}
SENSOR_OF = {1: "stove", 2: "bed", 3: "TV", 4: "front door", 9: "hall motion", None: "lamp"}


def session_of(name, activities, home="home", day=1, gap=30):
    """A day whose events are those activities, None = not annotated, a tuple = a joint event."""
    events = []
    for i, own in enumerate(activities):
        pairs = tuple((f"p{k}", activity) for k, activity in enumerate(own)) if isinstance(own, tuple) else ()
        first = own[0] if isinstance(own, tuple) else own
        at = datetime(2000, 1, 1, 8) + timedelta(days=day, seconds=gap * i)
        events.append(SensorEvent(i, at, "room", SENSOR_OF[first], "turned ON", (), first, pairs))
    return Session("simulated", name, home, ACTIVITIES, tuple(events), unscored=frozenset({9}))


def task_of(test, train=(), size=4, scheme="events", part=""):
    return Task(
        dataset="simulated",
        kind="simulated",
        sessions={session.session_id: session for session in test},
        train={session.session_id: session for session in train},
        windows=tuple(window for session in test for window in cut_windows(session, size, scheme=scheme)),
        answer="name",
        subset="all windows of hand-made sessions",
        prompts={},
        report=LoadReport("simulated", Path()),
        part=part,
    )


def result_of(task, name, answer):
    """A result whose label of each event is ``answer(event, window)``."""
    labels = [[answer(event, window) for event in window.events] for window in task.windows]
    return control_result(task, name, "baseline", "by hand", labels)
