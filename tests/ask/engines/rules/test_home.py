"""The rules engine: what it answers on windows written by hand from common sense, and how it says it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmhar.ask.engines.rules import home as rules
from llmhar.ask.engines.rules.home import RULES_VERSION, RulesEngine, tables_sha256
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.text import common_sense
from llmhar.text.prompt import BRIEFLY

NAMES = """
others | bedroom personal activity | using bathroom | preparing breakfast | grabing food or drinks |
resting on the couch or the chairs | having breakfast | washing dishes | watching TV | reading books |
drinking water, coffee or drinks | cleaning appartment | taking shower | playing video games |
getting out of the apartment | coming into the apartment | chatting/using the cell-phone | having fruits or snacks |
using pc | preparing dinner | having dinner | playing board games or puzzles | preparing drinks | clearing table |
grabing tableware | personal washing
;
ANSWERING_PHONE | CLEARING_TABLE | COOKING | EATING | ENTERING_HOME | LEAVING_HOME | MAKING_PHONE_CALL |
PREPARING_COLD_MEAL | SETTING_UP_TABLE | TAKING_MEDICINES | USING_PC | WASHING_DISHES | WATCHING_TV
;
Leaving | Toileting | Showering | Sleeping | Breakfast | Lunch | Dinner | Snack | Spare_Time/TV | Grooming
"""
MURAL, MARBLE, UCI = ([name.strip() for name in names.split("|")] for names in NAMES.split(";"))

S1_EVENT = "19:53:04 kitchen induction stove wattmeter turned OFF"


def system_prompt(labels: list[str], style: str = "name") -> str:
    listed = ",\n".join(f'"{number}. {name}"' for number, name in enumerate(labels))
    example = "1" if style == "number" else json.dumps(labels[1])
    return (
        "You recognise activities in a home.\n\nRooms:\n1. kitchen: fridge\n2. bathroom\n\n"
        f"Answer with the activity {style}, as a JSON list with one item per event.\n\nActivities:\n[\n{listed}\n]\n\n"
        "Rules:\n1. A resident who sits down rests.\n\n"
        'Example input:\n[{"id": 0, "time": "07:00:00", "event": "bedroom door OPENED"}]\n'
        f'Example output:\n[{{"id": 0, "activity": {example}}}]'
    )


def items(lines: str) -> list[dict[str, Any]]:
    """``HH:MM:SS event`` lines as the items of S1's JSON."""
    rows = [line.split(None, 1) for line in lines.strip().splitlines()]
    return [{"id": i, "time": clock, "event": event.strip()} for i, (clock, event) in enumerate(rows)]


def request(window: str, labels: list[str] = MURAL, style: str = "name", **kw: Any) -> Request:
    """A request as the prompts write it; ``window`` is ready text, or lines for :func:`items`."""
    text = window if window.startswith(("Events", "{", "no")) else "Events:\n" + json.dumps(items(window), indent=0)
    messages = ({"role": "system", "content": system_prompt(labels, style)}, {"role": "user", "content": text})
    return Request("rules", "1", "", messages, **kw)


def ask(*requests: Request) -> list[Generation]:
    with RulesEngine() as engine:
        return list(engine.stream(requests))


def activities(generation: Generation) -> list[Any]:
    assert generation.ok, generation.error
    answer = json.loads(generation.text.rpartition("</think>")[2])
    assert [item["id"] for item in answer] == list(range(len(answer)))
    return [item["activity"] for item in answer]


NO_THINKING: Mapping[str, Any] = {"enable_thinking": False}

# Each case: labels, then lines "HH:MM:SS event | label". Written from everyday life before the rules were run on them.
CASES: dict[str, tuple[list[str], str]] = {
    "breakfast at home": (MURAL, """
        07:32:00 bedroom_1 door OPENED | bedroom personal activity
        07:33:10 bathroom door OPENED | using bathroom
        07:33:40 bathroom toilet contact OPENED | using bathroom
        07:36:00 kitchen fridge contact OPENED | preparing breakfast
        07:36:12 kitchen fridge contact CLOSED | preparing breakfast
        07:36:30 kitchen induction stove wattmeter turned ON | preparing breakfast"""),
    "coffee in the afternoon": (MURAL, """
        15:30:00 kitchen counter mov turned ON | preparing drinks
        15:30:10 kitchen coffee machine wattmeter turned ON | preparing drinks
        15:30:40 kitchen counter mov turned ON | preparing drinks
        15:31:30 kitchen coffee machine wattmeter turned OFF | preparing drinks
        15:31:50 dining room chair_1 contact OPENED | drinking water, coffee or drinks
        15:33:00 dining room chair_1 contact CLOSED | drinking water, coffee or drinks"""),
    "a snack from the fridge while somebody plays": (MURAL, """
        16:10:00 living room game console wattmeter turned ON | playing video games
        16:10:05 living room TV wattmeter turned ON | playing video games
        16:11:00 kitchen fridge contact OPENED | grabing food or drinks
        16:11:08 kitchen fridge contact CLOSED | grabing food or drinks
        16:12:00 living room game console wattmeter turned OFF | playing video games
        16:12:10 living room TV wattmeter turned OFF | playing video games"""),
    "dinner is cooked while others watch television": (MURAL, """
        19:10:00 living room TV wattmeter turned ON | watching TV
        19:10:20 kitchen range hood wattmeter turned ON | preparing dinner
        19:10:25 living room couch mov turned ON | watching TV
        19:10:40 kitchen counter mov turned ON | preparing dinner
        19:10:45 kitchen fridge contact OPENED | preparing dinner
        19:11:00 kitchen induction stove wattmeter turned OFF | preparing dinner"""),
    "the table is set, people sit down": (MURAL, """
        19:50:00 kitchen cabinet contact OPENED | grabing tableware
        19:50:08 kitchen cabinet contact CLOSED | grabing tableware
        19:50:30 dining room chair_1 contact OPENED | having dinner
        19:50:35 dining room chair_2 contact OPENED | having dinner
        19:50:38 dining room chair_3 contact OPENED | having dinner
        19:51:00 dining room chair_4 contact OPENED | having dinner"""),
    "the table is cleared": (MURAL, """
        20:40:00 dining room chair_1 contact CLOSED | having dinner
        20:40:05 dining room chair_2 contact CLOSED | having dinner
        20:40:10 dining room chair_3 contact CLOSED | having dinner
        20:40:25 kitchen counter mov turned ON | clearing table
        20:40:50 kitchen counter mov turned ON | clearing table
        20:41:30 kitchen sink mov turned ON | washing dishes"""),
    "coffee, fetched some minutes before": (MURAL, """
        15:30:00 kitchen kettle wattmeter turned ON | preparing drinks
        15:32:00 kitchen kettle wattmeter turned OFF | preparing drinks
        15:35:00 dining room chair_1 contact OPENED | drinking water, coffee or drinks
        15:36:00 dining room chair_1 contact CLOSED | drinking water, coffee or drinks"""),
    "at the table between meals people talk": (MURAL, """
        16:00:00 dining room chair_1 contact OPENED | chatting/using the cell-phone
        16:01:00 dining room chair_1 contact CLOSED | chatting/using the cell-phone
        16:01:20 bathroom toilet contact OPENED | using bathroom
        16:06:00 bathroom washbasin mov turned ON | personal washing
        16:07:00 dining room chair_2 contact OPENED | chatting/using the cell-phone"""),
    "on the couch with a book, then with the console": (MURAL, """
        16:00:00 living room bookshelf contact OPENED | reading books
        16:00:10 living room bookshelf contact CLOSED | reading books
        16:00:30 living room couch mov turned ON | reading books
        16:30:00 living room game console wattmeter turned ON | playing video games
        16:30:10 living room couch mov turned ON | playing video games
        16:31:00 living room TV wattmeter turned ON | playing video games"""),
    "table and kitchen together after dinner": (MURAL, """
        20:40:00 dining room chair_1 contact CLOSED | clearing table
        20:40:10 kitchen sink mov turned ON | washing dishes
        20:40:20 kitchen counter mov turned ON | clearing table
        20:40:30 kitchen sink mov turned OFF | washing dishes
        20:40:40 dining room chair_1 contact OPENED | clearing table"""),
    "the apartment is cleaned in the afternoon": (MURAL, """
        15:00:00 bedroom_1 door OPENED | cleaning appartment
        15:00:30 bathroom washbasin mov turned ON | cleaning appartment
        15:01:00 living room couch mov turned ON | cleaning appartment
        15:01:30 dining room chair_1 contact OPENED | cleaning appartment
        15:02:00 kitchen sink mov turned ON | cleaning appartment
        15:02:30 kitchen fridge contact OPENED | grabing food or drinks"""),
    "a snack in the afternoon": (MURAL, """
        16:00:00 kitchen food cabinet contact OPENED | having fruits or snacks
        16:00:10 kitchen food cabinet contact CLOSED | having fruits or snacks
        16:10:00 kitchen fridge contact OPENED | grabing food or drinks"""),
    "hands after the toilet, later a wash": (MURAL, """
        17:00:00 bathroom toilet contact CLOSED | using bathroom
        17:00:05 bathroom washbasin mov turned ON | using bathroom
        17:20:00 bathroom washbasin mov turned ON | personal washing"""),
    "through the bedroom out, home to the washbasin": (MURAL, """
        14:00:00 bedroom_1 door OPENED | getting out of the apartment
        14:00:04 bedroom_1 door CLOSED | getting out of the apartment
        14:00:10 main door OPENED | getting out of the apartment
        14:40:00 main door OPENED | coming into the apartment
        14:40:05 main door CLOSED | coming into the apartment
        14:40:12 bathroom washbasin mov turned ON | coming into the apartment"""),
    "a bedroom door, then its desk": (MURAL, """
        17:00:00 bedroom_2 door OPENED | using pc
        17:00:04 bedroom_2 door CLOSED | using pc
        17:00:10 bedroom_2 desk mov turned ON | using pc"""),
    "a board game in the afternoon": (MURAL, """
        14:59:30 living room bookshelf contact OPENED | playing board games or puzzles
        15:00:00 dining room chair_1 contact OPENED | playing board games or puzzles
        15:00:04 dining room chair_2 contact OPENED | playing board games or puzzles
        15:00:09 dining room chair_3 contact OPENED | playing board games or puzzles
        15:20:00 dining room chair_2 contact CLOSED | playing board games or puzzles"""),
    "evening bathroom": (MURAL, """
        22:10:00 bathroom door CLOSED | taking shower
        22:10:30 bathroom shower mov turned ON | taking shower
        22:10:50 bathroom shower mov turned ON | taking shower
        22:17:00 bathroom sink mov turned ON | personal washing
        22:19:00 bedroom_2 door OPENED | bedroom personal activity
        22:19:05 bedroom_2 door CLOSED | bedroom personal activity"""),
    "somebody comes home": (MURAL, """
        17:40:00 main door OPENED | coming into the apartment
        17:40:06 main door CLOSED | coming into the apartment
        17:40:30 bathroom door OPENED | personal washing
        17:40:40 bathroom sink mov turned ON | personal washing
        17:42:00 living room couch mov turned ON | resting on the couch or the chairs"""),
    "somebody goes out": (MURAL, """
        08:20:00 bedroom_1 door OPENED | bedroom personal activity
        08:20:20 bedroom_1 door CLOSED | bedroom personal activity
        08:21:00 main door OPENED | getting out of the apartment
        08:21:07 main door CLOSED | getting out of the apartment"""),
    "marble: a hot meal": (MARBLE, """
        19:00:00 kitchen pots drawer turned ON | COOKING
        19:00:20 kitchen stove turned ON | COOKING
        19:00:40 kitchen fridge turned ON | COOKING
        19:09:00 kitchen cutlery drawer turned ON | SETTING_UP_TABLE
        19:10:00 dining room chair turned ON | EATING
        19:25:00 kitchen medicines cabinet turned ON | TAKING_MEDICINES"""),
    "marble: a cold meal, television and the phone": (MARBLE, """
        12:30:00 kitchen fridge turned ON | PREPARING_COLD_MEAL
        12:30:09 kitchen fridge turned OFF | PREPARING_COLD_MEAL
        12:30:20 kitchen pantry turned ON | PREPARING_COLD_MEAL
        12:40:00 living room television turned ON | WATCHING_TV
        12:40:10 living room couch turned ON | WATCHING_TV
        12:41:00 phone make a call turned ON | MAKING_PHONE_CALL
        12:43:00 phone answer a call turned ON | ANSWERING_PHONE
        12:50:00 office chair turned ON | USING_PC"""),
    "uci: a morning": (UCI, """
        09:10:00 bedroom bed pressure turned OFF | Sleeping
        09:12:00 bathroom toilet flush turned ON | Toileting
        09:13:00 bathroom basin PIR turned ON | Grooming
        09:20:00 bathroom shower PIR turned ON | Showering
        09:40:00 kitchen fridge magnetic OPENED | Breakfast
        09:41:00 kitchen toaster electric turned ON | Breakfast
        10:30:00 entrance maindoor magnetic OPENED | Leaving"""),
    "uci: a day's meals": (UCI, """
        13:50:00 kitchen cooktop PIR turned ON | Lunch
        14:30:00 living seat pressure turned ON | Spare_Time/TV
        16:45:00 kitchen fridge magnetic OPENED | Snack
        16:46:00 kitchen cupboard magnetic OPENED | Snack
        20:30:00 kitchen microwave electric turned ON | Dinner
        21:10:00 living seat pressure turned ON | Spare_Time/TV"""),
    "uci: past midnight": (UCI, """
        23:50:00 living seat pressure turned OFF | Spare_Time/TV
        00:05:00 bathroom basin PIR turned ON | Grooming
        00:10:00 bedroom bed pressure turned ON | Sleeping"""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hand_written_windows(name: str) -> None:
    labels, lines = CASES[name]
    rows = [line.rpartition("|") for line in lines.strip().splitlines()]
    window = "\n".join(event for event, _, _ in rows)
    expected = [label.strip() for _, _, label in rows]
    assert set(expected) <= set(labels)
    assert activities(*ask(request(window, labels))) == expected


def test_table_3_of_s1_as_numbers() -> None:
    (generation,) = ask(request(S1_EVENT, style="number"))
    assert generation.text == (
        "<think>\n"
        "Event 0: the kitchen induction stove wattmeter turned OFF at 19:53:04. "
        "The stove in the evening indicates cooking, so preparing dinner (19).\n"
        "</think>\n\n"
        '[{"id": 0, "activity": 19}]'
    )
    assert (generation.finish_reason, generation.prompt_tokens, generation.output_tokens) == ("stop", 0, 0)


def test_names_thinking_off_and_neighbours_in_the_reasoning() -> None:
    assert ask(request(S1_EVENT))[0].text.endswith(
        'so preparing dinner.\n</think>\n\n[{"id": 0, "activity": "preparing dinner"}]'
    )
    (short,) = ask(request(S1_EVENT, template_args=NO_THINKING))
    assert short.text == '[{"id": 0, "activity": "preparing dinner"}]'
    (generation,) = ask(
        request("16:00:00 living room TV wattmeter turned ON\n16:00:05 living room game console turned ON")
    )
    assert "The TV near the console indicates gaming, so playing video games." in generation.text


def test_style_without_an_example_follows_the_instruction_and_defaults_to_names() -> None:
    def styled(instruction: str) -> Any:
        system = f"{instruction}\nActivities:\n3. washing dishes\n19. preparing dinner\n"
        messages = ({"role": "system", "content": system}, {"role": "user", "content": json.dumps(items(S1_EVENT))})
        return activities(*ask(Request("rules", "1", "", messages)))[0]

    assert styled("Answer with the activity number.") == 19
    assert styled("Answer with the activity name.") == "preparing dinner"
    assert styled("") == "preparing dinner"
    assert styled('Output: [{"id": 0, "activity": "3"}]') == 19


def test_serializers_and_loose_forms_are_read_alike() -> None:
    window = "20:00:00 living room TV wattmeter turned ON\n20:00:30 kitchen kettle wattmeter turned ON"
    expected = ["watching TV", "preparing drinks"]
    states = json.dumps([{**item, "since_s": 12.5} for item in items(window)])
    sentences = "Events:\n" + "\n".join(f"{i['id']}. At {i['time']}, the {i['event']}." for i in items(window))
    loose = "\n".join(json.dumps(item) for item in items(window)) + '\n{"id": 2, "ti'
    lines = "\n".join(f"{i['id']} {i['time']} {i['event']}" for i in items(window))
    for text in ("Events\n" + states, sentences, "Events:\n" + lines, "Events:\nevening\n" + lines, loose):
        assert activities(*ask(request(text))) == expected


def test_short_reasoning_is_written_where_it_is_asked_for() -> None:
    window = "20:00:00 living room TV wattmeter turned ON\n20:00:30 kitchen kettle wattmeter turned ON"
    long = request(window)
    system = {"role": "system", "content": f"{BRIEFLY}\n\n{long.messages[0]['content']}"}
    (brief,) = ask(replace(long, messages=(system, long.messages[1])))
    assert activities(brief) == activities(*ask(long)) == ["watching TV", "preparing drinks"]
    thought = brief.text.split("</think>")[0].splitlines()
    assert thought[1] == "0: TV in the evening, watching, so watching TV"
    assert len(thought[2]) < 80


def test_one_message_holding_everything_takes_the_last_list() -> None:
    whole = system_prompt(MURAL, "number") + "\n\nEvents:\n" + json.dumps(items(S1_EVENT))
    sentences = system_prompt(MURAL, "number") + "\n\n0. At 19:53:04, the kitchen induction stove wattmeter turned OFF."
    for text in (whole, sentences):
        (generation,) = ask(Request("rules", "1", "", ({"role": "user", "content": text},)))
        assert activities(generation) == [19]


def test_where_nothing_fits() -> None:
    odd = "20:00:00 living room TV wattmeter turned ON\n20:00:20 garage gizmo turned ON"
    assert activities(*ask(request(odd))) == ["watching TV", "others"]
    assert activities(*ask(request(odd, UCI))) == ["Spare_Time/TV", "Spare_Time/TV"]
    assert activities(*ask(request("20:00:20 garage gizmo turned ON", UCI))) == ["Leaving"]


def schema(activity: Mapping[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": {"id": {"type": "integer"}, "activity": dict(activity)}}
    return {"type": "array", "items": item}


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        ({"enum": list(range(26))}, 19),
        ({"enum": MURAL}, "preparing dinner"),
        ({"enum": [f"{i}. {name}" for i, name in enumerate(MURAL)]}, "19. preparing dinner"),
        ({"enum": [str(i) for i in range(26)]}, "19"),
        ({"enum": ["preparing breakfast", "watching TV"]}, "preparing breakfast"),
        ({"type": "integer"}, 19),
        ({"type": "string"}, "preparing dinner"),
    ],
)
@pytest.mark.parametrize("style", ["name", "number"])
def test_schema_decides_the_style(activity: dict[str, Any], expected: Any, style: str) -> None:
    (generation,) = ask(request(S1_EVENT, style=style, schema=schema(activity)))
    assert json.loads(generation.text) == [{"id": 0, "activity": expected}]


def test_fixed_positions_in_a_schema_are_found() -> None:
    fixed = {"type": "array", "prefixItems": [schema({"enum": [0, 19]})["items"]], "minItems": 1}
    assert json.loads(ask(request(S1_EVENT, schema=fixed))[0].text) == [{"id": 0, "activity": 19}]


def test_failures_are_values_and_every_request_has_one_generation() -> None:
    good, empty = request(S1_EVENT), request("no events today")
    unlabelled = Request("rules", "1", "", ({"role": "user", "content": json.dumps(items(S1_EVENT))},))
    silent = Request("rules", "1", "", ())
    nowhere = request(S1_EVENT, schema=schema({"enum": ["juggling"]}))
    asked = [good, empty, unlabelled, silent, nowhere, good]
    generations = ask(*asked)
    assert [g.request_key for g in generations] == [r.key for r in asked]
    assert [g.ok for g in generations] == [True, False, False, False, False, True]
    assert generations[1].error == "rules: the last message holds no event that can be read"
    assert generations[2].error == "rules: the prompt holds no label list that can be read"
    assert generations[4].error == "rules: the schema allows none of the prompt's labels"
    assert {g.finish_reason for g in generations} == {"stop", "error"}
    assert all("\n" not in g.error and g.seconds >= 0 for g in generations)


def test_cut_and_odd_windows_never_raise() -> None:
    whole = "Events:\n" + json.dumps(items(S1_EVENT + "\n19:54:00 main door OPENED"))
    odd = [
        'Events [1, "x", null, {"event": 3}]',
        'Events [{"id": "x", "event": "tv"}]',
        'Events [{"event": "tv", "time": "soon"}]',
    ]
    generations = ask(*(request(text) for text in [*(whole[:end] for end in range(6, len(whole) + 1)), *odd]))
    assert all(g.ok != bool(g.error) for g in generations)
    assert [g.ok for g in generations[-4:]] == [True, True, False, True]


def test_same_question_same_text_whatever_the_sampling() -> None:
    window = "\n".join(line.rpartition("|")[0] for line in CASES["the table is cleared"][1].strip().splitlines())
    plain, hot = request(window), request(window, sampling=Sampling(temperature=1.0, seed=7), sample_index=3)
    assert plain.key != hot.key
    assert len({g.text for g in ask(plain, hot, plain)}) == 1


def test_reasoning_is_short_and_names_every_event() -> None:
    for labels, lines in CASES.values():
        window = "\n".join(line.rpartition("|")[0] for line in lines.strip().splitlines())
        (generation,) = ask(request(window, labels, "number"))
        reasoning = generation.text.removeprefix("<think>\n").partition("\n</think>\n\n")[0].splitlines()
        assert len(reasoning) == len(items(window))
        for item, line in zip(items(window), reasoning, strict=True):
            assert line.startswith(f"Event {item['id']}: the {item['event']} at {item['time']}. The ")
            assert re.search(r", so .+ \(\d+\)\.$", line)
            assert len(line.split()) <= 27


def test_engine_is_a_context_manager_and_closes_twice() -> None:
    with RulesEngine() as engine:
        assert engine.fingerprint() == Fingerprint("rules", RULES_VERSION, "", "")
        assert list(engine.stream([])) == []
    engine.close()


def test_the_version_follows_tables_and_number_but_not_source() -> None:
    """Moving a line of import must not void stored answers; editing a table must."""
    assert re.fullmatch(rf"{rules.RULES_NUMBER}\+[0-9a-f]{{8}}", RULES_VERSION)
    assert RULES_VERSION == "1+3104cbf4", "answers are stored under this version since commit ed81958"
    copy = ModuleType("copy")
    vars(copy).update(vars(common_sense))
    copy.a_function, copy._PRIVATE = len, object()  # type: ignore[attr-defined]
    assert tables_sha256(copy) == tables_sha256(common_sense)
    copy.CUES = common_sense.CUES[:-1]  # type: ignore[attr-defined]
    assert tables_sha256(copy) != tables_sha256(common_sense)


@pytest.mark.parametrize("module", [rules, common_sense])
def test_nothing_of_the_data_sets_is_imported(module: Any) -> None:
    """The rules know neither the truth nor the simulator's tables."""
    text = Path(module.__file__).read_text(encoding="utf-8")
    tree, imported = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{name.name}" for name in node.names}
            assert node.level == 0
    ours = {name for name in imported if name.startswith("llmhar")}
    known = ("llmhar.text.common_sense", "llmhar.ask.engines.rules.fusion", "llmhar.records.")
    assert all(name.startswith(known) for name in ours), ours
    assert not any(name.split(".")[0] in {"importlib", "runpy", "yaml"} for name in imported)
    code = ast.unparse(tree.body[1:])  # the docstring says what the habits were fitted to
    assert not re.search(r"llmhar[./]datasets|params/homes|simulated|__import__|\bexec\(", code)


def test_every_concept_can_be_named_and_said() -> None:
    concepts = {concept for _, _, votes in common_sense.CUES for concept in votes}
    concepts |= {concept for votes in common_sense.LINKS.values() for concept in votes} | set(common_sense.HOURS)
    concepts |= set(common_sense.LINKS) - {""}
    assert concepts <= set(common_sense.LABELS)
    assert concepts <= set(common_sense.WORDS)
