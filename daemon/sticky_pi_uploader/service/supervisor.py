"""Runs the parts of a session side by side, and looks after them.

At each tick it notices what changed around them: the clock was set, the network came back, a command such as `retry`
wrote to the outbox, the watch has to be renewed. It raises what ends the session: a worker died, the outbox is damaged,
or the folders were replaced. And it says whether all parts get on, and how things stand.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from sticky_pi_api.exceptions import printable

from ..config.secret import is_credential
from ..exceptions import OutboxDamagedError, StateError, in_words
from ..journal.events import Kind, about
from ..models import DestinationState
from ..outbox import outbox_path
from ..upload.client_factory import check_store
from ..watch.network import Network
from ..watch.replacements import ReplacementDetector
from ..watch.watcher import Watcher
from ..wording import counted
from .liveness import SCANS, Health, Limits
from .session import Session
from .status_line import SAYINGS, status_line
from .trouble import Advice, Trouble
from .workers import TroubleLog

log = logging.getLogger(__name__)

TICK: Final = 8.0
"""Seconds between two looks at the parts, the folders and the clock, and at what commands such as `retry` recorded."""

CLOCK_JUMP: Final = 2.0
"""Seconds by which the wall clock must part from the monotonic one to have been set."""


class ReplacedError(Exception):
    """The image folder, the outbox or the store isn't the one any more that it was at the start."""


class Supervisor:
    """Looks after one session."""

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
        self._network: Network | None = None
        self._clock_offset = time.time() - time.monotonic()
        self._was_changed = self._ends_wait = False
        self._trouble: StateError | None = None
        self._trouble_log = TroubleLog("service")
        self._health = Health()

    def start(self, limits: Limits) -> None:
        """Start the watcher, the intake, the uploader, retention and maintenance, in this order.

        By `limits`, parts are believed to hang. Raises OSError where the system can start no thread.
        """
        session, store = self._session, self._session.config.api.store
        if store is None:
            self._network = session.on_exit.enter_context(Network())
        else:
            session.uploader.check_first(partial(check_store, store))
        session.on_exit.callback(self._watcher.stop)
        self._watcher.start()
        session.start_intake()
        session.workers.start(
            "uploader",
            session.uploader.step,
            wake=session.to_send,
            after_trouble=session.to_send.set,
            heartbeat=session.uploader_heartbeat,
        )
        session.workers.start("retention", session.retention.step)
        session.workers.start("upkeep", session.maintenance.step, wake=session.to_maintain)
        self._judge_health(limits)

    def _judge_health(self, limits: Limits) -> None:
        session, add, config = self._session, self._health.add, self._session.config
        session.scan_heartbeat.beat()
        add("the intake hangs", session.intake_heartbeat.silence, limits.intake)
        add("the uploader hangs", self._uploader_silence, limits.server if config.api.store is None else limits.store)
        add(f"{config.image_dir} can't be watched", self._watcher.unwatched_for, limits.watch)
        scan = max(limits.scan, SCANS * config.scan_interval)
        add(f"{config.image_dir} wasn't looked through", session.scan_heartbeat.silence, scan)

    def _uploader_silence(self) -> float:
        # A request within its deadline gets on, however slow the link is.
        return min(self._session.uploader_heartbeat.silence(), self._session.uploader.stalled_for())

    def raise_fatal(self) -> None:
        """Raise what ends the session: OutboxDamagedError, WorkerDiedError, or ReplacedError."""
        self._session.workers.raise_fatal()
        if self._replacements.has_found():
            raise ReplacedError(f"{self._session.config.image_dir}, its state or the store was replaced")

    def is_well(self) -> bool:
        """Return whether every part gets on with its work."""
        return self._health.is_well()

    def troubles(self) -> Iterator[Trouble]:
        """Yield what keeps the service from a part of its work, the destination's own trouble apart."""
        session = self._session
        if self._health.problem is not None:
            yield Trouble(self._health.problem, Advice.NOTHING)
        if (error := session.workers.trouble() or self._trouble) is not None:
            yield Trouble(in_words(error), Advice.CHECK_STATE)
        if unreadable := session.scanner.unreadable():
            path, reason = unreadable[0]
            others = f", and {counted(len(unreadable) - 1, 'other')} neither" if len(unreadable) > 1 else ""
            what = f"{os.path.join(session.image_dir, path)} can't be read ({reason}){others}: no picture there is seen"
            yield Trouble(printable(what), Advice.LET_READ)
        if (obstacle := session.retention.obstacle) is not None:
            yield Trouble(f"no picture is removed: {obstacle}", Advice.MAKE_ROOM)

    def account_trouble(self) -> Iterator[Trouble]:
        """Yield the trouble that the server doesn't accept the account, with how to mend it. Raises StateError."""
        api = self._session.config.api
        if self._outbox.destination(api.url).state is DestinationState.UNAUTHORIZED:
            if api.password_file is None:
                advice = Advice.MEND_ENVIRONMENT
            else:
                is_systemds = is_credential(api.password_file, os.environ)
                advice = Advice.MEND_CREDENTIAL if is_systemds else Advice.MEND_FILE
            yield Trouble(f"{api.url} {SAYINGS[DestinationState.UNAUTHORIZED]}", advice)

    def status(self, others: Sequence[Trouble] = ()) -> str:
        """Return in one line how things stand, with `others` before the troubles. Raises OutboxDamagedError."""
        problem = "; ".join(trouble.what for trouble in (*others, *self.troubles()))
        try:
            destination = self._outbox.destination(self._session.config.api.url)
            to_look_at = self._outbox.catalog.count_to_look_at()
            return status_line(self._outbox.counts(), to_look_at, destination, problem)
        except OutboxDamagedError:
            raise
        except StateError as error:
            return str(error)

    def descriptors(self) -> list[int]:
        """Return the file descriptors that can be read when a tick is due before its time."""
        descriptor = None if self._network is None else self._network.descriptor
        return [] if descriptor is None else [descriptor]

    def tick(self) -> float:
        """Notice what changed, and have the parts follow; return the seconds until the next tick.

        An outbox that can't be used just now is logged, and tried again, as by the workers. Raises OutboxDamagedError.
        """
        self._look_at_clock()
        until_network = self._look_at_network()
        self._look_at_outbox()
        return min(TICK, until_network, self._watcher.tick())

    def end_wait(self) -> None:
        """Have the destination tried at once, or as soon as the outbox can be written. Raises OutboxDamagedError."""
        self._ends_wait = True
        self._look_at_outbox()

    def _look_at_clock(self) -> None:
        offset = time.time() - time.monotonic()
        if abs(offset - self._clock_offset) > CLOCK_JUMP:
            by = offset - self._clock_offset
            log.info(
                "the clock was set by %+.0f s: every wait is looked at anew",
                by,
                extra=about(Kind.CLOCK_SET, seconds=by),
            )
            self._clock_offset = offset
            self._ends_wait = True
            if by < 0:
                # Debian 12's watchdog measures half a second by that clock, and sees nothing until it is over.
                self._watcher.request_restart("the clock was set back")

    def _look_at_network(self) -> float:
        if self._network is None:
            return math.inf
        if self._network.is_time():
            log.debug("the network may be back: what couldn't be reached is tried again")
            self._session.uploader.network_is_back()
            self._session.to_send.set()
        return self._network.wait()

    def _look_at_outbox(self) -> None:
        """Notice what other processes did to it, and end the wait. Raises OutboxDamagedError."""
        try:
            self._was_changed |= self._outbox.changed_by_another()
            if self._was_changed:
                for path in self._outbox.catalog.files_to_recheck():
                    self._session.scan_requests.file(path)
                # A command wrote there, or somebody's tool did: only the second can leave impossible values.
                self._session.maintenance.inspect_soon()
                self._session.to_maintain.set()
                self._was_changed = False
                self._session.to_send.set()
            if self._ends_wait:
                self._outbox.destinations.end_wait()
                self._ends_wait = False
                self._session.to_send.set()
        except OutboxDamagedError:
            raise
        except StateError as error:
            self._trouble = error
            self._trouble_log.note(error)
        else:
            self._trouble = None
            self._trouble_log.note_end()
