"""Damaged outbox files: commands show what can be read, the daemon goes on, and every picture is held in the end.

The outbox is a real one with pictures in every state, with or without a log; any of its bytes, pages or values are
others then. What the file still says, and could be true, is believed: that alone is no loss of the program's.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

from sticky_pi_api.client import LocalClient
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_uploader.demo.pictures import make_picture
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.models import Candidate, Fingerprint, Hold, HoldCause
from sticky_pi_uploader.outbox import Outbox, Seen
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder

from . import commands, seeds
from .mutations import INTERESTING, mutate

_TOKENS = [
    *b"pending uploading uploaded conflict rejected lost unknown {} { pictures history destinations CHECK".split(),
    *(
        b"UNIQUE",
        b"TEXT",
        b"INTEGER",
        b"CREATE TABLE",
        b"SQLite format 3\0",
        b"\x0d",
        b"\x0a",
        b"\x05",
        b"\x02",
        bytes(4096),
    ),
    *(b"\xff" * 512, b"\xff\xd8\xff\xe1", b"\xed\xa0\x80"),
]
_VALUES = (
    *(None, 0, 1, -1, 2, 2**63 - 1, 1.5, 1e300, float("inf"), b"", b"\xff\xfe"),
    *("", "x", "pending", "uploaded", "lost", "{", "[]", "\0"),
)
_COLUMNS = {
    "pictures": (
        "id folder name device datetime md5 state attempts misses failed_since refused_after not_before reason"
        " receipt_md5 uploaded_at removed_at suspect metadata size mtime_ns inode file_system present recheck"
        " urgent"
    ).split(),
    "history": ["id", "picture_id", "at", "state", "why"],
    "destinations": "url configured state reason retry_at failures holds_all accepted answered".split(),
    "folders": ["folder", "inode", "mtime_ns", "ctime_ns", "at"],
    "tasks": ["task", "at"],
    "hold": ["id", "cause", "reason", "since", "until"],
}
_WITH_ROWID = _COLUMNS.keys() - {"folders"}
_STATEMENTS = (
    "DROP TABLE history",
    "DROP TABLE destinations",
    "DROP INDEX pictures_by_key",
    "DELETE FROM destinations",
    "DROP TABLE folders",
    "DROP TABLE tasks",
    "DROP TABLE hold",
    "VACUUM",
)
_NO_PICTURE = f"{seeds.DEVICE}.2020-01-01_00-00-00.jpg"
_OFTEN, _SOMETIMES, _RARELY = 0.9, 0.4, 0.1
_DRAINS = 3
"""Within so many, all is as it should be: one that finds damage at work puts the file aside for the next"""


class Target:
    """A trap, as it is before each input, and the commands on it."""

    def __init__(self, folder):
        self._before = folder / "before"
        self._trap = folder / "trap"
        self._flags = [
            f"--image-dir={self._trap / 'images'}",
            f"--state-dir={self._trap / 'state'}",
            f"--api-url=file://{self._trap / 'store'}",
        ]
        self._whole = folder / "whole.db"
        self._make()

    def close(self):
        """Nothing is held."""

    def try_one(self, random):
        shutil.rmtree(self._trap)
        shutil.copytree(self._before, self._trap)
        if random.random() < _OFTEN:
            # What is no picture is looked at for a second, where the outbox doesn't know it.
            (self._trap / "images" / _NO_PICTURE).unlink()
        self._damage(random)
        there = _rows(self._trap / "state", self._trap.parent / "look")
        for command in (
            ["status"],
            ["list", "--json"],
            ["explain", random.choice(sorted(self._rows))],
            ["audit", "--json"],
        ):
            if random.random() < _SOMETIMES:
                self._read(*command)
        done = self._drain()
        aside = [
            path for path in (self._trap / "state").iterdir() if ".damaged-" in path.name or ".newer-" in path.name
        ]
        # A new outbox believes nothing of the old one.
        believed = set() if aside else {name for name, row in self._rows.items() if there.get(name, row) != row}
        self._check_folders(believed, done)
        if not believed:
            assert done.status == 0, done
            self._check_list()
        return "put aside" if aside else "believed" if believed else "as it was"

    def _read(self, *command):
        done = commands.run(*self._flags, *command)
        # One that claims to be a newer release's, but lacks a table, is named as that.
        is_newer = done.status == 74 and "was written by a newer release" in done.err
        is_odd = done.status == 1 and command[0] in ("explain", "audit")
        assert done.status == 0 or is_odd or is_newer, (command, done)
        if "--json" in command and done.out:
            json.loads(done.out)

    def _drain(self):
        for _ in range(_DRAINS):
            done = commands.run(*self._flags, "drain", "--deadline=3")
            assert done.status in (0, 74, 75), done
            assert "CRITICAL" not in done.err, done.err
            if done.status == 0:
                break
        return done

    def _check_folders(self, believed, drained):
        """See that nothing on the card or in the store was harmed, and that all of the card is held."""
        images = _contents(self._trap / "images")
        assert {**self._images, **images} == self._images
        held = _contents(self._trap / "store" / "raw_images" / seeds.DEVICE)
        assert {name: blob for name, blob in held.items() if blob != {**self._images, **self._held}[name]} == {}
        assert held.keys() >= self._held.keys()
        with closing(sqlite3.connect(self._trap / "store" / "database.db")) as database:
            md5s = [md5 for (md5,) in database.execute("SELECT md5 FROM images")]
        assert sorted(md5s) == sorted(hashlib.md5(blob, usedforsecurity=False).hexdigest() for blob in held.values())
        missing = images.keys() - held.keys() - believed - {_NO_PICTURE}
        assert not missing, (missing, believed, drained)

    def _check_list(self):
        """See that every file of the card has the state that it should have."""
        done = commands.run(*self._flags, "list", "--json")
        if "is damaged" in done.err:
            # In what the daemon has no need of just now: a look at the whole of it, once a week, finds that.
            with closing(sqlite3.connect(self._trap / "state" / "outbox.db")) as database, database:
                database.execute("DELETE FROM tasks")
            for _ in range(2):
                commands.run(*self._flags, "drain")
            done = commands.run(*self._flags, "list", "--json")
        assert done.err == "", done.err
        states = {os.path.basename(one["path"]): one["state"] for one in json.loads(done.out)}
        for name in _contents(self._trap / "images"):
            other = {_NO_PICTURE: "rejected", self._conflict: "conflict"}
            assert states.get(name) == other.get(name, "uploaded"), (name, states)

    def _damage(self, random):
        """Change bytes of the file or its log, or values in it."""
        path = self._trap / "state" / "outbox.db"
        log = path.with_name("outbox.db-wal")
        if random.random() < _OFTEN / 2:
            # As a process leaves it that ended well.
            for each in (log, path.with_name("outbox.db-shm")):
                each.unlink()
            shutil.copy(self._whole, path)
            if random.random() < _OFTEN:
                _change_values(random, path)
                return
        which = log if log.exists() and random.random() < _OFTEN else path
        blob = which.read_bytes()
        which.write_bytes(
            _with_other_pages(random, blob) if random.random() < _SOMETIMES else mutate(random, blob, _TOKENS)
        )

    def _make(self):
        """Take pictures into every state, and keep the folders as they are then."""
        images = self._trap / "images"
        made = [
            Path(make_picture(images, seeds.DEVICE, seeds.TAKEN + timedelta(minutes=number), size=seeds.SMALL))
            for number in range(8)
        ]
        conflict, lost, removed, *waiting = made[:6]
        self._conflict = conflict.name
        (images / _NO_PICTURE).write_bytes(b"no picture")
        with LocalClient(self._trap / "store") as store:
            other = make_picture(self._trap / "other", seeds.DEVICE, seeds.TAKEN, size=seeds.SMALL, seed=1)
            store.put_images([other])
        aside = [path.rename(self._trap / "other" / f"{path.name}.later") for path in (lost, *waiting)]
        assert commands.run(*self._flags, "drain").status == 0
        for path in aside:
            path.rename(images / path.stem)
        with Outbox(os.fspath(self._trap / "state" / "outbox.db"), longest_wait=1800) as outbox:
            self._take_in(outbox, [lost, *waiting])
            # All that waits is claimed, and one is being sent still.
            for picture in outbox.queue.claim(9)[1:]:
                outbox.queue.release(picture)
            lost.unlink()
            outbox.catalog.lose(outbox.at(lost.name))
            removed.unlink()
            outbox.retention.mark_removed(outbox.at(removed.name), "removed from the card")
            outbox.folders.note({"": Seen.of(os.stat(images), time.time()), "a": Seen(1, 2, 3, 4.0)}, ())
            outbox.recovery.note_done("inspection")
            outbox.queue.record_hold(Hold(HoldCause.BATTERY, "low", time.time(), None))
            assert {state: number for state, number in outbox.counts().items() if not number} == {}
            self._images = _contents(images)
            self._held = _contents(self._trap / "store" / "raw_images" / seeds.DEVICE)
            shutil.copytree(self._trap, self._before)
        shutil.copy(self._trap / "state" / "outbox.db", self._whole)
        self._rows = _rows(self._trap / "state", self._trap.parent / "look")

    def _take_in(self, outbox, paths):
        """Record files as the intake does, before anything sends them."""
        images = self._trap / "images"
        thumbnails = ThumbnailFolder(os.fspath(self._trap / "state" / "thumbnails"))
        reader = PictureReader(os.fspath(images), thumbnails, time.time)
        for path in paths:
            candidate = Candidate(path.name, Fingerprint(0, 0, 0))
            outbox.catalog.record([reader.read(candidate, file_system_id(os.fspath(images))).taken])


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


def _rows(state, look):
    """Return the outbox's rows by name, as far as they can be read, from a copy: reading writes."""
    shutil.rmtree(look, ignore_errors=True)
    shutil.copytree(state, look, ignore=lambda _, names: [name for name in names if not name.startswith("outbox")])
    rows = {}
    with closing(sqlite3.connect(look / "outbox.db")) as database, suppress(sqlite3.Error):
        database.text_factory = bytes
        for number in range(1, 50):
            with suppress(sqlite3.Error, UnicodeDecodeError):
                for row in database.execute("SELECT * FROM pictures WHERE id = ?", (number,)):
                    rows[os.fsdecode(row[2]) if isinstance(row[2], bytes) else row[2]] = row
    return rows


def _change_values(random, path):
    """Put values of any kind into rows, past every rule."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        for _ in range(random.randint(1, 3)):
            table = random.choice(sorted(_COLUMNS))
            column = random.choice(_COLUMNS[table])
            with suppress(sqlite3.IntegrityError, sqlite3.DataError):
                where = random.choice(("1", f"rowid = {random.randint(1, 9)}")) if table in _WITH_ROWID else "1"
                database.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {where}", (random.choice(_VALUES),))
        if random.random() < _RARELY:
            database.execute(f"PRAGMA user_version = {random.choice(INTERESTING)}")
        database.commit()
        if random.random() < _RARELY:
            database.execute(random.choice(_STATEMENTS))
            database.commit()


def _with_other_pages(random, blob):
    """Zero, repeat, swap or cut off whole pages, or halves of them."""
    size = random.choice((512, 1024, 1024, 1024, 24 + 1024))
    pages = [blob[start : start + size] for start in range(0, len(blob), size)]
    for _ in range(random.randint(1, 3)):
        one, other = random.randrange(len(pages)), random.randrange(len(pages))
        step = random.randrange(5)
        if step == 0:
            pages[one] = bytes(len(pages[one]))
        elif step == 1:
            pages[one] = random.randbytes(len(pages[one]))
        elif step == 2:
            pages[one], pages[other] = pages[other], pages[one]
        elif step == 3:
            pages[one] = pages[other]
        else:
            pages = pages[: max(1, one)]
    return b"".join(pages)
