"""Credentials of a request: accounts, tokens and signed URLs; none is printed, logged or left in a traceback.

The path and query of a signed URL are as secret as a password: with them, anyone can read or write the file behind it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, NamedTuple, Self

MASK: Final = "********"

_THIS_PACKAGE: Final = __name__.partition(".")[0]


class Secret:
    """A text that is shown as asterisks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of(cls, value: str | Secret) -> Secret:
        """Return the secret of a text, or the secret itself."""
        return value if isinstance(value, Secret) else cls(value)

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Account(NamedTuple):
    """The credentials of HTTP's Basic authentication: a user and a password, or a token in the user's place."""

    user: Secret
    password: Secret = Secret("")

    @classmethod
    def of(cls, user: str, password: str | Secret = "") -> Self:
        """Return the account of a user and a password."""
        return cls(Secret(user), Secret.of(password))

    @property
    def header(self) -> bytes:
        """The value of the Authorization header."""
        from base64 import b64encode

        return b"Basic " + b64encode(f"{self.user.reveal()}:{self.password.reveal()}".encode())


class SignedUrl(NamedTuple):
    """A link that a server gives out to a file on another host, to read it there or to write it."""

    url: str
    address: str
    """its `http[s]://host[:port]`, which may be shown"""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    @classmethod
    def of(cls, url: object, giver: str) -> Self:
        """Check a link from the server at the address `giver`. Raises ValueError, without the link's secrets."""
        if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("a link that isn't one")
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or "@" in parts.netloc or "\\" in url:
            raise ValueError("a link that is no web address")
        if parts.scheme == "http" and giver.startswith("https:"):
            raise ValueError(f"a link to {host} without TLS, though it has TLS itself")
        host = f"[{host}]" if ":" in host else host
        return cls(url, f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}")


def without_libraries(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback with the frames of this package alone: those of others hold secrets, which logs may show."""
    frames = []
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == _THIS_PACKAGE:
            frames.append(trace)
        trace = trace.tb_next
    kept = None
    for one in reversed(frames):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return kept
