"""Numbers in README and docs come from the records, and from nobody's hand."""

import json

import pytest

from llmhar import paths
from llmhar.run import claims
from llmhar.run.record import results_page
from tests.run.test_record import run_json


def test_readme_and_docs_say_what_the_records_say():
    pages = [file for pattern in claims.FILES for file in paths.root().glob(pattern)]
    spans = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert claims.fill_spans(text) == text, f"{page.name} differs from reports/record; run: llmhar record"
        spans += text.count("<!-- record: ")
    assert spans, "README shows at least one result"


def numbers(**f1):
    return {
        f"{name}_f1{end}": value + shift
        for name, value in f1.items()
        for end, shift in (("", 0.0), ("_low", -0.1), ("_high", 0.1))
    }


@pytest.fixture
def record(tmp_path):
    folder = tmp_path / "demo-full" / "04_distillation"
    folder.mkdir(parents=True)
    scores = [
        {"data": "new (simulated)", "n_sessions": 12, "n_events": 5000},
        {"data": "other (simulated)", "n_sessions": 6, "n_events": 2500},
    ]
    run = {
        "commit": "abcdef0123456789",
        "finished_utc": "2026-12-01T10:00:00+00:00",
        "engines": ["rules: rules 1", "smollm2-135m taught: vllm 1 float32 cpu"],
        "scores": scores,
        "key_numbers": numbers(student=0.5, answer_only=0.45, trees=0.6, confirmed_student=0.4)
        | numbers(student_minus_answer_only=0.05)
        | {"student_minus_answer_only_p": 0.25, "plan": "plan 1234567890 of 2026-11-30: written before any answer"},
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return tmp_path


def test_the_student_s_span_holds_numbers_n_plan_and_engine(record):
    text = claims.student_span(record)
    assert "| student, taught reasoning and answers | 0.500 [0.400, 0.600] | 0.400 [0.300, 0.500] |" in text
    assert "| trees on the teacher's labels, 5 seconds | 0.600 [0.500, 0.700] | – |" in text
    flat = " ".join(text.split())
    assert "new (simulated): 12 sessions, 5000 events" in flat and "other (simulated): 6 sessions" in flat
    assert "paired by session: 0.050 [-0.050, 0.150], p 0.250" in flat
    assert "written before any answer (commit abcdef0123, 2026-12-01; smollm2-135m taught: vllm 1 float32 cpu" in flat
    assert max(map(len, text.splitlines())) <= 120


def test_the_known_home_s_span_is_the_same_as_a_paragraph(record, tmp_path):
    flat = " ".join(claims.known_span(record).split())
    assert flat.startswith("12 sessions of new (simulated), macro F1: SmolLM2-135M taught reasons and answers 0.500 [")
    assert "answers only 0.450 [0.350, 0.550]; trees on the same labels 0.600 [0.500, 0.700]. Reasons minus" in flat
    assert "0.050 [-0.050, 0.150], p 0.250. One run of each arm; plan 1234567890" in flat and "lookup" not in flat
    assert claims.known_span(tmp_path / "nowhere").startswith("Not recorded yet")


def test_trainings_that_were_repeated_are_told_as_such(record):
    file = record / "demo-full" / "04_distillation" / "run.json"
    run = json.loads(file.read_text())
    run["key_numbers"] |= {"student_minus_trees_f1": -0.1, "student_minus_trees_p": 0.01, "seeds": 2}
    run["key_numbers"] |= {"student_minus_answer_only_of_seeds_p": 0.5}
    run["key_numbers"] |= numbers(student_seed_1=0.48, answer_only_seed_1=0.46, student_of_seeds=0.49)
    run["key_numbers"] |= numbers(answer_only_of_seeds=0.455, student_minus_answer_only_of_seeds=0.035)
    file.write_text(json.dumps(run), encoding="utf-8")
    text = claims.student_span(record)
    assert text.count("| the same, trained once more (seed 1) |") == 2
    for said in (text, claims.known_span(record)):
        flat = " ".join(said.split())
        assert "Mean of 2 trainings of each arm: reasons and answers 0.490 [0.390, 0.590], answers only 0.455" in flat
        assert "paired 0.035 [-0.065, 0.135], p 0.500; plan 1234567890" in flat and "One run" not in flat
    said = " ".join(claims.meaning(record).split())
    assert "Each arm was trained 2 times: over them reasons and answers have 0.490" in said
    assert "a difference from answers only is not shown (p 0.500)." in said and "another seed" not in said


@pytest.mark.parametrize(
    ("gap", "p", "words"),
    [
        (-0.1, 0.01, "a student buys less than trees"),
        (0.1, 0.01, "a student buys more than trees"),
        (0.1, 0.2, "a student buys nothing that can be shown over trees"),
    ],
)
def test_what_a_student_buys_is_said_as_its_numbers_are(record, gap, p, words):
    assert claims.meaning(record) == "", "nothing was compared with trees"
    file = record / "demo-full" / "04_distillation" / "run.json"
    run = json.loads(file.read_text())
    run["key_numbers"] |= {"student_minus_trees_f1": gap, "student_minus_trees_p": p}
    file.write_text(json.dumps(run), encoding="utf-8")
    said = " ".join(claims.meaning(record).split())
    assert words in said and "its macro F1 is 0.500 [0.400, 0.600], theirs 0.600 [0.500, 0.700]" in said
    assert "not its answers alone: a difference from answers only is not shown (p 0.250)" in said
    assert ("what another seed would give is not shown" in said) and "homes never seen" not in said
    whole = run_json("04_distillation", key_numbers=run["key_numbers"])
    file.write_text(json.dumps(whole), encoding="utf-8")
    assert words in " ".join(results_page(record).split())


def test_the_homes_span_holds_means_homes_and_tests(tmp_path):
    assert "Not recorded yet" in claims.homes_span(tmp_path)
    folder = tmp_path / "demo-full" / "04b_transfer"
    folder.mkdir(parents=True)
    run = {
        "commit": "abcdef0123456789",
        "finished_utc": "2026-12-01T10:00:00+00:00",
        "engines": ["taught on made-up homes: vllm 1", "rules: rules 1"],
        "key_numbers": numbers(transfer=0.5, transfer_matcher=0.3)
        | {"transfer_homes": 2, "transfer_f1_uci_a": 0.8, "transfer_f1_casas_al": 0.2, "transfer_f1_odd_homes": 0.25}
        | {"transfer_minus_matcher": 0.2, "transfer_minus_matcher_p": 0.0012},
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    asked = ("casas (real)", 6, 900), ("casas (real)", 6, 900), ("uci (real)", 4, 170), ("odd (simulated)", 9, 9)
    run["scores"] = [dict(zip(("data", "n_sessions", "n_events"), row)) for row in asked]
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    text = claims.homes_span(tmp_path)
    flat = " ".join(text.split())
    assert "| pairwise matcher, fitted on the same made-up homes | 0.300 [0.200, 0.400] |" in text
    assert "Mean over the 2 recorded homes (10 sessions, 1,070 events): UCI ADL A 0.800, CASAS AL 0.200. Not" in flat
    assert "Not in the mean, simulated:" in flat
    assert "40 made-up homes of rare words 0.250. The student's gap, paired by session: +0.200 against the" in flat
    assert (
        "matcher, p 0.0012. One training, seed 0 (commit abcdef0123, 2026-12-01; taught on made-up homes: vllm 1)"
        in flat
    )
    assert max(map(len, text.splitlines())) <= 120 and "own names" not in text


def test_what_was_not_recorded_says_so(tmp_path):
    assert "Not recorded yet" in claims.student_span(tmp_path)


def test_a_planted_number_is_found_and_mended(record):
    page = f"before\n<!-- record: student -->\n{claims.student_span(record)}\n<!-- /record -->\nafter"
    assert claims.fill_spans(page, record) == page
    assert claims.fill_spans(page.replace("0.500 [0.4", "0.900 [0.4"), record) == page
    with pytest.raises(KeyError, match="nonsense"):
        claims.fill_spans("<!-- record: nonsense -->\n<!-- /record -->", record)


def test_the_fusion_span_holds_who_fuses_and_over_how_many_clips(tmp_path):
    assert "Not recorded yet" in claims.fusion_span(tmp_path)
    folder = tmp_path / "demo-full" / "05_fusion"
    folder.mkdir(parents=True)
    found = numbers(student=0.3, vote=0.8, student_unseen=0.1) | {"f1_all_bayes": 0.889, "student_clips": 120}
    run = {"commit": "abcdef0123456789", "finished_utc": "2026-12-01T10:00:00+00:00", "key_numbers": found}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    flat = " ".join(claims.fusion_span(tmp_path).split())
    assert flat.startswith(
        "120 composed clips, macro F1: naive Bayes fitted on labelled clips 0.889; a vote over steps 0.800 ["
    )
    assert (
        "made-up clips 0.300 [0.200, 0.400]; the same on activities never taught 0.100 [0.000, 0.200]; one run (c"
        in flat
    )
    assert "rules" not in flat
