"""Exports: traces as JSONL, Parquet and inspect_ai's logs, read back by their own readers; notes as CSV."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.inference import Answer, collect, make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Ask, Store
from llmhar.ask.stored import Stored
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation
from llmhar.score import tables
from llmhar.text.prompt import PromptForm
from llmhar.traces import export
from llmhar.traces.export import ExportError, export_notes_csv, write_inspect_logs, write_jsonl, write_parquet

RULES, SMOKE = MODELS["rules"], MODELS["recorded-smoke"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=2),
        form=PromptForm(answer="name"),
    )


@pytest.fixture(scope="module")
def results(task, tmp_path_factory):
    """The rules' answers, and those of a model that answers half, badly, cut, or not at all."""
    with Store(tmp_path_factory.mktemp("store") / "s.sqlite") as store:
        asks = make_asks(task, RULES)
        run_asks(asks, RULES, store, asking=Asking(progress=False))
        first = tables.score_answers(task, RULES, collect(asks, store))
    answers = []
    for number, (ask, window) in enumerate(zip(make_asks(task, SMOKE), task.windows)):
        names = [task.sessions[window.session_id].activities[e.activity_id] for e in window.events[: 1 + number % 9]]
        text = "<think>Hm \ud800 😀</think>" + json.dumps([{"id": i, "activity": name} for i, name in enumerate(names)])
        made = Generation(ask.request.key, text, "length" if number % 2 else "stop", "", 100, 40, 7, 0.5)
        stored = None if number == 3 else Stored(made, Fingerprint("recorded", "1", "", ""))
        answers.append(Answer(ask, stored, "" if stored else "out of memory"))
    return [first, tables.score_answers(task, SMOKE, answers)]


def same(row, result, n):
    """Whether a row says what a result holds of its n-th window."""
    window, reading = result.task.windows[n], result.readings[n]
    session = result.task.sessions[window.session_id]
    assert (row["model"], row["session"], row["window"]) == (result.model.name, window.session_id, window.index)
    assert row["key"] == result.answers[n].ask.request.key and row["data"] == result.task.data
    assert [e["truth"] for e in row["events"]] == [session.activities[e.activity_id] for e in window.events]
    events = {e["id"]: e for e in session.to_rows()}  # the form of `llmhar data events --json`
    assert all(
        {key: events[e["id"]][key] for key in ("time", "room", "sensor")}.items() <= e.items() for e in row["events"]
    )
    assert [e["id"] for e in row["events"]] == [e.event_id for e in window.events]
    labels = [None if p.label is None else session.activities[p.label] for p in reading.predictions]
    assert [e["label"] for e in row["events"]] == labels
    assert [e["verdict"] for e in row["events"]] == [p.verdict for p in reading.predictions]
    assert [e["why"] for e in row["events"]] == [reading.whys.get(i) for i in range(len(window.events))]
    assert row["n_scored"] == len(window.events) and row["n_missed"] == labels.count(None)
    assert row["n_right"] == sum(e["truth"] == e["label"] for e in row["events"])
    return True


def test_jsonl_says_what_the_results_hold(results, tmp_path):
    n = write_jsonl(results, tmp_path / "traces.jsonl")
    lines = (tmp_path / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert n == len(rows) == 24 and set(rows[0]) == set(export.COLUMNS)
    assert all(same(row, results[i // 12], i % 12) for i, row in enumerate(rows))
    failed = rows[12 + 3]
    assert (failed["finish_reason"], failed["error"], failed["seconds"]) == ("failed", "out of memory", None)
    assert rows[12]["reasoning"] == "Hm ? 😀" and rows[12]["engine"] == "recorded 1"
    assert rows[0]["user"].startswith("Events:") and rows[0]["temperature"] == 0.0


def test_each_event_s_own_reason_goes_with_it(task, tmp_path):
    import pyarrow.parquet

    whys, answers = ['=1+1 "quoted" <b>', "", "烤箱 \ud800"], []
    for ask, window in zip(make_asks(task, SMOKE), task.windows):
        items = [{"id": i, "why": whys[i % 3], "activity": "chatting"} for i in range(len(window.events) - 1)]
        made = Generation(ask.request.key, json.dumps(items), "stop")
        answers.append(Answer(ask, Stored(made, Fingerprint("recorded", "1", "", "")), ""))
    result = tables.score_answers(task, SMOKE, answers)
    write_parquet([result], tmp_path / "t.parquet")
    write_jsonl([result], tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    for rows in (pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist(), [json.loads(line) for line in lines]):
        for row in rows:
            told = [event["why"] for event in row["events"]]
            assert told[:3] == ['=1+1 "quoted" <b>', None, "烤箱 ?"] and told[-1] is None and row["reasoning"] == ""
    cited = export.mention_table([result])
    assert cited.loc["recorded-smoke", "reasonings"] == len(task.windows)


def test_parquet_holds_the_same_rows(results, tmp_path):
    import pyarrow.parquet

    assert write_parquet(results, tmp_path / "traces.parquet") == 24
    table = pyarrow.parquet.read_table(tmp_path / "traces.parquet")
    assert list(export.trace_rows(results)) == table.to_pylist()
    assert table.schema.metadata[b"n_right"].decode() == export.COLUMNS["n_right"]
    assert write_parquet([], tmp_path / "none.parquet") == 0


def test_inspect_reads_the_same_counts_and_scores(results, tmp_path):
    reader = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (optional)")
    files = write_inspect_logs(results, tmp_path / "logs")
    assert len(files) == 2 and len({*files}) == 2 and not list((tmp_path / "logs").glob(".*"))
    for file, result in zip(files, results):
        log = reader.read_eval_log(str(file))
        assert log.status == "success" and log.eval.model == result.model.name and log.eval.dataset.samples == 12
        assert len(log.samples) == log.results.total_samples == 12
        assert log.results.completed_samples == 12 - result.n_failed
        rows = list(export.trace_rows([result]))
        for n, (sample, row) in enumerate(zip(log.samples, rows)):
            assert same(sample.metadata | {k: row[k] for k in ("model", "session", "window", "data")}, result, n)
            assert sample.id == f"{row['session']}/{row['window']}"
            assert sample.scores["right"].value == row["n_right"] / row["n_scored"]
            assert sample.scores["missed"].value == row["n_missed"] / row["n_scored"]
            assert sample.target == [event["truth"] for event in row["events"]]
            assert [m.role for m in sample.input] == ["system", "user"] and sample.input[1].content == row["user"]
            assert sample.output.completion == ("" if row["error"] else row["answer"])
            assert (sample.error is None) == (not row["error"])
        by_name = {score.name: score for score in log.results.scores}
        hits = sum(row["n_right"] for row in rows) / sum(row["n_scored"] for row in rows)  # windows of equal length
        assert by_name["right"].metrics["mean"].value == pytest.approx(hits) and by_name["right"].scored_samples == 12
        accuracy = [score.accuracy for score in result.sessions]
        assert by_name["right"].metrics["mean"].value == pytest.approx(sum(accuracy) / len(accuracy))
        assert by_name["missed"].metrics["mean"].value == pytest.approx(result.overall.missed_pct / 100)
        assert by_name["sessions"].metrics["macro_f1"].value == pytest.approx(result.overall.macro_f1)
        usage = log.stats.model_usage[result.model.name]
        assert usage.output_tokens == sum(g.output_tokens for g in result.generations)
        assert usage.input_tokens == sum(g.prompt_tokens for g in result.generations)
    log = reader.read_eval_log(str(files[1]))
    message = log.samples[0].output.message
    assert [part.type for part in message.content] == ["reasoning", "text"] and message.content[
        0
    ].reasoning == "Hm ? 😀"
    assert log.samples[1].output.stop_reason == "max_tokens" and log.samples[3].error.message == "out of memory"


def test_windows_without_a_scored_event_have_no_score(results, tmp_path):
    reader = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (optional)")
    result = results[0]
    sessions = {
        name: replace(session, unscored=frozenset(session.activities)) if i == 0 else session
        for i, (name, session) in enumerate(result.task.sessions.items())
    }
    task = replace(result.task, sessions=sessions)
    made = tables.score_answers(task, RULES, result.answers)
    log = reader.read_eval_log(str(write_inspect_logs([made], tmp_path)[0]))
    right = next(score for score in log.results.scores if score.name == "right")
    assert (right.scored_samples, right.unscored_samples) == (10, 2) and log.samples[0].scores == {}
    assert log.samples[0].target == ["(not scored)"] * 10


def test_shares_are_of_scored_events_alone(results, tmp_path):
    reader = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (optional)")
    result = results[0]
    window, found = result.task.windows[0], result.readings[0].predictions
    others = {window.events[0].activity_id}  # no longer scored
    right = {event.activity_id for event in window.events} - others
    assert right
    session = replace(result.task.sessions[window.session_id], unscored=frozenset(others))
    task = replace(result.task, sessions={**result.task.sessions, window.session_id: session})
    made = tables.score_answers(task, RULES, result.answers)
    sample = reader.read_eval_log(str(write_inspect_logs([made], tmp_path)[0])).samples[0]
    hits = sum(e.activity_id == p.label for e, p in zip(window.events, found) if e.activity_id in right)
    scored = sum(e.activity_id in right for e in window.events)
    assert scored < 10 and sample.scores["right"].value == hits / scored


def test_names_of_models_make_no_paths(results, tmp_path):
    pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (optional)")
    evil = replace(results[0], model=RULES.model_copy(update={"name": "../../x y/<z>"}))
    (file,) = write_inspect_logs([evil], tmp_path / "logs")
    assert file.parent == tmp_path / "logs" and file.name == "00-..-..-x-y-z--simulated.eval"


def test_what_is_missing_is_named_with_its_cure(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(ExportError, match=r"inspect-ai.*pip install inspect-ai"):
        write_inspect_logs(results, tmp_path / "logs")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match="pyarrow"):
        write_parquet(results, tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_importing_export_imports_neither_inspect_nor_pyarrow_s_parquet():
    lazy = ("inspect_ai", "pyarrow.parquet", "anywidget")
    code = f"import sys, llmhar.traces.export; print([name for name in {lazy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_notes_become_a_csv_that_runs_nothing(task, tmp_path):
    asks = make_asks(task, RULES)
    texts = ['plain, with "quotes"\nand lines', '=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\tx", " =1", "a=b"]
    with Store(tmp_path / "s.sqlite") as store:
        store.note_asks(asks)
        for ask, text in zip(asks, texts):
            store.add_note(ask.request.key, ["=tag", "two"], text)
        store.note_asks([Ask("=data", "@session", 1, "-model", asks[0].request)])
        assert export_notes_csv(store, tmp_path / "notes.csv") == len(texts)
        assert export_notes_csv(Store(tmp_path / "empty.sqlite"), tmp_path / "none.csv") == 0
    with open(tmp_path / "notes.csv", encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head == ["key", "data set", "session", "window", "model", "tags", "text", "created", "updated"]
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in ("=", "+", "-", "@", "\t")]
    by_key = {row[0]: row for row in rows}
    for ask, text in zip(asks, texts):
        row = by_key[ask.request.key]
        kept = text.strip()
        assert row[6] == (kept if kept[0] in "pxa" else f"'{kept}") and row[5] == "'=tag, two"
    assert by_key[asks[1].request.key][1:5] == ["simulated", asks[1].session_id, str(asks[1].window_index), "rules"]
    assert by_key[asks[0].request.key][1:5] == ["'=data", "'@session", "1", "'-model"]
