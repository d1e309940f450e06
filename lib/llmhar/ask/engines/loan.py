"""Borrower's side of an engine that the run owns (:mod:`llmhar.ask.engines.kept`). Starts and ends none itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar


class Loan:
    """A child's process that the run owns, as far as an engine needs ``subprocess.Popen``.

    The owner ends it when this connection ends in any other way than by :meth:`give_back`.
    """

    MESSAGE: ClassVar[int] = 65536
    """Most bytes of a message, a JSON line each."""
    out: ClassVar[bool] = False
    """Whether this process has one now."""

    def __init__(self, address: str, terms: Mapping[str, Any]) -> None:
        """Borrow a child; waits until no other notebook has it.

        Args:
            address: the owner's socket.
            terms: :class:`Worker`'s arguments; the child that waits is lent where it was started with the same.

        Raises:
            OSError: nobody lends one.
        """
        self._owner = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._owner.connect(address)
            self._owner.sendall(json.dumps({"lend": terms}).encode() + b"\n")
            said, pipes, _, _ = socket.recv_fds(self._owner, self.MESSAGE, 2, socket.MSG_CMSG_CLOEXEC)
            if len(pipes) < 2:
                raise OSError(f"no engine was lent: {said.decode()}")
        except BaseException:
            self._owner.close()
            raise
        lent = json.loads(said)
        self.pid: int = lent["pid"]
        self.threads: int = lent["threads"]
        self.log_file = Path(lent["log"])
        self.ready: dict[str, Any] | None = lent["ready"]
        """What it said when it had loaded its model; None where it has yet to say so."""
        self.stdin = os.fdopen(pipes[0], "wb")
        self._stop, stopping = os.pipe()
        self._stopping: int | None = stopping
        self.stdout = self._lines(pipes[1])
        Loan.out = True

    def _lines(self, pipe: int) -> Iterator[bytes]:
        """What the child writes, until it ends or is given back: a line that is read here is read by nobody else."""
        poller, rest = select.poll(), b""
        for each in (pipe, self._stop):
            poller.register(each, select.POLLIN)
        try:
            while self._stop not in dict(poller.poll()):
                *lines, rest = (rest + (piece := os.read(pipe, 65536))).split(b"\n")
                yield from lines
                if not piece:
                    return
        finally:
            for each in (pipe, self._stop):
                os.close(each)

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What the owner replies; nothing where it is gone, and the child with it."""
        with contextlib.suppress(OSError):
            self._owner.sendall(json.dumps(message).encode() + b"\n")
            reply: dict[str, Any] = json.loads(self._owner.recv(self.MESSAGE) or b"{}")
            return reply
        return {}

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as ``Popen.wait``; raises ``TimeoutExpired``."""
        code: int | None = self._ask({"wait": timeout}).get("code", -signal.SIGKILL)
        if code is None:
            raise subprocess.TimeoutExpired("engine", timeout or 0)
        return code

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def stop_reading(self) -> None:
        """End :attr:`stdout`."""
        if self._stopping is not None:
            os.close(self._stopping)
            self._stopping = None

    def give_back(self, ready: Mapping[str, Any]) -> None:
        """Leave it to the next who asks; nothing that it was sent may be unanswered, and nobody may read it still."""
        self._leave({"keep": ready})

    def end(self) -> None:
        """Have it ended; returns when it is gone."""
        self._leave({"end": True})

    def _leave(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.stdin.close()
        self._ask(message)
        self._owner.close()
        self.stop_reading()
        Loan.out = False
