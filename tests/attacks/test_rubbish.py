"""Damages whatever lies in the state folder, between rounds that end or are killed; then rounds must come right.

A test run does it to some traps. The long run does it to as many as it is told:

    STICKY_PI_RUBBISH=300 tests/run -k rubbish -s

It prints its seeds; STICKY_PI_RUBBISH_SEED=<seed> begins with one of them.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import invariants
from program import Program
from sticky_pi_uploader.demo.pictures import picture_bytes

TRAPS = int(os.environ.get("STICKY_PI_RUBBISH", "8"))
SEED = int(os.environ.get("STICKY_PI_RUBBISH_SEED") or time.time_ns() // 1_000_000 % 1_000_000)
FIRST = datetime(2022, 5, 17, 18, 34, 50)  # noqa: DTZ001  # UTC, as in the file names
DEVICES = ("5c173ff2", "1b74105a")
SMALL = (48, 36)
STRANGERS = b"of somebody else"
"""Bytes that links in the state folder lead to: whoever may write there may have made them"""
PATIENCE = 120.0
MOST_DRAINS = 5
"""In which all must be sent: one may find a damage, and wait for what it can't know for sure"""


class Trap:
    """A trap with a store beside, to which everything comes by chance."""

    def __init__(self, folder, seed):
        self.chance = random.Random(seed)
        self.images, self.state, self.store = folder / "pictures", folder / "state", folder / "store"
        for each in (self.images, self.state):
            each.mkdir(parents=True)
        self.stranger = folder / "stranger"
        self.stranger.mkdir()
        (self.stranger / "file").write_bytes(STRANGERS)
        self.pictures = {}
        self.harms = []
        self.said = ""

    def takes_pictures(self):
        for _ in range(self.chance.randint(1, 12)):
            device, when = self.chance.choice(DEVICES), FIRST + timedelta(minutes=20 * len(self.pictures))
            file = self.images / device / f"{when:%Y-%m-%d}" / f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            self.pictures[file] = picture_bytes(device, when, generation=self.chance.choice((2020, 2022)), size=SMALL)
            file.write_bytes(self.pictures[file])

    def works(self):
        """Work until all is sent, or until the power goes."""
        command = self.chance.choice(("drain", "run"))
        until = self.chance.choice((PATIENCE, self.chance.uniform(0.1, 1.5))) if command == "drain" else 1.0
        with self._process(command) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(until)
            process.kill()
            self.said += process.communicate()[1]

    def drain(self):
        with self._process("drain") as process:
            self.said += process.communicate(timeout=PATIENCE)[1]
        return process.returncode

    def is_damaged(self):
        """Do harm to something in the state folder, to the outbox more often than not."""
        files = self.state_files()
        if not files:
            return
        weights = [10 if file.name.startswith("outbox.db") else 1 for file in files]
        (file,) = self.chance.choices(files, weights)
        harm = self.chance.choice(HARMS)
        self.harms.append(f"{harm.__name__} {file.relative_to(self.state)}")
        with suppress(OSError):  # an earlier harm made it none that can be read
            harm(file, self)

    def state_files(self):
        """Return the files in the state folder, without links: no harm may go through one to the stranger's files."""
        return [file for file in self.state.rglob("*") if file.is_file() and not file.is_symlink()]

    def wrong(self, status):
        """Say what isn't as it should be, once a drain has ended with this status."""
        sent = {file.name: hashlib.md5(blob).hexdigest() for file, blob in self.pictures.items()}
        wrong = [f"drain ends with {status}"] if status else []
        wrong += [f"{file} isn't as it was" for file, blob in self.pictures.items() if _bytes(file) != blob]
        wrong += invariants.not_held_once(sent, invariants.held_by_store(self.store))
        wrong += invariants.stored_files(self.store, sent)
        found = {path.name: _bytes(path) for path in self.stranger.iterdir()}
        wrong += [] if found == {"file": STRANGERS} else [f"a link was followed to a stranger's files: {[*found]}"]
        wrong += re.findall(r"Traceback|CRITICAL.*", self.said)
        return wrong

    @contextmanager
    def _process(self, command):
        flags = ["--image-dir", self.images, "--state-dir", self.state, "--api-url", self.store.as_uri()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with Program(*flags).start(command, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()


def _bytes(file):
    return file.read_bytes() if file.exists() else None


def bits_flipped(file, trap):
    content = bytearray(file.read_bytes())
    for _ in range(trap.chance.choice((1, 5, 200)) if content else 0):
        content[trap.chance.randrange(len(content))] ^= 1 << trap.chance.randrange(8)
    file.write_bytes(content)


def zeros_in(file, trap):
    content = bytearray(file.read_bytes())
    at = trap.chance.randrange(len(content) + 1)
    end = min(len(content), at + trap.chance.choice((1, 512, 4096, 100_000)))
    content[at:end] = bytes(end - at)
    file.write_bytes(content)


def cut_short(file, trap):
    os.truncate(file, trap.chance.randrange(file.stat().st_size + 1))


def overwritten(file, trap):
    file.write_bytes(trap.chance.randbytes(trap.chance.choice((0, 1, 100, 5000))))


def grown(file, trap):
    with file.open("ab") as opened:
        opened.write(trap.chance.randbytes(trap.chance.choice((1, 4096, 100_000))))


def removed(file, _trap):
    file.unlink()


def removed_with_its_folder(file, trap):
    if file.parent != trap.state:
        shutil.rmtree(file.parent)


def exchanged(file, trap):
    other = trap.chance.choice(trap.state_files())
    content = other.read_bytes()
    other.write_bytes(file.read_bytes())
    file.write_bytes(content)


def a_folder_instead(file, _trap):
    file.unlink()
    file.mkdir()


def a_link_instead(file, trap):
    file.unlink()
    file.symlink_to(trap.chance.choice((file.name, "lock", "..")))


def a_link_to_a_stranger_instead(file, trap):
    file.unlink()
    file.symlink_to(trap.stranger / trap.chance.choice(("file", "new")))


def a_link_to_a_stranger_instead_of_its_folder(file, trap):
    if file.parent != trap.state:
        shutil.rmtree(file.parent)
        file.parent.symlink_to(trap.stranger)


def a_file_instead_of_its_folder(file, trap):
    if file.parent != trap.state:
        shutil.rmtree(file.parent)
        file.parent.write_bytes(b"found")


HARMS = (
    *(bits_flipped, zeros_in, cut_short, overwritten, grown, removed, removed_with_its_folder, exchanged),
    *(a_folder_instead, a_link_instead, a_link_to_a_stranger_instead, a_link_to_a_stranger_instead_of_its_folder),
    a_file_instead_of_its_folder,
)


def test_whatever_lies_in_the_state_folder_every_picture_is_stored_once(tmp_path):
    figures = Counter()
    for seed in range(SEED, SEED + TRAPS):
        trap = Trap(tmp_path / f"{seed}", seed)
        for _ in range(trap.chance.randint(1, 4)):
            trap.takes_pictures()
            trap.works()
            for _ in range(trap.chance.randint(1, 4)):
                trap.is_damaged()
        statuses = [trap.drain()]
        while statuses[-1] != 0 and len(statuses) < MOST_DRAINS:
            statuses.append(trap.drain())
        wrong = trap.wrong(statuses[-1])
        assert not wrong, f"seed {seed}: {wrong}\nafter {trap.harms}\n{trap.said}"
        figures.update(traps=1, pictures=len(trap.pictures), harms=len(trap.harms), drains=len(statuses))
    print(f"seeds from {SEED} on: {dict(figures)}")
