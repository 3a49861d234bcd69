"""What taking a picture in costs, against the least that it could: a quarter-scale decode and an md5 of its bytes.

    python tests/bench/take_in.py

Taking in ends with a durable write of the picture's row. It is also compared with what a plain program does: decode all
of it, and make thumbnails from that. One process does all three, in turns; the processor's time counts. Memory is the
most that the process has while it takes one in, over what it has when it has taken one in before.
"""

import gc
import hashlib
import io
import os
import statistics
import time

from benchmark import Row, in_turns, main, ratio
from pictures import DEVICE, full_size
from PIL import Image
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT

BOUNDS = {2020: 1.6, 2022: 2.2}


def rows(folder):
    for generation, bound in BOUNDS.items():
        work = folder / str(generation)
        work.mkdir()
        path = work / f"{DEVICE}.{generation}-06-20_21-33-24.jpg"
        path.write_bytes(full_size(generation))
        with Outbox(str(work / "outbox.db"), longest_wait=LONGEST_WAIT) as outbox:
            take_in = _taker(str(path), outbox)
            works = (_least, lambda _, taken=take_in: taken(), _plain)
            least, taken, plain = in_turns(*(lambda each=each, of=path: _seconds(each, of) for each in works))
            added = statistics.median(_added(take_in) for _ in range(5))
        name = f"take in a {generation} picture"
        yield Row(f"{name}: CPU", ratio(taken, least), bound, "×", "quarter-scale decode and md5")
        yield Row(f"{name}: CPU, against all of it", ratio(taken, plain), 0.45, "×", "full decode, LANCZOS thumbnails")
        yield Row(f"{name}: memory", added, 10, "MiB", "over the same process, idle")


def _least(path):
    blob = path.read_bytes()
    hashlib.md5(blob, usedforsecurity=False).hexdigest()
    with Image.open(io.BytesIO(blob)) as image:
        image.draft("RGB", (512, 384))
        image.load()


def _plain(path):
    blob = path.read_bytes()
    hashlib.md5(blob, usedforsecurity=False).hexdigest()
    for size in ((512, 384), (128, 96)):
        with Image.open(io.BytesIO(blob)) as image:
            image.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
            image.save(io.BytesIO(), "JPEG")


def _taker(path, outbox):
    scanner = Scanner(os.path.dirname(path))
    reader = PictureReader(scanner.image_dir, ThumbnailFolder(os.path.join(scanner.image_dir, "thumbnails")), time.time)
    identity = file_system_id(scanner.image_dir)
    candidate = scanner.look(os.path.basename(path))
    return lambda: outbox.catalog.record([reader.read(candidate, identity).taken])


def _seconds(work, path):
    before = time.process_time()
    work(path)
    return time.process_time() - before


def _added(take_in):
    """Return the MiB that it takes at most beyond what there was."""
    gc.collect()
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # VmHWM begins anew
    before = _memory("VmRSS")
    take_in()
    return _memory("VmHWM") - before


def _memory(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:")) / 1024


if __name__ == "__main__":
    main(rows, __doc__)
