"""Right labels that part from their reasons: found where they are, not where they are not."""

import json

import pytest

from llmhar.ask.models import MODELS
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.score.tables import score_answers
from llmhar.text.prompt import PromptForm
from llmhar.traces.parted import named_activity, parted, parted_html, parted_text
from tests.score.test_tables import answers_of

LABELS = {1: "having dinner", 2: "preparing and having dinner", 3: "watching TV", 4: "resting on the couch", 5: "TV"}


@pytest.mark.parametrize(
    ("why", "meant"),
    [
        ("the coffee machine, so watching TV", 3),
        ("watching TV is over: the stove, so preparing and having dinner", 2),
        ("near the couch, having dinner", 1),
        ("Resting_on the COUCH", 4),
        ("watching TV or resting on the couch", None),
        ("the fridge, so somebody is hungry", None),
        ("the TVs", None),
        ("", None),
        ("watching TV at night, so it seems", 3),
    ],
)
def test_the_activity_that_a_reason_names(why, meant):
    assert named_activity(why, LABELS) == meant


@pytest.fixture(scope="module")
def task(simulated_home):
    return prepare("simulated", simulated_home, PromptForm("s1-blank", answer="name"), Windowing(n=2))


def result(task, why_of):
    """Everybody right; ``why_of(place, name)`` writes each reason."""

    def text(window, names):
        return json.dumps([{"id": i, "why": why_of(i, name), "activity": name} for i, name in enumerate(names)])

    return score_answers(task, MODELS["recorded-smoke"], answers_of(task, text))


def test_a_right_label_with_another_reason_is_found_and_shown(task):
    wrong = "resting on the couch or the chairs"
    other = lambda name: "watching TV" if name == wrong else wrong  # noqa: E731
    made = result(task, lambda i, name: f"a sensor, so {other(name) if i == 3 else name}")
    found = parted(made)
    assert found.right == found.named == sum(len(w.events) for w in task.windows)
    assert [(pick.position, pick.event) for pick in found.picks] == [(n, 3) for n in range(len(task.windows))]
    assert f"in {len(task.windows)} of them it is another one" in parted_text([made])
    page = parted_html([made]).data
    assert page.count("<table") == 1 and "the reason says" in page


def test_reasons_that_fit_or_name_nothing_are_no_such_case(task):
    fitting, silent = result(task, lambda i, name: f"so {name}"), result(task, lambda i, name: "who knows")
    assert parted(fitting).picks == parted(silent).picks == [] and parted(silent).named == 0
    assert "no right label parts" in parted_html([fitting]).data


def test_hostile_reasons_stay_text(task):
    evil = "<img src=x onerror=alert(1)>, so resting on the couch or the chairs"
    page = parted_html([result(task, lambda i, name: evil)]).data
    assert "<img" not in page and "&lt;img" in page
