"""Cancel uploads that take too long once the daemon is to stop: one may go on for minutes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sticky_pi_api.transport.deadline import starting

GRACE: Final = 3.0
"""Seconds for the pictures in hand to be finished: after a signal, and at most as many before a deadline"""

_POLL: Final = 0.25


@contextmanager
def cancel_on_stop(
    cancel: Callable[[], None], stopping: Callable[[], bool], *, left: Callable[[], float] = lambda: math.inf
) -> Iterator[None]:
    """Call `cancel` from another thread if the block still runs `GRACE` seconds after `stopping()` became true.

    It is called sooner where only `left()` seconds are left before a deadline. Raises OSError where no thread can be
    started.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL):
            if stopping():
                if not over.wait(max(0.0, min(GRACE, left()))):
                    cancel()
                return

    watcher = threading.Thread(target=watch, name="cancel", daemon=True)
    with starting():
        watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
