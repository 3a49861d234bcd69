"""Query and fill the embedded store's table of images; the other tables use the same database through it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from sticky_pi_api.exceptions import StoreError
from sticky_pi_api.filesystem.durable import sync_folder
from sticky_pi_api.filesystem.safe_open import file_id
from sticky_pi_api.filesystem.store_folder import require_no_links, require_plain_database
from sticky_pi_api.local import passwords
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.local.schema import API_VERSION, MIGRATIONS, USERS_TABLE, to_datetime, to_text
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import FileReplacedError
from sticky_pi_api.types import Key, Row
from sticky_pi_api.utils import utc_now
from sticky_pi_api.validation.images import COLUMNS
from sticky_pi_api.validation.queries import next_second

if TYPE_CHECKING:
    import sqlite3

_CHUNK = 500
# This form looks each key up in the index; `IN` would read all images.
_FOUND = """
    WITH asked (device, datetime) AS (VALUES {})
    SELECT images.* FROM asked CROSS JOIN images ON images.device = asked.device AND images.datetime = asked.datetime
"""
_PAGE = "SELECT * FROM images WHERE device = ? AND datetime > ? AND datetime < ? ORDER BY datetime LIMIT ?"
# This form takes one step in the index of (device, datetime) for each device, not for each image.
_DEVICES = """
    WITH RECURSIVE devices (device) AS (
        SELECT min(device) FROM images
        UNION ALL
        SELECT (SELECT min(images.device) FROM images WHERE images.device > devices.device)
        FROM devices WHERE device IS NOT NULL
    )
    SELECT device FROM devices WHERE device LIKE ?
"""


def look_at(local_dir: str) -> None:
    """Check, without changes, that a store has no links in it, and that its database, if any, can be read.

    Raises sqlite3.Error, also where a newer release wrote it, and OSError.
    """
    require_no_links(local_dir)
    path = os.path.join(local_dir, "database.db")
    if os.path.lexists(path):
        with closing(sqlite.open_to_look(path)) as connection:
            sqlite.require_known(connection, MIGRATIONS)
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()


class ImagesDatabase:
    """`<local_dir>/database.db`, for any number of threads, which use one connection one after the other.

    All methods raise StoreError where the database fails.
    """

    def __init__(self, local_dir: str) -> None:
        """Open the database; make the file and the tables that are missing. Raises sqlite3.Error and OSError."""
        self._folder = local_dir
        self._moved = False
        self._path = path = os.path.join(local_dir, "database.db")
        require_plain_database(local_dir, "database.db")
        is_new = not os.path.exists(path)
        self._lock = threading.RLock()
        self._connection = sqlite.connect(path, shared_between_threads=True)
        # Also for a store that nobody closes: Python warns of connections that are left open.
        self.close = weakref.finalize(self, self._connection.close)
        try:
            sqlite.migrate(self._connection, MIGRATIONS)
            if is_new:
                sync_folder(local_dir)
            self._identity = self._look()
        except BaseException:
            self.close()
            raise

    def find(self, keys: Iterable[Key]) -> list[Row]:
        """Return the rows of the images that are there, in the order of `keys`, each once."""
        wanted = iter(dict.fromkeys((device.lower(), when) for device, when in keys))
        found: list[Row] = []
        while chunk := list(islice(wanted, _CHUNK)):
            places = ", ".join(["(?, ?)"] * len(chunk))
            values = [value for device, when in chunk for value in (device, to_text(when))]
            rows = self._query(_FOUND.format(places), *values)
            there = {(row["device"].lower(), row["datetime"]): row for row in rows}
            found += [there[key] for key in chunk if key in there]
        return found

    def find_series(self, device_pattern: str, start: datetime, end: datetime) -> Iterator[list[Row]]:
        """Yield the rows with start ≤ datetime < end of the devices that are LIKE the pattern, in pages, sorted by key.

        Rows that are added or removed meanwhile may be missing or present.
        """
        first, until = (to_text(next_second(when)) for when in (start, end))
        for (device,) in self.read(_DEVICES, device_pattern):
            # A text that sorts just before the first datetime.
            after = first.removesuffix("Z")
            while page := self._query(_PAGE, device, after, until, _CHUNK):
                yield page
                after = to_text(page[-1]["datetime"])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock, also against other processes: rows don't change between a query and the commit."""
        with self._lock, blaming_the_store(self._folder):
            self._move_hashes()
            with sqlite.transaction(self._connection):
                yield

    def keep_hashes(self, hashes: Mapping[str, str]) -> None:
        """Keep the hashes of some users' passwords by their names, within `writing`."""
        passwords.keep(self._folder, hashes)

    def _move_hashes(self) -> None:
        """Move, once, the hashes that an earlier release left in the table; the store also works if that fails."""
        if not self._moved:
            self._moved = True
            with suppress(StoreError, sqlite.Error):
                passwords.move(self._folder, self._connection, USERS_TABLE)

    def insert(self, image: Mapping[str, Any]) -> Row:
        """Add an image, within `writing`. Raises sqlite3.IntegrityError where its key is there."""
        values = {
            **{name: image.get(name) for name in COLUMNS},
            "datetime": to_text(image["datetime"]),
            "datetime_created": to_text(utc_now()),
            "api_version": API_VERSION,
        }
        # Not RETURNING: it gives whole REALs as integers.
        return self._query("SELECT * FROM images WHERE id = ?", self.add("images", values))[0]

    def read(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        """Return all rows that a SELECT finds, of any table."""
        with self._lock, blaming_the_store(self._folder):
            if self._look() != self._identity:
                raise FileReplacedError("it was removed or replaced while it was in use")
            return self._connection.execute(sql, parameters).fetchall()

    def add(self, table: str, row: Mapping[str, Any]) -> int | None:
        """Add a row to a table, within `writing`, and return its id. Raises sqlite3.IntegrityError."""
        places = ", ".join(f":{name}" for name in row)
        sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - our own names
        return self._connection.execute(sql, row).lastrowid

    def _query(self, sql: str, *parameters: object) -> list[Row]:
        return [_to_row(found) for found in self.read(sql, *parameters)]

    def _look(self) -> tuple[int, int] | None:
        try:
            return file_id(self._path)
        except FileNotFoundError:
            return None


def _to_row(found: sqlite3.Row) -> Row:
    row = dict(found)
    for name in ("datetime", "datetime_created"):
        row[name] = to_datetime(row[name])
    row["but"] = None if row["but"] is None else bool(row["but"])
    return row
