"""An engine that stays for the next cell and the next notebook of a run: starting one takes longer than many answers.

``llmhar run`` owns it: a thread of that process starts the child, and lends it over a socket in a folder of its own to
one notebook at a time, which talks to the child by the child's own pipes. Whatever is killed, nothing stays: a child
leaves with the run, and one that a killed notebook had is ended. Never more than one waits, and whoever starts another
engine or a training has it ended (:func:`close`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from llmhar.ask.engines.child import Worker
from llmhar.ask.engines.loan import Loan

log = logging.getLogger("llmhar.engines")
VARIABLE = "LLMHAR_KEPT_ENGINE"
"""Environment variable: the socket of who lends engines; not set or empty = nobody does."""
_PREFIX = "llmhar-engine-"


def borrow(terms: Mapping[str, Any]) -> Loan | None:
    """A child that was, or is now, started on these terms; None where this process has to start its own.

    Args:
        terms: arguments of :class:`llmhar.ask.engines.child.Worker`, JSON-ready.
    """
    address = os.environ.get(VARIABLE)
    if not address or Loan.out:
        return None
    try:
        return Loan(address, terms)
    except OSError as error:
        log.warning("%s: %s; this notebook starts its own", address, error)
        return None


def close() -> None:
    """End the engine that waits, if there is one; returns when its process has gone."""
    address = os.environ.get(VARIABLE)
    if address and not Loan.out:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as owner:
            owner.connect(address)
            owner.sendall(b'{"end": true}\n')
            owner.recv(Loan.MESSAGE)


class Host:
    """Owns the one engine of a run; leaving the ``with`` ends it."""

    def __init__(self) -> None:
        """Start listening."""
        _sweep()
        folder = tempfile.mkdtemp(prefix=_PREFIX)  # 0700: nobody else may ask
        self.address = str(Path(folder, "socket"))
        self._turn = threading.Lock()
        self._worker: Worker | None = None
        self._terms: Mapping[str, Any] = {}
        self._ready: dict[str, Any] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(self.address)
        self._socket.listen()
        threading.Thread(target=self._accept, name="engine-host", daemon=True).start()

    def prepare(self, terms: Mapping[str, Any]) -> None:
        """Start the child that will be asked first, while its notebook starts; where another is, this one is ended.

        Args:
            terms: as :func:`borrow`'s.
        """
        with self._turn:
            self._start(terms)

    def _start(self, terms: Mapping[str, Any]) -> Worker:
        """The child on these terms: the one that waits, else a new one."""
        if self._worker is None or self._worker.poll() is not None or self._terms != terms:
            self._end()
            self._worker, self._terms = Worker(**terms), terms
        return self._worker

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                threading.Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, notebook: socket.socket) -> None:
        with suppress(OSError), notebook:
            asked = json.loads(notebook.recv(Loan.MESSAGE) or b"{}")
            with self._turn:
                if "lend" in asked:
                    self._lend(notebook, asked["lend"])
                elif "end" in asked:
                    self._end()
                notebook.sendall(b"{}\n")

    def _lend(self, notebook: socket.socket, terms: Mapping[str, Any]) -> None:
        """Lend the engine until the notebook gives it back; one that does not has it ended."""
        worker, given_back = self._start(terms), False
        assert worker.stdin is not None and worker.stdout is not None
        about = {"pid": worker.pid, "threads": worker.threads, "log": str(worker.log_file), "ready": self._ready}
        try:
            pipes = [worker.stdin.fileno(), worker.stdout.fileno()]
            socket.send_fds(notebook, [json.dumps(about).encode() + b"\n"], pipes)
            while "wait" in (said := json.loads(notebook.recv(Loan.MESSAGE) or b"{}")):
                code = None
                with suppress(subprocess.TimeoutExpired):
                    code = worker.wait(said["wait"])
                notebook.sendall(json.dumps({"code": code}).encode() + b"\n")
            given_back, self._ready = "keep" in said, said.get("keep")
        finally:
            if not given_back:
                self._end()

    def _end(self) -> None:
        worker, self._worker, self._ready = self._worker, None, None
        if worker is not None:
            worker.end()
            assert worker.stdout is not None
            worker.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._socket.close()
        shutil.rmtree(Path(self.address).parent, ignore_errors=True)
        self._end()


def _sweep() -> None:
    """Take away the sockets of runs that were killed."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/socket"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as owner:
            try:
                owner.connect(str(old))
            except ConnectionRefusedError:
                shutil.rmtree(old.parent, ignore_errors=True)
            except OSError:
                continue
