"""Small bundles for the explorer's tests, written out by hand from the format's description: no code under test."""

import re
from pathlib import Path

VERDICTS = ["ok", "missing", "duplicate", "unknown_label", "cut", "malformed"]
PAYLOADS = (Path(__file__).parents[1] / "fixtures" / "payloads.txt").read_text().splitlines()
LABELS = ["watching TV", "using bathroom", "preparing drinks", "chatting"]
EVENTS = [
    ["08:00:00", "kitchen", "kettle wattmeter", "turned ON"],
    ["08:00:30", "bathroom", "toilet contact", "OPENED"],
    ["08:02:00", "kitchen", "kettle wattmeter", "turned OFF"],
    ["08:10:00", "living room", "couch mov", "turned ON"],
]
MENTIONS = (
    (re.compile(r"event (\d)"), "event", lambda found: [int(found[1])]),
    (re.compile("kettle"), "sensor", lambda found: [0, 2]),
    (re.compile(r"\d\d:\d\d:\d\d"), "time", lambda found: [[e[0] for e in EVENTS].index(found[0])]),
)


def utf16(text):
    """Length as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2


def answer(key, labels, reasoning, finish="stop"):
    """One model's answer; -1 = missing."""
    mentions = [
        [utf16(reasoning[: found.start()]), utf16(reasoning[: found.end()]), ids(found), kind]
        for pattern, kind, ids in MENTIONS
        for found in pattern.finditer(reasoning)
    ]
    return {
        "r": reasoning, "x": f"answer {labels}", "l": labels, "v": [0 if label >= 0 else 1 for label in labels],
        "t": 120, "c": 1.5, "f": finish, "k": key, "m": sorted(mentions),
    }  # fmt: skip


def window(index, truth, answers, session="session_1"):
    return {
        "d": 0,
        "h": 0,
        "s": session,
        "i": index,
        "p": 0,
        "e": [[*e, t] for e, t in zip(EVENTS, truth)],
        "a": answers,
    }


def small_bundle():
    """Four windows of three models (teacher, base, student) whose numbers can be counted by eye.

    window 0: all right; window 1: the student is wrong about event 1, as the base is; window 2: all are wrong about
    event 3, the base was not asked; window 3 (another session): truth of event 0 not scored, the base answers nothing.
    """
    windows = [
        window(0, [2, 1, 2, 0], [
            answer("a0", [2, 1, 2, 0], "😀 In event 0 the kettle goes on at 08:00:00, so event 2 is drinks too."),
            answer("b0", [2, 1, 2, 0], "The kettle says drinks; event 3 is television."),
            answer("c0", [2, 1, 2, 0], "")]),
        window(1, [2, 1, 2, 0], [
            answer("a1", [2, 1, 2, 0], "At 08:00:30 somebody is in the bathroom."),
            answer("b1", [2, 3, 2, 0], "event 1 might be a chat."),
            answer("c1", [2, 3, 2, 0], "event 1 is a peculiar zebra.")]),
        window(2, [2, 1, 2, 3], [
            answer("a2", [2, 1, 2, 0], "event 3: the couch."), None, answer("c2", [2, 1, 2, -1], "", "length")]),
        window(3, [-1, 1, 2, 0], [
            answer("a3", [2, 1, 2, 0], "event 0 again."), answer("b3", [-1, -1, -1, -1], "I cannot tell."),
            answer("c3", [2, 1, 2, 0], "")], session="session_2"),
    ]  # fmt: skip
    return {
        "version": 1,
        "title": "Test home (simulated): 3 models on 4 windows",
        "provenance": ["simulated home, made for tests"],
        "models": [
            {"name": name, "kind": "LLM", "engine": "recorded 1", "revision": "1"}
            for name in ("teacher", "base", "student")
        ],
        "datasets": [{"name": "simulated"}],
        "homes": [{"name": "simulated", "rooms": [], "plan": {"kitchen": [0, 0, 4, 3], "bathroom": [4, 0, 3, 3]}}],
        "labels": LABELS,
        "prompts": [{"parts": {"role": "You label events.", "rules": "Judge by the room."}, "system_only": False}],
        "windows": windows,
        "verdicts": VERDICTS,
        "teacher": 0,
        "students": [2],
        "notes": [{"k": "c1", "tags": ["funny"], "text": "A quokka would know.", "at": "2026-01-02T10:11:12Z"}],
    }  # fmt: skip


def whys_bundle():
    """The small bundle, but the student gives each event but the last a reason and thinks nothing before."""
    bundle = small_bundle()
    for number, window in enumerate(bundle["windows"]):
        whys = [f'<b>"{number}.{i}"</b> near the kettle, a gnu & a 😀' for i in range(3)]
        start = utf16(whys[0][: whys[0].index("kettle")])
        window["a"][2] |= {
            "r": "",
            "m": [],
            "w": [[why, [[start, start + 6, [0, 2], "sensor"]]] for why in whys] + [["", []]],
        }
    return bundle


def hostile_bundle():
    """Each payload in every place that a bundle has for text: window n shows payload n everywhere."""
    bundle = small_bundle()
    everything = " ".join(PAYLOADS)
    bundle["title"], bundle["provenance"] = PAYLOADS[0] + PAYLOADS[1], list(PAYLOADS)
    bundle["models"] = [{"name": p, "kind": p, "engine": everything, "revision": p} for p in PAYLOADS[:4]]
    bundle["datasets"] = [{"name": p} for p in PAYLOADS]
    bundle["homes"] = [{"name": p, "rooms": [p], "plan": {p: [0, 0, 4, 3], everything: [4, 0, 3, 3]}} for p in PAYLOADS]
    bundle["labels"] = list(PAYLOADS)
    bundle["prompts"] = [{"parts": {p: p, f"other {p}": everything}, "system_only": True} for p in PAYLOADS]
    bundle["windows"], bundle["notes"] = [], []
    n = len(PAYLOADS)
    for i, p in enumerate(PAYLOADS):
        traces = []
        for m in range(4):
            text = f"{p} and {p}"
            cites = [[0, utf16(p), [0], p], [utf16(p) + 5, utf16(text), [0, 1, 99], "event"]]
            labels = {"l": [i, (i + m) % n, -1], "v": [0, 0, 99]}
            why = {"w": [[text, cites], [p, []], ["", []]]}
            traces.append({"r": text, "x": p, **labels, **why, "t": 1, "c": 0.1, "f": p, "k": f"{p}{m}", "m": cites})
            bundle["notes"].append({"k": f"{p}{m}", "tags": [p, p], "text": p, "at": p})
        events = [["08:00:00", p, p, p, i], [p, p, p, p, i], ["08:00:02", "", p, p, -1]]
        bundle["windows"].append(
            {"d": i, "h": i, "s": p, "i": i, "p": [i, i, (i + 1) % n, i], "e": events, "a": traces}
        )
    bundle["students"] = [1, 2]
    return bundle
