"""``llmhar models``: list them, fetch weights into the cache, enter one that a server answers for."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from llmhar.run.commands.shared import Json
from llmhar.run.terminal import print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Models: list them, fetch weights, add your own.")


@app.command("list")
def models_list(as_json: Json = False) -> None:
    """Say which models there are, which engine answers for each, and which are here."""
    from llmhar.ask.models import NO_ADAPTER, listing

    rows = listing()
    if as_json:
        return print_json(rows)
    words = {True: "yes", False: "no"}
    shown = [row | {"here": "served" if row["engine"] == "openai" else words[row["here"]]} for row in rows]
    shown = [row | {"here": "no adapter"} if row["place"] == NO_ADAPTER else row for row in shown]
    print_table(shown, ["name", "engine", "size", "here", "licence", "kind"])


@app.command("fetch")
def models_fetch(names: list[str], as_json: Json = False) -> None:
    """Bring models into the cache: downloads are checked by sha256, weights become safetensors."""
    from llmhar.ask.model_files import fetch
    from llmhar.ask.models import MODELS, ModelError

    places, failed = dict[str, str](), list[str]()
    for name in [MODELS[name].name for name in names]:  # an unknown one stops it before any work
        try:
            places[name] = str(fetch(name))
        except ModelError as error:  # the others are fetched all the same
            failed.append(str(error))
        else:
            if not as_json:
                print_line(f"{name}: {places[name]}")
    if as_json:
        print_json(places)
    if failed:
        raise ModelError("\n".join(failed))


@app.command("add")
def models_add(  # noqa: PLR0913 - options of a command
    name: str,
    api: Annotated[bool, typer.Option("--api", help="A server with an OpenAI-compatible API answers for it.")] = False,
    model_id: Annotated[str, typer.Option("--id", help="What the server calls it.")] = "",
    address: Annotated[str, typer.Option(help="Base URL; default LLMHAR_OPENAI_BASE_URL, else OpenAI's.")] = "",
    key_variable: Annotated[str, typer.Option(help="Variable with its key; default LLMHAR_OPENAI_API_KEY.")] = "",
    price_in: Annotated[float | None, typer.Option(min=0, help="USD per million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="USD per million generated tokens.")] = None,
    price_cached: Annotated[float | None, typer.Option(min=0, help="USD per million cached prompt tokens.")] = None,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="It thinks before it answers.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens an answer may need, thinking included.")] = None,
    max_context: Annotated[int | None, typer.Option(min=1, help="Tokens of prompt and answer together.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Where it wants another than 0.")] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Most requests under way; default 8.")] = None,
    per_minute: Annotated[float | None, typer.Option(min=0.01, help="Most requests sent a minute.")] = None,
    licence: Annotated[str, typer.Option(help="As the list of models shows it.")] = "proprietary",
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of your entry of this name.")] = False,
    as_json: Json = False,
) -> None:
    """Enter a model behind an API into your own file (LLMHAR_MODELS). Its key stays in the environment."""
    from llmhar import paths
    from llmhar.ask.engines.addresses import KEY_VARIABLES, PRIVACY_NOTICE, URL_VARIABLE, host_of, is_loopback
    from llmhar.ask.own_models import add_model

    if not api or not model_id.strip():
        raise typer.BadParameter("write --api --id ID; models with weights are entered by hand, as in models.yaml")
    if (price_in is None) != (price_out is None) or (price_cached is not None and price_in is None):
        raise typer.BadParameter("--price-in and --price-out go together, and --price-cached with them")
    prices = {"input_usd": price_in, "cached_usd": price_cached, "output_usd": price_out,
              "as_of": f"{date.today()}, entered by llmhar models add"}  # fmt: skip
    both = ("thinking", "plain")
    entry = {
        "kind": "llm",
        "engine": "openai",
        "hub_id": model_id.strip(),
        "revision": "api",
        "licence": licence,
        "thinking": thinking,
        "max_context": max_context,
        "sampling": None if temperature is None else {mode: {"temperature": temperature} for mode in both},
        "max_tokens": None if max_tokens is None else dict.fromkeys(both, max_tokens),
        "source": {"kind": "none"},
        "prices": None if price_in is None else _given(prices),
        "server": _given({"address": address, "key_variable": key_variable, "at_once": at_once,
                          "requests_per_minute": per_minute}),
    }  # fmt: skip
    spec = add_model(name, _given(entry), replace=replace)
    key = spec.server.key_variable or KEY_VARIABLES[0]
    if as_json:
        return print_json({"name": name, "path": str(paths.own_models()), "key_variable": key, "entry": _given(entry)})
    print_line(f"{name}: {spec.hub_id} stands in {paths.own_models()}; its key is read from {key}, and never kept")
    if not is_loopback(address):
        print_line(PRIVACY_NOTICE.format(host=host_of(address) or f"what {URL_VARIABLE} names"))
    if spec.prices is None:
        print_line("no prices were given: costs are not known, and a run with --max-usd refuses it")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", {})}
