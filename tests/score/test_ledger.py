"""The ledger's causes add up, every cause can be reached, and habits come from training sessions alone."""

import math
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.data.events import SensorEvent, Session
from llmhar.records import Prediction
from llmhar.score.f1 import score_session
from llmhar.score.ledger import CAUSES, Habits, cause_of, is_mentioned, learn_habits, session_ledger
from llmhar.text.parsing import Reading, parse_answer
from tests.generated import examples
from tests.timing import quiet_seconds

NOWHERE = Habits({}, {})


def event(activity, room="kitchen", sensor="fridge", hour=8, n=0):
    return SensorEvent(n, datetime(2000, 1, 3, hour, 0, n % 60), room, sensor, "OPENED", (), activity)


def reading(*predictions, reasoning="", answer="", thinking="closed"):
    """Each prediction: a label, None (missing), or (verdict, label)."""
    made = []
    for i, one in enumerate(predictions):
        verdict, label = one if isinstance(one, tuple) else ("missing" if one is None else "ok", one)
        made.append(Prediction(i, verdict, label))
    return Reading(tuple(made), reasoning, answer, thinking)


# -- adding up

LABELS = (1, 2, 3, 4)
answered = st.tuples(st.sampled_from(["ok", "duplicate"]), st.sampled_from([1, 2, 3, 4, 77]))
unanswered = st.tuples(st.sampled_from(["missing", "duplicate", "unknown_label", "cut", "malformed"]), st.none())
# 4 is often predicted and seldom true; 9 is outside the set, 77 too, None is not annotated
truths = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 9, None])
made_events = st.builds(
    event,
    truths,
    room=st.sampled_from(["kitchen", "bedroom", ""]),
    sensor=st.sampled_from(["fridge", "phone"]),
    hour=st.integers(0, 23),
)
windows = st.lists(
    st.lists(st.tuples(made_events, st.one_of(answered, unanswered)), max_size=6).map(
        lambda pairs: ([e for e, _ in pairs], [p for _, p in pairs])
    ),
    max_size=6,
)
habits = st.builds(
    Habits,
    st.dictionaries(st.sampled_from(LABELS), st.frozensets(st.sampled_from(["kitchen", "phone"]))),
    st.dictionaries(st.sampled_from(LABELS), st.frozensets(st.integers(0, 23))),
)


@settings(max_examples=examples(400), deadline=None)
@given(windows, habits, st.text(alphabet="event id0123 :,-\n", max_size=40))
def test_causes_add_up_to_what_was_lost(session, habits, reasoning):
    events = [own for own, _ in session]
    readings = [reading(*predictions, reasoning=reasoning) for _, predictions in session]
    costs = session_ledger(events, readings, LABELS, habits)
    truth = [e.activity_id for own in events for e in own]
    guess = [p.label for made in readings for p in made.predictions]
    score = score_session("s", truth, guess, LABELS)
    assert list(costs) == list(CAUSES) and min(costs.values()) >= 0
    if score.n_events:
        assert sum(costs.values()) == pytest.approx(1 - score.macro_f1, abs=1e-12)
    else:
        assert math.isnan(score.macro_f1) and set(costs.values()) == {0.0}


def test_a_small_session_by_hand():
    """Truth 1 1 1 2 2 3, answers 1 2 - 2 1 4 (4 does not occur, so nobody averages its F1).

    Support + answered: 1 → 3 + 2, 2 → 2 + 2, 3 → 1 + 0, and three activities to average.
    F1: 2/5, 2/4, 0. Lost: 3/5, 2/4, 1.
    """
    events = [
        [event(1), event(1, room="hall", hour=9), event(1, n=2)],
        [event(2), event(2, room="hall", hour=20), event(3, room="attic", hour=3)],
    ]
    readings = [reading(1, 2, ("cut", None)), reading(2, ("duplicate", 1), 4)]
    costs = session_ledger(events, readings, LABELS, Habits({2: frozenset({"hall"})}, {4: frozenset({3})}))
    third, five, four = Fraction(1, 3), Fraction(1, 5), Fraction(1, 4)
    expected = dict.fromkeys(CAUSES, Fraction(0)) | {
        "confusable: same room": third * (five + four),  # 1 taken for 2, in a hall that 2 uses
        "cut": third * five,
        "duplicate": third * (four + five),  # 2 taken for 1
        "confusable: same hour": third * 1,  # 3 taken for 4: 3's only event
    }
    assert sum(expected.values()) == 1 - third * (Fraction(2, 5) + Fraction(1, 2))
    for cause in CAUSES:
        assert costs[cause] == pytest.approx(float(expected[cause]), abs=1e-15), cause


def test_right_answers_cost_nothing_and_unscored_events_neither():
    events = [[event(1), event(None), event(9), event(2)]]
    costs = session_ledger(events, [reading(1, 2, None, 2)], LABELS, NOWHERE)
    assert set(costs.values()) == {0.0}


# -- each cause


@pytest.mark.parametrize(
    ("verdict", "cause"),
    [("cut", "cut"), ("malformed", "malformed"), ("unknown_label", "unknown label"), ("duplicate", "duplicate")],
)
def test_verdicts_without_a_label_name_their_cause(verdict, cause):
    habits = Habits({1: frozenset({"kitchen"})}, {1: frozenset({8})})
    assert cause_of(0, [event(1)], reading((verdict, None), reasoning="event 0"), habits) == cause


def test_wrong_activities():
    known = Habits({2: frozenset({"kitchen"}), 3: frozenset({"attic"})}, {2: frozenset({8}), 3: frozenset({8})})
    assert cause_of(0, [event(1)], reading(2), known) == "confusable: same room"  # before the hour
    assert cause_of(0, [event(1)], reading(3), known) == "confusable: same hour"
    assert cause_of(0, [event(1, hour=9)], reading(3), known) == "other activity"
    assert cause_of(0, [event(1)], reading(4), known) == "other activity"  # never seen in training
    assert cause_of(0, [event(1)], reading(("duplicate", 2)), known) == "duplicate"


def test_real_texts_reach_every_cause():
    labels = {1: "cooking", 2: "eating", 3: "reading", 4: "sleeping"}
    known = Habits({2: frozenset({"kitchen"})}, {3: frozenset({8})})
    events = [event(1, sensor=f"sensor {i}", n=i) for i in range(10)]
    causes = []
    for text, position in [
        ('<think>Hm.</think>[{"id": 0, "activity": "cooking"}, {"id": 2, "activity": "cooking"}]', 1),
        ('<think>Event 1 is odd.</think>[{"id": 0, "activity": "cooking"}]', 1),
        ('[{"id": 0, "activity": "cooking"}, {"id": 1, "activ', 1),
        ("I cannot tell.", 1),
        ('[{"id": 1, "activity": "eating"}, {"id": 1, "activity": "cooking"}]', 1),
        ('[{"id": 1, "activity": "flying"}]', 1),
        ('[{"id": 1, "activity": "eating"}]', 1),
        ('[{"id": 1, "activity": "reading"}]', 1),
        ('[{"id": 1, "activity": "sleeping"}]', 1),
    ]:
        causes.append(cause_of(position, events, parse_answer(text, 10, labels), known))
    assert causes == list(CAUSES)


# -- mentioned or not

SHOWER = event(1, room="bathroom", sensor="shower flow", hour=19, n=4)  # 19:00:04
LAMP = event(1, room="attic", sensor="lamp", hour=3)


def window_with(about, position=1, n=30):
    """A window of lamps with one event of interest."""
    return [LAMP] * position + [about] + [LAMP] * (n - position - 1)


@pytest.mark.parametrize(
    "text",
    [
        "event 1 is clear", "Event 1: the fridge", "EVENT #1", '{"id": 1}', "id=1", "(id 1)", "event_1", "event\n1",
        "event number 1", "Event no. 1", "events 1 and 2", "events 0, 1", "events 0 and 1", "Events 0-3",
        "events 0 – 2",
        "events 0 to 2", "ids 0, 1, 2", "event 7 or event 1", "event 10, then event 1.",
        "at 19:00:04 somebody", "(19:00:04)", "the bathroom shower flow turned on", "Bathroom Shower Flow",
    ],
)  # fmt: skip
def test_mentioned(text):
    assert is_mentioned(1, window_with(SHOWER), text)


@pytest.mark.parametrize(
    "text",
    [
        "", "nothing", "event 10", "event 11 and event 21", "events 10, 12", "events 2-5", "ids 3 and 10",
        "the window has 1 event", "prevent 1", "video 1", "idea 1", "ideas 1", "eventually 1",
        "activity id 1", "label id: 1", "event 1:30:00", "event 01:00:00", "event", "event 19:00:05", "19:00:041",
        "119:00:04", "bathroom", "shower flow", "the bathroom shower flows", "maidbathroom shower flow",
        "event " + "1" * 9000, "events 0" + ", 0" * 9000,
    ],
)  # fmt: skip
def test_not_mentioned(text):
    assert not is_mentioned(1, window_with(SHOWER), text)


def test_times_do_not_pass_for_ids():
    """In windows of 20 and more events, the 19 of "event 19:53:04" is an hour."""
    assert not is_mentioned(19, window_with(SHOWER, 19), "event 19:53:04 is odd")
    assert is_mentioned(19, window_with(SHOWER, 19), "event 19: 53 seconds later")


def test_a_sensor_of_odd_name_is_text_not_a_pattern():
    odd = event(1, room="", sensor="door (main) [*", n=9)
    window = window_with(odd, 5)
    assert is_mentioned(5, window, "then the door (main) [* opened") and not is_mentioned(5, window, "the door opened")
    assert not is_mentioned(5, window_with(event(1, room="", sensor="", n=9), 5), "anything at all")


def test_hostile_reasoning_is_read_in_a_moment():
    texts = ("event " * 100_000, "id" + " " * 300_000 + "x", "events " + "0 and " * 100_000, "event" + "#" * 300_000)
    assert quiet_seconds(lambda: [is_mentioned(7, window_with(SHOWER, 7), text) for text in texts], runs=1) < 2


def test_where_the_mention_counts():
    """The thinking block; without one the answer's own text, for models that reason aloud."""
    said = "event 0 is hard"
    never, about = CAUSES[:2]
    assert cause_of(0, [event(1)], reading(None, reasoning=said), NOWHERE) == about
    assert cause_of(0, [event(1)], reading(None, answer=said, thinking="closed"), NOWHERE) == never
    assert cause_of(0, [event(1)], reading(None, answer=said, thinking="absent"), NOWHERE) == about
    assert cause_of(0, [event(1)], reading(None, answer="[]", thinking="absent"), NOWHERE) == never


# -- habits


def session(*events):
    return Session("simulated", "x", "simulated", {1: "a", 2: "b"}, tuple(events))


def test_habits_are_rooms_and_hours_of_a_tenth_of_the_events():
    kitchen = [event(1, hour=8) for _ in range(18)]
    learnt = learn_habits(
        [
            session(*kitchen, event(1, room="hall", hour=9), event(None, room="attic")),
            session(event(1, room="hall", hour=8)),
        ]
    )
    assert learnt.rooms == {1: {"kitchen", "hall"}}  # 18 and 2 of 20
    assert learnt.hours == {1: {8}}  # 9 o'clock once in 20
    assert learn_habits([]) == Habits({}, {})


def test_sensors_without_a_room_are_places_of_their_own():
    """A phone and the main door have no room in common."""
    learnt = learn_habits([session(event(2, room="", sensor="main door", hour=1))])
    assert cause_of(0, [event(1, room="", sensor="phone")], reading(2), learnt) == "other activity"
    assert cause_of(0, [event(1, room="", sensor="main door")], reading(2), learnt) == "confusable: same room"
