"""Backoff: how long to wait before trying again, with exponential growth, full jitter and a cap."""

from __future__ import annotations

from typing import Final

FIRST_WAIT: Final = 5.0
"""Longest first wait in seconds"""

LONGEST_WAIT: Final = 1800.0
"""Longest wait in seconds; a stored wait that ends further ahead was set under another clock"""


def delay(failures: int, at_least: float | None = None) -> float:
    """Draw the seconds to wait after this many failures in a row: between 0 and min(cap, 5 · 2^(failures - 1)).

    When a server comes back, full jitter keeps a thousand traps from calling it at the same moment. `at_least` is the
    wait that the server asked for, perhaps from all traps: it is added, with jitter of its own size, up to the cap.
    """
    # Imported only after a failure: most runs of `drain` never wait.
    from tenacity import RetryCallState, Retrying, wait_random, wait_random_exponential

    attempt = RetryCallState(Retrying(), None, (), {})
    attempt.attempt_number = max(1, failures)
    asked = min(LONGEST_WAIT, max(0.0, at_least or 0.0))
    grown = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(attempt)
    return min(LONGEST_WAIT, asked + max(grown, wait_random(0, asked)(attempt)))


def is_due(at: float | None, now: float) -> bool:
    """Return whether a stored Unix time has come; a time too far ahead counts as come: the clock was changed."""
    return at is None or at <= now or at > now + LONGEST_WAIT
