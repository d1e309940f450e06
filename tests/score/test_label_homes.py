"""``llmhar label`` by the student that goes from home to home, then ``llmhar score``: every loader, any label set."""

import contextlib
import csv
import json
import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import HOME_MODEL, MODELS, AskedAs, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import whole
from llmhar.cli import app
from llmhar.data.load_report import DataError
from llmhar.data.own import make
from llmhar.data.own.files import Wanted
from llmhar.data.own.make import Plan
from llmhar.data.registry import DATASETS, load
from llmhar.distill.cards import update_about
from llmhar.distill.shipping import ship
from llmhar.distill.students import open_by_name
from llmhar.records import Fingerprint, Generation
from llmhar.run import ready
from llmhar.score import label
from llmhar.text.parsing import offered_names, parse_answer
from llmhar.text.prompt import FORMS
from llmhar.text.schema import answer_schema
from tests.conftest import need
from tests.data.test_loaders import FOLDERS
from tests.distill.made_students import make_adapter, make_checkout, make_student

FIXTURES = Path(__file__).parents[1] / "fixtures"
HOSTILE = (
    "Tea", "tea", "TEA_", "tea (2)", "1", "2", "07", "1.0", 'a "quoted" one', "it's", "back\\slash", "=SUM(A1)",
    '{"id": 0}', "[]", "</think>", "<|im_end|>", "bi\u202edi", "飲み物を作る", "Ünïcode – dash", "null", "true",
    "Activities:", "a, b; c", "ärger " * 60 + "1", "ärger " * 60 + "2", "🛁" * 30,
)  # fmt: skip
LABELS = {
    "one": ("Sleeping",),
    "sixty": tuple(f"doing the {n}th thing of the morning_routine" for n in range(60)),
    "hostile": HOSTILE,
    "numbers": tuple(str(n) for n in range(1, 9)),
}
"""Own homes by the activities that they name."""


@dataclass(frozen=True)
class Place:
    """A data set and its folder."""

    dataset: str
    path: Path

    def task(self):
        return whole(self.dataset, self.path)


def own_home(name, labels, folder):
    """A home of a user's own with some events of each activity."""
    start, file = datetime(2026, 3, 2, 7), folder / f"{name}.csv"
    with open(file, "w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow(("time", "sensor", "state", "room", "activity"))
        for i, label in enumerate([*labels, *labels]):
            time = (start + timedelta(seconds=30 * i)).isoformat(" ")
            out.writerow((time, f"tür {i % 3}", ("on", "off")[i % 2], "kitchen", label))
    return make.make(name, [file], Plan(Wanted({}))).path


@pytest.fixture(scope="module")
def homes(tmp_path_factory, simulated_home):
    """Name -> a data set of every loader, and homes of a user's own."""
    folder = tmp_path_factory.mktemp("homes")
    made = make_checkout(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "params", lambda: made)
        patch.setenv("LLMHAR_HOME", str(folder / "home"))
        student = make_student("taught", "qwen3-tiny", method="lora")
        make_adapter(student)
        update_about(student, {"prompt": FORMS["listed"], "asked": AskedAs(constrained=True, why=True)})
        ship(open_by_name("taught"))
        places = {}
        for name, files in FOLDERS.items():
            place, dataset = folder / name, name.split()[0]
            if files is None:
                shutil.copytree(FIXTURES / dataset, place)
            else:
                place.mkdir()
                for file, text in files.items():
                    (place / file).write_text(text)
            places[name] = Place(dataset, place)
        for name, labels in LABELS.items():
            places[name] = Place(name, own_home(name, labels, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "params", lambda: made)
        patch.setenv("LLMHAR_DATA", str(folder / "home" / "data"))
        yield places


NAMES = [*FOLDERS, *LABELS]


def run(command, place, *arguments):
    done = CliRunner().invoke(app, [command, place.dataset, *map(str, arguments), "--path", str(place.path), "--json"])
    assert done.exit_code == 0, (done.exception, done.stderr)
    return json.loads(done.stdout)


def label_and_score(place, folder):
    """What both commands say of a home, and the table."""
    out = folder / "labels.csv"
    said = run("label", place, "--out", out)
    with open(out, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    events = [event for session in load(place.dataset, place.path).sessions for event in session.events]
    assert len(rows) == said["rows"] == said["labelled"] == len(events)
    assert {row["verdict"] for row in rows} == {"ok"} and {row["model"] for row in rows} == {HOME_MODEL}
    scores = run("score", place, out)
    assert 0 < scores["n_events"] == sum(row["n_events"] for row in scores["per_session"]) and not scores["missed_pct"]
    return said, scores


class Oracle:
    """Answers by the truth, in the form that the schema allows; by the first activity where none is offered."""

    def __init__(self, place):
        task = place.task()
        asks = inference.make_asks(task, MODELS[HOME_MODEL], Asking(progress=False))
        self.windows = {str(ask.request.messages): window for ask, window in zip(asks, task.windows, strict=True)}
        self.sessions = task.sessions

    def fingerprint(self):
        return Fingerprint("oracle", "1", "", "")

    def stream(self, requests):
        for request in requests:
            window = self.windows[str(request.messages)]
            names = offered_names(self.sessions[window.session_id].labels)
            first = next(iter(names))
            chosen = [event.activity_id if event.activity_id in names else first for event in window.events]
            items = [{"id": i, "why": 'door "]}, 飲', "activity": names[n]} for i, n in enumerate(chosen)]
            jsonschema.Draft202012Validator(request.schema).validate(items)
            listed = request.messages[0]["content"].partition("Activities:\n")[2].split("\n")
            assert listed == list(names.values()) and len(set(map(str.casefold, listed))) == len(listed)
            yield Generation(request.key, json.dumps(items, ensure_ascii=False), "stop")


def test_every_loader_is_tried():
    assert {name.split()[0] for name in FOLDERS} == {n for n, e in DATASETS.items() if e.kind == "real"} - {"casas2025"}


@pytest.mark.parametrize("name", NAMES)
def test_any_home_is_labelled_and_scored(homes, name, tmp_path, monkeypatch):
    """The truth in, F1 of 1 out: whatever activities are called, nothing is lost between prompt and score.

    The oracle's reasons say nothing, so it names activities itself; with them named by reasons every event still has a
    label of its home (``test_reasons_that_say_nothing_still_name_one_of_the_home_s_activities``).
    """
    monkeypatch.setattr(inference, "name_by_reasons", lambda made, request: made)
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    monkeypatch.setattr(ModelSpec, "tokenizer_sha256", lambda self: "t")
    monkeypatch.setattr(ready, "cannot_start", lambda *_: "")
    oracle = Oracle(homes[name])
    monkeypatch.setattr(inference, "open_model", lambda model, asking: contextlib.nullcontext(oracle))
    said, scores = label_and_score(homes[name], tmp_path)
    assert said["model"] == HOME_MODEL and said["asked"] == len(oracle.windows)
    assert scores["macro_f1"] == scores["weighted_f1"] == 1.0
    annotated = [e.activity_id in s.labels for s in oracle.sessions.values() for e in s.events]
    assert scores["n_events"] == sum(annotated)


@pytest.mark.parametrize("name", LABELS)
def test_reasons_that_say_nothing_still_name_one_of_the_home_s_activities(homes, name, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    monkeypatch.setattr(ModelSpec, "tokenizer_sha256", lambda self: "t")
    monkeypatch.setattr(ready, "cannot_start", lambda *_: "")
    oracle = Oracle(homes[name])
    monkeypatch.setattr(inference, "open_model", lambda model, asking: contextlib.nullcontext(oracle))
    label_and_score(homes[name], tmp_path)


def test_a_home_without_activities_says_what_to_do(homes, tmp_path):
    path = Path(shutil.copytree(homes["one"].path, tmp_path / "one"))
    file = path / "home.yaml"
    file.write_text(file.read_text().replace("Sleeping: Sleeping", "Sleeping: null"))
    done = CliRunner().invoke(app, ["label", "one", "--path", str(path)])
    assert isinstance(done.exception, DataError) and f"list them in {file}" in str(done.exception)


def test_words_of_the_prompt_may_be_chosen_for_a_student_too(homes, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(ModelSpec, "tokenizer_sha256", lambda self: "t")
    monkeypatch.setattr(ready, "cannot_start", lambda *_: "")
    monkeypatch.setattr(
        "llmhar.score.label.label_events", lambda task, model, asking, store: asked.append(model) or 1 / 0
    )
    for more in ((), ("--wording", "s1-blank"), ("--answer", "number")):
        CliRunner().invoke(app, ["label", "one", "--path", str(homes["one"].path), *more])
    assert [(m.prompt.wording, m.prompt.answer) for m in asked] == [
        ("listed", "name"), ("s1-blank", "name"), ("listed", "number")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "labels", [dict(enumerate(HOSTILE)), dict(enumerate(HOSTILE, 1)), {5: "1", 1: "5"}, {3: "", 4: "__"}]
)
def test_hostile_names_are_each_one_activity(labels):
    names = offered_names(labels)
    schema = answer_schema(len(names), names, why=True)
    assert schema["$defs"]["activity"]["enum"] == list(names.values()) and max(map(len, names.values())) <= 80
    text = json.dumps([{"id": i, "why": "x", "activity": name} for i, name in enumerate(names.values())])
    assert [p.label for p in parse_answer(text, len(names), labels).predictions] == list(labels)


def test_names_that_are_clear_stay_as_they_are():
    labels = {1: "Watching_TV", 2: "having a <meal>", 3: "TV 2"}
    assert offered_names(labels) == {1: "Watching_TV", 2: "having a ‹meal›", 3: "TV 2"}
    assert offered_names({1: "Tea", 2: "tea", 9: "Bed"}) == {1: "Tea (1)", 2: "tea (2)", 9: "Bed"}


def test_answers_have_room_for_what_activities_are_called(homes):
    room = {name: inference.item_tokens(place.task()) for name, place in homes.items() if name in LABELS}
    assert inference.item_tokens(homes["mural"].task()) == inference.ITEM_TOKENS
    assert room["sixty"] > inference.ITEM_TOKENS and room["hostile"] > room["one"] >= inference.ITEM_TOKENS + 160


@pytest.mark.real
@pytest.mark.slow
def test_tiny_random_weights_are_bound_to_every_home_s_activities(homes, tmp_path, monkeypatch):
    """Two events of each home through one engine: whatever weights say, each event gets an activity of its home."""
    place = need("qwen3-tiny").locate()
    monkeypatch.setattr(ModelSpec, "locate", lambda self: place)
    model, tasks = MODELS[HOME_MODEL], [home.task() for home in homes.values()]
    tasks = [replace(task, windows=(replace(task.windows[0], events=task.windows[0].events[:2]),)) for task in tasks]
    with open_engine("transformers", model, {"max_num_seqs": 32}) as engine, Store(tmp_path / "s.sqlite") as store:
        asking = Asking(progress=False, open_with=lambda: contextlib.nullcontext(engine))
        inference.run_asks([ask for task in tasks for ask in inference.make_asks(task, model)], model, store, asking)
        for task in tasks:
            made = label.label_events(task, model, asking, store)
            assert (made.run.n_asked, {row["verdict"] for row in made.rows()}) == (0, {"ok"}), task.dataset
