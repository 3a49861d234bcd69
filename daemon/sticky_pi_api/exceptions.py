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
├── RemoteError                  destination  the server didn't do what it was asked for
│   ├── UnreachableError                      no answer: no name, no route, no connection, or it broke or took too long
│   │   ├── CertificateError                  the server can't prove who it is
│   │   └── ClockNotSetError     nothing      the certificate isn't valid yet by the trap's clock
│   ├── StrayLinkError                        a link of the server's leads to this machine, or its own network segment
│   ├── UnavailableError                      it answers that it can't just now
│   │   └── RequestTooLargeError              the web server before it takes none of this size; smaller may pass
│   ├── NotAnAPIError                         what answers there isn't a Sticky Pi API
│   │   └── AnswerTooLargeError               it answers with more than is read in one go
│   ├── AccountError             account      it doesn't accept the user, or not for this
│   ├── RefusedError             nothing      it refused what was sent, and didn't say why
│   ├── DoubtfulError            destination  something went out, and nothing says whether it was stored
│   └── BrokenOffError           nothing      the caller broke the request off
├── BundleError (a ValueError)   nothing      a bundle, or a file of one, can't be used: its name, its key, its bytes
└── PutImagesError               nothing      some pictures of a `put_images` failed
ConflictWarning (a UserWarning)
NoBundleWarning (a UserWarning)

Every StickyPiError has `blame`, and `retry_after`: the seconds after which to try again, None where nobody can say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sticky_pi_api.types import Blame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sticky_pi_api.types import ImageOutcome, Row


def printable(text: str) -> str:
    """Return `text` with what no terminal or log should get (control characters, undecodable bytes) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class StickyPiError(Exception):
    """The base of all that this package raises on purpose."""

    blame: Blame = Blame.NOTHING
    """what it is the fault of"""

    retry_after: float | None = None
    """seconds after which to try again, where somebody knows"""


class ImageError(StickyPiError, ValueError):
    """One picture can't be used: `file` is its path or name, `reason` says why."""

    blame = Blame.PICTURE

    def __init__(self, file: str, reason: str, md5: str | None = None) -> None:
        """Keep the parts; `md5` is of the bytes, where they were read before it failed."""
        super().__init__(file, reason, md5)
        self.file = file
        self.reason = reason
        self.md5 = md5

    def __str__(self) -> str:
        """Name the file, then say what is wrong with it."""
        return f"{printable(self.file)}: {self.reason}"


class FilenameError(ImageError):
    """The name isn't <device>.<YYYY-MM-DD_HH-MM-SS>.jpg, or its datetime is impossible."""


class DamagedImageError(ImageError):
    """The bytes aren't a whole JPEG picture that decodes, or are more than any server takes."""


class MetadataError(ImageError):
    """The EXIF isn't what a Sticky Pi writes: the server would refuse the picture."""


class TooLargeError(ImageError):
    """It is larger than any server is meant to take."""


class ImageChangedError(ImageError):
    """The file is no longer the one that was parsed."""

    blame = Blame.NOTHING


class ConflictError(StickyPiError):
    """Another picture is held under the same device and datetime; it is never overwritten."""

    blame = Blame.PICTURE

    def __init__(self, file: str, held_md5: str) -> None:
        """Keep the parts; `held_md5` is of the picture that is held."""
        super().__init__(file, held_md5)
        self.file = file
        self.held_md5 = held_md5

    def __str__(self) -> str:
        """Name the file, then what is in its place."""
        return (
            f"{printable(self.file)}: another picture (md5 {printable(self.held_md5)}) is held under this device and "
            "datetime; it was not overwritten"
        )


class StoreError(StickyPiError):
    """The store can't be opened, read or written: no picture's fault.

    `whole_store` is False when only this picture's own place in the store is concerned, so that others may still go.
    """

    blame = Blame.DESTINATION

    def __init__(self, message: str, *, whole_store: bool = True) -> None:
        """Keep the message, which names the folder and what happened to it."""
        super().__init__(message)
        self.whole_store = whole_store


class RemoteError(StickyPiError):
    """The server didn't do what it was asked for; the message names its address."""

    blame = Blame.DESTINATION

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the message, and when to try again."""
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(RemoteError):
    """No answer came: no name, no route, no connection, or it broke, or took too long, maybe for the caller."""


class CertificateError(UnreachableError):
    """The server can't prove that it is who it says it is; nothing was sent to it."""


class ClockNotSetError(UnreachableError):
    """By the trap's clock, the server's certificate isn't valid yet: over as soon as the clock is set."""

    blame = Blame.NOTHING


class StrayLinkError(RemoteError):
    """A link that the server gave leads to this machine, or its own network segment, where the server isn't."""


class UnavailableError(RemoteError):
    """The server answers that it can't just now."""


class RequestTooLargeError(UnavailableError):
    """The web server in front of it takes none of this size, though the API does: until its limit is set right.

    `size` is that of the request, in bytes. Smaller requests may pass.
    """

    def __init__(self, message: str, size: int, *, retry_after: float | None = None) -> None:
        """Keep the parts."""
        super().__init__(message, retry_after=retry_after)
        self.size = size


class NotAnAPIError(RemoteError):
    """What answers at the address isn't a Sticky Pi API: a captive portal, a proxy, another site."""


class AnswerTooLargeError(NotAnAPIError):
    """The answer is larger than any that is read: it is no Sticky Pi API's, or too much was asked for at once."""


class AccountError(RemoteError):
    """The server doesn't accept the user, or not for this."""

    blame = Blame.ACCOUNT


class RefusedError(RemoteError):
    """The server refused what was sent without saying why: its own trouble and that of a picture look the same."""

    blame = Blame.NOTHING


class DoubtfulError(RemoteError):
    """Something went out, and nothing says whether it was stored: to be asked for again after `retry_after`.

    `end` is how the request ended.
    """

    def __init__(self, message: str, end: RemoteError, *, retry_after: float | None = None) -> None:
        """Keep the parts."""
        super().__init__(message, retry_after=retry_after)
        self.end = end


class BrokenOffError(RemoteError):
    """The caller broke the request off, or closed the client, before the server was silent for long."""

    blame = Blame.NOTHING


class BundleError(StickyPiError, ValueError):
    """A machine-learning bundle, or a file of one, can't be used; the message names it and says why."""


class PutImagesError(StickyPiError):
    """Some pictures failed: `stored` has the rows of those stored, `failures` the others."""

    def __init__(self, stored: Sequence[dict[str, Any]], failures: Sequence[ImageOutcome]) -> None:
        """Keep both lists."""
        super().__init__(stored, failures)
        self.stored = list(stored)
        self.failures = list(failures)

    def __str__(self) -> str:
        """Say how many failed, and why each of the first ones did."""
        shown = 10
        lines = [str(failure.error) for failure in self.failures[:shown]]
        if more := len(self.failures) - len(lines):
            lines.append(f"and {more} more")
        return "\n".join([f"{len(self.failures)} not stored, {len(self.stored)} stored", *lines])


class ConflictWarning(UserWarning):
    """A picture wasn't stored because another one is held under its device and datetime."""


class NoBundleWarning(UserWarning):
    """There is no machine-learning bundle of a name, or nothing in it of what was asked for."""


class UnclearEndError(Exception):
    """An upload ended so that the picture may be stored; `row` is a receipt for other bytes than were sent."""

    def __init__(self, end: RemoteError, *, whole: bool, row: Row | None = None) -> None:
        """Keep what happened, and whether the body had gone out whole by then."""
        super().__init__(end)
        self.end = end
        self.whole = whole
        self.row = row
