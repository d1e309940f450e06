"""What servers' answers cost: said before, counted, and kept below a limit; and how long servers ask to wait."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from email.utils import formatdate

import openai
import pytest

from llmhar.ask import inference, spending
from llmhar.ask.asking import Asking
from llmhar.ask.engines import openai as engine
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.completions import wished_wait
from llmhar.ask.models import MODELS, Prices
from llmhar.ask.spending import LEDGER, LIMIT, LimitReached
from llmhar.ask.store import Ask, Store
from llmhar.records import Generation, Sampling
from llmhar.run.publish import cost_rows
from llmhar.score import cost_tables, tables
from tests.ask.engines import test_openai
from tests.ask.engines.test_contract import answers, ask
from tests.ask.engines.test_openai import MODEL, completion, one, opened

server = test_openai.server
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
EACH = (1000 * 1.0 + 100 * 10.0) / 1e6
"""US dollars of such an answer of MODEL."""


@pytest.fixture(autouse=True)
def purse(tmp_path, monkeypatch):
    """A run's own file, and a fresh process."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    monkeypatch.setenv(LEDGER, str(tmp_path / "spent.txt"))
    monkeypatch.delenv(LIMIT, raising=False)
    monkeypatch.setattr(spending, "_spent_here", {})
    return tmp_path / "spent.txt"


def total(purse) -> float:
    return spending._Ledger(str(purse)).total()


def run(server, store, n=12, **options):
    asks = [Ask("d", "s", i, "served", ask("x", seed=i)) for i in range(n)]
    with opened(server, **options) as opened_engine:
        asking = Asking(open_with=lambda: contextlib.nullcontext(opened_engine), progress=False)
        return inference.run_asks(asks, MODEL, store, asking)


def test_an_estimate_stands_before_the_first_request(server, tmp_path, capsys):
    server.replies = [(200, completion(usage=USAGE))]
    with Store() as store:
        done = run(server, store)
    said = capsys.readouterr().err
    assert "before the first request to 127.0.0.1" in said and "served: 12 requests, about" in said
    assert done.expected.n_requests == 12 and done.expected.most_tokens == 12 * 12 == done.expected.output_tokens
    assert done.cost.usd == pytest.approx(12 * EACH) and done.cost.prompt_tokens == 12_000
    shown = cost_tables.run_table([done]).iloc[0]
    assert shown["USD paid"] == "0.0240" and shown["tokens used"] == 13_200 and float(shown["USD expected"]) > 0


def test_an_estimate_knows_modes_and_says_what_it_does_not_know():
    qwen, window = MODELS["qwen3-32b"], ({"role": "user", "content": "x" * 4000},)
    for thinking, about in ((None, 3000), (False, 300)):
        asking = Asking(Sampling(max_tokens=8192), thinking=thinking, engine="openai")
        made = spending.estimate([inference.request_to(qwen, asking)(messages=window)] * 2, qwen)
        assert made[1:5] == (2, 2000, 2 * about, 2 * 8192) and made.usd is None
        assert "what they cost is not known: the model's entry has no prices" in str(made)
    dear = spending.estimate([ask("x" * 400, max_tokens=1000)], MODEL)
    assert dear.usd == pytest.approx((dear.prompt_tokens + 300 * 10) / 1e6, rel=0.01)
    assert f"about ${dear.usd:.4f}, at most ${dear.most_usd:.4f}" in str(dear)


@pytest.mark.parametrize("at_once", [1, 5])
def test_a_limit_ends_a_run_and_more_resumes_it(server, purse, monkeypatch, at_once):
    server.replies = [lambda _: (time.sleep(0.02), (200, completion(usage=USAGE)))[1]]
    monkeypatch.setenv(LIMIT, str(5.5 * EACH))
    with Store() as store:
        with pytest.raises(LimitReached, match=r"limit of \$0.011 \(--max-usd\) is reached, \$0.0100 are") as said:
            run(server, store, max_num_seqs=at_once)
        assert "every answer is stored: run again, with more" in str(said.value) and "5 of 12" in str(said.value)
        assert len(server.asked) == 5 == store.counts()["successes"] and store.counts()["failures"] == 0
        assert total(purse) == pytest.approx(5 * EACH) and server.most_at_once <= at_once
        with pytest.raises(LimitReached):
            run(server, store)
        assert len(server.asked) == 5, "the same run has nothing left"
        monkeypatch.setenv(LEDGER, str(purse.with_name("next.txt")))
        monkeypatch.setenv(LIMIT, "1")
        done = run(server, store)
    assert (done.n_asked, done.n_from_store, len(server.asked)) == (7, 5, 12)
    assert total(purse.with_name("next.txt")) == pytest.approx(7 * EACH)
    assert spending.spent_here()["served"].n_requests == 12


def test_a_limit_is_of_all_processes_of_a_run(server, purse, monkeypatch):
    other = spending._Ledger(str(purse))
    other.add("another", 0.5)
    monkeypatch.setenv(LIMIT, "0.5")
    with Store() as store, pytest.raises(LimitReached, match="0 of 12"):
        run(server, store)
    assert server.asked == []
    other.add("another", -0.1)
    assert other.total() == pytest.approx(0.4) == total(purse)


def test_a_limit_learns_what_answers_take(server, purse, monkeypatch):
    """Rising costs: what is sent is judged by the dearest answer so far, and failures take nothing."""
    uses = iter(range(1, 100))
    server.replies = [
        lambda _: (200, completion(usage={"prompt_tokens": 1000 * next(uses), "completion_tokens": 0})),
        lambda _: (400, b"no"),
        lambda _: (200, completion(usage={"prompt_tokens": 1000 * next(uses), "completion_tokens": 0})),
    ]
    monkeypatch.setenv(LIMIT, "0.0125")  # 1 + 2 + 3 + 4 thousandths; a fifth may take 4
    with Store() as store, pytest.raises(LimitReached, match="5 of 12"):
        run(server, store, max_num_seqs=1)
    assert total(purse) == pytest.approx(0.010) and len(server.asked) == 5


def test_what_costs_nothing_is_not_held_back(server, monkeypatch):
    monkeypatch.setenv(LIMIT, "0.001")
    server.replies = [lambda _: (time.sleep(0.1), (200, completion()))[1]]
    free = MODEL.model_copy(update={"prices": Prices(input_usd=0, output_usd=0, as_of="own server")})
    with opened(server, free, max_num_seqs=3) as opened_engine:
        assert all(g.ok for g in answers(opened_engine, [ask("x", seed=n) for n in range(7)]))
    assert server.most_at_once == 3


def test_a_limit_needs_prices(server, monkeypatch):
    monkeypatch.setenv(LIMIT, "1")
    free = MODEL.model_copy(update={"prices": None})
    with pytest.raises(EngineError, match=r"served has no prices, so --max-usd cannot hold: llmhar models add"):
        one(server, model=free)
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv(LIMIT, wrong)
        with pytest.raises(EngineError, match=f"{LIMIT} must be a number"):
            one(server)


def test_what_is_counted(server, purse):
    """Thinking wherever it stands, refused answers that report tokens, and texts where nothing is reported."""
    reports = [
        {"completion_tokens": 100, "total_tokens": 1600},
        {"completion_tokens": 100, "completion_tokens_details": {"reasoning_tokens": 500}},
        {"completion_tokens": 600, "completion_tokens_details": {"reasoning_tokens": 500}},
    ]
    for n, usage in enumerate(reports, 1):
        server.replies = [(200, completion(usage={"prompt_tokens": 1000, **usage}))]
        assert one(server).output_tokens == 600
        assert total(purse) == pytest.approx(n * (1000 + 600 * 10) / 1e6)
    before = total(purse)
    server.replies = [(200, completion(reason="content_filter", usage=USAGE))]
    assert not one(server).ok and total(purse) == pytest.approx(before + EACH)
    server.replies = [(200, completion("y" * 4000, usage={"prompt_tokens": 0}))]
    assert one(server).ok and total(purse) > before + EACH + 0.0099
    server.replies = [(400, b"no")]
    before = total(purse)
    assert not one(server).ok and total(purse) == before


def test_a_run_begins_and_ends(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT, "7")
    spending.begin(2.5)
    spending._Ledger(file := spending.os.environ[LEDGER]).add("served", 0.25)
    assert spending.end() == "spent: $0.2500 of $2.5 by the tokens that servers reported"
    assert LEDGER not in spending.os.environ and not (tmp_path / file).exists()
    spending.begin(None)
    assert spending.end() == "" and spending.limit_usd() == 2.5


def test_costs_of_shown_and_of_new_answers(simulated_home):
    from llmhar.ask.task import prepare
    from llmhar.data.events import Windowing
    from llmhar.records import Fingerprint

    task = prepare("simulated", simulated_home, windowing=Windowing(n=1))
    with Store() as store:
        asks = inference.make_asks(task, MODEL)
        store.note_asks(asks)
        for each in asks:
            made = Generation(each.request.key, "[]", "stop", prompt_tokens=1000, output_tokens=100)
            store.add(made, Fingerprint("openai", "1", "", "host"))
        result = tables.score_answers(task, MODEL, inference.collect(asks, store))
        rules = tables.score_answers(task, MODELS["rules"], inference.collect(
            inference.make_asks(task, MODELS["rules"]), store))  # fmt: skip
        costs = cost_tables.cost_table([rules, result], store)
        assert "USD" not in cost_tables.cost_table([rules], store)
    n = len({each.request.key for each in asks})
    assert list(costs["USD"]) == ["–", f"{n * EACH:.4f}"]
    (row,) = cost_rows([rules, result])
    assert row["usd"] == pytest.approx(n * EACH) and (row["answers"], row["answers_now"], row["usd_now"]) == (n, 0, 0.0)
    assert row["words"] == f"served: {n} answers, ${n * EACH:.4f} at prices of today; none asked now"
    spending._spent_here["qwen-32b"] = spending.Cost(3, 10, 0, 5, None)
    assert cost_rows([result])[1]["words"] == "qwen-32b: 0 answers, prices not known; 3 asked now"


def test_hosted_models_have_the_tokens_that_their_mode_needs():
    limits, gemini, qwen = Sampling(max_tokens=400, seed=1), MODELS["gemini-2.5-pro"], MODELS["qwen3-32b"]
    hosted = Asking(limits, "hosted", engine="openai")
    for thinking, mode in ((None, "thinking"), (False, "plain")):
        wanted = replace(limits, **qwen.sampling[mode], max_tokens=inference.HOSTED_TOKENS[mode])
        assert inference.sampling_of(qwen, replace(hosted, thinking=thinking)) == wanted
    assert inference.sampling_of(gemini, hosted).max_tokens == 16384 == gemini.max_tokens["plain"]
    small = gemini.model_copy(update={"max_context": 8000})
    assert inference.sampling_of(small, hosted).max_tokens == 4000
    much = replace(hosted, sampling=replace(limits, max_tokens=30_000))
    assert inference.sampling_of(gemini, much).max_tokens == 30_000
    here = MODELS["smollm2-135m"]  # made here: what the notebook says, drawn as its makers recommend
    assert inference.sampling_of(here, hosted) == inference.sampling_of(here, Asking(limits, "model"))
    assert inference.sampling_of(qwen, replace(hosted, engine="vllm")).max_tokens == 400


# How long servers ask to wait.


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2), ({"retry-after": "0.5"}, 0.5), ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "in an hour"}, 3600),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0), ({"retry-after": "soon"}, 0), ({}, 0),
        ({"retry-after": "-3"}, 0), ({"retry-after": "inf"}, 0), ({"retry-after": "nan"}, 0),
    ],
)  # fmt: skip
def test_wished_waits(headers, seconds):
    if seconds == 3600:  # dates are of now, not of when the tests were collected
        headers = {"retry-after": formatdate(time.time() + 3600, usegmt=True)}
    assert wished_wait(headers) == pytest.approx(seconds, abs=90 if seconds == 3600 else 1e-9)


def test_all_requests_wait_as_long_as_one_was_asked_to(server, monkeypatch):
    """Also longer than the openai package would, which gives up above a minute."""
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_AFTER_DELAY", 0.2)
    busy = (429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
    server.replies = [busy, (200, completion())]
    with opened(server, max_num_seqs=2) as opened_engine:
        made = answers(opened_engine, [ask("x", seed=n) for n in range(4)])
    assert all(g.ok for g in made) and len(server.asked) == 5
    late = [t - server.times[0] for t in server.times]
    assert sum(t > 0.95 for t in late) >= 2, "those beside it were under way, no other was sent"


def test_a_date_to_wait_for(server):
    busy = lambda _: (503, b"busy", {"Retry-After": formatdate(time.time() + 2.5, usegmt=True)})  # noqa: E731
    server.replies = [busy, (200, completion())]
    assert one(server).ok and server.times[1] - server.times[0] > 0.9


def test_a_wait_that_is_too_long_is_said_and_nothing_more_is_sent(server):
    server.replies = [(429, {"error": {"message": "quota of the day"}}, {"Retry-After": "7200"})]
    with opened(server, max_num_seqs=1) as opened_engine:
        made = answers(opened_engine, [ask("x", seed=n) for n in range(5)])
    assert len(server.asked) == 1 and engine.LONGEST_WAIT_S == 900
    assert all("quota of the day; it asks to wait 7,200 s: run again then" in g.error for g in made)
