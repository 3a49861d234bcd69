"""Repeat requests to a server that has just started: each of its workers fails at its first one to the database.

A worker that fails answers a login or a question with a plain 500, and its next request succeeds. This happens after
each start of the server or of its database. There are up to 32 workers, and a request gets any of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sticky_pi_api.exceptions import BrokenOffError
from sticky_pi_api.transport.cancellation import Deadline
from sticky_pi_api.transport.status_codes import Answer

FAILED: Final = 500
"""Status of a worker that doesn't reach its database"""

MOST: Final = 10
"""How often a request is repeated at most"""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 1.5
"""Upper limits of the first pause and of any pause, in seconds; ten pauses take 6 s on average"""


def is_cold(answer: Answer) -> bool:
    """Return whether a worker that has just started may have answered: it asks for no pause (Retry-After)."""
    return answer.status == FAILED and "Retry-After" not in answer.headers


class WarmUp:
    """The time in which one login or question is repeated until no worker fails at it."""

    def __init__(self, seconds: float, pause: Callable[[float], object]) -> None:
        """Repeat requests for so many seconds from now on; `pause` waits for some seconds."""
        self.was_needed = False
        """whether a worker failed"""
        self._deadline = Deadline(seconds)
        self._pause = pause

    def insist(self, send: Callable[[], Answer]) -> Answer:
        """Call `send` until it returns another answer than a plain 500, or the time is over; return the answer.

        `send` is called eleven times at most. The pauses are drawn at random and grow: many traps may wait for the same
        server. A repetition that is cancelled ends with a plain 500, which says more.
        """
        answer = send()
        if not is_cold(answer):
            return answer
        self.was_needed = True
        if not self._deadline.left:
            return answer
        # Most runs never need it.
        from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

        failed = answer
        retrying = Retrying(
            retry=retry_if_result(is_cold),
            stop=lambda state: not self._deadline.left or stop_after_attempt(MOST)(state),
            wait=wait_random_exponential(multiplier=2 * _FIRST_PAUSE, max=_LONGEST_PAUSE),
            sleep=self._wait,
            retry_error_callback=lambda _: failed,
        )
        self._wait(random.uniform(0.0, _FIRST_PAUSE))  # noqa: S311 - no secret
        with suppress(BrokenOffError):
            answer = retrying(send)
        if is_cold(answer):
            # Other requests that share this time would fail in the same way.
            self._deadline = Deadline(0.0)
        return answer

    def _wait(self, seconds: float) -> None:
        self._pause(min(seconds, self._deadline.left))
