"""Strict against flexible on one worked answer, and its page."""

import json

import pytest

from llmhar.traces.readings import WORKED, Worked, read_both, readings_html
from tests.traces.explorer_bundles import PAYLOADS


def test_the_worked_answer_shows_every_way_the_readings_part():
    rows = read_both(WORKED)
    assert {row.strict.verdict for row in rows} == {"cut"} and all(row.strict.label is None for row in rows)
    assert [row.flexible.verdict for row in rows] == ["ok", "ok", "unknown_label", "duplicate", "ok", "cut"]
    assert [row.flexible.label for row in rows] == [0, 1, None, None, 1, None]


def test_an_answer_as_asked_for_is_read_alike():
    text = json.dumps([{"id": i, "activity": "others"} for i in range(2)])
    rows = read_both(Worked(text, {0: "others"}, ("", "")))
    assert [(row.strict.label, row.flexible.label) for row in rows] == [(0, 0), (0, 0)]


def test_the_page_has_text_and_both_readings_side_by_side():
    page = readings_html().data
    assert page.count("→") == 3 and page.count("– cut") == 7 and 'rowspan="6"' in page
    assert "&lt;think&gt;" in page and "<think>" not in page and all(remark in page for remark in WORKED.remarks)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_stays_text(payload):
    page = readings_html(Worked(f'{payload} [{{"id": 0, "activity": "x"}}]', {0: payload}, (payload,))).data.lower()
    assert not any(mark in page for mark in ("<script", "<img", "<svg", "<iframe", "<a "))
