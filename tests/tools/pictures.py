"""Makes the pictures of ``docs/pictures``: ``python -m tests.tools.pictures [PROFILE]``.

Run the profile first (``llmhar run smoke``). Pictured are the index, two screens of each report, the explorer,
JupyterLab with the tour and the traces (run live, with the profile's settings), and README as it renders: 1,280 wide,
the explorer also 1,024, all of them together at most 2 MB. Needs chromium; nothing is fetched.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

from llmhar import paths
from llmhar.run import explore
from tests.jupyterlab import jupyterlab

MAX_BYTES = 2_000_000
"""Of all pictures together: they live in the repository."""
IN_LAB = {"00_tour": ".jp-OutputArea-output img", "06_traces": ".jp-OutputArea-output h1"}
"""Notebook -> what is scrolled into sight once it has run."""
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}}
"""Of JupyterLab: cells out of sight are in the page, too."""
WIDER = """() => [...document.querySelectorAll("div.told, table, pre")]
  .filter(part => part.clientWidth && part.scrollWidth > part.clientWidth + 1
    && getComputedStyle(part).overflowX !== "visible")
  .map(part => part.innerText.trim().split(/\\s+/).slice(0, 12).join(" "))"""
"""What a page has to be scrolled sideways for, by its first words."""
STYLE = """body {font: 16px/1.5 sans-serif; max-width: 900px; margin: 2em auto} pre, code {background: #f3f4f6}
pre {padding: .8em; overflow: auto; font-size: 85%} table {border-collapse: collapse} td, th {border: 1px solid #d0d7de;
padding: .3em .8em} img {max-width: 49%} h1, h2 {border-bottom: 1px solid #d0d7de}"""


class Screen(NamedTuple):
    """A picture of a page."""

    name: str
    page: Path
    width: int = 1280
    height: int = 900
    keys: str = ""
    """Pressed before it is taken."""
    down: int = 0
    """Pixels scrolled down."""


def screens(profile: str, explorer: Path, readme: Path) -> Iterator[Screen]:
    """All pictures of files, in order."""
    folder = paths.reports() / profile
    yield Screen("index", folder / "index.html", height=1400)
    for page in sorted(folder.glob("[0-9]*_*/report.html")):
        if "@" not in page.parent.name:
            yield Screen(page.parent.name, page)
            yield Screen(f"{page.parent.name}-2", page, down=900)
    yield Screen("explorer-1280", explorer, height=800, keys="j")
    yield Screen("explorer-1024", explorer, 1024, 768, "j")
    yield Screen("explorer-guess", explorer, height=800, keys="g")
    yield Screen("readme", readme, height=1600)


def write_readme(target: Path, pictures: Path) -> None:
    """README as a page, tables as on the web; its pictures are those that are being made."""
    body = MarkdownIt("commonmark").enable("table").render((paths.root() / "README.md").read_text(encoding="utf-8"))
    body = body.replace('src="docs/pictures/', f'src="{pictures.as_uri()}/')
    base = f'<base href="{paths.root().as_uri()}/">'
    target.write_text(f'<!doctype html><meta charset="utf-8">{base}<style>{STYLE}</style>{body}', encoding="utf-8")


def take_in_lab(browser: Any, address: str, target: Path) -> Iterator[Path]:
    """Run each notebook of :data:`IN_LAB` in JupyterLab, and picture it."""
    for name, shown in IN_LAB.items():
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
        tab.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        tab.get_by_text("| Idle").wait_for(timeout=60_000)  # of the kernel
        tab.get_by_text("Run", exact=True).first.click()
        tab.get_by_text("Run All Cells", exact=True).first.click()
        tab.wait_for_function(
            "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].at(-1)?.textContent.match(/[0-9]/)",
            timeout=200_000,
        )
        tab.wait_for_timeout(3000)
        tab.locator(shown).first.scroll_into_view_if_needed()
        tab.wait_for_timeout(1000)
        file = target / f"lab-{name}.png"
        tab.screenshot(path=file)
        tab.close()
        yield file


def take(profile: str, target: Path) -> tuple[list[Path], list[str]]:
    """Take all pictures of a profile, in place of those that are there; returns their files, and what is wider than a
    page of 1,280 (:data:`WIDER`).

    Raises:
        SystemExit: no reports, no chromium, or pictures that are too large together.
    """
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None or not (paths.reports() / profile / "index.html").is_file():
        raise SystemExit(f"needs chromium and reports: llmhar run {profile}")
    taken, wider = [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        explorer, readme, made = Path(folder) / "explorer.html", Path(folder) / "readme.html", Path(folder) / "made"
        made.mkdir()
        explore.write_html(explore.settings_of(profile, {}, Path.cwd()), explorer)
        write_readme(readme, made)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for screen in screens(profile, explorer, readme):
            tab = browser.new_page(viewport={"width": screen.width, "height": screen.height})
            tab.goto(screen.page.resolve().as_uri())
            if screen.page == explorer:
                tab.wait_for_selector(".row")
            for key in screen.keys:
                tab.keyboard.press(key)
            if screen.down:
                tab.evaluate("down => window.scrollTo(0, down)", screen.down)
            taken.append(made / f"{screen.name}.png")
            tab.screenshot(path=taken[-1])
            if screen.width == 1280 and not screen.down and screen.page != readme:  # code scrolls on the web, too
                wider += [f"{screen.name}: {words}" for words in tab.evaluate(WIDER)]
            tab.close()
        work = Path(folder) / "work"
        shutil.copytree(paths.root() / "notebooks", work / "notebooks")
        with jupyterlab(Path(folder), work, {"LLMHAR_PROFILE": profile}, SETTINGS) as address:
            taken += take_in_lab(browser, address, made)
        browser.close()
        for file in taken:
            Image.open(file).convert("RGB").quantize(48).save(file, optimize=True)
        if (size := sum(file.stat().st_size for file in taken)) > MAX_BYTES:
            raise SystemExit(f"{size:,} bytes of pictures, more than {MAX_BYTES:,}")
        with paths.replacing_folder(target) as fresh:
            for file in taken:
                shutil.copyfile(file, fresh / file.name)
    return [target / file.name for file in taken], wider


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", nargs="?", default="smoke")
    parser.add_argument("--to", type=Path, default=paths.root() / "docs" / "pictures")
    given = parser.parse_args()
    files, wider = take(given.profile, given.to)
    for file in files:
        print(f"{file}: {file.stat().st_size:,} bytes")
    if wider:
        raise SystemExit("\n".join(["wider than the page:", *wider]))
