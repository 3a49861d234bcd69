"""Runs the real service in a hold, against a server that counts each request."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from api_server import ApiServer
from program import PATIENCE, Program, environment, eventually

FROM = """if True:
    import sys, time
    by, true = float(sys.argv.pop(1)), time.time
    time.time = lambda: true() + by
    from sticky_pi_uploader.cli.main import main
    sys.exit(main())
"""
"""The program, on a clock that is ahead of the true one"""

SECONDS_LEFT = 15.0
"""Of the hold, as the service begins"""


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


class Trap:
    """A trap of which the service runs beside the test, on a clock of its own."""

    def __init__(self, folder, server):
        self.images = folder / "pictures"
        self.images.mkdir()
        self._log = folder / "log"
        self._config = folder / "config.toml"
        self._about = f'image_dir = "{self.images}"\nstate_dir = "{folder}/state"\n[api]\nurl = "{server.url}"\n'
        self._secret = {"SPI_API_PASSWORD": "pollen"}
        self.configure("")
        self.run = Program("--config", self._config, **self._secret).run

    def configure(self, hold):
        self._config.write_text(f'{self._about}username = "trap"\n[hold]\n{hold}\n')

    def log(self):
        return self._log.read_text()

    @contextmanager
    def service(self, ahead=0.0):
        """Run it, until it watches, with its clock so many seconds ahead."""
        command = [sys.executable, "-W", "error", "-c", FROM, str(ahead), "run", "--config", str(self._config)]
        with self._log.open("w") as stderr:
            process = subprocess.Popen(command, env=environment(**self._secret), stderr=stderr)
        try:
            eventually(lambda: "watching" in self.log() or process.poll() is not None)
            yield process
            process.terminate()
            assert process.wait(PATIENCE) == 0, self.log()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def trap(tmp_path, server):
    return Trap(tmp_path, server)


def test_the_service_asks_nobody_in_a_hold_and_sends_as_soon_as_it_is_over(trap, server, make_trap_picture):
    for _ in range(3):
        make_trap_picture(trap.images)
    trap.configure('hours = ["10:00-16:00"]')
    ahead = (16 * 3600 - SECONDS_LEFT - time.time()) % 86400
    ends_at = time.time() + SECONDS_LEFT
    with trap.service(ahead):
        eventually(lambda: trap.log().count(": taken in") == 3)
        eventually(lambda: "held until 16:00 UTC: " in trap.log())
        while time.time() < ends_at - 1:
            assert server.requests() == []
            time.sleep(0.2)
        eventually(lambda: trap.log().count(": uploaded") == 3)
        assert time.time() < ends_at + 5
    assert re.search(r"the hold is over after \d+ s: pictures are sent again", trap.log())
    assert len(server.rows()) == 3


def test_the_service_sends_in_a_hold_what_a_person_asks_for_and_nothing_else(trap, server, make_trap_picture):
    first, second = (make_trap_picture(trap.images) for _ in range(2))
    trap.configure('hours = ["00:00-24:00"]')
    with trap.service():
        eventually(lambda: trap.log().count(": taken in") == 2)
        eventually(lambda: "held: nothing is sent in these hours" in trap.log())
        assert trap.run("retry", first.name).returncode == 0
        eventually(lambda: f"{first.name}: uploaded" in trap.log())
        third = make_trap_picture(trap.images)
        eventually(lambda: f"{third.name}: taken in" in trap.log())
        time.sleep(1)
    assert trap.log().count(": uploaded") == 1
    assert len(server.sent_files()) == len(server.rows()) == 1
    trap.configure("")
    assert trap.run("drain").returncode == 0
    assert len(server.rows()) == 3
    assert second.name in trap.run("list", "--state", "uploaded").stdout
