"""From settings to report: the smoke profile end to end, failures, and pages that run and fetch nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html import unescape
from itertools import pairwise
from pathlib import Path

import nbformat
import psutil
import pytest

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.data.events import Windowing
from llmhar.run import jobs, report
from llmhar.settings import SettingsError
from llmhar.text.prompt import PromptForm
from tests.command import call
from tests.run.test_page import dead_links, unfit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A home, cache-less and away from the checkout's own."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(folder / "home"))
        patch.setenv("LLMHAR_REPORTS", str(folder / "reports"))
        patch.setenv("LLMHAR_SECRET_KEY", "canary-3f9a")
        yield folder


@pytest.fixture(scope="module")
def smoke(places):
    """All notebooks of the smoke profile, run once for the module."""
    planned = jobs.plan_jobs("smoke", [], {}, Path.cwd())
    return report.run_jobs(planned, 2), paths.reports() / "smoke"


@pytest.mark.timeout(300)
def test_smoke_runs_every_notebook(smoke):
    runs, folder = smoke
    assert [run["notebook"] for run in runs] == jobs.notebook_names()
    assert [(run["status"], run["cause"]) for run in runs] == [("ok", "")] * len(runs)
    for run in runs:
        kept = json.loads((folder / run["notebook"] / "run.json").read_text())
        assert kept == run
        assert {"status", "commit", "params", "engines", "datasets", "kinds", "seconds", "key_numbers"} <= set(kept)
        assert kept["key_numbers"] and kept["datasets"] and kept["kinds"] and kept["params"]
        assert kept["torch_in_kernel"] is False
        page = (folder / run["notebook"] / "report.html").read_text()
        assert page.count("<img alt=") == len(kept["figures"]), "each picture's words are in the record"
        assert kept["figure_alt"] in kept["figures"] or not kept["figure_alt"]


def test_smoke_numbers_are_those_of_the_library(smoke):
    """The notebook adds nothing: the same call in this process gives the same score."""
    from llmhar.ask.task import prepare
    from llmhar.records import Sampling
    from llmhar.score import evaluate as evaluation

    runs, _ = smoke
    run = next(run for run in runs if run["notebook"] == "02_prompting")
    said = run["params"]
    form = PromptForm(said["wording"], said["serializer"], said["answer"])
    task = prepare("simulated", windowing=Windowing(n=said["n_windows"]), form=form)
    asking = Asking(sampling=Sampling(max_tokens=said["max_tokens"]), draw=said["sampling"])
    found = evaluation.evaluate(task, ["rules"], asking=asking)
    assert found.runs[0].n_asked == 0, "the report's own answers should be in the store"
    assert run["key_numbers"]["macro_f1_rules"] == pytest.approx(found.results[0].macro_f1.mean, abs=1e-12)


def test_pages_run_nothing_and_fetch_nothing(smoke):
    _, folder = smoke
    pages = [folder / "index.html", *folder.glob("*/report.html")]
    assert len(pages) == 1 + len(jobs.notebook_names())
    for page in pages:
        text = page.read_text()
        assert "<script" not in text and "Content-Security-Policy" in text
        assert not re.search(r'(?:src|href)\s*=\s*"(?:https?:)?//', text)
        assert not re.search(r"@import|url\(\s*['\"]?https?:", text)
        assert len(text) > 5000


def test_every_link_of_index_and_reports_resolves(smoke):
    _, folder = smoke
    pages = {file: file.read_text() for file in [folder / "index.html", *folder.rglob("report.html")]}
    assert dead_links(pages) == []
    names = jobs.notebook_names()
    for name, after in pairwise(names):
        assert f'href="../{after}/report.html"' in pages[folder / name / "report.html"], name
        assert f'href="../{name}/report.html"' in pages[folder / after / "report.html"], after


def test_no_report_shows_nan_or_code_before_anything_is_unfolded(smoke):
    runs, folder = smoke
    for run in runs:
        place = folder / run["notebook"]
        html = (place / "report.html").read_text()
        assert unfit(html, nbformat.read(place / "report.ipynb", as_version=4)) == [], place
        assert "<code>p_least</code>" not in html, place


def test_every_picture_of_the_index_and_reports_has_words_that_are_not_cut(smoke):
    runs, folder = smoke
    for run in runs:
        alts = re.findall(r'<img alt="([^"]*)"', (folder / run["notebook"] / "report.html").read_text())
        assert all(len(alt) > 40 and not alt.endswith("…") for alt in alts), run["notebook"]
        assert not run["figure_alt"] or any(unescape(alt).endswith(run["figure_alt"]) for alt in alts), run["notebook"]


def test_reports_hold_no_machine_path_and_no_secret(smoke):
    _, folder = smoke
    for file in folder.rglob("*"):
        if file.suffix in (".html", ".ipynb", ".json"):
            text = file.read_text()
            assert "canary-3f9a" not in text
            assert str(ROOT) not in text and str(folder) not in text, file


def test_executed_notebooks_hold_no_progress_bar_and_no_widget_state(smoke):
    _, folder = smoke
    for file in folder.glob("*/report.ipynb"):
        notebook = nbformat.read(file, as_version=4)
        assert "widgets" not in notebook.metadata
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                assert report.MEDIA_TYPE not in output.get("data", {})
                assert not re.search(r"\d+%\|", output.get("text", ""))


def test_nothing_half_written_is_left(smoke):
    _, folder = smoke
    assert not [file for file in folder.rglob(".*") if file.is_file()]


def failing_root(tmp_path, code):
    """A checkout with one notebook that fails in its second cell."""
    root = tmp_path / "root"
    (root / "notebooks").mkdir(parents=True)
    (root / "params").mkdir()
    cells = [
        nbformat.v4.new_code_cell("n: int = 1  # a number", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print('before the fault')"),
        nbformat.v4.new_code_cell(code),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, root / "notebooks" / "00_fails.ipynb")
    return root


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise ValueError('the <b>cause</b>\\nand more')", "ValueError: the <b>cause</b>"),
        pytest.param("import os; os._exit(1)", "DeadKernelError", marks=pytest.mark.slow),
        ("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", "process ended early"),
        pytest.param("x = 1", "published no results", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(120)
def test_a_failing_notebook_leaves_its_copy_and_a_cause(tmp_path, code, cause):
    root = failing_root(tmp_path, code)
    env = {
        **os.environ,
        "LLMHAR_ROOT": str(root),
        "LLMHAR_REPORTS": str(tmp_path / "reports"),
        "LLMHAR_HOME": str(tmp_path / "home"),
    }
    done = call("run", "smoke", "--json", env=env)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)[0]["status"] == "failed"
    folder = tmp_path / "reports" / "smoke"
    run = json.loads((folder / "00_fails" / "run.json").read_text())
    assert run["status"] == "failed" and cause in run["cause"] and "\n" not in run["cause"]
    if "ended early" not in cause:  # who is killed leaves no copy, but its cause and an index
        assert "before the fault" in (folder / "00_fails" / "report.ipynb").read_text()
    index = (folder / "index.html").read_text()
    assert "failed" in index and "<b>cause</b>" not in index


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        pytest.param("import time; time.sleep(1000)", "cell 3: CellTimeoutError: A cell timed out"),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "DeadKernelError: Kernel died (it was killed, often for want of memory",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.timeout(120)
def test_a_kernel_that_ends_or_hangs_is_one_line_within_seconds(tmp_path, monkeypatch, capsys, code, cause):
    """An out-of-memory kill is a SIGKILL as well; the copy shows what was printed before."""
    stamp = tmp_path / "stamp"
    root = failing_root(tmp_path, f"from pathlib import Path; Path({str(stamp)!r}).touch()\n{code}")
    monkeypatch.setenv("LLMHAR_ROOT", str(root))
    monkeypatch.setenv("LLMHAR_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(report.CELL_LIMIT, "2")
    [job] = jobs.plan_jobs("smoke", [], {}, Path.cwd())
    record = report.run_job(job, progress=False)
    seconds = time.time() - stamp.stat().st_mtime
    assert record["status"] == "failed" and cause in record["cause"] and "\n" not in record["cause"]
    assert seconds < 10 + 2 * ("Timeout" in cause), seconds
    assert "Traceback" not in capsys.readouterr().err, "the cause stands in the record, and is told once"
    assert "before the fault" in (job.folder / "report.ipynb").read_text()


@pytest.mark.timeout(300)
def test_a_failed_run_leaves_the_last_good_report_and_trials_stand_beside_it(tmp_path):
    code = (
        "from llmhar.run.publish import publish\n"
        "if n == 2:\n    raise ValueError('tried out')\n"
        "if n == 3:\n    import os, signal; os.kill(os.getppid(), signal.SIGKILL)\n"
        "publish({'number': n})"
    )
    folder, told = tmp_path / "reports" / "smoke", []
    env = os.environ | {"LLMHAR_ROOT": str(failing_root(tmp_path, code)), "LLMHAR_HOME": str(tmp_path / "home"),
                        "LLMHAR_REPORTS": str(tmp_path / "reports")}  # fmt: skip

    def run(*options):
        done = call("run", "smoke", *options, env=env)
        told.append(done.stderr)
        return done.returncode, done.stdout

    def standing():
        files = sorted((folder / "00_fails").glob("*.*"))
        return {file.name: file.read_bytes() for file in files}

    assert run()[0] == 0
    good = standing()
    assert set(good) == {"report.html", "report.ipynb", "run.json"}
    for number, cause in ((2, "ValueError: tried out"), (3, "process ended early")):
        code, said = run("-p", f"n={number}")
        assert code == 1 and said.count(cause) == 1 and "the last good report stands" in said
        assert "Traceback" not in told[-1] and "00_fails: " not in told[-1], "once, below the bars"
        assert standing() == good
        attempt = json.loads((folder / "00_fails" / "attempt" / "run.json").read_text())
        assert attempt["status"] == "failed" and cause in attempt["cause"] and attempt["params"]["n"] == number
        index = (folder / "index.html").read_text()
        assert "ok in" in index and "A later run failed" in index and cause in index
    assert run("-p", "n=4", "--name", "four")[0] == 0
    assert standing() == good
    index = (folder / "index.html").read_text()
    assert "00_fails · four" in index and "<b>1</b><span>number" in index and "<b>4</b><span>number" in index
    assert json.loads((folder / "00_fails@four" / "run.json").read_text())["trial"] == "four"
    assert run("-p", "n=5")[0] == 0
    run_json = json.loads((folder / "00_fails" / "run.json").read_text())
    assert run_json["key_numbers"] == {"number": 5} and run_json["seconds"] > 1
    assert not (folder / "00_fails" / "attempt").exists()
    assert "A later run" not in (folder / "index.html").read_text()


def test_a_killed_run_is_told_on_the_card_of_the_good_one(tmp_path):
    folder = tmp_path / "smoke" / "00_x"
    record = {"status": "ok", "notebook": "00_x", "cause": "", "seconds": 3.0, "key_numbers": {}, "params": {},
              "finished_utc": "then", "kinds": [], "datasets": [], "engines": [], "commit": "", "device": "",
              "table": None}  # fmt: skip
    paths.write_text(folder / "run.json", json.dumps(record))
    paths.write_text(folder / "attempt" / "run.json", json.dumps(record | {"status": "running"}))
    index = report.write_index(tmp_path / "smoke").read_text()
    assert "ok in 3 s" in index and "A later run began (then) and has not finished." in index


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_after_a_killed_run(tmp_path, how):
    started = tmp_path / "started"
    code = (
        "import time\nfrom llmhar.ask.engines import child, kept\n"
        "terms = {'backend': 'fake_backend:Echo', 'config': {}, 'threads': 1}\n"
        "with child.ChildEngine('x', {}, loan=kept.borrow(terms)):\n    pass\n"
        f"open({str(started)!r}, 'w').close()\ntime.sleep(600)"
    )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "fixtures"), os.environ.get("PYTHONPATH", "")]),
        "LLMHAR_ROOT": str(failing_root(tmp_path, code)),
        "LLMHAR_REPORTS": str(tmp_path / "reports"),
        "LLMHAR_HOME": str(tmp_path / "home"),
    }
    with open(tmp_path / "log", "w") as log:
        run = subprocess.Popen([sys.executable, "-m", "llmhar.cli", "run", "smoke"], env=env, stdout=log, stderr=log)
    for _ in range(2000):
        if started.exists():
            break
        time.sleep(0.1)
    below = psutil.Process(run.pid).children(recursive=True)
    for wanted in ("ipykernel", "fake_backend"):  # the engine waits: it is the run's
        assert any(wanted in " ".join(process.cmdline()) for process in below), (tmp_path / "log").read_text()
    run.send_signal(how)
    run.wait()
    assert psutil.wait_procs(below, timeout=30)[1] == []


@pytest.mark.parametrize(
    ("profile", "names", "options", "said"),
    [
        ("demmo", [], {}, "unknown profile 'demmo'"),
        ("smoke", ["09"], {}, "unknown notebook '09'"),
        ("smoke", ["02"], {"modells": "rules"}, "unknown parameter modells"),
        ("smoke", ["02"], {"n_windows": "many"}, "n_windows should be int | None"),
        ("smoke", ["00"], {"n_windows": "3"}, "unknown parameter n_windows"),
    ],
)
def test_settings_are_checked_before_any_work(places, profile, names, options, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        jobs.plan_jobs(profile, names, options, Path.cwd())


def test_options_reach_the_notebooks_they_fit(places):
    planned = jobs.plan_jobs("smoke", [], {"models": "rules", "n_windows": "none"}, Path.cwd())
    params = {job.notebook: job.spec.params for job in planned}
    assert params["00_tour"]["models"] == ["rules"] and params["02_prompting"]["n_windows"] is None
    assert "n_windows" not in params["00_tour"]


def test_killed_while_writing_leaves_the_old_file(tmp_path):
    """Kill -9 between the temporary file and its move: the old report stays whole."""
    target = tmp_path / "report.html"
    paths.write_text(target, "old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom llmhar import paths\n"
        "with paths.replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half of the ne')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -9 and target.read_text() == "old"
    paths.write_text(target, "new")
    assert target.read_text() == "new"


def test_a_limit_of_dollars_is_not_a_failure_and_the_last_report_stands(tmp_path, monkeypatch):
    from llmhar.run import aside

    monkeypatch.setenv("LLMHAR_REPORTS", str(tmp_path))
    (job,) = jobs.plan_jobs("smoke", ["02"], {}, Path.cwd())
    stopped = report._record(job, "cell 9: LimitReached: mini: the limit of $1 (--max-usd) is reached")
    assert stopped["status"] == "stopped" and report._record(job, "cell 9: EngineError: x")["status"] == "failed"
    cost = {"words": "mini: 24 answers, $0.1440 at prices of today; 14 asked now for $0.0840"}
    paths.write_text(job.folder / "run.json", json.dumps(report._record(job, "") | {"costs": [cost]}))
    paths.write_text(aside.aside(job.folder) / "run.json", json.dumps(stopped))
    assert not aside.settle(job.folder, lambda: None)
    page = report.write_index(job.folder.parent).read_text()
    assert "A later run stopped (" in page and "$1 (--max-usd) is reached" in page and "mini: 24 answers" in page
