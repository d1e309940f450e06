"""The one call by which a notebook says what it found: all arguments arrive; outside a notebook nothing is shown."""

import base64

import pandas as pd
import pytest
from matplotlib.figure import Figure

from llmhar.run import publish

NUMBERS = {"macro_f1": 0.123456789, "missing": float("nan"), "n": 3, "best": "rules"}


@pytest.fixture
def displayed(monkeypatch):
    """What a notebook's kernel would be given."""
    seen = []
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: seen.append(data))
    return seen


def test_everything_arrives(displayed):
    table = pd.DataFrame({"F1": [0.5, float("nan")] * 10})
    given = {"table": table, "figure": Figure(), "datasets": ["b", "a"], "kinds": ["rules"], "engines": ["x: y 1"]}
    publish.publish(NUMBERS, **given)
    (output,) = displayed
    payload = output[publish.MEDIA_TYPE]
    assert payload["key_numbers"] == NUMBERS | {"missing": None}
    assert payload["table"]["columns"] == ["index", "F1"] and payload["table"]["rows"][:2] == [[0, 0.5], [1, None]]
    assert len(payload["table"]["rows"]) == 12 and base64.b64decode(payload["figure_png"]).startswith(b"\x89PNG")
    assert (payload["datasets"], payload["kinds"], payload["engines"]) == (["a", "b"], ["rules"], ["x: y 1"])
    assert output["text/plain"] == "Published: macro_f1 = 0.1235, missing = None, n = 3, best = rules"


def test_outside_a_notebook_nothing_is_shown(capsys):
    payload = publish.publish(NUMBERS, kinds=["rules"])
    assert payload["key_numbers"] == NUMBERS | {"missing": None} and payload["kinds"] == ["rules"]
    assert capsys.readouterr().out == ""


def test_an_argument_of_no_name_is_an_error(displayed):
    with pytest.raises(TypeError, match="tabel"):
        publish.publish(NUMBERS, tabel=None)
    assert displayed == []
