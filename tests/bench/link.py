"""How much of a slow link a backlog gets: the real daemon, through a proxy that is slow and far away.

    PYTHONPATH=daemon:tests/support python tests/bench/link.py [--mbit N…] [--parallel N…] [--pictures N] [--size BYTES]
    PYTHONPATH=daemon:tests/support python tests/bench/link.py --memory

Each line is one `drain` of pictures that are taken in already, by its `[api] parallel`; `plain` is one kept connection
of http.client that sends the same forms one after the other. The columns:

    seconds     from the first byte of the first upload to the last byte of the last
    share       of the link's rate up that the pictures' own bytes had in that time
    of all      the same over the whole life of the process
    requests    a picture
    bytes       over the pictures' own, both ways together and before TLS
    first       seconds from the first byte until the first picture was stored
    a minute    pictures stored within a minute of the first byte

`--memory` tells what sending a picture of 20 MB adds to the memory of an idle client.
"""

import argparse
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from api_server import ApiServer
from fault_proxy import FaultProxy
from padding import padded
from sticky_pi_api.client import RemoteClient
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_uploader.demo.pictures import SENSOR_SIZES, picture_bytes

DEVICE = "5c173ff2"
ROUND_TRIP = 0.2
SERVER_TIME = 0.5
GLANCE = 0.05
"""Seconds between two looks at what has passed"""

MINUTE = 60.0
LARGE = 20_000_000
COLUMNS = ("parallel", "seconds", "share", "of all", "requests", "bytes", "first", "a minute")
HEAD = " ".join(f"{column:>8}" for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to."""

    pictures: int
    own: int
    """bytes of the pictures"""
    wire: int
    """bytes both ways"""
    requests: int
    sending: float
    """seconds from the first upload's first byte to the last one's last"""
    whole: float
    """seconds that the process took"""
    first: float
    """seconds until the first picture was stored"""
    in_a_minute: int
    """pictures stored by then"""

    def line(self, name, rate):
        share, whole_share = (self.own / seconds / rate for seconds in (self.sending, self.whole))
        return (
            f"{name:>8} {self.sending:8.1f} {share:8.1%} {whole_share:8.1%} {self.requests / self.pictures:8.2f}"
            f" {self.wire / self.own - 1:8.3%} {self.first:8.1f} {self.in_a_minute:8}"
        )


class Watch(threading.Thread):
    """Looks at what has passed the proxy, again and again, inside `with`."""

    def __init__(self, proxy):
        super().__init__(name="watch")
        self._proxy = proxy
        self._end = threading.Event()
        self.seen = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()

    def run(self):
        while not self._end.wait(GLANCE):
            self.seen.append((time.time(), self._proxy.counts().get("bytes_up", 0)))

    def span(self, before):
        """Return when the first upload began, known by more bytes than `before`, and when the last one ended."""
        last = self.seen[-1][1]
        begins = next(at for at, passed in self.seen if passed > before)
        ends = next(at for at, passed in self.seen if passed > last - 200)
        return begins, ends


def make_pictures(folder, number, size):
    taken = datetime(2020, 6, 20, 21, 33, 24)  # noqa: DTZ001 - naive datetimes are UTC
    blob = picture_bytes(DEVICE, taken, size=SENSOR_SIZES[2020], quality=80)
    for one in range(number):
        name = f"{DEVICE}.{taken + timedelta(minutes=20 * one):%Y-%m-%d_%H-%M-%S}.jpg"
        Path(folder, name).write_bytes(padded(blob, size, one))


def daemon(images, state, url, config, *arguments):
    command = [sys.executable, "-m", "sticky_pi_uploader", "--image-dir", images, "--state-dir", state]
    command += ["--config", config, "--api-url", url, "--username", "trap", *arguments]
    done = subprocess.run(
        command, env=os.environ | {"SPI_API_PASSWORD": "pollen"}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def by_daemon(folder, images, server, proxy, parallel):
    state = str(Path(folder, f"state{time.monotonic_ns()}"))
    config = Path(folder, "config.toml")
    config.write_text(f"[api]\nparallel = {parallel}\n")
    # Taking in is another matter: nothing can be sent to a port where nobody listens.
    daemon(images, state, "http://127.0.0.1:9", str(config), "drain", "--deadline", "3")
    with Watch(proxy) as watch:
        begun = time.monotonic()
        status, said = daemon(images, state, f"http://127.0.0.1:{proxy.port}", str(config), "drain")
        whole = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"the drain ended with {status}: {said[-2000:]}")
    return watch, whole, asked_for(server)


def by_hand(_folder, images, server, proxy, _parallel):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    with Watch(proxy) as watch:
        begun = time.monotonic()
        token = json.loads(post(connection, "/get_token", b"", "trap:pollen"))["token"]
        for path in sorted(Path(images).glob("*.jpg")):
            name, blob = path.name, path.read_bytes()
            head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
            md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
            tail = f'\r\n--b\r\nContent-Disposition: form-data; name="{name}.md5"\r\n\r\n{md5}\r\n--b--\r\n'
            post(connection, "/_put_new_images", head.encode() + blob + tail.encode(), f"{token}:")
        whole = time.monotonic() - begun
    connection.close()
    return watch, whole, asked_for(server)


def post(connection, path, body, account):
    headers = {"Authorization": f"Basic {b64encode(account.encode()).decode()}"}
    connection.request("POST", path, body, headers | {"Content-Type": "multipart/form-data; boundary=b"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path} was answered with {answer.status}")
    return content


def asked_for(server):
    """Return roughly how many bytes up had passed before the first upload."""
    before = 0
    for entry in server.requests():
        if entry.path.startswith("/_put"):
            break
        before += entry.received + 300
    return before


def measure(way, folder, images, server, proxy, parallel):  # noqa: PLR0917
    server.reset()
    proxy.set()
    watch, whole, before = way(folder, images, server, proxy, parallel)
    files = list(Path(images).glob("*.jpg"))
    stored = [entry for entry in server.requests("/_put_new_images") if entry.status == 200]
    if len(stored) != len(files) or len(server.rows()) != len(files):
        raise SystemExit(f"{len(stored)} of {len(files)} pictures were stored")
    begins, ends = watch.span(before)
    counts = proxy.counts()
    return Figures(
        pictures=len(files),
        own=sum(file.stat().st_size for file in files),
        wire=counts["bytes_up"] + counts["bytes_down"],
        requests=counts["requests"],
        sending=ends - begins,
        whole=whole,
        first=min(entry.time for entry in stored) - begins,
        in_a_minute=sum(entry.time - begins <= MINUTE for entry in stored),
    )


def measure_links(arguments):
    with tempfile.TemporaryDirectory() as folder, ApiServer(Path(folder, "api"), upload_time=SERVER_TIME) as server:
        for mbit in arguments.mbit:
            rate = mbit * 125_000
            images = str(Path(folder, f"{mbit}"))
            os.mkdir(images)
            number = arguments.pictures or max(8, round(60 * rate / arguments.size))
            make_pictures(images, number, arguments.size)
            print(
                f"\n{number} pictures of {arguments.size / 1e6:.1f} MB, {mbit:g} Mbit/s up,"
                f" round trip {ROUND_TRIP} s, server time {SERVER_TIME} s\n{HEAD}",
                flush=True,
            )
            with FaultProxy(server.port, delay=ROUND_TRIP, rate_up=rate, rate_down=rate) as proxy:
                print(measure(by_hand, folder, images, server, proxy, 1).line("plain", rate), flush=True)
                for parallel in arguments.parallel:
                    figures = measure(by_daemon, folder, images, server, proxy, parallel)
                    print(figures.line(str(parallel), rate), flush=True)


def memory(name):
    """Return a figure of this process's memory, in bytes: VmRSS is what it has, VmHWM the most that it had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def idle_client(port, folder):
    with RemoteClient(folder, "127.0.0.1", "trap", "pollen", protocol="http", port=port) as client:
        client.get_images([{"device": DEVICE, "datetime": "2020-01-01_00-00-00"}])
        yield client


def send_large(port, folder, path):
    """Print what sending a picture, as the daemon does it, adds to the memory of an idle client."""
    blob_md5 = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(65536):
            blob_md5.update(block)
    fields = {"device": DEVICE, "datetime": datetime(2020, 6, 20, 21, 33, 24), "md5": blob_md5.hexdigest()}  # noqa: DTZ001
    with idle_client(port, folder) as client:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets VmHWM back to VmRSS
        before = memory("VmRSS")
        outcomes = []
        client.put_images([ImageParser.restore(path, fields, b"", b"")], on_outcome=outcomes.append)
        added = memory("VmHWM") - before
    if [one.outcome for one in outcomes] != ["stored"]:
        raise SystemExit(f"it came to {outcomes}")
    size = os.path.getsize(path) / 1e6
    print(f"a picture of {size:.1f} MB adds {added / 2**20:.2f} MiB to an idle client's {before / 2**20:.1f} MiB")


def measure_memory():
    with tempfile.TemporaryDirectory() as folder, ApiServer(Path(folder, "api")) as server:
        taken = datetime(2020, 6, 20, 21, 33, 24)  # noqa: DTZ001 - naive datetimes are UTC
        path = Path(folder, f"{DEVICE}.{taken:%Y-%m-%d_%H-%M-%S}.jpg")
        path.write_bytes(padded(picture_bytes(DEVICE, taken), LARGE))
        command = [sys.executable, __file__, "--send", str(server.port), str(Path(folder, "client")), str(path)]
        subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mbit", type=float, nargs="+", default=[1, 8])
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--size", type=int, default=2_000_000)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send_large(int(arguments.send[0]), *arguments.send[1:])
    elif arguments.memory:
        measure_memory()
    else:
        measure_links(arguments)


if __name__ == "__main__":
    main()
