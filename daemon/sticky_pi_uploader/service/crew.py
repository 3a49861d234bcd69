"""The workers of one session: started one by one, stopped together, and asked how they are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sticky_pi_api.transport.deadline import starting

from ..exceptions import OutboxDamagedError
from ..journal.events import Kind, about
from .liveness import Pulse
from .worker import Worker

log = logging.getLogger(__name__)

STOP_WITHIN: Final = 8.0
"""Seconds that the workers get to finish or give up what they have in hand."""


class Crew:
    """Workers that stop at once when one is to."""

    def __init__(self, notice: Callable[[], None]) -> None:
        """Have nobody yet; `notice` is called when one of them waits, is in trouble or has ended."""
        self._notice = notice
        self._stop = threading.Event()
        self._workers: list[tuple[Worker, threading.Event]] = []

    def start(
        self,
        name: str,
        step: Callable[[], float | None],
        wake: threading.Event,
        *,
        after_trouble: Callable[[], None],
        pulse: Pulse,
        goes_on: bool = True,
    ) -> None:
        """Start one; what it is told is as for `Worker`. Raises OSError where the system has no room for it."""
        worker = Worker(
            name,
            step,
            wake=wake,
            stop=self._stop,
            after_trouble=after_trouble,
            notice=self._notice,
            pulse=pulse,
            goes_on=goes_on,
        )
        with starting():
            worker.start()
        self._workers.append((worker, wake))

    def stop(self) -> None:
        """Stop all, the last one first, and wait for them; one that doesn't end is left behind."""
        self._stop.set()
        ends_at = time.monotonic() + STOP_WITHIN
        for worker, wake in reversed(self._workers):
            wake.set()
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
        """Tell whether they were told to stop."""
        return self._stop.is_set()

    def is_abandoned(self) -> bool:
        """Tell, after the end, whether one was left behind as it didn't end."""
        return any(worker.is_alive() for worker, _ in self._workers)

    def has_died(self) -> bool:
        """Tell whether one ended that should run."""
        return any(worker.ended for worker, _ in self._workers)

    def trouble(self) -> Exception | None:
        """Tell what keeps one from its work just now: the state folder can't be written, say.

        Damage of the outbox comes first: no waiting ends that, nor what another worker waits for.
        """
        troubles = [trouble for worker, _ in self._workers if (trouble := worker.trouble) is not None]
        return min(troubles, key=lambda trouble: not isinstance(trouble, OutboxDamagedError), default=None)
