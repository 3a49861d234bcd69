"""Verify that a destination still holds pictures: the md5 of its database, and the stored object if it can be read.

The object in a server's storage can have been overwritten since by another client's refused duplicate, while the
database keeps the first one's md5: only the object itself shows that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sticky_pi_api.types import Info, Row, key_of, make_key


class Holding(StrEnum):
    """How a destination holds a picture."""

    CONFIRMED = "confirmed"
    """the row has the md5, and the stored object's bytes are that picture's"""
    ROW_ONLY = "row only"
    """the row has the md5; this client can't inspect the stored object"""
    OVERWRITTEN = "overwritten"
    """the row has the md5, but the stored object is another one, or is missing"""
    OTHER = "other"
    """the row has another md5"""
    SAME_DISK = "same disk"
    """the object is that picture, but lies on the same file system as the claimed one: it is no second copy"""
    ABSENT = "absent"
    """there is no row"""


class Claim(NamedTuple):
    """A picture that a destination should hold."""

    device: str
    datetime: datetime
    """naive, UTC"""
    md5: str
    size: int
    """bytes"""
    file_system: str | None = None
    """the id of the picture's file system, where the copy has to be on another one"""


class StoredObject(NamedTuple):
    """What a storage says of a stored object, without fetching it whole."""

    size: int | None
    """bytes"""
    md5: str | None
    """None where the storage doesn't report it"""
    file_system: str | None = None
    """the id of its file system; None where it isn't on this machine"""

    def is_of(self, claim: Claim) -> bool | None:
        """Return whether it is the claimed picture, or None if unknown."""
        if self.size not in (None, claim.size) or self.md5 not in (None, claim.md5):
            return False
        return None if self.md5 is None else True


Ask = Callable[[Iterable[Info], str], list[Row]]
"""A client's get_images"""

Look = Callable[[str], StoredObject | None]
"""Return the object behind a row's url; None where it can't be inspected. Raises FileNotFoundError where it is gone"""


def verify(ask: Ask, look: Look, claims: Sequence[Claim]) -> list[Holding]:
    """Return how each claimed picture is held, asked for in one question. Raises the errors of `ask` and `look`."""
    info = [{"device": claim.device, "datetime": claim.datetime} for claim in claims]
    rows = {key_of(row): row for row in (ask(info, "image") if info else [])}
    return [_verify(claim, rows.get(make_key(claim.device, claim.datetime)), look) for claim in claims]


def _verify(claim: Claim, row: Mapping[str, object] | None, look: Look) -> Holding:
    if row is None:
        return Holding.ABSENT
    if row["md5"] != claim.md5:
        return Holding.OTHER
    try:
        stored = look(str(row.get("url") or ""))
    except FileNotFoundError:
        return Holding.OVERWRITTEN
    if stored is None or (is_claimed := stored.is_of(claim)) is None:
        return Holding.ROW_ONLY
    if not is_claimed:
        return Holding.OVERWRITTEN
    is_beside = claim.file_system is not None and stored.file_system == claim.file_system
    return Holding.SAME_DISK if is_beside else Holding.CONFIRMED
