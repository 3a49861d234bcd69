"""Record how folders looked when all their files were recorded, so that scans can skip them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, Self

from .codec import column, to_folder, to_path
from .database import Part
from .schema import IN_DOUBT

_LARGEST = 2**63 - 1


class Seen(NamedTuple):
    """The fields of a folder's status that show whether it changed."""

    inode: int
    mtime_ns: int
    ctime_ns: int
    at: float
    """Unix time of the look"""

    @classmethod
    def of(cls, status: os.stat_result, at: float) -> Self:
        """Return the fields of a folder's status, which was read at a Unix time."""
        return cls(status.st_ino & _LARGEST, status.st_mtime_ns, status.st_ctime_ns, at)

    def is_like(self, other: Seen) -> bool:
        """Return whether the folder looked the same, apart from the time of the look."""
        return self[:3] == other[:3]


NOT_SEEN: Final = Seen(0, 0, 0, 0.0)
"""A record that equals no folder: some of its files aren't recorded yet"""


class Folders(Part):
    """Folder records for later scans. They aren't durable: a lost record costs one more read."""

    def seen(self) -> dict[str, Seen]:
        """Map the recorded folders, relative to the image dir, to their records."""
        rows = self._database.rows("SELECT folder, inode, mtime_ns, ctime_ns, at FROM folders")
        with self._database.damage_told():
            return {folder: Seen(*looked) for folder, looked in map(to_folder, rows)}

    def in_doubt(self) -> set[str]:
        """Return the folders to read even if they look unchanged."""
        rows = self._database.rows(f"SELECT DISTINCT folder FROM pictures WHERE {IN_DOUBT}")
        with self._database.damage_told():
            return {to_path(row[0]) for row in rows}

    def note(self, seen: Mapping[str, Seen], gone: Collection[str]) -> None:
        """Record folders whose files are all recorded, or NOT_SEEN; delete the records of folders that are gone."""
        with self._database.writing(durable=False) as connection:
            connection.executemany("DELETE FROM folders WHERE folder = ?", [(column(folder),) for folder in gone])
            connection.executemany(
                "INSERT OR REPLACE INTO folders (folder, inode, mtime_ns, ctime_ns, at) VALUES (?, ?, ?, ?, ?)",
                [(column(folder), *each) for folder, each in seen.items()],
            )

    def forget(self) -> None:
        """Delete all records, so that the next scan reads every folder."""
        with self._database.writing(durable=False) as connection:
            connection.execute("DELETE FROM folders")
