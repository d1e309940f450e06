"""An activity keeps its colour on every page of its home, and labels of one window differ; read by node, not drawn."""

import json
import shutil
import subprocess

import pytest

from llmhar.traces import view

NODE = shutil.which("node")
N = 10
"""Colours that there are."""
HOME = [f"activity {i}" for i in range(14)]


def colours(windows, labels, activities=HOME):
    """Colour of each label, by name, in a page whose windows have these labels."""
    made = [{"e": [["", "", "", "", labels.index(name)] for name in own], "a": [], "s": "", "i": n, "d": 0, "h": 0,
             "p": 0} for n, own in enumerate(windows)]  # fmt: skip
    home = {"name": "h", "rooms": [], "plan": None} | ({"activities": activities} if activities else {})
    bundle = {
        "windows": made,
        "models": [],
        "labels": labels,
        "notes": [],
        "homes": [home],
        "datasets": [{"name": "d"}],
    }
    script = (view.STATIC / "explorer.js").read_text(encoding="utf-8")
    script += f"\nconsole.log(JSON.stringify(new Traces({json.dumps(bundle)}).colours));"
    done = subprocess.run([NODE, "--input-type=module"], input=script, capture_output=True, text=True, check=True)
    return dict(zip(labels, json.loads(done.stdout)))


@pytest.mark.skipif(NODE is None, reason="node is not here")
def test_an_activity_keeps_its_colour_and_a_window_has_each_once():
    first = colours([HOME[:3], HOME[2:9]], HOME[:9])
    other = colours([HOME[::-1][:10], [HOME[0], HOME[10]]], HOME[::-1])
    for name, place in zip(HOME[:N], range(N)):
        assert other[name] == place and first.get(name, place) == place
    late = [other[name] for name in HOME[::-1][:10]]
    assert len(set(late)) == 10, "activities of one window, the late ones among them, differ"
    assert other[HOME[10]] != other[HOME[0]], "the eleventh yields where both stand in a window"
    assert colours([[HOME[10]]], HOME[10:11])[HOME[10]] == 0, "and has its own colour elsewhere"


@pytest.mark.skipif(NODE is None, reason="node is not here")
def test_bundles_of_before_have_colours_too():
    found = colours([HOME[:6]], HOME[:6], activities=None)
    assert len(set(found.values())) == 6 and all(0 <= one < N for one in found.values())
