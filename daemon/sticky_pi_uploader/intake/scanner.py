"""Finds candidates: regular files named *.jpg below the image dir. Reads names and stats, never contents."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

from sticky_pi_api.exceptions import printable
from sticky_pi_api.filesystem.safe_open import file_system_id

from ..clock import span
from ..journal.events import Kind, about
from ..journal.throttle import Repeats
from ..models import Candidate, Fingerprint
from ..state_dir.pending_removal import PendingRemovals, hidden, original

log = logging.getLogger(__name__)

_LARGEST = 2**63 - 1  # that SQLite can count to


class Scanner:
    """Walks one image dir. Symbolic links, hidden names and the folders in `ignored` are never followed or entered."""

    def __init__(
        self,
        image_dir: str,
        ignored: Collection[str] = (),
        *,
        removals: PendingRemovals | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Walk `image_dir`; `ignored` are absolute folders: the daemon's state, and the embedded store.

        A file whose removal was broken off gets its name back, unless it is `leaving` just now. Without that nothing is
        changed, and it counts as being where it was.
        """
        self.image_dir = image_dir
        self._ignored = {os.path.relpath(folder, image_dir) for folder in ignored}
        self._ignored_starts = tuple(f"{folder}{os.sep}" for folder in self._ignored)
        self._removals = removals
        self._unreadable = Repeats(monotonic)
        self._left_over = Repeats(monotonic)
        self.missed: set[str] = set()
        """the folders and files that were there and couldn't be looked at, or had to stay on their way out since a
        scan of everything last began"""

    def is_candidate_name(self, path: str) -> bool:
        """Tell whether a path relative to the image dir is one that a picture can have."""
        folder, name = os.path.split(path)
        return name.lower().endswith(".jpg") and not name.startswith(".") and self.is_watched_folder(folder)

    def is_watched_folder(self, path: str) -> bool:
        """Tell whether a folder, relative to the image dir, is one that pictures are looked for in."""
        if path.startswith(".") or f"{os.sep}." in path:
            return False
        return not f"{path}{os.sep}".startswith(self._ignored_starts)

    def look(self, path: str) -> Candidate | None:
        """Look at one path; None where no candidate is there (any more)."""
        if not self.is_candidate_name(path):
            return None
        try:
            return _candidate(path, os.lstat(os.path.join(self.image_dir, path)))
        except OSError as error:
            self.complain(path, error)
            return None

    def is_gone(self, path: str) -> bool:
        """Tell whether no file is there any more; False where that can't be told."""
        try:
            status = os.lstat(os.path.join(self.image_dir, path))
        except (FileNotFoundError, NotADirectoryError):
            return not self.is_leaving(path)
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode)

    def is_leaving(self, path: str) -> bool:
        """Tell whether a file isn't in its place as it is on its way out: no loss, and to be decided by others."""
        if self._removals is not None:
            return self._removals.is_pending(path)
        return os.path.lexists(os.path.join(self.image_dir, hidden(path)))

    def missed_some_of(self, folder: str) -> bool:
        """Tell whether a folder, or a file that lies directly in it, is among those that couldn't be looked at."""
        return folder in self.missed or any(
            os.path.dirname(path) == folder for path in self.missed if self.is_candidate_name(path)
        )

    def leaves_out_some_of(self, folder: str) -> bool:
        """Tell whether a folder in this one is among those that are never entered, but for its name."""
        return any(os.path.dirname(each) == folder for each in self._ignored if os.path.basename(each)[:1] != ".")

    def folders(self, below: str = "", known: Callable[[str], Iterable[str] | None] = lambda _: None) -> list[str]:
        """List a folder and all folders below it, those with the latest names (the newest dates) first.

        Those in a folder that `known` names aren't looked for there.
        """
        found, level = [], [below] if self.is_watched_folder(below) else []
        while level:
            found.extend(level)
            level = [deeper for folder in level for deeper in self._subfolders(folder, known(folder))]
        return sorted(found, key=os.path.basename, reverse=True)

    def candidates(self, folder: str) -> list[Candidate] | None:
        """List the candidates that lie directly in a folder, newest first by their names; None if it can't be read."""
        found: list[Candidate] = []
        leaving: list[str] = []
        try:
            with os.scandir(os.path.join(self.image_dir, folder)) as entries:
                for entry in entries:
                    found.extend(self._candidate_of(entry, folder))
                    if (name := original(entry.name)) and self.is_candidate_name(path := os.path.join(folder, name)):
                        leaving.append(path)
        except OSError as error:
            self.complain(folder, error)
            return None
        self._note_readable(folder)
        found.extend(candidate for path in leaving for candidate in self._bring_back(path))
        return sorted(found, key=_time_in_name, reverse=True)

    def _candidate_of(self, entry: os.DirEntry[str], folder: str) -> Iterator[Candidate]:
        path = os.path.join(folder, entry.name)
        if not self.is_candidate_name(path):
            return
        try:
            candidate = _candidate(path, entry.stat(follow_symlinks=False))
        except PermissionError:
            raise  # it is the folder that doesn't allow it
        except OSError as error:
            self.complain(path, error)
            return
        self._note_readable(path)
        if candidate is not None:
            yield candidate

    def _bring_back(self, path: str) -> Iterator[Candidate]:
        """Yield what a removal that was broken off left, once it has its name back."""
        if self._removals is None:
            if not os.path.lexists(os.path.join(self.image_dir, path)):
                with suppress(OSError):
                    candidate = _candidate(path, os.lstat(os.path.join(self.image_dir, hidden(path))))
                    yield from filter(None, [candidate])
            return
        try:
            back = self._removals.restore(path)
        except OSError as error:
            self.missed.add(path)
            self._say_left_over(path, str(error.strerror))
            return
        if back is False:
            self.missed.add(path)
            self._say_left_over(path, "another file has its name by now")
        elif back is True:
            extra = about(Kind.PUT_BACK, path=path, image=self._image(path))
            log.info("%s: its removal was broken off: it is in its place again", printable(path), extra=extra)
            yield from filter(None, [self.look(path)])

    def _say_left_over(self, path: str, why: str) -> None:
        if (spell := self._left_over.again(path, why)) is not None:
            extra = about(Kind.LEFT_OVER, path=path, image=self._image(path), reason=why, count=spell.times)
            text = "%s: its removal was broken off, and it stays %s: %s%s"
            log.warning(text, printable(path), printable(hidden(path)), why, spell, extra=extra)

    def _subfolders(self, folder: str, known: Iterable[str] | None) -> Iterable[str]:
        if known is not None:
            return known
        try:
            with os.scandir(os.path.join(self.image_dir, folder)) as entries:
                paths = [os.path.join(folder, entry.name) for entry in entries if _is_visible_folder(entry)]
        except OSError as error:
            self.complain(folder, error)
            return []
        return [path for path in paths if path not in self._ignored]

    def file_system(self, folder: str) -> str | None:
        """Return the id of the file system that a folder is on, or None where it can't be read."""
        try:
            return file_system_id(os.path.join(self.image_dir, folder))
        except OSError as error:
            self.complain(folder, error)
            return None

    def complain(self, path: str, error: OSError) -> None:
        """Say what can't be read, but not at every scan; what is gone is no news."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self._unreadable.over(path)
            return
        if os.path.basename(path) == "lost+found":
            return
        self.missed.add(path)
        spell = self._unreadable.again(path, str(error.strerror))
        if spell is not None:
            log.warning(
                "%s can't be read, so no picture there is seen: %s%s",
                self._called(path),
                error.strerror,
                spell,
                extra=about(
                    Kind.UNREADABLE, path=path, image=self._image(path), reason=error.strerror, count=spell.times
                ),
            )

    def _note_readable(self, path: str) -> None:
        spell = self._unreadable.over(path)
        if spell is not None:
            extra = about(Kind.READABLE, path=path, image=self._image(path))
            log.info("%s can be read again, after %s", self._called(path), span(spell.seconds), extra=extra)

    def _called(self, path: str) -> str:
        return printable(path or self.image_dir)

    def _image(self, path: str) -> str | None:
        return os.path.basename(path) if self.is_candidate_name(path) else None


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)


def _candidate(path: str, status: os.stat_result) -> Candidate | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return Candidate(path, fingerprint_of(status))


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Take from a file's status what tells whether it changed."""
    # A damaged inode may be of a year that no clock has seen.
    times = min(status.st_mtime_ns, _LARGEST), min(status.st_ctime_ns, _LARGEST)
    return Fingerprint(status.st_size, times[0], status.st_ino & _LARGEST, times[1])


def _time_in_name(candidate: Candidate) -> str:
    fields = os.path.basename(candidate.path).split(".")
    return fields[1] if len(fields) > 1 else ""
