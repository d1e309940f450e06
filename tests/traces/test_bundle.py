"""The explorer's bundle: what the results hold, aligned, in JSON that any reader takes, small enough for one file."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace

import pytest
import yaml

from llmhar import paths
from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.stored import Note, Stored
from llmhar.ask.task import narrow, prepare
from llmhar.data import homes, simulated
from llmhar.data.events import Windowing
from llmhar.records import VERDICTS, Fingerprint, Generation
from llmhar.score import tables
from llmhar.text.prompt import PromptError, PromptForm, build_prompt, load_home
from llmhar.traces.bundle import build_bundle, clean, pack, pack_mentions, unpack
from tests.bench.made_up_traces import made_up_bundle

MADE = Fingerprint("recorded", "1", "", "")
RULES, SMOKE = MODELS["rules"], MODELS["recorded-smoke"]
HOMES = sorted(path.stem for path in (paths.params() / "homes").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("data") / "home"
    simulated.write(home)
    return home


@pytest.fixture(scope="module")
def task(folder):
    return prepare("simulated", folder, form=PromptForm(answer="name"), windowing=Windowing(n=2))


def result_of(task, model, text_of, **generation):
    answers = []
    for ask, window in zip(make_asks(task, model), task.windows):
        names = [task.sessions[window.session_id].activities[e.activity_id] for e in window.events]
        made = Generation(ask.request.key, text_of(window, names), "stop", "", 500, 400, 50, 2.0)
        answers.append(Answer(ask, Stored(replace(made, **generation), MADE), ""))
    return tables.score_answers(task, model, answers)


def perfect(window, names):
    lines = [f"{i}: {event.text} at {event.time:%H:%M:%S}, so {names[i]}" for i, event in enumerate(window.events)]
    items = [{"id": i, "activity": name} for i, name in enumerate(names)]
    return "<think>\n" + "\n".join(lines) + "\n</think>" + json.dumps(items)


def half(window, names):
    return json.dumps([{"id": 0, "activity": names[0]}, {"id": 1, "activity": "flying"}])


@pytest.fixture(scope="module")
def results(task):
    return [result_of(task, RULES, perfect), result_of(task, SMOKE, half)]


def test_a_bundle_holds_what_the_results_hold(task, results):
    bundle = unpack(pack(build_bundle(results, teacher="rules", students=["recorded-smoke"])))
    assert [m["name"] for m in bundle["models"]] == ["rules", "recorded-smoke"]
    assert bundle["models"][0] == {"name": "rules", "kind": "rules, not an LLM", "engine": "recorded 1",
                                   "revision": results[0].revision}  # fmt: skip
    assert (bundle["version"], bundle["teacher"], bundle["students"]) == (1, 0, [1])
    assert bundle["verdicts"] == list(VERDICTS) and bundle["datasets"] == [{"name": task.data}]
    assert len(bundle["windows"]) == len(task.windows)
    for i, (window, shown) in enumerate(zip(task.windows, bundle["windows"])):
        session = task.sessions[window.session_id]
        assert (shown["s"], shown["i"], shown["d"], shown["h"]) == (window.session_id, window.index, 0, 0)
        for event, row in zip(window.events, shown["e"], strict=True):
            assert row[:4] == [f"{event.time:%H:%M:%S}", event.room, event.sensor, event.state]
            assert bundle["labels"][row[4]] == session.activities[event.activity_id]
        right, wrong = shown["a"]
        assert right["l"] == [row[4] for row in shown["e"]] and set(right["v"]) == {0}
        assert (right["t"], right["c"], right["f"]) == (50, 2.0, "stop")
        assert right["k"] == results[0].answers[i].ask.request.key[:16]
        assert right["r"] == results[0].readings[i].reasoning and right["x"] == results[0].readings[i].answer
        verdicts = [VERDICTS[v] for v in wrong["v"]]
        assert verdicts[:2] == ["ok", "unknown_label"] and wrong["l"][1] == -1 and wrong["r"] == ""
        for number in range(len(window.events)):  # each line opens with its event's number and names its time
            assert any(m[2] == [number] and m[3] == "event" for m in right["m"])
            assert any(number in m[2] and m[3] == "time" for m in right["m"])


def test_each_text_of_the_prompt_is_stored_once(task, results):
    bundle = build_bundle(results)
    assert len(bundle["prompts"]) == 1 and {w["p"] for w in bundle["windows"]} == {0}
    assert bundle["prompts"][0]["parts"] == task.prompt_of(task.windows[0]).parts
    brief = replace(
        task, prompts={h: build_prompt(s, PromptForm("brief")) for s in task.sessions.values() for h in [s.home]}
    )
    both = build_bundle([results[0], result_of(brief, SMOKE, half)])
    assert len(both["prompts"]) == 2 and {tuple(w["p"]) for w in both["windows"]} == {(0, 1)}


def test_windows_that_a_model_was_not_asked_are_null(task, results):
    first = task.windows[0]
    few = narrow(task, {(first.session_id, first.index)}, "one window")
    bundle = build_bundle([result_of(few, SMOKE, half), results[0]])
    assert [m["name"] for m in bundle["models"]] == ["recorded-smoke", "rules"]
    assert len(bundle["windows"]) == len(task.windows)
    assert [w["a"][0] is None for w in bundle["windows"]] == [False] + [True] * (len(task.windows) - 1)
    assert all(w["a"][1] for w in bundle["windows"]) and json.dumps(bundle, allow_nan=False)


def test_tasks_of_several_data_sets_stand_one_after_the_other(task, results):
    other = replace(task, dataset="elsewhere", kind="real")
    bundle = build_bundle([results[0], result_of(other, RULES, perfect)])
    assert [m["name"] for m in bundle["models"]] == ["rules"]
    assert [d["name"] for d in bundle["datasets"]] == ["simulated", "elsewhere (real)"]
    assert [w["d"] for w in bundle["windows"]] == [0] * len(task.windows) + [1] * len(task.windows)


def test_a_model_asked_twice_has_two_columns(results, task):
    bundle = build_bundle([results[0], result_of(task, RULES, half)])
    assert [m["name"] for m in bundle["models"]] == ["rules", "rules #2"]
    assert all(None not in w["a"] for w in bundle["windows"])


def test_other_cuts_of_a_session_are_other_windows(folder, task, results):
    small = prepare("simulated", folder, windowing=Windowing(n=2, size=4), form=PromptForm(answer="name"))
    bundle = build_bundle([results[0], result_of(small, SMOKE, half)])
    assert len(bundle["windows"]) == len(task.windows) + len(small.windows)


def test_truth_that_is_not_scored_is_said_so(task):
    (first, *_) = task.windows
    session = task.sessions[first.session_id]
    hidden = first.events[0].activity_id
    events = (*(replace(event, activity_id=None) for event in first.events[:1]), *first.events[1:])
    changed = replace(narrow(task, {(first.session_id, first.index)}, "one"), windows=(replace(first, events=events),))
    answers = result_of(narrow(task, {(first.session_id, first.index)}, "one"), SMOKE, lambda w, n: "[]").answers
    bundle = build_bundle([tables.score_answers(changed, SMOKE, answers)])
    assert bundle["windows"][0]["e"][0][4] == -1
    unscored = {first.session_id: replace(session, unscored=frozenset({hidden}))}
    other = replace(changed, windows=(first,), sessions=unscored)
    rows = build_bundle([tables.score_answers(other, SMOKE, answers)])["windows"][0]["e"]
    assert [row[4] == -1 for row in rows] == [event.activity_id == hidden for event in first.events]


def test_a_failed_window_keeps_its_reason(task):
    asks = make_asks(task, SMOKE)
    result = tables.score_answers(task, SMOKE, [Answer(ask, None, "out of memory") for ask in asks])
    shown = build_bundle([result])["windows"][0]["a"][0]
    assert (shown["x"], shown["f"], shown["t"], shown["c"]) == ("out of memory", "failed", 0, 0)
    assert {VERDICTS[v] for v in shown["v"]} == {"missing"} and set(shown["l"]) == {-1}


def test_hostile_texts_become_plain_ones(task):
    evil = "\ud800 \x00\x1b[31m \u202egnp.exe\u2066 a\r\nb </script><script>alert(1)</script> 😀 event 3"
    bundle = build_bundle([result_of(task, SMOKE, lambda w, n: f"<think>{evil}</think>{evil}", seconds=float("nan"))])
    again = unpack(pack(bundle))
    assert again == bundle  # nothing was lost on the way through UTF-8
    shown = again["windows"][0]["a"][0]
    fit = "\ufffd \ufffd\ufffd[31m \ufffdgnp.exe\ufffd a\nb </script><script>alert(1)</script> 😀 event 3"
    assert shown["r"] == shown["x"] == fit and shown["c"] == 0
    start, end, ids, kind = shown["m"][-1]
    assert (fit.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le"), ids, kind) == ("event 3", [3], "event")


def test_each_event_s_own_reason_is_packed_with_what_it_cites(task):
    def bound(window, names):
        why = ["", f"👍🏽 near event 0\x00 at {window.events[0].time:%H:%M:%S}"]
        return json.dumps([{"id": i, "why": why[i % 2], "activity": name} for i, name in enumerate(names)])

    bundle = unpack(pack(build_bundle([result_of(task, SMOKE, bound), result_of(task, RULES, perfect)])))
    for window, shown in zip(task.windows, bundle["windows"], strict=True):
        bound_answer, other = shown["a"]
        assert other["w"] == [] and bound_answer["r"] == "" and bound_answer["m"] == []
        assert len(bound_answer["w"]) == len(window.events) and bound_answer["w"][0] == ["", []]
        text, mentions = bound_answer["w"][1]
        assert text == f"👍🏽 near event 0\ufffd at {window.events[0].time:%H:%M:%S}"
        units = text.encode("utf-16-le")
        assert [units[2 * s : 2 * e].decode("utf-16-le") for s, e, *_ in mentions] == ["event 0", text[-8:]]
        assert mentions[0][2] == [0]


def test_offsets_are_those_of_javascript(task):
    """``text.slice(start, end)`` counts UTF-16 code units."""
    window = task.windows[0]
    text = f"👍🏽 𝒾 Event 3, then {window.events[1].time:%H:%M:%S}"
    units = text.encode("utf-16-le")
    found = pack_mentions(text, window.events)
    assert [units[2 * start : 2 * end].decode("utf-16-le") for start, end, *_ in found] == ["Event 3", text[-8:]]
    assert found[0][0] == text.index("Event") + 3  # three characters beyond the first plane
    assert pack_mentions("\ud83d Event 3", window.events)[0][0] == 2  # a lone surrogate is one code unit


def test_clean_changes_no_ordinary_text():
    text = "Ünïcödé 廚房 😀 tab\t line\n quotes \"'<>&"
    assert clean(text) == text


def test_notes_on_other_traces_stay_out(results):
    key = results[0].answers[0].ask.request.key
    notes = [Note(key, ("odd",), "Why\x00?", 0.0, 86400.0), {"k": "f" * 16, "tags": [], "text": "else", "at": ""}]
    bundle = build_bundle(results, notes=notes)
    assert bundle["notes"] == [
        {"k": key[:16], "tags": ["odd"], "text": "Why\ufffd?", "at": "1970-01-02T00:00:00+00:00"}
    ]


def test_faults_are_named(results):
    with pytest.raises(ValueError, match="no results"):
        build_bundle([])
    with pytest.raises(ValueError, match="nobody is not among the results; there are: rules, recorded-smoke"):
        build_bundle(results, teacher="nobody")
    with pytest.raises(ValueError, match="no bundle"):
        unpack(b"nothing of the kind")
    with pytest.raises(ValueError, match="version"):
        unpack(zlib.compress(b'{"version": 99}'))
    with pytest.raises(ValueError, match="JSON"):
        pack({"version": 1, "x": float("nan")})


def test_ten_thousand_traces_fit_into_ten_megabytes(capsys):
    """Measured on a tenth: windows do not depend on one another, so ten times as many take ten times the place."""
    bundle = made_up_bundle(1000)
    answers = [a for w in bundle["windows"] for a in w["a"]]
    assert len(answers) == 1000 and len(bundle["models"]) == 4
    mean = sum(len(a["r"]) for a in answers) / 1000
    assert 1100 < mean < 1400 and len({a["r"] for a in answers}) == 1000
    packed = pack(bundle)
    size = len(base64.b64encode(packed))
    # the texts must not compress better than real prose would (zlib on English: 0.3 to 0.45, on rules' texts 0.1)
    ratio = len(zlib.compress("\n".join(a["r"] for a in answers).encode(), 9)) / (1000 * mean)
    with capsys.disabled():
        print(f"\n1,000 made-up traces: {size / 1e6:.2f} MB in base64, reasoning compresses to {ratio:.2f}")
    assert 10 * size <= 10e6 and ratio > 0.18
    assert made_up_bundle(8) == made_up_bundle(8) and made_up_bundle(8) != made_up_bundle(8, seed=1)


# --- sketches of homes


@pytest.mark.parametrize("name", HOMES)
def test_every_home_has_a_sketch_of_its_rooms(name):
    home = load_home(name)
    assert home.plan is not None and set(home.plan) == set(home.rooms)
    assert "not to scale" in (paths.params() / "homes" / f"{name}.yaml").read_text()


def test_the_sketch_is_in_the_bundle_and_not_in_the_prompt(task, results, monkeypatch):
    home = build_bundle(results)["homes"][0]
    assert home["rooms"] == list(load_home("simulated").rooms)
    assert home["activities"] == list(next(iter(task.sessions.values())).labels.values())
    assert home["plan"] == {room: list(box) for room, box in load_home("simulated").plan.items()}
    session = next(iter(task.sessions.values()))
    before = build_prompt(session)
    plain = load_home("simulated").model_copy(update={"plan": None})
    monkeypatch.setattr("llmhar.data.homes.load_home", lambda name: plain)
    without = build_prompt(session)
    assert before.sha256 == without.sha256 and before.system == without.system


def test_a_home_without_a_file_shows_the_rooms_of_its_events(task, results):
    elsewhere = {name: replace(session, home="unknown") for name, session in task.sessions.items()}
    prompts = {"unknown": next(iter(task.prompts.values()))}
    home = build_bundle([replace(results[0], task=replace(task, sessions=elsewhere, prompts=prompts))])["homes"][0]
    assert home["name"] == "unknown" and home["plan"] is None and "kitchen" in home["rooms"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("{kitchen: [0, 0, 4, 3]}", "bath"),
        ("{kitchen: [0, 0, 4, 3], bath: [4, 0, 2, 3], attic: [6, 0, 1, 1]}", "attic"),
        ("{kitchen: [0, 0, 4, 3], bath: [3, 2, 2, 3]}", "overlap"),
        ("{kitchen: [0, 0, 4, 3], bath: [4, 0, 0, 3]}", "width"),
        ("{kitchen: [0, 0, 4, 3], bath: [-1, 4, 2, 3]}", "x, y"),
        ("{kitchen: [0, 0, 4, 3], bath: [4, 0, .nan, 3]}", "width"),
        ("{kitchen: [0, 0, 4, 3], bath: [4, 0, .inf, 3]}", "within"),
        ("{kitchen: [0, 0, 4, 3], bath: [4, 0, 3]}", "bath"),
        ("[1, 2]", "plan"),
    ],
)
def test_faulty_sketches_are_refused(tmp_path, monkeypatch, plan, message):
    rooms = "rooms: {kitchen: [stove], bath: [shower]}"
    text = f"name: test\nkind: simulated\n{rooms}\nexample: {{events: [], answers: []}}\nplan: {plan}\n"
    folder = tmp_path / "params" / "homes"
    folder.mkdir(parents=True)
    (folder / "test.yaml").write_text(text)
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    homes.load_home.cache_clear()
    with pytest.raises(PromptError, match=message):
        load_home("test")
    good = yaml.safe_load(text) | {"plan": {"kitchen": [0, 0, 4, 3], "bath": [4, 0, 2, 3]}}
    (folder / "test.yaml").write_text(yaml.safe_dump(good))
    homes.load_home.cache_clear()
    assert load_home("test").plan["bath"] == (4, 0, 2, 3)
    homes.load_home.cache_clear()
