"""The openai engine: against a small server that misbehaves in every way, and the contract against a real vLLM."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines import addresses
from llmhar.ask.engines import openai as module
from llmhar.ask.engines.addresses import KEY_VARIABLES, URL_VARIABLE
from llmhar.ask.engines.child import child_environment
from llmhar.ask.engines.registry import EngineError, open_engine
from llmhar.ask.inference import run_asks
from llmhar.ask.models import MODELS, ModelSpec, Prices
from llmhar.ask.spending import cost_of
from llmhar.ask.store import Ask, Store
from llmhar.records import Generation, Sampling
from tests.ask.engines import test_contract as contract
from tests.ask.engines.test_contract import Case, answers, ask
from tests.command import call
from tests.conftest import need
from tests.jupyterlab import free_port

CANARY = "sk-canary-0123456789abcdef"
MODEL = ModelSpec(name="served", kind="llm", engine="openai", hub_id="served-model", revision="api",
                  prices=Prices(input_usd=1.0, cached_usd=0.1, output_usd=10.0, as_of="today"))  # fmt: skip


def completion(text: str = "hello", reason: str | None = "stop", usage: dict | None = None, **message) -> dict:
    usage = usage or {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


@dataclass
class Server:
    """What the server says, reply by reply (the last one again and again), and what it was asked."""

    replies: list = field(default_factory=lambda: [(200, completion(), {})])
    """(status, body: JSON-ready or bytes, headers), or a function of the request that returns one."""
    models: int = 200
    """Status of /v1/models."""
    asked: list = field(default_factory=list)
    times: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    def reply(self, body: dict):
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(body) if callable(reply) else reply


@pytest.fixture
def server(monkeypatch):
    for name in (URL_VARIABLE, *KEY_VARIABLES, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    state, lock = Server(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self, status: int, body, headers=()) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)),
                                **dict(headers)}.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def do_GET(self) -> None:
            self.say(state.models, {"object": "list", "data": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.asked.append(body)
                state.headers.append(self.headers)
                state.times.append(time.monotonic())
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
                reply = state.reply
            try:
                with contextlib.suppress(OSError):
                    said = reply(body)
                    if said == "never":
                        time.sleep(3)
                    elif said == "drip":
                        self.send_response(200)
                        self.send_header("Content-Type", "application/json")
                        self.end_headers()
                        for _ in range(40):
                            self.wfile.write(b" ")
                            self.wfile.flush()
                            time.sleep(0.1)
                    elif said == "endless":
                        self.send_response(200)
                        self.send_header("Content-Type", "application/json")
                        self.end_headers()
                        while True:
                            self.wfile.write(b" " * 2**20)
                    elif said == "hang up":
                        self.connection.shutdown(socket.SHUT_RDWR)
                    else:
                        self.say(*said)
            finally:
                self.close_connection = said in ("never", "drip", "endless", "hang up")
                with lock:
                    state.at_once -= 1

        def log_message(self, *_args) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args) -> None: ...

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
        yield state
        listening.shutdown()


def opened(server: Server, model: ModelSpec = MODEL, **options):
    return open_engine("openai", model, {"base_url": server.url, "request_timeout_s": 5.0, "max_retries": 2, **options})


def one(server: Server, request=None, model: ModelSpec = MODEL, **options) -> Generation:
    with opened(server, model, **options) as engine:
        return answers(engine, [request or ask("hi")])[0]


# What is sent.


def test_a_request_in_the_apis_words(server):
    request = ask("hi", temperature=0.5, top_p=0.9, max_tokens=7, seed=3, sample=2, schema={"type": "object"})
    made = one(server, request)
    assert (made.text, made.finish_reason, made.prompt_tokens, made.output_tokens) == ("hello", "stop", 10, 3)
    (body,) = server.asked
    assert body == {
        "model": "m", "messages": [dict(m) for m in request.messages], "temperature": 0.5, "top_p": 0.9,
        "max_tokens": 7, "seed": 3 + 2 * 1_000_003,
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}},
    }  # fmt: skip


def test_a_vllm_server_gets_its_own_parameters(server):
    request = ask("hi", top_k=5, thinking_budget=9, template={"enable_thinking": False})
    one(server, request, vllm_server=True)
    assert server.asked[0] | {"top_k": 5, "thinking_token_budget": 9,
                              "chat_template_kwargs": {"enable_thinking": False}} == server.asked[0]  # fmt: skip
    made = one(server, request)
    assert made.error == ("top_k, chat_template_kwargs, thinking_token_budget: not offered by this server; leave it "
                          "away, or set vllm_server for a vLLM server")  # fmt: skip
    assert "adapter" in one(server, ask("x", adapter="/nowhere")).error
    assert len(server.asked) == 1
    one(server, ask("hi", template={"enable_thinking": True}), model=MODELS["qwen-32b"])
    assert server.asked[1]["chat_template_kwargs"] == {"enable_thinking": True}


def test_max_tokens_by_its_newer_name_where_a_server_asks_for_it(server):
    told = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    server.replies = [lambda body: (400, told) if "max_tokens" in body else (200, completion())]
    with opened(server) as engine:
        assert all(g.ok for g in [*answers(engine, [ask("a")]), *answers(engine, [ask("b"), ask("c")])])
    assert [("max_tokens" in b, b.get("max_completion_tokens")) for b in server.asked] == [
        (True, None), (False, 12), (False, 12), (False, 12)
    ]  # fmt: skip


def chosen(text: str) -> dict:
    """A completion with the probabilities of its characters: each 1/2."""
    made = completion(text)
    tokens = [{"token": c, "logprob": -0.6931, "bytes": list(c.encode()), "top_logprobs": []} for c in text]
    made["choices"][0]["logprobs"] = {"content": tokens}
    return made


def test_probabilities_of_tokens_where_they_are_asked_for(server):
    server.replies = [(200, chosen("aé"))]
    assert one(server, replace(ask("hi"), logprobs=True)).logprobs == "[[0,1,-0.6931],[1,2,-0.6931]]"
    assert (server.asked[0]["logprobs"], server.asked[0]["top_logprobs"]) == (True, 10)
    assert one(server).logprobs == "" and "logprobs" not in server.asked[1]
    server.replies = [(200, completion("a"))]
    silent = one(server, replace(ask("hi"), logprobs=True))
    assert silent.ok and silent.logprobs == "", "many servers ignore the wish"


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_server_that_refuses_probabilities_is_asked_without(server, status, caplog):
    refused = {"error": {"message": "You are not allowed to request logprobs from this model"}}
    server.replies = [lambda body: (status, refused, {}) if "logprobs" in body else (200, completion(), {})]
    with opened(server) as engine:
        asked = [replace(ask(said), logprobs=True) for said in "abc"]
        assert all(g.ok and not g.logprobs for g in [*answers(engine, asked[:1]), *answers(engine, asked[1:])])
    assert ["logprobs" in body for body in server.asked] == [True, False, False, False]
    assert "offers no probabilities of tokens" in caplog.text


# What comes back.


def test_thinking_goes_back_between_its_marks(server):
    for name in ("reasoning_content", "reasoning"):
        server.replies = [(200, completion("[]", **{name: " hm "}))]
        assert one(server).text == "<think> hm </think>[]"
        server.replies = [(200, completion(None, "length", **{name: " hm"}))]
        cut = one(server)
        assert (cut.text, cut.finish_reason) == ("<think> hm", "length")


@pytest.mark.parametrize("word", ["stop", "eos", "eos_token", "STOP", "end", "end_turn", "stop_sequence", "COMPLETE"])
def test_words_that_mean_stop(server, word):
    server.replies = [(200, completion(reason=word))]
    made = one(server)
    assert (made.ok, made.text, made.finish_reason) == (True, "hello", "stop")
    assert made.finish_word == ("" if word == "stop" else word)


@pytest.mark.parametrize("word", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_words_that_mean_cut(server, word):
    server.replies = [(200, completion(reason=word))]
    made = one(server)
    assert (made.ok, made.finish_reason, made.finish_word) == (True, "length", "" if word == "length" else word)


def test_text_without_a_word_has_ended_where_its_tokens_had_not(server):
    server.replies = [(200, completion(reason=None))]
    assert [(m.finish_reason, m.finish_word) for m in (one(server), one(server, ask("x", max_tokens=3)))] == [
        ("stop", ""), ("length", "")
    ]  # fmt: skip


def test_the_servers_word_is_kept_in_the_store(server, tmp_path):
    server.replies = [(200, completion(reason="eos_token")), (200, completion())]
    asks = [Ask("d", "s", n, "served", ask("x", seed=n)) for n in range(2)]
    with Store(tmp_path / "s.sqlite") as store:
        with opened(server, max_num_seqs=1) as engine:
            run_asks(
                asks, MODEL, store, asking=Asking(open_with=lambda: contextlib.nullcontext(engine), progress=False)
            )
        stored = store.find([a.request.key for a in asks])
    made = [stored[a.request.key].generation for a in asks]
    assert [(g.finish_reason, g.finish_word) for g in made] == [("stop", "eos_token"), ("stop", "")]


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": " h"}, {"type": "text", "text": "m "}]},
        {"type": "thinking", "thinking": " hm "},
        {"type": "reasoning", "text": " hm "},
    ],
)
def test_content_in_parts_is_joined_and_thinking_kept_apart(server, thinking):
    text = [{"type": "text", "text": "[1,"}, {"type": "output_text", "text": " 2]"}]
    server.replies = [(200, completion([text[0], thinking, text[1]]))]
    assert one(server).text == "<think> hm </think>[1, 2]"
    server.replies = [(200, completion(text))]
    assert one(server).text == "[1, 2]"
    server.replies = [(200, completion([thinking], "max_tokens"))]
    assert one(server).text == "<think> hm "


def test_tokens_and_cost(server):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1600,
             "prompt_tokens_details": {"cached_tokens": 800}}  # fmt: skip
    server.replies = [(200, completion(usage=usage))]
    with opened(server) as engine:
        made = answers(engine, [ask("a"), ask("b")])
        assert [(g.prompt_tokens, g.cached_tokens, g.output_tokens) for g in made] == [(1000, 800, 600)] * 2
        cost = engine.cost()
    assert cost[:4] == (2, 2000, 1600, 1200)
    assert cost.usd == pytest.approx((400 * 1.0 + 1600 * 0.1 + 1200 * 10.0) / 1e6)
    assert cost_of(made, None).usd is None
    assert cost_of(made, Prices(input_usd=1, output_usd=0, as_of="x")).usd == pytest.approx(0.002)
    assert cost_of([Generation("k", finish_reason="error", error="x", prompt_tokens=5)], MODEL.prices)[:2] == (0, 0)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, b"<html>welcome</html>", {"Content-Type": "text/html"}), "no JSON"),
        ((200, b'{"choices": ['), "no JSON"),
        ((200, b"[" * 100_000), "no JSON"),
        ((200, b""), "no JSON"),
        ((200, {"choices": []}), "no chat completion"),
        ((200, []), "no chat completion"),
        ((200, {"choices": [{"message": {"content": ["parts"]}, "finish_reason": "stop"}]}), "no chat completion"),
        ((200, completion() | {"usage": 3}), "no chat completion"),
        ((200, {"error": {"message": "upstream is tired"}}), "upstream is tired"),
        ((200, completion(reason="content_filter")), "content_filter"),
        ((200, completion(None, reason=None)), "no reason given"),
        ((200, completion("", reason=None, reasoning="hm")), "no reason given"),
        ((200, completion([{"type": "image_url", "image_url": "x"}])), "no chat completion"),
        ((200, completion([{"type": "text"}])), "no chat completion"),
        ((200, completion([{"type": "text", "text": 3}])), "no chat completion"),
        ((200, completion(reason=7)), "no chat completion"),
        ((400, {"error": {"message": "maximum context length is 10"}}), "400: .*maximum context length is 10; check"),
        ((400, {"error": "odd"}), "answered 400"),
        ((403, {"error": {"message": "no"}}), "403.*may not use this model"),
        ((404, {"error": {"message": "no such model"}}), "404.*no such model; check the model's hub_id"),
        ((418, b"tea"), "418.*documentation"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_clear_sentence(server, reply, words):
    server.replies = [reply]
    made = one(server)
    assert not made.ok and made.finish_reason == "error" and "\n" not in made.error and len(made.error) <= 500
    assert len(server.asked) == 1  # none of these gets better by asking again
    assert re.search(words, made.error), made.error


@pytest.mark.timeout(180)
def test_a_notebook_whose_every_request_failed_has_no_f1(server, tmp_path):
    server.replies = [(400, {"error": {"message": "no chats today"}})]
    env = os.environ | {URL_VARIABLE: server.url, "LLMHAR_HOME": str(tmp_path), "LLMHAR_REPORTS": str(tmp_path / "r")}
    done = call("run", "smoke", "02", "-p", "models=rules,qwen-32b", env=env)
    run = json.loads((tmp_path / "r" / "smoke" / "02_prompting" / "run.json").read_text())
    sentence = f"qwen-32b: all {len(server.asked)} requests failed, so there is no F1"
    assert done.returncode == 1 and run["status"] == "failed" and run["key_numbers"] == {}
    for place in (done.stdout, run["cause"], (tmp_path / "r" / "smoke" / "index.html").read_text()):
        assert sentence in place and "no chats today" in place, done.stderr


@pytest.mark.timeout(180)
def test_a_model_whose_weights_are_not_here_is_asked_of_a_server(server, tmp_path):
    server.replies = [(200, completion('[{"id": 0, "activity": "eating"}]', "eos_token"))]
    places = {f"LLMHAR_{name}": str(tmp_path / name) for name in ("HOME", "REPORTS", "CACHE")}
    words = ("run", "smoke", "02", "-p", "models=qwen3-32b", "--engine", "openai")
    done = call(*words, env=os.environ | places | {URL_VARIABLE: server.url})
    assert done.returncode == 0, done.stdout + done.stderr
    assert {body["model"] for body in server.asked} == {"Qwen/Qwen3-32B"} and len(server.asked) == 12


# Retries, limits, time.


def test_too_many_requests_then_fine_honouring_retry_after(server):
    busy = (429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
    server.replies = [busy, (200, completion())]
    assert one(server).ok
    assert server.times[1] - server.times[0] >= 0.95


def test_server_errors_and_broken_connections_are_tried_again(server):
    server.replies = [(503, b"busy", {"retry-after-ms": "10"}), lambda _: "hang up", (200, completion())]
    assert one(server).ok and len(server.asked) == 3


def test_what_stays_broken_says_so(server):
    server.replies = [(500, {"error": {"message": "on fire"}}, {"retry-after-ms": "1"})]
    made = one(server)
    assert "answered 500" in made.error and "on fire; run again later" in made.error and len(server.asked) == 3
    server.replies = [(429, {"error": {"message": "quota"}}, {"retry-after-ms": "1"})]
    assert "lower requests_per_minute" in one(server).error


def test_a_server_that_never_answers(server):
    server.replies = [lambda _: "never"]
    started = time.monotonic()
    made = one(server, request_timeout_s=0.4, max_retries=1)
    assert "no whole answer within 0.4 s" in made.error and time.monotonic() - started < 3


def test_a_server_that_drips(server):
    """Each byte restarts the time-out of a read: the limit of the whole attempt ends it."""
    server.replies = [lambda _: "drip"]
    started = time.monotonic()
    made = one(server, request_timeout_s=0.5, max_retries=1)
    assert "no whole answer within 0.5 s" in made.error and time.monotonic() - started < 3


def test_a_stream_that_never_ends_is_given_up_before_it_fills_memory(server, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 4 * 2**20)
    server.replies = ["endless"]
    made = one(server, request_timeout_s=60.0, max_retries=1)
    assert made.error.endswith("did not answer: its answer has no end: more than 4,194,304 bytes")
    assert len(server.asked) == 2
    server.replies = ["endless", (200, completion())]
    assert one(server, request_timeout_s=60.0, max_retries=1).text == "hello"


def test_requests_per_minute(server):
    server.replies = [(500, b"", {"retry-after-ms": "1"}), (200, completion())]
    with opened(server, requests_per_minute=600) as engine:
        assert all(g.ok for g in answers(engine, [ask("x", seed=n) for n in range(5)]))
    gaps = [b - a for a, b in zip(sorted(server.times), sorted(server.times)[1:])]
    assert len(gaps) == 5 and min(gaps) >= 0.08  # the retry waits for its turn like any other


def slowly(_body):
    time.sleep(0.2)
    return (200, completion())


def test_some_at_a_time_and_each_leaves_when_it_is_ready(server):
    server.replies = [slowly]
    with opened(server, max_num_seqs=3) as engine:
        started = time.monotonic()
        found = [(g, time.monotonic() - started) for g in engine.stream(ask("x", seed=n) for n in range(9))]
    assert server.most_at_once == 3 and len({g.request_key for g, _ in found}) == 9
    assert found[0][1] < 0.45 < 0.55 < found[-1][1] < 1.6


def test_a_dropped_stream_leaves_the_engine_usable(server):
    server.replies = [slowly]
    with opened(server, max_num_seqs=2) as engine:
        stream = engine.stream(ask("x", seed=n) for n in range(50))
        assert next(stream).ok
        stream.close()
        asked = len(server.asked)
        assert answers(engine, [ask("again")])[0].ok and len(server.asked) <= asked + 1
        assert list(engine.stream([])) == []
    engine.close()


# Keys and addresses.


def test_the_key_is_sent_and_nowhere_else(server, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv(KEY_VARIABLES[0], CANARY)
    quoting = {"error": {"message": f"Incorrect API key provided: {CANARY}."}}
    server.replies = [(400, quoting), (200, completion(f"your key is {CANARY}", reasoning=CANARY)), (401, quoting)]
    with caplog.at_level(logging.DEBUG), Store(tmp_path / "s.sqlite") as store:
        asks = [Ask("d", "s", n, "served", ask("x", seed=n)) for n in range(3)]
        with opened(server, max_num_seqs=1) as engine:
            run_asks(
                asks, MODEL, store, asking=Asking(open_with=lambda: contextlib.nullcontext(engine), progress=False)
            )
            shown = repr(engine) + repr(engine.fingerprint())
            errors = list(store.failures([a.request.key for a in asks]).values())
    assert all(h["Authorization"] == f"Bearer {CANARY}" for h in server.headers)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"***" in kept and any(KEY_VARIABLES[0] in error for error in errors)
    assert CANARY.encode() not in kept and CANARY not in caplog.text + shown


def test_a_refused_key_is_not_sent_again_and_again(server, monkeypatch):
    server.replies = [(401, {"error": {"message": "bad key"}})]
    with opened(server, max_num_seqs=1) as engine:
        made = answers(engine, [ask("x", seed=n) for n in range(20)])
    assert len(server.asked) == 1
    assert all(f"set {KEY_VARIABLES[0]} to a valid key" in g.error for g in made)
    server.models = 401
    with pytest.raises(EngineError, match=f"401.*set {KEY_VARIABLES[0]}"):
        opened(server)


def test_which_key_goes_where(server, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLES[1], "openai-key-0123456789")
    one(server)
    monkeypatch.setenv(KEY_VARIABLES[0], CANARY)
    one(server)
    assert [h["Authorization"] for h in server.headers] == ["Bearer openai-key-0123456789", f"Bearer {CANARY}"]
    from llmhar.ask.engines.addresses import address_of

    monkeypatch.delenv(KEY_VARIABLES[0])
    assert address_of("http://node7:8000/v1") == ("http://node7:8000/v1", "none")  # not in clear over a network
    assert address_of("https://x.org/v1")[1] == "openai-key-0123456789"
    monkeypatch.delenv(KEY_VARIABLES[1])
    with pytest.raises(EngineError, match=f"set {KEY_VARIABLES[0]} to your key, or {URL_VARIABLE}"):
        address_of(None)
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:8000/v1")
    assert address_of(None) == ("http://127.0.0.1:8000/v1", "none")
    for wrong in ("localhost:8000", "file:///etc/passwd", "http://"):
        with pytest.raises(EngineError, match="must be an http"):
            address_of(wrong)


def test_nobody_at_home():
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(EngineError, match=f"nobody answers at {url} .*is the server up") as caught:
        open_engine("openai", MODEL, {"base_url": url, "request_timeout_s": 2})
    assert "\n" not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "openai-engine"]


def test_the_url_hides_its_password(server):
    server.replies = [(400, b"")]
    secret = server.url.replace("127.0.0.1", "user:hunter22@127.0.0.1")
    with opened(server, base_url=secret) as engine:
        assert "hunter22" not in repr(engine.fingerprint()) + answers(engine, [ask("x")])[0].error


def test_a_server_without_a_list_of_models_is_fine(server):
    server.models = 404
    assert one(server).ok


def test_models_of_the_paper_are_there():
    gemini, qwen = MODELS["gemini-2.5-pro"], MODELS["qwen-32b"]
    assert (gemini.engine, qwen.engine, qwen.hub_id) == ("openai", "openai", "Qwen/Qwen3-32B")
    assert gemini.prices and gemini.tokenizer_sha256() == "" and qwen.n_params == MODELS["qwen3-32b"].n_params


def test_a_kernel_that_opens_it_loads_no_heavy_package():
    code = ("import sys, llmhar.ask.engines.openai\n"
            "assert not {'torch', 'vllm', 'transformers'} & set(sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# The contract, against a real vLLM server.


@dataclass(frozen=True)
class Served(Case):
    @property
    def llm(self) -> bool:
        return True

    @property
    def binds(self) -> bool:
        return True


# As our own vLLM engine: where any blank is allowed, a model may write blanks until its tokens are spent.
COMPACT = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})


@pytest.fixture(scope="module")
def case() -> Case:
    return Served("openai", "qwen3-tiny")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    folder = need("qwen3-tiny").locate()
    port = free_port()
    env = child_environment(hub=False, threads=1) | {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_HOST_IP": "127.0.0.1"
    }  # fmt: skip
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host",
               "127.0.0.1", "--port", str(port), "--served-model-name", "m", "--max-model-len", "4096",
               "--enforce-eager", "--block-size", "32", "--reasoning-parser", "qwen3", "--no-enable-chunked-prefill",
               "--max-num-batched-tokens", "4096", "--enable-prompt-tokens-details",
               "--structured-outputs-config", COMPACT]  # fmt: skip
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=env, start_new_session=True)
    try:
        _until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        options = {"base_url": f"http://127.0.0.1:{port}/v1", "request_timeout_s": 60, "max_retries": 1}
        with open_engine("openai", MODELS["qwen3-tiny"], options) as opened:
            yield opened
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)


def _until_healthy(url: str, process: subprocess.Popen, log, patience_s: float = 180) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"the vLLM server ended: {log.read_text(errors='replace')[-2000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.5)
    pytest.fail(f"the vLLM server did not start in {patience_s} s: {log.read_text(errors='replace')[-2000:]}")


only, template = contract.only, contract.template
CONTRACT = (
    "every_request_gets_one_generation_in_any_order", "stop_reasons",
    "token_counts_are_the_tokenizers", "a_seed_gives_a_stream_of_its_own", "a_schema_binds_the_answer",
    "a_dropped_stream_leaves_the_engine_usable", "qwen3_thinks_when_it_may", "thinking_budget_and_schema_together",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", CONTRACT)
def test_contract(name, engine, case):
    getattr(contract, f"test_{name}")(engine, case)


@pytest.mark.slow
@pytest.mark.real
def test_contract_no_requests(engine):
    contract.test_no_requests_no_generations(engine)


@pytest.mark.slow
@pytest.mark.real
def test_contract_failures_are_values(engine, case, tmp_path):
    contract.test_failures_are_values(engine, case, tmp_path)


@pytest.mark.slow
@pytest.mark.real
def test_contract_says_whose_server(engine):
    mark = engine.fingerprint()
    assert mark.engine == "openai" and mark.version and mark.device.startswith("127.0.0.1:") and mark.dtype == ""
    (first,), (again,) = (answers(engine, [ask("one prefix " * 60, seed=n)]) for n in range(2))
    assert first.prompt_tokens == again.prompt_tokens and again.cached_tokens > 0
    assert engine.cost().usd is None and engine.cost().n_requests >= 2


def test_sampling_defaults_are_the_records(server):
    one(server, ask("x", max_tokens=Sampling().max_tokens))
    assert (server.asked[0]["max_tokens"], server.asked[0]["temperature"], server.asked[0]["top_p"]) == (512, 0.0, 1.0)


def test_where_a_home_s_life_goes_is_said_once_before_the_first_request(server, monkeypatch, capfd):
    monkeypatch.setattr(addresses, "_said", set())
    assert one(server).ok and "somebody else's server" not in capfd.readouterr().err
    monkeypatch.setattr(addresses, "is_loopback", lambda url: False)
    with opened(server) as engine:
        assert all(g.ok for g in answers(engine, [ask("b"), ask("c")]))
    assert one(server).ok
    said = capfd.readouterr().err
    assert said.count("somebody else's server") == 1 and "is sent to 127.0.0.1:" in said


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True),
     ("0.0.0.0", True), ("api.localhost", True), ("192.168.0.7", False), ("api.openai.com", False),
     ("localhost.evil.example", False), ("127.0.0.1.evil.example", False)],
)  # fmt: skip
def test_only_loopback_is_this_machine(host, here):
    assert addresses.is_loopback(f"http://{host}:8000/v1") is here
