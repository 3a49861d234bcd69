"""Find candidates: regular files named *.jpg below the image dir. Only names and status are read, never contents."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from sticky_pi_api.exceptions import printable
from sticky_pi_api.filesystem.safe_open import file_system_id

from ..clock import span
from ..image_dir.pending_removal import PendingRemovals, hidden, is_stuck, original
from ..image_dir.picture_file import fingerprint_of
from ..journal.events import Kind, log_event
from ..journal.throttle import Repeats
from ..models import Candidate


class Scanner:
    """Walk one image dir, without following symbolic links, hidden names or `ignored` folders."""

    def __init__(
        self,
        image_dir: str,
        ignored: Collection[str] = (),
        *,
        removals: PendingRemovals | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Walk `image_dir`; `ignored` are absolute folders: the daemon's state, and the embedded store.

        With `removals`, a file whose removal was interrupted gets its name back. Without it, no file is changed, and
        that file is reported under its former name.
        """
        self.image_dir = image_dir
        self._ignored = {os.path.relpath(folder, image_dir) for folder in ignored}
        self._ignored_starts = tuple(f"{folder}{os.sep}" for folder in self._ignored)
        self._removals = removals
        self._unreadable = Repeats(monotonic)
        self._stuck = Repeats(monotonic)
        self.missed: set[str] = set()
        """folders and files that couldn't be read, or stay hidden after an interrupted removal, since the last scan of
        everything began"""

    def is_candidate_name(self, path: str) -> bool:
        """Return whether a picture can have this path, relative to the image dir."""
        folder, name = os.path.split(path)
        return name.lower().endswith(".jpg") and not name.startswith(".") and self.is_watched_folder(folder)

    def is_watched_folder(self, path: str) -> bool:
        """Return whether a folder, relative to the image dir, is scanned for pictures."""
        if path.startswith(".") or f"{os.sep}." in path:
            return False
        return not f"{path}{os.sep}".startswith(self._ignored_starts)

    def look(self, path: str) -> Candidate | None:
        """Return the candidate at a path; None if there is none (any more)."""
        if not self.is_candidate_name(path):
            return None
        try:
            return _candidate(path, os.lstat(os.path.join(self.image_dir, path)))
        except OSError as error:
            self._report_unreadable(path, error)
            return None

    def is_gone(self, path: str) -> bool:
        """Return whether a file doesn't exist any more; False if that is unknown."""
        try:
            status = os.lstat(os.path.join(self.image_dir, path))
        except (FileNotFoundError, NotADirectoryError):
            return not self.is_being_removed(path)
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode)

    def is_being_removed(self, path: str) -> bool:
        """Return whether a file is missing because its removal has begun: that is no loss."""
        if self._removals is not None:
            return self._removals.is_pending(path)
        return os.path.lexists(os.path.join(self.image_dir, hidden(path)))

    def unreadable(self) -> list[tuple[str, str]]:
        """Return the folders and files that couldn't be read, each with the reason; any thread may call this."""
        return self._unreadable.reasons()

    def end_scan(self) -> None:
        """Forget the trouble with paths that this scan of the whole image dir could read, or that are gone."""
        for path, _ in self._unreadable.reasons():
            if path not in self.missed:
                self._unreadable.over(path)

    def missed_some_of(self, folder: str) -> bool:
        """Return whether a folder, or a file directly in it, couldn't be read."""
        return folder in self.missed or any(
            os.path.dirname(path) == folder for path in self.missed if self.is_candidate_name(path)
        )

    def ignores_some_of(self, folder: str) -> bool:
        """Return whether an ignored folder, whose name isn't hidden anyway, lies directly in this one."""
        return any(os.path.dirname(each) == folder for each in self._ignored if os.path.basename(each)[:1] != ".")

    def folders(self, below: str = "", known: Callable[[str], Iterable[str] | None] = lambda _: None) -> list[str]:
        """List a folder and all folders below it, the latest names (the newest dates) first.

        `known` returns the subfolders of a folder if they are known, so that it isn't read; else None.
        """
        found, level = [], [below] if self.is_watched_folder(below) else []
        while level:
            found.extend(level)
            level = [deeper for folder in level for deeper in self._subfolders(folder, known(folder))]
        return sorted(found, key=os.path.basename, reverse=True)

    def candidates(self, folder: str) -> list[Candidate] | None:
        """List the candidates directly in a folder, the newest names first; None if the folder can't be read."""
        found: list[Candidate] = []
        interrupted: list[str] = []
        try:
            with os.scandir(os.path.join(self.image_dir, folder)) as entries:
                for entry in entries:
                    found.extend(self._candidate_of(entry, folder))
                    if (name := original(entry.name)) and self.is_candidate_name(path := os.path.join(folder, name)):
                        interrupted.append(path)
        except OSError as error:
            self._report_unreadable(folder, error)
            return None
        self._report_readable(folder)
        found.extend(candidate for path in interrupted for candidate in self._restore(path))
        return sorted(found, key=_time_in_name, reverse=True)

    def _candidate_of(self, entry: os.DirEntry[str], folder: str) -> Iterator[Candidate]:
        path = os.path.join(folder, entry.name)
        if not self.is_candidate_name(path):
            return
        try:
            candidate = _candidate(path, entry.stat(follow_symlinks=False))
        except PermissionError:
            raise  # the folder doesn't allow it
        except OSError as error:
            self._report_unreadable(path, error)
            return
        self._report_readable(path)
        if candidate is not None:
            yield candidate

    def _restore(self, path: str) -> Iterator[Candidate]:
        """Restore a file's name after an interrupted removal, and yield the file."""
        if self._removals is None:
            if not os.path.lexists(os.path.join(self.image_dir, path)):
                with suppress(OSError):
                    candidate = _candidate(path, os.lstat(os.path.join(self.image_dir, hidden(path))))
                    yield from filter(None, [candidate])
            return
        try:
            back = self._removals.restore(path)
        except OSError as error:
            self._report_stuck(path, str(error.strerror))
            return
        if back is False:
            self._report_stuck(path, "another file has its name by now")
        elif back is True:
            self._log(Kind.PUT_BACK, ": its removal was broken off: it is in its place again", path=path)
            yield from filter(None, [self.look(path)])

    def _report_stuck(self, path: str, why: str) -> None:
        self.missed.add(path)
        if (spell := self._stuck.again(path, why)) is not None:
            text = f": its removal was broken off, and it stays {printable(hidden(path))}: {why}{spell}"
            self._log(Kind.LEFT_OVER, text, path=path, reason=why, count=spell.times)

    def interrupted_removals(self) -> Iterator[str]:
        """Yield the former path of each file that stays hidden after an interrupted removal, as its name is taken.

        Only names are read; a folder that can't be read is skipped.
        """
        for above, folders, names in os.walk(self.image_dir):
            folder = os.path.relpath(above, self.image_dir).removeprefix(".")
            folders[:] = [name for name in folders if self.is_watched_folder(os.path.join(folder, name))]
            for path in (os.path.join(folder, name) for name in map(original, names) if name):
                if self.is_candidate_name(path) and is_stuck(self.image_dir, path):
                    yield path

    def _subfolders(self, folder: str, known: Iterable[str] | None) -> Iterable[str]:
        if known is not None:
            return known
        try:
            with os.scandir(os.path.join(self.image_dir, folder)) as entries:
                paths = [os.path.join(folder, entry.name) for entry in entries if _is_visible_folder(entry)]
        except OSError as error:
            self._report_unreadable(folder, error)
            return []
        return [path for path in paths if path not in self._ignored]

    def file_system(self, folder: str) -> str | None:
        """Return the id of a folder's file system, or None if the folder can't be read."""
        try:
            return file_system_id(os.path.join(self.image_dir, folder))
        except OSError as error:
            self._report_unreadable(folder, error)
            return None

    def _report_unreadable(self, path: str, error: OSError) -> None:
        """Log a path that can't be read, but not in every scan, and not if it is gone."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self._unreadable.over(path)
            return
        if os.path.basename(path) == "lost+found":
            return
        self.missed.add(path)
        why = str(error.strerror)
        if (spell := self._unreadable.again(path, why)) is not None:
            text = f" can't be read, so no picture there is seen: {why}{spell}"
            self._log(Kind.UNREADABLE, text, path=path, reason=why, count=spell.times)

    def _report_readable(self, path: str) -> None:
        spell = self._unreadable.over(path)
        if spell is not None:
            self._log(Kind.READABLE, f" can be read again, after {span(spell.seconds)}", path=path)

    def _log(self, kind: Kind, text: str, *, path: str, **more: Any) -> None:
        """Log an event of a file or folder, whose path begins the text."""
        image = os.path.basename(path) if self.is_candidate_name(path) else None
        log_event(kind, f"{printable(path or self.image_dir)}{text}", path=path, image=image, **more)


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)


def _candidate(path: str, status: os.stat_result) -> Candidate | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return Candidate(path, fingerprint_of(status))


def _time_in_name(candidate: Candidate) -> str:
    fields = os.path.basename(candidate.path).split(".")
    return fields[1] if len(fields) > 1 else ""
