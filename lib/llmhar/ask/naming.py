"""Names the activities of bound answers by their reasons, where a request's schema says so. Opens no weights.

A student's reasons are its own; which name of the home's list they mean is read by :mod:`llmhar.text.naming`. The
answer is stored as it is named; where probabilities of tokens were asked for, those of the names stand in their place.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from llmhar.records import Generation, Request
from llmhar.text.naming import PARTS, by_parts, likelihoods
from llmhar.text.schema import named_by, names_of

LEAST = 1e-9
"""Least probability that is written down: its logarithm is a number."""


def name_by_reasons(made: Generation, request: Request) -> Generation:
    """The answer with each activity named by its reason.

    Args:
        made: what the model answered, a list of items or a clip's one; a failure stays one, and so does other text.
        request: whose schema lists the names, and says what names them by reasons (``named_by``).
    """
    if not made.ok or request.schema is None:
        return made
    try:
        found = json.loads(made.text)
        items = found if isinstance(found, list) else [found]
        whys = [str(item["why"]) for item in items]
    except (ValueError, LookupError, TypeError):
        return made
    names = names_of(request.schema)
    matcher = by_parts if named_by(request.schema) == PARTS else likelihoods
    opening, ending = ("[", "]") if isinstance(found, list) else ("", "")
    text, tokens = opening, []
    for item, odds in zip(items, matcher(whys, names) if whys else ()):
        best = int(np.argmax(odds))
        others = {key: value for key, value in item.items() if key != "activity"}
        text += (", " if len(text) > 1 else "") + json.dumps(others, ensure_ascii=False)[:-1] + ', "activity": '
        label = json.dumps(names[best], ensure_ascii=False)
        tokens.append([len(text), len(text) + len(label), float(np.log(max(odds[best], LEAST)))])
        text += label + "}"
    return replace(made, text=text + ending, logprobs=json.dumps(tokens) if request.logprobs else made.logprobs)
