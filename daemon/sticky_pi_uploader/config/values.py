"""Validate and convert configuration values, one function for each kind.

Each raises ValueError that says what was expected; the caller adds where the value was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from sticky_pi_api.transport.credentials import Secret

# Compiled when they are needed: most starts need none of them.
_HOST: Final = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*\.?"
_NEEDS_NO_QUOTES: Final = r"[\w./~-]*"
_AMOUNT: Final = r"([0-9]{1,15}(?:\.[0-9]{1,3})?) *(%|[kmgt]?b|[kmgt]ib)"
_UNITS: Final = {
    unit.lower(): base ** (power + 1)
    for base, units in ((1000, ("kB", "MB", "GB", "TB")), (1024, ("KiB", "MiB", "GiB", "TiB")))
    for power, unit in enumerate(units)
} | {"b": 1}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LARGEST: Final = 10**15  # bytes
_HOURS: Final = r"(([01][0-9]|2[0-3]):[0-5][0-9])-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
_URL: Final = "expected https://host, https://host:port or file:///folder"


class Space(NamedTuple):
    """An amount of disk space: a share of the disk, or a number of bytes."""

    percent: float | None = None
    bytes: int | None = None

    def of(self, disk_size: int) -> int:
        """Return the number of bytes on a disk of `disk_size` bytes."""
        return self.bytes if self.bytes is not None else round(disk_size * (self.percent or 0.0) / 100)

    def __str__(self) -> str:
        """Return the text that the configuration accepts."""
        return str(self.bytes) if self.bytes is not None else f"{self.percent!r}".removesuffix(".0") + " %"


def absolute_path(value: object) -> str:
    """Validate an absolute path, and return it without `..`, `.` and needless slashes."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a path in quotes")
    if "\0" in value:
        raise ValueError("expected a path; no file name has a zero byte in it")
    if not value.startswith("/"):
        home = "; ~ isn't understood here" if value.startswith("~") else ""
        raise ValueError(f"expected an absolute path, one that begins with /{home}")
    return "/" + os.path.normpath(value).lstrip("/")


def password_source(value: object) -> str | Secret:
    """Validate the path of the password file, or the password itself, as the environment gives it."""
    if not isinstance(value, Secret):
        return absolute_path(value)
    try:
        value.reveal().encode()
    except UnicodeEncodeError:
        raise ValueError("expected UTF-8 text") from None
    return value


def user_name(value: object) -> str:
    """Validate a name that HTTP Basic authentication can carry."""
    if not isinstance(value, str) or not value or not value.isprintable() or ":" in value:
        raise ValueError("expected a user name in quotes, without a colon")
    return value


def truth(value: object) -> bool:
    """Validate true or false."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")  # noqa: TRY004  # one error for every wrong value
    return value


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """Return a function that validates whole numbers from `low` to `high`."""

    def take(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, without quotes")
        return value

    return take


def some_of(*names: str) -> Callable[[object], tuple[str, ...]]:
    """Return a function that validates a list of some of these names."""

    def take(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name in names for name in value):
            listed = ", ".join(f'"{name}"' for name in names)
            raise ValueError(f"expected a list of some of {listed}, in square brackets")
        return tuple(dict.fromkeys(value))

    return take


def one_of(*names: str) -> Callable[[object], str]:
    """Return a function that validates one of these names."""

    def take(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            listed = ", ".join(f'"{name}"' for name in names)
            raise ValueError(f"expected one of {listed}, in quotes")
        return value

    return take


def day_hours(value: object) -> tuple[str, ...]:
    """Validate a list of hours of the day as HH:MM-HH:MM; those that end at or before their begin go over midnight."""
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of hours such as ["10:00-16:00", "22:00-04:00"], in square brackets')  # noqa: TRY004  # one error for every wrong value
    for each in value:
        found = re.fullmatch(_HOURS, each) if isinstance(each, str) else None
        if found is None:
            raise ValueError(f'expected hours such as "10:00-16:00" in the list; {each!a:.40} isn\'t that')
        if found[1] == found[3]:
            raise ValueError(f"expected hours that end later than they begin; {each!a} is empty")
    return tuple(dict.fromkeys(value))


def transfer_rate(value: object) -> int:
    """Validate a number of bytes a second, as a number or as text with a unit."""
    rate = _space(value)
    # At a lower rate, a single picture takes an hour.
    if rate is None or rate.bytes is None or not 1000 <= rate.bytes <= _LARGEST:  # noqa: PLR2004
        raise ValueError('expected bytes a second, 1000 or more, such as 50000 or "50 kB"')
    return rate.bytes


def disk_space(value: object) -> Space:
    """Validate a share of the disk as text, or a number of bytes, as a number or as text with a unit."""
    space = _space(value)
    if space is None or (space.percent or 0) >= 100 or (space.bytes or 0) > _LARGEST:  # noqa: PLR2004
        raise ValueError('expected a share of the disk, such as "15 %", or bytes, such as 500000000 or "500 MB"')
    return space


def _space(value: object) -> Space | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Space(bytes=value)
    if not isinstance(value, str) or not (match := re.fullmatch(_AMOUNT, value.strip(), re.IGNORECASE)):
        return None
    amount, unit = float(match[1]), match[2].lower()
    return Space(percent=amount) if unit == "%" else Space(bytes=round(amount * _UNITS[unit]))


def address(value: object) -> str:
    """Validate the destination's address and normalise its spelling; "" is an address that isn't set yet."""
    if not isinstance(value, str):
        raise ValueError(f"{_URL}, in quotes")  # noqa: TRY004  # one error for every wrong value
    if not value:
        return value
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError(f"{_URL}, without control characters")
    scheme, separator, rest = value.partition("://")
    if separator and scheme.lower() == "file":
        return _store_address(rest)
    if separator and scheme.lower() in _DEFAULT_PORTS:
        return _server_address(scheme.lower(), rest)
    raise ValueError(_URL)


def _store_address(rest: str) -> str:
    if not rest.startswith("/"):
        raise ValueError("expected file:///folder: three slashes, then an absolute path")
    if "?" in rest or "#" in rest:
        raise ValueError("expected file:///folder; in a folder's name, ? is written %3F and # is written %23")
    return store_address(absolute_path(_unquoted(rest)))


def store_address(folder: str) -> str:
    """Return the address of the embedded store in `folder`."""
    if re.fullmatch(_NEEDS_NO_QUOTES, folder, re.ASCII):
        return "file://" + folder
    from urllib.parse import quote

    return "file://" + quote(os.fsencode(folder))


def store_folder(url: str) -> str | None:
    """Return the folder of the embedded store at this address; None if it is a server's."""
    return _unquoted(url.removeprefix("file://")) if url.startswith("file://") else None


def _unquoted(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))


def _server_address(scheme: str, rest: str) -> str:
    authority, _, more = rest.partition("/")
    if "@" in authority:
        raise ValueError("expected an address without user name and password: they are username and password_file")
    if more or "?" in rest or "#" in rest:
        raise ValueError(f"expected {scheme}://host or {scheme}://host:port, with nothing after it")
    host, port = _host_and_port(authority.lower())
    return f"{scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS[scheme]) else f":{port}")


def server_parts(url: str) -> tuple[str, str, int] | None:
    """Return the protocol, host and port of the server at this address; None if it is a store's."""
    protocol, _, authority = url.partition("://")
    if protocol not in _DEFAULT_PORTS:
        return None
    host, port = _host_and_port(authority)
    return protocol, host.strip("[]"), port or _DEFAULT_PORTS[protocol]


def _host_and_port(authority: str) -> tuple[str, int | None]:
    host, bracket, tail = authority.rpartition("]")
    if not bracket:
        host, colon, port = authority.partition(":")
        tail = colon + port
    if not re.fullmatch(r"(:[0-9]{1,5})?", tail) or (tail and not 1 <= int(tail[1:]) <= 65535):  # noqa: PLR2004
        raise ValueError("expected a port number from 1 to 65535 after the host's colon")
    if not (_is_ipv6(host) if bracket else len(host) < 254 and re.fullmatch(_HOST, host)):  # noqa: PLR2004  # DNS's limit
        raise ValueError(f"{_URL}, with a host's name or address")
    return host + bracket, int(tail[1:]) if tail else None


def _is_ipv6(bracketed: str) -> bool:
    from ipaddress import IPv6Address

    try:
        return bracketed.startswith("[") and bool(IPv6Address(bracketed[1:]))
    except ValueError:
        return False


def is_plain_http_abroad(url: str) -> bool:
    """Return whether requests to this address leave the machine unencrypted."""
    protocol, host, _ = server_parts(url) or ("", "", 0)
    if protocol != "http":
        return False
    from ipaddress import ip_address

    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
