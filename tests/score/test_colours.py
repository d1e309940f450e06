"""One meaning a colour: a model keeps its own whoever stands beside it; figures and explorer have one palette."""

import ast
import itertools
import re
from pathlib import Path

import pytest
import seaborn as sns

from llmhar.score.figures import FIXED, PALETTE, colours_of

LIB = Path(__file__).parents[2] / "lib" / "llmhar"
FIRST = {place: name for name, place in reversed(FIXED.items()) if len(name) > 1}
"""Place of a colour -> the first model that has it; the others take it where that is not there."""
EXPLORER = LIB / "traces" / "static" / "explorer.css"


def test_the_palette_is_seaborns_and_the_explorers():
    assert list(PALETTE) == sns.color_palette("colorblind").as_hex()
    assert set(PALETTE) <= set(re.findall(r"#[0-9a-f]{6}", EXPLORER.read_text()))


def test_known_models_keep_their_colour_whoever_stands_beside_them():
    models = [name for name in FIXED if len(name) > 1]
    for n in (1, 2, 3):
        for names in itertools.islice(itertools.permutations([*models, "some new model"], n), 400):
            found = colours_of(names)
            assert list(found) == list(names) and len(set(found.values())) == n
            assert all(found[name] == PALETTE[FIXED[name]] for name in names if FIRST.get(FIXED.get(name)) == name)


def test_of_two_models_that_share_a_colour_the_first_has_it_on_every_page():
    both = colours_of(["llmhar-home-135m", "smollm2-135m-l16", "rules", "trees", "trees (truth)"])
    assert both["smollm2-135m-l16"] == PALETTE[9] != both["llmhar-home-135m"] and both["rules"] == PALETTE[0]
    assert both["trees (truth)"] == PALETTE[3] and len(set(both.values())) == 5
    for name in ("llmhar-home-135m", "llmhar-home-135m-int8"):
        assert colours_of([name, "rules", "majority class", "smollm2-135m"])[name] == PALETTE[9]


def test_other_names_have_a_colour_of_their_own_and_order_does_not_matter():
    names = [f"model {i}" for i in range(10)]
    assert len(set(colours_of(names).values())) == 10 and colours_of(names) == colours_of(names[::-1])
    uses = list(colours_of([f"m{i}" for i in range(25)]).values())
    assert {uses.count(colour) for colour in PALETTE} == {2, 3} and colours_of([]) == {}


def called_in(tree):
    """Functions that a piece of code calls by name."""
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("score/figures", "f1_by_session"), ("scaling/figures", "four_axes"), ("distill/figures", "loss_curve"),
        ("distill/figures", "students_bars"), ("distill/figures", "sessions_curve"), ("fusion/figures", "shapley_bars"),
        ("fusion/figures", "_draw_doses"), ("fusion/figures", "published_bars"), ("fusion/timeline", "draw_timeline"),
        ("fusion/figures", "capacity_curve"), ("scaling/figures", "scaling_curve"),
        ("distill/moving_figures", "homes_figure"), ("distill/moving_figures", "windows_curve"),
        ("distill/figures", "gateway_curve"), ("score/home_figures", "learning_figure"),
        ("score/home_figures", "kind_figure"), ("score/confidence_figures", "risk_coverage_curves"),
    ],
)  # fmt: skip
def test_figures_of_models_take_the_colours_of_their_names(module, function):
    tree = ast.parse((LIB / f"{module}.py").read_text(encoding="utf-8"))
    (drawn,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    assert "colours_of" in called_in(drawn) and "colours" not in called_in(drawn)
