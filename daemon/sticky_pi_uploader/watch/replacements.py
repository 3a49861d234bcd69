"""Detect that a file or folder was replaced: mounted over, moved, or reached through a link that was changed."""

from __future__ import annotations

from collections.abc import Collection

from sticky_pi_api.filesystem.safe_open import file_id


class ReplacementDetector:
    """The files and folders at some paths, compared with the first ones that were there."""

    def __init__(self, needed: Collection[str], optional: Collection[str] = ()) -> None:
        """Remember the present files and folders; an `optional` one may also appear later, vanish and return."""
        self._needed = {path: _identity(path) for path in needed}
        self._optional = {path: _identity(path) for path in optional}

    def has_found(self) -> bool:
        """Return whether a path now leads to another file or folder, or a needed one is gone."""
        replaced = [path for path in self._optional if self._is_replaced(path)]
        return bool(replaced) or any(_identity(path) != first for path, first in self._needed.items())

    def _is_replaced(self, path: str) -> bool:
        now, first = _identity(path), self._optional[path]
        self._optional[path] = first or now
        return None not in (first, now) and first != now


def _identity(path: str) -> tuple[int, int] | None:
    try:
        return file_id(path)
    except OSError:
        return None
