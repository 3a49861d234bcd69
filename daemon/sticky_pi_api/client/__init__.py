"""The clients: what a program uses to put pictures into a store or on a server, and to get them back.

Each client is imported when it is first named: the one of a store loads nothing that speaks to a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sticky_pi_api.client.base import BaseClient
    from sticky_pi_api.client.local import LocalClient
    from sticky_pi_api.client.remote import RemoteClient

__all__ = ["BaseClient", "LocalClient", "RemoteClient"]

_MODULES = {"BaseClient": "base", "LocalClient": "local", "RemoteClient": "remote"}


def __getattr__(name: str) -> Any:
    """Import a client's module when the client is first named."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the clients, imported or not."""
    return sorted({*globals(), *__all__})
