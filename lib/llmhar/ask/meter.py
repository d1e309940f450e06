"""What a piece of work took: joules, where the machine counts them, else None; and memory. Estimates nothing.

NVIDIA cards since Volta count their energy (NVML, through NVIDIA's own ``pynvml``). Intel and AMD processors count
theirs (RAPL), which Linux shows as files; kept libraries estimate where these cannot be read, so they are read here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import re
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

RAPL = Path("/sys/class/powercap")
EVERY = 30.0
"""Seconds between readings inside a block: a package's counter starts again from 0 after 65 to 262 kJ: in minutes."""

Counters = dict[str, tuple[float, float]]
"""Counter -> (joules, where it starts again from 0)."""


class Meter:
    """Energy counters at a start; ``joules`` is what they moved since."""

    joules: float | None = None
    """Set when the block ends; None = not measured."""


@contextlib.contextmanager
def measured(rapl: Path = RAPL) -> Iterator[Meter]:
    """Measure a block: whole cards and whole processor packages, whatever else runs on them.

    Not measured, rather than in part: a block in which a counter came, went or was set back.
    """
    meter, readings, stop = Meter(), [_read(rapl)], threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY):
            readings.append(_read(rapl))

    watcher = threading.Thread(target=watch, daemon=True) if readings[0] else None
    if watcher:
        watcher.start()
    try:
        yield meter
    finally:
        stop.set()
        if watcher:
            watcher.join()
        readings.append(_read(rapl))
        meter.joules = _joules(readings)


def _joules(readings: list[Counters]) -> float | None:
    """What all counters moved, from reading to reading; None where not all of them were there all the time."""
    if not readings[0] or any(reading.keys() != readings[0].keys() for reading in readings):
        return None
    total = sum(_moved(before[name], after[name]) for before, after in pairwise(readings) for name in before)
    return total if math.isfinite(total) else None


def _moved(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Joules between two readings."""
    difference = after[0] - before[0]
    return difference if difference >= 0 else difference + after[1]


def _read(rapl: Path) -> Counters:
    return _read_rapl(rapl) | _read_nvml()


def _read_rapl(folder: Path) -> Counters:
    """Packages only ("intel-rapl:0"): their sub-domains are part of them. All of them or none."""
    counters = {}
    try:
        for package in folder.glob("intel-rapl:[0-9]*"):
            if package.name.count(":") == 1:
                value = int((package / "energy_uj").read_text()) / 1e6
                counters[package.name] = (value, int((package / "max_energy_range_uj").read_text()) / 1e6)
    except (OSError, ValueError):  # readable by root alone on most systems
        return {}
    return counters


def _read_nvml() -> Counters:
    if importlib.util.find_spec("pynvml") is None:
        return {}
    import pynvml

    counters = {}
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            with contextlib.suppress(pynvml.NVMLError):  # cards before Volta
                counters[f"gpu{index}"] = (pynvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3, math.inf)
    return counters


def high_water(pid: int | None) -> int | None:
    """Most resident bytes of a process since it began (Linux' VmHWM); None: not known, or no process."""
    try:
        line = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.M)
    except OSError:
        return None
    return int(line[1]) * 1024 if line else None
