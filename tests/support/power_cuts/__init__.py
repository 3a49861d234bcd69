"""Cuts the power of a trap's disk at random moments, and judges what it left: `python -m power_cuts --help`.

The disk is ext4 in a file on a tmpfs, mounted through a loop device. At a cut the service is stopped, the file copied
as it is, and the service goes on: the copy has what had reached the disk, and nothing that was only in memory. Run it
in a mount namespace of its own (`in_private`), with which all that it mounts goes, however it ends.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from containers.needs import ALONE

SUPPORT = Path(__file__).parents[1]
TOOLS = ("mkfs.ext4", "mount", "losetup", "unshare")
_TRIAL = 'truncate -s 8M "$0" && mkfs.ext4 -q "$0" && mkdir "$0.d" && mount -o loop,noatime "$0" "$0.d"'


def reason_to_skip(folder):
    """Return why no disk can be made and mounted here, tried out in `folder`; None where nothing is in the way."""
    if os.geteuid() != 0:
        return "only root can mount a disk to cut the power of"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"missing, to make a disk with: {', '.join(missing)}: apt-get install e2fsprogs mount util-linux"
    done = in_private(["sh", "-c", _TRIAL, os.path.join(folder, "trial")], timeout=60)
    return f"no disk can be mounted here: {done.stderr.strip()}" if done.returncode else None


def in_private(command, *, timeout):
    """Run a command with mounts and processes of its own, which end when it does; returns it, done."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPI_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    return subprocess.run(
        [*ALONE, *command], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def cut_power(folder, *options, timeout=600):
    """Run `python -m power_cuts` with these options in an empty folder; returns the figures that it prints."""
    done = in_private([sys.executable, "-m", "power_cuts", str(folder), *map(str, options)], timeout=timeout)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
