"""Build the parts that work on one image folder under one configuration, and close them in reverse order.

          supervisor                      notices changes around them, reports troubles
               │
   watcher ────┴─→ scan requests ──→ intake ──→ outbox ──→ uploader ──→ the destination
   (events)                          (scan,     (one row   (claim,
                                     read,      each)      put_images, receipt)
                                     record)      ├──────→ retention
                                                  │        (asks the destination again, removes from the card)
                                                  └──────→ maintenance
                                                           (inspects the outbox, carries over what earlier ones knew)

In `run`, each part works in a thread of its own. In `drain`, only the intake does, and the main thread takes the steps
of the other parts in turn.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sticky_pi_api.exceptions import printable

from ..exceptions import OutboxDamagedError, in_words
from ..image_dir.pending_removal import PendingRemovals
from ..intake.intake import Intake
from ..intake.read_picture import PictureReader
from ..intake.scanner import Scanner
from ..journal.events import Kind, log_event
from ..outbox import Aside, open_or_rebuild, outbox_path, put_aside
from ..retention.policy import Retention
from ..scan_requests import ScanRequests
from ..state_dir.lock import Locks
from ..state_dir.thumbnails import ThumbnailFolder
from ..upload.backoff import LONGEST_WAIT
from ..upload.client_factory import check_store, client_opener
from ..upload.uploader import Uploader
from ..wording import counted
from .maintenance import Maintenance
from .startup import prepare_folders, resume
from .trouble import Advice, Trouble
from .workers import Workers

if TYPE_CHECKING:
    from ..budget.holds import Holds
    from ..config import Config
    from ..models import Hold
    from .liveness import Health, Limits


class Session:
    """The parts, as a context: it builds them without running any, and stops and closes them at its end."""

    def __init__(
        self,
        config: Config,
        *,
        wake: Callable[[], None],
        stopping: Callable[[], bool],
        time_left: Callable[[], float] = lambda: math.inf,
        locks: Locks | None = None,
    ) -> None:
        """Touch no disk yet; `wake` is called when a worker waits, is in trouble or has ended.

        Once `stopping()` is true, no further picture is begun; nor is one that can't be sent in `time_left()` seconds.
        Folders locked with `locks` stay locked for the next session. Raises ConfigError for a server without an
        account.
        """
        self.config = config
        self._open_client = client_opener(config)
        self._wake = wake
        self._stopping = stopping
        self._time_left = time_left
        self._locks = locks
        self.on_exit = ExitStack()
        """closed as the session ends"""
        self.workers = Workers(wake)
        self.scan_requests = ScanRequests()

    def __enter__(self) -> Self:
        """Lock the folders, open the outbox and build the parts. Raises UploaderError."""
        with ExitStack() as stack:
            prepare_folders(self.config, self._locks or stack.enter_context(Locks()))
            self._open_outbox(stack)
            self._build(stack)
            self.on_exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the workers and close the parts, in reverse order; put a damaged outbox aside."""
        self.on_exit.__exit__(kind, error, traceback)

    def _open_outbox(self, stack: ExitStack) -> None:
        path = outbox_path(self.config.state_dir)
        stack.push(self._put_aside_if_damaged)
        # Every recorded path is relative to this one; a link may lead to another folder at the next start.
        self.image_dir = os.path.realpath(self.config.image_dir)
        self.outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
        stack.callback(self._close_unless_abandoned, self.outbox.close)
        if aside is not None:
            _log_damage(aside)
        resume(self.outbox, self.image_dir, self.config.api.url)
        self.outbox.queue.set_order(spread=self.config.sends_a_sample)

    def _build(self, stack: ExitStack) -> None:
        config, image_dir, outbox = self.config, self.image_dir, self.outbox
        keep, store = config.retention, config.api.store
        self.holds: Holds | None = None
        if config.hold.is_on:
            from ..budget.holds import Holds

            self.holds = Holds(config, outbox, has_looked=lambda: self.intake.idle)
        thumbnails = ThumbnailFolder(os.path.join(config.state_dir, "thumbnails"))
        ignored = [os.path.realpath(folder) for folder in (config.state_dir, store) if folder]
        removals = PendingRemovals(image_dir)
        self.scanner = Scanner(image_dir, ignored, removals=removals)
        self.intake = Intake(
            self.scanner,
            PictureReader(image_dir, thumbnails, time.time),
            outbox.catalog,
            outbox.folders,
            self.scan_requests,
            recorded=self._something_to_send,
            stopping=self.is_stopping,
        )
        self.uploader = Uploader(
            outbox.queue,
            outbox.destinations,
            thumbnails,
            self.scan_requests,
            image_dir=image_dir,
            url=config.api.url,
            open_client=self._open_client,
            give_up_after=config.api.give_up_after,
            stopping=self.is_stopping,
            left=self._time_left,
            is_held=None if self.holds is None else self.holds.look,
        )
        stack.callback(self._close_unless_abandoned, self.uploader.close)
        remover = None
        if keep.keep_days is not None:
            from ..retention.remover import Remover

            remover = Remover(
                outbox.retention,
                self.scan_requests,
                image_dir=image_dir,
                open_client=self._open_client,
                is_store=store is not None,
                stopping=self.is_stopping,
                removals=removals,
            )
        self.retention = Retention(outbox.retention, thumbnails, remover, keep, image_dir=image_dir, store=store)
        self.maintenance = Maintenance(
            outbox.recovery,
            outbox.retention,
            thumbnails,
            image_dir=image_dir,
            state_dir=config.state_dir,
            keep_record_days=keep.keep_record_days,
        )

    def start_intake(self, *, retries: bool = True) -> None:
        """Start the intake; trouble is fatal unless it `retries`."""
        self.on_exit.callback(self.workers.stop)
        wake = self.scan_requests.waiting
        self.workers.start("intake", self.intake.step, wake, self.intake.heartbeat, retries=retries)

    def start(self, health: Health, limits: Limits) -> None:
        """Start the intake, the uploader, retention and maintenance, in this order; `health` judges them by `limits`.

        Raises OSError where the system can start no thread.
        """
        api, add = self.config.api, health.add
        if api.store is not None:
            self.uploader.check_first(partial(check_store, api.store))
        self.start_intake()
        self.workers.start("uploader", self.send, self.uploader.wake, self.uploader.heartbeat)
        self.workers.start("retention", self.retention.step)
        self.workers.start("upkeep", self.maintenance.step, self.maintenance.wake)
        add("the intake hangs", self.intake.heartbeat.silence, limits.intake)
        add("the uploader hangs", self.uploader.silence, limits.server if api.store is None else limits.store)
        add(f"{self.config.image_dir} wasn't looked through", self.intake.scan_heartbeat.silence, limits.scan)

    def follow_commands(self) -> None:
        """Do the work that commands such as `retry` recorded in the outbox. Raises StateError."""
        for path in self.outbox.catalog.files_to_recheck():
            self.scan_requests.file(path)
        # A command wrote there, or somebody's tool did: only the second can leave impossible values.
        self.maintenance.inspect_soon()
        self.uploader.wake.set()

    def end_wait(self) -> None:
        """Try the destination at once, whatever wait is stored. Raises StateError."""
        self.outbox.destinations.end_wait()
        self.uploader.wake.set()

    def troubles(self) -> Iterator[Trouble]:
        """Yield the reasons why a part can't do its work, apart from the destination's state."""
        if (error := self.workers.trouble()) is not None:
            yield Trouble(in_words(error), Advice.CHECK_STATE)
        if unreadable := self.scanner.unreadable():
            path, reason = unreadable[0]
            others = f", and {counted(len(unreadable) - 1, 'other')} neither" if len(unreadable) > 1 else ""
            what = f"{os.path.join(self.image_dir, path)} can't be read ({reason}){others}: no picture there is seen"
            yield Trouble(printable(what), Advice.LET_READ)
        if (obstacle := self.retention.obstacle) is not None:
            yield Trouble(f"no picture is removed: {obstacle}", Advice.MAKE_ROOM)

    @property
    def hold(self) -> Hold | None:
        """The hold in force, as it was last decided."""
        return None if self.holds is None else self.holds.current

    def send(self) -> float | None:
        """Take the uploader's step; return the seconds until the next one, which a change of the hold ends as well."""
        wait = self.uploader.step()
        if self.holds is None:
            return wait
        return min((each for each in (wait, self.holds.wait()) if each is not None), default=None)

    def is_stopping(self) -> bool:
        """Return whether no further picture may be begun."""
        return self.workers.stopping.is_set() or self._stopping()

    def _something_to_send(self) -> None:
        self.uploader.wake.set()
        self._wake()

    def _close_unless_abandoned(self, close: Callable[[], None]) -> None:
        if not self.workers.is_abandoned():
            close()

    def _put_aside_if_damaged(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # A worker may have found it while another error ended the session.
        damage = next((each for each in (error, *self.workers.errors) if isinstance(each, OutboxDamagedError)), None)
        if damage is not None:
            _log_damage(put_aside(outbox_path(self.config.state_dir), damage))


def _log_damage(aside: Aside) -> None:
    text = f"{aside.why}; it lies in {aside.path} now, and a new one is filled from the folder and the destination"
    log_event(Kind.DAMAGED, text, aside=aside.path, reason=aside.why)
