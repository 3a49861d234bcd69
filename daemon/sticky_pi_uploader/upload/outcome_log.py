"""Log the outcomes of uploads and the state of the destination, each of them when it is news."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from sticky_pi_api.exceptions import printable

from ..clock import span
from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from ..models import DestinationState, Picture, State
from ..wording import counted

log = logging.getLogger(__name__)

_NO_TROUBLE: Final = (Kind.READ_AGAIN, Kind.UPLOADED, Kind.HELD)


class OutcomeLog:
    """The log lines on one destination, and on the pictures that are sent there."""

    def __init__(self, url: str, monotonic: Callable[[], float]) -> None:
        """Log for the destination at `url`; repeated lines are held back by `monotonic` time."""
        self._url = url
        self._down = Repeats(monotonic)
        self._waiting = Repeats(monotonic)

    def trouble(self, state: DestinationState, why: str, wait: float) -> None:
        """Log that the destination failed, and the seconds until it is tried again."""
        spell = self._down.again(self._url, f"{state}: {why}")
        if spell is not None:
            log.warning(
                "the destination is %s, tried again in %.0f s: %s%s",
                state.value,
                wait,
                why,
                spell,
                extra=about(Kind.DESTINATION_TROUBLE, destination=self._url, reason=why, count=spell.times),
            )

    def recovery(self, failures: int) -> None:
        """Log that the destination works again, after this many failures in a row."""
        is_known = self._url in self._down
        spell = self._down.over(self._url)
        # Trouble that this process met but held back needs no end; trouble of an earlier process may have been logged.
        if spell is not None or not is_known:
            lasted = "" if spell is None else f" in {span(spell.seconds)}"
            log.info(
                "the destination works again, after %s%s",
                counted(failures, "failure"),
                lasted,
                extra=about(Kind.DESTINATION_WORKS, destination=self._url, count=failures),
            )

    def picture(self, kind: Kind, picture: Picture, state: State, text: str, why: str | None = None) -> None:
        """Log the outcome for a picture, unless it only goes on waiting for the same reason."""
        spell = None
        if state is not State.PENDING:
            self._waiting.over(picture.path)
        elif (spell := self._waiting.again(picture.path, f"{kind.name}: {why}")) is None:
            return
        level = logging.INFO if kind in _NO_TROUBLE else logging.WARNING
        line = "".join([text, "" if why is None else f": {why}", "" if spell is None else str(spell)])
        extra = about(kind, picture, state=state, reason=why, destination=self._url)
        log.log(level, "%s: %s", printable(picture.path), line, extra=extra)
