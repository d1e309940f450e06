"""The store: exactly once, keyed by content, whole after any kill."""

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llmhar.ask.store import FORMAT, Ask, Store, StoreError
from llmhar.ask.stored import PassCost
from llmhar.records import Fingerprint, Generation, Request, Sampling, canonical_json

CPU = Fingerprint("vllm", "1", "bfloat16", "cpu")
GPU = Fingerprint("vllm", "1", "bfloat16", "cuda:A100")


def request(text="hello", **changes):
    return Request("model", "rev", "tok", ({"role": "user", "content": text},), **changes)


def ask(made, window=0, model="m"):
    return Ask("data", "01", window, model, made)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def test_a_success_is_found_whole(store):
    made = request(sampling=Sampling(temperature=0.6, seed=3), schema={"type": "array"})
    store.note_asks([ask(made)])
    generation = Generation(made.key, "<think>a</think>[…] \x00 é", "stop", "", 10, 4, 7, 1.5)
    assert store.add(generation, CPU)
    assert store.find([made.key]) == {made.key: (generation, CPU)}
    assert store.request(made.key) == made


def test_what_requests_share_stands_once(store):
    system = "a long static text " * 200
    made = [
        Request("m", "r", "t", ({"role": "system", "content": system}, {"role": "user", "content": f"window {n}"}),
                schema=schema, sample_index=sample, logprobs=n == 1)
        for n in range(5) for sample in (0, 1) for schema in (None, {"type": "array", "maxItems": 3})
    ]  # fmt: skip
    store.note_asks(ask(one, n) for n, one in enumerate(made))
    assert [store.request(one.key) for one in made] == made
    assert [store.request(one.key).key for one in made] == [one.key for one in made]
    texts = [text for (text,) in store._db.execute("SELECT json FROM parts")]
    assert sum(system in text for text in texts) == 1 and len(texts) == 2 + 1 + 5 + 2 * 2
    (longest,) = store._db.execute("SELECT max(length(request)) FROM requests").fetchone()
    assert longest < 40
    (number,) = store._db.execute("SELECT id FROM parts WHERE json = '\"window 3\"'").fetchone()
    store._db.execute("DELETE FROM parts WHERE id = ?", (number,))
    with pytest.raises(StoreError, match=r"a part of request .* is missing"):
        [store.request(one.key) for one in made]


def test_requests_that_an_older_llmhar_wrote_whole_are_read_and_become_short(store, monkeypatch):
    old, other = request("old", schema={"type": "array"}, sampling=Sampling(seed=4)), request("another")
    for one in (old, other):
        row = (one.key, canonical_json(one.to_json()))
        store._db.execute("INSERT INTO requests VALUES (?, ?)", row)
    assert store.request(old.key) == old and not store._has("parts")
    store.add(Generation(old.key, "its answer", "stop"), CPU)
    with monkeypatch.context() as patch:  # killed in the middle: nothing has changed
        patch.setattr(Store, "_row", lambda self, one, places: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.note_asks([ask(old)])
    assert store.request(old.key) == old and not store._has("parts")
    store.note_asks([ask(old)])
    rows = dict(store._db.execute("SELECT key, request FROM requests"))
    assert rows[old.key].startswith("[") and rows[other.key].startswith("{")
    assert store.request(old.key) == old and store.request(other.key) == other
    assert store.find([old.key])[old.key].generation.text == "its answer"
    store.note_asks([ask(old)])
    assert dict(store._db.execute("SELECT key, request FROM requests")) == rows


def test_how_likely_an_answer_was_stands_beside_it(store):
    plain, sure = request("plain"), request("sure", logprobs=True)
    store.note_asks([ask(plain), ask(sure)])
    store.add(Generation(plain.key, "a", "stop"), CPU)
    assert not store._has("logprobs"), "made with its first row: an older llmhar goes on writing into a shared store"
    made = Generation(sure.key, "b", "stop", logprobs="[[0,1,-0.5]]")
    assert store.add(made, CPU) and not store.add(replace(made, logprobs="[[0,1,-9]]"), CPU)
    assert store.add(replace(made, text="c", logprobs=""), GPU)
    assert store.find([plain.key, sure.key]) == {
        plain.key: (Generation(plain.key, "a", "stop"), CPU), sure.key: (made, CPU)
    }  # fmt: skip
    assert store.find([sure.key], GPU)[sure.key].generation == Generation(sure.key, "c", "stop")
    assert store.request(sure.key) == sure
    with sqlite3.connect(store.path) as older:  # as an llmhar without this table writes
        older.execute(
            "INSERT INTO attempts SELECT NULL, request_key, 'older', text, finish_reason, error, 1, 1, 1, 1, NULL, 1, 0"
            " FROM attempts WHERE request_key = ?",
            (plain.key,),
        )
    assert store.counts()["successes"] == 4 and store._db.execute("PRAGMA user_version").fetchone() == (FORMAT,)


@pytest.mark.parametrize("change", [
    "text = replace(text, 'cook', 'rook')", "text = CAST(x'ff' || text AS TEXT)", "text = x'00'", "seconds = 2",
    "finish_reason = 'length'", "output_tokens = 8", "output_tokens = 'x'", "fingerprint = '{\"engine\":'",
    "fingerprint = replace(fingerprint, 'vllm', 'vlln')",
])  # fmt: skip
def test_an_answer_whose_letters_changed_is_told_never_read_and_asked_anew(store, change, capsys):
    made, other = request(), request("other")
    store.note_asks([ask(made), ask(other)])
    answer, kept = Generation(made.key, "cook", "stop", "", 1, 2, 3, 1.5), Generation(other.key, "read", "stop")
    store.add(answer, CPU), store.add(kept, CPU)
    store._db.execute(f"UPDATE attempts SET {change} WHERE request_key = ?", (made.key,))
    assert store.find([made.key, other.key]) == {other.key: (kept, CPU)}
    assert f"1 of the answers in {store.path} damaged" in capsys.readouterr().err
    assert "run again: what is missing is asked anew" in store.failures([made.key])[made.key]
    assert store.counts() == {"requests": 2, "successes": 1, "failures": 1, "asks": 2, "runs": 0}
    assert store.attempts([made.key])
    assert store.add(answer, CPU) and store.find([made.key])[made.key] == (answer, CPU)
    assert not capsys.readouterr().err


def test_how_likely_an_answer_was_is_part_of_its_checksum(store, capsys):
    made = request(logprobs=True)
    store.note_asks([ask(made)])
    store.add(Generation(made.key, "b", "stop", logprobs="[[0,1,-0.5]]"), CPU)
    store._db.execute("UPDATE logprobs SET tokens = '[[0,1,-0.6]]'")
    assert store.find([made.key]) == {} and "damaged" in capsys.readouterr().err


def test_answers_without_a_checksum_are_read_as_they_are(store, capsys):
    made = request()
    store.note_asks([ask(made)])
    store.add(Generation(made.key, "of an older llmhar", "stop"), CPU)
    store._db.execute("DROP TABLE sums")
    assert store.find([made.key])[made.key].generation.text == "of an older llmhar" and not capsys.readouterr().err
    store.add(Generation(made.key, "of a GPU", "stop"), GPU)
    assert store.find([made.key])[made.key].generation.text == "of an older llmhar"
    assert store.find([made.key], GPU)[made.key].generation.text == "of a GPU"
    store._db.execute("UPDATE attempts SET text = CAST(x'ff' AS TEXT) WHERE id = 1")  # but never what is no text
    assert store.find([made.key])[made.key].generation.text == "of a GPU"


def test_a_damaged_answer_in_a_store_that_cannot_be_written_is_left_out(store, capsys):
    made = request()
    store.note_asks([ask(made)])
    store.add(Generation(made.key, "cook", "stop"), CPU)
    store._db.execute("UPDATE attempts SET text = 'rook'")
    store._db.execute("PRAGMA query_only = ON")
    for _ in range(2):
        assert store.find([made.key]) == {} and "damaged" in capsys.readouterr().err


def test_one_success_per_request_and_fingerprint(store):
    made = request()
    store.note_asks([ask(made)])
    assert store.add(Generation(made.key, "first", "stop"), CPU)
    assert not store.add(Generation(made.key, "second", "stop"), CPU)
    assert store.add(Generation(made.key, "from a GPU", "stop"), GPU)
    assert store.find([made.key])[made.key].generation.text == "first"
    assert store.find([made.key], GPU)[made.key].generation.text == "from a GPU"
    assert store.find([made.key], Fingerprint("vllm", "2", "bfloat16", "cpu")) == {}
    assert store.counts()["successes"] == 2


def test_failures_keep_their_reason_and_do_not_count_as_answers(store):
    made = request()
    store.note_asks([ask(made)])
    for reason in ("out of memory", "killed"):
        store.add(Generation(made.key, error=reason, finish_reason="error"), CPU)
    assert store.find([made.key]) == {}
    assert store.failures([made.key]) == {made.key: "killed"}
    assert store.counts()["failures"] == 2
    store.add(Generation(made.key, "at last", "stop"), CPU)
    assert store.failures([made.key]) == {}


def test_noting_twice_changes_nothing(store):
    store.note_asks([ask(request()), ask(request())])
    store.note_asks([ask(request())])
    assert store.counts() == {"requests": 1, "successes": 0, "failures": 0, "asks": 1, "runs": 0}


def test_an_answer_to_an_unknown_request_is_refused(store):
    with pytest.raises(StoreError, match="never noted"):
        store.add(Generation("0" * 64, "x", "stop"), CPU)


def test_lone_surrogates_are_stored_readably(store):
    made = request()
    store.note_asks([ask(made)])
    store.add(Generation(made.key, "bad \ud800 text", "stop"), CPU)
    assert store.find([made.key])[made.key].generation.text == "bad ? text"


def test_another_format_and_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="format 99"):
        Store(path)
    path.write_bytes(b"this is no database, but a text of some length" * 10)
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(path)


def test_a_run_is_kept_whole(store):
    assert store.add_run({"notebook": "02", "params": {"a": 1}}) == 1
    assert store.counts()["runs"] == 1


def _write_all(path, n, order):
    with Store(path) as store:
        requests = [request(f"q{i}") for i in range(n)]
        random.Random(order).shuffle(requests)
        store.note_asks(ask(made) for made in requests)
        for made in requests:
            store.add(Generation(made.key, made.messages[0]["content"], "stop"), CPU)


def test_four_processes_share_a_store(tmp_path):
    path, n = tmp_path / "store.sqlite", 500
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_all, args=(path, n, order)) for order in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    with Store(path) as store:
        assert store.counts() == {"requests": n, "successes": n, "failures": 0, "asks": n, "runs": 0}
        found = store.find([request(f"q{i}").key for i in range(n)])
        assert {stored.generation.text for stored in found.values()} == {f"q{i}" for i in range(n)}


RUN = """
import sys
from pathlib import Path
from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.score import tables
from llmhar.text.prompt import PromptForm

task = prepare("simulated", Path(sys.argv[1]) / "home", PromptForm(answer="name"), Windowing(n=8))
model = MODELS["recorded-smoke"]
with Store(Path(sys.argv[1]) / "store.sqlite") as store:
    asks = inference.make_asks(task, model)
    print("go", flush=True)
    asking = Asking(open_with=lambda: RecordedEngine(sys.argv[2]), progress=False)
    inference.run_asks(asks, model, store, asking)
    result = tables.score_answers(task, model, inference.collect(asks, store))
    assert store.counts()["successes"] == len({a.request.key for a in asks}), store.counts()
for table in (tables.score_table, tables.session_table, tables.verdict_table):
    sys.stdout.write(table([result]).to_csv())
"""


def _run(folder: Path, replies: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, folder, replies], stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(400)
def test_killed_at_random_points_and_run_again_gives_the_same_tables(tmp_path):
    """Kill -9 in the middle of generation, over and over on one store; then finish and compare with an unkilled run."""
    from llmhar import paths
    from llmhar.data import simulated

    text = (paths.params() / "recorded" / "recorded-smoke.jsonl").read_text()
    slow = tmp_path / "slow.jsonl"
    slow.write_text(
        text.replace('"match"', '"delay_s": 0.02, "match"').replace('"default"', '"delay_s": 0.02, "default"')
    )
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    for folder in ("killed", "whole"):
        simulated.write(tmp_path / folder / "home", seed=0)
    dice, stored = random.Random(5), []
    for _ in range(8):  # `make bench ONLY=faults` does it 110 times
        run = _run(tmp_path / "killed", slow)
        assert run.stdout.readline() == "go\n"
        time.sleep(dice.uniform(0.0, 0.08))
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        with Store(tmp_path / "killed" / "store.sqlite") as store:
            stored.append(store.counts()["successes"])
    assert stored == sorted(stored), "an answer that was stored got lost"
    assert stored[-1] > stored[0]
    resumed = _run(tmp_path / "killed", slow).communicate()[0]
    whole = _run(tmp_path / "whole", slow).communicate()[0]
    assert len(whole.splitlines()) > 10 and resumed == whole


def test_a_pass_keeps_its_cost_once_it_has_ended(store):
    asks = [ask(request(f"q{i}"), window=i) for i in range(4)]
    store.note_asks(asks)
    keys = [made.request.key for made in asks]
    first, killed = store.begin_pass(), store.begin_pass()
    for key, number in zip(keys, (first, first, first, killed)):
        store.add(Generation(key, "x", "stop"), CPU, number)
    store.end_pass(first, {"n_asked": 3, "seconds": 6.0, "output_tokens": 30, "joules": None})
    assert store.costs(keys, CPU) == [PassCost(3, 3, 6.0, 30, None)]
    assert store.costs(keys[:2], CPU) == [PassCost(2, 3, 6.0, 30, None)]
    assert store.costs(keys[3:], CPU) == [] and store.costs(keys, GPU) == []
    store.end_pass(first, {"n_asked": 0, "seconds": 0.0, "output_tokens": 0, "joules": None})
    store.end_pass(killed, {"n_asked": 1, "seconds": 1.0, "output_tokens": 9, "joules": 2.0, "peak_bytes": 7,
                           "counters": ("gpu0",), "threads": 2})  # fmt: skip
    assert store.costs(keys[3:], CPU) == [PassCost(1, 1, 1.0, 9, 2.0, 7, ["gpu0"], 2)]
    assert store.costs(keys, CPU)[0].seconds == 6.0, "a pass's cost is never overwritten"


def test_a_disk_that_refuses_is_a_clear_error(store):
    store._db.execute("PRAGMA query_only = 1")  # as a read-only folder or a full disk would
    with pytest.raises(StoreError, match=r"cannot write to the store .*store.sqlite"):
        store.note_asks([ask(request())])


def _open_and_close(path):
    for _ in range(20):
        Store(path).close()


def test_many_processes_may_open_a_new_store_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    openers = [spawn.Process(target=_open_and_close, args=(tmp_path / "s.sqlite",)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(120)
    assert [opener.exitcode for opener in openers] == [0] * 4


def test_notes_keep_every_version_and_show_the_latest(store):
    made, other = request(), request("other")
    store.note_asks([ask(made), ask(other)])
    assert store.notes() == []
    first = store.add_note(made.key, [" odd ", "odd", "", "two  words"], " Why? ")
    assert (first.key, first.tags, first.text) == (made.key, ("odd", "two words"), "Why?")
    store.add_note(other.key[:16], ["other"], "=1+1")
    second = store.add_note(made.key, ["sure"], "Because.")
    assert second.created_utc == first.created_utc <= second.updated_utc
    assert [(note.key, note.text) for note in store.notes()] == [(made.key, "Because."), (other.key, "=1+1")]
    assert store.notes([other.key]) == [store.notes()[1]] and store.notes([]) == []
    shown = second.to_json()
    assert shown["k"] == made.key[:16] and shown["tags"] == ["sure"] and shown["at"].endswith("+00:00")
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT text FROM notes ORDER BY id").fetchall() == [("Why?",), ("=1+1",), ("Because.",)]


def test_an_empty_note_takes_the_note_back(store):
    made = request()
    store.note_asks([ask(made)])
    store.add_note(made.key, ["odd"], "Why?")
    assert store.add_note(made.key, [" "], " ").tags == ()
    assert store.notes() == []


@pytest.mark.parametrize(
    ("key", "tags", "text", "message"),
    [
        ("0" * 64, [], "x", "no requests"),
        ("", [], "x", "no requests"),
        ("%", [], "x", "no requests"),
        (None, [], "x" * 10_001, "shorten"),
        (None, ["t" * 61], "", "shorten"),
        (None, [str(i) for i in range(21)], "", "shorten"),
    ],
)
def test_notes_that_cannot_be_kept(store, key, tags, text, message):
    made = request()
    store.note_asks([ask(made)])
    with pytest.raises(StoreError, match=message):
        store.add_note(made.key if key is None else key, tags, text)
    assert store.notes() == []


def test_notes_hold_any_text(store):
    made = request()
    store.note_asks([ask(made)])
    note = store.add_note(made.key, ["<b>\ud800", "'; DROP TABLE notes; --"], "a\x00b\n\ud83d </script>")
    assert note.tags == ("<b>?", "'; DROP TABLE notes; --") and note.text == "a\x00b\n? </script>"
    assert store.notes() == [note]


def test_a_store_from_before_there_were_notes(tmp_path):
    """The table comes with the first note; reading alone changes nothing."""
    made = request()
    with Store(tmp_path / "s.sqlite") as store:
        store.note_asks([ask(made)])

    def tables():
        with sqlite3.connect(tmp_path / "s.sqlite") as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert "notes" not in tables()
    with Store(tmp_path / "s.sqlite") as store:
        assert store.notes() == [] and "notes" not in tables()
        store.add_note(made.key, [], "first")
    with Store(tmp_path / "s.sqlite") as store:
        assert "notes" in tables() and [note.text for note in store.notes()] == ["first"]
        assert store._db.execute("PRAGMA user_version").fetchone() == (FORMAT,)


def test_a_read_only_connection_reads_notes(tmp_path):
    made = request()
    with Store(tmp_path / "s.sqlite") as store:
        store.note_asks([ask(made)])
    with Store(tmp_path / "s.sqlite") as store:
        store._db.execute("PRAGMA query_only = ON")
        assert store.notes() == []
        with pytest.raises(StoreError, match="cannot write"):
            store.add_note(made.key, [], "x")


def test_requests_that_are_here_are_not_serialised_again(tmp_path, monkeypatch):
    asks = [Ask("d", "s", i, "m", request(f"question {i}")) for i in range(700)]
    with Store(tmp_path / "store.sqlite") as store:
        store.note_asks(asks[:600])
        written = []
        whole = Store._row
        monkeypatch.setattr(Store, "_row", lambda *given: written.append(1) or whole(*given))
        store.note_asks(asks)
        assert len(written) == 100
        assert store.counts()["requests"] == store.counts()["asks"] == 700
