"""A thread that calls one step again and again, and never dies silently."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..clock import span
from ..exceptions import StateError, in_words
from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from .liveness import Pulse

log = logging.getLogger(__name__)

TROUBLE_WAIT: Final = 10.0
"""Seconds to wait after the state folder couldn't be written (a full disk, say)."""


class Hindrance:
    """Tells what keeps a part from its work: when that begins, now and then while it lasts, and when it is over."""

    def __init__(self, part: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Tell of a part by its name."""
        self._part = part
        self._repeats = Repeats(monotonic)

    def tell(self, error: Exception) -> None:
        """Say, unless that is no news, that the part is kept from its work, and tries again."""
        reason = in_words(error)
        spell = self._repeats.again(self._part, reason)
        if spell is not None:
            extra = about(Kind.TROUBLE, part=self._part, reason=reason, count=spell.times)
            log.error("%s; tried again every %g s%s", reason, TROUBLE_WAIT, spell, extra=extra)

    def tell_end(self) -> None:
        """Say that the part works again, if it was said that it didn't."""
        spell = self._repeats.over(self._part)
        if spell is not None:
            extra = about(Kind.TROUBLE_OVER, part=self._part, count=spell.times)
            log.info("that is over: the %s works again, after %s", self._part, span(spell.seconds), extra=extra)


class Worker(threading.Thread):
    """Calls `step` until it is stopped, waiting between two calls as long as the last one said."""

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        wake: threading.Event,
        stop: threading.Event,
        after_trouble: Callable[[], None],
        notice: Callable[[], None],
        pulse: Pulse,
        goes_on: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait on `wake` between steps, and end with `stop`; `pulse` beats as each begins, and rests between them.

        `after_trouble` is called before the next step when one failed as the state folder couldn't be written;
        `notice` tells the main thread of that, of the worker's end, and each time that it has done all it can for now.
        Where nobody lets it go on after trouble, there is no need to tell of it: whoever ends it does.
        """
        # A thread that hangs in an upload must not hold up the end of the process.
        super().__init__(name=name, daemon=True)
        self._step = step
        self._wake = wake
        self._stop_event = stop
        self._after_trouble = after_trouble
        self._notice = notice
        self._pulse = pulse
        self._goes_on = goes_on
        self._hindrance = Hindrance(name, monotonic)
        self.ended = False
        """whether it has ended, or is about to; by itself it never does"""
        self.trouble: Exception | None = None
        """what keeps it from its work just now, as the state folder can't be written"""

    def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._stop_event.is_set():
                wait = self._one_step()
                if wait != 0:
                    self._notice()
                    self._wake.wait(wait)
                    self._wake.clear()
        except BaseException as error:
            log.critical("the %s died", self.name, exc_info=error, extra=about(Kind.DIED, part=self.name))
        finally:
            self.ended = True
            self._notice()

    def _one_step(self) -> float | None:
        try:
            wait = self._timed_step()
        except (StateError, OSError) as error:
            if self._goes_on:
                self._hindrance.tell(error)
            self.trouble = error
            self._after_trouble()
            self._notice()
            self._stop_event.wait(TROUBLE_WAIT)
            return 0.0
        if self.trouble is not None:
            self._hindrance.tell_end()
            self.trouble = None
        return wait

    def _timed_step(self) -> float | None:
        self._pulse.beat()
        try:
            return self._step()
        finally:
            self._pulse.rest()
