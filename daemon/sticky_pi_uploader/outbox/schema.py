"""Create and migrate the outbox's tables, in numbered steps that are never edited afterwards.

The statements are SQL: sqlite-utils has no arguments for CHECK, COLLATE, ON DELETE CASCADE, partial indices and WITHOUT
ROWID, and its releases quote names differently, whereas a damaged schema is found by its text in `sqlite_master`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .rank import rank

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

UNTRIED: Final[Mapping[str, Any]] = {
    "attempts": 0,
    "misses": 0,
    "failed_since": None,
    "refused_after": None,
    "not_before": None,
    "got_md5": None,
}
"""Values of the columns about a picture's tries before the first"""

IN_DOUBT: Final = (
    "state != 'lost' AND (recheck = 1 OR present = 0 OR size IS NULL"
    " OR (inode = 0 AND state IN ('pending', 'conflict', 'rejected')))"
)
"""Condition of the pictures whose files each scan checks, even in unchanged folders; inode 0 was never seen"""

# A name that isn't UTF-8 is kept as a BLOB, so that it compares and comes back byte for byte.
_PICTURES_TABLE: Final = """
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
    """

_HISTORY_TABLE: Final = """
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        state TEXT NOT NULL,
        why TEXT NOT NULL
    )
    """

_DESTINATIONS_TABLE: Final = """
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
    """

_FOLDERS_TABLE: Final = """
    CREATE TABLE folders (
        folder TEXT PRIMARY KEY,
        inode INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID
    """


def _create_pictures_history_and_destinations(database: Database) -> None:
    database.execute(_PICTURES_TABLE)
    database.execute("CREATE INDEX pictures_by_key ON pictures (device, datetime)")
    database.execute("CREATE INDEX pictures_to_send ON pictures (datetime) WHERE state = 'pending'")
    database.execute("CREATE INDEX pictures_by_state ON pictures (state)")
    database.execute(_HISTORY_TABLE)
    database.execute("CREATE INDEX history_by_picture ON history (picture_id)")
    database.execute(_DESTINATIONS_TABLE)


def _create_tasks_and_add_clocks(database: Database) -> None:
    database.execute("CREATE TABLE tasks (task TEXT PRIMARY KEY, at REAL NOT NULL)")
    # NULL, that is unknown, for pictures that are there already; so is `ctime_ns` below.
    column = "clock_synchronised INTEGER CHECK (clock_synchronised IN (0, 1))"
    database.execute(f"ALTER TABLE pictures ADD COLUMN {column}")


def _create_folders_and_index_waits(database: Database) -> None:
    database.execute(_FOLDERS_TABLE)
    # Partial: with all pictures in them, each index would be a page more to write for a picture.
    database.execute(f"CREATE INDEX pictures_in_doubt ON pictures (folder) WHERE {IN_DOUBT}")
    waiting = "state = 'pending' AND not_before IS NOT NULL"
    database.execute(f"CREATE INDEX pictures_waiting ON pictures (not_before) WHERE {waiting}")


def _add_ctimes(database: Database) -> None:
    database.execute("ALTER TABLE pictures ADD COLUMN ctime_ns INTEGER")


def _add_answered(database: Database) -> None:
    column = "answered INTEGER NOT NULL DEFAULT 0 CHECK (answered IN (0, 1))"
    database.execute(f"ALTER TABLE destinations ADD COLUMN {column}")


def _add_dismissals(database: Database) -> None:
    database.execute("ALTER TABLE pictures ADD COLUMN dismissed_at REAL")
    # A file that has another name now is found by its inode.
    database.execute("CREATE INDEX pictures_by_inode ON pictures (inode)")


_DAMAGED: Final = (
    *("its EXIF is damaged", "its header is damaged", "its data are damaged"),
    *("it doesn't decode", "it changed while it was read"),
)
"""Beginnings of the reasons of files that may well be pictures"""


def coded(state: object, reason: object) -> dict[str, str | None]:
    """Return a picture's code and the md5 that the destination got, from its reason as releases before step 7 wrote it.

    Later releases store both. These texts are data of the earlier ones: they stay when messages change.
    """
    text = reason if isinstance(reason, str) else ""
    code = None
    if state == "conflict" and text.startswith("the destination holds another picture with this device and time"):
        code = "clash"
    elif text.startswith(("it is cut short", "it is empty")):
        code = "cut_short"
    elif text.startswith(_DAMAGED):
        code = "damaged"
    elif state == "rejected" and "the trap's clock wasn't set" in text:
        code = "no_clock"
    _, is_receipt, md5 = text.partition("the destination says that it got other bytes (md5 ")
    return {"reason_code": code, "got_md5": md5.removesuffix(")") if is_receipt else None}


def _add_reason_codes(database: Database) -> None:
    database.execute("ALTER TABLE pictures ADD COLUMN reason_code TEXT")
    database.execute("ALTER TABLE pictures ADD COLUMN got_md5 TEXT")
    rows = database.execute("SELECT id, state, reason FROM pictures WHERE reason IS NOT NULL").fetchall()
    for picture_id, state, reason in rows:
        values = coded(state, reason)
        if any(values.values()):
            update = "UPDATE pictures SET reason_code = :reason_code, got_md5 = :got_md5 WHERE id = :id"
            database.execute(update, {**values, "id": picture_id})
    # These were whole when they were taken in, and were damaged on the card later.
    were_whole = "SELECT picture_id FROM history WHERE state IN ('pending', 'conflict')"
    database.execute(f"UPDATE pictures SET reason_code = NULL WHERE reason_code = 'cut_short' AND id IN ({were_whole})")


def rank_unsent(database: Database | sqlite3.Connection) -> None:
    """Rank the pictures that have neither a rank nor a receipt, as those of releases before step 8."""
    rows = database.execute(
        "SELECT id, device, datetime, state != 'uploaded' AND rank IS NULL FROM pictures"
        " WHERE typeof(device) = 'text' AND typeof(datetime) = 'text' ORDER BY device, datetime"
    ).fetchall()
    device = before = taken_at = None
    for picture_id, each, stamp, is_to_rank in rows:
        if device != each.lower():
            device, before, taken_at = each.lower(), None, None
        if stamp != taken_at:
            before, taken_at = taken_at, stamp
        if is_to_rank:
            with suppress(ValueError):  # a damaged datetime: `Queue` finds it
                database.execute("UPDATE pictures SET rank = ? WHERE id = ?", (rank(each, stamp, before), picture_id))


def _add_ranks(database: Database) -> None:
    # `Queue.set_order` makes an index of the waiting ones where they are sent in this order.
    database.execute("ALTER TABLE pictures ADD COLUMN rank REAL")
    rank_unsent(database)


def _add_hold_and_urgent(database: Database) -> None:
    columns = "cause TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, until REAL"
    database.execute(f"CREATE TABLE hold (id INTEGER PRIMARY KEY CHECK (id = 1), {columns})")
    database.execute("ALTER TABLE pictures ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1))")
    database.execute("CREATE INDEX pictures_urgent ON pictures (state) WHERE urgent = 1")


MIGRATIONS: Final = (
    _create_pictures_history_and_destinations,
    _create_tasks_and_add_clocks,
    _create_folders_and_index_waits,
    _add_ctimes,
    _add_answered,
    _add_dismissals,
    _add_reason_codes,
    _add_ranks,
    _add_hold_and_urgent,
)
