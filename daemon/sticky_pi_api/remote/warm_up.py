"""Gets a server that has just started to answer: each of its workers fails at its first request to the database.

That is a plain 500, to a login or a question, after every start of the server or of its database. The worker's next
request succeeds. There are up to 32 of them, and nobody can choose which one a request gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import Final

from sticky_pi_api.exceptions import BrokenOffError
from sticky_pi_api.transport.deadline import Pause
from sticky_pi_api.transport.status_codes import Answer

FAILED: Final = 500
"""the status of a worker that doesn't reach its database"""

MOST: Final = 10
"""how often a request is sent again"""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 1.5
"""seconds that the first pause takes at most, and any; ten of them take 6 s on average"""


def is_cold(answer: Answer) -> bool:
    """Tell whether an answer is that of a worker that has just started: one that asks for a pause knows better."""
    return answer.status == FAILED and "Retry-After" not in answer.headers


class WarmUp:
    """The time that one login or question has to get past the workers that fail."""

    def __init__(self, seconds: float, pause: Pause) -> None:
        """Begin now; requests are sent again for so many seconds, after pauses."""
        self.was_needed = False
        """whether a worker failed"""
        self._ends_at = time.monotonic() + seconds
        self._pause = pause

    def insist(self, send: Callable[[], Answer]) -> Answer:
        """Call `send` until it returns something else than a plain 500, or the time is over; return the last answer.

        It is called eleven times at most. The pauses are drawn at random and grow: many traps may have waited for this
        server. One that is broken off meanwhile ends with the last 500, which says more.
        """
        answer = send()
        if not is_cold(answer):
            return answer
        # Most runs never need it.
        from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

        self.was_needed = True
        calls = chain([lambda: answer], repeat(send))

        def call() -> Answer:
            nonlocal answer
            answer = next(calls)()
            return answer

        def give_up(_: object) -> Answer:
            self._ends_at = 0.0
            return answer

        retrying = Retrying(
            retry=retry_if_result(is_cold),
            stop=lambda state: self._left <= 0 or stop_after_attempt(1 + MOST)(state),
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            sleep=self._sleep,
            retry_error_callback=give_up,
        )
        try:
            return retrying(call)
        except BrokenOffError:
            return give_up(None)

    def _sleep(self, seconds: float) -> None:
        self._pause.wait(min(seconds, self._left))

    @property
    def _left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())
