"""A report's page: the finding first, code and settings folded, parts that were not run one line, links resolve."""

import json
import re
from html import unescape

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from llmhar import paths
from llmhar.run import index, page
from llmhar.run.table_html import table_html
from llmhar.settings import notebook_names

RUN = {"notebook": "02_prompting", "profile": "smoke", "status": "ok", "cause": "", "seconds": 12.4, "trial": "",
       "commit": "0123456789abcdef+dirty", "params": {"n_windows": None, "models": ["rules"]}, "device": "cpu",
       "key_numbers": {"macro_f1_rules": 0.7, "macro_f1_m": 0.1, "windows": 24}, "datasets": ["home, all"],
       "kinds": ["LLM"], "engines": [], "table": None, "figure_alt": "Bars", "finished_utc": "2026-11-29T10:00",
       "scores": [{"model": name, "kind": kind, "macro_f1": mean, "macro_f1_low": mean, "macro_f1_high": mean,
                   "n_sessions": 6, "missed_pct": 0, "data": "home"}
                  for name, kind, mean in [("m", "LLM", 0.1), ("rules", "rules", 0.7)]],
       }  # fmt: skip
FINDING = "m, a language model, reaches macro F1 0.100 [0.100, 0.100]"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def result(**data):
    return new_output("execute_result", data={name.replace("_", "/"): value for name, value in data.items()})


@pytest.mark.parametrize(
    "words",
    ["not drawn anew in this profile", "nobody was taught", "nobody is taught in this profile", "no student here"],
)
def test_every_way_to_say_that_a_part_was_not_run_is_known(words):
    part = [new_markdown_cell("## A part\n\nWords."), code("x", result(text_plain=f"{words!r}"))]
    html = page.to_html(nbformat.v4.new_notebook(cells=part), "x")
    assert f"A part : {words}; where it has been run" in seen(html) and f"'{words}'" not in html


def test_a_part_that_was_not_run_still_says_what_the_record_showed():
    told = "**What the recorded study showed** (`reports/record/demo-full`; your run may differ):\n\n- 0.5 in 154 MB."
    of_figure = "**What the recorded demo showed in this figure**:\n\n- bars."
    part = [new_markdown_cell("## A part\n\nWords."), code("x", result(text_plain="'not run in this profile'")),
            new_markdown_cell(told), new_markdown_cell(of_figure)]  # fmt: skip
    text = seen(page.to_html(nbformat.v4.new_notebook(cells=part), "x"))
    assert "A part : not run in this profile; where it has been run" in text and "Words" not in text
    assert "0.5 in 154 MB" in text and "bars" not in text, "no figure, no words of it"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report and its index, made of made-up outputs."""
    table = table_html(pd.DataFrame({"macro F1": [0.5, float("nan")], "p_holm": [0.03, 0.0]}))
    picture = new_output("display_data", data={"image/png": PIXEL}, metadata={"image/png": {"alt": "Bars"}})
    cells = [
        new_markdown_cell("# Asking\n\nA question, as `04b_transfer` and `00_tour` put it in `02_prompting`, `n_x`: "
                          "`p_least`."),
        code('n_windows: int | None = 4  # windows drawn\nmodels: list[str] = []  # who answers', tags=["parameters"]),
        code("n_windows = None", tags=["injected-parameters"]),
        code("offered_profiles = 1", tags=["profile"]),
        code("secret_import_line = 1", new_output("stream", name="stderr", text="INFO: engine said this\n"),
             new_output("stream", name="stdout", text="found"),
             new_output("stream", name="stderr", text="INFO: and that")),
        new_markdown_cell("## What it costs"),
        code("tables.cost", result(text_plain="NaN", text_html=table)),
        code("bars", picture),
        new_markdown_cell("## Hostile names\n\nA long explanation that nobody needs here."),
        code("flips()", result(text_plain="'not run in this profile'")),
        code("none()", result(text_plain="x", text_html=table_html(pd.DataFrame()))),
        new_markdown_cell("## Doses"),
        code("doses()", result(text_plain="'not run in this profile'")),
        new_markdown_cell("## Last part"),
        code("half()", result(text_plain="'not run in this profile'"),
             new_output("stream", name="stdout", text="but this")),
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("page") / "smoke"
    notebook = nbformat.v4.new_notebook(cells=cells)
    for name in ("02_prompting", "00_tour", "03_scaling", "05_fusion/attempt"):
        run = RUN | {"notebook": name.partition("/")[0]}
        paths.write_text(folder / name / "report.html", page.to_html(notebook, "x", index.page_of(run)))
        paths.write_text(folder / name / "run.json", json.dumps(run | {"trial": ""}))
    paths.write_text(folder / "01_serialization@four" / "run.json", json.dumps(RUN | {
        "notebook": "01_serialization", "trial": "four"}))  # fmt: skip
    index.link_reports(folder)
    return folder / "02_prompting" / "report.html", index.write_index(folder)


def dead_links(pages):
    """Links of pages (file -> HTML) that lead to none of them, or to a place that is not on it."""
    dead = []
    for file, html in pages.items():
        for link in re.findall(r'href="([^"]+)"', html):
            name, _, place = unescape(link).partition("#")
            target = (file.parent / name).resolve() if name else file
            if target not in pages or (place and place not in ids_of(pages[target])):
                dead.append(link)
    return dead


def ids_of(html):
    return set(map(unescape, re.findall(r'\bid="([^"]+)"', html)))


def seen(html):
    """What is visible without unfolding anything, as text."""
    html = re.sub(r"<style.*?</style>|<head>.*?</head>", "", html, flags=re.DOTALL)
    while "<details" in html:
        html = re.sub(r"<details(?:(?!<details).)*?</details>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def unfit(html, notebook):
    """What a page shows without being unfolded although nobody should see it: NaN, and lines of the notebook's code."""
    text = unescape(seen(re.sub(r'src="data:[^"]*"', "", html)))
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    lines = {" ".join(line.split()) for source in cells for line in source.splitlines()}
    return sorted(line for line in lines if len(line) > 25 and line in text) + re.findall(r"\bnan\b", text, re.I)


def test_shown_code_and_nan_are_found():
    source = "table = tables.score_table(results).round(3)"
    notebook = nbformat.v4.new_notebook(cells=[code(f"import x\n{source}")])
    folded = f'<details>{source} NaN<details>nan</details></details><img src="data:image/png;base64,nan/nan">'
    assert unfit(f"<p>{folded}</p><p>banana</p>", notebook) == []
    assert unfit(f"<p>{source.replace(' ', '<b> </b>')}</p><td>NaN</td>", notebook) == [source, "NaN"]


def test_the_finding_comes_first_and_code_is_folded(report):
    text = seen(report[0].read_text())
    assert text.index(FINDING) < text.index("What it costs", text.index("A question,"))
    assert not [
        word for word in ("secret_import_line", "n_windows", "INFO", "NaN", "nan", "tables.cost") if word in text
    ]
    assert "offered_profiles" not in report[0].read_text()
    html = report[0].read_text()
    assert html.count("what libraries said") == 1 and html.index("INFO: and that") > html.index("found")
    assert "secret_import_line" in html and "commit: 0123456789 and changes" in text


def test_settings_stand_once_in_words(report):
    html = report[0].read_text()
    assert html.count("windows drawn") == 1 and "2 settings of this run" in html
    assert re.search(r"<th[^>]*>n windows</th><td>none</td><td>windows drawn</td>", html)
    assert re.search(r"<th[^>]*>models</th><td>rules</td>", html)


def test_what_was_not_run_is_one_line(report):
    text = seen(report[0].read_text())
    assert (
        "Hostile names ; Doses : not run in this profile; where it has been run" in text
        and "reports/record/results.md" in text
    )
    assert "nobody needs here" not in text and "'not run" not in text and "but this" in text and "no rows" not in text


def test_links_resolve(report):
    pages = {file: file.read_text() for file in [report[1], *report[1].parent.rglob("report.html")]}
    assert len(pages) == 5 and dead_links(pages) == []
    assert all(f'id="{name}"' in pages[report[1]] for name in notebook_names())
    planted = '<a href="../06_traces/report.html">x</a><a href="#gone">y</a>'
    assert dead_links(pages | {report[0]: planted}) == ["../06_traces/report.html", "#gone"]


def test_reports_are_linked_where_they_are_and_else_their_place_in_the_index(report):
    first, attempt = report[0].read_text(), report[1].parent / "05_fusion" / "attempt" / "report.html"
    for link in ('<a href="../00_tour/report.html"><code>00_tour</code></a>', '<a href="../03_scaling/report.html">',
                 '<a href="../index.html#04b_transfer"><code>04b_transfer</code></a>', "<code>02_prompting</code>,",
                 '<a href="../index.html#01_serialization">', '<a href="../index.html">',
                 "<code>n_x</code>"):  # fmt: skip
        assert link in first, link
    assert '<a href="../../00_tour/report.html"><code>' in attempt.read_text()
    (report[1].parent / "03_scaling" / "report.html").rename(report[1].parent / "kept")
    index.link_reports(report[1].parent)
    assert '<a href="../index.html#03_scaling">' in report[0].read_text()
    (report[1].parent / "kept").rename(report[1].parent / "03_scaling" / "report.html")
    index.link_reports(report[1].parent)
    assert report[0].read_text() == first


def test_prose_spells_its_terms_out(report):
    html = report[0].read_text()
    assert 'least p possible<a class="term" href="#word-least-p"' in html and "p_least" not in html
    assert "the smallest p that this many sessions can give" in html


def test_pictures_say_the_finding(report):
    html = report[0].read_text()
    (alt,) = re.findall(r'<img alt="([^"]*)"', html)
    assert alt.startswith(FINDING) and alt.endswith("Bars")
    before, finding, beside = html[: html.index("<img alt=")].rpartition('<p class="finding">')
    assert FINDING in finding + beside and "<summary>" not in beside, "the finding stands above its key figure"
    assert re.search(r'<div class="jp-RenderedImage[^>]*>\s*$', before), "inside its box: beside it is no room"


def test_a_finding_is_escaped_wherever_it_stands():
    hostile = RUN | {"scores": [RUN["scores"][0] | {"model": "<b>m</b>"}, RUN["scores"][1]]}
    picture = new_output("display_data", data={"image/png": PIXEL}, metadata={"image/png": {"alt": "Bars"}})
    notebook = nbformat.v4.new_notebook(cells=[code("bars", picture)])
    html = page.to_html(notebook, "x", index.page_of(hostile))
    assert html.count("&lt;b&gt;m&lt;/b&gt;") == 3 and "<b>m" not in html


def test_a_card_names_title_finding_time_and_commit(report):
    text = seen(report[1].read_text())
    for part in (FINDING, "Asking: the prompt", "ok in 12 s", "commit 0123456789 and changes", "0.700 macro F1, rules"):
        assert part in text
