"""The lesson's form: menus where widgets live, a table to write into where none can, hostile text escaped in both."""

from dataclasses import replace

import pytest

from llmhar.data.events import cut_windows
from llmhar.data.registry import load
from llmhar.traces import label_form
from llmhar.traces.label_form import NO_IDEA, LabelForm
from tests.traces.explorer_bundles import PAYLOADS


@pytest.fixture(scope="module")
def home():
    return load("simulated").sessions[0]


def parts(widget):
    """Menus, button, what is told, and the result of a form's widget."""
    *rows, foot, result = widget.children
    return [row.children[1] for row in rows], *foot.children, result


def test_the_truth_shows_itself_once_every_event_has_a_label(home):
    window = cut_windows(home)[4]
    form = LabelForm(window, home)
    menus, button, told, result = parts(form.widget())
    assert len(menus) == len(window.events) == 10 and button.disabled and told.value.startswith("10 of 10")
    assert form.labels == [NO_IDEA] * 10
    truths = [home.truth_of(event) for event in window.events]
    for place, menu in enumerate(menus[:-1]):
        menu.value = truths[place]
    assert button.disabled and told.value.startswith("1 of 10")
    menus[-1].value = NO_IDEA
    assert not button.disabled and form.labels == [*truths[:-1], NO_IDEA] and result.value == ""
    button.click()
    assert "9 of 10 right" in result.value and result.value.count("✗") == 1 and result.value.count("✓") == 9
    menus[-1].value = truths[-1]
    assert result.value == ""  # another guess: the old comparison is gone
    button.click()
    assert "10 of 10 right" in result.value
    menus[0].value = ""
    assert button.disabled and form.labels[0] == NO_IDEA


def test_menus_offer_the_names_of_the_prompt_and_no_idea(home):
    (menu, *_), *_ = parts(LabelForm(cut_windows(home)[0], home).widget())
    assert [value for _, value in menu.options] == ["", NO_IDEA, *home.labels.values()]


def test_a_report_gets_a_table_to_write_into_with_the_truth_folded(home, monkeypatch):
    shown = []
    monkeypatch.setattr(label_form, "display", shown.append)
    form = LabelForm(cut_windows(home)[4], home)
    monkeypatch.setenv("LLMHAR_HEADLESS", "1")
    form._ipython_display_()
    page = shown[0].data
    assert page.count("<details><summary>look</summary>") == 10 and page.count("_" * 24) == 10
    assert "<script" not in page and "<select" not in page and all(name in page for name in home.labels.values())
    monkeypatch.delenv("LLMHAR_HEADLESS")
    form._ipython_display_()
    assert type(shown[1]).__name__ == "VBox"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_stay_text(home, payload):
    events = tuple(
        replace(event, room=payload, sensor=payload, state=payload, residents=(payload,)) for event in home.events[:3]
    )
    named = {number: f"{payload} {number}" for number in home.activities}
    evil = replace(home, events=events, activities=named)
    form = LabelForm(replace(cut_windows(home)[0], events=events), evil)
    widget = form.widget()
    menus, button, _, result = parts(widget)
    for menu in menus:
        menu.value = menu.options[2][1]
    button.click()
    texts = [row.children[0].value for row in widget.children[:3]]
    for page in (form.static_html().data, result.value, *texts):
        for mark in ("<script", "<img", "<svg", "<iframe", 'onerror="', "<a "):
            assert mark not in page.lower()
    assert all("<b>" in text and text.count("<") == 2 for text in texts)
