"""The composed scenes drawn anew, where dose curves cross, and seconds by part."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.fusion import draws, seconds
from llmhar.fusion import study as fusion_study
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.clips.scenes import N_FOLDS, SCENE_PERSONS, SCENES, plans
from llmhar.fusion.doses import Dose, _crossings, crossing
from llmhar.fusion.encoders.observation import Observation
from llmhar.fusion.encoders.observe import Observing, observe

OBSERVING = Observing(
    {"captions": "template-captions", "labels": "yamnet", "motion": "imu-cnn-m-6"}, 0.1, progress=False
)


def test_another_draw_deals_other_sounds_and_people_and_no_source_is_on_two_sides():
    study_s, other = plans(0), plans(1)
    assert [plan.clip_id for plan in study_s] == [plan.clip_id for plan in other]
    assert sum(a.sound != b.sound for a, b in zip(study_s, other)) > 40
    assert sum(a.person != b.person for a, b in zip(study_s, other)) > 40
    for plan in other:
        assert plan.sound in SCENES[plan.scene].sounds and plan.person in SCENE_PERSONS
    sides = Counter()
    for source in {(source, plan.number % N_FOLDS) for plan in other for source in (plan.sound, plan.person)}:
        sides[source[0]] += 1
    assert set(sides.values()) == {1}
    assert plans(1) == other != plans(2)


def test_draws_tell_mean_and_spread_of_each_share(monkeypatch, tmp_path):
    recorded, seen = load_clipset("scenes-recorded"), []

    def load(name, options):
        seen.append((name, options))
        kept = [clip for i, clip in enumerate(recorded.clips) if i % 8 == options["seed"]]
        return replace(recorded, clips=tuple(kept))

    monkeypatch.setattr(draws, "load_clipset", load)
    with Store(tmp_path / "s.sqlite") as store:
        table = draws.draw_table([0, 1], ["vote"], store, OBSERVING, Asking(progress=False))
    assert seen == [("scenes", {"seed": 0}), ("scenes", {"seed": 1})]
    assert set(table.index.get_level_values("answerer")) == {"rules", "vote"} and set(table["draws"]) == {2}
    assert "captions" not in table.loc["rules"].index, "a stand-in has no share"
    whole = table.loc[("vote", draws.WHOLE)]
    assert whole["least"] <= whole["mean"] <= whole["most"] and whole["sd"] >= 0


def clip(i):
    return Observation(f"c{i}", "a", f"r{i}", 0, frozenset(), ())


def test_curves_cross_between_the_doses_where_the_sign_changes():
    clips, levels = [clip(i) for i in range(20)], (0.1, 0.5, 0.9)
    planned = [Dose("all", level, ()) for level in levels]
    right = {"student": (15, 12, 12), "vote": (5, 10, 18)}
    answers = {
        (name, dose): {one.clip_id: "a" if i < n else "b" for i, one in enumerate(clips)}
        for name, counts in right.items()
        for dose, n in zip(planned, counts)
    }
    found = crossing(answers, clips, "student", "vote")
    assert found.at == pytest.approx(0.5 + 0.4 * 2 / 8) and found.ahead == "student"
    assert found.low <= found.at <= found.high and 0.9 < found.share <= 1
    assert crossing(answers, clips, "vote", "student").at == found.at
    never = crossing(answers, clips, "student", "student")
    assert np.isnan(never.at) and never.share == 0 and never.ahead == ""


def test_a_gap_of_nothing_is_passed_over():
    gaps = np.array([[0.2, 0.0, -0.2], [0.0, 0.1, 0.2], [0.0, 0.0, 0.0], [-0.1, 0.0, 0.3]])
    found = _crossings(gaps, np.array([0.0, 0.5, 1.0]))
    assert found[[0, 3]] == pytest.approx([0.5, 0.25]) and np.isnan(found[1:3]).all()


def test_seconds_are_of_one_answer_after_the_other(tmp_path):
    clips = load_clipset("scenes-recorded")
    with Store(tmp_path / "s.sqlite") as store:
        plan = fusion_study.plan(clips, observe(clips, store, OBSERVING), FusionForm(), 3)
    asked = []

    class Watched(RulesEngine):
        def stream(self, requests):
            asked.append(len(requests))
            yield from super().stream(requests)

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(seconds, "open_model", lambda model, asking: Watched())
        table = seconds.second_table(clips, OBSERVING, plan.subset, [MODELS["rules"]], Asking(), 2)
    assert asked == [1, 1, 1] and list(table.index) == ["answer: rules"], "recorded outputs are not measured"
    assert 0 < table["seconds a clip"].iloc[0] < 2 and table["keeps up"].iloc[0]
    assert table["threads"].tolist() == ["not recorded"], "this engine has none of its own"
