"""Check the promise beside the program: no picture is lost, each is held once with its bytes, each receipt is right.

Pictures are compared by name: `sent` has the md5 of each one's bytes as the camera wrote them, `on_card` the md5 of its
bytes on the card, `held` the md5 that the destination lists and that of the bytes it has, `rows` the outbox's rows. A
check yields (kind, message) for each broken promise.
"""

import hashlib
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from api_server.store import Store
from PIL import Image

THUMBNAILS = (".thumbnail", ".thumbnail_mini")
"""what the names of the files of a picture's thumbnails end with"""


def lost(sent, on_card, held):
    """Find pictures that are neither whole on the card nor held with all their bytes."""
    for name, md5 in sent.items():
        if on_card.get(name, md5) != md5:
            yield "bytes gone", f"{name} is damaged on the card"
        elif name not in on_card and held.get(name) != (md5, md5):
            yield "picture gone", f"{name} is neither on the card nor held: {held.get(name)}"


def not_as_sent(sent, held):
    """Find pictures that are held with other bytes than were sent, or listed with another md5 than theirs."""
    for name, (listed, md5) in held.items():
        if not listed == md5 == sent.get(name):
            yield "stored is another", f"{name}: listed as {listed}, its bytes are {md5}"


def not_held_once(sent, held):
    """Find pictures that aren't held, with their bytes, and others that are."""
    yield from not_as_sent(sent, held)
    for name in sent.keys() - held.keys():
        yield "not held", name


def not_accounted_for(sent, rows, *, removed=None):
    """Find pictures that aren't recorded as uploaded, with their receipt, and others that are.

    `removed` says whether the pictures have to be recorded as removed, too; None where either may be.
    """
    for name in sent.keys() | rows.keys():
        row = rows.get(name) or {"state": None, "receipt_md5": None, "removed_at": None}
        is_removed = row["removed_at"] is not None
        if (row["state"], row["receipt_md5"], removed in (None, is_removed)) != ("uploaded", sent.get(name), True):
            yield "not accounted for", f"{name}: {row}"


def stored_files(store, names):
    """Find files of an embedded store that are missing, or belong to nothing, and thumbnails that don't decode."""
    pictures = {store / "raw_images" / name.split(".")[0] / name for name in names}
    thumbnails = {path.with_name(path.name + end) for path in pictures for end in THUMBNAILS}
    yield from files(store, pictures | thumbnails | {store / "database.db"}, thumbnails, besides=is_fleeting)


def files(folder, expected, thumbnails, *, besides):
    """Find files below a folder that are missing or left, but for `besides`, and thumbnails that don't decode."""
    found = {path for path in folder.rglob("*") if path.is_file() and not besides(path)}
    for path in expected - found:
        yield "files", f"missing: {path}"
    for path in found - expected:
        yield "files", f"left: {path}"
    for path in thumbnails & found:
        with Image.open(path) as image:
            image.load()


def is_fleeting(path):
    """Tell whether a file of a store is one that a process has while it works there; a kill leaves it for an hour."""
    temporary = path.parent.name in {".incoming", "cache"} or path.name.startswith(".trial-")
    return temporary or path.name in {"database.db-wal", "database.db-shm"}


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
    return _once((Path(one).name, (md5, hashlib.md5(objects[one]).hexdigest())) for one, md5 in listed)


def held_by_store(folder):
    """Return the same of an embedded store; None for bytes that aren't there."""
    try:
        rows = _query(folder / "database.db", "SELECT device, datetime, md5 FROM images")
    except sqlite3.OperationalError:  # its tables are still to be made
        rows = []
    names = [f"{device}.{when[:10]}_{when[11:19].replace(':', '-')}.jpg" for device, when, _ in rows]
    paths = [folder / "raw_images" / name.split(".")[0] / name for name in names]
    md5s = [_md5(path) if path.exists() else None for path in paths]
    return _once((name, (row["md5"], md5)) for name, row, md5 in zip(names, rows, md5s, strict=True))


def _once(pairs):
    """Return pairs as a dict. Raises ValueError where a name comes twice."""
    pairs = list(pairs)
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"held twice: {twice}")
    return dict(pairs)


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
