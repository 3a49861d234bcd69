"""A network that swallows everything: what the real program says of it when its time is over."""

import json
import os
import socket
from contextlib import ExitStack

import pytest
from api_server import ApiServer
from fault_proxy import Fault, FaultProxy, Rule
from program import Program

DEADLINE = 12
"""Seconds; uploads are broken off by then, and must have been silent for LONG_SILENCE, however late they began on a
busy machine"""


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


@pytest.fixture
def vanishing():
    """Return the port of something that no packet comes back from."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(socket.create_connection(full.getsockname()))
        yield full.getsockname()[1]


@pytest.fixture
def mute(server):
    """Return the port of a server that never answers: to what path, the test says."""
    with FaultProxy(server.port) as proxy:
        yield lambda path: proxy.set(rules=(Rule((Fault("silence"),), path=path),)) or proxy.port


@pytest.fixture
def sticky(tmp_path, make_trap_picture):
    """Run a command of a trap with two pictures; returns what it said on stdout, and on stderr."""
    images = tmp_path / "pictures"
    images.mkdir()
    for _ in range(2):
        make_trap_picture(images)

    folders = ("--image-dir", images, "--state-dir", tmp_path / "state")
    program = Program(*folders, "--username", "trap", SPI_API_PASSWORD="pollen")

    def run(port, *arguments, status=0):
        done = program.run("--api-url", f"http://127.0.0.1:{port}", *arguments)
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    return run


def assert_the_silence_is_told(sticky, port, reason):
    _, said = sticky(port, "drain", "--deadline", str(DEADLINE), status=os.EX_TEMPFAIL)
    assert "the destination is unreachable, tried again in" in said
    assert reason in said
    destination = json.loads(sticky(port, "status", "--json")[0])["destination"]
    assert (destination["state"], reason in destination["reason"]) == ("unreachable", True)
    assert reason in sticky(port, "status")[0]
    for picture in json.loads(sticky(port, "list", "--json")[0]):
        assert (picture["state"], picture["attempts"]) == ("pending", 0)
        assert reason in sticky(port, "explain", picture["path"])[0]


def test_packets_that_vanish_are_the_destinations_trouble(sticky, vanishing):
    # By its own time, or by that of the drain where it began late.
    assert_the_silence_is_told(sticky, vanishing, "doesn't answer")


@pytest.mark.parametrize("path", ["/get_token", "/_put_new_images"])
def test_a_server_that_never_answers_is_in_trouble(sticky, mute, server, path):
    port = mute(path)
    assert_the_silence_is_told(sticky, port, f"http://127.0.0.1:{port} doesn't answer (waited ")
    assert server.rows() == []
