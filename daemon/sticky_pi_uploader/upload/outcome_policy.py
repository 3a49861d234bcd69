"""Classify upload outcomes: decide whether the picture or the destination failed, and when to retry.

`decide` is the whole policy, as a pure function. It blames the picture or the destination only on evidence:

- A refusal without a reason is charged to a picture only if the destination took another picture since it last refused
  this one. If several different pictures are refused and none is taken, the destination refuses everything.
- A picture is in conflict if the destination holds another one under its key. If several different pictures are in
  conflict and the destination held none of ours in between, or if they have the md5 of the wrong receipt that
  our earlier upload got, the destination is in trouble instead.
- If nothing answers, nothing is charged to any picture.

The order of events is measured in pictures that the destination took, not in hours: a count can't be set like a clock,
and it survives a reboot. `outcome_recorder` applies the decisions, and pauses the queue while there is trouble.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from sticky_pi_api.exceptions import printable
from sticky_pi_api.types import Blame, Outcome

from ..models import DestinationState, Picture

if TYPE_CHECKING:
    from sticky_pi_api.types import ImageOutcome

DOUBTFUL_WAIT: Final = 30.0
"""Seconds to wait after an upload with an unknown end: the destination may still be at work on it"""

SEVERAL: Final = 3
"""Different pictures that fail, with none taken in between, after which the destination is to blame"""

_LONGEST_RECEIPT: Final = 64


class Action(Enum):
    """The step that the outbox takes with a picture, and the state that the picture then has."""

    CONFIRM = auto()
    """uploaded, with its receipt"""
    RELEASE = auto()
    """pending, as before the attempt"""
    PUT_OFF = auto()
    """pending; the wait is set when the batch ends, once it is known whether other pictures passed"""
    READ_AGAIN = auto()
    """pending, after the intake has read its file again"""
    POSTPONE = auto()
    """pending; the destination is asked whether it has the picture before it is sent again"""
    REFUSE = auto()
    """pending; it waits alone, and longer after each failure"""
    HOLD = auto()
    """pending; it waits with all others for a destination that refuses everything"""
    REJECT = auto()
    """rejected: not tried again for a week"""
    CONFLICT = auto()
    """conflict"""


class Trouble(NamedTuple):
    """A failure of the destination."""

    state: DestinationState
    why: str
    retry_after: float | None = None
    """seconds that the destination asked for"""
    blames_destination: bool = False
    """whether the destination is certainly to blame, so that no picture needs to be tried to find out"""
    answered: bool = True
    """whether the network can't be the cause"""
    by_size: bool = False
    """whether only pictures above a size are concerned"""


class Evidence(NamedTuple):
    """The evidence on refusals and conflicts, from the records of the destination in the outbox."""

    accepted: int = 0
    """pictures that the destination has taken so far"""
    others_refused: int = 0
    """different other pictures that were refused since the destination last took one"""
    conflicts: int = 0
    """different pictures in conflict since the destination last held one with our bytes"""
    refuses_all: bool = False
    """whether the destination is known to refuse pictures of any size"""


class Decision(NamedTuple):
    """The consequences of one outcome, for the picture and for the destination."""

    action: Action
    why: str | None = None
    charge: int = 0
    """refusals that turned out to be the picture's fault"""
    min_wait: float = 0.0
    """seconds that the picture waits at least"""
    retry_after: float | None = None
    """seconds that the destination asked for"""
    answered: bool = False
    """whether the outcome shows that the destination can be reached"""
    trouble: Trouble | None = None
    got_md5: str | None = None
    """md5 of other bytes that the destination says it got"""


def decide(  # noqa: C901, PLR0911 - it is a table, with a case for each row
    result: ImageOutcome, picture: Picture, evidence: Callable[[], Evidence], *, give_up_after: int
) -> Decision:
    """Decide on the outcome of an upload of `picture`, which is rejected once `give_up_after` refusals are charged.

    `evidence` is called only for refusals and conflicts, as counting others takes time in a large outbox.
    """
    from sticky_pi_api.exceptions import ImageError, RequestTooLargeError, StoreError

    error, receipt = result.error, receipt_of(result)
    match result.outcome:
        case Outcome.STORED | Outcome.HELD if receipt == picture.md5:
            return Decision(Action.CONFIRM)
        case Outcome.DOUBTFUL if is_cancelled(error):
            return Decision(Action.RELEASE, min_wait=DOUBTFUL_WAIT)
        case _ if is_cancelled(error):
            return Decision(Action.RELEASE)
        case Outcome.CONFLICT | Outcome.HELD:
            return _decide_on_conflict(picture, receipt, evidence())
        case Outcome.REFUSED if getattr(error, "blame", None) is Blame.PICTURE:
            return Decision(Action.REJECT, _reason_of(error), charge=1, answered=True)
        case Outcome.REFUSED:
            return _decide_on_refusal(picture, error, evidence(), give_up_after)
        case Outcome.UNSENT if isinstance(error, StoreError) and not error.whole_store:
            return _decide_on_refusal(picture, error, evidence(), give_up_after)
        case Outcome.UNSENT if isinstance(error, ImageError | OSError):
            return Decision(Action.READ_AGAIN, _reason_of(error))
        case Outcome.UNSENT if isinstance(error, RequestTooLargeError):
            trouble = Trouble(DestinationState.REFUSING, str(error), error.retry_after, by_size=True)
            return Decision(Action.PUT_OFF, str(error), trouble=trouble)
        case Outcome.UNSENT:
            return Decision(Action.PUT_OFF, trouble=trouble_of(error))
    why = f"the destination says that it got other bytes (md5 {receipt})" if receipt else _reason_of(error)
    min_wait = getattr(error, "retry_after", None) or DOUBTFUL_WAIT
    trouble = trouble_of(getattr(error, "end", error), why)
    return Decision(Action.POSTPONE, why, min_wait=min_wait, trouble=trouble, got_md5=receipt or None)


def _decide_on_conflict(picture: Picture, held: str, evidence: Evidence) -> Decision:
    holds = f"(md5 {held or 'unknown'})"
    is_ours = picture.got_md5 == held
    took_another = picture.failed_since is not None and picture.failed_since < evidence.accepted
    if not took_another and (is_ours or evidence.conflicts + 1 >= SEVERAL):
        what = "other bytes than it was sent" if is_ours else "another picture in the place of each of the last"
        return Decision(
            Action.PUT_OFF, trouble=Trouble(DestinationState.REFUSING, f"it says that it holds {what} {holds}")
        )
    return Decision(
        Action.CONFLICT, f"the destination holds another picture with this device and time {holds}", answered=True
    )


def _decide_on_refusal(picture: Picture, error: Exception | None, evidence: Evidence, give_up_after: int) -> Decision:
    why, retry_after = _reason_of(error), getattr(error, "retry_after", None)
    if picture.refused_after is not None and picture.refused_after < evidence.accepted:
        # The first refusal, which until now could have been the destination's fault, is charged as well.
        charge = 1 if picture.attempts else 2
        if picture.attempts + charge >= give_up_after:
            return Decision(Action.REJECT, why, charge)
        return Decision(Action.REFUSE, why, charge, retry_after=retry_after, answered=True)
    if evidence.refuses_all or evidence.others_refused + 1 >= SEVERAL:
        return Decision(Action.HOLD, why, trouble=Trouble(DestinationState.REFUSING, why, retry_after))
    return Decision(Action.REFUSE, why, retry_after=retry_after, answered=True)


def trouble_of(error: Exception | None, why: str | None = None, *, blames_destination: bool = False) -> Trouble:
    """Classify a failure of the destination by the error that an upload, or a whole batch, ended with."""
    from sticky_pi_api.exceptions import AccountError, NotAnAPIError, UnreachableError

    retry_after = getattr(error, "retry_after", None)
    state = DestinationState.UNREACHABLE
    if isinstance(error, AccountError | NotAnAPIError):
        state = DestinationState.UNAUTHORIZED if isinstance(error, AccountError) else DestinationState.NOT_AN_API
    # An account that isn't accepted, or a pause that was asked for, needs no second picture as evidence.
    blames_destination = blames_destination or state is not DestinationState.UNREACHABLE or retry_after is not None
    # Otherwise nobody answered, or a login page of the network did.
    answered = retry_after is not None or not isinstance(error, UnreachableError | NotAnAPIError)
    return Trouble(state, why or _reason_of(error), retry_after, blames_destination, answered)


def is_cancelled(error: Exception | None) -> bool:
    """Return whether an upload failed only because the daemon cancelled it."""
    from sticky_pi_api.exceptions import BrokenOffError

    return isinstance(getattr(error, "end", error), BrokenOffError)


def receipt_of(result: ImageOutcome) -> str:
    """Return the md5 that the destination reports for its bytes, as printable and short text."""
    return printable(str((result.row or {}).get("md5", "")).lower())[:_LONGEST_RECEIPT]


def _reason_of(error: Exception | None) -> str:
    """Return the text of an error, without the file's name where that is known anyway."""
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    return str(getattr(error, "reason", None) or error or "no reason was given")
