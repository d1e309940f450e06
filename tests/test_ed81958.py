"""What commit ed81958 left on disk is still opened: a store, a student and recorded replies (``fixtures/ed81958``)."""

import json
import sqlite3
from pathlib import Path

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.inference import collect, make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store, StoreError
from llmhar.ask.task import narrow, prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.distill.students import open_student
from llmhar.records import Sampling
from llmhar.score.evaluate import evaluate
from llmhar.text.prompt import PromptForm

KEPT = Path(__file__).parent / "fixtures" / "ed81958"
RULES = MODELS["rules"]
ASKING = Asking(sampling=Sampling(max_tokens=99), progress=False)


@pytest.fixture
def old_store(tmp_path):
    """The store of format 2, as it lay on disk."""
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript((KEPT / "store.sql").read_text(encoding="utf-8"))
    db.close()
    return path


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    whole = prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=1, size=4),
        form=PromptForm(answer="name", wording="short", serializer="sentences", rules=False),
    )
    return narrow(whole, {(w.session_id, w.index) for w in whole.windows[:2]}, "2 windows")


def test_its_answers_are_found_by_the_requests_of_today(old_store, task):
    with Store(old_store) as store:
        evaluation = evaluate(task, ["rules"], ASKING, store)
        assert evaluation.runs[0].n_asked == 0 and evaluation.runs[0].n_from_store == 2
        assert evaluation.results[0].macro_f1.n == 2


def test_purposes_become_a_field_and_nothing_is_lost(old_store):
    with sqlite3.connect(old_store) as db:
        before = db.execute("SELECT text, request_key FROM attempts ORDER BY id").fetchall()
        numbers = [row[0] for row in db.execute("SELECT window_index FROM asks")]
    db.close()
    with Store(old_store) as store:
        asks = store._db.execute("SELECT purpose, request_key FROM asks").fetchall()
        rows = store._db.execute("SELECT purpose, window_index FROM asks ORDER BY window_index").fetchall()
        after = store._db.execute("SELECT text, request_key FROM attempts ORDER BY id").fetchall()
        timed = store._db.execute("SELECT request_key FROM attempts WHERE timed = 1").fetchall()
        notes = store.notes()
    assert sorted(purpose for purpose, _ in rows) == ["probe", "reask", "study", "study", "timed"]
    indices = dict(rows)
    assert indices["probe"] == next(n for n in numbers if 10**9 <= n < 1 << 49) - 10**9
    assert indices["reask"] == next(n for n in numbers if n >= 1 << 49) - (1 << 49)
    assert after == before
    assert timed == [row[1:] for row in asks if row[0] == "timed"]
    assert [note.text for note in notes] == ["a note of format 2"]


def test_timed_answers_do_not_pass_for_others_nor_others_for_them(old_store, task):
    timed = Asking(sampling=Sampling(max_tokens=99), progress=False, purpose="timed")
    with Store(old_store) as store:
        asks = make_asks(task, RULES, timed)
        first = run_asks(asks, RULES, store, timed)
        assert first.n_asked == 2  # the very requests that the study has answers to
        assert run_asks(asks, RULES, store, timed).n_asked == 0
        assert all(answer.stored for answer in collect(asks, store))
        assert run_asks(make_asks(task, RULES, ASKING), RULES, store, ASKING).n_asked == 0
        passes = store.costs([ask.request.key for ask in asks], first.fingerprint, timed=True)
        assert [one.n_here for one in passes] == [2]


def test_a_migration_that_dies_leaves_the_old_store(old_store, monkeypatch):
    from llmhar.ask import store as module

    monkeypatch.setattr(module, "_FROM_FORMAT_2", module._FROM_FORMAT_2 + ";\nINSERT INTO nowhere VALUES (1)")
    before = old_store.read_bytes()
    with pytest.raises(StoreError, match="nowhere"):
        Store(old_store)
    monkeypatch.undo()
    with sqlite3.connect(old_store) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert [row[1] for row in db.execute("PRAGMA table_info(asks)")][-1] == "request_key"
    db.close()
    assert len(before) == old_store.stat().st_size
    with Store(old_store) as store:
        assert store.counts()["successes"] == 5


def test_its_student_opens_with_recipe_examples_and_weights():
    (folder,) = (KEPT / "students").iterdir()
    student = open_student(folder, MODELS["qwen3-tiny"])
    assert student is not None
    assert student.recipe.rank == 1 and student.recipe.method == "lora" and len(student.examples) == 2
    assert student.spec.adapter is not None and student.spec.adapter.sha256 == student.record["weights_sha256"]
    assert len(student.losses) == 2 and len(student.batches) == 2


def test_its_recorded_replies_answer_todays_requests(task):
    asks = make_asks(task, RULES, ASKING)
    engine = RecordedEngine(KEPT / "replies.jsonl")
    replies = [json.loads(line)["text"] for line in (KEPT / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    generations = list(engine.stream([ask.request for ask in asks]))
    assert sorted(generation.text for generation in generations) == sorted(replies)
