"""The explorer's offline file in a real browser: from disk, with the network cut, and fed with hostile text."""

import base64
import copy
import hashlib
import re
import shutil
from pathlib import Path

import pytest

from llmhar.traces import view as explorer
from tests.traces.explorer_bundles import EVENTS, LABELS, PAYLOADS, hostile_bundle, small_bundle, whys_bundle

CHROMIUM = shutil.which("chromium")
OUTPUT = Path(__file__).parents[2] / "test-output"
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
]


def marked(test):
    for mark in needs_chromium:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as opened:
        yield opened


class Watch:
    """What a page asked for and complained about."""

    def __init__(self, page):
        self.requests, self.trouble = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda message: self.trouble.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))


@pytest.fixture
def show(browser, tmp_path):
    """Open a bundle's file without network: (page, what it did)."""
    contexts = []

    def opened(bundle, *, width=1400, height=900, init=None, change=lambda html: html, **options):
        file = tmp_path / f"view{len(contexts)}.html"
        n_bytes = explorer.write_offline(bundle, file)
        assert n_bytes == file.stat().st_size
        file.write_text(change(file.read_text()))
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watch = Watch(page)
        if init:
            page.add_init_script(init)
        page.goto(file.as_uri())
        return page, watch

    yield opened
    for context in contexts:
        context.close()


def windows_shown(page):
    return [int(row.get_attribute("data-window")) for row in page.locator(".row").all()]


def heading(page):
    return page.locator(".head h2").inner_text()


@marked
def test_the_file_shows_everything_and_asks_for_nothing(show):
    page, watch = show(small_bundle())
    page.wait_for_selector(".row")
    assert page.title() == "Test home (simulated): 3 models on 4 windows"
    assert page.locator(".count").inner_text() == "4 windows" and windows_shown(page) == [0, 1, 2, 3]
    first = page.locator(".row").first.inner_text()
    assert "session_1 · window 0" in first and "preparing drinks ×2" in first and first.count("4/4") == 3
    assert page.locator(".row").nth(2).locator(".share").all_inner_texts() == ["1\n3/4", "2\nnot asked", "3\n3/4"]
    table = page.locator(".events tbody tr").nth(1).locator("th, td").all_text_contents()
    assert table[:6] == ["1", *EVENTS[1], "using bathroom"] and table[6] == "✓using bathroom, right"
    page.locator("text=Where this comes from").click()
    assert page.locator("text=simulated home, made for tests").is_visible()
    page.locator("text=Prompt: the parts").click()
    page.locator("summary:text-is('rules')").click()
    page.wait_for_selector("text=Judge by the room.")
    page.locator("article >> nth=0 >> text=Answer as written").click()
    page.wait_for_selector("text=answer [2, 1, 2, 0]")
    assert (
        "120 tokens" in page.locator(".facts").first.inner_text()
        and "1.50 s" in page.locator(".facts").first.inner_text()
    )
    assert [url for url in watch.requests if not url.startswith("file://")] == [] and watch.trouble == []


@marked
def test_filters_combine_and_reset(show):
    page, _ = show(small_bundle())
    choose = lambda field, label: page.locator(f".field.{field} select").select_option(label=label)  # noqa: E731
    page.wait_for_selector(".row")
    for quick, expected in (("broke", [1]), ("wrong", [2]), ("disagree", [1]), ("noted", [1])):
        page.locator(f".quick.{quick}").click()
        assert windows_shown(page) == expected, quick
        assert page.locator(f".quick.{quick}").get_attribute("aria-pressed") == "true"
        page.locator(".quick." + quick).click()
    for text, expected in (
        ("ZEBRA", [1]),
        ("quokka", [1]),
        ("couch mov", [0, 1, 2, 3]),
        ("answer [-1", [3]),
        ("no such", []),
    ):
        page.locator("input[type=search]").fill(text)
        assert windows_shown(page) == expected, text
    assert (
        page.locator(".count").inner_text() == "0 of 4 windows" and "No window" in page.locator(".windows").inner_text()
    )
    page.locator(".windows button").click()
    assert windows_shown(page) == [0, 1, 2, 3]
    choose("session", "session_2")
    assert windows_shown(page) == [3]
    choose("session", "all")
    choose("model", "2 base")  # not asked about window 2
    assert windows_shown(page) == [0, 1, 3]
    choose("verdict", "missing")
    assert windows_shown(page) == [3]
    choose("model", "all")
    assert windows_shown(page) == [2, 3]
    page.locator("input[type=search]").fill("event 3")
    assert windows_shown(page) == [2]
    page.locator(".reset").click()
    assert windows_shown(page) == [0, 1, 2, 3] and page.locator("input[type=search]").input_value() == ""
    choose("activity", "chatting")
    assert windows_shown(page) == [1, 2]
    choose("where", "truth")
    assert windows_shown(page) == [2]
    choose("where", "answer")
    assert windows_shown(page) == [1]


@marked
def test_keys_step_search_and_choose_models(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    press = page.keyboard.press
    seen = []
    for key in ("j", "ArrowRight", "ArrowRight", "ArrowRight", "k", "ArrowLeft"):
        press(key)
        seen.append(int(page.locator(".row.current").get_attribute("data-window")))
    assert seen == [1, 2, 3, 3, 2, 1] and heading(page) == "session_1 · window 1"
    press("k")
    press("d")  # the only disagreement: teacher and student about event 1 of window 1
    assert heading(page) == "session_1 · window 1"
    assert page.locator("tr.differ").all_inner_texts()[0].startswith("1 ≠")
    press("1")  # base and student agree
    assert page.locator("th.model").all_inner_texts() == ["2base 3/4", "3student 3/4"]
    press("d")
    assert "disagree nowhere" in page.locator(".count").inner_text()
    press("2")
    press("3")  # the last one stays
    assert page.locator("th.model").all_inner_texts() == ["3student 3/4"]
    press("1")
    press("/")
    page.keyboard.type("jkd12?")  # typed, not obeyed
    assert page.locator("input[type=search]").input_value() == "jkd12?" and not page.locator("dialog").is_visible()
    assert page.locator("th.model").count() == 0  # nothing passes the filter
    page.locator("input[type=search]").fill("")
    press("Escape")
    press("?")
    assert page.locator("dialog").is_visible() and "next window" in page.locator("dialog").inner_text()
    before = heading(page)
    press("j")
    assert heading(page) == before
    press("Escape")
    assert not page.locator("dialog").is_visible()
    press("j")
    assert heading(page) != before


@marked
def test_two_models_stand_aligned_by_event(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    page.keyboard.press("2")
    page.locator(".row").nth(1).click()
    rows = [row.locator("td").all_text_contents() for row in page.locator(".events tbody tr").all()]
    assert [row[4:] for row in rows] == [
        ["preparing drinks", "✓preparing drinks, right", "✓preparing drinks, right"],
        ["using bathroom", "✓using bathroom, right", "✗chatting, wrong"],
        ["preparing drinks", "✓preparing drinks, right", "✓preparing drinks, right"],
        ["watching TV", "✓watching TV, right", "✓watching TV, right"],
    ]
    page.locator(".row").nth(3).click()
    first = page.locator(".events tbody tr").first.locator("td").all_text_contents()
    assert first[4:] == ["not annotated or not scored", "?preparing drinks, truth is not scored"] * 1 + first[6:]
    page.locator(".row").nth(2).click()
    last = page.locator(".events tbody tr").last.locator("td").all_text_contents()
    assert last[5:] == ["✗watching TV, wrong", "–missing, no valid answer"]
    assert page.locator("article .facts").last.inner_text().endswith("finish: length")


@marked
def test_hover_and_focus_light_an_event_and_its_mentions(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    cites = page.locator(".prose .cite")
    # offsets count UTF-16 units: an emoji stands before all of these
    assert cites.all_inner_texts()[:4] == ["event 0", "kettle", "08:00:00", "event 2"]
    assert page.locator(".prose").first.inner_text().startswith("😀 In event 0 the kettle goes on at 08:00:00")
    lit = lambda what: page.locator(f"{what}.lit").all_inner_texts()  # noqa: E731
    assert lit("tr") == []
    cites.nth(1).hover()  # "kettle": events 0 and 2
    assert [row[0] for row in lit("tr.event")] == ["0", "2"] and lit(".dot") == ["0", "2"]
    assert lit(".prose .cite") == ["event 0", "kettle", "08:00:00", "event 2", "kettle"]
    page.locator("tr.event").nth(3).hover()
    assert lit(".dot") == ["3"] and lit(".prose .cite") == ["event 3"] and len(lit(".cell")) == 4
    page.mouse.move(1, 1)
    assert lit("tr") == []
    cites.nth(2).focus()
    assert lit(".dot") == ["0"]
    page.keyboard.press("Enter")  # keeps it lit
    page.locator("tr.event").nth(3).focus()
    page.locator("input[type=search]").focus()
    assert lit(".dot") == ["0"]
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert lit(".dot") == []


@marked
def test_each_event_s_own_reason_stands_beside_its_label(show):
    page, watch = show(whys_bundle(), width=1280)
    page.wait_for_selector(".row")
    reasons = page.locator("tr.event td.answer .why")
    assert reasons.all_inner_texts() == [f'<b>"0.{i}"</b> near the kettle, a gnu & a 😀' for i in range(3)]
    assert reasons.first.locator("xpath=..").inner_text().startswith("✓preparing drinks")
    reasons.nth(1).locator(".cite").hover()
    assert page.locator("tr.lit th").all_inner_texts() == ["0", "2"]
    silent = page.locator(".thoughts article").nth(2).inner_text()
    assert "Each event's reason stands beside it" in silent and "answered at once" not in silent
    assert page.locator(".thoughts article").nth(0).locator(".prose").count() == 1, (
        "others' reasoning stays where it was"
    )
    table, room = page.locator(".events table"), page.locator(".events")
    assert table.evaluate("x => x.offsetWidth") <= room.evaluate("x => x.clientWidth"), "no scrolling sideways at 1280"
    page.locator("input[type=search]").fill("1.2")
    assert windows_shown(page) == [1]
    page.locator("input[type=search]").fill("GNU")
    assert windows_shown(page) == [0, 1, 2, 3] and watch.trouble == []


@marked
def test_notes_are_shown_and_cannot_be_edited_here(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    page.keyboard.press("j")
    note = page.locator(".note", has_text="funny").filter(visible=True)
    note.wait_for()
    assert "A quokka would know." in note.inner_text()
    assert page.locator("form").count() == 0 and page.locator(".again").count() == 0


@marked
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_the_floor_plan_lights_events_in_order(show, motion):
    page, _ = show(small_bundle(), reduced_motion=motion)
    page.wait_for_selector(".row")
    page.locator("text=Floor plan").click()
    page.wait_for_selector(".wall")
    assert page.locator(".wall text").all_text_contents() == [
        "kitchen",
        "bathroom",
        "living room",
    ]  # not in the plan: below
    page.locator(".controls input").focus()
    page.keyboard.press("ArrowRight")  # the slider's own key, not "next window"
    assert heading(page) == "session_1 · window 0"
    assert page.locator(".stop.now text").all_text_contents() == ["1"] and page.locator(
        ".dot.lit"
    ).all_inner_texts() == ["1"]
    assert "toilet contact OPENED" in page.locator(".said").inner_text()
    assert "truth: using bathroom" in page.locator(".said").inner_text()
    seconds = page.locator(".stop circle").first.evaluate("circle => getComputedStyle(circle).transitionDuration")
    assert (seconds == "0s") == (motion == "reduce")
    if motion == "reduce":
        return
    page.locator(".controls button").click()
    page.wait_for_selector(".stop.now:nth-of-type(n) >> text='3'")
    assert page.locator(".stop.past").count() == 3
    page.wait_for_selector("button:text('play')")
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "explorer-offline-floor.png")


@marked
def test_only_rows_in_view_are_in_the_page_and_it_works_at_900_pixels(show):
    bundle = small_bundle()
    bundle["windows"] = [dict(copy.deepcopy(bundle["windows"][n % 4]), i=n) for n in range(3000)]
    page, watch = show(bundle, width=900, height=700)
    page.wait_for_selector(".row")
    assert page.locator(".row").count() < 30 and page.locator(".count").inner_text() == "3,000 windows"
    page.locator(".windows").evaluate("list => list.scrollTop = 80 * 2000")
    page.wait_for_selector("[data-window='2001']")
    assert page.locator(".row").count() < 30
    page.locator("[data-window='2001']").click()
    assert heading(page) == "session_1 · window 2001"
    page.locator(".windows").evaluate("list => list.scrollTop = 0")
    page.keyboard.press("j")
    assert page.locator(".row.current").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and watch.trouble == []


@marked
def test_everything_is_reached_by_tab_and_focus_can_be_seen(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    reached = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.tagName + '.' + document.activeElement.classList[0],"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        if name.startswith("BODY"):
            break
        assert outline == "solid" or name.startswith(("SUMMARY", "INPUT")), name
        reached.add(name)
    for part in (
        "SELECT.undefined",
        "INPUT.undefined",
        "BUTTON.chip",
        "DIV.windows",
        "DIV.detail",
        "TR.event",
        "SPAN.cite",
        "SUMMARY.undefined",
    ):
        assert part in reached, part


@marked
def test_a_browser_that_cannot_unpack_says_so(show):
    page, _ = show(small_bundle(), init="delete window.DecompressionStream")
    alert = page.locator("[role=alert]").inner_text()
    assert "DecompressionStream" in alert and "Chrome 111" in alert


@marked
def test_without_scripts_the_page_says_why_it_is_empty(show):
    page, _ = show(small_bundle(), java_script_enabled=False)
    assert "allow scripts" in page.locator("noscript").inner_text()


def hostile(page, view):
    """Put all of a hostile bundle on the screen.

    ``view``: the explorer's root.
    """
    view.locator(".row").first.wait_for()
    view.locator(".row").first.click()
    view.locator(".from summary").click()
    for fold in ("Prompt: the parts", "Floor plan"):
        view.locator(f"summary:has-text('{fold}')").click()
    view.locator("article summary").first.click()
    view.locator(".wall").first.wait_for()
    for payload in PAYLOADS:
        view.locator(".prompts details").evaluate_all("all => all.slice(0, 4).forEach(one => { one.open = true })")
        view.locator(".prose .cite").first.focus()
        view.locator(".controls input").evaluate("x => { x.value = 1; x.dispatchEvent(new Event('input')) }")
        assert payload in view.locator(".prose").first.text_content()
        assert payload in view.locator("td .why").first.text_content()
        page.keyboard.press("Escape")
        view.locator(".detail").focus()
        page.keyboard.press("j")
    view.locator("input[type=search]").fill(PAYLOADS[5])
    assert page.evaluate("window.__pwned") is None
    unsafe = "script, img, iframe, object, embed, link, base, video, style, meta, template"
    assert view.locator(unsafe).count() == 0
    view.locator(".reset").click()


@marked
def test_no_payload_runs_or_calls_out(show):
    assert len(PAYLOADS) >= 30
    page, watch = show(hostile_bundle())
    hostile(page, page.locator(".llmhar-explorer"))
    assert page.title() == PAYLOADS[0] + PAYLOADS[1]
    assert [url for url in watch.requests if not url.startswith("file://")] == [] and watch.trouble == []
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "explorer-offline-hostile.png")


@marked
def test_the_policy_blocks_what_we_did_not_write_and_the_check_would_see_it(show):
    planted = "<script>window.__pwned=1</script><img src=http://attacker.example/x.png></body>"
    page, watch = show(small_bundle(), change=lambda html: html.replace("</body>", planted))
    page.wait_for_selector(".row")
    assert page.evaluate("window.__pwned") is None and any("Content Security Policy" in text for text in watch.trouble)
    without = lambda html: re.sub('<meta http-equiv="Content-S[^>]*>', "", html).replace("</body>", planted)  # noqa: E731
    page, watch = show(small_bundle(), change=without)
    page.wait_for_selector(".row")
    assert page.evaluate("window.__pwned") == 1 and "http://attacker.example/x.png" in watch.requests


def test_the_policy_names_the_very_script_and_style():
    page = explorer.offline_html(small_bundle())
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    for tag, kind in (("<style>", "style-src"), ('<script type="module">', "script-src")):
        text = page.partition(tag)[2].partition(f"</{tag[1:].partition(' ')[0].rstrip('>')}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert len(text) > 5000 and f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy


def test_hostile_text_cannot_leave_its_place_in_the_file():
    page = explorer.offline_html(hostile_bundle())
    assert (
        page.count("<script") == page.count("</script") == 2
        and "__pwned" not in page.replace("&lt;", "<").partition("</title>")[2]
    )
    assert "<title>&lt;script&gt;" in page


def test_the_script_writes_text_only():
    script = (explorer.STATIC / "explorer.js").read_text()
    style = (explorer.STATIC / "explorer.css").read_text()
    forbidden = (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        "setTimeout(\"", "DOMParser", "createContextualFragment", "srcdoc=", ".href", ".src ", "fetch(",
        "XMLHttpRequest", "WebSocket", "import(", "import ", "</script", "<!--", "localStorage", "cookie",
        "postMessage", "location",
    )  # fmt: skip
    assert [word for word in forbidden if word in script] == []
    assert not re.search(r"\.on\w+\s*=[^=>]", script), "no handler properties: addEventListener alone"
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg\")", script)
    assert "url(" not in style and "@import" not in style and "</style" not in style
    # attributes are set in one place, which refuses handlers and addresses; elsewhere names are literals
    assert re.findall(r"setAttribute\((?!\s*\")[^,]*", script) == ["setAttribute(name", "setAttribute(name"]
    assert re.findall(r"createElement(?:NS)?\((?:SVG, )?([^)]*)\)", script) == ["tag", "tag"]
    assert re.findall(r"\b(?:h|svg)\((?!\s*\"|tag)[^,]*", script) == []


@marked
def test_guess_mode_by_keys_hides_truth_and_models_until_a_choice(show):
    bundle = small_bundle()
    page, watch = show(bundle)
    page.wait_for_selector(".row")
    press = page.keyboard.press
    press("g")
    hidden = page.locator(".detail").inner_html()
    answers = {one["name"] for one in bundle["models"]}
    assert not any(name in hidden for name in answers) and "truth" not in hidden and "article" not in hidden
    assert all("not guessed yet" in text and "×" not in text for text in page.locator(".row").all_inner_texts())
    choices = page.locator(".choice").all_inner_texts()
    place = next(i for i, text in enumerate(choices) if "preparing drinks" in text)
    press(str(place + 1))
    assert page.locator(".told").inner_text().startswith("Right. Most events are: preparing drinks.")
    assert "Right of 1: you 1, teacher 1, base 1, student 1." in page.locator(".score").inner_text()
    assert page.locator("article").count() == 3 and page.locator("th.model").count() == 3
    press("j")  # the next window is hidden again; a wrong choice is told and counted
    assert page.locator("article").count() == 0
    wrong = next(i for i, text in enumerate(page.locator(".choice").all_inner_texts()) if "drinks" not in text)
    press(str(wrong + 1))
    assert page.locator(".told").inner_text().startswith("Not so.") and page.locator(".choice.wrong").count() == 1
    assert "Right of 2: you 1" in page.locator(".score").inner_text()
    press("k")
    assert page.locator(".choice[aria-pressed=true]").count() == 1 and page.locator("article").count() == 3
    page.locator("text=start over").click()
    assert page.locator("article").count() == 0 and "Right of" not in page.locator(".score").inner_text()
    press("g")
    assert page.locator("article").count() == 3 and page.locator(".guessing").count() == 0 and watch.trouble == []


@marked
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (860, 768)])
def test_nothing_is_clipped_in_a_cell_of_a_notebook(show, width, height):
    bundle = small_bundle()
    bundle["labels"] = [label.replace(" ", "_") + "_in_the_kitchen_or_elsewhere" for label in bundle["labels"]]
    for window in bundle["windows"]:
        window["s"] = "a_session_with_quite_a_long_name_for_a_list"
    page, _ = show(bundle, width=width, height=height)
    page.wait_for_selector(".row")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in (".llmhar-explorer", ".panes", ".detail", ".filters"):
        over = page.evaluate(f"(e => e.getBoundingClientRect().right - {width})(document.querySelector('{selector}'))")
        assert over <= 1, (selector, over)
    cut = "e => { const r = document.createRange(); r.selectNodeContents(e.querySelector('b').lastChild); "
    cut += "return r.getBoundingClientRect().right - e.querySelector('b').getBoundingClientRect().right }"
    assert page.locator(".row .who").first.evaluate(cut) <= 1, "the window's number is cut"
    share = "(e => e.querySelector('.timeline.held')?.offsetHeight / e.clientHeight || 0)"
    assert page.evaluate(f"{share}(document.querySelector('.detail'))") < 0.4
    broken = "e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.length > 3 && (r => (r.selectNodeContents(n),"
    broken += " r.getClientRects().length > 1))(document.createRange()))"
    marks = page.locator("td.answer").all()
    assert marks and not any(cell.evaluate(broken) for cell in marks), "a label is broken inside a word"


@marked
def test_labels_of_a_window_have_colours_of_their_own(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    keys = [one.get_attribute("class") for one in page.locator(".legend .key").all()]
    assert len(keys) > 1 and len(set(keys)) == len(keys)


@marked
def test_a_picture_for_people(show):
    page, _ = show(small_bundle())
    page.wait_for_selector(".row")
    page.keyboard.press("j")
    page.locator(".prose .cite").nth(1).hover()
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "explorer-offline.png")
    assert LABELS[3] in page.locator(".legend").inner_text()
