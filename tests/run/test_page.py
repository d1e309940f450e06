"""A report's page: the finding first, code and settings folded, parts that were not run one line, links resolve."""

import json
import re

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


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report and its index, made of made-up outputs."""
    table = table_html(pd.DataFrame({"macro F1": [0.5, float("nan")], "p_holm": [0.03, 0.0]}))
    picture = new_output("display_data", data={"image/png": PIXEL}, metadata={"image/png": {"alt": "Bars"}})
    cells = [
        new_markdown_cell("# Asking\n\nA question."),
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
    paths.write_text(folder / "02_prompting" / "run.json", json.dumps(RUN))
    notebook = nbformat.v4.new_notebook(cells=cells)
    paths.write_text(folder / "02_prompting" / "report.html", page.to_html(notebook, "x", index.page_of(RUN)))
    return folder / "02_prompting" / "report.html", index.write_index(folder)


def seen(html):
    """What is visible without unfolding anything, as text."""
    html = re.sub(r"<style.*?</style>|<head>.*?</head>", "", html, flags=re.DOTALL)
    while "<details" in html:
        html = re.sub(r"<details(?:(?!<details).)*?</details>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_finding_comes_first_and_code_is_folded(report):
    text = seen(report[0].read_text())
    assert text.index(FINDING) < text.index("What it costs", text.index("A question."))
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
    pages = {file: file.read_text() for file in report}
    for file, html in pages.items():
        for link in re.findall(r'href="([^"]+)"', html):
            name, _, place = link.partition("#")
            target = (file.parent / name).resolve() if name else file
            assert target in pages, link
            assert not place or f'id="{place}"' in pages[target], link
    assert all(f'id="{name}"' in pages[report[1]] for name in notebook_names())


def test_pictures_say_the_finding(report):
    (alt,) = re.findall(r'<img alt="([^"]*)"', report[0].read_text())
    assert alt.startswith(FINDING) and alt.endswith("Bars")


def test_a_card_names_title_finding_time_and_commit(report):
    text = seen(report[1].read_text())
    for part in (FINDING, "Asking: the prompt", "ok in 12 s", "commit 0123456789 and changes", "0.700 macro F1, rules"):
        assert part in text
