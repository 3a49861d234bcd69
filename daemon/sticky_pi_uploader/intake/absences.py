"""Recorded files that aren't in their place any more: each is lost, or away with its disk or folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sticky_pi_api.exceptions import printable

from ..journal.events import Kind, about
from ..models import State
from ..outbox import Catalog, Known
from .scanner import Scanner

log = logging.getLogger(__name__)

ABSENCES: Final = 64
"""Files that aren't there any more, dealt with in one step."""


class Absences:
    """The recorded files that weren't found in their place; for one thread."""

    def __init__(self, scanner: Scanner, catalog: Catalog) -> None:
        """Start with none."""
        self._scanner = scanner
        self._catalog = catalog
        self._absent: set[str] = set()
        self._away: list[str] = []
        """files that are away, until that is logged"""

    def __bool__(self) -> bool:
        """Tell whether some are still to be recorded."""
        return bool(self._absent)

    def add(self, paths: Iterable[str]) -> None:
        """Note the paths of files that weren't found, recorded or not."""
        self._absent.update(paths)

    def record(self) -> None:
        """Record some of the files as lost or away, in one transaction. Raises StateError."""
        if not self._absent:
            return
        with self._catalog.together():
            self._away += [path for path in _pop_some(self._absent, ABSENCES) if self._is_away(path)]
        if self._away and not self._absent:
            count, one = len(self._away), self._away[0]
            self._away.clear()
            log.warning(
                "%d pictures can't be seen, as their disk or folder can't: they are sent when it is back; %s is one",
                count,
                printable(one),
                extra=about(Kind.AWAY, count=count, path=one, image=os.path.basename(one)),
            )

    def _is_away(self, path: str) -> bool:
        """Call a picture lost where its folder can be read on the file system it was on; else it is just away."""
        if self._scanner.look(path) is not None or self._scanner.is_leaving(path):
            return False
        # In this order: what was removed meanwhile is recorded as such by now.
        gone = self._scanner.is_gone(path)
        known, picture = self._catalog.known_at(path), self._catalog.at(path)
        if known is None or picture is None or not known.missed:
            return False
        if gone and self._is_readable(os.path.dirname(path), picture.file_system):
            if self._catalog.lose(picture):
                extra = about(Kind.LOST, picture, state=State.LOST)
                log.warning("%s: gone from the card before it was sent", printable(path), extra=extra)
            return False
        if known.present:
            self._catalog.set_present(path, present=False)
        return known.present

    def _is_readable(self, folder: str, file_system: str) -> bool:
        """Tell whether a folder, or where it is gone the one above it, can be read on the file system it was on."""
        while folder and not os.path.isdir(os.path.join(self._scanner.image_dir, folder)):
            folder = os.path.dirname(folder)
        try:
            with os.scandir(os.path.join(self._scanner.image_dir, folder)):
                return self._scanner.file_system(folder) == file_system
        except OSError:
            return False


def missed(known: Mapping[str, Known]) -> set[str]:
    """Return the paths of the recorded files whose absence may be a loss."""
    return {path for path, record in known.items() if record.missed}


def _pop_some(paths: set[str], most: int) -> Iterator[str]:
    while paths and most > 0:
        most -= 1
        yield paths.pop()
