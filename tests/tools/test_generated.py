"""Fewer examples only where nobody asked for all."""

import re
from pathlib import Path

import pytest

from tests import generated


@pytest.mark.parametrize(("said", "made"), [("", [100, 100, 100, 800]), ("1", [100, 300, 500, 4000])])
def test_all_examples_are_made_where_the_environment_says_so(monkeypatch, said, made):
    monkeypatch.setenv(generated.ALL, said)
    assert [generated.examples(n) for n in (100, 300, 500, 4000)] == made
    assert generated.examples(20) == 20


def test_make_test_slow_says_so():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(rf"^export {generated.ALL}=\$\(SLOW\)$", makefile, re.MULTILINE)
