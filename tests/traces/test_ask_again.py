"""Asking again in the view: time, room, sensor and state of an event may change, and the result names the events."""

import base64

import pytest

from llmhar.traces import view as explorer
from llmhar.traces.bundle import pack
from llmhar.traces.widget import read_order
from tests.traces.explorer_bundles import EVENTS, PAYLOADS, small_bundle
from tests.traces.test_view_offline import CHROMIUM, FLAGS, OUTPUT, marked

PAGE = """<!doctype html><meta charset="utf-8"><style>{style}</style><div id="here"></div><script type="module">
{script}
const values = {{ packed: fromBase64("{packed}"), can_reask: true, can_note: false, wordings: ["s1"] }};
const listeners = [];
window.sent = [];
window.hear = (message) => listeners.forEach((listen) => listen(message));
const model = {{ get: (name) => values[name], send: (message) => window.sent.push(message),
  on: (_, listen) => listeners.push(listen), off: () => {{}} }};
render({{ model, el: document.getElementById("here") }});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The view as a widget shows it, with a model that keeps what is sent."""
    from playwright.sync_api import sync_playwright

    bundle = small_bundle()
    script = (explorer.STATIC / "explorer.js").read_text().replace("export default { render };", "")
    packed = base64.b64encode(pack(bundle)).decode()
    file = tmp_path_factory.mktemp("again") / "view.html"
    style = (explorer.STATIC / "explorer.css").read_text()
    file.write_text(PAGE.format(style=style, script=script, packed=packed))
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as chromium:
        opened = chromium.new_page(viewport={"width": 1024, "height": 1000})
        opened.set_default_timeout(20_000)
        opened.goto(file.as_uri())
        opened.wait_for_selector(".row")
        opened.locator("summary:has-text('Ask again')").click()
        yield opened


def fill(page, part, event, text):
    page.locator(f"[aria-label='{part} of event {event}']").fill(text)


def ask(page):
    """Press the button: what is sent to Python."""
    page.locator("button.ask").click()
    return page.evaluate("window.sent.at(-1)")


def answer(page, n, label):
    """What Python sends back about ``n`` events."""
    made = {
        "r": "otherwise",
        "x": "[]",
        "l": [label] * n,
        "v": [0] * n,
        "t": 3,
        "c": 0.1,
        "f": "stop",
        "k": "z",
        "m": [],
    }
    page.evaluate("(answer) => window.hear({ type: 'reasked', window: 0, model: 0, answer })", made)
    return [row.inner_text().split("\n")[0] for row in page.locator(".again .result tbody th").all()]


@marked
def test_every_part_of_an_event_may_change_and_the_result_names_them(page):
    fill(page, "room", 0, "garden")
    fill(page, "sensor", 1, "window <b>contact</b>")
    fill(page, "state", 1, "CLOSED")
    fill(page, "time", 3, "08:00:10")
    page.locator("[aria-label='keep event 2']").uncheck()
    message = ask(page)
    changed = [
        ["08:00:00", "garden", "kettle wattmeter", "turned ON"],
        ["08:00:10", *EVENTS[3][1:]],
        ["08:00:30", "bathroom", "window <b>contact</b>", "CLOSED"],
    ]
    assert message["events"] == changed, "in the order of the clocks"
    assert [list(event) for event in read_order(message, small_bundle()).events] == changed
    names = answer(page, 3, 1)
    assert names[0] == "0 08:00:00 garden kettle wattmeter turned ON"
    assert names[1] == "1 08:00:30 bathroom window <b>contact</b> CLOSED"
    assert names[2] == f"2 {' '.join(EVENTS[2])}" and names[3] == f"3 08:00:10 {' '.join(EVENTS[3][1:])}"
    smalls = page.locator(".again .result tbody th small").all_inner_texts()
    truths = [row.locator("td").first.inner_text() for row in page.locator(".again .result tbody tr").all()]
    assert truths == [*["none: it never happened"] * 2, "preparing drinks", "none: it never happened"]
    assert smalls == [f"was: {' '.join(EVENTS[i])}" for i in (0, 1, 3)]
    assert page.locator(".again .result tbody tr").nth(2).locator("td").nth(2).inner_text() == "dropped"
    OUTPUT.mkdir(exist_ok=True)
    page.locator(".again").screenshot(path=OUTPUT / "explorer-ask-again.png")


@marked
def test_rooms_and_sensors_of_the_home_are_offered_and_nothing_is_cut_off(page):
    listed = page.locator("[aria-label='room of event 0']").get_attribute("list")
    options = page.evaluate("(id) => [...document.getElementById(id).options].map((one) => one.value)", listed)
    assert options == sorted({event[1] for event in EVENTS})
    page.locator(".again table.edit").screenshot(path=OUTPUT / "explorer-ask-again-form.png")
    for part in page.locator(".again table").all():
        assert part.evaluate("(table) => table.getBoundingClientRect().right") <= page.locator(".again").evaluate(
            "(box) => box.getBoundingClientRect().right"
        )


@marked
def test_a_clock_past_midnight_and_one_that_is_none(page):
    for event, clock in ((0, "23:59:50"), (1, "8 o'clock"), (3, EVENTS[3][0])):
        fill(page, "time", event, clock)
    message = ask(page)
    clocks = [event[0] for event in message["events"]]
    assert clocks == ["23:59:50", "8 o'clock", EVENTS[3][0]], "the evening before; what is no clock stays in its place"


@marked
@pytest.mark.parametrize("payload", PAYLOADS[:8])
def test_hostile_words_stay_text(page, payload):
    fill(page, "room", 0, payload)
    ask(page)
    answer(page, 3, 0)
    assert page.locator(".again .result script, .again .result img, .again .result svg").count() == 0
