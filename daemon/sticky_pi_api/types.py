"""Types of the client library's arguments and results: keys, rows, requests, and the outcome of each picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import IO, Any, Final, NamedTuple

FilePath = str | os.PathLike[str]
"""The path of a file; bytes that aren't UTF-8 are surrogate escapes"""

FileOrPath = FilePath | IO[bytes]
"""The path of a file, or a file opened for reading bytes"""

DatetimeLike = datetime | str
"""UTC: a naive datetime, `YYYY-MM-DD_HH-MM-SS` or `YYYY-MM-DDTHH:MM:SSZ`"""

Key = tuple[str, datetime]
"""A picture's key: its device in lower case, and its datetime, naive in UTC"""

EARLIEST: Final = datetime(2019, 11, 1)  # noqa: DTZ001 - naive datetimes are UTC throughout
"""Before this datetime there were no traps: an earlier picture or clock is wrong"""

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
    """it can't be stored; the destination works"""
    DOUBTFUL = "doubtful"
    """it was sent, and it isn't known whether it was stored"""
    UNSENT = "unsent"
    """it wasn't stored, for another reason than the picture: it may be stored later"""


class Blame(StrEnum):
    """The cause to which an error is ascribed."""

    PICTURE = "picture"
    """it fails at every destination"""
    ACCOUNT = "account"
    """nothing is stored until the user's name, password or rights are corrected"""
    DESTINATION = "destination"
    """nothing is stored until the destination, or the network, works again"""
    NOTHING = "nothing"
    """unknown from this error alone"""


class ImageOutcome(NamedTuple):
    """One picture of a `put_images`, and its outcome."""

    file: str
    """its given path, or the file name of a parsed picture without a path"""
    outcome: Outcome
    row: Row | None = None
    """the destination's row, where it holds the picture or another one under the same key"""
    error: Exception | None = None
    """the reason, where the outcome is neither stored nor held"""
    seconds: float | None = None
    """seconds that its upload to a server took, without login and questions before it"""
