"""Whose server is asked: its address and key, and what a user is told before anything of a home goes there."""

from __future__ import annotations

import ipaddress
import os
import sys
from urllib.parse import urlsplit

from llmhar.ask.engines.base import EngineError
from llmhar.ask.models import ModelSpec, Server

DEFAULT_URL = "https://api.openai.com/v1"
URL_VARIABLE, KEY_VARIABLES = "LLMHAR_OPENAI_BASE_URL", ("LLMHAR_OPENAI_API_KEY", "OPENAI_API_KEY")
NO_KEY = "none"
"""Sent where no key is set: servers of one's own need none."""
PRIVACY_NOTICE = (
    "What happens in a home (rooms, times, what people there do) is sent to {host}, somebody else's server: ask those "
    "who live there first, and read what the provider keeps"
)
"""Said once before the first request, and where a model behind a server is entered."""
_said: set[str] = set()
"""Hosts of which this process has said so."""


def address_of(base_url: str | None, model: ModelSpec | None = None) -> tuple[str, str]:
    """Base URL and key.

    Args:
        base_url: of an engine's options; None = the model's own, else ``LLMHAR_OPENAI_BASE_URL``, else OpenAI's.
        model: who is asked; its entry may name an address, and the variable that holds the key.

    Raises:
        EngineError: no http(s) URL, or no key where one is needed.
    """
    server = model.server if model else Server()
    url = base_url or server.address or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(f"{URL_VARIABLE} must be an http(s) URL such as http://127.0.0.1:8000/v1")
    if server.key_variable:
        key = os.environ.get(server.key_variable, "").strip()
        if not key and not is_loopback(url):
            raise EngineError(f"set {server.key_variable} to your key of {host_of(url)}")
        return url, key or NO_KEY
    key = os.environ.get(KEY_VARIABLES[0], "")
    if not key and (parts.scheme == "https" or is_loopback(url)):  # OpenAI's own is not sent over an open network
        key = os.environ.get(KEY_VARIABLES[1], "")
    if not key and url == DEFAULT_URL:
        raise EngineError(f"set {KEY_VARIABLES[0]} to your key, or {URL_VARIABLE} to a server of your own")
    return url, key.strip() or NO_KEY


def host_of(url: str) -> str:
    """Host and port of a URL, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Whether a URL is of this very machine: nothing leaves it."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def say_once(url: str) -> None:
    """Say on stderr that a home's life goes to somebody else's server; once a host, and never of this machine."""
    if not is_loopback(url) and host_of(url) not in _said:
        _said.add(host_of(url))
        print(f"llmhar: {PRIVACY_NOTICE.format(host=host_of(url))}", file=sys.stderr)
