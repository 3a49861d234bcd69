"""What the embedded store costs as it grows: putting pictures, finding them, and putting files that it has already.

    python tests/bench/store.py [FOLDER]

Fills a store in FOLDER (the system's temporary one unless it is given; 2 GB are needed) up to 1,000, 10,000 and 100,000
pictures, each a small one with its thumbnails, and asks it for them at each size, every time in a process of its own.
Prints the time of an image, the processor's and the clock's, what that is of its time in the smallest store, and the
most memory that was in use beyond the answer. Then it puts 10,000 files twice, and compares the second time with one
os.stat of each. Ratios are to be compared, times are not. Takes a quarter of an hour on a disk, most of it for flushing
to it, and 4 minutes in memory (/dev/shm).
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sticky_pi_api.client import LocalClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_uploader.demo.pictures import make_picture

SIZES = (1_000, 10_000, 100_000)
LAST = 500
"""How many pictures the time of a put is taken of, the last ones before each size"""

FILES = 10_000
DEVICES = 3
TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001 - naive datetimes are UTC
ALL = [{"device": "%", "start_datetime": TAKEN, "end_datetime": "2100-01-01_00-00-00"}]


def key(number: int) -> tuple[str, datetime]:
    return f"{number % DEVICES:08x}", TAKEN + timedelta(minutes=20) * (number // DEVICES)


def prepared(folder: str, first: int, end: int) -> Iterator[ImageParser]:
    """Yield pictures that were parsed earlier; they share a few files."""
    models = [ImageParser(make_picture(folder, *key(number), size=(160, 120), seed=number)) for number in range(3)]
    for number in range(first, end):
        model = models[number % len(models)]
        device, when = key(number)
        fields = {**model, "device": device, "datetime": when}
        yield ImageParser.restore(model.path, fields, model.thumbnail_jpeg, model.thumbnail_mini_jpeg)


def seconds(work: Callable[[], object]) -> tuple[float, float, object]:
    """Return the processor's and the clock's seconds that some work takes, and its result."""
    began, clock = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - began, time.perf_counter() - clock, result


def memory() -> dict[str, float]:
    """Return this process's memory in MB, now (VmRSS) and at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = (line.split() for line in file)
        return {fields[0].rstrip(":"): int(fields[1]) / 1024 for fields in lines if fields[0] in ("VmRSS:", "VmHWM:")}


def measured(work: Callable[[], object], images: int) -> dict[str, float]:
    gc.collect()
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # VmHWM begins anew
    before = memory()["VmRSS"]
    cpu, clock, answer = seconds(work)
    after = memory()
    beyond = after["VmHWM"] - max(before, after["VmRSS"])
    del answer
    return {"cpu": cpu / images, "clock": clock / images, "beyond": max(0.0, beyond)}


def measure(verb: str, store: str, first: int, end: int) -> dict[str, float]:
    """Do one thing to a store of `end` images; runs in a process of its own."""
    with LocalClient(store) as client:
        if verb == "put_images":
            client.put_images(prepared(f"{store}-models", first, end - LAST))
            last = list(prepared(f"{store}-models", end - LAST, end))
            return measured(lambda: client.put_images(last), LAST)
        client.get_images([dict(zip(("device", "datetime"), key(0), strict=True))])
        keys = [dict(zip(("device", "datetime"), key(number), strict=True)) for number in range(end)]
        works = {
            "get_images": lambda: client.get_images(keys, "image"),
            "get_image_series": lambda: client.get_image_series(ALL, "image"),
            "iter_image_series": lambda: sum(1 for _ in client.iter_image_series(ALL, "image")),
            "put_images (held)": lambda: client.put_images(prepared(f"{store}-models", 0, end)),
        }
        return measured(works[verb], end)


def in_a_process(verb: str, store: str, first: int, end: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", verb, store, str(first), str(end)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grow(folder: str) -> None:
    store = os.path.join(folder, "store")
    verbs = ("put_images", "put_images (held)", "get_images", "get_image_series", "iter_image_series")
    smallest: dict[str, dict[str, float]] = {}
    print(f"{'images':>8} {'verb':18} {'µs of CPU':>10} {'µs':>8} {'CPU ratio':>10} {'ratio':>6} {'MB beyond':>10}")
    for first, end in zip((0, *SIZES), SIZES, strict=False):
        for verb in verbs:
            found = in_a_process(verb, store, first, end)
            base = smallest.setdefault(verb, found)
            print(
                f"{end:8} {verb:18} {found['cpu'] * 1e6:10.1f} {found['clock'] * 1e6:8.1f}"
                f" {found['cpu'] / base['cpu']:10.2f} {found['clock'] / base['clock']:6.2f} {found['beyond']:10.1f}",
                flush=True,
            )


def put_twice(folder: str) -> None:
    """Put files, which are links to a few that were written long ago, and put them again."""
    models = [make_picture(folder, *key(number), size=(160, 120), seed=number) for number in range(3)]
    os.mkdir(os.path.join(folder, "files"))
    for model in models:
        os.utime(model, (1_600_000_000, 1_600_000_000))
    files = []
    for number in range(FILES):
        device, when = key(number)
        files.append(os.path.join(folder, "files", f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg"))
        os.link(models[number % len(models)], files[-1])
    with LocalClient(os.path.join(folder, "twice")) as client:
        _, first, _ = seconds(lambda: client.put_images(files))
    with LocalClient(os.path.join(folder, "twice")) as client:
        _, second, stored = seconds(lambda: client.put_images(files))
        assert stored == []
        _, asked, _ = seconds(
            lambda: client.get_images(
                [dict(zip(("device", "datetime"), key(number), strict=True)) for number in range(FILES)]
            )
        )
    _, stats, _ = seconds(lambda: [os.stat(file) for file in files])
    print(f"\n{FILES} files, µs each: put {first / FILES * 1e6:.0f}, put again {second / FILES * 1e6:.1f},")
    print(f"of which the question takes {asked / FILES * 1e6:.1f}; os.stat {stats / FILES * 1e6:.1f}")
    print(f"put again / os.stat {second / stats:.1f}, put again / put {second / first:.4f}")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--measure"]:
        verb, store, first, end = arguments[1:]
        print(json.dumps(measure(verb, store, int(first), int(end))))
        return
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as folder:
        grow(folder)
        put_twice(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
