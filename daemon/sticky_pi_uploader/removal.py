"""Removes pictures from the card, each only once the destination was asked for it again and the file is the one sent.

    the destination has                                    the picture
    the row, and the stored object is the picture          is removed
    the row; the object can't be looked at from here       is removed
    the row, but the stored object is another or missing   stays, and its owner is told
    another picture under the key                          conflict
    nothing under the key                                  is to be sent again

Of a removal, any prefix that a power loss leaves is a state that the next start understands: the receipt is committed,
the file is removed, its folder is flushed, the row is marked.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from sticky_pi_api.durable import sync_folder
from sticky_pi_api.exceptions import printable

from .breakoff import breaking_off
from .events import Kind, about
from .folders import file_system_id
from .hints import Hints
from .models import Picture, State
from .outbox import Outbox
from .scan import fingerprint_of

if TYPE_CHECKING:
    from sticky_pi_api.holdings import Claim, Holding

log = logging.getLogger(__name__)

TOGETHER: Final = 20
"""Pictures whose removal is flushed and recorded at once"""


class Client(Protocol):
    """What removal needs of a client."""

    def holdings(self, claims: Sequence[Claim]) -> list[Holding]:
        """Tell what the destination has of each claimed picture."""

    def close(self) -> None:
        """Give up what it holds open."""


class Removal:
    """Removes the pictures of one image dir."""

    def __init__(
        self,
        outbox: Outbox,
        hints: Hints,
        *,
        image_dir: str,
        open_client: Callable[[], Client],
        is_store: bool,
        stopping: Callable[[], bool],
    ) -> None:
        """Ask the destination, a store or a server, through what `open_client` opens.

        Once `stopping()`, no further picture is removed.
        """
        self._outbox = outbox
        self._hints = hints
        self._image_dir = image_dir
        self._open_client = open_client
        self._is_store = is_store
        self._stopping = stopping

    def remove(self, pictures: Sequence[Picture], *, enough: Callable[[], bool]) -> None:
        """Remove those of some pictures that may go, until it is `enough`.

        Raises StickyPiError where the destination can't be asked, and OSError where files can't be removed.
        """
        allowed = [picture for picture in pictures if picture.state is not State.UPLOADED]
        confirmed = self._confirm([picture for picture in pictures if picture.state is State.UPLOADED])
        may_go = {picture.id for picture in (*allowed, *confirmed)}
        waiting = [picture for picture in pictures if picture.id in may_go]
        while waiting and not (enough() or self._stopping()):
            self._remove_together(waiting[:TOGETHER])
            del waiting[:TOGETHER]

    def _confirm(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Return those that the destination has; what follows of the others is recorded."""
        if not pictures:
            return []
        claims = [claim_of(picture) for picture in pictures]
        client = self._open_client()
        try:
            # A server is given up when it would hold up the end; a store needs but a moment.
            with nullcontext() if self._is_store else breaking_off(client.close, self._stopping):
                found = client.holdings(claims)
        finally:
            client.close()
        return [picture for picture, holding in zip(pictures, found, strict=True) if self._stands(picture, holding)]

    def _stands(self, picture: Picture, holding: Holding) -> bool:
        from sticky_pi_api.holdings import Holding

        kind, state = Kind.OVERWRITTEN, picture.state
        match holding:
            case Holding.CONFIRMED | Holding.ROW_ONLY:
                return True
            case Holding.ABSENT:
                why = "the destination doesn't have it any more: it is sent again"
                kind, state = Kind.MISSING, State.PENDING
                self._outbox.unconfirm(picture, why)
                self._hints.file(picture.path)
            case Holding.OTHER:
                why = "the destination holds another picture with this device and time by now"
                kind, state = Kind.CONFLICT, State.CONFLICT
                self._outbox.contradict(picture, why)
                self._hints.file(picture.path)
            case _:
                why = "stays on the card: what the destination stores isn't this picture, though its list says so"
        log.warning("%s: %s", printable(picture.path), why, extra=about(kind, picture, state=state, reason=why))
        return False

    def _remove_together(self, pictures: Iterable[Picture]) -> None:
        gone = [(picture, why) for picture in pictures if (why := self._unlink(picture)) is not None]
        for folder in {os.path.dirname(picture.path) for picture, _ in gone}:
            sync_folder(os.path.join(self._image_dir, folder))
        with self._outbox.together():
            for picture, why in gone:
                self._outbox.mark_removed(picture, why)
        for picture, why in gone:
            log.info("%s: %s", printable(picture.path), why, extra=about(Kind.REMOVED, picture))

    def _unlink(self, picture: Picture) -> str | None:
        """Remove a picture's file; says what became of it, or None where it stays."""
        path = os.path.join(self._image_dir, picture.path)
        try:
            if file_system_id(os.path.dirname(path)) != picture.file_system:
                return None
            if not self._is_the_one(path, picture):
                self._hints.file(picture.path)
                return None
            os.unlink(path)
        except FileNotFoundError:
            # Removed by somebody, or by us before a power cut.
            return "gone from the card" if os.path.isdir(os.path.dirname(path)) else None
        return "removed from the card"

    def _is_the_one(self, path: str, picture: Picture) -> bool:
        """Tell whether a file is still the one that is recorded, and if it was sent, whether it still has those bytes.

        A file that is no picture, and took the place of one that was sent, is recorded by its status too.
        """
        status = os.lstat(path)
        if picture.state is not State.UPLOADED and fingerprint_of(status) == picture.fingerprint:
            return True
        from sticky_pi_api.exceptions import ImageError
        from sticky_pi_api.utils import md5

        try:
            return stat.S_ISREG(status.st_mode) and picture.md5 is not None and md5(path) == picture.md5
        except ImageError:
            return False


def claim_of(picture: Picture) -> Claim:
    """Make of an uploaded picture what a client's `holdings` takes."""
    from sticky_pi_api.holdings import Claim
    from sticky_pi_api.utils import string_to_datetime

    taken_at = string_to_datetime(str(picture.datetime))
    # A picture has a fingerprint unless its file could never be read, and then it has no receipt.
    size = -1 if picture.fingerprint is None else picture.fingerprint.size
    return Claim(str(picture.device), taken_at, str(picture.md5), size)
