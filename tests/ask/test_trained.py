"""Trained students as models: by folder and by name, in the form that a study asks, with the prompt they learnt."""

import json
import shutil
from dataclasses import replace

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.inference import make_asks
from llmhar.ask.models import MODELS, ModelError, UnknownModel, load_models
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.ask.trained import About, find_student, read_about, student_names, taught_prompt
from llmhar.data.events import Windowing
from llmhar.distill.cards import name_student
from llmhar.distill.merging import merge
from llmhar.distill.students import open_by_name
from llmhar.run.jobs import plan_jobs
from llmhar.score.evaluate import evaluate
from llmhar.settings import SettingsError
from llmhar.text.prompt import FORMS, PromptForm
from tests.distill.made_students import PROMPT, make_student

BASE = MODELS["smollm2-135m-l4"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    monkeypatch.setattr(type(BASE), "locate", lambda self: getattr(self.source, "path", None) or f"hub of {self.name}")


def test_a_student_is_a_model_by_its_folder_and_by_its_name():
    folder = make_student("l4-full-1")
    model = MODELS["l4-full-1"]
    assert (model.name, model.source.path, model.prompt) == ("l4-full-1", folder / "model", FORMS["student"])
    assert (
        model.revision
        == f"{BASE.revision}+tuned:{json.loads((folder / 'student.json').read_text())['weights_sha256'][:12]}"
    )
    same = {"kind", "engine", "hub_id", "n_params", "licence", "max_context", "sampling", "thinking"}
    assert model.model_dump(include=same) == BASE.model_dump(include=same)
    name_student(folder, "mine")
    assert MODELS["mine"] == model.model_copy(update={"name": "mine"}) and MODELS["l4-full-1"].name == "l4-full-1"
    assert {"mine", "l4-full-1", *load_models()} == set(MODELS) and len(MODELS) == len(load_models()) + 2


def test_a_lora_student_answers_as_studies_ask_it():
    """Merged where it was merged, so that the store's answers of notebook 04 are its answers."""
    adapter = MODELS[make_student("lora-1", method="lora").name]
    assert adapter.adapter.path.name == "adapter" and adapter.revision == BASE.revision
    folder = make_student("lora-2", method="lora", merged=True)
    merged = MODELS["lora-2"]
    assert merged.adapter is None and merged.revision == f"{BASE.revision}+merged:{'cd' * 6}"
    in_a_study = merge(open_by_name("lora-2"))[0]
    assert in_a_study == merged.model_copy(update={"name": "lora-2-merged", "prompt": None})
    (folder / "merged" / "model.safetensors").unlink()
    assert MODELS["lora-2"].adapter is not None


def test_a_second_round_s_parent_is_where_its_job_says():
    make_student(
        "lora-3", method="lora", revision=f"{BASE.revision}+merged:abc", parent="first", model="/elsewhere/merged"
    )
    model = MODELS["lora-3"]
    assert model.revision == f"{BASE.revision}+merged:abc" and str(model.source.path) == "/elsewhere/merged"


def test_names_that_several_have_are_refused_with_a_list():
    folder = make_student("one")
    name_student(folder, "mine")
    shutil.copytree(folder, folder.with_name("two"))
    assert student_names()["mine"] == [folder, folder.with_name("two")]
    with pytest.raises(UnknownModel, match=r"several students are called 'mine': one, two; name the folder"):
        MODELS["mine"]
    assert MODELS["one"].name == "one" and MODELS["two"].name == "two"
    with pytest.raises(UnknownModel, match=r"no student is called 'x'; .* has: mine, one, two"):
        find_student("x")
    with pytest.raises(
        UnknownModel, match=r"no model is called 'x'; students are mine, one, two; models.yaml has: rules"
    ):
        MODELS["x"]


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "x" * 61])
def test_a_name_that_could_not_be_a_folder_s_is_none(name):
    folder = make_student("one")
    (folder / "about.json").write_text(About(name=name).model_dump_json())
    assert list(student_names()) == ["one"]


def test_a_model_of_the_file_goes_before_a_student_of_its_name():
    folder = make_student("one")
    (folder / "about.json").write_text(About(name="rules").model_dump_json())
    assert MODELS["rules"].kind == "rules" and list(MODELS).count("rules") == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model" / "model.safetensors").write_bytes(b""), "is missing or cut; train"),
        (lambda folder: (folder / "student.json").write_text("{"), "student.json cannot be read"),
        (lambda folder: (folder / "student.json").write_text("[]"), "student.json cannot be read"),
    ],
)  # fmt: skip
def test_a_damaged_student_says_so(damage, words):
    folder = make_student("one")
    damage(folder)
    with pytest.raises(ModelError, match=words):
        MODELS["one"]


def test_a_student_whose_base_is_gone_says_so():
    folder = make_student("one")
    record = json.loads((folder / "student.json").read_text())
    record["recipe"]["student"] = "bloom"
    (folder / "student.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"one was made from the model 'bloom', which no models file has"):
        MODELS["one"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"name": 3}', '{"scores": [{}]}'])
def test_what_cannot_be_read_of_a_student_is_not_known(text):
    folder = make_student("one")
    (folder / "about.json").write_text(text)
    assert read_about(folder) is None and MODELS["one"].name == "one"


@pytest.mark.parametrize(
    ("window", "form"),
    [
        ("Events:\nnight\n0 01:00:00 a", FORMS["student"]),
        ("Events:\n0 01:00:00 a", PromptForm("student", "lines", "name")),
        ("Events:\n0. At 01:00:00, the a.", PromptForm("student", "sentences", "name")),
        ('Events:\n[{"id": 0', None),
    ],
)
def test_the_prompt_of_older_students_is_read_off_their_examples(window, form):
    folder = make_student("one")
    file = folder / "examples.jsonl"
    row = json.loads(file.read_text())
    row["messages"][1]["content"] = window
    file.write_text(json.dumps(row))
    assert taught_prompt(folder) == form
    row["messages"][0]["content"] = PROMPT + " Labels: …"
    file.write_text(json.dumps(row))
    assert taught_prompt(folder) is None
    file.unlink()
    assert taught_prompt(folder) is None


def test_a_student_is_asked_in_the_words_it_learnt_whatever_the_run_s_are(simulated_home, tmp_path, capsys):
    task = prepare("simulated", simulated_home, windowing=Windowing(n=1))
    taught = MODELS["rules"].model_copy(update={"name": "taught", "prompt": FORMS["brief"]})
    wanted = task.reworded(FORMS["brief"])
    own, plain = make_asks(task, taught), make_asks(task, MODELS["rules"])
    assert [ask.request.messages for ask in own] == [wanted.prompt_of(w).messages(w) for w in task.windows]
    assert [ask.request.messages for ask in plain] == [task.prompt_of(w).messages(w) for w in task.windows]
    with Store(tmp_path / "store.sqlite") as store:
        found = evaluate(task, [taught, "rules"], replace(Asking(), progress=False), store)
    assert [r.task.prompt_of(task.windows[0]) for r in found.results] == [
        wanted.prompt_of(task.windows[0]), task.prompt_of(task.windows[0])
    ]  # fmt: skip
    assert (
        "taught is asked with the prompt that it was taught with: PromptForm(wording='brief'" in capsys.readouterr().err
    )


def test_runs_take_students_by_name_and_refuse_bad_names(tmp_path):
    name_student(make_student("one"), "mine")
    plan = lambda number, **values: plan_jobs("smoke", [number], values, tmp_path)  # noqa: E731
    for number in ("02", "03", "06"):
        assert plan(number, models="rules,mine,one")[0].spec.params["models"] == ["rules", "mine", "one"]
    assert plan("06", models="rules,mine", students="mine")[0].spec.params["students"] == ["mine"]
    with pytest.raises(SettingsError, match=r"models: unknown 'nobody'; there are: .*, mine, one"):
        plan("02", models="nobody")
    with pytest.raises(SettingsError, match="students: unknown 'mine'"):
        plan("04", students="mine")
    assert plan("04", student_name="new-1.0")[0].spec.params["student_name"] == "new-1.0"
    assert plan("04", student_name="mine")[0].spec.params["student_name"] == "mine", "a run again keeps its name"
    for bad in ("rules", "one", "a b", "../up", ".x", "-x", "x" * 61, "ä"):
        with pytest.raises(SettingsError, match="student_name"):
            plan("04", student_name=bad)
