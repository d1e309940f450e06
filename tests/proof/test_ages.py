"""Rows of the proof's tables that are older than their code are found and marked; all tables come by one command."""

import warnings

import pytest

from tests.bench import ages, demo, every
from tests.bench.verdicts import Claim, exactly, table_text

MODULE = "tests.bench.faults_parse"


def test_a_module_s_files_are_those_that_it_imports_directly_or_not():
    files = {file.relative_to(ages.ROOT).as_posix() for file in ages.depends_on(MODULE)}
    assert {"tests/bench/faults_parse.py", "lib/llmhar/text/parsing.py", "lib/llmhar/text/items.py"} <= files
    assert "tests/bench/explorer.py" not in files


def test_children_tests_and_tables_that_are_named_count_as_well():
    def named(module):
        return {file.relative_to(ages.ROOT).as_posix() for file in ages.depends_on(module)}

    assert "tests/bench/peers_child.py" in named("tests.bench.peers_inspect")  # python -m
    assert {"tests/score/test_f1.py", "lib/llmhar/score/f1.py"} <= named("tests.bench.security")  # pytest
    assert "lib/llmhar/ask/sql/sums.sql" in named("tests.bench.checksums")


def test_a_change_in_any_of_them_makes_the_row_old(tmp_path, monkeypatch):
    for name, text in (("a", "def f():\n    from tests import b"), ("b", "import json"), ("c", "x = 1")):
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / f"{name}.py").write_text(text)
    monkeypatch.setattr(ages, "ROOT", tmp_path)
    monkeypatch.setattr(ages, "PLACES", {"tests": tmp_path})

    def now():
        ages.code_hash.cache_clear()
        ages._imports.cache_clear()
        return ages.code_hash("tests.a")

    before = now()
    (tmp_path / "tests" / "c.py").write_text("x = 2")
    assert now() == before
    (tmp_path / "tests" / "b.py").write_text("import json, os")
    assert now() != before
    ages.code_hash.cache_clear()


def test_settings_that_are_named_and_the_lock_count_as_well(tmp_path, monkeypatch):
    def named(module):
        return {file.relative_to(ages.ROOT).as_posix() for file in ages.depends_on(module)}

    assert {"params/models.yaml", "params/homes/simulated.yaml", "requirements/cpu.lock"} <= named("tests.bench.growth")
    assert {"notebooks/02_prompting.ipynb", "params/profiles/smoke.yaml"} <= named("tests.bench.own_code")
    assert "notebooks/07_lesson.ipynb" not in named("tests.bench.own_code")
    of_demo = named("tests.bench.demo")  # with what the notebooks that it runs import
    assert {f"notebooks/{name}.ipynb" for name in demo.WORK} | {"lib/llmhar/fusion/study.py"} <= of_demo

    unnamed = ("params/other.yaml", "notebooks/01_other.ipynb")
    named_ones = ("params/named.yaml", "params/homes/any.yaml", "notebooks/00_tour.ipynb", "requirements/cpu.lock")
    texts = {"tests/a.py": 'x = "00_tour", "named.yaml", "homes"', **dict.fromkeys((*named_ones, *unnamed), "1")}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(ages, "ROOT", tmp_path)
    monkeypatch.setattr(ages, "PLACES", {"tests": tmp_path})
    changed = set()
    for name in texts:
        ages.code_hash.cache_clear()
        before = ages.code_hash("tests.a")
        (tmp_path / name).write_text(texts[name] + " ")
        ages.code_hash.cache_clear()
        changed |= {name} if ages.code_hash("tests.a") != before else set()
    ages.code_hash.cache_clear()
    assert set(texts) - changed == set(unnamed)


def test_a_row_names_edits_that_are_not_committed(monkeypatch):
    for commit, said in (("0123456789abcdef", "0123456789"), ("0123456789abcdef+dirty", "0123456789+dirty")):
        monkeypatch.setattr(ages.settings, "commit", lambda commit=commit: commit)
        made = ages.stamp(MODULE)
        assert made.startswith(f"`{said} {MODULE} ") and not ages.is_old(made) and ages.commit_of(made) == said


def test_rows_are_marked_and_unmarked():
    table = table_text([
        exactly("new", 0, 0), Claim("planted", "1", "1", "met", "x | y"), exactly("unnoted", 0, 0),
    ])  # fmt: skip
    assert ages.marked(table)[1:] == (3, 3)  # a table without the column
    new = Claim("new", "= 0", "0", "met", made=ages.stamp(MODULE))
    planted = Claim("planted", "1", "1", "met", "x | y", made=ages.stamp(MODULE)[:-13] + "0123456789ab`")
    text = f"# Title\n\n{table_text([new, planted])}\n\n| part | seconds |\n|---|--:|\n| kill | 3 |\n"
    shown, n_old, n = ages.marked(text)
    assert (n_old, n) == (1, 2) and shown.count(ages.OLD) == 1
    assert next(line for line in shown.split("\n") if ages.OLD in line).startswith("| planted | 1 |")
    assert ages.marked(shown)[0] == shown
    assert ages.marked(shown, lambda _: "0123456789ab")[0].count(ages.OLD) == 1  # the other one, now
    assert table_text([exactly("a", 0, 0)]).count("made from") == 0


def test_all_tables_say_so_themselves():
    """Told, not failed: whoever changes code need not measure for hours before the next commit."""
    for file in sorted((ages.ROOT / "reports" / "record" / "proof").glob("*.md")):
        shown, n_old, n = ages.marked(file.read_text(encoding="utf-8"))
        assert n and shown.count(f"({ages.OLD})") == n_old
        if n_old:
            warnings.warn(f"{file.name}: {n_old} of {n} rows are {ages.OLD}: make bench ONLY=all", stacklevel=1)


def test_one_command_makes_all_tables(monkeypatch, capsys):
    monkeypatch.setattr(ages, "mark_all", lambda: {"bench.md": (1, 9)})
    asked = []

    def start(words, code=0):
        asked.append(words)
        return code

    assert every.main(["--quick", "--model", "my-student"], start) == 0
    assert asked == [
        ("tests.bench.bench", "--resume", "--quick"),
        ("tests.bench.faults", "--resume", "--quick"),
        ("tests.bench.security", "smollm2-135m", "llmhar-home-135m", "--resume", "my-student", "--quick"),
    ]
    assert every.main(["--skip", "demo", "--only", "bench"], start) == 0
    assert asked.pop() == ("tests.bench.bench", "--resume", "--skip", "demo")
    assert "bench.md: 1 of 9 rows older than its code" in capsys.readouterr().err
    assert every.main(["--only", "faults"], lambda words: start(words, 1)) == 1
    with pytest.raises(SystemExit):
        every.main(["--only", "nosuch"], start)
