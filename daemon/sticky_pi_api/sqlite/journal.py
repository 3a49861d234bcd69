"""Choose a database's journal: a write-ahead log (WAL), or a rollback journal where a log isn't possible.

A log needs memory that processes share, which network file systems and some others don't have. No database is possible
without file locks.
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

_UNSUPPORTED: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_tested: Final[dict[str, int]] = {}
"""Open descriptors of the files whose locks were tested: closing one would release SQLite's own locks on the file

So a process that once found a database busy keeps its file system in use until the process ends.
"""


class Journal(Enum):
    """The journal that a connection asks for."""

    BEST = "a log where it is possible; an existing database keeps its journal"
    AS_IT_IS = "the one that the database has"
    ROLLBACK = "a rollback journal"


def open_with_journal(
    open_one: Callable[[], sqlite3.Connection],
    path: str,
    timeout: float,
    *,
    wanted: Journal = Journal.BEST,
    mountinfo: str = MOUNTINFO,
) -> sqlite3.Connection:
    """Open a database by `open_one`, and wait `timeout` seconds for other processes.

    The contents of a log that can't be used are moved into the database. Raises UnfitError where the file system has no
    locks.
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
                # A log in the memory of one process needs neither locks nor shared memory.
                alone, wanted = True, wanted if wanted is Journal.AS_IT_IS else Journal.ROLLBACK
                continue
            if fault is Fault.NO_LOCKS or (fault is Fault.BUSY and _is_without_locks(path)):
                raise UnfitError(path) from error
            if fault is not Fault.BUSY or time.monotonic() > deadline:
                raise
            # Processes wait for different times, or else two could keep colliding.
            time.sleep(0.01 * (1 + os.getpid() % 7))
        except BaseException:
            connection.close()
            raise
        else:
            return connection


def _settle(connection: sqlite3.Connection, wanted: Journal, *, alone: bool) -> None:
    """Set the journal, and read with it; with `alone`, no other process can use the database meanwhile."""
    if alone:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    if wanted is Journal.ROLLBACK:
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    elif wanted is Journal.BEST:
        pages, journal = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "journal_mode"))
        if not pages or journal == "wal":
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
    if alone and wanted is Journal.ROLLBACK:
        connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _is_without_locks(path: str) -> bool:
    """Return whether the file system has no locks, which SQLite reports as a busy file."""
    try:
        if path not in _tested:
            _tested[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # SQLite never locks the first byte.
        fcntl.lockf(_tested[path], fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
        fcntl.lockf(_tested[path], fcntl.LOCK_UN, 1)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return False
