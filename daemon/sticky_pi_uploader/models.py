"""What the daemon's parts hand to each other: a picture's state, its record, and the destination's."""

# Without `from __future__ import annotations`: to parse each field's type from text takes a part of a cold start.
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self


class State(StrEnum):
    """What became of a picture; the table of transitions stands at the top of `outbox`."""

    PENDING = "pending"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    LOST = "lost"


class DestinationState(StrEnum):
    """How the destination answered when it was last asked."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_AN_API = "not_an_api"
    REFUSING = "refusing"
    UNKNOWN = "unknown"


class Fingerprint(NamedTuple):
    """What tells, without reading it, that a file is still the one that was read."""

    size: int
    """bytes"""
    mtime_ns: int
    """nanoseconds since 1970, as the file system has it"""
    inode: int
    ctime_ns: int | None = None
    """the same of the last change of anything, contents or status; None where an earlier release took no note of it"""

    def is_same(self, other: Self) -> bool:
        """Tell whether nothing changed, as far as both tell."""
        return self == other or (self.is_like(other) and None in (self.ctime_ns, other.ctime_ns))

    def is_like(self, other: Self) -> bool:
        """Tell whether nothing changed but perhaps the ctime, as by a rename or `chmod`."""
        return self[:3] == other[:3]


class Candidate(NamedTuple):
    """A regular file named like a picture, as a scan or an event found it."""

    path: str
    """relative to the image dir; bytes that are not UTF-8 as surrogate escapes"""
    fingerprint: Fingerprint
    md5: str | None = None
    """what it was when it was recorded, where nothing but its ctime changed since: hashing it may be enough"""


class Taken(NamedTuple):
    """What ingest made of one candidate: a picture to be sent, or, with `rejected`, why it can't be."""

    path: str
    fingerprint: Fingerprint | None
    """None where the file couldn't be read: it is looked at again at every scan"""
    file_system: str
    """which file system it lies on, as `filesystem.file_system_id` says"""
    device: str | None = None
    datetime: str | None = None
    """UTC, YYYY-MM-DDTHH:MM:SSZ, from the file name"""
    md5: str | None = None
    metadata: Mapping[str, Any] | None = None
    """the fields of `ImageParser` that JSON can hold, without device, datetime, filename and md5"""
    suspect: str | None = None
    rejected: str | None = None
    clock_synchronised: bool | None = None
    """whether the trap's clock was synchronised with a time server's; None: nobody knows"""


class Picture(NamedTuple):
    """One picture's row in the outbox."""

    id: int
    path: str
    device: str | None
    datetime: str | None
    md5: str | None
    state: State
    attempts: int
    """refusals charged to the picture"""
    misses: int
    """failed tries in a row for which the destination as a whole wasn't to blame: its waits grow with them"""
    failed_since: int | None
    """how many pictures the destination had taken when a try first failed; None: none did"""
    refused_after: int | None
    """how many it had taken at the last refusal that may be the picture's fault; None: there was none"""
    not_before: float | None
    """Unix time before which it isn't tried again"""
    reason: str | None
    receipt_md5: str | None
    uploaded_at: float | None
    removed_at: float | None
    suspect: str | None
    metadata: Mapping[str, Any] | None
    fingerprint: Fingerprint | None
    file_system: str
    clock_synchronised: bool | None
    """whether the trap's clock was synchronised with a time server's when it was taken in; None: nobody knows"""


class Event(NamedTuple):
    """One step of a picture's history."""

    at: float
    """Unix time"""
    state: State
    why: str


class Destination(NamedTuple):
    """The configured destination, and how it answered when it was last asked."""

    url: str
    state: DestinationState = DestinationState.UNKNOWN
    reason: str | None = None
    retry_at: float | None = None
    """Unix time before which it isn't asked again"""
    failures: int = 0
    """in a row"""
    holds_all: bool = True
    """whether until then pictures wait too that were never tried"""
    answered: bool = False
    """whether it said so itself, or for how long to wait: then its trouble isn't the network's"""
