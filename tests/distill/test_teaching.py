"""Teachings: records that refuse what they do not know, before any work; what a recipe takes from them."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from llmhar import paths
from llmhar.ask.models import ModelError
from llmhar.distill.recipe import Recipe
from llmhar.distill.teaching import SecondRound, Teaching, load_teaching, load_teachings, recipe_for
from llmhar.run.jobs import plan_jobs
from llmhar.settings import SettingsError


def test_pruned_models_have_all_weights_tuned():
    teaching = Teaching(full_steps=9, max_steps=5, learning_rate=0.5)
    whole, pruned = (recipe_for(name, teaching) for name in ("smollm2-135m", "smollm2-135m-l8"))
    assert (whole.method, whole.max_steps, pruned.method, pruned.max_steps) == ("lora", 5, "full", 9)
    assert pruned.learning_rate == 0.5
    with pytest.raises(ModelError):
        recipe_for("nobody", teaching)


def test_recipes_are_those_that_students_of_before_were_trained_by():
    """The recipe's JSON is part of a student's folder name: a change of it would train the demo's student anew."""
    recipe = recipe_for("smollm2-135m-l8", load_teaching("demo"))
    assert recipe == Recipe(
        student="smollm2-135m-l8", method="full", max_steps=450, batch_size=1, accumulate=1, learning_rate=0.0005,
        train_embeddings=False, max_tokens=1024, save_every=150,
    )  # fmt: skip
    assert recipe.sha256[:12] == "4098c81cb6b5"
    assert recipe_for("qwen3-0.6b", Teaching()) == Recipe(student="qwen3-0.6b")
    s1 = recipe_for("qwen3-0.6b", load_teaching("s1", seed=4))
    assert s1 == Recipe(student="qwen3-0.6b", backend="unsloth", seed=4)
    large, pruned = (recipe_for(name, load_teaching("demo-full")) for name in ("smollm2-135m", "smollm2-135m-l16"))
    assert (large.max_steps, large.learning_rate, large.alpha) == (1200, 0.002, 64)
    assert (pruned.max_steps, pruned.learning_rate) == (600, 0.0005)


@pytest.mark.parametrize(
    "wrong",
    [{"lora_rank": 8}, {"rank": 0}, {"rank": 8.0}, {"learning_rate": 0.0}, {"learning_rate": "1e-5"},
     {"trace_filter": "best"}, {"method": "qlora"}, {"backend": "trl"}, {"max_steps": "5"}, {"least_correct": 1.5},
     {"second_round": {"rank": 8}}],
    ids=str,
)  # fmt: skip
def test_unknown_and_ill_typed_fields_are_refused(wrong, tmp_path):
    with pytest.raises(ValidationError):
        Teaching.model_validate(wrong)
    (field,) = wrong
    file = tmp_path / "teachings.yaml"
    file.write_text(yaml.safe_dump({"good": {}, "odd": wrong}))
    with pytest.raises(SettingsError, match=rf"teachings.yaml: odd\.{field}"):
        load_teachings(file)
    with pytest.raises(ValidationError):
        Teaching().changed(wrong)


def test_a_file_that_is_no_mapping(tmp_path):
    file = tmp_path / "teachings.yaml"
    file.write_text("- s1\n")
    with pytest.raises(SettingsError, match=r"teachings.yaml: .*valid dictionary"):
        load_teachings(file)
    file.write_text("")
    assert load_teachings(file) == {}
    with pytest.raises(SettingsError, match="cannot read"):
        load_teachings(tmp_path / "absent.yaml")


def test_what_a_run_changes_of_a_teaching():
    changed = load_teaching("demo-full", max_steps=2, n_sessions=3, trace_filter="correct", seed=7)
    assert (changed.max_steps, changed.full_steps, changed.n_sessions) == (2, None, 3)
    assert (changed.trace_filter, changed.seed, changed.rank) == ("correct", 7, 32)
    assert recipe_for("smollm2-135m-l8", changed).max_steps == 2 == recipe_for("smollm2-135m", changed).max_steps
    assert load_teaching("two-rounds").second_round == SecondRound(n_sessions=84, n_examples=1500, max_steps=1500)
    with pytest.raises(SettingsError, match="unknown teaching 'nosuch'; there are: s1, smoke, demo, demo-full"):
        load_teaching("nosuch")


def test_the_second_round_goes_behind_the_sessions_that_were_seen():
    first = Teaching(n_sessions=45, second_round=SecondRound(trace_filter="correct", n_sessions=90, n_examples=9))
    again = first.next_round(45)
    assert (again.n_sessions, again.skip_sessions, again.n_examples) == (90, 45, 9)
    assert (again.trace_filter, again.second_round) == ("correct", None)
    same = Teaching(second_round=SecondRound()).next_round(15)
    assert (same.n_sessions, same.skip_sessions, same.n_examples) == (15, 0, None)


@pytest.mark.parametrize("notebook", ["04", "04b", "04c"])
def test_an_unknown_teaching_stops_a_run_before_any_work(notebook, monkeypatch, tmp_path):
    (job,) = plan_jobs("demo", [notebook], {"max_steps": "2"}, Path.cwd())
    assert job.spec.params["teaching"] == "one-more-home" and job.spec.params["max_steps"] == 2
    for option, words in (
        ({"teaching": "nosuch"}, "teaching: unknown 'nosuch'; there are: s1, smoke, demo, demo-full"),
        ({"max_steps": "0"}, "max_steps must be at least 1"), ({"n_sessions": "0"}, "n_sessions must be at least 1"),
        ({"trace_filter": "best"}, "trace_filter: unknown 'best'" if notebook != "04b" else "trace_filter"),
        ({"student_prompt": "x"}, "student_prompt: unk"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=words):
            plan_jobs("demo", [notebook], option, Path.cwd())
    broken = tmp_path / "params"
    broken.mkdir()
    for part in paths.params().iterdir():
        if part.name != "teachings.yaml":
            (broken / part.name).symlink_to(part)
    (broken / "teachings.yaml").write_text("demo: {ranc: 8}\n")
    monkeypatch.setattr(paths, "params", lambda: broken)
    with pytest.raises(SettingsError, match=r"teachings.yaml: demo\.ranc: Extra inputs are not permitted"):
        plan_jobs("demo", [notebook], {}, Path.cwd())
