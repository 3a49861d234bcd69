"""What a picture has the program write, and how often it waits for a disk: steady arrivals, and a backlog.

    python tests/bench/written.py [--pictures N]

The card is ext4 (noatime,data=writeback) in a file, mounted through a loop device; a store in memory takes the
pictures. Steady: `run`, and a picture every few seconds, each of which has its receipt before the next one comes.
Backlog: one `drain` of all of them. What counts is what the kernel says that the process had written (write_bytes),
without the two thumbnails of each picture; the file system's own journal comes on top. Flushes are the calls of fsync
and fdatasync for files on the card, as strace sees them. Needs root, a loop device, strace and 5 minutes.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from benchmark import Row, Skipped, environment, main
from padding import padded
from pictures import full_size, put

SIZE = 512 * 2**20
GAP = 1.0
"""Seconds after a receipt until the next picture comes"""

_AND_TELL = """if True:
    import sys
    from sticky_pi_uploader.cli.main import main
    status = main(sys.argv[1:])
    print(open("/proc/self/io").read())
    sys.exit(status)
"""

OPTIONS = "loop,noatime,data=writeback"


def rows(folder, pictures=30):
    for command in ("strace", "mkfs.ext4", "mount"):
        if os.geteuid() != 0 or shutil.which(command) is None:
            raise Skipped(f"the bytes that a picture writes: needs root and {command}")
    blob = full_size(2020)
    steady = _steady(folder / "steady", pictures, blob)
    yield Row("bytes written, steady arrivals", steady, 50, "KB", "a picture, beside its thumbnails")
    backlog = _backlog(folder / "backlog", pictures * 4, blob)
    yield Row("bytes written, backlog", backlog, 10, "KB", "a picture, beside its thumbnails")
    flushes = _flushes(folder / "flushes", pictures, blob)
    yield Row("fsync and fdatasync, steady arrivals", flushes, 5, "", "a picture, to its receipt")


def _steady(folder, pictures, blob):
    with _card(folder) as card, _running(card) as process:
        _arrive(card, 0, blob)
        before = _written(f"/proc/{process.pid}/io")
        for number in range(1, pictures + 1):
            _arrive(card, number, blob)
        return _beside_thumbnails(card, _written(f"/proc/{process.pid}/io") - before, pictures)


def _backlog(folder, pictures, blob):
    with _card(folder) as card:
        subprocess.run(_command("drain", card), env=environment(), capture_output=True, check=True)
        for number in range(pictures):
            put(card / "images", number, padded(blob, 0, number))
        _, _, *arguments = _command("drain", card)
        command = [sys.executable, "-c", _AND_TELL, *arguments[1:]]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        written = folder / "io"
        written.write_text(done.stdout)
        return _beside_thumbnails(card, _written(written), pictures)


def _flushes(folder, pictures, blob):
    with _card(folder) as card, _running(card) as process:
        _arrive(card, 0, blob)
        log = folder / "strace"
        strace = ["strace", "-f", "-y", "-o", log, "-e", "trace=fsync,fdatasync", "-p", str(process.pid)]
        with subprocess.Popen(strace, stderr=subprocess.DEVNULL) as tracer:
            time.sleep(1)
            for number in range(1, pictures + 1):
                _arrive(card, number, blob)
            tracer.send_signal(signal.SIGINT)
        lines = log.read_text(encoding="utf-8").splitlines()
        return sum(f"<{card}" in line for line in lines if "sync(" in line) / pictures


def _arrive(card, number, blob):
    """Let a picture come, and wait for its receipt."""
    put(card / "images", number, padded(blob, 0, number))
    outbox = card / "images/.sticky-pi-uploader/outbox.db"
    ends_at = time.monotonic() + 120
    while time.monotonic() < ends_at:
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT count(*) FROM pictures WHERE state = 'uploaded'").fetchone()
            if found[0] > number:
                time.sleep(GAP)
                return
        time.sleep(0.1)
    said = (card.parent / "log").read_text(encoding="utf-8", errors="replace")
    raise SystemExit(f"a picture got no receipt within 2 minutes:\n{said[-3000:]}")


@contextmanager
def _card(folder):
    """Make a card with an image folder on it, mounted as a trap's is."""
    disk, card = folder / "disk", folder / "card"
    card.mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(SIZE)
    # Nothing is left to be initialised in the background.
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk], check=True)
    if subprocess.run(["mount", "-o", OPTIONS, disk, card], capture_output=True, check=False).returncode:
        raise Skipped("the bytes that a picture writes: no loop device can be mounted here")
    try:
        (card / "images").mkdir()
        yield card
    finally:
        subprocess.run(["umount", "-l", card], check=True)


@contextmanager
def _running(card):
    log = card.parent / "log"
    with log.open("wb") as said, subprocess.Popen(_command("run", card), env=environment(), stderr=said) as process:
        time.sleep(3)
        try:
            yield process
        finally:
            process.terminate()


def _command(verb, card):
    store = Path("/dev/shm", card.parent.parent.name, card.parent.name)
    store.parent.mkdir(exist_ok=True)
    python = [sys.executable, "-m", "sticky_pi_uploader", verb]
    return [*python, "--image-dir", str(card / "images"), "--api-url", f"file://{store}"]


def _written(file):
    lines = Path(file).read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def _beside_thumbnails(card, written, pictures):
    """Return the KB a picture, without what its thumbnails take, in whole blocks."""
    thumbnails = [path.stat().st_blocks * 512 for path in card.rglob("*.thumbnail*")]
    return (written / pictures - 2 * sum(thumbnails) / len(thumbnails)) / 1000


if __name__ == "__main__":
    main(rows, __doc__, pictures=30)
