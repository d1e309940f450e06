"""docs/claims.md: each page has claims there, and each test, target and command that it names is there."""

import re

import typer

from llmhar import paths
from llmhar.cli import app
from tests.bench.__main__ import BENCHES

ROOT = paths.root()


def rows(text):
    """Page, claim, what shows it."""
    lines = (line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| page |"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def problems(text, pages):
    """What is wrong with a list of claims."""
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8")))
    commands = set(typer.main.get_command(app).commands)
    found = [f"{page}: no claim" for page in pages if page not in {row[0] for row in rows(text)}]
    for page, claim, shown in rows(text):
        said = re.findall(r"`([^`]+)`", shown)
        found += [f"{claim}: nothing shows it"] * (not said) + [f"{page} is not there"] * (page not in pages)
        for words in map(str.split, said):
            if words[0] == "pytest":
                named = words[1 : words.index("-k")] if "-k" in words else words[1:]
                absent = [name for name in named if not (ROOT / name).exists()]
                found += [f"{name} is not there" for name in absent]
                if "-k" in words and not absent:
                    tests = re.findall(r"def (test_\w+)", "".join((ROOT / n).read_text("utf-8") for n in named))
                    if not any(words[-1] in test for test in tests):
                        found.append(f"no test of {named[0]} has {words[-1]} in its name")
            elif words[0] == "make":
                only = words[2].removeprefix("ONLY=") if len(words) > 2 else "bench"
                found += [f"{' '.join(words)} is no target"] * (words[1] not in targets or only not in BENCHES)
            elif words[0] != "llmhar" or words[1] not in commands:
                found.append(f"{' '.join(words)} is no command")
    return found


def test_each_claim_names_what_shows_it():
    pages = ["README.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))]
    pages = [page for page in pages if page not in ("docs/claims.md", "docs/glossary.md")]  # a list, and words
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert problems(text, pages) == []


def test_planted_faults_of_the_list_are_found():
    text = (
        "| page | claim | shown by |\n|---|---|---|\n"
        "| README.md | a | `pytest tests/nosuch.py` |\n| README.md | b | `make nosuch` |\n| README.md | c | – |\n"
        "| README.md | d | `llmhar nosuch` |\n| docs/gone.md | e | `pytest tests/test_cli.py -k nosuchtest` |\n"
        "| README.md | f | `make bench ONLY=nosuch` |\n"
    )
    assert problems(text, ["README.md", "docs/data.md"]) == [
        "docs/data.md: no claim",
        "tests/nosuch.py is not there",
        "make nosuch is no target",
        "c: nothing shows it",
        "llmhar nosuch is no command",
        "docs/gone.md is not there",
        "no test of tests/test_cli.py has nosuchtest in its name",
        "make bench ONLY=nosuch is no target",
    ]


def absent_tests(text):
    """Tests that a text names as `FILE::NAME` and that are not there."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    return [f"{file}::{name}" for file, name in named
            if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text("utf-8")]  # fmt: skip


def test_each_check_names_the_test_that_plants_its_fault():
    text = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    assert text.count("::test_") > 20 and absent_tests(text) == []
    planted = "`tests/proof/test_ages.py::test_nosuch` and `tests/proof/test_nosuch.py::test_a`"
    assert len(absent_tests(planted)) == 2
