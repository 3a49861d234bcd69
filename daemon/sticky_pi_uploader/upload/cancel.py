"""Breaks off what takes too long once the daemon is to stop: an upload may go on for minutes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sticky_pi_api.transport.threads import starting

GRACE: Final = 3.0
"""Seconds that the pictures in hand get to be finished: after a signal, and at most as many before a deadline."""

_GLANCE: Final = 0.25


@contextmanager
def breaking_off(
    action: Callable[[], None],
    stopping: Callable[[], bool],
    *,
    left: Callable[[], float] = lambda: math.inf,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Call `action`, from another thread, if the block still runs `GRACE` seconds after `stopping()` became true.

    It is called sooner where only `left()` seconds are left before a deadline. `meanwhile` is called there as well,
    every now and then. Raises OSError where there is no such thread to be had.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_GLANCE):
            meanwhile()
            if stopping():
                if not over.wait(max(0.0, min(GRACE, left()))):
                    action()
                return

    watcher = threading.Thread(target=watch, name="break-off", daemon=True)
    with starting():
        watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
