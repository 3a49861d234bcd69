"""Log the outcomes of uploads and the state of the destination, unless the log has them already."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import span
from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats
from ..models import DestinationState, Picture, State
from ..wording import counted


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
            text = f"the destination is {state}, tried again in {wait:.0f} s: {why}{spell}"
            log_event(Kind.DESTINATION_TROUBLE, text, destination=self._url, reason=why, count=spell.times)

    def recovery(self, failures: int) -> None:
        """Log that the destination works again, after this many failures in a row."""
        is_known = self._url in self._down
        spell = self._down.over(self._url)
        # Trouble that this process met but held back needs no end; trouble of an earlier process may have been logged.
        if spell is not None or not is_known:
            lasted = "" if spell is None else f" in {span(spell.seconds)}"
            text = f"the destination works again, after {counted(failures, 'failure')}{lasted}"
            log_event(Kind.DESTINATION_WORKS, text, destination=self._url, count=failures)

    def picture(self, kind: Kind, picture: Picture, state: State, text: str, why: str | None = None) -> None:
        """Log the outcome for a picture, unless it only goes on waiting for the same reason."""
        spell = None
        if state is not State.PENDING:
            self._waiting.over(picture.path)
        elif (spell := self._waiting.again(picture.path, f"{kind.name}: {why}")) is None:
            return
        line = text if why is None else f"{text}: {why}"
        log_event(kind, f"{line}{spell or ''}", picture, state=state, reason=why, destination=self._url)
