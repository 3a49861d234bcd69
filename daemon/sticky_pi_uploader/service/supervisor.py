"""Supervise one session: run its parts side by side, and notice changes around them.

Each tick notices that the clock was set, the network came back, a command such as `retry` wrote to the outbox, or the
watcher needs a new observer. `raise_fatal` raises the error that ends the session: a worker died, the outbox is
damaged, or the folders were replaced. `health`, `troubles` and `status` report on the service.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ..config.secret import is_credential
from ..exceptions import OutboxDamagedError, StateError, in_words
from ..journal.events import Kind, log_event
from ..models import SAYINGS, Destination, DestinationState, Hold, State
from ..outbox import outbox_path
from ..watch.network import Network
from ..watch.replacements import ReplacementDetector
from ..watch.watcher import Watcher
from ..wording import counted
from .liveness import SCANS, Health, Limits
from .session import Session
from .trouble import Advice, Trouble
from .workers import TroubleLog

log = logging.getLogger(__name__)

TICK: Final = 8.0
"""Most seconds between two ticks"""

CLOCK_JUMP: Final = 2.0
"""Seconds by which the wall clock must deviate from the monotonic clock to count as set"""


class ReplacedError(Exception):
    """The image folder, the outbox or the store was replaced after the start."""


class Supervisor:
    """Supervise one session: notice changes around it, and report its troubles."""

    def __init__(self, session: Session) -> None:
        """Remember which folders these are; nothing is started yet."""
        config = session.config
        self._session = session
        self._outbox = session.outbox
        # The folder as it is configured, too: it may be a link that is turned to another card. And of a store that was
        # exchanged, the client would put files in the new one, and rows in the old.
        store = [] if config.api.store is None else [os.path.join(config.api.store, "database.db")]
        needed = [session.image_dir, config.image_dir, outbox_path(config.state_dir)]
        self._replacements = ReplacementDetector(needed, store)
        self._watcher = Watcher(session.scanner, session.scan_requests, scan_interval=config.scan_interval)
        self._network = Network()
        self._clock_offset = time.time() - time.monotonic()
        self._was_changed = self._ends_wait = False
        self._trouble_log = TroubleLog("service")
        self.health = Health()

    def start(self, limits: Limits) -> None:
        """Start the watcher, the intake, the uploader, retention and maintenance, in this order.

        A part that is silent beyond its limit hangs. Raises OSError where the system can start no thread.
        """
        session = self._session
        if session.config.api.store is None:
            session.on_exit.enter_context(self._network)
        session.on_exit.callback(self._watcher.stop)
        self._watcher.start()
        self.health.add(f"{session.config.image_dir} can't be watched", self._watcher.unwatched_for, limits.watch)
        scan = max(limits.scan, SCANS * session.config.scan_interval)
        session.start(self.health, limits._replace(scan=scan))

    def raise_fatal(self) -> None:
        """Raise the error that ends the session: OutboxDamagedError, WorkerDiedError, or ReplacedError."""
        self._session.workers.raise_fatal()
        if self._replacements.has_found():
            raise ReplacedError(f"{self._session.config.image_dir}, its state or the store was replaced")

    def troubles(self) -> list[Trouble]:
        """Return the reasons why the service can't do a part of its work, apart from the destination's state."""
        hanging = [Trouble(self.health.problem, Advice.NOTHING)] if self.health.problem is not None else []
        own = [Trouble(in_words(error), Advice.CHECK_STATE)] if (error := self._trouble_log.error) is not None else []
        return list(dict.fromkeys([*hanging, *own, *self._session.troubles()]))

    def account_trouble(self) -> Iterator[Trouble]:
        """Yield the trouble that the server doesn't accept the account. Raises StateError."""
        api = self._session.config.api
        if self._outbox.destination(api.url).state is DestinationState.UNAUTHORIZED:
            if api.password_file is None:
                advice = Advice.MEND_ENVIRONMENT
            else:
                is_systemds = is_credential(api.password_file, os.environ)
                advice = Advice.MEND_CREDENTIAL if is_systemds else Advice.MEND_FILE
            yield Trouble(f"{api.url} {SAYINGS[DestinationState.UNAUTHORIZED]}", advice)

    def status(self, others: Sequence[Trouble] = ()) -> str:
        """Return the status line, with `others` before the troubles. Raises OutboxDamagedError."""
        problem = "; ".join([*(trouble.what for trouble in (*others, *self.troubles())), *self._hold_problems()])
        try:
            destination = self._outbox.destination(self._session.config.api.url)
            to_look_at = self._outbox.catalog.count_to_look_at()
            return status_line(self._outbox.counts(), to_look_at, destination, problem, self._session.hold)
        except OutboxDamagedError:
            raise
        except StateError as error:
            return str(error)

    def _hold_problems(self) -> list[str]:
        # `status` and `check` find them in the outbox, as the drains of a trap without the service tell nobody.
        return [] if self._session.holds is None else self._session.holds.problems()

    def descriptors(self) -> list[int]:
        """Return the file descriptors that become readable when a tick is due early."""
        return [] if self._network.descriptor is None else [self._network.descriptor]

    def tick(self) -> float:
        """Notice changes, and pass them on to the parts; return the seconds until the next tick.

        An outbox that can't be used at the moment is logged and tried again, as by the workers. Raises
        OutboxDamagedError.
        """
        self._look_at_clock()
        until_network = self._look_at_network()
        self._look_at_outbox()
        return min(TICK, until_network, self._watcher.tick())

    def end_wait(self) -> None:
        """Try the destination at once, or as soon as the outbox can be written. Raises OutboxDamagedError."""
        self._ends_wait = True
        self._look_at_outbox()

    def _look_at_clock(self) -> None:
        offset = time.time() - time.monotonic()
        if abs(offset - self._clock_offset) > CLOCK_JUMP:
            by = offset - self._clock_offset
            log_event(Kind.CLOCK_SET, f"the clock was set by {by:+.0f} s: every wait is calculated again", seconds=by)
            self._clock_offset = offset
            self._ends_wait = True
            if by < 0:
                # Debian 12's watchdog measures half a second by that clock, and sees nothing until it is over.
                self._watcher.request_restart("the clock was set back")

    def _look_at_network(self) -> float:
        if self._network.is_time():
            log.debug("the network may be back: what couldn't be reached is tried again")
            self._session.uploader.network_is_back()
        return self._network.wait()

    def _look_at_outbox(self) -> None:
        """Notice that another process wrote to it, and end the wait. Raises OutboxDamagedError."""
        try:
            self._was_changed |= self._outbox.changed_by_another()
            if self._was_changed:
                self._session.follow_commands()
                self._was_changed = False
            if self._ends_wait:
                self._session.end_wait()
                self._ends_wait = False
            self._trouble_log.note_end()
        except OutboxDamagedError:
            raise
        except StateError as error:
            self._trouble_log.note(error)


def status_line(
    counts: Mapping[State, int], to_look_at: int, destination: Destination, problem: str = "", hold: Hold | None = None
) -> str:
    """Describe the pictures and the destination in one line, after a `problem` of the service itself.

    `counts` has the pictures in each state; `to_look_at` of them need attention; `hold` is the one in force.
    """
    waiting = counts[State.PENDING] + counts[State.UPLOADING]
    parts = [problem] if problem else []
    parts.append(f"{counted(waiting, 'picture') if waiting else 'no pictures'} waiting")
    if to_look_at:
        parts.append(f"{to_look_at} to be looked at")
    if hold is not None:
        parts.append(str(hold))
    parts.append(f"{destination.url} {SAYINGS[destination.state]}")
    if destination.retry_at is not None:
        parts[-1] += f", tried again at {time.strftime('%H:%M', time.gmtime(destination.retry_at))} UTC"
    return "; ".join(parts)
