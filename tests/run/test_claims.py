"""Numbers in README and docs come from the records, and from nobody's hand."""

import json

import pytest

from llmhar import paths
from llmhar.run import claims


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
    assert "new (simulated): 12 sessions, 5000 events" in text and "other (simulated): 6 sessions" in text
    assert "paired by session: 0.050 [-0.050, 0.150], p 0.250" in text
    assert "written before any answer (commit abcdef0123, 2026-12-01; smollm2-135m taught: vllm 1 float32 cpu" in text


def test_what_was_not_recorded_says_so(tmp_path):
    assert "Not recorded yet" in claims.student_span(tmp_path) and claims.demo_span(tmp_path) == "Not recorded yet."


def test_a_planted_number_is_found_and_mended(record):
    page = f"before\n<!-- record: student -->\n{claims.student_span(record)}\n<!-- /record -->\nafter"
    assert claims.fill_spans(page, record) == page
    assert claims.fill_spans(page.replace("0.500 [0.4", "0.900 [0.4"), record) == page
    with pytest.raises(KeyError, match="nonsense"):
        claims.fill_spans("<!-- record: nonsense -->\n<!-- /record -->", record)
