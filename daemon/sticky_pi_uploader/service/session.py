"""All that works on one image folder under one configuration: put together, started in order, stopped in reverse.

watcher ──→ requests ──→ intake ──→ outbox ──→ uploader ──→ the destination
(events)                 (scan,     (one row   (claim,
                          ingest)    each)      put_images, receipt)
                                       ├─────→ retention
                                       │       (asks the destination again, removes from the card)
                                       └─────→ upkeep
                                               (inspects the outbox, carries over what earlier ones knew)
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from ..exceptions import NoSpaceError, OutboxDamagedError, StateError
from ..intake.intake import Intake
from ..intake.read_picture import Ingest
from ..intake.scanner import Scanner
from ..journal.events import Kind, about
from ..outbox import Aside, open_or_rebuild, outbox_path, put_aside
from ..ownership.run_as_owner import work_as_owner
from ..retention.policy import Policy, Retention
from ..retention.remover import Removal
from ..scan_requests import ScanRequests
from ..state_dir.folder import mark
from ..state_dir.lock import Locks
from ..state_dir.mounts import prepare_state_dir, state_dir_problem
from ..state_dir.obstacles import clear_obstacle_of_lock, clear_obstacles
from ..state_dir.pending_removal import PendingRemovals, is_there
from ..state_dir.reserved_space import Reserve
from ..state_dir.thumbnails import ThumbnailFolder
from ..upload.backoff import LONGEST_WAIT
from ..upload.client_factory import client_opener, try_store
from ..upload.uploader import Uploader
from ..watch.replacements import Originals
from .crew import Crew
from .liveness import SCANS, Health, Limits, Pulse
from .maintenance import Upkeep
from .summary import summary
from .worker import TROUBLE_WAIT, Hindrance

if TYPE_CHECKING:
    from ..config import Config
    from ..watch.network import Network
    from ..watch.watcher import Watcher

log = logging.getLogger(__name__)

TICK: Final = 8.0
"""Seconds between two looks at the parts, the folders and the clock, and at what commands such as `retry` recorded."""

CLOCK_JUMP: Final = 2.0
"""Seconds by which the wall clock must part from the monotonic one to have been set."""


class Session:
    """The parts, and how they hang together."""

    def __init__(
        self,
        config: Config,
        *,
        wake: Callable[[], None],
        stopping: Callable[[], bool],
        left: Callable[[], float] = lambda: math.inf,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        locks: Locks | None = None,
    ) -> None:
        """Build what needs no disk; `wake` is called when there is something to send, or when a worker died.

        Once `stopping()`, no further picture is begun, nor one that can't be sent in the seconds that `left()` tells;
        by `limits`, parts are believed to hang. What is taken with `locks` stays locked afterwards, for the next
        session. Raises ConfigError for a server without an account.
        """
        self._config = config
        self._open_client = client_opener(config)
        self._wake = wake
        self._stopping = stopping
        self._left = left
        self._exit = ExitStack()
        self._locks = locks
        self.crew = Crew(wake)
        self._watcher: Watcher | None = None
        self._network: Network | None = None
        self._clock_offset = time.time() - time.monotonic()
        self._ends_wait = False
        self._was_changed = False
        self._hindrance = Hindrance("service")
        self._trouble: StateError | None = None
        self._to_send, self._to_maintain = threading.Event(), threading.Event()
        self._limits = limits
        self._intake_pulse, self._uploader_pulse, self._scans = Pulse(), Pulse(), Pulse()
        self.health = Health()
        self.scan_requests = ScanRequests()

    def __enter__(self) -> Self:
        """Take the locks, open the outbox and put the parts together; nothing runs yet. Raises UploaderError."""
        with ExitStack() as stack:
            self._open(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop what runs and close everything, in reverse; an outbox that proved damaged is put aside."""
        self._exit.__exit__(kind, error, traceback)

    def _open(self, stack: ExitStack) -> None:
        config = self._config
        removes = config.retention.keep_days is not None
        work_as_owner(config.state_dir, config.image_dir, sends=True, removes=removes, gives=True)
        prepare_state_dir(config.state_dir, config.image_dir)
        # In a folder such as /tmp, somebody else may have been faster.
        work_as_owner(config.state_dir, config.image_dir, sends=True, removes=removes)
        self._lock(self._locks or stack.enter_context(Locks()))
        # From here on: without the lock, it would be another process's reserve.
        Reserve(config.state_dir).release_if_needed()
        if (problem := state_dir_problem(config.state_dir)) is not None:
            raise StateError(problem)
        clear_obstacles(config.state_dir)
        mark(config.state_dir)
        stack.push(self._put_aside_if_damaged)
        # Every path that is kept is relative to this one; a link may point elsewhere next time.
        image_dir = os.path.realpath(config.image_dir)
        self.outbox, aside = open_or_rebuild(outbox_path(config.state_dir), longest_wait=LONGEST_WAIT)
        stack.callback(self._close_unless_abandoned, self.outbox.close)
        # The folder as it is configured, too: it may be a link that is turned to another card. And of a store that was
        # exchanged, the client would put files in the new one, and rows in the old.
        store = [] if config.api.store is None else [os.path.join(config.api.store, "database.db")]
        self._originals = Originals([image_dir, config.image_dir, outbox_path(config.state_dir)], store)
        if aside is not None:
            _tell_of_damage(aside)
        self._resume(image_dir)
        thumbnails = ThumbnailFolder(os.path.join(config.state_dir, "thumbnails"))
        ignored = [os.path.realpath(folder) for folder in (config.state_dir, config.api.store) if folder]
        leaving = PendingRemovals(image_dir)
        self._scanner = Scanner(image_dir, ignored, leaving=leaving)
        self.intake = Intake(
            self._scanner,
            Ingest(image_dir, thumbnails, time.time),
            self.outbox.catalog,
            self.outbox.folders,
            self.scan_requests,
            recorded=self._something_to_send,
            stopping=self.is_stopping,
            beat=self._intake_pulse.beat,
            scanned=self._scans.beat,
        )
        self.uploader = Uploader(
            self.outbox.queue,
            self.outbox.destinations,
            thumbnails,
            self.scan_requests,
            image_dir=image_dir,
            url=config.api.url,
            open_client=self._open_client,
            give_up_after=config.api.give_up_after,
            stopping=self.is_stopping,
            beat=self._uploader_pulse.beat,
            left=self._left,
        )
        stack.callback(self._close_unless_abandoned, self.uploader.close)
        self.retention = self._make_retention(image_dir, thumbnails, leaving)
        self.upkeep = Upkeep(
            self.outbox.recovery,
            self.outbox.retention,
            thumbnails,
            image_dir=image_dir,
            state_dir=config.state_dir,
            keep_record_days=config.retention.keep_record_days,
        )

    def _lock(self, locks: Locks) -> None:
        """Take the locks. Raises UploaderError."""
        image_dir, state_dir = self._config.image_dir, self._config.state_dir
        clear_obstacle_of_lock(state_dir)
        try:
            locks.take(image_dir, state_dir)
        except NoSpaceError:
            # There is no file to be locked, so nobody else's reserve is there either.
            Reserve(state_dir).release_if_needed()
            locks.take(image_dir, state_dir)

    def _make_retention(self, image_dir: str, thumbnails: ThumbnailFolder, leaving: PendingRemovals) -> Retention:
        wanted, store = self._config.retention, self._config.api.store
        removal = Removal(
            self.outbox.retention,
            self.scan_requests,
            image_dir=image_dir,
            open_client=self._open_client,
            is_store=store is not None,
            stopping=self.is_stopping,
            leaving=leaving,
        )
        policy = Policy(wanted.keep_days, wanted.min_free.of, wanted.keep_record_days, wanted.also_remove)
        return Retention(self.outbox.retention, thumbnails, removal, policy, image_dir=image_dir, store=store)

    def _put_aside_if_damaged(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # A worker may have found it while something else ended the session.
        error = error if isinstance(error, OutboxDamagedError) else self.crew.trouble()
        if isinstance(error, OutboxDamagedError):
            _tell_of_damage(put_aside(outbox_path(self._config.state_dir), error))

    def _resume(self, image_dir: str) -> None:
        interrupted = self.outbox.queue.recover()
        if interrupted:
            log.info(
                "%d pictures were being sent when the last run ended: they are asked for again",
                interrupted,
                extra=about(Kind.RESUMED, count=interrupted),
            )
        url = self._config.api.url
        changed = self.outbox.destinations.change(url, partial(is_there, image_dir))
        if changed:
            log.info(
                "the destination is %s now: %d pictures that are still here are due again",
                url,
                changed,
                extra=about(Kind.DESTINATION_CHANGED, destination=url, count=changed),
            )

    def start(self) -> None:
        """Start the watcher, the intake, the uploader, retention and upkeep, in this order."""
        # A `drain` watches nothing.
        from ..watch.network import Network
        from ..watch.watcher import Watcher

        if self._config.api.store is None:
            self._network = self._exit.enter_context(Network())
        self._watcher = Watcher(self._scanner, self.scan_requests, scan_interval=self._config.scan_interval)
        self._exit.callback(self._watcher.stop)
        self._watcher.start()
        self.start_intake()
        if (store := self._config.api.store) is not None:
            self.uploader.begin_with(partial(try_store, store))
        self.crew.start(
            "uploader",
            self.uploader.step,
            self._to_send,
            after_trouble=self._to_send.set,
            pulse=self._uploader_pulse,
        )
        for name, step, wake in (
            ("retention", self.retention.step, threading.Event()),
            ("upkeep", self.upkeep.step, self._to_maintain),
        ):
            self.crew.start(name, step, wake, after_trouble=lambda: None, pulse=Pulse())
        self._examine(self._watcher)

    def start_intake(self, *, goes_on: bool = True) -> None:
        """Start the intake; alone, it is for a run that ends by itself, and with trouble unless it `goes_on`."""
        self._exit.callback(self.crew.stop)
        self.crew.start(
            "intake",
            self.intake.step,
            self.scan_requests.waiting,
            after_trouble=self._look_anew,
            pulse=self._intake_pulse,
            goes_on=goes_on,
        )

    def _examine(self, watcher: Watcher) -> None:
        """Have the health of all that runs judged."""
        limits, config, add = self._limits, self._config, self.health.add
        self._scans.beat()
        add("the intake hangs", self._intake_pulse.silence, limits.intake)
        add("the uploader hangs", self._uploader_silence, limits.server if config.api.store is None else limits.store)
        add(f"{config.image_dir} can't be watched", watcher.unwatched_for, limits.watch)
        scan = max(limits.scan, SCANS * config.scan_interval)
        add(f"{config.image_dir} wasn't looked through", self._scans.silence, scan)

    def _uploader_silence(self) -> float:
        # A request within its deadline gets on, however slow the link is.
        return min(self._uploader_pulse.silence(), self.uploader.stalled_for())

    def _close_unless_abandoned(self, close: Callable[[], None]) -> None:
        if not self.crew.is_abandoned():
            close()

    def is_stopping(self) -> bool:
        """Tell whether no further picture should be begun."""
        return self.crew.is_stopping() or self._stopping()

    def summary(self) -> str:
        """Say in one line how things stand."""
        trouble = self.crew.trouble() or self._trouble
        problem = self.health.problem or (None if trouble is None else str(trouble))
        return summary(self.outbox.counts(), self.outbox.destination(self._config.api.url), problem)

    def is_displaced(self) -> bool:
        """Tell whether the image folder, the outbox or the store isn't the one any more that it was at the start."""
        return self._originals.are_replaced()

    def tick(self) -> float:
        """Look after the watch, and notice what people asked for; returns the seconds until the next tick.

        An outbox that can't be used just now is told of, and tried again, as by the workers. Raises OutboxDamagedError.
        """
        self._note_clock()
        longest = min(TICK, self._look_after_network())
        if not self._look_at_outbox():
            longest = min(longest, TROUBLE_WAIT)
        return longest if self._watcher is None else min(longest, self._watcher.tick())

    def _note_clock(self) -> None:
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
            if by < 0 and self._watcher is not None:
                # Debian 12's watchdog measures half a second by that clock, and sees nothing until it is over.
                self._watcher.distrust("the clock was set back")

    def _look_at_outbox(self) -> bool:
        """Notice what others did to it, and end the wait; False where it can't be used just now, which is told."""
        try:
            self._was_changed |= self.outbox.changed_by_another()
            if self._was_changed:
                for path in self.outbox.catalog.files_to_recheck():
                    self.scan_requests.file(path)
                self._was_changed = False
                # A command wrote there, or somebody's tool did: only the second can leave impossible values.
                self.upkeep.inspect_soon()
                self._to_maintain.set()
                self._to_send.set()
            if self._ends_wait:
                self.outbox.destinations.end_wait()
                self._ends_wait = False
                self._to_send.set()
        except OutboxDamagedError:
            raise
        except StateError as error:
            self._trouble = error
            self._hindrance.tell(error)
            return False
        self._trouble = None
        self._hindrance.tell_end()
        return True

    def end_wait(self) -> None:
        """Have the destination tried at once, or as soon as the outbox can be written. Raises OutboxDamagedError."""
        self._ends_wait = True
        self._look_at_outbox()

    def _look_after_network(self) -> float:
        if self._network is None:
            return math.inf
        if self._network.is_time():
            log.debug("the network may be back: what couldn't be reached is tried again")
            self.uploader.network_is_back()
            self._to_send.set()
        return self._network.wait()

    def descriptors(self) -> list[int]:
        """List what can be read when a tick is due before its time."""
        descriptor = None if self._network is None else self._network.descriptor
        return [] if descriptor is None else [descriptor]

    def _look_anew(self) -> None:
        # What keeps it from its work is known and said: a new start would change nothing.
        self._scans.beat()
        self.scan_requests.everything()

    def _something_to_send(self) -> None:
        self._scans.beat()
        self._to_send.set()
        self._wake()


def _tell_of_damage(aside: Aside) -> None:
    log.error(
        "%s; it lies in %s now, and a new one is filled from the folder and the destination",
        aside.why,
        aside.path,
        extra=about(Kind.DAMAGED, aside=aside.path, reason=aside.why),
    )
