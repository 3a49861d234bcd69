"""Takes flushes from a Python process that finds this file first on its path, as a disk does that doesn't honour them.

STICKY_PI_WITHOUT says of what: `picture` (the bytes of the camera's files), `folder` (names in folders) and `row` (the
outbox). Nothing in the program knows of it.
"""

import os
import sqlite3
import stat

WITHOUT = frozenset(filter(None, os.environ.get("STICKY_PI_WITHOUT", "").split(",")))
_fsync, _connect = os.fsync, sqlite3.connect


def _is_spared(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        return "folder" in WITHOUT
    return "picture" in WITHOUT and os.readlink(f"/proc/self/fd/{descriptor}").endswith(".jpg")


def _fsync_some(descriptor):
    if not _is_spared(descriptor):
        _fsync(descriptor)


class _Unflushed(sqlite3.Connection):
    def execute(self, sql, *values):
        return super().execute("PRAGMA synchronous=OFF" if "synchronous" in sql else sql, *values)


def _connect_some(path, *arguments, **more):
    if "row" in WITHOUT and str(path).endswith("outbox.db"):
        more["factory"] = _Unflushed
    return _connect(path, *arguments, **more)


os.fsync, sqlite3.connect = _fsync_some, _connect_some
