"""Kernels that die and kept engines that are killed, as rows of the table of faults; planted faults are seen."""

import os
import time

import pytest

from tests.bench import faults_kernel
from tests.bench.faults_kernel import KERNELS, kept_claim, kernel_claim


@pytest.mark.timeout(120)
def test_a_kernel_out_of_memory_is_one_line_of_cause(monkeypatch):
    monkeypatch.setattr(faults_kernel, "LIMIT_S", 60.0)  # other tests run beside this one
    claim = kernel_claim("out of memory")
    assert claim.verdict == "met", claim


def good(job, cause=KERNELS["killed"][1], copy="before the fault", status="failed", ago=0.0):
    """What a run would leave; no kernel is started."""
    stamp = job.folder.parents[2] / "stamp"
    stamp.touch()
    os.utime(stamp, (time.time() - ago,) * 2)
    job.folder.mkdir(parents=True)
    (job.folder / "report.ipynb").write_text(copy)
    return {"status": status, "cause": cause}


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ({"cause": KERNELS["killed"][1] + "\nTraceback"}, "more than a line"),
        ({"cause": "something failed"}, "another cause"),
        ({"copy": "{}"}, "no partial copy"),
        ({"status": "ok"}, "not marked failed"),
        ({"ago": 100.0}, "100."),
    ],
)
def test_a_run_that_says_it_otherwise_or_late_is_seen(plant, said):
    assert kernel_claim("killed", good).verdict == "met"
    claim = kernel_claim("killed", lambda job: good(job, **plant))
    assert claim.verdict == "missed" and f"faults; {said}" in claim.why, claim


def test_a_kept_engine_that_is_killed_is_replaced_and_one_that_is_lent_again_is_seen():
    claim = kept_claim(1)
    assert claim.verdict == "met", claim
    first = []

    def stale():
        first.append(faults_kernel.pid_of_a_cell())
        return first[0]

    assert kept_claim(1, cell=stale).verdict == "missed"
