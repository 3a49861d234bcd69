"""Lets a command that wrote to the outbox wake the running daemon, by a FIFO in the state folder."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Self

_NAME = "doorbell"


class Doorbell:
    """The daemon's end, as a context: `descriptor` can be read when somebody rang."""

    def __init__(self, state_dir: str) -> None:
        """Hang it into this folder, once the context is entered."""
        self._path = os.path.join(state_dir, _NAME)
        self.descriptor: int | None = None
        """None where the file system has no FIFOs: then nobody can ring"""

    def __enter__(self) -> Self:
        """Make the FIFO."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            # For writing, too: it would be at its end, and so readable, whenever nobody else has it open.
            descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                self.descriptor = descriptor
            else:
                os.close(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def answer(self) -> None:
        """Take note of all who rang so far."""
        if self.descriptor is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self.descriptor, 4096)


def ring(state_dir: str) -> None:
    """Wake the daemon that works on this folder, if there is one; otherwise it notices by itself, a little later."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.join(state_dir, _NAME), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"!")
        finally:
            os.close(descriptor)
