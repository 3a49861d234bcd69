"""What a start costs with 100,000 pictures that are known and unchanged, against listing their names.

    python tests/bench/known_scan.py [--pictures N]

The pictures are empty files in 365 date folders, recorded as sent. What counts is the processor's time, and the memory,
of a `drain` of that folder, less those of a `drain` with nothing to do.
"""

import os
import time

from benchmark import Row, cost, cpu, in_turns, main, memory, ratio, uploader
from pictures import DEVICE
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import Taken
from sticky_pi_uploader.outbox import Outbox, outbox_path
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT

FOLDERS = 365
ROUNDS = 9
_NAMES = """if True:
    import os, sys
    def names(folder):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    names(entry.path)
    names(sys.argv[1])
"""


def rows(folder, pictures=100_000):
    empty, full = folder / "empty", folder / "full"
    empty.mkdir()
    _fill(full, pictures)
    _record(full)
    time.sleep(3)  # what changed just now isn't believed yet
    bare, names, nothing, known = in_turns(
        lambda: cost("-c", "import os, sys"),
        lambda: cost("-c", _NAMES, full),
        lambda: uploader("drain", "--image-dir", empty),
        lambda: uploader("drain", "--image-dir", full),
        rounds=ROUNDS,
    )
    ours = [one - other for one, other in zip(cpu(known), cpu(nothing), strict=True)]
    least = [one - other for one, other in zip(cpu(names), cpu(bare), strict=True)]
    yield Row(f"start, {pictures} known pictures: CPU", ratio(ours, least), 2, "×", "os.scandir of their names")
    more = memory(known) - memory(nothing)
    yield Row(f"start, {pictures} known pictures: memory", more, 5, "MiB", "over a drain with nothing to do")


def _fill(full, pictures):
    for day in range(FOLDERS):
        date = time.strftime("%Y-%m-%d", time.gmtime(1.6e9 + 86400 * day))
        folder = full / DEVICE / date
        folder.mkdir(parents=True)
        for number in range(pictures // FOLDERS):
            name = f"{DEVICE}.{date}_{number // 3600:02}-{number // 60 % 60:02}-{number % 60:02}.jpg"
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))


def _record(full):
    """Have all of it known and sent, as far as the outbox is concerned."""
    state = full / ".sticky-pi-uploader"
    state.mkdir()
    scanner = Scanner(str(full), [str(state)])
    with Outbox(outbox_path(str(state)), longest_wait=LONGEST_WAIT) as outbox:
        for folder in scanner.folders():
            outbox.catalog.record([_taken(candidate) for candidate in scanner.candidates(folder)])
        with outbox.database.writing():
            outbox.database.connection.execute(
                "UPDATE pictures SET state = 'uploaded', receipt_md5 = md5, uploaded_at = 1.6e9"
            )


def _taken(candidate):
    device, when, _ = os.path.basename(candidate.path).split(".")
    taken_at = f"{when[:10]}T{when[11:].replace('-', ':')}Z"
    md5 = f"{abs(hash(candidate.path)):032x}"
    return Taken(candidate.path, candidate.fingerprint, "card", device, taken_at, md5, {"width": 2592, "height": 1944})


if __name__ == "__main__":
    main(rows, __doc__, pictures=100_000)
