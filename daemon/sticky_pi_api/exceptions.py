"""What this package raises on purpose; the messages are for the people who look after traps.

StickyPiError
├── ImageError (a ValueError)  one picture can't be used
│   ├── FilenameError          its name isn't <device>.<YYYY-MM-DD_HH-MM-SS>.jpg, or says an impossible time
│   ├── DamagedImageError      its bytes aren't a whole JPEG picture that decodes
│   ├── MetadataError          its EXIF isn't what a Sticky Pi writes, so that the server would refuse it
│   └── ImageChangedError      the file is no longer the one that was parsed
├── ConflictError              another picture is held under the same device and datetime
├── StoreError                 the store can't be opened, read or written: no picture's fault
└── PutImagesError             some pictures of a `put_images` failed
ConflictWarning (a UserWarning)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sticky_pi_api.types import ImageOutcome


def printable(text: str) -> str:
    """Return `text` with what no terminal or log should get (control characters, undecodable bytes) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class StickyPiError(Exception):
    """The base of all that this package raises on purpose."""


class ImageError(StickyPiError, ValueError):
    """One picture can't be used: `file` is its path or name, `reason` says why."""

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


class ImageChangedError(ImageError):
    """The file is no longer the one that was parsed."""


class ConflictError(StickyPiError):
    """Another picture is held under the same device and datetime; it is never overwritten."""

    def __init__(self, file: str, held_md5: str) -> None:
        """Keep the parts; `held_md5` is of the picture that is held."""
        super().__init__(file, held_md5)
        self.file = file
        self.held_md5 = held_md5

    def __str__(self) -> str:
        """Name the file, then what is in its place."""
        return (
            f"{printable(self.file)}: another picture (md5 {self.held_md5}) is held under this device and datetime; "
            "it was not overwritten"
        )


class StoreError(StickyPiError):
    """The store can't be opened, read or written: no picture's fault.

    `whole_store` is False when only this picture's own place in the store is concerned, so that others may still go.
    """

    def __init__(self, message: str, *, whole_store: bool = True) -> None:
        """Keep the message, which names the folder and what happened to it."""
        super().__init__(message)
        self.whole_store = whole_store


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
