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
    release, put_off,   uploading                           pending, nothing charged
    postpone, recheck,
    recover
    reoffer             rejected after refusals, a week     pending
    change_destination  uploaded, conflict, refused         pending
    unconfirm           uploaded                            pending, as the destination doesn't have it any more
    contradict          uploaded                            conflict
    mark_removed        uploaded, and what is allowed       the same, gone from the card
    forget              removed long ago                    (unknown)
    retry               pending, conflict                   pending, due now
    retry               rejected, lost                      the same, to be read again: then record decides

Each step is `UPDATE … WHERE id = ? AND state IN (…)` with its line of history in one transaction, and tells whether
it found the picture in a state that it may leave.
"""

from __future__ import annotations

import os
import time

from ..exceptions import OutboxDamagedError
from .keeping import Keeping
from .reader import OutboxReader
from .recording import Known, Recording
from .sending import REOFFER_AFTER, Sending

__all__ = ["REOFFER_AFTER", "Known", "Outbox", "OutboxReader", "open_or_rebuild", "outbox_path", "put_aside"]


class Outbox(Recording, Sending, Keeping):
    """The outbox file, open for writing: the verbs of all who work with it."""


def outbox_path(state_dir: str) -> str:
    """Say where the outbox of a state folder lies."""
    return os.path.join(state_dir, "outbox.db")


def open_or_rebuild(path: str, *, longest_wait: float) -> tuple[Outbox, str | None]:
    """Open the outbox; a damaged one is put aside for a new one, which the folder and the destination fill again.

    Returns the outbox, and where the damaged one lies now. Raises StateError where it can't be opened.
    """
    try:
        return Outbox(path, longest_wait=longest_wait), None
    except OutboxDamagedError:
        aside = put_aside(path)
        return Outbox(path, longest_wait=longest_wait), aside


def put_aside(path: str) -> str:
    """Rename a damaged outbox, which is kept for whoever wants to know; returns its new path."""
    aside = stamped = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    others = 1
    while os.path.lexists(aside):
        others += 1
        aside = f"{stamped}-{others}"
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.replace(path + suffix, aside + suffix)
    return aside
