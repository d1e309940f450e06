"""The explorer as a widget: orders checked, and JupyterLab in a real browser with recorded replies (one session)."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

from llmhar.ask.models import MODELS
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.score import tables
from llmhar.text.prompt import PromptForm
from llmhar.traces import view as explorer
from llmhar.traces.bundle import unpack
from tests.jupyterlab import jupyterlab
from tests.score.test_tables import answers_of, perfect
from tests.traces.explorer_bundles import hostile_bundle, small_bundle
from tests.traces.test_view_offline import CHROMIUM, FLAGS, OUTPUT, Watch, hostile, marked, windows_shown

ORDER = {"type": "reask", "window": 3, "model": 1, "events": [["08:00:00", "kitchen", "kettle wattmeter", "turned ON"]],
         "wording": None, "temperature": 0.5}  # fmt: skip
NEW = {"r": "", "x": "new", "l": [1], "v": [0], "t": 1, "c": 0.1, "f": "stop", "k": "z", "m": []}


def browser_of(**functions):
    from llmhar.traces.widget import TraceBrowser

    return TraceBrowser(small_bundle(), **functions)


def test_an_order_names_its_window_and_its_labels():
    orders = []
    reply = browser_of(reask=lambda order: orders.append(order) or NEW).answer(ORDER)
    assert reply == {"type": "reasked", "window": 3, "model": 1, "answer": NEW, "events": ORDER["events"]}
    (order,) = orders
    assert (order.dataset, order.session, order.index, order.model_name) == ("simulated", "session_2", 3, "base")
    assert order.events == (("08:00:00", "kitchen", "kettle wattmeter", "turned ON"),) and order.temperature == 0.5
    assert order.labels[order.model] == "using bathroom" and order.wording is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": 99}, "no window 99"),
        ({"window": True}, "no window True"),
        ({"model": -1}, "no model -1"),
        ({"events": []}, "at least one event"),
        ({"events": [["08:00:00", "kitchen", 3, "x"]]}, "at least one event"),
        ({"wording": "rude"}, "unknown wording 'rude'; there are: "),
        ({"temperature": float("nan")}, "from 0 to 2"),
        ({"temperature": "hot"}, "from 0 to 2"),
        ({"type": "format the disk"}, "cannot do 'format the disk'"),
    ],
)
def test_a_wrong_order_is_refused_in_one_sentence(change, said):
    browser = browser_of(reask=lambda order: pytest.fail("must not be asked"))
    reply = browser.answer({**ORDER, **change})
    assert reply["type"] == "failed" and said in reply["text"] and "\n" not in reply["text"]


def test_what_a_function_raises_is_shown_and_what_is_not_offered_is_refused():
    def broken(order):
        raise RuntimeError("the engine is out")

    assert browser_of(reask=broken).answer(ORDER) == {"type": "failed", "text": "RuntimeError: the engine is out"}
    assert browser_of().answer(ORDER)["type"] == browser_of().answer("nonsense")["type"] == "failed"
    kept = browser_of(save_note=lambda k, tags, text: {"k": k, "tags": tags, "text": text, "at": "now"})
    note = {"type": "note", "k": "a0", "tags": ["x"], "text": "y"}
    assert kept.answer(note) == {"type": "noted", "note": {"k": "a0", "tags": ["x"], "text": "y", "at": "now"}}
    assert kept.answer({**note, "text": None})["type"] == "failed"


def test_the_widget_carries_the_same_view_as_the_file_and_nothing_from_the_net():
    browser = browser_of(save_note=dict)
    assert str(browser._esm) == (explorer.STATIC / "explorer.js").read_text()
    assert browser.can_note and not browser.can_reask and "s1" in browser.wordings
    assert "export default { render }" in str(browser._esm) and "://" not in str(browser._esm).replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_importing_the_explorer_loads_no_widgets():
    code = "import sys; from llmhar.traces import view; print({'anywidget', 'ipywidgets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_report_gets_plain_html_of_the_first_windows(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(explorer, "display", shown.append)
    monkeypatch.setenv("LLMHAR_HEADLESS", "1")
    simulated.write(tmp_path / "home")
    task = prepare("simulated", tmp_path / "home", windowing=Windowing(n=1), form=PromptForm(answer="name"))
    result = tables.score_answers(task, MODELS["rules"], answers_of(task, perfect))
    explorer.browse_traces([result], n_static=2)
    assert [page.data.count("<table") for page in shown] == [1, 1] and "<script" not in shown[0].data
    monkeypatch.delenv("LLMHAR_HEADLESS")
    explorer.browse_traces([result])
    assert type(shown[2]).__name__ == "TraceBrowser" and unpack(shown[2].packed)["models"][0]["name"] == "rules"


SETUP = """
import json
from dataclasses import asdict
from pathlib import Path

from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.traces.view import browse_traces
from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.text.parsing import parse_answer
from llmhar.records import VERDICTS, Request
from llmhar.ask.stored import Stored
from llmhar.score.evaluate import evaluate
from llmhar.score.tables import score_answers
from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.text.prompt import PromptForm

simulated.write(Path("home"))
task = prepare("simulated", Path("home"), PromptForm(answer="name"), Windowing(n=2))
names = list(next(iter(task.sessions.values())).labels.values())
with open("replies.jsonl", "w") as file:
    items = [{"id": i, "activity": names[i % 3]} for i in range(10)]
    text = f"<think>Event 0 comes first. Event 3 is in the same room as event 0.</think>{json.dumps(items)}"
    print(json.dumps({"default": True, "text": text}), file=file)
with open("again.jsonl", "w") as file:
    items = [{"id": i, "activity": names[4]} for i in range(10)]
    print(json.dumps({"default": True, "text": f"<think>Now it is otherwise.</think>{json.dumps(items)}"}), file=file)
model = MODELS["recorded-smoke"]
asks = make_asks(task, model)
with RecordedEngine("replies.jsonl") as engine:
    made = list(engine.stream(ask.request for ask in asks))
    answers = [Answer(ask, Stored(one, engine.fingerprint()), "") for ask, one in zip(asks, made)]
results = [*evaluate(task, ["rules"]).results, score_answers(task, model, answers)]

def reask(order):
    if order.wording == "short":
        raise RuntimeError("no <b>engine</b> for this wording")
    lines = "; ".join(" ".join(event) for event in order.events)
    request = Request("m", "r", "", ({"role": "user", "content": lines},))
    with RecordedEngine("again.jsonl") as engine:
        (made,) = engine.stream([request])
    reading = parse_answer(made.text, len(order.events), dict(enumerate(order.labels)))
    Path("orders.jsonl").open("a").write(json.dumps(asdict(order)) + "\\n")
    found = reading.predictions
    return {"r": reading.reasoning, "x": reading.answer, "k": request.key[:16], "m": [],
            "t": made.output_tokens, "c": made.seconds, "f": made.finish_reason,
            "l": [-1 if p.label is None else p.label for p in found], "v": [VERDICTS.index(p.verdict) for p in found]}

def save_note(key, tags, text):
    note = {"k": key, "tags": tags, "text": text, "at": "2026-01-02T03:04:05Z"}
    Path("notes.jsonl").open("a").write(json.dumps(note) + "\\n")
    return note
"""
SHOW = 'browse_traces(results, teacher="rules", students=["recorded-smoke"], reask=reask, save_note=save_note)'
HOSTILE = """
import json
from IPython.display import display
from llmhar.traces.widget import TraceBrowser
display(TraceBrowser(json.loads(Path("hostile.json").read_text()), reask=reask, save_note=save_note))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on loopback with one notebook; yields (folder, address)."""
    folder = tmp_path_factory.mktemp("lab")
    work = folder / "work"
    work.mkdir()
    (work / "hostile.json").write_text(json.dumps(hostile_bundle()))
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, SHOW, HOSTILE)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), work / "traces.ipynb")
    own = {
        name: str(folder / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "LLMHAR_HOME")
    }
    own |= {"PYTHONPATH": str(Path(explorer.__file__).parents[2]), "LLMHAR_HEADLESS": ""}
    with jupyterlab(folder, work, own) as address:
        yield work, address


@marked
@pytest.mark.timeout(600)
def test_jupyterlab_filters_steps_compares_asks_again_and_keeps_notes(lab):
    from playwright.sync_api import sync_playwright

    work, address = lab
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as chromium:
        page = chromium.new_page(viewport={"width": 1500, "height": 1100})
        page.set_default_timeout(90_000)
        watch = Watch(page)
        page.goto(f"{address}/doc/tree/traces.ipynb")
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        for n in range(3):
            run_cell(page, n)
        view, evil = page.locator(".llmhar-explorer").first, page.locator(".llmhar-explorer").nth(1)
        trouble = page.locator("[data-mime-type='application/vnd.jupyter.error']")
        view.locator(".row").first.or_(trouble).first.wait_for()
        assert trouble.count() == 0, trouble.first.inner_text()
        walk(view, page, work)
        view.scroll_into_view_if_needed()
        OUTPUT.mkdir(exist_ok=True)
        view.screenshot(path=OUTPUT / "explorer-widget.png")
        evil.scroll_into_view_if_needed()
        hostile(page, evil)
        strange = {urlsplit(url).netloc for url in watch.requests if not url.startswith(("data:", "blob:"))} - {
            urlsplit(address).netloc
        }
        assert strange == set() and not [text for text in watch.trouble if "dialog" in text or "__pwned" in text]


def run_cell(page, n):
    """Run a notebook's cell; presses that come before JupyterLab has its kernel are lost, so they are made again."""
    cell = page.locator(".jp-CodeCell").nth(n)
    started = cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]"))
    for _ in range(8):
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(Exception):
            return started.wait_for(timeout=8000)
    page.screenshot(path=OUTPUT / "explorer-widget-stuck.png")
    pytest.fail("JupyterLab runs no cell: see test-output/explorer-widget-stuck.png")


def walk(view, page, work):
    """All that people do in the widget."""
    n = view.locator(".count").inner_text()
    assert re.fullmatch(r"\d+ windows", n) and int(n.split()[0]) == 12
    cells = page.locator(".jp-Cell").count()
    view.locator(".windows").focus()
    heading = lambda: view.locator(".head h2").inner_text()  # noqa: E731
    first = heading()
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
    assert heading() != first and view.locator(".row.current").get_attribute("data-window") == "1"
    for key in ("d", "a", "b", "x", "c", "v", "y"):  # d is ours; the others are JupyterLab's: new, cut, paste, code …
        page.keyboard.press(key)
    assert (
        page.locator(".jp-Cell").count() == cells and int(view.locator(".row.current").get_attribute("data-window")) > 1
    )
    page.keyboard.press("/")
    page.keyboard.type("same room as event 0")
    assert view.locator(".count").inner_text() == "12 windows"  # the recorded model says it everywhere
    view.locator(".field.model select").select_option(label="1 rules")
    assert view.locator(".count").inner_text() == "0 of 12 windows"
    view.locator(".reset").click()
    view.locator(".quick.disagree").click()
    kept = windows_shown(view)
    assert kept
    assert view.locator("th.model").count() == 2  # two models side by side, from the start
    view.locator(".quick.disagree").click()
    view.locator(".windows").focus()
    page.keyboard.press("1")
    assert view.locator("th.model").all_inner_texts()[0].startswith("2recorded-smoke")
    page.keyboard.press("1")
    cite = view.locator(".prose .cite", has_text="vent 3").last
    cite.scroll_into_view_if_needed()
    cite.hover()
    assert (
        "3" in [row[0] for row in view.locator("tr.event.lit").all_inner_texts()]
        and "3" in view.locator(".dot.lit").all_inner_texts()
    )
    ask_again(view, work)
    keep_note(view, work)


def ask_again(view, work):
    n = int(view.locator(".row.current").get_attribute("data-window"))
    view.locator("summary:has-text('Ask again')").click()
    view.locator("[aria-label='keep event 1']").uncheck()
    view.locator("[aria-label='state of event 0']").fill("turned <i>purple</i>")
    view.locator(".again .field select").first.select_option(label="recorded-smoke")
    view.locator("button.ask").click()
    view.locator(".again .result table").wait_for()
    (order,) = [json.loads(line) for line in (work / "orders.jsonl").read_text().splitlines()]
    assert order["window"] == n and order["model_name"] == "recorded-smoke" and len(order["events"]) == 9
    assert order["events"][0][3] == "turned <i>purple</i>" and order["temperature"] == 0
    rows = [row.locator("td").all_text_contents() for row in view.locator(".again .result tbody tr").all()]
    assert len(rows) == 10 and rows[1][2:] == ["dropped", ""]
    assert rows[0][3] == "≠ changed" and rows[0][1] != rows[0][2]
    assert (
        "Now it is otherwise." in view.locator(".again .result").inner_text()
        and "Event 0 comes first" in view.locator(".again .result").inner_text()
    )
    view.screenshot(path=OUTPUT / "explorer-widget-again.png")
    view.locator(".again .field select").nth(1).select_option(label="short")
    view.locator("button.ask").click()
    view.locator(".again [role=alert]").wait_for()
    assert view.locator(".again [role=alert]").inner_text() == "RuntimeError: no <b>engine</b> for this wording"
    view.locator("summary:has-text('Ask again')").click()


def keep_note(view, work):
    view.locator("article").last.locator("summary:has-text('note')").click()
    view.locator("[aria-label=Tags]").fill("teaching, kettle")
    view.locator("[aria-label=Comment]").fill("dijkstra <script>window.__pwned=1</script>")
    view.locator("button:text('Save note')").click()
    view.locator(".note .tag", has_text="kettle").wait_for()
    (note,) = [json.loads(line) for line in (work / "notes.jsonl").read_text().splitlines()]
    assert note["tags"] == ["teaching", "kettle"] and note["text"].startswith("dijkstra") and len(note["k"]) == 16
    view.locator(".reset").click()
    view.locator(".quick.noted").click()
    assert view.locator(".count").inner_text() == "1 of 12 windows"
    view.locator("input[type=search]").fill("DIJKSTRA")
    assert view.locator(".count").inner_text() == "1 of 12 windows"
    view.locator(".reset").click()
