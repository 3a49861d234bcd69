"""Watch the image dir with watchdog, and request a look at each file that comes, goes or changes.

The watcher lays a new watch and requests a scan where it may have missed events: a thread died, a burst may have
overflowed the kernel's queue, new folders came. Where inotify doesn't
work or its limits are reached, the folder is scanned often instead.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sticky_pi_api.filesystem.mounts import network_file_system

from ..clock import span
from ..intake.scanner import Scanner
from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from ..scan_requests import ScanRequests
from .inotify import Watch, new_path, queue_limit, watched_inodes

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

log = logging.getLogger(__name__)

POLL_INTERVAL: Final = 10.0
"""Seconds between two scans where events can't be had."""

SETTLING: Final = 1.0
"""Seconds after a new folder was seen until it is seen to: pictures in it may have been missed, and a folder that was
moved in isn't watched by every version of watchdog."""

SHORTAGES: Final = 3
"""Counts in a row that have to find a folder unwatched before that is believed."""


_ATTRIBUTES: Final = ("attrib", "modified")
"""Kinds of event by which versions of watchdog tell of a change of attributes; by the latter old ones tell of more"""


class Watcher:
    """One observer on one image dir; `tick` keeps it healthy."""

    def __init__(
        self,
        scanner: Scanner,
        scan_requests: ScanRequests,
        *,
        scan_interval: float,
        monotonic: Callable[[], float] = time.monotonic,
        network_file_system: Callable[[str], str | None] = network_file_system,
    ) -> None:
        """Watch `scanner.image_dir`, and have it scanned every `scan_interval` seconds as well."""
        self._scanner = scanner
        self._scan_requests = scan_requests
        self._scan_interval = scan_interval
        self._monotonic = monotonic
        self._network_file_system = network_file_system
        self._watch: Watch | None = None
        self._handler = _Handler(scanner, scan_requests, monotonic)
        self._scanned_at = monotonic()
        self._shortages = 0
        self._distrust: str | None = None
        self._watched_at = monotonic()
        self._unwatched = Repeats(monotonic)
        self.polling: str | None = None
        """why events can't be had, where they can't"""

    def start(self) -> None:
        """Watch first, then ask for a scan, so that nothing falls between the two."""
        kind = self._network_file_system(self._scanner.image_dir)
        if kind is None:
            self._lay()
        else:
            self._poll(f"it is on a network file system ({kind})")
        self._scan()

    def stop(self) -> None:
        """End the observer's threads."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end()

    def distrust(self, why: str) -> None:
        """Have the watch laid anew at the next tick."""
        self._distrust = why

    def unwatched_for(self) -> float:
        """Tell for how many seconds no tick has found a watch in order, where events can be had at all."""
        return self._monotonic() - self._watched_at

    def tick(self) -> float:
        """Lay the watch anew where it is in doubt, and ask for a scan where that is due.

        Returns the seconds after which it should be called again at the latest.
        """
        now = self._monotonic()
        doubt = self._doubt() if self.polling is None else None
        settled = self._handler.has_settled()
        if self.polling is not None or (self._watch is not None and self._watch.doubt() is None):
            self._watched_at = now
        if doubt is not None:
            log.debug("watching %s anew: %s", self._scanner.image_dir, doubt)
            self._lay()
        elif settled:
            self._handler.new_folder_at = None
        if doubt is not None or settled or now - self._scanned_at >= self._interval:
            self._scan()
        if self._handler.new_folder_at is not None:
            return SETTLING
        return max(0.0, self._scanned_at + self._interval - now)

    @property
    def _interval(self) -> float:
        return self._scan_interval if self.polling is None else min(POLL_INTERVAL, self._scan_interval)

    def _scan(self) -> None:
        self._scanned_at = self._monotonic()
        self._scan_requests.everything()

    def _doubt(self) -> str | None:
        """Say why events may have been missed."""
        if self._watch is None:
            return "it isn't watched"
        if self._distrust is not None:
            return self._distrust
        if (doubt := self._watch.doubt()) is not None:
            return doubt
        if self._handler.events >= queue_limit() // 4:
            return "so many events at once that the kernel's queue may have overflowed"
        if self._handler.has_settled() and not self._folders().issubset(watched_inodes()):
            return "a new folder isn't watched"
        return None

    def _folders(self) -> set[int]:
        """Give the inode of each folder that can be watched."""
        inodes = set()
        for folder, _, _ in os.walk(self._scanner.image_dir):
            with contextlib.suppress(OSError):
                inodes.add(os.stat(folder).st_ino)
        return inodes

    def _lay(self) -> None:
        """Lay a new watch before the old one is given up, so that no event falls between them."""
        before, self._watch = self._watch, None
        self._distrust = None
        self._handler = _Handler(self._scanner, self._scan_requests, self._monotonic)
        try:
            self._watch = Watch(self._scanner.image_dir, self._handler)
        except OSError as error:
            self._say_unwatched(error)
        if before is not None:
            before.end()
        if self._watch is not None:
            self._note_watched()
            self._count_watches()

    def _say_unwatched(self, error: OSError) -> None:
        if error.errno in (errno.ENOSPC, errno.EMFILE):
            self._poll(f"{error.strerror}: raise fs.inotify.max_user_watches or max_user_instances")
        elif (spell := self._unwatched.again(self._scanner.image_dir, str(error.strerror))) is not None:
            log.warning(
                "%s can't be watched just now: %s%s",
                self._scanner.image_dir,
                error.strerror,
                spell,
                extra=about(Kind.UNWATCHED, folder=self._scanner.image_dir, reason=error.strerror),
            )

    def _note_watched(self) -> None:
        spell = self._unwatched.over(self._scanner.image_dir)
        if spell is not None:
            extra = about(Kind.WATCHED, folder=self._scanner.image_dir)
            log.info("%s is watched again, after %s", self._scanner.image_dir, span(spell.seconds), extra=extra)

    def _count_watches(self) -> None:
        """Find out that folders were left out: newer versions of watchdog say nothing when the limit is reached."""
        # Not one by one: some file systems have two inodes for a folder.
        enough = len(watched_inodes()) >= len(self._folders())
        self._shortages = 0 if enough else self._shortages + 1
        if self._shortages >= SHORTAGES:
            self.stop()
            self._poll("not every folder could be watched: raise fs.inotify.max_user_watches")
        elif self._shortages:
            # A folder that came or went while they were counted looks the same: count again.
            self._handler.expect_more()

    def _poll(self, why: str) -> None:
        self.polling = why
        extra = about(Kind.POLLING, folder=self._scanner.image_dir, reason=why)
        log.warning("%s is looked at every %g s, as %s", self._scanner.image_dir, self._interval, why, extra=extra)


class _Handler:
    """Turn watchdog's events into scan requests. It runs in the thread that reads them, so it must not fail."""

    def __init__(self, scanner: Scanner, scan_requests: ScanRequests, monotonic: Callable[[], float]) -> None:
        self._scanner = scanner
        self._root = os.path.join(scanner.image_dir, "")
        self._scan_requests = scan_requests
        self._monotonic = monotonic
        self._first_new_folder_at = 0.0
        self.events = 0
        self.new_folder_at: float | None = None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event; watchdog calls this."""
        self.events += 1
        if event.event_type in ("created", "moved") and event.is_directory:
            self._new_folder(self._relative(new_path(event)))
        elif event.event_type in ("closed", "created", "moved"):
            # The new path first: whoever looks at the old one then knows what became of the file.
            for path in dict.fromkeys((new_path(event), os.fsdecode(event.src_path))):
                # Half of them are the camera's unfinished files.
                if not path.endswith("~") and self._scanner.is_candidate_name(relative := self._relative(path)):
                    self._scan_requests.file(relative)
        elif event.event_type in _ATTRIBUTES and not event.is_directory:
            path = os.fsdecode(event.src_path)
            if not path.endswith("~") and self._scanner.is_candidate_name(relative := self._relative(path)):
                self._scan_requests.touched(relative)

    def has_settled(self) -> bool:
        """Tell whether new folders came, and no more of them do, or have done for long."""
        if self.new_folder_at is None:
            return False
        now = self._monotonic()
        return now - self.new_folder_at >= SETTLING or now - self._first_new_folder_at >= 10 * SETTLING

    def expect_more(self) -> None:
        """Have it seen to that all folders are watched, once no more of them come."""
        now = self._monotonic()
        if self.new_folder_at is None:
            self._first_new_folder_at = now
        self.new_folder_at = now

    def _new_folder(self, path: str) -> None:
        if self._scanner.is_watched_folder(path):
            self.expect_more()
            self._scan_requests.folder(path)

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._root)
