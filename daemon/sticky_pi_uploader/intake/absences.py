"""Record which files of recorded pictures are missing from the image folder, and which are back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from sticky_pi_api.exceptions import printable

from ..journal.events import Kind, log_event
from ..models import Fingerprint, Picture, State
from ..outbox import Catalog
from ..wording import counted
from .scanner import Scanner

ABSENCES_PER_STEP: Final = 64
"""Missing files that are recorded in one transaction"""


class Absences:
    """Recorded files that weren't found: each is lost, or away with its disk or folder. For one thread."""

    def __init__(self, scanner: Scanner, catalog: Catalog) -> None:
        self._scanner = scanner
        self._catalog = catalog
        self._absent: set[str] = set()
        self._away: list[str] = []
        """files that are away, until that is logged"""

    def __bool__(self) -> bool:
        """Return whether some absences are still to be recorded."""
        return bool(self._absent)

    def add(self, paths: Iterable[str]) -> None:
        """Add the paths of files that weren't found, recorded or not."""
        self._absent.update(paths)

    def record(self) -> None:
        """Record some of the files as lost or away, in one transaction. Raises StateError."""
        if not self._absent:
            return
        some = list(islice(self._absent, ABSENCES_PER_STEP))
        with self._catalog.together():
            self._away += [path for path in some if self._is_away(path)]
        self._absent.difference_update(some)
        if self._away and not self._absent:
            count, one = len(self._away), self._away[0]
            self._away.clear()
            what = "can't be seen, as the disk or folder can't: sent when it is back; for example"
            text = f"{counted(count, 'picture')} {what} {printable(one)}"
            log_event(Kind.AWAY, text, count=count, path=one, image=os.path.basename(one))

    def _is_away(self, path: str) -> bool:
        """Record the absence of a file, and return whether it is newly away.

        A picture is lost if its folder can be read on the file system where it was; otherwise it is only away.
        """
        if self._scanner.look(path) is not None or self._scanner.is_being_removed(path):
            return False
        # In this order: a file that was removed in the meantime is recorded as removed by now.
        gone = self._scanner.is_gone(path)
        picture = self._catalog.at(path)
        if picture is None or not picture.is_missed:
            return False
        if gone and self._is_readable(os.path.dirname(path), picture.file_system):
            self._lose(picture)
            return False
        if picture.present:
            self._catalog.set_present(path, present=False)
        return picture.present

    def _lose(self, picture: Picture) -> None:
        """Record that a picture is lost, unless its bytes are here under another name."""
        for other in self._catalog.with_bytes_of(picture):
            if self._is_here(other) and self._catalog.merge(picture, other):
                text = f"renamed from {printable(picture.path)}"
                log_event(Kind.RENAMED, text, other, renamed_from=picture.path)
                return
        if self._catalog.lose(picture) is State.LOST:
            log_event(Kind.LOST, "gone from the card before it was sent", picture, state=State.LOST)

    def _is_here(self, picture: Picture) -> bool:
        """Return whether a picture's file looks as it did when it was read."""
        seen, known = self._scanner.look(picture.path), picture.fingerprint
        return seen is not None and known is not None and known.is_like(seen.fingerprint)

    def _is_readable(self, folder: str, file_system: str) -> bool:
        """Return whether a folder, or the nearest existing one above it, can be read on this file system."""
        while folder and not os.path.isdir(os.path.join(self._scanner.image_dir, folder)):
            folder = os.path.dirname(folder)
        try:
            with os.scandir(os.path.join(self._scanner.image_dir, folder)):
                return self._scanner.file_system(folder) == file_system
        except OSError:
            return False


def missed(known: Mapping[str, Picture]) -> set[str]:
    """Return the paths of the recorded files whose absence may be a loss."""
    return {path for path, picture in known.items() if picture.is_missed}


class UnchangedFiles:
    """Recorded files that were found with their bytes, but with another ctime, or after an absence. For one thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._ctimes: dict[str, Fingerprint] = {}
        self._back: list[str] = []
        self._unlogged: list[str] = []
        """files that are back, until that is logged"""

    def add(self, path: str, fingerprint: Fingerprint, known: Picture | None) -> None:
        """Add a file that has the recorded bytes, with its present fingerprint; `known` is its record."""
        before = None if known is None else known.known_fingerprint
        if before is None or before.ctime_ns != fingerprint.ctime_ns:
            self._ctimes[path] = fingerprint
        if known is not None and not known.present:
            self._back.append(path)

    def record_ctimes(self) -> list[str]:
        """Record the ctimes that changed; return the paths of their files. Raises StateError."""
        if self._ctimes:
            self._catalog.note_ctimes(self._ctimes)
        paths = list(self._ctimes)
        self._ctimes.clear()
        return paths

    def record_presence(self) -> bool:
        """Record the files that are back, so that they are sent; return whether there are any. Raises StateError."""
        if not self._back:
            return False
        with self._catalog.together():
            for path in self._back:
                self._catalog.set_present(path, present=True)
        self._unlogged += self._back
        self._back.clear()
        return True

    def log_presence(self) -> None:
        """Log how many files came back since the last call."""
        if self._unlogged:
            count, one = len(self._unlogged), self._unlogged[0]
            self._unlogged.clear()
            text = f"{counted(count, 'picture')} can be seen again, for example {printable(one)}"
            log_event(Kind.BACK, text, count=count, path=one, image=os.path.basename(one))
