"""The comparison with llama.cpp: each claim is missed on a planted fault; stand-ins for its server and its package.

Neither is installed here. The stand-ins take what llama-server's and llama-cpp-python's documentation says they take,
and answer as it says they answer; what the child makes of that is what is looked at.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmhar.ask.models import ModelError
from tests.bench import peers, peers_child, peers_llama
from tests.bench.peers import Run, Unavailable
from tests.bench.peers_llama import LOADS, time_claim
from tests.conftest import children_running, need

OURS = Run(wall=10.0, start=2.0, answering=8.0, answered=3, asked=3, prompt_tokens=9, output_tokens=60, dtype="int8")
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if given["-m"].endswith("broken.gguf"):
    sys.exit("error: failed to load model")
asked = []

class Handler(BaseHTTPRequestHandler):
    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        asked.append(self.path)
        self.reply(200 if len(asked) > 2 else 503, {})

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = self.path == "/completion" and said["temperature"] == 0 and said["repeat_penalty"] == 1
        good &= (given["-np"], given["-c"], given["-t"]) == ("2", "200", "1")
        written = min(said["n_predict"], len(said["prompt"]))
        self.reply(200 if good else 400, {"content": "x", "tokens_predicted": written})

    def log_message(self, *args):
        pass

ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler).serve_forever()
"""
PACKAGE = """
class Llama:
    def __init__(self, model_path, *, n_ctx, n_threads, n_threads_batch, verbose):
        assert (n_ctx, n_threads, n_threads_batch, verbose) == (100, 1, 1, False)

    def create_completion(self, prompt, *, max_tokens, temperature):
        assert all(isinstance(token, int) for token in prompt) and temperature == 0
        return {"choices": [{"text": "x"}], "usage": {"prompt_tokens": len(prompt),
                                                       "completion_tokens": min(max_tokens, len(prompt))}}
"""


@pytest.fixture
def installed(tmp_path):
    """A stand-in for both, and the job."""
    (tmp_path / "packages" / "llama_cpp").mkdir(parents=True)
    (tmp_path / "packages" / "llama_cpp" / "__init__.py").write_text(PACKAGE)
    server = tmp_path / "llama-server"
    server.write_text(f"#!{sys.executable}\n{SERVER}")
    server.chmod(0o755)
    job = {"n": 3, "threads": 1, "server": str(server), "file": "x.gguf", "at_once": 2, "context": 100,
           "sampling": {"max_tokens": 3}, "prompts": [[1, 2, 3, 4], [5, 6], [7]], "gguf_type": "q8_0"}  # fmt: skip
    return tmp_path, job


@pytest.mark.parametrize("how", ["server", "package"])
def test_a_side_reads_our_tokens_and_counts_its_own(installed, how):
    folder, job = installed
    job |= {} if how == "server" else {"server": ""}
    run = peers.run_side("llama.cpp", job, folder, folder / "packages")
    assert (run.answered, run.asked, run.prompt_tokens, run.output_tokens, run.dtype) == (3, 3, 7, 6, "q8_0")
    assert 0 < run.start < run.wall and run.answering > 0
    assert not children_running("llama-server")


def test_a_peer_that_fails_is_not_measured(installed):
    folder, job = installed
    with pytest.raises(Unavailable, match="llama-server ended with 1"):
        peers.run_side("llama.cpp", {**job, "file": "broken.gguf"}, folder, folder)
    with pytest.raises(Unavailable, match=r"llama-server answered 400"):
        peers.run_side("llama.cpp", {**job, "at_once": 3}, folder, folder)
    assert not children_running("llama-server")


def test_a_server_that_never_is_ready_is_given_up(monkeypatch):
    class Waiting:
        def poll(self):
            return None

    monkeypatch.setattr(peers_child, "_post", lambda *args: (503, b""))
    with pytest.raises(RuntimeError, match="not ready after 0 s"):
        peers_child._wait_until_ready(1, Waiting(), most_s=0.1)


def test_a_peer_that_is_faster_is_seen():
    slow, fast = replace(OURS, wall=30.0, dtype="q8_0"), replace(OURS, wall=5.0)
    claim = time_claim(LOADS[0], [{"ours": OURS, "llama.cpp": slow}] * 3, 2, "llama-server 1")
    assert (claim.measured, claim.verdict) == ("3 ×", "met") and "in 3 rounds" in claim.why
    assert claim.setting == "2 threads, int8 and q8_0, 54 prompt and 360 output tokens"
    assert time_claim(LOADS[0], [{"ours": OURS, "llama.cpp": fast}], 2, "").verdict == "missed"
    wordy = replace(OURS, output_tokens=120)  # in the same time
    claim = time_claim(LOADS[1], [{"ours": OURS, "llama.cpp": wordy}], 2, "")
    assert (claim.measured, claim.verdict) == ("0.5 ×", "missed")


def test_without_llama_cpp_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(peers_llama.shutil, "which", lambda name: None)
    monkeypatch.setattr(peers_llama.importlib.util, "find_spec", lambda name: None)
    found = peers_llama.claims(quick=True)
    assert [claim.claim for claim in found] == [load.claim for load in LOADS]
    assert {claim.verdict for claim in found} == {"not measured"} and "neither llama-server nor" in found[0].why


def test_how_llama_cpp_is_here(monkeypatch, tmp_path):
    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\necho version: 6789 >&2")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert peers_llama.peer() == (str(server), "llama-server version: 6789")
    server.unlink()
    monkeypatch.setattr(peers_llama.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(peers_llama.importlib.metadata, "version", lambda name: "0.3.9")
    assert peers_llama.peer() == ("", "llama-cpp-python 0.3.9")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(Unavailable("no"), "not measured"), (ModelError("no"), "not measured"), (RuntimeError("no"), "missed")],
)
def test_a_side_that_fails_is_no_excuse_for_ours(monkeypatch, error, verdict):
    def failing(*args, **how):
        raise error

    monkeypatch.setattr(peers_llama, "peer", lambda: ("", "x"))
    monkeypatch.setattr(peers_llama, "make_job", lambda *args: {})
    monkeypatch.setattr(peers, "run_side", failing)
    assert {(claim.verdict, claim.why) for claim in peers_llama.claims(quick=True)} == {(verdict, "no")}


def test_sides_that_read_different_prompts_are_refused(monkeypatch):
    runs = {"ours": OURS, "llama.cpp": replace(OURS, prompt_tokens=10)}
    monkeypatch.setattr(peers, "run_side", lambda side, *args: runs[side])
    with pytest.raises(RuntimeError, match="different prompts"):
        peers_llama.one_round({}, peer_first=True)


@pytest.mark.slow
def test_the_job_has_the_students_tokens_and_file(tmp_path):
    need(peers_llama.STUDENT)
    load = LOADS[1]._replace(n=2)
    job = peers_llama.make_job(load, tmp_path, "", 1)
    assert Path(job["file"]).read_bytes()[:4] == b"GGUF" and len(job["prompts"]) == 2
    assert all(100 < len(prompt) + load.max_tokens < peers_llama.CONTEXT for prompt in job["prompts"])
    assert json.loads(json.dumps(job)) == job
