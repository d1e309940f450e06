"""The way as a drawing: every step with what it loses, words of the window without its truth, nothing beyond a box."""

from dataclasses import replace

import pytest
from matplotlib.patches import Rectangle

from llmhar.ask.task import one_window, prepare
from llmhar.score.way_figure import LOST, STEPS, draw_way
from tests.traces.explorer_bundles import PAYLOADS


@pytest.fixture(scope="module")
def shown():
    task = one_window(prepare("simulated"), 0, 4)
    return task.windows[0], task.sessions[task.windows[0].session_id]


def drawn(window, session):
    figure = draw_way(window, session, "made up")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    return figure, axes, [text.get_text() for text in axes.texts if text.get_text()]


def test_five_steps_with_what_each_loses_and_words_of_the_window(shown):
    figure, axes, texts = drawn(*shown)
    assert [f"{i}. {step}" for i, step in enumerate(STEPS, start=1)] == [t for t in texts if t[:2] in "1. 2. 3. 4. 5."]
    assert set(LOST) <= set(texts) and "coffee machine" in " ".join(" ".join(texts).split())
    assert sum(bool(a.get_text() == "") for a in axes.texts) == 4  # arrows
    for step in STEPS:
        assert step in figure.alt
    assert not any(shown[1].truth_of(event) in " ".join(texts) for event in shown[0].events)


@pytest.mark.parametrize("name", ["couch", "$x_1$ and $", "w" * 300, *PAYLOADS[:6]])
def test_no_text_leaves_its_box_whatever_the_names_are(shown, name):
    events = tuple(replace(event, room=name, sensor=name, state=name) for event in shown[0].events)
    _, axes, _ = drawn(replace(shown[0], events=events), shown[1])
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, Rectangle)]
    inside = [text.get_window_extent() for text in axes.texts if text.get_family() == ["monospace"]]
    assert len(boxes) == len(inside) == 5
    for box, text in zip(boxes, inside):
        assert box.x0 <= text.x0 and text.x1 <= box.x1 and box.y0 <= text.y0 and text.y1 <= box.y1
