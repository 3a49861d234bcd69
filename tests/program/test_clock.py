"""Runs the real program with its clock at 2000, where a trap's starts when it was never set: libfaketime's doing.

The monotonic clock goes on as it is, and so do the times of files: only what the program is told is false.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_server import ApiServer
from certificates import Authority
from fault_proxy import FaultProxy
from program import PATIENCE, Program, environment, eventually
from sticky_pi_uploader.models import Destination, DestinationState
from sticky_pi_uploader.outbox import Outbox, outbox_path
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT

UNSET = "@2000-01-01 00:00:00"
UNSET_TIME = 946_684_800.0
SAYS = "the trap's clock is not set: it says 2000-01-01 00:0"


@pytest.fixture(scope="module")
def library():
    """The library that sets a process's clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("there is no libfaketime to set a clock with: apt-get install faketime")
    return str(found[0])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


class Trap:
    """A trap whose clock is what its file says."""

    def __init__(self, folder, library, url, ca_file):
        self.images = folder / "pictures"
        self.images.mkdir()
        self._state = folder / "state"
        self._url = url
        self._clock = folder / "clock"
        config = folder / "config.toml"
        config.write_text(
            f"image_dir = '{self.images}'\nstate_dir = '{self._state}'\n"
            f"[api]\nurl = '{url}'\nusername = 'trap'\nca_file = '{ca_file}'\n"
        )
        program = Program(
            *("--config", config),
            TZ="UTC",
            SPI_API_PASSWORD="pollen",
            LD_PRELOAD=library,
            FAKETIME_TIMESTAMP_FILE=str(self._clock),
            FAKETIME_NO_CACHE="1",
            # Debian 12's and newer ones' names of it.
            **dict.fromkeys(("DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"), "1"),
        )
        self.run, self.service = program.run, program.service
        self.set_clock(UNSET)

    def set_clock(self, when):
        """Set the clock; as libfaketime reads it: `+0` is the true time."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{when}\n")
        new.replace(self._clock)

    def list(self):
        return json.loads(self.run("list", "--json").stdout)

    def states(self):
        return [one["state"] for one in self.list()]

    def hold_for(self, seconds):
        """Have the destination in trouble for so long yet, by a clock that isn't set."""
        with Outbox(outbox_path(str(self._state)), longest_wait=LONGEST_WAIT, clock=lambda: UNSET_TIME) as outbox:
            outbox.destinations.update(
                Destination(
                    self._url, DestinationState.UNREACHABLE, "as before", UNSET_TIME + seconds, 20, holds_all=True
                )
            )


@pytest.fixture
def trap(tmp_path, library, authority, server, make_trap_picture):
    """A trap with one picture, taken while the clock was right."""
    with FaultProxy(server.port, certificate=authority.certificate()) as front:
        trap = Trap(tmp_path, library, front.url, authority.ca_file)
        make_trap_picture(trap.images)
        yield trap


def is_at_rest(process):
    """Say whether a process takes a second without any of the processor's time."""
    before = processor_ticks(process)
    time.sleep(1.0)
    return processor_ticks(process) == before


def processor_ticks(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def test_check_names_the_clock_as_what_is_wrong(trap, server):
    done = trap.run("check", "--json")
    wrong = {one["about"]: one["what"] for one in json.loads(done.stdout) if one["level"] == "problem"}
    assert (done.returncode, done.stderr) == (1, "")
    assert wrong.keys() == {"clock", "destination"}
    assert wrong["clock"].endswith(": it isn't set")
    assert wrong["destination"].startswith(SAYS)
    assert server.requests() == []


def test_drain_sends_nothing_rejects_nothing_and_says_why(trap, server):
    done = trap.run("drain", "--deadline", "5")
    assert done.returncode == os.EX_TEMPFAIL
    assert SAYS in done.stderr
    assert trap.states() == ["pending"]
    status = json.loads(trap.run("status", "--json").stdout)
    assert status["destination"]["state"] == "unreachable"
    assert status["destination"]["reason"].startswith(SAYS)
    assert server.requests() == []
    trap.set_clock("+0")
    assert trap.run("drain", "--deadline", "30").returncode == 0
    assert len(server.rows()) == 1


def test_the_service_sends_as_soon_as_the_clock_is_set_however_long_it_was_to_wait(trap, server, tmp_path):
    log = tmp_path / "log"
    assert trap.run("drain", "--deadline", "2").returncode == os.EX_TEMPFAIL
    trap.hold_for(LONGEST_WAIT)
    with trap.service(log) as service:
        eventually(lambda: "watching" in log.read_text())
        # Before its parts have found out that there is nothing to do, they need no clock to be set.
        eventually(lambda: is_at_rest(service))
        assert trap.states() == ["pending"]
        trap.set_clock("+0")
        eventually(lambda: ": uploaded" in log.read_text())
    assert "the clock was set by +" in log.read_text().split(": uploaded")[0]
    (picture,) = trap.list()
    assert picture["state"] == "uploaded"
    assert picture["uploaded_at"] > "2024"
    assert len(server.rows()) == 1


# --- set back ----------------------------------------------------------------------------------------------------

SHIFTED = """if True:
    import os, sys, time
    from pathlib import Path
    by, true = Path(sys.argv.pop(1)), time.time
    time.time = lambda: true() + float(by.read_text())
    from sticky_pi_uploader.cli.main import main
    sys.exit(main())
"""
"""The program, told a time that is off by what a file says: libfaketime 0.9.10 breaks time.sleep with a true monotonic
clock"""


class ShiftedTrap:
    """A trap with a store, whose clock can be set while its service runs."""

    def __init__(self, folder):
        self._folder = folder
        self._by = folder / "by"
        self._log = folder / "log"
        self.images = folder / "pictures"
        self.images.mkdir()
        self.set_clock(0)

    def set_clock(self, by):
        new = self._by.with_suffix(".new")
        new.write_text(f"{by}\n")
        new.replace(self._by)

    def log(self):
        return self._log.read_text()

    def stored(self):
        return len([*self._folder.glob("store/raw_images/*/*[0-9].jpg")])

    @contextmanager
    def service(self):
        """Run it, until it watches."""
        folders = (f"--image-dir={self.images}", f"--state-dir={self._folder}/state")
        flags = (*folders, f"--api-url=file://{self._folder}/store")
        command = [sys.executable, "-W", "error", "-c", SHIFTED, str(self._by), "run", *flags]
        with self._log.open("w") as stderr:
            process = subprocess.Popen(command, env=environment(), stderr=stderr)
        try:
            eventually(lambda: "watching" in self.log() or process.poll() is not None)
            assert process.poll() is None, self.log()
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE)

    def set_back_while_files_go(self):
        """Set the clock back by an hour while the watch waits for where files turn up that were moved away."""
        for number in range(20):
            going = self.images / f"{number}.jpg"
            going.touch()
            going.rename(self._folder / going.name)
            if number == 10:
                self.set_clock(-3600)
            time.sleep(0.03)
        time.sleep(0.6)  # an old watchdog now sees that its half second has become an hour


@pytest.fixture
def shifted(tmp_path):
    return ShiftedTrap(tmp_path)


def test_a_watch_that_stops_as_the_clock_is_set_back_is_replaced(shifted, make_trap_picture):
    with shifted.service() as service:
        shifted.set_back_while_files_go()
        service.send_signal(signal.SIGHUP)  # has it look after its parts now
        eventually(lambda: "the clock was set by -3600 s" in shifted.log())
        for number in (1, 2):  # the second one no scan finds: the next is in ten minutes
            settled = make_trap_picture(shifted.images.parent)
            os.utime(settled, (time.time() - 7200,) * 2)
            settled.rename(shifted.images / settled.name)
            eventually(lambda number=number: shifted.stored() == number)
        service.terminate()
        assert service.wait(PATIENCE) == 0


def test_a_watch_that_stops_as_the_clock_is_set_back_holds_no_end_up(shifted):
    with shifted.service() as service:
        shifted.set_back_while_files_go()
        service.terminate()
        assert service.wait(PATIENCE) == 0
