"""Kills the service at random moments while pictures arrive, and accounts for every one of them afterwards.

A test run does this once, in some seconds. The long run, of 50 rounds of 500 pictures, each with its own seed:

    STICKY_PI_KILL_ROUNDS=50 tests/run -k kill

A failure names its seed; STICKY_PI_KILL_SEED=<seed> begins with it. The moments depend on the machine as well, so it
may take several rounds to see the same again.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import invariants
import pytest
from program import Program
from sticky_pi_uploader.demo.pictures import picture_bytes

ROUNDS = int(os.environ.get("STICKY_PI_KILL_ROUNDS", "1"))
FIRST_SEED = int(os.environ.get("STICKY_PI_KILL_SEED") or time.time_ns() // 1_000_000 % 1_000_000)

PICTURES = 500
KILLS = 8
DEVICES = ("5c173ff2", "1b74105a", "512858f4", "0a5bb6f4")
LONGEST_LIFE = 1.5
"""Seconds after its start within which a service is killed: some are still starting, some have sent much."""


@pytest.fixture(scope="module")
def sources():
    """What the cameras took: the bytes by file name, in the order of their coming; both generations."""
    taken = datetime(2022, 5, 17, 18, 34, 50)  # noqa: DTZ001  # UTC, as in the file names
    made = {}
    for number in range(PICTURES):
        device = DEVICES[number % len(DEVICES)]
        when = taken + timedelta(hours=number)  # a new date folder for each device every day
        blob = picture_bytes(device, when, generation=(2020, 2022)[number % 2], size=(160, 120))
        made[f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg"] = blob
    return made


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + ROUNDS))
def test_every_picture_is_stored_once_whenever_the_service_is_killed(seed, sources, tmp_path):
    random = Random(seed)
    image_dir = tmp_path / "pictures"
    image_dir.mkdir()
    store = image_dir / ".sticky-pi-uploader" / "store"
    log = tmp_path / "log"

    _kill_while_pictures_arrive(random, sources, image_dir, log)
    drained = _command("drain", image_dir)
    assert drained.returncode == 0, drained.stderr

    assert list(_wrong(image_dir, store, sources)) == []
    trouble = re.search(r"Traceback|ERROR|CRITICAL", said := log.read_text() + drained.stderr)
    assert trouble is None, said[trouble.start() :][:3000]

    _assert_leftovers_go(store, sources, image_dir)
    shutil.rmtree(tmp_path)  # pytest would keep those of all rounds


def _kill_while_pictures_arrive(random, sources, image_dir, log):
    waiting = list(sources.items())
    for kills_left in range(KILLS, 0, -1):
        share = len(waiting) // kills_left
        arriving, waiting = waiting[:share], waiting[share:]
        dies_at = time.monotonic() + random.uniform(0, LONGEST_LIFE)
        with Program("--image-dir", image_dir).service(log) as service:
            while arriving:
                burst = random.randint(1, share)
                for name, blob in arriving[:burst]:
                    _arrive(random, image_dir, name, blob)
                del arriving[:burst]
                time.sleep(random.uniform(0, 0.1))
            time.sleep(max(0, dies_at - time.monotonic()))
            assert service.poll() is None, log.read_text()[-2000:]
            service.kill()
            assert service.wait() == -signal.SIGKILL


def _command(name, image_dir):
    return Program("--image-dir", image_dir).run(*name.split(), timeout=300)


def _arrive(random, image_dir, name, blob):
    """Put a picture into one of the three layouts, as the camera does it or as a person who copies it."""
    device, taken, _ = name.split(".")
    folder = image_dir / random.choice([f"{device}/{taken[:10]}", device, "."])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if random.random() < 0.5:
        unfinished = folder / f"{name}~"
        unfinished.write_bytes(blob)
        unfinished.rename(path)
        return
    with path.open("wb", buffering=0) as file:
        middle = random.randrange(len(blob))
        file.write(blob[:middle])
        time.sleep(random.choice([0, 0, 0, 0.01]))
        file.write(blob[middle:])


def _wrong(image_dir, store, sources):
    """Find what isn't as it should be, once everything is sent."""
    sent = {name: _md5(blob) for name, blob in sources.items()}
    listed = json.loads(_command("list --json", image_dir).stdout)
    rows = {Path(one["path"]).name: one for one in listed}
    yield from invariants.not_held_once(sent, invariants.held_by_store(store))
    yield from invariants.stored_files(store, sent)
    yield from invariants.not_accounted_for(sent, rows, removed=False)
    if len(rows) != len(listed):
        yield "listed twice", sorted(one["path"] for one in listed)
    yield from (("not on the card", one["path"]) for one in listed if not Path(one["path"]).is_file())


def _assert_leftovers_go(store, sources, image_dir):
    """What the killed had in hand is removed by the first upload an hour later."""
    incoming = store / "raw_images" / ".incoming"
    an_hour_ago = time.time() - 3700
    for leftover in incoming.iterdir():
        os.utime(leftover, (an_hour_ago, an_hour_ago))
    when = datetime(2023, 1, 1)  # noqa: DTZ001
    late = f"{DEVICES[0]}.{when:%Y-%m-%d_%H-%M-%S}.jpg"
    assert late not in sources
    (image_dir / late).write_bytes(picture_bytes(DEVICES[0], when, size=(160, 120)))
    assert _command("drain", image_dir).returncode == 0
    assert list(incoming.iterdir()) == []


def _md5(blob):
    return hashlib.md5(blob).hexdigest()
