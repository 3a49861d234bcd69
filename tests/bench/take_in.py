"""What taking a picture in costs, against the least that it could: a quarter-scale decode and an md5 of its bytes.

    python tests/bench/take_in.py [PICTURE…]

Taking in ends with a durable write of the picture's row. Without pictures it makes two of real size. Prints CPU
seconds a picture and their ratios, each the median of several rounds that take turns; ratios are to be compared,
seconds are not.
"""

import hashlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from PIL import Image
from sticky_pi_uploader.folders import file_system_id
from sticky_pi_uploader.ingest import Ingest
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.pictures import SENSOR_SIZES, make_picture
from sticky_pi_uploader.retry import LONGEST_WAIT
from sticky_pi_uploader.scan import Scanner
from sticky_pi_uploader.thumbnails import ThumbnailFolder

ROUNDS = 9


def least(path: str) -> None:
    with open(path, "rb") as file:
        blob = file.read()
    hashlib.md5(blob, usedforsecurity=False).hexdigest()
    with Image.open(io.BytesIO(blob)) as image:
        image.draft("RGB", (512, 384))
        image.load()


def plain(path: str) -> None:
    with open(path, "rb") as file:
        blob = file.read()
    hashlib.md5(blob, usedforsecurity=False).hexdigest()
    for size in ((512, 384), (128, 96)):
        with Image.open(io.BytesIO(blob)) as image:
            image.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
            image.save(io.BytesIO(), "JPEG")


def seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(path: str, folder: str) -> tuple[float, float, float]:
    """Return the median CPU seconds of the least, of taking in, and of what a plain program does."""
    scanner = Scanner(os.path.dirname(path))
    ingest = Ingest(scanner.image_dir, ThumbnailFolder(os.path.join(folder, "thumbnails")), time.time)
    outbox = Outbox(os.path.join(folder, "outbox.db"), longest_wait=LONGEST_WAIT)
    candidate = scanner.look(os.path.basename(path))
    assert candidate is not None
    identity = file_system_id(scanner.image_dir)

    def take_in() -> None:
        outbox.record([ingest.take_in(candidate, identity).taken])

    take_in()
    rounds = [(seconds(lambda: least(path)), seconds(take_in), seconds(lambda: plain(path))) for _ in range(ROUNDS)]
    outbox.close()
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))


def main(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if not paths:
            day = datetime(2022, 5, 17, 18, 34, 50)  # noqa: DTZ001 - naive datetimes are UTC
            paths = [
                make_picture(folder, "512858f4", day + timedelta(hours=hours), generation=generation, size=size)
                for hours, (generation, size) in enumerate(SENSOR_SIZES.items())
            ]
        print(f"{'picture':34} {'least':>8} {'taken in':>9} {'plain':>8} {'/ least':>8} {'/ plain':>8}")
        for number, path in enumerate(paths):
            work = os.path.join(folder, str(number))
            os.mkdir(work)
            least_time, time_taken, plain_time = measure(path, work)
            print(
                f"{os.path.basename(path):34} {least_time:8.4f} {time_taken:9.4f} {plain_time:8.4f}"
                f" {time_taken / least_time:8.2f} {time_taken / plain_time:8.2f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
