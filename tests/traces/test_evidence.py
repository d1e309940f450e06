"""What a bound answer's reasons cite, and how often the answer moves without it."""

from __future__ import annotations

import json
import math
import re

import jsonschema
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.stored import Stored
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation
from llmhar.text.mentions import sensor_of
from llmhar.text.prompt import PromptForm
from llmhar.traces.citations import find_citations, read_whys
from llmhar.traces.evidence import TAKEN, Probed, count_moves, probe_evidence
from llmhar.traces.faithfulness import plan_probes
from tests.opened import Opened

STUDENT = MODELS["smollm2-135m"]
BOUND = Asking(constrained=True, progress=False)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = simulated.write(tmp_path_factory.mktemp("data") / "home")
    return prepare("simulated", folder, PromptForm("listed", "lines", "name"), Windowing(n=8))


class Bound(Opened):
    """Answers as the schema has it: each event cites the one before it, and is what ``judge`` says of the two."""

    def __init__(self, judge):
        self.judge, self.asked = judge, []

    def fingerprint(self):
        return Fingerprint("bound", "1", "", "")

    def stream(self, requests):
        for request in requests:
            self.asked.append(request)
            names = request.schema["$defs"]["activity"]["enum"]
            lines = request.messages[-1]["content"].removeprefix("Events:\n").split("\n")
            sensors = [re.sub(r"^\d+ *\S* *\S*\d:\d\d\S* ", "", line) for line in lines]
            items = []
            for i, near in enumerate(["", *sensors[:-1]]):
                why = f'"{i}" near {near}' if near else "nothing near"
                label = names[self.judge(near, sensors) % len(names)]
                items.append({"id": i, "why": why[:80], "activity": label})
            jsonschema.validate(items, request.schema)
            yield Generation(request.key, json.dumps(items), "stop")


def bound(engine):
    return Asking(constrained=True, progress=False, open_with=lambda: engine)


def test_an_answer_that_hangs_on_what_it_cites_moves_with_it(task, tmp_path):
    faithful, constant = Bound(lambda near, lines: len(near)), Bound(lambda near, lines: 0)
    with Store(tmp_path / "a.sqlite") as store:
        probed = probe_evidence(task, STUDENT, 40, store, bound(faithful))
        again = probe_evidence(task, STUDENT, 40, store, bound(faithful))
        asked = len(faithful.asked)
    assert again == probed and len(probed.outcomes) == 80 and asked <= len(task.windows) + 80
    assert probed.n_explained == probed.n_events == sum(len(w.events) for w in task.windows)
    moves = count_moves(STUDENT.name, [probed])
    assert moves.n_pairs == 40 and moves.n_unreadable == 0 and moves.gap.n <= 6
    assert moves.cited.mean > moves.control.mean + 20 and moves.cited_only > 3 * moves.control_only
    assert moves.gap.low <= moves.gap.mean == pytest.approx(moves.cited.mean - moves.control.mean)
    with Store(tmp_path / "b.sqlite") as store:
        still = count_moves("still", [probe_evidence(task, STUDENT, 40, store, bound(constant))])
    assert (still.cited.mean, still.control.mean, still.gap.mean, still.p) == (0, 0, 0, 1)


def test_as_many_other_events_are_taken_away(task):
    answers = []
    (generations,) = [list(Bound(lambda near, lines: 0).stream([a.request for a in make_asks(task, STUDENT, BOUND)]))]
    for ask, made in zip(make_asks(task, STUDENT, BOUND), generations):
        answers.append(Answer(ask, Stored(made, Fingerprint("bound", "1", "", "")), ""))
    found = find_citations(task, answers)
    probes = plan_probes(task, found.citations, seed=3, kinds=TAKEN, as_many=True)
    assert len(probes) > 60 and {probe.kind for probe in probes} == set(TAKEN)
    for cited, control in zip(probes[::2], probes[1::2], strict=True):
        events, own = cited.citation.window.events, sensor_of(cited.citation.window.events[cited.citation.target])
        assert cited.citation is control.citation and len(cited.changed) == len(control.changed)
        assert not set(cited.changed) & set(control.changed)
        assert own not in {sensor_of(events[i]) for i in (*cited.changed, *control.changed)}
        assert cited.window.events[cited.target].time == events[cited.citation.target].time
        assert len(cited.window.events) == len(control.window.events) >= 1
    assert probes[:10] == plan_probes(task, found.citations, seed=3, n=5, kinds=TAKEN, as_many=True)


def test_the_label_before_is_that_of_the_study(task, tmp_path):
    """A bound answer's room for tokens hangs on the longest window of the task: the same request is asked once."""
    engine = Bound(lambda near, lines: len(near))
    with Store(tmp_path / "s.sqlite") as store:
        probe_evidence(task, STUDENT, 3, store, bound(engine))
    study = {ask.request.key for ask in make_asks(task, STUDENT, BOUND)}
    assert len(engine.asked) <= len(task.windows) + 6 and study <= {request.key for request in engine.asked}


def test_homes_are_pooled_by_session_and_nothing_is_made_of_nothing(task, tmp_path):
    with Store(tmp_path / "s.sqlite") as store:
        one = probe_evidence(task, STUDENT, 12, store, bound(Bound(lambda near, lines: len(near))))
    alone, twice = count_moves("m", [one]), count_moves("m", [one, one._replace(data="another home")])
    assert twice.gap.n == 2 * alone.gap.n and twice.gap.mean == pytest.approx(alone.gap.mean)
    assert twice.n_pairs == 24 and twice.citing_pct == pytest.approx(alone.citing_pct)
    assert [row["taken away"] for row in alone.rows()] == ["what it cites", "as many other events", "difference"]
    assert alone.numbers()["probe_gap"] == alone.gap.mean and alone.numbers()["probe_events"] == 12
    nothing = count_moves("m", [Probed("home", [], 0, 0, 0)])
    assert nothing.n_pairs == 0 and math.isnan(nothing.gap.mean) and math.isnan(nothing.citing_pct)
    unreadable = [o.__class__(o.probe, o.model, o.before, None) for o in one.outcomes]
    assert count_moves("m", [one._replace(outcomes=unreadable)]).n_unreadable == 12


def test_a_model_that_cites_nothing_is_not_probed(task, tmp_path):
    class Mute(Bound):
        def stream(self, requests):
            for made in super().stream(requests):
                yield Generation(
                    made.request_key, re.sub(r'"why": ".*?", "act', '"why": "so", "act', made.text), "stop"
                )

    with Store(tmp_path / "s.sqlite") as store:
        probed = probe_evidence(task, STUDENT, 12, store, bound(Mute(lambda near, lines: 0)))
    assert probed.outcomes == [] and probed.n_citing == 0 and probed.n_explained == probed.n_events


def test_lines_of_thought_count_where_an_event_has_no_reason(task):
    window = task.windows[0]
    other = next(i for i, e in enumerate(window.events) if sensor_of(e) != sensor_of(window.events[0]))
    text = f"<think>Event 0: see event {other}.\nEvent {other}: see event 0.</think>" + json.dumps(
        [{"id": 0, "why": "alone", "activity": "chatting"}, {"id": other, "activity": "chatting"}]
    )
    (ask, *_) = make_asks(task, STUDENT, BOUND)
    made = Generation(ask.request.key, text, "stop")
    found = find_citations(task, [Answer(ask, Stored(made, Fingerprint("x", "1", "", "")), "")])
    assert (found.n_lines, found.n_without) == (2, 1)
    assert [(c.target, c.cited) for c in found.citations] == [(other, (0,))]
    assert read_whys({}, window) == []
