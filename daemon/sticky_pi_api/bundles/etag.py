"""Compute the ETag that S3 gives a file; the files of bundles are compared and checked by it."""

from __future__ import annotations

import hashlib
import math
from typing import Final, Self

PART: Final = 8 * 2**20
"""Bytes of a part; larger files are sent in parts, and their ETag depends on this size"""

_OF_NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


class Etag:
    """The ETag of the blocks so far, as the text of this object.

    It is the md5 of the parts' md5s, a dash and the number of parts; for one part its plain md5; for no bytes ''.
    """

    def __init__(self, part: float = PART) -> None:
        if part < 1:
            raise ValueError(f"a part has {part} bytes; it must have at least 1")
        self._part = part
        self._left = part
        self._digest = hashlib.md5(usedforsecurity=False)
        self._parts: list[bytes] = []
        self._is_empty = True

    @classmethod
    def like(cls, etag: str) -> Self:
        """Begin one that can be compared with `etag`: one without a dash belongs to a file sent whole."""
        return cls(PART if "-" in etag else math.inf)

    def update(self, block: bytes) -> None:
        """Add the next bytes."""
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
        if not self._parts:
            return "" if self._is_empty else self._digest.hexdigest()
        parts = [*self._parts, self._digest.digest()]
        return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"

    def matches(self, etag: str) -> bool:
        """Return whether `etag`, in any of the forms that storages write, belongs to the same bytes."""
        plain = etag.strip('"').lower()
        return str(self) == ("" if plain == _OF_NOTHING else plain)
