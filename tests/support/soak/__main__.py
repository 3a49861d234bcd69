"""Lets some weeks of a trap pass, and checks what they left: `python -m soak FOLDER`. Whatever is wrong ends it.

It is a process of its own, as what else a process has done shows in its memory.
"""

import argparse
import logging
import os
import tracemalloc
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import sqlite_utils  # noqa: F401 - see `load_everything`
import sticky_pi_api
import sticky_pi_uploader
from sticky_pi_uploader.models import State
from sticky_pi_uploader.retention.policy import DAY
from trap_model.disk import reason_to_skip, small_disk

from .year import KEEP_DAYS, Year

DISK = "120M"

PER_ROW = 1500
"""bytes of the outbox's file for each picture that it ever knew at a time, its history and indexes included"""
EMPTY = 200_000
LONGEST_LOG = 6_000_000
"""bytes; SQLite writes its log back into the file from 4 MB on"""
MOST_TRACED, MOST_BLOCKS, MOST_RESIDENT = 300_000, 30_000, 12_000_000
"""bytes, pieces and bytes that may be held more than when all had settled"""


def main():
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("folder", type=Path, help="an empty folder to work in")
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--hurry", type=int, default=1, help="so many times as much goes wrong, for as much shorter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--traced", action="store_true", help="count what Python allocates; over a year it takes too long"
    )
    options = parser.parse_args()
    load_everything()
    if options.traced:
        tracemalloc.start()
    # No trap has a log of millions of lines.
    logging.disable(logging.CRITICAL)
    folder = options.folder / "trap"
    folder.mkdir()
    # On a disk of its own where one can be mounted.
    with small_disk(folder, DISK) if reason_to_skip() is None else nullcontext() as disk:
        print("week   rows  outbox kB  log kB  traced kB   blocks  resident MB  descriptors  threads")
        year = Year(folder, seed=options.seed, disk=disk, hurry=options.hurry, tell=show)
        try:
            year.pass_(options.weeks)
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


def load_everything():
    """Import all modules: one that is first needed in a later week would count as left behind by the year."""
    for package in (sticky_pi_api, sticky_pi_uploader):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)


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


if __name__ == "__main__":
    main()
