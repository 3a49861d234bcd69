"""Looks, beside the program, at what a trap and its destination have: pictures, the outbox's rows, what is held."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from api_server.store import Store


def pictures_on(card):
    """Return the md5 of each picture on a card, by name; one whose removal was broken off has another than its own."""
    leaving = {path.name[1:].removesuffix(".removing"): _md5(path) for path in card.rglob(".*.jpg.removing")}
    return leaving | {path.name: _md5(path) for path in card.rglob("*.jpg")}


def outbox_rows(state):
    """Return the rows of the outbox in a state folder, by name."""
    try:
        return {row["name"]: dict(row) for row in _query(state / "outbox.db", "SELECT * FROM pictures")}
    except sqlite3.Error:  # cut off while it was made, or worse: then rows are missed
        return {}


def held_by_server(data):
    """Return the md5 in a server's list and that of the bytes it has, by name; `data` is its folder."""
    with closing(Store(data)) as store:
        objects = store.objects()
        listed = [(row.key.object_name, row.md5) for row in store.rows()]
    return {Path(one).name: (md5, hashlib.md5(objects[one]).hexdigest()) for one, md5 in listed}


def held_by_store(folder):
    """Return the same of an embedded store; None for bytes that aren't there."""
    try:
        rows = _query(folder / "database.db", "SELECT device, datetime, md5 FROM images")
    except sqlite3.OperationalError:  # its tables are still to be made
        rows = []
    held = {}
    for device, when, md5 in rows:
        name = f"{device}.{when[:10]}_{when[11:19].replace(':', '-')}.jpg"
        path = folder / "raw_images" / device / name
        held[name] = (md5, _md5(path) if path.exists() else None)
    return held


def _query(path, sql):
    """Read a database from a copy: looking at it must not mend it."""
    with TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        for suffix in ("", "-wal", "-journal"):
            if (there := Path(f"{path}{suffix}")).exists():
                shutil.copyfile(there, f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(sql).fetchall()


def _md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()
