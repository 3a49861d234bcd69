"""Where containers are mounted and run: namespaces of their own, which the machine that they are on doesn't see.

The mounts and processes in there end with one process, and it ends with the tests, however these end.
"""

import itertools
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from .needs import ALONE, unified_hierarchy

_PATIENCE = 10
"""Seconds that killed processes get to end"""

_NAMES = itertools.count(1)

_KEEP = """
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && mount -t tmpfs tmpfs "$0" &&
echo ready && exec cat
"""


class Workshop:
    """Namespaces with a file system in memory at `folder`, there inside `with`."""

    def __init__(self, folder):
        """Keep the folder, which must be there."""
        self.folder = Path(folder)
        self._keeper = None
        self._first = None

    def __enter__(self):
        """Open it."""
        self._keeper = subprocess.Popen(
            [*ALONE, "sh", "-c", _KEEP, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests; they close the workshop
        )
        if self._keeper.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError("no namespaces with mounts of their own can be had here; see above")
        (self._first,) = children(self._keeper.pid)
        return self

    def __exit__(self, *_):
        """Close it: nothing that is mounted or runs in it is left."""
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    def command(self, *command):
        """Return the command line that runs a command in here."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid", "--", *map(str, command)]

    def run(self, *command):
        """Run a command in here that has to succeed."""
        subprocess.run(self.command(*command), check=True, stdin=subprocess.DEVNULL)

    def path(self, path):
        """Return where the tests find a path of in here."""
        return Path(f"/proc/{self._first}/root{path}")

    def mount(self, kind, options, where):
        """Mount a file system in here."""
        self.run("mount", "-t", kind, "-o", options, kind, where)

    def unique(self, name):
        """Return a name that nothing else in here has."""
        return f"{name}-{next(_NAMES)}"


class ControlGroup:
    """A control group for one container's processes."""

    def __init__(self, name):
        """Make it."""
        self.folder = Path(unified_hierarchy()) / f"sticky-pi-tests-{os.getpid()}-{name}"
        self.folder.mkdir()

    def kill(self):
        """Kill every process in it, and in the groups inside."""
        (self.folder / "cgroup.kill").write_text("1")

    def remove(self):
        """Kill what is left in it, and remove it with those inside."""
        self.kill()
        deadline = time.monotonic() + _PATIENCE
        while self.folder.exists() and time.monotonic() < deadline:
            for folder, _, _ in os.walk(self.folder, topdown=False):
                with suppress(OSError):  # busy as long as its processes end
                    os.rmdir(folder)
            time.sleep(0.01)


def children(pid):
    """Return the ids of a process's children, as far as it has any."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_first_in_its_namespace(pid):
    """Return whether a process is the init of its own namespace of process ids."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in lines)
