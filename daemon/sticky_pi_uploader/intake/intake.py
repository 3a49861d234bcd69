"""Take in the files that scans and scan requests find: read each one and record it in the outbox.

One step takes a few files, so that a picture that has just arrived never waits for the end of a long scan.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from sticky_pi_api.exceptions import printable
from sticky_pi_api.images.doubts import is_note

from ..clock import Heartbeat
from ..exceptions import StateError
from ..journal.events import Kind, log_event
from ..models import Candidate, Picture, State, Taken
from ..outbox import Catalog, Folders
from ..scan_requests import ScanRequest, ScanRequests
from .absences import Absences, UnchangedFiles, missed
from .directory_sync import DirectorySync
from .folder_cache import FolderCache
from .pending_files import PendingFiles
from .read_picture import PictureReader
from .scanner import Scanner

BATCH_SIZE: Final = 8
"""Files that are recorded in one transaction"""


class Intake:
    """Read new and changed files of the image dir, and record them in the outbox."""

    def __init__(
        self,
        scanner: Scanner,
        reader: PictureReader,
        catalog: Catalog,
        folders: Folders,
        scan_requests: ScanRequests,
        *,
        recorded: Callable[[], None],
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take in the files that scans and `scan_requests` find; call `recorded` when a new picture can be sent.

        Once `stopping()` is true, no further file is read; the next scan finds the remaining ones.
        """
        self._scanner = scanner
        self._reader = reader
        self._catalog = catalog
        self._scan_requests = scan_requests
        self._recorded = recorded
        self._stopping = stopping
        self._directory_sync = DirectorySync(scanner.image_dir, clock=clock)
        self._folder_cache = FolderCache(scanner, folders, clock=clock, monotonic=monotonic)
        self._sources: deque[Iterator[Candidate]] = deque()
        self._pending = PendingFiles(monotonic)
        self._absences = Absences(scanner, catalog)
        self._unchanged = UnchangedFiles(catalog)
        self.heartbeat, self.scan_heartbeat = Heartbeat(monotonic), Heartbeat(monotonic)
        """beat at each file and folder; at the end of each scan of everything, and at each batch of recorded files"""
        self.scan_heartbeat.beat()
        self.idle = False
        """whether no file is left to read, apart from files that keep changing"""
        self.unsettled = 0
        """files that aren't complete pictures, and may still be being written"""
        self.recorded = 0
        """files recorded so far"""

    @property
    def missed(self) -> bool:
        """Return whether a folder or file couldn't be read: it may hold a picture that isn't recorded yet."""
        return bool(self._scanner.missed)

    def step(self) -> float | None:
        """Take in a few files: pending and requested files before the files that a scan finds.

        Returns the seconds until the next step (0: at once), or None to wait for the next request. Raises OSError and
        StateError if the state folder can't be written: the next step scans everything, so that no file is missed.
        """
        try:
            return self._step()
        except (OSError, StateError):
            # The trouble is known, so the scan that it delays isn't missed.
            self.scan_heartbeat.beat()
            self._scan_requests.everything()
            raise

    def _step(self) -> float | None:
        self.idle = False
        self._add_sources(self._scan_requests.take())
        batch = list(self._next_batch())
        if not self.recorded and len(batch) > 1:
            # The very first file alone: so a first picture can be sent soon, in case the power fails.
            self._take_in(batch[:1])
            del batch[:1]
        self._take_in(batch)
        self._record_unchanged()
        if not self._sources:
            # Not earlier: until the scan ends, a missing file may be found elsewhere.
            self._absences.record()
            self._unchanged.log_presence()
            self._folder_cache.save()
        return self._pause()

    def _add_sources(self, request: ScanRequest) -> None:
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
        """Yield the candidate at a path unless it is recorded already; note its absence if there is none."""
        candidate = self._scanner.look(path)
        if candidate is not None:
            yield from self._new_or_changed([candidate], {})
        else:
            self._absences.add([path])

    def _scan_everything(self) -> Iterator[Candidate]:
        self._folder_cache.begin()
        folders = self._scanner.folders(known=self._folder_cache.subfolders)
        for folder in folders:
            if not self._folder_cache.is_unchanged(folder):
                yield from self._read(folder)
        yield from self._rewritten()
        # Recorded files in folders that don't exist any more.
        for folder in sorted(self._catalog.folders_to_check().difference(folders)):
            if not os.path.isdir(os.path.join(self._scanner.image_dir, folder)):
                self._absences.add(missed(self._catalog.in_folder(folder)))
        self._folder_cache.end(folders)
        self._scanner.end_scan()
        self.scan_heartbeat.beat()

    def _rewritten(self) -> Iterator[Candidate]:
        """Yield rejected files that were written since, in folders that needn't be read."""
        for path in self._catalog.rejected_pictures():
            if self._folder_cache.is_unchanged(os.path.dirname(path)) and (candidate := self._scanner.look(path)):
                yield from self._new_or_changed([candidate], {})

    def _scan_below(self, folder: str) -> Iterator[Candidate]:
        for each in self._scanner.folders(folder):
            yield from self._read(each)

    def _read(self, folder: str) -> Iterator[Candidate]:
        """Yield the new and changed files of a folder, and note the missing ones."""
        self.heartbeat.beat()
        known = self._catalog.in_folder(folder)
        candidates = self._scanner.candidates(folder)
        if candidates is None:
            return
        missing = missed(known) - {candidate.path for candidate in candidates}
        self._absences.add(missing)
        for candidate in self._new_or_changed(candidates, known):
            self._folder_cache.add_unrecorded(candidate.path)
            yield candidate
        if not missing and not any(candidate.path in self._pending for candidate in candidates):
            self._folder_cache.mark_read(folder)

    def _new_or_changed(self, candidates: Iterable[Candidate], known: Mapping[str, Picture]) -> Iterator[Candidate]:
        """Yield the candidates that don't match their record, neither in `known` nor in the outbox."""
        for candidate in candidates:
            path = candidate.path
            if self._pending.is_unchanged(path, candidate.fingerprint):
                continue  # it is read again soon
            record = known.get(path)
            if record is None or not record.is_unchanged(candidate.fingerprint):
                # Since its folder was listed, it may have been recorded after a request.
                record = self._catalog.at(path)
            if record is None or record.known_fingerprint is None:
                yield candidate
            elif not record.is_unchanged(candidate.fingerprint):
                yield candidate._replace(md5=record.md5_if_like(candidate.fingerprint))
            else:
                self._unchanged.add(path, candidate.fingerprint, record)

    def _next_batch(self) -> Iterable[Candidate]:
        # As long as there are other files, at most half of the batch are pending files.
        due = islice(self._due(), BATCH_SIZE // 2 if self._sources else BATCH_SIZE)
        batch = {candidate.path: candidate for candidate in due}
        while self._sources and len(batch) < BATCH_SIZE:
            candidate = next(self._sources[0], None)
            if candidate is None:
                self._sources.popleft()
            elif candidate.path not in batch:
                batch[candidate.path] = candidate
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
        final = [taken for candidate in candidates if not self._stopping() for taken in self._read_file(candidate)]
        # Files that are gone with their folder are left out.
        flushed = self._directory_sync.flush({os.path.dirname(taken.path) for taken in final})
        final = [taken for taken in final if os.path.dirname(taken.path) in flushed]
        if not final:
            return
        for taken in final:
            self._record_rename(taken)
        paths = [taken.path for taken in final]
        before = self._catalog.pictures(paths)
        waiting = self._catalog.record(final)
        after = self._catalog.pictures(paths)
        for taken in final:
            if taken in waiting:
                self._pending.postpone(taken.path, taken.fingerprint)
            else:
                self._pending.discard(taken.path)
                self._folder_cache.mark_recorded(taken.path)
                self.recorded += 1
                _log_record(before.get(taken.path), after.get(taken.path))
        self.scan_heartbeat.beat()
        self._recorded()

    def _read_file(self, candidate: Candidate) -> Iterator[Taken]:
        """Read a file; yield its record if that is final, else plan to read it again."""
        self.heartbeat.beat()
        path, file_system = candidate.path, self._scanner.file_system(os.path.dirname(candidate.path))
        if candidate.md5 is not None and (fingerprint := self._reader.fingerprint_if_unchanged(candidate)):
            self._unchanged.add(path, fingerprint, self._catalog.at(path))
            return
        try:
            result = None if file_system is None else self._reader.read(candidate, file_system)
        except FileNotFoundError:
            result = None
        if result is None:
            self._pending.discard(path)
            return
        fingerprint = result.taken.fingerprint or candidate.fingerprint
        if result.final or self._pending.has_settled(path, fingerprint):
            yield result.taken
        else:
            self._pending.postpone(path, fingerprint)

    def _record_rename(self, taken: Taken) -> None:
        if taken.rejected is not None:
            return
        for twin in self._catalog.twins(taken):
            if self._scanner.is_gone(twin.path):
                if self._catalog.rename(twin, taken.path):
                    renamed, before = twin._replace(path=taken.path), twin.path
                    log_event(Kind.RENAMED, f"renamed from {printable(before)}", renamed, renamed_from=before)
                return

    def _record_unchanged(self) -> None:
        for path in self._unchanged.record_ctimes():
            self._pending.discard(path)
            self._folder_cache.mark_recorded(path)
        if self._unchanged.record_presence():
            self.scan_heartbeat.beat()
            self._recorded()

    def _pause(self) -> float | None:
        self.unsettled = len(self._pending)
        if self._sources or self._absences or self._scan_requests:
            return 0.0
        self.idle = self._pending.are_all_changing()
        return self._pending.wait()


def _log_record(was: Picture | None, picture: Picture | None) -> None:
    """Log the new record of a file, unless it is the same as before."""
    if picture is None or (was and (was.state, was.md5, was.reason) == (picture.state, picture.md5, picture.reason)):
        return
    if picture.state in (State.REJECTED, State.CONFLICT):
        kind = Kind.REJECTED if picture.state is State.REJECTED else Kind.CONFLICT
        log_event(kind, f"can't be sent: {picture.reason}", picture)
    elif picture.suspect is not None and not is_note(picture.suspect):
        log_event(Kind.SUSPECT, f"taken in, but suspect: {picture.suspect}", picture)
    else:
        log_event(Kind.TAKEN_IN, "taken in" if picture.suspect is None else f"taken in; {picture.suspect}", picture)
