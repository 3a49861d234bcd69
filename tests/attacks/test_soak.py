"""Lets a year of a trap pass: 26,000 pictures, outages of hours to weeks, power cuts, full disks, an unset clock.

Once in each week of it the process and the outbox are looked at: nothing may grow but by what is to be remembered. A
test run lets some weeks pass; the whole year takes a few minutes:

    STICKY_PI_SOAK_WEEKS=52 tests/run -k soak -s

With `-s` the samples are shown. STICKY_PI_SOAK_SEED=<seed> has other things happen.
"""

import logging
import os
import shutil
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from soak.year import KEEP_DAYS, Year
from sticky_pi_uploader.models import State
from sticky_pi_uploader.retention import DAY
from trap_model.disk import reason_to_skip, small_disk

WEEKS = int(os.environ.get("STICKY_PI_SOAK_WEEKS", "0"))
IN_CI, HURRY = 2, 8
"""Weeks, and how much more goes wrong in them than in a year's"""
SEED = int(os.environ.get("STICKY_PI_SOAK_SEED", "1"))
DISK = "120M"

PER_ROW = 1500
"""bytes of the outbox's file for each picture that it ever knew at a time, its history and indexes included"""
EMPTY = 200_000
LONGEST_LOG = 6_000_000
"""bytes; SQLite writes its log back into the file from 4 MB on"""
MOST_TRACED, MOST_BLOCKS, MOST_RESIDENT = 300_000, 30_000, 12_000_000
"""bytes, pieces and bytes that may be held more than when all had settled"""


@pytest.fixture
def folder():
    """A folder in memory, if there is one: flushes take most of the time elsewhere."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def trap_folder(folder):
    """The trap's, on a disk of its own where one can be mounted, and that disk."""
    path = folder / "trap"
    path.mkdir()
    if reason_to_skip() is not None:
        yield path, None
        return
    with small_disk(path, DISK) as disk:
        yield path, disk


@pytest.fixture
def quiet():
    """Keep the log from piling up in pytest's own report."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def traced():
    """Count what Python allocates; over a year that would take too long."""
    if not WEEKS:
        tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_year_leaves_nothing_behind_but_what_is_to_be_remembered(trap_folder, traced, quiet):
    folder, disk = trap_folder
    print("\nweek   rows  outbox kB  log kB  traced kB   blocks  resident MB  descriptors  threads")
    year = Year(folder, seed=SEED, disk=disk, hurry=1 if WEEKS else HURRY, tell=show)
    try:
        year.pass_(WEEKS or IN_CI)
        print(
            f"{year.taken} pictures, {year.outages} outages, {year.full} full disks, {year.reboots} power cuts,"
            f" {len(year.undated)} pictures without a clock, {year.missed} without room;"
            f" {os.times().user:.0f} s of CPU"
        )
        assert min(year.outages, year.full, year.reboots) > 0
        check_pictures(year)
        check_samples(year.samples)
    finally:
        year.close()


def check_pictures(year):
    assert year.server.wrong == []
    assert year.left() == 0
    assert len(year.server.rows) == year.dated
    counts = year.counts()
    assert counts.keys() <= {State.UPLOADED, State.REJECTED}
    assert counts.get(State.REJECTED, 0) == len(year.undated)
    on_card = {path.name for path in year.trap.images.rglob("*.jpg")}
    assert on_card >= year.undated
    kept = [one for one in year.trap.outbox.pictures([State.UPLOADED]) if one.removed_at is None]
    assert len(kept) == len(on_card - year.undated)
    assert all(year.clock.wall - one.uploaded_at < (KEEP_DAYS + 1) * DAY for one in kept)


def check_samples(samples):
    first, most_rows = samples[len(samples) // 4], 0
    for sample in samples:
        most_rows = max(most_rows, sample.rows)
        assert sample.outbox <= EMPTY + PER_ROW * most_rows, sample
        assert sample.log <= LONGEST_LOG, sample
    for sample in samples[len(samples) // 4 :]:
        assert sample.traced <= first.traced + MOST_TRACED, sample
        assert sample.blocks <= first.blocks + MOST_BLOCKS, sample
        assert sample.resident <= first.resident + MOST_RESIDENT, sample
        assert sample.descriptors <= first.descriptors, sample
        assert sample.threads <= first.threads, sample


def show(each):
    print(
        f"{each.week:4} {each.rows:6} {each.outbox / 1e3:10.0f} {each.log / 1e3:7.0f} {each.traced / 1e3:10.0f}"
        f" {each.blocks:8} {each.resident / 1e6:12.1f} {each.descriptors:12} {each.threads:8}",
        flush=True,
    )
