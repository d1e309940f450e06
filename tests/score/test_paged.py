"""Long evaluations are read page by page: the same results as short ones, and only a page and what is asked is held."""

import gc
import json
from dataclasses import replace
from itertools import chain

import pytest

from llmhar.ask import inference, pages
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Ask, Store, StoreError
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation, Request
from llmhar.score import evaluate as evaluation
from llmhar.score import tables
from llmhar.text.prompt import PromptForm
from llmhar.traces import bundle, export
from tests.opened import Opened

RULES = MODELS["rules"]
TABLES = (tables.score_table, tables.session_table, tables.verdict_table, tables.reading_table)


class Odd(Opened):
    """Answers each event with a label of its own, and fails where the key says so; takes one request at a time."""

    def __init__(self, version="1"):
        self.version, self.asked, self.most = version, [], 0

    def fingerprint(self):
        return Fingerprint("odd", self.version, "", "")

    def stream(self, requests):
        for request in requests:
            self.asked.append(request.key)
            self.most = max(self.most, sum(isinstance(thing, Request) for thing in gc.get_objects()))
            number = int(request.key[:4], 16)
            if number % 7 == 0:
                yield Generation(request.key, "", "error", "no")
            else:
                items = [{"id": i, "activity": (number + i) % 9} for i in range(10 - number % 3)]
                yield Generation(request.key, f"<think>why</think>{json.dumps(items)}", "stop", "", 9, 0, 9, 1.0)


@pytest.fixture(scope="module")
def tasks(simulated_home):
    whole = prepare("simulated", simulated_home, windowing=Windowing(n=6), form=PromptForm(answer="number"))
    return [replace(whole, windows=whole.windows[:17]), replace(whole, dataset="other", windows=whole.windows[17:])]


@pytest.fixture
def by_pages(monkeypatch):
    """Any evaluation is a long one, with pages of five."""
    monkeypatch.setattr(evaluation, "LISTED", 0)
    monkeypatch.setattr(pages, "PAGE", 5)
    monkeypatch.setattr(inference, "PAGE", 5)


def evaluated(tasks, path, engine, **options):
    asking = Asking(progress=False, open_with=lambda: engine, n_samples=2, **options)
    with Store(path) as store:
        return evaluation.evaluate(tasks, [RULES], asking, store)


def plain(result):
    return (
        (list(result.answers), list(result.readings), [score.to_json() for score in result.sessions]),
        (dict(result.verdicts), result.n_failed, result.fingerprints, result.generations, result.asked_revision),
    )


def test_a_long_evaluation_is_a_short_one_read_by_pages(tasks, tmp_path, request):
    first, second = Odd(), Odd()
    listed = evaluated(tasks, tmp_path / "a.sqlite", first)
    request.getfixturevalue("by_pages")
    paged = evaluated(tasks, tmp_path / "b.sqlite", second)
    assert [isinstance(made.results[0].answers, pages.Paged) for made in (listed, paged)] == [False, True]
    assert first.asked == second.asked and listed.runs[0].n_asked == paged.runs[0].n_asked == len(first.asked)
    for one, other in zip(chain(*listed.samples), chain(*paged.samples)):
        assert plain(one) == plain(other)
        assert one.answers[-1] == other.answers[-1] and list(one.readings[3:9]) == other.readings[3:9]
        for table in TABLES:
            assert table([one]).equals(table([other]))
    assert any(result.n_failed for sample in paged.samples for result in sample)
    assert str(listed.results[0].sessions) == str(paged.results[0].sessions)
    with pytest.raises(IndexError):
        paged.results[0].readings[len(tasks[0].windows)]


def test_only_what_is_missing_is_asked_and_an_exact_engine_counts_alone(tasks, tmp_path, by_pages):
    path = tmp_path / "s.sqlite"
    evaluated(tasks[:1], path, Odd())
    again = Odd()
    made = evaluated(tasks, path, again)
    with Store(path) as store:
        failed = store.counts()["failures"]
    assert made.runs[0].n_from_store > 0 and len(again.asked) == made.runs[0].n_asked < made.runs[0].n_asks
    assert failed > made.runs[0].n_failed > 0  # those that failed before were tried again
    exact = evaluated(tasks, path, other := Odd("2"), exact=True)
    assert len(other.asked) == made.runs[0].n_asks
    assert {answer.stored.fingerprint.version for answer in exact.results[0].answers if answer.stored} == {"2"}


def test_requests_are_made_on_the_way(tasks, tmp_path, by_pages):
    gc.collect()
    before = sum(isinstance(thing, Request) for thing in gc.get_objects())
    evaluated(tasks, tmp_path / "s.sqlite", engine := Odd())
    assert len(engine.asked) > 60 and engine.most - before <= 8  # a window's samples, and the last page's ask


def test_a_store_that_is_gone_is_said(tasks, tmp_path, by_pages):
    path = tmp_path / "home" / "s.sqlite"
    made = evaluated(tasks, path, Odd())
    readings, file = made.results[0].readings, path.read_bytes()
    for part in path.parent.iterdir():
        part.unlink()
    path.write_bytes(b"no store" + file)
    with pytest.raises(StoreError, match=r"s\.sqlite"):
        list(readings)


def test_an_answer_nobody_asked_for_is_not_stored(tmp_path, capsys):
    asks = [Ask("d", "s", i, "rules", Request("m", "r", "", ({"role": "user", "content": str(i)},))) for i in range(3)]
    twice = Odd()
    twice.stream = lambda requests: (
        made for r in requests for made in [Generation(r.key, "x", "stop")] * 2 + [Generation("f" * 64, "x", "stop")]
    )
    with Store(tmp_path / "s.sqlite") as store:
        done = inference.run_asks(asks, RULES, store, Asking(progress=False, open_with=lambda: twice))
        assert (done.n_asked, done.n_failed, store.counts()["successes"]) == (3, 0, 3)
    assert capsys.readouterr().err.count("nobody asked for") == 6


def test_traces_go_out_by_pages(tasks, tmp_path, by_pages, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    for module in (bundle, export):
        monkeypatch.setattr(module, "PAGE", 5)
    results = evaluated(tasks, tmp_path / "s.sqlite", Odd()).results
    n = sum(len(task.windows) for task in tasks)
    assert export.write_jsonl(results, tmp_path / "t.jsonl") == export.write_parquet(results, tmp_path / "t.pq") == n
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == list(export.trace_rows(results)) == pyarrow.read_table(tmp_path / "t.pq").to_pylist()
    made = bundle.build_bundle(results)
    assert len(made["windows"]) == n and bundle.unpack(bundle.pack(made)) == made
    assert bundle.unpack(bundle.pack(made | {"windows": []}))["windows"] == []
