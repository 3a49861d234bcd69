"""Takes in what the watcher hints at and what scans find: from a file on the card to a durable row.

One step is a handful of files, so that a picture that arrives just now never waits for the end of a long scan.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .folders import file_system_id
from .hints import Hint, Hints
from .ingest import Ingest, Ingested, sync_folder
from .models import Candidate, Fingerprint, State, Taken
from .outbox import Known, Outbox
from .scan import Scanner

log = logging.getLogger(__name__)

BATCH: Final = 8
"""Files taken in with one transaction."""

SECOND_LOOK: Final = 1.0
"""Seconds after which a file that is no picture, and hasn't changed, is believed to stay as it is."""

LONGEST_LOOK: Final = 60.0
"""Seconds between two looks at a file that goes on changing without becoming a picture."""


@dataclass(slots=True)
class _Look:
    """A file that was no picture when it was looked at."""

    fingerprint: Fingerprint | None
    at: float
    """monotonic seconds: when it was read"""
    again_at: float
    pause: float


class Intake:
    """The only one that reads the image dir, and the only one that records what lies there."""

    def __init__(
        self,
        scanner: Scanner,
        ingest: Ingest,
        outbox: Outbox,
        hints: Hints,
        *,
        recorded: Callable[[], None],
        stopping: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take in what `hints` and scans name; `recorded` is called whenever there is something new to be sent.

        Once `stopping()` no further file is read; what is left over is found by the next scan.
        """
        self._scanner = scanner
        self._ingest = ingest
        self._outbox = outbox
        self._hints = hints
        self._recorded = recorded
        self._stopping = stopping
        self._monotonic = monotonic
        self._sources: deque[Iterator[Candidate]] = deque()
        self._looks: dict[str, _Look] = {}
        self.idle = False
        """whether nothing is left to look at; files that go on changing don't count, and hints to come neither"""
        self.unsettled = 0
        """files that are no pictures as they stand, and may be still being written"""
        self.seen = 0
        """new or changed files found so far"""
        self.recorded = 0
        """files recorded so far"""

    def step(self) -> float | None:
        """Take in a few files: second looks first, then hinted ones, then what a scan finds.

        Returns the seconds until the next step is worth it (0: at once), or None: not before the next hint.
        Raises OSError and StateError where the state folder can't be written; then everything is to be looked at anew.
        """
        self.idle = False
        self._follow(self._hints.take())
        batch = list(self._due_looks())
        while self._sources and len(batch) < BATCH:
            batch.extend(islice(self._sources[0], BATCH - len(batch)))
            if len(batch) < BATCH:
                self._sources.popleft()
        self._take_in(batch)
        return self._pause()

    def _follow(self, hint: Hint) -> None:
        if hint.everything:
            self._sources.clear()
            self._sources.append(self._scan_everything())
        for folder in sorted(hint.folders):
            self._sources.appendleft(self._scan_below(folder))
        if hint.files:
            self._sources.appendleft(candidate for path in sorted(hint.files) for candidate in self._look(path))

    def _look(self, path: str) -> Iterator[Candidate]:
        """Yield the candidate at a path, unless it is known as it is; note its absence where it was known."""
        known = self._outbox.known_at(path)
        candidate = self._scanner.look(path)
        if candidate is not None:
            yield from self._unknown([candidate], {path: known} if known else {})
        elif known is not None:
            self._note_absent(path, known)

    def _scan_everything(self) -> Iterator[Candidate]:
        yield from self._scan_below("")
        # What is recorded in folders that aren't there any more.
        for folder in sorted(self._outbox.folders_to_check()):
            if not os.path.isdir(os.path.join(self._scanner.image_dir, folder)):
                self._note_missing(self._outbox.known_in(folder), set())

    def _scan_below(self, folder: str) -> Iterator[Candidate]:
        for each in self._scanner.folders(folder):
            known = self._outbox.known_in(each)
            candidates = self._scanner.candidates(each)
            if candidates is not None:
                self._note_missing(known, {candidate.path for candidate in candidates})
                yield from self._unknown(candidates, known)

    def _unknown(self, candidates: Iterable[Candidate], known: dict[str, Known]) -> Iterator[Candidate]:
        for candidate in candidates:
            record, look = known.get(candidate.path), self._looks.get(candidate.path)
            if look is not None and look.fingerprint == candidate.fingerprint:
                continue  # its second look is due soon
            if record is None or record.fingerprint != candidate.fingerprint:
                self.seen += look is None
                yield candidate
            elif not record.present:
                self._outbox.set_present(candidate.path, present=True)
                self._recorded()

    def _due_looks(self) -> Iterator[Candidate]:
        now = self._monotonic()
        due = [path for path, look in self._looks.items() if look.again_at <= now]
        for path in due[:BATCH]:
            candidate = self._scanner.look(path)
            if candidate is None:
                del self._looks[path]
                self._hints.file(path)
            else:
                yield candidate

    def _take_in(self, candidates: Iterable[Candidate]) -> None:
        settled = [taken for candidate in candidates if not self._stopping() for taken in self._settle(candidate)]
        if not settled:
            return
        for folder in {self._folder_of(taken.path) for taken in settled}:
            sync_folder(folder)
        for taken in settled:
            self._follow_rename(taken)
        waiting = self._outbox.record(settled)
        for taken in waiting:
            self._look_later(taken.path, None)
        for taken in settled:
            if taken not in waiting:
                self.recorded += 1
                _tell(taken)
        self._recorded()

    def _settle(self, candidate: Candidate) -> Iterator[Taken]:
        """Yield what a file is, once that can be believed."""
        try:
            ingested = self._ingest.take_in(candidate, file_system_id(self._folder_of(candidate.path)))
        except FileNotFoundError:
            self._looks.pop(candidate.path, None)
            return
        if ingested.settled or self._is_second_look(ingested):
            self._looks.pop(candidate.path, None)
            yield ingested.taken
        else:
            self._look_later(candidate.path, ingested.taken.fingerprint)

    def _is_second_look(self, ingested: Ingested) -> bool:
        look = self._looks.get(ingested.taken.path)
        if look is None or look.fingerprint != ingested.taken.fingerprint:
            return False
        return self._monotonic() - look.at >= SECOND_LOOK

    def _look_later(self, path: str, fingerprint: Fingerprint | None) -> None:
        now = self._monotonic()
        look = self._looks.get(path)
        if look is not None and look.fingerprint == fingerprint and fingerprint is not None:
            return
        pause = SECOND_LOOK if look is None else min(LONGEST_LOOK, 2 * look.pause)
        self._looks[path] = _Look(fingerprint, now, now + pause, pause)

    def _follow_rename(self, taken: Taken) -> None:
        if taken.rejected is not None:
            return
        for twin in self._outbox.twins(taken):
            if not os.path.lexists(os.path.join(self._scanner.image_dir, twin.path)):
                self._outbox.rename(twin, taken.path)
                return

    def _note_missing(self, known: dict[str, Known], there: set[str]) -> None:
        for path, record in known.items():
            if path not in there:
                self._note_absent(path, record)

    def _note_absent(self, path: str, record: Known) -> None:
        """Call a picture lost where its folder can be read on the file system it was on; else it is just away."""
        if not record.missed:
            return
        picture = self._outbox.at(path)
        if picture is None or self._scanner.look(path) is not None:
            return
        if self._is_gone(path, picture.file_system):
            if self._outbox.lose(picture):
                log.warning("%s: gone from the card before it was sent", path, extra=_fields(path, State.LOST))
        elif record.present:
            self._outbox.set_present(path, present=False)
            log.warning("%s: its disk isn't there; it is sent when it is back", path)

    def _folder_of(self, path: str) -> str:
        return os.path.join(self._scanner.image_dir, os.path.dirname(path))

    def _is_gone(self, path: str, file_system: str) -> bool:
        folder = self._folder_of(path)
        while len(folder) > len(self._scanner.image_dir) and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        try:
            os.listdir(folder)
            return file_system_id(folder) == file_system
        except OSError:
            return False

    def _pause(self) -> float | None:
        changing = sum(look.pause > SECOND_LOOK for look in self._looks.values())
        self.unsettled = len(self._looks)
        self.idle = not (self._sources or self._hints) and changing == len(self._looks)
        if self._sources or self._hints:
            return 0.0
        if self._looks:
            return max(0.0, min(look.again_at for look in self._looks.values()) - self._monotonic())
        return None


def _tell(taken: Taken) -> None:
    state = State.PENDING if taken.rejected is None else State.REJECTED
    if taken.rejected is not None:
        log.warning("%s: can't be sent: %s", taken.path, taken.rejected, extra=_fields(taken.path, state))
    elif taken.suspect is not None:
        log.warning("%s: taken in, but suspect: %s", taken.path, taken.suspect, extra=_fields(taken.path, state))
    else:
        log.info("%s: taken in", taken.path, extra=_fields(taken.path, state))


def _fields(path: str, state: State) -> dict[str, str]:
    return {"STICKY_PI_IMAGE": os.path.basename(path), "STICKY_PI_STATE": state.value}
