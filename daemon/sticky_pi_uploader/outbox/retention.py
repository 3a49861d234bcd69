"""List the pictures that may be removed from the card, and record and forget removed ones."""

from __future__ import annotations

from collections.abc import Collection

from sticky_pi_api.images.doubts import NOTE

from ..clock import PLATFORM_START
from ..models import Picture, ReasonCode, State
from .database import Part
from .schema import UNTRIED


class RetentionRecords(Part):
    """The records of pictures that may be removed from the card, or were."""

    def removable(
        self,
        *,
        states: Collection[State],
        suspect: bool,
        before: float | None,
        after: tuple[str, int] | None,
        most: int,
    ) -> list[Picture]:
        """List up to `most` pictures that are on the card and may be removed from it, the oldest first.

        They are in one of `states`, and not in doubt unless `suspect` is True; a note is no doubt. With `before` (Unix
        time), only pictures that were uploaded, or else came into their state, before then; with `after`, only pictures
        that follow this datetime and id.
        """
        names = [state.value for state in states]
        marks = ", ".join("?" * len(names))
        taken, last = after or ("", 0)
        removable = self._database.pictures(
            "SELECT * FROM pictures WHERE removed_at IS NULL AND present = 1 AND recheck = 0 AND size IS NOT NULL"
            f" AND state IN ({marks}) AND (state != 'uploaded' OR receipt_md5 = md5)"
            " AND (suspect IS NULL OR substr(suspect, 1, ?) = ? OR ?)"
            " AND (? IS NULL OR coalesce(uploaded_at,"
            " (SELECT max(at) FROM history WHERE picture_id = pictures.id AND history.state = pictures.state)) < ?)"
            " AND (coalesce(datetime, ''), id) > (?, ?) ORDER BY coalesce(datetime, ''), id LIMIT ?",
            [*names, len(NOTE), NOTE, suspect, before, before, taken, last, most],
        )
        return list(removable)

    def mark_removed(self, picture: Picture, why: str) -> bool:
        """Record that a picture's file was removed from the card; its state stays."""
        values = {"removed_at": self._database.clock()}
        return self._database.move(picture.id, (picture.state,), picture.state, why, values)

    def unconfirm(self, picture: Picture, why: str) -> bool:
        """Make an uploaded picture pending again because the destination lost it.

        Its file is to be read first, as it may be gone: the absence of an uploaded picture isn't recorded.
        """
        values = {**UNTRIED, "receipt_md5": None, "uploaded_at": None, "reason": why, "recheck": 1}
        return self._database.move(picture.id, (State.UPLOADED,), State.PENDING, why, values)

    def note_copy(self, picture: Picture, wrong: str | None) -> bool:
        """Record why the destination's copy of an uploaded picture is wrong, or, with None, that it is right.

        Return whether that changed.
        """
        if wrong == picture.reason:
            return False
        why = "the destination's copy of it was found right again" if wrong is None else wrong
        return self._database.move(picture.id, (State.UPLOADED,), State.UPLOADED, why, {"reason": wrong})

    def contradict(self, picture: Picture, why: str) -> bool:
        """Record that the destination holds another picture than its receipt says; the file is to be read again."""
        reason = {"reason": why, "reason_code": ReasonCode.CLASH.value}
        values = {"receipt_md5": None, "uploaded_at": None, "recheck": 1, **reason}
        return self._database.move(picture.id, (State.UPLOADED,), State.CONFLICT, why, values)

    def date_anew(self) -> None:
        """Set to now the times of uploads and removals that come from a clock that wasn't set: terms begin now."""
        now = self._database.clock()
        if now < PLATFORM_START:
            return
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE pictures SET uploaded_at = iif(uploaded_at < :start, :now, uploaded_at),"
                " removed_at = iif(removed_at < :start, :now, removed_at)"
                " WHERE uploaded_at < :start OR removed_at < :start",
                {"start": PLATFORM_START, "now": now},
            )

    def forget(self, before: float, most: int) -> list[str]:
        """Delete the records of up to `most` pictures that were removed from the card before a Unix time.

        Return the md5s that no record has any more.
        """
        with self._database.writing() as connection:
            query = "SELECT id, md5 FROM pictures WHERE removed_at < ? ORDER BY removed_at LIMIT ?"
            rows = list(self._database.rows(query, (before, most)))
            for row in rows:
                connection.execute("DELETE FROM pictures WHERE id = ?", (row["id"],))
            md5s = {row["md5"] for row in rows} - {None}
            return sorted(md5s - self.known_md5s(md5s))

    def known_md5s(self, md5s: Collection[str]) -> set[str]:
        """Return the md5s that a recorded picture has."""
        marks = ", ".join("?" * len(md5s))
        return {
            row["md5"] for row in self._database.rows(f"SELECT md5 FROM pictures WHERE md5 IN ({marks})", list(md5s))
        }
