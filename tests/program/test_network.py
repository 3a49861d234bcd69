"""The real program in a network of its own, whose link, address or route comes back while it waits for the server."""

import sys
import time
from contextlib import contextmanager

import pytest
from api_server import ApiServer
from program import Program, eventually
from sticky_pi_uploader.models import Destination, DestinationState
from sticky_pi_uploader.outbox import Outbox, OutboxReader, outbox_path
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
from sticky_pi_uploader.watch.network import SPACING
from two_networks import FAR, LINK, SERVER, TRAP, TwoNetworks, reason_to_skip

GROWN = 20
"""Failures in a row after which the next try may be half an hour away"""

COMES_BACK = {
    "link": (SERVER, [f"addr add {TRAP}/24 dev {LINK}"], [f"link set {LINK} up"]),
    "address": (SERVER, [f"link set {LINK} up"], [f"addr add {TRAP}/24 dev {LINK}"]),
    "default route": (
        FAR,
        [f"link set {LINK} up", f"addr add {TRAP}/24 dev {LINK}"],
        [f"route add default via {SERVER} dev {LINK}"],
    ),
}
"""The server's address, what is there from the start, and what comes back"""


@pytest.fixture
def networks():
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with TwoNetworks() as networks:
        yield networks


@pytest.fixture
def serve(networks, tmp_path):
    """Start a server at an address of its network."""
    started = []

    def serve(host):
        started.append(ApiServer(tmp_path / "api", host=host, python=(*networks.of_server, sys.executable)))
        started[-1].start()
        return started[-1]

    yield serve
    for server in started:
        server.stop()


class Trap:
    """A trap with one picture, whose server couldn't be reached for long."""

    def __init__(self, folder, networks, url):
        self._outbox = outbox_path(str(folder / "state"))
        self._url = url
        self._log = folder / "log"
        self.images = folder / "pictures"
        self.images.mkdir()
        (folder / "state").mkdir()
        config = folder / "config.toml"
        config.write_text(
            f"image_dir = '{self.images}'\nstate_dir = '{folder / 'state'}'\n"
            f"[api]\nurl = '{url}'\nusername = 'trap'\nallow_http = true\n"
        )
        self._program = Program("--config", config, before=networks.of_trap, SPI_API_PASSWORD="pollen")
        with Outbox(self._outbox, longest_wait=LONGEST_WAIT) as outbox:
            outbox.destinations.change(url, lambda _: True)
            outbox.destinations.update(
                Destination(url, DestinationState.UNREACHABLE, "as before", time.time() + LONGEST_WAIT - 60, GROWN)
            )

    @contextmanager
    def service(self):
        """Run it, until it has taken the picture in and waits."""
        with self._program.service(self._log):
            eventually(lambda: "watching" in self._log.read_text() and self._is_taken_in())
            yield

    def failures(self):
        with OutboxReader.open_readonly(self._outbox) as reader:
            return reader.destination(self._url).failures

    def _is_taken_in(self):
        with OutboxReader.open_readonly(self._outbox) as reader:
            return [*reader.pictures()] != []


@pytest.mark.parametrize("what", COMES_BACK)
def test_what_waits_for_the_network_is_sent_soon_after_it_is_back(networks, serve, tmp_path, make_trap_picture, what):
    host, before, comes_back = COMES_BACK[what]
    server = serve(host)
    networks.trap_ip(*before)
    trap = Trap(tmp_path, networks, server.url)
    make_trap_picture(trap.images)
    with trap.service():
        assert trap.failures() == GROWN
        networks.trap_ip(*comes_back)
        since = time.monotonic()
        eventually(server.rows)
        assert time.monotonic() - since < 10
        eventually(lambda: trap.failures() == 0)


def test_a_link_that_comes_and_goes_brings_few_tries(networks, serve, tmp_path, make_trap_picture):
    server = serve(SERVER)
    server.set_mode("down")
    networks.trap_ip(f"link set {LINK} up", f"addr add {TRAP}/24 dev {LINK}")
    trap = Trap(tmp_path, networks, server.url)
    make_trap_picture(trap.images)
    with trap.service():
        since = time.monotonic()
        for _ in range(100):
            networks.trap_ip(f"addr del {TRAP}/24 dev {LINK}", f"link set {LINK} down")
            networks.trap_ip(f"link set {LINK} up", f"addr add {TRAP}/24 dev {LINK}")
        tries = trap.failures() - GROWN
        assert tries <= 1 + (time.monotonic() - since) / SPACING
        server.set_mode("ok")
        since = time.monotonic()
        eventually(server.rows)
        assert time.monotonic() - since < 10
