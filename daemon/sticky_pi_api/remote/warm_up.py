"""Repeat requests to a server that has just started: each of its workers fails at its first one to the database.

That is a plain 500, to a login or a question, after every start of the server or of its database. The worker's next
request succeeds. There are up to 32 of them, and nobody can choose which one a request gets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sticky_pi_api.exceptions import BrokenOffError
from sticky_pi_api.transport.deadline import Deadline
from sticky_pi_api.transport.status_codes import Answer

FAILED: Final = 500
"""the status of a worker that doesn't reach its database"""

MOST: Final = 10
"""how often a request is sent again"""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 1.5
"""seconds that the first pause takes at most, and any; ten of them take 6 s on average"""


def is_cold(answer: Answer) -> bool:
    """Return whether a worker that has just started may have answered: it asks for no pause (Retry-After)."""
    return answer.status == FAILED and "Retry-After" not in answer.headers


class WarmUp:
    """The time that one login or question has to get past the workers that fail."""

    def __init__(self, seconds: float, pause: Callable[[float], object]) -> None:
        """Begin now; requests are sent again for so many seconds, each after a `pause` of some seconds."""
        self.was_needed = False
        """whether a worker failed"""
        self._deadline = Deadline(seconds)
        self._pause = pause

    def insist(self, send: Callable[[], Answer]) -> Answer:
        """Call `send` until it returns something else than a plain 500, or the time is over; return the last answer.

        It is called eleven times at most. The pauses are drawn at random and grow: many traps may have waited for this
        server. One that is cancelled meanwhile ends with the last 500, which says more.
        """
        answer = send()
        if not is_cold(answer):
            return answer
        self.was_needed = True
        if not self._deadline.left:
            return answer
        # Most runs never need it.
        from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

        def send_again() -> Answer:
            nonlocal answer
            answer = send()
            return answer

        self._wait(random.uniform(0.0, _FIRST_PAUSE))  # noqa: S311 - no secret
        retrying = Retrying(
            retry=retry_if_result(is_cold),
            stop=lambda state: not self._deadline.left or stop_after_attempt(MOST)(state),
            wait=wait_random_exponential(multiplier=2 * _FIRST_PAUSE, max=_LONGEST_PAUSE),
            sleep=self._wait,
            retry_error_callback=lambda _: None,
        )
        with suppress(BrokenOffError):
            retrying(send_again)
        if is_cold(answer):
            # Whatever else shares this time has the same failure before it.
            self._deadline = Deadline(0.0)
        return answer

    def _wait(self, seconds: float) -> None:
        self._pause(min(seconds, self._deadline.left))
