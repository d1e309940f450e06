"""The reader's ten tasks of CONTRIBUTING: at most three commands each, and each command is one that there is."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from llmhar.run.jobs import plan_jobs
from tests.command import call, user_of

ROOT = Path(__file__).parents[1]
PART = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Ten things a reader wants first")[2]
TASKS = {
    task: re.findall(r"`([^`]+)`", commands)
    for task, commands in re.findall(r"(?m)^\| ([a-z ]+) \| (`.+`) \|$", PART.partition("## Checks")[0])
}


def test_there_are_ten_tasks_of_at_most_three_commands():
    assert len(TASKS) == 10 and all(1 <= len(commands) <= 3 for commands in TASKS.values())


@pytest.mark.parametrize(("task", "line"), [(task, line) for task, lines in TASKS.items() for line in lines])
def test_each_command_is_there(task, line):
    from llmhar.cli import app

    words = shlex.split(line)
    if words[0] == "make":
        subprocess.run(["make", "-n", words[1]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "cat":
        assert (ROOT / words[1]).is_file()
    else:
        assert words.pop(0) == "llmhar"
        command = typer.main.get_command(app)
        while isinstance(command, typer.core.TyperGroup):
            command = command.commands[words.pop(0)]
        given, left, _ = command.make_parser(command.context_class(command)).parse_args(words)
        assert left == []
        if command.name == "run" and "my_home" not in line and "mini" not in line:  # whatever is on this machine
            options = dict(part.split("=", 1) for part in given.get("p") or [])
            assert plan_jobs(given["profile"], given["notebooks"], options, ROOT)


def test_tasks_without_weights_run_as_they_stand(tmp_path):
    """The others take minutes of a language model, a server, or a file that is not here; own data: tests/run."""
    environment = user_of(tmp_path)
    for line in TASKS["compare two models"]:
        done = call(*shlex.split(line)[1:], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
    run = json.loads((tmp_path / "reports" / "demo" / "02_prompting" / "run.json").read_text())
    assert {"macro_f1_rules", "macro_f1_rules-plain"} <= set(run["key_numbers"]) and run["status"] == "ok"
    (line,) = TASKS["cite"]
    said = subprocess.run(shlex.split(line), cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.startswith("cff-version")
