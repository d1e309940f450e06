"""Labels of every event: resumed, elected, written in three forms, scored as a notebook scores them."""

import csv
import io
import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest
from typer.testing import CliRunner

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare, whole
from llmhar.cli import app
from llmhar.data import registry
from llmhar.data.events import SensorEvent, Session
from llmhar.data.load_report import DataError, Loaded, LoadReport, WrongCall
from llmhar.records import Fingerprint, Generation, Prediction
from llmhar.run.ready import NotReady
from llmhar.run.row_files import read_rows, rows_of
from llmhar.score import label
from llmhar.score.cells import as_written, harmless
from llmhar.score.confidence import elect
from llmhar.score.evaluate import evaluate
from llmhar.score.f1 import score_rows
from tests.opened import Opened

RULES = MODELS["rules"]
QUIET = Asking(progress=False)
FORM = label.form_for(RULES)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def everything(simulated_home):
    return whole("simulated", simulated_home, FORM)


@pytest.fixture(scope="module")
def few(everything):
    """Three windows of one session."""
    kept = {("16", index) for index in range(3)}
    return narrow(everything, kept, "three windows")


class Dies(Opened):
    """The rules, until they are killed after some answers."""

    def __init__(self, after, reply=None):
        self.after, self.reply, self.rules, self.asked = after, reply, RulesEngine(), 0

    def fingerprint(self):
        return Fingerprint("rules", "test", "", "")

    def stream(self, requests):
        for request in requests:
            if self.asked == self.after:
                raise KeyboardInterrupt
            self.asked += 1
            yield self.reply(request) if self.reply else next(iter(self.rules.stream([request])))


def test_every_window_of_every_session_is_there(everything, simulated_home):
    sessions = registry.load("simulated", simulated_home).sessions
    assert list(everything.sessions) == [session.session_id for session in sessions] and len(everything.sessions) == 21
    assert [e for w in everything.windows for e in w.events] == [e for s in sessions for e in s.events]


def test_a_day_is_a_session_or_a_date(simulated_home, everything, monkeypatch):
    first = everything.sessions["02"].events[0].time.date().isoformat()
    monkeypatch.setattr(registry, "load", lambda *_: Loaded(list(everything.sessions.values()), everything.report))
    assert list(whole("simulated", simulated_home, FORM, day="02").sessions) == ["02"]
    assert "02" in whole("simulated", simulated_home, FORM, day=first).sessions
    with pytest.raises(WrongCall, match=r"no session '1999-01-01'.*21 sessions are '01' to '21'.*YYYY-MM-DD"):
        whole("simulated", simulated_home, FORM, day="1999-01-01")


def test_labels_score_as_the_notebook_scores_them(everything, simulated_home, store, tmp_path):
    sessions = ("16", "17", "20")
    kept = {(w.session_id, w.index) for w in everything.windows if w.session_id in sessions}
    made = label.label_events(narrow(everything, kept, "three sessions"), RULES, QUIET, store)
    task = narrow(prepare("simulated", simulated_home, FORM), kept, "three sessions")
    evaluation = evaluate(task, ["rules"], QUIET, store)
    assert evaluation.runs[0].n_asked == 0, "label and notebook ask for the same"
    (result,) = evaluation.results
    truth = rows_of(task.sessions.values(), "simulated").rows
    for suffix in label.WRITERS:
        tally = label.write_rows(made.rows(), tmp_path / f"out{suffix}")
        assert tally["ok"] == tally["labelled"] == len(truth)
        scores = score_rows(truth, read_rows(tmp_path / f"out{suffix}").rows)
        for key in ("macro_f1", "weighted_f1", "union_f1", "missed_pct", "n_sessions", "n_events"):
            assert scores[key] == pytest.approx(getattr(result.overall, key), rel=0, abs=1e-12), (suffix, key)
        own = [s.macro_f1 for s in result.sessions]
        assert [s["macro_f1"] for s in scores["per_session"]] == pytest.approx(own, rel=0, abs=1e-12)


def test_rows_join_with_the_data_set_s_events(few, store):
    rows = list(label.label_events(few, RULES, QUIET, store).rows())
    events = {(row["session"], row["id"]): row for row in few.sessions["16"].to_rows()}
    assert tuple(rows[0]) == label.COLUMNS and len(rows) == 30
    for row in rows:
        event = events[row["session"], row["id"]]
        assert all(row[key] == event[key] for key in ("time", "room", "sensor", "state"))
        assert (
            datetime.fromisoformat(row["time"]).year == 2000 and row["confidence"] is None and row["model"] == "rules"
        )


def test_a_killed_run_is_resumed(few, store):
    dying, rest, nothing = Dies(2), Dies(None), Dies(0)
    with pytest.raises(KeyboardInterrupt):
        label.label_events(few, RULES, replace(QUIET, open_with=lambda: dying), store)
    made = label.label_events(few, RULES, replace(QUIET, open_with=lambda: rest), store)
    assert (rest.asked, made.run.n_from_store, made.run.n_asked) == (1, 2, 1)
    again = label.label_events(few, RULES, replace(QUIET, open_with=lambda: nothing), store)
    assert (again.run.n_asked, list(again.rows())) == (0, list(made.rows()))


@pytest.mark.parametrize(
    ("given", "chosen", "votes"),
    [
        ([1, 2, 2], 1, 2), ([1, 2], 0, 1), ([3, 1, 2, 1, 2], 1, 2), ([None, None], 0, 0), ([None, 4], 1, 1),
        ([None, None, 4, 5], 2, 1), ([1], 0, 1),
    ],
)  # fmt: skip
def test_the_majority_decides_and_of_a_tie_the_first(given, chosen, votes):
    predictions = [Prediction(i, "ok" if n else "missing", n) for i, n in enumerate(given)]
    assert elect(predictions) == (predictions[chosen], votes)


def test_no_prediction_elects_nobody():
    assert elect([]) == (None, 0)


def test_samples_agree_in_part_and_failures_are_said(few, store):
    """Sample 0 and 2 say the first activity, sample 1 the second; the last window fails in all, the first in one."""
    asking = replace(QUIET, n_samples=3)
    place = {a.request.key: (a.window_index, a.request.sample_index) for a in inference.make_asks(few, RULES, asking)}

    def reply(request):
        window, sample = place[request.key]
        if window == 2 or (window, sample) == (0, 0):
            return Generation(request.key, error="no room", finish_reason="error")
        names = list(few.sessions["16"].labels.values())
        items = [{"id": i, "activity": names[sample % 2]} for i in range(9)]
        return Generation(request.key, json.dumps(items), "stop")

    made = label.label_events(few, RULES, replace(asking, open_with=lambda: Dies(None, reply)), store)
    rows, names = list(made.rows()), list(few.sessions["16"].labels.values())
    assert {(r["activity"], r["confidence"]) for r in rows[:9]} == {(names[1], 1 / 3)}  # a tie: the earlier sample
    assert {(r["activity"], r["confidence"]) for r in rows[10:19]} == {(names[0], 2 / 3)}
    assert [(r["activity"], r["verdict"], r["confidence"]) for r in (rows[9], rows[19])] == [
        (None, "missing", None)
    ] * 2
    assert {(r["activity"], r["verdict"]) for r in rows[20:]} == {(None, "failed")} and made.run.n_failed == 4
    with pytest.raises(EngineError, match="all 9 requests failed"):
        dead = Dies(None, lambda r: Generation(r.key, error="x", finish_reason="error"))
        label.label_events(few, MODELS["rules-plain"], replace(asking, open_with=lambda: dead), store)


HOSTILE = ('=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\tx", " =1", "'=1", "''-x", 'a "quoted", name\nof lines',
           "'fine'", "\ud800 lone", "plain")  # fmt: skip


def hostile_home(name="hostile", activities=("=cooking", "eating")):
    events = tuple(
        SensorEvent(i, datetime(2026, 3, 1, 7, 0, i), "kitchen", text, "OPENED") for i, text in enumerate(HOSTILE)
    )
    return Session(name, "-2026-03-01", "simulated", dict(enumerate(activities)), events)


@pytest.fixture
def homes(monkeypatch, tmp_path):
    """Data sets without annotation: one of hostile names, one without any activity to answer with."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))

    def entry(name, **more):
        session = hostile_home(name, **more)
        loads = lambda path: Loaded([session], LoadReport(name, path, sessions=[session]))  # noqa: E731
        split = lambda sessions: registry.Split((), tuple(s.session_id for s in sessions))  # noqa: E731
        made = replace(registry.DATASETS["mural"], name=name, load=loads, split=split)
        monkeypatch.setitem(registry.DATASETS, name, made)
        (tmp_path / "home" / "data" / name).mkdir(parents=True)

    entry("hostile")
    entry("nameless", activities=())


def test_hostile_names_run_nothing_and_still_join(homes, store, tmp_path):
    made = label.label_events(whole("hostile", form=FORM), RULES, QUIET, store)
    stream = io.StringIO()
    label.write_csv(made.rows(), stream)
    head, *cells = csv.reader(io.StringIO(stream.getvalue()))
    assert tuple(head) == label.COLUMNS and [as_written(row[4]) for row in cells] == [label.fit(n) for n in HOSTILE]
    assert not [
        cell for row in cells for cell in row if cell.lstrip(" \n")[:1] in ("=", "+", "-", "@", "\t", "\r") and cell
    ]
    truth = [
        {"session": "-2026-03-01", "id": i, "activity": a} for i, a in enumerate(r["activity"] for r in made.rows())
    ]
    for suffix in label.WRITERS:
        tally = label.write_rows(made.rows(), tmp_path / f"h{suffix}")
        found = score_rows(truth, read_rows(tmp_path / f"h{suffix}").rows)
        assert (found["macro_f1"], found["n_events"]) == (1.0, tally["labelled"]) and tally["labelled"] == len(HOSTILE)


@pytest.mark.parametrize("text", [*HOSTILE, "'", "", "''=", "'a", "=", "'=", "\r", "x=1"])
def test_cells_come_back_as_they_were_written(text):
    assert as_written(harmless(text)) == text
    assert harmless(text).lstrip(" \n")[:1] not in ("=", "+", "-", "@", "\t", "\r") or not text


def test_a_home_without_activities_says_where_to_list_them(homes, tmp_path):
    with pytest.raises(DataError, match=r"nameless names no activity.*nameless/home.yaml, under `activities:`"):
        whole("nameless", form=FORM)


def test_unsure_labels_are_left_blank(few, store):
    """One sample: by the probability of its tokens; of unknown probability = not sure. Several: by their agreement."""

    def reply(request):
        text = json.dumps([{"id": i, "activity": name} for i, name in enumerate([*names[:2], "no"])])
        at = text.index(names[1])
        return Generation(request.key, text, "stop", logprobs=json.dumps([[at, at + 1, math.log(0.25)]]))

    names = list(few.sessions["16"].labels.values())
    made = label.label_events(few, RULES, replace(QUIET, open_with=lambda: Dies(None, reply)), store)
    for least, kept in ((None, 2), (0.0, 2), (0.25, 2), (0.26, 1), (1.0, 1)):
        rows = list(label.confident(made, least).rows())[:4]
        assert [row["confidence"] for row in rows] == [1.0, pytest.approx(0.25), None, None]
        assert [row["activity"] for row in rows] == [names[0], names[1] if kept == 2 else None, None, None]
        blank = "ok" if kept == 2 else "unsure"
        assert [row["verdict"] for row in rows] == ["ok", blank, "unknown_label", "missing"]
    silent = label.label_events(few, MODELS["rules-plain"], QUIET, store)
    assert {row["confidence"] for row in silent.rows()} == {None}
    with pytest.raises(EngineError, match=r"no probabilities of tokens.*--samples 5 --temperature"):
        label.confident(silent, 0.5)

    asking = replace(QUIET, n_samples=2)
    place = {a.request.key: a.request.sample_index for a in inference.make_asks(few, RULES, asking)}

    def disagree(request):
        second = names[place[request.key]]
        return Generation(
            request.key, json.dumps([{"id": i, "activity": [names[0], second][i]} for i in (0, 1)]), "stop"
        )

    with Store(store.path.with_name("other.sqlite")) as other:
        several = label.label_events(few, RULES, replace(asking, open_with=lambda: Dies(None, disagree)), other)
    rows = list(label.confident(several, 0.6).rows())[:2]
    assert [(r["activity"], r["confidence"], r["verdict"]) for r in rows] == [
        (names[0], 1, "ok"),
        (None, 0.5, "unsure"),
    ]


def test_the_command_says_how_many_it_left_blank(homes, tmp_path, monkeypatch):
    def reply(request):
        text = json.dumps([{"id": i, "activity": "eating"} for i in range(10)])
        return Generation(request.key, text, "stop", logprobs=json.dumps([[0, 40, -1.0]]) if request.logprobs else "")

    asked = Dies(None, reply)
    monkeypatch.setattr(inference, "open_model", lambda model, asking: asked)
    monkeypatch.setattr("llmhar.run.ready.model_problems", lambda *_: [])
    call = ("label", "hostile", "--model", "smollm2-135m", "--engine", "openai", "--max-tokens", 50)
    out = tmp_path / "o.csv"
    summary = json.loads(invoke(*call, "--min-confidence", 0.5, "--out", out, "--json").stdout)
    assert (summary["rows"], summary["labelled"], summary["unsure"]) == (12, 10, 2), "the first item of each answer"
    shown = invoke(*call, "--min-confidence", 0.5)
    assert "2 of 12 labels left blank: less sure than 0.5" in shown.stderr and shown.stdout == out.read_text()
    assert asked.asked == 2, "the second call was answered by the store"
    assert invoke(*call).stdout.count("unsure") == 0 and asked.asked == 4, "without it nothing has changed"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "rules"), "rules gives no confidence.*leave --min-confidence away"),
        (("--model", "rules", "--samples", 3), "rules gives no confidence"),
        (("--model", "smollm2-135m", "--engine", "recorded"), "recorded gives .* no probabilities.*--samples 5"),
        (("--model", "smollm2-135m", "--samples", 3, "--temperature", 0), "all samples agree: give --temperature"),
    ],
)  # fmt: skip
def test_a_threshold_that_cannot_be_had_stops_before_any_work(homes, tmp_path, more, words):
    done = invoke("label", "hostile", "--min-confidence", 0.5, *more)
    assert isinstance(done.exception, NotReady) and re.search(words, str(done.exception)) and not done.stdout
    assert not (tmp_path / "home" / "store.sqlite").exists()
    assert invoke("label", "hostile", "--model", "rules", "--min-confidence", 1.5).exit_code == 2


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_writes_resumes_and_scores(homes, tmp_path):
    out = tmp_path / "out.jsonl"
    first, again = (
        json.loads(invoke("label", "hostile", "--model", "rules", "--out", out, "--json").stdout) for _ in "12"
    )
    same = {
        "out": str(out),
        "rows": 12,
        "sessions": 1,
        "labelled": 12,
        "model": "rules",
        "dataset": "hostile",
        "failed": 0,
    }
    for summary, asked in ((first, 2), (again, 0)):
        assert same.items() <= summary.items() and (summary["asked"], summary["from_store"]) == (asked, 2 - asked)
    shown = invoke("label", "hostile", "--model", "rules")
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert (
        len(rows) == 12
        and "12 of 12 events in 1 session(s) labelled by rules (2 answers from the store" in shown.stderr
    )
    failed = invoke("score", "hostile", out)  # nothing is annotated
    assert "none of its events has an activity" in str(failed.exception)
    assert json.loads(invoke("score", out, out, "--json").stdout)["macro_f1"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("hostile", "--model", "rules", "--out", "x.xlsx"), WrongCall, "no table ends in '.xlsx'; choose one of"),
        (("hostile", "--model", "rules", "--out", "."), WrongCall, "is a folder"),
        (("hostile", "--model", "nobody"), KeyError, "nobody"),
        (("nothing", "--model", "rules"), WrongCall, "no data set 'nothing'"),
        (("hostile", "--model", "qwen3-32b", "--engine", "transformers"), NotReady, "models fetch qwen3-32b"),
        (("nameless", "--model", "rules"), DataError, "home.yaml"),
        (("hostile", "--model", "rules", "--wording", "odd"), ValueError, "unknown wording 'odd'"),
        (("hostile", "--model", "rules", "--answer", "odd"), ValueError, "unknown answer style 'odd'"),
    ],
)  # fmt: skip
def test_a_wrong_call_stops_before_any_work(homes, tmp_path, arguments, error, words):
    done = invoke("label", *arguments)
    assert isinstance(done.exception, error) and words in str(done.exception) and not done.stdout
    assert not (tmp_path / "home" / "store.sqlite").exists() or words.startswith("models")


def test_json_without_a_file_is_a_wrong_call(homes):
    done = invoke("label", "hostile", "--model", "rules", "--json")
    assert done.exit_code == 2 and "--out FILE" in done.stderr


def test_tokens_by_the_model_s_kind():
    qwen, small = MODELS["qwen3-32b"], MODELS["smollm2-135m"]
    given = [(qwen, "auto", None), (qwen, "auto", False), (small, "auto", None), (qwen, "openai", False)]
    assert [label.tokens_for(*each) for each in given] == [8192, 400, 400, 8192]


def test_counting_changes_no_row():
    rows = [{"verdict": "ok", "activity": "x"}, {"verdict": "failed", "activity": None}]
    tally = Counter()
    assert list(label.counted(rows, tally)) == rows and tally == {"ok": 1, "failed": 1, "labelled": 1}
