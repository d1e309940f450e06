"""`llmhar explore`: the offline file from the store, and the notebook served on loopback."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run import explore
from llmhar.score import evaluate as evaluation
from llmhar.settings import SettingsError
from llmhar.text.prompt import PromptForm
from tests.jupyterlab import free_port


@pytest.fixture
def values():
    return explore.settings_of("smoke", {"models": "rules"}, Path.cwd())


def test_what_was_never_asked_says_what_to_run(values, tmp_path):
    with (
        Store(tmp_path / "s.sqlite") as store,
        pytest.raises(EngineError, match=r"no answer of rules.*llmhar run demo 06"),
    ):
        explore.write_html(values, tmp_path / "out.html", store)
    assert not (tmp_path / "out.html").exists()
    with pytest.raises(SettingsError, match="modles"):
        explore.settings_of("smoke", {"modles": "rules"}, Path.cwd())


def test_the_file_holds_what_the_store_has_and_asks_nobody(values, tmp_path, monkeypatch):
    task = prepare(
        "simulated",
        windowing=Windowing(n=values["n_windows"], seed=values["seed"]),
        form=PromptForm(values["wording"], values["serializer"], values["answer"]),
    )
    with Store(tmp_path / "s.sqlite") as store:
        evaluation.evaluate(
            task, ["rules"], asking=Asking(sampling=Sampling(max_tokens=values["max_tokens"])), store=store
        )
        monkeypatch.setattr("llmhar.ask.inference.open_model", None)  # whoever asks fails
        size = explore.write_html(values, tmp_path / "out.html", store)
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert size == len(page.encode()) and "default-src" in page and "<script src" not in page


@pytest.mark.timeout(180)
def test_voila_serves_the_notebook_on_loopback_alone(tmp_path):
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "llmhar.cli",
        "explore",
        "--profile",
        "smoke",
        "-p",
        "models=rules",
        "--port",
        str(port),
    ]
    environment = os.environ | {"LLMHAR_HOME": str(tmp_path / "home")}
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        page = b""
        while time.monotonic() < deadline and b"TraceBrowser" not in page and server.poll() is None:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=100).read()
            except OSError:
                time.sleep(1)
        assert b"TraceBrowser" in page, (tmp_path / "log").read_text()[-2000:]
        assert b"Traceback" not in page
        with socket.socket() as outside:  # not on other addresses of this machine
            outside.settimeout(2)
            address = socket.gethostbyname(socket.gethostname())
            assert address.startswith("127.") or outside.connect_ex((address, port)) != 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(20)
