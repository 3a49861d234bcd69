"""Notices that a file or folder that a session relies on was replaced: mounted over, moved, or its link was turned."""

from __future__ import annotations

from collections.abc import Collection

from sticky_pi_api.filesystem.safe_open import file_id

_Identity = tuple[int, int] | None


class Originals:
    """What lay at some paths at the beginning."""

    def __init__(self, needed: Collection[str], optional: Collection[str] = ()) -> None:
        """Remember what lies there now; of the `optional` paths, what lies there first: it may come, go and return."""
        self._needed = {path: _identity(path) for path in needed}
        self._optional = {path: _identity(path) for path in optional}

    def are_replaced(self) -> bool:
        """Tell whether something else lies there now."""
        replaced = [path for path in self._optional if self._is_replaced(path)]
        return bool(replaced) or any(_identity(path) != original for path, original in self._needed.items())

    def _is_replaced(self, path: str) -> bool:
        now, before = _identity(path), self._optional[path]
        self._optional[path] = before or now
        return None not in (before, now) and before != now


def _identity(path: str) -> _Identity:
    try:
        return file_id(path)
    except OSError:
        return None
