"""Get all users of a server, and add users where the server has none of them yet."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sticky_pi_api.remote.responses import WrongShapeError, read_users
from sticky_pi_api.remote.server import Server
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.types import Row
from sticky_pi_api.validation.users import NewUser


def all_users(server: Server) -> list[Row]:
    """Return the rows of all users: servers of different releases take different patterns, and all take none."""
    return server.ask("/get_users", None, read_users)


def add_users(server: Server, users: Sequence[NewUser]) -> list[Row]:
    """Add users in one request, after asking the server whether it has none of them, and return their rows.

    Raises RemoteError, and sqlite3.IntegrityError where the server has one of them.
    """
    if not users:
        return []
    rows = all_users(server)
    for column in ("username", "email"):
        _require_new(column, [getattr(user, column) for user in users], rows)
    names = [user.username for user in users]

    def read(body: bytes) -> list[Row]:
        made = read_users(body)
        if [row["username"] for row in made] != names:
            raise WrongShapeError("without the rows of the users that it got")
        return made

    def look() -> list[Row | None]:
        there = {row["username"]: row for row in all_users(server)}
        return [there.get(name) for name in names]

    # A field that wasn't given is left out.
    entries = [{name: value for name, value in user._asdict().items() if value is not None} for user in users]
    return server.tell("/put_users", json.dumps(entries).encode(), read, look)


def _require_new(column: str, wanted: Sequence[str | None], rows: Sequence[Row]) -> None:
    taken = {row.get(column) for row in rows}
    for value in wanted:
        if value is not None and value in taken:
            raise IntegrityError(f"there is a user with the {column} {value!r} already")
        taken.add(value)
