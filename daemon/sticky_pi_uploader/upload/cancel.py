"""Cancel uploads that take too long after the daemon was told to stop: an upload can take minutes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

GRACE: Final = 3.0
"""Seconds in which the current pictures can be finished: after a signal, and at most as many before a deadline"""

_POLL_INTERVAL: Final = 0.25
"""Seconds"""


@contextmanager
def cancel_on_stop(
    cancel: Callable[[], None], stopping: Callable[[], bool], *, left: Callable[[], float] = lambda: math.inf
) -> Iterator[None]:
    """Call `cancel` from another thread if the block still runs `GRACE` seconds after `stopping()` became true.

    It is called sooner if only `left()` seconds are left before a deadline. Raises OSError if no thread can be started.
    """
    from sticky_pi_api.transport.cancellation import starting

    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_INTERVAL):
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
