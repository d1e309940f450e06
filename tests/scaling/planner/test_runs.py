"""What a run of a profile asks: each answer once, in the engines that its notebooks open."""

import math
from collections import Counter

import pytest

from llmhar.scaling.planner.plan import make_plan
from llmhar.scaling.planner.runs import run_jobs


@pytest.fixture
def paper(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    return run_jobs("paper", 3000)[0]


def of(jobs, model, what, name="mural"):
    return [job for job in jobs if (job.model.name, job.job, job.dataset) == (model, what, name)]


def test_each_sample_is_asked_once(paper):
    """02 asks MuRAL's 250 windows, 03 the four further samples, and 06 finds all in the store; MARBLE is 03's alone."""
    for model in ("qwen3-4b", "qwen3-8b", "qwen3-14b"):
        assert [(job.windows, job.runs, job.engine) for job in of(paper, model, "test")] == [
            (250, 1, "02_prompting, pass 1"), (1000, 4, "03_scaling, pass 1")
        ]  # fmt: skip
        assert [(job.windows, job.runs) for job in of(paper, model, "test", "marble")] == [(300, 5)]


def test_the_constrained_pass_and_the_thinking_conditions(paper):
    bound = [job for job in paper if job.job.startswith("constrained")]
    assert [(job.model.name, job.dataset, job.windows) for job in bound] == [
        ("qwen3-0.6b", "mural", 250), ("qwen3-0.6b", "marble", 60)
    ]  # fmt: skip
    sweep = [job for job in of(paper, "qwen3-0.6b", "test") if job.engine > "03_scaling, pass 3"]
    swept = [(job.load.output, job.windows) for job in sweep if job.engine.startswith("03_scaling")]
    assert swept == [(300, 250), (556, 250), (1324, 250), (3000, 250)], "on without limit is in the store"


def test_trainings_and_their_answers(paper):
    trainings = [job for job in paper if job.job == "training"]
    assert Counter((job.model.name, job.engine.split(",")[0]) for job in trainings) == {
        ("qwen3-0.6b", "student"): 2, ("qwen3-1.7b", "student"): 2, ("qwen3-0.6b", "Figure 4"): 15,
        ("qwen3-0.6b", "home student"): 1,
    }  # fmt: skip
    assert {job.windows for job in trainings} == {500 * 8}
    assert sum(job.windows for job in paper if job.job.startswith("Figure 4")) == 15 * 250
    assert sum(job.windows for job in paper if job.job.startswith("student")) == 2 * 2 * (250 + 60)
    assert sum(job.windows for job in paper if job.job == "train") == 544 + 126
    lessons = of(paper, "qwen3-32b", "teacher of the home student, qwen3 test", "simulated_homes")
    assert [job.windows for job in lessons] == [4000]
    assert sum(job.windows for job in paper if job.job.startswith("home student")) == 250 + 60


def test_engines_are_shared_within_a_pass_alone(paper):
    assert {job.cards for job in paper if job.engine.startswith("02")} == {1}, "02 names no cards"
    assert {job.cards for job in paper if job.engine.startswith(("03", "04"))} == {2}
    marble = of(paper, "qwen3-4b", "test", "marble")[0]
    assert marble.engine == "03_scaling, pass 1", "both data sets wait in one engine"
    plan = make_plan("paper", "a100-80")
    rows = [row for row in plan.run_rows if row.model == "qwen3-32b" and row.dataset == "mural" and row.job == "test"]
    assert [(row.windows, row.tensor_parallel, row.replicas, row.starved) for row in rows] == [
        (1, 1, 1, False), (250, 1, 1, True), (1000, 2, 1, False)
    ]  # fmt: skip


def test_the_run_stands_beside_s1_as_published(paper):
    plan = make_plan("paper", "a100-80")
    shown = plan.to_json()
    assert shown["gpu_hours_total"] == pytest.approx(14.318, abs=0.001), "S1 as published: unchanged"
    of_s1 = [
        row for row in shown["rows_run"] if "home student" not in row["job"] and row["dataset"] in ("mural", "marble")
    ]
    assert math.fsum(row["gpu_hours"] for row in of_s1) == pytest.approx(21.512, abs=0.001)
    assert 25 < shown["gpu_hours_run"] < 31, "with the student that moves house"
    assert shown["gpu_hours_run"] == pytest.approx(math.fsum(row["gpu_hours"] for row in shown["rows_run"]))
    assert "05_fusion and 05b_encoder_errors are not counted" in shown["assumptions"][-1]


def test_a_run_without_weights_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    assert run_jobs("smoke", 3000)[0] == []
