"""Remember folders that a scan can skip: all their files were recorded, and their times haven't changed since.

The times of a folder change whenever a name is added or removed, but not when an existing file is written. So each
folder is read once a day in any case, and each scan checks the rejected files. Times are trusted only if the file
system keeps them, if they were two seconds old when they were read (a later change may not show), and until somebody
sets the clock.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ..outbox import NOT_SEEN, Folders, Seen
from ..state_dir.mounts import keeps_times
from .directory_sync import TIMESTAMP_RESOLUTION
from .scanner import Scanner

REREAD_INTERVAL: Final = 86400.0
"""Seconds after which a folder is read again although it looks unchanged"""

REREADS_PER_SCAN: Final = 16
"""Unchanged folders that one scan reads again at most: with all of them, a scan could take very long"""


class FolderCache:
    """The folders of one image dir, compared with the records of earlier scans. For one thread."""

    def __init__(
        self, scanner: Scanner, folders: Folders, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Keep the records in the outbox; `clock` has to be the clock of the file system."""
        self._scanner = scanner
        self._folders = folders
        self._clock = clock
        self._monotonic = monotonic
        self._offset = self._clock() - self._monotonic()
        self._before: Mapping[str, Seen] = {}
        """the records of earlier scans"""
        self._must_read: Collection[str] = ()
        self._children: Mapping[str, list[str]] = {}
        self._device: int | None = None
        self._now: dict[str, Seen] = {}
        """the folders as this scan found them"""
        self._read: dict[str, Seen] = {}
        self._new: Mapping[str, Seen] = {}
        self._gone: Collection[str] = ()
        self._unrecorded: defaultdict[str, set[str]] = defaultdict(set)
        """by folder, the paths of files that this scan found and that aren't recorded yet"""

    def begin(self) -> None:
        """Begin a scan of the whole image dir."""
        self._scanner.missed.clear()
        self._before = self._folders.seen()
        self._now, self._read, self._new, self._gone = {}, {}, {}, ()
        self._unrecorded.clear()
        if self._was_clock_set():
            self._folders.forget()
            self._before = {}
        self._device = _device(self._scanner.image_dir)
        self._must_read = self._folders.in_doubt() | self._to_reread()
        children = defaultdict(list)
        for folder in self._before:
            if folder:
                children[os.path.dirname(folder)].append(folder)
        self._children = children

    def subfolders(self, folder: str) -> list[str] | None:
        """Check a folder; return its recorded subfolders if it is unchanged, None if it has to be read."""
        self._check(folder)
        return self._children.get(folder, []) if self.is_unchanged(folder) else None

    def is_unchanged(self, folder: str) -> bool:
        """Return whether a folder that was checked needn't be read."""
        now, before = self._now.get(folder), self._before.get(folder)
        return now is not None and before is not None and now.is_like(before) and folder not in self._must_read

    def add_unrecorded(self, path: str) -> None:
        """Note that a file was found that isn't recorded yet."""
        self._unrecorded[os.path.dirname(path)].add(path)

    def mark_recorded(self, path: str) -> None:
        """Note that a file is recorded now."""
        self._unrecorded[os.path.dirname(path)].discard(path)

    def mark_read(self, folder: str) -> None:
        """Note that a checked folder was read; call `add_unrecorded` for its new files before."""
        seen = self._now.get(folder)
        settled = seen is not None and max(seen.mtime_ns, seen.ctime_ns) / 1e9 <= seen.at - TIMESTAMP_RESOLUTION
        # A file that can't be read now may still exist. A folder that is ignored now may not be after a restart.
        lacks = self._scanner.missed_some_of(folder) or self._scanner.ignores_some_of(folder)
        if seen is not None and settled and not lacks:
            self._read[folder] = seen

    def end(self, folders: Collection[str]) -> None:
        """End the scan, which found these folders."""
        self._gone = self._before.keys() - folders
        # Also folders with unrecorded files: if a folder is skipped, its subfolders are taken from these records.
        self._new = dict.fromkeys(set(folders) - self._before.keys(), NOT_SEEN)

    def save(self) -> None:
        """Record for later scans the folders in which every file is recorded by now."""
        complete = {folder: seen for folder, seen in self._read.items() if not self._unrecorded.get(folder)}
        if complete or self._new or self._gone:
            self._folders.note({**self._new, **complete}, self._gone)
        self._read, self._new, self._gone = {}, {}, ()

    def _check(self, folder: str) -> None:
        at = self._clock()
        try:
            status = os.lstat(os.path.join(self._scanner.image_dir, folder))
        except OSError:
            return
        if status.st_dev == self._device:
            self._now[folder] = Seen.of(status, at)

    def _was_clock_set(self) -> bool:
        now = self._clock()
        offset = now - self._monotonic()
        change, self._offset = abs(offset - self._offset), offset
        return change > TIMESTAMP_RESOLUTION or any(seen.at > now for seen in self._before.values())

    def _to_reread(self) -> set[str]:
        now = self._clock()
        old = [(seen.at, folder) for folder, seen in self._before.items() if 0 < seen.at < now - REREAD_INTERVAL]
        return {folder for _, folder in sorted(old)[:REREADS_PER_SCAN]}


def _device(image_dir: str) -> int | None:
    """Return the device number of the image dir's file system; None if the times of its folders can't be trusted."""
    try:
        return os.stat(image_dir).st_dev if keeps_times(image_dir) else None
    except OSError:
        return None
