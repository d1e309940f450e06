"""A user's own models: read beside the built-in ones, written without harm to what stands there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from llmhar import paths
from llmhar.ask.models import MODELS, ModelError, load_models
from llmhar.ask.own_models import add_model
from llmhar.cli import app

ENTRY = {"kind": "llm", "engine": "openai", "hub_id": "org/big", "revision": "api", "source": {"kind": "none"}}


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LLMHAR_MODELS", raising=False)
    monkeypatch.delenv("LLMHAR_OPENAI_BASE_URL", raising=False)
    return tmp_path / "home" / "models.yaml"


def add(*arguments: str, code: int = 0):
    done = CliRunner().invoke(app, ["models", "add", *arguments])
    assert done.exit_code == code or (code and done.exception), done.output
    return done


def test_a_missing_file_is_an_empty_one(own_file, monkeypatch, tmp_path):
    builtin = set(MODELS)
    assert not own_file.exists() and "mine" not in MODELS
    monkeypatch.setenv("LLMHAR_MODELS", str(tmp_path / "elsewhere.yaml"))
    assert set(MODELS) == builtin
    (tmp_path / "elsewhere.yaml").write_text("mine: {kind: llm, hub_id: a/b}\n")
    assert set(MODELS) == builtin | {"mine"} and MODELS["mine"].hub_id == "a/b"
    (tmp_path / "elsewhere.yaml").write_text("")
    assert set(MODELS) == builtin


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: {kind: llm}", r"rules: params/models.yaml has a model of this name; give yours another one"),
        ("mine: {kind: llm, colour: red}", r"mine\.colour: Extra inputs"),
        ("mine: {kind: llm, server: {address: 'https://u:p@x.org/v1'}}", r"mine\.server\.address: must hold no user"),
        ("mine: {kind: llm, server: {address: 'https://x.org/v1?key=abc'}}", r"must hold no user, password or \?key"),
        ("mine: {kind: llm, server: {address: 'x.org/v1'}}", r"mine\.server\.address: must be an http"),
        ("mine: {kind: llm, server: {key_variable: HOME}}", r"mine\.server\.key_variable"),
        ("mine: {kind: llm, prices: {input_usd: .inf, output_usd: 1, as_of: x}}", r"mine\.prices\.input_usd"),
        ("mine: {alias: nobody}", r"mine\.alias: 'nobody' is no model"),
        ("mine: {alias: [rules]}", r"mine\.alias: .* is no model"),
        ("mine: {alias: qwen-32b}", r"mine\.alias: 'qwen-32b' is no model with an entry of its own"),
        ("'a,b': {kind: llm}", r"'a,b': a name has at most"),
        ("'../x': {kind: llm}", r"'\.\./x': a name has at most"),
        ("4.1: {kind: llm}", "not a YAML mapping of models"),
        ("- mine", "not a YAML mapping of models"),
        ("mine: {kind: llm, source: {kind: pruned, parent: qwen3-tiny, layers: [0]}}", r"mine\.revision: must be"),
    ],
)
def test_what_is_wrong_in_it_names_the_file(own_file, text, words):
    own_file.parent.mkdir(parents=True)
    own_file.write_text(text)
    with pytest.raises(ModelError, match=words) as caught:
        MODELS["rules"]
    assert str(own_file) in str(caught.value) and "\n" not in str(caught.value)


def test_an_alias_is_the_same_model_of_a_server(own_file):
    own_file.parent.mkdir(parents=True)
    own_file.write_text("cloud: {alias: qwen3-8b, prices: {input_usd: 1, output_usd: 2, as_of: x}, hub_id: other/8b}\n")
    mine, theirs = MODELS["cloud"], MODELS["qwen3-8b"]
    same = {"n_params", "shape", "licence", "thinking", "sampling", "template_args", "max_context"}
    assert mine.model_dump(include=same) == theirs.model_dump(include=same)
    assert (mine.engine, mine.revision, mine.source.kind, mine.hub_id) == ("openai", "api", "none", "other/8b")
    assert mine.prices and MODELS["qwen-32b"].hub_id == MODELS["qwen3-32b"].hub_id


def test_adding_keeps_what_stands(own_file):
    add_model("first", ENTRY)
    by_hand = own_file.read_text() + "# by hand\nhand: {kind: llm, hub_id: h/h}  # why\n\n# of last\nlast:\n  kind: llm"
    own_file.write_text(by_hand)
    add_model("second", ENTRY)
    assert own_file.read_text().startswith(by_hand + "\nsecond:\n")
    with pytest.raises(ModelError, match=f"{own_file}: first stands there already; --replace"):
        add_model("first", {**ENTRY, "hub_id": "org/new"})
    before = own_file.read_text()
    add_model("first", {**ENTRY, "hub_id": "org/new"}, replace=True)
    assert own_file.read_text() == before.replace("org/big", "org/new", 1)
    add_model("hand", ENTRY, replace=True)
    add_model("last", ENTRY, replace=True)
    assert "# by hand\n" in own_file.read_text() and "\n# of last\nlast:\n" in own_file.read_text()
    assert [name for name in MODELS if name in load_models(own_file)] == ["first", "hand", "last", "second"]
    assert not [file.name for file in own_file.parent.iterdir() if "part" in file.name]


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("rules", ENTRY, "params/models.yaml has a model of this name"),
        ("a b", ENTRY, "a name has at most"),
        ("mine", {**ENTRY, "colour": "red"}, r"mine\.colour"),
        ("mine", {**ENTRY, "hub_id": "sk-canary-0123456789"}, "the value of MY_API_KEY is among these fields"),
    ],
)
def test_what_does_not_fit_is_not_written(own_file, monkeypatch, name, entry, words):
    monkeypatch.setenv("MY_API_KEY", "sk-canary-0123456789")
    with pytest.raises(ModelError, match=words):
        add_model(name, entry)
    assert not own_file.exists()


@pytest.mark.parametrize("text", ["{hand: {kind: llm}}\n", "hand: {kind: llm}\n...\n", "hand: {kind: robot}\n"])
def test_a_file_that_lines_cannot_be_added_to_is_left_alone(own_file, text):
    own_file.parent.mkdir(parents=True)
    own_file.write_text(text)
    said = r": hand\.kind: " if "robot" in text else " was left as it is.*enter by hand:\nmine:"
    with pytest.raises(ModelError, match=f"{own_file}{said}"):
        add_model("mine", ENTRY)
    assert own_file.read_text() == text


def test_the_command(own_file):
    done = add("mine", "--api", "--id", "org/m-1", "--price-in", "0.5", "--price-out", "2", "--max-context", "32000",
               "--address", "https://api.example.org/v1", "--key-variable", "EXAMPLE_API_KEY", "--thinking",
               "--max-tokens", "9000", "--at-once", "4", "--per-minute", "60", "--temperature", "1")  # fmt: skip
    assert (
        "sent to api.example.org, somebody else's server" in done.output and "read from EXAMPLE_API_KEY" in done.output
    )
    mine = MODELS["mine"]
    assert (mine.engine, mine.hub_id, mine.revision, mine.thinking) == ("openai", "org/m-1", "api", True)
    assert (mine.prices.input_usd, mine.prices.output_usd, mine.max_context) == (0.5, 2.0, 32000)
    assert mine.sampling["plain"] == {"temperature": 1.0} and mine.max_tokens == {"thinking": 9000, "plain": 9000}
    assert (mine.server.at_once, mine.server.requests_per_minute) == (4, 60.0)
    shown = json.loads(add("own", "--api", "--id", "x", "--address", "http://127.0.0.1:8000/v1", "--json").output)
    assert shown["path"] == str(own_file) and shown["key_variable"] == "LLMHAR_OPENAI_API_KEY"
    quiet = add("own", "--api", "--id", "x", "--address", "http://127.0.0.1:8000/v1", "--replace").output
    assert "somebody else" not in quiet and "no prices were given" in quiet
    for wrong in (["z"], ["z", "--api"], ["z", "--id", "x"], ["z", "--api", "--id", "x", "--price-in", "1"]):
        assert add(*wrong, code=2).exit_code == 2


def test_the_list(own_file):
    add("mine", "--api", "--id", "org/m-1")
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).output)}
    old = {"name", "kind", "n_params", "licence", "revision", "place"}
    assert all(set(row) >= old | {"engine", "size", "here", "bytes"} for row in rows.values())
    assert [(rows[name]["engine"], rows[name]["here"]) for name in ("mine", "rules", "qwen-32b")] == [
        ("openai", False), ("rules", True), ("openai", False)
    ]  # fmt: skip
    assert rows["qwen3-32b"]["size"] == "32.8B" and rows["smollm2-135m"]["size"] == "135M"
    shown = CliRunner().invoke(app, ["models", "list"]).output.splitlines()
    assert (
        shown[0].split() == ["name", "engine", "size", "here", "licence", "kind"] and shown[-1].split()[2] == "served"
    )


def test_what_is_wrong_ends_in_a_line(own_file):
    own_file.parent.mkdir(parents=True)
    own_file.write_text("rules: {kind: llm}")
    done = subprocess.run(
        [sys.executable, "-m", "llmhar.cli", "models", "list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(own_file) in done.stderr
    assert paths.own_models() == own_file
