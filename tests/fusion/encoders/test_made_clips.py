"""Made-up clips look like what encoders really say, and are nobody's recording."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from llmhar.fusion.clips.clip_grammar import clip_grammar
from llmhar.fusion.clips.hapt import NAMES
from llmhar.fusion.encoders.context import VALUES
from llmhar.fusion.encoders.made_clips import make_clip
from llmhar.fusion.encoders.observe import RECORDED


@pytest.fixture(scope="module")
def made():
    activities = list(clip_grammar()["activities"])
    return [make_clip(f"clip {i}", activities[i % len(activities)], "it", conflict=i % 9 == 0) for i in range(320)]


@pytest.fixture(scope="module")
def recorded():
    """Encoder -> clips -> steps -> (class, share)."""
    said = {"yamnet": [], "imu-cnn-m-6": []}
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        reply = json.loads(line)
        said[json.loads(reply["match"])["encoder"]].append(json.loads(reply["text"])["steps"])
    return said


def steps_of(made, modality):
    return [[getattr(s, modality) for s in one.observation.steps if getattr(s, modality)] for one in made]


def test_the_same_seed_gives_the_same_clip(made):
    again = make_clip("clip 3", made[3].activity, "it")
    assert (again.observation.steps, again.sources) == (made[3].observation.steps, made[3].sources)
    assert make_clip("clip 4000", made[3].activity, "it").observation.steps != made[3].observation.steps


def test_a_clip_has_all_modalities_and_no_source(made):
    for one in made:
        seen = one.observation
        assert not seen.sources and not seen.embeddings and 2 <= len(seen.steps) <= 14
        assert all(seen.has(name) for name in ("captions", "labels", "motion", "context"))
        assert [step.centre for step in seen.steps] == [2.0 + 2 * i for i in range(len(seen.steps))]
        for step in seen.steps:
            for guesses in (step.labels, step.motion):
                shares = [guess.share for guess in guesses]
                assert shares == sorted(shares, reverse=True) and all(0 <= share <= 1 for share in shares)
                assert len({guess.name for guess in guesses}) == len(guesses)
            assert len(step.labels) == 5 and {guess.name for guess in step.motion} <= set(NAMES)
        assert all(value in VALUES[name] for name, value in seen.context.items())
    told = {guess.name for steps in steps_of(made, "motion") for step in steps for guess in step}
    assert told >= set(NAMES[:6]) and any(name.startswith("stand-to") for name in told)


@pytest.mark.parametrize(("encoder", "modality", "ranks"), [("yamnet", "labels", 5), ("imu-cnn-m-6", "motion", 2)])
def test_shares_are_spread_like_those_of_real_outputs(made, recorded, encoder, modality, ranks):
    for rank in range(ranks):
        real = np.array([step[rank][1] for clip in recorded[encoder] for step in clip])
        ours = np.array([step[rank].share for clip in steps_of(made, modality) for step in clip])
        assert np.all(np.abs(np.quantile(ours, [0.25, 0.5, 0.75]) - np.quantile(real, [0.25, 0.5, 0.75])) < 0.12)


def stays(clips):
    """How often the likeliest class is the one of the step before."""
    return np.mean([a[0][0] == b[0][0] for clip in clips for a, b in pairwise(clip)])


def test_the_likeliest_class_stays_from_step_to_step_like_in_real_outputs(made, recorded):
    assert abs(stays(steps_of(made, "labels")) - stays(recorded["yamnet"])) < 0.25
    assert abs(stays(steps_of(made, "motion")) - stays(recorded["imu-cnn-m-6"])) < 0.15


def test_no_clip_is_a_recording(made, recorded):
    def steps(clips):
        return {tuple((name, round(share, 3)) for name, share in step) for clip in clips for step in clip}

    assert not steps(recorded["yamnet"]) & steps(steps_of(made, "labels"))


def test_errors_are_of_every_kind(made):
    kinds, activities = clip_grammar()["sounds"], clip_grammar()["activities"]
    misheard = [(kind, wrong) for one in made for kind, wrong in one.misheard.items()]
    assert misheard and all(wrong in kinds[kind]["near"] for kind, wrong in misheard)
    tops = [[step[0] for step in steps] for steps in steps_of(made, "labels")]
    assert any(top.share < 0.1 for clip in tops for top in clip)
    assert any({"Speech", "Silence", "Inside, small room"} & {top.name for top in clip} for clip in tops)
    fits = {True: [], False: []}
    for one in made:
        told = [step.motion[0].name for step in one.observation.steps if step.motion]
        usual = activities[one.activity]["moves"]
        fits[one.observation.conflict].append(np.mean([name in usual for name in told]))
    assert np.mean(fits[True]) < 0.1 and 0.85 < np.mean(fits[False]) < 1
