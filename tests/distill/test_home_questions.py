"""Further questions about a student in homes never seen, asked of a made-up engine; and nobody asked says so."""

import json
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import matplotlib
import pytest

from llmhar.ask.models import MODELS, Local
from llmhar.ask.store import Store
from llmhar.data.events import SCHEMES, Windowing, cut_windows
from llmhar.distill import home_questions, moving, tuned_days
from llmhar.distill.home_students import ARMS
from llmhar.distill.moving import NOT_ASKED, Homes
from llmhar.records import Fingerprint, Generation
from llmhar.score.overtake import LeakedDay, labelled_days, learning_curves
from llmhar.text.naming import name_words
from llmhar.text.parsing import parse_answer
from llmhar.text.schema import WHY_CHARS
from tests.opened import Opened

matplotlib.use("agg")
NAMES = ["one=simulated", "two=simulated_other"]


class Sure(Opened):
    """Answers as the schema has it; each event's reason cites the one before it, and names it."""

    def fingerprint(self):
        return Fingerprint("sure", "1", "", "")

    def stream(self, requests):
        for request in requests:
            names = request.schema["$defs"]["activity"]["enum"]
            sensors = [line.split(" ", 2)[2] for line in request.messages[-1]["content"].split("\n")[1:]]
            text, tokens = "[", []
            for i, near in enumerate(["nothing", *sensors[:-1]]):
                text += f'{", " if i else ""}{{"id": {i}, "why": {json.dumps("near " + near[:60])}, "activity": '
                label = json.dumps(names[len(near) % len(names)])
                tokens.append([len(text), len(text) + len(label), math.log(0.3 if i % 2 else 0.9)])
                text += label + "}"
            logprobs = json.dumps(tokens) if request.logprobs else ""
            yield Generation(request.key, text + "]", "stop", logprobs=logprobs)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Homes, the study's student and a smaller one on them, how they were asked, and the store."""
    with pytest.MonkeyPatch.context() as patch, Store(tmp_path_factory.mktemp("s") / "s.sqlite") as store:
        patch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("LLMHAR_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setattr(home_questions, "VALIDATION_WINDOWS", 1)
        homes = moving.prepare_homes(NAMES, Windowing(n=1))
        asking = moving.home_asking(400, "auto", 0)
        asking = type(asking)(**{**vars(asking), "open_with": Sure, "progress": False})
        bound, base = home_questions.bound(asking), MODELS["smollm2-135m"]
        student = base.model_copy(update={"source": Local(path=base.folder())})
        smaller = student.model_copy(update={"n_params": 1})
        rows = [
            moving._ask(moving.named(model, ARMS[arm].words), "student", homes, bound, store)
            for arm, model in (("l8", smaller), ("truth", student))
        ]
        yield homes, rows, asking, store


def test_days_to_overtake_are_a_key_number(asked, monkeypatch):
    homes, rows, _, _ = asked
    monkeypatch.setattr(
        home_questions, "learning_curves", partial(learning_curves, days=(0, 1, 2), n_draws=3, n_trees=5)
    )
    days = home_questions.label_days(rows, homes)
    assert {"overtake_days", "overtake_days_low", "overtake_days_high"} == set(days.numbers)
    assert 0 < days.numbers["overtake_days"] <= 1, "whoever guesses is passed on the first day"
    assert len(days.table) == 6, "two controls in two homes and on their mean"
    assert len([axes for axes in days.figure.axes if axes.get_visible()]) == 3


def test_the_student_learns_the_days_that_trees_learn(asked, monkeypatch):
    """Two homes at two and eight days; lessons are the truth, and end in the words of their labels."""
    homes, rows, asking, store = asked
    trained, told = [], []

    def train(recipe, examples, *, name, parent):
        trained.append((name, recipe.max_steps, examples))
        return SimpleNamespace(folder=name)

    monkeypatch.setattr(tuned_days, "train_student", train)
    monkeypatch.setattr(tuned_days, "home_student", lambda name: name)
    monkeypatch.setattr(tuned_days, "change_about", lambda folder, about: told.append((folder, about["asked"].named)))
    monkeypatch.setattr(tuned_days, "merge", lambda _: [rows[1].results["one"].model])
    tuned = tuned_days.ask_tuned(rows, homes, asking, store)
    assert list(tuned) == [2, 8] and [len(results) for results in tuned.values()] == [2, 2]
    assert len(trained) == 4 == len(told) and not any(named for _, named in told)
    for name, steps, examples in trained:
        column, n = name.rpartition(" ")[2], int(name.partition("tuned on ")[2].partition(" ")[0])
        task = homes.tasks[column]
        days = labelled_days(task, draw=0)[:n]
        assert {example.session_id for example in examples} == {day.session_id for day in days}
        assert not {example.session_id for example in examples} & set(task.sessions)
        assert steps == min(150, -(-6 * len(examples) // 2))
        names = days[0].labels
        for example in examples[:20]:
            window = next(w for d in days if d.session_id == example.session_id for w in cut_windows(d, 10)
                          if w.index == example.window_index)  # fmt: skip
            truth = [event.activity_id for event in window.events]
            reading = parse_answer(example.completion, len(window.events), names, strict=True)
            assert [p.label for p in reading.predictions] == truth
            whys = [item["why"] for item in json.loads(example.completion)]
            assert all(why.endswith(name_words(names[t])) for why, t in zip(whys, truth) if len(why) < WHY_CHARS)
    curves = [curve for task in homes.tasks.values()
              for curve in learning_curves(task, days=(0, 2), n_draws=2, n_trees=3)]  # fmt: skip
    days = home_questions.LabelledDays(curves, [rows[1].results[name] for name in homes.counted], tuned)
    at = days.tuned_table.index.get_level_values("labelled days")
    assert {0, 2, 8} == set(at) and days.figure.axes
    first = next(iter(homes.tasks["one"].sessions.values()))
    leaking = replace(homes.tasks["one"], train=homes.tasks["one"].train | {"again": first})
    with pytest.raises(LeakedDay, match="is to be learnt, and is test session"):
        tuned_days.tune("one", leaking, 2)


def test_a_threshold_is_chosen_on_validation_homes_and_judged_on_the_counted_ones(asked):
    homes, rows, asking, store = asked
    asked_for = partial(home_questions.ask_sureness, rows, homes, asking, store)
    sureness = asked_for(accuracy=0.01)
    assert list(sureness.judged) == ["validation homes", "recorded homes"]
    assert 0 < sureness.numbers["sure_from"] < 1 and "on the recorded homes" in sureness.words
    assert 0 < sureness.numbers["sure_coverage"] <= 1 and len(sureness.table) == 2
    assert not {session for session, _ in sureness.threshold.sessions} & {t.data for t in homes.tasks.values()}
    never = asked_for(accuracy=1.1)  # which nobody reaches
    assert never.threshold is None and never.numbers == {} and "no threshold has accuracy" in never.words
    assert never.figure.axes, "curves are drawn all the same"


def test_reasons_are_probed_in_every_counted_home(asked):
    homes, rows, asking, store = asked
    moves = home_questions.probe_reasons(rows, homes, asking, store, n=3)
    assert 0 < moves.n_pairs + moves.n_unreadable <= 6 and len(home_questions.reasons_table(moves)) == 3
    assert moves.model == ARMS["truth"].words


def test_losses_stand_largest_student_first(asked):
    homes, rows, _, _ = asked
    losses = home_questions.kinds_of_loss(rows, homes)
    assert [r.model.name for r in losses] == [ARMS["truth"].words] * 2 + [ARMS["l8"].words] * 2
    assert home_questions.kinds_figure(losses).axes


def test_the_shortest_home_is_asked_in_every_scheme(asked):
    homes, rows, asking, store = asked
    events = {column: sum(s.n_scored for s in task.sessions.values()) for column, task in homes.tasks.items()}
    results = home_questions.ask_schemes(rows, homes, NAMES, asking, store)
    assert list(results) == list(SCHEMES)
    (result,) = results["last"]
    assert result.task.data == homes.tasks[min(events, key=events.get)].data
    assert home_questions.schemes_figure(results).axes


def test_nobody_asked_says_so(asked):
    homes, rows, asking, store = asked
    for some, where in (([rows[0]], homes), (rows, Homes({}, ()))):  # no student of the study; no counted home
        days, sureness = home_questions.label_days(some, where), home_questions.ask_sureness(some, where, asking, store)
        assert days.numbers == {} == sureness.numbers
        assert home_questions.probe_reasons(some, where, asking, store) is None
        assert home_questions.ask_schemes(some, where, NAMES, asking, store) == {}
        assert tuned_days.ask_tuned(some, where, asking, store) == {}
        shown = [days.table, days.figure, days.tuned_table, sureness.words, sureness.table, sureness.figure]
        assert set(shown) == {NOT_ASKED}
    shown = [home_questions.reasons_table(None), home_questions.schemes_figure({}), home_questions.kinds_figure([])]
    assert set(shown) == {NOT_ASKED}
