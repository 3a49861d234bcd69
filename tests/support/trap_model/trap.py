"""The daemon's parts as a session puts them together, without its threads: each step is taken by hand."""

import os
import resource
import shutil
from collections import Counter
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

from sticky_pi_uploader.config.model import RetentionConfig
from sticky_pi_uploader.exceptions import OutboxDamagedError, StateError
from sticky_pi_uploader.image_dir.pending_removal import PendingRemovals
from sticky_pi_uploader.intake.intake import Intake
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.outbox import Outbox, outbox_path, put_aside
from sticky_pi_uploader.retention.policy import Retention
from sticky_pi_uploader.retention.remover import Remover
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.service.maintenance import Maintenance
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
from sticky_pi_uploader.upload.uploader import Uploader

from .clock import PowerCutError
from .server import LATE, Client

GIVE_UP_AFTER = 2
KEEP_RECORD_DAYS = 400
_FILES = ("outbox.db", "outbox.db-wal")


class _Scanner(Scanner):
    """One that counts the folders that it finds, and those that it reads."""

    def __init__(self, images, counts, **more):
        super().__init__(images, **more)
        self._counts = counts

    def folders(self, *args, **more):
        found = super().folders(*args, **more)
        self._counts["folders"] += len(found)
        return found

    def candidates(self, folder):
        self._counts["folders read"] += 1
        return super().candidates(folder)


class Trap:
    """A trap with its card and its state in one folder; `None` for `outbox` while it is off."""

    def __init__(self, folder, clock, server, disk=None, keep=None):
        self.clock = clock
        self.server = server
        self.images = folder / "pictures"
        self.state = folder / "state"
        self._left = folder / "left"
        self._with_room = disk.with_room if disk else nullcontext
        for each in (self.images, self.state):
            each.mkdir()
        self.pressed = True
        """whether there is too little space on the card, so that all goes that may; unless `keep` says otherwise"""
        min_free = SimpleNamespace(of=lambda size: size if self.pressed else 0)
        self._keep = keep or RetentionConfig(30, min_free, (), KEEP_RECORD_DAYS)
        self.largest_file = None
        """bytes beyond which every write fails, as on a disk with a fault; None: there is none"""
        self.counts = Counter()
        """starts, steps that failed, those amid which the power was cut, outboxes put aside, folders found and read"""
        self.is_held = False
        """whether nothing is to be sent but what somebody asked for"""
        self.outbox = None
        clock.on_cut = self._keep_what_is_committed

    def start(self):
        """Boot, and begin with what is on disk; False where the disk doesn't let it."""
        self.clock.advance(LATE + 10)
        self.counts["starts"] += 1
        with self._with_room():
            self._forget_the_last_process()
        try:
            with self._disk_faults():
                self._open()
        except PowerCutError:
            self._lose_power()
        except OutboxDamagedError as error:
            self._put_aside(error)
            # While writes fail, the next one may seem damaged as well.
            return self.largest_file is None and self.start()
        except StateError:
            self.stop()
        return self.outbox is not None

    def _forget_the_last_process(self):
        """Give the outbox's files other inodes: SQLite lets connections of one process share what they know of a file.

        One of them may live on until somebody collects garbage.
        """
        (self.state / "outbox.db-shm").unlink(missing_ok=True)
        for file in [self.state / name for name in _FILES if (self.state / name).exists()]:
            shutil.copyfile(file, copy := file.with_suffix(".copy"))
            copy.replace(file)

    def _open(self):
        path = outbox_path(str(self.state))
        self.outbox = Outbox(path, longest_wait=LONGEST_WAIT, clock=self.clock.time)
        self.outbox.queue.recover()
        self.outbox.destinations.change(self.server.url, lambda path: os.path.lexists(self.images / path))
        # With each start, the configuration names the other order.
        self.outbox.queue.set_order(spread=self.counts["starts"] % 2 == 0)
        self._put_together(ThumbnailFolder(str(self.state / "thumbnails")))
        self.scan_requests.everything()

    def _put_together(self, thumbnails):
        images, clock, server = str(self.images), self.clock, self.server
        self.scan_requests = ScanRequests()
        removals = PendingRemovals(images)
        self.intake = Intake(
            _Scanner(images, self.counts, removals=removals, monotonic=clock.monotonic),
            PictureReader(images, thumbnails, clock.time),
            self.outbox.catalog,
            self.outbox.folders,
            self.scan_requests,
            recorded=lambda: None,
            stopping=lambda: False,
            clock=clock.time,
            monotonic=clock.monotonic,
        )
        self.uploader = Uploader(
            self.outbox.queue,
            self.outbox.destinations,
            thumbnails,
            self.scan_requests,
            image_dir=images,
            url=server.url,
            open_client=lambda: Client(server),
            give_up_after=GIVE_UP_AFTER,
            stopping=lambda: False,
            is_held=lambda: self.is_held,
            clock=clock.time,
            monotonic=clock.monotonic,
        )
        removal = Remover(
            self.outbox.retention,
            self.scan_requests,
            image_dir=images,
            open_client=lambda: Client(server),
            is_store=True,  # so that no thread watches over it: the order of readings must be the same each time
            # It is asked before each few pictures: a moment at which the power may be cut.
            stopping=lambda: clock.monotonic() < 0,
            removals=removals,
        )
        self.retention = Retention(
            self.outbox.retention,
            thumbnails,
            removal,
            self._keep,
            image_dir=images,
            store=None,
            clock=clock.time,
            monotonic=clock.monotonic,
        )
        self.upkeep = Maintenance(
            self.outbox.recovery,
            self.outbox.retention,
            thumbnails,
            image_dir=images,
            state_dir=str(self.state),
            keep_record_days=self._keep.keep_record_days,
            clock=clock.time,
        )

    def stop(self):
        """End in an orderly way."""
        outbox, self.outbox = self.outbox, None
        if outbox is not None:
            self.uploader.close()
            outbox.close()

    def attempt(self, step):
        """Take a step as a worker does; returns whether it went as if nothing were wrong, and what it gave."""
        try:
            with self._disk_faults():
                return True, step()
        except PowerCutError:
            self._lose_power()
        except OutboxDamagedError as error:
            self._put_aside(error)
        except (StateError, OSError):
            self.counts["failed"] += 1
            self.scan_requests.everything()
        finally:
            self.clock.cut_after = None
        return False, None

    def _put_aside(self, error):
        self.stop()
        self.counts["put aside"] += 1
        put_aside(outbox_path(str(self.state)), error)

    def cut_power(self):
        """Cut it between two steps."""
        self._keep_what_is_committed()
        self._lose_power()

    def _keep_what_is_committed(self):
        """Copy the outbox as it lies there: what happens to it until its process is gone isn't to count."""
        _limit_files(None)
        with self._with_room():
            shutil.rmtree(self._left, ignore_errors=True)
            self._left.mkdir()
            for name in _FILES:
                if (self.state / name).exists():
                    shutil.copyfile(self.state / name, self._left / name)

    def _lose_power(self):
        self.counts["power cuts"] += 1
        if self.outbox is not None:
            self.stop()
        with self._with_room():
            for name in (*_FILES, "outbox.db-shm"):
                (self.state / name).unlink(missing_ok=True)
            for file in self._left.iterdir():
                file.replace(self.state / file.name)

    @contextmanager
    def _disk_faults(self):
        """Have every write beyond `largest_file` fail, as the system does it to a process that has such a limit."""
        _limit_files(self.largest_file)
        try:
            yield
        finally:
            _limit_files(None)


def _limit_files(size):
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))
