"""Chats as a model's own template writes them, and their special tokens, without torch and transformers.

Children that load a model render by the tokenizer they have loaded (:func:`llmhar.ask.engines.worker.render_prompt`):
it is the authors' own, and a model from the hub has no folder to read. Whatever else needs a chat's text (the audit of
students, the bench of hostile names) takes this module, which knows nothing of models and asks none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

Messages = Sequence[Mapping[str, str]]
"""Chat turns, each {"role", "content"}."""


class ChatTokenizer:
    """A model's tokenizer and chat template."""

    def __init__(self, folder: Path, template_args: Mapping[str, Any] | None = None) -> None:
        """Read both.

        Args:
            folder: holds tokenizer.json, tokenizer_config.json, and the template where :func:`template_text` looks.
            template_args: arguments of the template, e.g. {"enable_thinking": False} for Qwen3.

        Raises:
            OSError, ValueError, LookupError: a file is missing or is no tokenizer's.
            TemplateError: the template is not Jinja.
        """
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        texts = {k: v.get("content") if isinstance(v, dict) else v for k, v in config.items() if k.endswith("_token")}
        self.special: dict[str, str] = {name: text for name, text in texts.items() if isinstance(text, str)}
        """eos_token, pad_token … -> its text."""
        self._arguments = self.special | dict(template_args or {})
        # As transformers renders (utils/chat_template_utils.py), the sandbox included; prompts are no HTML, so nothing
        # is escaped.
        sandbox = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        sandbox.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
        sandbox.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
        self._template = sandbox.from_string(template_text(folder, config))

    def render(self, messages: Messages, *, asking: bool = True) -> str:
        """The chat as one text; ``asking``: with the generation prompt that opens the model's turn."""
        turns = [dict(message) for message in messages]
        return self._template.render(messages=turns, add_generation_prompt=asking, **self._arguments)

    @cached_property
    def added(self) -> frozenset[int]:
        """Ids of all tokens that text can spell as a whole: <|im_start|>, <think> …"""
        return frozenset(self.tokenizer.get_added_tokens_decoder())

    @lru_cache(maxsize=4096)  # noqa: B019 - a bench's few tokenizers live as long as it does, system parts repeat
    def marks(self, text: str) -> tuple[int, ...]:
        """Ids of the added tokens in ``text``, in order."""
        return tuple(i for i in self.tokenizer.encode(text, add_special_tokens=False).ids if i in self.added)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def template_text(folder: Path, config: Mapping[str, Any]) -> str:
    """The chat template of a tokenizer's folder: a file of its own goes before the configuration, as in transformers.

    Args:
        folder: may hold chat_template.jinja or chat_template.json.
        config: content of its tokenizer_config.json.
    """
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if (folder / "chat_template.json").exists():
        config = json.loads((folder / "chat_template.json").read_text(encoding="utf-8"))
    template = config["chat_template"]
    return str(template if isinstance(template, str) else {t["name"]: t["template"] for t in template}["default"])
