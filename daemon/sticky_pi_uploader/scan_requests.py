"""Where the watcher, the uploader and people leave word for the intake: look at this file, at this folder, at all."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Hint(NamedTuple):
    """What to look at; paths are relative to the image dir, "" is the image dir itself."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    everything: bool = False
    touched: frozenset[str] = frozenset()
    """files of which perhaps nothing but the attributes changed"""


class Hints:
    """A set of hints, filled by any thread and emptied by the intake. A hint may be wrong: the folder is the truth."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._touched: set[str] = set()
        self._folders: set[str] = set()
        self._everything = False
        self.waiting = threading.Event()
        """Set while there is a hint to take; whoever wants the intake to wake up for another reason sets it too."""

    def file(self, path: str) -> None:
        """Ask for a look at one file, which may be there or gone."""
        with self._lock:
            self._files.add(path)
            self.waiting.set()

    def touched(self, path: str) -> None:
        """Tell of a file whose attributes changed: where it is known as no picture, it may be one by now."""
        with self._lock:
            self._touched.add(path)
            self.waiting.set()

    def folder(self, path: str) -> None:
        """Ask for a look at all that lies in a folder and below it."""
        with self._lock:
            self._folders.add(path)
            self.waiting.set()

    def everything(self) -> None:
        """Ask for a scan."""
        with self._lock:
            self._everything = True
            self.waiting.set()

    def take(self) -> Hint:
        """Take all hints; none are left."""
        with self._lock:
            hint = Hint(frozenset(self._files), frozenset(self._folders), self._everything, frozenset(self._touched))
            self._files.clear()
            self._touched.clear()
            self._folders.clear()
            self._everything = False
            self.waiting.clear()
            return hint

    def __bool__(self) -> bool:
        """Tell whether there is a hint to take."""
        with self._lock:
            return bool(self._files or self._touched or self._folders or self._everything)
