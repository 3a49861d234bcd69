"""Removes pictures from the card, each only once the destination was asked for it again and the file is the one sent.

    the destination has                                    the picture
    the row, and the stored object is the picture          is removed
    the row; the object can't be looked at from here       is removed
    the picture, but on the card's own file system         stays: it is no second copy
    the row, but the stored object is another or missing   stays, and its owner is told
    another picture under the key                          conflict
    nothing under the key                                  is to be sent again

Of a removal, any prefix that a power loss leaves is a state that the next start understands: the receipt is committed;
the file is renamed, in its folder, to a name that nobody else uses; it is the one that was sent, whatever was done to
the folder meanwhile; it is unlinked; the folder is flushed, the row is marked. What was renamed and not unlinked is
given its name back, here or by whoever finds it (see `leaving`). No folder on the way may be a link.
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
from ..upload.cancel import cancel_on_stop

if TYPE_CHECKING:
    from sticky_pi_api.put_images.verification import Claim, Holding

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
        records: RetentionRecords,
        scan_requests: ScanRequests,
        *,
        image_dir: str,
        open_client: Callable[[], Client],
        is_store: bool,
        stopping: Callable[[], bool],
        leaving: PendingRemovals | None = None,
    ) -> None:
        """Ask the destination, a store or a server, through what `open_client` opens.

        Once `stopping()`, no further picture is removed. Who scans the image dir meanwhile has to know of `leaving`.
        """
        self._records = records
        self._scan_requests = scan_requests
        self._image_dir = image_dir
        self._open_client = open_client
        self._is_store = is_store
        self._stopping = stopping
        self._leaving = PendingRemovals(image_dir) if leaving is None else leaving
        self._repeats = Repeats(time.monotonic)

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
        claims = [claim_of(picture)._replace(file_system=picture.file_system) for picture in pictures]
        client = self._open_client()
        try:
            # A server is given up when it would hold up the end; a store needs but a moment.
            with nullcontext() if self._is_store else cancel_on_stop(client.close, self._stopping):
                found = client.holdings(claims)
        finally:
            client.close()
        return [picture for picture, holding in zip(pictures, found, strict=True) if self._stands(picture, holding)]

    def _stands(self, picture: Picture, holding: Holding) -> bool:
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

    def _remove_together(self, pictures: Sequence[Picture]) -> None:
        gone: list[tuple[Picture, str]] = []
        # Until the rows are marked: a scan would take what is gone for a loss.
        with self._leaving.removing([picture.path for picture in pictures]), ExitStack() as stack:
            folders = _Folders(self._image_dir, stack)
            try:
                gone.extend((each, why) for each in pictures if (why := self._take_out(folders, each)) is not None)
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

    def _take_out(self, folders: _Folders, picture: Picture) -> str | None:
        """Remove a picture's file; says what became of it, or None where it stays."""
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
                # Removed by somebody, or by us before a power cut; unless that broke off before it was decided.
                if restore(folder, name) is None:
                    return "gone from the card"
            else:
                may_go = _looks_the_same(status, picture) and self._hide(folder, name, picture)
                if may_go and self._decide(folder, name, picture):
                    return "removed from the card"
        self._scan_requests.file(picture.path)
        return None

    def _hide(self, folder: int, name: str, picture: Picture) -> bool:
        """Give a file its name on the way out; False where it can't have it, and so has to stay."""
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

    def _decide(self, folder: int, name: str, picture: Picture) -> bool:
        """Remove a file on its way out if it is the one, else give it its name back; tells whether it is removed."""
        try:
            if _is_the_one(folder, hidden(name), picture):
                os.unlink(hidden(name), dir_fd=folder)
                return True
        finally:
            # It is there no more if it was removed.
            if restore(folder, name) is False:
                why = f"another file was put in its place meanwhile: both are kept, this one as {hidden(name)}"
                extra = about(Kind.LEFT_OVER, picture, reason=why)
                log.warning("%s: %s", printable(picture.path), printable(why), extra=extra)
        return False


class _Folders:
    """Open folders of the image dir, each opened once, and none through a link."""

    def __init__(self, image_dir: str, stack: ExitStack) -> None:
        """Open none yet; they are closed with the `stack`."""
        self._image_dir = image_dir
        self._stack = stack
        self._open: dict[str, int | None] = {}

    def open(self, path: str) -> int | None:
        """Open one; None where it isn't there, or isn't a folder but a link, say."""
        if path not in self._open:
            self._open[path] = descriptor = self._try(path)
            if descriptor is not None:
                self._stack.callback(os.close, descriptor)
        return self._open[path]

    def is_gone(self, path: str, file_system: str) -> bool:
        """Tell whether one that isn't there was on the file system of the folder above it, which can be read."""
        path, name = os.path.split(path)
        above = self.open(path)
        if above is None:
            return path != "" and self.is_gone(path, file_system)
        return file_system_id(above) == file_system and not _is_there(above, name)

    def sync(self, path: str) -> None:
        """Make the names in one that is open durable, or that one with it is gone."""
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
    """Tell whether a file may still be the one that is recorded: then it is worth renaming it to make sure."""
    now, recorded = fingerprint_of(status), picture.fingerprint
    if recorded is None or not stat.S_ISREG(status.st_mode):
        return False
    # What was never read whole has nothing else to be known by.
    return recorded.is_same(now) if picture.md5 is None else recorded.is_like(now)


def _is_the_one(folder: int, name: str, picture: Picture) -> bool:
    """Tell whether a file, which nobody else knows by this name, is the one that is recorded, and has its bytes.

    A file that is no picture, and took the place of one that was sent, is recorded by its status too: its bytes tell.
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
        # What can't be read whole may be anything.
        return False


def claim_of(picture: Picture) -> Claim:
    """Make of an uploaded picture what a client's `holdings` takes."""
    from sticky_pi_api.put_images.verification import Claim
    from sticky_pi_api.utils import string_to_datetime

    taken_at = string_to_datetime(str(picture.datetime))
    # A picture has a fingerprint unless its file could never be read, and then it has no receipt.
    size = -1 if picture.fingerprint is None else picture.fingerprint.size
    return Claim(str(picture.device), taken_at, str(picture.md5), size)
