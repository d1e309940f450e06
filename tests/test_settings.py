"""Parameters cells, YAML's traps, the command line, and who wins."""

import re
from typing import Literal

import pytest
import yaml

from llmhar.settings import (
    PROFILES,
    SettingsError,
    check_options,
    choose,
    commit,
    device,
    make_spec,
    notebook_names,
    package_versions,
    read_parameters,
    read_profile,
    resolve,
)

CELL = '''
from __future__ import annotations
import os
# a line of its own

dataset: str = "simulated"  # data set
data_dir: str | None = None  # its folder
models: list[str] = ["rules"]  # who answers
sizes: list[int] = []  # numbers
shares: list[float] = [  # (this comment is not the help)
    1, 0.5,
]  # shares of #1
level: float = 1  # a float written without a point
n_windows: int | None = 4  # windows
thinking: bool | None = None  # switch
rules: bool = True  # whether
answer: Literal["name", "number"] = "name"  # how
alone: Literal["x"] = "x"  # one word
bits: Literal[4, 8] = 8  # numbers as words
step: int | float = -3  # either
offset: float = -1e-5  # negative
picks: list[Literal["a", "b"]] | None = None  # some of two
'''  # fmt: skip


@pytest.fixture(scope="module")
def cell():
    return read_parameters(CELL)


def test_every_form_of_annotation(cell):
    assert {name: (p.type, p.default) for name, p in cell.items()} == {
        "dataset": (str, "simulated"),
        "data_dir": (str | None, None),
        "models": (list[str], ["rules"]),
        "sizes": (list[int], []),
        "shares": (list[float], [1.0, 0.5]),
        "level": (float, 1.0),
        "n_windows": (int | None, 4),
        "thinking": (bool | None, None),
        "rules": (bool, True),
        "answer": (Literal["name", "number"], "name"),
        "alone": (Literal["x"], "x"),
        "bits": (Literal[4, 8], 8),
        "step": (int | float, -3),
        "offset": (float, -1e-5),
        "picks": (list[Literal["a", "b"]] | None, None),
    }
    assert type(cell["level"].default) is float
    assert cell["n_windows"].type_text == "int | None"
    assert cell["shares"].help == "shares of #1"
    assert all(p.help for p in cell.values())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n = 1  # help", "line 1: write `name: type = default  # help`"),
        ("n: int  # help", "line 1: write `name: type = default  # help`"),
        ("print(1)  # help", "line 1: write"),
        ("a.b: int = 1  # help", "line 1: write"),
        ("n: int = 1", "n has no help; add a comment behind it"),
        ("n: int = 1  #", "n has no help; add a comment behind it"),
        ("n: int = 'x'  # help", "n should be int, got 'x'"),
        ("n: int = 1.0  # help", "n should be int, got 1.0"),
        ("n: int = True  # help", "n should be int, got True"),
        ("n: float = False  # help", "n should be float, got False"),
        ("n: str = None  # help", "n should be str, got None"),
        ("n: list[int] = [1, '2']  # help", "n should be list[int], got [1, '2']"),
        ("n: list[str] = ('a',)  # help", "n should be list[str], got ('a',)"),
        ("n: Literal['a'] = 'b'  # help", "n should be Literal['a'], got 'b'"),
        ("n: int = len('a')  # help", "the default of n is not a literal value"),
        ("n: int = m  # help", "the default of n is not a literal value"),
        ("n: dict = {}  # help", "annotation 'dict' is not one that settings can check"),
        ("n: list = []  # help", "annotation 'list' is not one"),
        ("n: 'int' = 1  # help", "annotation \"'int'\" is not one"),
        ("n: Optional[int] = 1  # help", "annotation 'Optional[int]' is not one"),
        ("n: int = (  # help", "parameters cell: "),
        ("n: int = = 1  # help", "parameters cell: "),
        ("  n: int = 1  # help", "parameters cell: "),
    ],
)
def test_faulty_cells_say_what_to_write(line, message):
    with pytest.raises(SettingsError) as error:
        read_parameters(line)
    assert message in str(error.value) and str(error.value).startswith("parameters cell")


def from_yaml(cell, text):
    return resolve(cell, yaml.safe_load(text), {}, "demo.yaml")


def test_yaml_values(cell):
    found = from_yaml(cell, "{level: 2, n_windows: null, models: [a, b], rules: false, step: 2.5, answer: number}")
    assert {name: found[name] for name in ("level", "n_windows", "models", "rules", "step", "answer")} == {
        "level": 2.0, "n_windows": None, "models": ["a", "b"], "rules": False, "step": 2.5, "answer": "number",
    }  # fmt: skip
    assert type(found["level"]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offset: 1e-5", "offset should be float, got '1e-5' (YAML reads \"1e-5\" as text: write 1.0e-5). negative"),
        ("dataset: 12:30:00", "dataset should be str, got 45000 (YAML reads 12:30:00 and 010 as numbers"),
        ("dataset: 010", "dataset should be str, got 8 (YAML reads"),
        ("dataset: no", "dataset should be str, got False (YAML reads 12:30:00 and 010 as numbers and `no` as false"),
        ("data_dir: off", "data_dir should be str | None, got False (YAML reads"),
        ("n_windows: '4'", "n_windows should be int | None, got '4'. windows"),
        ("n_windows: 4.0", "n_windows should be int | None, got 4.0"),
        ("n_windows: yes", "n_windows should be int | None, got True"),
        ("rules: 1", "rules should be bool, got 1"),
        ("rules: 'true'", "rules should be bool, got 'true'"),
        ("models: rules", "models should be list[str], got 'rules'"),
        ("models: [no]", "models should be list[str], got [False]"),
        ("dataset:", "dataset should be str, got None"),
        ("answer: letter", "answer should be Literal['name', 'number'], got 'letter'"),
        ("bits: 5", "bits should be Literal[4, 8], got 5"),
        (
            "datset: simulated",
            "demo.yaml: unknown parameter 'datset'; there are: alone, answer, bits, data_dir, dataset",
        ),
    ],
)
def test_yaml_traps(cell, text, message):
    with pytest.raises(SettingsError) as error:
        from_yaml(cell, text)
    assert str(error.value).startswith("demo.yaml: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dataset", "mural", "mural"),
        ("dataset", "12", "12"),
        ("dataset", "none", "none"),
        ("dataset", "", ""),
        ("dataset", "a=b,c", "a=b,c"),
        ("data_dir", "none", None),
        ("data_dir", "NULL", None),
        ("data_dir", "../shared/data", "../shared/data"),
        ("models", "rules,smollm2-135m", ["rules", "smollm2-135m"]),
        ("models", " rules , smollm2-135m ,", ["rules", "smollm2-135m"]),
        ("models", "12", ["12"]),
        ("models", "", []),
        ("sizes", "1,2", [1, 2]),
        ("shares", "1,0.5,1e-3", [1.0, 0.5, 0.001]),
        ("level", "1e-5", 1e-5),
        ("level", "2", 2.0),
        ("n_windows", "7", 7),
        ("n_windows", "None", None),
        ("thinking", "none", None),
        ("thinking", "TRUE", True),
        ("rules", "false", False),
        ("answer", "number", "number"),
        ("bits", "4", 4),
        ("step", "2", 2),
        ("step", "2.5", 2.5),
        ("offset", "-0.25", -0.25),
        ("picks", "b,a", ["b", "a"]),
        ("picks", "none", None),
    ],
)
def test_command_line_values(cell, name, text, value):
    found = resolve(cell, {}, {name: text}, "demo.yaml")[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n_windows", "four", "-p: n_windows should be int | None, got 'four'. windows"),
        ("n_windows", "4.0", "-p: n_windows should be int | None, got '4.0'"),
        ("n_windows", "true", "-p: n_windows should be int | None, got 'true'"),
        ("rules", "1", "-p: rules should be bool, got '1'"),
        ("rules", "no", "-p: rules should be bool, got 'no'"),
        ("rules", "none", "-p: rules should be bool, got 'none'"),
        ("level", "high", "-p: level should be float, got 'high'"),
        ("sizes", "1,x", "-p: sizes should be list[int], got [1, 'x']"),
        ("answer", "Number", "-p: answer should be Literal['name', 'number'], got 'Number'"),
        ("bits", "16", "-p: bits should be Literal[4, 8], got '16'"),
        ("picks", "a,c", "-p: picks should be list[Literal['a', 'b']] | None, got ['a', 'c']"),
        ("n_window", "4", "-p: unknown parameter 'n_window'; there are: alone, answer"),
    ],
)
def test_command_line_faults(cell, name, text, message):
    with pytest.raises(SettingsError) as error:
        resolve(cell, {}, {name: text}, "demo.yaml")
    assert message in str(error.value)


def test_command_line_beats_yaml_beats_the_cell(cell):
    defaults = resolve(cell, {}, {}, "demo.yaml")
    assert defaults == {name: p.default for name, p in cell.items()}
    assert resolve(cell, {"n_windows": 5}, {}, "demo.yaml") == {**defaults, "n_windows": 5}
    both = resolve(cell, {"n_windows": 5, "rules": False}, {"n_windows": "6"}, "demo.yaml")
    assert both == {**defaults, "n_windows": 6, "rules": False}


def test_a_fault_in_yaml_is_reported_even_where_the_command_line_wins(cell):
    with pytest.raises(SettingsError, match=r"demo\.yaml: n_windows"):
        resolve(cell, {"n_windows": "5"}, {"n_windows": "6"}, "demo.yaml")


def test_all_unknown_names_are_listed(cell):
    with pytest.raises(SettingsError, match="unknown parameter 'x', 'y'; there are: alone"):
        resolve(cell, {"y": 1, "x": 2}, {}, "demo.yaml")


NOTEBOOKS = ("02_prompting", "04_distillation")


def test_read_profile(tmp_path):
    path = tmp_path / "demo.yaml"
    assert read_profile(path, NOTEBOOKS) == {}
    for text, found in (
        ("", {}),
        ("# nothing\n", {}),
        ("02_prompting:\n", {"02_prompting": {}}),
        ("02_prompting:\n  a: 1\n  b: [x]\n", {"02_prompting": {"a": 1, "b": ["x"]}}),
        ("04_distillation: {}\n02_prompting: {a: 1}\n", {"04_distillation": {}, "02_prompting": {"a": 1}}),
    ):
        path.write_text(text, encoding="utf-8")
        assert read_profile(path, NOTEBOOKS) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "need a section a notebook, got list"), ("just text", "got str"), ("12", "got int"),
        ("no: {a: 1}\n", "got the name False: quote it"), ("02_prompting: {1: a}\n", "section 02_prompting: need"),
        ("02_prompting: {no: 1}\n", "section 02_prompting: need `name: value` lines, got the name False: quote it"),
        ("02_prompting: [1]\n", "section 02_prompting: need `name: value` lines, got list"),
        ("02_prompting: text\n", "section 02_prompting: need `name: value` lines, got str"),
        ("02_prompting: {a: [1", ""), ("a: 1\n b: 2", ""), ("02_prompting: {a: !!python/name:os.system }\n", ""),
        ("02_promting: {a: 1}\n", "section '02_promting' is no notebook"),
        ("04: {a: 1}\n", "quote it"), ("04_distilation: {}\n", "there are: 02_prompting, 04_distillation"),
        ("models: [rules]\n", "section 'models' is no notebook, and settings stand indented below the name of theirs"),
        ("02_prompting: {a: 1}\n04_distillation: {}\n02_prompting: {b: 1}\n", "line 3: '02_prompting' stands"),
        ("02_prompting:\n  a: 1\n  b: 2\n  a: 3\n", "line 4: 'a' stands here twice; keep one"),
    ],
)  # fmt: skip
def test_faulty_profiles_name_file_section_and_cure(tmp_path, text, said):
    path = tmp_path / "demo.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        read_profile(path, NOTEBOOKS)
    assert str(path) in str(error.value) and said in str(error.value)


def test_yaml_that_asks_for_too_much_is_refused_by_name(tmp_path):
    path = tmp_path / "demo.yaml"
    laughs = "".join(f"l{i}: &l{i} [{','.join([f'*l{i - 1}'] * 9) if i else 'x'}]\n" for i in range(9))
    for text, said in (("#" * 300_000, "300,000 bytes"), ("a: " + "[" * 100, "over 50 levels"), (laughs, "100,000")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=said) as error:
            read_profile(path, NOTEBOOKS)
        assert str(path) in str(error.value)


def test_notebooks_are_found_in_reading_order(tmp_path, monkeypatch):
    names = ["05_fusion", "04b_transfer", "04_distillation", "05b_encoder_errors", "04c_small_students", "00_tour"]
    (tmp_path / "notebooks").mkdir()
    for name in [*names, "notes", "4_short", "04bb_no", "x04_no"]:
        (tmp_path / "notebooks" / f"{name}.ipynb").touch()
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    assert notebook_names() == [
        "00_tour", "04_distillation", "04b_transfer", "04c_small_students", "05_fusion", "05b_encoder_errors",
    ]  # fmt: skip


def test_run_spec():
    made = make_spec("02_prompting", "demo", {"n": 1})
    assert made.to_json() == {
        "notebook": "02_prompting", "profile": "demo", "params": {"n": 1},
        "commit": commit(), "packages": package_versions(), "device": device(),
    }  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{40}(\+dirty)?|unknown", made.commit)
    assert re.fullmatch(r".+, [1-9]\d* cores", made.device)
    assert made.packages["numpy"] == __import__("numpy").__version__
    assert PROFILES == ("smoke", "demo", "demo-full", "paper", "api")


def test_commit_outside_git(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit.__wrapped__() == "unknown"


def test_a_name_that_is_not_there_is_told_with_those_there_are():
    assert choose({"a": 1, "b": 2}, "b", "no letter 'b'; there are:") == 2
    with pytest.raises(KeyError, match="no letter 'c'; there are: a, b"):
        choose({"a": 1, "b": 2}, "c", "no letter 'c'; there are:", KeyError)
    with pytest.raises(SettingsError, match=r"^no letter 'c'; there are: none$"):
        choose({}, "c", "no letter 'c'; there are:")


def test_options_fit_their_defaults():
    defaults = {"n": 1, "whole": False}
    check_options({}, {}, "box x")
    check_options({"n": 2, "whole": True}, defaults, "box x")
    for options, message in (
        ({"m": 1}, "box x has no option 'm'; it has: n, whole"),
        ({"n": True}, "option n of box x must be int, not True"),
        ({"whole": 1}, "option whole of box x must be bool, not 1"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=message):
            check_options(options, defaults, "box x")
    with pytest.raises(LookupError, match="box x has no option 'n'; it has: none"):
        check_options({"n": 1}, {}, "box x", LookupError)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a,b", ["a", "b"]), ("[a,b]", ["a", "b"]), ("['a', \"b\"]", ["a", "b"]), ("[]", []), ("", []), ("[ a ]", ["a"])],
)
def test_lists_of_options_have_brackets_or_not(text, parts):
    parameters = read_parameters('names: list[str] = ["x"]  # some names\nsizes: list[int] = [1]  # some sizes')
    assert resolve(parameters, {}, {"names": text}, "here")["names"] == parts
    assert resolve(parameters, {}, {"sizes": "[1, 2]"}, "here")["sizes"] == [1, 2]
