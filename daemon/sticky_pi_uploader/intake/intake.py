"""Take in the files that scans and scan requests find: from a file on the card to a durable row.

One step is a handful of files, so that a picture that arrives just now never waits for the end of a long scan.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from sticky_pi_api.exceptions import printable
from sticky_pi_api.images.doubts import is_note

from ..journal.events import Kind, about
from ..models import Candidate, Picture, State, Taken
from ..outbox import Catalog, Folders, Known
from ..scan_requests import ScanRequest, ScanRequests
from .absences import Absences, missed
from .directory_sync import DirectorySync
from .folder_cache import FolderCache
from .pending_files import PendingFiles
from .read_picture import Ingest
from .returned_files import ReturnedFiles
from .scanner import Scanner

log = logging.getLogger(__name__)

BATCH: Final = 8
"""Files taken in with one transaction."""


class Intake:
    """Read new and changed files of the image dir, and record them in the outbox."""

    def __init__(
        self,
        scanner: Scanner,
        ingest: Ingest,
        catalog: Catalog,
        folders: Folders,
        scan_requests: ScanRequests,
        *,
        recorded: Callable[[], None],
        stopping: Callable[[], bool],
        beat: Callable[[], None] = lambda: None,
        scanned: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take in the files that `scan_requests` and scans name; call `recorded` when there is something new to send.

        `beat` is called with each file and each folder that is dealt with, `scanned` when all was looked through.
        Once `stopping()` no further file is read; what is left over is found by the next scan.
        """
        self._scanner = scanner
        self._ingest = ingest
        self._catalog = catalog
        self._scan_requests = scan_requests
        self._recorded = recorded
        self._stopping = stopping
        self._beat = beat
        self._scanned = scanned
        self._monotonic = monotonic
        self._directory_sync = DirectorySync(scanner.image_dir, clock=clock)
        self._folder_cache = FolderCache(scanner, folders, clock=clock, monotonic=monotonic)
        self._sources: deque[Iterator[Candidate]] = deque()
        self._pending = PendingFiles(monotonic)
        self._absences = Absences(scanner, catalog)
        self._returned = ReturnedFiles(catalog)
        self.idle = False
        """whether nothing is left to look at; files that go on changing don't count, and requests to come neither"""
        self.unsettled = 0
        """files that are no pictures as they stand, and may be still being written"""
        self.seen = 0
        """new or changed files found so far"""
        self.recorded = 0
        """files recorded so far"""

    @property
    def missed(self) -> bool:
        """Tell whether something couldn't be looked at: a picture may lie there that nobody has seen yet."""
        return bool(self._scanner.missed)

    def step(self) -> float | None:
        """Take in a few files, second looks and hinted ones before those that a scan finds.

        Returns the seconds until the next step is worth it (0: at once), or None: not before the next request.
        Raises OSError and StateError where the state folder can't be written; then everything is to be looked at anew.
        """
        self.idle = False
        self._follow(self._scan_requests.take())
        batch = list(self._next_batch())
        if not self.recorded and len(batch) > 1:
            # The very first one alone: there is soon something to be sent, should the power not last.
            self._take_in(batch[:1])
            del batch[:1]
        self._take_in(batch)
        self._note_returns()
        if not self._sources:
            # Not sooner: until everything is looked at, what isn't here any more may turn up elsewhere.
            self._absences.record()
            self._returned.tell()
            self._folder_cache.save()
        return self._pause()

    def _follow(self, request: ScanRequest) -> None:
        if request.everything:
            self._sources.clear()
            self._sources.append(self._scan_everything())
        for folder in sorted(request.folders):
            self._sources.appendleft(self._scan_below(folder))
        files = request.files.union(filter(self._is_rejected, request.touched))
        if files:
            self._sources.appendleft(candidate for path in sorted(files) for candidate in self._look(path))

    def _is_rejected(self, path: str) -> bool:
        picture = self._catalog.at(path)
        return picture is not None and picture.state is State.REJECTED and path not in self._pending

    def _look(self, path: str) -> Iterator[Candidate]:
        """Yield the candidate at a path, unless it is known as it is; note its absence where it was known."""
        candidate = self._scanner.look(path)
        if candidate is not None:
            yield from self._unknown([candidate], {}, self._catalog.known_at)
        else:
            self._absences.add([path])

    def _scan_everything(self) -> Iterator[Candidate]:
        self._folder_cache.begin()
        folders = self._scanner.folders(known=self._folder_cache.subfolders)
        for folder in folders:
            if not self._folder_cache.is_unchanged(folder):
                yield from self._read(folder)
        yield from self._rewritten()
        # What is recorded in folders that aren't there any more.
        for folder in sorted(self._catalog.folders_to_check().difference(folders)):
            if not os.path.isdir(self._full(folder)):
                self._absences.add(missed(self._catalog.known_in(folder)))
        self._folder_cache.end(folders)
        self._scanned()

    def _rewritten(self) -> Iterator[Candidate]:
        """Yield rejected files that were filled or completed in place since, in folders that needn't be read."""
        for path in self._catalog.rejected_pictures():
            if self._folder_cache.is_unchanged(os.path.dirname(path)) and (candidate := self._scanner.look(path)):
                yield from self._unknown([candidate], {}, self._catalog.known_at)

    def _scan_below(self, folder: str) -> Iterator[Candidate]:
        for each in self._scanner.folders(folder):
            yield from self._read(each)

    def _read(self, folder: str) -> Iterator[Candidate]:
        """Yield what isn't known in a folder, and note what isn't there any more."""
        self._beat()
        known = self._catalog.known_in(folder)
        candidates = self._scanner.candidates(folder)
        if candidates is None:
            return
        missing = missed(known) - {candidate.path for candidate in candidates}
        self._absences.add(missing)
        for candidate in self._unknown(candidates, known, self._catalog.known_at):
            self._folder_cache.expect(candidate.path)
            yield candidate
        if not missing and not any(candidate.path in self._pending for candidate in candidates):
            self._folder_cache.note(folder)

    def _unknown(
        self, candidates: Iterable[Candidate], known: Mapping[str, Known], known_at: Callable[[str], Known | None]
    ) -> Iterator[Candidate]:
        """Yield those that aren't known as they are, neither by what was `known` nor by what `known_at` tells now."""
        for candidate in candidates:
            path = candidate.path
            if self._pending.is_unchanged(path, candidate.fingerprint):
                continue  # it is read again soon
            record = known.get(path)
            if record is None or not record.is_of(candidate.fingerprint):
                # A request may have led to it since its folder was listed.
                record = known_at(path)
            if record is None or record.fingerprint is None:
                yield candidate
            elif not record.is_of(candidate.fingerprint):
                yield candidate._replace(md5=record.md5_if_like(candidate.fingerprint))
            else:
                self._returned.note(path, candidate.fingerprint, record)

    def _next_batch(self) -> Iterable[Candidate]:
        # Pending files get no more than half of it as long as there is something else.
        due = islice(self._due(), BATCH // 2 if self._sources else BATCH)
        batch = {candidate.path: candidate for candidate in due}
        while self._sources and len(batch) < BATCH:
            candidate = next(self._sources[0], None)
            if candidate is None:
                self._sources.popleft()
            elif candidate.path not in batch:
                batch[candidate.path] = candidate
                self.seen += candidate.path not in self._pending
        return batch.values()

    def _due(self) -> Iterator[Candidate]:
        for path in self._pending.due():
            candidate = self._scanner.look(path)
            if candidate is None:
                self._pending.discard(path)
                self._absences.add([path])
            else:
                yield candidate

    def _take_in(self, candidates: Iterable[Candidate]) -> None:
        settled = [taken for candidate in candidates if not self._stopping() for taken in self._settle(candidate)]
        # What is gone with its folder is left out.
        flushed = self._directory_sync.flush({os.path.dirname(taken.path) for taken in settled})
        settled = [taken for taken in settled if os.path.dirname(taken.path) in flushed]
        if not settled:
            return
        for taken in settled:
            self._follow_rename(taken)
        paths = [taken.path for taken in settled]
        before = self._catalog.pictures(paths)
        waiting = self._catalog.record(settled)
        after = self._catalog.pictures(paths)
        for taken in settled:
            if taken in waiting:
                self._pending.postpone(taken.path, taken.fingerprint)
            else:
                self._pending.discard(taken.path)
                self._folder_cache.know(taken.path)
                self.recorded += 1
                _tell(before.get(taken.path), after.get(taken.path))
        self._recorded()

    def _settle(self, candidate: Candidate) -> Iterator[Taken]:
        """Yield what a file is, once that can be believed."""
        self._beat()
        path, file_system = candidate.path, self._scanner.file_system(os.path.dirname(candidate.path))
        if candidate.md5 is not None and (fingerprint := self._ingest.still_is(candidate)) is not None:
            self._returned.note(path, fingerprint, self._catalog.known_at(path))
            return
        try:
            ingested = None if file_system is None else self._ingest.take_in(candidate, file_system)
        except FileNotFoundError:
            ingested = None
        if ingested is None:
            self._pending.discard(path)
            return
        fingerprint = ingested.taken.fingerprint or candidate.fingerprint
        if ingested.settled or self._pending.has_settled(path, fingerprint):
            yield ingested.taken
        else:
            self._pending.postpone(path, fingerprint)

    def _follow_rename(self, taken: Taken) -> None:
        if taken.rejected is not None:
            return
        for twin in self._catalog.twins(taken):
            if self._scanner.is_gone(twin.path):
                if self._catalog.rename(twin, taken.path):
                    renamed = twin._replace(path=taken.path)
                    extra = about(Kind.RENAMED, renamed, renamed_from=twin.path)
                    log.info("%s: renamed from %s", printable(taken.path), printable(twin.path), extra=extra)
                return

    def _note_returns(self) -> None:
        for path in self._returned.record_ctimes():
            self._pending.discard(path)
            self._folder_cache.know(path)
        if self._returned.record_presence():
            self._recorded()

    def _full(self, path: str) -> str:
        return os.path.join(self._scanner.image_dir, path)

    def _pause(self) -> float | None:
        self.unsettled = len(self._pending)
        if self._sources or self._absences or self._scan_requests:
            return 0.0
        self.idle = self._pending.are_all_changing()
        return self._pending.wait()


def _tell(was: Picture | None, picture: Picture | None) -> None:
    """Log what became of a file, unless that is no news."""
    if picture is None or (was and (was.state, was.md5, was.reason) == (picture.state, picture.md5, picture.reason)):
        return
    path = printable(picture.path)
    if picture.state in (State.REJECTED, State.CONFLICT):
        kind = Kind.REJECTED if picture.state is State.REJECTED else Kind.CONFLICT
        log.warning("%s: can't be sent: %s", path, picture.reason, extra=about(kind, picture))
    elif picture.suspect is not None and not is_note(picture.suspect):
        log.warning("%s: taken in, but suspect: %s", path, picture.suspect, extra=about(Kind.SUSPECT, picture))
    elif picture.suspect is not None:
        log.info("%s: taken in; %s", path, picture.suspect, extra=about(Kind.TAKEN_IN, picture))
    else:
        log.info("%s: taken in", path, extra=about(Kind.TAKEN_IN, picture))
