"""Links that a server hands out to files on another host: the address is checked, and the rest is never shown."""

from __future__ import annotations

from typing import NamedTuple, Self


class Link(NamedTuple):
    """Where a file is to be had, or to be sent to; whoever has the link may do so."""

    url: str
    address: str
    """`http[s]://host[:port]` of it, which may be shown"""

    def __repr__(self) -> str:
        """Show where it leads, but not the way."""
        return f"{type(self).__name__}({self.address!r})"

    @classmethod
    def of(cls, url: object, giver: str) -> Self:
        """Check a link that the server at the address `giver` gave. Raises ValueError, without the link's secrets."""
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
