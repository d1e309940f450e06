"""One name a model, any engine: what changes where a server answers, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.addresses import KEY_VARIABLES, URL_VARIABLE, address_of, is_loopback, say_once
from llmhar.ask.engines.base import EngineError
from llmhar.ask.models import MODELS, Adapter, Local, ModelError, Server
from llmhar.ask.store import Ask, Store
from llmhar.records import Fingerprint, Generation, Sampling

WINDOW = ({"role": "user", "content": "window"},)
OF_THE_OLD_ENTRY = {  # request keys of qwen-32b when it was an entry of its own: (thinking, draw) -> key
    (None, "model"): "4eacbf804494bc9af47a006ff92211ce101f4ba440c2e1cf49522f849959c7b2",
    (None, "greedy"): "90d3e1ec2adc6d4f5b1e6599b07eb586d2c1e0c47556b7bc5c4321559240d001",
    (False, "model"): "e191b3863484c14a0caa3fd9d636b798ef4ca09de67a1a11e5cb881270a6fa8d",
    (False, "greedy"): "e6e391bd7c165cfa013945ba8a099117fc05305e5616d17d5f1d1b7ce7718607",
}
SERVED = Asking(Sampling(max_tokens=400), "model", engine="openai", progress=False)


def request(name, asking):
    return inference.request_to(MODELS[name], asking)(messages=WINDOW)


@pytest.mark.parametrize("name", ["qwen-32b", "qwen3-32b"])
def test_stored_answers_of_the_old_entry_are_found_by_both_names(name):
    for (thinking, draw), key in OF_THE_OLD_ENTRY.items():
        assert request(name, replace(SERVED, thinking=thinking, draw=draw)).key == key
    gemini = "16a4a6387bf1e1e39af1f390853ca15527d7f1383efa47c7f3efcc001b352a8e"
    assert request("gemini-2.5-pro", Asking(Sampling(max_tokens=400), "model")).key == gemini


def test_a_server_is_asked_the_same_whether_the_weights_are_here_or_not(monkeypatch):
    away = request("qwen3-0.6b", SERVED)
    monkeypatch.setattr("llmhar.ask.models.ModelSpec.tokenizer_sha256", lambda self: "t" * 64)
    assert request("qwen3-0.6b", SERVED) == away and (away.revision, away.tokenizer_sha256) == ("api", "")
    local = request("qwen3-0.6b", replace(SERVED, engine="vllm"))
    assert local.key != away.key and local.revision == MODELS["qwen3-0.6b"].revision


def test_weights_that_are_not_here_are_still_needed_here(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="llmhar models fetch qwen3-32b"):
        request("qwen3-32b", replace(SERVED, engine="vllm"))


def test_who_serves_whom():
    student = MODELS["qwen3-0.6b"].model_copy(update={"adapter": Adapter(path=Path("a"), sha256="s")})
    merged = MODELS["qwen3-0.6b"].model_copy(update={"source": Local(path=Path("m"))})
    served = {"openai": "openai", "auto": "auto", "vllm": "vllm"}
    for engine, wanted in served.items():
        assert inference.serving_engine(MODELS["qwen3-32b"], engine) == wanted
        assert inference.serving_engine(MODELS["qwen-32b"], engine) == "openai"
        assert inference.serving_engine(MODELS["rules"], engine) == "rules"
        here = "auto" if engine == "openai" else engine  # made here: on no server
        for model in (student, merged, MODELS["smollm2-135m"], MODELS["smollm2-135m-l8"]):
            assert inference.serving_engine(model, engine) == here


def nobody():
    """Opens an engine that must not be needed."""
    raise AssertionError("asked again")


@pytest.mark.parametrize("tokenizer", ["", "t" * 64])
def test_answers_that_named_the_pinned_revision_are_taken_over(tmp_path, monkeypatch, tokenizer):
    """As requests to a server were before: the pinned revision, and the tokenizer's hash where it was here."""
    monkeypatch.setattr("llmhar.ask.models.ModelSpec.tokenizer_sha256", lambda self: "t" * 64)
    model = MODELS["qwen3-32b"]
    old = replace(request("qwen3-32b", SERVED), revision=model.revision, tokenizer_sha256=tokenizer)
    server, local = Fingerprint("openai", "1", "", "host"), Fingerprint("vllm", "1", "bfloat16", "cuda:x")
    with Store(tmp_path / "s.sqlite") as store:
        store.note_asks([Ask("d", "s", 0, "qwen3-32b", old)])
        asks = [Ask("d", "s", 0, "qwen3-32b", request("qwen3-32b", SERVED))]
        asking = replace(SERVED, open_with=nobody)
        store.add(Generation(old.key, "of the card", "stop"), local)
        with pytest.raises(AssertionError):
            inference.run_asks(asks, model, store, asking)
    with Store(tmp_path / "t.sqlite") as store:
        store.note_asks([Ask("d", "s", 0, "qwen3-32b", old)])
        store.add(Generation(old.key, "paid for", "stop", output_tokens=7), server)
        assert inference.run_asks(asks, model, store, asking).n_from_store == 1
        stored = inference.collect(asks, store)[0].stored
        assert (stored.generation.text, stored.generation.output_tokens, stored.fingerprint) == ("paid for", 7, server)


def test_addresses_and_keys_of_several_providers(monkeypatch):
    for name in (URL_VARIABLE, *KEY_VARIABLES, "OTHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(KEY_VARIABLES[0], "first-key")
    monkeypatch.setenv(URL_VARIABLE, "https://first.org/v1")
    plain = MODELS["qwen-32b"]
    other = plain.model_copy(update={"server": Server(address="https://b.org/v1", key_variable="OTHER_API_KEY")})
    own = plain.model_copy(update={"server": Server(address="http://127.0.0.2:1/v1", key_variable="OTHER_API_KEY")})
    assert address_of(None, plain) == ("https://first.org/v1", "first-key")
    with pytest.raises(EngineError, match=r"set OTHER_API_KEY to your key of b\.org"):
        address_of(None, other)  # the first provider's key is not sent there
    assert address_of(None, own) == ("http://127.0.0.2:1/v1", "none")
    monkeypatch.setenv("OTHER_API_KEY", "second-key")
    assert address_of(None, other) == ("https://b.org/v1", "second-key")
    assert address_of("https://c.org/v1", other)[0] == "https://c.org/v1"


def test_a_home_goes_to_others_with_one_word_before(capsys):
    for url in ("http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:80/v1", "http://127.3.2.1/v1"):
        assert is_loopback(url)
        say_once(url)
    assert capsys.readouterr().err == ""
    say_once("https://user:pw@once.example.org/v1")
    say_once("https://once.example.org/v1")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "sent to once.example.org, somebody else's server" in said and "pw" not in said
    assert not any(map(is_loopback, ("http://10.0.0.1/v1", "http://localhost.evil.org/v1", "http://128.0.0.1/", "x")))
