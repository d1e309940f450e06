"""Memory that a process and its children take at most, sampled from outside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

from llmhar.ask.meter import high_water

EVERY = 0.05
"""Seconds between samples: shorter peaks are missed."""


class Peak:
    """What was found so far; final when the block ends."""

    bytes: int = 0
    """Most resident bytes of the process and its children together, at one moment inside the block; pages they share
    count for each. 0: the process was never seen alive."""
    since_start: int | None = None
    """Most resident bytes of the process itself since it began, loading included (Linux' VmHWM); None: not known."""


@contextlib.contextmanager
def peak_memory(pid: int) -> Iterator[Peak]:
    """Measure a block: ``with peak_memory(engine.pid) as peak: ...``, then ``peak.bytes``.

    Args:
        pid: the process; if it ends inside the block, what was seen until then stands.
    """
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while True:
            peak.bytes = max(peak.bytes, _resident(pid))
            peak.since_start = high_water(pid) or peak.since_start
            if stop.wait(EVERY):
                return

    watcher = threading.Thread(target=watch, name="peak-memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()
        peak.bytes = max(peak.bytes, _resident(pid))
        peak.since_start = high_water(pid) or peak.since_start


def _resident(pid: int) -> int:
    """Resident bytes of a process and its children now; 0 where it is gone."""
    total = 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total
