"""Kills while a home is made: it stays whole and nothing is left; each check fails on a planted fault."""

import os
import subprocess
import sys
import time

import pytest

from llmhar import paths
from llmhar.data.own import make
from tests.bench import kills_homes
from tests.bench.kills import Tally, campaign
from tests.bench.kills_homes import Making
from tests.proof.test_faults_kill import hang, here, killed


def test_a_home_that_is_killed_while_it_is_made_is_whole(tmp_path):
    tally = campaign(Making(tmp_path, n=300), 3)
    assert (tally.half, tally.broken, tally.differ) == ([], [], 0) and tally.kills == 3


def test_a_kill_between_two_files_leaves_a_home_and_nothing_hidden(tmp_path, monkeypatch):
    real, folder = paths.os.replace, tmp_path / "work"

    def replace(source, target):
        if str(target).endswith(".parquet"):
            hang(folder)
        real(source, target)

    work, tally = Making(tmp_path, n=300), Tally()
    whole = tmp_path / "whole"
    whole.mkdir()
    work.begin(whole)
    work.run(whole)
    wanted = work.result(whole, tally)
    work.do = lambda *given: [monkeypatch.setattr(paths.os, "replace", replace), make.make(*given)]
    killed(work, folder, here, tally)
    assert [file.name for file in (folder / "data" / "flat").glob(".*.part")] != []
    work.do = make.make
    work.run(folder)
    assert work.result(folder, tally) == wanted and tally.half == [] and tally.broken == []


def test_a_maker_that_writes_in_place_is_seen(tmp_path):
    folder = tmp_path / "work"

    def planted(name, files, plan):
        file = paths.data() / name / "events.parquet"
        file.write_bytes(file.read_bytes()[:100])
        hang(folder)

    tally = killed(Making(tmp_path, do=planted), folder, here)
    assert tally.half == ["events.parquet"] and "events.parquet" in tally.broken[0]


@pytest.mark.parametrize(("whose", "age", "stays"), [("killed", 99, False), ("killed", 1, True), ("running", 99, True)])
def test_what_killed_writers_left_is_swept(tmp_path, whose, age, stays):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".a.txt.{ended.pid if whose == 'killed' else os.getppid()}.part"
    left.write_text("half")
    (tmp_path / ".b.txt.1.part").write_text("another file's")
    os.utime(left, (time.time() - age,) * 2)
    paths.write_text(tmp_path / "a.txt", "whole")
    assert left.exists() == stays and (tmp_path / ".b.txt.1.part").exists()
    assert kills_homes.FILES == ("home.yaml", "events.parquet")
