"""Notebooks 04, 04b and 04c: short, and their smoke profile cell by cell in this process (tests/run: by papermill)."""

from pathlib import Path
from typing import Any

import jupytext
import matplotlib
import pytest

from llmhar.distill.teaching import load_teachings
from llmhar.run import publish
from llmhar.run.jobs import plan_jobs
from tests.tools.notebook_sync import SOURCES

NAMES = ["04_distillation", "04b_transfer", "04c_small_students"]


def cells(name: str) -> list[str]:
    """Code of a notebook, its parameters first."""
    return [c.source for c in jupytext.read(SOURCES / f"{name}.py", fmt="py:percent").cells if c.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_short(name):
    parameters, *others = cells(name)
    assert len(parameters.splitlines()) <= 25
    assert max(len(line) for line in (SOURCES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 100
    assert {len(cell.splitlines()) > 12 for cell in others} == {False}


@pytest.mark.parametrize("profile", ["demo", "demo-full", "paper"])
def test_the_three_notebooks_speak_of_the_same_students(profile):
    """Whoever is opened by 04b and 04c is who 04 trained: same teaching, data, prompts, seeds."""
    one, *others = (job.spec.params for job in plan_jobs(profile, NAMES, {}, Path.cwd()))
    shared = set(one) & set(others[0]) & set(others[1])
    assert shared >= {"teacher", "students", "teaching", "teacher_prompt", "student_prompt", "thinking", "seed"}
    for other in others:
        assert {name: other[name] for name in shared} == {name: one[name] for name in shared}
    assert others[0]["datasets"] == one["datasets"] and others[1]["dataset"] == one["datasets"][0]
    assert one["teaching"] in load_teachings()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Notebook -> what its smoke profile published, and its names."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    whole = publish.publish
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMHAR_DATA", str(tmp_path_factory.mktemp("data")))
        matplotlib.use("agg")
        for job in plan_jobs("smoke", NAMES, {}, Path.cwd()):
            payloads: list[dict[str, Any]] = []
            patch.setattr(publish, "publish", lambda *a, _keep=payloads, **k: _keep.append(whole(*a, **k)))
            parameters, *others = cells(job.notebook)
            names: dict[str, Any] = {}
            exec(parameters, names)
            names |= job.spec.params
            for cell in others:
                exec(cell, names)
            found[job.notebook] = payloads[0], names
    return found


def test_smoke_of_04_asks_the_teacher_and_trains_nobody(published):
    payload, names = published["04_distillation"]
    numbers = payload["key_numbers"]
    cell = "f1 rules, taught nothing (teacher), on simulated 2 windows from each of 6 test sessions (seed 0)"
    assert {"teacher_f1", "majority_f1", "trees_f1_low", "lookup_f1", "embeddings_f1", "windows", cell} <= set(numbers)
    assert "student_f1" not in numbers
    assert numbers["teacher_f1"] == numbers[cell] > 0.5 > numbers["majority_f1"] and numbers["windows"] == 12
    roles = [row[1] for row in payload["table"]["rows"]]
    assert roles[0] == "teacher" and set(roles[1:]) == {"for comparison"}
    assert payload["figure_png"] and "published (S1)" in payload["kinds"]
    assert names["taught"].students == [] and names["confirmed"] == [] and names["points"] == []
    assert [trace.sample_index for trace in names["training_sets"][0].collected.traces][:2] == [0, 1]


def test_smoke_of_04b_fills_the_teacher_s_cell(published):
    payload, names = published["04b_transfer"]
    of_04 = published["04_distillation"][0]["key_numbers"]
    assert next(iter(payload["key_numbers"].values())) == of_04["teacher_f1"]
    assert len(names["matrix"]) == 7 + 1 + 7 and payload["table"]["columns"][-1] == "F1 % on simulated"
    assert len(payload["table"]["rows"]) == 1 + 7 and payload["figure_png"]


def test_smoke_of_04c_probes_the_teacher(published):
    payload, names = published["04c_small_students"]
    gaps = [f"gap {kind}, rules{part}" for kind in ("drop", "swap") for part in ("", "_pairs", "_low", "_high")]
    assert list(payload["key_numbers"]) == gaps
    assert len(names["outcomes"]) == 4 * 8 and names["measured"] == [] and names["further"] == []
    assert payload["figure_png"] is None and payload["table"]["rows"][0][0] == "rules"
