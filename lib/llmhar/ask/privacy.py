"""Where a home's life goes when a model is not on this machine: said once, before the first request leaves."""

from __future__ import annotations

import ipaddress
import sys

_said: set[str] = set()


def is_here(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.casefold().rstrip(".") == "localhost" or host.casefold().endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def notice(host: str) -> str:
    """The sentence for a server at ``host``."""
    return (
        "What sensors recorded of people's lives (times, rooms, what was used) leaves this machine and goes to "
        f"{host}: see that you may send it, and what its terms do with it."
    )


def say_once(host: str) -> None:
    """Print the sentence on stderr before the first request, once a host in this process; nothing for this machine."""
    if not is_here(host) and host not in _said:
        _said.add(host)
        print(notice(host), file=sys.stderr)
