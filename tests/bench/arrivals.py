"""What it costs to notice a picture's arrival, up to where its file is opened, against raw inotify.

    python tests/bench/arrivals.py

A camera writes pictures, one after the other. One process watches them as the service does: watchdog, scan
requests, the intake and its questions to the outbox. The other reads the kernel's events from a file descriptor, and
looks at the file. What counts is the processor's time of the whole process, all its threads, while the pictures arrive.
"""

import ctypes
import os
import subprocess
import sys
import threading
import time

from benchmark import Row, environment, in_turns, main, ratio

PICTURES = 300
PAUSE = 0.004
"""Seconds between two pictures: each finds its process asleep"""

ROUNDS = 21
_CLOSE_WRITE, _MOVED_TO, _CREATE = 0x8, 0x80, 0x100


def rows(folder):
    raw, ours = in_turns(lambda: _watched(folder, "raw"), lambda: _watched(folder, "ours"), rounds=ROUNDS)
    yield Row("a picture's arrival: CPU", ratio(ours, raw), 6, "×", "raw inotify")


def _watched(folder, how):
    """Return the seconds of the processor that a process takes to notice some pictures."""
    images = folder / f"{how}-{time.monotonic_ns()}"
    (images / "5c173ff2/2020-06-20").mkdir(parents=True)
    command = [sys.executable, __file__, f"--{how}", str(images)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()  # it watches
        for number in range(PICTURES):
            path = images / f"5c173ff2/2020-06-20/5c173ff2.2020-06-20_00-{number // 60:02}-{number % 60:02}.jpg"
            unfinished = path.with_suffix(".jpg~")
            unfinished.write_bytes(b"picture")
            unfinished.rename(path)
            time.sleep(PAUSE)
        return float(process.stdout.readline())


def _measure(seen):
    """Say that it is watched, and then what it took until everything was seen."""
    print("watching", flush=True)
    before = time.process_time()
    while seen() < PICTURES:
        time.sleep(0.1)
    print(time.process_time() - before, flush=True)


def _raw(images):
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_CLOEXEC)
    folder = f"{images}/5c173ff2/2020-06-20"
    libc.inotify_add_watch(inotify, folder.encode(), _CLOSE_WRITE | _MOVED_TO | _CREATE)
    seen = []

    def watch():
        while True:
            events, at = os.read(inotify, 65536), 0
            while at < len(events):
                length = int.from_bytes(events[at + 12 : at + 16], sys.byteorder)
                name = os.fsdecode(events[at + 16 : at + 16 + length].rstrip(b"\0"))
                at += 16 + length
                if name.endswith(".jpg"):
                    os.stat(os.path.join(folder, name))
                    seen.append(name)

    threading.Thread(target=watch, daemon=True).start()
    _measure(lambda: len(seen))


def _ours(images):
    from sticky_pi_uploader.intake.intake import Intake
    from sticky_pi_uploader.intake.scanner import Scanner
    from sticky_pi_uploader.outbox import Outbox
    from sticky_pi_uploader.scan_requests import ScanRequests
    from sticky_pi_uploader.service.workers import Workers
    from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
    from sticky_pi_uploader.watch.watcher import Watcher

    scanner, scan_requests, reader = Scanner(images), ScanRequests(), _Reader()
    outbox = Outbox(f"{images}.db", longest_wait=LONGEST_WAIT)
    workers = Workers(lambda: None)
    intake = Intake(
        scanner,
        reader,
        outbox.catalog,
        outbox.folders,
        scan_requests,
        recorded=lambda: None,
        stopping=workers.stopping.is_set,
    )
    watcher = Watcher(scanner, scan_requests, scan_interval=600)
    watcher.start()
    workers.start("intake", intake.step, scan_requests.waiting)
    time.sleep(0.5)  # the first scan
    _measure(lambda: len(reader.seen))
    workers.stop()
    watcher.stop()
    outbox.close()


class _Reader:
    """Stands where files are read and decoded, which is another matter."""

    def __init__(self):
        self.seen = set()

    def read(self, candidate, _file_system):
        self.seen.add(candidate.path)
        raise FileNotFoundError(candidate.path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--raw"]:
        _raw(sys.argv[2])
    elif sys.argv[1:2] == ["--ours"]:
        _ours(sys.argv[2])
    else:
        main(rows, __doc__)
