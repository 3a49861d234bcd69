"""Choose a database's journal: a write-ahead log (WAL), or a rollback journal where the log isn't possible.

The log needs memory that processes share, which network file systems and some others don't have. Without file locks
there can be no database at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from sticky_pi_api.filesystem.mounts import MOUNTINFO, network_file_system
from sticky_pi_api.sqlite.errors import Fault, UnfitError, classify

_NOT_TO_BE_HAD: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_asked: Final[dict[str, int]] = {}
"""Open descriptors of the files whose locks were tested; closing one would end SQLite's own locks on the file

So a process that once found a database busy keeps its file system in use until the process ends.
"""


class Journal(Enum):
    """The journal that a connection asks for."""

    BEST = "the log where there can be one, and as it is where there is a database already"
    AS_IT_IS = "whatever the database has"
    ROLLBACK = "no log"


def open_with_journal(
    open_one: Callable[[], sqlite3.Connection],
    path: str,
    timeout: float,
    *,
    wanted: Journal = Journal.BEST,
    mountinfo: str = MOUNTINFO,
) -> sqlite3.Connection:
    """Open a database by `open_one`, and wait for other processes for `timeout` seconds.

    A log that can't be used is moved into the database. Raises UnfitError where the file system has no locks.
    """
    if wanted is Journal.BEST and network_file_system(path, mountinfo) is not None:
        wanted = Journal.ROLLBACK
    deadline, alone = time.monotonic() + timeout, False
    while True:
        connection = open_one()
        try:
            _settle(connection, wanted, alone=alone)
            connection.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
        except sqlite3.OperationalError as error:
            connection.close()
            fault = classify(error, path)
            has_no_maps = error.sqlite_errorcode == sqlite3.SQLITE_IOERR_SHMMAP
            if (has_no_maps or fault is Fault.NO_LOCKS) and not alone:
                # In the memory of one process the log needs neither.
                alone, wanted = True, wanted if wanted is Journal.AS_IT_IS else Journal.ROLLBACK
                continue
            if fault is Fault.NO_LOCKS or (fault is Fault.BUSY and _is_without_locks(path)):
                raise UnfitError(path) from error
            if fault is not Fault.BUSY or time.monotonic() > deadline:
                raise
            # Not all at the same pace: two that wait for each other have to part.
            time.sleep(0.01 * (1 + os.getpid() % 7))
        except BaseException:
            connection.close()
            raise
        else:
            return connection


def _settle(connection: sqlite3.Connection, wanted: Journal, *, alone: bool) -> None:
    """Set the journal, and read with it; with `alone`, no other process may have the database open meanwhile."""
    if alone:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    if wanted is Journal.ROLLBACK:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    elif wanted is Journal.BEST and (_is_new(connection) or _has_log(connection)):
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
    if alone and wanted is Journal.ROLLBACK:
        connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _is_new(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA page_count").fetchone()[0] == 0)


def _has_log(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _is_without_locks(path: str) -> bool:
    """Return whether the file system has no locks; SQLite reports the same for a file that is locked."""
    try:
        if path not in _asked:
            _asked[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # The first byte is none of those that SQLite locks.
        fcntl.lockf(_asked[path], fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
        fcntl.lockf(_asked[path], fcntl.LOCK_UN, 1)
    except OSError as error:
        return error.errno in _NOT_TO_BE_HAD
    return False
