"""The errors that end a command, with its exit status.

UploaderError
├── ConfigError        78  the configuration can't be used: all problems at once
├── StateError         74  the state folder can't be made, read or written
│   ├── NoSpaceError         the disk of the state folder is full
│   └── OutboxDamagedError   the outbox isn't a database that this release can use: it is put aside
│       └── OutboxNewerError   the outbox was written by a newer release
└── LockedError        73  another process is at work on the same folders
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sticky_pi_api.exceptions import printable


class UploaderError(Exception):
    """The base class of this package's errors; the message is for the trap's owner."""

    exit_status = os.EX_SOFTWARE


class ConfigError(UploaderError):
    """The configuration can't be used; `problems` has a line for each problem."""

    exit_status = os.EX_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(map(printable, problems))
        super().__init__("\n".join(self.problems))


class StateError(UploaderError):
    """The state folder can't be made, read or written."""

    exit_status = os.EX_IOERR


class NoSpaceError(StateError):
    """The disk of the state folder is full."""


class OutboxDamagedError(StateError):
    """The outbox isn't a database that this release can use: it is put aside, and a new one made."""


class OutboxNewerError(OutboxDamagedError):
    """The outbox was written by a newer release."""


class LockedError(UploaderError):
    """Another process is at work on the same state folder or the same image folder."""

    exit_status = os.EX_CANTCREAT


def in_words(error: Exception) -> str:
    """Return the text of an error for the trap's owner, without the number of an OSError."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if not isinstance(error.filename, str | bytes):  # none, or the number of something open
        return error.strerror
    return f"{printable(os.fsdecode(error.filename))}: {error.strerror}"
