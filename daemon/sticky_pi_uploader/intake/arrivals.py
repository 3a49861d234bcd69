"""Keeps in mind what is recorded in the folder to which pictures come: a new one then asks the outbox nothing."""

from __future__ import annotations

import os
from typing import Final

from ..outbox import Catalog, Known

MOST: Final = 1000
"""Pictures in a folder beyond which they aren't kept in mind: a day has 72, but all may lie in one folder"""


class Arrivals:
    """The folder of the last arrivals, for the one who records. What others record there is only read once more."""

    def __init__(self, catalog: Catalog) -> None:
        """Know nothing yet."""
        self._catalog = catalog
        self._folder: str | None = None
        self._is_first = False
        self._paths: set[str] | None = None
        """what is recorded in the folder; None where the outbox is asked for each"""

    def known_at(self, path: str) -> Known | None:
        """Tell what is known of the path of an arrival."""
        if (folder := os.path.dirname(path)) != self._folder:
            self._folder, self._is_first, self._paths = folder, True, None
        elif self._is_first:
            # Not sooner: they may come to several folders in turn.
            self._is_first = False
            self._paths = set(self._catalog.known_in(folder))
            self._forget_many()
        if self._paths is not None and path not in self._paths:
            return None
        return self._catalog.known_at(path)

    def know(self, path: str) -> None:
        """Note that a path is recorded now."""
        if self._paths is not None and os.path.dirname(path) == self._folder:
            self._paths.add(path)
            self._forget_many()

    def _forget_many(self) -> None:
        if self._paths is not None and len(self._paths) > MOST:
            self._paths = None
