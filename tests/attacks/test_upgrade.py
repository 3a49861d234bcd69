"""Kills the program, and cuts the power, while it brings an earlier release's outbox and store up to date.

A test run does each at a few moments, at random. The long run kills at each call that changes one of the databases:

    STICKY_PI_EVERY_CALL=1 tests/run -k upgrade
"""

import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from random import Random

import old_release
import power_cuts
import pytest
from invariants import held_by_store, not_accounted_for, not_held_once
from power_cuts.camera import picture
from power_cuts.disk import OPTIONS, Disk, mount
from removed_pictures import add_removed_pictures
from sticky_pi_uploader.outbox.schema import MIGRATIONS
from tracing import traced

ROWS = 26_000
"""Pictures of a year: a trap takes one every 20 minutes"""
EVERY = bool(os.environ.get("STICKY_PI_EVERY_CALL"))
KILLS, CUTS = 5, 6
SIZE = 96 * 2**20
STATE = ".sticky-pi-uploader"
COLUMNS = "folder, name, device, datetime, md5, state, attempts, receipt_md5, uploaded_at, removed_at, metadata"
CHANGES = "pwrite64,write,fsync,fdatasync,ftruncate,unlink,rename"
DATABASES = [f"card/{STATE}/outbox.db{end}" for end in ("", "-wal", "-shm", "-journal")]
DATABASES += [f"store/database.db{end}" for end in ("", "-wal", "-journal")]


class Trap:
    """A card and a store in a folder."""

    def __init__(self, folder, sent):
        self.folder, self.card, self.store, self.sent = folder, folder / "card", folder / "store", dict(sent)

    def take(self, *numbers):
        for number in numbers:
            folder, name, blob = picture(number)
            (self.card / folder).mkdir(parents=True, exist_ok=True)
            (self.card / folder / name).write_bytes(blob)
            self.sent[name] = hashlib.md5(blob).hexdigest()

    def flags(self):
        return ["--image-dir", self.card, "--api-url", self.store.as_uri()]

    def drain(self):
        return [sys.executable, "-m", "sticky_pi_uploader", *map(str, self.flags()), "drain"]

    def query(self, sql):
        """Query the outbox, which no process uses."""
        with closing(sqlite3.connect(self.card / STATE / "outbox.db")) as outbox:
            return outbox.execute(sql).fetchall()

    def removed(self):
        """Return the rows of pictures that were sent and removed before the upgrade."""
        return self.query(f"SELECT {COLUMNS} FROM pictures WHERE folder = 'earlier' ORDER BY id")

    def present(self):
        """Return the other rows by name, as `not_accounted_for` wants them."""
        columns = ("name", "state", "receipt_md5", "removed_at")
        found = self.query(f"SELECT {', '.join(columns)} FROM pictures WHERE folder != 'earlier'")
        return {row[0]: dict(zip(columns, row, strict=True)) for row in found}

    def stored(self):
        """Return the inode and time of each stored picture: one that is stored again has others."""
        found = ((path.name, path.stat()) for path in (self.store / "raw_images").rglob("*.jpg"))
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A trap as the earlier release left it, with two pictures that came since then."""
    source = old_release.unpack(tmp_path_factory.mktemp("release"))
    trap = Trap(tmp_path_factory.mktemp("before"), {})
    trap.take(0, 1, 2)
    old_release.run(source, *trap.flags(), "drain")
    add_removed_pictures(trap.card / STATE / "outbox.db", ROWS)
    trap.rows, trap.tables = trap.removed(), trap.query("PRAGMA user_version")[0][0]
    assert len(trap.rows) == ROWS
    assert trap.tables < len(MIGRATIONS)
    trap.take(3, 4)
    yield trap
    shutil.rmtree(trap.folder)


def copy(before, folder, card):
    """Return a trap like the one before, whose card is in `card`; its stored files are hard links."""
    trap = Trap(folder, before.sent)
    trap.card = card
    shutil.copytree(before.card, card, dirs_exist_ok=True)
    shutil.copytree(before.store, trap.store, copy_function=copy_or_link)
    return trap


def copy_or_link(source, target):
    return (shutil.copy2 if ".db" in source else os.link)(source, target)


def judge(trap, before):
    """Look at what was left, let the program go on with it, and look again."""
    assert trap.query("PRAGMA integrity_check") == [("ok",)]
    assert trap.query("PRAGMA user_version")[0][0] in (before.tables, len(MIGRATIONS))
    assert trap.removed() == before.rows
    done = subprocess.run(trap.drain(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert trap.query("PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert trap.removed() == before.rows
    assert list(not_accounted_for(trap.sent, trap.present(), removed=False)) == []
    assert list(not_held_once(trap.sent, held_by_store(trap.store))) == []
    assert trap.stored().items() >= before.stored().items()


@pytest.fixture
def random(seed):
    return Random(seed)


def test_an_upgrade_that_is_killed_begins_again(before, tmp_path, random):
    def upgrade(name, *options):
        trap = copy(before, tmp_path / name, tmp_path / name / "card")
        paths = [word for database in DATABASES for word in ("-P", trap.folder / database)]
        return trap, traced([str(option) for option in (*options, *paths)], trap.drain())

    trap, done = upgrade("untouched", "-o", tmp_path / "calls", "-e", f"trace={CHANGES}")
    assert done.returncode == 0, done.stderr
    judge(trap, before)
    points = killing_points((tmp_path / "calls").read_text("utf-8"))
    killed = 0
    for call, nth in points if EVERY else random.sample(points, KILLS):
        trap, done = upgrade(f"{call}-{nth}", "-o", os.devnull, "-e", f"inject={call}:signal=KILL:when={nth}")
        killed += done.returncode != 0
        judge(trap, before)
        shutil.rmtree(trap.folder)
    assert killed >= KILLS / 2


def killing_points(traced_calls):
    """Return each call and how manieth of its kind it is in its thread, as strace counts them."""
    calls = re.findall(r"^(\d+) +(\w+)\(", traced_calls, re.MULTILINE)
    return sorted({(call, nth) for (_, call), count in Counter(calls).items() for nth in range(1, count + 1)})


def test_an_upgrade_whose_power_is_cut_begins_again(before, tmp_path, random):
    if (reason := power_cuts.reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    left = set()
    for number in range(CUTS):
        case, after = tmp_path / f"case{number}", tmp_path / f"after{number}"
        for folder in (case, after):
            folder.mkdir()
        disk = Disk(case, size=SIZE)
        try:
            trap = copy(before, case, disk.mount)
            os.sync()
            program = subprocess.Popen(trap.drain(), stderr=subprocess.DEVNULL)
            try:
                wait_until_upgrading(trap, program)
                time.sleep(random.uniform(0, 0.02 if number % 2 else 0.15))
                # Stopped, so that no write keeps the copy waiting: what the disk has isn't changed by that.
                program.send_signal(signal.SIGSTOP)
                disk.copy(after / "disk")
            finally:
                program.kill()
                program.wait()
            trap.folder, trap.card = after, after / "card"
            trap.card.mkdir()
            mount(after / "disk", trap.card, OPTIONS)
            try:
                left.add(trap.query("PRAGMA user_version")[0][0])
                judge(trap, before)
            finally:
                subprocess.run(["umount", "-l", trap.card], check=True)
        finally:
            disk.close()
        shutil.rmtree(case)
        shutil.rmtree(after)
    assert before.tables in left, "no cut came before the upgrade was over"


def wait_until_upgrading(trap, program):
    """Wait until the write-ahead log of the outbox is there, or the program over."""
    while program.poll() is None and not (trap.card / STATE / "outbox.db-wal").exists():
        time.sleep(0.001)
