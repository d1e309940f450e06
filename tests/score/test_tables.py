"""Tables, figures, traces and the published payload: right numbers, full provenance, nothing unescaped."""

import base64
import html
import json
import math
import re
import sys
from collections import Counter

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.stored import Stored
from llmhar.ask.task import one_window, prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.records import VERDICTS, Fingerprint, Generation
from llmhar.run import publish, report
from llmhar.score import cost_tables, figures, tables, token_tables
from llmhar.score.figures import axes_of, ranked, stamp
from llmhar.text.prompt import PromptForm
from llmhar.text.serialize import SERIALIZERS
from llmhar.traces import view

MADE = Fingerprint("recorded", "1", "", "")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare(
        "simulated",
        simulated.write(tmp_path_factory.mktemp("data") / "home"),
        windowing=Windowing(n=2),
        form=PromptForm(answer="name"),
    )


def answers_of(task, text_of, **generation):
    """Answers of a made-up model: ``text_of(window, names)`` writes each text."""
    found = []
    for ask, window in zip(make_asks(task, MODELS["rules"]), task.windows):
        names = [task.sessions[window.session_id].activities[e.activity_id] for e in window.events]
        made = Generation(ask.request.key, text_of(window, names), "stop", "", 500, 400, 50, 2.0)
        found.append(Answer(ask, Stored(made, MADE), ""))
    return found


def perfect(window, names):
    import json

    return json.dumps([{"id": i, "activity": name} for i, name in enumerate(names)])


@pytest.fixture(scope="module")
def results(task):
    right = tables.score_answers(task, MODELS["rules"], answers_of(task, perfect))
    none = tables.score_answers(task, MODELS["recorded-smoke"], answers_of(task, lambda w, n: "I cannot tell."))
    return [right, none]


def test_perfect_answers_score_one_and_no_answers_zero(results):
    table = tables.score_table(results)
    assert list(table["macro F1"]) == [1.0, 0.0]
    assert list(table["missed %"]) == [0.0, 100.0]
    assert list(table["events"]) == [120, 120] and list(table["sessions"]) == [6, 6]
    assert (table.loc["rules", "95 % low"], table.loc["rules", "95 % high"]) == (1.0, 1.0)


def test_every_score_says_where_it_comes_from(results):
    for column in ("kind", "sessions", "events", "95 % low", "95 % high", "engine", "revision", "data"):
        assert column in tables.score_table(results).columns
    assert tables.score_table(results).loc["rules", "kind"] == "rules, not an LLM"


def test_answers_must_match_the_windows(task):
    made = answers_of(task, perfect)
    with pytest.raises(ValueError, match="one to one"):
        tables.score_answers(task, MODELS["rules"], made[:-1])
    with pytest.raises(ValueError, match="one to one"):
        tables.score_answers(task, MODELS["rules"], [*made[:-1], made[0]])
    shuffled = tables.score_answers(task, MODELS["rules"], list(reversed(made)))
    assert shuffled.macro_f1.mean == 1.0


def test_verdicts_add_up_to_all_events(results):
    table = tables.verdict_table(results)
    odd = ["answers that copy the example", "answers counted from 1", "surplus items", "draft items"]
    assert list(table.columns) == ["events", *VERDICTS, *odd]
    assert table.loc["rules", odd].tolist() == [0, 0, 0, 0]
    assert table[list(VERDICTS)].sum(axis=1).tolist() == [100.0, 100.0]
    assert table.loc["recorded-smoke", "malformed"] == 100.0


def test_what_else_is_odd_about_answers_is_counted(task):
    example = task.prompt_of(task.windows[0]).example_answer

    def odd(window, names):
        n = len(names)
        copied = example.removesuffix("]") + "".join(f', {{"id": {i}, "activity": 1}}' for i in range(3, n + 2)) + "]"
        shifted = json.dumps([{"id": i + 1, "activity": 1} for i in range(n)])
        return {0: copied, 1: shifted, 2: perfect(window, names)}[window.index % 3]

    table = tables.verdict_table([tables.score_answers(task, MODELS["rules"], answers_of(task, odd))])
    row = table.loc["rules"]
    kinds = Counter(window.index % 3 for window in task.windows)
    assert row["answers that copy the example"] == kinds[0] > 0
    assert row["answers counted from 1"] == kinds[1] > 0
    assert row["surplus items"] == 2 * kinds[0] + kinds[1], "ids n and n + 1 of copies, id n of those from 1"


def test_other_readings_of_contradictions_stand_beside_the_study_s(task):
    def wavering(window, names):
        whole = json.loads(perfect(window, names))
        wrong = [{"id": item["id"], "activity": 999 if item["activity"] == 1 else 1} for item in whole]
        return "\n".join(json.dumps(item) for item in [*whole, *wrong])

    row = tables.reading_table([tables.score_answers(task, MODELS["rules"], answers_of(task, wavering))]).loc["rules"]
    assert row["macro F1 flexible"] < 0.1, "windows of one event settle themselves"
    assert row["macro F1 first"] == 1.0 and row["macro F1 last"] < 0.2


def test_session_table_counts_and_scores(results):
    table = tables.session_table(results)
    assert table["events"].tolist() == [20] * 6 and table["rules"].tolist() == [1.0] * 6


def test_cost_table_is_what_the_store_recorded(results):
    row = cost_tables.cost_table(results).loc["rules"]
    assert row["prompt tokens / window"] == 500 and row["from prefix cache %"] == 80
    assert row["output tokens / window"] == 50 and row["seconds / window (in batch)"] == 2.0


def test_agreement(task, results):
    same = tables.agreement_table(results[0], results[0])
    assert same["%"].tolist() == [100.0] * 4
    apart = tables.agreement_table(*results)
    assert apart.loc["same text", "agree"] == 0 and apart.loc["same label", "agree"] == 0
    other = tables.score_answers(one_window(task, 0, 0), MODELS["rules"], answers_of(one_window(task, 0, 0), perfect))
    with pytest.raises(ValueError, match="same windows"):
        tables.agreement_table(results[0], other)


def test_strict_and_flexible_readings_stand_side_by_side(task):
    prose = tables.score_answers(task, MODELS["rules"], answers_of(task, lambda w, n: "Sure! " + perfect(w, n)))
    row = tables.reading_table([prose]).loc["rules"]
    assert (row["macro F1 flexible"], row["macro F1 strict"]) == (1.0, 0.0)
    assert (row["missed % flexible"], row["missed % strict"]) == (0.0, 100.0)


def test_token_costs_without_a_tokenizer_count_words(task):
    table, counted_by = token_tables.token_table(task, None)
    assert counted_by.startswith("words") and list(table.index) == list(SERIALIZERS)
    first = task.windows[0]
    assert table["mean"].min() > len(first.events)
    tokens = token_tables.prompt_tokens(task, None)
    assert tokens.window_mean > 50
    costs = figures.token_costs(table, counted_by, "Data: x.")
    assert costs.axes[0].get_xlabel() == "words a window (no tokenizer fetched)"
    assert costs.alt.startswith("Words a window: intervals ") and "tokens" not in costs.alt
    parts = figures.prompt_parts(task.prompt_of(first), tokens.parts, tokens.window_mean)
    assert parts.axes[0].get_xlabel() == "words (no tokenizer fetched)"
    assert figures.token_costs(table, "x tokenizer", "").axes[0].get_xlabel() == "tokens a window (x tokenizer)"


@pytest.mark.parametrize(
    "draw", ["events_by_room", "activity_counts", "f1_by_session", "verdict_bars", "token_costs", "prompt_parts"]
)
def test_figures_are_drawn_and_stamped(draw, task, results):
    session = next(iter(task.sessions.values()))
    tokens = token_tables.prompt_tokens(task, None)
    figure = {
        "events_by_room": lambda: figures.events_by_room(session, task.data),
        "activity_counts": lambda: figures.activity_counts([session], task.data),
        "f1_by_session": lambda: figures.f1_by_session(results),
        "verdict_bars": lambda: figures.verdict_bars(results),
        "token_costs": lambda: figures.token_costs(
            *token_tables.token_table(task, None), "Data: simulated, n = 12 windows."
        ),
        "prompt_parts": lambda: figures.prompt_parts(task.prompt_of(task.windows[0]), tokens.parts, tokens.window_mean),
    }[draw]()
    assert isinstance(figure, Figure)
    stamped = figure.get_supxlabel()
    assert any(word in stamped for word in ("Data:", "Prompt "))
    if draw in ("f1_by_session", "verdict_bars"):
        for part in (
            "simulated",
            "2 windows from each of 6 test sessions (seed 0)",
            "120 scored events",
            "revision",
            "rules, not an LLM",
        ):
            assert part in stamped.replace("\n", " ")
    assert len(publish.publish({}, figure=figure)["figure_png"]) > 5000


def test_figures_take_dollar_signs_as_text(task):
    from dataclasses import replace

    session = next(iter(task.sessions.values()))
    odd = replace(session, events=tuple(replace(e, room="$x_$ room") for e in session.events[:5]))
    figure = figures.events_by_room(odd, "$data_$")
    publish.publish({}, figure=figure)  # savefig would raise on bad mathematics


def test_payload_keeps_several_tables_whole():
    wide = pd.DataFrame(
        {("free", "rules"): [0.5, float("nan")] * 10, ("list", ""): "x"}, index=pd.Index(range(20), name="told")
    )
    payload = publish.publish({}, table={"settings": wide, "not made": None})
    assert list(payload["tables"]) == ["settings"] and len(payload["table"]["rows"]) == 12
    settings = payload["tables"]["settings"]
    assert settings["columns"] == ["told", "free, rules", "list"]
    assert settings["rows"][:2] == [[0, 0.5, "x"], [1, None, "x"]] and len(settings["rows"]) == 20


def test_payload_keeps_missing_missing(results):
    payload = publish.publish(
        {"a": float("nan"), "b": pd.Series([1.5])[0], "c": None}, table=tables.score_table(results), results=results
    )
    assert payload["key_numbers"] == {"a": None, "b": 1.5, "c": None}
    assert payload["torch_in_kernel"] is ("torch" in sys.modules)  # reports assert False: here other tests may load it
    assert payload["kinds"] == ["recorded replies", "rules, not an LLM", "simulated data"]
    assert payload["models"]["rules"]["revision"] == MODELS["rules"].revision
    assert payload["table"]["columns"][0] == "model" and len(payload["table"]["rows"]) == 2
    assert not [v for row in payload["table"]["rows"] for v in row if isinstance(v, float) and math.isnan(v)]


EVIL = '<script>alert(1)</script><img src=x onerror=alert(2)>"><svg onload=alert(3)>'


def test_traces_escape_everything(task):
    from dataclasses import replace

    window = task.windows[0]
    evil_events = tuple(replace(e, room=EVIL, sensor=EVIL, state=EVIL, residents=(EVIL,)) for e in window.events)
    evil_session = replace(
        task.sessions[window.session_id], activities=dict.fromkeys(task.sessions[window.session_id].activities, EVIL)
    )
    evil = replace(
        one_window(task, 0, 0),
        windows=(replace(window, events=evil_events),),
        sessions={window.session_id: evil_session},
    )
    said = tables.score_answers(evil, MODELS["rules"], answers_of(evil, lambda w, n: f"<think>{EVIL}</think>{EVIL}"))
    for page in (view.trace_html([said], 0).data, view.window_html(evil.windows[0], evil_session).data):
        assert EVIL[:8] not in page and "<img" not in page and "<svg" not in page
        assert "&lt;script&gt;" in page


def test_static_twin_in_reports_and_widget_live(results, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(view, "display", shown.append)
    monkeypatch.setenv("LLMHAR_HEADLESS", "1")
    view.show_traces(results, n_static=3)
    assert len(shown) == 3 and "✓" in shown[0].data
    monkeypatch.delenv("LLMHAR_HEADLESS")
    import ipywidgets

    made = []
    monkeypatch.setattr(ipywidgets, "interact", lambda show, position: made.append((show, position)))
    view.show_traces(results)
    show, slider = made[0]
    assert slider.max == len(results[0].task.windows) - 1
    show(slider.max)
    assert len(shown) == 4


def test_a_figure_says_in_words_what_it_shows_and_the_report_keeps_the_words():
    figure, axes = axes_of(4, 3)
    axes.set_title('Loss of "a" & <b>', loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    stamp(figure, "n = 3 sessions")
    assert figure.alt == 'Loss of "a" & <b>. loss against step. n = 3 sessions'
    told = stamp(
        axes_of(4, 3)[0], "n = 3. " + "long words " * 200, ranked("F1", {"a $x": 0.25, "b": math.nan, "c": 0.5})
    )
    assert told.alt.startswith("F1: c 0.5; a $x 0.25. n = 3.") and told.alt.count("long words") == 200
    assert "…" not in told.alt
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and metadata == {"image/png": {"alt": figure.alt}}
    shown = nbformat.v4.new_output(
        "display_data", data={"image/png": base64.b64encode(data["image/png"]).decode()}, metadata=metadata
    )
    page = report.to_html(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[shown])]), "words")
    (image,) = re.findall(r"<img[^>]*>", page)
    assert "<b>" not in image and "loss against step. n = 3 sessions" in html.unescape(image)
