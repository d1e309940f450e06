"""Bench faults, storage: each check holds for the store and the files, and is seen to fail on a planted fault."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import sys
import time

import psutil
import pytest
import tqdm

from llmhar import paths, settings
from llmhar.ask import models
from llmhar.ask.store import Store, StoreError
from llmhar.run import jobs, report
from tests.bench import disks, faults_store
from tests.bench.disks import DAMAGES, Fault, Seen, asks, judge, request, use_store
from tests.bench.faults_store import ON_DISKS, changed_letters, clock_jump, cut_adapter, cut_model, shared

FAULT = Fault("a disk is full", "store.sqlite", r"Free some space")


def verdicts(claims):
    return [claim.verdict for claim in claims]


def missed(claims):
    return [claim.claim.rpartition(": ")[2] for claim in claims if claim.verdict == "missed"]


# Faulty stores, each with one fault.


class Doubling(Store):
    """Takes the answers of each process for others: no unique index holds them apart."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        return super().add(generation, dataclasses.replace(fingerprint, device=f"{os.getpid()}"), pass_id)


class Impatient(Store):
    """Does not wait for others that write, and takes its time itself."""

    def __init__(self, path):
        super().__init__(path)
        self._db.execute("PRAGMA busy_timeout = 0")

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        with self._transaction():
            time.sleep(0.002)
        return super().add(generation, fingerprint, pass_id)


class Trusting(Store):
    """Takes letters as they stand: no answer has a checksum."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        done = super().add(generation, fingerprint, pass_id)
        self._db.execute("DELETE FROM sums")
        return done

    def find(self, keys, exactly=None, *, timed=False):
        self._db.execute("DELETE FROM sums")
        return super().find(keys, exactly)


class Resigned(Store):
    """Finds damaged answers, and lets them stand in the way of new ones."""

    def _set_aside(self, damaged):
        print(f"{self.path}: {len(damaged)} damaged", file=sys.stderr)


class Forgetful(Store):
    """Says that an answer is stored, and does not store it."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        return "7" in generation.text or super().add(generation, fingerprint, pass_id)


class Swallowing(Store):
    """Says nothing of its errors."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        try:
            return super().add(generation, fingerprint, pass_id)
        except StoreError:
            return False


class Mumbling(Store):
    """Says that something is wrong, but neither where nor what to do."""

    def add(self, generation, fingerprint, pass_id=None, *, timed=False):
        try:
            return super().add(generation, fingerprint, pass_id)
        except StoreError as error:
            raise RuntimeError("database or disk is full") from error


class Halfway(Store):
    """Notes asks one by one: an error leaves some of them."""

    def note_asks(self, rows):
        for row in rows:
            super().note_asks([row])


class Dated(Store):
    """Believes in no answer from the future."""

    def find(self, keys, exactly=None, *, timed=False):
        late = {
            key for (key,) in self._db.execute("SELECT request_key FROM attempts WHERE created_utc > ?", (time.time(),))
        }
        return {key: one for key, one in super().find(keys, exactly, timed=timed).items() if key not in late}


def start_afresh(path):
    """Replaces a store that it cannot open."""
    try:
        return Store(path)
    except StoreError:
        path.unlink()
        return Store(path)


# Several processes.


def test_four_processes_share_a_store():
    assert verdicts(shared(100, start="fork")) == ["met"] * 3


@pytest.mark.parametrize(
    ("open_store", "seen"),
    [(Doubling, "answers double"), (Impatient, "writes that failed"), (Forgetful, "answers lost or changed")],
)
def test_a_store_that_several_cannot_share_is_seen(open_store, seen):
    assert seen in missed(shared(50, open_store, start="fork"))


# Full and read-only disks.


@pytest.fixture
def disk(request):
    try:
        with disks.small_disk(getattr(request, "param", 2)) as made:
            yield made
    except OSError as error:
        pytest.skip(str(error))


def test_all_checks_on_disks_are_met(disk):
    """Real, small file systems: the fixture says whether this machine has them."""
    assert {claim.claim: claim.verdict for claim in faults_store.on_disks()} == {
        fault.name: "met" for _, fault, _ in ON_DISKS
    }


@pytest.mark.parametrize(
    ("open_store", "measured"),
    [(Swallowing, "no error"), (Mumbling, "does not name store.sqlite; the message names no cure")],
)
def test_a_store_that_hides_a_full_disk_is_seen(disk, open_store, measured):
    claim = judge(FAULT, disks.store_on_full_disk(disk, open_store))
    assert claim.verdict == "missed" and measured in claim.measured


def test_half_of_a_transaction_is_seen(disk):
    claim = judge(FAULT, disks.many_asks_on_full_disk(disk, Halfway))
    assert claim.verdict == "missed" and "lost" in claim.measured


def test_a_file_written_in_place_is_seen(disk):
    seen = disks.file_on_full_disk(disk, lambda target, text: target.write_text(text) and None)
    assert seen.lost and "does not name" in judge(Fault("full", "report.html", "space"), seen).measured


def test_silence_in_a_read_only_folder_is_seen(disk):
    def write(file):
        try:
            paths.write_text(file, "text")
        except OSError:
            return

    seen = disks.read_only(disk, write, "report.html")
    assert judge(Fault("read-only", "report.html", "writable"), seen).measured == "no error"


def test_without_small_disks_nothing_is_measured(monkeypatch):
    def refuse(megabytes):
        raise OSError("only root may mount")

    monkeypatch.setattr(disks, "small_disk", refuse)
    assert set(verdicts(faults_store.on_disks())) == {"not measured"}


@pytest.mark.parametrize(
    ("seen", "measured"),
    [
        (Seen("no room in store.sqlite. Free some space.", 0), "file and cure named, 0 lost"),
        (Seen("", 0), "no error"),
        (Seen("no room", 0), "the message does not name store.sqlite; the message names no cure"),
        (Seen("no room in store.sqlite. Free some space.", 3), "3 lost"),
    ],
)
def test_a_fault_must_be_said_with_file_and_cure(seen, measured):
    claim = judge(FAULT, seen)
    assert claim.measured == measured and (claim.verdict == "met") == (measured == "file and cure named, 0 lost")


# Damaged stores.


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_store_is_said_and_left_alone(tmp_path, name):
    seen = disks.damaged_store(tmp_path, DAMAGES[name])
    assert judge(Fault(name, "store.sqlite", faults_store.NEW), seen).verdict == "met", seen


@pytest.mark.parametrize("name", ["a text file", "header overwritten"])
def test_a_store_that_replaces_a_damaged_one_is_seen(tmp_path, name):
    seen = disks.damaged_store(tmp_path, DAMAGES[name], start_afresh)
    assert seen.said == "" and seen.lost


def damaged(path):
    """A store that opens, and of which hardly a page is readable."""
    use_store(path)
    path.write_bytes(path.read_bytes()[:4096] + DAMAGES["middle overwritten"](path.read_bytes())[4096:])
    whole = path.read_bytes()
    path.write_bytes(disks._overwrite(whole, 8192, len(whole) - 8192))
    return Store(path)


@pytest.mark.parametrize(
    "read",
    [
        lambda store, keys: store.find(keys),
        lambda store, keys: store.failures(keys),
        lambda store, keys: [store.request(key) for key in keys],
        lambda store, keys: [store.asked_for(key) for key in keys],
        lambda store, keys: store.counts(),
    ],
)
def test_reading_damaged_pages_is_a_store_error(tmp_path, read):
    keys = [request(i).key for i in range(300)]
    with damaged(tmp_path / "store.sqlite") as store:
        with pytest.raises(StoreError, match=r"cannot read the store .*store\.sqlite: .*Move it away"):
            read(store, keys)
        with pytest.raises(StoreError, match=r"cannot (?:read|write to) the store .*store\.sqlite: .*Move it away"):
            store.note_asks(asks(400))


def test_a_wrong_call_is_not_taken_for_damage(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.counts()


def test_a_store_that_does_not_open_holds_no_file(tmp_path):
    path = tmp_path / "store.sqlite"
    path.write_text("no database, but a text of some length" * 10)
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert caught.value.__traceback__ is not None, "held, as by whoever prints it"
    assert str(path) not in [file.path for file in psutil.Process().open_files()]


def test_a_run_names_the_damaged_store_as_its_cause(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    paths.write_text(tmp_path / "home" / "store.sqlite", "no database" * 100)
    spec = settings.make_spec("00_x", "smoke", {})
    report.run_job(jobs.Job("00_x", tmp_path / "none.ipynb", spec, tmp_path / "00_x", tmp_path))
    found = json.loads((tmp_path / "00_x" / "run.json").read_text())
    assert found["status"] == "failed" and "cannot open the store <store>/store.sqlite" in found["cause"]
    assert "Move it away" in found["cause"]


# Cut models, and the clock.


def test_cut_weights_are_not_used(tmp_path):
    assert judge(Fault("cut", "smollm2-135m-l4", "models fetch"), cut_model(tmp_path / "cache")).verdict == "met"
    assert cut_adapter(tmp_path / "student").verdict == "met"


def test_who_uses_cut_weights_is_seen(tmp_path):
    seen = cut_model(tmp_path / "cache", models.ModelSpec.folder)
    assert judge(Fault("cut", "smollm2-135m-l4", "models fetch"), seen).measured == "no error"
    assert cut_adapter(tmp_path / "student", lambda folder, parent: object()).verdict == "missed"


def test_a_clock_that_jumps_changes_nothing(tmp_path):
    assert verdicts(clock_jump(tmp_path)) == ["met", "met"]


def test_a_bar_and_a_store_that_trust_the_clock_are_seen(tmp_path):
    (tmp_path / "bar").mkdir()
    assert verdicts(clock_jump(tmp_path / "bar", bar=tqdm.tqdm)) == ["met", "missed"]
    assert verdicts(clock_jump(tmp_path, open_store=Dated)) == ["missed", "met"]


@pytest.mark.parametrize(("open_store", "wrong"), [
    (Store, []),
    (Trusting, ["answers read otherwise than stored", "not told with the file"]),
    (Resigned, ["answers missing after they were asked anew"]),
])  # fmt: skip
def test_changed_letters_are_found(tmp_path, open_store, wrong):
    assert missed(changed_letters(tmp_path, 40, open_store)) == wrong
