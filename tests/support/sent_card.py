"""A trap whose pictures were sent to a store on another disk, and may go from the card by the days."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sticky_pi_api.client import LocalClient
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_uploader.config.model import RetentionConfig
from sticky_pi_uploader.image_dir.pending_removal import PendingRemovals
from sticky_pi_uploader.intake.intake import Intake
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.outbox import Outbox, outbox_path
from sticky_pi_uploader.retention.policy import Retention
from sticky_pi_uploader.retention.remover import Remover
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from sticky_pi_uploader.upload.uploader import Uploader

TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC
NOW = 1_700_000_000.0
NOTHING = lambda _: 0  # noqa: E731

MAKE_REMOVAL = """
import sys
from sticky_pi_api.client import LocalClient
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.retention.remover import Remover
path, images, store = sys.argv[1:]
with Outbox(path, longest_wait=1800) as outbox:
    removal = Remover(
        outbox.retention,
        ScanRequests(),
        image_dir=images,
        open_client=lambda: LocalClient(store),
        is_store=True,
        stopping=lambda: False,
    )
"""
"""A script's beginning: it has a card's `outbox` open, and goes on, indented, with a `removal`: a `Remover`"""


@contextmanager
def folder_elsewhere(folder):
    """Make a folder on another file system than `folder` for a while; where there is none, skip the test."""
    for parent in ("/dev/shm", "/run"):
        if os.access(parent, os.W_OK) and file_system_id(parent) != file_system_id(str(folder)):
            made = Path(tempfile.mkdtemp(dir=parent))
            yield made
            shutil.rmtree(made)
            return
    pytest.skip("there is no second file system to write to here")


class Card:
    """A trap whose pictures were sent to a store elsewhere, as the daemon does it."""

    TAKEN = TAKEN
    url = "file:///elsewhere"

    def __init__(self, folder, store, make_picture):
        self.images, self.now, self.make_picture = folder / "pictures", NOW, make_picture
        self.images.mkdir()
        self.store = str(store)
        self.scan_requests, self.thumbnails = ScanRequests(), ThumbnailFolder(str(folder / "thumbnails"))
        self.removals = PendingRemovals(str(self.images))
        self.scanner = Scanner(str(self.images), removals=self.removals)
        self.outbox = Outbox(outbox_path(str(folder)), longest_wait=1800, clock=lambda: self.now)
        self.outbox.destinations.change(self.url, lambda _: True)
        self.open_client = lambda: LocalClient(self.store)
        self.stop = False

    def reopen(self):
        """Open the outbox again, which another process used meanwhile."""
        self.outbox = Outbox(outbox_path(str(self.images.parent)), longest_wait=1800, clock=lambda: self.now)

    def add(self, *numbers, **more):
        """Take a picture each, a day apart, as the camera writes them."""
        for number in numbers:
            when = TAKEN + timedelta(days=number)
            folder = self.images / "1b74105a" / f"{when:%Y-%m-%d}"
            folder.mkdir(parents=True, exist_ok=True)
            self.make_picture(folder, when=when, **more)
        return self

    def take_in(self):
        reader = PictureReader(str(self.images), self.thumbnails, lambda: self.now)
        for folder in self.scanner.folders():
            for candidate in self.scanner.candidates(folder):
                self.outbox.catalog.record([reader.read(candidate, file_system_id(str(self.images / folder))).taken])
        return self

    def scan(self):
        """Look through the whole card, as the daemon does it, until nothing is left to look at."""
        reader, recorded = PictureReader(str(self.images), self.thumbnails, lambda: self.now), lambda: None
        now = [1000.0]
        intake = Intake(
            self.scanner,
            reader,
            self.outbox.catalog,
            self.outbox.folders,
            self.scan_requests,
            recorded=recorded,
            stopping=lambda: False,
            monotonic=lambda: now[0],
        )
        self.scan_requests.everything()
        while (wait := intake.step()) is not None and not intake.idle:
            now[0] += wait
        return self

    def send(self):
        self.take_in()
        uploader = Uploader(
            self.outbox.queue,
            self.outbox.destinations,
            self.thumbnails,
            self.scan_requests,
            image_dir=str(self.images),
            url=self.url,
            open_client=lambda: LocalClient(self.store),
            give_up_after=5,
            stopping=lambda: False,
            clock=lambda: self.now,
        )
        while uploader.step() == 0:
            pass
        uploader.close()
        return self

    def removal(self):
        return Remover(
            self.outbox.retention,
            self.scan_requests,
            image_dir=str(self.images),
            open_client=self.open_client,
            is_store=True,
            stopping=lambda: self.stop,
            removals=self.removals,
        )

    def retention(self, keep_days=30, min_free=NOTHING, also_remove=(), store=None):
        return Retention(
            self.outbox.retention,
            self.thumbnails,
            self.removal(),
            RetentionConfig(keep_days, SimpleNamespace(of=min_free), also_remove, 400),
            image_dir=str(self.images),
            store=store or self.store,
            clock=lambda: self.now,
        )

    def path(self, number):
        when = TAKEN + timedelta(days=number)
        return self.images / "1b74105a" / f"{when:%Y-%m-%d}" / f"1b74105a.{when:%Y-%m-%d_%H-%M-%S}.jpg"

    def picture(self, number):
        return self.outbox.at(str(self.path(number).relative_to(self.images)))

    def left(self):
        return [number for number in range(20) if self.path(number).exists()]


def run(retention):
    """Let it do all that it can do now; returns when it wants to be called again."""
    while (wait := retention.step()) == 0:
        pass
    return wait
