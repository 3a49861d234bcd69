"""The outbox's memory of folders in which everything was known, for those who scan them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Self

from .codec import column, to_folder, to_path
from .database import Part
from .schema import IN_DOUBT

_LARGEST = 2**63 - 1


class Seen(NamedTuple):
    """How a folder looked."""

    inode: int
    mtime_ns: int
    ctime_ns: int
    at: float
    """Unix time: when it was looked at"""

    @classmethod
    def of(cls, status: os.stat_result, at: float) -> Self:
        """Take it from a folder's status."""
        return cls(status.st_ino & _LARGEST, status.st_mtime_ns, status.st_ctime_ns, at)

    def is_like(self, other: Seen) -> bool:
        """Tell whether it looked the same, whenever that was."""
        return self[:3] == other[:3]


NOT_SEEN: Final = Seen(0, 0, 0, 0.0)
"""How no folder looks: of one in which not everything is known"""


class Folders(Part):
    """What scans leave word of to later ones. None of it is durable: what is lost is read again."""

    def seen(self) -> dict[str, Seen]:
        """Map the folders that are known, relative to the image dir, to how they looked."""
        rows = self._database.rows("SELECT folder, inode, mtime_ns, ctime_ns, at FROM folders")
        with self._database.damage_told():
            return {folder: Seen(*looked) for folder, looked in map(to_folder, rows)}

    def in_doubt(self) -> set[str]:
        """Name the folders in which a file is to be looked at, whatever they look like."""
        rows = self._database.rows(f"SELECT DISTINCT folder FROM pictures WHERE {IN_DOUBT}")
        with self._database.damage_told():
            return {to_path(row[0]) for row in rows}

    def note(self, seen: Mapping[str, Seen], gone: Collection[str]) -> None:
        """Remember folders, and how they looked when everything in them was known; forget those that are gone."""
        with self._database.writing(durable=False) as connection:
            connection.executemany("DELETE FROM folders WHERE folder = ?", [(column(folder),) for folder in gone])
            connection.executemany(
                "INSERT OR REPLACE INTO folders (folder, inode, mtime_ns, ctime_ns, at) VALUES (?, ?, ?, ?, ?)",
                [(column(folder), *each) for folder, each in seen.items()],
            )

    def forget(self) -> None:
        """Have all folders read again."""
        with self._database.writing(durable=False) as connection:
            connection.execute("DELETE FROM folders")
