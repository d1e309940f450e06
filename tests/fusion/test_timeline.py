"""One clip as a timeline: windows where they lie, texts within their windows, whatever an encoder says."""

from dataclasses import replace

import pytest
from matplotlib.patches import Rectangle

from llmhar.ask.store import Store
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.observation import Guess
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.fusion.timeline import draw_timeline
from tests.traces.explorer_bundles import PAYLOADS

ENCODERS = {"captions": "template-captions", "labels": "yamnet", "motion": "imu-cnn-m-6"}


@pytest.fixture(scope="module")
def clips():
    return load_clipset("scenes-recorded")


@pytest.fixture(scope="module")
def observed(clips, tmp_path_factory):
    with Store(tmp_path_factory.mktemp("fusion") / "store.sqlite") as store:
        return observe(clips, store, Observing(ENCODERS, 0.1, 0, progress=False))


def drawn(clips, observed):
    figure = draw_timeline(clips, observed)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    return figure, axes, [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_each_window_lies_where_it_was_cut(clips, observed):
    figure, _, boxes = drawn(clips, observed)
    steps = next(one for one in observed.observations if not one.conflict).steps  # all clips are as long
    for width, n in ((2, 2 * len([s for s in steps if s.labels])), (4, len([s for s in steps if s.motion]))):
        own = [box for box in boxes if abs(box.get_width() + 0.06 - width) < 1e-6]
        assert len(own) == n
        assert {round(box.get_x() + box.get_width() / 2, 3) for box in own} <= {step.centre for step in steps}
    for one in boxes:  # no two windows of a lane cover each other
        for other in boxes:
            if one is not other and one.get_y() == other.get_y():
                assert (
                    one.get_x() + one.get_width() <= other.get_x() or other.get_x() + other.get_width() <= one.get_x()
                )
    assert "(truth)" in figure.alt and "time steps" in figure.alt and "scenes" in figure.alt.lower()


def test_a_modality_that_nobody_has_takes_no_lane(clips, observed):
    silent = [replace(o, steps=tuple(s._replace(motion=()) for s in o.steps)) for o in observed.observations]
    _, axes, _ = drawn(clips, observed._replace(observations=silent))
    assert [text.get_text().split("\n")[0] for text in axes.get_yticklabels()] == ["captions", "labels"]
    nothing = [replace(o, steps=()) for o in observed.observations]
    assert drawn(clips, observed._replace(observations=nothing))[2] == []


@pytest.mark.parametrize("name", ["speech", "w" * 300, "$x_1$ and $", *PAYLOADS[:4]])
def test_no_text_leaves_its_window(clips, observed, name):
    guess = (Guess(name, 0.5),)
    loud = [
        replace(o, steps=tuple(s._replace(captions=guess, labels=guess, motion=guess) for s in o.steps))
        for o in observed.observations
    ]
    _, axes, boxes = drawn(clips, observed._replace(observations=loud))
    extents = [box.get_window_extent() for box in boxes]
    for text, box in zip(axes.texts, extents, strict=True):
        own = text.get_tightbbox()
        assert box.x0 - 1 <= own.x0 and own.x1 <= box.x1 + 1 and box.y0 <= own.y0 and own.y1 <= box.y1
