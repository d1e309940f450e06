"""The Makefile: ten targets, each with help, and one name a bench."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as benches

ROOT = Path(__file__).parents[1]
TARGETS = ["help", "setup", "demo", "lab", "test", "check", "notebooks", "lock", "bench", "record"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments):
    command = ["make", "--no-print-directory", "VENV=/nowhere", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_has_a_line_a_target():
    lines = make("help").splitlines()
    assert [line.split()[1] for line in lines] == TARGETS and len(lines) <= 10
    assert all(len(line.split()) > 3 and len(line) < 120 for line in lines) and make() == make("help")
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert rules == TARGETS


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("test",), 'python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder'),
        (("test", "COV=1"), 'python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --cov '
                            "--cov-report=term --cov-fail-under=95"),
        (("test", "SLOW=1"), "python -m pytest"),
        (("bench",), "python -m tests.bench"),
        (("bench", "ONLY=faults", "ARGS=--resume --quick"), "python -m tests.bench faults --resume --quick"),
        (("demo",), "llmhar run demo"), (("record",), "llmhar record demo"),
        (("record", "PROFILE=demo-full"), "llmhar record demo-full"),
    ],
)  # fmt: skip
def test_what_a_target_runs(arguments, command):
    assert make("-n", *arguments).splitlines()[-1].strip() == f"/nowhere/bin/{command}"


def test_lab_opens_with_the_demo_s_settings_and_as_root():
    root = " --allow-root" if os.getuid() == 0 else ""
    for arguments, profile, given in (
        ((), "demo", ""),
        (("PROFILE=smoke", "LAB=--ip=0.0.0.0"), "smoke", " --ip=0.0.0.0"),
    ):
        last = " ".join(make("-n", "lab", *arguments).splitlines()[-1].split())
        assert last == f"LLMHAR_PROFILE={profile} /nowhere/bin/jupyter lab{root}{given} notebooks/00_tour.ipynb"


def test_every_bench_has_a_name_and_help():
    files = [
        file for file in (ROOT / "tests" / "bench").glob("*.py") if 'if __name__ == "__main__":' in file.read_text()
    ]
    runnable = {file.stem for file in files} - {"__main__"}
    assert {bench.module for bench in benches.BENCHES.values()} == {n for n in runnable if not n.endswith("_child")}
    listed = subprocess.run([sys.executable, "-m", "tests.bench", "help"], cwd=ROOT, capture_output=True, text=True)
    assert [line.split()[2] for line in listed.stdout.splitlines()] == [f"ONLY={name}" for name in benches.BENCHES]
    asked = re.search(r"ONLY=([a-z|]+)", make("help"))[1].strip("|").split("|")
    assert set(asked) < set(benches.BENCHES)


@pytest.mark.parametrize(
    ("given", "module", "rest"),
    [
        ([], "bench", []), (["--resume"], "bench", ["--resume"]),
        (["bench", "--only", "scale"], "bench", ["--only", "scale"]),
        (["faults", "--help"], "faults", ["--help"]), (["own-code"], "own_code", []),
        (["security", "rules", "--quick"], "security", ["rules", "--quick"]),
    ],
)  # fmt: skip
def test_a_name_means_its_module(given, module, rest):
    assert benches.command(given) == [sys.executable, "-m", f"tests.bench.{module}", *rest]


def test_an_unknown_bench_says_which_there_are():
    with pytest.raises(SystemExit, match=r"no bench is called 'sped'; there are: bench, faults, all, security, speed"):
        benches.command(["sped"])
    assert benches.command(["--help"]) == benches.command(["help"]) == []
