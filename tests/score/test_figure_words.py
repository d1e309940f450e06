"""Figures say their main result in words: ranked, without NaN, uncut; each figure of the library gives one."""

import ast
import math
from pathlib import Path

from llmhar.score.figures import ranked

LIB = Path(__file__).parents[2] / "lib" / "llmhar"
TITLED = {"prompt_parts", "confusion_map", "draw_way", "draw_timeline"}
"""Figures whose title is their result."""


def silent(tree):
    """Functions of a module that stamp a figure and give it no result."""
    found = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        stamps = [call for call in calls if call.func.id in ("stamp", "stamp_wrapped")]
        found |= {function.name for call in stamps if len(call.args) < 3}
    return found


def test_each_figure_gives_its_main_result():
    modules = [*LIB.glob("*/*figure*.py"), LIB / "fusion" / "timeline.py"]
    found = {name for path in modules for name in silent(ast.parse(path.read_text(encoding="utf-8")))}
    assert found == TITLED
    planted = "def bars():\n    return stamp(figure, text)\ndef told():\n    return stamp_wrapped(figure, text, result)"
    assert silent(ast.parse(planted)) == {"bars"}


def test_a_result_is_ranked_and_holds_no_nan():
    assert ranked("F1", {"a": 0.25, "b": math.nan, "c": 0.5}) == "F1: c 0.5; a 0.25"
    assert ranked("n", {"a": 1234.4, "b": 0.12345}) == "n: a 1234; b 0.123" and ranked("F1", {"b": math.nan}) == ""
