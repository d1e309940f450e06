"""The registry of data sets: names, options, splits and the errors that tell what to do."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llmhar.data import registry as datasets
from llmhar.data import simulated
from llmhar.data.registry import BUILT_IN, DATASETS, DataError, Split, load, split

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_the_registry_is_complete():
    assert list(BUILT_IN) == [
        "mural",
        "marble",
        "uci_adl",
        "casas",
        "casas2025",
        "kasteren",
        "simulated",
        "simulated_long",
        "simulated_other",
        "simulated_final",
        "simulated_homes",
        "validation_homes",
        "odd_homes",
    ]
    for name, entry in BUILT_IN.items():
        assert entry.name == name
        for sentence in (entry.title, entry.licence, entry.source, entry.citation):
            assert sentence and "\n" not in sentence
    assert {name: entry.homes for name, entry in BUILT_IN.items()} == {
        "mural": ("mural",),
        "marble": ("marble",),
        "uci_adl": ("uci_adl_a", "uci_adl_b"),
        "casas": (),
        "casas2025": (),
        "kasteren": ("kasteren_a",),
        "simulated": ("simulated",),
        "simulated_long": ("simulated",),
        "simulated_other": ("simulated",),
        "simulated_final": ("simulated",),
        **dict.fromkeys(("simulated_homes", "validation_homes", "odd_homes"), ()),
    }
    assert [name for name, entry in BUILT_IN.items() if entry.kind == "simulated"] == [
        "simulated",
        "simulated_long",
        "simulated_other",
        "simulated_final",
        "simulated_homes",
        "validation_homes",
        "odd_homes",
    ]
    casas = {"days": "", "other": False, "home": "", "analog": "", "files": ""}
    assert {name: dict(entry.options) for name, entry in BUILT_IN.items() if entry.options} == {
        "marble": {"locations": False},
        "uci_adl": {"home": "both"},
        "casas": casas,
        "casas2025": casas,
    }


def test_unknown_name_lists_the_names():
    with pytest.raises(
        DataError,
        match="no data set 'nowhere': choose one of mural, marble, uci_adl, casas, casas2025, kasteren, simulated, "
        "simulated_long, simulated_other, simulated_final",
    ):
        load("nowhere")
    with pytest.raises(DataError, match="no data set 'nowhere'"):
        split("nowhere", [])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("marble", {"location": True}, "data set marble has no option 'location'; it has: locations"),
        ("mural", {"home": "A"}, "data set mural has no option 'home'; it has: none"),
        ("simulated", {"dataset": "mural"}, "data set simulated has no option 'dataset'"),
        ("marble", {"locations": "yes"}, "option locations of data set marble must be bool, not 'yes'"),
        ("uci_adl", {"home": 1}, "option home of data set uci_adl must be str, not 1"),
    ],
)
def test_options_are_checked_before_anything_is_read(name, options, message):
    with pytest.raises(DataError, match=message):
        load(name, Path("/nowhere"), options)


def test_missing_folder_says_which_command_brings_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    for name in ("mural", "marble", "uci_adl"):
        with pytest.raises(DataError) as caught:
            load(name)
        assert str(tmp_path / name) in str(caught.value)
        assert f"llmhar data add {name} FILE" in str(caught.value)
        assert DATASETS[name].source.rstrip(".") in str(caught.value)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "MuRAL.zip").write_text("x")
    with pytest.raises(DataError, match=r"MuRAL.zip is a file, not a folder: unpack it with `llmhar data add mural"):
        load("mural", tmp_path / "MuRAL.zip")


@pytest.mark.parametrize("name", ["mural", "marble", "uci_adl", "casas", "casas2025", "kasteren"])
def test_a_folder_of_something_else_is_a_data_error(name, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(DataError, match=f"is missing in .*llmhar data add {name} FILE"):
        load(name, tmp_path)


def test_path_none_is_the_data_folder(monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(FIXTURES))
    assert load("mural").sessions == load("mural", FIXTURES / "mural").sessions


def test_report_json_has_the_fixed_form():
    report = load("marble", FIXTURES / "marble").report.to_json()
    assert report["events"] == 14 and report["sessions"] == 3
    assert report["mended"][1] == {
        "file": "A2a/instance1/environmental.csv",
        "line": 9,
        "reason": "subject '29' has no folder: event kept without activity",
    }


@pytest.mark.parametrize("name", ["mural", "marble"])
def test_train_and_test_share_no_session(name):
    sessions = load(name, FIXTURES / name).sessions
    train, test = split(name, sessions)
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(s.session_id for s in sessions)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sessions: Split([s.session_id for s in sessions], [sessions[0].session_id]),
        lambda sessions: Split([], [s.session_id for s in sessions[1:]]),
        lambda sessions: Split(["another"], [s.session_id for s in sessions]),
    ],
    ids=["in both", "in none", "unknown"],
)
def test_a_wrong_split_is_stopped(monkeypatch, wrong):
    monkeypatch.setitem(datasets.DATASETS, "mural", replace(DATASETS["mural"], split=wrong))
    with pytest.raises(DataError, match="does not put every session into exactly one of train and test"):
        split("mural", load("mural", FIXTURES / "mural").sessions)


def test_twice_the_same_session_is_stopped():
    sessions = load("mural", FIXTURES / "mural").sessions
    with pytest.raises(DataError, match="exactly one"):
        split("mural", [*sessions, sessions[0]])


def test_the_simulated_home_is_written_when_first_wanted(monkeypatch, tmp_path):
    pytest.importorskip("llmhar.data.simulated", reason="the simulated home is not there yet")
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "deep" / "data"))
    loaded = load("simulated")
    assert (tmp_path / "deep" / "data" / "simulated" / "activities.json").exists()
    assert {(s.dataset, s.home) for s in loaded.sessions} == {("simulated", "simulated")}
    assert len(loaded.sessions) == 21
    assert loaded.report.refused == []
    assert load("simulated").sessions == loaded.sessions
    train, test = split("simulated", loaded.sessions)
    assert (len(train), len(test)) == (15, 6)


def test_a_simulated_home_of_an_earlier_llmhar_is_written_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    whole = load("simulated")
    (tmp_path / "simulated").rename(tmp_path / "simulated_long")  # as if that data set had fewer sessions once
    entry = replace(DATASETS["simulated_long"], further=1)
    monkeypatch.setitem(DATASETS, "simulated_long", entry)
    longer = load("simulated_long")
    assert len(longer.sessions) == len(whole.sessions) + 1 == 22
    assert len(load("simulated_long", tmp_path / "simulated_long").sessions) == 22


def test_a_folder_that_is_given_is_only_read(monkeypatch, tmp_path):
    """A mistyped path gets no home written; real data do not pass for simulated ones, nor one seed for another."""
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (name for name, entry in DATASETS.items() if entry.kind == "simulated"):
        with pytest.raises(DataError, match=r"is not at .*typo: give no path, then it is written to .*data"):
            load(name, tmp_path / "typo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"activities.json is missing in .*empty"):
        load("simulated", tmp_path / "empty")
    with pytest.raises(DataError, match=r"fixtures/mural holds no simulated home, it has no SIMULATED.md"):
        load("simulated", FIXTURES / "mural")
    simulated.write(tmp_path / "home")
    assert load("simulated", Path("~/home")).sessions == load("simulated", tmp_path / "home").sessions
    with pytest.raises(DataError, match=r"holds another simulated home \(wanted: data set simulated_other, seed 1\)"):
        load("simulated_other", tmp_path / "home")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "home"]


def test_real_data_in_the_simulated_homes_place_are_neither_shown_as_simulated_nor_touched(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    shutil.copytree(FIXTURES / "mural", tmp_path / "simulated")
    with pytest.raises(DataError, match=r"holds no simulated home, it has no SIMULATED.md .*: move it away"):
        load("simulated")
    assert not (tmp_path / "simulated" / "SIMULATED.md").exists()


def test_the_other_simulated_days_are_other_days(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    known, other = ({s.session_id: s.events for s in load(name).sessions} for name in ("simulated", "simulated_other"))
    assert list(known) == list(other) and not any(known[name] == other[name] for name in known)
