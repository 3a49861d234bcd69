"""Run the threads of the service: each repeats one step, and all are stopped together.

A worker logs trouble with a disk, waits, and tries its step again. An error that ends the session ends its worker and
is raised in the main thread by `Workers.raise_fatal`: the worker died, or the outbox is damaged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sticky_pi_api.transport.cancellation import starting

from ..clock import Heartbeat, span
from ..exceptions import OutboxDamagedError, StateError, UploaderError, in_words
from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats

TROUBLE_WAIT: Final = 10.0
"""Seconds to wait after the state folder couldn't be written, as on a full disk"""

STOP_WITHIN: Final = 8.0
"""Seconds in which the workers have to end their current step"""


class WorkerDiedError(UploaderError):
    """A worker died of an unexpected error; the log has the traceback."""


class TroubleLog:
    """Log trouble of one part of the service: its beginning, its end, and now and then while it lasts."""

    def __init__(self, part: str) -> None:
        """Name the part as the log does."""
        self.error: Exception | None = None
        """the present trouble"""
        self._part = part
        self._repeats = Repeats(time.monotonic)

    def note(self, error: Exception) -> None:
        """Log that the part can't work and tries again, unless that was logged a short time ago."""
        self.error = error
        reason = in_words(error)
        spell = self._repeats.again(self._part, reason)
        if spell is not None:
            text = f"{reason}; tried again every {TROUBLE_WAIT:g} s{spell}"
            log_event(Kind.TROUBLE, text, part=self._part, reason=reason, count=spell.times)

    def note_end(self) -> None:
        """Log that the part works again, if its trouble was logged."""
        self.error = None
        spell = self._repeats.over(self._part)
        if spell is not None:
            text = f"that is over: the {self._part} works again, after {span(spell.seconds)}"
            log_event(Kind.TROUBLE_OVER, text, part=self._part, count=spell.times)


class Worker(threading.Thread):
    """Call `step` until it is stopped, and wait between two calls for the seconds that the last one returned."""

    def __init__(
        self,
        crew: Workers,
        name: str,
        step: Callable[[], float | None],
        wake: threading.Event,
        heartbeat: Heartbeat,
        *,
        retries: bool,
    ) -> None:
        """Wait on `wake` between steps; the heartbeat beats as a step begins, and rests between.

        After trouble with the state folder the step is repeated, unless the worker isn't to retry.
        """
        # A thread that hangs in an upload must not hold up the end of the process.
        super().__init__(name=name, daemon=True)
        self._crew = crew
        self._step = step
        self.wake = wake
        """ends the worker's wait"""
        self._heartbeat = heartbeat
        self._retries = retries
        self.trouble_log = TroubleLog(name)

    def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._crew.stopping.is_set():
                wait = self._try_step()
                if wait != 0:
                    self._crew.notice()
                    self.wake.wait(wait)
                    self.wake.clear()
        except StateError as error:
            self._crew.errors.append(error)
        except BaseException as error:  # noqa: BLE001 - it is logged with its traceback
            log_event(Kind.DIED, f"the {self.name} died", error=error, part=self.name)
            self._crew.errors.append(WorkerDiedError(f"the {self.name} died"))
        finally:
            self._crew.notice()

    def _try_step(self) -> float | None:
        self._heartbeat.beat()
        try:
            wait = self._step()
        except OutboxDamagedError:
            raise
        except (StateError, OSError) as error:
            if not self._retries:
                raise error if isinstance(error, StateError) else StateError(in_words(error)) from error
            # A wait for a known and logged reason is no hang.
            self._heartbeat.rest()
            self.trouble_log.note(error)
            self._crew.notice()
            self._crew.stopping.wait(TROUBLE_WAIT)
            return 0.0
        finally:
            self._heartbeat.rest()
        self.trouble_log.note_end()
        return wait


class Workers:
    """The workers of one session: started one by one, stopped together."""

    def __init__(self, notice: Callable[[], None]) -> None:
        """Call `notice` when a worker waits, is in trouble or has ended."""
        self.notice = notice
        self.stopping = threading.Event()
        self.errors: list[UploaderError] = []
        """the errors that ended workers, and end the session"""
        self._workers: list[Worker] = []

    def start(
        self,
        name: str,
        step: Callable[[], float | None],
        wake: threading.Event | None = None,
        heartbeat: Heartbeat | None = None,
        *,
        retries: bool = True,
    ) -> None:
        """Start one; the arguments are those of `Worker`. Raises OSError where the system can start no thread."""
        worker = Worker(self, name, step, wake or threading.Event(), heartbeat or Heartbeat(), retries=retries)
        with starting():
            worker.start()
        self._workers.append(worker)

    def stop(self) -> None:
        """Stop all, the last one first, and wait for them; one that doesn't end is left behind."""
        self.stopping.set()
        ends_at = time.monotonic() + STOP_WITHIN
        for worker in reversed(self._workers):
            worker.wake.set()
            # All share these seconds; a worker that only waited ends within a moment.
            worker.join(max(0.5, ends_at - time.monotonic()))
            if worker.is_alive():
                text = f"didn't end within {STOP_WITHIN:g} s: its step is repeated after the next start"
                log_event(Kind.HANGING, f"the {worker.name} {text}", part=worker.name)

    def is_abandoned(self) -> bool:
        """Return, after `stop`, whether a worker was left behind because it didn't end."""
        return any(worker.is_alive() for worker in self._workers)

    def trouble(self) -> Exception | None:
        """Return the error of a worker whose last step failed, and is tried again; None if all work."""
        return next((error for worker in self._workers if (error := worker.trouble_log.error) is not None), None)

    def raise_fatal(self) -> None:
        """Raise the error that ended a worker: OutboxDamagedError, WorkerDiedError, StateError without retries.

        Damage of the outbox comes before any other error, as it has to be put aside.
        """
        if self.errors:
            raise min(self.errors, key=lambda error: not isinstance(error, OutboxDamagedError))
