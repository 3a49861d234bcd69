"""How long after its start a `drain` has its first picture at the destination, with a backlog that nobody has seen yet.

    python tests/bench/first_picture.py [--pictures N]

For traps whose power may go at any moment. Seconds by the clock, from the process's start to the receipt of the newest
picture, which goes first: to a store, and to a server over HTTPS on this machine.
"""

import statistics
import subprocess
import sys
import time

from benchmark import Row, environment, main
from https_server import PASSWORD, https_server
from padding import padded
from pictures import full_size, put

ROUNDS = 7


def rows(folder, pictures=200):
    images, blob = folder / "images", full_size(2020)
    for number in range(pictures):
        put(images, number, padded(blob, 0, number))
    against = f"from its start, {pictures} unknown pictures wait"
    stores = [
        _seconds(images, folder / f"a{turn}", ["--api-url", f"file://{folder}/store{turn}"]) for turn in range(ROUNDS)
    ]
    yield Row("first picture of a drain, to a store", statistics.median(stores), 1, "s", against)
    servers = []
    with https_server(folder) as server:
        for turn in range(ROUNDS):
            server.api.reset()
            servers.append(_seconds(images, folder / f"b{turn}", server.flags(folder / "config"), **PASSWORD))
    yield Row("first picture of a drain, to HTTPS", statistics.median(servers), 1, "s", against)


def _seconds(images, state, flags, **account):
    """Return the seconds until the first receipt; the rest is left unsent."""
    command = [sys.executable, "-m", "sticky_pi_uploader", "drain", "--image-dir", images, "--state-dir", state, *flags]
    began = time.monotonic()
    with subprocess.Popen(command, env=environment(**account), stderr=subprocess.PIPE) as process:
        try:
            for line in process.stderr:
                if b": uploaded" in line:
                    return time.monotonic() - began
        finally:
            process.kill()
    raise SystemExit("no picture was sent")


if __name__ == "__main__":
    main(rows, __doc__, pictures=200)
