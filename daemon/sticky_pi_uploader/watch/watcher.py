"""Watch the image dir with watchdog, and request a look at each file that appears, vanishes or changes.

When the watcher may have missed events, it starts a new observer and requests a scan: a thread died, a burst of events
may have overflowed the kernel's queue, or a new folder isn't watched. If inotify doesn't work, or its limits are
reached, it requests a scan every few seconds instead.
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
from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats
from ..scan_requests import ScanRequests
from .inotify import FolderObserver, new_path, queue_limit, watched_inodes

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

log = logging.getLogger(__name__)

POLL_INTERVAL: Final = 10.0
"""Seconds between two scans if there are no events"""

NEW_FOLDER_DELAY: Final = 1.0
"""Seconds from a new folder to a scan and a check of the watches: pictures in it may have been missed, and not every
version of watchdog watches a folder that was moved in"""

FAILED_COUNTS: Final = 3
"""Counts in a row that must find too few watches before the watcher polls instead"""

_ATTRIBUTE_EVENTS: Final = ("attrib", "modified")
"""Types of event for a change of attributes, by version of watchdog; older versions use the second for writes, too"""


class Watcher:
    """The observer of one image dir; `tick` replaces it when necessary."""

    def __init__(
        self,
        scanner: Scanner,
        scan_requests: ScanRequests,
        *,
        scan_interval: float,
        monotonic: Callable[[], float] = time.monotonic,
        network_file_system: Callable[[str], str | None] = network_file_system,
    ) -> None:
        """Watch `scanner.image_dir`, and also request a scan every `scan_interval` seconds."""
        self._scanner = scanner
        self._scan_requests = scan_requests
        self._scan_interval = scan_interval
        self._monotonic = monotonic
        self._network_file_system = network_file_system
        self._observer: FolderObserver | None = None
        self._handler = _Handler(scanner, scan_requests, monotonic)
        self._scanned_at = monotonic()
        self._failed_counts = 0
        self._restart_reason: str | None = None
        self._watched_at = monotonic()
        self._unwatched = Repeats(monotonic)
        self.polling: str | None = None
        """the reason for scans in place of events; None while events are received"""

    def start(self) -> None:
        """Start to observe, then request a scan: in this order, no file is missed."""
        kind = self._network_file_system(self._scanner.image_dir)
        if kind is None:
            self._restart()
        else:
            self._poll(f"it is on a network file system ({kind})")
        self._scan()

    def stop(self) -> None:
        """Stop the observer's threads."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()

    def request_restart(self, reason: str) -> None:
        """Replace the observer at the next tick."""
        self._restart_reason = reason

    def unwatched_for(self) -> float:
        """Return for how many seconds no tick has found a working observer; 0 while the watcher polls."""
        return self._monotonic() - self._watched_at

    def tick(self) -> float:
        """Replace the observer if it may have missed events, and request a scan if one is due.

        Returns the seconds until the next call at the latest.
        """
        now = self._monotonic()
        problem = self._problem() if self.polling is None else None
        settled = self._handler.has_settled()
        if self.polling is not None or (self._observer is not None and self._observer.problem() is None):
            self._watched_at = now
        if problem is not None:
            log.debug("watching %s anew: %s", self._scanner.image_dir, problem)
            self._restart()
        elif settled:
            self._handler.new_folder_at = None
        if problem is not None or settled or now - self._scanned_at >= self._interval:
            self._scan()
        if self._handler.new_folder_at is not None:
            return NEW_FOLDER_DELAY
        return max(0.0, self._scanned_at + self._interval - now)

    @property
    def _interval(self) -> float:
        return self._scan_interval if self.polling is None else min(POLL_INTERVAL, self._scan_interval)

    def _scan(self) -> None:
        self._scanned_at = self._monotonic()
        self._scan_requests.everything()

    def _problem(self) -> str | None:
        """Return the reason why events may have been missed; None if there is none."""
        if self._observer is None:
            return "it isn't watched"
        if self._restart_reason is not None:
            return self._restart_reason
        if (problem := self._observer.problem()) is not None:
            return problem
        if self._handler.events >= queue_limit() // 4:
            return "so many events at once that the kernel's queue may have overflowed"
        if self._handler.has_settled() and not self._folders().issubset(watched_inodes()):
            return "a new folder isn't watched"
        return None

    def _folders(self) -> set[int]:
        """Return the inode of each folder that can be watched."""
        inodes = set()
        for folder, _, _ in os.walk(self._scanner.image_dir):
            with contextlib.suppress(OSError):
                inodes.add(os.stat(folder).st_ino)
        return inodes

    def _restart(self) -> None:
        """Start a new observer, then stop the old one: in this order, no event is missed."""
        before, self._observer = self._observer, None
        self._restart_reason = None
        self._handler = _Handler(self._scanner, self._scan_requests, self._monotonic)
        try:
            self._observer = FolderObserver(self._scanner.image_dir, self._handler.dispatch)
        except OSError as error:
            self._report_unwatched(error)
        if before is not None:
            before.stop()
        if self._observer is not None:
            self._report_watched()
            self._count_watches()

    def _report_unwatched(self, error: OSError) -> None:
        if error.errno in (errno.ENOSPC, errno.EMFILE):
            self._poll(f"{error.strerror}: raise fs.inotify.max_user_watches or max_user_instances")
        elif (spell := self._unwatched.again(self._scanner.image_dir, str(error.strerror))) is not None:
            folder, why = self._scanner.image_dir, error.strerror
            log_event(Kind.UNWATCHED, f"{folder} can't be watched just now: {why}{spell}", folder=folder, reason=why)

    def _report_watched(self) -> None:
        spell = self._unwatched.over(self._scanner.image_dir)
        if spell is not None:
            folder = self._scanner.image_dir
            log_event(Kind.WATCHED, f"{folder} is watched again, after {span(spell.seconds)}", folder=folder)

    def _count_watches(self) -> None:
        """Check that each folder is watched: newer versions of watchdog say nothing when the limit is reached."""
        # Inodes aren't compared: on some file systems a folder has two.
        is_enough = len(watched_inodes()) >= len(self._folders())
        self._failed_counts = 0 if is_enough else self._failed_counts + 1
        if self._failed_counts >= FAILED_COUNTS:
            self.stop()
            self._poll("not every folder could be watched: raise fs.inotify.max_user_watches")
        elif self._failed_counts:
            # A folder that was made or removed during the count has the same effect: count again.
            self._handler.note_new_folder()

    def _poll(self, why: str) -> None:
        self.polling = why
        folder = self._scanner.image_dir
        text = f"{folder} is looked at every {self._interval:g} s, as {why}"
        log_event(Kind.POLLING, text, folder=folder, reason=why)


class _Handler:
    """Turn watchdog's events into scan requests, in the thread that reads them: it must not raise."""

    def __init__(self, scanner: Scanner, scan_requests: ScanRequests, monotonic: Callable[[], float]) -> None:
        self._scanner = scanner
        self._root = os.path.join(scanner.image_dir, "")
        self._scan_requests = scan_requests
        self._monotonic = monotonic
        self._first_new_folder_at = 0.0
        self.events = 0
        self.new_folder_at: float | None = None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Process one event."""
        self.events += 1
        if event.event_type in ("created", "moved") and event.is_directory:
            path = new_path(event).removeprefix(self._root)
            if self._scanner.is_watched_folder(path):
                self.note_new_folder()
                self._scan_requests.folder(path)
        elif event.event_type in ("closed", "created", "moved"):
            # The new path first: when the old path is checked, the new one is recorded already.
            for path in dict.fromkeys((new_path(event), os.fsdecode(event.src_path))):
                self._request(path, self._scan_requests.file)
        elif event.event_type in _ATTRIBUTE_EVENTS and event.is_directory:
            path = os.path.join(os.fsdecode(event.src_path), "").removeprefix(self._root).rstrip(os.sep)
            if path in self._scanner.missed:
                # It may have become readable, and isn't watched then.
                self.note_new_folder()
                self._scan_requests.folder(path)
        elif event.event_type in _ATTRIBUTE_EVENTS:
            self._request(os.fsdecode(event.src_path), self._scan_requests.touched)

    def has_settled(self) -> bool:
        """Return whether there are new folders and no more are being made, or have been for a long time."""
        if self.new_folder_at is None:
            return False
        now = self._monotonic()
        longest = 10 * NEW_FOLDER_DELAY
        return now - self.new_folder_at >= NEW_FOLDER_DELAY or now - self._first_new_folder_at >= longest

    def note_new_folder(self) -> None:
        """Plan a check that each folder is watched, for when no more folders are being made."""
        now = self._monotonic()
        if self.new_folder_at is None:
            self._first_new_folder_at = now
        self.new_folder_at = now

    def _request(self, path: str, request: Callable[[str], None]) -> None:
        # Half of the paths are the camera's unfinished files.
        if not path.endswith("~") and self._scanner.is_candidate_name(relative := path.removeprefix(self._root)):
            request(relative)
