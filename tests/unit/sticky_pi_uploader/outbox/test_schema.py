"""Outboxes of earlier releases, made by the statements that those releases had."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import old_release
import pytest
from sticky_pi_uploader.models import ReasonCode, State, Taken
from sticky_pi_uploader.outbox import Outbox, OutboxReader, ruins
from sticky_pi_uploader.outbox.schema import MIGRATIONS

HERE = "https://here.example.org"
NEW = ("ctime_ns", "dismissed_at", "reason_code", "got_md5", "rank", "urgent")

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
        assert {picture.urgent for picture in reader.pictures()} == {False}
        assert reader.hold() is None


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


def test_pictures_that_wait_in_an_outbox_of_the_first_release_are_ranked_as_if_they_were_taken_in_now(path, tmp_path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE pictures SET device = upper(device) WHERE id % 3 = 0")
        connection.execute("UPDATE pictures SET datetime = 'yesterday' WHERE id = 1")
    query = "SELECT datetime, rank FROM pictures WHERE state = 'pending' AND datetime != 'yesterday' ORDER BY datetime"
    with Outbox(path, longest_wait=1800.0) as outbox, Outbox(str(tmp_path / "new.db"), longest_wait=1800.0) as new:
        pictures = sorted(outbox.pictures(), key=lambda picture: picture.path)
        assert [picture.state for picture in pictures[:3]] == [State.PENDING] * 3
        new.catalog.record(
            Taken(each.path, each.fingerprint, "disk", each.device, each.datetime, each.md5, {})
            for each in pictures[1:]
        )
        ranks = outbox.database.connection.execute(query).fetchall()
        assert ranks == new.database.connection.execute(query).fetchall()[: len(ranks)]
        assert len({rank for _, rank in ranks}) == len(ranks) == 2
        unranked = outbox.database.value("SELECT count(*) FROM pictures WHERE rank IS NULL")
        assert unranked == STATES["uploaded"] + 1


REASONS = """
import sys
from sticky_pi_uploader.models import Fingerprint, Taken
from sticky_pi_uploader.outbox import Outbox

outbox = Outbox(sys.argv[1], longest_wait=1800.0)
def take(name, rejected=None):
    key = (None, None) if "1970" in name else ("1b74105a", "2020-07-05T10:07:0" + name[-5] + "Z")
    file = Fingerprint(1000, 1, int(name[-5]) + 7)
    outbox.record([Taken(name, file, "disk", *key, name[-5] * 32, None, None, rejected)])
    return outbox.at(name)
names = ["1b74105a.2020-07-05_10-07-0%d.jpg" % number for number in range(9)]
sent = [take(name) for name in names[:4]]
assert len(outbox.claim(9)) == 4
outbox.confirm(sent[1], sent[1].md5, "stored")
held = "the destination holds another picture with this device and time"
outbox.clash(sent[0], held + " (md5 " + "e" * 32 + ")")
outbox.contradict(sent[1], held + " by now")
outbox.postpone(sent[2], "the destination says that it got other bytes (md5 " + "f" * 32 + ")", not_before=0.0)
outbox.refuse(sent[3], "status 500", not_before=0.0)
take(names[4], "it is cut short: the end of the picture is missing")
take(names[5], "it is empty: nothing of it was written")
take("1b74105a.1970-01-01_00-00-06.jpg", "the datetime in its name is before 2019: the trap's clock wasn't set")
take(names[7], "it is a PNG picture")
take(names[8], "its EXIF is damaged: it begins twice")
outbox.close()
"""


@pytest.fixture
def reasons(tmp_path):
    """Make an outbox by the first release itself, with a picture for each reason that decides something."""
    source, path = old_release.unpack(tmp_path), str(tmp_path / "reasons.db")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source / "daemon"), *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-c", REASONS, path], env=environment, check=True, timeout=60)
    return path


CODED = [
    *((ReasonCode.CLASH, None, True), (ReasonCode.CLASH, None, True), (None, "f" * 32, False), (None, None, False)),
    *((ReasonCode.CUT_SHORT, None, False), (ReasonCode.CUT_SHORT, None, False), (ReasonCode.NO_CLOCK, None, True)),
    (None, None, True),
    (ReasonCode.DAMAGED, None, True),
]
"""The code, the md5 that the destination got, and the attention that each of them needs"""


def facts(outbox):
    pictures = sorted(outbox.pictures(), key=lambda picture: picture.id)
    return [(picture.reason_code, picture.got_md5, picture.needs_attention) for picture in pictures]


def test_what_the_reasons_of_an_earlier_release_decide_is_known_before_and_after_its_outbox_is_migrated(reasons):
    with OutboxReader.open_readonly(reasons) as reader:
        assert facts(reader) == CODED
    salvaged = [picture.reason_code for picture, _ in ruins(reasons, lambda _: False)]
    assert salvaged == [code for code, _, _ in CODED]
    with Outbox(reasons, longest_wait=1800.0) as outbox:
        assert facts(outbox) == CODED
        outbox.inspect()


def test_a_whole_picture_that_was_cut_short_on_the_card_needs_attention_once_its_outbox_is_migrated(reasons):
    with closing(sqlite3.connect(reasons)) as connection, connection:
        taken_in = "SELECT id, 0, 'pending', 'taken in' FROM pictures WHERE reason LIKE 'it is empty%'"
        assert connection.execute(f"INSERT INTO history (picture_id, at, state, why) {taken_in}").rowcount == 1
    with Outbox(reasons, longest_wait=1800.0) as outbox:
        assert facts(outbox) == [*CODED[:5], (None, None, True), *CODED[6:]]


def test_a_reason_that_a_later_release_words_otherwise_decides_the_same(reasons):
    with Outbox(reasons, longest_wait=1800.0) as outbox:
        before, clashes = facts(outbox), outbox.destinations.clashes_in_a_row()
        assert (clashes, outbox.catalog.count_to_look_at()) == (2, 5)
        with outbox.database.writing() as connection:
            connection.execute("UPDATE pictures SET reason = 'worded otherwise' WHERE reason IS NOT NULL")
            connection.execute("UPDATE history SET why = 'worded otherwise'")
        assert facts(outbox) == before
        assert outbox.destinations.clashes_in_a_row() == clashes
        assert outbox.catalog.count_to_look_at() == 5
        by_code = {picture.reason_code: picture for picture in outbox.pictures()}
        assert outbox.catalog.lose(by_code[ReasonCode.NO_CLOCK]) is State.LOST
        assert outbox.catalog.lose(by_code[ReasonCode.DAMAGED]) is State.LOST
        assert outbox.catalog.lose(by_code[ReasonCode.CUT_SHORT]) is State.REJECTED


def test_all_steps_are_one_transaction_whatever_breaks_it_off(path):
    def steps():
        with closing(sqlite3.connect(path)) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(pictures)")}
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            return version, columns & set(NEW)

    for step in range(4, len(MIGRATIONS) + 1):
        process = os.fork()
        if process == 0:
            _die_in(path, step)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        assert steps() == (3, set())
    with Outbox(path, longest_wait=1800.0):
        assert steps() == (len(MIGRATIONS), set(NEW))


def _die_in(path, step):
    from sticky_pi_api.sqlite import connection as sqlite

    def killed(database):
        MIGRATIONS[step - 1](database)
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        sqlite.migrate(sqlite.connect(path), (*MIGRATIONS[: step - 1], killed, *MIGRATIONS[step:]))
    finally:
        os._exit(1)
