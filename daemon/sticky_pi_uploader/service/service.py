"""`run`: work in one session after the other until the service is stopped.

The next session begins after the configuration, the folders, the outbox or the store was replaced, after the outbox was
found damaged, and after the state folder couldn't be used.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from ..exceptions import OutboxDamagedError, StateError, UploaderError
from ..journal.events import Kind, log_event
from ..state_dir.lock import Locks
from ..upload.client_factory import client_opener
from .liveness import Limits
from .reload import ReloadableConfig
from .session import Session
from .signals import Signals
from .startup import wait_until_present
from .supervisor import ReplacedError, Supervisor
from .systemd import ServiceManager
from .trouble import Advice, Trouble
from .workers import TROUBLE_WAIT, TroubleLog, WorkerDiedError

if TYPE_CHECKING:
    from ..config import Config

DAMAGE_WAIT: Final = 5.0
"""Seconds between putting an outbox aside and opening the next one"""

PAUSE: Final = 1.0
"""Least seconds between two status lines"""


def run(load: Callable[[], Config], *, limits: Limits = Limits()) -> int:  # noqa: B008  # they are frozen
    """Work until SIGTERM or SIGINT; on SIGHUP, `load` the configuration again.

    systemd is told the status, and gets no more signs of life once a part hangs, by `limits`. Returns the exit status:
    0 after a clean stop, 70 if a worker died, 75 if systemd has to restart the service, as for a folder that is present
    at last. Raises UploaderError if the service can't start.
    """
    manager = ServiceManager()
    try:
        config = ReloadableConfig(load, manager, check=client_opener)
        with Signals() as signals, Locks() as locks:
            status = _Service(config, signals, manager, locks, limits).run()
            manager.stopping()
    except UploaderError as error:
        # systemd shows it after the end, too.
        manager.say("; ".join(str(error).splitlines()))
        raise
    _note_end(config, manager, status)
    return status


class _Service:
    def __init__(
        self, config: ReloadableConfig, signals: Signals, manager: ServiceManager, locks: Locks, limits: Limits
    ) -> None:
        self._config = config
        self._signals = signals
        self._manager = manager
        self._locks = locks
        self._limits = limits
        self._trouble_log = TroubleLog("service")
        self._has_worked = False

    def run(self) -> int:
        """Work until the service is stopped or has to be restarted; return the exit status."""
        while True:
            status = wait_until_present(
                self._config,
                self._signals,
                self._manager,
                # A disk that is to come back must not be held back by its lock.
                before_waiting=self._locks.release,
                patience=self._limits.away,
                has_worked=self._has_worked,
            )
            if status is None:
                status = self._work()
            if status is not None:
                return status

    def _work(self) -> int | None:
        """Work in one session; return the exit status, or None if the next session has to begin.

        Trouble of a later session with the state folder is waited out. Raises StateError if the first one can't begin.
        """
        signals, status = self._signals, None
        session = Session(self._config.current, wake=signals.wake, stopping=lambda: signals.stop, locks=self._locks)
        try:
            with session:
                self._supervise(session)
        except WorkerDiedError:
            status = os.EX_SOFTWARE
        except ReplacedError as error:
            folder = session.config.image_dir
            log_event(Kind.DISPLACED, f"{error}: starting over with what is there", folder=folder)
        except OutboxDamagedError:
            # The session put it aside. On a disk that damages every file, that must not be repeated without a pause.
            self._wait(DAMAGE_WAIT)
        except StateError as error:
            self._manager.record(session.config.state_dir, [Trouble(str(error), Advice.CHECK_STATE)])
            if not self._has_worked:
                raise
            if self._manager.listens and not os.access(session.config.state_dir, os.W_OK):
                # Only root can make the state folder on another card.
                log_event(Kind.STARTS_ANEW, f"{error}: systemd starts the service anew")
                return os.EX_TEMPFAIL
            self._trouble_log.note(error)
            self._locks.release()  # its disk may have to be unmounted
            self._manager.say(str(error))
            self._manager.ping()
            self._wait(TROUBLE_WAIT)
        if status is None and signals.stop:
            status = os.EX_OK
        if session.workers.is_abandoned():
            status = os.EX_SOFTWARE if status is None else status
            _note_end(self._config, self._manager, status)
            _leave(status)
        return status

    def _supervise(self, session: Session) -> None:
        """Run all parts of a session until it has to end. Raises the errors of `Supervisor.raise_fatal`."""
        config, manager, signals = session.config, self._manager, self._signals
        supervisor = Supervisor(session)
        supervisor.start(self._limits)
        self._trouble_log.note_end()
        folder, url = config.image_dir, config.api.url
        log_event(Kind.WATCHING, f"watching {folder}, sending to {url}", folder=folder, destination=url)
        self._has_worked = True
        manager.ready()
        told_at = -math.inf
        if manager.take_stop():
            # Somebody restarted it, perhaps after correcting the password that the server refused.
            supervisor.end_wait()
        while not signals.stop:
            try:
                supervisor.raise_fatal()
            except WorkerDiedError:
                manager.stopping()
                raise
            if (signals.take_reload() and self._config.reload()) or self._config.take_changed_files():
                return  # for a session with the new configuration
            manager.ready()  # again, after a reload that changed nothing
            if self._config.take_end_of_wait():
                supervisor.end_wait()
            longest = supervisor.tick()
            if supervisor.health.is_well():
                manager.ping()
                longest = min(longest, manager.next_ping)
            if manager.listens:
                if time.monotonic() - told_at >= PAUSE:
                    self._tell(supervisor)
                    told_at = time.monotonic()
                else:
                    longest = min(longest, told_at + PAUSE - time.monotonic())
            signals.wait(longest, *supervisor.descriptors())
        manager.stopping()
        session.workers.raise_fatal()

    def _tell(self, supervisor: Supervisor) -> None:
        refusals = self._config.refusals
        self._manager.say(supervisor.status(refusals))
        with suppress(StateError):  # the next tick makes it one of the troubles
            troubles = [*refusals, *supervisor.troubles(), *supervisor.account_trouble()]
            self._manager.record(self._config.current.state_dir, troubles)

    def _wait(self, seconds: float) -> None:
        self._signals.wait(0)  # the workers' last wake-ups
        self._signals.wait(seconds)


def _note_end(config: ReloadableConfig, manager: ServiceManager, status: int) -> None:
    """Clear the recorded trouble, and note for the next start that somebody stopped or reloaded the service."""
    manager.record(config.current.state_dir, [])
    if status == os.EX_OK or config.take_end_of_wait():
        manager.note_stop()
    log_event(Kind.STOPPED, "stopped")


def _leave(status: int) -> NoReturn:
    """End the process at once: the interpreter's own end would wait for locks that a hanging worker holds."""
    logging.shutdown()
    os._exit(status)
