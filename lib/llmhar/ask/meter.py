"""What a piece of work took: joules, where the machine counts them, else None; and memory. Estimates nothing.

NVIDIA cards since Volta count their energy (NVML, through NVIDIA's own ``pynvml``). Intel and AMD processors count
theirs (RAPL), which Linux shows as files; kept libraries estimate where these cannot be read, so they are read here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import threading
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

import psutil

RAPL = Path("/sys/class/powercap")
ELSEWHERE = ("openai", "ray")
"""Engines that compute on other machines, whose counters nobody here can read."""
EVERY = 30.0
"""Seconds between readings inside a block: a package's counter starts again from 0 after 65 to 262 kJ: in minutes."""

Counters = dict[str, tuple[float, float]]
"""Counter -> (joules, where it starts again from 0)."""


class Meter:
    """Energy counters at a start; ``joules`` is what they moved since."""

    joules: float | None = None
    """Set when the block ends; None = not measured."""
    counters: tuple[str, ...] = ()
    """Whose joules they are, set with them: "gpu0", "intel-rapl:0"."""


@contextlib.contextmanager
def measured(rapl: Path = RAPL, cards: Collection[int] | None = ()) -> Iterator[Meter]:
    """Measure a block: the engine's whole cards and all processor packages, whatever else runs on them.

    Not measured, rather than in part: a block in which a counter came, went or was set back, or whose cards do not
    count.

    Args:
        rapl: Linux' folder of packages.
        cards: indices of the engine's cards, from :func:`cards_of`; None = not known, so nothing is measured.
    """
    meter, stop = Meter(), threading.Event()
    readings = [_read(rapl, cards)]

    def watch() -> None:
        while not stop.wait(EVERY):
            readings.append(_read(rapl, cards))

    watcher = threading.Thread(target=watch, daemon=True) if readings[0] else None
    if watcher:
        watcher.start()
    try:
        yield meter
    finally:
        stop.set()
        if watcher:
            watcher.join()
        readings.append(_read(rapl, cards))
        meter.joules = _joules(readings)
        meter.counters = tuple(sorted(readings[0])) if meter.joules is not None else ()


def cards_of(engine: str, device: str, pid: int | None) -> set[int] | None:
    """Indices of the cards that an engine computes on, as NVML counts them; None where that cannot be told.

    Args:
        engine: key into ``ENGINES``; what computes on another machine is not measured here.
        device: of its fingerprint, "cpu" or "cuda:<name>".
        pid: its process; None = it has none of its own.
    """
    if engine in ELSEWHERE:
        return None
    if not device.startswith("cuda"):
        return set()
    running = _processes_by_card()
    tree = set()
    with contextlib.suppress(psutil.Error):
        tree = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    computing = {card for card, pids in running.items() if pids & tree}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not computing and re.fullmatch(r"\d+(,\d+)*", visible):  # a container may hide the numbers of processes
        computing = set(map(int, visible.split(",")))
    return computing or (set(running) if len(running) == 1 else None)


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


def _read(rapl: Path, cards: Collection[int] | None) -> Counters:
    """Counters of all packages and of these cards; empty where not all of the cards count."""
    of_cards = _read_nvml(cards or ())
    return {} if cards is None or len(of_cards) < len(cards) else _read_rapl(rapl) | of_cards


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


def _processes_by_card() -> dict[int, set[int]]:
    """Every card and the processes that compute on it; none where there is no driver."""
    if importlib.util.find_spec("pynvml") is None:
        return {}
    import pynvml

    running: dict[int, set[int]] = {}
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            running[index] = set()
            with contextlib.suppress(pynvml.NVMLError):
                found = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(index))
                running[index] = {process.pid for process in found}
    return running


def _read_nvml(cards: Collection[int]) -> Counters:
    if not cards or importlib.util.find_spec("pynvml") is None:
        return {}
    import pynvml

    counters = {}
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in cards:
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
