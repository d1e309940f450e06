"""Seconds as a quiet core would take them: for tests of speed on machines that are slow or busy.

A limit in plain seconds fails on a machine three times slower and passes a fault on one three times faster. So work is
timed beside a yardstick (some parsing and counting in plain Python) whose time on a quiet core is known, in CPU seconds
of this thread, and the best pair of several counts. The benches measure plain seconds.
"""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Callable

YARDSTICK_S = 0.0088  # of one yardstick on a quiet core of the machine where the limits of the tests were set
_TEXT = json.dumps([{"id": n % 10, "activity": f"activity number {n}"} for n in range(12_500)])


def yardstick() -> float:
    """CPU seconds of a piece of work that never changes."""
    begun = time.thread_time()
    count = 0
    for item in json.loads(_TEXT):
        count += len(item["activity"].split()) + item["id"]
    for found in re.finditer(r"(\d+)[^{}]*\}", _TEXT):
        count += len(found[1])
    return time.thread_time() - begun


def quiet_seconds(work: Callable[[], object], runs: int = 5) -> float:
    """CPU seconds of ``work`` in this thread, as a quiet core of the reference machine takes; best of some."""
    best = float("inf")
    collects = gc.isenabled()
    gc.disable()  # as timeit does: what other tests left in memory is no part of the work
    try:
        for _ in range(runs):
            before = yardstick()
            begun = time.thread_time()
            work()
            seconds = time.thread_time() - begun
            best = min(best, seconds * YARDSTICK_S / max(before, yardstick()))
    finally:
        if collects:
            gc.enable()
    return best
