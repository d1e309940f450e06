"""Losses by kind: which activities are static, and what is counted, exact on hand-made sessions."""

import pytest

from llmhar.data.grammar import grammar
from llmhar.score.home_figures import kind_figure
from llmhar.score.kinds import count_losses, frequencies, kind_of, kind_table
from tests.score.homes import result_of, session_of, task_of

TEST = [
    session_of("s1", [1, 1, 1, 1, 2, 2, 3, None], day=1),
    session_of("s2", [1, 1, 2, 2, 2, 3, 9, 4], day=2),
    session_of("s3", [1, 1, 1, 2, 2, 4, 4, 1], day=3),
]


@pytest.fixture
def task():
    return task_of(TEST)


@pytest.fixture
def large(task):
    return result_of(task, "135M", lambda event, window: event.activity_id)


@pytest.fixture
def small(task):
    return result_of(task, "57M", lambda event, window: {3: None, 4: 1}.get(event.activity_id, event.activity_id))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "static",
            "Sleeping, Sleep, go to bed, Spare_Time/TV, watchTV, WATCHING TELEVISION, Relax, Read, using pc, Nap",
        ),
        (
            "static",
            "resting on the couch or the chairs, Work_At_Table, working on computer, Meditate, reading a newspaper",
        ),
        ("moving", "Toileting, use toilet, Bed_Toilet_Transition, Leave_Home, leaving home, prepare Breakfast, Dinner"),
        ("moving", "Wash_Lunch_Dishes, Morning_Meds, Enter_Home, Step_Out, Dress, Bathe, Exercise, Wake_Up, Grooming"),
        ("other", "Other_Activity, others, something else, Smoke, xyz, , 42, рисовать"),
    ],
)
def test_static_and_moving_by_the_words_of_a_name(kind, names):
    assert {name: kind_of(name) for name in names.split(", ")} == dict.fromkeys(names.split(", "), kind)


def test_every_wording_of_the_grammar_is_what_its_activity_is():
    still = set(grammar()["still"])
    merged = {name for entry in grammar()["merges"].values() for name in entry["names"]}
    for key, entry in grammar()["activities"].items():
        for name in set(entry["names"]) - merged:
            base, gerund = (" ".join(w.split("/")[form if "/" in w else 0] for w in name.split()) for form in (0, 1))
            kinds = {kind_of(base), kind_of(gerund.replace(" ", "_").upper())}
            assert kinds == {"static" if key in still else "moving"}, name


def test_thirds_by_scored_events(large):
    (counts,) = count_losses([large])
    assert [name for _, name in counts.activities] == ["Cook", "Sleep", "Watch_TV", "Leave_Home"]
    assert counts.support.sum(axis=0).tolist() == [10, 7, 2, 3]  # 9 and None are not scored
    assert frequencies(counts) == ["frequent", "frequent", "rare", "middling"]


def test_groups_by_hand(large, small):
    table = kind_table([large, small])
    assert list(table.index.get_level_values("activities").unique()) == [
        "all", "frequent", "middling", "rare", "static", "moving",
    ]  # fmt: skip
    cook = 2 * 10 / 23
    assert table.loc[("all", "57M"), "F1"] == pytest.approx((cook + 1) / 4)
    assert table.loc[("all", "57M"), "recall"] == pytest.approx(17 / 22)
    assert table.loc[("static", "57M"), "F1"] == pytest.approx(1 / 2)  # Sleep and Watch_TV
    assert table.loc[("moving", "57M"), "F1"] == pytest.approx(cook / 2)
    assert table.loc[("static", "57M"), ["n activities", "n events", "n sessions"]].tolist() == [2, 9, 3]
    low, mean, high = (table.loc[("all", "57M"), f"F1{end}"] for end in (", 95 % low", "", ", 95 % high"))
    assert 0 <= low < mean < high <= 1


def test_intervals_are_over_sessions_not_events(task):
    """The same share of right events, once spread over all sessions and once lost in one of them."""
    spread = result_of(task, "spread", lambda e, w: e.activity_id if e.event_id % 3 else None)
    clumped = result_of(task, "clumped", lambda e, w: e.activity_id if w.session_id != "s1" else None)
    wide = {r.model.name: kind_table([r]).loc[("all", r.model.name)] for r in (spread, clumped)}
    width = {name: row["recall, 95 % high"] - row["recall, 95 % low"] for name, row in wide.items()}
    assert width["clumped"] > 2 * width["spread"]


def test_joint_events_are_right_by_any_of_their_activities():
    task = task_of([session_of("s1", [(1, 2), 1, 2, 2], day=1), session_of("s2", [1, 2, 1, 2], day=2)])
    first, second = (result_of(task, name, lambda e, w, k=k: (e.activity_ids * 2)[k]) for k, name in enumerate("ab"))
    table = kind_table([first, second])
    assert table.loc[("all", "a"), "F1"] == table.loc[("all", "b"), "F1"] == 1


def test_homes_are_told_apart_and_sessions_stand_in_for_their_own_alone():
    parts = [task_of([session_of(f"{part}{d}", [1, 1, 2, 2], day=d) for d in (1, 2, 3)], part=part) for part in "ab"]
    results = [result_of(task, "m", lambda e, w: e.activity_id if "a" in w.session_id else None) for task in parts]
    table = kind_table(results)
    assert table.loc[("all", "m"), ["n activities", "n sessions"]].tolist() == [4, 6]
    row = table.loc[("all", "m")]
    assert row["F1"] == row["F1, 95 % low"] == row["F1, 95 % high"] == 0.5, "nothing varies within a home"


def test_models_on_other_events_or_twice_on_the_same_are_refused(large, task):
    other = result_of(task_of(TEST[:2]), "57M", lambda e, w: 1)
    with pytest.raises(ValueError, match="57M was not asked about the same events as 135M"):
        kind_table([large, other])
    with pytest.raises(ValueError, match="135M has two results on simulated"):
        kind_table([large, large])


def test_the_figure_says_n(large, small):
    figure = kind_figure([large, small])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0] == "all\n4 activities, 22 events" and "57M" in figure.alt


def test_nobody_was_asked():
    assert kind_table([]).empty
