"""Findings against made-up results: the sentence follows the numbers in both directions, and "not shown" between."""

import json
import re

import pytest

from llmhar import paths
from llmhar.run import findings
from llmhar.run.findings import Score, compared, finding_of, key_numbers, paired
from llmhar.settings import notebook_names

RULES = "rules, not an LLM"


def score(model, kind, mean, half=0.05, n=6, missed=0.0):
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"model": model, "kind": kind, "macro_f1": mean, "macro_f1_low": low, "macro_f1_high": high,
            "missed_pct": missed, "n_sessions": n, "n_events": 10 * n, "data": "home", "subset": "all"}  # fmt: skip


def run(notebook, numbers=None, scores=(), table=None):
    return {
        "notebook": notebook,
        "status": "ok",
        "key_numbers": numbers or {"x": 1},
        "scores": list(scores),
        "table": table,
    }


@pytest.mark.parametrize(
    ("model", "other", "half", "said"),
    [
        (0.9, 0.5, 0.05, "the language model is ahead"),
        (0.5, 0.9, 0.05, "the language model is behind"),
        (0.7, 0.65, 0.05, "which of them is better is not shown"),
        (0.9, 0.5, None, "which of them is better is not shown"),
    ],
)
def test_models_beside_others(model, other, half, said):
    rows = [score("big", "LLM", model, half), score("small", "LLM", 0.1, half), score("rules", RULES, other, half)]
    text = finding_of(run("02_prompting", scores=rows))
    assert said in text and f"{model:.3f}" in text and f"{other:.3f}" in text and "n = 6 sessions" in text
    assert "big, the best of 2 language models" in text


def test_unlabelled_events_are_told():
    rows = [score("m", "LLM", 0.0, 0.0, missed=100.0), score("rules", RULES, 0.7)]
    assert "leaves 100 % of events without a label" in finding_of(run("06_traces", scores=rows))
    rows[0] |= {"missed_pct": 0.0}
    assert "without a label" not in finding_of(run("06_traces", scores=rows))


@pytest.mark.parametrize(
    ("name", "said"),
    [("rules", "the rules reach"), ("rules-plain", "rules-plain reach"), ("trees (truth)", "trees (truth) reach"),
     ("text embeddings", "text embeddings reach"), ("lookup (rules)", "lookup (rules) reaches"),
     ("majority class", "the majority class reaches"), ("smollm2-135m", "smollm2-135m reaches"),
     ("treesome", "treesome reaches")],
)  # fmt: skip
def test_a_verb_goes_with_its_subject(name, said):
    assert findings.subject(name) == said
    assert findings.subject("rules", "is", "are", " (x)") == "the rules (x) are"
    alone = finding_of(run("03_scaling", scores=[score(name, RULES, 0.7)]))
    assert alone.startswith(said.replace("the ", "The ") + " macro F1 0.700")
    both = finding_of(run("03_scaling", scores=[score("m", "LLM", 0.1), score(name, "no LLM", 0.7)]))
    assert said.replace(" reach", " (no LLM) reach") in both


def test_no_language_model_is_no_comparison():
    assert "no language model was asked" in finding_of(run("03_scaling", scores=[score("rules", RULES, 0.7)]))
    assert "nothing else was asked" in finding_of(run("03_scaling", scores=[score("m", "LLM", 0.7)]))
    assert finding_of(run("03_scaling")) == ""


def test_a_failed_run_found_nothing():
    assert finding_of(run("02_prompting", scores=[score("m", "LLM", 0.7)]) | {"status": "failed"}) == ""


def test_writing():
    numbers = {"tokens_lines": 100.0, "tokens_json": 250.0, "windows_test": 1251}
    said = "The same window costs 100 tokens as lines and 250 as json: 2.50 times as many (n = 1,251 windows)."
    assert finding_of(run("01_serialization", numbers)) == said.replace("2.50", "2.5")
    uncounted = run("01_serialization", numbers) | {"params": {"tokenizer": None}}
    assert finding_of(uncounted) == said.replace("2.50", "2.5").replace("tokens", "words")
    numbers["tokens_lines"] = 400.0
    assert "250 tokens as json and 400 as lines: 1.6 times" in finding_of(run("01_serialization", numbers))
    numbers["tokens_lines"] = 250.0
    assert "All 2 ways" in finding_of(run("01_serialization", numbers))


@pytest.mark.parametrize(
    ("gap", "p", "said", "unsaid"),
    [
        (-0.3, 0.031, "behind trees by 0.300 (p 0.031)", "ahead"),
        (0.3, 0.0001, "ahead of trees by 0.300 (p < 0.001)", "behind"),
        (0.3, 0.2, "a difference from trees is not shown (p 0.200)", "ahead"),
        (-0.3, None, "a difference from trees is not shown (no test)", "behind"),
    ],
)
def test_a_student_beside_trees(gap, p, said, unsaid):
    numbers = {"student_f1": 0.5, "student_f1_low": 0.4, "student_f1_high": 0.6, "student_of_teacher_f1": 0.75,
               "teacher_f1": 0.6667, "student_minus_trees_f1": gap, "student_minus_trees_p": p}  # fmt: skip
    text = finding_of(run("04_distillation", numbers, [score("s", "LLM", 0.5)]))
    assert "macro F1 0.500 [0.400, 0.600], 75 % of its teacher's 0.667" in text and said in text and unsaid not in text
    numbers |= {"student_minus_answer_only_f1": 0.02, "student_minus_answer_only_p": 0.01}
    text = finding_of(run("04_distillation", numbers))
    assert said in text and "; ahead of a student taught answers only by 0.020 (p 0.010)" in text
    means = {"student_minus_answer_only_of_seeds_f1": -0.03, "student_minus_answer_only_of_seeds_p": 0.04, "seeds": 2}
    text = finding_of(run("04_distillation", numbers | means))
    assert "; behind a student taught answers only by 0.030 (p 0.040), means over 2 seeds" in text
    assert "ahead of a student" not in text and said in text
    del numbers["student_minus_trees_f1"]
    assert "how it stands to trees is not shown" in finding_of(run("04_distillation", numbers))


def test_a_student_that_moved():
    numbers = {"transfer_f1": 0.4, "transfer_f1_low": 0.3, "transfer_f1_high": 0.5, "transfer_homes": 7,
               "transfer_minus_matcher": 0.1, "transfer_minus_matcher_p": 0.016, "transfer_minus_rules_plain": -0.01,
               "transfer_minus_rules_plain_p": 0.6}  # fmt: skip
    text = finding_of(run("04b_transfer", numbers))
    assert text.startswith("In 7 homes never seen the student reaches macro F1 0.400 [0.300, 0.500]")
    assert "ahead of the pairwise matcher by 0.100" in text and "from rules-plain is not shown" in text


@pytest.mark.parametrize(("model", "said"), [(0.1, "behind"), (0.95, "ahead"), (0.55, "not shown")])
def test_clips(model, said):
    columns = ["activities", "answerer", "kind", "macro F1", "low", "high", "clips", "recordings"]
    rows = [["all", "m", "LLM", model, model - 0.02, model + 0.02, 8, 8],
            ["all", "bayes", "baseline, no LLM", 0.55, 0.5, 0.6, 120, 52],
            ["taught", "bayes", "baseline, no LLM", 0.99, 0.98, 1.0, 84, 37]]  # fmt: skip
    text = finding_of(run("05_fusion", table={"columns": columns, "rows": rows}))
    assert said in text and "0.990" not in text and "n = 8 recordings" in text


@pytest.mark.parametrize(
    ("verdict", "said"), [("lower", "less often"), ("higher", "more often"), ("not shown", "is not shown")]
)
def test_spoilt_guesses(verdict, said):
    table = {"columns": ["answerer", "dose", "accuracy", "vote", "verdict", "clips"],
             "rows": [["rules", 0.25, 0.1, 0.2, "lower", 120], ["rules", 0.5, 0.85, 0.9, verdict, 120]]}  # fmt: skip
    text = finding_of(run("05b_encoder_errors", table=table))
    assert "right on 85 % of clips, a vote on 90 %" in text and said in text and "n = 120 clips" in text


def test_words_of_comparison_need_both_intervals():
    first, second = Score("a", "", 0.9, 0.8, 1.0, None, 6, "session"), Score("b", "", 0.1, 0.0, 0.8, None, 6, "session")
    assert compared(first, second) == "not shown" and compared(first, second._replace(high=0.79)) == "ahead"
    assert compared(second._replace(high=0.79), first) == "behind"
    assert compared(first, second._replace(high=None)) == "not shown"
    assert [paired(0.1, 0.049), paired(-0.1, 0.049), paired(0.1, 0.05), paired(0.0, 0.0)] == [
        "ahead", "behind", "not shown", "not shown"]  # fmt: skip


def test_key_numbers_stand_in_a_chosen_order_with_their_intervals():
    numbers = {"windows": 24, "zero_shot_f1": None, "teacher_f1": 0.7, "student_f1": 0.5, "student_f1_low": 0.4,
               "student_f1_high": 0.6, "student_minus_trees_f1": -0.3, "student_minus_trees_p": 0.03,
               "plan": "none"}  # fmt: skip
    shown = list(key_numbers(run("04_distillation", numbers)))
    assert shown[0] == ("macro F1, student", "0.500 [0.400, 0.600]") and shown[-1] == ("plan", "none")
    assert ("macro F1, student minus trees", "-0.300, p 0.030") in shown and (
        "macro F1, zero shot",
        "not measured",
    ) in shown
    assert len(shown) == 6


def test_what_was_counted_in_words_is_called_words():
    counted = run("01_serialization", {"tokens_lines": 100.0, "windows_test": 4})
    assert next(key_numbers(counted)).words == "tokens a window, lines"
    assert next(key_numbers(counted | {"params": {"tokenizer": "m"}})).words == "tokens a window, lines"
    assert next(key_numbers(counted | {"params": {"tokenizer": None}})).words == "words a window, lines"


def test_small_students_show_their_reasons_first_then_size_beside_score():
    numbers = {"f1 big, int8": 0.5, "f1 big, int8_low": 0.4, "f1 big, int8_high": 0.6, "mb big, int8": 130.0,
               "f1 tiny, int4": 0.3, "mb tiny, int4": 40.0, "gap drop, rules, old": 60.0,
               "gap drop, rules, old_pairs": 5,
               "gap drop, tiny": 33.3, "gap drop, tiny_pairs": 6, "gap drop, tiny_low": 10.0,
               "gap drop, tiny_high": 55.0, "gap swap, tiny": None}  # fmt: skip
    shown = list(key_numbers(run("04c_small_students", numbers)))
    assert [(one.words.rpartition(", ")[2], one.text) for one in shown] == [
        ("tiny", "33.3 [10, 55], n = 6 pairs"), ("tiny", "not measured"), ("int8", "0.500 [0.400, 0.600]"),
        ("int8", "130"), ("int4", "0.300"), ("int4", "40"), ("old", "60, n = 5 pairs"),
    ]  # fmt: skip
    assert shown[-1].words.endswith("events (drop), rules, old")
    assert [one.words for one in shown[:4]] == [
        "points more labels moved by cited than by other events (drop), tiny",
        "points more labels moved by cited than by other events (swap), tiny",
        "macro F1, big, int8", "MB of weights, big, int8",
    ]  # fmt: skip


def test_encoder_errors_show_who_is_asked_first_and_where_curves_cross():
    numbers = {"accuracy_dose_50_bayes": 0.9, "accuracy_dose_50_rules": 0.85, "motion_m_6_accuracy": 0.9,
               "crossing_rules_vote": 0.11, "crossing_rules_vote_low": 0.1, "crossing_rules_vote_high": 0.15,
               "f1_all_rules": 0.7, "fusion_with_imu-cnn-m-6": 0.8}  # fmt: skip
    assert list(key_numbers(run("05b_encoder_errors", numbers))) == [
        ("accuracy with half of the guesses right, rules", "0.850"),
        ("accuracy with half of the guesses right, bayes", "0.900"),
        ("share of right guesses where rules and vote cross", "0.110 [0.100, 0.150]"),
        ("macro F1, everything told, rules", "0.700"),
        ("accuracy by motion alone, m, 6 classes", "0.900"),
        ("accuracy of the fusion that imu-cnn-m-6 feeds", "0.800"),
    ]


def test_a_cell_of_the_matrix_is_read_out_and_language_models_come_first():
    cell = "f1 {}, taught {}, on home 4 windows from each of 6 test sessions (seed 0)"
    numbers = {cell.format("rules", "nothing (teacher)"): 0.7, cell.format("tiny", "home"): 0.4}
    assert list(key_numbers(run("04b_transfer", numbers))) == [
        ("macro F1 on home, tiny, taught home", "0.400"),
        ("macro F1 on home, rules, taught nothing (teacher)", "0.700"),
    ]


def test_means_over_seeds_stand_behind_the_first_student():
    numbers = {"trees_f1": 0.6, "teacher_f1": 0.7, "student_f1": 0.5, "student_of_teacher_f1": 0.7, "seeds": 2,
               "student_of_seeds_f1": 0.45, "student_minus_answer_only_of_seeds_f1": 0.1,
               "student_minus_answer_only_of_seeds_p": 0.5, "student_minus_trees_f1": -0.1}  # fmt: skip
    assert [tuple(one) for one in key_numbers(run("04_distillation", numbers))][1:3] == [
        ("macro F1, student, mean over seeds", "0.450"),
        ("macro F1, student minus answer only, means over seeds", "0.100, p 0.500"),
    ]


def test_each_notebook_has_an_order():
    assert set(findings.ORDER) == set(notebook_names())


def test_each_notebook_has_a_title_and_each_record_a_finding_with_n():
    assert set(findings.TITLES) == set(notebook_names())
    for file in sorted(paths.record().glob("*/*/run.json")):
        text = finding_of(json.loads(file.read_text(encoding="utf-8")))
        assert text.endswith(".") and "None" not in text and "nan" not in text and re.search(r"n = |\d+ homes", text), (
            file
        )
