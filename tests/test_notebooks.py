"""Notebooks: in step with their reviewed source, clean, short-celled, with settings that fit. Fast: nothing runs."""

import ast
import re

import nbformat
import pytest

from llmhar import paths, settings
from llmhar.settings import notebook_names, parameters_of
from tests.tools.notebook_sync import SOURCES, TO_FILL_IN, class_target, derive, for_class, target

sources = sorted(SOURCES.glob("*.py"))


@pytest.fixture(params=sources, ids=lambda path: path.stem)
def source(request):
    return request.param


def test_every_source_has_a_notebook_and_the_other_way_round():
    assert [path.stem for path in sources] == notebook_names()
    assert len(sources) >= 3


def test_notebook_is_what_its_source_says(source):
    found = nbformat.read(target(source), as_version=4)
    wanted = derive(source)
    shape = lambda nb: [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in nb.cells]  # noqa: E731
    assert shape(found) == shape(wanted), "run `make notebooks`"


def test_notebook_is_clean(source):
    for cell in nbformat.read(target(source), as_version=4).cells:
        assert not cell.get("outputs"), "committed with outputs"
        assert cell.get("execution_count") is None


def test_the_class_gets_no_solutions(source):
    wanted = for_class(source)
    assert class_target(source).exists() == (wanted is not None)
    if wanted is None:
        return
    found = nbformat.read(class_target(source), as_version=4)
    assert [c.source for c in found.cells] == [c.source for c in wanted.cells], "run `make notebooks`"
    text = "\n".join(c.source for c in found.cells)
    for cell in derive(source).cells:
        if {"solution", "speaker"} & set(cell.metadata.get("tags", [])):
            assert cell.source not in text
    assert sum(c.source in TO_FILL_IN.values() for c in found.cells) >= 3


def test_code_cells_are_short_and_hold_no_logic(source):
    for cell in derive(source).cells:
        if cell.cell_type != "code" or "parameters" in cell.metadata.get("tags", []):
            continue
        assert len(cell.source.splitlines()) <= 20, cell.source
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While | ast.Try), (
                f"logic belongs in the library, where a test can import it: {ast.unparse(node)[:80]}"
            )


def test_no_cell_makes_html_or_markdown_by_hand(source):
    # Model text reaches HTML only through the library's auto-escaping templates.
    code = "\n".join(c.source for c in derive(source).cells if c.cell_type == "code")
    assert not re.search(r"\b(HTML|Markdown)\s*\(", code)
    assert "torch" not in code.replace("torch_in_kernel", "")


def test_every_code_cell_is_introduced(source):
    cells = derive(source).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert sum(c.cell_type == "markdown" for c in cells) * 3 >= sum(c.cell_type == "code" for c in cells)


def test_each_begins_with_what_one_needs_and_ends_with_what_was_seen_and_the_record(source):
    cells = derive(source).cells
    assert cells[-1].metadata["tags"] == ["record"] and "publish(" in cells[-1].source
    assert sum("publish(" in cell.source for cell in cells) == 1
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if source.stem != "07_lesson":  # a lesson has its own beginning and end
        assert text.count("## What you need to know") == text.count("**What you have seen:**") == 1
        assert "**Predict before you look:**" in text


def test_tables_are_written_our_way_from_the_first_on(source):
    """``publish`` brings the writer of tables: before it data frames look as pandas writes them."""
    own = [c for c in derive(source).cells if c.cell_type == "code" and not c.metadata.get("tags")]
    first = own[0].source
    assert "from llmhar.run.publish import publish" in first


def test_parameters_have_type_default_and_help(source):
    parameters = parameters_of(target(source))
    assert parameters
    for parameter in parameters.values():
        assert parameter.help and parameter.type_text


def sections_of(profile):
    return settings.read_profile(paths.profile_file(profile), notebook_names())


@pytest.mark.parametrize("profile", settings.PROFILES)
def test_profiles_fit_the_parameters(source, profile):
    overrides = sections_of(profile)[source.stem]
    settings.resolve(parameters_of(target(source)), overrides, {}, f"{profile}, {source.stem}")


@pytest.mark.parametrize("profile", settings.PROFILES)
def test_a_live_notebook_offers_the_profiles(source, profile, monkeypatch, capsys):
    (cell,) = [c for c in derive(source).cells if "profile" in c.metadata.get("tags", [])]
    monkeypatch.delenv("LLMHAR_HEADLESS", raising=False)
    overrides = sections_of(profile)[source.stem]
    values = settings.resolve(parameters_of(target(source)), overrides, {}, "")
    for text, named in ((cell.source, profile), (cell.source.replace("profile=None", f'profile="{profile}"'), "")):
        monkeypatch.setenv("LLMHAR_PROFILE", named)
        names: dict[str, object] = {}
        exec(text, names)
        assert {name: names[name] for name in values} == values
        said = capsys.readouterr().out
        assert said.startswith(f"Settings of profile {profile}: ") and all(name in said for name in overrides)


def test_settings_of_a_run_stand(source, monkeypatch):
    monkeypatch.setenv("LLMHAR_PROFILE", "demo")
    monkeypatch.setenv("LLMHAR_HEADLESS", "1")
    assert settings.live_settings(source.stem) == {}
    monkeypatch.delenv("LLMHAR_HEADLESS")
    monkeypatch.delenv("LLMHAR_PROFILE")
    assert settings.live_settings(source.stem) == {}
    with pytest.raises(settings.SettingsError, match="unknown profile 'demmo'; there are: smoke, demo"):
        settings.live_settings(source.stem, profile="demmo")


def test_profiles_name_known_models(source):
    from llmhar.ask.models import load_models

    for profile in settings.PROFILES:
        values = sections_of(profile)[source.stem]
        for name in [*values.get("models", []), *([values["tokenizer"]] if values.get("tokenizer") else [])]:
            assert name in load_models(), f"{profile}, section {source.stem}, names {name}"


def test_a_profile_has_a_section_for_every_notebook_in_their_order():
    assert sorted(path.stem for path in paths.profile_file("demo").parent.iterdir()) == sorted(settings.PROFILES)
    for profile in settings.PROFILES:
        assert list(sections_of(profile)) == notebook_names()
