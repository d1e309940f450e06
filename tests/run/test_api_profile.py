"""`llmhar run api 02 03` end to end against a server on loopback: thinking in parts, 429s, a limit of dollars."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ask.engines import test_openai
from tests.ask.engines.test_openai import completion

server = test_openai.server
KEY = "sk-canary-of-the-api-profile"
EACH = (2000 * 1.0 + 400 * 10.0) / 1e6
"""US dollars of an answer: 2,000 tokens read, 400 written, 300 of them thinking."""
USAGE = {"prompt_tokens": 2000, "completion_tokens": 100, "total_tokens": 2400}


def thoughtful(body: dict):
    """Thinking in a part of its own, or beside the answer, as two families of servers have it."""
    window = body["messages"][-1]["content"]
    items = [{"id": int(n), "activity": "watching TV"} for n in dict.fromkeys(re.findall(r'"id": ?(\d+)', window))]
    text = json.dumps(items)
    if len(window) % 2:
        parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Somebody watches TV."}]},
                 {"type": "text", "text": text}]  # fmt: skip
        return (200, completion(parts, usage=USAGE))
    return (200, completion(text, usage=USAGE, reasoning_content="Somebody watches TV."))


class Busy:
    """Every fourth request is asked to come back later."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, body: dict):
        self.n += 1
        if self.n % 4 == 0:
            return (429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
        return thoughtful(body)


@pytest.fixture
def llmhar(server, tmp_path):
    env = os.environ | {"LLMHAR_HOME": str(tmp_path / "home"), "LLMHAR_REPORTS": str(tmp_path / "reports"),
                        "LLMHAR_OPENAI_API_KEY": KEY}  # fmt: skip

    def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmhar.cli", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def record(tmp_path: Path, notebook: str) -> dict:
    return json.loads((tmp_path / "reports" / "api" / notebook / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hosted_model_is_asked_stopped_resumed_and_costed(server, llmhar, tmp_path):
    server.replies = [Busy()]
    llmhar("models", "add", "mini", "--api", "--id", "org/mini", "--address", server.url, "--thinking",
           "--price-in", "1", "--price-out", "10", "--at-once", "4")  # fmt: skip
    run = ("run", "api", "02", "03", "-p", "models=rules,mini")

    stopped = llmhar(*run, "--max-usd", str(10.5 * EACH), code=1)
    first = record(tmp_path, "02_prompting")
    assert first["status"] == "stopped" and "the limit of $0.063 (--max-usd) is reached" in first["cause"]
    assert "$0.0600 are spent; every answer is stored: run again, with more, to go on" in first["cause"]
    assert "spent: $0.0600 of $0.063" in stopped.stderr
    assert record(tmp_path, "03_scaling")["status"] == "stopped", "nothing was left for it"
    answered = [body for body in server.asked if body["model"] == "org/mini"]
    n_first = len(answered)
    assert server.most_at_once <= 4 and first["key_numbers"] == {}
    page = (tmp_path / "reports" / "api" / "02_prompting" / "report.html").read_text()
    assert "is reached" in page and "before the first request to 127.0.0.1" in page and "about $" in page

    done = llmhar(*run, "--max-usd", "1")
    second, third = record(tmp_path, "02_prompting"), record(tmp_path, "03_scaling")
    assert second["status"] == third["status"] == "ok" and {"macro_f1_mini", "windows"} <= set(second["key_numbers"])
    n = second["key_numbers"]["windows"]
    (cost,), (again,) = second["costs"], third["costs"]
    assert (cost["answers"], cost["answers_now"]) == (n, n - 10) and cost["usd"] == pytest.approx(n * EACH)
    assert cost["usd_now"] == pytest.approx((n - 10) * EACH) and cost["output_tokens"] == 400 * n
    assert again["answers_now"] == 0 and again["usd"] == pytest.approx(n * EACH), "03 asks what 02 asked"
    assert f"spent: ${(n - 10) * EACH:.4f} of $1" in done.stderr
    assert len(server.asked) > n_first and all(body["max_tokens"] == 16384 for body in server.asked)
    assert all("chat_template_kwargs" not in body for body in server.asked)
    assert second["models"]["mini"] == {"id": "org/mini", "revision": "api"}
    assert f"mini: {n} answers, ${n * EACH:.4f} at prices of" in (tmp_path / "reports/api/index.html").read_text()
    report = (tmp_path / "reports" / "api" / "02_prompting" / "report.html").read_text()
    assert "USD paid" in report and "Somebody watches TV." in report

    asked = len(server.asked)
    llmhar(*run, "--max-usd", "0")  # all is stored: nothing to pay
    assert len(server.asked) == asked
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in kept
