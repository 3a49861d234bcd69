"""Feeds the program mutated input of six kinds, in a process of its own: `python -m fuzzing --help`.

Each input follows from its target's name and its number alone, so that a failure can be taken again. An input is wrong
if anything but a documented exception comes of it, if it takes more than `LONGEST` seconds of processor time, or more
memory than `MOST_MEMORY` on top of what the process had before.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1]

SHARES = {
    "pictures": 0.19,
    "exif": 0.3,
    "names": 0.2,
    "configurations": 0.2,
    "answers": 0.1,
    "outboxes": 0.01,
}
"""The targets, and the share of all inputs that each gets: what costs more gets less"""

LONGEST = 1.0
"""Seconds of processor time for one input"""
MOST_MEMORY = 160 * 2**20
"""bytes for one input"""


class FuzzingFailedError(Exception):
    """The process ended before its figures were printed: it crashed, hung, or was out of memory."""


def fuzz(target, folder, *, inputs, first=0, timeout=600.0):
    """Try the `inputs` of a target from the number `first` on, at work in an empty folder; returns the figures."""
    command = [sys.executable, "-m", "fuzzing", target, str(folder), f"--inputs={inputs}", f"--first={first}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPI_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise FuzzingFailedError(f"exit status {done.returncode} at {done.stdout[-100:]}\n{done.stderr[-5000:]}")
    return json.loads(done.stdout.splitlines()[-1])
