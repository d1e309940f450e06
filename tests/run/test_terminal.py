"""What commands print: whole, aligned, and nothing in it that rich or a terminal would obey."""

import json

import pytest

from llmhar.run import terminal

HOSTILE = [
    "[bold red]x[/]",
    "[/nothing]",
    ":smile:",
    "\x1b]0;owned\x07\x1b[2J",
    "a\rb\bc",
    "\u202etxt.exe",
    "\udc80",
    "\x9b31m",
]
STEERING = {"\x1b", "\x07", "\r", "\b", "\u202e", "\udc80", "\x9b"}


def printed(capsys, rows, columns):
    terminal.print_table(rows, columns)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_and_not_obeyed(capsys, name):
    shown = printed(capsys, [{"name": name, name: 1}], ["name", name])
    terminal.print_line(name)
    terminal.print_line(name, to_stderr=True)
    both = capsys.readouterr()
    for text in (shown, both.out, both.err):
        assert not STEERING & set(text)
        wanted = "".join("\ufffd" if c in STEERING else c for c in name)
        assert wanted in text and text.endswith("\n")


def test_a_cell_stays_in_its_row_and_nothing_is_cut(capsys):
    rows = [{"what": "one\ntwo\tthree", "n": 7}, {"what": "x" * 5000, "n": 1000}, {"n": 12.5}]
    lines = printed(capsys, rows, ["what", "n"]).splitlines()
    assert len(lines) == 4 and lines[1].startswith("one two three ") and lines[2] == "x" * 5000 + "  1000"
    assert [line[5002:] for line in lines] == ["   n", "   7", "1000", "12.5"]
    assert printed(capsys, [], ["what"]) == "what\n"


def test_wide_letters_are_aligned(capsys):
    lines = printed(capsys, [{"a": "台所", "b": "x"}, {"a": "tea", "b": "y"}], ["a", "b"]).splitlines()
    assert lines == ["a     b", "台所  x", "tea   y"]


def test_json_is_one_document_of_the_very_text(capsys):
    terminal.print_json({"name": HOSTILE[0] + HOSTILE[3], "letter": "ü"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": HOSTILE[0] + HOSTILE[3], "letter": "ü"} and "ü" in out and out.count("\n") == 1
    with pytest.raises(ValueError):
        terminal.print_json(float("nan"))
