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
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from sticky_pi_api.exceptions import printable
from sticky_pi_api.filesystem.durable import flush, naming
from sticky_pi_api.filesystem.safe_open import file_system_id, open_file

from ..intake.scanner import fingerprint_of
from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from ..models import Picture, State
from ..outbox import RetentionRecords
from ..scan_requests import ScanRequests
from ..state_dir.pending_removal import PendingRemovals, hidden, hide, open_at, restore

if TYPE_CHECKING:
    from sticky_pi_api.put_images.verification import Claim, Holding

log = logging.getLogger(__name__)

PICTURES_PER_FLUSH: Final = 20
"""Pictures whose removal is flushed and recorded at once"""


class Client(Protocol):
    """The part of `LocalClient` and `RemoteClient` that the remover uses."""

    def holdings(self, claims: Sequence[Claim]) -> list[Holding]:
        """Return what the destination has of each picture."""

    def close(self) -> None:
        """Close connections and files."""


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
        allowed = [picture for picture in pictures if picture.state is not State.UPLOADED]
        confirmed = self._confirm([picture for picture in pictures if picture.state is State.UPLOADED])
        removable = {picture.id for picture in (*allowed, *confirmed)}
        waiting = [picture for picture in pictures if picture.id in removable]
        while waiting and not (enough() or self._stopping()):
            self._remove_batch(waiting[:PICTURES_PER_FLUSH])
            del waiting[:PICTURES_PER_FLUSH]

    def _confirm(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Return the pictures that the destination has; record the consequences for the others."""
        from ..upload.cancel import cancel_on_stop

        if not pictures:
            return []
        claims = [claim_of(picture)._replace(file_system=picture.file_system) for picture in pictures]
        client = self._open_client()
        try:
            # A request to a server is cancelled if it would delay the stop; a store answers in a moment.
            with nullcontext() if self._is_store else cancel_on_stop(client.close, self._stopping):
                found = client.holdings(claims)
        finally:
            client.close()
        return [
            picture for picture, holding in zip(pictures, found, strict=True) if self._is_confirmed(picture, holding)
        ]

    def _is_confirmed(self, picture: Picture, holding: Holding) -> bool:
        from sticky_pi_api.put_images.verification import Holding

        kind, state = Kind.OVERWRITTEN, picture.state
        match holding:
            case Holding.CONFIRMED | Holding.ROW_ONLY:
                if holding is Holding.CONFIRMED:
                    self._records.note_copy(picture, None)
                return True
            case Holding.SAME_DISK:
                why = "the destination's copy lies on the same disk"
                if (spell := self._repeats.again("", why)) is not None:
                    extra = about(Kind.NOT_REMOVED, picture, reason=why)
                    log.warning("%s stays on the card: %s%s", printable(picture.path), why, spell, extra=extra)
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
        log.warning("%s: %s", printable(picture.path), why, extra=about(kind, picture, state=state, reason=why))
        return False

    def _remove_batch(self, pictures: Sequence[Picture]) -> None:
        gone: list[tuple[Picture, str]] = []
        # Until the rows are marked: a scan would record the missing files as lost.
        with self._removals.removing([picture.path for picture in pictures]), ExitStack() as stack:
            folders = _Folders(self._image_dir, stack)
            try:
                gone.extend((each, why) for each in pictures if (why := self._remove_file(folders, each)) is not None)
            finally:
                self._record(gone, folders)

    def _record(self, gone: Sequence[tuple[Picture, str]], folders: _Folders) -> None:
        for folder in {os.path.dirname(picture.path) for picture, _ in gone}:
            folders.sync(folder)
        with self._records.together():
            for picture, why in gone:
                self._records.mark_removed(picture, why)
        for picture, why in gone:
            log.info("%s: %s", printable(picture.path), why, extra=about(Kind.REMOVED, picture))

    def _remove_file(self, folders: _Folders, picture: Picture) -> str | None:
        """Remove a picture's file; return the text for its history, or None if the file stays."""
        path, name = os.path.split(picture.path)
        folder = folders.open(path)
        if folder is None and folders.is_gone(path, picture.file_system):
            return "gone from the card"
        if folder is None or file_system_id(folder) != picture.file_system:
            return None
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
                text = "%s stays on the card, as it can't be renamed to %s first: %s%s"
                extra = about(Kind.NOT_REMOVED, picture, reason=error.strerror)
                log.warning(text, printable(picture.path), printable(hidden(name)), error.strerror, spell, extra=extra)
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
                extra = about(Kind.LEFT_OVER, picture, reason=why)
                log.warning("%s: %s", printable(picture.path), printable(why), extra=extra)
        return False


class _Folders:
    """The open folders of one image dir: each is opened once, without following links, and closed with the stack."""

    def __init__(self, image_dir: str, stack: ExitStack) -> None:
        self._image_dir = image_dir
        self._stack = stack
        self._open: dict[str, int | None] = {}

    def open(self, path: str) -> int | None:
        """Open a folder; None if it doesn't exist, or if a link or a file is in its place."""
        if path not in self._open:
            self._open[path] = descriptor = self._try(path)
            if descriptor is not None:
                self._stack.callback(os.close, descriptor)
        return self._open[path]

    def is_gone(self, path: str, file_system: str) -> bool:
        """Return whether a missing folder was on the file system of the folder above it, which can be read."""
        path, name = os.path.split(path)
        above = self.open(path)
        if above is None:
            return path != "" and self.is_gone(path, file_system)
        return file_system_id(above) == file_system and not _is_there(above, name)

    def sync(self, path: str) -> None:
        """Make the names in an open folder durable; if the folder is gone, the names in the one above it."""
        while (descriptor := self._open[path]) is None:
            path = os.path.dirname(path)
        with naming(os.path.join(self._image_dir, path)):
            flush(descriptor)

    def _try(self, path: str) -> int | None:
        try:
            return open_at(self._image_dir, path)
        except (FileNotFoundError, NotADirectoryError):
            return None


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
    from sticky_pi_api.put_images.verification import Claim
    from sticky_pi_api.utils import string_to_datetime

    taken_at = string_to_datetime(str(picture.datetime))
    # A picture has a fingerprint unless its file could never be read, and then it has no receipt.
    size = -1 if picture.fingerprint is None else picture.fingerprint.size
    return Claim(str(picture.device), taken_at, str(picture.md5), size)
