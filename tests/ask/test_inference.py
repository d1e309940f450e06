"""The loop: nothing is asked twice, failures are kept, an engine's mistakes do not reach the store."""

from dataclasses import replace

import pytest

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, one_window, prepare
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.score import evaluate as evaluation
from llmhar.score import tables
from llmhar.text.prompt import PromptForm


class Fake:
    """An engine that counts what it is asked and answers what it is told to."""

    def __init__(self, reply=lambda request: Generation(request.key, "[]", "stop"), version="1"):
        self.reply, self.version, self.asked, self.closed = reply, version, [], 0

    def fingerprint(self):
        return Fingerprint("fake", self.version, "", "")

    def stream(self, requests):
        for request in reversed(list(requests)):  # completion order is not the order of asking
            self.asked.append(request.key)
            yield self.reply(request)

    def close(self):
        self.closed += 1

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@pytest.fixture(scope="module")
def task(simulated_home):
    return prepare("simulated", simulated_home, windowing=Windowing(n=2), form=PromptForm(answer="name"))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def run(task, store, fake, **options):
    model, asking = MODELS["rules"], Asking(progress=False, open_with=lambda: fake, **options)
    asks = inference.make_asks(task, model, asking)
    return asks, inference.run_asks(asks, model, store, asking)


def test_everything_is_asked_once_and_then_never_again(task, store):
    first, second = Fake(), Fake()
    asks, done = run(task, store, first)
    assert len(asks) == 12 and sorted(first.asked) == sorted(ask.request.key for ask in asks)
    assert (done.n_asked, done.n_from_store, done.n_failed, first.closed) == (12, 0, 0, 1)
    _, again = run(task, store, second)
    assert (again.n_asked, again.n_from_store, second.asked, second.closed) == (0, 12, [], 0)


def test_exact_engine_asks_again_where_another_version_answered(task, store):
    run(task, store, Fake(version="1"))
    other = Fake(version="2")
    _, done = run(task, store, other, exact=True)
    assert done.n_asked == 12 and store.counts()["successes"] == 24
    _, again = run(task, store, Fake(version="2"), exact=True)
    assert again.n_asked == 0


def test_failures_are_kept_and_asked_again(task, store):
    asks, done = run(task, store, Fake(lambda r: Generation(r.key, finish_reason="error", error="out of memory")))
    assert done.n_failed == 12
    answers = inference.collect(asks, store)
    assert {answer.error for answer in answers} == {"out of memory"}
    result = tables.score_answers(task, MODELS["rules"], answers)
    assert result.n_failed == 12 and result.verdicts == {"missing": 120} and result.macro_f1.mean == 0.0
    _, again = run(task, store, Fake())
    assert again.n_asked == 12 and store.counts()["failures"] == 12


def test_a_dead_engine_is_given_up(task, store, monkeypatch):
    monkeypatch.setattr(inference, "GIVE_UP_AFTER", 5)
    with pytest.raises(EngineError, match="5 requests failed in a row, the last: it died"):
        run(task, store, Fake(lambda r: Generation(r.key, finish_reason="error", error="it died")))
    assert store.counts()["failures"] == 5
    _, done = run(task, store, Fake())
    assert done.n_asked == 12


def test_an_engine_that_answers_what_nobody_asked_is_reported(task, store, capsys):
    stray = Fake(lambda request: Generation("f" * 64, "x", "stop"))
    _, done = run(task, store, stray)
    assert store.counts()["successes"] == 0 and done.n_asked == 12
    assert "nobody asked for" in capsys.readouterr().err


def test_samples_of_one_question_differ_by_their_index(task, store):
    asks, done = run(task, store, Fake(), sampling=Sampling(temperature=1.0, seed=5), n_samples=3)
    assert done.n_asked == len(asks) == 36
    one = [a.request for a in asks if (a.session_id, a.window_index) == (asks[0].session_id, asks[0].window_index)]
    assert [(r.sampling.seed, r.sample_index) for r in one] == [(5, 0), (5, 1), (5, 2)]
    assert len({r.key for r in one}) == 3


def test_an_interrupted_run_keeps_what_was_answered(task, store):
    class Stops(Fake):
        def stream(self, requests):
            for n, request in enumerate(requests):
                if n == 5:
                    raise KeyboardInterrupt
                yield Generation(request.key, "[]", "stop")

    with pytest.raises(KeyboardInterrupt):
        run(task, store, Stops())
    assert store.counts()["successes"] == 5
    _, done = run(task, store, Fake())
    assert (done.n_from_store, done.n_asked) == (5, 7)


def test_thinking_goes_only_to_models_that_know_it(task):
    qwen, smol = MODELS["qwen3-tiny"], MODELS["rules"]
    assert not smol.thinking
    assert inference.make_asks(task, smol, asking=Asking(thinking=False))[0].request.template_args == {}
    assert qwen.thinking


def test_prompts_show_neither_truth_nor_residents(task):
    """No request contains who did it, the description, or a label next to an event."""
    for ask in inference.make_asks(task, MODELS["rules"]):
        window = ask.request.messages[-1]["content"]
        labels = task.sessions[ask.session_id].activities.values()
        assert not [name for name in labels if f'"{name}"' in window] and "resident" not in window.casefold()


def test_evaluate_names_a_mixture_of_engines(task, store, capsys):
    asks = inference.make_asks(task, MODELS["rules"])
    store.note_asks(asks)
    store.add(Generation(asks[0].request.key, "[]", "stop"), Fingerprint("elsewhere", "9", "bfloat16", "cuda:A100"))
    found = evaluation.evaluate(task, ["rules"], store=store)
    assert "mixed engines" in found.results[0].made_by and "several engines" in capsys.readouterr().err
    assert found.runs[0].n_from_store == 1


def test_one_window_and_narrow_keep_the_session(task):
    single = one_window(task, 2, 1)
    assert len(single.windows) == 1 and list(single.sessions) == [single.windows[0].session_id]
    assert narrow(task, set(), "none").windows == ()
    with pytest.raises(ValueError, match="6 test sessions"):
        one_window(task, 9, 0)


def test_train_and_test_share_no_session(task):
    assert len(task.train) == 15 and not set(task.train) & set(task.sessions)


def test_the_rules_revision_is_that_of_their_text():
    """Edited rules must not be answered with stored answers of the old ones: the revision is part of the key."""
    from llmhar.ask.engines.rules.home import RULES_VERSION

    assert MODELS["rules"].revision == RULES_VERSION, "enter RULES_VERSION in params/models.yaml"


def test_the_rules_floor_on_the_simulated_home_is_where_the_study_wants_it(simulated_home, store):
    """Hard enough to be worth solving, fair enough to be solvable (0.60 to 0.90 on all test windows)."""
    whole = prepare("simulated", simulated_home, form=PromptForm(answer="name"))
    result = evaluation.evaluate(whole, ["rules"], store=store).results[0]
    assert 0.60 <= result.macro_f1.mean <= 0.90 and result.macro_f1.n == 6
    occurring = {e.activity_id for s in whole.sessions.values() for e in s.events}
    assert len(occurring) >= 20
    assert result.overall.missed_pct == 0.0


def test_scores_are_averaged_over_samples(task, store, monkeypatch):
    """K samples of a window: each session's score is the mean over samples, the readings are the first sample's."""
    import json

    def reply(request):
        right = request.sample_index == 0  # sample 0 answers everything with the first label, sample 1 nothing
        items = [{"id": i, "activity": 0} for i in range(10)]
        return Generation(request.key, json.dumps(items) if right else "no", "stop")

    monkeypatch.setattr(inference, "open_engine", lambda *args, **options: Fake(reply))
    found = evaluation.evaluate(task, ["rules"], asking=Asking(n_samples=2), store=store)
    first, second = found.samples[0]
    assert (first.overall.missed_pct, second.overall.missed_pct, found.results[0].overall.missed_pct) == (0, 100, 50)
    assert found.results[0].macro_f1.mean == pytest.approx((first.macro_f1.mean + second.macro_f1.mean) / 2)
    assert found.results[0].readings == first.readings


def test_where_every_request_of_a_model_failed_there_is_no_f1(task, store, monkeypatch):
    """The models after it are asked all the same: their answers are in the store when the fault is mended."""
    asked = []

    def opened(name, model, options):
        def reply(request):
            asked.append(model.name)
            burns = model.name == "rules"
            return Generation(request.key, error="on fire") if burns else Generation(request.key, "[]", "stop")

        return Fake(reply)

    monkeypatch.setattr(inference, "open_engine", opened)
    n = len(task.windows)
    sentence = f"rules: all {n} requests failed, so there is no F1 and no other score: on fire"
    with pytest.raises(EngineError, match=f"^{sentence}$"):
        evaluation.evaluate(task, ["rules", "recorded-smoke"], store=store)
    assert asked == ["rules"] * n + ["recorded-smoke"] * n
    assert evaluation.evaluate(task, ["recorded-smoke"], store=store).results[0].macro_f1.mean == 0


def test_exact_engine_scores_only_what_the_engine_of_now_answered(task, store):
    """An older engine's answers lie in the store: with exact_engine they are neither used nor shown."""
    asks = inference.make_asks(task, MODELS["rules"])
    store.note_asks(asks)
    for ask in asks:
        store.add(Generation(ask.request.key, "STALE", "stop"), Fingerprint("oldengine", "0", "", ""))
    stale = evaluation.evaluate(task, ["rules"], store=store).results[0]
    assert stale.macro_f1.mean == 0 and stale.made_by == "oldengine 0"
    exact = evaluation.evaluate(task, ["rules"], asking=Asking(exact=True), store=store).results[0]
    assert exact.macro_f1.mean > 0.4 and exact.made_by.startswith("rules ")
    assert not [a for a in exact.answers if a.stored.generation.text == "STALE"]


def test_what_the_context_limit_cuts_is_a_failure_and_asked_again(tmp_path):
    request = Request("m", "r", "", ({"role": "user", "content": "?"},), sampling=Sampling(max_tokens=50))
    cut = Generation(request.key, "[{", "length", output_tokens=20)
    failed = inference.whole_or_failed(cut, request)
    assert not failed.ok and failed.text == "" and "raise max_model_len" in failed.error
    for whole in (replace(cut, output_tokens=50), replace(cut, finish_reason="stop"), replace(cut, output_tokens=0)):
        assert inference.whole_or_failed(whole, request) is whole


def test_sampling_is_the_makers_own_where_it_is_asked_for():
    qwen, limits = MODELS["qwen3-0.6b"], Sampling(max_tokens=9, seed=4)
    thinking, plain = qwen.sampling["thinking"], qwen.sampling["plain"]
    for switch, wanted in ((True, thinking), (None, thinking), (False, plain)):
        drawn = inference.sampling_of(qwen, Asking(limits, "model", thinking=switch))
        assert drawn == replace(limits, **wanted), switch
    assert inference.sampling_of(qwen, Asking(limits)) == limits
    assert inference.sampling_of(MODELS["rules"], Asking(limits, "model")) == limits, "rules draw nothing"


def test_reasons_in_bound_answers_have_room(simulated_home):
    task = prepare("simulated", simulated_home, windowing=Windowing(n=1))
    small, few = MODELS["smollm2-135m"], Sampling(max_tokens=100)
    bound, plain, free = (
        inference.make_asks(task, small, asking)[0].request
        for asking in (Asking(few, constrained=True), Asking(few, constrained=True, why=False), Asking(few))
    )
    assert [r.sampling.max_tokens for r in (bound, plain, free)] == [640, 100, 100]
    assert list(bound.schema["prefixItems"][0]["properties"]) == ["id", "why", "activity"]
    assert list(plain.schema["prefixItems"][0]["properties"]) == ["id", "activity"] and free.schema is None


def test_bound_answers_reason_in_their_items_where_a_model_cannot_think_apart():
    small, qwen = MODELS["smollm2-135m"], MODELS["qwen3-0.6b"]
    assert inference.binds_why(small, Asking()) and not inference.binds_why(qwen, Asking())
    assert not inference.binds_why(small, Asking(why=False)) and inference.binds_why(qwen, Asking(why=True))
