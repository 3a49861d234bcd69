"""Compute the ETag that S3 gives a file, by which the files of bundles are compared and checked."""

from __future__ import annotations

import hashlib
import math
from typing import Final, Self

PART: Final = 8 * 2**20
"""Bytes of a part, by which files that are larger get their ETag"""

_OF_NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


class Etag:
    """The ETag of the blocks given so far, as the text of this object."""

    def __init__(self, part: float = PART) -> None:
        """Begin a file that is sent in parts of so many bytes."""
        if part < 1:
            raise ValueError(f"a part of {part} bytes is none; it must be at least 1")
        self._part = part
        self._left = part
        self._digest = hashlib.md5(usedforsecurity=False)
        self._parts: list[bytes] = []
        self._is_empty = True

    @classmethod
    def like(cls, etag: str) -> Self:
        """Begin one that can be compared with `etag`: without a dash, that is of a file sent whole, however large."""
        return cls(PART if "-" in etag else math.inf)

    def update(self, block: bytes) -> None:
        """Take the next bytes."""
        rest = memoryview(block)
        while rest:
            self._is_empty = False
            if not self._left:
                self._parts.append(self._digest.digest())
                self._digest = hashlib.md5(usedforsecurity=False)
                self._left = self._part
            piece = rest[: int(min(self._left, len(rest)))]
            self._digest.update(piece)
            self._left -= len(piece)
            rest = rest[len(piece) :]

    def __str__(self) -> str:
        """Return the md5 of the parts' md5s, a dash and their number; of one part its plain md5; of nothing ''."""
        if not self._parts:
            return "" if self._is_empty else self._digest.hexdigest()
        parts = [*self._parts, self._digest.digest()]
        return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"

    def matches(self, etag: str) -> bool:
        """Return whether `etag`, in whatever way a store writes that, is of the same bytes."""
        return str(self) == _plain(etag)


def _plain(etag: str) -> str:
    plain = etag.strip('"').lower()
    return "" if plain == _OF_NOTHING else plain
