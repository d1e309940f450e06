"""Reports in a real browser (Debian's chromium): they open offline, run nothing, fetch nothing, and show something."""

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pandas as pd
import pytest

from llmhar.run import jobs, report
from llmhar.run.table_html import table_html
from tests.tools import pictures

CHROMIUM = shutil.which("chromium")
OUTPUT = Path(__file__).parents[2] / "test-output"
# The explorer's payloads set a mark; here the mark is the title.
PAYLOADS = [
    line.replace("window.__pwned=1", "document.title='ran'")
    for line in (Path(__file__).parents[1] / "fixtures" / "payloads.txt").read_text(encoding="utf-8").splitlines()
    if line
]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--no-pings", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
# What chromium asks for on its own behalf at each start, whatever page is open (nothing leaves: no host resolves).
CHROMIUMS_OWN = (".googleapis.com", ".google.com")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
]


def browse(page, tmp_path, *flags):
    """Open a page; returns the DOM after loading and the addresses that were asked for."""
    log = tmp_path / "net.json"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    text = log.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")["events"]
    asked = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    asked = {url for url in asked if url.startswith(("http", "ws", "ftp"))}
    return done.stdout, {url for url in asked if not (urlsplit(url).hostname or "").endswith(CHROMIUMS_OWN)}


def colours(png):
    """Number of different bytes in a picture's raw data: a blank page has a handful."""
    data, place, packed = png.read_bytes(), 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    return len(set(zlib.decompress(packed)))


def attack_page(tmp_path):
    """A report whose outputs try to run scripts and to call out."""
    payloads = [
        "<script>document.title='ran'</script>",
        "<img src=x onerror=\"document.title='ran'\">",
        "<svg onload=\"document.title='ran'\"></svg>",
        "<iframe srcdoc=\"<script>parent.document.title='ran'</script>\"></iframe>",
        "<a href=\"javascript:document.title='ran'\" autofocus onfocus=\"document.title='ran'\">x</a>",
        '<img src="http://attacker.example/x.png"><link rel=stylesheet href=http://attacker.example/x.css>',
        '<div style="background:url(http://attacker.example/y.png)">x</div>',
        "<details open ontoggle=\"document.title='ran'\"><summary>x</summary></details>",
        '<meta http-equiv=refresh content="0;url=http://attacker.example/">',
        *PAYLOADS,
    ]
    cell = nbformat.v4.new_code_cell("x")
    for payload in payloads:
        cell.outputs += [
            nbformat.v4.new_output("display_data", data={kind: payload})
            for kind in ("text/html", "text/plain", "text/markdown", "image/svg+xml", "text/latex")
        ] + [nbformat.v4.new_output("stream", name="stdout", text=payload)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    page = tmp_path / "attack.html"
    page.write_text(report.to_html(notebook, "quiet title"))
    return page


def test_hostile_output_runs_nothing_and_calls_nobody(tmp_path):
    dom, asked = browse(attack_page(tmp_path), tmp_path, "--dump-dom")
    assert "<title>quiet title</title>" in dom
    assert asked == set()


def test_hostile_names_in_the_index_run_nothing(tmp_path):
    """Key numbers, tables, engines, data, causes: whatever run.json holds is text in the index."""
    assert len(PAYLOADS) >= 30
    all_of_them = " ".join(PAYLOADS)
    folder = tmp_path / "smoke"
    for number, payload in enumerate(PAYLOADS):
        run = {
            "notebook": payload, "status": "ok" if number % 2 else "failed", "seconds": 1.0, "cause": payload,
            "commit": payload, "device": payload, "params": {payload: payload}, "key_numbers": {payload: payload},
            "engines": [payload], "datasets": [payload], "kinds": [payload],
            "table": {"columns": [payload, all_of_them], "rows": [[payload, payload]]},
        }  # fmt: skip
        (folder / f"{number:02d}_x").mkdir(parents=True)
        (folder / f"{number:02d}_x" / "run.json").write_text(json.dumps(run), encoding="utf-8")
    page = report.write_index(folder)
    dom, asked = browse(page, tmp_path, "--dump-dom")
    assert "<title>ran</title>" not in dom and asked == set()
    assert "attacker.example" in dom  # the text itself is shown


def test_the_check_would_see_a_script_and_a_request(tmp_path):
    """A planted fault: without our page's policy both are seen."""
    page = tmp_path / "open.html"
    page.write_text("<title>a</title><script>document.title='ran'</script><img src=http://attacker.example/x.png>")
    dom, asked = browse(page, tmp_path, "--dump-dom")
    assert "<title>ran</title>" in dom and asked == {"http://attacker.example/x.png"}


@pytest.mark.timeout(300)
def test_the_index_and_a_report_open_offline_and_show_something(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMHAR_REPORTS", str(tmp_path / "reports"))
    runs = report.run_jobs(jobs.plan_jobs("smoke", ["02"], {}, Path.cwd()))
    assert runs[0]["status"] == "ok"
    OUTPUT.mkdir(exist_ok=True)
    for name in ("index.html", "02_prompting/report.html"):
        page = tmp_path / "reports" / "smoke" / name
        shot = OUTPUT / f"smoke-{page.parent.name}-{page.stem}.png"
        dom, asked = browse(page, tmp_path, "--dump-dom")
        assert asked == set() and "macro" in dom and "rules" in dom
        browse(page, tmp_path, f"--screenshot={shot}", "--window-size=1200,2400")
        assert colours(shot) > 50


def test_a_table_that_is_wider_than_its_page_is_named(tmp_path):
    from playwright.sync_api import sync_playwright

    def wider(n_columns):
        (table := pd.DataFrame({f"column {i}": range(3) for i in range(n_columns)})).index.name = "row"
        page = f"<style>div.told {{overflow-x: auto; width: 600px}}</style>{table_html(table)}<div class=told>no</div>"
        (tmp_path / "page.html").write_text(page)
        tab.goto((tmp_path / "page.html").as_uri())
        return tab.evaluate(pictures.WIDER)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        [words] = wider(40)
        assert words.startswith("row column 0 column 1") and wider(4) == []
        browser.close()
