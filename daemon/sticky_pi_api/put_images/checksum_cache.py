"""Remember the md5 of files between calls of `put_images`, so that unchanged files aren't read again.

An entry counts only where it says that a file is the picture that is held, and only while the file's size, mtime and
ctime are those that it had. A file that was younger than the coarsest clock's tick when it was read is not
remembered: bytes written into it later could leave no trace. The cache may be lost at any time, and is never wrong;
without it, files are read, and nothing else changes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Self, TypeVar

from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_api.sqlite.errors import Fault, classify

MOST_FILES: Final = 500_000
"""How many files are remembered, in some 100 MB; the ones read longest ago are forgotten first"""

SETTLED: Final = 2.0
"""Seconds since its mtime after which a file's next change shows in it: FAT counts in steps of two"""

_BUSY_TIMEOUT: Final = 1.0
"""Longest time to wait for another process that uses the cache, in seconds"""

_DAMAGED = frozenset({Fault.DAMAGED, Fault.NO_DATABASE, Fault.QUERY})
_TABLE = """
    CREATE TABLE IF NOT EXISTS files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        md5 TEXT NOT NULL
    )
"""
_Result = TypeVar("_Result")
_Stamp = tuple[int, int, int]
"""The size, mtime and ctime of a file"""


class Sighting(NamedTuple):
    """A file before it was read."""

    path: bytes
    stamp: _Stamp


class FileCache:
    """The checksums that earlier calls of `put_images` left in a folder; `remember` alone may be called by any thread.

    The file is opened or made when it is first used. Nothing is raised: a damaged cache is made anew, and where none
    can be used, as on a full disk, nothing is remembered.
    """

    def __init__(
        self, folder: str, *, most_files: int = MOST_FILES, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._path = os.path.join(folder, "put_images.db")
        self._most_files = most_files
        self._wall_clock = wall_clock
        self._connection: sqlite3.Connection | None = None
        self._is_usable = True
        self._lock = threading.Lock()
        self._seen: list[tuple[Sighting, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._close()

    def recognised(self, md5s: Mapping[str, str]) -> set[str]:
        """Return those of some paths whose files certainly have the md5 that is given with each."""
        self._write()
        known = self._try(lambda connection: _entries(connection, md5s)) if md5s else None
        return {path for path, md5 in md5s.items() if _is_known(path, md5, known)} if known else set()

    def sight(self, path: str) -> Sighting | None:
        """Look at a file before it is read; return None unless its next change will show in its mtime or ctime."""
        now = self._wall_clock()
        found = _stamp(path) if self._is_usable else None
        return None if found is None or now - found[1] / 1e9 < SETTLED else Sighting(_written(path), found)

    def remember(self, sighting: Sighting | None, md5: str) -> None:
        """Keep the md5 of a file that was sighted and then read, unless it changed meanwhile."""
        if sighting and _stamp(os.fsdecode(sighting.path)) == sighting.stamp:
            with self._lock:
                self._seen.append((sighting, md5))

    def _write(self) -> None:
        with self._lock:
            seen, self._seen = self._seen, []
        if seen:
            self._try(lambda connection: _add(connection, seen, self._most_files))

    def _try(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result | None:
        """Return the result of some work with the database, made anew if it is damaged; stop using it if that fails."""
        for _ in range(2 if self._is_usable else 0):
            try:
                self._connection = self._connection or _open(self._path)
                return work(self._connection)
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                self._close()
                if isinstance(error, OSError) or classify(error, self._path) not in _DAMAGED:
                    break
                with suppress(OSError):
                    remove(os.path.dirname(self._path))
        self._is_usable = False
        return None

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def remove(folder: str) -> None:
    """Remove a cache, also while others use it: they continue with files that have no name any more. Raises OSError."""
    import glob
    import shutil

    # In one step: files removed one by one could take the names of those that another process makes anew meanwhile.
    with suppress(FileNotFoundError):
        os.rename(folder, f"{folder}.{os.getpid()}-{os.urandom(4).hex()}.removed")
    for removed in glob.glob(f"{glob.escape(folder)}.*.removed"):
        is_folder = os.path.isdir(removed) and not os.path.islink(removed)
        with suppress(FileNotFoundError):
            (shutil.rmtree if is_folder else os.unlink)(removed)


def _open(path: str) -> sqlite3.Connection:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    connection = sqlite.connect(path, shared_between_threads=True, timeout=_BUSY_TIMEOUT, durable=False)
    try:
        connection.execute(_TABLE)
    except BaseException:
        connection.close()
        raise
    return connection


def _entries(connection: sqlite3.Connection, paths: Mapping[str, object]) -> dict[bytes, tuple[_Stamp, str]]:
    places = ", ".join("?" * len(paths))
    found = connection.execute(f"SELECT * FROM files WHERE path IN ({places})", [*map(_written, paths)])  # noqa: S608
    return {row["path"]: ((row["size"], row["mtime_ns"], row["ctime_ns"]), row["md5"]) for row in found}


def _add(connection: sqlite3.Connection, seen: list[tuple[Sighting, str]], most_files: int) -> None:
    with sqlite.transaction(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO files (path, size, mtime_ns, ctime_ns, md5) VALUES (?, ?, ?, ?, ?)",
            [(sighting.path, *sighting.stamp, md5) for sighting, md5 in seen],
        )
        connection.execute("DELETE FROM files WHERE id <= (SELECT max(id) FROM files) - ?", [most_files])


def _is_known(path: str, md5: str, known: Mapping[bytes, tuple[_Stamp, str]]) -> bool:
    entry = known.get(_written(path))
    return entry is not None and entry == (_stamp(path), md5)


def _written(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
