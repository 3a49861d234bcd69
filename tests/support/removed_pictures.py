"""Fill an outbox with pictures of an earlier time: `python removed_pictures.py OUTBOX ROWS`; it needs only Python."""

import sqlite3
import sys
from contextlib import closing

_COLUMNS = (
    "device, datetime, md5, state, receipt_md5, uploaded_at, removed_at, metadata, size, mtime_ns, inode, file_system"
)
_VALUES = (
    "device, printf('20%02d-%02d-%02dT%02d:%02d:00Z', number / 5760 + 10, number / 480 % 12 + 1, number / 24 % 20 + 1,"
    " number % 24, number % 60), printf('%032x', number), 'uploaded', printf('%032x', number), uploaded_at + number,"
    " uploaded_at + number, metadata, size, mtime_ns, 1000000 + number, file_system"
)
_REMOVED_PICTURES = f"""
    WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :rows),
    one AS (SELECT * FROM pictures WHERE state = 'uploaded' LIMIT 1)
    INSERT INTO pictures (folder, name, {_COLUMNS})
    SELECT 'earlier', printf('%08x.jpg', number), {_VALUES} FROM numbers, one
"""
_THEIR_HISTORY = """
    INSERT INTO history (picture_id, at, state, why)
    SELECT id, uploaded_at, state, 'sent' FROM pictures WHERE folder = 'earlier'
"""


def add_removed_pictures(outbox, rows):
    """Record so many pictures, which were sent and removed long ago, in an outbox that has an uploaded one."""
    with closing(sqlite3.connect(outbox)) as database, database:
        database.execute(_REMOVED_PICTURES, {"rows": rows})
        database.execute(_THEIR_HISTORY)


if __name__ == "__main__":
    add_removed_pictures(sys.argv[1], int(sys.argv[2]))
