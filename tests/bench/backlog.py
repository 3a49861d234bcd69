"""What the last of 100,000 unknown pictures costs to take in, against the first.

    python tests/bench/backlog.py [--pictures N]

One `drain` takes in small pictures, each other bytes, while its destination can't be reached: none is sent, and all of
them wait. Its processor's time is looked at while it works. Needs 2 GB in memory (/dev/shm), so that no disk is waited
for, and 10 minutes.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from benchmark import Row, environment, main
from pictures import put, small

SHARE = 10
"""The first and the last of so many parts are compared"""

NOWHERE = "http://127.0.0.1:9"


def rows(_folder, pictures=100_000):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        images = Path(folder, "images")
        for number in range(pictures):
            put(images, number, small(number))
        first, last = _ends(_watched(images, pictures), pictures // SHARE)
    yield Row(f"the last of {pictures} unknown pictures: CPU", last / first, 1.2, "×", "the first of them")


def _watched(images, pictures):
    """Return how many were recorded, and the seconds of the processor by then, again and again."""
    command = [sys.executable, "-m", "sticky_pi_uploader", "drain", "--image-dir", str(images)]
    account = {"SPI_API_URL": NOWHERE, "SPI_API_USERNAME": "trap", "SPI_API_PASSWORD": "pollen"}
    seen, ticks = [(0, 0.0)], os.sysconf("SC_CLK_TCK")
    with subprocess.Popen(command, env=environment(**account), stderr=subprocess.DEVNULL) as process:
        while seen[-1][0] < pictures and process.poll() is None:
            time.sleep(0.5)
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            seen.append((_recorded(images), (int(fields[11]) + int(fields[12])) / ticks))
        process.terminate()
    return seen


def _recorded(images):
    outbox = images / ".sticky-pi-uploader/outbox.db"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT max(id) FROM pictures").fetchone()[0] or 0
    return 0


def _ends(seen, share):
    """Return the seconds of the processor for a picture in the first share of them, and in the last."""
    total = seen[-1][0]
    # The first batch has the imports in it.
    start = next(each for each in seen if each[0] > 0)
    after_first = next(each for each in seen if each[0] >= start[0] + share)
    before_last = next(each for each in seen if each[0] >= total - share)
    return tuple((b[1] - a[1]) / (b[0] - a[0]) for a, b in ((start, after_first), (before_last, seen[-1])))


if __name__ == "__main__":
    main(rows, __doc__, pictures=100_000)
