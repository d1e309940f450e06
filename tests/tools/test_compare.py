"""The comparison with a baseline, on made-up runs: it finds what differs and excuses only what its rules name."""

import json

import pytest

from tests.tools import compare
from tests.tools.compare import UNTAUGHT

BASE = {
    "03_scaling": {"macro_f1_rules": 0.6858338496410391, "macro_f1_smollm2-135m-l4": 0.0, "missed_pct_free": 40.4,
                   "tokens_per_s_free": 222.5, "plan_gpu_hours_a100_80": 14.32, "windows": 24},
    "04_distillation": {"student_f1": 0.3386569003194821, "zero_shot_f1": 0.0, "windows": 24, "best_student": "a",
                        "f1 rules, taught nothing (teacher), on x": 0.68,
                        "f1 smollm2-135m-l8, taught nothing, on x": 0.0,
                        "f1 smollm2-135m-l8, taught simulated, on x": 0.33},
    "06_traces": {"macro_f1_smollm2-135m": 0.0117, "n_traces": 48, "median": None},
}  # fmt: skip


def reports(folder, numbers, **changes):
    """A profile's folder; ``changes``: notebook -> other fields of its run.json."""
    for notebook, values in numbers.items():
        (folder / notebook).mkdir(parents=True)
        run = {"status": "ok", "cause": "", "key_numbers": values} | changes.get(notebook, {})
        (folder / notebook / "run.json").write_text(json.dumps(run))
    return folder


def baseline(folder, numbers):
    folder.mkdir()
    for notebook, values in numbers.items():
        (folder / f"{notebook}.json").write_text(json.dumps({"status": "ok", "cause": "", "key_numbers": values}))
    return folder


def run(tmp_path, capsys, here, base=BASE):
    code = compare.main([str(reports(tmp_path / "here", here)), str(baseline(tmp_path / "base", base))])
    return code, capsys.readouterr().out.splitlines()


def with_changes(**changes):
    """BASE with other numbers; ``changes``: the notebook's number with an "n" before it -> name -> value."""
    return {notebook: values | changes.get(f"n{notebook[:2]}", {}) for notebook, values in BASE.items()}


def test_equal_numbers_are_counted(tmp_path, capsys):
    code, lines = run(tmp_path, capsys, BASE)
    assert code == 0 and lines == [
        "03_scaling: 6 equal", "04_distillation: 7 equal", "06_traces: 3 equal",
        "16 key numbers, 0 without a reason differ or are gone",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [
        ("n03", "macro_f1_rules", 0.6858338496410392), ("n03", "plan_gpu_hours_a100_80", 14.33), ("n03", "windows", 25),
        ("n04", "f1 rules, taught nothing (teacher), on x", 0.681), ("n04", "student_f1", None),
        ("n04", "f1 smollm2-135m-l8, taught simulated, on x", 0.331), ("n04", "best_student", "b"),
        ("n06", "n_traces", 47), ("n06", "median", 0.0),
    ],
)  # fmt: skip
def test_a_difference_is_shown_with_both_values_and_fails(tmp_path, capsys, number, name, value):
    code, lines = run(tmp_path, capsys, with_changes(**{number: {name: value}}))
    before = next(values[name] for notebook, values in BASE.items() if notebook[:2] == number[1:])
    assert code == 1 and f"  differs: {name}: here {value!r}, baseline {before!r}" in lines
    assert lines[-1] == "16 key numbers, 1 without a reason differ or are gone"


@pytest.mark.parametrize(
    ("number", "name", "reason"),
    [
        ("n03", "tokens_per_s_free", "measured on this machine"), ("n03", "missed_pct_free", UNTAUGHT),
        ("n03", "macro_f1_smollm2-135m-l4", UNTAUGHT), ("n04", "zero_shot_f1", UNTAUGHT),
        ("n04", "f1 smollm2-135m-l8, taught nothing, on x", UNTAUGHT), ("n06", "macro_f1_smollm2-135m", UNTAUGHT),
    ],
)  # fmt: skip
def test_what_may_differ_is_shown_with_its_reason_and_passes(tmp_path, capsys, number, name, reason):
    code, lines = run(tmp_path, capsys, with_changes(**{number: {name: 0.5}}))
    (line,) = [line for line in lines if line.startswith("  exempt: ")]
    assert code == 0 and line.startswith(f"  exempt: {name}: here 0.5, baseline ") and line.endswith(f"({reason})")


def test_what_is_gone_fails_even_where_it_may_differ(tmp_path, capsys):
    here = {notebook: dict(values) for notebook, values in BASE.items() if notebook != "06_traces"}
    del here["04_distillation"]["zero_shot_f1"]
    code, lines = run(tmp_path, capsys, here)
    assert code == 1 and "  gone: zero_shot_f1: baseline 0.0" in lines and "06_traces: 3 gone" in lines
    assert lines[-1].startswith("16 key numbers, 4 without")


def test_numbers_are_found_in_notebooks_of_the_same_number(tmp_path, capsys):
    here = {notebook: dict(values) for notebook, values in BASE.items()}
    moved = here["04_distillation"].pop("f1 smollm2-135m-l8, taught simulated, on x")
    here["04b_transfer"] = {"f1 smollm2-135m-l8, taught simulated, on x": moved, "windows": 999, "matrix": 9}
    code, lines = run(tmp_path, capsys, here)
    assert code == 0 and "04_distillation: 7 equal" in lines, "its own `windows` before that of 04b"
    assert "04b_transfer: 1 new" in lines and "  new: matrix: here 9" in lines


def test_notebooks_of_another_number_are_not_looked_into(tmp_path, capsys):
    code, lines = run(tmp_path, capsys, BASE | {"05_fusion": {"macro_f1_rules": 0.1}})
    assert code == 0 and "05_fusion: 1 new" in lines


def test_wrong_folders_end_with_a_sentence(tmp_path):
    good = str(baseline(tmp_path / "base", BASE))
    with pytest.raises(SystemExit, match=r"nowhere: no NN_name/run\.json and no NN_name\.json in it"):
        compare.main([str(tmp_path / "nowhere"), good])
    failed = reports(tmp_path / "here", BASE, **{"06_traces": {"status": "failed", "cause": "cell 3"}})
    with pytest.raises(SystemExit, match=r"06_traces/run\.json: this run failed \(cell 3\)"):
        compare.main([str(failed), good])
    with pytest.raises(SystemExit, match="REPORTS_FOLDER BASELINE_FOLDER"):
        compare.main([good])
