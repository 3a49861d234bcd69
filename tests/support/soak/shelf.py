"""What a server holds for a year, in a file: in this process it would be taken for the daemon's memory."""

import sqlite3
from collections.abc import MutableMapping


class Shelf(MutableMapping):
    """A dict of bytes or text by keys of a server."""

    def __init__(self, file):
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("PRAGMA cache_size=-200")
        self._database.execute("CREATE TABLE shelf (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def __getitem__(self, key):
        row = self._database.execute("SELECT value FROM shelf WHERE key = ?", ("/".join(key),)).fetchone()
        if row is None:
            raise KeyError(key)
        return row[0]

    def __setitem__(self, key, value):
        self._database.execute("INSERT OR REPLACE INTO shelf VALUES (?, ?)", ("/".join(key), value))

    def __delitem__(self, key):
        self._database.execute("DELETE FROM shelf WHERE key = ?", ("/".join(key),))

    def __iter__(self):
        return (tuple(key.split("/")) for (key,) in self._database.execute("SELECT key FROM shelf"))

    def __len__(self):
        return self._database.execute("SELECT count(*) FROM shelf").fetchone()[0]

    def close(self):
        self._database.close()
