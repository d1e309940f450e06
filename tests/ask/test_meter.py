"""Joules are measured whole or not at all."""

import os
import subprocess
import sys
import threading
import time
import types
from importlib.machinery import ModuleSpec

import pytest

from llmhar.ask import meter as energy


@pytest.fixture(autouse=True)
def no_card(monkeypatch):
    """Whatever this machine has: no card, unless a test brings one."""
    monkeypatch.setattr(energy, "_read_nvml", lambda cards: {})


@pytest.fixture
def rapl(tmp_path):
    """A folder as Linux shows it: ``set(name, microjoules)``."""

    class Folder:
        path = tmp_path

        @staticmethod
        def set(name, value, most=262_143_328_850):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{value}\n")
            (tmp_path / name / "max_energy_range_uj").write_text(f"{most}\n")

    Folder.set("intel-rapl:0", 1_000_000)
    Folder.set("intel-rapl:1", 5_000_000)
    Folder.set("intel-rapl:0:0", 900_000)  # cores: part of package 0
    (tmp_path / "intel-rapl").mkdir()  # the driver's own folder
    return Folder


def test_nothing_there_is_not_measured(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with energy.measured(folder) as meter:
            pass
        assert meter.joules is None


def test_packages_add_up_and_their_parts_do_not_count_twice(rapl):
    with energy.measured(rapl.path) as meter:
        assert meter.joules is None
        rapl.set("intel-rapl:0", 3_500_000)
        rapl.set("intel-rapl:1", 5_250_000)
        rapl.set("intel-rapl:0:0", 2_000_000)
    assert meter.joules == pytest.approx(2.75, abs=1e-12)


def test_nothing_spent_is_zero_not_absent(rapl):
    with energy.measured(rapl.path) as meter:
        pass
    assert meter.joules == 0.0


def test_counters_start_again_from_zero(rapl):
    rapl.set("intel-rapl:0", 9_000_000, most=10_000_000)
    with energy.measured(rapl.path) as meter:
        rapl.set("intel-rapl:0", 500_000, most=10_000_000)
    assert meter.joules == pytest.approx(1.5, abs=1e-12)


def test_counters_that_start_again_twice_are_followed(rapl, monkeypatch):
    """A package goes round in minutes, a pass takes hours: one reading at each end would lose whole rounds."""
    monkeypatch.setattr(energy, "EVERY", 0.01)
    real, seen = energy._read, []
    monkeypatch.setattr(energy, "_read", lambda *where: seen.append(real(*where)) or seen[-1])
    rapl.set("intel-rapl:0", 0, most=10_000_000)
    threads = threading.active_count()
    with energy.measured(rapl.path) as meter:
        for joules in (4, 8, 2, 6, 1):  # moved 4, 4, 4, 4 and 5
            (rapl.path / "new").write_text(f"{joules}000000")
            os.replace(rapl.path / "new", rapl.path / "intel-rapl:0" / "energy_uj")
            deadline, n = time.monotonic() + 10, len(seen)
            while len(seen) < n + 2 and time.monotonic() < deadline:
                time.sleep(0.002)
    assert meter.joules == pytest.approx(21.0, abs=1e-9)
    assert threading.active_count() == threads


def test_one_unreadable_package_leaves_all_unmeasured(rapl):
    """Half of a machine's joules are not its joules."""
    (rapl.path / "intel-rapl:1" / "energy_uj").unlink()
    with energy.measured(rapl.path) as meter:
        rapl.set("intel-rapl:0", 2_000_000)
    assert meter.joules is None
    (rapl.path / "intel-rapl:1" / "energy_uj").write_text("garbage")
    with energy.measured(rapl.path) as meter:
        pass
    assert meter.joules is None


def test_a_file_for_root_alone_is_not_measured(rapl):
    secret = rapl.path / "intel-rapl:0" / "energy_uj"
    secret.chmod(0)
    if os.access(secret, os.R_OK):  # root reads everything: a folder in its place cannot be read by anybody
        secret.unlink()
        secret.mkdir()
    with energy.measured(rapl.path) as meter:
        pass
    assert meter.joules is None


def test_a_counter_that_goes_away_leaves_the_block_unmeasured(rapl):
    with energy.measured(rapl.path) as meter:
        rapl.set("intel-rapl:0", 2_000_000)
        (rapl.path / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.joules is None


def test_an_exception_still_sets_joules_and_passes_on(rapl):
    with pytest.raises(KeyboardInterrupt), energy.measured(rapl.path) as meter:
        rapl.set("intel-rapl:0", 4_000_000)
        raise KeyboardInterrupt
    assert meter.joules == pytest.approx(3.0, abs=1e-12)


class Cards:
    """A made-up pynvml: millijoules of each card, None where the card does not count."""

    def __init__(self, monkeypatch, millijoules, broken=False):
        module = types.ModuleType("pynvml")
        module.__spec__ = ModuleSpec("pynvml", None)
        module.NVMLError = type("NVMLError", (Exception,), {})
        self.millijoules = millijoules

        def start():
            if broken:
                raise module.NVMLError("driver not loaded")

        def energy_of(index):
            if self.millijoules[index] is None:
                raise module.NVMLError("not supported")
            return self.millijoules[index]

        module.nvmlInit = start
        module.nvmlDeviceGetCount = lambda: len(self.millijoules)
        module.nvmlDeviceGetHandleByIndex = lambda index: index
        module.nvmlDeviceGetTotalEnergyConsumption = energy_of
        monkeypatch.undo()  # the module's own reader again
        monkeypatch.setitem(sys.modules, "pynvml", module)


def test_cards_of_the_engine_add_up_and_others_do_not_count(tmp_path, monkeypatch):
    cards = Cards(monkeypatch, [1_000, 50_000, 7, None])
    with energy.measured(tmp_path, cards={0, 1}) as meter:
        cards.millijoules[:3] = [11_500, 50_250, 99_000]
    assert meter.joules == pytest.approx(10.75, abs=1e-12) and meter.counters == ("gpu0", "gpu1")
    for unknown in (None, {0, 3}):  # whose cards are not known, or do not all count
        with energy.measured(tmp_path, cards=unknown) as meter:
            cards.millijoules[0] += 1
        assert meter.joules is None and meter.counters == ()


def test_an_engine_has_the_cards_that_its_processes_compute_on(monkeypatch):
    def node(*pids):
        monkeypatch.setattr(energy, "_processes_by_card", lambda: dict(enumerate(pids)))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    own, card = os.getpid(), "cuda:NVIDIA A100"
    node({1}, {own, 2}, set(), {own})
    assert energy.cards_of("vllm", card, own) == {1, 3}
    assert energy.cards_of("vllm", "cpu", own) == set()
    assert energy.cards_of("openai", "host:80", None) is None and energy.cards_of("ray", card, None) is None
    node({1}, set())
    assert energy.cards_of("vllm", card, own) is None, "two cards, and none says whose it is"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert energy.cards_of("vllm", card, own) == {1}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    node({1})
    assert energy.cards_of("vllm", card, own) == {0}
    node()
    assert energy.cards_of("vllm", card, own) is None


def test_a_child_of_the_engine_counts_as_the_engine(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        monkeypatch.setattr(energy, "_processes_by_card", lambda: {0: set(), 1: {child.pid}})
        assert energy.cards_of("vllm", "cuda:x", os.getpid()) == {1}
    finally:
        child.kill()
        child.communicate()


def test_cards_and_packages_add_up(rapl, monkeypatch):
    cards = Cards(monkeypatch, [0])
    with energy.measured(rapl.path, cards={0}) as meter:
        cards.millijoules[0] = 2_000
        rapl.set("intel-rapl:1", 6_000_000)
    assert meter.joules == pytest.approx(3.0, abs=1e-12)
    assert meter.counters == ("gpu0", "intel-rapl:0", "intel-rapl:1")


def test_no_driver_no_old_card_no_joules(tmp_path, monkeypatch):
    Cards(monkeypatch, [1_000], broken=True)
    with energy.measured(tmp_path, cards={0}) as meter:
        pass
    assert meter.joules is None
    Cards(monkeypatch, [None])
    with energy.measured(tmp_path, cards={0}) as meter:
        pass
    assert meter.joules is None


def test_a_card_that_was_set_back_is_not_measured(tmp_path, monkeypatch):
    """Infinity would be no JSON, and the pass would lose its seconds with it."""
    cards = Cards(monkeypatch, [5_000])
    with energy.measured(tmp_path, cards={0}) as meter:
        cards.millijoules[0] = 10
    assert meter.joules is None
