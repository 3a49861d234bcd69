"""What the client makes of a link that is slow, or that it isn't to fill: seen by what passes a proxy."""

import socket
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from api_server import ApiServer
from fault_proxy import FaultProxy
from padding import padded
from program import Program
from sticky_pi_api.client import RemoteClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_uploader.demo.pictures import picture_bytes

TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
HASTE = 20
"""How much faster than the true one the client's clock goes"""


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


@pytest.fixture
def parsers(tmp_path):
    """Make pictures of about a size, and parse them."""

    def make(number, size):
        for one in range(number):
            when = TAKEN + timedelta(minutes=20 * one)
            path = tmp_path / f"1b74105a.{when:%Y-%m-%d_%H-%M-%S}.jpg"
            path.write_bytes(padded(picture_bytes("1b74105a", when, size=(64, 48)), size, one))
            yield ImageParser(path)

    return lambda number, size: list(make(number, size))


@pytest.fixture
def hasty(tmp_path):
    """Open clients whose clock goes fast."""
    opened = []

    def open_client(port, **options):
        fast = {"clock": lambda: time.monotonic() * HASTE, "sleep": lambda seconds: time.sleep(seconds / HASTE)}
        client = RemoteClient(tmp_path / "client", "127.0.0.1", "trap", "pollen", "http", port, **fast, **options)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.close()


def put(client, files):
    outcomes = []
    client.put_images(files, on_outcome=lambda one: outcomes.append(one.outcome))
    return outcomes


class GrantedTime:
    """A clock that only sleeping threads move; it also gives the time at which a thread last read it or woke up.

    A busy machine may hold a thread up between its sleep and its write: the write counts for the end of the sleep.
    """

    def __init__(self):
        self._now = 0.0
        self._lock = threading.Lock()
        self._thread = threading.local()

    def __call__(self):
        self._thread.at = self._now
        return self._now

    def sleep(self, seconds):
        self._thread.at += seconds
        with self._lock:
            self._now = max(self._now, self._thread.at)

    def of_thread(self):
        return getattr(self._thread, "at", self._now)


def test_no_ten_seconds_have_more_in_them_than_the_limit_allows(server, tmp_path, parsers, monkeypatch):
    rate = 60_000
    time_of, written = GrantedTime(), []
    with FaultProxy(server.port) as proxy:
        sendall = socket.socket.sendall

        def counted(sock, data, *flags):
            sendall(sock, data, *flags)
            if sock.family == socket.AF_INET and sock.getpeername()[1] == proxy.port:
                written.append((time_of.of_thread(), len(data)))

        monkeypatch.setattr(socket.socket, "sendall", counted)
        options = {"max_rate": rate, "parallel": 4, "clock": time_of, "sleep": time_of.sleep}
        client = RemoteClient(tmp_path / "client", "127.0.0.1", "trap", "pollen", "http", proxy.port, **options)
        with closing(client):
            assert put(client, parsers(20, 100_000)) == ["stored"] * 20
        passed = proxy.counts()["bytes_up"]
    assert sum(size for _, size in written) == passed > 2_000_000
    most = max(sum(size for at, size in written if begin <= at < begin + 10) for begin, _ in written)
    assert 9 * rate < most <= 10 * rate


@pytest.mark.parametrize(("rate", "connections"), [(2e6, {1, 2}), (None, {3, 4})])
def test_pictures_that_take_long_go_up_one_after_the_other(server, hasty, parsers, rate, connections):
    """Several would share what one gets, and a trap that wakes for a minute would get none of them through."""
    with FaultProxy(server.port, rate_up=rate) as proxy:
        client = hasty(proxy.port, parallel=4)
        assert put(client, parsers(8, 1_000_000)) == ["stored"] * 8
        assert proxy.counts()["connections"] in connections


def test_a_drain_begins_no_upload_that_would_not_end_before_its_deadline(server, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for one in range(8):
        when = TAKEN + timedelta(minutes=20 * one)
        blob = padded(picture_bytes("1b74105a", when, size=(64, 48)), 500_000, one)
        (images / f"1b74105a.{when:%Y-%m-%d_%H-%M-%S}.jpg").write_bytes(blob)
    with FaultProxy(server.port, rate_up=100_000) as proxy:  # 5 s each: more than one in hand gets at the end
        flags = ("--image-dir", images, "--api-url", f"http://127.0.0.1:{proxy.port}", "--username", "trap")
        done = Program(*flags, SPI_API_PASSWORD="pollen").run("drain", "--deadline", "20", timeout=300)
    uploads = server.requests("/_put_new_images")
    assert done.returncode == 75, done.stderr
    assert {upload.status for upload in uploads} == {200}
    newest = TAKEN + timedelta(minutes=20 * 7)
    assert uploads[0].files[0].name == f"1b74105a.{newest:%Y-%m-%d_%H-%M-%S}.jpg"
    assert 1 <= len(uploads) < 5
