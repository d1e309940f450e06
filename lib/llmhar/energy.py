"""Joules a piece of work took, where the machine counts them; None where it does not. Estimates nothing.

NVIDIA cards since Volta count their energy (NVML, through NVIDIA's own ``pynvml``). Intel and AMD processors count
theirs (RAPL), which Linux shows as files; kept libraries estimate where these cannot be read, so they are read here.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

RAPL = Path("/sys/class/powercap")


class Meter:
    """Energy counters at a start; ``joules`` is what they moved since."""

    joules: float | None = None
    """Set when the block ends; None = not measured."""


@contextlib.contextmanager
def measured(rapl: Path = RAPL) -> Iterator[Meter]:
    """Measure a block: whole cards and whole processor packages, whatever else runs on them."""
    meter, before = Meter(), _read(rapl)
    try:
        yield meter
    finally:
        after = _read(rapl)
        moved = [_moved(before[name], after[name]) for name in before.keys() & after.keys()]
        meter.joules = sum(moved) if moved else None


def _moved(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Joules between two readings (value, where the counter starts again from 0)."""
    difference = after[0] - before[0]
    return difference if difference >= 0 else difference + after[1]


def _read(rapl: Path) -> dict[str, tuple[float, float]]:
    return _read_rapl(rapl) | _read_nvml()


def _read_rapl(folder: Path) -> dict[str, tuple[float, float]]:
    """Packages only ("intel-rapl:0"): their sub-domains are part of them."""
    found = {}
    for package in folder.glob("intel-rapl:[0-9]*") if folder.is_dir() else ():
        if package.name.count(":") == 1:
            with contextlib.suppress(OSError, ValueError):  # readable by root alone on most systems
                value = int((package / "energy_uj").read_text()) / 1e6
                found[package.name] = (value, int((package / "max_energy_range_uj").read_text()) / 1e6)
    return found


def _read_nvml() -> dict[str, tuple[float, float]]:
    if importlib.util.find_spec("pynvml") is None:
        return {}
    import pynvml

    found = {}
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            with contextlib.suppress(pynvml.NVMLError):  # cards before Volta
                found[f"gpu{index}"] = (pynvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3, float("inf"))
    return found
