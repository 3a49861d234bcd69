"""The time limits of a request; `cancellation` enforces them."""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """Time limits of the parts of a request, in seconds."""

    connect: float = 10.0
    """for the name's look-up, the connection and the TLS handshake, each"""
    read: float = 75.0
    """between two reads or writes; the web server in front of the API gives its workers 60"""
    whole: float = 60.0
    """for the whole request, in addition to the time that its body needs"""
    question: float = 30.0
    """the same for a login and for a question about pictures, in addition to the time that the answer needs"""
    again: float = 30.0
    """for repeating a question to a server that fails because it has just started"""
