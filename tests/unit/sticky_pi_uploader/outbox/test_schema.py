"""Outboxes of earlier releases, made by the statements that those releases had."""

import os
import signal
import sqlite3
from contextlib import closing

import pytest
from sticky_pi_uploader.outbox import Outbox, OutboxReader
from sticky_pi_uploader.outbox.schema import MIGRATIONS

HERE = "https://here.example.org"

FIRST_RELEASE = """
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    device TEXT COLLATE NOCASE,
    datetime TEXT,
    md5 TEXT,
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'uploading', 'uploaded', 'conflict', 'rejected', 'lost')),
    attempts INTEGER NOT NULL DEFAULT 0,
    misses INTEGER NOT NULL DEFAULT 0,
    failed_since INTEGER,
    refused_after INTEGER,
    not_before REAL,
    reason TEXT,
    receipt_md5 TEXT,
    uploaded_at REAL,
    removed_at REAL,
    suspect TEXT,
    metadata TEXT,
    size INTEGER,
    mtime_ns INTEGER,
    inode INTEGER,
    file_system TEXT NOT NULL,
    present INTEGER NOT NULL DEFAULT 1 CHECK (present IN (0, 1)),
    recheck INTEGER NOT NULL DEFAULT 0 CHECK (recheck IN (0, 1)),
    UNIQUE (folder, name),
    CHECK (state != 'uploaded' OR receipt_md5 IS md5),
    CHECK (state IN ('rejected', 'lost') OR (device IS NOT NULL AND datetime IS NOT NULL AND md5 IS NOT NULL))
);
CREATE INDEX pictures_by_key ON pictures (device, datetime);
CREATE INDEX pictures_to_send ON pictures (datetime) WHERE state = 'pending';
CREATE INDEX pictures_by_state ON pictures (state);
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX history_by_picture ON history (picture_id);
CREATE TABLE destinations (
    url TEXT PRIMARY KEY,
    configured INTEGER NOT NULL CHECK (configured IN (0, 1)),
    state TEXT NOT NULL DEFAULT 'unknown',
    reason TEXT,
    retry_at REAL,
    failures INTEGER NOT NULL DEFAULT 0,
    holds_all INTEGER NOT NULL DEFAULT 1 CHECK (holds_all IN (0, 1)),
    accepted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE tasks (task TEXT PRIMARY KEY, at REAL NOT NULL);
ALTER TABLE pictures ADD COLUMN clock_synchronised INTEGER CHECK (clock_synchronised IN (0, 1));
CREATE TABLE folders (
    folder TEXT PRIMARY KEY,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX pictures_in_doubt ON pictures (folder) WHERE state != 'lost'
 AND (recheck = 1 OR present = 0 OR size IS NULL OR (inode = 0 AND state IN ('pending', 'conflict', 'rejected')));
CREATE INDEX pictures_waiting ON pictures (not_before) WHERE state = 'pending' AND not_before IS NOT NULL;
PRAGMA user_version = 3;
"""
"""The schema of the release at commit 7a49a78, as its outboxes have it"""

STATES = {
    "pending": 3,
    "uploading": 1,
    "uploaded": 40,
    "conflict": 2,
    "rejected": 2,
    "lost": 2,
}
"""Pictures in each state"""


@pytest.fixture
def path(tmp_path):
    """Make an outbox of the first release, with pictures in each state."""
    path = str(tmp_path / "outbox.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_RELEASE)
        connection.execute(
            "INSERT INTO destinations (url, configured, state, accepted) VALUES (?, 1, 'ok', 40)", (HERE,)
        )
        states = [state for state, count in STATES.items() for _ in range(count)]
        for number, state in enumerate(states):
            taken_at, md5 = f"2020-07-05T{number // 60:02}:{number % 60:02}:00Z", f"{number:032x}"
            name = f"1b74105a.{taken_at.replace('T', '_').replace(':', '-').replace('Z', '')}.jpg"
            receipt = (md5, 1.6e9) if state == "uploaded" else (None, None)
            connection.execute(
                "INSERT INTO pictures (id, folder, name, device, datetime, md5, state, receipt_md5, uploaded_at,"
                " metadata, size, mtime_ns, inode, file_system)"
                " VALUES (?, 'day', ?, '1b74105a', ?, ?, ?, ?, ?, '{\"temp\": 20.5}', 1000, 1, ?, 'disk')",
                (number + 1, name, taken_at, md5, state, *receipt, number + 100),
            )
            connection.execute(
                "INSERT INTO history (picture_id, at, state, why) VALUES (?, 1.6e9, ?, 'it was so')",
                (number + 1, state),
            )
        connection.commit()
    return path


def test_an_outbox_of_the_first_release_is_read_as_it_lies_and_its_attention_is_counted(path):
    with OutboxReader.open_readonly(path) as reader:
        assert {picture.dismissed_at for picture in reader.pictures()} == {None}
        assert sum(picture.needs_attention for picture in reader.pictures()) == 6


def test_an_outbox_of_the_first_release_is_migrated_with_all_it_knows_and_nothing_is_due_twice(path):
    with OutboxReader.open_readonly(path) as reader:
        before = list(reader.pictures())
        told = [reader.history(picture) for picture in before]
    with Outbox(path, longest_wait=1800.0) as outbox:
        assert list(outbox.pictures()) == before
        assert [outbox.history(picture) for picture in before] == told
        assert outbox.catalog.count_to_look_at() == 6
        assert outbox.queue.recover() == 1
        assert outbox.destinations.change(HERE, lambda _: True) == 0
        claimed = outbox.queue.claim(1000)
        assert {picture.id for picture in claimed} == {1, 2, 3, 4}
        for picture in claimed:
            outbox.queue.confirm(picture, picture.md5, "stored")
        assert outbox.queue.claim(1000) == []
        assert outbox.catalog.dismiss(outbox.at(before[-1].path))
        assert outbox.catalog.count_to_look_at() == 5
        outbox.inspect()


def test_all_steps_are_one_transaction_whatever_breaks_it_off(path):
    def steps():
        with closing(sqlite3.connect(path)) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(pictures)")}
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            return version, columns & {"ctime_ns", "dismissed_at"}

    for step in range(4, len(MIGRATIONS) + 1):
        process = os.fork()
        if process == 0:
            _die_in(path, step)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        assert steps() == (3, set())
    with Outbox(path, longest_wait=1800.0):
        assert steps() == (len(MIGRATIONS), {"ctime_ns", "dismissed_at"})


def _die_in(path, step):
    from sticky_pi_api.sqlite import connection as sqlite

    def killed(database):
        MIGRATIONS[step - 1](database)
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        sqlite.migrate(sqlite.connect(path), (*MIGRATIONS[: step - 1], killed, *MIGRATIONS[step:]))
    finally:
        os._exit(1)
