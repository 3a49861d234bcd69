"""What the tests of the commands share: a trap with an outbox, and the console command as a real process."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import sticky_pi_uploader
from sticky_pi_uploader.config.values import store_address
from sticky_pi_uploader.models import Fingerprint, Taken
from sticky_pi_uploader.outbox import Outbox, outbox_path

SOURCE = Path(sticky_pi_uploader.__file__).parents[1]


@dataclass(frozen=True)
class Trap:
    """A trap's folders, and what its outbox is told."""

    folder: Path

    @property
    def images(self):
        return self.folder / "pictures"

    @property
    def state(self):
        return self.folder / "state"

    @property
    def outbox(self):
        return self.state / "outbox.db"

    @property
    def store(self):
        return self.folder / "store"

    @property
    def url(self):
        return store_address(str(self.store))

    @property
    def flags(self):
        return ["--image-dir", str(self.images), "--state-dir", str(self.state), "--api-url", self.url]

    def open(self, **more):
        self.state.mkdir(exist_ok=True)
        outbox = Outbox(outbox_path(str(self.state)), longest_wait=1800, **more)
        outbox.destinations.change(self.url, lambda _: True)
        return outbox

    def record(self, *taken):
        with self.open() as outbox:
            outbox.catalog.record(taken)

    def run(self, *arguments, env=None, flags=None, **more):
        """Run the command; without `flags` on this trap's folders."""
        command = [sys.executable, "-m", "sticky_pi_uploader", *(self.flags if flags is None else flags), *arguments]
        more = {"capture_output": True, "timeout": 60, "cwd": self.folder} | more
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)} | (env or {})
        return subprocess.run(command, check=False, env=environment, **more)

    def json(self, *arguments, status=0):
        """Run the command, and read the JSON that it prints; of a trap without state it may say so."""
        done = self.run(*arguments, "--json")
        complaints = [line for line in done.stderr.splitlines() if b": no state in " not in line]
        assert (done.returncode, complaints) == (status, [])
        return json.loads(done.stdout)


@pytest.fixture
def trap(tmp_path):
    """A trap with an empty image folder, and no state yet."""
    trap = Trap(tmp_path)
    trap.images.mkdir()
    return trap


@pytest.fixture
def open_trap():
    """A trap with folders that every user can reach: tmp_path is its user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    trap = Trap(folder)
    trap.images.mkdir()
    yield trap
    shutil.rmtree(folder)


def taken(path, number=0, **more):
    """What ingest makes of picture `number` of a device."""
    about = {
        "device": "5c173ff2",
        "datetime": f"2020-06-20T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "md5": f"{number:032x}",
        "metadata": {"temp": 21.5, "lat": None},
    }
    return Taken(path, Fingerprint(1000, 10**18, number + 1), "here", **(about | more))


@pytest.fixture(name="taken")
def taken_fixture():
    return taken
