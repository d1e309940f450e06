"""Injection bench: hostile names in sensors, rooms, captions and labels. What do they reach, and whom do they move?

**Flips** (:func:`attack`, :func:`run`): how often a label becomes what the payload wants, against the same input with a
harmless name of the same length; with both defences, with one, with neither. Whether a hostile name leaves the prompt's
structure alone is checked by the benches.

The defences: *cleaning* (:func:`.serialize.clean_text`) and *encoding* (names as JSON strings). Writers without
them are built here only, for comparison; no run of the project uses them.
"""

from llmhar.injection.flips import ASKING, attack, flip_table, run
from llmhar.injection.payloads import PAYLOADS

__all__ = ["ASKING", "PAYLOADS", "attack", "flip_table", "run"]
