"""Recorded answers: written by key, taken before anybody is asked, never a prompt among them."""

import lzma

import pytest

from llmhar.ask import recorded_answers
from llmhar.ask.asking import Asking
from llmhar.ask.inference import make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store, StoreError
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation
from tests.opened import Opened

MODEL = MODELS["smollm2-135m"]


class Engine(Opened):
    """Answers with the number of the request; counts what it is asked."""

    in_flight = 4

    def __init__(self, engine="vllm"):
        self.asked, self.engine = 0, engine

    def fingerprint(self):
        return Fingerprint(self.engine, "1", "float32", "cpu")

    def stream(self, requests):
        for request in requests:
            self.asked += 1
            text = f"answer \ud83d\u2028\x85\n {self.asked}"
            yield Generation(request.key, text, "stop", output_tokens=3, seconds=0.5)


@pytest.fixture
def asks(simulated_home, monkeypatch):
    monkeypatch.setattr(type(MODEL), "tokenizer_sha256", lambda self: "t")
    recorded_answers._read.cache_clear()
    yield make_asks(prepare("simulated", simulated_home, windowing=Windowing(n=1)), MODEL)
    recorded_answers._read.cache_clear()


def ask(asks, path, engine, **how):
    with Store(path) as store:
        run = run_asks(asks, MODEL, store, Asking(open_with=lambda: engine, progress=False, **how))
        return run, store.find([one.request.key for one in asks])


def write(asks, path, file):
    with Store(path) as store:
        return recorded_answers.write(store, [one.request.key for one in asks], file)


def test_recorded_answers_are_taken_and_nobody_is_asked_for_them(asks, tmp_path, monkeypatch):
    first = Engine()
    run, answers = ask(asks, tmp_path / "a.sqlite", first)
    file = tmp_path / "record" / "02_prompting" / recorded_answers.FILE
    file.parent.mkdir(parents=True)
    assert write(asks[:-1], tmp_path / "a.sqlite", file) == len(asks) - 1 == first.asked - 1
    text = lzma.decompress(file.read_bytes()).decode("utf-8", "surrogatepass")
    prompts = [message["content"] for one in asks for message in one.request.messages]
    assert not any(line in text for prompt in prompts for line in prompt.splitlines() if len(line) > 20)
    monkeypatch.setenv(recorded_answers.VARIABLE, str(tmp_path / "record"))
    second = Engine("transformers")
    run, taken = ask(asks, tmp_path / "b.sqlite", second)
    assert second.asked == 1 == run.n_asked and run.n_from_store == len(asks) - 1, "what was not recorded is asked"
    assert {key: (a.generation, a.fingerprint) for key, a in taken.items() if a.fingerprint.engine == "vllm"} == {
        one.request.key: (answers[one.request.key].generation, answers[one.request.key].fingerprint)
        for one in asks[:-1]
    }
    third = Engine("transformers")
    ask(asks, tmp_path / "c.sqlite", third, exact=True)
    assert third.asked == len(asks), "answers of this engine alone are not those of another"


def test_without_the_wish_everybody_is_asked(asks, tmp_path, monkeypatch):
    monkeypatch.delenv(recorded_answers.VARIABLE, raising=False)
    engine = Engine()
    ask(asks, tmp_path / "a.sqlite", engine)
    write(asks, tmp_path / "a.sqlite", tmp_path / recorded_answers.FILE)
    again = Engine()
    ask(asks, tmp_path / "b.sqlite", again)
    assert again.asked == len(asks)


def test_answers_of_rules_and_of_providers_are_not_recorded(asks, tmp_path):
    for engine in ("rules", "openai", "recorded"):
        ask(asks, tmp_path / f"{engine}.sqlite", Engine(engine))
        assert write(asks, tmp_path / f"{engine}.sqlite", tmp_path / recorded_answers.FILE) == 0
    assert not (tmp_path / recorded_answers.FILE).exists()


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"no xz", lambda b: lzma.compress(b"{}\n[]\n")])
def test_a_damaged_file_is_named_with_its_cure(asks, tmp_path, monkeypatch, damage):
    ask(asks, tmp_path / "a.sqlite", Engine())
    file = tmp_path / recorded_answers.FILE
    write(asks, tmp_path / "a.sqlite", file)
    file.write_bytes(damage(file.read_bytes()))
    monkeypatch.setenv(recorded_answers.VARIABLE, str(tmp_path))
    with pytest.raises(StoreError, match=r"answers\.jsonl\.xz is damaged .*git checkout.*--recorded"):
        ask(asks, tmp_path / "b.sqlite", Engine())
