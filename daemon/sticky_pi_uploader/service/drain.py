"""`drain`: take in and send all pictures on the card, and end when no more can be done in the given time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ..exceptions import OutboxDamagedError, StateError
from ..journal.events import Kind, log_event
from ..state_dir.lock import Locks
from ..state_dir.mounts import image_dir_problem
from ..upload.cancel import GRACE
from ..wording import counted
from .session import Session
from .signals import Signals
from .workers import WorkerDiedError

if TYPE_CHECKING:
    from ..config import Config
    from .progress import Progress, ProgressMeter

IN_HAND: Final = 0.1
"""Share of a deadline, up to `GRACE` seconds, that is kept for the pictures in transfer"""

MAINTENANCE: Final = 15.0
"""Seconds that must be left for a step of maintenance: a slow trap needs several to inspect the whole outbox"""

GLANCE: Final = 0.5
"""Longest wait in seconds while the intake works"""


class _Deadline(NamedTuple):
    """The monotonic times at which a `drain` ends, and until which it begins to send a picture."""

    ends_at: float
    begins_until: float


def drain(config: Config, *, deadline: float | None = None, progress: Callable[[Progress], None] | None = None) -> int:
    """Take in all pictures, send those that are due, and end when no more can be done in `deadline` seconds.

    The destination is tried once, whatever wait is stored. Without a deadline, pictures that are due later are waited
    for.
    `progress` is called after each picture. Returns the exit status: 0 when nothing is left to send, 70 if the intake
    died, else 75. Raises UploaderError.
    """
    seconds = math.inf if deadline is None else deadline
    ends_at = time.monotonic() + seconds
    until = _Deadline(ends_at, ends_at - min(GRACE, seconds * IN_HAND))
    problem = image_dir_problem(config.image_dir)
    if problem is not None:
        raise StateError(problem)
    with Signals() as signals, Locks() as locks:
        try:
            try:
                return _drain(config, signals, locks, until, progress)
            except OutboxDamagedError:
                # The session put it aside.
                return _drain(config, signals, locks, until, progress)
        except WorkerDiedError:
            return os.EX_SOFTWARE


def _drain(
    config: Config, signals: Signals, locks: Locks, until: _Deadline, progress: Callable[[Progress], None] | None
) -> int:
    def time_left() -> float:
        return until.ends_at - time.monotonic()

    def stopping() -> bool:
        return signals.stop or time.monotonic() >= until.begins_until

    with Session(config, wake=signals.wake, stopping=stopping, time_left=time_left, locks=locks) as session:
        session.end_wait()
        session.scan_requests.everything()
        session.start_intake(retries=False)
        complete = _send_until_done(session, signals, until.begins_until, _measure(session, progress))
        session.workers.raise_fatal()
        while not session.is_stopping() and session.retention.step() == 0:
            pass
        while not session.is_stopping() and time_left() > MAINTENANCE and session.maintenance.step() == 0:
            pass
        left, unsettled = session.outbox.count_left()[0], session.intake.unsettled
        if complete and left == unsettled == 0 and not session.intake.missed:
            return os.EX_OK
        if left and not signals.stop and session.hold is None and (session.uploader.is_out_of_time or stopping()):
            _record_that_time_is_up(session)
        pictures, files = counted(left, "picture"), counted(unsettled, "file")
        why = "" if session.hold is None else f" ({session.hold})"
        log_event(Kind.STOPPED, f"ended with {pictures} left to be sent{why}, and {files} not complete yet")
    return os.EX_TEMPFAIL


def _measure(session: Session, progress: Callable[[Progress], None] | None) -> ProgressMeter | None:
    if progress is None:
        return None
    from .progress import ProgressMeter

    return ProgressMeter(session, progress)


def _send_until_done(session: Session, signals: Signals, until: float, meter: ProgressMeter | None) -> bool:
    """Send due pictures while the intake works; return False if that ended before the whole card was seen."""
    while not session.is_stopping():
        # In this order: a picture that the intake adds during the uploader's step is sent in the next round.
        taken_in = not session.scan_requests and session.intake.idle
        if meter is not None:
            meter.update()
        wait = session.uploader.step()
        if meter is not None:
            meter.update(at_once=wait != 0 or session.is_stopping())
        session.workers.raise_fatal()
        if taken_in and (wait is None or time.monotonic() + wait >= until):
            return True
        if wait != 0:
            longest = min(math.inf if wait is None else wait, until - time.monotonic())
            signals.wait(longest if taken_in else min(longest, GLANCE))
    return False


def _record_that_time_is_up(session: Session) -> None:
    # The next drain sends them even if their wait can't be explained.
    with suppress(StateError):
        if not session.outbox.destination(session.config.api.url).failures:
            log_event(Kind.STOPPED, "no time was left for the others before the deadline")
            session.outbox.queue.explain_waiting("no time was left for it before the deadline of the last drain")
