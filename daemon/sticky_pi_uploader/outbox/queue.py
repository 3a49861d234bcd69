"""Claim the pictures to be sent, and record the outcome of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

from ..models import Hold, Picture, ReasonCode, State
from .codec import to_sendable
from .database import Part, WritableDatabase
from .destinations import Destinations
from .schema import UNTRIED

REOFFER_AFTER: Final = 7 * 86400.0
"""Seconds after which a picture that was refused too often is offered again."""

NEWEST_EVERY: Final = 12
"""One in so many uploads is spent on the newest picture where the others are to be an even sample.

Those that go as they come, by their rank, show the trap as well. In 145 simulated half-years, some hole was longer than
twice the mean 0 times without any such uploads, 5 times with 1 in 12, 8 times with 1 in 8, and 21 times with 1 in 4.
"""

_SENDABLE: Final = "state = 'pending' AND present = 1 AND recheck = 0"
# Otherwise SQLite would use the index of states, and read each picture that waits.
_BY_TIME: Final = "pictures INDEXED BY pictures_to_send"
_BY_RANK: Final = "pictures INDEXED BY pictures_by_rank"
_BY_WAIT: Final = "pictures INDEXED BY pictures_waiting"


class Queue(Part):
    """The pictures to be sent."""

    def __init__(self, database: WritableDatabase, destinations: Destinations, *, longest_wait: float) -> None:
        """Count tries by the number of pictures that the configured one of `destinations` accepted.

        A picture whose `not_before` is more than `longest_wait` seconds ahead is due: the clock was changed.
        """
        super().__init__(database)
        self._destinations = destinations
        self._longest_wait = longest_wait
        self._spread = False
        self.is_held = False
        """whether only pictures that a person asked for are claimed"""

    def set_order(self, *, spread: bool) -> None:
        """Claim pictures as an even sample, a `spread` over each device's days and hours, or the newest first.

        Only a spread has an index of the ranks, as that would be written anew with each picture.
        """
        self._spread = spread
        ranks = "CREATE INDEX IF NOT EXISTS pictures_by_rank ON pictures (rank) WHERE state = 'pending'"
        found = self._database.value("SELECT count(*) FROM sqlite_master WHERE name = 'pictures_by_rank'")
        if bool(found) != spread:
            with self._database.writing(durable=False) as connection:
                connection.execute(ranks if spread else "DROP INDEX IF EXISTS pictures_by_rank")

    def record_hold(self, hold: Hold | None) -> None:
        """Record the hold, or that there is none any more, so that it outlasts a reboot."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM hold")
            if hold is not None:
                query = "INSERT INTO hold (cause, reason, since, until) VALUES (:cause, :reason, :since, :until)"
                connection.execute(query, hold._asdict() | {"cause": hold.cause.value})

    def claim(self, most: int, *, untried: bool = False, smaller_than: int | None = None) -> list[Picture]:
        """Claim up to `most` due pictures, no key twice: the newest, the oldest, the next newest and so on.

        In a spread, they come by their rank, and one in `NEWEST_EVERY` uploads is spent on the newest. `untried` and
        `smaller_than` are as for `next_due`. The step isn't durable, and needn't be: after a crash, the pictures are
        pending again, and the destination is asked for them before they are sent.
        """
        with self._database.writing(durable=False):
            chosen = list(self._choose(most, self._claimable(untried=untried, smaller_than=smaller_than)))
            return [picture for picture in chosen if self._database.move(picture.id, (State.PENDING,), State.UPLOADING)]

    def claim_canary(self) -> list[Picture]:
        """Claim one due picture while the destination is in trouble; return [] if none is due.

        Pictures that were never tried come first, in the order of `claim`, then the picture that was tried longest ago:
        one that always fails delays no other.
        """
        with self._database.writing(durable=False):
            is_newest = not self._spread or self._destinations.accepted() % NEWEST_EVERY == 0
            order = f"failed_since IS NOT NULL, not_before, {'datetime DESC' if is_newest else 'rank'}"
            tried = self._due(_BY_TIME, order, 1, self._database.clock(), self._claimable())
            return [picture for picture in tried if self._database.move(picture.id, (State.PENDING,), State.UPLOADING)]

    def next_due(self, *, untried: bool = False, smaller_than: int | None = None) -> float | None:
        """Return the seconds until a picture is due (0: now), or None if none is waiting.

        With `untried`, only pictures count whose tries never failed; with `smaller_than`, only those with fewer bytes.
        """
        if self.is_held and not self._has_urgent():
            return None
        now = self._database.clock()
        which = self._claimable(untried=untried, smaller_than=smaller_than)
        # Two queries, each with its own index: so the time doesn't grow with the number of pictures.
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
        """Record the receipt, in one step with the count of pictures that the destination took.

        `accepted_by` is the destination's url if it took the picture just now; None if it held the picture already.
        """
        now = self._database.clock()
        values = {"receipt_md5": receipt_md5, "uploaded_at": now, "reason": None, "not_before": None, "urgent": 0}
        with self._database.writing():
            confirmed = self._database.move(picture.id, (State.UPLOADING,), State.UPLOADED, why, values)
            if confirmed and accepted_by is not None:
                self._destinations.count_accepted(accepted_by)
            return confirmed

    def refuse(
        self,
        picture: Picture,
        why: str,
        *,
        not_before: float,
        charge: int = 0,
        blames_picture: bool = True,
        last: bool = False,
    ) -> bool:
        """Record a refusal: the picture waits until `not_before`, or, if it is the `last` one, is rejected.

        `charge` is the number of refusals that turn out to be the picture's fault. Unless `blames_picture`, the
        destination as a whole is to blame, and later waits of the picture don't grow.
        """
        state = State.REJECTED if last else State.PENDING
        until = self._database.clock() + REOFFER_AFTER if last else not_before
        values = self._failed(picture) | {"attempts": picture.attempts + charge, "not_before": until, "reason": why}
        values |= {"misses": picture.misses + blames_picture, "refused_after": self._destinations.accepted()}
        return self._database.move(picture.id, (State.UPLOADING,), state, why, values)

    def clash(self, picture: Picture, why: str) -> bool:
        """Record that the destination holds another picture under the same key."""
        values = {"reason": why, "reason_code": ReasonCode.CLASH.value}
        return self._database.move(picture.id, (State.UPLOADING,), State.CONFLICT, why, values)

    def ask_again(self, picture: Picture, held: str) -> int:
        """Make pictures pending again whose bytes the destination turns out to hold under a picture's key.

        They were in conflict with another file here, which has other bytes. `held` is the md5 of the held bytes. Return
        the number of pictures.
        """
        why = "the destination is asked again: it has a picture with this device, time and md5"
        query = "SELECT id FROM pictures WHERE device = ? AND datetime = ? AND md5 = ? AND state = 'conflict'"
        values = {"reason": None, "not_before": None}
        with self._database.writing():
            rows = list(self._database.rows(query, (picture.device, picture.datetime, held)))
            return sum(self._database.move(row["id"], (State.CONFLICT,), State.PENDING, why, values) for row in rows)

    def release(self, picture: Picture, *, not_before: float | None = None) -> bool:
        """Release a claimed picture unchanged, not to be tried before `not_before`."""
        values = {"not_before": picture.not_before if not_before is None else not_before}
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, None, values, durable=False)

    def explain_waiting(self, why: str) -> None:
        """Record why pictures weren't sent, for all waiting ones that have no reason yet."""
        with self._database.writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_TIME} SET reason = ? WHERE {_SENDABLE} AND reason IS NULL",
                (why,),
            )

    def put_off(
        self, picture: Picture, why: str | None = None, *, not_before: float | None, blames_picture: bool
    ) -> bool:
        """Release a claimed picture that couldn't be sent, with nothing charged to it.

        `blames_picture` is as for `refuse`. Without `why`, the reason stays.
        """
        values = self._failed(picture) | {"misses": picture.misses + blames_picture}
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
        """Release a claimed picture, to be read again before it is sent.

        If its file is the same, it isn't sent before `not_before`: the card may read other bytes each time.
        """
        values = {"reason": why, "recheck": 1, "misses": picture.misses + 1, "not_before": not_before}
        return self._database.move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recover(self) -> int:
        """Release the pictures that were being sent when the process, or a write, broke off; return their number."""
        why = "broken off while it was being sent"
        with self._database.writing():
            rows = self._database.rows("SELECT id FROM pictures WHERE state = 'uploading'")
            return sum(
                self._database.move(row["id"], (State.UPLOADING,), State.PENDING, why, {"reason": why}) for row in rows
            )

    def reoffer(self) -> int:
        """Make pictures pending that were rejected after refusals at least `REOFFER_AFTER` ago; return their number."""
        now = self._database.clock()
        due = (
            "SELECT id FROM pictures WHERE state = 'rejected' AND attempts > 0 AND (not_before <= ? OR not_before > ?)"
        )
        with self._database.writing():
            rows = self._database.rows(due, (now, now + REOFFER_AFTER))
            why = "offered again after a week"
            return sum(self._database.move(row["id"], (State.REJECTED,), State.PENDING, why, UNTRIED) for row in rows)

    def retry(self, picture: Picture) -> bool:
        """Have a picture sent or read again now, in spite of a hold; return False if it is uploaded or being sent."""
        why = "asked for by hand"
        if picture.state in (State.PENDING, State.CONFLICT):
            values: dict[str, Any] = {"not_before": None, "reason": None, "urgent": 1}
            with self._database.writing() as connection:
                moved = self._database.move(picture.id, (picture.state,), State.PENDING, why, values)
                if moved:
                    connection.execute("UPDATE pictures SET recheck = 1 WHERE id = ? AND present = 0", (picture.id,))
                return moved
        if picture.state in (State.REJECTED, State.LOST):
            # The intake reads it again and decides; a lost one is read only if its file is back.
            values = {"recheck": 1, "dismissed_at": None, "urgent": 1}
            return self._database.move(picture.id, (picture.state,), picture.state, why, values)
        return False

    def end_impossible_waits(self) -> None:
        """End the waits that are longer than any can be, as the clock was set back: it may be right again soon."""
        latest = self._database.clock() + self._longest_wait
        with self._database.writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_WAIT} SET not_before = NULL WHERE state = 'pending' AND not_before > ?", (latest,)
            )
            self._destinations.end_waits_beyond(latest)

    def _failed(self, picture: Picture) -> dict[str, Any]:
        return {"failed_since": self._destinations.accepted() if picture.failed_since is None else picture.failed_since}

    def _choose(self, most: int, which: str) -> Iterator[Picture]:
        # One time for both queries: another picture may be due by the second.
        now = self._database.clock()
        newest = self._due(_BY_TIME, "datetime DESC", most, now, which)
        if self._spread:
            in_order = self._by_rank(newest, self._due(_BY_RANK, "rank", most, now, which))
        else:
            in_order = chain.from_iterable(zip_longest(newest, self._due(_BY_TIME, "datetime", most, now, which)))
        chosen: set[tuple[str | None, str | None]] = set()
        for picture in filter(None, in_order):
            key = (picture.device and picture.device.lower(), picture.datetime)
            if len(chosen) < most and key not in chosen:
                chosen.add(key)
                yield picture

    def _by_rank(self, newest: Sequence[Picture], ranked: Sequence[Picture]) -> Iterator[Picture | None]:
        """Yield the pictures by their rank, and the newest ones in the places of the uploads that are spent on them."""
        accepted, new, others = self._destinations.accepted(), iter(newest), iter(ranked)
        for place in range(accepted, accepted + len(ranked)):
            yield next(new if place % NEWEST_EVERY == 0 else others, None)
        # In the place of those that came by their rank as well as being the newest.
        yield from others

    def _due(self, table: str, order: str, most: int, now: float, which: str) -> list[Picture]:
        rows = self._database.rows(
            f"SELECT * FROM {table} WHERE {which}"
            " AND (not_before IS NULL OR not_before <= :now OR not_before > :now + :longest)"
            f" ORDER BY {order}, id LIMIT :most",
            {"now": now, "longest": self._longest_wait, "most": most},
        )
        with self._database.damage_told():
            return list(map(to_sendable, rows))

    def _claimable(self, *, untried: bool = False, smaller_than: int | None = None) -> str:
        """Return the SQL condition of the pictures that may be claimed."""
        smaller = "" if smaller_than is None else f" AND size < {smaller_than:d}"
        urgent = " AND urgent = 1" if self.is_held else ""
        return f"{_SENDABLE}{' AND failed_since IS NULL' if untried else ''}{smaller}{urgent}"

    def _has_urgent(self) -> bool:
        # In a hold, the other queries would read every picture that waits.
        urgent = "SELECT 1 FROM pictures INDEXED BY pictures_urgent WHERE urgent = 1 AND state = 'pending' LIMIT 1"
        return next(self._database.rows(urgent), None) is not None
