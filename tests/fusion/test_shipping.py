"""The fusion student in the repository, and one of tiny weights from its lessons to its answers."""

import json
import re
from dataclasses import replace

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.models import FUSION_MODEL, MODELS, ModelError
from llmhar.ask.store import Store
from llmhar.distill.shipping import ship
from llmhar.fusion import shipping, taught
from llmhar.fusion.answerers import clip_students
from llmhar.fusion.answerers.clip_validation import validation_tasks
from llmhar.fusion.answerers.inference import fusion_asks
from llmhar.fusion.shipping import FUSION_CARD
from llmhar.fusion.taught import PARTS
from llmhar.text.schema import is_spaced
from tests.conftest import need
from tests.distill.made_students import make_shippable, without_adapters

NUMBERS = {
    f"student_{words}{name}": value
    for words in ("", "seen_", "unseen_")
    for name, value in {"f1": 0.7, "f1_low": 0.6, "f1_high": 0.8, "accuracy": 0.75, "accuracy_low": None,
                        "accuracy_high": None, "clips": 36}.items()
}  # fmt: skip
RUN = {
    "key_numbers": NUMBERS | {"chance": 0.1},
    "params": {"fusers": ["truth", "answer"]},
    "datasets": ["Composed scenes (composed from real recordings)"],
    "engines": ["taught on made-up clips: vllm 0.32"],
}


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch):
    return without_adapters(tmp_path, monkeypatch)


@pytest.fixture
def student():
    return make_shippable(1600)


def test_its_card_says_what_it_is_for_and_where_it_was_measured(params, student):
    folder = ship(student, FUSION_MODEL, RUN, ("truth",), FUSION_CARD)
    assert folder == params / "students" / FUSION_MODEL
    card = (folder / "README.md").read_text()
    row = (
        "Composed scenes (composed from real recordings) | never taught | 36 | 0.700 [0.600, 0.800] | 0.750 no interval"
    )
    for said in ("license: apache-2.0", f"# {FUSION_MODEL}", "made-up clips of text alone (simulated): 1,600 lessons",
                 row, f"run demo 05 -p fusers={FUSION_MODEL}", "vllm 0.32", "YAMNet"):  # fmt: skip
        assert said in card, said
    assert "window of sensor events" not in card and "{" not in card.split("## Running it")[0]
    for file in folder.iterdir():
        assert not re.search(rb"/(root|home|tmp|work)/|\.cache", file.read_bytes()), file
    known = json.loads((folder / "student.json").read_text()) if (folder / "student.json").exists() else None
    assert known is None or [score["activities"] for score in known["scores"]] == list(PARTS)
    assert "not scored here" in (ship(student, FUSION_MODEL, words=FUSION_CARD) / "README.md").read_text()


def test_a_run_of_another_student_scores_it_not(student):
    for run in (RUN | {"params": {"fusers": ["answer"]}}, RUN | {"params": {}}, RUN | {"key_numbers": {"chance": 0.1}}):
        with pytest.raises(ModelError, match="scored none of truth"):
            ship(student, FUSION_MODEL, run, ("truth",), FUSION_CARD)


def test_the_command_ships_an_arm(student, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipping, "fusion_student", lambda arm: student if arm == "truth" else None)
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    shipping.main(["--run", str(tmp_path / "run.json")])
    assert capsys.readouterr().out.strip() == str(MODELS[FUSION_MODEL].source.folder)


def test_the_shipped_one_is_asked_bound_with_a_why_and_a_blank_behind_each_comma(student, monkeypatch):
    monkeypatch.setattr(type(student.parent), "tokenizer_sha256", lambda self: "t")
    ship(student, FUSION_MODEL, words=FUSION_CARD)
    (task,) = validation_tasks(1, 1)
    (ask,) = fusion_asks(task, MODELS[FUSION_MODEL], taught.Condition(task.shown))
    assert list(ask.request.schema["properties"]) == ["why", "activity"] and is_spaced(ask.request.schema)
    assert ask.request.messages[0]["content"].startswith("Say what the person in the clip")


@pytest.mark.real
def test_tiny_weights_go_from_lessons_to_answers(monkeypatch, tmp_path):
    """Trained, merged, asked bound to the list, validated: what the real one goes through, with random weights."""
    need("qwen3-tiny")
    arm = replace(clip_students.ARMS["truth"], base="qwen3-tiny")
    monkeypatch.setitem(clip_students.ARMS, "truth", arm)
    few = {"n_examples": 4, "max_steps": 2, "full_steps": 2, "save_every": 2}
    teaching = clip_students.load_teaching("fusion").changed(few)
    monkeypatch.setattr(clip_students, "load_teaching", lambda name, seed: teaching.changed({"seed": seed}))
    monkeypatch.setattr(taught, "validation_tasks", lambda **which: validation_tasks(2, 3, **which))
    with Store(tmp_path / "s.sqlite") as store:
        asking = Asking(engine="transformers", draw="greedy", progress=False)
        table = taught.validated(["truth"], store, asking)
    assert set(table.index.get_level_values("answerer")) == {"taught on made-up clips"}
    for clips in ("as they sound", "drowned"):
        assert table.loc[("taught on made-up clips", clips, "all"), "clips"] == 6
        assert table.loc[("taught on made-up clips", clips, "all"), "missing"] == 0, "bound answers name an activity"
