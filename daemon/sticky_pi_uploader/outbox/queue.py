"""The queue of pictures to be sent: which are due, who has claimed them, and the outcome of sending each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any, Final

from ..models import Picture, ReasonCode, State
from .codec import to_sendable
from .database import Part, WritableDatabase
from .destinations import Destinations
from .schema import UNTRIED

REOFFER_AFTER: Final = 7 * 86400.0
"""Seconds after which a picture that was refused too often is offered again."""

_SENDABLE: Final = "state = 'pending' AND present = 1 AND recheck = 0"
# SQLite would take the index of the states otherwise, and look at each picture that waits.
_BY_TIME: Final = "pictures INDEXED BY pictures_to_send"
_BY_WAIT: Final = "pictures INDEXED BY pictures_waiting"


class Queue(Part):
    """Pictures to be sent: claimed, and given back with the outcome."""

    def __init__(self, database: WritableDatabase, destinations: Destinations, *, longest_wait: float) -> None:
        """Count tries by what the configured one of `destinations` accepted.

        A picture whose `not_before` is more than `longest_wait` seconds ahead is due: the clock was changed.
        """
        super().__init__(database)
        self._destinations = destinations
        self._longest_wait = longest_wait

    def claim(self, most: int, *, untried: bool = False, smaller_than: int | None = None) -> list[Picture]:
        """Take up to `most` due pictures to be sent: the newest, the oldest, the next newest and so on; no key twice.

        Which ones may be limited as for `next_due`. The step is not durable, and needn't be: after a crash they are
        pending again, and asked for before they are sent.
        """
        with self._database.writing(durable=False):
            chosen = list(self._choose(most, _claimable(untried=untried, smaller_than=smaller_than)))
            return [picture for picture in chosen if self._database.move(picture.id, (State.PENDING,), State.UPLOADING)]

    def claim_canary(self) -> list[Picture]:
        """Take one due picture while the destination is in trouble; none is [].

        What wasn't tried yet comes first, the newest of it, and then what was tried longest ago: a picture that always
        fails holds up no other.
        """
        with self._database.writing(durable=False):
            order, now = "failed_since IS NOT NULL, not_before, datetime DESC", self._database.clock()
            tried = self._due(order, 1, now, _SENDABLE)
            return [picture for picture in tried if self._database.move(picture.id, (State.PENDING,), State.UPLOADING)]

    def next_due(self, *, untried: bool = False, smaller_than: int | None = None) -> float | None:
        """Tell in how many seconds a picture falls due (0: now), or None where none is waiting.

        With `untried`, only those count of which no try has failed; with `smaller_than`, those with fewer bytes.
        """
        now = self._database.clock()
        which = _claimable(untried=untried, smaller_than=smaller_than)
        # One after the other, each by an index of its own: it takes no longer with many of them.
        for due in (
            f"SELECT 1 FROM {_BY_WAIT} WHERE {which} AND not_before > :now + :longest LIMIT 1",
            f"SELECT 1 FROM {_BY_TIME} WHERE {which} AND not_before IS NULL LIMIT 1",
        ):
            if next(self._database.rows(due, {"now": now, "longest": self._longest_wait}), None) is not None:
                return 0.0
        waiting = f"SELECT min(not_before) FROM {_BY_WAIT} WHERE {which} AND not_before IS NOT NULL"
        earliest = self._database.number(waiting)
        return None if earliest is None else max(0.0, earliest - now)

    def confirm(self, picture: Picture, receipt_md5: str, why: str, *, accepted_by: str | None = None) -> bool:
        """Record the receipt and the outcome, in one step.

        `accepted_by` is the url of the destination where it took the picture just now, rather than held it already.
        """
        now = self._database.clock()
        values = {"receipt_md5": receipt_md5, "uploaded_at": now, "reason": None, "not_before": None}
        with self._database.writing():
            confirmed = self._database.move(picture.id, (State.UPLOADING,), State.UPLOADED, why, values)
            if confirmed and accepted_by is not None:
                self._destinations.count_accepted(accepted_by)
            return confirmed

    def refuse(
        self, picture: Picture, why: str, *, not_before: float, charge: int = 0, missed: bool = True, last: bool = False
    ) -> bool:
        """Record a refusal: it waits until `not_before`, or, the last, is rejected.

        `charge` says how many refusals turned out to be the picture's fault by it; not `missed`, that the destination
        as a whole is to blame.
        """
        state = State.REJECTED if last else State.PENDING
        until = self._database.clock() + REOFFER_AFTER if last else not_before
        values = self._failed(picture) | {"attempts": picture.attempts + charge, "not_before": until, "reason": why}
        values |= {"misses": picture.misses + missed, "refused_after": self._destinations.accepted()}
        return self._database.move(picture.id, (State.UPLOADING,), state, why, values)

    def clash(self, picture: Picture, why: str) -> bool:
        """Record that the destination holds another picture under the same key."""
        values = {"reason": why, "reason_code": ReasonCode.CLASH.value}
        return self._database.move(picture.id, (State.UPLOADING,), State.CONFLICT, why, values)

    def ask_again(self, picture: Picture, held: str) -> int:
        """Have files asked for again that have the bytes that the destination holds under a picture's key.

        They were in conflict with another file here, which has other bytes; `held` is an md5. Tells how many.
        """
        why = "the destination is asked again: it has a picture with this device, time and md5"
        query = "SELECT id FROM pictures WHERE device = ? AND datetime = ? AND md5 = ? AND state = 'conflict'"
        values = {"reason": None, "not_before": None}
        with self._database.writing():
            rows = list(self._database.rows(query, (picture.device, picture.datetime, held)))
            return sum(self._database.move(row["id"], (State.CONFLICT,), State.PENDING, why, values) for row in rows)

    def release(self, picture: Picture, *, not_before: float | None = None) -> bool:
        """Give a claimed picture back as it was, to be tried no sooner than `not_before`."""
        values = {"not_before": picture.not_before if not_before is None else not_before}
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, None, values, durable=False)

    def explain_waiting(self, why: str) -> None:
        """Say why pictures that are to be sent weren't, where no other reason is known."""
        with self._database.writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_TIME} SET reason = ? WHERE {_SENDABLE} AND reason IS NULL",
                (why,),
            )

    def put_off(self, picture: Picture, why: str | None = None, *, not_before: float | None, missed: bool) -> bool:
        """Give a claimed picture back that couldn't be sent, nothing charged.

        Without `why` there is nothing to tell of; `missed` says that the destination as a whole isn't to blame.
        """
        values = self._failed(picture) | {"misses": picture.misses + missed}
        if not_before is not None:
            values["not_before"] = not_before
        news = None if why == picture.reason else why
        if why is not None:
            values["reason"] = why
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, news, values, durable=False)

    def postpone(self, picture: Picture, why: str, *, not_before: float, got_md5: str | None = None) -> bool:
        """Release a picture that may or may not be stored; the destination is asked for it at `not_before`.

        `got_md5` is the md5 of other bytes that the destination says it got.
        """
        values = self._failed(picture) | {"misses": picture.misses + 1, "reason": why, "not_before": not_before}
        if got_md5 is not None:
            values["got_md5"] = got_md5
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recheck(self, picture: Picture, why: str, *, not_before: float) -> bool:
        """Give a claimed picture back to be read again before it is sent.

        If that finds the same file, it isn't sent before `not_before`: the card may give other bytes at each read.
        """
        values = {"reason": why, "recheck": 1, "misses": picture.misses + 1, "not_before": not_before}
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recover(self) -> int:
        """Give back what was being sent when an earlier process, or an earlier write, broke off; tells how many."""
        why = "broken off while it was being sent"
        with self._database.writing():
            rows = self._database.rows("SELECT id FROM pictures WHERE state = 'uploading'")
            return sum(
                self._database.move(row["id"], (State.UPLOADING,), State.PENDING, why, {"reason": why}) for row in rows
            )

    def reoffer(self) -> int:
        """Make pictures pending that were rejected after refusals long enough ago; tells how many."""
        now = self._database.clock()
        due = (
            "SELECT id FROM pictures WHERE state = 'rejected' AND attempts > 0 AND (not_before <= ? OR not_before > ?)"
        )
        with self._database.writing():
            rows = self._database.rows(due, (now, now + REOFFER_AFTER))
            why = "offered again after a week"
            return sum(self._database.move(row["id"], (State.REJECTED,), State.PENDING, why, UNTRIED) for row in rows)

    def retry(self, picture: Picture) -> bool:
        """Look at a picture again now; False where there is nothing to do, as it is uploaded or being sent."""
        why = "asked for by hand"
        if picture.state in (State.PENDING, State.CONFLICT):
            values: dict[str, Any] = {"not_before": None, "reason": None}
            with self._database.writing() as connection:
                moved = self._database.move(picture.id, (picture.state,), State.PENDING, why, values)
                if moved:
                    connection.execute("UPDATE pictures SET recheck = 1 WHERE id = ? AND present = 0", (picture.id,))
                return moved
        if picture.state in (State.REJECTED, State.LOST):
            # The intake reads it again, and decides; a lost one only if its file is back.
            values = {"recheck": 1, "dismissed_at": None}
            return self._database.move(picture.id, (picture.state,), picture.state, why, values)
        return False

    def end_impossible_waits(self) -> None:
        """End the waits that end further ahead than any can: the clock was set back, and may not do so for long."""
        latest = self._database.clock() + self._longest_wait
        with self._database.writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_WAIT} SET not_before = NULL WHERE state = 'pending' AND not_before > ?", (latest,)
            )
            self._destinations.end_waits_beyond(latest)

    def _failed(self, picture: Picture) -> dict[str, Any]:
        return {"failed_since": self._destinations.accepted() if picture.failed_since is None else picture.failed_since}

    def _choose(self, most: int, which: str) -> Iterator[Picture]:
        # By one time for both: another falls due between two.
        now = self._database.clock()
        newest, oldest = self._due("datetime DESC", most, now, which), self._due("datetime", most, now, which)
        chosen: set[tuple[str | None, str | None]] = set()
        for picture in filter(None, chain.from_iterable(zip_longest(newest, oldest))):
            key = (picture.device and picture.device.lower(), picture.datetime)
            if len(chosen) < most and key not in chosen:
                chosen.add(key)
                yield picture

    def _due(self, order: str, most: int, now: float, which: str) -> list[Picture]:
        rows = self._database.rows(
            f"SELECT * FROM {_BY_TIME} WHERE {which}"
            " AND (not_before IS NULL OR not_before <= :now OR not_before > :now + :longest)"
            f" ORDER BY {order}, id LIMIT :most",
            {"now": now, "longest": self._longest_wait, "most": most},
        )
        with self._database.damage_told():
            return list(map(to_sendable, rows))


def _claimable(*, untried: bool, smaller_than: int | None) -> str:
    """Say in SQL which pictures may be claimed."""
    smaller = "" if smaller_than is None else f" AND size < {smaller_than:d}"
    return f"{_SENDABLE}{' AND failed_since IS NULL' if untried else ''}{smaller}"
