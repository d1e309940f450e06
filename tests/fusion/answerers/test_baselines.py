"""Baselines learn from the other folds only, whatever is done to the fold they predict."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.data.load_report import DataError
from llmhar.fusion.answerers import baselines, contrastive
from llmhar.fusion.answerers.baselines import BASELINES, predict, said, word_overlap
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation, StepSeen

LABELS = ("cooking", "washing dishes", "reading a book", "vacuum cleaning")
SOUNDS = ("Sizzle", "Water tap, faucet", "Silence", "Vacuum cleaner")
MOTIONS = ("standing", "standing", "sitting", "walking")
ALL = frozenset(MODALITIES)
IN_KERNEL = [name for name in BASELINES if name != "contrastive"]


def scene(n=60, noise=0.2, seed=0, n_folds=3):
    """Clips with steps of sound and motion; a person a clip and a half; the sound tells all four, the motion three."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=(4, size)) for name, size in (("labels", 12), ("motion", 6))}
    made = []
    for i in range(n):
        truth, person = i % 4, i * 2 // 3

        def guess(names, truth=truth):
            k = rng.integers(4) if rng.random() < noise else truth
            return (Guess(names[k], 0.7), Guess(names[(k + 1) % 4], 0.2))

        steps = tuple(
            StepSeen(2.0 + 2 * t, (Guess(f"A sound: {SOUNDS[truth]} number {i}", 1.0),), guess(SOUNDS), guess(MOTIONS))
            for t in range(5)
        )  # fmt: skip
        vectors = {name: own[truth] + rng.normal(size=own.shape[1]) for name, own in centres.items()}
        made.append(
            Observation(f"c{i}", LABELS[truth], f"p{person}", person % n_folds, frozenset([f"person:{person}"]), steps,
                        {"setting": "indoors" if truth < 3 else "outdoors"}, embeddings=vectors)
        )  # fmt: skip
    return made


def accuracy(predictions, observations):
    return np.mean([predictions[one.clip_id] == one.label for one in observations])


@pytest.mark.parametrize("name", ["vote", "bayes", "stacking", "early"])
def test_baselines_learn(name):
    observations = scene()
    assert accuracy(predict(name, observations, ALL, LABELS), observations) >= 0.9
    alone = accuracy(predict(name, observations, {"motion"}, LABELS), observations)
    assert 0.4 < alone < 0.85 or name != "vote", "two activities share the likeliest motion"
    assert predict(name, observations, ALL, LABELS) == predict(name, list(reversed(observations)), ALL, LABELS)


# -- no leak


def spoil(observation, how, rng):
    """Another truth, other guesses, other embeddings."""
    if how == "label":
        return replace(observation, label=LABELS[(LABELS.index(observation.label) + 1) % 4])
    steps = tuple(step._replace(labels=(Guess("Explosion", 1.0),), motion=(Guess("flying", 1.0),),
                                captions=(Guess("Cooking, they say", 1.0),)) for step in observation.steps)  # fmt: skip
    vectors = {name: rng.normal(size=len(vector)) * 100 for name, vector in observation.embeddings.items()}
    return replace(observation, steps=steps, embeddings=vectors, context={"setting": "on the moon"})


@pytest.mark.parametrize("name", IN_KERNEL)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_test_fold_never_changes_what_was_fitted(name, data):
    """Spoil any clips of one fold: every other clip of that fold is predicted as before."""
    observations = scene(36, noise=0.5)
    before = predict(name, observations, ALL, LABELS)
    fold = data.draw(st.integers(0, 2))
    own = [i for i, one in enumerate(observations) if one.fold == fold]
    chosen = data.draw(st.sets(st.sampled_from(own), min_size=1, max_size=len(own) - 1))
    how = data.draw(st.sampled_from(["label", "features"]))
    rng = np.random.default_rng(0)
    changed = [spoil(one, how, rng) if i in chosen else one for i, one in enumerate(observations)]
    after = predict(name, changed, ALL, LABELS)
    untouched = [observations[i].clip_id for i in own if i not in chosen or how == "label"]
    assert {clip: after[clip] for clip in untouched} == {clip: before[clip] for clip in untouched}


@pytest.mark.parametrize("name", IN_KERNEL)
def test_fitting_sees_training_clips_and_predicting_sees_no_truth(name, monkeypatch):
    """The very objects that reach fit and predict: folds apart, truth blank, other modalities gone."""
    observations, calls = scene(24), []
    real = BASELINES[name]

    def spy(train, job):
        fitted = real.fit(train, job)

        def decide(test):
            calls.append((train, test))
            return fitted(test)

        return decide

    monkeypatch.setitem(BASELINES, name, real._replace(fit=spy))
    predict(name, observations, {"motion"}, LABELS)
    assert len(calls) == 3
    for train, test in calls:
        assert {one.fold for one in train}.isdisjoint({one.fold for one in test})
        assert not frozenset().union(*[o.sources for o in train]) & frozenset().union(*[o.sources for o in test])
        assert {one.label for one in test} == {""}
        for one in [*train, *test]:
            assert not one.context and set(one.embeddings) <= {"motion"}
            assert not any(step.captions or step.labels for step in one.steps)


def test_a_shared_source_across_folds_is_refused():
    observations = scene(12)
    shared = [replace(one, sources=one.sources | {"sound:x.wav"}) if one.clip_id in ("c0", "c2") else one
              for one in observations]  # fmt: skip
    assert observations[0].fold != observations[2].fold
    for name in BASELINES:
        with pytest.raises(DataError, match=r"sound:x\.wav is in c0 .* and c2"):
            predict(name, shared, ALL, LABELS)


def test_hostile_settings_are_errors():
    observations = scene(12)
    with pytest.raises(ValueError, match="two folds"):
        predict("vote", [replace(one, fold=0) for one in observations], ALL, LABELS)
    with pytest.raises(ValueError, match="vacuum cleaning"):
        predict("vote", observations, ALL, LABELS[:3])
    with pytest.raises(ValueError, match="twice"):
        predict("vote", [*observations, observations[0]], ALL, LABELS)
    with pytest.raises(KeyError):
        predict("oracle", observations, ALL, LABELS)


def test_contradicting_clips_are_predicted_but_not_learnt_from():
    observations = scene(36, noise=0.0)
    liars = [replace(one, clip_id=f"x{i}", conflict=True, label=LABELS[(LABELS.index(one.label) + 1) % 4])
             for one in observations for i in (one.clip_id, f"{one.clip_id}b")]  # fmt: skip
    for name in ("vote", "bayes", "stacking", "early"):
        alone, both = predict(name, observations, ALL, LABELS), predict(name, [*observations, *liars], ALL, LABELS)
        assert {clip: both[clip] for clip in alone} == alone and len(both) == 108


# -- nothing to say


@pytest.mark.parametrize("name", [name for name in IN_KERNEL if name != "chance"])
def test_the_empty_set_is_the_training_majority(name):
    observations = [one for one in scene(40) if one.label != "cooking" or one.fold == 0]
    made = predict(name, observations, frozenset(), LABELS)
    for one in observations:
        others = [other.label for other in observations if other.fold != one.fold]
        assert others.count(made[one.clip_id]) == max(map(others.count, LABELS))
    # a clip whose encoders failed, among clips whose encoders did not
    mute = replace(observations[0], steps=(), context={}, embeddings={})
    made = predict(name, [mute, *observations[1:]], ALL, LABELS)
    assert made[mute.clip_id] == predict("majority", observations, ALL, LABELS)[mute.clip_id]


def test_chance_is_fair_and_does_not_look():
    observations = scene(2000)
    made = predict("chance", observations, ALL, LABELS)
    assert abs(accuracy(made, observations) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    assert predict("chance", list(reversed(observations))[:90], frozenset(), LABELS).items() <= made.items()
    assert predict("chance", observations, ALL, LABELS, seed=1) != made


# -- what each does with a guess


def hand(i, label, fold, sound, n=1, captions=()):
    steps = tuple(StepSeen(2.0 + 2 * t, captions, (Guess(sound, 0.9),)) for t in range(n))
    return Observation(f"h{i}", label, f"p{i}", fold, frozenset([f"p{i}"]), steps)


def test_vote_learns_meanings_and_falls_back_on_words():
    train = [hand(i, "cooking", 1, "Hum") for i in range(3)] + [hand(9, "reading a book", 1, "Hum")]
    test = [
        hand(20, "cooking", 0, "Hum"),
        hand(21, "vacuum cleaning", 0, "Vacuum cleaner"),
        hand(22, "cooking", 0, "Zap"),
    ]
    made = predict("vote", [*train, *test], {"labels"}, LABELS)
    assert made["h20"] == "cooking", "most frequent where it was said"
    assert made["h21"] == "vacuum cleaning", "never said in training: by its words"
    assert made["h22"] == "cooking", "means nothing: the majority"
    near = {"labels": lambda guess, label: float(guess == "Zap" and label == "reading a book")}
    assert predict("vote", [*train, *test], {"labels"}, LABELS, scorers=near)["h22"] == "reading a book"


def test_vote_counts_steps():
    train = [hand(0, "cooking", 1, "Sizzle"), hand(1, "reading a book", 1, "Silence")]
    steps = tuple(StepSeen(2.0 * t, (), (Guess(name, 0.4), Guess("Sizzle", 0.3)))
                  for t, name in enumerate(["Silence", "Silence", "Sizzle"]))  # fmt: skip
    test = Observation("t", "cooking", "q", 0, frozenset("q"), steps)
    assert predict("vote", [*train, test], {"labels"}, LABELS)["t"] == "reading a book"


def test_bayes_by_hand():
    """Cooking: Hum, Hum, Page; reading: Page. Every activity counts one more, every guess of a known activity too.

    Prior: (3 + 1) / (4 + 4) and (1 + 1) / (4 + 4). P(Page | cooking) = (1 + 1) / (3 + 2), P(Page | reading) = 2 / 3.
    """
    heard = [("Hum", 0), ("Hum", 0), ("Page", 0), ("Page", 2)]
    train = [hand(i, LABELS[truth], 1, sound) for i, (sound, truth) in enumerate(heard)]
    job = baselines.Job(frozenset({"labels"}), LABELS, 0, {})
    fitted = baselines._fit_bayes(train, job)
    # one Page: (4/8) (2/5) > (2/8) (2/3) for cooking; labels that training never saw are not answered
    assert 4 / 8 * 2 / 5 > 2 / 8 * 2 / 3
    assert fitted([hand(9, "", 0, "Page")]) == ["cooking"]
    # nine steps of one clip are as good as one, unless they are said to be independent
    assert fitted([hand(9, "", 0, "Page", n=9)]) == ["cooking"]
    assert baselines._fit_bayes(train, job, dependence=0.0)([hand(9, "", 0, "Page", n=9)]) == ["reading a book"]
    assert fitted([hand(9, "", 0, "Thunder")]) == [None]


def test_captions_are_their_words():
    one = hand(0, "cooking", 0, "Hum", captions=(Guess("A person is washing the dishes", 1.0),))
    assert said(one)["captions"] == [pytest.approx({"person": 1 / 3, "wash": 1 / 3, "dish": 1 / 3})]
    assert said(one)["labels"] == [{"Hum": 1.0}]
    assert word_overlap("Vacuum cleaner", "vacuum cleaning") == 1 and word_overlap("Dog", "cooking") == 0
    observations = scene(40)
    for name in ("vote", "bayes", "stacking"):  # every caption is another sentence
        assert accuracy(predict(name, observations, {"captions"}, LABELS), observations) > 0.9


# -- contrastive


@pytest.fixture(scope="module")
def projected(tmp_path_factory):
    """Three folds learnt in a child process, and learnt again with fold 0 spoilt."""
    pytest.importorskip("safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        observations, rng = scene(60), np.random.default_rng(0)
        spoilt = [spoil(one, "features", rng) if one.fold == 0 and i % 2 else one for i, one in enumerate(observations)]
        made, again = contrastive.project(observations), contrastive.project(spoilt)
        patch.setattr(contrastive, "run_child", lambda *_, **__: pytest.fail("learnt twice"))
        score = accuracy(predict("contrastive", observations, ALL - {"captions"}, LABELS), observations)
        (folder,) = [own.parent for own in (contrastive.paths.home() / "fusion").glob("*/job.json")][:1]
        yield observations, made, again, score, json.loads((folder / "job.json").read_text())


def test_contrastive_learns_a_shared_space(projected):
    observations, made, _, score, job = projected
    assert score >= 0.85 and job["settings"] == contrastive.SETTINGS
    for fold, view in made.items():
        held = [one.embeddings for one in view if one.fold == fold]
        likeness = np.array([[a["sound"] @ b["motion"] for b in held] for a in held])
        same = np.array([[a.label == b.label for b in view if b.fold == fold] for a in view if a.fold == fold])
        assert likeness[same].mean() > likeness[~same].mean() + 0.2, "sound lies near motion of its own activity"
        np.testing.assert_allclose([np.linalg.norm(e["sound"]) for e in held], 1, rtol=1e-5)
    assert [one.clip_id for one in made[0]] == [one.clip_id for one in observations]


def test_contrastive_never_learns_from_the_fold_it_serves(projected):
    observations, made, again, _, _ = projected
    for before, after, one in zip(made[0], again[0], observations):
        if one.fold != 0:
            np.testing.assert_array_equal(before.embeddings["sound"], after.embeddings["sound"])
            np.testing.assert_array_equal(before.embeddings["motion"], after.embeddings["motion"])
    moved = [np.abs(a.embeddings["sound"] - b.embeddings["sound"]).max() for a, b in zip(made[1], again[1])]
    assert max(moved) > 1e-3, "where that fold does train, it matters"


def test_contrastive_without_pairs_is_early_fusion():
    observations = scene(24)
    for own in ({"motion"}, {"labels", "context"}, {"context"}, frozenset()):
        assert predict("contrastive", observations, own, LABELS) == predict("early", observations, own, LABELS)


def test_embeddings_take_the_name_nearest_to_what_was_said_and_learn_nothing():
    labels = ["washing up", "vacuuming", "walking the dog", "making coffee"]
    said = {"vacuuming": "Vacuum cleaner", "walking the dog": "Dog", "washing up": "Dishes, pots, and pans"}
    clips = [
        Observation(f"{label}-{fold}", label, f"p{fold}", fold, frozenset(),
                    (StepSeen(1.0, labels=(Guess(said[label], 0.9), Guess("Speech", 0.05))),))
        for label in said for fold in (0, 1)
    ]  # fmt: skip
    shown = {"labels"}
    found = predict("embeddings", clips, shown, labels)
    assert accuracy(found, clips) == 1
    lies = [replace(one, label="making coffee") for one in clips]
    assert predict("embeddings", lies, shown, labels) == found, "truth of other folds changes nothing"
    assert set(predict("embeddings", clips, {"motion"}, labels).values()) <= set(said), "nothing said: the majority"
