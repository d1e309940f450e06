"""The paths that the README prints, from a user's file to labels, run exactly as they stand there."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.command import call, user_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    """Lines between a path's marks, comments left out."""
    found = re.search(rf"<!-- path: {name} -->\n```\n(.*?)```\n<!-- /path -->", README, re.DOTALL)
    assert found, f"README has no path {name!r}"
    return [shlex.split(line, comments=True) for line in found[1].splitlines()]


def walk(name: str, folder: Path) -> dict[str, str]:
    """Run a path in a folder of its own, as a user would in the checkout; gives what each command printed."""
    environment, printed = user_of(folder), {}
    for words in commands(name):
        assert words[0] == "llmhar"
        done = call(*words[1:], cwd=folder, env=environment)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-2000:]}"
        printed[" ".join(words[1:3])] = done.stdout
    return printed


def test_the_path_of_a_csv_file(tmp_path):
    printed = walk("own home", tmp_path)
    assert len((ROOT / "params" / "examples" / "my_home.csv").read_text().splitlines()) == 201
    assert "events: 200" in printed["data new"] and "refused: 0" in printed["data report"]
    run = json.loads((tmp_path / "reports" / "demo" / "02_prompting" / "run.json").read_text())
    assert run["status"] == "ok"
    with open(tmp_path / "labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200 and all(row["verdict"] == "ok" for row in rows)
    score = float(re.search(r"macro_f1: (\S+)", printed["score my_home"])[1])
    assert score > 0.5 and "n_events: 200" in printed["score my_home"]
    told = re.search(r"score my_home labels.csv +# macro_f1: (\S+), (n_sessions: \d+), (n_events: \d+)\n", README)
    assert told and told[1] == f"{score:.3f}" and {told[2], told[3]} <= set(printed["score my_home"].splitlines())


def test_the_path_of_home_assistant(tmp_path):
    printed = walk("home assistant", tmp_path)
    assert "no activity in the files" in printed["data new"] and "unavailable" in printed["data report"]
    with open(tmp_path / "flat.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100 and all(row["activity"] for row in rows)
    assert {"session", "id", "time", "confidence", "model"} <= set(rows[0])


@pytest.mark.parametrize("name", ["own home", "home assistant"])
def test_a_path_is_of_commands_that_there_are(name):
    assert [words[1] for words in commands(name)][:2] == ["data", "data"]


def test_readme_is_read_in_minutes():
    lines = README.splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 120
