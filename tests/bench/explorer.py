"""The explorer's offline file with 10,000 traces, in chromium: ``python -m tests.bench.explorer``.

Exit code 1 if a figure is missed. Figures: issue "Explorer", must show 3. Times end when the frame is on the screen.
Starts are fresh browsers and file reads; judged is the best of them (as in ``speed.py``: timings on shared cores are
noisy, and the claim is about the code), of everything else the median. Best, median and worst are all printed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.traces.view import write_offline
from tests.bench.made_up_traces import made_up_bundle
from tests.bench.verdicts import Claim, at_least, at_most, not_measured

N_TRACES = 10_000
N_STARTS = 5
SEARCHES = ("kettle", "kett", "kitchen", "on the", "zzz", "event 3", "")
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
# Time from an action until the next frame is on the screen: two animation frames, then the task after the second.
PAINTED = """async ([kind, value]) => {
  const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))));
  await painted();
  const start = performance.now();
  if (kind === "key") document.body.dispatchEvent(new KeyboardEvent("keydown", { key: value, bubbles: true }));
  if (kind === "text") {
    const field = document.querySelector("input[type=search]");
    field.value = value;
    field.dispatchEvent(new Event("input"));
  }
  if (kind === "click") document.querySelector(value).click();
  await painted();
  return performance.now() - start;
}"""


class Row(NamedTuple):
    """One figure and what was measured."""

    what: str
    unit: str
    figure: float
    """At most."""
    judged: str
    """"best" (fresh starts) or "median"."""
    values: list[float]

    @property
    def value(self) -> float:
        """What is judged."""
        return min(self.values) if self.judged == "best" else statistics.median(self.values)


class Found(NamedTuple):
    """A whole measurement."""

    n_traces: int
    n_windows: int
    characters: float
    """Of a trace, reasoning and answer."""
    seconds: float
    """Until the file was written."""
    rows: list[Row]


def measure(page_file: Path, n_starts: int = N_STARTS) -> list[Row]:
    """Times in the browser."""
    from playwright.sync_api import sync_playwright

    paints, shown = [], []
    with sync_playwright() as playwright:
        for start in range(n_starts):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(page_file.as_uri())
            page.wait_for_selector(".row")
            page.wait_for_timeout(500)
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            shown.append(page.evaluate("performance.getEntriesByName('llmhar-shown')[0].startTime"))
            if start < n_starts - 1:
                browser.close()
        steps = [page.evaluate(PAINTED, ["key", key]) for key in "jjjjjjjjjjkkkkkddddd"]
        searched = [page.evaluate(PAINTED, ["text", text]) for text in SEARCHES]
        chips = [f".quick.{name}" for name in ("broke", "wrong", "disagree") for _ in range(2)]  # on and off
        chosen = [page.evaluate(PAINTED, ["click", chip]) for chip in chips if page.locator(chip).count()]
        assert page.locator(".row").count() < 40, "the list is not virtual"
        browser.close()
    return [
        Row("first paint", "ms", 2000, "best", paints),
        Row("list and first window on screen", "ms", 2000, "best", shown),
        Row("next window, previous, next disagreement", "ms", 200, "median", steps),
        Row("search of all texts", "ms", 200, "median", searched),
        Row("quick filters on and off", "ms", 200, "median", chosen),
    ]


def measure_all(n_starts: int = N_STARTS) -> Found:
    """Write the file and open it."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "traces.html")
        bundle: dict[str, Any] = made_up_bundle(N_TRACES)
        traces = [trace for window in bundle["windows"] for trace in window["a"] if trace is not None]
        characters = sum(len(trace["r"]) + len(trace["x"]) for trace in traces) / max(1, len(traces))
        start = time.perf_counter()
        size = write_offline(bundle, file) / 1e6
        seconds = time.perf_counter() - start
        rows = [Row("file size", "MB", 10, "best", [size]), *measure(file, n_starts)]
    return Found(len(traces), len(bundle["windows"]), characters, seconds, rows)


def claims(*, quick: bool = False) -> list[Claim]:
    """The offline file in a browser; ``quick``: two fresh starts instead of five."""
    if shutil.which("chromium") is None:
        why = "no chromium on this machine (Debian: apt-get install chromium)"
        return [not_measured("10,000 traces in a browser: first paint", "≤ 2,000 ms", why),
                not_measured("10,000 traces in a browser: next window", "≤ 200 ms", why)]  # fmt: skip
    found = measure_all(2 if quick else N_STARTS)
    what = f"{found.characters:,.0f} characters a trace, written in {found.seconds:.1f} s"
    made = [at_least("traces in the file", N_TRACES, found.n_traces, why=what)]
    for row in found.rows:
        spread = f"{row.judged} of {len(row.values)}: {min(row.values):,.4g} to {max(row.values):,.4g} {row.unit}"
        made.append(at_most(f"10,000 traces in a browser: {row.what}", row.figure, row.value, row.unit, why=spread))
    return made


def main() -> int:
    """Print the table."""
    if shutil.which("chromium") is None:
        print("no chromium on this machine (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    found = measure_all()
    print(f"{found.n_traces:,} traces in {found.n_windows:,} windows, {found.characters:,.0f} characters of text each;")
    print(f"written in {found.seconds:.1f} s; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} threads")
    print("\n| what | figure, at most | best | median | worst | verdict |\n|---|---:|---:|---:|---:|---|")
    missed = found.n_traces < N_TRACES
    for row in found.rows:
        best, middle, worst = min(row.values), statistics.median(row.values), max(row.values)
        missed |= row.value > row.figure
        verdict = "met" if row.value <= row.figure else "missed"
        name = f"{row.what}, {row.unit}"
        print(f"| {name} | {row.figure:,.0f} | {best:,.1f} | {middle:,.1f} | {worst:,.1f} | {verdict} |")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
