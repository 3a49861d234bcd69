"""The outbox: one durable row a picture, and every verb that changes it. The two halves of the daemon meet only here.

    verb                from                                to
    record              (unknown)                           pending; rejected; conflict with another file here
    record              all but uploading                   pending or conflict, where its bytes changed or it was asked
                                                            for again; rejected, where they are no picture now;
                                                            else as it was
    lose                pending, conflict, rejected         lost
    lose, record        conflict with that file             pending
    claim, claim_canary pending, due                        uploading
    confirm             uploading                           uploaded, with the receipt
    refuse              uploading                           pending, charged to it or not; at the last, rejected
    clash               uploading                           conflict
    ask_again           conflict, with the held bytes       pending
    release, put_off,   uploading                           pending, nothing charged
    postpone, recheck,
    recover
    reoffer             rejected after refusals, a week     pending
    change_destination  uploaded, conflict, refused         pending
    unconfirm           uploaded                            pending, as the destination doesn't have it any more
    contradict          uploaded                            conflict
    note_copy           uploaded                            the same, its copy there missing or another one, or not
    mark_removed        uploaded, and what is allowed       the same, gone from the card
    adopt               (unknown)                           as an earlier outbox had it; uploading is pending
    forget              removed long ago                    (unknown)
    retry               pending, conflict                   pending, due now
    retry               rejected, lost                      the same, to be read again: then record decides

Each step is `UPDATE … WHERE id = ? AND state IN (…)` with its line of history in one transaction, and tells whether
it found the picture in a state that it may leave.
"""

from __future__ import annotations

from ..exceptions import OutboxDamagedError
from .catalog import Known, Recording
from .files import Aside, earlier_ones, outbox_path, put_aside, remove_earlier
from .folders import NOT_SEEN, Folders, Seen
from .queue import CLASH, REOFFER_AFTER, Sending
from .reader import OutboxReader
from .recovery import Salvage, ruins
from .retention import Keeping
from .tasks import Tasks

__all__ = [
    "CLASH",
    "NOT_SEEN",
    "REOFFER_AFTER",
    "Aside",
    "Known",
    "Outbox",
    "OutboxReader",
    "Seen",
    "earlier_ones",
    "open_or_rebuild",
    "outbox_path",
    "put_aside",
    "remove_earlier",
    "ruins",
]


class Outbox(Recording, Sending, Keeping, Salvage, Tasks, Folders):
    """The outbox file, open for writing: the verbs of all who work with it."""


def open_or_rebuild(path: str, *, longest_wait: float) -> tuple[Outbox, Aside | None]:
    """Open the outbox; a damaged or newer one is put aside for a new one.

    The folder and the destination fill that again, and `Upkeep` with what only the earlier one knew. Returns the
    outbox, and what was put aside for it. Raises StateError where it can't be opened.
    """
    try:
        return Outbox(path, longest_wait=longest_wait), None
    except OutboxDamagedError as error:
        aside = put_aside(path, error)
        return Outbox(path, longest_wait=longest_wait), aside
