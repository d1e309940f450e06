"""Every option of an engine that can change a text shows in the key, as a failure, or in the fingerprint."""

import dataclasses

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.registry import EFFECTS, Options, effective_options
from llmhar.ask.inference import make_asks, run_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Fingerprint, Generation, Request

OTHER = {
    "max_num_seqs": 1,
    "tensor_parallel_size": 2,
    "threads": 1,
    "replies": "other.jsonl",
    "vllm_server": False,
    "replica_engine": "vllm",
}
"""A value beside the default for each field that fingerprints show."""


def test_no_field_is_forgotten():
    fields = {field.name for field in dataclasses.fields(Options)}
    assert fields == set(EFFECTS), "a new option needs its line in EFFECTS"
    assert set(EFFECTS.values()) <= {"key", "failure", "fingerprint", "none"}
    shown = {name for name, effect in EFFECTS.items() if effect == "fingerprint"}
    assert shown == {*OTHER, "dtype", "base_url"}, "number format and host are reported by the engines themselves"


@pytest.mark.parametrize(("name", "value"), OTHER.items())
def test_what_can_change_a_text_is_in_the_fingerprint(name, value):
    assert effective_options({}) == effective_options({name: getattr(Options(), name)}) == ""
    assert effective_options({name: value}).startswith(f"{name}=")


def test_files_of_replies_are_told_apart_by_content(tmp_path):
    for name, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    shown = {name: effective_options({"replies": tmp_path / name}) for name in "abc"}
    assert shown["a"] == shown["c"] != shown["b"] and str(tmp_path) not in shown["a"]


def test_an_adapter_is_in_the_request_s_key():
    request = Request("m", "r", "", ({"role": "user", "content": "?"},))
    assert dataclasses.replace(request, adapter_sha256="a" * 64).key != request.key


def test_answers_of_other_options_are_not_this_engine_s(simulated_home, tmp_path):
    class Engine:
        asked = 0
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *exc: None  # noqa: E731
        fingerprint = lambda self: Fingerprint("fake", "1", "bfloat16", "cpu")  # noqa: E731

        def stream(self, requests):
            for request in requests:
                Engine.asked += 1
                yield Generation(request.key, "[]", "stop")

    task = prepare("simulated", simulated_home, windowing=Windowing(n=1))
    with Store(tmp_path / "s.sqlite") as store:
        for options, n_asked in (({}, 6), ({"tensor_parallel_size": 1}, 6), ({"threads": 1}, 12), ({"threads": 1}, 12)):
            asking = Asking(exact=True, engine_options=options, open_with=Engine, progress=False)
            run_asks(make_asks(task, MODELS["smollm2-135m"], asking), MODELS["smollm2-135m"], store, asking)
            assert Engine.asked == n_asked, options
        key = make_asks(task, MODELS["smollm2-135m"])[0].request.key
        assert str(store.find([key])[key].fingerprint) == "fake 1 bfloat16 cpu"
        assert store.find([key], Fingerprint("fake", "1", "bfloat16", "cpu", "threads=1"))
