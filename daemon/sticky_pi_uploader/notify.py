"""Tells systemd how the service is, as sd_notify(3) describes; without systemd it does nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

_PATIENCE: Final = 1.0  # seconds


def notify(message: str) -> None:
    """Send `message`, such as "READY=1", to who started the service. Never raises: a service works without, too."""
    # Asked here first, so that nothing is imported where nobody listens.
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        from systemd import daemon
    except ImportError:
        _send(address, message)
        return
    with suppress(OSError, ValueError):
        daemon.notify(message)


def _send(address: str, message: str) -> None:
    import socket

    # A leading @ stands for the zero byte of an abstract socket.
    where = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        # A listener whose queue stays full must not hold up the service.
        connection.settimeout(_PATIENCE)
        connection.sendto(message.encode(), where)
