"""What the client library's tests are made of: hostile pictures, made byte by byte, and servers to send to."""

import io
import struct
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

import piexif
import pytest
from PIL import Image
from sticky_pi_uploader.demo.pictures import picture_bytes

SUPPORT = str(Path(__file__).parents[2] / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
NAME = "1b74105a.2020-07-05_10-07-16.jpg"


@pytest.fixture
def picture():
    """The bytes of a 2020 trap's picture of 160x120 pixels."""
    return picture_bytes("1b74105a", TAKEN, size=(160, 120))


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file named as a picture, and return its path."""

    def write(blob, name=NAME):
        path = tmp_path / name
        path.write_bytes(blob)
        return path

    return write


@pytest.fixture
def tiff_of():
    """Make the TIFF structure of an Exif segment from the text of its two entries."""

    def make(make=None, user_comment=None):
        zeroth = {} if make is None else {piexif.ImageIFD.Make: make}
        exif = {} if user_comment is None else {piexif.ExifIFD.UserComment: user_comment}
        return piexif.dump({"0th": zeroth, "Exif": exif}).removeprefix(b"Exif\0\0")

    return make


@pytest.fixture
def with_exif():
    """Return a JPEG picture whose EXIF is a given TIFF structure, or that has none."""

    def make(tiff, size=(64, 48), **options):
        blob = io.BytesIO()
        exif = {} if tiff is None else {"exif": b"Exif\0\0" + tiff}
        Image.effect_noise(size, 80).convert("RGB").save(blob, "JPEG", **exif, **options)
        return blob.getvalue()

    return make


@pytest.fixture
def directory():
    """Make a big-endian TIFF structure of one directory, of entries as (tag, type, count, value), and more bytes."""

    def make(*entries, following=0, more=b"", count=None):
        head = b"MM\0*" + struct.pack(">LH", 8, len(entries) if count is None else count)
        return head + b"".join(struct.pack(">HHLL", *entry) for entry in entries) + struct.pack(">L", following) + more

    return make


@pytest.fixture(scope="session")
def standing_servers(tmp_path_factory):
    """A reference server of each generation."""
    from api_server import ApiServer

    folder = tmp_path_factory.mktemp("servers")
    with ApiServer(folder / "2021", generation=2021) as old, ApiServer(folder / "2023", generation=2023) as new:
        yield {2021: old, 2023: new}


@pytest.fixture
def server(standing_servers):
    """The server of 2023, as new."""
    standing_servers[2023].reset()
    return standing_servers[2023]


@pytest.fixture(scope="session")
def standing_proxy(standing_servers):
    """A proxy before the server of 2023."""
    from fault_proxy import FaultProxy

    with FaultProxy(standing_servers[2023].port) as proxy:
        yield proxy


@pytest.fixture
def proxy(standing_proxy):
    """The proxy, as new."""
    standing_proxy.reset()
    return standing_proxy


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority of the tests' own."""
    from certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def remote(tmp_path):
    """Open clients of the server on a port of this machine; all are closed at the end."""
    from sticky_pi_api.client import RemoteClient

    opened = []

    def open_client(port, **options):
        account = {"username": "trap", "password": "pollen", "protocol": "http", "host": "127.0.0.1"}
        opened.append(RemoteClient(tmp_path / "client", port=port, **{**account, **options}))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def http():
    """Open connections to an address, which aren't given long; all are closed at the end."""
    from sticky_pi_api.transport.cancellation import Timeouts
    from sticky_pi_api.transport.session import Http

    opened = []

    def open_http(address, **options):
        opened.append(Http(address, **{"timeouts": Timeouts(connect=2.0, read=0.4, whole=1.0), **options}))
        return opened[-1]

    yield open_http
    for one in opened:
        one.close()


@pytest.fixture
def answering():
    """Serve connections one after the other, each with what a script says; returns port and requests."""
    from scripts import ScriptedServer

    with ExitStack() as stack:

        def start(*scripts, **options):
            server = stack.enter_context(ScriptedServer(*scripts, **options))
            return server.port, server.requests

        yield start


@pytest.fixture(params=["local", 2021, 2023])
def kind(request):
    """The embedded store, or the generation of a server."""
    return request.param


@pytest.fixture
def open_client(kind, standing_servers, tmp_path):
    """Open a client; a server's sends one picture at a time, so that the order is known."""
    from sticky_pi_api.client import LocalClient, RemoteClient

    if kind == "local":
        return lambda **options: LocalClient(str(tmp_path / "client"), **options)
    server = standing_servers[kind]
    server.reset()
    return lambda **options: RemoteClient(
        str(tmp_path / "client"), server.host, "trap", "pollen", "http", server.port, parallel=1, **options
    )


@pytest.fixture
def client(open_client):
    with open_client(n_threads=3) as client:
        yield client


@pytest.fixture
def fetch(kind):
    """Get what a row's url leads to."""

    def fetch(url):
        with open(url, "rb") if kind == "local" else urlopen(url) as file:
            return file.read()

    return fetch


class Clock:
    """A monotonic clock that a test moves; sleeping moves it too."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()
