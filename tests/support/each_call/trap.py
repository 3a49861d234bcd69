"""A trap at the beginning of a picture's life, made anew for each case: its card, its destination, its program."""

import importlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress

from api_server import ApiServer
from invariants import held_by_server, held_by_store, outbox_rows, pictures_on
from power_cuts.camera import picture
from power_cuts.service import flags_of

from .watch import Program

AUDIT = ("audit", "--verify", "--deep", "--json")
EARLIER, THIS_ONE, LATER = 0, 2, 4
"""The camera's numbers of the pictures: of one device, so that each has what the one before left"""

LONG = 6
"""Seconds that are longer than any first wait for other trouble"""


class Trap:
    """A card on a disk of its own, and a store on another or a server in a process of its own."""

    def __init__(self, folder, *, server=False, used=False, fresh=False):
        """Make it in an empty folder, on which disks are mounted; one that is `used` has had a picture before."""
        self.is_used = used
        self._exit = ExitStack()
        self._folder, self.card, self.store = folder, folder / "card", folder / "store"
        self.state = self.card / ".sticky-pi-uploader"
        self.card.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.card], check=True)
        self._exit.callback(subprocess.run, ["umount", "-l", self.card], check=True)
        self.server = self._exit.enter_context(ApiServer(folder / "api")) if server else None
        places = {self.card: "card", self.state: "state", self.store: "store", folder / "log": "log"}
        self.program = Program(flags_of(folder, self.card, self.server), places, folder / "log", fresh=fresh)
        self.sent = {}
        """the bytes of all pictures that came to the card, by name"""
        self._before = {}
        _load_what_it_loads(self)
        self.begin()
        if used:
            self.arrive(EARLIER)
            self.program.run("drain", watched=False)
            self._before = dict(self.sent)
        for name in ("card", "store"):
            shutil.copytree(folder / name, folder / "before" / name, dirs_exist_ok=True)

    def close(self):
        """Give its disks and processes back."""
        self._exit.close()

    def begin(self):
        """Put everything back to where a picture is about to come."""
        for name in ("card", "store"):
            for entry in os.scandir(self._folder / name):
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
            if (before := self._folder / "before" / name).exists():
                shutil.copytree(before, self._folder / name, dirs_exist_ok=True)
        if self.server is not None:
            self.server.reset()
            for name, blob in self._before.items():
                self.server.hold(name, blob)
        self.sent = dict(self._before)

    def arrive(self, number=THIS_ONE):
        """Put a picture on the card, whole, as the camera does; returns its name."""
        folder, name, blob = picture(number)
        (self.card / folder).mkdir(parents=True, exist_ok=True)
        (self.card / folder / f"{name}~").write_bytes(blob)
        (self.card / folder / f"{name}~").rename(self.card / folder / name)
        self.sent[name] = blob
        return name

    def held(self):
        """Return the md5 that the destination's list has, and that of its bytes, by name."""
        return held_by_store(self.store) if self.server is None else held_by_server(self._folder / "api")

    def on_card(self):
        """Return the md5 of each picture on the card, by name."""
        return pictures_on(self.card)

    def rows(self):
        """Return the outbox's rows by name."""
        return outbox_rows(self.state)

    def let_time_pass(self):
        """Have pictures that wait, as an upload of theirs had no clear end, waited long enough: 30 s are long here."""
        if any((row["not_before"] or 0) > time.time() + LONG for row in self.rows().values()):
            with closing(sqlite3.connect(self.state / "outbox.db")) as outbox, outbox:
                outbox.execute("UPDATE pictures SET not_before = not_before - 3600")

    def uploads(self):
        """Return what came to the server: (whether it was stored, the file), for each file of each whole upload."""
        entries = self.server.requests("/_put_new_images") if self.server is not None else []
        return [(entry.status == 200, file) for entry in entries if entry.whole for file in entry.files]


def _load_what_it_loads(trap):
    """Load into this process what the program loads in a picture's life, and to judge it: then its runs don't."""
    trap.arrive()
    said = trap.card / "modules"
    child = os.fork()
    if not child:
        from sticky_pi_uploader.cli.main import main

        with suppress(BaseException):
            sys.stderr = open(os.devnull, "w", encoding="ascii")  # noqa: SIM115
            sys.stdout = sys.stderr
            main([*trap.program.flags, "drain"])
            main([*trap.program.flags, *AUDIT])
            said.write_text(json.dumps(sorted(sys.modules)), "utf-8")
        os._exit(0)
    os.waitpid(child, 0)
    for name in json.loads(said.read_text("utf-8")):
        with suppress(ImportError):
            importlib.import_module(name)
