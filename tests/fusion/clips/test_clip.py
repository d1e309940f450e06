"""Properties of the aligned windows and of the folds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhar.data.load_report import DataError
from llmhar.fusion.clips.clip import AUDIO_S, HOP_S, MOTION_S, Clip, Signal, align, assign_folds, check_folds

lengths = st.one_of(st.none(), st.just(0.0), st.sampled_from([1.0, 2.0, 3.999, 4.0, 20.0]), st.floats(0, 120))
rates = st.one_of(st.sampled_from([50.0, 100.0, 8000.0, 11025.0, 16000.0, 44100.0]), st.floats(5, 1000))


@given(lengths, lengths)
def test_windows_have_s2s_lengths_share_a_centre_and_stay_within_their_own_signal(audio_s, motion_s):
    steps = align(audio_s, motion_s)
    for step in steps:
        assert step.audio or step.motion
        for window, width, length in ((step.audio, AUDIO_S, audio_s), (step.motion, MOTION_S, motion_s)):
            if window:
                start, end = window
                assert end - start == pytest.approx(width) and (start + end) / 2 == pytest.approx(step.centre)
                assert start >= 0 and end <= length + 1e-3
    centres = [step.centre for step in steps]
    assert all(b - a == HOP_S for a, b in itertools.pairwise(centres))
    assert not centres or centres[0] == MOTION_S / 2


@given(lengths, lengths)
def test_no_window_that_fits_is_left_out(audio_s, motion_s):
    steps = align(audio_s, motion_s)
    for name, width, length in (("audio", AUDIO_S, audio_s), ("motion", MOTION_S, motion_s)):
        first = MOTION_S / 2 - width / 2
        room = (length or 0.0) + 1e-3 - width - first
        fitting = math.floor(room / HOP_S) + 1 if room >= 0 else 0
        assert sum(getattr(step, name) is not None for step in steps) == fitting


@given(lengths)
def test_a_missing_modality_changes_nothing_for_the_other(length):
    assert [s.motion for s in align(None, length)] == [s.motion for s in align(length, length) if s.motion]
    assert all(step.audio is None for step in align(None, length))
    assert all(step.motion is None for step in align(length, None))
    assert align(None, None) == []


@given(lengths, rates)
def test_windows_cut_the_same_number_of_samples_at_any_rate(length, rate):
    signal = Signal(np.zeros((round((length or 0) * rate), 6), np.float32), rate)
    for step in align(None, signal.seconds):
        if step.motion:
            short = round(MOTION_S * rate) - len(signal.cut(*step.motion))
            # A window may end within the signal to a millisecond and half a sample: not more than that is missing.
            assert 0 <= short <= math.ceil(1e-3 * rate + 1)
    for start in np.arange(0, max(signal.seconds - 5, 0), 1.7):
        assert len(signal.cut(start, start + 4)) == round(4 * rate)


@pytest.mark.parametrize("length", [-1.0, math.nan, math.inf])
def test_an_impossible_length_is_an_error(length):
    with pytest.raises(ValueError, match="cannot last"):
        align(length, 20.0)


def test_a_clip_of_twenty_seconds_has_nine_steps():
    steps = align(20.0, 20.0)
    assert [step.centre for step in steps] == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert steps[0].audio == (1, 3) and steps[0].motion == (0, 4)


sources = st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=3), min_size=1, max_size=30)


@given(sources, st.integers(1, 4), st.integers(0, 3))
def test_clips_that_share_a_source_share_a_fold(own, n, seed):
    groups = components(own)
    if groups < n:
        with pytest.raises(DataError, match="cannot make"):
            assign_folds(own, n, seed)
        return
    folds = assign_folds(own, n, seed)
    assert folds == assign_folds(own, n, seed) and set(folds) == set(range(n))
    check_folds(made(own, folds))


@given(sources)
def test_a_source_on_two_sides_is_found(own):
    folds = [i % 2 for i in range(len(own))]
    shared = any(a & b for i, a in enumerate(own) for j, b in enumerate(own) if folds[i] != folds[j])
    if shared:
        with pytest.raises(DataError, match=r"fold 0.*fold 1|fold 1.*fold 0"):
            check_folds(made(own, folds))
    else:
        check_folds(made(own, folds))


def components(own: list[frozenset[str]]) -> int:
    """Groups that hang together by shared sources; a clip without any stands alone."""
    groups: list[set[str]] = []
    for names in own:
        touching = [group for group in groups if group & names]
        groups = [group for group in groups if not group & names]
        if names:
            groups.append(set(names).union(*touching))
    return len(groups) + sum(not names for names in own)


def made(own: list[frozenset[str]], folds: list[int]) -> list[Clip]:
    return [Clip(f"c{i}", "x", names, "k", fold=fold) for i, (names, fold) in enumerate(zip(own, folds))]
