"""One way of writing tables: no NaN, whole counts, intervals in their bounds, terms in words, nothing cut."""

import re

import numpy as np
import pandas as pd
import pytest

from llmhar.run import table_html
from llmhar.run.page import glossary
from llmhar.run.table_html import cell_text, number_text, size_text


def texts(table):
    """Header cells and rows of cells, as they are read."""
    page = table_html.table_html(table)
    cells = re.findall(r"<(t[hd])(|\s[^>]*)>(.*?)</t[hd]>", page)
    heads = [re.sub(r"<a .*", "", text) for _, attributes, text in cells if 'scope="col"' in attributes]
    values = [text for _, attributes, text in cells if 'scope="col"' not in attributes]
    return heads, [values[i : i + len(heads)] for i in range(0, len(values), len(heads))], page


def test_a_table_of_scores_is_written_for_people():
    table = pd.DataFrame(
        {"model": ["a", "b"], "kind": ["LLM", "LLM"], "macro F1": [0.61234, 0.0], "95 % low": [0.5, -0.04],
         "95 % high": [1.2, np.nan], "sessions": [6, 6], "events": [8961.0, np.nan], "n_params": [134_515_008, 17e8],
         "p_holm": [0.0, 0.03125]}
    ).set_index("model")  # fmt: skip
    heads, rows, page = texts(table)
    assert heads == ["model", "macro F1", "95 % interval", "events", "parameters", "p, corrected (Holm)"]
    assert rows == [["a", "0.612", "[0.500, 1]", "8,961", "135M", "&lt; 0.001"], ["b", "0", "–", "–", "1.7B", "0.031"]]
    assert "In every row: kind LLM; sessions 6." in page and "–: not measured" in page
    assert page.count('scope="row"') == 2 and "nan" not in page.lower()


def test_a_gap_keeps_its_sign_and_a_percentage_ends_at_100():
    table = pd.DataFrame(
        {"gap": [-0.31], "low": [-0.4], "high": [0.02], "F1 %": [99.0], "F1 % low": [97], "F1 % high": [104]}
    )
    heads, rows, _ = texts(table)
    assert heads == ["gap", "95 % interval", "F1 %", "F1 %: 95 % interval"]
    assert rows == [["-0.310", "[-0.400, 0.020]", "99", "[97, 100]"]]


@pytest.mark.parametrize("n", [1, table_html.ROWS, table_html.ROWS + table_html.FEW, table_html.ROWS + 4, 200])
def test_nothing_is_cut(n):
    long = "word " * 60
    page = table_html.table_html(pd.DataFrame({"i": range(n), "text": [f"{i} {long}end{i}." for i in range(n)]}))
    assert all(f"end{i}." in page for i in range(n))
    assert (
        page.count("<details>") == (n > table_html.ROWS + table_html.FEW) and "rows ×" not in page and "..." not in page
    )


def test_levels_of_names_are_joined_and_hostile_texts_escaped():
    columns = pd.MultiIndex.from_tuples([("<b>rules", 0), ("vote", "")])
    index = pd.MultiIndex.from_tuples([("x", "<script>"), ("y", "z")], names=["a", "b"])
    heads, rows, page = texts(pd.DataFrame([[1, True], [None, False]], index=index, columns=columns))
    assert heads == ["a", "b", "&lt;b&gt;rules · 0", "vote"]
    assert rows == [["x", "&lt;script&gt;", "1", "yes"], ["y", "z", "–", "no"]] and "<script" not in page


def test_results_are_no_caption():
    """What says the same in every row stays a column where it is a result."""
    same = {"verdict": ["not shown"] * 2, "score": ["0.5 [0.1, 0.9]"] * 2, "data": ["home"] * 2}
    table = pd.DataFrame({"model": ["a", "b"]} | same | {"x": [1, 2], "y": [3, 4]})
    heads, _, page = texts(table)
    assert heads == ["model", "verdict", "score", "x", "y"] and "In every row: data home." in page


def test_empty_tables_say_so():
    assert "no rows" in table_html.table_html(pd.DataFrame())
    assert "no rows" in table_html.table_html(pd.DataFrame({"a": []}))


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.68583, "0.686"), (0.5, "0.500"), (0.0, "0"), (1.0, "1"), (-0.25, "-0.250"), (14.32, "14.3"), (1234.5, "1,234"),
     (8961, "8,961"), (0.00012345, "0.000123"), (100.0, "100"), (2.4438, "2.44")],
)  # fmt: skip
def test_numbers(number, text):
    assert number_text(number) == text


def test_sizes_and_odd_cells():
    assert [size_text(n) for n in (134_515_008, 1.7e9, 32.8e9, 900, 4.6e3)] == ["135M", "1.7B", "32.8B", "900", "4.6k"]
    odd = [None, float("nan"), np.float64("nan"), pd.NaT, "", "nan", np.int64(3), np.bool_(True), [1, None], "a\nb"]
    said = [cell_text("x", value) for value in odd]
    assert said == ["–", "–", "–", "–", "–", "–", "3", "yes", "1, –", "a b"]


def test_each_term_of_a_table_stands_in_the_glossary():
    there = {table_html.anchor(word) for word in glossary()}
    assert {term for _, term in table_html.TERMS.values() if term and table_html.anchor(term) not in there} == set()


def test_whose_p_it_is_stands_before_the_term():
    table = pd.DataFrame({"against trees, p_least": [0.03125], "against my_model, p_holm": [0.0], "of it, n": [3]})
    heads, rows, page = texts(table)
    assert heads == ["against trees, least p possible", "against my model, p, corrected (Holm)", "of it, n"]
    assert rows == [["0.031", "&lt; 0.001", "3"]] and 'href="#word-least-p"' in page and 'href="#word-holm"' in page


def test_long_revisions_break_behind_their_plus_and_stay_hostile_text():
    page = table_html.table_html(pd.DataFrame({"revision": ["bcc81830+merged:<b>x</b>+l8", "b"]}))
    assert "<td>bcc81830+<wbr>merged:&lt;b&gt;x&lt;/b&gt;+<wbr>l8</td>" in page
