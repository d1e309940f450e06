"""Reports that stand: every thing that a report was made from, changed, makes it run again. No notebook runs here."""

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest

from llmhar import paths
from llmhar.ask import seen
from llmhar.ask.store import Ask, Store
from llmhar.records import Fingerprint, Generation, Request
from llmhar.run import aside, jobs, report, standing

RULES, MODEL = Fingerprint("rules", "1", "", ""), Fingerprint("vllm", "1", "bfloat16", "cpu")


def request(text):
    return Request("m", "r", "t", ({"role": "user", "content": text},))


def answer(store, key, text="[]", made_by=MODEL, error=""):
    store.add(Generation(key, text, "error" if error else "stop", error, 1, 0, 1, 0.1), made_by)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A notebook's report, as a run of it left it; its run looked up one answer and one note."""
    for name, folder in (("HOME", "home"), ("REPORTS", "reports"), ("DATA", "data"), ("MODELS", "own.yaml")):
        monkeypatch.setenv(f"LLMHAR_{name}", str(tmp_path / folder))
    monkeypatch.setenv(seen.VARIABLE, str(tmp_path / "looked_up"))
    monkeypatch.setattr(seen, "_kept", set())
    monkeypatch.setattr(standing, "_PACKAGE", tmp_path / "lib")
    for file in ("lib/a.py", "lib/__pycache__/a.pyc", "data/home/events.csv", "notebook.ipynb"):
        paths.write_text(tmp_path / file, "1")
    (planned,) = jobs.plan_jobs("smoke", ["04"], {}, tmp_path)
    planned = dataclasses.replace(planned, source=tmp_path / "notebook.ipynb")
    before = standing.inputs_of(planned)
    asked = request("which?")
    with Store() as store:
        store.note_asks([Ask("d", "s", 0, "m", asked)])
        answer(store, asked.key)
        assert store.find([asked.key]) and store.notes() == []
    paths.write_text(planned.folder / "run.json", json.dumps(report._record(planned, "")))
    paths.write_text(planned.folder / "report.html", "<p>")
    standing.note_made_from(planned, before, tmp_path / "looked_up")
    return planned


def test_a_report_stands_while_nothing_changed_and_is_not_run(job, monkeypatch):
    monkeypatch.setattr(report, "_run_apart", lambda job, progress: pytest.fail("ran"))
    (row,) = report.run_jobs([job], None, force=False)
    assert row["stands"] is True and row["status"] == "ok"
    assert "stands" not in json.loads((job.folder / "run.json").read_text())
    assert aside.stands_since(job.folder).startswith("20")
    assert "found notebook, settings, code, data and answers as they were" in (
        (job.folder.parent / "index.html").read_text()
    )


def test_force_runs_what_stands(job, monkeypatch):
    ran = []
    record = {"notebook": job.notebook, "status": "ok", "seconds": 1.0}
    monkeypatch.setattr(report, "_run_apart", lambda job, progress: ran.append(job) or record)
    monkeypatch.setattr(report, "write_index", lambda folder: None)
    assert report.run_jobs([job], None, force=True) == [record] and ran == [job]


def change_note(job):
    with Store() as store:
        store.add_note(request("which?").key, ["odd"], "")


def another_engine_s_answer(job):
    with Store() as store:
        answer(store, request("which?").key, made_by=Fingerprint("onnx", "1", "int8", "cpu"))


@pytest.mark.parametrize("change", [
    lambda job: job.source.write_text("2"),
    lambda job: (job.source.parent / "lib" / "a.py").write_text("22"),
    lambda job: (job.source.parent / "lib" / "new.sql").write_text(""),
    lambda job: (job.source.parent / "own.yaml").write_text("models: {}"),
    lambda job: (job.source.parent / "data" / "home" / "events.csv").write_text("2 3"),
    lambda job: os.utime(job.source.parent / "data" / "home" / "events.csv", (1, 1)),
    lambda job: paths.write_text(job.source.parent / "data" / "mural" / "new.csv", "1"),
    lambda job: paths.write_text(job.source.parent / "data" / "simulated_mine" / "new.csv", "1"),
    lambda job: paths.write_text(paths.home() / "students" / "abc" / "student.json", "{}"),
    lambda job: (job.folder / "report.html").unlink(),
    lambda job: (job.folder / "run.json").write_text("{"),
    lambda job: (job.folder / "run.json").write_text('{"status": "failed"}'),
    lambda job: (job.folder / "made_from").unlink(),
    lambda job: paths.write_text(job.folder / "attempt" / "run.json", '{"status": "running"}'),
    lambda job: (paths.home() / "store.sqlite").unlink(),
    change_note, another_engine_s_answer,
])  # fmt: skip
def test_whatever_changed_it_runs_again(job, change):
    assert standing.standing_record(job)
    change(job)
    assert standing.standing_record(job) is None


def test_homes_that_a_later_notebook_made_up_change_nothing_until_they_change(job, tmp_path):
    file = tmp_path / "data" / "simulated_homes" / "homes.json"
    paths.write_text(file, "made by 03")
    assert standing.standing_record(job)
    standing.note_made_from(job, standing.inputs_of(job), tmp_path / "looked_up")
    file.unlink()
    assert standing.standing_record(job) is None


def test_other_settings_run_again_and_other_answers_do_not_matter(job):
    values = dataclasses.replace(job.spec, params=job.spec.params | {"seed": 5})
    assert standing.standing_record(dataclasses.replace(job, spec=values)) is None
    with Store() as store:
        store.note_asks([Ask("d", "s", 1, "m", request("another"))])
        answer(store, request("another").key)
    (job.source.parent / "lib" / "__pycache__" / "a.pyc").write_text("compiled anew")
    assert standing.standing_record(job)


def test_a_request_without_an_answer_runs_again_but_rules_refuse_each_time(job, tmp_path):
    with Store() as store:
        store.note_asks([Ask("d", "s", n, "m", request(str(n))) for n in range(2)])
        answer(store, request("0").key, made_by=RULES, error="no event")
        answer(store, request("1").key, error="out of memory")
        refused, failed = [f"{request(text).key} 0" for text in "01"]
        first = seen.answers_hash(store, [refused])
        answer(store, request("0").key, made_by=RULES, error="no event")
        assert first is not None and seen.answers_hash(store, [refused]) == first
        assert seen.answers_hash(store, [refused, failed]) is None
    assert standing.needs_no_engine(job)
    made = json.loads((job.folder / "made_from").read_text())
    paths.write_text(job.folder / "made_from", json.dumps(made | {"keys": [failed]}))
    assert not standing.needs_no_engine(job)


def test_what_changed_while_it_ran_is_not_what_it_was_made_from(job, tmp_path):
    before = standing.inputs_of(job)
    (job.folder / "made_from").unlink()
    (tmp_path / "lib" / "a.py").write_text("changed meanwhile")
    standing.note_made_from(job, before, tmp_path / "looked_up")
    assert not (job.folder / "made_from").exists()
    before = standing.inputs_of(job)
    paths.write_text(tmp_path / "data" / "made_up" / "home.csv", "written by the run itself")
    standing.note_made_from(job, before, tmp_path / "looked_up")
    assert standing.standing_record(job)


def test_quick_notebooks_run_two_at_a_time_the_others_alone(job, monkeypatch):
    others = [dataclasses.replace(job, notebook=name, folder=Path(f"{job.folder}{name}")) for name in "abc"]
    monkeypatch.setattr(standing, "needs_no_engine", lambda job: job.notebook in "ab")
    ran = []
    monkeypatch.setattr(report, "write_index", lambda folder: None)
    monkeypatch.setattr(report, "_run_apart", lambda job, lender: ran.append((job.notebook, lender != "")) or {
        "notebook": job.notebook, "status": "ok", "seconds": 0.0})  # fmt: skip
    assert [row["notebook"] for row in report.run_jobs(others, None)] == ["a", "b", "c"]
    assert sorted(ran) == [("a", False), ("b", False), ("c", True)]


@pytest.mark.parametrize(("quick", "n", "ahead"), [("", None, ["a"]), ("", 2, []), ("a", None, []), ("abc", None, [])])
def test_the_first_engine_starts_while_its_notebook_does(job, monkeypatch, quick, n, ahead):
    others = [dataclasses.replace(job, notebook=name, folder=Path(f"{job.folder}{name}")) for name in "abc"]
    monkeypatch.setattr(standing, "needs_no_engine", lambda job: job.notebook in quick)
    started, prepared = [], threading.Event()
    monkeypatch.setattr(report, "first_engine", lambda job: {"backend": job.notebook})
    monkeypatch.setattr(report.kept.Host, "prepare", lambda self, terms: started.append(terms) or prepared.set())
    monkeypatch.setattr(report, "write_index", lambda folder: None)
    monkeypatch.setattr(report, "_run_apart", lambda job, lender: {
        "notebook": job.notebook, "status": "ok", "seconds": 0.0})  # fmt: skip
    report.run_jobs(others, n)
    assert prepared.wait(20 if ahead else 0.2) == bool(ahead)
    assert [terms["backend"] for terms in started] == ahead
