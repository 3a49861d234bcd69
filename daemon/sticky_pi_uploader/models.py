"""The values that the parts of the daemon exchange: files, pictures, their states, and the destination."""

# Without `from __future__ import annotations`: to parse each field's type from text takes a part of a cold start.
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from .wording import held


class State(StrEnum):
    """The state of a picture; the table of transitions is at the top of `outbox`."""

    PENDING = "pending"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    LOST = "lost"


UNSENT: Final = (State.PENDING, State.CONFLICT, State.REJECTED)
"""States of pictures that exist only on the card"""

TO_LOOK_AT: Final = (State.CONFLICT, State.REJECTED, State.LOST)
"""States of pictures that call for a person's attention, until they are dismissed or removed"""


class ReasonCode(StrEnum):
    """The kind of a picture's reason, if it decides something; the text is only for people, and may change."""

    CLASH = "clash"
    """the destination holds another picture with its device and time"""
    CUT_SHORT = "cut_short"
    """the power failed while its file was written, so that nobody can do anything"""
    DAMAGED = "damaged"
    """its EXIF, header or data are damaged, or changed while they were read; it may well be a picture"""
    NO_CLOCK = "no_clock"
    """its name has a date from a clock that wasn't set; it may well be a picture"""


class DestinationState(StrEnum):
    """The result of the last request to the destination."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_AN_API = "not_an_api"
    REFUSING = "refusing"
    UNKNOWN = "unknown"


SAYINGS: Final = {
    DestinationState.OK: "takes pictures",
    DestinationState.UNREACHABLE: "is unreachable",
    DestinationState.UNAUTHORIZED: "doesn't accept the account",
    DestinationState.NOT_AN_API: "isn't a Sticky Pi API",
    DestinationState.REFUSING: "takes no pictures",
    DestinationState.UNKNOWN: "hasn't taken a picture yet",
}
"""The words for each state of a destination, after its address"""


class HoldCause(StrEnum):
    """The rule by which the queue is held."""

    HOURS = "hours"
    BATTERY = "battery"


class Hold(NamedTuple):
    """A time in which nothing is sent, and the reason; `decide` in `budget.hold` makes it."""

    cause: HoldCause
    reason: str
    since: float
    """Unix time"""
    until: float | None
    """Unix time; None where nobody can know it"""

    def __str__(self) -> str:
        """Return the line that every command, the journal and the service's status have about it."""
        return held(self.reason, self.until)


class Fingerprint(NamedTuple):
    """The fields of a file's status that show, without reading the file, whether it changed."""

    size: int
    """bytes"""
    mtime_ns: int
    """nanoseconds since 1970"""
    inode: int
    ctime_ns: int | None = None
    """time of the last change of contents or status, in the same unit; None if an earlier release didn't record it"""

    def is_same(self, other: Self) -> bool:
        """Return whether nothing changed; the ctime is compared only if both have one."""
        return self == other or (self.is_like(other) and None in (self.ctime_ns, other.ctime_ns))

    def is_like(self, other: Self) -> bool:
        """Return whether nothing but the ctime changed, as after a rename or `chmod`."""
        return self[:3] == other[:3]


class Candidate(NamedTuple):
    """A regular file named like a picture, as a scan or an event found it."""

    path: str
    """relative to the image dir; bytes that are not UTF-8 as surrogate escapes"""
    fingerprint: Fingerprint
    md5: str | None = None
    """the recorded md5, if only the ctime changed since: then the file may only have to be hashed"""


class Taken(NamedTuple):
    """A file that was read: a picture to be sent, or, with `rejected`, the reason why it can't be sent."""

    path: str
    fingerprint: Fingerprint | None
    """None if the file couldn't be read: then each scan reads it again"""
    file_system: str
    """the id of its file system, from `file_system_id`"""
    device: str | None = None
    datetime: str | None = None
    """UTC, YYYY-MM-DDTHH:MM:SSZ, from the file name"""
    md5: str | None = None
    metadata: Mapping[str, Any] | None = None
    """the fields of `ImageParser` that JSON can hold, without device, datetime, filename and md5"""
    suspect: str | None = None
    rejected: str | None = None
    clock_synchronised: bool | None = None
    """whether a time server had set the trap's clock; None if that is unknown"""


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
    """failed attempts in a row that weren't the destination's fault; its waits grow with them"""
    failed_since: int | None
    """pictures that the destination had taken when an attempt first failed; None if none failed"""
    refused_after: int | None
    """the same at the last refusal that may be the picture's fault; None if there was none"""
    not_before: float | None
    """Unix time before which it isn't tried again"""
    reason: str | None
    receipt_md5: str | None
    uploaded_at: float | None
    removed_at: float | None
    """Unix time at which its file was removed from the card, or, where it is no picture, found to be gone"""
    dismissed_at: float | None
    """Unix time at which a person acknowledged its state; None in states that call for no attention"""
    suspect: str | None
    metadata: Mapping[str, Any] | None
    fingerprint: Fingerprint | None
    file_system: str
    clock_synchronised: bool | None
    """whether a time server had set the trap's clock when it was taken in; None if that is unknown"""
    reason_code: ReasonCode | None = None
    got_md5: str | None = None
    """the md5 of other bytes that the destination said it got when the picture was last sent"""
    present: bool = True
    """whether its file was there at the last look"""
    recheck: bool = False
    """whether its file is to be read even if it looks unchanged"""
    urgent: bool = False
    """whether a person asked for it, so that it is sent in spite of a hold"""

    @property
    def known_fingerprint(self) -> Fingerprint | None:
        """The fingerprint of its file; None if the file is to be read even if it looks unchanged."""
        # A removed file that is there after all is to be read, and counts as present then.
        unread = self.recheck or self.state is State.LOST or self.removed_at is not None
        return None if unread else self.fingerprint

    def is_unchanged(self, fingerprint: Fingerprint) -> bool:
        """Return whether a file with this fingerprint needn't be read."""
        known = self.known_fingerprint
        return known is not None and known.is_same(fingerprint)

    def md5_if_like(self, fingerprint: Fingerprint) -> str | None:
        """Return the md5 of its file if only the ctime changed; None if more did."""
        known = self.known_fingerprint
        return self.md5 if known is not None and known.is_like(fingerprint) else None

    @property
    def is_missed(self) -> bool:
        """Return whether its absence may be a loss: it isn't uploaded, or that is unknown until its outcome is."""
        return self.removed_at is None and self.state in (*UNSENT, State.UPLOADING)

    @property
    def waits_for_hold(self) -> bool:
        """Return whether a hold keeps it from being sent."""
        return self.state is State.PENDING and not self.urgent

    @property
    def needs_attention(self) -> bool:
        """Return whether a person should look at it."""
        is_over = self.removed_at is not None or self.dismissed_at is not None
        return self.state in TO_LOOK_AT and not is_over and self.reason_code is not ReasonCode.CUT_SHORT

    @property
    def is_no_picture(self) -> bool:
        """Return whether its file was read and can't be sent, so that its absence is no loss.

        Where it is damaged, or has a date from a clock that wasn't set, it may well be a picture.
        """
        is_rejected_here = self.state is State.REJECTED and self.attempts == 0 and self.fingerprint is not None
        return is_rejected_here and self.reason_code not in (ReasonCode.DAMAGED, ReasonCode.NO_CLOCK)


class Event(NamedTuple):
    """One step of a picture's history."""

    at: float
    """Unix time"""
    state: State
    why: str


class Destination(NamedTuple):
    """The configured destination, and the result of the last request to it."""

    url: str
    state: DestinationState = DestinationState.UNKNOWN
    reason: str | None = None
    retry_at: float | None = None
    """Unix time before which no request is sent to it"""
    failures: int = 0
    """in a row"""
    holds_all: bool = True
    """whether pictures that were never tried wait until then, too"""
    answered: bool = False
    """whether the destination itself reported its trouble: then the network isn't the cause"""
