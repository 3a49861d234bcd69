"""Signals as the service wants them: noted by the handler, read by the main thread when it waits."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType
from typing import Any, Self


class _End:
    """The end of a pipe that is written to; open as long as any thread that is about to write holds it.

    Closed under a thread that hangs, its number would be another file's by the time that the thread goes on.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Signals:
    """Catches SIGTERM, SIGINT and SIGHUP while it is open, and lets any thread wake the main one up.

    A pipe rather than an Event: a handler that runs while the main thread holds the Event's lock would wait for ever.
    The kernel may deliver a signal to any thread, as where another is on its way to the main one, whose wait then goes
    on; so Python itself writes to the pipe, in whatever thread it is.
    """

    def __init__(self) -> None:
        """Catch nothing yet."""
        self.stop = False
        """whether SIGTERM or SIGINT came"""
        self._write_end: _End | None = None
        self._reload = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers; only the main thread can."""
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._write_end = _End(write_end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        self._wakeup_before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the earlier handlers back."""
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
            with suppress(OSError):  # it is full of wake-ups already, or nobody waits any more
                os.write(end.descriptor, b"!")

    def wait(self, seconds: float, *also: int) -> None:
        """Wait until a signal comes, a thread calls `wake`, one of `also` can be read, or the time is over."""
        ready, _, _ = select.select([self._read_end, *also], [], [], max(0.0, seconds))
        if self._read_end in ready:
            os.read(self._read_end, 4096)

    def take_reload(self) -> bool:
        """Tell whether SIGHUP came since this was last asked."""
        reload, self._reload = self._reload, False
        return reload
