"""What a process takes, as the system and Python count it."""

import gc
import os
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import sticky_pi_uploader

_DAEMON = str(Path(sticky_pi_uploader.__file__).parents[1] / "*")


@dataclass(frozen=True)
class Sample:
    """One look at the process and the outbox."""

    week: int
    rows: int
    """pictures that the outbox knows"""
    outbox: int
    """bytes of its file"""
    log: int
    """bytes of its write-ahead log"""
    traced: int
    """bytes that the daemon's own lines have allocated and still hold; 0 where that isn't traced: it takes its time"""
    blocks: int
    """pieces of memory that Python holds, the test and its server included"""
    resident: int
    """bytes that the process holds in memory"""
    descriptors: int
    threads: int


def take(week, rows, state):
    """Look at this process, and at the outbox in a state folder."""
    gc.collect()
    blocks, traced = sys.getallocatedblocks(), _traced() if tracemalloc.is_tracing() else 0
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    log = state / "outbox.db-wal"
    return Sample(
        week,
        rows,
        (state / "outbox.db").stat().st_size,
        log.stat().st_size if log.exists() else 0,
        traced,
        blocks,
        resident,
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
    )


def _traced():
    ours = tracemalloc.Filter(inclusive=True, filename_pattern=_DAEMON)
    return sum(one.size for one in tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename"))
