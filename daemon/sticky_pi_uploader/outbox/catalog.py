"""Record the files of the image folder: new, changed, renamed and lost ones."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sticky_pi_api.exceptions import printable
from sticky_pi_api.images.doubts import summary

from ..models import TO_LOOK_AT, UNSENT, Fingerprint, Picture, ReasonCode, State, Taken
from .codec import WITHOUT_METADATA, metadata_text, split_path, to_path
from .database import Part
from .rank import rank
from .schema import UNTRIED

_CLAIMS_ITS_KEY: Final = "(state IN ('pending', 'uploading') OR (state = 'uploaded' AND recheck = 0))"
"""Condition of the pictures that occupy their key, so that no other is sent under it; one that only an earlier
destination has doesn't"""

CHANGED_UNSEEN: Final = "its bytes changed, but neither its size nor its time did: the card may be failing"

WAS_WHOLE: Final = "the card may be failing: it was whole when it was taken in, but now "
"""Beginning of the reason of a picture that was damaged on the card; the reason why it isn't whole follows"""

_DAMAGED: Final = (
    *("its EXIF is damaged", "its header is damaged", "its data are damaged"),
    *("it doesn't decode", "it changed while it was read"),
)
"""Beginnings of the reasons of files that may well be pictures"""

_NEEDS_ATTENTION: Final = (
    "state IN ('conflict', 'rejected', 'lost') AND removed_at IS NULL AND dismissed_at IS NULL"
    " AND reason_code IS NOT 'cut_short'"
)
"""Condition of the pictures for which `Picture.needs_attention` is true"""


class Catalog(Part):
    """The records of the files in the image folder."""

    def at(self, path: str) -> Picture | None:
        """Return the picture recorded at a path, relative to the image dir."""
        return self._database.at(path)

    def pictures(self, paths: Iterable[str]) -> dict[str, Picture]:
        """Map the recorded ones of some paths to their pictures, by one query for each folder."""
        names = defaultdict(list)
        for folder, name in map(split_path, paths):
            names[folder].append(name)
        found: dict[str, Picture] = {}
        for folder, each in names.items():
            query = f"SELECT * FROM pictures WHERE folder = ? AND name IN ({', '.join('?' * len(each))})"
            found.update((picture.path, picture) for picture in self._database.pictures(query, (folder, *each)))
        return found

    def in_folder(self, folder: str) -> dict[str, Picture]:
        """Map the paths recorded in one folder, relative to the image dir, to their pictures without the metadata."""
        column = split_path(os.path.join(folder, "name"))[0]
        found = self._database.pictures(f"SELECT {WITHOUT_METADATA} FROM pictures WHERE folder = ?", (column,))
        return {picture.path: picture for picture in found}

    def folders_to_check(self) -> set[str]:
        """Return the folders of the pictures whose absence may be a loss."""
        rows = self._database.rows(
            "SELECT DISTINCT folder FROM pictures"
            " WHERE state IN ('pending', 'uploading', 'conflict', 'rejected') AND removed_at IS NULL"
        )
        with self._database.damage_told():
            return {to_path(row[0]) for row in rows}

    def rejected_pictures(self) -> list[str]:
        """Return the paths of rejected files that have the name of a picture."""
        rows = self._database.rows("SELECT folder, name FROM pictures WHERE state = 'rejected' AND device IS NOT NULL")
        with self._database.damage_told():
            return [os.path.join(*map(to_path, row)) for row in rows]

    def files_to_recheck(self) -> list[str]:
        """Return the paths of the files to read again even if they look unchanged."""
        rows = self._database.rows("SELECT folder, name FROM pictures WHERE recheck = 1")
        with self._database.damage_told():
            return [os.path.join(*map(to_path, row)) for row in rows]

    def count_to_look_at(self) -> int:
        """Count the pictures that need attention."""
        return int(self._database.value(f"SELECT count(*) FROM pictures WHERE {_NEEDS_ATTENTION}"))

    def twins(self, taken: Taken | Picture) -> list[Picture]:
        """Return the pictures with the same key and md5 that are recorded under another path."""
        twins = self._database.pictures(
            "SELECT * FROM pictures WHERE device = ? AND datetime = ? AND md5 = ? AND NOT (folder = ? AND name = ?)",
            (taken.device, taken.datetime, taken.md5, *split_path(taken.path)),
        )
        return list(twins)

    def with_bytes_of(self, gone: Picture) -> list[Picture]:
        """Return the records of a picture's bytes under other paths: copies, or its own file under another name."""
        return [*self.twins(gone), *self._of_same_file(gone)]

    def merge(self, gone: Picture, other: Picture) -> bool:
        """Delete the record of a picture whose file is gone, and add its history to that of another with its bytes.

        Return False, and change nothing, if either has another state by now, if the picture has a receipt, or if the
        other is not to be sent and needs no attention: then nobody would hear of the loss.
        """
        if gone.receipt_md5 is not None or (other.state in TO_LOOK_AT and not other.needs_attention):
            return False
        why = f"renamed from {gone.path!a}{_was(gone)}"
        values = {"dismissed_at": gone.dismissed_at} if gone.state is other.state else None
        with self._database.writing() as connection:
            if not (
                self._database.move(gone.id, (*UNSENT, State.LOST), gone.state)
                and self._database.move(other.id, (other.state,), other.state, why, values)
            ):
                return False
            connection.execute("UPDATE history SET picture_id = ? WHERE picture_id = ?", (other.id, gone.id))
            connection.execute("DELETE FROM pictures WHERE id = ?", (gone.id,))
            self._clear_the_way(gone)
            return True

    def rename(self, picture: Picture, path: str) -> bool:
        """Record that the file was renamed; return False if something is recorded under the new path already."""
        with self._database.writing() as connection:
            if self.at(path) is not None:
                return False
            connection.execute("UPDATE pictures SET folder = ?, name = ? WHERE id = ?", (*split_path(path), picture.id))
            self._database.note(picture.id, picture.state, f"renamed from {picture.path!a}")
            return True

    def record(self, batch: Sequence[Taken]) -> list[Taken]:
        """Record files that were read, in one transaction.

        Return the files that can't be recorded yet, because their picture is being sent.
        """
        with self._database.writing():
            return [taken for taken in batch if not self._record_one(taken)]

    def set_present(self, path: str, *, present: bool) -> None:
        """Record whether a file that isn't lost is there; absent ones aren't claimed."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE pictures SET present = ? WHERE folder = ? AND name = ?",
                (int(present), *split_path(path)),
            )

    def note_ctimes(self, fingerprints: Mapping[str, Fingerprint]) -> None:
        """Record the new ctimes of files whose bytes didn't change, by path.

        The step isn't durable: if it is lost, the files are hashed once more.
        """
        with self._database.writing(durable=False) as connection:
            connection.executemany(
                "UPDATE pictures SET ctime_ns = ? WHERE folder = ? AND name = ?"
                " AND size = ? AND mtime_ns = ? AND inode = ?",
                [(each.ctime_ns, *split_path(path), *each[:3]) for path, each in fingerprints.items()],
            )

    def lose(self, picture: Picture) -> State | None:
        """Record that the file is gone before it was sent; one that never was a picture stays rejected.

        Return the new state, or None if the picture had left its state by now.
        """
        if picture.is_no_picture and not self._was_picture(picture):
            removed = {"removed_at": self._database.clock(), "recheck": 0}
            moved = self._database.move(picture.id, (State.REJECTED,), State.REJECTED, "gone from the card", removed)
            return State.REJECTED if moved else None
        why = f"gone from the card before it was sent{_was(picture)}"
        # Whoever dismissed it knew of another state, and not of the loss.
        values = {"reason": why, "not_before": None, "recheck": 0, "present": 0, "dismissed_at": None}
        with self._database.writing():
            lost = self._database.move(picture.id, UNSENT, State.LOST, why, values)
            if lost:
                self._clear_the_way(picture)
            return State.LOST if lost else None

    def dismiss(self, picture: Picture) -> bool:
        """Record that a person acknowledged a picture's state; return False if it needs no attention any more."""
        if not picture.needs_attention:
            return False
        values = {"dismissed_at": self._database.clock()}
        return self._database.move(picture.id, (picture.state,), picture.state, "dismissed by hand", values)

    def _record_one(self, taken: Taken) -> bool:
        known = self.at(taken.path)
        if known is None:
            self._record_new(taken)
        elif known.state is State.UPLOADING:
            return False
        else:
            self._record_again(known, taken)
        for each in self._of_same_file(taken):
            if each.state is State.LOST and (found := self.at(taken.path)) is not None:
                self.merge(each, found)
        return True

    def _record_again(self, known: Picture, taken: Taken) -> None:
        if taken.rejected is not None:
            self._record_no_picture(known, taken, taken.rejected)
        elif taken.md5 != known.md5:
            taken = _marked(taken, known)
            receipt = "" if known.receipt_md5 is None else f" after it was sent (receipt {known.receipt_md5})"
            self._take_in_again(known, taken, f"the file changed{receipt}: taken in again")
        elif known.state is State.LOST or known.recheck:
            self._take_in_again(known, taken, "read again: it is there, and a picture")
        else:
            self._touch(known, taken)

    def _record_new(self, taken: Taken) -> None:
        state, why = self._first_state(taken)
        folder, name = split_path(taken.path)
        reason = None if state is State.PENDING else why
        values = {**_columns(taken), "rank": self._rank(taken)}
        values |= {"folder": folder, "name": name, "state": state.value, "reason": reason}
        self._database.note(self._database.insert("INSERT", values), state, why)

    def _rank(self, taken: Taken) -> float | None:
        """Return a picture's rank, and rank the device's next one anew, before which this one comes now."""
        if taken.device is None or taken.datetime is None:
            return None
        device = "SELECT {} FROM pictures WHERE device = :device AND datetime"
        neighbours = f"SELECT ({device.format('max(datetime)')} < :at), ({device.format('min(datetime)')} > :at)"
        (row,) = self._database.rows(neighbours, {"device": taken.device, "at": taken.datetime})
        before, after = row
        with self._database.damage_told():
            if after is not None:
                self._database.connection.execute(
                    "UPDATE pictures SET rank = :rank WHERE device = :device AND datetime = :after"
                    " AND state != 'uploaded' AND rank IS NOT :rank",
                    {"rank": rank(taken.device, after, taken.datetime), "device": taken.device, "after": after},
                )
            return rank(taken.device, taken.datetime, before)

    def _of_same_file(self, file: Taken | Picture) -> list[Picture]:
        """Find the records of a file under other paths, by its inode and md5.

        Without an md5, as of a name that no picture can have, its size and time decide.
        """
        if file.fingerprint is None:
            return []
        folder, name = split_path(file.path)
        values = {"file_system": file.file_system, "folder": folder, "name": name, "md5": file.md5}
        found = self._database.pictures(
            "SELECT * FROM pictures INDEXED BY pictures_by_inode WHERE inode = :inode AND inode != 0"
            " AND file_system = :file_system AND NOT (folder = :folder AND name = :name)"
            " AND iif(md5 IS NULL OR :md5 IS NULL, size = :size AND mtime_ns = :mtime_ns, md5 = :md5)",
            values | _fingerprint_columns(file.fingerprint),
        )
        return list(found)

    def _was_picture(self, rejected: Picture) -> bool:
        """Return whether a rejected file was a picture earlier, perhaps with another name or other bytes."""
        query = "SELECT 1 FROM history WHERE picture_id = ? AND state IN ('pending', 'conflict')"
        return next(self._database.rows(query, (rejected.id,)), None) is not None

    def _first_state(self, taken: Taken) -> tuple[State, str]:
        if taken.rejected is not None:
            return State.REJECTED, taken.rejected
        conflict = self._conflict_here(taken)
        return (State.PENDING, "taken in") if conflict is None else (State.CONFLICT, conflict)

    def _conflict_here(self, taken: Taken) -> str | None:
        """Return the reason if another file here has the same key, but other contents; None if there is none."""
        rivals = self._database.pictures(
            "SELECT * FROM pictures WHERE device = ? AND datetime = ? AND md5 != ? AND NOT (folder = ? AND name = ?)"
            f" AND {_CLAIMS_ITS_KEY}",
            (taken.device, taken.datetime, taken.md5, *split_path(taken.path)),
        )
        for rival in rivals:
            path = printable(rival.path)
            return f"{path} has the same device and time but other contents: both are kept, only that one is sent"
        return None

    def _take_in_again(self, known: Picture, taken: Taken, why: str) -> None:
        conflict = self._conflict_here(taken)
        if conflict is None:
            self._overwrite(known, taken, State.PENDING, why)
        else:
            self._overwrite(known, taken, State.CONFLICT, conflict)

    def _clear_the_way(self, gone: Picture) -> None:
        """Make pictures pending again that were in conflict with one that won't be sent any more."""
        why = "the destination is asked again: the file here with the same device and time is no longer to be sent"
        rows = self._database.rows(
            "SELECT id FROM pictures AS waiting WHERE device = ? AND datetime = ? AND state = 'conflict' AND NOT EXISTS"
            " (SELECT 1 FROM pictures WHERE device = waiting.device AND datetime = waiting.datetime"
            f" AND md5 != waiting.md5 AND {_CLAIMS_ITS_KEY}) ORDER BY id LIMIT 1",
            (gone.device, gone.datetime),
        )
        for row in rows:
            self._database.move(row["id"], (State.CONFLICT,), State.PENDING, why, {"reason": None, "not_before": None})

    def _record_no_picture(self, known: Picture, taken: Taken, why: str) -> None:
        same_file = _is_same_file(known, taken)
        if known.state is State.UPLOADED:
            if not same_file:
                self._database.note(known.id, known.state, f"the file here changed after it was sent: {why}")
            self._touch(known, taken)
            return
        if _code_of(why) is ReasonCode.CUT_SHORT and self._was_picture(known):
            why = WAS_WHOLE + why
            taken = taken._replace(rejected=why)
        if known.state is State.REJECTED and known.attempts == 0 and known.reason == why:
            self._touch(known, taken)
        else:
            self._overwrite(known, taken, State.REJECTED, why)
            self._clear_the_way(known)

    def _overwrite(self, known: Picture, taken: Taken, state: State, why: str) -> None:
        reset: dict[str, Any] = {**UNTRIED, "present": 1, "recheck": 0, "urgent": known.urgent and not taken.rejected}
        reset |= dict.fromkeys(("receipt_md5", "uploaded_at", "removed_at", "dismissed_at"))
        if state is known.state is State.PENDING and _is_same_file(known, taken):
            # The file is unchanged, so the card read other bytes; that may happen again.
            reset |= {"misses": known.misses, "not_before": known.not_before}
        if state is known.state is State.REJECTED and known.md5 is not None and known.md5 == taken.md5:
            reset["dismissed_at"] = known.dismissed_at
        reason = None if state is State.PENDING else why
        values = {**_columns(taken), **reset, "rank": self._rank(taken), "reason": reason}
        self._database.move(known.id, (known.state,), state, why, values)

    def _touch(self, known: Picture, taken: Taken) -> None:
        values = {**_fingerprint_columns(taken.fingerprint), "file_system": taken.file_system}
        values |= {"present": 1, "recheck": 0, "removed_at": None, "urgent": known.urgent and not taken.rejected}
        self._database.move(known.id, (known.state,), known.state, None, values)


def _was(picture: Picture) -> str:
    return "" if picture.reason is None else f" (it was {picture.state}: {picture.reason})"


def _is_same_file(known: Picture, taken: Taken) -> bool:
    if known.fingerprint is None or taken.fingerprint is None:
        return known.fingerprint is taken.fingerprint
    return known.fingerprint.is_same(taken.fingerprint)


def _marked(taken: Taken, known: Picture) -> Taken:
    """Mark a picture as suspect if its bytes changed, but neither its size nor its time."""
    before, now = known.fingerprint, taken.fingerprint
    # A file that wasn't complete when it was rejected may be completed later: that is no doubt.
    if known.state is State.REJECTED or before is None or now is None or not before.is_like(now):
        return taken
    return taken._replace(suspect=summary(filter(None, (taken.suspect, CHANGED_UNSEEN))))


def _columns(taken: Taken) -> dict[str, Any]:
    return {
        **_fingerprint_columns(taken.fingerprint),
        "device": taken.device,
        "datetime": taken.datetime,
        "md5": taken.md5,
        "suspect": taken.suspect,
        "metadata": metadata_text(taken.metadata),
        "file_system": taken.file_system,
        "clock_synchronised": taken.clock_synchronised,
        "reason_code": _code_of(taken.rejected or ""),
    }


def _code_of(rejected: str) -> ReasonCode | None:
    """Return the code of the reason why a file is no picture, by the words that the image parser has for it now."""
    if rejected.startswith(("it is cut short", "it is empty")):
        return ReasonCode.CUT_SHORT
    if rejected.startswith(_DAMAGED):
        return ReasonCode.DAMAGED
    return ReasonCode.NO_CLOCK if "the trap's clock wasn't set" in rejected else None


def _fingerprint_columns(fingerprint: Fingerprint | None) -> dict[str, int | None]:
    if fingerprint is None:
        return dict.fromkeys(Fingerprint._fields)
    return fingerprint._asdict()
