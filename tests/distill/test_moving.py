"""Homes never seen: who is asked, what counts in the mean, what is locked, and what key numbers say."""

from dataclasses import replace

import matplotlib
import pytest
from matplotlib.colors import to_hex

from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import moving, moving_figures
from llmhar.distill.home_students import ARMS
from llmhar.distill.moving import Homes, Row
from llmhar.score import matcher
from llmhar.score.across_homes import mean_f1
from llmhar.score.controls import control_result, majority_result
from llmhar.score.figures import colours_of

matplotlib.use("agg")


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMHAR_DATA", str(tmp_path_factory.mktemp("data")))
        yield moving.prepare_homes(["one=simulated", "two=simulated_other", "odd_homes", "mural"], Windowing(n=2))


def answered(task, share):
    """Results of somebody who is right about this share of the events, the first ones of each window."""
    labels = []
    for window in task.windows:
        other = next(iter(task.sessions[window.session_id].labels))
        n = round(share * len(window.events))
        labels.append([e.activity_id if i < n else other for i, e in enumerate(window.events)])
    return control_result(task, "somebody", "baseline", "hand", labels)


def row(homes, name, role, share):
    return Row(name, role, {column: answered(task, share) for column, task in homes.tasks.items()})


@pytest.fixture(scope="module")
def rows(homes):
    shares = {ARMS["truth"].words: ("student", 0.9), f"{ARMS['truth'].words}, unbound": ("free", 0.6),
              ARMS["answer"].words: ("student", 0.7), "rules-plain": ("script", 0.8),
              "text embeddings": ("control", 0.3), "pairwise matcher": ("control", 0.4)}  # fmt: skip
    return [row(homes, name, role, share) for name, (role, share) in shares.items()]


def test_columns_with_a_name_count_and_absent_homes_are_left_out(homes, capsys):
    assert list(homes.tasks) == ["one", "two", "odd_homes"] and homes.counted == ("one", "two")
    assert all(len(task.windows) <= 2 * len(task.sessions) for task in homes.tasks.values())


def test_the_plan_knows_windows_arms_and_grammar(homes, monkeypatch):
    asking = moving.home_asking(400, "auto", 0)
    chosen = moving.moving_choices(homes, asking)
    assert set(chosen["arms"]) == set(ARMS) and [c["name"] for c in chosen["courses"]] == list(homes.tasks)
    fewer = {**homes.tasks, "one": replace(homes.tasks["one"], windows=homes.tasks["one"].windows[1:])}
    assert moving.moving_choices(replace(homes, tasks=fewer), asking) != chosen
    assert moving.moving_choices(homes, moving.home_asking(100, "auto", 0)) != chosen
    assert moving.moving_choices(homes, moving.home_asking(400, "vllm", 0)) == chosen, "an engine is no choice"
    monkeypatch.setattr(moving, "grammar", lambda: {"rooms": {}})
    assert moving.moving_choices(homes, asking)["grammar"] != chosen["grammar"]


def test_key_numbers_are_means_over_the_counted_homes(rows, homes):
    numbers = moving.moving_numbers(rows, homes)
    own = mean_f1(rows[0].results, ["one", "two"])
    assert numbers["transfer_f1"] == own.mean and numbers["transfer_homes"] == 2
    assert numbers["transfer_f1_low"] <= own.mean <= numbers["transfer_f1_high"]
    wanted = {f"transfer_{name}f1{end}" for name in ("", "answer_only_", "embeddings_", "matcher_", "rules_plain_")
              for end in ("", "_low", "_high")}  # fmt: skip
    assert wanted <= set(numbers)
    assert numbers["transfer_f1_one"] == rows[0].results["one"].macro_f1.mean and "transfer_f1_odd_homes" in numbers
    assert numbers["transfer_missed_pct"] == 0 and "transfer_unbound_missed_pct" in numbers
    assert numbers["transfer_minus_matcher"] > 0 and numbers["transfer_minus_matcher_p"] < 0.05
    assert moving.moving_numbers([r for r in rows if r.role != "student"], homes) == {}
    assert moving.moving_numbers(rows, replace(homes, counted=())) == {}


def test_tables_and_figures_hold_everybody(rows, homes):
    matrix = moving.matrix_table(rows, homes)
    assert list(matrix.index) == [r.name for r in rows] and "mean of 2 homes" in matrix.columns
    assert len(moving.detail_table(rows, homes)) == len(rows) * len(homes.tasks)
    part = replace(rows[1], results={column: rows[1].results[column] for column in homes.counted})
    fewer = moving.matrix_table([rows[0], part], homes)
    assert list(
        fewer[next(name for name in fewer.columns if name.startswith("odd_homes (simulated, n = "))] == "not asked"
    ) == [False, True]
    assert len(moving.detail_table([rows[0], part], homes)) == 2 * len(homes.tasks) - 1
    assert moving_figures.homes_figure([rows[0], part], homes).axes
    gaps = moving.gap_table(moving.gaps_to_student(rows, homes))
    assert list(gaps.index) == [r.name for r in rows[1:]]
    drawn = moving_figures.homes_figure(rows, homes)
    assert len([axes for axes in drawn.axes if axes.axison]) == 4 and "Macro F1" in drawn.get_supxlabel()
    own = colours_of(row.name for row in rows)
    marks = [line for line in drawn.axes[0].lines if line.get_marker() != "None"]
    assert [to_hex(mark.get_color()) for mark in marks] == list(own.values()), "an answerer's colour, not a role's"
    assert [mark.get_marker() for mark in marks] == ["o", "s", "o", "^", "v", "v"], "a role's mark"
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names == [moving_figures.WORDS[role] for role in ("student", "free", "script", "control")]
    best = mean_f1(rows[0].results, homes.counted).mean
    assert drawn.alt.startswith(f"Macro F1, mean: {rows[0].name} {best:.3g}; ")


def test_nobody_asked_says_so(homes):
    none = Homes({}, ())
    assert moving.ask_movers([], homes, moving.home_asking(100, "auto", 0), None) == []
    shown = [moving.matrix_table([], none), moving.detail_table([], none), moving.gap_table({}),
             moving_figures.homes_figure([], none), moving_figures.windows_curve({})]  # fmt: skip
    assert set(shown) == {moving.NOT_ASKED}
    assert moving.learning_curve(["rules"], moving.home_asking(100, "auto", 0), None) == {}


def test_controls_need_no_model(homes, tmp_path, monkeypatch):
    monkeypatch.setattr(matcher, "HOMES", 40)
    small = Homes({"one": homes.tasks["one"]}, ("one",))
    with Store(tmp_path / "s.sqlite") as store:
        found = moving.ask_controls(small, moving.home_asking(100, "auto", 0), store)
    assert [r.name for r in found] == ["rules", "rules-plain", "text embeddings", "pairwise matcher", "majority class"]
    f1 = {r.name: r.results["one"].macro_f1.mean for r in found}
    assert f1["rules"] > f1["text embeddings"] > f1["majority class"]
    assert found[-1].results["one"].sessions == majority_result(homes.tasks["one"]).sessions


def test_the_curve_is_drawn_from_results(homes):
    curve = {n: answered(homes.tasks["odd_homes"], share) for n, share in ((0, 0.1), (400, 0.4), (2400, 0.8))}
    drawn = moving_figures.windows_curve(curve)
    (line,) = drawn.axes[0].lines
    assert list(line.get_xdata()) == [0, 400, 2400] and list(line.get_ydata()) == sorted(line.get_ydata())
