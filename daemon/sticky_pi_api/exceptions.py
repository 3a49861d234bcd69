"""Exceptions of this package; their messages are for the people who look after traps.

                                 blames
StickyPiError
├── ImageError (a ValueError)    picture      one picture can't be used
│   ├── FilenameError                         its name isn't <device>.<YYYY-MM-DD_HH-MM-SS>.jpg, or an impossible time
│   ├── DamagedImageError                     its bytes aren't a whole JPEG picture that decodes
│   ├── MetadataError                         its EXIF isn't what a Sticky Pi writes: the server would refuse it
│   ├── TooLargeError                         it is larger than any server is meant to take
│   └── ImageChangedError        nothing      the file is no longer the one that was parsed
├── ConflictError                picture      another picture is held under the same device and datetime
├── StoreError                   destination  the store can't be opened, read or written
├── RemoteError                  destination  the server didn't do what it was asked to
│   ├── UnreachableError                      no answer: no name, no route, no connection, or it broke or took too long
│   │   ├── CertificateError                  the server can't prove its identity
│   │   └── ClockNotSetError     nothing      the certificate isn't valid yet by the trap's clock
│   ├── StrayLinkError                        a link of the server leads to this machine, or its own network segment
│   ├── UnavailableError                      it answers that it can't do it now
│   │   └── RequestTooLargeError              the web server before it takes none of this size; smaller may pass
│   ├── NotAnAPIError                         the answer isn't a Sticky Pi API's
│   │   └── AnswerTooLargeError               its answer is larger than any that is read
│   ├── AccountError             account      it doesn't accept the user, or not for this
│   ├── RefusedError             nothing      it refused the request without saying why
│   ├── DoubtfulError            destination  a request went out, and it isn't known whether it was stored
│   └── BrokenOffError           nothing      the caller cancelled the request
├── BundleError (a ValueError)   nothing      a bundle, or a file of one, can't be used: its name, its key, its bytes
└── PutImagesError               nothing      some pictures of a `put_images` failed
ConflictWarning (a UserWarning)
NoBundleWarning (a UserWarning)

Every StickyPiError has `blame`, and `retry_after`: the seconds after which to try again, or None if unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sticky_pi_api.types import Blame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sticky_pi_api.types import ImageOutcome, Row


def printable(text: str) -> str:
    """Return `text` with control characters and undecodable bytes escaped, as terminals and logs need it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class StickyPiError(Exception):
    """Base class of all errors that this package raises on purpose."""

    blame: Blame = Blame.NOTHING
    retry_after: float | None = None


class ImageError(StickyPiError, ValueError):
    """One picture can't be used: `file` is its path or name, `reason` says why.

    `md5` is the checksum of its bytes, or None where they weren't read.
    """

    blame = Blame.PICTURE

    def __init__(self, file: str, reason: str, md5: str | None = None) -> None:
        super().__init__(file, reason, md5)
        self.file = file
        self.reason = reason
        self.md5 = md5

    def __str__(self) -> str:
        return f"{printable(self.file)}: {self.reason}"


class FilenameError(ImageError):
    """The name isn't <device>.<YYYY-MM-DD_HH-MM-SS>.jpg, or its datetime is impossible."""


class DamagedImageError(ImageError):
    """The bytes aren't a whole JPEG picture that decodes, or are more than any server takes."""


class MetadataError(ImageError):
    """The EXIF isn't what a Sticky Pi writes: the server would refuse the picture."""


class TooLargeError(ImageError):
    """The picture is larger than any server is meant to take."""


class ImageChangedError(ImageError):
    """The file is no longer the one that was parsed."""

    blame = Blame.NOTHING


class ConflictError(StickyPiError):
    """Another picture, with the md5 `held_md5`, is held under the same device and datetime; it is never overwritten."""

    blame = Blame.PICTURE

    def __init__(self, file: str, held_md5: str) -> None:
        super().__init__(file, held_md5)
        self.file = file
        self.held_md5 = held_md5

    def __str__(self) -> str:
        return (
            f"{printable(self.file)}: another picture (md5 {printable(self.held_md5)}) is held under this device and "
            "datetime; it was not overwritten"
        )


class StoreError(StickyPiError):
    """The store can't be opened, read or written; the message names its folder.

    `whole_store` is False where only the place of one picture is concerned, so that others may still be stored.
    """

    blame = Blame.DESTINATION

    def __init__(self, message: str, *, whole_store: bool = True) -> None:
        super().__init__(message)
        self.whole_store = whole_store


class RemoteError(StickyPiError):
    """The server didn't do what it was asked for; the message names its address."""

    blame = Blame.DESTINATION

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(RemoteError):
    """No answer came: no name, no route, no connection, or it broke or took too long."""


class CertificateError(UnreachableError):
    """The server can't prove its identity; nothing was sent to it."""


class ClockNotSetError(UnreachableError):
    """By the trap's clock, the server's certificate isn't valid yet; this ends as soon as the clock is set."""

    blame = Blame.NOTHING


class StrayLinkError(RemoteError):
    """A link of the server leads to this machine, or its own network segment, where the server isn't."""


class UnavailableError(RemoteError):
    """The server answers that it can't do it now."""


class RequestTooLargeError(UnavailableError):
    """The web server in front of the API takes no request of `size` bytes; smaller ones may pass."""

    def __init__(self, message: str, size: int, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.size = size


class NotAnAPIError(RemoteError):
    """The answer isn't a Sticky Pi API's, but that of a captive portal, a proxy or another site."""


class AnswerTooLargeError(NotAnAPIError):
    """The answer is larger than any that is read: it isn't a Sticky Pi API's, or too much was asked for at once."""


class AccountError(RemoteError):
    """The server doesn't accept the user, or not for this."""

    blame = Blame.ACCOUNT


class RefusedError(RemoteError):
    """The server refused a request without saying why; the cause may be the server or the picture."""

    blame = Blame.NOTHING


class DoubtfulError(RemoteError):
    """A request went out, and it isn't known whether it was stored; `end` is the error that ended it.

    Ask for it again after `retry_after`.
    """

    def __init__(self, message: str, end: RemoteError, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.end = end


class BrokenOffError(RemoteError):
    """The caller cancelled the request, or closed the client, before the server was silent for long."""

    blame = Blame.NOTHING


class BundleError(StickyPiError, ValueError):
    """A machine-learning bundle, or a file of one, can't be used; the message names it and says why."""


class PutImagesError(StickyPiError):
    """Some pictures failed: `stored` has the rows of the stored ones, `failures` the outcomes of the others."""

    def __init__(self, stored: Sequence[Row], failures: Sequence[ImageOutcome]) -> None:
        super().__init__(stored, failures)
        self.stored = list(stored)
        self.failures = list(failures)

    def __str__(self) -> str:
        shown = 10
        lines = [str(failure.error) for failure in self.failures[:shown]]
        if more := len(self.failures) - len(lines):
            lines.append(f"and {more} more")
        return "\n".join([f"{len(self.failures)} not stored, {len(self.stored)} stored", *lines])


class ConflictWarning(UserWarning):
    """A picture wasn't stored because another one is held under its device and datetime."""


class NoBundleWarning(UserWarning):
    """There is no machine-learning bundle of a name, or it has no such files."""


class UnclearEndError(Exception):
    """An upload ended with an error, `end`, after which the picture may be stored.

    `whole` says whether the body was sent to its end; `row` is a receipt for other bytes than were sent.
    """

    def __init__(self, end: RemoteError, *, whole: bool, row: Row | None = None) -> None:
        super().__init__(end)
        self.end = end
        self.whole = whole
        self.row = row
