"""The bench of the demo at two commits: pairs, the same work on both sides, key numbers; nothing is run here."""

import json
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime

import pytest
import yaml

from llmhar import paths, settings
from llmhar.ask.store import Ask, Store
from llmhar.distill.teaching import load_teaching
from llmhar.records import Fingerprint, Generation, Request
from llmhar.run.jobs import plan_jobs
from tests.bench import demo
from tests.bench.demo import COMMIT, NOTEBOOKS, PARTED, WORK, Round, Side, Work, number_claim
from tests.bench.peers import Unavailable
from tests.tools import compare

RECORDED = demo.ROOT.parent / "shared" / "data" / "demo_ed81958"
FIXTURE = demo.ROOT / "tests" / "fixtures" / "ed81958"
DID = Work(300, 90_000, 40_000, ("bfloat16",), 450)
EQUAL = number_claim({"00_tour": {"a": 1}}, {"00_tour": {"a": 1}})


def test_demos_are_timed_in_pairs_and_their_order_changes(tmp_path, monkeypatch):
    ran, seconds = (
        [],
        {
            (COMMIT, ()): [100.0, 20.0] * 2,
            ("now", ()): [50.0, 7.0, 1.0, 50.0, 7.0, 1.0],
            ("now", ("--force",)): [12.0] * 2,
        },
    )

    def run(side, notebooks, *how):
        ran.append((side.name, len(notebooks), side.root.name))
        return seconds[side.name, how].pop(0)

    monkeypatch.setattr(Side, "first_answer", lambda side: {"then": 36.0, "own": 30.0}[side.folder.name])
    monkeypatch.setattr(Side, "run", run)
    sides = (
        Side(COMMIT, tmp_path, tmp_path / "then", tmp_path),
        Side("now", demo.ROOT, tmp_path / "now", tmp_path / "r"),
    )
    rounds = [demo.one_round(sides, NOTEBOOKS, now_first=number == 1, cold=True) for number in range(2)]
    then, now, own = (COMMIT, 8, tmp_path.name), ("now", 9, "r"), ("now", 1, demo.ROOT.name)
    assert ran == [then, now, own, then, now, now, now, then, own, now, then, now]
    cold, warm, forced, first, numbers = demo.claims_of(rounds, [DID, DID], EQUAL, "demo")
    assert (cold.measured, cold.verdict) == ("0.5", "met") and (warm.measured, warm.verdict) == ("0.05", "met")
    assert (forced.measured, forced.verdict) == ("0.6", "missed") and "2 rounds, ratios 0.60 to 0.60" in forced.why
    assert first.verdict == "missed" and "36.0 → 30.0 s; 36.0 → 30.0 s" in first.why and numbers.verdict == "met"
    assert "300 answers of 40,000 tokens and 450 training steps then" in cold.why and demo.STILL in cold.why
    assert all("bfloat16 then" in claim.setting for claim in (cold, warm, forced, first, numbers))
    warm_only = demo.claims_of([Round((20.0, 1.0), (20.0, 9.0))], [DID, DID], EQUAL, "demo")
    assert [claim.verdict for claim in warm_only] == ["not measured", "met", "met", "not measured", "met"]


def resolved(notebook, overrides, folder):
    """All settings of a notebook with these overrides."""
    return settings.resolve(settings.parameters_of(folder / f"{notebook}.ipynb"), overrides, {}, notebook)


def earlier(path):
    """A file of the earlier commit."""
    done = subprocess.run(["git", "-C", str(demo.ROOT), "show", f"{COMMIT}:{path}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"commit {COMMIT} is not in this clone")
    return done.stdout


SAME_AS = {"student_prompt": "student_wording", "teacher_prompt": "teacher_wording"}
"""Today's word -> the earlier one."""


def settings_that_differ(notebook, work, tmp_path):
    """Names of settings that both sides have and that differ, and how many both have."""
    (tmp_path / f"{notebook}.ipynb").write_text(earlier(f"notebooks/{notebook}.ipynb"))
    file = tmp_path / "params" / notebook / "demo.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(earlier(f"params/{notebook}/demo.yaml"))
    if notebook in demo.LEFT_OUT:
        demo.leave_out(tmp_path)
    then = resolved(notebook, yaml.safe_load(file.read_text()) or {}, tmp_path)
    now = {}
    for name in (PARTED.get(notebook, notebook), notebook):  # the notebook's own word where both have one
        now |= resolved(name, work.get(name, {}), demo.ROOT / "notebooks")
    shared = {name: SAME_AS.get(name, name) for name in now if SAME_AS.get(name, name) in then}
    taught = {"confirm_on", "max_steps", "trace_filter"} if notebook in demo.TEACHES else set()  # by the teaching
    differ = {name for name, old in shared.items() if now[name] != then[old]} - taught
    differ |= {"sampling"} if now.get("sampling", "greedy") != "greedy" or then.get("temperature", 0.0) else set()
    differ |= {"least_events"} if now.get("least_events", 0) else set()
    return differ, len(shared)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_both_sides_have_the_same_settings(notebook, tmp_path):
    differ, n = settings_that_differ(notebook, WORK, tmp_path)
    assert differ == set() and n > 3


def test_another_setting_is_seen(tmp_path):
    planted = {**WORK["02_prompting"], "n_windows": 3, "sampling": "model", "least_events": 10}
    assert settings_that_differ("02_prompting", {"02_prompting": planted}, tmp_path)[0] == {
        "n_windows", "sampling", "least_events",
    }  # fmt: skip


def test_the_student_is_taught_by_the_same_recipe(tmp_path):
    (tmp_path / "04_distillation.ipynb").write_text(earlier("notebooks/04_distillation.ipynb"))
    then = resolved("04_distillation", yaml.safe_load(earlier("params/04_distillation/demo.yaml")), tmp_path)
    teaching = load_teaching(WORK["04_distillation"]["teaching"]).model_dump()
    assert {name for name in set(teaching) & set(then) if teaching[name] != then[name]} == set()
    assert {"max_steps", "learning_rate", "batch_size", "method", "train_embeddings"} <= set(teaching) & set(then)


def test_a_setting_that_a_notebook_does_not_have_is_refused(tmp_path, monkeypatch):
    root = demo.same_work(tmp_path / "root")
    monkeypatch.setenv("LLMHAR_ROOT", str(root))
    sections = settings.read_profile(paths.profile_file("demo"), settings.notebook_names())
    assert sections == WORK and (root / "params" / "models.yaml").is_file()
    assert (demo.ROOT / "params" / "profiles" / "demo.yaml").read_text().startswith("# SmolLM2-135M on two cores")
    jobs = plan_jobs("demo", WORK, {}, tmp_path)  # names, counts and types are checked here
    assert [job.spec.params["models"] for job in jobs[:1]] == [["rules", "smollm2-135m"]] and len(jobs) == len(WORK)
    monkeypatch.setitem(WORK["00_tour"], "nosuch", 1)
    demo.same_work(tmp_path / "other")
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path / "other"))
    with pytest.raises(settings.SettingsError, match="unknown parameter 'nosuch'"):
        plan_jobs("demo", WORK, {}, tmp_path)


def test_numbers_that_differ_or_are_gone_are_named():
    then = {"00_tour": {"f1": 0.5, "windows": 1}, "03_scaling": {"tokens_per_s_free": 9.0}}
    assert number_claim(then, then).verdict == "met"
    claim = number_claim({"00_tour": {"f1": 0.51}, "03_scaling": {"tokens_per_s_free": 8.0}}, then)
    assert (claim.measured, claim.verdict) == ("2 numbers", "missed")
    assert "1 may differ" in claim.why and "00 f1 (differs); 00 windows (gone)" in claim.why


TAUGHT = {"student_f1": 0.5, "student_f1_low": 0.3, "student_f1_high": 0.7, "f1 smollm2-135m-l8, taught home": 0.5,
          "f1 rules, taught nothing": 0.4, "student_missed_pct": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("other", "verdict"),
    [({"student_f1": 0.6, "f1 smollm2-135m-l8, taught home": 0.6}, "met"), ({"student_f1": 0.0}, "missed"),
     ({"f1 rules, taught nothing": 0.6}, "missed"), ({"student_missed_pct": 100.0}, "missed")],
)  # fmt: skip
def test_scores_of_the_trained_student_alone_may_be_others_near_what_they_were(other, verdict):
    found = number_claim({"04_distillation": TAUGHT | other}, {"04_distillation": TAUGHT})
    assert found.verdict == verdict
    if verdict == "met":
        assert "4 equal" in found.why and "2 of the student that 04 trains" in found.why
    assert "student_f1 (gone)" in number_claim({"04_distillation": {}}, {"04_distillation": TAUGHT}).why


@pytest.mark.skipif(not RECORDED.is_dir(), reason="what the earlier demo wrote is not here")
def test_the_numbers_of_the_earlier_demo_are_read():
    then = compare.read_numbers(RECORDED)
    assert set(then) == set(NOTEBOOKS) and number_claim(then, then).verdict == "met"
    planted = then | {"01_serialization": {name: -1 for name in then["01_serialization"]}}
    assert number_claim(planted, then).verdict == "missed"


@pytest.mark.parametrize("which", ["then", "now"])
def test_work_and_first_answers_are_read_from_stores_of_both_codes(which, tmp_path):
    side = Side(which, tmp_path, tmp_path, tmp_path)
    path = tmp_path / "home" / "store.sqlite"
    path.parent.mkdir()
    if which == "then":
        with closing(sqlite3.connect(path)) as db:
            db.executescript((FIXTURE / "store.sql").read_text(encoding="utf-8"))
            row = dict(zip(
                ("request_key", "fingerprint", "text", "finish_reason", "error", "prompt_tokens", "cached_tokens",
                 "output_tokens", "seconds", "pass_id", "created_utc"),
                ("x", '{"engine": "vllm", "dtype": "float32"}', "", "stop", "", 7, 0, 5, 1.0, None, 1005.0),
            ))  # fmt: skip
            names = ", ".join(row)
            db.execute(f"INSERT INTO attempts ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
            db.commit()
        (tmp_path / "home" / "students").symlink_to(FIXTURE / "students")
    else:
        request = Request("m", "r", "", ({"role": "user", "content": "x"},))
        with Store(path) as store:
            store.note_asks([Ask("d", "s", 0, "m", request)])
            store.add(Generation(request.key, "a", "stop", "", 7, 0, 5), Fingerprint("vllm", "1", "float32", "cpu"))
            store.add(Generation(request.key, "b", "stop", "", 9, 0, 9), Fingerprint("rules", "1", "", ""))
    with closing(sqlite3.connect(path)) as db:
        at = db.execute("SELECT max(created_utc) FROM attempts WHERE fingerprint LIKE '%vllm%'").fetchone()[0]
    work = side.work()
    assert work == Work(1, 7, 5, ("float32",), 2 if which == "then" else 0)
    assert side.first_answer() is None, "no report yet"
    report = tmp_path / "reports" / "demo" / "00_tour" / "report.ipynb"
    report.parent.mkdir(parents=True)
    began = datetime.fromtimestamp(at - 4, UTC).isoformat()
    cell = {"cell_type": "code", "metadata": {"papermill": {"start_time": began}}, "source": "", "outputs": [],
            "execution_count": None, "id": "a"}  # fmt: skip
    report.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    assert side.first_answer() == pytest.approx(4, abs=0.1)


def test_what_cannot_run_is_not_measured_and_what_we_break_is_missed(monkeypatch):
    found = demo.compare_demos("0123456789", 1, ["00_tour"])
    assert {claim.verdict for claim in found} == {"not measured"} and "commit 0123456789 is not here" in found[0].why
    for error, verdict in ((Unavailable("no"), "not measured"), (RuntimeError("no"), "missed")):

        def failing(*args, error=error, **how):
            raise error

        monkeypatch.setattr(demo, "measure", failing)
        found = demo.claims(quick=True)
        assert {(claim.verdict, claim.why) for claim in found} == {(verdict, "no")} and len(found) == 5


@pytest.mark.parametrize(("ours", "failure"), [(True, RuntimeError), (False, Unavailable)])
def test_a_command_that_fails_says_whose_it_was(ours, failure, tmp_path):
    side = Side("x", demo.ROOT if ours else tmp_path, tmp_path / "x", tmp_path)
    (tmp_path / "lib").symlink_to(demo.ROOT / "lib")
    with pytest.raises(failure, match="x: llmhar run demo 99_nosuch: llmhar: "):
        side.run(["99_nosuch"])


def test_weights_that_cannot_be_had_are_nobodys_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "WEIGHTS", ("no-such-model",))
    with pytest.raises(Unavailable, match="llmhar models fetch no-such-model"):
        Side("now", demo.ROOT, tmp_path, demo.ROOT).fetch()
