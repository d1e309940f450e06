"""Injection bench: hostile names in sensors, rooms, captions and labels. What do they reach, and whom do they move?

Two questions, apart. **Structure** (:func:`check_structure`, no model): whatever a name holds, the chat keeps exactly
its turns, no special token appears in a message, a window keeps its events, and a model that merely copies its question
back has answered nothing. **Flips** (:func:`attack`, :func:`run`): how often a label becomes what the payload wants,
against the same input with a harmless name of the same length; with both defences, with one, with neither.

The defences: *cleaning* (:func:`.serialize.clean_text`) and *encoding* (names as JSON strings). Writers without
them are built here only, for comparison; no run of the project uses them.
"""

from llmhar.injection.flips import ASKING, DEFENCES, attack, flip_table, payload_table, run
from llmhar.injection.payloads import PAYLOADS, Payload
from llmhar.injection.structure import check_structure, structure_table

__all__ = ["ASKING", "DEFENCES", "PAYLOADS", "Payload", "attack", "check_structure", "flip_table",
           "payload_table", "run", "structure_table"]  # fmt: skip
