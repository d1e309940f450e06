"""Published numbers are the paper's, and the Pareto front holds what no other model beats."""

import math

import pytest

from llmhar import paths
from llmhar.ask.models import MODELS
from llmhar.score.cost import AXES, Point, pareto_front
from llmhar.score.published import PUBLISHED, published, published_curve

SHARED = paths.root().parent / "shared" / "published"


@pytest.mark.parametrize("file", sorted(PUBLISHED.values()))
def test_published_files_are_the_shared_ones(file):
    if not (SHARED / file).is_file():
        pytest.skip(f"{SHARED / file} is not here: our copy cannot be compared")
    assert (paths.params() / "published" / file).read_bytes() == (SHARED / file).read_bytes()


def test_published_f1_by_size():
    table = published("table1").set_index("model")
    assert table["params_b"].tolist() == [0.6, 1.7, 4, 8, 14, 32]
    assert table["marble_f1_pct"].tolist() == [16.52, 26.73, 32.57, 36.32, 36.74, 37.61]
    assert table["mural_f1_pct"].tolist() == [10.81, 12.42, 35.67, 46.29, 48.82, 53.70]


def test_published_fine_tuned_students_sessions_and_missed_events():
    tuned = published("table2").set_index(["student", "train_dataset"])
    assert tuned.loc[("Qwen3-0.6B", "mural")].tolist() == [32.05, 50.68]
    assert tuned.loc[("Qwen3-1.7B", "marble")].tolist() == [33.55, 16.25]
    figure4 = published("figure4")
    assert list(zip(figure4["n_train_sessions"], figure4["f1_pct"])) == [
        (0, 10.81), (1, 29.45), (4, 49.42), (10, 51.18), (15, 50.68),
    ]  # fmt: skip
    missed = published("table4").set_index("model")
    assert missed.loc["Qwen3-0.6B"].tolist() == [13.52, 16.85, 16.66, 8.84]
    assert missed.loc["Qwen3-14B"].tolist() == [4.60, 12.44, 0.13, 0.14]
    assert missed.loc["Qwen3-1.7B fine-tuned on MuRAL"].tolist() == [0.0, 0.0, 0.58, 0.95]
    assert len(missed) == 10


def test_published_curve_speaks_our_language():
    curve = published_curve("mural")
    assert list(curve.columns) == ["model", "n_params", "f1"]
    assert set(curve["model"]) <= set(MODELS), "names must be ours, or the rows would not meet"
    assert curve["f1"].tolist() == pytest.approx([0.1081, 0.1242, 0.3567, 0.4629, 0.4882, 0.5370], abs=1e-12)
    assert curve["n_params"].iloc[0] == 6e8
    assert published_curve("marble")["f1"].iloc[-1] == pytest.approx(0.3761)


@pytest.mark.parametrize("dataset", ["simulated", "uci_adl", "MuRAL", ""])
def test_no_published_curve_for_other_data(dataset):
    assert published_curve(dataset).empty
    assert list(published_curve(dataset).columns) == ["model", "n_params", "f1"]


def test_published_tables_cannot_be_spoilt_by_a_reader():
    mine = published("table1")
    mine["mural_f1_pct"] = 0
    assert published("table1")["mural_f1_pct"].max() == 53.70


def test_unknown_published_table():
    with pytest.raises(KeyError):
        published("table3")


def at(name, tokens, f1):
    return Point(name, "LLM", 10, f1, tokens, None, None)


def names(points, axis="tokens"):
    return [point.model for point in pareto_front(points, axis)]


def test_front_of_hand_cases():
    assert names([]) == []
    assert names([at("only", 5, 0.0)]) == ["only"]
    # cheap and bad, dearer and better, dearest and no better, dear and worse
    assert names([at("d", 9, 0.1), at("b", 2, 0.5), at("a", 1, 0.2), at("c", 3, 0.5)]) == ["a", "b"]
    assert names([at("a", 1, 0.9), at("b", 2, 0.5)]) == ["a"]


def test_front_ties():
    assert names([at("worse", 1, 0.2), at("better", 1, 0.3)]) == ["better"]  # same cost
    assert names([at("dear", 2, 0.3), at("cheap", 1, 0.3)]) == ["cheap"]  # same F1
    assert names([at("a", 1, 0.3), at("b", 1, 0.3), at("c", 1, 0.2), at("d", 2, 0.3)]) == ["a", "b"]  # neither beats


def test_front_leaves_out_what_was_not_measured():
    assert names([at("a", None, 0.9), at("b", 4, 0.1)]) == ["b"]
    assert names([at("a", None, 0.9)]) == []
    assert names([at("a", 1, 0.9)], "joules") == []
    # no scored event: no F1, and it must not hide the others
    assert names([at("nan", 1, math.nan), at("b", 2, 0.4), at("c", 3, 0.5)]) == ["b", "c"]


def test_every_axis_is_a_field_of_a_point():
    assert set(AXES) < set(Point._fields)
