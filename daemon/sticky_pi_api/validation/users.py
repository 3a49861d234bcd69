"""Check the users in requests: new ones, whose passwords are hashed, and the patterns to find users by."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sticky_pi_api.types import Info, Row
from sticky_pi_api.validation.queries import is_text

COLUMNS: Final = ("id", "username", "email", "is_admin", "can_write", "datetime_created")
"""Of a row: all of the table's but the password's hash"""

_FIELDS: Final = ("username", "password", "email", "is_admin", "can_write", "model")

# RFC 7914's N, r and p: 32 MB and about a tenth of a second for each guess.
_COST: Final = (2**15, 8, 1)
_MEMORY: Final = 2**26

Patterns = Mapping[str, str]
"""The pattern of each column"""


class NewUser(NamedTuple):
    """A new user; fields that the request leaves out are None."""

    username: str
    password: str
    email: str | None = None
    is_admin: bool | None = None
    can_write: bool | None = None

    def __repr__(self) -> str:
        """Name the user, without the password."""
        return f"{type(self).__name__}({self.username!r})"


def checked_users(info: Iterable[Info]) -> list[NewUser]:
    """Return the users of a request, as `put_users` gets them. Raises ValueError, which tells no password."""
    return [_checked(f"info[{index}]", entry) for index, entry in enumerate(info)]


def hash_password(password: str) -> str:
    """Return a salted scrypt hash, with all that it takes to verify one: `scrypt$N$r$p$salt$hash`, in Base64."""
    (n, r, p), salt = _COST, secrets.token_bytes(16)
    # A password may be any text, half a surrogate pair as well.
    digest = hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)
    return f"scrypt${n}${r}${p}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def checked_patterns(info: Info | Sequence[Info] | None) -> list[Patterns]:
    """Return the patterns of `get_users`, of which a user has to match one. Raises ValueError."""
    if info is None:
        return [{}]
    entries = [info] if isinstance(info, Mapping) else list(info)
    return [_checked_pattern(f"info[{index}]", entry) for index, entry in enumerate(entries)]


def matching(users: Iterable[Row], patterns: Sequence[Patterns]) -> list[Row]:
    """Return the users that match one of the patterns in each of its columns."""
    return [user for user in users if any(all(_is_like(user.get(name), one[name]) for name in one) for one in patterns)]


def _checked(place: str, entry: Info) -> NewUser:
    # Nothing of the entry but the names of its fields: one of them is a password.
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place} isn't a dict")  # noqa: TRY004 - as in `questions`
    _check_names(place, entry, _FIELDS)
    values = {name: value for name, value in entry.items() if name != "model"}
    for name in ("username", "password"):
        if name not in values:
            raise ValueError(f"{place}: '{name}' is missing")
    if not isinstance(values["password"], str) or not values["password"]:
        raise ValueError(f"{place}: 'password' isn't text, or empty")
    for name in ("username", "email"):
        if not (is_text(values.get(name)) and values[name]) and (name == "username" or values.get(name) is not None):
            raise ValueError(f"{place}: '{name}' isn't text, or empty")
    for name in ("is_admin", "can_write"):
        if values.get(name) not in (None, False, True):
            raise ValueError(f"{place}: '{name}' is neither True nor False")
    return NewUser(**values)


def _checked_pattern(place: str, entry: Info) -> Patterns:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place} isn't a dict of patterns")  # noqa: TRY004
    _check_names(place, entry, COLUMNS)
    for name, pattern in entry.items():
        if not isinstance(pattern, str | int):
            raise ValueError(f"{place}: the pattern of '{name}' isn't text")  # noqa: TRY004
    return {name: _as_text(pattern) for name, pattern in entry.items()}


def _check_names(place: str, entry: Info, known: Sequence[str]) -> None:
    for name in entry:
        if name not in known:
            raise ValueError(f"{place}: there is no field {name!r}; there are {', '.join(known)}")


def _as_text(value: Any) -> str:
    """Return a value as the store has it in text."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _is_like(value: Any, pattern: str) -> bool:
    """Return whether a value is LIKE a pattern of SQL: `%` any text, `_` any character, in any case; None never is.

    Not by a regular expression, which could take for ever at some patterns.
    """
    if value is None:
        return False
    text, pattern = _as_text(value).lower(), pattern.lower()
    at = wanted = 0
    after_percent = retry_at = None
    while at < len(text):
        if pattern[wanted : wanted + 1] == "%":
            wanted += 1
            after_percent, retry_at = wanted, at
        elif pattern[wanted : wanted + 1] in ("_", text[at]):
            at, wanted = at + 1, wanted + 1
        elif after_percent is not None and retry_at is not None:
            retry_at += 1
            at, wanted = retry_at, after_percent
        else:
            return False
    return not pattern[wanted:].strip("%")
