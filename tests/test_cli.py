"""The command line, as people and scripts call it: forms, exit codes, stdout and stderr."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from llmhar.data import simulated
from llmhar.data.registry import DATASETS
from llmhar.fusion.clips.registry import CLIPSETS
from llmhar.fusion.encoders.weights_files import WEIGHTS
from llmhar.run.commands import help
from tests.command import call

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def llmhar(*arguments, stdin="", code=0, cwd=None):
    """Run a command; returns stdout. Fails where the exit code is another or a traceback shows."""
    done = call(*arguments, stdin=stdin, cwd=cwd)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code:
        assert done.stderr.strip()
        assert not done.stdout.strip()
        return done.stderr
    return done.stdout


def test_the_version_is_told():
    said = llmhar("--version")
    assert re.fullmatch(r"llmhar \d+\.\d+\.\d+\S* \(commit ([0-9a-f]{40}(\+dirty)?|unknown)\)\n", said)


def commands_below(command, name=""):
    """Each command of a group by its whole name."""
    if not isinstance(command, typer.core.TyperGroup):
        return {name: command}
    below = [commands_below(sub, f"{name} {key}".strip()) for key, sub in command.commands.items()]
    return {key: sub for part in below for key, sub in part.items()}


def test_each_command_has_a_group_and_an_example_that_it_understands():
    from llmhar.cli import app

    program = typer.main.get_command(app)
    assert set(program.commands) == {name for names in help.PANELS.values() for name in names}
    assert all(command.rich_help_panel in help.PANELS for command in program.commands.values())
    found = commands_below(program)
    assert set(found) == set(help.EXAMPLES)
    for name, command in found.items():
        words = shlex.split(help.EXAMPLES[name].partition(" <")[0])
        assert words[: 1 + len(name.split())] == ["llmhar", *name.split()] and help.EXAMPLES[name] in command.epilog
        parser = command.make_parser(command.context_class(command))
        given, left, _ = parser.parse_args(words[1 + len(name.split()) :])  # an unknown option raises
        missing = [
            p.name for p in command.params if p.required and not isinstance(given.get(p.name), str | list | tuple)
        ]
        assert left == [] and missing == [], name


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("others\ncooking\nsleeping\n")
    return file


def test_parse_prints_one_verdict_an_event(labels):
    answer = '<think>hm</think>[{"id":0,"activity":1},{"id":1,"activity":"2. sleeping"},{"id":2,"activity":"coo'
    rows = json.loads(llmhar("parse", "--labels", labels, "--n", 4, "--json", stdin=answer))
    assert rows == [
        {"id": 0, "verdict": "ok", "label": "cooking"},
        {"id": 1, "verdict": "ok", "label": "sleeping"},
        {"id": 2, "verdict": "cut", "label": None},
        {"id": 3, "verdict": "cut", "label": None},
    ]
    prose = 'Well: [{"id":0,"activity":1}]'
    assert json.loads(llmhar("parse", "--labels", labels, "--n", 1, "--json", stdin=prose))[0]["verdict"] == "ok"
    strict = json.loads(llmhar("parse", "--labels", labels, "--n", 1, "--json", "--strict", stdin=prose))
    assert strict == [{"id": 0, "verdict": "malformed", "label": None}]
    assert len(json.loads(llmhar("parse", "--labels", labels, "--json", stdin=""))) == 10


def test_hostile_names_reach_no_terminal(labels):
    labels.write_text("others\n[red]\x1b[2Jcooking[/red]\n")
    answer = '[{"id":0,"activity":1}]'
    shown = llmhar("parse", "--labels", labels, "--n", 1, stdin=answer)
    assert "[red]\ufffd[2Jcooking[/red]" in shown and "\x1b" not in shown
    (row,) = json.loads(llmhar("parse", "--labels", labels, "--n", 1, "--json", stdin=answer))
    assert row["label"].startswith("[red]")
    assert "\x1b" not in llmhar("data", "report", "mural", "--path", "/\x1b[2Jnowhere", code=1)


def test_score_prints_the_fixed_form(tmp_path):
    rows = [("a", 0, "x"), ("a", 1, "y"), ("b", 0, "x"), ("b", 1, None)]

    def write(file, rows):
        lines = [json.dumps(dict(zip(("session", "id", "activity"), row))) for row in rows]
        file.write_text("\n".join(lines) + "\n")

    truth, pred = tmp_path / "t.jsonl", tmp_path / "p.jsonl"
    write(truth, rows)
    write(pred, [("a", 0, "x"), ("b", 0, "x")])
    found = json.loads(llmhar("score", truth, pred, "--json"))
    # Session a: x right (F1 1), y missing (F1 0); session b: its one annotated event is right.
    assert found["macro_f1"] == pytest.approx((0.5 + 1.0) / 2) and found["missed_pct"] == pytest.approx(25.0)
    assert [s["session"] for s in found["per_session"]] == ["a", "b"] and {"weighted_f1"} <= set(found)
    write(pred, [("a", 0, "x"), ("a", 0, "y")])
    assert "line 2" in llmhar("score", truth, pred, "--json", code=1)
    write(pred, [("a", 0, "x"), ("a", 1, "z"), ("b", 0, "Z"), ("b", 1, "z")])
    assert json.loads(llmhar("score", truth, pred, "--json"))["not_in_truth"] == {"Z": 1, "z": 2}
    assert "not_in_truth: {'Z': 1, 'z': 2}" in llmhar("score", truth, pred)
    pred.write_text('{"session": "a", "id": 0, "activity": "x"}\n{broken\n')
    assert "p.jsonl, line 2" in llmhar("score", truth, pred, code=1)


def test_odd_but_honest_files_are_read(tmp_path):
    truth, pred, labels = tmp_path / "t.jsonl", tmp_path / "p.jsonl", tmp_path / "l.txt"
    truth.write_text('{"session": "a", "id": 0, "activity": "x"}\n\n{"session": "a", "id": 1, "activity": "y"}\n')
    pred.write_text("")  # a model that answered nothing
    found = json.loads(llmhar("score", truth, pred, "--json"))
    assert (found["macro_f1"], found["missed_pct"]) == (0.0, 100.0)
    assert "no event" in llmhar("score", pred, truth, "--json", code=1)
    labels.write_bytes(b"others\r\n\r\neating \r\n")
    rows = json.loads(
        llmhar("parse", "--labels", labels, "--n", 2, "--json", stdin='[{"id":0,"activity":2},{"id":1,"activity":1}]')
    )
    assert [(row["verdict"], row["label"]) for row in rows] == [("ok", "eating"), ("unknown_label", None)]
    labels.write_bytes(b"\xff\xfecooking\n")
    assert "no UTF-8" in llmhar("parse", "--labels", labels, "--n", 2, "--json", code=1)


def test_data_commands_on_the_simulated_home(tmp_path):
    home = tmp_path / "home"
    simulated.write(home)
    report = json.loads(llmhar("data", "report", "simulated", "--path", home, "--json"))
    events = json.loads(llmhar("data", "events", "simulated", "--path", home, "--json"))
    assert report["events"] == len(events) > 8000 and report["sessions"] == 21
    assert report["mended"] == report["refused"] == []
    assert set(events[0]) == {"session", "id", "time", "room", "sensor", "state", "residents", "activity", "activities"}
    lines = llmhar("data", "events", "simulated", "--path", home).splitlines()
    assert len(lines) == len(events) + 1 and lines[0].split("\t") == [
        n for n in events[0] if n not in ("residents", "activities")
    ]
    assert {line.count("\t") for line in lines} == {6}
    assert "annotation" in llmhar("data", "report", "simulated", "--path", home)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_data_commands_on_real_files():
    report = json.loads(llmhar("data", "report", "uci_adl", "--path", SHARED / "ordonez", "--json"))
    assert (report["events"], len(report["refused"]), len(report["mended"])) == (5486, 3, 4)
    assert {note["file"] for note in report["refused"]} == {"OrdonezA_ADLs.txt"}
    assert {note["file"] for note in report["mended"]} == {"OrdonezB_Sensors.txt"}
    events = json.loads(llmhar("data", "events", "marble", "--path", SHARED / "marble", "--json"))
    assert len(events) == 24 and events[0]["time"] == "2018-11-14T14:58:14.445"


def test_data_is_added_and_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    added = json.loads(llmhar("data", "add", "mural", ROOT / "tests" / "fixtures" / "mural", "--json"))
    assert added == {"name": "mural", "path": str(tmp_path / "data" / "mural")}
    assert json.loads(llmhar("data", "report", "mural", "--json"))["events"] > 0
    assert "simulated" in llmhar("data", "fetch", "simulated")
    assert "add" in llmhar("data", "fetch", "marble", code=1)  # by hand: says how


def test_clips_are_data_too(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    report = json.loads(llmhar("data", "report", "scenes-recorded", "--json"))
    assert report["clips"] == sum(report["labels"].values()) > 0 and report["kind"] == "recorded"
    assert "refused: 0" in llmhar("data", "report", "scenes-recorded")
    for name in ("pamap2", "usc_had", "manifest"):
        assert f"llmhar data add {name} FILE" in llmhar("data", "report", name, code=1)
    home = ROOT / "tests" / "fixtures" / "mural"
    assert "was not added as manifest" in llmhar("data", "add", "manifest", home, code=1)
    assert "llmhar data add usc_had FILE" in llmhar("data", "fetch", "usc_had", code=1)
    assert "llmhar data report pamap2" in llmhar("data", "events", "pamap2", code=2)
    assert "usc_had" in llmhar("data", "add", "usc-had", tmp_path, code=2)


def test_lists_for_people_and_programs():
    rows = json.loads(llmhar("data", "list", "--json"))
    expected = {"sensor events": DATASETS, "clips": CLIPSETS, "encoder": WEIGHTS}
    for what, entries in expected.items():
        assert [row["name"] for row in rows if row["what"] == what] == list(entries)
    assert len(rows) == sum(len(entries) for entries in expected.values())
    assert all(row["licence"] and row["source"] and isinstance(row["present"], bool) for row in rows)
    shown = llmhar("data", "list")
    assert all(f": {row['name']} (" in shown for row in rows) and shown.count("licence: ") == len(rows)
    assert "qwen3-32b" in {row["name"] for row in json.loads(llmhar("models", "list", "--json"))}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "demo", "02", "-p", "modells=x"], 2, "unknown parameter"),
        (["run", "nowhere"], 2, "unknown profile"),
        (["run", "paper", "03", "-p", "n_gpus=1"], 2, "qwen3-32b is not run"),
        (["plan", "paper", "--device", "abacus"], 2, "unknown device"),
        (["run", "demo", "-p", "novalue"], 2, "name=value"),
        (["run", "smoke", "02", "-p", "engine=foo"], 2, "engine: unknown 'foo'"),
        (["run", "smoke", "02", "-p", "models=rules,nosuch"], 2, "models: unknown 'nosuch'"),
        (["run", "smoke", "02", "-p", "models=rules,rules"], 2, "none twice"),
        (["run", "smoke", "02", "-p", "models="], 2, "at least one"),
        (["run", "smoke", "02", "-p", "dataset=nosuch"], 2, "dataset: unknown"),
        (["run", "smoke", "02", "-p", "n_windows=0"], 2, "n_windows must be at least 1"),
        (["run", "smoke", "02", "-p", "data_dir="], 2, "data_dir is empty"),
        (["data", "report", "mural", "--path", "/nonexistent", "--json"], 1, "/nonexistent"),
        (
            ["data", "report", "simulated", "--path", "/nonexistent/typo", "--json"],
            1,
            "/nonexistent/typo: give no path",
        ),
        (["data", "report", "muraal", "--json"], 2, "mural"),
        (["models", "fetch", "qwen9"], 2, "qwen9"),
        (["parse", "--labels", "/nonexistent.txt", "--json"], 2, "nonexistent"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_errors_go_to_stderr_with_an_exit_code(arguments, code, said):
    assert said in llmhar(*arguments, code=code)


def test_plan_prints_hours_and_marks_the_starved_layout():
    made = json.loads(llmhar("plan", "paper", "--device", "a100-80", "--json"))
    assert 10 <= made["gpu_hours_total"] <= 16 and made["starved"] == ["qwen3-32b"]
    assert {row["model"] for row in made["rows"]} >= {f"qwen3-{size}b" for size in ("0.6", "1.7", "4", "8", "14", "32")}
    shown = llmhar("plan", "paper", "--device", "a100-80")
    assert "tensor parallel over 2 cards" in shown and "assumed:" in shown
    assert "hours of a100-80 (the last" in shown


def test_plan_plans_for_the_machine_that_the_profile_is_meant_for():
    named = {name: json.loads(llmhar("plan", name, "--json"))["device"] for name in ("smoke", "demo", "paper")}
    assert named == {"smoke": "cpu-2core", "demo": "cpu-2core", "paper": "a100-80"}


@pytest.mark.parametrize("command", [[], ["data"], ["models"], ["run"], ["record"], ["plan"], ["parse"], ["score"]])
def test_help_is_there(command):
    assert "Usage" in llmhar(*command, "--help")


def test_relative_paths_are_read_from_the_callers_folder(tmp_path):
    simulated.write(tmp_path / "here")
    assert json.loads(llmhar("data", "report", "simulated", "--path", "here", "--json", cwd=tmp_path))["path"] == "here"
