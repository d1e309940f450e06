"""Bench faults, kills: the works are whole after a kill, and each check is seen to fail on a planted fault.

Kills of planted faults come when the work has said where it is, not after some time: a busy machine changes nothing.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import time
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest

from llmhar import paths
from llmhar.ask.store import Store
from llmhar.run import aside, report
from tests.bench import faults_kill, kills
from tests.bench.faults_kill import AGAIN, KILLS, judge
from tests.bench.kills import Filling, Tally, campaign, finish, kill, note, start
from tests.bench.kills_reports import Reporting, cards, import_all, is_ok, lies, run_jobs
from tests.bench.kills_training import Training


def hang(folder, name="here"):
    """Say where the work is, and wait for the kill."""
    (folder / name).touch()
    time.sleep(120)


def killed(work, folder, at, tally=None):
    """Begin the work, kill it as soon as ``at(folder)`` is true, and look."""
    tally = tally or Tally()
    folder.mkdir(exist_ok=True)
    work.begin(folder)
    pid = start(work.run, folder)
    deadline = time.monotonic() + 100
    while not at(folder) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert kill(pid), (folder / "said.txt").read_text()
    work.look(folder, tally)
    return tally


def lines(n):
    return lambda folder: (folder / kills.ASKED).exists() and (folder / kills.ASKED).read_text().count("\n") >= n


def here(folder):
    return (folder / "here").exists()


# Generation.


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("filling")


@pytest.fixture(scope="module")
def filling(scratch):
    return functools.partial(Filling, scratch, delay_s=0.002, n_windows=2)


def test_a_killed_store_goes_on_and_gives_the_same_tables(filling):
    tally = campaign(filling(), 2)
    assert (tally.half, tally.broken, tally.differ, tally.lost, tally.doubles) == ([], [], 0, 0, 0)
    assert tally.kills >= 1 and tally.again <= AGAIN["generation"][0]


def test_a_file_written_in_place_is_seen(filling, tmp_path):
    def in_place(file, text):
        file.write_text(text[: len(text) // 2])
        hang(file.parent)

    work = filling()
    assert killed(work, tmp_path / "whole", lines(3)).half == []
    work.write = in_place
    assert killed(work, tmp_path / "half", here).half[0].startswith("tables.csv: ")


class Blind(Store):
    """Finds nothing that is there, and holds no answer for a double."""

    def __init__(self, path):
        super().__init__(path)
        self._db.execute("DROP INDEX IF EXISTS one_success")

    def answered(self, keys, exactly=None, *, timed=False):
        return set()

    def find(self, keys, exactly=None, *, timed=False):
        return {}


class Late(Store):
    """Keeps answers in memory and stores every tenth time."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        self.waiting = [*getattr(self, "waiting", []), generation]
        if len(self.waiting) == 10:
            for one in self.waiting:
                super().add(one, fingerprint, pass_id)
            self.waiting = []
        return True


def again(work, folder):
    """Kill after 8 answers, run to the end; what the checks say."""
    tally = killed(work, folder, lines(8))
    finish(work, folder, tally)
    work.result(folder, tally)
    kills._count_again(folder, tally)
    return tally


def test_a_store_that_doubles_is_seen(filling, tmp_path):
    tally = again(filling(open_store=Blind), tmp_path / "s")
    assert tally.doubles > 1 and tally.again > 1


def test_a_store_that_keeps_answers_back_is_seen(filling, tmp_path):
    tally = again(filling(open_store=Late), tmp_path / "s")
    assert tally.lost > 0 and tally.again > 1


def test_a_damaged_store_and_a_failing_run_are_seen(filling, tmp_path):
    work, tally = filling(), Tally()
    finish(work, tmp_path, tally)
    assert tally.broken == []
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("DELETE FROM requests")
    kills.check_store(tmp_path / "store.sqlite", tally)
    assert tally.broken and "dangling" in tally.broken[0]
    for file in tmp_path.glob("store.sqlite*"):
        file.unlink()
    (tmp_path / "store.sqlite").write_text("no store" * 1000)
    kills.check_store(tmp_path / "store.sqlite", failed := Tally())
    finish(work, tmp_path, failed)
    assert "not a database" in failed.broken[0] and "a run ended with code 1" in failed.broken[1]


def test_a_kill_takes_the_whole_family(tmp_path):
    """Children in sessions of their own too, as a notebook's kernel is."""

    def parent(folder):
        if os.fork() == 0:
            os.setsid()
            while True:
                note(folder, "alive")
                time.sleep(0.01)
        time.sleep(120)

    pid = start(parent, tmp_path)
    while not lines(2)(tmp_path):
        time.sleep(0.01)
    assert kill(pid)
    size = (tmp_path / kills.ASKED).stat().st_size
    time.sleep(0.2)
    assert (tmp_path / kills.ASKED).stat().st_size == size


# Report.


@pytest.fixture(scope="module")
def reporting(tmp_path_factory):
    import_all()
    return Reporting(tmp_path_factory.mktemp("reporting"))


def test_a_killed_report_is_old_or_new(reporting):
    tally = campaign(reporting, 1)
    assert (tally.half, tally.lies, tally.broken, tally.differ) == ([], [], [], 0)


def settled(source, target):
    """Name of a file that is moved from its attempt's folder to its place; empty for any other move."""
    return Path(target).name if Path(source).parent == Path(target).parent / aside.ASIDE else ""


def killed_at_record(work, folder, run):
    """Kill when the new page of the first notebook stands, but not yet its record."""

    def halting(source, target):
        if settled(source, target) == aside.RECORD:
            hang(folder)
        real(source, target)

    real, work._run = os.replace, run
    with patch.object(os, "replace", halting):
        return killed(work, folder, here)


def test_an_old_card_over_a_new_page_is_seen(reporting, tmp_path):
    """What llmhar did before: the index kept the old card while its notebook ran again."""

    def without_index(planned, folder):
        with patch.object(report, "write_index", lambda folder: folder):
            run_jobs(planned, folder)

    assert killed_at_record(reporting, tmp_path / "good", run_jobs).lies == []
    tally = killed_at_record(reporting, tmp_path / "bad", without_index)
    assert tally.half == [] and "card of 00_first says ok of another run's page" in tally.lies


def test_a_page_written_in_place_is_seen(reporting, tmp_path):
    def in_place(source, target):
        if settled(source, target) == "report.html":
            text = Path(source).read_text()
            Path(target).write_text(text[: len(text) // 2])
            hang(tmp_path)
        real(source, target)

    real, reporting._run = os.replace, run_jobs
    with patch.object(os, "replace", in_place):
        assert killed(reporting, tmp_path, here).half == ["00_first/report.html is neither old nor new"]


def test_a_record_that_says_ok_of_a_failed_notebook_is_seen(reporting, tmp_path):
    folder = tmp_path / "reports" / "smoke"
    reporting._run, reporting.version = run_jobs, 2
    reporting.begin(tmp_path)
    finish(reporting, tmp_path, tally := Tally())
    assert tally.broken == [] and lies(folder) == []
    failed = folder / "01_second" / aside.ASIDE / "report.ipynb"
    assert is_ok(folder / "00_first" / "report.ipynb") and is_ok(folder / "01_second" / "report.ipynb")
    assert not is_ok(failed) and (folder / "index.html").read_text().count("A later run failed") == 1
    assert [status for status, _ in cards(folder / "index.html").values()] == ["ok", "ok"], "the last good ones"
    failed.replace(folder / "01_second" / "report.ipynb")
    assert lies(folder) == ["01_second is marked ok"] * 2, "in its record and on its card"


@pytest.mark.parametrize("fault", ["not run to its end", "cut", "gone"])
def test_a_notebook_that_is_not_whole_is_not_ok(tmp_path, fault):
    cell = nbformat.v4.new_code_cell("1", execution_count=1)
    rest = nbformat.v4.new_code_cell("2", execution_count=None if fault == "not run to its end" else 2)
    text = nbformat.writes(nbformat.v4.new_notebook(cells=[cell, rest]))
    if fault != "gone":
        (tmp_path / "report.ipynb").write_text(text[: len(text) // 2] if fault == "cut" else text)
    assert not is_ok(tmp_path / "report.ipynb")


# Training: a toy in the trainer's place, which keeps its rules.


def toy(folder, *, forgets=False, record_first=False):
    """Adds up its examples, a checkpoint a step; ``forgets`` starts from zero with other data where one was left."""
    student, data = folder / "home" / "students" / "toy", [1, 2, 3, 4, 5, 6]
    state = {"step": 0, "sum": 0}
    if (student / "checkpoint").exists():
        state = json.loads((student / "checkpoint").read_text())
        if forgets:
            state, data = {"step": 0, "sum": 0}, data[:3] * 2
    for name in ("job.json", "examples.jsonl", "batches.jsonl"):
        paths.write_text(student / name, "always the same")
    while state["step"] < len(data):
        state = {"step": state["step"] + 1, "sum": state["sum"] + data[state["step"]]}
        note(folder, state["step"])
        paths.write_text(student / "checkpoint", json.dumps(state))
        time.sleep(0.02)
    text = f"weights {state['sum']}"
    record = {"weights_sha256": kills.hashlib.sha256(text.encode()).hexdigest(), "losses": []}
    steps = [lambda: paths.write_text(student / "adapter" / "adapter_model.safetensors", text),
             lambda: paths.write_text(student / "student.json", json.dumps(record))]  # fmt: skip
    for number, step in enumerate(reversed(steps) if record_first else steps):
        step()
        if record_first and number == 0:
            hang(folder)


def resumed(tmp_path, train):
    """Whether a training that was killed at its third step ends as an undisturbed one."""
    work, tally = Training(tmp_path, train), Tally()
    (tmp_path / "whole").mkdir()
    finish(work, tmp_path / "whole", tally)
    wanted = work.result(tmp_path / "whole", tally)
    killed(work, tmp_path / "killed", lines(3), tally)
    finish(work, tmp_path / "killed", tally)
    same = work.result(tmp_path / "killed", tally) == wanted
    kills._count_again(tmp_path / "killed", tally)
    return same, tally


def test_a_training_that_goes_on_ends_the_same(tmp_path):
    same, tally = resumed(tmp_path, toy)
    assert same and tally.half == [] and tally.again <= 1


def test_a_training_that_starts_from_zero_with_other_data_is_seen(tmp_path):
    same, tally = resumed(tmp_path, functools.partial(toy, forgets=True))
    assert not same and tally.again > AGAIN["training"][0]


def test_a_student_whose_record_comes_before_its_weights_is_seen(tmp_path):
    tally = killed(Training(tmp_path, functools.partial(toy, record_first=True)), tmp_path / "s", here)
    assert tally.half == ["student.json or the weights that it names"]


# Claims.


def test_two_hundred_kills_in_all():
    assert sum(KILLS.values()) >= 200 and KILLS["report"] >= 50 and set(faults_kill.WORKS) == set(KILLS)


def good():
    return {kind: Tally(kills=n, seconds=1.0) for kind, n in KILLS.items()}


def test_whole_campaigns_meet_every_claim():
    assert {claim.verdict for claim in judge(good(), KILLS)} == {"met"}


@pytest.mark.parametrize(
    ("kind", "fault", "row"),
    [
        ("report", {"kills": 49}, "kill -9 in report: random points, each run again to the end"),
        ("training", {"differ": 1}, "kill -9 in training: re-runs with other tables"),
        ("notebook", {"half": ["run.json"]}, "kill -9, all kinds: files half-written"),
        ("notebook", {"lies": ["00_tour is marked ok"]}, "kill -9, all kinds: notebooks marked ok that are not"),
        ("generation", {"broken": ["malformed"]}, "kill -9, all kinds: stores damaged, or re-runs that failed"),
        ("generation", {"lost": 1}, "kill -9, all kinds: answers or students lost"),
        ("generation", {"doubles": 1}, "kill -9, all kinds: answers or students double"),
        ("generation", {"again": 2}, "kill -9 in generation: work done again after one kill"),
    ],
)
def test_each_fault_misses_its_claim(kind, fault, row):
    tallies = good()
    for name, value in fault.items():
        setattr(tallies[kind], name, value)
    assert [claim.claim for claim in judge(tallies, KILLS) if claim.verdict == "missed"] == [row]


def test_a_kind_without_kills_is_not_measured():
    tallies = good()
    del tallies["training"]
    [claim] = [claim for claim in judge(tallies, KILLS) if claim.verdict != "met"]
    assert claim.verdict == "not measured" and "qwen3-tiny" in claim.why
