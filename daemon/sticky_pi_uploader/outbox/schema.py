"""The outbox's tables, as numbered steps: each is made in one transaction, in order, and never edited afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sticky_pi_api.sqlite.connection import Migration

UNTRIED: Final[Mapping[str, Any]] = {
    "attempts": 0,
    "misses": 0,
    "failed_since": None,
    "refused_after": None,
    "not_before": None,
}
"""What the columns that tell of a picture's tries hold before the first"""

_FIRST_TABLES: Final = (
    # A name that isn't UTF-8 is kept as a BLOB, so that it compares and comes back byte for byte.
    """
    CREATE TABLE pictures (
        id INTEGER PRIMARY KEY,
        folder TEXT NOT NULL,
        name TEXT NOT NULL,
        device TEXT COLLATE NOCASE,
        datetime TEXT,
        md5 TEXT,
        state TEXT NOT NULL
            CHECK (state IN ('pending', 'uploading', 'uploaded', 'conflict', 'rejected', 'lost')),
        attempts INTEGER NOT NULL DEFAULT 0,
        misses INTEGER NOT NULL DEFAULT 0,
        failed_since INTEGER,
        refused_after INTEGER,
        not_before REAL,
        reason TEXT,
        receipt_md5 TEXT,
        uploaded_at REAL,
        removed_at REAL,
        suspect TEXT,
        metadata TEXT,
        size INTEGER,
        mtime_ns INTEGER,
        inode INTEGER,
        file_system TEXT NOT NULL,
        present INTEGER NOT NULL DEFAULT 1 CHECK (present IN (0, 1)),
        recheck INTEGER NOT NULL DEFAULT 0 CHECK (recheck IN (0, 1)),
        UNIQUE (folder, name),
        CHECK (state != 'uploaded' OR receipt_md5 IS md5),
        CHECK (state IN ('rejected', 'lost') OR (device IS NOT NULL AND datetime IS NOT NULL AND md5 IS NOT NULL))
    )
    """,
    "CREATE INDEX pictures_by_key ON pictures (device, datetime)",
    "CREATE INDEX pictures_to_send ON pictures (datetime) WHERE state = 'pending'",
    "CREATE INDEX pictures_by_state ON pictures (state)",
    """
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        state TEXT NOT NULL,
        why TEXT NOT NULL
    )
    """,
    "CREATE INDEX history_by_picture ON history (picture_id)",
    """
    CREATE TABLE destinations (
        url TEXT PRIMARY KEY,
        configured INTEGER NOT NULL CHECK (configured IN (0, 1)),
        state TEXT NOT NULL DEFAULT 'unknown',
        reason TEXT,
        retry_at REAL,
        failures INTEGER NOT NULL DEFAULT 0,
        holds_all INTEGER NOT NULL DEFAULT 1 CHECK (holds_all IN (0, 1)),
        accepted INTEGER NOT NULL DEFAULT 0
    )
    """,
)

_TASKS_AND_CLOCKS: Final = (
    "CREATE TABLE tasks (task TEXT PRIMARY KEY, at REAL NOT NULL)",
    # Unknown for what was taken in before.
    "ALTER TABLE pictures ADD COLUMN clock_synchronised INTEGER CHECK (clock_synchronised IN (0, 1))",
)

IN_DOUBT: Final = (
    "state != 'lost' AND (recheck = 1 OR present = 0 OR size IS NULL"
    " OR (inode = 0 AND state IN ('pending', 'conflict', 'rejected')))"
)
"""Says of which pictures a scan is to look at the file, whatever its folder looks like; inode 0 was never seen"""

_FOLDERS_AND_WAITS: Final = (
    """
    CREATE TABLE folders (
        folder TEXT PRIMARY KEY,
        inode INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    # Of the few that these are about: with all pictures in them, each would be a page more to write for a picture.
    f"CREATE INDEX pictures_in_doubt ON pictures (folder) WHERE {IN_DOUBT}",
    "CREATE INDEX pictures_waiting ON pictures (not_before) WHERE state = 'pending' AND not_before IS NOT NULL",
)

_CTIME: Final = (
    # Unknown for what was taken in before, until it is next looked at.
    "ALTER TABLE pictures ADD COLUMN ctime_ns INTEGER",
)

_ANSWERED: Final = (
    "ALTER TABLE destinations ADD COLUMN answered INTEGER NOT NULL DEFAULT 0 CHECK (answered IN (0, 1))",
)

MIGRATIONS: tuple[Migration, ...] = (_FIRST_TABLES, _TASKS_AND_CLOCKS, _FOLDERS_AND_WAITS, _CTIME, _ANSWERED)
