"""Catch signals: the handler notes each one, and the main thread, which it wakes up, acts on it."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType
from typing import Any, Self


class _End:
    """The write end of a pipe, which stays open while a thread that is about to write holds this object.

    If it were closed earlier, another file could have its number by the time that a hanging thread goes on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Signals:
    """Catch SIGTERM, SIGINT and SIGHUP, as a context, and let any thread wake the main thread up.

    A pipe is used, as a handler that runs while the main thread holds an Event's lock would wait for ever. The kernel
    may deliver a signal to any thread, and the main thread's wait then goes on; so Python itself writes to the pipe, in
    the thread that gets the signal.
    """

    def __init__(self) -> None:
        self.stop = False
        """whether SIGTERM or SIGINT came"""
        self._write_end: _End | None = None
        self._reload = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers; call this in the main thread."""
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._write_end = _End(write_end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        self._wakeup_before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the earlier handlers."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read_end)
        self._write_end = None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stop = True

    def wake(self) -> None:
        """End the main thread's wait; from any thread."""
        end = self._write_end
        if end is not None:
            with suppress(OSError):  # it is full of wake-ups already, or its other end is closed
                os.write(end.descriptor, b"!")

    def wait(self, seconds: float, *also: int) -> None:
        """Wait until a signal comes, a thread calls `wake`, one of `also` can be read, or the time is over."""
        ready, _, _ = select.select([self._read_end, *also], [], [], max(0.0, seconds))
        if self._read_end in ready:
            os.read(self._read_end, 4096)

    def take_reload(self) -> bool:
        """Return whether SIGHUP came since the last call."""
        reload, self._reload = self._reload, False
        return reload
