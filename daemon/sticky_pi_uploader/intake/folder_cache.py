"""Remember which folders needn't be read again: everything in them was recorded, and their times didn't change since.

A folder's times change with each name that comes or goes. They don't with what is written into a file that is there
already: so each folder is read once a day all the same, and a rejected file is looked at in every scan. Times are
believed only where the file system keeps them, if they were two seconds old when they were read (until then, a change
may not show), and as long as nobody sets the clock.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ..outbox import NOT_SEEN, Folders, Seen
from ..state_dir.mounts import keeps_times
from .directory_sync import SETTLED
from .scanner import Scanner

CHECKED_EVERY: Final = 86400.0
"""Seconds after which a folder is read again though it looks unchanged"""

CHECKS: Final = 16
"""How many of those are read in one scan: with all of them at once, now and then one would take very long"""


class FolderCache:
    """The folders of one image dir, as one scan finds them and earlier ones left word of them; for one thread."""

    def __init__(
        self, scanner: Scanner, folders: Folders, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        """Keep what is known of them in the outbox; `clock` is the one that files' times are of."""
        self._scanner = scanner
        self._folders = folders
        self._clock = clock
        self._monotonic = monotonic
        self._offset = self._clock() - self._monotonic()
        self._before: Mapping[str, Seen] = {}
        self._doubted: Collection[str] = ()
        self._children: Mapping[str, list[str]] = {}
        self._device: int | None = None
        self._now: dict[str, Seen] = {}
        self._noted: dict[str, Seen] = {}
        self._new: Mapping[str, Seen] = {}
        self._gone: Collection[str] = ()
        self._unknown: defaultdict[str, set[str]] = defaultdict(set)

    def begin(self) -> None:
        """Begin a scan of everything."""
        self._scanner.missed.clear()
        self._before = self._folders.seen()
        self._now, self._noted, self._new, self._gone = {}, {}, {}, ()
        self._unknown.clear()
        if self._was_the_clock_set():
            self._folders.forget()
            self._before = {}
        self._device = _device(self._scanner.image_dir)
        self._doubted = self._folders.in_doubt() | self._to_be_checked()
        children = defaultdict(list)
        for folder in self._before:
            if folder:
                children[os.path.dirname(folder)].append(folder)
        self._children = children

    def subfolders(self, folder: str) -> list[str] | None:
        """Look at a folder, and name those in it if it needn't be read for that."""
        self._look(folder)
        return self._children.get(folder, []) if self.is_unchanged(folder) else None

    def is_unchanged(self, folder: str) -> bool:
        """Tell whether a folder that was looked at needn't be read."""
        now, before = self._now.get(folder), self._before.get(folder)
        return now is not None and before is not None and now.is_like(before) and folder not in self._doubted

    def expect(self, path: str) -> None:
        """Note that a file was found that isn't known yet."""
        self._unknown[os.path.dirname(path)].add(path)

    def know(self, path: str) -> None:
        """Note that a file is known now."""
        self._unknown[os.path.dirname(path)].discard(path)

    def note(self, folder: str) -> None:
        """Note that a folder was read, once it was looked at: what isn't known in it is expected."""
        seen = self._now.get(folder)
        settled = seen is not None and max(seen.mtime_ns, seen.ctime_ns) / 1e9 <= seen.at - SETTLED
        # What can't be read now may be there all the same; what is left out today may not be after a restart.
        lacks = self._scanner.missed_some_of(folder) or self._scanner.leaves_out_some_of(folder)
        if seen is not None and settled and not lacks:
            self._noted[folder] = seen

    def end(self, folders: Collection[str]) -> None:
        """End the scan, which found these folders."""
        self._gone = self._before.keys() - folders
        # Also those in which not everything is known: a folder that isn't read has all of its subfolders here.
        self._new = dict.fromkeys(set(folders) - self._before.keys(), NOT_SEEN)

    def save(self) -> None:
        """Leave word to later scans of the folders in which everything is known by now."""
        known = {folder: seen for folder, seen in self._noted.items() if not self._unknown.get(folder)}
        if known or self._new or self._gone:
            self._folders.note({**self._new, **known}, self._gone)
        self._noted, self._new, self._gone = {}, {}, ()

    def _look(self, folder: str) -> None:
        at = self._clock()
        try:
            status = os.lstat(os.path.join(self._scanner.image_dir, folder))
        except OSError:
            return
        if status.st_dev == self._device:
            self._now[folder] = Seen.of(status, at)

    def _was_the_clock_set(self) -> bool:
        now = self._clock()
        offset = now - self._monotonic()
        by, self._offset = abs(offset - self._offset), offset
        return by > SETTLED or any(seen.at > now for seen in self._before.values())

    def _to_be_checked(self) -> set[str]:
        now = self._clock()
        old = [(seen.at, folder) for folder, seen in self._before.items() if 0 < seen.at < now - CHECKED_EVERY]
        return {folder for _, folder in sorted(old)[:CHECKS]}


def _device(image_dir: str) -> int | None:
    """Give the number of the file system whose folders' times can be believed, if the image dir is on such a one."""
    try:
        return os.stat(image_dir).st_dev if keeps_times(image_dir) else None
    except OSError:
        return None
