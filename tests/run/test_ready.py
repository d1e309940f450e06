"""What is not here is refused before any kernel, engine or report file is touched."""

from pathlib import Path

import pytest

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.engines import registry
from llmhar.ask.engines.addresses import KEY_VARIABLES, URL_VARIABLE
from llmhar.ask.inference import open_model
from llmhar.ask.models import MODELS
from llmhar.ask.store import Ask, Store
from llmhar.records import Fingerprint, Generation, Request
from llmhar.run import jobs, ready
from llmhar.settings import SettingsError
from tests.command import call


@pytest.fixture(autouse=True)
def empty_places(tmp_path, monkeypatch):
    """No data, no weights, no store, no server."""
    for name in ("HOME", "DATA", "CACHE", "REPORTS"):
        monkeypatch.setenv(f"LLMHAR_{name}", str(tmp_path / name.lower()))
    for name in (URL_VARIABLE, *KEY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("dataset=mural", "MuRAL is not at "),
        ("data_dir=/nonexistent", "data_dir: nothing is at /nonexistent; check the path"),
        ("models=qwen3-32b", "run: llmhar models fetch qwen3-32b"),
    ],
)
def test_a_run_that_could_not_succeed_is_refused_and_the_last_report_stands(empty_places, option, sentence):
    folder = empty_places / "reports" / "demo"
    for name in ("index.html", "02_prompting/run.json", "02_prompting/report.html"):
        paths.write_text(folder / name, "the last good one")
    before = contents(empty_places)
    done = call("run", "demo", "02", "-p", option)
    assert done.returncode == 1 and "nothing was started" in done.stderr and sentence in done.stderr
    assert "Traceback" not in done.stderr and contents(empty_places) == before


def problems(notebook, *, cwd=None, profile="smoke", **options):
    planned = jobs.plan_jobs(profile, [notebook], options, cwd or Path.cwd())
    try:
        ready.refuse_if_not_ready(planned)
    except ready.NotReady as error:
        return str(error).splitlines()[1:]
    return []


def test_the_smoke_profile_needs_nothing():
    assert all(problems(name) == [] for name in jobs.notebook_names())


def test_everything_that_is_missing_is_named_at_once():
    said = problems("02", profile="paper")
    assert len(said) == 7 and said[0].startswith("02_prompting: MuRAL is not at")
    assert [line.split()[-1] for line in said[1:]] == [name for name in MODELS if name.startswith("qwen3-")][1:7]


def test_a_folder_is_read_as_a_shell_would(empty_places, monkeypatch):
    monkeypatch.setenv("HOME", str(empty_places))
    (empty_places / "here").mkdir()
    assert problems("02", data_dir="~/here") == [] and problems("02", data_dir="here", cwd=empty_places) == []
    assert problems("02", data_dir="here") == [f"02_prompting: data_dir: nothing is at {Path.cwd() / 'here'}; "
                                              "check the path"]  # fmt: skip
    (job,) = jobs.plan_jobs("smoke", ["02"], {"data_dir": "~/here"}, Path.cwd())
    assert job.spec.params["data_dir"] == str(empty_places / "here")
    assert "nothing is at" in problems("05", data_dir="~/there")[0]


def test_data_that_a_notebook_can_do_without_are_not_asked_for():
    assert problems("04b", if_here="uci_adl:home=A", test_on="marble") == []
    assert "UCI ADL" in problems("04b", datasets="uci_adl:home=A")[0]
    assert "Clips of a manifest" in problems("05", clipset="manifest")[0]


def test_a_server_needs_no_weights_but_an_address(monkeypatch):
    assert problems("02", models="qwen3-32b", engine="openai") == [
        f"02_prompting: qwen3-32b: engine openai cannot start: set {KEY_VARIABLES[0]} to your key, or {URL_VARIABLE} "
        "to a server of your own"
    ]
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9/v1")
    assert problems("02", models="qwen3-32b,gemini-2.5-pro", engine="openai") == []
    assert problems("02", models="qwen-32b") == []
    assert problems("02", models="qwen3-32b,smollm2-135m", engine="openai") == [
        f"02_prompting: smollm2-135m is not in {paths.cache()}; run: llmhar models fetch smollm2-135m"
    ], "made here: no server has it"
    assert "tokenizer: qwen-32b has none here" in problems("02", models="rules", tokenizer="qwen-32b")[0]
    assert "models fetch qwen3-0.6b" in problems("04", students="qwen3-0.6b", engine="openai")[0]


def test_a_limit_of_dollars_needs_prices(monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("LLMHAR_MAX_USD", "2")
    assert problems("02", models="gemini-2.5-pro") == [] and problems("02", models="rules") == []
    assert "qwen3-32b has no prices, so --max-usd cannot hold" in problems("02", profile="api")[0]
    monkeypatch.delenv("LLMHAR_MAX_USD")
    assert problems("02", profile="api") == []


def test_what_was_answered_before_can_be_shown_without_an_engine(monkeypatch):
    request = Request("qwen-32b", "api", "", ({"role": "user", "content": "?"},))
    with Store() as store:
        store.note_asks([Ask("d", "s", 0, "qwen-32b", request)])
        assert len(problems("02", models="qwen-32b")) == 1
        store.add(Generation(request.key, "[]", "stop"), Fingerprint("openai", "1", "", "x"))
    assert problems("02", models="qwen-32b") == [] and len(problems("02", models="gemini-2.5-pro")) == 1


@pytest.mark.parametrize("engine", ["vllm", "transformers", "auto", "onnx", "ray"])
def test_an_engine_whose_package_is_not_installed(monkeypatch, engine):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    said = registry.cannot_start(engine, MODELS["smollm2-135m"])
    assert said.endswith("is not installed") and "\n" not in said
    assert registry.cannot_start("rules", MODELS["rules"]) == ""


def test_names_of_trials():
    assert jobs.plan_jobs("smoke", ["02"], {}, Path.cwd(), "a-1.b")[0].folder.name == "02_prompting@a-1.b"
    for name in ("../x", ".hidden", "a/b", "x" * 41, "two words"):
        with pytest.raises(SettingsError, match="--name"):
            jobs.plan_jobs("smoke", ["02"], {}, Path.cwd(), name)


class _Asked(Exception):
    """What an engine would be borrowed for."""


@pytest.mark.parametrize(
    ("profile", "notebook", "options", "model"),
    [
        ("demo", "00", {}, "llmhar-home-135m-int8"),
        ("demo", "03", {"engine": "onnx"}, "smollm2-135m"),
        ("smoke", "00", {}, None),
        ("demo", "02", {"models": "rules", "engine": "openai"}, None),
        ("demo", "04", {}, None),
    ],
)
def test_the_engine_that_starts_ahead_is_the_one_that_is_asked_first(
    empty_places, monkeypatch, profile, notebook, options, model
):
    def borrow(terms):
        raise _Asked(terms)

    (job,) = jobs.plan_jobs(profile, [notebook], options, Path.cwd())
    monkeypatch.setattr(registry.kept, "borrow", borrow)
    if model:
        assert ready.first_engine(job) is None, "its weights are not here"
        monkeypatch.setattr(type(MODELS[model]), "locate", lambda self: empty_places / self.name)
        given = job.spec.params
        cards = {"tensor_parallel_size": given["n_gpus"]} if "n_gpus" in given else {}
        with pytest.raises(_Asked) as asked:
            open_model(MODELS[model], Asking(engine=given["engine"], engine_options=cards))
        (terms,) = asked.value.args
        assert terms == ready.first_engine(job) and terms["config"]["model"].endswith(f"/{model}")
    else:
        assert ready.first_engine(job) is None
