"""Scan requests: other parts of the daemon ask the intake to look at a file, a folder, or the whole image folder."""

from __future__ import annotations

import threading
from typing import NamedTuple


class ScanRequest(NamedTuple):
    """The files and folders to look at. Paths are relative to the image dir, "" is the image dir itself."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    everything: bool = False
    touched: frozenset[str] = frozenset()
    """files of which perhaps only the attributes changed"""


class ScanRequests:
    """A set of requests, filled by any thread and emptied by the intake.

    A request may be wrong or missing: a scan of the image folder finds everything all the same.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._touched: set[str] = set()
        self._folders: set[str] = set()
        self._everything = False
        self.waiting = threading.Event()
        """Set while there is a request to take; set it to wake the intake for another reason, too."""

    def file(self, path: str) -> None:
        """Request a look at one file, which may be there or gone."""
        with self._lock:
            self._files.add(path)
            self.waiting.set()

    def touched(self, path: str) -> None:
        """Request a look at a file whose attributes changed, in case it was rejected: it may be a picture by now."""
        with self._lock:
            self._touched.add(path)
            self.waiting.set()

    def folder(self, path: str) -> None:
        """Request a scan of a folder and of all folders below it."""
        with self._lock:
            self._folders.add(path)
            self.waiting.set()

    def everything(self) -> None:
        """Request a scan of the whole image dir."""
        with self._lock:
            self._everything = True
            self.waiting.set()

    def take(self) -> ScanRequest:
        """Return all requests as one, and remove them."""
        with self._lock:
            files, folders, touched = (frozenset(each) for each in (self._files, self._folders, self._touched))
            request = ScanRequest(files, folders, self._everything, touched)
            self._files.clear()
            self._touched.clear()
            self._folders.clear()
            self._everything = False
            self.waiting.clear()
            return request

    def __bool__(self) -> bool:
        """Tell whether there is a request to take."""
        with self._lock:
            return bool(self._files or self._touched or self._folders or self._everything)
