"""Check the users in requests: new users, and the patterns to find users by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sticky_pi_api.types import Info, Row
from sticky_pi_api.validation.queries import is_text

COLUMNS: Final = ("id", "username", "email", "is_admin", "can_write", "datetime_created")
"""The columns of a user's row: those of the table without the password's hash"""

_FIELDS: Final = ("username", "password", "email", "is_admin", "can_write", "model")

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
        return f"{type(self).__name__}({self.username!r})"


def checked_users(info: Iterable[Info]) -> list[NewUser]:
    """Return the users of a request, as `put_users` gets them. Raises ValueError, whose text has no password."""
    return [_checked(f"info[{index}]", entry) for index, entry in enumerate(info)]


def checked_patterns(info: Info | Sequence[Info] | None) -> list[Patterns]:
    """Return the patterns of a request for users, as `get_users` gets them. Raises ValueError."""
    if info is None:
        return [{}]
    entries = [info] if isinstance(info, Mapping) else list(info)
    return [_checked_pattern(f"info[{index}]", entry) for index, entry in enumerate(entries)]


def matching(users: Iterable[Row], patterns: Sequence[Patterns]) -> list[Row]:
    """Return the users that match any of the patterns, in all of its columns."""
    likes = [{name: _like(pattern) for name, pattern in one.items()} for one in patterns]
    return [user for user in users if any(all(_is_like(user.get(name), one[name]) for name in one) for one in likes)]


def _checked(place: str, entry: Info) -> NewUser:
    # Messages name fields, never values: one of them is a password.
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place} isn't a dict")  # noqa: TRY004 - all faults of a request are ValueErrors
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
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _like(pattern: str) -> re.Pattern[str]:
    """Return a pattern of SQL's LIKE as a regular expression: `%` is any text, `_` any character, case is ignored.

    Each text before a `%` is matched at its first place only: with backtracking, matching could take for ever.
    """
    first, *others = (
        "".join("." if character == "_" else re.escape(character) for character in part)
        for part in re.split("%+", pattern.lower())
    )
    between = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile(first + between + (f".*{others[-1]}" if others else ""), re.DOTALL)


def _is_like(value: Any, like: re.Pattern[str]) -> bool:
    return value is not None and like.fullmatch(_as_text(value).lower()) is not None
