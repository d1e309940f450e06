"""Which notebooks and settings a call means: found, checked and refused before any work."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.inference import HOSTED_TOKENS, is_served, sampling_of
from llmhar.ask.models import MODELS
from llmhar.records import Sampling
from llmhar.run import jobs
from llmhar.run.jobs import plan_jobs
from llmhar.settings import PROFILES, SettingsError

LETTERED = ("04_distillation", "04b_transfer", "04c_small_students", "05_fusion")


@pytest.fixture
def lettered(tmp_path, monkeypatch):
    """A checkout whose notebooks have letters; all are copies of one that is there."""
    source = paths.notebook_file("01_serialization")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "profiles").mkdir(parents=True)
    for name in LETTERED:
        shutil.copy(source, tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    return tmp_path


def planned(*names, profile="demo", **options):
    return [job.notebook for job in jobs.plan_jobs(profile, names, options, Path.cwd())]


def test_a_number_means_its_own_notebook_alone(lettered):
    assert planned("04") == ["04_distillation"] and planned("04b") == ["04b_transfer"]
    assert planned("05", "04c", "04c_small_students") == ["05_fusion", "04c_small_students"]
    assert planned() == list(LETTERED)
    for name in ("0", "04d", "4", "04_", "04*", "../04"):
        with pytest.raises(SettingsError, match=r"unknown notebook .*; there are: 04_distillation, 04b_transfer"):
            planned(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("04b_transfer: {datset: x}", "demo.yaml, section 04b_transfer: unknown parameter 'datset'; there are: "),
        ("04b_transfer: {dataset: 12:30:00}", "demo.yaml, section 04b_transfer: dataset should be str, got 45000"),
        ("04d_gone: {dataset: mural}", "section '04d_gone' is no notebook"),
        ("04b_transfer: [a]", "demo.yaml, section 04b_transfer: need `name: value` lines, got list"),
        ("05_fusion: {dataset: mural}\n05_fusion: {}", "line 2: '05_fusion' stands here twice"),
    ],
)
def test_errors_name_file_and_section(lettered, text, said):
    paths.profile_file("demo").write_text(text)
    with pytest.raises(SettingsError) as error:
        planned()
    assert said in str(error.value)


def test_a_section_is_for_its_notebook_alone(lettered):
    paths.profile_file("demo").write_text("04b_transfer: {dataset: mural}\n05_fusion:\n")
    made = jobs.plan_jobs("demo", [], {}, Path.cwd())
    assert [job.spec.params["dataset"] for job in made] == ["simulated", "mural", "simulated", "simulated"]
    (given,) = jobs.plan_jobs("demo", ["04b"], {"dataset": "uci_adl"}, Path.cwd())
    assert given.spec.params["dataset"] == "uci_adl"


SAME = ("dataset", "wording", "serializer", "answer", "thinking", "sampling", "max_tokens", "seed", "n_windows")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_explorer_asks_the_questions_of_02(profile, tmp_path):
    """06 says that it shows what 02 asked: the settings that make a question are the same in both."""
    by_name = {job.notebook: job.spec.params for job in plan_jobs(profile, ["02", "06"], {}, tmp_path)}
    first, second = by_name["02_prompting"], by_name["06_traces"]
    assert {name: first[name] for name in SAME} == {name: second[name] for name in SAME}


@pytest.mark.parametrize("profile", PROFILES)
def test_requests_are_drawn_as_models_yaml_says(profile, tmp_path):
    """Every request of every profile: the makers' values for its mode, or greedy where the profile says so."""
    checked = 0
    for job in plan_jobs(profile, [], {}, tmp_path):
        values = job.spec.params
        if "sampling" not in values:
            continue
        draw = {"paper": "model", "api": "hosted"}.get(profile, "greedy")
        if (profile, job.notebook) == ("paper", "00_tour"):
            draw = "greedy"  # as before it had the setting: its stored answers stay
        assert values["sampling"] == draw, job.notebook
        limits = Sampling(max_tokens=values["max_tokens"], seed=values.get("seed", 0))
        asking = Asking(limits, values["sampling"], thinking=values.get("thinking"), engine=values["engine"])
        names = [*values.get("models", []), *values.get("students", []), *filter(None, [values.get("teacher")])]
        for model in (MODELS[name] for name in names if MODELS[name].kind == "llm"):
            drawn = sampling_of(model, asking)
            mode = "thinking" if model.thinking and values.get("thinking") is not False else "plain"
            wanted = model.sampling.get(mode, {}) if draw != "greedy" else {}
            if draw == "hosted" and is_served(model, values["engine"]):
                wanted = wanted | {"max_tokens": HOSTED_TOKENS[mode]}
            assert drawn == replace(limits, **wanted), (job.notebook, model.name)
            if draw == "model" and model.name.startswith("qwen3"):
                assert (drawn.top_p, drawn.top_k) == ((0.95, 20) if mode == "thinking" else (0.8, 20))
            checked += 1
    assert checked or profile == "smoke"
