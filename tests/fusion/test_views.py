"""Tables and figures of fusion: what they say, and that nothing is clipped at 12 activities and 16 combinations.

``LLMHAR_FIGURES=folder`` keeps the pictures to be looked at.
"""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from llmhar.fusion import ablation, doses, figures, tables
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation, StepSeen
from llmhar.fusion.study import Answered, Given, confusion
from llmhar.fusion.tables import About
from llmhar.score.stats import compare_pairs
from llmhar.score.tables import NO_ANSWER, pair_table

LABELS = ("vacuum cleaning", "cooking", "doing laundry", "eating", "playing basketball", "playing soccer",
          "playing with pets", "reading a book", "using a computer", "washing dishes", "watching TV",
          "workout/weightlifting")  # fmt: skip
ABOUT = About("HAPT motion with scratch sounds, $5 a day", "composed from real recordings", "people")
WHO = {"SmolLM2-135M-Instruct": "llm", "rules": "rules", "majority vote": "baseline", "naive Bayes": "baseline",
       "stacking": "baseline"}  # fmt: skip
WORTH = {"captions": 0.0, "labels": 0.4, "motion": 0.15, "context": 0.1}
NONE = frozenset()


@pytest.fixture(scope="module")
def clips():
    steps = tuple(StepSeen(2.0 + 2 * t, (), (Guess("x", 1.0),), (Guess("y", 1.0),)) for t in range(9))
    return [
        Observation(f"c{i}", LABELS[i % 12], f"person {i // 8}", i // 8 % 5, frozenset(), steps, conflict=i % 11 == 0)
        for i in range(240)
    ]


def answers(clips, share, seed):
    """Right with this probability, else any label or, now and then, nothing."""
    rng = np.random.default_rng(seed)
    return {one.clip_id: one.label if rng.random() < share else (None, *LABELS)[rng.integers(13)] for one in clips}


@pytest.fixture(scope="module")
def predictions(clips):
    return {
        (who, own, shots): answers(clips, 0.08 + sum(WORTH[name] for name in own) * (0.6 + 0.1 * i), 100 * i + n)
        for i, who in enumerate(WHO)
        for n, own in enumerate(ablation.combinations(MODALITIES))
        for shots in ((0, 1) if WHO[who] == "llm" else (0,))
        if not (who == "rules" and len(own) > 3)
    }


@pytest.fixture(scope="module")
def cells(clips, predictions):
    return [
        ablation.score_cell(made, clips, LABELS, answerer=who, kind=WHO[who], condition=Condition(own, shots),
                            n_resamples=200)
        for (who, own, shots), made in predictions.items()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shares(clips, predictions):
    clusters = [one.cluster for one in clips]
    return {
        who: ablation.shapley_shares(
            {own: ablation.correct(predictions[who, own, 0], clips) for own in ablation.combinations(MODALITIES)},
            clusters, n_resamples=200, stand_ins=frozenset(["captions"]),
        )
        for who in WHO if who != "rules"
    }  # fmt: skip


@pytest.fixture(scope="module")
def dosed(clips):
    given = doses.plan_doses(["labels", "motion"])
    made = doses.respond(clips, given, LABELS, seed=1)
    for i, dose in enumerate(given):
        made["SmolLM2-135M-Instruct", dose] = answers(clips, 0.8 * dose.accuracy, i)
    return made, given


# -- tables


def test_cells_as_a_table_and_a_grid(cells):
    table = tables.cell_table(cells, ABOUT)
    assert len(table) == 16 * 5 + 16 - 1
    row = table.loc[("labels + motion", "majority vote", 0)]
    assert row["kind"] == "baseline, no LLM" and row["clips"] == 240 and row["clusters"] == 30
    assert row["data"] == "HAPT motion with scratch sounds, $5 a day (composed from real recordings)"
    assert row["accuracy low"] < row["accuracy"] < row["accuracy high"]
    grid = tables.factorial_grid(cells)
    assert grid.shape == (16, 6) and grid.index[0] == "nothing"
    assert grid.index[-1] == "captions + labels + motion + context"
    assert grid.loc["captions + labels + motion + context", ("rules", 0)] == "–"
    cell = next(one for one in cells if one.answerer == "stacking" and one.modalities == frozenset(["motion"]))
    assert grid.loc["motion", ("stacking", 0)] == cell.accuracy.brief
    assert tables.factorial_grid(cells, "macro_f1").loc["motion", ("stacking", 0)] == cell.macro_f1.brief


def test_conflict_rows(clips, predictions):
    made = predictions["stacking", frozenset(MODALITIES), 0]

    def table_of(own):
        cell = ablation.score_cell(made, own, LABELS, answerer="stacking", kind="baseline", condition=Condition(NONE))
        return tables.cell_table([cell], ABOUT)

    table = ablation.by_conflict(table_of, clips)
    assert table["clips"].tolist() == [218, 22] and table.index.names[0] == "clips"


def test_shapley_and_pair_tables(clips, cells, shares):
    table = tables.shapley_table(shares, WHO, ABOUT)
    assert table.loc[("stacking", "captions"), "note"] == "stand-in: left out"
    assert set(table["kind"]) == {"LLM", "baseline, no LLM"} and len(table) == 16
    right = {"a": np.ones(240), "b": np.zeros(240)}
    pairs = compare_pairs(right, clusters=[one.cluster for one in clips])
    row = pair_table({ABOUT.marked: pairs}, "clusters", "clips").set_index(["first", "second"]).loc[("a", "b")]
    assert row["verdict"] == "higher" and row["clips"] == 240 and "composed" in row["data"]
    assert row["clusters"] == 30


def answered(predictions, clips, name="stacking", kind="baseline"):
    given = {Condition(frozenset(["labels", "motion"])): Given(predictions)}
    return Answered(name, kind, "", FusionTask("toy", tuple(clips), LABELS), given)


def test_confusion_counts_every_clip(clips, predictions):
    made = predictions["stacking", frozenset(MODALITIES), 0]
    alike = [one for one in clips if not one.conflict]
    table = confusion(answered(made, clips))
    assert table.to_numpy().sum() == len(alike) == 218 and table.shape == (12, 13)
    assert np.trace(table.to_numpy()[:, :12]) == ablation.correct(made, alike).sum()
    assert table[NO_ANSWER].sum() == sum(made[one.clip_id] is None for one in alike)
    assert confusion(answered({}, clips))[NO_ANSWER].sum() == 218
    assert len(confusion(answered(made, clips[1:4]))) == 3


def test_published_stands_beside_ours(cells):
    table = tables.beside_published(cells, ABOUT)
    theirs = table[table["kind"] == "published"].set_index("told")
    assert theirs["accuracy"].to_dict() == pytest.approx(
        {"captions": 0.60, "labels": 0.41, "motion": 0.13, "nothing": 0.0833}
    )
    assert theirs["low"].isna().all() and set(theirs["data"]) == {"Ego4D, 12 activities (real)"}
    ours = table[table["kind"] != "published"]
    assert len(ours) == 4 * 6 and ours["low"].notna().all()


def test_recorded_data_says_so():
    assert "recorded encoder outputs" in About("scenes", "recorded").marked
    text = tables.stamped(ABOUT, {"a": "llm", "b": "baseline"}, [10, 240], [30])
    assert "n = 10–240 clips of 30 people" in text and "LLM: a; baseline, no LLM: b" in text.replace("\n", " ")


# -- figures


def look(figure, name):
    """Draw it, keep it where asked, and check that no text leaves the picture or lies on another text of its axes."""
    figure.draw_without_rendering()
    if folder := os.environ.get("LLMHAR_FIGURES"):
        figure.savefig(Path(folder, f"{name}.png"))
    inside = figure.bbox.padded(1)
    ticks = [(axis, tick) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.majorTicks]
    unseen = {id(own) for axis, tick in ticks for own in (tick.label1, tick.label2)
              if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())}  # fmt: skip
    shown = [one for one in figure.findobj(Text)
             if one.get_visible() and one.get_text().strip() and id(one) not in unseen]  # fmt: skip
    for one in shown:
        box = Text.get_window_extent(one)
        outside = not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
        assert not outside, f"{name}: {one.get_text()!r} is clipped"
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [t for t in axis.get_ticklabels() if t in shown]
            if any(t.get_rotation() not in (0, 90) for t in labels):
                continue  # boxes of slanted text overlap where the text does not
            overlapping(labels, name)
        overlapping([t for t in axes.texts if t.get_text().strip()], name)
    stamp = figure._supxlabel.get_text()
    assert "composed from real recordings" in stamp and ("clips" in stamp or "windows" in stamp)
    return "\n".join(one.get_text() for one in shown)


def overlapping(texts, name):
    boxes = [(Text.get_window_extent(one).padded(-1), one.get_text()) for one in texts]
    for i, (box, text) in enumerate(boxes):
        for other, words in boxes[:i]:
            assert not box.overlaps(other), f"{name}: {text!r} lies on {words!r}"


def test_factorial_heatmap(cells):
    for score in tables.SCORES:
        figure = figures.factorial_heatmap(cells, ABOUT, score=score, stand_ins=frozenset(["captions"]))
        said = look(figure, f"factorial-{score}")
        assert "captions*" in said and "not asked" in said and "told nothing" in said and "1-shot" in said
        assert "n = 240 clips of 30 people" in said
    small = [one for one in cells if one.modalities <= {"labels"} and one.answerer == "rules"]
    look(figures.factorial_heatmap(small, ABOUT), "factorial-small")


def test_shapley_bars(shares):
    said = look(figures.shapley_bars(shares, WHO, ABOUT), "shapley")
    assert "left out" in said and "SmolLM2-135M-Instruct (LLM)" in said
    look(figures.shapley_bars({"stacking": shares["stacking"]}, WHO, ABOUT), "shapley-one")


def test_dose_curves(dosed, clips):
    table = doses.dose_response(dosed[0], clips, {"SmolLM2-135M-Instruct": "llm"}, n_resamples=200)
    said = look(figures.dose_curves(table, ABOUT, 12, others=0.5), "doses")
    assert "labels varied" in said and "others at 50 %" in said and "chance, 12 activities" in said
    look(figures.dose_curves(table[table["varied"] == "all"], ABOUT, n_labels=12), "doses-one")
    verdicts = doses.dose_verdicts(dosed[0], clips, "SmolLM2-135M-Instruct", n_resamples=200)
    assert "lower" in set(verdicts["verdict"])


def test_confusion_map(clips, predictions):
    made = predictions["stacking", frozenset(MODALITIES), 0]
    said = look(figures.confusion_of(answered(made, clips), ABOUT), "confusion")
    assert "218 right" in said and "cooking (n = 19)" in said and "stacking, told labels + motion" in said
    assert "n = 218 clips of 30 people" in said
    right = answered({one.clip_id: one.label for one in clips}, clips, "x", "llm")
    said = look(figures.confusion_of(right, ABOUT), "confusion-right")
    assert NO_ANSWER not in said and "218 of 218 right" in said


def test_capacity_curve():
    sizes = [("tiny", 2_900), ("small", 24_000), ("medium", 181_000), ("large", 1_400_000)]
    rows = [
        (name, classes, n + 30 * classes, "CNN", 0.86 + 0.02 * i - 0.05 * (classes == 12),
         0.83 + 0.02 * i - 0.05 * (classes == 12), 0.89 + 0.02 * i - 0.05 * (classes == 12))
        for classes in (6, 12) for i, (name, n) in enumerate(sizes)
    ]  # fmt: skip
    forests = ((6, 0.94, 0.92, 0.96), (12, 0.88, 0.85, 0.9))
    rows += [("", number, math.nan, "random forest", *shares) for number, *shares in forests]
    table = pd.DataFrame(rows, columns=["size", "classes", "n_params", "model", "accuracy", "low", "high"])
    table["clips"], table["clusters"] = 9000, 30
    drawn = figures.capacity_curve(table, ABOUT._replace(unit="windows"))
    assert "random forest, 6 classes 94; " in drawn.alt and "tiny, 6 classes 86; " in drawn.alt
    with pytest.raises(KeyError, match="clips"):
        figures.capacity_curve(table.drop(columns="clips"), ABOUT)
    said = look(drawn, "capacity")
    assert "n = 9000 windows of 30 people" in said
    assert "random forest, 12 classes: 88.0 %" in said and "181 k" in said


def test_published_bars(cells):
    some = [one for one in cells if one.answerer in ("SmolLM2-135M-Instruct", "majority vote", "stacking")]
    said = look(figures.published_bars(tables.beside_published(some, ABOUT), ABOUT), "published")
    assert "Gemini-2.5-pro (published, S2)" in said and "captions alone" in said and "60" in said
