"""The grammar of made-up clips: names that exist, and a third that is never taught."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import combinations

import pytest

from llmhar.data.grammar import bare_name
from llmhar.fusion.clips.clip_grammar import (
    TEST_LABELS,
    activity_of,
    all_names,
    clip_grammar,
    families,
    kind_of_sound,
    names_for,
    same_words,
    untaught,
    was_taught,
)
from llmhar.fusion.clips.hapt import NAMES
from llmhar.fusion.encoders.context import VALUES
from tests.fusion.signals import SHARED

CLASS_MAP = SHARED / "yamnet_class_map.csv"


def sounds_named() -> set[str]:
    """Every class of YAMNet's map that the grammar names."""
    grammar = clip_grammar()
    own = {name for kind in grammar["sounds"].values() for name in (*kind["names"], *kind.get("with", ()))}
    return own | {name for what in grammar["activities"].values() for name in what["hears"]} - set(grammar["sounds"])


@pytest.mark.skipif(not CLASS_MAP.exists(), reason=f"no class map at {CLASS_MAP}")
def test_every_sound_is_a_class_of_yamnet():
    with open(CLASS_MAP, encoding="utf-8", newline="") as lines:
        known = {row["display_name"] for row in csv.DictReader(lines)}
    assert sounds_named() <= known and len(sounds_named()) > 300
    assert not {*sounds_named(), "Kitchen sounds"} <= known  # a class that YAMNet does not have is found


def test_whatever_the_grammar_names_is_there():
    grammar = clip_grammar()
    kinds, activities = grammar["sounds"], grammar["activities"]
    assert set(grammar["background"]) <= set(kinds)
    assert all(set(kind["near"]) <= set(kinds) and kind["says"] and kind["captions"] for kind in kinds.values())
    assert set(grammar["motion"]) == set(NAMES[:6])
    told = {name for mistaken in grammar["motion"].values() for name in mistaken}
    assert told | set(grammar["transitions"].values()) <= set(NAMES)
    assert 60 <= len(activities) <= 110
    for what in activities.values():
        assert set(what["hears"]) <= set(kinds) | set(kind_of_sound()) and set(what["moves"]) <= set(NAMES[:6])
        assert what["where"][0] in (*VALUES["setting"], "either") and what["where"][1] in VALUES["heart rate zone"]
        assert len(what["names"]) >= 5


def test_a_name_is_of_one_activity_only():
    names = [bare_name(name) for own in all_names().values() for name in own]
    assert [name for name, n in Counter(names).items() if n > 1] == []


def test_names_of_two_groups_never_say_the_same():
    assert sum(map(len, families())) == len(all_names())
    for one, other in combinations(families(), 2):
        said = [[name for activity in family for name in all_names()[activity]] for family in (one, other)]
        if {"walk", "music_bed", "sing"} & one:
            assert not any(same_words(a, b) for a in said[0] for b in said[1])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("walking", "walking outdoors", True), ("Dish_Washing", "wash dishes", True), ("lying", "lieDown", True),
        ("taking a walk", "WALKING", True), ("singing", "sing a song", True), ("running", "run", True),
        ("washing dishes", "washing at the sink", False), ("using a computer", "using the toilet", False),
        ("sitting", "standing", False), ("", "walking", False),
    ],
)  # fmt: skip
def test_names_that_say_the_same(one, other, same):
    assert same_words(one, other) == same_words(other, one) == same


def test_a_third_of_everything_is_never_taught():
    assert len(untaught()) == round(len(all_names()) / 3)
    for labels in TEST_LABELS.values():
        never = [label for label in labels if not was_taught(label)]
        assert len(never) == round(len(labels) / 3)
        for label in never:  # under no name at all, nor under one that says the same
            taught = [name for own, names in all_names().items() if own not in untaught() for name in names]
            assert not [name for name in taught if same_words(name, label)]
    never = {label for labels in TEST_LABELS.values() for label in labels if not was_taught(label)}
    assert never == {
        "washing at the sink", "being ill in bed", "listening to music in bed", "sitting", "standing",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "taught"),
    [
        ("USING_A_COMPUTER", True), ("walkingOutdoors", True), ("cook", True), ("watching TV", True),
        ("playing with pets", True), ("Walking Upstairs", True), ("reading a book quietly", True),
        ("Washing At The Sink", False), ("be_ill_in_bed", False), ("vacuum cleaning", False), ("Sleeping", False),
        ("assembling a telescope", False), ("", False),
    ],
)  # fmt: skip
def test_a_function_says_whether_a_label_was_taught(label, taught):
    assert was_taught(label) is taught


def test_taught_names_are_parted_and_others_whole():
    for activity in all_names():
        train, validation = names_for(activity, "train"), names_for(activity, "validation")
        if activity in untaught():
            assert train == validation == clip_grammar()["activities"][activity]["names"]
        else:
            assert train and validation and not set(train) & set(validation)
    assert activity_of("Playing_An_Instrument") == "instrument" and activity_of("juggling") is None
