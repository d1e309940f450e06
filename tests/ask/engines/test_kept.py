"""An engine stays for the next cell and the next notebook of a run: never two, never a broken one, none that is timed.

Whoever is killed (notebook, engine, run), nothing runs on. Engines are child processes that load no model.
"""

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines import kept, registry
from llmhar.ask.engines.loan import Loan
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare
from llmhar.data.events import Windowing
from llmhar.records import Request, Sampling

FIXTURES = Path(__file__).parents[2] / "fixtures"
NAME, OTHER = "smollm2-135m", "smollm2-135m-l4"
PRELUDE = f"""
import os, signal, sys
from pathlib import Path
from llmhar.ask.engines import kept, registry
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.records import Request, Sampling
registry.ENGINES["onnx"] = registry._child("fake_backend:Echo")
ModelSpec.locate = lambda self: Path("/tmp", self.name)
def ask(text): return Request("m", "r", "", ({{"role": "user", "content": text}},))
def opened(name={NAME!r}): return registry.open_engine("onnx", MODELS[name], {{"stays": True, "threads": 1}})
"""
"""What another process has to run before it can ask as the tests here do."""


def ask(text):
    return Request("m", "r", "", ({"role": "user", "content": text},))


def opened(name=NAME, **options):
    return registry.open_engine("onnx", MODELS[name], {"stays": True, "threads": 1, **options})


def pid_of_a_cell(name=NAME, text="a", **options):
    """The engine that a cell was answered by."""
    with opened(name, **options) as engine:
        assert [g.text for g in engine.stream([ask(text)])] == [text]
        return engine.pid


def gone(pid, seconds=20):
    """Whether a process has left, or leaves soon."""
    for _ in range(seconds * 10):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def another(code):
    """Another process of the run; its first line of output is awaited."""
    process = subprocess.Popen([sys.executable, "-c", PRELUDE + code], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FIXTURES), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setitem(registry.ENGINES, "onnx", registry._child("fake_backend:Echo"))
    monkeypatch.setattr(ModelSpec, "locate", lambda self: Path("/tmp", self.name))


@pytest.fixture
def host(monkeypatch):
    with kept.Host() as host:
        monkeypatch.setenv(kept.VARIABLE, host.address)
        yield host
        last = host._worker
    assert last is None or gone(last.pid), "it outlived its run"
    assert not Path(host.address).parent.exists() and not Loan.out


def test_the_next_cell_and_the_next_notebook_have_the_same_engine(host):
    first = pid_of_a_cell()
    assert pid_of_a_cell(text="b") == first
    notebook, (pid, said) = another("with opened() as e: print(e.pid, next(e.stream([ask('c')])).text)")
    assert notebook.wait() == 0 and (int(pid), said) == (first, "c")
    assert pid_of_a_cell(text="d") == first
    assert stat.S_IMODE(Path(host.address).parent.stat().st_mode) == 0o700


def test_one_that_is_started_ahead_is_lent_to_who_asks_for_it_and_else_ended(host):
    terms = registry.child_terms("fake_backend:Echo", MODELS[NAME], registry.Options(threads=1))
    host.prepare(terms)
    ahead = host._worker.pid
    host.prepare(terms)
    assert pid_of_a_cell() == ahead == host._worker.pid
    assert pid_of_a_cell(OTHER) != ahead and not psutil.pid_exists(ahead)


def test_another_model_or_other_options_end_it(host):
    first = pid_of_a_cell()
    second = pid_of_a_cell(OTHER)
    assert second != first and not psutil.pid_exists(first)
    third = pid_of_a_cell(OTHER, max_num_seqs=3)
    assert third != second and not psutil.pid_exists(second)


def test_outside_of_a_run_it_leaves_at_once():
    assert kept.VARIABLE not in os.environ
    first = pid_of_a_cell()
    assert not psutil.pid_exists(first) and pid_of_a_cell() != first


def test_a_run_that_is_gone_lends_none(host, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, f"{host.address}-gone")
    first = pid_of_a_cell()
    assert not psutil.pid_exists(first)


@pytest.mark.parametrize("flaw", ["failed", "dropped", "raised", "killed while it waited"])
def test_a_flawed_engine_is_not_lent_again(host, flaw):
    try:
        with opened() as engine:
            asked = [ask("break" if flaw == "failed" else "a"), ask("hang" if flaw == "dropped" else "b")]
            first, stream = engine.pid, engine.stream(asked)
            answers = [next(stream)] if flaw == "dropped" else list(stream)
            assert all(answer.ok for answer in answers) != (flaw == "failed")
            stream.close()
            1 / (flaw != "raised")
    except ZeroDivisionError:
        assert flaw == "raised"
    if flaw.startswith("killed"):
        assert not gone(first, 1)
        os.kill(first, signal.SIGKILL)
        host._worker.wait(20)
    second = pid_of_a_cell()
    assert second != first and gone(first)


def test_an_engine_that_is_killed_at_work_says_so_and_the_next_is_whole(host):
    with opened() as engine:
        stream = engine.stream([ask("a"), ask("hang")])
        assert next(stream).ok
        os.kill(engine.pid, signal.SIGKILL)
        (lost,) = stream
        assert "SIGKILL" in lost.error and not engine.alive
    assert pid_of_a_cell() != engine.pid


def test_one_that_cannot_start_says_why_and_is_not_kept(host, monkeypatch):
    monkeypatch.setitem(registry.ENGINES, "onnx", registry._child("fake_backend:Missing"))
    with pytest.raises(registry.EngineError, match=r"could not start.*Missing"):
        opened()
    monkeypatch.setitem(registry.ENGINES, "onnx", registry._child("fake_backend:Echo"))
    pid_of_a_cell()


def test_a_second_engine_beside_one_that_is_lent_is_its_own(host):
    with opened() as first:
        second = pid_of_a_cell()
        assert second != first.pid and not psutil.pid_exists(second)
        assert next(first.stream([ask("x")])).text == "x"
    assert pid_of_a_cell() == first.pid


def test_a_notebook_waits_while_another_has_it(host):
    with opened() as engine:
        code = PRELUDE + "with opened() as e: print(e.pid)"
        waiting = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(4)
        assert next(engine.stream([ask("x")])).ok
    assert waiting.communicate(timeout=60)[0].split() == [str(engine.pid)]


def test_a_killed_notebook_has_its_engine_ended_and_the_next_has_a_new_one(host):
    code = "with opened() as e:\n print(e.pid, flush=True)\n list(e.stream([ask('hang')]))"
    notebook, (pid,) = another(code)
    notebook.kill()
    assert pid_of_a_cell() != int(pid) and gone(int(pid))


@pytest.mark.parametrize("while_it", ["works", "waits"])
def test_a_killed_run_leaves_nothing_running(while_it):
    code = (
        "host = kept.Host(); os.environ[kept.VARIABLE] = host.address\n"
        "with opened() as e:\n if {0}: print(e.pid, host.address, flush=True), list(e.stream([ask('hang')]))\n"
        "print(e.pid, host.address, flush=True), signal.pause()"
    )
    run, (pid, address) = another(code.format(while_it == "works"))
    assert Path(address).exists()
    run.kill()
    run.wait()
    assert gone(int(pid))
    with kept.Host():
        assert not Path(address).parent.exists(), "the next run sweeps"


def test_the_sweep_leaves_other_runs_alone(host):
    first = pid_of_a_cell()
    with kept.Host() as other:
        assert other.address != host.address and Path(host.address).exists()
    assert pid_of_a_cell() == first


def test_a_training_ends_the_one_that_waits(host, tmp_path, monkeypatch):
    from llmhar.distill import child

    first = pid_of_a_cell()
    registry.open_engine("rules", MODELS["rules"]).close()
    assert psutil.pid_exists(first), "rules need neither memory nor cores"
    monkeypatch.setattr(child, "new_log", lambda name: 1 / (psutil.pid_exists(first)))
    with pytest.raises(ZeroDivisionError):
        child.run_child("m", tmp_path, title="t")


@pytest.fixture(scope="module")
def windows(simulated_home):
    """Six tasks of a window each: asked one after the other, as cells do."""
    whole = prepare("simulated", simulated_home, windowing=Windowing(n=1))
    return [narrow(whole, {(w.session_id, w.index)}, "a window") for w in whole.windows[:6]]


def answered(task, store, **changes):
    """Asks about windows as a notebook does; returns what that took, and the engine that was opened."""
    asking = replace(Asking(engine="onnx", progress=False, engine_options={"threads": 1}), **changes)
    engines, real = [], inference.open_engine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "open_engine", lambda *how: engines.append(real(*how)) or engines[-1])
        patch.setattr(inference, "request_to", lambda model, asking: inference.partial(
            Request, model.name, "r", "t", sampling=asking.sampling))  # fmt: skip
        run = inference.run_asks(inference.make_asks(task, MODELS[NAME], asking), MODELS[NAME], store, asking)
    return run, engines[0].pid if engines else None


def test_what_is_timed_has_a_new_engine_that_does_not_stay(host, windows, tmp_path):
    with Store(tmp_path / "s.sqlite") as store:
        (_, first), (_, again) = answered(windows[0], store), answered(windows[1], store)
        _, timed = answered(windows[2], store, purpose="timed")
        assert first == again != timed and not psutil.pid_exists(first) and not psutil.pid_exists(timed)
        _, later = answered(windows[3], store)
        assert later not in (first, timed)


def test_a_notebook_killed_between_two_answers_loses_none(host, simulated_home, tmp_path):
    """The killed one has asked six windows and stored two; run again, it asks the four others of a new engine."""
    code = f"""
from llmhar.ask import inference
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.ask.engines.test_kept import answered
real, stored = Store.add, []
def add(self, *how, **more):
    if len(stored) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, *how, **more)
    stored.append(how)
Store.add = add
print("begun", flush=True)
with Store(Path({str(tmp_path / "s.sqlite")!r})) as store:
    answered(prepare("simulated", Path({str(simulated_home)!r}), windowing=Windowing(n=1)), store)
"""
    notebook, _ = another(code)
    assert notebook.wait(120) == -signal.SIGKILL
    with Store(tmp_path / "s.sqlite") as store:
        task = prepare("simulated", simulated_home, windowing=Windowing(n=1))
        run, _ = answered(task, store)
        assert (run.n_from_store, run.n_asked, run.n_failed) == (2, len(task.windows) - 2, 0)


@pytest.mark.timeout(600)
def test_texts_are_those_of_an_engine_of_its_own(host, qwen3_tiny, monkeypatch):
    monkeypatch.undo()  # its own weights, and nobody who lends
    asks = [replace(ask(f"event {n}"), sampling=Sampling(max_tokens=12)) for n in range(3)]

    def texts(stays):
        options = {"threads": 1, "stays": stays}
        with registry.open_engine("transformers", qwen3_tiny, options) as engine:
            return engine.pid, {g.request_key: g.text for g in engine.stream(asks) if g.ok}

    _, own = texts(stays=False)
    monkeypatch.setenv(kept.VARIABLE, host.address)
    (first, lent), (again, anew) = texts(stays=True), texts(stays=True)
    assert own == lent == anew and len(own) == 3 and first == again
