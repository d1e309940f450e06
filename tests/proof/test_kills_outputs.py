"""Kills and full disks while labels, exports and records are written; each check fails on a planted fault."""

import shutil
from pathlib import Path

import pytest

from llmhar import paths
from llmhar.distill.export import export
from llmhar.score.label import write_rows
from tests.bench import kills_outputs
from tests.bench.disks import Fault, judge, small_disk
from tests.bench.faults_store import SPACE
from tests.bench.kills import Tally, campaign
from tests.bench.kills_homes import Making
from tests.bench.kills_outputs import OUTPUTS, Exporting, Labelling, Recording, on_full_disk
from tests.proof.test_faults_kill import hang, here, killed


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_is_killed_while_it_is_written_is_old_or_new(tmp_path, kind):
    tally = campaign(OUTPUTS[kind](tmp_path), 2)
    assert (tally.half, tally.broken, tally.differ, tally.doubles) == ([], [], 0, 0) and tally.kills == 2


def hanging_at(folder, monkeypatch, is_it):
    """From now on a move that ``is_it`` says is the one hangs before it is made."""
    real = paths.os.replace

    def replace(source, target):
        if is_it(Path(source), Path(target)):
            hang(folder)
        real(source, target)

    monkeypatch.setattr(paths.os, "replace", replace)


def test_an_export_killed_between_two_moves_is_put_back_and_replaced(tmp_path, monkeypatch):
    work, folder, tally = Exporting(tmp_path), tmp_path / "work", Tally()
    (tmp_path / "whole").mkdir()
    work.begin(tmp_path / "whole")
    work.run(tmp_path / "whole")
    wanted = work.result(tmp_path / "whole", tally)
    is_last = lambda source, target: source.name == "fresh" and target == folder / "out"  # noqa: E731
    work.do = lambda *given, **more: [hanging_at(folder, monkeypatch, is_last), export(*given, **more)]
    killed(work, folder, here, tally)
    assert not (folder / "out").exists() and [one.name for one in folder.glob(".out.*.part/before")] == ["before"]
    monkeypatch.setattr(paths, "STALE_S", -1.0)
    paths._sweep(folder / "out")
    assert kills_outputs.contents(folder / "out") in work.known and not list(folder.glob(".out.*"))
    work.do = export
    work.run(folder)
    assert work.result(folder, tally) == wanted and tally.half == []


def test_an_older_name_that_begins_alike_is_nobody_s(tmp_path):
    for name in (".a.b.xy.1.part", ".a.xyz.part"):
        (tmp_path / name / "before").mkdir(parents=True)
    paths._take_away(tmp_path / ".a.b.xy.1.part", tmp_path / "a")
    assert not (tmp_path / "a").exists() and not (tmp_path / ".a.b.xy.1.part").exists()
    paths._sweep(tmp_path / "a")
    assert (tmp_path / ".a.xyz.part").exists()


def test_folders_that_are_written_in_place_are_seen(tmp_path):
    def in_place(name, to, form, replace):
        shutil.rmtree(to)
        to.mkdir()
        (to / "half.gguf").write_bytes(b"GGUF")
        hang(tmp_path / "work")

    work = Exporting(tmp_path)
    work.do = in_place
    assert killed(work, tmp_path / "work", here).half[0].startswith("out: ")


def test_a_table_that_is_written_in_place_is_seen(tmp_path):
    def in_place(rows, file):
        file.write_text("session,id\n")
        hang(tmp_path / "work")

    work = Labelling(tmp_path, home=tmp_path)
    work.write = in_place
    assert killed(work, tmp_path / "work", here).half[0].startswith("labels.csv: ")


def test_a_record_of_two_runs_is_seen(tmp_path):
    def one_by_one(profile):
        kept = paths.record() / profile / "02_prompting"
        shutil.copy(paths.reports() / profile / "02_prompting" / "run.json", kept)
        hang(tmp_path / "work")

    work = Recording(tmp_path)
    work.do = one_by_one
    assert killed(work, tmp_path / "work", here).half[0].startswith("record: ")


FULL = {
    "label": (lambda scratch: Labelling(scratch, home=scratch), "labels.csv"),
    "students export": (Exporting, "out"),
    "record": (Recording, "02_prompting"),
    "data new": (Making, "flat"),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_full_disk_leaves_what_was_there(tmp_path, kind):
    make, file = FULL[kind]
    try:
        with small_disk(8) as disk:
            assert judge(Fault(kind, file, SPACE), on_full_disk(disk, tmp_path, make)).verdict == "met"
    except OSError as error:
        pytest.skip(str(error))


def test_a_full_disk_that_takes_what_was_there_is_seen(tmp_path):
    def in_place(rows, file):
        try:
            write_rows(rows, file)
        except OSError:
            file.write_text("half")
            raise

    try:
        with small_disk(8) as disk:
            seen = on_full_disk(disk, tmp_path, lambda scratch: Labelling(scratch, in_place, home=scratch))
    except OSError as error:
        pytest.skip(str(error))
    assert seen.lost
