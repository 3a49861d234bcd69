"""Choose the proxy for an address from the environment's variables, and say why an unusable one is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sticky_pi_api.exceptions import printable
from sticky_pi_api.transport.credentials import MASK

_SCHEMES: Final = ("http", "https")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PROXY: Final = re.compile(
    r"(?:[^:/?#]*://)?(?:[^\s\"'/?#]*@)?(?:\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE
)
_ENTRY: Final = re.compile(r"\[?(?P<host>[^\[\]]*?)\]?(?::(?P<port>[0-9]{1,5}))?")
_SCHEME: Final = re.compile(r"[\"']?[a-z][a-z0-9+.-]*", re.IGNORECASE)
_LONGEST: Final = 200
_LARGEST_PORT: Final = 65535


class Proxy(NamedTuple):
    """A proxy, as the environment names it."""

    variable: str
    address: str
    """with a password, if it needs one; '' if it can't be used"""
    problem: str | None = None
    """why it can't be used, without secrets"""

    def __str__(self) -> str:
        return f"{_shown(self.address)} ({self.variable})"

    def __repr__(self) -> str:
        return str(self)


def proxy_for(url: str, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for an address, with the reason if it is unusable; None for a direct connection.

    Nothing is raised, as the whole environment would be in the traceback.
    """
    parts = urlsplit(url)
    named = _named(f"{parts.scheme}_proxy", environ) or _named("all_proxy", environ)
    if named is None or exception_for(url, environ) is not None:
        return None
    if (problem := _problem_of(named.address)) is not None:
        why = f"{named.variable} names no proxy that can be used: {_shown(named.address)!r}: {problem}"
        return Proxy(named.variable, "", why)
    return named


def exception_for(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the entry of NO_PROXY by which an address is reached directly, if any."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)
    named = _named("no_proxy", environ)
    entries = named.address.replace(",", " ").split() if named else []
    return next((entry for entry in entries if _covers(entry.lower(), host, port)), None)


def _named(name: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy or exceptions that a variable names; its lower-case form is preferred, even if it is empty."""
    variable = name if name in environ else name.upper()
    value = environ.get(variable, "")
    return Proxy(variable, value) if value else None


def _problem_of(address: str) -> str | None:
    found = _PROXY.fullmatch(address)
    scheme = (address.partition("://")[0] if "://" in address else "http").lower()
    if _SCHEME.fullmatch(scheme) and scheme.startswith("socks"):
        return "SOCKS proxies aren't supported"
    if found is None or int(found["port"] or 1) not in range(1, _LARGEST_PORT + 1):
        return "expected http://host:port, without quotes and spaces"
    return None if scheme in _SCHEMES else "expected http://host:port"


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of NO_PROXY covers a host: by name, domain or network, with or without a port."""
    if entry == "*":
        return True
    if "/" in entry:
        return _is_in_network(host, entry)
    bare = entry.count(":") > 1 and not entry.startswith("[")
    found = None if bare else _ENTRY.fullmatch(entry)
    name, wanted = (entry, None) if found is None else (found["host"], found["port"])
    if wanted is not None and int(wanted) != port:
        return False
    name, host = name.removeprefix("*").strip("."), host.removesuffix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_in_network(host: str, network: str) -> bool:
    from ipaddress import ip_address, ip_network

    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def _shown(address: str) -> str:
    """Return a proxy's address without the account in it."""
    before, at, behind = address.rpartition("@")
    scheme, separator, _ = before.partition("://")
    # Without a scheme before it, `://` may be a part of the password.
    text = f"{scheme + separator if separator and _SCHEME.fullmatch(scheme) else ''}{MASK}@{behind}" if at else address
    return printable(text)[:_LONGEST]
