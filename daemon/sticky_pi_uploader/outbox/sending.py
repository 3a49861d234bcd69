"""The outbox as the uploader sees it: what is due, what became of it, and how the destination answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ..models import Destination, Picture, State
from .reader import to_picture
from .writer import OutboxWriter

REOFFER_AFTER: Final = 7 * 86400.0
"""Seconds after which a picture that was refused too often is offered again."""

_SENDABLE: Final = "state = 'pending' AND present = 1 AND recheck = 0"


class Sending(OutboxWriter):
    """The verbs of the uploader, and those that people ask for."""

    def claim(self, most: int) -> list[Picture]:
        """Take up to `most` due pictures to be sent: the newest, the oldest, the next newest and so on; no key twice.

        The step is not durable, and needn't be: after a crash they are pending again, and asked for before they
        are sent.
        """
        with self._writing(durable=False):
            chosen = list(self._choose(most))
            return [picture for picture in chosen if self._move(picture.id, (State.PENDING,), State.UPLOADING)]

    def claim_canary(self) -> list[Picture]:
        """Take one due picture while the destination is in trouble; none is [].

        What wasn't tried yet comes first, the newest of it, and then what has waited longest: a picture that is always
        refused holds up no other.
        """
        with self._writing(durable=False):
            tried = self._due("not_before IS NOT NULL, not_before, datetime DESC", 1)
            return [picture for picture in tried if self._move(picture.id, (State.PENDING,), State.UPLOADING)]

    def next_due(self) -> float | None:
        """Tell in how many seconds a picture falls due (0: now), or None where none is waiting."""
        now = self._clock()
        query = (
            "SELECT min(CASE WHEN not_before IS NULL OR not_before > :now + :longest THEN :now ELSE not_before END)"
            f" FROM pictures WHERE {_SENDABLE}"
        )
        due = self._value(query, {"now": now, "longest": self._longest_wait})
        return None if due is None else max(0.0, due - now)

    def confirm(self, picture: Picture, receipt_md5: str, why: str, *, accepted_by: str | None = None) -> bool:
        """Record the receipt and the outcome, in one step.

        `accepted_by` is the url of the destination where it took the picture just now, rather than held it already.
        """
        now = self._clock()
        values = {"receipt_md5": receipt_md5, "uploaded_at": now, "reason": None, "not_before": None}
        with self._writing() as connection:
            if accepted_by is not None:
                connection.execute("UPDATE destinations SET accepted_at = ? WHERE url = ?", (now, accepted_by))
            return self._move(picture.id, (State.UPLOADING,), State.UPLOADED, why, values)

    def refuse(self, picture: Picture, why: str, *, not_before: float, last: bool) -> bool:
        """Charge a refusal to the picture: it waits until `not_before`, or, the last one, is rejected."""
        state = State.REJECTED if last else State.PENDING
        until = self._clock() + REOFFER_AFTER if last else not_before
        values = {"attempts": picture.attempts + 1, "not_before": until, "reason": why}
        return self._move(picture.id, (State.UPLOADING,), state, why, values)

    def clash(self, picture: Picture, why: str) -> bool:
        """Record that the destination holds another picture under the same key."""
        return self._move(picture.id, (State.UPLOADING,), State.CONFLICT, why, {"reason": why})

    def release(self, picture: Picture) -> bool:
        """Give a claimed picture back as it was."""
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, durable=False)

    def postpone(self, picture: Picture, why: str, *, not_before: float) -> bool:
        """Give a claimed picture back, nothing counted, to be tried no sooner than `not_before`."""
        values = {"reason": why, "not_before": not_before}
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recheck(self, picture: Picture, why: str) -> bool:
        """Give a claimed picture back to be read again before it is sent."""
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, why, {"reason": why, "recheck": 1})

    def recover(self) -> int:
        """Give back what was being sent when an earlier process, or an earlier write, broke off; tells how many."""
        why = "broken off while it was being sent"
        with self._writing():
            rows = self._rows("SELECT id FROM pictures WHERE state = 'uploading'")
            return sum(self._move(row["id"], (State.UPLOADING,), State.PENDING, why, {"reason": why}) for row in rows)

    def reoffer(self) -> int:
        """Make pictures pending that were rejected after refusals long enough ago; tells how many."""
        now = self._clock()
        due = (
            "SELECT id FROM pictures WHERE state = 'rejected' AND attempts > 0 AND (not_before <= ? OR not_before > ?)"
        )
        values = {"attempts": 0, "not_before": None}
        with self._writing():
            rows = self._rows(due, (now, now + REOFFER_AFTER))
            why = "offered again after a week"
            return sum(self._move(row["id"], (State.REJECTED,), State.PENDING, why, values) for row in rows)

    def change_destination(self, url: str, is_here: Callable[[str], bool]) -> int:
        """Make `url` the configured destination; where it was another, what is still here becomes pending again.

        A receipt belongs to one destination, and so do its conflicts and refusals. `is_here` tells of a path whether
        its file is there: pictures whose file isn't keep the receipt that they have. Returns how many changed.
        """
        with self._writing() as connection:
            before = next((row["url"] for row in self._rows("SELECT url FROM destinations WHERE configured = 1")), url)
            connection.execute("UPDATE destinations SET configured = 0 WHERE url != ?", (url,))
            connection.execute(
                "INSERT INTO destinations (url, configured) VALUES (?, 1)"
                " ON CONFLICT (url) DO UPDATE SET configured = 1",
                (url,),
            )
            if before == url:
                return 0
            connection.execute("UPDATE destinations SET retry_at = NULL, failures = 0 WHERE url = ?", (url,))
            connection.execute("UPDATE pictures SET attempts = 0, not_before = NULL WHERE state = 'pending'")
            return self._forget_answers(f"the destination changed from {before} to {url}", is_here)

    def set_destination(self, destination: Destination) -> None:
        """Keep how the destination answered, so that a reboot forgets nothing of it."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE destinations SET state = ?, reason = ?, retry_at = ?, failures = ? WHERE url = ?",
                (
                    destination.state.value,
                    destination.reason,
                    destination.retry_at,
                    destination.failures,
                    destination.url,
                ),
            )

    def accepted_since(self, url: str, since: float) -> bool:
        """Tell whether the destination took a picture between this Unix time and now."""
        query = "SELECT 1 FROM destinations WHERE url = ? AND accepted_at BETWEEN ? AND ?"
        rows = self._rows(query, (url, since, self._clock()))
        return next(rows, None) is not None

    def retry(self, picture: Picture) -> bool:
        """Look at a picture again now; False where there is nothing to do, as it is uploaded or being sent."""
        why = "asked for by hand"
        if picture.state in (State.PENDING, State.CONFLICT):
            values: dict[str, Any] = {"not_before": None, "reason": None}
            return self._move(picture.id, (picture.state,), State.PENDING, why, values)
        if picture.state in (State.REJECTED, State.LOST):
            # The intake reads it again, and decides; a lost one only if its file is back.
            return self._move(picture.id, (picture.state,), picture.state, why, {"recheck": 1})
        return False

    def end_wait(self) -> None:
        """Let the configured destination be asked again at once."""
        with self._writing() as connection:
            connection.execute("UPDATE destinations SET retry_at = NULL WHERE configured = 1")

    def changed_by_another(self) -> bool:
        """Tell whether another process wrote to the outbox since this was last asked."""
        version = int(self._value("PRAGMA data_version"))
        changed, self._seen_version = version != self._seen_version, version
        return changed

    def _choose(self, most: int) -> Iterator[Picture]:
        chosen: set[tuple[str | None, str | None]] = set()
        for pair in zip(self._due("datetime DESC", most), self._due("datetime", most), strict=True):
            for picture in pair:
                key = (picture.device and picture.device.lower(), picture.datetime)
                if len(chosen) < most and key not in chosen:
                    chosen.add(key)
                    yield picture

    def _due(self, order: str, most: int) -> list[Picture]:
        now = self._clock()
        rows = self._rows(
            f"SELECT * FROM pictures WHERE {_SENDABLE}"
            " AND (not_before IS NULL OR not_before <= :now OR not_before > :now + :longest)"
            f" ORDER BY {order}, id LIMIT :most",
            {"now": now, "longest": self._longest_wait, "most": most},
        )
        return list(map(to_picture, rows))

    def _forget_answers(self, why: str, is_here: Callable[[str], bool]) -> int:
        values = {"receipt_md5": None, "uploaded_at": None, "attempts": 0, "not_before": None, "reason": None}
        answered = self._rows(
            "SELECT * FROM pictures WHERE removed_at IS NULL"
            " AND (state IN ('uploaded', 'conflict') OR (state = 'rejected' AND attempts > 0))"
        )
        return sum(
            self._move(picture.id, (picture.state,), State.PENDING, why, values)
            for picture in map(to_picture, answered)
            if is_here(picture.path)
        )
