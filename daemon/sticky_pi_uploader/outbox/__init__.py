"""The outbox: one durable row for each picture. The intake and the upload exchange pictures only through it.

    verb                from                                to
    record              (unknown)                           pending; rejected; conflict with another file here
    record              all but uploading                   pending or conflict, if its bytes changed or it was to be
                                                            read again; rejected, if it is no picture any more;
                                                            else the same
    lose                pending, conflict, rejected         lost; rejected and gone, if it never was a picture
    merge               pending, conflict, rejected, lost   (unknown): its file is recorded under another path
    dismiss             conflict, rejected, lost            the same, calling for no attention; retry takes that back
    lose, record        conflict with that file             pending
    claim, claim_canary pending, due                        uploading
    confirm             uploading                           uploaded, with the receipt
    refuse              uploading                           pending, charged to it or not; rejected, if it is the
                                                            last refusal
    clash               uploading                           conflict
    ask_again           conflict, with the held bytes       pending
    release, put_off,   uploading                           pending, nothing charged
    postpone, recheck,
    recover
    reoffer             rejected after refusals, a week     pending
    change_destination  uploaded, conflict, refused         pending
    unconfirm           uploaded                            pending, as the destination lost it
    contradict          uploaded                            conflict
    note_copy           uploaded                            the same; its copy there is right, missing or wrong
    mark_removed        uploaded, and what is allowed       the same, gone from the card
    adopt               (unknown)                           the same as in an earlier outbox; uploading is pending
    forget              removed long ago                    (unknown)
    retry               pending, conflict                   pending, due now
    retry               rejected, lost                      the same, and read again: then record decides

Each step is `UPDATE … WHERE id = ? AND state IN (…)` and its line of history, in one transaction. It returns whether
the picture was in a state that the step may leave.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..exceptions import OutboxDamagedError
from .catalog import Catalog
from .database import WritableDatabase, outbox_path
from .destinations import Destinations
from .folders import NOT_SEEN, Folders, Seen
from .queue import REOFFER_AFTER, Queue
from .reader import OutboxReader
from .recovery import Aside, Recovery, earlier_ones, put_aside, remove_earlier, ruins
from .retention import RetentionRecords

__all__ = [
    "NOT_SEEN",
    "REOFFER_AFTER",
    "Aside",
    "Catalog",
    "Destinations",
    "Folders",
    "Outbox",
    "OutboxReader",
    "Queue",
    "Recovery",
    "RetentionRecords",
    "Seen",
    "earlier_ones",
    "open_or_rebuild",
    "outbox_path",
    "put_aside",
    "remove_earlier",
    "ruins",
]


class Outbox(OutboxReader):
    """The outbox file, open for writing, and its parts, one for each user."""

    def __init__(self, path: str, *, longest_wait: float, clock: Callable[[], float] = time.time) -> None:
        """Open the file at `path`, and make or migrate it where needed.

        A picture whose `not_before` is more than `longest_wait` seconds ahead is due: the clock was changed.
        Raises OutboxDamagedError, or StateError where it can't be opened for another reason.
        """
        self.database: WritableDatabase
        database = WritableDatabase(path, clock)
        super().__init__(database)
        self.catalog = Catalog(database)
        self.destinations = Destinations(database)
        self.queue = Queue(database, self.destinations, longest_wait=longest_wait)
        self.retention = RetentionRecords(database)
        self.folders = Folders(database)
        self.recovery = Recovery(database)

    def changed_by_another(self) -> bool:
        """Return whether another process wrote to the outbox since the last call."""
        return self.database.changed_by_another()


def open_or_rebuild(path: str, *, longest_wait: float) -> tuple[Outbox, Aside | None]:
    """Open the outbox; put a damaged or newer one aside, and create a new one.

    Scans of the image folder fill it, and `Maintenance` adds the records that only the earlier one had. Return the
    outbox, and the one that was put aside, if any. Raises StateError if it can't be opened.
    """
    try:
        return Outbox(path, longest_wait=longest_wait), None
    except OutboxDamagedError as error:
        aside = put_aside(path, error)
        return Outbox(path, longest_wait=longest_wait), aside
