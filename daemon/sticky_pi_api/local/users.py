"""Query and fill the embedded store's table of users."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sticky_pi_api.local.images import ImagesDatabase
from sticky_pi_api.local.passwords import hash_password
from sticky_pi_api.local.schema import to_datetime, to_text
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.types import Row
from sticky_pi_api.utils import utc_now
from sticky_pi_api.validation.users import COLUMNS, NewUser

_ALL: Final = f"SELECT {', '.join(COLUMNS)} FROM users"  # noqa: S608 - our own names


def add_users(database: ImagesDatabase, users: Iterable[NewUser]) -> list[Row]:
    """Add users, all or none, and return their rows. Raises StoreError and sqlite3.IntegrityError."""
    # Outside the transaction, as a hash takes long.
    hashed = [(user, hash_password(user.password)) for user in users]
    with database.writing():
        rows = [_add(database, user) for user, _ in hashed]
        # Before the rows are committed: a user without a hash would be useless.
        database.keep_hashes({user.username: password_hash for user, password_hash in hashed})
        return rows


def all_users(database: ImagesDatabase) -> list[Row]:
    """Return the rows of all users, in the order in which they were added. Raises StoreError."""
    return _query(database, f"{_ALL} ORDER BY id")


def _add(database: ImagesDatabase, user: NewUser) -> Row:
    row = {
        "username": user.username,
        "email": user.email,
        "password_hash": "",
        "is_admin": bool(user.is_admin),
        "can_write": bool(user.can_write),
        "datetime_created": to_text(utc_now()),
    }
    try:
        number = database.add("users", row)
    except IntegrityError as error:
        raise IntegrityError(f"the user {user.username!r} can't be added: {error}") from None
    return _query(database, f"{_ALL} WHERE id = ?", number)[0]


def _query(database: ImagesDatabase, sql: str, *parameters: object) -> list[Row]:
    return [
        {
            **dict(found),
            "is_admin": bool(found["is_admin"]),
            "can_write": bool(found["can_write"]),
            "datetime_created": to_datetime(found["datetime_created"]),
        }
        for found in database.read(sql, *parameters)
    ]
