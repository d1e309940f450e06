"""Parent side of an engine that lives in a child process: start it, feed it, read it, end it.

JSON lines both ways over the child's stdin and stdout; its stderr goes to a log file. Imports no model library and
knows nothing of what a backend does (:mod:`llmhar.ask.engines.worker` is the other end).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

import llmhar
from llmhar import paths
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.loan import Loan
from llmhar.records import Fingerprint, Generation, Request

log = logging.getLogger("llmhar.engines")

SECRET_NAMES = re.compile(r"(^|_)[A-Z0-9]*(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL)S?($|_)")
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
          "UNSLOTH_DISABLE_STATISTICS": "1", "RAY_USAGE_STATS_ENABLED": "0", "ORT_DISABLE_TELEMETRY": "1",
          "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}  # fmt: skip
KEPT_LOGS = 50
FREE_THREADS = "LLMHAR_FREE_THREADS"
"""Set for a child that may change its number of threads while it runs."""


def free_cores(seconds: float = 0.5) -> int:
    """Cores that this process may use and that are idle now, at least 1.

    Two OpenMP threads on two cores, one of them busy, ran 30 times slower than one thread: each step waits for the
    slowest thread.
    """
    return _idle(psutil.cpu_percent(interval=seconds, percpu=True))


class CoresLeft:
    """How many cores others have left to this process since it was last asked, itself counted as idle; at least 1.

    A process that starts while another one works would otherwise stay on one thread for hours.
    """

    def __init__(self) -> None:
        self._own = psutil.Process()
        self()  # from here on

    def __call__(self) -> int:
        """Ask, a second or more after the last time."""
        return _idle(psutil.cpu_percent(percpu=True), self._own.cpu_percent() / 100)


def _idle(busy: Sequence[float], own: float = 0.0) -> int:
    """Cores that are idle where each is busy by so many percent, ``own`` cores' worth of it by this process."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    idle = sum(1 - busy[core] / 100 for core in allowed if core < len(busy))
    return max(1, min(round(idle + own), _quota()))


def _quota() -> int:
    """Cores that the container's CPU quota allows."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return os.cpu_count() or 1


def child_environment(*, hub: bool, threads: int) -> dict[str, str]:
    """The environment of a child: no telemetry, no secrets, offline unless the model comes from the hub."""
    env = {k: v for k, v in os.environ.items() if not SECRET_NAMES.search(k.upper()) or (hub and k == "HF_TOKEN")}
    env.update(_QUIET)
    if not hub:
        env.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    cache = paths.cache()
    env.update(VLLM_CACHE_ROOT=str(cache / "vllm"), VLLM_CONFIG_ROOT=str(cache / "vllm-config"))
    # Threads that wait asleep: spinning ones run 2 to 4 times slower as soon as anything else wants the cores.
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # vLLM would bind threads to cores itself and keep one free: "nobind" leaves the count below in force.
    env.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), VLLM_CPU_OMP_THREADS_BIND="nobind")
    library = str(Path(llmhar.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(p for p in (library, env.get("PYTHONPATH")) if p)
    return env


def new_log(name: str) -> Path:
    """A fresh file for a child's stderr; old ones beyond ``KEPT_LOGS`` go."""
    folder = paths.home() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"), key=lambda p: p.stat().st_mtime)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}-{time.monotonic_ns() % 100000}.log"


def last_words(log_file: Path) -> str:
    """The last line of a log that says something, preferably an error."""
    try:
        text = log_file.read_bytes()[-65536:].decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = (line for line in reversed(lines) if re.search(r"\w*(Error|Exception)\b:|^Fatal", line))
    return next(errors, lines[-1] if lines else "")[:400]


def _cure(words: str, code: int | None, model: str = "") -> str:
    if code == -signal.SIGKILL or re.search(r"out of memory|cannot allocate|MemoryError", words, re.I):
        return "free memory, or take a smaller model or max_model_len"
    if code == -signal.SIGILL:
        return "this processor lacks what this build needs; use engine=transformers"
    if "No module named" in words:
        return "install the locked environment again"
    if re.search(r"offline|connect|locate the file|not a valid model", words, re.I):
        return "run: llmhar models fetch NAME"
    if re.search(r"SafetensorError|metadata incomplete|incomplete metadata|Protobuf parsing failed", words, re.I):
        return (
            f"a weights file of {model} is cut or damaged: delete it and run llmhar models fetch NAME, or train again"
        )
    return "the log says more"


class Worker(subprocess.Popen[bytes]):
    """A child's process; what it is to load is in its input as soon as it starts."""

    def __init__(self, backend: str, config: Mapping[str, Any], *, hub: bool = False, threads: int | None = None):
        """Start it; returns at once. Arguments are :class:`ChildEngine`'s."""
        self.threads = threads or free_cores()
        self.log_file = new_log(backend.partition(":")[0])
        environment = child_environment(hub=hub, threads=self.threads)
        with open(self.log_file, "wb") as log_stream:
            # -P: files beside a notebook must not shadow modules. A session of its own: Ctrl-C in a notebook
            # interrupts the kernel's process group, and the loaded model should survive that.
            super().__init__(
                [sys.executable, "-P", "-m", "llmhar.ask.engines.worker", backend, str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_stream, env=environment,
                start_new_session=True,
            )  # fmt: skip
        assert self.stdin is not None
        with contextlib.suppress(OSError):  # it is gone already: its silence will say so
            self.stdin.write(json.dumps(config).encode() + b"\n")
            self.stdin.flush()

    def end(self) -> None:
        """It leaves when its input closes, and is made to if it does not."""
        assert self.stdin is not None
        with contextlib.suppress(OSError):
            self.stdin.close()
        for wait, number in ((10, signal.SIGTERM), (5, signal.SIGKILL)):
            try:
                self.wait(wait)
                break
            except subprocess.TimeoutExpired:
                signal_all(self.pid, number)
        self.wait()


def signal_all(pid: int, number: int) -> None:
    """Signal a child and its own children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


class ChildEngine:
    """An engine in a process of its own. One ``stream`` at a time; starting it takes as long as loading the model."""

    def __init__(
        self,
        backend: str,
        config: dict[str, Any],
        *,
        hub: bool = False,
        threads: int | None = None,
        start_timeout: float = 3600,
        loan: Loan | None = None,
    ) -> None:
        """Start the child and wait until its model is loaded.

        Args:
            backend: A key of ``worker.BACKENDS``, or "module:Class".
            config: What the backend is started with, JSON-ready.
            hub: Whether the child may reach the Hugging Face hub (and gets HF_TOKEN).
            threads: OpenMP threads; None takes the cores that are free now.
            start_timeout: Seconds until a silent child is given up.
            loan: A child that was started so already; leaving the ``with`` gives it back if all went well.

        Raises:
            EngineError: The child could not start: its last word, its log, a cure.
        """
        self._backend = backend
        self._replies: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._dead = ""
        self._closed = False
        self._next_id = 0
        self._streaming = False
        self._flawed = False
        self._process = loan or Worker(backend, config, hub=hub, threads=threads)
        self.threads, self.log_file = self._process.threads, self._process.log_file
        self._reader = threading.Thread(target=self._read, name=f"{backend}-reader", daemon=True)
        self._reader.start()
        try:
            ready = (loan and loan.ready) or self._start(config, start_timeout)
        except BaseException:
            signal_all(self._process.pid, signal.SIGKILL)  # a child that loads does not see that its input closes
            self.close()
            raise
        self._ready = ready
        self._fingerprint = Fingerprint(backend, ready["version"], ready["dtype"], ready["device"])
        self._in_flight: int = ready["in_flight"]
        self.max_model_len: int = ready["max_model_len"]
        log.info("%s started: %s, log %s", backend, ready, self.log_file)

    def _start(self, config: dict[str, Any], timeout: float) -> dict[str, Any]:
        try:
            first = self._replies.get(timeout=timeout)
        except queue.Empty:
            raise EngineError(f"{self._backend} said nothing for {timeout:.0f} s; log: {self.log_file}") from None
        if first is not None and "ready" in first:
            ready: dict[str, Any] = first["ready"]
            return ready
        code = None if first is not None else self._process.wait(10)
        words = first["fatal"] if first is not None else last_words(self.log_file)
        ended = "" if code is None else f" (exit {code})"
        cure = _cure(words, code, str(config.get("model", "its model")))
        raise EngineError(f"{self._backend} could not start{ended}: {words}; {cure}; log: {self.log_file}")

    def _read(self) -> None:
        """Move replies to the queue, so that the child never waits for a full pipe."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._replies.put(json.loads(line))
            except ValueError:
                log.warning("%s wrote a line that is no JSON: %r", self._backend, line[:200])
        self._replies.put(None)

    def _write(self, message: dict[str, Any]) -> None:
        """Send one line; a child that is gone shows in the replies, not here."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            log.debug("%s takes no more input", self._backend)

    @property
    def pid(self) -> int:
        """The child's process id, for what is measured from outside."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child can be asked."""
        return not self._closed and self._process.poll() is None

    def fingerprint(self) -> Fingerprint:
        """Where generations of this engine are made."""
        return self._fingerprint

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer all requests, each as soon as it is ready; only a bounded number is in flight.

        An iterator that is dropped half-way cancels what is in flight; the engine stays usable.
        """
        if self._streaming:
            raise RuntimeError("this engine is already answering another stream")
        self._streaming = True
        waiting: dict[int, str] = {}
        try:
            for request in requests:
                if self._gone():
                    yield self._lost(request.key)
                    continue
                self._send(request, waiting)
                while waiting and (len(waiting) >= self._in_flight or not self._replies.empty()):
                    yield from self._receive(waiting)
            while waiting:
                yield from self._receive(waiting)
        finally:
            self._streaming = False
            self._flawed |= bool(waiting)
            if waiting and not self._gone():
                self._write({"cancel": True})

    def _send(self, request: Request, waiting: dict[int, str]) -> None:
        number, self._next_id = self._next_id, self._next_id + 1
        waiting[number] = request.key
        message = request.to_json()
        if request.adapter_path:
            message["adapter_path"] = str(Path(request.adapter_path).absolute())
        self._write({"id": number, "request": message})

    def _receive(self, waiting: dict[int, str]) -> Iterator[Generation]:
        reply = self._replies.get()
        if reply is None:
            code = self._process.wait()
            ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._dead = f"the {self._backend} process ended while it worked ({ending}); log: {self.log_file}"
            while waiting:
                yield self._lost(waiting.pop(next(iter(waiting))))
            return
        key = waiting.pop(reply.pop("id"), None)
        self._flawed |= reply.get("finish_reason") == "error"
        if key is not None:  # else it belongs to a stream that was dropped
            yield Generation(request_key=key, **reply)

    def _gone(self) -> bool:
        if self._closed and not self._dead:
            self._dead = f"the {self._backend} engine was closed; log: {self.log_file}"
        return bool(self._dead)

    def _lost(self, key: str) -> Generation:
        return Generation(request_key=key, finish_reason="error", error=self._dead)

    def close(self) -> None:
        """End the child."""
        if self._closed:
            return
        self._closed = True
        self._process.end()
        self._reader.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """End the child; one that was lent is given back, unless a request failed or was dropped."""
        if isinstance(self._process, Loan) and exc[0] is None and not self._flawed and self.alive:
            self._closed = True
            self._process.stop_reading()
            self._reader.join()
            self._process.give_back(self._ready)
        self.close()
