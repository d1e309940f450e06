"""Names the activities of bound answers by their reasons, where a request's schema says so. Opens no weights.

A student's reasons are its own; which name of the home's list they mean is read by :mod:`llmhar.text.naming`. The
answer is stored as it is named; where probabilities of tokens were asked for, those of the names stand in their place.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from llmhar.records import Generation, Request
from llmhar.text.naming import likelihoods

LEAST = 1e-9
"""Least probability that is written down: its logarithm is a number."""


def name_by_reasons(made: Generation, request: Request) -> Generation:
    """The answer with each activity named by its reason.

    Args:
        made: what the model answered; a failure stays one, and so does text that is no list of items.
        request: whose schema lists the names, and says that reasons name them (``is_named``).
    """
    if not made.ok or request.schema is None:
        return made
    try:
        items = json.loads(made.text)
        whys = [str(item["why"]) for item in items]
    except (ValueError, LookupError, TypeError):
        return made
    names = list(request.schema["$defs"]["activity"]["enum"])
    text, tokens = "[", []
    for item, odds in zip(items, likelihoods(whys, names) if whys else ()):
        best = int(np.argmax(odds))
        others = {key: value for key, value in item.items() if key != "activity"}
        text += (", " if len(text) > 1 else "") + json.dumps(others, ensure_ascii=False)[:-1] + ', "activity": '
        label = json.dumps(names[best], ensure_ascii=False)
        tokens.append([len(text), len(text) + len(label), float(np.log(max(odds[best], LEAST)))])
        text += label + "}"
    return replace(made, text=text + "]", logprobs=json.dumps(tokens) if request.logprobs else made.logprobs)
