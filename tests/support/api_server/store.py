"""What the server holds: the database's rows, and the stored objects beside them.

The two are as independent as MariaDB and S3: an object is written over whatever row there may be.
"""

import json
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sticky_pi_api.images.filename import parse_filename

from .generations import FILE_NAME_FORM

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS images (
        id INTEGER PRIMARY KEY,
        device TEXT NOT NULL COLLATE NOCASE,
        datetime TEXT NOT NULL,
        md5 TEXT NOT NULL,
        fields TEXT NOT NULL,
        UNIQUE (device, datetime)
    );
    CREATE TABLE IF NOT EXISTS annotations (
        id INTEGER PRIMARY KEY,
        parent_image_id INTEGER NOT NULL,
        algo_name TEXT NOT NULL,
        algo_version TEXT NOT NULL,
        row TEXT NOT NULL,
        UNIQUE (parent_image_id, algo_name, algo_version)
    );
    CREATE TABLE IF NOT EXISTS users (
        id INTEGER PRIMARY KEY,
        username TEXT NOT NULL UNIQUE COLLATE NOCASE,
        email TEXT UNIQUE,
        row TEXT NOT NULL
    );
"""


@dataclass(frozen=True, slots=True)
class Key:
    """Which picture: its device, as it is written there, and its datetime, as in the file names."""

    device: str
    datetime: str

    @classmethod
    def of_name(cls, name):
        """Return the key in a file name.

        Raises FilenameError.
        """
        device, when = parse_filename(name)
        return cls(device, when.strftime(FILE_NAME_FORM))

    @property
    def object_name(self):
        """Where the picture is among the stored objects."""
        return f"{self.device}/{self.device}.{self.datetime}.jpg"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the database; `fields` are the other columns."""

    id: int | None
    key: Key
    md5: str
    fields: Mapping[str, Any]


class Store:
    """A folder that holds pictures; any number of threads may use it, and several processes."""

    def __init__(self, folder):
        """Open the folder, made where it isn't there."""
        self._objects = Path(folder) / "objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            Path(folder) / "rows.db", timeout=10, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.executescript(_SCHEMA)

    def close(self):
        """Let go of the database."""
        self._database.close()

    def insert(self, row):
        """Add a row.

        Raises sqlite3.IntegrityError where its key is held, in any case.
        """
        values = (row.key.device, row.key.datetime, row.md5, json.dumps(dict(row.fields)))
        with self._lock:
            self._database.execute("INSERT INTO images (device, datetime, md5, fields) VALUES (?, ?, ?, ?)", values)

    def find(self, device, when):
        """Return the row of a picture, or None; `when` is as in the file names."""
        return next(iter(self._select("device = ? AND datetime = ?", device, when)), None)

    def find_series(self, device, start, end):
        """Return the rows of the devices LIKE `device`, from `start` to before `end`."""
        return self._select("device LIKE ? AND datetime >= ? AND datetime < ?", device, start, end)

    def rows(self):
        """Return all rows, in the order that they were added in."""
        return self._select("TRUE")

    def insert_annotations(self, rows):
        """Add annotations, all of them or none, and return them with their ids.

        Raises sqlite3.IntegrityError.
        """
        return self._insert("annotations", ("parent_image_id", "algo_name", "algo_version"), rows)

    def annotations_of(self, image_id):
        """Return the annotations of an image, oldest first."""
        return self._more("annotations", "parent_image_id = ?", image_id)

    def insert_users(self, rows):
        """Add users, all of them or none, and return them with their ids.

        Raises sqlite3.IntegrityError.
        """
        return self._insert("users", ("username", "email"), rows)

    def users(self):
        """Return all users that were added, oldest first."""
        return self._more("users", "TRUE")

    def write_object(self, name, blob):
        """Store an object, whether or not there is one of that name; None removes it."""
        path = self._objects / name
        if blob is None:
            path.unlink()
            return
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(blob)

    def read_object(self, name):
        """Return an object's bytes, or None where there is none."""
        path = (self._objects / name).resolve()
        return path.read_bytes() if path.is_relative_to(self._objects.resolve()) and path.is_file() else None

    def objects(self):
        """Return all objects' bytes by name."""
        files = (path for path in sorted(self._objects.rglob("*")) if path.is_file())
        return {str(path.relative_to(self._objects)): path.read_bytes() for path in files}

    def clear(self):
        """Hold nothing any more."""
        with self._lock:
            for table in ("images", "annotations", "users"):
                self._database.execute(f"DELETE FROM {table}")
        for folder in self._objects.iterdir():
            shutil.rmtree(folder)

    def _select(self, where, *values):
        with self._lock:
            found = self._database.execute(
                f"SELECT id, device, datetime, md5, fields FROM images WHERE {where} ORDER BY id", values
            ).fetchall()
        return [Row(number, Key(device, when), md5, json.loads(more)) for number, device, when, md5, more in found]

    def _insert(self, table, columns, rows):
        names, places = ", ".join((*columns, "row")), ", ".join("?" * (len(columns) + 1))
        added = []
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for row in rows:
                    values = (*(row[column] for column in columns), json.dumps(row))
                    cursor = self._database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
                    added.append({"id": cursor.lastrowid, **row})
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        return added

    def _more(self, table, where, *values):
        with self._lock:
            found = self._database.execute(f"SELECT id, row FROM {table} WHERE {where} ORDER BY id", values).fetchall()
        return [{"id": number, **json.loads(row)} for number, row in found]
