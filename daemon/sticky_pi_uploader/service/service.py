"""The two ways in which the daemon works: `run`, until it is told to stop, and `drain`, until nothing is left to do."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from ..exceptions import OutboxDamagedError, StateError, in_words
from ..journal.events import Kind, about
from ..models import State
from ..state_dir.lock import Locks
from ..state_dir.mounts import image_dir_problem
from ..upload.cancel import GRACE
from .liveness import Limits
from .session import Session
from .signals import Signals
from .worker import TROUBLE_WAIT, Hindrance

if TYPE_CHECKING:
    from ..config import Config
    from .startup import Readiness

log = logging.getLogger(__name__)

DAMAGE_WAIT: Final = 5.0
"""Seconds between an outbox that was put aside and the next one."""

IN_HAND: Final = 0.1
"""The share of a deadline, up to `GRACE` seconds, that is kept for the pictures that are in hand by then"""

PAUSE: Final = 1.0
"""Seconds between two status lines."""

UPKEEP: Final = 15.0
"""Seconds that a `drain` must have left for a step of upkeep: a slow trap needs some for a look at the whole outbox."""

GLANCE: Final = 0.5
"""Seconds that `drain` sleeps at most while the intake is at work."""


class _Deadline(NamedTuple):
    """When a `drain` ends, and until when it begins something; both by the monotonic clock."""

    ends_at: float
    begins_until: float


class Progress(NamedTuple):
    """How far a `drain` is."""

    seen: int
    """new or changed files found"""
    recorded: int
    """of those, taken in"""
    sent: int
    """pictures that the destination turned out to hold"""
    left: int
    """pictures still to be sent"""


def run(load: Callable[[], Config], *, limits: Limits = Limits()) -> int:  # noqa: B008  # they are frozen
    """Work until SIGTERM or SIGINT; on SIGHUP, `load` the configuration again.

    Whoever started the service is told how it is, and gets no more signs of life once a part hangs, by `limits`.
    Returns the exit status: 0 after a clean stop, 70 if a part died, 75 if the folders went away and, under systemd,
    didn't come back. Raises UploaderError where it can't start.
    """
    # A `drain` needs neither.
    from .startup import Readiness
    from .systemd import ServiceManager

    config, status, manager, hindrance = load(), None, ServiceManager(), Hindrance("service")
    with Signals() as signals, Locks() as locks:
        # A disk that is to come back must not be held back by its lock.
        readiness = Readiness(load, signals, manager, before_waiting=locks.release)
        while status is None:
            # From inside a sandbox, a disk that is mounted later may not be seen.
            patience = limits.away if manager.is_ready and manager.listens else math.inf
            if (ready := readiness.wait(config, patience=patience)) is not None:
                config, status = _work(ready, readiness, limits, hindrance, locks)
            elif signals.stop:
                status = os.EX_OK
            else:
                log.error(
                    "nothing came back within %g s: ending, so that systemd starts the service anew",
                    patience,
                    extra=about(Kind.GAVE_UP_WAITING, folder=config.image_dir),
                )
                status = os.EX_TEMPFAIL
        manager.stopping()
    log.info("stopped", extra=about(Kind.STOPPED))
    return status


def _work(
    config: Config, readiness: Readiness, limits: Limits, hindrance: Hindrance, locks: Locks
) -> tuple[Config, int | None]:
    """Work in one session; returns the configuration for the next, and the exit status if there is to be none.

    What keeps a later session from its work is waited for; raises StateError where it is the first that can't begin.
    """
    signals, died = readiness.signals, False
    session = Session(config, wake=signals.wake, stopping=lambda: signals.stop, limits=limits, locks=locks)
    try:
        with session:
            session.start()
            hindrance.tell_end()
            log.info(
                "watching %s, sending to %s",
                config.image_dir,
                config.api.url,
                extra=about(Kind.WATCHING, folder=config.image_dir, destination=config.api.url),
            )
            readiness.manager.ready()
            config = _attend(session, readiness, config)
            died = session.crew.has_died()
            if signals.stop or died:
                readiness.manager.stopping()
    except OutboxDamagedError:
        # The session put it aside. On a disk that damages every file this must not go round and round.
        signals.wait(0)  # the workers' last wake-ups
        signals.wait(DAMAGE_WAIT)
    except StateError as error:
        if not readiness.manager.is_ready:
            raise
        hindrance.tell(error)
        locks.release()  # its disk may have to be unmounted
        readiness.manager.ping()
        signals.wait(0)  # as above
        signals.wait(TROUBLE_WAIT)
    status = os.EX_SOFTWARE if died else os.EX_OK if signals.stop else None
    if session.crew.is_abandoned():
        _leave(os.EX_SOFTWARE if status is None else status)
    return config, status


def _leave(status: int) -> NoReturn:
    """End the process at once: what a hanging worker holds would hold up the interpreter's own end."""
    log.info("stopped", extra=about(Kind.STOPPED))
    logging.shutdown()
    os._exit(status)


def _attend(session: Session, readiness: Readiness, config: Config) -> Config:
    """Look after a session until it has to end; returns the configuration for the next.

    Raises OutboxDamagedError once a worker finds it damaged.
    """
    signals, manager, told_at = readiness.signals, readiness.manager, -math.inf
    while not (signals.stop or session.crew.has_died()):
        longest = session.tick()
        if session.health.is_well():
            manager.ping()
            longest = min(longest, manager.next_ping)
        if manager.listens:
            if time.monotonic() - told_at >= PAUSE:
                manager.say(_summary(session))
                told_at = time.monotonic()
            else:
                longest = min(longest, told_at + PAUSE - time.monotonic())
        signals.wait(longest, *session.descriptors())
        if isinstance(trouble := session.crew.trouble(), OutboxDamagedError):
            raise trouble
        if session.is_displaced():
            log.warning(
                "%s, its state or the store was replaced: starting over with what is there",
                config.image_dir,
                extra=about(Kind.DISPLACED, folder=config.image_dir),
            )
            break
        if signals.take_reload():
            if (read := readiness.reload(config)) is not None:
                # Whoever asks for it may have mended just what keeps the destination from taking pictures.
                session.end_wait()
                if read != config:
                    return read
            manager.reloaded()
    return config


def _summary(session: Session) -> str:
    try:
        return session.summary()
    except OutboxDamagedError:
        raise
    except StateError as error:
        return str(error)


def drain(config: Config, *, deadline: float | None = None, progress: Callable[[Progress], None] | None = None) -> int:
    """Take in all that is on the card, send what is due, and end when nothing more can happen in `deadline` seconds.

    The destination is tried once whatever wait is stored. Without a deadline, it waits for what falls due later.
    Returns the exit status: 0 when nothing is left to send, else 75. Raises UploaderError.
    """
    until = _Deadline(math.inf, math.inf)
    if deadline is not None:
        ends_at = time.monotonic() + deadline
        until = _Deadline(ends_at, ends_at - min(GRACE, deadline * IN_HAND))
    problem = image_dir_problem(config.image_dir)
    if problem is not None:
        raise StateError(problem)
    with Signals() as signals, Locks() as locks:
        try:
            return _drain(config, signals, locks, until, progress)
        except OutboxDamagedError:
            # The session put it aside.
            return _drain(config, signals, locks, until, progress)


def _drain(
    config: Config, signals: Signals, locks: Locks, until: _Deadline, progress: Callable[[Progress], None] | None
) -> int:
    def time_left() -> float:
        return until.ends_at - time.monotonic()

    def stopping() -> bool:
        return signals.stop or time.monotonic() >= until.begins_until

    with Session(config, wake=signals.wake, stopping=stopping, left=time_left, locks=locks) as session:
        session.outbox.destinations.end_wait()
        session.scan_requests.everything()
        session.start_intake(goes_on=False)
        complete = _send_until_done(session, signals, until.begins_until, progress)
        if session.crew.has_died():
            return os.EX_SOFTWARE
        while not session.is_stopping() and session.retention.step() == 0:
            pass
        while not session.is_stopping() and time_left() > UPKEEP and session.upkeep.step() == 0:
            pass
        left, unsettled = _progress(session).left, session.intake.unsettled
        if complete and left == unsettled == 0 and not session.intake.missed:
            return os.EX_OK
        if left and not signals.stop and (session.uploader.is_out_of_time or stopping()):
            _tell_that_time_is_up(session, config.api.url)
        what = "ended with %d pictures left to be sent, and %d files that aren't complete pictures yet"
        log.info(what, left, unsettled, extra=about(Kind.STOPPED))
    return os.EX_TEMPFAIL


def _tell_that_time_is_up(session: Session, url: str) -> None:
    # They are sent all the same next time.
    with suppress(StateError):
        if not session.outbox.destination(url).failures:
            log.info("no time was left for the others before the deadline", extra=about(Kind.STOPPED))
            session.outbox.queue.explain_waiting("no time was left for it before the deadline of the last drain")


def _send_until_done(
    session: Session, signals: Signals, until: float, progress: Callable[[Progress], None] | None
) -> bool:
    """Send beside the intake what is due by then; False where it was ended before everything on the card was seen."""
    while not (session.is_stopping() or session.crew.has_died()):
        # In this order: what the intake adds while the uploader looks is seen in the next round.
        taken_in = not session.scan_requests and session.intake.idle
        wait = session.uploader.step()
        if progress is not None:
            progress(_progress(session))
        if isinstance(trouble := session.crew.trouble(), StateError):
            raise trouble
        if trouble is not None:
            raise StateError(in_words(trouble)) from trouble
        if taken_in and (wait is None or time.monotonic() + wait >= until):
            return True
        if wait != 0:
            longest = min(math.inf if wait is None else wait, until - time.monotonic())
            signals.wait(longest if taken_in else min(longest, GLANCE))
    return False


def _progress(session: Session) -> Progress:
    counts = session.outbox.counts()
    left = counts[State.PENDING] + counts[State.UPLOADING]
    return Progress(session.intake.seen, session.intake.recorded, session.uploader.sent, left)
