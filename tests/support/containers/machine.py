"""A container with a systemd of its own, as a test has it: booted, looked into, shut down, and cut off."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .workshop import ControlGroup, children, is_first_in_its_namespace

PATIENCE = 90
"""Seconds after which what should have happened long ago is missed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it said on either way out."""

    status: int
    out: str
    err: str


class Machine:
    """A machine whose disk begins as a copy of the root file system in `below`, a folder or another machine's disk.

    It is off at first. Its network is its own loopback. `binds` are options of systemd-nspawn that share folders with
    it.
    """

    def __init__(self, workshop, name, below, binds=()):
        """Give it a disk."""
        self.name = workshop.unique(name)
        self._workshop = workshop
        self._folder = workshop.folder / self.name
        self._binds = [f"--bind={self._folder}/card:/srv/card", *binds]
        self._process = self._group = self._leader = None
        self._is_frozen = False
        self._layers = [*(below.layers if isinstance(below, Machine) else [below])]
        for part in ("written", "work", "disk", "card"):
            workshop.run("mkdir", "-p", self._folder / part)
        lower = ":".join(map(str, self._layers))
        options = f"lowerdir={lower},upperdir={self._folder}/written,workdir={self._folder}/work"
        workshop.mount("overlay", options, self._folder / "disk")
        # Root's, as on a trap.
        workshop.mount("tmpfs", "size=64m,mode=755", self._folder / "card")

    def freeze(self):
        """Leave the disk as it is, for other machines to begin with; this one is off for good."""
        if not self._is_frozen:
            self._workshop.run("umount", self._folder / "card", self._folder / "disk")
        self._is_frozen = True

    def discard(self):
        """Switch it off at once, and throw its disk and card away."""
        self.cut_power()
        self.freeze()
        self._workshop.run("rm", "-rf", self._folder)

    @property
    def layers(self):
        """The folders that the disk of another machine begins with, uppermost first."""
        return [self._folder / "written", *self._layers]

    @property
    def disk(self):
        """Where the tests find the disk, without what is mounted inside."""
        return self._workshop.path(self._folder / "disk")

    @property
    def card(self):
        """Where the tests find the memory card.

        It is a file system of its own, which survives a reboot, at /srv/card inside: `mount --bind` puts it elsewhere.
        """
        return self._workshop.path(self._folder / "card")

    def path(self, path):
        """Return where the tests find a path of the running machine, mounts and all."""
        return Path(f"/proc/{self._leader}/root{path}")

    def boot(self):
        """Switch it on, and wait until it has booted, whatever of it has failed."""
        self._group = ControlGroup(self.name)
        nspawn = ["systemd-nspawn", f"--directory={self._folder}/disk", *self._binds]
        nspawn += ["--boot", "--private-network", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"]
        in_its_group = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', self._group.folder]
        with open(self.disk.with_name("console.log"), "ab") as log:
            self._process = subprocess.Popen(
                self._workshop.command(*in_its_group, *nspawn),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.wait_until_booted()

    def wait_until_booted(self):
        """Wait until what the boot waits for has been started, or has failed."""
        self.wait_until(self._has_booted, "boot")

    def _has_booted(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended:\n{self.console()}")
        below = (child for nspawn in children(self._process.pid) for child in children(nspawn))
        # Not the helper that makes the namespaces, in most of which it isn't itself.
        self._leader = next(filter(is_first_in_its_namespace, below), None)
        if self._leader is None:
            return False
        # A service may wait for longer: then the system as a whole is "starting" all the time. And where systemctl
        # believes itself in a chroot, it says nothing and ends with 0.
        return self.run("systemctl", "is-active", "multi-user.target", check=False).out == "active\n"

    def console(self):
        """Return the end of what it wrote on its console."""
        log = self.disk.with_name("console.log")
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def command(self, *command):
        """Return the command line that runs a command on the machine, as root."""
        return ["nsenter", f"--target={self._leader}", "--all", "--", *map(str, command)]

    def run(self, *command, check=True, stdin=""):
        """Run a command on the machine, as root; with `check`, it has to succeed."""
        done = subprocess.run(
            self.command(*command),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}"
        return Result(done.returncode, done.stdout, done.stderr)

    def journal(self, *matches):
        """Return the journal's records that match, oldest first, each as a dict of its fields."""
        said = self.run("journalctl", "--all", "--output=json", "--no-pager", *matches).out
        return [json.loads(line) for line in said.splitlines()]

    def show(self, unit, *properties):
        """Return the values of a unit's properties, in their order; one alone as itself."""
        said = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties)).out
        values = dict(line.split("=", 1) for line in said.splitlines())
        return values[properties[0]] if len(properties) == 1 else tuple(values[name] for name in properties)

    def wait_until(self, condition, what="happen", patience=PATIENCE):
        """Wait until `condition()` is true, and return what it gave."""
        deadline = time.monotonic() + patience
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} didn't {what} within {patience} s:\n{self._last_words()}")
            time.sleep(0.05)
        return result

    def _last_words(self):
        try:
            return self.run("journalctl", "--no-pager", "--lines=60", check=False).out
        except (OSError, subprocess.TimeoutExpired):
            return self.console()

    def _is_off(self):
        # Shutting down, systemd stops every process before it kills them, and nsenter stops with the one that it runs:
        # gone on with, it ends as that one has.
        for pid in children(os.getpid()):
            if f"--target={self._leader}" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                os.kill(pid, signal.SIGCONT)
        return self._process.poll() is not None

    def poweroff(self):
        """Shut it down in order."""
        self.run("systemctl", "poweroff", check=False)
        self._wait_until_off()

    def reboot(self):
        """Shut it down in order, and boot it again."""
        self.poweroff()
        self.boot()

    def cut_power(self):
        """Switch it off at once; whatever reached the page cache counts as written. Nothing if it is off."""
        if self._group is not None:
            self._group.kill()
            self._wait_until_off()

    def _wait_until_off(self):
        self.wait_until(self._is_off, "switch itself off", 2 * PATIENCE)
        self._group.remove()
        self._process = self._group = self._leader = None
