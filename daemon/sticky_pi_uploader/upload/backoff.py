"""How long to wait before trying again: longer after each failure, with full jitter, up to a cap."""

from __future__ import annotations

from typing import Final, NamedTuple

FIRST_WAIT: Final = 5.0
"""Seconds that the first wait lasts at most."""

LONGEST_WAIT: Final = 1800.0
"""Seconds that any wait lasts at most. One that ends further ahead than this comes from a clock that was changed."""


class _Attempt(NamedTuple):
    """As much of tenacity's retry state as its wait strategies read."""

    attempt_number: int


def delay(failures: int, at_least: float | None = None) -> float:
    """Draw the seconds to wait after this many failures in a row: between 0 and min(cap, 5 · 2^(failures - 1)).

    Full jitter, so that a thousand traps whose server comes back don't call at the same moment. `at_least` is what the
    server asked for, to all of them perhaps: it is waited as well, and jitter of its own size, up to the cap.
    """
    # Imported only once something failed: most runs of `drain` never wait.
    from tenacity import wait_random, wait_random_exponential

    attempt = _Attempt(max(1, failures))
    asked = min(LONGEST_WAIT, max(0.0, at_least or 0.0))
    grown = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(attempt)  # type: ignore[arg-type]
    return min(LONGEST_WAIT, asked + max(grown, wait_random(0, asked)(attempt)))  # type: ignore[arg-type]


def is_due(at: float | None, now: float) -> bool:
    """Tell whether a stored Unix time has come; one that no wait can have set is due: the clock was changed."""
    return at is None or at <= now or at > now + LONGEST_WAIT
