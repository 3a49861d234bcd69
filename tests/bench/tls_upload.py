"""What an upload costs over TLS, on a kept connection, against http.client with blocks of 64 KB.

    python tests/bench/tls_upload.py [--pictures N]

A client sends pictures of 2 MB that were taken in before to a server on this machine, several at a time, as the daemon
does; http.client sends the same forms one after the other. A process for each; what counts is the processor's time of
all its threads, from the second upload's start on: the first one has the imports, the login and the handshake.
"""

import hashlib
import http.client
import json
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from datetime import datetime
from pathlib import Path

from benchmark import Row, environment, in_turns, main, ratio
from https_server import https_server
from padding import padded
from pictures import DEVICE, file_name, small

SIZE = 2_000_000
BLOCK = 65536
ROUNDS = 9


def rows(folder, pictures=20):
    images = folder / "images"
    images.mkdir()
    for number in range(pictures):
        (images / file_name(number)).write_bytes(padded(small(0), SIZE, number))
    with https_server(folder) as server:
        plain, ours = in_turns(
            lambda: _sent(server, "--plain", images), lambda: _sent(server, "--ours", images), rounds=ROUNDS
        )
    yield Row("upload over TLS: CPU", ratio(ours, plain), 2, "×", "http.client, 64 KB blocks")


def _sent(server, way, images):
    """Return the seconds of the processor that it takes to send the pictures that way."""
    server.api.reset()
    command = [sys.executable, __file__, way, str(images), str(server.front.port), server.ca_file]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    stored, expected = len(server.api.rows()), len(list(images.iterdir()))
    if done.returncode or stored != expected:
        raise SystemExit(f"{stored} of {expected} pictures were stored:\n{done.stderr[-3000:]}")
    return float(done.stdout)


def _plain(images, port, ca_file):
    connection = http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context(cafile=ca_file))
    token = json.loads(_post(connection, "/get_token", [b""], "trap:pollen"))["token"]
    first, *others = sorted(Path(images).iterdir())
    _post(connection, "/_put_new_images", _form(first), f"{token}:")
    before = time.process_time()
    for path in others:
        _post(connection, "/_put_new_images", _form(path), f"{token}:")
    return time.process_time() - before


def _form(path):
    """Return the parts of a form with a picture and its md5."""
    name = path.name
    with path.open("rb") as file:
        blocks = list(iter(lambda: file.read(BLOCK), b""))
    md5 = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        md5.update(block)
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
    tail = f'\r\n--b\r\nContent-Disposition: form-data; name="{name}.md5"\r\n\r\n{md5.hexdigest()}\r\n--b--\r\n'
    return [head.encode(), *blocks, tail.encode()]


def _post(connection, path, parts, account):
    headers = {"Authorization": f"Basic {b64encode(account.encode()).decode()}"}
    headers |= {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(sum(map(len, parts)))}
    connection.request("POST", path, iter(parts), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path} was answered with {answer.status}")
    return content


def _ours(images, port, ca_file):
    from sticky_pi_api.client import RemoteClient

    first, *others = [_parsed(path) for path in sorted(Path(images).iterdir())]
    folder = f"{images}-client"
    with RemoteClient(folder, "localhost", "trap", "pollen", port=port, ca_file=ca_file) as client:
        client.put_images([first])
        before = time.process_time()
        client.put_images(others)
        return time.process_time() - before


def _parsed(path):
    from sticky_pi_api.image_parser import ImageParser

    taken = datetime.strptime(path.name.split(".")[1], "%Y-%m-%d_%H-%M-%S")  # noqa: DTZ007 - naive datetimes are UTC
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return ImageParser.restore(path, {"device": DEVICE, "datetime": taken, "md5": md5}, b"", b"")


if __name__ == "__main__":
    if sys.argv[1:2] in (["--plain"], ["--ours"]):
        way = {"--plain": _plain, "--ours": _ours}[sys.argv[1]]
        print(way(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
    else:
        main(rows, __doc__, pictures=20)
