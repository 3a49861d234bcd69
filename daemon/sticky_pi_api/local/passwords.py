"""Keep the hashes of passwords in a file beside the store's database, which only its owner can read.

After a crash at any moment, each hash is in this file or still in its user's row, where earlier releases kept it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final

from sticky_pi_api.exceptions import StoreError, printable
from sticky_pi_api.filesystem.durable import sync_folder
from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.filesystem.store_folder import require_plain_database
from sticky_pi_api.sqlite import connection as sqlite

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

FILE: Final = "passwords.db"
"""A SQLite database in the store's folder, of mode 0600"""

_TABLE: Final = """
    CREATE TABLE passwords (username TEXT PRIMARY KEY, password_hash TEXT NOT NULL) WITHOUT ROWID
"""
_WITH_HASHES: Final = "SELECT username, password_hash FROM users WHERE password_hash != ''"
_PATIENCE: Final = 100  # milliseconds

# RFC 7914's N, r and p: 32 MB and about a tenth of a second for each guess.
_COST: Final = (2**15, 8, 1)
_MEMORY: Final = 2**26


def _create_table(database: Database) -> None:
    database.execute(_TABLE)


_MIGRATIONS: Final = (_create_table,)


def hash_password(password: str) -> str:
    """Return a salted scrypt hash with all parameters to verify it: `scrypt$N$r$p$salt$hash`, in Base64."""
    import hashlib
    from base64 import b64encode

    (n, r, p), salt = _COST, os.urandom(16)
    # A password may be any text, even half a surrogate pair.
    digest = hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)
    return f"scrypt${n}${r}${p}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def keep(local_dir: str, hashes: Mapping[str, str]) -> None:
    """Write or replace the hashes of some users, by their names, durably. Raises StoreError.

    The caller holds the lock of the store's database.
    """
    path = os.path.join(local_dir, FILE)
    try:
        require_plain_database(local_dir, FILE)
        _close_to_others(path, local_dir)
        with closing(sqlite.connect(path, page_size=1024)) as connection:
            sqlite.migrate(connection, _MIGRATIONS)
            with sqlite.transaction(connection):
                connection.executemany("INSERT OR REPLACE INTO passwords VALUES (?, ?)", list(hashes.items()))
    except (OSError, sqlite.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"the hashes of passwords can't be written to {printable(path)}: {why}") from error


def move(local_dir: str, connection: sqlite3.Connection, users_table: str) -> None:
    """Move the hashes that an earlier release left in the users' rows, if any; `users_table` is the SQL of that table.

    Raises StoreError and sqlite3.Error; the rows are then as they were.
    """
    if connection.execute(f"{_WITH_HASHES} LIMIT 1").fetchone() is None:
        return
    # Freed pages are overwritten, and within pages the places where rows once were.
    connection.execute("PRAGMA secure_delete = ON")
    with sqlite.transaction(connection):
        keep(local_dir, dict(connection.execute(_WITH_HASHES).fetchall()))
        connection.execute("ALTER TABLE users RENAME TO users_before")
        connection.execute(users_table)
        connection.execute(
            "INSERT INTO users SELECT id, username, email, '', is_admin, can_write, datetime_created FROM users_before"
        )
        connection.execute("DROP TABLE users_before")
    connection.execute("PRAGMA secure_delete = OFF")
    sqlite.empty_log(connection, _PATIENCE)


def _close_to_others(path: str, local_dir: str) -> None:
    """Make the file if it doesn't exist, and keep other users from reading it. Raises OSError."""
    try:
        descriptor = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        descriptor = open_file(path)
    else:
        if os.geteuid() == 0:
            # The file would be useless to another user, whose store it is.
            folder = os.stat(local_dir)
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
        sync_folder(local_dir)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:  # noqa: PLR2004
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
