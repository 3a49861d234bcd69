"""Get all users of a server, and add users where the server has none of them yet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sticky_pi_api.exceptions import UnclearEndError
from sticky_pi_api.remote.responses import WrongShapeError, read_users
from sticky_pi_api.remote.server import Server, settle
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.types import Row
from sticky_pi_api.validation.users import NewUser


class ServerUsers:
    """The verbs of users; each raises RemoteError where the server doesn't do it."""

    def __init__(self, server: Server) -> None:
        """Take the server."""
        self._server = server

    def all(self) -> list[Row]:
        """Return the rows of all users: servers of different releases take different patterns, and all take none."""
        return self._server.ask("/get_users", None, read_users)

    def put(self, users: Sequence[NewUser]) -> list[Row]:
        """Put users in one request, once the server says that it has none of them, and return their rows.

        Raises sqlite3.IntegrityError.
        """
        if not users:
            return []
        rows = self.all()
        for column in ("username", "email"):
            _check_new(column, [getattr(user, column) for user in users], rows)
        names = [user.username for user in users]

        def read(body: bytes) -> list[Row]:
            made = read_users(body)
            if [row["username"] for row in made] != names:
                raise WrongShapeError("without the rows of the users that it got")
            return made

        def look() -> list[Row | None]:
            there = {row["username"]: row for row in self.all()}
            return [there.get(name) for name in names]

        try:
            return self._server.tell("/put_users", json.dumps([_written(user) for user in users]).encode(), read)
        except UnclearEndError as unclear:
            end = unclear.end
        return settle(end, look, self._server.address)


def _check_new(column: str, wanted: Sequence[str | None], rows: Sequence[Row]) -> None:
    taken = {row.get(column) for row in rows}
    for value in wanted:
        if value is not None and value in taken:
            raise IntegrityError(f"there is a user with the {column} {value!r} already")
        taken.add(value)


def _written(user: NewUser) -> dict[str, Any]:
    """Return a user as a request has it, without what wasn't said."""
    return {name: value for name, value in user._asdict().items() if value is not None}
