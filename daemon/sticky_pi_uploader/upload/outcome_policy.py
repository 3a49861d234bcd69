"""Says of each outcome what follows from it: blames the picture or blames the destination, and never guesses.

    outcome                         the picture                            the destination
    stored                          uploaded, with the receipt             works
    held                            uploaded, with the receipt             answers
    conflict                        conflict; pending where it follows     answers; refuses everything once several
                                    our own upload, or others clash, and   different pictures clash and it held none,
                                    none was taken since it failed         and where it follows our own upload
    refused, known to be its fault  rejected                               answers
    refused, without a reason       charged if another one was taken       refuses everything, once several different
                                    since it was refused before; waits     pictures were refused and none was taken
    doubtful                        asked for again in 30 s or more        in trouble, unless it takes others
    unsent, the file's fault        read again, and waits if it is the     -
                                    same file
    unsent, broken off here         as it was                              -
    unsent, too large for its front waits for the destination              refuses what is as large; takes the others
    unsent, anything else           waits for the destination, or alone    in trouble, unless it takes others
                                    where that takes others

A destination in trouble holds the queue: one wait, which grows, and one picture at a time to try it with. What was
never tried is held too, unless all that failed were few pictures, or such as failed before while it took others: then
it may be their fault. What was tried goes round, so that none is tried twice before the others.

Pictures taken, not hours, are the clock of all this: it can't be set, and goes on after a reboot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.exceptions import printable

from ..journal.events import Kind
from ..models import Destination, DestinationState, Picture, State
from ..outbox import CLASH, Outbox
from ..scan_requests import Hints
from .backoff import LONGEST_WAIT, delay
from .outcome_log import News
from .receipt_batch import Receipt, Receipts

if TYPE_CHECKING:
    from sticky_pi_api.exceptions import RequestTooLargeError
    from sticky_pi_api.types import ImageOutcome

DOUBTFUL_WAIT: Final = 30.0
"""Seconds to wait after an upload whose end isn't known: the destination may still be at work on it."""

SEVERAL: Final = 3
"""Different pictures that fail, none taken in between, after which the destination is to blame."""

_LONGEST_RECEIPT: Final = 64


class SizeLimit(NamedTuple):
    """What the destination's front was found to take: only smaller pictures than this."""

    size: int
    """bytes of the smallest picture that was too large"""
    why: str
    passes_smaller: bool = False
    """whether it took a smaller one since"""


class _Trouble(NamedTuple):
    """What is wrong with the destination."""

    state: DestinationState
    why: str
    retry_after: float | None
    """seconds"""
    holds_all: bool
    """whether it can't be the fault of the picture that met with it"""
    answered: bool
    """whether it can't be the network's"""
    by_size: bool = False
    """whether only pictures from the limit's size on meet with it"""


class Judge:
    """Turns outcomes into transitions of the outbox, and a batch's outcomes into the destination's state."""

    def __init__(
        self,
        outbox: Outbox,
        hints: Hints,
        *,
        url: str,
        give_up_after: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Judge for the destination at `url`; a picture is rejected when `give_up_after` refusals are charged to it."""
        self._news = News(url, monotonic)
        self._outbox = outbox
        self._hints = hints
        self._url = url
        self._give_up_after = give_up_after
        self._clock = clock
        self._receipts = Receipts(self._confirm, monotonic)
        self._trouble: _Trouble | None = None
        self._put_off: list[tuple[Picture, str | None]] = []
        self.limit: SizeLimit | None = None
        """how small pictures have to be so that the destination may take them; None: any size"""
        self.sent = 0
        """pictures that the destination turned out to hold, so far"""

    @property
    def refuses_all(self) -> bool:
        """Tell whether the rest of the batch would only be refused as well."""
        trouble = self._trouble
        return trouble is not None and trouble.state is DestinationState.REFUSING and not trouble.by_size

    def judge(self, picture: Picture, result: ImageOutcome) -> None:
        """Record one picture's outcome, durably, and say it once; receipts may wait a little for others."""
        from sticky_pi_api.exceptions import ImageError, RequestTooLargeError, StoreError
        from sticky_pi_api.types import Outcome

        # It goes into reasons, and whatever the destination says can be in it.
        receipt = printable(str((result.row or {}).get("md5", "")).lower())[:_LONGEST_RECEIPT]
        if result.outcome in (Outcome.STORED, Outcome.HELD) and receipt == picture.md5:
            self._receipts.add(Receipt(picture, receipt, result.outcome is Outcome.STORED))
            return
        self._receipts.settle()
        error = result.error
        if _broken_off(error):
            wait = DOUBTFUL_WAIT if result.outcome is Outcome.DOUBTFUL else None
            self._outbox.release(picture, not_before=wait and self._clock() + wait)
            return
        match result.outcome:
            case Outcome.CONFLICT | Outcome.HELD:
                self._clash(picture, receipt)
            case Outcome.REFUSED:
                self._refuse(picture, error)
            case Outcome.UNSENT if isinstance(error, ImageError | OSError):
                self.read_again(picture, error)
            case Outcome.UNSENT if isinstance(error, StoreError) and not error.whole_store:
                self._refuse(picture, error)
            case Outcome.UNSENT if isinstance(error, RequestTooLargeError):
                self._put_off.append((picture, str(error)))
                self._bound(picture, error)
            case Outcome.UNSENT:
                self._put_off.append((picture, None))
                self._blame(error)
            case _:
                self._doubt(picture, receipt, error)

    def settle_late_receipts(self) -> None:
        """Record receipts that waited for others for long enough; any thread may. Raises StateError."""
        self._receipts.settle_if_late()

    def forget_batch(self) -> None:
        """Forget what couldn't be recorded of a batch: its pictures are asked for again."""
        self._receipts.drop()
        self._trouble = None
        self._put_off = []

    def blame_destination(self, error: Exception) -> None:
        """Take note that the destination failed in another way than with one picture. Raises StateError."""
        # What it took before says nothing against that, and would if it were recorded later.
        self._receipts.settle()
        if not _broken_off(error):
            self._blame(error, holds_all=True)

    def clear_destination(self) -> None:
        """Take note that a destination which couldn't be used can be used now."""
        if self._outbox.destination(self._url).state is DestinationState.UNREACHABLE:
            self._answered(took=False)

    def end_batch(self) -> bool:
        """Let the queue wait if the destination took nothing after it was in trouble; tells whether it does."""
        self._receipts.settle()
        trouble, self._trouble = self._trouble, None
        put_off, self._put_off = self._put_off, []
        now = self._clock()
        for number, (picture, why) in enumerate(put_off):
            if trouble is None:
                self._outbox.put_off(picture, why, not_before=now + delay(picture.misses + 1), missed=True)
            else:
                # The first may have been the cause, so another is tried next: by this time it is known when it was.
                self._outbox.put_off(picture, why, not_before=now if number == 0 else None, missed=False)
        if trouble is not None:
            self._hold(trouble)
        return trouble is not None

    def _hold(self, trouble: _Trouble) -> None:
        if not trouble.by_size:
            self.limit = None
        takes_some = self.limit is not None and self.limit.passes_smaller
        holds_all = trouble.holds_all or (not takes_some and self._outbox.lately_failed() >= SEVERAL)
        if holds_all and trouble.state is DestinationState.REFUSING:
            self._outbox.forget_refusals()
        failures = self._outbox.destination(self._url).failures + 1
        wait = delay(failures, trouble.retry_after)
        retry_at = self._clock() + wait
        self._outbox.set_destination(
            Destination(self._url, trouble.state, trouble.why, retry_at, failures, holds_all, trouble.answered)
        )
        self._news.of_trouble(trouble.state, trouble.why, wait)

    def read_again(self, picture: Picture, error: Exception) -> None:
        """Have the intake look at a file that isn't what it was when it was taken in."""
        why = _reason_of(error)
        self._outbox.recheck(picture, why, not_before=self._clock() + delay(picture.misses + 1))
        if isinstance(error, FileNotFoundError):
            # It may have been renamed, or moved into a folder below.
            self._hints.folder(os.path.dirname(picture.path))
        else:
            self._hints.file(picture.path)
        self._news.of_picture(Kind.READ_AGAIN, picture, State.PENDING, "read again before it is sent", why)

    def _confirm(self, receipts: Sequence[Receipt]) -> None:
        with self._outbox.together():
            for picture, md5, stored in receipts:
                why = (
                    "stored: its md5 there is the one here"
                    if stored
                    else "held there already, with the md5 that it has here"
                )
                self._outbox.confirm(picture, md5, why, accepted_by=self._url if stored else None)
                self._outbox.ask_again(picture, md5)
            taken = [receipt.picture for receipt in receipts if receipt.stored]
            self._answered(took=bool(taken), largest=max(map(_size, taken), default=0))
        self.sent += len(receipts)
        for picture, _, stored in receipts:
            kind, what = (Kind.UPLOADED, "uploaded") if stored else (Kind.HELD, "was uploaded already")
            self._news.of_picture(kind, picture, State.UPLOADED, what)

    def _clash(self, picture: Picture, held: str) -> None:
        why = f"{CLASH} (md5 {held or 'unknown'})"
        is_ours = picture.reason == _other_bytes(held)
        # Once it took another one since this one failed, it is the picture that is odd.
        is_odd = picture.failed_since is not None and picture.failed_since < self._outbox.accepted()
        if not is_odd and (is_ours or self._outbox.clashes_in_a_row() + 1 >= SEVERAL):
            self._put_off.append((picture, None))
            what = "other bytes than it was sent" if is_ours else "another picture in the place of each of the last"
            why = f"it says that it holds {what} (md5 {held or 'unknown'})"
            self._trouble = _Trouble(DestinationState.REFUSING, why, None, holds_all=False, answered=True)
            return
        with self._outbox.together():
            self._outbox.clash(picture, why)
            self._outbox.ask_again(picture, held)
        self._answered(took=False)
        self._news.of_picture(Kind.CONFLICT, picture, State.CONFLICT, "not sent", why)

    def _refuse(self, picture: Picture, error: Exception | None) -> None:
        from sticky_pi_api.types import Blame

        why, retry_after = _reason_of(error), getattr(error, "retry_after", None)
        if getattr(error, "blame", None) is Blame.PICTURE:
            self._reject(picture, why, charge=1)
            self._answered(took=False)
            return
        # Between two refusals another picture has to be taken, or nothing says that this one is at fault.
        if picture.refused_after is not None and picture.refused_after < self._outbox.accepted():
            # Until now the first one could have been anybody's.
            charge = 1 if picture.attempts else 2
            self._charge(picture, why, retry_after, charge)
            return
        before = self._outbox.destination(self._url).state
        refuses_all = before is DestinationState.REFUSING and self.limit is None
        if refuses_all or self._outbox.others_refused(picture) + 1 >= SEVERAL:
            self._outbox.refuse(picture, why, not_before=self._clock(), missed=False)
            self._trouble = _Trouble(DestinationState.REFUSING, why, retry_after, holds_all=False, answered=True)
            self._news.of_picture(Kind.REFUSED, picture, State.PENDING, "refused, as others are", why)
        else:
            self._charge(picture, why, retry_after, 0)

    def _charge(self, picture: Picture, why: str, retry_after: float | None, charge: int) -> None:
        if charge and picture.attempts + charge >= self._give_up_after:
            self._reject(picture, why, charge)
            return
        wait = delay(picture.misses + 1, retry_after)
        self._outbox.refuse(picture, why, not_before=self._clock() + wait, charge=charge)
        self._answered(took=False, refused=True)
        what = f"refused, tried again in {wait:.0f} s"
        self._news.of_picture(Kind.REFUSED, picture, State.PENDING, what, why)

    def _reject(self, picture: Picture, why: str, charge: int) -> None:
        self._outbox.refuse(picture, why, not_before=0.0, charge=charge, last=True)
        self._news.of_picture(Kind.REJECTED, picture, State.REJECTED, "refused, given up for a week", why)

    def _doubt(self, picture: Picture, receipt: str, error: Exception | None) -> None:
        why = _other_bytes(receipt) if receipt else _reason_of(error)
        asked = getattr(error, "retry_after", None) or DOUBTFUL_WAIT
        wait = min(LONGEST_WAIT, max(asked, delay(picture.misses + 1)))
        self._outbox.postpone(picture, why, not_before=self._clock() + wait)
        self._news.of_picture(Kind.DOUBTFUL, picture, State.PENDING, f"asked for again in {wait:.0f} s", why)
        self._blame(getattr(error, "end", error), why)

    def _blame(self, error: Exception | None, why: str | None = None, *, holds_all: bool = False) -> None:
        state, retry_after = _state_of(error), getattr(error, "retry_after", None)
        # Who isn't let in, or is asked to come back later, needs no other picture to find that out.
        plain = state is not DestinationState.UNREACHABLE or retry_after is not None
        answered = retry_after is not None or _has_answered(error)
        self._trouble = _Trouble(state, why or _reason_of(error), retry_after, holds_all or plain, answered)

    def _bound(self, picture: Picture, error: RequestTooLargeError) -> None:
        """Take note that the destination's front takes no picture as large as this one, nor larger ones."""
        if self.limit is None or _size(picture) < self.limit.size:
            self.limit = SizeLimit(_size(picture), str(error))
        state, why = DestinationState.REFUSING, self.limit.why
        self._trouble = _Trouble(state, why, error.retry_after, holds_all=False, answered=True, by_size=True)

    def _answered(self, *, took: bool, largest: int = 0, refused: bool = False) -> None:
        """End the destination's trouble; an answer that took nothing doesn't prove that it would.

        Of what it took, the `largest` has so many bytes: that it takes smaller ones ends no trouble with large ones.
        """
        before = self._outbox.destination(self._url)
        if not took and (self._trouble is not None or before.state is DestinationState.REFUSING):
            return
        if self.limit is not None and largest < self.limit.size:
            self.limit = self.limit._replace(passes_smaller=True)
            if self._trouble is not None and self._trouble.by_size:
                return
            if before.state is DestinationState.REFUSING:
                self._trouble = None
                self._outbox.set_destination(before._replace(holds_all=False))
                return
        self._trouble = self.limit = None
        if before.state is not DestinationState.OK:
            # What has only ever refused isn't known to work.
            works = not refused or self._outbox.accepted() > 0
            state = DestinationState.OK if works else DestinationState.UNKNOWN
            self._outbox.set_destination(Destination(self._url, state))
        if before.failures:
            self._news.of_its_end(before.failures)


def _other_bytes(receipt: str) -> str:
    return f"the destination says that it got other bytes (md5 {receipt})"


def _size(picture: Picture) -> int:
    return 0 if picture.fingerprint is None else picture.fingerprint.size


def _broken_off(error: Exception | None) -> bool:
    from sticky_pi_api.exceptions import BrokenOffError

    return isinstance(getattr(error, "end", error), BrokenOffError)


def _state_of(error: object) -> DestinationState:
    from sticky_pi_api.exceptions import AccountError, NotAnAPIError

    if isinstance(error, AccountError):
        return DestinationState.UNAUTHORIZED
    return DestinationState.NOT_AN_API if isinstance(error, NotAnAPIError) else DestinationState.UNREACHABLE


def _has_answered(error: object) -> bool:
    """Tell whether it was the destination that answered, rather than nobody, or a login page of the network's."""
    from sticky_pi_api.exceptions import NotAnAPIError, UnreachableError

    return not isinstance(error, UnreachableError | NotAnAPIError)


def _reason_of(error: Exception | None) -> str:
    """Say why, without the file's name where that is known anyway."""
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    return str(getattr(error, "reason", None) or error or "no reason was given")
