"""Create and migrate the embedded store's tables, in numbered steps that are never edited afterwards.

The tables are SQL: sqlite-utils has no arguments for CHECK, COLLATE, NUMERIC and ON DELETE CASCADE, and its releases
quote names differently, whereas `sqlite_master` has to be the same for every store.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite_utils import Database

_IMAGES_TABLE: Final = """
    CREATE TABLE images (
        id INTEGER PRIMARY KEY,
        device TEXT NOT NULL COLLATE NOCASE CHECK (length(device) = 8),
        datetime TEXT NOT NULL,
        md5 TEXT NOT NULL CHECK (length(md5) = 32),
        device_version TEXT,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        alt REAL,
        lat REAL,
        lng REAL,
        temp REAL,
        hum REAL,
        no_flash_shutter_speed REAL,
        no_flash_exposure_time REAL,
        no_flash_bv REAL,
        no_flash_iso INTEGER,
        lum REAL,
        bat NUMERIC,
        but INTEGER CHECK (but IN (0, 1)),
        datetime_created TEXT NOT NULL,
        api_version TEXT NOT NULL,
        api_user TEXT,
        UNIQUE (device, datetime)
    )
    """

USERS_TABLE: Final = """
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        username TEXT NOT NULL UNIQUE,
        email TEXT UNIQUE,
        password_hash TEXT NOT NULL,
        is_admin INTEGER NOT NULL CHECK (is_admin IN (0, 1)),
        can_write INTEGER NOT NULL CHECK (can_write IN (0, 1)),
        datetime_created TEXT NOT NULL
    )
    """
"""`password_hash` is empty, see `passwords`"""

_ANNOTATIONS_TABLE: Final = """
    CREATE TABLE uid_annotations (
        id INTEGER PRIMARY KEY,
        parent_image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        algo_name TEXT NOT NULL,
        algo_version TEXT NOT NULL,
        n_objects INTEGER NOT NULL CHECK (n_objects >= 0),
        datetime_created TEXT NOT NULL,
        api_version TEXT NOT NULL,
        api_user TEXT,
        json TEXT NOT NULL,
        UNIQUE (parent_image_id, algo_name, algo_version)
    )
    """
"""`json` is the last column, because SQLite reads all of it to reach a later one"""


def _create_images(database: Database) -> None:
    database.execute(_IMAGES_TABLE)


def _create_annotations_and_users(database: Database) -> None:
    database.execute(_ANNOTATIONS_TABLE)
    database.execute(USERS_TABLE)


MIGRATIONS: Final = (_create_images, _create_annotations_and_users)

API_VERSION: Final = "1"
"""The release of the library's behaviour that made a row"""


def to_text(when: datetime) -> str:
    """Return a naive UTC datetime as the tables hold it."""
    return f"{when.isoformat()}Z"


def to_datetime(text: str) -> datetime:
    """Return the naive UTC datetime that a table holds."""
    return datetime.fromisoformat(text.removesuffix("Z"))
