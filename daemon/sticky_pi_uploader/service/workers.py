"""The threads of the service: each repeats one step, and all are stopped together.

Trouble with a disk is logged, waited out and over at some time. What nothing can go on after, a worker that died or a
damaged outbox, is raised in the main thread by `Workers.raise_fatal`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sticky_pi_api.transport.cancellation import starting

from ..clock import span
from ..exceptions import OutboxDamagedError, StateError, UploaderError, in_words
from ..journal.events import Kind, about
from ..journal.throttle import Repeats

log = logging.getLogger(__name__)

TROUBLE_WAIT: Final = 10.0
"""Seconds to wait after the state folder couldn't be written (a full disk, say)."""

STOP_WITHIN: Final = 8.0
"""Seconds that the workers get to finish or give up their current step."""


class WorkerDiedError(UploaderError):
    """A worker was ended by an error of its own, which is in the log with its traceback."""


class TroubleLog:
    """Logs trouble of one part of the service: its beginning, now and then while it lasts, and its end."""

    def __init__(self, part: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Name the part as the log does."""
        self._part = part
        self._repeats = Repeats(monotonic)

    def note(self, error: Exception) -> None:
        """Log, unless that is no news, that the part can't work, and tries again."""
        reason = in_words(error)
        spell = self._repeats.again(self._part, reason)
        if spell is not None:
            extra = about(Kind.TROUBLE, part=self._part, reason=reason, count=spell.times)
            log.error("%s; tried again every %g s%s", reason, TROUBLE_WAIT, spell, extra=extra)

    def note_end(self) -> None:
        """Log that the part works again, if its trouble was logged."""
        spell = self._repeats.over(self._part)
        if spell is not None:
            extra = about(Kind.TROUBLE_OVER, part=self._part, count=spell.times)
            log.info("that is over: the %s works again, after %s", self._part, span(spell.seconds), extra=extra)


class Heartbeat:
    """Measures for how long a part has made no progress; one thread beats, any may ask."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at rest."""
        self._monotonic = monotonic
        self._at: float | None = None

    def beat(self) -> None:
        """Record progress."""
        self._at = self._monotonic()

    def rest(self) -> None:
        """Record that there is nothing to do."""
        self._at = None

    def silence(self) -> float:
        """Return the seconds since the last progress; 0 at rest."""
        at = self._at
        return 0.0 if at is None else self._monotonic() - at


class Worker(threading.Thread):
    """Calls `step` until it is stopped, waiting between two calls as long as the last one returned."""

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        stop: threading.Event,
        notice: Callable[[], None],
        wake: threading.Event | None = None,
        after_trouble: Callable[[], None] = lambda: None,
        heartbeat: Heartbeat | None = None,
        retries: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait on `wake` between steps, and end with `stop`; the heartbeat beats as a step begins, and rests between.

        `notice` is called whenever the worker waits, is in trouble, or has ended. After trouble with the state folder,
        `after_trouble` is called and the step is repeated, unless the worker isn't to retry: then it is fatal.
        """
        # A thread that hangs in an upload must not hold up the end of the process.
        super().__init__(name=name, daemon=True)
        self._step = step
        self.wake = threading.Event() if wake is None else wake
        """ends the worker's wait"""
        self._stop_event = stop
        self._after_trouble = after_trouble
        self._notice = notice
        self._heartbeat = Heartbeat() if heartbeat is None else heartbeat
        self._retries = retries
        self._trouble_log = TroubleLog(name, monotonic)
        self.trouble: Exception | None = None
        """the error of the last step, which is tried again"""
        self.fatal: UploaderError | None = None
        """the error that ended this worker: the others can't go on either"""

    def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._stop_event.is_set() and self.fatal is None:
                wait = self._try_step()
                if wait != 0:
                    self._notice()
                    self.wake.wait(wait)
                    self.wake.clear()
        except BaseException as error:
            log.critical("the %s died", self.name, exc_info=error, extra=about(Kind.DIED, part=self.name))
            self.fatal = WorkerDiedError(f"the {self.name} died")
        finally:
            self._notice()

    def _try_step(self) -> float | None:
        self._heartbeat.beat()
        try:
            wait = self._step()
        except OutboxDamagedError as error:
            self.fatal = error
            return 0.0
        except (StateError, OSError) as error:
            if self._retries:
                self._wait_out(error)
            else:
                self.fatal = error if isinstance(error, StateError) else StateError(in_words(error))
            return 0.0
        finally:
            self._heartbeat.rest()
        if self.trouble is not None:
            self._trouble_log.note_end()
            self.trouble = None
        return wait

    def _wait_out(self, error: Exception) -> None:
        # It is no silence to be alarmed at: what the worker waits for is known and logged.
        self._heartbeat.rest()
        self._trouble_log.note(error)
        self.trouble = error
        self._after_trouble()
        self._notice()
        self._stop_event.wait(TROUBLE_WAIT)


class Workers:
    """The workers of one session: started one by one, stopped together."""

    def __init__(self, notice: Callable[[], None]) -> None:
        """Have none yet; `notice` is called when one of them waits, is in trouble or has ended."""
        self._notice = notice
        self._stop = threading.Event()
        self._workers: list[Worker] = []

    def start(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        wake: threading.Event | None = None,
        after_trouble: Callable[[], None] = lambda: None,
        heartbeat: Heartbeat | None = None,
        retries: bool = True,
    ) -> None:
        """Start one; the arguments are those of `Worker`. Raises OSError where the system can start no thread."""
        worker = Worker(
            name,
            step,
            stop=self._stop,
            notice=self._notice,
            wake=wake,
            after_trouble=after_trouble,
            heartbeat=heartbeat,
            retries=retries,
        )
        with starting():
            worker.start()
        self._workers.append(worker)

    def stop(self) -> None:
        """Stop all, the last one first, and wait for them; one that doesn't end is left behind."""
        self._stop.set()
        ends_at = time.monotonic() + STOP_WITHIN
        for worker in reversed(self._workers):
            worker.wake.set()
            # Together they get no longer; one that only waited needs but a moment.
            worker.join(max(0.5, ends_at - time.monotonic()))
            if worker.is_alive():
                log.warning(
                    "the %s didn't end within %g s: what it was at is begun anew next time",
                    worker.name,
                    STOP_WITHIN,
                    extra=about(Kind.HANGING, part=worker.name),
                )

    def is_stopping(self) -> bool:
        """Return whether the workers were told to stop."""
        return self._stop.is_set()

    def is_abandoned(self) -> bool:
        """Return, after `stop`, whether a worker was left behind because it didn't end."""
        return any(worker.is_alive() for worker in self._workers)

    def trouble(self) -> Exception | None:
        """Return an error that keeps a worker from its work just now, and is tried again."""
        return next((worker.trouble for worker in self._workers if worker.trouble is not None), None)

    def fatal(self) -> UploaderError | None:
        """Return the error that ended a worker; damage of the outbox before any other, as it has to be put aside."""
        errors = [worker.fatal for worker in self._workers if worker.fatal is not None]
        return min(errors, key=lambda error: not isinstance(error, OutboxDamagedError), default=None)

    def raise_fatal(self) -> None:
        """Raise the error that ended a worker: OutboxDamagedError, WorkerDiedError, StateError without retries."""
        if (error := self.fatal()) is not None:
            raise error
