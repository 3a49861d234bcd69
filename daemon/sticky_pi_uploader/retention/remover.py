"""Remove pictures from the card, each after a new query to the destination and a check of the file's bytes.

    the destination has                                    the picture
    the row, and the stored object is the picture          is removed
    the row; the object can't be read from here            is removed
    the picture, but on the card's own file system         stays: it is no second copy
    the row, but the stored object is another or missing   stays, with a warning
    another picture under the key                          gets into conflict
    nothing under the key                                  is sent again

A removal has these steps: the receipt is in the outbox; the file is renamed, in its folder, to a hidden name; its bytes
are compared with the picture that was sent; it is unlinked; the folder is flushed, and the row is marked. A power cut
may end it after any step. If the file was renamed but not unlinked, it gets its name back, here or from the next scan
(see `pending_removal`). No folder on the path may be a link.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sticky_pi_api.exceptions import printable
from sticky_pi_api.filesystem.durable import flush, naming
from sticky_pi_api.filesystem.safe_open import file_system_id, open_file

from ..image_dir.pending_removal import PendingRemovals, hidden, hide, restore
from ..image_dir.picture_file import fingerprint_of, open_at
from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats
from ..models import Picture, State
from ..outbox import RetentionRecords
from ..scan_requests import ScanRequests

if TYPE_CHECKING:
    from sticky_pi_api.put_images.holdings import Claim, Holding

    from ..upload.client_factory import Client

PICTURES_PER_FLUSH: Final = 20
"""Pictures whose removal is flushed and recorded at once"""


class Remover:
    """Remove pictures of one image dir."""

    def __init__(
        self,
        records: RetentionRecords,
        scan_requests: ScanRequests,
        *,
        image_dir: str,
        open_client: Callable[[], Client],
        is_store: bool,
        stopping: Callable[[], bool],
        removals: PendingRemovals | None = None,
    ) -> None:
        """Ask the destination, a store or a server, through the client that `open_client` opens.

        Once `stopping()` is true, no further picture is removed. A scanner of the same folder has to share `removals`.
        """
        self._records = records
        self._scan_requests = scan_requests
        self._image_dir = image_dir
        self._open_client = open_client
        self._is_store = is_store
        self._stopping = stopping
        self._removals = PendingRemovals(image_dir) if removals is None else removals
        self._repeats = Repeats(time.monotonic)

    def remove(self, pictures: Sequence[Picture], *, enough: Callable[[], bool]) -> None:
        """Remove some of the pictures, if they may be removed, until `enough()` is true.

        Raises StickyPiError if the destination can't be asked, and OSError if files can't be removed.
        """
        confirmed = self._confirm([picture for picture in pictures if picture.state is State.UPLOADED])
        removable = [each for each in pictures if each.state is not State.UPLOADED or each.id in confirmed]
        for start in range(0, len(removable), PICTURES_PER_FLUSH):
            if enough() or self._stopping():
                return
            self._remove_batch(removable[start : start + PICTURES_PER_FLUSH])

    def _confirm(self, pictures: Sequence[Picture]) -> set[int]:
        """Return the ids of the pictures that the destination has; record the consequences for the others."""
        from ..upload.cancel import cancel_on_stop

        if not pictures:
            return set()
        claims = [claim_of(picture)._replace(file_system=picture.file_system) for picture in pictures]
        client = self._open_client()
        try:
            # A request to a server is cancelled if it would delay the stop; a store answers in a moment.
            with nullcontext() if self._is_store else cancel_on_stop(client.close, self._stopping):
                found = client.holdings(claims)
        finally:
            client.close()
        return {
            picture.id for picture, holding in zip(pictures, found, strict=True) if self._is_confirmed(picture, holding)
        }

    def _is_confirmed(self, picture: Picture, holding: Holding) -> bool:
        from sticky_pi_api.put_images.holdings import Holding

        kind, state = Kind.OVERWRITTEN, picture.state
        match holding:
            case Holding.CONFIRMED | Holding.ROW_ONLY:
                if holding is Holding.CONFIRMED:
                    self._records.note_copy(picture, None)
                return True
            case Holding.SAME_DISK:
                why = "the destination's copy lies on the same disk"
                if (spell := self._repeats.again("", why)) is not None:
                    log_event(Kind.NOT_REMOVED, f"stays on the card: {why}{spell}", picture, reason=why)
                return False
            case Holding.ABSENT:
                why = "the destination doesn't have it any more: it is sent again"
                kind, state = Kind.MISSING, State.PENDING
                self._records.unconfirm(picture, why)
                self._scan_requests.file(picture.path)
            case Holding.OTHER:
                why = "the destination holds another picture with this device and time by now"
                kind, state = Kind.CONFLICT, State.CONFLICT
                self._records.contradict(picture, why)
                self._scan_requests.file(picture.path)
            case _:
                why = "stays on the card: what the destination stores isn't this picture, though its list says so"
                self._records.note_copy(picture, why)
        log_event(kind, why, picture, state=state, reason=why)
        return False

    def _remove_batch(self, pictures: Sequence[Picture]) -> None:
        # Until the rows are marked: a scan would record the missing files as lost.
        with self._removals.removing([picture.path for picture in pictures]):
            for path, group in groupby(sorted(pictures, key=_folder_of), _folder_of):
                self._remove_from(path, group)

    def _remove_from(self, path: str, pictures: Iterable[Picture]) -> None:
        """Remove pictures of one folder; then make that durable, and mark them as removed."""
        gone: list[tuple[Picture, str]] = []
        with ExitStack() as stack:
            folder, missing = _open_nearest(self._image_dir, path)
            stack.callback(os.close, folder)
            try:
                gone.extend((each, why) for each in pictures if (why := self._remove_file(folder, missing, each)))
            finally:
                if gone:
                    with naming(os.path.join(self._image_dir, path)):
                        flush(folder)
                    self._record(gone)

    def _record(self, gone: Sequence[tuple[Picture, str]]) -> None:
        with self._records.together():
            for picture, why in gone:
                self._records.mark_removed(picture, why)
        for picture, why in gone:
            log_event(Kind.REMOVED, why, picture)

    def _remove_file(self, folder: int, missing: str | None, picture: Picture) -> str | None:
        """Remove a picture's file; return the text for its history, or None if the file stays.

        `folder` is the open folder of the picture, or one above it where the next one is `missing`.
        """
        if file_system_id(folder) != picture.file_system:
            return None
        if missing is not None:
            return None if _is_there(folder, missing) else "gone from the card"
        name = os.path.basename(picture.path)
        with naming(os.path.join(self._image_dir, picture.path)):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                # Removed by a user, or by us before a power cut, unless that removal was interrupted too early.
                if restore(folder, name) is None:
                    return "gone from the card"
            else:
                is_hidden = _looks_the_same(status, picture) and self._hide(folder, name, picture)
                if is_hidden and self._remove_hidden(folder, name, picture):
                    return "removed from the card"
        self._scan_requests.file(picture.path)
        return None

    def _hide(self, folder: int, name: str, picture: Picture) -> bool:
        """Rename a file to its hidden name; return False if that isn't possible, so that the file has to stay."""
        try:
            hide(folder, name)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENAMETOOLONG):
                raise
            if (spell := self._repeats.again(picture.path, str(error.strerror))) is not None:
                why = error.strerror
                text = f"stays on the card, as it can't be renamed to {printable(hidden(name))} first: {why}{spell}"
                log_event(Kind.NOT_REMOVED, text, picture, reason=why)
            return False
        return True

    def _remove_hidden(self, folder: int, name: str, picture: Picture) -> bool:
        """Remove a hidden file if it is the recorded one, else give it its name back; return whether it is removed."""
        try:
            if _is_recorded_file(folder, hidden(name), picture):
                os.unlink(hidden(name), dir_fd=folder)
                return True
        finally:
            # If the file was removed, this does nothing.
            if restore(folder, name) is False:
                why = f"another file was put in its place meanwhile: both are kept, this one as {hidden(name)}"
                log_event(Kind.LEFT_OVER, printable(why), picture, reason=why)
        return False


def _folder_of(picture: Picture) -> str:
    return os.path.dirname(picture.path)


def _open_nearest(image_dir: str, path: str) -> tuple[int, str | None]:
    """Open a folder of the image dir, or the nearest one above it, without following links.

    Also returns the name of the next folder below that couldn't be opened, if any. Raises OSError.
    """
    missing = None
    while True:
        try:
            return open_at(image_dir, path), missing
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                raise
        path, missing = os.path.split(path)


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _looks_the_same(status: os.stat_result, picture: Picture) -> bool:
    """Return whether a file may still be the recorded one, by its status: then it is renamed and its bytes are read."""
    now, recorded = fingerprint_of(status), picture.fingerprint
    if recorded is None or not stat.S_ISREG(status.st_mode):
        return False
    # A file that was never read as a whole has no md5 to compare later.
    return recorded.is_same(now) if picture.md5 is None else recorded.is_like(now)


def _is_recorded_file(folder: int, name: str, picture: Picture) -> bool:
    """Return whether a hidden file is the recorded one, by its status and its bytes.

    If a file that is no picture took the place of a picture that was sent, its status is recorded too. So the md5
    decides.
    """
    from sticky_pi_api.utils import md5

    try:
        with open(open_file(name, folder=folder), "rb") as file:
            before = os.fstat(file.fileno())
            if picture.fingerprint is None or not picture.fingerprint.is_like(fingerprint_of(before)):
                return False
            same = picture.state is not State.UPLOADED if picture.md5 is None else md5(file) == picture.md5
            return same and fingerprint_of(os.fstat(file.fileno())) == fingerprint_of(before)
    except OSError:
        # A file that can't be read as a whole may be any file.
        return False


def claim_of(picture: Picture) -> Claim:
    """Return an uploaded picture in the form that a client's `holdings` takes."""
    from sticky_pi_api.put_images.holdings import Claim
    from sticky_pi_api.utils import string_to_datetime

    taken_at = string_to_datetime(str(picture.datetime))
    # A picture has a fingerprint unless its file could never be read, and then it has no receipt.
    size = -1 if picture.fingerprint is None else picture.fingerprint.size
    return Claim(str(picture.device), taken_at, str(picture.md5), size)
