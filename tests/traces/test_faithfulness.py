"""Cited evidence: which events a line of reasoning names, and whether the label changes when they go."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import SensorEvent, Window, Windowing
from llmhar.distill.key_numbers import gap_numbers
from llmhar.records import Fingerprint, Generation
from llmhar.text.prompt import PromptForm
from llmhar.text.serialize import event_text
from llmhar.traces import citations
from llmhar.traces import faithfulness as faith
from llmhar.traces.citations import Citation
from llmhar.traces.faithfulness import PROBE_KINDS, Outcome, Probe
from tests.opened import Opened

RULES = MODELS["rules"]


def window(*events: tuple[int, str, str, str]) -> Window:
    """Events from (second, room, sensor, state)."""
    start = datetime(2000, 1, 3, 7, 0, 0)
    made = [SensorEvent(40 + i, start + timedelta(seconds=t), *rest) for i, (t, *rest) in enumerate(events)]
    return Window("01", 4, tuple(made))


HOME = window(
    (0, "kitchen", "coffee machine wattmeter", "turned ON"),  # 0
    (9, "kitchen", "fridge contact", "OPENED"),  # 1
    (12, "kitchen", "fridge contact", "CLOSED"),  # 2
    (40, "bathroom", "washbasin mov", "turned ON"),  # 3
    (50, "dining room", "chair_1", "OPENED"),  # 4
    (58, "dining room", "chair_2", "OPENED"),  # 5
    (60, "kitchen", "coffee machine wattmeter", "turned OFF"),  # 6
    (75, "living room", "coffee table", "turned ON"),  # 7
    (80, "living room", "couch", "turned ON"),  # 8
    (900, "living room", "lamp near the fridge (+*?[", "turned ON"),  # 9: never the nearest that says "fridge"
)

LINES: dict[str, tuple[int, ...]] = {
    # Rules teacher, whole sentences.
    "Event 1: the kitchen fridge contact OPENED at 07:00:09. The fridge near the coffee machine indicates cooking, "
    "so preparing breakfast (3).": (0,),
    "Event 2: the kitchen fridge contact CLOSED at 07:00:12. The fridge in the morning indicates cooking, so x.": (),
    "Event 8: the living room couch turned ON at 07:01:20. The couch near the basin indicates resting, so rest.": (3,),
    "Event 3: the bathroom washbasin mov turned ON at 07:00:40. The basin among others indicates washing, so x.": (),
    "Event 4: the dining room chair_1 OPENED at 07:00:50. The chair near the other rooms indicates cleaning.": (),
    "Event 7: the living room coffee table turned ON at 07:01:15. The sensor says little, the couch is nearest, "
    "so resting.": (8,),
    "Event 8: the living room couch turned ON at 07:01:20. The couch near the chair 2 indicates chatting.": (5,),
    # Brief style.
    "1: fridge near the coffee machine, cooking, so preparing breakfast (3)": (0,),
    "2: fridge near the coffee machine, cooking, so preparing breakfast": (0,),
    "4: chair near the chair, eating, so having breakfast": (5,),
    "8: couch near the chair, chatting, so chatting": (5,),
    "0: coffee machine near the fridge, cooking, so preparing breakfast": (1,),
    "3: basin in the morning, washing, so personal washing": (),
    "6: coffee machine near the coffee machine, cooking, so preparing breakfast": (),
    "9: sensor says little, the couch is nearest, so resting": (8,),
    # As language models write.
    "Event 4 and event 3 belong together, because event 3 is in the bathroom.": (3,),
    "- **Event 5** (dining room chair): follows events 3, 4 and 6, so breakfast.": (3, 4, 6),
    "For id 6, given ids 1-3 the coffee is ready.": (1, 2, 3),
    "Event 2: right after event 1 (07:00:09), 3 seconds earlier.": (1,),
    "Event 2: like event 1, 3 seconds earlier.": (1,),
    "Event 8: close to event 99, which does not exist.": (),
    "3. Event 5: the chair is drawn back shortly after the washbasin mov turned ON": (3,),
    "Event 6: it was used with the fridge and the chair_2 sensor.": (2, 5),
    "Event 1: preceded by the coffee grinder, so cooking.": (),
    "Event 3: near the COFFEE_TABLE, so resting": (7,),
    "Event 5: since the kitchen coffee machine wattmeter is on, it is breakfast.": (6,),
    # Untrusted text: names that hold words of the grammar, or of regular expressions.
    "Event 9: the living room lamp near the fridge (+*?[ turned ON at 07:15:00. The lamp near the couch, so x.": (8,),
    "Event 9: the living room lamp near the fridge (+*?[ turned ON at 07:15:00. The lamp says little.": (),
    "Event 8: near the lamp near the fridge (+*?[ turned on, so resting": (9,),
    "Event 8: near the (+*?[ and the .* and the [a-z]": (),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_cites_the_events_that_it_names(line):
    (found,) = citations.read_citations(line, HOME)
    assert found.cited == tuple(sorted(LINES[line])), found.words


@pytest.mark.parametrize(
    "line", ["", "So the answer is:", "07:00:12 the fridge near the couch", "12: there is no such event", "Events: 3"]
)
def test_lines_about_no_event_are_no_lines(line):
    assert citations.read_citations(line, HOME) == []


def test_several_lines_on_one_event_are_one_and_evidence_is_the_whole_sensor():
    text = "Event 8: near the fridge.\nno line\nEvent 8: after event 0\n3: basin at night, washing"
    basin, couch = citations.read_citations(text, HOME)
    assert (couch.target, couch.cited, couch.words) == (8, (0, 2), "fridge; event 0")
    assert couch.evidence == (0, 1, 2, 6)
    assert (basin.target, basin.cited, basin.evidence) == (3, (), ())
    own = Citation(HOME, 1, (2,), "event 2")
    assert own.evidence == (2,)  # an event is never its own evidence


def test_hostile_lines_take_no_time():
    for line in ("Event 1: " + "near the " * 20_000, "*" * 200_000, "Event 1: events " + "3, " * 50_000, "1" * 100_000):
        citations.read_citations(line, HOME)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=8),
        form=PromptForm(answer="name"),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("store") / "s.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def cited(task, store):
    asks = inference.make_asks(task, RULES)
    inference.run_asks(asks, RULES, store, asking=Asking(progress=False))
    return citations.find_citations(task, inference.collect(asks, store))


@pytest.fixture(scope="module")
def probes(task, cited):
    return faith.plan_probes(task, cited.citations, seed=1)


def test_lines_without_citation_are_counted(task, cited):
    assert cited.n_events == cited.n_lines == sum(len(one.events) for one in task.windows)
    assert cited.n_without + len(cited.citations) == cited.n_lines and 0 < cited.n_without < cited.n_lines
    assert len(cited.citations) >= 50


def test_failed_answers_are_passed_over(task):
    asks = inference.make_asks(task, RULES)
    answers = [inference.Answer(ask, None, "out of memory") for ask in asks]
    assert citations.find_citations(task, answers) == ([], 0, 0, 0)


def test_probes_are_pairs_on_the_same_event(probes):
    sensor = lambda event: (event.room, event.sensor)  # noqa: E731
    assert len(probes) % 4 == 0 and len(probes) >= 200
    for four in zip(*[iter(probes)] * 4):
        assert tuple(probe.kind for probe in four) == PROBE_KINDS and len({id(probe.citation) for probe in four}) == 1
        of = four[0].citation
        events = of.window.events
        for probe in four:
            control = probe.kind.startswith("control")
            assert event_text(probe.window.events[probe.target]) == event_text(events[of.target])
            assert probe.window.events[probe.target].time == events[of.target].time
            assert of.target not in probe.changed and (control or probe.changed == of.evidence)
            assert not control or not set(probe.changed) & set(of.evidence)
            left = {sensor(event) for event in probe.window.events} - {sensor(events[of.target])}
            assert not left & {sensor(events[i]) for i in probe.changed}  # nothing of the sensor stays behind
            swapped = [probe.window.events[i] for i in probe.changed] if probe.kind.endswith("swap") else []
            assert len(probe.window.events) == len(events) - (0 if swapped else len(probe.changed))
            assert [event.time for event in swapped] == [events[i].time for i in probe.changed if swapped]
            assert all(sensor(e) not in {sensor(x) for x in events} for e in swapped)
            assert all(event.activity_id is None and event.residents == () for event in swapped)
            assert probe.seconds >= 0
        _, _, swap, control_swap = four
        assert {sensor(swap.window.events[i]) for i in swap.changed} == {
            sensor(control_swap.window.events[i]) for i in control_swap.changed
        }


def test_probes_have_numbers_of_their_own(task, probes, cited):
    by_number: dict[tuple[str, int], list[str]] = {}
    for probe in probes:
        assert 0 <= probe.window.index < 2**53  # whole in JSON
        by_number.setdefault((probe.window.session_id, probe.window.index), []).append(repr(probe.window.events))
    assert all(len(set(texts)) == 1 for texts in by_number.values())
    assert probes == faith.plan_probes(task, cited.citations[::-1], seed=1)  # the order does not matter
    few = faith.plan_probes(task, cited.citations, seed=1, n=5)
    assert few == probes[:20] and faith.plan_probes(task, cited.citations, seed=2, n=5) != few


def test_a_window_without_control_is_not_probed(task):
    session_id = next(iter(task.sessions))
    two = Window(session_id, 0, HOME.events[:3])
    assert faith.plan_probes(task, [Citation(two, 1, (0,), "coffee machine"), Citation(two, 1, (), "")]) == []


def test_the_rules_teacher_follows_what_it_cites(task, store, probes):
    outcomes = faith.run_probes(task, probes, RULES, store, asking=Asking(progress=False))
    rows = {row["kind"]: row for row in faith.faithfulness_rows(outcomes)}
    for kind in PROBE_KINDS:
        row = rows[kind]
        print(f"{kind}: {row['changed']} of {row['n']}, {row['changed %']:.1f} % [{row['low']:.1f}, {row['high']:.1f}]")
        assert row["unreadable"] == 0 and row["model"] == "rules" and row["n"] == len(probes) // 4
    assert rows["drop"]["changed %"] > 60 and rows["drop"]["low"] > 10 * rows["control drop"]["high"]
    assert rows["swap"]["changed %"] > 60 and rows["swap"]["low"] > 5 * rows["control swap"]["high"]
    for gap in faith.gap_rows(outcomes):
        assert gap["gap"] > 50 and gap["low"] > 0 and gap["sessions"] == 6 and gap["p"] == pytest.approx(2 / 2**6)
        assert gap["cited only"] > 10 * max(1, gap["control only"])


class Constant(Opened):
    """Reasons as the rules do and answers everything with one label."""

    asked = 0

    def fingerprint(self):
        return Fingerprint("constant", "1", "", "")

    def stream(self, requests):
        for request in requests:
            self.asked += 1
            n = request.messages[-1]["content"].count('"id"')
            items = [{"id": i, "activity": 1} for i in range(n)]
            text = f"<think>\n0: fridge near the chair, so what\n</think>\n{json.dumps(items)}"
            yield Generation(request.key, text, "stop")


def test_a_constant_answer_follows_nothing_and_is_asked_once(task, probes, tmp_path):
    engine = Constant()
    with Store(tmp_path / "s.sqlite") as store:
        outcomes = faith.run_probes(task, probes, RULES, store, asking=Asking(open_with=lambda: engine, progress=False))
        asked = engine.asked
        again = faith.run_probes(task, probes, RULES, store, asking=Asking(open_with=lambda: engine, progress=False))
        notes = store.counts()["asks"]
    assert [row["changed"] for row in faith.faithfulness_rows(outcomes)] == [0, 0, 0, 0]
    assert [row["gap"] for row in faith.gap_rows(outcomes)] == [0, 0]
    assert again == outcomes and engine.asked == asked == notes
    windows = {(w.session_id, w.index) for p in probes for w in (p.window, p.citation.window)}
    assert notes == len(windows)  # one note a window: original or probe


def test_the_original_windows_are_those_of_the_study(task, store, cited, probes):
    """The label before a probe comes from the very request that the study asked."""
    known = store.counts()["asks"]
    original = {(w.session_id, w.index) for w in task.windows}
    faith.run_probes(task, probes[:4], RULES, store, asking=Asking(progress=False, exact=True))
    assert store.counts()["asks"] == known
    assert {(c.window.session_id, c.window.index) for c in cited.citations} <= original


def outcome(kind, session, target, before, after):
    citation = Citation(Window(session, 0, HOME.events), target, (0,), "coffee machine")
    return Outcome(Probe(citation, kind, Window(session, 7, HOME.events), target, (0, 6)), "m", before, after)


def test_rows_count_pairs_by_hand():
    outcomes = [
        outcome("drop", "a", 1, 1, 2), outcome("control drop", "a", 1, 1, 1),  # cited only
        outcome("drop", "a", 2, 1, 2), outcome("control drop", "a", 2, 1, 3),  # both
        outcome("drop", "b", 1, 1, 1), outcome("control drop", "b", 1, 1, 2),  # control only
        outcome("drop", "b", 2, 1, 2), outcome("control drop", "b", 2, 1, None),  # no pair
        outcome("drop", "b", 3, None, 2), outcome("control drop", "b", 3, None, 2),  # no pair
    ]  # fmt: skip
    drop, control, swap, _ = faith.faithfulness_rows(outcomes)
    assert (drop["n"], drop["unreadable"], drop["changed"], drop["changed %"]) == (4, 1, 3, 75)
    assert (control["n"], control["unreadable"], control["changed"], control["events changed"]) == (3, 2, 2, 2)
    assert drop["seconds away"] == pytest.approx((9 + 12 + 9 + 12) / 4)
    assert swap["n"] == 0 and swap["changed %"] != swap["changed %"]
    dropped, swapped = faith.gap_rows(outcomes)
    assert (dropped["pairs"], dropped["cited only"], dropped["control only"], dropped["sessions"]) == (3, 1, 1, 2)
    assert dropped["gap"] == pytest.approx((50 - 100) / 2)
    numbers = gap_numbers([dropped])
    assert numbers["gap drop, m"] == dropped["gap"] and numbers["gap drop, m_pairs"] == 3
    assert numbers["gap drop, m_low"] == dropped["low"] < dropped["high"] == numbers["gap drop, m_high"]
    assert swapped["pairs"] == swapped["sessions"] == 0
