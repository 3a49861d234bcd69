"""Types of the client library's arguments and results: keys, rows, requests, and the outcome of each picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import IO, Any, Final, NamedTuple

FilePath = str | os.PathLike[str]
"""Where a file is; bytes that are not UTF-8 as surrogate escapes"""

FileOrPath = FilePath | IO[bytes]
"""A file, by its path or opened for reading bytes"""

DatetimeLike = datetime | str
"""UTC: a naive datetime, `YYYY-MM-DD_HH-MM-SS` or `YYYY-MM-DDTHH:MM:SSZ`"""

Key = tuple[str, datetime]
"""A picture's key: its device in lower case, and when it was taken, naive in UTC"""

EARLIEST: Final = datetime(2019, 11, 1)  # noqa: DTZ001 - naive datetimes are UTC throughout
"""A picture or a clock of before this datetime was never right: there were no traps"""

Info = Mapping[str, Any]
"""One entry of a request, such as `{"device": …, "datetime": …}`"""

Row = dict[str, Any]
"""One row of an answer: the columns of the table by name, datetimes naive in UTC, and `url`"""


def make_key(device: str, when: datetime) -> Key:
    """Return the key of a picture of a device, in any case, and a datetime."""
    return device.lower(), when


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the key of a row, or of a parsed picture."""
    return make_key(row["device"], row["datetime"])


class Outcome(StrEnum):
    """The outcome of one picture of a `put_images`."""

    STORED = "stored"
    """the destination holds it now, and didn't before"""
    HELD = "held"
    """the destination held the same bytes already"""
    CONFLICT = "conflict"
    """the destination holds another picture under the same device and datetime"""
    REFUSED = "refused"
    """it can't be stored as it is; nothing was wrong with the destination"""
    DOUBTFUL = "doubtful"
    """it went out, and no answer said whether it was stored"""
    UNSENT = "unsent"
    """it was not stored, for a reason that is not the picture's: it may go later as it is"""


class Blame(StrEnum):
    """The cause to which an error is ascribed."""

    PICTURE = "picture"
    """it fails wherever and whenever it is sent"""
    ACCOUNT = "account"
    """nothing is stored until somebody sees to the user's name, password or rights"""
    DESTINATION = "destination"
    """nothing is stored until the destination, or the way there, works again"""
    NOTHING = "nothing"
    """nothing yet: it can't be told from this alone"""


class ImageOutcome(NamedTuple):
    """One picture of a `put_images`, and its outcome."""

    file: str
    """its path as it was given, or the file name of a parsed picture that has no path"""
    outcome: Outcome
    row: Row | None = None
    """the destination's metadata, where it holds the picture or another one under the same key"""
    error: Exception | None = None
    """why, where the outcome is neither stored nor held"""
    seconds: float | None = None
    """how long its upload took, logging in and asking first apart; None where a server got none"""
