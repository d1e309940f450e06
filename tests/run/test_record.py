"""What is kept of runs, and that nothing else a run writes is tracked: `git status` is empty after one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmhar import paths
from llmhar.run import jobs, record
from llmhar.settings import SettingsError
from tests.command import call

ROOT = Path(__file__).parents[2]
FIXED = (
    r"reports/record/(diary\.md|results\.md|plan\.lock|proof/(bench\.md|bench\.png|faults\.md|security\.md)"
    r"|(demo|demo-full)/\d\d[a-z]?_\w+/(run\.json|figure\.png|answers\.jsonl\.xz)"
    r"|students/[\w.-]+/((about|student)\.json|batches\.jsonl|adapter/adapter_(config\.json|model\.safetensors)))"
)
"""All that may be tracked below ``reports``."""


def run_json(name, **changes):
    return {
        "status": "ok", "cause": "", "notebook": name, "profile": "demo", "commit": "0123456789abcdef", "seconds": 4.6,
        "finished_utc": "2026-11-28T12:00:00+00:00", "datasets": ["simulated, 4 windows"],
        "key_numbers": {"macro_f1_rules": 0.68583, "student_f1": 0.5, "student_f1_low": 0.25, "student_f1_high": 0.75,
                        "windows": 24, "n_traces": 48, "tokens_per_s_free": 222.0, "best_student": "x",
                        "f1 rules, taught nothing": 0.1},
    } | changes  # fmt: skip


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three notebooks and a finished run of each, away from this one."""
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LLMHAR_REPORTS", str(tmp_path / "elsewhere"))
    for name in ("02_prompting", "04_distillation", "04b_transfer"):
        (tmp_path / "root" / "notebooks").mkdir(parents=True, exist_ok=True)
        paths.notebook_file(name).touch()
        put_run(name)
    return tmp_path


def put_run(name, figure=b"png of a run", **changes):
    folder = paths.reports() / "demo" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run_json(name, **changes)), encoding="utf-8")
    (folder / "report.html").write_text("<p>large</p>")
    (folder / "figure.png").unlink(missing_ok=True)
    if figure:
        (folder / "figure.png").write_bytes(figure)


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_finished_runs_are_copied_with_their_figure_and_nothing_else(checkout):
    done = record.record_runs("demo", ["04", "04b"])
    kept = paths.record()
    assert kept == checkout / "root" / "reports" / "record", "wherever LLMHAR_REPORTS points"
    assert files_below(kept) == [
        "demo/04_distillation/figure.png", "demo/04_distillation/run.json", "demo/04b_transfer/figure.png",
        "demo/04b_transfer/run.json", "results.md",
    ]  # fmt: skip
    assert done == {
        "profile": "demo", "refused": [], "results": str(kept / "results.md"),
        "recorded": [{"notebook": name, "path": str(kept / "demo" / name), "files": ["run.json", "figure.png"]}
                     for name in ("04_distillation", "04b_transfer")],
    }  # fmt: skip
    source = paths.reports() / "demo" / "04_distillation" / "run.json"
    assert (kept / "demo" / "04_distillation" / "run.json").read_bytes() == source.read_bytes()
    put_run("04b_transfer", figure=None, seconds=9.0)
    assert record.record_runs("demo", ["04b"])["recorded"][0]["files"] == ["run.json"]
    assert not (kept / "demo" / "04b_transfer" / "figure.png").exists(), "a figure of other numbers"
    assert [row["notebook"] for row in record.record_runs("demo")["recorded"]] == [
        "02_prompting", "04_distillation", "04b_transfer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("break_run", "why"),
    [
        (lambda file: file.write_text(json.dumps(run_json("x", status="failed", cause="cell 3: no room"))),
         r"^it failed \(cell 3: no room\); run again: llmhar run demo 02_prompting$"),
        (lambda file: file.write_text('{"status": '), r"run\.json is damaged \(JSONDecodeError\); run again"),
        (lambda file: file.write_text("[]"), r"run\.json is damaged \(TypeError\)"),
        (lambda file: file.write_text("{}"), r"run\.json is damaged \(KeyError\)"),
        (lambda file: file.write_text('{"status": "ok"}'), r"run\.json is damaged \(KeyError\)"),
        (lambda file: file.write_text(json.dumps(run_json("x", key_numbers=[]))), r"damaged \(AttributeError\)"),
        (lambda file: file.write_bytes(b"\xff"), r"run\.json is damaged \(UnicodeDecodeError\)"),
        (lambda file: file.unlink(), r"^it has not run; run: llmhar run demo 02_prompting$"),
    ],
    ids=["failed", "cut", "list", "empty", "no numbers", "a list of numbers", "no UTF-8", "absent"],
)  # fmt: skip
def test_what_did_not_finish_is_refused_and_the_old_record_stays(checkout, break_run, why):
    record.record_runs("demo", ["02"])
    before = (paths.record() / "demo" / "02_prompting" / "run.json").read_bytes()
    break_run(paths.reports() / "demo" / "02_prompting" / "run.json")
    done = record.record_runs("demo", ["02", "04"])
    assert [row["notebook"] for row in done["recorded"]] == ["04_distillation"]
    (refused,) = done["refused"]
    assert refused["notebook"] == "02_prompting" and re.search(why, refused["why"])
    assert (paths.record() / "demo" / "02_prompting" / "run.json").read_bytes() == before


def test_unknown_names_and_nothing_to_record(checkout):
    with pytest.raises(SettingsError, match="unknown profile 'demmo'; there are: smoke, demo"):
        record.record_runs("demmo")
    with pytest.raises(SettingsError, match="unknown notebook '09'; there are: 02_prompting"):
        record.record_runs("demo", ["09"])
    done = record.record_runs("paper")
    assert done["recorded"] == [] and done["refused"][0]["why"] == "no notebook has run; run: llmhar run paper"


def test_the_page_has_a_table_a_profile_with_intervals_and_counts(checkout):
    record.record_runs("demo", ["02"])
    put_run("04_distillation", datasets=["a|b\n<script>"], commit="f" * 40 + "+dirty", figure=None)
    record.record_runs("demo", ["04"])
    lines = (paths.record() / "results.md").read_text().splitlines()
    first, second = (line for line in lines if line.startswith("| ["))
    assert first == (
        "| [02_prompting](demo/02_prompting/run.json) ([figure](demo/02_prompting/figure.png)) | ok in 5 s "
        "| 0123456789, 2026-11-28 | simulated, 4 windows | macro f1 rules **0.686**, student f1 **0.5** [0.25, 0.75] "
        "| 24 windows, 48 traces |"
    )
    assert "| a\\|b &lt;script> |" in second and "| ffffffffff+dirty, 2026-11-28 |" in second and "figure" not in second
    assert lines.count("## demo") == 1 and "## demo-full" not in lines


def test_the_command_says_what_it_wrote(checkout):
    put_run("02_prompting", status="failed", cause="cell 3: \x1b[2Jno room")
    done = call("record", "demo", "--json")
    assert done.returncode == 1 and not done.stderr
    found = json.loads(done.stdout)
    assert [row["notebook"] for row in found["recorded"]] == ["04_distillation", "04b_transfer"]
    assert [row["notebook"] for row in found["refused"]] == ["02_prompting"]
    done = call("record", "demo", "02", "04")
    assert done.returncode == 1 and "recorded 04_distillation: " in done.stdout and "results.md" in done.stdout
    assert "not recorded: 02_prompting: it failed (cell 3: \ufffd[2Jno room)" in done.stderr
    put_run("02_prompting")
    done = call("record", "demo", "02")
    assert done.returncode == 0 and "(run.json, figure.png)" in done.stdout and not done.stderr


# This checkout.


def git(*arguments, folder=ROOT):
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")


def test_the_page_of_this_checkout_is_what_its_records_say():
    assert (paths.record() / record.RESULTS).read_text(encoding="utf-8") == record.results_page(paths.record()), (
        "run `llmhar record`"
    )


def test_a_run_with_other_settings_says_how_it_is_run_again(checkout, monkeypatch):
    own = json.loads((ROOT / "reports" / "record" / "demo-full" / "04b_transfer" / "run.json").read_text())["params"]
    monkeypatch.setenv("LLMHAR_ROOT", str(ROOT))
    file = checkout / "demo-full" / "04b_transfer" / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"params": own}))
    command = record.again_command(file)
    words = shlex.split(command)
    assert words[:4] == ["llmhar", "run", "demo-full", "04b"] and set(words[4::2]) == {"-p"}
    options = dict(word.split("=", 1) for word in words[5::2])
    (job,) = jobs.plan_jobs("demo-full", ["04b"], options, Path.cwd())
    assert job.spec.params == own
    file.write_text(json.dumps({"params": jobs.plan_jobs("demo-full", ["04b"], {}, Path.cwd())[0].spec.params}))
    assert record.again_command(file) == ""


@needs_git
def test_below_reports_only_fixed_paths_are_tracked():
    tracked = git("ls-files", "reports").split()
    assert "reports/record/diary.md" in tracked
    assert [name for name in tracked if not re.fullmatch(FIXED, name)] == []
    written = ["reports/demo/index.html", "reports/demo/02_x/run.json", "reports/demo/02_x/figure.png", ".llmhar/x"]
    assert git("check-ignore", "--no-index", *written).split() == written, "what a run writes"


@needs_git
@pytest.mark.timeout(300)
def test_a_run_in_a_fresh_clone_leaves_git_status_empty(tmp_path):
    """The working tree as it is now, committed to a repository of its own; a run there, then a record."""
    clone = tmp_path / "clone"
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    git("init", "-q", folder=clone)
    git("add", "-A", folder=clone)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all", folder=clone)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMHAR_")}
    environment |= {"PYTHONPATH": str(clone / "lib")}

    def python(*words):
        done = subprocess.run([sys.executable, *words], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-m", "llmhar.cli", "run", "demo", "01_serialization", "-p", "tokenizer=none")
    assert git("status", "--porcelain", folder=clone) == ""
    head = git("rev-parse", "HEAD", folder=clone).strip()
    assert json.loads((clone / "reports/demo/01_serialization/run.json").read_text())["commit"] == head
    python("-m", "llmhar.cli", "record", "demo")
    changed = {line[3:] for line in git("status", "--porcelain", folder=clone).splitlines()}
    assert changed and all(re.fullmatch(FIXED, name) for name in changed)
    assert python("-c", "from llmhar import settings; print(settings.commit())").strip() == head
    (clone / "params" / "stray.yaml").touch()
    assert python("-c", "from llmhar import settings; print(settings.commit())").strip() == head + "+dirty"
