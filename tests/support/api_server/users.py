"""The users that the API makes and tells of, beside the accounts that the server starts with."""

import re
import time

from .generations import FILE_NAME_FORM

_SHOWN = ("id", "username", "email", "is_admin", "can_write", "datetime_created")
_TAKEN = {"username", "password", "email", "is_admin", "can_write"}


class Users:
    """The two verbs. They raise ValueError, KeyError, TypeError and sqlite3.IntegrityError, and nobody is told."""

    def __init__(self, generation, store):
        """Keep what is needed."""
        self._generation = generation
        self._store = store

    def find(self, patterns):
        """Return the users who are like one of the patterns, as this generation takes them, or all for None."""
        if patterns is None:
            return [self._written(row) for row in self._store.users()]
        several = patterns if self._generation.takes_lists_of_patterns else [patterns]
        return [
            self._written(row)
            for row in self._store.users()
            if any(all(_is_like(row[name], pattern) for name, pattern in dict(one).items()) for one in several)
        ]

    def put(self, entries):
        """Add users, all of them or none, and return their rows."""
        if any(entry.keys() - _TAKEN for entry in entries):
            raise ValueError("a field that no user has")
        created = time.strftime(FILE_NAME_FORM, time.gmtime())
        rows = [
            {
                "username": entry["username"],
                "password": entry["password"],
                "email": entry.get("email"),
                "is_admin": bool(entry.get("is_admin")),
                "can_write": bool(entry.get("can_write")),
                "datetime_created": created,
            }
            for entry in entries
        ]
        return [self._written(row) for row in self._store.insert_users(rows)]

    def _written(self, row):
        written = {name: row[name] for name in _SHOWN}
        return {**written, "datetime_created": self._generation.write_datetime(row["datetime_created"])}


def _is_like(value, pattern):
    form = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    return value is not None and re.fullmatch(form, str(value), re.IGNORECASE | re.DOTALL) is not None
