"""Apply the policy's decisions to the outbox, log them, and pause the queue while the destination is in trouble.

While a destination is in trouble, the queue waits, longer after each failure, and then one picture is tried. Pictures
that were never tried wait as well, unless the few that failed may be the cause: if they are fewer than `SEVERAL`, or if
they failed before while the destination took others. A picture that was tried is tried again only after the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.types import Outcome

from ..journal.events import Kind
from ..models import Destination, DestinationState, Picture, State
from ..outbox import Destinations, Queue
from ..scan_requests import ScanRequests
from .backoff import LONGEST_WAIT, delay
from .outcome_log import OutcomeLog
from .outcome_policy import SEVERAL, Action, Decision, Evidence, Trouble, decide, is_cancelled, receipt_of, trouble_of
from .receipt_batch import Receipt, ReceiptBatch

if TYPE_CHECKING:
    from sticky_pi_api.types import ImageOutcome

_WAITS_ALONE: Final = (Action.READ_AGAIN, Action.POSTPONE, Action.REFUSE)

_LOGGED: Final = {
    Action.READ_AGAIN: (Kind.READ_AGAIN, State.PENDING, "read again before it is sent"),
    Action.POSTPONE: (Kind.DOUBTFUL, State.PENDING, "asked for again in {:.0f} s"),
    Action.REFUSE: (Kind.REFUSED, State.PENDING, "refused, tried again in {:.0f} s"),
    Action.HOLD: (Kind.REFUSED, State.PENDING, "refused, as others are"),
    Action.REJECT: (Kind.REJECTED, State.REJECTED, "refused, given up for a week"),
    Action.CONFLICT: (Kind.CONFLICT, State.CONFLICT, "not sent"),
}


class SizeLimit(NamedTuple):
    """The limit of a web server in front of the destination, as its refusals showed; only smaller pictures are sent."""

    size: int
    """bytes of the smallest picture that was too large"""
    why: str
    passes_smaller: bool = False
    """whether the destination has taken a smaller one since"""


class OutcomeRecorder:
    """Records the outcomes of one batch after another, and the state of their destination."""

    def __init__(
        self,
        queue: Queue,
        destinations: Destinations,
        scan_requests: ScanRequests,
        *,
        url: str,
        give_up_after: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Record for the destination at `url`; a picture is rejected once `give_up_after` refusals are charged."""
        self._log = OutcomeLog(url, monotonic)
        self._queue = queue
        self._destinations = destinations
        self._scan_requests = scan_requests
        self._url = url
        self._give_up_after = give_up_after
        self._clock = clock
        self._receipts = ReceiptBatch(self._confirm, monotonic)
        self._trouble: Trouble | None = None
        self._put_off: list[tuple[Picture, str | None]] = []
        self.limit: SizeLimit | None = None
        """how small a picture has to be; None: any size may pass"""
        self.sent = 0
        """pictures that the destination turned out to hold, so far"""

    @property
    def refuses_all(self) -> bool:
        """Whether the destination would refuse the rest of the batch as well."""
        trouble = self._trouble
        return trouble is not None and trouble.state is DestinationState.REFUSING and not trouble.by_size

    def record(self, picture: Picture, result: ImageOutcome) -> None:
        """Decide on one picture's outcome, record that durably and log it; a receipt may wait a little for others.

        Raises StateError.
        """
        decision = decide(result, picture, lambda: self._evidence(picture), give_up_after=self._give_up_after)
        if decision.action is Action.CONFIRM:
            self._receipts.add(Receipt(picture, result.outcome is Outcome.STORED))
            return
        self._receipts.settle()
        self._apply(decision, picture, result)

    def record_failure(self, error: Exception) -> None:
        """Record that the destination failed as a whole, rather than with one picture. Raises StateError."""
        # Recorded later, the receipts would end the trouble.
        self._receipts.settle()
        if not is_cancelled(error):
            self._trouble = trouble_of(error, blames_destination=True)

    def record_success(self) -> None:
        """Record that a destination which couldn't be used can be used now. Raises StateError."""
        if self._destinations.get(self._url).state is DestinationState.UNREACHABLE:
            self._note_answer(took=False)

    def end_batch(self) -> bool:
        """Pause the queue if the destination took nothing after it was in trouble; return whether the queue waits.

        Raises StateError.
        """
        self._receipts.settle()
        trouble, self._trouble = self._trouble, None
        put_off, self._put_off = self._put_off, []
        now = self._clock()
        for number, (picture, why) in enumerate(put_off):
            if trouble is None:
                self._queue.put_off(picture, why, not_before=now + delay(picture.misses + 1), blames_picture=True)
            else:
                # The first one may be the cause, so its time of trial is set and another picture is tried next.
                self._queue.put_off(picture, why, not_before=now if number == 0 else None, blames_picture=False)
        if trouble is not None:
            self._hold(trouble)
        return trouble is not None

    def forget_batch(self) -> None:
        """Forget the part of a batch that couldn't be recorded: its pictures are asked for again."""
        self._receipts.drop()
        self._trouble = None
        self._put_off = []

    def _evidence(self, picture: Picture) -> Evidence:
        # The receipts that wait are evidence, too.
        self._receipts.settle()
        refuses = self._destinations.get(self._url).state is DestinationState.REFUSING
        return Evidence(
            self._destinations.accepted(),
            self._destinations.others_refused(picture),
            self._destinations.clashes_in_a_row(),
            refuses_all=refuses and self.limit is None,
        )

    def _apply(self, decision: Decision, picture: Picture, result: ImageOutcome) -> None:
        action, wait = decision.action, decision.min_wait
        if action in _WAITS_ALONE:
            wait = min(LONGEST_WAIT, max(decision.min_wait, delay(picture.misses + 1, decision.retry_after)))
        self._move(picture, decision, self._clock() + wait, result)
        if decision.answered:
            self._note_answer(took=False, refused=action is Action.REFUSE)
        if decision.trouble is not None:
            self._note_trouble(decision.trouble, picture)
        if action in _LOGGED:
            kind, state, text = _LOGGED[action]
            self._log.picture(kind, picture, state, text.format(wait), decision.why)

    def _move(self, picture: Picture, decision: Decision, due_at: float, result: ImageOutcome) -> None:
        """Apply a decision to the outbox; a picture that waits alone is tried again at `due_at`."""
        queue, why, charge = self._queue, decision.why or "", decision.charge
        match decision.action:
            case Action.RELEASE:
                queue.release(picture, not_before=due_at if decision.min_wait else None)
            case Action.PUT_OFF:
                self._put_off.append((picture, decision.why))
            case Action.READ_AGAIN:
                queue.recheck(picture, why, not_before=due_at)
                self._ask_intake(picture, result.error)
            case Action.POSTPONE:
                queue.postpone(picture, why, not_before=due_at, got_md5=decision.got_md5)
            case Action.REFUSE:
                queue.refuse(picture, why, not_before=due_at, charge=charge)
            case Action.HOLD:
                queue.refuse(picture, why, not_before=due_at, blames_picture=False)
            case Action.REJECT:
                queue.refuse(picture, why, not_before=due_at, charge=charge, last=True)
            case Action.CONFLICT:
                with queue.together():
                    queue.clash(picture, why)
                    queue.ask_again(picture, receipt_of(result))

    def _ask_intake(self, picture: Picture, error: Exception | None) -> None:
        """Ask the intake to read a picture's file again, or to scan its folder if the file is gone."""
        if isinstance(error, FileNotFoundError):
            # It may have been renamed, or moved into a folder below.
            self._scan_requests.folder(os.path.dirname(picture.path))
        else:
            self._scan_requests.file(picture.path)

    def _confirm(self, receipts: Sequence[Receipt]) -> None:
        with self._queue.together():
            for picture, stored in receipts:
                md5 = str(picture.md5)
                why = (
                    "stored: its md5 there is the one here"
                    if stored
                    else "held there already, with the md5 that it has here"
                )
                self._queue.confirm(picture, md5, why, accepted_by=self._url if stored else None)
                self._queue.ask_again(picture, md5)
            taken = [picture for picture, stored in receipts if stored]
            self._note_answer(took=bool(taken), largest=max(map(_size, taken), default=0))
        self.sent += len(receipts)
        for picture, stored in receipts:
            kind, text = (Kind.UPLOADED, "uploaded") if stored else (Kind.HELD, "was uploaded already")
            self._log.picture(kind, picture, State.UPLOADED, text)

    def _note_trouble(self, trouble: Trouble, picture: Picture) -> None:
        if trouble.by_size:
            if self.limit is None or _size(picture) < self.limit.size:
                self.limit = SizeLimit(_size(picture), trouble.why)
            trouble = trouble._replace(why=self.limit.why)
        self._trouble = trouble

    def _note_answer(self, *, took: bool, largest: int = 0, refused: bool = False) -> None:
        """End the destination's trouble; an answer that took nothing doesn't prove that it would take a picture.

        `largest` is the size in bytes of the largest picture that it took: small ones end no trouble with large ones.
        """
        before = self._destinations.get(self._url)
        if not took and (self._trouble is not None or before.state is DestinationState.REFUSING):
            return
        if self.limit is not None and largest < self.limit.size:
            self.limit = self.limit._replace(passes_smaller=True)
            if self._trouble is not None and self._trouble.by_size:
                return
            if before.state is DestinationState.REFUSING:
                self._trouble = None
                self._destinations.update(before._replace(holds_all=False))
                return
        self._trouble = self.limit = None
        if before.state is not DestinationState.OK:
            # A destination that has only ever refused isn't known to work.
            works = not refused or self._destinations.accepted() > 0
            state = DestinationState.OK if works else DestinationState.UNKNOWN
            self._destinations.update(Destination(self._url, state))
        if before.failures:
            self._log.recovery(before.failures)

    def _hold(self, trouble: Trouble) -> None:
        """Pause the queue until the destination is tried again, longer after each failure in a row."""
        if not trouble.by_size:
            self.limit = None
        takes_some = self.limit is not None and self.limit.passes_smaller
        holds_all = trouble.blames_destination or (not takes_some and self._destinations.lately_failed() >= SEVERAL)
        if holds_all and trouble.state is DestinationState.REFUSING:
            self._destinations.forget_refusals()
        failures = self._destinations.get(self._url).failures + 1
        wait = delay(failures, trouble.retry_after)
        retry_at = self._clock() + wait
        self._destinations.update(
            Destination(self._url, trouble.state, trouble.why, retry_at, failures, holds_all, trouble.answered)
        )
        self._log.trouble(trouble.state, trouble.why, wait)


def _size(picture: Picture) -> int:
    return 0 if picture.fingerprint is None else picture.fingerprint.size
