"""Made-up homes: drawn alike from the same seed, without recorded homes' names, with words kept apart for tests."""

import json
from dataclasses import asdict
from functools import lru_cache

import pytest

from llmhar.data import grammar as homes_grammar
from llmhar.data.grammar import FEWEST, MOST, bare_name, grammar, kept_names, make_home, recorded_names, wordings
from llmhar.data.registry import DataError, load, split
from llmhar.data.simulated_homes import make_day
from llmhar.data.simulated_tables import ACTIVITIES as SIMULATED_NAMES
from llmhar.data.uci_adl import ACTIVITIES as UCI_NAMES

N = 250


@pytest.fixture(scope="module")
def homes():
    return [make_home(f"test-{i}") for i in range(N)]


@pytest.fixture(scope="module")
def days():
    return [make_day(f"test-{i}") for i in range(30)]


def lists():
    tables = grammar()
    entries = {f"{part}/{name}": entry for part in ("rooms", "things", "activities", "merges")
               for name, entry in tables[part].items()}  # fmt: skip
    return entries.items()


def test_the_same_seed_gives_the_same_day(days):
    again = make_day("test-0")
    assert asdict(again.session) == asdict(days[0].session) and again.made == days[0].made
    assert make_day("test-1").session.events != again.session.events


def test_homes_are_as_many_kinds_as_promised(homes):
    n_labels = [len(home.labels) for home in homes]
    n_sensors = [len(home.sensors) for home in homes]
    assert min(n_labels) >= FEWEST and max(n_labels) <= MOST and max(n_labels) > 20
    assert min(n_sensors) >= 5 and max(n_sensors) <= 40
    assert {home.n_residents for home in homes} == {1, 2, 3, 4}
    states = {sensor.states[0] for home in homes for sensor in home.sensors}
    assert states == {"turned ON", "OPENED"}
    texts = [" ".join((sensor.room, sensor.name)) for home in homes for sensor in home.sensors]
    assert any("binary_sensor." in text for text in texts) and any("motion sensor" in text for text in texts)
    names = [name for home in homes for name in home.labels.values()]
    assert any("_" in name for name in names) and any(name.isupper() for name in names) and any(" " in n for n in names)


def test_a_sensor_stands_once_in_its_home(homes):
    for home in homes:
        assert len({(sensor.room, sensor.name) for sensor in home.sensors}) == len(home.sensors)


def test_no_activity_is_called_as_in_a_recorded_home(homes):
    assert {bare_name(name) for name in (*UCI_NAMES.values(), *SIMULATED_NAMES)} <= recorded_names()
    taught = {bare_name(name) for home in homes for name in home.labels.values()}
    assert not taught & recorded_names() and len(taught) > 200
    says = {bare_name(text) for what in grammar()["activities"].values() for text in what["says"]}
    assert not says & recorded_names()


def test_a_planted_name_of_a_recorded_home_is_left_out(monkeypatch):
    planted = {**grammar(), "activities": {n: dict(w) for n, w in grammar()["activities"].items()}}
    planted["activities"]["sleep"]["names"] = ["sleeping", "Go_To_Bed", "goToBed", "GO TO BED", "night rest"]
    monkeypatch.setattr(homes_grammar, "grammar", lambda: planted)
    names = [make_home(f"planted-{i}").labels.values() for i in range(60)]
    assert not {bare_name(name) for labels in names for name in labels} & recorded_names()
    named = [make_home(f"planted-{i}", recorded=True).labels.values() for i in range(60)]
    assert {bare_name(name) for labels in named for name in labels} & {"sleeping", "gotobed"}


def test_a_label_set_has_no_two_names_that_read_alike(homes):
    for home in homes:
        assert len({bare_name(name) for name in home.labels.values()}) == len(home.labels)


@pytest.mark.parametrize(("name", "entry"), lists(), ids=lambda value: value if isinstance(value, str) else "")
def test_wordings_for_validation_are_no_wordings_to_learn_from(name, entry):
    train, validation = set(wordings(entry, "train")), set(wordings(entry, "validation"))
    assert train and validation and not train & validation
    if "odd" in entry:
        assert not set(wordings(entry, "odd")) & (train | validation)


def test_sensors_of_odd_homes_have_words_of_their_own():
    plain = {name for _, entry in lists() for name in entry["names"]}
    odd = [s.plain for i in range(40) for s in make_home(f"odd-{i}", "odd").sensors if s.thing in grammar()["things"]]
    assert odd and not set(odd) & plain


def test_a_day_is_in_order_and_every_event_has_its_truth(days):
    for day in days:
        events = day.session.events
        assert len(events) == len(day.made) >= 10
        assert [event.time for event in events] == sorted(event.time for event in events)
        assert len({event.time.date() for event in events}) == 1
        unlabelled = sum(event.activity_id is None for event in events)
        assert unlabelled <= 0.1 * len(events)
        assert all(event.activity_id in day.home.labels for event in events if event.activity_id is not None)


def test_residents_interleave(days):
    several = [day for day in days if day.home.n_residents > 1]
    changes = sum(
        a.residents != b.residents for day in several for a, b in zip(day.session.events, day.session.events[1:])
    )
    assert changes > 20 * len(several)


def test_a_sensor_that_is_on_does_not_turn_on_again_but_for_missed_events(days):
    wrong = total = 0
    for day in days:
        last = {}
        for event in day.session.events:
            sensor = (event.room, event.sensor)
            wrong += last.get(sensor) == event.state
            total += 1
            last[sensor] = event.state
    assert wrong < 0.08 * total


@pytest.mark.parametrize("name", ["validation_homes", "odd_homes"])
def test_made_up_homes_are_data_sets_for_testing_alone(name, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    monkeypatch.setattr("llmhar.data.simulated_homes.make_day", lru_cache(make_day))
    small = json.dumps({"seed": name, "words": name.split("_")[0], "homes": 4})
    paths_of = tmp_path / name / "homes.json"
    first = load(name, None) if name == "odd_homes" else None
    paths_of.parent.mkdir(exist_ok=True)
    paths_of.write_text(small)
    loaded = load(name)
    assert len(loaded.sessions) == 4 and {session.dataset for session in loaded.sessions} == {name}
    assert first is None or loaded.sessions == first.sessions[:4]
    assert split(name, loaded.sessions).train == []
    paths_of.write_text('{"seed": 1}')
    with pytest.raises(DataError, match=r"homes\.json"):
        load(name)


def test_training_homes_call_things_in_very_many_ways_and_never_as_kept_homes_do():
    names = [name for i in range(300) for name in make_home(f"names-{i}").labels.values()]
    bare = [bare_name(name) for name in names]
    assert len(set(bare)) > 0.5 * len(bare), "a list of names that could be learnt by heart"
    assert not set(bare) & kept_names()
    kept = {bare_name(name) for i in range(60) for name in make_home(f"names-{i}", "validation").labels.values()}
    assert len(kept & kept_names()) > 0.8 * len(kept), "and these are what kept homes use"
